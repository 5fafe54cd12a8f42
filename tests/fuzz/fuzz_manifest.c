/*
 * Whatever bytes are taken for a manifest: parsed or refused as damaged or newer, never worse; and what is parsed can be
 * written and parsed again, to the same text.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/repository.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_again(const struct manifest *m)
{
	struct buf text cleanup(buf_release) = {0}, again cleanup(buf_release) = {0};
	struct manifest got cleanup(manifest_release) = {0};
	struct error err cleanup(err_clear) = ERROR_INIT;

	if (manifest_write(m, &text, &err) < 0 || manifest_parse(text.data, text.len, "manifest", &got, &err) < 0 ||
		manifest_write(&got, &again, &err) < 0 || strcmp(text.data, again.data) != 0) {
		fprintf(stderr, "%s\n", err.message ? err.message : "another text");
		abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct manifest m cleanup(manifest_release) = {0};
	struct error err cleanup(err_clear) = ERROR_INIT;

	if (manifest_parse((const char *)data, size, "manifest", &m, &err) == 0)
		check_again(&m);
	else if (err.class != ERR_CORRUPT && err.class != ERR_CONFIG)
		abort();
	return 0;
}

/*
 * Whatever bytes are taken for holdfast-repository.json: opened, or refused as damaged or newer; nothing is written either way.
 */
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "storage/repository.h"
#include "tests/fuzz/support.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct repository *r cleanup(repository_closep) = NULL;
	struct buf now cleanup(buf_release) = {0};
	char *path cleanup(mem_freep) = fuzz_file(REPOSITORY_FILE, data, size);
	int rc = repository_open("fuzz", fuzz_dir(), true, &r, &err);

	fuzz_expect_error(rc, &err, FUZZ_CLASS(ERR_CORRUPT) | FUZZ_CLASS(ERR_CONFIG));
	fuzz_expect((rc == 0) == (r != NULL), "a repository that is opened and is not there");
	if (r) {
		fuzz_expect(r->id && *r->id && r->driver && !r->is_encrypted, "a repository that is not whole");
		fuzz_expect(repository_check_writable(r, &err) == 0, "a plain repository that cannot be written to");
	}
	err_clear(&err);
	fuzz_expect(io_read_file(path, &now, &err) == 1 && now.len == size && memcmp(buf_str(&now), data, size) == 0,
		"a repository that was written to");
	return 0;
}

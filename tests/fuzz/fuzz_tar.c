/*
 * Whatever bytes are taken for a seek table, a header of the tar, or a frame: read, or refused.  What is read is written and read again
 * to the same.
 */
#include <stdlib.h>
#include <string.h>

#include "storage/archive/format.h"
#include "tests/fuzz/support.h"

static void read_table(const uint8_t *data, size_t size)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct seek_table t cleanup(seek_table_release) = {0};
	struct buf out cleanup(buf_release) = {0};
	int rc = seek_table_decode(data, size, &t, &err);

	fuzz_expect_error(rc, &err, FUZZ_CLASS(ERR_CORRUPT));
	if (size >= SEEK_FOOTER_BYTES)
		fuzz_expect(rc < 0 || seek_table_bytes(data + size - SEEK_FOOTER_BYTES) == size, "a table of another size");
	if (rc < 0)
		return;
	fuzz_expect(seek_table_encode(&t, &out, &err) == 0 && out.len == size, "a table of another length");
	out.data[size - 5] |= (char)(data[size - 5] & 3); /* bits that a reader has to ignore */
	fuzz_expect(memcmp(out.data, data, size) == 0, "a table that is written in another way");
}

static void read_header(const uint8_t *data, size_t size)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	char *name cleanup(mem_freep) = NULL, *again cleanup(mem_freep) = NULL;
	struct buf out cleanup(buf_release) = {0};
	uint64_t bytes = 0, bytes_again = 0;
	size_t n = tar_header_length((const char *)data, size);
	int rc;

	fuzz_expect(n <= size && n % TAR_BLOCK == 0, "a header that is longer than the text");
	if (n == 0)
		return;
	rc = tar_header_read((const char *)data, n, &name, &bytes, &err);
	fuzz_expect_error(rc, &err, FUZZ_CLASS(ERR_CORRUPT));
	if (rc < 0)
		return;
	fuzz_expect(name != NULL, "a header without a name");
	if (!*name || name[strlen(name) - 1] == '/' || tar_header_write(name, bytes, 0, &out, &err) < 0)
		return; /* nothing that is ever written */
	fuzz_expect(tar_header_length(out.data, out.len) == out.len &&
			tar_header_read(out.data, out.len, &again, &bytes_again, &err) == 0 && strcmp(name, again) == 0 &&
			bytes == bytes_again,
		"a header that is written in another way");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seek_entry e;

	read_table(data, size);
	read_header(data, size);
	if (seek_entry_of(data, size, &e) == 0)
		fuzz_expect(e.stored_bytes == size, "a frame of another size");
	return 0;
}

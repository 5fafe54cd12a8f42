/*
 * Whatever bytes are taken for an archive: scanned or refused as damaged; and what a scan lists is read the same way as by an
 * index of our own.  The archive is kept in memory by a driver that knows nothing else.
 */
#include <stdlib.h>
#include <string.h>

#include "storage/archive/archive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct memory {
	struct driver base;
	const uint8_t *data;
	size_t size;
};

static int read_range(struct driver *d, const char *key, uint64_t offset, void *p, size_t n, struct error *err)
{
	const struct memory *m = (const struct memory *)d;

	(void)key;
	if (offset > m->size || n > m->size - offset)
		return err_set(err, ERR_CORRUPT, "too short");
	memcpy(p, m->data + offset, n);
	return 1;
}

static int stat_object(struct driver *d, const char *key, struct driver_object *ret, struct error *err)
{
	(void)err;
	*ret = (struct driver_object){.key = key, .size_bytes = ((const struct memory *)d)->size};
	return 1;
}

static const struct driver_ops ops = {.name = "memory", .read_range = read_range, .stat = stat_object};

static int count(void *ctx, const char *p, size_t n, struct error *err)
{
	(void)p;
	(void)err;
	if (n == 0 || n > ARCHIVE_FRAME_BYTES)
		abort();
	*(uint64_t *)ctx += n;
	return 0;
}

static void must_be_corrupt(const struct error *err)
{
	if (err->class != ERR_CORRUPT)
		abort();
}

static void read_all(struct memory *m, const struct inv_member *members, size_t members_count)
{
	struct archive_reader *r = NULL;
	struct error err cleanup(err_clear) = ERROR_INIT;

	if (archive_reader_open(&m->base, "archive", members, members_count, &r, &err) < 0)
		abort();
	for (size_t i = 0; i < members_count; i++) {
		uint64_t bytes = 0;

		if (archive_read_member(r, &members[i], count, &bytes, &err) < 0)
			must_be_corrupt(&err); /* a frame the scan did not decompress */
		else if (bytes != members[i].content_bytes)
			abort();
	}
	archive_reader_close(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct memory m = {.base = {.ops = &ops}, .data = data, .size = size};
	struct arena arena cleanup(arena_release) = {0};
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct inv_member *members = NULL;
	size_t members_count = 0;
	struct inv_member whole = {.name = "README", .stored_bytes = size, .header_bytes = 512, .content_bytes = 8};

	if (archive_scan(&m.base, "archive", &arena, &members, &members_count, &err) == 0)
		read_all(&m, members, members_count);
	else
		must_be_corrupt(&err);
	free(members);
	read_all(&m, &whole, 1);
	return 0;
}

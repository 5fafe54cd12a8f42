/*
 * The seek table of the zstd seekable format, version 0.1.0, with checksums:
 *
 *   0x184D2A5E, size | per frame: stored bytes, content bytes, checksum | number of frames, descriptor 0x80, 0x8F92EAB1
 *
 * All numbers are little-endian, 32 bits wide but the descriptor, which is one byte.
 */
#include <stdlib.h>
#include <zstd.h>

#include "storage/archive/format.h"

#define SKIPPABLE_MAGIC UINT32_C(0x184D2A5E)
#define SEEKABLE_MAGIC UINT32_C(0x8F92EAB1)
#define HAS_CHECKSUMS 0x80
#define RESERVED_BITS 0x7c

static void put32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

void seek_table_add(struct seek_table *t, const struct seek_entry *e)
{
	t->entries = mem_grow(t->entries, &t->cap, t->count + 1, sizeof(*t->entries));
	t->entries[t->count++] = *e;
}

void seek_table_release(struct seek_table *t)
{
	free(t->entries);
	*t = (struct seek_table){0};
}

int seek_table_encode(const struct seek_table *t, struct buf *out, struct error *err)
{
	size_t bytes = t->count * SEEK_ENTRY_BYTES + SEEK_FOOTER_BYTES;
	uint8_t *p;

	if (t->count > SEEK_MAX_FRAMES)
		return err_set(err, ERR_FULL, "archive would have more than %zu frames", SEEK_MAX_FRAMES);
	if (buf_reserve(out, SEEK_FRAME_HEADER_BYTES + bytes, err) < 0)
		return -1;
	p = (uint8_t *)out->data + out->len;
	put32(p, SKIPPABLE_MAGIC);
	put32(p + 4, (uint32_t)bytes);
	p += SEEK_FRAME_HEADER_BYTES;
	for (size_t i = 0; i < t->count; i++, p += SEEK_ENTRY_BYTES) {
		put32(p, t->entries[i].stored_bytes);
		put32(p + 4, t->entries[i].content_bytes);
		put32(p + 8, t->entries[i].checksum);
	}
	put32(p, (uint32_t)t->count);
	p[4] = HAS_CHECKSUMS;
	put32(p + 5, SEEKABLE_MAGIC);
	out->len += SEEK_FRAME_HEADER_BYTES + bytes;
	out->data[out->len] = '\0';
	return 0;
}

size_t seek_table_bytes(const uint8_t footer[SEEK_FOOTER_BYTES])
{
	size_t frames = get32(footer);

	if (get32(footer + 5) != SEEKABLE_MAGIC || !(footer[4] & HAS_CHECKSUMS) || (footer[4] & RESERVED_BITS) ||
		frames > SEEK_MAX_FRAMES)
		return 0;
	return SEEK_FRAME_HEADER_BYTES + frames * SEEK_ENTRY_BYTES + SEEK_FOOTER_BYTES;
}

int seek_table_decode(const uint8_t *p, size_t n, struct seek_table *ret, struct error *err)
{
	struct seek_table t cleanup(seek_table_release) = {0};
	size_t count;

	if (n < SEEK_FRAME_HEADER_BYTES + SEEK_FOOTER_BYTES || seek_table_bytes(p + n - SEEK_FOOTER_BYTES) != n ||
		get32(p) != SKIPPABLE_MAGIC || get32(p + 4) != n - SEEK_FRAME_HEADER_BYTES)
		return err_set(err, ERR_CORRUPT, "seek table is damaged");
	count = get32(p + n - SEEK_FOOTER_BYTES);
	p += SEEK_FRAME_HEADER_BYTES;
	for (size_t i = 0; i < count; i++, p += SEEK_ENTRY_BYTES)
		seek_table_add(&t,
			&(struct seek_entry){.stored_bytes = get32(p), .content_bytes = get32(p + 4), .checksum = get32(p + 8)});
	*ret = t;
	t = (struct seek_table){0};
	return 0;
}

int seek_entry_of(const void *p, size_t n, struct seek_entry *ret)
{
	unsigned long long content = ZSTD_getFrameContentSize(p, n);

	if (n < 4 || n > UINT32_MAX || content > UINT32_MAX) /* ZSTD_CONTENTSIZE_UNKNOWN and _ERROR are beyond it */
		return -1;
	*ret = (struct seek_entry){
		.stored_bytes = (uint32_t)n, .content_bytes = (uint32_t)content, .checksum = get32((const uint8_t *)p + n - 4)};
	return 0;
}

/*
 * Buffer: a growing run of bytes with a maximum.  ${data} is always NUL-terminated once anything was appended.
 * A zeroed struct is an empty buffer without a maximum; max is in bytes, 0 means BUF_DEFAULT_MAX.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/error.h"

#define BUF_DEFAULT_MAX ((size_t)2 << 30)

struct buf {
	char *data;
	size_t len, cap, max;
};

/* Fail with ERR_FULL when the buffer would pass its maximum, or memory is refused. */
int buf_append(struct buf *b, const void *p, size_t n, struct error *err) must_check;
int buf_reserve(struct buf *b, size_t more, struct error *err) must_check; /* room for ${more} bytes behind len */

/* For text whose size the program itself bounds: cannot fail. */
void buf_puts(struct buf *b, const char *s);
void buf_putn(struct buf *b, const char *s, size_t n);
void buf_putc(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) printf_like(2, 3);

const char *buf_str(const struct buf *b); /* never NULL */
char *buf_take(struct buf *b) must_check; /* the caller frees it; the buffer is empty afterwards; never NULL */
void buf_release(struct buf *b);

#endif

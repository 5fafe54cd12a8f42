#include "base/buf.h"

#include <stdlib.h>
#include <string.h>

int buf_reserve(struct buf *b, size_t more, struct error *err)
{
	size_t max = b->max ? b->max : BUF_DEFAULT_MAX, cap = b->cap ? b->cap : 256;
	char *p;

	if (more >= max || b->len > max - more - 1)
		return err_set(err, ERR_FULL, "buffer would pass its maximum of %zu bytes", max);
	if (b->cap > b->len + more)
		return 0;
	while (cap <= b->len + more)
		cap *= 2;
	p = realloc(b->data, cap);
	if (!p)
		return err_set(err, ERR_FULL, "could not get %zu bytes of memory", cap);
	b->data = p;
	b->cap = cap;
	b->data[b->len] = '\0';
	return 0;
}

int buf_append(struct buf *b, const void *p, size_t n, struct error *err)
{
	if (buf_reserve(b, n, err) < 0)
		return -1;
	if (n)
		memcpy(b->data + b->len, p, n);
	b->len += n;
	b->data[b->len] = '\0';
	return 0;
}

void buf_putn(struct buf *b, const char *s, size_t n)
{
	if (b->len + n + 1 > b->cap)
		b->data = mem_grow(b->data, &b->cap, b->len + n + 1, 1);
	memcpy(b->data + b->len, s, n);
	b->len += n;
	b->data[b->len] = '\0';
}

void buf_puts(struct buf *b, const char *s)
{
	buf_putn(b, s, strlen(s));
}

void buf_putc(struct buf *b, char c)
{
	buf_putn(b, &c, 1);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	char *s;

	va_start(ap, fmt);
	s = mem_vprintf(fmt, ap);
	va_end(ap);
	buf_puts(b, s);
	free(s);
}

const char *buf_str(const struct buf *b)
{
	return b->data ? b->data : "";
}

char *buf_take(struct buf *b)
{
	char *p = b->data ? b->data : mem_strdup("");

	b->data = NULL;
	b->len = b->cap = 0;
	return p;
}

void buf_release(struct buf *b)
{
	free(b->data);
	b->data = NULL;
	b->len = b->cap = 0;
}

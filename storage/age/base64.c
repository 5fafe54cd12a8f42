#include "storage/age/primitives.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_put(struct buf *out, const void *p, size_t n)
{
	const uint8_t *at = p;

	for (size_t i = 0; i < n; i += 3) {
		size_t left = n - i < 3 ? n - i : 3;
		unsigned v = (unsigned)at[i] << 16 | (left > 1 ? (unsigned)at[i + 1] << 8 : 0) | (left > 2 ? at[i + 2] : 0U);

		for (size_t k = 0; k <= left; k++)
			buf_putc(out, digits[v >> (18 - 6 * k) & 63]);
	}
}

static int digit_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

ssize_t base64_get(const char *text, size_t n, uint8_t *ret)
{
	unsigned v = 0, bits = 0;
	ssize_t done = 0;

	if (n % 4 == 1)
		return -1;
	for (size_t i = 0; i < n; i++) {
		int d = digit_value(text[i]);

		if (d < 0)
			return -1;
		v = (v << 6 | (unsigned)d) & 0xfff;
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			ret[done++] = (uint8_t)(v >> bits);
		}
	}
	/* What is left over of the last digit must be zero: one text for one content. */
	return (v & ((1U << bits) - 1)) == 0 ? done : -1;
}

/*
 * Bech32 (BIP 173): a prefix, "1", the key in digits of five bits, a checksum of six more.  Keys of age have no limit of length but
 * their own, and one case: recipients lower, identities upper.
 */
#include "storage/age/primitives.h"

#include <stdlib.h>
#include <string.h>
#include <openssl/crypto.h>

#define KEY_DIGITS 52 /* 256 bits, and four of padding */
#define CHECK_DIGITS 6

static const char alphabet[] = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static uint32_t polymod_step(uint32_t sum, unsigned value)
{
	static const uint32_t generator[] = {0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3};
	uint32_t top = sum >> 25;

	sum = (sum & 0x1ffffff) << 5 ^ value;
	for (unsigned i = 0; i < 5; i++)
		if (top >> i & 1)
			sum ^= generator[i];
	return sum;
}

static uint32_t checksum(const char *prefix, const uint8_t *values, size_t n)
{
	uint32_t sum = 1;

	for (const char *p = prefix; *p; p++)
		sum = polymod_step(sum, (uint8_t)lower(*p) >> 5);
	sum = polymod_step(sum, 0);
	for (const char *p = prefix; *p; p++)
		sum = polymod_step(sum, (uint8_t)lower(*p) & 31);
	for (size_t i = 0; i < n; i++)
		sum = polymod_step(sum, values[i]);
	return sum;
}

char *bech32_encode(const char *prefix, const uint8_t key[AGE_KEY_BYTES])
{
	bool is_upper = *prefix >= 'A' && *prefix <= 'Z';
	uint8_t values[KEY_DIGITS + CHECK_DIGITS] = {0};
	size_t n = strlen(prefix);
	char *text = mem_alloc(n + 1 + sizeof(values) + 1), *at = text + n;
	uint32_t sum;

	for (unsigned bit = 0; bit < 8 * AGE_KEY_BYTES; bit++)
		values[bit / 5] |= (uint8_t)((key[bit / 8] >> (7 - bit % 8) & 1) << (4 - bit % 5));
	sum = checksum(prefix, values, sizeof(values)) ^ 1;
	for (unsigned i = 0; i < CHECK_DIGITS; i++)
		values[KEY_DIGITS + i] = sum >> (5 * (5 - i)) & 31;
	memcpy(text, prefix, n);
	*at++ = '1';
	for (size_t i = 0; i < sizeof(values); i++) {
		char c = alphabet[values[i]];

		*at++ = is_upper && c >= 'a' ? (char)(c - 32) : c;
	}
	*at = '\0';
	OPENSSL_cleanse(values, sizeof(values));
	return text;
}

/* The digits of ${text} behind the prefix into ${values}; NULL, or what is wrong. */
static const char *read_digits(const char *text, bool is_upper, uint8_t values[KEY_DIGITS + CHECK_DIGITS])
{
	for (size_t i = 0; i < KEY_DIGITS + CHECK_DIGITS; i++) {
		const char *digit;

		if (is_upper ? text[i] >= 'a' && text[i] <= 'z' : text[i] >= 'A' && text[i] <= 'Z')
			return "it is written in the wrong case";
		digit = strchr(alphabet, lower(text[i]));
		if (!digit)
			return "it has a character that cannot be in one";
		values[i] = (uint8_t)(digit - alphabet);
	}
	return NULL;
}

const char *bech32_decode(const char *prefix, const char *text, uint8_t key[AGE_KEY_BYTES])
{
	size_t n = strlen(prefix);
	uint8_t values[KEY_DIGITS + CHECK_DIGITS];
	const char *why;

	if (strncmp(text, prefix, n) != 0 || text[n] != '1')
		return "it has another beginning";
	if (strlen(text) != n + 1 + sizeof(values))
		return strlen(text) < n + 1 + sizeof(values) ? "it is too short" : "it is too long";
	why = read_digits(text + n + 1, *prefix >= 'A' && *prefix <= 'Z', values);
	if (!why && checksum(prefix, values, sizeof(values)) != 1)
		why = "its checksum does not match: look for a typing error";
	if (!why && values[KEY_DIGITS - 1] & 15)
		why = "its last bits are not zero";
	if (!why) {
		memset(key, 0, AGE_KEY_BYTES);
		for (unsigned bit = 0; bit < 8 * AGE_KEY_BYTES; bit++)
			key[bit / 8] |= (uint8_t)((values[bit / 5] >> (4 - bit % 5) & 1) << (7 - bit % 8));
	}
	OPENSSL_cleanse(values, sizeof(values));
	return why;
}

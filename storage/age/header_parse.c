/*
 * The form of a header, as strict as the format asks: one way to write each, so that nothing can be changed without the MAC
 * noticing, and two programs never read different things.
 *
 *	age-encryption.org/v1
 *	-> TYPE ARGUMENT…
 *	BODY, base64: lines of 64 columns, and a last one that is shorter, perhaps empty
 *	--- MAC
 *
 * The text comes from a place that may be hostile, and in pieces: whatever runs over the end of what is at hand asks for more.
 */
#include "storage/age/header.h"

#include <stdlib.h>
#include <string.h>

#define BODY_COLUMNS ((size_t)64)
#define MAC_DIGITS ((size_t)43)
#define ARGS_MAX 2 /* of the stanzas we know; others may have more */
#define ARMOR_BEGIN "-----BEGIN AGE ENCRYPTED FILE-----"

struct line {
	const char *p;
	size_t n; /* without the newline */
};

struct parser {
	const char *p;
	size_t n, at;
	unsigned line;
	const char *what;
	struct header *header;
	struct error *err;
};

static int damaged(const struct parser *r, const char *why)
{
	return err_set(r->err, ERR_CORRUPT, "the header of %s is damaged: line %u %s", r->what, r->line, why);
}

/* 1, 0: its end is not at hand, -1: no header is that long. */
static int next_line(struct parser *r, struct line *ret)
{
	const char *begin = r->p + r->at, *newline = memchr(begin, '\n', r->n - r->at);

	if (newline ? (size_t)(newline - r->p) >= AGE_HEADER_MAX_BYTES : r->n >= AGE_HEADER_MAX_BYTES)
		return err_set(r->err, ERR_CORRUPT, "the header of %s is damaged: it does not end within %zu bytes", r->what,
			AGE_HEADER_MAX_BYTES);
	if (!newline)
		return 0;
	*ret = (struct line){begin, (size_t)(newline - begin)};
	r->at += ret->n + 1;
	r->line++;
	return 1;
}

static bool line_is(const struct line *l, const char *text)
{
	return l->n == strlen(text) && memcmp(l->p, text, l->n) == 0;
}

static bool begins_with(const char *p, size_t n, const char *text)
{
	size_t m = strlen(text);

	return memcmp(p, text, n < m ? n : m) == 0;
}

/* --- stanzas --------------------------------------------------------------------------------------------------------------- */

/* Divides "-> TYPE ARG…" at single spaces.  The number of words, of which the first ${max} are kept; -1: not its form. */
static int split_words(const struct line *l, struct line *words, int max)
{
	int count = 0;
	size_t begin = 3;

	if (l->n < 4 || memcmp(l->p, "-> ", 3) != 0)
		return -1;
	for (size_t i = 3; i <= l->n; i++) {
		if (i < l->n && l->p[i] != ' ') {
			if (l->p[i] < 33 || l->p[i] > 126)
				return -1;
			continue;
		}
		if (i == begin)
			return -1;
		if (count < max)
			words[count] = (struct line){l->p + begin, i - begin};
		count++;
		begin = i + 1;
	}
	return count;
}

/* ${ret} gets the first AGE_WRAPPED_BYTES of the body; *ret_bytes how many it has in all. */
static int parse_body(struct parser *r, uint8_t *ret, size_t *ret_bytes)
{
	uint8_t bytes[BODY_COLUMNS / 4 * 3];
	struct line l = {0};
	size_t total = 0;
	int rc;

	do {
		ssize_t got;

		rc = next_line(r, &l);
		if (rc <= 0)
			return rc;
		if (l.n > BODY_COLUMNS)
			return damaged(r, "is longer than 64 columns");
		got = base64_get(l.p, l.n, bytes);
		if (got < 0)
			return damaged(r, "is not canonical base64");
		for (ssize_t i = 0; i < got; i++, total++)
			if (total < AGE_WRAPPED_BYTES)
				ret[total] = bytes[i];
	} while (l.n == BODY_COLUMNS);
	*ret_bytes = total;
	return 1;
}

static bool get_argument(const struct line *word, void *ret, size_t n)
{
	uint8_t bytes[AGE_POINT_BYTES + 3];

	if (word->n != (n * 4 + 2) / 3 || base64_get(word->p, word->n, bytes) != (ssize_t)n)
		return false;
	memcpy(ret, bytes, n);
	return true;
}

/* A decimal number without leading zeros, sign or anything else; larger ones than any in use are told apart no further. */
static int get_work_factor(const struct line *word)
{
	int v = 0;

	if (word->n == 0 || word->p[0] == '0')
		return -1;
	for (size_t i = 0; i < word->n; i++) {
		if (word->p[i] < '0' || word->p[i] > '9')
			return -1;
		v = v < 1000 ? v * 10 + (word->p[i] - '0') : v;
	}
	return v;
}

static int read_x25519(const struct parser *r, const struct line *words, int count, struct stanza *s)
{
	if (count != 2)
		return damaged(r, "has not the one argument of an X25519 stanza");
	return get_argument(&words[1], s->share, sizeof(s->share)) ? 0 : damaged(r, "has an argument that is no X25519 share");
}

static int read_scrypt(const struct parser *r, const struct line *words, int count, struct stanza *s)
{
	if (count != 3)
		return damaged(r, "has not the two arguments of a scrypt stanza");
	if (!get_argument(&words[1], s->salt, sizeof(s->salt)))
		return damaged(r, "has an argument that is no salt");
	s->log_n = get_work_factor(&words[2]);
	if (s->log_n < 0)
		return damaged(r, "has an argument that is no work factor");
	if (s->log_n > AGE_SCRYPT_LOG_N_MAX) {
		err_set(r->err, ERR_CORRUPT, "the header of %s is not accepted: its work factor is above %d", r->what,
			AGE_SCRYPT_LOG_N_MAX);
		return err_detail(r->err, "Deriving a key from the passphrase would take more than 4 GiB of memory.");
	}
	return 0;
}

static const struct {
	const char *type;
	int (*read)(const struct parser *r, const struct line *words, int count, struct stanza *s);
} known[] = {
	[STANZA_OTHER] = {NULL, NULL},
	[STANZA_X25519] = {"X25519", read_x25519},
	[STANZA_SCRYPT] = {"scrypt", read_scrypt},
};

static enum stanza_kind kind_of(const struct line *type)
{
	for (size_t i = 1; i < array_len(known); i++)
		if (line_is(type, known[i].type))
			return (enum stanza_kind)i;
	return STANZA_OTHER;
}

/* 1, 0, -1. */
static int parse_stanza(struct parser *r, const struct line *first)
{
	struct stanza s = {0};
	struct line words[1 + ARGS_MAX] = {{"", 0}};
	int rc, count = split_words(first, words, 1 + ARGS_MAX);
	struct header *h = r->header;
	size_t bytes = 0;

	if (count < 0)
		return damaged(r, "is neither a recipient nor the end");
	s.kind = kind_of(&words[0]);
	if (known[s.kind].read && known[s.kind].read(r, words, count, &s) < 0)
		return -1;
	rc = parse_body(r, s.body, &bytes);
	if (rc <= 0)
		return rc;
	if (s.kind != STANZA_OTHER && bytes != AGE_WRAPPED_BYTES)
		return damaged(r, "ends a file key of the wrong size");
	h->stanzas = mem_grow(h->stanzas, &h->cap, h->count + 1, sizeof(*h->stanzas));
	h->stanzas[h->count++] = s;
	return 1;
}

/* --- the whole ------------------------------------------------------------------------------------------------------------- */

static int parse_version(struct parser *r)
{
	static const char any[] = "age-encryption.org/";
	struct line l = {0};
	int rc;

	if (begins_with(r->p, r->n, ARMOR_BEGIN) && r->n >= sizeof(ARMOR_BEGIN) - 1) {
		err_set(r->err, ERR_CONFIG, "%s is armored, which is not supported", r->what);
		return err_hint(r->err, "\"age -d\" reads it.");
	}
	if (!begins_with(r->p, r->n, any) && !begins_with(r->p, r->n, ARMOR_BEGIN))
		return err_set(r->err, ERR_CORRUPT, "%s is no age file", r->what);
	rc = next_line(r, &l);
	if (rc <= 0)
		return rc;
	if (!line_is(&l, HEADER_VERSION)) {
		if (l.n == strlen(HEADER_VERSION) + 1 && l.p[l.n - 1] == '\r')
			return damaged(r, "ends with a carriage return: it was transferred as text");
		return err_set(
			r->err, ERR_CORRUPT, "the header of %s is damaged: it is not of version 1 of the age format", r->what);
	}
	return 1;
}

static int parse_end(struct parser *r, const struct line *l)
{
	struct header *h = r->header;
	uint8_t mac[AGE_MAC_BYTES + 3];

	if (l->n != 4 + MAC_DIGITS || l->p[3] != ' ' || base64_get(l->p + 4, MAC_DIGITS, mac) != (ssize_t)AGE_MAC_BYTES)
		return damaged(r, "is not the end that it should be");
	if (h->count == 0)
		return damaged(r, "ends it before any recipient");
	for (size_t i = 0; i < h->count; i++)
		if (h->stanzas[i].kind == STANZA_SCRYPT && h->count > 1)
			return damaged(r, "ends it with a passphrase and other recipients, which cannot be combined");
	memcpy(h->mac, mac, sizeof(h->mac));
	h->mac_text_bytes = (size_t)(l->p - r->p) + 3;
	h->bytes = r->at;
	return 1;
}

int header_parse(const void *p, size_t n, const char *what, struct header *ret, struct error *err)
{
	struct parser r = {.p = p, .n = n, .what = what, .header = ret, .err = err};
	int rc = n > 0 ? parse_version(&r) : 0;

	*ret = (struct header){0};
	while (rc == 1) {
		struct line l = {0};

		rc = next_line(&r, &l);
		if (rc == 1 && l.n >= 3 && memcmp(l.p, "---", 3) == 0) {
			rc = parse_end(&r, &l);
			break;
		}
		if (rc == 1)
			rc = parse_stanza(&r, &l);
	}
	if (rc != 1)
		header_release(ret);
	return rc;
}

void header_release(struct header *h)
{
	free(h->stanzas);
	*h = (struct header){0};
}

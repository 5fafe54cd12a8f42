/*
 * Secrets taken out of text that comes in pieces.  A piece may end in the middle of a secret, so as many bytes as the longest secret
 * has, less one, are held back when they might be the beginning of one.
 */
#include "orchestrator/steps/command.h"

#include <stdlib.h>
#include <string.h>
#include "base/json.h"
#include "orchestrator/postgres/conn.h"
#include "orchestrator/stack/config.h"

static void add_one(struct scrub *s, const char *secret, size_t n)
{
	size_t at = 0;

	if (n < SCRUB_MIN_BYTES)
		return;
	while (at < s->count && s->lengths[at] >= n)
		at++;
	s->secrets = mem_grow(s->secrets, &s->cap, s->count + 1, sizeof(*s->secrets));
	s->lengths = mem_grow(s->lengths, &s->lengths_cap, s->count + 1, sizeof(*s->lengths));
	memmove(s->secrets + at + 1, s->secrets + at, (s->count - at) * sizeof(*s->secrets));
	memmove(s->lengths + at + 1, s->lengths + at, (s->count - at) * sizeof(*s->lengths));
	s->secrets[at] = mem_strndup(secret, n);
	s->lengths[at] = n;
	s->count++;
	s->is_first[(unsigned char)*secret] = true;
	s->longest = s->lengths[0];
}

/* The password of a connection string, as libpq reads it. */
static void add_password(struct scrub *s, const char *secret)
{
	char *why = NULL;
	PQconninfoOption *list = PQconninfoParse(secret, &why);

	for (const PQconninfoOption *o = list; o && o->keyword; o++) {
		if (o->val && (strcmp(o->keyword, "password") == 0 || strcmp(o->keyword, "sslpassword") == 0))
			add_one(s, o->val, strlen(o->val));
	}
	PQconninfoFree(list);
	PQfreemem(why);
}

/* The password of any URL, as it stands there. */
static void add_url_password(struct scrub *s, const char *secret)
{
	const char *host = strstr(secret, "://"), *colon, *at;

	if (!host)
		return;
	host += 3;
	at = memchr(host, '@', strcspn(host, "/?#"));
	colon = at ? memchr(host, ':', (size_t)(at - host)) : NULL;
	if (colon)
		add_one(s, colon + 1, (size_t)(at - colon - 1));
}

void scrub_add(struct scrub *s, const char *secret)
{
	const char *line = secret, *end;

	add_one(s, secret, strlen(secret));
	add_password(s, secret);
	add_url_password(s, secret);
	for (; (end = strchr(line, '\n')); line = end + 1)
		add_one(s, line, (size_t)(end - line));
	if (line != secret)
		add_one(s, line, strlen(line));
}

void scrub_release(struct scrub *s)
{
	for (size_t i = 0; i < s->count; i++) {
		explicit_bzero(s->secrets[i], s->lengths[i]);
		free(s->secrets[i]);
	}
	free(s->secrets);
	free(s->lengths);
	memset(s, 0, sizeof(*s));
}

/* How many bytes at ${p} are a secret; 0: none are.  *ret_may_follow: they may be the beginning of one, unless nothing comes after. */
static size_t secret_at(const struct scrub *s, const char *p, size_t n, bool is_last, bool *ret_may_follow)
{
	*ret_may_follow = false;
	if (!s->is_first[(unsigned char)*p])
		return 0;
	for (size_t i = 0; i < s->count; i++) {
		size_t len = s->lengths[i];

		if (len <= n && memcmp(p, s->secrets[i], len) == 0)
			return len;
		if (len > n && !is_last && memcmp(p, s->secrets[i], n) == 0) {
			*ret_may_follow = true;
			return 0;
		}
	}
	return 0;
}

static void drop_front(struct buf *b, size_t n)
{
	if (n == 0)
		return;
	memmove(b->data, b->data + n, b->len - n);
	b->len -= n;
	b->data[b->len] = '\0';
}

void scrub_feed(const struct scrub *s, struct buf *held, const char *text, size_t n, bool is_last, struct buf *out)
{
	size_t at = 0, plain = 0;
	bool may_follow = false;

	if (n > 0)
		buf_putn(held, text, n);
	while (at < held->len) {
		size_t hit = secret_at(s, held->data + at, held->len - at, is_last, &may_follow);

		if (may_follow)
			break;
		if (hit > 0) {
			buf_putn(out, held->data + plain, at - plain);
			buf_puts(out, "***");
			plain = at + hit;
		}
		at += hit ? hit : 1;
	}
	if (at > plain)
		buf_putn(out, held->data + plain, at - plain);
	drop_front(held, at);
}

char *scrub_text(const struct scrub *s, const char *text, size_t n)
{
	cleanup(buf_release) struct buf held = {0};
	struct buf out = {0};

	scrub_feed(s, &held, text, n, true, &out);
	return buf_take(&out);
}

static void scrub_in_place(const struct scrub *s, char **text)
{
	char *clean = *text ? scrub_text(s, *text, strlen(*text)) : NULL;

	free(*text);
	*text = clean;
}

void scrub_error(const struct scrub *s, struct error *err)
{
	scrub_in_place(s, &err->message);
	scrub_in_place(s, &err->detail);
	scrub_in_place(s, &err->hint);
}

char *text_shown(const char *text, size_t max_bytes)
{
	size_t n = strlen(text), kept = 0;
	char *shown;

	for (size_t len; kept < n; kept += len) {
		len = utf8_length(text + kept, n - kept);
		len = len ? len : 1;
		if (kept + len > max_bytes)
			break;
	}
	shown = mem_printf("%.*s%s", (int)kept, text, kept < n ? "…" : "");
	for (char *c = shown; *c; c++)
		*c = (unsigned char)*c < ' ' || *c == 0x7f ? ' ' : *c;
	return shown;
}

int scrub_resolve(struct scrub *s, const char *text, const char *what, char **ret, struct error *err)
{
	if (config_resolve(text, what, ret, err) < 0)
		return -1;
	if (strcmp(text, *ret) != 0)
		scrub_add(s, *ret);
	return 0;
}

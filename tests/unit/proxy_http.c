#include "tests/unit/proxy_http.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

bool proxy_write(int fd, const char *p, size_t n)
{
	for (ssize_t got; n > 0; p += got, n -= (size_t)got) {
		got = send(fd, p, n, MSG_NOSIGNAL);
		if (got < 0 && errno == EINTR)
			got = 0;
		if (got < 0)
			return false;
	}
	return true;
}

bool proxy_fill(struct proxy_stream *s)
{
	ssize_t got;

	if (s->at == s->len)
		s->at = s->len = 0;
	if (s->at > 0 && s->len == PROXY_BUFFER_BYTES) {
		memmove(s->data, s->data + s->at, s->len - s->at);
		s->len -= s->at;
		s->at = 0;
	}
	do {
		got = recv(s->fd, s->data + s->len, PROXY_BUFFER_BYTES - s->len, 0);
	} while (got < 0 && errno == EINTR);
	if (got > 0)
		s->len += (size_t)got;
	return got > 0;
}

void proxy_message_release(struct proxy_message *m)
{
	free(m->head);
	free(m->method);
	free(m->target);
	*m = (struct proxy_message){0};
}

/* The value of a header in the head, malloc'd; NULL: it is not there. */
static char *header(const char *head, const char *name)
{
	size_t n = strlen(name);

	for (const char *line = strstr(head, "\r\n"); line && line[2]; line = strstr(line + 2, "\r\n")) {
		const char *value = line + 2 + n;

		if (strncasecmp(line + 2, name, n) != 0 || *value != ':')
			continue;
		value += 1 + strspn(value + 1, " ");
		return mem_strndup(value, strcspn(value, "\r"));
	}
	return NULL;
}

static bool header_has(const char *head, const char *name, const char *word)
{
	char *value cleanup(mem_freep) = header(head, name);

	return value && strcasestr(value, word);
}

static struct proxy_body body_of(const struct proxy_message *m, bool is_response, bool is_without)
{
	char *length cleanup(mem_freep) = header(m->head, "content-length");
	struct proxy_body b = {.kind = PROXY_BODY_LENGTH};

	if (is_without)
		b.is_done = true;
	else if (header_has(m->head, "transfer-encoding", "chunked"))
		b.kind = PROXY_BODY_CHUNKED;
	else if (length)
		b.left = strtoull(length, NULL, 10);
	else if (is_response)
		b.kind = PROXY_BODY_UNTIL_CLOSE;
	if (b.kind == PROXY_BODY_LENGTH && b.left == 0)
		b.is_done = true;
	return b;
}

static bool take_head(struct proxy_stream *s, struct proxy_message *m)
{
	const char *start = s->data + s->at, *end = memmem(start, s->len - s->at, "\r\n\r\n", 4);

	if (!end)
		return false;
	m->head_bytes = (size_t)(end - start) + 4;
	m->head = mem_strndup(start, m->head_bytes);
	s->at += m->head_bytes;
	m->is_last = header_has(m->head, "connection", "close");
	return true;
}

bool proxy_take_request(struct proxy_stream *s, struct proxy_message *m)
{
	size_t method, target;

	if (!take_head(s, m))
		return false;
	method = strcspn(m->head, " ");
	target = strcspn(m->head + method + 1, " \r");
	m->method = mem_strndup(m->head, method);
	m->target = mem_strndup(m->head + method + 1, target);
	m->is_expecting = header_has(m->head, "expect", "100-continue");
	m->body = body_of(m, false, false);
	return true;
}

bool proxy_take_response(struct proxy_stream *s, bool is_to_head, struct proxy_message *m)
{
	if (!take_head(s, m))
		return false;
	m->status = m->head_bytes > 12 ? (int)strtol(m->head + 9, NULL, 10) : 0;
	m->body = body_of(m, true, m->status == 204 || m->status == 304 || is_to_head);
	return true;
}

/* One byte of a chunk's framing. */
static void chunk_byte(struct proxy_body *b, char c)
{
	if (c != '\n') {
		char hex[2] = {c, '\0'};

		if (b->chunk == PROXY_CHUNK_SIZE && b->line != UINT32_MAX && strchr("0123456789abcdefABCDEF", c))
			b->left = b->left * 16 + strtoul(hex, NULL, 16);
		else if (b->chunk == PROXY_CHUNK_SIZE)
			b->line = UINT32_MAX; /* an extension, or the end of the line */
		else if (c != '\r')
			b->line++;
		return;
	}
	if (b->chunk == PROXY_CHUNK_SIZE)
		b->chunk = b->left > 0 ? PROXY_CHUNK_DATA : PROXY_CHUNK_TRAILER;
	else if (b->chunk == PROXY_CHUNK_END)
		b->chunk = PROXY_CHUNK_SIZE;
	else
		b->is_done = b->line == 0;
	b->line = 0;
}

size_t proxy_follow(struct proxy_body *b, char *p, size_t n, int64_t flip_at, int64_t cut_at)
{
	size_t used = 0;

	while (used < n && !b->is_done) {
		size_t run = n - used;

		if (b->kind == PROXY_BODY_CHUNKED && b->chunk != PROXY_CHUNK_DATA) {
			chunk_byte(b, p[used++]);
			continue;
		}
		if (cut_at >= 0 && run > (uint64_t)cut_at - b->passed)
			run = (uint64_t)cut_at - b->passed;
		if (b->kind != PROXY_BODY_UNTIL_CLOSE && run > b->left)
			run = b->left;
		if (run == 0)
			break;
		if (flip_at >= 0 && (uint64_t)flip_at >= b->passed && (uint64_t)flip_at - b->passed < run)
			p[used + ((uint64_t)flip_at - b->passed)] ^= 0x10;
		b->passed += run;
		b->left -= b->kind == PROXY_BODY_UNTIL_CLOSE ? 0 : run;
		used += run;
		if (b->left == 0 && b->kind == PROXY_BODY_LENGTH)
			b->is_done = true;
		else if (b->left == 0 && b->kind == PROXY_BODY_CHUNKED)
			b->chunk = PROXY_CHUNK_END;
	}
	return used;
}

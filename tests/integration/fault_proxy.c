/*
 * A proxy between an HTTP/1.1 client and its server that does what networks and servers rarely do, when it is told to.
 *
 *	fault_proxy [--port N] [--log FILE] HOST:PORT
 *
 * prints "PORT CONTROL" on one line: where it listens (loopback), and where it takes orders.  Orders are lines; the answer to each is
 * one line, "ok", a number, or "error: …".
 *
 *	add WHEN KIND [NAME=VALUE…]      WHEN: 7, 7-9, 7- or *: which requests, counted from 1, or from 1 among those that
 *	                                 method= and path= (a part of the target) let through
 *	random SEED PERMILLE KIND[,KIND…]  so many of all requests that no other fault was for; depends on the seed and the number
 *	clear                            forgets all faults
 *	zero                             counts from the beginning again; faults stay
 *	requests, faults                 how many there were
 *
 * KIND, and what after= counts:
 *	delay ms=N                       then as usual
 *	reset, close                     at once; the server never hears of the request
 *	reset-request, close-request, stall-request after=K
 *	                                 when the head and K bytes of the request's body have gone to the server (0)
 *	reset-response, close-response, stall-response after=K
 *	                                 when the head and K bytes of the response's body have gone to the client; -1 (the default):
 *	                                 none of it, but the server has done what it was asked for
 *	flip-request, flip-response after=K  one bit of byte K of the body is turned (0)
 *	answer status=N [code=WORD] [retry_after=S] [location=URL] [body=TEXT] [skew_s=N] [echo=1] [chunked=1]
 *                                 the proxy answers by itself; the server never hears of it; echo: with the request's body
 *	answer-after …                   the same when the server has done it
 * reset is a TCP reset, close an orderly end, stall keeps the connection and moves no byte more.  With --log each request is a line:
 * its number, method, target, and the kind of fault or "-".
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"

#define BUFFER_BYTES ((size_t)64 << 10)
#define LINGER_MS 2000
#define CHUNK_BYTES ((size_t)5)

/* --- the plan -------------------------------------------------------------------------------------------------------------- */

enum action { PASS, DELAY, RESET, CLOSE, STALL, FLIP, ANSWER };
enum place { HEAD /* before anything is passed on */, REQUEST, RESPONSE };

static const struct kind {
	const char *name;
	enum action action;
	enum place place;
	int64_t after; /* where nothing is said */
} kinds[] = {
	{"-", PASS, HEAD, 0},
	{"delay", DELAY, HEAD, 0},
	{"reset", RESET, HEAD, 0},
	{"close", CLOSE, HEAD, 0},
	{"reset-request", RESET, REQUEST, 0},
	{"close-request", CLOSE, REQUEST, 0},
	{"stall-request", STALL, REQUEST, 0},
	{"reset-response", RESET, RESPONSE, -1},
	{"close-response", CLOSE, RESPONSE, -1},
	{"stall-response", STALL, RESPONSE, -1},
	{"flip-request", FLIP, REQUEST, 0},
	{"flip-response", FLIP, RESPONSE, 0},
	{"answer", ANSWER, HEAD, 0},
	{"answer-after", ANSWER, RESPONSE, -1},
};

struct fault {
	const struct kind *kind;
	int64_t after, ms, status, retry_after, skew_s, echo, chunked;
	char *code, *location, *body;
	/* when */
	uint64_t from, to, seen;
	char *method, *path;
};

static struct plan {
	pthread_mutex_t lock;
	struct fault *faults; /* never freed while requests may use their texts: "clear" forgets */
	size_t count, cap;
	uint64_t requests, done;
	uint64_t seed;
	unsigned per_mille;
	const struct kind *random_kinds[array_len(kinds)];
	size_t random_count;
	int log_fd;
} plan = {.lock = PTHREAD_MUTEX_INITIALIZER, .log_fd = -1};

static struct sockaddr_in upstream_address;

static const struct kind *kind_by_name(const char *name)
{
	for (size_t i = 0; i < array_len(kinds); i++) {
		if (strcmp(kinds[i].name, name) == 0)
			return &kinds[i];
	}
	return NULL;
}

static uint64_t mix(uint64_t z)
{
	z += 0x9e3779b97f4a7c15u;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static struct fault random_fault(void)
{
	static char code[] = "SlowDown";
	uint64_t r = mix(plan.seed * 1000003 + plan.requests);
	struct fault f = {.kind = &kinds[0], .status = 503, .code = code, .retry_after = -1, .ms = (int64_t)(r >> 20 & 0xff)};

	if (plan.random_count == 0 || r % 1000 >= plan.per_mille)
		return f;
	f.kind = plan.random_kinds[(r >> 32) % plan.random_count];
	f.after = (r >> 16 & 3) == 0 ? f.kind->after : (int64_t)(r >> 40 & 0xffff) >> (r >> 56 & 15); /* small ones, too */
	return f;
}

/* What this request is to meet; logs it. */
static struct fault plan_choose(const char *method, const char *target)
{
	struct fault chosen = {0};
	char *line;

	pthread_mutex_lock(&plan.lock);
	plan.requests++;
	for (size_t i = 0; i < plan.count; i++) {
		struct fault *f = &plan.faults[i];

		if ((f->method && strcmp(f->method, method) != 0) || (f->path && !strstr(target, f->path)))
			continue;
		f->seen++;
		if (!chosen.kind && f->seen >= f->from && f->seen <= f->to)
			chosen = *f;
	}
	if (!chosen.kind)
		chosen = random_fault();
	plan.done += chosen.kind->action != PASS;
	if (plan.log_fd >= 0) {
		line = mem_printf("%llu %s %s %s\n", (unsigned long long)plan.requests, method, target, chosen.kind->name);
		if (write(plan.log_fd, line, strlen(line)) < 0)
			perror("fault_proxy: log");
		free(line);
	}
	pthread_mutex_unlock(&plan.lock);
	return chosen;
}

/* --- orders ---------------------------------------------------------------------------------------------------------------- */

static bool parse_when(const char *text, struct fault *f)
{
	char *end;

	f->from = 1;
	f->to = UINT64_MAX;
	if (strcmp(text, "*") == 0)
		return true;
	f->from = strtoull(text, &end, 10);
	if (end == text || f->from == 0)
		return false;
	if (!*end)
		f->to = f->from;
	else if (*end == '-' && end[1])
		f->to = strtoull(end + 1, &end, 10);
	else if (*end == '-')
		end++;
	return !*end && f->to >= f->from;
}

static bool parse_setting(struct fault *f, char *text)
{
	const struct {
		const char *name;
		int64_t *number;
		char **text;
	} settings[] = {{"after", &f->after, NULL}, {"ms", &f->ms, NULL}, {"status", &f->status, NULL},
		{"retry_after", &f->retry_after, NULL}, {"skew_s", &f->skew_s, NULL}, {"echo", &f->echo, NULL},
		{"chunked", &f->chunked, NULL}, {"code", NULL, &f->code}, {"location", NULL, &f->location},
		{"body", NULL, &f->body}, {"method", NULL, &f->method}, {"path", NULL, &f->path}};
	char *value = strchr(text, '=');
	char *end = NULL;

	if (!value)
		return false;
	*value++ = '\0';
	for (size_t i = 0; i < array_len(settings); i++) {
		if (strcmp(settings[i].name, text) != 0)
			continue;
		if (settings[i].text)
			*settings[i].text = mem_strdup(value);
		else
			*settings[i].number = strtoll(value, &end, 10);
		return settings[i].text || (end > value && !*end);
	}
	return false;
}

static char *order_add(char *rest)
{
	struct fault f = {.status = 503, .retry_after = -1};
	char *save = NULL, *when = strtok_r(rest, " ", &save), *kind = when ? strtok_r(NULL, " ", &save) : NULL;

	if (!when || !kind || !parse_when(when, &f) || !(f.kind = kind_by_name(kind)))
		return mem_strdup("error: add WHEN KIND [NAME=VALUE…]");
	f.after = f.kind->after;
	for (char *word = strtok_r(NULL, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		if (!parse_setting(&f, word))
			return mem_printf("error: setting \"%s\" is not known", word);
	}
	plan.faults = mem_grow(plan.faults, &plan.cap, plan.count + 1, sizeof(plan.faults[0]));
	plan.faults[plan.count++] = f;
	return mem_strdup("ok");
}

static char *order_random(char *rest)
{
	char *save = NULL, *seed = strtok_r(rest, " ", &save), *rate = seed ? strtok_r(NULL, " ", &save) : NULL;
	const struct kind *chosen[array_len(kinds)];
	size_t count = 0;

	for (char *word = rate ? strtok_r(NULL, " ,", &save) : NULL; word; word = strtok_r(NULL, " ,", &save)) {
		if (count == array_len(kinds) || !(chosen[count++] = kind_by_name(word)))
			return mem_printf("error: no fault is called \"%s\"", word);
	}
	if (count == 0)
		return mem_strdup("error: random SEED PERMILLE KIND[,KIND…]");
	memcpy(plan.random_kinds, chosen, sizeof(chosen));
	plan.random_count = count;
	plan.seed = strtoull(seed, NULL, 10);
	plan.per_mille = (unsigned)strtoul(rate, NULL, 10);
	return mem_strdup("ok");
}

static char *order_clear(char *rest)
{
	(void)rest;
	plan.count = 0;
	plan.random_count = 0;
	return mem_strdup("ok");
}

static char *order_zero(char *rest)
{
	(void)rest;
	plan.requests = plan.done = 0;
	for (size_t i = 0; i < plan.count; i++)
		plan.faults[i].seen = 0;
	return mem_strdup("ok");
}

static char *order_requests(char *rest)
{
	(void)rest;
	return mem_printf("%llu", (unsigned long long)plan.requests);
}

static char *order_faults(char *rest)
{
	(void)rest;
	return mem_printf("%llu", (unsigned long long)plan.done);
}

/* malloc'd answer */
static char *obey(char *line)
{
	static const struct {
		const char *name;
		char *(*run)(char *rest);
	} orders[] = {{"add", order_add}, {"random", order_random}, {"clear", order_clear}, {"zero", order_zero},
		{"requests", order_requests}, {"faults", order_faults}};
	size_t n = strcspn(line, " ");
	char *rest = line + n + (line[n] == ' '), *answer = NULL;

	line[n] = '\0';
	pthread_mutex_lock(&plan.lock);
	for (size_t i = 0; i < array_len(orders) && !answer; i++) {
		if (strcmp(orders[i].name, line) == 0)
			answer = orders[i].run(rest);
	}
	pthread_mutex_unlock(&plan.lock);
	return answer ? answer : mem_printf("error: no order is called \"%s\"", line);
}

static void *take_orders(void *ctx)
{
	int fd = (int)(intptr_t)ctx;
	FILE *stream = fdopen(fd, "r");
	char *line = NULL, *answer;
	size_t cap = 0;

	while (stream && getline(&line, &cap, stream) > 0) {
		line[strcspn(line, "\r\n")] = '\0';
		answer = obey(line);
		if (dprintf(fd, "%s\n", answer) < 0)
			perror("fault_proxy: order");
		free(answer);
	}
	free(line);
	if (stream)
		(void)fclose(stream); /* read only */
	return NULL;
}

/* --- HTTP ------------------------------------------------------------------------------------------------------------------ */

struct stream {
	int fd;
	char data[BUFFER_BYTES];
	size_t at, len; /* what is buffered: from at to len */
};

enum body_kind { BODY_LENGTH, BODY_CHUNKED, BODY_UNTIL_CLOSE };
enum chunk_state { CHUNK_SIZE, CHUNK_DATA, CHUNK_END, CHUNK_TRAILER };
struct body {
	enum body_kind kind;
	uint64_t left;   /* of the body, or of the chunk */
	uint64_t passed; /* data, without the chunks' framing */
	bool is_done;
	enum chunk_state chunk;
	unsigned line; /* characters of the current line of framing */
};

struct message {
	char *head; /* malloc'd, with the empty line */
	size_t head_bytes;
	char *method, *target; /* of a request; malloc'd */
	int status;            /* of a response */
	bool is_last, is_expecting;
	struct body body;
};

static void message_release(struct message *m)
{
	free(m->head);
	free(m->method);
	free(m->target);
	*m = (struct message){0};
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

static struct body body_of(const struct message *m, bool is_response, bool is_without)
{
	char *length cleanup(mem_freep) = header(m->head, "content-length");
	struct body b = {.kind = BODY_LENGTH};

	if (is_without)
		b.is_done = true;
	else if (header_has(m->head, "transfer-encoding", "chunked"))
		b.kind = BODY_CHUNKED;
	else if (length)
		b.left = strtoull(length, NULL, 10);
	else if (is_response)
		b.kind = BODY_UNTIL_CLOSE;
	if (b.kind == BODY_LENGTH && b.left == 0)
		b.is_done = true;
	return b;
}

/* One byte of a chunk's framing. */
static void chunk_byte(struct body *b, char c)
{
	if (c != '\n') {
		char hex[2] = {c, '\0'};

		if (b->chunk == CHUNK_SIZE && b->line != UINT32_MAX && strchr("0123456789abcdefABCDEF", c))
			b->left = b->left * 16 + strtoul(hex, NULL, 16);
		else if (b->chunk == CHUNK_SIZE)
			b->line = UINT32_MAX; /* an extension, or the end of the line */
		else if (c != '\r')
			b->line++;
		return;
	}
	if (b->chunk == CHUNK_SIZE)
		b->chunk = b->left > 0 ? CHUNK_DATA : CHUNK_TRAILER;
	else if (b->chunk == CHUNK_END)
		b->chunk = CHUNK_SIZE;
	else
		b->is_done = b->line == 0;
	b->line = 0;
}

/* Follows the body through ${n} bytes, up to its end or to byte ${cut_at} of its data (-1: none), turning a bit of byte ${flip_at}.
 * Returns how many of them it has seen. */
static size_t body_follow(struct body *b, char *p, size_t n, int64_t flip_at, int64_t cut_at)
{
	size_t used = 0;

	while (used < n && !b->is_done) {
		size_t run = n - used;

		if (b->kind == BODY_CHUNKED && b->chunk != CHUNK_DATA) {
			chunk_byte(b, p[used++]);
			continue;
		}
		if (cut_at >= 0 && run > (uint64_t)cut_at - b->passed)
			run = (uint64_t)cut_at - b->passed;
		if (b->kind != BODY_UNTIL_CLOSE && run > b->left)
			run = b->left;
		if (run == 0)
			break;
		if (flip_at >= 0 && (uint64_t)flip_at >= b->passed && (uint64_t)flip_at - b->passed < run)
			p[used + ((uint64_t)flip_at - b->passed)] ^= 0x10;
		b->passed += run;
		b->left -= b->kind == BODY_UNTIL_CLOSE ? 0 : run;
		used += run;
		if (b->left == 0 && b->kind == BODY_LENGTH)
			b->is_done = true;
		else if (b->left == 0 && b->kind == BODY_CHUNKED)
			b->chunk = CHUNK_END;
	}
	return used;
}

/* --- connections ----------------------------------------------------------------------------------------------------------- */

struct connection {
	struct stream client, upstream;
	struct message request, response;
	struct fault fault;
	struct buf dropped; /* what drop_body() has seen */
	bool is_over;
};

static bool write_all(int fd, const char *p, size_t n)
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

/* More bytes behind what is buffered; false at the end, after a failure, or where there is no room. */
static bool stream_fill(struct stream *s)
{
	ssize_t got;

	if (s->at == s->len)
		s->at = s->len = 0;
	if (s->at > 0 && s->len == BUFFER_BYTES) {
		memmove(s->data, s->data + s->at, s->len - s->at);
		s->len -= s->at;
		s->at = 0;
	}
	do {
		got = recv(s->fd, s->data + s->len, BUFFER_BYTES - s->len, 0);
	} while (got < 0 && errno == EINTR);
	if (got > 0)
		s->len += (size_t)got;
	return got > 0;
}

/* Takes a complete head out of the buffer; false: it is not all there yet. */
static bool take_head(struct stream *s, struct message *m)
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

static bool read_request(struct connection *c)
{
	struct message *m = &c->request;
	size_t method, target;

	while (!take_head(&c->client, m)) {
		if (!stream_fill(&c->client))
			return false;
	}
	method = strcspn(m->head, " ");
	target = strcspn(m->head + method + 1, " \r");
	m->method = mem_strndup(m->head, method);
	m->target = mem_strndup(m->head + method + 1, target);
	m->is_expecting = header_has(m->head, "expect", "100-continue");
	m->body = body_of(m, false, false);
	return true;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void reset_fd(int *fd)
{
	const struct linger at_once = {.l_onoff = 1};

	(void)setsockopt(*fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close_fd(fd);
}

/* The fault at its place: nothing more moves on this connection. */
static void strike(struct connection *c)
{
	struct pollfd gone = {.fd = c->client.fd, .events = POLLRDHUP};

	c->is_over = true;
	if (c->fault.kind->action == STALL) {
		while (poll(&gone, 1, -1) < 0 && errno == EINTR)
			;
	}
	if (c->fault.kind->action == RESET) {
		reset_fd(&c->client.fd);
		if (c->upstream.fd >= 0)
			reset_fd(&c->upstream.fd);
	}
}

/* A client that is still sending must be able to read what it was told. */
static void linger(struct connection *c)
{
	struct pollfd more = {.fd = c->client.fd, .events = POLLIN};

	c->is_over = true;
	(void)shutdown(c->client.fd, SHUT_WR);
	do {
		c->client.at = c->client.len = 0;
	} while (poll(&more, 1, LINGER_MS) > 0 && stream_fill(&c->client));
}

static const char *reason(int status)
{
	static const struct {
		int status;
		const char *text;
	} reasons[] = {{200, "OK"}, {307, "Temporary Redirect"}, {403, "Forbidden"}, {404, "Not Found"},
		{429, "Too Many Requests"}, {500, "Internal Server Error"}, {501, "Not Implemented"}, {503, "Slow Down"}};

	for (size_t i = 0; i < array_len(reasons); i++) {
		if (reasons[i].status == status)
			return reasons[i].text;
	}
	return "Whatever";
}

static void put_body(struct buf *out, const struct buf *body, bool is_chunked)
{
	if (!is_chunked) {
		buf_putn(out, buf_str(body), body->len);
		return;
	}
	for (size_t at = 0, n; at < body->len; at += n) {
		n = body->len - at < CHUNK_BYTES ? body->len - at : CHUNK_BYTES;
		buf_printf(out, "%zx;of=ours\r\n", n);
		buf_putn(out, body->data + at, n);
		buf_puts(out, "\r\n");
	}
	buf_puts(out, "0\r\nX-Trailer: yes\r\n\r\n");
}

static void answer(struct connection *c)
{
	const struct fault *f = &c->fault;
	time_t now = time(NULL) + f->skew_s;
	char date[64];
	struct tm tm;
	struct buf body cleanup(buf_release) = {0}, out cleanup(buf_release) = {0};

	if (f->echo)
		buf_putn(&body, buf_str(&c->dropped), c->dropped.len);
	else if (f->body)
		buf_puts(&body, f->body);
	else if (f->code)
		buf_printf(&body,
			"<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>%s</Code><Message>by order</Message></Error>",
			f->code);
	(void)gmtime_r(&now, &tm);
	(void)strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	buf_printf(&out, "HTTP/1.1 %d %s\r\nDate: %s\r\nContent-Type: application/xml\r\n", (int)f->status,
		reason((int)f->status), date);
	if (f->chunked)
		buf_puts(&out, "Transfer-Encoding: chunked\r\n");
	else
		buf_printf(&out, "Content-Length: %zu\r\n", body.len);
	if (f->retry_after >= 0)
		buf_printf(&out, "Retry-After: %d\r\n", (int)f->retry_after);
	if (f->location)
		buf_printf(&out, "Location: %s\r\n", f->location);
	buf_puts(&out, "\r\n");
	if (strcmp(c->request.method, "HEAD") != 0)
		put_body(&out, &body, f->chunked);
	if (!write_all(c->client.fd, out.data, out.len))
		c->is_over = true;
}

/* The whole of the request's body, to nobody. */
static bool drop_body(struct connection *c)
{
	for (;;) {
		char *p = c->client.data + c->client.at;
		size_t n = body_follow(&c->request.body, p, c->client.len - c->client.at, -1, -1);

		c->client.at += n;
		if (c->fault.echo)
			buf_putn(&c->dropped, p, n);
		if (c->request.body.is_done)
			return true;
		if (!stream_fill(&c->client))
			return false;
	}
}

static bool connect_upstream(struct connection *c)
{
	int on = 1;

	if (c->upstream.fd >= 0)
		return true;
	c->upstream.at = c->upstream.len = 0;
	c->upstream.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->upstream.fd < 0 ||
		connect(c->upstream.fd, (const struct sockaddr *)&upstream_address, sizeof(upstream_address)) < 0) {
		close_fd(&c->upstream.fd);
		return false;
	}
	(void)setsockopt(c->upstream.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return true;
}

/* Where the fault of this place cuts or flips; -1: nowhere. */
static int64_t cut_at(const struct connection *c, enum place place)
{
	const struct kind *k = c->fault.kind;

	return k->place == place && (k->action == RESET || k->action == CLOSE || k->action == STALL) ? c->fault.after : -1;
}

static int64_t flip_at(const struct connection *c, enum place place)
{
	return c->fault.kind->place == place && c->fault.kind->action == FLIP ? c->fault.after : -1;
}

static bool is_cut(const struct connection *c, enum place place, const struct body *b)
{
	int64_t at = cut_at(c, place);

	return at >= 0 && (b->passed >= (uint64_t)at || b->is_done);
}

/* What is buffered of the request's body goes to the server. */
static void pass_request(struct connection *c)
{
	struct stream *s = &c->client;
	char *p = s->data + s->at;
	size_t n = body_follow(&c->request.body, p, s->len - s->at, flip_at(c, REQUEST), cut_at(c, REQUEST));

	s->at += n;
	if (!write_all(c->upstream.fd, p, n))
		c->request.body.is_done = true; /* the server has its reasons: its answer will tell */
	if (is_cut(c, REQUEST, &c->request.body))
		strike(c);
}

/* Heads of the response that are all there, "100 Continue" among them. */
static void pass_response_head(struct connection *c)
{
	struct message *m = &c->response;
	bool is_ours = c->fault.kind->place == RESPONSE && c->fault.kind->action == ANSWER;
	bool is_without;

	while (!m->head && take_head(&c->upstream, m)) {
		m->status = m->head_bytes > 12 ? atoi(m->head + 9) : 0;
		is_without = m->status == 204 || m->status == 304 || strcmp(c->request.method, "HEAD") == 0;
		m->body = body_of(m, true, is_without);
		if (m->status >= 200 && c->fault.kind->place == RESPONSE && c->fault.after < 0 && !is_ours) {
			strike(c);
			return;
		}
		if (!is_ours && !write_all(c->client.fd, m->head, m->head_bytes))
			c->is_over = true;
		if (m->status < 200)
			message_release(m);
	}
}

static void pass_response(struct connection *c)
{
	struct stream *s = &c->upstream;
	bool is_ours = c->fault.kind->place == RESPONSE && c->fault.kind->action == ANSWER;
	char *p;
	size_t n;

	pass_response_head(c);
	if (c->is_over || !c->response.head)
		return;
	p = s->data + s->at;
	n = body_follow(&c->response.body, p, s->len - s->at, flip_at(c, RESPONSE), cut_at(c, RESPONSE));
	s->at += n;
	if (!is_ours && !write_all(c->client.fd, p, n))
		c->is_over = true;
	if (is_cut(c, RESPONSE, &c->response.body))
		strike(c);
}

static bool is_answered(const struct connection *c)
{
	return c->response.head && c->response.body.is_done;
}

/* Both directions at once: a server may answer before it has heard all. */
static void exchange(struct connection *c)
{
	while (!c->is_over && !is_answered(c)) {
		struct pollfd fds[2] = {{.fd = c->request.body.is_done ? -1 : c->client.fd, .events = POLLIN},
			{.fd = c->upstream.fd, .events = POLLIN}};

		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			c->is_over = true;
		if (fds[0].revents && !c->is_over) {
			if (!stream_fill(&c->client))
				c->is_over = true;
			else
				pass_request(c);
		}
		if (fds[1].revents && !c->is_over) {
			if (stream_fill(&c->upstream))
				pass_response(c);
			else
				c->is_over = true; /* and so the client's connection, as the server's ended */
		}
	}
}

static void forward(struct connection *c)
{
	if (!connect_upstream(c) || !write_all(c->upstream.fd, c->request.head, c->request.head_bytes)) {
		c->is_over = true;
		return;
	}
	pass_request(c); /* what came with the head; also cuts after nothing */
	exchange(c);
	if (c->is_over)
		return;
	if (c->fault.kind->action == ANSWER)
		answer(c);
	if (!c->request.body.is_done)
		linger(c);
	if (c->response.is_last || c->response.body.kind == BODY_UNTIL_CLOSE)
		close_fd(&c->upstream.fd);
	c->is_over = c->is_over || c->request.is_last || c->upstream.fd < 0;
}

static void answer_alone(struct connection *c)
{
	bool is_early = c->request.is_expecting && c->client.at == c->client.len && !c->request.body.is_done;

	if (!is_early && !drop_body(c)) {
		c->is_over = true;
		return;
	}
	answer(c);
	if (is_early)
		linger(c);
	c->is_over = c->is_over || c->request.is_last;
}

static void handle_request(struct connection *c)
{
	const struct kind *k;

	c->fault = plan_choose(c->request.method, c->request.target);
	k = c->fault.kind;
	if (k->action == DELAY) {
		struct timespec t = {.tv_sec = c->fault.ms / 1000, .tv_nsec = c->fault.ms % 1000 * 1000000};

		while (nanosleep(&t, &t) < 0 && errno == EINTR)
			;
	}
	if (k->place == HEAD && (k->action == RESET || k->action == CLOSE))
		strike(c);
	else if (k->place == HEAD && k->action == ANSWER)
		answer_alone(c);
	else
		forward(c);
}

static void *serve(void *ctx)
{
	struct connection *c = mem_zalloc(sizeof(*c));

	c->client.fd = (int)(intptr_t)ctx;
	c->upstream.fd = -1;
	while (!c->is_over && read_request(c)) {
		handle_request(c);
		message_release(&c->request);
		message_release(&c->response);
		buf_release(&c->dropped);
	}
	message_release(&c->request);
	message_release(&c->response);
	buf_release(&c->dropped);
	close_fd(&c->client.fd);
	close_fd(&c->upstream.fd);
	free(c);
	return NULL;
}

/* --- starting -------------------------------------------------------------------------------------------------------------- */

static int fail(const char *what)
{
	fprintf(stderr, "fault_proxy: %s: %s\n", what, strerror(errno));
	return 1;
}

static int listen_at(unsigned port, unsigned *ret_port)
{
	struct sockaddr_in a = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(a);
	int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
		bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 128) < 0 ||
		getsockname(fd, (struct sockaddr *)&a, &n) < 0)
		return -1;
	*ret_port = ntohs(a.sin_port);
	return fd;
}

static void accept_one(int fd, void *(*run)(void *ctx))
{
	int on = 1, got = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	pthread_t thread;

	if (got < 0)
		return;
	(void)setsockopt(got, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (pthread_create(&thread, NULL, run, (void *)(intptr_t)got) == 0)
		pthread_detach(thread);
	else
		close(got);
}

static bool parse_upstream(const char *text)
{
	const char *colon = strrchr(text, ':');
	char *host cleanup(mem_freep) = colon ? mem_strndup(text, (size_t)(colon - text)) : NULL;

	if (!host)
		return false;
	upstream_address.sin_family = AF_INET;
	upstream_address.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
	return inet_pton(AF_INET, strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, &upstream_address.sin_addr) == 1;
}

int main(int argc, char **argv)
{
	unsigned port = 0, control = 0;
	struct pollfd fds[2] = {{.events = POLLIN}, {.events = POLLIN}};
	int i = 1;

	for (; i + 1 < argc && argv[i][0] == '-'; i += 2) {
		if (strcmp(argv[i], "--port") == 0)
			port = (unsigned)strtoul(argv[i + 1], NULL, 10);
		else if (strcmp(argv[i], "--log") == 0 &&
			(plan.log_fd = open(argv[i + 1], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)) < 0)
			return fail(argv[i + 1]);
	}
	if (i + 1 != argc || !parse_upstream(argv[i])) {
		fprintf(stderr, "usage: fault_proxy [--port N] [--log FILE] ADDRESS:PORT\n");
		return 2;
	}
	(void)signal(SIGPIPE, SIG_IGN);
	if ((fds[0].fd = listen_at(port, &port)) < 0 || (fds[1].fd = listen_at(0, &control)) < 0)
		return fail("could not listen");
	if (printf("%u %u\n", port, control) < 0 || fflush(stdout) != 0)
		return fail("could not say where");
	for (;;) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return fail("could not poll");
		if (fds[0].revents)
			accept_one(fds[0].fd, serve);
		if (fds[1].revents)
			accept_one(fds[1].fd, take_orders);
	}
}

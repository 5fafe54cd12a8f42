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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "tests/unit/proxy_http.h"
#include "tests/unit/proxy_plan.h"

#define LINGER_MS 2000
#define CHUNK_BYTES ((size_t)5)

static struct sockaddr_in upstream_address;

/* --- connections ----------------------------------------------------------------------------------------------------------- */

struct connection {
	struct proxy_stream client, upstream;
	struct proxy_message request, response;
	struct proxy_fault fault;
	struct buf dropped; /* what drop_body() has seen */
	bool is_over;
};

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
	if (c->fault.kind->action == PROXY_STALL) {
		while (poll(&gone, 1, -1) < 0 && errno == EINTR)
			;
	}
	if (c->fault.kind->action == PROXY_RESET) {
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
	} while (poll(&more, 1, LINGER_MS) > 0 && proxy_fill(&c->client));
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
	const struct proxy_fault *f = &c->fault;
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
	if (!proxy_write(c->client.fd, out.data, out.len))
		c->is_over = true;
}

/* The whole of the request's body, to nobody. */
static bool drop_body(struct connection *c)
{
	for (;;) {
		char *p = c->client.data + c->client.at;
		size_t n = proxy_follow(&c->request.body, p, c->client.len - c->client.at, -1, -1);

		c->client.at += n;
		if (c->fault.echo)
			buf_putn(&c->dropped, p, n);
		if (c->request.body.is_done)
			return true;
		if (!proxy_fill(&c->client))
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
static int64_t cut_at(const struct connection *c, enum proxy_place place)
{
	const struct proxy_kind *k = c->fault.kind;

	return k->place == place && (k->action == PROXY_RESET || k->action == PROXY_CLOSE || k->action == PROXY_STALL)
		? c->fault.after
		: -1;
}

static int64_t flip_at(const struct connection *c, enum proxy_place place)
{
	return c->fault.kind->place == place && c->fault.kind->action == PROXY_FLIP ? c->fault.after : -1;
}

static bool is_cut(const struct connection *c, enum proxy_place place, const struct proxy_body *b)
{
	int64_t at = cut_at(c, place);

	return at >= 0 && (b->passed >= (uint64_t)at || b->is_done);
}

/* What is buffered of the request's body goes to the server. */
static void pass_request(struct connection *c)
{
	struct proxy_stream *s = &c->client;
	char *p = s->data + s->at;
	size_t n = proxy_follow(&c->request.body, p, s->len - s->at, flip_at(c, PROXY_REQUEST), cut_at(c, PROXY_REQUEST));

	s->at += n;
	if (!proxy_write(c->upstream.fd, p, n))
		c->request.body.is_done = true; /* the server has its reasons: its answer will tell */
	if (is_cut(c, PROXY_REQUEST, &c->request.body))
		strike(c);
}

/* Heads of the response that are all there, "100 Continue" among them. */
static void pass_response_head(struct connection *c)
{
	struct proxy_message *m = &c->response;
	bool is_ours = c->fault.kind->place == PROXY_RESPONSE && c->fault.kind->action == PROXY_ANSWER;
	bool is_to_head = strcmp(c->request.method, "HEAD") == 0;

	while (!m->head && proxy_take_response(&c->upstream, is_to_head, m)) {
		if (m->status >= 200 && c->fault.kind->place == PROXY_RESPONSE && c->fault.after < 0 && !is_ours) {
			strike(c);
			return;
		}
		if (!is_ours && !proxy_write(c->client.fd, m->head, m->head_bytes))
			c->is_over = true;
		if (m->status < 200)
			proxy_message_release(m);
	}
}

static void pass_response(struct connection *c)
{
	struct proxy_stream *s = &c->upstream;
	bool is_ours = c->fault.kind->place == PROXY_RESPONSE && c->fault.kind->action == PROXY_ANSWER;
	char *p;
	size_t n;

	pass_response_head(c);
	if (c->is_over || !c->response.head)
		return;
	p = s->data + s->at;
	n = proxy_follow(&c->response.body, p, s->len - s->at, flip_at(c, PROXY_RESPONSE), cut_at(c, PROXY_RESPONSE));
	s->at += n;
	if (!is_ours && !proxy_write(c->client.fd, p, n))
		c->is_over = true;
	if (is_cut(c, PROXY_RESPONSE, &c->response.body))
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
			if (!proxy_fill(&c->client))
				c->is_over = true;
			else
				pass_request(c);
		}
		if (fds[1].revents && !c->is_over) {
			if (proxy_fill(&c->upstream))
				pass_response(c);
			else
				c->is_over = true; /* and so the client's connection, as the server's ended */
		}
	}
}

static void forward(struct connection *c)
{
	if (!connect_upstream(c) || !proxy_write(c->upstream.fd, c->request.head, c->request.head_bytes)) {
		c->is_over = true;
		return;
	}
	pass_request(c); /* what came with the head; also cuts after nothing */
	exchange(c);
	if (c->is_over)
		return;
	if (c->fault.kind->action == PROXY_ANSWER)
		answer(c);
	if (!c->request.body.is_done)
		linger(c);
	if (c->response.is_last || c->response.body.kind == PROXY_BODY_UNTIL_CLOSE)
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
	const struct proxy_kind *k;

	c->fault = proxy_plan_choose(c->request.method, c->request.target);
	k = c->fault.kind;
	if (k->action == PROXY_DELAY) {
		struct timespec t = {.tv_sec = c->fault.ms / 1000, .tv_nsec = c->fault.ms % 1000 * 1000000};

		while (nanosleep(&t, &t) < 0 && errno == EINTR)
			;
	}
	if (k->place == PROXY_HEAD && (k->action == PROXY_RESET || k->action == PROXY_CLOSE))
		strike(c);
	else if (k->place == PROXY_HEAD && k->action == PROXY_ANSWER)
		answer_alone(c);
	else
		forward(c);
}

static bool read_request(struct connection *c)
{
	while (!c->is_over && !proxy_take_request(&c->client, &c->request)) {
		if (!proxy_fill(&c->client))
			return false;
	}
	return !c->is_over;
}

static void *serve(void *ctx)
{
	struct connection *c = mem_zalloc(sizeof(*c));

	c->client.fd = (int)(intptr_t)ctx;
	c->upstream.fd = -1;
	while (read_request(c)) {
		handle_request(c);
		proxy_message_release(&c->request);
		proxy_message_release(&c->response);
		buf_release(&c->dropped);
	}
	proxy_message_release(&c->request);
	proxy_message_release(&c->response);
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

static void *take_orders(void *ctx)
{
	int fd = (int)(intptr_t)ctx;
	FILE *stream = fdopen(fd, "r");
	char *line = NULL, *answer;
	size_t cap = 0;

	while (stream && getline(&line, &cap, stream) > 0) {
		line[strcspn(line, "\r\n")] = '\0';
		answer = proxy_plan_obey(line);
		if (dprintf(fd, "%s\n", answer) < 0)
			perror("fault_proxy: order");
		free(answer);
	}
	free(line);
	if (stream)
		(void)fclose(stream); /* read only */
	return NULL;
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
	int log_fd = -1;
	struct pollfd fds[2] = {{.events = POLLIN}, {.events = POLLIN}};
	int i = 1;

	for (; i + 1 < argc && argv[i][0] == '-'; i += 2) {
		if (strcmp(argv[i], "--port") == 0)
			port = (unsigned)strtoul(argv[i + 1], NULL, 10);
		else if (strcmp(argv[i], "--log") == 0 &&
			(log_fd = open(argv[i + 1], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)) < 0)
			return fail(argv[i + 1]);
	}
	if (i + 1 != argc || !parse_upstream(argv[i])) {
		fprintf(stderr, "usage: fault_proxy [--port N] [--log FILE] ADDRESS:PORT\n");
		return 2;
	}
	proxy_plan_log(log_fd);
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

/*
 * A service on loopback that answers as a test says.
 *
 *	web_server DIR
 *
 * Listens on a port of the kernel's choice, which it writes to DIR/port, until it is killed.  "/a/b?c" is answered from file DIR/www/a/b, or
 * for the Nth request to it, counted from 1, from DIR/www/a/b.N where there is one; 404 where there is neither.  The file's first line is
 *
 *	N               the status; the rest of the file is the body
 *	hang            no answer until the client gives up
 *	cut             half an answer
 *	drip            an answer of a megabyte, a byte at a time, until the client gives up
 *
 * Each request is a line of DIR/log, "POST /a/b {body}", and DIR/headers has the headers of the last one.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/io.h"
#include "base/json.h"

#define REQUEST_MAX_BYTES ((size_t)256 << 10)

static const char *dir;
static json_t *counts; /* path → requests so far */

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* --- files ------------------------------------------------------------------------------------------------------------------- */

/* malloc'd; NULL where there is none. */
static char *file_text(const char *name)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct buf b = {0};
	char *path cleanup(mem_freep) = io_path_join(dir, name);

	if (io_read_file(path, &b, &err) <= 0) {
		buf_release(&b);
		return NULL;
	}
	return buf_take(&b);
}

static void write_file(const char *name, const char *mode, const char *text)
{
	char *path cleanup(mem_freep) = io_path_join(dir, name);
	FILE *f = fopen(path, mode);

	if (!f || fputs(text, f) < 0 || fclose(f) != 0)
		die(path);
}

/* --- requests ---------------------------------------------------------------------------------------------------------------- */

struct request {
	int fd;
	struct buf text; /* all of it */
	char *method, *path, *headers, *body;
};

static size_t content_length(const char *headers)
{
	const char *at = strcasestr(headers, "\r\ncontent-length:");

	return at ? (size_t)strtoul(at + strlen("\r\ncontent-length:"), NULL, 10) : 0;
}

static int split(struct request *r, char *end)
{
	char *line_end = strstr(r->text.data, "\r\n"), *space = strchr(r->text.data, ' ');

	r->body = end + 4;
	end[2] = '\0';
	r->method = r->text.data;
	r->headers = line_end + 2;
	if (!space || space > line_end)
		return -1;
	*space = '\0';
	r->path = space + 1;
	space = strchr(r->path, ' ');
	if (!space || space > line_end)
		return -1;
	*space = '\0';
	r->path[strcspn(r->path, "?")] = '\0';
	return 0;
}

/* 0, or -1 when the client went away or sends nonsense. */
static int read_request(struct request *r)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	char *end = NULL;

	for (;;) {
		ssize_t got;

		if (buf_reserve(&r->text, 4096, &err) < 0 || r->text.len > REQUEST_MAX_BYTES)
			return -1;
		got = recv(r->fd, r->text.data + r->text.len, 4096, 0);
		if (got <= 0)
			return -1;
		r->text.len += (size_t)got;
		r->text.data[r->text.len] = '\0';
		end = strstr(r->text.data, "\r\n\r\n");
		if (end && r->text.len >= (size_t)(end + 4 - r->text.data) + content_length(r->text.data))
			return split(r, end);
	}
}

static void note(const struct request *r)
{
	char *line cleanup(mem_freep) = mem_printf("%s %s%s%s\n", r->method, r->path, *r->body ? " " : "", r->body);

	write_file("headers", "w", r->headers);
	write_file("log", "a", line);
}

/* --- answers ----------------------------------------------------------------------------------------------------------------- */

static char *answer_of(const char *path)
{
	json_int_t n = json_integer_value(json_object_get(counts, path)) + 1;
	char *name cleanup(mem_freep) = mem_printf("www%s", path),
		   *nth cleanup(mem_freep) = mem_printf("%s.%lld", name, (long long)n);
	char *text;

	json_object_set_new(counts, path, json_integer(n));
	text = strstr(path, "..") ? NULL : file_text(nth);
	return text || strstr(path, "..") ? text : file_text(name);
}

static void send_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);

		if (sent <= 0)
			return; /* the client went away */
		p += sent;
		n -= (size_t)sent;
	}
}

static void await_end(int fd)
{
	char c;

	while (recv(fd, &c, 1, 0) > 0)
		;
}

static void drip(int fd)
{
	static const char head[] = "HTTP/1.1 200 Whatever\r\nContent-Length: 1000000\r\n\r\n";
	struct pollfd p = {.fd = fd, .events = POLLIN};

	send_all(fd, head, sizeof(head) - 1);
	while (poll(&p, 1, 20) == 0)
		if (send(fd, " ", 1, MSG_NOSIGNAL) < 0)
			return;
}

static void answer(const struct request *r)
{
	char *text cleanup(mem_freep) = answer_of(r->path), *out cleanup(mem_freep) = NULL;
	const char *body = text ? strchr(text, '\n') : NULL;
	size_t n;

	if (text && strncmp(text, "hang", 4) == 0) {
		await_end(r->fd);
		return;
	}
	if (text && strncmp(text, "drip", 4) == 0) {
		drip(r->fd);
		return;
	}
	body = body ? body + 1 : "";
	out = mem_printf("HTTP/1.1 %d Whatever\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
		text && strncmp(text, "cut", 3) != 0 ? atoi(text)
			: text                       ? 200
						     : 404,
		strlen(body), body);
	n = strlen(out);
	send_all(r->fd, out, text && strncmp(text, "cut", 3) == 0 ? n - strlen(body) / 2 : n);
}

static void serve(int fd)
{
	struct request r = {.fd = fd};

	if (read_request(&r) == 0) {
		note(&r);
		answer(&r);
	}
	buf_release(&r.text);
	close(fd);
}

static int listen_somewhere(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(at);
	char *text cleanup(mem_freep) = NULL;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&at, n) < 0 || listen(fd, 64) < 0 ||
		getsockname(fd, (struct sockaddr *)&at, &n) < 0)
		die("listen");
	text = mem_printf("%d\n", ntohs(at.sin_port));
	write_file("port", "w", text);
	return fd;
}

int main(int argc, char **argv)
{
	int fd;

	if (argc != 2) {
		(void)fprintf(stderr, "usage: web_server DIR\n");
		return 2;
	}
	dir = argv[1];
	counts = json_object();
	fd = listen_somewhere();
	for (;;) {
		int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

		if (client >= 0)
			serve(client); /* one after the other: what is counted is certain */
		else if (errno != EINTR && errno != ECONNABORTED)
			die("accept");
	}
}

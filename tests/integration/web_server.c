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
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/json.h"
#include "tests/unit/web_helper.h"

static const char *dir;
static json_t *counts; /* path → requests so far */

/* --- requests ---------------------------------------------------------------------------------------------------------------- */

static void note(const struct web_request *r)
{
	char *line cleanup(mem_freep) = mem_printf("%s %s%s%s\n", r->method, r->path, *r->body ? " " : "", r->body);

	web_write(dir, "headers", "w", r->headers + 2);
	web_write(dir, "log", "a", line);
}

/* --- answers ----------------------------------------------------------------------------------------------------------------- */

static char *answer_of(const char *path)
{
	json_int_t n = json_integer_value(json_object_get(counts, path)) + 1;
	char *name cleanup(mem_freep) = mem_printf("www%s", path),
		   *nth cleanup(mem_freep) = mem_printf("%s.%lld", name, (long long)n);
	char *text;

	json_object_set_new(counts, path, json_integer(n));
	text = strstr(path, "..") ? NULL : web_file(dir, nth);
	return text || strstr(path, "..") ? text : web_file(dir, name);
}

static void drip(int fd)
{
	static const char head[] = "HTTP/1.1 200 Whatever\r\nContent-Length: 1000000\r\n\r\n";
	struct pollfd p = {.fd = fd, .events = POLLIN};

	web_send(fd, head, sizeof(head) - 1);
	while (poll(&p, 1, 20) == 0)
		if (send(fd, " ", 1, MSG_NOSIGNAL) < 0)
			return;
}

static void answer(const struct web_request *r)
{
	char *text cleanup(mem_freep) = answer_of(r->path), *out cleanup(mem_freep) = NULL;
	const char *body = text ? strchr(text, '\n') : NULL;
	size_t n;

	if (text && strncmp(text, "hang", 4) == 0) {
		web_await_end(r->fd);
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
	web_send(r->fd, out, text && strncmp(text, "cut", 3) == 0 ? n - strlen(body) / 2 : n);
}

static void serve(int fd)
{
	struct web_request r = {.fd = fd};

	if (web_read(&r) == 0) {
		r.path[strcspn(r.path, "?")] = '\0';
		note(&r);
		answer(&r);
	}
	buf_release(&r.text);
	close(fd);
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
	fd = web_listen(dir);
	for (;;)
		serve(web_accept(fd)); /* one after the other: what is counted is certain */
}

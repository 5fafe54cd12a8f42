#include "tests/unit/web_helper.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/io.h"

#define REQUEST_MAX_BYTES ((size_t)256 << 10)

void web_die(const char *what)
{
	perror(what);
	exit(1);
}

/* --- files ------------------------------------------------------------------------------------------------------------------- */

char *web_file(const char *dir, const char *name)
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

void web_write(const char *dir, const char *name, const char *mode, const char *text)
{
	char *path cleanup(mem_freep) = io_path_join(dir, name);
	FILE *f = fopen(path, mode);

	if (!f || fputs(text, f) < 0 || fclose(f) != 0)
		web_die(path);
}

/* --- clients ----------------------------------------------------------------------------------------------------------------- */

int web_listen(const char *dir)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(at);
	struct error err cleanup(err_clear) = ERROR_INIT;
	char *path cleanup(mem_freep) = io_path_join(dir, "port"), *text cleanup(mem_freep) = NULL;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&at, n) < 0 || listen(fd, 64) < 0 ||
		getsockname(fd, (struct sockaddr *)&at, &n) < 0)
		web_die("listen");
	text = mem_printf("%d\n", ntohs(at.sin_port));
	if (io_replace_file(path, text, strlen(text), 0600, &err) < 0)
		web_die(path);
	return fd;
}

int web_accept(int fd)
{
	for (;;) {
		int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

		if (client >= 0)
			return client;
		if (errno != EINTR && errno != ECONNABORTED)
			web_die("accept");
	}
}

void web_send(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);

		if (sent <= 0)
			return;
		p += sent;
		n -= (size_t)sent;
	}
}

void web_await_end(int fd)
{
	char c;

	while (recv(fd, &c, 1, 0) > 0)
		;
}

/* --- requests ---------------------------------------------------------------------------------------------------------------- */

static size_t content_length(const char *headers)
{
	const char *at = strcasestr(headers, "\r\ncontent-length:");

	return at ? (size_t)strtoul(at + strlen("\r\ncontent-length:"), NULL, 10) : 0;
}

/* ${end}: of the headers, before the empty line. */
static int split(struct web_request *r, char *end)
{
	char *space = strchr(r->text.data, ' ');

	r->body = end + 4;
	end[2] = '\0';
	r->method = r->text.data;
	r->headers = strstr(r->text.data, "\r\n");
	if (!space || space > r->headers)
		return -1;
	*space = '\0';
	r->path = space + 1;
	space = strchr(r->path, ' ');
	if (!space || space > r->headers)
		return -1;
	*space = '\0';
	return 0;
}

int web_read(struct web_request *ret)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct buf *text = &ret->text;

	for (;;) {
		char *end;
		ssize_t got;

		if (buf_reserve(text, 4096, &err) < 0 || text->len > REQUEST_MAX_BYTES)
			return -1;
		got = recv(ret->fd, text->data + text->len, 4096, 0);
		if (got <= 0)
			return -1;
		text->len += (size_t)got;
		text->data[text->len] = '\0';
		end = strstr(text->data, "\r\n\r\n");
		if (end && text->len >= (size_t)(end + 4 - text->data) + content_length(text->data))
			return split(ret, end);
	}
}

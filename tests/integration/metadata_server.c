/*
 * The services that hand out credentials, on loopback: instance metadata, version 2, and AssumeRoleWithWebIdentity of a token service.
 *
 *	metadata_server DIR
 *
 * Listens on a port of the kernel's choice, which it writes to DIR/port, until it is killed.  Each request is a line of DIR/log: "PUT
 * /latest/api/token", "sts", …  A request is checked as the real services check it.  What it answers can be changed at any time by
 * files in DIR, one for each of session, role, keys and sts:
 *
 *	status N        that status, without a body
 *	hang            nothing, until the client gives up
 *	cut             half of the answer
 *	body            status 200, with the rest of the file for a body
 *	body N          the same with status N
 *
 * DIR/lifetime: seconds until the keys expire (3600 where there is no such file).  DIR/key: a file with the three lines access key, secret key, session
 * token to hand out; else they are made up, anew each time ("ASIA1", "secret1", "token1", "ASIA2", …).
 * DIR/token: the web identity token that is taken.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/io.h"

#define REQUEST_MAX_BYTES ((size_t)256 << 10)
#define ROLE "backup-role"
#define ROLES "/latest/meta-data/iam/security-credentials/"

static const char *dir;
static atomic_int serial;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* --- files ------------------------------------------------------------------------------------------------------------------- */

/* The file's text, malloc'd; NULL where there is none. */
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

static void write_log(const char *text)
{
	char *path cleanup(mem_freep) = io_path_join(dir, "log");
	FILE *f = fopen(path, "a");

	if (!f || fprintf(f, "%s\n", text) < 0 || fclose(f) != 0)
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

/* 0, or -1 when the client went away or sends nonsense. */
static int read_request(struct request *r)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	char *end = NULL, *space;

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
			break;
	}
	r->body = end + 4;
	end[2] = '\0';
	r->method = r->text.data;
	r->headers = strstr(r->text.data, "\r\n");
	space = strchr(r->method, ' ');
	if (!space || !r->headers || space > r->headers)
		return -1;
	*space = '\0';
	r->path = space + 1;
	space = strchr(r->path, ' ');
	if (!space)
		return -1;
	*space = '\0';
	return 0;
}

/* The header's value into ${out}; empty where there is none. */
static void header(const struct request *r, const char *name, char *out, size_t size)
{
	char *want cleanup(mem_freep) = mem_printf("\r\n%s:", name);
	const char *at = strcasestr(r->headers, want);

	*out = '\0';
	if (!at)
		return;
	at += strlen(want);
	at += strspn(at, " ");
	(void)snprintf(out, size, "%.*s", (int)strcspn(at, "\r"), at);
}

/* The form's value, decoded, malloc'd; NULL where there is none. */
static char *form_value(const char *form, const char *name)
{
	size_t n = strlen(name);
	struct buf out = {0};

	while (form && (strncmp(form, name, n) != 0 || form[n] != '='))
		form = (form = strchr(form, '&')) ? form + 1 : NULL;
	if (!form)
		return NULL;
	for (form += n + 1; *form && *form != '&'; form++) {
		unsigned code;

		if (*form == '%' && sscanf(form + 1, "%2x", &code) == 1) {
			buf_putc(&out, (char)code);
			form += 2;
		} else {
			buf_putc(&out, *form);
		}
	}
	return buf_take(&out);
}

/* --- answers ----------------------------------------------------------------------------------------------------------------- */

static void send_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);

		if (sent <= 0)
			return; /* the client's affair */
		p += sent;
		n -= (size_t)sent;
	}
}

static void answer(const struct request *r, int status, const char *body, size_t sent_bytes)
{
	char *head cleanup(mem_freep) = mem_printf(
		"HTTP/1.1 %d Status\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", status, strlen(body));

	send_all(r->fd, head, strlen(head));
	send_all(r->fd, body, sent_bytes);
}

/* As the control file of ${kind} has it; ${usual} where there is none. */
static void answer_as_told(const struct request *r, const char *kind, const char *usual)
{
	char *text cleanup(mem_freep) = file_text(kind), *rest = text ? strchr(text, '\n') : NULL;
	int status = 200;
	char c;

	if (!text) {
		answer(r, 200, usual, strlen(usual));
	} else if (sscanf(text, "status %d", &status) == 1) {
		answer(r, status, "", 0);
	} else if (strncmp(text, "hang", 4) == 0) {
		while (recv(r->fd, &c, 1, 0) > 0)
			;
	} else if (strncmp(text, "cut", 3) == 0) {
		answer(r, 200, usual, strlen(usual) / 2);
	} else if (strncmp(text, "body", 4) == 0) {
		(void)sscanf(text, "body %d", &status);
		rest = rest ? rest + 1 : text + strlen(text);
		answer(r, status, rest, strlen(rest));
	} else {
		(void)fprintf(stderr, "file \"%s/%s\" is not understood\n", dir, kind);
		exit(1);
	}
}

struct key {
	char *id, *secret, *token;
	char expires[32];
};

static void make_key(struct key *k)
{
	char *text cleanup(mem_freep) = file_text("key"), *lifetime cleanup(mem_freep) = file_text("lifetime");
	time_t at = time(NULL) + (lifetime ? atoi(lifetime) : 3600);
	int number = atomic_fetch_add(&serial, 1) + 1;
	struct tm tm;

	if (text) {
		char *rest = text;

		k->id = mem_strdup(strsep(&rest, "\n"));
		k->secret = mem_strdup(rest ? strsep(&rest, "\n") : "");
		k->token = mem_strdup(rest ? strsep(&rest, "\n") : "");
	} else {
		k->id = mem_printf("ASIA%d", number);
		k->secret = mem_printf("secret%d", number);
		k->token = mem_printf("token%d", number);
	}
	gmtime_r(&at, &tm);
	(void)strftime(k->expires, sizeof(k->expires), "%Y-%m-%dT%H:%M:%SZ", &tm);
}

static void key_release(struct key *k)
{
	free(k->id);
	free(k->secret);
	free(k->token);
}

/* --- instance metadata ------------------------------------------------------------------------------------------------------- */

static void serve_session(const struct request *r)
{
	char ttl[32];

	header(r, "X-aws-ec2-metadata-token-ttl-seconds", ttl, sizeof(ttl));
	if (strcmp(r->method, "PUT") != 0 || atoi(ttl) < 1 || atoi(ttl) > 21600)
		answer(r, 400, "", 0);
	else
		answer_as_told(r, "session", "SESSION==");
}

static void serve_metadata(const struct request *r)
{
	char session[64];
	struct key k cleanup(key_release) = {0};
	char *json cleanup(mem_freep) = NULL;

	header(r, "X-aws-ec2-metadata-token", session, sizeof(session));
	if (strcmp(session, "SESSION==") != 0) {
		answer(r, 401, "", 0);
	} else if (strcmp(r->path, ROLES) == 0) {
		answer_as_told(r, "role", ROLE);
	} else if (strcmp(r->path, ROLES ROLE) == 0) {
		make_key(&k);
		json = mem_printf(
			"{\"Code\": \"Success\", \"LastUpdated\": \"2026-11-20T03:15:00Z\", \"Type\": \"AWS-HMAC\", "
			"\"AccessKeyId\": \"%s\", \"SecretAccessKey\": \"%s\", \"Token\": \"%s\", \"Expiration\": \"%s\"}",
			k.id, k.secret, k.token, k.expires);
		answer_as_told(r, "keys", json);
	} else {
		answer(r, 404, "", 0);
	}
}

/* --- token service ----------------------------------------------------------------------------------------------------------- */

#define XMLNS "xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\""

static bool is_value(const char *form, const char *name, const char *want)
{
	char *got cleanup(mem_freep) = form_value(form, name);

	return got && strcmp(got, want) == 0;
}

static void serve_sts(const struct request *r)
{
	struct key k cleanup(key_release) = {0};
	char *xml cleanup(mem_freep) = NULL, *token cleanup(mem_freep) = file_text("token");
	char *session cleanup(mem_freep) = form_value(r->body, "RoleSessionName");
	char type[64];

	header(r, "Content-Type", type, sizeof(type));
	if (token)
		token[strcspn(token, "\n")] = '\0';
	if (strcmp(type, "application/x-www-form-urlencoded") != 0 || !is_value(r->body, "Action", "AssumeRoleWithWebIdentity") ||
		!is_value(r->body, "Version", "2011-06-15") || !is_value(r->body, "RoleArn", "arn:aws:iam::1:role/backup") ||
		!session) {
		answer(r, 400, "", 0);
	} else if (!token || !is_value(r->body, "WebIdentityToken", token)) {
		xml = mem_strdup(
			"<ErrorResponse " XMLNS
			"><Error><Type>Sender</Type><Code>InvalidIdentityToken</Code><Message>hush</Message></Error><RequestId>1</RequestId></ErrorResponse>");
		answer(r, 400, xml, strlen(xml));
	} else {
		make_key(&k);
		xml = mem_printf(
			"<AssumeRoleWithWebIdentityResponse " XMLNS ">\n  <AssumeRoleWithWebIdentityResult>\n"
			"    <AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/backup/%s</Arn></AssumedRoleUser>\n"
			"    <Credentials>\n      <SessionToken>%s</SessionToken>\n      <SecretAccessKey>%s</SecretAccessKey>\n"
			"      <Expiration>%s</Expiration>\n      <AccessKeyId>%s</AccessKeyId>\n    </Credentials>\n"
			"  </AssumeRoleWithWebIdentityResult>\n</AssumeRoleWithWebIdentityResponse>\n",
			session, k.token, k.secret, k.expires, k.id);
		answer_as_told(r, "sts", xml);
	}
}

/* --- serving ----------------------------------------------------------------------------------------------------------------- */

static void *serve(void *arg)
{
	struct request r = {.fd = (int)(intptr_t)arg};

	if (read_request(&r) == 0) {
		bool is_sts = strcmp(r.method, "POST") == 0;
		char *line cleanup(mem_freep) = is_sts ? mem_strdup("sts") : mem_printf("%s %s", r.method, r.path);

		write_log(line);
		if (is_sts)
			serve_sts(&r);
		else if (strcmp(r.path, "/latest/api/token") == 0)
			serve_session(&r);
		else
			serve_metadata(&r);
	}
	buf_release(&r.text);
	close(r.fd);
	return NULL;
}

static int listen_somewhere(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(at);
	struct error err cleanup(err_clear) = ERROR_INIT;
	char *path cleanup(mem_freep) = io_path_join(dir, "port"), *text cleanup(mem_freep) = NULL;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&at, n) < 0 || listen(fd, 64) < 0 ||
		getsockname(fd, (struct sockaddr *)&at, &n) < 0)
		die("listen");
	text = mem_printf("%d\n", ntohs(at.sin_port));
	if (io_replace_file(path, text, strlen(text), 0600, &err) < 0)
		die(path);
	return fd;
}

int main(int argc, char **argv)
{
	int fd;

	if (argc != 2) {
		(void)fprintf(stderr, "usage: metadata_server DIR\n");
		return 2;
	}
	dir = argv[1];
	fd = listen_somewhere();
	for (;;) {
		int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
		pthread_t thread;

		if (client < 0 && errno != EINTR && errno != ECONNABORTED)
			die("accept");
		if (client < 0)
			continue;
		if (pthread_create(&thread, NULL, serve, (void *)(intptr_t)client) != 0 || pthread_detach(thread) != 0)
			die("thread");
	}
}

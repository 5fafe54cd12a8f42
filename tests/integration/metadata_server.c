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
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/web_helper.h"

#define ROLE "backup-role"
#define ROLES "/latest/meta-data/iam/security-credentials/"

static const char *dir;
static atomic_int serial;

/* --- requests ---------------------------------------------------------------------------------------------------------------- */

/* The header's value into ${out}; empty where there is none. */
static void header(const struct web_request *r, const char *name, char *out, size_t size)
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

static void answer(const struct web_request *r, int status, const char *body, size_t sent_bytes)
{
	char *head cleanup(mem_freep) = mem_printf(
		"HTTP/1.1 %d Status\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", status, strlen(body));

	web_send(r->fd, head, strlen(head));
	web_send(r->fd, body, sent_bytes);
}

/* As the control file of ${kind} has it; ${usual} where there is none. */
static void answer_as_told(const struct web_request *r, const char *kind, const char *usual)
{
	char *text cleanup(mem_freep) = web_file(dir, kind), *rest = text ? strchr(text, '\n') : NULL;
	int status = 200;

	if (!text) {
		answer(r, 200, usual, strlen(usual));
	} else if (sscanf(text, "status %d", &status) == 1) {
		answer(r, status, "", 0);
	} else if (strncmp(text, "hang", 4) == 0) {
		web_await_end(r->fd);
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
	char *text cleanup(mem_freep) = web_file(dir, "key"), *lifetime cleanup(mem_freep) = web_file(dir, "lifetime");
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

static void serve_session(const struct web_request *r)
{
	char ttl[32];

	header(r, "X-aws-ec2-metadata-token-ttl-seconds", ttl, sizeof(ttl));
	if (strcmp(r->method, "PUT") != 0 || atoi(ttl) < 1 || atoi(ttl) > 21600)
		answer(r, 400, "", 0);
	else
		answer_as_told(r, "session", "SESSION==");
}

static void serve_metadata(const struct web_request *r)
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

static void serve_sts(const struct web_request *r)
{
	struct key k cleanup(key_release) = {0};
	char *xml cleanup(mem_freep) = NULL, *token cleanup(mem_freep) = web_file(dir, "token");
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
	struct web_request r = {.fd = (int)(intptr_t)arg};

	if (web_read(&r) == 0) {
		bool is_sts = strcmp(r.method, "POST") == 0;
		char *line cleanup(mem_freep) = is_sts ? mem_strdup("sts\n") : mem_printf("%s %s\n", r.method, r.path);

		web_write(dir, "log", "a", line);
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

int main(int argc, char **argv)
{
	int fd;

	if (argc != 2) {
		(void)fprintf(stderr, "usage: metadata_server DIR\n");
		return 2;
	}
	dir = argv[1];
	fd = web_listen(dir);
	for (;;) {
		int client = web_accept(fd);
		pthread_t thread;

		if (pthread_create(&thread, NULL, serve, (void *)(intptr_t)client) != 0 || pthread_detach(thread) != 0)
			web_die("thread");
	}
}

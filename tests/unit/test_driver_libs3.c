/*
 * What the driver over libs3 refuses because the library cannot do it, what it says, and how it gets the truth out of answers that
 * the library takes for good.  The contract that it shares with the others is in test_driver.c.
 */
#include "tests/unit/driver_helper.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- what is refused --------------------------------------------------------------------------------------------------------- */

static void refuse(const struct s3_options *o, const char *message)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct driver *d = NULL;

	assert_error(driver_libs3_open(o, &d, &err), &err, ERR_CONFIG, message);
	assert_null(d);
}

#define OURS .bucket = "b", .endpoint = "http://127.0.0.1:1", .access_key_id = "A", .secret_access_key = "s"

static void what_libs3_cannot_do_is_refused(void **state)
{
	static const struct {
		struct s3_options options;
		const char *message;
	} table[] = {
		{{OURS, .session_token = "t"}, "driver \"libs3\" cannot be used for bucket \"b\": it has no \"session_token\""},
		{{OURS, .proxy = "http://p"}, "driver \"libs3\" cannot be used for bucket \"b\": it has no \"proxy\""},
		{{OURS, .storage_class = "GLACIER"},
			"driver \"libs3\" cannot be used for bucket \"b\": it has no \"storage_class\""},
		{{OURS, .server_side_encryption = "AES256"},
			"driver \"libs3\" cannot be used for bucket \"b\": it has no \"server_side_encryption\""},
		{{OURS, .object_lock_mode = "COMPLIANCE"},
			"driver \"libs3\" cannot be used for bucket \"b\": it has no \"object_lock\""},
		{{.bucket = "b", .endpoint = "http://x", .credentials = S3_CREDENTIALS_INSTANCE},
			"driver \"libs3\" cannot be used for bucket \"b\": it takes no credentials that expire"},
		{{.bucket = "b", .endpoint = "https://s3.example.net", .access_key_id = "A", .secret_access_key = "s"},
			"driver \"libs3\" cannot be used for \"https://s3.example.net\": it does not verify certificates"},
		{{.bucket = "b", .endpoint = "HTTPS://s3.example.net", .access_key_id = "A", .secret_access_key = "s"},
			"driver \"libs3\" cannot be used for \"HTTPS://s3.example.net\": it does not verify certificates"},
		{{.bucket = "b", .access_key_id = "A", .secret_access_key = "s"},
			"driver \"libs3\" cannot be used for \"https://s3.amazonaws.com\": it does not verify certificates"},
		{{.bucket = "b", .endpoint = "ftp://x", .access_key_id = "A", .secret_access_key = "s"},
			"\"ftp://x\" cannot be the endpoint of driver \"libs3\""},
		{{.bucket = "b", .endpoint = "http://x/path", .access_key_id = "A", .secret_access_key = "s"},
			"\"http://x/path\" cannot be the endpoint of driver \"libs3\""},
		{{.bucket = "b", .endpoint = "http://", .access_key_id = "A", .secret_access_key = "s"},
			"\"http://\" cannot be the endpoint of driver \"libs3\""},
	};
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct driver *d = NULL;

	(void)state;
	assert_ok(driver_libs3_open(&(struct s3_options){OURS}, &d, &err), &err);
	d->ops->close(d);
	for (size_t i = 0; i < array_len(table); i++)
		refuse(&table[i].options, table[i].message);
	assert_int_equal(setenv("AWS_ACCESS_KEY_ID", "A", 1), 0);
	assert_int_equal(setenv("AWS_SECRET_ACCESS_KEY", "s", 1), 0);
	assert_int_equal(setenv("AWS_SESSION_TOKEN", "t", 1), 0);
	refuse(&(struct s3_options){.bucket = "b", .endpoint = "http://x"},
		"driver \"libs3\" cannot be used for bucket \"b\": the credentials of environment variable AWS_ACCESS_KEY_ID have a session "
		"token");
	(void)unsetenv("AWS_ACCESS_KEY_ID");
	(void)unsetenv("AWS_SECRET_ACCESS_KEY");
	(void)unsetenv("AWS_SESSION_TOKEN");
}

/* --- answers of a server that is not well ------------------------------------------------------------------------------------ */

/* Answers the n-th request with the n-th text, and keeps what was asked; one connection for each. */
struct script {
	int fd;
	pthread_t thread;
	const char *const *answers; /* NULL-terminated */
	char requests[8][64];       /* first lines */
	size_t count;
};

/* Reads a request with its body; a PUT is not told "100 Continue" but by ${answer}. */
static void read_request(int fd, char *line, size_t size)
{
	char text[8192];
	size_t n = 0, body = 0;
	char *end = NULL;

	while (n + 1 < sizeof(text) && (!end || n < (size_t)(end - text) + 4 + body)) {
		ssize_t got = recv(fd, text + n, sizeof(text) - 1 - n, 0);

		if (got <= 0)
			break;
		n += (size_t)got;
		text[n] = '\0';
		if (!end && (end = strstr(text, "\r\n\r\n")) && strstr(text, "Content-Length: "))
			body = strtoul(strstr(text, "Content-Length: ") + 16, NULL, 10);
	}
	(void)snprintf(line, size, "%.*s", (int)strcspn(text, "?\r"), text);
	if (strchr(line, ' ') && strchr(strchr(line, ' ') + 1, ' '))
		*strchr(strchr(line, ' ') + 1, ' ') = '\0';
}

static void *play(void *arg)
{
	struct script *s = arg;

	for (; s->answers[s->count]; s->count++) {
		const char *answer = s->answers[s->count];
		int fd = accept(s->fd, NULL, NULL);

		if (fd < 0)
			break;
		if (strncmp(answer, "HTTP/1.1 100", 12) == 0) { /* before the body */
			size_t n = strcspn(answer, "\r") + 4;

			(void)!send(fd, answer, n, MSG_NOSIGNAL);
			answer += n;
		}
		read_request(fd, s->requests[s->count], sizeof(s->requests[0]));
		(void)!send(fd, answer, strlen(answer), MSG_NOSIGNAL);
		close(fd);
	}
	return NULL;
}

static struct driver *script_begin(struct fixture *f, struct script *s, const char *const *answers)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	char *url cleanup(mem_freep) = NULL;
	socklen_t n = sizeof(at);
	struct driver *d;

	*s = (struct script){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), .answers = answers};
	assert_true(s->fd >= 0 && bind(s->fd, (struct sockaddr *)&at, n) == 0 && listen(s->fd, 8) == 0);
	assert_int_equal(getsockname(s->fd, (struct sockaddr *)&at, &n), 0);
	url = mem_printf("http://127.0.0.1:%d", ntohs(at.sin_port));
	assert_int_equal(pthread_create(&s->thread, NULL, play, s), 0);
	f->endpoint = url;
	f->bucket = "bucket";
	free(f->prefix);
	f->prefix = mem_strdup("p");
	d = driver_again(f);
	f->endpoint = NULL;
	return d;
}

/* ${requests}: the first lines, joined by ", ". */
static void script_end(struct script *s, struct driver *d, const char *requests)
{
	struct buf got cleanup(buf_release) = {0};

	driver_close(d);
	(void)shutdown(s->fd, SHUT_RDWR);
	pthread_join(s->thread, NULL);
	close(s->fd);
	for (size_t i = 0; i < s->count; i++)
		buf_printf(&got, "%s%s", i ? ", " : "", s->requests[i]);
	assert_string_equal(buf_str(&got), requests);
}

#define HEAD_404 "HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n"
#define HEAD_HELLO \
	"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: \"5D41402ABC4B2A76B9719D911017C592\"\r\nConnection: close\r\n\r\n"
#define HEAD_OTHER \
	"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: \"00000000000000000000000000000000\"\r\nConnection: close\r\n\r\n"
#define CONTINUE "HTTP/1.1 100 Continue\r\n\r\n"
#define PUT_200 "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
#define PUT_503 "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
#define REFUSED (CONTINUE PUT_503) /* one answer */

static int put_hello(struct driver *d, bool is_exclusive, struct error *err)
{
	return d->ops->put(d, &(struct driver_target){.key = "k", .tag = "t", .is_exclusive = is_exclusive}, "hello", 5, err);
}

static void what_a_put_has_done_is_asked_for(void **state)
{
	struct fixture *f = *state;
	static const char lost[] = "could not write object \"s3://bucket/p/k\": the server did not keep it";
	static const struct {
		const char *name, *answers[4], *message, *requests;
	} table[] = {
		{"as it should be", {CONTINUE PUT_200, HEAD_HELLO}, NULL, "PUT /bucket/p/k, HEAD /bucket/p/k"},
		{"no word of going on", {PUT_200, HEAD_HELLO}, NULL, "PUT /bucket/p/k, HEAD /bucket/p/k"},
		{"refused without a body, nothing there", {REFUSED, HEAD_404}, lost, "PUT /bucket/p/k, HEAD /bucket/p/k"},
		{"refused without a body, the old one there", {REFUSED, HEAD_OTHER}, lost, "PUT /bucket/p/k, HEAD /bucket/p/k"},
		{"taken, and something else is there", {CONTINUE PUT_200, HEAD_OTHER}, lost, "PUT /bucket/p/k, HEAD /bucket/p/k"},
	};

	for (size_t i = 0; i < array_len(table); i++) {
		struct script s;
		struct driver *d = script_begin(f, &s, table[i].answers);
		int rc = put_hello(d, false, &f->err);

		print_message("%s\n", table[i].name);
		if (table[i].message)
			assert_error(rc, &f->err, ERR_RETRY, table[i].message);
		else
			assert_ok(rc, &f->err);
		script_end(&s, d, table[i].requests);
	}
}

static void a_commit_may_be_repeated_when_its_answer_was_lost(void **state)
{
	struct fixture *f = *state;
	static const char *const answers[] = {HEAD_404, REFUSED, HEAD_404, HEAD_HELLO, NULL};
	const struct driver_target t = {.key = "k", .tag = "t", .is_exclusive = true};
	struct script s;
	struct driver *d = script_begin(f, &s, answers);
	struct driver_upload *u = NULL;

	assert_ok(d->ops->upload_begin(d, &t, NULL, &u, &f->err), &f->err);
	assert_ok(d->ops->upload_write(u, "hello", 5, &f->err), &f->err);
	assert_int_equal(d->ops->upload_commit(u, NULL, 0, &f->err), -1);
	assert_int_equal(f->err.class, ERR_RETRY);
	err_clear(&f->err);
	assert_ok(d->ops->upload_commit(u, NULL, 0, &f->err), &f->err); /* by now it is there */
	script_end(&s, d, "HEAD /bucket/p/k, PUT /bucket/p/k, HEAD /bucket/p/k, HEAD /bucket/p/k");
}

static void the_same_bytes_of_somebody_else_are_a_conflict(void **state)
{
	struct fixture *f = *state;
	static const char *const answers[] = {HEAD_HELLO, NULL};
	struct script s;
	struct driver *d = script_begin(f, &s, answers);

	assert_error(put_hello(d, true, &f->err), &f->err, ERR_CONFLICT, "object \"s3://bucket/p/k\" exists already");
	script_end(&s, d, "HEAD /bucket/p/k");
}

static void an_answer_that_is_cut_off_is_no_range(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *answers[2];
		enum err_class class;
		const char *message;
	} table[] = {
		{{"HTTP/1.1 206 OK\r\nContent-Length: 5\r\n\r\nhello"}, ERR_NONE, NULL},
		{{"HTTP/1.1 206 OK\r\nContent-Length: 5\r\n\r\nhel"}, ERR_RETRY,
			"could not read object \"s3://bucket/p/k\": the answer ended after 3 of 5 bytes"},
		{{"HTTP/1.1 206 OK\r\nContent-Length: 3\r\n\r\nhel"}, ERR_CORRUPT,
			"object \"s3://bucket/p/k\" is shorter than it must be"},
		{{"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world"}, ERR_FAILED,
			"could not read object \"s3://bucket/p/k\": the server sends more than the range asked for"},
		{{""}, ERR_RETRY, "could not read object \"s3://bucket/p/k\": the connection was lost"},
	};

	for (size_t i = 0; i < array_len(table); i++) {
		struct script s;
		struct driver *d = script_begin(f, &s, table[i].answers);
		char got[6] = "";
		int rc = d->ops->read_range(d, "k", 0, got, 5, &f->err);

		if (table[i].message) {
			assert_error(rc, &f->err, table[i].class, table[i].message);
		} else {
			assert_int_equal(rc, 1);
			assert_string_equal(got, "hello");
		}
		script_end(&s, d, "GET /bucket/p/k");
	}
}

#define LIST_HEAD "<?xml version=\"1.0\"?><ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated>"
#define ENTRY(key) \
	"<Contents><Key>p/" key \
	"</Key><LastModified>2026-11-20T03:15:00.000Z</LastModified><ETag>\"x\"</ETag><Size>1</Size></Contents>"
#define LIST(body) "HTTP/1.1 200 OK\r\nContent-Length: 4000\r\nConnection: close\r\n\r\n" LIST_HEAD body

static int join(void *ctx, const struct driver_object *o, struct error *err)
{
	(void)err;
	buf_printf(ctx, "%s ", o->key);
	return 0;
}

/* The library calls an answer that is cut off complete, and takes what came for the whole list. */
static void a_list_that_is_cut_off_is_gone_on_with(void **state)
{
	struct fixture *f = *state;
	static const char *const answers[] = {LIST(ENTRY("a") ENTRY("b") "<Contents><Key>p/"), LIST(ENTRY("c") "<Cont"), LIST(""),
		LIST(ENTRY("d/") ENTRY("e")), LIST("</ListBucketResult>"), LIST("</ListBucketResult>"), NULL};
	struct script s;
	struct driver *d = script_begin(f, &s, answers);
	struct buf got cleanup(buf_release) = {0};

	assert_ok(d->ops->list(d, "", join, &got, &f->err), &f->err);
	assert_string_equal(buf_str(&got), "a b c e "); /* "d/" is no key of ours */
	script_end(&s, d, "GET /bucket/, GET /bucket/, GET /bucket/, GET /bucket/, GET /bucket/, GET /bucket/");
}

/* --- the spool directory ----------------------------------------------------------------------------------------------------- */

static void a_spool_directory_that_is_missing_is_told(void **state)
{
	struct fixture *f = *state;
	const struct driver_target t = {.key = "k", .tag = "t", .is_exclusive = true};
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct driver_upload *u = NULL;
	struct driver *d = NULL;

	(void)f;
	assert_ok(driver_libs3_open(&(struct s3_options){OURS, .spool_dir = "/nowhere/at/all"}, &d, &err), &err);
	assert_error(d->ops->upload_begin(d, &t, NULL, &u, &err), &err, ERR_IO,
		"could not create a file in directory \"/nowhere/at/all\": No such file or directory");
	d->ops->close(d);
}

static void a_full_spool_directory_says_so(void **state)
{
	struct fixture *f = *state;
	const struct driver_target t = {.key = "k", .tag = "t", .is_exclusive = true};
	char *message cleanup(mem_freep) = mem_printf("could not write file \"%s/(unnamed)\": File too large", f->place.dir);
	char *hint cleanup(mem_freep) = mem_printf(
		"Make room in \"%s\", or set \"spool\" to a directory with room for a whole archive.", f->place.dir);
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct driver_upload *u = NULL;
	struct driver *d = NULL;
	struct rlimit old, small;
	static char zeros[8192];
	int rc;

	assert_ok(driver_libs3_open(&(struct s3_options){OURS, .spool_dir = f->place.dir}, &d, &err), &err);
	assert_ok(d->ops->upload_begin(d, &t, NULL, &u, &err), &err);
	assert_int_equal(place_count_files(&f->place), 0); /* it has no name */
	(void)signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = (struct rlimit){.rlim_cur = 4096, .rlim_max = old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	rc = d->ops->upload_write(u, zeros, sizeof(zeros), &err);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(rc, -1);
	assert_string_equal(err.hint, hint);
	assert_error(rc, &err, ERR_FULL, message);
	assert_ok(d->ops->upload_abort(u, &err), &err);
	d->ops->close(d);
}

static void a_key_with_a_blank_is_refused(void **state)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct driver_object o;
	struct driver *d = NULL;

	(void)state;
	assert_ok(driver_libs3_open(&(struct s3_options){OURS}, &d, &err), &err);
	assert_error(d->ops->stat(d, "a b", &o, &err), &err, ERR_CONFIG, "key \"a b\" has a blank, which libs3 cannot send");
	d->ops->close(d);
}

/* --- a real server ----------------------------------------------------------------------------------------------------------- */

static void what_the_server_refuses_is_told(void **state)
{
	struct fixture *f = *state;
	char *message cleanup(mem_freep) = mem_printf(
		"could not write object \"s3://%s/%s/k\": the server does not accept the signature", getenv("S3_BUCKET"),
		f->prefix);
	char *bucket cleanup(mem_freep) = mem_printf(
		"could not write object \"s3://no-such-bucket/%s/k\": the bucket does not exist", f->prefix);
	char *list cleanup(mem_freep) = mem_printf(
		"could not list objects of \"s3://no-such-bucket/%s/x\": the bucket does not exist", f->prefix);
	struct driver *d;

	f->secret_access_key = "wrong";
	d = driver_again(f);
	assert_error(put_hello(d, false, &f->err), &f->err, ERR_DENIED, message);
	driver_close(d);
	f->secret_access_key = NULL;
	f->bucket = "no-such-bucket";
	d = driver_again(f);
	assert_error(put_hello(d, false, &f->err), &f->err, ERR_CONFIG, bucket);
	assert_error(d->ops->list(d, "x", join, NULL, &f->err), &f->err, ERR_CONFIG, list);
	driver_close(d);
}

int main(void)
{
	const struct CMUnitTest alone[] = {
		DRIVER_TEST(what_libs3_cannot_do_is_refused),
		DRIVER_TEST(what_a_put_has_done_is_asked_for),
		DRIVER_TEST(a_commit_may_be_repeated_when_its_answer_was_lost),
		DRIVER_TEST(the_same_bytes_of_somebody_else_are_a_conflict),
		DRIVER_TEST(an_answer_that_is_cut_off_is_no_range),
		DRIVER_TEST(a_list_that_is_cut_off_is_gone_on_with),
		DRIVER_TEST(a_spool_directory_that_is_missing_is_told),
		DRIVER_TEST(a_full_spool_directory_says_so),
		DRIVER_TEST(a_key_with_a_blank_is_refused),
	};
	const struct CMUnitTest server[] = {
		DRIVER_TEST(what_the_server_refuses_is_told),
	};

	return driver_suite_run(DRIVER_WITHOUT_SERVER, "libs3", &driver_libs3, alone, array_len(alone)) +
		driver_suite_run(DRIVER_REMOTE_ONLY, "libs3 and a server", &driver_libs3, server, array_len(server));
}

/*
 * The HTTP client.  Where the real gateway cannot be made to do it (an answer cut short, a line that is not HTTP, silence), a
 * listener of the test's own answers one connection with given bytes.
 */
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "storage/drivers/http_internal.h"

/* --- a listener that says one thing ---------------------------------------------------------------------------------------- */

struct listener {
	int fd;
	unsigned port;
	const char *answer; /* NULL: reads and stays silent until it is released */
	unsigned count;     /* connections to answer */
	char seen[4096];    /* of the last request: its first bytes */
	int release[2];
	pthread_t thread;
};

static void *serve(void *ctx)
{
	struct listener *l = ctx;

	for (unsigned i = 0; i < l->count; i++) {
		int fd = accept(l->fd, NULL, NULL);
		ssize_t n = fd < 0 ? -1 : recv(fd, l->seen, sizeof(l->seen) - 1, 0);
		char byte;

		if (n < 0)
			return NULL;
		l->seen[n] = '\0';
		if (l->answer)
			(void)!write(fd, l->answer, strlen(l->answer));
		else
			(void)!read(l->release[0], &byte, 1);
		close(fd);
	}
	return NULL;
}

static void listener_start(struct listener *l, const char *answer, unsigned count)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(at);

	*l = (struct listener){.answer = answer, .count = count};
	l->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(l->fd, (struct sockaddr *)&at, n), 0);
	assert_int_equal(listen(l->fd, 8), 0);
	assert_int_equal(getsockname(l->fd, (struct sockaddr *)&at, &n), 0);
	assert_int_equal(pipe(l->release), 0);
	l->port = ntohs(at.sin_port);
	assert_int_equal(pthread_create(&l->thread, NULL, serve, l), 0);
}

static void listener_stop(struct listener *l)
{
	close(l->release[1]);
	shutdown(l->fd, SHUT_RDWR);
	pthread_join(l->thread, NULL);
	close(l->release[0]);
	close(l->fd);
}

static struct http_client *client_of(int64_t stall_ms)
{
	struct error err = ERROR_INIT;
	struct http_client *c = NULL;

	assert_ok(http_client_new(&(struct http_options){.stall_timeout_ms = stall_ms}, &c, &err), &err);
	return c;
}

static struct progress progress; /* of the last get() */

/* One GET of what the listener says. */
static int get(const char *answer, void *into, size_t into_bytes, struct http_response *ret, char **ret_server, struct error *err)
{
	struct http_client *c = client_of(0);
	struct listener l;
	char *url;
	int rc;

	listener_start(&l, answer, 1);
	*ret_server = mem_printf("http://127.0.0.1:%u", l.port);
	url = mem_printf("%s/x?y", *ret_server);
	progress = (struct progress){0};
	rc = http_perform(c,
		&(struct http_request){
			.method = "GET", .url = url, .into = into, .into_bytes = into_bytes, .progress = &progress},
		ret, err);
	listener_stop(&l);
	http_client_free(c);
	free(url);
	return rc;
}

/* --- answers --------------------------------------------------------------------------------------------------------------- */

static void an_answer_is_taken_apart(void **state)
{
	struct http_response r;
	struct error err = ERROR_INIT;
	char *server;

	(void)state;
	assert_ok(
		get("HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\nX-Amz-Thing:  a b \r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\nhello",
			NULL, 0, &r, &server, &err),
		&err);
	assert_int_equal(r.status, 404);
	assert_string_equal(buf_str(&r.body), "hello");
	assert_int_not_equal(progress.activity, 0); /* bytes have moved */
	assert_string_equal(http_header(&r, "x-amz-thing"), "a b");
	assert_null(http_header(&r, "x-amz"));
	assert_true(r.has_content_length);
	assert_int_equal(r.content_length, 5);
	assert_int_equal(r.date_ms, 784111777000);
	http_response_release(&r);
	free(server);
}

static void the_headers_of_a_provisional_answer_are_dropped(void **state)
{
	struct http_response r;
	struct error err = ERROR_INIT;
	char *server;

	(void)state;
	assert_ok(get("HTTP/1.1 100 Continue\r\nX-Early: 1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", NULL, 0, &r,
			  &server, &err),
		&err);
	assert_int_equal(r.status, 200);
	assert_null(http_header(&r, "x-early"));
	http_response_release(&r);
	free(server);
}

static void a_redirect_is_not_followed(void **state)
{
	struct http_response r;
	struct error err = ERROR_INIT;
	char *server;

	(void)state;
	assert_ok(get("HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", NULL, 0,
			  &r, &server, &err),
		&err);
	assert_int_equal(r.status, 307);
	http_response_release(&r);
	free(server);
}

static void a_body_goes_where_it_is_wanted(void **state)
{
	struct http_response r;
	struct error err = ERROR_INIT;
	char into[6] = "......", *server;

	(void)state;
	assert_ok(get("HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\n\r\nhello", into, 6, &r, &server, &err), &err);
	assert_int_equal(r.into_filled, 5);
	assert_memory_equal(into, "hello.", 6);
	assert_int_equal(r.body.len, 0);
	http_response_release(&r);
	free(server);
	/* the body of an error is no content */
	assert_ok(get("HTTP/1.1 503 Slow\r\nContent-Length: 4\r\n\r\nslow", into, 6, &r, &server, &err), &err);
	assert_memory_equal(into, "hello.", 6);
	assert_string_equal(buf_str(&r.body), "slow");
	http_response_release(&r);
	free(server);
}

static void a_body_that_is_too_long_is_refused(void **state)
{
	struct http_response r;
	struct error err = ERROR_INIT;
	char into[8] = "........", *server;

	(void)state;
	assert_int_equal(get("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", into, 4, &r, &server, &err), -1);
	assert_error(&err, ERR_CORRUPT, "the answer is longer than the 4 bytes that were asked for");
	assert_memory_equal(into + 4, "....", 4);
	http_response_release(&r);
	free(server);
}

/* --- failures -------------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *answer;
	enum err_class class;
	const char *message; /* behind the server's name */
} broken[] = {
	{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", ERR_NONE, NULL},
	{"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello", ERR_RETRY, "the answer is shorter than it said"},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", ERR_RETRY, "the answer is shorter than it said"},
	{"", ERR_RETRY, "it closed the connection without an answer"},
	{"HTT", ERR_RETRY, "it closed the connection without an answer"},
	{"SSH-2.0-OpenSSH_9.2\r\n", ERR_RETRY, "its answer is not HTTP"},
};

static void what_is_no_whole_answer_may_be_tried_again(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_len(broken); i++) {
		struct http_response r;
		struct error err = ERROR_INIT;
		char *server, *want;
		int rc = get(broken[i].answer, NULL, 0, &r, &server, &err);

		if (!broken[i].message) {
			assert_ok(rc, &err);
		} else {
			assert_int_equal(rc, -1);
			want = mem_printf("could not reach \"%s\": %s", server, broken[i].message);
			assert_error(&err, broken[i].class, want);
			free(want);
		}
		http_response_release(&r);
		free(server);
	}
}

static int get_url(const struct http_options *o, const char *url, struct error *err)
{
	struct http_response r;
	struct http_client *c = NULL;
	int rc;

	assert_ok(http_client_new(o, &c, err), err);
	rc = http_perform(c, &(struct http_request){.method = "GET", .url = url}, &r, err);
	http_response_release(&r);
	http_client_free(c);
	return rc;
}

static void a_server_that_is_not_there_is_named(void **state)
{
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(get_url(&(struct http_options){0}, "http://127.0.0.1:1/bucket", &err), -1);
	assert_error_full(&err, ERR_RETRY, "could not reach \"http://127.0.0.1:1\": could not connect: Connection refused", NULL,
		"Check the endpoint, and the network between this machine and the server.");
	assert_int_equal(get_url(&(struct http_options){0}, "http://no-such-host.invalid/", &err), -1);
	assert_error(&err, ERR_RETRY, "could not reach \"http://no-such-host.invalid\": its name cannot be resolved");
	assert_int_equal(get_url(&(struct http_options){0}, "http://127.0.0.1:x/", &err), -1);
	assert_error(&err, ERR_CONFIG, "could not reach \"http://127.0.0.1:x\": the URL is not valid");
}

static void a_ca_file_that_is_none_is_a_matter_of_configuration(void **state)
{
	struct error err = ERROR_INIT;
	struct listener l;
	char *url;

	(void)state;
	listener_start(&l, "", 1);
	url = mem_printf("https://127.0.0.1:%u/", l.port);
	assert_int_equal(get_url(&(struct http_options){.ca_file = "/dev/null"}, url, &err), -1);
	assert_error_full(
		&err, ERR_CONFIG, "could not load CA file \"/dev/null\"", NULL, "It must hold certificates in PEM form.");
	listener_stop(&l);
	free(url);
}

static void a_port_without_tls_is_told(void **state)
{
	struct error err = ERROR_INIT;
	struct listener l;
	char *url, *want;

	(void)state;
	listener_start(&l, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", 1);
	url = mem_printf("https://127.0.0.1:%u", l.port);
	want = mem_printf("could not reach \"%s\": it does not speak TLS on this port", url);
	assert_int_equal(get_url(&(struct http_options){0}, url, &err), -1);
	assert_error(&err, ERR_CONFIG, want);
	listener_stop(&l);
	free(url);
	free(want);
}

static void a_proxy_that_refuses_is_named(void **state)
{
	struct error err = ERROR_INIT;
	struct listener l;
	char *proxy;

	(void)state;
	listener_start(&l, "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", 1);
	proxy = mem_printf("http://127.0.0.1:%u", l.port);
	assert_int_equal(get_url(&(struct http_options){.proxy = proxy}, "https://s3.invalid/", &err), -1);
	assert_error(&err, ERR_CONFIG, "could not reach \"https://s3.invalid\": the proxy answered with status 407");
	assert_non_null(strstr(l.seen, "CONNECT s3.invalid:443"));
	listener_stop(&l);
	free(proxy);
}

/* --- silence --------------------------------------------------------------------------------------------------------------- */

static void silence_is_a_failure_after_the_stall_timeout(void **state)
{
	struct http_client *c = client_of(300);
	struct http_response r;
	struct error err = ERROR_INIT;
	struct listener l;
	char *url, *want;
	int64_t began = clock_mono_ms();

	(void)state;
	progress = (struct progress){0};
	listener_start(&l, NULL, 1);
	url = mem_printf("http://127.0.0.1:%u", l.port);
	want = mem_printf("could not reach \"%s\": not a byte was moved for 300ms", url);
	assert_int_equal(
		http_perform(c, &(struct http_request){.method = "GET", .url = url, .progress = &progress}, &r, &err), -1);
	assert_error(&err, ERR_RETRY, want);
	assert_int_equal(progress.activity, 0); /* and no sign of life */
	assert_true(clock_mono_ms() - began >= 300);
	http_response_release(&r);
	listener_stop(&l);
	http_client_free(c);
	free(url);
	free(want);
}

static void *cancel_soon(void *ctx)
{
	struct error err = ERROR_INIT;

	assert_ok(cancel_sleep(NULL, 200, &err), &err);
	cancel_request(ctx, CANCEL_SIGNAL);
	return NULL;
}

static void a_request_in_silence_is_cancelled_at_once(void **state)
{
	struct http_client *c = client_of(0);
	struct cancel parent, token;
	struct http_response r;
	struct error err = ERROR_INIT;
	struct listener l;
	pthread_t thread;
	char *url;
	int64_t began;

	(void)state;
	assert_ok(cancel_init(&parent, NULL, &err), &err);
	assert_ok(cancel_init(&token, &parent, &err), &err);
	listener_start(&l, NULL, 1);
	url = mem_printf("http://127.0.0.1:%u", l.port);
	began = clock_mono_ms();
	assert_int_equal(pthread_create(&thread, NULL, cancel_soon, &parent), 0);
	assert_int_equal(http_perform(c, &(struct http_request){.method = "GET", .url = url, .cancel = &token}, &r, &err), -1);
	assert_error(&err, ERR_CANCELLED, "interrupted by a signal");
	assert_true(clock_mono_ms() - began < 5000);
	pthread_join(thread, NULL);
	http_response_release(&r);
	listener_stop(&l);
	/* and one that has not begun does not begin */
	assert_int_equal(http_perform(c, &(struct http_request){.method = "GET", .url = url, .cancel = &token}, &r, &err), -1);
	assert_error(&err, ERR_CANCELLED, "interrupted by a signal");
	http_response_release(&r);
	http_client_free(c);
	cancel_release(&token);
	cancel_release(&parent);
	free(url);
}

/* --- requests -------------------------------------------------------------------------------------------------------------- */

static void what_is_sent_is_what_was_asked_for(void **state)
{
	static const char *const headers[] = {"Content-Type: application/xml", "X-Thing: 1", NULL};
	struct http_client *c = client_of(0);
	struct http_response r;
	struct error err = ERROR_INIT;
	struct listener l;
	char *url;

	(void)state;
	listener_start(&l, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 2);
	url = mem_printf("http://127.0.0.1:%u/a/../b%%20c?x=%%2F", l.port);
	assert_ok(
		http_perform(c,
			&(struct http_request){.method = "PUT", .url = url, .headers = headers, .body = "body", .body_bytes = 4},
			&r, &err),
		&err);
	http_response_release(&r);
	assert_ptr_equal(strstr(l.seen, "PUT /a/../b%20c?x=%2F HTTP/1.1\r\n"), l.seen);
	assert_non_null(strstr(l.seen, "Content-Type: application/xml\r\n"));
	assert_non_null(strstr(l.seen, "X-Thing: 1\r\n"));
	assert_non_null(strstr(l.seen, "Content-Length: 4\r\n\r\nbody"));
	assert_ok(http_perform(c, &(struct http_request){.method = "DELETE", .url = url}, &r, &err), &err);
	http_response_release(&r);
	assert_ptr_equal(strstr(l.seen, "DELETE /a/"), l.seen);
	assert_null(strstr(l.seen, "Content-Length"));
	assert_null(strstr(l.seen, "X-Thing"));
	listener_stop(&l);
	http_client_free(c);
	free(url);
}

static void text_is_escaped_for_its_place(void **state)
{
	static const struct {
		const char *text;
		bool is_path;
		const char *want;
	} cases[] = {
		{"a/b c", true, "a/b%20c"},
		{"a/b c", false, "a%2Fb%20c"},
		{"+%#;?&=", true, "%2B%25%23%3B%3F%26%3D"},
		{"-._~", false, "-._~"},
		{"\xc3\xa4\x01", true, "%C3%A4%01"},
		{"", true, ""},
	};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		struct buf out = {0};

		http_escape(cases[i].text, cases[i].is_path, &out);
		assert_string_equal(buf_str(&out), cases[i].want);
		buf_release(&out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_answer_is_taken_apart),
		cmocka_unit_test(the_headers_of_a_provisional_answer_are_dropped),
		cmocka_unit_test(a_redirect_is_not_followed),
		cmocka_unit_test(a_body_goes_where_it_is_wanted),
		cmocka_unit_test(a_body_that_is_too_long_is_refused),
		cmocka_unit_test(what_is_no_whole_answer_may_be_tried_again),
		cmocka_unit_test(a_server_that_is_not_there_is_named),
		cmocka_unit_test(a_ca_file_that_is_none_is_a_matter_of_configuration),
		cmocka_unit_test(a_port_without_tls_is_told),
		cmocka_unit_test(a_proxy_that_refuses_is_named),
		cmocka_unit_test(silence_is_a_failure_after_the_stall_timeout),
		cmocka_unit_test(a_request_in_silence_is_cancelled_at_once),
		cmocka_unit_test(what_is_sent_is_what_was_asked_for),
		cmocka_unit_test(text_is_escaped_for_its_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * HTTP over libcurl.
 *
 * A request runs in a lane: an easy handle in a multi handle of its own, which keeps the connections it has made.  Idle lanes stand
 * in a list, and the one used last is taken first; so as many connections live as threads ever worked at once, and each thread finds
 * a warm one.  The multi handle is there for its poll, which waits for the cancel tokens too.
 *
 * libcurl repeats a request by itself in one case only: a kept connection turns out to be closed before a byte of the answer came.
 */
#include "storage/drivers/http.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/version.h"
#include "storage/drivers/http_internal.h"

#define CONNECT_TIMEOUT_MS 10000
#define STALL_TIMEOUT_MS 60000
#define POLL_MAX_MS 1000
#define LANE_CONNECTIONS 4L
#define RECEIVE_BUFFER_BYTES (512L << 10)
#define SEND_BUFFER_BYTES (1L << 20)

struct lane {
	CURL *easy;
	CURLM *multi;
	struct lane *next;
};

struct http_client {
	pthread_mutex_t lock; /* of idle */
	struct lane *idle;
	char *ca_file, *proxy;
	int64_t connect_timeout_ms, stall_timeout_ms;
};

struct transfer {
	const struct http_client *client;
	const struct http_request *request;
	struct http_response *response;
	struct lane *lane;
	struct curl_slist *headers;
	uint64_t received_bytes; /* header lines and body */
	struct error failure;    /* of a callback */
	char text[CURL_ERROR_SIZE];
};

/* --- lanes ----------------------------------------------------------------------------------------------------------------- */

static pthread_once_t global_once = PTHREAD_ONCE_INIT;
static CURLcode global_rc;

static void global_init(void)
{
	global_rc = curl_global_init(CURL_GLOBAL_DEFAULT);
}

static void lane_free(struct lane *l)
{
	if (l->easy)
		curl_easy_cleanup(l->easy);
	if (l->multi)
		curl_multi_cleanup(l->multi);
	free(l);
}

static struct lane *lane_take(struct http_client *c, struct error *err)
{
	struct lane *l;

	pthread_mutex_lock(&c->lock);
	l = c->idle;
	if (l)
		c->idle = l->next;
	pthread_mutex_unlock(&c->lock);
	if (l)
		return l;
	l = mem_zalloc(sizeof(*l));
	l->easy = curl_easy_init();
	l->multi = curl_multi_init();
	if (l->easy && l->multi && curl_multi_setopt(l->multi, CURLMOPT_MAXCONNECTS, LANE_CONNECTIONS) == CURLM_OK)
		return l;
	lane_free(l);
	err_set(err, ERR_FULL, "could not prepare an HTTP request: out of memory");
	return NULL;
}

static void lane_give(struct http_client *c, struct lane *l)
{
	curl_easy_reset(l->easy); /* forgets everything but connections */
	pthread_mutex_lock(&c->lock);
	l->next = c->idle;
	c->idle = l;
	pthread_mutex_unlock(&c->lock);
}

int http_client_new(const struct http_options *o, struct http_client **ret, struct error *err)
{
	struct http_client *c;

	pthread_once(&global_once, global_init);
	if (global_rc != CURLE_OK)
		return err_set(err, ERR_FAILED, "could not initialise libcurl: %s", curl_easy_strerror(global_rc));
	c = mem_zalloc(sizeof(*c));
	pthread_mutex_init(&c->lock, NULL);
	c->ca_file = o->ca_file ? mem_strdup(o->ca_file) : NULL;
	c->proxy = o->proxy ? mem_strdup(o->proxy) : NULL;
	c->connect_timeout_ms = o->connect_timeout_ms ? o->connect_timeout_ms : CONNECT_TIMEOUT_MS;
	c->stall_timeout_ms = o->stall_timeout_ms ? o->stall_timeout_ms : STALL_TIMEOUT_MS;
	*ret = c;
	return 0;
}

void http_client_free(struct http_client *c)
{
	if (!c)
		return;
	while (c->idle) {
		struct lane *l = c->idle;

		c->idle = l->next;
		lane_free(l);
	}
	pthread_mutex_destroy(&c->lock);
	free(c->ca_file);
	free(c->proxy);
	free(c);
}

/* --- what comes in --------------------------------------------------------------------------------------------------------- */

static size_t on_header(char *line, size_t size, size_t count, void *ctx)
{
	struct transfer *t = ctx;

	t->received_bytes += size * count;
	http_response_add_line(t->response, line, size * count);
	return size * count;
}

static int take_body(struct transfer *t, const char *p, size_t n, struct error *err)
{
	struct http_response *ret = t->response;
	long status = 0;

	curl_easy_getinfo(t->lane->easy, CURLINFO_RESPONSE_CODE, &status);
	if (!t->request->into || (status != 200 && status != 206))
		return buf_append(&ret->body, p, n, err);
	if (n > t->request->into_bytes - ret->into_filled) {
		return err_set(
			err, ERR_CORRUPT, "the answer is longer than the %zu bytes that were asked for", t->request->into_bytes);
	}
	memcpy((char *)t->request->into + ret->into_filled, p, n);
	ret->into_filled += n;
	return 0;
}

static size_t on_body(char *p, size_t size, size_t count, void *ctx)
{
	struct transfer *t = ctx;

	t->received_bytes += size * count;
	return take_body(t, p, size * count, &t->failure) < 0 ? CURL_WRITEFUNC_ERROR : size * count;
}

/* --- preparing ------------------------------------------------------------------------------------------------------------- */

static int add_headers(struct transfer *t, struct error *err)
{
	for (const char *const *h = t->request->headers; h && *h; h++) {
		struct curl_slist *more = curl_slist_append(t->headers, *h);

		if (!more)
			return err_set(err, ERR_FULL, "could not prepare an HTTP request: out of memory");
		t->headers = more;
	}
	return 0;
}

static CURLcode set_method(CURL *e, const struct http_request *r)
{
	CURLcode rc;

	if (strcmp(r->method, "GET") == 0)
		return curl_easy_setopt(e, CURLOPT_HTTPGET, 1L);
	if (strcmp(r->method, "HEAD") == 0)
		return curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
	rc = curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, r->method);
	/* As fields of a form the body is sent from where it lies, and again when a kept connection was dead. */
	if (!rc && (r->body || strcmp(r->method, "DELETE") != 0)) {
		rc = curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body_bytes);
		if (!rc)
			rc = curl_easy_setopt(e, CURLOPT_POSTFIELDS, r->body ? r->body : "");
	}
	return rc;
}

#define SET(option, value) \
	do { \
		CURLcode set_rc_ = curl_easy_setopt(e, option, value); \
		if (set_rc_) \
			return set_rc_; \
	} while (0)

static CURLcode set_options(struct transfer *t)
{
	const struct http_client *c = t->client;
	CURL *e = t->lane->easy;

	SET(CURLOPT_URL, t->request->url);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_PATH_AS_IS, 1L);
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1); /* one connection each is what makes parallel parts fast */
	SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	SET(CURLOPT_USERAGENT, "holdfast/" HOLDFAST_VERSION);
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long)c->connect_timeout_ms);
	SET(CURLOPT_BUFFERSIZE, RECEIVE_BUFFER_BYTES);
	SET(CURLOPT_UPLOAD_BUFFERSIZE, SEND_BUFFER_BYTES);
	SET(CURLOPT_FRESH_CONNECT, t->request->is_once ? 1L : 0L);
	SET(CURLOPT_HTTPHEADER, t->headers);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, t);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, t);
	SET(CURLOPT_ERRORBUFFER, t->text);
	if (c->ca_file)
		SET(CURLOPT_CAINFO, c->ca_file);
	if (c->ca_file) /* that file alone, not the system's directory beside it */
		SET(CURLOPT_CAPATH, NULL);
	if (c->proxy)
		SET(CURLOPT_PROXY, c->proxy);
	return CURLE_OK;
}

static int prepare(struct transfer *t, struct error *err)
{
	CURLcode rc;

	if (add_headers(t, err) < 0)
		return -1;
	rc = set_options(t);
	if (!rc)
		rc = set_method(t->lane->easy, t->request);
	return rc ? err_set(err, ERR_BUG, "could not prepare an HTTP request: %s", curl_easy_strerror(rc)) : 0;
}

/* --- running --------------------------------------------------------------------------------------------------------------- */

static uint64_t moved_bytes(const struct transfer *t)
{
	curl_off_t sent = 0;

	curl_easy_getinfo(t->lane->easy, CURLINFO_SIZE_UPLOAD_T, &sent);
	return t->received_bytes + (uint64_t)sent;
}

/* Waits for the connection, a timer of libcurl's, or a cancel token. */
static CURLMcode wait_some(const struct transfer *t, int64_t timeout_ms)
{
	struct curl_waitfd fds[CANCEL_DEPTH_MAX];
	unsigned n = 0;

	for (const struct cancel *c = t->request->cancel; c && n < CANCEL_DEPTH_MAX; c = c->parent)
		fds[n++] = (struct curl_waitfd){.fd = c->fd, .events = CURL_WAIT_POLLIN};
	return curl_multi_poll(t->lane->multi, fds, n, (int)(timeout_ms < POLL_MAX_MS ? timeout_ms : POLL_MAX_MS), NULL);
}

/* Until it is done: 0; libcurl's verdict is in *ret_rc. */
static int drive(struct transfer *t, CURLcode *ret_rc, struct error *err)
{
	int64_t moved_ms = clock_mono_ms(), until_ms = t->request->total_timeout_ms ? moved_ms + t->request->total_timeout_ms : 0;
	uint64_t moved = 0;
	int running = 1, left;
	CURLMsg *m;

	for (;;) {
		CURLMcode rc = curl_multi_perform(t->lane->multi, &running);
		uint64_t now_moved = moved_bytes(t);
		int64_t left_ms, whole_ms;

		if (rc != CURLM_OK)
			return err_set(err, ERR_FAILED, "could not go on with an HTTP request: %s", curl_multi_strerror(rc));
		if (now_moved != moved) {
			moved_ms = clock_mono_ms();
			progress_alive(t->request->progress);
		}
		moved = now_moved;
		if (!running)
			break;
		left_ms = moved_ms + t->client->stall_timeout_ms - clock_mono_ms();
		whole_ms = until_ms ? until_ms - clock_mono_ms() : left_ms;
		if (cancel_check(t->request->cancel, err) < 0)
			return -1;
		if (left_ms <= 0)
			return http_fail_stalled(t->request->url, t->client->stall_timeout_ms, err);
		if (whole_ms <= 0)
			return http_fail_late(t->request->url, t->request->total_timeout_ms, err);
		rc = wait_some(t, whole_ms < left_ms ? whole_ms : left_ms);
		if (rc != CURLM_OK)
			return err_set(err, ERR_FAILED, "could not wait for an HTTP request: %s", curl_multi_strerror(rc));
	}
	m = curl_multi_info_read(t->lane->multi, &left);
	*ret_rc = m ? m->data.result : CURLE_GOT_NOTHING;
	return 0;
}

static void take_info(struct transfer *t)
{
	curl_off_t length = -1;
	long status = 0;

	curl_easy_getinfo(t->lane->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(t->lane->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
	t->response->status = (int)status;
	t->response->has_content_length = length >= 0;
	t->response->content_length = length >= 0 ? (uint64_t)length : 0;
	t->response->date_ms = http_date_ms(http_header(t->response, "date"));
}

static int fail(struct transfer *t, CURLcode rc, struct error *err)
{
	struct http_failure f = {.curl_code = (int)rc, .url = t->request->url, .ca_file = t->client->ca_file, .text = t->text};

	if (t->failure.class != ERR_NONE)
		return err_move(err, &t->failure);
	curl_easy_getinfo(t->lane->easy, CURLINFO_OS_ERRNO, &f.os_errno);
	curl_easy_getinfo(t->lane->easy, CURLINFO_HTTP_CONNECTCODE, &f.proxy_status);
	curl_easy_getinfo(t->lane->easy, CURLINFO_SSL_VERIFYRESULT, &f.verify_result);
	return http_fail(&f, err);
}

static int run(struct transfer *t, struct error *err)
{
	CURLMcode added;
	CURLcode rc = CURLE_OK;
	int done;

	if (cancel_check(t->request->cancel, err) < 0 || prepare(t, err) < 0)
		return -1;
	added = curl_multi_add_handle(t->lane->multi, t->lane->easy);
	if (added != CURLM_OK)
		return err_set(err, ERR_BUG, "could not begin an HTTP request: %s", curl_multi_strerror(added));
	done = drive(t, &rc, err);
	if (done == 0) {
		take_info(t);
		done = rc == CURLE_OK ? 0 : fail(t, rc, err);
	}
	curl_multi_remove_handle(t->lane->multi, t->lane->easy); /* in mid-transfer: closes the connection */
	return done;
}

int http_perform(struct http_client *c, const struct http_request *r, struct http_response *ret, struct error *err)
{
	struct transfer t = {.client = c, .request = r, .response = ret};
	int rc;

	*ret = (struct http_response){.body = {.max = HTTP_BODY_MAX_BYTES}};
	t.lane = lane_take(c, err);
	if (!t.lane)
		return -1;
	rc = run(&t, err);
	lane_give(c, t.lane);
	curl_slist_free_all(t.headers);
	err_clear(&t.failure);
	return rc;
}

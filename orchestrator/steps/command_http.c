/*
 * The operator's services, asked over HTTP; and what their answers in JSON say.
 */
#include "orchestrator/steps/command.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/json.h"
#include "orchestrator/engine/value.h"
#include "storage/drivers/http.h"

#define TIMEOUT_DEFAULT_MS 30000

/* --- asking -------------------------------------------------------------------------------------------------------------------- */

char *url_shown(const char *url, bool is_host_only)
{
	const char *host = strstr(url, "://"), *at;
	size_t authority_bytes, rest_bytes;

	if (!host)
		return mem_strdup("(no URL)");
	host += 3;
	authority_bytes = strcspn(host, "/?#");
	for (at = host + authority_bytes; at > host && at[-1] != '@'; at--)
		;
	authority_bytes -= (size_t)(at - host);
	rest_bytes = strcspn(at, "?#");
	if (is_host_only)
		return mem_strndup(at, authority_bytes);
	return mem_printf("%.*s%.*s", (int)(host - url), url, (int)rest_bytes, at);
}

static int add_headers(struct ask *a, struct error *err)
{
	json_t *map = (json_t *)(uintptr_t)step_json(a->ctx, "headers"), *value;
	const char *name;

	a->headers = arena_alloc(&a->arena, (json_object_size(map) + 2) * sizeof(*a->headers));
	json_object_foreach(map, name, value)
	{
		cleanup(mem_freep) char *what = mem_printf("header \"%s\"", name), *text = NULL;

		if (scrub_resolve(&a->scrub, json_string_value(value), what, &text, err) < 0)
			return -1;
		if (!*name || strpbrk(name, ": \r\n") || strpbrk(text, "\r\n"))
			return err_set(err, ERR_CONFIG, "header \"%s\" is no header of one line", name);
		a->headers[a->headers_count++] = arena_printf(&a->arena, "%s: %s", name, text);
	}
	return 0;
}

static bool has_header(const struct ask *a, const char *name)
{
	for (size_t i = 0; i < a->headers_count; i++) {
		if (strncasecmp(a->headers[i], name, strlen(name)) == 0)
			return true;
	}
	return false;
}

/* What cannot be told apart is not shown: a slash in a password makes half of it the host. */
static int check_url(const char *url, struct error *err)
{
	cleanup(mem_freep) char *shown = url_shown(url, false);

	if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
		return err_set(err, ERR_CONFIG, "the URL does not begin with http:// or https://");
	if (value_url_is_plain(shown) && shown[strcspn(shown, ":") + 3] && !strpbrk(url, " \t\r\n"))
		return 0;
	(void)err_set(err, ERR_CONFIG, "the URL is none");
	return err_hint(err,
		"In a user or password \"/\", \"?\", \"#\", \"@\", \":\" and blanks are written %%2F, %%3F, %%23, %%40, %%3A, %%20.");
}

int ask_url(struct ask *a, const char *text, const char **ret_url, char **ret_shown, struct error *err)
{
	cleanup(mem_freep) char *url = NULL;

	if (scrub_resolve(&a->scrub, text, "the URL", &url, err) < 0 || check_url(url, err) < 0)
		return -1;
	*ret_url = arena_strdup(&a->arena, url);
	*ret_shown = url_shown(url, strcmp(text, url) != 0);
	return 0;
}

int ask_open(struct step_context *ctx, const char *url, struct ask *ret, struct error *err)
{
	*ret = (struct ask){.ctx = ctx};
	if (add_headers(ret, err) < 0)
		return -1;
	return url ? ask_url(ret, url, &ret->url, &ret->shown, err) : 0;
}

void ask_close(struct ask *a)
{
	free(a->shown);
	scrub_release(&a->scrub);
	arena_release(&a->arena);
	memset(a, 0, sizeof(*a));
}

/* A proxy has no business between neighbours, and whoever set http_proxy did not mean them. */
static bool is_loopback(const char *url)
{
	static const char *const hosts[] = {"localhost", "127.", "[::1]"};
	cleanup(mem_freep) char *host = url_shown(url, true);

	for (size_t i = 0; i < array_len(hosts); i++) {
		size_t n = strlen(hosts[i]);

		if (strncasecmp(host, hosts[i], n) == 0 && (hosts[i][n - 1] == '.' || !host[n] || host[n] == ':'))
			return true;
	}
	return false;
}

static void client_freep(struct http_client **c)
{
	http_client_free(*c);
}

static int perform(struct ask *a, const struct ask_request *r, int *ret_status, struct buf *body, struct error *err)
{
	int64_t timeout_ms = r->timeout_ms ? r->timeout_ms : TIMEOUT_DEFAULT_MS;
	const struct http_options o = {
		.ca_file = step_str(a->ctx, "ca_file"),
		.proxy = is_loopback(r->url ? r->url : a->url) ? "" : NULL,
		.connect_timeout_ms = timeout_ms < TIMEOUT_DEFAULT_MS ? timeout_ms : TIMEOUT_DEFAULT_MS,
		.stall_timeout_ms = timeout_ms,
	};
	struct http_request request = {
		.method = r->method ? r->method : "GET",
		.url = r->url ? r->url : a->url,
		.headers = a->headers,
		.body = r->body,
		.body_bytes = r->body ? strlen(r->body) : 0,
		.cancel = a->ctx->cancel,
		.progress = a->ctx->progress,
		.is_once = r->is_once,
		.total_timeout_ms = r->timeout_ms,
	};
	cleanup(http_response_release) struct http_response response = {0};
	cleanup(client_freep) struct http_client *client = NULL;

	if (http_client_new(&o, &client, err) < 0 || http_perform(client, &request, &response, err) < 0)
		return -1;
	*ret_status = response.status;
	return buf_append(body, buf_str(&response.body), response.body.len, err);
}

int ask_once(struct ask *a, const struct ask_request *r, int *ret_status, struct buf *body, struct error *err)
{
	int rc;

	if (r->body && !has_header(a, "content-type:"))
		a->headers[a->headers_count++] = "Content-Type: application/json"; /* add_headers() has left room for it */
	rc = perform(a, r, ret_status, body, err);
	if (rc < 0)
		scrub_error(&a->scrub, err);
	return rc;
}

/* --- answers ------------------------------------------------------------------------------------------------------------------- */

static const json_t *child_of(const json_t *value, const char *key)
{
	char *end;
	unsigned long i;

	if (!json_is_array(value))
		return json_object_get(value, key);
	if (*key < '0' || *key > '9')
		return NULL;
	i = strtoul(key, &end, 10);
	return *end ? NULL : json_array_get(value, i);
}

const json_t *json_at(const json_t *doc, const char *path)
{
	const json_t *value = doc;

	while (value && *path) {
		const char *dot = strchrnul(path, '.');
		cleanup(mem_freep) char *key = mem_strndup(path, (size_t)(dot - path));
		const json_t *whole = child_of(value, path);

		if (whole)
			return whole; /* a name with dots in it */
		value = child_of(value, key);
		path = *dot ? dot + 1 : dot;
	}
	return value;
}

char *json_as_text(const json_t *value)
{
	return json_is_string(value) ? mem_strdup(json_string_value(value))
				     : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
}

static bool has_member(const json_t *doc, const char *path, const char *want, struct buf *why)
{
	const json_t *value = json_at(doc, path);
	cleanup(mem_freep) char *got = value ? json_as_text(value) : NULL, *shown = NULL;

	if (got && strcmp(got, want) == 0)
		return true;
	if (!got) {
		buf_printf(why, "%s\"%s\" is missing, wanted \"%s\"", why->len ? "; " : "", path, want);
		return false;
	}
	shown = text_shown(got, TEXT_SHOWN_BYTES);
	buf_printf(why, "%s\"%s\" is \"%s\", wanted \"%s\"", why->len ? "; " : "", path, shown, want);
	return false;
}

int json_expect(const json_t *doc, const json_t *expect, struct buf *why)
{
	const char *path;
	json_t *want;
	int rc = 1;

	json_object_foreach((json_t *)(uintptr_t)expect, path, want)
	{
		if (!has_member(doc, path, json_string_value(want), why))
			rc = 0;
	}
	return rc;
}

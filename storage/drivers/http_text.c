#include "storage/drivers/http_internal.h"

#include <ctype.h>
#include <curl/curl.h>
#include <openssl/x509_vfy.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"

/* --- answers --------------------------------------------------------------------------------------------------------------- */

static void drop_headers(struct http_response *r)
{
	for (size_t i = 0; i < r->headers_count; i++) {
		free(r->headers[i].name);
		free(r->headers[i].value);
	}
	r->headers_count = 0;
}

void http_response_release(struct http_response *r)
{
	drop_headers(r);
	free(r->headers);
	buf_release(&r->body);
	*r = (struct http_response){0};
}

void http_response_add_line(struct http_response *r, const char *line, size_t n)
{
	const char *colon = memchr(line, ':', n), *value, *end = line + n;
	struct http_header h;

	if (n > 5 && strncmp(line, "HTTP/", 5) == 0)
		drop_headers(r);
	if (!colon || colon == line || (n > 5 && strncmp(line, "HTTP/", 5) == 0))
		return;
	for (value = colon + 1; value < end && (*value == ' ' || *value == '\t'); value++)
		;
	while (end > value && strchr(" \t\r\n", end[-1]))
		end--;
	h.name = mem_strndup(line, (size_t)(colon - line));
	for (char *c = h.name; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	h.value = mem_strndup(value, (size_t)(end - value));
	r->headers = mem_grow(r->headers, &r->headers_cap, r->headers_count + 1, sizeof(*r->headers));
	r->headers[r->headers_count++] = h;
}

const char *http_header(const struct http_response *r, const char *name)
{
	for (size_t i = 0; i < r->headers_count; i++)
		if (strcmp(r->headers[i].name, name) == 0)
			return r->headers[i].value;
	return NULL;
}

int64_t http_date_ms(const char *text)
{
	time_t at = text ? curl_getdate(text, NULL) : -1;

	return at < 0 ? 0 : (int64_t)at * 1000;
}

void http_escape(const char *text, bool is_path, struct buf *out)
{
	static const char digits[] = "0123456789ABCDEF";

	for (const char *c = text; *c; c++) {
		unsigned char byte = (unsigned char)*c;

		if ((byte < 128 && isalnum(byte)) || strchr("-._~", byte) || (is_path && byte == '/')) {
			buf_putc(out, *c);
		} else {
			buf_putc(out, '%');
			buf_putc(out, digits[byte >> 4]);
			buf_putc(out, digits[byte & 15]);
		}
	}
}

/* --- failures -------------------------------------------------------------------------------------------------------------- */

/* "scheme://host:port" of a URL, without user and password; malloc'd. */
static char *server_of(const char *url)
{
	const char *host = strstr(url, "://"), *at, *end;

	if (!host)
		return mem_strdup(url);
	host += 3;
	end = host + strcspn(host, "/?#");
	for (at = end; at > host && at[-1] != '@'; at--)
		;
	return mem_printf("%.*s%.*s", (int)(host - url), url, (int)(end - at), at);
}

#define HINT_NETWORK "Check the endpoint, and the network between this machine and the server."
#define HINT_CA "Set ca_file to the certificate of the authority that signed the server's."
#define HINT_PROXY "Check the proxy of the configuration or of the environment (https_proxy, http_proxy, no_proxy)."
#define HINT_PLAIN "Check the endpoint: the server may speak plain http on this port, or https on another."

static const struct {
	int curl_code;
	enum err_class class;
	const char *reason, *hint;
} failures[] = {
	{CURLE_COULDNT_RESOLVE_HOST, ERR_RETRY, "its name cannot be resolved", HINT_NETWORK},
	{CURLE_COULDNT_CONNECT, ERR_RETRY, "could not connect", HINT_NETWORK},
	{CURLE_OPERATION_TIMEDOUT, ERR_RETRY, "it did not answer in time", HINT_NETWORK},
	{CURLE_GOT_NOTHING, ERR_RETRY, "it closed the connection without an answer", NULL},
	{CURLE_PARTIAL_FILE, ERR_RETRY, "the answer is shorter than it said", NULL},
	{CURLE_SEND_ERROR, ERR_RETRY, "the connection was lost while sending", NULL},
	{CURLE_RECV_ERROR, ERR_RETRY, "the connection was lost while receiving", NULL},
	{CURLE_SEND_FAIL_REWIND, ERR_RETRY, "the connection was lost while sending", NULL},
	{CURLE_WEIRD_SERVER_REPLY, ERR_RETRY, "its answer is not HTTP", NULL},
	{CURLE_UNSUPPORTED_PROTOCOL, ERR_RETRY, "its answer is not HTTP", HINT_PLAIN},
	{CURLE_HTTP2, ERR_RETRY, "the connection was lost", NULL},
	{CURLE_BAD_CONTENT_ENCODING, ERR_RETRY, "its answer is damaged", NULL},
	{CURLE_SSL_CONNECT_ERROR, ERR_RETRY, "the TLS handshake failed", HINT_PLAIN},
	{CURLE_SSL_SHUTDOWN_FAILED, ERR_RETRY, "the connection was lost", NULL},
	{CURLE_PEER_FAILED_VERIFICATION, ERR_CONFIG, "its certificate is not trusted", HINT_CA},
	{CURLE_SSL_ISSUER_ERROR, ERR_CONFIG, "its certificate is not trusted", HINT_CA},
	{CURLE_SSL_CACERT_BADFILE, ERR_CONFIG, "the certificates to trust cannot be read", HINT_CA},
	{CURLE_SSL_CERTPROBLEM, ERR_CONFIG, "it asks for a client's certificate", NULL},
	{CURLE_SSL_CIPHER, ERR_CONFIG, "it has no cipher in common with us", NULL},
	{CURLE_COULDNT_RESOLVE_PROXY, ERR_CONFIG, "the name of the proxy cannot be resolved", HINT_PROXY},
	{CURLE_PROXY, ERR_CONFIG, "the proxy refuses", HINT_PROXY},
	{CURLE_URL_MALFORMAT, ERR_CONFIG, "the URL is not valid", "Check the endpoint."},
	{CURLE_OUT_OF_MEMORY, ERR_FULL, "out of memory", NULL},
};

/* libcurl's own words are a detail only: they differ between its versions. */
static int fail_with(const struct http_failure *f, enum err_class class, const char *reason, const char *hint, struct error *err)
{
	char *server cleanup(mem_freep) = server_of(f->url);

	if (f->os_errno && class == ERR_RETRY)
		err_set(err, class, "could not reach \"%s\": %s: %s", server, reason, strerror((int)f->os_errno));
	else
		err_set(err, class, "could not reach \"%s\": %s", server, reason);
	err->sys_errno = (int)f->os_errno;
	if (f->text && *f->text)
		err_detail(err, "%s", f->text);
	if (hint)
		err_hint(err, "%s", hint);
	return -1;
}

int http_fail(const struct http_failure *f, struct error *err)
{
	char *server cleanup(mem_freep) = server_of(f->url);

	if (f->proxy_status && f->proxy_status != 200) {
		err_set(err, f->proxy_status >= 500 ? ERR_RETRY : ERR_CONFIG,
			"could not reach \"%s\": the proxy answered with status %ld", server, f->proxy_status);
		return err_hint(err, HINT_PROXY);
	}
	if (f->curl_code == CURLE_SSL_CACERT_BADFILE && f->ca_file) {
		err_set(err, ERR_CONFIG, "could not load CA file \"%s\"", f->ca_file);
		return err_hint(err, "It must hold certificates in PEM form.");
	}
	if (f->curl_code == CURLE_PEER_FAILED_VERIFICATION && f->verify_result != X509_V_OK)
		return fail_with(f, ERR_CONFIG, X509_verify_cert_error_string(f->verify_result), HINT_CA, err);
	if (f->curl_code == CURLE_SSL_CONNECT_ERROR && f->text && strstr(f->text, "wrong version number"))
		return fail_with(f, ERR_CONFIG, "it does not speak TLS on this port", HINT_PLAIN, err);
	for (size_t i = 0; i < array_len(failures); i++)
		if (failures[i].curl_code == f->curl_code)
			return fail_with(f, failures[i].class, failures[i].reason, failures[i].hint, err);
	return fail_with(f, ERR_FAILED, curl_easy_strerror((CURLcode)f->curl_code), NULL, err);
}

int http_fail_late(const char *url, int64_t total_timeout_ms, struct error *err)
{
	char *server cleanup(mem_freep) = server_of(url), text[CLOCK_TEXT_BYTES];

	err_set(err, ERR_RETRY, "could not reach \"%s\": it has not answered in full within %s", server,
		duration_format(total_timeout_ms, text));
	return err_hint(err, HINT_NETWORK);
}

int http_fail_stalled(const char *url, int64_t stall_timeout_ms, struct error *err)
{
	char *server cleanup(mem_freep) = server_of(url), text[CLOCK_TEXT_BYTES];

	err_set(err, ERR_RETRY, "could not reach \"%s\": not a byte was moved for %s", server,
		duration_format(stall_timeout_ms, text));
	return err_hint(err, HINT_NETWORK);
}

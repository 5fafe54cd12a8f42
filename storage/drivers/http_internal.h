/*
 * What http.c (the transfer) and http_text.c (lines, dates, what libcurl's verdicts mean) share.
 */
#ifndef STORAGE_HTTP_INTERNAL_H
#define STORAGE_HTTP_INTERNAL_H

#include "storage/drivers/http.h"

/* A line as it came: a status line begins a new answer (after "100 Continue"), anything else with a colon is a header. */
void http_response_add_line(struct http_response *r, const char *line, size_t n);

/* Why a transfer failed, as libcurl tells it. */
struct http_failure {
	int curl_code; /* CURLcode */
	const char *url, *ca_file, *text;
	long os_errno;      /* 0: none */
	long proxy_status;  /* of CONNECT; 0: there was none */
	long verify_result; /* OpenSSL's X509_V_… */
};
int http_fail(const struct http_failure *f, struct error *err);
int http_fail_stalled(const char *url, int64_t stall_timeout_ms, struct error *err);
int http_fail_late(const char *url, int64_t total_timeout_ms, struct error *err);

#endif

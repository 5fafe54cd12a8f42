/*
 * Whatever a server answers: every operation of the S3 driver ends, with success or an error that says why.
 *
 * The input is answers, one behind the other, divided by a line "--": a status, lines of headers, an empty line, a body.  The last is given
 * for ever.  They come in the place of s3_ask(), which the linker is told to leave out (--wrap).
 */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "storage/drivers/http_internal.h"
#include "storage/drivers/s3_internal.h"
#include "tests/fuzz/support.h"

int __wrap_s3_ask(struct s3 *s, const struct s3_call *c, struct s3_answer *ret, struct error *err);

static struct {
	const char *at, *end, *last;
	unsigned asked, most;
} answers;

#define DIVIDER "\n--\n"
#define EVERY_CLASS (~(FUZZ_CLASS(ERR_BUG) | FUZZ_CLASS(ERR_NONE)))

/* The next line without its end. */
static bool next_line(const char **at, const char *end, const char **ret, size_t *ret_n)
{
	const char *newline;

	if (*at >= end)
		return false;
	newline = memchr(*at, '\n', (size_t)(end - *at));
	*ret = *at;
	*ret_n = (size_t)((newline ? newline : end) - *at);
	*at = newline ? newline + 1 : end;
	return true;
}

static void read_answer(const char *p, const char *end, struct s3_answer *ret)
{
	const char *line;
	size_t n;
	char status[4] = {0};

	if (next_line(&p, end, &line, &n))
		memcpy(status, line, n < 3 ? n : 3);
	ret->http.status = atoi(status);
	while (next_line(&p, end, &line, &n) && n > 0)
		http_response_add_line(&ret->http, line, n);
	ret->http.date_ms = http_date_ms(http_header(&ret->http, "date"));
	line = http_header(&ret->http, "content-length");
	ret->http.has_content_length = line != NULL;
	ret->http.content_length = line ? strtoull(line, NULL, 10) : 0;
	buf_putn(&ret->http.body, p, (size_t)(end - p));
}

int __wrap_s3_ask(struct s3 *s, const struct s3_call *c, struct s3_answer *ret, struct error *err)
{
	const char *end;
	size_t n;

	(void)s;
	fuzz_expect(s3_op_method(c->op) != NULL, "an operation without a method");
	if (answers.at >= answers.end)
		answers.at = answers.last;
	if (answers.at >= answers.end)
		return err_set(err, ERR_RETRY, "nobody answers");
	fuzz_expect(answers.asked++ < answers.most, "a server that is asked without end");
	answers.last = answers.at;
	n = (size_t)(answers.end - answers.at);
	end = memmem(answers.at, n, DIVIDER, strlen(DIVIDER));
	read_answer(answers.at, end ? end : answers.end, ret);
	answers.at = end ? end + strlen(DIVIDER) : answers.end;
	if (c->into && s3_is_ok(ret)) {
		n = ret->http.body.len < c->into_bytes ? ret->http.body.len : c->into_bytes;
		memcpy(c->into, buf_str(&ret->http.body), n);
		ret->http.into_filled = n;
	}
	if (!s3_is_ok(ret))
		s3_answer_read_error(ret);
	return 0;
}

/* --- operations ------------------------------------------------------------------------------------------------------------ */

static int see_object(void *ctx, const struct driver_object *o, struct error *err)
{
	struct error bad cleanup(err_clear) = ERROR_INIT;

	(void)ctx;
	(void)err;
	fuzz_expect(driver_check_key(o->key, &bad) == 0, "a listed key that is none");
	return 0;
}

static int see_part(void *ctx, const struct driver_part *p, struct error *err)
{
	(void)ctx;
	(void)err;
	fuzz_expect(p->etag != NULL, "a listed part without its etag");
	return 0;
}

static int try_list(struct driver *d, struct error *err)
{
	return s3_list(d, "app/", see_object, NULL, err);
}

static int try_sweep(struct driver *d, struct error *err)
{
	unsigned count = 0;
	int rc = s3_sweep(d, "app/", 1000, &count, err);

	fuzz_expect(count <= answers.asked, "more was swept than was asked for");
	return rc;
}

static int try_remove(struct driver *d, struct error *err)
{
	return s3_remove(d, "app/object", err);
}

static int try_describe(struct driver *d, struct error *err)
{
	struct driver_state state cleanup(driver_state_release) = {0};

	return s3_describe(d, &state, err);
}

static int try_put(struct driver *d, struct error *err)
{
	static const struct driver_target t = {.key = "app/object", .tag = "run", .is_exclusive = true};

	return s3_put(d, &t, "content", 7, err);
}

static int try_head(struct driver *d, struct error *err)
{
	struct s3_answer a cleanup(s3_answer_release) = {0};

	return s3_head((struct s3 *)d, "app/object", &a, err);
}

static int try_upload(struct driver *d, struct error *err)
{
	static const struct driver_target t = {.key = "app/object", .tag = "run", .is_exclusive = true};
	struct driver_part part = {.number = 1, .bytes = 7};
	struct driver_upload *u = NULL;
	int rc = s3_upload_begin(d, &t, NULL, &u, err);

	if (rc < 0)
		return rc;
	fuzz_expect(s3_upload_id(u) && *s3_upload_id(u), "an upload without an id");
	rc = s3_upload_list(u, see_part, NULL, err);
	if (rc == 0)
		rc = s3_upload_part(u, 1, "content", 7, &part.etag, err);
	if (rc == 0) {
		fuzz_expect(part.etag != NULL, "a part without an etag");
		rc = s3_upload_commit(u, &part, 1, err);
		free(part.etag);
		if (rc == 0)
			return 0;
		s3_upload_release(u);
		return rc;
	}
	s3_upload_release(u);
	return rc;
}

static void check_text(const char *text)
{
	char *bare cleanup(mem_freep) = s3_unquote(text), *plain cleanup(mem_freep) = mem_strdup(text);
	struct buf escaped cleanup(buf_release) = {0}, xml cleanup(buf_release) = {0};
	struct error err cleanup(err_clear) = ERROR_INIT;
	char *scheme cleanup(mem_freep) = NULL, *host cleanup(mem_freep) = NULL;
	int rc = s3_endpoint_parse(text, &scheme, &host, &err);

	fuzz_expect(strlen(bare) <= strlen(text), "an etag that grows");
	http_escape(text, false, &escaped);
	for (const char *c = buf_str(&escaped); *c; c++)
		fuzz_expect(*c > ' ' && *c < 127, "an escaped text that is not plain");
	if (escaped.data)
		s3_unescape(escaped.data);
	fuzz_expect(strcmp(buf_str(&escaped), text) == 0, "an escaped text that does not come back");
	s3_unescape(plain);
	s3_xml_escape(text, &xml);
	fuzz_expect(!strpbrk(buf_str(&xml), "<>\""), "an XML text that is not escaped");
	fuzz_expect_error(rc, &err, FUZZ_CLASS(ERR_CONFIG));
	fuzz_expect(rc < 0 || (*host && scheme), "an endpoint without its host");
	(void)s3_time_ms(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int (*const operations[])(struct driver * d, struct error * err) = {
		try_list, try_sweep, try_remove, try_describe, try_put, try_head, try_upload};
	static char bucket[] = "bucket", prefix[] = "p/", region[] = "eu-north-1", scheme[] = "https", host[] = "s3.example.net";
	char *text cleanup(mem_freep) = fuzz_text(data, size);

	for (size_t i = 0; i < array_len(operations); i++) {
		struct s3 s = {.bucket = bucket, .prefix = prefix, .region = region, .scheme = scheme, .host = host};
		struct error err cleanup(err_clear) = ERROR_INIT;
		int rc;

		answers.at = answers.last = text;
		answers.end = text + size;
		answers.asked = 0;
		answers.most = 100 + 2 * (unsigned)size; /* each upload of a list is asked about */
		rc = operations[i](&s.base, &err);
		if (rc < 0)
			fuzz_expect_error(rc, &err, EVERY_CLASS);
	}
	check_text(text);
	return 0;
}

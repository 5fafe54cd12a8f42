/*
 * What the S3 driver reads and writes as text: what each answer means, XML, endpoints, signatures.  Most of these answers the real
 * gateway gives too (tests/integration/s3_driver.sh); here are also those that it cannot be made to give.
 */
#include "tests/unit/unit.h"

#include "base/clock.h"
#include "storage/drivers/http_internal.h"
#include "storage/drivers/s3_internal.h"

#define XML_BEGIN "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error>"
#define XML_END "<RequestId>r1</RequestId></Error>"
#define CODE(code) XML_BEGIN "<Code>" code "</Code><Message></Message>" XML_END

static char bucket[] = "b", prefix[] = "p/", empty[] = "", storage_class[] = "ODD";

/* --- what an answer means -------------------------------------------------------------------------------------------------- */

struct meaning {
	enum s3_op op;
	int status;
	const char *headers; /* lines, each ended by "\n"; NULL: none */
	const char *body;
	enum err_class class;
	const char *message, *hint; /* hint NULL: there must be none */
};

static const struct meaning meanings[] = {
	{S3_OP_PUT, 503, NULL, CODE("SlowDown"), ERR_RETRY, "could not write object \"s3://b/p/k\": the server asks to slow down",
		NULL},
	{S3_OP_PUT, 503, NULL, CODE("ServiceUnavailable"), ERR_RETRY,
		"could not write object \"s3://b/p/k\": the server is overloaded", NULL},
	{S3_OP_GET, 500, NULL, CODE("InternalError"), ERR_RETRY,
		"could not read object \"s3://b/p/k\": the server had an internal error", NULL},
	{S3_OP_PUT, 400, NULL, CODE("RequestTimeout"), ERR_RETRY,
		"could not write object \"s3://b/p/k\": the server waited too long for the request", NULL},
	{S3_OP_PUT, 408, NULL, "", ERR_RETRY, "could not write object \"s3://b/p/k\": the server waited too long for the request",
		NULL},
	{S3_OP_PUT, 429, NULL, "", ERR_RETRY, "could not write object \"s3://b/p/k\": the server asks to slow down", NULL},
	{S3_OP_LIST, 502, NULL, "<html>Bad Gateway</html>", ERR_RETRY,
		"could not list objects of \"s3://b/p/k\": the server answered with status 502", NULL},
	{S3_OP_UPLOAD_PART, 400, NULL, CODE("BadDigest"), ERR_RETRY,
		"could not upload a part of object \"s3://b/p/k\": the bytes were changed on their way to the server", NULL},
	{S3_OP_UPLOAD_PART, 400, NULL, CODE("XAmzContentSHA256Mismatch"), ERR_RETRY,
		"could not upload a part of object \"s3://b/p/k\": the bytes were changed on their way to the server", NULL},
	{S3_OP_PUT, 409, NULL, CODE("ConditionalRequestConflict"), ERR_RETRY,
		"could not write object \"s3://b/p/k\": another operation on it is in progress", NULL},

	{S3_OP_PUT, 403, NULL, CODE("AccessDenied"), ERR_DENIED,
		"could not write object \"s3://b/p/k\": permission s3:PutObject is missing",
		"Grant s3:PutObject on bucket \"b\" to the owner of the credentials, which come from configuration."},
	{S3_OP_LIST, 403, NULL, CODE("AccessDenied"), ERR_DENIED,
		"could not list objects of \"s3://b/p/k\": permission s3:ListBucket is missing",
		"Grant s3:ListBucket on bucket \"b\" to the owner of the credentials, which come from configuration."},
	{S3_OP_DELETE, 403, NULL, CODE("AccessDenied"), ERR_DENIED,
		"could not remove object \"s3://b/p/k\": permission s3:DeleteObject is missing",
		"Grant s3:DeleteObject on bucket \"b\" to the owner of the credentials, which come from configuration."},
	{S3_OP_HEAD, 403, NULL, "", ERR_DENIED, "could not examine object \"s3://b/p/k\": permission s3:GetObject is missing",
		"Grant s3:GetObject and s3:ListBucket on bucket \"b\" to the owner of the credentials, which come from configuration."},
	{S3_OP_VERSIONING, 403, NULL, CODE("AccessDenied"), ERR_DENIED,
		"could not read the versioning of bucket \"b\": permission s3:GetBucketVersioning is missing",
		"Grant s3:GetBucketVersioning on bucket \"b\" to the owner of the credentials, which come from configuration."},
	{S3_OP_PUT, 403, NULL, CODE("SignatureDoesNotMatch"), ERR_DENIED,
		"could not write object \"s3://b/p/k\": the server does not accept the signature",
		"Check the secret access key. The credentials come from configuration."},
	{S3_OP_PUT, 403, NULL, CODE("InvalidAccessKeyId"), ERR_DENIED,
		"could not write object \"s3://b/p/k\": the server does not know the access key",
		"Check the access key id, and that it belongs to this endpoint. The credentials come from configuration."},
	{S3_OP_PUT, 400, NULL, CODE("ExpiredToken"), ERR_DENIED,
		"could not write object \"s3://b/p/k\": the session token is not valid any more",
		"Renew the credentials. They come from configuration."},

	{S3_OP_PUT, 301, "x-amz-bucket-region: eu-west-1\n", CODE("PermanentRedirect"), ERR_CONFIG,
		"could not write object \"s3://b/p/k\": bucket \"b\" is in region \"eu-west-1\"",
		"Set region: eu-west-1, and the endpoint of that region where one is configured."},
	{S3_OP_PUT, 400, NULL, XML_BEGIN "<Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region>" XML_END,
		ERR_CONFIG, "could not write object \"s3://b/p/k\": bucket \"b\" is in region \"eu-west-1\"",
		"Set region: eu-west-1, and the endpoint of that region where one is configured."},
	{S3_OP_HEAD, 301, "x-amz-bucket-region: eu-west-1\n", "", ERR_CONFIG,
		"could not examine object \"s3://b/p/k\": bucket \"b\" is in region \"eu-west-1\"",
		"Set region: eu-west-1, and the endpoint of that region where one is configured."},
	{S3_OP_PUT, 307, "location: https://other.example/\n", "", ERR_CONFIG,
		"could not write object \"s3://b/p/k\": the server sends us to \"https://other.example/\"",
		"Set region and endpoint of the repository to those of the bucket."},
	{S3_OP_PUT, 301, NULL, "", ERR_CONFIG, "could not write object \"s3://b/p/k\": bucket \"b\" is in another region",
		"Set region and endpoint of the repository to those of the bucket."},
	{S3_OP_PUT, 404, NULL, CODE("NoSuchBucket"), ERR_CONFIG,
		"could not write object \"s3://b/p/k\": bucket \"b\" does not exist",
		"Check the bucket of the repository's URL and the endpoint, or create the bucket."},

	{S3_OP_PUT, 412, NULL, "", ERR_CONFLICT, "could not write object \"s3://b/p/k\": it exists already", NULL},
	{S3_OP_PUT, 409, NULL, "", ERR_CONFLICT, "could not write object \"s3://b/p/k\": another operation stands in its way",
		NULL},
	{S3_OP_LIST_PARTS, 404, NULL, CODE("NoSuchUpload"), ERR_CONFLICT,
		"could not list the parts of object \"s3://b/p/k\": the server no longer knows the upload",
		"Start the upload again."},
	{S3_OP_PUT, 403, NULL, CODE("QuotaExceeded"), ERR_FULL, "could not write object \"s3://b/p/k\": the quota is used up",
		"Make room, raise the quota, or use another repository."},
	{S3_OP_PUT, 507, NULL, "", ERR_FULL, "could not write object \"s3://b/p/k\": the server's disks are full",
		"Make room, raise the quota, or use another repository."},
	{S3_OP_PUT, 400, NULL, CODE("EntityTooLarge"), ERR_FAILED,
		"could not write object \"s3://b/p/k\": it is larger than the server takes", NULL},
	{S3_OP_COMPLETE, 400, NULL, CODE("InvalidPart"), ERR_FAILED,
		"could not complete object \"s3://b/p/k\": the server lacks a part, or has another one under its number",
		"Start the upload again."},
	{S3_OP_GET, 403, NULL, CODE("InvalidObjectState"), ERR_FAILED,
		"could not read object \"s3://b/p/k\": it is in an archive class that cannot be read at once",
		"Have the server restore it from its archive class, then try again."},
	{S3_OP_PUT, 501, NULL, CODE("NotImplemented"), ERR_FAILED,
		"could not write object \"s3://b/p/k\": the server does not know how",
		"The endpoint lacks what is needed here; use another server."},
	{S3_OP_PUT, 400, NULL, CODE("InvalidArgument"), ERR_FAILED,
		"could not write object \"s3://b/p/k\": the server does not take what the request says", NULL},
	{S3_OP_PUT, 400, NULL, CODE("NeverHeardOf"), ERR_FAILED,
		"could not write object \"s3://b/p/k\": the server answered with status 400, NeverHeardOf", NULL},
	{S3_OP_PUT, 418, NULL, "", ERR_FAILED, "could not write object \"s3://b/p/k\": the server answered with status 418",
		NULL},
};

static void answer_of(struct s3_answer *a, int status, const char *headers, const char *body)
{
	*a = (struct s3_answer){.http = {.status = status}};
	a->credentials = mem_strdup("configuration");
	a->signed_region = mem_strdup("us-east-1");
	while (headers && *headers) {
		size_t n = strcspn(headers, "\n");

		http_response_add_line(&a->http, headers, n);
		headers += n + 1;
	}
	a->http.date_ms = http_date_ms(http_header(&a->http, "date"));
	buf_puts(&a->http.body, body);
	s3_answer_read_error(a);
}

static void each_answer_has_its_class_message_and_hint(void **state)
{
	struct s3 s = {.bucket = bucket, .prefix = prefix};

	(void)state;
	for (size_t i = 0; i < array_len(meanings); i++) {
		const struct meaning *m = &meanings[i];
		struct s3_call c = {.op = m->op, .key = "k"};
		struct error err = ERROR_INIT;
		struct s3_answer a;

		answer_of(&a, m->status, m->headers, m->body);
		assert_int_equal(s3_fail(&s, &c, &a, &err), -1);
		if (!m->hint && err.hint)
			print_error("%s: unexpected hint: %s\n", m->message, err.hint);
		assert_true(m->hint || !err.hint);
		assert_error_full(&err, m->class, m->message, NULL, m->hint);
		s3_answer_release(&a);
	}
}

static void the_servers_own_words_are_the_detail(void **state)
{
	struct s3 s = {.bucket = bucket, .prefix = empty, .storage_class = storage_class};
	struct s3_call c = {.op = S3_OP_PUT, .key = "k"};
	struct error err = ERROR_INIT;
	struct s3_answer a;

	(void)state;
	answer_of(&a, 400, "x-amz-request-id: tx1\n",
		XML_BEGIN "<Code>InvalidArgument</Code><Message>no &amp; no</Message>" XML_END);
	assert_int_equal(s3_fail(&s, &c, &a, &err), -1);
	assert_error_full(&err, ERR_FAILED, "could not write object \"s3://b/k\": the server does not take what the request says",
		"The server answered with status 400, code InvalidArgument, request tx1: no & no",
		"Check the storage class, the encryption and the object lock that are configured for the repository.");
	s3_answer_release(&a);
}

static void clocks_that_differ_are_both_told(void **state)
{
	struct s3 s = {.bucket = bucket, .prefix = empty};
	struct s3_call c = {.op = S3_OP_GET, .key = "k"};
	struct error err = ERROR_INIT;
	struct s3_answer a;

	(void)state;
	answer_of(&a, 403, "date: Sun, 06 Nov 1994 08:49:37 GMT\n", CODE("RequestTimeTooSkewed"));
	assert_int_equal(s3_fail(&s, &c, &a, &err), -1);
	assert_non_null(strstr(err.detail, "This machine says 20"));
	assert_non_null(strstr(err.detail, "the server 1994-11-06T08:49:37.000Z: "));
	assert_error_full(&err, ERR_CONFIG,
		"could not read object \"s3://b/k\": the clocks of this machine and of the server are too far apart", NULL,
		"Set this machine's clock, best by a time service.");
	s3_answer_release(&a);
}

static void a_server_that_names_a_time_is_heard(void **state)
{
	static const struct {
		int status;
		const char *headers;
		int64_t want_ms;
	} cases[] = {
		{503, "retry-after: 7\n", 7000},
		{429, "date: Sun, 06 Nov 1994 08:49:37 GMT\nretry-after: Sun, 06 Nov 1994 08:50:07 GMT\n", 30000},
		{503, "date: Sun, 06 Nov 1994 08:49:37 GMT\nretry-after: Sun, 06 Nov 1994 08:49:07 GMT\n", 0},
		{503, "retry-after: soon\n", 0},
		{503, "retry-after: -5\n", 0},
		{503, NULL, 0},
		{403, "retry-after: 7\n", 0},
	};
	struct s3 s = {.bucket = bucket, .prefix = empty};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		struct error err = ERROR_INIT;
		struct s3_answer a;

		answer_of(&a, cases[i].status, cases[i].headers, "");
		assert_int_equal(s3_fail(&s, &(struct s3_call){.op = S3_OP_PUT, .key = "k"}, &a, &err), -1);
		assert_int_equal(err.retry_after_ms, cases[i].want_ms);
		err_clear(&err);
		s3_answer_release(&a);
	}
}

static void a_missing_object_is_told_from_a_missing_bucket(void **state)
{
	static const struct {
		int status;
		const char *body;
		bool is_missing;
	} cases[] = {
		{404, "", true},
		{404, CODE("NoSuchKey"), true},
		{404, CODE("NoSuchBucket"), false},
		{404, CODE("NoSuchUpload"), false},
		{403, CODE("AccessDenied"), false},
	};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		struct s3_answer a;

		answer_of(&a, cases[i].status, NULL, cases[i].body);
		assert_int_equal(s3_is_missing(&a), cases[i].is_missing);
		s3_answer_release(&a);
	}
}

/* --- XML ------------------------------------------------------------------------------------------------------------------- */

static void damaged_xml_is_no_answer(void **state)
{
	static const char *const bad[] = {"", "hello", "<Error><Code>A</Code>", "<Error><Code>A</Cide></Error>", "{\"a\": 1}"};

	(void)state;
	for (size_t i = 0; i < array_len(bad); i++) {
		struct s3_answer a;

		answer_of(&a, 500, NULL, bad[i]);
		assert_null(a.code);
		s3_answer_release(&a);
	}
}

static void an_entity_reads_no_file(void **state)
{
	struct s3_answer a;

	(void)state;
	answer_of(&a, 500, NULL,
		"<!DOCTYPE Error [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><Error><Code>A</Code><Message>[&x;]</Message></Error>");
	assert_string_equal(a.code, "A");
	assert_string_equal(a.message, "[]");
	s3_answer_release(&a);
}

static void text_is_found_whatever_its_namespace(void **state)
{
	struct buf b = {0};
	xmlDocPtr doc;
	char *text;

	(void)state;
	buf_puts(&b, "<R xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><A>1 &lt; 2</A><B/></R>");
	doc = s3_xml_parse(&b);
	assert_true(s3_xml_is(doc, "R"));
	assert_false(s3_xml_is(doc, "A"));
	text = s3_xml_text(s3_xml_root(doc), "A");
	assert_string_equal(text, "1 < 2");
	free(text);
	text = s3_xml_text(s3_xml_root(doc), "B");
	assert_string_equal(text, "");
	free(text);
	assert_null(s3_xml_text(s3_xml_root(doc), "C"));
	assert_null(s3_xml_text(NULL, "C"));
	s3_xml_freep(&doc);
	buf_release(&b);
}

static void what_goes_into_xml_is_escaped(void **state)
{
	struct buf b = {0};

	(void)state;
	s3_xml_escape("<a href=\"x\">&", &b);
	assert_string_equal(buf_str(&b), "&lt;a href=&quot;x&quot;&gt;&amp;");
	buf_release(&b);
}

static void listed_keys_are_unescaped(void **state)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
		{"a%2Fb+c%2Bd%25", "a/b c+d%"},
		{"%C3%A4%01", "\xc3\xa4\x01"},
		{"100%", "100%"},
		{"%zz%2", "%zz%2"},
		{"", ""},
	};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		char *text = mem_strdup(cases[i].text);

		s3_unescape(text);
		assert_string_equal(text, cases[i].want);
		free(text);
	}
}

static void times_and_etags_are_read_as_servers_write_them(void **state)
{
	char *etag;

	(void)state;
	assert_int_equal(s3_time_ms("1994-11-06T08:49:37Z"), 784111777000);
	assert_int_equal(s3_time_ms("1994-11-06T08:49:37.999Z"), 784111777000);
	assert_int_equal(s3_time_ms("1994-11-06T08:49:37.129414465Z"), 784111777000);
	assert_int_equal(s3_time_ms("yesterday"), 0);
	assert_int_equal(s3_time_ms(NULL), 0);
	etag = s3_unquote("\"abc\"");
	assert_string_equal(etag, "abc");
	free(etag);
	etag = s3_unquote("\"");
	assert_string_equal(etag, "\"");
	free(etag);
}

/* --- endpoints ------------------------------------------------------------------------------------------------------------- */

static void an_endpoint_is_a_server_and_nothing_more(void **state)
{
	static const struct {
		const char *endpoint, *scheme, *host, *message;
	} cases[] = {
		{"https://s3.example.com", "https", "s3.example.com", NULL},
		{"http://127.0.0.1:9000/", "http", "127.0.0.1:9000", NULL},
		{"https://[::1]:9000", "https", "[::1]:9000", NULL},
		{"s3.example.com", NULL, NULL, "endpoint \"s3.example.com\" is not a URL"},
		{"ftp://s3.example.com", NULL, NULL, "endpoint \"ftp://s3.example.com\" is not a URL"},
		{"https://s3.example.com/bucket", NULL, NULL, "endpoint \"https://s3.example.com/bucket\" is more than a server"},
		{"https://", NULL, NULL, "endpoint \"https://\" is more than a server"},
	};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		struct error err = ERROR_INIT;
		char *scheme = NULL, *host = NULL;
		int rc = s3_endpoint_parse(cases[i].endpoint, &scheme, &host, &err);

		if (cases[i].message) {
			assert_int_equal(rc, -1);
			assert_error(&err, ERR_CONFIG, cases[i].message);
			continue;
		}
		assert_ok(rc, &err);
		assert_string_equal(scheme, cases[i].scheme);
		assert_string_equal(host, cases[i].host);
		free(scheme);
		free(host);
	}
}

static void an_endpoint_with_a_password_does_not_show_it(void **state)
{
	struct error err = ERROR_INIT;
	char *scheme = NULL, *host = NULL;

	(void)state;
	assert_int_equal(s3_endpoint_parse("https://key:secret@host", &scheme, &host, &err), -1);
	assert_error(&err, ERR_CONFIG, "an endpoint cannot hold a key or a password");
}

static void names_with_dots_are_no_part_of_a_host(void **state)
{
	(void)state;
	assert_true(s3_is_dns_name("my-bucket-1"));
	assert_false(s3_is_dns_name("my.bucket"));
	assert_false(s3_is_dns_name("My_Bucket"));
	assert_false(s3_is_dns_name("-b"));
}

/* --- signatures ------------------------------------------------------------------------------------------------------------ */

/* The examples of Amazon's documentation. */
static const struct {
	const char *method, *path, *query, *payload_hash, *headers[5], *signature;
} examples[] = {
	{"GET", "/test.txt", "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		{"Host: examplebucket.s3.amazonaws.com", "Range: bytes=0-9",
			"x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		"f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
	{"PUT", "/test%24file.text", "", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
		{"Date: Fri, 24 May 2013 00:00:00 GMT", "Host: examplebucket.s3.amazonaws.com",
			"x-amz-storage-class:  REDUCED_REDUNDANCY ",
			"x-amz-content-sha256: 44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"},
		"98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
	{"GET", "/", "lifecycle=", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		{"Host: examplebucket.s3.amazonaws.com",
			"x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		"fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
	{"GET", "/", "max-keys=2&prefix=J", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		{"Host: examplebucket.s3.amazonaws.com",
			"x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		"34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
};

static void signatures_are_those_of_the_documentation(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_len(examples); i++) {
		struct s3_signing signing = {.method = examples[i].method,
			.path = examples[i].path,
			.query = examples[i].query,
			.payload_hash = examples[i].payload_hash,
			.region = "us-east-1",
			.access_key = "AKIAIOSFODNN7EXAMPLE",
			.secret_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
			.at_ms = 1369353600000};
		struct s3_headers h = {0};
		struct error err = ERROR_INIT;
		const char *last;

		for (size_t j = 0; j < array_len(examples[i].headers) && examples[i].headers[j]; j++)
			s3_headers_add(&h, "%s", examples[i].headers[j]);
		assert_ok(s3_sign(&signing, &h, &err), &err);
		last = h.lines[h.count - 1];
		assert_ptr_equal(
			strstr(last,
				"Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"),
			last);
		assert_non_null(strstr(last, examples[i].signature));
		s3_headers_release(&h);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_answer_has_its_class_message_and_hint),
		cmocka_unit_test(the_servers_own_words_are_the_detail),
		cmocka_unit_test(clocks_that_differ_are_both_told),
		cmocka_unit_test(a_server_that_names_a_time_is_heard),
		cmocka_unit_test(a_missing_object_is_told_from_a_missing_bucket),
		cmocka_unit_test(damaged_xml_is_no_answer),
		cmocka_unit_test(an_entity_reads_no_file),
		cmocka_unit_test(text_is_found_whatever_its_namespace),
		cmocka_unit_test(what_goes_into_xml_is_escaped),
		cmocka_unit_test(listed_keys_are_unescaped),
		cmocka_unit_test(times_and_etags_are_read_as_servers_write_them),
		cmocka_unit_test(an_endpoint_is_a_server_and_nothing_more),
		cmocka_unit_test(an_endpoint_with_a_password_does_not_show_it),
		cmocka_unit_test(names_with_dots_are_no_part_of_a_host),
		cmocka_unit_test(signatures_are_those_of_the_documentation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

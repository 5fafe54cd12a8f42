/*
 * Keys that are fetched, each good for some hours: from the metadata service of the instance we run on, or from a token service that
 * takes a token which somebody (Kubernetes, a CI system) keeps fresh in a file.  Only where the configuration says so: asking
 * 169.254.169.254 on a machine that has no such service takes seconds, and on a foreign network gets an answer from anybody.
 *
 * Answers of these services hold secrets, and their error texts may: messages carry the status and the error's code, nothing else.
 */
#include "storage/drivers/s3_credentials.h"

#include <libxml/parser.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/json.h"
#include "storage/drivers/http.h"

#define METADATA_ENDPOINT "http://169.254.169.254"
#define METADATA_TIMEOUT_MS ((int64_t)5 * 1000) /* it is in the same machine, or not there */
#define SESSION_TTL "21600"                     /* seconds; used for the two requests that follow */
#define ROLES_PATH "/latest/meta-data/iam/security-credentials/"
#define TOKEN_MAX_BYTES ((size_t)1 << 20)
#define TEXT_MAX_BYTES 256 /* of a role's name or an error's code that is shown */

struct s3_fetcher {
	int (*fetch)(struct s3_fetcher *f, struct cancel *cancel, struct s3_key *ret, struct error *err);
	struct http_client *http;
	char *service;                              /* as messages name it */
	char *endpoint;                             /* without a slash at its end */
	char *role_arn, *session_name, *token_file; /* web identity */
};

void s3_fetcher_free(struct s3_fetcher *f)
{
	if (!f)
		return;
	http_client_free(f->http);
	free(f->service);
	free(f->endpoint);
	free(f->role_arn);
	free(f->session_name);
	free(f->token_file);
	free(f);
}

/* --- answers ----------------------------------------------------------------------------------------------------------------- */

/* For cleanup(): the body may hold secrets. */
static void wipe_response(struct http_response *r)
{
	if (r->body.data)
		explicit_bzero(r->body.data, r->body.len);
	http_response_release(r);
}

static bool is_retryable(int status)
{
	return status == 408 || status == 429 || status >= 500;
}

/* The part of ${text} that may be shown: letters, digits and what names of roles and codes have besides; malloc'd, "" for none. */
static char *shown(const char *text)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+=,.@-/";
	size_t n = text ? strspn(text, allowed) : 0;

	return mem_strndup(n ? text : "", n < TEXT_MAX_BYTES ? n : TEXT_MAX_BYTES);
}

static int fail_unreadable(const struct s3_fetcher *f, const char *what, struct error *err)
{
	return err_set(err, ERR_RETRY, "%s gave no %s: its answer cannot be understood", f->service, what);
}

static int perform(
	struct s3_fetcher *f, struct http_request *r, struct cancel *cancel, struct http_response *ret, struct error *err)
{
	r->cancel = cancel;
	if (http_perform(f->http, r, ret, err) < 0)
		return err->class == ERR_CANCELLED ? -1 : err_context(err, "could not ask %s", f->service);
	return 0;
}

/* Takes the values over into ${ret}; expired ones are none. */
static int check_key(const struct s3_fetcher *f, const char *expires, struct s3_key *key, struct error *err)
{
	char text[CLOCK_TEXT_BYTES];

	if (!expires || clock_parse(expires, &key->expires_at_ms, err) < 0) {
		err_clear(err);
		return fail_unreadable(f, "credentials", err);
	}
	if (key->expires_at_ms <= clock_utc_ms()) {
		err_set(err, ERR_RETRY, "%s gave credentials that had expired at %s", f->service,
			clock_format(key->expires_at_ms, text));
		return err_hint(err, "Check the clock of this machine.");
	}
	return 0;
}

/* --- instance metadata, version 2 -------------------------------------------------------------------------------------------- */

/* What a status means at each of the three requests. */
struct meaning {
	int status; /* 0: any other */
	enum err_class class;
	const char *hint;
};
static const struct meaning of_session[] = {
	{403, ERR_DENIED, "Instance metadata is turned off for this instance."},
	{404, ERR_CONFIG, "This service does not speak version 2, and version 1 is not used."},
	{0, ERR_FAILED, NULL},
};
static const struct meaning of_role[] = {
	{401, ERR_RETRY, NULL}, /* the session has ended between two requests */
	{404, ERR_CONFIG, "Attach a role to this instance, or configure another source of credentials."},
	{0, ERR_FAILED, NULL},
};
static const struct meaning of_keys[] = {
	{401, ERR_RETRY, NULL},
	{404, ERR_RETRY, NULL}, /* the role was changed between two requests */
	{0, ERR_FAILED, NULL},
};

static int fail_status(const struct s3_fetcher *f, const char *what, const struct meaning *m, int status, struct error *err)
{
	while (m->status && m->status != status)
		m++;
	err_set(err, is_retryable(status) ? ERR_RETRY : m->class, "%s gave no %s: status %d", f->service, what, status);
	return m->hint && !is_retryable(status) ? err_hint(err, "%s", m->hint) : -1;
}

/* The first line of a short answer, or NULL where it is none; points into the body. */
static char *answer_line(struct http_response *r)
{
	char *line = r->body.data;

	if (!line || strlen(line) != r->body.len)
		return NULL;
	line[strcspn(line, "\r\n")] = '\0';
	return *line ? line : NULL;
}

/* *ret: the header that the other requests need, malloc'd; a secret. */
static int begin_session(struct s3_fetcher *f, struct cancel *cancel, char **ret, struct error *err)
{
	char *url cleanup(mem_freep) = mem_printf("%s/latest/api/token", f->endpoint);
	struct http_response answer cleanup(wipe_response) = {0};
	const char *const headers[] = {"X-aws-ec2-metadata-token-ttl-seconds: " SESSION_TTL, NULL};
	const char *token;

	if (perform(f, &(struct http_request){.method = "PUT", .url = url, .headers = headers}, cancel, &answer, err) < 0)
		return -1;
	if (answer.status != 200)
		return fail_status(f, "session", of_session, answer.status, err);
	token = answer_line(&answer);
	if (!token || token[strcspn(token, " \t")])
		return fail_unreadable(f, "session", err);
	*ret = mem_printf("X-aws-ec2-metadata-token: %s", token);
	return 0;
}

/* A GET within the session. */
static int get(struct s3_fetcher *f, const char *url, const char *session, struct cancel *cancel, struct http_response *ret,
	struct error *err)
{
	const char *const headers[] = {session, NULL};

	return perform(f, &(struct http_request){.method = "GET", .url = url, .headers = headers}, cancel, ret, err);
}

static int get_role(struct s3_fetcher *f, const char *session, struct cancel *cancel, char **ret, struct error *err)
{
	char *url cleanup(mem_freep) = mem_printf("%s" ROLES_PATH, f->endpoint);
	struct http_response answer cleanup(wipe_response) = {0};
	const char *line;
	char *role cleanup(mem_freep) = NULL;

	if (get(f, url, session, cancel, &answer, err) < 0)
		return -1;
	if (answer.status != 200)
		return fail_status(f, "role", of_role, answer.status, err);
	line = answer_line(&answer);
	role = shown(line);
	if (!*role || strcmp(role, line) != 0 || strchr(role, '/'))
		return fail_unreadable(f, "role", err);
	*ret = take_ptr(role);
	return 0;
}

/* Wipes the strings of a document that was read and drops it; for cleanup(). */
static void wipe_json(json_t **doc)
{
	static const char *const secrets[] = {"SecretAccessKey", "Token"};

	for (size_t i = 0; i < array_len(secrets); i++) {
		json_t *s = json_object_get(*doc, secrets[i]);

		if (json_is_string(s))
			explicit_bzero((void *)(uintptr_t)json_string_value(s), json_string_length(s));
	}
	json_decrefpp(doc);
}

static int read_instance_key(
	const struct s3_fetcher *f, const struct http_response *answer, const char *role, struct s3_key *key, struct error *err)
{
	json_t *doc cleanup(wipe_json) = json_loadb(answer->body.data ? answer->body.data : "", answer->body.len, 0, NULL);
	const char *code = json_get_str(doc, "Code", "Success"), *id = json_get_str(doc, "AccessKeyId", NULL);
	const char *secret = json_get_str(doc, "SecretAccessKey", NULL), *token = json_get_str(doc, "Token", NULL);

	if (!json_is_object(doc))
		return fail_unreadable(f, "credentials", err);
	if (strcmp(code, "Success") != 0) {
		char *text cleanup(mem_freep) = shown(code);

		return err_set(err, ERR_DENIED, "%s gave no credentials for role \"%s\": %s", f->service, role, text);
	}
	if (!id || !secret || !token)
		return fail_unreadable(f, "credentials", err);
	*key = (struct s3_key){
		.access_key_id = mem_strdup(id),
		.secret_access_key = mem_strdup(secret),
		.session_token = mem_strdup(token),
		.source = mem_printf("instance metadata, role \"%s\"", role),
	};
	return check_key(f, json_get_str(doc, "Expiration", NULL), key, err);
}

static void wipe_string(char **s)
{
	s3_wipe(*s);
}

static int fetch_instance(struct s3_fetcher *f, struct cancel *cancel, struct s3_key *ret, struct error *err)
{
	char *session cleanup(wipe_string) = NULL;
	char *role cleanup(mem_freep) = NULL, *url cleanup(mem_freep) = NULL;
	struct http_response answer cleanup(wipe_response) = {0};
	struct buf path cleanup(buf_release) = {0};

	if (begin_session(f, cancel, &session, err) < 0 || get_role(f, session, cancel, &role, err) < 0)
		return -1;
	http_escape(role, true, &path);
	url = mem_printf("%s" ROLES_PATH "%s", f->endpoint, buf_str(&path));
	if (get(f, url, session, cancel, &answer, err) < 0)
		return -1;
	if (answer.status != 200)
		return fail_status(f, "credentials", of_keys, answer.status, err);
	return read_instance_key(f, &answer, role, ret, err);
}

/* --- web identity ------------------------------------------------------------------------------------------------------------ */

static void wipe_node(xmlNode *n)
{
	for (; n; n = n->next) {
		if (n->type == XML_TEXT_NODE && n->content)
			explicit_bzero(n->content, strlen((char *)n->content));
		if (n->type == XML_ELEMENT_NODE)
			wipe_node(n->children);
	}
}

static void wipe_xml(xmlDoc **doc)
{
	if (!*doc)
		return;
	wipe_node((*doc)->children);
	xmlFreeDoc(*doc);
}

static const xmlNode *child(const xmlNode *of, const char *name)
{
	for (const xmlNode *n = of ? of->children : NULL; n; n = n->next)
		if (n->type == XML_ELEMENT_NODE && strcmp((const char *)n->name, name) == 0)
			return n;
	return NULL;
}

/* The text of the child ${name}, borrowed; NULL where there is none. */
static const char *child_text(const xmlNode *of, const char *name)
{
	const xmlNode *n = child(of, name);

	n = n ? n->children : NULL;
	return n && n->type == XML_TEXT_NODE && !n->next && n->content && *n->content ? (const char *)n->content : NULL;
}

static int fail_refused(const struct s3_fetcher *f, const xmlNode *root, int status, struct error *err)
{
	char *code cleanup(mem_freep) = shown(child_text(child(root, "Error"), "Code"));
	/* The token service could not reach who issued the token: the one refusal that passes. */
	bool passes = is_retryable(status) || strcmp(code, "IDPCommunicationError") == 0;

	err_set(err, passes ? ERR_RETRY : ERR_DENIED, "%s gave no credentials for role \"%s\": %s%sstatus %d", f->service,
		f->role_arn, code, *code ? ", " : "", status);
	return passes
		? -1
		: err_hint(err, "Check that the role trusts the issuer of the token in file \"%s\", and that somebody renews it.",
			  f->token_file);
}

static int read_web_key(const struct s3_fetcher *f, const struct http_response *answer, struct s3_key *key, struct error *err)
{
	xmlDoc *doc cleanup(wipe_xml) = xmlReadMemory(answer->body.data ? answer->body.data : "", (int)answer->body.len, NULL,
		NULL, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_NOCDATA);
	const xmlNode *root = doc ? xmlDocGetRootElement(doc) : NULL;
	const xmlNode *found = child(child(root, "AssumeRoleWithWebIdentityResult"), "Credentials");
	const char *id = child_text(found, "AccessKeyId"), *secret = child_text(found, "SecretAccessKey");
	const char *token = child_text(found, "SessionToken");

	if (answer->status != 200)
		return fail_refused(f, root, answer->status, err);
	if (!id || !secret || !token)
		return fail_unreadable(f, "credentials", err);
	*key = (struct s3_key){
		.access_key_id = mem_strdup(id),
		.secret_access_key = mem_strdup(secret),
		.session_token = mem_strdup(token),
		.source = mem_printf("web identity, role \"%s\"", f->role_arn),
	};
	return check_key(f, child_text(found, "Expiration"), key, err);
}

/* The token as it stands in the file now; whoever issues it replaces it before it expires. */
static int read_token(const struct s3_fetcher *f, struct buf *ret, struct error *err)
{
	int rc;

	if (buf_reserve(ret, TOKEN_MAX_BYTES, err) < 0 || (rc = io_read_file(f->token_file, ret, err)) < 0)
		return err_context(err, "could not read the web identity token");
	while (ret->len > 0 && strchr(" \t\r\n", ret->data[ret->len - 1]))
		ret->data[--ret->len] = '\0';
	if (rc == 0 || ret->len == 0) {
		err_set(err, ERR_CONFIG, "file \"%s\" %s", f->token_file,
			rc == 0 ? "does not exist" : "holds no web identity token");
		return err_hint(err, "AWS_WEB_IDENTITY_TOKEN_FILE must name a file that holds a token.");
	}
	return 0;
}

static int fetch_web_identity(struct s3_fetcher *f, struct cancel *cancel, struct s3_key *ret, struct error *err)
{
	static const char *const headers[] = {"Content-Type: application/x-www-form-urlencoded", "Accept: application/xml", NULL};
	struct buf token cleanup(s3_wipe_buf) = {.max = 2 * TOKEN_MAX_BYTES}, body cleanup(s3_wipe_buf) = {0};
	struct http_response answer cleanup(wipe_response) = {0};
	struct http_request r = {.method = "POST", .headers = headers};
	char *url cleanup(mem_freep) = mem_printf("%s/", f->endpoint);

	if (read_token(f, &token, err) < 0 || buf_reserve(&body, 3 * token.len + 8192, err) < 0)
		return -1;
	buf_puts(&body, "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=");
	http_escape(f->role_arn, false, &body);
	buf_puts(&body, "&RoleSessionName=");
	http_escape(f->session_name, false, &body);
	buf_puts(&body, "&WebIdentityToken=");
	http_escape(token.data, false, &body);
	r.url = url;
	r.body = body.data;
	r.body_bytes = body.len;
	if (perform(f, &r, cancel, &answer, err) < 0)
		return -1;
	return read_web_key(f, &answer, ret, err);
}

/* --- opening ----------------------------------------------------------------------------------------------------------------- */

static char *without_slash(const char *url)
{
	size_t n = strlen(url);

	while (n > 0 && url[n - 1] == '/')
		n--;
	return mem_strndup(url, n);
}

static int open_instance(const struct s3_options *o, struct s3_fetcher *f, struct error *err)
{
	const char *disabled = s3_env("AWS_EC2_METADATA_DISABLED"), *endpoint = s3_env("AWS_EC2_METADATA_SERVICE_ENDPOINT");
	/* Its own service is asked directly, whatever the environment says of proxies. */
	struct http_options http = {
		.proxy = "", .connect_timeout_ms = METADATA_TIMEOUT_MS, .stall_timeout_ms = METADATA_TIMEOUT_MS};

	if (disabled && strcasecmp(disabled, "true") == 0)
		return err_set(
			err, ERR_CONFIG, "instance metadata is turned off by environment variable AWS_EC2_METADATA_DISABLED");
	if (o->stall_timeout_ms && o->stall_timeout_ms < http.stall_timeout_ms)
		http.stall_timeout_ms = o->stall_timeout_ms;
	f->endpoint = without_slash(o->metadata_endpoint ? o->metadata_endpoint : endpoint ? endpoint : METADATA_ENDPOINT);
	f->service = mem_printf("instance metadata service \"%s\"", f->endpoint);
	f->fetch = fetch_instance;
	return http_client_new(&http, &f->http, err);
}

static char *sts_endpoint(const char *region)
{
	const char *variable = s3_env("AWS_REGION");

	if (!region)
		region = variable ? variable : s3_env("AWS_DEFAULT_REGION");
	if (!region)
		region = "us-east-1";
	return mem_printf("https://sts.%s.amazonaws.com%s", region, strncmp(region, "cn-", 3) == 0 ? ".cn" : "");
}

static int open_web_identity(const struct s3_options *o, struct s3_fetcher *f, struct error *err)
{
	static const char *const needed[] = {"AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"};
	const char *own = o->sts_endpoint ? o->sts_endpoint : s3_env("AWS_ENDPOINT_URL_STS");
	const char *session = s3_env("AWS_ROLE_SESSION_NAME");
	const struct http_options http = {
		.ca_file = own ? o->ca_file : NULL, /* one of our own does not know Amazon's service */
		.proxy = o->proxy,
		.connect_timeout_ms = o->connect_timeout_ms,
		.stall_timeout_ms = o->stall_timeout_ms,
	};

	for (size_t i = 0; i < array_len(needed); i++)
		if (!s3_env(needed[i])) {
			err_set(err, ERR_CONFIG, "no credentials for bucket \"%s\": environment variable %s is not set",
				o->bucket, needed[i]);
			return err_hint(err, "\"credentials: web-identity\" needs AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE.");
		}
	f->role_arn = mem_strdup(s3_env("AWS_ROLE_ARN"));
	f->token_file = mem_strdup(s3_env("AWS_WEB_IDENTITY_TOKEN_FILE"));
	f->session_name = mem_strdup(session ? session : "holdfast");
	f->endpoint = own ? without_slash(own) : sts_endpoint(o->region);
	f->service = mem_printf("token service \"%s\"", f->endpoint);
	f->fetch = fetch_web_identity;
	return http_client_new(&http, &f->http, err);
}

int s3_fetcher_new(const struct s3_options *o, struct s3_fetcher **ret, struct error *err)
{
	struct s3_fetcher *f = mem_zalloc(sizeof(*f));
	bool is_instance = o->credentials == S3_CREDENTIALS_INSTANCE;

	if ((is_instance ? open_instance : open_web_identity)(o, f, err) < 0) {
		s3_fetcher_free(f);
		return -1;
	}
	*ret = f;
	return 0;
}

int s3_fetcher_fetch(struct s3_fetcher *f, struct cancel *cancel, struct s3_key *ret, struct error *err)
{
	struct s3_key key = {0};

	if (f->fetch(f, cancel, &key, err) < 0) {
		s3_key_release(&key);
		return -1;
	}
	*ret = key;
	return 0;
}

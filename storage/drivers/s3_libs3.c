/*
 * S3 over libs3, for servers that still want signatures of version 2 and nothing newer.
 *
 * libs3 knows neither uploads in parts nor conditional creation.  An upload therefore waits in an unnamed file of the spool directory
 * until its size is known, and travels in one piece at commit, with the MD5 of all of it; an exclusive creation asks first, and
 * whoever creates the same key in that moment is overwritten: the feature bits say so.  Whether an object is there is decided by a HEAD
 * afterwards that shows its size and its MD5, never by what libs3 says of the PUT (s3_libs3_call.h has the reasons).
 */
#include "storage/drivers/s3_libs3_call.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CONNECT_TIMEOUT_MS ((int64_t)10 * 1000)
#define STALL_TIMEOUT_MS ((int64_t)60 * 1000)
#define LIST_KEYS 1000

static struct libs3 *libs3_of(struct driver *d)
{
	return (struct libs3 *)d;
}

/* --- looking ----------------------------------------------------------------------------------------------------------------- */

static int libs3_stat(struct driver *d, const char *key, struct driver_object *ret, struct error *err)
{
	struct libs3_call c cleanup(libs3_call_end) = {0};
	int rc = libs3_head(libs3_of(d), &c, key, err);

	if (rc == 1)
		*ret = (struct driver_object){.key = key, .size_bytes = c.size_bytes, .modified_at_ms = c.modified_at_ms};
	return rc;
}

/* --- reading ----------------------------------------------------------------------------------------------------------------- */

struct get_call {
	struct libs3_call call; /* first */
	char *into;
	size_t room, filled;
	bool is_more; /* than there is room for */
};

static S3Status on_receive(int n, const char *p, void *ctx)
{
	struct get_call *c = ctx;

	libs3_moved(&c->call);
	if ((size_t)n > c->room - c->filled) {
		c->is_more = true;
		return S3StatusAbortedByCallback;
	}
	memcpy(c->into + c->filled, p, (size_t)n);
	c->filled += (size_t)n;
	return S3StatusOK;
}

static void get_call_end(struct get_call *c)
{
	libs3_call_end(&c->call);
}

static int fail_short(const struct libs3 *l, const char *key, uint64_t offset, size_t n, uint64_t there, struct error *err)
{
	char *name cleanup(mem_freep) = libs3_name(l, key);

	err_set(err, ERR_CORRUPT, "object \"%s\" is shorter than it must be", name);
	return err_detail(err, "%zu bytes were wanted at offset %llu, %llu are there.", n, (unsigned long long)offset,
		(unsigned long long)there);
}

/* Nothing to read, or beyond any object: only whether it is there. */
static int read_nothing(struct libs3 *l, const char *key, uint64_t offset, size_t n, struct error *err)
{
	struct driver_object o;
	int rc = libs3_stat(&l->base, key, &o, err);

	if (rc == 1 && (n > 0 || offset > o.size_bytes))
		return fail_short(l, key, offset, n, 0, err);
	return rc;
}

static int check_range(const struct get_call *c, const char *key, uint64_t offset, struct error *err)
{
	const struct libs3 *l = c->call.driver;
	char *name cleanup(mem_freep) = libs3_name(l, key);

	if (c->call.status == S3StatusErrorInvalidRange)
		return fail_short(l, key, offset, c->room, 0, err);
	if (c->is_more)
		return err_set(
			err, ERR_FAILED, "could not read object \"%s\": the server sends more than the range asked for", name);
	if (c->call.status != S3StatusOK)
		return libs3_object_fail(&c->call, "read", key, err);
	if (c->filled == c->room)
		return 1;
	if (c->call.has_properties && c->call.size_bytes == c->filled)
		return fail_short(l, key, offset, c->room, c->filled, err);
	return err_set(err, ERR_RETRY, "could not read object \"%s\": the answer ended after %zu of %zu bytes", name, c->filled,
		c->room);
}

static int libs3_read_range(struct driver *d, const char *key, uint64_t offset, void *p, size_t n, struct error *err)
{
	struct libs3 *l = libs3_of(d);
	char *full cleanup(mem_freep) = libs3_full_key(l, key, err);
	struct get_call c cleanup(get_call_end) = {.into = p, .room = n};
	const S3GetObjectHandler handler = {.responseHandler = libs3_handler, .getObjectDataCallback = on_receive};

	if (!full)
		return -1;
	if (n == 0 || offset > (uint64_t)INT64_MAX - n)
		return read_nothing(l, key, offset, n, err);
	if (libs3_call_begin(l, &c.call, err) < 0)
		return -1;
	S3_get_object(&c.call.bucket, full, NULL, offset, n, c.call.context, &handler, &c);
	if (libs3_object_run(&c.call, "read", key, err) < 0)
		return -1;
	return libs3_is_missing(c.call.status) ? 0 : check_range(&c, key, offset, err);
}

/* --- listing ----------------------------------------------------------------------------------------------------------------- */

struct list_call {
	struct libs3_call call;        /* first */
	struct driver_object *objects; /* of this page; the keys are malloc'd and the bucket's */
	size_t count, cap;
};

static void list_call_end(struct list_call *c)
{
	libs3_call_end(&c->call);
	for (size_t i = 0; i < c->count; i++)
		free((void *)(uintptr_t)c->objects[i].key);
	free(c->objects);
}

/* The library takes the list's times, which are UTC, for local ones. */
static int64_t undo_local_ms(int64_t at)
{
	time_t t = (time_t)at;
	struct tm tm;

	return at > 0 && localtime_r(&t, &tm) ? (int64_t)timegm(&tm) * 1000 : 0;
}

static S3Status on_list(int is_truncated, const char *next, int count, const S3ListBucketContent *contents, int prefixes_count,
	const char **prefixes, void *ctx)
{
	struct list_call *c = ctx;

	(void)is_truncated;
	(void)next;
	(void)prefixes_count;
	(void)prefixes;
	libs3_moved(&c->call);
	c->objects = mem_grow(c->objects, &c->cap, c->count + (size_t)count, sizeof(*c->objects));
	for (int i = 0; i < count; i++)
		c->objects[c->count++] = (struct driver_object){
			.key = mem_strdup(contents[i].key),
			.size_bytes = contents[i].size,
			.modified_at_ms = undo_local_ms(contents[i].lastModified),
		};
	return S3StatusOK;
}

static int list_page(struct libs3 *l, struct list_call *c, const char *prefix, const char *marker, struct error *err)
{
	const S3ListBucketHandler handler = {.responseHandler = libs3_handler, .listBucketCallback = on_list};
	char *text cleanup(mem_freep) = mem_printf("could not list objects of \"s3://%s/%s\"", l->bucket, prefix);

	if (libs3_call_begin(l, &c->call, err) < 0)
		return -1;
	S3_list_bucket(&c->call.bucket, prefix, marker, NULL, LIST_KEYS, c->call.context, &handler, c);
	if (libs3_call_run(&c->call, err) < 0)
		return err->class == ERR_CANCELLED ? -1 : err_context(err, "%s", text);
	return c->call.status == S3StatusOK ? 0 : libs3_call_fail(&c->call, text, err);
}

struct listing {
	const struct libs3 *driver;
	int (*each)(void *ctx, const struct driver_object *o, struct error *err);
	void *ctx;
};

static int tell_page(const struct listing *to, const struct list_call *page, struct error *err)
{
	size_t skip = *to->driver->prefix ? strlen(to->driver->prefix) + 1 : 0;
	struct error strange cleanup(err_clear) = ERROR_INIT;

	for (size_t i = 0; i < page->count; i++) {
		struct driver_object o = page->objects[i];

		if (strlen(o.key) <= skip)
			continue;
		o.key += skip;
		if (driver_check_key(o.key, &strange) < 0) /* somebody else's, such as the "directory/" of a web console */
			continue;
		if (to->each(to->ctx, &o, err) < 0)
			return -1;
	}
	return 0;
}

/*
 * An answer that was cut off looks like a shorter list, so the server's word that there is no more counts for nothing.  Each page
 * begins behind the last key that came, whatever came after it; two empty pages in a row are the end.
 */
static int libs3_list(struct driver *d, const char *prefix,
	int (*each)(void *ctx, const struct driver_object *o, struct error *err), void *ctx, struct error *err)
{
	struct libs3 *l = libs3_of(d);
	const struct listing to = {.driver = l, .each = each, .ctx = ctx};
	char *full cleanup(mem_freep) = *l->prefix ? mem_printf("%s/%s", l->prefix, prefix) : mem_strdup(prefix);
	char *marker cleanup(mem_freep) = NULL;

	for (int empty = 0; empty < 2;) {
		struct list_call page cleanup(list_call_end) = {0};

		if (list_page(l, &page, full, marker, err) < 0 || tell_page(&to, &page, err) < 0)
			return -1;
		empty = page.count ? 0 : empty + 1;
		if (page.count) {
			free(marker);
			marker = mem_strdup(page.objects[page.count - 1].key);
		}
	}
	return 0;
}

/* --- removing, describing ---------------------------------------------------------------------------------------------------- */

static int libs3_remove(struct driver *d, const char *key, struct error *err)
{
	struct libs3 *l = libs3_of(d);
	char *full cleanup(mem_freep) = libs3_full_key(l, key, err);
	struct libs3_call c cleanup(libs3_call_end) = {0};
	struct driver_object o;
	int rc = full ? libs3_stat(d, key, &o, err) : -1;

	if (rc != 1)
		return rc;
	if (libs3_call_begin(l, &c, err) < 0)
		return -1;
	S3_delete_object(&c.bucket, full, c.context, &libs3_handler, &c);
	if (libs3_object_run(&c, "remove", key, err) < 0)
		return -1;
	if (c.status == S3StatusOK)
		return 1;
	return libs3_is_missing(c.status) ? 0 : libs3_object_fail(&c, "remove", key, err);
}

/* Nothing is ever left: an upload waits in a file without a name, and the server sees it when it is complete. */
static int libs3_sweep(struct driver *d, const char *prefix, int64_t older_than_ms, unsigned *ret_count, struct error *err)
{
	(void)prefix;
	(void)older_than_ms;
	if (cancel_check(d->cancel, err) < 0)
		return -1;
	*ret_count = 0;
	return 0;
}

static int libs3_describe(struct driver *d, struct driver_state *ret, struct error *err)
{
	struct libs3 *l = libs3_of(d);
	struct list_call page cleanup(list_call_end) = {0};
	char *prefix cleanup(mem_freep) = *l->prefix ? mem_printf("%s/", l->prefix) : mem_strdup("");

	if (list_page(l, &page, prefix, NULL, err) < 0)
		return -1;
	*ret = (struct driver_state){
		.server = page.call.server ? mem_strdup(page.call.server) : NULL,
		.credentials = mem_strdup(page.call.key.source),
	};
	return 0;
}

static void libs3_close(struct driver *d)
{
	struct libs3 *l = libs3_of(d);

	if (!d)
		return;
	s3_credentials_free(l->credentials);
	free(l->bucket);
	free(l->prefix);
	free(l->host);
	free(l->spool_dir);
	free(l);
}

static const struct driver_ops libs3_ops = {
	.name = "libs3",
	.put = libs3_put,
	.upload_begin = libs3_upload_begin,
	.upload_write = libs3_upload_write,
	.upload_commit = libs3_upload_commit,
	.upload_abort = libs3_upload_abort,
	.upload_release = libs3_upload_release,
	.read_range = libs3_read_range,
	.stat = libs3_stat,
	.list = libs3_list,
	.remove = libs3_remove,
	.sweep = libs3_sweep,
	.describe = libs3_describe,
	.close = libs3_close,
};

/* --- opening ----------------------------------------------------------------------------------------------------------------- */

/* What is asked for and libs3 cannot do is refused: an object without the lock or the encryption that somebody relies on is worse. */
static int check_options(const struct s3_options *o, struct error *err)
{
	const struct {
		const char *name, *value;
	} unknown[] = {
		{"session_token", o->session_token},
		{"proxy", o->proxy},
		{"storage_class", o->storage_class},
		{"server_side_encryption", o->server_side_encryption},
		{"kms_key_id", o->kms_key_id},
		{"object_lock", o->object_lock_mode},
	};

	for (size_t i = 0; i < array_len(unknown); i++)
		if (unknown[i].value && *unknown[i].value) {
			err_set(err, ERR_CONFIG, "driver \"libs3\" cannot be used for bucket \"%s\": it has no \"%s\"", o->bucket,
				unknown[i].name);
			return err_hint(err, "Use \"driver: s3\".");
		}
	if (o->credentials == S3_CREDENTIALS_INSTANCE || o->credentials == S3_CREDENTIALS_WEB_IDENTITY) {
		err_set(err, ERR_CONFIG, "driver \"libs3\" cannot be used for bucket \"%s\": it takes no credentials that expire",
			o->bucket);
		return err_hint(err, "Use \"driver: s3\", or keys that do not expire.");
	}
	return 0;
}

/* The host and port of the endpoint, malloc'd; NULL where it cannot be used. */
static char *endpoint_host(const struct s3_options *o, struct error *err)
{
	const char *endpoint = o->endpoint ? o->endpoint : "", *host = endpoint + strlen("http://");
	size_t n;

	if (!o->endpoint || strncasecmp(endpoint, "https://", 8) == 0) {
		err_set(err, ERR_CONFIG, "driver \"libs3\" cannot be used for \"%s\": it does not verify certificates",
			o->endpoint ? endpoint : "https://s3.amazonaws.com");
		err_hint(err,
			"Use \"driver: s3\".  Where only signatures of version 2 will do, let a TLS relay on this machine verify the "
			"server, and set \"endpoint\" to its http:// address.");
		return NULL;
	}
	n = strncasecmp(endpoint, "http://", 7) == 0 ? strcspn(host, "/?#@") : 0;
	if (n == 0 || n >= S3_MAX_HOSTNAME_SIZE || (host[n] && strcmp(host + n, "/") != 0)) {
		err_set(err, ERR_CONFIG, "\"%s\" cannot be the endpoint of driver \"libs3\"", endpoint);
		err_hint(err, "Write http://HOST or http://HOST:PORT.");
		return NULL;
	}
	return mem_strndup(host, n);
}

static int check_key(const struct libs3 *l, struct error *err)
{
	struct s3_key key = {0};
	int rc = s3_credentials_get(l->credentials, NULL, &key, err);

	if (rc == 0 && key.session_token) {
		rc = err_set(err, ERR_CONFIG,
			"driver \"libs3\" cannot be used for bucket \"%s\": the credentials of %s have a session token",
			l->bucket, key.source);
		err_hint(err, "Use \"driver: s3\", or keys that do not expire.");
	}
	s3_key_release(&key);
	return rc;
}

int driver_libs3_open(const struct s3_options *o, struct driver **ret, struct error *err)
{
	char *host cleanup(mem_freep) = NULL;
	const char *tmp = getenv("TMPDIR");
	struct libs3 *l;

	if (check_options(o, err) < 0 || !(host = endpoint_host(o, err)) || libs3_library_init(err) < 0)
		return -1;
	l = mem_zalloc(sizeof(*l));
	l->base.ops = &libs3_ops;
	l->base.features = DRIVER_PARALLEL_RANGES | DRIVER_REMOTE;
	l->bucket = mem_strdup(o->bucket);
	l->prefix = mem_strdup(o->prefix ? o->prefix : "");
	l->host = take_ptr(host);
	l->style = o->addressing == S3_ADDRESSING_VIRTUAL ? S3UriStyleVirtualHost : S3UriStylePath;
	l->spool_dir = mem_strdup(o->spool_dir ? o->spool_dir : tmp && *tmp ? tmp : "/var/tmp");
	l->connect_timeout_ms = o->connect_timeout_ms > 0 ? o->connect_timeout_ms : CONNECT_TIMEOUT_MS;
	l->stall_timeout_ms = o->stall_timeout_ms > 0 ? o->stall_timeout_ms : STALL_TIMEOUT_MS;
	if (s3_credentials_new(o, &l->credentials, err) < 0 || check_key(l, err) < 0) {
		libs3_close(&l->base);
		return -1;
	}
	*ret = &l->base;
	return 0;
}

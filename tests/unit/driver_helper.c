#include "tests/unit/driver_helper.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "storage/age/vault.h"
#include "storage/drivers/retry.h"

/* --- drivers ----------------------------------------------------------------------------------------------------------------- */

static struct driver *open_local(const struct fixture *f, struct error *err)
{
	struct driver *d = NULL;

	return driver_local_open(f->place.dir, false, &d, err) < 0 ? NULL : d;
}

static struct s3_options s3_options_of(const struct fixture *f)
{
	return (struct s3_options){
		.bucket = f->bucket           ? f->bucket
			: getenv("S3_BUCKET") ? getenv("S3_BUCKET")
					      : "bucket",
		.prefix = f->prefix,
		.endpoint = f->endpoint ? f->endpoint : getenv("S3_ENDPOINT"),
		.region = getenv("S3_REGION"),
		.access_key_id = getenv("S3_ACCESS_KEY") ? getenv("S3_ACCESS_KEY") : "key",
		.secret_access_key = f->secret_access_key ? f->secret_access_key
			: getenv("S3_SECRET_KEY")         ? getenv("S3_SECRET_KEY")
							  : "secret",
		.session_token = f->session_token,
		.ca_file = f->ca_file,
		.stall_timeout_ms = f->stall_timeout_ms,
		.spool_dir = f->place.dir,
	};
}

static struct driver *open_s3(const struct fixture *f, struct error *err)
{
	const struct s3_options o = s3_options_of(f);
	struct driver *d = NULL;

	return driver_s3_open(&o, &d, err) < 0 ? NULL : d;
}

static struct driver *open_libs3(const struct fixture *f, struct error *err)
{
	const struct s3_options o = s3_options_of(f);
	struct driver *d = NULL;

	return driver_libs3_open(&o, &d, err) < 0 ? NULL : d;
}

const struct driver_kind driver_local = {.name = "local", .keeps_killed = true, .open = open_local};
const struct driver_kind driver_s3 = {.name = "s3", .is_remote = true, .keeps_killed = true, .has_parts = true, .open = open_s3};
const struct driver_kind driver_libs3 = {.name = "libs3", .is_remote = true, .lacks_blanks = true, .open = open_libs3};

/* --- wrappers ---------------------------------------------------------------------------------------------------------------- */

static struct driver *wrap_retry(struct driver *inner)
{
	return driver_retry_new(inner, &(struct driver_retry_options){.give_up_after_ms = 10 * 1000, .first_wait_ms = 10});
}

/* Everything is sealed, to a key pair of this process. */
static struct driver *wrap_vault(struct driver *inner)
{
	static const char *const suffixes[] = {"", NULL};
	static struct age_recipients *recipients;
	static struct age_identities *identities;
	struct error err cleanup(err_clear) = ERROR_INIT;
	char *public cleanup(mem_freep) = NULL, *secret = NULL;

	if (!recipients) {
		assert_ok(age_keygen(&public, &secret, &err), &err);
		recipients = age_recipients_new();
		identities = age_identities_new();
		assert_ok(age_recipients_add(recipients, public, &err), &err);
		assert_ok(age_identities_add_text(identities, secret, strlen(secret), "test", &err), &err);
		age_wipe_free(secret);
	}
	return vault_new(inner, &(struct vault_options){recipients, identities, suffixes});
}

static struct driver *wrap_both(struct driver *inner)
{
	return wrap_vault(wrap_retry(inner));
}

static const struct driver_factory factories[] = {
	{.kind = &driver_local},
	{.kind = &driver_local, .behind = "retry", .wrap = wrap_retry},
	{.kind = &driver_local, .behind = "vault", .wrap = wrap_vault, .is_sealed = true},
	{.kind = &driver_s3},
	{.kind = &driver_s3, .behind = "retry", .wrap = wrap_retry},
	{.kind = &driver_s3, .behind = "vault and retry", .wrap = wrap_both, .is_sealed = true},
	{.kind = &driver_libs3},
	{.kind = &driver_libs3, .behind = "retry", .wrap = wrap_retry},
	{.kind = &driver_libs3, .behind = "vault and retry", .wrap = wrap_both, .is_sealed = true},
};

/* --- fixtures ---------------------------------------------------------------------------------------------------------------- */

static const struct driver_factory *current;
static unsigned places;

int driver_try_again(const struct fixture *f, struct driver **ret, struct error *err)
{
	struct driver *d = f->kind->open(f, err);

	if (!d)
		return -1;
	*ret = f->factory->wrap ? f->factory->wrap(d) : d;
	return 0;
}

struct driver *driver_again(const struct fixture *f)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct driver *d = NULL;

	assert_ok(driver_try_again(f, &d, &err), &err);
	return d;
}

void driver_close(struct driver *d)
{
	struct driver *borrowed = current->is_sealed ? d->inner : NULL; /* by a vault */

	d->ops->close(d);
	if (borrowed)
		borrowed->ops->close(borrowed);
}

bool driver_has_server(void)
{
	return getenv("S3_ENDPOINT") != NULL;
}

int driver_setup(void **state)
{
	struct fixture *f = mem_zalloc(sizeof(*f));

	f->factory = current;
	f->kind = current->kind;
	place_make(&f->place);
	f->prefix = mem_printf("t%d/%u", (int)getpid(), ++places);
	if (!f->kind->is_remote || driver_has_server())
		f->d = driver_again(f);
	*state = f;
	return 0;
}

int driver_teardown(void **state)
{
	struct fixture *f = *state;

	err_clear(&f->err);
	if (f->d)
		driver_close(f->d);
	place_remove(&f->place);
	free(f->prefix);
	free(f);
	return 0;
}

int driver_suite_run(
	enum driver_suite which, const char *about, const struct driver_kind *only, const struct CMUnitTest *tests, size_t count)
{
	int failed = 0;

	for (size_t i = 0; i < array_len(factories); i++) {
		const struct driver_factory *f = current = &factories[i];
		char *name cleanup(mem_freep) = mem_printf(
			"%s: %s%s%s", about, f->kind->name, f->behind ? " behind " : "", f->behind ? f->behind : "");

		if ((only && f->kind != only) || (which >= DRIVER_UNWRAPPED && f->wrap) ||
			(which == DRIVER_WITH_PARTS && (!f->kind->has_parts || f->is_sealed)) ||
			(which >= DRIVER_REMOTE_ONLY && !f->kind->is_remote))
			continue;
		if (f->kind->is_remote && which != DRIVER_WITHOUT_SERVER && !driver_has_server()) {
			print_message("%s: left out, S3_ENDPOINT names no server\n", name);
		} else {
			print_message("%s\n", name);
			failed += _cmocka_run_group_tests(name, tests, count, NULL, NULL);
		}
	}
	return failed;
}

/* --- steps ------------------------------------------------------------------------------------------------------------------- */

int driver_put_bytes(struct fixture *f, const char *key, bool is_exclusive, const void *p, size_t n, struct error *err)
{
	const struct driver_target t = {.key = key, .tag = "put", .is_exclusive = is_exclusive};

	return f->d->ops->put(f->d, &t, p, n, err);
}

void driver_put_text(struct fixture *f, const char *key, const char *text)
{
	assert_ok(driver_put_bytes(f, key, true, text, strlen(text), &f->err), &f->err);
}

void assert_bytes(struct fixture *f, const char *key, const char *p, size_t n)
{
	char *got cleanup(mem_freep) = mem_alloc(n + 1);
	struct driver_object o;
	int rc = f->d->ops->stat(f->d, key, &o, &f->err);

	assert_ok(rc < 0 ? rc : 0, &f->err);
	assert_int_equal(rc, 1);
	assert_string_equal(o.key, key);
	assert_int_equal(o.size_bytes, n);
	rc = f->d->ops->read_range(f->d, key, 0, got, n, &f->err);
	assert_ok(rc < 0 ? rc : 0, &f->err);
	assert_int_equal(rc, 1);
	assert_memory_equal(got, p, n);
}

void assert_object(struct fixture *f, const char *key, const char *text)
{
	assert_bytes(f, key, text, strlen(text));
}

void assert_missing(struct fixture *f, const char *key)
{
	struct driver_object o;
	char c;

	assert_int_equal(f->d->ops->stat(f->d, key, &o, &f->err), 0);
	assert_int_equal(f->d->ops->read_range(f->d, key, 0, &c, 1, &f->err), 0);
}

struct listing {
	char *keys[64];
	size_t count;
	bool is_sealed;
};

static int collect(void *ctx, const struct driver_object *o, struct error *err)
{
	struct listing *l = ctx;

	(void)err;
	assert_true(l->count < array_len(l->keys));
	l->keys[l->count++] = l->is_sealed ? mem_strdup(o->key) : mem_printf("%s:%d", o->key, (int)o->size_bytes);
	return 0;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* "a:1 b:22" without the sizes; the keys may hold blanks and colons. */
static char *keys_alone(const char *expected)
{
	struct buf b = {0};

	for (; *expected; expected++) {
		size_t n = *expected == ':' ? 1 + strspn(expected + 1, "0123456789") : 0;

		if (n > 1 && (expected[n] == ' ' || !expected[n]))
			expected += n - 1;
		else
			buf_putc(&b, *expected);
	}
	return buf_take(&b);
}

void assert_list(struct fixture *f, const char *prefix, const char *expected)
{
	struct listing l = {.is_sealed = f->factory->is_sealed};
	char *want cleanup(mem_freep) = l.is_sealed ? keys_alone(expected) : mem_strdup(expected);
	struct buf b cleanup(buf_release) = {0};

	assert_ok(f->d->ops->list(f->d, prefix, collect, &l, &f->err), &f->err);
	qsort(l.keys, l.count, sizeof(l.keys[0]), by_text);
	for (size_t i = 0; i < l.count; i++) {
		buf_printf(&b, "%s%s", i ? " " : "", l.keys[i]);
		free(l.keys[i]);
	}
	assert_string_equal(buf_str(&b), want);
}

static int count_object(void *ctx, const struct driver_object *o, struct error *err)
{
	(void)o;
	(void)err;
	++*(unsigned *)ctx;
	return 0;
}

void assert_objects_alone(struct fixture *f, unsigned count)
{
	unsigned listed = 0, swept = 99;

	assert_ok(f->d->ops->list(f->d, "", count_object, &listed, &f->err), &f->err);
	assert_int_equal(listed, count);
	assert_int_equal(place_count_files(&f->place), f->kind->is_remote ? 0 : count);
	assert_ok(f->d->ops->sweep(f->d, "", 0, &swept, &f->err), &f->err);
	assert_int_equal(swept, 0);
}

/* --- uploads ----------------------------------------------------------------------------------------------------------------- */

void sending_begin(struct fixture *f, struct sending *s, const char *key, const char *tag, bool is_exclusive)
{
	const struct driver_target t = {.key = key, .tag = tag, .is_exclusive = is_exclusive};

	*s = (struct sending){.d = f->d};
	assert_ok(f->d->ops->upload_begin(f->d, &t, NULL, &s->u, &f->err), &f->err);
}

int sending_add(struct sending *s, const void *p, size_t n, struct error *err)
{
	struct driver_part *part = &s->parts[s->count];

	if (!(s->d->features & DRIVER_PARTS))
		return s->d->ops->upload_write(s->u, p, n, err);
	assert_true(s->count < SENDING_PARTS_MAX);
	if (s->d->ops->upload_part(s->u, (unsigned)s->count + 1, p, n, &part->etag, err) < 0)
		return -1;
	part->number = (unsigned)++s->count;
	part->bytes = n;
	return 0;
}

static void sending_release(struct sending *s)
{
	for (size_t i = 0; i < s->count; i++)
		free(s->parts[i].etag);
	*s = (struct sending){0};
}

int sending_commit(struct sending *s, struct error *err)
{
	if (s->d->ops->upload_commit(s->u, s->count ? s->parts : NULL, s->count, err) < 0)
		return -1;
	sending_release(s);
	return 0;
}

int sending_abort(struct sending *s, struct error *err)
{
	int rc = s->d->ops->upload_abort(s->u, err);

	sending_release(s);
	return rc;
}

static void send_until_killed(const struct fixture *f, const char *key, const char *tag)
{
	const struct driver_target t = {.key = key, .tag = tag, .is_exclusive = true};
	size_t n = f->factory->is_sealed ? (size_t)20 << 20 : 4; /* a vault sends when it has a whole part */
	struct error err = ERROR_INIT;
	struct sending s = {0};

	/* Its own connections: those of the parent's driver are the parent's. */
	if (driver_try_again(f, &s.d, &err) == 0 && s.d->ops->upload_begin(s.d, &t, NULL, &s.u, &err) == 0 &&
		sending_add(&s, mem_zalloc(n), n, &err) == 0)
		(void)raise(SIGKILL);
	_exit(1);
}

void kill_an_upload(struct fixture *f, const char *key, const char *tag)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0)
		send_until_killed(f, key, tag);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
}

/*
 * The wrapper is a driver whose table is the inner driver's, name by name, each function a loop around the inner one.  What the
 * inner driver has not, the wrapper has not either.
 *
 * Of the calls that cannot just be made again:
 * - put(), exclusive: see retry.h.
 * - upload_begin() in parts: an attempt whose answer was lost has begun an upload nobody knows the id of.  It is swept away by its
 *   key, which is one run's own, before the next attempt, and once more when the upload has come to its end: a server under load
 *   may get to a request long after its client has gone.
 * - upload_abort() ends the inner upload even when it fails: the next attempt begins with the id and aborts that.
 * - upload_write(): a stream that broke in the middle has no next attempt.
 * - list() and upload_list(): collected first, so that the caller hears of each object once, and so that no failure of the
 *   caller's own is repeated.
 */
#include "storage/drivers/retry.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"

#define DEFAULT_GIVE_UP_MS ((int64_t)15 * 60 * 1000)
#define DEFAULT_FIRST_WAIT_MS 500
#define DEFAULT_LONGEST_WAIT_MS ((int64_t)30 * 1000)
#define ABORT_GIVE_UP_MS ((int64_t)60 * 1000)          /* it follows a failure that has been tried for long enough */
#define CLOCK_TOLERANCE_MS ((int64_t)24 * 3600 * 1000) /* a server's clock may be ahead of ours */
#define COMPARE_BYTES ((size_t)1 << 20)
#define SWEEP_ATTEMPTS 3

struct retry {
	struct driver base;
	struct driver_ops ops;
	struct driver_retry_options o;
	_Atomic uint64_t random;
};

struct driver_upload {
	struct retry *retry;
	struct driver_upload *inner;
	char *key, *tag;
	bool is_exclusive;
	bool is_lost; /* an attempt to begin it had no answer */
};

static struct retry *retry_of(struct driver *d)
{
	return (struct retry *)d;
}

/* --- one call, as often as it takes ---------------------------------------------------------------------------------------- */

struct call {
	struct retry *retry;
	const char *verb, *key; /* for on_retry() */
	int64_t give_up_after_ms;
	int64_t began_ms, failed_ms; /* monotonic; failed_ms: when it failed for the first time, 0 while it has not */
	int failures;
};

static struct call call_begin(struct retry *r, const char *verb, const char *key)
{
	return (struct call){
		.retry = r, .verb = verb, .key = key, .give_up_after_ms = r->o.give_up_after_ms, .began_ms = clock_mono_ms()};
}

/* splitmix64 (Steele, Lea, Flood 2014); any thread may draw. */
static uint64_t draw(struct retry *r)
{
	uint64_t z = atomic_fetch_add(&r->random, 0x9e3779b97f4a7c15u) + 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static int64_t next_wait_ms(const struct call *c, int64_t asked_ms)
{
	struct retry *r = c->retry;
	int64_t bound = r->o.first_wait_ms;
	int64_t wait;

	for (int i = 1; i < c->failures && bound < r->o.longest_wait_ms; i++)
		bound *= 2;
	if (bound > r->o.longest_wait_ms)
		bound = r->o.longest_wait_ms;
	wait = (int64_t)(draw(r) % (uint64_t)(bound + 1));
	return wait < asked_ms ? asked_ms : wait;
}

static int give_up(const struct call *c, int64_t now_ms, struct error *err)
{
	char span[CLOCK_TEXT_BYTES];
	char *count cleanup(mem_freep) = c->failures == 1 ? mem_strdup("once") : mem_printf("%d times", c->failures);
	char *message = mem_printf("%s: gave up after %s", err->message, duration_format(now_ms - c->began_ms, span));

	free(err->message);
	err->message = message;
	if (err->retry_after_ms > 0)
		return err_detail(err, "It was tried %s; the other side asked to wait for %s.", count,
			duration_format(err->retry_after_ms, span));
	return err_detail(err, "It was tried %s.", count);
}

/* Stopped while waiting: what was waited for is worth knowing. */
static int stopped(const struct error *last, struct error *err)
{
	err_detail(err, "The last attempt had failed: %s.", last->message);
	return -1;
}

/* Whether the call that has just failed with ${err} is to be made again: then the wait is over and ${err} empty. */
static bool again(struct call *c, struct error *err)
{
	struct retry *r = c->retry;
	struct error stop cleanup(err_clear) = ERROR_INIT;
	int64_t now_ms, until_ms, wait_ms;
	char *what cleanup(mem_freep) = NULL;

	if (err->class != ERR_RETRY)
		return false;
	now_ms = clock_mono_ms();
	if (c->failures++ == 0)
		c->failed_ms = now_ms;
	until_ms = c->failed_ms + c->give_up_after_ms;
	if (now_ms >= until_ms || err->retry_after_ms > until_ms - now_ms) {
		give_up(c, now_ms, err);
		return false;
	}
	wait_ms = next_wait_ms(c, err->retry_after_ms);
	if (wait_ms > until_ms - now_ms)
		wait_ms = until_ms - now_ms; /* the last attempt */
	progress_alive(r->base.progress);    /* the wait is bounded: patience is no standstill */
	what = mem_printf("%s \"%s\"", c->verb, c->key);
	if (r->o.on_retry)
		r->o.on_retry(r->o.ctx, what, err, c->failures, wait_ms);
	if (cancel_sleep(r->base.cancel, wait_ms, &stop) < 0) {
		stopped(err, &stop);
		err_move(err, &stop);
		return false;
	}
	err_clear(err);
	return true;
}

/* --- objects --------------------------------------------------------------------------------------------------------------- */

static int retry_read_range(struct driver *d, const char *key, uint64_t offset, void *p, size_t n, struct error *err)
{
	struct call c = call_begin(retry_of(d), "read of", key);
	int rc;

	do {
		rc = d->inner->ops->read_range(d->inner, key, offset, p, n, err);
	} while (rc < 0 && again(&c, err));
	return rc;
}

static int retry_stat(struct driver *d, const char *key, struct driver_object *ret, struct error *err)
{
	struct call c = call_begin(retry_of(d), "look at", key);
	int rc;

	do {
		rc = d->inner->ops->stat(d->inner, key, ret, err);
	} while (rc < 0 && again(&c, err));
	return rc;
}

/* 1 the object is these bytes, 0 it is not, -1 it could not be read. */
static int is_same_object(struct driver *d, const char *key, const char *p, size_t n, struct error *err)
{
	char *got cleanup(mem_freep) = NULL;
	struct driver_object o;
	int rc = retry_stat(d, key, &o, err);

	if (rc <= 0 || o.size_bytes != n)
		return rc < 0 ? -1 : 0;
	got = mem_alloc(n < COMPARE_BYTES ? n + 1 : COMPARE_BYTES);
	for (size_t at = 0, k; at < n; at += k) {
		k = n - at < COMPARE_BYTES ? n - at : COMPARE_BYTES;
		rc = retry_read_range(d, key, at, got, k, err);
		if (rc <= 0 || memcmp(got, p + at, k) != 0)
			return rc < 0 ? -1 : 0;
	}
	return 1;
}

/* An exclusive put() has met an object, after an attempt of its own that may have made it.  0 or -1 with the conflict. */
static int settle_put(struct driver *d, const char *key, const void *p, size_t n, struct error *err)
{
	struct error why cleanup(err_clear) = ERROR_INIT;
	int rc = is_same_object(d, key, p, n, &why);

	if (rc == 1) {
		err_clear(err);
		return 0;
	}
	if (rc < 0 && why.class == ERR_CANCELLED)
		return err_move(err, &why);
	if (rc < 0)
		err_detail(err, "An earlier attempt got no answer, and the object could not be read back: %s.", why.message);
	return -1;
}

static int retry_put(struct driver *d, const struct driver_target *t, const void *p, size_t n, struct error *err)
{
	struct call c = call_begin(retry_of(d), "upload of", t->key);
	int rc;

	do {
		rc = d->inner->ops->put(d->inner, t, p, n, err);
	} while (rc < 0 && again(&c, err));
	/* A driver may have found out that this server overwrites what is there. */
	__atomic_store_n(&d->features, __atomic_load_n(&d->inner->features, __ATOMIC_RELAXED), __ATOMIC_RELAXED);
	if (rc < 0 && err->class == ERR_CONFLICT && t->is_exclusive && c.failures > 0)
		return settle_put(d, t->key, p, n, err);
	return rc;
}

static int retry_remove(struct driver *d, const char *key, struct error *err)
{
	struct call c = call_begin(retry_of(d), "removal of", key);
	int rc;

	do {
		rc = d->inner->ops->remove(d->inner, key, err);
	} while (rc < 0 && again(&c, err));
	return rc == 0 && c.failures > 0 ? 1 : rc; /* missing now: by the attempt that got no answer, for all one can know */
}

static int retry_sweep(struct driver *d, const char *prefix, int64_t older_than_ms, unsigned *ret_count, struct error *err)
{
	struct call c = call_begin(retry_of(d), "sweep of", prefix);
	int rc;

	do {
		rc = d->inner->ops->sweep(d->inner, prefix, older_than_ms, ret_count, err);
	} while (rc < 0 && again(&c, err));
	return rc;
}

static int retry_describe(struct driver *d, struct driver_state *ret, struct error *err)
{
	struct call c = call_begin(retry_of(d), "description of", d->ops->name);
	int rc;

	do {
		rc = d->inner->ops->describe(d->inner, ret, err);
	} while (rc < 0 && again(&c, err));
	return rc;
}

/* --- lists ----------------------------------------------------------------------------------------------------------------- */

struct objects {
	struct arena names;
	struct driver_object *list;
	size_t count, cap;
};

static void objects_clear(struct objects *o)
{
	arena_release(&o->names);
	o->count = 0;
}

static void objects_release(struct objects *o)
{
	objects_clear(o);
	free(o->list);
}

static int collect_object(void *ctx, const struct driver_object *o, struct error *err)
{
	struct objects *all = ctx;

	(void)err;
	all->list = mem_grow(all->list, &all->cap, all->count + 1, sizeof(all->list[0]));
	all->list[all->count] = *o;
	all->list[all->count++].key = arena_strdup(&all->names, o->key);
	return 0;
}

static int retry_list(struct driver *d, const char *prefix,
	int (*each)(void *ctx, const struct driver_object *o, struct error *err), void *ctx, struct error *err)
{
	struct call c = call_begin(retry_of(d), "list of", prefix);
	struct objects all cleanup(objects_release) = {0};
	int rc;

	do {
		objects_clear(&all);
		rc = d->inner->ops->list(d->inner, prefix, collect_object, &all, err);
	} while (rc < 0 && again(&c, err));
	for (size_t i = 0; rc == 0 && i < all.count; i++)
		rc = each(ctx, &all.list[i], err);
	return rc;
}

struct parts {
	struct arena names;
	struct driver_part *list;
	size_t count, cap;
};

static void parts_clear(struct parts *p)
{
	arena_release(&p->names);
	p->count = 0;
}

static void parts_release(struct parts *p)
{
	parts_clear(p);
	free(p->list);
}

static int collect_part(void *ctx, const struct driver_part *p, struct error *err)
{
	struct parts *all = ctx;

	(void)err;
	all->list = mem_grow(all->list, &all->cap, all->count + 1, sizeof(all->list[0]));
	all->list[all->count] = *p;
	all->list[all->count++].etag = arena_strdup(&all->names, p->etag);
	return 0;
}

static int retry_upload_list(struct driver_upload *u, int (*each)(void *ctx, const struct driver_part *p, struct error *err),
	void *ctx, struct error *err)
{
	struct call c = call_begin(u->retry, "list of the parts of", u->key);
	struct parts all cleanup(parts_release) = {0};
	int rc;

	do {
		parts_clear(&all);
		rc = u->retry->base.inner->ops->upload_list(u->inner, collect_part, &all, err);
	} while (rc < 0 && again(&c, err));
	for (size_t i = 0; rc == 0 && i < all.count; i++)
		rc = each(ctx, &all.list[i], err);
	return rc;
}

/* --- uploads --------------------------------------------------------------------------------------------------------------- */

static void upload_free(struct driver_upload *u)
{
	free(u->key);
	free(u->tag);
	free(u);
}

/* What an attempt without an answer may have begun.  What cannot be removed now is found by the sweep of a later day. */
static void sweep_lost(struct driver *d, const char *key)
{
	struct error ignored cleanup(err_clear) = ERROR_INIT;
	unsigned count;

	if (!(d->features & DRIVER_PARTS))
		return;
	for (int attempt = 0; attempt < SWEEP_ATTEMPTS; attempt++) {
		err_clear(&ignored);
		if (d->ops->sweep(d, key, -CLOCK_TOLERANCE_MS, &count, &ignored) == 0)
			return;
	}
}

static int retry_upload_begin(
	struct driver *d, const struct driver_target *t, const char *resume_id, struct driver_upload **ret, struct error *err)
{
	struct call c = call_begin(retry_of(d), "begin of the upload of", t->key);
	struct driver_upload *inner = NULL, *u;
	bool is_lost = false;
	int rc;

	for (;;) {
		rc = d->inner->ops->upload_begin(d->inner, t, resume_id, &inner, err);
		if (rc == 0 || !again(&c, err))
			break;
		if (!resume_id) {
			is_lost = true;
			sweep_lost(d->inner, t->key);
		}
	}
	if (rc < 0)
		return -1;
	u = mem_zalloc(sizeof(*u));
	u->retry = retry_of(d);
	u->inner = inner;
	u->key = mem_strdup(t->key);
	u->tag = mem_strdup(t->tag);
	u->is_exclusive = t->is_exclusive;
	u->is_lost = is_lost;
	*ret = u;
	return 0;
}

static int retry_upload_write(struct driver_upload *u, const void *p, size_t n, struct error *err)
{
	return u->retry->base.inner->ops->upload_write(u->inner, p, n, err);
}

static const char *retry_upload_id(const struct driver_upload *u)
{
	return u->retry->base.inner->ops->upload_id(u->inner);
}

static int retry_upload_part(
	struct driver_upload *u, unsigned number, const void *p, size_t n, char **ret_etag, struct error *err)
{
	struct call c = call_begin(u->retry, "upload of a part of", u->key);
	int rc;

	do {
		rc = u->retry->base.inner->ops->upload_part(u->inner, number, p, n, ret_etag, err);
	} while (rc < 0 && again(&c, err));
	return rc;
}

static int retry_upload_copy(struct driver_upload *u, unsigned number, const char *from_key, uint64_t offset, uint64_t n,
	char **ret_etag, struct error *err)
{
	struct call c = call_begin(u->retry, "copy of a part of", from_key);
	int rc;

	do {
		rc = u->retry->base.inner->ops->upload_copy(u->inner, number, from_key, offset, n, ret_etag, err);
	} while (rc < 0 && again(&c, err));
	return rc;
}

static int retry_upload_commit(struct driver_upload *u, const struct driver_part *parts, size_t parts_count, struct error *err)
{
	struct call c = call_begin(u->retry, "completion of", u->key);
	int rc;

	do {
		rc = u->retry->base.inner->ops->upload_commit(u->inner, parts, parts_count, err);
	} while (rc < 0 && again(&c, err));
	if (rc < 0)
		return rc;
	if (u->is_lost)
		sweep_lost(u->retry->base.inner, u->key);
	upload_free(u);
	return 0;
}

/* The upload with this id once more, to abort it.  0 aborted or no longer known, -1. */
static int abort_by_id(struct driver *d, const struct driver_target *t, const char *id, struct error *err)
{
	struct driver_upload *u = NULL;

	if (d->ops->upload_begin(d, t, id, &u, err) == 0)
		return d->ops->upload_abort(u, err);
	if (err->class != ERR_CONFLICT)
		return -1;
	err_clear(err);
	return 0;
}

static int retry_upload_abort(struct driver_upload *u, struct error *err)
{
	struct driver *inner = u->retry->base.inner;
	const struct driver_target t = {.key = u->key, .tag = u->tag, .is_exclusive = u->is_exclusive};
	char *id cleanup(mem_freep) = inner->features & DRIVER_PARTS ? mem_strdup(inner->ops->upload_id(u->inner)) : NULL;
	struct call c = call_begin(u->retry, "abort of the upload of", u->key);
	int rc = inner->ops->upload_abort(u->inner, err);

	if (c.give_up_after_ms > ABORT_GIVE_UP_MS)
		c.give_up_after_ms = ABORT_GIVE_UP_MS;
	while (rc < 0 && id && again(&c, err))
		rc = abort_by_id(inner, &t, id, err);
	if (u->is_lost)
		sweep_lost(inner, u->key);
	upload_free(u);
	return rc;
}

static void retry_upload_release(struct driver_upload *u)
{
	u->retry->base.inner->ops->upload_release(u->inner);
	upload_free(u);
}

/* --- the wrapper ----------------------------------------------------------------------------------------------------------- */

static void retry_close(struct driver *d)
{
	d->inner->ops->close(d->inner);
	free(d);
}

static struct driver_ops ops_around(const struct driver_ops *inner)
{
	return (struct driver_ops){
		.name = inner->name,
		.put = retry_put,
		.upload_begin = retry_upload_begin,
		.upload_write = inner->upload_write ? retry_upload_write : NULL,
		.upload_id = inner->upload_id ? retry_upload_id : NULL,
		.upload_part = inner->upload_part ? retry_upload_part : NULL,
		.upload_list = inner->upload_list ? retry_upload_list : NULL,
		.upload_copy = inner->upload_copy ? retry_upload_copy : NULL,
		.upload_commit = retry_upload_commit,
		.upload_abort = retry_upload_abort,
		.upload_release = inner->upload_release ? retry_upload_release : NULL,
		.read_range = retry_read_range,
		.stat = retry_stat,
		.list = retry_list,
		.remove = retry_remove,
		.sweep = retry_sweep,
		.describe = inner->describe ? retry_describe : NULL,
		.close = retry_close,
	};
}

struct driver *driver_retry_new(struct driver *inner, const struct driver_retry_options *o)
{
	struct retry *r = mem_zalloc(sizeof(*r));
	uint64_t seed = 0;

	if (o)
		r->o = *o;
	if (r->o.give_up_after_ms <= 0)
		r->o.give_up_after_ms = DEFAULT_GIVE_UP_MS;
	if (r->o.first_wait_ms <= 0)
		r->o.first_wait_ms = DEFAULT_FIRST_WAIT_MS;
	if (r->o.longest_wait_ms <= 0)
		r->o.longest_wait_ms = DEFAULT_LONGEST_WAIT_MS;
	if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != sizeof(seed))
		seed = (uint64_t)clock_utc_ms() ^ (uint64_t)clock_mono_us() << 20; /* to spread waits it will do */
	atomic_init(&r->random, seed);
	r->ops = ops_around(inner->ops);
	r->base = (struct driver){.ops = &r->ops, .features = inner->features, .cancel = inner->cancel, .inner = inner};
	return &r->base;
}

void driver_retry_set_give_up(struct driver *d, int64_t give_up_after_ms)
{
	retry_of(d)->o.give_up_after_ms = give_up_after_ms > 0 ? give_up_after_ms : DEFAULT_GIVE_UP_MS;
}

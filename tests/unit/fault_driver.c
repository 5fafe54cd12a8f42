#include "tests/unit/fault_driver.h"

#include <pthread.h>
#include <stdlib.h>

static const char *const op_names[FAULT_OPS] = {
	[FAULT_ANY] = "anything",
	[FAULT_PUT] = "put",
	[FAULT_BEGIN] = "upload_begin",
	[FAULT_WRITE] = "upload_write",
	[FAULT_PART] = "upload_part",
	[FAULT_PARTS] = "upload_list",
	[FAULT_COPY] = "upload_copy",
	[FAULT_COMMIT] = "upload_commit",
	[FAULT_ABORT] = "upload_abort",
	[FAULT_READ] = "read_range",
	[FAULT_STAT] = "stat",
	[FAULT_LIST] = "list",
	[FAULT_REMOVE] = "remove",
	[FAULT_SWEEP] = "sweep",
	[FAULT_DESCRIBE] = "describe",
};

struct faulty {
	struct driver base;
	struct driver_ops ops;
	pthread_mutex_t lock;
	struct fault *list;
	size_t count, cap;
	unsigned calls[FAULT_OPS], faults;
	uint64_t seed;
	unsigned per_mille;
};

struct driver_upload {
	struct faulty *faulty;
	struct driver_upload *inner; /* NULL once a commit took effect whose answer was lost */
};

static struct faulty *faulty_of(struct driver *d)
{
	return (struct faulty *)d;
}

/* --- which call fails ------------------------------------------------------------------------------------------------------ */

/* What one call is to meet. */
struct meeting {
	struct fault fault;
	enum fault_op op;
	unsigned number; /* of the call among those of its operation */
};

static uint64_t mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static void choose_locked(struct faulty *f, struct meeting *m)
{
	uint64_t random;

	for (size_t i = 0; i < f->count; i++) {
		const struct fault *c = &f->list[i];
		unsigned number = f->calls[c->op];

		if ((c->op == m->op || c->op == FAULT_ANY) && number >= c->nth && number - c->nth < (c->times ? c->times : 1)) {
			m->fault = *c;
			return;
		}
	}
	random = mix(f->seed + f->calls[FAULT_ANY] * 0x9e3779b97f4a7c15u);
	if (random % 1000 < f->per_mille)
		m->fault = (struct fault){.class = ERR_RETRY, .is_after = random >> 32 & 1};
}

static int fail(const struct meeting *m, struct error *err)
{
	err_set(err, m->fault.class, "injected failure of call %u of %s", m->number, op_names[m->op]);
	err->retry_after_ms = m->fault.retry_after_ms;
	return -1;
}

/* Before the inner call: -1 when there is to be none. */
static int meet(struct faulty *f, enum fault_op op, struct meeting *ret, struct error *err)
{
	*ret = (struct meeting){.op = op};
	pthread_mutex_lock(&f->lock);
	f->calls[FAULT_ANY]++;
	ret->number = ++f->calls[op];
	choose_locked(f, ret);
	f->faults += ret->fault.class != ERR_NONE;
	pthread_mutex_unlock(&f->lock);
	if (ret->fault.delay_ms > 0 && cancel_sleep(f->base.cancel, ret->fault.delay_ms, err) < 0)
		return -1;
	return ret->fault.class != ERR_NONE && !ret->fault.is_after ? fail(ret, err) : 0;
}

/* After the inner call, which returned ${rc}. */
static int leave(const struct meeting *m, int rc, struct error *err)
{
	return rc >= 0 && m->fault.class != ERR_NONE && m->fault.is_after ? fail(m, err) : rc;
}

/* --- objects --------------------------------------------------------------------------------------------------------------- */

static int faulty_put(struct driver *d, const struct driver_target *t, const void *p, size_t n, struct error *err)
{
	struct meeting m;

	if (meet(faulty_of(d), FAULT_PUT, &m, err) < 0)
		return -1;
	return leave(&m, d->inner->ops->put(d->inner, t, p, n, err), err);
}

static int faulty_read_range(struct driver *d, const char *key, uint64_t offset, void *p, size_t n, struct error *err)
{
	struct meeting m;

	if (meet(faulty_of(d), FAULT_READ, &m, err) < 0)
		return -1;
	return leave(&m, d->inner->ops->read_range(d->inner, key, offset, p, n, err), err);
}

static int faulty_stat(struct driver *d, const char *key, struct driver_object *ret, struct error *err)
{
	struct meeting m;

	if (meet(faulty_of(d), FAULT_STAT, &m, err) < 0)
		return -1;
	return leave(&m, d->inner->ops->stat(d->inner, key, ret, err), err);
}

static int faulty_list(struct driver *d, const char *prefix,
	int (*each)(void *ctx, const struct driver_object *o, struct error *err), void *ctx, struct error *err)
{
	struct meeting m;

	if (meet(faulty_of(d), FAULT_LIST, &m, err) < 0)
		return -1;
	return leave(&m, d->inner->ops->list(d->inner, prefix, each, ctx, err), err);
}

static int faulty_remove(struct driver *d, const char *key, struct error *err)
{
	struct meeting m;

	if (meet(faulty_of(d), FAULT_REMOVE, &m, err) < 0)
		return -1;
	return leave(&m, d->inner->ops->remove(d->inner, key, err), err);
}

static int faulty_sweep(struct driver *d, const char *prefix, int64_t older_than_ms, unsigned *ret_count, struct error *err)
{
	struct meeting m;

	if (meet(faulty_of(d), FAULT_SWEEP, &m, err) < 0)
		return -1;
	return leave(&m, d->inner->ops->sweep(d->inner, prefix, older_than_ms, ret_count, err), err);
}

static int faulty_describe(struct driver *d, struct driver_state *ret, struct error *err)
{
	struct meeting m;
	int rc;

	if (meet(faulty_of(d), FAULT_DESCRIBE, &m, err) < 0)
		return -1;
	rc = leave(&m, d->inner->ops->describe(d->inner, ret, err), err);
	if (rc < 0)
		driver_state_release(ret);
	return rc;
}

/* --- uploads --------------------------------------------------------------------------------------------------------------- */

/* Ends the handle; where there are parts, what was begun stays behind. */
static int drop(struct driver *inner, struct driver_upload *u, struct error *err)
{
	if (!(inner->features & DRIVER_PARTS))
		return inner->ops->upload_abort(u, err);
	inner->ops->upload_release(u);
	return 0;
}

static int faulty_upload_begin(
	struct driver *d, const struct driver_target *t, const char *resume_id, struct driver_upload **ret, struct error *err)
{
	struct driver_upload *inner = NULL, *u;
	struct meeting m;

	if (meet(faulty_of(d), FAULT_BEGIN, &m, err) < 0 || d->inner->ops->upload_begin(d->inner, t, resume_id, &inner, err) < 0)
		return -1;
	if (leave(&m, 0, err) < 0) {
		struct error ignored cleanup(err_clear) = ERROR_INIT;

		(void)drop(d->inner, inner, &ignored);
		return -1;
	}
	u = mem_zalloc(sizeof(*u));
	u->faulty = faulty_of(d);
	u->inner = inner;
	*ret = u;
	return 0;
}

static int faulty_upload_write(struct driver_upload *u, const void *p, size_t n, struct error *err)
{
	struct meeting m;

	if (meet(u->faulty, FAULT_WRITE, &m, err) < 0)
		return -1;
	return leave(&m, u->faulty->base.inner->ops->upload_write(u->inner, p, n, err), err);
}

static const char *faulty_upload_id(const struct driver_upload *u)
{
	return u->inner ? u->faulty->base.inner->ops->upload_id(u->inner) : "committed";
}

static int faulty_upload_part(
	struct driver_upload *u, unsigned number, const void *p, size_t n, char **ret_etag, struct error *err)
{
	char *etag cleanup(mem_freep) = NULL;
	struct meeting m;

	if (meet(u->faulty, FAULT_PART, &m, err) < 0 ||
		leave(&m, u->faulty->base.inner->ops->upload_part(u->inner, number, p, n, &etag, err), err) < 0)
		return -1;
	*ret_etag = take_ptr(etag);
	return 0;
}

static int faulty_upload_copy(struct driver_upload *u, unsigned number, const char *from_key, uint64_t offset, uint64_t n,
	char **ret_etag, struct error *err)
{
	char *etag cleanup(mem_freep) = NULL;
	struct meeting m;

	if (meet(u->faulty, FAULT_COPY, &m, err) < 0 ||
		leave(&m, u->faulty->base.inner->ops->upload_copy(u->inner, number, from_key, offset, n, &etag, err), err) < 0)
		return -1;
	*ret_etag = take_ptr(etag);
	return 0;
}

static int faulty_upload_list(struct driver_upload *u, int (*each)(void *ctx, const struct driver_part *p, struct error *err),
	void *ctx, struct error *err)
{
	struct meeting m;

	if (meet(u->faulty, FAULT_PARTS, &m, err) < 0)
		return -1;
	return leave(&m, u->faulty->base.inner->ops->upload_list(u->inner, each, ctx, err), err);
}

static int faulty_upload_commit(struct driver_upload *u, const struct driver_part *parts, size_t parts_count, struct error *err)
{
	struct meeting m;

	if (meet(u->faulty, FAULT_COMMIT, &m, err) < 0)
		return -1;
	if (u->inner && u->faulty->base.inner->ops->upload_commit(u->inner, parts, parts_count, err) < 0)
		return -1;
	u->inner = NULL; /* a driver finds out that its first attempt was a success; here it is remembered */
	if (leave(&m, 0, err) < 0)
		return -1;
	free(u);
	return 0;
}

static int faulty_upload_abort(struct driver_upload *u, struct error *err)
{
	struct driver *inner = u->faulty->base.inner;
	struct error ignored cleanup(err_clear) = ERROR_INIT;
	struct meeting m;
	int rc = meet(u->faulty, FAULT_ABORT, &m, err);

	if (u->inner && rc < 0)
		(void)drop(inner, u->inner, &ignored);
	else if (u->inner)
		rc = leave(&m, inner->ops->upload_abort(u->inner, err), err);
	free(u);
	return rc;
}

static void faulty_upload_release(struct driver_upload *u)
{
	if (u->inner)
		u->faulty->base.inner->ops->upload_release(u->inner);
	free(u);
}

/* --- the wrapper ----------------------------------------------------------------------------------------------------------- */

static void faulty_close(struct driver *d)
{
	struct faulty *f = faulty_of(d);

	d->inner->ops->close(d->inner);
	pthread_mutex_destroy(&f->lock);
	free(f->list);
	free(f);
}

struct driver *fault_driver_new(struct driver *inner)
{
	const struct driver_ops *o = inner->ops;
	struct faulty *f = mem_zalloc(sizeof(*f));

	f->ops = (struct driver_ops){
		.name = o->name,
		.put = faulty_put,
		.upload_begin = faulty_upload_begin,
		.upload_write = o->upload_write ? faulty_upload_write : NULL,
		.upload_id = o->upload_id ? faulty_upload_id : NULL,
		.upload_part = o->upload_part ? faulty_upload_part : NULL,
		.upload_list = o->upload_list ? faulty_upload_list : NULL,
		.upload_copy = o->upload_copy ? faulty_upload_copy : NULL,
		.upload_commit = faulty_upload_commit,
		.upload_abort = faulty_upload_abort,
		.upload_release = o->upload_release ? faulty_upload_release : NULL,
		.read_range = faulty_read_range,
		.stat = faulty_stat,
		.list = faulty_list,
		.remove = faulty_remove,
		.sweep = faulty_sweep,
		.describe = o->describe ? faulty_describe : NULL,
		.close = faulty_close,
	};
	f->base = (struct driver){.ops = &f->ops, .features = inner->features, .cancel = inner->cancel, .inner = inner};
	pthread_mutex_init(&f->lock, NULL);
	return &f->base;
}

void fault_driver_add(struct driver *d, const struct fault *fault)
{
	struct faulty *f = faulty_of(d);

	pthread_mutex_lock(&f->lock);
	f->list = mem_grow(f->list, &f->cap, f->count + 1, sizeof(f->list[0]));
	f->list[f->count++] = *fault;
	pthread_mutex_unlock(&f->lock);
}

void fault_driver_random(struct driver *d, uint64_t seed, unsigned per_mille)
{
	struct faulty *f = faulty_of(d);

	pthread_mutex_lock(&f->lock);
	f->seed = seed;
	f->per_mille = per_mille;
	pthread_mutex_unlock(&f->lock);
}

void fault_driver_clear(struct driver *d)
{
	struct faulty *f = faulty_of(d);

	pthread_mutex_lock(&f->lock);
	f->count = 0;
	f->per_mille = 0;
	f->faults = 0;
	for (size_t i = 0; i < array_len(f->calls); i++)
		f->calls[i] = 0;
	pthread_mutex_unlock(&f->lock);
}

unsigned fault_driver_calls(struct driver *d, enum fault_op op)
{
	struct faulty *f = faulty_of(d);
	unsigned count;

	pthread_mutex_lock(&f->lock);
	count = f->calls[op];
	pthread_mutex_unlock(&f->lock);
	return count;
}

unsigned fault_driver_faults(struct driver *d)
{
	struct faulty *f = faulty_of(d);
	unsigned count;

	pthread_mutex_lock(&f->lock);
	count = f->faults;
	pthread_mutex_unlock(&f->lock);
	return count;
}

#include "tests/unit/memory_driver.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"

struct content {
	char *p;
	size_t n;
	char *etag;
};

struct stored {
	struct stored *next;
	char *key;
	struct content content;
	int64_t modified_at_ms;
};

struct begun {
	struct begun *next;
	char *key, *id;
	struct content *parts; /* by number; without an etag: not there */
	size_t parts_count, parts_cap;
	int64_t begun_at_ms;
};

struct memory {
	struct driver base;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct stored *objects;
	struct begun *uploads;
	unsigned ids, handles, inside, most_at_once, hold_together, held, generation;
};

struct driver_upload {
	struct memory *memory;
	char *key, *id;
	bool is_exclusive;
};

static struct memory *memory_of(struct driver *d)
{
	return (struct memory *)d;
}

static struct content content_of(const void *p, size_t n)
{
	struct content c = {.p = mem_alloc(n + 1), .n = n, .etag = mem_alloc(SHA256_HEX_BYTES)};
	uint8_t sum[SHA256_BYTES];

	if (n)
		memcpy(c.p, p, n);
	sha256_of(p, n, sum);
	(void)hex_encode(sum, sizeof(sum), c.etag);
	return c;
}

static void content_release(struct content *c)
{
	free(c->p);
	free(c->etag);
	*c = (struct content){0};
}

/* --- objects --------------------------------------------------------------------------------------------------------------- */

static struct stored **find(struct memory *m, const char *key)
{
	struct stored **s = &m->objects;

	while (*s && strcmp((*s)->key, key) != 0)
		s = &(*s)->next;
	return s;
}

static int store_locked(struct memory *m, const char *key, bool is_exclusive, struct content c, struct error *err)
{
	struct stored **s = find(m, key);

	if (*s && is_exclusive) {
		content_release(&c);
		return err_set(err, ERR_CONFLICT, "object \"%s\" exists already", key);
	}
	if (!*s) {
		*s = mem_zalloc(sizeof(**s));
		(*s)->key = mem_strdup(key);
	}
	content_release(&(*s)->content);
	(*s)->content = c;
	(*s)->modified_at_ms = clock_utc_ms();
	return 0;
}

static int memory_put(struct driver *d, const struct driver_target *t, const void *p, size_t n, struct error *err)
{
	struct memory *m = memory_of(d);
	int rc;

	if (cancel_check(d->cancel, err) < 0 || driver_check_key(t->key, err) < 0)
		return -1;
	pthread_mutex_lock(&m->lock);
	rc = store_locked(m, t->key, t->is_exclusive, content_of(p, n), err);
	pthread_mutex_unlock(&m->lock);
	return rc;
}

static int memory_read_range(struct driver *d, const char *key, uint64_t offset, void *p, size_t n, struct error *err)
{
	struct memory *m = memory_of(d);
	struct stored *s;
	int rc = 0;

	if (cancel_check(d->cancel, err) < 0 || driver_check_key(key, err) < 0)
		return -1;
	pthread_mutex_lock(&m->lock);
	s = *find(m, key);
	if (s && (offset > s->content.n || n > s->content.n - offset)) {
		rc = err_set(err, ERR_CORRUPT, "object \"%s\" is shorter than it must be", key);
	} else if (s) {
		memcpy(p, s->content.p + offset, n);
		rc = 1;
	}
	pthread_mutex_unlock(&m->lock);
	return rc;
}

static int memory_stat(struct driver *d, const char *key, struct driver_object *ret, struct error *err)
{
	struct memory *m = memory_of(d);
	struct stored *s;

	if (driver_check_key(key, err) < 0)
		return -1;
	pthread_mutex_lock(&m->lock);
	s = *find(m, key);
	if (s)
		*ret = (struct driver_object){.key = key, .size_bytes = s->content.n, .modified_at_ms = s->modified_at_ms};
	pthread_mutex_unlock(&m->lock);
	return s != NULL;
}

static int memory_list(struct driver *d, const char *prefix,
	int (*each)(void *ctx, const struct driver_object *o, struct error *err), void *ctx, struct error *err)
{
	struct memory *m = memory_of(d);
	int rc = cancel_check(d->cancel, err);

	pthread_mutex_lock(&m->lock);
	for (struct stored *s = m->objects; s && rc == 0; s = s->next) {
		struct driver_object o = {.key = s->key, .size_bytes = s->content.n, .modified_at_ms = s->modified_at_ms};

		if (strncmp(s->key, prefix, strlen(prefix)) == 0)
			rc = each(ctx, &o, err);
	}
	pthread_mutex_unlock(&m->lock);
	return rc;
}

static int memory_remove(struct driver *d, const char *key, struct error *err)
{
	struct memory *m = memory_of(d);
	struct stored **s, *gone;

	if (driver_check_key(key, err) < 0)
		return -1;
	pthread_mutex_lock(&m->lock);
	s = find(m, key);
	gone = *s;
	if (gone) {
		*s = gone->next;
		content_release(&gone->content);
		free(gone->key);
		free(gone);
	}
	pthread_mutex_unlock(&m->lock);
	return gone != NULL;
}

/* --- uploads --------------------------------------------------------------------------------------------------------------- */

static struct begun **find_upload(struct memory *m, const char *id)
{
	struct begun **b = &m->uploads;

	while (*b && strcmp((*b)->id, id) != 0)
		b = &(*b)->next;
	return b;
}

static void forget_upload(struct begun **b)
{
	struct begun *gone = *b;

	*b = gone->next;
	for (size_t i = 0; i < gone->parts_count; i++)
		content_release(&gone->parts[i]);
	free(gone->parts);
	free(gone->key);
	free(gone->id);
	free(gone);
}

static int fail_unknown(const struct driver_upload *u, struct error *err)
{
	return err_set(err, ERR_CONFLICT, "upload of \"%s\" is not known any more", u->key);
}

static int memory_upload_begin(
	struct driver *d, const struct driver_target *t, const char *resume_id, struct driver_upload **ret, struct error *err)
{
	struct memory *m = memory_of(d);
	struct driver_upload *u;
	struct begun *b = NULL;

	if (!(d->features & DRIVER_PARTS))
		return err_set(err, ERR_BUG, "no parts, no uploads");
	if (cancel_check(d->cancel, err) < 0 || driver_check_key(t->key, err) < 0)
		return -1;
	pthread_mutex_lock(&m->lock);
	if (resume_id) {
		b = *find_upload(m, resume_id);
	} else {
		b = mem_zalloc(sizeof(*b));
		b->key = mem_strdup(t->key);
		b->id = mem_printf("upload-%u", ++m->ids);
		b->begun_at_ms = clock_utc_ms();
		b->next = m->uploads;
		m->uploads = b;
	}
	m->handles += b != NULL;
	pthread_mutex_unlock(&m->lock);
	if (!b)
		return err_set(err, ERR_CONFLICT, "upload of \"%s\" is not known any more", t->key);
	u = mem_zalloc(sizeof(*u));
	u->memory = m;
	u->key = mem_strdup(t->key);
	u->id = mem_strdup(b->id);
	u->is_exclusive = t->is_exclusive;
	*ret = u;
	return 0;
}

static void end_handle(struct driver_upload *u)
{
	pthread_mutex_lock(&u->memory->lock);
	u->memory->handles--;
	pthread_mutex_unlock(&u->memory->lock);
	free(u->key);
	free(u->id);
	free(u);
}

static const char *memory_upload_id(const struct driver_upload *u)
{
	return u->id;
}

static void wait_inside(struct memory *m)
{
	unsigned generation = m->generation;

	if (m->hold_together == 0)
		return;
	m->held++;
	pthread_cond_broadcast(&m->changed);
	if (m->held >= m->hold_together) {
		m->generation++;
		m->held = 0;
		return;
	}
	while (m->generation == generation)
		pthread_cond_wait(&m->changed, &m->lock);
}

static int memory_upload_part(
	struct driver_upload *u, unsigned number, const void *p, size_t n, char **ret_etag, struct error *err)
{
	struct memory *m = u->memory;
	struct content c = content_of(p, n);
	struct begun *b;

	pthread_mutex_lock(&m->lock);
	m->inside++;
	if (m->inside > m->most_at_once)
		m->most_at_once = m->inside;
	wait_inside(m);
	m->inside--;
	b = *find_upload(m, u->id);
	if (b) {
		b->parts = mem_grow(b->parts, &b->parts_cap, number, sizeof(b->parts[0]));
		while (b->parts_count < number)
			b->parts[b->parts_count++] = (struct content){0};
		content_release(&b->parts[number - 1]);
		b->parts[number - 1] = c;
		*ret_etag = mem_strdup(c.etag);
	}
	pthread_mutex_unlock(&m->lock);
	if (!b)
		content_release(&c);
	return b ? 0 : fail_unknown(u, err);
}

static int memory_upload_list(struct driver_upload *u, int (*each)(void *ctx, const struct driver_part *p, struct error *err),
	void *ctx, struct error *err)
{
	struct memory *m = u->memory;
	struct begun *b;
	int rc = 0;

	pthread_mutex_lock(&m->lock);
	b = *find_upload(m, u->id);
	for (size_t i = 0; b && i < b->parts_count && rc == 0; i++) {
		struct driver_part p = {.number = (unsigned)i + 1, .bytes = b->parts[i].n, .etag = b->parts[i].etag};

		if (p.etag)
			rc = each(ctx, &p, err);
	}
	pthread_mutex_unlock(&m->lock);
	return b ? rc : fail_unknown(u, err);
}

/* As S3 does it: every part but the last must have 5 MiB, and be the one whose etag is named. */
static int join_locked(
	struct begun *b, const struct driver_part *parts, size_t parts_count, struct content *ret, struct error *err)
{
	size_t n = 0;

	for (size_t i = 0; i < parts_count; i++) {
		struct content *c = parts[i].number - 1 < b->parts_count ? &b->parts[parts[i].number - 1] : NULL;

		if (!c || !c->etag || !parts[i].etag || strcmp(c->etag, parts[i].etag) != 0)
			return err_set(err, ERR_CORRUPT, "part %u of \"%s\" is not what was sent", parts[i].number, b->key);
		if (i + 1 < parts_count && c->n < DRIVER_PART_MIN_BYTES)
			return err_set(err, ERR_FAILED, "part %u of \"%s\" is too small", parts[i].number, b->key);
		ret->p = mem_realloc(ret->p, n + c->n + 1);
		memcpy(ret->p + n, c->p, c->n);
		n += c->n;
	}
	ret->n = n;
	ret->etag = mem_printf("joined-%zu", parts_count);
	return 0;
}

static int memory_upload_commit(struct driver_upload *u, const struct driver_part *parts, size_t parts_count, struct error *err)
{
	struct memory *m = u->memory;
	struct content c = {0};
	struct begun **b;
	int rc;

	if (cancel_check(m->base.cancel, err) < 0)
		return -1;
	pthread_mutex_lock(&m->lock);
	b = find_upload(m, u->id);
	rc = *b ? join_locked(*b, parts, parts_count, &c, err) : fail_unknown(u, err);
	if (rc < 0)
		content_release(&c);
	else
		rc = store_locked(m, u->key, u->is_exclusive, c, err);
	if (rc == 0)
		forget_upload(b);
	pthread_mutex_unlock(&m->lock);
	if (rc == 0)
		end_handle(u);
	return rc;
}

static int memory_upload_abort(struct driver_upload *u, struct error *err)
{
	struct memory *m = u->memory;
	struct begun **b;

	(void)err;
	pthread_mutex_lock(&m->lock);
	b = find_upload(m, u->id);
	if (*b)
		forget_upload(b);
	pthread_mutex_unlock(&m->lock);
	end_handle(u);
	return 0;
}

static int memory_sweep(struct driver *d, const char *prefix, int64_t older_than_ms, unsigned *ret_count, struct error *err)
{
	struct memory *m = memory_of(d);
	unsigned count = 0;

	(void)err;
	pthread_mutex_lock(&m->lock);
	for (struct begun **b = &m->uploads; *b;) {
		if (strncmp((*b)->key, prefix, strlen(prefix)) == 0 && clock_utc_ms() - (*b)->begun_at_ms >= older_than_ms) {
			forget_upload(b);
			count++;
		} else {
			b = &(*b)->next;
		}
	}
	pthread_mutex_unlock(&m->lock);
	*ret_count = count;
	return 0;
}

/* --- the driver ------------------------------------------------------------------------------------------------------------ */

static int memory_describe(struct driver *d, struct driver_state *ret, struct error *err)
{
	(void)d;
	(void)err;
	*ret = (struct driver_state){.server = mem_strdup("memory")};
	return 0;
}

static void memory_close(struct driver *d)
{
	struct memory *m = memory_of(d);
	struct error ignored cleanup(err_clear) = ERROR_INIT;

	while (m->objects)
		(void)memory_remove(d, m->objects->key, &ignored);
	while (m->uploads)
		forget_upload(&m->uploads);
	pthread_mutex_destroy(&m->lock);
	pthread_cond_destroy(&m->changed);
	free(m);
}

static const struct driver_ops memory_ops = {
	.name = "memory",
	.put = memory_put,
	.upload_begin = memory_upload_begin,
	.upload_id = memory_upload_id,
	.upload_part = memory_upload_part,
	.upload_list = memory_upload_list,
	.upload_commit = memory_upload_commit,
	.upload_abort = memory_upload_abort,
	.upload_release = end_handle,
	.read_range = memory_read_range,
	.stat = memory_stat,
	.list = memory_list,
	.remove = memory_remove,
	.sweep = memory_sweep,
	.describe = memory_describe,
	.close = memory_close,
};

struct driver *memory_driver_new(unsigned features)
{
	struct memory *m = mem_zalloc(sizeof(*m));

	m->base = (struct driver){.ops = &memory_ops, .features = features};
	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->changed, NULL);
	return &m->base;
}

const char *memory_driver_object(struct driver *d, const char *key, size_t *ret_bytes)
{
	struct memory *m = memory_of(d);
	struct stored *s;

	pthread_mutex_lock(&m->lock);
	s = *find(m, key);
	pthread_mutex_unlock(&m->lock);
	if (s)
		*ret_bytes = s->content.n;
	return s ? s->content.p : NULL;
}

unsigned memory_driver_uploads(struct driver *d)
{
	struct memory *m = memory_of(d);
	unsigned count = 0;

	pthread_mutex_lock(&m->lock);
	for (struct begun *b = m->uploads; b; b = b->next)
		count++;
	pthread_mutex_unlock(&m->lock);
	return count;
}

unsigned memory_driver_handles(struct driver *d)
{
	struct memory *m = memory_of(d);
	unsigned count;

	pthread_mutex_lock(&m->lock);
	count = m->handles;
	pthread_mutex_unlock(&m->lock);
	return count;
}

unsigned memory_driver_most_at_once(struct driver *d)
{
	struct memory *m = memory_of(d);
	unsigned count;

	pthread_mutex_lock(&m->lock);
	count = m->most_at_once;
	pthread_mutex_unlock(&m->lock);
	return count;
}

void memory_driver_hold(struct driver *d, unsigned together)
{
	struct memory *m = memory_of(d);

	pthread_mutex_lock(&m->lock);
	m->hold_together = together;
	m->held = 0;
	m->generation++;
	pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->lock);
}

void memory_driver_wait_held(struct driver *d, unsigned count)
{
	struct memory *m = memory_of(d);

	pthread_mutex_lock(&m->lock);
	while (m->held < count)
		pthread_cond_wait(&m->changed, &m->lock);
	pthread_mutex_unlock(&m->lock);
}

void memory_driver_spoil_part(struct driver *d, unsigned number)
{
	struct memory *m = memory_of(d);
	struct content *c;

	pthread_mutex_lock(&m->lock);
	c = &m->uploads->parts[number - 1];
	c->p[0] ^= 1;
	c->etag[0] = c->etag[0] == '0' ? '1' : '0';
	pthread_mutex_unlock(&m->lock);
}

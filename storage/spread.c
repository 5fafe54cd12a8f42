/*
 * Each target has a lane: plain bytes → [age encryptor] → stored bytes → checksum, spool, upload.  The lane of a target that was
 * left goes on as far as its checksum and its spool, so that both are complete whatever became of the upload.
 */
#include "storage/spread.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct spread_lane {
	struct spread *spread;
	struct spread_target *target;
	struct upload *upload; /* NULL: not begun, failed or left */
	struct driver *spool_place;
	struct upload *spool; /* NULL: none, or given up */
	struct age_encryptor *encryptor;
	struct xxh3_128 digest;
	char *key;
	pthread_mutex_t lock; /* over target->upload */
	/* Ends the parts of this lane that are on their way, and no others: its place has it as its token meanwhile. */
	struct cancel cancel, *outer;
	bool has_cancel;
};

struct spread {
	struct spread_options options;
};

static const char *const state_names[] = {
	[SPREAD_OPEN] = "open",
	[SPREAD_DONE] = "done",
	[SPREAD_LEFT] = "left",
	[SPREAD_FAILED] = "failed",
};

const char *spread_state_name(enum spread_state s)
{
	return state_names[s];
}

int spread_state_parse(const char *name, enum spread_state *ret)
{
	for (size_t i = 0; i < array_len(state_names); i++) {
		if (strcmp(state_names[i], name) == 0) {
			*ret = (enum spread_state)i;
			return 0;
		}
	}
	return -1;
}

void spread_target_release(struct spread_target *t)
{
	err_clear(&t->failure);
	upload_state_release(&t->upload);
	age_key_release(&t->key);
	buf_release(&t->header);
	free(t->spool_key);
	t->spool_key = NULL;
	texts_free(t->recipients);
	t->recipients = NULL;
}

static bool is_remote(const struct spread_target *t)
{
	return t->repository && (t->repository->place->features & DRIVER_REMOTE);
}

static bool is_plain_and_near(const struct spread_target *t)
{
	return t->state != SPREAD_FAILED && !is_remote(t) && !t->repository->is_encrypted;
}

/* Whether the target's bytes will be found again: in its spool, or made again from a plain local archive. */
static bool is_backed(const struct spread *s, const struct spread_target *t)
{
	for (size_t i = 0; is_remote(t) && i < s->options.targets_count; i++)
		if (is_plain_and_near(&s->options.targets[i]))
			return true;
	return is_remote(t) && t->spool_key;
}

void spread_target_lock(struct spread_target *t)
{
	if (t->lane)
		pthread_mutex_lock(&t->lane->lock);
}

void spread_target_unlock(struct spread_target *t)
{
	if (t->lane)
		pthread_mutex_unlock(&t->lane->lock);
}

/* --- a lane's end ---------------------------------------------------------------------------------------------------------- */

/* Without waiting for parts that a place does not take. */
static void let_go(struct spread_lane *l)
{
	if (l->has_cancel)
		cancel_request(&l->cancel, CANCEL_FAILED);
	upload_release(take_ptr(l->upload));
	if (l->has_cancel)
		cancel_reset(&l->cancel);
}

static void lane_free(struct spread_lane *l)
{
	if (!l)
		return;
	l->target->lane = NULL;
	upload_abort(l->upload);
	if (l->has_cancel) {
		driver_set_cancel(l->target->repository->place, l->outer);
		cancel_release(&l->cancel);
	}
	upload_abort(l->spool);
	if (l->spool_place)
		l->spool_place->ops->close(l->spool_place);
	age_encryptor_free(l->encryptor);
	xxh3_128_release(&l->digest);
	pthread_mutex_destroy(&l->lock);
	free(l->key);
	free(l);
}

/* Takes the error over.  A target that is backed is left for later, another one is given up. */
static void lane_lost(struct spread_lane *l, struct error *failure)
{
	struct spread_target *t = l->target;
	bool is_cancelled = failure->class == ERR_CANCELLED, is_left = !is_cancelled && is_backed(l->spread, t);

	err_context(failure, "repository \"%s\"", t->repository->name);
	err_move(&t->failure, failure);
	t->state = is_left ? SPREAD_LEFT : SPREAD_FAILED;
	if (is_left) {
		let_go(l);
	} else {
		upload_abort(take_ptr(l->upload));
		upload_abort(take_ptr(l->spool));
	}
	/* The only one's failure is the caller's to tell. */
	if (is_left || (!is_cancelled && l->spread->options.targets_count > 1))
		event_text(l->spread->options.events, EVENT_WARNING, "%s; %s", t->failure.message,
			is_left ? "the rest follows later" : "given up for this run");
}

static void lane_spool_lost(struct spread_lane *l, struct error *failure)
{
	struct spread_target *t = l->target;

	upload_abort(take_ptr(l->spool));
	event_text(l->spread->options.events, EVENT_WARNING, "spool of repository \"%s\": %s; going on without it",
		t->repository->name, failure->message);
	free(t->spool_key);
	t->spool_key = NULL;
	if (t->state == SPREAD_LEFT && !is_backed(l->spread, t))
		lane_lost(l, failure); /* it could be gone on with from nowhere */
	err_clear(failure);
}

/* --- a lane's way ---------------------------------------------------------------------------------------------------------- */

/* Bytes as they are stored.  What fails concerns this lane alone. */
static void lane_store(struct spread_lane *l, const void *p, size_t n)
{
	struct error failure cleanup(err_clear) = ERROR_INIT;

	if (l->spool && upload_write(l->spool, p, n, &failure) < 0)
		lane_spool_lost(l, &failure);
	if (l->upload && upload_write(l->upload, p, n, &failure) < 0)
		lane_lost(l, &failure);
}

static int lane_store_body(void *ctx, const void *p, size_t n, struct error *err)
{
	struct spread_lane *l = ctx;

	(void)err;
	xxh3_128_update(&l->digest, p, n);
	l->target->archive.body_bytes += n;
	lane_store(l, p, n);
	return 0;
}

static int lane_write(struct spread_lane *l, const void *p, size_t n, struct error *err)
{
	return l->encryptor ? age_encryptor_write(l->encryptor, p, n, err) : lane_store_body(l, p, n, err);
}

/* --- beginning ------------------------------------------------------------------------------------------------------------- */

static int note_begin(void *ctx, const struct upload_state *s, struct error *err)
{
	struct spread_lane *l = ctx;
	const struct spread_options *o = &l->spread->options;

	pthread_mutex_lock(&l->lock);
	l->target->upload.id = mem_strdup(s->id);
	l->target->upload.part_bytes = s->part_bytes;
	pthread_mutex_unlock(&l->lock);
	return o->on_begin ? o->on_begin(o->ctx, l->target, err) : 0;
}

static int note_part(void *ctx, const struct driver_part *p, struct error *err)
{
	struct spread_lane *l = ctx;
	const struct spread_options *o = &l->spread->options;

	pthread_mutex_lock(&l->lock);
	upload_state_add(&l->target->upload, p);
	pthread_mutex_unlock(&l->lock);
	return o->on_part ? o->on_part(o->ctx, l->target, err) : 0;
}

static int begin_spool(struct spread_lane *l, struct error *err)
{
	struct upload_options o = {.target = {.key = l->target->spool_key, .tag = l->spread->options.tag}};

	if (!l->target->spool_key)
		return 0;
	if (driver_local_open(l->target->repository->spool_dir, true, &l->spool_place, err) < 0)
		return -1;
	o.driver = l->spool_place;
	l->spool_place->cancel = l->target->repository->place->cancel;
	return upload_open(&o, &l->spool, err);
}

static int begin_cancel(struct spread_lane *l, struct error *err)
{
	struct driver *place = l->target->repository->place;

	if (!is_remote(l->target))
		return 0;
	l->outer = place->cancel;
	if (cancel_init(&l->cancel, l->outer, err) < 0)
		return -1;
	driver_set_cancel(place, &l->cancel);
	l->has_cancel = true;
	return 0;
}

static int begin_upload(struct spread_lane *l, struct error *err)
{
	const struct spread_options *so = &l->spread->options;
	const struct upload_options o = {
		.driver = l->target->repository->place,
		.target = {.key = l->key, .tag = so->tag, .is_exclusive = true},
		.expected_bytes = so->expected_bytes,
		.is_resumable = is_backed(l->spread, l->target),
		.patience_ms = is_backed(l->spread, l->target) ? SPREAD_PATIENCE_MS : 0,
		.on_begin = note_begin,
		.on_part = note_part,
		.ctx = l,
	};

	return upload_open(&o, &l->upload, err);
}

/* The header goes before everything, and is no part of the body. */
static int begin_encryption(struct spread_lane *l, struct error *err)
{
	struct spread_target *t = l->target;

	if (!t->repository->is_encrypted)
		return 0;
	if (age_header_create(t->repository->recipients, &t->key, &t->header, err) < 0)
		return -1;
	t->archive.header_bytes = t->key.header_bytes;
	l->encryptor = age_encryptor_new(&t->key, lane_store_body, l);
	lane_store(l, t->header.data, t->key.header_bytes);
	return lane_store_body(l, t->header.data + t->key.header_bytes, t->header.len - t->key.header_bytes, err);
}

static void open_lane(struct spread *s, struct spread_target *t)
{
	struct error failure cleanup(err_clear) = ERROR_INIT;
	struct spread_lane *l = mem_zalloc(sizeof(*l));
	int rc;

	l->spread = s;
	l->target = t;
	l->key = repository_stored_key(t->repository, s->options.stack, s->options.backup_id, SET_ARCHIVE);
	xxh3_128_init(&l->digest);
	pthread_mutex_init(&l->lock, NULL);
	t->lane = l;
	t->state = SPREAD_OPEN;
	rc = repository_check_writable(t->repository, &failure);
	if (rc == 0 && begin_spool(l, &failure) < 0)
		lane_spool_lost(l, &failure);
	if (rc == 0)
		rc = begin_cancel(l, &failure) < 0 ? -1 : begin_upload(l, &failure);
	if (rc < 0)
		lane_lost(l, &failure);
	if (t->state == SPREAD_OPEN && begin_encryption(l, &failure) < 0)
		lane_lost(l, &failure);
}

static int first_failure(const struct spread *s, struct error *err)
{
	for (size_t i = 0; i < s->options.targets_count; i++)
		if (s->options.targets[i].failure.class != ERR_NONE)
			return err_copy(err, &s->options.targets[i].failure);
	return err_set(err, ERR_BUG, "there is no repository to write to");
}

/* One that was left, and whose backing has failed since, is not. */
static bool is_alive(const struct spread *s, const struct spread_target *t)
{
	return t->state == SPREAD_LEFT ? is_backed(s, t) : t->state != SPREAD_FAILED;
}

static bool is_any_alive(const struct spread *s)
{
	for (size_t i = 0; i < s->options.targets_count; i++)
		if (is_alive(s, &s->options.targets[i]))
			return true;
	return false;
}

int spread_open(const struct spread_options *o, struct spread **ret, struct error *err)
{
	struct spread *s = mem_zalloc(sizeof(*s));

	s->options = *o;
	for (size_t i = 0; i < o->targets_count; i++)
		if (o->targets[i].state != SPREAD_FAILED)
			open_lane(s, &o->targets[i]);
	if (!is_any_alive(s)) {
		first_failure(s, err);
		spread_abort(s);
		return -1;
	}
	*ret = s;
	return 0;
}

/* --- writing --------------------------------------------------------------------------------------------------------------- */

int spread_write(struct spread *s, const void *p, size_t n, struct error *err)
{
	struct error failure cleanup(err_clear) = ERROR_INIT;

	for (size_t i = 0; i < s->options.targets_count; i++) {
		struct spread_target *t = &s->options.targets[i];

		if (t->state != SPREAD_FAILED && lane_write(t->lane, p, n, &failure) < 0)
			lane_lost(t->lane, &failure);
	}
	return is_any_alive(s) ? 0 : first_failure(s, err);
}

/* --- ending ---------------------------------------------------------------------------------------------------------------- */

static int finish_lane(struct spread_lane *l, struct error *err)
{
	if (l->encryptor && age_encryptor_finish(l->encryptor, err) < 0)
		return -1;
	xxh3_128_final(&l->digest, l->target->archive.body_digest);
	return 0;
}

/* The upload of a backed target is waited for later. */
static void commit_lane(struct spread_lane *l)
{
	struct error failure cleanup(err_clear) = ERROR_INIT;
	struct spread_target *t = l->target;

	if (finish_lane(l, &failure) < 0) {
		lane_lost(l, &failure);
		return;
	}
	if (t->state == SPREAD_FAILED)
		return;
	if (is_backed(l->spread, t)) {
		t->state = SPREAD_LEFT;
		if (l->spool && upload_commit(take_ptr(l->spool), &failure) < 0)
			lane_spool_lost(l, &failure);
		return;
	}
	if (!l->upload) { /* it was left, and what it was to be gone on with from has failed since */
		t->state = SPREAD_FAILED;
		return;
	}
	if (upload_commit(take_ptr(l->upload), &failure) < 0) {
		lane_lost(l, &failure);
		return;
	}
	t->state = SPREAD_DONE;
}

static void spread_free(struct spread *s)
{
	for (size_t i = 0; i < s->options.targets_count; i++)
		lane_free(s->options.targets[i].lane);
	free(s);
}

int spread_commit(struct spread *s, struct error *err)
{
	/* What is near first: it is what the others are backed by. */
	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; i < s->options.targets_count; i++)
			if (is_remote(&s->options.targets[i]) == (pass == 1) && s->options.targets[i].state != SPREAD_FAILED)
				commit_lane(s->options.targets[i].lane);
	for (size_t i = 0; i < s->options.targets_count; i++)
		if (!is_alive(s, &s->options.targets[i]))
			s->options.targets[i].state = SPREAD_FAILED;
	return is_any_alive(s) ? 0 : first_failure(s, err);
}

/* Its failure is no event: what was left is gone on with at once. */
static void finish_upload(struct spread_lane *l)
{
	struct spread_target *t = l->target;

	err_clear(&t->failure);
	if (upload_commit(take_ptr(l->upload), &t->failure) == 0)
		t->state = SPREAD_DONE;
	else
		err_context(&t->failure, "repository \"%s\"", t->repository->name);
}

void spread_finish(struct spread *s)
{
	for (size_t i = 0; i < s->options.targets_count; i++) {
		struct spread_target *t = &s->options.targets[i];

		if (t->state == SPREAD_LEFT && t->lane && t->lane->upload)
			finish_upload(t->lane);
	}
	spread_free(s);
}

void spread_abort(struct spread *s)
{
	if (s)
		spread_free(s);
}

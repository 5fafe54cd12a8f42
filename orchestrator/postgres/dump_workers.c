/*
 * The workers: each has a connection, a stream of the sink, and takes pieces from one queue.
 *
 * The first error stops everybody: it is kept, the token that all connections poll fires, statements are cancelled on the server.
 * The leader watches meanwhile who waits behind its locks, copies what workers hand it (see snapshot.c), and ends its transaction,
 * and with it the snapshot, the moment the last row is copied and pg_dump has ended.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/clock.h"
#include "orchestrator/postgres/dump_private.h"
#include "orchestrator/postgres/snapshot.h"

#define WATCH_MS 2000
#define TICK_MS 200
#define AGE_FIRST_MS 5000
#define AGE_WATCH_MS 20000

/* Who copies: a worker's connection or the leader's, and the stream its rows go to. */
struct copier {
	struct dump *d;
	struct pg *pg;
	void *stream;
	bool is_leader;
	size_t table;        /* of the piece in hand */
	size_t locked_table; /* locked already, counted from 1 */
};

struct worker {
	struct dump *d;
	int number;
	pthread_t thread;
	bool is_started;
};

void dump_fail(struct dump *d, struct error *err)
{
	pthread_mutex_lock(&d->mutex);
	if (!d->is_failed) {
		d->is_failed = true;
		err_move(&d->error, err);
	}
	pthread_cond_broadcast(&d->changed);
	pthread_mutex_unlock(&d->mutex);
	err_clear(err);
	cancel_request(&d->stop, CANCEL_FAILED);
}

/* --- one piece ---------------------------------------------------------------------------------------------------------- */

static unsigned next_number(void *ctx)
{
	struct copier *c = ctx;
	unsigned n;

	pthread_mutex_lock(&c->d->mutex);
	n = c->d->tables[c->table].next_number++;
	pthread_mutex_unlock(&c->d->mutex);
	return n;
}

static int piece_done(void *ctx, const struct copy_out_piece *piece, struct error *err)
{
	struct copier *c = ctx;
	struct inv_table *t = &c->d->inv.tables[c->table];

	(void)err;
	pthread_mutex_lock(&c->d->mutex);
	t->members = mem_grow(t->members, &c->d->tables[c->table].cap, t->members_count + 1, sizeof(*t->members));
	t->members[t->members_count++] = piece->member;
	t->rows += piece->rows;
	t->content_bytes += piece->content_bytes;
	row_digest_add(&t->digest, &piece->digest);
	pthread_mutex_unlock(&c->d->mutex);
	return 0;
}

static int copy_piece(struct copier *c, const struct dump_piece *p, struct error *err)
{
	struct dump *d = c->d;
	const struct inv_table *t = &d->inv.tables[p->table];
	char *sql cleanup(mem_freep) = copy_out_sql(t, p->is_whole ? NULL : &p->range);
	const struct copy_out out = {
		.pg = c->pg,
		.sink = d->sink,
		.stream = c->stream,
		.table = t,
		.held_limit_bytes = d->o.held_limit_bytes ? d->o.held_limit_bytes : DUMP_DEFAULT_HELD_BYTES,
		.progress = d->o.progress,
		.next_number = next_number,
		.piece_done = piece_done,
		.ctx = c,
	};

	c->table = p->table;
	if (copy_out_run(&out, sql, err) < 0) {
		snapshot_mark_changed(err);
		return t->kind == INV_LARGE_OBJECTS ? err_context(err, "could not copy large objects")
						    : err_context(err, "could not copy table \"%s.%s\"", t->schema, t->name);
	}
	progress_item(d->o.progress);
	return 0;
}

/* 1: locked; 0: handed to the leader */
static int lock_piece(struct copier *c, size_t piece, struct error *err)
{
	struct dump *d = c->d;
	size_t table = d->pieces.list[piece].table;
	const struct inv_table *t = &d->inv.tables[table];
	int rc;

	if (t->kind == INV_LARGE_OBJECTS || c->locked_table == table + 1)
		return 1;
	rc = snapshot_lock_now(c->pg, t->schema, t->name, err);
	if (rc < 0) {
		snapshot_mark_changed(err);
		return err_context(err, "could not lock table \"%s.%s\"", t->schema, t->name);
	}
	c->locked_table = rc == 1 ? table + 1 : 0; /* the one before was given up */
	if (rc == 1)
		return 1;
	pthread_mutex_lock(&d->mutex);
	d->handed = mem_grow(d->handed, &d->handed_cap, d->handed_count + 1, sizeof(*d->handed));
	d->handed[d->handed_count++] = piece;
	pthread_cond_broadcast(&d->changed);
	pthread_mutex_unlock(&d->mutex);
	return 0;
}

/* --- workers ------------------------------------------------------------------------------------------------------------ */

static bool take_piece(struct dump *d, size_t *ret)
{
	bool is_there;

	pthread_mutex_lock(&d->mutex);
	is_there = d->next_piece < d->pieces.count && !d->is_failed;
	if (is_there)
		*ret = d->next_piece++;
	pthread_mutex_unlock(&d->mutex);
	return is_there;
}

static int copy_pieces(struct copier *c, struct error *err)
{
	size_t piece;

	while (take_piece(c->d, &piece)) {
		int rc = lock_piece(c, piece, err);

		if (rc < 0 || (rc == 1 && copy_piece(c, &c->d->pieces.list[piece], err) < 0))
			return -1;
	}
	return pg_exec(c->pg, "COMMIT", NULL, err);
}

static int work(struct worker *w, struct error *err)
{
	struct dump *d = w->d;
	char *what cleanup(mem_freep) = mem_printf("dump worker %d", w->number);
	const struct pg_options o = {.conninfo = d->o.conninfo, .what = what, .cancel = &d->stop, .is_pinned = true};
	struct pg pg cleanup(pg_close) = {0};
	struct copier c = {.d = d, .pg = &pg};
	int rc;

	if (pg_open(&o, &pg, err) < 0 || copy_out_prepare(&pg, err) < 0 || snapshot_join(&pg, d->snapshot, err) < 0 ||
		d->sink->stream_open(d->sink->ctx, &c.stream, err) < 0)
		return -1;
	rc = copy_pieces(&c, err);
	d->sink->stream_close(c.stream);
	return rc;
}

static void *worker_thread(void *arg)
{
	struct worker *w = arg;
	struct error err cleanup(err_clear) = ERROR_INIT;

	if (work(w, &err) < 0)
		dump_fail(w->d, &err);
	pthread_mutex_lock(&w->d->mutex);
	w->d->working--;
	pthread_cond_broadcast(&w->d->changed);
	pthread_mutex_unlock(&w->d->mutex);
	return NULL;
}

/* --- the leader --------------------------------------------------------------------------------------------------------- */

struct watch {
	int64_t next_ms, waiting_since_ms;
	bool is_told;
	int64_t next_age_ms;
	bool is_age_told;
};

/* Told, and no more: how old a backup's snapshot may get is for those to say who run the database. */
static int watch_age(struct dump *d, struct watch *w, struct error *err)
{
	const struct pg_options o = {.conninfo = d->o.conninfo, .what = "dump watch", .cancel = &d->stop};
	int64_t now = clock_mono_ms(), age, bound;
	struct error failed cleanup(err_clear) = ERROR_INIT;
	int rc;

	if (w->is_age_told || now < w->next_age_ms)
		return 0;
	w->next_age_ms = now + AGE_WATCH_MS;
	rc = snapshot_age(&o, d->leader.backend_pid, &age, &bound, &failed);
	if (rc < 0 && failed.class == ERR_CANCELLED)
		return err_move(err, &failed);
	if (rc < 0)
		event_text(d->o.events, EVENT_DEBUG, "could not ask for the age of the snapshot: %s", failed.message);
	if (rc <= 0 || age < bound)
		return 0;
	w->is_age_told = true;
	event_text(d->o.events, EVENT_WARNING,
		"the snapshot of the dump is %" PRId64
		" transactions old: until it ends vacuum cannot clean up behind it, and from"
		" autovacuum_freeze_max_age on autovacuum runs against wraparound",
		age);
	return 0;
}

/* An exclusive lock that queues behind ours stops everybody behind it: we give way rather than hold up the application. */
static int watch(struct dump *d, struct watch *w, struct error *err)
{
	int64_t limit_ms = d->o.lock_wait_ms ? d->o.lock_wait_ms : DUMP_DEFAULT_LOCK_WAIT_MS, now = clock_mono_ms();
	char *who cleanup(mem_freep) = NULL;
	int rc;

	if (now < w->next_ms)
		return 0;
	w->next_ms = now + WATCH_MS;
	rc = snapshot_waiting(&d->leader, &who, err);
	if (rc < 0)
		return err_context(err, "could not look after the snapshot");
	if (rc == 0) {
		w->waiting_since_ms = 0;
		w->is_told = false;
		return 0;
	}
	if (!w->waiting_since_ms)
		w->waiting_since_ms = now;
	if (!w->is_told)
		event_text(d->o.events, EVENT_WARNING,
			"a lock is waited for behind the dump, which gives way after %" PRId64 " ms: %s", limit_ms, who);
	w->is_told = true;
	if (now - w->waiting_since_ms < limit_ms)
		return 0;
	err_set(err, ERR_RETRY, "gave way to a lock that was waited for behind the dump longer than %" PRId64 " ms", limit_ms);
	return err_detail(err, "Waiting: %s", who);
}

/* 1: *ret_piece is to be copied; 0: something may have changed; -1: all is done. */
static int await(struct dump *d, size_t *ret_piece)
{
	struct timespec until;
	int rc = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += TICK_MS * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000L;
	until.tv_nsec %= 1000000000L;
	pthread_mutex_lock(&d->mutex);
	if (d->handed_next == d->handed_count && d->working && !d->is_failed)
		pthread_cond_timedwait(&d->changed, &d->mutex, &until);
	if (d->is_failed) {
		rc = -1;
	} else if (d->handed_next < d->handed_count) {
		*ret_piece = d->handed[d->handed_next++];
		rc = 1;
	} else if (!d->working) {
		/* pg_dump may take longer than the rows: only its end releases us */
		if (d->is_schema_dumped)
			rc = -1;
		else
			pthread_cond_timedwait(&d->changed, &d->mutex, &until);
	}
	pthread_mutex_unlock(&d->mutex);
	return rc;
}

static int lead(struct dump *d, struct error *err)
{
	struct copier c = {.d = d, .pg = &d->leader, .is_leader = true};
	struct watch w = {.next_ms = clock_mono_ms() + WATCH_MS, .next_age_ms = clock_mono_ms() + AGE_FIRST_MS};
	size_t piece = 0;
	int rc = 0, state;

	while (rc == 0 && (state = await(d, &piece)) >= 0) {
		if (state == 1 && !c.stream)
			rc = d->sink->stream_open(d->sink->ctx, &c.stream, err);
		if (rc == 0 && state == 1)
			rc = copy_piece(&c, &d->pieces.list[piece], err);
		if (rc == 0)
			rc = cancel_check(&d->stop, err);
		if (rc == 0)
			rc = watch(d, &w, err);
		if (rc == 0)
			rc = watch_age(d, &w, err);
	}
	if (c.stream)
		d->sink->stream_close(c.stream);
	if (rc == 0)
		rc = pg_exec(&d->leader, "COMMIT", NULL, err);
	return rc;
}

static int start_workers(struct dump *d, struct worker *list, int n, struct error *err)
{
	for (int i = 0; i < n; i++) {
		list[i] = (struct worker){.d = d, .number = i + 1};
		pthread_mutex_lock(&d->mutex);
		d->working++;
		pthread_mutex_unlock(&d->mutex);
		if (pthread_create(&list[i].thread, NULL, worker_thread, &list[i]) != 0) {
			pthread_mutex_lock(&d->mutex);
			d->working--;
			pthread_mutex_unlock(&d->mutex);
			return err_set(err, ERR_FULL, "could not start a thread");
		}
		list[i].is_started = true;
	}
	return 0;
}

int dump_workers_run(struct dump *d, int (*meanwhile)(struct dump *d, struct error *err), struct error *err)
{
	int n = d->o.jobs > 0 ? d->o.jobs : DUMP_DEFAULT_JOBS;
	struct worker *list cleanup(mem_freep) = mem_zalloc((size_t)n * sizeof(*list));
	int rc = start_workers(d, list, n, err);

	if (rc == 0)
		rc = meanwhile(d, err);
	if (rc == 0)
		rc = lead(d, err);
	if (rc < 0)
		dump_fail(d, err);
	for (int i = 0; i < n; i++)
		if (list[i].is_started)
			pthread_join(list[i].thread, NULL);
	return rc;
}

/*
 * A member of the archive into a table by COPY.  The caller's transaction commits only after the source has said that the bytes
 * were the ones their SHA-256 stands for, so that no unproven byte is ever committed.
 *
 * A large member is read and decompressed by a thread of its own, a few blocks ahead of the connection, so that the server does not
 * wait while the next block is made.
 */
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "orchestrator/postgres/restore_private.h"

#define SEND_BYTES ((size_t)256 << 10)
#define AHEAD_BLOCKS 4                       /* of SEND_BYTES */
#define AHEAD_FROM_BYTES ((uint64_t)2 << 20) /* a smaller member is not worth a thread */

char *copy_in_sql(const struct inv_table *t, const char *schema, bool is_frozen)
{
	char *name cleanup(mem_freep) = pg_qualified(schema ? schema : t->schema, t->name);
	struct buf sql = {0};

	buf_printf(&sql, "COPY %s", name);
	for (size_t i = 0; i < t->columns_count; i++) {
		char *column cleanup(mem_freep) = pg_ident(t->columns[i]);

		buf_printf(&sql, "%s%s", i ? ", " : " (", column);
	}
	buf_printf(&sql, "%s FROM STDIN%s", t->columns_count ? ")" : "", is_frozen ? " WITH (FREEZE)" : "");
	return buf_take(&sql);
}

struct copy {
	struct pg *pg;
	struct progress *progress;
};

static int send_block(void *arg, const char *p, size_t n, struct error *err)
{
	struct copy *c = arg;

	while (n) {
		size_t part = n < SEND_BYTES ? n : SEND_BYTES;
		int sent = c->pg->conn ? PQputCopyData(c->pg->conn, p, (int)part) : -1;

		if (sent < 0)
			return c->pg->conn ? pg_error(c->pg, NULL, err, "could not send rows")
					   : err_set(err, ERR_RETRY, "connection was closed");
		if (pg_flush(c->pg, err) < 0)
			return -1;
		if (sent == 0)
			continue;
		p += part;
		n -= part;
		progress_add(c->progress, part, 0);
	}
	return 0;
}

/* Reads every result up to the end; the first failure is the one told. */
static int end_copy(struct pg *pg, const char *sql, uint64_t *ret_rows, struct error *err)
{
	int rc = 0;

	for (;;) {
		PGresult *res cleanup(pg_clearp) = NULL;

		if (pg_next_result(pg, &res, err) < 0)
			return -1;
		if (!res)
			return rc;
		if (rc == 0 && PQresultStatus(res) != PGRES_COMMAND_OK)
			rc = pg_error(pg, res, err, "%.*s failed", (int)strcspn(sql, "("), sql);
		else if (rc == 0)
			*ret_rows = strtoull(PQcmdTuples(res), NULL, 10);
	}
}

/* Tells the server that the rest will not come, and waits for its answer; what stopped us is already in the caller's error. */
static void give_up(struct pg *pg)
{
	struct error ignored cleanup(err_clear) = ERROR_INIT;
	uint64_t rows;

	if (pg->conn && PQtransactionStatus(pg->conn) == PQTRANS_ACTIVE && PQputCopyEnd(pg->conn, "rows could not be read") > 0 &&
		end_copy(pg, "COPY", &rows, &ignored) < 0)
		return;
}

/* --- reading ahead ------------------------------------------------------------------------------------------------------- */

/* A ring of blocks between the thread that reads and the one that sends. */
struct ahead {
	const struct restore_source *source;
	const struct inv_member *member;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	char *blocks; /* AHEAD_BLOCKS of SEND_BYTES */
	size_t used[AHEAD_BLOCKS];
	size_t first, count; /* filled */
	bool is_at_end, is_given_up;
	int rc;
	struct error err; /* of the reader; ours once it has ended */
};

/* Room for one more block, or NULL: nobody sends any more. */
static char *ahead_room(struct ahead *a, size_t *ret_slot)
{
	char *room = NULL;

	pthread_mutex_lock(&a->lock);
	while (a->count == AHEAD_BLOCKS && !a->is_given_up)
		pthread_cond_wait(&a->changed, &a->lock);
	*ret_slot = (a->first + a->count) % AHEAD_BLOCKS;
	if (!a->is_given_up)
		room = a->blocks + *ret_slot * SEND_BYTES;
	pthread_mutex_unlock(&a->lock);
	return room;
}

static int ahead_put(void *arg, const char *p, size_t n, struct error *err)
{
	struct ahead *a = arg;

	while (n) {
		size_t part = n < SEND_BYTES ? n : SEND_BYTES, slot;
		char *room = ahead_room(a, &slot);

		if (!room)
			return err_set(err, ERR_CANCELLED, "rows are not sent any more");
		memcpy(room, p, part);
		pthread_mutex_lock(&a->lock);
		a->used[slot] = part;
		a->count++;
		pthread_cond_broadcast(&a->changed);
		pthread_mutex_unlock(&a->lock);
		p += part;
		n -= part;
	}
	return 0;
}

static void *ahead_read(void *arg)
{
	struct ahead *a = arg;
	int rc = a->source->read(a->source->ctx, a->member, ahead_put, a, &a->err);

	pthread_mutex_lock(&a->lock);
	a->rc = rc;
	a->is_at_end = true;
	pthread_cond_broadcast(&a->changed);
	pthread_mutex_unlock(&a->lock);
	return NULL;
}

/* Sends what comes, to the end or the first failure. */
static int ahead_send(struct ahead *a, struct copy *c, struct error *err)
{
	int rc = 0;

	pthread_mutex_lock(&a->lock);
	while (rc == 0) {
		while (!a->count && !a->is_at_end)
			pthread_cond_wait(&a->changed, &a->lock);
		if (!a->count)
			break;
		pthread_mutex_unlock(&a->lock);
		rc = send_block(c, a->blocks + a->first * SEND_BYTES, a->used[a->first], err);
		pthread_mutex_lock(&a->lock);
		a->first = (a->first + 1) % AHEAD_BLOCKS;
		a->count--;
		a->is_given_up = rc < 0;
		pthread_cond_broadcast(&a->changed);
	}
	pthread_mutex_unlock(&a->lock);
	return rc;
}

static int read_ahead(const struct restore_source *source, const struct inv_member *m, struct copy *c, struct error *err)
{
	struct ahead a = {.source = source,
		.member = m,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.changed = PTHREAD_COND_INITIALIZER,
		.blocks = mem_alloc(AHEAD_BLOCKS * SEND_BYTES)};
	pthread_t reader;
	int rc;

	if (pthread_create(&reader, NULL, ahead_read, &a) != 0) {
		free(a.blocks);
		return err_set(err, ERR_FULL, "could not start a thread");
	}
	rc = ahead_send(&a, c, err);
	pthread_join(reader, NULL);
	if (rc == 0 && a.rc < 0)
		rc = err_move(err, &a.err);
	err_clear(&a.err);
	pthread_cond_destroy(&a.changed);
	pthread_mutex_destroy(&a.lock);
	free(a.blocks);
	return rc;
}

static int send_member(const struct restore_source *source, const struct inv_member *m, struct copy *c, struct error *err)
{
	return m->content_bytes < AHEAD_FROM_BYTES ? source->read(source->ctx, m, send_block, c, err)
						   : read_ahead(source, m, c, err);
}

/* --- one member ---------------------------------------------------------------------------------------------------------- */

int copy_in_member(struct pg *pg, const char *sql, const struct inv_table *t, const struct inv_member *m,
	const struct restore_options *o, struct error *err)
{
	struct copy c = {.pg = pg, .progress = o->progress};
	PGresult *res cleanup(pg_clearp) = NULL;
	uint64_t rows = 0;

	if (pg_exec(pg, sql, &res, err) < 0)
		return -1;
	if (PQresultStatus(res) != PGRES_COPY_IN)
		return err_set(err, ERR_BUG, "server did not start to copy for \"%s\"", sql);
	if (send_member(o->source, m, &c, err) < 0) {
		give_up(pg);
		return err_context(err, "could not load member \"%s\"", m->name);
	}
	if (PQputCopyEnd(pg->conn, NULL) < 0)
		return pg_error(pg, NULL, err, "could not end the rows of member \"%s\"", m->name);
	if (end_copy(pg, sql, &rows, err) < 0)
		return err_context(err, "could not load member \"%s\"", m->name);
	if (rows != m->rows)
		return err_set(err, ERR_CORRUPT, "member \"%s\" of table \"%s.%s\" has %llu rows, the server loaded %llu",
			m->name, t->schema, t->name, (unsigned long long)m->rows, (unsigned long long)rows);
	progress_add(o->progress, 0, rows);
	return 0;
}

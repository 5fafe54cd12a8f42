/*
 * The tasks of a restore that belong to single tables, and the workers that take them.
 *
 * Tables are grouped into units: a large table is one by itself, small ones share one, so that ten thousand tables cost some hundred
 * transactions.  Each unit goes through load → build (indexes, side by side) → keys (what needs the table alone) → ANALYZE; its proof
 * reads it any time after the load.  A worker takes the heaviest task that may start.  Which may, follows from the counters of the
 * unit alone, under one lock; there is no barrier between units, so that a large table's indexes are built while others load.
 *
 * Locks of the server are not waited for but avoided: what a task locks a table with, and what that conflicts with, is in two tables
 * below.  Two transactions that both build an index and then add a constraint would deadlock; hence two tasks.
 */
#include "orchestrator/postgres/restore_private.h"

#include <stdlib.h>
#include <string.h>
#include "base/clock.h"

#define SMALL_BYTES ((uint64_t)512 << 10) /* a table of less shares a unit */
#define UNIT_BYTES ((uint64_t)4 << 20)
#define UNIT_TABLES 50
#define WHOLE_BYTES ((uint64_t)256 << 20) /* a table of less is loaded by one transaction, with FREEZE */
#define PROOF_PARTS 64
#define WHOLE_MOST_BYTES ((uint64_t)1 << 30) /* likewise, while the others keep the other workers busy; no kill costs more */

#define FOREIGN_KEY_VIOLATION "23503"

enum task_kind { TASK_LOAD, TASK_PIECE, TASK_BUILD, TASK_KEYS, TASK_ANALYZE, TASK_PROOF, TASK_FOREIGN_KEY };

/* What a task locks its tables with, as far as it matters here: after the modes of the server that they stand for. */
enum lock { LOCK_NONE, LOCK_ACCESS_SHARE, LOCK_SHARE, LOCK_SHARE_ROW_EXCLUSIVE, LOCK_ACCESS_EXCLUSIVE, LOCKS };

struct unit {
	const struct inv_table **tables;
	size_t count;
	uint64_t bytes;
	struct {
		const struct toc_entry *e;
		const struct inv_table *t;
	} * entries; /* its indexes, keys, statistics objects */
	size_t entries_count, entries_cap;
	/* under the lock of the pool */
	unsigned loads_left, builds_left, keys_left, proofs_left;
	unsigned held[LOCKS]; /* by running tasks */
	struct proof_sum sum; /* of the parts of its proof that are done */
};

struct task {
	enum task_kind kind;
	struct unit *u, *other; /* other: the referenced table of a foreign key */
	size_t number;          /* of the piece, of the part of a proof */
	size_t parts;           /* of the proof */
	const struct toc_entry *e;
	char *index_sql, *key_sql; /* of a key that was split */
	uint64_t weight;
	bool is_taken, is_put_off; /* put off: until its tables are proven */
};

struct pool {
	const struct work_options *w;
	struct unit *units;
	size_t units_count, units_cap;
	struct unit **unit_of; /* by position in inventory.tables */
	struct task *tasks;
	size_t tasks_count, tasks_cap;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	size_t left, running;
	uint64_t bytes; /* of all units */
	bool is_failed;
	struct error err;
	struct cancel cancel; /* the caller's, and "another worker failed" */
};

/* --- what to do --------------------------------------------------------------------------------------------------------- */

bool work_claims(const struct schema *s, const struct toc_entry *e, const struct inv_table **ret_table)
{
	static const char *const descs[] = {"INDEX", "CONSTRAINT", "STATISTICS"};
	const struct inv_table *table = NULL;
	bool is_early = false;

	for (size_t i = 0; i < array_len(descs); i++)
		is_early |= strcmp(e->desc, descs[i]) == 0;
	for (size_t i = 0; is_early && i < e->deps_count; i++) {
		const struct inv_table *t = schema_table(s, e->deps[i]);
		const struct toc_entry *dep = toc_find(&s->post, e->deps[i]);

		/* The index of a partition names that of its root, which need not be there first. */
		if ((t && table && t != table) ||
			(dep && strcmp(dep->desc, "INDEX") != 0 && strcmp(dep->desc, "CONSTRAINT") != 0))
			return false;
		if (t)
			table = t;
	}
	if (!is_early || !table)
		return false;
	*ret_table = table;
	return true;
}

bool work_foreign_tables(const struct schema *s, const struct toc_entry *e, const struct inv_table *ret[2])
{
	size_t n = 0;

	for (size_t i = 0; i < e->deps_count; i++) {
		const struct inv_table *t = schema_table(s, e->deps[i]);
		const struct toc_entry *pre = toc_find(&s->pre, e->deps[i]);

		if (t && n < 2 && (n == 0 || ret[0] != t))
			ret[n++] = t;
		else if (!t && pre && strcmp(pre->desc, "TABLE") == 0)
			return false; /* partitioned: its locks reach further than its name */
	}
	if (n == 1)
		ret[1] = ret[0];
	return n > 0;
}

static struct task *add_task(struct pool *p, enum task_kind kind, struct unit *u, uint64_t weight)
{
	p->tasks = mem_grow(p->tasks, &p->tasks_cap, p->tasks_count + 1, sizeof(*p->tasks));
	p->tasks[p->tasks_count] = (struct task){.kind = kind, .u = u, .weight = weight};
	return &p->tasks[p->tasks_count++];
}

static bool is_loaded(const struct work_options *w, const struct inv_table *t)
{
	for (size_t i = 0; i < t->members_count; i++)
		if (!(t->kind == INV_LARGE_OBJECTS ? done_hasf(w->done, "lo:%zu", i)
						   : done_hasf(w->done, "piece:%u:%zu", t->oid, i)))
			return false;
	return true;
}

/* FREEZE spares every later reader the first look at each row, and needs the table for one transaction alone. */
static bool is_whole(const struct pool *p, const struct inv_table *t)
{
	if (t->content_bytes <= WHOLE_BYTES)
		return true;
	return t->content_bytes <= WHOLE_MOST_BYTES && t->content_bytes <= p->bytes / restore_jobs(p->w->o);
}

static void plan_loads(struct pool *p, struct unit *u)
{
	const struct inv_table *t = u->tables[0];
	bool is_split = u->count == 1 && t->kind != INV_LARGE_OBJECTS && t->members_count > 1 && !is_whole(p, t);

	for (size_t i = 0; is_split && i < t->members_count; i++) {
		if (done_hasf(p->w->done, "piece:%u:%zu", t->oid, i))
			continue;
		add_task(p, TASK_PIECE, u, u->bytes)->number = i;
		u->loads_left++;
	}
	for (size_t i = 0; !is_split && i < u->count; i++) {
		if (is_loaded(p->w, u->tables[i]))
			continue;
		add_task(p, TASK_LOAD, u, u->bytes);
		u->loads_left++;
		return;
	}
}

/* One table of a unit by itself: each index is a task. */
static void plan_entry(struct pool *p, struct unit *u, const struct toc_entry *e)
{
	struct buf index cleanup(buf_release) = {0}, key cleanup(buf_release) = {0};
	bool is_split = strcmp(e->desc, "CONSTRAINT") == 0 && schema_split_key(e->sql, e->sql_len, &index, &key) == 1;
	struct task *t;

	if (done_hasf(p->w->done, "toc:%d", e->id))
		return;
	if (is_split && !done_hasf(p->w->done, "index:%d", e->id)) {
		t = add_task(p, TASK_BUILD, u, u->bytes * 2);
		t->e = e;
		t->index_sql = buf_take(&index);
		u->builds_left++;
	}
	if (strcmp(e->desc, "INDEX") == 0) {
		add_task(p, TASK_BUILD, u, u->bytes * 2)->e = e;
		u->builds_left++;
		return;
	}
	t = add_task(p, TASK_KEYS, u, u->bytes * 3);
	t->e = e;
	t->key_sql = is_split ? buf_take(&key) : NULL;
	u->keys_left++;
}

static bool is_any_left(const struct work_options *w, const struct unit *u, const char *what)
{
	for (size_t i = 0; i < u->count; i++)
		if (!done_hasf(w->done, "%s:%u", what, u->tables[i]->oid))
			return true;
	return false;
}

/* A large table is read in parts, by as many workers as have nothing else to do. */
static void plan_proof(struct pool *p, struct unit *u)
{
	bool is_split = p->w->o->verify == RESTORE_VERIFY_ROWS && u->count == 1 && proof_can_split(u->tables[0]);
	uint64_t part_bytes = p->w->o->proof_part_bytes ? p->w->o->proof_part_bytes : RESTORE_DEFAULT_PROOF_BYTES;
	uint64_t parts = is_split ? u->bytes / part_bytes + 1 : 1;

	if (parts > PROOF_PARTS)
		parts = PROOF_PARTS;
	for (size_t i = 0; i < parts; i++) {
		struct task *t = add_task(p, TASK_PROOF, u, u->bytes / 2);

		t->number = i;
		t->parts = parts;
		u->proofs_left++;
	}
}

static void plan_unit(struct pool *p, struct unit *u)
{
	plan_loads(p, u);
	if (u->count == 1) {
		for (size_t i = 0; i < u->entries_count; i++)
			plan_entry(p, u, u->entries[i].e);
	} else if (u->entries_count) {
		add_task(p, TASK_KEYS, u, u->bytes * 3);
		u->keys_left++;
	}
	if (u->tables[0]->kind != INV_LARGE_OBJECTS && is_any_left(p->w, u, "analyze"))
		add_task(p, TASK_ANALYZE, u, u->bytes / 16);
	if (p->w->o->verify != RESTORE_VERIFY_NONE && is_any_left(p->w, u, "proof"))
		plan_proof(p, u);
}

/* --- units -------------------------------------------------------------------------------------------------------------- */

static int compare_sizes(const void *a, const void *b)
{
	const struct inv_table *x = *(const struct inv_table *const *)a, *y = *(const struct inv_table *const *)b;

	if (x->content_bytes != y->content_bytes)
		return x->content_bytes < y->content_bytes ? 1 : -1;
	return (x->oid > y->oid) - (x->oid < y->oid);
}

static struct unit *add_unit(struct pool *p)
{
	p->units = mem_grow(p->units, &p->units_cap, p->units_count + 1, sizeof(*p->units));
	memset(&p->units[p->units_count], 0, sizeof(*p->units));
	p->units[p->units_count].tables = mem_alloc(UNIT_TABLES * sizeof(*p->units->tables));
	return &p->units[p->units_count++];
}

static void group_tables(struct pool *p)
{
	const struct inventory *inv = p->w->o->inventory;
	const struct inv_table **sorted cleanup(mem_freep) = mem_alloc((inv->tables_count + 1) * sizeof(*sorted));
	size_t n = 0, shared = SIZE_MAX; /* the unit that small tables are put into */

	for (size_t i = 0; i < inv->tables_count; i++)
		if (!p->w->is_chosen || p->w->is_chosen[i])
			sorted[n++] = &inv->tables[i];
	qsort(sorted, n, sizeof(*sorted), compare_sizes);
	for (size_t i = 0; i < n; i++) {
		bool is_small = sorted[i]->content_bytes < SMALL_BYTES && sorted[i]->kind != INV_LARGE_OBJECTS;
		struct unit *u = is_small && shared != SIZE_MAX ? &p->units[shared] : NULL;

		if (!u || u->count == UNIT_TABLES || u->bytes >= UNIT_BYTES)
			u = add_unit(p);

		u->tables[u->count++] = sorted[i];
		u->bytes += sorted[i]->content_bytes;
		p->bytes += sorted[i]->content_bytes;
		if (is_small)
			shared = (size_t)(u - p->units);
	}
	p->unit_of = mem_zalloc((inv->tables_count + 1) * sizeof(*p->unit_of));
	for (size_t i = 0; i < p->units_count; i++)
		for (size_t j = 0; j < p->units[i].count; j++)
			p->unit_of[p->units[i].tables[j] - inv->tables] = &p->units[i];
}

static void assign_entries(struct pool *p)
{
	const struct schema *s = p->w->schema;

	for (size_t i = 0; i < s->post.entries_count; i++) {
		const struct inv_table *t;
		struct unit *u;

		if (!work_claims(s, &s->post.entries[i], &t) || !(u = p->unit_of[t - p->w->o->inventory->tables]))
			continue;
		u->entries = mem_grow(u->entries, &u->entries_cap, u->entries_count + 1, sizeof(*u->entries));
		u->entries[u->entries_count].e = &s->post.entries[i];
		u->entries[u->entries_count++].t = t;
	}
}

/* --- doing it ----------------------------------------------------------------------------------------------------------- */

static int truncate_for_freeze(struct pg *pg, const struct inv_table *t, struct error *err)
{
	char *name cleanup(mem_freep) = pg_qualified(t->schema, t->name);

	return pg_execf(pg, err, "TRUNCATE ONLY %s", name);
}

/* The extension's own script may have put rows there: the backup's take their place. */
static int empty_config_table(struct pg *pg, const struct inv_table *t, struct error *err)
{
	char *name cleanup(mem_freep) = pg_qualified(t->schema, t->name);

	return pg_execf(pg, err, "DELETE FROM ONLY %s %s", name, t->condition ? t->condition : "");
}

static int load_table(struct pg *pg, const struct work_options *w, const struct inv_table *t, bool is_frozen, struct buf *values,
	struct error *err)
{
	char *sql cleanup(mem_freep) = copy_in_sql(t, NULL, is_frozen);

	if (is_frozen && truncate_for_freeze(pg, t, err) < 0)
		return -1;
	if (t->kind == INV_EXTENSION_CONFIG && empty_config_table(pg, t, err) < 0)
		return -1;
	for (size_t i = 0; i < t->members_count; i++) {
		const struct inv_member *m = &w->o->inventory->members[t->members[i]];

		if (done_hasf(w->done, "piece:%u:%zu", t->oid, i))
			continue;
		if (copy_in_member(pg, sql, t, m, w->o, err) < 0)
			return -1;
		done_put(values, "piece:%u:%zu", t->oid, i);
	}
	progress_item(w->o->progress);
	return 0;
}

static bool is_begun(const struct work_options *w, const struct inv_table *t)
{
	for (size_t i = 0; i < t->members_count; i++)
		if (done_hasf(w->done, "piece:%u:%zu", t->oid, i))
			return true;
	return false;
}

static int commit(struct pg *pg, struct buf *values, struct error *err)
{
	struct buf sql cleanup(buf_release) = {0};

	done_sql(&sql, values);
	buf_puts(&sql, "; COMMIT");
	return pg_exec(pg, buf_str(&sql), NULL, err);
}

static int do_load(struct pg *pg, const struct work_options *w, const struct task *task, struct error *err)
{
	struct buf values cleanup(buf_release) = {0};
	struct unit *u = task->u;

	if (u->tables[0]->kind == INV_LARGE_OBJECTS)
		return values_large_objects(pg, w->o, w->done, err);
	if (pg_exec(pg, "BEGIN", NULL, err) < 0)
		return -1;
	for (size_t i = 0; i < u->count; i++) {
		const struct inv_table *t = u->tables[i];
		bool is_frozen = u->count == 1 && (t->kind == INV_TABLE || t->kind == INV_UNLOGGED) && !is_begun(w, t);

		if (!is_loaded(w, t) && load_table(pg, w, t, is_frozen, &values, err) < 0)
			return err_context(err, "could not load table \"%s.%s\"", t->schema, t->name);
	}
	return commit(pg, &values, err);
}

static int do_piece(struct pg *pg, const struct work_options *w, const struct task *task, struct error *err)
{
	const struct inv_table *t = task->u->tables[0];
	char *sql cleanup(mem_freep) = copy_in_sql(t, NULL, false);
	struct buf values cleanup(buf_release) = {0};

	done_put(&values, "piece:%u:%zu", t->oid, task->number);
	if (pg_exec(pg, "BEGIN", NULL, err) < 0 ||
		copy_in_member(pg, sql, t, &w->o->inventory->members[t->members[task->number]], w->o, err) < 0 ||
		commit(pg, &values, err) < 0)
		return err_context(err, "could not load table \"%s.%s\"", t->schema, t->name);
	return 0;
}

static int do_part(struct pg *pg, const struct toc_entry *e, const char *statement, const char *item, struct error *err)
{
	struct buf sql cleanup(buf_release) = {0}, values cleanup(buf_release) = {0};

	buf_printf(&sql, "%s%s\n%s", e->set_tablespace, e->set_access_method, statement);
	done_put(&values, "%s:%d", item, e->id);
	done_sql(&sql, &values);
	if (pg_exec(pg, buf_str(&sql), NULL, err) < 0)
		return schema_entry_failed(e, err);
	return 0;
}

static int do_build(struct pg *pg, const struct work_options *w, const struct task *task, struct error *err)
{
	if (task->index_sql)
		return do_part(pg, task->e, task->index_sql, "index", err);
	return schema_run(pg, w->o, &task->e, 1, w->done, err);
}

static int do_keys(struct pg *pg, const struct work_options *w, const struct task *task, struct error *err)
{
	const struct toc_entry **entries cleanup(mem_freep) = NULL;
	struct unit *u = task->u;

	if (task->key_sql)
		return do_part(pg, task->e, task->key_sql, "toc", err);
	if (task->e)
		return schema_run(pg, w->o, &task->e, 1, w->done, err);
	entries = mem_alloc((u->entries_count + 1) * sizeof(*entries));
	for (size_t i = 0; i < u->entries_count; i++)
		entries[i] = u->entries[i].e;
	return schema_run(pg, w->o, entries, u->entries_count, w->done, err);
}

static int do_analyze(struct pg *pg, const struct work_options *w, const struct task *task, struct error *err)
{
	const struct inventory *inv = w->o->inventory;
	struct buf sql cleanup(buf_release) = {0}, values cleanup(buf_release) = {0};

	for (size_t i = 0; i < task->u->count; i++) {
		const struct inv_table *t = task->u->tables[i];
		char *name cleanup(mem_freep) = pg_qualified(t->schema, t->name);

		if (done_hasf(w->done, "analyze:%u", t->oid))
			continue;
		done_put(&values, "analyze:%u", t->oid);
		if (t->rows && !(w->is_partition && w->is_partition[t - inv->tables]))
			buf_printf(&sql, "%s %s", sql.len ? "," : "ANALYZE", name);
	}
	done_sql(&sql, &values);
	return pg_exec(pg, buf_str(&sql), NULL, err);
}

/* One part of the proof of a large table; the last to be done compares. */
static int prove_part(struct pg *pg, const struct work_options *w, const struct task *task, bool *ret_is_equal, struct error *err)
{
	struct unit *u = task->u;
	const struct inv_table *t = u->tables[0];
	bool is_last;

	if (proof_part(pg, t, w->o, w->failures, &u->sum, task->number, task->parts, &is_last, err) < 0)
		return -1;
	*ret_is_equal = is_last && proof_compare(t, &u->sum, w->failures);
	return 0;
}

static int do_proof(struct pg *pg, const struct work_options *w, const struct task *task, struct error *err)
{
	struct buf sql cleanup(buf_release) = {0}, values cleanup(buf_release) = {0};

	for (size_t i = 0; i < task->u->count; i++) {
		const struct inv_table *t = task->u->tables[i];
		bool is_equal = true;
		int rc;

		if (done_hasf(w->done, "proof:%u", t->oid))
			continue;
		rc = task->parts > 1 ? prove_part(pg, w, task, &is_equal, err)
				     : proof_table(pg, t, NULL, w->o, w->failures, &is_equal, err);
		if (rc < 0)
			return -1;
		if (is_equal)
			done_put(&values, "proof:%u", t->oid);
	}
	done_sql(&sql, &values);
	return sql.len ? pg_exec(pg, buf_str(&sql), NULL, err) : 0;
}

/* After a difference the restore has failed, and says so at the end: no time is spent on what follows. */
static int do_foreign_key(struct pg *pg, const struct work_options *w, const struct task *task, struct error *err)
{
	bool is_pointless;

	pthread_mutex_lock(&w->failures->lock);
	is_pointless = w->failures->count > 0;
	pthread_mutex_unlock(&w->failures->lock);
	if (is_pointless)
		return 0;
	return schema_run(pg, w->o, &task->e, 1, w->done, err);
}

/* --- who may start, who does it ----------------------------------------------------------------------------------------- */

static const struct {
	int (*run)(struct pg *pg, const struct work_options *w, const struct task *task, struct error *err);
	enum lock lock;
	size_t time; /* where its time goes, in struct work_times */
} kinds[] = {
	[TASK_LOAD] = {do_load, LOCK_NONE, offsetof(struct work_times, copy)},
	[TASK_PIECE] = {do_piece, LOCK_NONE, offsetof(struct work_times, copy)},
	[TASK_BUILD] = {do_build, LOCK_SHARE, offsetof(struct work_times, indexes)},
	[TASK_KEYS] = {do_keys, LOCK_ACCESS_EXCLUSIVE, offsetof(struct work_times, indexes)},
	[TASK_ANALYZE] = {do_analyze, LOCK_SHARE, offsetof(struct work_times, analyze)},
	[TASK_PROOF] = {do_proof, LOCK_ACCESS_SHARE, offsetof(struct work_times, proof)},
	[TASK_FOREIGN_KEY] = {do_foreign_key, LOCK_SHARE_ROW_EXCLUSIVE, offsetof(struct work_times, indexes)},
};

/*
 * Loads have ended when anything else begins, and ANALYZE waits for the indexes: those two need no lock of their own, and ANALYZE none
 * that differs from CREATE INDEX's.
 */
static const bool conflicts[LOCKS][LOCKS] = {
	[LOCK_ACCESS_SHARE] = {[LOCK_ACCESS_EXCLUSIVE] = true},
	[LOCK_SHARE] = {[LOCK_SHARE_ROW_EXCLUSIVE] = true, [LOCK_ACCESS_EXCLUSIVE] = true},
	[LOCK_SHARE_ROW_EXCLUSIVE] = {[LOCK_SHARE] = true, [LOCK_SHARE_ROW_EXCLUSIVE] = true, [LOCK_ACCESS_EXCLUSIVE] = true},
	[LOCK_ACCESS_EXCLUSIVE] =
		{[LOCK_ACCESS_SHARE] = true, [LOCK_SHARE] = true, [LOCK_SHARE_ROW_EXCLUSIVE] = true, [LOCK_ACCESS_EXCLUSIVE] = true},
};

static bool is_lockable(const struct unit *u, enum lock lock)
{
	for (size_t i = 0; u && i < LOCKS; i++)
		if (u->held[i] && conflicts[lock][i])
			return false;
	return true;
}

/* All is there that a foreign key needs. */
static bool is_whole_and_keyed(const struct unit *u)
{
	return !u->loads_left && !u->builds_left && !u->keys_left;
}

/* Its rows are proven, too. */
static bool is_settled(const struct unit *u)
{
	return is_whole_and_keyed(u) && !u->proofs_left;
}

/* What differs is to be told before time is spent on a foreign key: until its tables are proven, anything else comes first. */
static bool is_early(const struct task *t)
{
	return t->kind == TASK_FOREIGN_KEY && !(is_settled(t->u) && (!t->other || is_settled(t->other)));
}

static bool is_ready(const struct task *t)
{
	const struct unit *u = t->u;

	if (t->is_taken || !is_lockable(u, kinds[t->kind].lock) || !is_lockable(t->other, kinds[t->kind].lock))
		return false;
	switch (t->kind) {
	case TASK_LOAD:
	case TASK_PIECE:
		return true;
	case TASK_FOREIGN_KEY:
		return is_whole_and_keyed(u) && (!t->other || is_whole_and_keyed(t->other)) && !(t->is_put_off && is_early(t));
	case TASK_BUILD:
	case TASK_PROOF:
		return !u->loads_left;
	case TASK_KEYS:
		return !u->loads_left && !u->builds_left;
	case TASK_ANALYZE:
		return is_whole_and_keyed(u);
	}
	return false;
}

static bool is_before(const struct task *a, const struct task *b)
{
	return is_early(a) == is_early(b) ? a->weight > b->weight : is_early(b);
}

static struct task *pick(struct pool *p)
{
	struct task *best = NULL;

	for (size_t i = 0; i < p->tasks_count; i++)
		if (is_ready(&p->tasks[i]) && (!best || is_before(&p->tasks[i], best)))
			best = &p->tasks[i];
	return best;
}

static void note_start(struct pool *p, struct task *t)
{
	t->is_taken = true;
	t->u->held[kinds[t->kind].lock]++;
	if (t->other)
		t->other->held[kinds[t->kind].lock]++;
	p->running++;
}

static void note_end(struct pool *p, struct task *t)
{
	struct unit *u = t->u;

	u->held[kinds[t->kind].lock]--;
	if (t->other)
		t->other->held[kinds[t->kind].lock]--;
	u->loads_left -= t->kind == TASK_LOAD || t->kind == TASK_PIECE;
	u->builds_left -= t->kind == TASK_BUILD;
	u->keys_left -= t->kind == TASK_KEYS;
	u->proofs_left -= t->kind == TASK_PROOF;
	p->running--;
	p->left--;
}

static int run_task(struct pool *p, struct pg *pg, const struct task *t, struct error *err)
{
	int64_t start = clock_mono_us();
	int rc = kinds[t->kind].run(pg, p->w, t, err);

	atomic_fetch_add((_Atomic int64_t *)(void *)((char *)p->w->times + kinds[t->kind].time), clock_mono_us() - start);
	return rc;
}

/* The first failure is told; those that follow from it (cancelled statements) are not. */
static void note_failure(struct pool *p, struct error *err)
{
	if (!p->is_failed)
		err_move(&p->err, err);
	p->is_failed = true;
	cancel_request(&p->cancel, CANCEL_FAILED);
}

/* Rows that violate a key may be rows that differ from the backup: then the proof is the one to say so. */
static void put_off(struct pool *p, struct task *t, struct error *err)
{
	err_clear(err);
	t->is_taken = false;
	t->is_put_off = true;
	p->left++;
}

static void *worker(void *arg)
{
	struct pool *p = arg;
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct pg pg cleanup(pg_close) = {0};
	bool is_open = restore_connect(p->w->o, "restore worker", &p->cancel, &pg, &err) == 0 &&
		schema_session(&pg, p->w->schema, p->w->o, &err) == 0 &&
		(p->w->o->verify != RESTORE_VERIFY_ROWS || copy_out_prepare(&pg, &err) == 0);

	pthread_mutex_lock(&p->lock);
	if (!is_open)
		note_failure(p, &err);
	while (!p->is_failed && p->left) {
		struct task *t = pick(p);
		bool was_early = t && is_early(t);
		int rc;

		if (!t && !p->running) {
			err_set(&err, ERR_BUG, "%zu tasks of the restore can never start", p->left);
			note_failure(p, &err);
			break;
		}
		if (!t) {
			pthread_cond_wait(&p->changed, &p->lock);
			continue;
		}
		note_start(p, t);
		pthread_mutex_unlock(&p->lock);
		rc = run_task(p, &pg, t, &err);
		pthread_mutex_lock(&p->lock);
		note_end(p, t);
		if (rc < 0 && was_early && strcmp(err.sqlstate, FOREIGN_KEY_VIOLATION) == 0)
			put_off(p, t, &err);
		else if (rc < 0)
			note_failure(p, &err);
		pthread_cond_broadcast(&p->changed);
	}
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static void pool_release(struct pool *p)
{
	for (size_t i = 0; i < p->units_count; i++) {
		free(p->units[i].tables);
		free(p->units[i].entries);
	}
	for (size_t i = 0; i < p->tasks_count; i++) {
		free(p->tasks[i].index_sql);
		free(p->tasks[i].key_sql);
	}
	free(p->units);
	free(p->unit_of);
	free(p->tasks);
	err_clear(&p->err);
	cancel_release(&p->cancel);
	pthread_cond_destroy(&p->changed);
	pthread_mutex_destroy(&p->lock);
}

static int pool_init(struct pool *p, const struct work_options *w, struct error *err)
{
	memset(p, 0, sizeof(*p));
	p->w = w;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->changed, NULL);
	group_tables(p);
	return cancel_init(&p->cancel, w->o->cancel, err);
}

static int pool_run(struct pool *p, struct error *err)
{
	unsigned jobs = restore_jobs(p->w->o), started = 0;
	pthread_t *threads cleanup(mem_freep) = mem_alloc(jobs * sizeof(*threads));

	p->left = p->tasks_count;
	while (started < jobs && started < p->tasks_count && pthread_create(&threads[started], NULL, worker, p) == 0)
		started++;
	for (unsigned i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	if (!started && p->tasks_count)
		return err_set(err, ERR_FULL, "could not start a thread");
	if (!p->is_failed)
		return 0;
	return err_move(err, &p->err);
}

/* The key that it refers to is made by the units, too: no other entry has to come first. */
static bool is_early_foreign_key(const struct schema *s, const struct toc_entry *e)
{
	for (size_t i = 0; i < e->deps_count; i++) {
		const struct toc_entry *dep = toc_find(&s->post, e->deps[i]);
		const struct inv_table *t;

		if (dep && !work_claims(s, dep, &t))
			return false;
	}
	return true;
}

static void plan_foreign_keys(struct pool *p, const struct toc_entry *const *fks, size_t count)
{
	const struct inv_table *tables = p->w->o->inventory->tables;

	for (size_t i = 0; i < count; i++) {
		const struct inv_table *pair[2];
		struct unit *u, *other;

		if (done_hasf(p->w->done, "toc:%d", fks[i]->id) || !work_foreign_tables(p->w->schema, fks[i], pair) ||
			!is_early_foreign_key(p->w->schema, fks[i]))
			continue;
		u = p->unit_of[pair[0] - tables];
		other = p->unit_of[pair[1] - tables];
		if (u && other) {
			struct task *t = add_task(p, TASK_FOREIGN_KEY, u, u->bytes + other->bytes);

			t->e = fks[i];
			t->other = other == u ? NULL : other;
		}
	}
}

int work_tables(const struct work_options *w, const struct toc_entry *const *fks, size_t fks_count, struct error *err)
{
	struct pool p cleanup(pool_release);

	if (pool_init(&p, w, err) < 0)
		return -1;
	assign_entries(&p);
	for (size_t i = 0; i < p.units_count; i++)
		plan_unit(&p, &p.units[i]);
	plan_foreign_keys(&p, fks, fks_count);
	return pool_run(&p, err);
}

/*
 * The order of a restore.
 *
 *   pre-data                    in the order of pg_restore, one connection
 *   tables                      rows, indexes, keys, ANALYZE, proof: restore_work.c, all connections
 *   post-data before the first  attached indexes, rules, triggers …: in order, one connection
 *     foreign key
 *   foreign keys                those of ordinary tables side by side, the others in order
 *   post-data after it          policies, publications …
 *   materialized views          in the order of the inventory; their indexes are there, REFRESH builds them anew
 *   event triggers              last: they would fire for our own statements
 *   roots of partitions         ANALYZE
 *
 * Every step looks up what is done already and goes on from there, so that the first call and one after a kill are the same.
 */
#include "orchestrator/postgres/restore_private.h"

#include <stdlib.h>
#include <string.h>
#include "base/clock.h"

unsigned restore_jobs(const struct restore_options *o)
{
	return o->jobs > 0 ? (unsigned)o->jobs : 2;
}

int restore_connect(const struct restore_options *o, const char *what, struct cancel *cancel, struct pg *ret, struct error *err)
{
	struct pg_options po = {
		.conninfo = o->conninfo, .database = o->target_db, .what = what, .cancel = cancel, .is_pinned = true};

	return pg_open(&po, ret, err);
}

struct collect {
	struct buf *out;
};

static int collect_block(void *arg, const char *p, size_t n, struct error *err)
{
	return buf_append(((struct collect *)arg)->out, p, n, err);
}

int restore_read_member(const struct restore_options *o, const char *name, struct buf *ret, struct error *err)
{
	const struct inv_member *m = inventory_member(o->inventory, name);
	struct collect c = {.out = ret};

	if (!m)
		return 0;
	return o->source->read(o->source->ctx, m, collect_block, &c, err) < 0 ? -1 : 1;
}

/* --- the parts of post-data --------------------------------------------------------------------------------------------- */

struct parts {
	const struct toc_entry **before, **foreign, **after, **last;
	size_t before_count, foreign_count, after_count, last_count;
};

static void parts_release(struct parts *p)
{
	free(p->before);
	free(p->foreign);
	free(p->after);
	free(p->last);
}

static bool is_event_trigger(const struct toc_entry *e)
{
	return strcmp(e->desc, "EVENT TRIGGER") == 0 ||
		(strcmp(e->desc, "COMMENT") == 0 && strncmp(e->name, "EVENT TRIGGER ", 14) == 0);
}

static void sort_entries(const struct schema *s, struct parts *p)
{
	size_t n = s->post.entries_count + 1;
	bool has_foreign = false;

	p->before = mem_alloc(n * sizeof(*p->before));
	p->foreign = mem_alloc(n * sizeof(*p->foreign));
	p->after = mem_alloc(n * sizeof(*p->after));
	p->last = mem_alloc(n * sizeof(*p->last));
	for (size_t i = 0; i < s->post.entries_count; i++) {
		const struct toc_entry *e = &s->post.entries[i];
		const struct inv_table *t, *pair[2];

		if (work_claims(s, e, &t))
			continue;
		if (is_event_trigger(e)) {
			p->last[p->last_count++] = e;
		} else if (strcmp(e->desc, "FK CONSTRAINT") == 0) {
			has_foreign = true;
			if (work_foreign_tables(s, e, pair))
				p->foreign[p->foreign_count++] = e;
			else
				p->after[p->after_count++] = e;
		} else if (has_foreign) {
			p->after[p->after_count++] = e;
		} else {
			p->before[p->before_count++] = e;
		}
	}
}

/* --- one restore -------------------------------------------------------------------------------------------------------- */

struct fill {
	const struct restore_options *o;
	struct pg pg;
	struct schema schema;
	struct done_set done;
	struct proof_failures failures;
	struct work_times work_times;
	struct restore_times times;
	bool *is_partition;
};

static void fill_release(struct fill *f)
{
	pg_close(&f->pg);
	schema_release(&f->schema);
	done_release(&f->done);
	buf_release(&f->failures.lines);
	pthread_mutex_destroy(&f->failures.lock);
	free(f->is_partition);
}

static void set_phase(const struct restore_options *o, const char *phase)
{
	if (o->progress)
		atomic_store(&o->progress->phase, phase);
}

static int check_mark(struct fill *f, struct error *err)
{
	char *run_id cleanup(mem_freep) = NULL;
	bool is_created = false;
	int rc = done_run_id(&f->pg, &run_id, &is_created, err);

	if (rc < 0)
		return -1;
	if (rc == 0)
		return err_set(err, ERR_REFUSED, "database \"%s\" was not prepared for a restore", f->o->target_db);
	if (strcmp(run_id, f->o->run_id) != 0)
		return err_set(err, ERR_REFUSED, "database \"%s\" belongs to the restore \"%s\"", f->o->target_db, run_id);
	return 0;
}

static int reload_done(struct fill *f, struct error *err)
{
	struct done_set done;

	if (done_load(&f->pg, &done, err) < 0)
		return -1;
	done_release(&f->done);
	f->done = done;
	return 0;
}

/*
 * A crash of the server empties unlogged tables and keeps the record that they were loaded: it counts for nothing where rows should be
 * and none is.
 */
static int forget_lost_rows(struct fill *f, struct error *err)
{
	const struct inventory *inv = f->o->inventory;
	bool is_any = false;

	for (size_t i = 0; i < inv->tables_count; i++) {
		const struct inv_table *t = &inv->tables[i];
		char *name cleanup(mem_freep) = t->kind == INV_UNLOGGED ? pg_qualified(t->schema, t->name) : NULL;
		char *sql cleanup(mem_freep) = name ? mem_printf("SELECT true FROM ONLY %s LIMIT 1", name) : NULL;
		char *found cleanup(mem_freep) = NULL;
		int rc = 1;

		if (sql && t->rows && done_hasf(&f->done, "piece:%u:0", t->oid))
			rc = pg_value(&f->pg, sql, &found, err);
		if (rc < 0)
			return -1;
		if (rc)
			continue;
		is_any = true;
		if (pg_execf(&f->pg, err,
			    "DELETE FROM " RESTORE_SCHEMA
			    ".done WHERE item LIKE 'piece:%u:%%' OR item IN ('proof:%u', 'analyze:%u')",
			    t->oid, t->oid, t->oid) < 0)
			return -1;
	}
	return is_any ? reload_done(f, err) : 0;
}

static bool is_schema_acl(const struct toc_entry *e)
{
	return strcmp(e->desc, "ACL") == 0 && strncmp(e->name, "SCHEMA ", 7) == 0;
}

/*
 * Privileges on schemas come right behind the schemas, not behind everything: who is no superuser may give a table only to a role that
 * may create tables in its schema.
 */
static void sort_pre_data(const struct toc *pre, const struct toc_entry **ret)
{
	size_t first = 0, n = 0;

	for (size_t i = 0; i < pre->entries_count; i++)
		if (strcmp(pre->entries[i].desc, "SCHEMA") == 0)
			first = i + 1;
	for (size_t i = 0; i < first; i++)
		if (!is_schema_acl(&pre->entries[i]))
			ret[n++] = &pre->entries[i];
	for (size_t i = 0; i < pre->entries_count; i++)
		if (is_schema_acl(&pre->entries[i]))
			ret[n++] = &pre->entries[i];
	for (size_t i = first; i < pre->entries_count; i++)
		if (!is_schema_acl(&pre->entries[i]))
			ret[n++] = &pre->entries[i];
}

static int run_pre_data(struct fill *f, struct error *err)
{
	const struct toc_entry **entries cleanup(mem_freep) = mem_alloc((f->schema.pre.entries_count + 1) * sizeof(*entries));
	int64_t start = clock_mono_ms();

	sort_pre_data(&f->schema.pre, entries);
	set_phase(f->o, "schema");
	if (schema_make_missing(&f->pg, &f->schema, err) < 0 ||
		schema_run(&f->pg, f->o, entries, f->schema.pre.entries_count, &f->done, err) < 0)
		return -1;
	f->times.pre_data += clock_mono_ms() - start;
	return 0;
}

static int compare_names(const void *a, const void *b)
{
	const struct inv_table *x = *(const struct inv_table *const *)a, *y = *(const struct inv_table *const *)b;
	int order = strcmp(x->schema, y->schema);

	return order ? order : strcmp(x->name, y->name);
}

/* Which tables are partitions: their root's ANALYZE covers them. */
static int find_partitions(struct fill *f, struct error *err)
{
	const struct inventory *inv = f->o->inventory;
	const struct inv_table **sorted cleanup(mem_freep) = mem_alloc((inv->tables_count + 1) * sizeof(*sorted));
	PGresult *res cleanup(pg_clearp) = NULL;

	f->is_partition = mem_zalloc((inv->tables_count + 1) * sizeof(*f->is_partition));
	for (size_t i = 0; i < inv->tables_count; i++)
		sorted[i] = &inv->tables[i];
	qsort(sorted, inv->tables_count, sizeof(*sorted), compare_names);
	if (pg_exec(&f->pg,
		    "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
		    "WHERE c.relispartition AND c.relkind = 'r'",
		    &res, err) < 0)
		return -1;
	for (int i = 0; i < PQntuples(res); i++) {
		struct inv_table key = {.schema = PQgetvalue(res, i, 0), .name = PQgetvalue(res, i, 1)};
		const struct inv_table *wanted = &key, **found;

		found = inv->tables_count ? bsearch(&wanted, sorted, inv->tables_count, sizeof(*sorted), compare_names) : NULL;
		if (found)
			f->is_partition[*found - inv->tables] = true;
	}
	return 0;
}

static struct work_options work_options(struct fill *f)
{
	return (struct work_options){
		.o = f->o,
		.schema = &f->schema,
		.done = &f->done,
		.failures = &f->failures,
		.times = &f->work_times,
		.is_partition = f->is_partition,
	};
}

static int run_post_data(struct fill *f, const struct parts *p, struct error *err)
{
	int64_t start = clock_mono_ms();

	set_phase(f->o, "constraints");
	if (schema_run(&f->pg, f->o, p->before, p->before_count, &f->done, err) < 0 ||
		schema_run(&f->pg, f->o, p->foreign, p->foreign_count, &f->done, err) < 0 ||
		schema_run(&f->pg, f->o, p->after, p->after_count, &f->done, err) < 0)
		return -1;
	f->times.post_data += clock_mono_ms() - start;
	start = clock_mono_ms();
	set_phase(f->o, "materialized views");
	if (values_matviews(&f->pg, f->o->inventory, &f->done, err) < 0)
		return -1;
	f->times.matviews += clock_mono_ms() - start;
	return 0;
}

static int analyze_roots(struct fill *f, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;
	struct buf values cleanup(buf_release) = {0};
	int64_t start = clock_mono_ms();

	if (done_has(&f->done, "analyze:roots"))
		return 0;
	if (pg_exec(&f->pg,
		    "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
		    "WHERE c.relkind = 'p' AND NOT c.relispartition ORDER BY c.oid",
		    &res, err) < 0)
		return -1;
	for (int i = 0; i < PQntuples(res); i++) {
		char *name cleanup(mem_freep) = pg_qualified(PQgetvalue(res, i, 0), PQgetvalue(res, i, 1));

		if (pg_execf(&f->pg, err, "ANALYZE %s", name) < 0)
			return -1;
	}
	f->times.analyze += clock_mono_ms() - start;
	return pg_exec(&f->pg, "INSERT INTO " RESTORE_SCHEMA ".done(item) VALUES ('analyze:roots')", NULL, err);
}

/* The one commit that waits for the disk: with it everything before is durable too. */
static int finish_fill(struct fill *f, struct error *err)
{
	return pg_exec(&f->pg,
		"SET synchronous_commit = on; INSERT INTO " RESTORE_SCHEMA ".done(item) VALUES ('filled') ON CONFLICT DO NOTHING",
		NULL, err);
}

static uint64_t content_bytes(const struct inventory *inv)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < inv->tables_count; i++)
		sum += inv->tables[i].content_bytes;
	return sum;
}

static int run_fill(struct fill *f, struct error *err)
{
	struct parts parts cleanup(parts_release) = {0};
	struct work_options w;
	int64_t start = clock_mono_ms();

	if (schema_read(f->o, &f->schema, err) < 0 || schema_session(&f->pg, &f->schema, f->o, err) < 0)
		return -1;
	f->times.pre_data = clock_mono_ms() - start;
	sort_entries(&f->schema, &parts);
	if (f->o->progress)
		atomic_store(&f->o->progress->bytes_total, content_bytes(f->o->inventory));
	if (f->o->progress)
		atomic_store(&f->o->progress->items_total,
			f->schema.pre.entries_count + f->schema.post.entries_count + f->o->inventory->tables_count);
	if (run_pre_data(f, err) < 0 || find_partitions(f, err) < 0)
		return -1;
	w = work_options(f);
	set_phase(f->o, "rows");
	if (values_sequences(&f->pg, f->o->inventory, &f->done, err) < 0 || autovacuum_pause(&f->pg, f->o, &f->done, err) < 0 ||
		work_tables(&w, parts.foreign, parts.foreign_count, err) < 0 || reload_done(f, err) < 0 ||
		values_large_object_owners(&f->pg, f->o, &f->done, err) < 0)
		return -1;
	/* What differs is told before hours are spent on foreign keys. */
	if (f->o->verify != RESTORE_VERIFY_NONE &&
		(proof_sequences(&f->pg, f->o->inventory, &f->failures, err) < 0 || proof_verdict(&f->failures, f->o, err) < 0))
		return -1;
	if (run_post_data(f, &parts, err) < 0 || analyze_roots(f, err) < 0 || autovacuum_resume(&f->pg, f->o, err) < 0 ||
		schema_run(&f->pg, f->o, parts.last, parts.last_count, &f->done, err) < 0)
		return -1;
	return finish_fill(f, err);
}

static int run_watched(struct fill *f, struct error *err)
{
	struct restore_watch *watch = restore_watch_start(f->o);
	int rc = run_fill(f, err);

	restore_watch_stop(&watch);
	return rc;
}

static void report(const struct fill *f, struct restore_report *ret)
{
	const struct inventory *inv = f->o->inventory;

	*ret = (struct restore_report){.times = f->times};
	ret->times.copy = f->work_times.copy / 1000;
	ret->times.indexes = f->work_times.indexes / 1000;
	ret->times.analyze += f->work_times.analyze / 1000;
	ret->times.proof = f->work_times.proof / 1000;
	for (size_t i = 0; i < inv->tables_count; i++) {
		ret->tables++;
		ret->rows += inv->tables[i].rows;
		ret->content_bytes += inv->tables[i].content_bytes;
	}
	ret->tables_proven = f->o->verify == RESTORE_VERIFY_NONE ? 0 : ret->tables;
}

int restore_fill(const struct restore_options *o, struct restore_report *ret, struct error *err)
{
	struct fill f cleanup(fill_release) = {.o = o, .failures.lock = PTHREAD_MUTEX_INITIALIZER};

	if (restore_connect(o, "restore", o->cancel, &f.pg, err) < 0 || restore_end_leftovers(&f.pg, o, NULL, err) < 0 ||
		check_mark(&f, err) < 0 || reload_done(&f, err) < 0)
		return err_context(err, "could not restore into database \"%s\"", o->target_db);
	if (!done_has(&f.done, "filled") && (forget_lost_rows(&f, err) < 0 || run_watched(&f, err) < 0))
		return -1;
	report(&f, ret);
	return 0;
}

int restore_is_filled(const struct restore_options *o, struct error *err)
{
	struct fill f cleanup(fill_release) = {.o = o, .failures.lock = PTHREAD_MUTEX_INITIALIZER};
	int rc;

	if (restore_connect(o, "restore", o->cancel, &f.pg, err) < 0)
		return strcmp(err->sqlstate, "3D000") == 0 ? (err_clear(err), 0) : -1;
	rc = done_exists(&f.pg, err);
	if (rc <= 0)
		return rc;
	if (check_mark(&f, err) < 0 || reload_done(&f, err) < 0)
		return -1;
	return done_has(&f.done, "filled");
}

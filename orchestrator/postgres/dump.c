#include "orchestrator/postgres/dump_private.h"

#include <stdlib.h>
#include <string.h>
#include "orchestrator/postgres/snapshot.h"

/* --- open and close ----------------------------------------------------------------------------------------------------- */

static int find_tools(struct dump *d, struct error *err)
{
	char *version cleanup(mem_freep) = NULL, *ignored cleanup(mem_freep) = NULL;

	if (pg_tool_find(d->o.pg_bindir, "pg_dump", d->leader.server_version, &d->pg_dump, &version, err) < 0 ||
		pg_tool_find(d->o.pg_bindir, "pg_restore", d->leader.server_version, &d->pg_restore, &ignored, err) < 0)
		return -1;
	d->inv.dump_tool = arena_strdup(&d->inv.arena, version);
	return 0;
}

static int fill(struct dump *d, struct error *err)
{
	if (catalog_read_sizes(&d->leader, &d->catalog, err) < 0 ||
		catalog_fill_inventory(&d->leader, &d->catalog, &d->inv, err) < 0 ||
		catalog_fill_objects(&d->leader, &d->catalog, &d->inv, err) < 0 ||
		dump_pieces_make(&d->leader, d, &d->pieces, err) < 0)
		return -1;
	d->tables = mem_zalloc(d->inv.tables_count * sizeof(*d->tables));
	return 0;
}

static int open_leader(struct dump *d, struct error *err)
{
	const struct pg_options o = {.conninfo = d->o.conninfo, .what = "dump", .cancel = &d->stop, .is_pinned = true};

	if (cancel_init(&d->stop, d->o.cancel, err) < 0)
		return -1;
	d->has_stop = true;
	if (pg_open(&o, &d->leader, err) < 0 || find_tools(d, err) < 0 || copy_out_prepare(&d->leader, err) < 0)
		return -1;
	return snapshot_begin(&d->leader, &d->o, &d->catalog, &d->snapshot, err);
}

int dump_open(const struct dump_options *o, struct dump **ret, struct error *err)
{
	struct dump *d = mem_zalloc(sizeof(*d));

	d->o = *o;
	pthread_mutex_init(&d->mutex, NULL);
	pthread_cond_init(&d->changed, NULL);
	if (open_leader(d, err) < 0 || fill(d, err) < 0) {
		dump_close(d);
		return -1;
	}
	*ret = d;
	return 0;
}

/* Members' positions are collected in lists of their own and end in the arena. */
static void keep_members(struct dump *d)
{
	for (size_t i = 0; d->tables && i < d->inv.tables_count; i++) {
		struct inv_table *t = &d->inv.tables[i];
		size_t *list = t->members;

		if (!d->tables[i].cap)
			continue;
		t->members = t->members_count ? arena_alloc(&d->inv.arena, t->members_count * sizeof(*list)) : NULL;
		if (t->members_count)
			memcpy(t->members, list, t->members_count * sizeof(*list));
		free(list);
		d->tables[i].cap = 0;
	}
}

void dump_close(struct dump *d)
{
	if (!d)
		return;
	pg_close(&d->leader);
	keep_members(d);
	if (d->has_stop)
		cancel_release(&d->stop);
	catalog_release(&d->catalog);
	inventory_release(&d->inv);
	buf_release(&d->files.schema_dump);
	buf_release(&d->files.pre_data_sql);
	buf_release(&d->files.post_data_sql);
	buf_release(&d->files.sequences_sql);
	buf_release(&d->files.globals_sql);
	buf_release(&d->files.large_objects_sql);
	free(d->snapshot);
	free(d->pg_dump);
	free(d->pg_restore);
	free(d->pieces.list);
	free(d->tables);
	free(d->handed);
	err_clear(&d->error);
	pthread_cond_destroy(&d->changed);
	pthread_mutex_destroy(&d->mutex);
	free(d);
}

struct inventory *dump_inventory(struct dump *d)
{
	return &d->inv;
}

const struct dump_files *dump_files(const struct dump *d)
{
	return &d->files;
}

void dump_take_inventory(struct dump *d, struct inventory *ret)
{
	*ret = d->inv;
	memset(&d->inv, 0, sizeof(d->inv));
}

/* --- rows --------------------------------------------------------------------------------------------------------------- */

static int read_sequences(struct dump *d, struct error *err)
{
	const struct pg_options o = {.conninfo = d->o.conninfo, .what = "dump sequences", .cancel = &d->stop, .is_pinned = true};
	struct pg pg cleanup(pg_close) = {0};

	if (pg_open(&o, &pg, err) < 0 || catalog_fill_sequences(&pg, &d->catalog, &d->inv, err) < 0)
		return -1;
	dump_sequences_sql(&d->inv, &d->files.sequences_sql);
	return 0;
}

static int read_small_things(struct dump *d, struct error *err)
{
	if (read_sequences(d, err) < 0 || dump_globals_sql(&d->leader, &d->inv, &d->files.globals_sql, err) < 0)
		return -1;
	if (d->inv.tables_count && d->inv.tables[0].kind == INV_LARGE_OBJECTS)
		return dump_large_objects_sql(&d->leader, &d->files.large_objects_sql, err);
	return 0;
}

static void begin_progress(struct dump *d)
{
	struct progress *p = d->o.progress;
	uint64_t total = 0;

	if (!p)
		return;
	for (size_t i = 0; i < d->inv.tables_count; i++)
		total += d->inv.tables[i].source_bytes;
	atomic_store(&p->bytes_total, total);
	atomic_store(&p->items_total, d->pieces.count);
	atomic_store(&p->phase, "copy");
}

int dump_rows(struct dump *d, const struct dump_sink *sink, struct error *err)
{
	pthread_t schema;
	int rc;

	d->sink = sink;
	begin_progress(d);
	if (pthread_create(&schema, NULL, dump_schema_thread, d) != 0)
		return err_set(err, ERR_FULL, "could not start a thread");
	rc = dump_workers_run(d, read_small_things, err);
	pthread_join(schema, NULL);
	keep_members(d);
	return d->is_failed ? err_move(err, &d->error) : rc;
}

/*
 * Cutting the work: whole tables, block ranges of large ones, ranges of large objects; largest first, so that the last to end are
 * small.
 *
 * Ranges need TID range scans (PostgreSQL 14) and the heap's block numbers; the last range is open: a table may have grown since its
 * size was asked.
 */
#include <inttypes.h>
#include <stdlib.h>
#include "orchestrator/postgres/dump_private.h"

#define MAX_LARGE_OBJECT_RANGES 256

static void add(struct dump_pieces *p, struct dump_piece piece)
{
	p->list = mem_grow(p->list, &p->cap, p->count + 1, sizeof(*p->list));
	p->list[p->count++] = piece;
}

static void add_ranges(struct dump_pieces *p, size_t table, const struct relation *r, uint64_t piece_bytes, uint64_t block_bytes)
{
	uint64_t blocks = r->main_bytes / block_bytes, bytes = r->main_bytes + r->toast_bytes;
	uint64_t n = (bytes + piece_bytes - 1) / piece_bytes;

	if (n > blocks)
		n = blocks;
	if (!r->is_heap || r->is_config || n < 2) {
		add(p, (struct dump_piece){.table = table, .is_whole = true, .weight_bytes = bytes});
		return;
	}
	for (uint64_t i = 0; i < n; i++)
		add(p,
			(struct dump_piece){.table = table,
				.range = {.first = blocks * i / n, .end = i + 1 < n ? blocks * (i + 1) / n : 0},
				.weight_bytes = bytes / n});
}

static int add_large_objects(
	struct pg *pg, struct dump_pieces *p, size_t table, uint64_t bytes, uint64_t piece_bytes, struct error *err)
{
	uint64_t n = (bytes + piece_bytes - 1) / piece_bytes;
	PGresult *res cleanup(pg_clearp) = NULL;
	char *sql cleanup(mem_freep) = NULL;

	n = n > MAX_LARGE_OBJECT_RANGES ? MAX_LARGE_OBJECT_RANGES : n ? n : 1;
	sql = mem_printf("SELECT min(oid) FROM (SELECT oid, ntile(%" PRIu64 ") OVER (ORDER BY oid) AS part"
			 " FROM pg_catalog.pg_largeobject_metadata) t GROUP BY part ORDER BY 1",
		n);
	if (pg_exec(pg, sql, &res, err) < 0)
		return err_context(err, "could not list large objects");
	for (int i = 0; i < PQntuples(res); i++) {
		struct copy_range range = {.first = i ? strtoull(PQgetvalue(res, i, 0), NULL, 10) : 0};

		if (i + 1 < PQntuples(res))
			range.end = strtoull(PQgetvalue(res, i + 1, 0), NULL, 10);
		add(p, (struct dump_piece){.table = table, .range = range, .weight_bytes = bytes / n});
	}
	return 0;
}

static int compare(const void *a, const void *b)
{
	const struct dump_piece *x = a, *y = b;

	if (x->weight_bytes != y->weight_bytes)
		return x->weight_bytes < y->weight_bytes ? 1 : -1;
	if (x->table != y->table)
		return x->table < y->table ? -1 : 1;
	return x->range.first < y->range.first ? -1 : x->range.first > y->range.first;
}

int dump_pieces_make(struct pg *pg, const struct dump *d, struct dump_pieces *ret, struct error *err)
{
	uint64_t piece_bytes = d->o.piece_bytes ? d->o.piece_bytes : DUMP_DEFAULT_PIECE_BYTES, block_bytes;
	bool can_split = pg->server_version >= 140000;
	char *block cleanup(mem_freep) = NULL;

	if (pg_value(pg, "SELECT pg_catalog.current_setting('block_size')", &block, err) < 0)
		return -1;
	block_bytes = block && atoi(block) > 0 ? (uint64_t)atoi(block) : 8192;
	for (size_t i = 0; i < d->inv.tables_count; i++) {
		const struct inv_table *t = &d->inv.tables[i];
		const struct relation *r = catalog_find(&d->catalog, t->oid);

		if (t->kind == INV_LARGE_OBJECTS) {
			if (add_large_objects(pg, ret, i, t->source_bytes, piece_bytes, err) < 0)
				return -1;
		} else if (r) {
			add_ranges(ret, i, r, can_split ? piece_bytes : UINT64_MAX / 2, block_bytes);
		}
	}
	if (ret->count)
		qsort(ret->list, ret->count, sizeof(*ret->list), compare);
	return 0;
}

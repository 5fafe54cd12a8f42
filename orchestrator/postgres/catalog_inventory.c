/*
 * From the list of relations to the inventory: tables with their columns, the large objects' entry, what is left out.
 */
#include <stdlib.h>
#include <string.h>
#include "orchestrator/postgres/catalog.h"

/* Oid of pg_largeobject: no user's table can have it. */
#define LARGE_OBJECTS_OID 2613

static const struct {
	char kind;
	const char *name;
} kinds[] = {
	{'r', "table"},
	{'m', "materialized view"},
	{'f', "foreign table"},
	{'S', "sequence"},
};

static const char *kind_name(const struct relation *r)
{
	if (r->kind == 'r' && r->persistence == 'u')
		return "unlogged table";
	for (size_t i = 0; i < array_len(kinds); i++)
		if (kinds[i].kind == r->kind)
			return kinds[i].name;
	return "relation";
}

static void add_left_out(struct inventory *inv, const struct relation *r)
{
	*inventory_add(inv, left_out) = (struct inv_left_out){
		.kind = kind_name(r),
		.schema = arena_strdup(&inv->arena, r->schema),
		.name = arena_strdup(&inv->arena, r->name),
		.reason = r->left_out_why,
	};
}

static void add_table(struct inventory *inv, const struct relation *r)
{
	*inventory_add(inv, tables) = (struct inv_table){
		.oid = r->oid,
		.schema = arena_strdup(&inv->arena, r->schema),
		.name = arena_strdup(&inv->arena, r->name),
		.kind = r->is_config            ? INV_EXTENSION_CONFIG
			: r->persistence == 'u' ? INV_UNLOGGED
						: INV_TABLE,
		.condition = arena_strdup(&inv->arena, r->condition),
		.source_bytes = r->main_bytes + r->toast_bytes,
	};
}

/* --- columns ------------------------------------------------------------------------------------------------------------ */

struct columns {
	struct inventory *inv;
	size_t table; /* the one whose columns come */
	const char **list;
	size_t count, cap;
};

static void flush_columns(struct columns *c)
{
	struct inv_table *t;

	if (!c->count)
		return;
	t = &c->inv->tables[c->table];
	t->columns = arena_alloc(&c->inv->arena, c->count * sizeof(*c->list));
	t->columns_count = c->count;
	memcpy(t->columns, c->list, c->count * sizeof(*c->list));
	c->count = 0;
}

/* Rows come ordered by table and attribute number, as the tables are ordered by oid. */
static void take_columns(struct columns *c, const PGresult *res)
{
	for (int i = 0; i < PQntuples(res); i++) {
		uint32_t oid = (uint32_t)strtoul(PQgetvalue(res, i, 0), NULL, 10);
		size_t at = c->table;

		while (at < c->inv->tables_count && c->inv->tables[at].oid < oid)
			at++;
		if (at != c->table)
			flush_columns(c);
		c->table = at;
		if (at == c->inv->tables_count || c->inv->tables[at].oid != oid)
			continue;
		c->list = mem_grow(c->list, &c->cap, c->count + 1, sizeof(*c->list));
		c->list[c->count++] = arena_strdup(&c->inv->arena, PQgetvalue(res, i, 1));
	}
}

/* Some tables at a time: a hundred thousand of them must not stand in memory as one result. */
static int fill_columns(struct pg *pg, struct inventory *inv, struct error *err)
{
	const size_t batch = 2000;
	struct columns c = {.inv = inv};
	size_t first = 0;
	int rc = 0;

	/* The entry of the large objects stands first and has the oid of a catalog. */
	if (inv->tables_count && inv->tables[0].kind == INV_LARGE_OBJECTS)
		first = c.table = 1;
	for (; rc == 0 && first < inv->tables_count; first += batch) {
		size_t last = first + batch < inv->tables_count ? first + batch - 1 : inv->tables_count - 1;
		PGresult *res cleanup(pg_clearp) = NULL;
		char *sql cleanup(mem_freep) = mem_printf(
			"SELECT attrelid, attname FROM pg_catalog.pg_attribute WHERE attrelid BETWEEN %u AND %u AND attnum > 0"
			" AND NOT attisdropped AND attgenerated = '' ORDER BY attrelid, attnum",
			inv->tables[first].oid, inv->tables[last].oid);

		rc = pg_exec(pg, sql, &res, err);
		if (rc == 0)
			take_columns(&c, res);
	}
	if (rc == 0)
		flush_columns(&c);
	free(c.list);
	return rc;
}

/* --- large objects ------------------------------------------------------------------------------------------------------ */

static int fill_large_objects(struct pg *pg, const struct catalog *c, struct inventory *inv, struct error *err)
{
	static const char *const columns[] = {"loid", "start", "data"};
	char *count cleanup(mem_freep) = NULL, *bytes cleanup(mem_freep) = NULL;
	struct inv_table *t;

	if (pg_value(pg, "SELECT count(*) FROM pg_catalog.pg_largeobject_metadata", &count, err) < 0 ||
		pg_value(pg, "SELECT pg_catalog.pg_relation_size('pg_catalog.pg_largeobject'::pg_catalog.regclass)", &bytes,
			err) < 0)
		return -1;
	if (!count || strcmp(count, "0") == 0)
		return 0;
	if (!c->is_everything) {
		*inventory_add(inv, left_out) = (struct inv_left_out){
			.kind = "large objects",
			.name = arena_strdup(&inv->arena, count),
			.reason = "belong to no schema or table that could be selected",
		};
		return 0;
	}
	t = inventory_add(inv, tables);
	*t = (struct inv_table){.oid = LARGE_OBJECTS_OID, .schema = "", .name = "", .kind = INV_LARGE_OBJECTS};
	t->columns = arena_alloc(&inv->arena, sizeof(columns));
	memcpy(t->columns, columns, sizeof(columns));
	t->columns_count = array_len(columns);
	t->source_bytes = bytes ? strtoull(bytes, NULL, 10) : 0;
	return 0;
}

int catalog_fill_inventory(struct pg *pg, const struct catalog *c, struct inventory *inv, struct error *err)
{
	if (fill_large_objects(pg, c, inv, err) < 0)
		return err_context(err, "could not count large objects");
	for (size_t i = 0; i < c->count; i++) {
		const struct relation *r = &c->list[i];

		if (r->left_out_why)
			add_left_out(inv, r);
		else if (r->kind == 'r')
			add_table(inv, r);
	}
	if (fill_columns(pg, inv, err) < 0)
		return err_context(err, "could not read the columns of tables");
	return 0;
}

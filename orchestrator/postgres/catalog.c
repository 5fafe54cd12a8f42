#include "orchestrator/postgres/catalog.h"

#include <stdlib.h>
#include <string.h>

#define SIZES_BATCH 1000

void catalog_release(struct catalog *c)
{
	free(c->list);
	catalog_free_partitions(c->partitions);
	arena_release(&c->arena);
	memset(c, 0, sizeof(*c));
}

static int compare_oid(const void *key, const void *element)
{
	uint32_t a = *(const uint32_t *)key, b = ((const struct relation *)element)->oid;

	return a < b ? -1 : a > b;
}

struct relation *catalog_find(const struct catalog *c, uint32_t oid)
{
	return c->count ? bsearch(&oid, c->list, c->count, sizeof(*c->list), compare_oid) : NULL;
}

/* --- relations ---------------------------------------------------------------------------------------------------------- */

/* Temporary relations are other sessions' own; what lies in the system's schemas is no user's. */
static const char relations_sql[] =
	"SELECT c.oid, n.oid, n.nspname, c.relname, c.relkind, c.relpersistence, COALESCE(am.amname = 'heap', false), c.relispopulated,"
	" e.extname, s.refobjid"
	" FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
	" LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam"
	" LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.objsubid = 0"
	" AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'"
	" LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid"
	" LEFT JOIN pg_catalog.pg_depend s ON c.relkind = 'S' AND s.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND s.objid = c.oid"
	" AND s.objsubid = 0 AND s.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND s.deptype IN ('a', 'i')"
	" WHERE c.relkind IN ('r', 'm', 'f', 'S') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_'"
	" AND n.nspname <> 'information_schema' ORDER BY c.oid";

static void add_relation(struct catalog *c, const PGresult *res, int row)
{
	struct relation *r;

	c->list = mem_grow(c->list, &c->cap, c->count + 1, sizeof(*c->list));
	r = &c->list[c->count++];
	*r = (struct relation){
		.oid = (uint32_t)strtoul(PQgetvalue(res, row, 0), NULL, 10),
		.schema_oid = (uint32_t)strtoul(PQgetvalue(res, row, 1), NULL, 10),
		.schema = result_text(&c->arena, res, row, 2),
		.name = result_text(&c->arena, res, row, 3),
		.kind = PQgetvalue(res, row, 4)[0],
		.persistence = PQgetvalue(res, row, 5)[0],
		.is_heap = PQgetvalue(res, row, 6)[0] == 't',
		.is_populated = PQgetvalue(res, row, 7)[0] == 't',
		.extension = result_text(&c->arena, res, row, 8),
		.is_owned_by_table = !PQgetisnull(res, row, 9),
		.owner_table = (uint32_t)strtoul(PQgetvalue(res, row, 9), NULL, 10),
	};
}

static int read_relations(struct pg *pg, struct catalog *c, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_exec(pg, relations_sql, &res, err) < 0)
		return -1;
	for (int i = 0; i < PQntuples(res); i++) {
		struct relation *last = c->count ? &c->list[c->count - 1] : NULL;

		/* A relation may depend on several: one entry all the same. */
		if (!last || last->oid != strtoul(PQgetvalue(res, i, 0), NULL, 10))
			add_relation(c, res, i);
	}
	return 0;
}

static int read_configs(struct pg *pg, struct catalog *c, struct error *err)
{
	static const char sql[] =
		"SELECT u.oid, NULLIF(u.condition, '') FROM pg_catalog.pg_extension e,"
		" LATERAL unnest(e.extconfig, e.extcondition) AS u(oid, condition) WHERE e.extconfig IS NOT NULL";
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_exec(pg, sql, &res, err) < 0)
		return -1;
	for (int i = 0; i < PQntuples(res); i++) {
		struct relation *r = catalog_find(c, (uint32_t)strtoul(PQgetvalue(res, i, 0), NULL, 10));

		if (!r)
			continue;
		r->is_config = true;
		r->condition = result_text(&c->arena, res, i, 1);
	}
	return 0;
}

static const char sizes_sql[] =
	"SELECT oid, COALESCE(pg_catalog.pg_relation_size(oid), 0), CASE WHEN reltoastrelid = 0 THEN 0"
	" ELSE COALESCE(pg_catalog.pg_relation_size(reltoastrelid), 0) END FROM pg_catalog.pg_class WHERE oid IN (";

static int take_sizes(struct pg *pg, const char *sql, struct catalog *c, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_exec(pg, sql, &res, err) < 0)
		return -1;
	for (int i = 0; i < PQntuples(res); i++) {
		struct relation *r = catalog_find(c, (uint32_t)strtoul(PQgetvalue(res, i, 0), NULL, 10));

		if (!r)
			continue;
		r->main_bytes = strtoull(PQgetvalue(res, i, 1), NULL, 10);
		r->toast_bytes = strtoull(PQgetvalue(res, i, 2), NULL, 10);
	}
	return 0;
}

/* Asking for the size of a relation waits for whoever has it locked: so this is asked of locked tables only. */
int catalog_read_sizes(struct pg *pg, struct catalog *c, struct error *err)
{
	struct buf sql cleanup(buf_release) = {0};
	size_t n = 0;

	for (size_t i = 0; i <= c->count; i++) {
		if (i < c->count && relation_has_rows(&c->list[i]))
			buf_printf(&sql, "%s%u", n++ ? ", " : sizes_sql, c->list[i].oid);
		if (n == 0 || (n < SIZES_BATCH && i < c->count))
			continue;
		buf_putc(&sql, ')');
		if (take_sizes(pg, buf_str(&sql), c, err) < 0)
			return err_context(err, "could not read the sizes of tables");
		buf_release(&sql);
		n = 0;
	}
	return 0;
}

/* --- what is wanted ----------------------------------------------------------------------------------------------------- */

static const char *why_left_out(
	const struct catalog *c, struct relation *r, const struct dump_options *o, const struct catalog_filter *f)
{
	/* A sequence of a column goes with its table, as in pg_dump. */
	const struct relation *owner = r->is_owned_by_table ? catalog_find(c, r->owner_table) : NULL;
	const char *why = NULL;

	if (owner)
		why = catalog_filter_why(f, owner);
	else if (r->extension && !c->is_everything)
		why = "belongs to an extension, and extensions are not selected";
	else if (!r->extension)
		why = catalog_filter_why(f, r);
	if (why)
		return why;
	if (r->extension && !r->is_config)
		return "belongs to an extension that does not mark it as configuration";
	if (r->kind == 'f')
		return "rows live on another server";
	r->is_matview_wanted = r->kind == 'm';
	if (r->is_matview_wanted)
		return r->is_populated ? "computed again by the restore" : "not populated";
	if (r->kind == 'r' && r->persistence == 'u' && o->is_unlogged_left_out)
		return "unlogged tables are left out on request";
	if (r->persistence == 'u' && c->is_standby)
		return "unlogged relations cannot be read on a standby";
	return NULL;
}

static int is_standby(struct pg *pg, bool *ret, struct error *err)
{
	char *text cleanup(mem_freep) = NULL;

	if (pg_value(pg, "SELECT pg_catalog.pg_is_in_recovery()", &text, err) < 0)
		return -1;
	*ret = text && text[0] == 't';
	return 0;
}

int catalog_read(struct pg *pg, const struct dump_options *o, struct catalog *ret, struct error *err)
{
	struct catalog_filter f cleanup(catalog_filter_release) = {0};
	struct catalog c cleanup(catalog_release) = {0};

	if (is_standby(pg, &c.is_standby, err) < 0 || read_relations(pg, &c, err) < 0 || read_configs(pg, &c, err) < 0 ||
		catalog_filter_read(pg, o, &f, err) < 0)
		return err_context(err, "could not read the catalog");
	c.is_everything = !f.has_schemas && !f.has_tables;
	for (size_t i = 0; i < c.count; i++)
		c.list[i].left_out_why = why_left_out(&c, &c.list[i], o, &f);
	c.partitions = take_ptr(f.partitions);
	*ret = c;
	memset(&c, 0, sizeof(c));
	return 0;
}

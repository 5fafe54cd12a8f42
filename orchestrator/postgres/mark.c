#include "orchestrator/postgres/mark.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/io.h"
#include "base/json.h"

#define FORMAT "holdfast-mark/1"
#define MAX_AGE 2000000000

/* Elements of a table's entry. */
enum table_at { AT_SCHEMA, AT_NAME, AT_INSERTED, AT_UPDATED, AT_DELETED, AT_LIVE, AT_MAINTAINED, AT_COUNT };

/* Large objects are rows of these; whoever may not read them still sees their counters. */
#define LARGE_OBJECTS "2613, 2995"

/* --- taking -------------------------------------------------------------------------------------------------------------- */

static int take_head(struct pg *pg, json_t *mark, struct error *err)
{
	static const char *const names[] = {
		"database_oid", "database", "snapshot", "lsn", "stats_reset", "server_stats_reset", "track_counts"};
	PGresult *res cleanup(pg_clearp) = NULL;

	/* The reset time of the shared statistics is when a crashed server began anew with empty ones. */
	if (pg_exec(pg,
		    "SELECT d.oid, d.datname, pg_catalog.txid_current_snapshot(), CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL ELSE "
		    "pg_catalog.pg_current_wal_lsn() END, COALESCE(s.stats_reset::text, ''), COALESCE(b.stats_reset::text, ''), pg_catalog.current_setting('track_counts') "
		    "FROM pg_catalog.pg_database d JOIN pg_catalog.pg_stat_database s ON s.datid = d.oid, pg_catalog.pg_stat_bgwriter b "
		    "WHERE d.datname = pg_catalog.current_database()",
		    &res, err) < 0)
		return -1;
	for (size_t i = 0; i < array_len(names); i++)
		json_object_set_new(mark, names[i], json_text_of(PQgetvalue(res, 0, (int)i)));
	return 0;
}

/* oid → [schema, name, counters…]; what Holdfast itself records after the mark (role.step) is nobody's row. */
static int take_tables(struct pg *pg, json_t **ret, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_exec(pg,
		    "SELECT c.oid, n.nspname, c.relname, s.n_tup_ins, s.n_tup_upd, s.n_tup_del, s.n_live_tup, "
		    "s.vacuum_count + s.autovacuum_count + s.analyze_count + s.autoanalyze_count "
		    "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
		    "LEFT JOIN pg_catalog.pg_stat_all_tables s ON s.relid = c.oid "
		    "WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND c.relname <> 'holdfast_steps' AND (n.nspname NOT IN "
		    "('pg_catalog', 'information_schema') OR c.oid IN (" LARGE_OBJECTS ")) ORDER BY c.oid",
		    &res, err) < 0)
		return -1;
	*ret = json_object();
	for (int i = 0; i < PQntuples(res); i++) {
		json_t *entry = json_array();

		json_array_append_new(entry, json_text_of(PQgetvalue(res, i, 1)));
		json_array_append_new(entry, json_text_of(PQgetvalue(res, i, 2)));
		for (int k = AT_INSERTED; k < AT_COUNT; k++)
			json_array_append_new(entry, json_integer(strtoll(PQgetvalue(res, i, k + 1), NULL, 10)));
		json_object_set_new(*ret, PQgetvalue(res, i, 0), entry);
	}
	return 0;
}

/* name → value, null where it was never used. */
static int take_pairs(struct pg *pg, const char *sql, json_t **ret, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_exec(pg, sql, &res, err) < 0)
		return -1;
	*ret = json_object();
	for (int i = 0; i < PQntuples(res); i++)
		json_object_set_new(
			*ret, PQgetvalue(res, i, 0), PQgetisnull(res, i, 1) ? json_null() : json_text_of(PQgetvalue(res, i, 1)));
	return 0;
}

static const char sequences_sql[] =
	"SELECT c.oid, CASE WHEN pg_catalog.has_sequence_privilege(c.oid, 'SELECT,USAGE') THEN pg_catalog.pg_sequence_last_value(c.oid) END "
	"FROM pg_catalog.pg_class c WHERE c.relkind = 'S' AND c.relpersistence <> 't'";

/* What belongs to TOAST tables and to temporary objects of whatever session comes and goes without anybody having changed the schema. */
static const char ignored_sql[] =
	"WITH temp(oid) AS (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname LIKE 'pg\\_temp\\_%' OR nspname LIKE 'pg\\_toast%'), "
	"ignored(oid) AS (SELECT oid FROM pg_catalog.pg_class WHERE relnamespace IN (SELECT oid FROM temp) UNION ALL SELECT oid FROM "
	"pg_catalog.pg_type WHERE typnamespace IN (SELECT oid FROM temp) UNION ALL SELECT oid FROM temp) ";

static const struct {
	const char *catalog, *column;
} ignored_by[] = {{"pg_attrdef", "adrelid"}, {"pg_attribute", "attrelid"}, {"pg_constraint", "conrelid"}, {"pg_depend", "objid"},
	{"pg_depend", "refobjid"}, {"pg_index", "indrelid"}, {"pg_inherits", "inhrelid"}, {"pg_namespace", "oid"},
	{"pg_rewrite", "ev_class"}, {"pg_trigger", "tgrelid"}, {"pg_type", "oid"}};

/*
 * A row of the catalog that was changed has a new xmin.  pg_class has rows changed by what is no change of the schema: of it, what counts is
 * digested by value, and the file of a table for TRUNCATE.
 */
static const char class_sql[] =
	"SELECT 'pg_class', pg_catalog.count(*) || ' ' || pg_catalog.sum(pg_catalog.hashtextextended(ROW(oid, relname, relnamespace, reltype, "
	"relowner, relam, CASE relkind WHEN 'r' THEN relfilenode END, CASE WHEN relkind IN ('r', 'p', 'm', 'S') THEN reltablespace END, "
	"relpersistence, relkind, relnatts, relchecks, relhasrules, relhastriggers, relrowsecurity, relforcerowsecurity, relispopulated, "
	"relreplident, relispartition, relacl, reloptions, relpartbound)::text, 0)) FROM pg_catalog.pg_class WHERE oid NOT IN (SELECT oid FROM "
	"ignored)";

static void put_catalog(struct buf *sql, const char *name)
{
	char *table cleanup(mem_freep) = pg_ident(name), *literal cleanup(mem_freep) = pg_literal(name);

	buf_printf(sql,
		" UNION ALL SELECT %s, pg_catalog.count(*) || ' ' || COALESCE(pg_catalog.sum(pg_catalog.hashtextextended(ctid::text || ' ' || "
		"xmin::text, 0)), 0) FROM pg_catalog.%s WHERE true",
		literal, table);
	for (size_t i = 0; i < array_len(ignored_by); i++)
		if (strcmp(ignored_by[i].catalog, name) == 0)
			buf_printf(sql, " AND %s NOT IN (SELECT oid FROM ignored)", ignored_by[i].column);
}

static int take_catalogs(struct pg *pg, json_t **ret, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;
	struct buf sql cleanup(buf_release) = {0};

	if (pg_exec(pg,
		    "SELECT relname FROM pg_catalog.pg_class WHERE relnamespace = 'pg_catalog'::pg_catalog.regnamespace AND relkind = 'r' "
		    "AND NOT relisshared AND pg_catalog.has_table_privilege(oid, 'SELECT') AND relname NOT IN ('pg_class', 'pg_statistic', "
		    "'pg_statistic_ext_data', 'pg_subscription_rel', 'pg_largeobject', 'pg_largeobject_metadata') ORDER BY 1",
		    &res, err) < 0)
		return -1;
	buf_printf(&sql, "%s%s", ignored_sql, class_sql);
	for (int i = 0; i < PQntuples(res); i++)
		put_catalog(&sql, PQgetvalue(res, i, 0));
	return take_pairs(pg, buf_str(&sql), ret, err);
}

static int take(struct pg *pg, json_t *mark, struct error *err)
{
	static const struct {
		const char *name;
		int (*take)(struct pg *pg, json_t **ret, struct error *err);
	} parts[] = {{"tables", take_tables}, {"catalogs", take_catalogs}};
	json_t *part = NULL;

	if (take_head(pg, mark, err) < 0)
		return -1;
	for (size_t i = 0; i < array_len(parts); i++) {
		if (parts[i].take(pg, &part, err) < 0)
			return -1;
		json_object_set_new(mark, parts[i].name, part);
	}
	if (take_pairs(pg, sequences_sql, &part, err) < 0)
		return -1;
	return json_object_set_new(mark, "sequences", part);
}

/* Within a transaction the statistics would be those of its first look.  A role's statement_timeout is meant for the application: here it would
 * make the way back impossible. */
int mark_begin(struct pg *pg, struct error *err)
{
	return pg_exec(pg,
		"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = ''; SET LOCAL row_security = off; SET LOCAL statement_timeout = 0; "
		"SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO'; SELECT pg_catalog.pg_stat_clear_snapshot()",
		NULL, err);
}

/* After a failure the transaction is left to whoever closes the connection. */
static int end(struct pg *pg, int rc, struct error *err)
{
	return rc < 0 ? -1 : pg_exec(pg, "COMMIT", NULL, err);
}

int mark_take(struct pg *pg, json_t **ret, struct error *err)
{
	json_t *mark cleanup(json_decrefpp) = json_pack("{s:s, s:I}", "format", FORMAT, "at_ms", (json_int_t)clock_utc_ms());

	if (mark_begin(pg, err) < 0 || end(pg, take(pg, mark, err), err) < 0)
		return err_context(err, "could not note the state of database \"%s\"", PQdb(pg->conn) ? PQdb(pg->conn) : "");
	*ret = take_ptr(mark);
	return 0;
}

/* --- keeping ------------------------------------------------------------------------------------------------------------- */

int mark_save(const json_t *mark, const char *path, struct error *err)
{
	char *text = json_dumps(mark, JSON_COMPACT);
	int rc = text ? io_replace_file(path, text, strlen(text), 0600, err)
		      : err_set(err, ERR_FULL, "could not write file \"%s\": out of memory", path);

	free(text);
	return rc;
}

int mark_load(const char *path, json_t **ret, struct error *err)
{
	struct buf text cleanup(buf_release) = {0};
	json_t *mark cleanup(json_decrefpp) = NULL;
	int rc = io_read_file(path, &text, err);

	if (rc < 0)
		return -1;
	if (rc == 0)
		return err_set(err, ERR_CORRUPT, "file \"%s\", which says what the database was like, is missing", path);
	mark = json_read(buf_str(&text), text.len, path, err);
	if (!mark)
		return -1;
	if (strcmp(json_get_str(mark, "format", ""), FORMAT) != 0 || !json_is_object(json_object_get(mark, "tables")) ||
		!json_is_object(json_object_get(mark, "catalogs")) || !json_is_object(json_object_get(mark, "sequences")))
		return err_set(err, ERR_CORRUPT, "file \"%s\" does not say what the database was like", path);
	*ret = take_ptr(mark);
	return 0;
}

const char *mark_lsn(const json_t *mark)
{
	return json_get_str(mark, "lsn", "");
}

int64_t mark_at_ms(const json_t *mark)
{
	return json_get_i64(mark, "at_ms", 0);
}

int64_t mark_oid(const json_t *mark)
{
	return strtoll(json_get_str(mark, "database_oid", "0"), NULL, 10);
}

void mark_follow(json_t *mark, int64_t oid)
{
	char *text cleanup(mem_freep) = mem_printf("%" PRId64, oid);

	json_object_set_new(mark, "database_oid", json_text_of(text));
	json_object_set_new(mark, "is_copy", json_true());
}

/* --- the condition on xmin ----------------------------------------------------------------------------------------------- */

/* "xmin:xmax:xip,xip": an id is new when it is at least xmax or one of xip, which were under way. */
int mark_condition(struct pg *pg, const json_t *mark, char **ret, struct error *err)
{
	const char *snapshot = json_get_str(mark, "snapshot", ""), *colon = strchr(snapshot, ':');
	char *now cleanup(mem_freep) = NULL, *end;
	struct buf sql cleanup(buf_release) = {0};
	uint64_t xmax = colon ? strtoull(colon + 1, &end, 10) : 0, next;

	if (!colon || *end != ':')
		return err_set(err, ERR_CORRUPT, "the note of the database's state has no snapshot");
	if (pg_value(pg, "SELECT pg_catalog.txid_snapshot_xmax(pg_catalog.txid_current_snapshot())", &now, err) < 0)
		return -1;
	next = now ? strtoull(now, NULL, 10) : 0;
	if (next < xmax || next - xmax > MAX_AGE)
		return err_set(err, ERR_FAILED, "what was written since transaction %" PRIu64 " cannot be told from other rows",
			       xmax),
		       err_detail(err, "The server is at transaction %" PRIu64 ".", next);
	buf_printf(&sql, "(pg_catalog.age(xmin) BETWEEN 0 AND pg_catalog.age('%" PRIu32 "'::pg_catalog.xid)", (uint32_t)xmax);
	for (const char *p = end + 1; *p;) {
		buf_printf(&sql, " OR xmin = '%" PRIu32 "'::pg_catalog.xid", (uint32_t)strtoull(p, &end, 10));
		p = end + (*end == ',');
		if (p == end)
			break;
	}
	buf_puts(&sql, ")");
	*ret = buf_take(&sql);
	return 0;
}

/* --- comparing ----------------------------------------------------------------------------------------------------------- */

struct comparison {
	struct pg *pg;
	const json_t *then;
	json_t *now;
	char *condition;
	struct mark_changes *ret;
	size_t cap;
};

static int64_t counter(const json_t *entry, enum table_at at)
{
	return json_integer_value(json_array_get(entry, at));
}

/* Where the server does not count what is done there is nothing to compare. */
static bool is_counting(const json_t *mark)
{
	return strcmp(json_get_str(mark, "track_counts", "on"), "on") == 0;
}

static bool is_counter_lost(const json_t *then, const json_t *now)
{
	static const char *const resets[] = {"stats_reset", "server_stats_reset"};
	json_t *tables = json_object_get(now, "tables"), *entry;
	const char *oid;

	if (json_get_bool(then, "is_copy", false) || !is_counting(then) || !is_counting(now))
		return true;
	for (size_t i = 0; i < array_len(resets); i++)
		if (strcmp(json_get_str(then, resets[i], ""), json_get_str(now, resets[i], "")) != 0)
			return true;
	json_object_foreach(tables, oid, entry)
	{
		const json_t *old = json_object_get(json_object_get(then, "tables"), oid);

		for (int k = AT_INSERTED; old && k <= AT_DELETED; k++)
			if (counter(entry, (enum table_at)k) < counter(old, (enum table_at)k))
				return true;
	}
	return false;
}

/* 1 counted, 0 the rows cannot be looked at, -1 */
static int count_rows(struct comparison *c, const char *schema, const char *name, uint64_t *ret, struct error *err)
{
	char *table cleanup(mem_freep) = pg_qualified(schema, name), *literal cleanup(mem_freep) = pg_literal(table);
	char *ask cleanup(mem_freep) = mem_printf(
		"SELECT 1 FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_am a ON a.oid = c.relam WHERE c.oid = %s::pg_catalog.regclass "
		"AND COALESCE(a.amname, 'heap') = 'heap' AND pg_catalog.has_table_privilege(c.oid, 'SELECT') AND NOT pg_catalog.row_security_active(c.oid)",
		literal);
	char *sql cleanup(mem_freep) = mem_printf("SELECT pg_catalog.count(*) FROM ONLY %s WHERE %s", table, c->condition);
	char *text cleanup(mem_freep) = NULL, *is_heap cleanup(mem_freep) = NULL;
	int rc = pg_value(c->pg, ask, &is_heap, err);

	if (rc <= 0)
		return rc;
	if (pg_value(c->pg, sql, &text, err) < 0)
		return err_context(err, "could not look for rows of table \"%s.%s\" that were written since", schema, name);
	*ret = text ? strtoull(text, NULL, 10) : 0;
	return 1;
}

static uint64_t grown(const json_t *now, const json_t *then, enum table_at at)
{
	int64_t n = counter(now, at) - (then ? counter(then, at) : 0);

	return n > 0 ? (uint64_t)n : 0;
}

/*
 * No row is gone: the number of live ones is what it was, and nothing has estimated it anew.  The server never counts below zero, so that
 * says something only where it started from enough: a database that is a copy, or of a server that has crashed, starts from 0.
 */
static bool is_rolled_back(const json_t *now, const json_t *then, uint64_t deleted)
{
	return then && counter(now, AT_MAINTAINED) == counter(then, AT_MAINTAINED) &&
		counter(then, AT_LIVE) >= (int64_t)deleted && counter(now, AT_LIVE) == counter(then, AT_LIVE);
}

static int compare_table(struct comparison *c, const char *oid, const json_t *now, struct error *err)
{
	const json_t *then = json_object_get(json_object_get(c->then, "tables"), oid);
	const char *schema = json_string_value(json_array_get(now, AT_SCHEMA)),
		   *name = json_string_value(json_array_get(now, AT_NAME));
	bool are_known = !c->ret->are_counters_lost;
	uint64_t ins = grown(now, then, AT_INSERTED), upd = grown(now, then, AT_UPDATED), del = grown(now, then, AT_DELETED);
	struct mark_table t = {.oid = (uint32_t)strtoul(oid, NULL, 10)};
	int rc;

	if (are_known && ins + upd + del == 0)
		return 0;
	rc = count_rows(c, schema, name, &t.written, err);
	if (rc < 0)
		return -1;
	t.is_unreadable = rc == 0;
	if (rc == 0 && are_known)
		t.written = ins + upd;
	t.deleted = are_known && !(rc > 0 && t.written == 0 && is_rolled_back(now, then, del)) ? del : 0;
	if (t.written + t.deleted == 0)
		return 0;
	t.schema = mem_strdup(schema);
	t.name = mem_strdup(name);
	c->ret->tables = mem_grow(c->ret->tables, &c->cap, c->ret->count + 1, sizeof(t));
	c->ret->tables[c->ret->count++] = t;
	c->ret->written += t.written;
	c->ret->deleted += t.deleted;
	return 0;
}

static int compare_tables(struct comparison *c, struct error *err)
{
	json_t *entry;
	const char *oid;

	json_object_foreach(json_object_get(c->now, "tables"), oid, entry)
	{
		if (compare_table(c, oid, entry, err) < 0)
			return -1;
	}
	return 0;
}

static void compare_catalogs(struct comparison *c)
{
	json_t *then = json_object_get(c->then, "catalogs"), *now = json_object_get(c->now, "catalogs"), *value;
	const char *name;

	json_object_foreach(now, name, value)
	{
		/* One that could not be read then, or cannot now, tells nothing. */
		if (c->ret->is_schema_changed || !json_object_get(then, name) || json_equal(json_object_get(then, name), value))
			continue;
		c->ret->is_schema_changed = true;
		c->ret->schema_what = mem_strdup(name);
	}
}

/* One that was set back gives numbers out again; one that moved on may have done so for what was rolled back. */
static void compare_sequences(struct comparison *c)
{
	json_t *then = json_object_get(c->then, "sequences"), *now = json_object_get(c->now, "sequences"), *value;
	const char *oid;

	c->ret->is_sequence_moved = !json_equal(then, now);
	json_object_foreach(then, oid, value)
	{
		const char *old = json_string_value(value), *new = json_get_str(now, oid, NULL);

		if (old && json_object_get(now, oid) && (!new || strtoll(new, NULL, 10) < strtoll(old, NULL, 10)))
			c->ret->is_sequence_set_back = true;
	}
}

static int compare(struct comparison *c, struct error *err)
{
	if (take(c->pg, c->now, err) < 0)
		return -1;
	if (strcmp(json_get_str(c->then, "database_oid", ""), json_get_str(c->now, "database_oid", "")) != 0) {
		c->ret->is_other_database = true;
		return 0;
	}
	if (mark_condition(c->pg, c->then, &c->condition, err) < 0)
		return -1;
	c->ret->is_copy = json_get_bool(c->then, "is_copy", false);
	c->ret->are_counters_lost = is_counter_lost(c->then, c->now);
	compare_sequences(c);
	compare_catalogs(c);
	return compare_tables(c, err);
}

int mark_compare_here(struct pg *pg, const json_t *mark, struct mark_changes *ret, struct error *err)
{
	struct comparison c = {.pg = pg, .then = mark, .now = json_object(), .ret = ret};
	int rc;

	memset(ret, 0, sizeof(*ret));
	rc = compare(&c, err);
	json_decref(c.now);
	free(c.condition);
	return rc < 0
		? err_context(err, "could not find out what was written to database \"%s\"", PQdb(pg->conn) ? PQdb(pg->conn) : "")
		: 0;
}

int mark_compare(struct pg *pg, const json_t *mark, struct mark_changes *ret, struct error *err)
{
	memset(ret, 0, sizeof(*ret));
	return mark_begin(pg, err) < 0 ? -1 : end(pg, mark_compare_here(pg, mark, ret, err), err);
}

void mark_changes_release(struct mark_changes *c)
{
	for (size_t i = 0; i < c->count; i++) {
		free(c->tables[i].schema);
		free(c->tables[i].name);
	}
	free(c->tables);
	free(c->schema_what);
	memset(c, 0, sizeof(*c));
}

bool mark_is_written(const struct mark_changes *c)
{
	return c->is_other_database || c->is_schema_changed || c->count > 0;
}

bool mark_is_unchanged(const struct mark_changes *c)
{
	return !mark_is_written(c) && !c->are_counters_lost && !c->is_sequence_set_back;
}

/* --- telling ------------------------------------------------------------------------------------------------------------- */

char *mark_describe(const struct mark_changes *c, size_t max)
{
	struct buf out = {0};

	for (size_t i = 0; i < c->count && i < max; i++) {
		const struct mark_table *t = &c->tables[i];

		buf_printf(&out, "%sTable \"%s.%s\": %" PRIu64 " row%s written", out.len ? "\n" : "", t->schema, t->name,
			t->written, t->written == 1 ? "" : "s");
		if (t->deleted)
			buf_printf(&out, ", %" PRIu64 " deleted", t->deleted);
		buf_puts(&out, ".");
	}
	if (c->count > max)
		buf_printf(&out, "\nAnd %zu more table%s.", c->count - max, c->count - max == 1 ? "" : "s");
	if (c->is_schema_changed)
		buf_printf(&out, "%sThe schema was changed (%s).", out.len ? "\n" : "", c->schema_what);
	if (c->are_counters_lost)
		buf_printf(&out, "%s%s: how many rows were deleted is not known.", out.len ? "\n" : "",
			c->is_copy ? "It is a copy, of which the server has counted anew" : "The server has lost its counters");
	return buf_take(&out);
}

char *mark_count(const struct mark_changes *c)
{
	uint64_t rows = c->written + c->deleted;

	return mem_printf("%" PRIu64 " row%s in %zu table%s", rows, rows == 1 ? "" : "s", c->count, c->count == 1 ? "" : "s");
}

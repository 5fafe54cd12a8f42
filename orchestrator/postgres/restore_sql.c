/*
 * What an archive needs to be restored without us: restore.sql for psql, README, sequences.sql.
 *
 * restore.sql runs in the directory where the archive was unpacked.  Data come before triggers, indexes and foreign keys exist, so
 * nothing needs to be disabled.  psql's \copy takes one line and interpolates nothing: names are double-quoted, and a name that
 * contains a line break is replaced by a plain one for as long as its rows are loaded.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "orchestrator/postgres/dump_private.h"

void dump_sequences_sql(const struct inventory *inv, struct buf *out)
{
	buf_puts(out, "-- Values of sequences.\n");
	for (size_t i = 0; i < inv->sequences_count; i++) {
		const struct inv_sequence *s = &inv->sequences[i];
		char *name cleanup(mem_freep) = pg_qualified(s->schema, s->name), *literal cleanup(mem_freep) = pg_literal(name);

		buf_printf(out, "SELECT pg_catalog.setval(%s, %" PRId64 ", %s);\n", literal, s->last_value,
			s->is_called ? "true" : "false");
	}
}

/* --- rows --------------------------------------------------------------------------------------------------------------- */

static bool is_one_line(const char *name)
{
	return !strpbrk(name, "\r\n");
}

/* "AS IT IS" or a stand-in of the same rank: "holdfast_column_3". */
static char *loading_name(const char *name, const char *what, size_t number)
{
	return is_one_line(name) ? mem_strdup(name) : mem_printf("holdfast_%s_%zu", what, number);
}

static void put_rename(struct buf *b, const char *prefix, const char *from, const char *to)
{
	char *a cleanup(mem_freep) = pg_ident(from), *z cleanup(mem_freep) = pg_ident(to);

	if (strcmp(from, to) != 0)
		buf_printf(b, "ALTER %s%s RENAME %sTO %s;\n", prefix, strncmp(prefix, "SCHEMA ", 7) == 0 ? a : "", "", z);
}

static void put_column_renames(struct buf *b, const struct inv_table *t, const char *table, bool is_back)
{
	for (size_t i = 0; i < t->columns_count; i++) {
		char *other cleanup(mem_freep) = loading_name(t->columns[i], "column", i);
		char *from cleanup(mem_freep) = pg_ident(is_back ? other : t->columns[i]);
		char *to cleanup(mem_freep) = pg_ident(is_back ? t->columns[i] : other);

		if (!is_one_line(t->columns[i]))
			buf_printf(b, "ALTER TABLE %s RENAME COLUMN %s TO %s;\n", table, from, to);
	}
}

static void put_copies(struct buf *b, const struct inventory *inv, const struct inv_table *t, const char *table)
{
	for (size_t k = 0; k < t->members_count; k++) {
		buf_printf(b, "\\copy %s", table);
		for (size_t i = 0; i < t->columns_count; i++) {
			char *other cleanup(mem_freep) = loading_name(t->columns[i], "column", i),
				    *quoted cleanup(mem_freep) = pg_ident(other);

			buf_printf(b, "%s%s%s", i ? ", " : " (", quoted, i + 1 == t->columns_count ? ")" : "");
		}
		buf_printf(b, " FROM '%s'\n", inv->members[t->members[k]].name);
	}
}

static void put_table(struct buf *b, const struct inventory *inv, const struct inv_table *t)
{
	char *schema cleanup(mem_freep) = loading_name(t->schema, "schema", t->oid),
		     *name cleanup(mem_freep) = loading_name(t->name, "table", t->oid);
	char *with_name cleanup(mem_freep) = pg_qualified(schema, t->name),
			*table cleanup(mem_freep) = pg_qualified(schema, name);
	char *prefix cleanup(mem_freep) = mem_printf("TABLE %s", with_name),
		     *back cleanup(mem_freep) = mem_printf("TABLE %s", table);

	if (t->members_count == 0)
		return;
	put_rename(b, "SCHEMA ", t->schema, schema);
	put_rename(b, prefix, t->name, name);
	put_column_renames(b, t, table, false);
	put_copies(b, inv, t, table);
	put_column_renames(b, t, table, true);
	put_rename(b, back, name, t->name);
	put_rename(b, "SCHEMA ", schema, t->schema);
}

static void put_large_objects(struct buf *b, const struct inventory *inv, const struct inv_table *t)
{
	buf_puts(b, "CREATE TEMPORARY TABLE holdfast_large_objects (loid oid, start bigint, data bytea);\n");
	for (size_t k = 0; k < t->members_count; k++)
		buf_printf(b,
			"\\copy pg_temp.holdfast_large_objects FROM '%s'\n"
			"SELECT count(pg_catalog.lo_create(loid)) AS \"large objects\" FROM (SELECT DISTINCT loid FROM pg_temp.holdfast_large_objects) n"
			" WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata m WHERE m.oid = n.loid);\n"
			"SELECT count(pg_catalog.lo_put(loid, start, data)) AS \"parts\" FROM pg_temp.holdfast_large_objects WHERE data <> '';\n"
			"TRUNCATE pg_temp.holdfast_large_objects;\n",
			inv->members[t->members[k]].name);
	buf_puts(b, "DROP TABLE pg_temp.holdfast_large_objects;\n\\i large-objects.sql\n");
}

/* --- the database itself ------------------------------------------------------------------------------------------------ */

static const struct {
	char letter;
	const char *privilege;
} privileges[] = {{'C', "CREATE"}, {'c', "CONNECT"}, {'T', "TEMPORARY"}};

/* The grantee of an aclitem: "name", bare or double-quoted; empty for PUBLIC.  Returns what follows '='. */
static const char *read_grantee(const char *item, struct buf *name)
{
	bool is_quoted = false;

	for (; *item && (is_quoted || *item != '='); item++) {
		if (*item != '"')
			buf_putc(name, *item);
		else if (is_quoted && item[1] == '"')
			buf_putc(name, *item++);
		else
			is_quoted = !is_quoted;
	}
	return *item ? item + 1 : item;
}

static void put_grants(struct buf *b, const char *item)
{
	struct buf name cleanup(buf_release) = {0};
	const char *p = read_grantee(item, &name);
	char *grantee cleanup(mem_freep) = name.len ? pg_ident(buf_str(&name)) : mem_strdup("PUBLIC");

	for (; *p && *p != '/'; p++)
		for (size_t i = 0; i < array_len(privileges); i++)
			if (*p == privileges[i].letter)
				buf_printf(b, "GRANT %s ON DATABASE :\"DBNAME\" TO %s%s;\n", privileges[i].privilege, grantee,
					p[1] == '*' ? " WITH GRANT OPTION" : "");
}

static void put_database(struct buf *b, const struct inventory *inv)
{
	char *owner cleanup(mem_freep) = pg_ident(inv->owner ? inv->owner : "postgres");

	buf_printf(b, "\n-- the database itself\nALTER DATABASE :\"DBNAME\" OWNER TO %s;\n", owner);
	if (inv->acl_count)
		buf_printf(b, "REVOKE ALL ON DATABASE :\"DBNAME\" FROM PUBLIC;\nREVOKE ALL ON DATABASE :\"DBNAME\" FROM %s;\n",
			owner);
	for (size_t i = 0; i < inv->acl_count; i++)
		put_grants(b, inv->acl[i]);
	for (size_t i = 0; i < inv->settings_count; i++) {
		char *setting cleanup(mem_freep) = pg_setting_sql(inv->settings[i].setting);
		char *role cleanup(mem_freep) = pg_ident(inv->settings[i].role ? inv->settings[i].role : "");

		if (inv->settings[i].role)
			buf_printf(b, "ALTER ROLE %s IN DATABASE :\"DBNAME\" SET %s;\n", role, setting);
		else
			buf_printf(b, "ALTER DATABASE :\"DBNAME\" SET %s;\n", setting);
	}
	if (inv->comment) {
		char *comment cleanup(mem_freep) = pg_literal(inv->comment);

		buf_printf(b, "COMMENT ON DATABASE :\"DBNAME\" IS %s;\n", comment);
	}
	if (inv->connection_limit >= 0)
		buf_printf(b, "ALTER DATABASE :\"DBNAME\" CONNECTION LIMIT %d;\n", inv->connection_limit);
}

/* --- the script --------------------------------------------------------------------------------------------------------- */

/* The settings under which the rows were written; pre-data.sql has set search_path and more. */
static const char settings[] =
	"SET search_path = '';\nSET datestyle = 'ISO, YMD';\nSET intervalstyle = 'postgres';\nSET timezone = 'UTC';\n"
	"SET lc_monetary = 'C';\nSET xmloption = 'content';\nSET array_nulls = on;\nSET standard_conforming_strings = on;\n"
	"SET statement_timeout = 0;\nSET lock_timeout = 0;\n";

int dump_restore_sql(const struct inventory *inv, struct buf *out, struct error *err)
{
	(void)err;
	buf_puts(out,
		"-- Restores this backup into the empty database psql is connected to; see README.\n\\set ON_ERROR_STOP on\n"
		"\\set AUTOCOMMIT on\n\n");
	buf_printf(out,
		"SET client_encoding = '%s';\n\\i globals.sql\n\\i pre-data.sql\n\n-- rows\nSET client_encoding = '%s';\n%s",
		inv->encoding, inv->encoding, settings);
	for (size_t i = 0; i < inv->tables_count; i++)
		if (inv->tables[i].kind == INV_LARGE_OBJECTS)
			put_large_objects(out, inv, &inv->tables[i]);
		else
			put_table(out, inv, &inv->tables[i]);
	buf_puts(out, "\n\\i sequences.sql\n\\i post-data.sql\n");
	for (size_t i = 0; i < inv->matviews_count; i++) {
		char *name cleanup(mem_freep) = pg_qualified(inv->matviews[i].schema, inv->matviews[i].name);

		if (inv->matviews[i].is_populated)
			buf_printf(out, "REFRESH MATERIALIZED VIEW %s;\n", name);
	}
	put_database(out, inv);
	buf_puts(out, "\nANALYZE;\n");
	return 0;
}

/* --- README ------------------------------------------------------------------------------------------------------------- */

/* For a shell's command line. */
static void put_argument(struct buf *b, const char *option, const char *text)
{
	if (!text)
		return;
	buf_printf(b, " %s='", option);
	for (; *text; text++)
		if (*text == '\'')
			buf_puts(b, "'\\''");
		else
			buf_putc(b, *text);
	buf_putc(b, '\'');
}

static void put_createdb(struct buf *b, const struct inventory *inv)
{
	buf_puts(b, "    createdb --template=template0");
	put_argument(b, "--encoding", inv->encoding);
	put_argument(b, "--lc-collate", inv->collate);
	put_argument(b, "--lc-ctype", inv->ctype);
	if (inv->server_version >= 150000 && inv->locale_provider && strcmp(inv->locale_provider, "libc") != 0) {
		put_argument(b, "--locale-provider", inv->locale_provider);
		put_argument(b, strcmp(inv->locale_provider, "icu") == 0 ? "--icu-locale" : "--builtin-locale", inv->icu_locale);
	}
	buf_puts(b, " app\n");
}

int dump_readme(const struct inventory *inv, const char *backup_id, struct buf *out, struct error *err)
{
	(void)err;
	buf_printf(out, "Backup %s of PostgreSQL database \"%s\", server %s\n\n", backup_id, inv->database,
		inv->server_version_text);
	buf_puts(out,
		"This is a tar archive compressed with zstd.  Stock tools restore it, into a new database (here \"app\"):\n\n");
	put_createdb(out, inv);
	buf_puts(out,
		"    tar --zstd -xf backup.tar.zst\n    psql -X -d app -v ON_ERROR_STOP=1 -f restore.sql\n\n"
		"Run psql in the directory where the archive was unpacked, as a superuser.  It stops at the first error.\n\n"
		"  restore.sql          the script above: what follows, in order\n"
		"  globals.sql          roles, memberships; an existing role is left alone, passwords are not kept\n"
		"  pre-data.sql         tables, types, functions, views\n"
		"  data/*.copy          rows as COPY text, some files a table\n"
		"  large-objects/*.copy large objects as rows: oid, offset, bytes\n"
		"  large-objects.sql    their owners, privileges, comments\n"
		"  sequences.sql        values of sequences\n"
		"  post-data.sql        indexes, constraints, triggers, policies\n"
		"  schema.dump          the schema once more, for pg_restore\n"
		"  files/               directories and files of the stack, if any; tar -p --xattrs --acls keeps all of what they were\n"
		"  manifest.json        every member with its SHA-256, every table with its rows and their digest\n\n"
		"psql must know \\restrict, which its minor releases of August 2025 and later do; for an older one take the lines that\n"
		"begin with \\restrict and \\unrestrict out of pre-data.sql and post-data.sql.\n");
	if (inv->tablespaces_count)
		buf_puts(out, "The tablespaces named at the top of globals.sql must exist.\n");
	return 0;
}

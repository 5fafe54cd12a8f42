/*
 * The schema's statements, run by ourselves instead of by pg_restore: in batches of one transaction each, which makes a database of
 * thousands of tables about a third faster than one transaction a statement, with the record of what is done in the same transaction.
 *
 * A batch is one query string.  When it fails it is halved until the entry that fails stands alone, so that the message names it;
 * what cannot run inside a transaction is then run by itself.
 */
#include "orchestrator/postgres/restore_private.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/child.h"
#include "base/io.h"
#include "orchestrator/postgres/toc_lex.h"

#define BATCH_ENTRIES 200 /* a table takes about five locks; the smallest lock tables hold some thousand */
#define BATCH_BYTES ((size_t)1 << 20)
#define DUMP_MEMBER "schema.dump"

/* --- reading ------------------------------------------------------------------------------------------------------------ */

struct member_file {
	int fd;
	const char *path;
};

static int write_block(void *arg, const char *p, size_t n, struct error *err)
{
	struct member_file *f = arg;

	return io_write_full(f->fd, p, n, f->path, err);
}

static int write_dump(const struct restore_options *o, const char *path, struct error *err)
{
	const struct inv_member *m = inventory_member(o->inventory, DUMP_MEMBER);
	int fd cleanup(io_closep) = -1;
	struct member_file f;

	if (!m)
		return err_set(err, ERR_CORRUPT, "backup has no member \"" DUMP_MEMBER "\"");
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(err, "could not create file \"%s\"", path);
	f = (struct member_file){.fd = fd, .path = path};
	if (o->source->read(o->source->ctx, m, write_block, &f, err) < 0)
		return err_context(err, "could not read the schema");
	return io_close(&fd, path, err);
}

int restore_tool(const struct restore_options *o, const char *const *args, struct buf *out, struct error *err)
{
	char *path cleanup(mem_freep) = NULL, *version cleanup(mem_freep) = NULL;
	struct child_result result cleanup(child_result_release) = {0};
	const char *argv[16];
	struct child_spec spec = {.argv = argv, .cancel = o->cancel, .progress = o->progress};
	size_t n = 0;

	if (pg_tool_find(o->pg_bindir, "pg_restore", o->inventory->server_version, &path, &version, err) < 0)
		return -1;
	argv[n++] = path;
	while (*args && n < array_len(argv) - 1)
		argv[n++] = *args++;
	argv[n] = NULL;
	if (child_run_ok(&spec, &result, err) < 0)
		return -1;
	*out = result.out;
	result.out = (struct buf){0};
	return 0;
}

static int read_section(
	const struct restore_options *o, const char *section, const char *path, struct toc *ret, struct error *err)
{
	char *arg cleanup(mem_freep) = mem_printf("--section=%s", section);
	const char *args[] = {"-v", "-f", "-", arg, path, NULL, NULL, NULL};
	struct buf out cleanup(buf_release) = {0};
	size_t n;

	if (o->is_owner_left_out) {
		args[5] = "-O";
		args[6] = "-x";
	}
	if (restore_tool(o, args, &out, err) < 0)
		return err_context(err, "could not read section \"%s\" of the schema", section);
	n = out.len;
	if (toc_split(buf_take(&out), n, ret, err) < 0)
		return err_context(err, "could not split section \"%s\" of the schema", section);
	return 0;
}

static int check_list(const struct restore_options *o, const struct schema *s, struct error *err)
{
	const char *args[] = {"-l", "--section=pre-data", "--section=post-data", s->dump_path, NULL, NULL, NULL};
	const struct toc *const tocs[] = {&s->pre, &s->post};
	struct buf out cleanup(buf_release) = {0};

	if (o->is_owner_left_out) {
		args[4] = "-O";
		args[5] = "-x";
	}
	if (restore_tool(o, args, &out, err) < 0)
		return err_context(err, "could not list the schema");
	return toc_check_list(buf_str(&out), tocs, array_len(tocs), err);
}

static int compare_oids(const void *a, const void *b)
{
	uint32_t x = (*(const struct inv_table *const *)a)->oid, y = (*(const struct inv_table *const *)b)->oid;

	return (x > y) - (x < y);
}

static void index_tables(struct schema *s, const struct inventory *inv)
{
	s->by_oid = mem_alloc((inv->tables_count + 1) * sizeof(*s->by_oid));
	for (size_t i = 0; i < inv->tables_count; i++)
		if (inv->tables[i].kind != INV_LARGE_OBJECTS)
			s->by_oid[s->by_oid_count++] = &inv->tables[i];
	qsort(s->by_oid, s->by_oid_count, sizeof(*s->by_oid), compare_oids);
}

const struct inv_table *schema_table(const struct schema *s, int id)
{
	const struct toc_entry *e = toc_find(&s->pre, id);
	struct inv_table key = {.oid = e ? e->oid : 0};
	const struct inv_table *wanted = &key, **found;

	if (!e || strcmp(e->desc, "TABLE") != 0 || !s->by_oid_count)
		return NULL;
	found = bsearch(&wanted, s->by_oid, s->by_oid_count, sizeof(*s->by_oid), compare_oids);
	return found ? *found : NULL;
}

int schema_read(const struct restore_options *o, struct schema *ret, struct error *err)
{
	struct schema s cleanup(schema_release) = {.dump_path = io_path_join(o->work_dir, DUMP_MEMBER)};

	if (write_dump(o, s.dump_path, err) < 0 || read_section(o, "pre-data", s.dump_path, &s.pre, err) < 0 ||
		read_section(o, "post-data", s.dump_path, &s.post, err) < 0 || check_list(o, &s, err) < 0)
		return -1;
	index_tables(&s, o->inventory);
	*ret = s;
	memset(&s, 0, sizeof(s));
	return 0;
}

void schema_release(struct schema *s)
{
	toc_release(&s->pre);
	toc_release(&s->post);
	free(s->dump_path);
	free(s->by_oid);
	memset(s, 0, sizeof(*s));
}

/* --- sessions ----------------------------------------------------------------------------------------------------------- */

/* As much as index builds profit from, unless the machine is small; never less than the server's own setting. */
static int set_memory(struct pg *pg, const struct restore_options *o, struct error *err)
{
	const long long want_kb = 256 * 1024;
	long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
	long long share_kb = pages > 0 ? (long long)pages / 1024 * page_bytes / 8 / restore_jobs(o) : want_kb;
	long long kb = share_kb < want_kb ? share_kb : want_kb;

	return pg_execf(pg, err,
		"SELECT pg_catalog.set_config('maintenance_work_mem', %lld || 'kB', false) FROM pg_catalog.pg_settings "
		"WHERE name = 'maintenance_work_mem' AND setting::bigint < %lld",
		kb, kb);
}

int schema_session(struct pg *pg, const struct schema *s, const struct restore_options *o, struct error *err)
{
	struct error refused cleanup(err_clear) = ERROR_INIT;

	for (size_t i = 0; i < s->pre.preamble_count; i++) {
		struct error ignored cleanup(err_clear) = ERROR_INIT;

		if (pg_exec(pg, s->pre.preamble[i], NULL, &ignored) == 0)
			continue;
		/* A newer pg_restore names settings which an older server does not have. */
		if (strcmp(ignored.sqlstate, "42704") != 0)
			return err_move(err, &ignored);
	}
	if (pg_exec(pg, "SET synchronous_commit = off", NULL, err) < 0)
		return -1;
	/* The pages of new indexes are most of the log; lz4 halves them at no cost worth naming.  For superusers, where it was built in. */
	if (pg->server_version >= 150000 && pg_exec(pg, "SET wal_compression = lz4", NULL, &refused) < 0 && !refused.sqlstate[0])
		return err_move(err, &refused);
	return set_memory(pg, o, err);
}

/* --- running ------------------------------------------------------------------------------------------------------------ */

int schema_entry_sql(const struct restore_options *o, const struct toc_entry *e, struct buf *sql, struct error *err)
{
	buf_printf(sql, "%s%s\n", e->set_tablespace, e->set_access_method);
	if (o->role_map && !o->is_owner_left_out)
		return roles_rewrite(e->sql, e->sql_len, o->role_map, sql, err);
	return buf_append(sql, e->sql, e->sql_len, err);
}

int schema_entry_failed(const struct toc_entry *e, struct error *err)
{
	if (e->schema && strcmp(e->schema, "-") != 0 && *e->schema)
		return err_context(err, "could not restore %s \"%s\" of schema \"%s\"", e->desc, e->name, e->schema);
	return err_context(err, "could not restore %s \"%s\"", e->desc, e->name);
}

static bool is_exists_already(const struct error *err)
{
	static const char *const states[] = {"42710", "42P07", "42P06", "42723", "42P04"};

	for (size_t i = 0; i < array_len(states); i++)
		if (strcmp(err->sqlstate, states[i]) == 0)
			return true;
	return false;
}

/*
 * Outside a transaction: one statement at a time, and the item after them.  A kill in between leaves the object without its item,
 * so that "exists already" is no failure here.
 */
static int run_alone(struct pg *pg, const struct restore_options *o, const struct toc_entry *e, struct error *err)
{
	struct buf sql cleanup(buf_release) = {0};
	struct sql_lexer lx;
	const char *start;

	if (schema_entry_sql(o, e, &sql, err) < 0)
		return -1;
	lx = (struct sql_lexer){.p = sql.data, .end = sql.data + sql.len};
	start = sql.data;
	for (;;) {
		char *statement cleanup(mem_freep) = NULL;
		struct error failed cleanup(err_clear) = ERROR_INIT;
		struct sql_token t;

		if (sql_next(&lx, &t, err) < 0)
			return -1;
		if (t.kind == SQL_END)
			break;
		if (t.kind == SQL_COMMENT || !sql_is_between_statements(&lx))
			continue;
		statement = mem_strndup(start, (size_t)(lx.p - start));
		start = lx.p;
		if (pg_exec(pg, statement, NULL, &failed) < 0 && !is_exists_already(&failed)) {
			err_move(err, &failed);
			return schema_entry_failed(e, err);
		}
	}
	return pg_execf(pg, err, "INSERT INTO " RESTORE_SCHEMA ".done(item) VALUES ('toc:%d') ON CONFLICT DO NOTHING", e->id);
}

/* A partition that was backed up without what it is a part of: it is there itself, and nothing to attach it to. */
static bool is_without_parent(const struct toc_entry *e, const struct error *failed)
{
	return strcmp(failed->sqlstate, "42P01") == 0 &&
		(strcmp(e->desc, "TABLE ATTACH") == 0 || strcmp(e->desc, "INDEX ATTACH") == 0);
}

static int pass_over(struct pg *pg, const struct restore_options *o, const struct toc_entry *e, struct error *err)
{
	if (strcmp(e->desc, "TABLE ATTACH") == 0)
		event_text(o->events, EVENT_WARNING,
			"\"%s\" of schema \"%s\" becomes a table of its own: what it is a partition of is not in the backup",
			e->name, e->schema);
	return pg_execf(pg, err, "INSERT INTO " RESTORE_SCHEMA ".done(item) VALUES ('toc:%d') ON CONFLICT DO NOTHING", e->id);
}

/*
 * Who is no superuser gives an object away only to a role that may create things in its schema; superusers gave it away without
 * asking, or the role's right comes with a later entry.  So everybody has the right for the length of that transaction, in which
 * nobody else sees it.  That we may grant it is likely, no more: schemas belong to roles that the restoring one is a member of.
 */
static bool may_lack_create(const struct toc_entry *e, const struct error *failed)
{
	return strcmp(failed->sqlstate, "42501") == 0 && e->schema && *e->schema && strcmp(e->schema, "-") != 0 &&
		memmem(e->sql, e->sql_len, " OWNER TO ", 10);
}

static int run_with_create(struct pg *pg, const struct restore_options *o, const struct toc_entry *e)
{
	char *schema cleanup(mem_freep) = pg_ident(e->schema);
	struct buf sql cleanup(buf_release) = {0}, values cleanup(buf_release) = {0};
	struct error ignored cleanup(err_clear) = ERROR_INIT; /* the first failure is the one to tell */

	buf_printf(&sql, "GRANT CREATE ON SCHEMA %s TO PUBLIC;\n", schema);
	if (schema_entry_sql(o, e, &sql, &ignored) < 0)
		return -1;
	buf_printf(&sql, "\n;REVOKE CREATE ON SCHEMA %s FROM PUBLIC", schema);
	done_put(&values, "toc:%d", e->id);
	done_sql(&sql, &values);
	return pg_exec(pg, buf_str(&sql), NULL, &ignored);
}

static int run_batch(
	struct pg *pg, const struct restore_options *o, const struct toc_entry *const *entries, size_t count, struct error *err)
{
	struct buf sql cleanup(buf_release) = {0}, values cleanup(buf_release) = {0};
	struct error failed cleanup(err_clear) = ERROR_INIT;

	for (size_t i = 0; i < count; i++) {
		if (schema_entry_sql(o, entries[i], &sql, err) < 0)
			return schema_entry_failed(entries[i], err);
		buf_putc(&sql, '\n');
		done_put(&values, "toc:%d", entries[i]->id);
	}
	done_sql(&sql, &values);
	if (pg_exec(pg, buf_str(&sql), NULL, &failed) == 0) {
		for (size_t i = 0; i < count; i++)
			progress_item(o->progress);
		return 0;
	}
	if (failed.class != ERR_FAILED && failed.class != ERR_DENIED) {
		return err_move(err, &failed);
	}
	if (count > 1) {
		if (run_batch(pg, o, entries, count / 2, err) < 0)
			return -1;
		return run_batch(pg, o, entries + count / 2, count - count / 2, err);
	}
	if (strcmp(failed.sqlstate, "25001") == 0)
		return run_alone(pg, o, entries[0], err);
	if (is_without_parent(entries[0], &failed))
		return pass_over(pg, o, entries[0], err);
	if (may_lack_create(entries[0], &failed) && run_with_create(pg, o, entries[0]) == 0) {
		progress_item(o->progress);
		return 0;
	}
	err_move(err, &failed);
	return schema_entry_failed(entries[0], err);
}

int schema_run(struct pg *pg, const struct restore_options *o, const struct toc_entry *const *entries, size_t count,
	const struct done_set *done, struct error *err)
{
	const struct toc_entry **batch cleanup(mem_freep) = mem_alloc(BATCH_ENTRIES * sizeof(*batch));
	size_t n = 0, bytes = 0;

	for (size_t i = 0; i < count; i++) {
		if (!done_hasf(done, "toc:%d", entries[i]->id)) {
			batch[n++] = entries[i];
			bytes += entries[i]->sql_len;
		}
		if (n == 0 || (n < BATCH_ENTRIES && bytes < BATCH_BYTES && i + 1 < count))
			continue;
		if (run_batch(pg, o, batch, n, err) < 0)
			return -1;
		n = bytes = 0;
	}
	return 0;
}

/* --- schemas ------------------------------------------------------------------------------------------------------------ */

static bool has_extension(const struct schema *s)
{
	for (size_t i = 0; i < s->pre.entries_count; i++)
		if (strcmp(s->pre.entries[i].desc, "EXTENSION") == 0)
			return true;
	return false;
}

static bool makes_schema(const struct schema *s, const char *name)
{
	for (size_t i = 0; i < s->pre.entries_count; i++)
		if (strcmp(s->pre.entries[i].desc, "SCHEMA") == 0 && strcmp(s->pre.entries[i].name, name) == 0)
			return true;
	return false;
}

static int make_schema(struct pg *pg, const char *name, struct error *err)
{
	char *ident cleanup(mem_freep) = pg_ident(name);
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_query(pg, "SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1", 1, (const char *const[]){name}, &res, err) < 0)
		return -1;
	return PQntuples(res) ? 0 : pg_execf(pg, err, "CREATE SCHEMA %s", ident);
}

/*
 * A backup of single tables has their schemas' names and no more.  One of everything has all of its schemas, but for those that
 * extensions make, and these must not be there before their extension.
 */
int schema_make_missing(struct pg *pg, const struct schema *s, struct error *err)
{
	const char *last = "";

	if (has_extension(s))
		return 0;
	for (size_t i = 0; i < s->pre.entries_count; i++) {
		const char *name = s->pre.entries[i].schema;

		if (!name || !*name || strcmp(name, "-") == 0 || strcmp(name, last) == 0)
			continue;
		last = name;
		if (!makes_schema(s, name) && make_schema(pg, name, err) < 0)
			return err_context(err, "could not create schema \"%s\"", name);
	}
	return 0;
}

/* --- keys --------------------------------------------------------------------------------------------------------------- */

struct reader {
	struct sql_lexer lx;
	struct sql_token t;
};

static bool read_next(struct reader *r)
{
	struct error ignored cleanup(err_clear) = ERROR_INIT;

	return sql_next(&r->lx, &r->t, &ignored) == 0;
}

static bool read_words(struct reader *r, const char *const *words)
{
	for (; *words; words++) {
		if (!sql_word_is(&r->t, *words) || !read_next(r))
			return false;
	}
	return true;
}

static bool read_char(struct reader *r, char c)
{
	return r->t.kind == SQL_OTHER && r->t.len == 1 && *r->t.p == c && read_next(r);
}

static bool read_identifier(struct reader *r, struct sql_token *ret)
{
	if (r->t.kind != SQL_WORD && (r->t.kind != SQL_QUOTED || *r->t.p != '"'))
		return false;
	*ret = r->t;
	return read_next(r);
}

int schema_split_key(const char *sql, size_t n, struct buf *ret_index, struct buf *ret_constraint)
{
	struct reader r = {.lx = {.p = sql, .end = sql + n}};
	struct sql_token schema, table, name, column;
	const char *columns, *columns_end;
	bool is_primary;

	if (!read_next(&r) || !read_words(&r, (const char *const[]){"alter", "table", "only", NULL}) ||
		!read_identifier(&r, &schema) || !read_char(&r, '.') || !read_identifier(&r, &table) ||
		!read_words(&r, (const char *const[]){"add", "constraint", NULL}) || !read_identifier(&r, &name))
		return 0;
	is_primary = sql_word_is(&r.t, "primary");
	if (!read_words(&r, is_primary ? (const char *const[]){"primary", "key", NULL} : (const char *const[]){"unique", NULL}))
		return 0;
	columns = r.t.p;
	if (!read_char(&r, '('))
		return 0;
	do {
		if (!read_identifier(&r, &column))
			return 0;
	} while (read_char(&r, ','));
	if (!read_char(&r, ')') || r.t.kind != SQL_OTHER || *r.t.p != ';')
		return 0;
	columns_end = r.t.p;
	if (!read_next(&r) || r.t.kind != SQL_END)
		return 0;
	buf_printf(ret_index, "CREATE UNIQUE INDEX %.*s ON ONLY %.*s.%.*s USING btree %.*s;", (int)name.len, name.p,
		(int)schema.len, schema.p, (int)table.len, table.p, (int)(columns_end - columns), columns);
	buf_printf(ret_constraint, "ALTER TABLE ONLY %.*s.%.*s ADD CONSTRAINT %.*s %s USING INDEX %.*s;", (int)schema.len,
		schema.p, (int)table.len, table.p, (int)name.len, name.p, is_primary ? "PRIMARY KEY" : "UNIQUE", (int)name.len,
		name.p);
	return 1;
}

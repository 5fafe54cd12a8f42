/*
 * What is neither rows nor definitions: values of sequences, large objects, content of materialized views.
 */
#include <stdlib.h>
#include <string.h>
#include "orchestrator/postgres/restore_private.h"
#include "orchestrator/postgres/toc_lex.h"

#define SEQUENCES_A_QUERY 500

/* --- sequences ---------------------------------------------------------------------------------------------------------- */

int values_sequences(struct pg *pg, const struct inventory *inv, const struct done_set *done, struct error *err)
{
	struct buf sql cleanup(buf_release) = {0}, values cleanup(buf_release) = {0};

	if (!inv->sequences_count || done_has(done, "sequences"))
		return 0;
	for (size_t i = 0; i < inv->sequences_count; i++) {
		const struct inv_sequence *s = &inv->sequences[i];
		char *name cleanup(mem_freep) = pg_qualified(s->schema, s->name);
		char *literal cleanup(mem_freep) = pg_literal(name);
		bool is_last = i + 1 == inv->sequences_count;

		buf_printf(&sql, "SELECT pg_catalog.setval(%s, %lld, %s);", literal, (long long)s->last_value,
			s->is_called ? "true" : "false");
		if (!is_last && (i + 1) % SEQUENCES_A_QUERY)
			continue;
		if (is_last) {
			done_put(&values, "sequences");
			done_sql(&sql, &values);
		}
		if (pg_exec(pg, buf_str(&sql), NULL, err) < 0)
			return err_context(err, "could not set the values of sequences");
		sql.len = 0;
	}
	return 0;
}

/* --- large objects ------------------------------------------------------------------------------------------------------ */

static const struct inv_table *large_objects(const struct inventory *inv)
{
	for (size_t i = 0; i < inv->tables_count; i++)
		if (inv->tables[i].kind == INV_LARGE_OBJECTS)
			return &inv->tables[i];
	return NULL;
}

static int load_large_objects(
	struct pg *pg, const struct restore_options *o, const struct inv_table *t, size_t number, struct error *err)
{
	struct buf sql cleanup(buf_release) = {0}, values cleanup(buf_release) = {0};

	if (pg_exec(pg, "BEGIN; CREATE TEMPORARY TABLE holdfast_lo(loid oid NOT NULL, pos bigint, data bytea) ON COMMIT DROP",
		    NULL, err) < 0 ||
		copy_in_member(pg, "COPY pg_temp.holdfast_lo FROM STDIN", t, &o->inventory->members[t->members[number]], o, err) <
			0)
		return -1;
	done_put(&values, "lo:%zu", number);
	buf_puts(&sql,
		"SELECT pg_catalog.count(pg_catalog.lo_create(loid)) FROM (SELECT DISTINCT loid FROM pg_temp.holdfast_lo) l WHERE NOT EXISTS "
		"(SELECT FROM pg_catalog.pg_largeobject_metadata m WHERE m.oid = l.loid);"
		"SELECT pg_catalog.count(*) FROM (SELECT pg_catalog.lo_put(loid, pos, data) FROM pg_temp.holdfast_lo "
		"WHERE pg_catalog.length(data) > 0 ORDER BY loid, pos OFFSET 0) p");
	done_sql(&sql, &values);
	buf_puts(&sql, "; COMMIT");
	return pg_exec(pg, buf_str(&sql), NULL, err);
}

int values_large_objects(struct pg *pg, const struct restore_options *o, const struct done_set *done, struct error *err)
{
	const struct inv_table *t = large_objects(o->inventory);

	for (size_t i = 0; t && i < t->members_count; i++) {
		struct error ignored cleanup(err_clear) = ERROR_INIT;

		if (done_hasf(done, "lo:%zu", i))
			continue;
		if (load_large_objects(pg, o, t, i, err) == 0)
			continue;
		if (pg->conn && pg_exec(pg, "ROLLBACK", NULL, &ignored) < 0)
			pg_close(pg);
		return err_context(err, "could not load large objects");
	}
	return 0;
}

/* --no-owner: what is neither an owner nor a privilege. */
static int keep_comments(const struct buf *text, struct buf *sql, struct error *err)
{
	struct sql_lexer lx = {.p = text->data, .end = text->data + text->len};
	struct sql_token t, first = {0};

	for (;;) {
		if (sql_next(&lx, &t, err) < 0)
			return -1;
		if (t.kind == SQL_END)
			return 0;
		if (t.kind == SQL_COMMENT || t.kind == SQL_META)
			continue;
		if (!first.p)
			first = t;
		if (!sql_is_between_statements(&lx))
			continue;
		if (sql_word_is(&first, "comment") || sql_word_is(&first, "security"))
			buf_putn(sql, first.p, (size_t)(lx.p - first.p));
		first.p = NULL;
	}
}

int values_large_object_owners(struct pg *pg, const struct restore_options *o, const struct done_set *done, struct error *err)
{
	struct buf text cleanup(buf_release) = {0}, sql cleanup(buf_release) = {0}, values cleanup(buf_release) = {0};
	int rc;

	if (done_has(done, "lo:owners"))
		return 0;
	rc = restore_read_member(o, "large-objects.sql", &text, err);
	if (rc <= 0 || !text.len)
		return rc < 0 ? -1 : 0;
	if ((o->is_owner_left_out ? keep_comments(&text, &sql, err)
				  : roles_rewrite(text.data, text.len, o->role_map, &sql, err)) < 0)
		return err_context(err, "could not read \"large-objects.sql\"");
	done_put(&values, "lo:owners");
	done_sql(&sql, &values);
	if (pg_exec(pg, buf_str(&sql), NULL, err) < 0)
		return err_context(err, "could not restore owners and privileges of large objects");
	return 0;
}

/* --- materialized views ------------------------------------------------------------------------------------------------- */

int values_matviews(struct pg *pg, const struct inventory *inv, const struct done_set *done, struct error *err)
{
	for (size_t i = 0; i < inv->matviews_count; i++) {
		const struct inv_matview *m = &inv->matviews[i];
		char *name cleanup(mem_freep) = pg_qualified(m->schema, m->name);
		struct buf sql cleanup(buf_release) = {0}, values cleanup(buf_release) = {0};

		if (!m->is_populated || done_hasf(done, "matview:%zu", i))
			continue;
		buf_printf(&sql, "REFRESH MATERIALIZED VIEW %s; ANALYZE %s", name, name);
		done_put(&values, "matview:%zu", i);
		done_sql(&sql, &values);
		if (pg_exec(pg, buf_str(&sql), NULL, err) < 0)
			return err_context(err, "could not refresh materialized view \"%s.%s\"", m->schema, m->name);
	}
	return 0;
}

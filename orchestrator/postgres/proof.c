/*
 * The proof: every table read back from the committed database, its digest and number of rows beside those of the inventory.
 */
#include <stdlib.h>
#include <string.h>
#include "orchestrator/postgres/restore_private.h"

#define SEQUENCES_A_QUERY 100

static void put_failure(struct proof_failures *f, const char *fmt, ...) printf_like(2, 3);
static void put_failure(struct proof_failures *f, const char *fmt, ...)
{
	char *line cleanup(mem_freep) = NULL;
	va_list ap;

	va_start(ap, fmt);
	line = mem_vprintf(fmt, ap);
	va_end(ap);
	pthread_mutex_lock(&f->lock);
	buf_printf(&f->lines, "%s%s", f->count ? "\n" : "", line);
	f->count++;
	pthread_mutex_unlock(&f->lock);
}

static int count_rows(struct pg *pg, const struct inv_table *t, uint64_t *ret, struct error *err)
{
	char *name cleanup(mem_freep) = pg_qualified(t->schema, t->name);
	char *sql cleanup(mem_freep) = mem_printf("SELECT count(*) FROM ONLY %s %s", name, t->condition ? t->condition : "");
	char *text cleanup(mem_freep) = NULL;
	int rc = pg_value(pg, sql, &text, err);

	if (rc == 0)
		return err_set(err, ERR_BUG, "count of table \"%s.%s\" gave no row", t->schema, t->name);
	if (rc > 0)
		*ret = strtoull(text, NULL, 10);
	return rc < 0 ? -1 : 0;
}

static char *table_name(const struct inv_table *t)
{
	return t->kind == INV_LARGE_OBJECTS ? mem_strdup("large objects") : mem_printf("table \"%s.%s\"", t->schema, t->name);
}

/* By number only: what COPY loaded was compared when it was loaded, so that this finds what came or went since. */
static int compare_counts(
	struct pg *pg, const struct inv_table *t, struct proof_failures *failures, bool *ret_is_equal, struct error *err)
{
	char *name cleanup(mem_freep) = table_name(t);
	uint64_t rows = t->rows;

	if (t->kind != INV_LARGE_OBJECTS && count_rows(pg, t, &rows, err) < 0)
		return err_context(err, "could not count the rows of %s", name);
	*ret_is_equal = rows == t->rows;
	if (!*ret_is_equal)
		put_failure(failures, "%s: %llu rows expected, %llu found", name, (unsigned long long)t->rows,
			(unsigned long long)rows);
	return 0;
}

/* Whether they are equal. */
static bool compare_rows(
	const struct inv_table *t, uint64_t rows, const struct row_digest *digest, struct proof_failures *failures)
{
	char *name cleanup(mem_freep) = table_name(t);
	bool is_equal = rows == t->rows && row_digest_equal(digest, &t->digest);

	if (rows != t->rows)
		put_failure(failures, "%s: %llu rows expected, %llu found", name, (unsigned long long)t->rows,
			(unsigned long long)rows);
	else if (!is_equal)
		put_failure(failures, "%s: %llu rows as expected, but their content differs", name, (unsigned long long)rows);
	return is_equal;
}

int proof_table(struct pg *pg, const struct inv_table *t, const char *schema, const struct restore_options *o,
	struct proof_failures *failures, bool *ret_is_equal, struct error *err)
{
	char *name cleanup(mem_freep) = NULL;
	struct inv_table copy = *t;
	struct row_digest digest = {0};
	uint64_t rows = 0, bytes = 0;

	if (schema)
		copy.schema = schema;
	if (o->verify == RESTORE_VERIFY_COUNTS)
		return compare_counts(pg, &copy, failures, ret_is_equal, err);
	name = table_name(&copy);
	if (row_digest_table(pg, &copy, o->progress, &digest, &rows, &bytes, err) < 0)
		return err_context(err, "could not read back %s", name);
	*ret_is_equal = compare_rows(&copy, rows, &digest, failures);
	return 0;
}

/* --- in parts ----------------------------------------------------------------------------------------------------------- */

bool proof_can_split(const struct inv_table *t)
{
	return (t->kind == INV_TABLE || t->kind == INV_UNLOGGED) && !t->condition;
}

static int ask_blocks(struct pg *pg, const struct inv_table *t, uint64_t *ret, struct error *err)
{
	char *name cleanup(mem_freep) = pg_qualified(t->schema, t->name);
	char *literal cleanup(mem_freep) = pg_literal(name);
	char *text cleanup(mem_freep) = NULL;
	char *sql cleanup(mem_freep) = mem_printf("SELECT pg_catalog.pg_relation_size(%s::pg_catalog.regclass) /"
						  " pg_catalog.current_setting('block_size')::bigint",
		literal);
	int rc = pg_value(pg, sql, &text, err);

	if (rc <= 0)
		return rc < 0 ? -1 : err_set(err, ERR_BUG, "size of table \"%s.%s\" gave no row", t->schema, t->name);
	*ret = strtoull(text, NULL, 10);
	return 0;
}

/* The first to come asks; the answer must be one for all, or the parts would overlap. */
static int shared_blocks(struct pg *pg, const struct inv_table *t, struct proof_failures *failures, struct proof_sum *sum,
	uint64_t *ret, struct error *err)
{
	int rc = 0;

	pthread_mutex_lock(&failures->lock);
	if (!sum->is_begun)
		rc = ask_blocks(pg, t, &sum->blocks, err);
	sum->is_begun = rc == 0;
	*ret = sum->blocks;
	pthread_mutex_unlock(&failures->lock);
	return rc;
}

static char *part_sql(const struct pg *pg, const struct inv_table *t, uint64_t blocks, size_t number, size_t parts)
{
	struct copy_range range = {
		.first = blocks * number / parts, .end = number + 1 == parts ? 0 : blocks * (number + 1) / parts};

	if (pg->server_version < 140000)
		return number ? NULL : copy_out_sql(t, NULL);
	if (number + 1 < parts && range.first == range.end) /* fewer blocks than parts */
		return NULL;
	return copy_out_sql(t, &range);
}

int proof_part(struct pg *pg, const struct inv_table *t, const struct restore_options *o, struct proof_failures *failures,
	struct proof_sum *sum, size_t number, size_t parts, bool *ret_is_last, struct error *err)
{
	char *sql cleanup(mem_freep) = NULL;
	struct row_digest digest = {0};
	uint64_t blocks = 0, rows = 0, bytes = 0;

	if (shared_blocks(pg, t, failures, sum, &blocks, err) < 0)
		return -1;
	sql = part_sql(pg, t, blocks, number, parts);
	if (sql && row_digest_query(pg, sql, o->progress, &digest, &rows, &bytes, err) < 0)
		return err_context(err, "could not read back table \"%s.%s\"", t->schema, t->name);
	pthread_mutex_lock(&failures->lock);
	sum->rows += rows;
	row_digest_add(&sum->digest, &digest);
	*ret_is_last = ++sum->parts_done == parts;
	pthread_mutex_unlock(&failures->lock);
	return 0;
}

bool proof_compare(const struct inv_table *t, const struct proof_sum *sum, struct proof_failures *failures)
{
	return compare_rows(t, sum->rows, &sum->digest, failures);
}

/* --- sequences ---------------------------------------------------------------------------------------------------------- */

static int compare_sequences(
	struct pg *pg, const struct inv_sequence *s, size_t count, struct proof_failures *failures, struct error *err)
{
	struct buf sql cleanup(buf_release) = {0};
	PGresult *res cleanup(pg_clearp) = NULL;

	for (size_t i = 0; i < count; i++) {
		char *name cleanup(mem_freep) = pg_qualified(s[i].schema, s[i].name);

		buf_printf(&sql, "%sSELECT %zu, last_value, is_called FROM %s", i ? " UNION ALL " : "", i, name);
	}
	buf_puts(&sql, " ORDER BY 1");
	if (pg_exec(pg, buf_str(&sql), &res, err) < 0)
		return err_context(err, "could not read back the sequences");
	for (size_t i = 0; i < count; i++) {
		long long last = strtoll(PQgetvalue(res, (int)i, 1), NULL, 10);
		bool is_called = *PQgetvalue(res, (int)i, 2) == 't';

		if (last != s[i].last_value || is_called != s[i].is_called)
			put_failure(failures, "sequence \"%s.%s\": last value %lld%s expected, %lld%s found", s[i].schema,
				s[i].name, (long long)s[i].last_value, s[i].is_called ? "" : " (not called)", last,
				is_called ? "" : " (not called)");
	}
	return 0;
}

int proof_sequences(struct pg *pg, const struct inventory *inv, struct proof_failures *failures, struct error *err)
{
	for (size_t i = 0; i < inv->sequences_count; i += SEQUENCES_A_QUERY) {
		size_t n = inv->sequences_count - i < SEQUENCES_A_QUERY ? inv->sequences_count - i : SEQUENCES_A_QUERY;

		if (compare_sequences(pg, inv->sequences + i, n, failures, err) < 0)
			return -1;
	}
	return 0;
}

int proof_verdict(const struct proof_failures *failures, const struct restore_options *o, struct error *err)
{
	if (!failures->count)
		return 0;
	err_set(err, ERR_CORRUPT, "proof of database \"%s\" failed: %u %s from the backup", o->target_db, failures->count,
		failures->count == 1 ? "object differs" : "objects differ");
	err_detail(err, "%s", buf_str(&failures->lines));
	return err_hint(err, "Nothing was swapped in. Check the backup set with \"holdfast verify\", then restore again.");
}

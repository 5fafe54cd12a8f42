/*
 * Whatever text is taken for what pg_restore prints: cut into entries, or refused as damaged.  The entries lie in the text one behind
 * the other, each of whole statements; and what is cut says the same as when the text is cut again.
 */
#include <stdlib.h>
#include <string.h>

#include "orchestrator/postgres/restore_private.h"
#include "orchestrator/postgres/toc.h"
#include "orchestrator/postgres/toc_lex.h"
#include "tests/fuzz/support.h"

/* Every statement of an entry is over where the entry is. */
static void check_statements(const struct toc_entry *e, bool has_backslash_escapes)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct sql_lexer lx = {.p = e->sql, .end = e->sql + e->sql_len, .has_backslash_escapes = has_backslash_escapes};
	struct sql_token t = {.kind = SQL_OTHER};
	bool is_between = true;

	while (t.kind != SQL_END) {
		fuzz_expect(sql_next(&lx, &t, &err) == 0, "an entry whose quotes are not closed");
		fuzz_expect(t.kind == SQL_END || (t.len > 0 && t.p >= e->sql && t.p + t.len <= e->sql + e->sql_len),
			"a token that is not in the text");
		if (t.kind != SQL_END && t.kind != SQL_COMMENT)
			is_between = sql_is_between_statements(&lx);
		if (t.kind == SQL_WORD || (t.kind == SQL_QUOTED && *t.p == '"')) {
			char *name cleanup(mem_freep) = sql_identifier(&t);

			fuzz_expect(name != NULL, "a word that is no identifier");
		}
	}
	fuzz_expect(is_between, "an entry that ends within a statement");
}

static void check_list(const struct toc *toc)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct buf list cleanup(buf_release) = {0};

	buf_puts(&list, "; a comment\n");
	for (size_t i = 0; i < toc->entries_count; i++) {
		const struct toc_entry *e = &toc->entries[i];

		buf_printf(&list, "%d; %u %u %s\n", e->id, e->class_oid, e->oid, "TABLE");
		fuzz_expect(toc_find(toc, e->id) && toc_find(toc, e->id)->id == e->id, "an entry that is not found by its id");
	}
	fuzz_expect(toc_check_list(buf_str(&list), &toc, 1, &err) == 0, "a list of all entries that is not theirs");
	buf_puts(&list, "2147483647; 1 1 TABLE\n");
	fuzz_expect_error(toc_check_list(buf_str(&list), &toc, 1, &err), &err, FUZZ_CLASS(ERR_CORRUPT));
}

static void check_again(const struct toc *toc, const uint8_t *data, size_t size)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct toc again cleanup(toc_release) = {0};

	fuzz_expect(toc_split(fuzz_text(data, size), size, &again, &err) == 0 && again.entries_count == toc->entries_count,
		"a text that is cut in another way");
	for (size_t i = 0; i < toc->entries_count; i++)
		fuzz_expect(again.entries[i].sql_len == toc->entries[i].sql_len &&
				memcmp(again.entries[i].sql, toc->entries[i].sql, toc->entries[i].sql_len) == 0,
			"an entry of other statements");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct toc toc cleanup(toc_release) = {0};
	bool has_escapes = false;
	const char *before;
	int rc = toc_split(fuzz_text(data, size), size, &toc, &err);

	fuzz_expect_error(rc, &err, FUZZ_CLASS(ERR_CORRUPT));
	if (rc < 0)
		return 0;
	for (size_t i = 0; i < toc.preamble_count; i++)
		has_escapes |= strncmp(toc.preamble[i], "SET standard_conforming_strings = off", 37) == 0;
	before = toc.text;
	for (size_t i = 0; i < toc.entries_count; i++) {
		const struct toc_entry *e = &toc.entries[i];
		struct buf index cleanup(buf_release) = {0}, constraint cleanup(buf_release) = {0};

		if (e->sql_len == 0)
			continue;
		fuzz_expect(e->sql >= before && e->sql + e->sql_len <= toc.text + size, "an entry that is not in the text");
		before = e->sql + e->sql_len;
		check_statements(e, has_escapes);
		if (schema_split_key(e->sql, e->sql_len, &index, &constraint) == 1)
			fuzz_expect(index.len > 0 && constraint.len > 0, "a key in two steps, one of them empty");
	}
	check_list(&toc);
	check_again(&toc, data, size);
	return 0;
}

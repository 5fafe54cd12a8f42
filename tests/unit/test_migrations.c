/*
 * Migrations as far as no server is needed: names, versions, sections, statements, and files against rows.
 */
#include "tests/unit/unit.h"

#include "orchestrator/postgres/migration_private.h"

/* --- versions and names ------------------------------------------------------------------------------------------------- */

static void versions_are_numbers(void **state)
{
	static const struct {
		const char *a, *b;
		int want;
	} cases[] = {
		{"1", "0001", 0},
		{"1", "1.0", 0},
		{"2", "10", -1},
		{"1.10", "1.9", 1},
		{"1.2", "1.2.1", -1},
		{"99999999999999999999999999", "100000000000000000000000000", -1},
		{"20261121120000", "20261121120000", 0},
		{"0", "000", 0},
	};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		int got = migration_version_compare(cases[i].a, cases[i].b),
		    back = migration_version_compare(cases[i].b, cases[i].a);

		assert_int_equal((got > 0) - (got < 0), cases[i].want);
		assert_int_equal((back > 0) - (back < 0), -cases[i].want);
	}
	assert_int_not_equal(migration_version_compare("abc", "1"), 0);
	assert_int_not_equal(migration_version_compare("1a", "1b"), 0);
}

static void names_of_five_tools_are_read(void **state)
{
	static const struct {
		const char *file, *version, *name;
		enum migration_name want;
	} cases[] = {
		{"001_init.sql", "001", "init", MIGRATION_NAME_VERSIONED},
		{"1.2_x_y.sql", "1.2", "x_y", MIGRATION_NAME_VERSIONED},
		{"20261121120000-add.SQL", "20261121120000", "add", MIGRATION_NAME_VERSIONED},
		{"7.sql", "7", "", MIGRATION_NAME_VERSIONED},
		{"000001_create.up.sql", "000001", "create", MIGRATION_NAME_VERSIONED},
		{"000001_create.down.sql", NULL, NULL, MIGRATION_NAME_DOWN},
		{"V1__first.sql", "1", "first", MIGRATION_NAME_VERSIONED},
		{"V2_1__second.sql", "2.1", "second", MIGRATION_NAME_VERSIONED},
		{"V2.1__second.sql", "2.1", "second", MIGRATION_NAME_VERSIONED},
		{"U2_1__second.sql", NULL, NULL, MIGRATION_NAME_DOWN},
		{"R__views.sql", "R__views", "views", MIGRATION_NAME_REPEATABLE},
		{"V1_one_underscore.sql", NULL, NULL, MIGRATION_NAME_OTHER},
		{"V__none.sql", NULL, NULL, MIGRATION_NAME_OTHER},
		{"V1__.sql", NULL, NULL, MIGRATION_NAME_OTHER},
		{"schema.sql", NULL, NULL, MIGRATION_NAME_OTHER},
		{"1x.sql", NULL, NULL, MIGRATION_NAME_OTHER},
		{".sql", NULL, NULL, MIGRATION_NAME_OTHER},
		{"a", NULL, NULL, MIGRATION_NAME_OTHER},
		{"1_x.txt", NULL, NULL, MIGRATION_NAME_OTHER},
	};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		struct arena arena = {0};
		const char *version = NULL, *name = NULL;

		assert_int_equal(migration_name_parse(cases[i].file, &arena, &version, &name), cases[i].want);
		if (cases[i].version) {
			assert_string_equal(version, cases[i].version);
			assert_string_equal(name, cases[i].name);
		}
		arena_release(&arena);
	}
}

/* --- a directory -------------------------------------------------------------------------------------------------------- */

static void put(const char *dir, const char *file, const char *text)
{
	struct error err = ERROR_INIT;
	char *path cleanup(mem_freep) = io_path_join(dir, file);

	assert_ok(io_replace_file(path, text, strlen(text), 0600, &err), &err);
}

static void sections_are_found(void **state)
{
	static const struct {
		const char *text, *up;
		int line;
		bool is_without_transaction;
	} cases[] = {
		{"SELECT 1;\n", "SELECT 1;\n", 1, false},
		{"\xef\xbb\xbfSELECT 1;", "SELECT 1;", 1, false},
		{"\xef\xbb\xbf-- migrate:up\nA;\n", "A;\n", 2, false},
		{"-- about\n-- migrate:up\nA;\n-- migrate:down\nB;\n", "A;\n", 3, false},
		{"--migrate:up\r\nA;\r\n  -- migrate:down\r\nB;", "A;\r\n", 2, false},
		{"-- migrate:up transaction:false\nA;\n", "A;\n", 2, true},
		{"-- holdfast: no-transaction\nA;\n", "-- holdfast: no-transaction\nA;\n", 1, true},
		{"-- migrate:up\nA;\n-- migrate:down\n-- holdfast: no-transaction\nB;", "A;\n", 2, false},
		{"-- migrate:up", "", 2, false},
		{"-- migrate:upwards\nA", "-- migrate:upwards\nA", 1, false},
		{"", "", 1, false},
	};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		char *dir = unit_mkdir();
		struct migration_files files = {0};
		struct buf up cleanup(buf_release) = {0};
		struct error err = ERROR_INIT;

		put(dir, "1_a.sql", cases[i].text);
		assert_ok(migration_files_read(dir, &files, &err), &err);
		assert_int_equal(files.count, 1);
		assert_ok(migration_file_text(&files, &files.list[0], &up, &err), &err);
		assert_string_equal(buf_str(&up), cases[i].up);
		assert_int_equal(files.list[0].up_line, cases[i].line);
		assert_int_equal(files.list[0].is_without_transaction, cases[i].is_without_transaction);
		put(dir, "1_a.sql", "other");
		buf_release(&up);
		assert_int_equal(migration_file_text(&files, &files.list[0], &up, &err), -1);
		assert_error(&err, ERR_CONFLICT, "migration \"1_a.sql\" was changed while the directory was being applied");
		migration_files_release(&files);
		unit_rmdir(dir);
	}
}

static void wrong_directories_are_refused(void **state)
{
	static const struct {
		const char *file, *text, *file2, *message;
	} cases[] = {
		{"1_a.sql", "-- +goose Up\n", NULL,
			"migration \"1_a.sql\" has sections that are not understood: \"-- +goose\" and \"-- +migrate\""},
		{"1_a.sql", "-- migrate:down\n", NULL,
			"migration \"1_a.sql\" has \"-- migrate:down\" without \"-- migrate:up\" before it"},
		{"01_a.sql", "", "V1__b.sql", "migrations \"01_a.sql\" and \"V1__b.sql\" have the same version"},
		{"R__a.sql", "", "1_a.sql", NULL},
	};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		char *dir = unit_mkdir();
		struct migration_files files = {0};
		struct error err = ERROR_INIT;
		int rc;

		put(dir, cases[i].file, cases[i].text);
		if (cases[i].file2)
			put(dir, cases[i].file2, "");
		put(dir, ".hidden.sql", "");
		rc = migration_files_read(dir, &files, &err);
		assert_int_equal(rc, cases[i].message ? -1 : 0);
		if (cases[i].message)
			assert_error(&err, ERR_CONFIG, cases[i].message);
		migration_files_release(&files);
		unit_rmdir(dir);
	}
}

/* --- statements --------------------------------------------------------------------------------------------------------- */

static int split(const char *sql, bool has_escapes, struct migration_text *ret, struct error *err)
{
	static const struct migration_file file = {.file = "1_a.sql", .up_line = 10};

	buf_puts(&ret->text, sql);
	return migration_text_split(ret, &file, has_escapes, err);
}

static void assert_statements(const char *sql, bool has_escapes, const char *const *want)
{
	struct migration_text t cleanup(migration_text_release) = {0};
	struct error err = ERROR_INIT;
	size_t i;

	assert_ok(split(sql, has_escapes, &t, &err), &err);
	assert_string_equal(buf_str(&t.text), sql);
	for (i = 0; want[i]; i++) {
		char *got cleanup(mem_freep) = NULL;

		assert_true(i < t.count);
		got = mem_strndup(buf_str(&t.text) + t.list[i].at, t.list[i].len);
		assert_string_equal(got, want[i]);
	}
	assert_int_equal(t.count, i);
}

static void statements_end_where_the_server_ends_them(void **state)
{
	(void)state;
	assert_statements("", false, (const char *const[]){NULL});
	assert_statements(";; -- x;\n /* ; /* ; */ */ ;", false, (const char *const[]){NULL});
	assert_statements("SELECT 1; SELECT 2", false, (const char *const[]){"SELECT 1", "SELECT 2", NULL});
	assert_statements("SELECT 1 -- no ; at the end", false, (const char *const[]){"SELECT 1", NULL});
	assert_statements("SELECT ';''', E'\\';', $$;$$, $a$ $b$; $a$, \";\"; SELECT 2;", false,
		(const char *const[]){"SELECT ';''', E'\\';', $$;$$, $a$ $b$; $a$, \";\"", "SELECT 2", NULL});
	assert_statements("SELECT '\\'; SELECT 2;", false, (const char *const[]){"SELECT '\\'", "SELECT 2", NULL});
	assert_statements("SELECT '\\'; SELECT 2;'", true, (const char *const[]){"SELECT '\\'; SELECT 2;'", NULL});
	assert_statements("CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 1; SELECT 2); SELECT 3", false,
		(const char *const[]){"CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 1; SELECT 2)", "SELECT 3", NULL});
	assert_statements(
		"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 2 END; END; SELECT 3", false,
		(const char *const[]){
			"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 2 END; END",
			"SELECT 3", NULL});
	assert_statements("SAVEPOINT s; ROLLBACK TO s; ROLLBACK WORK TO SAVEPOINT s; RELEASE s; PREPARE p AS SELECT 1", false,
		(const char *const[]){"SAVEPOINT s", "ROLLBACK TO s", "ROLLBACK WORK TO SAVEPOINT s", "RELEASE s",
			"PREPARE p AS SELECT 1", NULL});
	assert_statements("COPY t FROM '/x'; COPY t TO PROGRAM 'stdin'", false,
		(const char *const[]){"COPY t FROM '/x'", "COPY t TO PROGRAM 'stdin'", NULL});
}

static void what_cannot_be_part_is_refused_at_its_place(void **state)
{
	static const char control[] = "a migration cannot begin or end a transaction itself",
			  meta[] = "a backslash begins a command of psql, which is no SQL",
			  copy[] = "a migration cannot copy from or to its client",
			  name[] = "an index that is created concurrently needs a name here";
	static const struct {
		const char *sql, *place, *message;
		enum err_class class;
	} cases[] = {
		{"SELECT 1;\n  BEGIN;", "11:3", control, ERR_REFUSED},
		{"start transaction isolation level serializable", "10:1", control, ERR_REFUSED},
		{"SELECT 'ä'; COMMIT;", "10:13", control, ERR_REFUSED},
		{"END", "10:1", control, ERR_REFUSED},
		{"ABORT;", "10:1", control, ERR_REFUSED},
		{"ROLLBACK AND CHAIN;", "10:1", control, ERR_REFUSED},
		{"ROLLBACK PREPARED 'x';", "10:1", control, ERR_REFUSED},
		{"PREPARE TRANSACTION 'x';", "10:1", control, ERR_REFUSED},
		{"\\connect x", "10:1", meta, ERR_REFUSED},
		{"SELECT 1;\n\n\\i x.sql", "12:1", meta, ERR_REFUSED},
		{"SELECT 1 \\gexec", "10:10", meta, ERR_REFUSED},
		{"COPY t (a) FROM STDIN WITH (FORMAT csv);\n1\n\\.\n", "10:1", copy, ERR_REFUSED},
		{"COPY t TO stdout;", "10:1", copy, ERR_REFUSED},
		{"CREATE INDEX CONCURRENTLY ON t (a);", "10:1", name, ERR_REFUSED},
		{"SELECT 'x", "10:8", "the text ends inside a quoted string", ERR_CONFIG},
		{"SELECT 1; /* /* */", "10:11", "the text ends inside a comment", ERR_CONFIG},
		{"DO $a$ $b$", "10:4", "the text ends inside a dollar-quoted string", ERR_CONFIG},
		{"SELECT (1", "10:1", "the text ends inside a statement", ERR_CONFIG},
	};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		struct migration_text t cleanup(migration_text_release) = {0};
		struct error err = ERROR_INIT;
		char *message cleanup(mem_freep) = mem_printf("1_a.sql:%s: %s", cases[i].place, cases[i].message);

		assert_int_equal(split(cases[i].sql, false, &t, &err), -1);
		assert_error(&err, cases[i].class, message);
	}
}

static void concurrent_indexes_are_known_by_name_and_table(void **state)
{
	static const struct {
		const char *sql, *index, *relation;
	} cases[] = {
		{"CREATE INDEX CONCURRENTLY i ON t (a)", "i", "t"},
		{"create unique index concurrently if not exists \"A \"\"b\" on only \"S\" . \"T t\" using btree (a)", "A \"b",
			"\"S\".\"T t\""},
		{"/* x */ CREATE INDEX -- y\n CONCURRENTLY Folded ON a.b.c (d)", "folded", "a.b.c"},
		{"CREATE INDEX i ON t (a)", NULL, NULL},
	};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		struct migration_text t cleanup(migration_text_release) = {0};
		struct error err = ERROR_INIT;

		assert_ok(split(cases[i].sql, false, &t, &err), &err);
		assert_int_equal(t.count, 1);
		assert_int_equal(t.list[0].is_create_index, cases[i].index != NULL);
		if (cases[i].index) {
			assert_string_equal(t.list[0].index, cases[i].index);
			assert_string_equal(t.list[0].relation, cases[i].relation);
		}
	}
}

static void excerpts_are_short_and_on_one_line(void **state)
{
	struct migration_text t cleanup(migration_text_release) = {0};
	struct error err = ERROR_INIT;
	struct buf sql cleanup(buf_release) = {0};
	char *got cleanup(mem_freep) = NULL;

	(void)state;
	buf_puts(&sql, "SELECT\n\t 1,  2, '");
	for (int i = 0; i < 200; i++)
		buf_puts(&sql, "ä");
	buf_puts(&sql, "'");
	assert_ok(split(buf_str(&sql), false, &t, &err), &err);
	got = migration_text_excerpt(&t, &t.list[0]);
	assert_int_equal(strncmp(got, "SELECT 1, 2, 'ää", 18), 0);
	assert_true(strlen(got) <= 124);
	assert_string_equal(got + strlen(got) - 5, "ä...");
}

/* --- files and rows ----------------------------------------------------------------------------------------------------- */

static struct migration_files files_of(const char *const *names)
{
	struct migration_files all = {.dir = "m"};

	for (; *names; names++) {
		struct migration_file f = {.file = *names};
		enum migration_name kind = migration_name_parse(*names, &all.arena, &f.version, &f.name);

		f.is_repeatable = kind == MIGRATION_NAME_REPEATABLE;
		memset(f.sha256, 'a', sizeof(f.sha256) - 1);
		all.list = mem_grow(all.list, &all.cap, all.count + 1, sizeof(*all.list));
		all.list[all.count++] = f;
	}
	return all;
}

static void add(struct migration_rows *rows, const char *version, const char *sha256)
{
	*migration_rows_add(rows) = (struct migration_row){.version = version, .name = "x", .file = "", .sha256 = sha256};
}

#define SAME "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void assert_states(const struct migration_entries *e, const char *want)
{
	struct buf b cleanup(buf_release) = {0};

	for (size_t i = 0; i < e->count; i++)
		buf_printf(&b, "%s%s:%s", i ? " " : "", e->list[i].file ? e->list[i].file->version : e->list[i].row->version,
			migration_state_name(e->list[i].state));
	assert_string_equal(buf_str(&b), want);
}

static void files_and_rows_are_told_apart(void **state)
{
	struct migration_files files = files_of((const char *const[]){
		"1_a.sql", "02_b.sql", "3_c.sql", "4_d.sql", "10_e.sql", "R__a.sql", "R__b.sql", "R__c.sql", NULL});
	struct migration_rows rows = {0};
	struct migration_entries e;
	struct error err = ERROR_INIT;

	(void)state;
	add(&rows, "R__b", "other");
	add(&rows, "4", NULL); /* adopted */
	add(&rows, "2", SAME);
	add(&rows, "2.5", SAME);
	add(&rows, "001", "other");
	add(&rows, "R__a", SAME);
	add(&rows, "R__gone", SAME);
	assert_ok(migration_compare(&files, &rows, NULL, &e, &err), &err);
	assert_states(&e,
		"1:changed 02:applied 2.5:missing 3:out of order 4:applied 10:pending R__a:applied R__b:pending R__c:pending");
	assert_string_equal(e.version, "4");
	assert_int_equal(e.applied, 3);
	assert_int_equal(e.pending, 3);
	assert_int_equal(migration_refuse_drift(&e, &err), -1);
	assert_error_full(&err, ERR_REFUSED, "the directory and the database disagree about 3 migrations",
		"\"1_a.sql\": applied, and changed since.\n\"2.5\": applied, and not in the directory.\n"
		"\"3_c.sql\": not applied, though a later one is.",
		"Put applied files back as they were; a change goes into a new file with a version of its own, later than all that are applied.");
	migration_entries_release(&e);
	migration_rows_release(&rows);
	migration_files_release(&files);
}

static void to_leaves_what_comes_later(void **state)
{
	struct migration_files files = files_of((const char *const[]){"1_a.sql", "2_b.sql", "3_c.sql", "R__a.sql", NULL});
	struct migration_rows rows = {0};
	struct migration_entries e;
	struct error err = ERROR_INIT;

	(void)state;
	assert_ok(migration_compare(&files, &rows, "002", &e, &err), &err);
	assert_states(&e, "1:pending 2:pending 3:later R__a:later");
	assert_null(e.version);
	migration_entries_release(&e);
	assert_ok(migration_compare(&files, &rows, "3", &e, &err), &err);
	assert_states(&e, "1:pending 2:pending 3:pending R__a:pending");
	migration_entries_release(&e);
	add(&rows, "1", SAME);
	add(&rows, "2", SAME);
	assert_ok(migration_compare(&files, &rows, "1", &e, &err), &err);
	assert_states(&e, "1:applied 2:applied 3:later R__a:later");
	migration_entries_release(&e);
	assert_int_equal(migration_compare(&files, &rows, "7", &e, &err), -1);
	assert_error(&err, ERR_CONFIG, "there is no migration with version \"7\" in directory \"m\"");
	migration_rows_release(&rows);
	migration_files_release(&files);
}

static void an_unfinished_one_is_pending(void **state)
{
	struct migration_files files = files_of((const char *const[]){"1_a.sql", "2_b.sql", NULL});
	struct migration_rows rows = {0};
	struct migration_entries e;
	struct error err = ERROR_INIT;

	(void)state;
	add(&rows, "1", "part");
	rows.list[0].is_running = true;
	assert_ok(migration_compare(&files, &rows, NULL, &e, &err), &err);
	assert_states(&e, "1:unfinished 2:pending");
	assert_int_equal(e.pending, 2);
	assert_int_equal(e.drifted, 0);
	migration_entries_release(&e);
	migration_rows_release(&rows);
	migration_files_release(&files);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(versions_are_numbers),
		cmocka_unit_test(names_of_five_tools_are_read),
		cmocka_unit_test(sections_are_found),
		cmocka_unit_test(wrong_directories_are_refused),
		cmocka_unit_test(statements_end_where_the_server_ends_them),
		cmocka_unit_test(what_cannot_be_part_is_refused_at_its_place),
		cmocka_unit_test(concurrent_indexes_are_known_by_name_and_table),
		cmocka_unit_test(excerpts_are_short_and_on_one_line),
		cmocka_unit_test(files_and_rows_are_told_apart),
		cmocka_unit_test(to_leaves_what_comes_later),
		cmocka_unit_test(an_unfinished_one_is_pending),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

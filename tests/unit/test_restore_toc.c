/*
 * The schema's text cut into entries, whatever the authors of its functions wrote into them; role names; keys made in two steps.
 */
#include "tests/unit/unit.h"

#include <string.h>
#include "orchestrator/postgres/restore_private.h"
#include "orchestrator/postgres/toc.h"

#define PREAMBLE \
	"--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\n\nSET statement_timeout = 0;\nSET standard_conforming_strings = on;\n\n"
#define HEADING(id, oid, type) \
	"--\n-- TOC entry " id " (class 1259 OID " oid ")\n-- Dependencies: 7 9\n-- Name: t; Type: " type \
	"; Schema: public; Owner: me\n--\n\n"
#define FORGED \
	"\n--\n-- TOC entry 2 (class 1259 OID 16402)\n-- Name: t; Type: TABLE; Schema: public; Owner: me\n--\n\nALTER ROLE me SUPERUSER;\n"

static void split_of(const char *text, struct toc *ret)
{
	struct error err cleanup(err_clear) = ERROR_INIT;

	assert_int_equal(toc_split(mem_strdup(text), strlen(text), ret, &err), 0);
}

static void assert_sql(const struct toc *toc, size_t i, const char *want)
{
	char *sql cleanup(mem_freep) = mem_strndup(toc->entries[i].sql, toc->entries[i].sql_len);

	assert_string_equal(sql, want);
}

static void entries_are_found_with_settings_and_dependencies(void **state)
{
	struct toc toc cleanup(toc_release) = {0};

	(void)state;
	split_of(PREAMBLE "SET default_tablespace = '';\n\n" HEADING(
			 "1", "16401", "TABLE") "CREATE TABLE public.t (\n);\n\n\nALTER TABLE public.t "
						"OWNER TO me;\n\nSET default_tablespace = ts;\n\n" HEADING(
							"2", "16402", "INDEX") "CREATE INDEX i ON public.t USING btree (a);\n\n\n"
									       "-- Completed on 2026-11-21\n\n\\unrestrict abc\n",
		&toc);
	assert_int_equal(toc.preamble_count, 2);
	assert_string_equal(toc.preamble[0], "SET statement_timeout = 0;");
	assert_int_equal(toc.entries_count, 2);
	assert_sql(&toc, 0, "CREATE TABLE public.t (\n);\n\n\nALTER TABLE public.t OWNER TO me;");
	assert_sql(&toc, 1, "CREATE INDEX i ON public.t USING btree (a);");
	assert_string_equal(toc.entries[0].desc, "TABLE");
	assert_string_equal(toc.entries[0].set_tablespace, "SET default_tablespace = '';");
	assert_string_equal(toc.entries[1].set_tablespace, "SET default_tablespace = ts;");
	assert_int_equal(toc.entries[1].oid, 16402);
	assert_int_equal(toc.entries[1].deps_count, 2);
	assert_int_equal(toc.entries[1].deps[1], 9);
	assert_ptr_equal(toc_find(&toc, 2), &toc.entries[1]);
	assert_null(toc_find(&toc, 3));
}

/* A heading inside an entry must split nothing: what follows it would be run as a statement of its own, by a superuser. */
static void forged_headings_split_nothing(void **state)
{
	static const char *const bodies[] = {
		"CREATE FUNCTION public.f() RETURNS text LANGUAGE sql AS $$" FORGED "$$;",
		"CREATE FUNCTION public.f() RETURNS text LANGUAGE sql AS $a$ $$" FORGED "$b$ $a$;",
		"CREATE FUNCTION public.f() RETURNS text LANGUAGE sql AS '" FORGED "';",
		"CREATE FUNCTION public.f() RETURNS text LANGUAGE sql AS E'\\'" FORGED "';",
		"CREATE FUNCTION public.f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END;" FORGED
		"END;",
		"COMMENT ON TABLE public.t IS 'it''s" FORGED "';",
		"CREATE TABLE public.\"a" FORGED "\" (a int);",
		"CREATE VIEW public.v AS SELECT (1" FORGED ");",
		"/* /* */" FORGED "*/ SELECT 1;",
	};

	(void)state;
	for (size_t i = 0; i < array_len(bodies); i++) {
		struct toc toc cleanup(toc_release) = {0};
		char *text cleanup(mem_freep) = mem_printf(PREAMBLE HEADING("1", "16401", "FUNCTION") "%s\n\n\n" HEADING(
								   "2", "16402", "TABLE") "CREATE TABLE public.t (\n);\n\n\n",
			bodies[i]);

		split_of(text, &toc);
		assert_int_equal(toc.entries_count, 2);
		assert_sql(&toc, 1, "CREATE TABLE public.t (\n);");
	}
}

static void damaged_text_is_refused(void **state)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
		{PREAMBLE HEADING("1", "1", "TABLE") "CREATE TABLE public.t (", "schema text ends inside a statement"},
		{PREAMBLE HEADING("1", "1", "TABLE") "SELECT 'a", "schema text ends inside a quoted string"},
		{PREAMBLE HEADING("1", "1", "TABLE") "SELECT $x$ $y$", "schema text ends inside a dollar-quoted string"},
		{PREAMBLE "/* a", "schema text ends inside a comment"},
		{PREAMBLE "\\! rm -rf /\n", "schema text has an unknown psql command \"\\! rm -rf /\""},
	};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		struct error err cleanup(err_clear) = ERROR_INIT;
		struct toc toc = {0};

		assert_int_equal(toc_split(mem_strdup(cases[i].text), strlen(cases[i].text), &toc, &err), -1);
		assert_int_equal(err.class, ERR_CORRUPT);
		assert_string_equal(err.message, cases[i].message);
	}
}

static void list_and_text_must_agree(void **state)
{
	static const struct {
		const char *list, *message;
	} cases[] = {
		{"; comment\n1; 1259 16401 TABLE public t me\n2; 1259 16402 INDEX public i me\n", NULL},
		{"1; 1259 16401 TABLE public t me\n",
			"text of the schema has entry 2, which its table of contents does not have once"},
		{"1; 1259 16401 TABLE public t me\n2; 0 0 ACL - x me\n3; 0 0 ACL - x me\n",
			"entry 3 of the schema's table of contents was not found in its text"},
	};
	struct toc toc cleanup(toc_release) = {0};
	const struct toc *const tocs[] = {&toc};

	(void)state;
	split_of(PREAMBLE HEADING("1", "16401", "TABLE") "CREATE TABLE public.t ();\n\n" HEADING(
			 "2", "16402", "INDEX") "SELECT 1;\n",
		&toc);
	for (size_t i = 0; i < array_len(cases); i++) {
		struct error err cleanup(err_clear) = ERROR_INIT;
		int rc = toc_check_list(cases[i].list, tocs, 1, &err);

		assert_int_equal(rc, cases[i].message ? -1 : 0);
		if (cases[i].message)
			assert_string_equal(err.message, cases[i].message);
	}
}

static void roles_are_replaced_where_they_are_roles(void **state)
{
	static const struct role_map map[] = {{"old", "new"}, {"Old \"x\"", "it's"}, {NULL, NULL}};
	static const struct {
		const char *sql, *want;
	} cases[] = {
		{"ALTER TABLE public.old OWNER TO old;", "ALTER TABLE public.old OWNER TO \"new\";"},
		{"ALTER TABLE public.t OWNER TO \"Old \"\"x\"\"\";", "ALTER TABLE public.t OWNER TO \"it's\";"},
		{"ALTER FUNCTION public.f(old text) OWNER TO OLD;", "ALTER FUNCTION public.f(old text) OWNER TO \"new\";"},
		{"GRANT SELECT(old),UPDATE ON TABLE old.old TO old, PUBLIC, other, old WITH GRANT OPTION;",
			"GRANT SELECT(old),UPDATE ON TABLE old.old TO \"new\", PUBLIC, other, \"new\" WITH GRANT OPTION;"},
		{"REVOKE ALL ON SCHEMA old FROM old;", "REVOKE ALL ON SCHEMA old FROM \"new\";"},
		{"SET SESSION AUTHORIZATION old;\nGRANT ALL ON TABLE t TO other;\nRESET SESSION AUTHORIZATION;",
			"SET SESSION AUTHORIZATION \"new\";\nGRANT ALL ON TABLE t TO other;\nRESET SESSION AUTHORIZATION;"},
		{"SET SESSION AUTHORIZATION 'old';", "SET SESSION AUTHORIZATION \"new\";"},
		{"ALTER DEFAULT PRIVILEGES FOR ROLE old IN SCHEMA old GRANT SELECT ON TABLES TO old;",
			"ALTER DEFAULT PRIVILEGES FOR ROLE \"new\" IN SCHEMA old GRANT SELECT ON TABLES TO \"new\";"},
		{"CREATE POLICY old ON public.old FOR SELECT TO old, \"Old \"\"x\"\"\" USING ((old = 'old'::text));",
			"CREATE POLICY old ON public.old FOR SELECT TO \"new\", \"it's\" USING ((old = 'old'::text));"},
		{"CREATE USER MAPPING FOR old SERVER old OPTIONS (\"user\" 'old');",
			"CREATE USER MAPPING FOR \"new\" SERVER old OPTIONS (\"user\" 'old');"},
		{"COMMENT ON TABLE t IS 'ALTER TABLE t OWNER TO old;';", "COMMENT ON TABLE t IS 'ALTER TABLE t OWNER TO old;';"},
		{"CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ begin grant x to old; end $$;",
			"CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ begin grant x to old; end $$;"},
		{"CREATE VIEW v AS SELECT old FROM old;", "CREATE VIEW v AS SELECT old FROM old;"},
		{"ALTER TABLE t ALTER COLUMN old SET DEFAULT 1;", "ALTER TABLE t ALTER COLUMN old SET DEFAULT 1;"},
		{"GRANT SELECT ON TABLE t TO other GRANTED BY old;", "GRANT SELECT ON TABLE t TO other GRANTED BY \"new\";"},
	};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		struct error err cleanup(err_clear) = ERROR_INIT;
		struct buf out cleanup(buf_release) = {0};

		assert_int_equal(roles_rewrite(cases[i].sql, strlen(cases[i].sql), map, &out, &err), 0);
		assert_string_equal(buf_str(&out), cases[i].want);
	}
}

static void only_the_simplest_keys_are_split(void **state)
{
	static const struct {
		const char *sql, *index, *constraint;
	} cases[] = {
		{"ALTER TABLE ONLY public.t\n    ADD CONSTRAINT t_pkey PRIMARY KEY (id);",
			"CREATE UNIQUE INDEX t_pkey ON ONLY public.t USING btree (id);",
			"ALTER TABLE ONLY public.t ADD CONSTRAINT t_pkey PRIMARY KEY USING INDEX t_pkey;"},
		{"ALTER TABLE ONLY \"S x\".\"T\"\n    ADD CONSTRAINT \"k;\" UNIQUE (a, \"b)\");",
			"CREATE UNIQUE INDEX \"k;\" ON ONLY \"S x\".\"T\" USING btree (a, \"b)\");",
			"ALTER TABLE ONLY \"S x\".\"T\" ADD CONSTRAINT \"k;\" UNIQUE USING INDEX \"k;\";"},
		{"ALTER TABLE ONLY public.t\n    ADD CONSTRAINT k UNIQUE (a) DEFERRABLE;", NULL, NULL},
		{"ALTER TABLE ONLY public.t\n    ADD CONSTRAINT k UNIQUE NULLS NOT DISTINCT (a);", NULL, NULL},
		{"ALTER TABLE ONLY public.t\n    ADD CONSTRAINT k PRIMARY KEY (a) INCLUDE (b);", NULL, NULL},
		{"ALTER TABLE ONLY public.t\n    ADD CONSTRAINT k PRIMARY KEY (a) WITH (fillfactor='70');", NULL, NULL},
		{"ALTER TABLE ONLY public.t\n    ADD CONSTRAINT k EXCLUDE USING gist (a WITH =);", NULL, NULL},
		{"ALTER TABLE ONLY public.t\n    ADD CONSTRAINT k PRIMARY KEY (a, b WITHOUT OVERLAPS);", NULL, NULL},
		{"ALTER TABLE ONLY public.t\n    ADD CONSTRAINT k PRIMARY KEY (a);\n\nALTER TABLE public.t CLUSTER ON k;", NULL,
			NULL},
		{"ALTER TABLE public.t\n    ADD CONSTRAINT k CHECK ((a > 0)) NOT VALID;", NULL, NULL},
	};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		struct buf index cleanup(buf_release) = {0}, constraint cleanup(buf_release) = {0};
		int rc = schema_split_key(cases[i].sql, strlen(cases[i].sql), &index, &constraint);

		assert_int_equal(rc, cases[i].index ? 1 : 0);
		assert_string_equal(buf_str(&index), cases[i].index ? cases[i].index : "");
		assert_string_equal(buf_str(&constraint), cases[i].constraint ? cases[i].constraint : "");
	}
}

static void kept_names_fit_into_63_bytes(void **state)
{
	static const struct {
		const char *database, *want;
	} cases[] = {
		{"app", "app_before_20261121T120000Z-cafe0001"},
		{"a123456789b123456789c123456789d123456789e123456789f123456789abc",
			"a123456789b123456789c123456789_before_20261121T120000Z-cafe0001"},
		{"a123456789b123456789c12345678é9abc", "a123456789b123456789c12345678_before_20261121T120000Z-cafe0001"},
	};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		char *name cleanup(mem_freep) = swap_kept_name(cases[i].database, "_before_", "20261121T120000Z-cafe0001");

		assert_string_equal(name, cases[i].want);
		assert_true(strlen(name) <= 63);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries_are_found_with_settings_and_dependencies),
		cmocka_unit_test(forged_headings_split_nothing),
		cmocka_unit_test(damaged_text_is_refused),
		cmocka_unit_test(list_and_text_must_agree),
		cmocka_unit_test(roles_are_replaced_where_they_are_roles),
		cmocka_unit_test(only_the_simplest_keys_are_split),
		cmocka_unit_test(kept_names_fit_into_63_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

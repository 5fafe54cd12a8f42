#include "tests/unit/unit.h"

#include "base/buf.h"
#include "base/yaml.h"

static const char sample[] = "# a comment\n"
			     "version: 1\n"
			     "stacks:\n"
			     "  shop:\n"
			     "    jobs: 4\n"
			     "    repositories: [local, \"off site\"]\n"
			     "    hold: 1h30m\n"
			     "    on: true\n"
			     "    nothing:\n"
			     "    quoted: '7'\n";

static struct yaml_doc must_parse(const char *text)
{
	struct yaml_doc doc = {0};
	struct error err = ERROR_INIT;

	assert_ok(yaml_parse(&doc, "f.yaml", text, strlen(text), &err), &err);
	return doc;
}

static void nodes_know_their_place_and_kind(void **state)
{
	struct yaml_doc doc = must_parse(sample);
	const struct yaml_node *shop = yaml_get(yaml_get(doc.root, "stacks"), "shop"), *list = yaml_get(shop, "repositories");

	(void)state;
	assert_int_equal(doc.root->type, YAML_MAPPING);
	assert_int_equal(doc.root->line, 2);
	assert_int_equal(doc.root->column, 1);
	assert_int_equal(shop->count, 6);
	assert_int_equal(shop->line, 5);
	assert_int_equal(shop->column, 5);
	assert_string_equal(shop->keys[2]->text, "hold");
	assert_int_equal(list->type, YAML_SEQUENCE);
	assert_int_equal(list->count, 2);
	assert_string_equal(list->values[1]->text, "off site");
	assert_true(list->values[1]->is_quoted);
	assert_false(list->values[0]->is_quoted);
	assert_int_equal(list->values[1]->line, 6);
	assert_int_equal(list->values[1]->column, 27);
	assert_true(yaml_get(shop, "nothing")->is_null);
	assert_int_equal(yaml_get(shop, "nothing")->line, 9);
	assert_null(yaml_get(shop, "absent"));
	assert_null(yaml_get(list, "local"));
	assert_null(yaml_get(NULL, "x"));
	assert_string_equal(shop->file, "f.yaml");
	yaml_release(&doc);
}

static void damaged_text_is_refused_with_its_place(void **state)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
		{"a: 1\nb: 2\na: 3\n", "f.yaml:3:1: key \"a\" is given twice"},
		{"a: [1\nb: 2\n", "f.yaml:3:1: flow sequence without a closing bracket"},
		{"a: {b: 1, b: 2}\n", "f.yaml:1:11: key \"b\" is given twice"},
		{"a: \"unterminated\n", "f.yaml:1:5: double-quoted scalar without closing quote"},
		{"a: b: c\n", "f.yaml:1:5: invalid nested block mapping on the same line"},
		{"a:\n\tb: 1\n", "f.yaml:2:1: lines must be indented with spaces, not tabs"},
		{"a:\n  b: 1\n  \tc: 2\n", "f.yaml:3:3: lines must be indented with spaces, not tabs"},
		{"a: *nowhere\n", "f.yaml:1:5: alias \"nowhere\" names no anchor"},
		{"a: &x [*x]\n", "f.yaml: is nested more than 32 levels deep"},
		{"<<: {a: 1}\n", "f.yaml:1:1: merge keys are not supported here"},
		{"? [a]\n: 1\n", "f.yaml:1:4: a key must be plain text"},
		{"a: 1\n---\nb: 2\n", "f.yaml: holds more than one document"},
	};
	struct error err = ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		struct yaml_doc doc = {0};

		assert_int_equal(yaml_parse(&doc, "f.yaml", cases[i].text, strlen(cases[i].text), &err), -1);
		assert_null(doc.root);
		assert_error(&err, ERR_CONFIG, cases[i].message);
	}
}

static void duplicate_key_says_where_the_first_one_is(void **state)
{
	struct yaml_doc doc = {0};
	struct error err = ERROR_INIT;
	static const char text[] = "a: 1\nb: 2\na: 3\n";

	(void)state;
	assert_int_equal(yaml_parse(&doc, "f.yaml", text, strlen(text), &err), -1);
	assert_error_full(&err, ERR_CONFIG, "f.yaml:3:1: key \"a\" is given twice", "It is first given in line 1.", NULL);
}

static void nul_character_is_refused(void **state)
{
	struct yaml_doc doc = {0};
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(yaml_parse(&doc, "f.yaml", "a: b\0c", 6, &err), -1);
	assert_error(&err, ERR_CONFIG, "f.yaml: has a NUL character in it");
	assert_int_equal(yaml_parse(&doc, "f.yaml", "a: \"b\\0c\"", 9, &err), -1);
	assert_error(&err, ERR_CONFIG, "f.yaml: text must not have a NUL character in it");
}

static void what_is_not_utf8_is_refused_at_its_place(void **state)
{
	struct yaml_doc doc = {0};
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(yaml_parse(&doc, "f.yaml", "a: \xc3\xa4\n", 6, &err), 0);
	assert_string_equal(yaml_get(doc.root, "a")->text, "\xc3\xa4");
	yaml_release(&doc);
	assert_int_equal(yaml_parse(&doc, "f.yaml", "a: b\nc: \xc3\xa4 \xe4\n", 12, &err), -1);
	assert_error(&err, ERR_CONFIG, "f.yaml:2:6: the text is not UTF-8");
	assert_int_equal(yaml_parse(&doc, "f.yaml", "a: b\n%d:\xcc i\n", 12, &err), -1); /* libfyaml would not end */
	assert_error(&err, ERR_CONFIG, "f.yaml:2:4: the text is not UTF-8");
	assert_int_equal(yaml_parse(&doc, "f.yaml", "a: \xc3\xa4", 4, &err), -1); /* cut off */
	assert_error(&err, ERR_CONFIG, "f.yaml:1:4: the text is not UTF-8");
}

static void unfolding_aliases_have_a_limit(void **state)
{
	struct buf text cleanup(buf_release) = {0};
	struct yaml_doc doc = {0};
	struct error err = ERROR_INIT;

	(void)state;
	buf_puts(&text, "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
	for (int i = 1; i < 9; i++) {
		buf_printf(&text, "a%d: &a%d [", i, i);
		for (int k = 0; k < 10; k++)
			buf_printf(&text, "%s*a%d", k ? ", " : "", i - 1);
		buf_puts(&text, "]\n");
	}
	assert_int_equal(yaml_parse(&doc, "f.yaml", buf_str(&text), text.len, &err), -1);
	assert_error(&err, ERR_CONFIG, "f.yaml: has more than 100000 entries");
}

static void alias_is_a_copy_of_what_its_anchor_names(void **state)
{
	struct yaml_doc doc = must_parse("a: &x {p: 1}\nb: *x\n");

	(void)state;
	assert_string_equal(yaml_get(yaml_get(doc.root, "b"), "p")->text, "1");
	yaml_release(&doc);
}

static void empty_file_is_null(void **state)
{
	static const char *const texts[] = {"", "# only a comment\n", "---\n", "~"};

	(void)state;
	for (size_t i = 0; i < array_len(texts); i++) {
		struct yaml_doc doc = must_parse(texts[i]);

		assert_int_equal(doc.root->type, YAML_SCALAR);
		assert_true(doc.root->is_null);
		assert_int_equal(doc.root->line, 1);
		yaml_release(&doc);
	}
}

static void unknown_key_is_told_with_the_nearest_right_one(void **state)
{
	static const char *const known[] = {"database", "retention", "jobs", NULL};
	static const struct {
		const char *text, *message, *hint;
	} cases[] = {
		{"jobs: 1\nretension: 2\n", "f.yaml:2:1: unknown key \"retension\"", "Did you mean \"retention\"?"},
		{"jbos: 1\n", "f.yaml:1:1: unknown key \"jbos\"", "Did you mean \"jobs\"?"},
		{"  databse: 1\n", "f.yaml:1:3: unknown key \"databse\"", "Did you mean \"database\"?"},
		{"colour: 1\n", "f.yaml:1:1: unknown key \"colour\"", NULL},
	};
	struct error err = ERROR_INIT;
	struct yaml_doc doc = must_parse("jobs: 1\nretention: 2\n");

	(void)state;
	assert_ok(yaml_check_keys(doc.root, known, &err), &err);
	yaml_release(&doc);
	for (size_t i = 0; i < array_len(cases); i++) {
		doc = must_parse(cases[i].text);
		assert_int_equal(yaml_check_keys(doc.root, known, &err), -1);
		assert_int_equal(err.hint != NULL, cases[i].hint != NULL);
		assert_error_full(&err, ERR_CONFIG, cases[i].message, NULL, cases[i].hint);
		yaml_release(&doc);
	}
}

static void values_are_read_by_their_type(void **state)
{
	struct yaml_doc doc = must_parse("i: -12\nt: true\nf: false\nd: 1h30m\ns: text\nq: '1'\nz: 0\n");
	struct error err = ERROR_INIT;
	const char *s;
	int64_t n;
	bool b;

	(void)state;
	assert_ok(yaml_want_int(yaml_get(doc.root, "i"), "i", -12, 0, &n, &err), &err);
	assert_int_equal(n, -12);
	assert_ok(yaml_want_bool(yaml_get(doc.root, "t"), "t", &b, &err), &err);
	assert_true(b);
	assert_ok(yaml_want_bool(yaml_get(doc.root, "f"), "f", &b, &err), &err);
	assert_false(b);
	assert_ok(yaml_want_duration(yaml_get(doc.root, "d"), "d", &n, &err), &err);
	assert_int_equal(n, 5400000);
	assert_ok(yaml_want_duration(yaml_get(doc.root, "z"), "z", &n, &err), &err);
	assert_int_equal(n, 0);
	assert_ok(yaml_want_str(yaml_get(doc.root, "s"), "s", &s, &err), &err);
	assert_string_equal(s, "text");
	assert_ok(yaml_want_str(yaml_get(doc.root, "q"), "q", &s, &err), &err);
	assert_string_equal(s, "1");
	assert_ok(yaml_want_type(doc.root, YAML_MAPPING, "root", &err), &err);
	yaml_release(&doc);
}

static void values_of_a_wrong_type_are_refused(void **state)
{
	static const struct {
		const char *text;
		char kind;
		const char *message;
	} cases[] = {
		{"v: many", 'i', "f.yaml:1:4: \"v\" must be a whole number, not \"many\""},
		{"v: 1.5", 'i', "f.yaml:1:4: \"v\" must be a whole number, not \"1.5\""},
		{"v: '4'", 'i', "f.yaml:1:4: \"v\" must be a whole number, not \"4\""},
		{"v:\n- 1", 's', "f.yaml:2:3: \"v\" must be text, not a list"},
		{"v: 65", 'i', "f.yaml:1:4: \"v\" must be between 1 and 64, not 65"},
		{"v: 99999999999999999999", 'i', "f.yaml:1:4: \"v\" must be between 1 and 64, not 99999999999999999999"},
		{"v: [1]", 'i', "f.yaml:1:5: \"v\" must be a whole number, not a list"},
		{"v:", 'i', "f.yaml:1:1: \"v\" has no value"},
		{"v: yes", 'b', "f.yaml:1:4: \"v\" must be true or false, not \"yes\""},
		{"v: \"true\"", 'b', "f.yaml:1:4: \"v\" must be true or false, not \"true\""},
		{"v: {a: 1}", 'b', "f.yaml:1:5: \"v\" must be true or false, not a mapping"},
		{"v: 30", 'd', "f.yaml:1:4: \"v\": duration \"30\" has no unit"},
		{"v: soon", 'd', "f.yaml:1:4: \"v\": \"soon\" is no duration"},
		{"v: ~", 's', "f.yaml:1:4: \"v\" has no value"},
		{"v: text", 'm', "f.yaml:1:4: \"v\" must be a mapping, not text"},
		{"v:", 'm', "f.yaml:1:1: \"v\" has no value"},
		{"v: [a]", 'm', "f.yaml:1:5: \"v\" must be a mapping, not a list"},
	};
	struct error err = ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		struct yaml_doc doc = must_parse(cases[i].text);
		const struct yaml_node *v = yaml_get(doc.root, "v");
		const char *s;
		int64_t n;
		bool b;
		int rc = cases[i].kind == 'i'  ? yaml_want_int(v, "v", 1, 64, &n, &err)
			: cases[i].kind == 'b' ? yaml_want_bool(v, "v", &b, &err)
			: cases[i].kind == 'd' ? yaml_want_duration(v, "v", &n, &err)
			: cases[i].kind == 's' ? yaml_want_str(v, "v", &s, &err)
					       : yaml_want_type(v, YAML_MAPPING, "v", &err);

		assert_int_equal(rc, -1);
		assert_error(&err, ERR_CONFIG, cases[i].message);
		yaml_release(&doc);
	}
}

static void file_is_loaded_and_a_missing_one_named(void **state)
{
	char *dir = unit_mkdir(), *path cleanup(mem_freep) = io_path_join(dir, "c.yaml"), *message cleanup(mem_freep) = NULL;
	struct yaml_doc doc = {0};
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(yaml_load(&doc, path, &err), -1);
	message = mem_printf("could not open file \"%s\": No such file or directory", path);
	assert_error(&err, ERR_CONFIG, message);
	assert_ok(io_replace_file(path, sample, strlen(sample), 0600, &err), &err);
	assert_ok(yaml_load(&doc, path, &err), &err);
	assert_string_equal(doc.root->file, path);
	yaml_release(&doc);
	unit_rmdir(dir);
}

static void nearest_word_is_at_most_a_third_away(void **state)
{
	static const char *const known[] = {"backup", "restore", "resume", "list", NULL};
	static const struct {
		const char *word, *near;
	} cases[] = {{"backup", "backup"}, {"bakcup", "backup"}, {"restor", "restore"}, {"lst", "list"}, {"reumse", "resume"},
		{"xxxx", NULL}, {"", NULL}, {"l", NULL}};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		const char *near = nearest_word(cases[i].word, known);

		if (cases[i].near)
			assert_string_equal(near, cases[i].near);
		else
			assert_null(near);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nodes_know_their_place_and_kind),
		cmocka_unit_test(damaged_text_is_refused_with_its_place),
		cmocka_unit_test(duplicate_key_says_where_the_first_one_is),
		cmocka_unit_test(nul_character_is_refused),
		cmocka_unit_test(what_is_not_utf8_is_refused_at_its_place),
		cmocka_unit_test(unfolding_aliases_have_a_limit),
		cmocka_unit_test(alias_is_a_copy_of_what_its_anchor_names),
		cmocka_unit_test(empty_file_is_null),
		cmocka_unit_test(unknown_key_is_told_with_the_nearest_right_one),
		cmocka_unit_test(values_are_read_by_their_type),
		cmocka_unit_test(values_of_a_wrong_type_are_refused),
		cmocka_unit_test(file_is_loaded_and_a_missing_one_named),
		cmocka_unit_test(nearest_word_is_at_most_a_third_away),
	};

	return cmocka_run_group_tests_name("base/yaml", tests, NULL, NULL);
}

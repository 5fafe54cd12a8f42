/*
 * Editors of env files, VERSION files and YAML: what is written, what stays, what is refused.
 */
#include "tests/unit/unit.h"

#include "orchestrator/stack/edit.h"

#define DIGEST "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

struct scene {
	const char *name, *before, *value, *after;
};

static struct edit_text text_of(const char *s)
{
	return (struct edit_text){s, strlen(s)};
}

/* Sets, reads back, puts back: the end is byte for byte the beginning. */
static void check_scene(const struct edit_place *at, const struct scene *s)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct buf out cleanup(buf_release) = {0}, back cleanup(buf_release) = {0};
	char *raw cleanup(mem_freep) = NULL, *value cleanup(mem_freep) = NULL;
	int had = edit_get(at, text_of(s->before), NULL, &raw, &err);

	unit_assert_ok(had >= 0, &err, s->name, __FILE__, __LINE__);
	unit_assert_ok(edit_set(at, text_of(s->before), s->value, &out, &err) == 0, &err, s->name, __FILE__, __LINE__);
	unit_same(buf_str(&out), s->after, s->name, __LINE__);
	assert_int_equal(edit_get(at, text_of(buf_str(&out)), &value, NULL, &err), 1);
	unit_same(value, s->value, s->name, __LINE__);
	assert_ok(edit_put_back(at, text_of(buf_str(&out)), had ? raw : NULL, &back, &err), &err);
	unit_same(buf_str(&back), s->before, s->name, __LINE__);
}

static void an_env_key_is_set_and_put_back(void **state)
{
	static const struct scene scenes[] = {
		{"plain", "A=1\nKEY=old\nB=2\n", "new", "A=1\nKEY=new\nB=2\n"},
		{"export", "export  KEY=old # why\n", "1.2.3", "export  KEY=1.2.3 # why\n"},
		{"single", "KEY='old'\n", "new", "KEY='new'\n"},
		{"double", "KEY=\"old\"  # why\n", "new", "KEY=\"new\"  # why\n"},
		{"crlf", "A=1\r\nKEY=old\r\n", "new", "A=1\r\nKEY=new\r\n"},
		{"the last of two counts", "KEY=a\nX=1\nKEY=b\n", "new", "KEY=a\nX=1\nKEY=new\n"},
		{"missing", "A=1\n", "new", "A=1\nKEY=new\n"},
		{"missing, no newline at the end", "A=1", "new", "A=1\nKEY=new"},
		{"missing, crlf", "A=1\r\nB=2\r\n", "new", "A=1\r\nB=2\r\nKEY=new\r\n"},
		{"missing, crlf, no newline at the end", "A=1\r\nB=2", "new", "A=1\r\nB=2\r\nKEY=new"},
		{"empty file", "", "new", "KEY=new\n"},
		{"only in a comment", "# KEY=old\n", "new", "# KEY=old\nKEY=new\n"},
		{"part of another key", "MY_KEY=1\nKEY_2=2\n", "new", "MY_KEY=1\nKEY_2=2\nKEY=new\n"},
		{"empty value", "KEY=\nB=1\n", "new", "KEY=new\nB=1\n"},
		{"empty value before a comment", "KEY= # why\n", "new", "KEY=new # why\n"},
		{"blanks around", "  KEY = old  \n", "new", "  KEY = new  \n"},
		{"a hash in a value", "KEY=old#1\n", "new", "KEY=new\n"},
		{"colon", "KEY: old\n", "new", "KEY: new\n"},
		{"name alone", "KEY\n", "new", "KEY\nKEY=new\n"},
		{"needs quotes", "KEY=old # why\n", "a b", "KEY='a b' # why\n"},
		{"needs quotes for a dollar", "KEY=old\n", "pa$$word", "KEY='pa$$word'\n"},
		{"single quotes do not hold a quote", "KEY='old'\n", "it's", "KEY=\"it's\"\n"},
		{"double quotes escape", "KEY=\"old\"\n", "a\"b\\c$d", "KEY=\"a\\\"b\\\\c\\$d\"\n"},
		{"lines", "KEY=old\n", "a\nb\n", "KEY=\"a\\nb\\n\"\n"},
		{"empty", "KEY=old\n", "", "KEY=\n"},
		{"over several lines", "KEY='a\nKEY=b\n' # why\nB=1\n", "new", "KEY='new' # why\nB=1\n"},
		{"inside of another value", "A='\nKEY=x\n'\n", "new", "A='\nKEY=x\n'\nKEY=new\n"},
		{"no newline at the end", "KEY=old", "new", "KEY=new"},
		{"byte order mark",
			"\xef\xbb\xbf"
			"KEY=old\n",
			"new",
			"\xef\xbb\xbf"
			"KEY=new\n"},
		{"empty behind blanks", "KEY= old\n", "", "KEY= ''\n"},
		{"carriage return at the end", "A=1\r", "new", "A=1\r\nKEY=new"},
		{"junk", "what is this\n=\n==\nKEY=old\n", "new", "what is this\n=\n==\nKEY=new\n"},
		{"beyond ASCII", "KEY=\xc3\xa9\n", "\xc3\xa4", "KEY=\xc3\xa4\n"},
	};
	const struct edit_place at = {.kind = EDIT_ENV, .file = ".env", .key = "KEY"};

	(void)state;
	for (size_t i = 0; i < array_len(scenes); i++)
		check_scene(&at, &scenes[i]);
}

static void env_values_mean_what_compose_reads(void **state)
{
	static const struct {
		const char *text, *value;
	} cases[] = {
		{"KEY=a b  # c\n", "a b"},
		{"KEY='a\\'b'\n", "a'b"},
		{"KEY='a\\\\'\n", "a\\\\"},
		{"KEY=\"a\\tb\\$c\\\\\"\n", "a\tb$c\\"},
		{"KEY=\"a\\qb\"\n", "a\\qb"},
		{"KEY=\"a#b\"\n", "a#b"},
		{"KEY=\n", ""},
		{"KEY=a=b\n", "a=b"},
	};
	const struct edit_place at = {.kind = EDIT_ENV, .file = ".env", .key = "KEY"};
	struct error err cleanup(err_clear) = ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		char *value cleanup(mem_freep) = NULL;

		assert_ok(edit_get(&at, text_of(cases[i].text), &value, NULL, &err), &err);
		unit_same(value, cases[i].value, __FILE__, __LINE__);
	}
}

static void what_cannot_stand_in_an_env_file_is_refused(void **state)
{
	static const struct {
		const char *key, *text, *value, *message;
	} cases[] = {
		{"KEY", "KEY='old\nB=1\n", "new", ".env:1: the quote is not closed"},
		{"KEY", "A=1\n\nX='a\nb'\nKEY=\"old\n", "new", ".env:5: the quote is not closed"},
		{"KEY", "KEY='old'x\n", "new", ".env:1: something follows the closing quote of \"KEY\""},
		{"KEY", "KEY=1\n", "a\001b", ".env: the new value of \"KEY\" has a control character"},
		{"KE Y", "", "1", "\"KE Y\" is no key of an env file"},
		{"1KEY", "", "1", "\"1KEY\" is no key of an env file"},
	};
	struct error err cleanup(err_clear) = ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		const struct edit_place at = {.kind = EDIT_ENV, .file = ".env", .key = cases[i].key};
		struct buf out cleanup(buf_release) = {0};

		assert_int_equal(edit_set(&at, text_of(cases[i].text), cases[i].value, &out, &err), -1);
		assert_error(&err, ERR_CONFIG, cases[i].message);
	}
}

static void keys_are_commented_out_and_come_back(void **state)
{
	static const char before[] = "A=1\r\n  export KEY='a\nb'  # x\r\n# KEY=9\nKEY=2";
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct buf out cleanup(buf_release) = {0}, back cleanup(buf_release) = {0}, none cleanup(buf_release) = {0};

	(void)state;
	assert_int_equal(edit_comment(".env", text_of(before), "KEY", "# off: ", &out, &err), 2);
	assert_string_equal(buf_str(&out), "A=1\r\n# off:   export KEY='a\n# off: b'  # x\r\n# KEY=9\n# off: KEY=2");
	edit_uncomment(text_of(buf_str(&out)), "# off: ", &back);
	assert_string_equal(buf_str(&back), before);
	assert_int_equal(edit_comment(".env", text_of(before), "NONE", "# off: ", &none, &err), 0);
	assert_string_equal(buf_str(&none), before);
}

static void the_first_line_is_set_and_put_back(void **state)
{
	static const struct scene scenes[] = {
		{"one line", "1.0\n", "2.0", "2.0\n"},
		{"no newline", "1.0", "2.0", "2.0"},
		{"crlf", "1.0\r\nrest\r\n", "2.0", "2.0\r\nrest\r\n"},
		{"empty file", "", "2.0", "2.0\n"},
		{"empty line", "\nrest", "2.0", "2.0\nrest"},
	};
	const struct edit_place at = {.kind = EDIT_LINE, .file = "VERSION"};
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct buf out cleanup(buf_release) = {0};

	(void)state;
	for (size_t i = 0; i < array_len(scenes); i++)
		check_scene(&at, &scenes[i]);
	assert_int_equal(edit_set(&at, text_of("1\n"), "2\n3", &out, &err), -1);
	assert_error(&err, ERR_CONFIG, "VERSION: the new value has more than one line");
}

static const char compose[] = "# stack\n"
			      "x-common: &common\n"
			      "  restart: always   # keep\n"
			      "services:\n"
			      "  api:\n"
			      "    <<: *common\n"
			      "    image:   registry:5000/acme/api:1.0   # the pin\n"
			      "    command: ['a', \"b\"]\n"
			      "  worker: {image: 'acme/worker:1.0', n: 1}\n"
			      "  db:\n"
			      "    image: \"postgres@" DIGEST "\"\n"
			      "  plain:\n"
			      "    image: acme/plain\n"
			      "  var: { image: \"acme/${NAME}:1\" }\n"
			      "  copy: *common\n"
			      "  text: |\n"
			      "    a block\n"
			      "  \"a.b\": [ x, { y: latest } ]\n"
			      "  number: 15\n"
			      "  escaped: \"a\\x62:1\"\n"
			      "  nothing:\n";

/* What compose becomes with ${from} exchanged for ${to}; malloc'd. */
static char *exchanged(const char *from, const char *to)
{
	const char *hit = strstr(compose, from);

	assert_non_null(hit);
	return mem_printf("%.*s%s%s", (int)(hit - compose), compose, to, hit + strlen(from));
}

static void a_yaml_scalar_is_set_and_put_back(void **state)
{
	static const struct {
		const char *path;
		enum edit_part part;
		const char *value, *from, *to;
	} cases[] = {
		{"services.api.image", EDIT_TAG, "1.1-rc.1", "acme/api:1.0 ", "acme/api:1.1-rc.1 "},
		{"services.api.image", EDIT_DIGEST, DIGEST, "acme/api:1.0 ", "acme/api:1.0@" DIGEST " "},
		{"services.api.image", EDIT_WHOLE, "acme/other:2", "registry:5000/acme/api:1.0 ", "acme/other:2 "},
		{"services.worker.image", EDIT_TAG, "2", "'acme/worker:1.0'", "'acme/worker:2'"},
		{"services.worker.image", EDIT_WHOLE, "it's", "'acme/worker:1.0'", "'it''s'"},
		{"services.db.image", EDIT_TAG, "15", "\"postgres@", "\"postgres:15@"},
		{"services.plain.image", EDIT_TAG, "15", "acme/plain\n", "acme/plain:15\n"},
		{"services.plain.image", EDIT_WHOLE, "a: b # c", "acme/plain\n", "\"a: b # c\"\n"},
		{"services.a\\.b[1].y", EDIT_WHOLE, "1.10", "latest", "\"1.10\""},
		{"services.a\\.b[0]", EDIT_WHOLE, "y,z", "[ x,", "[ \"y,z\","},
		{"services.number", EDIT_WHOLE, "16", ": 15", ": 16"},
		{"services.number", EDIT_WHOLE, "1.10", ": 15", ": \"1.10\""},
		{"services.api.command[1]", EDIT_WHOLE, "c\"d\\e\n", "\"b\"", "\"c\\\"d\\\\e\\n\""},
		{"x-common.restart", EDIT_WHOLE, "no", "always ", "\"no\" "},
	};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		const struct edit_place at = {
			.kind = EDIT_YAML, .file = "compose.yaml", .key = cases[i].path, .part = cases[i].part};
		char *after cleanup(mem_freep) = exchanged(cases[i].from, cases[i].to);

		check_scene(&at, &(struct scene){cases[i].path, compose, cases[i].value, after});
	}
}

static void what_is_no_single_yaml_value_is_refused(void **state)
{
	static const struct {
		const char *path;
		enum edit_part part;
		const char *value, *message;
	} cases[] = {
		{"services.web.image", EDIT_TAG, "2", "c.yaml: there is no \"services.web\""},
		{"services.api.restart", EDIT_WHOLE, "2", "c.yaml: there is no \"services.api.restart\""},
		{"services.copy.restart", EDIT_WHOLE, "2",
			"c.yaml: \"services.copy\" is an alias: what it stands for is used elsewhere, too"},
		{"services.copy", EDIT_WHOLE, "2",
			"c.yaml: \"services.copy\" is an alias: what it stands for is used elsewhere, too"},
		{"services.api", EDIT_WHOLE, "2", "c.yaml: \"services.api\" is no single value"},
		{"services.text", EDIT_WHOLE, "2", "c.yaml: \"services.text\" is a block of text"},
		{"services.nothing", EDIT_WHOLE, "2", "c.yaml: \"services.nothing\" has no value"},
		{"services.var.image", EDIT_TAG, "2", "c.yaml: \"services.var.image\" has a variable in it"},
		{"x-common.restart", EDIT_DIGEST, "2", "c.yaml: \"2\" is no digest of an image"},
		{"services.escaped", EDIT_TAG, "2", "c.yaml: \"services.escaped\" is no reference of an image"},
		{"services.api.image", EDIT_TAG, "a b", "c.yaml: \"a b\" is no tag of an image"},
		{"services.api.image", EDIT_DIGEST, "sha256:12", "c.yaml: \"sha256:12\" is no digest of an image"},
		{"services..image", EDIT_TAG, "2", "\"services..image\" is no path of a YAML file"},
		{"services[", EDIT_TAG, "2", "\"services[\" is no path of a YAML file"},
	};
	struct error err cleanup(err_clear) = ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		const struct edit_place at = {.kind = EDIT_YAML, .file = "c.yaml", .key = cases[i].path, .part = cases[i].part};
		struct buf out cleanup(buf_release) = {0};

		assert_int_equal(edit_set(&at, text_of(compose), cases[i].value, &out, &err), -1);
		assert_error(&err, ERR_CONFIG, cases[i].message);
	}
}

static void damaged_yaml_is_told_with_its_place(void **state)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
		{"a: [1\nb: 2\n", "c.yaml:3:1: flow sequence without a closing bracket"},
		{"a: 1\na: 2\n", "c.yaml:2:1: duplicate key"},
		{"a: \xff\n", "c.yaml:1: the text is not UTF-8"},
		{"", "c.yaml: is no YAML"},
	};
	const struct edit_place at = {.kind = EDIT_YAML, .file = "c.yaml", .key = "a"};
	struct error err cleanup(err_clear) = ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		struct buf out cleanup(buf_release) = {0};

		assert_int_equal(edit_set(&at, text_of(cases[i].text), "3", &out, &err), -1);
		assert_error(&err, ERR_CONFIG, cases[i].message);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_env_key_is_set_and_put_back),
		cmocka_unit_test(env_values_mean_what_compose_reads),
		cmocka_unit_test(what_cannot_stand_in_an_env_file_is_refused),
		cmocka_unit_test(keys_are_commented_out_and_come_back),
		cmocka_unit_test(the_first_line_is_set_and_put_back),
		cmocka_unit_test(a_yaml_scalar_is_set_and_put_back),
		cmocka_unit_test(what_is_no_single_yaml_value_is_refused),
		cmocka_unit_test(damaged_yaml_is_told_with_its_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

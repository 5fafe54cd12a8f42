#include "tests/unit/unit.h"

#include "base/buf.h"
#include "base/json.h"

static json_t *must_read(const char *text)
{
	struct error err = ERROR_INIT;
	json_t *root = json_read(text, strlen(text), "test", &err);

	assert_ok(root ? 0 : -1, &err);
	return root;
}

static void damage_is_told_with_its_place(void **state)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
		{"{\"a\": 1,\n \"b\": }", "manifest: unexpected token near '}' at line 2 column 7"},
		{"{\"a\": 1, \"a\": 2}", "manifest: duplicate object key near '\"a\"' at line 1 column 12"},
		{"", "manifest: '[' or '{' expected near end of file at line 1 column 0"},
		{"{} x", "manifest: end of file expected near 'x' at line 1 column 4"},
	};
	struct error err = ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		assert_null(json_read(cases[i].text, strlen(cases[i].text), "manifest", &err));
		assert_error(&err, ERR_CORRUPT, cases[i].message);
	}
}

static void members_are_read_by_their_type(void **state)
{
	json_t *obj cleanup(json_decrefpp) = must_read(
		"{\"s\": \"text\", \"n\": 9223372036854775807, \"b\": true, \"a\": [1], \"o\": {\"x\": null}}");
	struct error err = ERROR_INIT;
	const char *s;
	uint64_t n;
	json_t *a, *o;
	bool b = false;

	(void)state;
	assert_ok(json_want_str(obj, "s", "test", &s, &err), &err);
	assert_string_equal(s, "text");
	assert_ok(json_want_u64(obj, "n", "test", &n, &err), &err);
	assert_true(n == INT64_MAX);
	assert_ok(json_want_bool(obj, "b", "test", &b, &err), &err);
	assert_true(b);
	assert_ok(json_want_array(obj, "a", "test", &a, &err), &err);
	assert_int_equal(json_array_size(a), 1);
	assert_ok(json_want_object(obj, "o", "test", &o, &err), &err);
	assert_string_equal(json_get_str(o, "x", "default"), "default");
	assert_string_equal(json_get_str(obj, "s", "default"), "text");
	assert_int_equal(json_get_i64(obj, "absent", -5), -5);
	assert_true(json_get_i64(obj, "n", 0) == INT64_MAX);
	assert_true(json_get_bool(obj, "absent", true));
	assert_true(json_get_bool(obj, "b", false));
}

static void missing_and_wrong_members_are_named(void **state)
{
	json_t *obj cleanup(json_decrefpp) = must_read(
		"{\"s\": \"a\\u0000b\", \"n\": -1, \"b\": null, \"a\": {}, \"o\": [], \"f\": 1.5}");
	json_t *list cleanup(json_decrefpp) = must_read("[]");
	struct error err = ERROR_INIT;
	const char *s = "untouched";
	uint64_t n = 42;
	json_t *p = NULL;
	bool b;

	(void)state;
	assert_int_equal(json_want_str(obj, "x", "manifest", &s, &err), -1);
	assert_error(&err, ERR_CORRUPT, "manifest: \"x\" is missing");
	assert_int_equal(json_want_str(obj, "n", "manifest", &s, &err), -1);
	assert_error(&err, ERR_CORRUPT, "manifest: \"n\" must be text, not a number");
	assert_int_equal(json_want_str(obj, "s", "manifest", &s, &err), -1);
	assert_error(&err, ERR_CORRUPT, "manifest: \"s\" has a NUL character in it");
	assert_int_equal(json_want_u64(obj, "n", "manifest", &n, &err), -1);
	assert_error(&err, ERR_CORRUPT, "manifest: \"n\" must not be negative");
	assert_int_equal(json_want_u64(obj, "f", "manifest", &n, &err), -1);
	assert_error(&err, ERR_CORRUPT, "manifest: \"f\" must be a whole number, not a fraction");
	assert_int_equal(json_want_bool(obj, "b", "manifest", &b, &err), -1);
	assert_error(&err, ERR_CORRUPT, "manifest: \"b\" must be true or false, not null");
	assert_int_equal(json_want_array(obj, "a", "manifest", &p, &err), -1);
	assert_error(&err, ERR_CORRUPT, "manifest: \"a\" must be an array, not an object");
	assert_int_equal(json_want_object(obj, "o", "manifest", &p, &err), -1);
	assert_error(&err, ERR_CORRUPT, "manifest: \"o\" must be an object, not an array");
	assert_int_equal(json_want_str(list, "x", "manifest", &s, &err), -1);
	assert_error(&err, ERR_CORRUPT, "manifest: is no object");
	assert_string_equal(s, "untouched");
	assert_int_equal(n, 42);
	assert_null(p);
}

static void text_is_escaped_and_broken_utf8_replaced(void **state)
{
	static const struct {
		const char *text, *json;
	} cases[] = {
		{"", "\"\""},
		{"plain", "\"plain\""},
		{"\"\\/", "\"\\\"\\\\/\""},
		{"\b\f\n\r\t", "\"\\b\\f\\n\\r\\t\""},
		{"\x01\x1f\x7f", "\"\\u0001\\u001f\\u007f\""},
		{"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\x98", "\"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\x98\""},
		{"\x80", "\"\\ufffd\""},
		{"a\xc3", "\"a\\ufffd\""},
		{"\xc0\xaf", "\"\\ufffd\\ufffd\""},
		{"\xe0\x80\x80", "\"\\ufffd\\ufffd\\ufffd\""},
		{"\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""},
		{"\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""},
		{"\xe2\x82x", "\"\\ufffd\\ufffdx\""},
	};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		struct buf out cleanup(buf_release) = {0};
		struct json_writer w = {.out = &out};
		json_t *list, *text;

		jw_array(&w, NULL);
		jw_str(&w, NULL, cases[i].text);
		jw_end_array(&w);
		assert_int_equal(out.len, strlen(cases[i].json) + 2);
		assert_memory_equal(out.data + 1, cases[i].json, strlen(cases[i].json));
		list = must_read(out.data);
		text = json_text_of(cases[i].text);
		assert_true(json_equal(json_array_get(list, 0), text));
		json_decref(list);
		json_decref(text);
	}
}

static void write_sample(struct json_writer *w)
{
	json_t *tree cleanup(json_decrefpp) = must_read("{\"k\": [1, 2]}");

	jw_object(w, NULL);
	jw_str(w, "s", "x");
	jw_str(w, "null", NULL);
	jw_u64(w, "u", UINT64_MAX);
	jw_i64(w, "i", INT64_MIN);
	jw_bool(w, "b", true);
	jw_array(w, "empty");
	jw_end_array(w);
	jw_array(w, "list");
	jw_i64(w, NULL, 1);
	jw_object(w, NULL);
	jw_end_object(w);
	jw_end_array(w);
	jw_json(w, "tree", tree);
	jw_json(w, "none", NULL);
	jw_end_object(w);
}

static void writer_nests_and_separates(void **state)
{
	struct buf out cleanup(buf_release) = {0}, pretty cleanup(buf_release) = {0};
	struct json_writer w = {.out = &out}, pw = {.out = &pretty, .is_pretty = true};
	json_t *a cleanup(json_decrefpp) = NULL, *b cleanup(json_decrefpp) = NULL;

	(void)state;
	write_sample(&w);
	assert_string_equal(buf_str(&out),
		"{\"s\":\"x\",\"null\":null,\"u\":18446744073709551615,\"i\":-9223372036854775808,\"b\":true,\"empty\":[],"
		"\"list\":[1,{}],\"tree\":{\"k\":[1,2]},\"none\":null}");
	write_sample(&pw);
	assert_string_equal(buf_str(&pretty),
		"{\n  \"s\": \"x\",\n  \"null\": null,\n  \"u\": 18446744073709551615,\n  \"i\": -9223372036854775808,\n"
		"  \"b\": true,\n  \"empty\": [],\n  \"list\": [\n    1,\n    {}\n  ],\n  \"tree\": {\"k\":[1,2]},\n"
		"  \"none\": null\n}");
	assert_int_equal(w.depth, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(damage_is_told_with_its_place),
		cmocka_unit_test(members_are_read_by_their_type),
		cmocka_unit_test(missing_and_wrong_members_are_named),
		cmocka_unit_test(text_is_escaped_and_broken_utf8_replaced),
		cmocka_unit_test(writer_nests_and_separates),
	};

	return cmocka_run_group_tests_name("base/json", tests, NULL, NULL);
}

/*
 * What step kinds that run programs and ask services share: secrets taken out of text, members of JSON, exit statuses, URLs in messages.
 */
#include "tests/unit/unit.h"

#include "base/json.h"
#include "orchestrator/steps/command.h"

/* Fed in two pieces, cut at ${cut}. */
static char *fed(const struct scrub *s, const char *text, size_t cut)
{
	struct buf held cleanup(buf_release) = {0}, out = {0};

	scrub_feed(s, &held, text, cut, false, &out);
	scrub_feed(s, &held, text + cut, strlen(text) - cut, true, &out);
	assert_int_equal(held.len, 0);
	return buf_take(&out);
}

static void assert_scrubbed(const struct scrub *s, const char *text, const char *want)
{
	for (size_t cut = 0; cut <= strlen(text); cut++) {
		char *got cleanup(mem_freep) = fed(s, text, cut);

		assert_string_equal(got, want);
	}
}

static void secrets_are_left_out_wherever_the_text_is_cut(void **state)
{
	struct scrub s cleanup(scrub_release) = {0};

	(void)state;
	assert_scrubbed(&s, "nothing is secret", "nothing is secret");
	scrub_add(&s, "geheim");
	scrub_add(&s, "geheim4711");
	scrub_add(&s, "hegeh");
	assert_scrubbed(&s, "", "");
	assert_scrubbed(&s, "geheim", "***");
	assert_scrubbed(&s, "a geheim b geheim4711 c", "a *** b *** c");
	assert_scrubbed(&s, "geheimgeheim471", "******471");
	assert_scrubbed(&s, "ends like one: gehei", "ends like one: gehei");
	assert_scrubbed(&s, "hegeheim", "***eim");
	assert_scrubbed(&s, "gegeheim4711\ngeheim471\n", "ge***\n***471\n");
}

static void beginning_of_a_secret_is_held_back(void **state)
{
	struct scrub s cleanup(scrub_release) = {0};
	struct buf held cleanup(buf_release) = {0}, out cleanup(buf_release) = {0};

	(void)state;
	scrub_add(&s, "geheim");
	scrub_feed(&s, &held, "it is gehe", 10, false, &out);
	assert_string_equal(buf_str(&out), "it is ");
	scrub_feed(&s, &held, "r nicht", 7, false, &out);
	assert_string_equal(buf_str(&out), "it is geher nicht");
	assert_int_equal(held.len, 0);
}

static void short_values_garble_nothing(void **state)
{
	struct scrub s cleanup(scrub_release) = {0};

	(void)state;
	scrub_add(&s, "");
	scrub_add(&s, "abc");
	assert_scrubbed(&s, "abc", "abc");
}

static void passwords_inside_secrets_are_secret(void **state)
{
	struct scrub s cleanup(scrub_release) = {0};

	(void)state;
	scrub_add(&s, "postgresql://app:p%40ssword@db.example:5432/shop?sslmode=require");
	scrub_add(&s, "host=db user=app password='quo ted'");
	scrub_add(&s, "amqp://me:rabbit99@queue");
	scrub_add(&s, "-----BEGIN KEY-----\nMIIabcdef\nlastline\n");
	assert_scrubbed(&s, "p@ssword p%40ssword \"quo ted\" rabbit99", "*** *** \"***\" ***");
	assert_scrubbed(&s, "db.example app shop", "db.example app shop");
	assert_scrubbed(&s, "key MIIabcdef|lastline", "key ***|***");
}

static void errors_are_scrubbed(void **state)
{
	struct scrub s cleanup(scrub_release) = {0};
	struct error err = ERROR_INIT;

	(void)state;
	scrub_add(&s, "geheim");
	(void)err_set(&err, ERR_FAILED, "no geheim");
	scrub_error(&s, &err);
	assert_null(err.detail);
	(void)err_detail(&err, "geheim here");
	(void)err_hint(&err, "there");
	scrub_error(&s, &err);
	assert_error_full(&err, ERR_FAILED, "no ***", "*** here", "there");
}

static void references_are_secrets_and_texts_are_not(void **state)
{
	struct scrub s cleanup(scrub_release) = {0};
	struct error err = ERROR_INIT;
	char *text = NULL;

	(void)state;
	setenv("HF_TEST_SECRET", "geheim4711", 1);
	assert_ok(scrub_resolve(&s, "plain", "x", &text, &err), &err);
	assert_string_equal(text, "plain");
	free(take_ptr(text));
	assert_int_equal(s.count, 0);
	assert_ok(scrub_resolve(&s, "env:HF_TEST_SECRET", "x", &text, &err), &err);
	assert_string_equal(text, "geheim4711");
	free(take_ptr(text));
	assert_scrubbed(&s, "geheim4711", "***");
	assert_int_equal(scrub_resolve(&s, "env:HF_TEST_NONE", "variable \"A\"", &text, &err), -1);
	assert_error(&err, ERR_CONFIG, "variable \"A\": environment variable \"HF_TEST_NONE\" is not set");
	unsetenv("HF_TEST_SECRET");
}

static void assert_said(const char *text, const char *want)
{
	struct scrub s cleanup(scrub_release) = {0};
	char *got cleanup(mem_freep) = command_said(&s, text, strlen(text));

	if (!want)
		assert_null(got);
	else
		assert_string_equal(got, want);
}

static void reason_is_told_wherever_it_stands(void **state)
{
	(void)state;
	assert_said("", NULL);
	assert_said("\n  \n\r\n", NULL);
	assert_said("one\n\ntwo\r\nthree  ", "one\ntwo\nthree");
	assert_said("1\n2\n3\n4\n5\n6", "2\n3\n4\n5\n6");
	/* psql */
	assert_said("BEGIN\npsql:3.sql:7: ERROR:  relation \"nothing\" does not exist\nLINE 1: SELECT\n1\n2\n3\n4\n5\n",
		"psql:3.sql:7: ERROR:  relation \"nothing\" does not exist\n…\n1\n2\n3\n4\n5");
	assert_said("ERROR:  first\n1\n2\n3\n4\n5", "ERROR:  first\n1\n2\n3\n4\n5");
	assert_said("1\nERROR:  first\n3\n4\n5", "1\nERROR:  first\n3\n4\n5");
	assert_said("1\n2\nFATAL:  last\n4\n5\n6", "2\nFATAL:  last\n4\n5\n6");
	assert_said("0\nERROR: a\nERROR: b\nERROR: c\n1\n2\n3\n4\n5", "ERROR: a\n…\nERROR: c\n1\n2\n3\n4\n5");
	assert_said("PANIC:  a\n0\nx (SQLSTATE 42P01)\n0\n1\n2\n3\n4\nerror: exit 1", "PANIC:  a\n…\n1\n2\n3\n4\nerror: exit 1");
}

static void reason_is_told_however_much_follows(void **state)
{
	struct scrub s cleanup(scrub_release) = {0};
	struct words w cleanup(words_release) = {0};
	char *got cleanup(mem_freep) = NULL;

	(void)state;
	words_feed(&w, "\rmigrating 7 %\rERR", 18);
	words_feed(&w, "OR: the reason\r\n", 16);
	for (int i = 0; i < 20000; i++)
		words_feed(&w, "\033[31mnoise noise\n", 17);
	words_feed(&w, "the end", 7);
	got = words_shown(&w, &s);
	assert_string_equal(got, "ERROR: the reason\n…\nnoise noise\nnoise noise\nnoise noise\nnoise noise\nthe end");
}

static void reason_is_told_of_an_error_object(void **state)
{
	(void)state;
	assert_said("starting\nmigration 3 failed error: relation \"nothing\" does not exist\n"
		    "    at /app/node_modules/pg/lib/client.js:694:17\n"
		    "    at process.processTicksAndRejections (node:internal/process/task_queues:95:5) {\n"
		    "  length: 105,\n  severity: 'ERROR',\n  code: '42P01',\n  detail: undefined,\n  hint: undefined,\n"
		    "  file: 'namespace.c',\n  line: '433',\n  routine: 'RangeVarGetRelidExtended'\n}\n",
		"migration 3 failed error: relation \"nothing\" does not exist\n…\n  code: '42P01',\n…\n"
		"  hint: undefined,\n  file: 'namespace.c',\n  line: '433',\n  routine: 'RangeVarGetRelidExtended'\n}");
}

static void assert_tells(const char *line, bool is_telling)
{
	char *text cleanup(mem_freep) = mem_printf("%s\n0\n1\n2\n3\n4\n5", line);
	char *want cleanup(mem_freep) = is_telling ? mem_printf("%s\n…\n1\n2\n3\n4\n5", line) : mem_strdup("1\n2\n3\n4\n5");
	struct scrub s cleanup(scrub_release) = {0};
	char *got cleanup(mem_freep) = command_said(&s, text, strlen(text));

	assert_string_equal(got, want);
}

static void what_looks_like_a_reason(void **state)
{
	static const struct {
		const char *line;
		bool is_telling;
	} cases[] = {
		{"TypeError: x is undefined", true},
		{"PG::Error: x", true},
		{"SQLSTATE[42P01]: Undefined table", true},
		{"{\"level\":50,\"err\":{\"code\":\"42P01\"}}", true},
		{"{\\\"code\\\":\\\"42P01\\\"}", true},
		{"code=23505 constraint=x", true},
		{"  code: 'ENOENT',", false},
		{"  code: 'ABCDE',", false},
		{"code 42P01", false},
		{"code: 42P012", false},
		{"code: 42p01", false},
		{"encoded: 12345678", false},
		{"code", false},
		{"code:", false},
		{"error", false},
		{"fatal: no", false},
	};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++)
		assert_tells(cases[i].line, cases[i].is_telling);
}

static void what_is_told_is_short_and_steers_no_terminal(void **state)
{
	char *line cleanup(mem_freep) = mem_printf("ERROR: %0600d", 1), *want cleanup(mem_freep) = NULL;
	struct scrub s cleanup(scrub_release) = {0};
	char *got cleanup(mem_freep) = NULL;

	(void)state;
	assert_said("\033[31merror\033[39m\033[0;1m:\033[m x\n1\n2\n3\n4\n5", "error: x\n1\n2\n3\n4\n5");
	assert_said("a\tb\033]0;title\a\n\033[31", "a b ]0;title \n [31");
	want = mem_printf("%.400s…", line);
	assert_said(line, want);
	got = command_said(&s, "a\0b", 3);
	assert_string_equal(got, "a b");
}

static void nothing_secret_is_told(void **state)
{
	struct scrub s cleanup(scrub_release) = {0};
	char *text cleanup(mem_freep) = mem_printf("ERROR: %0385d abcd\033[1mefgh\033[0mijkl", 1);
	char *want cleanup(mem_freep) = mem_printf("ERROR: %0385d ***", 1), *got cleanup(mem_freep) = NULL;

	(void)state;
	scrub_add(&s, "abcdefghijkl");
	got = command_said(&s, text, strlen(text)); /* in colours, and where the line is cut */
	assert_string_equal(got, want);
	/* what nobody has told of */
	assert_said("no postgres://u:file@pw@h:5432/d, amqp://u:pw@q", "no postgres://u:***@h:5432/d, amqp://u:***@q");
	assert_said("{\"url\":\"redis://:pw\033[0mpw@h\",\"to\":\"a:b@c\"}", "{\"url\":\"redis://:***@h\",\"to\":\"a:b@c\"}");
	assert_said("http://h:80/a:b@c https://u@h http://u:@h http://h:80 a:b@c x://",
		"http://h:80/a:b@c https://u@h http://u:@h http://h:80 a:b@c x://");
}

static void exit_statuses_are_numbers_and_ranges(void **state)
{
	static const struct {
		const char *text;
		bool is_good;
	} cases[] = {{"0", true}, {"2-5", true}, {"0-255", true}, {"", false}, {"x", false}, {"-1", false}, {"5-2", false},
		{"256", false}, {"3-", false}, {"1-2-3", false}, {" 1", false}};
	struct error err = ERROR_INIT;

	(void)state;
	assert_ok(command_check_expect(NULL, &err), &err);
	for (size_t i = 0; i < array_len(cases); i++) {
		json_t *list = json_pack("[s]", cases[i].text);

		assert_int_equal(command_check_expect(list, &err), cases[i].is_good ? 0 : -1);
		err_clear(&err);
		json_decref(list);
	}
}

static void members_are_found_by_path(void **state)
{
	static const struct {
		const char *path, *want;
	} cases[] = {
		{"a.b.1.c", "7"},
		{"a.b.0", "null"},
		{"a.b.2", NULL},
		{"a.b.x", NULL},
		{"x", NULL},
		{"x.y", NULL},
		{"t", "text"},
		{"t.u", NULL},
		{"yes", "true"},
		{"half", "0.5"},
		{"dotted.name", "8"},
		{"a.b", "[null,{\"c\":7}]"},
	};
	json_t *doc = json_loads(
		"{\"a\":{\"b\":[null,{\"c\":7}]},\"t\":\"text\",\"yes\":true,\"half\":0.5,\"dotted.name\":8}", 0, NULL);

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		const json_t *value = json_at(doc, cases[i].path);
		char *text cleanup(mem_freep) = value ? json_as_text(value) : NULL;

		assert_true(text ? cases[i].want && strcmp(text, cases[i].want) == 0 : !cases[i].want);
	}
	json_decref(doc);
}

static void differing_members_are_named(void **state)
{
	json_t *doc = json_pack(
		"{s:s, s:i, s:b, s:s}", "status", "bad\x1b[2J", "brokenChains", 0, "ok", 1, "token", "geheim4711");
	json_t *expect = json_pack("{s:s, s:s, s:s}", "status", "ok", "brokenChains", "0", "none", "1"),
	       *same = json_pack("{s:s}", "ok", "true");
	struct buf why cleanup(buf_release) = {0};

	(void)state;
	assert_int_equal(json_expect(doc, same, &why), 1);
	assert_int_equal(json_expect(doc, NULL, &why), 1);
	assert_int_equal(why.len, 0);
	assert_int_equal(json_expect(doc, expect, &why), 0);
	assert_string_equal(buf_str(&why), "\"status\" is \"bad [2J\", wanted \"ok\"; \"none\" is missing, wanted \"1\"");
	json_decref(doc);
	json_decref(expect);
	json_decref(same);
}

static void what_others_say_is_cut_between_characters(void **state)
{
	static const struct {
		const char *text, *shown;
	} cases[] = {{"", ""}, {"four", "four"}, {"fours", "four…"}, {"abcä", "abc…"}, {"ääx", "ää…"}, {"a\x1b\x7f", "a  "},
		{"\xff\xff", "\xff\xff"}};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		char *shown cleanup(mem_freep) = text_shown(cases[i].text, 4);

		assert_string_equal(shown, cases[i].shown);
	}
}

static void urls_are_shown_without_what_may_be_secret(void **state)
{
	static const struct {
		const char *url, *shown, *host;
	} cases[] = {
		{"https://hooks.example/services/T0/token", "https://hooks.example/services/T0/token", "hooks.example"},
		{"http://me:pass@h:80/p?token=x#y", "http://h:80/p", "h:80"},
		{"http://h?token=x", "http://h", "h"},
		{"http://h/a@b", "http://h/a@b", "h"},
		{"nonsense", "(no URL)", "(no URL)"},
	};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		char *shown cleanup(mem_freep) = url_shown(cases[i].url, false),
			    *host cleanup(mem_freep) = url_shown(cases[i].url, true);

		assert_string_equal(shown, cases[i].shown);
		assert_string_equal(host, cases[i].host);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(secrets_are_left_out_wherever_the_text_is_cut),
		cmocka_unit_test(beginning_of_a_secret_is_held_back),
		cmocka_unit_test(short_values_garble_nothing),
		cmocka_unit_test(passwords_inside_secrets_are_secret),
		cmocka_unit_test(errors_are_scrubbed),
		cmocka_unit_test(references_are_secrets_and_texts_are_not),
		cmocka_unit_test(reason_is_told_wherever_it_stands),
		cmocka_unit_test(reason_is_told_however_much_follows),
		cmocka_unit_test(reason_is_told_of_an_error_object),
		cmocka_unit_test(what_looks_like_a_reason),
		cmocka_unit_test(what_is_told_is_short_and_steers_no_terminal),
		cmocka_unit_test(nothing_secret_is_told),
		cmocka_unit_test(exit_statuses_are_numbers_and_ranges),
		cmocka_unit_test(members_are_found_by_path),
		cmocka_unit_test(differing_members_are_named),
		cmocka_unit_test(what_others_say_is_cut_between_characters),
		cmocka_unit_test(urls_are_shown_without_what_may_be_secret),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

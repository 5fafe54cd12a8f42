/*
 * holdfast.yaml: the intact file first, then every way to get it wrong with the exact message.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/buf.h"
#include "base/io.h"
#include "base/json.h"
#include "orchestrator/stack/config.h"
#include "orchestrator/stack/files.h"
#include "orchestrator/stack/schema.h"

static const char whole[] = "version: 1\n"
			    "repositories:\n"
			    "  local: { url: file:///var/backups/holdfast }\n"
			    "  offsite:\n"
			    "    url: s3://acme-backups/prod\n"
			    "    endpoint: https://s3.example.net\n"
			    "    region: eu-central-1\n"
			    "    access_key_id: env:AWS_ACCESS_KEY_ID\n"
			    "    secret_access_key: file:/run/secrets/s3\n"
			    "    encrypt_to: [age1x]\n"
			    "    identity: { cmd: [pass, show, age] }\n"
			    "stacks:\n"
			    "  shop:\n"
			    "    database:\n"
			    "      url: env:TEST_DATABASE_URL\n"
			    "      admin_url: postgresql://admin@/shop\n"
			    "    repositories: [local, offsite]\n"
			    "    files: { config: /srv/shop/compose/.env, data: /srv/shop/data }\n"
			    "    jobs: 4\n"
			    "    retention: { keep_last: 7, keep_daily: 7, keep_weekly: 4, keep_monthly: 12 }\n"
			    "    objectives: { rpo: 1h, rto: 30m }\n"
			    "    version: { env_file: /srv/shop/compose/.env, key: SHOP_VERSION }\n"
			    "    services:\n"
			    "      stop:  [docker, compose, stop, worker]\n"
			    "      start: [docker, compose, up, -d, --wait]\n"
			    "    migrations: { dir: /srv/shop/migrations }\n"
			    "    health: { url: http://localhost:3001/health, expect: { status: ok }, within: 30s }\n"
			    "    preflight: [[docker, compose, exec, api, node, preflight.js]]\n";

static int parse(const char *text, struct config *c, struct error *err)
{
	return config_parse("holdfast.yaml", text, strlen(text), c, err);
}

static void whole_file_is_read(void **state)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct config c cleanup(config_release) = {0};
	char *url cleanup(mem_freep) = NULL, *admin cleanup(mem_freep) = NULL;

	(void)state;
	assert_int_equal(parse(whole, &c, &err), 0);
	assert_int_equal(c.repositories_count, 2);
	assert_int_equal(c.stacks_count, 1);
	assert_string_equal(c.stacks[0].name, "shop");
	assert_int_equal(c.stacks[0].jobs, 4);
	assert_int_equal(c.stacks[0].repositories_count, 2);
	assert_string_equal(c.stacks[0].repositories[1], "offsite");
	assert_ptr_equal(config_stack(&c, "shop"), &c.stacks[0]);
	assert_null(config_stack(&c, "ship"));
	assert_string_equal(config_nearest_stack(&c, "ship"), "shop");
	assert_int_equal(config_repository_url(config_repository(&c, "local"), &url, &err), 0);
	assert_string_equal(url, "file:///var/backups/holdfast");
	assert_int_equal(config_stack_database(&c.stacks[0], true, &admin, &err), 0);
	assert_string_equal(admin, "postgresql://admin@/shop");
}

/* ${from} replaced by ${to} in the whole file */
static char *changed(const char *from, const char *to)
{
	const char *at = strstr(whole, from);

	assert_non_null(at);
	return mem_printf("%.*s%s%s", (int)(at - whole), whole, to, at + strlen(from));
}

static const struct wrong {
	const char *name, *from, *to, *message, *hint;
} wrongs[] = {
	{"unknown key", "retention:", "retension:", "holdfast.yaml:20:5: unknown key \"retension\"",
		"Did you mean \"retention\"?"},
	{"unknown key of a repository", "region:", "regoin:", "holdfast.yaml:7:5: unknown key \"regoin\"",
		"Did you mean \"region\"?"},
	{"unknown key at the top", "stacks:", "stack:", "holdfast.yaml:12:1: unknown key \"stack\"", "Did you mean \"stacks\"?"},
	{"later version", "version: 1\n", "version: 2\n", NULL, NULL},
	{"jobs that is no number", "jobs: 4", "jobs: four", NULL, NULL},
	{"duration without a unit", "rpo: 1h", "rpo: 60", NULL, NULL},
	{"list that is none", "[local, offsite]", "local", NULL, NULL},
	{"no repositories", "[local, offsite]", "[]", "holdfast.yaml:17:5: stack \"shop\" has no repository", NULL},
	{"repository that is not there", "[local, offsite]", "[locla]", "holdfast.yaml:17:20: there is no repository \"locla\"",
		"Did you mean \"local\"?"},
	{"database without url", "      url: env:TEST_DATABASE_URL\n", "", NULL, NULL},
	{"name that is none", "  shop:\n", "  -shop:\n", "holdfast.yaml:13:3: \"-shop\" is no name for a stack",
		"Use letters, digits, \"_\", \"-\" and \".\", at most 64 of them."},
	{"empty command", "[docker, compose, stop, worker]", "[]", NULL, NULL},
	{"command that is text", "[docker, compose, stop, worker]", "docker compose stop", NULL, NULL},
	{"unknown key of an identity", "{ cmd: [pass, show, age] }", "{ cdm: [pass] }", NULL, NULL},
};

static void whatever_is_wrong_is_told_with_its_place(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_len(wrongs); i++) {
		struct error err cleanup(err_clear) = ERROR_INIT;
		struct config c = {0};
		char *text cleanup(mem_freep) = changed(wrongs[i].from, wrongs[i].to);

		print_message("  %s\n", wrongs[i].name);
		assert_int_equal(parse(text, &c, &err), -1);
		print_message("    %s\n", err.message);
		assert_int_equal(err.class, ERR_CONFIG);
		assert_int_equal(strncmp(err.message, "holdfast.yaml:", 14), 0);
		if (wrongs[i].message)
			assert_string_equal(err.message, wrongs[i].message);
		if (wrongs[i].hint)
			assert_string_equal(err.hint, wrongs[i].hint);
	}
}

static void file_that_is_missing_is_a_configuration_error(void **state)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct config c = {0};

	(void)state;
	assert_int_equal(config_load("/nonexistent/holdfast.yaml", &c, &err), -1);
	assert_int_equal(err.class, ERR_CONFIG);
	assert_non_null(strstr(err.message, "/nonexistent/holdfast.yaml"));
}

struct value_case {
	const char *name, *text, *value, *message;
};

static void values_come_from_environment_and_files(void **state)
{
	char dir[] = "/tmp/hfcfg.XXXXXX";
	char *good cleanup(mem_freep) = NULL, *empty cleanup(mem_freep) = NULL, *settings cleanup(mem_freep) = NULL;

	(void)state;
	assert_non_null(mkdtemp(dir));
	good = mem_printf("%s/good", dir);
	empty = mem_printf("%s/empty", dir);
	settings = mem_printf("%s/env", dir);
	{
		struct error err cleanup(err_clear) = ERROR_INIT;

		assert_int_equal(io_replace_file(good, "s3cret\n", 7, 0600, &err), 0);
		assert_int_equal(io_replace_file(empty, "\n", 1, 0600, &err), 0);
		assert_int_equal(io_replace_file(settings, "A='a\\'b$c'\n", 11, 0600, &err), 0);
	}
	char *of_good cleanup(mem_freep) = mem_printf("file:%s", good),
		      *of_empty cleanup(mem_freep) = mem_printf("file:%s", empty),
		      *of_key cleanup(mem_freep) = mem_printf("env_file:%s#A", settings),
		      *of_no_key cleanup(mem_freep) = mem_printf("env_file:%s#B", settings),
		      *has_no_key cleanup(mem_freep) = mem_printf("v:1:4: url: \"B\" in file \"%s\" is not set", settings);
	char *is_empty cleanup(mem_freep) = mem_printf("v:1:4: url: file \"%s\" is empty", empty);
	const struct value_case cases[] = {
		{"plain", "postgresql:///app", "postgresql:///app", NULL},
		{"URL of a file", "file:///var/backups", "file:///var/backups", NULL},
		{"file, without its newline", of_good, "s3cret", NULL},
		{"variable", "env:TEST_VALUE", "from the environment", NULL},
		{"variable that is not set", "env:TEST_UNSET", NULL,
			"v:1:4: url: environment variable \"TEST_UNSET\" is not set"},
		{"variable that is empty", "env:TEST_EMPTY", NULL, "v:1:4: url: environment variable \"TEST_EMPTY\" is empty"},
		{"file that is empty", of_empty, NULL, is_empty},
		{"file that is missing", "file:/nonexistent", NULL, "v:1:4: url: file \"/nonexistent\" does not exist"},
		{"key of an env file", of_key, "a'b$c", NULL},
		{"key that is not in it", of_no_key, NULL, has_no_key},
	};

	setenv("TEST_VALUE", "from the environment", 1);
	setenv("TEST_EMPTY", "", 1);
	for (size_t i = 0; i < array_len(cases); i++) {
		struct error err cleanup(err_clear) = ERROR_INIT;
		struct yaml_doc doc cleanup(yaml_release) = {0};
		char *value cleanup(mem_freep) = NULL, *text cleanup(mem_freep) = mem_printf("v: %s\n", cases[i].text);

		print_message("  %s\n", cases[i].name);
		assert_int_equal(yaml_parse(&doc, "v", text, strlen(text), &err), 0);
		if (cases[i].value) {
			assert_int_equal(config_value(yaml_get(doc.root, "v"), "url", &value, &err), 0);
			assert_string_equal(value, cases[i].value);
		} else {
			assert_int_equal(config_value(yaml_get(doc.root, "v"), "url", &value, &err), -1);
			assert_int_equal(err.class, ERR_CONFIG);
			assert_string_equal(err.message, cases[i].message);
		}
	}
	{
		struct error err cleanup(err_clear) = ERROR_INIT;

		assert_int_equal(io_remove_tree(dir, &err), 0);
	}
}

static void version_pins_are_read_like_an_env_file(void **state)
{
	static const char env[] =
		"# comment\nOTHER=1\nexport SHOP_VERSION = no\nSHOP_VERSION=1.0\n export SHOP_VERSION=\"2.0 beta\" \n";
	char path[] = "/tmp/hfpin.XXXXXX";
	int fd = mkstemp(path);
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct config c cleanup(config_release) = {0};
	char *version cleanup(mem_freep) = NULL, *pin cleanup(mem_freep) = NULL, *text cleanup(mem_freep) = NULL;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, env, sizeof(env) - 1), sizeof(env) - 1);
	close(fd);
	pin = mem_printf("env_file: %s, key", path);
	text = changed("env_file: /srv/shop/compose/.env, key", pin);
	assert_int_equal(parse(text, &c, &err), 0);
	assert_int_equal(config_stack_version(&c.stacks[0], &version, &err), 1);
	assert_string_equal(version, "2.0 beta");
	unlink(path);
}

/* A stack with ${lines} among its keys. */
static int parse_with(const char *lines, struct config *ret, struct error *err)
{
	char *text cleanup(mem_freep) = mem_printf("version: 1\nrepositories: { local: { url: file:///r } }\nstacks:\n  shop:\n"
						   "    database: { url: postgresql:///shop }\n    repositories: [local]\n%s",
		lines);

	return parse(text, ret, err);
}

static void files_become_parameters_of_a_backup(void **state)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct config c cleanup(config_release) = {0};
	json_t *parameters cleanup(json_decrefpp) = json_object();
	char *text;

	(void)state;
	assert_int_equal(config_files_parameters(NULL, parameters, &err), 0);
	assert_int_equal(json_object_size(parameters), 0);
	assert_int_equal(parse_with("    files:\n      config: /srv/.env\n"
				    "      data: { path: /srv/data, exclude: [\"*.tmp\", /cache/], one_filesystem: true }\n"
				    "    files_order: files-first\n",
				 &c, &err),
		0);
	assert_int_equal(config_files_parameters(&c.stacks[0], parameters, &err), 0);
	text = json_dumps(parameters, JSON_COMPACT);
	assert_string_equal(text,
		"{\"files\":{\"config\":\"/srv/.env\",\"data\":\"/srv/data\"},"
		"\"files_exclude\":[\"data:*.tmp\",\"data:/cache/\"],\"files_one_filesystem\":[\"data\"],"
		"\"files_order\":\"files-first\"}");
	free(text);
}

static void files_that_cannot_be_are_told_with_their_place(void **state)
{
	static const struct {
		const char *lines, *message, *hint;
	} table[] = {
		{"    files: { config: srv/.env }\n",
			"holdfast.yaml:7:22: files \"config\": \"srv/.env\" is no absolute path of a file or directory", NULL},
		{"    files: { all: / }\n", "holdfast.yaml:7:19: files \"all\": \"/\" is no absolute path of a file or directory",
			NULL},
		{"    files: { a/b: /srv }\n", "holdfast.yaml:7:14: \"a/b\" is no label for files",
			"Use letters, digits, \"_\", \"-\" and \".\", at most 64 of them."},
		{"    files: { data: { exclude: [x] } }\n", "holdfast.yaml:7:22: data has no key \"path\"", NULL},
		{"    files: { data: { path: /srv, exlude: [x] } }\n", "holdfast.yaml:7:34: unknown key \"exlude\"",
			"Did you mean \"exclude\"?"},
		{"    files: { data: { path: /srv, exclude: [\"\"] } }\n",
			"holdfast.yaml:7:44: a pattern of \"exclude\" is empty", NULL},
		{"    files_order: first\n", "holdfast.yaml:7:18: files_order is \"first\"",
			"It is \"database-first\" or \"files-first\"."},
	};

	(void)state;
	for (size_t i = 0; i < array_len(table); i++) {
		struct error err cleanup(err_clear) = ERROR_INIT;
		struct config c cleanup(config_release) = {0};

		assert_int_equal(parse_with(table[i].lines, &c, &err), -1);
		assert_int_equal(err.class, ERR_CONFIG);
		assert_string_equal(err.message, table[i].message);
		assert_string_equal(err.hint ? err.hint : "", table[i].hint ? table[i].hint : "");
	}
}

static void retention_is_read_with_its_time_zone(void **state)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct config c cleanup(config_release) = {0}, bare cleanup(config_release) = {0}, bad cleanup(config_release) = {0};
	struct retention_policy p = {0};
	const char *zone = "unset";
	char *text cleanup(mem_freep) = changed(
		"keep_monthly: 12 }", "keep_monthly: 12, keep_within: 2d }\n    timezone: Europe/Berlin");
	char *none cleanup(mem_freep) = changed(
		"    retention: { keep_last: 7, keep_daily: 7, keep_weekly: 4, keep_monthly: 12 }\n", "");
	char *mars cleanup(mem_freep) = changed("keep_monthly: 12 }", "keep_monthly: 12 }\n    timezone: Mars");

	(void)state;
	assert_int_equal(parse(text, &c, &err), 0);
	assert_int_equal(config_stack_retention(&c.stacks[0], &p, &zone, &err), 1);
	assert_int_equal(p.keep_last, 7);
	assert_int_equal(p.keep_monthly, 12);
	assert_int_equal(p.keep_yearly, 0);
	assert_int_equal(p.keep_within_ms, 172800000);
	assert_string_equal(zone, "Europe/Berlin");
	assert_int_equal(parse(none, &bare, &err), 0);
	assert_int_equal(config_stack_retention(&bare.stacks[0], &p, &zone, &err), 0);
	assert_null(zone);
	assert_int_equal(parse(mars, &bad, &err), 0);
	assert_int_equal(config_stack_retention(&bad.stacks[0], &p, &zone, &err), -1);
	assert_string_equal(err.message, "holdfast.yaml:21:15: timezone: there is no time zone \"Mars\"");
}

static void configuration_is_looked_for_in_this_order(void **state)
{
	char dir[] = "/tmp/hfxdg.XXXXXX";
	struct error err cleanup(err_clear) = ERROR_INIT;
	char *sub cleanup(mem_freep) = NULL, *file cleanup(mem_freep) = NULL;
	char *named cleanup(mem_freep) = NULL, *found cleanup(mem_freep) = NULL;

	(void)state;
	assert_non_null(mkdtemp(dir));
	sub = mem_printf("%s/holdfast", dir);
	file = mem_printf("%s/holdfast.yaml", sub);
	assert_int_equal(io_make_dirs(sub, &err), 0);
	assert_int_equal(io_replace_file(file, "version: 1\n", 11, 0600, &err), 0);
	setenv("XDG_CONFIG_HOME", dir, 1);
	assert_int_equal(config_find(NULL, &found), 1);
	assert_string_equal(found, file);
	assert_int_equal(config_find("elsewhere.yaml", &named), 1);
	assert_string_equal(named, "elsewhere.yaml");
	unsetenv("XDG_CONFIG_HOME");
	assert_int_equal(io_remove_tree(dir, &err), 0);
}

static void assert_documented(const struct buf *doc, const struct schema_key *keys)
{
	for (; keys->name; keys++) {
		char *cell cleanup(mem_freep) = mem_printf("`%s`", keys->name);

		if (!strstr(buf_str(doc), cell))
			fail_msg("docs/configuration.md does not have key %s", cell);
		if (keys->keys)
			assert_documented(doc, keys->keys);
	}
}

static void every_key_is_documented(void **state)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct buf doc cleanup(buf_release) = {0};

	(void)state;
	assert_int_equal(io_read_file("docs/configuration.md", &doc, &err), 1);
	assert_documented(&doc, config_schema);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_file_is_read),
		cmocka_unit_test(whatever_is_wrong_is_told_with_its_place),
		cmocka_unit_test(file_that_is_missing_is_a_configuration_error),
		cmocka_unit_test(values_come_from_environment_and_files),
		cmocka_unit_test(version_pins_are_read_like_an_env_file),
		cmocka_unit_test(files_become_parameters_of_a_backup),
		cmocka_unit_test(files_that_cannot_be_are_told_with_their_place),
		cmocka_unit_test(retention_is_read_with_its_time_zone),
		cmocka_unit_test(configuration_is_looked_for_in_this_order),
		cmocka_unit_test(every_key_is_documented),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * The command line: every rule as a row of arguments, environment and outcome.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "cmd/help.h"
#include "cmd/options.h"
#include "base/yaml.h"
#include "orchestrator/plans/embedded.h"

#define ARGS_MAX 12

static int count_args(const char *const *args)
{
	int n = 0;

	while (n < ARGS_MAX && args[n])
		n++;
	return n;
}

/* What argv points to: operands are borrowed from it. */
static struct arena words;

static int parse(const char *const *args, struct options *o, struct error *err)
{
	char *argv[ARGS_MAX + 2] = {arena_strdup(&words, "holdfast")};
	int n = count_args(args);

	for (int i = 0; i < n; i++)
		argv[i + 1] = arena_strdup(&words, args[i]);
	return options_parse(n + 1, argv, o, err);
}

struct refused {
	const char *name;
	const char *args[ARGS_MAX];
	const char *env; /* "NAME=value" */
	const char *message, *hint;
};

static const struct refused refused[] = {
	{"unknown command", {"bakcup"}, NULL, "unknown command \"bakcup\"", "Did you mean \"backup\"?"},
	{"command of a later version", {"drill"}, NULL, "unknown command \"drill\"", "See \"holdfast --help\"."},
	{"hidden command is not proposed", {"generat"}, NULL, "unknown command \"generat\"", "See \"holdfast --help\"."},
	{"unknown option", {"backup", "--jbos", "2"}, NULL, "unknown option \"--jbos\"", "Did you mean \"--jobs\"?"},
	{"option nothing is near to", {"backup", "--frobnicate"}, NULL, "unknown option \"--frobnicate\"",
		"See \"holdfast backup --help\"."},
	{"abbreviated option", {"backup", "--job=2"}, NULL, "unknown option \"--job\"", "Did you mean \"--jobs\"?"},
	{"unknown letter", {"backup", "-X"}, NULL, "unknown option \"-X\"", "See \"holdfast backup --help\"."},
	{"option of another command", {"list", "--jobs", "2"}, NULL, "command \"list\" has no option \"--jobs\"",
		"See \"holdfast list --help\"."},
	{"letter of another command", {"list", "-j2"}, NULL, "command \"list\" has no option \"-j\"",
		"See \"holdfast list --help\"."},
	{"option before the command", {"--jobs", "2", "backup"}, NULL, "option \"--jobs\" stands before the command",
		"Put it behind the command it is meant for."},
	{"missing argument", {"backup", "--jobs"}, NULL, "option \"--jobs\" needs an argument", NULL},
	{"missing argument of a letter", {"backup", "-j"}, NULL, "option \"-j\" needs an argument", NULL},
	{"argument of a flag", {"backup", "--dry-run=yes"}, NULL, "option \"--dry-run\" takes no argument", NULL},
	{"empty argument", {"backup", "--database="}, NULL, "option \"--database\" is empty", NULL},
	{"no number", {"backup", "--jobs", "two"}, NULL, "option \"--jobs\" needs a number from 1 to 256, not \"two\"", NULL},
	{"number too small", {"backup", "-j", "0"}, NULL, "option \"-j\" needs a number from 1 to 256, not \"0\"", NULL},
	{"number too large", {"backup", "-p", "65536"}, NULL, "option \"-p\" needs a number from 1 to 65535, not \"65536\"",
		NULL},
	{"trailing text", {"backup", "-j", "2x"}, NULL, "option \"-j\" needs a number from 1 to 256, not \"2x\"", NULL},
	{"wrong choice", {"restore", "latest", "--verify", "row"}, NULL,
		"option \"--verify\" needs one of rows|counts|none, not \"row\"", "Did you mean \"rows\"?"},
	{"pair without a value", {"restore", "latest", "--map-role", "a"}, NULL, "option \"--map-role\" needs OLD=NEW, not \"a\"",
		NULL},
	{"pair without a name", {"run", "x.yaml", "-p", "=1"}, NULL, "option \"-p\" needs NAME=VALUE, not \"=1\"", NULL},
	{"missing operand", {"show"}, NULL, "command \"show\" needs ID", "See \"holdfast show --help\"."},
	{"operand too many", {"backup", "app"}, NULL, "command \"backup\" does not take \"app\"",
		"See \"holdfast backup --help\"."},
	{"wrong variable", {"backup"}, "HOLDFAST_JOBS=many",
		"environment variable \"HOLDFAST_JOBS\" needs a number from 1 to 256, not \"many\"", NULL},
	{"wrong flag in the environment", {"backup"}, "HOLDFAST_DRY_RUN=perhaps",
		"environment variable \"HOLDFAST_DRY_RUN\" needs true or false, not \"perhaps\"", NULL},
};

static void wrong_usage_is_refused_with_the_nearest_spelling(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_len(refused); i++) {
		const struct refused *r = &refused[i];
		struct error err cleanup(err_clear) = ERROR_INIT;
		struct options o cleanup(options_release) = {0};
		char *env = r->env ? strdup(r->env) : NULL;

		print_message("  %s\n", r->name);
		if (env)
			putenv(env);
		assert_int_equal(parse(r->args, &o, &err), -1);
		assert_int_equal(err.class, ERR_CONFIG);
		assert_string_equal(err.message, r->message);
		if (r->hint)
			assert_string_equal(err.hint, r->hint);
		else
			assert_null(err.hint);
		if (env)
			unsetenv(strtok(env, "="));
	}
}

struct accepted {
	const char *name;
	const char *args[ARGS_MAX];
	const char *env;
	enum option_id id;
	size_t count;
	const char *text; /* the last value */
};

static const struct accepted accepted[] = {
	{"long with equals", {"backup", "--jobs=3"}, NULL, OPT_JOBS, 1, "3"},
	{"long with a word", {"backup", "--jobs", "3"}, NULL, OPT_JOBS, 1, "3"},
	{"letter with a word", {"backup", "-j", "3"}, NULL, OPT_JOBS, 1, "3"},
	{"letter glued", {"backup", "-j3"}, NULL, OPT_JOBS, 1, "3"},
	{"letters in one word", {"backup", "-qj3"}, NULL, OPT_JOBS, 1, "3"},
	{"the last one counts", {"backup", "-j3", "--jobs=4"}, NULL, OPT_JOBS, 2, "4"},
	{"lists add up", {"backup", "-t", "a", "-t", "b"}, NULL, OPT_TABLE, 2, "b"},
	{"-h is the host, as for pg_dump", {"backup", "-h", "/run"}, NULL, OPT_HOST, 1, "/run"},
	{"-p is the port of a backup", {"backup", "-p", "5433"}, NULL, OPT_PORT, 1, "5433"},
	{"-p is a parameter of a plan", {"run", "x.yaml", "-p", "a=b"}, NULL, OPT_PARAM, 1, "a=b"},
	{"-d -U -n -N -T -Z", {"backup", "-dapp", "-Ume", "-nn", "-NN", "-TT", "-Z9"}, NULL, OPT_EXCLUDE_TABLE, 1, "T"},
	{"global option before the command", {"--stack", "shop", "backup"}, NULL, OPT_STACK, 1, "shop"},
	{"global option behind it", {"backup", "--stack", "shop"}, NULL, OPT_STACK, 1, "shop"},
	{"value that looks like an option", {"backup", "-t", "--jobs"}, NULL, OPT_TABLE, 1, "--jobs"},
	{"variable", {"backup"}, "HOLDFAST_JOBS=5", OPT_JOBS, 1, "5"},
	{"flag wins over variable", {"backup", "-j3"}, "HOLDFAST_JOBS=5", OPT_JOBS, 1, "3"},
	{"wrong variable behind a flag is not looked at", {"backup", "-j3"}, "HOLDFAST_JOBS=many", OPT_JOBS, 1, "3"},
	{"default", {"backup"}, NULL, OPT_JOBS, 0, "2"},
	{"empty variable is none", {"backup"}, "HOLDFAST_JOBS=", OPT_JOBS, 0, "2"},
	{"list in a variable", {"backup"}, "HOLDFAST_TABLE=a,b,c", OPT_TABLE, 3, "c"},
	{"flag of a list replaces the variable", {"backup", "-ta"}, "HOLDFAST_TABLE=x,y", OPT_TABLE, 1, "a"},
	{"pairs in a variable", {"restore", "latest"}, "HOLDFAST_MAP_ROLE=a=b,c=d", OPT_MAP_ROLE, 2, "c=d"},
	{"variable of another command is not looked at", {"list"}, "HOLDFAST_JOBS=many", OPT_JOBS, 0, "2"},
	{"true flag in a variable", {"backup"}, "HOLDFAST_DRY_RUN=yes", OPT_DRY_RUN, 1, "true"},
	{"false flag in a variable", {"backup"}, "HOLDFAST_DRY_RUN=0", OPT_DRY_RUN, 0, NULL},
	{"help wins over what is wrong", {"restore", "--nonsense", "--help"}, NULL, OPT_HELP, 1, "true"},
	{"help by its letter", {"-?"}, NULL, OPT_HELP, 1, "true"},
};

static void flag_wins_over_environment_wins_over_default(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_len(accepted); i++) {
		const struct accepted *a = &accepted[i];
		struct error err cleanup(err_clear) = ERROR_INIT;
		struct options o cleanup(options_release) = {0};
		char *env = a->env ? strdup(a->env) : NULL;

		print_message("  %s\n", a->name);
		if (env)
			putenv(env);
		assert_int_equal(parse(a->args, &o, &err), 0);
		assert_null(err.message);
		assert_int_equal(o.values[a->id].count, a->count);
		if (a->text)
			assert_string_equal(option_text(&o, a->id), a->text);
		else
			assert_null(option_text(&o, a->id));
		if (env)
			unsetenv(strtok(env, "="));
	}
}

static void two_dashes_end_the_options(void **state)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct options o cleanup(options_release) = {0};

	(void)state;
	assert_int_equal(parse((const char *const[ARGS_MAX]){"show", "--", "--jobs"}, &o, &err), 0);
	assert_int_equal(o.operands_count, 1);
	assert_string_equal(o.operands[0], "--jobs");
}

static void no_two_options_of_a_command_share_a_letter_or_a_name(void **state)
{
	(void)state;
	for (size_t a = 0; a < OPT_COUNT; a++) {
		assert_non_null(option_specs[a].name);
		assert_non_null(option_specs[a].about);
		for (size_t b = a + 1; b < OPT_COUNT; b++) {
			assert_string_not_equal(option_specs[a].name, option_specs[b].name);
			if (option_specs[a].letter && option_specs[a].letter == option_specs[b].letter)
				assert_int_equal(option_specs[a].commands & option_specs[b].commands, 0);
		}
	}
}

static const struct embedded_plan *plan_of(const char *name)
{
	for (size_t i = 0; i < embedded_plans_count; i++)
		if (strcmp(embedded_plans[i].name, name) == 0)
			return &embedded_plans[i];
	return NULL;
}

/* Help and plan state the same defaults, and what an option fills exists. */
static void options_fill_parameters_that_the_plans_declare(void **state)
{
	static const struct {
		const char *plan;
		enum command_id command;
	} table[] = {{"backup", CMD_BACKUP}, {"restore", CMD_RESTORE}, {"restore-tables", CMD_RESTORE}};

	(void)state;
	for (size_t i = 0; i < array_len(table); i++) {
		struct error err cleanup(err_clear) = ERROR_INIT;
		struct yaml_doc doc cleanup(yaml_release) = {0};
		const struct embedded_plan *p = plan_of(table[i].plan);
		const struct yaml_node *declared;

		assert_non_null(p);
		assert_int_equal(yaml_parse(&doc, p->name, p->text, p->size, &err), 0);
		declared = yaml_get(doc.root, "parameters");
		for (size_t k = 0; k < OPT_COUNT; k++) {
			const struct option_spec *s = &option_specs[k];
			const struct yaml_node *param, *fallback;

			/* --table chooses the plan; secrets are compared when a whole database is restored. */
			if (!s->param || !option_fits(s, &commands[table[i].command]) || k == OPT_TABLE ||
				(k == OPT_ACCEPT_OTHER_SECRETS && strcmp(p->name, "restore-tables") == 0))
				continue;
			print_message("  %s of %s\n", s->param, p->name);
			param = yaml_get(declared, s->param);
			assert_non_null(param);
			fallback = yaml_get(param, "default");
			if (s->fallback) {
				assert_non_null(fallback);
				assert_string_equal(fallback->text, s->fallback);
			}
		}
	}
}

static void every_command_has_help_with_an_example(void **state)
{
	(void)state;
	for (size_t i = 0; i < CMD_COUNT; i++) {
		struct buf text cleanup(buf_release) = {0};

		assert_non_null(commands[i].name);
		assert_non_null(commands[i].run);
		help_command(&commands[i], &text);
		assert_non_null(strstr(buf_str(&text), "\nusage: holdfast "));
		assert_non_null(strstr(buf_str(&text), "\nexample:\n  "));
		for (const char *line = buf_str(&text); *line; line += strcspn(line, "\n"), line += *line == '\n')
			if (strncmp(line, "  holdfast ", 11) != 0) /* an example is as long as it is */
				assert_in_range(strcspn(line, "\n"), 0, 80);
	}
}

static const char help_of_drop_old[] = "holdfast drop-old: drop a database that a restore has kept\n"
				       "\n"
				       "usage: holdfast drop-old [OPTION]... NAME\n"
				       "\n"
				       "Drops only databases that a swap has put aside and marked; \"holdfast status\"\n"
				       "lists them.  The rows in it are gone for good.\n"
				       "\n"
				       "options:\n"
				       "  -d, --database=DATABASE   name, connection string or URL; PG* variables,\n"
				       "                            ~/.pgpass and pg_service.conf fill what it leaves\n"
				       "                            out\n"
				       "  -h, --host=HOST           host or socket directory of the server\n"
				       "  -p, --port=PORT           port of the server\n"
				       "  -U, --username=NAME       role to connect as\n"
				       "  -y, --yes                 do not ask\n"
				       "\n"
				       "options of every command:\n";

static void help_is_exactly_this(void **state)
{
	struct buf text cleanup(buf_release) = {0};

	(void)state;
	help_command(&commands[CMD_DROP_OLD], &text);
	assert_memory_equal(buf_str(&text), help_of_drop_old, sizeof(help_of_drop_old) - 1);
}

static int release_words(void **state)
{
	(void)state;
	arena_release(&words);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(flag_wins_over_environment_wins_over_default),
		cmocka_unit_test(wrong_usage_is_refused_with_the_nearest_spelling),
		cmocka_unit_test(two_dashes_end_the_options),
		cmocka_unit_test(no_two_options_of_a_command_share_a_letter_or_a_name),
		cmocka_unit_test(options_fill_parameters_that_the_plans_declare),
		cmocka_unit_test(every_command_has_help_with_an_example),
		cmocka_unit_test(help_is_exactly_this),
	};

	return cmocka_run_group_tests(tests, NULL, release_words);
}

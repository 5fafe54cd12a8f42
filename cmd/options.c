/*
 * The parser.  Arguments are walked once: words before the command may be global options only; behind it, options and operands
 * mix; "--" ends the options.  An option that exists but not for this command says so; any other gets the nearest right spelling.
 */
#include "cmd/options.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/yaml.h"

bool option_is_global(const struct option_spec *spec)
{
	return spec->commands == FOR_ALL;
}

bool option_fits(const struct option_spec *spec, const struct command *command)
{
	return option_is_global(spec) || (command && (spec->commands & FOR((uint64_t)(command - commands))));
}

char *option_env_name(const struct option_spec *spec)
{
	char *name = mem_printf("HOLDFAST_%s", spec->name);

	for (char *p = name; *p; p++)
		*p = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
	return name;
}

/* ${as} is how the user gave the option: "option \"--jobs\"", "environment variable \"HOLDFAST_JOBS\"". */
static int check_int(const struct option_spec *spec, const char *text, const char *as, struct error *err)
{
	char *end;
	long long n;

	errno = 0;
	n = strtoll(text, &end, 10);
	if (end == text || *end || errno || n < 1 || n > spec->max)
		return err_set(err, ERR_CONFIG, "%s needs a number from 1 to %lld, not \"%s\"", as, (long long)spec->max, text);
	return 0;
}

static int check_choice(const struct option_spec *spec, const char *text, const char *as, struct error *err)
{
	const char *known[16], *near;
	char *list cleanup(mem_freep) = mem_strdup(spec->choices), *rest = list;
	size_t n = 0;

	for (char *word; (word = strsep(&rest, "|")) && n < array_len(known) - 1;) {
		if (strcmp(word, text) == 0)
			return 0;
		known[n++] = word;
	}
	known[n] = NULL;
	err_set(err, ERR_CONFIG, "%s needs one of %s, not \"%s\"", as, spec->choices, text);
	near = nearest_word(text, known);
	return near ? err_hint(err, "Did you mean \"%s\"?", near) : -1;
}

static int check_text(const struct option_spec *spec, const char *text, const char *as, struct error *err)
{
	int64_t ms;
	uint64_t bytes;

	switch (spec->type) {
	case OPTION_INT:
		return check_int(spec, text, as, err);
	case OPTION_CHOICE:
		return check_choice(spec, text, as, err);
	case OPTION_DURATION:
		return duration_parse(text, &ms, err) < 0 ? err_context(err, "%s", as) : 0;
	case OPTION_SIZE:
		return size_parse(text, &bytes, err) < 0 ? err_context(err, "%s", as) : 0;
	case OPTION_PAIRS:
		if (!strchr(text, '=') || *text == '=')
			return err_set(err, ERR_CONFIG, "%s needs %s, not \"%s\"", as, spec->arg, text);
		return 0;
	default:
		return *text ? 0 : err_set(err, ERR_CONFIG, "%s is empty", as);
	}
}

/* Journals and output are JSON, which holds nothing else. */
static bool is_utf8(const char *text)
{
	json_t *probe = json_string(text);

	json_decref(probe);
	return probe != NULL;
}

static int value_add(
	struct options *o, enum option_id id, enum option_source source, const char *text, const char *as, struct error *err)
{
	const struct option_spec *spec = &option_specs[id];
	struct option_value *v = &o->values[id];

	if (!is_utf8(text))
		return err_set(err, ERR_CONFIG, "%s is not valid UTF-8", as);
	if (spec->type != OPTION_FLAG && check_text(spec, text, as, err) < 0)
		return -1;
	v->texts = mem_grow(v->texts, &v->cap, v->count + 1, sizeof(*v->texts));
	v->texts[v->count++] = mem_strdup(text);
	v->source = source;
	return 0;
}

static const struct option_spec *find_long(const char *name, size_t n)
{
	for (size_t i = 0; i < OPT_COUNT; i++)
		if (strlen(option_specs[i].name) == n && strncmp(option_specs[i].name, name, n) == 0)
			return &option_specs[i];
	return NULL;
}

static const struct option_spec *find_letter(char letter, const struct command *command)
{
	const struct option_spec *other = NULL;

	for (size_t i = 0; i < OPT_COUNT; i++) {
		if (option_specs[i].letter != letter)
			continue;
		if (option_fits(&option_specs[i], command))
			return &option_specs[i];
		other = &option_specs[i];
	}
	return other;
}

static int unknown_option(const char *name, size_t n, const struct command *command, struct error *err)
{
	const char *known[OPT_COUNT + 1], *near;
	char *word cleanup(mem_freep) = mem_strndup(name, n);
	size_t count = 0;

	for (size_t i = 0; i < OPT_COUNT; i++)
		if (option_fits(&option_specs[i], command))
			known[count++] = option_specs[i].name;
	known[count] = NULL;
	err_set(err, ERR_CONFIG, "unknown option \"--%s\"", word);
	near = nearest_word(word, known);
	if (near)
		return err_hint(err, "Did you mean \"--%s\"?", near);
	return err_hint(err, "See \"holdfast %s%s--help\".", command ? command->name : "", command ? " " : "");
}

static int check_place(const struct option_spec *spec, const struct command *command, const char *as, struct error *err)
{
	if (option_fits(spec, command))
		return 0;
	if (!command) {
		err_set(err, ERR_CONFIG, "%s stands before the command", as);
		return err_hint(err, "Put it behind the command it is meant for.");
	}
	err_set(err, ERR_CONFIG, "command \"%s\" has no %s", command->name, as);
	return err_hint(err, "See \"holdfast %s --help\".", command->name);
}

struct walk {
	int argc, at;
	char *const *argv;
};

/* NULL with ${err} where there is none. */
static const char *take_argument(struct walk *w, const char *as, struct error *err)
{
	if (w->at < w->argc && w->argv[w->at])
		return w->argv[w->at++];
	err_set(err, ERR_CONFIG, "%s needs an argument", as);
	return NULL;
}

static int parse_long(struct options *o, struct walk *w, const char *word, struct error *err)
{
	size_t n = strcspn(word, "=");
	const struct option_spec *spec = find_long(word, n);
	const char *text = word[n] ? word + n + 1 : NULL;
	char *as cleanup(mem_freep) = NULL;

	if (!spec)
		return unknown_option(word, n, o->command, err);
	as = mem_printf("option \"--%s\"", spec->name);
	if (check_place(spec, o->command, as, err) < 0)
		return -1;
	if (spec->type == OPTION_FLAG && text)
		return err_set(err, ERR_CONFIG, "%s takes no argument", as);
	if (spec->type == OPTION_FLAG)
		text = "true";
	if (!text)
		text = take_argument(w, as, err);
	if (!text)
		return -1;
	return value_add(o, (enum option_id)(spec - option_specs), SOURCE_FLAG, text, as, err);
}

static int parse_letters(struct options *o, struct walk *w, const char *word, struct error *err)
{
	for (; *word; word++) {
		const struct option_spec *spec = find_letter(*word, o->command);
		char *as cleanup(mem_freep) = mem_printf("option \"-%c\"", *word);
		const char *text = "true";

		if (!spec) {
			err_set(err, ERR_CONFIG, "unknown %s", as);
			return err_hint(
				err, "See \"holdfast %s%s--help\".", o->command ? o->command->name : "", o->command ? " " : "");
		}
		if (check_place(spec, o->command, as, err) < 0)
			return -1;
		if (spec->type != OPTION_FLAG) {
			text = word[1] ? word + 1 : take_argument(w, as, err);
			if (!text)
				return -1;
			return value_add(o, (enum option_id)(spec - option_specs), SOURCE_FLAG, text, as, err);
		}
		if (value_add(o, (enum option_id)(spec - option_specs), SOURCE_FLAG, text, as, err) < 0)
			return -1;
	}
	return 0;
}

static int parse_word(struct options *o, const char *word, struct error *err)
{
	if (o->command) {
		o->operands[o->operands_count++] = word;
		return 0;
	}
	o->command = command_find(word);
	return o->command ? 0 : command_unknown(word, err);
}

static int parse_arguments(struct options *o, struct walk *w, struct error *err)
{
	bool is_ended = false;

	while (w->at < w->argc) {
		const char *word = w->argv[w->at++];
		int rc;

		if (is_ended || *word != '-' || !word[1])
			rc = parse_word(o, word, err);
		else if (strcmp(word, "--") == 0)
			rc = 0, is_ended = true;
		else if (word[1] == '-')
			rc = parse_long(o, w, word + 2, err);
		else
			rc = parse_letters(o, w, word + 1, err);
		if (rc < 0)
			return -1;
	}
	return 0;
}

static int parse_env_flag(const char *text, const char *as, bool *ret, struct error *err)
{
	static const char *const yes[] = {"1", "true", "yes", "on"}, *const no[] = {"0", "false", "no", "off"};

	for (size_t i = 0; i < array_len(yes); i++) {
		if (strcasecmp(text, yes[i]) == 0 || strcasecmp(text, no[i]) == 0) {
			*ret = strcasecmp(text, yes[i]) == 0;
			return 0;
		}
	}
	return err_set(err, ERR_CONFIG, "%s needs true or false, not \"%s\"", as, text);
}

static int parse_env_value(struct options *o, enum option_id id, const char *text, const char *as, struct error *err)
{
	const struct option_spec *spec = &option_specs[id];
	bool is_set = true;

	if (spec->type == OPTION_FLAG) {
		if (parse_env_flag(text, as, &is_set, err) < 0)
			return -1;
		return is_set ? value_add(o, id, SOURCE_ENV, "true", as, err) : 0;
	}
	if (spec->type == OPTION_LIST || spec->type == OPTION_PAIRS) {
		char *list cleanup(mem_freep) = mem_strdup(text), *rest = list;

		for (char *word; (word = strsep(&rest, ","));)
			if (*word && value_add(o, id, SOURCE_ENV, word, as, err) < 0)
				return -1;
		return 0;
	}
	return value_add(o, id, SOURCE_ENV, text, as, err);
}

/* Variables of options the command does not have are nobody's business; an empty one counts as not set. */
static int parse_environment(struct options *o, struct error *err)
{
	for (size_t i = 0; i < OPT_COUNT; i++) {
		const struct option_spec *spec = &option_specs[i];
		char *name cleanup(mem_freep) = option_env_name(spec), *as cleanup(mem_freep) = NULL;
		const char *text = getenv(name);

		if (!text || !*text || spec->is_not_env || o->values[i].source == SOURCE_FLAG || !option_fits(spec, o->command))
			continue;
		as = mem_printf("environment variable \"%s\"", name);
		if (parse_env_value(o, (enum option_id)i, text, as, err) < 0)
			return -1;
	}
	return 0;
}

static int check_operands(const struct options *o, struct error *err)
{
	const struct command *c = o->command;

	if (!c)
		return 0;
	for (size_t i = 0; i < o->operands_count; i++) {
		/* "holdfast restore \"$ID\"" with a variable that is not set must not mean whatever begins with nothing. */
		if (!*o->operands[i])
			return err_set(err, ERR_CONFIG, "an argument of command \"%s\" is empty: %s", c->name, c->operands);
		if (!is_utf8(o->operands[i]))
			return err_set(
				err, ERR_CONFIG, "an argument of command \"%s\" is not valid UTF-8: %s", c->name, c->operands);
	}
	if (o->operands_count < (size_t)c->operands_min) {
		err_set(err, ERR_CONFIG, "command \"%s\" needs %s", c->name, c->operands);
		return err_hint(err, "See \"holdfast %s --help\".", c->name);
	}
	if (o->operands_count > (size_t)c->operands_max) {
		err_set(err, ERR_CONFIG, "command \"%s\" does not take \"%s\"", c->name, o->operands[c->operands_max]);
		return err_hint(err, "See \"holdfast %s --help\".", c->name);
	}
	return 0;
}

/* "holdfast restore --nonsense --help" wants help. */
static bool wants(int argc, char *const *argv, const char *name, const char *letter)
{
	for (int i = 1; i < argc && argv[i] && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], name) == 0 || strcmp(argv[i], letter) == 0)
			return true;
	return false;
}

/* "holdfast backup --jobs=0 --output json" wants its error as JSON, though --output stands behind what was not understood. */
static void find_output(int argc, char *const *argv, struct options *o)
{
	struct error ignored cleanup(err_clear) = ERROR_INIT;

	for (int i = 1; i < argc && argv[i] && strcmp(argv[i], "--") != 0 && !option_is_given(o, OPT_OUTPUT); i++) {
		const char *text = strncmp(argv[i], "--output=", 9) == 0   ? argv[i] + 9
			: strcmp(argv[i], "--output") == 0 && i + 1 < argc ? argv[i + 1]
									   : NULL;

		if (text && value_add(o, OPT_OUTPUT, SOURCE_FLAG, text, "", &ignored) < 0)
			err_clear(&ignored);
	}
}

int options_parse(int argc, char *const *argv, struct options *ret, struct error *err)
{
	struct walk w = {.argc = argc, .at = 1, .argv = argv};
	int rc;

	memset(ret, 0, sizeof(*ret));
	ret->operands = mem_zalloc(((size_t)argc + 1) * sizeof(*ret->operands));
	rc = parse_arguments(ret, &w, err);
	if (wants(argc, argv, "--help", "-?") || wants(argc, argv, "--version", "-V")) {
		enum option_id id = wants(argc, argv, "--help", "-?") ? OPT_HELP : OPT_VERSION;

		err_clear(err);
		return option_is_given(ret, id) ? 0 : value_add(ret, id, SOURCE_FLAG, "true", "", err);
	}
	if (rc < 0) {
		struct error ignored cleanup(err_clear) = ERROR_INIT;

		find_output(argc, argv, ret);
		/* HOLDFAST_OUTPUT=json holds for this error, too. */
		(void)parse_environment(ret, &ignored);
		return -1;
	}
	return parse_environment(ret, err) < 0 || check_operands(ret, err) < 0 ? -1 : 0;
}

void options_release(struct options *o)
{
	for (size_t i = 0; i < OPT_COUNT; i++) {
		for (size_t k = 0; k < o->values[i].count; k++)
			free(o->values[i].texts[k]);
		free(o->values[i].texts);
	}
	free(o->operands);
	memset(o, 0, sizeof(*o));
}

bool option_is_given(const struct options *o, enum option_id id)
{
	return o->values[id].count > 0;
}

bool option_flag(const struct options *o, enum option_id id)
{
	return o->values[id].count > 0;
}

const char *option_text(const struct options *o, enum option_id id)
{
	const struct option_value *v = &o->values[id];

	return v->count ? v->texts[v->count - 1] : option_specs[id].fallback;
}

int64_t option_duration_ms(const struct options *o, enum option_id id)
{
	const char *text = option_text(o, id);
	struct error ignored cleanup(err_clear) = ERROR_INIT;
	int64_t ms = 0;

	/* Checked when it was parsed. */
	return text && duration_parse(text, &ms, &ignored) == 0 ? ms : 0;
}

int64_t option_int(const struct options *o, enum option_id id)
{
	const char *text = option_text(o, id);

	return text ? strtoll(text, NULL, 10) : 0;
}

int option_set(struct options *o, enum option_id id, const char *text, struct error *err)
{
	char *as cleanup(mem_freep) = mem_printf("parameter \"%s\"", option_specs[id].name);

	return option_is_given(o, id) ? 0 : value_add(o, id, SOURCE_FLAG, text, as, err);
}

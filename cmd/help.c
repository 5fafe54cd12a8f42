#include "cmd/help.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/version.h"
#include "cmd/commands.h"
#include "cmd/output.h"

#define WIDTH 80
#define LABEL_WIDTH 26

char *help_option_label(const struct option_spec *spec)
{
	char letter[8] = "    ";

	if (spec->letter)
		(void)snprintf(letter, sizeof(letter), "-%c, ", spec->letter);
	return mem_printf("%s--%s%s%s", letter, spec->name, spec->arg ? "=" : "", spec->arg ? spec->arg : "");
}

char *help_option_text(const struct option_spec *spec, bool has_env)
{
	char *env cleanup(mem_freep) = option_env_name(spec);
	struct buf b = {0};

	buf_puts(&b, spec->about);
	if (spec->choices) {
		buf_puts(&b, ": ");
		for (const char *p = spec->choices; *p; p++)
			buf_puts(&b, *p == '|' ? ", " : (const char[]){*p, '\0'});
	}
	if (spec->fallback)
		buf_printf(&b, " (default: %s)", spec->fallback);
	if (has_env && !spec->is_not_env)
		buf_printf(&b, " [%s]", env);
	return buf_take(&b);
}

/* ${text} wrapped to WIDTH columns, every line but the first indented. */
static void put_wrapped(struct buf *out, const char *text, size_t indent)
{
	size_t column = indent;

	for (const char *p = text; *p;) {
		size_t n = strcspn(p, " ");

		if (column > indent && column + 1 + n > WIDTH) {
			buf_printf(out, "\n%*s", (int)indent, "");
			column = indent;
		} else if (column > indent) {
			buf_putc(out, ' ');
			column++;
		}
		buf_putn(out, p, n);
		column += n;
		p += n;
		p += strspn(p, " ");
	}
	buf_putc(out, '\n');
}

static void put_option(struct buf *out, const struct option_spec *spec)
{
	char *label cleanup(mem_freep) = help_option_label(spec), *text cleanup(mem_freep) = help_option_text(spec, false);

	buf_printf(out, "  %-*s", LABEL_WIDTH, label);
	if (strlen(label) >= LABEL_WIDTH)
		buf_printf(out, "\n  %-*s", LABEL_WIDTH, "");
	put_wrapped(out, text, LABEL_WIDTH + 2);
}

static void put_indented(struct buf *out, const char *text)
{
	for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n')
		buf_printf(out, "  %.*s\n", (int)strcspn(line, "\n"), line);
}

void help_general(struct buf *out)
{
	buf_puts(out,
		"holdfast: backup, proven restore and upgrade of PostgreSQL-backed stacks\n\n"
		"usage: holdfast [OPTION]... COMMAND [OPTION]... [ARGUMENT]...\n\ncommands:\n");
	for (size_t i = 0; i < CMD_COUNT; i++) {
		char *label cleanup(mem_freep) = mem_printf("%s%s%s", commands[i].name, commands[i].operands ? " " : "",
			commands[i].operands ? commands[i].operands : "");

		if (commands[i].is_hidden)
			continue;
		buf_printf(out, "  %-22s", label);
		put_wrapped(out, commands[i].about, 24);
	}
	buf_puts(out, "\noptions of every command:\n");
	for (size_t i = 0; i < OPT_COUNT; i++)
		if (option_is_global(&option_specs[i]))
			put_option(out, &option_specs[i]);
	buf_puts(out,
		"\nEvery option is also an environment variable: --target-db is HOLDFAST_TARGET_DB.\n"
		"A flag wins over the environment, that over the configuration file.\n\nexample:\n");
	put_indented(out, commands[CMD_BACKUP].example);
	buf_puts(out, "\n\"holdfast COMMAND --help\" tells more of a command.\n");
}

void help_command(const struct command *c, struct buf *out)
{
	bool has_own = false;
	char *head cleanup(mem_freep) = mem_printf("holdfast %s: %s", c->name, c->about);

	put_wrapped(out, head, 0);
	buf_printf(
		out, "\nusage: holdfast %s [OPTION]...%s%s\n", c->name, c->operands ? " " : "", c->operands ? c->operands : "");
	if (*c->doc)
		buf_printf(out, "\n%s\n", c->doc);
	for (size_t i = 0; i < OPT_COUNT; i++) {
		if (option_is_global(&option_specs[i]) || !option_fits(&option_specs[i], c))
			continue;
		if (!has_own)
			buf_puts(out, "\noptions:\n");
		has_own = true;
		put_option(out, &option_specs[i]);
	}
	buf_puts(out, "\noptions of every command:\n");
	for (size_t i = 0; i < OPT_COUNT; i++)
		if (option_is_global(&option_specs[i]))
			put_option(out, &option_specs[i]);
	buf_puts(out, "\nexample:\n");
	put_indented(out, c->example);
}

int cmd_help(struct app *app, struct error *err)
{
	const struct options *o = &app->options;
	/* "holdfast restore --help" or "holdfast help restore" */
	const struct command *about = o->command && o->command != &commands[CMD_HELP] ? o->command : NULL;
	struct buf text cleanup(buf_release) = {0};

	if (o->command == &commands[CMD_HELP] && o->operands_count) {
		about = command_find(o->operands[0]);
		if (!about)
			return command_unknown(o->operands[0], err);
	}
	if (about)
		help_command(about, &text);
	else
		help_general(&text);
	json_object_set_new(app->result, "text", json_string(buf_str(&text)));
	if (!app->is_json)
		(void)fputs(buf_str(&text), stdout); /* output_flush() tells */
	return 0;
}

int cmd_version(struct app *app, struct error *err)
{
	(void)err;
	json_object_set_new(app->result, "version", json_string(HOLDFAST_VERSION));
	if (!app->is_json)
		printf("holdfast %s\n", HOLDFAST_VERSION);
	return 0;
}

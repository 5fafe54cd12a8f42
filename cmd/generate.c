/*
 * Man pages, bash completion and the documentation's table of options, from the tables.
 */
#include <stdio.h>
#include <string.h>
#include "base/io.h"
#include "base/mem.h"
#include "base/version.h"
#include "cmd/commands.h"
#include "cmd/exit_status.h"
#include "cmd/help.h"
#include "cmd/output.h"

/* ---- man pages: the man macros of roff ---- */

/* Text for roff: hyphens and backslashes are escaped, and no line may begin with a control character. */
static void put_roff(struct buf *out, const char *text)
{
	bool is_begin = true;

	for (; *text; text++) {
		if (is_begin && (*text == '.' || *text == '\''))
			buf_puts(out, "\\&");
		if (*text == '-')
			buf_puts(out, "\\-");
		else if (*text == '\\')
			buf_puts(out, "\\e");
		else
			buf_putc(out, *text);
		is_begin = *text == '\n';
	}
}

static void put_heading(struct buf *out, const char *page)
{
	char upper[64];
	size_t n = 0;

	for (; page[n] && n < sizeof(upper) - 1; n++)
		upper[n] = page[n] >= 'a' && page[n] <= 'z' ? (char)(page[n] - 32) : page[n];
	upper[n] = '\0';
	buf_puts(out, ".\\\" Written by \"holdfast generate man\".\n.TH \"");
	put_roff(out, upper);
	buf_printf(out, "\" 1 \"\" \"holdfast %s\" \"Holdfast\"\n.nh\n.ad l\n", HOLDFAST_VERSION);
}

static void put_paragraphs(struct buf *out, const char *text)
{
	for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		char *copy cleanup(mem_freep) = mem_strndup(line, strcspn(line, "\n"));

		if (!*copy)
			buf_puts(out, ".PP");
		put_roff(out, copy);
		buf_putc(out, '\n');
	}
}

static void put_option(struct buf *out, const struct option_spec *spec)
{
	char *label cleanup(mem_freep) = help_option_label(spec), *text cleanup(mem_freep) = help_option_text(spec, true);

	buf_puts(out, ".TP\n.B ");
	put_roff(out, label + strspn(label, " "));
	buf_putc(out, '\n');
	put_roff(out, text);
	buf_putc(out, '\n');
}

static void put_options(struct buf *out, const struct command *c, bool is_global)
{
	for (size_t i = 0; i < OPT_COUNT; i++)
		if (option_is_global(&option_specs[i]) == is_global && option_fits(&option_specs[i], c))
			put_option(out, &option_specs[i]);
}

static void put_example(struct buf *out, const char *example)
{
	buf_puts(out, ".SH EXAMPLES\n.nf\n");
	put_roff(out, example);
	buf_puts(out, "\n.fi\n");
}

static bool is_listed(const char *list, int status)
{
	char number[16];
	size_t n = (size_t)snprintf(number, sizeof(number), "%d", status);

	for (const char *p = list; p && (p = strstr(p, number)); p += n)
		if ((p == list || p[-1] == ' ') && (p[n] == '\0' || p[n] == ','))
			return true;
	return false;
}

static void put_statuses(struct buf *out, const struct command *c)
{
	buf_puts(out, ".SH EXIT STATUS\n");
	for (const struct exit_status *s = exit_statuses; s->word; s++) {
		if (c && s->status > EXIT_CONFIG && s->status != EXIT_SIGNAL && !is_listed(c->statuses, s->status))
			continue;
		if (s->status == EXIT_SIGNAL)
			buf_puts(out, ".TP\n.B 128+N\nended by signal N\n");
		else
			buf_printf(out, ".TP\n.B %d\n%s\n", s->status, s->about);
	}
}

static void page_of_command(const struct command *c, struct buf *out)
{
	char *name cleanup(mem_freep) = mem_printf("holdfast-%s", c->name);

	put_heading(out, name);
	buf_puts(out, ".SH NAME\n");
	put_roff(out, name);
	buf_puts(out, " \\- ");
	put_roff(out, c->about);
	buf_printf(out, "\n.SH SYNOPSIS\n.B holdfast %s\n[\\fIOPTION\\fR]...", c->name);
	if (c->operands) {
		buf_putc(out, ' ');
		put_roff(out, c->operands);
	}
	buf_putc(out, '\n');
	if (*c->doc) {
		buf_puts(out, ".SH DESCRIPTION\n");
		put_paragraphs(out, c->doc);
	}
	buf_puts(out, ".SH OPTIONS\n");
	put_options(out, c, false);
	buf_puts(out, ".SS Of every command\n");
	put_options(out, c, true);
	put_statuses(out, c);
	put_example(out, c->example);
	buf_puts(out, ".SH SEE ALSO\n.BR holdfast (1)\n");
}

static void page_of_program(struct buf *out)
{
	put_heading(out, "holdfast");
	buf_puts(out,
		".SH NAME\nholdfast \\- backup, proven restore and upgrade of PostgreSQL\\-backed stacks\n"
		".SH SYNOPSIS\n.B holdfast\n[\\fIOPTION\\fR]... \\fICOMMAND\\fR [\\fIOPTION\\fR]... [\\fIARGUMENT\\fR]...\n"
		".SH COMMANDS\n");
	for (size_t i = 0; i < CMD_COUNT; i++) {
		if (commands[i].is_hidden)
			continue;
		buf_puts(out, ".TP\n.B ");
		put_roff(out, commands[i].name);
		if (commands[i].operands) {
			buf_puts(out, "\\fR ");
			put_roff(out, commands[i].operands);
		}
		buf_putc(out, '\n');
		put_roff(out, commands[i].about);
		buf_putc(out, '\n');
	}
	buf_puts(out, ".SH OPTIONS\n");
	put_options(out, NULL, true);
	buf_puts(out,
		".SH ENVIRONMENT\nEvery option is also a variable: \\-\\-target\\-db is HOLDFAST_TARGET_DB.  A flag wins over "
		"the environment,\nthat over the configuration file, that over the default.  PG* variables mean what they mean "
		"to every libpq program.\nNO_COLOR: messages without colour.\n"
		".SH SIGNALS\nSIGTERM, SIGINT and SIGHUP stop politely: what was done stays journaled, and \"holdfast resume\" "
		"goes on.\nA second one stops at once.  SIGUSR1 prints where the run is.\n"
		".SH FILES\n.TP\n.I ~/.config/holdfast/holdfast.yaml, /etc/holdfast/holdfast.yaml\nconfiguration; the first that "
		"exists\n.TP\n.I /var/lib/holdfast, ~/.local/state/holdfast\njournals and locks, for root and for others\n");
	put_statuses(out, NULL);
	put_example(out, commands[CMD_BACKUP].example);
}

static int write_page(const char *dir, const char *name, const struct buf *page, struct error *err)
{
	char *file cleanup(mem_freep) = mem_printf("%s.1", name), *path cleanup(mem_freep) = io_path_join(dir, file);

	return io_replace_file(path, buf_str(page), page->len, 0644, err);
}

static int write_pages(const char *dir, struct error *err)
{
	struct buf page cleanup(buf_release) = {0};

	if (io_make_dirs(dir, err) < 0)
		return -1;
	page_of_program(&page);
	if (write_page(dir, "holdfast", &page, err) < 0)
		return -1;
	for (size_t i = 0; i < CMD_COUNT; i++) {
		char *name cleanup(mem_freep) = mem_printf("holdfast-%s", commands[i].name);

		if (commands[i].is_hidden)
			continue;
		buf_release(&page);
		page_of_command(&commands[i], &page);
		if (write_page(dir, name, &page, err) < 0)
			return -1;
	}
	return 0;
}

/* ---- bash completion ---- */

static void put_option_words(struct buf *out, const struct command *c, bool is_global)
{
	for (size_t i = 0; i < OPT_COUNT; i++)
		if (option_is_global(&option_specs[i]) == is_global && option_fits(&option_specs[i], c))
			buf_printf(out, " --%s", option_specs[i].name);
}

static void put_value_cases(struct buf *out)
{
	for (size_t i = 0; i < OPT_COUNT; i++) {
		const struct option_spec *s = &option_specs[i];
		const char *arg = s->arg ? s->arg : "";

		if (!s->arg)
			continue;
		buf_printf(out, "\t--%s%s%.*s)", s->name, s->letter && s->letter != 'p' ? " | -" : "",
			s->letter && s->letter != 'p' ? 1 : 0, &s->letter);
		if (s->choices) {
			buf_puts(out, " mapfile -t COMPREPLY < <(compgen -W '");
			for (const char *p = s->choices; *p; p++)
				buf_putc(out, *p == '|' ? ' ' : *p);
			buf_puts(out, "' -- \"$cur\") ;;\n");
		} else if (strstr(arg, "DIR")) {
			buf_puts(out, " mapfile -t COMPREPLY < <(compgen -d -- \"$cur\") ;;\n");
		} else if (strstr(arg, "FILE")) {
			buf_puts(out, " mapfile -t COMPREPLY < <(compgen -f -- \"$cur\") ;;\n");
		} else {
			buf_puts(out, " ;;\n");
		}
	}
}

static void completion(struct buf *out)
{
	buf_puts(out,
		"# bash completion of holdfast.  Written by \"holdfast generate completion\".\n# shellcheck shell=bash\n\n"
		"_holdfast() {\n"
		"\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command='' words='' i\n\n"
		"\tfor ((i = 1; i < COMP_CWORD; i++)); do\n\t\tcase ${COMP_WORDS[i]} in\n\t\t");
	for (size_t i = 0, n = 0; i < CMD_COUNT; i++)
		if (!commands[i].is_hidden)
			buf_printf(out, "%s%s", n++ ? " | " : "", commands[i].name);
	buf_puts(out,
		")\n\t\t\tcommand=${COMP_WORDS[i]}\n\t\t\tbreak\n\t\t\t;;\n\t\tesac\n\tdone\n"
		"\tCOMPREPLY=()\n\tcase $prev in\n");
	put_value_cases(out);
	buf_puts(out, "\t*) words=1 ;;\n\tesac\n\t[ \"$words\" ] || return 0\n\tcase $command in\n\t'')\n\t\twords='");
	for (size_t i = 0, n = 0; i < CMD_COUNT; i++)
		if (!commands[i].is_hidden)
			buf_printf(out, "%s%s", n++ ? " " : "", commands[i].name);
	put_option_words(out, NULL, true);
	buf_puts(out, "'\n\t\t;;\n");
	for (size_t i = 0; i < CMD_COUNT; i++) {
		if (commands[i].is_hidden)
			continue;
		buf_printf(out, "\t%s)\n\t\twords='%s", commands[i].name, commands[i].words ? commands[i].words : "");
		put_option_words(out, &commands[i], false);
		put_option_words(out, &commands[i], true);
		buf_puts(out, "'\n\t\t;;\n");
	}
	buf_puts(out,
		"\tesac\n\tmapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
		"\tif [ \"$command\" = run ] && [[ $cur != -* ]]; then\n"
		"\t\tmapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n\tfi\n}\ncomplete -F _holdfast holdfast\n");
}

/* ---- the documentation's table ---- */

static void put_commands_of(struct buf *out, const struct option_spec *spec)
{
	unsigned n = 0;

	if (option_is_global(spec)) {
		buf_puts(out, "every command");
		return;
	}
	for (size_t i = 0; i < CMD_COUNT; i++)
		if (option_fits(spec, &commands[i]))
			buf_printf(out, "%s%s", n++ ? ", " : "", commands[i].name);
}

static void put_cell(struct buf *out, const char *text)
{
	for (; *text; text++)
		buf_puts(out, *text == '|' ? "\\|" : (const char[]){*text, '\0'});
}

static void options_table(struct buf *out)
{
	buf_puts(out, "| option | variable | of | meaning |\n|---|---|---|---|\n");
	for (size_t i = 0; i < OPT_COUNT; i++) {
		const struct option_spec *s = &option_specs[i];
		char *label cleanup(mem_freep) = help_option_label(s), *env cleanup(mem_freep) = option_env_name(s);
		char *text cleanup(mem_freep) = help_option_text(s, false);

		buf_puts(out, "| `");
		put_cell(out, label + strspn(label, " "));
		buf_printf(out, "` | %s%s%s | ", s->is_not_env ? "" : "`", s->is_not_env ? "" : env, s->is_not_env ? "" : "`");
		put_commands_of(out, s);
		buf_puts(out, " | ");
		put_cell(out, text);
		buf_puts(out, " |\n");
	}
}

int cmd_generate(struct app *app, struct error *err)
{
	const char *what = app->options.operands[0], *dir = app->options.operands_count > 1 ? app->options.operands[1] : NULL;
	struct buf out cleanup(buf_release) = {0};

	if (strcmp(what, "man") == 0 && dir)
		return write_pages(dir, err);
	if (strcmp(what, "completion") == 0 && !dir)
		completion(&out);
	else if (strcmp(what, "options") == 0 && !dir)
		options_table(&out);
	else if (strcmp(what, "steps") == 0 && !dir)
		steps_page(&out);
	else
		return err_set(err, ERR_CONFIG, "command \"generate\" needs %s", app->command->operands);
	(void)fputs(buf_str(&out), stdout); /* output_flush() tells */
	return 0;
}

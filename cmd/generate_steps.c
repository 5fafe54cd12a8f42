/*
 * The documentation's pages of step kinds and built-in plans, from their own tables.
 */
#include <string.h>
#include "cmd/commands.h"
#include "orchestrator/engine/value.h"
#include "orchestrator/plans/embedded.h"
#include "orchestrator/steps/steps.h"

static void put_params(struct buf *out, const struct param_spec *p)
{
	buf_puts(out, "\n| parameter | type | default | meaning |\n|---|---|---|---|\n");
	for (; p->name; p++) {
		buf_printf(out, "| `%s` | %s | ", p->name, param_type_name(p->type));
		if (p->is_required)
			buf_puts(out, "required");
		else if (p->default_text)
			buf_printf(out, "`%s`", p->default_text);
		buf_printf(out, " | %s%s |\n", p->about ? p->about : "", p->is_secret ? " (never written anywhere)" : "");
	}
}

static void put_outputs(struct buf *out, const struct output_spec *o)
{
	if (!o || !o->name)
		return;
	buf_puts(out, "\n| output | meaning |\n|---|---|\n");
	for (; o->name; o++)
		buf_printf(out, "| `%s` | %s |\n", o->name, o->about);
}

static void put_kind(struct buf *out, const struct step_kind *k)
{
	buf_printf(out, "\n## %s\n\n%s.\n\n%s\n", k->name, k->about, k->doc);
	if (k->runs_in_dry_run)
		buf_puts(out, "\nA check: `--dry-run` runs it too.\n");
	if (k->is_point_of_no_return)
		buf_puts(out, "\nA point of no return: nothing before it is undone once it is done.\n");
	put_params(out, k->params);
	put_outputs(out, k->outputs);
}

void steps_page(struct buf *out)
{
	buf_puts(out,
		"<!-- Written by \"holdfast generate steps\". -->\n# Step kinds\n\n"
		"What plans are made of. How a plan is written: [plans.md](plans.md).\n");
	for (size_t i = 0; step_kinds[i]; i++)
		put_kind(out, step_kinds[i]);
	buf_puts(out,
		"\n# Built-in plans\n\n`holdfast plan show NAME` prints one; a changed copy is run with `holdfast run FILE`.\n");
	for (size_t i = 0; i < embedded_plans_count; i++)
		buf_printf(out, "\n## %s\n\n```yaml\n%s```\n", embedded_plans[i].name, embedded_plans[i].text);
}

/*
 * pause, unpause: no run of a stack, or of any, goes on while a person does something beside.
 */
#include "orchestrator/engine/pause.h"

#include <stdio.h>
#include "base/json.h"
#include "cmd/commands.h"

static void tell(struct app *app, const json_t *note, const char *text, bool has_changed)
{
	json_object_set(app->result, "pause", note ? (json_t *)(uintptr_t)note : json_null());
	json_object_set_new(app->result, "changed", json_boolean(has_changed));
	if (!app->is_json && !app->ui.is_quiet)
		printf("%s\n", text);
}

int cmd_pause(struct app *app, struct error *err)
{
	json_t *note cleanup(json_decrefpp) = NULL;
	char *text cleanup(mem_freep) = NULL;
	int rc = pause_put(
		app->state_dir, option_text(&app->options, OPT_STACK), option_text(&app->options, OPT_REASON), &note, err);

	if (rc < 0)
		return -1;
	text = pause_text(note);
	tell(app, note, text, rc == 1);
	return 0;
}

int cmd_unpause(struct app *app, struct error *err)
{
	const char *stack = option_text(&app->options, OPT_STACK);
	json_t *note cleanup(json_decrefpp) = NULL;
	char *text cleanup(mem_freep) = NULL, *still cleanup(mem_freep) = NULL;
	int rc = pause_remove(app->state_dir, stack, err);

	if (rc < 0)
		return -1;
	if (pause_stands(app->state_dir, stack, &note))
		still = pause_text(note);
	text = still ? mem_printf("still, %s", still)
		     : mem_printf("runs%s%s%s may start%s", stack ? " of stack \"" : "", stack ? stack : "", stack ? "\"" : "",
			       rc ? " again" : ": they were not paused");
	tell(app, note, text, rc == 1);
	return 0;
}

/*
 * approve: a person's answer to a run that waits for it.  Reads the request, not the journal: that may be another user's.
 */
#include "orchestrator/engine/approval.h"

#include <stdio.h>
#include "base/json.h"
#include "cmd/commands.h"
#include "orchestrator/engine/person.h"

static void show(const json_t *request)
{
	char *starter cleanup(mem_freep) = person_text(request);

	printf("run          %s\nplan         %s of stack %s, SHA-256 %s\nstarted by   %s\nstep         %s\nquestion     %s\n"
	       "asked at     %s, expires at %s\n",
		json_get_str(request, "run", "-"), json_get_str(request, "plan", "-"), json_get_str(request, "stack", "-"),
		json_get_str(request, "plan_sha256", "-"), starter, json_get_str(request, "step", "-"),
		json_get_str(request, "message", "-"), json_get_str(request, "wanted_at", "-"),
		json_get_str(request, "expires_at", "-"));
}

int cmd_approve(struct app *app, struct error *err)
{
	bool is_rejected = option_flag(&app->options, OPT_REJECT);
	json_t *request cleanup(json_decrefpp) = NULL;

	if (approval_find(app->state_dir, app->options.operands[0], option_text(&app->options, OPT_STEP), &request, err) < 0)
		return -1;
	json_object_set(app->result, "request", request);
	if (!app->is_json && !app->ui.is_quiet)
		show(request);
	if (approval_give(app->state_dir, request, option_text(&app->options, OPT_REASON), is_rejected, err) < 0)
		return -1;
	json_object_set_new(app->result, "answer", json_string(is_rejected ? "rejected" : "approved"));
	if (app->is_json || app->ui.is_quiet)
		return 0;
	printf("answer       %s\n", is_rejected ? "rejected" : "approved");
	ui_note(&app->ui, "\"holdfast resume %s\" goes on.", json_get_str(request, "run", ""));
	return 0;
}

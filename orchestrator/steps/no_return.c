/*
 * no_return: the line in a plan behind which there is no way back.  It does nothing itself; what it says of the steps around it only the
 * author of the plan can know: a program may do what no other program undoes.
 */
#include "orchestrator/steps/command.h"

static const struct param_spec params[] = {
	{"because", PARAM_STRING, .is_required = true, .about = "why, for whoever asks for the way back later"},
	{0},
};

static int run(struct step_context *ctx, struct error *err)
{
	(void)err;
	event_text(ctx->events, EVENT_INFO, "no way back from here: %s", step_str(ctx, "because"));
	return 0;
}

const struct step_kind step_no_return = {
	.name = "no_return",
	.about = "from here on the plan only goes forward",
	.doc = "Stands in front of a step that cannot be undone, such as a program that changes data for good.  Changes nothing; but what is done "
	       "before it is not undone any more, however the run goes on: a step that fails later stops the run, and `holdfast resume` goes "
	       "on with it.  Steps behind it are undone as ever.  A plan in which steps follow it must finish, unless it says `must_finish: false`: only "
	       "then does `holdfast abandon` close the run, and leave what is done as it is.",
	.params = params,
	.is_point_of_no_return = true,
	.run = run,
};

/*
 * wait: for a while, counted from the first start.  The time of day is what a later process has in common with this one; a clock that was
 * set back makes it wait no longer than was asked for.
 */
#include "orchestrator/steps/command.h"

#include "base/clock.h"
#include "base/json.h"

#define BEAT_MS 1000 /* how often it shows that it is alive */

static const struct param_spec params[] = {
	{"for", PARAM_DURATION, .is_required = true, .about = "how long"},
	{0},
};

static const struct output_spec outputs[] = {
	{"until", "when it was over, UTC"},
	{0},
};

static int64_t until_of(const struct step_context *ctx)
{
	return json_get_i64(ctx->checkpoint, "until_ms", 0);
}

static void put_until(struct step_context *ctx, int64_t until_ms)
{
	char text[CLOCK_TEXT_BYTES];

	step_output_str(ctx, "until", clock_format(until_ms, text));
}

static int probe(struct step_context *ctx, struct error *err)
{
	int64_t until_ms = until_of(ctx);

	(void)err;
	if (!ctx->checkpoint || clock_utc_ms() < until_ms)
		return 0;
	put_until(ctx, until_ms);
	return 1;
}

static int note_end(struct step_context *ctx, int64_t *ret_until_ms, struct error *err)
{
	cleanup(json_decrefpp) json_t *data = NULL;

	*ret_until_ms = clock_utc_ms() + step_int(ctx, "for");
	data = json_pack("{s:I}", "until_ms", (json_int_t)*ret_until_ms);
	return step_checkpoint(ctx, data, err);
}

static int run(struct step_context *ctx, struct error *err)
{
	int64_t until_ms = until_of(ctx), left_ms, end_ms;

	if (!ctx->checkpoint && note_end(ctx, &until_ms, err) < 0)
		return -1;
	left_ms = until_ms - clock_utc_ms();
	left_ms = left_ms < step_int(ctx, "for") ? left_ms : step_int(ctx, "for");
	end_ms = clock_mono_ms() + left_ms;
	while ((left_ms = end_ms - clock_mono_ms()) > 0) {
		progress_alive(ctx->progress);
		if (cancel_sleep(ctx->cancel, left_ms < BEAT_MS ? left_ms : BEAT_MS, err) < 0)
			return -1;
	}
	put_until(ctx, until_ms);
	return 0;
}

const struct step_kind step_wait = {
	.name = "wait",
	.about = "wait for a while",
	.doc = "The time is counted from the first start of the step and goes on while Holdfast does not run: a resumed run waits for what is "
	       "left of it.  There is nothing to undo.",
	.params = params,
	.outputs = outputs,
	.probe = probe,
	.run = run,
};

#include "orchestrator/engine/run_internal.h"

#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/hash.h"
#include "base/json.h"
#include "orchestrator/engine/pause.h"
#include "orchestrator/engine/retry.h"
#include "orchestrator/engine/watchdog.h"

bool run_is_cancelled(const struct run *run)
{
	return cancel_requested(run->o->cancel) != CANCEL_NONE;
}

/* "10m" rather than "10m00s" where the rest is nothing. */
static char *span(int64_t ms, char *out)
{
	static const struct {
		int64_t ms;
		const char *unit;
	} units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};

	for (size_t i = 0; i < array_len(units); i++) {
		if (ms % units[i].ms == 0) {
			(void)snprintf(out, CLOCK_TEXT_BYTES, "%lld%s", (long long)(ms / units[i].ms), units[i].unit);
			break;
		}
	}
	return out;
}

/* What the watchdog ended has failed by standing still, whatever the step says of it. */
static void explain_watchdog(const struct plan_step *step, enum cancel_reason reason, struct error *err)
{
	char text[CLOCK_TEXT_BYTES], *said cleanup(mem_freep) = NULL;

	if (reason != CANCEL_DEADLINE && reason != CANCEL_STALLED)
		return;
	said = err->class == ERR_CANCELLED ? NULL : err->message ? mem_strdup(err->message) : NULL;
	if (reason == CANCEL_DEADLINE)
		err_set(err, ERR_RETRY, "step \"%s\" did not end within %s", step->id, span(step->deadline_ms, text));
	else
		err_set(err, ERR_RETRY, "step \"%s\" made no progress for %s", step->id, span(step->stall_ms, text));
	if (said)
		err_detail(err, "Its last words: %s", said);
}

static int check_guard(struct run *run, struct cancel *cancel, struct error *err)
{
	struct run_guard *g = run->o->guard;

	if (!g || !run->is_guard_held || !g->check || g->check(g->ctx, cancel, err) == 0) {
		run->is_guard_missed = false;
		return 0;
	}
	return run_may_miss_guard(run, err) ? 0 : -1;
}

static int call(struct run *run, const struct plan_step *step, enum step_verb verb, struct step_context *ctx, struct error *err)
{
	struct watchdog w cleanup(watchdog_stop) = {
		.deadline_ms = step->deadline_ms, .stall_ms = step->stall_ms, .cancel = ctx->cancel, .progress = ctx->progress};
	int (*const verbs[])(struct step_context *, struct error *) = {
		[VERB_PROBE] = step->kind->probe,
		[VERB_RUN] = step->kind->run,
		[VERB_UNDO] = step->kind->undo,
		[VERB_MAY_UNDO] = step->kind->may_undo,
		[VERB_UNFENCE] = step->kind->unfence,
	};
	int rc;

	if (watchdog_start(&w, err) < 0 || check_guard(run, ctx->cancel, err) < 0)
		return -1;
	rc = verbs[verb](ctx, err);
	watchdog_stop(&w);
	if (rc < 0 && !err->message)
		err_set(err, ERR_BUG, "step \"%s\" failed without saying why", step->id);
	return rc;
}

static void reset_progress(struct progress *p)
{
	atomic_store(&p->bytes, 0);
	atomic_store(&p->bytes_total, 0);
	atomic_store(&p->rows, 0);
	atomic_store(&p->items, 0);
	atomic_store(&p->items_total, 0);
	atomic_store(&p->phase, NULL);
}

/* What undoing is told of the way back: a run inside a step is told what the step was. */
static const json_t *undoing_of(const struct run *run, enum step_verb verb)
{
	if (verb != VERB_UNDO && verb != VERB_MAY_UNDO)
		return NULL;
	return run->undoing ? run->undoing : run->state.undoing;
}

static json_t *known_outputs(const struct run *run, const struct plan_step *step)
{
	if (run->dry_outputs)
		return json_incref(run->dry_outputs);
	return step->is_after_rollback ? state_outputs_of_all(&run->state) : state_outputs(&run->state);
}

int attempt(struct run *run, const struct plan_step *step, enum step_verb verb, struct progress *progress, json_t **ret_outputs,
	struct error *err)
{
	json_t *known cleanup(json_decrefpp) = known_outputs(run, step);
	json_t *params cleanup(json_decrefpp) = NULL;
	json_t *outputs cleanup(json_decrefpp) = json_object(), *checkpoint cleanup(json_decrefpp) = NULL;
	bool is_back = verb == VERB_UNDO || verb == VERB_MAY_UNDO;
	struct template_scope scope = run_scope(run, known);
	const struct step_record *rec = state_step(&run->state, step->id);
	struct cancel cancel cleanup(cancel_release) = {.fd = -1};
	struct step_context ctx;
	int rc;

	if (cancel_init(&cancel, run->o->cancel, err) < 0)
		return -1;
	if (plan_expand(step, &scope, &params, NULL, err) < 0)
		return -1;
	checkpoint = rec && rec->checkpoint ? json_incref(rec->checkpoint) : NULL;
	reset_progress(progress);
	ctx = (struct step_context){.run_id = run->run_id,
		.shown_run_id = run_outermost(run)->run_id,
		.run_dir = run->dir,
		.state_dir = run->o->state_dir,
		.step_id = step->id,
		.run_created = run->state.created,
		.attempt = rec ? rec->attempts : 1,
		.is_dry_run = run->o->is_dry_run,
		.params = params,
		.checkpoint = checkpoint,
		.done = is_back && rec ? rec->outputs : NULL,
		.undoing = undoing_of(run, verb),
		.outputs = outputs,
		.cancel = &cancel,
		.progress = progress,
		.events = run->o->events,
		.host = run->o->host,
		.run = run};
	rc = call(run, step, verb, &ctx, err);
	if (rc < 0) {
		explain_watchdog(step, (enum cancel_reason)atomic_load(&cancel.reason), err);
		secrets_scrub(run, err);
		return -1;
	}
	if (ret_outputs)
		*ret_outputs = take_ptr(outputs);
	return rc;
}

static int64_t delay_ms(int64_t base_ms, int failures)
{
	struct error ignored cleanup(err_clear) = ERROR_INIT;
	uint64_t random = UINT64_MAX;

	if (random_bytes(&random, sizeof(random), &ignored) < 0)
		random = (uint64_t)clock_mono_us();
	return retry_delay_ms(base_ms, failures, random);
}

int retry_wait_until(struct run *run, int64_t until_ms, int failures, const struct error *why, struct error *err)
{
	int64_t ms = delay_ms(PLAN_DEFAULT_RETRY_DELAY_MS, failures), left_ms = until_ms - clock_mono_ms();
	char text[CLOCK_TEXT_BYTES];

	if (left_ms <= 0)
		return -1;
	ms = ms < left_ms ? ms : left_ms;
	event_text(run->o->events, EVENT_WARNING, "%s; trying again in %s", why->message, duration_format(ms, text));
	return cancel_sleep(run->o->cancel, ms, err);
}

static int retry_wait(struct run *run, const struct plan_step *step, int failures, const struct error *why, struct error *err)
{
	const struct step_record *rec = state_step(&run->state, step->id);
	char text[CLOCK_TEXT_BYTES];
	int64_t ms = delay_ms(step->retry_delay_ms, failures);
	char *line cleanup(mem_freep) = mem_printf("%s; trying again in %s", why->message, duration_format(ms, text));

	run_emit(run,
		(struct event){.kind = EVENT_STEP_RETRY,
			.text = line,
			.detail = why->detail,
			.hint = why->hint,
			.attempt = rec->attempts},
		step);
	return cancel_sleep(run->o->cancel, ms, err);
}

static int record_failed(struct run *run, const struct plan_step *step, enum step_verb verb, bool will_retry,
	const struct error *why, struct error *err)
{
	const struct step_record *rec = state_step(&run->state, step->id);
	json_t *r = json_pack("{s:s, s:s, s:i, s:s, s:b}", "type", "step.failed", "step", step->id, "attempt", rec->attempts,
		"during", verb == VERB_RUN ? "run" : "undo", "will_retry", will_retry);

	if (verb == VERB_RUN && !will_retry && step->on_failure == ON_FAILURE_CONTINUE)
		json_object_set_new(r, "passed_over", json_true());
	error_to_json(why, r);
	return run_record(run, r, err);
}

enum outcome attempt_failed(struct run *run, const struct plan_step *step, enum step_verb verb, int failures, struct error *err)
{
	struct error cannot cleanup(err_clear) = ERROR_INIT;
	bool will_retry = retry_is_worth(err->class) && failures <= step->retries;

	if (run->is_journal_lost)
		return FAILED;
	if (run_is_cancelled(run))
		return INTERRUPTED;
	if (err->class == ERR_WAITING && verb == VERB_RUN)
		return WAITING;
	if (err->class == ERR_CANCELLED && pause_stands(run->o->state_dir, run->state.stack, NULL))
		return PAUSED; /* a run inside the step has stopped for it */
	if (record_failed(run, step, verb, will_retry, err, &cannot) < 0) {
		err_move(err, &cannot);
		return FAILED;
	}
	if (!will_retry)
		return FAILED;
	if (retry_wait(run, step, failures, err, &cannot) < 0)
		return INTERRUPTED;
	err_clear(err);
	return WENT_ON;
}

int step_checkpoint(struct step_context *ctx, const json_t *data, struct error *err)
{
	if (ctx->is_dry_run)
		return 0;
	return run_record(
		ctx->run, json_pack("{s:s, s:s, s:O}", "type", "step.checkpoint", "step", ctx->step_id, "data", data), err);
}

int step_approval(struct step_context *ctx, const char *type, const json_t *data, struct error *err)
{
	json_t *r = json_copy((json_t *)(uintptr_t)data);

	json_object_set_new(r, "type", json_string(type));
	json_object_set_new(r, "step", json_string(ctx->step_id));
	return run_record(ctx->run, r, err);
}

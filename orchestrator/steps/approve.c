/*
 * approve: the run stops until a person says that it may go on.
 *
 * The journal has what was asked and who answered (approval.wanted, approval.given); the files of engine/approval.h only carry it between
 * two users.  A kill anywhere between leaves a request that is written again, or an answer that stands in the journal already.
 */
#include "orchestrator/engine/approval.h"

#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/json.h"
#include "orchestrator/engine/person.h"
#include "orchestrator/steps/common.h"

static const struct param_spec params[] = {
	{"message", PARAM_STRING, .is_required = true, .about = "what the person is asked"},
	{"expires", PARAM_DURATION, .default_text = "24h",
		.about = "how long the request stands; then the next resume asks anew"},
	{"by_other", PARAM_BOOL, .default_text = "false",
		.about = "only another OS user than the one who started the run may approve"},
	{0},
};

static const struct output_spec outputs[] = {
	{"approved_by", "OS user who approved"},
	{"approved_at", "when, in UTC"},
	{"reason", "what was given as the reason"},
	{0},
};

static json_t *make_request(const struct step_context *ctx)
{
	int64_t now_ms = clock_utc_ms();
	char wanted[CLOCK_TEXT_BYTES], expires[CLOCK_TEXT_BYTES];
	json_t *r = json_pack("{s:s, s:s, s:s, s:s, s:b}", "run", ctx->shown_run_id, "step", ctx->step_id, "wanted_at",
		clock_format(now_ms, wanted), "expires_at", clock_format(now_ms + step_int(ctx, "expires"), expires), "by_other",
		step_bool(ctx, "by_other"));
	static const char *const members[] = {"stack", "plan", "plan_sha256", "uid", "user", "sudo_user"};

	json_object_set(r, "message", json_object_get(ctx->params, "message"));
	for (size_t i = 0; i < array_len(members); i++)
		if (json_object_get(ctx->run_created, members[i]))
			json_object_set(r, members[i], json_object_get(ctx->run_created, members[i]));
	return r;
}

static bool is_record(const json_t *checkpoint, const char *type)
{
	return strcmp(json_get_str(checkpoint, "type", ""), type) == 0;
}

static bool stands(const json_t *request)
{
	struct error ignored cleanup(err_clear) = ERROR_INIT;
	int64_t expires_ms = 0;

	return clock_parse(json_get_str(request, "expires_at", ""), &expires_ms, &ignored) == 0 && clock_utc_ms() < expires_ms;
}

/* The request that stands, or a new one: in the journal first, then where the person finds it. */
static int ask(struct step_context *ctx, json_t **ret, struct error *err)
{
	if (is_record(ctx->checkpoint, "approval.wanted") && stands(ctx->checkpoint)) {
		*ret = json_incref((json_t *)(uintptr_t)ctx->checkpoint);
	} else {
		*ret = make_request(ctx);
		if (approval_close(ctx->state_dir, ctx->shown_run_id, ctx->step_id, err) < 0 ||
			step_approval(ctx, "approval.wanted", *ret, err) < 0)
			return -1;
	}
	return approval_ask(ctx->state_dir, *ret, err);
}

static int keep_waiting(const struct step_context *ctx, const json_t *request, const char *why, struct error *err)
{
	bool by_other = step_bool(ctx, "by_other");
	const char *run = ctx->shown_run_id;

	err_set(err, ERR_WAITING, "step \"%s\" waits for an approval: %s", ctx->step_id, step_str(ctx, "message"));
	if (why)
		err_detail(err, "What was given does not count: %s.", why);
	else if (by_other)
		err_detail(err, "Another user than \"%s\" has to give it, until %s.", json_get_str(request, "user", ""),
			json_get_str(request, "expires_at", ""));
	else
		err_detail(err, "It can be given until %s.", json_get_str(request, "expires_at", ""));
	if (by_other)
		return err_hint(err, "\"holdfast --state-dir %s approve %s\" gives it, then \"holdfast resume %s\" goes on.",
			ctx->state_dir, run, run);
	return err_hint(err, "\"holdfast approve %s\" gives it, then \"holdfast resume %s\" goes on.", run, run);
}

/* What stands in the journal counts; the files have done their duty. */
static int conclude(struct step_context *ctx, const json_t *given, struct error *err)
{
	char *who cleanup(mem_freep) = person_text(given);
	const char *reason = json_get_str(given, "reason", NULL);

	if (approval_close(ctx->state_dir, ctx->shown_run_id, ctx->step_id, err) < 0)
		return -1;
	if (json_get_bool(given, "rejected", false))
		return err_set(err, ERR_REFUSED, "step \"%s\" was rejected by user \"%s\"%s%s", ctx->step_id, who,
			reason ? ": " : "", reason ? reason : "");
	step_output_str(ctx, "approved_by", who);
	step_output_str(ctx, "approved_at", json_get_str(given, "at", NULL));
	step_output_str(ctx, "reason", reason);
	return 0;
}

static int run(struct step_context *ctx, struct error *err)
{
	json_t *request cleanup(json_decrefpp) = NULL, *given cleanup(json_decrefpp) = NULL;
	char *why cleanup(mem_freep) = NULL;
	int rc;

	if (is_record(ctx->checkpoint, "approval.given"))
		return conclude(ctx, ctx->checkpoint, err);
	if (ask(ctx, &request, err) < 0)
		return -1;
	rc = approval_look(ctx->state_dir, request, &given, &why, err);
	if (rc < 0)
		return -1;
	if (rc == 0)
		return keep_waiting(ctx, request, why, err);
	if (step_approval(ctx, "approval.given", given, err) < 0)
		return -1;
	return conclude(ctx, given, err);
}

static int undo(struct step_context *ctx, struct error *err)
{
	return approval_close(ctx->state_dir, ctx->shown_run_id, ctx->step_id, err);
}

const struct step_kind step_approve = {
	.name = "approve",
	.about = "wait until a person says that the run may go on",
	.doc = "Stops the run with exit status 6 until \"holdfast approve RUN\" has been given and \"holdfast resume RUN\" goes on.  Who "
	       "approved is the owner of the file that command writes below the state directory, in approvals/; the approval is bound to "
	       "run, step and plan (by its SHA-256) and to the request, which expires.  A rejection fails the step with class refused; "
	       "the next resume asks anew.  With by_other the approval of whoever started the run does not count: for that the directory "
	       "approvals must be open to a group (chgrp, chmod 1770) and the state directory be passable (chmod 711).  root can write in "
	       "anybody's name.  Undo takes the request away.",
	.params = params,
	.outputs = outputs,
	.run = run,
	.undo = undo,
};

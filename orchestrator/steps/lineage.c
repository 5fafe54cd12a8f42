#include "orchestrator/steps/lineage.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "orchestrator/engine/run.h"

#define MAX_GENERATIONS 1000 /* a circle would be a damaged journal */

void lineage_note(struct step_context *ctx, int64_t oid, int64_t of, const char *lsn)
{
	json_object_set_new(
		ctx->outputs, "lineage", json_pack("{s:I, s:I, s:s}", "oid", (json_int_t)oid, "of", (json_int_t)of, "lsn", lsn));
}

/* "16/B374D848"; false where it is none. */
static bool parse_lsn(const char *text, uint64_t *ret)
{
	char *end;
	uint64_t high = strtoull(text, &end, 16);

	if (end == text || *end != '/')
		return false;
	text = end + 1;
	*ret = high << 32 | strtoull(text, &end, 16);
	return end != text && !*end;
}

static const json_t *lineage_of(const struct run_summary *run, int64_t oid)
{
	const json_t *step;
	size_t i;

	json_array_foreach(run->undone, i, step)
	{
		const json_t *entry = json_object_get(json_object_get(step, "outputs"), "lineage");

		if (entry && json_get_i64(entry, "oid", 0) == oid)
			return entry;
	}
	return NULL;
}

/* Oids say nothing across servers: only runs of the same stack are looked at. */
static const json_t *find(const struct run_summary *runs, size_t count, const char *stack, int64_t oid)
{
	for (size_t i = 0; i < count; i++) {
		const json_t *entry = runs[i].stack && strcmp(runs[i].stack, stack) == 0 ? lineage_of(&runs[i], oid) : NULL;

		if (entry)
			return entry;
	}
	return NULL;
}

/* From the copy to what it was made of; each was copied when the log was further on than that. */
static bool leads_to(const struct run_summary *runs, size_t count, const char *stack, int64_t oid, int64_t of, uint64_t lsn)
{
	for (int i = 0; i < MAX_GENERATIONS; i++) {
		const json_t *entry = find(runs, count, stack, oid);
		uint64_t copied_at;

		if (!entry || !parse_lsn(json_get_str(entry, "lsn", ""), &copied_at) || copied_at < lsn)
			return false;
		oid = json_get_i64(entry, "of", 0);
		if (oid == of)
			return true;
	}
	return false;
}

int lineage_is_copy_of(struct step_context *ctx, int64_t oid, int64_t of, const char *lsn, struct error *err)
{
	const char *stack = json_get_str(ctx->run_created, "stack", "");
	struct run_summary *runs = NULL;
	size_t count = 0;
	uint64_t since;
	bool leads;

	if (!ctx->state_dir || !parse_lsn(lsn, &since))
		return 0;
	if (runs_list(ctx->state_dir, &runs, &count, err) < 0)
		return -1;
	leads = leads_to(runs, count, stack, oid, of, since);
	runs_list_release(runs, count);
	return leads;
}

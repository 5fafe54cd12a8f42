#include "orchestrator/steps/common.h"

#include <string.h>

static const struct param_spec params[] = {
	SET_PARAMS,
	{"level", PARAM_STRING, .default_text = "checksums", .about = "quick, checksums or content"},
	{"jobs", PARAM_INT, .default_text = "2", .about = "threads that read"},
	{0},
};

static const struct output_spec outputs[] = {
	{"level", "what was checked"},
	{"stored_bytes", "bytes of the archive read back"},
	{0},
};

static int digest_add(void *state, const char *p, size_t n, struct row_digest *digest, uint64_t *rows, struct error *err)
{
	return row_digester_add(state, p, n, digest, rows, err);
}

static void digest_reset(void *state)
{
	row_digester_reset(state);
}

static void *digest_new(void)
{
	return row_digester_new();
}

static void digest_free(void *state)
{
	row_digester_free(state);
}

const struct verify_digest step_verify_digest = {
	.add = digest_add,
	.reset = digest_reset,
	.state_new = digest_new,
	.state_free = digest_free,
};

int verify_level_parse(const char *text, enum verify_level *ret, struct error *err)
{
	static const char *const names[] = {
		[VERIFY_QUICK] = "quick",
		[VERIFY_CHECKSUMS] = "checksums",
		[VERIFY_CONTENT] = "content",
	};

	for (size_t i = 0; i < array_len(names); i++) {
		if (strcmp(names[i], text) == 0) {
			*ret = (enum verify_level)i;
			return 0;
		}
	}
	err_set(err, ERR_CONFIG, "cannot verify a backup set by \"%s\"", text);
	return err_hint(err, "Use quick, checksums or content.");
}

static int run(struct step_context *ctx, struct error *err)
{
	cleanup(repository_closep) struct repository *r = NULL;
	cleanup(buf_release) struct buf text = {0};
	cleanup(manifest_release) struct manifest m = {0};
	struct verify_report report = {0};
	enum verify_level level = VERIFY_CHECKSUMS;
	int found;

	if (verify_level_parse(step_str(ctx, "level"), &level, err) < 0)
		return -1;
	found = run_manifest_load(ctx, &text, &m, err);
	if (found < 0)
		return -1;
	if (found == 0)
		return err_set(err, ERR_CORRUPT, "run \"%s\" has no manifest to verify", ctx->run_id),
		       err_hint(err, "The plan needs a backup.dump step before this one.");
	if (step_open_repository(ctx, false, &r, err) < 0)
		return -1;
	atomic_store(&ctx->progress->phase, "verify");
	atomic_store(&ctx->progress->bytes_total, level == VERIFY_QUICK ? 0 : m.archive_bytes);
	if (backup_set_verify(r, m.stack, &m, level, (int)step_int(ctx, "jobs"), &step_verify_digest, ctx->cancel, ctx->progress,
		    &report, err) < 0)
		return -1;
	step_output_str(ctx, "level", step_str(ctx, "level"));
	step_output_int(ctx, "stored_bytes", (int64_t)report.stored_bytes);
	return 0;
}

const struct step_kind step_backup_verify = {
	.name = "backup.verify",
	.about = "read the archive back from the repository and compare it with what was copied",
	.doc = "quick: the archive is there and has its size; checksums: the SHA-256 of every stored byte; content: every frame "
	       "unpacked, rows counted, row digests computed again.  Changes nothing; always run again on resume.",
	.params = params,
	.outputs = outputs,
	.run = run,
};

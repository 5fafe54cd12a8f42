#include "orchestrator/steps/targets.h"

#include <string.h>

static const struct param_spec params[] = {
	SETS_PARAMS,
	{"level", PARAM_STRING, .about = "quick, checksums or content; default: each repository's read_back"},
	{"jobs", PARAM_INT, .default_text = "2", .about = "threads that read"},
	{0},
};

static const struct output_spec outputs[] = {
	{"level", "what was checked, by repository"},
	{"stored_bytes", "bytes of the archives read back"},
	{"repositories", "what became of each repository so far"},
	{"degraded", "which repositories failed, and why"},
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

static const char *const level_names[] = {
	[VERIFY_QUICK] = "quick",
	[VERIFY_CHECKSUMS] = "checksums",
	[VERIFY_CONTENT] = "content",
};

int verify_level_parse(const char *text, enum verify_level *ret, struct error *err)
{
	for (size_t i = 0; i < array_len(level_names); i++) {
		if (strcmp(level_names[i], text) == 0) {
			*ret = (enum verify_level)i;
			return 0;
		}
	}
	err_set(err, ERR_CONFIG, "cannot verify a backup set by \"%s\"", text);
	return err_hint(err, "Use quick, checksums or content.");
}

struct reading {
	struct step_context *ctx;
	struct backup_targets targets;
	struct manifest m;
	int level; /* enum verify_level, or -1: each repository's own */
	uint64_t stored_bytes;
};

/* Without an identity what is stored is all that can be checked: against the checksum that was made while it was written. */
static int verify_stored(
	struct reading *v, const struct spread_target *t, enum verify_level level, struct verify_report *ret, struct error *err)
{
	struct set_facts facts cleanup(set_facts_release) = {0};

	if (level == VERIFY_CONTENT) {
		err_set(err, ERR_CONFIG, "repository \"%s\": the content of an encrypted set cannot be read without an identity",
			t->repository->name);
		return err_hint(
			err, "Read back \"checksums\" where there is no identity; a host that has one can verify the content.");
	}
	set_facts_of(t->repository, &v->m, &t->archive, &facts);
	return set_facts_verify(t->repository, &facts, level, v->ctx->cancel, v->ctx->progress, ret, err);
}

static int verify_target(struct reading *v, size_t i, struct error *err)
{
	const struct spread_target *t = &v->targets.list[i];
	struct repository *r = t->repository;
	enum verify_level level = v->level < 0 ? r->read_back : (enum verify_level)v->level;
	struct verify_report report = {0};
	int rc = repository_unlock(r, err);

	if (rc < 0)
		return -1;
	/* The one reading of what is stored is enough unless the content is asked for. */
	if (rc == 0 || (r->is_encrypted && level != VERIFY_CONTENT))
		rc = verify_stored(v, t, level, &report, err);
	else
		rc = backup_set_verify(r, v->m.stack, &v->m, level, (int)step_int(v->ctx, "jobs"), &step_verify_digest,
			v->ctx->cancel, v->ctx->progress, &report, err);
	v->stored_bytes += report.stored_bytes;
	return rc;
}

static uint64_t bytes_to_read(const struct reading *v)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < v->targets.count; i++) {
		const struct spread_target *t = &v->targets.list[i];

		if (t->state == SPREAD_DONE && (v->level < 0 ? (int)t->repository->read_back : v->level) != VERIFY_QUICK)
			bytes += t->archive.body_bytes;
	}
	return bytes;
}

static int verify_all(struct reading *v, struct error *err)
{
	struct error failure cleanup(err_clear) = ERROR_INIT;
	json_t *levels = json_object();

	json_object_set_new(v->ctx->outputs, "level", levels);
	atomic_store(&v->ctx->progress->phase, "verify");
	atomic_store(&v->ctx->progress->bytes_total, bytes_to_read(v));
	for (size_t i = 0; i < v->targets.count; i++) {
		const struct spread_target *t = &v->targets.list[i];

		if (t->state != SPREAD_DONE)
			continue;
		if (verify_target(v, i, &failure) < 0) {
			if (v->targets.count == 1 || failure.class == ERR_CANCELLED)
				return err_move(err, &failure);
			target_failed(v->ctx, &v->targets, i, &failure);
			continue;
		}
		v->targets.is_verified[i] = true;
		json_object_set_new(levels, v->targets.names[i],
			json_string(level_names[v->level < 0 ? (int)t->repository->read_back : v->level]));
	}
	return targets_want_one(&v->targets, err);
}

static int verify_run(struct reading *v, struct error *err)
{
	const char *level = step_str(v->ctx, "level");
	enum verify_level asked = VERIFY_CHECKSUMS;

	if (level && verify_level_parse(level, &asked, err) < 0)
		return -1;
	v->level = level ? (int)asked : -1;
	if (targets_want(v->ctx, &v->targets, NULL, &v->m, err) < 0 || verify_all(v, err) < 0)
		return -1;
	step_output_int(v->ctx, "stored_bytes", (int64_t)v->stored_bytes);
	targets_output(v->ctx, &v->targets);
	return targets_save(v->ctx, &v->targets, err);
}

static int run(struct step_context *ctx, struct error *err)
{
	struct reading v = {.ctx = ctx};
	int rc = verify_run(&v, err);

	targets_release(&v.targets);
	manifest_release(&v.m);
	return rc;
}

const struct step_kind step_backup_verify = {
	.name = "backup.verify",
	.about = "read the archive back from the repository and compare it with what was copied",
	.doc = "quick: the archive is there and has its size; checksums: the checksum of every stored byte; content: every frame "
	       "unpacked, rows counted, row digests computed again.  Changes nothing; always run again on resume.  A repository whose "
	       "archive is damaged gets no set; the others go on.",
	.params = params,
	.outputs = outputs,
	.run = run,
};

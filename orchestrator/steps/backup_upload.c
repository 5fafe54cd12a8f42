/*
 * backup.upload goes on with the archives that backup.dump left: it asks the place which parts it has and sends the others, from
 * the spool, or made again from the plain archive that lies in a local repository of the same run.  The same bytes come out, because
 * the age header and the payload's key were kept for just that.
 */
#include "orchestrator/steps/targets.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define SAVE_EVERY_MS 1000
#define STREAM_BYTES ((size_t)8 << 20)

static const struct param_spec params[] = {SETS_PARAMS, {0}};

static const struct output_spec outputs[] = {
	{"sent_bytes", "bytes that had to travel"},
	{"repositories", "what became of each repository so far"},
	{"degraded", "which repositories failed, and why"},
	{0},
};

/* One archive on its way. */
struct sending {
	struct step_context *ctx;
	struct backup_targets *all;
	struct spread_target *target;
	const struct manifest *m;
	char *key;           /* where to */
	struct driver *from; /* a spool, or the place of a plain repository */
	char *from_key;
	bool is_spool;
	bool is_made_again; /* encrypted out of a plain archive */
	uint64_t bytes;     /* of the whole object */
	int64_t saved_at_ms;
};

/* --- the bytes ------------------------------------------------------------------------------------------------------------- */

static int read_from(void *ctx, uint64_t offset, void *p, size_t n, struct error *err)
{
	struct sending *s = ctx;
	int found = s->from->ops->read_range(s->from, s->from_key, offset, p, n, err);

	if (found == 0)
		return err_set(err, ERR_CORRUPT, "\"%s\" is missing, from which the upload was to go on", s->from_key);
	return found < 0 ? -1 : 0;
}

/* The age header with its nonce, then the payload. */
static int read_encrypted(struct sending *s, uint64_t offset, char *p, size_t n, struct error *err)
{
	const struct buf *header = &s->target->header;
	size_t head = offset < header->len ? header->len - (size_t)offset : 0;

	if (head > n)
		head = n;
	if (head)
		memcpy(p, header->data + offset, head);
	if (head == n)
		return 0;
	return age_encrypt_range(
		&s->target->key, s->m->archive_bytes, offset + head - header->len, p + head, n - head, read_from, s, err);
}

static int read_stored(void *ctx, uint64_t offset, void *p, size_t n, struct error *err)
{
	struct sending *s = ctx;

	return s->is_made_again ? read_encrypted(s, offset, p, n, err) : read_from(s, offset, p, n, err);
}

/* --- where they come from -------------------------------------------------------------------------------------------------- */

static const struct repository *plain_repository(const struct backup_targets *all)
{
	for (size_t i = 0; i < all->count; i++) {
		const struct repository *r = all->list[i].repository;

		if (all->list[i].state == SPREAD_DONE && !r->is_encrypted && !(r->place->features & DRIVER_REMOTE))
			return r;
	}
	return NULL;
}

static int find_source(struct sending *s, struct error *err)
{
	struct spread_target *t = s->target;
	const struct repository *plain;

	if (t->spool_key) {
		s->from_key = mem_strdup(t->spool_key);
		s->is_spool = true;
		return driver_local_open(t->repository->spool_dir, false, &s->from, err);
	}
	plain = plain_repository(s->all);
	if (!plain || (t->repository->is_encrypted && !t->header.len)) {
		err_set(err, ERR_FAILED, "repository \"%s\": the upload can be gone on with from nowhere", t->repository->name);
		return err_hint(
			err, "The next backup will be complete; \"spool\" in the configuration lets uploads be gone on with.");
	}
	s->from = plain->place;
	s->from_key = repository_stored_key(plain, s->m->stack, s->m->backup_id, SET_ARCHIVE);
	s->is_made_again = t->repository->is_encrypted;
	return 0;
}

/* --- sending --------------------------------------------------------------------------------------------------------------- */

static int note_begin(void *ctx, const struct upload_state *state, struct error *err)
{
	struct sending *s = ctx;

	upload_state_release(&s->target->upload);
	s->target->upload.id = mem_strdup(state->id);
	s->target->upload.part_bytes = state->part_bytes;
	return targets_save(s->ctx, s->all, err);
}

/* Kept with the run every few seconds: what was sent since then would be sent again. */
static int note_part(void *ctx, const struct driver_part *p, struct error *err)
{
	struct sending *s = ctx;
	int64_t now = clock_mono_ms();

	upload_state_add(&s->target->upload, p);
	if (now - s->saved_at_ms < SAVE_EVERY_MS)
		return 0;
	s->saved_at_ms = now;
	return targets_save(s->ctx, s->all, err);
}

static struct upload_options options_of(struct sending *s)
{
	return (struct upload_options){
		.driver = s->target->repository->place,
		.target = {.key = s->key, .tag = s->ctx->run_id, .is_exclusive = true},
		.part_bytes = s->target->upload.part_bytes,
		.expected_bytes = s->bytes,
		.is_resumable = true,
		.on_begin = note_begin,
		.on_part = note_part,
		.ctx = s,
	};
}

static int send_all(struct sending *s, uint64_t *ret_sent, struct error *err)
{
	const struct upload_options o = options_of(s);
	char *block cleanup(mem_freep) = mem_alloc(STREAM_BYTES);
	struct upload *u = NULL;
	int rc;

	rc = upload_open(&o, &u, err);
	for (uint64_t done = 0; rc == 0 && done < s->bytes;) {
		size_t n = s->bytes - done < STREAM_BYTES ? (size_t)(s->bytes - done) : STREAM_BYTES;

		rc = cancel_check(s->ctx->cancel, err) < 0 || read_stored(s, done, block, n, err) < 0
			? -1
			: upload_write(u, block, n, err);
		done += n;
		progress_add(s->ctx->progress, n, 0);
	}
	if (rc < 0) {
		upload_release(u);
		return -1;
	}
	*ret_sent = s->bytes;
	return upload_commit(u, err);
}

/* 1 the object is there already, complete: of the size, and made by the upload that was noted, or with the right checksum. */
static int is_there(struct sending *s, struct error *err)
{
	const struct spread_target *t = s->target;
	struct set_facts facts cleanup(set_facts_release) = {0};
	struct verify_report report = {0};
	struct driver *d = t->repository->place;
	struct driver_object o;
	int found = d->ops->stat(d, s->key, &o, err);

	if (found <= 0 || o.size_bytes != s->bytes || t->upload.id)
		return found <= 0 ? found : o.size_bytes == s->bytes;
	set_facts_of(t->repository, s->m, &t->archive, &facts);
	return set_facts_verify(t->repository, &facts, VERIFY_CHECKSUMS, s->ctx->cancel, NULL, &report, err) < 0 ? -1 : 1;
}

static int send_missing(struct sending *s, uint64_t *ret_sent, struct error *err)
{
	const struct upload_options o = options_of(s);
	struct error failure cleanup(err_clear) = ERROR_INIT;
	struct upload_state known cleanup(upload_state_release) = {0};
	int found = is_there(s, err);

	if (found != 0)
		return found < 0 ? -1 : 0;
	if (!s->target->upload.id)
		return send_all(s, ret_sent, err);
	upload_state_copy(&s->target->upload, &known); /* note_part() adds to the other */
	if (upload_resume(&o, &known, s->bytes, read_stored, s, s->ctx->cancel, s->ctx->progress, ret_sent, &failure) == 0)
		return 0;
	if (failure.class != ERR_CONFLICT)
		return err_move(err, &failure);
	/* The place has forgotten the upload. */
	upload_state_release(&s->target->upload);
	return send_all(s, ret_sent, err);
}

/* --- one after the other --------------------------------------------------------------------------------------------------- */

static int send_one(struct step_context *ctx, struct backup_targets *all, size_t i, const struct manifest *m, uint64_t *ret_sent,
	struct error *err)
{
	struct spread_target *t = &all->list[i];
	struct sending s = {.ctx = ctx, .all = all, .target = t, .m = m};
	int rc;

	s.key = repository_stored_key(t->repository, m->stack, m->backup_id, SET_ARCHIVE);
	s.bytes = t->archive.header_bytes + t->archive.body_bytes;
	s.saved_at_ms = clock_mono_ms();
	rc = find_source(&s, err);
	if (rc == 0)
		rc = send_missing(&s, ret_sent, err);
	if (s.from && s.is_spool)
		s.from->ops->close(s.from);
	if (rc == 0)
		t->state = SPREAD_DONE;
	else
		err_context(err, "repository \"%s\": could not send archive \"%s\"", t->repository->name, s.key);
	free(s.key);
	free(s.from_key);
	return rc;
}

/* What may work later is not given up while it is all that there is: the step fails, and a resume goes on with it. */
static bool is_to_be_kept(const struct backup_targets *t, const struct error *failure)
{
	return failure->class == ERR_CANCELLED || (failure->class == ERR_RETRY && !targets_have(t, SPREAD_DONE));
}

static int send_left(
	struct step_context *ctx, struct backup_targets *t, const struct manifest *m, uint64_t *ret_sent, struct error *err)
{
	struct error failure cleanup(err_clear) = ERROR_INIT;

	for (size_t i = 0; i < t->count; i++) {
		uint64_t sent = 0;

		if (t->list[i].state != SPREAD_LEFT)
			continue;
		if (send_one(ctx, t, i, m, &sent, &failure) < 0) {
			if (is_to_be_kept(t, &failure))
				return targets_save(ctx, t, err) < 0 ? -1 : err_move(err, &failure);
			target_failed(ctx, t, i, &failure);
		}
		*ret_sent += sent;
	}
	return targets_want_one(t, err) < 0 ? -1 : targets_save(ctx, t, err);
}

/* The spools go only after the states that say that they are not needed were saved. */
static int remove_spools(struct step_context *ctx, struct backup_targets *t, struct error *err)
{
	size_t removed = 0;

	for (size_t i = 0; i < t->count; i++) {
		if (!t->list[i].spool_key || t->list[i].state == SPREAD_LEFT)
			continue;
		if (target_remove_spool(t, i, err) < 0)
			return -1;
		removed++;
	}
	return removed ? targets_save(ctx, t, err) : 0;
}

static int run(struct step_context *ctx, struct error *err)
{
	cleanup(targets_release) struct backup_targets t = {0};
	cleanup(manifest_release) struct manifest m = {0};
	uint64_t sent = 0;

	if (targets_want(ctx, &t, NULL, &m, err) < 0)
		return -1;
	atomic_store(&ctx->progress->phase, "upload");
	if (send_left(ctx, &t, &m, &sent, err) < 0 || remove_spools(ctx, &t, err) < 0)
		return -1;
	step_output_int(ctx, "sent_bytes", (int64_t)sent);
	targets_output(ctx, &t);
	return 0;
}

/* A spool is of no use without the run. */
static int undo(struct step_context *ctx, struct error *err)
{
	cleanup(targets_release) struct backup_targets t = {0};
	int found = targets_read(ctx, &t, err);

	for (size_t i = 0; found > 0 && i < t.count; i++)
		if (target_remove_spool(&t, i, err) < 0)
			found = -1;
	return found < 0 ? -1 : 0;
}

const struct step_kind step_backup_upload = {
	.name = "backup.upload",
	.about = "send what is still missing of the archives that were left for later",
	.doc = "Archives for remote repositories that have a spool, or a plain local repository beside them, never hold up the dump; this "
	       "step sends what is missing of them.  It asks the place which parts it has, so a kill costs only the parts that were on "
	       "their way.  A repository that cannot be reached in time has failed for this run; the others go on.",
	.params = params,
	.outputs = outputs,
	.run = run,
	.undo = undo,
};

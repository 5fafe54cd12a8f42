/*
 * restore.files: every label is unpacked into a directory of this run beside its place, proven by its digest, and only when all of
 * them are proven is the first put in place.  With the old one there, both change places in one system call (renameat2), then the old
 * one gets the name under which it is kept; so whoever opens the path finds one of the two, whole.
 *
 * Before the first rename the inode of each new object is journaled.  By it a repeated attempt, and an undo, tell from the world
 * alone how far an earlier one came:
 *
 *   at the path      kept name      then
 *   the old one      nothing        not begun: exchange
 *   the new one      nothing        exchanged: what is in the stage is the old one, and gets the kept name
 *   nothing          the old one    (where a file system cannot exchange) half-way through two renames: the second
 *   the new one      the old one    done
 */
#include "orchestrator/steps/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crashpoint.h"
#include "base/io.h"
#include "base/json.h"

static const struct param_spec params[] = {
	SET_PARAMS,
	{"backup", PARAM_STRING, .is_required = true, .about = "id of the backup set"},
	{"to", PARAM_STRING, .about = "directory to restore below; default: where the files were"},
	{0},
};

static const struct output_spec outputs[] = {
	{"places", "label, path, and what the former files are kept as"},
	{"entries", "files, directories and links restored and proven"},
	{"files", "regular files among them"},
	{"content_bytes", "bytes of these"},
	{"warnings", "owners, attributes and access control lists that the system did not take"},
	{0},
};

/* Of what stands at a path: an object keeps it when it is renamed. */
struct identity {
	json_int_t device, inode;
};

/* 1, 0 nothing is there, -1. */
static int identify(const char *path, struct identity *ret, struct error *err)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : err_sys(err, "could not stat \"%s\"", path);
	*ret = (struct identity){.device = (json_int_t)st.st_dev, .inode = (json_int_t)st.st_ino};
	return 1;
}

/* --- unpacking and proving ------------------------------------------------------------------------------------------------- */

static int sync_stage(const char *path, struct error *err)
{
	int fd cleanup(io_closep) = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(err, "could not open directory \"%s\"", path);
	return syncfs(fd) < 0 ? err_sys(err, "could not sync the file system of \"%s\"", path) : 0;
}

static int fill_stage(
	struct step_context *ctx, const struct files_job *job, const struct files_place *p, uint64_t *warnings, struct error *err)
{
	const struct tree_source source = {
		.reader = job->reader,
		.inventory = &job->manifest.inventory,
		.tree = p->tree,
		.cancel = ctx->cancel,
		.progress = ctx->progress,
		.events = ctx->events,
	};
	cleanup(mem_freep) char *dir = io_path_dir(p->stage);
	uint64_t lost = 0;

	if (io_make_dirs(dir, err) < 0 || io_remove_tree(p->stage, err) < 0)
		return -1;
	if (mkdir(p->stage, 0700) < 0)
		return err_sys(err, "could not create directory \"%s\"", p->stage);
	atomic_store(&ctx->progress->phase, "restore");
	if (tree_extract(&source, p->stage, &lost, err) < 0)
		return -1;
	*warnings += lost;
	atomic_store(&ctx->progress->phase, "proof");
	if (tree_prove(p->tree, p->proven, ctx->cancel, ctx->progress, err) < 0)
		return -1;
	return sync_stage(p->stage, err);
}

/* Unpacks and proves everything, and journals what is about to be put in place. */
static int prepare(struct step_context *ctx, const struct files_job *job, json_t **ret_note, struct error *err)
{
	json_t *note = json_object(), *list = json_array();
	uint64_t warnings = 0;
	int rc = 0;

	json_object_set_new(note, "places", list);
	for (size_t i = 0; i < job->count && rc == 0; i++) {
		const struct files_place *p = &job->places[i];
		struct identity new = {0}, old = {0};
		int has_old = 0;

		rc = fill_stage(ctx, job, p, &warnings, err);
		if (rc == 0)
			rc = identify(p->object, &new, err) < 0 || (has_old = identify(p->final, &old, err)) < 0 ? -1 : 0;
		json_array_append_new(list,
			json_pack("{s:s, s:I, s:I, s:b}", "label", p->tree->label, "device", new.device, "inode", new.inode,
				"has_old", has_old > 0));
	}
	json_object_set_new(note, "warnings", json_integer((json_int_t)warnings));
	if (rc == 0)
		rc = step_checkpoint(ctx, note, err);
	*ret_note = note;
	return rc;
}

/* --- putting in place ------------------------------------------------------------------------------------------------------ */

/* What the note says of a place, and what the world does. */
struct state {
	struct identity new;
	bool has_old; /* something stood at the path */
	bool is_new_at_final, has_final, has_kept;
};

static int look(const json_t *note, size_t i, const struct files_place *p, struct state *ret, struct error *err)
{
	const json_t *at = json_array_get(json_object_get(note, "places"), i);
	const char *label = json_string_value(json_object_get(at, "label"));
	struct identity is = {0}, kept;
	int found, has_kept = 0;

	if (!label || strcmp(label, p->tree->label) != 0)
		return err_set(err, ERR_CORRUPT, "the journal's note about files \"%s\" is damaged", p->tree->label);
	ret->new = (struct identity){.device = json_integer_value(json_object_get(at, "device")),
		.inode = json_integer_value(json_object_get(at, "inode"))};
	ret->has_old = json_is_true(json_object_get(at, "has_old"));
	found = identify(p->final, &is, err);
	if (found < 0 || (p->kept && (has_kept = identify(p->kept, &kept, err)) < 0))
		return -1;
	ret->has_final = found > 0;
	ret->is_new_at_final = found > 0 && is.inode == ret->new.inode &&is.device == ret->new.device;
	ret->has_kept = has_kept > 0;
	return 0;
}

static int done(void)
{
	crash_point("swap");
	return 0;
}

static int move(const char *from, const char *to, unsigned flags, struct error *err)
{
	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, flags) == 0)
		return done();
	if (errno == EEXIST)
		return err_set(err, ERR_CONFLICT, "\"%s\" has come to exist meanwhile", to);
	return err_sys(err, "could not rename \"%s\" to \"%s\"", from, to);
}

/* Not every file system knows the flags of renameat2(): there a moment lies between two renames, and the name is looked for first. */
static bool is_unknown(int number)
{
	return number == EINVAL || number == ENOSYS || number == ENOTSUP;
}

static int move_aside(const char *from, const char *to, struct error *err)
{
	struct identity there;
	int found;

	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
		return done();
	if (!is_unknown(errno))
		return move(from, to, RENAME_NOREPLACE, err);
	found = identify(to, &there, err);
	if (found != 0)
		return found < 0 ? -1 : err_set(err, ERR_CONFLICT, "\"%s\" has come to exist meanwhile", to);
	return move(from, to, 0, err);
}

/* Both change places; ${aside} is where what stood at ${final} goes where that cannot be done at once. *ret_is_aside: it went there. */
static int exchange(const char *object, const char *final, const char *aside, bool *ret_is_aside, struct error *err)
{
	*ret_is_aside = false;
	if (renameat2(AT_FDCWD, object, AT_FDCWD, final, RENAME_EXCHANGE) == 0)
		return done();
	if (!is_unknown(errno))
		return move(object, final, RENAME_EXCHANGE, err);
	*ret_is_aside = true;
	return move_aside(final, aside, err) < 0 ? -1 : move(object, final, 0, err);
}

static int put_in_place(const struct files_place *p, const struct state *s, struct error *err)
{
	bool is_aside = s->has_kept;

	if (!s->has_old)
		return s->is_new_at_final ? 0 : move_aside(p->object, p->final, err);
	if (!s->is_new_at_final && s->has_kept && s->has_final)
		return err_set(err, ERR_CONFLICT, "\"%s\" has come to exist meanwhile", p->kept);
	if (!s->is_new_at_final && s->has_kept)
		return move_aside(p->object, p->final, err);
	if (!s->is_new_at_final && exchange(p->object, p->final, p->kept, &is_aside, err) < 0)
		return -1;
	return is_aside ? 0 : move_aside(p->object, p->kept, err);
}

static int settle(const struct files_place *p, const json_t *note, size_t i, struct error *err)
{
	cleanup(mem_freep) char *dir = io_path_dir(p->final);
	struct state s;

	if (look(note, i, p, &s, err) < 0 || put_in_place(p, &s, err) < 0 || io_sync_dir(dir, err) < 0)
		return -1;
	/* From what the world says now, not from what was meant: nothing but the empty stage may be left to remove. */
	if (look(note, i, p, &s, err) < 0)
		return -1;
	if (!s.is_new_at_final || (s.has_old && !s.has_kept))
		return err_set(err, ERR_BUG, "files \"%s\" are not in their place after they were put there", p->tree->label);
	return io_remove_tree(p->stage, err);
}

static void fill_outputs(struct step_context *ctx, const struct files_job *job, const json_t *note)
{
	json_t *list = json_array();
	uint64_t entries = 0, files = 0, bytes = 0;

	for (size_t i = 0; i < job->count; i++) {
		const struct files_place *p = &job->places[i];
		const json_t *at = json_array_get(json_object_get(note, "places"), i);
		json_t *o = json_pack("{s:s, s:o}", "label", p->tree->label, "path", json_text_of(p->final));

		if (json_is_true(json_object_get(at, "has_old")))
			json_object_set_new(o, "kept", json_text_of(p->kept));
		json_array_append_new(list, o);
		entries += p->tree->entries;
		files += p->tree->files;
		bytes += p->tree->bytes;
	}
	json_object_set_new(ctx->outputs, "places", list);
	step_output_int(ctx, "entries", (int64_t)entries);
	step_output_int(ctx, "files", (int64_t)files);
	step_output_int(ctx, "content_bytes", (int64_t)bytes);
	step_output_int(ctx, "warnings", json_integer_value(json_object_get(note, "warnings")));
}

static int run(struct step_context *ctx, struct error *err)
{
	cleanup(files_job_close) struct files_job job = {0};
	cleanup(json_decrefpp) json_t *note = NULL;

	if (files_job_open(ctx, step_str(ctx, "repository"), step_str(ctx, "backup"), &job, err) < 0)
		return -1;
	if (ctx->checkpoint)
		note = json_incref((json_t *)(uintptr_t)ctx->checkpoint);
	else if (prepare(ctx, &job, &note, err) < 0)
		return -1;
	for (size_t i = 0; i < job.count; i++)
		if (settle(&job.places[i], note, i, err) < 0)
			return -1;
	fill_outputs(ctx, &job, note);
	return 0;
}

/* --- undo ------------------------------------------------------------------------------------------------------------------ */

/* The old one back; the new one goes into the stage, or where the kept one was, and is removed there if it is the new one. */
static int take_back(const struct files_place *p, const struct state *s, struct error *err)
{
	struct identity is;
	bool is_aside;
	int found;

	if (!s->has_old)
		return s->is_new_at_final ? move_aside(p->final, p->object, err) : 0;
	if (!s->has_final && s->has_kept)
		return move_aside(p->kept, p->final, err);
	if (!s->is_new_at_final)
		return 0;
	if (!s->has_kept) /* the exchange alone was done */
		return exchange(p->object, p->final, p->kept, &is_aside, err);
	if (exchange(p->kept, p->final, p->object, &is_aside, err) < 0)
		return -1;
	found = identify(p->kept, &is, err);
	return found <= 0 ? found : move_aside(p->kept, p->object, err);
}

static int undo_place(const struct files_place *p, const json_t *note, size_t i, struct error *err)
{
	cleanup(mem_freep) char *dir = io_path_dir(p->final), *above = io_path_dir(p->object);
	struct identity is;
	struct state s;
	int found;

	if (note) {
		if (look(note, i, p, &s, err) < 0)
			return -1;
		if (s.is_new_at_final && io_make_dirs(above, err) < 0) /* where the new one goes */
			return -1;
		if (take_back(p, &s, err) < 0 || io_sync_dir(dir, err) < 0)
			return -1;
		found = identify(p->object, &is, err);
		if (found < 0)
			return -1;
		if (found > 0 && (is.inode != s.new.inode || is.device != s.new.device))
			return err_set(err, ERR_CONFLICT, "\"%s\" is not what the restore has made", p->object),
			       err_hint(err, "Look at it, and move it away.");
	}
	return io_remove_tree(p->stage, err);
}

static int undo(struct step_context *ctx, struct error *err)
{
	cleanup(files_job_close) struct files_job job = {0};

	if (files_job_open(ctx, step_str(ctx, "repository"), step_str(ctx, "backup"), &job, err) < 0)
		return -1;
	for (size_t i = job.count; i-- > 0;)
		if (undo_place(&job.places[i], ctx->checkpoint, i, err) < 0)
			return -1;
	return 0;
}

const struct step_kind step_restore_files = {
	.name = "restore.files",
	.about = "unpack the files of the stack beside their places, prove them, and put them in place by rename",
	.doc = "Each label is unpacked into \"<path>.holdfast-<run>\" and its digest computed anew from the disk; when all are proven, each "
	       "changes places with what stands at its path, which is kept as \"<path>_before_<run>\".  With \"to\" they go to "
	       "<to>/<label>, where nothing may stand.  The new objects are known again by their inodes, which are journaled before the "
	       "first rename.  Undo puts the former files back and removes what was unpacked.",
	.params = params,
	.outputs = outputs,
	.run = run,
	.undo = undo,
};

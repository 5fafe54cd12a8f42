/*
 * files.copy: a data directory as it was before something new began to write in it.
 *
 * The copy is made under a temporary name, synced, its inode journaled, and renamed; so under its name there is a whole copy or none.
 * The way back lets the copy take the place of what has become of the original, which is kept beside.  By the journaled inodes a repeated
 * undo tells how far an earlier one came:
 *
 *   at the path     at the copy's name    kept name    then
 *   anything else   the copy              nothing      rename the path to the kept name
 *   nothing         the copy              something    rename the copy to the path
 *   the copy        nothing               something    done
 */
#include "orchestrator/steps/copy_tree.h"
#include "orchestrator/steps/pin.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crashpoint.h"
#include "base/io.h"
#include "base/json.h"
#include "orchestrator/steps/common.h"

static const struct param_spec params[] = {
	{"path", PARAM_STRING, .is_required = true, .about = "directory or file; whatever writes there is stopped"},
	{"to", PARAM_STRING, .about = "where the copy goes, beside it; default: `<path>_before_<run>`"},
	{0},
};

static const struct output_spec outputs[] = {
	{"copy", "path of the copy"},
	{"entries", "files, directories and links copied"},
	{"content_bytes", "bytes of the files"},
	{0},
};

struct names {
	char *path; /* without a slash at its end; symbolic links followed */
	char *copy, *temporary, *kept;
};

static void names_release(struct names *n)
{
	free(n->path);
	free(n->copy);
	free(n->temporary);
	free(n->kept);
}

/* A link is followed up to the name that is renamed: its directory must not change between run and undo. */
static int name_all(const struct step_context *ctx, struct names *ret, struct error *err)
{
	const char *path = step_str(ctx, "path"), *to = step_str(ctx, "to");
	const char *journaled = json_get_str(ctx->checkpoint, "path", NULL);
	char *tag cleanup(mem_freep) = step_run_tag(ctx->run_id);

	ret->path = journaled ? mem_strdup(journaled) : realpath(path, NULL);
	if (!ret->path)
		return err_sys(err, "could not open \"%s\"", path);
	if (strcmp(ret->path, "/") == 0)
		return err_set(err, ERR_CONFIG, "\"%s\" is no directory that can be copied beside itself", path);
	ret->copy = to ? mem_strdup(to) : mem_printf("%s_before_%s", ret->path, tag);
	ret->temporary = mem_printf("%s.holdfast-%s", ret->copy, tag);
	ret->kept = mem_printf("%s.upgraded-%s", ret->path, tag);
	return 0;
}

/* 1 with device and inode, 0 nothing is there, -1. */
static int identify(const char *path, json_t **ret, struct error *err)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : err_sys(err, "could not stat \"%s\"", path);
	if (ret)
		*ret = json_pack("{s:I, s:I}", "device", (json_int_t)st.st_dev, "inode", (json_int_t)st.st_ino);
	return 1;
}

/* Whether what stands at ${path} is what was journaled as the copy: 1, 0, -1. */
static int is_copy(const char *path, const json_t *note, struct error *err)
{
	json_t *is cleanup(json_decrefpp) = NULL;
	int found = identify(path, &is, err);

	return found <= 0 ? found : json_equal(is, json_object_get(note, "copy"));
}

static void fill_outputs(struct step_context *ctx, const struct names *n, const json_t *note)
{
	step_output_str(ctx, "copy", n->copy);
	step_output_int(ctx, "entries", json_get_i64(note, "entries", 0));
	step_output_int(ctx, "content_bytes", json_get_i64(note, "bytes", 0));
}

static int sync_all(const char *path, struct error *err)
{
	char *dir cleanup(mem_freep) = io_path_dir(path);
	int fd cleanup(io_closep) = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(err, "could not open directory \"%s\"", dir);
	return syncfs(fd) < 0 ? err_sys(err, "could not sync the file system of \"%s\"", path) : 0;
}

static int probe(struct step_context *ctx, struct error *err)
{
	struct names n cleanup(names_release) = {0};
	int found;

	if (!ctx->checkpoint)
		return 0;
	found = name_all(ctx, &n, err) < 0 ? -1 : is_copy(n.copy, ctx->checkpoint, err);
	if (found <= 0)
		return found;
	fill_outputs(ctx, &n, ctx->checkpoint);
	return sync_all(n.copy, err) < 0 ? -1 : 1;
}

/* The copy must be able to take the original's place by a rename, and be no part of it. */
static int check_beside(const struct names *n, struct error *err)
{
	char *dir cleanup(mem_freep) = io_path_dir(n->copy), *real cleanup(mem_freep) = realpath(dir, NULL);
	struct stat there, here;
	size_t length = strlen(n->path);

	if (!real || stat(real, &there) < 0)
		return err_sys(err, "could not open directory \"%s\"", dir);
	if (lstat(n->path, &here) < 0)
		return err_sys(err, "could not stat \"%s\"", n->path);
	if (strncmp(real, n->path, length) == 0 && (real[length] == '/' || !real[length]))
		return err_set(err, ERR_CONFIG, "the copy \"%s\" would lie in \"%s\" itself", n->copy, n->path);
	if (there.st_dev != here.st_dev)
		return err_set(err, ERR_CONFIG, "\"%s\" is not on the file system of \"%s\"", dir, n->path);
	return 0;
}

static int rename_new(const char *from, const char *to, struct error *err)
{
	char *dir cleanup(mem_freep) = io_path_dir(to);
	int rc = renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE);

	if (rc < 0 && (errno == EINVAL || errno == ENOSYS)) { /* not every file system has the flag */
		int found = identify(to, NULL, err);

		if (found < 0)
			return -1;
		errno = EEXIST;
		rc = found ? -1 : rename(from, to);
	}
	if (rc < 0 && errno == EEXIST)
		return err_set(err, ERR_CONFLICT, "\"%s\" exists already", to);
	if (rc < 0)
		return err_sys(err, "could not rename \"%s\" to \"%s\"", from, to);
	crash_point("swap");
	return io_sync_dir(dir, err);
}

static int make_copy(struct step_context *ctx, const struct names *n, json_t **ret_note, struct error *err)
{
	struct copy_tree c = {.cancel = ctx->cancel, .progress = ctx->progress, .events = ctx->events};
	struct error left cleanup(err_clear) = ERROR_INIT;
	json_t *is = NULL;

	atomic_store(&ctx->progress->phase, "copy");
	if (io_remove_tree(n->temporary, err) < 0)
		return -1;
	if (copy_tree(n->path, n->temporary, &c, err) < 0) {
		if (io_remove_tree(n->temporary, &left) < 0) /* the disk may be full of it */
			event_text(ctx->events, EVENT_WARNING, "%s", left.message);
		return -1;
	}
	atomic_store(&ctx->progress->phase, "sync");
	if (sync_all(n->temporary, err) < 0 || identify(n->temporary, &is, err) < 0)
		return -1;
	*ret_note = json_pack("{s:s, s:o, s:I, s:I}", "path", n->path, "copy", is ? is : json_null(), "entries",
		(json_int_t)c.entries, "bytes", (json_int_t)c.bytes);
	if (!*ret_note)
		return err_set(err, ERR_CONFIG, "\"%s\" is no path in UTF-8", n->path);
	return step_checkpoint(ctx, *ret_note, err);
}

static int run(struct step_context *ctx, struct error *err)
{
	struct names n cleanup(names_release) = {0};
	json_t *note cleanup(json_decrefpp) = NULL;
	int found;

	if (name_all(ctx, &n, err) < 0 || check_beside(&n, err) < 0)
		return -1;
	found = ctx->checkpoint ? is_copy(n.copy, ctx->checkpoint, err) : 0;
	if (found != 0) {
		if (found > 0)
			fill_outputs(ctx, &n, ctx->checkpoint);
		return found < 0 ? -1 : 0;
	}
	if (identify(n.copy, NULL, err) != 0)
		return err->message ? -1 : err_set(err, ERR_CONFLICT, "\"%s\" exists already", n.copy);
	if (make_copy(ctx, &n, &note, err) < 0 || rename_new(n.temporary, n.copy, err) < 0)
		return -1;
	fill_outputs(ctx, &n, note);
	return 0;
}

/* --- the way back ---------------------------------------------------------------------------------------------------------- */

static int take_back(struct step_context *ctx, const struct names *n, struct error *err)
{
	int at_path = is_copy(n->path, ctx->checkpoint, err), at_copy = is_copy(n->copy, ctx->checkpoint, err), found;

	if (at_path < 0 || at_copy < 0)
		return -1;
	if (at_path > 0)
		return 1;
	if (at_copy == 0) {
		found = identify(n->copy, NULL, err);
		if (found <= 0)
			return found; /* it never got its name: nothing was changed */
		err_set(err, ERR_FAILED, "\"%s\" is not the copy that this run has made", n->copy);
		return err_hint(err, "Look at it, and move it away.");
	}
	found = identify(n->path, NULL, err);
	if (found < 0 || (found > 0 && rename_new(n->path, n->kept, err) < 0))
		return -1;
	return rename_new(n->copy, n->path, err) < 0 ? -1 : 1;
}

static int undo(struct step_context *ctx, struct error *err)
{
	struct names n cleanup(names_release) = {0};
	char *says cleanup(mem_freep) = NULL;
	int rc;

	if (!ctx->checkpoint && access(step_str(ctx, "path"), F_OK) < 0 && errno == ENOENT)
		return 0; /* it was not there when the step began */
	if (name_all(ctx, &n, err) < 0)
		return -1;
	rc = ctx->checkpoint ? take_back(ctx, &n, err) : 0;
	if (rc < 0 || io_remove_tree(n.temporary, err) < 0)
		return -1;
	if (rc > 0) {
		says = mem_printf(
			"\"%s\" is as it was when the copy was made; what had become of it is kept as \"%s\"", n.path, n.kept);
		step_output_str(ctx, "put_back", says);
	}
	return 0;
}

const struct step_kind step_files_copy = {
	.name = "files.copy",
	.about = "keep a copy of a directory or file beside it, which undo puts in its place",
	.doc = "Copies content, modes, owners, times, attributes, links and holes, byte by byte, under a temporary name; syncs it; and renames it.  "
	       "Whatever writes there must be stopped: a file that changes while it is read fails the step.  Probed by the copy's inode, which is "
	       "journaled before the rename.  Undo puts the copy in the place of the original, which is kept as `<path>.upgraded-<run>`, "
	       "whatever has become of it.",
	.params = params,
	.outputs = outputs,
	.probe = probe,
	.run = run,
	.undo = undo,
};

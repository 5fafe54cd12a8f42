/*
 * restore.files_preflight: the set, and whether its files can be put where they belong.
 */
#include "orchestrator/steps/files.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"

static const struct param_spec params[] = {
	SETS_PARAMS,
	{"backup", PARAM_STRING, .default_text = "latest", .about = "id, the unique beginning of one, or latest"},
	{"to", PARAM_STRING, .about = "directory to restore below; default: where the files were"},
	{0},
};

static const struct output_spec outputs[] = {
	{"backup_id", "id of the backup set"},
	{"repository", "the repository that is read"},
	{"labels", "labels of its files"},
	{0},
};

/* The directory that ${path} would be made in: the nearest above it that exists; malloc'd. */
static char *existing_above(const char *path)
{
	char *dir = io_path_dir(path);
	struct stat st;

	while (strcmp(dir, "/") != 0 && strcmp(dir, ".") != 0 && lstat(dir, &st) < 0) {
		char *above = io_path_dir(dir);

		free(dir);
		dir = above;
	}
	return dir;
}

static int check_target(const struct files_place *p, const char *above, struct error *err)
{
	struct stat final, dir;

	if (stat(above, &dir) < 0)
		return err_sys(err, "could not stat directory \"%s\"", above);
	if (!S_ISDIR(dir.st_mode) || access(above, W_OK | X_OK) < 0) {
		err_set(err, ERR_REFUSED, "files \"%s\" cannot be restored to \"%s\"", p->tree->label, p->final);
		err_detail(err, "Directory \"%s\" may not be written.", above);
		return err_hint(err, "Run as a user who may, or restore elsewhere with --files-to.");
	}
	if (lstat(p->final, &final) < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : err_sys(err, "could not stat \"%s\"", p->final);
	if (!p->kept) {
		err_set(err, ERR_REFUSED, "\"%s\" exists already", p->final);
		return err_hint(err, "Name another directory with --files-to.");
	}
	if (S_ISDIR(final.st_mode) && final.st_dev != dir.st_dev) {
		err_set(err, ERR_REFUSED, "files \"%s\" cannot be put in the place of \"%s\" by rename", p->tree->label,
			p->final);
		err_detail(err, "A file system of its own is mounted there.");
		return err_hint(err, "Restore elsewhere with --files-to, and copy.");
	}
	return 0;
}

static uint64_t bytes_needed(const struct inventory *inv, const struct inv_tree *t)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < t->members_count; i++)
		bytes += inv->members[t->members[i]].content_bytes;
	return bytes;
}

/* Places may share a file system: what is needed on it is summed up. */
static int check_room(const struct files_job *job, size_t i, const char *above, struct error *err)
{
	struct stat mine, other;
	struct statvfs fs;
	uint64_t needed = 0;
	char need[32], free_text[32];

	if (stat(above, &mine) < 0 || statvfs(above, &fs) < 0)
		return err_sys(err, "could not stat directory \"%s\"", above);
	for (size_t k = 0; k <= i; k++) {
		char *dir cleanup(mem_freep) = existing_above(job->places[k].final);

		if (stat(dir, &other) == 0 && other.st_dev == mine.st_dev)
			needed += bytes_needed(&job->manifest.inventory, job->places[k].tree);
	}
	if (needed <= (uint64_t)fs.f_bavail * fs.f_frsize)
		return 0;
	err_set(err, ERR_REFUSED, "there is not enough room in directory \"%s\"", above);
	return err_detail(err, "The files need %s, and %s are free.", size_format(needed, need),
		size_format((uint64_t)fs.f_bavail * fs.f_frsize, free_text));
}

static int check_places(const struct files_job *job, struct error *err)
{
	for (size_t i = 0; i < job->count; i++) {
		char *above cleanup(mem_freep) = existing_above(job->places[i].final);

		if (check_target(&job->places[i], above, err) < 0 || check_room(job, i, above, err) < 0)
			return -1;
	}
	return 0;
}

static int run(struct step_context *ctx, struct error *err)
{
	cleanup(files_job_close) struct files_job job = {0};
	cleanup(mem_freep) char *id = NULL;
	struct verify_report report = {0};
	json_t *labels;

	if (step_select_set(ctx, &id, err) < 0 ||
		files_job_open(ctx, json_string_value(json_object_get(ctx->outputs, "repository")), id, &job, err) < 0)
		return -1;
	if (backup_set_verify(job.repository, step_str(ctx, "stack"), &job.manifest, VERIFY_QUICK, 1, &step_verify_digest,
		    ctx->cancel, ctx->progress, &report, err) < 0)
		return -1;
	if (check_places(&job, err) < 0)
		return -1;
	step_output_str(ctx, "backup_id", id);
	json_object_set_new(ctx->outputs, "labels", labels = json_array());
	for (size_t i = 0; i < job.count; i++)
		json_array_append_new(labels, json_string(job.places[i].tree->label));
	return 0;
}

const struct step_kind step_restore_files_preflight = {
	.name = "restore.files_preflight",
	.about = "find the set and everything that would make the restore of its files fail later",
	.doc = "Resolves \"latest\" or the beginning of an id to one set that holds files; looks whether the places they go to may be written, "
	       "are no mount points, and have room; with \"to\", that nothing stands there.  Changes nothing.",
	.params = params,
	.outputs = outputs,
	.runs_in_dry_run = true,
	.run = run,
};

/*
 * A tree from the archive onto the disk, by libarchive's disk writer with every guard it has.
 *
 * Its guard against symbolic links looks at each part of a path, also at those above the target, where links are the operator's own
 * affair.  So paths are relative, and the work is done in a thread whose current directory is the target: a thread may have
 * one of its own (unshare(CLONE_FS), which also makes the umask its own).  Where a container forbids that, the directory of the
 * process is changed for as long as it takes.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "storage/archive/tree_internal.h"

#define WARNINGS_MAX 20

struct extracting {
	const struct tree_source *source;
	const char *dir;
	struct tree_stream stream;
	struct archive *disk;
	uint64_t warnings;
	int rc;
	struct error *err;
};

static void warn(struct extracting *x, const char *path)
{
	const char *reason = archive_error_string(x->disk);

	if (x->warnings++ < WARNINGS_MAX)
		event_text(x->source->events, EVENT_WARNING, "file \"%s\": %s", path,
			reason ? reason : "attributes were not restored");
	else if (x->warnings == WARNINGS_MAX + 1)
		event_text(x->source->events, EVENT_WARNING, "more files \"%s\" lack attributes", x->source->tree->label);
}

/* What libarchive returned: a warning is noted, the rest is an error. */
static int look_at(struct extracting *x, int rc, const char *path, struct error *err)
{
	const char *reason;
	int number;

	if (rc == ARCHIVE_OK)
		return 0;
	if (rc == ARCHIVE_WARN) {
		warn(x, path);
		return 0;
	}
	reason = archive_error_string(x->disk);
	number = archive_errno(x->disk);
	if (number == ENOSPC || number == EDQUOT)
		return err_set(err, ERR_FULL, "could not write \"%s\": %s", path, reason ? reason : strerror(number));
	if (number == ELOOP || (reason && strstr(reason, "symlink")))
		return err_set(err, ERR_CORRUPT, "entry \"%s\" of files \"%s\" leads out of its directory: %s", path,
			x->source->tree->label, reason ? reason : "symbolic link");
	return err_set(err, number == EACCES || number == EPERM ? ERR_DENIED : ERR_IO, "could not write \"%s\": %s", path,
		reason ? reason : "unknown reason");
}

static int write_block(void *ctx, const void *p, size_t n, uint64_t offset, struct error *err)
{
	struct extracting *x = ctx;

	if (archive_write_data_block(x->disk, p, n, (la_int64_t)offset) < ARCHIVE_WARN)
		return look_at(x, ARCHIVE_FAILED, "a file", err);
	progress_add(x->source->progress, n, 0);
	return x->source->cancel ? cancel_check(x->source->cancel, err) : 0;
}

static int extract_entry(struct extracting *x, const struct tree_entry *e, struct error *err)
{
	struct stat st;

	archive_entry_copy_pathname(e->entry, e->path);
	if (e->type == 'h') {
		archive_entry_copy_hardlink(e->entry, e->target);
		archive_entry_unset_size(e->entry);
	}
	if (e->type != 'd' && lstat(e->path, &st) == 0)
		return err_set(err, ERR_CORRUPT, "entry \"%s\" of files \"%s\" is not the first of this name", e->path,
			x->source->tree->label);
	if (look_at(x, archive_write_header(x->disk, e->entry), e->path, err) < 0)
		return -1;
	if (e->type == 'f' && tree_stream_data(&x->stream, e, write_block, x, err) < 0)
		return err_context(err, "file \"%s\"", e->path);
	if (look_at(x, archive_write_finish_entry(x->disk), e->path, err) < 0)
		return -1;
	progress_item(x->source->progress);
	return 0;
}

static int open_disk(struct extracting *x, struct error *err)
{
	int flags = ARCHIVE_EXTRACT_TIME | ARCHIVE_EXTRACT_PERM | ARCHIVE_EXTRACT_ACL | ARCHIVE_EXTRACT_XATTR |
		ARCHIVE_EXTRACT_SECURE_NODOTDOT | ARCHIVE_EXTRACT_SECURE_SYMLINKS | ARCHIVE_EXTRACT_SECURE_NOABSOLUTEPATHS |
		ARCHIVE_EXTRACT_NO_OVERWRITE;

	if (geteuid() == 0)
		flags |= ARCHIVE_EXTRACT_OWNER;
	x->disk = archive_write_disk_new();
	if (!x->disk || archive_write_disk_set_options(x->disk, flags) != ARCHIVE_OK ||
		archive_write_disk_set_standard_lookup(x->disk) != ARCHIVE_OK)
		return err_set(err, ERR_FULL, "could not get memory for a disk writer");
	return 0;
}

/* A label of one file has no entry for the directory it is in. */
static int make_top(const struct extracting *x, struct error *err)
{
	const struct inv_tree *t = x->source->tree;
	struct stat st;

	if (lstat(t->label, &st) == 0)
		return err_set(err, ERR_CONFLICT, "\"%s/%s\" exists already", x->dir, t->label);
	if (!t->is_directory && mkdir(t->label, 0700) < 0)
		return err_sys(err, "could not create directory \"%s/%s\"", x->dir, t->label);
	return 0;
}

static int extract_here(struct extracting *x, struct error *err)
{
	struct tree_entry e cleanup(tree_entry_release) = {0};
	int rc;

	if (make_top(x, err) < 0 || open_disk(x, err) < 0 || tree_stream_open(&x->stream, err) < 0)
		return -1;
	while ((rc = tree_stream_next(&x->stream, &e, err)) == 1)
		if (extract_entry(x, &e, err) < 0)
			return -1;
	if (rc < 0)
		return -1;
	/* Now directories get their modes and times. */
	return look_at(x, archive_write_close(x->disk), x->source->tree->label, err);
}

static int extract_in(struct extracting *x, struct error *err)
{
	struct tree_stream *s = &x->stream;
	int home cleanup(io_closep) = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int work cleanup(io_closep) = open(x->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc;

	if (home < 0 || work < 0)
		return err_sys(err, "could not open directory \"%s\"", home < 0 ? "." : x->dir);
	*s = (struct tree_stream){.source = x->source, .has_dirs = true, .home_fd = home, .work_fd = work};
	if (fchdir(work) < 0)
		return err_sys(err, "could not change into directory \"%s\"", x->dir);
	rc = extract_here(x, err);
	if (x->disk)
		archive_write_free(x->disk); /* closed already, unless it failed */
	tree_stream_close(s);
	if (fchdir(home) < 0 && rc == 0)
		rc = err_sys(err, "could not change back into the current directory");
	return rc;
}

static void *work(void *ctx)
{
	struct extracting *x = ctx;

	(void)unshare(CLONE_FS); /* see above for when it fails */
	x->rc = extract_in(x, x->err);
	return NULL;
}

int tree_extract(const struct tree_source *s, const char *dir, uint64_t *ret_warnings, struct error *err)
{
	struct extracting x = {.source = s, .dir = dir, .err = err};
	pthread_t thread;
	int rc = pthread_create(&thread, NULL, work, &x);

	if (rc != 0) {
		errno = rc;
		return err_sys(err, "could not start a thread");
	}
	pthread_join(thread, NULL);
	if (x.rc == 0)
		*ret_warnings = x.warnings;
	return x.rc < 0 ? err_context(err, "could not restore files \"%s\"", s->tree->label) : 0;
}

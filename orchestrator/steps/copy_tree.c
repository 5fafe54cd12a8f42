#include "orchestrator/steps/copy_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"

#define BLOCK_BYTES ((size_t)1 << 20)
#define DEPTH_MAX 256

/* The first name of a file that has several. */
struct twin {
	dev_t device;
	ino_t inode;
	char *to;
};

struct walk {
	struct copy_tree *c;
	char *block;
	struct twin *twins;
	size_t twins_count, twins_cap;
	int depth;
};

static int copy_entry(struct walk *w, const char *from, const char *to, bool is_followed, struct error *err);

static int changed(const char *from, struct error *err)
{
	err_set(err, ERR_CONFLICT, "\"%s\" changed while it was copied", from);
	return err_hint(err, "Stop what writes there first.");
}

/* What tells that somebody has written.  Of a directory: that a name came or went. */
static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
		a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* --- what belongs to an entry beside its content --------------------------------------------------------------------------- */

/* Owner before mode, which giving away clears bits of; times last. */
static int finish(int from, int to, const struct stat *st, const char *path, struct error *err)
{
	const struct timespec times[2] = {st->st_atim, st->st_mtim};

	if (fchown(to, st->st_uid, st->st_gid) < 0)
		return err_sys(err, "could not give the copy of \"%s\" its owner", path);
	if (io_copy_attributes(from, to, path, err) < 0)
		return -1;
	if (fchmod(to, st->st_mode & 07777) < 0)
		return err_sys(err, "could not give the copy of \"%s\" its mode", path);
	return futimens(to, times) < 0 ? err_sys(err, "could not give the copy of \"%s\" its times", path) : 0;
}

/* --- files ----------------------------------------------------------------------------------------------------------------- */

static int copy_range(struct walk *w, int from, int to, off_t at, off_t end, const char *path, struct error *err)
{
	while (at < end) {
		size_t want = end - at < (off_t)BLOCK_BYTES ? (size_t)(end - at) : BLOCK_BYTES;
		ssize_t n = cancel_check(w->c->cancel, err) < 0 ? -1 : io_pread_full(from, w->block, want, at, path, err);

		if (n < 0)
			return -1;
		if (n == 0)
			return changed(path, err);
		if (lseek(to, at, SEEK_SET) < 0)
			return err_sys(err, "could not write the copy of \"%s\"", path);
		if (io_write_full(to, w->block, (size_t)n, path, err) < 0)
			return -1;
		at += n;
		progress_add(w->c->progress, (uint64_t)n, 0);
	}
	return 0;
}

static int copy_content(struct walk *w, int from, int to, off_t size, const char *path, struct error *err)
{
	for (off_t at = 0; at < size;) {
		off_t data = lseek(from, at, SEEK_DATA), hole;

		if (data < 0 && errno == ENXIO) /* a hole up to the end */
			break;
		if (data < 0)
			data = at; /* a file system that knows no holes */
		hole = lseek(from, data, SEEK_HOLE);
		if (hole < 0 || hole > size)
			hole = size;
		if (copy_range(w, from, to, data, hole, path, err) < 0)
			return -1;
		at = hole;
	}
	return ftruncate(to, size) < 0 ? err_sys(err, "could not write the copy of \"%s\"", path) : 0;
}

/* 1 it is the second name of a file that is copied already, 0, -1. */
static int link_twin(struct walk *w, const struct stat *st, const char *to, struct error *err)
{
	for (size_t i = 0; st->st_nlink > 1 && i < w->twins_count; i++)
		if (w->twins[i].inode == st->st_ino && w->twins[i].device == st->st_dev)
			return link(w->twins[i].to, to) < 0 ? err_sys(err, "could not link \"%s\"", to) : 1;
	if (st->st_nlink > 1) {
		w->twins = mem_grow(w->twins, &w->twins_cap, w->twins_count + 1, sizeof(*w->twins));
		w->twins[w->twins_count++] = (struct twin){st->st_dev, st->st_ino, mem_strdup(to)};
	}
	return 0;
}

static int copy_file(struct walk *w, const char *from, const char *to, struct error *err)
{
	int in cleanup(io_closep) = open(from, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW), out cleanup(io_closep) = -1;
	struct stat st, after;
	int rc;

	if (in < 0 || fstat(in, &st) < 0)
		return err_sys(err, "could not open file \"%s\"", from);
	rc = link_twin(w, &st, to, err);
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (out < 0)
		return err_sys(err, "could not create file \"%s\"", to);
	if (copy_content(w, in, out, st.st_size, from, err) < 0)
		return -1;
	if (fstat(in, &after) < 0 || !is_same(&st, &after))
		return changed(from, err);
	w->c->files++;
	w->c->bytes += (uint64_t)st.st_size;
	return finish(in, out, &st, from, err) < 0 ? -1 : io_close(&out, to, err);
}

/* --- directories and the rest ---------------------------------------------------------------------------------------------- */

static void closedirp(DIR **d)
{
	if (*d)
		closedir(*d);
}

static int copy_names(struct walk *w, DIR *dir, const char *from, const char *to, struct error *err)
{
	struct dirent *de;

	while ((errno = 0, de = readdir(dir))) {
		char *below cleanup(mem_freep) = NULL, *copy cleanup(mem_freep) = NULL;

		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		below = io_path_join(from, de->d_name);
		copy = io_path_join(to, de->d_name);
		if (copy_entry(w, below, copy, false, err) < 0)
			return -1;
	}
	return errno ? err_sys(err, "could not read directory \"%s\"", from) : 0;
}

static int copy_dir(struct walk *w, const char *from, const char *to, bool is_followed, struct error *err)
{
	int in = open(from, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (is_followed ? 0 : O_NOFOLLOW)), out cleanup(io_closep) = -1;
	DIR *dir cleanup(closedirp) = in < 0 ? NULL : fdopendir(in);
	struct stat st, after;

	if (!dir || fstat(in, &st) < 0)
		return err_sys(err, "could not open directory \"%s\"", from);
	if (w->depth >= DEPTH_MAX)
		return err_set(err, ERR_FAILED, "directory \"%s\" is nested more than %d levels deep", from, DEPTH_MAX);
	if (mkdir(to, 0700) < 0)
		return err_sys(err, "could not create directory \"%s\"", to);
	w->depth++;
	if (copy_names(w, dir, from, to, err) < 0)
		return -1;
	w->depth--;
	if (fstat(in, &after) < 0 || !is_same(&st, &after))
		return changed(from, err);
	out = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (out < 0)
		return err_sys(err, "could not open directory \"%s\"", to);
	return finish(in, out, &st, from, err);
}

static int copy_link(const char *from, const char *to, const struct stat *st, struct error *err)
{
	const struct timespec times[2] = {st->st_atim, st->st_mtim};
	char target[PATH_MAX];
	ssize_t n = readlink(from, target, sizeof(target) - 1);

	if (n < 0)
		return err_sys(err, "could not read symbolic link \"%s\"", from);
	target[n] = '\0';
	if (symlink(target, to) < 0)
		return err_sys(err, "could not create symbolic link \"%s\"", to);
	if (lchown(to, st->st_uid, st->st_gid) < 0)
		return err_sys(err, "could not give the copy of \"%s\" its owner", from);
	return utimensat(AT_FDCWD, to, times, AT_SYMLINK_NOFOLLOW) < 0
		? err_sys(err, "could not give the copy of \"%s\" its times", from)
		: 0;
}

static int copy_pipe(const char *from, const char *to, const struct stat *st, struct error *err)
{
	const struct timespec times[2] = {st->st_atim, st->st_mtim};

	if (mkfifo(to, 0600) < 0 || lchown(to, st->st_uid, st->st_gid) < 0 || chmod(to, st->st_mode & 07777) < 0 ||
		utimensat(AT_FDCWD, to, times, 0) < 0)
		return err_sys(err, "could not copy pipe \"%s\"", from);
	return 0;
}

static int copy_entry(struct walk *w, const char *from, const char *to, bool is_followed, struct error *err)
{
	struct stat st;

	if ((is_followed ? stat(from, &st) : lstat(from, &st)) < 0)
		return errno == ENOENT && !is_followed ? changed(from, err) : err_sys(err, "could not stat \"%s\"", from);
	if (cancel_check(w->c->cancel, err) < 0)
		return -1;
	w->c->entries++;
	progress_item(w->c->progress);
	switch (st.st_mode & S_IFMT) {
	case S_IFDIR:
		return copy_dir(w, from, to, is_followed, err);
	case S_IFREG:
		return copy_file(w, from, to, err);
	case S_IFLNK:
		return copy_link(from, to, &st, err);
	case S_IFIFO:
		return copy_pipe(from, to, &st, err);
	case S_IFSOCK:
		event_text(w->c->events, EVENT_WARNING, "socket \"%s\" is not copied", from);
		return 0;
	default:
		return err_set(err, ERR_FAILED, "\"%s\" is a device", from);
	}
}

int copy_tree(const char *from, const char *to, struct copy_tree *c, struct error *err)
{
	struct walk w = {.c = c, .block = mem_alloc(BLOCK_BYTES)};
	char *real cleanup(mem_freep) = realpath(from, NULL);
	int rc = real ? copy_entry(&w, real, to, true, err) : err_sys(err, "could not open \"%s\"", from);

	for (size_t i = 0; i < w.twins_count; i++)
		free(w.twins[i].to);
	free(w.twins);
	free(w.block);
	return rc;
}

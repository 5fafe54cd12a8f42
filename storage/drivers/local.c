/*
 * The local directory.  An object is a file; its key is its path below the directory.
 *
 * An upload writes ".<name>.<tag>.tmp" beside the final name, makes it durable, and gives it the name in one step: rename()
 * where an older object may be replaced, renameat2(RENAME_NOREPLACE) or link() where it must not.  While an upload lives it
 * holds flock() on its temporary file, which the kernel releases when the process dies: so a sweep, in this or another
 * process, tells what a killed upload left from what one in work is writing, with no clock and no pid.
 *
 * Directories belong to their objects: they are made when the first object needs them and removed with the last.  A removal
 * may therefore come between another upload's mkdir() and open(); upload_begin() then makes the directory again.
 */
#include "storage/drivers/driver.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "storage/drivers/file_writer.h"

#define MAX_DEPTH 32
#define BEGIN_ATTEMPTS 100

struct local {
	struct driver base;
	char *dir;
};

struct driver_upload {
	struct local *local;
	char *path, *tmp;
	int fd;
	struct file_writer *writer;
	bool is_exclusive;
};

static struct local *local_of(struct driver *d)
{
	return (struct local *)d;
}

static int check_cancel(const struct local *l, struct error *err)
{
	return l->base.cancel ? cancel_check(l->base.cancel, err) : 0;
}

static int fail_full(const struct local *l, struct error *err)
{
	if (err->class == ERR_FULL)
		err_hint(err, "Make room on the file system of \"%s\", or use a repository elsewhere.", l->dir);
	return -1;
}

/* --- names ----------------------------------------------------------------------------------------------------------------- */

static bool is_temporary(const char *name)
{
	size_t n = strlen(name);

	return n > 5 && name[0] == '.' && strcmp(name + n - 4, ".tmp") == 0;
}

/* malloc'd; NULL where the key is none. */
static char *key_path(const struct local *l, const char *key, struct error *err)
{
	const char *slash = strrchr(key, '/');

	if (driver_check_key(key, err) < 0)
		return NULL;
	if (is_temporary(slash ? slash + 1 : key)) {
		err_set(err, ERR_BUG, "\"%s\" cannot be the key of an object", key);
		return NULL;
	}
	return io_path_join(l->dir, key);
}

/* Removes the directories above ${path} that have become empty, up to the driver's own, which stays. */
static void remove_empty_parents(const struct local *l, const char *path)
{
	char *dir cleanup(mem_freep) = io_path_dir(path);
	size_t stop = strlen(l->dir);

	while (strlen(dir) > stop + 1 && rmdir(dir) == 0) {
		char *up = io_path_dir(dir);

		free(dir);
		dir = up;
	}
}

/* --- uploading ------------------------------------------------------------------------------------------------------------- */

static void upload_free(struct driver_upload *u)
{
	file_writer_free(u->writer);
	if (u->fd >= 0)
		close(u->fd); /* written files have been closed by io_close(); this is the way out after a failure */
	free(u->path);
	free(u->tmp);
	free(u);
}

static void upload_freep(struct driver_upload **u)
{
	if (*u)
		upload_free(*u);
}

/* A leftover of the same tag gives way, unless its writer is alive.  0, or -1. */
static int remove_leftover(const char *tmp, struct error *err)
{
	int fd cleanup(io_closep) = open(tmp, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK) {
		err_set(err, ERR_CONFLICT, "file \"%s\" is being written by another process", tmp);
		return err_hint(err, "Wait for the other run to end.");
	}
	if (unlink(tmp) < 0 && errno != ENOENT)
		return err_sys(err, "could not remove file \"%s\"", tmp);
	return 0;
}

/* 1 made and locked, 0 lost a race against a removal or a sweep (try again), -1. */
static int create_temporary(struct driver_upload *u, struct error *err)
{
	char *dir cleanup(mem_freep) = io_path_dir(u->path);
	struct stat st;

	io_closep(&u->fd); /* of a race that was lost */
	if (io_make_dirs(dir, err) < 0)
		return -1;
	u->fd = open(u->tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (u->fd < 0 && errno == ENOENT)
		return 0;
	if (u->fd < 0 && errno == EEXIST)
		return remove_leftover(u->tmp, err);
	if (u->fd < 0)
		return err_sys(err, "could not create file \"%s\"", u->tmp);
	if (flock(u->fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno == EWOULDBLOCK)
			return 0;
		return err_sys(err, "could not lock file \"%s\"", u->tmp);
	}
	if (fstat(u->fd, &st) < 0)
		return err_sys(err, "could not examine file \"%s\"", u->tmp);
	return st.st_nlink > 0; /* else swept between open and flock */
}

static int local_upload_begin(
	struct driver *d, const struct driver_target *t, const char *resume_id, struct driver_upload **ret, struct error *err)
{
	struct local *l = local_of(d);
	struct driver_upload *u cleanup(upload_freep) = mem_zalloc(sizeof(*u));
	char *dir cleanup(mem_freep) = NULL;
	int made = 0;

	u->fd = -1;
	u->local = l;
	u->is_exclusive = t->is_exclusive;
	if (resume_id)
		return err_set(err, ERR_BUG, "a local upload cannot be resumed");
	if (!*t->tag || strchr(t->tag, '/'))
		return err_set(err, ERR_BUG, "\"%s\" cannot be the tag of an upload", t->tag);
	if (check_cancel(l, err) < 0 || !(u->path = key_path(l, t->key, err)))
		return -1;
	dir = io_path_dir(u->path);
	u->tmp = mem_printf("%s/.%s.%s.tmp", dir, strrchr(u->path, '/') + 1, t->tag);
	for (int i = 0; i < BEGIN_ATTEMPTS && made == 0; i++)
		made = create_temporary(u, err);
	if (made < 0)
		return fail_full(l, err);
	if (made == 0)
		return err_set(err, ERR_RETRY, "could not create file \"%s\": its directory keeps being removed", u->tmp);
	u->writer = file_writer_new(u->fd, u->tmp);
	*ret = take_ptr(u);
	return 0;
}

static int local_upload_write(struct driver_upload *u, const void *p, size_t n, struct error *err)
{
	if (check_cancel(u->local, err) < 0)
		return -1;
	return file_writer_write(u->writer, p, n, err) < 0 ? fail_full(u->local, err) : 0;
}

static int local_upload_abort(struct driver_upload *u, struct error *err)
{
	int rc = 0;

	if (unlink(u->tmp) < 0 && errno != ENOENT)
		rc = err_sys(err, "could not remove file \"%s\"", u->tmp);
	remove_empty_parents(u->local, u->path);
	upload_free(u);
	return rc;
}

static int fail_exists(const struct driver_upload *u, struct error *err)
{
	return err_set(err, ERR_CONFLICT, "file \"%s\" exists already", u->path);
}

/* Gives the temporary file its final name, atomically, unless the name is taken. */
static int publish_exclusive(const struct driver_upload *u, struct error *err)
{
	if (renameat2(AT_FDCWD, u->tmp, AT_FDCWD, u->path, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno == EEXIST)
		return fail_exists(u, err);
	if (errno != EINVAL && errno != ENOSYS && errno != ENOTSUP)
		return err_sys(err, "could not rename file \"%s\" to \"%s\"", u->tmp, u->path);
	/* A file system without RENAME_NOREPLACE, such as NFS. */
	if (link(u->tmp, u->path) < 0) {
		if (errno == EEXIST)
			return fail_exists(u, err);
		return err_sys(err, "could not link file \"%s\" to \"%s\"", u->tmp, u->path);
	}
	if (unlink(u->tmp) < 0 && errno != ENOENT)
		return err_sys(err, "could not remove file \"%s\"", u->tmp);
	return 0;
}

static int publish(const struct driver_upload *u, struct error *err)
{
	char *dir cleanup(mem_freep) = io_path_dir(u->path);

	if (u->is_exclusive) {
		if (publish_exclusive(u, err) < 0)
			return -1;
	} else if (rename(u->tmp, u->path) < 0) {
		return err_sys(err, "could not rename file \"%s\" to \"%s\"", u->tmp, u->path);
	}
	return io_sync_dir(dir, err);
}

static int local_upload_commit(struct driver_upload *u, const struct driver_part *parts, size_t parts_count, struct error *err)
{
	(void)parts;
	(void)parts_count;
	/* The descriptor stays open, and so the lock held, until the file has its name. */
	if (check_cancel(u->local, err) < 0 || file_writer_finish(u->writer, err) < 0 || io_fsync(u->fd, u->tmp, err) < 0 ||
		publish(u, err) < 0) {
		return fail_full(u->local, err);
	}
	if (io_close(&u->fd, u->path, err) < 0)
		return -1;
	upload_free(u);
	return 0;
}

static int local_put(struct driver *d, const struct driver_target *t, const void *p, size_t n, struct error *err)
{
	struct error second cleanup(err_clear) = ERROR_INIT;
	struct driver_upload *u = NULL;

	if (local_upload_begin(d, t, NULL, &u, err) < 0)
		return -1;
	if (local_upload_write(u, p, n, err) == 0 && local_upload_commit(u, NULL, 0, err) == 0)
		return 0;
	(void)local_upload_abort(u, &second); /* what cannot be removed now is found by the next sweep */
	return -1;
}

/* --- reading --------------------------------------------------------------------------------------------------------------- */

/* 1 a file, 0 missing (also: something else than a file), -1. */
static int stat_file(const char *path, struct stat *ret, struct error *err)
{
	if (stat(path, ret) < 0) {
		if (errno == ENOENT || errno == ENOTDIR)
			return 0;
		return err_sys(err, "could not examine file \"%s\"", path);
	}
	return S_ISREG(ret->st_mode) ? 1 : 0;
}

static int64_t modified_ms(const struct stat *st)
{
	return (int64_t)st->st_mtim.tv_sec * 1000 + st->st_mtim.tv_nsec / 1000000;
}

static int local_read_range(struct driver *d, const char *key, uint64_t offset, void *p, size_t n, struct error *err)
{
	struct local *l = local_of(d);
	char *path cleanup(mem_freep) = NULL;
	int fd cleanup(io_closep) = -1;
	ssize_t got;

	if (check_cancel(l, err) < 0 || !(path = key_path(l, key, err)))
		return -1;
	fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC); /* non-blocking: a FIFO put there does not hang us */
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	if (fd < 0)
		return err_sys(err, "could not open file \"%s\"", path);
	if (offset > INT64_MAX - (uint64_t)n)
		return err_set(err, ERR_CORRUPT, "file \"%s\" is shorter than it must be", path);
	got = io_pread_full(fd, p, n, (off_t)offset, path, err);
	if (got < 0)
		return -1;
	if ((size_t)got < n) {
		err_set(err, ERR_CORRUPT, "file \"%s\" is shorter than it must be", path);
		return err_detail(
			err, "%zu bytes were wanted at offset %llu, %zd are there.", n, (unsigned long long)offset, got);
	}
	return 1;
}

static int local_stat(struct driver *d, const char *key, struct driver_object *ret, struct error *err)
{
	char *path cleanup(mem_freep) = NULL;
	struct stat st;
	int rc;

	if (!(path = key_path(local_of(d), key, err)))
		return -1;
	rc = stat_file(path, &st, err);
	if (rc == 1)
		*ret = (struct driver_object){.key = key, .size_bytes = (uint64_t)st.st_size, .modified_at_ms = modified_ms(&st)};
	return rc;
}

/* --- walking --------------------------------------------------------------------------------------------------------------- */

struct walk {
	const struct local *local;
	const char *prefix;
	int (*file)(struct walk *w, const char *path, const char *key, const struct stat *st, struct error *err);
	void (*dir_done)(const char *path); /* after everything below it; may be NULL */
	void *ctx;
	int (*each)(void *ctx, const struct driver_object *o, struct error *err);
	int64_t older_than_ms;
	unsigned count;
};

static void closedirp(DIR **d)
{
	if (*d)
		closedir(*d);
}

/* Whether a key below ${key} (a directory's when is_dir) can begin with the prefix. */
static bool may_match(const struct walk *w, const char *key, bool is_dir)
{
	size_t n = strlen(key), m = strlen(w->prefix);

	if (n >= m)
		return strncmp(key, w->prefix, m) == 0;
	return is_dir && strncmp(key, w->prefix, n) == 0 && w->prefix[n] == '/';
}

static int walk_dir(struct walk *w, const char *path, const char *key, int depth, struct error *err);

static int walk_entry(struct walk *w, const char *dir, const char *dir_key, const char *name, int depth, struct error *err)
{
	char *path cleanup(mem_freep) = io_path_join(dir, name);
	char *key cleanup(mem_freep) = *dir_key ? mem_printf("%s/%s", dir_key, name) : mem_strdup(name);
	struct stat st;

	if (!may_match(w, key, true) || (depth == 0 && strcmp(name, "lost+found") == 0))
		return 0;
	if (stat(path, &st) < 0) {
		if (errno == ENOENT || errno == ENOTDIR) /* removed meanwhile, or a symbolic link to nowhere */
			return 0;
		return err_sys(err, "could not examine file \"%s\"", path);
	}
	if (S_ISDIR(st.st_mode)) {
		if (walk_dir(w, path, key, depth + 1, err) < 0)
			return -1;
		if (w->dir_done)
			w->dir_done(path);
		return 0;
	}
	return S_ISREG(st.st_mode) && may_match(w, key, false) ? w->file(w, path, key, &st, err) : 0;
}

static int walk_dir(struct walk *w, const char *path, const char *key, int depth, struct error *err)
{
	DIR *d cleanup(closedirp) = opendir(path);
	struct dirent *e;

	if (!d && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	if (!d)
		return err_sys(err, "could not open directory \"%s\"", path);
	if (depth > MAX_DEPTH)
		return err_set(err, ERR_IO, "directory \"%s\" is nested too deeply", path);
	while (errno = 0, (e = readdir(d)) != NULL) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (walk_entry(w, path, key, e->d_name, depth, err) < 0)
			return -1;
	}
	if (errno)
		return err_sys(err, "could not read directory \"%s\"", path);
	return 0;
}

static int list_file(struct walk *w, const char *path, const char *key, const struct stat *st, struct error *err)
{
	const char *slash = strrchr(key, '/');
	struct driver_object o = {.key = key, .size_bytes = (uint64_t)st->st_size, .modified_at_ms = modified_ms(st)};

	(void)path;
	return is_temporary(slash ? slash + 1 : key) ? 0 : w->each(w->ctx, &o, err);
}

static int local_list(struct driver *d, const char *prefix,
	int (*each)(void *ctx, const struct driver_object *o, struct error *err), void *ctx, struct error *err)
{
	struct local *l = local_of(d);
	struct walk w = {.local = l, .prefix = prefix, .file = list_file, .each = each, .ctx = ctx};

	if (check_cancel(l, err) < 0)
		return -1;
	return walk_dir(&w, l->dir, "", 0, err);
}

/* --- removing -------------------------------------------------------------------------------------------------------------- */

static int local_remove(struct driver *d, const char *key, struct error *err)
{
	struct local *l = local_of(d);
	char *path cleanup(mem_freep) = NULL;
	int rc;

	if (!(path = key_path(l, key, err)))
		return -1;
	rc = io_remove_file(path, err);
	if (rc >= 0)
		remove_empty_parents(l, path);
	return rc;
}

static int sweep_file(struct walk *w, const char *path, const char *key, const struct stat *st, struct error *err)
{
	const char *slash = strrchr(key, '/');
	int fd cleanup(io_closep) = -1;

	if (!is_temporary(slash ? slash + 1 : key) || clock_utc_ms() - modified_ms(st) < w->older_than_ms)
		return 0;
	fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0)
		return err_sys(err, "could not open file \"%s\"", path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno == EWOULDBLOCK)
			return 0;
		return err_sys(err, "could not lock file \"%s\"", path);
	}
	if (unlink(path) < 0 && errno != ENOENT)
		return err_sys(err, "could not remove file \"%s\"", path);
	w->count++;
	return 0;
}

static void remove_if_empty(const char *path)
{
	(void)rmdir(path); /* one that is not empty stays */
}

static int local_sweep(struct driver *d, const char *prefix, int64_t older_than_ms, unsigned *ret_count, struct error *err)
{
	struct local *l = local_of(d);
	struct walk w = {
		.local = l, .prefix = prefix, .file = sweep_file, .dir_done = remove_if_empty, .older_than_ms = older_than_ms};

	if (check_cancel(l, err) < 0 || walk_dir(&w, l->dir, "", 0, err) < 0)
		return -1;
	*ret_count = w.count;
	return 0;
}

/* --- opening --------------------------------------------------------------------------------------------------------------- */

static void local_close(struct driver *d)
{
	struct local *l = local_of(d);

	if (!d)
		return;
	free(l->dir);
	free(l);
}

static const struct driver_ops local_ops = {
	.name = "local",
	.put = local_put,
	.upload_begin = local_upload_begin,
	.upload_write = local_upload_write,
	.upload_commit = local_upload_commit,
	.upload_abort = local_upload_abort,
	.read_range = local_read_range,
	.stat = local_stat,
	.list = local_list,
	.remove = local_remove,
	.sweep = local_sweep,
	.close = local_close,
};

int driver_local_open(const char *dir, bool is_created, struct driver **ret, struct error *err)
{
	struct local *l;
	char *path cleanup(mem_freep) = NULL;
	struct stat st;

	if (is_created && io_make_dirs(dir, err) < 0)
		return -1;
	path = realpath(dir, NULL);
	if (!path && (errno == ENOENT || errno == ENOTDIR)) {
		err_set(err, ERR_CONFIG, "directory \"%s\" does not exist", dir);
		err->sys_errno = ENOENT;
		return -1;
	}
	if (!path || stat(path, &st) < 0)
		return err_sys(err, "could not examine directory \"%s\"", dir);
	if (!S_ISDIR(st.st_mode))
		return err_set(err, ERR_CONFIG, "\"%s\" is not a directory", dir);
	l = mem_zalloc(sizeof(*l));
	l->base.ops = &local_ops;
	l->base.features = DRIVER_EXCLUSIVE_CREATE | DRIVER_PARALLEL_RANGES;
	l->dir = take_ptr(path);
	*ret = &l->base;
	return 0;
}

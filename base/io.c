#include "base/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

/* The kernel moves at most a little under 2 GiB a call; larger runs go in pieces anyway. */
#define IO_CALL_MAX_BYTES ((size_t)1 << 30)

void io_closep(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd); /* was only read: nothing can be lost */
	*fd = -1;
	errno = saved;
}

int io_close(int *fd, const char *path, struct error *err)
{
	int was = *fd;

	*fd = -1;
	/* After EINTR Linux has released the descriptor all the same; a second close() could hit another thread's. */
	if (was >= 0 && close(was) < 0 && errno != EINTR)
		return err_sys(err, "could not close file \"%s\"", path);
	return 0;
}

int io_write_full(int fd, const void *p, size_t n, const char *path, struct error *err)
{
	const char *at = p;

	while (n > 0) {
		ssize_t done = write(fd, at, n < IO_CALL_MAX_BYTES ? n : IO_CALL_MAX_BYTES);

		if (done < 0 && errno == EINTR)
			continue;
		if (done == 0)
			errno = ENOSPC; /* no device does this; going on would never end */
		if (done <= 0)
			return err_sys(err, "could not write file \"%s\"", path);
		at += done;
		n -= (size_t)done;
	}
	return 0;
}

/* ${offset} -1: from where the descriptor stands. */
static ssize_t read_full(int fd, void *p, size_t n, off_t offset, const char *path, struct error *err)
{
	char *at = p;
	size_t got = 0;

	while (got < n) {
		size_t want = n - got < IO_CALL_MAX_BYTES ? n - got : IO_CALL_MAX_BYTES;
		ssize_t done = offset < 0 ? read(fd, at + got, want) : pread(fd, at + got, want, offset + (off_t)got);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return err_sys(err, "could not read file \"%s\"", path);
		if (done == 0)
			break;
		got += (size_t)done;
	}
	return (ssize_t)got;
}

ssize_t io_read_full(int fd, void *p, size_t n, const char *path, struct error *err)
{
	return read_full(fd, p, n, -1, path, err);
}

ssize_t io_pread_full(int fd, void *p, size_t n, off_t offset, const char *path, struct error *err)
{
	return read_full(fd, p, n, offset, path, err);
}

int io_read_file(const char *path, struct buf *b, struct error *err)
{
	int fd cleanup(io_closep) = open(path, O_RDONLY | O_CLOEXEC);
	size_t step = 64 * 1024;
	struct stat st;
	ssize_t got;

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0)
		return err_sys(err, "could not open file \"%s\"", path);
	/* One byte more than the size: the end of the file shows in the first read. */
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0)
		step = (size_t)st.st_size + 1;
	do {
		if (buf_reserve(b, 1, err) < 0)
			return err_context(err, "could not read file \"%s\"", path);
		if (b->cap - b->len <= step) {
			size_t max = b->max ? b->max : BUF_DEFAULT_MAX, left = max - b->len - 1;

			if (buf_reserve(b, step < left ? step : left, err) < 0)
				return err_context(err, "could not read file \"%s\"", path);
		}
		got = io_read_full(fd, b->data + b->len, b->cap - b->len - 1, path, err);
		if (got < 0)
			return -1;
		b->len += (size_t)got;
		b->data[b->len] = '\0';
	} while (got > 0);
	return 1;
}

int io_fsync(int fd, const char *path, struct error *err)
{
	/* Never repeated: after a failure the kernel may have dropped the dirty pages, and a second call would report success. */
	if (fsync(fd) < 0)
		return err_sys(err, "could not fsync file \"%s\"", path);
	return 0;
}

int io_fdatasync(int fd, const char *path, struct error *err)
{
	if (fdatasync(fd) < 0)
		return err_sys(err, "could not fsync file \"%s\"", path);
	return 0;
}

int io_sync_dir(const char *path, struct error *err)
{
	int fd cleanup(io_closep) = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(err, "could not open directory \"%s\"", path);
	/* EINVAL, EBADF: a file system that has no such thing as syncing a directory. */
	if (fsync(fd) < 0 && errno != EINVAL && errno != EBADF)
		return err_sys(err, "could not fsync directory \"%s\"", path);
	return 0;
}

static int sync_parent(const char *path, struct error *err)
{
	char *dir cleanup(mem_freep) = io_path_dir(path);

	return io_sync_dir(dir, err);
}

int io_write_temporary(const char *tmp, const void *p, size_t n,
	int (*prepare)(const void *ctx, int fd, const char *tmp, struct error *err), const void *ctx, struct error *err)
{
	int fd cleanup(io_closep) = -1;

	/* Not truncated but removed: a leftover may be a link, or have another mode. */
	if (unlink(tmp) < 0 && errno != ENOENT)
		return err_sys(err, "could not remove file \"%s\"", tmp);
	fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_sys(err, "could not create file \"%s\"", tmp);
	if (prepare(ctx, fd, tmp, err) < 0 || io_write_full(fd, p, n, tmp, err) < 0 || io_fsync(fd, tmp, err) < 0)
		return -1;
	return io_close(&fd, tmp, err);
}

static int set_mode(const void *ctx, int fd, const char *path, struct error *err)
{
	const mode_t *mode = ctx;

	return fchmod(fd, *mode) < 0 ? err_sys(err, "could not set permissions of file \"%s\"", path) : 0;
}

int io_replace_file(const char *path, const void *p, size_t n, mode_t mode, struct error *err)
{
	char *tmp cleanup(mem_freep) = mem_printf("%s.tmp", path);

	if (io_write_temporary(tmp, p, n, set_mode, &mode, err) < 0)
		goto failed;
	if (rename(tmp, path) < 0) {
		(void)err_sys(err, "could not rename file \"%s\" to \"%s\"", tmp, path);
		goto failed;
	}
	return sync_parent(path, err);
failed:
	(void)unlink(tmp); /* the error that stands tells more */
	return -1;
}

static int make_dir(const char *path, struct error *err)
{
	struct stat st;

	if (mkdir(path, 0700) == 0)
		return sync_parent(path, err);
	if (errno != EEXIST)
		return err_sys(err, "could not create directory \"%s\"", path);
	if (stat(path, &st) < 0)
		return err_sys(err, "could not stat \"%s\"", path);
	if (!S_ISDIR(st.st_mode)) {
		errno = ENOTDIR;
		return err_sys(err, "could not create directory \"%s\"", path);
	}
	return 0;
}

int io_make_dirs(const char *path, struct error *err)
{
	char *part cleanup(mem_freep) = mem_strdup(path);
	struct stat st;
	char *slash;

	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		return 0; /* the usual case, also where a parent may not be searched for writing */
	for (slash = strchr(part + (*part == '/'), '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (make_dir(part, err) < 0)
			return -1;
		*slash = '/';
	}
	if (part[strlen(part) - (*part ? 1 : 0)] == '/')
		return 0; /* the loop has made it */
	return make_dir(part, err);
}

static int remove_entries(int dir_fd, const char *path, struct error *err);

/* ${path} is for the message; ${name} is what stands in ${dir_fd}. */
static int remove_at(int dir_fd, const char *name, const char *path, struct error *err)
{
	int fd;

	if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM) /* EPERM is what POSIX says for a directory */
		return err_sys(err, "could not remove file \"%s\"", path);
	fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, "could not open directory \"%s\"", path);
	if (remove_entries(fd, path, err) < 0)
		return -1;
	if (unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return err_sys(err, "could not remove directory \"%s\"", path);
	return 0;
}

/* Takes ${dir_fd}. */
static int remove_entries(int dir_fd, const char *path, struct error *err)
{
	DIR *dir = fdopendir(dir_fd);
	struct dirent *de;
	int rc = 0;

	if (!dir) {
		(void)err_sys(err, "could not read directory \"%s\"", path);
		close(dir_fd); /* read only */
		return -1;
	}
	while (rc == 0 && (errno = 0, de = readdir(dir))) {
		char *below cleanup(mem_freep) = NULL;

		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		below = io_path_join(path, de->d_name);
		rc = remove_at(dirfd(dir), de->d_name, below, err);
	}
	if (rc == 0 && errno)
		rc = err_sys(err, "could not read directory \"%s\"", path);
	(void)closedir(dir); /* read only */
	return rc;
}

int io_remove_tree(const char *path, struct error *err)
{
	return remove_at(AT_FDCWD, path, path, err);
}

int io_remove_file(const char *path, struct error *err)
{
	if (unlink(path) < 0)
		return errno == ENOENT ? 0 : err_sys(err, "could not remove file \"%s\"", path);
	return sync_parent(path, err) < 0 ? -1 : 1;
}

static void closedirp(DIR **d)
{
	if (*d)
		(void)closedir(*d); /* read only */
}

int io_each_name(const char *dir, int (*visit)(void *ctx, const char *dir, const char *name, struct error *err), void *ctx,
	struct error *err)
{
	DIR *d cleanup(closedirp) = opendir(dir);
	struct dirent *e;

	if (!d)
		return errno == ENOENT ? 0 : err_sys(err, "could not open directory \"%s\"", dir);
	while ((errno = 0, e = readdir(d))) {
		int rc = e->d_name[0] == '.' ? 0 : visit(ctx, dir, e->d_name, err);

		if (rc != 0)
			return rc;
	}
	return errno == 0 ? 0 : err_sys(err, "could not read directory \"%s\"", dir);
}

/* Labels and the like (security.*, trusted.*) the system sets by its own rules, and may refuse. */
static int copy_attribute(int from, int to, const char *name, const char *path, struct error *err)
{
	char value[XATTR_SIZE_MAX];
	ssize_t n = fgetxattr(from, name, value, sizeof(value));
	bool is_ours = strncmp(name, "user.", 5) == 0 || strncmp(name, "system.", 7) == 0;

	if (n >= 0 && fsetxattr(to, name, value, (size_t)n, 0) == 0)
		return 0;
	return is_ours ? err_sys(err, "could not copy attribute \"%s\" of \"%s\"", name, path) : 0;
}

int io_copy_attributes(int from, int to, const char *path, struct error *err)
{
	char names[XATTR_LIST_MAX];
	ssize_t n = flistxattr(from, names, sizeof(names));

	if (n < 0)
		return errno == ENOTSUP ? 0 : err_sys(err, "could not list the attributes of \"%s\"", path);
	for (const char *name = names; name < names + n; name += strlen(name) + 1)
		if (copy_attribute(from, to, name, path, err) < 0)
			return -1;
	return 0;
}

char *io_path_join(const char *dir, const char *name)
{
	size_t n = strlen(dir);

	return mem_printf("%s%s%s", dir, n && dir[n - 1] == '/' ? "" : "/", name);
}

int io_path_absolute(const char *path, char **ret, struct error *err)
{
	char *cwd cleanup(mem_freep) = *path == '/' ? NULL : getcwd(NULL, 0);

	if (*path != '/' && !cwd)
		return err_sys(err, "could not find out the current directory");
	*ret = cwd ? io_path_join(cwd, path) : mem_strdup(path);
	return 0;
}

char *io_path_dir(const char *path)
{
	size_t n = strlen(path);

	while (n > 1 && path[n - 1] == '/') /* "a/b/" names b */
		n--;
	while (n > 0 && path[n - 1] != '/')
		n--;
	if (n == 0)
		return mem_strdup(".");
	while (n > 1 && path[n - 1] == '/')
		n--;
	return mem_strndup(path, n);
}

const char *io_home_dir(void)
{
	const char *home = getenv("HOME");
	const struct passwd *user;

	if (home && *home == '/')
		return home;
	user = getpwuid(geteuid());
	return user && user->pw_dir && *user->pw_dir == '/' ? user->pw_dir : NULL;
}

/*
 * Files: whole reads and writes, durable creation, directories.  Files are made 0600, directories 0700.
 *
 * "Durable" means: on stable storage, name and content, when the function returns 0.
 */
#ifndef BASE_IO_H
#define BASE_IO_H

#include <sys/types.h>
#include "base/buf.h"

/* For cleanup(io_closep): closes what is read only; files that were written go through io_close(), whose result counts. */
void io_closep(int *fd);
/* Closes *fd and sets it to -1.  ${path} is for the message. */
int io_close(int *fd, const char *path, struct error *err) must_check;

int io_write_full(int fd, const void *p, size_t n, const char *path, struct error *err) must_check;
/* Reads until ${n} bytes or end of file; returns the bytes read or -1. */
ssize_t io_read_full(int fd, void *p, size_t n, const char *path, struct error *err) must_check;
ssize_t io_pread_full(int fd, void *p, size_t n, off_t offset, const char *path, struct error *err) must_check;

/* Whole file into ${b} (appended, within b->max).  1 read, 0 missing, -1 error. */
int io_read_file(const char *path, struct buf *b, struct error *err) must_check;
/* Durable replacement of ${path}: temporary name beside it, fsync, rename, directory sync.  A leftover temporary file of an
 * earlier attempt is overwritten. */
int io_replace_file(const char *path, const void *p, size_t n, mode_t mode, struct error *err) must_check;
/* For whoever looks before the rename: ${tmp} is made anew, with its content on stable storage, its name not yet.  ${prepare} is given the empty
 * file, 0600: whose it is and who may read it is settled before anything is in it.  After a failure a part of it may be there. */
int io_write_temporary(const char *tmp, const void *p, size_t n,
	int (*prepare)(const void *ctx, int fd, const char *tmp, struct error *err), const void *ctx,
	struct error *err) must_check;

int io_fsync(int fd, const char *path, struct error *err) must_check;
int io_fdatasync(int fd, const char *path, struct error *err) must_check;
int io_sync_dir(const char *path, struct error *err) must_check;
/* Makes ${path} and what is missing above it, durable; a directory that exists is left as it is. */
int io_make_dirs(const char *path, struct error *err) must_check;
int io_remove_tree(const char *path, struct error *err) must_check; /* missing is success; never follows a symbolic link */
int io_remove_file(const char *path, struct error *err) must_check; /* 1 removed, 0 was missing, -1 error; directory synced */
/* Calls ${visit} for every name in ${dir} that does not begin with a dot, in no order; what is not 0 ends it and is returned.  A directory that
 * is missing is empty. */
int io_each_name(const char *dir, int (*visit)(void *ctx, const char *dir, const char *name, struct error *err), void *ctx,
	struct error *err) must_check;
/* The extended attributes of an open file or directory, access control lists among them; ${path} is for messages. */
int io_copy_attributes(int from, int to, const char *path, struct error *err) must_check;

char *io_path_join(const char *dir, const char *name) must_check; /* malloc'd */
/* A path that stays the same wherever a later process is started: malloc'd. */
int io_path_absolute(const char *path, char **ret, struct error *err) must_check;
char *io_path_dir(const char *path) must_check; /* malloc'd; "." where there is none */
/* HOME, or what the user database says where cron or a service manager has set none; NULL when neither is absolute.  Borrowed; not for
 * threads. */
const char *io_home_dir(void);

#endif

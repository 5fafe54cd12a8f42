#include "orchestrator/stack/edit_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crashpoint.h"
#include "base/io.h"

#define TEXT_MAX_BYTES ((size_t)4 << 20)

/* --- reading --------------------------------------------------------------------------------------------------------------- */

/* Where the links lead to; of a file that is missing, its directory's real path and the name. */
static int resolve(const char *path, char **ret, struct error *err)
{
	char *dir cleanup(mem_freep) = NULL, *real_dir cleanup(mem_freep) = NULL;
	const char *slash = strrchr(path, '/');
	struct stat st;

	*ret = realpath(path, NULL);
	if (*ret)
		return 0;
	if (errno != ENOENT)
		return err_sys(err, "could not open file \"%s\"", path);
	if (lstat(path, &st) == 0)
		return err_set(err, ERR_CONFIG, "\"%s\" is a symbolic link that leads nowhere", path);
	dir = io_path_dir(path);
	real_dir = realpath(dir, NULL);
	if (!real_dir)
		return err_sys(err, "could not open directory \"%s\"", dir);
	*ret = io_path_join(real_dir, slash ? slash + 1 : path);
	return 0;
}

/* Content and what the inode says, of the same moment. */
static int read_once(const char *path, struct buf *text, struct stat *ret, struct error *err)
{
	int fd cleanup(io_closep) = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t got;

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0 || fstat(fd, ret) < 0)
		return err_sys(err, "could not open file \"%s\"", path);
	if (!S_ISREG(ret->st_mode))
		return err_set(err, ERR_CONFIG, "\"%s\" is no regular file", path);
	if (ret->st_size > (off_t)TEXT_MAX_BYTES)
		return err_set(err, ERR_CONFIG, "file \"%s\" is larger than %zu bytes", path, TEXT_MAX_BYTES);
	if (buf_reserve(text, TEXT_MAX_BYTES < (size_t)ret->st_size + 4096 ? TEXT_MAX_BYTES : (size_t)ret->st_size + 4096, err) <
		0)
		return -1;
	got = io_read_full(fd, text->data, text->cap - 1, path, err);
	if (got < 0)
		return -1;
	text->len = (size_t)got;
	text->data[got] = '\0';
	return 1;
}

static void digest(const struct buf *text, char out[SHA256_HEX_BYTES])
{
	uint8_t sum[SHA256_BYTES];

	sha256_of(text->data ? text->data : "", text->len, sum);
	(void)hex_encode(sum, sizeof(sum), out);
}

int edit_file_read(const char *path, struct edit_file *ret, struct error *err)
{
	int found;

	*ret = (struct edit_file){.path = mem_strdup(path)};
	found = resolve(path, &ret->real, err) < 0 ? -1 : read_once(ret->real, &ret->text, &ret->st, err);
	if (found < 0) {
		edit_file_release(ret);
		return -1;
	}
	ret->is_there = found > 0;
	digest(&ret->text, ret->sha256);
	return found;
}

struct edit_text edit_file_text(const struct edit_file *f)
{
	return (struct edit_text){f->text.data ? f->text.data : "", f->text.len};
}

void edit_file_release(struct edit_file *f)
{
	if (f->text.data)
		explicit_bzero(f->text.data, f->text.cap);
	buf_release(&f->text);
	free(f->path);
	free(f->real);
	*f = (struct edit_file){0};
}

/* --- writing --------------------------------------------------------------------------------------------------------------- */

static char *temporary(const struct edit_file *f)
{
	char *dir cleanup(mem_freep) = io_path_dir(f->real);

	return mem_printf("%s/.%s.holdfast.tmp", strcmp(dir, "/") == 0 ? "" : dir, strrchr(f->real, '/') + 1);
}

/* Mode last: giving a file away clears bits of it. */
static int take_after(const void *ctx, int fd, const char *tmp, struct error *err)
{
	const struct edit_file *f = ctx;
	int from cleanup(io_closep) = -1;

	(void)tmp;
	if (!f->is_there)
		return 0;
	from = open(f->real, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (from < 0)
		return err_sys(err, "could not open file \"%s\"", f->path);
	if (fchown(fd, f->st.st_uid, f->st.st_gid) < 0)
		return err_sys(err, "could not keep the owner of file \"%s\"", f->path);
	if (io_copy_attributes(from, fd, f->path, err) < 0)
		return -1;
	if (fchmod(fd, f->st.st_mode & 07777) < 0)
		return err_sys(err, "could not keep the mode of file \"%s\"", f->path);
	return 0;
}

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_mode == b->st_mode && a->st_uid == b->st_uid &&
		a->st_gid == b->st_gid;
}

/* Whether the file is still what was read. */
static int check_unchanged(const struct edit_file *f, struct error *err)
{
	struct edit_file now cleanup(edit_file_release) = {0};
	int found = edit_file_read(f->path, &now, err);

	if (found < 0)
		return -1;
	if ((found > 0) == f->is_there && strcmp(now.real, f->real) == 0 &&
		(!f->is_there || (is_same(&now.st, &f->st) && strcmp(now.sha256, f->sha256) == 0)))
		return 0;
	err_set(err, ERR_CONFLICT, "file \"%s\" was changed by somebody else meanwhile", f->path);
	return err_hint(err, "Nothing was written.  Run it again when nobody edits the file.");
}

static int sync_dir(const struct edit_file *f, struct error *err)
{
	char *dir cleanup(mem_freep) = io_path_dir(f->real);

	return io_sync_dir(dir, err);
}

int edit_file_write(const struct edit_file *f, const void *p, size_t n, struct error *err)
{
	char *tmp cleanup(mem_freep) = temporary(f);

	if (f->is_there && f->st.st_nlink > 1)
		return err_set(err, ERR_CONFIG, "file \"%s\" has %llu names", f->path, (unsigned long long)f->st.st_nlink),
		       err_hint(err, "Replace the hard links by copies or symbolic links.");
	if (io_write_temporary(tmp, p, n, take_after, f, err) < 0)
		goto failed;
	crash_point("edit");
	if (check_unchanged(f, err) < 0)
		goto failed;
	if (rename(tmp, f->real) < 0) {
		(void)err_sys(err, "could not rename file \"%s\" to \"%s\"", tmp, f->real);
		goto failed;
	}
	crash_point("edit");
	return sync_dir(f, err);
failed:
	(void)unlink(tmp); /* the error that stands tells more */
	return -1;
}

int edit_file_remove(const struct edit_file *f, struct error *err)
{
	if (check_unchanged(f, err) < 0)
		return -1;
	return io_remove_file(f->real, err) < 0 ? -1 : 0;
}

int edit_file_sweep(const struct edit_file *f, struct error *err)
{
	char *tmp cleanup(mem_freep) = temporary(f);

	return io_remove_file(tmp, err) < 0 ? -1 : 0;
}

int edit_file_settle(const struct edit_file *f, struct error *err)
{
	return sync_dir(f, err);
}

/*
 * The walk over a tree on disk.  Each directory is opened in the one above it and never by its path, so that whoever renames or links
 * meanwhile leads it nowhere else; its names are read whole and sorted, and that list is all that is held of it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "storage/archive/tree_internal.h"

struct walking {
	const struct tree_walk *walk;
	struct buf path;   /* of the item */
	size_t root_bytes; /* of ${path}: the label and a slash */
};

struct names {
	char **list;
	size_t count, cap;
};

static void names_release(struct names *n)
{
	for (size_t i = 0; i < n->count; i++)
		free(n->list[i]);
	free(n->list);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The path on disk, for messages; malloc'd. */
static char *disk_path(const struct walking *g)
{
	const char *below = g->path.len > g->root_bytes ? g->path.data + g->root_bytes : NULL;

	return below ? io_path_join(g->walk->path, below) : mem_strdup(g->walk->path);
}

static int read_names(const struct walking *g, int fd, struct names *ret, struct error *err)
{
	int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = own < 0 ? NULL : fdopendir(own);
	struct dirent *de;
	char *path cleanup(mem_freep) = NULL;

	if (dir) {
		while ((errno = 0, de = readdir(dir))) {
			if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
				continue;
			ret->list = mem_grow(ret->list, &ret->cap, ret->count + 1, sizeof(*ret->list));
			ret->list[ret->count++] = mem_strdup(de->d_name);
		}
	}
	if (!dir || errno) {
		path = disk_path(g);
		(void)err_sys(err, "could not read directory \"%s\"", path);
		if (dir)
			(void)closedir(dir); /* read only */
		else if (own >= 0)
			close(own); /* read only */
		return -1;
	}
	(void)closedir(dir); /* read only */
	if (ret->count > 1)
		qsort(ret->list, ret->count, sizeof(*ret->list), by_name);
	return 0;
}

/* --- what is left out ------------------------------------------------------------------------------------------------------ */

static bool pattern_fits(const char *pattern, const char *path, const char *name, bool is_directory)
{
	size_t n = strlen(pattern);
	bool is_of_directories = n > 1 && pattern[n - 1] == '/';
	char *bare cleanup(mem_freep) = mem_strndup(pattern, is_of_directories ? n - 1 : n);

	if (is_of_directories && !is_directory)
		return false;
	if (!strchr(bare, '/'))
		return fnmatch(bare, name, 0) == 0;
	return fnmatch(*bare == '/' ? bare + 1 : bare, path, FNM_PATHNAME) == 0;
}

static const char *excluded_by(const struct walking *g, const struct tree_item *item)
{
	const char *path = item->path + g->root_bytes;

	if (g->path.len <= g->root_bytes) /* the root itself */
		return NULL;
	for (const char *const *p = g->walk->exclude; p && *p; p++)
		if (pattern_fits(*p, path, item->name, S_ISDIR(item->st.st_mode)))
			return *p;
	return NULL;
}

static int miss(const struct walking *g, enum tree_miss why, const struct tree_item *item, const char *pattern, struct error *err)
{
	return g->walk->miss ? g->walk->miss(g->walk->ctx, why, item, pattern, err) : 0;
}

/* --- walking --------------------------------------------------------------------------------------------------------------- */

static int walk_item(struct walking *g, int dir_fd, const char *name, dev_t device, struct error *err);

static int walk_names(struct walking *g, int fd, dev_t device, struct error *err)
{
	struct names names cleanup(names_release) = {0};
	size_t before = g->path.len;

	if (read_names(g, fd, &names, err) < 0)
		return -1;
	for (size_t i = 0; i < names.count; i++) {
		buf_printf(&g->path, "/%s", names.list[i]);
		if (walk_item(g, fd, names.list[i], device, err) < 0)
			return -1;
		g->path.data[g->path.len = before] = '\0';
	}
	return 0;
}

static int walk_directory(struct walking *g, struct tree_item *item, dev_t device, struct error *err)
{
	int fd cleanup(io_closep) = openat(item->dir_fd, item->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	char *path cleanup(mem_freep) = NULL;

	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
		return miss(g, TREE_VANISHED, item, NULL, err);
	if (fd < 0) {
		path = disk_path(g);
		return err_sys(err, "could not open directory \"%s\"", path);
	}
	item->fd = fd;
	if (g->walk->each(g->walk->ctx, item, err) < 0)
		return -1;
	if (g->walk->is_one_filesystem && item->st.st_dev != device)
		return miss(g, TREE_MOUNT, item, NULL, err);
	return walk_names(g, fd, device, err);
}

static int walk_item(struct walking *g, int dir_fd, const char *name, dev_t device, struct error *err)
{
	struct tree_item item = {.path = g->path.data, .dir_fd = dir_fd, .name = name, .fd = -1};
	char *path cleanup(mem_freep) = NULL;
	const char *pattern;

	if (g->walk->cancel && cancel_check(g->walk->cancel, err) < 0)
		return -1;
	if (fstatat(dir_fd, name, &item.st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno == ENOENT)
			return miss(g, TREE_VANISHED, &item, NULL, err);
		path = disk_path(g);
		return err_sys(err, "could not stat \"%s\"", path);
	}
	pattern = excluded_by(g, &item);
	if (pattern)
		return miss(g, TREE_EXCLUDED, &item, pattern, err);
	if (S_ISDIR(item.st.st_mode))
		return walk_directory(g, &item, device, err);
	if (!S_ISREG(item.st.st_mode) && !S_ISLNK(item.st.st_mode))
		return miss(g, TREE_SPECIAL, &item, NULL, err);
	return g->walk->each(g->walk->ctx, &item, err);
}

int tree_walk(const struct tree_walk *w, struct error *err)
{
	struct walking g = {.walk = w};
	const char *slash = strrchr(w->path, '/');
	struct stat st;
	int rc;

	if (lstat(w->path, &st) < 0)
		return err_sys(err, "could not stat \"%s\"", w->path);
	buf_puts(&g.path, w->label);
	if (!S_ISDIR(st.st_mode))
		buf_printf(&g.path, "/%s", slash ? slash + 1 : w->path);
	g.root_bytes = g.path.len + 1;
	rc = walk_item(&g, AT_FDCWD, w->path, st.st_dev, err);
	buf_release(&g.path);
	return rc;
}

int tree_open_file(const struct tree_item *item, int *ret_fd, struct stat *ret_st, struct error *err)
{
	int fd = openat(item->dir_fd, item->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	int rc;

	if (fd < 0) {
		if (errno == ENOENT || errno == ELOOP || errno == ENXIO)
			return 0;
		return err_sys(err, "could not open file \"%s\"", item->path);
	}
	rc = fstat(fd, ret_st) < 0 ? err_sys(err, "could not stat \"%s\"", item->path) : S_ISREG(ret_st->st_mode);
	if (rc > 0)
		*ret_fd = fd;
	else
		close(fd); /* read only */
	return rc;
}

/* --- names of one file ----------------------------------------------------------------------------------------------------- */

char *tree_links_seen(struct tree_links *l, const struct stat *st, const char *path)
{
	struct archive_entry *e, *spare = NULL, *mine;
	char *first = NULL;

	if (st->st_nlink < 2)
		return NULL;
	if (!l->resolver) {
		l->resolver = archive_entry_linkresolver_new();
		if (l->resolver)
			archive_entry_linkresolver_set_strategy(l->resolver, ARCHIVE_FORMAT_TAR);
	}
	e = mine = archive_entry_new();
	if (!e || !l->resolver) {
		archive_entry_free(mine);
		return NULL;
	}
	archive_entry_copy_stat(e, st);
	archive_entry_copy_pathname(e, path);
	archive_entry_linkify(l->resolver, &e, &spare);
	if (archive_entry_hardlink(mine))
		first = mem_strdup(archive_entry_hardlink(mine));
	archive_entry_free(mine);
	return first;
}

void tree_links_release(struct tree_links *l)
{
	if (l->resolver)
		archive_entry_linkresolver_free(l->resolver);
	l->resolver = NULL;
}

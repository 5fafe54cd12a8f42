/*
 * What the parts of storage/archive/tree*.c share: the walk over a tree on disk, its records, the entries of a tree in the archive.
 * For storage/archive/ alone.
 */
#ifndef STORAGE_TREE_INTERNAL_H
#define STORAGE_TREE_INTERNAL_H

#include <sys/stat.h>

#include "storage/archive/format.h"
#include "storage/archive/tree.h"

#define TREE_TOP "files/"

/* --- walking a tree on disk, in the order of names (tree_walk.c) --- */

struct tree_item {
	const char *path; /* "<label>/a/b" */
	int dir_fd;       /* ${name} is in it; AT_FDCWD for the root, whose name is absolute */
	const char *name;
	int fd; /* of a directory: it, open for reading; else -1 */
	struct stat st;
};

enum tree_miss { TREE_VANISHED, TREE_SPECIAL, TREE_EXCLUDED, TREE_MOUNT };

struct tree_walk {
	const char *label, *path; /* of the root */
	const char *const *exclude;
	bool is_one_filesystem;
	struct cancel *cancel;
	/* A file, directory or symbolic link; a directory before what is in it. */
	int (*each)(void *ctx, const struct tree_item *item, struct error *err);
	/* What is passed over; ${pattern} is the one that excludes it.  NULL: not told. */
	int (*miss)(void *ctx, enum tree_miss why, const struct tree_item *item, const char *pattern, struct error *err);
	void *ctx;
};
int tree_walk(const struct tree_walk *w, struct error *err) must_check;

/* Opens the regular file ${item} without following links or waiting for a pipe; *ret_st is what was opened.  1, 0 when it is no
 * longer there, or no file any more, -1. */
int tree_open_file(const struct tree_item *item, int *ret_fd, struct stat *ret_st, struct error *err) must_check;

/* First names of files with several.  */
struct tree_links {
	struct archive_entry_linkresolver *resolver;
};
/* The path under which this file was seen before, malloc'd, or NULL when it is the first time. */
char *tree_links_seen(struct tree_links *l, const struct stat *st, const char *path);
void tree_links_release(struct tree_links *l);

/* --- records and digest (tree_digest.c) --- */

struct tree_record {
	char type; /* 'f', 'd', 'l', 'h' */
	const char *path;
	unsigned mode;
	int64_t mtime;
	uint64_t size;
	uint8_t sha256[SHA256_BYTES];
	const char *target;
};

/* What a tree adds up to. */
struct tree_sum {
	struct row_digest digest;
	uint64_t entries, files, bytes;
};
void tree_sum_add(struct tree_sum *sum, const struct tree_record *r);
/* ERR_CORRUPT: "files "<label>" <what> …". */
int tree_sum_compare(const struct tree_sum *sum, const struct inv_tree *t, const char *where, struct error *err) must_check;

/* --- entries of a tree in the archive (tree_read.c) --- */

struct tree_stream {
	const struct tree_source *source;
	size_t next; /* run */
	struct buf run;
	struct archive *archive;
	struct error failure;
	locale_t before;
	bool has_dirs; /* the thread works in ${work_fd}; runs are read in ${home_fd}, where the paths of a driver begin */
	int home_fd, work_fd;
};
int tree_stream_open(struct tree_stream *s, struct error *err) must_check; /* ${source} and the directories are set */
void tree_stream_close(struct tree_stream *s);

struct tree_entry {
	char type;
	const char *path;   /* "<label>/a/b" */
	const char *target; /* of a symbolic link; of a hard link: "<label>/…" */
	struct archive_entry *entry;
	char *path_owned, *target_owned;
};
/* 1, 0 at the end, -1.  Names and kinds are checked. */
int tree_stream_next(struct tree_stream *s, struct tree_entry *ret, struct error *err) must_check;
void tree_entry_release(struct tree_entry *e);
/* Hands on the blocks of the entry's content; those between them are holes. */
int tree_stream_data(struct tree_stream *s, const struct tree_entry *e,
	int (*each)(void *ctx, const void *p, size_t n, uint64_t offset, struct error *err), void *ctx,
	struct error *err) must_check;

#endif

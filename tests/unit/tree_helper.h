/*
 * For the tests of trees of files: a source tree, an archive it is saved in, and the tree that comes back.
 */
#ifndef TESTS_UNIT_TREE_HELPER_H
#define TESTS_UNIT_TREE_HELPER_H

#include "tests/unit/storage_helper.h"

#include "storage/archive/tree.h"

#define TREE_KEY "app/backups/1/backup.tar.zst"

struct trees {
	struct place place;
	char *source, *target; /* directories in the place */
	struct inventory inventory;
	struct archive_reader *reader;
	struct buf warnings; /* one a line */
	struct event_sink sink;
	uint64_t lost; /* attributes that tree_extract() could not put back */
	struct error err;
};
int trees_setup(void **state);
int trees_teardown(void **state);

/* Paths are below the source. */
void trees_mkdir(struct trees *t, const char *path, unsigned mode);
void trees_write(struct trees *t, const char *path, const void *p, size_t n);
void trees_text(struct trees *t, const char *path, const char *text);
void trees_symlink(struct trees *t, const char *path, const char *target);
char *trees_path(const struct trees *t, const char *path); /* malloc'd */

/* Saves ${path} of the source (NULL: all of it) between two members, as label "data", and opens the archive for reading. */
int trees_save(struct trees *t, const char *path, const char *const *exclude, struct error *err);
/* Extracts label "data" into the target and proves it. */
int trees_restore(struct trees *t, struct error *err);
/* Both, which must succeed. */
void trees_round_trip(struct trees *t);

/* Everything below ${dir}, one line each: mode, owner, links, size, blocks, time to the nanosecond, target, checksum. */
void trees_list(const char *dir, struct buf *out);
void trees_assert_same(const char *a, const char *b);

/* Runs a program in the place; its standard error must be empty. */
void trees_run(struct trees *t, const char *const *argv);

#endif

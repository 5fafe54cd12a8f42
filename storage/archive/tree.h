/*
 * Trees: directories and files of the stack, as entries of the archive's own tar under files/<label>/.
 *
 * In the archive.  A label is a tar of pax entries cut into runs (archive_member_begin_run): many small files share one, a large one
 * fills several, and all runs of a label lie one behind the other.  A run is at most TREE_RUN_BYTES of tar, so that whoever
 * writes or reads a tree holds no more than that, whatever is in it.  A label that is a directory has the entry files/<label>/ and
 * everything below; a label that is one file has the one entry files/<label>/<name>.
 *
 * What is kept: names, modes, owners (by name and number), times, extended attributes, POSIX ACLs, symbolic links as they are, hard
 * links among themselves, holes.  Pipes, sockets and devices are left out and listed.  Entries are in the order of their names, so
 * that two backups of the same tree are the same.
 *
 * The digest of a tree says what it holds, whatever the order: for each entry the first 16 bytes of SHA-256 over the fields below,
 * each ended by a zero byte, summed modulo 2^128.
 *
 *   file            f  path  mode  mtime  size  SHA-256 of the content
 *   directory       d  path  mode  mtime
 *   symbolic link   l  path  target
 *   hard link       h  path  path of the first name of the file
 *
 * Paths begin with the label; mode is octal with the permissions and the sticky bit; mtime is in whole seconds, since not every
 * file system keeps more.  Owners, set-id bits, attributes and ACLs are not in it: they are put back where the system allows it.
 */
#ifndef STORAGE_TREE_H
#define STORAGE_TREE_H

#include "base/event.h"
#include "storage/archive/archive.h"

#define TREE_RUN_BYTES ((size_t)16 << 20)

struct tree_options {
	const char *label; /* letters, digits, "_", ".", "-" */
	const char *path;  /* absolute; itself it may be a symbolic link, those below it are not followed */
	/*
	 * Left out, with everything below: NULL-terminated, may be NULL.  As in fnmatch(3).  A pattern without a slash is compared with
	 * each name, one with a slash with the path from the label's root, where "*" and "?" match no slash.  One that ends in a
	 * slash is for directories alone.
	 */
	const char *const *exclude;
	bool is_one_filesystem; /* what is mounted below is left out but for the empty directory */
	struct cancel *cancel;
	struct progress *progress; /* bytes: content of files; items: entries */
	struct event_sink *events; /* warnings */
	/* Takes a finished member into the list that the inventory will have, and says where; NULL: straight into ${inv}. */
	int (*note)(void *ctx, const struct inv_member *m, size_t *ret_index, struct error *err);
	void *ctx;
};

/*
 * Adds the tree to the archive, and to ${inv} one inv_tree and, in left_out, whatever is not in it or not as it was: files that
 * changed or vanished while they were read (a warning each), what was excluded, pipes, sockets, devices, mounts.  A file that may
 * not be read is an error (ERR_DENIED), unless it is excluded.
 * Nobody may append to ${w} meanwhile.  After a failure the archive is of no use.
 */
int archive_add_tree(struct archive_writer *w, const struct tree_options *o, struct inventory *inv, struct error *err) must_check;

/* Reads a tree from the archive and compares it with what ${t} says: checksums, entries, names, lengths, digest.  ERR_CORRUPT. */
struct tree_source {
	struct archive_reader *reader;
	const struct inventory *inventory;
	const struct inv_tree *tree;
	struct cancel *cancel;
	struct progress *progress;
	struct event_sink *events;
};
int tree_check(const struct tree_source *s, struct error *err) must_check;

/*
 * Unpacks a tree below the directory ${dir}, which exists, is the caller's alone and has no entry <label>: there it makes
 * <label>, or <label>/<name>.  No entry can leave ${dir}: absolute paths, "..", and whatever would go through a symbolic link are
 * refused with ERR_CORRUPT, and so is every kind of entry that archive_add_tree() does not write.
 * Owners are put back by root alone.  What the system would not take (owner, attribute, ACL) is a warning; *ret_warnings counts.
 * Not durable before the caller has synced.
 */
int tree_extract(const struct tree_source *s, const char *dir, uint64_t *ret_warnings, struct error *err) must_check;

/* Where tree_extract() has put what stood at ${t}->path: <dir>/<label>, or <dir>/<label>/<name>.  malloc'd. */
char *tree_object(const struct inv_tree *t, const char *dir) must_check;

/* Reads the tree at ${object} from the disk and compares it with ${t}'s digest.  ERR_CORRUPT where they differ. */
int tree_prove(const struct inv_tree *t, const char *object, struct cancel *cancel, struct progress *progress,
	struct error *err) must_check;

#endif

/*
 * A file that others own and read, replaced as a whole: it keeps its mode, owner, group, extended attributes and access control lists,
 * whoever opens it finds the old text or the new one, and a symbolic link stays a link (what it leads to is replaced).
 *
 * The new text is written beside the file as ".<name>.holdfast.tmp", synced, and renamed.  Before the rename the file is read once more:
 * what somebody else has changed since it was read is never overwritten (ERR_CONFLICT).  Two names of one file (hard links) would be
 * parted by a rename; that is refused.
 */
#ifndef STACK_EDIT_FILE_H
#define STACK_EDIT_FILE_H

#include <sys/stat.h>
#include "base/hash.h"
#include "orchestrator/stack/edit.h"

struct edit_file {
	char *path; /* as named; stands in messages */
	char *real; /* where the symbolic links lead to */
	bool is_there;
	struct buf text;
	struct stat st; /* of what was read */
	char sha256[SHA256_HEX_BYTES];
};

/* Reads it.  1, 0 there is no such file (${ret} can be written all the same), -1. */
int edit_file_read(const char *path, struct edit_file *ret, struct error *err) must_check;
struct edit_text edit_file_text(const struct edit_file *f);
/* Durably puts ${n} bytes in the place of what was read; one that was not there is made, 0600.  Nothing is left behind by a failure;
 * what a kill left is removed by the next call, or by edit_file_sweep(). */
int edit_file_write(const struct edit_file *f, const void *p, size_t n, struct error *err) must_check;
/* Removes the file that was read, unless it has changed since. */
int edit_file_remove(const struct edit_file *f, struct error *err) must_check;
/* For whoever finds done what an earlier attempt was killed at: that rename is on stable storage when this returns 0. */
int edit_file_settle(const struct edit_file *f, struct error *err) must_check;
int edit_file_sweep(const struct edit_file *f, struct error *err) must_check;
void edit_file_release(struct edit_file *f); /* wipes the text; for cleanup too */

#endif

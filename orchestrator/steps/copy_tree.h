/*
 * A copy of a directory or file as it lies: content, modes, owners, times, extended attributes (access control lists among them), symbolic
 * links as they are, hard links among themselves, holes.  Bytes are copied, not shared: a copy that shares blocks with its original is lost
 * with them.  Pipes are made anew; sockets are left out; a device is refused.
 *
 * The walk follows no symbolic link but the path itself.  Whatever changes while it is read fails with ERR_CONFLICT: half of a data
 * directory's old state is worth nothing.
 */
#ifndef STEPS_COPY_TREE_H
#define STEPS_COPY_TREE_H

#include <stdbool.h>
#include <stdint.h>
#include "base/cancel.h"
#include "base/error.h"
#include "base/event.h"

struct copy_tree {
	uint64_t entries, files, bytes; /* done so far */
	struct cancel *cancel;
	struct progress *progress;
	struct event_sink *events; /* may be NULL */
};
/* Copies ${from} to ${to}, which must not exist.  Not durable before the file system is synced.  After a failure a part may lie there. */
int copy_tree(const char *from, const char *to, struct copy_tree *c, struct error *err) must_check;

#endif

/*
 * Copying a backup set from one repository to another: what a repository that was out of reach is caught up with.
 *
 * Where the source can be read in plain text (it is not encrypted, or there is an identity), the archive is written anew, encrypted or
 * not as the target is configured, and its SHA-256 is compared with the manifest before the copy becomes a set.  Where it can not, and
 * both are encrypted to the same recipients, what is stored is copied as it is, and its checksum compared with the set's facts.
 *
 * The copy is committed as any set is: archive, set.json, manifest.  A set that the target has already is left as it is.
 */
#ifndef STORAGE_COPY_H
#define STORAGE_COPY_H

#include "base/event.h"
#include "storage/facts.h"

struct copy_options {
	struct repository *from, *to;
	const char *stack, *backup_id;
	const char *tag; /* of the upload: a run id */
	struct cancel *cancel;
	struct progress *progress; /* may be NULL */
};

/* 1 copied, *ret_bytes of them stored; 0 it was there already; -1.  What a killed copy left under the set's prefix is removed first.
 * ERR_CONFIG: there is no such set, or it cannot be read here; ERR_CORRUPT: the source is damaged, and nothing was committed. */
int set_copy(const struct copy_options *o, uint64_t *ret_bytes, struct error *err) must_check;

#endif

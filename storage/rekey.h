/*
 * Other recipients for existing sets: the header of an age file, which wraps its file key for each recipient, is made anew; what
 * follows it stays as it is.  In a place that can compose objects (S3) the encrypted rows do not travel: the new object is a first
 * part, of the new header and the first 5 MiB, and parts that the server copies from the old object.  Elsewhere they are streamed
 * into a new object that replaces the old one at once.
 *
 * What this is not: the file keys stay the same.  Who could open the set, and has a copy of it or of its file keys, still can.
 *
 * Order, so that after a kill at any point whoever could open the set still can, or whoever shall can:
 *   1. set.json says that the set is being rekeyed: from which recipients, to which, and the checksum of each header to come
 *   2. where a recipient is taken away, the manifest gets the old and the new ones
 *   3. the archive gets the new ones
 *   4. the manifest gets the new ones
 *   5. set.json names the new ones
 * A repeated rekey finds by the checksums what has been done, and so needs no identity of the new recipients.
 *
 * A hold keeps the set from being pruned meanwhile.  Two rekeys of one set at once damage nothing (each looks, before it replaces an
 * object, whether that is still the one it read), but one of them may fail.
 */
#ifndef STORAGE_REKEY_H
#define STORAGE_REKEY_H

#include "storage/repository.h"

#define REKEY_COPY_PART_BYTES ((uint64_t)256 << 20)

enum rekey_outcome {
	REKEY_DONE,
	REKEY_UNCHANGED,  /* it has exactly these recipients */
	REKEY_IMPOSSIBLE, /* ${reason} says why; nothing was changed */
};

struct rekey_options {
	uint64_t copy_part_bytes; /* 0: REKEY_COPY_PART_BYTES */
	struct progress *progress;
};

struct rekey_report {
	enum rekey_outcome outcome;
	size_t added, removed;             /* recipients, as far as set.json told */
	uint64_t sent_bytes, copied_bytes; /* that travelled from here; that the server copied */
	bool has_old_versions;             /* the bucket keeps what was replaced */
	char *reason, *hint;               /* of REKEY_IMPOSSIBLE; malloc'd */
};
void rekey_report_release(struct rekey_report *r);

/* What holds for all sets of one repository. */
struct rekey {
	struct repository *repository;
	struct rekey_options options;
	bool has_identity, is_locked, is_versioned;
};
/* ERR_CONFIG: the repository is not encrypted, or no recipients are configured. */
int rekey_begin(struct repository *r, const struct rekey_options *o, struct rekey *ret, struct error *err) must_check;

/*
 * Gives the set the recipients that are configured.  -1 after a failure, or when told to stop: then it is to be repeated; ERR_CORRUPT
 * where the archive is not what set.json says, and was left as it is.  ${ret} is to be released either way.
 */
int rekey_set(
	const struct rekey *k, const char *stack, const char *backup_id, struct rekey_report *ret, struct error *err) must_check;

const char *rekey_outcome_name(enum rekey_outcome outcome); /* "rekeyed", "unchanged", "impossible" */

#endif

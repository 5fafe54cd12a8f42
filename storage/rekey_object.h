/*
 * One age file that gets another header.  For rekey.c alone.
 */
#ifndef STORAGE_REKEY_OBJECT_H
#define STORAGE_REKEY_OBJECT_H

#include "storage/facts.h"
#include "storage/rekey.h"

struct rekey_object {
	char *key; /* as the place knows it */
	uint64_t size_bytes;
	struct buf header;  /* as it is, nonce included */
	struct age_key age; /* the file key where has_key */
	bool has_key;
};
void rekey_object_release(struct rekey_object *o);

/* Reads the header, without keys.  1, 0 there is no such object, -1. */
int rekey_object_read(struct driver *place, const char *key, struct rekey_object *ret, struct error *err) must_check;
/* The file key.  ERR_CONFIG: no identity fits. */
int rekey_object_unlock(struct rekey_object *o, const struct age_identities *identities, struct error *err) must_check;
/* Whether the place can replace the header without sending the rest. */
bool rekey_object_is_possible(const struct driver *place, const struct rekey_object *o);
/*
 * Puts ${header} before the body; afterwards ${o} is what is there.  ${body}: what the body must be, or NULL: it is compared wherever
 * all of it comes by.  ERR_CONFLICT: somebody else has replaced the object meanwhile.
 */
int rekey_object_replace(const struct rekey *k, struct rekey_object *o, const struct buf *header,
	const struct stored_archive *body, struct rekey_report *report, struct error *err) must_check;

#endif

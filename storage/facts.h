/*
 * set.json: what is known of a backup set without its manifest.  It lies beside the archive in plain text, also where archive and
 * manifest are encrypted, so that a host without an identity lists sets, checks what is stored, and prunes; and so that a list of many
 * sets in a remote place costs one small read each.
 *
 * Nothing in it is secret: sizes, counts, times, the public keys it was encrypted to.  The names of the database and its server's
 * version are left out where the set is encrypted.
 *
 * The archive's body is what a change of recipients leaves as it is: the whole object, or what follows the age header.  Its checksum
 * is XXH3-128, against rot; against forgery there are SHA-256 in the manifest and age itself.
 */
#ifndef STORAGE_FACTS_H
#define STORAGE_FACTS_H

#include "base/hash.h"
#include "storage/repository.h"

#define FACTS_FORMAT "holdfast-set/1"
#define BODY_DIGEST_BYTES XXH3_128_BYTES

/* Of an archive as it is stored. */
struct stored_archive {
	uint64_t header_bytes; /* of the age header without its nonce; 0 where it is not encrypted */
	uint64_t body_bytes;
	uint8_t body_digest[BODY_DIGEST_BYTES]; /* XXH3-128, canonical (big endian) */
};

struct set_facts {
	char *backup_id, *stack;
	int64_t started_at_ms, ended_at_ms; /* UTC */
	uint64_t tables, rows, content_bytes, archive_bytes /* in plain text */;
	uint64_t files, files_bytes;     /* of the stack */
	char *server_version, *database; /* NULL in an encrypted set */
	bool is_encrypted;
	char **recipients;             /* age1…, NULL-terminated; NULL in a plain set */
	struct stored_archive archive; /* without header_bytes: it changes with the recipients */
};
void set_facts_release(struct set_facts *f);

/* Whether two lists of recipients (NULL-terminated) name the same ones, at least one. */
bool set_facts_are_to(char *const *a, char *const *b);
/* The facts of a set whose archive lies in ${r} as ${a} says. */
void set_facts_of(const struct repository *r, const struct manifest *m, const struct stored_archive *a, struct set_facts *ret);
/* Stores them, exclusively.  The same facts there already are success (a repeated step); others are ERR_CONFLICT. */
int set_facts_store(struct repository *r, const struct set_facts *f, struct error *err) must_check;
/* 1, 0 there is no set.json, -1. */
int set_facts_load(
	struct repository *r, const char *stack, const char *backup_id, struct set_facts *ret, struct error *err) must_check;

/*
 * Checks the stored archive against the facts, without an identity: its size, and with VERIFY_CHECKSUMS every byte of its body.
 * ERR_CORRUPT names the archive.
 */
int set_facts_verify(struct repository *r, const struct set_facts *f, enum verify_level level, struct cancel *cancel,
	struct progress *progress, struct verify_report *ret, struct error *err) must_check;

#endif

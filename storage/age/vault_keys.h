/*
 * What a vault remembers of its objects: how long each header is, and the key once it was needed.  Bounded; the least used goes.
 *
 * An object may be replaced behind our back.  Its size and time, which every stat() brings, tell for entries that are looked up
 * with them; a reader whose chunks do not open forgets the entry and looks again.
 */
#ifndef STORAGE_AGE_VAULT_KEYS_H
#define STORAGE_AGE_VAULT_KEYS_H

#include <pthread.h>
#include "storage/age/age.h"
#include "storage/drivers/driver.h"

#define VAULT_KEYS_MAX 256

struct vault_entry; /* vault_keys.c */

struct vault_keys {
	struct driver *inner;
	const struct age_identities *identities;
	pthread_mutex_t lock;   /* of the entries */
	pthread_mutex_t unlock; /* one passphrase at a time: each takes 256 MiB and a second */
	struct vault_entry *entries[VAULT_KEYS_MAX];
	uint64_t clock;
};

struct vault_object {
	struct age_key key;
	uint64_t payload_bytes;
	int64_t modified_at_ms;
	bool was_known; /* not read just now */
};
void vault_object_release(struct vault_object *o);

void vault_keys_init(struct vault_keys *k, struct driver *inner, const struct age_identities *identities);
void vault_keys_release(struct vault_keys *k);
/* Of the sealed object ${key}, by its name in the inner driver: form and sizes, without a key.  1, 0 missing, -1. */
int vault_keys_stat(struct vault_keys *k, const char *key, struct vault_object *ret, struct error *err) must_check;
/* The same with its key; what is known is not asked for again. */
int vault_keys_get(struct vault_keys *k, const char *key, struct vault_object *ret, struct error *err) must_check;
void vault_keys_forget(struct vault_keys *k, const char *key);

#endif

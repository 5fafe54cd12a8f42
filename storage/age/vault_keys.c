#include "storage/age/vault_keys.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_READ_BYTES ((size_t)4096) /* a header has some 100 bytes, and 100 more a recipient */
#define GET_ATTEMPTS 10

struct vault_entry {
	char *name;
	uint64_t size_bytes;
	int64_t modified_at_ms;
	struct age_key key;
	bool has_key;
	struct buf header; /* with the nonce; until the key is known */
	uint64_t used;     /* vault_keys.clock when it last was */
};

void vault_object_release(struct vault_object *o)
{
	age_key_release(&o->key);
}

static void entry_free(struct vault_entry *e)
{
	if (!e)
		return;
	age_key_release(&e->key);
	buf_release(&e->header);
	free(e->name);
	free(e);
}

static void entry_freep(struct vault_entry **e)
{
	entry_free(*e);
}

void vault_keys_init(struct vault_keys *k, struct driver *inner, const struct age_identities *identities)
{
	k->inner = inner;
	k->identities = identities;
	pthread_mutex_init(&k->lock, NULL);
	pthread_mutex_init(&k->unlock, NULL);
}

void vault_keys_release(struct vault_keys *k)
{
	for (size_t i = 0; i < VAULT_KEYS_MAX; i++)
		entry_free(k->entries[i]);
	pthread_mutex_destroy(&k->lock);
	pthread_mutex_destroy(&k->unlock);
}

/* --- the list, under its lock ---------------------------------------------------------------------------------------------- */

static struct vault_entry **find_slot(struct vault_keys *k, const char *name)
{
	for (size_t i = 0; i < VAULT_KEYS_MAX; i++)
		if (k->entries[i] && strcmp(k->entries[i]->name, name) == 0)
			return &k->entries[i];
	return NULL;
}

static struct vault_entry **free_slot(struct vault_keys *k)
{
	struct vault_entry **oldest = &k->entries[0];

	for (size_t i = 0; i < VAULT_KEYS_MAX; i++) {
		if (!k->entries[i])
			return &k->entries[i];
		if (k->entries[i]->used < (*oldest)->used)
			oldest = &k->entries[i];
	}
	return oldest;
}

static void put_entry(struct vault_keys *k, struct vault_entry *e)
{
	struct vault_entry **slot;

	pthread_mutex_lock(&k->lock);
	slot = find_slot(k, e->name);
	if (!slot)
		slot = free_slot(k);
	entry_free(*slot);
	*slot = e;
	e->used = ++k->clock;
	pthread_mutex_unlock(&k->lock);
}

void vault_keys_forget(struct vault_keys *k, const char *key)
{
	struct vault_entry **slot;

	pthread_mutex_lock(&k->lock);
	slot = find_slot(k, key);
	if (slot) {
		entry_free(*slot);
		*slot = NULL;
	}
	pthread_mutex_unlock(&k->lock);
}

static void fill(const struct vault_entry *e, struct vault_object *ret)
{
	*ret = (struct vault_object){.key = e->key,
		.payload_bytes = e->size_bytes - e->key.header_bytes - AGE_NONCE_BYTES,
		.modified_at_ms = e->modified_at_ms};
}

/* Whether ${name} is known, and with its key if that is wanted.  ${now}: as stat() tells it, or NULL. */
static bool look_up(
	struct vault_keys *k, const char *name, const struct driver_object *now, bool with_key, struct vault_object *ret)
{
	struct vault_entry **slot;
	bool is_known;

	pthread_mutex_lock(&k->lock);
	slot = find_slot(k, name);
	is_known = slot && (!with_key || (*slot)->has_key) &&
		(!now || ((*slot)->size_bytes == now->size_bytes && (*slot)->modified_at_ms == now->modified_at_ms));
	if (is_known) {
		(*slot)->used = ++k->clock;
		fill(*slot, ret);
		ret->was_known = true;
	}
	pthread_mutex_unlock(&k->lock);
	return is_known;
}

/* --- reading headers ------------------------------------------------------------------------------------------------------- */

/* Reads on until the header is whole; its form into e->key.  1, 0 missing, -1. */
static int read_header(struct vault_keys *k, struct vault_entry *e, const char *what, struct error *err)
{
	size_t want = FIRST_READ_BYTES;
	int rc = 0;

	while (rc == 0) {
		size_t have = e->header.len, n = e->size_bytes < want ? (size_t)e->size_bytes : want;

		if (n == have)
			return err_set(err, ERR_CORRUPT, "%s is cut off within its header", what);
		if (buf_reserve(&e->header, n - have, err) < 0)
			return -1;
		rc = k->inner->ops->read_range(k->inner, e->name, have, e->header.data + have, n - have, err);
		if (rc <= 0)
			return rc;
		e->header.len = n;
		rc = age_header_read(e->header.data, n, NULL, what, &e->key, err);
		want *= 8;
	}
	if (rc == 1)
		e->header.len = e->key.header_bytes + AGE_NONCE_BYTES;
	return rc;
}

/* An entry without a key, from the place; not yet in the list. */
static int load(
	struct vault_keys *k, const struct driver_object *now, const char *what, struct vault_entry **ret, struct error *err)
{
	struct vault_entry *e cleanup(entry_freep) = mem_zalloc(sizeof(*e));
	int rc;

	e->name = mem_strdup(now->key);
	e->size_bytes = now->size_bytes;
	e->modified_at_ms = now->modified_at_ms;
	rc = read_header(k, e, what, err);
	if (rc == 1)
		*ret = take_ptr(e);
	return rc;
}

int vault_keys_stat(struct vault_keys *k, const char *key, struct vault_object *ret, struct error *err)
{
	char *what cleanup(mem_freep) = mem_printf("object \"%s\"", key);
	struct vault_entry *e = NULL;
	struct driver_object now;
	int rc = k->inner->ops->stat(k->inner, key, &now, err);

	if (rc <= 0 || look_up(k, key, &now, false, ret))
		return rc;
	rc = load(k, &now, what, &e, err);
	if (rc == 1) {
		fill(e, ret);
		put_entry(k, e);
	}
	return rc;
}

/* The header of ${key} as it is remembered, so that its key needs no further request.  False: it is not. */
static bool take_header(struct vault_keys *k, const char *key, struct vault_entry *ret)
{
	struct vault_entry **slot;
	bool is_known;

	pthread_mutex_lock(&k->lock);
	slot = find_slot(k, key);
	is_known = slot && (*slot)->header.len > 0;
	if (is_known) {
		ret->size_bytes = (*slot)->size_bytes;
		ret->modified_at_ms = (*slot)->modified_at_ms;
		buf_putn(&ret->header, (*slot)->header.data, (*slot)->header.len);
	}
	pthread_mutex_unlock(&k->lock);
	return is_known;
}

/* ->unlock is held.  1; 0: its header was forgotten meanwhile; -1. */
static int get_key(struct vault_keys *k, const char *key, struct vault_object *ret, struct error *err)
{
	char *what cleanup(mem_freep) = mem_printf("object \"%s\"", key);
	struct vault_entry *e cleanup(entry_freep) = mem_zalloc(sizeof(*e));

	if (look_up(k, key, NULL, true, ret))
		return 1;
	if (!take_header(k, key, e))
		return 0;
	e->name = mem_strdup(key);
	if (age_header_read(e->header.data, e->header.len, k->identities, what, &e->key, err) < 0)
		return -1;
	e->has_key = true;
	buf_release(&e->header);
	fill(e, ret);
	put_entry(k, take_ptr(e));
	return 1;
}

int vault_keys_get(struct vault_keys *k, const char *key, struct vault_object *ret, struct error *err)
{
	for (int i = 0; i < GET_ATTEMPTS; i++) {
		struct vault_object known cleanup(vault_object_release) = {0};
		int rc;

		if (look_up(k, key, NULL, true, ret))
			return 1;
		rc = vault_keys_stat(k, key, &known, err);
		if (rc <= 0)
			return rc;
		pthread_mutex_lock(&k->unlock);
		rc = get_key(k, key, ret, err);
		pthread_mutex_unlock(&k->unlock);
		if (rc == 1)
			ret->was_known = known.was_known;
		if (rc != 0)
			return rc;
	}
	return err_set(err, ERR_RETRY, "object \"%s\" is being replaced again and again", key);
}

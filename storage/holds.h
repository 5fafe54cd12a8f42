/*
 * Holds and pins: small objects under a set's prefix that keep it from being removed, whoever prunes.
 *
 *   <stack>/backups/<backup-id>/pinned           put by a person, until it is taken away
 *   <stack>/backups/<backup-id>/hold-<run id>    put by a run that needs the set, until that ends or the hold expires
 *
 * Both are JSON that says who put it, when and why.  A pin counts by being there, whatever is in it; a hold counts until the time it
 * names, one that cannot be read for HOLD_DEFAULT_MS after it was written.  So a host that died holds nothing for ever.
 */
#ifndef STORAGE_HOLDS_H
#define STORAGE_HOLDS_H

#include "storage/repository.h"

#define SET_PIN SET_PINNED
#define SET_HOLD "hold-" /* and the run's id */
#define HOLD_DEFAULT_MS (INT64_C(7) * 24 * 3600 * 1000)

struct hold {
	char *backup_id, *stack;
	char *key;                        /* of the object */
	char *run_id;                     /* NULL: a pin */
	char *by;                         /* "root@host"; "" when it does not say */
	char *reason;                     /* "read by restore run \"…\""; of a pin what the operator gave, or "" */
	int64_t put_at_ms, expires_at_ms; /* UTC; a pin does not expire: 0 */
};

/* Pins the set.  1 pinned, 0 it was already, -1.  ${reason} may be NULL.  A set that is not there is not looked for. */
int pin_put(struct repository *r, const char *stack, const char *backup_id, const char *reason, struct error *err) must_check;
int pin_remove(
	struct repository *r, const char *stack, const char *backup_id, struct error *err) must_check; /* 1, 0 was none, -1 */

/* Holds the set for ${run_id} until ${for_ms} from now; a hold of the same run that is there already is prolonged. */
int hold_put(struct repository *r, const char *stack, const char *backup_id, const char *run_id, const char *reason,
	int64_t for_ms, struct error *err) must_check;
/* 1, 0 was none, -1. */
int hold_remove(struct repository *r, const char *stack, const char *backup_id, const char *run_id, struct error *err) must_check;

/* Every pin and hold of ${stack} (NULL: of all), expired ones too, by set; malloc'd. */
int holds_list(struct repository *r, const char *stack, struct hold **ret, size_t *ret_count, struct error *err) must_check;
void holds_list_release(struct hold *list, size_t count);
/* Whether an object's name below a set's prefix is a pin's or a hold's. */
bool hold_is_name(const char *name);
bool hold_is_expired(const struct hold *h, int64_t now_ms);
/* The pin of a set, or NULL: for lists. */
const struct hold *holds_find_pin(const struct hold *list, size_t count, const char *stack, const char *backup_id);
/* What the holds (not the pins) that stand at ${now_ms} say, divided by "; ": malloc'd, NULL where there is none. */
char *holds_reasons(const struct hold *list, size_t count, const char *stack, const char *backup_id, int64_t now_ms);

#endif

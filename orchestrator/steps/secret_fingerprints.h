/*
 * Fingerprints of the application's secrets in a backup set: rows that were hashed, encrypted or signed under a secret are of no use
 * under another one, and nothing but the application would notice.
 *
 * While a secret is rotated there are two of it.  NAME.previous among the secrets says where the one before NAME stands, as long as there is
 * one: a set that is made then notes both, for its rows may be of either; it is restored only where both are.  A set from before fits where
 * its secret is the previous one.  NAME.previous without NAME is a secret like any other.
 */
#ifndef STEPS_SECRET_FINGERPRINTS_H
#define STEPS_SECRET_FINGERPRINTS_H

#include "base/inventory.h"
#include "orchestrator/engine/step.h"

#define SECRET_PREVIOUS ".previous"

/* Adds a fingerprint of each secret of parameter "secrets" to ${inv}.  One that is not there is told as a warning, unless it is a
 * previous one whose place is empty: it keeps no backup from being made. */
void step_secrets_note(struct step_context *ctx, struct inventory *inv);
/*
 * Compares those of ${inv} with parameter "secrets".  ERR_REFUSED names which differ; with parameter "accept_other_secrets" that is a
 * warning, as are secrets that are not there today; a previous one that is not there differs.
 */
int step_secrets_check(
	struct step_context *ctx, const char *backup_id, const struct inventory *inv, struct error *err) must_check;

#endif

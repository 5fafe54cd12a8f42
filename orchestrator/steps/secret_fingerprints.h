/*
 * Fingerprints of the application's secrets in a backup set: rows that were hashed, encrypted or signed under a secret are of no use
 * under another one, and nothing but the application would notice.
 */
#ifndef STEPS_SECRET_FINGERPRINTS_H
#define STEPS_SECRET_FINGERPRINTS_H

#include "base/inventory.h"
#include "orchestrator/engine/step.h"

/* Adds a fingerprint of each secret of parameter "secrets" to ${inv}.  One that is not there is told as a warning: it keeps no backup from
 * being made. */
void step_secrets_note(struct step_context *ctx, struct inventory *inv);
/*
 * Compares those of ${inv} with parameter "secrets".  ERR_REFUSED names which differ; with parameter "accept_other_secrets" that is a
 * warning, as are secrets that are not there today.
 */
int step_secrets_check(
	struct step_context *ctx, const char *backup_id, const struct inventory *inv, struct error *err) must_check;

#endif

/*
 * Secrets of the application: where they stand, their fingerprints in backups, and how new ones are made.
 *
 *   secrets:
 *     API_KEY_SECRET:    { env_file: /srv/shop/.env, key: API_KEY_SECRET }
 *     VAULT_SIGNING_KEY: file:/run/secrets/vault
 *     SESSION_KEY:       env:SESSION_KEY
 *
 * In plans, parameters and journals a secret is the reference alone: "env:NAME", "file:PATH" or "env_file:PATH#KEY".
 */
#ifndef STACK_SECRETS_H
#define STACK_SECRETS_H

#include <jansson.h>
#include "base/fingerprint.h"
#include "orchestrator/stack/config.h"

/* Whether the stack's "secrets" are names and references; a value that stands in the configuration itself is refused.  ERR_CONFIG. */
int config_check_secrets(const struct config_stack *s, struct error *err) must_check;
/* Sets "secrets" in ${parameters} to {name: reference}, where the stack has some.  ${s} may be NULL. */
int config_secrets_parameters(const struct config_stack *s, json_t *parameters, struct error *err) must_check;

bool secret_is_reference(const char *text);
/* Reads the secret behind ${reference}: 1 with the value (secret_free()), 0 it is not to be had (not set, no such file, unreadable, empty),
 * with the reason as the error's message, which the caller drops or tells; -1. */
int secret_read(const char *reference, char **ret, struct error *err) must_check;
void secret_free(char **secret); /* wiped; for cleanup too */

/* A new one: ${kind} is hex, base64, base64url (${bytes} random bytes), ed25519-pem or ed25519-base64 (PKCS #8). */
int secret_generate(const char *kind, int64_t bytes, char **ret, struct error *err) must_check;

#endif

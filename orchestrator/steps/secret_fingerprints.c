#include "orchestrator/steps/secret_fingerprints.h"

#include <string.h>

#include "base/buf.h"
#include "orchestrator/stack/secrets.h"

static void note_one(struct step_context *ctx, const char *name, const char *reference, struct inventory *inv)
{
	struct error why cleanup(err_clear) = ERROR_INIT;
	char *secret cleanup(secret_free) = NULL;
	struct fingerprint f;

	if (secret_read(reference, &secret, &why) <= 0 || fingerprint_make(secret, &f, &why) < 0) {
		event_text(
			ctx->events, EVENT_WARNING, "secret \"%s\" has no fingerprint in the backup set: %s", name, why.message);
		return;
	}
	*inventory_add(inv, secrets) = (struct inv_secret){
		.name = arena_strdup(&inv->arena, name),
		.kdf = FINGERPRINT_KDF,
		.salt = arena_strdup(&inv->arena, f.salt),
		.fingerprint = arena_strdup(&inv->arena, f.hash),
		.iterations = f.iterations,
	};
}

void step_secrets_note(struct step_context *ctx, struct inventory *inv)
{
	json_t *map = (json_t *)(uintptr_t)step_json(ctx, "secrets"), *reference;
	const char *name;

	json_object_foreach(map, name, reference) note_one(ctx, name, json_string_value(reference), inv);
}

/* 1 it is the same, 0 another one, -1; what cannot be compared is told and counts as the same. */
static int compare(struct step_context *ctx, const struct inv_secret *s, const char *reference, struct error *err)
{
	struct error why cleanup(err_clear) = ERROR_INIT;
	struct fingerprint f = {.iterations = (uint32_t)s->iterations};
	char *secret cleanup(secret_free) = NULL;
	int found = secret_read(reference, &secret, &why);

	if (found < 0)
		return err_move(err, &why);
	if (found == 0) {
		event_text(ctx->events, EVENT_WARNING, "secret \"%s\" is not here to be compared with that of the backup set: %s",
			s->name, why.message);
		return 1;
	}
	if (strcmp(s->kdf, FINGERPRINT_KDF) != 0) {
		event_text(ctx->events, EVENT_WARNING, "secret \"%s\" is not compared: its fingerprint is of kind \"%s\"",
			s->name, s->kdf);
		return 1;
	}
	if (strlen(s->salt) >= sizeof(f.salt) || strlen(s->fingerprint) >= sizeof(f.hash) || s->iterations > UINT32_MAX)
		return err_set(err, ERR_CORRUPT, "the fingerprint of secret \"%s\" is damaged", s->name);
	memcpy(f.salt, s->salt, strlen(s->salt) + 1);
	memcpy(f.hash, s->fingerprint, strlen(s->fingerprint) + 1);
	return fingerprint_matches(&f, secret, err);
}

static void add_name(struct buf *list, const char *name)
{
	buf_printf(list, "%s\"%s\"", list->len ? ", " : "", name);
}

static int differ(struct step_context *ctx, const char *backup_id, const char *names, bool is_many, struct error *err)
{
	char *says cleanup(mem_freep) = mem_printf("%s %s %s not %s under which backup set \"%s\" was made",
		is_many ? "secrets" : "secret", names, is_many ? "are" : "is", is_many ? "those" : "the one", backup_id);

	if (step_bool(ctx, "accept_other_secrets")) {
		event_text(ctx->events, EVENT_WARNING, "%s", says);
		return 0;
	}
	err_set(err, ERR_REFUSED, "%s", says);
	err_detail(err, "What the application has hashed, encrypted or signed in that set does not fit %s of today.",
		is_many ? "the secrets" : "the secret");
	return err_hint(err, "Put back the %s of that time first, or restore all the same with --accept-other-secrets.",
		is_many ? "secrets" : "secret");
}

int step_secrets_check(struct step_context *ctx, const char *backup_id, const struct inventory *inv, struct error *err)
{
	struct buf others cleanup(buf_release) = {0}, unknown cleanup(buf_release) = {0};
	const json_t *map = step_json(ctx, "secrets");
	size_t count = 0;

	for (size_t i = 0; i < inv->secrets_count; i++) {
		const struct inv_secret *s = &inv->secrets[i];
		const char *reference = json_string_value(json_object_get(map, s->name));
		int rc = reference ? compare(ctx, s, reference, err) : 1;

		if (rc < 0)
			return -1;
		if (!reference)
			add_name(&unknown, s->name);
		if (rc == 0) {
			add_name(&others, s->name);
			count++;
		}
	}
	if (unknown.len)
		event_text(ctx->events, EVENT_WARNING,
			"not compared with those of the backup set, as the configuration does not say where they stand: %s",
			buf_str(&unknown));
	return count ? differ(ctx, backup_id, buf_str(&others), count > 1, err) : 0;
}

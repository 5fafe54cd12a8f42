#include "orchestrator/steps/secret_fingerprints.h"

#include <string.h>

#include "base/buf.h"
#include "base/io.h"
#include "orchestrator/stack/secrets.h"

/* How many bytes of ${name} are the name of the secret itself; the rest says that it is the one before it. */
static size_t base_bytes(const char *name)
{
	size_t n = strlen(name), suffix = strlen(SECRET_PREVIOUS);

	return n > suffix && strcmp(name + n - suffix, SECRET_PREVIOUS) == 0 ? n - suffix : n;
}

static bool is_previous(const char *name)
{
	return base_bytes(name) < strlen(name);
}

static const char *reference_of(const struct step_context *ctx, const char *name)
{
	return json_string_value(json_object_get(step_json(ctx, "secrets"), name));
}

/* Of a secret that is not to be had: whether its place is empty, and not merely unreadable. */
static bool is_put_away(const char *reference)
{
	static const char file[] = "file:";
	struct buf b cleanup(buf_release) = {.max = 64}; /* no more than an end of line is looked for */
	struct error why cleanup(err_clear) = ERROR_INIT;
	int found;

	if (strncmp(reference, file, strlen(file)) != 0)
		return true; /* a variable, a key of an env file: what cannot be read there is an error */
	found = io_read_file(reference + strlen(file), &b, &why);
	return found == 0 || (found > 0 && strspn(buf_str(&b), "\r\n") == b.len);
}

/* --- of a backup --------------------------------------------------------------------------------------------------------- */

/* Whether ${name} is the one before another, of which there is none at present. */
static bool is_no_rotation(const struct step_context *ctx, const char *name, const char *reference)
{
	char *base cleanup(mem_freep) = mem_strndup(name, base_bytes(name));

	return is_previous(name) && reference_of(ctx, base) && is_put_away(reference);
}

static void note_one(struct step_context *ctx, const char *name, const char *reference, struct inventory *inv)
{
	struct error why cleanup(err_clear) = ERROR_INIT;
	char *secret cleanup(secret_free) = NULL;
	struct fingerprint f;
	int found = secret_read(reference, &secret, &why);

	if (found == 0 && is_no_rotation(ctx, name, reference))
		return;
	if (found <= 0 || fingerprint_make(secret, &f, &why) < 0) {
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

/* --- of a restore -------------------------------------------------------------------------------------------------------- */

/* Those that differ, and those that the configuration does not name. */
struct compared {
	struct buf others, unknown;
	size_t count;
	bool is_of_rotation; /* the set, of one that differs */
};

static void compared_release(struct compared *c)
{
	buf_release(&c->others);
	buf_release(&c->unknown);
}

static void add_name(struct buf *list, const char *name)
{
	buf_printf(list, "%s\"%s\"", list->len ? ", " : "", name);
}

/* Whether the secret behind ${reference} is that of the set: 1, 0 another one, or none (*ret_is_there, with the reason in ${why}), -1. */
static int is_same(const struct inv_secret *s, const char *reference, bool *ret_is_there, struct error *why, struct error *err)
{
	struct fingerprint f = {.iterations = (uint32_t)s->iterations};
	char *secret cleanup(secret_free) = NULL;
	int found = secret_read(reference, &secret, why);

	*ret_is_there = found > 0;
	if (found <= 0)
		return found < 0 ? err_move(err, why) : 0;
	if (strlen(s->salt) >= sizeof(f.salt) || strlen(s->fingerprint) >= sizeof(f.hash) || s->iterations > UINT32_MAX)
		return err_set(err, ERR_CORRUPT, "the fingerprint of secret \"%s\" is damaged", s->name);
	memcpy(f.salt, s->salt, strlen(s->salt) + 1);
	memcpy(f.hash, s->fingerprint, strlen(s->fingerprint) + 1);
	return fingerprint_matches(&f, secret, err);
}

static void tell_not_there(struct step_context *ctx, const char *name, const struct error *why)
{
	event_text(ctx->events, EVENT_WARNING, "secret \"%s\" is not here to be compared with that of the backup set: %s", name,
		why->message);
}

/* In the middle of a rotation the application accepts the previous secret as well: 1 it is that of the set, 0 not, -1. */
static int is_same_as_previous(struct step_context *ctx, const struct inv_secret *s, const char *base, struct error *err)
{
	char *name cleanup(mem_freep) = mem_printf("%s" SECRET_PREVIOUS, base);
	const char *reference = reference_of(ctx, name);
	struct error why cleanup(err_clear) = ERROR_INIT;
	bool is_there = false;
	int rc = reference ? is_same(s, reference, &is_there, &why, err) : 0;

	if (rc == 0 && reference && !is_there && !is_put_away(reference))
		tell_not_there(ctx, name, &why);
	if (rc > 0 && !is_previous(s->name))
		event_text(ctx->events, EVENT_WARNING,
			"secret \"%s\" of the backup set is the previous one here: what is hashed under it in the set must be "
			"brought to the new one again before \"%s\" is removed",
			s->name, name);
	return rc;
}

/* 1 it fits, 0 not, -1; what cannot be compared is told and counts as fitting. */
static int compare(struct step_context *ctx, const struct inv_secret *s, struct compared *c, struct error *err)
{
	char *base cleanup(mem_freep) = mem_strndup(s->name, base_bytes(s->name));
	const char *reference = reference_of(ctx, base) ? reference_of(ctx, base) : reference_of(ctx, s->name);
	struct error why cleanup(err_clear) = ERROR_INIT;
	bool is_there;
	int rc;

	if (!reference) {
		add_name(&c->unknown, s->name);
		return 1;
	}
	if (strcmp(s->kdf, FINGERPRINT_KDF) != 0) {
		event_text(ctx->events, EVENT_WARNING, "secret \"%s\" is not compared: its fingerprint is of kind \"%s\"",
			s->name, s->kdf);
		return 1;
	}
	rc = is_same(s, reference, &is_there, &why, err);
	if (rc != 0)
		return rc;
	if (!is_there) {
		tell_not_there(ctx, s->name, &why);
		return 1;
	}
	return is_same_as_previous(ctx, s, base, err);
}

static int differ(struct step_context *ctx, const char *backup_id, const struct compared *c, struct error *err)
{
	bool is_many = c->count > 1;
	char *says cleanup(mem_freep) = mem_printf("%s %s %s not %s under which backup set \"%s\" was made",
		is_many ? "secrets" : "secret", buf_str(&c->others), is_many ? "are" : "is", is_many ? "those" : "the one",
		backup_id);

	if (step_bool(ctx, "accept_other_secrets")) {
		event_text(ctx->events, EVENT_WARNING, "%s", says);
		return 0;
	}
	err_set(err, ERR_REFUSED, "%s", says);
	err_detail(err, "What the application has hashed, encrypted or signed in that set does not fit %s of today.%s",
		is_many ? "the secrets" : "the secret",
		c->is_of_rotation
			? "\nThe set was made in the middle of a rotation: it needs both the secret of then and the one before it."
			: "");
	return err_hint(err, "Put back the %s of that time first, or restore all the same with --accept-other-secrets.",
		is_many ? "secrets" : "secret");
}

static bool has_secret(const struct inventory *inv, const char *name)
{
	for (size_t i = 0; i < inv->secrets_count; i++) {
		if (strcmp(inv->secrets[i].name, name) == 0)
			return true;
	}
	return false;
}

/* Whether the set has both ${name} and the one before or after it. */
static bool is_one_of_two(const struct inventory *inv, const char *name)
{
	char *other cleanup(mem_freep) = is_previous(name) ? mem_strndup(name, base_bytes(name))
							   : mem_printf("%s" SECRET_PREVIOUS, name);

	return has_secret(inv, other);
}

int step_secrets_check(struct step_context *ctx, const char *backup_id, const struct inventory *inv, struct error *err)
{
	struct compared c cleanup(compared_release) = {0};

	for (size_t i = 0; i < inv->secrets_count; i++) {
		const struct inv_secret *s = &inv->secrets[i];
		int rc = compare(ctx, s, &c, err);

		if (rc < 0)
			return -1;
		if (rc > 0)
			continue;
		add_name(&c.others, s->name);
		c.count++;
		c.is_of_rotation = c.is_of_rotation || is_one_of_two(inv, s->name);
	}
	if (c.unknown.len)
		event_text(ctx->events, EVENT_WARNING,
			"not compared with those of the backup set, as the configuration does not say where they stand: %s",
			buf_str(&c.unknown));
	return c.count ? differ(ctx, backup_id, &c, err) : 0;
}

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/json.h"
#include "storage/age/vault.h"
#include "storage/drivers/retry.h"
#include "storage/place.h"

#define REPOSITORY_FORMAT "holdfast-repository/1"
#define REPOSITORY_FORMAT_NAME "holdfast-repository/"
#define REPOSITORY_ID_BYTES 16
#define CREATE_ATTEMPTS 200
#define CREATE_WAIT_MS 20

/* --- names ----------------------------------------------------------------------------------------------------------------- */

#define BACKUP_ID_TIME_CHARS 16 /* "20261120T031500Z" */
#define BACKUP_ID_CHARS 25

char *repository_archive_key(const char *stack, const char *backup_id)
{
	return mem_printf("%s/backups/%s/" SET_ARCHIVE, stack, backup_id);
}

char *repository_manifest_key(const char *stack, const char *backup_id)
{
	return mem_printf("%s/backups/%s/" SET_MANIFEST, stack, backup_id);
}

static bool is_sealed(const char *object)
{
	return strcmp(object, SET_ARCHIVE) == 0 || strcmp(object, SET_MANIFEST) == 0;
}

char *repository_stored_key(const struct repository *r, const char *stack, const char *backup_id, const char *object)
{
	return mem_printf(
		"%s/backups/%s/%s%s", stack, backup_id, object, r->is_encrypted && is_sealed(object) ? VAULT_SUFFIX : "");
}

/* Three digits are the fraction of the second, so that two sets of one second sort by time too; five are chance. */
int backup_id_make(int64_t utc_ms, char out[BACKUP_ID_BYTES], struct error *err)
{
	unsigned fraction = (unsigned)((utc_ms % 1000) * 4096 / 1000);
	char at[CLOCK_TEXT_BYTES], hex[7];
	uint8_t random[3];

	if (random_bytes(random, sizeof(random), err) < 0)
		return -1;
	(void)hex_encode(random, sizeof(random), hex);
	(void)snprintf(out, BACKUP_ID_BYTES, "%.16s-%03x%.5s", clock_format_compact(utc_ms, at), fraction, hex);
	return 0;
}

bool backup_id_is_valid(const char *text)
{
	static const char form[] = "########T######Z-xxxxxxxx";

	if (strlen(text) != BACKUP_ID_CHARS)
		return false;
	for (size_t i = 0; i < BACKUP_ID_CHARS; i++) {
		char c = text[i];
		bool is_digit = c >= '0' && c <= '9';

		if (form[i] == '#' ? !is_digit : form[i] == 'x' ? !is_digit && !(c >= 'a' && c <= 'f') : c != form[i])
			return false;
	}
	return true;
}

bool stack_name_is_valid(const char *text)
{
	size_t n = strlen(text);

	if (n == 0 || n > 64 || text[0] == '.' || text[0] == '-')
		return false;
	return strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") == n;
}

/* --- holdfast-repository.json ---------------------------------------------------------------------------------------------- */

static int read_text(const json_t *top, struct repository *r, struct error *err)
{
	const char *format = json_get_str(top, "format", ""), *id = json_get_str(top, "id", "");

	if (strncmp(format, REPOSITORY_FORMAT_NAME, strlen(REPOSITORY_FORMAT_NAME)) != 0)
		return err_set(err, ERR_CORRUPT, "file \"%s\" of repository \"%s\" is damaged", REPOSITORY_FILE, r->name);
	if (strcmp(format, REPOSITORY_FORMAT) != 0) {
		err_set(err, ERR_CONFIG, "repository \"%s\" has format \"%s\", which is of a later version", r->name, format);
		return err_hint(err, "Use a version of holdfast that knows it; this one reads \"%s\".", REPOSITORY_FORMAT);
	}
	if (!*id)
		return err_set(err, ERR_CORRUPT, "file \"%s\" of repository \"%s\" is damaged", REPOSITORY_FILE, r->name);
	r->id = mem_strdup(id);
	r->is_encrypted = json_array_size(json_object_get(top, "age_recipients")) > 0;
	return 0;
}

/* 1 read, 0 there is none, -1. */
static int load(struct repository *r, struct error *err)
{
	const struct driver_ops *ops = r->place->ops;
	struct buf b cleanup(buf_release) = {0};
	json_t *top cleanup(json_decrefpp) = NULL;
	struct driver_object o;
	char *what cleanup(mem_freep) = mem_printf("file \"%s\" of repository \"%s\"", REPOSITORY_FILE, r->name);
	int rc = ops->stat(r->place, REPOSITORY_FILE, &o, err);

	if (rc <= 0)
		return rc;
	if (o.size_bytes > (1 << 20))
		return err_set(err, ERR_CORRUPT, "%s is damaged", what);
	if (buf_reserve(&b, (size_t)o.size_bytes, err) < 0)
		return -1;
	rc = ops->read_range(r->place, REPOSITORY_FILE, 0, b.data, (size_t)o.size_bytes, err);
	if (rc <= 0)
		return rc;
	top = json_read(b.data, (size_t)o.size_bytes, what, err);
	return top && read_text(top, r, err) == 0 ? 1 : -1;
}

static int is_not_empty(void *ctx, const struct driver_object *o, struct error *err)
{
	if (strncmp(o->key, REPOSITORY_PROBES, strlen(REPOSITORY_PROBES)) == 0)
		return 0;
	err_set(err, ERR_CONFIG, "\"%s\" holds no repository and is not empty", (const char *)ctx);
	err_detail(err, "There is for example \"%s\".", o->key);
	return err_hint(err, "Name an empty directory, or one that does not exist yet.");
}

static int create(struct repository *r, struct error *err)
{
	const struct driver_ops *ops = r->place->ops;
	struct buf b cleanup(buf_release) = {0};
	struct json_writer w = {.out = &b, .is_pretty = true};
	const struct driver_target t = {.key = REPOSITORY_FILE, .tag = "create", .is_exclusive = true};
	uint8_t id[REPOSITORY_ID_BYTES];
	char hex[2 * REPOSITORY_ID_BYTES + 1], at[CLOCK_TEXT_BYTES];

	if (ops->list(r->place, "", is_not_empty, r->name, err) < 0 || random_bytes(id, sizeof(id), err) < 0)
		return -1;
	hex_encode(id, sizeof(id), hex);
	jw_object(&w, NULL);
	jw_str(&w, "format", REPOSITORY_FORMAT);
	jw_str(&w, "id", hex);
	jw_str(&w, "created_at", clock_format(clock_utc_ms(), at));
	if (r->encrypt_to) {
		jw_array(&w, "age_recipients");
		for (char **text = r->encrypt_to; *text; text++)
			jw_str(&w, NULL, *text);
		jw_end_array(&w);
	}
	jw_end_object(&w);
	buf_putc(&b, '\n');
	return ops->put(r->place, &t, b.data, b.len, err);
}

/* Several hosts may begin at once: one creates, the others wait for what it creates. */
static int load_or_create(struct repository *r, bool is_created, struct error *err)
{
	struct error failure cleanup(err_clear) = ERROR_INIT;
	int rc = load(r, err);
	bool is_taken;

	for (int i = 0; rc == 0 && is_created && i < CREATE_ATTEMPTS; i++) {
		if (i > 0 && cancel_sleep(NULL, CREATE_WAIT_MS, err) < 0)
			return -1;
		err_clear(&failure);
		rc = create(r, &failure) < 0 && failure.class != ERR_CONFLICT && failure.class != ERR_CONFIG ? -1 : load(r, err);
		if (failure.class != ERR_CONFLICT && failure.class != ERR_NONE && rc <= 0)
			return err_move(err, &failure);
	}
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	if (failure.class != ERR_NONE)
		return err_move(err, &failure);
	is_taken = r->place->ops->list(r->place, "", is_not_empty, r->name, &failure) < 0;
	err_set(err, ERR_CONFIG, "no repository at \"%s\"", r->name);
	err->sys_errno = is_taken ? 0 : ENOENT;
	return err_hint(
		err, "Check the url; the first \"holdfast backup\" into a new or empty directory makes a repository of it.");
}

/* --- opening --------------------------------------------------------------------------------------------------------------- */

#define PASSPHRASE_RECIPIENT "passphrase" /* in the place of public keys */

static int read_passphrase(struct repository *r, const char *passphrase, struct error *err)
{
	r->recipients = age_recipients_new();
	r->encrypt_to = mem_zalloc(2 * sizeof(*r->encrypt_to));
	r->encrypt_to[0] = mem_strdup(PASSPHRASE_RECIPIENT);
	r->is_unlocked = true;
	if (age_recipients_set_passphrase(r->recipients, passphrase, 0, err) < 0 ||
		age_identities_add_passphrase(r->identities, passphrase, err) < 0)
		return err_context(err, "repository \"%s\"", r->name);
	return 0;
}

static int read_recipients(struct repository *r, const struct repository_options *o, struct error *err)
{
	if (o->passphrase)
		return read_passphrase(r, o->passphrase, err);
	if (!o->encrypt_to)
		return 0;
	r->recipients = age_recipients_new();
	r->encrypt_to = texts_copy(o->encrypt_to);
	for (char **text = r->encrypt_to; *text; text++)
		if (age_recipients_add(r->recipients, *text, err) < 0)
			return err_context(err, "repository \"%s\"", r->name);
	return 0;
}

/* An encrypted repository never gets a plain set, nor a plain one an encrypted set beside those that anybody can read. */
int repository_check_writable(const struct repository *r, struct error *err)
{
	if (r->is_encrypted && !r->recipients) {
		err_set(err, ERR_CONFIG, "repository \"%s\" is encrypted, and no recipients are configured for it", r->name);
		return err_hint(err, "List them under \"encrypt_to\" of the repository.");
	}
	if (!r->is_encrypted && r->recipients) {
		err_set(err, ERR_CONFIG, "repository \"%s\" was made without encryption, and \"encrypt_to\" is configured for it",
			r->name);
		return err_hint(err, "Give encrypted sets a repository of their own: another directory or prefix.");
	}
	return 0;
}

static struct driver *view(struct repository *r)
{
	static const char *const sealed[] = {"/" SET_ARCHIVE, "/" SET_MANIFEST, NULL};
	const struct vault_options o = {.recipients = r->recipients, .identities = r->identities, .sealed_suffixes = sealed};
	struct driver *vault;

	if (!r->is_encrypted)
		return r->place;
	vault = vault_new(r->place, &o);
	vault->cancel = r->place->cancel;
	return vault;
}

int repository_open_with(const struct repository_options *o, struct repository **ret, struct error *err)
{
	struct repository *r cleanup(repository_closep) = mem_zalloc(sizeof(*r));

	r->name = mem_strdup(o->name ? o->name : o->url);
	r->identities = age_identities_new();
	r->load_identities = o->load_identities;
	r->identities_ctx = o->identities_ctx;
	r->spool_dir = o->spool_dir ? mem_strdup(o->spool_dir) : NULL;
	if (read_recipients(r, o, err) < 0 || place_open(o, &r->place, &r->url, err) < 0)
		return -1;
	if (o->read_back >= 0)
		r->read_back = (enum verify_level)o->read_back;
	else
		r->read_back = r->place->features & DRIVER_REMOTE ? VERIFY_QUICK : VERIFY_CHECKSUMS;
	if (load_or_create(r, o->is_created, err) < 0)
		return r->place->features & DRIVER_REMOTE ? err_context(err, "repository \"%s\"", r->name) : -1;
	if (o->is_created && repository_check_writable(r, err) < 0)
		return -1;
	if (r->place->features & DRIVER_REMOTE)
		driver_retry_set_give_up(r->place, o->give_up_after_ms);
	r->driver = view(r);
	*ret = take_ptr(r);
	return 0;
}

int repository_open(const char *name, const char *url, bool is_created, struct repository **ret, struct error *err)
{
	const struct repository_options o = {.name = name, .url = url, .is_created = is_created, .read_back = -1};

	return repository_open_with(&o, ret, err);
}

void repository_set_cancel(struct repository *r, struct cancel *cancel)
{
	driver_set_cancel(r->place, cancel);
	r->driver->cancel = cancel;
}

void repository_set_progress(struct repository *r, struct progress *progress)
{
	driver_set_progress(r->place, progress);
}

int repository_unlock(struct repository *r, struct error *err)
{
	if (!r->is_encrypted || r->is_unlocked)
		return 1;
	if (!r->load_identities)
		return 0;
	if (r->load_identities(r->identities_ctx, r->identities, err) < 0)
		return err_context(err, "repository \"%s\"", r->name);
	r->is_unlocked = true;
	return 1;
}

void repository_close(struct repository *r)
{
	if (!r)
		return;
	if (r->driver && r->driver != r->place)
		r->driver->ops->close(r->driver);
	if (r->place)
		r->place->ops->close(r->place);
	age_recipients_free(r->recipients);
	age_identities_free(r->identities);
	texts_free(r->encrypt_to);
	free(r->spool_dir);
	free(r->name);
	free(r->url);
	free(r->id);
	free(r);
}

void repository_closep(struct repository **r)
{
	repository_close(*r);
	*r = NULL;
}

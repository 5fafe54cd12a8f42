#include "storage/rekey.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/json.h"
#include "storage/holds.h"
#include "storage/object.h"
#include "storage/rekey_object.h"

#define RUN "rekey" /* what the hold is of: one that a killed rekey left is the next one's */
#define HOLD_MS (INT64_C(24) * 3600 * 1000)
#define MARK "rekeying"

/* One set in work. */
struct work {
	const struct rekey *k;
	struct repository *r;
	const char *stack, *id;
	char *facts_key;
	json_t *text; /* of set.json; NULL: there is none */
	struct set_facts facts;
	json_t *old; /* texts of those who may be able to open it; an array */
	struct rekey_object archive, manifest;
	bool is_archive_done, is_manifest_done;
	struct buf archive_header, manifest_header; /* to come */
	struct rekey_report *report;
};

static void work_release(struct work *w)
{
	free(w->facts_key);
	json_decref(w->text);
	set_facts_release(&w->facts);
	json_decref(w->old);
	rekey_object_release(&w->archive);
	rekey_object_release(&w->manifest);
	buf_release(&w->archive_header);
	buf_release(&w->manifest_header);
}

static void recipients_freep(struct age_recipients **r)
{
	age_recipients_free(*r);
}

void rekey_report_release(struct rekey_report *r)
{
	free(r->reason);
	free(r->hint);
	*r = (struct rekey_report){0};
}

const char *rekey_outcome_name(enum rekey_outcome outcome)
{
	static const char *const names[] = {"rekeyed", "unchanged", "impossible"};

	return names[outcome];
}

static int impossible(struct rekey_report *report, const char *reason, const char *hint)
{
	report->outcome = REKEY_IMPOSSIBLE;
	report->reason = mem_strdup(reason);
	report->hint = hint ? mem_strdup(hint) : NULL;
	return 0;
}

/* --- who may open it ------------------------------------------------------------------------------------------------------- */

static bool has_text(const json_t *list, const char *text)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *other = json_string_value(json_array_get(list, i));

		if (other && strcmp(other, text) == 0)
			return true;
	}
	return false;
}

static void add_texts(json_t *to, const json_t *from)
{
	for (size_t i = 0; i < json_array_size(from); i++) {
		const char *text = json_string_value(json_array_get(from, i));

		if (text && !has_text(to, text))
			json_array_append_new(to, json_string(text));
	}
}

/* The configured ones. */
static json_t *new_texts(const struct repository *r)
{
	json_t *list = json_array();

	for (char **text = r->encrypt_to; *text; text++)
		if (!has_text(list, *text))
			json_array_append_new(list, json_string(*text));
	return list;
}

static size_t count_missing(const json_t *of, const json_t *in)
{
	size_t n = 0;

	for (size_t i = 0; i < json_array_size(of); i++)
		n += !has_text(in, json_string_value(json_array_get(of, i)));
	return n;
}

/* Fills w->old.  After an interrupted rekey these are the old ones and those it was to bring. */
static void find_old(struct work *w)
{
	const json_t *mark = json_object_get(w->text, MARK);

	w->old = json_array();
	add_texts(w->old, json_object_get(w->text, "age_recipients"));
	add_texts(w->old, json_object_get(mark, "from"));
	add_texts(w->old, json_object_get(mark, "to"));
}

static bool is_same(const json_t *a, const json_t *b)
{
	return !count_missing(a, b) && !count_missing(b, a);
}

/* The old ones, the new ones, and, where nobody says who the old ones are, ourselves. */
static int make_union(const struct work *w, struct age_recipients *all, struct error *err)
{
	const struct age_identities *own = w->r->identities;
	json_t *texts cleanup(json_decrefpp) = new_texts(w->r);

	add_texts(texts, w->old);
	for (size_t i = 0; i < age_identities_count(own); i++) {
		char *text cleanup(mem_freep) = age_identity_recipient(own, i);

		if (text && !json_array_size(w->old) && !has_text(texts, text))
			json_array_append_new(texts, json_string(text));
	}
	for (size_t i = 0; i < json_array_size(texts); i++)
		if (age_recipients_add(all, json_string_value(json_array_get(texts, i)), err) < 0)
			return -1;
	return 0;
}

/* --- set.json -------------------------------------------------------------------------------------------------------------- */

static int read_facts(struct work *w, struct error *err)
{
	struct buf text cleanup(buf_release) = {0};
	int rc = object_read(w->r->place, w->facts_key, &text, err);

	if (rc <= 0)
		return rc;
	w->text = json_read(buf_str(&text), text.len, w->facts_key, err);
	return w->text ? set_facts_load(w->r, w->stack, w->id, &w->facts, err) : -1;
}

static int write_facts(struct work *w, struct error *err)
{
	const struct driver_target t = {.key = w->facts_key, .tag = RUN};
	char *text cleanup(mem_freep) = json_dumps(w->text, JSON_INDENT(2) | JSON_PRESERVE_ORDER);

	if (!text)
		return err_set(err, ERR_BUG, "\"%s\" cannot be written as JSON", w->facts_key);
	return w->r->place->ops->put(w->r->place, &t, text, strlen(text), err);
}

static json_t *checksum(const struct buf *header)
{
	uint8_t sha256[SHA256_BYTES];
	char hex[SHA256_HEX_BYTES];

	sha256_of(header->data, header->len, sha256);
	return json_string(hex_encode(sha256, SHA256_BYTES, hex));
}

/* No recipients stand there meanwhile: nobody shall believe that the set has exactly these. */
static int put_mark(struct work *w, struct error *err)
{
	json_t *mark = json_object();

	if (!w->text) {
		json_decref(mark);
		return 0;
	}
	json_object_set(mark, "from", w->old);
	json_object_set_new(mark, "to", new_texts(w->r));
	json_object_set_new(mark, "archive_header_sha256", checksum(&w->archive_header));
	json_object_set_new(mark, "manifest_header_sha256", checksum(&w->manifest_header));
	json_object_set_new(w->text, "age_recipients", json_array());
	json_object_set_new(w->text, MARK, mark);
	return write_facts(w, err);
}

static int put_result(struct work *w, struct error *err)
{
	if (!w->text)
		return 0;
	json_object_set_new(w->text, "age_recipients", new_texts(w->r));
	json_object_del(w->text, MARK);
	return write_facts(w, err);
}

/* --- what there is --------------------------------------------------------------------------------------------------------- */

/* Whether the object has the header that an interrupted rekey to the same recipients has announced. */
static bool is_done(const struct work *w, const struct rekey_object *o, const char *name)
{
	const json_t *mark = json_object_get(w->text, MARK);
	json_t *wanted cleanup(json_decrefpp) = new_texts(w->r), *sum cleanup(json_decrefpp) = checksum(&o->header);

	return mark && is_same(json_object_get(mark, "to"), wanted) &&
		strcmp(json_get_str(mark, name, ""), json_string_value(sum)) == 0;
}

static int read_object(struct work *w, const char *object, struct rekey_object *ret, struct error *err)
{
	char *key cleanup(mem_freep) = repository_stored_key(w->r, w->stack, w->id, object);
	int rc = rekey_object_read(w->r->place, key, ret, err);

	return rc > 0 ? 0 : rc < 0 ? -1 : err_set(err, ERR_CORRUPT, "object \"%s\" is missing", key);
}

/* What is there already is the header to come; else a new one is made. */
static int make_header(struct work *w, const struct rekey_object *o, bool is_made, struct buf *ret, struct error *err)
{
	if (is_made)
		return buf_append(ret, o->header.data, o->header.len, err);
	return age_header_rewrap(&o->age, w->r->recipients, ret, err);
}

/* 1: it can be done, and all that it needs is there; 0: it is impossible, and the report says why; -1. */
static int prepare(struct work *w, struct error *err)
{
	struct error failure cleanup(err_clear) = ERROR_INIT;
	struct rekey_object *const objects[] = {&w->archive, &w->manifest};
	const bool *const done[] = {&w->is_archive_done, &w->is_manifest_done};

	if (read_object(w, SET_ARCHIVE, &w->archive, err) < 0 || read_object(w, SET_MANIFEST, &w->manifest, err) < 0)
		return -1;
	w->is_archive_done = is_done(w, &w->archive, "archive_header_sha256");
	w->is_manifest_done = is_done(w, &w->manifest, "manifest_header_sha256");
	for (size_t i = 0; i < array_len(objects); i++) {
		if (*done[i])
			continue;
		if (!rekey_object_is_possible(w->r->place, objects[i]))
			return impossible(w->report, "the place cannot compose objects: all of it would have to travel",
				"Use \"driver: s3\"; or let the set expire: new ones have the new recipients.");
		if (!w->k->has_identity)
			return impossible(w->report, "no identity is configured that opens it",
				"Configure \"identity\", or give --identity, on a host that may read the sets.");
		if (rekey_object_unlock(objects[i], w->r->identities, &failure) == 0)
			continue;
		if (failure.class != ERR_CONFIG)
			return err_move(err, &failure);
		return impossible(w->report, failure.message, "Give the identity that opens it, with --identity.");
	}
	if (make_header(w, &w->archive, w->is_archive_done, &w->archive_header, err) < 0 ||
		make_header(w, &w->manifest, w->is_manifest_done, &w->manifest_header, err) < 0)
		return -1;
	return 1;
}

/* --- doing it -------------------------------------------------------------------------------------------------------------- */

/* As long as archive and manifest have different recipients, the manifest is open to the old and the new ones. */
static int open_manifest_to_both(struct work *w, struct error *err)
{
	struct age_recipients *all cleanup(recipients_freep) = age_recipients_new();
	struct buf header cleanup(buf_release) = {0};

	if (w->is_manifest_done || w->is_archive_done || (!w->report->removed && json_array_size(w->old)))
		return 0;
	if (make_union(w, all, err) < 0 || age_header_rewrap(&w->manifest.age, all, &header, err) < 0)
		return -1;
	return rekey_object_replace(w->k, &w->manifest, &header, NULL, w->report, err);
}

static int replace_headers(struct work *w, struct error *err)
{
	const struct stored_archive *body = w->text ? &w->facts.archive : NULL;

	if (put_mark(w, err) < 0 || open_manifest_to_both(w, err) < 0)
		return -1;
	if (!w->is_archive_done && rekey_object_replace(w->k, &w->archive, &w->archive_header, body, w->report, err) < 0)
		return -1;
	if (!w->is_manifest_done && rekey_object_replace(w->k, &w->manifest, &w->manifest_header, NULL, w->report, err) < 0)
		return -1;
	return 0;
}

static int replace_held(struct work *w, struct error *err)
{
	struct error second cleanup(err_clear) = ERROR_INIT;

	if (hold_put(w->r, w->stack, w->id, RUN, "being rekeyed", HOLD_MS, err) < 0)
		return -1;
	if (replace_headers(w, err) < 0) {
		if (hold_remove(w->r, w->stack, w->id, RUN, &second) < 0)
			err_clear(&second); /* it expires in any case */
		return -1;
	}
	/* Before the last step, so that who repeats it knows by the mark that the hold is still to be let go. */
	if (hold_remove(w->r, w->stack, w->id, RUN, &second) < 0 && second.class != ERR_DENIED && second.class != ERR_REFUSED)
		return err_move(err, &second);
	if (put_result(w, err) < 0)
		return -1;
	w->report->outcome = REKEY_DONE;
	w->report->has_old_versions = w->k->is_versioned;
	return 0;
}

static int rekey_one(struct work *w, struct error *err)
{
	json_t *wanted cleanup(json_decrefpp) = new_texts(w->r);
	int rc = read_facts(w, err);

	if (rc < 0)
		return -1;
	find_old(w);
	if (json_array_size(w->old)) {
		w->report->added = count_missing(wanted, w->old);
		w->report->removed = count_missing(w->old, wanted);
	}
	if (rc > 0 && !json_object_get(w->text, MARK) && is_same(wanted, w->old)) {
		w->report->outcome = REKEY_UNCHANGED;
		return 0;
	}
	if (w->k->is_locked)
		return impossible(w->report,
			"the bucket has an object lock: what is replaced would stay, and open with the old keys",
			"Let the lock end and the set expire; new sets have the new recipients.");
	rc = prepare(w, err);
	return rc <= 0 ? rc : replace_held(w, err);
}

int rekey_set(const struct rekey *k, const char *stack, const char *backup_id, struct rekey_report *ret, struct error *err)
{
	struct work w cleanup(work_release) = {.k = k, .r = k->repository, .stack = stack, .id = backup_id, .report = ret};

	*ret = (struct rekey_report){0};
	w.facts_key = repository_stored_key(w.r, stack, backup_id, SET_FACTS);
	if (rekey_one(&w, err) < 0)
		return err_context(err, "could not rekey backup set \"%s\"", backup_id);
	return 0;
}

int rekey_begin(struct repository *r, const struct rekey_options *o, struct rekey *ret, struct error *err)
{
	struct driver_state state cleanup(driver_state_release) = {0};
	int unlocked;

	if (!r->is_encrypted)
		return err_set(err, ERR_CONFIG, "repository \"%s\" is not encrypted", r->name);
	if (r->encrypt_to && !age_recipient_is_valid(r->encrypt_to[0]))
		return err_set(
			err, ERR_CONFIG, "repository \"%s\" is encrypted to a passphrase, which rekey does not change", r->name);
	if (repository_check_writable(r, err) < 0)
		return -1;
	unlocked = repository_unlock(r, err);
	if (unlocked < 0 || (r->place->ops->describe && r->place->ops->describe(r->place, &state, err) < 0))
		return -1;
	*ret = (struct rekey){.repository = r,
		.has_identity = unlocked > 0,
		.is_locked = state.object_lock == DRIVER_ON,
		.is_versioned = state.versioning == DRIVER_ON || state.versioning == DRIVER_SUSPENDED};
	if (o)
		ret->options = *o;
	return 0;
}

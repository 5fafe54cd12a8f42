#include "storage/holds.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"

#define PIN_FORMAT "holdfast-pin/1"
#define HOLD_FORMAT "holdfast-hold/1"
#define NOTE_MAX_BYTES ((uint64_t)1 << 20)

/* --- putting --------------------------------------------------------------------------------------------------------------- */

static char *pin_key(const char *stack, const char *backup_id)
{
	return mem_printf("%s/backups/%s/" SET_PIN, stack, backup_id);
}

static char *hold_key(const char *stack, const char *backup_id, const char *run_id)
{
	return mem_printf("%s/backups/%s/" SET_HOLD "%s", stack, backup_id, run_id);
}

/* "root@host"; malloc'd. */
static char *who(void)
{
	const struct passwd *user = getpwuid(geteuid());
	char host[256] = "";

	if (gethostname(host, sizeof(host) - 1) < 0)
		host[0] = '\0';
	if (user)
		return mem_printf("%s@%s", user->pw_name, host);
	return mem_printf("%lu@%s", (unsigned long)geteuid(), host);
}

/* 1 put, 0 there is one already, -1. */
static int put_note(struct repository *r, const char *key, const char *tag, bool is_exclusive, json_t *note, struct error *err)
{
	const struct driver_target t = {.key = key, .tag = tag, .is_exclusive = is_exclusive};
	struct error failure cleanup(err_clear) = ERROR_INIT;
	char *text = json_dumps(note, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	int rc;

	json_decref(note);
	if (!text)
		return err_set(err, ERR_BUG, "\"%s\" cannot be written as JSON", key);
	rc = r->place->ops->put(r->place, &t, text, strlen(text), &failure);
	free(text);
	if (rc == 0)
		return 1;
	return failure.class == ERR_CONFLICT ? 0 : err_move(err, &failure);
}

static void set_text(json_t *note, const char *key, const char *text)
{
	json_object_set_new(note, key, json_text_of(text));
}

int pin_put(struct repository *r, const char *stack, const char *backup_id, const char *reason, struct error *err)
{
	char *key cleanup(mem_freep) = pin_key(stack, backup_id), *by cleanup(mem_freep) = who();
	json_t *note = json_object();
	char at[CLOCK_TEXT_BYTES];
	int rc;

	set_text(note, "format", PIN_FORMAT);
	set_text(note, "pinned_at", clock_format(clock_utc_ms(), at));
	set_text(note, "by", by);
	set_text(note, "reason", reason ? reason : "");
	rc = put_note(r, key, "pin", true, note, err);
	return rc < 0 ? err_context(err, "could not pin backup set \"%s\" in repository \"%s\"", backup_id, r->name) : rc;
}

int hold_put(struct repository *r, const char *stack, const char *backup_id, const char *run_id, const char *reason,
	int64_t for_ms, struct error *err)
{
	char *key cleanup(mem_freep) = hold_key(stack, backup_id, run_id), *by cleanup(mem_freep) = who();
	json_t *note = json_object();
	int64_t now = clock_utc_ms();
	char at[CLOCK_TEXT_BYTES];

	set_text(note, "format", HOLD_FORMAT);
	set_text(note, "put_at", clock_format(now, at));
	set_text(note, "expires_at", clock_format(now + for_ms, at));
	set_text(note, "by", by);
	set_text(note, "reason", reason);
	if (put_note(r, key, run_id, false, note, err) < 0)
		return err_context(err, "could not hold backup set \"%s\" in repository \"%s\"", backup_id, r->name);
	return 0;
}

int pin_remove(struct repository *r, const char *stack, const char *backup_id, struct error *err)
{
	char *key cleanup(mem_freep) = pin_key(stack, backup_id);
	int rc = r->place->ops->remove(r->place, key, err);

	return rc < 0 ? err_context(err, "could not unpin backup set \"%s\" in repository \"%s\"", backup_id, r->name) : rc;
}

int hold_remove(struct repository *r, const char *stack, const char *backup_id, const char *run_id, struct error *err)
{
	char *key cleanup(mem_freep) = hold_key(stack, backup_id, run_id);
	int rc = r->place->ops->remove(r->place, key, err);

	return rc < 0 ? err_context(err, "could not let go of backup set \"%s\" in repository \"%s\"", backup_id, r->name) : rc;
}

/* --- listing --------------------------------------------------------------------------------------------------------------- */

bool hold_is_name(const char *name)
{
	return strcmp(name, SET_PIN) == 0 || (strncmp(name, SET_HOLD, strlen(SET_HOLD)) == 0 && name[strlen(SET_HOLD)]);
}

static void hold_release(struct hold *h)
{
	free(h->backup_id);
	free(h->stack);
	free(h->key);
	free(h->run_id);
	free(h->by);
	free(h->reason);
	*h = (struct hold){0};
}

struct holds {
	struct hold *list;
	size_t count, cap;
};

static void holds_release(struct holds *h)
{
	holds_list_release(h->list, h->count);
	*h = (struct holds){0};
}

/* "<stack>/backups/<id>/<name>" of a pin or a hold. */
static int find_hold(void *ctx, const struct driver_object *o, struct error *err)
{
	struct holds *all = ctx;
	const char *backups = strstr(o->key, "/backups/"), *id = backups ? backups + strlen("/backups/") : NULL;
	const char *slash = id ? strchr(id, '/') : NULL;
	struct hold h = {0};

	(void)err;
	if (!slash || !hold_is_name(slash + 1))
		return 0;
	h.stack = mem_strndup(o->key, (size_t)(backups - o->key));
	h.backup_id = mem_strndup(id, (size_t)(slash - id));
	if (!stack_name_is_valid(h.stack) || !backup_id_is_valid(h.backup_id)) {
		hold_release(&h);
		return 0;
	}
	h.key = mem_strdup(o->key);
	if (strcmp(slash + 1, SET_PIN) != 0)
		h.run_id = mem_strdup(slash + 1 + strlen(SET_HOLD));
	h.put_at_ms = o->modified_at_ms;
	all->list = mem_grow(all->list, &all->cap, all->count + 1, sizeof(*all->list));
	all->list[all->count++] = h;
	return 0;
}

/* What the note says, where it can be read; the object's own time stands for the rest. */
static void take_note(struct hold *h, const json_t *note)
{
	struct error ignored cleanup(err_clear) = ERROR_INIT;
	const char *put_at = json_get_str(note, h->run_id ? "put_at" : "pinned_at", ""),
		   *expires_at = json_get_str(note, "expires_at", "");
	int64_t at;

	free(h->by);
	free(h->reason);
	h->by = mem_strdup(json_get_str(note, "by", ""));
	h->reason = mem_strdup(json_get_str(note, "reason", ""));
	if (clock_parse(put_at, &at, &ignored) == 0)
		h->put_at_ms = at;
	if (h->run_id && clock_parse(expires_at, &at, &ignored) == 0)
		h->expires_at_ms = at;
}

/* 1, 0 removed meanwhile, -1. */
static int read_note(struct repository *r, struct hold *h, struct error *err)
{
	const struct driver_ops *ops = r->place->ops;
	struct error unreadable cleanup(err_clear) = ERROR_INIT;
	struct buf text cleanup(buf_release) = {0};
	json_t *note cleanup(json_decrefpp) = NULL;
	struct driver_object o;
	int rc;

	h->by = mem_strdup("");
	h->reason = h->run_id ? mem_printf("needed by run \"%s\"", h->run_id) : mem_strdup("");
	h->expires_at_ms = h->run_id ? h->put_at_ms + HOLD_DEFAULT_MS : 0;
	rc = ops->stat(r->place, h->key, &o, &unreadable);
	if (rc == 1 && o.size_bytes <= NOTE_MAX_BYTES) {
		if (buf_reserve(&text, (size_t)o.size_bytes, err) < 0)
			return -1;
		rc = ops->read_range(r->place, h->key, 0, text.data, (size_t)o.size_bytes, &unreadable);
		note = rc == 1 ? json_read(text.data, (size_t)o.size_bytes, h->key, &unreadable) : NULL;
	}
	if (unreadable.class == ERR_CANCELLED)
		return err_move(err, &unreadable);
	if (note)
		take_note(h, note);
	return rc == 0 ? 0 : 1;
}

static int by_set(const void *a, const void *b)
{
	const struct hold *x = a, *y = b;

	return strcmp(x->key, y->key);
}

int holds_list(struct repository *r, const char *stack, struct hold **ret, size_t *ret_count, struct error *err)
{
	struct holds all cleanup(holds_release) = {0};
	char *prefix cleanup(mem_freep) = stack ? mem_printf("%s/backups/", stack) : mem_strdup("");
	size_t kept = 0;

	if (r->place->ops->list(r->place, prefix, find_hold, &all, err) < 0)
		return err_context(err, "could not list repository \"%s\"", r->name);
	if (all.count)
		qsort(all.list, all.count, sizeof(*all.list), by_set);
	for (size_t i = 0; i < all.count; i++) {
		struct hold h = all.list[i];
		int rc = read_note(r, &all.list[i], err);

		if (rc < 0)
			return -1;
		h = all.list[i];
		all.list[i] = (struct hold){0};
		if (rc == 0)
			hold_release(&h);
		else
			all.list[kept++] = h;
	}
	*ret_count = kept;
	*ret = take_ptr(all.list);
	all.count = 0;
	return 0;
}

void holds_list_release(struct hold *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		hold_release(&list[i]);
	free(list);
}

/* --- asking ---------------------------------------------------------------------------------------------------------------- */

bool hold_is_expired(const struct hold *h, int64_t now_ms)
{
	return h->run_id && h->expires_at_ms <= now_ms;
}

static bool is_of(const struct hold *h, const char *stack, const char *backup_id)
{
	return strcmp(h->backup_id, backup_id) == 0 && strcmp(h->stack, stack) == 0;
}

const struct hold *holds_find_pin(const struct hold *list, size_t count, const char *stack, const char *backup_id)
{
	for (size_t i = 0; i < count; i++)
		if (!list[i].run_id && is_of(&list[i], stack, backup_id))
			return &list[i];
	return NULL;
}

char *holds_reasons(const struct hold *list, size_t count, const char *stack, const char *backup_id, int64_t now_ms)
{
	struct buf b cleanup(buf_release) = {0};

	for (size_t i = 0; i < count; i++) {
		const struct hold *h = &list[i];

		if (h->run_id && is_of(h, stack, backup_id) && !hold_is_expired(h, now_ms))
			buf_printf(&b, "%s%s%s%s", b.len ? "; " : "", h->reason, *h->by ? " of " : "", h->by);
	}
	return b.len ? buf_take(&b) : NULL;
}

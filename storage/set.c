/*
 * Backup sets: committed, found, loaded, listed.  Only the manifest makes a set; an archive without one is what an interrupted
 * backup left.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "storage/age/vault.h"
#include "storage/facts.h"
#include "storage/manifest_fields.h"
#include "storage/object.h"

#define NAMED_MAX 10 /* sets an error message lists */

/* --- committing and loading ------------------------------------------------------------------------------------------------ */

static int put_exclusive(struct repository *r, const char *key, const char *tag, const char *text, size_t n, struct error *err)
{
	const struct driver_target t = {.key = key, .tag = tag, .is_exclusive = true};

	return r->driver->ops->put(r->driver, &t, text, n, err);
}

int backup_set_commit(
	struct repository *r, const char *stack, const char *backup_id, const char *text, size_t n, struct error *err)
{
	char *key cleanup(mem_freep) = repository_manifest_key(stack, backup_id);
	struct buf there cleanup(buf_release) = {0};
	struct error failure cleanup(err_clear) = ERROR_INIT;
	int rc;

	if (put_exclusive(r, key, backup_id, text, n, &failure) == 0)
		return 0;
	if (failure.class == ERR_CONFLICT) {
		rc = object_read(r->driver, key, &there, err);
		if (rc < 0)
			return -1;
		if (rc == 1 && there.len == n && memcmp(buf_str(&there), text, n) == 0)
			return 0; /* the step is being repeated */
		if (rc == 1)
			return err_set(err, ERR_CONFLICT, "backup set \"%s\" has been committed already, with another manifest",
				backup_id);
	}
	err_move(err, &failure);
	return err_context(err, "could not commit backup set \"%s\"", backup_id);
}

int backup_set_clear(struct repository *r, const char *stack, const char *backup_id, struct error *err)
{
	char *manifest cleanup(mem_freep) = repository_stored_key(r, stack, backup_id, SET_MANIFEST),
		       *archive cleanup(mem_freep) = repository_stored_key(r, stack, backup_id, SET_ARCHIVE),
		       *facts cleanup(mem_freep) = repository_stored_key(r, stack, backup_id, SET_FACTS),
		       *prefix cleanup(mem_freep) = mem_printf("%s/backups/%s/", stack, backup_id);
	struct driver *d = r->place;
	struct driver_object o;
	unsigned count;
	int found = d->ops->stat(d, manifest, &o, err);

	if (found != 0)
		return found;
	if (d->ops->sweep(d, prefix, 0, &count, err) < 0 && err->class != ERR_DENIED)
		return -1;
	err_clear(err);
	return object_remove(d, facts, err) < 0 || object_remove(d, archive, err) < 0 ? -1 : 0;
}

int backup_set_load(struct repository *r, const char *stack, const char *backup_id, struct manifest *ret, struct error *err)
{
	char *key cleanup(mem_freep) = repository_manifest_key(stack, backup_id);
	char *what cleanup(mem_freep) = mem_printf("manifest of backup set \"%s\"", backup_id);
	struct buf text cleanup(buf_release) = {0};
	struct manifest m cleanup(manifest_release) = {0};
	int rc = repository_unlock(r, err);

	if (rc >= 0)
		rc = object_read(r->driver, key, &text, err);
	if (rc < 0)
		return err_context(err, "could not read the %s", what);
	if (rc == 0)
		return 0;
	if (manifest_parse(buf_str(&text), text.len, what, &m, err) < 0)
		return -1;
	if (strcmp(m.backup_id, backup_id) != 0 || strcmp(m.stack, stack) != 0) {
		err_set(err, ERR_CORRUPT, "%s: it is that of another set", what);
		return err_detail(err, "It is of backup set \"%s\" of stack \"%s\".", m.backup_id, m.stack);
	}
	if (!m.has_archive || strcmp(m.archive_name, SET_ARCHIVE) != 0)
		return err_set(err, ERR_CORRUPT, "%s: it does not name the archive of the set", what);
	*ret = m;
	memset(&m, 0, sizeof(m));
	return 1;
}

/* --- finding --------------------------------------------------------------------------------------------------------------- */

struct found {
	char *stack, *id;
	uint64_t archive_bytes; /* as stored */
	bool has_manifest, has_archive, has_facts, is_pinned;
};

struct finding {
	struct found *list;
	size_t count, cap;
};

static void finding_release(struct finding *f)
{
	for (size_t i = 0; i < f->count; i++) {
		free(f->list[i].stack);
		free(f->list[i].id);
	}
	free(f->list);
	*f = (struct finding){0};
}

/* Takes "<stack>/backups/<id>/<file>" apart; the parts are malloc'd.  NULL stack where the key is none of a set. */
static struct found parse_key(const char *key, const char **ret_file)
{
	struct found f = {0};
	const char *backups = strstr(key, "/backups/"), *id, *slash;

	if (!backups)
		return f;
	id = backups + strlen("/backups/");
	slash = strchr(id, '/');
	if (!slash)
		return f;
	f.stack = mem_strndup(key, (size_t)(backups - key));
	f.id = mem_strndup(id, (size_t)(slash - id));
	*ret_file = slash + 1;
	if (stack_name_is_valid(f.stack) && backup_id_is_valid(f.id))
		return f;
	free(f.stack);
	free(f.id);
	return (struct found){0};
}

/* ${name}, encrypted or not. */
static bool is_object(const char *file, const char *name)
{
	size_t n = strlen(name);

	return strncmp(file, name, n) == 0 && (!file[n] || strcmp(file + n, VAULT_SUFFIX) == 0);
}

/* An object of a set becomes an entry; the entries of one set are joined when all are there. */
static int find_object(void *ctx, const struct driver_object *o, struct error *err)
{
	struct finding *all = ctx;
	const char *file = "";
	struct found f = parse_key(o->key, &file);

	(void)err;
	if (!f.stack)
		return 0;
	f.has_manifest = is_object(file, SET_MANIFEST);
	f.has_archive = is_object(file, SET_ARCHIVE);
	f.has_facts = strcmp(file, SET_FACTS) == 0;
	f.is_pinned = strcmp(file, SET_PINNED) == 0;
	f.archive_bytes = f.has_archive ? o->size_bytes : 0;
	all->list = mem_grow(all->list, &all->cap, all->count + 1, sizeof(*all->list));
	all->list[all->count++] = f;
	return 0;
}

static int by_id(const void *a, const void *b)
{
	const struct found *x = a, *y = b;
	int order = strcmp(x->id, y->id);

	return order ? order : strcmp(x->stack, y->stack);
}

/* Sets with a manifest, oldest first; ${stack} may be NULL. */
static int find_sets(struct repository *r, const char *stack, struct finding *ret, struct error *err)
{
	struct finding all cleanup(finding_release) = {0};
	char *prefix cleanup(mem_freep) = stack ? mem_printf("%s/backups/", stack) : mem_strdup("");
	size_t kept = 0;

	if (r->place->ops->list(r->place, prefix, find_object, &all, err) < 0)
		return err_context(err, "could not list repository \"%s\"", r->name);
	if (all.count)
		qsort(all.list, all.count, sizeof(*all.list), by_id);
	for (size_t i = 0; i < all.count; i++) {
		struct found f = all.list[i];
		struct found *last = kept ? &all.list[kept - 1] : NULL;

		if (last && by_id(last, &f) == 0) {
			last->has_manifest |= f.has_manifest;
			last->has_archive |= f.has_archive;
			last->has_facts |= f.has_facts;
			last->is_pinned |= f.is_pinned;
			last->archive_bytes += f.archive_bytes;
			free(f.stack);
			free(f.id);
		} else {
			all.list[kept++] = f;
		}
	}
	all.count = kept;
	for (size_t i = 0; i < all.count; i++) {
		if (!all.list[i].has_manifest)
			continue;
		ret->list = mem_grow(ret->list, &ret->cap, ret->count + 1, sizeof(*ret->list));
		ret->list[ret->count++] = all.list[i];
		all.list[i].stack = all.list[i].id = NULL;
	}
	return 0;
}

/* "a", "b" and 3 more: the newest first. */
static char *name_sets(const struct finding *f, const char *prefix)
{
	struct buf b = {0};
	size_t named = 0, more = 0;

	for (size_t i = f->count; i-- > 0;) {
		if (strncmp(f->list[i].id, prefix, strlen(prefix)) != 0)
			continue;
		if (named == NAMED_MAX) {
			more++;
			continue;
		}
		buf_printf(&b, "%s%s", named++ ? ", " : "", f->list[i].id);
	}
	if (more)
		buf_printf(&b, " and %zu more", more);
	return buf_take(&b);
}

int backup_set_resolve(struct repository *r, const char *stack, const char *which, char **ret_id, struct error *err)
{
	struct finding sets cleanup(finding_release) = {0};
	const char *found = NULL;
	char *names cleanup(mem_freep) = NULL;
	size_t matches = 0;

	if (find_sets(r, stack, &sets, err) < 0)
		return -1;
	if (sets.count == 0) {
		err_set(err, ERR_CONFIG, "no backup set of stack \"%s\" in repository \"%s\"", stack, r->name);
		return err_hint(err, "Run \"holdfast backup\" first, or name another stack or repository.");
	}
	for (size_t i = 0; i < sets.count; i++) {
		if (strncmp(sets.list[i].id, which, strlen(which)) == 0) {
			found = sets.list[i].id;
			matches++;
		}
	}
	if (strcmp(which, "latest") == 0) {
		found = sets.list[sets.count - 1].id;
		matches = 1;
	}
	if (matches == 1 && *which) {
		*ret_id = mem_strdup(found);
		return 0;
	}
	names = name_sets(&sets, matches ? which : "");
	if (matches)
		err_set(err, ERR_CONFIG, "more than one backup set of stack \"%s\" begins with \"%s\"", stack, which);
	else
		err_set(err, ERR_CONFIG, "no backup set \"%s\" of stack \"%s\" in repository \"%s\"", which, stack, r->name);
	err_detail(err, "There is %s.", names);
	return err_hint(err, "Give a full id, the beginning of one, or \"latest\".");
}

/* --- listing --------------------------------------------------------------------------------------------------------------- */

static void describe(struct backup_set_info *info, const struct manifest *m)
{
	info->started_at_ms = m->started_at_ms;
	info->ended_at_ms = m->ended_at_ms;
	info->archive_bytes = m->archive_bytes;
	info->tables = m->inventory.tables_count;
	for (size_t i = 0; i < m->inventory.tables_count; i++) {
		info->rows += m->inventory.tables[i].rows;
		info->content_bytes += m->inventory.tables[i].content_bytes;
	}
	for (size_t i = 0; i < m->inventory.trees_count; i++) {
		info->files += m->inventory.trees[i].files;
		info->files_bytes += m->inventory.trees[i].bytes;
	}
	info->server_version = m->inventory.server_version_text ? mem_strdup(m->inventory.server_version_text) : NULL;
	info->database = m->inventory.database ? mem_strdup(m->inventory.database) : NULL;
}

static void describe_facts(struct backup_set_info *info, struct set_facts *f)
{
	info->started_at_ms = f->started_at_ms;
	info->ended_at_ms = f->ended_at_ms;
	info->archive_bytes = f->archive_bytes;
	info->tables = f->tables;
	info->rows = f->rows;
	info->content_bytes = f->content_bytes;
	info->files = f->files;
	info->files_bytes = f->files_bytes;
	info->server_version = take_ptr(f->server_version);
	info->database = take_ptr(f->database);
}

static char *wrong_size(uint64_t is, uint64_t want)
{
	return is == want ? NULL : mem_printf("archive has %" PRIu64 " bytes instead of %" PRIu64, is, want);
}

/* The header of an encrypted archive grows with its recipients: only verify knows how long it is. */
static char *problem_of_facts(const struct found *f, const struct set_facts *facts)
{
	uint64_t body = facts->archive.body_bytes;

	if (!f->has_archive)
		return mem_strdup("archive is missing");
	if (!facts->is_encrypted)
		return wrong_size(f->archive_bytes, body);
	if (f->archive_bytes <= body || f->archive_bytes > body + AGE_HEADER_MAX_BYTES)
		return mem_printf("archive has %" PRIu64 " bytes where its body has %" PRIu64, f->archive_bytes, body);
	return NULL;
}

/* 1, or 0 and the set's problem in ${problem}. */
static int inspect_facts(struct repository *r, const struct found *f, struct backup_set_info *info, struct error *problem)
{
	struct set_facts facts cleanup(set_facts_release) = {0};

	if (!f->has_facts)
		return err_set(problem, ERR_CORRUPT, "\"%s\" is missing", SET_FACTS), 0;
	if (set_facts_load(r, f->stack, f->id, &facts, problem) <= 0)
		return 0;
	describe_facts(info, &facts);
	info->problem = problem_of_facts(f, &facts);
	return 1;
}

static int inspect_manifest(struct repository *r, const struct found *f, struct backup_set_info *info, struct error *problem)
{
	struct manifest m cleanup(manifest_release) = {0};

	if (backup_set_load(r, f->stack, f->id, &m, problem) <= 0)
		return 0;
	describe(info, &m);
	info->problem = f->has_archive ? wrong_size(f->archive_bytes, m.archive_bytes) : mem_strdup("archive is missing");
	return 1;
}

/* A damaged set is listed with its problem; only what has nothing to do with the set is an error.  1, 0 the set is gone, -1. */
static int inspect(struct repository *r, const struct found *f, struct backup_set_info *info, struct error *err)
{
	struct error problem cleanup(err_clear) = ERROR_INIT;
	bool is_brief = r->is_encrypted || (f->has_facts && (r->place->features & DRIVER_REMOTE));

	if ((is_brief ? inspect_facts : inspect_manifest)(r, f, info, &problem) == 0) {
		if (problem.class == ERR_NONE)
			return 0;
		if (problem.class != ERR_CORRUPT && problem.class != ERR_CONFIG)
			return err_move(err, &problem);
		info->is_of_later_version = problem.class == ERR_CONFIG;
		info->problem = take_ptr(problem.message);
	}
	info->stack = mem_strdup(f->stack);
	info->backup_id = mem_strdup(f->id);
	info->is_encrypted = r->is_encrypted;
	info->is_pinned = f->is_pinned;
	return 1;
}

int backup_set_list(struct repository *r, const char *stack, struct backup_set_info **ret, size_t *ret_count, struct error *err)
{
	struct finding sets cleanup(finding_release) = {0};
	struct backup_set_info *list;
	size_t count = 0;

	if (find_sets(r, stack, &sets, err) < 0)
		return -1;
	list = mem_zalloc((sets.count + 1) * sizeof(*list));
	for (size_t i = 0; i < sets.count; i++) {
		int rc = inspect(r, &sets.list[i], &list[count], err);

		if (rc < 0) {
			backup_set_list_release(list, count);
			return -1;
		}
		count += (size_t)rc; /* 0: removed meanwhile */
	}
	*ret = list;
	*ret_count = count;
	return 0;
}

void backup_set_list_release(struct backup_set_info *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(list[i].backup_id);
		free(list[i].stack);
		free(list[i].server_version);
		free(list[i].database);
		free(list[i].problem);
	}
	free(list);
}

/*
 * show: what a backup set holds; and how commands find one.
 */
#include "cmd/sets.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/json.h"
#include "cmd/commands.h"
#include "cmd/exit_status.h"
#include "cmd/output.h"
#include "cmd/target.h"
#include "orchestrator/steps/steps.h"

const char *output_text(const json_t *outputs, const char *step, const char *name)
{
	return json_string_value(json_object_get(json_object_get(outputs, step), name));
}

uint64_t output_number(const json_t *outputs, const char *step, const char *name)
{
	json_int_t n = json_integer_value(json_object_get(json_object_get(outputs, step), name));

	return n > 0 ? (uint64_t)n : 0;
}

char *set_problem_text(const char *problem, bool is_of_later_version)
{
	return problem ? mem_printf("%s: %s", is_of_later_version ? "NOT READ" : "DAMAGED", problem) : NULL;
}

/* ---- finding ---- */

/* The only stack of the repository that has a set which fits; ERR_CONFIG when several have one. */
static int stack_of_set(const struct backup_set_info *sets, size_t count, const char *which, char **ret, struct error *err)
{
	const char *stack = NULL;

	for (size_t i = 0; i < count; i++) {
		if (strcmp(which, "latest") != 0 && strncmp(sets[i].backup_id, which, strlen(which)) != 0)
			continue;
		if (stack && strcmp(stack, sets[i].stack) != 0) {
			err_set(err, ERR_CONFIG, "\"%s\" may be a backup set of stack \"%s\" or of stack \"%s\"", which, stack,
				sets[i].stack);
			return err_hint(err, "Choose one with --stack.");
		}
		stack = sets[i].stack;
	}
	if (!stack) {
		err_set(err, ERR_CONFIG, "there is no backup set \"%s\"", which);
		return err_hint(err, "\"holdfast list\" shows what there is.");
	}
	*ret = mem_strdup(stack);
	return 0;
}

int set_find(struct repository *r, const char *stack, const char *which, char **ret_stack, char **ret_id, struct error *err)
{
	char *found cleanup(mem_freep) = stack ? mem_strdup(stack) : NULL;

	if (!found) {
		struct backup_set_info *sets = NULL;
		size_t count = 0;
		int rc;

		if (backup_set_list(r, NULL, &sets, &count, err) < 0)
			return -1;
		rc = stack_of_set(sets, count, which, &found, err);
		backup_set_list_release(sets, count);
		if (rc < 0)
			return -1;
	}
	if (backup_set_resolve(r, found, which, ret_id, err) < 0)
		return -1;
	*ret_stack = take_ptr(found);
	return 0;
}

void set_place_release(struct set_place *p)
{
	repository_close(p->repository);
	free(p->stack);
	free(p->id);
	*p = (struct set_place){0};
}

/* The better of two places: an id that sorts later, or the same where it can be read. */
static void take_better(struct set_place *best, struct set_place *found)
{
	int order = best->id ? strcmp(found->id, best->id) : 1;

	if (order < 0 || (order == 0 && (best->is_readable || !found->is_readable))) {
		set_place_release(found);
		return;
	}
	set_place_release(best);
	*best = *found;
	*found = (struct set_place){0};
}

static int locate_in(
	struct app *app, const struct target *t, size_t at, const char *which, struct set_place *ret, struct error *err)
{
	unsigned flags = t->repositories_count > 1 ? REPOSITORY_BRIEF : 0;
	struct set_place p cleanup(set_place_release) = {0};
	int is_readable;

	if (target_open_repository(app, t->repositories[at], flags, &p.repository, err) < 0) {
		if (t->repositories_count > 1 && err->class != ERR_CANCELLED)
			ui_warn(&app->ui, "%s", err->message);
		return -1;
	}
	if (set_find(p.repository, t->stack, which, &p.stack, &p.id, err) < 0)
		return -1;
	is_readable = repository_unlock(p.repository, err);
	if (is_readable < 0)
		return -1;
	p.is_readable = is_readable;
	take_better(ret, &p);
	return 0;
}

int set_locate(struct app *app, const struct target *t, const char *which, struct set_place *ret, struct error *err)
{
	struct error first cleanup(err_clear) = ERROR_INIT, failure cleanup(err_clear) = ERROR_INIT;
	bool is_latest = strcmp(which, "latest") == 0;

	for (size_t i = 0; i < t->repositories_count && (is_latest || !ret->is_readable); i++) {
		if (locate_in(app, t, i, which, ret, &failure) == 0)
			continue;
		if (failure.class == ERR_CANCELLED)
			return err_move(err, &failure);
		if (first.class == ERR_NONE)
			err_move(&first, &failure);
		err_clear(&failure);
	}
	if (ret->id)
		return 0;
	return first.class != ERR_NONE ? err_move(err, &first) : err_set(err, ERR_CONFIG, "no repository is named");
}

int set_load(struct app *app, const struct target *t, const char *which, struct set_place *ret, struct manifest *ret_manifest,
	struct error *err)
{
	int found;

	if (set_locate(app, t, which, ret, err) < 0)
		return -1;
	found = backup_set_load(ret->repository, ret->stack, ret->id, ret_manifest, err);
	if (found < 0)
		return -1;
	return found ? 0 : err_set(err, ERR_CONFIG, "there is no backup set \"%s\" of stack \"%s\"", ret->id, ret->stack);
}

/* ---- show ---- */

static void print_names(const char *label, const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		printf("%-14s %s\n", i ? "" : label, names[i]);
}

static void print_head(const struct manifest *m)
{
	const struct inventory *inv = &m->inventory;
	char *from cleanup(mem_freep) = text_time(m->started_at_ms), *age cleanup(mem_freep) = text_age(m->started_at_ms);
	char *took cleanup(mem_freep) = text_duration(m->ended_at_ms - m->started_at_ms);
	char *stored cleanup(mem_freep) = text_size(m->archive_bytes), *size cleanup(mem_freep) = text_size(inv->database_bytes);
	char sha256[SHA256_HEX_BYTES];

	printf("backup set     %s\n", m->backup_id);
	printf("stack          %s%s%s\n", m->stack, m->app_version ? ", version " : "", m->app_version ? m->app_version : "");
	printf("taken          %s (%s), in %s, on %s by %s\n", from, age, took, m->host ? m->host : "-",
		m->tool_version ? m->tool_version : "-");
	printf("database       %s, owner %s, %s on the server\n", inv->database ? inv->database : "-",
		inv->owner ? inv->owner : "-", size);
	printf("server         PostgreSQL %s\n", inv->server_version_text ? inv->server_version_text : "-");
	printf("encoding       %s, %s%s%s, collate %s, ctype %s\n", inv->encoding ? inv->encoding : "-",
		inv->locale_provider ? inv->locale_provider : "-", inv->icu_locale ? " " : "",
		inv->icu_locale ? inv->icu_locale : "", inv->collate ? inv->collate : "-", inv->ctype ? inv->ctype : "-");
	printf("snapshot       %s\n", inv->snapshot_lsn ? inv->snapshot_lsn : "-");
	if (m->has_archive)
		printf("archive        %s, %s\nsha256         %s\n", m->archive_name, stored,
			hex_encode(m->archive_sha256, SHA256_BYTES, sha256));
}

static void print_tables(const struct inventory *inv)
{
	struct table t = {.columns = 5, .right = 6};
	char digest[ROW_DIGEST_HEX_BYTES];

	table_row(&t, (const char *const[]){"TABLE", "ROWS", "CONTENT", "KIND", "ROW DIGEST"});
	for (size_t i = 0; i < inv->tables_count; i++) {
		const struct inv_table *x = &inv->tables[i];
		char *name cleanup(mem_freep) = x->kind == INV_LARGE_OBJECTS ? mem_strdup("(large objects)")
									     : mem_printf("%s.%s", x->schema, x->name);
		char *rows cleanup(mem_freep) = text_count(x->rows), *content cleanup(mem_freep) = text_size(x->content_bytes);

		table_row(&t,
			(const char *const[]){
				name, rows, content, inv_table_kind_name(x->kind), row_digest_format(&x->digest, digest)});
	}
	printf("\n");
	table_print(&t);
	table_release(&t);
}

static void print_trees(const struct inventory *inv)
{
	struct table t = {.columns = 5, .right = 0xe};

	if (!inv->trees_count)
		return;
	table_row(&t, (const char *const[]){"FILES", "ENTRIES", "FILES", "CONTENT", "PATH"});
	for (size_t i = 0; i < inv->trees_count; i++) {
		const struct inv_tree *x = &inv->trees[i];
		char *entries cleanup(mem_freep) = text_count(x->entries), *files cleanup(mem_freep) = text_count(x->files);
		char *bytes cleanup(mem_freep) = text_size(x->bytes);

		table_row(&t, (const char *const[]){x->label, entries, files, bytes, x->path});
	}
	printf("\n");
	table_print(&t);
	table_release(&t);
}

static void print_left_out(const struct inventory *inv)
{
	struct table t = {.columns = 3};

	if (!inv->left_out_count)
		return;
	table_row(&t, (const char *const[]){"NOT IN THE SET", "KIND", "WHY"});
	for (size_t i = 0; i < inv->left_out_count; i++) {
		const struct inv_left_out *x = &inv->left_out[i];
		char *name cleanup(mem_freep) = mem_printf(
			"%s%s%s", x->schema ? x->schema : "", x->schema && *x->schema ? "." : "", x->name ? x->name : "");

		table_row(&t, (const char *const[]){name, x->kind, x->reason});
	}
	printf("\n");
	table_print(&t);
	table_release(&t);
}

static void print_rest(const struct inventory *inv)
{
	for (size_t i = 0; i < inv->extensions_count; i++)
		printf("%-14s %s %s in schema %s\n", i ? "" : "extensions", inv->extensions[i].name, inv->extensions[i].version,
			inv->extensions[i].schema ? inv->extensions[i].schema : "-");
	for (size_t i = 0; i < inv->roles_count; i++)
		printf("%-14s %s%s%s%s\n", i ? "" : "roles", inv->roles[i].name, inv->roles[i].why ? " (" : "",
			inv->roles[i].why ? inv->roles[i].why : "", inv->roles[i].why ? ")" : "");
	print_names("publications", inv->publications, inv->publications_count);
	print_names("subscriptions", inv->subscriptions, inv->subscriptions_count);
	print_names("tablespaces", inv->tablespaces, inv->tablespaces_count);
	if (inv->sequences_count)
		printf("%-14s %zu\n", "sequences", inv->sequences_count);
}

static int show_json(struct app *app, const struct manifest *m, struct error *err)
{
	struct buf text cleanup(buf_release) = {0};
	json_t *doc;

	if (manifest_write(m, &text, err) < 0)
		return -1;
	doc = json_read(buf_str(&text), text.len, "manifest", err);
	if (!doc)
		return -1;
	json_object_set_new(app->result, "manifest", doc);
	return 0;
}

int cmd_show(struct app *app, struct error *err)
{
	struct target t cleanup(target_release) = {0};
	struct set_place place cleanup(set_place_release) = {0};
	struct manifest m cleanup(manifest_release) = {0};

	if (target_resolve(app, NEED_REPOSITORY, &t, err) < 0 || set_load(app, &t, app->options.operands[0], &place, &m, err) < 0)
		return -1;
	if (app->is_json)
		return show_json(app, &m, err);
	print_head(&m);
	print_rest(&m.inventory);
	print_tables(&m.inventory);
	print_trees(&m.inventory);
	print_left_out(&m.inventory);
	return 0;
}

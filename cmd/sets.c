/*
 * list, show, verify: what a repository holds.
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

/* Repository and, where one follows from what is given, stack. */
static int open_place(struct app *app, struct target *t, struct repository **ret, struct error *err)
{
	if (target_resolve(app, NEED_REPOSITORY, t, err) < 0)
		return -1;
	return target_open_repository(app, t->repository, false, ret, err);
}

/* ---- list ---- */

static json_t *json_of_set(const struct backup_set_info *s)
{
	json_t *o = json_object();

	json_object_set_new(o, "id", json_string(s->backup_id));
	json_object_set_new(o, "stack", json_string(s->stack));
	json_object_set_new(o, "started_at", json_time(s->started_at_ms));
	json_object_set_new(o, "ended_at", json_time(s->ended_at_ms));
	json_object_set_new(o, "database", s->database ? json_string(s->database) : json_null());
	json_object_set_new(o, "server_version", s->server_version ? json_string(s->server_version) : json_null());
	json_object_set_new(o, "tables", json_integer((json_int_t)s->tables));
	json_object_set_new(o, "rows", json_integer((json_int_t)s->rows));
	json_object_set_new(o, "content_bytes", json_integer((json_int_t)s->content_bytes));
	json_object_set_new(o, "archive_bytes", json_integer((json_int_t)s->archive_bytes));
	json_object_set_new(o, "problem", s->problem ? json_string(s->problem) : json_null());
	return o;
}

static void list_row(struct table *t, const struct backup_set_info *s)
{
	char *when cleanup(mem_freep) = text_time(s->started_at_ms), *rows cleanup(mem_freep) = text_count(s->rows);
	char *tables cleanup(mem_freep) = text_count(s->tables), *content cleanup(mem_freep) = text_size(s->content_bytes);
	char *stored cleanup(mem_freep) = text_size(s->archive_bytes);
	char *problem cleanup(mem_freep) = s->problem ? mem_printf("DAMAGED: %s", s->problem) : mem_strdup("");

	table_row(t, (const char *const[]){s->backup_id, s->stack, when, s->database, tables, rows, content, stored, problem});
}

int cmd_list(struct app *app, struct error *err)
{
	struct target t cleanup(target_release) = {0};
	struct repository *r cleanup(repository_closep) = NULL;
	struct table table = {.columns = 9, .right = 0xf0};
	struct backup_set_info *sets = NULL;
	json_t *list = json_array();
	size_t count = 0;

	json_object_set_new(app->result, "sets", list);
	if (open_place(app, &t, &r, err) < 0 || backup_set_list(r, t.stack, &sets, &count, err) < 0)
		return -1;
	table_row(
		&table, (const char *const[]){"ID", "STACK", "TAKEN AT", "DATABASE", "TABLES", "ROWS", "CONTENT", "STORED", ""});
	for (size_t i = 0; i < count; i++) {
		json_array_append_new(list, json_of_set(&sets[i]));
		list_row(&table, &sets[i]);
	}
	if (!app->is_json && count)
		table_print(&table);
	if (!app->is_json && !count)
		ui_note(&app->ui, "no backup sets%s%s in repository \"%s\"", t.stack ? " of stack " : "", t.stack ? t.stack : "",
			r->name);
	table_release(&table);
	backup_set_list_release(sets, count);
	return 0;
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
	struct repository *r cleanup(repository_closep) = NULL;
	struct manifest m cleanup(manifest_release) = {0};
	char *stack cleanup(mem_freep) = NULL, *id cleanup(mem_freep) = NULL;
	int found;

	if (open_place(app, &t, &r, err) < 0 || set_find(r, t.stack, app->options.operands[0], &stack, &id, err) < 0)
		return -1;
	found = backup_set_load(r, stack, id, &m, err);
	if (found < 0)
		return -1;
	if (found == 0)
		return err_set(err, ERR_CONFIG, "there is no backup set \"%s\" of stack \"%s\"", id, stack);
	if (app->is_json)
		return show_json(app, &m, err);
	print_head(&m);
	print_rest(&m.inventory);
	print_tables(&m.inventory);
	print_left_out(&m.inventory);
	return 0;
}

/* ---- verify ---- */

struct verification {
	struct app *app;
	struct repository *repository;
	enum verify_level level;
	json_t *list;
	struct table table;
	size_t damaged;
	bool is_all;             /* what cannot be read is noted and passed over, too */
	struct error unreadable; /* the first of those */
};

static int verify_set(struct verification *v, const char *stack, const char *id, struct verify_report *report, struct error *err)
{
	struct manifest m cleanup(manifest_release) = {0};
	struct progress progress = {0};
	struct event ev = {.kind = EVENT_STEP_STARTED, .step = id, .uses = "verify", .progress = &progress};
	int64_t started = clock_mono_ms();
	int found = backup_set_load(v->repository, stack, id, &m, err), rc;

	if (found < 0)
		return -1;
	if (found == 0)
		return err_set(err, ERR_CONFIG, "there is no backup set \"%s\" of stack \"%s\"", id, stack);
	atomic_store(&progress.phase, "verify");
	atomic_store(&progress.bytes_total, v->level == VERIFY_QUICK ? 0 : m.archive_bytes);
	event_emit(&v->app->ui.sink, &ev);
	rc = backup_set_verify(v->repository, stack, &m, v->level, (int)option_int(&v->app->options, OPT_JOBS),
		&step_verify_digest, &v->app->cancel, &progress, report, err);
	ev.kind = rc < 0 ? EVENT_STEP_FAILED : EVENT_STEP_DONE;
	ev.elapsed_ms = clock_mono_ms() - started;
	event_emit(&v->app->ui.sink, &ev);
	return rc;
}

static json_t *json_of_verification(
	const char *stack, const char *id, const struct verify_report *report, const struct error *failed)
{
	json_t *o = json_pack("{s:s, s:s, s:b}", "id", id, "stack", stack, "ok", failed->class == ERR_NONE);

	json_object_set_new(o, "problem", failed->class == ERR_NONE ? json_null() : json_string(failed->message));
	json_object_set_new(o, "members", json_integer((json_int_t)report->members));
	json_object_set_new(o, "tables", json_integer((json_int_t)report->tables));
	json_object_set_new(o, "rows", json_integer((json_int_t)report->rows));
	json_object_set_new(o, "stored_bytes", json_integer((json_int_t)report->stored_bytes));
	json_object_set_new(o, "content_bytes", json_integer((json_int_t)report->content_bytes));
	return o;
}

/* Damage is noted and the next set read; whatever else goes wrong ends it. */
static int verify_one(struct verification *v, const char *stack, const char *id, struct error *err)
{
	struct error failed cleanup(err_clear) = ERROR_INIT;
	struct verify_report report = {0};
	int rc = verify_set(v, stack, id, &report, &failed);
	char *stored cleanup(mem_freep) = text_size(report.stored_bytes), *rows cleanup(mem_freep) = text_count(report.rows);
	char *verdict cleanup(mem_freep) = rc == 0
		? mem_strdup("ok")
		: mem_printf("%s: %s", failed.class == ERR_CORRUPT ? "DAMAGED" : "NOT READ", failed.message);

	if (rc < 0 && failed.class != ERR_CORRUPT && !(v->is_all && failed.class == ERR_CONFIG))
		return err_move(err, &failed);
	json_array_append_new(v->list, json_of_verification(stack, id, &report, &failed));
	table_row(
		&v->table, (const char *const[]){id, stack, rc == 0 ? stored : "", rc == 0 && report.rows ? rows : "", verdict});
	v->damaged += rc < 0 && failed.class == ERR_CORRUPT;
	if (failed.class != ERR_NONE && failed.class != ERR_CORRUPT && v->unreadable.class == ERR_NONE)
		err_move(&v->unreadable, &failed);
	return 0;
}

static int verify_all(struct verification *v, const char *stack, struct error *err)
{
	struct backup_set_info *sets = NULL;
	size_t count = 0;
	int rc = 0;

	if (backup_set_list(v->repository, stack, &sets, &count, err) < 0)
		return -1;
	for (size_t i = 0; i < count && rc == 0; i++)
		rc = verify_one(v, sets[i].stack, sets[i].backup_id, err);
	backup_set_list_release(sets, count);
	return rc;
}

static int verify_asked(struct verification *v, const char *stack, const char *which, struct error *err)
{
	char *found cleanup(mem_freep) = NULL, *id cleanup(mem_freep) = NULL;

	v->is_all = strcmp(which, "all") == 0;
	if (v->is_all)
		return verify_all(v, stack, err);
	if (set_find(v->repository, stack, which, &found, &id, err) < 0)
		return -1;
	return verify_one(v, found, id, err);
}

int cmd_verify(struct app *app, struct error *err)
{
	struct target t cleanup(target_release) = {0};
	struct repository *r cleanup(repository_closep) = NULL;
	struct verification v = {.app = app, .list = json_array(), .table = {.columns = 5, .right = 0xc}};
	size_t checked;
	int rc;

	json_object_set_new(app->result, "sets", v.list);
	if (open_place(app, &t, &r, err) < 0)
		return -1;
	v.repository = r;
	v.level = option_flag(&app->options, OPT_QUICK) ? VERIFY_QUICK : VERIFY_CONTENT;
	table_row(&v.table, (const char *const[]){"ID", "STACK", "READ", "ROWS", "RESULT"});
	rc = verify_asked(&v, t.stack, app->options.operands[0], err);
	checked = json_array_size(v.list);
	if (checked && !app->is_json && (!app->ui.is_quiet || v.damaged || v.unreadable.class != ERR_NONE))
		table_print(&v.table);
	table_release(&v.table);
	if (rc == 0 && v.damaged) {
		err_clear(&v.unreadable);
		err_set(err, ERR_CORRUPT, "%zu of %zu backup sets %s damaged", v.damaged, checked, v.damaged == 1 ? "is" : "are");
		return err_hint(err, "Take a new backup, and keep the damaged %s until another one is verified.",
			v.damaged == 1 ? "set" : "sets");
	}
	if (rc == 0 && v.unreadable.class != ERR_NONE)
		return err_move(err, &v.unreadable);
	err_clear(&v.unreadable);
	if (rc == 0 && !checked)
		ui_note(&app->ui, "no backup sets to verify");
	return rc;
}

/*
 * list: the sets of all repositories together, each once, with where it is.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/json.h"
#include "cmd/commands.h"
#include "cmd/exit_status.h"
#include "cmd/output.h"
#include "cmd/sets.h"
#include "cmd/target.h"

/* What one repository has. */
struct listing {
	char *name;
	struct backup_set_info *sets;
	size_t count;
};

struct listings {
	struct listing *list;
	size_t count;
	size_t unreachable;
};

static void listings_release(struct listings *l)
{
	for (size_t i = 0; i < l->count; i++) {
		backup_set_list_release(l->list[i].sets, l->list[i].count);
		free(l->list[i].name);
	}
	free(l->list);
}

static int read_one(struct app *app, const struct target *t, size_t at, struct listings *l, struct error *err)
{
	struct repository *r cleanup(repository_closep) = NULL;
	struct listing *x = &l->list[l->count];

	if (target_open_repository(app, t->repositories[at], t->repositories_count > 1 ? REPOSITORY_BRIEF : 0, &r, err) < 0 ||
		backup_set_list(r, t->stack, &x->sets, &x->count, err) < 0)
		return -1;
	x->name = mem_strdup(r->name);
	l->count++;
	return 0;
}

static int read_all(struct app *app, const struct target *t, struct listings *l, struct error *err)
{
	struct error failure cleanup(err_clear) = ERROR_INIT;

	l->list = mem_zalloc((t->repositories_count + 1) * sizeof(*l->list));
	for (size_t i = 0; i < t->repositories_count; i++) {
		if (read_one(app, t, i, l, &failure) == 0)
			continue;
		if (failure.class == ERR_CANCELLED || (i + 1 == t->repositories_count && l->count == 0))
			return err_move(err, &failure);
		ui_warn(&app->ui, "%s", failure.message);
		l->unreachable++;
		err_clear(&failure);
	}
	return 0;
}

/* --- one line of the list --- */

/* A set and the repositories that have it. */
struct entry {
	const struct backup_set_info *set;
	struct buf names;
	json_t *places;
	const char *problem; /* the first there is */
	bool is_of_later_version, is_pinned;
};

static bool is_same(const struct backup_set_info *a, const struct backup_set_info *b)
{
	return strcmp(a->backup_id, b->backup_id) == 0 && strcmp(a->stack, b->stack) == 0;
}

/* The next set in order of ids that no earlier call gave: the smallest of the lists' heads. */
static const struct backup_set_info *next_set(const struct listings *l, const size_t *heads)
{
	const struct backup_set_info *least = NULL;

	for (size_t i = 0; i < l->count; i++) {
		const struct backup_set_info *x = heads[i] < l->list[i].count ? &l->list[i].sets[heads[i]] : NULL;
		int order = x && least ? strcmp(x->backup_id, least->backup_id) : -1;

		if (x && (!least || order < 0 || (order == 0 && strcmp(x->stack, least->stack) < 0)))
			least = x;
	}
	return least;
}

/* A set that is readable in plain text tells more than an encrypted copy of it. */
static void join(struct entry *e, const struct listing *l, const struct backup_set_info *x)
{
	if (!e->set || (e->set->is_encrypted && !x->is_encrypted) || (e->set->problem && !x->problem))
		e->set = x;
	buf_printf(&e->names, "%s%s", e->names.len ? ", " : "", l->name);
	json_array_append_new(e->places, json_string(l->name));
	e->is_pinned |= x->is_pinned;
	if (!x->problem || e->problem)
		return;
	e->problem = x->problem;
	e->is_of_later_version = x->is_of_later_version;
}

static bool next_entry(const struct listings *l, size_t *heads, struct entry *ret)
{
	const struct backup_set_info *least = next_set(l, heads);

	*ret = (struct entry){0};
	if (!least)
		return false;
	ret->places = json_array();
	for (size_t i = 0; i < l->count; i++)
		if (heads[i] < l->list[i].count && is_same(&l->list[i].sets[heads[i]], least))
			join(ret, &l->list[i], &l->list[i].sets[heads[i]++]);
	return true;
}

static void entry_release(struct entry *e)
{
	buf_release(&e->names);
	json_decref(e->places);
}

static json_t *json_of_entry(const struct entry *e)
{
	const struct backup_set_info *s = e->set;
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
	json_object_set_new(o, "files", json_integer((json_int_t)s->files));
	json_object_set_new(o, "files_bytes", json_integer((json_int_t)s->files_bytes));
	json_object_set_new(o, "archive_bytes", json_integer((json_int_t)s->archive_bytes));
	json_object_set_new(o, "encrypted", json_boolean(s->is_encrypted));
	json_object_set_new(o, "pinned", json_boolean(e->is_pinned));
	json_object_set(o, "repositories", e->places);
	json_object_set_new(o, "problem", e->problem ? json_string(e->problem) : json_null());
	return o;
}

static void add_row(struct table *t, const struct entry *e, bool has_places)
{
	const struct backup_set_info *s = e->set;
	char *when cleanup(mem_freep) = text_time(s->started_at_ms), *rows cleanup(mem_freep) = text_count(s->rows);
	char *tables cleanup(mem_freep) = text_count(s->tables), *rows_size cleanup(mem_freep) = text_size(s->content_bytes);
	char *files cleanup(mem_freep) = text_size(s->files_bytes);
	char *content cleanup(mem_freep) = s->files ? mem_printf("%s + %s", rows_size, files) : mem_strdup(rows_size);
	char *stored cleanup(mem_freep) = text_size(s->archive_bytes);
	char *problem cleanup(mem_freep) = e->problem ? set_problem_text(e->problem, e->is_of_later_version)
						      : mem_strdup(e->is_pinned ? "pinned" : "");
	const char *const cells[] = {s->backup_id, s->stack, when,
		s->database               ? s->database
			: s->is_encrypted ? "(encrypted)"
					  : NULL,
		tables, rows, content, stored, has_places ? buf_str(&e->names) : problem, problem};

	table_row(t, cells);
}

static void print_list(struct app *app, const struct listings *l, const struct target *t, json_t *list)
{
	bool has_places = l->count > 1;
	struct table table = {.columns = has_places ? 10 : 9, .right = 0xf0};
	size_t *heads cleanup(mem_freep) = mem_zalloc((l->count + 1) * sizeof(*heads));
	struct entry e;

	table_row(&table,
		(const char *const[]){"ID", "STACK", "TAKEN AT", "DATABASE", "TABLES", "ROWS", "CONTENT", "STORED",
			has_places ? "REPOSITORIES" : "", ""});
	while (next_entry(l, heads, &e)) {
		json_array_append_new(list, json_of_entry(&e));
		add_row(&table, &e, has_places);
		entry_release(&e);
	}
	if (!app->is_json && json_array_size(list))
		table_print(&table);
	if (!app->is_json && !json_array_size(list))
		ui_note(&app->ui, "no backup sets%s%s in %s%s%s", t->stack ? " of stack " : "", t->stack ? t->stack : "",
			has_places ? "the repositories" : "repository \"", has_places ? "" : l->list[0].name,
			has_places ? "" : "\"");
	table_release(&table);
}

int cmd_list(struct app *app, struct error *err)
{
	struct target t cleanup(target_release) = {0};
	struct listings l cleanup(listings_release) = {0};
	json_t *list = json_array();

	json_object_set_new(app->result, "sets", list);
	if (target_resolve(app, NEED_REPOSITORY, &t, err) < 0 || read_all(app, &t, &l, err) < 0)
		return -1;
	print_list(app, &l, &t, list);
	if (l.unreachable)
		app->exit_status = EXIT_DEGRADED;
	return 0;
}

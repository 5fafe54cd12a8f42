/*
 * verify: reads backup sets back.
 */
#include "cmd/sets.h"

#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/json.h"
#include "cmd/commands.h"
#include "cmd/exit_status.h"
#include "cmd/output.h"
#include "cmd/target.h"
#include "orchestrator/steps/steps.h"
#include "storage/facts.h"

struct verification {
	struct app *app;
	struct repository *repository;
	enum verify_level level;
	json_t *list;
	struct table table;
	size_t damaged;
	bool is_stored_only;     /* an encrypted set, and no identity */
	bool is_all;             /* what cannot be read is noted and passed over, too */
	struct error unreadable; /* the first of those */
};

/* Where the set is encrypted and nobody here has a key: what is stored is compared with the checksum that was made of it. */
static int verify_stored(struct verification *v, const char *stack, const char *id, struct progress *progress,
	struct verify_report *report, struct error *err)
{
	struct set_facts facts cleanup(set_facts_release) = {0};
	int found = set_facts_load(v->repository, stack, id, &facts, err);

	if (found < 0)
		return -1;
	if (found == 0)
		return err_set(err, ERR_CONFIG, "there is no backup set \"%s\" of stack \"%s\"", id, stack);
	v->is_stored_only = true;
	atomic_store(&progress->bytes_total, v->level == VERIFY_QUICK ? 0 : facts.archive.body_bytes);
	return set_facts_verify(v->repository, &facts, v->level == VERIFY_QUICK ? VERIFY_QUICK : VERIFY_CHECKSUMS,
		&v->app->cancel, progress, report, err);
}

static int verify_content(struct verification *v, const char *stack, const char *id, struct progress *progress,
	struct verify_report *report, struct error *err)
{
	struct manifest m cleanup(manifest_release) = {0};
	int found = backup_set_load(v->repository, stack, id, &m, err);

	if (found < 0)
		return -1;
	if (found == 0)
		return err_set(err, ERR_CONFIG, "there is no backup set \"%s\" of stack \"%s\"", id, stack);
	atomic_store(&progress->bytes_total, v->level == VERIFY_QUICK ? 0 : m.archive_bytes);
	return backup_set_verify(v->repository, stack, &m, v->level, (int)option_int(&v->app->options, OPT_JOBS),
		&step_verify_digest, &v->app->cancel, progress, report, err);
}

static int verify_set(struct verification *v, const char *stack, const char *id, struct verify_report *report, struct error *err)
{
	struct progress progress = {0};
	struct event ev = {.kind = EVENT_STEP_STARTED, .step = id, .uses = "verify", .progress = &progress};
	int64_t started = clock_mono_ms();
	int rc = repository_unlock(v->repository, err);

	if (rc < 0)
		return -1;
	atomic_store(&progress.phase, "verify");
	event_emit(&v->app->ui.sink, &ev);
	rc = (rc == 0 ? verify_stored : verify_content)(v, stack, id, &progress, report, err);
	ev.kind = rc < 0 ? EVENT_STEP_FAILED : EVENT_STEP_DONE;
	ev.elapsed_ms = clock_mono_ms() - started;
	event_emit(&v->app->ui.sink, &ev);
	return rc;
}

static json_t *json_of_verification(
	const char *stack, const char *id, const char *checked, const struct verify_report *report, const struct error *failed)
{
	json_t *o = json_pack("{s:s, s:s, s:b}", "id", id, "stack", stack, "ok", failed->class == ERR_NONE);

	json_object_set_new(o, "problem", failed->class == ERR_NONE ? json_null() : json_string(failed->message));
	json_object_set_new(o, "checked", json_string(checked));
	json_object_set_new(o, "members", json_integer((json_int_t)report->members));
	json_object_set_new(o, "tables", json_integer((json_int_t)report->tables));
	json_object_set_new(o, "rows", json_integer((json_int_t)report->rows));
	json_object_set_new(o, "stored_bytes", json_integer((json_int_t)report->stored_bytes));
	json_object_set_new(o, "content_bytes", json_integer((json_int_t)report->content_bytes));
	return o;
}

static const char *what_was_checked(const struct verification *v)
{
	if (v->level == VERIFY_QUICK)
		return "sizes";
	return v->is_stored_only ? "stored bytes" : "content";
}

/* Damage is noted and the next set read; whatever else goes wrong ends it. */
static int verify_one(struct verification *v, const char *stack, const char *id, struct error *err)
{
	struct error failed cleanup(err_clear) = ERROR_INIT;
	struct verify_report report = {0};
	int rc = (v->is_stored_only = false, verify_set(v, stack, id, &report, &failed));
	char *stored cleanup(mem_freep) = text_size(report.stored_bytes), *rows cleanup(mem_freep) = text_count(report.rows);
	char *verdict cleanup(mem_freep) = rc == 0
		? mem_strdup(v->is_stored_only ? "ok as stored (no identity to read it with)" : "ok")
		: mem_printf("%s: %s", failed.class == ERR_CORRUPT ? "DAMAGED" : "NOT READ", failed.message);

	if (rc < 0 && failed.class != ERR_CORRUPT && !(v->is_all && failed.class == ERR_CONFIG))
		return err_move(err, &failed);
	json_array_append_new(v->list, json_of_verification(stack, id, what_was_checked(v), &report, &failed));
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

static int verify_asked(struct verification *v, const struct target *t, const char *which, struct error *err)
{
	struct set_place place cleanup(set_place_release) = {0};
	int rc;

	v->is_all = strcmp(which, "all") == 0;
	if (v->is_all) {
		if (target_open_first(v->app, t, &v->repository, err) < 0)
			return -1;
		rc = verify_all(v, t->stack, err);
		repository_closep(&v->repository);
		return rc;
	}
	if (set_locate(v->app, t, which, &place, err) < 0)
		return -1;
	v->repository = place.repository;
	return verify_one(v, place.stack, place.id, err);
}

int cmd_verify(struct app *app, struct error *err)
{
	struct target t cleanup(target_release) = {0};
	struct verification v = {.app = app, .list = json_array(), .table = {.columns = 5, .right = 0xc}};
	size_t checked;
	int rc;

	json_object_set_new(app->result, "sets", v.list);
	if (target_resolve(app, NEED_REPOSITORY, &t, err) < 0)
		return -1;
	v.level = option_flag(&app->options, OPT_QUICK) ? VERIFY_QUICK : VERIFY_CONTENT;
	table_row(&v.table, (const char *const[]){"ID", "STACK", "READ", "ROWS", "RESULT"});
	rc = verify_asked(&v, &t, app->options.operands[0], err);
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

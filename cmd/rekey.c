/*
 * rekey: existing sets get the recipients of the configuration.
 */
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/json.h"
#include "cmd/commands.h"
#include "cmd/exit_status.h"
#include "cmd/output.h"
#include "cmd/places.h"
#include "cmd/sets.h"
#include "storage/rekey.h"

struct rekeying {
	struct app *app;
	json_t *list;
	struct table table;
	size_t done, unchanged, impossible, failed, removed; /* sets; removed: of whose recipients some were */
	bool has_old_versions;
	struct error first; /* of those that failed */
};

/* ---- what was done ---- */

static char *text_of_change(const struct rekey_report *report)
{
	char *sent cleanup(mem_freep) = text_size(report->sent_bytes),
		   *copied cleanup(mem_freep) = text_size(report->copied_bytes);

	if (report->outcome == REKEY_IMPOSSIBLE)
		return mem_strdup(report->reason);
	if (report->outcome == REKEY_UNCHANGED)
		return mem_strdup("has these recipients");
	return mem_printf("%zu added, %zu removed; %s written%s%s%s", report->added, report->removed, sent,
		report->copied_bytes ? ", " : "", report->copied_bytes ? copied : "",
		report->copied_bytes ? " copied by the server" : "");
}

static void note(struct rekeying *k, const struct repository *r, const struct backup_set_info *s,
	const struct rekey_report *report, struct error *failure)
{
	bool is_failed = failure->class != ERR_NONE;
	char *text cleanup(mem_freep) = is_failed ? mem_strdup(failure->message) : text_of_change(report);
	const char *outcome = is_failed ? "failed" : rekey_outcome_name(report->outcome);

	table_row(&k->table, (const char *const[]){s->backup_id, s->stack, r->name, outcome, text});
	if (report->hint)
		table_row(&k->table, (const char *const[]){"", "", "", "", report->hint});
	json_array_append_new(k->list,
		json_pack("{s:s, s:s, s:o, s:s, s:o, s:I, s:I, s:I, s:I}", "id", s->backup_id, "stack", s->stack, "repository",
			json_text_of(r->name), "outcome", outcome, "reason",
			json_text_of(is_failed ? failure->message : report->reason), "recipients_added",
			(json_int_t)report->added, "recipients_removed", (json_int_t)report->removed, "sent_bytes",
			(json_int_t)report->sent_bytes, "copied_bytes", (json_int_t)report->copied_bytes));
	k->failed += is_failed;
	if (is_failed) {
		if (k->first.class == ERR_NONE)
			err_move(&k->first, failure);
		return;
	}
	k->done += report->outcome == REKEY_DONE;
	k->unchanged += report->outcome == REKEY_UNCHANGED;
	k->impossible += report->outcome == REKEY_IMPOSSIBLE;
	k->removed += report->outcome == REKEY_DONE && report->removed;
	k->has_old_versions |= report->has_old_versions;
}

/* ---- doing it ---- */

/* A set that fails does not keep the others from it. */
static int rekey_listed(struct rekeying *k, struct rekey *r, const struct backup_set_info *s, struct error *err)
{
	struct progress progress = {0};
	struct event ev = {.kind = EVENT_STEP_STARTED, .step = s->backup_id, .uses = "rekey", .progress = &progress};
	struct rekey_report report cleanup(rekey_report_release) = {0};
	struct error failure cleanup(err_clear) = ERROR_INIT;
	int64_t from_ms = clock_mono_ms();
	int rc;

	atomic_store(&progress.phase, "rekey");
	atomic_store(&progress.bytes_total, s->archive_bytes);
	r->options.progress = &progress;
	event_emit(&k->app->ui.sink, &ev);
	rc = rekey_set(r, s->stack, s->backup_id, &report, &failure);
	r->options.progress = NULL;
	ev.kind = rc < 0 ? EVENT_STEP_FAILED : EVENT_STEP_DONE;
	ev.elapsed_ms = clock_mono_ms() - from_ms;
	event_emit(&k->app->ui.sink, &ev);
	if (failure.class == ERR_CANCELLED)
		return err_move(err, &failure);
	note(k, r->repository, s, &report, &failure);
	return 0;
}

static bool is_wanted(const struct backup_set_info *s, const char *stack, const char *id)
{
	return (!stack || strcmp(s->stack, stack) == 0) && (!id || strcmp(s->backup_id, id) == 0);
}

static int rekey_repository(
	struct rekeying *k, struct repository *r, const struct target *t, const char *which, struct error *err)
{
	char *stack cleanup(mem_freep) = t->stack ? mem_strdup(t->stack) : NULL, *id cleanup(mem_freep) = NULL;
	struct backup_set_info *sets = NULL;
	struct rekey rekey = {0};
	size_t count = 0;
	int rc = 0;

	if (rekey_begin(r, NULL, &rekey, err) < 0)
		return -1;
	if (strcmp(which, "all") != 0) {
		char *found cleanup(mem_freep) = take_ptr(stack);

		if (set_find(r, found, which, &stack, &id, err) < 0)
			return -1;
	}
	if (backup_set_list(r, stack, &sets, &count, err) < 0)
		return -1;
	for (size_t i = 0; i < count && rc == 0; i++)
		if (is_wanted(&sets[i], stack, id))
			rc = rekey_listed(k, &rekey, &sets[i], err);
	backup_set_list_release(sets, count);
	return rc;
}

/* ${is_alone}: that it is not encrypted is an error; else it is passed over. */
static int rekey_named(
	struct rekeying *k, const char *name, const struct target *t, const char *which, bool *ret_is_plain, struct error *err)
{
	struct repository *r cleanup(repository_closep) = NULL;

	if (target_open_repository(k->app, name, 0, &r, err) < 0)
		return -1;
	*ret_is_plain = !r->is_encrypted && !r->encrypt_to;
	if (*ret_is_plain && t->repositories_count > 1)
		return 0;
	return rekey_repository(k, r, t, which, err);
}

static int rekey_all(struct rekeying *k, const struct target *t, const char *which, struct error *err)
{
	struct place_failures failures = {0};
	size_t plain = 0;

	for (size_t i = 0; i < t->repositories_count; i++) {
		struct error failure cleanup(err_clear) = ERROR_INIT;
		bool is_plain = false;

		if (rekey_named(k, t->repositories[i], t, which, &is_plain, &failure) < 0 &&
			place_failed(k->app, &failures, t->repositories[i], &failure, err) < 0)
			return -1;
		plain += is_plain;
	}
	if (plain == t->repositories_count && plain > 1)
		return err_set(err, ERR_CONFIG, "none of the repositories is encrypted");
	return places_end(&failures, t->repositories_count, err);
}

/* ---- saying it ---- */

static void print_result(struct rekeying *k)
{
	struct app *app = k->app;

	if (!app->is_json && json_array_size(k->list) && (!app->ui.is_quiet || k->impossible || k->failed))
		table_print(&k->table);
	if (k->removed)
		ui_warn(&app->ui,
			"a removed key still opens every copy of these sets that was made before, and the file keys stay the same");
	if (k->has_old_versions && k->removed)
		ui_warn(&app->ui, "the bucket keeps old versions, which open with the removed keys until they expire");
	if (!json_array_size(k->list))
		ui_note(&app->ui, "no backup sets to rekey");
}

static int conclude(struct rekeying *k, int rc, struct error *err)
{
	size_t failed = k->failed;

	if (rc < 0) {
		err_clear(&k->first);
		return -1;
	}
	if (failed) {
		err_move(err, &k->first);
		return failed > 1 ? err_context(err, "%zu backup sets failed, the first", failed) : -1;
	}
	if (k->impossible)
		k->app->exit_status = EXIT_DEGRADED;
	return 0;
}

int cmd_rekey(struct app *app, struct error *err)
{
	struct target t cleanup(target_release) = {0};
	struct rekeying k = {.app = app, .list = json_array(), .table = {.columns = 5}};
	int rc;

	json_object_set_new(app->result, "sets", k.list);
	if (target_resolve(app, NEED_REPOSITORY, &t, err) < 0)
		return -1;
	table_row(&k.table, (const char *const[]){"ID", "STACK", "REPOSITORY", "RESULT", ""});
	rc = rekey_all(&k, &t, app->options.operands_count ? app->options.operands[0] : "all", err);
	print_result(&k);
	table_release(&k.table);
	return conclude(&k, rc, err);
}

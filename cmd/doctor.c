/*
 * doctor: is everything ready that a backup and a restore will need?  Areas are a table; each adds its own part to the result.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/json.h"
#include "cmd/commands.h"
#include "cmd/exit_status.h"
#include "cmd/output.h"
#include "cmd/target.h"
#include "storage/probe.h"

#define GIVE_UP_MS 10000 /* somebody is waiting for the answer */

struct doctor {
	struct app *app;
	size_t counts[PROBE_FAILED + 1]; /* of items, by state */
};

/* ---- one report ---- */

static json_t *json_of_report(const struct probe_report *r)
{
	json_t *items = json_array();

	for (size_t i = 0; i < r->count; i++) {
		const struct probe_item *it = &r->items[i];

		json_array_append_new(items,
			json_pack("{s:s, s:s, s:o, s:o}", "item", it->name, "state", probe_state_name(it->state), "message",
				json_text_of(it->message), "hint", json_text_of(it->hint)));
	}
	return json_pack("{s:o, s:o, s:s, s:o}", "name", json_text_of(r->repository), "url", json_text_of(r->url), "state",
		probe_state_name(probe_worst(r)), "items", items);
}

/* Whether the item is skipped for the same reason as the one before it. */
static bool continues(const struct probe_report *r, size_t i)
{
	return i > 0 && r->items[i].state == PROBE_SKIPPED && r->items[i - 1].state == PROBE_SKIPPED &&
		strcmp(r->items[i].message, r->items[i - 1].message) == 0;
}

/* Items that are skipped for one reason are one line. */
static void add_rows(struct table *t, const struct probe_report *r, size_t *at)
{
	const struct probe_item *it = &r->items[*at];
	struct buf others cleanup(buf_release) = {0};

	while (*at + 1 < r->count && continues(r, *at + 1)) {
		++*at;
		buf_printf(&others, "%s%s", others.len ? ", " : "so are ", r->items[*at].name);
	}
	table_row(t, (const char *const[]){probe_state_name(it->state), it->name, it->message});
	if (others.len)
		table_row(t, (const char *const[]){"", "", buf_str(&others)});
	if (it->hint)
		table_row(t, (const char *const[]){"", "", it->hint});
}

/* With --quiet only what needs attention. */
static void print_report(const struct app *app, const struct probe_report *r)
{
	struct table t = {.columns = 3};

	for (size_t i = 0; i < r->count; i++)
		if (!app->ui.is_quiet || r->items[i].state >= PROBE_DEGRADED)
			add_rows(&t, r, &i);
	if (t.count) {
		printf("repository \"%s\":\n", r->repository);
		table_print(&t);
	}
	table_release(&t);
}

static void take_report(struct doctor *d, json_t *list, const struct probe_report *r)
{
	for (size_t i = 0; i < r->count; i++)
		d->counts[r->items[i].state]++;
	if (!d->app->is_json) {
		if (json_array_size(list) && !d->app->ui.is_quiet)
			putchar('\n');
		print_report(d->app, r);
	}
	json_array_append_new(list, json_of_report(r));
}

/* ---- storage ---- */

struct examination {
	struct probe_options options;
	struct probe_report report;
	bool was_begun;
};

static int examine(void *ctx, const struct repository_options *o, struct error *err)
{
	struct examination *e = ctx;
	int rc;

	e->was_begun = true;
	e->options.repository = o;
	rc = probe_repository(&e->options, &e->report, err);
	e->options.repository = NULL; /* it lives no longer than this call */
	return rc;
}

static int examine_named(struct app *app, const char *name, struct examination *e, struct error *err)
{
	const struct config_repository *r = config_repository(&app->config, name);
	const struct repository_options o = {.name = name,
		.url = name,
		.give_up_after_ms = GIVE_UP_MS,
		.open_within_ms = GIVE_UP_MS,
		.events = &app->ui.sink,
		.cancel = &app->cancel,
		.read_back = -1};

	return r ? config_repository_with(r, &o, examine, e, err) : examine(e, &o, err);
}

static int examine_one(struct doctor *d, const char *name, json_t *list, struct error *err)
{
	struct examination e = {.options.is_strict = option_flag(&d->app->options, OPT_STRICT)};
	struct error failure cleanup(err_clear) = ERROR_INIT;
	int rc = 0;

	if (examine_named(d->app, name, &e, &failure) < 0) {
		if (e.was_begun || failure.class == ERR_CANCELLED)
			rc = err_move(err, &failure);
		else
			probe_unusable(name, &failure, &e.report);
	}
	if (rc == 0)
		take_report(d, list, &e.report);
	probe_report_release(&e.report);
	return rc;
}

/* Every repository of the configuration, unless --repository or --stack names some. */
static int choose(struct app *app, struct target *t, struct error *err)
{
	bool is_narrowed = option_is_given(&app->options, OPT_REPOSITORY) || option_is_given(&app->options, OPT_STACK);

	if (is_narrowed || !app->config.repositories_count) {
		if (target_resolve(app, 0, t, err) < 0)
			return -1;
	} else {
		for (size_t i = 0; i < app->config.repositories_count; i++)
			target_add_repository(t, app->config.repositories[i].name);
	}
	if (t->repositories_count)
		return 0;
	err_set(err, ERR_CONFIG, "no repository is named");
	return err_hint(err, "Give one with --repository, or name it in a configuration file (see --config).");
}

static int examine_storage(struct doctor *d, struct error *err)
{
	struct target t cleanup(target_release) = {0};
	json_t *list = json_array();

	json_object_set_new(d->app->result, "repositories", list);
	if (choose(d->app, &t, err) < 0)
		return -1;
	for (size_t i = 0; i < t.repositories_count; i++)
		if (examine_one(d, t.repositories[i], list, err) < 0)
			return -1;
	return 0;
}

/* ---- areas ---- */

static const struct area {
	const char *name;
	int (*examine)(struct doctor *d, struct error *err);
} areas[] = {
	{"storage", examine_storage},
};

static int examine_areas(struct doctor *d, const char *name, struct error *err)
{
	struct buf known cleanup(buf_release) = {0};
	bool is_known = false;

	for (size_t i = 0; i < array_len(areas); i++) {
		buf_printf(&known, "%s\"%s\"", i ? ", " : "", areas[i].name);
		if (name && strcmp(name, areas[i].name) != 0)
			continue;
		is_known = true;
		if (areas[i].examine(d, err) < 0)
			return -1;
	}
	if (is_known)
		return 0;
	err_set(err, ERR_CONFIG, "doctor knows no \"%s\"", name);
	return err_hint(err, "It can look at %s.", buf_str(&known));
}

int cmd_doctor(struct app *app, struct error *err)
{
	struct doctor d = {.app = app};
	size_t failed, degraded;

	if (examine_areas(&d, app->options.operands_count ? app->options.operands[0] : NULL, err) < 0)
		return -1;
	failed = d.counts[PROBE_FAILED];
	degraded = d.counts[PROBE_DEGRADED];
	if (failed)
		return err_set(err, ERR_FAILED, "%zu %s failed%s", failed, failed == 1 ? "item" : "items",
			degraded ? ", and others are degraded" : "");
	if (degraded)
		app->exit_status = EXIT_DEGRADED;
	return 0;
}

/*
 * pin, unpin: a person's word against the retention policy, in every repository of the stack that has the set.
 */
#include <stdio.h>
#include <stdlib.h>
#include "cmd/commands.h"
#include "cmd/output.h"
#include "cmd/places.h"
#include "cmd/sets.h"
#include "storage/holds.h"

struct pinning {
	struct app *app;
	bool is_put; /* else taken away */
	const struct set_place *set;
	json_t *list;
};

static void tell(struct pinning *p, const struct repository *r, bool has_changed)
{
	json_t *entry = json_object();
	const char *already = p->is_put ? ", as it was already" : ": it was not pinned";

	json_object_set_new(entry, "repository", json_string(r->name));
	json_object_set_new(entry, "stack", json_string(p->set->stack));
	json_object_set_new(entry, "id", json_string(p->set->id));
	json_object_set_new(entry, "pinned", json_boolean(p->is_put));
	json_object_set_new(entry, "changed", json_boolean(has_changed));
	json_array_append_new(p->list, entry);
	if (!p->app->is_json && !p->app->ui.is_quiet)
		printf("%-14s %s in repository \"%s\"%s\n", p->is_put ? "pinned" : "unpinned", p->set->id, r->name,
			has_changed ? "" : already);
}

static int pin_in(struct pinning *p, const char *name, struct error *err)
{
	struct repository *r cleanup(repository_closep) = NULL;
	char *manifest cleanup(mem_freep) = NULL;
	struct driver_object o;
	int rc;

	if (target_open_repository(p->app, name, 0, &r, err) < 0)
		return -1;
	manifest = repository_stored_key(r, p->set->stack, p->set->id, SET_MANIFEST);
	rc = r->place->ops->stat(r->place, manifest, &o, err);
	if (rc <= 0)
		return rc; /* a repository without the set is passed over */
	rc = p->is_put ? pin_put(r, p->set->stack, p->set->id, option_text(&p->app->options, OPT_REASON), err)
		       : pin_remove(r, p->set->stack, p->set->id, err);
	if (rc < 0)
		return -1;
	tell(p, r, rc == 1);
	return 0;
}

static int pin_everywhere(struct app *app, bool is_put, struct error *err)
{
	struct target t cleanup(target_release) = {0};
	struct set_place set cleanup(set_place_release) = {0};
	struct place_failures failures = {0};
	struct pinning p = {.app = app, .is_put = is_put, .set = &set, .list = json_array()};

	json_object_set_new(app->result, "sets", p.list);
	if (target_resolve(app, NEED_REPOSITORY, &t, err) < 0 || set_locate(app, &t, app->options.operands[0], &set, err) < 0)
		return -1;
	for (size_t i = 0; i < t.repositories_count; i++) {
		struct error failure cleanup(err_clear) = ERROR_INIT;

		if (pin_in(&p, t.repositories[i], &failure) < 0 &&
			place_failed(app, &failures, t.repositories[i], &failure, err) < 0)
			return -1;
	}
	return places_end(&failures, t.repositories_count, err);
}

int cmd_pin(struct app *app, struct error *err)
{
	return pin_everywhere(app, true, err);
}

int cmd_unpin(struct app *app, struct error *err)
{
	return pin_everywhere(app, false, err);
}

#include "cmd/newest.h"

#include <string.h>
#include "cmd/target.h"

void newest_release(struct newest *n)
{
	backup_set_list_release(n->sets, n->count);
	json_decref(n->places);
	buf_release(&n->names);
	err_clear(&n->first);
}

/* Takes the list if its last set is newer. */
static void newest_join(struct newest *n, const char *name, struct backup_set_info *sets, size_t count)
{
	int order = !count ? -1 : !n->count ? 1 : strcmp(sets[count - 1].backup_id, n->sets[n->count - 1].backup_id);

	if (order > 0) {
		backup_set_list_release(n->sets, n->count);
		n->sets = sets;
		n->count = count;
		json_array_clear(n->places);
		n->names.len = 0;
	} else {
		backup_set_list_release(sets, count);
	}
	if (order < 0)
		return;
	json_array_append_new(n->places, json_string(name));
	buf_printf(&n->names, "%s%s", n->names.len ? ", " : "", name);
}

void newest_of(struct app *app, const struct target *t, struct newest *n)
{
	unsigned flags = t->repositories_count > 1 ? REPOSITORY_BRIEF : 0;

	n->places = json_array();
	for (size_t i = 0; i < t->repositories_count; i++) {
		struct repository *r cleanup(repository_closep) = NULL;
		struct error failure cleanup(err_clear) = ERROR_INIT;
		struct backup_set_info *sets = NULL;
		size_t count = 0;

		if (target_open_repository(app, t->repositories[i], flags, &r, &failure) == 0 &&
			backup_set_list(r, t->stack, &sets, &count, &failure) == 0) {
			n->answered++;
			newest_join(n, r->name, sets, count);
			continue;
		}
		if (t->repositories_count > 1)
			ui_warn(&app->ui, "%s", failure.message);
		if (n->first.class == ERR_NONE)
			err_move(&n->first, &failure);
	}
}

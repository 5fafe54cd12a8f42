#include "cmd/places.h"

int place_failed(struct app *app, struct place_failures *f, const char *name, struct error *failure, struct error *err)
{
	if (failure->class == ERR_CANCELLED) {
		err_clear(&f->first);
		return err_move(err, failure);
	}
	if (f->count++ == 0)
		err_copy(&f->first, failure);
	else
		ui_warn(&app->ui, "repository \"%s\": %s", name, failure->message);
	err_clear(failure);
	return 0;
}

int places_end(struct place_failures *f, size_t count, struct error *err)
{
	size_t failed = f->count;

	if (!failed)
		return 0;
	f->count = 0;
	err_move(err, &f->first);
	return failed > 1 ? err_context(err, "%zu of %zu repositories failed, the first", failed, count) : -1;
}

/*
 * Doing the same in each repository of a stack: one that fails does not stop the others.
 */
#ifndef CMD_PLACES_H
#define CMD_PLACES_H

#include "cmd/target.h"

struct place_failures {
	size_t count;
	struct error first;
};
/* Notes ${failure} (taken over) of repository ${name}; the second and later ones are warned of.  -1 with ${err} when the operator told
 * us to stop (${f} is released then), else 0. */
int place_failed(struct app *app, struct place_failures *f, const char *name, struct error *failure, struct error *err);
/* 0 when there was none; else -1: the first, and how many of ${count}.  Releases ${f}. */
int places_end(struct place_failures *f, size_t count, struct error *err);

#endif

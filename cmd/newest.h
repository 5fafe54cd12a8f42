/*
 * The newest backup set of all repositories that answer, and which of them have it: one that missed a night must not make the last
 * backup look older than it is.
 */
#ifndef CMD_NEWEST_H
#define CMD_NEWEST_H

#include "cmd/app.h"

struct target;
struct newest {
	struct backup_set_info *sets; /* the list it is the last of */
	size_t count;
	json_t *places; /* names of the repositories that have it */
	struct buf names;
	size_t answered;    /* repositories */
	struct error first; /* of those that did not answer; with more than one repository they were warned about */
};
void newest_of(struct app *app, const struct target *t, struct newest *ret);
void newest_release(struct newest *n);

#endif

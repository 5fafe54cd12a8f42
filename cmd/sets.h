/*
 * Finding a backup set by what an operator types: "latest", an id, or the beginning of one.
 */
#ifndef CMD_SETS_H
#define CMD_SETS_H

#include "cmd/app.h"

/* Stack and id of the set; malloc'd.  ${stack} NULL: any stack; more than one that fits is ERR_CONFIG. */
int set_find(struct repository *r, const char *stack, const char *which, char **ret_stack, char **ret_id,
	struct error *err) must_check;

/* A set and where it is. */
struct set_place {
	struct repository *repository;
	char *stack, *id;
	bool is_readable; /* in plain text, or with an identity */
};
void set_place_release(struct set_place *p);
/* In the first of the target's repositories that answers, has it and can be read, else that has it; "latest" is the newest of all that answer. */
struct target;
int set_locate(struct app *app, const struct target *t, const char *which, struct set_place *ret, struct error *err) must_check;
/* That, and its manifest. */
struct manifest;
int set_load(struct app *app, const struct target *t, const char *which, struct set_place *ret, struct manifest *ret_manifest,
	struct error *err) must_check;

/* "DAMAGED: …", or "NOT READ: …" for what a later version has made; malloc'd.  NULL where there is no problem. */
char *set_problem_text(const char *problem, bool is_of_later_version);

/* Outputs of a step of a run: text, or a number; NULL and 0 where there is none. */
const char *output_text(const json_t *outputs, const char *step, const char *name);
uint64_t output_number(const json_t *outputs, const char *step, const char *name);

#endif

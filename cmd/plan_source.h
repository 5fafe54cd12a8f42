/*
 * Where the text of a plan comes from: a file of the operator's, one that the stack's configuration names, or one that is built in.
 */
#ifndef CMD_PLAN_SOURCE_H
#define CMD_PLAN_SOURCE_H

#include "base/yaml.h"
#include "cmd/target.h"

#define PLAN_BYTES_MAX ((size_t)16 << 20)

struct plan_source {
	struct buf text;
	struct yaml_doc doc;
	char *path;                       /* of the file; NULL: built in */
	const char *name;                 /* as the plan has it, else the path */
	const struct yaml_node *declared; /* its parameters; NULL: none */
};

/* A file.  ERR_CONFIG where there is none of that name. */
int plan_source_read(const char *path, struct plan_source *ret, struct error *err) must_check;
/* The plan that ${s} (may be NULL) calls ${name} under "plans", else the built-in one.  1, 0 there is neither, -1. */
int plan_source_find(const struct config_stack *s, const char *name, struct plan_source *ret, struct error *err) must_check;
void plan_source_release(struct plan_source *p); /* for cleanup too */

/* Whether the plan has such a parameter. */
bool plan_source_declares(const struct plan_source *p, const char *name);
/* Parameters of the command line and of the target, those alone that the plan has.  A new object. */
json_t *plan_source_parameters(struct app *app, const struct plan_source *p, const struct target *t);

#endif

/*
 * The keys "files" and "files_order" of a stack: which directories and files belong to its backup sets.
 */
#ifndef STACK_FILES_H
#define STACK_FILES_H

#include <jansson.h>
#include "orchestrator/stack/config.h"

struct config_files {
	const char *label, *path;   /* the path is absolute */
	const char *const *exclude; /* NULL-terminated; NULL: none */
	bool is_one_filesystem;
};

/* In the order of the file; everything is borrowed from the configuration or ${arena}.  ${s} may be NULL: there are none. */
int config_stack_files(const struct config_stack *s, struct arena *arena, struct config_files **ret, size_t *ret_count,
	struct error *err) must_check;

/* Puts what they say into the parameters of a backup: files, files_exclude, files_one_filesystem, files_order. */
int config_files_parameters(const struct config_stack *s, json_t *parameters, struct error *err) must_check;

/* Labels, paths and order; by config_load(). */
int config_check_files(const struct config_stack *s, struct error *err) must_check;

#endif

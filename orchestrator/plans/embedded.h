/*
 * The built-in plans: every orchestrator/plans/NAME.yaml, put into the binary by the Makefile.
 *
 * The table is in the order of the names; ${text} is followed by a NUL that ${size} does not count.
 */
#ifndef ORCHESTRATOR_PLANS_EMBEDDED_H
#define ORCHESTRATOR_PLANS_EMBEDDED_H

#include <stddef.h>

struct embedded_plan {
	const char *name; /* "backup" of backup.yaml */
	const char *text;
	size_t size;
};

extern const struct embedded_plan embedded_plans[];
extern const size_t embedded_plans_count;

#endif

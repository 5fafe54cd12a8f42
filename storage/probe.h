/*
 * A repository examined: what works, what works with a reservation, what does not, each with what can be done about it.
 *
 * Small objects are written below REPOSITORY_PROBES and removed again.  Where removal is denied or a lock forbids it, one object stays:
 * "<host>", which every later examination from that host writes over instead of leaving one more.
 *
 * Nothing here prints; no item ever holds a secret.
 */
#ifndef STORAGE_PROBE_H
#define STORAGE_PROBE_H

#include "storage/repository.h"

enum probe_state { PROBE_OK, PROBE_SKIPPED, PROBE_DEGRADED, PROBE_FAILED }; /* in the order of their weight */

struct probe_item {
	const char *name; /* static: "reachable", "exclusive-create"; stable, for programs */
	enum probe_state state;
	char *message; /* one line */
	char *hint;    /* what to do; or NULL */
};

struct probe_report {
	char *repository; /* its name */
	char *url;        /* without credentials; NULL where the place could not be opened */
	struct probe_item *items;
	size_t count, cap;
};

struct probe_options {
	const struct repository_options *repository; /* is_created is not looked at: nothing is made */
	bool is_strict;                              /* being able to delete is a reservation */
};

/* -1 only with ERR_CANCELLED; whatever else goes wrong is an item.  ${ret} is to be released either way. */
int probe_repository(const struct probe_options *o, struct probe_report *ret, struct error *err) must_check;
/* The report on a repository whose configuration cannot be used: ${why}. */
void probe_unusable(const char *repository, const struct error *why, struct probe_report *ret);
void probe_report_release(struct probe_report *report);

enum probe_state probe_worst(const struct probe_report *report);
const char *probe_state_name(enum probe_state state); /* "ok", "skipped", "degraded", "failed" */

#endif

/*
 * Of the tests' proxy (tests/integration/fault_proxy.c): which request meets which fault, and the orders that say so, both of which are
 * described there.  One plan a process; all functions may be called from any thread.
 */
#ifndef TESTS_UNIT_PROXY_PLAN_H
#define TESTS_UNIT_PROXY_PLAN_H

#include <stdint.h>
#include "base/error.h"

enum proxy_action { PROXY_PASS, PROXY_DELAY, PROXY_RESET, PROXY_CLOSE, PROXY_STALL, PROXY_FLIP, PROXY_ANSWER };
enum proxy_place { PROXY_HEAD /* before anything is passed on */, PROXY_REQUEST, PROXY_RESPONSE };

struct proxy_kind {
	const char *name;
	enum proxy_action action;
	enum proxy_place place;
	int64_t after; /* where nothing is said */
};

struct proxy_fault {
	const struct proxy_kind *kind;
	int64_t after, ms, status, retry_after, skew_s, echo, chunked;
	char *code, *location, *body; /* live as long as the process */
	/* when */
	uint64_t from, to, seen;
	char *method, *path;
};

/* Counts the request, and says what it is to meet. */
struct proxy_fault proxy_plan_choose(const char *method, const char *target);
/* Does what a line says (which it takes apart); returns the answer, malloc'd. */
char *proxy_plan_obey(char *line) must_check;
/* From now on each request is a line there. */
void proxy_plan_log(int fd);

#endif

#include "base/crashpoint.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const char *wanted; /* the kind, or NULL */
static size_t wanted_len;
static int how = SIGKILL;
static atomic_long left; /* points of that kind still to pass, the fatal one included */

static void read_environment(void)
{
	const char *text = getenv("HOLDFAST_CRASH_AT"), *colon = text ? strchr(text, ':') : NULL;
	char *end = NULL;
	long n = colon ? strtol(colon + 1, &end, 10) : 0;

	if (n <= 0)
		return;
	wanted_len = (size_t)(colon - text);
	if (strcmp(end, ":term") == 0)
		how = SIGTERM;
	atomic_store(&left, n);
	wanted = text;
}

void crash_point(const char *kind)
{
	pthread_once(&once, read_environment);
	if (!wanted || strlen(kind) != wanted_len || memcmp(kind, wanted, wanted_len) != 0)
		return;
	if (atomic_fetch_sub(&left, 1) == 1)
		(void)raise(how);
}

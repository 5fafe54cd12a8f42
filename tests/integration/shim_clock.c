/* Preloaded: the time of day is HF_CLOCK_AHEAD_S seconds later (or earlier) than it is. */
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t id, struct timespec *ret)
{
	static int (*real)(clockid_t, struct timespec *);
	const char *ahead = getenv("HF_CLOCK_AHEAD_S");
	int rc;

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
	rc = real(id, ret);
	if (rc == 0 && id == CLOCK_REALTIME && ahead)
		ret->tv_sec += strtol(ahead, NULL, 10);
	return rc;
}

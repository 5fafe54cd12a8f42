/*
 * Runs a program and tells what it took: `measure FILE program args…` appends one line of JSON to FILE:
 *
 *   {"wall_s": 1.234, "user_s": 0.9, "sys_s": 0.1, "peak_kib": 10240, "peak_self_kib": 8192, "status": 0}
 *
 * peak_kib is the largest resident set of any process in the program's family (the kernel's ru_maxrss of all that were waited
 * for), peak_self_kib that of the program alone: a backup's pg_dump holds the schema, and its memory is not Holdfast's.  The latter
 * is VmHWM, read while the ended program has not been waited for yet; by then the kernel has given its memory back, so it is
 * sampled: every 5 ms, a high-water mark that never falls loses nothing but what was gained in the last of them.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double timeval_s(const struct timeval *t)
{
	return (double)t->tv_sec + (double)t->tv_usec / 1e6;
}

/* The process's high-water mark in KiB, or 0 once its memory is gone. */
static long high_water_kib(pid_t pid)
{
	char path[64], line[256];
	long kib = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%ld/status", (long)pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f))
		if (strncmp(line, "VmHWM:", 6) == 0)
			kib = strtol(line + 6, NULL, 10);
	fclose(f);
	return kib;
}

/* Waits for the child's end, watching its memory; 0 or -1. */
static int watch(pid_t pid, long *ret_peak_kib)
{
	struct pollfd ended = {.fd = pidfd_open(pid, 0), .events = POLLIN};
	long kib, peak_kib = 0;
	int n;

	if (ended.fd < 0)
		return -1;
	do {
		kib = high_water_kib(pid);
		peak_kib = kib > peak_kib ? kib : peak_kib;
		n = poll(&ended, 1, 5);
	} while (n == 0 || (n < 0 && errno == EINTR));
	close(ended.fd);
	*ret_peak_kib = peak_kib;
	return n < 0 ? -1 : 0;
}

static int report(const char *path, double wall_s, const struct rusage *u, long self_kib, int status)
{
	FILE *f = fopen(path, "ae");

	if (!f)
		return -1;
	fprintf(f,
		"{\"wall_s\": %.3f, \"user_s\": %.3f, \"sys_s\": %.3f, \"peak_kib\": %ld, \"peak_self_kib\": %ld, \"status\": %d}\n",
		wall_s, timeval_s(&u->ru_utime), timeval_s(&u->ru_stime), u->ru_maxrss, self_kib, status);
	return fclose(f);
}

int main(int argc, char **argv)
{
	double started_s = now_s();
	struct rusage usage;
	long self_kib = 0;
	int status;
	pid_t pid;

	if (argc < 3) {
		fprintf(stderr, "usage: measure FILE program [argument…]\n");
		return 2;
	}
	pid = fork();
	if (pid == 0) {
		execvp(argv[2], argv + 2);
		fprintf(stderr, "measure: could not run \"%s\": %s\n", argv[2], strerror(errno));
		_exit(127);
	}
	if (pid < 0 || watch(pid, &self_kib) < 0 || wait4(pid, &status, 0, &usage) < 0) {
		fprintf(stderr, "measure: %s\n", strerror(errno));
		return 125;
	}
	status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	if (report(argv[1], now_s() - started_s, &usage, self_kib, status) < 0) {
		fprintf(stderr, "measure: could not write \"%s\": %s\n", argv[1], strerror(errno));
		return 125;
	}
	return status;
}

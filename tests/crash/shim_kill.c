/*
 * Preloaded into one holdfast process: numbers its calls that the outside world can see, and kills it at the one asked for.
 *
 * A crash at any instruction between two such calls looks from outside like a crash before the second, so points taken from these
 * calls are all the points there are: bytes written, files made durable, named, linked, cut or removed, and messages sent to the
 * server.  Counting is exact across threads (one atomic), but which thread makes call N is not: two runs reach the same numbers
 * in a slightly different order, which is what spreads the points further.
 *
 *   HOLDFAST_SHIM_LOG=file    one line for each call: "N call object", written before the call is made
 *   HOLDFAST_SHIM_KILL=N:how  before (the call is not made), after (it is made), torn (a write stores half of its bytes), or stop: the
 *                             process is stopped before the call and goes on from there when it is sent SIGCONT; the line of call N
 *                             is appended to the log, if one is named, and no other
 *
 * Children (pg_dump) inherit the environment; the shim stays silent in them: it works only in a program named "holdfast", and
 * between fork and exec only in the process that loaded it.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum how { BEFORE, AFTER, TORN, STOP };

static pid_t owner; /* 0: not our program */
static int log_fd = -1;
static unsigned long kill_at;
static enum how kill_how;
static atomic_ulong calls;

static enum how how_of(const char *text)
{
	static const char *const names[] = {[AFTER] = ":after", [TORN] = ":torn", [STOP] = ":stop"};

	for (size_t i = AFTER; i <= STOP; i++)
		if (strcmp(text, names[i]) == 0)
			return (enum how)i;
	return BEFORE;
}

static void __attribute__((constructor)) shim_start(void)
{
	const char *kill_text = getenv("HOLDFAST_SHIM_KILL"), *log_path = getenv("HOLDFAST_SHIM_LOG");
	char exe[4096];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	const char *name;
	char *end;

	if (n <= 0 || (!kill_text && !log_path))
		return;
	exe[n] = '\0';
	name = strrchr(exe, '/');
	if (!name || strcmp(name + 1, "holdfast") != 0)
		return;
	if (log_path)
		log_fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (kill_text) {
		kill_at = strtoul(kill_text, &end, 10);
		kill_how = how_of(end);
	}
	owner = getpid();
}

static void die(void)
{
	kill(owner, SIGKILL);
	for (;;)
		pause();
}

/* What a descriptor is; two long names would only make the table wide. */
static const char *fd_name(int fd, char *out, size_t size)
{
	char link[64];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, out, size - 1);
	out[n > 0 ? n : 0] = '\0';
	return out;
}

static void log_call(unsigned long number, const char *call, int fd, const char *path)
{
	char name[1024], line[1200];
	int n;

	if (log_fd < 0)
		return;
	if (!path)
		path = fd_name(fd, name, sizeof(name));
	n = snprintf(line, sizeof(line), "%lu %s %.1100s\n", number, call, path);
	(void)!syscall(SYS_write, log_fd, line, (size_t)n);
}

/* True when this is the call to die in; a call to be killed before is never returned from. */
static bool is_last(const char *call, int fd, const char *path)
{
	int saved = errno;
	unsigned long number;
	bool is_hit;

	if (!owner || getpid() != owner)
		return false;
	/* What a terminal or a log of the test is told changes nothing. */
	if (!path && fd >= 0 && fd <= 2)
		return false;
	number = atomic_fetch_add(&calls, 1) + 1;
	is_hit = kill_at && number == kill_at;
	if (!kill_at || is_hit)
		log_call(number, call, fd, path);
	if (is_hit && kill_how == BEFORE)
		die();
	if (is_hit && kill_how == STOP)
		kill(owner, SIGSTOP);
	errno = saved;
	return is_hit && kill_how != STOP;
}

#define REAL(name) ((__typeof__(&(name)))real(#name))

static void *real(const char *name)
{
	void *fn = dlsym(RTLD_NEXT, name);

	if (!fn)
		abort();
	return fn;
}

/* A call whose bytes can be stored in part. */
#define WRITES(result, call_name, fd, whole, half) \
	do { \
		bool is_last_ = is_last(call_name, fd, NULL); \
\
		if (is_last_ && kill_how == TORN) \
			(void)!(half); \
		else \
			(result) = (whole); \
		if (is_last_) \
			die(); \
	} while (0)

/* A call that happens or does not. */
#define ACTS(result, call_name, fd, path, whole) \
	do { \
		bool is_last_ = is_last(call_name, fd, path); \
\
		if (is_last_ && kill_how == TORN) \
			die(); \
		(result) = (whole); \
		if (is_last_) \
			die(); \
	} while (0)

ssize_t write(int fd, const void *p, size_t n)
{
	ssize_t r = -1;

	WRITES(r, "write", fd, REAL(write)(fd, p, n), REAL(write)(fd, p, n / 2));
	return r;
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
	ssize_t r = -1;

	WRITES(r, "pwrite", fd, REAL(pwrite)(fd, p, n, at), REAL(pwrite)(fd, p, n / 2, at));
	return r;
}

ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at)
{
	ssize_t r = -1;

	WRITES(r, "pwrite", fd, REAL(pwrite64)(fd, p, n, at), REAL(pwrite64)(fd, p, n / 2, at));
	return r;
}

ssize_t writev(int fd, const struct iovec *v, int count)
{
	ssize_t r = -1;

	WRITES(r, "writev", fd, REAL(writev)(fd, v, count), REAL(write)(fd, v->iov_base, v->iov_len / 2));
	return r;
}

ssize_t send(int fd, const void *p, size_t n, int flags)
{
	ssize_t r = -1;

	WRITES(r, "send", fd, REAL(send)(fd, p, n, flags), REAL(send)(fd, p, n / 2, flags));
	return r;
}

ssize_t sendto(int fd, const void *p, size_t n, int flags, const struct sockaddr *to, socklen_t to_len)
{
	ssize_t r = -1;

	WRITES(r, "sendto", fd, REAL(sendto)(fd, p, n, flags, to, to_len), REAL(sendto)(fd, p, n / 2, flags, to, to_len));
	return r;
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	ssize_t r = -1;

	ACTS(r, "sendmsg", fd, NULL, REAL(sendmsg)(fd, m, flags));
	return r;
}

ssize_t copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t n, unsigned flags)
{
	ssize_t r = -1;

	ACTS(r, "copy_file_range", out, NULL, REAL(copy_file_range)(in, in_at, out, out_at, n, flags));
	return r;
}

int fsync(int fd)
{
	int r = -1;

	ACTS(r, "fsync", fd, NULL, REAL(fsync)(fd));
	return r;
}

int fdatasync(int fd)
{
	int r = -1;

	ACTS(r, "fdatasync", fd, NULL, REAL(fdatasync)(fd));
	return r;
}

int sync_file_range(int fd, off64_t at, off64_t n, unsigned flags)
{
	int r = -1;

	ACTS(r, "sync_file_range", fd, NULL, REAL(sync_file_range)(fd, at, n, flags));
	return r;
}

int ftruncate(int fd, off_t n)
{
	int r = -1;

	ACTS(r, "ftruncate", fd, NULL, REAL(ftruncate)(fd, n));
	return r;
}

int ftruncate64(int fd, off64_t n)
{
	int r = -1;

	ACTS(r, "ftruncate", fd, NULL, REAL(ftruncate64)(fd, n));
	return r;
}

int fallocate(int fd, int mode, off_t at, off_t n)
{
	int r = -1;

	ACTS(r, "fallocate", fd, NULL, REAL(fallocate)(fd, mode, at, n));
	return r;
}

int rename(const char *from, const char *to)
{
	int r = -1;

	ACTS(r, "rename", -1, to, REAL(rename)(from, to));
	return r;
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	int r = -1;

	ACTS(r, "renameat", -1, to, REAL(renameat)(from_dir, from, to_dir, to));
	return r;
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	int r = -1;

	ACTS(r, "renameat2", -1, to, REAL(renameat2)(from_dir, from, to_dir, to, flags));
	return r;
}

int link(const char *from, const char *to)
{
	int r = -1;

	ACTS(r, "link", -1, to, REAL(link)(from, to));
	return r;
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
	int r = -1;

	ACTS(r, "linkat", -1, to, REAL(linkat)(from_dir, from, to_dir, to, flags));
	return r;
}

int unlink(const char *path)
{
	int r = -1;

	ACTS(r, "unlink", -1, path, REAL(unlink)(path));
	return r;
}

int unlinkat(int dir, const char *path, int flags)
{
	int r = -1;

	ACTS(r, "unlinkat", -1, path, REAL(unlinkat)(dir, path, flags));
	return r;
}

int rmdir(const char *path)
{
	int r = -1;

	ACTS(r, "rmdir", -1, path, REAL(rmdir)(path));
	return r;
}

int mkdir(const char *path, mode_t mode)
{
	int r = -1;

	ACTS(r, "mkdir", -1, path, REAL(mkdir)(path, mode));
	return r;
}

int mkdirat(int dir, const char *path, mode_t mode)
{
	int r = -1;

	ACTS(r, "mkdirat", -1, path, REAL(mkdirat)(dir, path, mode));
	return r;
}

/* Only an open that may make a file is seen from outside. */
static mode_t open_mode(int flags, va_list ap)
{
	return flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
}

#define OPENS(result, path, flags, whole) \
	do { \
		if ((flags)&O_CREAT) \
			ACTS(result, "open", -1, path, whole); \
		else \
			(result) = (whole); \
	} while (0)

int open(const char *path, int flags, ...)
{
	int r = -1;
	mode_t mode;
	va_list ap;

	va_start(ap, flags);
	mode = open_mode(flags, ap);
	va_end(ap);
	OPENS(r, path, flags, REAL(open)(path, flags, mode));
	return r;
}

int open64(const char *path, int flags, ...)
{
	int r = -1;
	mode_t mode;
	va_list ap;

	va_start(ap, flags);
	mode = open_mode(flags, ap);
	va_end(ap);
	OPENS(r, path, flags, REAL(open64)(path, flags, mode));
	return r;
}

int openat(int dir, const char *path, int flags, ...)
{
	int r = -1;
	mode_t mode;
	va_list ap;

	va_start(ap, flags);
	mode = open_mode(flags, ap);
	va_end(ap);
	OPENS(r, path, flags, REAL(openat)(dir, path, flags, mode));
	return r;
}

int openat64(int dir, const char *path, int flags, ...)
{
	int r = -1;
	mode_t mode;
	va_list ap;

	va_start(ap, flags);
	mode = open_mode(flags, ap);
	va_end(ap);
	OPENS(r, path, flags, REAL(openat64)(dir, path, flags, mode));
	return r;
}

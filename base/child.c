/*
 * The child's end is seen through a pidfd, not SIGCHLD: the process may have other children in other threads, and a signal
 * handler of a library is nobody's.  Its process group may be signalled as long as the child has not been reaped, for till then
 * the number cannot go to anybody else; so every kill() stands before the waitid() that reaps.
 *
 * Standard input is a memory file, so that no write can block on, or be killed by, a child that does not read it.
 */
#include "base/child.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/io.h"

#define ERR_TAIL_BYTES ((size_t)16 * 1024)
#define DETAIL_LINES 5
#define GRACE_DEFAULT_MS 5000
#define AFTER_KILL_MS 10000
#define DRAIN_READS 64 /* of up to 32 KiB: more than a pipe holds unless it was enlarged */

enum { IN, OUT, ERR, PIPES };

/* What a child that could not become the program says before it ends. */
struct start_failure {
	bool is_cwd;
	int sys_errno;
};

struct running {
	const struct child_spec *spec;
	struct child_result *ret;
	pid_t pid;
	int pid_fd, out, err;
	bool is_ending; /* told to end: what it still prints is not looked at */
};

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash[1] ? slash + 1 : path;
}

static bool has_name(const char *variable, const char *name)
{
	size_t n = strcspn(name, "=");

	return strncmp(variable, name, n) == 0 && variable[n] == '=';
}

static bool is_listed(const char *variable, const char *const *names)
{
	for (; names && *names; names++) {
		if (has_name(variable, *names))
			return true;
	}
	return false;
}

/* The strings are borrowed; the caller frees the list. */
static char **make_environment(const struct child_spec *spec)
{
	size_t count = 0, cap = 0;
	char **list = NULL;

	for (char **v = environ; v && *v; v++) {
		if (is_listed(*v, spec->env_add) || is_listed(*v, spec->env_remove))
			continue;
		list = mem_grow(list, &cap, count + 1, sizeof(*list));
		list[count++] = *v;
	}
	for (const char *const *v = spec->env_add; v && *v; v++) {
		list = mem_grow(list, &cap, count + 1, sizeof(*list));
		list[count++] = (char *)(uintptr_t)*v; /* execvpe() wants it so, and changes nothing */
	}
	list = mem_grow(list, &cap, count + 1, sizeof(*list));
	list[count] = NULL;
	return list;
}

static int open_input(const struct child_spec *spec, struct error *err)
{
	int fd;

	if (!spec->in) {
		fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
		return fd < 0 ? err_sys(err, "could not open file \"%s\"", "/dev/null") : fd;
	}
	fd = memfd_create("stdin", MFD_CLOEXEC);
	if (fd < 0)
		return err_sys(err, "could not create a memory file");
	if (io_write_full(fd, spec->in, spec->in_len, "stdin", err) < 0 || lseek(fd, 0, SEEK_SET) < 0) {
		io_closep(&fd);
		return err->class ? -1 : err_sys(err, "could not rewind a memory file");
	}
	return fd;
}

/*
 * Between fork() and exec in a process with threads: system calls only, no memory, no locks.  ${fds} are the child's ends,
 * ${report} the pipe that execvpe() closes by succeeding.
 */
static void __attribute__((noreturn)) become(const struct child_spec *spec, char **env, int *fds, int report, pid_t parent)
{
	struct start_failure failure = {0};
	sigset_t none;
	ssize_t ignored;

	/* Out of the way of 0, 1 and 2 first: the caller may have had one of them closed. */
	for (int i = 0; i < PIPES; i++)
		fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 4);
	report = fcntl(report, F_DUPFD_CLOEXEC, 4);
	if (dup2(fds[IN], 0) < 0 || dup2(fds[OUT], 1) < 0 || dup2(fds[ERR], 2) < 0 || dup3(report, 3, O_CLOEXEC) < 0)
		goto failed;
	close_range(4, ~0u, 0);
	(void)setpgid(0, 0); /* the parent does the same: whoever comes first */
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0)
		goto failed;
	if (getppid() != parent)
		_exit(127); /* it died before the line above */
	for (int sig = 1; sig < NSIG; sig++)
		(void)signal(sig, SIG_DFL); /* what was ignored would stay so: SIGPIPE */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (spec->cwd && chdir(spec->cwd) < 0) {
		failure.is_cwd = true;
		goto failed;
	}
	execvpe(spec->argv[0], (char *const *)(uintptr_t)spec->argv, env);
failed:
	failure.sys_errno = errno;
	ignored = write(3, &failure, sizeof(failure));
	(void)ignored; /* the parent sees the exit status */
	_exit(127);
}

/* Waits till the child has become the program, or says why not. */
static int await_start(struct running *r, int report, struct error *err)
{
	struct start_failure failure = {0};
	ssize_t n = io_read_full(report, &failure, sizeof(failure), "exec", err);

	if (n == 0)
		return 0;
	if (n == (ssize_t)sizeof(failure)) {
		errno = failure.sys_errno;
		if (failure.is_cwd)
			(void)err_sys(err, "could not change to directory \"%s\"", r->spec->cwd);
		else
			(void)err_sys(err, "could not start program \"%s\"", r->spec->argv[0]);
		if (!failure.is_cwd && failure.sys_errno == ENOENT)
			(void)err_hint(err, "Install it, or put its directory into PATH.");
	}
	(void)waitpid(r->pid, NULL, 0); /* it has ended, or is about to */
	return -1;
}

static int make_pipes(int ours[PIPES], int theirs[PIPES], int report[2], const struct child_spec *spec, struct error *err)
{
	int ends[2];

	theirs[IN] = open_input(spec, err);
	if (theirs[IN] < 0)
		return -1;
	for (int i = OUT; i <= ERR; i++) {
		if (pipe2(ends, O_CLOEXEC) < 0)
			return err_sys(err, "could not create a pipe");
		ours[i] = ends[0];
		theirs[i] = ends[1];
		if (fcntl(ours[i], F_SETFL, O_NONBLOCK) < 0)
			return err_sys(err, "could not set up a pipe");
	}
	if (pipe2(report, O_CLOEXEC) < 0)
		return err_sys(err, "could not create a pipe");
	return 0;
}

/* All signals wait while the child is not yet itself: a handler of ours must not run in it. */
static pid_t fork_quietly(const struct child_spec *spec, char **env, int *theirs, int report)
{
	pid_t parent = getpid(), pid;
	sigset_t all, before;

	sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = fork();
	if (pid == 0)
		become(spec, env, theirs, report, parent);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return pid;
}

static int start(struct running *r, struct error *err)
{
	int ours[PIPES] = {-1, -1, -1}, theirs[PIPES] = {-1, -1, -1}, report[2] = {-1, -1}, rc = -1;
	char **env cleanup(mem_freep) = make_environment(r->spec);

	if (make_pipes(ours, theirs, report, r->spec, err) < 0)
		goto out;
	r->pid = fork_quietly(r->spec, env, theirs, report[1]);
	if (r->pid < 0) {
		(void)err_sys(err, "could not start program \"%s\"", r->spec->argv[0]);
		goto out;
	}
	(void)setpgid(r->pid, r->pid); /* fails once the child has become the program, which has done it itself */
	io_closep(&report[1]);
	if (await_start(r, report[0], err) < 0)
		goto out;
	r->pid_fd = (int)syscall(SYS_pidfd_open, r->pid, 0);
	if (r->pid_fd < 0) {
		(void)err_sys(err, "could not watch program \"%s\"", r->spec->argv[0]);
		(void)kill(-r->pid, SIGKILL);
		(void)waitpid(r->pid, NULL, 0);
		goto out;
	}
	r->out = ours[OUT];
	r->err = ours[ERR];
	ours[OUT] = ours[ERR] = -1;
	rc = 0;
out:
	for (int i = 0; i < PIPES; i++) {
		io_closep(&ours[i]);
		io_closep(&theirs[i]);
	}
	io_closep(&report[0]);
	io_closep(&report[1]);
	return rc;
}

static void keep_tail(struct buf *b, size_t max)
{
	if (b->len <= max)
		return;
	memmove(b->data, b->data + b->len - max, max);
	b->len = max;
	b->data[max] = '\0';
}

static int take_output(struct running *r, bool is_err, const char *p, size_t n, struct error *err)
{
	if (is_err) {
		buf_putn(&r->ret->err, p, n);
		if (r->ret->err.len > 4 * ERR_TAIL_BYTES)
			keep_tail(&r->ret->err, ERR_TAIL_BYTES);
		return r->spec->on_err && !r->is_ending ? r->spec->on_err(r->spec->ctx, p, n, err) : 0;
	}
	if (r->is_ending)
		return 0;
	if (r->spec->on_out)
		return r->spec->on_out(r->spec->ctx, p, n, err);
	if (buf_append(&r->ret->out, p, n, err) < 0)
		return err_context(err, "program \"%s\" prints too much", r->spec->argv[0]);
	return 0;
}

/* Reads once from *fd; at its end closes it and sets it to -1.  1 something was read, 0 nothing is there, -1 error. */
static int read_some(struct running *r, int *fd, bool is_err, struct error *err)
{
	char block[32 * 1024];
	ssize_t n;

	if (*fd < 0)
		return 0;
	n = read(*fd, block, sizeof(block));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0) {
		io_closep(fd);
		return 0;
	}
	if (r->spec->progress)
		atomic_fetch_add_explicit(&r->spec->progress->activity, 1, memory_order_relaxed);
	return take_output(r, is_err, block, (size_t)n, err) < 0 ? -1 : 1;
}

/*
 * What is in the pipes when the child has ended.  Not to their end: a daemon it has started may hold them open, and go on
 * printing; so no more than a pipe can hold.
 */
static int drain(struct running *r, struct error *err)
{
	int n = 1;

	for (int i = 0; i < DRAIN_READS && n > 0; i++)
		n = read_some(r, &r->err, true, err);
	n = n < 0 ? n : 1;
	for (int i = 0; i < DRAIN_READS && n > 0; i++)
		n = read_some(r, &r->out, false, err);
	return n < 0 ? -1 : 0;
}

/* Serves the pipes until the child ends (1), ${until_ms} passes (0), or -1. */
static int serve(struct running *r, struct cancel *cancel, int64_t until_ms, struct error *err)
{
	for (;;) {
		struct pollfd fds[] = {{r->pid_fd, POLLIN, 0}, {r->out, POLLIN, 0}, {r->err, POLLIN, 0}};
		int64_t left_ms = until_ms - clock_mono_ms();
		int n = until_ms && left_ms <= 0 ? 0
						 : cancel_poll_many(cancel, fds, array_len(fds), until_ms ? left_ms : -1, err);

		if (n < 0)
			return -1;
		if (n == 0 && until_ms && clock_mono_ms() >= until_ms)
			return 0;
		if (fds[2].revents && read_some(r, &r->err, true, err) < 0)
			return -1;
		if (fds[1].revents && read_some(r, &r->out, false, err) < 0)
			return -1;
		if (fds[0].revents)
			return drain(r, err) < 0 ? -1 : 1;
	}
}

/* Ends the whole group, gently first.  ${r} is not reaped yet. */
static void end_group(struct running *r)
{
	int64_t grace_ms = r->spec->grace_ms ? r->spec->grace_ms : GRACE_DEFAULT_MS;
	struct error ignored = ERROR_INIT;

	r->is_ending = true;
	(void)kill(-r->pid, SIGTERM);
	(void)kill(-r->pid, SIGCONT); /* a stopped one would not hear it */
	(void)!serve(r, NULL, clock_mono_ms() + grace_ms, &ignored);
	(void)kill(-r->pid, SIGKILL); /* the child, or what it left in its group */
	(void)!serve(r, NULL, clock_mono_ms() + AFTER_KILL_MS, &ignored);
	err_clear(&ignored);
}

static void reap(struct running *r)
{
	siginfo_t info = {0};

	while (waitid(P_PID, (id_t)r->pid, &info, WEXITED) < 0 && errno == EINTR)
		continue;
	r->ret->exit_status = info.si_code == CLD_EXITED ? info.si_status : -1;
	r->ret->signal = info.si_code == CLD_EXITED ? 0 : info.si_status;
	keep_tail(&r->ret->err, ERR_TAIL_BYTES);
	io_closep(&r->out);
	io_closep(&r->err);
	io_closep(&r->pid_fd);
}

int child_run(const struct child_spec *spec, struct child_result *ret, struct error *err)
{
	struct running r = {.spec = spec, .ret = ret, .pid_fd = -1, .out = -1, .err = -1};
	int n;

	*ret = (struct child_result){.exit_status = -1, .out = {.max = CHILD_OUT_MAX_BYTES}};
	if (cancel_check(spec->cancel, err) < 0 || start(&r, err) < 0)
		return -1;
	n = serve(&r, spec->cancel, spec->deadline_ms ? clock_mono_ms() + spec->deadline_ms : 0, err);
	if (n == 0) {
		char text[CLOCK_TEXT_BYTES];

		(void)err_set(err, ERR_FAILED, "program \"%s\" did not end within %s", spec->argv[0],
			duration_format(spec->deadline_ms, text));
	} else if (n < 0 && err->class == ERR_CANCELLED) {
		(void)err_context(err, "program \"%s\" was ended", spec->argv[0]);
	}
	if (n <= 0)
		end_group(&r);
	reap(&r);
	return n > 0 ? 0 : -1;
}

char *child_last_lines(const char *text, size_t n)
{
	size_t end = n, start_at, lines = 0;
	char *s;

	while (end > 0 && (text[end - 1] == '\n' || text[end - 1] == ' '))
		end--;
	for (start_at = end; start_at > 0; start_at--) {
		if (text[start_at - 1] == '\n' && ++lines == DETAIL_LINES)
			break;
	}
	if (end == 0)
		return NULL;
	s = mem_strndup(text + start_at, end - start_at);
	for (size_t i = 0; i < end - start_at; i++) {
		if ((unsigned char)s[i] < ' ' && s[i] != '\n')
			s[i] = s[i] == '\t' ? ' ' : '?';
	}
	return s;
}

int child_run_ok(const struct child_spec *spec, struct child_result *ret, struct error *err)
{
	char *tail cleanup(mem_freep) = NULL;

	if (child_run(spec, ret, err) < 0)
		return -1;
	if (ret->exit_status == 0)
		return 0;
	if (ret->exit_status > 0)
		(void)err_set(
			err, ERR_FAILED, "program \"%s\" ended with exit status %d", base_name(spec->argv[0]), ret->exit_status);
	else
		(void)err_set(err, ERR_FAILED, "program \"%s\" was ended by signal %d (%s)", base_name(spec->argv[0]),
			ret->signal, strsignal(ret->signal));
	tail = child_last_lines(buf_str(&ret->err), ret->err.len);
	return tail ? err_detail(err, "%s", tail) : -1;
}

void child_result_release(struct child_result *r)
{
	buf_release(&r->out);
	buf_release(&r->err);
}

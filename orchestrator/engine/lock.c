#include "orchestrator/engine/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/io.h"
#include "base/json.h"

#define POLL_MS 200

static char *lock_path(const char *state_dir, const char *stack)
{
	return mem_printf("%s/locks/%s.lock", state_dir, stack);
}

static json_t *read_holder(const char *path)
{
	struct buf text cleanup(buf_release) = {.max = 64 * 1024};
	struct error why cleanup(err_clear) = ERROR_INIT;

	if (io_read_file(path, &text, &why) <= 0)
		return NULL;
	return json_read(buf_str(&text), text.len, "lock", &why);
}

static int conflict(const char *path, const char *stack, struct error *err)
{
	json_t *holder cleanup(json_decrefpp) = read_holder(path);
	const char *run = json_get_str(holder, "run", NULL), *since = json_get_str(holder, "since", NULL);

	if (run && since)
		err_set(err, ERR_CONFLICT, "stack \"%s\" is locked by run \"%s\" (pid %lld) since %s", stack, run,
			(long long)json_get_i64(holder, "pid", 0), since);
	else
		err_set(err, ERR_CONFLICT, "stack \"%s\" is locked by another process", stack);
	return err_hint(err, "Wait until it ends, or give --lock-timeout to wait for it.");
}

/* 1 locked, 0 held by another, -1. */
static int try_lock(const struct run_lock *l, struct error *err)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	if (fcntl(l->fd, F_OFD_SETLK, &fl) == 0)
		return 1;
	if (errno == EAGAIN || errno == EACCES || errno == EINTR)
		return 0;
	return err_sys(err, "could not lock file \"%s\"", l->path);
}

/* Tells others who holds it.  The lock is the kernel's: that this may fail on a full disk does not matter. */
static void write_holder(const struct run_lock *l, const char *run_id)
{
	struct buf boot cleanup(buf_release) = {0};
	struct error why cleanup(err_clear) = ERROR_INIT;
	char since[CLOCK_TEXT_BYTES], *text cleanup(mem_freep) = NULL;
	json_t *holder cleanup(json_decrefpp) = NULL;

	if (io_read_file("/proc/sys/kernel/random/boot_id", &boot, &why) == 1)
		boot.data[strcspn(boot.data, "\n")] = '\0';
	holder = json_pack("{s:s, s:I, s:s, s:s}", "run", run_id, "pid", (json_int_t)getpid(), "boot", buf_str(&boot), "since",
		clock_format(clock_utc_ms(), since));
	text = json_dumps(holder, JSON_COMPACT);
	if (!text || ftruncate(l->fd, 0) < 0 || pwrite(l->fd, text, strlen(text), 0) < 0)
		return;
}

int lock_check_stack(const char *stack, struct error *err)
{
	if (!stack || !*stack || *stack == '.' || strchr(stack, '/') || strlen(stack) > 200)
		return err_set(err, ERR_CONFIG, "stack name \"%s\" cannot be used as a file name", stack ? stack : "");
	return 0;
}

static int wait_for_lock(
	const struct run_lock *l, const char *stack, int64_t timeout_ms, struct cancel *cancel, struct error *err)
{
	int64_t until_ms = clock_mono_ms() + timeout_ms, left_ms;
	int rc;

	while ((rc = try_lock(l, err)) == 0) {
		left_ms = until_ms - clock_mono_ms();
		if (left_ms <= 0)
			return conflict(l->path, stack, err);
		if (cancel_sleep(cancel, left_ms < POLL_MS ? left_ms : POLL_MS, err) < 0)
			return err_context(err, "waiting for the lock of stack \"%s\"", stack);
	}
	return rc < 0 ? -1 : 0;
}

int lock_acquire(const char *state_dir, const char *stack, const char *run_id, int64_t timeout_ms, struct cancel *cancel,
	struct run_lock *ret, struct error *err)
{
	struct run_lock l cleanup(lock_release) = RUN_LOCK_INIT;
	char *dir cleanup(mem_freep) = io_path_join(state_dir, "locks");

	if (lock_check_stack(stack, err) < 0 || io_make_dirs(dir, err) < 0)
		return -1;
	l.path = lock_path(state_dir, stack);
	l.fd = open(l.path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (l.fd < 0)
		return err_sys(err, "could not open lock file \"%s\"", l.path);
	if (wait_for_lock(&l, stack, timeout_ms, cancel, err) < 0) {
		close(l.fd);
		l.fd = -1; /* not ours: its text stays */
		return -1;
	}
	write_holder(&l, run_id);
	*ret = l;
	l = (struct run_lock)RUN_LOCK_INIT;
	return 0;
}

void lock_release(struct run_lock *l)
{
	if (l->fd >= 0) {
		if (ftruncate(l->fd, 0) < 0)
			errno = 0; /* the text is a courtesy */
		close(l->fd);
	}
	free(l->path);
	*l = (struct run_lock)RUN_LOCK_INIT;
}

int lock_holder(const char *state_dir, const char *stack, char **ret_run_id, struct error *err)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char *path cleanup(mem_freep) = lock_path(state_dir, stack);
	json_t *holder cleanup(json_decrefpp) = NULL;
	int fd cleanup(io_closep) = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT ? 0 : err_sys(err, "could not open lock file \"%s\"", path);
	if (fcntl(fd, F_OFD_GETLK, &fl) < 0)
		return err_sys(err, "could not ask for the lock on file \"%s\"", path);
	if (fl.l_type == F_UNLCK)
		return 0;
	holder = read_holder(path);
	*ret_run_id = mem_strdup(json_get_str(holder, "run", ""));
	return 1;
}

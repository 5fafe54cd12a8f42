#include "base/cancel.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/clock.h"

static const struct {
	const char *text;
} reasons[] = {
	[CANCEL_NONE] = {"cancelled"},
	[CANCEL_SIGNAL] = {"interrupted by a signal"},
	[CANCEL_DEADLINE] = {"the deadline has passed"},
	[CANCEL_STALLED] = {"no progress was made for too long"},
	[CANCEL_FAILED] = {"ended because another part of the step has failed"},
};

int cancel_init(struct cancel *c, struct cancel *parent, struct error *err)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0)
		return err_sys(err, "could not create an event descriptor");
	c->fd = fd;
	atomic_init(&c->reason, CANCEL_NONE);
	c->parent = parent;
	return 0;
}

void cancel_release(struct cancel *c)
{
	/* A zeroed token was never initialised: its descriptor 0 is somebody else's. */
	if (c->fd > 0)
		close(c->fd); /* holds no data */
	c->fd = -1;
}

void cancel_request(struct cancel *c, enum cancel_reason reason)
{
	int expected = CANCEL_NONE, saved = errno;
	uint64_t one = 1;

	if (atomic_compare_exchange_strong(&c->reason, &expected, (int)reason)) {
		ssize_t ignored = write(c->fd, &one, sizeof(one));

		(void)ignored; /* EAGAIN: readable already */
	}
	errno = saved;
}

void cancel_reset(struct cancel *c)
{
	uint64_t count;
	ssize_t ignored = read(c->fd, &count, sizeof(count));

	(void)ignored; /* EAGAIN: was never requested */
	atomic_store(&c->reason, CANCEL_NONE);
}

enum cancel_reason cancel_requested(const struct cancel *c)
{
	for (; c; c = c->parent) {
		int reason = atomic_load(&c->reason);

		if (reason != CANCEL_NONE)
			return (enum cancel_reason)reason;
	}
	return CANCEL_NONE;
}

int cancel_check(struct cancel *c, struct error *err)
{
	enum cancel_reason reason = cancel_requested(c);

	if (reason == CANCEL_NONE)
		return 0;
	return err_set(err, ERR_CANCELLED, "%s", reasons[reason].text);
}

#define POLLED_MAX (CANCEL_POLL_MAX + CANCEL_DEPTH_MAX)

int cancel_poll_many(struct cancel *c, struct pollfd *fds, size_t count, int64_t timeout_ms, struct error *err)
{
	int64_t until_ms = timeout_ms < 0 ? 0 : clock_mono_ms() + timeout_ms;
	struct pollfd all[POLLED_MAX];
	nfds_t n = 0;

	if (count > CANCEL_POLL_MAX)
		return err_set(err, ERR_BUG, "cannot poll %zu descriptors", count);
	for (; n < count; n++)
		all[n] = fds[n];
	for (const struct cancel *t = c; t && n < count + CANCEL_DEPTH_MAX; t = t->parent)
		all[n++] = (struct pollfd){.fd = t->fd, .events = POLLIN};
	for (;;) {
		int64_t left_ms = timeout_ms < 0 ? -1 : until_ms - clock_mono_ms();
		int ready = 0, got;

		if (cancel_check(c, err) < 0)
			return -1;
		if (timeout_ms >= 0 && left_ms < 0)
			left_ms = 0;
		got = poll(all, n, left_ms > INT32_MAX ? INT32_MAX : (int)left_ms);
		if (got < 0 && errno != EINTR)
			return err_sys(err, "could not poll");
		if (cancel_check(c, err) < 0)
			return -1;
		for (size_t i = 0; got > 0 && i < count; i++) {
			fds[i].revents = all[i].revents;
			ready += all[i].revents != 0;
		}
		if (ready || (got == 0 && left_ms <= INT32_MAX))
			return ready;
	}
}

int cancel_poll(struct cancel *c, int fd, short events, int64_t timeout_ms, struct error *err)
{
	struct pollfd pfd = {.fd = fd, .events = events}; /* poll() passes over a negative descriptor */
	int n = cancel_poll_many(c, &pfd, 1, timeout_ms, err);

	return n > 0 ? 1 : n;
}

int cancel_sleep(struct cancel *c, int64_t ms, struct error *err)
{
	return cancel_poll(c, -1, 0, ms < 0 ? 0 : ms, err);
}

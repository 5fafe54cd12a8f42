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

int cancel_poll(struct cancel *c, int fd, short events, int64_t timeout_ms, struct error *err)
{
	int64_t until_ms = timeout_ms < 0 ? 0 : clock_mono_ms() + timeout_ms;

	for (;;) {
		/* poll() passes over a negative descriptor, so that the places are fixed. */
		struct pollfd fds[3] = {{fd, events, 0}, {c ? c->fd : -1, POLLIN, 0}, {c && c->parent ? c->parent->fd : -1, POLLIN, 0}};
		int64_t left_ms = timeout_ms < 0 ? -1 : until_ms - clock_mono_ms();
		int n;

		if (cancel_check(c, err) < 0)
			return -1;
		if (timeout_ms >= 0 && left_ms < 0)
			left_ms = 0;
		n = poll(fds, 3, left_ms > INT32_MAX ? INT32_MAX : (int)left_ms);
		if (n < 0 && errno != EINTR)
			return err_sys(err, "could not poll");
		if (n > 0 && fds[0].revents)
			return cancel_check(c, err) < 0 ? -1 : 1;
		if (n == 0 && left_ms <= INT32_MAX)
			return cancel_check(c, err) < 0 ? -1 : 0;
	}
}

int cancel_sleep(struct cancel *c, int64_t ms, struct error *err)
{
	return cancel_poll(c, -1, 0, ms < 0 ? 0 : ms, err);
}

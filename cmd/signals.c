#include "cmd/signals.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

static struct cancel *the_cancel;
static struct ui *the_ui;
static atomic_int first_signal;

static void on_stop(int number)
{
	int none = 0, saved = errno;

	/* Children end with us: the kernel kills them (base/child.h). */
	if (!atomic_compare_exchange_strong(&first_signal, &none, number))
		_exit(128 + number);
	cancel_request(the_cancel, CANCEL_SIGNAL);
	errno = saved;
}

static void on_tell(int number)
{
	(void)number;
	ui_wake(the_ui);
}

int signals_install(struct cancel *cancel, struct ui *ui, struct error *err)
{
	static const struct {
		int number;
		void (*handler)(int);
	} table[] = {{SIGTERM, on_stop}, {SIGINT, on_stop}, {SIGHUP, on_stop}, {SIGUSR1, on_tell}, {SIGPIPE, SIG_IGN},
		{SIGXFSZ, SIG_IGN} /* too large a file is an error of write() */};

	the_cancel = cancel;
	the_ui = ui;
	for (size_t i = 0; i < array_len(table); i++) {
		struct sigaction act = {.sa_handler = table[i].handler, .sa_flags = SA_RESTART}, was;

		sigemptyset(&act.sa_mask);
		if (sigaction(table[i].number, NULL, &was) < 0)
			return err_sys(err, "could not ask for the handler of signal %d", table[i].number);
		/* Under nohup a hangup is nothing to us. */
		if (table[i].number == SIGHUP && was.sa_handler == SIG_IGN)
			continue;
		if (sigaction(table[i].number, &act, NULL) < 0)
			return err_sys(err, "could not set the handler of signal %d", table[i].number);
	}
	return 0;
}

int signals_received(void)
{
	return atomic_load(&first_signal);
}

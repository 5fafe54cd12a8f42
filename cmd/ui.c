#include "cmd/ui.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "base/clock.h"
#include "cmd/output.h"

#define REDRAW_MS 200
#define ERASE_LINE "\r\x1b[K"

struct style {
	const char *label, *color;
};
static const struct style style_error = {"error:  ", "\x1b[1;31m"};
static const struct style style_detail = {"detail: ", "\x1b[1m"};
static const struct style style_hint = {"hint:   ", "\x1b[1m"};
static const struct style style_warning = {"warning: ", "\x1b[1;33m"};
static const struct style style_plain = {"", ""};

/* ---- writing; under ui->lock ---- */

/* Standard error has no reader to tell when it cannot be written: the result is not looked at. */
static void put(const struct buf *b)
{
	const char *p = buf_str(b);
	size_t left = b->len;

	while (left) {
		ssize_t n = write(STDERR_FILENO, p, left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		p += n;
		left -= (size_t)n;
	}
}

static unsigned terminal_width(void)
{
	struct winsize w = {0};

	return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col >= 20 ? w.ws_col : 80;
}

static uint64_t sample_rate(struct ui *ui)
{
	unsigned slot = ui->rate_count % array_len(ui->rate_bytes);
	unsigned oldest = ui->rate_count < array_len(ui->rate_bytes) ? 0 : slot;
	uint64_t bytes = atomic_load_explicit(&ui->progress->bytes, memory_order_relaxed);
	int64_t now = clock_mono_ms();
	uint64_t past = ui->rate_count ? ui->rate_bytes[oldest] : 0;
	int64_t span = ui->rate_count ? now - ui->rate_at_ms[oldest] : now - ui->started_ms;

	ui->rate_bytes[slot] = bytes;
	ui->rate_at_ms[slot] = now;
	ui->rate_count++;
	return span > 0 && bytes > past ? (bytes - past) * 1000 / (uint64_t)span : 0;
}

static void progress_text(struct ui *ui, unsigned width, struct buf *out)
{
	uint64_t rate = sample_rate(ui);

	ui_progress_line(ui->step, ui->progress, rate, clock_mono_ms() - ui->started_ms, width, out);
}

/* One write for erasing and drawing: nothing flickers. */
static void draw(struct ui *ui, struct buf *above)
{
	struct buf b cleanup(buf_release) = {0};

	if (ui->is_drawn)
		buf_puts(&b, ERASE_LINE);
	ui->is_drawn = false;
	if (above)
		buf_putn(&b, buf_str(above), above->len);
	if (ui->is_live && ui->step && ui->progress && !ui->is_ending) {
		/* The last column stays free: a terminal would wrap behind it. */
		progress_text(ui, terminal_width() - 1, &b);
		ui->is_drawn = true;
	}
	put(&b);
}

static void put_line(struct ui *ui, struct buf *b, const struct style *style, const char *text)
{
	if (!text)
		return;
	if (ui->is_colored && *style->color)
		buf_printf(b, "%s%s\x1b[0m", style->color, style->label);
	else
		buf_puts(b, style->label);
	for (; *text; text++) {
		/* A detail of several lines stays under its label. */
		buf_putc(b, *text);
		if (*text == '\n' && text[1])
			buf_printf(b, "%*s", (int)strlen(style->label), "");
	}
	if (b->len && b->data[b->len - 1] != '\n')
		buf_putc(b, '\n');
}

static void say(struct ui *ui, struct buf *b)
{
	pthread_mutex_lock(&ui->lock);
	draw(ui, b);
	pthread_mutex_unlock(&ui->lock);
}

/* ---- events ---- */

static void step_begin(struct ui *ui, const struct event *ev)
{
	free(ui->step);
	ui->step = mem_strdup(ev->step ? ev->step : "");
	ui->progress = ev->progress;
	ui->started_ms = clock_mono_ms();
	ui->rate_count = 0;
}

static void step_end(struct ui *ui)
{
	free(ui->step);
	ui->step = NULL;
	ui->progress = NULL;
}

/* "dump: done in 12.3s, 1.43 GB, 1,000,000 rows" */
static void put_step_done(struct buf *b, const struct event *ev)
{
	char text[CLOCK_TEXT_BYTES];
	uint64_t bytes = ev->progress ? atomic_load(&ev->progress->bytes) : 0;
	uint64_t rows = ev->progress ? atomic_load(&ev->progress->rows) : 0;
	char *count cleanup(mem_freep) = text_count(rows);

	buf_printf(b, "%s: done in %s", ev->step, duration_format(ev->elapsed_ms, text));
	if (bytes)
		buf_printf(b, ", %s", size_format(bytes, text));
	if (rows)
		buf_printf(b, ", %s rows", count);
	buf_putc(b, '\n');
}

static void put_event(struct ui *ui, const struct event *ev, struct buf *b)
{
	const char *step = ev->step ? ev->step : "", *text = ev->text ? ev->text : "";

	switch (ev->kind) {
	case EVENT_DEBUG:
		buf_printf(b, "%s%s%s\n", step, *step ? ": " : "", text);
		break;
	case EVENT_INFO:
		buf_printf(b, "%s\n", text);
		break;
	case EVENT_WARNING:
		put_line(ui, b, &style_warning, text);
		put_line(ui, b, &style_detail, ev->detail);
		put_line(ui, b, &style_hint, ev->hint);
		break;
	case EVENT_RUN_STARTED:
		if (ui->is_verbose)
			buf_printf(b, "run %s\n", ev->run_id ? ev->run_id : "");
		break;
	case EVENT_STEP_SKIPPED:
		if (!ev->attempt && !ui->is_verbose)
			break; /* not wanted: a plan for many has many of those */
		buf_printf(b, "%s: %s\n", step, ev->text ? ev->text : "skipped");
		break;
	case EVENT_STEP_DONE:
		put_step_done(b, ev);
		break;
	case EVENT_STEP_RETRY:
		buf_printf(b, "%s: attempt %d failed: %s\n", step, ev->attempt, text);
		break;
	case EVENT_STEP_FAILED:
		/* The error itself is told once, at the end. */
		buf_printf(b, "%s: failed\n", step);
		break;
	case EVENT_STEP_UNDONE:
		buf_printf(b, "%s: undone\n", step);
		break;
	case EVENT_STEP_WAITING:
		buf_printf(b, "%s: waiting\n", step);
		break;
	case EVENT_STEP_STARTED:
	case EVENT_RUN_FINISHED:
		break;
	}
}

static void on_event(void *ctx, const struct event *ev)
{
	struct ui *ui = ctx;
	struct buf b cleanup(buf_release) = {0};

	if (ev->kind == EVENT_DEBUG && !ui->is_verbose)
		return;
	pthread_mutex_lock(&ui->lock);
	if (ev->kind == EVENT_STEP_STARTED)
		step_begin(ui, ev);
	if (!ui->is_quiet)
		put_event(ui, ev, &b);
	if (ev->kind == EVENT_STEP_DONE || ev->kind == EVENT_STEP_FAILED || ev->kind == EVENT_STEP_WAITING ||
		ev->kind == EVENT_RUN_FINISHED)
		step_end(ui);
	draw(ui, &b);
	pthread_mutex_unlock(&ui->lock);
}

/* ---- the thread ---- */

/* SIGUSR1: where the run is, as one line, whatever standard error is and however quiet we are. */
static void tell_progress(struct ui *ui)
{
	struct buf b cleanup(buf_release) = {0};

	if (ui->step && ui->progress)
		progress_text(ui, 0, &b);
	else
		buf_puts(&b, ui->step ? ui->step : "no step is running");
	buf_putc(&b, '\n');
	draw(ui, &b);
}

static void *redraw(void *arg)
{
	struct ui *ui = arg;
	struct pollfd p = {.fd = ui->wake_fd, .events = POLLIN};

	for (;;) {
		uint64_t woken = 0;

		if (poll(&p, 1, ui->is_live ? REDRAW_MS : -1) > 0 && read(ui->wake_fd, &woken, sizeof(woken)) < 0)
			woken = 0;
		pthread_mutex_lock(&ui->lock);
		if (ui->is_ending) {
			pthread_mutex_unlock(&ui->lock);
			return NULL;
		}
		if (woken)
			tell_progress(ui);
		else if (ui->step)
			draw(ui, NULL);
		pthread_mutex_unlock(&ui->lock);
	}
}

void ui_wake(struct ui *ui)
{
	uint64_t one = 1;
	int saved = errno;

	if (ui->wake_fd >= 0 && write(ui->wake_fd, &one, sizeof(one)) < 0)
		errno = saved;
	errno = saved;
}

/* Signals go to the other threads: this one would only be woken for nothing. */
static int start_thread(struct ui *ui, struct error *err)
{
	sigset_t all, before;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&ui->thread, NULL, redraw, ui);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc) {
		errno = rc;
		return err_sys(err, "could not start a thread");
	}
	ui->is_started = true;
	return 0;
}

int ui_open(struct ui *ui, struct error *err)
{
	const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");

	pthread_mutex_init(&ui->lock, NULL);
	ui->sink = (struct event_sink){on_event, ui};
	ui->is_live = !ui->is_quiet && isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
	ui->is_colored = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0 && !(no_color && *no_color);
	ui->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (ui->wake_fd < 0)
		return err_sys(err, "could not make an event descriptor");
	return start_thread(ui, err);
}

void ui_close(struct ui *ui)
{
	if (!ui->sink.emit)
		return;
	pthread_mutex_lock(&ui->lock);
	ui->is_ending = true;
	draw(ui, NULL);
	pthread_mutex_unlock(&ui->lock);
	if (ui->is_started) {
		ui_wake(ui);
		pthread_join(ui->thread, NULL);
		ui->is_started = false;
	}
	/* wake_fd stays open until the process ends: a late SIGUSR1 must not write into somebody else's descriptor. */
	step_end(ui);
}

/* ---- messages ---- */

void ui_error(struct ui *ui, const struct error *err)
{
	struct buf b cleanup(buf_release) = {0};

	put_line(ui, &b, &style_error, err->message ? err->message : "unknown error");
	put_line(ui, &b, &style_detail, err->detail);
	put_line(ui, &b, &style_hint, err->hint);
	say(ui, &b);
}

static void warn(struct ui *ui, const char *fmt, va_list ap)
{
	struct buf b cleanup(buf_release) = {0};
	char *text cleanup(mem_freep) = mem_vprintf(fmt, ap);

	put_line(ui, &b, &style_warning, text);
	say(ui, &b);
}

void ui_warn(struct ui *ui, const char *fmt, ...)
{
	va_list ap;

	if (ui->is_quiet)
		return;
	va_start(ap, fmt);
	warn(ui, fmt, ap);
	va_end(ap);
}

void ui_alarm(struct ui *ui, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	warn(ui, fmt, ap);
	va_end(ap);
}

void ui_note(struct ui *ui, const char *fmt, ...)
{
	struct buf b cleanup(buf_release) = {0};
	char *text cleanup(mem_freep) = NULL;
	va_list ap;

	if (ui->is_quiet)
		return;
	va_start(ap, fmt);
	text = mem_vprintf(fmt, ap);
	va_end(ap);
	put_line(ui, &b, &style_plain, text);
	say(ui, &b);
}

bool ui_confirm(struct ui *ui, const char *question)
{
	struct buf b cleanup(buf_release) = {0};
	char answer[16];

	buf_printf(&b, "%s [yes/no] ", question);
	say(ui, &b);
	if (!fgets(answer, sizeof(answer), stdin))
		return false;
	answer[strcspn(answer, "\r\n")] = '\0';
	return strcasecmp(answer, "yes") == 0 || strcasecmp(answer, "y") == 0;
}

#include "base/event.h"

#include <stdlib.h>

void event_emit(struct event_sink *sink, const struct event *ev)
{
	if (sink && sink->emit)
		sink->emit(sink->ctx, ev);
}

void event_text(struct event_sink *sink, enum event_kind kind, const char *fmt, ...)
{
	struct event ev = {.kind = kind};
	va_list ap;
	char *text;

	if (!sink || !sink->emit)
		return;
	va_start(ap, fmt);
	text = mem_vprintf(fmt, ap);
	va_end(ap);
	ev.text = text;
	event_emit(sink, &ev);
	free(text);
}

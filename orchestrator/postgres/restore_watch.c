/*
 * Life signs of statements that show none: an index of a large table or a foreign key's check may take hours, in which no row
 * and no byte passes us.  A thread with a connection of its own asks the server every few seconds whether one of our sessions is
 * at work, and counts that as activity.  A session that waits for a lock or for its client is not at work: the engine's watchdog
 * ends what hangs there.
 */
#include "orchestrator/postgres/restore_private.h"

#include <stdlib.h>

#define PERIOD_MS 5000

struct restore_watch {
	const struct restore_options *o;
	struct cancel cancel;
	pthread_t thread;
	bool is_started;
};

static int look(struct pg *pg, const struct restore_options *o, struct error *err)
{
	char *count cleanup(mem_freep) = NULL;
	int rc = pg_value(pg,
		"SELECT 1 FROM pg_catalog.pg_stat_activity WHERE datname = pg_catalog.current_database() AND "
		"application_name LIKE 'holdfast restore%' AND state = 'active' AND pid <> pg_catalog.pg_backend_pid() AND "
		"(wait_event_type IS NULL OR wait_event_type NOT IN ('Lock', 'Client', 'Activity')) LIMIT 1",
		&count, err);

	if (rc > 0 && o->progress)
		atomic_fetch_add_explicit(&o->progress->activity, 1, memory_order_relaxed);
	return rc < 0 ? -1 : 0;
}

/* A server that does not answer shows no life either: the next round connects again. */
static void *watch(void *arg)
{
	struct restore_watch *w = arg;
	struct pg pg cleanup(pg_close) = {0};
	struct error err cleanup(err_clear) = ERROR_INIT;

	while (cancel_sleep(&w->cancel, PERIOD_MS, &err) == 0) {
		if (!pg.conn && restore_connect(w->o, "restore watch", &w->cancel, &pg, &err) < 0)
			continue;
		if (look(&pg, w->o, &err) < 0)
			pg_close(&pg);
	}
	return NULL;
}

struct restore_watch *restore_watch_start(const struct restore_options *o)
{
	struct restore_watch *w = mem_zalloc(sizeof(*w));
	struct error ignored cleanup(err_clear) = ERROR_INIT;

	w->o = o;
	w->cancel.fd = -1;
	/* Without the thread the watchdog is stricter, nothing else. */
	w->is_started = cancel_init(&w->cancel, o->cancel, &ignored) == 0 && pthread_create(&w->thread, NULL, watch, w) == 0;
	return w;
}

void restore_watch_stop(struct restore_watch **w)
{
	if (!*w)
		return;
	if ((*w)->is_started) {
		cancel_request(&(*w)->cancel, CANCEL_FAILED);
		pthread_join((*w)->thread, NULL);
	}
	cancel_release(&(*w)->cancel);
	free(*w);
	*w = NULL;
}

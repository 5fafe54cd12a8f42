/*
 * Finding a pooler between us and the server.
 *
 * A snapshot, a session setting and an advisory lock belong to one backend.  A pooler in transaction or statement mode gives each
 * statement whatever backend is free, so two idle connections through it meet the same one; and the process id it told us when we
 * connected is one it made up.
 */
#include <stdlib.h>
#include <string.h>
#include "orchestrator/postgres/conn.h"

#define ROUNDS 3

static int ask_backend(struct pg *pg, int *ret, struct error *err)
{
	char *text cleanup(mem_freep) = NULL;

	if (pg_value(pg, "SELECT pg_catalog.pg_backend_pid()", &text, err) < 0)
		return -1;
	*ret = text ? atoi(text) : 0;
	return 0;
}

static int is_shared(struct pg *a, struct pg *b, bool *ret, int *ret_pid, struct error *err)
{
	int first = 0;

	for (int i = 0; i < ROUNDS; i++) {
		int pid_a, pid_b;

		if (ask_backend(a, &pid_a, err) < 0 || ask_backend(b, &pid_b, err) < 0)
			return -1;
		if (!first)
			first = pid_a;
		if (pid_a == pid_b || pid_a != first) {
			*ret = true;
			return 0;
		}
	}
	*ret_pid = first;
	*ret = false;
	return 0;
}

/* Where the server itself listens, as far as it tells. */
static char *server_place(struct pg *pg)
{
	static const char sql[] =
		"SELECT COALESCE('host ' || pg_catalog.host(pg_catalog.inet_server_addr()) || ', ', '') || 'port ' ||"
		" pg_catalog.current_setting('port')";
	struct error ignored cleanup(err_clear) = ERROR_INIT;
	char *text = NULL;

	if (pg_value(pg, sql, &text, &ignored) <= 0)
		return mem_strdup("its own port");
	return text;
}

int pg_refuse_pooler(const char *conninfo, struct cancel *cancel, struct event_sink *events, struct error *err)
{
	const struct pg_options o = {.conninfo = conninfo, .what = "preflight", .cancel = cancel};
	struct pg a cleanup(pg_close) = {0}, b cleanup(pg_close) = {0};
	char *place cleanup(mem_freep) = NULL;
	bool shared = false;
	int pid = 0;

	if (pg_open(&o, &a, err) < 0 || pg_open(&o, &b, err) < 0 || is_shared(&a, &b, &shared, &pid, err) < 0)
		return -1;
	if (!shared && pid == a.backend_pid)
		return 0;
	place = server_place(&a);
	if (!shared) {
		event_text(events, EVENT_WARNING, "connected through a pooler in session mode; the server itself listens on %s",
			place);
		return 0;
	}
	err_set(err, ERR_REFUSED, "database \"%s\" is reached through a pooler in transaction mode", PQdb(a.conn));
	err_detail(
		err, "Two idle connections were given the same server process.  A snapshot or a lock cannot be held through it.");
	return err_hint(err, "Connect to the server itself, which listens on %s.", place);
}

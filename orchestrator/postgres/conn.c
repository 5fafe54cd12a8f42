/*
 * libpq, asynchronously: nothing in here blocks without looking at the cancel token.
 *
 * Connections are non-blocking from the start.  Every statement is sent, flushed and read by poll(); when the token fires the
 * server is told (PQcancel), what it still sends is thrown away for a bounded time, and the call fails with ERR_CANCELLED.  A
 * connection that could not be drained in that time is closed, so that a later call fails instead of reading old answers.
 */
#include "orchestrator/postgres/conn.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "orchestrator/postgres/conninfo.h"

#define DEFAULT_CONNECT_TIMEOUT_MS 10000
#define DRAIN_MS 5000

static void ignore_notice(void *arg, const PGresult *res)
{
	(void)arg;
	(void)res;
}

void pg_clearp(PGresult **res)
{
	PQclear(*res);
	*res = NULL;
}

/* --- errors ------------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *prefix;
	enum err_class class;
} sqlstate_classes[] = {
	{"08", ERR_RETRY},                          /* connection exceptions */
	{"57P0", ERR_RETRY},                        /* the server is going down, coming up, or ended the session */
	{"57014", ERR_RETRY},                       /* cancelled by somebody else or by a timeout; see class_of_sqlstate() */
	{"53300", ERR_RETRY},                       /* too many connections */
	{"25P03", ERR_RETRY},                       /* idle in transaction, or the transaction, for too long */
	{"25P04", ERR_RETRY}, {"40001", ERR_RETRY}, /* serialization failure; on a standby: conflict with recovery */
	{"40P01", ERR_RETRY},                       /* deadlock */
	{"55P03", ERR_RETRY},                       /* lock not available */
	{"72000", ERR_RETRY},                       /* snapshot too old */
	{"28", ERR_DENIED}, {"42501", ERR_DENIED}, {"53100", ERR_FULL}, /* disk full */
	{"XX001", ERR_CORRUPT},                                         /* data corrupted */
	{"XX002", ERR_CORRUPT},                                         /* index corrupted */
};

static enum err_class class_of_sqlstate(const struct pg *pg, const char *sqlstate)
{
	if (strcmp(sqlstate, "57014") == 0 && cancel_requested(pg->cancel))
		return ERR_CANCELLED;
	for (size_t i = 0; i < array_len(sqlstate_classes); i++)
		if (strncmp(sqlstate, sqlstate_classes[i].prefix, strlen(sqlstate_classes[i].prefix)) == 0)
			return sqlstate_classes[i].class;
	return ERR_FAILED;
}

static size_t first_line(const char *text)
{
	size_t n = strcspn(text, "\n");

	while (n && (text[n - 1] == '\r' || text[n - 1] == ' '))
		n--;
	return n;
}

int pg_error(struct pg *pg, const PGresult *res, struct error *err, const char *fmt, ...)
{
	const char *sqlstate = res ? PQresultErrorField(res, PG_DIAG_SQLSTATE) : NULL;
	const char *reason = res ? PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY) : NULL;
	const char *detail = res ? PQresultErrorField(res, PG_DIAG_MESSAGE_DETAIL) : NULL;
	const char *hint = res ? PQresultErrorField(res, PG_DIAG_MESSAGE_HINT) : NULL;
	bool is_lost = PQstatus(pg->conn) == CONNECTION_BAD;
	va_list ap;
	char *text;

	va_start(ap, fmt);
	text = mem_vprintf(fmt, ap);
	va_end(ap);
	if (!reason)
		reason = res && *PQresultErrorMessage(res) ? PQresultErrorMessage(res) : PQerrorMessage(pg->conn);
	if (!detail && res)
		detail = PQresultErrorField(res, PG_DIAG_CONTEXT);
	err_set(err,
		sqlstate          ? class_of_sqlstate(pg, sqlstate)
			: is_lost ? ERR_RETRY
				  : ERR_FAILED,
		"%s: %.*s", text, (int)first_line(reason), reason);
	free(text);
	if (sqlstate)
		memcpy(err->sqlstate, sqlstate, strnlen(sqlstate, sizeof(err->sqlstate) - 1));
	if (detail && *detail)
		err_detail(err, "%s", detail);
	if (hint && *hint)
		err_hint(err, "%s", hint);
	return -1;
}

/* --- connecting --------------------------------------------------------------------------------------------------------- */

/* While connecting, libpq gives no SQLSTATE field, but a verbose message has it: "…FATAL:  28P01: password …". */
static const char *split_verbose(const char *message, char ret_sqlstate[6])
{
	for (const char *p = strstr(message, ":  "); p; p = strstr(p + 3, ":  ")) {
		if (strspn(p + 3, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5 && strncmp(p + 8, ": ", 2) == 0) {
			memcpy(ret_sqlstate, p + 3, 5);
			ret_sqlstate[5] = '\0';
			return p + 10;
		}
	}
	return NULL;
}

/* libpq's own "connection to server on socket "…" failed: " says again what our message says before it. */
static const char *without_prefix(const char *message)
{
	const char *p = strncmp(message, "connection to server ", 21) == 0 ? strstr(message, " failed: ") : NULL;

	return p ? p + 9 : message;
}

static bool is_wrong_usage(const char *message)
{
	static const char *const starts[] = {"invalid ", "definition of service", "service file", "missing ", "could not match ",
		"syntax error", "extra key/value"};

	for (size_t i = 0; i < array_len(starts); i++)
		if (strncmp(message, starts[i], strlen(starts[i])) == 0)
			return true;
	return false;
}

static void put_place(struct buf *b, PGconn *conn)
{
	const char *host = PQhost(conn), *port = PQport(conn);

	buf_printf(b, "could not connect to server at \"%s\"", host && *host ? host : "local socket");
	if (port && *port && strcmp(port, DEF_PGPORT_TEXT) != 0)
		buf_printf(b, ", port %s", port);
	buf_printf(b, " (database \"%s\", user \"%s\")", PQdb(conn) ? PQdb(conn) : "", PQuser(conn) ? PQuser(conn) : "");
}

static int connect_error(struct pg *pg, struct error *err)
{
	const char *message = PQerrorMessage(pg->conn);
	struct buf place cleanup(buf_release) = {0};
	char sqlstate[6] = "";
	const char *reason = split_verbose(message, sqlstate);
	enum err_class class;

	if (reason)
		class = class_of_sqlstate(pg, sqlstate);
	else if (PQconnectionNeedsPassword(pg->conn))
		class = ERR_DENIED;
	else
		class = is_wrong_usage(message) ? ERR_CONFIG : ERR_RETRY;
	if (!reason)
		reason = without_prefix(message);
	put_place(&place, pg->conn);
	err_set(err, class, "%s: %.*s", buf_str(&place), (int)first_line(reason), reason);
	memcpy(err->sqlstate, sqlstate, sizeof(sqlstate));
	if (PQconnectionNeedsPassword(pg->conn))
		err_hint(err, "Give the password in a file ~/.pgpass of mode 0600, or in the variable PGPASSWORD.");
	return -1;
}

static int wait_connected(struct pg *pg, int64_t timeout_ms, struct error *err)
{
	int64_t deadline = clock_mono_ms() + timeout_ms;
	PostgresPollingStatusType want = PGRES_POLLING_WRITING;

	while (want != PGRES_POLLING_OK) {
		int64_t left = deadline - clock_mono_ms();
		int ready;

		if (want == PGRES_POLLING_FAILED || PQstatus(pg->conn) == CONNECTION_BAD)
			return connect_error(pg, err);
		ready = cancel_poll(pg->cancel, PQsocket(pg->conn), want == PGRES_POLLING_READING ? POLLIN : POLLOUT,
			left > 0 ? left : 0, err);
		if (ready < 0)
			return -1;
		if (ready == 0) {
			struct buf place cleanup(buf_release) = {0};

			put_place(&place, pg->conn);
			return err_set(
				err, ERR_RETRY, "%s: no answer within %lld s", buf_str(&place), (long long)(timeout_ms / 1000));
		}
		want = PQconnectPoll(pg->conn);
	}
	return 0;
}

static PGconn *start_connection(const struct pg_options *o, const char *application_name)
{
	/* What stands behind dbname=<conninfo> overrides it, and a second dbname is taken as it is. */
	const char *keywords[] = {"keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "dbname",
		"application_name", o->database ? "dbname" : NULL, NULL};
	const char *values[] = {"1", "30", "10", "6", o->conninfo ? o->conninfo : "", application_name, o->database, NULL};

	return PQconnectStartParams(keywords, values, 1);
}

static int prepare(struct pg *pg, const struct pg_options *o, struct error *err)
{
	pg->server_version = PQserverVersion(pg->conn);
	pg->backend_pid = PQbackendPID(pg->conn);
	if (PQsetnonblocking(pg->conn, 1) < 0)
		return pg_error(pg, NULL, err, "could not make the connection non-blocking");
	return o->is_pinned ? pg_pin_text(pg, err) : 0;
}

int pg_open(const struct pg_options *o, struct pg *ret, struct error *err)
{
	char *name cleanup(mem_freep) = mem_printf("holdfast %s", o->what ? o->what : "session");
	struct pg pg cleanup(pg_close) = {.cancel = o->cancel, .what = mem_strdup(o->what ? o->what : "session")};

	if (cancel_check(o->cancel, err) < 0)
		return -1;
	pg.conn = start_connection(o, name);
	if (!pg.conn)
		return err_set(err, ERR_FULL, "could not get memory for a connection");
	PQsetNoticeReceiver(pg.conn, ignore_notice, NULL);
	PQsetErrorVerbosity(pg.conn, PQERRORS_VERBOSE);
	if (wait_connected(&pg, o->connect_timeout_ms ? o->connect_timeout_ms : DEFAULT_CONNECT_TIMEOUT_MS, err) < 0)
		return -1;
	PQsetErrorVerbosity(pg.conn, PQERRORS_DEFAULT);
	if (prepare(&pg, o, err) < 0)
		return -1;
	*ret = pg;
	memset(&pg, 0, sizeof(pg));
	return 0;
}

void pg_close(struct pg *pg)
{
	PQfinish(pg->conn);
	free(pg->what);
	memset(pg, 0, sizeof(*pg));
}

/* --- waiting ------------------------------------------------------------------------------------------------------------ */

static int poll_plain(int fd, short events, int64_t timeout_ms)
{
	struct pollfd p = {.fd = fd, .events = events};

	return poll(&p, 1, (int)timeout_ms);
}

/* Throws away what a cancelled statement still sends. 0 when the connection is idle again. */
static int drain(struct pg *pg, int64_t deadline)
{
	for (;;) {
		PGresult *res;
		ExecStatusType status;

		while (PQisBusy(pg->conn)) {
			int64_t left = deadline - clock_mono_ms();

			if (left <= 0 || poll_plain(PQsocket(pg->conn), POLLIN, left) <= 0 || !PQconsumeInput(pg->conn))
				return -1;
		}
		res = PQgetResult(pg->conn);
		if (!res)
			return 0;
		status = PQresultStatus(res);
		PQclear(res);
		if (status == PGRES_COPY_IN && PQputCopyEnd(pg->conn, "cancelled") < 0)
			return -1;
		if (status == PGRES_COPY_OUT) {
			char *row;
			int n;

			while ((n = PQgetCopyData(pg->conn, &row, 1)) >= 0) {
				if (n > 0)
					PQfreemem(row);
				else if (clock_mono_ms() >= deadline ||
					poll_plain(PQsocket(pg->conn), POLLIN, deadline - clock_mono_ms()) <= 0 ||
					!PQconsumeInput(pg->conn))
					return -1;
			}
		}
	}
}

void pg_cancel_statement(struct pg *pg)
{
	PGcancel *handle = pg->conn ? PQgetCancel(pg->conn) : NULL;
	char ignored[256];

	/* Whether the server heard it shows in the draining: there is nothing else to do about a failure here. */
	if (!handle || PQtransactionStatus(pg->conn) != PQTRANS_ACTIVE) {
		PQfreeCancel(handle);
		return;
	}
	(void)PQcancel(handle, ignored, sizeof(ignored));
	PQfreeCancel(handle);
	if (drain(pg, clock_mono_ms() + DRAIN_MS) < 0) {
		PQfinish(pg->conn);
		pg->conn = NULL;
	}
}

/*
 * What TLS or GSS has received and not yet handed out cannot be polled for: the last bytes of an answer may lie there while the
 * socket stays silent.  Servers fill a record no further than libpq leaves room for, proxies do not.  So an encrypted connection
 * is looked at again after a while; callers consume what there is and come back.
 */
#define ENCRYPTED_WAIT_MS 20

static bool is_encrypted(PGconn *conn)
{
	return PQsslInUse(conn) || PQgssEncInUse(conn);
}

int pg_wait(struct pg *pg, short events, struct error *err)
{
	if (cancel_poll(pg->cancel, PQsocket(pg->conn), events, is_encrypted(pg->conn) ? ENCRYPTED_WAIT_MS : -1, err) >= 0)
		return 0;
	pg_cancel_statement(pg);
	return -1;
}

int pg_flush(struct pg *pg, struct error *err)
{
	for (;;) {
		int more = PQflush(pg->conn);

		if (more == 0)
			return 0;
		if (more < 0)
			return pg_error(pg, NULL, err, "could not send to the server");
		if (pg_wait(pg, POLLIN | POLLOUT, err) < 0)
			return -1;
		/* A server that stops reading until we have read something must not hold us up for ever. */
		if (!PQconsumeInput(pg->conn))
			return pg_error(pg, NULL, err, "connection to the server was lost");
	}
}

int pg_next_result(struct pg *pg, PGresult **ret, struct error *err)
{
	if (!pg->conn)
		return err_set(err, ERR_RETRY, "connection \"%s\" was closed", pg->what ? pg->what : "");
	if (pg_flush(pg, err) < 0)
		return -1;
	while (PQisBusy(pg->conn)) {
		if (pg_wait(pg, POLLIN, err) < 0)
			return -1;
		if (!PQconsumeInput(pg->conn))
			return pg_error(pg, NULL, err, "connection to the server was lost");
	}
	*ret = PQgetResult(pg->conn);
	return 0;
}

/* --- statements --------------------------------------------------------------------------------------------------------- */

static bool is_copy(const PGresult *res)
{
	ExecStatusType s = PQresultStatus(res);

	return s == PGRES_COPY_OUT || s == PGRES_COPY_IN || s == PGRES_COPY_BOTH;
}

static bool is_good(const PGresult *res)
{
	ExecStatusType s = PQresultStatus(res);

	return s == PGRES_COMMAND_OK || s == PGRES_TUPLES_OK || s == PGRES_EMPTY_QUERY || is_copy(res);
}

/* The statement's head, for messages: one line, no longer than a screen is wide. */
static char *statement_head(const char *sql)
{
	const size_t max = 72;
	char *head = mem_strndup(sql, strnlen(sql, max + 1));
	size_t n = strlen(head);

	for (char *p = head; *p; p++)
		if (*p == '\n' || *p == '\t')
			*p = ' ';
	if (n > max) {
		while (n > max - 3 || (n && (head[n] & 0xc0) == 0x80)) /* not within a UTF-8 character */
			n--;
		memcpy(head + n, "...", 4);
	}
	return head;
}

static int statement_error(struct pg *pg, const PGresult *res, const char *sql, struct error *err)
{
	char *head cleanup(mem_freep) = statement_head(sql);

	return pg_error(pg, res, err, "could not execute \"%s\"", head);
}

static int collect(struct pg *pg, const char *sql, PGresult **ret, struct error *err)
{
	PGresult *last cleanup(pg_clearp) = NULL;
	bool is_failed = false;

	for (;;) {
		PGresult *res = NULL;

		if (pg_next_result(pg, &res, err) < 0)
			return -1;
		if (!res)
			break;
		if (is_failed) { /* the first error is the one to tell */
			PQclear(res);
			continue;
		}
		PQclear(last);
		last = res;
		is_failed = !is_good(res);
		if (is_copy(res))
			break;
	}
	if (is_failed || !last)
		return statement_error(pg, last, sql, err);
	if (ret)
		*ret = take_ptr(last);
	return 0;
}

static int send_failed(struct pg *pg, const char *sql, struct error *err)
{
	if (!pg->conn)
		return err_set(err, ERR_RETRY, "connection \"%s\" was closed", pg->what ? pg->what : "");
	return statement_error(pg, NULL, sql, err);
}

int pg_exec(struct pg *pg, const char *sql, PGresult **ret, struct error *err)
{
	if (cancel_check(pg->cancel, err) < 0)
		return -1;
	if (!pg->conn || !PQsendQuery(pg->conn, sql))
		return send_failed(pg, sql, err);
	return collect(pg, sql, ret, err);
}

int pg_execf(struct pg *pg, struct error *err, const char *fmt, ...)
{
	char *sql cleanup(mem_freep) = NULL;
	va_list ap;

	va_start(ap, fmt);
	sql = mem_vprintf(fmt, ap);
	va_end(ap);
	return pg_exec(pg, sql, NULL, err);
}

int pg_query(struct pg *pg, const char *sql, int nparams, const char *const *params, PGresult **ret, struct error *err)
{
	if (cancel_check(pg->cancel, err) < 0)
		return -1;
	if (!pg->conn || !PQsendQueryParams(pg->conn, sql, nparams, NULL, params, NULL, NULL, 0))
		return send_failed(pg, sql, err);
	return collect(pg, sql, ret, err);
}

int pg_value(struct pg *pg, const char *sql, char **ret, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_exec(pg, sql, &res, err) < 0)
		return -1;
	if (PQntuples(res) < 1 || PQnfields(res) < 1 || PQgetisnull(res, 0, 0))
		return 0;
	*ret = mem_strdup(PQgetvalue(res, 0, 0));
	return 1;
}

/* --- what text depends on ----------------------------------------------------------------------------------------------- */

static const struct {
	const char *name, *value;
	int since; /* the server version that brought it */
} pinned[] = {
	{"datestyle", "ISO, YMD", 0},
	{"intervalstyle", "postgres", 0},
	{"timezone", "UTC", 0},
	{"extra_float_digits", "3", 0},
	{"bytea_output", "hex", 0},
	{"lc_monetary", "C", 0}, /* type money */
	{"array_nulls", "on", 0},
	{"xmloption", "content", 0},
	{"xmlbinary", "base64", 0},
	{"search_path", "", 0}, /* regclass and its like */
	{"quote_all_identifiers", "off", 0},
	{"standard_conforming_strings", "on", 0},
	{"row_security", "off", 0},
	{"statement_timeout", "0", 0},
	{"lock_timeout", "0", 0},
	{"idle_in_transaction_session_timeout", "0", 0},
	{"idle_session_timeout", "0", 140000},
	{"transaction_timeout", "0", 170000},
	{"jit", "off", 0},
	{"synchronize_seqscans", "off", 0},
	{"max_parallel_workers_per_gather", "0", 0},
};

int pg_pin_text(struct pg *pg, struct error *err)
{
	const char *encoding = PQparameterStatus(pg->conn, "server_encoding");
	struct buf sql cleanup(buf_release) = {0};

	for (size_t i = 0; i < array_len(pinned); i++)
		if (pg->server_version >= pinned[i].since)
			buf_printf(&sql, "SET %s = '%s'; ", pinned[i].name, pinned[i].value);
	buf_printf(&sql, "SET client_encoding = '%s'", encoding ? encoding : "UTF8");
	if (pg_exec(pg, buf_str(&sql), NULL, err) < 0)
		return err_context(err, "could not pin the settings of the session");
	return 0;
}

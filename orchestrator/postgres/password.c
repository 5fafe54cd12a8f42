#include "orchestrator/postgres/password.h"

#include <stdlib.h>
#include <string.h>
#include "base/hash.h"

/* What a server logs by default are failed statements; it is a verifier that would stand there, not a password, but that is nobody's
 * business either.  Only superusers may turn it off. */
static int keep_out_of_log(struct pg *pg, struct error *err)
{
	struct error denied cleanup(err_clear) = ERROR_INIT;

	if (pg_exec(pg,
		    "SET log_statement = 'none'; SET log_min_error_statement = 'panic'; SET log_min_duration_statement = -1; "
		    "SET log_min_duration_sample = -1; SET log_duration = off",
		    NULL, &denied) == 0 ||
		denied.class == ERR_DENIED)
		return 0;
	return err_move(err, &denied);
}

int password_set(struct pg *pg, const char *role, const char *password, bool with_login, struct error *err)
{
	char *verifier = NULL, *ident cleanup(mem_freep) = pg_ident(role), *literal cleanup(mem_freep) = NULL;
	char *sql cleanup(mem_freep) = NULL;
	struct error failed cleanup(err_clear) = ERROR_INIT;

	if (!*password)
		return err_set(err, ERR_CONFIG, "the password of role \"%s\" is empty", role);
	if (keep_out_of_log(pg, err) < 0)
		return -1;
	verifier = PQencryptPasswordConn(pg->conn, password, role, "scram-sha-256");
	if (!verifier)
		return pg_error(pg, NULL, err, "could not hash the password of role \"%s\"", role);
	literal = pg_literal(verifier);
	PQfreemem(verifier);
	sql = mem_printf("ALTER ROLE %s %sPASSWORD %s", ident, with_login ? "LOGIN " : "", literal);
	if (pg_exec(pg, sql, NULL, &failed) == 0)
		return 0;
	/* The statement, whose beginning the message would have, is not to be told. */
	err_set(err, failed.class, "could not set the password of role \"%s\"", role);
	memcpy(err->sqlstate, failed.sqlstate, sizeof(err->sqlstate));
	if (strrchr(failed.message, ':'))
		err_detail(err, "The server says%s.", strrchr(failed.message, ':'));
	return -1;
}

static int try_login(
	const char *conninfo, const char *role, const char *password, struct cancel *cancel, bool *ret_is_in, struct error *err)
{
	const char *const pairs[] = {"user", role, "password", password, "passfile", "/dev/null", NULL};
	char *as_role cleanup(mem_freep) = NULL;
	struct pg pg cleanup(pg_close) = {0};
	struct error refused cleanup(err_clear) = ERROR_INIT;

	if (pg_conninfo_with(conninfo, pairs, &as_role, err) < 0)
		return -1;
	*ret_is_in = true;
	if (pg_open(&(struct pg_options){.conninfo = as_role, .what = "login", .cancel = cancel}, &pg, &refused) == 0)
		return 0;
	/* Whoever is told that there is no room, no right to connect, or no such database has shown the right password before. */
	if (strcmp(refused.sqlstate, "53300") == 0 || strcmp(refused.sqlstate, "42501") == 0 ||
		strcmp(refused.sqlstate, "3D000") == 0 || strcmp(refused.sqlstate, "55000") == 0)
		return 0;
	*ret_is_in = false;
	return strncmp(refused.sqlstate, "28", 2) == 0 || refused.class == ERR_DENIED ? 0 : err_move(err, &refused);
}

int password_check(const char *conninfo, const char *role, const char *password, struct cancel *cancel, enum password_check *ret,
	struct error *err)
{
	uint8_t random[16];
	char wrong[2 * sizeof(random) + 1];
	bool is_in;

	if (try_login(conninfo, role, password, cancel, &is_in, err) < 0)
		return -1;
	*ret = PASSWORD_WRONG;
	if (!is_in)
		return 0;
	if (random_bytes(random, sizeof(random), err) < 0 ||
		try_login(conninfo, role, hex_encode(random, sizeof(random), wrong), cancel, &is_in, err) < 0)
		return -1;
	*ret = is_in ? PASSWORD_UNASKED : PASSWORD_WORKS;
	return 0;
}

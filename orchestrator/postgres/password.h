/*
 * Passwords of roles, hashed on the client: neither the server's log nor its statistics ever see one.
 */
#ifndef POSTGRES_PASSWORD_H
#define POSTGRES_PASSWORD_H

#include "orchestrator/postgres/conn.h"

/* ALTER ROLE … [LOGIN] PASSWORD 'SCRAM-SHA-256$…'.  The statement is kept out of the log where the role may change that. */
int password_set(struct pg *pg, const char *role, const char *password, bool with_login, struct error *err) must_check;

enum password_check {
	PASSWORD_WORKS,
	PASSWORD_WRONG,  /* or the role may not log in, or there is no such role */
	PASSWORD_UNASKED /* the server lets that role in with any password, or asks for something else: it cannot be told */
};
/* Logs in as ${role} to the server and database of ${conninfo}; a limit on connections or a missing privilege comes after the password. */
int password_check(const char *conninfo, const char *role, const char *password, struct cancel *cancel, enum password_check *ret,
	struct error *err) must_check;

#endif

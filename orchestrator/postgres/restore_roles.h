/*
 * --map-role: other owners and grantees than the backup names, by rewriting the role names of the statements that have any.
 */
#ifndef POSTGRES_RESTORE_ROLES_H
#define POSTGRES_RESTORE_ROLES_H

#include "base/inventory.h"
#include "orchestrator/postgres/restore.h"

/* The name ${map} gives to ${role}, or ${role} itself; ${map} may be NULL. */
const char *role_mapped(const struct role_map *map, const char *role);

/*
 * Appends the statements of ${sql} to ${out}, role names replaced.  Looked at are OWNER TO, GRANT and REVOKE, ALTER DEFAULT
 * PRIVILEGES, SET SESSION AUTHORIZATION, CREATE POLICY … TO and CREATE USER MAPPING; every other statement, and every string and
 * body, is copied as it stands.
 */
int roles_rewrite(const char *sql, size_t n, const struct role_map *map, struct buf *out, struct error *err) must_check;

#endif

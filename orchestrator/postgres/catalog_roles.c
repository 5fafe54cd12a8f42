/*
 * Roles that a restore needs: owners, grantees, roles of policies and of settings, and the roles these are members of.
 *
 * pg_shdepend records every dependency of this database's objects on roles, except on the roles initdb made: so the bootstrap
 * superuser is looked for among the owners of objects.  What comes with another object is not looked at: CREATE EXTENSION makes what
 * belongs to an extension, and of a trusted one that is the bootstrap superuser's, whoever the extension belongs to; so are the
 * constructors of a range type.
 */
#include <stdlib.h>
#include <string.h>
#include "orchestrator/postgres/catalog.h"

static const char roles_sql[] =
	"WITH RECURSIVE here AS (SELECT oid, datdba FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()),"
	" members AS (SELECT classid, objid FROM pg_catalog.pg_depend WHERE deptype IN ('e', 'i')),"
	" owned(classid, objid, role) AS ("
	" SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::oid, oid, relowner FROM pg_catalog.pg_class"
	" UNION ALL SELECT 'pg_catalog.pg_namespace'::pg_catalog.regclass, oid, nspowner FROM pg_catalog.pg_namespace"
	" UNION ALL SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, oid, proowner FROM pg_catalog.pg_proc"
	" UNION ALL SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, oid, typowner FROM pg_catalog.pg_type"
	" UNION ALL SELECT 'pg_catalog.pg_operator'::pg_catalog.regclass, oid, oprowner FROM pg_catalog.pg_operator"
	" UNION ALL SELECT 'pg_catalog.pg_collation'::pg_catalog.regclass, oid, collowner FROM pg_catalog.pg_collation"
	" UNION ALL SELECT 'pg_catalog.pg_conversion'::pg_catalog.regclass, oid, conowner FROM pg_catalog.pg_conversion"
	" UNION ALL SELECT 'pg_catalog.pg_ts_config'::pg_catalog.regclass, oid, cfgowner FROM pg_catalog.pg_ts_config"
	" UNION ALL SELECT 'pg_catalog.pg_ts_dict'::pg_catalog.regclass, oid, dictowner FROM pg_catalog.pg_ts_dict"
	" UNION ALL SELECT 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass, oid, stxowner FROM pg_catalog.pg_statistic_ext"
	" UNION ALL SELECT 'pg_catalog.pg_foreign_server'::pg_catalog.regclass, oid, srvowner FROM pg_catalog.pg_foreign_server"
	" UNION ALL SELECT 'pg_catalog.pg_publication'::pg_catalog.regclass, oid, pubowner FROM pg_catalog.pg_publication"
	" UNION ALL SELECT 'pg_catalog.pg_default_acl'::pg_catalog.regclass, oid, defaclrole FROM pg_catalog.pg_default_acl),"
	" direct(role, rank, why) AS ("
	" SELECT datdba, 1, 'owner' FROM here"
	" UNION SELECT s.refobjid, CASE s.deptype WHEN 'o' THEN 1 WHEN 'r' THEN 3 ELSE 2 END,"
	" CASE s.deptype WHEN 'o' THEN 'owner' WHEN 'r' THEN 'policy' ELSE 'grantee' END"
	" FROM pg_catalog.pg_shdepend s, here WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass"
	" AND (s.dbid = here.oid OR (s.dbid = 0 AND s.classid = 'pg_catalog.pg_database'::pg_catalog.regclass AND s.objid = here.oid))"
	" AND (s.deptype <> 'o' OR (s.classid, s.objid) NOT IN (SELECT classid, objid FROM members))"
	" UNION SELECT role, 1, 'owner' FROM owned WHERE objid >= 16384 AND role < 16384"
	" AND (classid, objid) NOT IN (SELECT classid, objid FROM members)"
	" UNION SELECT lomowner, 1, 'owner' FROM pg_catalog.pg_largeobject_metadata WHERE lomowner < 16384"
	/* pg_dump names the owner of the schema public unless it is this one, which 15 and later make it */
	" UNION SELECT nspowner, 1, 'owner' FROM pg_catalog.pg_namespace WHERE nspname = 'public' AND nspowner <> 6171 AND"
	" pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= 150000"
	" UNION SELECT setrole, 4, 'setting' FROM pg_catalog.pg_db_role_setting, here WHERE setdatabase = here.oid AND setrole <> 0),"
	" every(role, rank, why) AS ("
	" SELECT role, rank, why FROM direct"
	" UNION SELECT m.roleid, 5, 'membership' FROM every e JOIN pg_catalog.pg_auth_members m ON m.member = e.role)"
	" SELECT DISTINCT ON (r.rolname) r.rolname, e.why FROM every e JOIN pg_catalog.pg_roles r ON r.oid = e.role"
	" ORDER BY r.rolname, e.rank";

int catalog_fill_roles(struct pg *pg, struct inventory *inv, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_exec(pg, roles_sql, &res, err) < 0)
		return err_context(err, "could not read roles");
	for (int row = 0; row < PQntuples(res); row++)
		*inventory_add(inv, roles) = (struct inv_role){
			.name = result_text(&inv->arena, res, row, 0), .why = result_text(&inv->arena, res, row, 1)};
	return 0;
}

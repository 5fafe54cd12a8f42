/*
 * large-objects.sql: owner, privileges, comment and security labels of each large object.  Their content is copied like rows.
 */
#include <stdlib.h>
#include <string.h>
#include "orchestrator/postgres/dump_private.h"

#define BATCH 5000

static const char batch_sql[] =
	"SELECT m.oid, 'ALTER LARGE OBJECT ' || m.oid || ' OWNER TO ' || pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(m.lomowner)) ||"
	" E';\\n' || COALESCE('REVOKE ALL ON LARGE OBJECT ' || m.oid || ' FROM ' ||"
	" pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(m.lomowner)) || E';\\n' || (SELECT pg_catalog.string_agg('GRANT ' ||"
	" a.privilege_type || ' ON LARGE OBJECT ' || m.oid || ' TO ' || CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE"
	" pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END || CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE ''"
	" END || E';\\n', '' ORDER BY a.grantee, a.privilege_type) FROM pg_catalog.aclexplode(m.lomacl) a), '') ||"
	" COALESCE('COMMENT ON LARGE OBJECT ' || m.oid || ' IS ' ||"
	" pg_catalog.quote_literal(pg_catalog.obj_description(m.oid, 'pg_largeobject')) || E';\\n', '') ||"
	" COALESCE((SELECT pg_catalog.string_agg('SECURITY LABEL FOR ' || pg_catalog.quote_ident(l.provider) || ' ON LARGE OBJECT ' || m.oid ||"
	" ' IS ' || pg_catalog.quote_literal(l.label) || E';\\n', '') FROM pg_catalog.pg_seclabel l"
	" WHERE l.classoid = 'pg_catalog.pg_largeobject'::pg_catalog.regclass AND l.objoid = m.oid), '')"
	" FROM pg_catalog.pg_largeobject_metadata m WHERE m.oid > '%lu' ORDER BY m.oid LIMIT %d";

int dump_large_objects_sql(struct pg *pg, struct buf *out, struct error *err)
{
	unsigned long last = 0;
	int n;

	buf_puts(out, "-- Owners, privileges and comments of large objects.\n");
	do {
		PGresult *res cleanup(pg_clearp) = NULL;
		char *sql cleanup(mem_freep) = mem_printf(batch_sql, last, BATCH);

		if (pg_exec(pg, sql, &res, err) < 0)
			return err_context(err, "could not read the owners of large objects");
		n = PQntuples(res);
		for (int i = 0; i < n; i++)
			if (buf_append(out, PQgetvalue(res, i, 1), (size_t)PQgetlength(res, i, 1), err) < 0)
				return err_context(err, "could not keep the owners of large objects");
		if (n)
			last = strtoul(PQgetvalue(res, n - 1, 0), NULL, 10);
	} while (n == BATCH);
	return 0;
}

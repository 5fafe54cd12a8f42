/*
 * What a role must be allowed for a database to be put back, asked before it is changed: on the way back nothing can be done about it but to
 * wait for a person.
 *
 * For a restore there is no set yet.  What it will have is what the database has now: the roles that own things, the extensions, and of
 * the objects those kinds that only a superuser makes.
 */
#include <string.h>

#include "orchestrator/postgres/catalog.h"
#include "orchestrator/postgres/restore_private.h"
#include "orchestrator/postgres/savepoint.h"

/* What a role that is no superuser may lack of what it needs to rename another role's database and to give it a copy of that. */
static const struct {
	const char *privilege;
	int since;
	const char *of, *lack, *hint;
} lacks[] = {
	{"MEMBER", 0, "of which", "is no member: it could not rename it",
		"Make the role a member of the database's owner (GRANT)."},
	{"USAGE", 0, "whose privileges", "does not inherit: it could not rename it",
		"Let the role inherit what the database's owner may (ALTER ROLE … INHERIT; from PostgreSQL 16 on GRANT … WITH INHERIT TRUE, SET TRUE)."},
	{"SET", 160000, "to which", "may not give anything: it could not put a copy in its place",
		"Let the role act as the database's owner (GRANT … WITH SET TRUE)."},
};

/* The first that it lacks says enough. */
static int check_owner(struct pg *maintenance, const char *database, struct blockers *b, struct error *err)
{
	for (size_t i = 0; i < array_len(lacks) && maintenance->server_version >= lacks[i].since; i++) {
		PGresult *res cleanup(pg_clearp) = NULL;

		if (pg_query(maintenance,
			    "SELECT pg_catalog.pg_get_userbyid(datdba), current_user FROM pg_catalog.pg_database WHERE datname = $1 "
			    "AND NOT pg_catalog.pg_has_role(datdba, $2)",
			    2, (const char *const[]){database, lacks[i].privilege}, &res, err) < 0)
			return -1;
		if (!PQntuples(res))
			continue;
		blockers_add(b, lacks[i].hint, "Database \"%s\" belongs to role \"%s\", %s role \"%s\" %s.", database,
			PQgetvalue(res, 0, 0), lacks[i].of, PQgetvalue(res, 0, 1), lacks[i].lack);
		break;
	}
	return 0;
}

int savepoint_check_role(struct pg *maintenance, const char *database, struct blockers *b, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_exec(maintenance, "SELECT rolname, rolsuper OR rolcreatedb FROM pg_catalog.pg_roles WHERE rolname = current_user",
		    &res, err) < 0)
		return err_context(err, "could not look what the role may do to database \"%s\"", database);
	if (PQntuples(res) && *PQgetvalue(res, 0, 1) != 't')
		blockers_add(b, "Let the role create databases (ALTER ROLE … CREATEDB).",
			"Role \"%s\" may not create databases: it could not put database \"%s\" back.", PQgetvalue(res, 0, 0),
			database);
	return check_owner(maintenance, database, b, err) < 0
		? err_context(err, "could not look what the role may do to database \"%s\"", database)
		: 0;
}

/* --- a restore -------------------------------------------------------------------------------------------------------------- */

/* Kinds of which only a superuser makes one; a cast that has a function, whoever owns one of its types. */
static const struct kind {
	const char *what, *catalog, *name, *condition;
} kinds[] = {
	{"Access method", "pg_am", "amname", "true"},
	{"Event trigger", "pg_event_trigger", "evtname", "true"},
	{"Foreign data wrapper", "pg_foreign_data_wrapper", "fdwname", "true"},
	{"Function", "pg_proc", "o.oid::pg_catalog.regprocedure",
		"(o.proleakproof OR o.prolang IN (SELECT oid FROM pg_catalog.pg_language WHERE NOT lanpltrusted))"},
	{"Operator class", "pg_opclass", "opcname", "true"},
	{"Operator family", "pg_opfamily", "opfname", "true"},
	{"Cast", "pg_cast", "pg_catalog.format_type(castsource, NULL) || ' AS ' || pg_catalog.format_type(casttarget, NULL)",
		"(castmethod = 'b' OR NOT EXISTS (SELECT FROM pg_catalog.pg_type t WHERE t.oid IN (castsource, casttarget) AND "
		"pg_catalog.pg_has_role(t.typowner, 'USAGE')))"},
	{"Procedural language", "pg_language", "lanname", "true"},
	{"Publication", "pg_publication", "pubname", "puballtables"},
	{"Text search parser", "pg_ts_parser", "prsname", "true"},
	{"Text search template", "pg_ts_template", "tmplname", "true"},
};

/* since 15 */
static const struct kind schemas_publication = {"Publication", "pg_publication", "pubname",
	"EXISTS (SELECT FROM pg_catalog.pg_publication_namespace WHERE pnpubid = o.oid)"};

static int read_extensions(struct pg *pg, struct inventory *inv, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_exec(pg, "SELECT extname FROM pg_catalog.pg_extension ORDER BY 1", &res, err) < 0)
		return -1;
	for (int i = 0; i < PQntuples(res); i++)
		*inventory_add(inv, extensions) = (struct inv_extension){
			.name = arena_strdup(&inv->arena, PQgetvalue(res, i, 0))};
	return 0;
}

/* What belongs to an extension or a range type comes with that, and what has a lower oid with the server. */
static int check_kind(struct pg *pg, const struct kind *k, struct blockers *b, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;
	char *sql cleanup(mem_freep) = mem_printf(
		"SELECT %s, r.rolname FROM pg_catalog.%s o, pg_catalog.pg_roles r WHERE o.oid >= 16384 AND %s AND r.rolname = current_user AND NOT "
		"r.rolsuper AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.%s'::pg_catalog.regclass AND "
		"d.objid = o.oid AND d.deptype IN ('e', 'i')) ORDER BY 1",
		k->name, k->catalog, k->condition, k->catalog);

	if (pg_exec(pg, sql, &res, err) < 0)
		return -1;
	for (int row = 0; row < PQntuples(res); row++)
		blockers_add(b, NULL, "%s \"%s\" can be created by a superuser only, which role \"%s\" is not.", k->what,
			PQgetvalue(res, row, 0), PQgetvalue(res, row, 1));
	return 0;
}

static int check_objects(struct pg *pg, struct blockers *b, struct error *err)
{
	for (size_t i = 0; i < array_len(kinds); i++)
		if (check_kind(pg, &kinds[i], b, err) < 0)
			return -1;
	return pg->server_version < 150000 ? 0 : check_kind(pg, &schemas_publication, b, err);
}

int savepoint_check_restore(struct pg *pg, const struct restore_options *how, struct blockers *b, struct error *err)
{
	struct inventory inv cleanup(inventory_release) = {0};
	struct restore_options o = *how;
	unsigned before = b->count;

	o.inventory = &inv;
	if (catalog_fill_roles(pg, &inv, err) < 0 || read_extensions(pg, &inv, err) < 0 ||
		restore_rights(pg, &o, &b->lines, &b->count, err) < 0 || check_objects(pg, b, err) < 0)
		return err_context(err, "could not look what the role may restore");
	if (b->count > before)
		blockers_hint(b,
			"What cannot be restored cannot be put back: connect as a superuser, or have a copy kept (\"put_back: copy\").");
	return 0;
}

/*
 * The catalog, as far as a dump needs it: which relations there are, which of their rows pg_dump would dump, and everything the
 * inventory tells of the database.
 *
 * catalog_read() fills the list of relations; what is wanted of it goes to the inventory by catalog_fill_inventory().  Both ask the
 * server in whatever transaction the connection is in.
 */
#ifndef POSTGRES_CATALOG_H
#define POSTGRES_CATALOG_H

#include "orchestrator/postgres/dump.h"

struct relation {
	uint32_t oid, schema_oid;
	const char *schema, *name;
	char kind;        /* pg_class.relkind: r m f S */
	char persistence; /* p u */
	bool is_heap, is_populated;
	bool is_matview_wanted; /* its definition is dumped; its rows are computed again */
	bool is_config;         /* an extension's configuration table or sequence */
	bool is_owned_by_table; /* a sequence of a serial or identity column */
	uint32_t owner_table;
	const char *extension;            /* it belongs to, or NULL */
	const char *condition;            /* of a configuration table, or NULL */
	uint64_t main_bytes, toast_bytes; /* by catalog_read_sizes() */
	const char *left_out_why;         /* NULL: its rows (or value) are wanted */
};

struct catalog {
	struct arena arena;
	struct relation *list; /* by oid */
	size_t count, cap;
	bool is_standby;
	bool is_everything; /* no -n, no -t: what belongs to no schema is wanted too */
	char **partitions;  /* of selected partitioned tables, as patterns for pg_dump's -t; NULL-terminated, or NULL */
};

void catalog_release(struct catalog *c);
int catalog_read(struct pg *pg, const struct dump_options *o, struct catalog *ret, struct error *err) must_check;
int catalog_read_sizes(struct pg *pg, struct catalog *c, struct error *err) must_check; /* of tables that are locked */
struct relation *catalog_find(const struct catalog *c, uint32_t oid);
static inline bool relation_has_rows(const struct relation *r)
{
	return r->kind == 'r' && !r->left_out_why;
}

/* catalog_rights.c: ERR_REFUSED naming the relations and large objects that the role may not read, or not every row of. */
int catalog_check_readable(struct pg *pg, const struct catalog *c, struct error *err) must_check;

/* catalog_filter.c: the oids that -n -N -t -T patterns name; ERR_REFUSED when an including pattern names nothing. */
struct catalog_filter {
	bool has_schemas, has_tables;                          /* -n, -t were given */
	uint32_t *schemas, *not_schemas, *tables, *not_tables; /* sorted */
	size_t schemas_count, not_schemas_count, tables_count, not_tables_count;
	char **partitions; /* as in struct catalog: of the partitioned tables among ${tables}, which are in ${tables} too */
	size_t partitions_count;
};
int catalog_filter_read(struct pg *pg, const struct dump_options *o, struct catalog_filter *ret, struct error *err) must_check;
void catalog_filter_release(struct catalog_filter *f);
void catalog_free_partitions(char **list);
/* NULL: wanted, else why not. */
const char *catalog_filter_why(const struct catalog_filter *f, const struct relation *r);

/* catalog_inventory.c, catalog_objects.c */
int catalog_fill_inventory(struct pg *pg, const struct catalog *c, struct inventory *inv, struct error *err) must_check;
int catalog_fill_objects(struct pg *pg, const struct catalog *c, struct inventory *inv, struct error *err) must_check;
int catalog_fill_roles(struct pg *pg, struct inventory *inv, struct error *err) must_check;
/* catalog_matviews.c: in the order in which they must be refreshed. */
int catalog_fill_matviews(struct pg *pg, const struct catalog *c, struct inventory *inv, struct error *err) must_check;
/* catalog_sequences.c: on a connection of its own, whose locks on the sequences end with each statement. */
int catalog_fill_sequences(struct pg *pg, const struct catalog *c, struct inventory *inv, struct error *err) must_check;

static inline const char *result_text(struct arena *a, const PGresult *res, int row, int column)
{
	return PQgetisnull(res, row, column) ? NULL : arena_strdup(a, PQgetvalue(res, row, column));
}

#endif

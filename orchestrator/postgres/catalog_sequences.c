/*
 * Sequences' values, some hundreds with one statement.
 *
 * A sequence knows no snapshot: whoever reads it sees its value of now.  Read after the snapshot was taken, it is at least what any
 * row of the snapshot has used.  A statement outside a transaction gives up its locks at its end, so a database of many sequences
 * does not fill the server's lock table.
 */
#include <stdlib.h>
#include <string.h>
#include "orchestrator/postgres/catalog.h"

#define BATCH 200

static int read_batch(struct pg *pg, const struct relation *const *list, size_t n, struct inventory *inv, struct error *err)
{
	struct buf sql cleanup(buf_release) = {0};
	PGresult *res cleanup(pg_clearp) = NULL;

	for (size_t i = 0; i < n; i++) {
		char *name cleanup(mem_freep) = pg_qualified(list[i]->schema, list[i]->name);

		buf_printf(&sql, "%sSELECT %zu, last_value, is_called FROM %s", i ? " UNION ALL " : "", i, name);
	}
	if (pg_exec(pg, buf_str(&sql), &res, err) < 0)
		return -1;
	for (int row = 0; row < PQntuples(res); row++) {
		const struct relation *r = list[strtoul(PQgetvalue(res, row, 0), NULL, 10)];

		*inventory_add(inv, sequences) = (struct inv_sequence){
			.oid = r->oid,
			.schema = arena_strdup(&inv->arena, r->schema),
			.name = arena_strdup(&inv->arena, r->name),
			.last_value = strtoll(PQgetvalue(res, row, 1), NULL, 10),
			.is_called = PQgetvalue(res, row, 2)[0] == 't',
		};
	}
	return 0;
}

int catalog_fill_sequences(struct pg *pg, const struct catalog *c, struct inventory *inv, struct error *err)
{
	const struct relation *batch[BATCH];
	size_t n = 0;

	for (size_t i = 0; i <= c->count; i++) {
		if (i < c->count && c->list[i].kind == 'S' && !c->list[i].left_out_why)
			batch[n++] = &c->list[i];
		if (n == 0 || (n < BATCH && i < c->count))
			continue;
		if (read_batch(pg, batch, n, inv, err) < 0) {
			if (strcmp(err->sqlstate, "42P01") == 0 || strcmp(err->sqlstate, "3F000") == 0)
				err->class = ERR_RETRY; /* dropped or renamed a moment ago */
			return err_context(err, "could not read sequences");
		}
		n = 0;
	}
	return 0;
}

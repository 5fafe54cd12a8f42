/*
 * Materialized views in the order in which they must be refreshed: one may read another, directly or through ordinary views.
 *
 * The edges are what rewrite rules depend on; a depth-first walk puts each view behind what it reads.  A view that reads another
 * inside a function's body is nowhere on record: then the order of creation decides, which is the order of oids.
 */
#include <stdlib.h>
#include <string.h>
#include "orchestrator/postgres/catalog.h"

struct view {
	uint32_t oid;
	bool is_visited;
};

struct edge {
	uint32_t from, to; /* ${from} reads ${to} */
};

struct graph {
	struct view *views;
	struct edge *edges;
	size_t views_count, edges_count;
	const struct catalog *catalog;
	struct inventory *inventory;
};

static void graph_release(struct graph *g)
{
	free(g->views);
	free(g->edges);
}

static int compare_view(const void *key, const void *element)
{
	uint32_t a = *(const uint32_t *)key, b = ((const struct view *)element)->oid;

	return a < b ? -1 : a > b;
}

static struct view *find_view(const struct graph *g, uint32_t oid)
{
	return g->views_count ? bsearch(&oid, g->views, g->views_count, sizeof(*g->views), compare_view) : NULL;
}

static size_t first_edge(const struct graph *g, uint32_t from)
{
	size_t low = 0, high = g->edges_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (g->edges[middle].from < from)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The depth is that of views upon views, which PostgreSQL itself expands by recursion. */
static void visit(struct graph *g, struct view *v)
{
	const struct relation *r;

	if (!v || v->is_visited)
		return;
	v->is_visited = true;
	for (size_t i = first_edge(g, v->oid); i < g->edges_count && g->edges[i].from == v->oid; i++)
		visit(g, find_view(g, g->edges[i].to));
	r = catalog_find(g->catalog, v->oid);
	if (r && r->is_matview_wanted)
		*inventory_add(g->inventory, matviews) = (struct inv_matview){
			.schema = arena_strdup(&g->inventory->arena, r->schema),
			.name = arena_strdup(&g->inventory->arena, r->name),
			.is_populated = r->is_populated,
		};
}

static int read_graph(struct pg *pg, struct graph *g, struct error *err)
{
	static const char edges_sql[] =
		"SELECT DISTINCT r.ev_class, d.refobjid FROM pg_catalog.pg_rewrite r"
		" JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid"
		" AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype = 'n' AND d.refobjid <> r.ev_class"
		" JOIN pg_catalog.pg_class c ON c.oid = r.ev_class AND c.relkind IN ('v', 'm')"
		" JOIN pg_catalog.pg_class t ON t.oid = d.refobjid AND t.relkind IN ('v', 'm') ORDER BY 1, 2";
	PGresult *views cleanup(pg_clearp) = NULL, *edges cleanup(pg_clearp) = NULL;

	if (pg_exec(pg, "SELECT oid FROM pg_catalog.pg_class WHERE relkind IN ('v', 'm') ORDER BY oid", &views, err) < 0 ||
		pg_exec(pg, edges_sql, &edges, err) < 0)
		return -1;
	g->views_count = (size_t)PQntuples(views);
	g->edges_count = (size_t)PQntuples(edges);
	g->views = mem_zalloc(g->views_count * sizeof(*g->views));
	g->edges = mem_zalloc(g->edges_count * sizeof(*g->edges));
	for (size_t i = 0; i < g->views_count; i++)
		g->views[i].oid = (uint32_t)strtoul(PQgetvalue(views, (int)i, 0), NULL, 10);
	for (size_t i = 0; i < g->edges_count; i++) {
		g->edges[i].from = (uint32_t)strtoul(PQgetvalue(edges, (int)i, 0), NULL, 10);
		g->edges[i].to = (uint32_t)strtoul(PQgetvalue(edges, (int)i, 1), NULL, 10);
	}
	return 0;
}

int catalog_fill_matviews(struct pg *pg, const struct catalog *c, struct inventory *inv, struct error *err)
{
	struct graph g cleanup(graph_release) = {.catalog = c, .inventory = inv};
	bool is_needed = false;

	for (size_t i = 0; i < c->count; i++)
		is_needed |= c->list[i].kind == 'm';
	if (!is_needed)
		return 0;
	if (read_graph(pg, &g, err) < 0)
		return err_context(err, "could not read what materialized views depend on");
	for (size_t i = 0; i < g.views_count; i++)
		visit(&g, &g.views[i]);
	return 0;
}

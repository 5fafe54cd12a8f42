/*
 * The floor of a parallel logical dump: all tables COPYed to nowhere, over N connections under one exported snapshot.
 *
 * What a backup costs beyond this is the tool's own: compression, checksums, digests, the file.  The yardstick is kept plain on
 * purpose (PQgetCopyData, one copy of each row into a block that is thrown away when full), so that it measures the server, the
 * socket and libpq, and nothing else.  Tables larger than one and a half chunks are read in ctid ranges; work is taken from one
 * queue, largest first.
 *
 *   floor [-d conninfo] [-c connections] [-k chunk MiB] [-S] [-t schema.table]
 *     -S  do not split tables     -t  only this table     defaults: -c 2 -k 64, PG* variables
 *
 * Prints one line of JSON.
 */
#include <libpq-fe.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/mem.h"

#define BLOCK_BYTES ((size_t)1 << 20)

struct chunk {
	const char *relation, *columns; /* quoted; live in the catalog's result */
	long first_page, end_page;      /* end_page -1: open */
	bool is_whole;
	double bytes;
};

struct worker {
	pthread_t thread;
	char *block;
	size_t used;
	unsigned long rows, bytes;
};

static const char *conninfo = "", *only_table;
static int connections = 2;
static bool is_unsplit;
static double chunk_mib = 64;
static char *snapshot;
static struct chunk *queue;
static size_t queue_len, queue_cap, queue_next;
static pthread_mutex_t queue_lock = PTHREAD_MUTEX_INITIALIZER;

static void die(PGconn *c, const char *what)
{
	fprintf(stderr, "floor: %s: %s\n", what, PQerrorMessage(c));
	exit(1);
}

static PGresult *execute(PGconn *c, const char *sql)
{
	PGresult *r = PQexec(c, sql);
	ExecStatusType status = PQresultStatus(r);

	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_COPY_OUT)
		die(c, sql);
	return r;
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static PGconn *connect_pinned(void)
{
	static const char *const settings[] = {"SET jit = off", "SET synchronize_seqscans = off", "SET extra_float_digits = 3",
		"SET datestyle = ISO", "SET max_parallel_workers_per_gather = 0",
		"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"};
	PGconn *c = PQconnectdb(conninfo);

	if (PQstatus(c) != CONNECTION_OK)
		die(c, "could not connect");
	for (size_t i = 0; i < array_len(settings); i++)
		PQclear(execute(c, settings[i]));
	return c;
}

/* --- the queue --- */

static int larger_first(const void *a, const void *b)
{
	double x = ((const struct chunk *)a)->bytes, y = ((const struct chunk *)b)->bytes;

	return (x < y) - (x > y);
}

static long chunks_of(long pages, double bytes)
{
	long n = is_unsplit ? 1 : (long)(bytes / (chunk_mib * 1024 * 1024) + 0.5);

	if (n > pages)
		n = pages;
	return n < 1 ? 1 : n;
}

static void enqueue_table(const PGresult *r, int row)
{
	long pages = strtol(PQgetvalue(r, row, 2), NULL, 10);
	double bytes = strtod(PQgetvalue(r, row, 3), NULL);
	long n = chunks_of(pages, bytes);

	queue = mem_grow(queue, &queue_cap, queue_len + (size_t)n, sizeof(*queue));
	for (long i = 0; i < n; i++)
		queue[queue_len++] = (struct chunk){
			.relation = PQgetvalue(r, row, 0),
			.columns = PQgetvalue(r, row, 1),
			.is_whole = n == 1,
			.first_page = pages * i / n,
			.end_page = i == n - 1 ? -1 : pages * (i + 1) / n,
			.bytes = bytes / (double)n,
		};
}

/* The result holds the names that the queue points to. */
static PGresult *read_catalog(PGconn *c)
{
	PGresult *r = execute(c,
		"SELECT c.oid::regclass::text,"
		" (SELECT string_agg(quote_ident(attname), ',' ORDER BY attnum) FROM pg_attribute a"
		"   WHERE a.attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = ''),"
		" pg_relation_size(c.oid) / 8192, pg_table_size(c.oid)"
		" FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
		" WHERE c.relkind = 'r' AND nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'"
		" AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e') ORDER BY 4 DESC");

	for (int row = 0; row < PQntuples(r); row++)
		if (!only_table || strcmp(only_table, PQgetvalue(r, row, 0)) == 0)
			enqueue_table(r, row);
	if (queue_len > 0)
		qsort(queue, queue_len, sizeof(*queue), larger_first);
	return r;
}

static const struct chunk *take_chunk(void)
{
	const struct chunk *taken;

	pthread_mutex_lock(&queue_lock);
	taken = queue_next < queue_len ? &queue[queue_next++] : NULL;
	pthread_mutex_unlock(&queue_lock);
	return taken;
}

/* --- copying --- */

static char *copy_sql(const struct chunk *k)
{
	if (k->is_whole)
		return mem_printf("COPY %s(%s) TO STDOUT", k->relation, k->columns);
	if (k->end_page < 0)
		return mem_printf("COPY (SELECT %s FROM ONLY %s WHERE ctid >= '(%ld,0)') TO STDOUT", k->columns, k->relation,
			k->first_page);
	return mem_printf("COPY (SELECT %s FROM ONLY %s WHERE ctid >= '(%ld,0)' AND ctid < '(%ld,0)') TO STDOUT", k->columns,
		k->relation, k->first_page, k->end_page);
}

static void take_row(struct worker *w, const char *p, size_t n)
{
	w->rows++;
	w->bytes += n;
	while (n > 0) {
		size_t part = BLOCK_BYTES - w->used < n ? BLOCK_BYTES - w->used : n;

		memcpy(w->block + w->used, p, part);
		w->used = (w->used + part) % BLOCK_BYTES;
		p += part;
		n -= part;
	}
}

static void copy_chunk(struct worker *w, PGconn *c, const struct chunk *k)
{
	char *sql = copy_sql(k), *row;
	PGresult *r;
	int n;

	PQclear(execute(c, sql));
	while ((n = PQgetCopyData(c, &row, 0)) > 0) {
		take_row(w, row, (size_t)n);
		PQfreemem(row);
	}
	if (n == -2)
		die(c, sql);
	while ((r = PQgetResult(c))) {
		if (PQresultStatus(r) != PGRES_COMMAND_OK)
			die(c, sql);
		PQclear(r);
	}
	free(sql);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	const struct chunk *k;
	PGconn *c = connect_pinned();
	char *sql = mem_printf("SET TRANSACTION SNAPSHOT '%s'", snapshot);

	PQclear(execute(c, sql));
	free(sql);
	w->block = mem_alloc(BLOCK_BYTES);
	while ((k = take_chunk()))
		copy_chunk(w, c, k);
	free(w->block);
	PQfinish(c);
	return NULL;
}

static void parse_options(int argc, char **argv)
{
	int opt;

	while ((opt = getopt(argc, argv, "d:c:k:St:")) != -1)
		switch (opt) {
		case 'd':
			conninfo = optarg;
			break;
		case 'c':
			connections = (int)strtol(optarg, NULL, 10);
			break;
		case 'k':
			chunk_mib = strtod(optarg, NULL);
			break;
		case 'S':
			is_unsplit = true;
			break;
		case 't':
			only_table = optarg;
			break;
		default:
			exit(2);
		}
	if (connections < 1 || chunk_mib <= 0 || optind != argc) {
		fprintf(stderr, "usage: floor [-d conninfo] [-c connections] [-k chunk MiB] [-S] [-t schema.table]\n");
		exit(2);
	}
}

int main(int argc, char **argv)
{
	double started_s = now_s();
	unsigned long rows = 0, bytes = 0;
	struct worker *workers;
	PGresult *r, *catalog;
	PGconn *c;

	parse_options(argc, argv);
	c = connect_pinned();
	r = execute(c, "SELECT pg_export_snapshot()");
	snapshot = PQgetvalue(r, 0, 0);
	catalog = read_catalog(c);
	workers = mem_zalloc((size_t)connections * sizeof(*workers));
	for (int i = 0; i < connections; i++)
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) {
			fprintf(stderr, "floor: could not start a thread\n");
			return 1;
		}
	for (int i = 0; i < connections; i++) {
		pthread_join(workers[i].thread, NULL);
		rows += workers[i].rows;
		bytes += workers[i].bytes;
	}
	printf("{\"tables\": %d, \"chunks\": %zu, \"rows\": %lu, \"text_bytes\": %lu, \"wall_s\": %.3f}\n", PQntuples(catalog),
		queue_len, rows, bytes, now_s() - started_s);
	free(workers);
	free(queue);
	PQclear(catalog);
	PQclear(r);
	PQfinish(c);
	return 0;
}

/*
 * dump_probe: the dump of orchestrator/postgres into plain files, without archive and program around it.
 *
 *	dump_probe [OPTION…] DIRECTORY    dumps; the directory is what "tar -xf backup.tar.zst" would leave, and report.txt
 *	dump_probe -P [OPTION…]           the preflight alone
 *	dump_probe -V CONNINFO [OPTION…]  dumps nothing to disk, then compares every table's digest with that database's
 *
 *	-d CONNINFO  -j JOBS  -p PIECE-BYTES  -l HELD-BYTES  -w LOCK-WAIT-MS  -u (no unlogged)  -b BINDIR
 *	-n -N -t -T PATTERN, as pg_dump
 *	-s MS        sleep before each piece begins (a dump that takes its time)
 *
 * SIGTERM cancels.  Exit status: 0, or the error class's number (base/error.h) with the error on stderr.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/clock.h"
#include "base/io.h"
#include "orchestrator/postgres/dump.h"

#define WINDOW_BYTES ((size_t)1 << 17)

static struct cancel cancel;
static const char *directory; /* NULL: rows go nowhere */
static int64_t sleep_ms;

struct joint {
	struct inventory *inv;
	pthread_mutex_t mutex;
	struct arena names;
};

struct stream {
	struct joint *joint;
	char *window, *name;
	FILE *file;
	size_t held;
	uint64_t bytes;
};

static int stream_open(void *ctx, void **ret, struct error *err)
{
	struct stream *s = mem_zalloc(sizeof(*s));

	(void)err;
	s->joint = ctx;
	s->window = mem_alloc(WINDOW_BYTES);
	*ret = s;
	return 0;
}

static void stream_drop(void *stream)
{
	struct stream *s = stream;

	if (s->file)
		fclose(s->file);
	s->file = NULL;
	mem_freep(&s->name);
}

static void stream_close(void *stream)
{
	struct stream *s = stream;

	stream_drop(s);
	free(s->window);
	free(s);
}

static int stream_begin(void *stream, const struct inv_table *t, unsigned number, struct error *err)
{
	struct stream *s = stream;
	char *path cleanup(mem_freep) = NULL;

	if (sleep_ms && cancel_sleep(&cancel, sleep_ms, err) < 0)
		return -1;
	s->name = t->kind == INV_LARGE_OBJECTS ? mem_printf("large-objects/%02u.copy", number)
					       : mem_printf("data/%05u.%02u.copy", t->oid, number);
	s->held = 0;
	s->bytes = 0;
	if (!directory)
		return 0;
	path = mem_printf("%s/%s", directory, s->name);
	s->file = fopen(path, "we");
	return s->file ? 0 : err_sys(err, "could not create file \"%s\"", path);
}

static char *stream_space(void *stream, size_t *ret_bytes)
{
	*ret_bytes = WINDOW_BYTES;
	return ((struct stream *)stream)->window;
}

static int stream_advance(void *stream, size_t n, struct error *err)
{
	struct stream *s = stream;

	s->held += n;
	s->bytes += n;
	if (s->file && fwrite(s->window, 1, n, s->file) != n)
		return err_sys(err, "could not write file \"%s\"", s->name);
	return 0;
}

static size_t stream_held(void *stream)
{
	return ((struct stream *)stream)->held;
}

static int stream_end(void *stream, uint64_t rows, size_t *ret_member, struct error *err)
{
	struct stream *s = stream;
	struct inv_member *m;
	FILE *file = take_ptr(s->file);

	if (file && fclose(file) != 0)
		return err_sys(err, "could not write file \"%s\"", s->name);
	pthread_mutex_lock(&s->joint->mutex);
	m = inventory_add(s->joint->inv, members);
	m->name = arena_strdup(&s->joint->names, s->name);
	m->rows = rows;
	m->content_bytes = s->bytes;
	*ret_member = s->joint->inv->members_count - 1;
	pthread_mutex_unlock(&s->joint->mutex);
	mem_freep(&s->name);
	return 0;
}

/* --- what is told ------------------------------------------------------------------------------------------------------- */

static void report_tables(FILE *f, const struct inventory *inv)
{
	char hex[ROW_DIGEST_HEX_BYTES];

	for (size_t i = 0; i < inv->tables_count; i++) {
		const struct inv_table *t = &inv->tables[i];

		fprintf(f, "table|%s|%s|%s|%" PRIu64 "|%" PRIu64 "|%zu|%s|", t->schema, t->name, inv_table_kind_name(t->kind),
			t->rows, t->content_bytes, t->members_count, row_digest_format(&t->digest, hex));
		for (size_t k = 0; k < t->columns_count; k++)
			fprintf(f, "%s%s", k ? "," : "", t->columns[k]);
		fputc('\n', f);
	}
}

static void report(FILE *f, const struct inventory *inv)
{
	report_tables(f, inv);
	for (size_t i = 0; i < inv->sequences_count; i++)
		fprintf(f, "sequence|%s|%s|%" PRId64 "|%d\n", inv->sequences[i].schema, inv->sequences[i].name,
			inv->sequences[i].last_value, inv->sequences[i].is_called);
	for (size_t i = 0; i < inv->left_out_count; i++)
		fprintf(f, "left out|%s|%s|%s|%s\n", inv->left_out[i].kind,
			inv->left_out[i].schema ? inv->left_out[i].schema : "", inv->left_out[i].name, inv->left_out[i].reason);
	for (size_t i = 0; i < inv->matviews_count; i++)
		fprintf(f, "matview|%s|%s|%d\n", inv->matviews[i].schema, inv->matviews[i].name, inv->matviews[i].is_populated);
	for (size_t i = 0; i < inv->extensions_count; i++)
		fprintf(f, "extension|%s|%s|%s\n", inv->extensions[i].name, inv->extensions[i].version,
			inv->extensions[i].schema);
	for (size_t i = 0; i < inv->collations_count; i++)
		fprintf(f, "collation|%s|%s|%s\n", inv->collations[i].schema ? inv->collations[i].schema : "",
			inv->collations[i].name ? inv->collations[i].name : "", inv->collations[i].provider);
	for (size_t i = 0; i < inv->roles_count; i++)
		fprintf(f, "role|%s|%s\n", inv->roles[i].name, inv->roles[i].why);
	for (size_t i = 0; i < inv->slots_count; i++)
		fprintf(f, "slot|%s|%s\n", inv->slots[i].name, inv->slots[i].plugin ? inv->slots[i].plugin : "");
	for (size_t i = 0; i < inv->publications_count; i++)
		fprintf(f, "publication|%s\n", inv->publications[i]);
	for (size_t i = 0; i < inv->subscriptions_count; i++)
		fprintf(f, "subscription|%s\n", inv->subscriptions[i]);
	for (size_t i = 0; i < inv->tablespaces_count; i++)
		fprintf(f, "tablespace|%s\n", inv->tablespaces[i]);
	for (size_t i = 0; i < inv->settings_count; i++)
		fprintf(f, "setting|%s|%s\n", inv->settings[i].role ? inv->settings[i].role : "", inv->settings[i].setting);
	for (size_t i = 0; i < inv->acl_count; i++)
		fprintf(f, "acl|%s\n", inv->acl[i]);
	fprintf(f, "database|%s|%s|%s|%s|%s|%s\n", inv->database, inv->owner, inv->encoding, inv->collate, inv->ctype,
		inv->comment ? inv->comment : "");
	fprintf(f, "server|%d|%s|%s\n", inv->server_version, inv->locale_provider, inv->dump_tool);
}

static int write_file(const char *name, const struct buf *b, struct error *err)
{
	char *path cleanup(mem_freep) = mem_printf("%s/%s", directory, name);
	FILE *f = fopen(path, "we");

	if (!f || fwrite(buf_str(b), 1, b->len, f) != b->len || fclose(f) != 0)
		return err_sys(err, "could not write file \"%s\"", path);
	return 0;
}

static int write_all(struct dump *d, struct error *err)
{
	const struct dump_files *df = dump_files(d);
	struct buf restore cleanup(buf_release) = {0}, readme cleanup(buf_release) = {0}, text cleanup(buf_release) = {0};
	const struct {
		const char *name;
		const struct buf *text;
	} files[] = {{"schema.dump", &df->schema_dump}, {"pre-data.sql", &df->pre_data_sql},
		{"post-data.sql", &df->post_data_sql}, {"sequences.sql", &df->sequences_sql}, {"globals.sql", &df->globals_sql},
		{"large-objects.sql", &df->large_objects_sql}, {"restore.sql", &restore}, {"README", &readme},
		{"report.txt", &text}};
	FILE *f = open_memstream(&text.data, &text.len);

	if (!f)
		return err_sys(err, "could not get memory");
	report(f, dump_inventory(d));
	if (fclose(f) != 0)
		return err_sys(err, "could not get memory");
	if (dump_restore_sql(dump_inventory(d), &restore, err) < 0 ||
		dump_readme(dump_inventory(d), "20261120T031500Z-00000000", &readme, err) < 0)
		return -1;
	for (size_t i = 0; i < array_len(files); i++)
		if (write_file(files[i].name, files[i].text, err) < 0)
			return -1;
	return 0;
}

/* --- running ------------------------------------------------------------------------------------------------------------ */

static int verify(struct dump *d, const char *conninfo, struct error *err)
{
	const struct pg_options o = {.conninfo = conninfo, .what = "proof", .cancel = &cancel, .is_pinned = true};
	const struct inventory *inv = dump_inventory(d);
	struct pg pg cleanup(pg_close) = {0};

	if (pg_open(&o, &pg, err) < 0)
		return -1;
	for (size_t i = 0; i < inv->tables_count; i++) {
		const struct inv_table *t = &inv->tables[i];
		struct row_digest digest;
		uint64_t rows, bytes;

		if (row_digest_table(&pg, t, NULL, &digest, &rows, &bytes, err) < 0)
			return -1;
		if (!row_digest_equal(&digest, &t->digest) || rows != t->rows || bytes != t->content_bytes)
			return err_set(err, ERR_CORRUPT, "table \"%s.%s\" differs: %" PRIu64 " rows, not %" PRIu64, t->schema,
				t->name, rows, t->rows);
	}
	printf("%zu tables are equal\n", inv->tables_count);
	return 0;
}

static int dump(const struct dump_options *o, const char *proof, struct error *err)
{
	struct joint j = {.mutex = PTHREAD_MUTEX_INITIALIZER};
	const struct dump_sink sink = {.ctx = &j,
		.stream_open = stream_open,
		.stream_close = stream_close,
		.begin = stream_begin,
		.space = stream_space,
		.advance = stream_advance,
		.held_bytes = stream_held,
		.end = stream_end,
		.drop = stream_drop};
	int64_t started = clock_mono_ms();
	struct dump *d = NULL;
	int rc = dump_open(o, &d, err);

	if (rc < 0)
		return -1;
	j.inv = dump_inventory(d);
	rc = dump_rows(d, &sink, err);
	fprintf(stderr, "%" PRId64 " ms, %" PRIu64 " rows, %" PRIu64 " bytes\n", clock_mono_ms() - started, o->progress->rows,
		o->progress->bytes);
	if (rc == 0 && directory)
		rc = write_all(d, err);
	if (rc == 0 && proof)
		rc = verify(d, proof, err);
	dump_close(d);
	arena_release(&j.names);
	return rc;
}

static void on_signal(int number)
{
	(void)number;
	cancel_request(&cancel, CANCEL_SIGNAL);
}

static void emit(void *ctx, const struct event *ev)
{
	(void)ctx;
	if (ev->text)
		fprintf(stderr, "event: %s\n", ev->text);
}

static void make_directories(void)
{
	static const char *const names[] = {"data", "large-objects"};
	struct error err = ERROR_INIT;

	for (size_t i = 0; directory && i < array_len(names); i++) {
		char *path = io_path_join(directory, names[i]);

		if (io_make_dirs(path, &err) < 0)
			fprintf(stderr, "error: %s\n", err.message);
		free(path);
	}
	err_clear(&err);
}

static const char **add_pattern(const char **list, const char *text)
{
	size_t n = 0;

	while (list && list[n])
		n++;
	list = realloc(list, (n + 2) * sizeof(*list));
	list[n] = text;
	list[n + 1] = NULL;
	return list;
}

int main(int argc, char **argv)
{
	struct progress progress = {0};
	struct event_sink events = {.emit = emit};
	struct dump_options o = {.conninfo = "", .cancel = &cancel, .progress = &progress, .events = &events};
	const char **lists[4] = {NULL};
	static const char letters[] = "nNtT";
	const char *proof = NULL;
	struct error err = ERROR_INIT;
	bool is_preflight = false;
	int c, rc;

	while ((c = getopt(argc, argv, "d:j:p:l:w:ub:n:N:t:T:s:PV:")) != -1) {
		const char *at = strchr(letters, c);

		if (at)
			lists[at - letters] = add_pattern(lists[at - letters], optarg);
		else if (c == 'd')
			o.conninfo = optarg;
		else if (c == 'j')
			o.jobs = atoi(optarg);
		else if (c == 'p')
			o.piece_bytes = strtoull(optarg, NULL, 10);
		else if (c == 'l')
			o.held_limit_bytes = strtoull(optarg, NULL, 10);
		else if (c == 'w')
			o.lock_wait_ms = atoll(optarg);
		else if (c == 's')
			sleep_ms = atoll(optarg);
		else if (c == 'u')
			o.is_unlogged_left_out = true;
		else if (c == 'b')
			o.pg_bindir = optarg;
		else if (c == 'P')
			is_preflight = true;
		else if (c == 'V')
			proof = optarg;
		else
			return 2;
	}
	o.include_schemas = lists[0];
	o.exclude_schemas = lists[1];
	o.include_tables = lists[2];
	o.exclude_tables = lists[3];
	directory = argv[optind];
	make_directories();
	if (cancel_init(&cancel, NULL, &err) < 0)
		return 1;
	signal(SIGTERM, on_signal);
	rc = is_preflight ? dump_preflight(&o, &err) : dump(&o, proof, &err);
	if (rc < 0) {
		fprintf(stderr, "error (%s): %s\n", err_class_name(err.class), err.message);
		if (err.detail)
			fprintf(stderr, "detail: %s\n", err.detail);
		if (err.hint)
			fprintf(stderr, "hint: %s\n", err.hint);
		rc = (int)err.class;
	}
	for (size_t i = 0; i < 4; i++)
		free(lists[i]);
	err_clear(&err);
	cancel_release(&cancel);
	return rc;
}

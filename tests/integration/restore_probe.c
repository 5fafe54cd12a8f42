/*
 * Dumps a database into files and restores it, as the steps do with an archive in between: a program for scripts.
 *
 *   restore_probe CONNINFO TARGET_DB [OPTION…]
 *
 * CONNINFO names the source; TARGET_DB is made on the same server.  Prints "key value" lines; a failure is printed as the command
 * line prints it, with the class in front, and gives exit status 1.
 */
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/io.h"
#include "orchestrator/postgres/dump.h"
#include "orchestrator/postgres/restore.h"

#define WINDOW_BYTES ((size_t)256 << 10)

struct probe {
	const char *conninfo, *dir;
	struct dump_options dump;
	struct restore_options restore;
	struct table_restore_options tables;
	const char *tables_list[16];
	const char *tamper, *swap, *spoil, *unswap, *drop_kept, *damage;
	int kills, kill_ms;
	bool is_kept, is_finish, is_preflight, is_create, is_discard, is_empty_allowed, is_fill_left_out, is_dry;
	struct inventory inv;
	pthread_mutex_t lock;
};

struct stream {
	struct probe *p;
	char window[WINDOW_BYTES];
	FILE *file;
	char *name;
	uint64_t bytes;
};

static int stream_open(void *ctx, void **ret, struct error *err)
{
	struct stream *s = mem_zalloc(sizeof(*s));

	(void)err;
	s->p = ctx;
	*ret = s;
	return 0;
}

static void stream_close(void *stream)
{
	free(((struct stream *)stream)->name);
	free(stream);
}

static char *member_path(const struct probe *p, const char *name)
{
	char *copy cleanup(mem_freep) = mem_strdup(name);

	for (char *c = copy; *c; c++)
		if (*c == '/')
			*c = '_';
	return mem_printf("%s/%s", p->dir, copy);
}

static int stream_begin(void *stream, const struct inv_table *t, unsigned number, struct error *err)
{
	struct stream *s = stream;
	char *path cleanup(mem_freep) = NULL;

	free(s->name);
	s->name = mem_printf("data/%u.%u.copy", t->oid, number);
	path = member_path(s->p, s->name);
	s->bytes = 0;
	s->file = fopen(path, "w");
	return s->file ? 0 : err_sys(err, "could not create \"%s\"", path);
}

static char *stream_space(void *stream, size_t *ret)
{
	*ret = WINDOW_BYTES;
	return ((struct stream *)stream)->window;
}

static int stream_advance(void *stream, size_t n, struct error *err)
{
	struct stream *s = stream;

	s->bytes += n;
	return fwrite(s->window, 1, n, s->file) == n ? 0 : err_sys(err, "could not write");
}

static size_t stream_held(void *stream)
{
	return ((struct stream *)stream)->bytes;
}

static size_t add_member(struct probe *p, struct inventory *inv, const char *name, uint64_t bytes, uint64_t rows)
{
	struct inv_member *m;
	size_t n;

	pthread_mutex_lock(&p->lock);
	m = inventory_add(inv, members);
	m->name = arena_strdup(&inv->arena, name);
	m->content_bytes = bytes;
	m->rows = rows;
	n = inv->members_count - 1;
	pthread_mutex_unlock(&p->lock);
	return n;
}

static struct dump *the_dump;
static const char *lies[16];

static int stream_end(void *stream, uint64_t rows, size_t *ret_member, struct error *err)
{
	struct stream *s = stream;

	if (fclose(s->file))
		return err_sys(err, "could not close");
	*ret_member = add_member(s->p, dump_inventory(the_dump), s->name, s->bytes, rows);
	return 0;
}

static void stream_drop(void *stream)
{
	struct stream *s = stream;

	if (s->file)
		fclose(s->file);
}

static int save(struct probe *p, const char *name, const struct buf *b, struct error *err)
{
	char *path cleanup(mem_freep) = member_path(p, name);
	FILE *f = fopen(path, "w");

	if (!f || fwrite(buf_str(b), 1, b->len, f) != b->len || fclose(f))
		return err_sys(err, "could not write \"%s\"", path);
	add_member(p, &p->inv, name, b->len, 0);
	return 0;
}

static int do_dump(struct probe *p, struct error *err)
{
	struct dump_sink sink = {
		p, stream_open, stream_close, stream_begin, stream_space, stream_advance, stream_held, stream_end, stream_drop};
	const struct dump_files *f;

	if (dump_open(&p->dump, &the_dump, err) < 0 || dump_rows(the_dump, &sink, err) < 0)
		return -1;
	f = dump_files(the_dump);
	dump_take_inventory(the_dump, &p->inv);
	if (save(p, "schema.dump", &f->schema_dump, err) < 0 || save(p, "large-objects.sql", &f->large_objects_sql, err) < 0)
		return -1;
	dump_close(the_dump);
	return 0;
}

static int read_member(void *ctx, const struct inv_member *m,
	int (*consume)(void *arg, const char *p, size_t n, struct error *err), void *arg, struct error *err)
{
	char *path cleanup(mem_freep) = member_path(ctx, m->name);
	char *block cleanup(mem_freep) = mem_alloc(65536);
	FILE *f = fopen(path, "r");
	size_t n;

	if (!f)
		return err_sys(err, "could not open \"%s\"", path);
	while ((n = fread(block, 1, 65536, f)) > 0) {
		if (consume(arg, block, n, err) < 0) {
			fclose(f);
			return -1;
		}
	}
	fclose(f);
	return 0;
}

/* "2:TEXT=OTHER": in the first member that holds TEXT. */
static int spoil(struct probe *p, struct error *err)
{
	char *from cleanup(mem_freep) = mem_strdup(p->spoil);
	char *to = strchr(from, '=');

	*to++ = '\0';
	for (size_t i = 0; i < p->inv.members_count; i++) {
		char *path cleanup(mem_freep) = member_path(p, p->inv.members[i].name);
		struct buf b cleanup(buf_release) = {0};
		char *at;

		if (strncmp(p->inv.members[i].name, "data/", 5) != 0)
			continue;
		if (io_read_file(path, &b, err) <= 0)
			return -1;
		at = strstr(b.data, from);
		if (!at)
			continue;
		memcpy(at, to, strlen(to));
		return io_replace_file(path, b.data, b.len, 0600, err);
	}
	return err_set(err, ERR_BUG, "text to spoil is not there");
}

/* Restores in a child that is killed after a while, again and again; each gets a little further. */
static int kill_and_repeat(struct probe *p)
{
	int done = 0;

	for (int i = 0; i < p->kills && !done; i++) {
		pid_t pid = fork();
		int status;

		if (pid == 0) {
			struct error err = ERROR_INIT;
			struct restore_report report;

			if (restore_create(&p->restore, p->is_empty_allowed, &p->restore.made_oid, &err) < 0 ||
				restore_fill(&p->restore, &report, &err) < 0) {
				fprintf(stderr, "child: %s%s%s\n", err.message, err.detail ? "; " : "",
					err.detail ? err.detail : "");
				_exit(1);
			}
			_exit(0);
		}
		usleep((useconds_t)(p->kill_ms * 1000 * (i % 7 + 1)));
		done = waitpid(pid, &status, WNOHANG) == pid;
		if (!done) {
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
		} else if (status) {
			return -1;
		}
		printf("kill %d %s\n", i, done ? "late" : "in time");
	}
	return 0;
}

static int open_maintenance(struct probe *p, struct pg *ret, struct error *err)
{
	struct pg_options po = {.conninfo = p->conninfo, .database = "postgres", .what = "probe"};

	return pg_open(&po, ret, err);
}

static int do_tamper(struct probe *p, struct error *err)
{
	struct pg_options po = {.conninfo = p->conninfo, .database = p->restore.target_db, .what = "probe"};
	struct pg pg cleanup(pg_close) = {0};

	if (pg_open(&po, &pg, err) < 0 || pg_exec(&pg, p->tamper, NULL, err) < 0)
		return -1;
	return pg_exec(&pg, "DELETE FROM _holdfast.done WHERE item = 'filled' OR item LIKE 'proof:%'", NULL, err);
}

static int do_swap(struct probe *p, struct error *err)
{
	char *kept cleanup(mem_freep) = swap_kept_name(p->swap, "_before_", p->restore.run_id);
	struct pg pg cleanup(pg_close) = {0};
	int64_t limit;

	if (open_maintenance(p, &pg, err) < 0 || swap_preflight(&pg, p->swap, p->restore.target_db, p->restore.events, err) < 0 ||
		restore_adopt_settings(&pg, &p->restore, p->swap, err) < 0 || swap_fence(&pg, p->swap, &limit, err) < 0)
		return -1;
	printf("limit %" PRId64 "\n", limit);
	if (swap_databases(&pg, p->swap, p->restore.target_db, kept, err) < 0)
		return -1;
	printf("kept %s\n", kept);
	return swap_unfence(&pg, p->swap, limit, err);
}

static void print_report(const struct restore_report *r)
{
	printf("tables %" PRIu64 "\nrows %" PRIu64 "\nproven %" PRIu64 "\n", r->tables, r->rows, r->tables_proven);
	fprintf(stderr,
		"pre_data %" PRId64 " copy %" PRId64 " indexes %" PRId64 " post_data %" PRId64 " matviews %" PRId64
		" analyze %" PRId64 " proof %" PRId64 " ms\n",
		r->times.pre_data, r->times.copy, r->times.indexes, r->times.post_data, r->times.matviews, r->times.analyze,
		r->times.proof);
}

static int do_restore(struct probe *p, struct error *err)
{
	struct restore_report report;

	if (restore_create(&p->restore, p->is_empty_allowed, &p->restore.made_oid, err) < 0 ||
		(!p->is_create && restore_fill(&p->restore, &report, err) < 0))
		return -1;
	if (p->is_create)
		return 0;
	print_report(&report);
	if (p->tamper && (do_tamper(p, err) < 0 || restore_fill(&p->restore, &report, err) < 0))
		return -1;
	printf("filled %d\n", restore_is_filled(&p->restore, err));
	if (p->is_finish && restore_finish(&p->restore, err) < 0)
		return -1;
	return p->swap ? do_swap(p, err) : 0;
}

static int do_tables(struct probe *p, struct error *err)
{
	struct restore_report report;
	struct buf sql cleanup(buf_release) = {0};

	p->tables.base = p->restore;
	p->tables.tables = p->tables_list;
	if (!p->tables.into_schema && restore_create(&p->restore, p->is_empty_allowed, &p->restore.made_oid, err) < 0)
		return -1;
	if (restore_tables(&p->tables, &report, &sql, err) < 0)
		return -1;
	print_report(&report);
	printf("%s", buf_str(&sql));
	return 0;
}

/* What the inventory says besides the truth, for the preflight: "role", "extension" … */
static void lie(struct probe *p, const char *what)
{
	struct inventory *inv = &p->inv;

	if (strcmp(what, "role") == 0)
		*inventory_add(inv, roles) = (struct inv_role){"nobody \"here\"", "owner"};
	else if (strcmp(what, "extension") == 0)
		*inventory_add(inv, extensions) = (struct inv_extension){"no_such_extension", "1.0", "public"};
	else if (strcmp(what, "tablespace") == 0)
		*inventory_add(inv, tablespaces) = "no_such_tablespace";
	else if (strcmp(what, "version") == 0)
		inv->server_version = 990001;
	else if (strcmp(what, "locale") == 0)
		inv->collate = inv->ctype = "xx_YY.UTF-8";
	else if (strcmp(what, "disk") == 0)
		inv->database_bytes = (uint64_t)1 << 60;
	else if (strcmp(what, "collation") == 0)
		*inventory_add(inv, collations) = (struct inv_collation){"pg_catalog", "unicode", "icu", "0.1"};
	else if (strcmp(what, "extension-version") == 0)
		*inventory_add(inv, extensions) = (struct inv_extension){"plpgsql", "0.9", "pg_catalog"};
}

/* Done to the source after it was dumped. */
static int do_damage(struct probe *p, struct error *err)
{
	struct pg_options po = {.conninfo = p->conninfo, .what = "probe"};
	struct pg pg cleanup(pg_close) = {0};

	return pg_open(&po, &pg, err) < 0 ? -1 : pg_exec(&pg, p->damage, NULL, err);
}

/* What needs no dump. */
static int do_kept(struct probe *p, struct error *err)
{
	char *kept cleanup(mem_freep) = p->unswap ? swap_kept_name(p->unswap, "_before_", p->restore.run_id) : NULL;
	struct pg pg cleanup(pg_close) = {0};
	struct kept_database *list;
	int64_t limit;
	size_t n;

	if (open_maintenance(p, &pg, err) < 0)
		return -1;
	if (p->drop_kept)
		return kept_drop(&pg, p->drop_kept, err);
	if (p->unswap)
		return swap_fence(&pg, p->unswap, &limit, err) < 0 ||
				swap_revert(&pg, p->unswap, p->restore.target_db, kept, err) < 0
			? -1
			: swap_unfence(&pg, p->unswap, limit, err);
	if (kept_list(&pg, &list, &n, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		printf("kept %s of %s by %s\n", list[i].name, list[i].database, list[i].run_id);
	kept_list_release(list, n);
	return 0;
}

static int run(struct probe *p, struct error *err)
{
	int64_t start = clock_mono_ms();
	int rc;

	if (p->is_kept || p->drop_kept || p->unswap)
		return do_kept(p, err);
	if (do_dump(p, err) < 0)
		return -1;
	fprintf(stderr, "dump %" PRId64 " ms\n", clock_mono_ms() - start);
	for (size_t i = 0; lies[i]; i++)
		lie(p, lies[i]);
	if (p->damage && do_damage(p, err) < 0)
		return -1;
	if (p->spoil && spoil(p, err) < 0)
		return -1;
	start = clock_mono_ms();
	if (p->is_preflight) {
		rc = restore_preflight(&p->restore, err);
		if (rc == 0)
			printf("preflight ok\n");
		return rc;
	}
	if (p->kills && kill_and_repeat(p) < 0)
		return err_set(err, ERR_FAILED, "a child failed by itself");
	if (p->is_discard) {
		rc = restore_discard(&p->restore, err);
		printf("discarded %d\n", rc);
		return rc < 0 ? -1 : 0;
	}
	if (p->tables_list[0])
		return do_tables(p, err);
	rc = do_restore(p, err);
	fprintf(stderr, "restore %" PRId64 " ms\n", clock_mono_ms() - start);
	return rc;
}

static void print_event(void *ctx, const struct event *ev)
{
	(void)ctx;
	printf("%s %s\n", ev->kind == EVENT_WARNING ? "warning" : "info", ev->text);
}

enum {
	OPT_JOBS = 1,
	OPT_VERIFY,
	OPT_NO_OWNER,
	OPT_MAP,
	OPT_HELD,
	OPT_KILLS,
	OPT_KILL_MS,
	OPT_FINISH,
	OPT_PREFLIGHT,
	OPT_TAMPER,
	OPT_SWAP,
	OPT_UNSWAP,
	OPT_KEPT,
	OPT_DROP_KEPT,
	OPT_DELETE,
	OPT_SPOIL,
	OPT_RUN,
	OPT_CREATE,
	OPT_DISCARD,
	OPT_EMPTY,
	OPT_TABLE,
	OPT_INTO,
	OPT_BYTES,
	OPT_SERVER,
	OPT_LIE,
	OPT_ON,
	OPT_PROOF
};

static const struct option options[] = {{"jobs", 1, NULL, OPT_JOBS}, {"verify", 1, NULL, OPT_VERIFY},
	{"no-owner", 0, NULL, OPT_NO_OWNER}, {"map", 1, NULL, OPT_MAP}, {"held", 1, NULL, OPT_HELD},
	{"kills", 1, NULL, OPT_KILLS}, {"kill-ms", 1, NULL, OPT_KILL_MS}, {"finish", 0, NULL, OPT_FINISH},
	{"preflight", 0, NULL, OPT_PREFLIGHT}, {"tamper", 1, NULL, OPT_TAMPER}, {"swap", 1, NULL, OPT_SWAP},
	{"spoil", 1, NULL, OPT_SPOIL}, {"run", 1, NULL, OPT_RUN}, {"create", 0, NULL, OPT_CREATE},
	{"discard", 0, NULL, OPT_DISCARD}, {"empty", 0, NULL, OPT_EMPTY}, {"table", 1, NULL, OPT_TABLE},
	{"into", 1, NULL, OPT_INTO}, {"lie", 1, NULL, OPT_LIE}, {"proof-bytes", 1, NULL, OPT_PROOF}, {"on", 1, NULL, OPT_ON},
	{"unswap", 1, NULL, OPT_UNSWAP}, {"kept", 0, NULL, OPT_KEPT}, {"drop-kept", 1, NULL, OPT_DROP_KEPT},
	{"delete", 1, NULL, OPT_DELETE}, {NULL, 0, NULL, 0}};

static struct role_map maps[16];

static void parse(struct probe *p, int argc, char **argv)
{
	static struct event_sink sink = {print_event, NULL};
	int n_maps = 0, n_tables = 0, n_lies = 0, opt;

	p->conninfo = argv[1];
	p->dump = (struct dump_options){.conninfo = argv[1], .jobs = 2};
	p->restore = (struct restore_options){.conninfo = argv[1],
		.target_db = argv[2],
		.run_id = "20261121T120000Z-cafe0001",
		.jobs = 2,
		.verify = RESTORE_VERIFY_ROWS,
		.events = &sink};
	p->kill_ms = 40;
	optind = 3;
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case OPT_JOBS:
			p->restore.jobs = atoi(optarg);
			break;
		case OPT_VERIFY:
			p->restore.verify = *optarg == 'r' ? RESTORE_VERIFY_ROWS
				: *optarg == 'c'           ? RESTORE_VERIFY_COUNTS
							   : RESTORE_VERIFY_NONE;
			break;
		case OPT_NO_OWNER:
			p->restore.is_owner_left_out = true;
			break;
		case OPT_MAP: {
			char *to = strchr(optarg, '=');
			*to = '\0';
			maps[n_maps++] = (struct role_map){optarg, to + 1};
			p->restore.role_map = maps;
			break;
		}
		case OPT_HELD:
			p->dump.held_limit_bytes = strtoull(optarg, NULL, 10);
			break;
		case OPT_PROOF:
			p->restore.proof_part_bytes = strtoull(optarg, NULL, 10);
			break;
		case OPT_KILLS:
			p->kills = atoi(optarg);
			break;
		case OPT_KILL_MS:
			p->kill_ms = atoi(optarg);
			break;
		case OPT_FINISH:
			p->is_finish = true;
			break;
		case OPT_PREFLIGHT:
			p->is_preflight = true;
			break;
		case OPT_TAMPER:
			p->tamper = optarg;
			break;
		case OPT_SWAP:
			p->swap = optarg;
			break;
		case OPT_SPOIL:
			p->spoil = optarg;
			break;
		case OPT_RUN:
			p->restore.run_id = optarg;
			break;
		case OPT_CREATE:
			p->is_create = true;
			break;
		case OPT_DISCARD:
			p->is_discard = true;
			break;
		case OPT_EMPTY:
			p->is_empty_allowed = true;
			break;
		case OPT_TABLE:
			p->tables_list[n_tables++] = optarg;
			break;
		case OPT_INTO:
			p->tables.into_schema = optarg;
			break;
		case OPT_LIE:
			lies[n_lies++] = optarg;
			break;
		case OPT_UNSWAP:
			p->unswap = optarg;
			break;
		case OPT_KEPT:
			p->is_kept = true;
			break;
		case OPT_DROP_KEPT:
			p->drop_kept = optarg;
			break;
		case OPT_DELETE:
			p->damage = optarg;
			break;
		case OPT_ON:
			p->restore.conninfo = optarg;
			break;
		default:
			exit(2);
		}
	}
}

int main(int argc, char **argv)
{
	static struct probe p;
	struct restore_source source = {&p, read_member};
	struct error err cleanup(err_clear) = ERROR_INIT;
	char dir[] = "/tmp/restore_probe.XXXXXX";
	int rc;

	if (argc < 3 || !mkdtemp(dir))
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	pthread_mutex_init(&p.lock, NULL);
	p.dir = dir;
	parse(&p, argc, argv);
	p.restore.source = &source;
	p.restore.work_dir = mem_printf("%s/work", dir);
	if (mkdir(p.restore.work_dir, 0700) < 0)
		return 2;
	p.restore.inventory = &p.inv;
	rc = run(&p, &err);
	if (rc < 0) {
		printf("error %s: %s\n", err_class_name(err.class), err.message);
		if (err.detail)
			printf("detail: %s\n", err.detail);
		if (err.hint)
			printf("hint: %s\n", err.hint);
	}
	if (io_remove_tree(dir, &err) < 0)
		fprintf(stderr, "%s\n", err.message);
	inventory_release(&p.inv);
	return rc < 0;
}

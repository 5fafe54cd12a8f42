/*
 * Verifying a set.  Work is cut into tasks that threads take from one counter: first the archive as a whole, which one thread
 * reads from end to end, then each member.  Without the content, the one reading from end to end is all there is, and the
 * members' checksums are computed as it passes over them.  The runs of a tree of files are one tar: whoever comes to the first
 * of them reads all of them.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "storage/archive/tree.h"
#include "storage/repository.h"

#define READ_BYTES ((size_t)1 << 20)
#define REMOTE_READ_BYTES ((size_t)8 << 20) /* each range costs a round trip */
#define NO_TABLE SIZE_MAX
#define NO_TREE SIZE_MAX
#define JOBS_MAX 256

struct table_sum {
	struct row_digest digest;
	uint64_t rows, content_bytes;
};

struct verifying {
	struct repository *r;
	const struct manifest *m;
	const struct inventory *inv;
	const struct verify_digest *digest;
	struct cancel *cancel;
	struct progress *progress;
	char *key;
	struct archive_reader *reader;
	size_t *table_of; /* by member; NO_TABLE */
	size_t *tree_of;  /* the same; NO_TREE */

	atomic_size_t next;   /* task: 0 the whole, then the members */
	atomic_bool is_over;  /* a thread has failed */
	pthread_mutex_t lock; /* over what follows */
	struct table_sum *sums;
	struct verify_report report;
	struct error failure;
	struct error whole_failure; /* told only when no member has a better name for it */
};

static void release(struct verifying *v)
{
	pthread_mutex_destroy(&v->lock);
	archive_reader_close(v->reader);
	free(v->key);
	free(v->table_of);
	free(v->tree_of);
	free(v->sums);
	err_clear(&v->failure);
	err_clear(&v->whole_failure);
}

static int in_set(const struct verifying *v, struct error *err)
{
	return err_context(err, "backup set \"%s\"", v->m->backup_id);
}

/* --- the archive from end to end ------------------------------------------------------------------------------------------- */

struct pass {
	struct verifying *v;
	struct sha256 whole, member;
	size_t at; /* the member the pass is in or before */
	bool is_in;
};

static void pass_release(struct pass *p)
{
	sha256_release(&p->whole);
	sha256_release(&p->member);
}

static int member_ends(struct pass *p, const struct inv_member *m, struct error *err)
{
	uint8_t sha256[SHA256_BYTES];

	sha256_final(&p->member, sha256);
	p->is_in = false;
	p->at++;
	if (memcmp(sha256, m->sha256, SHA256_BYTES) != 0)
		return err_set(
			err, ERR_CORRUPT, "member \"%s\" of archive \"%s\" is damaged: its SHA-256 differs", m->name, p->v->key);
	p->v->report.members++;
	p->v->report.stored_bytes += m->stored_bytes;
	progress_item(p->v->progress);
	return 0;
}

/* Gives the ${n} bytes at ${offset} of the archive to the members they belong to. */
static int pass_over_members(struct pass *p, uint64_t offset, const uint8_t *bytes, size_t n, struct error *err)
{
	uint64_t end = offset + n;

	while (p->at < p->v->inv->members_count) {
		const struct inv_member *m = &p->v->inv->members[p->at];
		uint64_t from = m->offset > offset ? m->offset : offset, to = m->offset + m->stored_bytes;

		if (!p->is_in) {
			if (m->offset >= end)
				return 0;
			sha256_init(&p->member);
			p->is_in = true;
		}
		if (to > end) {
			sha256_update(&p->member, bytes + (from - offset), (size_t)(end - from));
			return 0;
		}
		sha256_update(&p->member, bytes + (from - offset), (size_t)(to - from));
		if (member_ends(p, m, err) < 0)
			return -1;
	}
	return 0;
}

static int read_block(struct verifying *v, uint64_t offset, void *p, size_t n, struct error *err)
{
	int rc;

	if (v->cancel && cancel_check(v->cancel, err) < 0)
		return -1;
	rc = v->r->driver->ops->read_range(v->r->driver, v->key, offset, p, n, err);
	if (rc < 0)
		return err_context(err, "could not read archive \"%s\"", v->key);
	return rc == 0 ? err_set(err, ERR_CORRUPT, "archive \"%s\" is missing", v->key) : 0;
}

static int read_whole(struct verifying *v, bool has_members, struct error *err)
{
	struct pass p cleanup(pass_release) = {.v = v};
	size_t block_bytes = v->r->place->features & DRIVER_REMOTE ? REMOTE_READ_BYTES : READ_BYTES;
	uint8_t *block cleanup(mem_freep) = mem_alloc(block_bytes), sha256[SHA256_BYTES];

	sha256_init(&p.whole);
	for (uint64_t offset = 0; offset < v->m->archive_bytes && !v->is_over;) {
		uint64_t left = v->m->archive_bytes - offset;
		size_t n = left < block_bytes ? (size_t)left : block_bytes;

		if (read_block(v, offset, block, n, err) < 0)
			return -1;
		sha256_update(&p.whole, block, n);
		if (has_members && pass_over_members(&p, offset, block, n, err) < 0)
			return -1;
		progress_add(v->progress, has_members ? n : 0, 0);
		offset += n;
	}
	if (v->is_over)
		return 0;
	sha256_final(&p.whole, sha256);
	if (memcmp(sha256, v->m->archive_sha256, SHA256_BYTES) != 0)
		return err_set(err, ERR_CORRUPT, "archive \"%s\" is damaged: its SHA-256 differs", v->key);
	return 0;
}

/* --- one member with its content ------------------------------------------------------------------------------------------- */

struct counting {
	struct verifying *v;
	void *state; /* of the row digest; NULL for a member without rows */
	struct table_sum sum;
};

static int count_block(void *ctx, const char *p, size_t n, struct error *err)
{
	struct counting *c = ctx;
	uint64_t before = c->sum.rows;

	if (c->v->cancel && cancel_check(c->v->cancel, err) < 0)
		return -1;
	c->sum.content_bytes += n;
	if (c->state && c->v->digest->add(c->state, p, n, &c->sum.digest, &c->sum.rows, err) < 0)
		return -1;
	progress_add(c->v->progress, n, c->sum.rows - before);
	return 0;
}

static void add_sum(struct verifying *v, const struct inv_member *m, size_t table, const struct table_sum *sum)
{
	pthread_mutex_lock(&v->lock);
	v->report.members++;
	v->report.stored_bytes += m->stored_bytes;
	v->report.content_bytes += sum->content_bytes;
	v->report.rows += sum->rows;
	if (table != NO_TABLE) {
		row_digest_add(&v->sums[table].digest, &sum->digest);
		v->sums[table].rows += sum->rows;
		v->sums[table].content_bytes += sum->content_bytes;
	}
	pthread_mutex_unlock(&v->lock);
}

/* The whole tree when ${i} is its first run; the others are read with that one. */
static int read_run(struct verifying *v, size_t i, struct error *err)
{
	const struct inv_tree *t = &v->inv->trees[v->tree_of[i]];
	const struct tree_source source = {
		.reader = v->reader, .inventory = v->inv, .tree = t, .cancel = v->cancel, .progress = v->progress};

	if (t->members[0] != i)
		return 0;
	if (tree_check(&source, err) < 0)
		return -1;
	for (size_t k = 0; k < t->members_count; k++) {
		const struct inv_member *m = &v->inv->members[t->members[k]];

		add_sum(v, m, NO_TABLE, &(struct table_sum){.content_bytes = m->content_bytes});
		progress_item(v->progress);
	}
	return 0;
}

static int read_content(struct verifying *v, size_t i, void *state, struct error *err)
{
	const struct inv_member *m = &v->inv->members[i];
	size_t table = v->table_of[i];
	struct counting c = {.v = v, .state = table == NO_TABLE ? NULL : state};

	if (v->tree_of[i] != NO_TREE)
		return read_run(v, i, err);
	if (c.state)
		v->digest->reset(c.state);
	if (archive_read_member(v->reader, m, count_block, &c, err) < 0)
		return -1;
	if (c.state && c.sum.rows != m->rows) {
		err_set(err, ERR_CORRUPT, "member \"%s\" of archive \"%s\" has another number of rows", m->name, v->key);
		return err_detail(err, "It has %" PRIu64 ", the manifest says %" PRIu64 ".", c.sum.rows, m->rows);
	}
	add_sum(v, m, table, &c.sum);
	progress_item(v->progress);
	return 0;
}

/* --- the tables ------------------------------------------------------------------------------------------------------------ */

static int map_tables(struct verifying *v, struct error *err)
{
	const struct inventory *inv = v->inv;

	v->sums = mem_zalloc(inv->tables_count * sizeof(*v->sums));
	v->table_of = mem_alloc(inv->members_count * sizeof(*v->table_of));
	for (size_t i = 0; i < inv->members_count; i++)
		v->table_of[i] = NO_TABLE;
	for (size_t t = 0; t < inv->tables_count; t++) {
		for (size_t k = 0; k < inv->tables[t].members_count; k++) {
			size_t *owner = &v->table_of[inv->tables[t].members[k]];

			if (*owner != NO_TABLE)
				return err_set(err, ERR_CORRUPT, "member \"%s\" belongs to two tables",
					inv->members[inv->tables[t].members[k]].name);
			*owner = t;
		}
	}
	return 0;
}

static int check_table(const struct verifying *v, size_t t, struct error *err)
{
	const struct inv_table *table = &v->inv->tables[t];
	const struct table_sum *sum = &v->sums[t];
	char is[ROW_DIGEST_HEX_BYTES], said[ROW_DIGEST_HEX_BYTES];

	if ((v->digest && sum->rows != table->rows) || sum->content_bytes != table->content_bytes) {
		err_set(err, ERR_CORRUPT, "table \"%s\".\"%s\" has another number of rows or bytes", table->schema, table->name);
		return err_detail(err,
			"The archive has %" PRIu64 " rows and %" PRIu64 " bytes, the manifest says %" PRIu64 " and %" PRIu64 ".",
			sum->rows, sum->content_bytes, table->rows, table->content_bytes);
	}
	if (v->digest && !row_digest_equal(&sum->digest, &table->digest)) {
		err_set(err, ERR_CORRUPT, "rows of table \"%s\".\"%s\" differ from their digest", table->schema, table->name);
		return err_detail(err, "The archive's rows have %s, the manifest says %s.", row_digest_format(&sum->digest, is),
			row_digest_format(&table->digest, said));
	}
	return 0;
}

static int map_trees(struct verifying *v, struct error *err)
{
	const struct inventory *inv = v->inv;

	v->tree_of = mem_alloc(inv->members_count * sizeof(*v->tree_of));
	for (size_t i = 0; i < inv->members_count; i++)
		v->tree_of[i] = NO_TREE;
	for (size_t t = 0; t < inv->trees_count; t++) {
		if (inv->trees[t].members_count == 0)
			return err_set(err, ERR_CORRUPT, "files \"%s\" have no members", inv->trees[t].label);
		for (size_t k = 0; k < inv->trees[t].members_count; k++) {
			size_t at = inv->trees[t].members[k];

			if (v->tree_of[at] != NO_TREE || v->table_of[at] != NO_TABLE)
				return err_set(err, ERR_CORRUPT, "member \"%s\" belongs to two owners", inv->members[at].name);
			v->tree_of[at] = t;
		}
	}
	return 0;
}

/* --- threads --------------------------------------------------------------------------------------------------------------- */

static int do_task(struct verifying *v, size_t task, void *state, struct error *err)
{
	if (task > 0)
		return read_content(v, task - 1, state, err);
	if (read_whole(v, false, err) < 0 && err->class != ERR_CORRUPT)
		return -1;
	err_move(&v->whole_failure, err);
	return 0;
}

static void *work(void *ctx)
{
	struct verifying *v = ctx;
	struct error err cleanup(err_clear) = ERROR_INIT;
	void *state = v->digest ? v->digest->state_new() : NULL;
	size_t task;

	while (!v->is_over && (task = v->next++) <= v->inv->members_count) {
		if (do_task(v, task, state, &err) == 0)
			continue;
		pthread_mutex_lock(&v->lock);
		if (v->failure.class == ERR_NONE)
			err_move(&v->failure, &err);
		pthread_mutex_unlock(&v->lock);
		v->is_over = true;
	}
	if (state)
		v->digest->state_free(state);
	return NULL;
}

static int run_threads(struct verifying *v, int jobs, struct error *err)
{
	pthread_t threads[JOBS_MAX];
	int started = 0;

	while (started < jobs - 1 && started < JOBS_MAX && pthread_create(&threads[started], NULL, work, v) == 0)
		started++; /* fewer than asked for do the work as well */
	work(v);
	for (int i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	if (v->failure.class == ERR_NONE)
		err_move(&v->failure, &v->whole_failure);
	return v->failure.class == ERR_NONE ? 0 : err_move(err, &v->failure);
}

static int verify_content(struct verifying *v, int jobs, struct error *err)
{
	if (map_tables(v, err) < 0 || map_trees(v, err) < 0 ||
		archive_reader_open(v->r->driver, v->key, v->inv->members, v->inv->members_count, &v->reader, err) < 0 ||
		run_threads(v, jobs, err) < 0)
		return -1;
	for (size_t t = 0; t < v->inv->tables_count; t++)
		if (check_table(v, t, err) < 0)
			return -1;
	v->report.tables = v->inv->tables_count;
	return 0;
}

static int verify_size(struct verifying *v, struct error *err)
{
	struct driver_object o;
	int rc = v->r->driver->ops->stat(v->r->driver, v->key, &o, err);

	if (rc < 0)
		return -1;
	if (rc == 0)
		return err_set(err, ERR_CORRUPT, "archive \"%s\" is missing", v->key);
	if (o.size_bytes != v->m->archive_bytes) {
		err_set(err, ERR_CORRUPT, "archive \"%s\" has another size", v->key);
		return err_detail(
			err, "It has %" PRIu64 " bytes, the manifest says %" PRIu64 ".", o.size_bytes, v->m->archive_bytes);
	}
	return 0;
}

static void set_totals(struct verifying *v, enum verify_level level)
{
	uint64_t bytes = v->m->archive_bytes;

	if (!v->progress)
		return;
	if (level == VERIFY_CONTENT) {
		bytes = 0;
		for (size_t i = 0; i < v->inv->members_count; i++)
			bytes += v->inv->members[i].content_bytes;
	}
	atomic_store(&v->progress->bytes_total, bytes);
	atomic_store(&v->progress->items_total, v->inv->members_count);
}

int backup_set_verify(struct repository *r, const char *stack, const struct manifest *m, enum verify_level level, int jobs,
	const struct verify_digest *digest, struct cancel *cancel, struct progress *progress, struct verify_report *ret,
	struct error *err)
{
	struct verifying v cleanup(release) = {
		.r = r, .m = m, .inv = &m->inventory, .digest = digest, .cancel = cancel, .progress = progress};
	int rc;

	pthread_mutex_init(&v.lock, NULL);
	v.key = repository_archive_key(stack, m->backup_id);
	rc = verify_size(&v, err);
	if (level != VERIFY_QUICK)
		set_totals(&v, level);
	if (rc == 0 && level == VERIFY_CHECKSUMS)
		rc = read_whole(&v, true, err);
	else if (rc == 0 && level == VERIFY_CONTENT)
		rc = verify_content(&v, jobs, err);
	if (rc < 0)
		return in_set(&v, err);
	*ret = v.report;
	return 0;
}

/*
 * Applying what is pending, file by file; or all of it in one transaction that is rolled back.
 */
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/crashpoint.h"
#include "orchestrator/postgres/migration_private.h"

#define ASK_AGAIN_MS 30000 /* how long a server that broke off is asked what became of the commit */

struct job {
	const struct migration_options *o;
	struct migration_work w;
	struct migration_status s;
	struct buf prepare; /* runs with the first migration; "" once it has */
};

static void job_release(struct job *j)
{
	migration_work_close(&j->w);
	migration_status_release(&j->s);
	buf_release(&j->prepare);
}

/* --- what there is to do ------------------------------------------------------------------------------------------------ */

static int look(struct job *j, struct error *err)
{
	migration_entries_release(&j->s.entries);
	migration_rows_release(&j->s.rows);
	j->prepare.len = 0;
	if (migration_rows_read(&j->w.pg, j->o, &j->s.files, &j->s.rows, err) < 0 ||
		migration_compare(&j->s.files, &j->s.rows, j->o->to, &j->s.entries, err) < 0)
		return -1;
	migration_table_prepare(j->o, &j->s.entries, &j->s.rows, &j->prepare);
	return 0;
}

static bool is_pending(const struct migration_entry *e)
{
	return e->state == MIGRATION_PENDING || e->state == MIGRATION_UNFINISHED;
}

static int load_text(struct job *j, const struct migration_file *f, struct migration_text *ret, struct error *err)
{
	const char *conforming = PQparameterStatus(j->w.pg.conn, "standard_conforming_strings");

	if (migration_file_text(&j->s.files, f, &ret->text, err) < 0)
		return -1;
	return migration_text_split(ret, f, conforming && strcmp(conforming, "off") == 0, err);
}

/* Whatever can be seen to be wrong is seen before anything is applied. */
static int check_texts(struct job *j, struct error *err)
{
	for (size_t i = 0; i < j->s.entries.count; i++) {
		struct migration_text text cleanup(migration_text_release) = {0};

		if (is_pending(&j->s.entries.list[i]) && load_text(j, j->s.entries.list[i].file, &text, err) < 0)
			return -1;
	}
	return 0;
}

static int open_server(struct job *j, bool is_to_work, struct error *err)
{
	struct pg_options po = {.conninfo = j->o->conninfo, .what = "migrate check", .cancel = j->o->cancel};

	if (is_to_work)
		return migration_work_open(j->o, &j->w, err);
	j->w.o = j->o;
	return pg_refuse_pooler(j->o->conninfo, j->o->cancel, j->o->events, err) < 0 ? -1 : pg_open(&po, &j->w.pg, err);
}

static int open_job(const struct migration_options *o, bool is_to_work, struct job *ret, struct error *err)
{
	ret->o = o;
	if (migration_files_read(o->dir, &ret->s.files, err) < 0 || open_server(ret, is_to_work, err) < 0 || look(ret, err) < 0)
		return -1;
	return migration_refuse_drift(&ret->s.entries, err) < 0 ? -1 : check_texts(ret, err);
}

static char *copy(const char *text)
{
	return text ? mem_strdup(text) : NULL;
}

static void note_start(const struct job *j, struct migration_result *ret)
{
	ret->from = copy(j->s.entries.version);
	ret->pending = j->s.entries.pending;
	ret->adopted_from = copy(j->s.rows.adopted_from);
	for (size_t i = 0; ret->adopted_from && i < j->s.entries.count; i++)
		ret->adopted += j->s.entries.list[i].row != NULL;
	if (j->o->progress)
		atomic_store(&j->o->progress->items_total, j->s.entries.pending);
}

void migration_result_release(struct migration_result *r)
{
	free(r->from);
	free(r->to);
	free(r->adopted_from);
	memset(r, 0, sizeof(*r));
}

/* --- one file in its transaction ---------------------------------------------------------------------------------------- */

static int begin(struct job *j, const char *prepare, struct error *err)
{
	char timeout[64] = "";

	if (j->o->statement_timeout_ms)
		(void)snprintf(
			timeout, sizeof(timeout), "SET LOCAL statement_timeout = %lld; ", (long long)j->o->statement_timeout_ms);
	return migration_work_execf(&j->w, err, "BEGIN; SET LOCAL lock_timeout = %lld; %s\n%s",
		(long long)migration_lock_timeout_ms(j->o), timeout, prepare);
}

static int run_whole(struct job *j, const struct migration_file *f, const struct migration_text *text, struct error *err)
{
	if (migration_work_exec(&j->w, buf_str(&text->text), text, f, NULL, err) < 0)
		return -1;
	if (PQtransactionStatus(j->w.pg.conn) != PQTRANS_INTRANS) {
		err_set(err, ERR_FAILED, "migration \"%s\" has ended its transaction itself", f->file);
		return err_hint(err,
			"What it did before that is committed.  The whole file is one transaction already: take the statement "
			"out, and look how far it came.");
	}
	return 0;
}

static int write_row(struct job *j, const struct migration_file *f, int64_t duration_ms, struct error *err)
{
	char *sql cleanup(mem_freep) = migration_row_sql(j->o, f, duration_ms);

	if (migration_work_execf(&j->w, err, "RESET SESSION AUTHORIZATION; RESET ROLE; %s", sql) < 0)
		return err_context(err, "could not note that migration \"%s\" is applied", f->file);
	return 0;
}

static int commit(struct job *j, const struct migration_file *f, struct error *err)
{
	crash_point("migration");
	if (migration_work_execf(&j->w, err, "COMMIT") < 0)
		return err_context(err, "could not commit migration \"%s\"", f->file);
	crash_point("migration");
	return 0;
}

static int apply_once(struct job *j, const struct migration_entry *e, struct migration_text *text, struct error *err)
{
	int64_t start = clock_mono_ms();

	if (e->file->is_without_transaction)
		return migration_online_run(&j->w, e, text, buf_str(&j->prepare), start, err);
	if (begin(j, buf_str(&j->prepare), err) < 0 || run_whole(j, e->file, text, err) < 0 ||
		write_row(j, e->file, clock_mono_ms() - start, err) < 0)
		return -1;
	return commit(j, e->file, err);
}

/* --- after a failure ---------------------------------------------------------------------------------------------------- */

static bool is_applied(const struct job *j, const char *version)
{
	for (size_t i = 0; i < j->s.entries.count; i++) {
		const struct migration_entry *e = &j->s.entries.list[i];

		if (e->file && strcmp(e->file->version, version) == 0)
			return e->state == MIGRATION_APPLIED;
	}
	return false;
}

static int reopen(struct job *j, struct error *err)
{
	int64_t deadline = clock_mono_ms() + ASK_AGAIN_MS;

	while (migration_work_reopen(&j->w, err) < 0) {
		if (err->class != ERR_RETRY || clock_mono_ms() >= deadline)
			return -1;
		err_clear(err);
		if (cancel_sleep(j->o->cancel, 200, err) < 0)
			return -1;
	}
	return 0;
}

/*
 * The connection broke.  Whether the commit had come through only the table knows: 1 it had; -1 with ${err}, the failure, still in it.
 * It is not run again by itself: whoever ended the session may have wanted just that.
 */
static int ask_table(struct job *j, const struct migration_file *f, struct error *err)
{
	struct error cannot cleanup(err_clear) = ERROR_INIT;

	if (reopen(j, &cannot) < 0 || look(j, &cannot) < 0) {
		err_detail(err, "Whether migration \"%s\" was applied could not be asked: %s", f->file, cannot.message);
		return -1;
	}
	if (is_applied(j, f->version))
		return 1;
	return err_detail(err, "The server was asked again: migration \"%s\" is not applied.", f->file);
}

/* 0 to be tried again, 1 it is applied after all, -1. */
static int after_failure(struct job *j, const struct migration_file *f, int failures, int64_t deadline, struct error *err)
{
	if (err->class == ERR_CANCELLED)
		return -1;
	if (migration_work_is_lost(&j->w)) {
		int rc = ask_table(j, f, err);

		if (rc > 0)
			err_clear(err);
		return rc;
	}
	migration_work_rollback(&j->w);
	if (!f->is_without_transaction && migration_is_lock_failure(err))
		return migration_work_pause(&j->w, failures, deadline, err);
	if (!f->is_without_transaction && strcmp(err->sqlstate, "25001") == 0)
		return err_hint(err,
			"Put it into a file of its own that begins with \"-- holdfast: no-transaction\"; nothing of this one was kept.");
	return err_hint(err,
		f->is_without_transaction
			? "What ran before this statement stays.  Correct the statement and migrate again: it goes on from there."
			: "Nothing of this file was kept; the files before it are applied.");
}

static int apply(struct job *j, const struct migration_entry *e, struct error *err)
{
	struct migration_text text cleanup(migration_text_release) = {0};
	const struct migration_file *f = e->file;
	int64_t start = clock_mono_ms(), deadline = start + migration_lock_wait_ms(j->o);
	char spent[CLOCK_TEXT_BYTES];
	int rc;

	if (load_text(j, f, &text, err) < 0)
		return -1;
	for (int failures = 1; apply_once(j, e, &text, err) < 0; failures++) {
		rc = after_failure(j, f, failures, deadline, err);
		if (rc < 0)
			return -1;
		if (rc > 0)
			break;
	}
	event_text(j->o->events, EVENT_INFO, "applied \"%s\" in %s", f->file, duration_format(clock_mono_ms() - start, spent));
	progress_item(j->o->progress);
	return migration_work_reset(&j->w, err);
}

/* --- all of them -------------------------------------------------------------------------------------------------------- */

/* Looked for anew each time: after a lost connection the list is another one. */
static struct migration_entry *first_pending(struct job *j)
{
	for (size_t i = 0; i < j->s.entries.count; i++)
		if (is_pending(&j->s.entries.list[i]))
			return &j->s.entries.list[i];
	return NULL;
}

static int adopt_alone(struct job *j, struct error *err)
{
	if (!j->s.rows.adopted_from || !j->prepare.len)
		return 0;
	if (begin(j, buf_str(&j->prepare), err) < 0 || migration_work_execf(&j->w, err, "COMMIT") < 0) {
		migration_work_rollback(&j->w);
		return err_context(err, "could not adopt what %s says", j->s.rows.adopted_from);
	}
	return 0;
}

int migration_up(const struct migration_options *o, struct migration_result *ret, struct error *err)
{
	struct job j cleanup(job_release) = {0};
	struct migration_entry *e;

	memset(ret, 0, sizeof(*ret));
	if (open_job(o, true, &j, err) < 0)
		return -1;
	note_start(&j, ret);
	ret->to = copy(j.s.entries.version);
	if (!first_pending(&j))
		return adopt_alone(&j, err);
	crash_point("migration");
	while ((e = first_pending(&j))) {
		const struct migration_file *f = e->file;

		if (apply(&j, e, err) < 0)
			return -1;
		ret->applied++;
		if (!f->is_repeatable) {
			free(ret->to);
			ret->to = copy(f->version);
		}
		j.prepare.len = 0;
		if (j.prepare.data)
			*j.prepare.data = '\0';
		for (size_t i = 0; i < j.s.entries.count; i++)
			if (j.s.entries.list[i].file == f)
				j.s.entries.list[i].state = MIGRATION_APPLIED;
	}
	return 0;
}

/* --- a trial ------------------------------------------------------------------------------------------------------------ */

static int try_statement(struct job *j, const struct migration_file *f, const struct migration_text *t,
	const struct migration_statement *s, struct migration_result *ret, struct error *err)
{
	char *sql cleanup(mem_freep) = mem_strndup(buf_str(&t->text) + s->at, s->len);
	struct error why cleanup(err_clear) = ERROR_INIT;

	if (migration_work_execf(&j->w, err, "SAVEPOINT holdfast_trial") < 0)
		return -1;
	if (!s->is_create_index && !s->is_drop_index && migration_work_exec(&j->w, sql, t, f, s, &why) == 0)
		return migration_work_execf(&j->w, err, "RELEASE SAVEPOINT holdfast_trial");
	/* active_sql_transaction, invalid_transaction_termination: it has to be outside of one */
	if (why.class != ERR_NONE && strcmp(why.sqlstate, "25001") != 0 && strcmp(why.sqlstate, "2D000") != 0)
		return err_move(err, &why);
	ret->not_tried++;
	return migration_work_execf(&j->w, err, "ROLLBACK TO SAVEPOINT holdfast_trial");
}

static int try_file(struct job *j, const struct migration_file *f, struct migration_result *ret, struct error *err)
{
	struct migration_text text cleanup(migration_text_release) = {0};
	size_t before = ret->not_tried;

	if (load_text(j, f, &text, err) < 0)
		return -1;
	if (!f->is_without_transaction && run_whole(j, f, &text, err) < 0)
		return -1;
	for (size_t i = 0; f->is_without_transaction && i < text.count; i++)
		if (try_statement(j, f, &text, &text.list[i], ret, err) < 0)
			return -1;
	ret->trials++;
	event_text(j->o->events, EVENT_INFO, "tried \"%s\"", f->file);
	if (ret->not_tried > before)
		event_text(j->o->events, EVENT_WARNING,
			"%zu statement%s of \"%s\" cannot run in a transaction and could not be tried", ret->not_tried - before,
			ret->not_tried - before == 1 ? "" : "s", f->file);
	progress_item(j->o->progress);
	return write_row(j, f, 0, err) < 0 ? -1
					   : migration_work_execf(&j->w, err, "RESET ALL; SET LOCAL lock_timeout = %lld",
						     (long long)migration_lock_timeout_ms(j->o));
}

static int try_all(struct job *j, struct migration_result *ret, struct error *err)
{
	if (begin(j, buf_str(&j->prepare), err) < 0)
		return -1;
	for (size_t i = 0; i < j->s.entries.count; i++) {
		struct migration_entry *e = &j->s.entries.list[i];

		/* Of an unfinished one some statements are done: they would fail here. */
		if (e->state == MIGRATION_UNFINISHED)
			ret->not_tried++;
		else if (is_pending(e) && try_file(j, e->file, ret, err) < 0)
			return -1;
	}
	return 0;
}

int migration_trial(const struct migration_options *o, struct migration_result *ret, struct error *err)
{
	struct job j cleanup(job_release) = {0};
	int rc;

	memset(ret, 0, sizeof(*ret));
	if (open_job(o, true, &j, err) < 0)
		return -1;
	note_start(&j, ret);
	rc = first_pending(&j) ? try_all(&j, ret, err) : 0;
	migration_work_rollback(&j.w);
	if (rc < 0)
		return err_hint(err, "This was a trial, with all files in one transaction: nothing of it was kept.");
	return 0;
}

/* --- a check ------------------------------------------------------------------------------------------------------------- */

int migration_check(const struct migration_options *o, struct migration_result *ret, struct error *err)
{
	struct job j cleanup(job_release) = {0};

	memset(ret, 0, sizeof(*ret));
	if (open_job(o, false, &j, err) < 0)
		return -1;
	note_start(&j, ret);
	return 0;
}

/* --- status ------------------------------------------------------------------------------------------------------------- */

int migration_status(const struct migration_options *o, struct migration_status *ret, struct error *err)
{
	struct pg_options po = {.conninfo = o->conninfo, .what = "migrate status", .cancel = o->cancel};
	struct pg pg cleanup(pg_close) = {0};

	memset(ret, 0, sizeof(*ret));
	if (migration_files_read(o->dir, &ret->files, err) < 0 || pg_open(&po, &pg, err) < 0 ||
		migration_rows_read(&pg, o, &ret->files, &ret->rows, err) < 0 ||
		migration_compare(&ret->files, &ret->rows, o->to, &ret->entries, err) < 0) {
		migration_status_release(ret);
		return -1;
	}
	return 0;
}

void migration_status_release(struct migration_status *s)
{
	migration_entries_release(&s->entries);
	migration_rows_release(&s->rows);
	migration_files_release(&s->files);
}

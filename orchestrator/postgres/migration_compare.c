/*
 * Files and rows side by side: what is applied, what is not, and what cannot be so.
 */
#include <stdlib.h>
#include <string.h>
#include "orchestrator/postgres/migrations.h"

#define NAMES_MAX 20 /* named one by one; of more only the number is told */

const char *migration_state_name(enum migration_state state)
{
	static const char *const names[] = {
		[MIGRATION_APPLIED] = "applied",
		[MIGRATION_PENDING] = "pending",
		[MIGRATION_UNFINISHED] = "unfinished",
		[MIGRATION_LATER] = "later",
		[MIGRATION_CHANGED] = "changed",
		[MIGRATION_MISSING] = "missing",
		[MIGRATION_OUT_OF_ORDER] = "out of order",
	};

	return names[state];
}

static bool is_repeatable(const char *version)
{
	return strncmp(version, "R__", 3) == 0;
}

/* Repeatable ones behind all others. */
static int compare_keys(const char *a, const char *b)
{
	if (is_repeatable(a) || is_repeatable(b))
		return is_repeatable(a) && is_repeatable(b) ? strcmp(a, b) : (int)is_repeatable(a) - (int)is_repeatable(b);
	return migration_version_compare(a, b);
}

static int rows_by_key(const void *a, const void *b)
{
	const struct migration_row *const *x = a, *const *y = b;

	return compare_keys((*x)->version, (*y)->version);
}

static const struct migration_row **sorted_rows(const struct migration_rows *rows)
{
	const struct migration_row **list = mem_zalloc((rows->count + 1) * sizeof(*list));

	for (size_t i = 0; i < rows->count; i++)
		list[i] = &rows->list[i];
	if (rows->count)
		qsort(list, rows->count, sizeof(*list), rows_by_key);
	return list;
}

static enum migration_state state_of(const struct migration_file *f, const struct migration_row *row)
{
	if (!f)
		return MIGRATION_MISSING;
	if (!row)
		return MIGRATION_PENDING;
	if (row->is_running)
		return MIGRATION_UNFINISHED;
	if (!row->sha256 || strcmp(row->sha256, f->sha256) == 0)
		return MIGRATION_APPLIED;
	return f->is_repeatable ? MIGRATION_PENDING : MIGRATION_CHANGED;
}

static void merge(const struct migration_files *files, const struct migration_row *const *rows, size_t rows_count,
	struct migration_entries *ret)
{
	size_t i = 0, j = 0;

	ret->list = mem_zalloc((files->count + rows_count + 1) * sizeof(*ret->list));
	while (i < files->count || j < rows_count) {
		int order = i == files->count ? 1 : j == rows_count ? -1 : compare_keys(files->list[i].version, rows[j]->version);
		const struct migration_file *f = order <= 0 ? &files->list[i++] : NULL;
		const struct migration_row *row = order >= 0 ? rows[j++] : NULL;

		/* A repeatable file may go: nothing is expected of it any more. */
		if (!f && (!row || is_repeatable(row->version)))
			continue;
		ret->list[ret->count++] = (struct migration_entry){f, row, state_of(f, row)};
	}
}

static bool is_versioned(const struct migration_entry *e)
{
	return !is_repeatable(e->file ? e->file->version : e->row->version);
}

/* What is pending before one that is applied came too late; what is behind ${to} comes later. */
static void place(struct migration_entries *all, const char *to)
{
	bool is_before = false, is_cut = false;

	for (size_t i = all->count; i-- > 0;) {
		struct migration_entry *e = &all->list[i];

		if (is_versioned(e) && e->state == MIGRATION_PENDING && is_before)
			e->state = MIGRATION_OUT_OF_ORDER;
		if (is_versioned(e) && e->row && !e->row->is_running) {
			is_before = true;
			if (!all->version)
				all->version = e->row->version;
		}
	}
	for (size_t i = 0; i < all->count; i++) {
		struct migration_entry *e = &all->list[i];
		bool is_open = e->state == MIGRATION_PENDING || e->state == MIGRATION_UNFINISHED;

		if (to && is_open && is_versioned(e) && migration_version_compare(e->file->version, to) > 0)
			e->state = MIGRATION_LATER;
		is_cut |= e->state == MIGRATION_LATER;
		/* What is repeated speaks of the newest schema. */
		if (is_cut && !is_versioned(e) && e->state == MIGRATION_PENDING)
			e->state = MIGRATION_LATER;
	}
}

static void count(struct migration_entries *all)
{
	for (size_t i = 0; i < all->count; i++) {
		enum migration_state s = all->list[i].state;

		all->applied += s == MIGRATION_APPLIED;
		all->pending += s == MIGRATION_PENDING || s == MIGRATION_UNFINISHED;
		all->later += s == MIGRATION_LATER;
		all->drifted += s == MIGRATION_CHANGED || s == MIGRATION_MISSING || s == MIGRATION_OUT_OF_ORDER;
	}
}

static int check_to(const struct migration_files *files, const char *to, struct error *err)
{
	for (size_t i = 0; to && i < files->count; i++)
		if (!files->list[i].is_repeatable && migration_version_compare(files->list[i].version, to) == 0)
			return 0;
	return to ? err_set(err, ERR_CONFIG, "there is no migration with version \"%s\" in directory \"%s\"", to, files->dir) : 0;
}

int migration_compare(const struct migration_files *files, const struct migration_rows *rows, const char *to,
	struct migration_entries *ret, struct error *err)
{
	const struct migration_row **list cleanup(mem_freep) = sorted_rows(rows);

	memset(ret, 0, sizeof(*ret));
	if (check_to(files, to, err) < 0)
		return -1;
	merge(files, list, rows->count, ret);
	place(ret, to);
	count(ret);
	return 0;
}

void migration_entries_release(struct migration_entries *e)
{
	free(e->list);
	memset(e, 0, sizeof(*e));
}

/* --- drift -------------------------------------------------------------------------------------------------------------- */

static void name_all(const struct migration_entries *all, enum migration_state state, const char *what, struct buf *out)
{
	size_t n = 0;

	for (size_t i = 0; i < all->count; i++) {
		const struct migration_entry *e = &all->list[i];

		if (e->state != state)
			continue;
		if (n++ < NAMES_MAX)
			buf_printf(out, "%s\"%s\"", n == 1 ? (out->len ? "\n" : "") : ", ",
				e->file                                 ? e->file->file
					: e->row->file && *e->row->file ? e->row->file
									: e->row->version);
	}
	if (n > NAMES_MAX)
		buf_printf(out, " and %zu more", n - NAMES_MAX);
	if (n)
		buf_puts(out, what);
}

int migration_refuse_drift(const struct migration_entries *e, struct error *err)
{
	struct buf names cleanup(buf_release) = {0};

	if (e->drifted == 0)
		return 0;
	name_all(e, MIGRATION_CHANGED, ": applied, and changed since.", &names);
	name_all(e, MIGRATION_MISSING, ": applied, and not in the directory.", &names);
	name_all(e, MIGRATION_OUT_OF_ORDER, ": not applied, though a later one is.", &names);
	err_set(err, ERR_REFUSED, "the directory and the database disagree about %zu migration%s", e->drifted,
		e->drifted == 1 ? "" : "s");
	err_detail(err, "%s", buf_str(&names));
	return err_hint(err,
		"Put applied files back as they were; a change goes into a new file with a version of its own, later than all "
		"that are applied.");
}

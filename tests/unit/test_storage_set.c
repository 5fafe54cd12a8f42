/*
 * Repositories and sets: made, found, committed once, verified; each kind of damage is found and named.
 */
#include "tests/unit/storage_helper.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "storage/repository.h"

#define ID1 "20261118T031500Z-aaaaaaaa"
#define ID2 "20261119T031500Z-bbbbbbbb"
#define ID3 "20261119T041500Z-cccccccc"
#define ARCHIVE(id) "app/backups/" id "/backup.tar.zst"
#define MANIFEST(id) "app/backups/" id "/manifest.json"

struct fixture {
	struct place place;
	struct repository *r;
	struct error err;
};

static int setup(void **state)
{
	struct fixture *f = mem_zalloc(sizeof(*f));

	place_make(&f->place);
	assert_ok(repository_open("main", f->place.dir, true, &f->r, &f->err), &f->err);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	repository_close(f->r);
	place_remove(&f->place);
	err_clear(&f->err);
	free(f);
	return 0;
}

/* --- repositories ---------------------------------------------------------------------------------------------------------- */

static void a_repository_is_made_once_and_found_again(void **state)
{
	struct fixture *f = *state;
	struct repository *again = NULL;
	char *url cleanup(mem_freep) = mem_printf("file://%s", f->place.dir);

	assert_int_equal(strlen(f->r->id), 32);
	assert_string_equal(f->r->url, url);
	assert_string_equal(f->r->name, "main");
	assert_ok(repository_open(NULL, url, false, &again, &f->err), &f->err);
	assert_string_equal(again->id, f->r->id);
	assert_string_equal(again->name, url);
	repository_closep(&again);
	assert_ok(repository_open("main", url, true, &again, &f->err), &f->err);
	assert_string_equal(again->id, f->r->id);
	repository_close(again);
}

static void urls_name_directories(void **state)
{
	struct fixture *f = *state;
	char *spaced cleanup(mem_freep) = place_path(&f->place, "a b%"),
		     *url cleanup(mem_freep) = mem_printf("file://%s/a%%20b%%25", f->place.dir);
	char *local cleanup(mem_freep) = mem_printf("file://localhost%s/a%%20b%%25", f->place.dir);
	struct repository *r = NULL;

	assert_ok(repository_open(NULL, spaced, true, &r, &f->err), &f->err);
	assert_string_equal(r->url, url);
	repository_closep(&r);
	assert_ok(repository_open(NULL, url, false, &r, &f->err), &f->err);
	repository_closep(&r);
	assert_ok(repository_open(NULL, local, false, &r, &f->err), &f->err);
	repository_closep(&r);
}

static void bad_urls_are_refused(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *url, *message;
	} bad[] = {
		{"", "url of a repository is empty"},
		{"ftp://host/x", "there are no repositories of kind \"ftp\""},
		{"file://host/x", "repository \"file://host/x\" is not on this host"},
		{"file:///a%zz", "url \"file:///a%zz\" of a repository has a percent sign that begins no valid escape"},
		{"file:///a%00", "url \"file:///a%00\" of a repository has a percent sign that begins no valid escape"},
	};
	struct repository *r = NULL;

	for (size_t i = 0; i < array_len(bad); i++)
		assert_error(repository_open(NULL, bad[i].url, true, &r, &f->err), &f->err, ERR_CONFIG, bad[i].message);
}

static void what_is_no_repository_is_left_alone(void **state)
{
	struct fixture *f = *state;
	struct place other;
	struct repository *r = NULL;
	char *none, *full, *missing, *dir;

	place_make(&other);
	none = mem_printf("no repository at \"%s\"", other.dir);
	full = mem_printf("\"%s\" holds no repository and is not empty", other.dir);
	dir = place_path(&other, "not/there");
	missing = mem_printf("could not open repository \"%s\": directory \"%s\" does not exist", dir, dir);
	assert_error(repository_open(NULL, other.dir, false, &r, &f->err), &f->err, ERR_CONFIG, none);
	assert_error(repository_open(NULL, dir, false, &r, &f->err), &f->err, ERR_CONFIG, missing);
	place_put(&other, ".profile", "mine", 4);
	assert_int_equal(repository_open(NULL, other.dir, true, &r, &f->err), -1);
	assert_string_equal(f->err.detail, "There is for example \".profile\".");
	assert_error(-1, &f->err, ERR_CONFIG, full);
	assert_int_equal(place_count_files(&other), 1);
	free(none);
	free(full);
	free(missing);
	free(dir);
	place_remove(&other);
}

static void a_later_repository_is_refused(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *text;
		enum err_class class;
		const char *message;
	} bad[] = {
		{"{\"format\": \"holdfast-repository/2\", \"id\": \"x\"}", ERR_CONFIG,
			"repository \"main\" has format \"holdfast-repository/2\", which is of a later version"},
		{"{\"format\": \"holdfast-repository/1\"}", ERR_CORRUPT,
			"file \"holdfast-repository.json\" of repository \"main\" is damaged"},
		{"{}", ERR_CORRUPT, "file \"holdfast-repository.json\" of repository \"main\" is damaged"},
	};
	struct repository *r = NULL;

	for (size_t i = 0; i < array_len(bad); i++) {
		place_put(&f->place, "holdfast-repository.json", bad[i].text, strlen(bad[i].text));
		assert_error(repository_open("main", f->place.dir, true, &r, &f->err), &f->err, bad[i].class, bad[i].message);
	}
	place_put(&f->place, "holdfast-repository.json", "", 0);
	assert_int_equal(repository_open("main", f->place.dir, true, &r, &f->err), -1);
	assert_int_equal(f->err.class, ERR_CORRUPT);
}

static void *open_repository(void *ctx)
{
	struct repository *r = NULL;
	struct error err cleanup(err_clear) = ERROR_INIT;

	if (repository_open(NULL, ctx, true, &r, &err) < 0) {
		print_error("%s\n", err.message);
		return NULL;
	}
	return r;
}

static void racing_hosts_get_the_same_repository(void **state)
{
	struct fixture *f = *state;
	char *dir cleanup(mem_freep) = place_path(&f->place, "race");

	for (int round = 0; round < 20; round++) {
		pthread_t threads[4];
		struct repository *r[4];

		for (int i = 0; i < 4; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, open_repository, dir), 0);
		for (int i = 0; i < 4; i++)
			pthread_join(threads[i], (void **)&r[i]);
		for (int i = 0; i < 4; i++) {
			assert_non_null(r[i]);
			assert_string_equal(r[i]->id, r[0]->id);
		}
		for (int i = 0; i < 4; i++)
			repository_close(r[i]);
		assert_ok(io_remove_tree(dir, &f->err), &f->err);
	}
}

static void names_are_checked(void **state)
{
	static const char *const good[] = {"a", "app", "App_1.x-y", "0"},
				 *const bad[] = {"", ".a", "-a", "a/b", "a b", "ä",
					 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
	static const char *const ids[] = {ID1, "20261118T031500Z-0123456f"},
				 *const bad_ids[] = {"", "latest", "20261118T031500Z-0123456g", "20261118T031500Z-0123456F",
					 "20261118T031500Z-0123456f0", "20261118T031500Z_0123456f", "2026111xT031500Z-0123456f"};
	struct error err cleanup(err_clear) = ERROR_INIT;
	char id[BACKUP_ID_BYTES];

	(void)state;
	for (size_t i = 0; i < array_len(good); i++)
		assert_true(stack_name_is_valid(good[i]));
	for (size_t i = 0; i < array_len(bad); i++)
		assert_false(stack_name_is_valid(bad[i]));
	for (size_t i = 0; i < array_len(ids); i++)
		assert_true(backup_id_is_valid(ids[i]));
	for (size_t i = 0; i < array_len(bad_ids); i++)
		assert_false(backup_id_is_valid(bad_ids[i]));
	assert_ok(backup_id_make(1795144500000, id, &err), &err);
	assert_true(backup_id_is_valid(id));
	assert_memory_equal(id, "20261120T031500Z-000", 20);
	assert_ok(backup_id_make(1795144500001, id, &err), &err);
	assert_memory_equal(id, "20261120T031500Z-004", 20);
	assert_ok(backup_id_make(1795144500999, id, &err), &err);
	assert_memory_equal(id, "20261120T031500Z-ffb", 20);
}

/* --- sets ------------------------------------------------------------------------------------------------------------------ */

/* A row digest for tests: lines are counted, their bytes are summed. */
struct lines {
	bool is_inside;
};

static int add_lines(void *state, const char *p, size_t n, struct row_digest *digest, uint64_t *rows, struct error *err)
{
	(void)state;
	(void)err;
	for (size_t i = 0; i < n; i++) {
		digest->low += (unsigned char)p[i];
		*rows += p[i] == '\n';
	}
	return 0;
}

static void reset_lines(void *state)
{
	memset(state, 0, sizeof(struct lines));
}

static void *new_lines(void)
{
	return mem_zalloc(sizeof(struct lines));
}

static const struct verify_digest digest = {.add = add_lines, .reset = reset_lines, .state_new = new_lines, .state_free = free};

static void put_lines(
	struct fixture *f, struct archive_writer *w, struct manifest *m, const char *name, size_t rows, struct inv_table *t)
{
	struct archive_member *member = NULL;
	struct inv_member *done = inventory_add(&m->inventory, members);
	uint64_t counted = 0;

	assert_ok(archive_member_begin(w, &member, name, &f->err), &f->err);
	for (size_t i = 0; i < rows; i++) {
		char line[64];
		size_t n = (size_t)snprintf(line, sizeof(line), "%zu\trow %zu of %s\n", i % 10, i % 7 * 7919, name);

		assert_ok(archive_member_write(member, line, n, &f->err), &f->err);
		if (t)
			assert_ok(add_lines(NULL, line, n, &t->digest, &counted, &f->err), &f->err);
	}
	assert_ok(archive_member_end(member, &m->inventory.arena, done, &f->err), &f->err);
	archive_member_free(member);
	done->rows = t ? counted : 0;
	if (t) {
		t->rows += counted;
		t->content_bytes += done->content_bytes;
	}
}

static void fill_archive(struct fixture *f, struct archive_writer *w, struct manifest *m)
{
	static size_t big[] = {1, 2}, small[] = {3};

	put_lines(f, w, m, "README", 3, NULL);
	*inventory_add(&m->inventory, tables) = (struct inv_table){
		.oid = 1, .schema = "public", .name = "big", .members = big, .members_count = 2};
	put_lines(f, w, m, "data/00001.00.copy", 100000, &m->inventory.tables[0]);
	put_lines(f, w, m, "data/00001.01.copy", 50, &m->inventory.tables[0]);
	*inventory_add(&m->inventory, tables) = (struct inv_table){
		.oid = 2, .schema = "public", .name = "small", .members = small, .members_count = 1};
	put_lines(f, w, m, "data/00002.00.copy", 5, &m->inventory.tables[1]);
	put_lines(f, w, m, "post-data.sql", 10, NULL);
}

static void make_manifest(struct fixture *f, const char *id, struct manifest *m)
{
	char *key cleanup(mem_freep) = repository_archive_key("app", id);
	struct archive_writer_options o = {.driver = f->r->driver, .key = key, .tag = id, .mtime_ms = 1795144500000};
	struct archive_writer *w = NULL;

	assert_ok(archive_writer_open(&o, &w, &f->err), &f->err);
	m->backup_id = mem_strdup(id);
	m->stack = mem_strdup("app");
	m->archive_name = mem_strdup("backup.tar.zst");
	m->has_archive = true;
	m->started_at_ms = 1795144500000;
	m->ended_at_ms = 1795144501000;
	m->inventory.database = "shop";
	m->inventory.server_version_text = "15.20";
	fill_archive(f, w, m);
	assert_ok(archive_writer_commit(w, &m->archive_bytes, m->archive_sha256, &f->err), &f->err);
}

static void make_set(struct fixture *f, const char *id)
{
	struct manifest m cleanup(manifest_release) = {0};
	struct buf text cleanup(buf_release) = {0};

	make_manifest(f, id, &m);
	assert_ok(manifest_write(&m, &text, &f->err), &f->err);
	assert_ok(backup_set_commit(f->r, "app", id, text.data, text.len, &f->err), &f->err);
}

static void a_set_exists_once_its_manifest_does(void **state)
{
	struct fixture *f = *state;
	struct manifest m cleanup(manifest_release) = {0}, loaded cleanup(manifest_release) = {0};
	struct buf text cleanup(buf_release) = {0};
	struct backup_set_info *list = NULL;
	size_t count = 9;

	make_manifest(f, ID1, &m);
	assert_int_equal(backup_set_load(f->r, "app", ID1, &loaded, &f->err), 0);
	assert_ok(backup_set_list(f->r, NULL, &list, &count, &f->err), &f->err);
	assert_int_equal(count, 0);
	backup_set_list_release(list, count);
	assert_ok(manifest_write(&m, &text, &f->err), &f->err);
	assert_ok(backup_set_commit(f->r, "app", ID1, text.data, text.len, &f->err), &f->err);
	assert_int_equal(backup_set_load(f->r, "app", ID1, &loaded, &f->err), 1);
	assert_int_equal(loaded.inventory.tables[0].rows, 100050);
	assert_int_equal(place_count_files(&f->place), 3);
}

static void a_commit_may_be_repeated_but_not_changed(void **state)
{
	struct fixture *f = *state;

	assert_ok(backup_set_commit(f->r, "app", ID1, "{}", 2, &f->err), &f->err);
	assert_ok(backup_set_commit(f->r, "app", ID1, "{}", 2, &f->err), &f->err);
	assert_error(backup_set_commit(f->r, "app", ID1, "[]", 2, &f->err), &f->err, ERR_CONFLICT,
		"backup set \"" ID1 "\" has been committed already, with another manifest");
	assert_int_equal(place_count_files(&f->place), 2);
}

struct committer {
	pthread_t thread;
	struct repository *r;
	char text[8];
	int rc;
	enum err_class class;
};

static void *commit_one(void *ctx)
{
	struct committer *c = ctx;
	struct error err cleanup(err_clear) = ERROR_INIT;

	c->rc = backup_set_commit(c->r, "app", ID1, c->text, strlen(c->text), &err);
	c->class = err.class;
	return NULL;
}

static void of_two_racing_commits_one_wins(void **state)
{
	struct fixture *f = *state;
	char *path cleanup(mem_freep) = place_path(&f->place, MANIFEST(ID1));

	for (int round = 0; round < 50; round++) {
		struct committer c[2] = {{.r = f->r, .text = "one"}, {.r = f->r, .text = "two"}};
		struct buf there cleanup(buf_release) = {0};

		for (int i = 0; i < 2; i++)
			assert_int_equal(pthread_create(&c[i].thread, NULL, commit_one, &c[i]), 0);
		for (int i = 0; i < 2; i++)
			pthread_join(c[i].thread, NULL);
		assert_int_equal(c[0].rc + c[1].rc, -1);
		assert_int_equal(c[c[0].rc == 0].class, ERR_CONFLICT);
		place_get(&f->place, MANIFEST(ID1), &there);
		assert_string_equal(there.data, c[c[0].rc == 0 ? 0 : 1].text);
		assert_int_equal(place_count_files(&f->place), 2);
		assert_int_equal(unlink(path), 0);
	}
}

static void sets_are_resolved(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *which, *id, *message, *detail;
	} cases[] = {
		{"latest", ID3, NULL, NULL},
		{ID1, ID1, NULL, NULL},
		{"20261118", ID1, NULL, NULL},
		{"20261119T03", ID2, NULL, NULL},
		{"20261119", NULL, "more than one backup set of stack \"app\" begins with \"20261119\"",
			"There is " ID3 ", " ID2 "."},
		{"2027", NULL, "no backup set \"2027\" of stack \"app\" in repository \"main\"",
			"There is " ID3 ", " ID2 ", " ID1 "."},
		{ID1 "0", NULL, "no backup set \"" ID1 "0\" of stack \"app\" in repository \"main\"",
			"There is " ID3 ", " ID2 ", " ID1 "."},
		{"", NULL, "more than one backup set of stack \"app\" begins with \"\"", "There is " ID3 ", " ID2 ", " ID1 "."},
	};
	char *id = NULL;

	assert_error(backup_set_resolve(f->r, "app", "latest", &id, &f->err), &f->err, ERR_CONFIG,
		"no backup set of stack \"app\" in repository \"main\"");
	place_put(&f->place, MANIFEST(ID3), "{}", 2);
	place_put(&f->place, MANIFEST(ID1), "{}", 2);
	place_put(&f->place, MANIFEST(ID2), "{}", 2);
	place_put(&f->place, "app/backups/20261120T031500Z-dddddddd/backup.tar.zst", "", 0);
	place_put(&f->place, "app/backups/20261121-nonsense/manifest.json", "{}", 2);
	place_put(&f->place, "app2/backups/20261121T031500Z-dddddddd/manifest.json", "{}", 2);
	for (size_t i = 0; i < array_len(cases); i++) {
		int rc = backup_set_resolve(f->r, "app", cases[i].which, &id, &f->err);

		if (cases[i].id) {
			assert_ok(rc, &f->err);
			assert_string_equal(id, cases[i].id);
			free(id);
		} else {
			assert_int_equal(rc, -1);
			assert_string_equal(f->err.detail, cases[i].detail);
			assert_error(rc, &f->err, ERR_CONFIG, cases[i].message);
		}
	}
}

static void a_list_tells_what_is_wrong(void **state)
{
	struct fixture *f = *state;
	struct backup_set_info *list = NULL;
	size_t count = 0;

	make_set(f, ID1);
	make_set(f, ID2);
	assert_int_equal(f->r->driver->ops->remove(f->r->driver, ARCHIVE(ID2), &f->err), 1);
	place_put(&f->place, MANIFEST(ID3), "{}", 2);
	assert_ok(backup_set_list(f->r, "app", &list, &count, &f->err), &f->err);
	assert_int_equal(count, 3);
	assert_string_equal(list[0].backup_id, ID1);
	assert_string_equal(list[0].stack, "app");
	assert_null(list[0].problem);
	assert_int_equal(list[0].rows, 100055);
	assert_int_equal(list[0].tables, 2);
	assert_string_equal(list[0].database, "shop");
	assert_string_equal(list[0].server_version, "15.20");
	assert_string_equal(list[1].problem, "archive is missing");
	assert_string_equal(list[2].problem, "manifest of backup set \"" ID3 "\": it is not the manifest of a backup");
	backup_set_list_release(list, count);
	place_put(&f->place, ARCHIVE(ID2), "short", 5);
	assert_ok(backup_set_list(f->r, NULL, &list, &count, &f->err), &f->err);
	assert_non_null(strstr(list[1].problem, "archive has 5 bytes instead of "));
	backup_set_list_release(list, count);
	assert_ok(backup_set_list(f->r, "other", &list, &count, &f->err), &f->err);
	assert_int_equal(count, 0);
	backup_set_list_release(list, count);
}

static void a_manifest_of_another_set_is_refused(void **state)
{
	struct fixture *f = *state;
	struct buf text cleanup(buf_release) = {0};
	struct manifest m cleanup(manifest_release) = {0};

	make_set(f, ID1);
	place_get(&f->place, MANIFEST(ID1), &text);
	place_put(&f->place, MANIFEST(ID2), text.data, text.len);
	assert_error(backup_set_load(f->r, "app", ID2, &m, &f->err), &f->err, ERR_CORRUPT,
		"manifest of backup set \"" ID2 "\": it is that of another set");
}

/* --- verifying ------------------------------------------------------------------------------------------------------------- */

static int verify(
	struct fixture *f, enum verify_level level, int jobs, void (*change)(struct manifest *m), struct verify_report *ret)
{
	struct manifest m cleanup(manifest_release) = {0};
	struct progress progress = {0};

	assert_int_equal(backup_set_load(f->r, "app", ID1, &m, &f->err), 1);
	if (change)
		change(&m);
	err_clear(&f->err);
	return backup_set_verify(f->r, "app", &m, level, jobs, &digest, NULL, &progress, ret, &f->err);
}

static void an_intact_set_is_verified_at_every_level(void **state)
{
	struct fixture *f = *state;
	struct verify_report report = {0};

	make_set(f, ID1);
	assert_ok(verify(f, VERIFY_QUICK, 1, NULL, &report), &f->err);
	assert_int_equal(report.members, 0);
	assert_ok(verify(f, VERIFY_CHECKSUMS, 1, NULL, &report), &f->err);
	assert_int_equal(report.members, 5);
	assert_int_equal(report.rows, 0);
	for (int jobs = 1; jobs <= 4; jobs++) {
		assert_ok(verify(f, VERIFY_CONTENT, jobs, NULL, &report), &f->err);
		assert_int_equal(report.members, 5);
		assert_int_equal(report.tables, 2);
		assert_int_equal(report.rows, 100055);
	}
}

static void a_flipped_bit_is_found_and_named(void **state)
{
	struct fixture *f = *state;
	struct manifest m cleanup(manifest_release) = {0};
	struct buf file cleanup(buf_release) = {0};
	struct verify_report report;
	static const enum verify_level levels[] = {VERIFY_CHECKSUMS, VERIFY_CONTENT};

	make_set(f, ID1);
	assert_int_equal(backup_set_load(f->r, "app", ID1, &m, &f->err), 1);
	place_get(&f->place, ARCHIVE(ID1), &file);
	for (size_t i = 0; i <= m.inventory.members_count; i++) {
		bool is_end = i == m.inventory.members_count;
		size_t at = is_end ? file.len - 20 : m.inventory.members[i].offset + m.inventory.members[i].stored_bytes / 2;

		file.data[at] ^= 0x10;
		place_put(&f->place, ARCHIVE(ID1), file.data, file.len);
		file.data[at] ^= 0x10;
		assert_ok(verify(f, VERIFY_QUICK, 1, NULL, &report), &f->err);
		for (size_t k = 0; k < array_len(levels); k++) {
			char *begins cleanup(mem_freep) = is_end
				? mem_printf("backup set \"" ID1 "\": archive \"" ARCHIVE(ID1) "\" is damaged: ")
				: mem_printf("backup set \"" ID1 "\": member \"%s\" of archive \"" ARCHIVE(ID1) "\" is damaged: ",
					  m.inventory.members[i].name);

			assert_int_equal(verify(f, levels[k], 3, NULL, &report), -1);
			assert_int_equal(f->err.class, ERR_CORRUPT);
			if (strncmp(f->err.message, begins, strlen(begins)) != 0)
				fail_msg("\"%s\" does not begin with \"%s\"", f->err.message, begins);
		}
	}
}

static void change_rows(struct manifest *m)
{
	m->inventory.members[2].rows++;
}
static void change_table_rows(struct manifest *m)
{
	m->inventory.tables[1].rows++;
}
static void change_digest(struct manifest *m)
{
	m->inventory.tables[1].digest.low++;
}
static void change_owner(struct manifest *m)
{
	m->inventory.tables[1].members[0] = 2;
}
static void change_members(struct manifest *m)
{
	m->inventory.tables[0].members_count = 1;
}
static void change_size(struct manifest *m)
{
	m->archive_bytes++;
}

static const struct {
	void (*change)(struct manifest *m);
	const char *message;
} changes[] = {
	{change_rows,
		"backup set \"" ID1
		"\": member \"data/00001.01.copy\" of archive \"" ARCHIVE(ID1) "\" has another number of rows"},
	{change_table_rows, "backup set \"" ID1 "\": table \"public\".\"small\" has another number of rows or bytes"},
	{change_digest, "backup set \"" ID1 "\": rows of table \"public\".\"small\" differ from their digest"},
	{change_owner, "backup set \"" ID1 "\": member \"data/00001.01.copy\" belongs to two tables"},
	{change_members, "backup set \"" ID1 "\": table \"public\".\"big\" has another number of rows or bytes"},
	{change_size, "backup set \"" ID1 "\": archive \"" ARCHIVE(ID1) "\" has another size"},
};

static void content_that_differs_from_its_manifest_is_found(void **state)
{
	struct fixture *f = *state;
	struct verify_report report;

	make_set(f, ID1);
	for (size_t i = 0; i < array_len(changes); i++)
		assert_error(verify(f, VERIFY_CONTENT, 2, changes[i].change, &report), &f->err, ERR_CORRUPT, changes[i].message);
}

static void a_missing_or_cut_archive_is_found_at_every_level(void **state)
{
	struct fixture *f = *state;
	struct verify_report report;
	char *path cleanup(mem_freep) = place_path(&f->place, ARCHIVE(ID1));

	make_set(f, ID1);
	assert_int_equal(truncate(path, 1000), 0);
	for (int level = VERIFY_QUICK; level <= VERIFY_CONTENT; level++)
		assert_error(verify(f, (enum verify_level)level, 2, NULL, &report), &f->err, ERR_CORRUPT,
			"backup set \"" ID1 "\": archive \"" ARCHIVE(ID1) "\" has another size");
	assert_int_equal(unlink(path), 0);
	for (int level = VERIFY_QUICK; level <= VERIFY_CONTENT; level++)
		assert_error(verify(f, (enum verify_level)level, 2, NULL, &report), &f->err, ERR_CORRUPT,
			"backup set \"" ID1 "\": archive \"" ARCHIVE(ID1) "\" is missing");
}

static void verifying_can_be_cancelled(void **state)
{
	struct fixture *f = *state;
	struct manifest m cleanup(manifest_release) = {0};
	struct verify_report report;
	struct cancel cancel;

	make_set(f, ID1);
	assert_int_equal(backup_set_load(f->r, "app", ID1, &m, &f->err), 1);
	assert_ok(cancel_init(&cancel, NULL, &f->err), &f->err);
	cancel_request(&cancel, CANCEL_SIGNAL);
	for (int level = VERIFY_CHECKSUMS; level <= VERIFY_CONTENT; level++) {
		assert_int_equal(
			backup_set_verify(f->r, "app", &m, (enum verify_level)level, 2, &digest, &cancel, NULL, &report, &f->err),
			-1);
		assert_int_equal(f->err.class, ERR_CANCELLED);
	}
	cancel_release(&cancel);
}

/* --- golden archive -------------------------------------------------------------------------------------------------------- */

/* Written once by the first version of the format; HOLDFAST_WRITE_GOLDEN makes it anew. */
static void the_first_set_stays_readable(void **state)
{
	struct fixture *f = *state;
	struct verify_report report = {0};
	static const struct {
		const char *golden, *key;
	} files[] = {{"tests/golden/set-1.tar.zst", ARCHIVE(ID1)}, {"tests/golden/set-1.json", MANIFEST(ID1)}};

	if (getenv("HOLDFAST_WRITE_GOLDEN"))
		make_set(f, ID1);
	for (size_t i = 0; i < array_len(files); i++) {
		struct buf b cleanup(buf_release) = {0};

		if (getenv("HOLDFAST_WRITE_GOLDEN")) {
			place_get(&f->place, files[i].key, &b);
			assert_ok(io_replace_file(files[i].golden, b.data, b.len, 0644, &f->err), &f->err);
		} else {
			assert_int_equal(io_read_file(files[i].golden, &b, &f->err), 1);
			place_put(&f->place, files[i].key, b.data, b.len);
		}
	}
	assert_ok(verify(f, VERIFY_CONTENT, 2, NULL, &report), &f->err);
	assert_int_equal(report.rows, 100055);
	assert_int_equal(report.members, 5);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_repository_is_made_once_and_found_again),
		TEST(urls_name_directories),
		TEST(bad_urls_are_refused),
		TEST(what_is_no_repository_is_left_alone),
		TEST(a_later_repository_is_refused),
		TEST(racing_hosts_get_the_same_repository),
		cmocka_unit_test(names_are_checked),
		TEST(a_set_exists_once_its_manifest_does),
		TEST(a_commit_may_be_repeated_but_not_changed),
		TEST(of_two_racing_commits_one_wins),
		TEST(sets_are_resolved),
		TEST(a_list_tells_what_is_wrong),
		TEST(a_manifest_of_another_set_is_refused),
		TEST(an_intact_set_is_verified_at_every_level),
		TEST(a_flipped_bit_is_found_and_named),
		TEST(content_that_differs_from_its_manifest_is_found),
		TEST(a_missing_or_cut_archive_is_found_at_every_level),
		TEST(verifying_can_be_cancelled),
		TEST(the_first_set_stays_readable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

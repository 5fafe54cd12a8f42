/*
 * The archive: what is written is read, by us and by stock tools, and nothing damaged is taken for whole.
 */
#include "tests/unit/storage_helper.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/child.h"
#include "base/io.h"
#include "storage/archive/format.h"

#define KEY "app/backups/1/backup.tar.zst"
#define MEMBERS_MAX 4096

/* What each test gets: a place, and an archive in it as it is described by ${members}. */
struct fixture {
	struct place place;
	struct arena arena;
	struct inv_member members[MEMBERS_MAX];
	size_t count;
	uint64_t bytes;
	uint8_t sha256[SHA256_BYTES];
	struct error err;
};

static int setup(void **state)
{
	struct fixture *f = mem_zalloc(sizeof(*f));

	place_make(&f->place);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	place_remove(&f->place);
	arena_release(&f->arena);
	err_clear(&f->err);
	free(f);
	return 0;
}

static struct archive_writer *open_writer(struct fixture *f)
{
	struct archive_writer_options o = {.driver = f->place.driver, .key = KEY, .tag = "run", .mtime_ms = 1763600000123};
	struct archive_writer *w = NULL;

	assert_ok(archive_writer_open(&o, &w, &f->err), &f->err);
	return w;
}

static void add(struct fixture *f, struct archive_writer *w, struct archive_member **m, const char *name, const void *p, size_t n)
{
	assert_true(f->count < MEMBERS_MAX);
	assert_ok(archive_member_begin(w, m, name, &f->err), &f->err);
	assert_ok(archive_member_write(*m, p, n, &f->err), &f->err);
	assert_int_equal(archive_member_content_bytes(*m), n);
	assert_ok(archive_member_end(*m, &f->arena, &f->members[f->count++], &f->err), &f->err);
}

static void commit(struct fixture *f, struct archive_writer *w)
{
	assert_ok(archive_writer_commit(w, &f->bytes, f->sha256, &f->err), &f->err);
}

static struct archive_reader *open_reader(struct fixture *f)
{
	struct archive_reader *r = NULL;

	assert_ok(archive_reader_open(f->place.driver, KEY, f->members, f->count, &r, &f->err), &f->err);
	return r;
}

static void assert_member(struct fixture *f, struct archive_reader *r, const struct inv_member *m, const void *p, size_t n)
{
	struct buf b cleanup(buf_release) = {0};

	assert_ok(archive_read_member_buf(r, m, &b, &f->err), &f->err);
	assert_int_equal(b.len, n);
	assert_memory_equal(buf_str(&b), p, n);
}

/* --- round trips ----------------------------------------------------------------------------------------------------------- */

static const size_t sizes[] = {0, 1, 511, 512, 513, ARCHIVE_FRAME_BYTES - 1024, ARCHIVE_FRAME_BYTES - 513,
	ARCHIVE_FRAME_BYTES - 512, ARCHIVE_FRAME_BYTES - 511, ARCHIVE_FRAME_BYTES - 1, ARCHIVE_FRAME_BYTES,
	ARCHIVE_FRAME_BYTES + 1, 2 * ARCHIVE_FRAME_BYTES - 512, 2 * ARCHIVE_FRAME_BYTES - 511, 5 * ARCHIVE_FRAME_BYTES + 12345,
	100};

static void contents_of_every_size_come_back(void **state)
{
	struct fixture *f = *state;
	struct archive_writer *w = open_writer(f);
	struct archive_member *m = NULL;
	struct archive_reader *r;
	char *p cleanup(mem_freep) = mem_alloc(6 * ARCHIVE_FRAME_BYTES);
	char name[64];

	for (size_t i = 0; i < array_len(sizes); i++) {
		content_fill(p, sizes[i], i);
		(void)snprintf(name, sizeof(name), "data/%05zu.00.copy", i);
		add(f, w, &m, name, p, sizes[i]);
	}
	archive_member_free(m);
	commit(f, w);
	r = open_reader(f);
	for (size_t i = array_len(sizes); i-- > 0;) {
		content_fill(p, sizes[i], i);
		assert_int_equal(f->members[i].content_bytes, sizes[i]);
		assert_int_equal(f->members[i].header_bytes, 512);
		assert_member(f, r, &f->members[i], p, sizes[i]);
	}
	archive_reader_close(r);
	assert_int_equal(place_count_files(&f->place), 1);
}

static void size_and_checksum_are_those_of_the_file(void **state)
{
	struct fixture *f = *state;
	struct archive_writer *w = open_writer(f);
	struct archive_member *m = NULL;
	struct buf file cleanup(buf_release) = {0};
	uint8_t sha256[SHA256_BYTES];

	add(f, w, &m, "a", "hello", 5);
	add(f, w, &m, "b", "world", 5);
	archive_member_free(m);
	commit(f, w);
	place_get(&f->place, KEY, &file);
	assert_int_equal(file.len, f->bytes);
	sha256_of(file.data, file.len, sha256);
	assert_memory_equal(sha256, f->sha256, SHA256_BYTES);
	for (size_t i = 0; i < f->count; i++) {
		sha256_of(file.data + f->members[i].offset, f->members[i].stored_bytes, sha256);
		assert_memory_equal(sha256, f->members[i].sha256, SHA256_BYTES);
	}
	assert_int_equal(f->members[0].offset, 0);
	assert_int_equal(f->members[1].offset, f->members[0].stored_bytes);
}

static void rows_are_put_into_the_window(void **state)
{
	struct fixture *f = *state;
	struct archive_writer *w = open_writer(f);
	struct archive_member *m = NULL;
	struct archive_reader *r;
	size_t n = 3 * ARCHIVE_FRAME_BYTES / 2, at = 0, room;
	char *p cleanup(mem_freep) = mem_alloc(n);

	content_fill(p, n, 7);
	assert_ok(archive_member_begin(w, &m, "data", &f->err), &f->err);
	assert_int_equal(archive_member_stored_bytes(m), 0);
	while (at < n) {
		char *to = archive_member_space(m, &room);
		size_t take = at % 1000 + 1;

		assert_true(room >= 1);
		take = take < room ? take : room;
		take = take < n - at ? take : n - at;
		memcpy(to, p + at, take);
		assert_ok(archive_member_advance(m, take, &f->err), &f->err);
		at += take;
	}
	assert_true(archive_member_stored_bytes(m) > 0);
	assert_ok(archive_member_end(m, &f->arena, &f->members[f->count++], &f->err), &f->err);
	archive_member_free(m);
	commit(f, w);
	r = open_reader(f);
	assert_member(f, r, &f->members[0], p, n);
	archive_reader_close(r);
}

static void a_dropped_member_is_not_in_the_archive(void **state)
{
	struct fixture *f = *state;
	struct archive_writer *w = open_writer(f);
	struct archive_member *m = NULL, *dropped = NULL;
	struct inv_member *scanned = NULL;
	size_t count = 0;

	add(f, w, &m, "a", "hello", 5);
	assert_ok(archive_member_begin(w, &dropped, "dropped", &f->err), &f->err);
	assert_ok(archive_member_write(dropped, "gone", 4, &f->err), &f->err);
	archive_member_free(dropped);
	assert_ok(archive_member_begin(w, &m, "begun again", &f->err), &f->err); /* the half-built one is forgotten */
	assert_ok(archive_member_write(m, "gone", 4, &f->err), &f->err);
	add(f, w, &m, "b", "world", 5);
	archive_member_free(m);
	commit(f, w);
	assert_ok(archive_scan(f->place.driver, KEY, &f->arena, &scanned, &count, &f->err), &f->err);
	assert_int_equal(count, 2);
	assert_string_equal(scanned[1].name, "b");
	assert_int_equal(scanned[1].content_bytes, 5);
	free(scanned);
}

/* Letters, multi-byte characters at odd places, and bytes that are no UTF-8. */
static char *long_name(size_t n, int kind)
{
	char *name = mem_zalloc(n + 1);

	for (size_t i = 0; i < n; i++)
		name[i] = i % 60 == 59 && i + 1 < n ? '/' : (char)('a' + i % 26);
	if (kind == 1 && n > 4)
		name[2] = (char)0xc3, name[3] = (char)0xa4;
	if (kind == 2 && n > 4)
		name[1] = (char)0xff;
	return name;
}

static void names_of_every_length_come_back(void **state)
{
	struct fixture *f = *state;
	static const size_t lengths[] = {1, 99, 100, 101, 155, 156, 200, 254, 255, 256, 257, 300, 1000, 4000};
	struct archive_writer *w = open_writer(f);
	struct archive_member *m = NULL;
	struct archive_reader *r;
	struct inv_member *scanned = NULL;
	size_t count = 0;

	for (int kind = 0; kind < 3; kind++)
		for (size_t i = 0; i < array_len(lengths); i++) {
			char *name cleanup(mem_freep) = long_name(lengths[i], kind);

			add(f, w, &m, name, name, lengths[i]);
		}
	archive_member_free(m);
	commit(f, w);
	r = open_reader(f);
	assert_ok(archive_scan(f->place.driver, KEY, &f->arena, &scanned, &count, &f->err), &f->err);
	assert_int_equal(count, f->count);
	for (size_t i = 0; i < f->count; i++) {
		char *name cleanup(mem_freep) = long_name(lengths[i % array_len(lengths)], (int)(i / array_len(lengths)));

		assert_string_equal(f->members[i].name, name);
		assert_string_equal(scanned[i].name, name);
		assert_member(f, r, &f->members[i], name, strlen(name));
	}
	free(scanned);
	archive_reader_close(r);
}

static void a_scan_finds_what_was_written(void **state)
{
	struct fixture *f = *state;
	struct archive_writer *w = open_writer(f);
	struct archive_member *m = NULL;
	char *p cleanup(mem_freep) = mem_alloc(6 * ARCHIVE_FRAME_BYTES);
	struct inv_member *scanned = NULL;
	size_t count = 0;
	char name[64];

	for (size_t i = 0; i < array_len(sizes); i++) {
		content_fill(p, sizes[i], i);
		(void)snprintf(name, sizeof(name), "data/%05zu.00.copy", i);
		add(f, w, &m, name, p, sizes[i]);
	}
	archive_member_free(m);
	commit(f, w);
	assert_ok(archive_scan(f->place.driver, KEY, &f->arena, &scanned, &count, &f->err), &f->err);
	assert_int_equal(count, f->count);
	for (size_t i = 0; i < count; i++) {
		assert_string_equal(scanned[i].name, f->members[i].name);
		assert_int_equal(scanned[i].offset, f->members[i].offset);
		assert_int_equal(scanned[i].stored_bytes, f->members[i].stored_bytes);
		assert_int_equal(scanned[i].header_bytes, f->members[i].header_bytes);
		assert_int_equal(scanned[i].content_bytes, f->members[i].content_bytes);
		assert_memory_equal(scanned[i].sha256, f->members[i].sha256, SHA256_BYTES);
	}
	free(scanned);
}

/* --- several threads ------------------------------------------------------------------------------------------------------- */

#define THREADS 4
#define MEMBERS_EACH 60

struct worker {
	pthread_t thread;
	struct fixture *f;
	struct archive_writer *w;
	struct archive_reader *r;
	int number;
	struct arena arena;
	struct inv_member members[MEMBERS_EACH];
	struct error err;
	int failures;
};

static size_t worker_size(int number, int i)
{
	return i % 20 == 7 ? ARCHIVE_FRAME_BYTES + (size_t)(number * 1000 + i) : (size_t)(i * 331 + number);
}

static void *write_members(void *ctx)
{
	struct worker *k = ctx;
	struct archive_member *m = NULL;
	char *p cleanup(mem_freep) = mem_alloc(2 * ARCHIVE_FRAME_BYTES);
	char name[64];

	for (int i = 0; i < MEMBERS_EACH; i++) {
		size_t n = worker_size(k->number, i);

		content_fill(p, n, (uint64_t)k->number * 1000 + (uint64_t)i);
		(void)snprintf(name, sizeof(name), "data/%d.%d", k->number, i);
		if (archive_member_begin(k->w, &m, name, &k->err) < 0 || archive_member_write(m, p, n, &k->err) < 0 ||
			archive_member_end(m, &k->arena, &k->members[i], &k->err) < 0)
			k->failures++;
	}
	archive_member_free(m);
	return NULL;
}

static void *read_members(void *ctx)
{
	struct worker *k = ctx;
	char *p cleanup(mem_freep) = mem_alloc(2 * ARCHIVE_FRAME_BYTES);

	for (int i = 0; i < MEMBERS_EACH; i++) {
		struct buf b cleanup(buf_release) = {0};
		size_t n = worker_size(k->number, i);

		content_fill(p, n, (uint64_t)k->number * 1000 + (uint64_t)i);
		if (archive_read_member_buf(k->r, &k->members[i], &b, &k->err) < 0 || b.len != n ||
			(n && memcmp(b.data, p, n) != 0))
			k->failures++;
	}
	return NULL;
}

static void run_workers(struct worker *workers, void *(*work)(void *))
{
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		assert_int_equal(workers[i].failures, 0);
	}
}

static void threads_write_and_read_at_once(void **state)
{
	struct fixture *f = *state;
	struct archive_writer *w = open_writer(f);
	struct worker *workers = mem_zalloc(THREADS * sizeof(*workers));
	struct archive_reader *r;
	struct inv_member *scanned = NULL;
	size_t count = 0;

	for (int i = 0; i < THREADS; i++) {
		workers[i].number = i;
		workers[i].w = w;
	}
	run_workers(workers, write_members);
	commit(f, w);
	r = open_reader(f);
	for (int i = 0; i < THREADS; i++)
		workers[i].r = r;
	run_workers(workers, read_members);
	archive_reader_close(r);
	assert_ok(archive_scan(f->place.driver, KEY, &f->arena, &scanned, &count, &f->err), &f->err);
	assert_int_equal(count, THREADS * MEMBERS_EACH);
	free(scanned);
	for (int i = 0; i < THREADS; i++)
		arena_release(&workers[i].arena);
	free(workers);
}

/* --- damage ---------------------------------------------------------------------------------------------------------------- */

/* One small member, one of three frames, one small. */
static void make_sample(struct fixture *f)
{
	struct archive_writer *w = open_writer(f);
	struct archive_member *m = NULL;
	char *p cleanup(mem_freep) = mem_alloc(3 * ARCHIVE_FRAME_BYTES);

	content_fill(p, 3 * ARCHIVE_FRAME_BYTES, 1);
	add(f, w, &m, "README", "read me\n", 8);
	memset(p + ARCHIVE_FRAME_BYTES / 2, 'x', 2 * ARCHIVE_FRAME_BYTES);
	add(f, w, &m, "data/00001.00.copy", p, 5 * ARCHIVE_FRAME_BYTES / 2);
	add(f, w, &m, "manifest.json", "{}\n", 3);
	archive_member_free(m);
	commit(f, w);
}

static int drop(void *ctx, const char *p, size_t n, struct error *err)
{
	(void)ctx;
	(void)p;
	(void)n;
	(void)err;
	return 0;
}

/* Reads all members; *ret_bad is the index of the one that failed (with its error in f->err), or count. */
static size_t first_bad_member(struct fixture *f)
{
	struct archive_reader *r = open_reader(f);
	size_t i = 0;

	err_clear(&f->err);
	while (i < f->count && archive_read_member(r, &f->members[i], drop, NULL, &f->err) == 0)
		i++;
	archive_reader_close(r);
	return i;
}

static void every_flipped_bit_is_found_and_named(void **state)
{
	struct fixture *f = *state;
	struct buf file cleanup(buf_release) = {0};
	struct inv_member *scanned = NULL;
	size_t count, step;

	make_sample(f);
	assert_int_equal(first_bad_member(f), f->count);
	place_get(&f->place, KEY, &file);
	for (size_t i = 0; i < f->count; i++) {
		const struct inv_member *m = &f->members[i];
		char *begins cleanup(mem_freep) = mem_printf("member \"%s\" of archive \"" KEY "\" is damaged: ", m->name);

		/* Every byte of what is small; of what is large its beginning, its end, and samples between. */
		for (size_t at = 0; at < m->stored_bytes; at += step) {
			step = at < 200 || at + 200 > m->stored_bytes ? 1 : m->stored_bytes / 50 + 1;
			file.data[m->offset + at] ^= (char)(1 << at % 8);
			place_put(&f->place, KEY, file.data, file.len);
			assert_int_equal(first_bad_member(f), i);
			assert_int_equal(f->err.class, ERR_CORRUPT);
			assert_memory_equal(f->err.message, begins, strlen(begins));
			file.data[m->offset + at] ^= (char)(1 << at % 8);
		}
	}
	/* Behind the members: the end of the tar and the seek table. */
	for (size_t at = f->members[f->count - 1].offset + f->members[f->count - 1].stored_bytes; at < file.len; at++) {
		file.data[at] ^= (char)(1 << at % 8);
		place_put(&f->place, KEY, file.data, file.len);
		assert_int_equal(archive_scan(f->place.driver, KEY, &f->arena, &scanned, &count, &f->err), -1);
		assert_int_equal(f->err.class, ERR_CORRUPT);
		assert_non_null(strstr(f->err.message, "archive \"" KEY "\" is damaged: "));
		file.data[at] ^= (char)(1 << at % 8);
	}
}

static void a_cut_archive_is_refused(void **state)
{
	struct fixture *f = *state;
	struct buf file cleanup(buf_release) = {0};
	struct archive_reader *r = NULL;
	struct inv_member *scanned = NULL;
	size_t count;

	make_sample(f);
	place_get(&f->place, KEY, &file);
	for (size_t cut = 0; cut < 20; cut++) {
		size_t n = cut < 10 ? file.len / 10 * cut : file.len - (cut - 9);

		place_put(&f->place, KEY, file.data, n);
		assert_int_equal(archive_scan(f->place.driver, KEY, &f->arena, &scanned, &count, &f->err), -1);
		assert_int_equal(f->err.class, ERR_CORRUPT);
		if (cut < 10)
			assert_error(archive_reader_open(f->place.driver, KEY, f->members, f->count, &r, &f->err), &f->err,
				ERR_CORRUPT, "archive \"" KEY "\" is shorter than its index says");
	}
	place_put(&f->place, KEY, file.data, 3);
	assert_error(archive_scan(f->place.driver, KEY, &f->arena, &scanned, &count, &f->err), &f->err, ERR_CORRUPT,
		"archive \"" KEY "\" is damaged: it is cut short");
	place_put(&f->place, KEY, file.data, file.len - 1);
	assert_error(archive_scan(f->place.driver, KEY, &f->arena, &scanned, &count, &f->err), &f->err, ERR_CORRUPT,
		"archive \"" KEY "\" is damaged: it does not end with a seek table");
}

static void an_archive_cut_while_it_is_read_is_found(void **state)
{
	struct fixture *f = *state;
	struct archive_reader *r;
	struct buf b cleanup(buf_release) = {0};
	char *path cleanup(mem_freep) = place_path(&f->place, KEY);
	struct buf file cleanup(buf_release) = {0};

	make_sample(f);
	place_get(&f->place, KEY, &file);
	r = open_reader(f);
	assert_int_equal(truncate(path, (off_t)f->members[1].offset + 1000), 0);
	assert_int_equal(archive_read_member_buf(r, &f->members[1], &b, &f->err), -1);
	assert_int_equal(f->err.class, ERR_CORRUPT);
	assert_non_null(strstr(f->err.message, "could not read member \"data/00001.00.copy\" of archive \"" KEY "\": "));
	assert_int_equal(unlink(path), 0);
	assert_error(
		archive_read_member_buf(r, &f->members[0], &b, &f->err), &f->err, ERR_CORRUPT, "archive \"" KEY "\" is missing");
	archive_reader_close(r);
	r = NULL;
	assert_error(archive_reader_open(f->place.driver, KEY, NULL, 0, &r, &f->err), &f->err, ERR_CORRUPT,
		"archive \"" KEY "\" is missing");
}

/* Each lie of an index, told with an intact archive. */
static const struct lie {
	const char *name;
	void (*tell)(struct inv_member *m);
	const char *found; /* after "is damaged: " */
} lies[];

static void lie_name(struct inv_member *m)
{
	m->name = "data/00002.00.copy";
}
static void lie_longer(struct inv_member *m)
{
	m->content_bytes++;
}
static void lie_header(struct inv_member *m)
{
	m->header_bytes += 512;
}
static void lie_header_odd(struct inv_member *m)
{
	m->header_bytes = 511;
}
static void lie_content_huge(struct inv_member *m)
{
	m->content_bytes = UINT64_MAX;
}
static void lie_stored(struct inv_member *m)
{
	m->stored_bytes -= 10;
}
static void lie_offset(struct inv_member *m)
{
	m->offset++;
	m->stored_bytes--;
}
static void lie_sha256(struct inv_member *m)
{
	m->sha256[31] ^= 1;
}
static void lie_nothing(struct inv_member *m)
{
	m->stored_bytes = 0;
}

static const struct lie lies[] = {
	{"another name", lie_name, "tar header has another name"},
	{"another size", lie_longer, "tar header has another size"},
	{"longer header", lie_header, "tar header is unreadable"},
	{"odd header", lie_header_odd, "its entry in the index is impossible"},
	{"impossible size", lie_content_huge, "its entry in the index is impossible"},
	{"fewer frames", lie_stored, "Src size is incorrect"},
	{"another place", lie_offset, "Unknown frame descriptor"},
	{"another checksum", lie_sha256, "its SHA-256 differs"},
	{"no frames", lie_nothing, "it is shorter than the index says"},
};

static void every_lie_of_an_index_is_found(void **state)
{
	struct fixture *f = *state;
	struct archive_reader *r;
	struct buf b cleanup(buf_release) = {0};

	make_sample(f);
	assert_int_equal(first_bad_member(f), f->count);
	r = open_reader(f);
	for (size_t i = 0; i < array_len(lies); i++) {
		struct inv_member m = f->members[0];
		char *message cleanup(mem_freep) = NULL;

		lies[i].tell(&m);
		message = mem_printf("member \"%s\" of archive \"" KEY "\" is damaged: %s", m.name, lies[i].found);
		assert_error(archive_read_member_buf(r, &m, &b, &f->err), &f->err, ERR_CORRUPT, message);
		assert_int_equal(b.len, 0);
	}
	archive_reader_close(r);
}

static int refuse(void *ctx, const char *p, size_t n, struct error *err)
{
	(void)p;
	assert_true(n <= ARCHIVE_FRAME_BYTES);
	if (++*(int *)ctx == 2)
		return err_set(err, ERR_FAILED, "server has gone away");
	return 0;
}

static void the_consumer_may_stop(void **state)
{
	struct fixture *f = *state;
	struct archive_reader *r;
	int calls = 0;

	make_sample(f);
	r = open_reader(f);
	assert_error(
		archive_read_member(r, &f->members[1], refuse, &calls, &f->err), &f->err, ERR_FAILED, "server has gone away");
	assert_int_equal(calls, 2);
	archive_reader_close(r);
}

/* --- failures of the place ------------------------------------------------------------------------------------------------- */

static struct driver_ops failing_ops;

static int fail_to_write(struct driver_upload *u, const void *p, size_t n, struct error *err)
{
	(void)u;
	(void)p;
	(void)n;
	return err_set(err, ERR_FULL, "no room");
}

static void a_failure_is_everybodys(void **state)
{
	struct fixture *f = *state;
	struct archive_writer *w;
	struct archive_member *m = NULL;
	struct inv_member ret;

	failing_ops = *f->place.driver->ops;
	failing_ops.upload_write = fail_to_write;
	f->place.driver->ops = &failing_ops;
	w = open_writer(f);
	for (int i = 0; i < 2; i++) { /* the second as if from another thread */
		assert_ok(archive_member_begin(w, &m, "a", &f->err), &f->err);
		assert_error(archive_member_end(m, &f->arena, &ret, &f->err), &f->err, ERR_FULL,
			"could not write archive \"" KEY "\": no room");
	}
	archive_member_free(m);
	assert_error(archive_writer_commit(w, &f->bytes, f->sha256, &f->err), &f->err, ERR_FULL,
		"could not write archive \"" KEY "\": no room");
	assert_int_equal(place_count_files(&f->place), 0);
}

static void an_archive_is_never_overwritten(void **state)
{
	struct fixture *f = *state;
	struct archive_writer *w;

	place_put(&f->place, KEY, "old", 3);
	w = open_writer(f);
	assert_int_equal(archive_writer_commit(w, &f->bytes, f->sha256, &f->err), -1);
	assert_int_equal(f->err.class, ERR_CONFLICT);
	w = open_writer(f);
	archive_writer_abort(w);
	archive_writer_abort(NULL);
	assert_int_equal(place_count_files(&f->place), 1);
}

/* --- stock tools ----------------------------------------------------------------------------------------------------------- */

static void run_tool(struct fixture *f, const char *const *argv, struct buf *ret_out)
{
	struct child_spec spec = {.argv = argv, .cwd = f->place.dir};
	struct child_result result = {0};

	assert_ok(child_run_ok(&spec, &result, &f->err), &f->err);
	assert_string_equal(buf_str(&result.err), "");
	if (ret_out)
		assert_ok(buf_append(ret_out, buf_str(&result.out), result.out.len, &f->err), &f->err);
	child_result_release(&result);
}

static void stock_tools_read_it(void **state)
{
	struct fixture *f = *state;
	struct archive_writer *w = open_writer(f);
	struct archive_member *m = NULL;
	struct buf list cleanup(buf_release) = {0}, bsd_list cleanup(buf_release) = {0}, expected cleanup(buf_release) = {0};
	char *p cleanup(mem_freep) = mem_alloc(6 * ARCHIVE_FRAME_BYTES);

	for (size_t i = 0; i < array_len(sizes); i++) {
		char *name cleanup(mem_freep) = i == 3 ? long_name(140, 0) : mem_printf("data/%05zu.00.copy", i);

		content_fill(p, sizes[i], i);
		add(f, w, &m, name, p, sizes[i]);
		buf_printf(&expected, "%s\n", name);
	}
	archive_member_free(m);
	commit(f, w);
	run_tool(f, (const char *const[]){"zstd", "-q", "-t", KEY, NULL}, NULL);
	run_tool(f, (const char *const[]){"tar", "--zstd", "-tf", KEY, NULL}, &list);
	run_tool(f, (const char *const[]){"bsdtar", "-tf", KEY, NULL}, &bsd_list);
	assert_string_equal(buf_str(&list), buf_str(&expected));
	assert_string_equal(buf_str(&bsd_list), buf_str(&expected));
	run_tool(f, (const char *const[]){"tar", "--zstd", "-xf", KEY, NULL}, NULL);
	for (size_t i = 0; i < array_len(sizes); i++) {
		struct buf got cleanup(buf_release) = {0};

		content_fill(p, sizes[i], i);
		place_get(&f->place, f->members[i].name, &got);
		assert_int_equal(got.len, sizes[i]);
		assert_memory_equal(buf_str(&got), p, sizes[i]);
	}
}

static void stock_tar_understands_names_beyond_ascii(void **state)
{
	struct fixture *f = *state;
	struct archive_writer *w = open_writer(f);
	struct archive_member *m = NULL;
	struct buf got cleanup(buf_release) = {0};

	add(f, w, &m,
		"files/gr\xc3\xbc\xc3\x9f"
		"e.txt",
		"hello", 5);
	archive_member_free(m);
	commit(f, w);
	run_tool(f, (const char *const[]){"tar", "--zstd", "-xf", KEY, NULL}, NULL);
	place_get(&f->place,
		"files/gr\xc3\xbc\xc3\x9f"
		"e.txt",
		&got);
	assert_string_equal(buf_str(&got), "hello");
}

/* --- the parts ------------------------------------------------------------------------------------------------------------- */

static void a_seek_table_comes_back(void **state)
{
	struct fixture *f = *state;
	struct seek_table t cleanup(seek_table_release) = {0}, got cleanup(seek_table_release) = {0};
	struct buf b cleanup(buf_release) = {0};
	static const uint8_t empty[] = {0x5e, 0x2a, 0x4d, 0x18, 9, 0, 0, 0, 0, 0, 0, 0, 0x80, 0xb1, 0xea, 0x92, 0x8f};

	assert_ok(seek_table_encode(&t, &b, &f->err), &f->err);
	assert_int_equal(b.len, sizeof(empty));
	assert_memory_equal(b.data, empty, sizeof(empty));
	b.len = 0;
	for (uint32_t i = 0; i < 1000; i++)
		seek_table_add(&t, &(struct seek_entry){i, i << 20, UINT32_MAX - i});
	assert_ok(seek_table_encode(&t, &b, &f->err), &f->err);
	assert_int_equal(seek_table_bytes((const uint8_t *)b.data + b.len - SEEK_FOOTER_BYTES), b.len);
	assert_ok(seek_table_decode((const uint8_t *)b.data, b.len, &got, &f->err), &f->err);
	assert_int_equal(got.count, t.count);
	assert_memory_equal(got.entries, t.entries, t.count * sizeof(*t.entries));
	assert_error(seek_table_decode((const uint8_t *)b.data, b.len - 1, &got, &f->err), &f->err, ERR_CORRUPT,
		"seek table is damaged");
	assert_error(seek_table_decode((const uint8_t *)b.data, 3, &got, &f->err), &f->err, ERR_CORRUPT, "seek table is damaged");
}

static void a_tar_header_comes_back_with_8_gib_and_more(void **state)
{
	struct fixture *f = *state;
	static const uint64_t contents[] = {0, 1, UINT64_C(077777777777), UINT64_C(0100000000000), UINT64_C(1) << 60};

	for (size_t i = 0; i < array_len(contents); i++) {
		struct buf b cleanup(buf_release) = {0};
		char *name cleanup(mem_freep) = NULL;
		uint64_t content = 99;

		assert_ok(tar_header_write("data/1", contents[i], 1763600000123, &b, &f->err), &f->err);
		assert_int_equal(tar_header_length(b.data, b.len), b.len);
		assert_int_equal(b.len, i < 3 ? 512 : 1536);
		assert_ok(tar_header_read(b.data, b.len, &name, &content, &f->err), &f->err);
		assert_string_equal(name, "data/1");
		assert_int_equal(content, contents[i]);
	}
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(contents_of_every_size_come_back),
		TEST(size_and_checksum_are_those_of_the_file),
		TEST(rows_are_put_into_the_window),
		TEST(a_dropped_member_is_not_in_the_archive),
		TEST(names_of_every_length_come_back),
		TEST(a_scan_finds_what_was_written),
		TEST(threads_write_and_read_at_once),
		TEST(every_flipped_bit_is_found_and_named),
		TEST(a_cut_archive_is_refused),
		TEST(an_archive_cut_while_it_is_read_is_found),
		TEST(every_lie_of_an_index_is_found),
		TEST(the_consumer_may_stop),
		TEST(a_failure_is_everybodys),
		TEST(an_archive_is_never_overwritten),
		TEST(stock_tools_read_it),
		TEST(stock_tar_understands_names_beyond_ascii),
		TEST(a_seek_table_comes_back),
		TEST(a_tar_header_comes_back_with_8_gib_and_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

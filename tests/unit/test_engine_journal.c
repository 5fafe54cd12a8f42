/* The journal's file: what is cut, what is refused, and what a failed append leaves. */
#include "tests/unit/engine_kinds.h"

#include <errno.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include "base/hash.h"
#include "orchestrator/engine/journal.h"
#include "orchestrator/engine/state.h"

/* Stands before the C library's: counts, notes what the file held, and fails when told to. */
static struct {
	int calls, fail_errno;
	off_t size;
} syncs;

int fdatasync(int fd)
{
	struct stat st;

	syncs.calls++;
	syncs.size = fstat(fd, &st) == 0 ? st.st_size : -1;
	errno = syncs.fail_errno;
	return syncs.fail_errno ? -1 : (int)syscall(SYS_fdatasync, fd);
}

struct fixture {
	char dir[64];
	char *path;
};

static int setup(void **state)
{
	struct fixture *f = mem_zalloc(sizeof(*f));

	strcpy(f->dir, "/tmp/hf-journal-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	f->path = io_path_join(f->dir, "journal");
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	struct error err cleanup(err_clear) = ERROR_INIT;

	assert_int_equal(io_remove_tree(f->dir, &err), 0);
	free(f->path);
	free(f);
	return 0;
}

static int count_records(void *ctx, const json_t *record, struct error *err)
{
	(void)record;
	(void)err;
	++*(int *)ctx;
	return 0;
}

static void write_three(const struct fixture *f)
{
	struct journal j cleanup(journal_close) = JOURNAL_INIT;
	struct error err cleanup(err_clear) = ERROR_INIT;

	for (int i = 1; i <= 3; i++) {
		json_t *r cleanup(json_decrefpp) = json_pack("{s:s, s:i}", "type", "test", "n", i);

		assert_int_equal(i == 1 ? journal_create(&j, f->path, r, &err) : journal_append(&j, r, &err), 0);
	}
}

static void read_whole(const struct fixture *f, struct buf *b)
{
	struct error err cleanup(err_clear) = ERROR_INIT;

	assert_int_equal(io_read_file(f->path, b, &err), 1);
}

static void put_whole(const struct fixture *f, const char *text, size_t n)
{
	struct error err cleanup(err_clear) = ERROR_INIT;

	assert_int_equal(io_replace_file(f->path, text, n, 0600, &err), 0);
}

/* "<crc> <json>\n" for a text of our own. */
static char *line_of(const char *json)
{
	return mem_printf("%08x %s\n", crc32c(json, strlen(json)), json);
}

static void a_record_is_a_checksum_and_a_line_of_json(void **state)
{
	struct fixture *f = *state;
	struct buf b cleanup(buf_release) = {0};
	char *line cleanup(mem_freep) = NULL, *first cleanup(mem_freep) = NULL;
	json_t *r cleanup(json_decrefpp) = NULL;

	write_three(f);
	read_whole(f, &b);
	first = mem_strndup(b.data + 9, strcspn(b.data + 9, "\n"));
	line = line_of(first);
	assert_memory_equal(b.data, line, strlen(line));
	r = json_loads(first, 0, NULL);
	assert_int_equal(json_integer_value(json_object_get(r, "seq")), 1);
	assert_int_equal(strlen(json_string_value(json_object_get(r, "at"))), strlen("2026-11-20T03:15:00.123Z"));
}

static void torn_tail_is_dropped_wherever_it_tears(void **state)
{
	struct fixture *f = *state;
	struct buf whole cleanup(buf_release) = {0};
	size_t two;

	write_three(f);
	read_whole(f, &whole);
	two = (size_t)(strchr(strchr(whole.data, '\n') + 1, '\n') + 1 - whole.data);
	for (size_t len = two; len <= whole.len; len++) {
		struct journal j cleanup(journal_close) = JOURNAL_INIT;
		struct error err cleanup(err_clear) = ERROR_INIT;
		struct buf left cleanup(buf_release) = {0};
		json_t *r cleanup(json_decrefpp) = json_pack("{s:s}", "type", "test");
		int n = 0, want = len == whole.len ? 3 : 2;

		put_whole(f, whole.data, len);
		assert_int_equal(journal_read(f->path, count_records, &n, &err), 1);
		assert_int_equal(n, want);
		read_whole(f, &left);
		assert_int_equal(left.len, len); /* reading changes nothing */
		n = 0;
		assert_int_equal(journal_open(&j, f->path, count_records, &n, &err), 0);
		assert_int_equal(n, want);
		assert_int_equal(journal_append(&j, r, &err), 0);
		n = 0;
		assert_int_equal(journal_read(f->path, count_records, &n, &err), 1);
		assert_int_equal(n, want + 1);
	}
}

static void zeros_after_a_power_cut_are_a_torn_tail(void **state)
{
	struct fixture *f = *state;
	struct journal j cleanup(journal_close) = JOURNAL_INIT;
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct buf whole cleanup(buf_release) = {0};
	int n = 0;

	write_three(f);
	read_whole(f, &whole);
	assert_int_equal(buf_append(&whole, "\0\0\0\0\0\0\0\0", 8, &err), 0);
	put_whole(f, whole.data, whole.len);
	assert_int_equal(journal_open(&j, f->path, count_records, &n, &err), 0);
	assert_int_equal(n, 3);
}

/* Any one byte changed before the last record is found, and the file is left as it was. */
static void damage_in_the_middle_is_refused(void **state)
{
	struct fixture *f = *state;
	struct buf whole cleanup(buf_release) = {0};
	size_t two;
	int n = 0;
	struct error intact cleanup(err_clear) = ERROR_INIT;

	write_three(f);
	assert_int_equal(journal_read(f->path, count_records, &n, &intact), 1);
	read_whole(f, &whole);
	two = (size_t)(strchr(strchr(whole.data, '\n') + 1, '\n') + 1 - whole.data);
	for (size_t i = 0; i < two; i++) {
		struct journal j cleanup(journal_close) = JOURNAL_INIT;
		struct error err cleanup(err_clear) = ERROR_INIT;
		struct buf after cleanup(buf_release) = {0};
		char *message cleanup(mem_freep) = NULL;

		whole.data[i] ^= 0x20;
		put_whole(f, whole.data, whole.len);
		assert_int_equal(journal_open(&j, f->path, count_records, &n, &err), -1);
		assert_int_equal(err.class, ERR_CORRUPT);
		message = mem_printf("journal \"%s\" is damaged: record %d does not agree with its checksum", f->path,
			memchr(whole.data, '\n', i) ? 2 : 1);
		if (whole.data[i] != ('\n' ^ 0x20))
			assert_string_equal(err.message, message);
		read_whole(f, &after);
		assert_int_equal(after.len, whole.len);
		assert_memory_equal(after.data, whole.data, whole.len);
		whole.data[i] ^= 0x20;
	}
}

static void gaps_and_strangers_are_refused(void **state)
{
	static const struct {
		const char *json, *message;
	} cases[] = {
		{"{\"seq\":5,\"type\":\"test\"}", "journal \"%s\" is damaged: record 4 has sequence number 5"},
		{"{\"seq\":3,\"type\":\"test\"}", "journal \"%s\" is damaged: record 4 has sequence number 3"},
		{"[4]", "journal \"%s\" is damaged: record 4 is no JSON object"},
	};
	struct fixture *f = *state;
	struct buf whole cleanup(buf_release) = {0};

	write_three(f);
	read_whole(f, &whole);
	for (size_t i = 0; i < array_len(cases); i++) {
		struct journal j cleanup(journal_close) = JOURNAL_INIT;
		struct error err cleanup(err_clear) = ERROR_INIT;
		char *line cleanup(mem_freep) = line_of(cases[i].json),
			   *all cleanup(mem_freep) = mem_printf("%s%s", whole.data, line);
		char *message cleanup(mem_freep) = NULL;
		int n = 0;

		put_whole(f, all, strlen(all));
		assert_int_equal(journal_open(&j, f->path, count_records, &n, &err), -1);
		assert_int_equal(err.class, ERR_CORRUPT);
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		message = mem_printf(cases[i].message, f->path);
#pragma GCC diagnostic warning "-Wformat-nonliteral"
		assert_string_equal(err.message, message);
	}
}

static void a_journal_without_a_whole_first_record_is_refused(void **state)
{
	static const char *const texts[] = {"", "12345678 {\"seq\":1", "12345678 {\"seq\":1}\n"};
	struct fixture *f = *state;
	char *message cleanup(mem_freep) = mem_printf("journal \"%s\" is damaged: record 1 is missing or incomplete", f->path);

	for (size_t i = 0; i < array_len(texts); i++) {
		struct journal j cleanup(journal_close) = JOURNAL_INIT;
		struct error err cleanup(err_clear) = ERROR_INIT;
		int n = 0;

		put_whole(f, texts[i], strlen(texts[i]));
		assert_int_equal(journal_open(&j, f->path, count_records, &n, &err), -1);
		assert_string_equal(err.message, message);
	}
}

static void a_full_disk_leaves_the_last_good_record(void **state)
{
	struct fixture *f = *state;
	struct journal j cleanup(journal_close) = JOURNAL_INIT;
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct buf before cleanup(buf_release) = {0}, after cleanup(buf_release) = {0};
	json_t *r cleanup(json_decrefpp) = json_pack("{s:s}", "type", "test");
	char *message cleanup(mem_freep) = mem_printf("could not write to journal \"%s\": %s", f->path, strerror(ENOSPC));
	struct rlimit old, low;
	int n = 0;

	write_three(f);
	read_whole(f, &before);
	(void)signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(journal_open(&j, f->path, count_records, &n, &err), 0);
	low = old;
	low.rlim_cur = before.len + 10; /* room for a part of the record */
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
	assert_int_equal(journal_append(&j, r, &err), -1);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_string_equal(err.message, message);
	assert_int_equal(err.class, ERR_FULL);
	read_whole(f, &after);
	assert_int_equal(after.len, before.len);
	assert_memory_equal(after.data, before.data, before.len);
	assert_int_equal(journal_append(&j, r, &err), 0); /* there is room again, and the file is whole */
	n = 0;
	assert_int_equal(journal_read(f->path, count_records, &n, &err), 1);
	assert_int_equal(n, 4);
}

static void a_record_is_synced_before_it_counts(void **state)
{
	struct fixture *f = *state;
	struct journal j cleanup(journal_close) = JOURNAL_INIT;
	struct error err cleanup(err_clear) = ERROR_INIT;

	for (int i = 1; i <= 3; i++) {
		json_t *r cleanup(json_decrefpp) = json_pack("{s:s}", "type", "test");

		syncs.calls = 0;
		assert_int_equal(i == 1 ? journal_create(&j, f->path, r, &err) : journal_append(&j, r, &err), 0);
		assert_int_equal(syncs.calls, 1);
		assert_int_equal(syncs.size, j.size_bytes); /* the whole record was written by then */
	}
}

/* The kernel may have thrown the pages away: a later sync that succeeds would prove nothing. */
static void nothing_is_appended_after_a_failed_sync(void **state)
{
	struct fixture *f = *state;
	struct journal j cleanup(journal_close) = JOURNAL_INIT;
	struct error err cleanup(err_clear) = ERROR_INIT;
	json_t *r cleanup(json_decrefpp) = json_pack("{s:s}", "type", "test");
	char *failed cleanup(mem_freep) = mem_printf("could not sync journal \"%s\": %s", f->path, strerror(EIO));
	char *message cleanup(mem_freep) = mem_printf("journal \"%s\" cannot be trusted since a write to it failed", f->path);
	int n = 0;

	write_three(f);
	assert_int_equal(journal_open(&j, f->path, count_records, &n, &err), 0);
	syncs.fail_errno = EIO;
	assert_int_equal(journal_append(&j, r, &err), -1);
	syncs.fail_errno = 0;
	assert_string_equal(err.message, failed);
	syncs.calls = 0;
	assert_int_equal(journal_append(&j, r, &err), -1);
	assert_string_equal(err.message, message);
	assert_int_equal(err.class, ERR_IO);
	assert_int_equal(syncs.calls, 0);
	n = 0;
	assert_int_equal(journal_read(f->path, count_records, &n, &err), 1);
	assert_int_equal(n, 3); /* no reader sees the record that may not be on disk */
}

/* Records that cannot follow each other, told by the state machine. */
static void impossible_histories_are_refused(void **state)
{
	static const char created[] =
		"{\"seq\":1,\"at\":\"2026-11-20T03:15:00.000Z\",\"type\":\"run.created\",\"format\":\"holdfast-journal/1\","
		"\"run\":\"r\",\"stack\":\"s\",\"plan\":\"p\",\"plan_sha256\":\"x\",\"parameters\":{},\"omitted\":[],\"redacted\":[],"
		"\"steps\":[{\"id\":\"a\",\"uses\":\"k\"},{\"id\":\"b\",\"uses\":\"k\"}]}";
	static const struct {
		const char *records[4]; /* after run.created; the last of them is wrong */
		const char *message;
	} cases[] = {
		{{"\"type\":\"step.done\",\"step\":\"a\",\"outputs\":{}"}, "a step is done that was not started"},
		{{"\"type\":\"step.started\",\"step\":\"a\",\"attempt\":2"}, "an attempt does not follow the one before it"},
		{{"\"type\":\"step.started\",\"step\":\"c\",\"attempt\":1"}, "the plan has no step \"c\""},
		{{"\"type\":\"step.started\",\"step\":\"a\",\"attempt\":1",
			 "\"type\":\"step.started\",\"step\":\"b\",\"attempt\":1"},
			"a step starts while another is in flight"},
		{{"\"type\":\"step.started\",\"step\":\"a\",\"attempt\":1", "\"type\":\"step.undone\",\"step\":\"a\""},
			"a step is undone that is not to be"},
		{{"\"type\":\"run.undoing\",\"reason\":\"failure\"", "\"type\":\"step.started\",\"step\":\"a\",\"attempt\":1"},
			"a step starts while the run is being undone"},
		{{"\"type\":\"run.finished\",\"status\":\"done\"", "\"type\":\"run.resumed\""},
			"the run is resumed after its end"},
		{{"\"type\":\"run.finished\",\"status\":\"done\"", "\"type\":\"step.started\",\"step\":\"a\",\"attempt\":1"},
			"something happens to a step after the run's end"},
		{{"\"type\":\"run.paraded\""}, "unknown type \"run.paraded\""},
		{{"\"type\":\"run.finished\",\"status\":\"fine\""}, "unknown status \"fine\""},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < array_len(cases); i++) {
		struct buf text cleanup(buf_release) = {0};
		struct error err cleanup(err_clear) = ERROR_INIT;
		struct run_state s cleanup(state_release) = {0};
		char *line = line_of(created), *message cleanup(mem_freep) = NULL;
		int n;

		buf_puts(&text, line);
		free(line);
		for (n = 0; n < 4 && cases[i].records[n]; n++) {
			char *json cleanup(mem_freep) = mem_printf(
				"{\"seq\":%d,\"at\":\"2026-11-20T03:15:01.000Z\",%s}", n + 2, cases[i].records[n]);

			line = line_of(json);
			buf_puts(&text, line);
			free(line);
		}
		put_whole(f, text.data, text.len);
		assert_int_equal(journal_read(f->path, state_apply, &s, &err), -1);
		message = mem_printf("journal \"%s\", record %d: %s", f->path, n + 1, cases[i].message);
		assert_string_equal(err.message, message);
		assert_int_equal(err.class, ERR_CORRUPT);
	}
}

#define with_fixture(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_fixture(a_record_is_a_checksum_and_a_line_of_json),
		with_fixture(torn_tail_is_dropped_wherever_it_tears),
		with_fixture(zeros_after_a_power_cut_are_a_torn_tail),
		with_fixture(damage_in_the_middle_is_refused),
		with_fixture(gaps_and_strangers_are_refused),
		with_fixture(a_journal_without_a_whole_first_record_is_refused),
		with_fixture(a_full_disk_leaves_the_last_good_record),
		with_fixture(a_record_is_synced_before_it_counts),
		with_fixture(nothing_is_appended_after_a_failed_sync),
		with_fixture(impossible_histories_are_refused),
	};

	return cmocka_run_group_tests_name("engine_journal", tests, NULL, NULL);
}

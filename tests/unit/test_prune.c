/*
 * Pruning one repository: what goes, in which order, what stops it, and what a kill between any two removals leaves.
 */
#include "tests/unit/storage_helper.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "storage/holds.h"
#include "storage/prune.h"

#define ID1 "20261116T031500Z-aaaaaaaa"
#define ID2 "20261117T031500Z-bbbbbbbb"
#define ID3 "20261118T031500Z-cccccccc"
#define ID4 "20261119T031500Z-dddddddd"
#define ID5 "20261120T031500Z-eeeeeeee"
#define KEY(id, name) "app/backups/" id "/" name
#define NOW "2026-11-20T12:00:00Z"
#define ARCHIVE_BYTES 1000

struct fixture {
	struct place place;
	struct repository *r;
	struct error err;
	struct retention_policy policy;
	struct prune_options options;
	struct prune_report report;
	struct buf told; /* warnings, one a line */
	struct event_sink sink;
};

static int64_t at(const char *text)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	int64_t ms;

	assert_ok(clock_parse(text, &ms, &err), &err);
	return ms;
}

static void hear(void *ctx, const struct event *ev)
{
	struct fixture *f = ctx;

	buf_printf(&f->told, "%s\n", ev->text);
}

static int setup(void **state)
{
	struct fixture *f = mem_zalloc(sizeof(*f));

	place_make(&f->place);
	assert_ok(repository_open("main", f->place.dir, true, &f->r, &f->err), &f->err);
	f->policy.keep_last = 2;
	f->sink = (struct event_sink){hear, f};
	f->options = (struct prune_options){
		.stack = "app", .policy = &f->policy, .time_zone = "UTC", .now_ms = at(NOW), .events = &f->sink};
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	prune_report_release(&f->report);
	buf_release(&f->told);
	repository_close(f->r);
	place_remove(&f->place);
	err_clear(&f->err);
	free(f);
	return 0;
}

/* An object as if it had been written at that time. */
static void put(struct fixture *f, const char *key, const void *bytes, size_t n, int64_t at_ms)
{
	char *path cleanup(mem_freep) = place_path(&f->place, key);
	struct timespec times[2] = {{at_ms / 1000, 0}, {at_ms / 1000, 0}};

	place_put(&f->place, key, bytes, n);
	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void put_text(struct fixture *f, const char *key, const char *text, const char *when)
{
	put(f, key, text, strlen(text), at(when));
}

/* "20261120T031500Z-…" */
static int64_t time_of(const char *id)
{
	char *text cleanup(mem_freep) = mem_printf("%.4s-%.2s-%.2sT%.2s:%.2s:00Z", id, id + 4, id + 6, id + 9, id + 11);

	return at(text);
}

static void put_archive(struct fixture *f, const char *id, size_t n)
{
	char *key cleanup(mem_freep) = repository_archive_key("app", id);
	char *bytes cleanup(mem_freep) = mem_zalloc(n);

	put(f, key, bytes, n, time_of(id));
}

static void make_set(struct fixture *f, const char *id)
{
	struct manifest m cleanup(manifest_release) = {
		.backup_id = mem_strdup(id),
		.stack = mem_strdup("app"),
		.archive_name = mem_strdup("backup.tar.zst"),
		.archive_bytes = ARCHIVE_BYTES,
		.has_archive = true,
		.started_at_ms = time_of(id),
		.ended_at_ms = time_of(id) + 60000,
	};
	char *key cleanup(mem_freep) = repository_manifest_key("app", id);
	struct buf text cleanup(buf_release) = {0};

	m.inventory.database = "shop";
	m.inventory.server_version_text = "15.20";
	put_archive(f, id, ARCHIVE_BYTES);
	assert_ok(manifest_write(&m, &text, &f->err), &f->err);
	put(f, key, text.data, text.len, time_of(id) + 60000);
}

static void make_five(struct fixture *f)
{
	static const char *const ids[] = {ID1, ID2, ID3, ID4, ID5};

	for (size_t i = 0; i < array_len(ids); i++)
		make_set(f, ids[i]);
}

static bool is_there(struct fixture *f, const char *key)
{
	char *path cleanup(mem_freep) = place_path(&f->place, key);

	return access(path, F_OK) == 0;
}

static int prune(struct fixture *f)
{
	prune_report_release(&f->report);
	f->told.len = 0;
	return prune_repository(f->r, &f->options, &f->report, &f->err);
}

/* "<day> <outcome>: reason, reason" of every set, divided by "; ". */
static void expect(struct fixture *f, const char *expected)
{
	struct buf got cleanup(buf_release) = {0};

	for (size_t i = 0; i < f->report.count; i++) {
		const struct prune_set *s = &f->report.sets[i];

		buf_printf(&got, "%s%.2s%s %s", i ? "; " : "", s->backup_id + 6, s->is_rubbish ? "r" : "",
			prune_outcome_name(s->outcome));
		for (size_t k = 0; k < s->reasons_count; k++)
			buf_printf(&got, "%s%s", k ? ", " : ": ", s->reasons[k]);
	}
	assert_string_equal(buf_str(&got), expected);
}

/* --- what goes ------------------------------------------------------------------------------------------------------------- */

static void the_policy_is_applied(void **state)
{
	struct fixture *f = *state;

	make_five(f);
	assert_ok(prune(f), &f->err);
	expect(f, "16 removed; 17 removed; 18 removed; 19 kept: keep_last 2; 20 kept: keep_last 1, last verified set");
	assert_int_equal(f->report.kept, 2);
	assert_int_equal(f->report.removed, 3);
	assert_int_equal(place_count_files(&f->place), 5); /* two sets, and that of the repository */
	assert_true(is_there(f, KEY(ID4, "manifest.json")));
	assert_true(is_there(f, KEY(ID5, "backup.tar.zst")));
	assert_string_equal(buf_str(&f->told), "");
	assert_ok(prune(f), &f->err);
	assert_int_equal(f->report.removed, 0);
}

static void a_dry_run_touches_nothing(void **state)
{
	struct fixture *f = *state;
	unsigned before;

	make_five(f);
	put_archive(f, "20261101T031500Z-99999999", 10);
	before = place_count_files(&f->place);
	f->options.is_dry_run = true;
	assert_ok(prune(f), &f->err);
	assert_int_equal(f->report.removed, 3);
	assert_int_equal(f->report.rubbish, 1);
	assert_int_equal(place_count_files(&f->place), before);
	f->options.is_dry_run = false;
	assert_ok(prune(f), &f->err);
	assert_true(place_count_files(&f->place) < before);
}

static void other_stacks_are_left_alone(void **state)
{
	struct fixture *f = *state;

	make_five(f);
	put_text(f, "app2/backups/" ID1 "/backup.tar.zst", "x", "2026-11-16T03:15:00Z");
	put_text(f, "app/backups/notes/keep.txt", "x", "2026-11-16T03:15:00Z");
	put_text(f, "app/drills/" ID1 ".json", "x", "2026-11-16T03:15:00Z");
	assert_ok(prune(f), &f->err);
	assert_int_equal(f->report.removed, 3);
	assert_true(is_there(f, "app2/backups/" ID1 "/backup.tar.zst"));
	assert_true(is_there(f, "app/backups/notes/keep.txt"));
	assert_true(is_there(f, "app/drills/" ID1 ".json"));
}

static void a_damaged_set_is_told_of_and_stays(void **state)
{
	struct fixture *f = *state;

	make_five(f);
	put_text(f, KEY(ID1, "manifest.json"), "{", "2026-11-16T03:15:00Z");
	put_archive(f, ID5, ARCHIVE_BYTES - 1);
	assert_ok(prune(f), &f->err);
	assert_int_equal(f->report.damaged, 2);
	assert_int_equal(f->report.kept, 4);
	assert_int_equal(f->report.removed, 1);
	assert_false(is_there(f, KEY(ID2, "manifest.json")));
	assert_non_null(strstr(buf_str(&f->told), "backup set \"" ID1 "\" in repository \"main\" is damaged, and was kept: "));
	assert_non_null(strstr(buf_str(&f->told),
		"backup set \"" ID5
		"\" in repository \"main\" is damaged, and was kept: archive has 999 bytes instead of 1000\n"));
}

/* What a list reads of a set instead of its manifest. */
static void put_facts(struct fixture *f, const char *id)
{
	char *key cleanup(mem_freep) = mem_printf("app/backups/%s/set.json", id);
	char at[2][CLOCK_TEXT_BYTES];
	char *text cleanup(mem_freep) = mem_printf(
		"{\"format\": \"holdfast-set/1\", \"id\": \"%s\", \"stack\": \"app\", \"started_at\": \"%s\", \"ended_at\": \"%s\", "
		"\"database\": \"shop\", \"server_version\": \"15\", \"tables\": 1, \"rows\": 1, \"content_bytes\": 1, "
		"\"archive\": {\"bytes\": 1000, \"encrypted\": false, \"body_bytes\": 1000, "
		"\"body_xxh3_128\": \"83d7f9f7c97ccec6e250572337d43f9a\"}}",
		id, clock_format(time_of(id), at[0]), clock_format(time_of(id) + 60000, at[1]));

	put(f, key, text, strlen(text), time_of(id) + 60000);
}

static void a_manifest_is_read_before_others_go_for_its_set(void **state)
{
	static const char *const ids[] = {ID1, ID2, ID3, ID4, ID5};
	struct fixture *f = *state;

	make_five(f);
	f->r->place->features |= DRIVER_REMOTE; /* the list of a local place reads manifests */
	for (size_t i = 0; i < array_len(ids); i++)
		put_facts(f, ids[i]);
	put_text(f, KEY(ID5, "manifest.json"), "{", "2026-11-20T03:16:00Z");
	put_text(f, KEY(ID3, "manifest.json"), "{", "2026-11-18T03:16:00Z");
	assert_ok(prune(f), &f->err);
	assert_int_equal(f->report.damaged, 2);
	assert_int_equal(f->report.kept, 4);
	assert_int_equal(f->report.removed, 1);
	assert_false(is_there(f, KEY(ID1, "manifest.json")));
	assert_string_equal(f->report.sets[3].reasons[0], "keep_last 1");
	assert_string_equal(f->report.sets[1].reasons[0], "keep_last 2");
	f->policy.keep_last = 9; /* nothing is to go: nothing is read */
	assert_ok(prune(f), &f->err);
	assert_int_equal(f->report.damaged, 0);
}

/* --- pins and holds -------------------------------------------------------------------------------------------------------- */

static void a_pinned_set_stays_until_it_is_unpinned(void **state)
{
	struct fixture *f = *state;
	struct hold *list = NULL;
	size_t count = 0;

	make_five(f);
	assert_int_equal(pin_put(f->r, "app", ID1, "before the \"big\" migration", &f->err), 1);
	assert_int_equal(pin_put(f->r, "app", ID1, "again", &f->err), 0);
	assert_ok(prune(f), &f->err);
	expect(f, "16 kept: pinned; 17 removed; 18 removed; 19 kept: keep_last 2; 20 kept: keep_last 1, last verified set");
	assert_true(f->report.sets[0].is_pinned);
	assert_true(is_there(f, KEY(ID1, "backup.tar.zst")));
	assert_ok(holds_list(f->r, "app", &list, &count, &f->err), &f->err);
	assert_int_equal(count, 1);
	assert_ptr_equal(holds_find_pin(list, count, "app", ID1), &list[0]);
	assert_null(holds_find_pin(list, count, "app", ID2));
	assert_null(holds_find_pin(list, count, "shop", ID1));
	assert_string_equal(list[0].reason, "before the \"big\" migration");
	assert_non_null(strchr(list[0].by, '@'));
	assert_true(clock_utc_ms() - list[0].put_at_ms < 60000);
	assert_false(hold_is_expired(&list[0], INT64_MAX));
	holds_list_release(list, count);
	assert_int_equal(pin_remove(f->r, "app", ID1, &f->err), 1);
	assert_int_equal(pin_remove(f->r, "app", ID1, &f->err), 0);
	assert_ok(prune(f), &f->err);
	expect(f, "16 removed; 19 kept: keep_last 2; 20 kept: keep_last 1, last verified set");
}

static void a_pin_counts_whatever_is_in_it(void **state)
{
	struct fixture *f = *state;

	make_five(f);
	put_text(f, KEY(ID1, "pinned"), "", "2026-11-16T03:15:00Z");
	put_text(f, KEY(ID2, "pinned"), "{\"format\": 1, \"reason\": []}", "2026-11-16T03:15:00Z");
	assert_ok(prune(f), &f->err);
	expect(f, "16 kept: pinned; 17 kept: pinned; 18 removed; 19 kept: keep_last 2; 20 kept: keep_last 1, last verified set");
}

#define HOLD(expires) \
	"{\"format\": \"holdfast-hold/1\", \"put_at\": \"2026-11-10T00:00:00Z\", \"expires_at\": \"" expires \
	"\", \"by\": \"root@far\", \"reason\": \"read by restore run \\\"r1\\\"\"}"

static void a_held_set_stays_until_the_hold_expires(void **state)
{
	struct fixture *f = *state;

	make_five(f);
	put_text(f, KEY(ID1, "hold-r1"), HOLD("2026-11-20T12:00:01Z"), "2026-11-10T00:00:00Z");
	put_text(f, KEY(ID2, "hold-r2"), HOLD("2026-11-20T12:00:00Z"), "2026-11-10T00:00:00Z");
	put_text(f, KEY(ID3, "hold-r3"), "torn", "2026-11-13T12:00:01Z");
	assert_ok(prune(f), &f->err);
	expect(f,
		"16 kept: read by restore run \"r1\" of root@far; 17 removed; 18 kept: needed by run \"r3\"; "
		"19 kept: keep_last 2; 20 kept: keep_last 1, last verified set");
	assert_false(is_there(f, KEY(ID2, "hold-r2")));
	f->options.now_ms += 1000;
	assert_ok(prune(f), &f->err);
	expect(f, "16 removed; 18 removed; 19 kept: keep_last 2; 20 kept: keep_last 1, last verified set");
}

static void a_hold_is_put_prolonged_and_removed(void **state)
{
	struct fixture *f = *state;
	struct hold *list = NULL;
	size_t count = 0;
	int64_t now = clock_utc_ms();

	make_five(f);
	assert_ok(hold_put(f->r, "app", ID1, "r1", "read by restore run \"r1\"", 1000, &f->err), &f->err);
	assert_ok(hold_put(f->r, "app", ID1, "r1", "read by restore run \"r1\"", 3600000, &f->err), &f->err);
	assert_ok(holds_list(f->r, NULL, &list, &count, &f->err), &f->err);
	assert_int_equal(count, 1);
	assert_string_equal(list[0].run_id, "r1");
	assert_false(hold_is_expired(&list[0], now + 3590000));
	assert_true(hold_is_expired(&list[0], now + 3700000));
	holds_list_release(list, count);
	assert_int_equal(hold_remove(f->r, "app", ID1, "r1", &f->err), 1);
	assert_int_equal(hold_remove(f->r, "app", ID1, "r1", &f->err), 0);
}

static void what_a_run_of_this_host_needs_stays(void **state)
{
	struct fixture *f = *state;
	char id1[] = ID1, id3[] = ID3, reads[] = "read by restore run \"x\"", needs[] = "needed by run \"y\"";
	const struct prune_use uses[] = {{.backup_id = id1, .reason = reads}, {.backup_id = id3, .reason = needs}};

	make_five(f);
	f->options.in_use = uses;
	f->options.in_use_count = 2;
	put_text(f, KEY(ID1, "hold-r1"), HOLD("2026-12-20T12:00:01Z"), "2026-11-10T00:00:00Z");
	assert_ok(prune(f), &f->err);
	expect(f,
		"16 kept: read by restore run \"x\"; read by restore run \"r1\" of root@far; 17 removed; 18 kept: needed by run "
		"\"y\"; 19 kept: keep_last 2; 20 kept: keep_last 1, last verified set");
}

/* --- rubbish --------------------------------------------------------------------------------------------------------------- */

static void an_archive_without_a_manifest_is_rubbish_after_a_day(void **state)
{
	static const char *const keys[] = {KEY(ID1, "backup.tar.zst"), KEY(ID2, "backup.tar.zst.age"), KEY(ID3, "set.json"),
		KEY(ID4, "backup.tar.zst"), "app/backups/20261199T031500Z-ffffffff/backup.tar.zst"};
	struct fixture *f = *state;

	for (size_t i = 0; i < array_len(keys); i++)
		put_text(f, keys[i], "x", "2026-11-16T03:15:00Z");
	put_text(f, KEY(ID4, "backup.tar.zst"), "x", "2026-11-19T12:00:00Z"); /* copied yesterday: a day old, and no more */
	put_text(f, KEY(ID5, "backup.tar.zst"), "x", "2026-11-16T03:15:00Z"); /* taken today, whatever its file says */
	assert_ok(prune(f), &f->err);
	expect(f,
		"16r removed: no manifest, and older than a day; 17r removed: no manifest, and older than a day; "
		"18r removed: no manifest, and older than a day");
	assert_int_equal(f->report.rubbish, 3);
	assert_int_equal(f->report.removed, 0);
	assert_true(is_there(f, keys[3]));
	assert_true(is_there(f, keys[4]));
	assert_true(is_there(f, KEY(ID5, "backup.tar.zst")));
	f->options.now_ms += 1000;
	assert_ok(prune(f), &f->err);
	expect(f, "19r removed: no manifest, and older than a day");
}

static void what_is_held_or_being_written_is_no_rubbish(void **state)
{
	struct fixture *f = *state;
	char id1[] = ID1, reason[] = "written by backup run \"x\"";
	const struct prune_use use = {.backup_id = id1, .reason = reason, .is_written = true};

	put_text(f, KEY(ID1, "backup.tar.zst"), "x", "2026-11-16T03:15:00Z");
	put_text(f, KEY(ID2, "backup.tar.zst"), "x", "2026-11-16T03:15:00Z");
	put_text(f, KEY(ID2, "hold-r1"), HOLD("2026-12-20T12:00:01Z"), "2026-11-10T00:00:00Z");
	put_text(f, KEY(ID3, "backup.tar.zst"), "x", "2026-11-16T03:15:00Z");
	put_text(f, KEY(ID3, "pinned"), "x", "2026-11-16T03:15:00Z");
	f->options.in_use = &use;
	f->options.in_use_count = 1;
	assert_ok(prune(f), &f->err);
	expect(f, "");
	f->options.in_use_count = 0;
	assert_ok(prune(f), &f->err);
	expect(f, "16r removed: no manifest, and older than a day");
}

static void unfinished_uploads_are_swept_after_a_day_unless_they_are_ours(void **state)
{
	struct fixture *f = *state;
	char id1[] = ID1, reason[] = "written by backup run \"x\"";
	const struct prune_use use = {.backup_id = id1, .reason = reason, .is_written = true};

	/* The driver goes by the host's clock. */
	put(f, KEY(ID1, ".backup.tar.zst.run.tmp"), "x", 1, clock_utc_ms() - INT64_C(25) * 3600 * 1000);
	put(f, KEY(ID2, ".backup.tar.zst.run.tmp"), "x", 1, clock_utc_ms() - INT64_C(23) * 3600 * 1000);
	f->options.in_use = &use;
	f->options.in_use_count = 1;
	assert_ok(prune(f), &f->err);
	assert_int_equal(f->report.uploads, 0);
	f->options.in_use_count = 0;
	assert_ok(prune(f), &f->err);
	assert_int_equal(f->report.uploads, 1);
	assert_true(is_there(f, KEY(ID2, ".backup.tar.zst.run.tmp")));
}

/* --- what goes wrong ------------------------------------------------------------------------------------------------------- */

/* A driver that refuses to remove what has ${pattern} in its key, and puts an object before it lists a prefix. */
static struct {
	const struct driver_ops *inner;
	const char *pattern, *list_prefix, *put_key;
	enum err_class class;
	bool is_sweep_refused;
	unsigned kill_after; /* removals; 0: never */
} fault;

static int faulty_remove(struct driver *d, const char *key, struct error *err)
{
	int rc;

	if (fault.pattern && strstr(key, fault.pattern))
		return err_set(err, fault.class, "no removal of \"%s\"", strrchr(key, '/') + 1);
	rc = fault.inner->remove(d, key, err);
	if (fault.kill_after && --fault.kill_after == 0)
		(void)raise(SIGKILL);
	return rc;
}

static int faulty_sweep(struct driver *d, const char *prefix, int64_t older_than_ms, unsigned *ret_count, struct error *err)
{
	if (fault.is_sweep_refused)
		return err_set(err, ERR_DENIED, "no sweeping");
	return fault.inner->sweep(d, prefix, older_than_ms, ret_count, err);
}

static int faulty_list(struct driver *d, const char *prefix,
	int (*each)(void *ctx, const struct driver_object *o, struct error *err), void *ctx, struct error *err)
{
	const struct driver_target t = {.key = fault.put_key, .tag = "t"};

	if (fault.list_prefix && strcmp(prefix, fault.list_prefix) == 0)
		assert_int_equal(fault.inner->put(d, &t, "{}", 2, err), 0);
	return fault.inner->list(d, prefix, each, ctx, err);
}

static void inject(struct fixture *f)
{
	static struct driver_ops ops;

	memset(&fault, 0, sizeof(fault));
	fault.inner = f->r->driver->ops;
	ops = *fault.inner;
	ops.remove = faulty_remove;
	ops.sweep = faulty_sweep;
	ops.list = faulty_list;
	f->r->driver->ops = &ops;
}

static void what_a_lock_holds_is_reported_and_no_error(void **state)
{
	struct fixture *f = *state;

	make_five(f);
	inject(f);
	fault.pattern = ID1 "/manifest.json";
	fault.class = ERR_REFUSED;
	assert_ok(prune(f), &f->err);
	assert_int_equal(f->report.locked, 1);
	assert_int_equal(f->report.removed, 2);
	assert_int_equal(f->report.sets[0].outcome, PRUNE_LOCKED);
	assert_string_equal(f->report.sets[0].message, "no removal of \"manifest.json\"");
	assert_string_equal(buf_str(&f->told),
		"backup set \"" ID1 "\" in repository \"main\" cannot be removed yet: no removal of \"manifest.json\"\n");
	assert_true(is_there(f, KEY(ID1, "backup.tar.zst")));
	f->r->driver->ops = fault.inner;
}

static void a_failure_does_not_stop_the_others(void **state)
{
	struct fixture *f = *state;

	make_five(f);
	inject(f);
	fault.pattern = ID1;
	fault.class = ERR_DENIED;
	assert_int_equal(prune(f), -1);
	assert_string_equal(f->err.detail, "The first reason: no removal of \"manifest.json\".");
	assert_error(-1, &f->err, ERR_FAILED, "could not remove 1 of 3 backup sets of stack \"app\" from repository \"main\"");
	assert_int_equal(f->report.failed, 1);
	assert_int_equal(f->report.removed, 2);
	assert_true(is_there(f, KEY(ID1, "backup.tar.zst")));
	assert_false(is_there(f, KEY(ID2, "backup.tar.zst")));
	fault.class = ERR_RETRY;
	assert_error(
		prune(f), &f->err, ERR_RETRY, "could not remove 1 of 1 backup sets of stack \"app\" from repository \"main\"");
	fault.pattern = NULL;
	fault.is_sweep_refused = true;
	assert_error(
		prune(f), &f->err, ERR_FAILED, "could not remove unfinished uploads of stack \"app\" from repository \"main\"");
	assert_string_equal(buf_str(&f->told), "unfinished uploads in repository \"main\" could not be removed: no sweeping\n");
	assert_false(is_there(f, KEY(ID1, "backup.tar.zst")));
	f->r->driver->ops = fault.inner;
}

static void what_is_left_of_a_set_goes_with_the_next_prune(void **state)
{
	struct fixture *f = *state;

	make_five(f);
	inject(f);
	fault.pattern = "backup.tar.zst";
	fault.class = ERR_IO;
	assert_error(
		prune(f), &f->err, ERR_FAILED, "could not remove 3 of 3 backup sets of stack \"app\" from repository \"main\"");
	assert_false(is_there(f, KEY(ID1, "manifest.json")));
	f->r->driver->ops = fault.inner;
	assert_ok(prune(f), &f->err);
	assert_int_equal(f->report.rubbish, 3);
	assert_int_equal(place_count_files(&f->place), 5);
}

static void a_set_that_was_pinned_meanwhile_stays(void **state)
{
	static const char *const names[] = {KEY(ID1, "pinned"), KEY(ID1, "hold-r1")};
	struct fixture *f = *state;

	for (size_t i = 0; i < array_len(names); i++) {
		char *path cleanup(mem_freep) = place_path(&f->place, names[i]);

		make_five(f);
		inject(f);
		fault.list_prefix = "app/backups/" ID1 "/";
		fault.put_key = names[i];
		assert_ok(prune(f), &f->err);
		expect(f,
			"16 kept: pinned or held meanwhile; 17 removed; 18 removed; 19 kept: keep_last 2; "
			"20 kept: keep_last 1, last verified set");
		assert_int_equal(f->report.kept, 3);
		assert_true(is_there(f, KEY(ID1, "manifest.json")));
		f->r->driver->ops = fault.inner;
		assert_int_equal(unlink(path), 0);
	}
}

/* --- killed ---------------------------------------------------------------------------------------------------------------- */

/* Prunes in a process of its own that dies after its nth removal.  True when it came to an end instead. */
static bool prune_killed(struct fixture *f, unsigned nth)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		inject(f);
		fault.kill_after = nth;
		_exit(prune_repository(f->r, &f->options, &f->report, &f->err) == 0 ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status)) {
		assert_int_equal(WEXITSTATUS(status), 0);
		return true;
	}
	assert_int_equal(WTERMSIG(status), SIGKILL);
	return false;
}

static void check_sets_are_whole(struct fixture *f)
{
	struct backup_set_info *list = NULL;
	size_t count = 0;

	assert_ok(backup_set_list(f->r, "app", &list, &count, &f->err), &f->err);
	assert_true(count >= 2);
	for (size_t i = 0; i < count; i++)
		assert_null(list[i].problem);
	assert_string_equal(list[count - 1].backup_id, ID5);
	assert_string_equal(list[count - 2].backup_id, ID4);
	backup_set_list_release(list, count);
}

static void a_kill_between_any_two_removals_leaves_only_whole_sets(void **state)
{
	struct fixture *f = *state;
	bool is_done = false;
	unsigned kills = 0;

	for (unsigned nth = 1; !is_done; nth++) {
		make_five(f);
		put_text(f, KEY(ID1, "set.json"), "{}", "2026-11-16T03:15:00Z");
		put_text(f, KEY(ID1, "hold-old"), HOLD("2026-11-19T00:00:00Z"), "2026-11-10T00:00:00Z");
		put_text(f, KEY(ID2, "set.json"), "{}", "2026-11-17T03:15:00Z");
		is_done = prune_killed(f, nth);
		kills += !is_done;
		check_sets_are_whole(f);
		assert_ok(prune(f), &f->err);
		assert_int_equal(place_count_files(&f->place), 5);
		check_sets_are_whole(f);
	}
	assert_int_equal(kills, 9); /* four objects of the first set, three of the second, two of the third */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_policy_is_applied, setup, teardown),
		cmocka_unit_test_setup_teardown(a_dry_run_touches_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(other_stacks_are_left_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(a_damaged_set_is_told_of_and_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(a_manifest_is_read_before_others_go_for_its_set, setup, teardown),
		cmocka_unit_test_setup_teardown(a_pinned_set_stays_until_it_is_unpinned, setup, teardown),
		cmocka_unit_test_setup_teardown(a_pin_counts_whatever_is_in_it, setup, teardown),
		cmocka_unit_test_setup_teardown(a_held_set_stays_until_the_hold_expires, setup, teardown),
		cmocka_unit_test_setup_teardown(a_hold_is_put_prolonged_and_removed, setup, teardown),
		cmocka_unit_test_setup_teardown(what_a_run_of_this_host_needs_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(an_archive_without_a_manifest_is_rubbish_after_a_day, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_held_or_being_written_is_no_rubbish, setup, teardown),
		cmocka_unit_test_setup_teardown(unfinished_uploads_are_swept_after_a_day_unless_they_are_ours, setup, teardown),
		cmocka_unit_test_setup_teardown(what_a_lock_holds_is_reported_and_no_error, setup, teardown),
		cmocka_unit_test_setup_teardown(a_failure_does_not_stop_the_others, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_left_of_a_set_goes_with_the_next_prune, setup, teardown),
		cmocka_unit_test_setup_teardown(a_set_that_was_pinned_meanwhile_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(a_kill_between_any_two_removals_leaves_only_whole_sets, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

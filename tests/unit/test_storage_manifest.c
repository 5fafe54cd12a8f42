/*
 * The manifest: every field comes back, names of every encoding too; files of this version stay readable; what is damaged is
 * told apart from what is newer.
 */
#include "tests/unit/storage_helper.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/json.h"
#include "storage/repository.h"

#define WHAT "manifest of backup set \"x\""

/* Every field filled, none with what a zeroed struct has. */
static void fill(struct manifest *m)
{
	struct inventory *inv = &m->inventory;
	static const char *columns[] = {"id", "Größe", "a \"b\"\\\t\n\x01"},
			  *latin1[] = {"gr\xfc\xdf"
				       "e"};
	static size_t first[] = {2, 1}, second[] = {3};

	m->backup_id = mem_strdup("20261120T031500Z-7f3a91c2");
	m->stack = mem_strdup("shop");
	m->host = mem_strdup("db1.example.net");
	m->tool_version = mem_strdup("holdfast 0.1.0");
	m->app_version = mem_strdup("4.2.0");
	m->started_at_ms = 1795144500000;
	m->ended_at_ms = 1795144512345;
	m->archive_name = mem_strdup("backup.tar.zst");
	m->archive_bytes = 123456789;
	memset(m->archive_sha256, 0xa5, SHA256_BYTES);
	m->has_archive = true;
	inv->server_version = 150020;
	inv->server_version_text = "15.20 (Debian 15.20-0+deb12u1)";
	inv->system_identifier = "7561234567890123456";
	inv->dump_tool = "pg_dump (PostgreSQL) 15.20";
	inv->database = "shop";
	inv->owner = "shop_owner";
	inv->encoding = "UTF8";
	inv->collate = "de_DE.UTF-8";
	inv->ctype = "en_US.UTF-8";
	inv->locale_provider = "icu";
	inv->icu_locale = "de-DE";
	inv->collation_version = "153.14";
	inv->connection_limit = -1;
	inv->tablespace = "fast";
	inv->database_bytes = 987654321;
	inv->comment = "the shop's\nown";
	inv->snapshot_lsn = "0/1A2B3C4D";
	inv->snapshot_at_ms = 1795144500250;
	for (unsigned i = 0; i < 4; i++) {
		static const char *const names[] = {"README", "data/00001.01.copy", "data/00001.00.copy", "data/00002.00.copy"};

		*inventory_add(inv, members) = (struct inv_member){.name = names[i],
			.offset = i * 1000,
			.stored_bytes = 900 + i,
			.header_bytes = 512,
			.content_bytes = 5000 + i,
			.rows = i * 10,
			.sha256 = {(uint8_t)i, 1, 2}};
	}
	*inventory_add(inv, tables) = (struct inv_table){.oid = 16385,
		.schema = "public",
		.name = "Größen",
		.kind = INV_TABLE,
		.columns = columns,
		.columns_count = 3,
		.rows = 30,
		.content_bytes = 10003,
		.digest = {UINT64_MAX, 1},
		.members = first,
		.members_count = 2,
		.source_bytes = 65536};
	*inventory_add(inv, tables) = (struct inv_table){.oid = UINT32_MAX,
		.schema = "\xe4",
		.name = "\xff\xfe",
		.kind = INV_EXTENSION_CONFIG,
		.columns = latin1,
		.columns_count = 1,
		.condition = "WHERE id > 100",
		.rows = 31,
		.content_bytes = 5003,
		.digest = {1, UINT64_MAX},
		.members = second,
		.members_count = 1};
	*inventory_add(inv, tables) = (struct inv_table){.oid = 1, .schema = "", .name = "", .kind = INV_LARGE_OBJECTS};
	*inventory_add(inv, tables) = (struct inv_table){.oid = 2, .schema = "s", .name = "u", .kind = INV_UNLOGGED};
	*inventory_add(inv, sequences) = (struct inv_sequence){
		.oid = 16400, .schema = "public", .name = "s", .last_value = INT64_MIN, .is_called = true};
	*inventory_add(inv, sequences) = (struct inv_sequence){
		.oid = 1, .schema = "public", .name = "t", .last_value = INT64_MAX};
	*inventory_add(inv, matviews) = (struct inv_matview){.schema = "public", .name = "mv", .is_populated = true};
	*inventory_add(inv, left_out) = (struct inv_left_out){
		.kind = "foreign table", .schema = "public", .name = "remote", .reason = "rows are elsewhere"};
	*inventory_add(inv, left_out) = (struct inv_left_out){
		.kind = "replication slot", .name = "slot", .reason = "never dumped"};
	*inventory_add(inv, extensions) = (struct inv_extension){.name = "postgis", .version = "3.3.2", .schema = "public"};
	*inventory_add(inv, collations) = (struct inv_collation){.provider = "icu", .version = "153.14"};
	*inventory_add(inv, collations) = (struct inv_collation){
		.schema = "public", .name = "german", .provider = "icu", .version = "153.14"};
	*inventory_add(inv, roles) = (struct inv_role){.name = "shop_owner", .why = "owner"};
	*inventory_add(inv, slots) = (struct inv_slot){
		.name = "slot", .plugin = "pgoutput", .is_logical = true, .is_active = true};
	*inventory_add(inv, slots) = (struct inv_slot){.name = "physical"};
	*inventory_add(inv, settings) = (struct inv_setting){.setting = "work_mem=64MB"};
	*inventory_add(inv, settings) = (struct inv_setting){.role = "app", .setting = "search_path=a, b"};
	*inventory_add(inv, publications) = "pub";
	*inventory_add(inv, subscriptions) = "sub";
	*inventory_add(inv, tablespaces) = "fast";
	*inventory_add(inv, acl) = "=Tc/shop_owner";
	*inventory_add(inv, acl) = "app=c/shop_owner";
}

static char *write_text(const struct manifest *m)
{
	struct buf b = {0};
	struct error err cleanup(err_clear) = ERROR_INIT;

	assert_ok(manifest_write(m, &b, &err), &err);
	return buf_take(&b);
}

static char *filled_text(void)
{
	struct manifest m cleanup(manifest_release) = {0};

	fill(&m);
	return write_text(&m);
}

static void assert_same(const char *a, const char *b)
{
	if (a && b)
		assert_string_equal(a, b);
	else
		assert_true(a == b);
}

/* Field by field where writing it again could hide what both directions drop. */
static void assert_filled(const struct manifest *got)
{
	struct manifest want cleanup(manifest_release) = {0};
	const struct inventory *g = &got->inventory, *w = &want.inventory;

	fill(&want);
	assert_same(got->app_version, want.app_version);
	assert_int_equal(got->ended_at_ms, want.ended_at_ms);
	assert_memory_equal(got->archive_sha256, want.archive_sha256, SHA256_BYTES);
	assert_same(g->comment, w->comment);
	assert_int_equal(g->snapshot_at_ms, w->snapshot_at_ms);
	assert_int_equal(g->tables_count, 4);
	for (size_t i = 0; i < g->tables_count; i++) {
		const struct inv_table *a = &g->tables[i], *b = &w->tables[i];

		assert_int_equal(a->oid, b->oid);
		assert_same(a->schema, b->schema);
		assert_same(a->name, b->name);
		assert_same(a->condition, b->condition);
		assert_int_equal(a->kind, b->kind);
		assert_int_equal(a->rows, b->rows);
		assert_true(row_digest_equal(&a->digest, &b->digest));
		assert_int_equal(a->columns_count, b->columns_count);
		for (size_t k = 0; k < a->columns_count; k++)
			assert_same(a->columns[k], b->columns[k]);
		assert_int_equal(a->members_count, b->members_count);
		for (size_t k = 0; k < a->members_count; k++)
			assert_int_equal(a->members[k], b->members[k]);
	}
	assert_int_equal(g->members_count, 4);
	for (size_t i = 0; i < g->members_count; i++) {
		assert_same(g->members[i].name, w->members[i].name);
		assert_int_equal(g->members[i].offset, w->members[i].offset);
		assert_memory_equal(g->members[i].sha256, w->members[i].sha256, SHA256_BYTES);
	}
	assert_true(g->sequences[0].last_value == INT64_MIN && g->sequences[0].is_called);
	assert_true(g->sequences[1].last_value == INT64_MAX && !g->sequences[1].is_called);
	assert_null(g->left_out[1].schema);
	assert_null(g->collations[0].name);
	assert_null(g->settings[0].role);
	assert_same(g->settings[1].role, "app");
	assert_int_equal(g->acl_count, 2);
	assert_same(g->acl[1], "app=c/shop_owner");
}

static void every_field_comes_back(void **state)
{
	char *text cleanup(mem_freep) = filled_text(), *again cleanup(mem_freep) = NULL;
	struct manifest m cleanup(manifest_release) = {0};
	struct error err cleanup(err_clear) = ERROR_INIT;

	(void)state;
	assert_ok(manifest_parse(text, strlen(text), WHAT, &m, &err), &err);
	assert_filled(&m);
	again = write_text(&m);
	assert_string_equal(again, text);
}

static void absent_and_empty_stay_apart(void **state)
{
	struct manifest m cleanup(manifest_release) = {0}, got cleanup(manifest_release) = {0};
	char *text cleanup(mem_freep) = NULL;
	struct error err cleanup(err_clear) = ERROR_INIT;

	(void)state;
	m.backup_id = mem_strdup("20261120T031500Z-7f3a91c2");
	m.stack = mem_strdup("shop");
	m.inventory.database = "d";
	m.inventory.comment = "";
	text = write_text(&m);
	assert_ok(manifest_parse(text, strlen(text), WHAT, &got, &err), &err);
	assert_null(got.app_version);
	assert_null(got.archive_name);
	assert_false(got.has_archive);
	assert_null(got.inventory.owner);
	assert_same(got.inventory.comment, "");
	assert_null(got.inventory.acl);
	manifest_release(&got);

	m.inventory.acl = inventory_grow(NULL, &m.inventory.acl_cap, 0, sizeof(char *)); /* a list of nobody */
	free(text);
	text = write_text(&m);
	assert_ok(manifest_parse(text, strlen(text), WHAT, &got, &err), &err);
	assert_non_null(got.inventory.acl);
	assert_int_equal(got.inventory.acl_count, 0);
}

static void a_table_is_a_line(void **state)
{
	char *text cleanup(mem_freep) = filled_text();

	(void)state;
	assert_non_null(strstr(text, "\n    {\"oid\":16385,\"schema\":\"public\",\"name\":\"Größen\",\"kind\":\"table\","));
	assert_non_null(strstr(text, "\"schema\":{\"bytes\":\"e4\"},\"name\":{\"bytes\":\"fffe\"}"));
}

static void a_name_that_is_missing_is_not_written(void **state)
{
	struct manifest m cleanup(manifest_release) = {0};
	struct buf b cleanup(buf_release) = {0};
	struct error err cleanup(err_clear) = ERROR_INIT;

	(void)state;
	fill(&m);
	m.inventory.tables[0].name = NULL;
	assert_error(manifest_write(&m, &b, &err), &err, ERR_BUG, "manifest lacks \"name\"");
}

/* --- golden files ---------------------------------------------------------------------------------------------------------- */

/* Written once by the first version of the format.  HOLDFAST_WRITE_GOLDEN makes it anew, for a format that is new as well. */
static void the_first_manifest_stays_readable(void **state)
{
	const char *path = "tests/golden/manifest-1.json";
	struct buf golden cleanup(buf_release) = {0};
	struct manifest m cleanup(manifest_release) = {0};
	struct error err cleanup(err_clear) = ERROR_INIT;

	(void)state;
	if (getenv("HOLDFAST_WRITE_GOLDEN")) {
		char *text cleanup(mem_freep) = filled_text();

		assert_ok(io_replace_file(path, text, strlen(text), 0644, &err), &err);
	}
	assert_int_equal(io_read_file(path, &golden, &err), 1);
	assert_ok(manifest_parse(golden.data, golden.len, WHAT, &m, &err), &err);
	assert_filled(&m);
}

/* --- damage ---------------------------------------------------------------------------------------------------------------- */

static char *replaced(const char *text, const char *from, const char *to)
{
	const char *at = strstr(text, from);

	if (!at)
		fail_msg("the manifest does not contain %s", from);
	return mem_printf("%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
}

static const struct {
	const char *from, *to;
	enum err_class class;
	const char *message;
} damages[] = {
	{"holdfast-backup/1", "holdfast-backup/2", ERR_CONFIG, WHAT ": format \"holdfast-backup/2\" is of a later version"},
	{"holdfast-backup/1", "something else", ERR_CORRUPT, WHAT ": it is not the manifest of a backup"},
	{"xxh3-128-sum", "md5", ERR_CORRUPT, WHAT ": \"row_digest\" is of an unknown kind"},
	{"\"stack\": \"shop\"", "\"stack\": 7", ERR_CORRUPT, WHAT ": \"stack\" is not a text"},
	{"\"stack\": \"shop\"", "\"stick\": \"shop\"", ERR_CORRUPT, WHAT ": \"stack\" is missing"},
	{"\"stack\": \"shop\",", "\"stack\": \"shop\", \"stack\": \"shop\",", ERR_CORRUPT, WHAT ": \"stack\" stands there twice"},
	{"\"version\": 150020", "\"version\": 1e3", ERR_CORRUPT,
		"section \"server\": " WHAT ": \"version\" is not a whole number"},
	{"\"version\": 150020", "\"version\": 99999999999", ERR_CORRUPT,
		"section \"server\": " WHAT ": \"version\" is out of range"},
	{"\"server\": {", "\"sever\": {", ERR_CORRUPT, WHAT ": \"server\" is missing"},
	{"\"oid\":16385", "\"oid\":-1", ERR_CORRUPT, "element 1 of \"tables\": " WHAT ": \"oid\" is out of range"},
	{"\"oid\":16385", "\"oid\":4294967296", ERR_CORRUPT, "element 1 of \"tables\": " WHAT ": \"oid\" is out of range"},
	{"\"kind\":\"unlogged table\"", "\"kind\":\"index\"", ERR_CORRUPT,
		"element 4 of \"tables\": " WHAT ": \"kind\" has no valid form"},
	{"{\"bytes\":\"fffe\"}", "{\"bytes\":\"fff\"}", ERR_CORRUPT, "element 2 of \"tables\": " WHAT ": \"name\" is not a text"},
	{"{\"bytes\":\"fffe\"}", "{\"bytes\":\"ff00\"}", ERR_CORRUPT,
		"element 2 of \"tables\": " WHAT ": \"name\" is not a text"},
	{"\"columns\":[", "\"columns\":{}, \"x\":[", ERR_CORRUPT, "element 1 of \"tables\": " WHAT ": \"columns\" is not a list"},
	{"\"members\":[\"data/00001.00.copy\"", "\"members\":[\"data/9\"", ERR_CORRUPT,
		"element 1 of \"tables\": " WHAT ": \"members\" names a member that is not listed"},
	{"\"name\":\"data/00001.01.copy\"", "\"name\":\"README\"", ERR_CORRUPT, WHAT ": member \"README\" is listed twice"},
	{"\"offset\":1000", "\"offset\":899", ERR_CORRUPT,
		WHAT ": member \"data/00001.01.copy\" lies outside the archive or in another member"},
	{"\"offset\":3000", "\"offset\":123456780", ERR_CORRUPT,
		WHAT ": member \"data/00002.00.copy\" lies outside the archive or in another member"},
	{"\"offset\":3000", "\"offset\":9223372036854775807", ERR_CORRUPT,
		WHAT ": member \"data/00002.00.copy\" lies outside the archive or in another member"},
	{"\"is_called\":true", "\"is_called\":1", ERR_CORRUPT,
		"element 1 of \"sequences\": " WHAT ": \"is_called\" is neither true nor false"},
	{"\"started_at\": \"2026", "\"started_at\": \"20x6", ERR_CORRUPT, WHAT ": \"started_at\" has no valid form"},
	{"\"publications\": [", "\"publication\": [", ERR_CORRUPT, WHAT ": \"publications\" is missing"},
	{"\"rows\":31", "\"rows\":32", ERR_CORRUPT, WHAT ": \"totals\" differs from what is listed"},
	{"\"publications\": [", "\"publications\": {\"a\":[", ERR_CORRUPT, WHAT ": it ends too early at line 102 column 1"},
	{"\"publications\": [", "\"publications\": ]", ERR_CORRUPT, NULL},
	{"\"host\": \"", "\"host\": ", ERR_CORRUPT, NULL},
	{"\"host\": \"", "\"host\" \"", ERR_CORRUPT, NULL},
	{"}\n", "}\n}\n", ERR_CORRUPT, NULL},
};

static void damage_is_told_exactly(void **state)
{
	char *text cleanup(mem_freep) = filled_text();
	struct error err cleanup(err_clear) = ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < array_len(damages); i++) {
		char *bad cleanup(mem_freep) = replaced(text, damages[i].from, damages[i].to);
		struct manifest m cleanup(manifest_release) = {0};
		int rc = manifest_parse(bad, strlen(bad), WHAT, &m, &err);

		assert_int_equal(rc, -1);
		if (damages[i].message) {
			assert_error(rc, &err, damages[i].class, damages[i].message);
		} else {
			assert_int_equal(err.class, damages[i].class);
			assert_non_null(strstr(err.message, WHAT ": "));
			assert_non_null(strstr(err.message, " at line "));
		}
	}
}

static void every_cut_is_found(void **state)
{
	char *text cleanup(mem_freep) = filled_text();
	struct error err cleanup(err_clear) = ERROR_INIT;

	(void)state;
	for (size_t n = 0; n < strlen(text) - 1; n++) { /* the last byte is a newline */
		struct manifest m cleanup(manifest_release) = {0};

		assert_int_equal(manifest_parse(text, n, WHAT, &m, &err), -1);
		assert_int_equal(err.class, ERR_CORRUPT);
	}
}

static void unknown_keys_are_passed_over(void **state)
{
	char *text cleanup(mem_freep) = filled_text();
	char *more cleanup(mem_freep) = replaced(text, "\"stack\":", "\"later\": {\"a\": [1, \"]\", {}]}, \"stack\":");
	char *more2 cleanup(mem_freep) = replaced(more, "{\"oid\":16385,", "{\"later\":[[]],\"oid\":16385,");
	struct manifest m cleanup(manifest_release) = {0};
	struct error err cleanup(err_clear) = ERROR_INIT;

	(void)state;
	assert_ok(manifest_parse(more2, strlen(more2), WHAT, &m, &err), &err);
	assert_filled(&m);
}

/* --- size ------------------------------------------------------------------------------------------------------------------ */

static void fill_tables(struct manifest *m, unsigned count)
{
	struct inventory *inv = &m->inventory;
	static const char *columns[] = {
		"id", "created_at", "updated_at", "name", "status", "amount", "customer_id", "note", "data", "flag"};

	m->backup_id = mem_strdup("20261120T031500Z-7f3a91c2");
	m->stack = mem_strdup("shop");
	inv->database = "shop";
	for (unsigned i = 0; i < count; i++) {
		size_t *members = arena_alloc(&inv->arena, sizeof(*members));

		*members = i;
		*inventory_add(inv, members) = (struct inv_member){.name = arena_printf(&inv->arena, "data/%05u.00.copy", i),
			.offset = (uint64_t)i << 20,
			.stored_bytes = 1 << 19,
			.header_bytes = 512,
			.content_bytes = 1 << 22,
			.rows = 40000};
		*inventory_add(inv, tables) = (struct inv_table){.oid = i,
			.schema = "public",
			.name = arena_printf(&inv->arena, "customer_orders_%u", i),
			.columns = columns,
			.columns_count = array_len(columns),
			.rows = 40000,
			.content_bytes = 1 << 22,
			.members = members,
			.members_count = 1};
		*inventory_add(inv, sequences) = (struct inv_sequence){
			.oid = i, .schema = "public", .name = arena_printf(&inv->arena, "customer_orders_%u_id_seq", i)};
	}
}

/* In a process of its own, so that nothing but the reading counts. */
static long peak_of_reading(const char *path)
{
	int pipes[2];
	long kib = 0;
	pid_t pid;

	assert_int_equal(pipe(pipes), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct manifest m cleanup(manifest_release) = {0};
		struct buf b cleanup(buf_release) = {0};
		struct error err cleanup(err_clear) = ERROR_INIT;
		struct rusage before, after;

		getrusage(RUSAGE_SELF, &before);
		if (io_read_file(path, &b, &err) != 1 || manifest_parse(b.data, b.len, WHAT, &m, &err) < 0)
			_exit(1);
		getrusage(RUSAGE_SELF, &after);
		kib = after.ru_maxrss - before.ru_maxrss;
		_exit(write(pipes[1], &kib, sizeof(kib)) != sizeof(kib));
	}
	assert_int_equal(read(pipes[0], &kib, sizeof(kib)), sizeof(kib));
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	close(pipes[0]);
	close(pipes[1]);
	return kib;
}

static void ten_thousand_tables_need_little_memory(void **state)
{
	struct place place;
	struct manifest m = {0};
	char *path cleanup(mem_freep) = NULL, *text = NULL;
	long kib;

	(void)state;
	place_make(&place);
	path = place_path(&place, "manifest.json");
	fill_tables(&m, 10000);
	text = write_text(&m);
	manifest_release(&m);
	place_put(&place, "manifest.json", text, strlen(text));
	kib = peak_of_reading(path);
	print_message("%zu bytes of manifest, %ld KiB to read it\n", strlen(text), kib);
	free(text);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	assert_true(kib < 200 * 1024); /* the sanitizers keep books on every value */
#else
	assert_true(kib < 40 * 1024);
#endif
	place_remove(&place);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_field_comes_back),
		cmocka_unit_test(absent_and_empty_stay_apart),
		cmocka_unit_test(a_table_is_a_line),
		cmocka_unit_test(a_name_that_is_missing_is_not_written),
		cmocka_unit_test(the_first_manifest_stays_readable),
		cmocka_unit_test(damage_is_told_exactly),
		cmocka_unit_test(every_cut_is_found),
		cmocka_unit_test(unknown_keys_are_passed_over),
		cmocka_unit_test(ten_thousand_tables_need_little_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * The vault: to its caller an ordinary driver, to the place a keeper of age files.  Requests are counted by a driver in between.
 */
#include "tests/unit/storage_helper.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cancel.h"
#include "storage/age/vault.h"

#define SEALED_BYTES (AGE_CHUNK_BYTES + AGE_TAG_BYTES)
#define ARCHIVE "app/backups/1/backup.tar.zst"
#define MANIFEST "app/backups/1/manifest.json"

static const char *const sealed_suffixes[] = {"backup.tar.zst", "manifest.json", NULL};

/* --- a driver that counts -------------------------------------------------------------------------------------------------- */

struct counter {
	struct driver base;
	unsigned reads, stats;
	uint64_t read_bytes;
};

static struct counter *counter_of(struct driver *d)
{
	return (struct counter *)d;
}

static int counter_put(struct driver *d, const struct driver_target *t, const void *p, size_t n, struct error *err)
{
	return d->inner->ops->put(d->inner, t, p, n, err);
}

static int counter_begin(
	struct driver *d, const struct driver_target *t, const char *resume_id, struct driver_upload **ret, struct error *err)
{
	return d->inner->ops->upload_begin(d->inner, t, resume_id, ret, err);
}

static int counter_read(struct driver *d, const char *key, uint64_t offset, void *p, size_t n, struct error *err)
{
	counter_of(d)->reads++;
	counter_of(d)->read_bytes += n;
	return d->inner->ops->read_range(d->inner, key, offset, p, n, err);
}

static int counter_stat(struct driver *d, const char *key, struct driver_object *ret, struct error *err)
{
	counter_of(d)->stats++;
	return d->inner->ops->stat(d->inner, key, ret, err);
}

static int counter_list(struct driver *d, const char *prefix,
	int (*each)(void *ctx, const struct driver_object *o, struct error *err), void *ctx, struct error *err)
{
	return d->inner->ops->list(d->inner, prefix, each, ctx, err);
}

static int counter_remove(struct driver *d, const char *key, struct error *err)
{
	return d->inner->ops->remove(d->inner, key, err);
}

static int counter_sweep(struct driver *d, const char *prefix, int64_t older_than_ms, unsigned *ret_count, struct error *err)
{
	return d->inner->ops->sweep(d->inner, prefix, older_than_ms, ret_count, err);
}

/* --- fixture --------------------------------------------------------------------------------------------------------------- */

struct fixture {
	struct place place;
	struct driver_ops counter_ops; /* uploads are the local driver's own once they have begun */
	struct counter counter;
	struct age_recipients *recipients;
	struct age_identities *identities;
	struct driver *vault;
	struct error err;
};

static void make_pair(struct fixture *f)
{
	char *recipient cleanup(mem_freep) = NULL, *secret = NULL;

	assert_ok(age_keygen(&recipient, &secret, &f->err), &f->err);
	assert_ok(age_recipients_add(f->recipients, recipient, &f->err), &f->err);
	assert_ok(age_identities_add_text(f->identities, secret, strlen(secret), "x", &f->err), &f->err);
	age_wipe_free(secret);
}

static struct driver *open_vault(
	struct fixture *f, const struct age_recipients *recipients, const struct age_identities *identities)
{
	const struct vault_options o = {.recipients = recipients, .identities = identities, .sealed_suffixes = sealed_suffixes};

	return vault_new(&f->counter.base, &o);
}

static int setup(void **state)
{
	struct fixture *f = mem_zalloc(sizeof(*f));

	place_make(&f->place);
	f->counter_ops = *f->place.driver->ops;
	f->counter_ops.put = counter_put;
	f->counter_ops.upload_begin = counter_begin;
	f->counter_ops.read_range = counter_read;
	f->counter_ops.stat = counter_stat;
	f->counter_ops.list = counter_list;
	f->counter_ops.remove = counter_remove;
	f->counter_ops.sweep = counter_sweep;
	f->counter.base = (struct driver){
		.ops = &f->counter_ops, .features = DRIVER_PARALLEL_RANGES | DRIVER_COMPOSE, .inner = f->place.driver};
	f->recipients = age_recipients_new();
	f->identities = age_identities_new();
	make_pair(f);
	f->vault = open_vault(f, f->recipients, f->identities);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->vault->ops->close(f->vault);
	age_recipients_free(f->recipients);
	age_identities_free(f->identities);
	place_remove(&f->place);
	err_clear(&f->err);
	free(f);
	return 0;
}

static void put(struct fixture *f, const char *key, const char *p, size_t n)
{
	const struct driver_target t = {.key = key, .tag = "run"};

	assert_ok(f->vault->ops->put(f->vault, &t, p, n, &f->err), &f->err);
}

static struct driver_upload *begin(struct fixture *f, const char *key, bool is_exclusive)
{
	const struct driver_target t = {.key = key, .tag = "run", .is_exclusive = is_exclusive};
	struct driver_upload *u = NULL;

	assert_ok(f->vault->ops->upload_begin(f->vault, &t, NULL, &u, &f->err), &f->err);
	return u;
}

static char *upload(struct fixture *f, const char *key, size_t n, size_t step)
{
	struct driver_upload *u = begin(f, key, true);
	char *text = mem_alloc(n + 1);

	content_fill(text, n, n);
	for (size_t at = 0; at < n; at += step)
		assert_ok(f->vault->ops->upload_write(u, text + at, n - at < step ? n - at : step, &f->err), &f->err);
	assert_ok(f->vault->ops->upload_commit(u, NULL, 0, &f->err), &f->err);
	return text;
}

static void assert_reads(struct fixture *f, const char *key, const char *text, uint64_t offset, size_t n)
{
	char *got cleanup(mem_freep) = mem_alloc(n + 1);

	assert_int_equal(f->vault->ops->read_range(f->vault, key, offset, got, n, &f->err), 1);
	assert_memory_equal(got, text + offset, n);
}

/* --- what it keeps --------------------------------------------------------------------------------------------------------- */

static int read_buf(void *ctx, uint64_t offset, void *p, size_t n, struct error *err)
{
	const struct buf *b = ctx;

	(void)err;
	assert_true(offset + n <= b->len);
	memcpy(p, b->data + offset, n);
	return 0;
}

static void what_is_sealed_lies_there_as_an_age_file(void **state)
{
	struct fixture *f = *state;
	struct buf file cleanup(buf_release) = {0}, payload;
	struct age_key key cleanup(age_key_release) = {0};
	static const char text[] = "{\"rows\": 3, \"secret\": \"of the customers\"}";
	char got[sizeof(text)] = "";
	unsigned before = place_count_files(&f->place);

	put(f, MANIFEST, text, strlen(text));
	assert_int_equal(place_count_files(&f->place), before + 1);
	place_get(&f->place, MANIFEST ".age", &file);
	assert_null(memmem(file.data, file.len, "customers", 9));
	assert_int_equal(age_header_read(file.data, file.len, f->identities, "x", &key, &f->err), 1);
	payload = (struct buf){
		.data = file.data + key.header_bytes + AGE_NONCE_BYTES, .len = file.len - key.header_bytes - AGE_NONCE_BYTES};
	assert_int_equal(payload.len, age_payload_bytes(strlen(text)));
	assert_ok(age_decrypt_range(&key, payload.len, "x", 0, got, strlen(text), read_buf, &payload, &f->err), &f->err);
	assert_string_equal(got, text);
}

static void no_two_objects_have_a_key_in_common(void **state)
{
	struct fixture *f = *state;
	struct buf one cleanup(buf_release) = {0}, two cleanup(buf_release) = {0};
	struct age_key a cleanup(age_key_release) = {0}, b cleanup(age_key_release) = {0};

	put(f, MANIFEST, "same", 4);
	place_get(&f->place, MANIFEST ".age", &one);
	put(f, MANIFEST, "same", 4);
	place_get(&f->place, MANIFEST ".age", &two);
	assert_int_equal(age_header_read(one.data, one.len, f->identities, "x", &a, &f->err), 1);
	assert_int_equal(age_header_read(two.data, two.len, f->identities, "x", &b, &f->err), 1);
	assert_memory_not_equal(a.file_key, b.file_key, sizeof(a.file_key));
	assert_memory_not_equal(a.payload_key, b.payload_key, sizeof(a.payload_key));
}

static void what_is_not_sealed_passes_through(void **state)
{
	struct fixture *f = *state;
	struct buf file cleanup(buf_release) = {0};
	struct driver_object o;
	char *large cleanup(mem_freep) = NULL;

	put(f, "app/backups/1/set.json", "{}", 2);
	place_get(&f->place, "app/backups/1/set.json", &file);
	assert_string_equal(file.data, "{}");
	assert_reads(f, "app/backups/1/set.json", "{}", 0, 2);
	assert_int_equal(f->vault->ops->stat(f->vault, "app/backups/1/set.json", &o, &f->err), 1);
	assert_int_equal(o.size_bytes, 2);
	assert_string_equal(o.key, "app/backups/1/set.json");
	large = upload(f, "app/plain", 300000, 70000);
	buf_release(&file);
	place_get(&f->place, "app/plain", &file);
	assert_int_equal(file.len, 300000);
	assert_memory_equal(file.data, large, 300000);
	assert_int_equal(f->vault->ops->remove(f->vault, "app/plain", &f->err), 1);
	assert_int_equal(f->vault->ops->stat(f->vault, "app/plain", &o, &f->err), 0);
}

static void an_upload_comes_back_whole_and_in_ranges(void **state)
{
	static const size_t sizes[] = {0, 1, 65536, 65537, 3 * 65536, 5000000};
	struct fixture *f = *state;

	for (size_t i = 0; i < array_len(sizes); i++) {
		size_t n = sizes[i];
		char *key cleanup(mem_freep) = mem_printf("app/backups/%zu/backup.tar.zst", n);
		char *text cleanup(mem_freep) = upload(f, key, n, 77777);
		char *message cleanup(mem_freep) = mem_printf("object \"%s.age\" is shorter than it must be", key);
		struct driver_object o;

		assert_int_equal(f->vault->ops->stat(f->vault, key, &o, &f->err), 1);
		assert_int_equal(o.size_bytes, n);
		assert_string_equal(o.key, key);
		assert_reads(f, key, text, 0, n);
		assert_reads(f, key, text, n / 3, n / 2);
		assert_reads(f, key, text, n, 0);
		assert_error(
			f->vault->ops->read_range(f->vault, key, n, (char[1]){0}, 1, &f->err), &f->err, ERR_CORRUPT, message);
	}
}

static void nothing_is_visible_before_the_commit_nor_after_an_abort(void **state)
{
	struct fixture *f = *state;
	struct driver_upload *u = begin(f, ARCHIVE, true);
	struct driver_object o;

	assert_ok(f->vault->ops->upload_write(u, "text", 4, &f->err), &f->err);
	assert_int_equal(f->vault->ops->stat(f->vault, ARCHIVE, &o, &f->err), 0);
	assert_ok(f->vault->ops->upload_abort(u, &f->err), &f->err);
	assert_int_equal(f->vault->ops->stat(f->vault, ARCHIVE, &o, &f->err), 0);
	assert_int_equal(f->vault->ops->read_range(f->vault, ARCHIVE, 0, &o, 1, &f->err), 0);
	assert_int_equal(f->vault->ops->remove(f->vault, ARCHIVE, &f->err), 0);
	assert_int_equal(place_count_files(&f->place), 0);
}

static void exclusive_creation_keeps_what_is_there(void **state)
{
	struct fixture *f = *state;
	char *text cleanup(mem_freep) = upload(f, ARCHIVE, 100, 100),
		   *path cleanup(mem_freep) = place_path(&f->place, ARCHIVE ".age"),
		   *message cleanup(mem_freep) = mem_printf("file \"%s\" exists already", path);
	const struct driver_target t = {.key = ARCHIVE, .tag = "other", .is_exclusive = true};
	struct driver_upload *u = begin(f, ARCHIVE, true);

	assert_error(f->vault->ops->put(f->vault, &t, "x", 1, &f->err), &f->err, ERR_CONFLICT, message);
	assert_ok(f->vault->ops->upload_write(u, "other", 5, &f->err), &f->err);
	assert_error(f->vault->ops->upload_commit(u, NULL, 0, &f->err), &f->err, ERR_CONFLICT, message);
	/* An upload lives until it is aborted, and says the same again. */
	assert_error(f->vault->ops->upload_commit(u, NULL, 0, &f->err), &f->err, ERR_CONFLICT, message);
	assert_ok(f->vault->ops->upload_abort(u, &f->err), &f->err);
	assert_reads(f, ARCHIVE, text, 0, 100);
	assert_int_equal(place_count_files(&f->place), 1);
}

struct listing {
	char *keys[16];
	size_t count;
};

static int collect(void *ctx, const struct driver_object *o, struct error *err)
{
	struct listing *l = ctx;

	(void)err;
	assert_true(l->count < array_len(l->keys));
	l->keys[l->count++] = mem_printf("%s:%llu", o->key, (unsigned long long)o->size_bytes);
	return 0;
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void assert_list(struct fixture *f, const char *prefix, const char *want)
{
	struct listing l = {0};
	struct buf got cleanup(buf_release) = {0};

	assert_ok(f->vault->ops->list(f->vault, prefix, collect, &l, &f->err), &f->err);
	qsort(l.keys, l.count, sizeof(l.keys[0]), compare);
	for (size_t i = 0; i < l.count; i++) {
		buf_printf(&got, "%s%s", i ? " " : "", l.keys[i]);
		free(l.keys[i]);
	}
	assert_string_equal(buf_str(&got), want);
}

static void a_list_shows_plain_names_and_stored_sizes(void **state)
{
	struct fixture *f = *state;
	struct buf file cleanup(buf_release) = {0};
	char *want cleanup(mem_freep) = NULL;

	put(f, MANIFEST, "m", 1);
	put(f, "app/backups/1/set.json", "{}", 2);
	place_put(&f->place, "app/backups/1/notes.age", "abc", 3);       /* not of a sealed name: its own */
	place_put(&f->place, "app/backups/2/manifest.json", "plain", 5); /* not sealed, though its name is: shown all the same */
	place_get(&f->place, MANIFEST ".age", &file);
	want = mem_printf("app/backups/1/manifest.json:%zu app/backups/1/notes.age:3 app/backups/1/set.json:2 "
			  "app/backups/2/manifest.json:5",
		file.len);
	assert_list(f, "", want);
	assert_list(f, "app/backups/1/set", "app/backups/1/set.json:2");
	assert_list(f, "app/backups/1/manifest.json.", "");
	assert_list(f, "web/", "");
}

static void bad_keys_are_refused(void **state)
{
	static const char *const keys[] = {"", "/a", "a//manifest.json", "../manifest.json"};
	struct fixture *f = *state;
	struct driver_object o;

	for (size_t i = 0; i < array_len(keys); i++) {
		char *message cleanup(mem_freep) = mem_printf("\"%s\" cannot be the key of an object", keys[i]);
		struct driver_upload *u = NULL;
		const struct driver_target t = {keys[i], "t", true};

		assert_error(f->vault->ops->put(f->vault, &t, "", 0, &f->err), &f->err, ERR_BUG, message);
		assert_error(f->vault->ops->upload_begin(f->vault, &t, NULL, &u, &f->err), &f->err, ERR_BUG, message);
		assert_error(f->vault->ops->read_range(f->vault, keys[i], 0, &o, 1, &f->err), &f->err, ERR_BUG, message);
		assert_error(f->vault->ops->stat(f->vault, keys[i], &o, &f->err), &f->err, ERR_BUG, message);
		assert_error(f->vault->ops->remove(f->vault, keys[i], &f->err), &f->err, ERR_BUG, message);
	}
}

/* --- what it asks for ------------------------------------------------------------------------------------------------------ */

static void a_range_costs_the_chunks_it_lies_in(void **state)
{
	struct fixture *f = *state;
	char *text cleanup(mem_freep) = upload(f, ARCHIVE, 4000000, 1 << 20);
	struct counter *c = &f->counter;

	assert_reads(f, ARCHIVE, text, 3 * AGE_CHUNK_BYTES + 10, 20); /* stat, header, chunk */
	assert_int_equal(c->stats, 1);
	assert_int_equal(c->reads, 2);
	assert_int_equal(c->read_bytes, 4096 + SEALED_BYTES);
	assert_reads(f, ARCHIVE, text, 10 * AGE_CHUNK_BYTES - 1, 2);
	assert_int_equal(c->stats, 1);
	assert_int_equal(c->reads, 3);
	assert_int_equal(c->read_bytes, 4096 + 3 * SEALED_BYTES);
	assert_reads(f, ARCHIVE, text, 0, 4000000);
	assert_int_equal(c->reads, 4);
}

static void a_header_is_read_once(void **state)
{
	struct fixture *f = *state;
	struct driver_object o;

	put(f, MANIFEST, "m", 1);
	for (unsigned i = 1; i < 5; i++) {
		assert_int_equal(f->vault->ops->stat(f->vault, MANIFEST, &o, &f->err), 1);
		assert_int_equal(o.size_bytes, 1);
		assert_int_equal(f->counter.stats, i);
		assert_int_equal(f->counter.reads, 1);
	}
	assert_reads(f, MANIFEST, "m", 0, 1);
	assert_int_equal(f->counter.reads, 2);
}

/* 256 are remembered: of 300 each must still be found. */
static void more_objects_than_are_remembered(void **state)
{
	struct fixture *f = *state;

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 300; i++) {
			char *key cleanup(mem_freep) = mem_printf("app/backups/%03d/manifest.json", i);
			char *text cleanup(mem_freep) = mem_printf("manifest %d", i);

			if (round == 0)
				put(f, key, text, strlen(text));
			else
				assert_reads(f, key, text, 0, strlen(text));
		}
	}
}

static void a_long_header_is_read_to_its_end(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 400; i++)
		make_pair(f);
	put(f, MANIFEST, "to many", 7);
	assert_reads(f, MANIFEST, "to many", 0, 7);
	assert_true(f->counter.read_bytes > 38000);
}

static void what_was_replaced_by_others_is_read_anew(void **state)
{
	struct fixture *f = *state;
	struct driver *other = open_vault(f, f->recipients, f->identities);
	const struct driver_target t = {.key = MANIFEST, .tag = "other"};
	struct driver_object o;

	put(f, MANIFEST, "first", 5);
	assert_reads(f, MANIFEST, "first", 0, 5);
	assert_ok(other->ops->put(other, &t, "second", 6, &f->err), &f->err);
	assert_reads(f, MANIFEST, "second", 0, 6);
	assert_ok(other->ops->put(other, &t, "the third", 9, &f->err), &f->err);
	assert_int_equal(f->vault->ops->stat(f->vault, MANIFEST, &o, &f->err), 1);
	assert_int_equal(o.size_bytes, 9);
	assert_reads(f, MANIFEST, "the third", 0, 9);
	assert_int_equal(other->ops->remove(other, MANIFEST, &f->err), 1);
	assert_int_equal(f->vault->ops->read_range(f->vault, MANIFEST, 0, &o, 5, &f->err), 0);
	assert_int_equal(f->vault->ops->stat(f->vault, MANIFEST, &o, &f->err), 0);
	other->ops->close(other);
}

/* Of the same size, but with a longer header and so with less behind it: the time of the object tells. */
static void a_longer_header_in_an_object_of_the_same_size_is_noticed(void **state)
{
	struct fixture *f = *state;
	char *path cleanup(mem_freep) = place_path(&f->place, MANIFEST ".age");
	const struct timespec later[2] = {{.tv_sec = 2000000000}, {.tv_sec = 2000000000}};
	char text[500];
	struct buf one cleanup(buf_release) = {0}, two cleanup(buf_release) = {0};
	struct driver_object o;
	size_t more;

	memset(text, 'x', sizeof(text));
	put(f, MANIFEST, text, sizeof(text));
	place_get(&f->place, MANIFEST ".age", &one);
	assert_int_equal(f->vault->ops->stat(f->vault, MANIFEST, &o, &f->err), 1);
	assert_int_equal(o.size_bytes, sizeof(text));
	make_pair(f);
	put(f, "app/backups/2/manifest.json", text, sizeof(text));
	place_get(&f->place, "app/backups/2/manifest.json.age", &two);
	more = two.len - one.len;
	put(f, "app/backups/2/manifest.json", text, sizeof(text) - more);
	buf_release(&two);
	place_get(&f->place, "app/backups/2/manifest.json.age", &two);
	assert_int_equal(two.len, one.len);
	place_put(&f->place, MANIFEST ".age", two.data, two.len);
	assert_int_equal(utimensat(AT_FDCWD, path, later, 0), 0);
	assert_int_equal(f->vault->ops->stat(f->vault, MANIFEST, &o, &f->err), 1);
	assert_int_equal(o.size_bytes, sizeof(text) - more);
	assert_reads(f, MANIFEST, text, 0, sizeof(text) - more);
}

struct reader {
	pthread_t thread;
	struct fixture *f;
	const char *text;
	bool is_right;
};

static void *read_often(void *ctx)
{
	struct reader *r = ctx;
	struct error err cleanup(err_clear) = ERROR_INIT;
	char got[1000];

	r->is_right = true;
	for (unsigned i = 0; i < 200; i++) {
		uint64_t offset = i * 15000;

		r->is_right = r->is_right &&
			r->f->vault->ops->read_range(r->f->vault, ARCHIVE, offset, got, sizeof(got), &err) == 1 &&
			memcmp(got, r->text + offset, sizeof(got)) == 0;
	}
	return NULL;
}

static void threads_read_the_same_object_at_once(void **state)
{
	struct fixture *f = *state;
	char *text cleanup(mem_freep) = upload(f, ARCHIVE, 3100000, 1 << 20);
	struct reader readers[4];

	f->counter_ops = *f->place.driver->ops; /* the counters are not for threads */
	f->vault->ops->close(f->vault);
	f->vault = vault_new(
		f->place.driver, &(struct vault_options){.identities = f->identities, .sealed_suffixes = sealed_suffixes});
	for (size_t i = 0; i < array_len(readers); i++) {
		readers[i] = (struct reader){.f = f, .text = text};
		assert_int_equal(pthread_create(&readers[i].thread, NULL, read_often, &readers[i]), 0);
	}
	for (size_t i = 0; i < array_len(readers); i++) {
		pthread_join(readers[i].thread, NULL);
		assert_true(readers[i].is_right);
	}
}

/* --- keys that are missing ------------------------------------------------------------------------------------------------- */

static void without_an_identity_sizes_are_told_and_content_is_not(void **state)
{
	struct fixture *f = *state;
	struct driver *d;
	struct age_identities *late = age_identities_new();
	struct driver_object o;
	char got[4] = "";

	put(f, MANIFEST, "text", 4);
	d = open_vault(f, f->recipients, late);
	assert_int_equal(d->ops->stat(d, MANIFEST, &o, &f->err), 1);
	assert_int_equal(o.size_bytes, 4);
	assert_int_equal(d->ops->read_range(d, MANIFEST, 0, got, 4, &f->err), -1);
	assert_string_equal(f->err.hint, "Name the identity of one of the recipients it was encrypted to.");
	assert_error(
		-1, &f->err, ERR_CONFIG, "object \"" MANIFEST ".age\" is encrypted, and no identity is given to read it with");
	assert_int_equal(d->ops->read_range(d, ARCHIVE, 0, got, 4, &f->err), 0);
	/* One that is loaded later counts from then on, and the header is not asked for again. */
	assert_ok(age_identities_add_text(
			  late, "AGE-SECRET-KEY-1EGTZVFFV20835NWYV6270LXYVK2VKNX2MMDKWYKLMGR48UAWX40Q2P2LM0", 74, "x", &f->err),
		&f->err);
	assert_error(d->ops->read_range(d, MANIFEST, 0, got, 4, &f->err), &f->err, ERR_CONFIG,
		"object \"" MANIFEST ".age\" is encrypted to other keys");
	assert_int_equal(f->counter.reads, 1);
	d->ops->close(d);
	age_identities_free(late);
}

static void without_recipients_nothing_sealed_is_written(void **state)
{
	struct fixture *f = *state;
	struct age_recipients *nobody = age_recipients_new();
	const struct driver_target t = {.key = MANIFEST, .tag = "run"}, plain = {.key = "set.json", .tag = "run"};
	static const char message[] = "object \"" MANIFEST ".age\" cannot be written: nobody is named to encrypt it to";

	for (int i = 0; i < 2; i++) {
		struct driver *d = open_vault(f, i ? nobody : NULL, f->identities);
		struct driver_upload *u = NULL;

		assert_int_equal(d->ops->put(d, &t, "x", 1, &f->err), -1);
		assert_string_equal(f->err.hint, "List recipients under \"encrypt_to\" of the repository.");
		assert_error(-1, &f->err, ERR_CONFIG, message);
		assert_error(d->ops->upload_begin(d, &t, NULL, &u, &f->err), &f->err, ERR_CONFIG, message);
		assert_int_equal(place_count_files(&f->place), i);
		assert_ok(d->ops->put(d, &plain, "x", 1, &f->err), &f->err);
		d->ops->close(d);
	}
	age_recipients_free(nobody);
}

/* --- damage ---------------------------------------------------------------------------------------------------------------- */

static void damage_is_told_with_the_name_of_the_object(void **state)
{
	struct fixture *f = *state;
	char *text cleanup(mem_freep) = upload(f, ARCHIVE, 150000, 1 << 20);
	struct buf file cleanup(buf_release) = {0};
	struct age_key key cleanup(age_key_release) = {0};
	char *got cleanup(mem_freep) = mem_alloc(150000);
	size_t head;

	place_get(&f->place, ARCHIVE ".age", &file);
	assert_int_equal(age_header_read(file.data, file.len, NULL, "x", &key, &f->err), 1);
	head = key.header_bytes + AGE_NONCE_BYTES;
	const struct {
		size_t keep, flip; /* 0: no flip */
		const char *message;
	} cases[] = {
		{0, 0, "object \"" ARCHIVE ".age\" is cut off within its header"},
		{10, 0, "object \"" ARCHIVE ".age\" is cut off within its header"},
		{head - 1, 0, "object \"" ARCHIVE ".age\" is cut off within its header"},
		{head, 0, "object \"" ARCHIVE ".age\" is cut off behind its header"},
		{head + SEALED_BYTES, 0, "object \"" ARCHIVE ".age\" is cut off"},
		{head + SEALED_BYTES + 5, 0, "object \"" ARCHIVE ".age\" is cut off, or has something behind its end"},
		{file.len - 1, 0, "object \"" ARCHIVE ".age\" is damaged: a chunk does not match its checksum"},
		{file.len, key.header_bytes - 2,
			"the header of object \"" ARCHIVE ".age\" is damaged: it does not match its checksum"},
		{file.len, head - 1, "object \"" ARCHIVE ".age\" is damaged: a chunk does not match its checksum"},
		{file.len, head + 70000, "object \"" ARCHIVE ".age\" is damaged: a chunk does not match its checksum"},
		{file.len, 1, "object \"" ARCHIVE ".age\" is no age file"},
	};

	assert_reads(f, ARCHIVE, text, 0, 150000);
	for (size_t i = 0; i < array_len(cases); i++) {
		struct driver *d = open_vault(f, NULL, f->identities);
		struct buf damaged cleanup(buf_release) = {0};
		size_t n = cases[i].keep == head + SEALED_BYTES ? AGE_CHUNK_BYTES : cases[i].keep < file.len ? 0 : 150000;

		buf_putn(&damaged, file.data, cases[i].keep);
		if (cases[i].flip)
			damaged.data[cases[i].flip] = (char)(damaged.data[cases[i].flip] ^ 4);
		place_put(&f->place, ARCHIVE ".age", damaged.len ? damaged.data : "", damaged.len);
		if (cases[i].keep == file.len - 1)
			n = 149999;
		assert_error(d->ops->read_range(d, ARCHIVE, 0, got, n, &f->err), &f->err, ERR_CORRUPT, cases[i].message);
		d->ops->close(d);
	}
}

static void it_passes_on_what_the_place_is_and_no_more(void **state)
{
	struct fixture *f = *state;
	struct driver_state s = {.versioning = DRIVER_ON};
	struct cancel cancel;
	struct driver_upload *u;

	assert_int_equal(f->vault->features, DRIVER_PARALLEL_RANGES);
	assert_null(f->place.driver->ops->describe);
	assert_ok(f->vault->ops->describe(f->vault, &s, &f->err), &f->err);
	assert_int_equal(s.versioning, DRIVER_UNKNOWN);
	assert_int_equal(
		f->vault->ops->upload_begin(f->vault, &(struct driver_target){ARCHIVE, "t", true}, "id", &u, &f->err), -1);
	assert_error(-1, &f->err, ERR_BUG, "the upload of a vault cannot be resumed");
	assert_ok(cancel_init(&cancel, NULL, &f->err), &f->err);
	driver_set_cancel(f->vault, &cancel);
	cancel_request(&cancel, CANCEL_SIGNAL);
	assert_int_equal(f->vault->ops->put(f->vault, &(struct driver_target){MANIFEST, "t", true}, "x", 1, &f->err), -1);
	assert_int_equal(f->err.class, ERR_CANCELLED);
	driver_set_cancel(f->vault, NULL);
	cancel_release(&cancel);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_sealed_lies_there_as_an_age_file),
		TEST(no_two_objects_have_a_key_in_common),
		TEST(what_is_not_sealed_passes_through),
		TEST(an_upload_comes_back_whole_and_in_ranges),
		TEST(nothing_is_visible_before_the_commit_nor_after_an_abort),
		TEST(exclusive_creation_keeps_what_is_there),
		TEST(a_list_shows_plain_names_and_stored_sizes),
		TEST(bad_keys_are_refused),
		TEST(a_range_costs_the_chunks_it_lies_in),
		TEST(a_header_is_read_once),
		TEST(more_objects_than_are_remembered),
		TEST(a_long_header_is_read_to_its_end),
		TEST(what_was_replaced_by_others_is_read_anew),
		TEST(a_longer_header_in_an_object_of_the_same_size_is_noticed),
		TEST(threads_read_the_same_object_at_once),
		TEST(without_an_identity_sizes_are_told_and_content_is_not),
		TEST(without_recipients_nothing_sealed_is_written),
		TEST(damage_is_told_with_the_name_of_the_object),
		TEST(it_passes_on_what_the_place_is_and_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

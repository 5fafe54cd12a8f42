/*
 * rekey: objects of every size get another header, composed by the place or streamed; whatever call fails, a set can be opened, and
 * a repetition finishes.
 */
#include "tests/unit/storage_helper.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "storage/age/vault.h"
#include "storage/facts.h"
#include "storage/object.h"
#include "storage/rekey.h"
#include "tests/unit/fault_driver.h"
#include "tests/unit/memory_driver.h"

#define ID "20261120T031500Z-7f3a91c2"
#define ARCHIVE "app/backups/" ID "/backup.tar.zst"
#define MANIFEST "app/backups/" ID "/manifest.json"
#define ARCHIVE_BYTES ((size_t)17 << 20)

static const char *const sealed[] = {"/backup.tar.zst", "/manifest.json", NULL};

struct person {
	char *public, *secret;
};

struct fixture {
	struct place place;
	struct person old, new;
	struct repository *r;
	char *archive;
	size_t archive_bytes;
	struct error err;
};

/* --- a place that composes ------------------------------------------------------------------------------------------------- */

/* Over the memory driver; uploads are its own. */
static struct {
	struct driver_ops ops;
	struct driver *d;
	uint64_t sent, copied;
	unsigned copies;
	int (*part)(struct driver_upload *u, unsigned number, const void *p, size_t n, char **ret_etag, struct error *err);
} composing;

static int count_part(struct driver_upload *u, unsigned number, const void *p, size_t n, char **ret_etag, struct error *err)
{
	composing.sent += n;
	return composing.part(u, number, p, n, ret_etag, err);
}

static int copy_part(struct driver_upload *u, unsigned number, const char *from_key, uint64_t offset, uint64_t n, char **ret_etag,
	struct error *err)
{
	char *bytes cleanup(mem_freep) = mem_alloc(n);

	composing.copied += n;
	composing.copies++;
	assert_int_equal(composing.d->ops->read_range(composing.d, from_key, offset, bytes, n, err), 1);
	return composing.part(u, number, bytes, n, ret_etag, err);
}

static struct driver *composing_new(void)
{
	struct driver *d = memory_driver_new(DRIVER_PARTS | DRIVER_COMPOSE | DRIVER_REMOTE | DRIVER_EXCLUSIVE_CREATE);

	composing.d = d;
	composing.sent = composing.copied = composing.copies = 0;
	composing.ops = *d->ops;
	composing.part = d->ops->upload_part;
	composing.ops.upload_part = count_part;
	composing.ops.upload_copy = copy_part;
	d->ops = &composing.ops;
	return d;
}

/* --- fixture --------------------------------------------------------------------------------------------------------------- */

static void make_person(struct person *p)
{
	struct error err cleanup(err_clear) = ERROR_INIT;

	assert_ok(age_keygen(&p->public, &p->secret, &err), &err);
}

static void release_person(struct person *p)
{
	free(p->public);
	age_wipe_free(p->secret);
}

static int load_identity(void *ctx, struct age_identities *into, struct error *err)
{
	const struct person *p = ctx;

	return age_identities_add_text(into, p->secret, strlen(p->secret), "test", err);
}

static void open_repository(struct fixture *f, const struct person *to, struct person *reader)
{
	const char *const encrypt_to[] = {to->public, NULL};
	const struct repository_options o = {.url = f->place.dir,
		.is_created = true,
		.read_back = -1,
		.encrypt_to = encrypt_to,
		.load_identities = load_identity,
		.identities_ctx = reader};

	repository_closep(&f->r);
	assert_ok(repository_open_with(&o, &f->r, &f->err), &f->err);
}

static int setup(void **state)
{
	struct fixture *f = mem_zalloc(sizeof(*f));

	place_make(&f->place);
	make_person(&f->old);
	make_person(&f->new);
	open_repository(f, &f->old, &f->old);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	repository_closep(&f->r);
	place_remove(&f->place);
	release_person(&f->old);
	release_person(&f->new);
	free(f->archive);
	err_clear(&f->err);
	free(f);
	return 0;
}

static void put(struct fixture *f, struct driver *d, const char *key, const void *p, size_t n)
{
	const struct driver_target t = {.key = key, .tag = "test"};
	struct driver_upload *u = NULL;

	assert_ok(d->ops->upload_begin(d, &t, NULL, &u, &f->err), &f->err);
	assert_ok(d->ops->upload_write(u, p, n, &f->err), &f->err);
	assert_ok(d->ops->upload_commit(u, NULL, 0, &f->err), &f->err);
}

/* The facts of what is stored in ${place}. */
static void put_facts(struct fixture *f, struct driver *place)
{
	struct buf stored cleanup(buf_release) = {0};
	struct set_facts facts cleanup(set_facts_release) = {
		.backup_id = mem_strdup(ID), .stack = mem_strdup("app"), .archive_bytes = f->archive_bytes, .is_encrypted = true};
	struct driver *own = f->r->place;
	struct age_key key = {0};
	XXH128_canonical_t sum;

	assert_int_equal(object_read(place, ARCHIVE ".age", &stored, &f->err), 1);
	assert_int_equal(age_header_read(stored.data, stored.len, NULL, "archive", &key, &f->err), 1);
	facts.recipients = mem_zalloc(2 * sizeof(*facts.recipients));
	facts.recipients[0] = mem_strdup(f->old.public);
	facts.archive.body_bytes = stored.len - key.header_bytes;
	XXH128_canonicalFromHash(&sum, XXH3_128bits(stored.data + key.header_bytes, stored.len - key.header_bytes));
	memcpy(facts.archive.body_digest, sum.digest, BODY_DIGEST_BYTES);
	f->r->place = place;
	assert_ok(set_facts_store(f->r, &facts, &f->err), &f->err);
	f->r->place = own;
}

/* A set of ${old}'s in ${place}. */
static void make_set(struct fixture *f, struct driver *place, size_t archive_bytes)
{
	const struct vault_options o = {.recipients = f->r->recipients, .sealed_suffixes = sealed};
	struct driver *vault = vault_new(place, &o);

	free(f->archive);
	f->archive = mem_alloc(archive_bytes);
	f->archive_bytes = archive_bytes;
	content_fill(f->archive, archive_bytes, 7);
	put(f, vault, ARCHIVE, f->archive, archive_bytes);
	put(f, vault, MANIFEST, "the manifest", 12);
	vault->ops->close(vault);
	put_facts(f, place);
}

/* Whether that person alone reads archive and manifest as they were. */
static bool opens(struct fixture *f, struct driver *place, const struct person *who)
{
	struct age_identities *identities = age_identities_new();
	const struct vault_options o = {.identities = identities, .sealed_suffixes = sealed};
	struct driver *vault = vault_new(place, &o);
	struct buf archive cleanup(buf_release) = {0}, manifest cleanup(buf_release) = {0};
	bool is_open;

	assert_ok(age_identities_add_text(identities, who->secret, strlen(who->secret), "test", &f->err), &f->err);
	is_open = object_read(vault, ARCHIVE, &archive, &f->err) == 1 && object_read(vault, MANIFEST, &manifest, &f->err) == 1;
	if (is_open) {
		assert_int_equal(archive.len, f->archive_bytes);
		assert_memory_equal(archive.data, f->archive, archive.len);
		assert_string_equal(buf_str(&manifest), "the manifest");
	} else {
		assert_int_equal(f->err.class, ERR_CONFIG);
	}
	err_clear(&f->err);
	vault->ops->close(vault);
	age_identities_free(identities);
	return is_open;
}

/* In ${place} instead of the repository's own. */
static int rekey_in(struct fixture *f, struct driver *place, uint64_t part_bytes, struct rekey_report *ret)
{
	const struct rekey_options o = {.copy_part_bytes = part_bytes};
	struct driver *own = f->r->place;
	struct rekey k;
	int rc;

	f->r->place = place;
	rc = rekey_begin(f->r, &o, &k, &f->err) < 0 ? -1 : rekey_set(&k, "app", ID, ret, &f->err);
	f->r->place = own;
	return rc;
}

/* --- tests ----------------------------------------------------------------------------------------------------------------- */

static void a_large_archive_is_composed_of_copies(void **state)
{
	struct fixture *f = *state;
	struct driver *place = composing_new();
	struct rekey_report report = {0};

	make_set(f, place, ARCHIVE_BYTES);
	composing.sent = composing.copied = composing.copies = 0;
	open_repository(f, &f->new, &f->old);
	assert_true(opens(f, place, &f->old));
	assert_ok(rekey_in(f, place, DRIVER_PART_MIN_BYTES, &report), &f->err);
	assert_int_equal(report.outcome, REKEY_DONE);
	assert_int_equal(report.added, 1);
	assert_int_equal(report.removed, 1);
	assert_int_equal(composing.copies, 3); /* of 12 MiB and a bit in parts of 5 MiB */
	assert_int_equal(composing.sent, DRIVER_PART_MIN_BYTES);
	assert_int_equal(report.copied_bytes, composing.copied);
	assert_true(opens(f, place, &f->new));
	assert_false(opens(f, place, &f->old));
	assert_int_equal(memory_driver_uploads(place), 0);
	assert_ok(rekey_in(f, place, 0, &report), &f->err);
	assert_int_equal(report.outcome, REKEY_UNCHANGED);
	place->ops->close(place);
}

static void archives_of_sizes_about_a_part_survive(void **state)
{
	struct fixture *f = *state;
	static const size_t sizes[] = {1, 100000, DRIVER_PART_MIN_BYTES - 2000, DRIVER_PART_MIN_BYTES - 1700,
		DRIVER_PART_MIN_BYTES, DRIVER_PART_MIN_BYTES + 1, 2 * DRIVER_PART_MIN_BYTES};

	for (size_t i = 0; i < array_len(sizes); i++) {
		struct driver *place = composing_new();
		struct rekey_report report = {0};

		open_repository(f, &f->old, &f->old);
		make_set(f, place, sizes[i]);
		open_repository(f, &f->new, &f->old);
		assert_ok(rekey_in(f, place, DRIVER_PART_MIN_BYTES, &report), &f->err);
		assert_int_equal(report.outcome, REKEY_DONE);
		assert_true(opens(f, place, &f->new));
		place->ops->close(place);
	}
}

static void every_failed_call_leaves_a_set_that_opens_and_can_be_repeated(void **state)
{
	struct fixture *f = *state;
	unsigned calls = 0, faults = 0;

	for (unsigned nth = 1; nth == 1 || nth <= calls; nth++) {
		struct person swap = f->old;
		struct rekey_report report = {0};
		struct driver *faulty;

		if (nth == 1)
			make_set(f, f->r->place, 200000);
		open_repository(f, &f->new, &f->old);
		faulty = fault_driver_new(f->r->place);
		fault_driver_add(faulty, &(struct fault){.op = FAULT_ANY, .nth = nth, .class = ERR_IO, .is_after = nth % 2});
		if (rekey_in(f, faulty, 0, &report) < 0) {
			assert_int_equal(f->err.class, ERR_IO);
			err_clear(&f->err);
		}
		rekey_report_release(&report);
		faults += fault_driver_faults(faulty);
		assert_true(opens(f, f->r->place, &f->old) || opens(f, f->r->place, &f->new));
		fault_driver_clear(faulty);
		assert_ok(rekey_in(f, faulty, 0, &report), &f->err);
		assert_true(opens(f, f->r->place, &f->new));
		assert_false(opens(f, f->r->place, &f->old));
		if (nth == 1)
			calls = fault_driver_calls(faulty, FAULT_ANY);
		f->r->place = faulty; /* which has taken it over */
		f->old = f->new;      /* and the way back */
		f->new = swap;
	}
	assert_true(calls > 15);
	assert_int_equal(faults, calls);
}

static void a_place_that_cannot_compose_is_left_alone(void **state)
{
	struct fixture *f = *state;
	struct driver *place = composing_new();
	struct rekey_report report = {0};

	make_set(f, place, ARCHIVE_BYTES);
	open_repository(f, &f->new, &f->old);
	place->features &= ~(unsigned)DRIVER_COMPOSE;
	assert_ok(rekey_in(f, place, 0, &report), &f->err);
	assert_int_equal(report.outcome, REKEY_IMPOSSIBLE);
	assert_string_equal(report.reason, "the place cannot compose objects: all of it would have to travel");
	rekey_report_release(&report);
	assert_true(opens(f, place, &f->old));
	place->ops->close(place);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_large_archive_is_composed_of_copies, setup, teardown),
		cmocka_unit_test_setup_teardown(archives_of_sizes_about_a_part_survive, setup, teardown),
		cmocka_unit_test_setup_teardown(every_failed_call_leaves_a_set_that_opens_and_can_be_repeated, setup, teardown),
		cmocka_unit_test_setup_teardown(a_place_that_cannot_compose_is_left_alone, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Whatever bytes are taken for a set's facts: read, or refused as damaged or newer.  What is read is written and read again to the same
 * facts.  The stored archive is compared with them: here it is the same bytes.
 */
#include <stdlib.h>
#include <string.h>

#include "storage/facts.h"
#include "tests/fuzz/support.h"

#define STACK "app"
#define ID "20261118T031500Z-aaaaaaaa"
#define DIR STACK "/backups/" ID "/"

static int put(struct driver *d, const struct driver_target *t, const void *p, size_t n, struct error *err)
{
	struct fuzz_place *place = (struct fuzz_place *)d;

	(void)err;
	fuzz_expect(strcmp(t->key, DIR SET_FACTS) == 0 && t->is_exclusive, "facts that are stored elsewhere");
	place->data = (const uint8_t *)mem_strndup(p, n);
	place->size = n;
	return 0;
}

static bool is_same(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool are_same_recipients(char *const *a, char *const *b)
{
	if (!a || !b)
		return a == b;
	for (; *a && *b; a++, b++)
		if (strcmp(*a, *b) != 0)
			return false;
	return !*a && !*b;
}

static void check_again(const struct set_facts *f)
{
	static const char *const keys[] = {DIR SET_FACTS, NULL};
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct set_facts got cleanup(set_facts_release) = {0};
	struct fuzz_place place;
	struct driver_ops ops;
	struct repository r = {.place = &place.base, .name = (char *)(uintptr_t) "fuzz"};

	fuzz_place_init(&place, keys, NULL, 0);
	ops = *place.base.ops;
	ops.put = put;
	place.base.ops = &ops;
	fuzz_expect(set_facts_store(&r, f, &err) == 0, "facts that are read and cannot be written");
	fuzz_expect(set_facts_load(&r, STACK, ID, &got, &err) == 1, "facts that are written and cannot be read");
	free((void *)(uintptr_t)place.data);
	fuzz_expect(is_same(f->database, got.database) && is_same(f->server_version, got.server_version) &&
			are_same_recipients(f->recipients, got.recipients),
		"facts with another text");
	fuzz_expect(f->started_at_ms == got.started_at_ms && f->ended_at_ms == got.ended_at_ms && f->tables == got.tables &&
			f->rows == got.rows && f->content_bytes == got.content_bytes && f->archive_bytes == got.archive_bytes &&
			f->is_encrypted == got.is_encrypted && f->archive.body_bytes == got.archive.body_bytes,
		"facts with another number");
	fuzz_expect(memcmp(f->archive.body_digest, got.archive.body_digest, BODY_DIGEST_BYTES) == 0, "facts with another digest");
	if (f->files)
		fuzz_expect(f->files == got.files && f->files_bytes == got.files_bytes, "facts with other files");
}

/* The list believes no object: what is wrong with a set is its problem. */
static void check_list(struct repository *r)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct backup_set_info *list = NULL;
	size_t count = 0;
	int rc = backup_set_list(r, STACK, &list, &count, &err);

	fuzz_expect_error(rc, &err, FUZZ_CLASS(ERR_CORRUPT) | FUZZ_CLASS(ERR_CONFIG));
	for (size_t i = 0; rc == 0 && i < count; i++)
		fuzz_expect(list[i].problem || (strcmp(list[i].backup_id, ID) == 0 && strcmp(list[i].stack, STACK) == 0),
			"a set of another name without a problem");
	if (rc == 0)
		backup_set_list_release(list, count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const keys[] = {
		DIR SET_FACTS, DIR SET_ARCHIVE, DIR SET_ARCHIVE ".age", DIR SET_MANIFEST, DIR SET_MANIFEST ".age", NULL};
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct set_facts f cleanup(set_facts_release) = {0};
	struct verify_report report = {0};
	struct fuzz_place place;
	struct repository r = {.place = &place.base, .driver = &place.base, .name = (char *)(uintptr_t) "fuzz"};
	int rc;

	fuzz_place_init(&place, keys, data, size);
	check_list(&r);
	rc = set_facts_load(&r, STACK, ID, &f, &err);
	fuzz_expect_error(rc, &err, FUZZ_CLASS(ERR_CORRUPT) | FUZZ_CLASS(ERR_CONFIG));
	fuzz_expect(rc != 0, "facts that are there and not found");
	if (rc < 0)
		return 0;
	check_again(&f);
	r.is_encrypted = f.is_encrypted;
	fuzz_expect_error(set_facts_verify(&r, &f, VERIFY_CHECKSUMS, NULL, NULL, &report, &err), &err, FUZZ_CLASS(ERR_CORRUPT));
	return 0;
}

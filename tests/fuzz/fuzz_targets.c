/*
 * Whatever bytes a run finds as its targets: read, or refused as damaged.  What is read is written and read again to the same text.
 * No repository is there: what would be opened has failed, which is noted.
 */
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "orchestrator/steps/targets.h"
#include "tests/fuzz/support.h"

#define NAME "targets.json"

static int open_nothing(struct step_host *host, const char *name, unsigned flags, struct repository **ret, struct error *err)
{
	(void)host;
	(void)flags;
	(void)ret;
	fuzz_expect(name != NULL, "a repository without a name");
	return err_set(err, ERR_RETRY, "nobody answers");
}

static void check_again(struct step_context *ctx, const struct backup_targets *t, const char *path)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct buf text cleanup(buf_release) = {0}, again cleanup(buf_release) = {0};
	struct backup_targets got cleanup(targets_release) = {0};
	int rc;

	fuzz_expect(targets_save(ctx, t, &err) == 0 && io_read_file(path, &text, &err) == 1, "targets that cannot be written");
	rc = targets_load(ctx, &got, &err);
	fuzz_expect_error(rc, &err, ~0u);
	fuzz_expect(got.count == t->count, "targets that are written and cannot be read");
	err_clear(&err);
	fuzz_expect(
		targets_save(ctx, &got, &err) == 0 && io_read_file(path, &again, &err) == 1, "targets that cannot be written");
	fuzz_expect(strcmp(buf_str(&text), buf_str(&again)) == 0, "targets that are written in another way");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct step_host host = {.open_repository = open_nothing};
	struct step_context ctx = {.host = &host, .run_dir = fuzz_dir(), .run_id = "R"};
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct backup_targets t cleanup(targets_release) = {0};
	char *path cleanup(mem_freep) = fuzz_file(NAME, data, size);
	int rc = targets_load(&ctx, &t, &err);

	fuzz_expect_error(rc, &err, ~0u);
	fuzz_expect(rc != 0, "targets that are there and not found");
	if (t.count == 0 || err.class == ERR_CORRUPT)
		return 0;
	for (size_t i = 0; i < t.count; i++)
		fuzz_expect(t.names[i] && !t.list[i].repository, "a target that is not whole");
	check_again(&ctx, &t, path);
	return 0;
}

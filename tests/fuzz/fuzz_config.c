/*
 * Whatever text is taken for a configuration: read, or refused with the place that is wrong.  What is read is whole: everything is
 * found by its name, and each name that is used is there.  No value is looked up and no command run.
 */
#include <stdlib.h>
#include <string.h>

#include "orchestrator/stack/config.h"
#include "tests/fuzz/support.h"

#define NAME "holdfast.yaml"

static void check_stack(const struct config *c, const struct config_stack *s)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct retention_policy policy = {0};
	const char *zone = NULL;

	fuzz_expect(config_stack(c, s->name) == s && stack_name_is_valid(s->name), "a stack that is not found by its name");
	fuzz_expect(s->repositories_count > 0 && s->jobs >= 0, "a stack that is not whole");
	for (size_t i = 0; i < s->repositories_count; i++)
		fuzz_expect(config_repository(c, s->repositories[i]) != NULL, "a repository that is used and not there");
	fuzz_expect_error(config_stack_retention(s, &policy, &zone, &err), &err, FUZZ_CLASS(ERR_CONFIG));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct config c cleanup(config_release) = {0};
	int rc = config_parse(NAME, (const char *)data, size, &c, &err);

	fuzz_expect_error(rc, &err, FUZZ_CLASS(ERR_CONFIG));
	if (rc < 0) {
		fuzz_expect(strstr(err.message, NAME) != NULL, "a failure without its place");
		return 0;
	}
	for (size_t i = 0; i < c.repositories_count; i++)
		fuzz_expect(config_repository(&c, c.repositories[i].name) == &c.repositories[i],
			"a repository that is not found by its name");
	for (size_t i = 0; i < c.stacks_count; i++)
		check_stack(&c, &c.stacks[i]);
	return 0;
}

/*
 * One value in whatever text is taken for an env file, a VERSION file or a YAML file: it is written as it is asked for, or refused;
 * putting back what stood there gives the same bytes again; and so does taking the mark away from what was commented out.
 *
 * The input: a digit for the kind of file, one for the part of the value, and lines with the key, the new value and the text.
 */
#include <stdlib.h>
#include <string.h>

#include "orchestrator/stack/edit.h"
#include "tests/fuzz/support.h"

#define MARK "# commented out by holdfast R: "
#define CLASSES (FUZZ_CLASS(ERR_CONFIG))

struct input {
	struct edit_place at;
	char *key, *value;
	struct edit_text text;
};

static char *take_line(const char **p, const char *end)
{
	const char *nl = *p < end ? memchr(*p, '\n', (size_t)(end - *p)) : NULL, *to = nl ? nl : end;
	char *line = mem_strndup(*p, (size_t)(to - *p));

	*p = nl ? nl + 1 : end;
	return line;
}

static int read_input(const uint8_t *data, size_t size, struct input *ret)
{
	const char *p = (const char *)data + 3, *end = (const char *)data + size;

	if (size < 4)
		return -1;
	*ret = (struct input){.at = {.kind = (enum edit_kind)(data[0] % 3), .part = (enum edit_part)(data[1] % 3), .file = "x"}};
	ret->key = take_line(&p, end);
	ret->value = take_line(&p, end);
	ret->text = (struct edit_text){p, (size_t)(end - p)};
	ret->at.key = ret->at.kind == EDIT_LINE ? NULL : ret->key;
	if (ret->at.kind != EDIT_YAML)
		ret->at.part = EDIT_WHOLE;
	return 0;
}

static void input_release(struct input *i)
{
	free(i->key);
	free(i->value);
}

static bool is_text(const struct buf *b, struct edit_text t)
{
	return b->len == t.n && memcmp(buf_str(b), t.p, t.n) == 0;
}

static void check_edit(const struct input *in)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct buf out cleanup(buf_release) = {0}, back cleanup(buf_release) = {0};
	char *raw cleanup(mem_freep) = NULL, *old cleanup(mem_freep) = NULL;
	int had = edit_get(&in->at, in->text, &old, &raw, &err), rc;

	fuzz_expect_error(had, &err, CLASSES);
	err_clear(&err);
	rc = edit_set(&in->at, in->text, in->value, &out, &err);
	fuzz_expect_error(rc, &err, CLASSES);
	if (rc < 0)
		return;
	fuzz_expect(had >= 0, "what cannot be read was written");
	rc = edit_put_back(&in->at, (struct edit_text){buf_str(&out), out.len}, had ? raw : NULL, &back, &err);
	fuzz_expect(rc == 0, "what was written cannot be put back");
	fuzz_expect(is_text(&back, in->text), "what was put back is not what was there");
}

static void check_comment(const struct input *in)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct buf out cleanup(buf_release) = {0}, back cleanup(buf_release) = {0};
	int count;

	if (memmem(in->text.p, in->text.n, MARK, strlen(MARK)))
		return;
	count = edit_comment("x", in->text, in->key, MARK, &out, &err);
	fuzz_expect_error(count, &err, CLASSES);
	if (count < 0)
		return;
	fuzz_expect((count == 0) == is_text(&out, in->text), "something was commented out, or not, and not told");
	edit_uncomment((struct edit_text){buf_str(&out), out.len}, MARK, &back);
	fuzz_expect(is_text(&back, in->text), "what was commented out does not come back");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in cleanup(input_release) = {0};

	if (read_input(data, size, &in) < 0)
		return 0;
	check_edit(&in);
	if (in.at.kind == EDIT_ENV)
		check_comment(&in);
	return 0;
}

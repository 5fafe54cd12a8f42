/*
 * Whatever bytes are taken for a journal: read up to a torn tail, or refused as damaged and left as they are.  What can be read can be
 * opened, which cuts the tail and nothing else, and be gone on with.  The records go through the state of a run, as everywhere.
 *
 * An input that begins with '!' is lines of JSON: they get the checksums that no chance would find.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/json.h"
#include "orchestrator/engine/journal.h"
#include "orchestrator/engine/state.h"
#include "tests/fuzz/support.h"

static void frame(const uint8_t *data, size_t size, struct buf *out)
{
	const char *p = (const char *)data, *end = p + size;

	while (p < end) {
		const char *newline = memchr(p, '\n', (size_t)(end - p));
		size_t n = newline ? (size_t)(newline - p) : (size_t)(end - p);

		buf_printf(out, "%08x ", crc32c(p, n));
		buf_putn(out, p, n);
		if (newline)
			buf_putc(out, '\n');
		p += n + 1;
	}
}

static int count(void *ctx, const json_t *record, struct error *err)
{
	(void)err;
	fuzz_expect(json_is_object(record), "a record that is no object");
	++*(uint64_t *)ctx;
	return 0;
}

static void check_state(const char *path)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct run_state s cleanup(state_release) = {0};
	json_t *outputs cleanup(json_decrefpp) = NULL;
	size_t in_flight = 0;

	if (journal_read(path, state_apply, &s, &err) < 0) {
		fuzz_expect_error(-1, &err, FUZZ_CLASS(ERR_CORRUPT) | FUZZ_CLASS(ERR_CONFIG));
		return;
	}
	fuzz_expect(s.created && s.run_id && s.stack && s.plan &&
			s.steps_count == json_array_size(json_object_get(s.created, "steps")),
		"a state that is not whole");
	for (size_t i = 0; i < s.steps_count; i++) {
		in_flight += s.steps[i].state == STEP_IN_FLIGHT;
		fuzz_expect(s.steps[i].attempts >= 0 && s.steps[i].id && s.steps[i].uses, "a step that is not whole");
	}
	fuzz_expect(in_flight <= 1, "two steps at once");
	outputs = state_outputs(&s);
	fuzz_expect(json_is_object(outputs), "no outputs");
}

static void read_all(const char *path, struct buf *ret)
{
	struct error err cleanup(err_clear) = ERROR_INIT;

	fuzz_expect(io_read_file(path, ret, &err) == 1, "the file cannot be read");
}

static void go_on(struct journal *j, const char *path, uint64_t records)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	json_t *record cleanup(json_decrefpp) = json_pack("{s:s}", "type", "test");
	uint64_t now = 0;

	fuzz_expect(journal_append(j, record, &err) == 0, "a journal that takes no record");
	fuzz_expect(journal_read(path, count, &now, &err) == 1 && now == records + 1, "a record that is not there");
}

static void check_opened(const char *path, const struct buf *text, uint64_t records)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct journal j cleanup(journal_close) = JOURNAL_INIT;
	struct buf now cleanup(buf_release) = {0};
	uint64_t again = 0;

	fuzz_expect(journal_open(&j, path, count, &again, &err) == 0, "a journal that is read and cannot be opened");
	fuzz_expect(again == records && j.last_seq == records, "a journal opened with other records");
	read_all(path, &now);
	fuzz_expect(now.len == (size_t)j.size_bytes && now.len <= text->len && memcmp(buf_str(&now), buf_str(text), now.len) == 0,
		"more was cut than the tail");
	go_on(&j, path, records);
}

static void check_refused(const char *path, const struct buf *text, const struct error *why)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct journal j cleanup(journal_close) = JOURNAL_INIT;
	struct buf now cleanup(buf_release) = {0};
	uint64_t again = 0;

	fuzz_expect_error(-1, why, FUZZ_CLASS(ERR_CORRUPT));
	fuzz_expect(journal_open(&j, path, count, &again, &err) < 0 && strcmp(err.message, why->message) == 0,
		"a journal that is not read and can be opened");
	read_all(path, &now);
	fuzz_expect(now.len == text->len && memcmp(buf_str(&now), buf_str(text), now.len) == 0, "a damaged journal was changed");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct buf text cleanup(buf_release) = {0};
	char *path cleanup(mem_freep) = NULL;
	uint64_t records = 0;

	if (size > 0 && data[0] == '!')
		frame(data + 1, size - 1, &text);
	else
		buf_putn(&text, (const char *)data, size);
	path = fuzz_file("journal", (const uint8_t *)buf_str(&text), text.len);
	if (journal_read(path, count, &records, &err) < 0) {
		check_refused(path, &text, &err);
		return 0;
	}
	check_state(path);
	check_opened(path, &text, records);
	return 0;
}

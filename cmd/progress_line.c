/*
 * The progress line.  What does not fit the terminal is left out part by part, the least telling first, never cut in the middle.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "cmd/output.h"
#include "cmd/ui.h"

/* In the order of the line. */
enum part { PART_PHASE, PART_PERCENT, PART_AMOUNT, PART_RATE, PART_LEFT, PART_ITEMS, PART_ROWS, PART_ELAPSED, PART_COUNT };

/* In the order in which they go. */
static const enum part dispensable[PART_COUNT] = {
	PART_ROWS, PART_ITEMS, PART_AMOUNT, PART_RATE, PART_PHASE, PART_ELAPSED, PART_LEFT, PART_PERCENT};

/* A span that runs or shrinks while one looks: whole seconds do. */
static char *whole_seconds(int64_t ms, const char *suffix)
{
	char text[CLOCK_TEXT_BYTES];

	if (ms < 60000)
		return mem_printf("%ds%s", (int)(ms / 1000), suffix);
	return mem_printf("%s%s", duration_format(ms / 1000 * 1000, text), suffix);
}

static char *amount(uint64_t bytes, uint64_t total)
{
	char a[CLOCK_TEXT_BYTES], b[CLOCK_TEXT_BYTES];

	return total ? mem_printf("%s of %s", size_format(bytes, a), size_format(total, b))
		     : mem_printf("%s", size_format(bytes, a));
}

static char *row_count(uint64_t rows)
{
	char *count cleanup(mem_freep) = text_count(rows);

	return mem_printf("%s rows", count);
}

/* What is not known stays NULL.  More than was expected: neither percentage nor time left would be true. */
static void make_parts(const struct progress *p, uint64_t bytes_per_s, int64_t elapsed_ms, char *parts[PART_COUNT])
{
	uint64_t bytes = atomic_load(&p->bytes), total = atomic_load(&p->bytes_total), rows = atomic_load(&p->rows);
	uint64_t items = atomic_load(&p->items), items_total = atomic_load(&p->items_total);
	const char *phase = atomic_load(&p->phase);
	char rate[CLOCK_TEXT_BYTES];

	if (phase)
		parts[PART_PHASE] = mem_strdup(phase);
	if (total && bytes <= total)
		parts[PART_PERCENT] = mem_printf("%3.0f%%", 100.0 * (double)bytes / (double)total);
	if (bytes)
		parts[PART_AMOUNT] = amount(bytes, total);
	if (bytes_per_s)
		parts[PART_RATE] = mem_printf("%s/s", size_format(bytes_per_s, rate));
	if (bytes_per_s && total > bytes)
		parts[PART_LEFT] = whole_seconds((int64_t)((total - bytes) / bytes_per_s) * 1000, " left");
	if (items_total)
		parts[PART_ITEMS] = mem_printf("%llu/%llu", (unsigned long long)items, (unsigned long long)items_total);
	if (rows)
		parts[PART_ROWS] = row_count(rows);
	parts[PART_ELAPSED] = whole_seconds(elapsed_ms, "");
}

static size_t width_of(const char *step, char *const parts[PART_COUNT])
{
	size_t n = strlen(step);

	for (size_t i = 0; i < PART_COUNT; i++)
		n += parts[i] ? strlen(parts[i]) + 2 : 0;
	return n;
}

void ui_progress_line(
	const char *step, const struct progress *p, uint64_t bytes_per_s, int64_t elapsed_ms, unsigned width, struct buf *out)
{
	char *parts[PART_COUNT] = {NULL};

	make_parts(p, bytes_per_s, elapsed_ms, parts);
	for (size_t i = 0; width && i < PART_COUNT && width_of(step, parts) > width; i++) {
		free(parts[dispensable[i]]);
		parts[dispensable[i]] = NULL;
	}
	buf_printf(out, "%.*s", width ? (int)width : (int)strlen(step), step);
	for (size_t i = 0; i < PART_COUNT; i++) {
		if (parts[i])
			buf_printf(out, "  %s", parts[i]);
		free(parts[i]);
	}
}

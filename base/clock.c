#include "base/clock.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int64_t now_us(clockid_t id)
{
	struct timespec ts = {0};

	(void)clock_gettime(id, &ts); /* fails for an unknown clock only */
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t clock_utc_ms(void)
{
	return now_us(CLOCK_REALTIME) / 1000;
}

int64_t clock_mono_ms(void)
{
	return now_us(CLOCK_MONOTONIC) / 1000;
}

int64_t clock_mono_us(void)
{
	return now_us(CLOCK_MONOTONIC);
}

static struct tm split(int64_t utc_ms, int *ret_ms)
{
	int64_t ms = utc_ms % 1000;
	struct tm tm = {0};
	time_t s;

	if (ms < 0)
		ms += 1000;
	s = (utc_ms - ms) / 1000;
	(void)gmtime_r(&s, &tm);
	*ret_ms = (int)ms;
	return tm;
}

char *clock_format(int64_t utc_ms, char *out)
{
	int ms;
	struct tm tm = split(utc_ms, &ms);
	size_t n = strftime(out, CLOCK_TEXT_BYTES, "%Y-%m-%dT%H:%M:%S", &tm);

	(void)snprintf(out + n, CLOCK_TEXT_BYTES - n, ".%03dZ", ms);
	return out;
}

char *clock_format_compact(int64_t utc_ms, char *out)
{
	int ms;
	struct tm tm = split(utc_ms, &ms);

	if (strftime(out, CLOCK_TEXT_BYTES, "%Y%m%dT%H%M%SZ", &tm) == 0)
		out[0] = '\0'; /* a year of more than twenty digits */
	return out;
}

/* ${n} digits at *p, which moves behind them; -1 where there are fewer. */
static int digits(const char **p, int n)
{
	int value = 0;

	for (; n > 0; n--, (*p)++) {
		if (**p < '0' || **p > '9')
			return -1;
		value = value * 10 + (**p - '0');
	}
	return value;
}

static bool literal(const char **p, char c)
{
	if (**p != c)
		return false;
	(*p)++;
	return true;
}

static bool parse_fraction(const char **p, int *ret_ms)
{
	int ms = 0, scale = 100, count = 0;

	for (; **p >= '0' && **p <= '9'; (*p)++, count++, scale /= 10)
		ms += (**p - '0') * scale;
	*ret_ms = ms;
	return count > 0 && count <= 9;
}

int clock_parse(const char *text, int64_t *ret_utc_ms, struct error *err)
{
	static const struct {
		int width, low, high;
		char after;
	} fields[] = {{4, 0, 9999, '-'}, {2, 1, 12, '-'}, {2, 1, 31, 'T'}, {2, 0, 23, ':'}, {2, 0, 59, ':'}, {2, 0, 60, '\0'}};
	const char *p = text;
	int value[6], ms = 0;
	struct tm tm = {0};
	time_t s;

	for (size_t i = 0; i < array_len(fields); i++) {
		value[i] = digits(&p, fields[i].width);
		if (value[i] < fields[i].low || value[i] > fields[i].high || (fields[i].after && !literal(&p, fields[i].after)))
			goto wrong;
	}
	if (literal(&p, '.') && !parse_fraction(&p, &ms))
		goto wrong;
	if (!literal(&p, 'Z') || *p)
		goto wrong;
	tm.tm_year = value[0] - 1900;
	tm.tm_mon = value[1] - 1;
	tm.tm_mday = value[2];
	tm.tm_hour = value[3];
	tm.tm_min = value[4];
	tm.tm_sec = value[5];
	s = timegm(&tm);
	if (tm.tm_mday != value[2])
		goto wrong; /* 31 April */
	*ret_utc_ms = (int64_t)s * 1000 + ms;
	return 0;
wrong:
	return err_set(err, ERR_CONFIG, "\"%s\" is no time of the form \"2026-11-20T03:15:00Z\"", text);
}

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit duration_units[] = {
	{"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 3600 * 1000}, {"d", 24 * 3600 * 1000}, {"w", 7 * 24 * 3600 * 1000}};

static const struct unit size_units[] = {{"", 1}, {"B", 1}, {"kB", 1000}, {"KB", 1000}, {"MB", 1000000}, {"GB", 1000000000},
	{"TB", 1000000000000}, {"KiB", 1024}, {"kiB", 1024}, {"MiB", (uint64_t)1 << 20}, {"GiB", (uint64_t)1 << 30},
	{"TiB", (uint64_t)1 << 40}};

/* A whole number at *p, which moves behind it: false where there is none, or it is past ${max}. */
static bool parse_number(const char **p, uint64_t max, uint64_t *ret)
{
	const char *start = *p;
	uint64_t value = 0;

	for (; **p >= '0' && **p <= '9'; (*p)++) {
		unsigned digit = (unsigned)(**p - '0');

		if (value > (max - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	*ret = value;
	return *p > start;
}

/* The letters at *p must be one of the units; *p moves behind them. */
static const struct unit *parse_unit(const char **p, const struct unit *units, size_t count)
{
	size_t n = strspn(*p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");

	for (size_t i = 0; i < count; i++) {
		if (strlen(units[i].name) == n && strncmp(units[i].name, *p, n) == 0) {
			*p += n;
			return &units[i];
		}
	}
	return NULL;
}

int duration_parse(const char *text, int64_t *ret_ms, struct error *err)
{
	uint64_t total = 0, last_factor = UINT64_MAX;
	const char *p = text;

	if (strcmp(text, "0") == 0) {
		*ret_ms = 0;
		return 0;
	}
	do {
		const struct unit *unit;
		uint64_t number;

		if (!parse_number(&p, INT64_MAX, &number))
			goto wrong;
		if (!*p && p > text) {
			(void)err_set(err, ERR_CONFIG, "duration \"%s\" has no unit", text);
			return err_hint(err, "Write \"%ss\" for seconds; the units are ms, s, m, h, d and w.", text);
		}
		unit = parse_unit(&p, duration_units, array_len(duration_units));
		/* "1h30m", never "30m1h" or "1h1h": what is written twice was meant otherwise */
		if (!unit || unit->factor >= last_factor || number > ((uint64_t)INT64_MAX - total) / unit->factor)
			goto wrong;
		last_factor = unit->factor;
		total += number * unit->factor;
	} while (*p);
	*ret_ms = (int64_t)total;
	return 0;
wrong:
	(void)err_set(err, ERR_CONFIG, "\"%s\" is no duration", text);
	return err_hint(err, "Durations look like \"500ms\", \"30s\", \"10m\", \"1h30m\" or \"2d\".");
}

char *duration_format(int64_t ms, char *out)
{
	int64_t s = ms / 1000;

	if (ms < 1000)
		(void)snprintf(out, CLOCK_TEXT_BYTES, "%" PRId64 "ms", ms);
	else if (ms < 60 * 1000)
		(void)snprintf(out, CLOCK_TEXT_BYTES, "%" PRId64 ".%" PRId64 "s", s, ms % 1000 / 100);
	else if (s < 3600)
		(void)snprintf(out, CLOCK_TEXT_BYTES, "%" PRId64 "m%02" PRId64 "s", s / 60, s % 60);
	else if (s < 24 * 3600)
		(void)snprintf(out, CLOCK_TEXT_BYTES, "%" PRId64 "h%02" PRId64 "m", s / 3600, s % 3600 / 60);
	else
		(void)snprintf(out, CLOCK_TEXT_BYTES, "%" PRId64 "d%02" PRId64 "h", s / 86400, s % 86400 / 3600);
	return out;
}

int size_parse(const char *text, uint64_t *ret_bytes, struct error *err)
{
	const struct unit *unit;
	const char *p = text;
	uint64_t number;

	if (!parse_number(&p, UINT64_MAX, &number))
		goto wrong;
	unit = parse_unit(&p, size_units, array_len(size_units));
	if (!unit || *p || number > UINT64_MAX / unit->factor)
		goto wrong;
	*ret_bytes = number * unit->factor;
	return 0;
wrong:
	(void)err_set(err, ERR_CONFIG, "\"%s\" is no size", text);
	return err_hint(err, "Sizes look like \"64MiB\", \"1GB\", \"512kB\" or \"4096\".");
}

char *size_format(uint64_t bytes, char *out)
{
	static const char *const names[] = {"kB", "MB", "GB", "TB", "PB", "EB"};
	double value = (double)bytes / 1000;
	size_t i = 0;

	if (bytes < 1000) {
		(void)snprintf(out, CLOCK_TEXT_BYTES, "%" PRIu64 " B", bytes);
		return out;
	}
	/* 999.995 and more would be printed as 1000.00: three figures of the next unit instead */
	for (; value >= 999.5 && i + 1 < array_len(names); i++)
		value /= 1000;
	(void)snprintf(out, CLOCK_TEXT_BYTES, "%.*f %s", value < 9.995 ? 2 : value < 99.95 ? 1 : 0, value, names[i]);
	return out;
}

/*
 * Time, durations and sizes as text.  Times of day are UTC milliseconds since 1970; spans come from the monotonic clock.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>
#include "base/error.h"

int64_t clock_utc_ms(void);
int64_t clock_mono_ms(void);
int64_t clock_mono_us(void);

#define CLOCK_TEXT_BYTES 32
/* "2026-11-20T03:15:00.123Z" / "20261120T031500Z", into ${out} of CLOCK_TEXT_BYTES; returns ${out}. */
char *clock_format(int64_t utc_ms, char *out);
char *clock_format_compact(int64_t utc_ms, char *out);
/* Reads what clock_format() writes (fraction optional).  Fails with ERR_CONFIG. */
int clock_parse(const char *text, int64_t *ret_utc_ms, struct error *err) must_check;

/* "500ms", "30s", "10m", "1h30m", "2d"; a number without a unit is refused (except 0).  Fails with ERR_CONFIG. */
int duration_parse(const char *text, int64_t *ret_ms, struct error *err) must_check;
char *duration_format(int64_t ms, char *out); /* "1h05m", "2m03s", "4.2s", "310ms" */
/* "64MiB", "1GB", "512kB" (1000), "4096"; fails with ERR_CONFIG. */
int size_parse(const char *text, uint64_t *ret_bytes, struct error *err) must_check;
char *size_format(uint64_t bytes, char *out); /* "1.43 GB" (powers of 1000) */

#endif

/*
 * What fuzz targets share: how they tell that a property does not hold, and a place for objects.
 *
 * A target is one function, LLVMFuzzerTestOneInput().  It is linked with libFuzzer ("make fuzz"), and with corpus.c for the short form
 * in "make check".  Whatever bytes it gets, it must come to the same end each time.
 */
#ifndef TESTS_FUZZ_SUPPORT_H
#define TESTS_FUZZ_SUPPORT_H

#include "storage/drivers/driver.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the process, with ${what} on stderr, where it is not so. */
#define fuzz_expect(is_so, what) ((is_so) ? (void)0 : fuzz_fail(what))
void fuzz_fail(const char *what) __attribute__((noreturn));
/* A failure has a message and one of the classes ${classes} (bits: FUZZ_CLASS); success (${rc} >= 0) has filled nothing. */
#define FUZZ_CLASS(class) (1u << (class))
void fuzz_expect_error(int rc, const struct error *err, unsigned classes);

char *fuzz_text(const uint8_t *data, size_t size) must_check; /* with a NUL behind it; malloc'd */

/* A directory below $TMPDIR (/dev/shm: nothing in it has to last) for this process, removed when it ends well; made once. */
const char *fuzz_dir(void);
/* Makes the file ${name} in it, or gives it another content; its path is malloc'd. */
char *fuzz_file(const char *name, const uint8_t *data, size_t size) must_check;

/* A place whose every object has the same few bytes: those that are fuzzed. */
struct fuzz_place {
	struct driver base;
	const char *const *keys; /* NULL-terminated: what there is */
	const uint8_t *data;
	size_t size;
};
void fuzz_place_init(struct fuzz_place *p, const char *const *keys, const uint8_t *data, size_t size);

#endif

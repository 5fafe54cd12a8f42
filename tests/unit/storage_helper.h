/*
 * For the tests of storage/: a temporary directory with a local driver over it, content of any size from a seed, and exact
 * looks at errors.
 */
#ifndef TESTS_UNIT_STORAGE_HELPER_H
#define TESTS_UNIT_STORAGE_HELPER_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "storage/archive/archive.h"
#include "storage/drivers/driver.h"

struct place {
	char *dir;
	struct driver *driver;
};
void place_make(struct place *p);
void place_remove(struct place *p);                                                  /* with everything in it */
char *place_path(const struct place *p, const char *key);                            /* malloc'd */
void place_put(const struct place *p, const char *key, const void *bytes, size_t n); /* past the driver */
void place_get(const struct place *p, const char *key, struct buf *ret);
unsigned place_count_files(const struct place *p); /* of any name, temporary ones included */

/* Half of the bytes compress well, the others not at all; the same for the same seed. */
void content_fill(char *p, size_t n, uint64_t seed);

/* Fails the test, with what ${err} says, unless ${rc} is 0. */
#define assert_ok(rc, err) assert_ok_at(rc, err, __FILE__, __LINE__)
void assert_ok_at(int rc, struct error *err, const char *file, int line);
/* Fails the test unless ${rc} is -1 with this class and this message; clears ${err}. */
#define assert_error(rc, err, class, message) assert_error_at(rc, err, class, message, __FILE__, __LINE__)
void assert_error_at(int rc, struct error *err, enum err_class class, const char *message, const char *file, int line);

#endif

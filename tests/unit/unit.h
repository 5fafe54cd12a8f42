/*
 * What every unit test needs: cmocka in the order of headers it wants, errors compared word by word, a directory of its own.
 */
#ifndef TESTS_UNIT_UNIT_H
#define TESTS_UNIT_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/io.h"

/* Class and message (detail and hint where given) are what is expected; ${err} is cleared. */
#define assert_error(err, class, message) unit_assert_error(err, class, message, NULL, NULL, __FILE__, __LINE__)
#define assert_error_full(err, class, message, detail, hint) \
	unit_assert_error(err, class, message, detail, hint, __FILE__, __LINE__)

static inline void unit_same(const char *got, const char *want, const char *file, int line)
{
	if (!got || strcmp(got, want) != 0)
		print_error("got:  %s\nwant: %s\n", got ? got : "(null)", want);
	_assert_true(got && strcmp(got, want) == 0, want, file, line);
}

static inline void unit_assert_error(struct error *err, enum err_class class, const char *message, const char *detail,
	const char *hint, const char *file, int line)
{
	unit_same(err->message, message, file, line);
	unit_same(err_class_name(err->class), err_class_name(class), file, line);
	if (detail)
		unit_same(err->detail, detail, file, line);
	if (hint)
		unit_same(err->hint, hint, file, line);
	err_clear(err);
}

/* For a call that must succeed: says why not. */
#define assert_ok(call, err) unit_assert_ok((call) >= 0, err, #call, __FILE__, __LINE__)

static inline void unit_assert_ok(bool is_ok, struct error *err, const char *call, const char *file, int line)
{
	if (!is_ok)
		print_error("%s: %s\n", call, err->message ? err->message : "failed without a message");
	_assert_true(is_ok, call, file, line);
	_assert_true(err->message == NULL, "no error left behind by a success", file, line);
}

/* A directory for one test; unit_rmdir() removes it.  The path is malloc'd. */
static inline char *unit_mkdir(void)
{
	const char *top = getenv("TMPDIR");
	char *path = mem_printf("%s/hf-unit.XXXXXX", top ? top : "/tmp");

	assert_non_null(mkdtemp(path));
	return path;
}

static inline void unit_rmdir(char *path)
{
	struct error err = ERROR_INIT;

	assert_ok(io_remove_tree(path, &err), &err);
	free(path);
}

#endif

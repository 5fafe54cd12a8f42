#include "tests/unit/storage_helper.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"

void place_make(struct place *p)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	const char *tmp = getenv("TMPDIR");

	p->dir = mem_printf("%s/holdfast-storage-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(p->dir));
	assert_ok(driver_local_open(p->dir, false, &p->driver, &err), &err);
}

void place_remove(struct place *p)
{
	struct error err cleanup(err_clear) = ERROR_INIT;

	p->driver->ops->close(p->driver);
	assert_ok(io_remove_tree(p->dir, &err), &err);
	free(p->dir);
}

char *place_path(const struct place *p, const char *key)
{
	return mem_printf("%s/%s", p->dir, key);
}

void place_put(const struct place *p, const char *key, const void *bytes, size_t n)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	char *path cleanup(mem_freep) = place_path(p, key), *dir cleanup(mem_freep) = io_path_dir(path);

	assert_ok(io_make_dirs(dir, &err), &err);
	assert_ok(io_replace_file(path, bytes, n, 0600, &err), &err);
}

void place_get(const struct place *p, const char *key, struct buf *ret)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	char *path cleanup(mem_freep) = place_path(p, key);

	assert_int_equal(io_read_file(path, ret, &err), 1);
}

static unsigned files;

static int count_file(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)path;
	(void)st;
	(void)at;
	files += type != FTW_D;
	return 0;
}

unsigned place_count_files(const struct place *p)
{
	files = 0;
	assert_int_equal(nftw(p->dir, count_file, 8, FTW_PHYS), 0);
	return files;
}

void content_fill(char *p, size_t n, uint64_t seed)
{
	uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;

	for (size_t i = 0; i < n; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		p[i] = i / 1024 % 2 ? (char)x : "1234\tabcdef\t2026-11-20\n"[i % 23];
	}
}

void assert_ok_at(int rc, struct error *err, const char *file, int line)
{
	if (rc == 0)
		return;
	print_error("%s (%s; %s)\n", err->message, err_class_name(err->class), err->detail ? err->detail : "no detail");
	_fail(file, line);
}

void assert_error_at(int rc, struct error *err, enum err_class class, const char *message, const char *file, int line)
{
	if (rc == -1 && err->class == class && strcmp(err->message, message) == 0) {
		err_clear(err);
		return;
	}
	print_error("returned %d, %s: %s\n  instead of %s: %s\n", rc, err_class_name(err->class),
		err->message ? err->message : "nothing", err_class_name(class), message);
	_fail(file, line);
}

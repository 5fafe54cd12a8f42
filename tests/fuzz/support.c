#include "tests/fuzz/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"

void fuzz_fail(const char *what)
{
	(void)fprintf(stderr, "%s\n", what);
	abort();
}

void fuzz_expect_error(int rc, const struct error *err, unsigned classes)
{
	if (rc >= 0) {
		fuzz_expect(err->class == ERR_NONE && !err->message, "success that left an error");
		return;
	}
	fuzz_expect(err->class != ERR_NONE && err->message && *err->message, "a failure that does not say why");
	if (!(FUZZ_CLASS(err->class) & classes)) {
		(void)fprintf(stderr, "%s: %s\n", err_class_name(err->class), err->message);
		fuzz_fail("a failure of another class");
	}
}

char *fuzz_text(const uint8_t *data, size_t size)
{
	char *text = mem_alloc(size + 1);

	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	return text;
}

/* --- files ----------------------------------------------------------------------------------------------------------------- */

static char *dir;
static pid_t dir_owner;

static void remove_dir(void)
{
	struct error err cleanup(err_clear) = ERROR_INIT;

	if (dir_owner == getpid() && io_remove_tree(dir, &err) < 0)
		(void)fprintf(stderr, "%s\n", err.message);
	free(dir);
}

const char *fuzz_dir(void)
{
	const char *place = dir ? dir : getenv("TMPDIR");
	char *made;

	if (dir && dir_owner == getpid())
		return dir;
	if (!place || !*place)
		place = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	made = mem_printf("%s/hf-fuzz.XXXXXX", place);
	fuzz_expect(mkdtemp(made) != NULL, "no directory could be made");
	fuzz_expect(dir || atexit(remove_dir) == 0, "no function can be called at the end");
	free(dir);
	dir = made;
	dir_owner = getpid();
	return dir;
}

char *fuzz_file(const char *name, const uint8_t *data, size_t size)
{
	char *path = io_path_join(fuzz_dir(), name);
	FILE *f = fopen(path, "we");

	fuzz_expect(f && (size == 0 || fwrite(data, 1, size, f) == size) && fclose(f) == 0, "a file could not be written");
	return path;
}

/* --- a place --------------------------------------------------------------------------------------------------------------- */

static bool has(const struct fuzz_place *p, const char *key)
{
	for (size_t i = 0; p->keys[i]; i++)
		if (strcmp(p->keys[i], key) == 0)
			return true;
	return false;
}

static int read_range(struct driver *d, const char *key, uint64_t offset, void *p, size_t n, struct error *err)
{
	const struct fuzz_place *place = (const struct fuzz_place *)d;

	if (!has(place, key))
		return 0;
	if (offset > place->size || n > place->size - offset)
		return err_set(err, ERR_CORRUPT, "too short");
	if (n)
		memcpy(p, place->data + offset, n);
	return 1;
}

static int stat_object(struct driver *d, const char *key, struct driver_object *ret, struct error *err)
{
	const struct fuzz_place *place = (const struct fuzz_place *)d;

	(void)err;
	if (!has(place, key))
		return 0;
	*ret = (struct driver_object){.key = key, .size_bytes = place->size};
	return 1;
}

static int list(struct driver *d, const char *prefix, int (*each)(void *ctx, const struct driver_object *o, struct error *err),
	void *ctx, struct error *err)
{
	const struct fuzz_place *place = (const struct fuzz_place *)d;

	for (size_t i = 0; place->keys[i]; i++) {
		const struct driver_object o = {.key = place->keys[i], .size_bytes = place->size};

		if (strncmp(o.key, prefix, strlen(prefix)) == 0 && each(ctx, &o, err) < 0)
			return -1;
	}
	return 0;
}

void fuzz_place_init(struct fuzz_place *p, const char *const *keys, const uint8_t *data, size_t size)
{
	static const struct driver_ops ops = {.name = "memory", .read_range = read_range, .stat = stat_object, .list = list};

	*p = (struct fuzz_place){.base = {.ops = &ops}, .keys = keys, .data = data, .size = size};
}

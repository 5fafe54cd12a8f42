/*
 * Finding the PostgreSQL programs.  pg_dump refuses servers newer than itself, so the newest one installed is the right one; it must
 * be at least the server's version.
 */
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/child.h"
#include "orchestrator/postgres/dump.h"

struct found {
	char *path, *text;
	int major;
};

static void found_release(struct found *f)
{
	free(f->path);
	free(f->text);
}

/* "pg_dump (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)"; development versions are "18devel". */
static int major_of(const char *text)
{
	const char *p = strstr(text, "(PostgreSQL) ");

	return p ? atoi(p + 13) : 0;
}

static void child_done(struct child_result *r)
{
	child_result_release(r);
}

static void consider(const char *dir, const char *tool, struct found *best)
{
	char *path cleanup(mem_freep) = mem_printf("%s/%s", dir, tool);
	const char *const argv[] = {path, "--version", NULL};
	const struct child_spec spec = {.argv = argv, .deadline_ms = 10000};
	struct child_result r cleanup(child_done) = {0};
	struct error ignored cleanup(err_clear) = ERROR_INIT;
	int major;

	if (access(path, X_OK) < 0 || child_run_ok(&spec, &r, &ignored) < 0)
		return;
	major = major_of(buf_str(&r.out));
	if (major <= best->major)
		return;
	found_release(best);
	best->path = take_ptr(path);
	best->text = mem_strndup(buf_str(&r.out), strcspn(buf_str(&r.out), "\n"));
	best->major = major;
}

/* Where packages put them.  What is on PATH beside these is on Debian a script that looks for the same ones, at a tenth of a second a
 * call: it is asked only when none of them will do. */
static void consider_all(const char *tool, int wanted, struct found *best)
{
	static const char *const patterns[] = {"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin"};
	char *path cleanup(mem_freep) = mem_strdup(getenv("PATH") ? getenv("PATH") : "/usr/local/bin:/usr/bin:/bin");
	char *rest = path, *dir;

	for (size_t i = 0; i < array_len(patterns); i++) {
		glob_t g = {0};

		if (glob(patterns[i], 0, NULL, &g) == 0)
			for (size_t k = 0; k < g.gl_pathc; k++)
				consider(g.gl_pathv[k], tool, best);
		globfree(&g);
	}
	while (best->major < wanted && (dir = strsep(&rest, ":")))
		if (*dir)
			consider(dir, tool, best);
}

int pg_tool_find(
	const char *bindir, const char *tool, int server_version, char **ret_path, char **ret_version_text, struct error *err)
{
	struct found best cleanup(found_release) = {0};
	int wanted = server_version / 10000;

	if (bindir)
		consider(bindir, tool, &best);
	else
		consider_all(tool, wanted, &best);
	if (best.major < wanted) {
		err_set(err, ERR_REFUSED, "no \"%s\" of version %d or newer is installed", tool, wanted);
		if (best.path)
			err_detail(err, "The newest one found is \"%s\", version %d.", best.path, best.major);
		else if (bindir)
			err_detail(err, "There is none in directory \"%s\".", bindir);
		return err_hint(err, "Install the package postgresql-client-%d (Debian) or postgresql%d (RPM).", wanted, wanted);
	}
	*ret_path = take_ptr(best.path);
	*ret_version_text = take_ptr(best.text);
	return 0;
}

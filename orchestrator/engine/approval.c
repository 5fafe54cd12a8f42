#include "orchestrator/engine/approval.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/io.h"
#include "base/json.h"
#include "orchestrator/engine/person.h"

#define FORMAT "holdfast-approval/1"
#define MOST_BYTES 65536
#define WANTED ".wanted"
#define GIVEN ".given"
#define READABLE_MODE 0644 /* the directory says who gets there */

static char *directory(const char *state_dir)
{
	return io_path_join(state_dir, "approvals");
}

static char *path_of(const char *state_dir, const char *run, const char *step, const char *what)
{
	return mem_printf("%s/approvals/%s.%s%s", state_dir, run, step, what);
}

static const char *text_of(const json_t *o, const char *name)
{
	return json_get_str(o, name, "");
}

/* --- reading what others may have put there --- */

/* NULL: it is a file of one name that only its owner may write to. */
static const char *flaw_of(const struct stat *st)
{
	if (!S_ISREG(st->st_mode))
		return "is no regular file";
	if (st->st_nlink != 1)
		return "has another name, too (a hard link)";
	if (st->st_mode & (S_IWGRP | S_IWOTH))
		return "may be written to by others than its owner";
	return st->st_size > MOST_BYTES ? "is too large" : NULL;
}

/* 1 read, 0 missing, or there and not to be trusted (${ret_why}), -1. */
static int read_object(const char *path, uid_t *ret_owner, json_t **ret, char **ret_why, struct error *err)
{
	int fd cleanup(io_closep) = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct buf text cleanup(buf_release) = {0};
	struct error why cleanup(err_clear) = ERROR_INIT;
	char *room cleanup(mem_freep) = NULL;
	const char *flaw = NULL;
	struct stat st;
	ssize_t n;

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0 && (errno == ELOOP || errno == ENXIO || errno == EACCES))
		flaw = errno == ELOOP ? "is a symbolic link" : errno == ENXIO ? "is no regular file" : "cannot be read";
	else if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(err, "could not open file \"%s\"", path);
	if (!flaw)
		flaw = flaw_of(&st);
	if (flaw) {
		*ret_why = mem_printf("file \"%s\" %s", path, flaw);
		return 0;
	}
	room = mem_zalloc(MOST_BYTES + 1);
	n = io_read_full(fd, room, MOST_BYTES, path, err);
	if (n < 0)
		return -1;
	*ret = json_read(room, (size_t)n, path, &why);
	if (!json_is_object(*ret)) {
		json_decref(*ret);
		*ret = NULL;
		*ret_why = mem_printf(
			"file \"%s\" holds no approval%s%s", path, why.message ? ": " : "", why.message ? why.message : "");
		return 0;
	}
	*ret_owner = st.st_uid;
	return 1;
}

/* --- the run's side --- */

static int write_object(const char *path, const json_t *o, struct error *err)
{
	char *text cleanup(mem_freep) = json_dumps(o, JSON_INDENT(2));

	return io_replace_file(path, text, strlen(text), READABLE_MODE, err);
}

int approval_ask(const char *state_dir, const json_t *request, struct error *err)
{
	char *dir cleanup(mem_freep) = directory(state_dir);
	char *path cleanup(mem_freep) = path_of(state_dir, text_of(request, "run"), text_of(request, "step"), WANTED);
	json_t *o cleanup(json_decrefpp) = json_pack("{s:s}", "format", FORMAT);
	static const char *const members[] = {"run", "step", "stack", "plan", "plan_sha256", "message", "wanted_at", "expires_at",
		"by_other", "uid", "user", "sudo_user"};

	for (size_t i = 0; i < array_len(members); i++)
		if (json_object_get(request, members[i]))
			json_object_set(o, members[i], json_object_get(request, members[i]));
	return io_make_dirs(dir, err) < 0 ? -1 : write_object(path, o, err);
}

/* NULL: ${given} answers ${request}. */
static const char *mismatch(const json_t *request, const json_t *given)
{
	static const struct {
		const char *name, *why;
	} members[] = {{"run", "is of another run"}, {"step", "is of another step"}, {"plan_sha256", "is for another plan"},
		{"wanted_at", "answers an earlier request"}};

	if (strcmp(text_of(given, "format"), FORMAT) != 0)
		return "is in an unknown format";
	for (size_t i = 0; i < array_len(members); i++)
		if (strcmp(text_of(given, members[i].name), text_of(request, members[i].name)) != 0)
			return members[i].why;
	return NULL;
}

static bool is_of_starter(const json_t *request, uid_t uid)
{
	return json_get_bool(request, "by_other", false) && json_get_i64(request, "uid", -1) == (int64_t)uid;
}

int approval_look(const char *state_dir, const json_t *request, json_t **ret_given, char **ret_why, struct error *err)
{
	char *path cleanup(mem_freep) = path_of(state_dir, text_of(request, "run"), text_of(request, "step"), GIVEN);
	json_t *given cleanup(json_decrefpp) = NULL;
	char *name cleanup(mem_freep) = NULL;
	uid_t owner = 0;
	int rc = read_object(path, &owner, &given, ret_why, err);

	if (rc <= 0)
		return rc;
	name = person_name(owner);
	if (mismatch(request, given)) {
		*ret_why = mem_printf("file \"%s\" %s", path, mismatch(request, given));
		return 0;
	}
	if (is_of_starter(request, owner) && !json_get_bool(given, "rejected", false)) {
		*ret_why = mem_printf("it was given by user \"%s\", who started the run", name);
		return 0;
	}
	json_object_set_new(given, "uid", json_integer(owner));
	json_object_set_new(given, "user", json_text_of(name));
	*ret_given = take_ptr(given);
	return 1;
}

int approval_close(const char *state_dir, const char *run, const char *step, struct error *err)
{
	char *dir cleanup(mem_freep) = directory(state_dir);
	char *wanted cleanup(mem_freep) = path_of(state_dir, run, step, WANTED);
	char *given cleanup(mem_freep) = path_of(state_dir, run, step, GIVEN);

	if (access(dir, F_OK) < 0 && errno == ENOENT)
		return 0;
	return io_remove_file(given, err) < 0 || io_remove_file(wanted, err) < 0 ? -1 : 0;
}

/* --- the person's side --- */

struct search {
	const char *run, *step;
	char *found, *other; /* names of files, "<run>.<step>.wanted" */
};

static void search_release(struct search *s)
{
	free(s->found);
	free(s->other);
}

/* ${name} is "<run>.<step>.wanted" with that run and step. */
static bool fits(const struct search *s, const char *name)
{
	const char *dot = strchr(name, '.'), *end = dot ? strrchr(name, '.') : NULL;
	size_t n = strlen(s->run);

	if (!dot || end == dot || *name == '.' || strcmp(end, WANTED) != 0 || strncmp(name, s->run, n) != 0 || name + n > dot)
		return false;
	return !s->step ||
		(strlen(s->step) == (size_t)(end - dot - 1) && strncmp(s->step, dot + 1, (size_t)(end - dot - 1)) == 0);
}

static int consider(void *ctx, const char *dir, const char *name, struct error *err)
{
	struct search *s = ctx;

	(void)dir;
	(void)err;
	if (!fits(s, name))
		return 0;
	free(s->other);
	s->other = s->found;
	s->found = mem_strdup(name);
	return 0;
}

static int not_found(const struct search *s, struct error *err)
{
	if (s->found) {
		err_set(err, ERR_CONFIG, "\"%s\" may be more than one request: \"%.*s\", \"%.*s\"", s->run,
			(int)(strlen(s->found) - strlen(WANTED)), s->found, (int)(strlen(s->other) - strlen(WANTED)), s->other);
		return err_hint(err, "Name the run in full, and the step with --step.");
	}
	err_set(err, ERR_CONFIG, "no run \"%s\" waits for an approval%s%s%s", s->run, s->step ? " of step \"" : "",
		s->step ? s->step : "", s->step ? "\"" : "");
	return err_hint(err, "Of another user's run the directory must be named, too, with --state-dir.");
}

/* Whoever may put files there might ask in the name of the run. */
static int check_asker(const char *dir, const char *path, uid_t owner, struct error *err)
{
	struct stat st;

	if (lstat(dir, &st) < 0)
		return err_sys(err, "could not examine directory \"%s\"", dir);
	if (owner == 0 || owner == st.st_uid)
		return 0;
	return err_set(err, ERR_REFUSED, "file \"%s\" belongs neither to the owner of its directory nor to root", path);
}

int approval_find(const char *state_dir, const char *run, const char *step, json_t **ret_request, struct error *err)
{
	struct search s cleanup(search_release) = {.run = run, .step = step};
	char *dir cleanup(mem_freep) = directory(state_dir), *path cleanup(mem_freep) = NULL, *why cleanup(mem_freep) = NULL;
	json_t *request cleanup(json_decrefpp) = NULL;
	uid_t owner = 0;
	int rc;

	if (io_each_name(dir, consider, &s, err) < 0)
		return -1;
	if (!s.found || s.other)
		return not_found(&s, err);
	path = io_path_join(dir, s.found);
	rc = read_object(path, &owner, &request, &why, err);
	if (rc < 0)
		return -1;
	if (rc == 0)
		return err_set(err, ERR_REFUSED, "%s", why ? why : "the request is gone");
	if (check_asker(dir, path, owner, err) < 0)
		return -1;
	*ret_request = take_ptr(request);
	return 0;
}

static int check_request(const json_t *request, bool is_rejected, struct error *err)
{
	int64_t expires_ms = 0;

	if (clock_parse(text_of(request, "expires_at"), &expires_ms, err) < 0)
		return -1;
	if (clock_utc_ms() >= expires_ms) {
		err_set(err, ERR_REFUSED, "the request of run \"%s\" expired at %s", text_of(request, "run"),
			text_of(request, "expires_at"));
		return err_hint(err, "\"holdfast resume %s\" asks anew.", text_of(request, "run"));
	}
	if (is_rejected || !is_of_starter(request, geteuid()))
		return 0;
	return err_set(err, ERR_REFUSED, "run \"%s\" wants the approval of another user than \"%s\", who started it",
		text_of(request, "run"), text_of(request, "user"));
}

int approval_give(const char *state_dir, const json_t *request, const char *reason, bool is_rejected, struct error *err)
{
	char *path cleanup(mem_freep) = path_of(state_dir, text_of(request, "run"), text_of(request, "step"), GIVEN);
	const char *sudo = getenv("SUDO_USER");
	char at[CLOCK_TEXT_BYTES];
	json_t *o cleanup(json_decrefpp) = NULL;

	if (check_request(request, is_rejected, err) < 0)
		return -1;
	o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:b}", "format", FORMAT, "run", text_of(request, "run"), "step",
		text_of(request, "step"), "plan_sha256", text_of(request, "plan_sha256"), "wanted_at",
		text_of(request, "wanted_at"), "at", clock_format(clock_utc_ms(), at), "rejected", is_rejected);
	if (!o)
		return err_set(err, ERR_CORRUPT, "the request of run \"%s\" is not whole", text_of(request, "run"));
	if (reason)
		json_object_set_new(o, "reason", json_text_of(reason));
	if (sudo && *sudo)
		json_object_set_new(o, "sudo_user", json_text_of(sudo));
	return write_object(path, o, err);
}

/*
 * The directory of migrations: names, sections, checksums, order.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include "base/io.h"
#include "orchestrator/postgres/migrations.h"

#define FILE_BYTES_MAX ((size_t)512 << 20)

/* --- versions ----------------------------------------------------------------------------------------------------------- */

/* The part at *p without its leading zeros; *p goes behind it and its point. */
static size_t next_part(const char **p, const char **ret)
{
	size_t n;

	while (**p == '0')
		(*p)++;
	*ret = *p;
	n = strspn(*p, "0123456789");
	*p += n;
	*p += **p == '.';
	return n;
}

int migration_version_compare(const char *a, const char *b)
{
	while (*a || *b) {
		const char *x, *y;
		size_t n = next_part(&a, &x), m = next_part(&b, &y);
		int rc = n != m ? (n < m ? -1 : 1) : memcmp(x, y, n);

		if (rc != 0)
			return rc;
		if ((*a && !isdigit((unsigned char)*a)) || (*b && !isdigit((unsigned char)*b)))
			return strcmp(a, b);
	}
	return 0;
}

/* --- names -------------------------------------------------------------------------------------------------------------- */

static bool ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);

	return n >= m && strcasecmp(text + n - m, end) == 0;
}

/* Digits parted by ${parts}; how long, 0: none. */
static size_t version_length(const char *p, const char *parts)
{
	size_t n = strspn(p, "0123456789");

	while (n && p[n] && strchr(parts, p[n]) && isdigit((unsigned char)p[n + 1]))
		n += 1 + strspn(p + n + 1, "0123456789");
	return n;
}

static enum migration_name flyway_name(const char *stem, struct arena *arena, const char **ret_version, const char **ret_name)
{
	size_t n;
	char *version;

	if (strncmp(stem, "R__", 3) == 0 && stem[3]) {
		*ret_version = arena_strdup(arena, stem);
		*ret_name = arena_strdup(arena, stem + 3);
		return MIGRATION_NAME_REPEATABLE;
	}
	n = version_length(stem + 1, "._");
	if (n == 0 || strncmp(stem + 1 + n, "__", 2) != 0 || !stem[n + 3])
		return MIGRATION_NAME_OTHER;
	if (*stem == 'U')
		return MIGRATION_NAME_DOWN;
	version = arena_strndup(arena, stem + 1, n);
	for (char *p = version; *p; p++)
		if (*p == '_')
			*p = '.';
	*ret_version = version;
	*ret_name = arena_strdup(arena, stem + n + 3);
	return MIGRATION_NAME_VERSIONED;
}

enum migration_name migration_name_parse(const char *file, struct arena *arena, const char **ret_version, const char **ret_name)
{
	const char *stem;
	size_t n;

	if (!ends_with(file, ".sql"))
		return MIGRATION_NAME_OTHER;
	stem = arena_strndup(arena, file, strlen(file) - strlen(".sql"));
	if (*stem == 'V' || *stem == 'U' || strncmp(stem, "R__", 3) == 0)
		return flyway_name(stem, arena, ret_version, ret_name);
	n = version_length(stem, ".");
	if (n == 0)
		return MIGRATION_NAME_OTHER;
	if (ends_with(stem, ".down"))
		return MIGRATION_NAME_DOWN;
	if (ends_with(stem, ".up"))
		stem = arena_strndup(arena, stem, strlen(stem) - strlen(".up"));
	if (stem[n] && !strchr("_-", stem[n]))
		return MIGRATION_NAME_OTHER;
	*ret_version = arena_strndup(arena, stem, n);
	*ret_name = arena_strdup(arena, stem[n] ? stem + n + 1 : "");
	return MIGRATION_NAME_VERSIONED;
}

/* --- sections ----------------------------------------------------------------------------------------------------------- */

static const char *skip_blanks(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t' || *p == '\r'))
		p++;
	return p;
}

/* Whether the comment line at ${p} begins with the words ${words}; *ret_rest is what follows them. */
static bool has_words(const char *p, const char *end, const char *words, const char **ret_rest)
{
	size_t n = strlen(words);

	if (end - p < 2 || strncmp(p, "--", 2) != 0)
		return false;
	p = skip_blanks(p + 2, end);
	if ((size_t)(end - p) < n || strncasecmp(p, words, n) != 0)
		return false;
	if (p + n < end && !strchr(" \t\r", p[n]))
		return false;
	*ret_rest = p + n;
	return true;
}

static bool rest_has(const char *rest, const char *end, const char *word)
{
	return memmem(rest, (size_t)(end - rest), word, strlen(word)) != NULL;
}

struct scan {
	const char *text, *end;
	const char *up, *down; /* where the sections begin; NULL: there is none */
	int up_line;
	bool is_without_transaction;
	const char *foreign; /* a directive of a tool whose sections are not known here */
};

static void scan_line(struct scan *s, const char *start, const char *end, int line)
{
	const char *p = skip_blanks(start, end), *rest;

	if (has_words(p, end, "migrate:up", &rest) && !s->up) {
		s->up = end < s->end ? end + 1 : end;
		s->up_line = line + 1;
		s->is_without_transaction |= rest_has(rest, end, "transaction:false");
	} else if (has_words(p, end, "migrate:down", &rest) && !s->down) {
		s->down = start;
	} else if (has_words(p, end, "holdfast:", &rest) && !s->down) {
		s->is_without_transaction |= rest_has(rest, end, "no-transaction");
	} else if (has_words(p, end, "+goose", &rest) || has_words(p, end, "+migrate", &rest)) {
		s->foreign = "\"-- +goose\" and \"-- +migrate\"";
	}
}

static void scan_text(struct scan *s)
{
	const char *p = s->text;

	for (int line = 1; p < s->end; line++) {
		const char *nl = memchr(p, '\n', (size_t)(s->end - p)), *end = nl ? nl : s->end;

		scan_line(s, p, end, line);
		p = nl ? nl + 1 : s->end;
	}
}

static int find_section(const struct buf *b, struct migration_file *f, struct error *err)
{
	size_t bom = b->len >= 3 && memcmp(b->data, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
	const char *text = buf_str(b);
	struct scan s = {.text = text + bom, .end = text + b->len};

	scan_text(&s);
	if (s.foreign) {
		err_set(err, ERR_CONFIG, "migration \"%s\" has sections that are not understood: %s", f->file, s.foreign);
		return err_hint(err, "Divide it by \"-- migrate:up\" and \"-- migrate:down\".");
	}
	if (s.down && (!s.up || s.down < s.up))
		return err_set(
			err, ERR_CONFIG, "migration \"%s\" has \"-- migrate:down\" without \"-- migrate:up\" before it", f->file);
	if (memchr(text, '\0', b->len))
		return err_set(err, ERR_CONFIG, "migration \"%s\" has a zero byte", f->file);
	f->is_without_transaction = s.is_without_transaction;
	f->up_at = s.up ? (size_t)(s.up - text) : bom;
	f->up_line = s.up ? s.up_line : 1;
	f->up_len = (s.down ? (size_t)(s.down - text) : b->len) - f->up_at;
	return 0;
}

/* --- reading ------------------------------------------------------------------------------------------------------------ */

static int read_text(const char *dir, const char *file, struct buf *ret, char sha256[SHA256_HEX_BYTES], struct error *err)
{
	char *path cleanup(mem_freep) = io_path_join(dir, file);
	uint8_t digest[SHA256_BYTES];
	int rc = io_read_file(path, ret, err);

	if (rc < 0)
		return -1;
	if (rc == 0)
		return err_set(err, ERR_CONFLICT, "migration \"%s\" was there, and is no more", file);
	sha256_of(buf_str(ret), ret->len, digest);
	hex_encode(digest, sizeof(digest), sha256);
	return 0;
}

static int add_file(struct migration_files *all, const char *file, struct error *err)
{
	struct migration_file f = {.file = arena_strdup(&all->arena, file)};
	enum migration_name kind = migration_name_parse(file, &all->arena, &f.version, &f.name);
	struct buf text cleanup(buf_release) = {.max = FILE_BYTES_MAX};

	if (kind == MIGRATION_NAME_DOWN)
		return 0;
	if (kind == MIGRATION_NAME_OTHER) {
		err_set(err, ERR_CONFIG, "the name of file \"%s\" in directory \"%s\" has no version", file, all->dir);
		return err_hint(err, "Call it <version>_<name>.sql; what is no migration belongs into another directory.");
	}
	f.is_repeatable = kind == MIGRATION_NAME_REPEATABLE;
	if (read_text(all->dir, file, &text, f.sha256, err) < 0 || find_section(&text, &f, err) < 0)
		return -1;
	all->list = mem_grow(all->list, &all->cap, all->count + 1, sizeof(*all->list));
	all->list[all->count++] = f;
	return 0;
}

/* 1 a file of SQL, 0 not. */
static int is_sql_file(const char *dir, const struct dirent *e, struct error *err)
{
	char *path cleanup(mem_freep) = NULL;
	struct stat st;

	if (e->d_name[0] == '.' || !ends_with(e->d_name, ".sql"))
		return 0;
	path = io_path_join(dir, e->d_name);
	if (stat(path, &st) < 0)
		return err_sys(err, "could not look at file \"%s\"", path);
	return S_ISREG(st.st_mode);
}

static void close_dirp(DIR **d)
{
	if (*d)
		(void)closedir(*d);
}

static int read_dir(struct migration_files *all, struct error *err)
{
	DIR *d cleanup(close_dirp) = opendir(all->dir);

	if (!d) {
		(void)err_sys(err, "could not read directory \"%s\" of migrations", all->dir);
		err->class = ERR_CONFIG;
		return -1;
	}
	for (;;) {
		struct dirent *e;
		int rc;

		errno = 0;
		e = readdir(d);
		if (!e)
			break;
		rc = is_sql_file(all->dir, e, err);
		if (rc < 0 || (rc > 0 && add_file(all, e->d_name, err) < 0))
			return -1;
	}
	return errno ? err_sys(err, "could not read directory \"%s\" of migrations", all->dir) : 0;
}

static int by_version(const void *a, const void *b)
{
	const struct migration_file *x = a, *y = b;

	if (x->is_repeatable || y->is_repeatable)
		return x->is_repeatable && y->is_repeatable ? strcmp(x->version, y->version)
							    : (int)x->is_repeatable - (int)y->is_repeatable;
	return migration_version_compare(x->version, y->version);
}

static int refuse_twins(const struct migration_files *all, struct error *err)
{
	for (size_t i = 1; i < all->count; i++) {
		if (by_version(&all->list[i - 1], &all->list[i]) == 0)
			return err_set(err, ERR_CONFIG, "migrations \"%s\" and \"%s\" have the same version",
				       strcmp(all->list[i - 1].file, all->list[i].file) < 0 ? all->list[i - 1].file
											    : all->list[i].file,
				       strcmp(all->list[i - 1].file, all->list[i].file) < 0 ? all->list[i].file
											    : all->list[i - 1].file),
			       err_hint(err, "Versions are numbers: 7 and 0007 are the same.");
	}
	return 0;
}

int migration_files_read(const char *dir, struct migration_files *ret, struct error *err)
{
	struct migration_files all = {0};

	all.dir = arena_strdup(&all.arena, dir);
	if (read_dir(&all, err) == 0) {
		if (all.count)
			qsort(all.list, all.count, sizeof(*all.list), by_version);
		if (refuse_twins(&all, err) == 0) {
			*ret = all;
			return 0;
		}
	}
	migration_files_release(&all);
	return -1;
}

void migration_files_release(struct migration_files *f)
{
	free(f->list);
	arena_release(&f->arena);
	memset(f, 0, sizeof(*f));
}

int migration_file_text(const struct migration_files *all, const struct migration_file *f, struct buf *ret_up, struct error *err)
{
	char sha256[SHA256_HEX_BYTES];

	ret_up->max = FILE_BYTES_MAX;
	if (read_text(all->dir, f->file, ret_up, sha256, err) < 0)
		return -1;
	if (strcmp(sha256, f->sha256) != 0)
		return err_set(err, ERR_CONFLICT, "migration \"%s\" was changed while the directory was being applied", f->file);
	memmove(ret_up->data, ret_up->data + f->up_at, f->up_len);
	ret_up->len = f->up_len;
	if (ret_up->data)
		ret_up->data[ret_up->len] = '\0';
	return 0;
}

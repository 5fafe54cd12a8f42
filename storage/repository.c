#include "storage/repository.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/json.h"

#define REPOSITORY_KEY "holdfast-repository.json"
#define REPOSITORY_FORMAT "holdfast-repository/1"
#define REPOSITORY_FORMAT_NAME "holdfast-repository/"
#define REPOSITORY_ID_BYTES 16
#define CREATE_ATTEMPTS 200
#define CREATE_WAIT_MS 20

/* --- names ----------------------------------------------------------------------------------------------------------------- */

#define BACKUP_ID_TIME_CHARS 16 /* "20261120T031500Z" */
#define BACKUP_ID_CHARS 25

char *repository_archive_key(const char *stack, const char *backup_id)
{
	return mem_printf("%s/backups/%s/backup.tar.zst", stack, backup_id);
}

char *repository_manifest_key(const char *stack, const char *backup_id)
{
	return mem_printf("%s/backups/%s/manifest.json", stack, backup_id);
}

/* Three digits are the fraction of the second, so that two sets of one second sort by time too; five are chance. */
int backup_id_make(int64_t utc_ms, char out[BACKUP_ID_BYTES], struct error *err)
{
	unsigned fraction = (unsigned)((utc_ms % 1000) * 4096 / 1000);
	char at[CLOCK_TEXT_BYTES], hex[7];
	uint8_t random[3];

	if (random_bytes(random, sizeof(random), err) < 0)
		return -1;
	(void)hex_encode(random, sizeof(random), hex);
	(void)snprintf(out, BACKUP_ID_BYTES, "%.16s-%03x%.5s", clock_format_compact(utc_ms, at), fraction, hex);
	return 0;
}

bool backup_id_is_valid(const char *text)
{
	static const char form[] = "########T######Z-xxxxxxxx";

	if (strlen(text) != BACKUP_ID_CHARS)
		return false;
	for (size_t i = 0; i < BACKUP_ID_CHARS; i++) {
		char c = text[i];
		bool is_digit = c >= '0' && c <= '9';

		if (form[i] == '#' ? !is_digit : form[i] == 'x' ? !is_digit && !(c >= 'a' && c <= 'f') : c != form[i])
			return false;
	}
	return true;
}

bool stack_name_is_valid(const char *text)
{
	size_t n = strlen(text);

	if (n == 0 || n > 64 || text[0] == '.' || text[0] == '-')
		return false;
	return strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") == n;
}

/* --- urls ------------------------------------------------------------------------------------------------------------------ */

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The path of a file URL, with %XX resolved. */
static int path_of_file_url(const char *url, const char *rest, char **ret, struct error *err)
{
	struct buf b cleanup(buf_release) = {0};

	if (strncmp(rest, "localhost/", strlen("localhost/")) == 0)
		rest += strlen("localhost");
	if (*rest != '/') {
		err_set(err, ERR_CONFIG, "repository \"%s\" is not on this host", url);
		return err_hint(err, "A directory is given as \"file:///var/backups/holdfast\" or \"/var/backups/holdfast\".");
	}
	for (; *rest; rest++) {
		if (*rest != '%') {
			buf_putc(&b, *rest);
			continue;
		}
		if (hex_digit(rest[1]) < 0 || hex_digit(rest[2]) < 0 || (rest[1] == '0' && rest[2] == '0'))
			return err_set(err, ERR_CONFIG,
				"url \"%s\" of a repository has a percent sign that begins no valid escape", url);
		buf_putc(&b, (char)(hex_digit(rest[1]) << 4 | hex_digit(rest[2])));
		rest += 2;
	}
	*ret = buf_take(&b);
	return 0;
}

/* The directory that ${url} names; malloc'd. */
static int directory_of_url(const char *url, char **ret, struct error *err)
{
	const char *sep = strstr(url, "://");

	if (!*url)
		return err_set(err, ERR_CONFIG, "url of a repository is empty");
	if (!sep || memchr(url, '/', (size_t)(sep - url))) {
		*ret = mem_strdup(url);
		return 0;
	}
	if (strncmp(url, "file://", strlen("file://")) == 0)
		return path_of_file_url(url, sep + 3, ret, err);
	err_set(err, ERR_CONFIG, "repositories of kind \"%.*s\" are not supported by this version", (int)(sep - url), url);
	return err_hint(err, "A directory is given as \"file:///var/backups/holdfast\" or \"/var/backups/holdfast\".");
}

/* What repository.url holds: absolute, so that a run resumed from another working directory finds it again. */
static char *url_of_directory(const char *dir)
{
	char *path cleanup(mem_freep) = realpath(dir, NULL);
	struct buf b cleanup(buf_release) = {0};

	if (!path)
		return mem_printf("file://%s", dir);
	buf_puts(&b, "file://");
	for (const char *p = path; *p; p++)
		if (*p == '%' || (unsigned char)*p <= ' ')
			buf_printf(&b, "%%%02X", (unsigned char)*p);
		else
			buf_putc(&b, *p);
	return buf_take(&b);
}

/* --- holdfast-repository.json ---------------------------------------------------------------------------------------------- */

static int read_text(const json_t *top, struct repository *r, struct error *err)
{
	const char *format = json_get_str(top, "format", ""), *id = json_get_str(top, "id", "");

	if (strncmp(format, REPOSITORY_FORMAT_NAME, strlen(REPOSITORY_FORMAT_NAME)) != 0)
		return err_set(err, ERR_CORRUPT, "file \"%s\" of repository \"%s\" is damaged", REPOSITORY_KEY, r->name);
	if (strcmp(format, REPOSITORY_FORMAT) != 0) {
		err_set(err, ERR_CONFIG, "repository \"%s\" has format \"%s\", which is of a later version", r->name, format);
		return err_hint(err, "Use a version of holdfast that knows it; this one reads \"%s\".", REPOSITORY_FORMAT);
	}
	if (!*id)
		return err_set(err, ERR_CORRUPT, "file \"%s\" of repository \"%s\" is damaged", REPOSITORY_KEY, r->name);
	r->id = mem_strdup(id);
	return 0;
}

/* 1 read, 0 there is none, -1. */
static int load(struct repository *r, struct error *err)
{
	const struct driver_ops *ops = r->driver->ops;
	struct buf b cleanup(buf_release) = {0};
	json_t *top cleanup(json_decrefpp) = NULL;
	struct driver_object o;
	char *what cleanup(mem_freep) = mem_printf("file \"%s\" of repository \"%s\"", REPOSITORY_KEY, r->name);
	int rc = ops->stat(r->driver, REPOSITORY_KEY, &o, err);

	if (rc <= 0)
		return rc;
	if (o.size_bytes > (1 << 20))
		return err_set(err, ERR_CORRUPT, "%s is damaged", what);
	if (buf_reserve(&b, (size_t)o.size_bytes, err) < 0)
		return -1;
	rc = ops->read_range(r->driver, REPOSITORY_KEY, 0, b.data, (size_t)o.size_bytes, err);
	if (rc <= 0)
		return rc;
	top = json_read(b.data, (size_t)o.size_bytes, what, err);
	return top && read_text(top, r, err) == 0 ? 1 : -1;
}

static int is_not_empty(void *ctx, const struct driver_object *o, struct error *err)
{
	err_set(err, ERR_CONFIG, "\"%s\" holds no repository and is not empty", (const char *)ctx);
	err_detail(err, "There is for example \"%s\".", o->key);
	return err_hint(err, "Name an empty directory, or one that does not exist yet.");
}

static int create(struct repository *r, struct error *err)
{
	const struct driver_ops *ops = r->driver->ops;
	struct buf b cleanup(buf_release) = {0};
	struct json_writer w = {.out = &b, .is_pretty = true};
	const struct driver_target t = {.key = REPOSITORY_KEY, .tag = "create", .is_exclusive = true};
	uint8_t id[REPOSITORY_ID_BYTES];
	char hex[2 * REPOSITORY_ID_BYTES + 1], at[CLOCK_TEXT_BYTES];

	if (ops->list(r->driver, "", is_not_empty, r->name, err) < 0 || random_bytes(id, sizeof(id), err) < 0)
		return -1;
	hex_encode(id, sizeof(id), hex);
	jw_object(&w, NULL);
	jw_str(&w, "format", REPOSITORY_FORMAT);
	jw_str(&w, "id", hex);
	jw_str(&w, "created_at", clock_format(clock_utc_ms(), at));
	jw_end_object(&w);
	buf_putc(&b, '\n');
	return ops->put(r->driver, &t, b.data, b.len, err);
}

/* Several hosts may begin at once: one creates, the others wait for what it creates. */
static int load_or_create(struct repository *r, bool is_created, struct error *err)
{
	struct error failure cleanup(err_clear) = ERROR_INIT;
	int rc = load(r, err);
	bool is_taken;

	for (int i = 0; rc == 0 && is_created && i < CREATE_ATTEMPTS; i++) {
		if (i > 0 && cancel_sleep(NULL, CREATE_WAIT_MS, err) < 0)
			return -1;
		err_clear(&failure);
		rc = create(r, &failure) < 0 && failure.class != ERR_CONFLICT && failure.class != ERR_CONFIG ? -1 : load(r, err);
		if (failure.class != ERR_CONFLICT && failure.class != ERR_NONE && rc <= 0)
			return err_move(err, &failure);
	}
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	if (failure.class != ERR_NONE)
		return err_move(err, &failure);
	is_taken = r->driver->ops->list(r->driver, "", is_not_empty, r->name, &failure) < 0;
	err_set(err, ERR_CONFIG, "no repository at \"%s\"", r->name);
	err->sys_errno = is_taken ? 0 : ENOENT;
	return err_hint(
		err, "Check the url; the first \"holdfast backup\" into a new or empty directory makes a repository of it.");
}

int repository_open(const char *name, const char *url, bool is_created, struct repository **ret, struct error *err)
{
	char *dir cleanup(mem_freep) = NULL;
	struct repository *r cleanup(repository_closep) = NULL;
	struct driver *driver = NULL;

	if (directory_of_url(url, &dir, err) < 0)
		return -1;
	if (driver_local_open(dir, is_created, &driver, err) < 0)
		return err_context(err, "could not open repository \"%s\"", name ? name : url);
	r = mem_zalloc(sizeof(*r));
	r->driver = driver;
	r->url = url_of_directory(dir);
	r->name = mem_strdup(name ? name : url);
	if (load_or_create(r, is_created, err) < 0)
		return -1;
	*ret = take_ptr(r);
	return 0;
}

void repository_close(struct repository *r)
{
	if (!r)
		return;
	if (r->driver)
		r->driver->ops->close(r->driver);
	free(r->name);
	free(r->url);
	free(r->id);
	free(r);
}

void repository_closep(struct repository **r)
{
	repository_close(*r);
	*r = NULL;
}

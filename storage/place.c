#include "storage/place.h"

#include <stdlib.h>
#include <string.h>

#include "storage/drivers/retry.h"

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

int place_directory(const char *url, char **ret, struct error *err)
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
	err_set(err, ERR_CONFIG, "there are no repositories of kind \"%.*s\"", (int)(sep - url), url);
	return err_hint(err,
		"A directory is given as \"file:///var/backups/holdfast\" or \"/var/backups/holdfast\", a bucket as "
		"\"s3://bucket/prefix\".");
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

/* --- places ---------------------------------------------------------------------------------------------------------------- */

static int open_directory(const struct repository_options *o, struct driver **ret, char **ret_url, struct error *err)
{
	char *dir cleanup(mem_freep) = NULL;

	if (place_directory(o->url, &dir, err) < 0)
		return -1;
	if (driver_local_open(dir, o->is_created, ret, err) < 0)
		return err_context(err, "could not open repository \"%s\"", o->name ? o->name : o->url);
	*ret_url = url_of_directory(dir);
	return 0;
}

static void tell_retry(void *ctx, const char *what, const struct error *err, int attempt, int64_t wait_ms)
{
	event_text(
		ctx, EVENT_INFO, "%s: %s; attempt %d follows in %.1f s", what, err->message, attempt + 1, (double)wait_ms / 1000);
}

static int64_t opening_ms(const struct repository_options *o)
{
	bool is_brief = o->open_within_ms && (!o->give_up_after_ms || o->open_within_ms < o->give_up_after_ms);

	return is_brief ? o->open_within_ms : o->give_up_after_ms;
}

static int open_s3(const struct repository_options *o, struct driver **ret, char **ret_url, struct error *err)
{
	struct s3_options s3 = o->s3 ? *o->s3 : (struct s3_options){0};
	const struct driver_retry_options patience = {
		.give_up_after_ms = opening_ms(o), .on_retry = tell_retry, .ctx = o->events};
	char *bucket cleanup(mem_freep) = NULL, *prefix cleanup(mem_freep) = NULL;
	struct driver *driver = NULL;

	if (s3_url_parse(o->url, &bucket, &prefix, err) < 0)
		return -1;
	s3.bucket = bucket;
	s3.prefix = prefix;
	if (o->spool_dir)
		s3.spool_dir = o->spool_dir;
	if ((o->is_libs3 ? driver_libs3_open(&s3, &driver, err) : driver_s3_open(&s3, &driver, err)) < 0)
		return err_context(err, "could not open repository \"%s\"", o->name ? o->name : o->url);
	*ret = driver_retry_new(driver, &patience);
	*ret_url = mem_printf("s3://%s%s%s", bucket, *prefix ? "/" : "", prefix);
	return 0;
}

int place_open(const struct repository_options *o, struct driver **ret, char **ret_url, struct error *err)
{
	int rc;

	if (strncmp(o->url, "s3://", strlen("s3://")) == 0)
		rc = open_s3(o, ret, ret_url, err);
	else
		rc = open_directory(o, ret, ret_url, err);
	if (rc < 0)
		return -1;
	driver_set_cancel(*ret, o->cancel);
	return 0;
}

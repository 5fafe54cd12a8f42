#include "storage/retention.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"

#define ZONE_DIR "/usr/share/zoneinfo"
#define ZONE_MAGIC "TZif"
#define NAME_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-/"

static pthread_mutex_t zone_lock = PTHREAD_MUTEX_INITIALIZER;

/* These need no file. */
static bool is_utc(const char *name)
{
	return strcmp(name, "UTC") == 0 || strcmp(name, "Etc/UTC") == 0;
}

static int unknown_zone(const char *name, struct error *err)
{
	err_set(err, ERR_CONFIG, "there is no time zone \"%s\"", name);
	return err_hint(
		err, "Use a name such as \"Europe/Berlin\" or \"UTC\"; the time zones of this host are in \"" ZONE_DIR "\".");
}

/* The file of the zone, malloc'd. */
static int find_zone(const char *name, char **ret_path, struct error *err)
{
	const char *dir = getenv("TZDIR");
	char *path cleanup(mem_freep) = NULL;
	char magic[sizeof(ZONE_MAGIC) - 1];
	int fd cleanup(io_closep) = -1;
	ssize_t n;

	if (!*name || *name == '/' || strspn(name, NAME_CHARS) != strlen(name))
		return unknown_zone(name, err);
	path = mem_printf("%s/%s", dir && *dir == '/' ? dir : ZONE_DIR, name);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return unknown_zone(name, err);
	if (fd < 0)
		return err_sys(err, "could not open file \"%s\"", path);
	n = read(fd, magic, sizeof(magic));
	if (n < (ssize_t)sizeof(magic) || memcmp(magic, ZONE_MAGIC, sizeof(magic)) != 0)
		return unknown_zone(name, err);
	*ret_path = take_ptr(path);
	return 0;
}

int retention_zone_check(const char *time_zone, struct error *err)
{
	char *path cleanup(mem_freep) = NULL;

	return !time_zone || is_utc(time_zone) ? 0 : find_zone(time_zone, &path, err);
}

static int convert(
	struct tm *(*to_tm)(const time_t *, struct tm *), const int64_t *utc_ms, size_t count, struct tm *ret, struct error *err)
{
	for (size_t i = 0; i < count; i++) {
		time_t t = (time_t)(utc_ms[i] / 1000 - (utc_ms[i] % 1000 < 0));

		if (!to_tm(&t, &ret[i]))
			return err_sys(err, "could not tell the local time of second %lld", (long long)t);
	}
	return 0;
}

static int set_zone(const char *value, struct error *err)
{
	if (value ? setenv("TZ", value, 1) < 0 : unsetenv("TZ") < 0)
		return err_sys(err, "could not set the time zone");
	tzset();
	return 0;
}

static int convert_in(const char *path, const int64_t *utc_ms, size_t count, struct tm *ret, struct error *err)
{
	const char *present = getenv("TZ");
	char *before cleanup(mem_freep) = present ? mem_strdup(present) : NULL;
	char *value cleanup(mem_freep) = mem_printf(":%s", path);
	struct error second cleanup(err_clear) = ERROR_INIT;
	int rc = set_zone(value, err);

	if (rc == 0)
		rc = convert(localtime_r, utc_ms, count, ret, err);
	if (set_zone(before, &second) < 0)
		rc = err_move(err, &second);
	for (size_t i = 0; rc == 0 && i < count; i++)
		ret[i].tm_zone = NULL; /* it belongs to the zone that is set no more */
	return rc;
}

int retention_local_times(const char *time_zone, const int64_t *utc_ms, size_t count, struct tm *ret, struct error *err)
{
	char *path cleanup(mem_freep) = NULL;
	int rc;

	if (time_zone && is_utc(time_zone))
		return convert(gmtime_r, utc_ms, count, ret, err);
	if (time_zone && find_zone(time_zone, &path, err) < 0)
		return -1;
	pthread_mutex_lock(&zone_lock);
	if (!path)
		tzset();
	rc = path ? convert_in(path, utc_ms, count, ret, err) : convert(localtime_r, utc_ms, count, ret, err);
	pthread_mutex_unlock(&zone_lock);
	return rc;
}

/*
 * The part of an examination that looks at this host: room, modes, the spool.
 */
#include "storage/probe_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "storage/place.h"

/* The archive of the set with the latest id, whatever stack it is of. */
static int take_newest(void *ctx, const struct driver_object *o, struct error *err)
{
	struct probe *p = ctx;
	const char *backups = strstr(o->key, "/backups/"), *id = backups ? backups + strlen("/backups/") : "";
	const char *slash = strchr(id, '/');

	(void)err;
	if (!slash || strncmp(slash + 1, SET_ARCHIVE, strlen(SET_ARCHIVE)) != 0)
		return 0;
	if (p->newest_id && strncmp(p->newest_id, id, (size_t)(slash - id)) >= 0)
		return 0;
	free(p->newest_id);
	p->newest_id = mem_strndup(id, (size_t)(slash - id));
	p->newest_bytes = o->size_bytes;
	return 0;
}

int probe_space(struct probe *p, struct probe_item *it, struct error *err)
{
	char *dir cleanup(mem_freep) = NULL, free_text[CLOCK_TEXT_BYTES], set_text[CLOCK_TEXT_BYTES];
	struct statvfs fs;
	uint64_t room;

	if (place_directory(p->o->url, &dir, err) < 0)
		return -1;
	if (statvfs(dir, &fs) < 0)
		return err_sys(err, "could not examine the file system of \"%s\"", dir);
	if (p->place->ops->list(p->place, "", take_newest, p, err) < 0)
		return -1;
	room = (uint64_t)fs.f_bavail * fs.f_frsize;
	size_format(room, free_text);
	if (!p->newest_id)
		return probe_say(it, PROBE_OK, "%s free; there is no backup set yet", free_text);
	probe_say(it, room / 6 < p->newest_bytes / 5 ? PROBE_DEGRADED : PROBE_OK, "%s free; the newest set has %s", free_text,
		size_format(p->newest_bytes, set_text));
	return it->state == PROBE_OK ? 0 : probe_hint(it, "Make room for the next set, or keep fewer (see \"retention\").");
}

int probe_directory(struct probe *p, struct probe_item *it, struct error *err)
{
	char *dir cleanup(mem_freep) = NULL;
	struct stat st;

	if (place_directory(p->o->url, &dir, err) < 0)
		return -1;
	if (stat(dir, &st) < 0)
		return err_sys(err, "could not examine directory \"%s\"", dir);
	if (!(st.st_mode & 077))
		return probe_say(it, PROBE_OK, "mode %04o: its owner's alone", (unsigned)st.st_mode & 07777);
	probe_say(it, PROBE_DEGRADED, "mode %04o: others on this host can look into it", (unsigned)st.st_mode & 07777);
	return probe_hint(it, "Give directory \"%s\" the mode 0700.", dir);
}

int probe_spool(struct probe *p, struct probe_item *it, struct error *err)
{
	char *path cleanup(mem_freep) = io_path_join(p->o->spool_dir, ".holdfast-probe.XXXXXX");
	int fd cleanup(io_closep) = -1;

	if (access(p->o->spool_dir, F_OK) < 0 && errno == ENOENT)
		return probe_say(it, PROBE_OK, "directory \"%s\" does not exist yet: the first backup makes it", p->o->spool_dir);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, "could not create a file in directory \"%s\"", p->o->spool_dir);
	if (unlink(path) < 0)
		return err_sys(err, "could not remove file \"%s\"", path);
	return probe_say(it, PROBE_OK, "directory \"%s\" can be written to", p->o->spool_dir);
}

#include "storage/drivers/file_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Large enough for a disk to be busy with one, small enough that four are no burden.  A multiple of any logical sector. */
#define BLOCK_BYTES ((size_t)2 << 20)
#define BLOCKS 4
#define ALIGNMENT 4096

/*
 * Invariants, under the mutex: taken <= filled <= taken + BLOCKS; blocks [taken, filled) belong to the thread, block ${filled}
 * to the caller.  ${failure} is set once and ends the thread.
 */
struct file_writer {
	int fd;
	const char *path;
	char *blocks[BLOCKS];
	size_t used;  /* of the caller's block */
	off_t offset; /* of the next block in the file; the thread's while it runs */
	bool is_started, is_direct;
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	unsigned long filled, taken;
	bool is_ending;
	struct error failure;
};

struct file_writer *file_writer_new(int fd, const char *path)
{
	struct file_writer *w = mem_zalloc(sizeof(*w));

	w->fd = fd;
	w->path = path;
	pthread_mutex_init(&w->mutex, NULL);
	pthread_cond_init(&w->changed, NULL);
	return w;
}

/* --- the file ---------------------------------------------------------------------------------------------------------------- */

static int set_direct(struct file_writer *w, bool is_direct)
{
	int flags = fcntl(w->fd, F_GETFL);

	if (flags < 0 || fcntl(w->fd, F_SETFL, is_direct ? flags | O_DIRECT : flags & ~O_DIRECT) < 0)
		return -1;
	w->is_direct = is_direct;
	return 0;
}

/* A file system may take the flag and refuse the write, or write a part that is no multiple of its blocks. */
static int write_at(struct file_writer *w, const char *p, size_t n, struct error *err)
{
	while (n > 0) {
		ssize_t done = pwrite(w->fd, p, n, w->offset);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0 && errno == EINVAL && w->is_direct && set_direct(w, false) == 0)
			continue;
		if (done == 0)
			errno = ENOSPC; /* no device does this; going on would never end */
		if (done <= 0)
			return err_sys(err, "could not write file \"%s\"", w->path);
		p += done;
		n -= (size_t)done;
		w->offset += done;
	}
	return 0;
}

/* --- the thread -------------------------------------------------------------------------------------------------------------- */

static void *write_blocks(void *arg)
{
	struct file_writer *w = arg;
	struct error err = ERROR_INIT;

	pthread_mutex_lock(&w->mutex);
	for (;;) {
		const char *block;
		int rc;

		while (w->taken == w->filled && !w->is_ending)
			pthread_cond_wait(&w->changed, &w->mutex);
		if (w->taken == w->filled || w->failure.class != ERR_NONE)
			break;
		block = w->blocks[w->taken % BLOCKS];
		pthread_mutex_unlock(&w->mutex);
		rc = write_at(w, block, BLOCK_BYTES, &err);
		pthread_mutex_lock(&w->mutex);
		if (rc < 0)
			err_move(&w->failure, &err);
		w->taken++;
		pthread_cond_broadcast(&w->changed);
	}
	pthread_mutex_unlock(&w->mutex);
	return NULL;
}

static int start(struct file_writer *w, struct error *err)
{
	int rc;

	(void)set_direct(w, true); /* without it, through the page cache */
	rc = pthread_create(&w->thread, NULL, write_blocks, w);
	if (rc != 0) {
		errno = rc;
		return err_sys(err, "could not start a thread to write file \"%s\"", w->path);
	}
	w->is_started = true;
	return 0;
}

static void join(struct file_writer *w)
{
	if (!w->is_started)
		return;
	pthread_mutex_lock(&w->mutex);
	w->is_ending = true;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->mutex);
	pthread_join(w->thread, NULL);
	w->is_started = false;
}

/* --- the caller -------------------------------------------------------------------------------------------------------------- */

static int repeat_failure(const struct file_writer *w, struct error *err)
{
	if (w->failure.class == ERR_NONE)
		return 0;
	return err_copy(err, &w->failure);
}

static char *own_block(struct file_writer *w, struct error *err)
{
	char **slot = &w->blocks[w->filled % BLOCKS];

	if (!*slot)
		*slot = aligned_alloc(ALIGNMENT, BLOCK_BYTES);
	if (!*slot)
		err_set(err, ERR_FULL, "could not get %zu bytes of memory to write file \"%s\"", BLOCK_BYTES, w->path);
	return *slot;
}

/* The caller's block is full: it becomes the thread's, and the next free one the caller's. */
static int pass_on(struct file_writer *w, struct error *err)
{
	int rc;

	if (!w->is_started && start(w, err) < 0)
		return -1;
	pthread_mutex_lock(&w->mutex);
	w->filled++;
	w->used = 0;
	pthread_cond_broadcast(&w->changed);
	while (w->filled - w->taken == BLOCKS && w->failure.class == ERR_NONE)
		pthread_cond_wait(&w->changed, &w->mutex);
	rc = repeat_failure(w, err);
	pthread_mutex_unlock(&w->mutex);
	return rc;
}

int file_writer_write(struct file_writer *w, const void *p, size_t n, struct error *err)
{
	const char *from = p;

	while (n > 0) {
		char *block = own_block(w, err);
		size_t part = BLOCK_BYTES - w->used < n ? BLOCK_BYTES - w->used : n;

		if (!block)
			return -1;
		memcpy(block + w->used, from, part);
		w->used += part;
		from += part;
		n -= part;
		if (w->used == BLOCK_BYTES && pass_on(w, err) < 0)
			return -1;
	}
	return 0;
}

int file_writer_finish(struct file_writer *w, struct error *err)
{
	join(w);
	if (repeat_failure(w, err) < 0)
		return -1;
	if (w->is_direct && set_direct(w, false) < 0) /* the rest is no whole number of sectors */
		return err_sys(err, "could not change how file \"%s\" is written", w->path);
	return w->used ? write_at(w, w->blocks[w->filled % BLOCKS], w->used, err) : 0;
}

void file_writer_free(struct file_writer *w)
{
	if (!w)
		return;
	if (w->is_started) { /* given up: what is queued need not be written */
		pthread_mutex_lock(&w->mutex);
		if (w->failure.class == ERR_NONE)
			err_set(&w->failure, ERR_CANCELLED, "writing file \"%s\" was given up", w->path);
		pthread_mutex_unlock(&w->mutex);
		join(w);
	}
	for (size_t i = 0; i < BLOCKS; i++)
		free(w->blocks[i]);
	err_clear(&w->failure);
	pthread_cond_destroy(&w->changed);
	pthread_mutex_destroy(&w->mutex);
	free(w);
}

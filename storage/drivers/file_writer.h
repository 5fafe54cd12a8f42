/*
 * Sequential writing of a large file past the page cache.
 *
 * A backup is written once and not read again soon: through the page cache it would push the server's own pages out and cost
 * a copy and a page's allocation for every 4 KiB (1.2 of 7 CPU seconds of a backup on one machine).  So bytes are collected in
 * a few aligned blocks, which a thread of the writer's own writes with O_DIRECT while the next ones are filled.  Where the
 * file system has no O_DIRECT (tmpfs), the same thread writes through the page cache.
 *
 * A writer is used by one thread at a time.  A file smaller than one block never starts the thread.
 */
#ifndef STORAGE_FILE_WRITER_H
#define STORAGE_FILE_WRITER_H

#include "base/error.h"

struct file_writer;

/* ${fd} and ${path} (for messages) are borrowed until the writer is freed; the file is empty. */
struct file_writer *file_writer_new(int fd, const char *path);
/* Fails with the first error of any earlier block: ERR_FULL, ERR_IO. */
int file_writer_write(struct file_writer *w, const void *p, size_t n, struct error *err) must_check;
/* Everything is with the kernel when it returns 0; fsync() is the caller's.  Nothing may be written afterwards. */
int file_writer_finish(struct file_writer *w, struct error *err) must_check;
void file_writer_free(struct file_writer *w); /* ends the thread, wherever it is; NULL is fine */

#endif

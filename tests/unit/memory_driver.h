/*
 * A driver whose place is memory, with parts: for tests of what stands on a driver (repeating, streams in parts), where what matters
 * is which calls are made, when, and by how many threads.  What a server makes of them is tested with a server.
 *
 * Etags are the SHA-256 of the content.  An upload that was begun lives until it is committed or aborted, also without a handle.
 */
#ifndef TESTS_UNIT_MEMORY_DRIVER_H
#define TESTS_UNIT_MEMORY_DRIVER_H

#include "storage/drivers/driver.h"

/* ${features}: enum driver_feature; without DRIVER_PARTS uploads are refused. */
struct driver *memory_driver_new(unsigned features);

/* The content, borrowed until the object changes; NULL: there is none. */
const char *memory_driver_object(struct driver *d, const char *key, size_t *ret_bytes);
unsigned memory_driver_uploads(struct driver *d); /* begun, neither committed nor aborted */
unsigned memory_driver_handles(struct driver *d); /* struct driver_upload that nobody has ended */
/* Parts that were being sent at once, at most. */
unsigned memory_driver_most_at_once(struct driver *d);
/* From now on a part waits inside the driver until ${together} of them do (0: none waits); those that wait are let go. */
void memory_driver_hold(struct driver *d, unsigned together);
void memory_driver_wait_held(struct driver *d, unsigned count); /* until so many wait */
/* A part that is there gets another content. */
void memory_driver_spoil_part(struct driver *d, unsigned number);

#endif

/*
 * Crash points: places where a test may end the process as a power cut would.
 *
 * HOLDFAST_CRASH_AT="journal:3" kills the process with SIGKILL at the third crash_point("journal") it comes to; "journal:3:term" sends it
 * SIGTERM there.  Without the variable a crash point costs one comparison.  Kinds in use: "record" (a record of a journal is about to be
 * written), "journal" (it is on stable storage), "write", "fsync", "rename", "remove" (an object of a set that is pruned), "swap" (files of
 * a stack have changed places, or a database its name), "edit" (a file with a pin or a secret), "migration".
 */
#ifndef BASE_CRASHPOINT_H
#define BASE_CRASHPOINT_H

void crash_point(const char *kind); /* any thread */

#endif

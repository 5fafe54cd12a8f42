/*
 * Errors: what failed, the system's own reason, and what to do about it.
 *
 * A fallible function returns 0 or -1 (1, 0 or -1 where "missing" is a result) and takes a struct error *, which it fills
 * exactly when it returns -1.  The setters return -1, so that failing is one line.  Messages are PostgreSQL's style: one
 * factual line, lower case, no full stop, the object's kind and name in double quotes.
 *
 * A struct error starts zeroed (ERROR_INIT), is owned by the caller, and may be used again after err_clear().
 * No secret may ever be put into one.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <stdarg.h>
#include <stdint.h>
#include "base/mem.h"

/* The class says what may be done next; cmd/ maps it to an exit status. */
enum err_class {
	ERR_NONE = 0,
	ERR_RETRY,     /* may work when tried again: network, server restarting, lock not available */
	ERR_CONFIG,    /* wrong usage or configuration; nothing was touched */
	ERR_REFUSED,   /* a preflight check refused; nothing was changed */
	ERR_DENIED,    /* a permission or password is missing */
	ERR_FULL,      /* no room: disk, quota, a maximum */
	ERR_IO,        /* the system refused to read or write */
	ERR_CONFLICT,  /* somebody else holds it, or it exists already */
	ERR_CORRUPT,   /* data differ from their checksum or digest */
	ERR_CANCELLED, /* told to stop */
	ERR_WAITING,   /* for a person: an approval */
	ERR_FAILED,    /* the operation was refused for good by whoever does it (an SQL error, a child's exit status) */
	ERR_BUG,       /* cannot happen */
};

struct error {
	enum err_class class;
	int sys_errno;          /* 0 where no system call failed */
	int64_t retry_after_ms; /* what the other side asked to wait before it is tried again; 0: it said nothing */
	char sqlstate[6];       /* "" where no server answered */
	char *message, *detail, *hint;
};

/* clang-format off */
#define ERROR_INIT {0}
/* clang-format on */

const char *err_class_name(enum err_class class); /* "retry", "config", … as they stand in the journal */

/* Each replaces what ${err} held, and returns -1. */
int err_set(struct error *err, enum err_class class, const char *fmt, ...) printf_like(3, 4);
/* Class from errno (ENOSPC, EDQUOT, EFBIG: FULL; EACCES, EPERM, EROFS: DENIED; else IO); appends ": <the system's reason>". */
int err_sys(struct error *err, const char *fmt, ...) printf_like(2, 3);

/* These add to ${err} and return -1.  err_context() puts "<text>: " before the message; a detail or hint that stands is kept. */
int err_context(struct error *err, const char *fmt, ...) printf_like(2, 3);
int err_detail(struct error *err, const char *fmt, ...) printf_like(2, 3);
int err_hint(struct error *err, const char *fmt, ...) printf_like(2, 3);

/* Moves what ${from} holds to ${to} (dropping what that held); ${from} is empty afterwards.  Returns -1. */
int err_move(struct error *to, struct error *from);
/* The same error once more: for a failure that every later call repeats.  Returns -1. */
int err_copy(struct error *to, const struct error *from);
void err_clear(struct error *err); /* for cleanup(err_clear) too */

#if defined(__clang_analyzer__) && !defined(BASE_ERROR_C)
/* An analyzer that sees one file at a time must be told that they return -1. */
#define err_set(...) ((void)err_set(__VA_ARGS__), -1)
#define err_sys(...) ((void)err_sys(__VA_ARGS__), -1)
#define err_context(...) ((void)err_context(__VA_ARGS__), -1)
#define err_detail(...) ((void)err_detail(__VA_ARGS__), -1)
#define err_hint(...) ((void)err_hint(__VA_ARGS__), -1)
#define err_move(...) ((void)err_move(__VA_ARGS__), -1)
#define err_copy(...) ((void)err_copy(__VA_ARGS__), -1)
#endif

#endif

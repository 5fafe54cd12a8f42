#define BASE_ERROR_C
#include "base/error.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const class_names[] = {
	[ERR_NONE] = "none",
	[ERR_RETRY] = "retry",
	[ERR_CONFIG] = "config",
	[ERR_REFUSED] = "refused",
	[ERR_DENIED] = "denied",
	[ERR_FULL] = "full",
	[ERR_IO] = "io",
	[ERR_CONFLICT] = "conflict",
	[ERR_CORRUPT] = "corrupt",
	[ERR_CANCELLED] = "cancelled",
	[ERR_WAITING] = "waiting",
	[ERR_FAILED] = "failed",
	[ERR_BUG] = "bug",
};

const char *err_class_name(enum err_class class)
{
	return (size_t)(class) < array_len(class_names) ? class_names[class] : "bug";
}

int err_copy(struct error *to, const struct error *from)
{
	err_clear(to);
	*to = *from;
	to->message = from->message ? mem_strdup(from->message) : NULL;
	to->detail = from->detail ? mem_strdup(from->detail) : NULL;
	to->hint = from->hint ? mem_strdup(from->hint) : NULL;
	return -1;
}

void err_clear(struct error *err)
{
	free(err->message);
	free(err->detail);
	free(err->hint);
	memset(err, 0, sizeof(*err));
}

int err_move(struct error *to, struct error *from)
{
	err_clear(to);
	*to = *from;
	memset(from, 0, sizeof(*from));
	return -1;
}

int err_set(struct error *err, enum err_class class, const char *fmt, ...)
{
	va_list ap;
	char *message;

	va_start(ap, fmt);
	message = mem_vprintf(fmt, ap);
	va_end(ap);
	err_clear(err);
	err->class = class;
	err->message = message;
	return -1;
}

static enum err_class class_of_errno(int e)
{
	switch (e) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
	case ENOMEM:
		return ERR_FULL;
	case EACCES:
	case EPERM:
	case EROFS:
		return ERR_DENIED;
	default:
		return ERR_IO;
	}
}

int err_sys(struct error *err, const char *fmt, ...)
{
	int e = errno;
	va_list ap;
	char *text;

	va_start(ap, fmt);
	text = mem_vprintf(fmt, ap);
	va_end(ap);
	err_clear(err);
	err->class = class_of_errno(e);
	err->sys_errno = e;
	err->message = mem_printf("%s: %s", text, strerror(e));
	free(text);
	return -1;
}

int err_context(struct error *err, const char *fmt, ...)
{
	va_list ap;
	char *text, *message;

	va_start(ap, fmt);
	text = mem_vprintf(fmt, ap);
	va_end(ap);
	message = mem_printf("%s: %s", text, err->message ? err->message : "unknown error");
	free(text);
	free(err->message);
	err->message = message;
	return -1;
}

static int add_once(char **slot, const char *fmt, va_list ap)
{
	if (!*slot)
		*slot = mem_vprintf(fmt, ap);
	return -1;
}

int err_detail(struct error *err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add_once(&err->detail, fmt, ap);
	va_end(ap);
	return -1;
}

int err_hint(struct error *err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add_once(&err->hint, fmt, ap);
	va_end(ap);
	return -1;
}

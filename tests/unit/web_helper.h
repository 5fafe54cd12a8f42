/*
 * What the services of tests share that speak HTTP on loopback: one request a connection, files of a directory for what is to be answered.
 * What cannot be done ends the program: it is a test's.
 */
#ifndef TESTS_UNIT_WEB_HELPER_H
#define TESTS_UNIT_WEB_HELPER_H

#include "base/buf.h"

struct web_request {
	int fd;
	struct buf text;     /* all of it */
	char *method, *path; /* in text, as all that follow; path: with the query */
	char *headers;       /* "\r\nName: value\r\nName: …\r\n" */
	char *body;
};

/* A port of the kernel's choice, which it writes to ${dir}/port. */
int web_listen(const char *dir);
int web_accept(int fd); /* the next client */
/* Of ${ret->fd}: 0, or -1 when the client went away or sends nonsense.  buf_release(&ret->text) either way. */
int web_read(struct web_request *ret) must_check;
void web_send(int fd, const char *p, size_t n); /* that the client goes away is its affair */
void web_await_end(int fd);                     /* until the client gives up */

char *web_file(const char *dir, const char *name); /* its text, malloc'd; NULL where there is none */
void web_write(const char *dir, const char *name, const char *mode, const char *text); /* ${mode} as fopen()'s */
_Noreturn void web_die(const char *what);                                              /* with errno's reason */

#endif

/*
 * Of the tests' proxy: just enough of HTTP/1.1 to know where a message ends, to count the bytes of its body, and to turn one.
 */
#ifndef TESTS_UNIT_PROXY_HTTP_H
#define TESTS_UNIT_PROXY_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/mem.h"

#define PROXY_BUFFER_BYTES ((size_t)64 << 10)

struct proxy_stream {
	int fd;
	char data[PROXY_BUFFER_BYTES];
	size_t at, len; /* what is buffered: from at to len */
};

enum proxy_body_kind { PROXY_BODY_LENGTH, PROXY_BODY_CHUNKED, PROXY_BODY_UNTIL_CLOSE };
enum proxy_chunk_state { PROXY_CHUNK_SIZE, PROXY_CHUNK_DATA, PROXY_CHUNK_END, PROXY_CHUNK_TRAILER };
struct proxy_body {
	enum proxy_body_kind kind;
	uint64_t left;   /* of the body, or of the chunk */
	uint64_t passed; /* data, without the chunks' framing */
	bool is_done;
	enum proxy_chunk_state chunk;
	unsigned line; /* characters of the current line of framing */
};

struct proxy_message {
	char *head; /* malloc'd, with the empty line; NULL: not all there yet */
	size_t head_bytes;
	char *method, *target; /* of a request; malloc'd */
	int status;            /* of a response */
	bool is_last, is_expecting;
	struct proxy_body body;
};

bool proxy_write(int fd, const char *p, size_t n);
/* More bytes behind what is buffered; false at the end, after a failure, or where there is no room. */
bool proxy_fill(struct proxy_stream *s);
/* Take a complete head out of the buffer; false: it is not all there yet. */
bool proxy_take_request(struct proxy_stream *s, struct proxy_message *m);
bool proxy_take_response(struct proxy_stream *s, bool is_to_head, struct proxy_message *m);
/* Follows the body through ${n} bytes, up to its end or to byte ${cut_at} of its data (-1: none), turning a bit of byte ${flip_at}.
 * Returns how many of them it has seen. */
size_t proxy_follow(struct proxy_body *b, char *p, size_t n, int64_t flip_at, int64_t cut_at);
void proxy_message_release(struct proxy_message *m);

#endif

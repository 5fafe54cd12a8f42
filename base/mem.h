/*
 * Memory: allocation that cannot fail, cleanup attributes.
 *
 * mem_*() serve what is small and bounded by the program itself (names, structs, lists of tables).  When the kernel refuses
 * even that, the process ends with a line on stderr: every run survives that as it survives SIGKILL.  Whatever a user's data
 * can make large goes through buf.h, whose growth has a maximum and fails with an error.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stdarg.h>
#include <stddef.h>

#define must_check __attribute__((warn_unused_result))
#define printf_like(fmt, args) __attribute__((format(printf, fmt, args)))
#define cleanup(fn) __attribute__((cleanup(fn)))
#define array_len(a) (sizeof(a) / sizeof((a)[0]))

void *mem_alloc(size_t size) __attribute__((malloc, alloc_size(1))) must_check;
void *mem_zalloc(size_t size) __attribute__((malloc, alloc_size(1))) must_check;
void *mem_realloc(void *p, size_t size) must_check;
/* Room for at least ${want} elements of ${size} bytes in the list ${p}, whose capacity is ${cap}; grows by doubling. */
void *mem_grow(void *p, size_t *cap, size_t want, size_t size) must_check;
char *mem_strdup(const char *s) must_check;
char *mem_strndup(const char *s, size_t n) must_check;
char *mem_printf(const char *fmt, ...) printf_like(1, 2) must_check;
char *mem_vprintf(const char *fmt, va_list ap) must_check;

/* Lists of texts, NULL-terminated and malloc'd with all that is in them.  A copy of NULL is an empty list; NULL may be freed. */
char **texts_copy(const char *const *texts) must_check;
void texts_free(char **texts);

/* For cleanup(mem_freep): frees what the pointer variable holds. */
void mem_freep(void *pp);

/* Hands out ${p} and forgets it, so that its cleanup attribute does nothing. */
#define take_ptr(p) \
	__extension__({ \
		__typeof__(p) take_tmp_ = (p); \
		(p) = NULL; \
		take_tmp_; \
	})

/*
 * Arena: strings and lists that live and die together.  A zeroed struct is an empty arena.  Not thread-safe.
 */
struct arena {
	struct arena_block *head;
};
void *arena_alloc(struct arena *a, size_t size) must_check;    /* zeroed, aligned for anything */
char *arena_strdup(struct arena *a, const char *s) must_check; /* NULL stays NULL */
char *arena_strndup(struct arena *a, const char *s, size_t n) must_check;
char *arena_printf(struct arena *a, const char *fmt, ...) printf_like(2, 3) must_check;
void arena_release(struct arena *a);

#endif

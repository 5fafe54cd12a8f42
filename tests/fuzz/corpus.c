/*
 * The short form of a fuzz target, for "make check": every input of the corpus as it is and in some hundred mutations, always the same.
 *
 *	fuzz_TARGET [DIRECTORY | FILE]…         the corpus; without arguments tests/fuzz/corpus/TARGET
 *
 * FUZZ_MUTATIONS says how many of each input (300).  Each input has a process of its own, so that one that ends by a signal or does
 * not end counts as failed and the others are tried all the same; what did it is left beside the program.  The last line is
 * "N passed, N failed".
 */
#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "tests/fuzz/support.h"

#define MUTATIONS 300
#define LIMIT_S 60 /* of one input with its mutations */
#define INPUT_MAX ((size_t)1 << 18)

struct input {
	char *path;
	struct buf data;
};

struct inputs {
	struct input *list;
	size_t count, cap;
};

/* --- mutations ------------------------------------------------------------------------------------------------------------- */

/* splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators") */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static size_t below(uint64_t *state, size_t n)
{
	return n ? (size_t)(next_random(state) % n) : 0;
}

static void append(struct buf *out, const char *p, size_t n)
{
	buf_putn(out, p, n < INPUT_MAX - out->len ? n : INPUT_MAX - out->len);
}

static void flip(struct buf *b, const struct buf *other, uint64_t *random)
{
	(void)other;
	if (b->len)
		b->data[below(random, b->len)] ^= (char)(1u << below(random, 8));
}

static void set_byte(struct buf *b, const struct buf *other, uint64_t *random)
{
	static const char bytes[] = "\0\xff\x7f\x80\n \"'{}[]<>&:,/\\0a9-.$%";

	(void)other;
	if (b->len)
		b->data[below(random, b->len)] = bytes[below(random, sizeof(bytes) - 1)];
}

static void cut(struct buf *b, const struct buf *other, uint64_t *random)
{
	(void)other;
	b->len = below(random, b->len + 1);
}

static void leave_out(struct buf *b, const struct buf *other, uint64_t *random)
{
	size_t from = below(random, b->len + 1), n = below(random, b->len - from + 1);

	(void)other;
	if (n > 64 && below(random, 2))
		n = below(random, 64);
	if (b->len)
		memmove(b->data + from, b->data + from + n, b->len - from - n);
	b->len -= n;
}

static void duplicate(struct buf *b, const struct buf *other, uint64_t *random)
{
	size_t from = below(random, b->len + 1), n = below(random, b->len - from + 1);
	struct buf out = {0};

	(void)other;
	append(&out, buf_str(b), from + n);
	append(&out, buf_str(b) + from, b->len - from);
	buf_release(b);
	*b = out;
}

static void graft(struct buf *b, const struct buf *other, uint64_t *random)
{
	size_t from = below(random, other->len + 1);

	b->len = below(random, b->len + 1);
	append(b, buf_str(other) + from, other->len - from);
}

/* Number 0 is the input as it is. */
static void mutate(const struct inputs *in, size_t i, unsigned number, struct buf *ret)
{
	static void (*const ways[])(struct buf * b, const struct buf *other, uint64_t *random) = {
		flip, flip, set_byte, set_byte, cut, leave_out, duplicate, graft};
	uint64_t random = ((uint64_t)i << 32) + number;
	size_t rounds = number == 0 ? 0 : 1 + below(&random, 4);

	append(ret, buf_str(&in->list[i].data), in->list[i].data.len);
	while (rounds-- > 0)
		ways[below(&random, array_len(ways))](ret, &in->list[below(&random, in->count)].data, &random);
}

/* --- the corpus ------------------------------------------------------------------------------------------------------------ */

static void fail(const struct error *err)
{
	(void)fprintf(stderr, "%s\n", err->message);
	exit(2);
}

static void add_file(struct inputs *in, const char *path)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct input *one;

	in->list = mem_grow(in->list, &in->cap, in->count + 1, sizeof(*in->list));
	one = &in->list[in->count++];
	*one = (struct input){.path = mem_strdup(path)};
	if (io_read_file(path, &one->data, &err) < 1) {
		err_set(&err, ERR_IO, "could not read \"%s\"", path);
		fail(&err);
	}
}

static int is_visible(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

static void add_path(struct inputs *in, const char *path)
{
	struct dirent **names;
	struct stat st;
	int count;

	if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode)) {
		add_file(in, path);
		return;
	}
	count = scandir(path, &names, is_visible, alphasort);
	for (int i = 0; i < count; i++) {
		char *file cleanup(mem_freep) = io_path_join(path, names[i]->d_name);

		add_file(in, file);
		free(names[i]);
	}
	if (count >= 0)
		free(names);
}

static void inputs_release(struct inputs *in)
{
	for (size_t i = 0; i < in->count; i++) {
		free(in->list[i].path);
		buf_release(&in->list[i].data);
	}
	free(in->list);
}

/* --- trying ---------------------------------------------------------------------------------------------------------------- */

/* In a process of its own; *at is shared with the parent. */
static void try_all(const struct inputs *in, size_t i, unsigned mutations, volatile unsigned *at)
{
	alarm(LIMIT_S);
	for (*at = 0; *at <= mutations; ++*at) {
		struct buf text cleanup(buf_release) = {0};
		/* of exactly that size, for who looks behind the end */
		uint8_t *data cleanup(mem_freep) = NULL;

		mutate(in, i, *at, &text);
		data = mem_alloc(text.len ? text.len : 1);
		if (text.len)
			memcpy(data, text.data, text.len);
		(void)LLVMFuzzerTestOneInput(data, text.len);
	}
}

/* What failed, for whoever looks into it. */
static void keep(const struct inputs *in, size_t i, unsigned number, const char *program)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	char *copy cleanup(mem_freep) = mem_strdup(in->list[i].path);
	char *path cleanup(mem_freep) = mem_printf("%s-crash-%s-%u", program, basename(copy), number);
	struct buf text cleanup(buf_release) = {0};

	mutate(in, i, number, &text);
	if (io_replace_file(path, buf_str(&text), text.len, 0600, &err) < 0)
		printf("%s\n", err.message);
	else
		printf("  the input is kept as %s\n", path);
}

static bool try_input(const struct inputs *in, size_t i, unsigned mutations, volatile unsigned *at, const char *program)
{
	int status = -1;
	pid_t pid;

	(void)fflush(stdout);
	pid = fork();
	if (pid == 0) {
		try_all(in, i, mutations, at);
		exit(0); /* not _exit: sanitizers look for leaks then */
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (status == 0)
		return true;
	printf("not ok: %s, mutation %u: %s %d\n", in->list[i].path, *at, WIFSIGNALED(status) ? "signal" : "status",
		WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	keep(in, i, *at, program);
	return false;
}

int main(int argc, char **argv)
{
	const char *text = getenv("FUZZ_MUTATIONS"), *name = strrchr(argv[0], '_');
	unsigned mutations = text ? (unsigned)strtoul(text, NULL, 10) : MUTATIONS;
	char *corpus cleanup(mem_freep) = mem_printf("tests/fuzz/corpus/%s", name ? name + 1 : argv[0]);
	struct inputs in cleanup(inputs_release) = {0};
	size_t passed = 0;
	volatile unsigned *at = mmap(NULL, sizeof(*at), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED) {
		perror("mmap");
		return 2;
	}
	if (argc == 1)
		add_path(&in, corpus);
	for (int i = 1; i < argc; i++)
		add_path(&in, argv[i]);
	(void)fuzz_dir(); /* so that it is removed, also that of a child which does not end well */
	for (size_t i = 0; i < in.count; i++)
		passed += try_input(&in, i, mutations, at, argv[0]);
	printf("%zu passed, %zu failed\n", passed, in.count - passed);
	return in.count > 0 && passed == in.count ? 0 : 1;
}

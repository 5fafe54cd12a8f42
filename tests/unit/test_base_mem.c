#include "tests/unit/unit.h"

#include <errno.h>
#include "base/buf.h"

static void arena_hands_out_zeroed_aligned_memory(void **state)
{
	struct arena a = {0};

	(void)state;
	for (size_t size = 0; size < 40000; size += 777) {
		char *p = arena_alloc(&a, size);

		assert_int_equal((uintptr_t)p % 16, 0);
		for (size_t i = 0; i < size; i++)
			assert_int_equal(p[i], 0);
		memset(p, 0xff, size);
	}
	arena_release(&a);
	assert_null(a.head);
}

static void arena_goes_on_with_its_block_after_an_outsized_one(void **state)
{
	struct arena a = {0};
	char *first = arena_strdup(&a, "first"), *second;

	(void)state;
	memset(arena_alloc(&a, 100000), 1, 100000);
	second = arena_printf(&a, "%s-%d", "second", 2);
	assert_ptr_equal(second, first + 16);
	assert_string_equal(first, "first");
	assert_string_equal(second, "second-2");
	assert_null(arena_strdup(&a, NULL));
	assert_string_equal(arena_strndup(&a, "cut here", 3), "cut");
	arena_release(&a);
}

static void lists_grow_by_doubling(void **state)
{
	size_t cap = 0;
	int *list = mem_grow(NULL, &cap, 1, sizeof(*list));

	(void)state;
	assert_int_equal(cap, 8);
	for (int i = 0; i < 8; i++)
		list[i] = i;
	list = mem_grow(list, &cap, 9, sizeof(*list));
	assert_int_equal(cap, 16);
	assert_int_equal(list[7], 7);
	assert_ptr_equal(mem_grow(list, &cap, 16, sizeof(*list)), list);
	mem_freep(&list);
	assert_null(list);
}

static void taken_pointer_is_forgotten(void **state)
{
	char *p cleanup(mem_freep) = mem_strdup("mine"), *q;

	(void)state;
	q = take_ptr(p);
	assert_null(p);
	assert_string_equal(q, "mine");
	free(q);
}

static void buffer_grows_and_stays_terminated(void **state)
{
	struct buf b = {0};
	struct error err = ERROR_INIT;
	char *text;

	(void)state;
	assert_string_equal(buf_str(&b), "");
	for (int i = 0; i < 1000; i++) {
		assert_ok(buf_append(&b, "abc", 3, &err), &err);
		assert_int_equal(b.data[b.len], '\0');
	}
	assert_int_equal(b.len, 3000);
	buf_release(&b);
	buf_puts(&b, "a");
	buf_putc(&b, '=');
	buf_printf(&b, "%05d", 42);
	assert_string_equal(buf_str(&b), "a=00042");
	text = buf_take(&b);
	assert_int_equal(b.len, 0);
	assert_string_equal(text, "a=00042");
	free(text);
	text = buf_take(&b);
	assert_string_equal(text, "");
	free(text);
}

static void buffer_stops_at_its_maximum(void **state)
{
	struct buf b = {.max = 10};
	struct error err = ERROR_INIT;

	(void)state;
	assert_ok(buf_append(&b, "123456789", 9, &err), &err);
	assert_int_equal(buf_append(&b, "0", 1, &err), -1);
	assert_error(&err, ERR_FULL, "buffer would pass its maximum of 10 bytes");
	assert_string_equal(buf_str(&b), "123456789");
	assert_int_equal(buf_reserve(&b, SIZE_MAX, &err), -1);
	assert_error(&err, ERR_FULL, "buffer would pass its maximum of 10 bytes");
	buf_release(&b);
}

static void error_class_comes_from_errno(void **state)
{
	static const struct {
		int number;
		enum err_class class;
		const char *message;
	} cases[] = {
		{ENOSPC, ERR_FULL, "could not x: No space left on device"},
		{EDQUOT, ERR_FULL, "could not x: Disk quota exceeded"},
		{EFBIG, ERR_FULL, "could not x: File too large"},
		{EACCES, ERR_DENIED, "could not x: Permission denied"},
		{EPERM, ERR_DENIED, "could not x: Operation not permitted"},
		{EROFS, ERR_DENIED, "could not x: Read-only file system"},
		{EIO, ERR_IO, "could not x: Input/output error"},
		{ENOENT, ERR_IO, "could not x: No such file or directory"},
	};
	struct error err = ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		errno = cases[i].number;
		assert_int_equal(err_sys(&err, "could not %s", "x"), -1);
		assert_int_equal(err.sys_errno, cases[i].number);
		assert_error(&err, cases[i].class, cases[i].message);
	}
}

static void context_stands_before_the_message_and_the_first_hint_stays(void **state)
{
	struct error err = ERROR_INIT, other = ERROR_INIT;

	(void)state;
	assert_int_equal(err_set(&err, ERR_CONFLICT, "it is held"), -1);
	assert_int_equal(err_detail(&err, "detail %d", 1), -1);
	assert_int_equal(err_hint(&err, "hint 1"), -1);
	assert_int_equal(err_hint(&err, "hint 2"), -1);
	assert_int_equal(err_detail(&err, "detail 2"), -1);
	assert_int_equal(err_context(&err, "could not begin \"%s\"", "run"), -1);
	assert_int_equal(err_set(&other, ERR_IO, "dropped"), -1);
	assert_int_equal(err_move(&other, &err), -1);
	assert_null(err.message);
	assert_int_equal(err.class, ERR_NONE);
	assert_error_full(&other, ERR_CONFLICT, "could not begin \"run\": it is held", "detail 1", "hint 1");
	assert_null(other.hint);
}

static void every_error_class_has_a_name(void **state)
{
	(void)state;
	for (int class = ERR_NONE; class <= ERR_BUG; class ++)
		assert_non_null(err_class_name((enum err_class) class));
	assert_string_equal(err_class_name(ERR_CANCELLED), "cancelled");
	assert_string_equal(err_class_name((enum err_class)99), "bug");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(arena_hands_out_zeroed_aligned_memory),
		cmocka_unit_test(arena_goes_on_with_its_block_after_an_outsized_one),
		cmocka_unit_test(lists_grow_by_doubling),
		cmocka_unit_test(taken_pointer_is_forgotten),
		cmocka_unit_test(buffer_grows_and_stays_terminated),
		cmocka_unit_test(buffer_stops_at_its_maximum),
		cmocka_unit_test(error_class_comes_from_errno),
		cmocka_unit_test(context_stands_before_the_message_and_the_first_hint_stays),
		cmocka_unit_test(every_error_class_has_a_name),
	};

	return cmocka_run_group_tests_name("base/mem, buf, error", tests, NULL, NULL);
}

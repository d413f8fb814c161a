/* SPDX-License-Identifier: MIT */
/*
 * cmocka.h - the part of cmocka that the unit tests use, for builds for another machine than the library is installed
 * for. Debian has it for i386 only as a package of a foreign architecture, and a test should not add one to a
 * machine. Prints TAP. A test does not run in a process of its own, as with cmocka.
 */
#ifndef STANDIN_CMOCKA_H
#define STANDIN_CMOCKA_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct CMUnitTest {
	const char *name;
	void (*test)(void **state);
	int (*setup)(void **state), (*teardown)(void **state);
	void *initial_state;
};

#define cmocka_unit_test_setup_teardown(f, setup, teardown)                                                          \
	{                                                                                                            \
#f, f, setup, teardown, NULL                                                                         \
	}
#define cmocka_unit_test(f) cmocka_unit_test_setup_teardown(f, NULL, NULL)

__attribute__((weak)) sigjmp_buf cmocka_failed; /* weak: one per program, whatever the number of files */

_Noreturn static inline void __attribute__((format(printf, 3, 4)))
cmocka_fail(const char *file, int line, const char *fmt, ...)
{
	va_list args;

	printf("# %s:%d: ", file, line);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	siglongjmp(cmocka_failed, 1);
}

static inline void cmocka_compare(const char *file, int line, const char *what, uintmax_t a, uintmax_t b)
{
	if (a != b)
		cmocka_fail(file, line, "%s: 0x%jx, 0x%jx", what, a, b);
}

#define fail_msg(...)		      cmocka_fail(__FILE__, __LINE__, __VA_ARGS__)
#define print_message		      printf
#define assert_true(c)		      ((c) ? (void)0 : cmocka_fail(__FILE__, __LINE__, "%s", #c))
#define assert_false(c)		      assert_true(!(c))
#define assert_null(p)		      assert_true((p) == NULL)
#define assert_non_null(p)	      assert_true((p) != NULL)
#define assert_ptr_equal(a, b)	      assert_true((const void *)(a) == (const void *)(b))
#define assert_string_equal(a, b)     assert_true(strcmp(a, b) == 0)
#define assert_memory_equal(a, b, n)  assert_true(memcmp(a, b, n) == 0)
#define assert_string_not_equal(a, b) assert_true(strcmp(a, b) != 0)
#define assert_int_equal(a, b)	      cmocka_compare(__FILE__, __LINE__, #a " == " #b, (uintmax_t)(a), (uintmax_t)(b))

static inline int cmocka_run(const struct CMUnitTest *t)
{
	void *state = t->initial_state;
	int failed = sigsetjmp(cmocka_failed, 1);

	if (failed)
		return 1;
	if (t->setup && t->setup(&state))
		return 1;
	t->test(&state);
	return t->teardown && t->teardown(&state);
}

/* The number of tests that failed. */
static inline int cmocka_run_all(const struct CMUnitTest *tests, unsigned nr)
{
	volatile int failed = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("1..%u\n", nr);
	for (volatile unsigned i = 0; i < nr; i++) {
		int bad = cmocka_run(&tests[i]);

		printf("%sok %u - %s\n", bad ? "not " : "", i + 1, tests[i].name);
		failed += bad;
	}
	return failed;
}

#define cmocka_run_group_tests_name(name, tests, setup, teardown)                                                    \
	cmocka_run_all(tests, sizeof(tests) / sizeof((tests)[0]))

#endif

/* SPDX-License-Identifier: MIT */
/*
 * no-native.c - the library without the native backend: the process is refused, soft address spaces work in full,
 * with 64-bit addresses and sizes in a 32-bit program.
 */
#include "address.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include <faultline/testing.h>

#define GIB  (1ull << 30)
#define HIGH 0x7f0123456000ull

static void test_process_refused(void **state)
{
	struct fl_mm *mm = NULL;

	errno = 0;
	assert_int_equal(fl_mm_process(&mm), -1);
	assert_int_equal(errno, ENOSYS);
	assert_null(mm);
}

/* A request for more memory than this process has addresses must not wrap. */
static void test_too_large(void **state)
{
	const uint64_t sizes[] = {4 * GIB, 4 * GIB + 4096, 1 << 20 | 8 * GIB, UINT64_MAX};
	struct fl_mm *mm;

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		errno = 0;
		assert_int_equal(fl_mm_create(&mm, sizes[i]), -1);
		assert_int_equal(errno, ENOMEM);
	}
	assert_int_equal(fl_mm_create(&mm, 0), 0);
	assert_int_equal(fl_mm_destroy(mm), 0);
}

/* A range wider than the machine word, and a fault at its upper end. */
static void test_high_addresses(void **state)
{
	static char page[4096] = "filled", back[8];
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
	uint64_t last = HIGH + 16 * GIB - sizeof(page);
	struct fl_uffd_msg msg;
	struct fl_uffd *u;
	struct fl_mm *mm;

	assert_int_equal(fl_mm_create(&mm, 1 << 20), 0);
	assert_int_equal(fl_uffd_open(mm, O_NONBLOCK | FL_UFFD_SRC_HOST, &u), 0);
	assert_int_equal(fl_uffd_api(u, FL_UFFD_FEATURE_SIGBUS, NULL), 0);
	assert_true(map_addr(mm, HIGH, 16 * GIB, PROT_READ | PROT_WRITE, flags) == HIGH);
	assert_int_equal(fl_uffd_register(u, HIGH, 16 * GIB, FL_UFFDIO_REGISTER_MODE_MISSING, NULL), 0);
	assert_true(fl_load(mm, last, back, sizeof(back)) != 0);
	assert_int_equal(fl_uffd_copy(u, last, (uintptr_t)page, sizeof(page), 0, NULL), 0);
	assert_int_equal(fl_load(mm, last, back, sizeof(back)), 0);
	assert_true(strcmp(back, "filled") == 0);
	assert_true(fl_load(mm, last - 4 * GIB, back, 1) != 0); /* the same lower half */
	assert_int_equal(fl_uffd_read(u, &msg, sizeof(msg)), -1);
	assert_int_equal(fl_mm_check(mm), 0);
	assert_int_equal(fl_uffd_close(u), 0);
	assert_int_equal(fl_munmap(mm, HIGH, 16 * GIB), 0);
	assert_int_equal(fl_mm_destroy(mm), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_process_refused),
		cmocka_unit_test(test_too_large),
		cmocka_unit_test(test_high_addresses),
	};

	return cmocka_run_group_tests_name("no-native", tests, NULL, NULL);
}

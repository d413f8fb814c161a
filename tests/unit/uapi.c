/* SPDX-License-Identifier: MIT */
/* uapi.c - every number and structure of faultline/uapi.h against the system's header, where that has it. */
#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include <linux/userfaultfd.h>

#include <faultline/uapi.h>

/* Numbers that only newer headers have. */
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0)
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY FL_UFFD_USER_MODE_ONLY
#endif
#ifndef UFFD_FEATURE_MINOR_HUGETLBFS
#define UFFD_FEATURE_MINOR_HUGETLBFS FL_UFFD_FEATURE_MINOR_HUGETLBFS
#endif
#ifndef UFFD_FEATURE_MINOR_SHMEM
#define UFFD_FEATURE_MINOR_SHMEM FL_UFFD_FEATURE_MINOR_SHMEM
#endif
#ifndef UFFD_FEATURE_EXACT_ADDRESS
#define UFFD_FEATURE_EXACT_ADDRESS FL_UFFD_FEATURE_EXACT_ADDRESS
#endif
#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED FL_UFFD_FEATURE_WP_UNPOPULATED
#endif
#ifndef UFFD_FEATURE_WP_HUGETLBFS_SHMEM
#define UFFD_FEATURE_WP_HUGETLBFS_SHMEM FL_UFFD_FEATURE_WP_HUGETLBFS_SHMEM
#endif
#ifndef UFFD_PAGEFAULT_FLAG_MINOR
#define UFFD_PAGEFAULT_FLAG_MINOR FL_UFFD_PAGEFAULT_FLAG_MINOR
#endif
#ifndef UFFDIO_REGISTER_MODE_MINOR
#define UFFDIO_REGISTER_MODE_MINOR FL_UFFDIO_REGISTER_MODE_MINOR
#endif
#ifndef UFFDIO_CONTINUE_MODE_WP
#define UFFDIO_CONTINUE_MODE_WP FL_UFFDIO_CONTINUE_MODE_WP
#endif

#define NUMBER(name)                                                                                                 \
	{                                                                                                            \
#name, (uint64_t)FL_##name, (uint64_t)(name)                                                         \
	}

static const struct {
	const char *name;
	uint64_t ours, systems;
} numbers[] = {
	NUMBER(UFFD_API),
	NUMBER(UFFD_USER_MODE_ONLY),
	NUMBER(UFFDIO_REGISTER),
	NUMBER(UFFDIO_UNREGISTER),
	NUMBER(UFFDIO_WAKE),
	NUMBER(UFFDIO_COPY),
	NUMBER(UFFDIO_ZEROPAGE),
	NUMBER(UFFDIO_WRITEPROTECT),
	NUMBER(UFFDIO_CONTINUE),
	NUMBER(UFFDIO_API),
	NUMBER(USERFAULTFD_IOC_NEW),
	NUMBER(UFFD_FEATURE_PAGEFAULT_FLAG_WP),
	NUMBER(UFFD_FEATURE_EVENT_FORK),
	NUMBER(UFFD_FEATURE_EVENT_REMAP),
	NUMBER(UFFD_FEATURE_EVENT_REMOVE),
	NUMBER(UFFD_FEATURE_MISSING_HUGETLBFS),
	NUMBER(UFFD_FEATURE_MISSING_SHMEM),
	NUMBER(UFFD_FEATURE_EVENT_UNMAP),
	NUMBER(UFFD_FEATURE_SIGBUS),
	NUMBER(UFFD_FEATURE_THREAD_ID),
	NUMBER(UFFD_FEATURE_MINOR_HUGETLBFS),
	NUMBER(UFFD_FEATURE_MINOR_SHMEM),
	NUMBER(UFFD_FEATURE_EXACT_ADDRESS),
	NUMBER(UFFD_FEATURE_WP_HUGETLBFS_SHMEM),
	NUMBER(UFFD_FEATURE_WP_UNPOPULATED),
	NUMBER(UFFD_EVENT_PAGEFAULT),
	NUMBER(UFFD_PAGEFAULT_FLAG_WRITE),
	NUMBER(UFFD_PAGEFAULT_FLAG_WP),
	NUMBER(UFFD_PAGEFAULT_FLAG_MINOR),
	NUMBER(UFFDIO_REGISTER_MODE_MISSING),
	NUMBER(UFFDIO_REGISTER_MODE_WP),
	NUMBER(UFFDIO_REGISTER_MODE_MINOR),
	NUMBER(UFFDIO_COPY_MODE_DONTWAKE),
	NUMBER(UFFDIO_COPY_MODE_WP),
	NUMBER(UFFDIO_ZEROPAGE_MODE_DONTWAKE),
	NUMBER(UFFDIO_WRITEPROTECT_MODE_WP),
	NUMBER(UFFDIO_WRITEPROTECT_MODE_DONTWAKE),
	NUMBER(UFFDIO_CONTINUE_MODE_DONTWAKE),
	NUMBER(UFFDIO_CONTINUE_MODE_WP),
};

#define NR_NUMBERS (sizeof(numbers) / sizeof(numbers[0]))

static void test_numbers(void **state)
{
	for (unsigned i = 0; i < NR_NUMBERS; i++)
		if (numbers[i].ours != numbers[i].systems)
			fail_msg("FL_%s is 0x%llx here, 0x%llx there", numbers[i].name,
				 (unsigned long long)numbers[i].ours, (unsigned long long)numbers[i].systems);
}

static void test_ioctl_bits(void **state)
{
	assert_int_equal(FL_IOCTL_BIT(FL_UFFDIO_REGISTER), 1ull << _UFFDIO_REGISTER);
	assert_int_equal(FL_IOCTL_BIT(FL_UFFDIO_UNREGISTER), 1ull << _UFFDIO_UNREGISTER);
	assert_int_equal(FL_IOCTL_BIT(FL_UFFDIO_WAKE), 1ull << _UFFDIO_WAKE);
	assert_int_equal(FL_IOCTL_BIT(FL_UFFDIO_COPY), 1ull << _UFFDIO_COPY);
	assert_int_equal(FL_IOCTL_BIT(FL_UFFDIO_ZEROPAGE), 1ull << _UFFDIO_ZEROPAGE);
	assert_int_equal(FL_IOCTL_BIT(FL_UFFDIO_WRITEPROTECT), 1ull << _UFFDIO_WRITEPROTECT);
	assert_int_equal(FL_IOCTL_BIT(FL_UFFDIO_CONTINUE), 1ull << _UFFDIO_CONTINUE);
	assert_true(FL_IOCTL_BIT(FL_UFFDIO_API) == 1ull << _UFFDIO_API);
}

/* A number added to the header must be added here. */
static void test_table_is_complete(void **state)
{
	FILE *f = fopen(UAPI_H, "r");
	unsigned found = 0;
	char line[256], name[128];

	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		bool known = false;

		if (sscanf(line, "#define FL_%127[A-Z0-9_]%*[ ]%*[^\n]", name) != 1 || strcmp(name, "IOCTL_BIT") == 0)
			continue;
		for (unsigned i = 0; i < NR_NUMBERS; i++)
			known |= strcmp(numbers[i].name, name) == 0;
		if (!known)
			fail_msg("FL_%s is not compared", name);
		found++;
	}
	fclose(f);
	assert_int_equal(found, NR_NUMBERS);
}

#define SIZE(type) assert_int_equal(sizeof(struct fl_##type), sizeof(struct type))
#define FIELD(type, field)                                                                                           \
	do {                                                                                                         \
		assert_int_equal(offsetof(struct fl_##type, field), offsetof(struct type, field));                   \
		assert_int_equal(sizeof(((struct fl_##type *)0)->field), sizeof(((struct type *)0)->field));         \
	} while (0)

static void test_structures(void **state)
{
	SIZE(uffd_msg);
	FIELD(uffd_msg, event);
	FIELD(uffd_msg, reserved1);
	FIELD(uffd_msg, reserved2);
	FIELD(uffd_msg, reserved3);
	FIELD(uffd_msg, arg.pagefault.flags);
	FIELD(uffd_msg, arg.pagefault.address);
	FIELD(uffd_msg, arg.pagefault.feat.ptid);
	FIELD(uffd_msg, arg.reserved.reserved1);
	FIELD(uffd_msg, arg.reserved.reserved2);
	FIELD(uffd_msg, arg.reserved.reserved3);
	SIZE(uffdio_api);
	FIELD(uffdio_api, api);
	FIELD(uffdio_api, features);
	FIELD(uffdio_api, ioctls);
	SIZE(uffdio_range);
	FIELD(uffdio_range, start);
	FIELD(uffdio_range, len);
	SIZE(uffdio_register);
	FIELD(uffdio_register, range);
	FIELD(uffdio_register, mode);
	FIELD(uffdio_register, ioctls);
	SIZE(uffdio_copy);
	FIELD(uffdio_copy, dst);
	FIELD(uffdio_copy, src);
	FIELD(uffdio_copy, len);
	FIELD(uffdio_copy, mode);
	FIELD(uffdio_copy, copy);
	SIZE(uffdio_zeropage);
	FIELD(uffdio_zeropage, range);
	FIELD(uffdio_zeropage, mode);
	FIELD(uffdio_zeropage, zeropage);
	SIZE(uffdio_writeprotect);
	FIELD(uffdio_writeprotect, range);
	FIELD(uffdio_writeprotect, mode);
	SIZE(uffdio_continue);
	FIELD(uffdio_continue, range);
	FIELD(uffdio_continue, mode);
	FIELD(uffdio_continue, mapped);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_ioctl_bits),
		cmocka_unit_test(test_table_is_complete),
		cmocka_unit_test(test_structures),
	};

	return cmocka_run_group_tests_name("uapi", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/*
 * uapi.h - the numbers and structures of the kernel's userfaultfd ABI, from userfaultfd(2) and ioctl_userfaultfd(2).
 * Their names are faultline's own (FL_, fl_) so that the header lives beside <linux/userfaultfd.h> of any age;
 * tests/unit checks every one against the system's header where that has it.
 */
#ifndef FAULTLINE_UAPI_H
#define FAULTLINE_UAPI_H

#include <stdint.h>

#define FL_UFFD_API 0xAAull

#define FL_UFFD_USER_MODE_ONLY 1

/* ioctl requests: the size and direction of the argument are part of the number */
#define FL_UFFDIO_REGISTER     0xc020aa00ul
#define FL_UFFDIO_UNREGISTER   0x8010aa01ul
#define FL_UFFDIO_WAKE	       0x8010aa02ul
#define FL_UFFDIO_COPY	       0xc028aa03ul
#define FL_UFFDIO_ZEROPAGE     0xc020aa04ul
#define FL_UFFDIO_WRITEPROTECT 0xc018aa06ul
#define FL_UFFDIO_CONTINUE     0xc020aa07ul
#define FL_UFFDIO_API	       0xc018aa3ful
#define FL_USERFAULTFD_IOC_NEW 0xaa00ul /* on /dev/userfaultfd; the argument is the flags */

/* bits of uffdio_api.ioctls and uffdio_register.ioctls */
#define FL_IOCTL_BIT(request) (1ull << ((request)&0xff))

#define FL_UFFD_FEATURE_PAGEFAULT_FLAG_WP  (1ull << 0)
#define FL_UFFD_FEATURE_EVENT_FORK	   (1ull << 1)
#define FL_UFFD_FEATURE_EVENT_REMAP	   (1ull << 2)
#define FL_UFFD_FEATURE_EVENT_REMOVE	   (1ull << 3)
#define FL_UFFD_FEATURE_MISSING_HUGETLBFS  (1ull << 4)
#define FL_UFFD_FEATURE_MISSING_SHMEM	   (1ull << 5)
#define FL_UFFD_FEATURE_EVENT_UNMAP	   (1ull << 6)
#define FL_UFFD_FEATURE_SIGBUS		   (1ull << 7)
#define FL_UFFD_FEATURE_THREAD_ID	   (1ull << 8)
#define FL_UFFD_FEATURE_MINOR_HUGETLBFS	   (1ull << 9)
#define FL_UFFD_FEATURE_MINOR_SHMEM	   (1ull << 10)
#define FL_UFFD_FEATURE_EXACT_ADDRESS	   (1ull << 11)
#define FL_UFFD_FEATURE_WP_HUGETLBFS_SHMEM (1ull << 12)
#define FL_UFFD_FEATURE_WP_UNPOPULATED	   (1ull << 13)

#define FL_UFFD_EVENT_PAGEFAULT 0x12

#define FL_UFFD_PAGEFAULT_FLAG_WRITE (1ull << 0)
#define FL_UFFD_PAGEFAULT_FLAG_WP    (1ull << 1)
#define FL_UFFD_PAGEFAULT_FLAG_MINOR (1ull << 2)

#define FL_UFFDIO_REGISTER_MODE_MISSING (1ull << 0)
#define FL_UFFDIO_REGISTER_MODE_WP	(1ull << 1)
#define FL_UFFDIO_REGISTER_MODE_MINOR	(1ull << 2)

#define FL_UFFDIO_COPY_MODE_DONTWAKE	     (1ull << 0)
#define FL_UFFDIO_COPY_MODE_WP		     (1ull << 1)
#define FL_UFFDIO_ZEROPAGE_MODE_DONTWAKE     (1ull << 0)
#define FL_UFFDIO_CONTINUE_MODE_DONTWAKE     (1ull << 0)
#define FL_UFFDIO_CONTINUE_MODE_WP	     (1ull << 1)
#define FL_UFFDIO_WRITEPROTECT_MODE_WP	     (1ull << 0)
#define FL_UFFDIO_WRITEPROTECT_MODE_DONTWAKE (1ull << 1)

struct fl_uffd_msg {
	uint8_t event;
	uint8_t reserved1;
	uint16_t reserved2;
	uint32_t reserved3;
	union {
		struct {
			uint64_t flags;
			uint64_t address;
			union {
				uint32_t ptid;
			} feat;
		} pagefault;
		struct {
			uint64_t reserved1;
			uint64_t reserved2;
			uint64_t reserved3;
		} reserved;
	} arg;
} __attribute__((packed));

struct fl_uffdio_api {
	uint64_t api;
	uint64_t features;
	uint64_t ioctls;
};

struct fl_uffdio_range {
	uint64_t start;
	uint64_t len;
};

struct fl_uffdio_register {
	struct fl_uffdio_range range;
	uint64_t mode;
	uint64_t ioctls; /* out */
};

struct fl_uffdio_copy {
	uint64_t dst;
	uint64_t src;
	uint64_t len;
	uint64_t mode;
	int64_t copy; /* out */
};

struct fl_uffdio_zeropage {
	struct fl_uffdio_range range;
	uint64_t mode;
	int64_t zeropage; /* out */
};

struct fl_uffdio_continue {
	struct fl_uffdio_range range;
	uint64_t mode;
	int64_t mapped; /* out */
};

struct fl_uffdio_writeprotect {
	struct fl_uffdio_range range;
	uint64_t mode;
};

#ifndef __cplusplus
_Static_assert(sizeof(struct fl_uffd_msg) == 32, "uffd_msg is 32 bytes");
_Static_assert(sizeof(struct fl_uffdio_api) == 24, "uffdio_api is 24 bytes");
_Static_assert(sizeof(struct fl_uffdio_range) == 16, "uffdio_range is 16 bytes");
_Static_assert(sizeof(struct fl_uffdio_register) == 32, "uffdio_register is 32 bytes");
_Static_assert(sizeof(struct fl_uffdio_copy) == 40, "uffdio_copy is 40 bytes");
_Static_assert(sizeof(struct fl_uffdio_zeropage) == 32, "uffdio_zeropage is 32 bytes");
_Static_assert(sizeof(struct fl_uffdio_continue) == 32, "uffdio_continue is 32 bytes");
_Static_assert(sizeof(struct fl_uffdio_writeprotect) == 24, "uffdio_writeprotect is 24 bytes");
#endif

#endif

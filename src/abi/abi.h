/* SPDX-License-Identifier: MIT */
/*
 * abi.h - the untrusted edge: each ioctl is decoded and validated whole, then committed. Results are -errno.
 */
#ifndef FL_ABI_ABI_H
#define FL_ABI_ABI_H

#include "uffd/uffd.h"

/* What faultline offers; a handshake that asks for more is refused. */
#define FL_FEATURES                                                                                                  \
	(FL_UFFD_FEATURE_PAGEFAULT_FLAG_WP | FL_UFFD_FEATURE_SIGBUS | FL_UFFD_FEATURE_THREAD_ID |                    \
	 FL_UFFD_FEATURE_EXACT_ADDRESS | FL_UFFD_FEATURE_WP_UNPOPULATED | FL_UFFD_FEATURE_MISSING_SHMEM |            \
	 FL_UFFD_FEATURE_MINOR_SHMEM | FL_UFFD_FEATURE_WP_HUGETLBFS_SHMEM)

/*
 * How the caller's memory is reached: the argument structures, and the sources of fills. Both functions are called
 * with no lock held, and may wait for a fault to be resolved.
 */
struct fl_caller {
	/* 0, or -EFAULT with nothing promised about *buf */
	int (*copy_in)(struct fl_mm *mm, void *buf, uint64_t addr, size_t len);
	int (*copy_out)(struct fl_mm *mm, uint64_t addr, const void *buf, size_t len);
	const struct fl_source *source; /* of fills, unless the object has FL_CTX_SRC_HOST */
};

/* ioctl(2) on the object. => no lock held, signals as the program has them */
int fl_abi_ioctl(struct fl_uffd_ctx *ctx, const struct fl_caller *caller, unsigned long cmd, uint64_t arg);

/*
 * read(2): bytes read, or -errno. The messages are copied out, and it sleeps, with no lock held.
 * => no lock held, signals as the program has them
 */
int64_t fl_abi_read(struct fl_uffd_ctx *ctx, const struct fl_caller *caller, uint64_t buf, uint64_t len);

/* The revents that poll(2) would report now, out of POLLIN and POLLERR. */
int fl_abi_poll(struct fl_uffd_ctx *ctx);

/* May an object with these flags be made? 0, -EINVAL, or an errno of userfaultfd(2) on demand. */
int fl_abi_check_flags(int flags);

/* How long a reader spins before it sleeps. */
#define FL_READER_SPIN_NS 50000u

#endif

/* SPDX-License-Identifier: MIT */
/*
 * generic/syscall.h - on machines without a folder, where soft address spaces work, and nothing needs to be unseen:
 * by libc. With words of 32 bits some calls go by another name; the offset of mmap2 counts pages.
 */
#ifndef FL_ARCH_GENERIC_SYSCALL_H
#define FL_ARCH_GENERIC_SYSCALL_H

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define FL_VDSO_CLOCK  "" /* its struct timespec may differ */
#define FL_VDSO_GETCPU ""

#ifdef SYS_mmap2
#undef SYS_mmap
#define SYS_mmap SYS_mmap2
#endif
#ifndef SYS_newfstatat
#define SYS_newfstatat SYS_fstatat64
#endif

#define FL_SYS_CLOCK SYS_clock_gettime

/* SYS_fstat knows another struct stat. */
#define FL_SYS_FSTAT(fd, st) fl_sys(SYS_newfstatat, fd, "", st, AT_EMPTY_PATH)

static inline long fl_sys6(long nr, long a, long b, long c, long d, long e, long f)
{
	int saved = errno;
	long ret = syscall(nr, a, b, c, d, e, f);

	if (ret == -1)
		ret = -errno;
	errno = saved;
	return ret;
}

#endif

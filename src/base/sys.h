/* SPDX-License-Identifier: MIT */
/*
 * sys.h - raw system calls of the host: they return -errno, do not touch errno, are no cancellation points, and are
 * not seen by anyone who interposes libc. The only way in which the lower layers reach the host.
 */
#ifndef FL_BASE_SYS_H
#define FL_BASE_SYS_H

#include <stdint.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
static inline long fl_sys6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}
#elif defined(__aarch64__)
static inline long fl_sys6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory", "cc");
	return x0;
}
#else /* the engine's 32-bit builds, where only tests run */
#include <errno.h>
#include <unistd.h>
static inline long fl_sys6(long nr, long a, long b, long c, long d, long e, long f)
{
	int saved = errno;
	long ret = syscall(nr, a, b, c, d, e, f);

	if (ret == -1)
		ret = -errno;
	errno = saved;
	return ret;
}

/* What is called by another name there. The offset of mmap2 counts pages; stat is stat64, as meson defines it. */
#undef SYS_mmap
#define SYS_mmap SYS_mmap2
#ifndef SYS_newfstatat
#define SYS_newfstatat SYS_fstatat64
#endif
#endif

#define FL_SYS_ARG(x)			      ((long)(x))
#define fl_sys(nr, ...)			      FL_SYS_PICK(__VA_ARGS__, 6, 5, 4, 3, 2, 1, 0)(nr, __VA_ARGS__)
#define FL_SYS_PICK(a, b, c, d, e, f, n, ...) FL_SYS_##n

#define FL_SYS_1(nr, a)		 fl_sys6(nr, FL_SYS_ARG(a), 0, 0, 0, 0, 0)
#define FL_SYS_2(nr, a, b)	 fl_sys6(nr, FL_SYS_ARG(a), FL_SYS_ARG(b), 0, 0, 0, 0)
#define FL_SYS_3(nr, a, b, c)	 fl_sys6(nr, FL_SYS_ARG(a), FL_SYS_ARG(b), FL_SYS_ARG(c), 0, 0, 0)
#define FL_SYS_4(nr, a, b, c, d) fl_sys6(nr, FL_SYS_ARG(a), FL_SYS_ARG(b), FL_SYS_ARG(c), FL_SYS_ARG(d), 0, 0)
#define FL_SYS_5(nr, a, b, c, d, e)                                                                                  \
	fl_sys6(nr, FL_SYS_ARG(a), FL_SYS_ARG(b), FL_SYS_ARG(c), FL_SYS_ARG(d), FL_SYS_ARG(e), 0)
#define FL_SYS_6(nr, a, b, c, d, e, f)                                                                               \
	fl_sys6(nr, FL_SYS_ARG(a), FL_SYS_ARG(b), FL_SYS_ARG(c), FL_SYS_ARG(d), FL_SYS_ARG(e), FL_SYS_ARG(f))

/* a failed system call's result, which is -4095..-1; also of calls that return addresses */
static inline int fl_sys_failed(long ret)
{
	return (unsigned long)ret > -4096ul;
}

#endif

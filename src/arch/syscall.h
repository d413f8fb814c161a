/* SPDX-License-Identifier: MIT */
/*
 * syscall.h - a raw system call: it returns -errno, does not touch errno, is no cancellation point, and is not seen
 * by code that interposes libc. For src/host, which has names for all of them.
 */
#ifndef FL_ARCH_SYSCALL_H
#define FL_ARCH_SYSCALL_H

#include <stdint.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
#include "arch/x86_64/syscall.h"
#elif defined(__aarch64__)
#include "arch/aarch64/syscall.h"
#else
#include "arch/generic/syscall.h"
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

#endif

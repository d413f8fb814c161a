/* SPDX-License-Identifier: MIT */
/* aarch64/syscall.h - a raw system call, and what the vDSO calls its functions: vdso(7). */
#ifndef FL_ARCH_AARCH64_SYSCALL_H
#define FL_ARCH_AARCH64_SYSCALL_H

#define FL_VDSO_CLOCK  "__kernel_clock_gettime"
#define FL_VDSO_GETCPU "" /* there is none */

#define FL_SYS_CLOCK	     SYS_clock_gettime
#define FL_SYS_FSTAT(fd, st) fl_sys(SYS_fstat, fd, st)

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

#endif

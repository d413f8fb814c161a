/* SPDX-License-Identifier: MIT */
/* x86_64/syscall.h - a raw system call, and what the vDSO calls its functions: vdso(7). */
#ifndef FL_ARCH_X86_64_SYSCALL_H
#define FL_ARCH_X86_64_SYSCALL_H

#define FL_VDSO_CLOCK  "__vdso_clock_gettime"
#define FL_VDSO_GETCPU "__vdso_getcpu"

#define FL_SYS_CLOCK	     SYS_clock_gettime
#define FL_SYS_FSTAT(fd, st) fl_sys(SYS_fstat, fd, st)

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

#endif

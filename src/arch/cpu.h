/* SPDX-License-Identifier: MIT */
/* cpu.h - what a thread tells the CPU. */
#ifndef FL_ARCH_CPU_H
#define FL_ARCH_CPU_H

/* It spins: another thread of the core may run meanwhile. */
static inline void fl_cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

#endif

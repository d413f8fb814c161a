/* SPDX-License-Identifier: MIT */
/*
 * x86_64/routines.h - the copies of arch/uaccess.h. Copying leaves what is left to copy in rcx; touching, 1 in it
 * until it is done.
 */
#ifndef FL_ARCH_X86_64_ROUTINES_H
#define FL_ARCH_X86_64_ROUTINES_H

#define FL_ROUTINE_COPY	 "	movq %rdx, %rcx\n	rep movsb\n"
#define FL_ROUTINE_TOUCH "	movl $1, %ecx\n	lock orb $0, (%rdi)\n	xorl %ecx, %ecx\n"
#define FL_ROUTINE_AFTER "	movq %rcx, %rax\n"

#endif

/* SPDX-License-Identifier: MIT */
/*
 * uaccess.c - the routines, of which a machine's folder has the instructions, and where each goes on after a fault.
 */
#include "arch/uaccess.h"

#if defined(__x86_64__)
#include "arch/x86_64/routines.h"
#elif defined(__aarch64__)
#include "arch/aarch64/routines.h"
#endif

#define ROUTINE(name, body)                                                                                          \
	__asm__(".text\n.p2align 4\n"                                                                                \
		".globl " #name "\n.hidden " #name "\n.globl " #name "_end\n.hidden " #name "_end\n"                 \
		".type " #name ", %function\n" #name ":\n" body #name "_end:\n" FL_ROUTINE_AFTER "	ret\n"            \
		".size " #name ", . - " #name "\n")

ROUTINE(fl_copy_nofault, FL_ROUTINE_COPY);
ROUTINE(fl_copy_user, FL_ROUTINE_COPY);
ROUTINE(fl_touch_user, FL_ROUTINE_TOUCH);
ROUTINE(fl_touch_nofault, FL_ROUTINE_TOUCH);

extern const char fl_copy_nofault_end[], fl_copy_user_end[], fl_touch_user_end[], fl_touch_nofault_end[];

static uintptr_t fixup(uintptr_t pc, uintptr_t start, uintptr_t end)
{
	return pc >= start && pc < end ? end : 0;
}

uintptr_t fl_uaccess_nofault_fixup(uintptr_t pc)
{
	uintptr_t end = fixup(pc, (uintptr_t)fl_copy_nofault, (uintptr_t)fl_copy_nofault_end);

	return end ? end : fixup(pc, (uintptr_t)fl_touch_nofault, (uintptr_t)fl_touch_nofault_end);
}

uintptr_t fl_uaccess_user_fixup(uintptr_t pc)
{
	uintptr_t end = fixup(pc, (uintptr_t)fl_copy_user, (uintptr_t)fl_copy_user_end);

	return end ? end : fixup(pc, (uintptr_t)fl_touch_user, (uintptr_t)fl_touch_user_end);
}

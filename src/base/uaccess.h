/* SPDX-License-Identifier: MIT */
/*
 * uaccess.h - copies from and to memory of the program, any of which may be hidden, or not there. Where nobody has
 * installed the fault entry, and on machines that have none, they are plain accesses.
 */
#ifndef FL_BASE_UACCESS_H
#define FL_BASE_UACCESS_H

#include "base/types.h"

/* Copy with page faults disabled: a fault ends the copy. Returns the bytes NOT copied. For whoever holds locks. */
size_t fl_copy_nofault(void *dst, const void *src, size_t len);
/*
 * Copy as the kernel does for a system call: faults are resolved, waiting if need be; a bad address ends the copy.
 * => no lock held
 */
size_t fl_copy_user(void *dst, const void *src, size_t len);
/*
 * A write fault, and nothing written: no store of another thread is lost. 0, or 1 for a bad address. As
 * fl_copy_user().
 */
size_t fl_touch_user(void *addr);
/* The same with page faults disabled. */
size_t fl_touch_nofault(void *addr);
/* Make a byte present, to be read or to be stored to. 0, -EFAULT. As fl_copy_user(). */
static inline int fl_fault_in_user(void *addr, bool store)
{
	char byte;

	return (store ? fl_touch_user(addr) : fl_copy_user(&byte, addr, 1)) ? -EFAULT : 0;
}

/* How many of `len` bytes could be read now, with page faults disabled? */
uint64_t fl_probe_nofault(uint64_t addr, uint64_t len);
/* Was the program counter inside one of them? Then the one to go on at; 0: no. */
uintptr_t fl_uaccess_nofault_fixup(uintptr_t pc);
uintptr_t fl_uaccess_user_fixup(uintptr_t pc);

#endif

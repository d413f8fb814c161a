/* SPDX-License-Identifier: MIT */
/*
 * uaccess.h - copies from and to memory any of which may be hidden, or not there; base/uaccess.h has more. The mark
 * of "page faults disabled" is the program counter itself: the fault entry finds it inside one of a few short
 * routines, and goes on at their end. There is no per-thread state, so two tasks that share thread-local storage
 * cannot confuse it, and there is nothing to unwind. Where no fault entry is installed, and on machines without a
 * folder, which have none, these are plain accesses.
 */
#ifndef FL_ARCH_UACCESS_H
#define FL_ARCH_UACCESS_H

#include <stddef.h>
#include <stdint.h>

/* Copy with page faults disabled: a fault ends the copy. Returns the bytes NOT copied. => any lock may be held */
size_t fl_copy_nofault(void *dst, const void *src, size_t len);
/*
 * Copy as the kernel does for a system call: faults are resolved, waiting if need be; a bad address ends the copy.
 * => no lock held
 */
size_t fl_copy_user(void *dst, const void *src, size_t len);
/* A write fault, and nothing written: no store of another thread is lost. 0, or 1 for a bad address. As above. */
size_t fl_touch_user(void *addr);
/* The same with page faults disabled. */
size_t fl_touch_nofault(void *addr);

/* Is the program counter inside one of them? Then where to go on; 0: no. */
uintptr_t fl_uaccess_nofault_fixup(uintptr_t pc);
uintptr_t fl_uaccess_user_fixup(uintptr_t pc);

#endif

/* SPDX-License-Identifier: MIT */
/* uaccess.h - copies from and to memory of the program, any of which may be hidden or missing: arch/uaccess.h. */
#ifndef FL_BASE_UACCESS_H
#define FL_BASE_UACCESS_H

#include "arch/uaccess.h"
#include "base/types.h"

/* Make a byte present, to be read or to be stored to. 0, -EFAULT. As fl_copy_user(). */
static inline int fl_fault_in_user(void *addr, bool store)
{
	char byte;

	return (store ? fl_touch_user(addr) : fl_copy_user(&byte, addr, 1)) ? -EFAULT : 0;
}

/* How many of `len` bytes could be read now, with page faults disabled? */
uint64_t fl_probe_nofault(uint64_t addr, uint64_t len);

#endif

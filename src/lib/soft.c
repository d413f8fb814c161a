/* SPDX-License-Identifier: MIT */
/* caller.c - how ioctl arguments and the sources of fills are reached, natively and on a soft address space. */
#include "lib/lib.h"

#include <string.h>

/* ---- native: the caller's memory is this process's, and any of it may fault ---- */

static int native_in(struct fl_mm *mm, void *buf, uint64_t addr, size_t len)
{
	return fl_copy_user(buf, fl_ptr(addr), len) ? -EFAULT : 0;
}

static int native_out(struct fl_mm *mm, uint64_t addr, const void *buf, size_t len)
{
	return fl_copy_user(fl_ptr(addr), buf, len) ? -EFAULT : 0;
}

static int native_fault_in(struct fl_mm *mm, uint64_t addr)
{
	char byte;

	return fl_copy_user(&byte, fl_ptr(addr), 1) ? -EFAULT : 0;
}

const struct fl_caller fl_native_caller = { native_in, native_out, native_fault_in };

/* ---- soft: arguments are the host program's own structures; sources are addresses of the soft address space ---- */

static int soft_in(struct fl_mm *mm, void *buf, uint64_t addr, size_t len)
{
	if (!addr)
		return -EFAULT;
	memcpy(buf, fl_ptr(addr), len);
	return 0;
}

static int soft_out(struct fl_mm *mm, uint64_t addr, const void *buf, size_t len)
{
	if (!addr)
		return -EFAULT;
	memcpy(fl_ptr(addr), buf, len);
	return 0;
}

static int soft_fault_in(struct fl_mm *mm, uint64_t addr)
{
	size_t done;
	char byte;

	return fl_soft_access(mm, addr, &byte, 1, FAULT_KERNEL, NULL, &done) == FL_DONE ? 0 : -EFAULT;
}

const struct fl_caller fl_soft_caller = { soft_in, soft_out, soft_fault_in };

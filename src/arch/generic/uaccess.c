/* SPDX-License-Identifier: MIT */
/* generic/uaccess.c - there is no native backend, so no fault entry: plain accesses. */
#include "arch/uaccess.h"

#include <string.h>

size_t fl_copy_nofault(void *dst, const void *src, size_t len)
{
	memcpy(dst, src, len);
	return 0;
}

size_t fl_copy_user(void *dst, const void *src, size_t len)
{
	return fl_copy_nofault(dst, src, len);
}

size_t fl_touch_nofault(void *addr)
{
	__atomic_fetch_or((char *)addr, 0, __ATOMIC_RELAXED);
	return 0;
}

size_t fl_touch_user(void *addr)
{
	return fl_touch_nofault(addr);
}

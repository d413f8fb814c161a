/* SPDX-License-Identifier: MIT */
/* uaccess.c - base/uaccess.h: memory of the native space is the model's, which faults where the host hides it. */
#include "world.h"

#include "base/uaccess.h"

#include <string.h>

/* Page by page: a copy may be into or out of several. Returns the bytes not copied. */
size_t fl_copy_nofault(void *dst, const void *src, size_t len)
{
	while (len) {
		size_t n = fl_min(len, PAGE_SIZE - fl_addr(src) % PAGE_SIZE);
		char *from, *to;

		n = fl_min(n, PAGE_SIZE - fl_addr(dst) % PAGE_SIZE);
		from = world_memory(src, false);
		to = from ? world_memory(dst, true) : NULL;
		if (!to)
			break;
		memcpy(to, from, n);
		src = (const char *)src + n;
		dst = (char *)dst + n;
		len -= n;
	}
	return len;
}

size_t fl_copy_user(void *dst, const void *src, size_t len)
{
	size_t left = len;

	while ((left = fl_copy_nofault((char *)dst + (len - left), (const char *)src + (len - left), left)) &&
	       world_fault_in((const char *)src + (len - left), false))
		;
	return left;
}

size_t fl_touch_nofault(void *addr)
{
	return !world_memory(addr, true);
}

size_t fl_touch_user(void *addr)
{
	return fl_touch_nofault(addr) && !world_fault_in(addr, true);
}

uint64_t fl_probe_nofault(uint64_t addr, uint64_t len)
{
	uint64_t done = 0;

	while (done < len && world_memory(fl_ptr(addr + done), false))
		done += PAGE_SIZE;
	return fl_min(done, len);
}

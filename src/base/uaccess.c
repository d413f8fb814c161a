/* SPDX-License-Identifier: MIT */
/* uaccess.c - how much of the program's memory can be read now. */
#include "base/uaccess.h"

uint64_t fl_probe_nofault(uint64_t addr, uint64_t len)
{
	uint64_t done = 0;
	char byte;

	while (done < len) {
		if (fl_copy_nofault(&byte, fl_ptr(addr + done), 1))
			break;
		done = fl_min(PAGE_ALIGN_DOWN(addr + done) + PAGE_SIZE - addr, len);
	}
	return done;
}

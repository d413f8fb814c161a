/* SPDX-License-Identifier: MIT */
/* sys.h - raw system calls, by arch/syscall.h; host/host.h has names for them. */
#ifndef FL_BASE_SYS_H
#define FL_BASE_SYS_H

#include "arch/syscall.h"

/* a failed system call's result, which is -4095..-1; also of calls that return addresses */
static inline int fl_sys_failed(long ret)
{
	return (unsigned long)ret > -4096ul;
}

#endif

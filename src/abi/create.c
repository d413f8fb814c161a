/* SPDX-License-Identifier: MIT */
/* create.c - userfaultfd(2): the flags of a new object. */
#include "abi/abi.h"

#include "base/inject.h"

#include <fcntl.h>

int fl_abi_check_flags(int flags)
{
	if (flags & ~(O_CLOEXEC | O_NONBLOCK | FL_UFFD_USER_MODE_ONLY))
		return -EINVAL;
	return -(int)fl_injected(FL_INJECT_USERFAULTFD);
}

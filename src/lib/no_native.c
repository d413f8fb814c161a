/* SPDX-License-Identifier: MIT */
/* no_native.c - in place of native_space.c on machines without a native backend: every address space is soft. */
#include "lib/lib.h"

const struct fl_space *fl_native_space(const struct fl_mm *mm)
{
	return NULL;
}

int fl_native_open(struct fl_mm **mm)
{
	return -ENOSYS;
}

int fl_native_next_fd(int from)
{
	return -1;
}

bool fl_native_private_fd(int fd)
{
	return false;
}

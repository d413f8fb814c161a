/* SPDX-License-Identifier: MIT */
/*
 * no_native.c - in native_space.c's place on machines for which there is no native backend: every address space is
 * soft.
 */
#include "lib/lib.h"

const struct fl_space *fl_space_of(const struct fl_mm *mm)
{
	return &fl_soft_space;
}

int fl_native_open(struct fl_mm **mm)
{
	return -ENOSYS;
}

bool fl_native_private_fd(int fd)
{
	return false;
}

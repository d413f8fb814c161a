/* SPDX-License-Identifier: MIT */
/* no-native.c - in native.c's place on machines for which there is no native backend: every address space is soft. */
#include "lib/lib.h"

const struct fl_space *fl_space_of(const struct fl_mm *mm)
{
	return &fl_soft_space;
}

int fl_process_open(struct fl_mm **mm)
{
	return -ENOSYS;
}

bool fl_process_private_fd(int fd)
{
	return false;
}

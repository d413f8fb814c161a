/* SPDX-License-Identifier: MIT */
/* no_native.c - in place of native_world.c where there is no native backend. */
#include "world.h"

#include "host/host.h"

const struct backend native_backends[] = {{0}};
const unsigned native_nr_backends;

int call_that_writes(uint64_t addr, uint64_t value)
{
	return -ENOSYS;
}

void reuse_unseen(uint64_t addr, bool stays)
{
}

void record_note(uint64_t addr)
{
}

bool record_forget(uint64_t addr)
{
	return true;
}

int fl_host_map_over(uint64_t addr, uint64_t len)
{
	return -ENOSYS;
}

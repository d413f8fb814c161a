/* SPDX-License-Identifier: MIT */
/* soft.c - the cases on a soft address space. */
#include "protect.h"

#include <stdlib.h>

static void soft_begin(void)
{
	if (fl_mm_create(&mm, 64ull << 20))
		abort();
}

static int soft_access(uint64_t addr, uint8_t *byte, bool write)
{
	return write ? fl_store(mm, addr, byte, 1) : fl_load(mm, addr, byte, 1);
}

static int soft_in_child(int (*fn)(uint64_t addr), uint64_t addr)
{
	struct fl_mm *parent = mm, *child;
	int ret;

	if (fl_mm_fork(mm, &child))
		return -1;
	mm = child;
	ret = fn(addr);
	mm = parent;
	return fl_mm_check(child) || fl_mm_destroy(child) ? -1 : ret;
}

static const struct world soft = {"soft", ON_SOFT, soft_begin, soft_access, soft_in_child};

int main(int argc, char **argv)
{
	return protect_main(argc, argv, &soft);
}

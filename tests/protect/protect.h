/* SPDX-License-Identifier: MIT */
/*
 * protect.h - the protection engine looked at from inside: after what a program does, and after what a kernel does
 * behind its back, what do the entries say? The same cases on the process's own address space and on a soft one. Each
 * runs in a process of its own.
 */
#ifndef PROTECT_H
#define PROTECT_H

#include <stdbool.h>
#include <stdint.h>

#include "mm/mm.h"
#include <faultline/faultline.h>

#define PAGE ((uint64_t)4096)
#define HUGE ((uint64_t)2 << 20)

enum { ON_NATIVE = 1, ON_SOFT = 2, ON_BOTH = 3 };

/* One kind of address space. */
struct world {
	const char *name;
	unsigned bit;
	void (*begin)(void); /* sets mm */
	int (*access)(uint64_t addr, uint8_t *byte, bool write); /* 0, or the signal */
	int (*in_child)(int (*fn)(uint64_t addr), uint64_t addr); /* fork; what fn says there; mm is the child's */
};

extern struct fl_mm *mm;
int protect_main(int argc, char **argv, const struct world *world);

#endif

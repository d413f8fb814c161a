/* SPDX-License-Identifier: MIT */
/* malloc.c - a block of 1 MiB from malloc() and back by free(), which libc maps and unmaps. */
#include <linux/userfaultfd.h>
#include <malloc.h>
#include <stdlib.h>

#include "abi.h"
#include "uffdbench.h"

#define BLOCK MIB(1)
#define PAIRS 2000u

/* The row says whether there are an object and memory registered with it. */
void measure_malloc(const struct run *run, struct series *out)
{
	int fd = run->row->wp ? abi_open(0) : -1;

	mallopt(M_MMAP_THRESHOLD, KIB(128));
	if (fd >= 0)
		abi_register(fd, map_pages(MIB(1)), MIB(1), UFFDIO_REGISTER_MODE_MISSING);
	for (unsigned batch = 0; batch <= run->batches; batch++) {
		uint64_t start = now_ns();

		for (unsigned i = 0; i < PAIRS; i++) {
			char *volatile p = malloc(BLOCK);

			if (!p)
				die("malloc failed");
			free(p);
		}
		if (batch)
			series_add(out, now_ns() - start, PAIRS);
	}
}

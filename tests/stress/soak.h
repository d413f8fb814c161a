/* SPDX-License-Identifier: MIT */
/*
 * soak.h - random operations of many threads on one address space, and the bookkeeping that tells a right result from
 * a wrong one. The space is the process's own (soak.c) or a soft one (soft-soak.c).
 */
#ifndef SOAK_H
#define SOAK_H

#include "stress.h"

#define SOAK_CHUNKS	 8
#define SOAK_CHUNK_PAGES 64
#define SOAK_PAGES	 (SOAK_CHUNKS * SOAK_CHUNK_PAGES)

struct space {
	uint64_t base; /* SOAK_PAGES pages, read-write, not registered */
	int (*load)(uint64_t addr, uint64_t *words, size_t n);
	int (*store)(uint64_t addr, const uint64_t *words, size_t n);
	int (*dontneed)(uint64_t addr, uint64_t len); /* these give 0 or -errno */
	int (*ioctl)(unsigned long cmd, void *arg);
	bool (*next)(struct uffd_msg *msg, int ms); /* waits for a message */
};

/* Run for STRESS_SECONDS (3) from STRESS_SEED (1); `unregister`: the ranges are also unregistered meanwhile. */
void soak(const struct space *space, bool unregister);

#endif

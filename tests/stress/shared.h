/* SPDX-License-Identifier: MIT */
/*
 * shared.h - a file in memory that is mapped twice, one mapping registered, while it is truncated, grown and punched,
 * the mappings are dropped and write-protected, large folios form and split, and a handler answers missing, minor and
 * write-protect faults. A page holds what was stored last, or zeros if it was dropped since; beyond the end there is
 * SIGBUS, and never anything else. The file is a memfd (shmem.c) or of soft address spaces (soft-shmem.c).
 */
#ifndef SHARED_H
#define SHARED_H

#include "stress.h"

#define SHARED_PAGES	640u /* a large folio, and some */
#define SHARED_SIZE	((uint64_t)SHARED_PAGES * PAGE)
#define SHARED_MODES	(MISSING | WP | UFFDIO_REGISTER_MODE_MINOR)
#define SHARED_FEATURES (FEAT_WP | UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM)

/* The two mappings; OTHER is not registered. */
enum { REGISTERED, OTHER };

struct shared {
	uint64_t base;						     /* address of the registered mapping */
	bool (*load)(int mapping, uint64_t offset, uint64_t *value); /* false: SIGBUS; likewise store */
	bool (*store)(int mapping, uint64_t offset, uint64_t value);
	int (*truncate)(uint64_t size); /* these are 0, or -1 with errno */
	int (*punch)(uint64_t offset, uint64_t len);
	int (*madvise)(int mapping, uint64_t offset, uint64_t len, int advice);
	int (*ioctl)(unsigned long cmd, void *arg);
	bool (*next)(struct uffd_msg *msg, int ms); /* waits for a message */
	void (*look)(void);			    /* ten times a second; NULL: nothing */
};

/* For STRESS_SECONDS (4). Returns how often 2 MiB became one folio. */
unsigned long shared_run(const struct shared *shared);

#endif

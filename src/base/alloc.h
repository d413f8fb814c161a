/* SPDX-License-Identifier: MIT */
/*
 * alloc.h - memory for the engine's own data. Not malloc: it works in a signal handler, in a process with any malloc,
 * and its every failure is a fault point. Freed memory is kept for the next allocation of its size.
 */
#ifndef FL_BASE_ALLOC_H
#define FL_BASE_ALLOC_H

#include "base/types.h"
#include "host/inject.h"

/*
 * `size` zeroed bytes, aligned to 64 if size >= 64 (to 4096 if size >= 4096), or NULL. `account` is charged. => any
 * lock below FL_RANK_ALLOC may be held; sleeps only for the allocator's own lock
 */
void *fl_alloc(uint64_t *account, size_t size, enum fl_inject_point fp);
void fl_free(uint64_t *account, void *ptr, size_t size);

/* Address space without memory: `size` bytes that read as zero and cost memory only where written. NULL: refused. */
void *fl_reserve(size_t size);
void fl_unreserve(void *ptr, size_t size);

/* Around fork(), so that the child finds the allocator unlocked. */
void fl_alloc_fork_prepare(void);
void fl_alloc_fork_done(void);

#endif

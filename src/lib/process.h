/* SPDX-License-Identifier: MIT */
/*
 * process.h - what the files of the process's mapping calls share: process.c, and remap.c for mremap(2).
 */
#ifndef FL_LIB_PROCESS_H
#define FL_LIB_PROCESS_H

#include "host/host.h"
#include "lib/lib.h"
#include "mm/file.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

static struct fl_mm *const mm = &fl_host.mm;

/* To change what is mapped in [start, end), or anywhere. */
static inline uint64_t lock_range(uint64_t start, uint64_t end)
{
	uint64_t irq = fl_irq_save();

	fl_mmap_write_lock_range(mm, start, end);
	return irq;
}

static inline uint64_t lock(void)
{
	return lock_range(0, UINT64_MAX);
}

static inline void unlock(uint64_t irq)
{
	fl_mmap_write_unlock(mm);
	fl_irq_restore(irq);
}

/* => mmap_lock held */
static inline bool room_locked(void)
{
	return __atomic_load_n(&fl_host.splits, __ATOMIC_RELAXED) > 64 && fl_cache_shrink(mm);
}

/* => no lock held */
static inline bool room_unlocked(void)
{
	uint64_t irq;
	bool any;

	if (!__atomic_load_n(&fl_host.ready, __ATOMIC_ACQUIRE))
		return false;
	irq = fl_irq_save();
	fl_mmap_read_lock(mm);
	any = room_locked();
	fl_mmap_read_unlock(mm);
	fl_irq_restore(irq);
	return any;
}

/* A host call that may find the mapping table full, because of us: with mmap_lock held, or with no lock. */
#define WITH_ROOM(call)	    RETRY_WITH_ROOM(call, room_locked)
#define WITH_ROOM_OUT(call) RETRY_WITH_ROOM(call, room_unlocked)
#define RETRY_WITH_ROOM(call, make_room)                                                                             \
	({                                                                                                           \
		long room_ret = (call);                                                                              \
		while (room_ret == -ENOMEM && make_room())                                                           \
			room_ret = (call);                                                                           \
		room_ret;                                                                                            \
	})

/* Does the call concern us? Sane arguments only: the host complains about the others. */
static inline bool ours(uint64_t addr, uint64_t len)
{
	return len && len <= TASK_SIZE && addr < TASK_SIZE && PAGE_ALIGNED(addr) &&
	       fl_host_touches(addr, PAGE_ALIGN(addr + len));
}

/*
 * The host has unmapped [start, end): so do we. What was cached went with the mappings, and the range may be somebody
 * else's already, so nothing may be told to the host about it. => mmap_lock held for writing, two reserved
 */
void fl_process_forget(uint64_t start, uint64_t end);
/* Ranges that were taken back and are not registered go to the host again. => mmap_lock held for writing */
void fl_process_release(uint64_t start, uint64_t end);

#endif

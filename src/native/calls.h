/* SPDX-License-Identifier: MIT */
/*
 * calls.h - what the files of the process's mapping calls share: map.c, remap.c, replace.c, advise.c,
 * truncate.c, present.c.
 */
#ifndef FL_NATIVE_CALLS_H
#define FL_NATIVE_CALLS_H

#include "mm/file.h"
#include "native/native.h"
#include "native/space.h"

/* To change what is mapped in [start, end), or anywhere. */
static inline uint64_t lock_range(uint64_t start, uint64_t end)
{
	uint64_t signals = fl_signals_block();

	fl_mmap_write_lock_range(&fl_native.mm, start, end);
	return signals;
}

/* The same, for a call on what the tables have there: of what the host has, too. */
static inline uint64_t lock_mapped(uint64_t start, uint64_t end)
{
	uint64_t signals = lock_range(start, end);

	fl_native_verify(&fl_native.mm, start, end);
	return signals;
}

static inline uint64_t lock(void)
{
	return lock_range(0, UINT64_MAX);
}

static inline void unlock(uint64_t signals)
{
	fl_mmap_write_unlock(&fl_native.mm);
	fl_signals_restore(signals);
}

/* => mmap_lock held */
static inline bool room_locked(void)
{
	return __atomic_load_n(&fl_native.splits, __ATOMIC_RELAXED) > 64 && fl_cache_shrink(&fl_native.mm);
}

/* => no lock held */
static inline bool room_unlocked(void)
{
	uint64_t signals;
	bool any;

	if (!__atomic_load_n(&fl_native.ready, __ATOMIC_ACQUIRE))
		return false;
	signals = fl_signals_block();
	fl_mmap_read_lock(&fl_native.mm);
	any = room_locked();
	fl_mmap_read_unlock(&fl_native.mm);
	fl_signals_restore(signals);
	return any;
}

/* A host call that may find the mapping table full because of the cache: with mmap_lock held, or with no lock. */
#define WITH_ROOM(call)	    RETRY_WITH_ROOM(call, room_locked)
#define WITH_ROOM_OUT(call) RETRY_WITH_ROOM(call, room_unlocked)
#define RETRY_WITH_ROOM(call, make_room)                                                                             \
	({                                                                                                           \
		long room_ret = (call);                                                                              \
		while (room_ret == -ENOMEM && make_room())                                                           \
			room_ret = (call);                                                                           \
		room_ret;                                                                                            \
	})

/*
 * The next part of [*at, end): inside one registered mapping (*vma) or outside all of them (NULL). => mmap_lock held
 */
static inline bool next_part(uint64_t *at, uint64_t end, uint64_t *start, uint64_t *stop, struct fl_vma **vma)
{
	struct fl_vma *v;

	if (*at >= end)
		return false;
	v = fl_find_vma(&fl_native.mm, *at);
	*start = *at;
	*vma = v && v->start <= *at ? v : NULL;
	*stop = !v ? end : fl_min(end, *vma ? v->end : v->start);
	*at = *stop;
	return true;
}

/* Flags of a part of one mapping. => mmap_lock held for writing, two reserved */
static inline void set_flag(uint64_t start, uint64_t stop, uint32_t set, uint32_t clear)
{
	struct fl_vma *vma;

	fl_vma_split(&fl_native.mm, start);
	fl_vma_split(&fl_native.mm, stop);
	vma = fl_vma_lookup(&fl_native.mm, start);
	fl_vma_set(vma, (vma->flags & ~clear) | set, vma->ctx);
	fl_vma_merge(&fl_native.mm, start, stop);
}

/* The host complains about other arguments. */
static inline bool sane(uint64_t addr, uint64_t len)
{
	return len && len <= TASK_SIZE && addr < TASK_SIZE && PAGE_ALIGNED(addr);
}

/* Does the call concern registered memory? */
static inline bool ours(uint64_t addr, uint64_t len)
{
	return sane(addr, len) && fl_native_touches(addr, PAGE_ALIGN(addr + len));
}

/*
 * A mapping call on memory that is not registered, made by the host alone. It must stay so until the host has done
 * it: a REGISTER in between would adopt what the call then takes away. So mmap_lock is held for reading. As long as
 * there has been no object there is no lock to take.
 */
struct outside {
	uint64_t signals;
	bool locked;
};

static inline void outside_end(const struct outside *o)
{
	if (!o->locked)
		return;
	fl_mmap_read_unlock(&fl_native.mm);
	fl_signals_restore(o->signals);
}

/* => mmap_lock held */
static inline bool registered(uint64_t addr, uint64_t len)
{
	const struct fl_vma *vma = fl_find_vma(&fl_native.mm, addr);

	return vma && vma->start < PAGE_ALIGN(addr + len);
}

/* false: a part of the range is registered, and nothing is held. => no lock held */
static inline bool outside_begin(uint64_t addr, uint64_t len, struct outside *o)
{
	o->locked = sane(addr, len) && __atomic_load_n(&fl_native.ready, __ATOMIC_ACQUIRE);
	if (!o->locked)
		return true;
	o->signals = fl_signals_block();
	fl_mmap_read_lock(&fl_native.mm);
	if (!registered(addr, len))
		return true;
	outside_end(o);
	return false;
}

/* What the host says of it, with room made in its table of mappings. => no lock held; `o` has begun */
#define OUTSIDE(o, call)                                                                                             \
	({                                                                                                           \
		long outside_ret = (o)->locked ? WITH_ROOM(call) : WITH_ROOM_OUT(call);                              \
		outside_end(o);                                                                                      \
		outside_ret;                                                                                         \
	})

/*
 * The host has just given the place to the program: what the tables have of it is of a mapping that is gone.
 * => mmap_lock held for writing, and since before the host was asked; two reserved
 */
void fl_native_given(uint64_t addr, uint64_t len);

/* Is there memory of the engine's own in the range? Then the call is made around it: own.c. */
bool fl_native_own(uint64_t addr, uint64_t len);
/* What the call does at a hole: nothing; it ends with ENOMEM; it says ENOMEM when it is through. */
enum fl_hole { FL_HOLE_PASSED, FL_HOLE_ENDS, FL_HOLE_LATER };
typedef int fl_part_fn(uint64_t addr, uint64_t len, long arg);
int fl_native_around_own(uint64_t addr, uint64_t len, fl_part_fn *fn, long arg, enum fl_hole hole);

/* Bring the registered pages of a range in, in order. false: one could not be. => no lock held */
bool fl_native_make_present(uint64_t addr, uint64_t len, bool write);

#endif

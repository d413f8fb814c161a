/* SPDX-License-Identifier: MIT */
/*
 * mmap_lock.c - which thread may change or use which mappings.
 *
 * Holding mmap_lock for writing excludes other writers only. A writer also declares the range it will change
 * (fl_mmap_exclude), and waits until no mapping there is pinned. Faults, fills and accesses pin one mapping, which
 * they look up without a lock (fl_vma_pin). So they wait only for a change to their own mapping.
 *
 *   a fault                                  a writer
 *     reads vma_seq                            declares its range
 *     finds the mapping, not in the range      changes vma_seq
 *     pins it                                  waits until nothing there is pinned
 *     reads vma_seq: has it changed?
 *
 * Either the fault sees that vma_seq has changed, and unpins, or the writer waits for it. vma_seq changes with the
 * table of mappings, too, so a fault that has pinned its mapping has found it in a table that was whole. A fault that
 * may not pin yet, or finds no mapping, waits for mmap_lock, since nothing changes while it is held for reading.
 *
 * Progress:
 *   P1  a fault looks TRIES times at most, and then blocks on mmap_lock once
 *   P2  a writer waits for other holders of mmap_lock, and for pins in its own range only (and in that of a neighbour
 *       that it merges with): new ones are turned away meanwhile, so the wait is as long as the pins that are there
 *   P3  no pin is held across a wait for user space, for a migration or for a source to become present: a pinned
 *       thread waits for the file's lock, page-table locks, the backend's locks and calls of the host, never for
 *       mmap_lock (the ranks assert it), so P2's wait ends
 *   P4  fl_vma_trypin() waits for nothing, and fl_vma_sole_pin() looks once
 */
#include "mm/mmap_lock.h"

#include "mm/vma_table.h"

#include "base/rank.h"
#include "host/count.h"

#define TRIES 2 /* to find a mapping while the table changes; then mmap_lock */

static bool excluded(const struct fl_mm *mm, uint64_t start, uint64_t end)
{
	return start < entry_read(&mm->excl_end) && entry_read(&mm->excl_start) < end;
}

bool fl_vma_excluded(const struct fl_vma *vma)
{
	return excluded(vma->mm, vma->start, vma->end);
}

bool fl_vma_sole_pin(const struct fl_vma *vma)
{
	const struct fl_mm *mm = vma->mm;
	uint32_t seq = fl_read_seqbegin(&mm->vma_seq);
	bool ret = fl_vma_excluded(vma) && __atomic_load_n(&mm->excl_done, __ATOMIC_ACQUIRE); /* in this order */

	/* If it has changed, or is changing, another thread did it, so this one does not have sole access. */
	return ret && !fl_read_seqretry(&mm->vma_seq, seq);
}

/* ---- to change mappings ---- */

void fl_mmap_exclude(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	struct fl_vma *vma;
	uint32_t i;

	if (start >= end || (start >= mm->excl_start && end <= mm->excl_end))
		return;
	if (mm->excl_end) {
		start = fl_min(start, mm->excl_start);
		end = fl_max(end, mm->excl_end);
	}
	__atomic_store_n(&mm->excl_done, false, __ATOMIC_RELEASE);
	entry_write(&mm->excl_start, start);
	entry_write(&mm->excl_end, end);
	fl_write_seqchange(&mm->vma_seq);
	fl_for_each_vma(mm, vma, i, start, end)
		fl_pins_drain(&vma->pins);
	__atomic_store_n(&mm->excl_done, true, __ATOMIC_RELEASE);
}

void fl_mmap_write_lock_range(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	fl_write_lock(&mm->mmap_lock);
	fl_mmap_exclude(mm, start, end);
}

void fl_mmap_write_unlock(struct fl_mm *mm)
{
	if (mm->excl_end) {
		fl_yield_point(&mm->vma_seq);
		__atomic_store_n(&mm->excl_done, false, __ATOMIC_RELEASE);
		entry_write(&mm->excl_end, 0); /* a thread that sees that sees all the changes */
	}
	fl_write_unlock(&mm->mmap_lock);
}

void fl_mmap_lock_after_fork(struct fl_mm *mm)
{
	for (uint32_t i = 0; i < mm->nr_vmas; i++)
		mm->vmas[i]->pins.word = 0;
	for (struct fl_vma *v = mm->spare; v; v = fl_vma_next_spare(v))
		v->pins.word = 0;
	mm->excl_done = false;
	mm->excl_end = 0;
	fl_rwlock_init(&mm->mmap_lock, FL_RANK_MMAP);
}

/* ---- to pin a mapping ---- */

/* NULL, and *again: the table was changing. */
static struct fl_vma *tryget(struct fl_mm *mm, uint64_t addr, bool *again)
{
	uint32_t seq = fl_read_seqbegin(&mm->vma_seq);
	struct fl_vma *vma = seq & 1 ? NULL : fl_find_vma(mm, addr);
	bool found = vma && !excluded(mm, entry_read(&vma->start), entry_read(&vma->end));

	if (found)
		fl_pins_get(&vma->pins);
	*again = fl_read_seqretry(&mm->vma_seq, seq);
	if (found && !*again)
		return vma;
	if (found)
		fl_pins_put(&vma->pins);
	return NULL;
}

struct fl_vma *fl_vma_trypin(struct fl_mm *mm, uint64_t addr)
{
	bool again;

	return tryget(mm, addr, &again);
}

void fl_vma_put(struct fl_vma *vma)
{
	fl_pins_put(&vma->pins);
}

struct fl_vma *fl_vma_pin_locked(struct fl_mm *mm, uint64_t addr)
{
	struct fl_vma *vma = fl_vma_lookup(mm, addr);

	if (!vma)
		return NULL;
	fl_rank_acquire(vma, FL_RANK_VMA);
	fl_pins_get(&vma->pins);
	return vma;
}

struct fl_vma *fl_vma_pin(struct fl_mm *mm, uint64_t addr)
{
	struct fl_vma *vma = NULL;
	bool again = true;

	for (int i = 0; i < TRIES && again; i++)
		vma = tryget(mm, addr, &again);
	if (vma && vma->start <= addr) {
		fl_rank_acquire(vma, FL_RANK_VMA);
		return vma;
	}
	if (vma)
		fl_vma_put(vma);
	fl_count(vma_lock_miss, 1);
	fl_mmap_read_lock(mm);
	vma = fl_vma_pin_locked(mm, addr);
	fl_mmap_read_unlock(mm);
	return vma;
}

void fl_vma_unpin(struct fl_vma *vma)
{
	fl_rank_release(vma, FL_RANK_VMA);
	fl_pins_put(&vma->pins);
}

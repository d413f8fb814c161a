/* SPDX-License-Identifier: MIT */
/*
 * present.c - which pages are present: faults on behalf of system calls, mlock(2) and its kin, mincore(2).
 */
#include "native/calls.h"

static struct fl_mm *const mm = &fl_native.mm;

enum page { PAGE_THERE, PAGE_HIDDEN, PAGE_FORBIDDEN };

/* Hidden is worth a fault; forbidden has no such right. What is not registered counts as there. */
static enum page look_at(uint64_t addr, bool write)
{
	uint64_t signals = fl_signals_block();
	struct fl_vma *vma = fl_vma_pin(mm, addr);
	enum page ret = PAGE_THERE;

	if (vma && !(vma->flags & VM_RELEASED)) {
		if (!(fl_vma_access(vma) & (write ? VM_WRITE : VM_READ)))
			ret = PAGE_FORBIDDEN;
		else if (!fl_native_caches(vma, addr, write ? FL_RIGHT_WRITE : FL_RIGHT_READ))
			ret = PAGE_HIDDEN;
	}
	if (vma)
		fl_vma_unpin(vma);
	fl_signals_restore(signals);
	return ret;
}

/* A system call that waits for a page is not interrupted: handlers run after it. */
static int fault_in(uint64_t addr, bool write)
{
	uint64_t signals = fl_signals_block_for_wait();
	int err = fl_fault_in_user(fl_ptr(addr), write);

	fl_signals_restore_after_wait(signals);
	return err;
}

enum fl_present fl_native_fault_in(uint64_t addr, uint64_t len, bool write)
{
	uint64_t end = addr + len;
	bool any = false;

	if (!len || end < addr)
		return FL_NOT_OURS;
	if (!fl_native_touches(addr, end))
		return fl_native_undone() ? FL_WAS_PRESENT : FL_NOT_OURS;
	for (uint64_t at = addr; at < end; at = PAGE_ALIGN_DOWN(at) + PAGE_SIZE) {
		enum page page = look_at(at, write);

		if (page == PAGE_THERE)
			continue;
		if (page == PAGE_FORBIDDEN || fault_in(at, write))
			return any ? FL_MADE_PRESENT : FL_REFUSED;
		any = true;
	}
	return any ? FL_MADE_PRESENT : FL_WAS_PRESENT;
}

bool fl_native_make_present(uint64_t addr, uint64_t len, bool write)
{
	for (uint64_t at = addr; at < addr + len; at += PAGE_SIZE) {
		enum page page = look_at(at, write);

		if (page == PAGE_FORBIDDEN || (page == PAGE_HIDDEN && fault_in(at, write)))
			return false;
	}
	return true;
}

static int populate(uint64_t addr, uint64_t len)
{
	uint64_t signals = lock(), at = addr, end = addr + len, start, stop;
	struct fl_vma *vma;
	bool write = true;

	while (next_part(&at, end, &start, &stop, &vma))
		if (vma && !(vma->flags & VM_WRITE))
			write = false;
	unlock(signals);
	return fl_native_make_present(addr, len, write) ? 0 : -ENOMEM;
}

static int mlock_part(uint64_t addr, uint64_t len, long flags)
{
	return fl_native_mlock(addr, len, (unsigned)flags);
}

static int munlock_part(uint64_t addr, uint64_t len, long unused)
{
	return fl_native_munlock(addr, len);
}

/* Memory of the pool is not swapped where there is no swap, and cannot be locked without losing the markers. */
int fl_native_mlock(uint64_t addr, uint64_t len, unsigned flags)
{
	uint64_t signals, start, stop, at = PAGE_ALIGN_DOWN(addr), end = PAGE_ALIGN(addr + len), first = at;
	struct fl_vma *vma;
	int ret = 0;

	if (fl_native_own(addr, len))
		return fl_native_around_own(at, end - at, mlock_part, (long)flags, FL_HOLE_ENDS);
	if (!len || len > TASK_SIZE || !fl_native_touches(at, end))
		return fl_host_mlock(addr, len, flags);
	signals = lock_range(at, end);
	while (!ret && next_part(&at, end, &start, &stop, &vma)) {
		bool hidden = vma && fl_vma_hidden(vma); /* the host cannot populate it */

		ret = vma ? fl_vma_reserve(mm, 2) : 0;
		if (!ret && (!vma || (vma->flags & VM_IN_PLACE)))
			ret = fl_host_mlock(start, stop - start, hidden ? flags | MLOCK_ONFAULT : flags);
		if (!ret && vma)
			set_flag(start, stop, VM_LOCKED, 0);
	}
	unlock(signals);
	if (!ret && !flags)
		ret = populate(first, end - first);
	return ret;
}

int fl_native_munlock(uint64_t addr, uint64_t len)
{
	uint64_t signals, start, stop, at = PAGE_ALIGN_DOWN(addr), end = PAGE_ALIGN(addr + len);
	struct fl_vma *vma;
	int ret;

	if (fl_native_own(addr, len))
		return fl_native_around_own(at, end - at, munlock_part, 0, FL_HOLE_ENDS);
	ret = fl_host_munlock(addr, len);
	if (ret || !len || len > TASK_SIZE || !fl_native_touches(at, end))
		return ret;
	signals = lock_range(at, end);
	while (!ret && next_part(&at, end, &start, &stop, &vma)) {
		ret = vma ? fl_vma_reserve(mm, 2) : 0;
		if (vma && !ret)
			set_flag(start, stop, 0, VM_LOCKED);
	}
	unlock(signals);
	return ret;
}

/*
 * All of the program's memory is not all of the process's: populating the direct map would take the whole pool.
 * Registered ranges, once locked, would refuse markers.
 */
int fl_native_mlockall(int flags)
{
	uint64_t signals;
	int ret;

	if (!__atomic_load_n(&fl_native.ready, __ATOMIC_ACQUIRE) || !(flags & MCL_CURRENT))
		return fl_host_mlockall(flags);
	ret = fl_host_mlockall(flags | MCL_ONFAULT);
	signals = lock();
	fl_direct_munlock();
	for (uint32_t i = 0; i < mm->nr_vmas && !ret; i++) {
		struct fl_vma *vma = mm->vmas[i];

		if (!(vma->flags & VM_IN_PLACE))
			fl_host_munlock(vma->start, vma->end - vma->start);
		fl_vma_set(vma, vma->flags | VM_LOCKED, vma->ctx);
	}
	fl_vma_merge(mm, 0, TASK_SIZE);
	unlock(signals);
	return ret;
}

int fl_native_munlockall(void)
{
	int ret = fl_host_munlockall();
	uint64_t signals;

	if (ret || !__atomic_load_n(&fl_native.ready, __ATOMIC_ACQUIRE))
		return ret;
	signals = lock();
	for (uint32_t i = 0; i < mm->nr_vmas; i++)
		fl_vma_set(mm->vmas[i], mm->vmas[i]->flags & ~VM_LOCKED, mm->vmas[i]->ctx);
	fl_vma_merge(mm, 0, TASK_SIZE);
	unlock(signals);
	return 0;
}

/* What mincore(2) says of a page, if it is registered. => mmap_lock held */
static void present(uint64_t addr, unsigned char *in)
{
	struct fl_vma *vma = fl_vma_lookup(mm, addr);

	if (!vma || (vma->flags & (VM_RELEASED | VM_IN_PLACE)))
		return;
	*in = pte_present(fl_pte_get(mm, addr));
	if (*in || !vma->file)
		return;
	fl_vma_lock_file(vma); /* for a file's page the page cache counts */
	*in = vma->file->ops->find(vma->file, vma, addr, fl_vma_page_index(vma, addr)) != FL_PFN_NONE;
	fl_vma_unlock_file(vma);
}

int fl_native_mincore(uint64_t addr, uint64_t len, unsigned char *vec)
{
	unsigned char part[256];
	uint64_t signals, end = addr + PAGE_ALIGN(len);
	int ret = fl_native_own(addr, len) ? -ENOMEM : fl_host_mincore(addr, len, vec);

	if (ret || !ours(addr, len))
		return ret;
	for (uint64_t at = addr; at < end; at += sizeof(part) * PAGE_SIZE) {
		size_t n = fl_min(PAGES(end - at), (uint64_t)sizeof(part));

		/* the program's vector may fault, so it is not touched under the lock */
		if (fl_copy_user(part, vec + PAGES(at - addr), n))
			return -EFAULT;
		signals = lock();
		for (size_t i = 0; i < n; i++)
			present(at + (i << PAGE_SHIFT), &part[i]);
		unlock(signals);
		if (fl_copy_user(vec + PAGES(at - addr), part, n))
			return -EFAULT;
	}
	return 0;
}

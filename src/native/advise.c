/* SPDX-License-Identifier: MIT */
/*
 * advise.c - madvise(2) on registered memory: what the tables must do for it, and what is the host's alone.
 */
#include "native/calls.h"

static struct fl_mm *const mm = &fl_native.mm;

/* Pages of a released range: the host serves it, but dropping what it holds is not dropping what the pool holds. */
static void drop_released(struct fl_vma *vma, uint64_t start, uint64_t stop)
{
	fl_frames_punch(vma_pfn(vma, start), PAGES(stop - start));
}

/* What the host serves alone is taken back for it. => mmap_lock held for writing */
static int collapse(struct fl_vma *vma, uint64_t start, uint64_t stop)
{
	int err;

	if (vma->flags & VM_IN_PLACE)
		return fl_in_place_collapse(mm, vma, start, stop);
	err = (vma->flags & VM_RELEASED) ? fl_native_adopt(mm, start, stop, VM_UFFD) : 0;

	if (!err)
		err = fl_collapse_anonymous(mm, fl_vma_lookup(mm, start), start, stop);
	fl_unclaim(mm, start, stop);
	return err;
}

/* Memory in place is the host's own. => mmap_lock held for writing */
static int advise_in_place(uint64_t start, uint64_t stop, int advice)
{
	bool drops = advice == MADV_DONTNEED || advice == MADV_DONTNEED_LOCKED;
	struct fl_vma *vma;
	int ret = drops || advice == MADV_FREE || advice == MADV_GUARD_INSTALL ? fl_hide_whole(mm, start, stop) : 0;

	if (!ret)
		ret = (int)WITH_ROOM(fl_host_madvise(start, stop - start, advice));
	vma = fl_vma_lookup(mm, start); /* it may have been cut */
	if (!ret && drops)
		fl_zap_advised(mm, vma, start, stop);
	if (!ret && advice == MADV_GUARD_INSTALL) /* with what was known of the pages */
		fl_zap_range(mm, vma, start, stop);
	if (!ret)
		fl_state_note(start, stop, advice, false);
	return ret;
}

/* A guard marker takes the place of a page, also where the host has them. => mmap_lock held for writing */
static int install_guards(struct fl_vma *vma, uint64_t start, uint64_t stop)
{
	if (vma->flags & VM_LOCKED)
		return -EINVAL;
	if (!(vma->flags & VM_RELEASED))
		return fl_guard_install(mm, vma, start, stop);
	drop_released(vma, start, stop);
	return fl_host_guard(start, stop - start);
}

/* => mmap_lock held for writing */
static int advise_part(struct fl_vma *vma, uint64_t start, uint64_t stop, int advice)
{
	if (vma->flags & VM_IN_PLACE)
		return advise_in_place(start, stop, advice);
	if (vma->file && advice == MADV_REMOVE && !(vma->flags & VM_SHARED))
		return -EACCES;
	if ((vma->flags & VM_SHARED) && ((vma->flags & VM_RELEASED) || advice == MADV_REMOVE))
		return advice == MADV_REMOVE ? fl_file_remove(mm, vma, start, stop)
					     : fl_host_madvise(start, stop - start, advice);
	if (advice == MADV_FREE && vma->file)
		return -EINVAL;
	switch (advice) {
	case MADV_DONTNEED:
	case MADV_DONTNEED_LOCKED:
		if (advice == MADV_DONTNEED && (vma->flags & VM_LOCKED))
			return -EINVAL;
		if (vma->flags & VM_RELEASED)
			drop_released(vma, start, stop);
		else
			fl_zap_advised(mm, vma, start, stop);
		return 0;
	case MADV_REMOVE: /* what the program has is private memory, whatever it is made of */
		return -EINVAL;
	case MADV_GUARD_INSTALL:
		return install_guards(vma, start, stop);
	case MADV_GUARD_REMOVE:
		if (vma->flags & VM_RELEASED)
			return fl_host_unguard(start, stop - start);
		fl_guard_remove(mm, start, stop);
		return 0;
	default: /* advice that nothing needs to follow: FREE, WILLNEED, COLD, PAGEOUT, MERGEABLE, ... */
		fl_state_note(start, stop, advice, true);
		return 0;
	}
}

/* The part of MADV_COLLAPSE that is not the manager's and takes its own locks. => no lock held */
static int collapse_by_host(uint64_t start, uint64_t stop)
{
	int err = fl_file_any() ? fl_file_collapse_elsewhere(start, stop) : 0;

	return err ? err : fl_host_madvise(start, stop - start, MADV_COLLAPSE);
}

static int collapse_file(uint64_t start, uint64_t stop)
{
	return fl_collapse(mm, start, stop);
}

typedef int collapse_fn(uint64_t start, uint64_t stop);

/*
 * The function that collapses this part and takes its own locks; NULL: call collapse(), which expects them held. =>
 * mmap_lock held for writing
 */
static collapse_fn *collapse_owner(const struct fl_vma *vma)
{
	if (!vma || ((vma->flags & VM_SHARED) && (vma->flags & VM_RELEASED)))
		return collapse_by_host;
	return vma->file ? collapse_file : NULL;
}

static int collapse_all(uint64_t at, uint64_t end)
{
	uint64_t start, stop, signals = lock();
	struct fl_vma *vma;
	int ret = 0, hole = 0;

	while (!ret && next_part(&at, end, &start, &stop, &vma)) {
		collapse_fn *owner = collapse_owner(vma);

		if (!owner) {
			ret = fl_vma_reserve(mm, 2);
			ret = ret ? ret : collapse(vma, start, stop);
			continue;
		}
		fl_mmap_write_unlock(mm);
		ret = owner(start, stop);
		fl_mmap_write_lock(mm);
		if (ret == -ENOMEM && !vma) { /* holes are skipped, and reported at the end */
			hole = ret;
			ret = 0;
		}
	}
	unlock(signals);
	return ret ? ret : hole;
}

/* A part whose pages come by faults. => no lock held */
static int populate_registered(uint64_t start, uint64_t stop, uint32_t access, int advice)
{
	bool write = advice == MADV_POPULATE_WRITE;

	if (!(access & (write ? VM_WRITE : VM_ACCESS)))
		return -EINVAL;
	return fl_native_make_present(start, stop - start, write) ? 0 : -EFAULT;
}

/* In place the host has the pages, once nothing is in the way; by then the cache may have forgotten a right. */
static int populate_in_place(uint64_t start, uint64_t stop, uint32_t access, int advice)
{
	int ret = -EFAULT;

	for (unsigned i = 0; i < 16 && (ret == -EFAULT || ret == -EINVAL); i++) {
		ret = populate_registered(start, stop, access, advice);
		if (ret)
			return ret;
		ret = fl_host_madvise(start, stop - start, advice);
	}
	return ret;
}

/* In the order of addresses, up to what cannot be populated. => no lock held */
static int populate_all(uint64_t at, uint64_t end, int advice)
{
	uint64_t start, stop, signals = lock_range(0, 0);
	struct fl_vma *vma;
	int ret = 0;

	while (!ret && next_part(&at, end, &start, &stop, &vma)) {
		bool registered = vma && !(vma->flags & VM_RELEASED);
		bool in_place = registered && (vma->flags & (VM_IN_PLACE | VM_UFFD_MISSING)) == VM_IN_PLACE;
		uint32_t access = vma ? fl_vma_access(vma) : 0;

		unlock(signals);
		ret = in_place	   ? populate_in_place(start, stop, access, advice)
		      : registered ? populate_registered(start, stop, access, advice)
				   : fl_host_madvise(start, stop - start, advice);
		signals = lock_range(0, 0);
	}
	unlock(signals);
	return ret;
}

/* The host refuses advice that it does not know, before anything is changed. */
static bool advice_known(int advice)
{
	return fl_host_madvise(0, 0, advice) == 0;
}

static int remove_elsewhere(uint64_t addr, uint64_t len)
{
	uint64_t signals = lock();
	int ret;

	fl_file_remove_elsewhere(addr, addr + PAGE_ALIGN(len));
	ret = fl_host_madvise(addr, len, MADV_REMOVE);
	unlock(signals);
	return ret;
}

/* Advice that takes pages: a REGISTER at the same time comes before it, or after. Other advice may wait. */
static bool drops(int advice)
{
	return advice == MADV_DONTNEED || advice == MADV_DONTNEED_LOCKED || advice == MADV_FREE;
}

static int madvise_part(uint64_t addr, uint64_t len, long advice)
{
	return fl_native_madvise(addr, len, (int)advice);
}

int fl_native_madvise(uint64_t addr, uint64_t len, int advice)
{
	bool populate = advice == MADV_POPULATE_READ || advice == MADV_POPULATE_WRITE;
	uint64_t signals, at = addr, end = addr + PAGE_ALIGN(len), start, stop;
	struct outside o;
	struct fl_vma *vma;
	int ret = 0, hole = 0;

	if (fl_native_own(addr, len) && PAGE_ALIGNED(addr) && advice_known(advice))
		return fl_native_around_own(addr, len, madvise_part, advice, populate ? FL_HOLE_ENDS : FL_HOLE_LATER);
	if (fl_state_is_noted(advice))
		__atomic_store_n(&fl_native.advice, true, __ATOMIC_RELAXED);
	if (!ours(addr, len) && advice == MADV_REMOVE && fl_file_any())
		return remove_elsewhere(addr, len);
	if (!ours(addr, len) && advice == MADV_COLLAPSE && fl_file_any()) {
		signals = fl_signals_block();
		ret = collapse_by_host(addr, end);
		fl_signals_restore(signals);
		return ret;
	}
	if (drops(advice) && outside_begin(addr, len, &o))
		return (int)OUTSIDE(&o, fl_host_madvise(addr, len, advice));
	if (!ours(addr, len) || !advice_known(advice))
		return fl_host_madvise(addr, len, advice);
	if (advice == MADV_COLLAPSE)
		return collapse_all(addr, end);
	if (populate)
		return populate_all(addr, end, advice);
	signals = advice == MADV_REMOVE ? lock() : lock_range(addr, end); /* removes others' pages, too */
	fl_native_verify(mm, addr, end);
	while (!ret && next_part(&at, end, &start, &stop, &vma)) {
		ret = fl_vma_reserve(mm, 2);
		if (ret)
			break;
		ret = vma ? advise_part(vma, start, stop, advice) : fl_host_madvise(start, stop - start, advice);
		if (ret == -ENOMEM && !vma) { /* holes are skipped, and reported at the end */
			hole = ret;
			ret = 0;
		}
	}
	unlock(signals);
	return ret ? ret : hole;
}

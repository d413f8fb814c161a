/* SPDX-License-Identifier: MIT */
/*
 * remap.c - mremap(2) of the process. Memory of the pool moves by copying to another home; a mapping of a shared file
 * is moved by the host. Without the event for it no registration follows.
 */
#include "native/calls.h"

#include "host/count.h"
#include "mm/file.h"

static struct fl_mm *const mm = &fl_native.mm;

/*
 * Copy what the pages of [from, from + len) hold to the frames from pgoff on. => the range is hidden: no thread
 * writes to it
 */
static int copy_frames(uint64_t from, uint64_t len, uint64_t pgoff)
{
	uint64_t end = from + len;

	fl_hide_range(mm, from, end);
	for (uint64_t a = fl_pgtable_next(mm, from, end); a < end; a = fl_pgtable_next(mm, a + PAGE_SIZE, end)) {
		fl_pte_t pte = fl_pte_get(mm, a);

		if (pte_present(pte) && fl_frame_copy(mm, pgoff + PAGES(a - from), pte_pfn(pte)))
			return -ENOMEM;
	}
	return 0;
}

/* Map pool for [start, start + len) at a place that is free, or is to be replaced. The extent, or FL_PFN_NONE. */
static uint64_t map_new(uint64_t start, uint64_t len)
{
	uint64_t pgoff = fl_extent_alloc(start, start + len, FL_SECTION_POOL, FL_RIGHT_NONE);
	long ret;

	if (pgoff == FL_PFN_NONE)
		return FL_PFN_NONE;
	ret = WITH_ROOM(fl_native_map_pool(start, start + len, pgoff, FL_FP_NONE));
	if (!fl_host_failed(ret))
		return pgoff;
	fl_extent_free(start, start + len, pgoff);
	return FL_PFN_NONE;
}

/* A released range has no entries: take it back first, and release it again at its new place. */
static int64_t move(struct fl_vma *vma, uint64_t addr, uint64_t old_len, uint64_t new_len, int flags, uint64_t to)
{
	uint64_t moved = fl_min(old_len, new_len), pgoff;
	uint32_t keep = fl_moved_flags(vma) & ~(VM_RELEASED | VM_SAMPLED);
	struct fl_host_policy policy;
	struct fl_vma *new;
	long place = (long)to;
	int err = fl_native_adopt(mm, addr, addr + old_len, VM_UFFD);

	if (!err && !(flags & MREMAP_FIXED))
		place = fl_host_map(new_len, PROT_NONE);
	if (err || fl_host_failed(place))
		return err ? err : place;
	to = (uint64_t)place;
	err = fl_vma_reserve(mm, 6);
	if (err)
		goto unplace;
	if (flags & MREMAP_FIXED) /* the target is unmapped first, whatever becomes of the rest, as in the kernel */
		fl_do_munmap(mm, to, to + new_len);
	pgoff = map_new(to, new_len);
	if (pgoff == FL_PFN_NONE) { /* what is left of the target maps frames without a mapping */
		fl_host_munmap(to, new_len);
		return -ENOMEM;
	}
	err = fl_move_prepare(mm, addr, to, moved);
	if (!err)
		err = copy_frames(addr, moved, pgoff);
	if (err) {
		fl_free_pgtables(mm, to, to + new_len);
		fl_host_munmap(to, new_len);
		fl_extent_free(to, to + new_len, pgoff);
		return err;
	}
	if (fl_host_policy_get(addr, &policy))
		fl_state_policy(to, to + new_len, &policy);
	fl_state_apply(to, to + new_len, keep);
	new = fl_vma_insert(mm, to, to + new_len, pgoff, keep, NULL);
	fl_direct_conform(new);
	fl_vma_set_backing(new, vma, addr);
	fl_move_entries(mm, addr, new, to, moved, true);
	if (!(flags & MREMAP_DONTUNMAP)) {
		fl_host_munmap(addr, old_len);
		fl_munmap_gone(mm, addr, addr + old_len);
	}
	fl_unclaim(mm, to, to + new_len);
	fl_unclaim(mm, addr, addr + old_len);
	return (int64_t)to;
unplace:
	if (!(flags & MREMAP_FIXED))
		fl_host_munmap(to, new_len);
	return err;
}

/* Grow in place: the new part is a mapping of its own with the same registration. */
static int64_t grow(uint64_t addr, uint64_t old_len, uint64_t new_len)
{
	struct fl_vma *vma = fl_vma_lookup(mm, addr + old_len - 1), *new;
	uint64_t at = addr + old_len, len = new_len - old_len, pgoff;
	struct fl_host_policy policy;

	if (vma->end != at || fl_host_map_beside(at, len))
		return -ENOMEM;
	pgoff = map_new(at, len);
	if (pgoff == FL_PFN_NONE) {
		fl_host_munmap(at, len);
		return -ENOMEM;
	}
	if (fl_host_policy_get(at - PAGE_SIZE, &policy))
		fl_state_policy(at, at + len, &policy);
	fl_state_apply(at, at + len, vma->flags);
	new = fl_vma_insert(mm, at, at + len, pgoff, (vma->flags & ~VM_RELEASED) | VM_SOFTDIRTY, vma->ctx);
	fl_direct_conform(new);
	fl_vma_set_backing(new, vma, at);
	fl_unclaim(mm, at, at + len);
	fl_vma_merge(mm, addr, at + len); /* the homes may happen to be neighbours, too */
	return (int64_t)addr;
}

/* ---- mappings of shared files, which the host moves ---- */

/* No page of [start, end) is in any table. */
static void drop_shared(uint64_t start, uint64_t end)
{
	struct fl_vma *vma;
	uint32_t i;

	fl_for_each_vma(mm, vma, i, start, end)
		if (!(vma->flags & VM_RELEASED))
			fl_zap_range(mm, vma, fl_max(start, vma->start), fl_min(end, vma->end));
	fl_host_drop(start, end - start);
}

/*
 * Another mapping of the same pages, at its new place or beside the old one; a registration does not follow it. The
 * old place is unmapped, unless it is to stay, with no page in it.
 */
static int64_t move_shared(struct fl_vma *vma, uint64_t addr, uint64_t old_len, uint64_t new_len, int flags,
			   uint64_t to)
{
	long at = WITH_ROOM(fl_host_alias(addr, new_len, (flags & MREMAP_FIXED) ? to : 0));

	if (fl_host_failed(at))
		return at;
	if (flags & MREMAP_FIXED)
		fl_munmap_gone(mm, to, to + new_len);
	/* it came with the rights that hide the old one */
	if (WITH_ROOM(fl_host_mprotect((uint64_t)at, new_len, fl_access_prot(vma->flags)))) {
		fl_host_munmap((uint64_t)at, new_len);
		return -ENOMEM;
	}
	if (old_len)
		fl_file_populate(mm, vma, addr, addr + fl_min(old_len, new_len), (uint64_t)at);
	if (old_len && (flags & MREMAP_DONTUNMAP)) {
		drop_shared(addr, addr + old_len);
	} else if (old_len) {
		fl_host_munmap(addr, old_len);
		fl_munmap_gone(mm, addr, addr + old_len);
	}
	return at;
}

/* What is added in place has the registration of the rest; if it cannot, nothing is added. */
static int64_t grow_shared(struct fl_vma *vma, uint64_t addr, uint64_t old_len, uint64_t new_len)
{
	uint64_t end = addr + old_len, grown = addr + new_len;
	uint32_t flags = vma->flags;
	struct fl_uffd_ctx *ctx = vma->ctx;
	long at = fl_host_mremap(addr, old_len, new_len, 0, 0);

	if (fl_host_failed(at))
		return at;
	if (WITH_ROOM(fl_host_mprotect(end, new_len - old_len, fl_access_prot(flags))) ||
	    (!(flags & VM_RELEASED) && fl_native_adopt(mm, end, grown, flags & VM_UFFD))) {
		fl_host_munmap(end, new_len - old_len);
		fl_munmap_gone(mm, end, grown);
		return -ENOMEM;
	}
	if (flags & VM_RELEASED)
		return at;
	fl_vma_split(mm, end);
	fl_vma_set(fl_vma_lookup(mm, end), flags | VM_SOFTDIRTY, ctx);
	fl_vma_merge(mm, addr, grown);
	return at;
}

static int64_t remap_shared(uint64_t addr, uint64_t old_len, uint64_t new_len, int flags, uint64_t to)
{
	struct fl_vma *vma = fl_vma_lookup(mm, addr);
	int64_t ret;

	if (!(flags & MREMAP_MAYMOVE) && !old_len)
		return -EINVAL;
	if (old_len && !(flags & (MREMAP_FIXED | MREMAP_DONTUNMAP))) {
		ret = grow_shared(vma, addr, old_len, new_len);
		if (ret != -ENOMEM || !(flags & MREMAP_MAYMOVE))
			return ret;
	}
	return move_shared(fl_vma_lookup(mm, addr), addr, old_len, new_len, flags, to);
}

/* ---- memory in place, which the host moves; a registration does not follow it, and the whole is to be one ---- */

static bool all_in_place(uint64_t start, uint64_t end)
{
	struct fl_vma *vma;
	uint32_t i;

	fl_for_each_vma(mm, vma, i, start, end)
		if (!(vma->flags & VM_IN_PLACE))
			return false;
	return true;
}

/*
 * One right for all of it, as the host asks for: what the mappings allow, or none where a page can be missing. To
 * undo it, no more than their entries grant.
 */
static int open_up(uint64_t start, uint64_t end, bool open)
{
	int err = open ? fl_hide_whole(mm, start, end) : 0;
	struct fl_vma *vma;
	uint32_t i;

	fl_for_each_vma(mm, vma, i, start, end) {
		if (open && !err && !fl_vma_hidden(vma))
			err = fl_cache_restore(vma);
		while (!open && fl_cache_protect(mm, vma, vma->start, vma->end, vma->flags & VM_ACCESS))
			fl_host_yield();
	}
	return err;
}

static int64_t move_in_place(uint64_t addr, uint64_t old_len, uint64_t new_len, int flags, uint64_t to)
{
	uint64_t end = addr + old_len;
	uint32_t vm_flags = fl_vma_lookup(mm, addr)->flags, i;
	struct fl_vma *vma;
	long at;

	fl_vma_split(mm, addr);
	fl_vma_split(mm, end);
	at = open_up(addr, end, true);
	if (!at)
		at = WITH_ROOM(fl_host_mremap(addr, old_len, new_len, flags, to));
	if (fl_host_failed(at)) {
		open_up(addr, end, false);
		fl_vma_merge(mm, addr, end);
		return at;
	}
	if (flags & MREMAP_FIXED)
		fl_munmap_gone(mm, to, to + new_len);
	while ((vm_flags & VM_UFFD_MISSING) &&
	       WITH_ROOM(fl_host_mprotect((uint64_t)at, new_len, fl_access_prot(vm_flags))))
		fl_host_yield();
	fl_in_place_moved((uint64_t)at, new_len);
	if (flags & MREMAP_DONTUNMAP) {
		fl_for_each_vma(mm, vma, i, addr, end)
			fl_zap_range(mm, vma, vma->start, vma->end);
		fl_vma_merge(mm, addr, end);
	} else {
		fl_munmap_gone(mm, addr, end);
	}
	return at;
}

/* What is added has the registration of the rest, and is the last page's kind of memory to the host. */
static int64_t grow_in_place(struct fl_vma *vma, uint64_t addr, uint64_t old_len, uint64_t new_len)
{
	uint64_t end = addr + old_len, grown = addr + new_len;
	long at = fl_host_mremap(end - PAGE_SIZE, PAGE_SIZE, PAGE_SIZE + (grown - end), 0, 0);
	uint32_t access = vma->flags & VM_ACCESS, flags = vma->flags & ~VM_ACCESS;
	struct fl_uffd_ctx *ctx = vma->ctx;
	struct fl_vma *added;

	if (fl_host_failed(at))
		return at;
	if (WITH_ROOM(fl_host_mprotect(end, grown - end, fl_access_prot(access))) ||
	    fl_in_place_adopt(mm, end, grown, access)) {
		fl_host_munmap(end, grown - end);
		return -ENOMEM;
	}
	if ((flags & VM_UFFD_MISSING) && (fl_hide_in_place(mm, end, grown) || fl_vma_reserve(mm, 2))) {
		fl_host_munmap(end, grown - end);
		fl_munmap_gone(mm, end, grown);
		return -ENOMEM;
	}
	added = fl_vma_lookup(mm, end);
	flags = (flags & ~(VM_IN_PLACE | VM_WHOLE)) | (added->flags & VM_IN_PLACE);
	fl_vma_set(added, access | flags | VM_SOFTDIRTY, ctx);
	fl_unclaim(mm, end, grown);
	fl_vma_merge(mm, addr, grown);
	return (int64_t)addr;
}

static int64_t remap_in_place(uint64_t addr, uint64_t old_len, uint64_t new_len, int flags, uint64_t to)
{
	struct fl_vma *last = fl_vma_lookup(mm, addr + old_len - 1);
	int64_t ret = -ENOMEM;

	if (!(flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) && last->end == addr + old_len)
		ret = grow_in_place(last, addr, old_len, new_len);
	if (ret != -ENOMEM || !(flags & MREMAP_MAYMOVE))
		return ret;
	return move_in_place(addr, old_len, new_len, flags, to);
}

/* Is the range one mapping to the program? The engine's may be cut where homes end, or where one is released. */
static bool one_mapping(uint64_t start, uint64_t end)
{
	struct fl_vma *vma = fl_vma_lookup(mm, start);
	const uint32_t unseen = VM_UNSEEN | VM_RELEASED;
	uint32_t flags = vma ? vma->flags & ~unseen : 0;

	while (vma && vma->end < end) {
		struct fl_vma *next = fl_vma_lookup(mm, vma->end);

		vma = next && (next->flags & ~unseen) == flags && next->ctx == vma->ctx && fl_vma_continues(vma, next)
			      ? next
			      : NULL;
	}
	return vma;
}

/* => mmap_lock held for writing */
static int64_t do_mremap(uint64_t addr, uint64_t old_len, uint64_t new_len, int flags, uint64_t new_addr)
{
	struct fl_vma *vma;
	int64_t ret;

	if (old_len && !one_mapping(addr, addr + old_len)) {
		/* a part that was never adopted may belong to it: then all of it is adopted */
		fl_claim_range(mm, addr, addr + old_len, 0, NULL, NULL);
		if (!one_mapping(addr, addr + old_len))
			return -EFAULT;
	}
	if (fl_vma_reserve(mm, 6))
		return -ENOMEM;
	vma = fl_vma_lookup(mm, addr);
	if (old_len && all_in_place(addr, addr + old_len))
		return remap_in_place(addr, old_len, new_len, flags, (flags & MREMAP_FIXED) ? new_addr : 0);
	if (vma->flags & VM_SHARED)
		return remap_shared(addr, old_len, new_len, flags, (flags & MREMAP_FIXED) ? new_addr : 0);
	ret = fl_take_over_locked(mm, addr, addr + old_len); /* some of it has frames */
	if (!ret)
		ret = fl_vma_reserve(mm, 6);
	if (ret)
		return ret;
	vma = fl_vma_lookup(mm, addr);
	if (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP))
		return move(vma, addr, old_len, new_len, flags, (flags & MREMAP_FIXED) ? new_addr : 0);
	ret = grow(addr, old_len, new_len);
	if (ret < 0 && (flags & MREMAP_MAYMOVE))
		ret = move(fl_vma_lookup(mm, addr), addr, old_len, new_len, flags, 0);
	return ret;
}

/* Shrinking is unmapping the tail, whosever it is. */
static int64_t shrink(uint64_t addr, uint64_t old_len, uint64_t new_len)
{
	uint64_t signals = lock();
	bool there = fl_vma_lookup(mm, addr) || fl_native_mapped(mm, addr, addr + PAGE_SIZE);
	int ret;

	unlock(signals);
	if (!there)
		return -EFAULT;
	ret = new_len < old_len ? fl_native_munmap(addr + new_len, old_len - new_len) : 0;
	return ret ? ret : (int64_t)addr;
}

static bool is_shared(uint64_t addr)
{
	uint64_t signals = lock();
	struct fl_vma *vma = fl_vma_lookup(mm, addr);
	bool ret = vma && (vma->flags & VM_SHARED);

	unlock(signals);
	return ret;
}

#define LOOK_AGAIN 1 /* it was registered since the look, or is not any longer; no mapping is there */

/* The memory is not registered; what was registered at the place to which it goes is gone. */
static int64_t move_outside(uint64_t addr, uint64_t old_len, uint64_t new_len, int flags, uint64_t new_addr)
{
	bool over = (flags & MREMAP_FIXED) && sane(new_addr, new_len);
	uint64_t signals = over ? lock_range(new_addr, new_addr + PAGE_ALIGN(new_len)) : lock_range(0, 0);
	int64_t ret = registered(addr, old_len ? old_len : 1) ? LOOK_AGAIN : fl_vma_reserve(mm, 2);

	if (!ret)
		ret = WITH_ROOM(fl_host_mremap(addr, old_len, new_len, flags, new_addr));
	if (!fl_host_failed((long)ret))
		fl_native_given((uint64_t)ret, new_len);
	unlock(signals);
	return ret;
}

static int64_t remap(uint64_t addr, uint64_t old_len, uint64_t new_len, int flags, uint64_t new_addr)
{
	bool fixed = flags & MREMAP_FIXED;
	struct outside o;
	uint64_t signals;
	int64_t ret;

	if (outside_begin(addr, old_len ? old_len : 1, &o)) {
		if (!o.locked || !(flags & MREMAP_MAYMOVE))
			return OUTSIDE(&o, fl_host_mremap(addr, old_len, new_len, flags, new_addr));
		outside_end(&o);
		return move_outside(addr, old_len, new_len, flags, new_addr);
	}
	if ((flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP)) || !new_len || new_len > TASK_SIZE ||
	    (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP) && !(flags & MREMAP_MAYMOVE)) ||
	    (!old_len && !is_shared(addr)) ||
	    (flags & MREMAP_DONTUNMAP && PAGE_ALIGN(old_len) != PAGE_ALIGN(new_len)))
		return -EINVAL;
	old_len = PAGE_ALIGN(old_len);
	new_len = PAGE_ALIGN(new_len);
	if (fixed && (!PAGE_ALIGNED(new_addr) || new_addr > TASK_SIZE - new_len ||
		      (new_addr < addr + old_len && addr < new_addr + new_len)))
		return -EINVAL;
	if (old_len && new_len <= old_len && !(flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)))
		return shrink(addr, old_len, new_len);
	signals = lock();
	fl_native_verify(mm, addr, addr + fl_max(old_len, PAGE_SIZE));
	ret = LOOK_AGAIN;
	if (registered(addr, old_len ? old_len : 1))
		ret = do_mremap(addr, old_len, new_len, flags, new_addr);
	unlock(signals);
	return ret;
}

static int64_t remap_one(uint64_t addr, uint64_t old_len, uint64_t new_len, int flags, uint64_t new_addr)
{
	int64_t ret;

	do
		ret = remap(addr, old_len, new_len, flags, new_addr);
	while (ret == LOOK_AGAIN);
	return ret;
}

/*
 * ---- several mappings at once, with what lies between them left out: Linux 6.17 and later, if they keep their
 * distances. One after the other, until one cannot be moved: one that is registered ----
 */

/* Does the host? Two pages with a hole between them are moved. */
static bool host_moves_many(void)
{
	static uint32_t known; /* [a] 1 no, 2 yes */
	uint32_t ret = __atomic_load_n(&known, __ATOMIC_RELAXED);
	long at;

	if (ret)
		return ret == 2;
	at = fl_host_map(6 * PAGE_SIZE, PROT_NONE);
	if (fl_host_failed(at))
		return false;
	fl_host_munmap((uint64_t)at + PAGE_SIZE, PAGE_SIZE);
	ret = fl_host_failed(fl_host_mremap((uint64_t)at, 3 * PAGE_SIZE, 3 * PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED,
					    (uint64_t)at + 3 * PAGE_SIZE))
		      ? 1
		      : 2;
	fl_host_munmap((uint64_t)at, 6 * PAGE_SIZE);
	__atomic_store_n(&known, ret, __ATOMIC_RELAXED);
	return ret == 2;
}

/* The part of [*at, end) that is one mapping to the program. 1, 0: none, -errno; *watched: it is registered */
static int next_mapping(uint64_t *at, uint64_t end, uint64_t *stop, bool *watched)
{
	uint64_t signals = lock_range(0, 0);
	struct fl_vma *vma = fl_find_vma(mm, *at);
	struct fl_host_map map;
	int ret = fl_host_maps_next(*at, &map);

	*watched = false;
	if (ret == 1 && vma && vma->start <= fl_max(map.start, *at)) {
		*at = fl_max(vma->start, *at);
		for (*stop = vma->end; *stop < end && one_mapping(*at, *stop + PAGE_SIZE);)
			*stop = fl_vma_lookup(mm, *stop)->end;
		*watched = vma->flags & VM_UFFD;
	} else if (ret == 1) {
		*at = fl_max(map.start, *at);
		*stop = vma ? fl_min(map.end, vma->start) : map.end;
	}
	unlock(signals);
	*stop = fl_min(*stop, end);
	return ret == 1 && *at >= end ? 0 : ret;
}

static bool many(uint64_t addr, uint64_t old_len, uint64_t new_len, int flags, uint64_t new_addr)
{
	uint64_t end = addr + PAGE_ALIGN(old_len), stop;
	bool watched;

	return (flags & MREMAP_FIXED) && !(flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED)) && old_len == new_len &&
	       sane(addr, old_len) && PAGE_ALIGNED(new_addr) &&
	       (new_addr >= end || new_addr + (end - addr) <= addr) && fl_native_touches(addr, end) &&
	       next_mapping(&addr, end, &stop, &watched) == 1 && stop < end && host_moves_many();
}

static int64_t remap_many(uint64_t addr, uint64_t len, int flags, uint64_t new_addr)
{
	uint64_t end = addr + PAGE_ALIGN(len), stop;
	int64_t ret = -EFAULT; /* the first must be there */
	bool watched;

	for (uint64_t at = addr; at < end; at = stop) {
		uint64_t from = at;
		int found = next_mapping(&from, end, &stop, &watched);

		if (found != 1)
			return found ? found : ret < 0 ? ret : (int64_t)new_addr;
		if (watched || (at == addr && from != at))
			return -EFAULT;
		ret = remap_one(from, stop - from, stop - from, flags, new_addr + (from - addr));
		if (fl_host_failed((long)ret))
			return ret;
	}
	return (int64_t)new_addr;
}

int64_t fl_native_mremap(uint64_t addr, uint64_t old_len, uint64_t new_len, int flags, uint64_t new_addr)
{
	int64_t ret;

	if (fl_native_own(addr, old_len ? old_len : 1))
		return -EFAULT;
	if ((flags & MREMAP_FIXED) && fl_native_own(new_addr, new_len))
		return -ENOMEM;
	if (many(addr, old_len, new_len, flags, new_addr))
		ret = remap_many(addr, old_len, flags, new_addr);
	else
		ret = remap_one(addr, old_len, new_len, flags, new_addr);
	if (!fl_host_failed((long)ret))
		fl_kept_moved(addr, old_len, (uint64_t)ret, new_len);
	return ret;
}

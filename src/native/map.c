/* SPDX-License-Identifier: MIT */
/*
 * map.c - the program's mapping calls, where they meet registered ranges. A call that does not is passed to the host
 * as it is. A call that does is cut at the borders of these ranges: the tables change for the registered parts, the
 * host's mappings for the rest. Order: what shrinks reaches the cache before the call returns; memory that leaves the
 * tables is unmapped before any thread could see the pool behind it.
 */
#include "native/calls.h"

static struct fl_mm *const mm = &fl_native.mm;

void fl_native_release_unclaimed(uint64_t start, uint64_t end)
{
	struct fl_vma *vma;
	uint32_t i;

	fl_for_each_vma(mm, vma, i, start, end)
		fl_unclaim(mm, vma);
	fl_vma_merge(mm, start, end);
}

/* ---- munmap, mmap: the host first, and then the tables, which find it gone ---- */

/* What the range has of mappings are mappings of their own, so that nothing is left to do at its borders. -ENOMEM */
static int cut(uint64_t start, uint64_t end)
{
	int err = fl_vma_reserve(mm, 2);

	if (err)
		return err;
	fl_vma_split(mm, start);
	fl_vma_split(mm, end);
	return 0;
}

int fl_native_munmap(uint64_t addr, uint64_t len)
{
	uint64_t signals, end = addr + PAGE_ALIGN(len);
	long ret;

	if (ours(addr, len)) {
		signals = lock_range(addr, end);
		ret = cut(addr, end);
		if (!ret)
			ret = WITH_ROOM(fl_host_munmap(addr, len));
		fl_yield_point(mm);
		if (!ret)
			fl_munmap_gone(mm, addr, end);
		else
			fl_vma_merge(mm, addr, end);
		unlock(signals);
	} else {
		ret = WITH_ROOM_OUT(fl_host_munmap(addr, len));
	}
	if (!ret)
		fl_kept_unmapped(addr, len);
	return (int)ret;
}

/* The host gave a registered range to the program: libc had unmapped it unseen, as free() does. */
static void forget_stale(uint64_t start, uint64_t end)
{
	uint64_t signals = lock_range(start, end);

	if (fl_vma_reserve(mm, 2) == 0)
		fl_munmap_gone(mm, start, end);
	unlock(signals);
}

int64_t fl_native_mmap(uint64_t addr, uint64_t len, int prot, int flags, int fd, uint64_t offset)
{
	uint64_t signals;
	long ret;

	if (!(flags & MAP_FIXED) || !ours(addr, len)) {
		ret = WITH_ROOM_OUT(fl_kept_mmap(addr, len, prot, flags, fd, offset));
		if (!fl_host_failed(ret) && ours((uint64_t)ret, len))
			forget_stale((uint64_t)ret, (uint64_t)ret + PAGE_ALIGN(len));
		return ret;
	}
	signals = lock_range(addr, addr + PAGE_ALIGN(len));
	ret = cut(addr, addr + PAGE_ALIGN(len));
	if (!ret)
		ret = WITH_ROOM(fl_kept_mmap(addr, len, prot, flags, fd, offset));
	if (!fl_host_failed(ret))
		fl_munmap_gone(mm, addr, addr + PAGE_ALIGN(len));
	else
		fl_vma_merge(mm, addr, addr + PAGE_ALIGN(len));
	unlock(signals);
	return ret;
}

/* ---- mprotect ---- */

static long protect_part(struct fl_vma *vma, uint64_t start, uint64_t stop, int prot)
{
	if (!vma)
		return WITH_ROOM(fl_host_mprotect(start, stop - start, prot));
	if (vma->flags & VM_RELEASED) {
		long ret = WITH_ROOM(fl_host_mprotect(start, stop - start, prot));

		if (ret)
			return ret;
	}
	fl_do_mprotect(mm, start, stop, fl_prot_access(prot));
	return 0;
}

int fl_native_mprotect(uint64_t addr, uint64_t len, int prot)
{
	uint64_t signals, at = addr, end = addr + PAGE_ALIGN(len), start, stop;
	struct fl_vma *vma;
	long ret = 0;

	if (!ours(addr, len) || (prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC | FL_PROT_SEM)))
		return (int)WITH_ROOM_OUT(fl_host_mprotect(addr, len, prot));
	signals = lock_range(addr, end);
	while (!ret && next_part(&at, end, &start, &stop, &vma)) {
		ret = fl_vma_reserve(mm, 2);
		if (!ret) /* part by part: what comes before a hole is changed, as by the host */
			ret = protect_part(vma, start, stop, prot);
	}
	unlock(signals);
	return (int)ret;
}

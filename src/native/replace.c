/* SPDX-License-Identifier: MIT */
/*
 * replace.c - the less common calls that unmap or replace what is mapped: brk(2), shmat(2), remap_file_pages(2).
 * The host first, and then the tables, which find it gone, as in map.c.
 */
#include "native/calls.h"

#include <sys/shm.h>

static struct fl_mm *const mm = &fl_native.mm;

/* ---- brk: what the heap loses is unmapped, whatever is there ---- */

/* A change is refused with the old end as the result. */
static int64_t host_brk(const void *arg)
{
	uint64_t addr = *(const uint64_t *)arg;

	return fl_host_brk(addr) == addr ? 0 : -ENOMEM;
}

/* What the heap gains was free, or is of a mapping that was unmapped unseen. */
static uint64_t grow(uint64_t addr, uint64_t start, uint64_t end)
{
	uint64_t signals = lock_range(0, 0), ret = fl_host_brk(0);

	if (!fl_vma_reserve(mm, 2))
		ret = fl_host_brk(addr);
	if (ret == addr)
		fl_native_given(start, end - start);
	unlock(signals);
	return ret;
}

int64_t fl_native_brk(uint64_t addr)
{
	uint64_t start, end, old = fl_host_brk(0);
	struct outside o;

	start = PAGE_ALIGN(fl_min(addr, old));
	end = PAGE_ALIGN(fl_max(addr, old));
	if (!addr || start == end || !__atomic_load_n(&fl_native.ready, __ATOMIC_ACQUIRE))
		return (int64_t)fl_host_brk(addr);
	if (addr > old)
		return (int64_t)grow(addr, start, end);
	if (outside_begin(start, end - start, &o))
		return OUTSIDE(&o, (long)fl_host_brk(addr));
	return (int64_t)(fl_munmap_with(mm, start, end, host_brk, &addr) ? old : addr);
}

/* ---- shmat: SHM_REMAP replaces what is there ---- */

struct attach {
	int id, flags;
	uint64_t addr;
};

static int64_t host_shmat(const void *arg)
{
	const struct attach *a = arg;

	return WITH_ROOM(fl_host_shmat(a->id, a->addr, a->flags));
}

static int64_t attach_anywhere(const struct attach *attach, uint64_t len)
{
	uint64_t signals = lock_range(0, 0);
	int64_t ret = fl_vma_reserve(mm, 2);

	if (!ret)
		ret = host_shmat(attach);
	if (!fl_host_failed((long)ret))
		fl_native_given((uint64_t)ret, len);
	unlock(signals);
	return ret;
}

int64_t fl_native_shmat(int id, uint64_t addr, int flags)
{
	struct attach attach = {id, flags, addr};
	struct outside o;
	uint64_t len;

	if (!__atomic_load_n(&fl_native.ready, __ATOMIC_ACQUIRE))
		return fl_host_shmat(id, addr, flags);
	len = fl_host_shm_size(id);
	if (!addr)
		return attach_anywhere(&attach, len);
	if (flags & SHM_RND)
		addr = PAGE_ALIGN_DOWN(addr);
	if (outside_begin(addr, len, &o))
		return OUTSIDE(&o, fl_host_shmat(id, addr, flags));
	return fl_munmap_with(mm, addr, addr + PAGE_ALIGN(len), host_shmat, &attach);
}

/* ---- remap_file_pages: other pages of the file, in a mapping that is not registered ---- */

struct shift {
	uint64_t addr, len, pgoff;
	int flags;
};

/* The host gives them the rights that the old mapping has there, which are those of hidden pages. */
static int64_t host_remap_file_pages(const void *arg)
{
	const struct shift *s = arg;
	struct fl_vma *vma = fl_vma_lookup(mm, s->addr);
	long ret = WITH_ROOM(fl_host_remap_file_pages(s->addr, s->len, s->pgoff, s->flags));

	if (!ret && vma)
		fl_host_mprotect(s->addr, s->len, fl_access_prot(vma->flags));
	return ret;
}

int fl_native_remap_file_pages(uint64_t addr, uint64_t len, uint64_t pgoff, int flags)
{
	uint64_t start = PAGE_ALIGN_DOWN(addr);
	struct shift shift = {start, PAGE_ALIGN_DOWN(len), pgoff, flags};
	struct outside o;

	if (outside_begin(start, shift.len, &o))
		return (int)OUTSIDE(&o, fl_host_remap_file_pages(addr, len, pgoff, flags));
	return (int)fl_munmap_with(mm, start, start + shift.len, host_remap_file_pages, &shift);
}

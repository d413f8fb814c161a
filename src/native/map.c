/* SPDX-License-Identifier: MIT */
/*
 * map.c - the program's mapping calls, where they meet registered ranges. A call that does not is passed to the host
 * as it is. A call that does is cut at the borders of these ranges: the tables change for the registered parts, the
 * host's mappings for the rest. Order: what shrinks reaches the cache before the call returns; memory that leaves the
 * tables is unmapped before any thread could see the pool behind it.
 */
#include "native/calls.h"

static struct fl_mm *const mm = &fl_native.mm;

void fl_native_given(uint64_t addr, uint64_t len)
{
	if (!sane(addr, len) || !registered(addr, len))
		return;
	fl_mmap_exclude(mm, addr, addr + PAGE_ALIGN(len));
	fl_munmap_gone(mm, addr, addr + PAGE_ALIGN(len));
}

/* ---- munmap, mmap: the host first, and then the tables, which find it gone ---- */

struct call {
	uint64_t addr, len, offset;
	int prot, flags, fd;
};

static int64_t host_munmap(const void *arg)
{
	const struct call *c = arg;

	return WITH_ROOM(fl_host_munmap(c->addr, c->len));
}

static int64_t host_mmap(const void *arg)
{
	const struct call *c = arg;

	return WITH_ROOM(fl_kept_mmap(c->addr, c->len, c->prot, c->flags, c->fd, c->offset));
}

static int munmap_part(uint64_t addr, uint64_t len, long unused)
{
	return fl_native_munmap(addr, len);
}

int fl_native_munmap(uint64_t addr, uint64_t len)
{
	struct call call = {.addr = addr, .len = len};
	struct outside o;
	int64_t ret;

	if (fl_native_own(addr, len) && PAGE_ALIGNED(addr))
		return fl_native_around_own(addr, len, munmap_part, 0, FL_HOLE_PASSED);
	if (outside_begin(addr, len, &o))
		ret = OUTSIDE(&o, fl_host_munmap(addr, len));
	else
		ret = fl_munmap_with(mm, addr, addr + PAGE_ALIGN(len), host_munmap, &call);
	if (!ret)
		fl_kept_unmapped(addr, len);
	return (int)ret;
}

/*
 * The host chooses the place. It may choose that of a registered range: libc had unmapped it unseen, as free() does.
 * Nobody else may find the new mapping in the old one's stead, so mmap_lock is held for writing meanwhile.
 */
static int64_t mmap_anywhere(const struct call *call)
{
	uint64_t signals;
	int64_t ret;

	if (!__atomic_load_n(&fl_native.ready, __ATOMIC_ACQUIRE))
		return host_mmap(call);
	signals = lock_range(0, 0);
	ret = host_mmap(call);
	if (!fl_host_failed((long)ret) && registered((uint64_t)ret, call->len) && fl_vma_reserve(mm, 2)) {
		fl_host_munmap((uint64_t)ret, call->len);
		ret = -ENOMEM;
	}
	if (!fl_host_failed((long)ret))
		fl_native_given((uint64_t)ret, call->len);
	unlock(signals);
	return ret;
}

int64_t fl_native_mmap(uint64_t addr, uint64_t len, int prot, int flags, int fd, uint64_t offset)
{
	struct call call = {addr, len, offset, prot, flags, fd};
	struct outside o;

	if (!(flags & MAP_FIXED))
		return mmap_anywhere(&call);
	if (fl_native_own(addr, len))
		return -ENOMEM;
	if (outside_begin(addr, len, &o))
		return OUTSIDE(&o, fl_kept_mmap(addr, len, prot, flags, fd, offset));
	return fl_munmap_with(mm, addr, addr + PAGE_ALIGN(len), host_mmap, &call);
}

/* ---- mprotect ---- */

static long protect_part(struct fl_vma *vma, uint64_t start, uint64_t stop, int prot)
{
	if (!vma)
		return WITH_ROOM(fl_host_mprotect(start, stop - start, prot));
	if (vma->flags & (VM_RELEASED | VM_IN_PLACE)) {
		long ret = (vma->flags & VM_IN_PLACE) ? fl_cache_protect(mm, vma, start, stop, fl_prot_access(prot))
						      : WITH_ROOM(fl_host_mprotect(start, stop - start, prot));

		if (ret)
			return ret;
	}
	fl_do_mprotect(mm, start, stop, fl_prot_access(prot));
	fl_direct_conform_range(mm, start, stop);
	return 0;
}

static int mprotect_part(uint64_t addr, uint64_t len, long prot)
{
	return fl_native_mprotect(addr, len, (int)prot);
}

int fl_native_mprotect(uint64_t addr, uint64_t len, int prot)
{
	bool known = !(prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC | FL_PROT_SEM));
	uint64_t signals, at = addr, end = addr + PAGE_ALIGN(len), start, stop;
	struct fl_vma *vma;
	struct outside o;
	long ret = 0;

	if (fl_native_own(addr, len) && PAGE_ALIGNED(addr))
		return fl_native_around_own(addr, len, mprotect_part, prot, FL_HOLE_ENDS);
	if (outside_begin(addr, known ? len : 0, &o))
		return (int)OUTSIDE(&o, fl_host_mprotect(addr, len, prot));
	signals = lock_mapped(addr, end);
	while (!ret && next_part(&at, end, &start, &stop, &vma)) {
		ret = fl_vma_reserve(mm, 2);
		if (!ret) /* part by part: what comes before a hole is changed, as by the host */
			ret = protect_part(vma, start, stop, prot);
	}
	unlock(signals);
	return (int)ret;
}

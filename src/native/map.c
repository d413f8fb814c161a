/* SPDX-License-Identifier: MIT */
/*
 * map.c - the program's mapping calls, where they meet registered ranges. A call that does not is passed to the host
 * as it is. A call that does is cut at the borders of these ranges: the tables change for the registered parts, the
 * host's mappings for the rest. Order: what shrinks reaches the cache before the call returns; memory that leaves the
 * tables is unmapped before any thread could see the pool behind it.
 */
#include "native/calls.h"

static struct fl_mm *const mm = &fl_native.mm;

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

/* The host has done it already. */
static int64_t done_unseen(const void *arg)
{
	return 0;
}

int fl_native_munmap(uint64_t addr, uint64_t len)
{
	struct call call = {.addr = addr, .len = len};
	int64_t ret;

	if (ours(addr, len))
		ret = fl_munmap_with(mm, addr, addr + PAGE_ALIGN(len), host_munmap, &call);
	else
		ret = WITH_ROOM_OUT(fl_host_munmap(addr, len));
	if (!ret)
		fl_kept_unmapped(addr, len);
	return (int)ret;
}

int64_t fl_native_mmap(uint64_t addr, uint64_t len, int prot, int flags, int fd, uint64_t offset)
{
	struct call call = {addr, len, offset, prot, flags, fd};
	int64_t ret;

	if ((flags & MAP_FIXED) && ours(addr, len))
		return fl_munmap_with(mm, addr, addr + PAGE_ALIGN(len), host_mmap, &call);
	ret = WITH_ROOM_OUT(fl_kept_mmap(addr, len, prot, flags, fd, offset));
	/* the host gave a registered range to the program: libc had unmapped it unseen, as free() does */
	if (!fl_host_failed((long)ret) && ours((uint64_t)ret, len))
		fl_munmap_with(mm, (uint64_t)ret, (uint64_t)ret + PAGE_ALIGN(len), done_unseen, NULL);
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

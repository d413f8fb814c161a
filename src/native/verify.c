/* SPDX-License-Identifier: MIT */
/*
 * verify.c - about rights the page tables are the truth; about what is mapped, the host is. A program can unmap
 * memory, and map other memory in its place, by instructions of its own that no library sees. What the tables have of
 * such a place must not be acted on: it would replace, hide or copy what is the program's by then. So before that is
 * done the host is asked, and what is not ours any longer is forgotten.
 *
 * Memory in place is ours as long as it is private and anonymous there. Everything else is mapped a second time, in
 * the direct map: it is ours if the host has the same page of the same file in both places.
 */
#include "native/native.h"

#include "host/count.h"

/* What the direct map has at one place: the last answer. */
struct direct {
	struct fl_host_map map;
};

/* false: the host does not say */
static bool look_direct(struct direct *d, uint64_t addr)
{
	if (d->map.start <= addr && addr < d->map.end)
		return true;
	return fl_host_maps_at(addr, &d->map) == 1 && d->map.start <= addr;
}

/* Is what the host has mapped at addr what the mapping has there? */
static bool same(const struct fl_vma *vma, uint64_t addr, const struct fl_host_map *map, struct direct *d)
{
	uint64_t direct;

	if (vma->flags & VM_IN_PLACE)
		return map->anon;
	direct = fl_addr(fl_kmap_local(vma->mm, vma_pfn(vma, addr)));
	if (!look_direct(d, direct))
		return true;
	return map->shared && map->inode == d->map.inode && map->dev == d->map.dev &&
	       map->offset + (addr - map->start) == d->map.offset + (direct - d->map.start);
}

bool fl_native_still_next(const struct fl_vma *vma, uint64_t *start, uint64_t end, uint64_t *stop)
{
	struct direct d = {0};
	uint64_t at = *start;
	bool found = false;

	while (at < end) {
		struct fl_host_map map;
		int ret = fl_host_maps_next(at, &map);
		bool ours;

		if (ret < 0) /* believed */
			map = (struct fl_host_map){.start = at, .end = end};
		else if (!ret || map.start >= end)
			break;
		ours = ret < 0 || same(vma, fl_max(at, map.start), &map, &d);
		if (found && (!ours || map.start > at))
			break;
		if (ours && !found)
			*start = fl_max(at, map.start);
		found |= ours;
		at = map.end;
	}
	*stop = fl_min(at, end);
	return found;
}

static int forget(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	int err = fl_vma_reserve(mm, 2);

	if (err)
		return err;
	fl_munmap_gone(mm, start, end);
	fl_count(forgotten, 1);
	return 0;
}

int fl_native_verify(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	struct fl_vma *vma;

	for (uint64_t at = start; at < end && (vma = fl_find_vma(mm, at)) && vma->start < end;) {
		uint64_t limit = fl_min(end, vma->end), from = fl_max(at, vma->start), still = from, stop;
		int err = 0;

		if (!fl_native_still_next(vma, &still, limit, &stop))
			still = stop = limit;
		if (from < still)
			err = forget(mm, from, still);
		if (err)
			return err;
		at = stop;
	}
	return 0;
}

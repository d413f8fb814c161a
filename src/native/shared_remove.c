/* SPDX-License-Identifier: MIT */
/*
 * shared_remove.c - pages that leave shared memory, or come together there: truncation, holes, and collapsing by
 * mappings that are not registered. What registered mappings have of them goes first.
 */
#include "native/native.h"
#include "native/shared.h"

/* => mmap_lock held for writing */
static void zap(struct fl_shared_file *f, uint64_t first, uint64_t end, bool cow)
{
	fl_mutex_lock(&f->file.lock);
	fl_large_drop(f, first, end);
	fl_mutex_unlock(&f->file.lock);
	for (struct fl_list *pos = f->file.vmas.next; pos != &f->file.vmas; pos = pos->next) {
		struct fl_vma *vma = fl_list_entry(pos, struct fl_vma, by_file);
		uint64_t lo = fl_max(first, vma->index), hi = fl_min(end, vma->index + PAGES(vma->end - vma->start));

		if (lo < hi && !(vma->flags & VM_RELEASED))
			fl_zap_file_range(&fl_native.mm, vma, vma->start + ((lo - vma->index) << PAGE_SHIFT),
					  vma->start + ((hi - vma->index) << PAGE_SHIFT), cow);
	}
}

bool fl_file_any(void)
{
	return __atomic_load_n(&fl_shared_files, __ATOMIC_RELAXED);
}

void fl_file_zap(const struct fl_host_file *file, uint64_t first, uint64_t end, bool cow)
{
	for (struct fl_shared_file *f = fl_shared_files; f; f = f->next)
		if (f->inode == file->inode && f->dev == file->dev)
			zap(f, first, end, cow);
}

int fl_file_remove(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end)
{
	if (!(vma->flags & VM_SHARED))
		return -EACCES;
	zap(fl_shared_of(vma->file), fl_vma_page_index(vma, start), fl_vma_page_index(vma, end - PAGE_SIZE) + 1,
	    false);
	return fl_host_madvise(fl_addr(fl_kmap_local(mm, vma_pfn(vma, start))), end - start, MADV_REMOVE);
}

void fl_file_remove_elsewhere(uint64_t start, uint64_t end)
{
	struct fl_host_map map;

	for (uint64_t at = start; at < end && fl_host_maps_next(at, &map) == 1 && map.start < end; at = map.end) {
		struct fl_shared_file *f = map.inode ? fl_shared_known(&map) : NULL;
		uint64_t from = fl_max(start, map.start), to = fl_min(end, map.end);

		if (f)
			zap(f, PAGES(map.offset + (from - map.start)), PAGES(map.offset + (to - map.start)), false);
	}
}

/* The registered file at *at or above, with a reference, and its part of [*at, end), which begins behind it then. */
static struct fl_shared_file *next_known(uint64_t *at, uint64_t end, uint64_t *from, struct fl_host_map *map)
{
	struct fl_shared_file *f = NULL;

	fl_mmap_write_lock(&fl_native.mm);
	while (!f && *at < end && fl_host_maps_next(*at, map) == 1 && map->start < end) {
		f = map->inode ? fl_shared_known(map) : NULL;
		*from = fl_max(*at, map->start);
		*at = map->end;
	}
	if (f)
		fl_file_get(&f->file);
	fl_mmap_write_unlock(&fl_native.mm);
	return f;
}

int fl_file_collapse_elsewhere(uint64_t start, uint64_t end)
{
	struct fl_shared_file *f;
	struct fl_host_map map;
	uint64_t from;
	int err = 0;

	while (!err && (f = next_known(&start, end, &from, &map))) {
		for (uint64_t a = PMD_ALIGN(from); !err && a + PMD_SIZE <= fl_min(end, map.end); a += PMD_SIZE) {
			uint64_t first = PAGES(map.offset + (a - map.start));

			err = first % CHUNK_PAGES ? -EINVAL : fl_collapse_cache(&f->file, first);
		}
		fl_mmap_write_lock(&fl_native.mm); /* it may be the last reference */
		fl_file_put(&f->file);
		fl_mmap_write_unlock(&fl_native.mm);
	}
	return err == -EINVAL ? 0 : err; /* the host will report that itself */
}

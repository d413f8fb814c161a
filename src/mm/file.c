/* SPDX-License-Identifier: MIT */
/* file.c - taking the pages of a file out of all mappings that have them: truncation and hole punching. */
#include "mm/file.h"
#include "mm/mm.h"

uint64_t fl_map_cached(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, uint64_t pfn, bool copy)
{
	struct fl_file *file = vma->file;
	uint64_t own;
	bool ok;

	copy = copy && !(vma->flags & VM_SHARED);
	if (!copy && !(mm->ops->homes && !(vma->flags & VM_SHARED))) {
		fl_folio_map(mm, pfn);
		return pfn;
	}
	own = mm->ops->frame_get(mm, vma, addr);
	if (own == FL_PFN_NONE)
		return own;
	if (mm->ops->homes)
		ok = file->ops->read(file, fl_vma_page_index(vma, addr), own) == 0;
	else
		ok = mm->ops->frames_fill(mm, own, fl_addr(fl_kmap_local(mm, pfn)), PAGE_SIZE, true) == (int64_t)PAGE_SIZE;
	if (!ok) {
		fl_folio_put(mm, own);
		return FL_PFN_NONE;
	}
	fl_folio(mm, own)->mapcount = 1;
	fl_folio(mm, own)->mapping = copy ? NULL : file;
	return own;
}

/* Zap the mapping's part of the pages [first, end). => file->lock held, mmap_lock of its address space held */
static void unmap_vma(struct fl_vma *vma, uint64_t first, uint64_t end, bool cow)
{
	uint64_t last = vma->index + PAGES(vma->end - vma->start);
	uint64_t lo = fl_max(first, vma->index), hi = fl_min(end, last);

	if (lo < hi)
		fl_zap_file_range(vma->mm, vma, vma->start + ((lo - vma->index) << PAGE_SHIFT),
				  vma->start + ((hi - vma->index) << PAGE_SHIFT), cow);
}

/* An address space that maps the file and is not among those done, pinned; NULL: there is none left. */
static struct fl_mm *next_mm(struct fl_file *file, uint64_t turn)
{
	struct fl_mm *mm = NULL;
	struct fl_list *pos;

	fl_mutex_lock(&file->lock);
	for (pos = file->vmas.next; pos != &file->vmas && !mm; pos = pos->next) {
		struct fl_vma *vma = fl_list_entry(pos, struct fl_vma, by_file);

		if (vma->unmapped == turn)
			continue;
		mm = vma->mm;
		__atomic_fetch_add(&mm->pins, 1, __ATOMIC_ACQUIRE);
	}
	fl_mutex_unlock(&file->lock);
	return mm;
}

static void unpin(struct fl_mm *mm)
{
	fl_yield_point(&mm->pins);
	if (__atomic_sub_fetch(&mm->pins, 1, __ATOMIC_ACQ_REL) == 0)
		fl_futex_wake(&mm->pins, INT32_MAX);
}

/*
 * mmap_lock comes before the file's lock, so address space by address space: find one, let go of the file, take both
 * in order. Mappings that were made meanwhile are found in another round; entries that were, do not lead to the old
 * pages, which are not in the cache any more.
 */
void fl_unmap_mapping(struct fl_file *file, uint64_t first, uint64_t end, bool cow)
{
	static uint64_t turns;
	uint64_t turn = __atomic_add_fetch(&turns, 1, __ATOMIC_RELAXED);
	struct fl_mm *mm;

	while ((mm = next_mm(file, turn))) {
		struct fl_list *pos;

		fl_read_lock(&mm->mmap_lock);
		fl_mutex_lock(&file->lock);
		for (pos = file->vmas.next; pos != &file->vmas; pos = pos->next) {
			struct fl_vma *vma = fl_list_entry(pos, struct fl_vma, by_file);

			if (vma->mm != mm || vma->unmapped == turn)
				continue;
			vma->unmapped = turn;
			unmap_vma(vma, first, end, cow);
		}
		fl_mutex_unlock(&file->lock);
		fl_read_unlock(&mm->mmap_lock);
		unpin(mm);
	}
}

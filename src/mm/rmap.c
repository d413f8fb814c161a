/* SPDX-License-Identifier: MIT */
/* rmap.c - taking the pages of a file out of all mappings that have them: truncation, hole punching, collapse. */
#include "mm/rmap.h"

#include "mm/file.h"
#include "mm/mmap_lock.h"
#include "mm/pte.h"
#include "mm/zap.h"

/* What is taken out of all mappings, and how. */
struct unmap {
	uint64_t first, end;
	bool cow;    /* private copies, too */
	bool tables; /* free those that are empty then */
};

/* Zap the mapping's part. => file->lock held, mmap_lock of its address space held, for writing if tables are freed */
static void unmap_vma(struct fl_vma *vma, const struct unmap *u)
{
	uint64_t last = vma->index + PAGES(vma->end - vma->start);
	uint64_t lo = fl_max(u->first, vma->index), hi = fl_min(u->end, last);

	if (lo >= hi)
		return;
	lo = vma->start + ((lo - vma->index) << PAGE_SHIFT);
	hi = vma->start + ((hi - vma->index) << PAGE_SHIFT);
	fl_zap_file_range(vma->mm, vma, lo, hi, u->cow);
	if (u->tables && !(vma->flags & VM_UFFD_WP))
		fl_free_pgtables(vma->mm, lo, hi);
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
		fl_pins_get(&mm->pins);
	}
	fl_mutex_unlock(&file->lock);
	return mm;
}

/*
 * mmap_lock comes before the file's lock, so address space by address space: find one, let go of the file, take both
 * in order. Mappings that were made meanwhile are found in another round; entries that were, do not lead to the old
 * pages, which are not in the cache any more.
 */
static void unmap_mm(struct fl_mm *mm, struct fl_file *file, uint64_t turn, const struct unmap *u)
{
	struct fl_list *pos;

	if (u->tables)
		fl_mmap_write_lock(mm);
	else
		fl_mmap_read_lock(mm);
	fl_mutex_lock(&file->lock);
	for (pos = file->vmas.next; pos != &file->vmas; pos = pos->next) {
		struct fl_vma *vma = fl_list_entry(pos, struct fl_vma, by_file);

		if (vma->mm != mm || vma->unmapped == turn)
			continue;
		vma->unmapped = turn;
		unmap_vma(vma, u);
	}
	fl_mutex_unlock(&file->lock);
	if (u->tables)
		fl_mmap_write_unlock(mm);
	else
		fl_mmap_read_unlock(mm);
}

static void unmap_all(struct fl_file *file, const struct unmap *u)
{
	static uint64_t turns;
	uint64_t turn = __atomic_add_fetch(&turns, 1, __ATOMIC_RELAXED);
	struct fl_mm *mm;

	while ((mm = next_mm(file, turn))) {
		unmap_mm(mm, file, turn, u);
		fl_pins_put(&mm->pins);
	}
}

void fl_unmap_mapping(struct fl_file *file, uint64_t first, uint64_t end, bool cow)
{
	unmap_all(file, &(struct unmap){.first = first, .end = end, .cow = cow});
}

void fl_unmap_for_collapse(struct fl_file *file, uint64_t first)
{
	unmap_all(file, &(struct unmap){.first = first, .end = first + PTRS_PER_TABLE, .tables = true});
}

/* SPDX-License-Identifier: MIT */
/* vma.c - mappings: what their flags come to, inserting, splitting and merging them. */
#include "mm/vma.h"

#include "mm/mmap_lock.h"
#include "mm/zap.h"

/*
 * Is a store to be noticed? By copy-on-write in all private memory, a write-protect registration, tracked soft-dirty.
 */
static bool notes_writes(uint32_t flags)
{
	return !(flags & VM_SHARED) || (flags & VM_UFFD_WP) || !(flags & VM_SOFTDIRTY);
}

uint32_t fl_vm_page_prot(uint32_t flags)
{
	uint32_t prot = flags & VM_ACCESS;

	if (prot & VM_WRITE)
		prot |= VM_READ; /* x86 has no write-only pages */
	return notes_writes(flags) ? prot & ~VM_WRITE : prot;
}

static const struct fl_memory_kind *kind_of(const struct fl_mm *mm, uint32_t flags, const struct fl_file *file)
{
	const struct fl_kinds *kinds = mm->ops->kinds;

	if (file)
		return (flags & VM_SHARED) ? kinds->shared : kinds->private_copy;
	return (flags & VM_IN_PLACE) ? kinds->in_place : kinds->anonymous;
}

static void set(struct fl_vma *vma, uint32_t flags, struct fl_uffd_ctx *ctx)
{
	fl_vma_lock_file(vma); /* a thread that fills a file's holes looks whether they are waited for */
	vma->flags = flags;
	vma->vm_page_prot = fl_vm_page_prot(flags);
	vma->ctx = (flags & VM_UFFD) ? ctx : NULL;
	fl_vma_unlock_file(vma);
}

void fl_vma_set(struct fl_vma *vma, uint32_t flags, struct fl_uffd_ctx *ctx)
{
	FL_BUG_ON(!fl_vma_excluded(vma));
	set(vma, flags, ctx);
}

/* It is no longer in the table. */
static void vma_free(struct fl_mm *mm, struct fl_vma *vma)
{
	fl_vma_set_file(vma, NULL, 0);
	fl_vma_put_spare(mm, vma);
}

/* Complete but for its file, and not in the table yet. A reader of an old table may look at it all the same. */
static struct fl_vma *vma_new(struct fl_mm *mm, uint64_t start, uint64_t end, uint64_t pgoff, uint32_t flags,
			      struct fl_uffd_ctx *ctx)
{
	struct fl_vma *vma = fl_vma_take_spare(mm);

	entry_write(&vma->start, start);
	entry_write(&vma->end, end);
	vma->pgoff = pgoff;
	vma->mm = mm;
	vma->kind = kind_of(mm, flags, NULL);
	vma->file = NULL;
	vma->index = vma->unmapped = 0;
	fl_list_init(&vma->by_file);
	set(vma, flags, ctx);
	return vma;
}

struct fl_vma *fl_vma_insert(struct fl_mm *mm, uint64_t start, uint64_t end, uint64_t pgoff, uint32_t flags,
			     struct fl_uffd_ctx *ctx)
{
	struct fl_vma *vma = vma_new(mm, start, end, pgoff, flags, ctx);

	FL_BUG_ON(!fl_vma_excluded(vma));
	fl_write_seqbegin(&mm->vma_seq);
	fl_vma_table_insert(mm, vma);
	fl_write_seqend(&mm->vma_seq);
	return vma;
}

/* => file->lock held */
static void attach(struct fl_vma *vma, struct fl_file *file, uint64_t index)
{
	fl_file_get(file);
	vma->file = file;
	vma->index = index;
	fl_list_add_tail(&file->vmas, &vma->by_file);
}

void fl_vma_set_file(struct fl_vma *vma, struct fl_file *file, uint64_t index)
{
	struct fl_file *old = vma->file;

	if (old) {
		fl_mutex_lock(&old->lock);
		fl_list_del(&vma->by_file);
		vma->file = NULL;
		fl_mutex_unlock(&old->lock);
		fl_file_put(old);
	}
	vma->kind = kind_of(vma->mm, vma->flags, file);
	if (!file)
		return;
	fl_mutex_lock(&file->lock);
	attach(vma, file, index);
	fl_mutex_unlock(&file->lock);
}

void fl_vma_set_backing(struct fl_vma *copy, const struct fl_vma *vma, uint64_t addr)
{
	fl_vma_set_file(copy, vma->file, vma->file ? fl_vma_page_index(vma, addr) : 0);
	fl_vma_set_kind(copy, vma->kind);
}

void fl_vma_set_kind(struct fl_vma *vma, const struct fl_memory_kind *kind)
{
	vma->kind = kind;
}

void fl_vma_split(struct fl_mm *mm, uint64_t addr)
{
	struct fl_vma *vma = fl_vma_lookup(mm, addr);
	struct fl_vma *upper;

	if (!vma || vma->start == addr)
		return;
	FL_BUG_ON(!fl_vma_excluded(vma));
	if (addr & ~PMD_MASK) { /* a leaf lies inside one mapping */
		fl_mutex_lock(fl_pt_lock(mm, addr));
		fl_leaf_break(mm, vma, addr, false);
		fl_mutex_unlock(fl_pt_lock(mm, addr));
	}
	upper = vma_new(mm, addr, vma->end, vma->pgoff + PAGES(addr - vma->start), vma->flags, vma->ctx);
	upper->kind = vma->kind;
	fl_vma_lock_file(vma); /* a truncation finds the whole of it, in one piece or in two */
	if (vma->file)
		attach(upper, vma->file, fl_vma_page_index(vma, addr));
	fl_write_seqbegin(&mm->vma_seq);
	entry_write(&vma->end, addr);
	fl_vma_table_insert(mm, upper);
	fl_write_seqend(&mm->vma_seq);
	fl_vma_unlock_file(vma);
}

static bool can_merge(const struct fl_vma *a, const struct fl_vma *b)
{
	return a->end == b->start && a->flags == b->flags && a->ctx == b->ctx && fl_vma_continues(a, b) &&
	       a->pgoff + PAGES(a->end - a->start) == b->pgoff;
}

/* One of the two may lie outside of what is being changed, and be pinned. */
static void merge_at(struct fl_mm *mm, uint32_t i)
{
	struct fl_vma *vma = mm->vmas[i], *upper = mm->vmas[i + 1];

	fl_mmap_exclude(mm, vma->start, upper->end);
	fl_vma_lock_file(vma);
	fl_write_seqbegin(&mm->vma_seq);
	entry_write(&vma->end, upper->end);
	fl_vma_table_remove(mm, i + 1);
	fl_write_seqend(&mm->vma_seq);
	fl_vma_unlock_file(vma);
	vma_free(mm, upper);
}

void fl_vma_merge(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	uint32_t i = fl_vma_index(mm, start ? start - 1 : 0);

	while (i + 1 < mm->nr_vmas && mm->vmas[i]->end <= end) {
		if (can_merge(mm->vmas[i], mm->vmas[i + 1]))
			merge_at(mm, i);
		else
			i++;
	}
}

void fl_vma_remove(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	uint32_t i = fl_vma_index(mm, start);

	while (i < mm->nr_vmas && mm->vmas[i]->start < end) {
		struct fl_vma *vma = mm->vmas[i];

		FL_BUG_ON(!fl_vma_excluded(vma));
		fl_write_seqbegin(&mm->vma_seq);
		fl_vma_table_remove(mm, i);
		fl_write_seqend(&mm->vma_seq);
		vma_free(mm, vma);
	}
}

/* SPDX-License-Identifier: MIT */
/*
 * vma.h - mappings: what they allow, and how they are inserted, split, merged and removed.
 * "=>" states a precondition: locks held, signals blocked.
 */
#ifndef FL_MM_VMA_H
#define FL_MM_VMA_H

#include "mm/file.h"
#include "mm/kind.h"
#include "mm/mmu.h"
#include "mm/pte.h"
#include "mm/right.h"
#include "mm/vma_table.h"

/* => mmap_lock held for writing, one reserved where it says so, as for all functions below */

/* Add a mapping to a free range, with one of those reserved; flags and ctx decide vm_page_prot. */
struct fl_vma *fl_vma_insert(struct fl_mm *mm, uint64_t start, uint64_t end, uint64_t pgoff, uint32_t flags,
			     struct fl_uffd_ctx *ctx);
/* It maps a file from page `index` on; NULL: it no longer maps one. Takes and drops references. */
void fl_vma_set_file(struct fl_vma *vma, struct fl_file *file, uint64_t index);
/* It maps at its start what `vma` maps at addr, as one more mapping of the same kind. */
void fl_vma_set_backing(struct fl_vma *copy, const struct fl_vma *vma, uint64_t addr);
/* Memory of a kind that is not one of the backend's. => before there are pages */
void fl_vma_set_kind(struct fl_vma *vma, const struct fl_memory_kind *kind);
/* Split so that `addr` is a border; uses one of those reserved when it lies inside a mapping. */
void fl_vma_split(struct fl_mm *mm, uint64_t addr);
/* Merge what can be merged in [start, end] and with its neighbours. */
void fl_vma_merge(struct fl_mm *mm, uint64_t start, uint64_t end);
/* Set flags and object; recomputes vm_page_prot. */
void fl_vma_set(struct fl_vma *vma, uint32_t flags, struct fl_uffd_ctx *ctx);
/* Take mappings out of the table: [start, end) has been split off at both borders. */
void fl_vma_remove(struct fl_mm *mm, uint64_t start, uint64_t end);

uint32_t fl_vm_page_prot(uint32_t flags);

/* Does b, which begins where a ends, go on with what a maps? Memory in place is anonymous memory to the program. */
static inline bool fl_vma_continues(const struct fl_vma *a, const struct fl_vma *b)
{
	return (a->kind == b->kind || ((a->flags ^ b->flags) & VM_IN_PLACE)) && a->file == b->file &&
	       (!a->file || a->index + PAGES(a->end - a->start) == b->index);
}

/* Are they one mapping to the program, if they touch? */
static inline bool fl_vma_alike(const struct fl_vma *a, const struct fl_vma *b)
{
	return !((a->flags ^ b->flags) & ~VM_UNSEEN) && a->ctx == b->ctx && fl_vma_continues(a, b);
}

/*
 * Is an entry of the page at addr one of a page that the backing no longer has? It may lose one without notice.
 * => file->lock held
 */
static inline bool fl_vma_page_gone(struct fl_vma *vma, uint64_t addr)
{
	return vma->kind->add && vma->file && vma->file->ops->untold && vma->kind->lookup(vma, addr) == FL_PFN_NONE;
}

#endif

/* SPDX-License-Identifier: MIT */
/*
 * mm.h - the memory manager: address spaces, mappings, page tables, faults, fills, protection.
 *
 * THEORY. An address space (fl_mm) is a sorted table of mappings (fl_vma) and a tree of page tables. A load or store
 * that the backend has no cached right for becomes a fault: fl_handle_mm_fault() looks at the mapping and at the
 * entry
 * and either repairs the entry (and lets the backend cache the new right), or hands the fault to the userfaultfd
 * object
 * of the mapping, which waits with no lock held, after which the access is simply run again. Rights grow by faults;
 * they shrink only in fl_change_protection() and fl_zap_range(), and these tell the backend before they return.
 *
 * LOCK ORDER (base/lock.h ranks): mmap_lock > pt_lock[] > a userfaultfd object's queue lock > the backend's lock >
 * the allocator's. mmap_lock is taken for writing to change mappings, for reading to fault and to fill. One
 * page-table lock covers
 * the entries of 2 MiB; no two are held at once. Signals are blocked while any lock is held (fl_irq_save), and client
 * memory is not touched, except by the frames_fill() of a backend, which reads it with page faults disabled.
 *
 * A missing page's message is queued under the page-table lock that its fill will take: between the look at the entry
 * and the sleep there is no moment in which a fill could wake nobody. The same for a write-protect fault and its
 * un-protect.
 *
 * INVARIANTS, walked by fl_mm_check():
 *   I1  mappings are sorted, disjoint, not empty, page-aligned, below TASK_SIZE; neighbours that could merge have
 * merged
 *   I2  a VM_UFFD flag is set if and only if the mapping has a userfaultfd object
 *   I3  vm_page_prot is what the flags make of it
 *   I4  every entry that is not none lies inside a mapping that is not VM_RELEASED
 *   I5  an entry with uffd-wp is not writable, and lies in a mapping registered for write-protection
 *   I6  a writable entry's mapping allows writing
 *   I7  a present entry's folio has a reference, and its mapcount is the number of entries that map it
 *   I8  the backend caches no right that the entry does not grant
 */
#ifndef FL_MM_MM_H
#define FL_MM_MM_H

#include "base/irq.h"
#include "mm/mmu.h"
#include "mm/pte.h"

/* ---- address spaces (mm.c) ---- */

/* An empty address space over a pool; the backend's data is its own. -ENOMEM. */
int fl_mm_init(struct fl_mm *mm, const struct fl_mmu_ops *ops, void *backend, const struct fl_pool *pool);
/* Free everything. Nobody else uses it; no userfaultfd object is left. */
void fl_mm_exit(struct fl_mm *mm);

/* ---- mappings (vma.c) ---- */

/* The mapping that contains addr, or NULL. => mmap_lock held */
struct fl_vma *fl_vma_lookup(const struct fl_mm *mm, uint64_t addr);
/* Index of the first mapping that ends above addr. => mmap_lock held */
uint32_t fl_vma_index(const struct fl_mm *mm, uint64_t addr);
/*
 * Make sure that the next `nr` insertions or splits succeed. -ENOMEM.
 * => mmap_lock held for writing, as for all below
 */
int fl_vma_reserve(struct fl_mm *mm, uint32_t nr);
/* Add a mapping to a free range, with one of the reserved; flags and ctx decide vm_page_prot. */
struct fl_vma *fl_vma_insert(struct fl_mm *mm, uint64_t start, uint64_t end, uint64_t pgoff, uint32_t flags,
			     struct fl_uffd_ctx *ctx);
/* Split so that `addr` is a border; uses one of the reserved when it lies inside a mapping. */
void fl_vma_split(struct fl_mm *mm, uint64_t addr);
/* Merge what can be merged in [start, end] and with its neighbours. */
void fl_vma_merge(struct fl_mm *mm, uint64_t start, uint64_t end);
/* Set flags and object; recomputes vm_page_prot. */
void fl_vma_set(struct fl_vma *vma, uint32_t flags, struct fl_uffd_ctx *ctx);
/* Take mappings out of the table: [start, end) has been split off at both borders. */
void fl_vma_remove(struct fl_mm *mm, uint64_t start, uint64_t end);
/* Mappings between start and end, in order. `i` is a cursor variable. */
#define fl_for_each_vma(mm, vma, i, from, to)                                                                          \
	for (i = fl_vma_index(mm, from); i < (mm)->nr_vmas && (vma = (mm)->vmas[i])->start < (to); i++)

uint32_t fl_vm_page_prot(uint32_t flags);

/* ---- page tables (pgtable.c) ---- */

static inline struct fl_mutex *fl_pt_lock(struct fl_mm *mm, uint64_t addr)
{
	return &mm->pt_lock[(addr >> PMD_SHIFT) % FL_PT_LOCKS];
}

/* The entry of addr, or NULL when its table does not exist. => mmap_lock held */
fl_pte_t *fl_pte_offset(const struct fl_mm *mm, uint64_t addr);
/* The same, creating tables. NULL: no memory. => mmap_lock held, no page-table lock */
fl_pte_t *fl_pte_alloc(struct fl_mm *mm, uint64_t addr);
/* Free the tables of a range that holds no entries. => mmap_lock held for writing */
void fl_free_pgtables(struct fl_mm *mm, uint64_t start, uint64_t end);
/* The first address >= addr whose table exists, or end. For walks over sparse ranges. => mmap_lock held */
uint64_t fl_pgtable_next(const struct fl_mm *mm, uint64_t addr, uint64_t end);

static inline fl_pte_t ptep_get(const fl_pte_t *p)
{
	return (fl_pte_t){ __atomic_load_n(&p->val, __ATOMIC_RELAXED) };
}

static inline void set_pte(fl_pte_t *p, fl_pte_t v)
{
	__atomic_store_n(&p->val, v.val, __ATOMIC_RELAXED);
}

/* The right that a present entry grants. */
static inline enum fl_right pte_right(fl_pte_t p, const struct fl_vma *vma)
{
	if (!pte_present(p) || !(vma->vm_page_prot & VM_ACCESS))
		return FL_RIGHT_NONE;
	return pte_write(p) ? FL_RIGHT_WRITE : FL_RIGHT_READ;
}

/* ---- faults (fault.c) ---- */

#define FAULT_WRITE	 0x1u
#define FAULT_KERNEL	 0x2u /* on behalf of a system call */
#define FAULT_NO_HANDLER 0x4u /* the in-thread handler has passed this one on */

enum fl_fault {
	FL_DONE,    /* run the access again */
	FL_FOREIGN, /* no mapping of ours: whatever the host would do */
	FL_SEGV,    /* the mapping forbids it */
	FL_SIGBUS,  /* as UFFD_FEATURE_SIGBUS asks; or no memory */
	FL_HANDOFF, /* internal: the in-thread handler wants the message queued */
	FL_RELEASED, /* internal */
};

struct fl_vmf {
	struct fl_mm *mm;
	uint64_t addr;
	uint32_t flags;
	const uint64_t *sigmask; /* the signals that are blocked while the thread waits; NULL: leave them */
	/* set by the fault path for the userfaultfd object */
	struct fl_vma *vma;
	bool wp;
	bool delivered; /* user space has had this fault */
};

/* Resolve one fault, waiting as long as it takes. => no lock held, signals blocked as fl_irq_save() does */
enum fl_fault fl_handle_mm_fault(struct fl_vmf *vmf);

/*
 * The userfaultfd layer's side of a fault: set once, by that layer. It is called with mmap_lock (for reading) and the
 * page-table
 * lock of vmf->addr held, and drops both.
 */
typedef enum fl_fault fl_userfault_fn(struct fl_vmf *vmf);
extern fl_userfault_fn *fl_handle_userfault;

/* ---- fills (fill.c) ---- */

struct fl_fill {
	uint64_t dst, len;
	uint64_t src; /* client memory; without meaning when `zero` */
	bool zero;
	bool src_is_host; /* src is an address of this process, whatever the address space */
	bool wp;	  /* install write-protected */
};

/*
 * Fill [dst + *done, dst + len), page by page, until something stops it; *done grows by the bytes filled. 0, or
 * -errno:
 * -ENOENT (what is left is not inside one registered mapping), -EEXIST (an entry is there), -ENOMEM, -EFAULT (the
 * source faults at
 * *src_fault: the caller makes it present, with no lock held, and calls again), -EINVAL (wp without VM_UFFD_WP).
 * => no lock held, signals blocked
 */
int fl_mfill_atomic(struct fl_mm *mm, const struct fl_fill *fill, uint64_t *done, uint64_t *src_fault);

/* ---- protection (protect.c) ---- */

#define MM_CP_UFFD_WP	      0x1u /* set uffd-wp */
#define MM_CP_UFFD_WP_RESOLVE 0x2u /* clear uffd-wp; writable again where the mapping allows it */

/*
 * Bring the present entries of a range of one mapping in line with vma->vm_page_prot and the flags. Returns the
 * number of
 * entries changed, or -errno. Tells the backend.
 * => mmap_lock held (for writing if vm_page_prot changed); page-table locks not held
 */
int64_t fl_change_protection(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end, uint32_t cp_flags);

/* ---- ranges (mmap.c) ---- */

/* Drop the entries of a range inside one mapping, and their pages. => mmap_lock held, no page-table lock */
void fl_zap_range(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end);
/* Zap and forget [start, end): mappings, tables, frames. Uses up to two reserved. => mmap_lock held for writing */
void fl_do_munmap(struct fl_mm *mm, uint64_t start, uint64_t end);
/* mprotect on the mappings of [start, end), which the caller has found complete. Uses up to two reserved; as above. */
void fl_do_mprotect(struct fl_mm *mm, uint64_t start, uint64_t end, uint32_t access);
/*
 * Moving, for mremap(): first the tables for the entries of [old, old + len) at their new place (-ENOMEM, with
 * nothing changed),
 * then the entries, without their uffd-wp. `rehome`: frames have homes, and the backend has copied the contents to
 * the new ones.
 * => mmap_lock held for writing
 */
int fl_move_prepare(struct fl_mm *mm, uint64_t old, uint64_t new, uint64_t len);
void fl_move_entries(struct fl_mm *mm, uint64_t old, struct fl_vma *new_vma, uint64_t new, uint64_t len, bool rehome);

/* ---- what a program sees of its pages (pagemap.c) ---- */

/* Overwrite the words of /proc/self/pagemap of those pages of [addr, addr + nr pages) that are ours. => no lock held */
void fl_pagemap(struct fl_mm *mm, uint64_t addr, uint64_t nr, uint64_t *words);
/* No page is soft-dirty any more, and writes are noted from now on. 0, -ENOMEM. => no lock held, signals blocked */
int fl_clear_soft_dirty(struct fl_mm *mm);

/* ---- the checker (check.c) ---- */

/* Number of violations; `say` gets a line for each. => no lock held */
int fl_mm_verify(struct fl_mm *mm, void (*say)(const char *invariant, uint64_t addr));

#endif

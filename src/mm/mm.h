/* SPDX-License-Identifier: MIT */
/*
 * mm.h - the memory manager: address spaces, mappings, page tables, faults, fills, protection.
 *
 * THEORY. An address space (fl_mm) is a sorted table of mappings (fl_vma) and a tree of page tables. A load or store
 * that the backend has no cached right for becomes a fault: fl_handle_mm_fault() looks at the mapping and at the
 * entry and either repairs the entry (and lets the backend cache the new right), or hands the fault to the
 * userfaultfd object of the mapping, which waits with no lock held, after which the access is simply run again.
 * Rights grow by faults; they shrink only in fl_change_protection(), and where pages go elsewhere or go away (zap,
 * swap, migration, copy-on-write), and these tell the backend before they return.
 *
 * What an entry grants has one source: vma->vm_page_prot, computed from the mapping's flags in one place, and the
 * entry's own bits. No function takes a protection to install. For a page that may be written although vm_page_prot
 * does not say so (all private memory, for which copy-on-write is to be asked first), fl_can_change_pte_writable()
 * decides, and nobody else.
 *
 * LOCK ORDER (ranks of base/lock.h, asserted by base/rank.h): mmap_lock > a mapping (being at work in it) > a file's
 * lock > pt_lock[] > uffd_lock > a userfaultfd object's queue lock > the backend's locks > that of the kept
 * descriptors > the allocator's. No two of one rank are held at once: not the mmap_locks of parent and child in a
 * fork, not two mappings, not two page-table locks when entries move (whoever moves them is alone). mmap_lock is
 * taken for writing to change mappings, for reading to look at several; it is not taken twice. Who faults or fills is
 * at work in one mapping, and holds mmap_lock at most while looking for it (mmap_lock.c has the theory); where it
 * says below that mmap_lock is held, and not for writing, to be at work in the mapping is as good. One page-table
 * lock covers the entries of 2 MiB. Signals are blocked while any lock is held (fl_signals_block), and client memory
 * is not touched, except by the frames_fill() of a backend, which reads it with page faults disabled.
 *
 * A missing page's message is queued under the page-table lock that its fill will take: between the look at the entry
 * and the sleep there is no moment in which a fill could wake nobody. The same for a write-protect fault and its
 * un-protect.
 *
 * INVARIANTS, walked by fl_mm_check():
 *   I1  mappings are sorted, disjoint, not empty, page-aligned, below TASK_SIZE; neighbours that could merge have
 *       merged
 *   I2  a VM_UFFD flag is set if and only if the mapping has a userfaultfd object
 *   I3  vm_page_prot is what the flags make of it
 *   I4  every entry that is not none lies inside a mapping that is not VM_RELEASED
 *   I5  an entry with uffd-wp, of whatever kind and level, is not writable, and lies in a mapping registered for
 *       write-protection; a marker has uffd-wp
 *   I6  a writable entry's mapping allows writing, and the entry is dirty: a store that it lets through is not lost
 *       to soft-dirty; with the hint it is not writable
 *   I7  a present entry's folio has a reference for it, and its mapcount is the number of entries that map it; of a
 *       writable private entry it is the only one
 *   I8  the backend caches no right that the entry does not grant
 *   I9  a leaf lies inside one mapping, its frames are aligned as it is, and for each leaf a table is deposited; in a
 *       mapping of a file all its pages are the file's, and it has no uffd-wp
 */
#ifndef FL_MM_MM_H
#define FL_MM_MM_H

#include "base/entry.h"
#include "base/signals.h"
#include "mm/mmu.h"
#include "mm/pte.h"

/* ---- address spaces (mm.c) ---- */

/*
 * An empty address space over a pool; the backend's data is its own. Up to the first fl_mmap_write_unlock() the
 * caller is alone with it. -ENOMEM.
 */
int fl_mm_init(struct fl_mm *mm, const struct fl_mmu_ops *ops, void *backend, const struct fl_pool *pool);
/* Free everything. Nobody else uses it; no userfaultfd object is left. */
void fl_mm_exit(struct fl_mm *mm);

/*
 * The mappings and pages of `parent` for an empty `child` whose frames are of the same pool, shared until written to.
 * -ENOMEM: the child has a part of them. => no lock held; nobody else knows the child (fork.c)
 */
int fl_mm_copy(struct fl_mm *child, struct fl_mm *parent);

/* ---- who is at work where (mmap_lock.c) ---- */

/*
 * Nobody changes mappings, nor takes page tables away. => no lock held, signals blocked, as for all that takes locks
 */
static inline void fl_mmap_read_lock(struct fl_mm *mm)
{
	fl_read_lock(&mm->mmap_lock);
}

static inline void fl_mmap_read_unlock(struct fl_mm *mm)
{
	fl_read_unlock(&mm->mmap_lock);
}

/*
 * To change mappings. The caller is alone in those that have a part of [start, end), and no others may be changed:
 * neither their fields, nor their entries but under the page-table locks, nor the tables that they share. Faults in
 * them go on.
 */
void fl_mmap_write_lock_range(struct fl_mm *mm, uint64_t start, uint64_t end);
/* The same for all of them. */
static inline void fl_mmap_write_lock(struct fl_mm *mm)
{
	fl_mmap_write_lock_range(mm, 0, UINT64_MAX);
}
/* More than was said at first: it, and what lies between. => mmap_lock held for writing */
void fl_mmap_exclude(struct fl_mm *mm, uint64_t start, uint64_t end);
void fl_mmap_write_unlock(struct fl_mm *mm);
/* Is it one of those? => mmap_lock held for writing */
bool fl_vma_excluded(const struct fl_vma *vma);
/* Has the caller, who is at work in the mapping, mmap_lock for writing, and nobody else is at work in it? */
bool fl_vma_sole_pin(const struct fl_vma *vma);
/* In a forked child, whose parent's thread had it for writing: no lock is held, and nobody is at work. */
void fl_mmap_lock_after_fork(struct fl_mm *mm);

/*
 * The mapping that contains addr, in which the caller is at work from now on: it stays as it is, and so do its
 * tables; its neighbours need not. NULL: there is none. => no lock held; the result counts as one
 */
struct fl_vma *fl_vma_pin(struct fl_mm *mm, uint64_t addr);
/* The same. => mmap_lock held for reading */
struct fl_vma *fl_vma_pin_locked(struct fl_mm *mm, uint64_t addr);
void fl_vma_unpin(struct fl_vma *vma);
/*
 * The first mapping that ends above addr, as above, but without waiting: for whoever has locks already. NULL: there
 * is none, or somebody is about to change it.
 */
struct fl_vma *fl_vma_trypin(struct fl_mm *mm, uint64_t addr);
void fl_vma_put(struct fl_vma *vma);

/* ---- mappings (vma.c) ---- */

/* What is given back with the address space only. => nobody uses it any more */
void fl_vma_free_tables(struct fl_mm *mm);
struct fl_vma *fl_vma_next_spare(const struct fl_vma *vma);

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
/* It maps a file from page `index` on; NULL: no file any more. Takes and drops references. */
void fl_vma_set_file(struct fl_vma *vma, struct fl_file *file, uint64_t index);
/* Split so that `addr` is a border; uses one of the reserved when it lies inside a mapping. */
void fl_vma_split(struct fl_mm *mm, uint64_t addr);
/* Merge what can be merged in [start, end] and with its neighbours. */
void fl_vma_merge(struct fl_mm *mm, uint64_t start, uint64_t end);
/* Set flags and object; recomputes vm_page_prot. */
void fl_vma_set(struct fl_vma *vma, uint32_t flags, struct fl_uffd_ctx *ctx);
/*
 * Registered with `uffd_flags` of VM_UFFD, by ctx; 0, NULL: not at all. Where it is registered for write-protection
 * no more, entries lose it, and the right to write comes back to those that may have it.
 */
void fl_vma_set_uffd(struct fl_mm *mm, struct fl_vma *vma, uint32_t uffd_flags, struct fl_uffd_ctx *ctx);
/* Take mappings out of the table: [start, end) has been split off at both borders. */
void fl_vma_remove(struct fl_mm *mm, uint64_t start, uint64_t end);
/* Mappings between start and end, in order. `i` is a cursor variable. */
#define fl_for_each_vma(mm, vma, i, from, to)                                                                        \
	for (i = fl_vma_index(mm, from); i < (mm)->nr_vmas && (vma = (mm)->vmas[i])->start < (to); i++)

uint32_t fl_vm_page_prot(uint32_t flags);

/* What the program may do there, of VM_ACCESS: x86 has no write-only pages. */
static inline uint32_t fl_vma_access(const struct fl_vma *vma)
{
	return (vma->flags & VM_ACCESS) | ((vma->flags & VM_WRITE) ? VM_READ : 0);
}

/* Are stores to clean pages to be noticed, for soft-dirty? Only once somebody has cleared it. */
static inline bool fl_vma_tracked(const struct fl_vma *vma)
{
	return !(vma->flags & VM_SOFTDIRTY);
}

/*
 * Nothing is asked of the mapping that the host could not do alone: it has what we have. (Of a private mapping of a
 * file it has not, while some of it is still to be copied.)
 */
static inline bool fl_vma_plain(const struct fl_vma *vma)
{
	return !(vma->flags & (VM_UFFD | VM_SAMPLED)) && !fl_vma_tracked(vma) &&
	       (!vma->file || (vma->flags & VM_SHARED));
}

/* Does b, which begins where a ends, go on with what a maps? */
static inline bool fl_vma_continues(const struct fl_vma *a, const struct fl_vma *b)
{
	return a->file == b->file && (!a->file || a->index + PAGES(a->end - a->start) == b->index);
}

/* Are they one mapping to the program, if they touch? */
static inline bool fl_vma_alike(const struct fl_vma *a, const struct fl_vma *b)
{
	return !((a->flags ^ b->flags) & ~VM_UNSEEN) && a->ctx == b->ctx && fl_vma_continues(a, b);
}

/* ---- page tables (pgtable.c) ---- */

static inline unsigned fl_pt_index(uint64_t addr)
{
	return (unsigned)(addr >> PMD_SHIFT) % FL_PT_LOCKS;
}

static inline struct fl_mutex *fl_pt_lock(struct fl_mm *mm, uint64_t addr)
{
	return &mm->pt_lock[fl_pt_index(addr)];
}

/* The only reads of a PMD entry: whole, with or without the lock. => mmap_lock held */
static inline fl_pmd_t pmdp_get_lockless(const fl_pmd_t *p)
{
	return (fl_pmd_t){entry_read(&p->val)};
}

/* The same for an entry of the lowest level. */
static inline fl_pte_t ptep_get(const fl_pte_t *p)
{
	return (fl_pte_t){entry_read(&p->val)};
}

static inline void set_pte(fl_pte_t *p, fl_pte_t v)
{
	entry_write(&p->val, v.val);
}

/* The PMD entry of addr, or NULL when its table does not exist. => mmap_lock held */
fl_pmd_t *fl_pmd_offset(const struct fl_mm *mm, uint64_t addr);
/* The same, creating tables. NULL: no memory. => mmap_lock held */
fl_pmd_t *fl_pmd_alloc(struct fl_mm *mm, uint64_t addr);
/* The entry of addr in its table, or NULL: there is no table, be it that a leaf is in its place. => mmap_lock held */
fl_pte_t *fl_pte_offset(const struct fl_mm *mm, uint64_t addr);
/* Make sure that addr has a table or a leaf. 0, -ENOMEM. => mmap_lock held, no page-table lock */
int fl_pte_alloc(struct fl_mm *mm, uint64_t addr);
/* What the tables say of a page, at whatever level. => mmap_lock held; page-table lock, or it may change at once */
fl_pte_t fl_pte_get(const struct fl_mm *mm, uint64_t addr);

/* The place of an entry, of either level, and the pages that it is for. `nr` is 0 where there is none. */
struct fl_slot {
	fl_pmd_t *pmdp; /* it is a leaf */
	fl_pte_t *ptep; /* it is not */
	uint64_t addr;	/* of its first page */
	unsigned nr;
};

/* => mmap_lock and page-table lock held, as for all below */
struct fl_slot fl_slot_at(const struct fl_mm *mm, uint64_t addr);

static inline fl_pte_t slot_get(const struct fl_slot *s)
{
	return s->pmdp ? pmd_pte(pmdp_get_lockless(s->pmdp)) : ptep_get(s->ptep);
}

static inline void slot_set(const struct fl_slot *s, fl_pte_t pte)
{
	if (s->pmdp)
		entry_write(&s->pmdp->val, pte_pmd(pte).val);
	else
		set_pte(s->ptep, pte);
}

/* A table for a leaf to deposit, allocated before the locks are taken. NULL: no memory */
uint64_t *fl_pgtable_spare(struct fl_mm *mm);
void fl_pgtable_spare_free(struct fl_mm *mm, uint64_t *table);
/*
 * Leaves. Their tables are deposited on a list that all addresses of one page-table lock share, so to be alone in a
 * mapping does not stand in for the lock here; to be alone in the space does. It is asserted.
 */

/* Put a leaf where nothing is; the table is deposited. false: a table was faster. */
bool fl_pmd_set_leaf(struct fl_mm *mm, fl_pmd_t *pmdp, uint64_t addr, fl_pte_t pte, uint64_t *table);
/* Take a leaf out, and free its deposit. */
void fl_pmd_clear_leaf(struct fl_mm *mm, fl_pmd_t *pmdp, uint64_t addr);
/* The deposit, which is empty, takes the place of a leaf. */
void fl_pmd_to_table(struct fl_mm *mm, fl_pmd_t *pmdp, uint64_t addr);
/* A leaf becomes a table of 512 entries that say the same: it cannot fail. */
void fl_pmd_split(struct fl_mm *mm, fl_pmd_t *pmdp, uint64_t addr);
/* The entry of addr in a table, after a split if need be. NULL: neither table nor leaf */
fl_pte_t *fl_pte_split(struct fl_mm *mm, uint64_t addr);
/* A table becomes a leaf: `pte` is its first page's. => mmap_lock held for writing */
void fl_pmd_collapse(struct fl_mm *mm, uint64_t addr, fl_pte_t pte);

/* Free the tables of a range that holds no entries. => mmap_lock held for writing */
void fl_free_pgtables(struct fl_mm *mm, uint64_t start, uint64_t end);
/* The first address >= addr that has a table or a leaf, or end. For walks over sparse ranges. => mmap_lock held */
uint64_t fl_pgtable_next(const struct fl_mm *mm, uint64_t addr, uint64_t end);

/*
 * Visit what [start, end) has, 2 MiB at a time: `addr` and `next` are its part of them. The page-table lock is for
 * the body to take.
 */
#define fl_for_each_pmd(mm, addr, next, start, end)                                                                  \
	for (uint64_t addr = fl_pgtable_next(mm, start, end), next;                                                  \
	     addr < (end) && (next = fl_min(PMD_ALIGN_DOWN(addr) + PMD_SIZE, end), true);                            \
	     addr = fl_pgtable_next(mm, next, end))

/* The right that an entry grants. */
static inline enum fl_right pte_right(fl_pte_t p, const struct fl_vma *vma)
{
	if (!pte_present(p) || pte_hint(p) || !fl_vma_access(vma))
		return FL_RIGHT_NONE;
	return pte_write(p) ? FL_RIGHT_WRITE : FL_RIGHT_READ;
}

/*
 * May a present entry that is not writable become so with nobody being told? The mapping allows writing, nobody waits
 * for a write-protect fault or a hint, a store need not be noted for soft-dirty; and a private page is this entry's
 * alone, a shared one is dirty already. `nr`: 512 for a leaf.
 */
bool fl_can_change_pte_writable(const struct fl_mm *mm, const struct fl_vma *vma, fl_pte_t pte, unsigned nr);
/* The entry, writable if it may be. */
static inline fl_pte_t fl_maybe_mkwrite(const struct fl_mm *mm, const struct fl_vma *vma, fl_pte_t pte, unsigned nr)
{
	return fl_can_change_pte_writable(mm, vma, pte, nr) ? pte_mkwrite(pte) : pte;
}

/* ---- faults (fault.c) ---- */

#define FAULT_WRITE	 0x1u
#define FAULT_KERNEL	 0x2u /* on behalf of a system call */
#define FAULT_NO_HANDLER 0x4u /* the in-thread handler has passed this one on */

enum fl_fault {
	FL_DONE,     /* run the access again */
	FL_FOREIGN,  /* no mapping of ours: whatever the host would do */
	FL_SEGV,     /* the mapping forbids it */
	FL_SIGBUS,   /* as UFFD_FEATURE_SIGBUS asks; or no memory */
	FL_HANDOFF,  /* internal: the in-thread handler wants the message queued */
	FL_RELEASED, /* internal */
};

/* What user space is asked for. */
enum fl_asked { FL_ASKED_MISSING, FL_ASKED_MINOR, FL_ASKED_WP };

struct fl_vmf {
	struct fl_mm *mm;
	uint64_t addr;
	uint32_t flags;
	const uint64_t *sigmask; /* the signals that are blocked while the thread waits; NULL: leave them */
	/* set by the fault path for the userfaultfd object */
	struct fl_vma *vma;
	enum fl_asked asked;
	bool hinted;	/* the access sampler's hint was in the way */
	bool delivered; /* user space has had this fault */
};

/* Drop what a fault holds when it asks the userfaultfd layer: page-table lock, file's lock, the mapping. */
void fl_vmf_unlock(struct fl_vmf *vmf);

/* Resolve one fault, waiting as long as it takes. => no lock held, signals blocked as fl_signals_block() does */
enum fl_fault fl_handle_mm_fault(struct fl_vmf *vmf);

/*
 * The userfaultfd layer's side of a fault: set once, by that layer. It is called with the mapping (fl_vma_pin), the
 * file's lock if it is a file's mapping, and the page-table lock of vmf->addr held, and drops them: fl_vmf_unlock().
 */
typedef enum fl_fault fl_userfault_fn(struct fl_vmf *vmf);
extern fl_userfault_fn *fl_handle_userfault;

/* ---- fills (fill.c) ---- */

struct fl_fill {
	uint64_t dst, len;
	uint64_t src; /* client memory; without meaning when `zero` */
	bool zero;
	bool cached;	  /* CONTINUE: nothing is filled; the page is in the file's cache */
	bool src_is_host; /* src is an address of this process, whatever the address space */
	bool wp;	  /* install write-protected */
};

/*
 * Fill [dst + *done, dst + len), page by page, until something stops it; *done grows by the bytes filled. 0, or
 * -errno: -ENOENT (what is left is not inside one registered mapping), -EEXIST (an entry is there), -ENOMEM, -EFAULT
 * (the source faults at *src_fault: the caller makes it present, with no lock held, and calls again), -EINVAL (wp
 * without VM_UFFD_WP).
 * => no lock held, signals blocked
 */
int fl_fill_range(struct fl_mm *mm, const struct fl_fill *fill, uint64_t *done, uint64_t *src_fault);

/* ---- protection (protect.c) ---- */

#define MM_CP_UFFD_WP		  0x1u	/* set uffd-wp */
#define MM_CP_UFFD_WP_RESOLVE	  0x2u	/* clear uffd-wp */
#define MM_CP_UFFD_WP_MARKERS	  0x4u	/* with the first: also where no page is, by markers */
#define MM_CP_TRY_CHANGE_WRITABLE 0x8u	/* what may be writable becomes so now; otherwise at the next store */
#define MM_CP_PROT_NUMA		  0x10u /* set the hint: all rights go */
#define MM_CP_CLEAR_SOFT_DIRTY	  0x20u

/*
 * Bring the entries of a range of one mapping in line with vma->vm_page_prot and the flags. Tells the backend.
 * Returns the number of pages changed; -ENOMEM, with what comes before the failure changed, when a page table for
 * markers cannot be had: the same call succeeds later.
 * => mmap_lock held (for writing if vm_page_prot changed); page-table locks not held
 */
int64_t fl_change_protection(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end, uint32_t cp_flags);

/* ---- 2 MiB at a time (huge.c) ---- */

/* Zeros of 2 MiB for a fault, if mapping and memory allow it. => mmap_lock held, no page-table lock */
bool fl_huge_anonymous_fault(struct fl_vmf *vmf);
/* A leaf over a large folio that the cache of a file has, if mapping and memory allow it. => as above */
bool fl_huge_cached_fault(struct fl_vmf *vmf);
/*
 * MADV_COLLAPSE: each aligned 2 MiB of [start, end) that can becomes a leaf; holes between mappings are left out. 0,
 * or what is said of the first that cannot (Linux 6.18, observed), which for a file is also the last that is tried:
 * -EINVAL (it is empty; a page is write-protected or, of a file, might be; a private mapping has a copy of a page; a
 * mapping's part has no aligned address, or its file no aligned pages there; MADV_NOHUGEPAGE), -EBUSY (a page is
 * missing in registered memory), -EAGAIN (one is on its way, or in use), -ENOMEM. => no lock held, signals blocked
 */
int fl_collapse(struct fl_mm *mm, uint64_t start, uint64_t end);
/* Its part that is about the file: 512 pages of the cache leave all mappings and become one folio. => no lock held */
int fl_collapse_cache(struct fl_file *file, uint64_t first);
/*
 * A leaf over that folio, in place of an empty table. 0, -ENOMEM. => mmap_lock for writing and the file's lock held
 */
int fl_map_large(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr);
/* The same for a part of one mapping of anonymous memory. => mmap_lock held for writing */
int fl_collapse_anonymous(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end);
/* Make leaves where all 512 pages are there, in their homes, which costs nothing and does not show. => as above */
void fl_collapse_full(struct fl_mm *mm, struct fl_vma *vma);

/* ---- where pages are (migrate.c, swap.c) ---- */

/*
 * Move the pages of a range of one mapping to other frames, through migration entries. Returns how many were moved,
 * -ENOMEM, or -EOPNOTSUPP for a backend whose pages have homes. => mmap_lock held for reading, no page-table lock
 */
int64_t fl_migrate_range(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end);
/* A migration entry was found: wait until some migration has ended. => no lock held */
void fl_migration_wait(struct fl_mm *mm, uint32_t seen);
/* Move the pages of a range of one mapping out to the swap area. Returns how many; -EOPNOTSUPP. => as above */
int64_t fl_swap_out_range(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end);
/* Bring one back in. -ENOMEM; the entry is then as it was. => mmap_lock and page-table lock held */
int fl_swap_in(struct fl_mm *mm, struct fl_vma *vma, const struct fl_slot *slot);

/* ---- the access sampler (sample.c) ---- */

/* Watch [start, end), from now on until it is stopped: pages there lose all rights until they are touched. */
int fl_sample_range(struct fl_mm *mm, uint64_t start, uint64_t end, bool on);
/*
 * Which pages of [start, end) were touched since the last look: vec[i] is 1 or 0. Looking arms them again.
 * -EINVAL: not all of it is watched. => no lock held
 */
int64_t fl_sample_collect(struct fl_mm *mm, uint64_t start, uint64_t end, uint8_t *vec);

/* ---- ranges (mmap.c) ---- */

/*
 * A part of what a leaf at addr maps is about to differ from the rest, if there is one. It becomes 512 entries that
 * say the same. But the pages of a file are found again in its cache: there it is dropped, as by the kernel (Linux
 * 6.18, observed), and nothing takes its place, or, if `table`, an empty one. => mmap_lock and page-table lock held
 */
void fl_leaf_break(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, bool table);

/* Drop the entries of a range inside one mapping, and their pages. => mmap_lock held, no page-table lock */
void fl_zap_range(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end);
/* The same for MADV_DONTNEED: what is write-protected of a file stays so, as a marker, until it is there again. */
void fl_zap_advised(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end);
/*
 * The same when a file loses its pages, with markers kept; without `cow` private copies of them stay. => the file's
 * lock held as well
 */
void fl_zap_file_range(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end, bool cow);
/* The present entry of a shared page that has left its file unseen (fl_file_ops.untold). => page-table lock held */
void fl_zap_gone(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, fl_pte_t *ptep);
/* Zap and forget [start, end): mappings, tables, frames. Uses up to two reserved. => mmap_lock held for writing */
void fl_do_munmap(struct fl_mm *mm, uint64_t start, uint64_t end);
/*
 * mprotect on the mappings of [start, end), which the caller has found complete. Uses up to two reserved; as above.
 */
void fl_do_mprotect(struct fl_mm *mm, uint64_t start, uint64_t end, uint32_t access);
/* No right to a page of the range is cached any more. => mmap_lock held for writing */
void fl_hide_range(struct fl_mm *mm, uint64_t start, uint64_t end);
/*
 * Moving, for mremap(): first the tables for the entries of [old, old + len) at their new place (-ENOMEM, with
 * nothing changed), then the entries, without their uffd-wp. `rehome`: frames have homes, and the backend has copied
 * the contents to the new ones.
 * => mmap_lock held for writing
 */
int fl_move_prepare(struct fl_mm *mm, uint64_t old, uint64_t new, uint64_t len);
void fl_move_entries(struct fl_mm *mm, uint64_t old, struct fl_vma *new_vma, uint64_t new, uint64_t len, bool rehome);

/* ---- what a program sees of its pages (pagemap.c) ---- */

/* Is a present page the program's alone, in the kernel's eyes? => mmap_lock held */
bool fl_page_exclusive(struct fl_mm *mm, fl_pte_t pte);
/*
 * Overwrite the words of /proc/self/pagemap of those pages of [addr, addr + nr pages) that are ours. => no lock held
 */
void fl_pagemap(struct fl_mm *mm, uint64_t addr, uint64_t nr, uint64_t *words);
/* No page is soft-dirty any more, and writes are noted from now on. 0, -ENOMEM. => no lock held, signals blocked */
int fl_clear_soft_dirty(struct fl_mm *mm);

/* ---- the checker (check.c) ---- */

/* Number of violations; `say` gets a line for each. => no lock held */
int fl_mm_verify(struct fl_mm *mm, void (*say)(const char *invariant, uint64_t addr));

#endif

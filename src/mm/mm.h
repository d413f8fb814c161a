/* SPDX-License-Identifier: MIT */
/*
 * mm.h - the memory manager: address spaces, mappings, page tables, faults, fills, protection. A header for each
 * module; this one has what is common to all, birth and death of an address space, and includes the others.
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
 * does not say so (all private memory, for which copy-on-write is to be asked first), only
 * fl_can_change_pte_writable() decides.
 *
 * LOCK ORDER (ranks of base/lock.h, asserted by base/rank.h): mmap_lock > a pin on a mapping > a file's lock >
 * pt_lock[] > the lock of a space's userfaultfd objects > an object's queue lock > the backend's locks > that of the
 * kept descriptors > the allocator's. No two of one rank are held at once: not the mmap_locks of parent and child in
 * a fork, not two mappings, not two page-table locks when entries move (the mover has sole access). mmap_lock is
 * taken for writing to change mappings, for reading to look at several; it is not taken twice. A fault or fill pins
 * one mapping, and takes mmap_lock only to look it up (mmap_lock.c has the theory). Wherever a comment asks for
 * mmap_lock without "for writing", a pin on the mapping is enough. One page-table lock covers the entries of 2 MiB.
 * Signals are blocked while any lock is held (fl_signals_block), and client memory is not touched, except by the
 * frames.fill() of a backend, which reads it with page faults disabled.
 *
 * A missing page's message is queued under the page-table lock that its fill will take: between the look at the entry
 * and the sleep there is no moment in which a fill would find no thread to wake. The same holds for a write-protect
 * fault and its un-protect.
 *
 * INVARIANTS, walked by fl_mm_verify():
 *   I1  mappings are sorted and disjoint, not empty, page-aligned, below TASK_SIZE; what can merge has merged
 *   I2  a VM_UFFD flag is set if and only if the mapping has a userfaultfd object
 *   I3  vm_page_prot is what the flags make of it
 *   I4  every entry that is not none lies inside a mapping that is not VM_RELEASED
 *   I5  an entry with uffd-wp, of whatever kind and level, is not writable, and lies in a mapping registered for
 *       write-protection; a marker has uffd-wp
 *   I6  a writable entry's mapping allows writing, and the entry is dirty: a store that it lets through is not lost
 *       to soft-dirty; with the hint it is not writable
 *   I7  a present entry's folio has a reference for it, and its mapcount is the number of entries that map it; of a
 *       writable private entry it is the only one
 *   I8  the backend caches no right that the entry does not grant; of memory in place an absent entry grants what
 *       the mapping allows, without writing where soft-dirty is tracked
 *   I9  a leaf lies inside one mapping, its frames are aligned as it is, and for each leaf a table is deposited; in a
 *       mapping of a file all its pages are the file's, and it has no uffd-wp
 */
#ifndef FL_MM_MM_H
#define FL_MM_MM_H

/* clang-format off */ /* in their order: none knows of what comes after it */
#include "base/signals.h"
#include "mm/check.h"
#include "mm/claim.h"
#include "mm/fault.h"
#include "mm/file.h"
#include "mm/fill.h"
#include "mm/folio.h"
#include "mm/fork.h"
#include "mm/guard.h"
#include "mm/huge.h"
#include "mm/kind.h"
#include "mm/migrate.h"
#include "mm/mmap_lock.h"
#include "mm/mmu.h"
#include "mm/mprotect.h"
#include "mm/mremap.h"
#include "mm/munmap.h"
#include "mm/pagemap.h"
#include "mm/pgtable.h"
#include "mm/protect.h"
#include "mm/pte.h"
#include "mm/right.h"
#include "mm/rmap.h"
#include "mm/sample.h"
#include "mm/source.h"
#include "mm/swap.h"
#include "mm/types.h"
#include "mm/uffd_ops.h"
#include "mm/vma.h"
#include "mm/vma_table.h"
#include "mm/zap.h"
/* clang-format on */

/*
 * An empty address space over a pool; the backend's data is its own. Until the first fl_mmap_write_unlock() the
 * caller has sole access to it. -ENOMEM.
 */
int fl_mm_init(struct fl_mm *mm, const struct fl_mmu_ops *ops, void *backend, const struct fl_pool *pool);
/* Free everything. => no other user; no userfaultfd object is left */
void fl_mm_exit(struct fl_mm *mm);

#endif

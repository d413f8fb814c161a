/* SPDX-License-Identifier: MIT */
/*
 * huge.c - leaves: where a PMD entry that maps 2 MiB comes from. A fault in a mapping that has asked for it
 * (MADV_HUGEPAGE), or a table whose pages are combined (MADV_COLLAPSE). In anonymous memory the 512 frames stay
 * folios of their own; a leaf is 512 entries in one, so splitting it allocates and moves nothing.
 *
 * A leaf in a mapping of a file is over one large folio of the file's cache. Collapsing makes the folio first, which
 * takes its pages out of all mappings, and then the leaf; any fault makes one where the folio exists already, and
 * nothing else is mapped.
 */
#include "mm/huge.h"

#include "mm/file.h"
#include "mm/folio.h"
#include "mm/mmap_lock.h"
#include "mm/pgtable.h"
#include "mm/protect.h"
#include "mm/rmap.h"
#include "mm/vma.h"
#include "mm/zap.h"

#include <string.h>

static void put_frames(struct fl_mm *mm, uint64_t pfn, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++)
		fl_folio_put(mm, pfn + i);
}

/* ---- a fault ---- */

/* Put a leaf of zeros there. => page-table lock held */
static bool set_zeros(struct fl_vmf *vmf, fl_pmd_t *pmdp, uint64_t base, uint64_t *table)
{
	struct fl_mm *mm = vmf->mm;
	uint64_t pfn;
	fl_pte_t pte;

	if (!pmd_none(pmdp_get_lockless(pmdp)))
		return false;
	pfn = mm->ops->frames.get_huge(mm, vmf->vma, base);
	if (pfn == FL_PFN_NONE)
		return false;
	if (mm->ops->frames.zero(mm, pfn, PTRS_PER_TABLE)) {
		put_frames(mm, pfn, PTRS_PER_TABLE);
		return false;
	}
	for (unsigned i = 0; i < PTRS_PER_TABLE; i++)
		fl_folio(mm, pfn + i)->mapcount = 1;
	pte = fl_pte_upgrade(mm, vmf->vma, pte_make(pfn, vmf->vma), PTRS_PER_TABLE);
	if (fl_pmd_set_leaf(mm, pmdp, base, pte, table))
		return true;
	for (unsigned i = 0; i < PTRS_PER_TABLE; i++)
		fl_folio(mm, pfn + i)->mapcount = 0;
	put_frames(mm, pfn, PTRS_PER_TABLE);
	return false;
}

bool fl_huge_anonymous_fault(struct fl_vmf *vmf)
{
	uint64_t base = PMD_ALIGN_DOWN(vmf->addr), *table;
	struct fl_mutex *ptl = fl_pt_lock(vmf->mm, base);
	fl_pmd_t *pmdp;
	bool done;

	if (!(vmf->vma->flags & VM_HUGEPAGE) || base < vmf->vma->start || base + PMD_SIZE > vmf->vma->end)
		return false;
	pmdp = fl_pmd_alloc(vmf->mm, base);
	if (!pmdp || !pmd_none(pmdp_get_lockless(pmdp)))
		return false;
	table = fl_pgtable_spare(vmf->mm);
	if (!table)
		return false;
	fl_mutex_lock(ptl);
	done = set_zeros(vmf, pmdp, base, table);
	fl_mutex_unlock(ptl);
	if (!done)
		fl_pgtable_spare_free(vmf->mm, table);
	return done;
}

/* ---- collapse ---- */

/*
 * The bits that the pages of a table have together; -errno if they cannot be one. The first obstacle decides. `full`:
 * only if all are present.
 */
static int can_collapse(struct fl_mm *mm, const struct fl_vma *vma, const fl_pte_t *ptes, bool full, fl_pte_t *all)
{
	bool whole = full || (vma->flags & VM_UFFD); /* a message about a page that is missing may still be to come */
	unsigned present = 0;

	*all = (fl_pte_t){0};
	for (unsigned i = 0; i < PTRS_PER_TABLE; i++) {
		fl_pte_t pte = ptep_get(&ptes[i]);

		if (pte_swap(pte) || pte_migration(pte))
			return -EAGAIN;
		if (pte_uffd_wp(pte))
			return -EINVAL;
		if (whole && (pte_none(pte) || (pte_zero(pte) && mm->ops->frames.is_zero(mm, pte_pfn(pte)))))
			return -EBUSY;
		present += pte_present(pte);
		all->val |= pte.val & (PTE_YOUNG | PTE_DIRTY | PTE_SOFT_DIRTY | PTE_HINT); /* not PTE_ZERO */
	}
	return present ? 0 : -EINVAL;
}

/* Where frames have homes: those of the pages that are missing join the others. */
int fl_gather_homes(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, const fl_pte_t *ptes, uint64_t *head)
{
	for (unsigned i = 0; i < PTRS_PER_TABLE; i++) {
		uint64_t at = addr + ((uint64_t)i << PAGE_SHIFT), pfn;

		if (pte_present(ptep_get(&ptes[i])))
			continue;
		pfn = mm->ops->frames.get(mm, vma, at);
		if (pfn == FL_PFN_NONE || mm->ops->frames.zero(mm, pfn, 1)) {
			if (pfn != FL_PFN_NONE)
				fl_folio_put(mm, pfn);
			while (i--)
				if (!pte_present(ptep_get(&ptes[i])))
					fl_folio_put(mm, *head + i);
			return -ENOMEM;
		}
		*head = pfn - i;
	}
	if (pte_present(ptep_get(&ptes[0])))
		*head = pte_pfn(ptep_get(&ptes[0]));
	return 0;
}

/* Without homes: 512 new frames, and the old ones are freed. */
int fl_gather_copies(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, const fl_pte_t *ptes, uint64_t *head)
{
	uint64_t pfn = mm->ops->frames.get_huge(mm, vma, addr);

	if (pfn == FL_PFN_NONE)
		return -ENOMEM;
	for (unsigned i = 0; i < PTRS_PER_TABLE; i++) {
		fl_pte_t pte = ptep_get(&ptes[i]);

		if (pte_present(pte))
			memcpy(fl_kmap_local(mm, pfn + i), fl_kmap_local(mm, pte_pfn(pte)), PAGE_SIZE);
		else
			memset(fl_kmap_local(mm, pfn + i), 0, PAGE_SIZE);
	}
	for (unsigned i = 0; i < PTRS_PER_TABLE; i++) {
		fl_pte_t pte = ptep_get(&ptes[i]);

		if (!pte_present(pte))
			continue;
		fl_folio_unmapped(fl_folio(mm, pte_pfn(pte)));
		fl_folio_put(mm, pte_pfn(pte));
	}
	*head = pfn;
	return 0;
}

/* There is a leaf already; the program may not know. */
static int ask_for(fl_pmd_t *pmdp, fl_pmd_t leaf)
{
	if (!pte_unasked(pmd_pte(leaf)))
		return 0;
	if (pte_uffd_wp(pmd_pte(leaf)))
		return -EINVAL; /* as of the small pages that it believes to be there */
	entry_write(&pmdp->val, pte_pmd(pmd_pte_at(leaf, 0)).val);
	return 0;
}

/* One aligned 2 MiB. => page-table lock held */
static int collapse(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, bool full)
{
	fl_pmd_t *pmdp = fl_pmd_offset(mm, addr);
	fl_pmd_t pmd = pmdp ? pmdp_get_lockless(pmdp) : (fl_pmd_t){0};
	fl_pte_t all, pte;
	uint64_t head = 0;
	int err;

	if (pmd_leaf(pmd))
		return ask_for(pmdp, pmd);
	if (pmd_none(pmd))
		return -EINVAL;
	err = can_collapse(mm, vma, pmd_ptes(pmd), full, &all);
	if (!err)
		err = vma->kind->gather(mm, vma, addr, pmd_ptes(pmd), &head);
	if (err)
		return err;
	for (unsigned i = 0; i < PTRS_PER_TABLE; i++)
		fl_folio(mm, head + i)->mapcount = 1;
	pte = (fl_pte_t){pte_make(head, vma).val | all.val};
	pte = fl_pte_upgrade(mm, vma, pte, PTRS_PER_TABLE);
	fl_pmd_collapse(mm, addr, full ? (fl_pte_t){pte.val | PTE_UNASKED} : pte);
	mm->ops->rights.invalidate(mm, vma, addr, addr + PMD_SIZE, pte_right(pte, vma));
	return 0;
}

/* Linux 6.18, observed: a part without an aligned address in it is no 2 MiB; one that begins and ends at one is 0 */
static bool may_collapse(const struct fl_vma *vma, uint64_t start, uint64_t end)
{
	return PMD_ALIGN(vma->start) + PMD_SIZE <= vma->end && PMD_ALIGN(start) <= PMD_ALIGN_DOWN(end) &&
	       !(vma->flags & VM_NOHUGEPAGE);
}

int fl_collapse_anonymous(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end)
{
	int ret = 0;

	if (!may_collapse(vma, start, end))
		return -EINVAL;
	for (uint64_t addr = PMD_ALIGN(start); addr + PMD_SIZE <= end; addr += PMD_SIZE) {
		struct fl_mutex *ptl = fl_pt_lock(mm, addr);
		int err;

		fl_mutex_lock(ptl);
		err = collapse(mm, vma, addr, false);
		fl_mutex_unlock(ptl);
		if (err && !ret)
			ret = err;
	}
	return ret;
}

void fl_collapse_full(struct fl_mm *mm, struct fl_vma *vma)
{
	for (uint64_t addr = PMD_ALIGN(vma->start); addr + PMD_SIZE <= vma->end; addr += PMD_SIZE)
		if (fl_pte_offset(mm, addr)) {
			fl_mutex_lock(fl_pt_lock(mm, addr)); /* others use its deposits */
			collapse(mm, vma, addr, true);
			fl_mutex_unlock(fl_pt_lock(mm, addr));
		}
}

/* ---- of a file ---- */

/* Are the 2 MiB at addr all the mapping's, and 2 MiB of its file, too? */
static bool aligned_alike(const struct fl_vma *vma, uint64_t addr)
{
	return addr >= vma->start && addr + PMD_SIZE <= vma->end &&
	       fl_vma_page_index(vma, addr) % PTRS_PER_TABLE == 0;
}

/* => file's lock held */
static uint64_t find_large(struct fl_vma *vma, uint64_t addr)
{
	return vma->file->ops->find_large(vma->file, vma, addr, fl_vma_page_index(vma, addr));
}

/* Where pages have homes a private mapping has copies, which count as the file's until one is written to. */
bool fl_read_large(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, uint64_t pfn)
{
	uint64_t first = fl_vma_page_index(vma, addr);

	for (unsigned i = 0; i < PTRS_PER_TABLE; i++)
		if (vma->file->ops->read(vma->file, first + i, pfn + i))
			return false; /* nothing is known of the frames yet */
	for (unsigned i = 0; i < PTRS_PER_TABLE; i++)
		fl_folio(mm, pfn + i)->mapping = vma->file;
	return true;
}

/*
 * The entry of a leaf over the folio, counted for it; none: no memory, or another process has just removed a page.
 * The frames are looked up here, since frames freed a moment ago may no longer know their file. => file's lock and
 * page-table lock held
 */
static fl_pte_t map_large(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr)
{
	uint64_t pfn = find_large(vma, addr);

	if (pfn == FL_PFN_NONE || (vma->kind->read_large && !vma->kind->read_large(mm, vma, addr, pfn)))
		return (fl_pte_t){0};
	for (unsigned i = 0; i < PTRS_PER_TABLE; i++)
		fl_folio_map(mm, pfn + i);
	return pte_make(pfn, vma);
}

static void unmap_large(struct fl_mm *mm, fl_pte_t pte)
{
	for (unsigned i = 0; i < PTRS_PER_TABLE; i++)
		fl_folio_unmapped(fl_folio(mm, pte_pfn(pte) + i));
	put_frames(mm, pte_pfn(pte), PTRS_PER_TABLE);
}

/* => the file's lock held */
static bool set_cached(struct fl_vmf *vmf, uint64_t base)
{
	struct fl_vma *vma = vmf->vma;
	struct fl_mm *mm = vmf->mm;
	fl_pmd_t *pmdp = fl_pmd_alloc(mm, base);
	uint64_t *table;
	fl_pte_t pte;
	bool done;

	if (!pmdp || !pmd_none(pmdp_get_lockless(pmdp)))
		return false;
	table = fl_pgtable_spare(mm);
	if (!table)
		return false;
	fl_mutex_lock(fl_pt_lock(mm, base));
	pte = map_large(mm, vma, base);
	done = pte_present(pte) &&
	       fl_pmd_set_leaf(mm, pmdp, base, fl_pte_upgrade(mm, vma, pte, PTRS_PER_TABLE), table);
	if (!done && pte_present(pte))
		unmap_large(mm, pte);
	fl_mutex_unlock(fl_pt_lock(mm, base));
	if (!done)
		fl_pgtable_spare_free(mm, table);
	return done;
}

bool fl_huge_cached_fault(struct fl_vmf *vmf)
{
	uint64_t base = PMD_ALIGN_DOWN(vmf->addr);
	struct fl_vma *vma = vmf->vma;
	bool done;

	/* what is asked page by page, or copied, is mapped page by page */
	if ((vma->flags & (VM_UFFD_MINOR | VM_NOHUGEPAGE)) || !aligned_alike(vma, base) ||
	    ((vmf->flags & FAULT_WRITE) && !(vma->flags & VM_SHARED)))
		return false;
	fl_vma_lock_file(vma);
	done = find_large(vma, base) != FL_PFN_NONE && set_cached(vmf, base);
	fl_vma_unlock_file(vma);
	return done;
}

/* Does a mapping of some of the pages wait for those that are missing? => file->lock held */
static bool waited_for(const struct fl_file *file, uint64_t first)
{
	for (const struct fl_list *pos = file->vmas.next; pos != &file->vmas; pos = pos->next) {
		const struct fl_vma *vma = fl_list_entry(pos, const struct fl_vma, by_file);

		if ((vma->flags & VM_UFFD_MISSING) && vma->index < first + PTRS_PER_TABLE &&
		    first < vma->index + PAGES(vma->end - vma->start))
			return true;
	}
	return false;
}

/*
 * Once the pages are in no mapping they can be found only in the cache, which takes the file's lock; a thread that
 * was faster and has mapped one again makes it fail.
 */
int fl_collapse_cache(struct fl_file *file, uint64_t first)
{
	int err;

	fl_unmap_for_collapse(file, first);
	fl_mutex_lock(&file->lock);
	err = file->ops->collapse(file, first, waited_for(file, first));
	fl_mutex_unlock(&file->lock);
	return err;
}

/* Has a private mapping a page of its own there? => mmap_lock held for writing */
static bool has_copies(const struct fl_mm *mm, uint64_t addr)
{
	const fl_pte_t *ptes = fl_pte_offset(mm, addr);

	for (unsigned i = 0; ptes && i < PTRS_PER_TABLE; i++) {
		fl_pte_t pte = ptep_get(&ptes[i]);

		if (pte_present(pte) ? !fl_page_mapping(mm, pte_pfn(pte)) : !pte_no_page(pte))
			return true;
	}
	return false;
}

int fl_map_large(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr)
{
	fl_pte_t pte;

	fl_mutex_lock(fl_pt_lock(mm, addr));
	pte = map_large(mm, vma, addr);
	if (pte_present(pte))
		fl_pmd_collapse(mm, addr, fl_pte_upgrade(mm, vma, pte_mkdirty(pte), PTRS_PER_TABLE));
	fl_mutex_unlock(fl_pt_lock(mm, addr));
	return pte_present(pte) ? 0 : -ENOMEM;
}

/* The leaf, in place of what is there. => mmap_lock held for writing, the file's lock */
static int replace_by_leaf(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr)
{
	if ((vma->flags & VM_UFFD_WP) || has_copies(mm, addr))
		return -EINVAL;
	if (fl_pte_alloc(mm, addr))
		return -ENOMEM;
	fl_zap_file_range(mm, vma, addr, addr + PMD_SIZE, false);
	if (fl_map_large(mm, vma, addr))
		return -ENOMEM;
	fl_mutex_lock(fl_pt_lock(mm, addr));
	mm->ops->rights.grant(mm, vma, addr, PTRS_PER_TABLE, pte_right(fl_pte_get(mm, addr), vma));
	fl_mutex_unlock(fl_pt_lock(mm, addr));
	return 0;
}

/* Map the folio with a leaf. -EAGAIN: the cache has no large folio there. => no lock held */
static int map_piece(struct fl_mm *mm, struct fl_file *file, uint64_t addr, uint64_t first)
{
	int err = -EINVAL; /* it is another mapping by now */
	struct fl_vma *vma;

	fl_mmap_write_lock(mm);
	vma = fl_vma_lookup(mm, addr);
	if (vma && vma->file == file && aligned_alike(vma, addr) && fl_vma_page_index(vma, addr) == first) {
		fl_vma_lock_file(vma);
		if (fl_slot_at(mm, addr).pmdp)
			err = 0;
		else
			err = find_large(vma, addr) == FL_PFN_NONE ? -EAGAIN : replace_by_leaf(mm, vma, addr);
		fl_vma_unlock_file(vma);
	}
	fl_mmap_write_unlock(mm);
	return err;
}

static int collapse_file(struct fl_mm *mm, struct fl_file *file, uint64_t addr, uint64_t first)
{
	int err = first % PTRS_PER_TABLE ? -EINVAL : map_piece(mm, file, addr, first);

	if (err != -EAGAIN)
		return err;
	err = fl_collapse_cache(file, first);
	return err ? err : map_piece(mm, file, addr, first);
}

/* One mapping's part of [*at, end), which begins after it then. */
static int collapse_part(struct fl_mm *mm, uint64_t *at, uint64_t end)
{
	struct fl_file *file = NULL;
	uint64_t addr = 0, index = 0;
	struct fl_vma *vma;
	int err = 0;

	fl_mmap_write_lock(mm);
	vma = fl_find_vma(mm, *at);
	if (vma && vma->start < end) {
		addr = fl_max(*at, vma->start);
		end = fl_min(end, vma->end);
		if (vma->kind->leaf == FL_LEAF_SPLIT)
			err = fl_collapse_anonymous(mm, vma, addr, end);
		else if (vma->kind->leaf == FL_LEAF_NEVER || !may_collapse(vma, addr, end))
			err = -EINVAL;
		else
			fl_file_get(file = vma->file);
		addr = PMD_ALIGN(addr);
		index = fl_vma_page_index(vma, addr);
	}
	fl_mmap_write_unlock(mm);
	*at = end;
	if (!file)
		return err;
	for (; addr + PMD_SIZE <= end && !err; addr += PMD_SIZE, index += PTRS_PER_TABLE)
		err = collapse_file(mm, file, addr, index);
	fl_mmap_write_lock(mm); /* no other thread may know it any longer */
	fl_file_put(file);
	fl_mmap_write_unlock(mm);
	return err;
}

int fl_collapse(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	int err = 0;

	while (start < end && !err)
		err = collapse_part(mm, &start, end);
	return err;
}

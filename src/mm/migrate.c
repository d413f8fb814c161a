/* SPDX-License-Identifier: MIT */
/*
 * migrate.c - pages move to other frames. While the contents are copied, with no lock held, a migration entry stands
 * for the page: it grants nothing, a fault waits, and a change of protection changes what the entry will be. If it is
 * gone when the copy is done, the page was dropped meanwhile.
 */
#include "mm/migrate.h"

#include "mm/folio.h"
#include "mm/kind.h"
#include "mm/pgtable.h"
#include "mm/protect.h"
#include "mm/zap.h"

#include <string.h>

/* Returns the old frame, which the caller now owns; FL_PFN_NONE: not a page that can move. => page-table lock held */
static uint64_t unmap(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, uint64_t *new)
{
	fl_pte_t *ptep = fl_pte_movable(mm, vma, addr);
	fl_pte_t old = ptep ? ptep_get(ptep) : (fl_pte_t){0};
	struct fl_folio *folio = fl_folio(mm, pte_pfn(old));

	*new = 0;
	if (!pte_present(old) || fl_page_mapping(mm, pte_pfn(old)) || !fl_folio_alone(folio))
		return FL_PFN_NONE;
	*new = mm->ops->frames.get(mm, vma, addr);
	if (*new == FL_PFN_NONE)
		return FL_PFN_NONE;
	set_pte(ptep, mk_migration_pte(old));
	mm->ops->rights.invalidate(mm, vma, addr, addr + PAGE_SIZE, FL_RIGHT_NONE);
	folio->mapcount = 0;
	return pte_pfn(old);
}

/* Returns whether the page was still there. => page-table lock held */
static bool remap(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, uint64_t old, uint64_t new)
{
	fl_pte_t *ptep = fl_pte_offset(mm, addr), pte = ptep ? ptep_get(ptep) : (fl_pte_t){0};

	if (!pte_migration(pte) || pte_pfn(pte) != old)
		return false;
	fl_folio(mm, new)->mapcount = 1;
	set_pte(ptep, fl_pte_upgrade(mm, vma, pte_present_again(new, pte), 1));
	return true;
}

static int migrate(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr)
{
	struct fl_mutex *ptl = fl_pt_lock(mm, addr);
	uint64_t old, new;
	bool moved;

	fl_mutex_lock(ptl);
	old = unmap(mm, vma, addr, &new);
	fl_mutex_unlock(ptl);
	if (old == FL_PFN_NONE)
		return new == FL_PFN_NONE ? -ENOMEM : 0;
	memcpy(fl_kmap_local(mm, new), fl_kmap_local(mm, old), PAGE_SIZE);
	fl_mutex_lock(ptl);
	moved = remap(mm, vma, addr, old, new);
	fl_folio_put(mm, moved ? old : new);
	if (!moved)
		fl_folio_put(mm, old);
	fl_mutex_unlock(ptl);
	fl_yield_point(&mm->migrations);
	__atomic_fetch_add(&mm->migrations, 1, __ATOMIC_RELEASE);
	fl_futex_wake(&mm->migrations, INT32_MAX);
	return moved;
}

int64_t fl_migrate_range(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end)
{
	int64_t done = 0;

	if (!vma->kind->migrates)
		return -EOPNOTSUPP;
	fl_for_each_pmd(mm, addr, next, start, end)
		for (; addr < next; addr += PAGE_SIZE) {
			int ret = migrate(mm, vma, addr);

			if (ret < 0)
				return ret;
			done += ret;
		}
	return done;
}

void fl_migration_wait(struct fl_mm *mm, uint32_t seen)
{
	fl_futex_wait(&mm->migrations, seen, 0);
}

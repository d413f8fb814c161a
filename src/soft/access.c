/* SPDX-License-Identifier: MIT */
/*
 * access.c - one load or store: walk, check the right, copy, all under the page-table lock; else fault and try again.
 */
#include "soft/soft.h"

#include "base/uaccess.h"

/*
 * Copy inside one page, if the entry grants it; *done: as far as possible with page faults disabled, for the caller's
 * buffer may be hidden. => no lock held
 */
static bool access_page(struct fl_mm *mm, uint64_t addr, void *buf, size_t len, bool write, size_t *done)
{
	struct fl_mutex *ptl = fl_pt_lock(mm, addr);
	struct fl_vma *vma;
	fl_pte_t pte;
	bool ok;

	vma = fl_vma_pin(mm, addr);
	if (!vma)
		return false;
	fl_mutex_lock(ptl);
	pte = fl_pte_get(mm, addr);
	ok = pte_right(pte, vma) >= (write ? FL_RIGHT_WRITE : FL_RIGHT_READ);
	if (ok) {
		char *mem = (char *)fl_kmap_local(mm, pte_pfn(pte)) + (addr & ~PAGE_MASK);

		*done = len - fl_copy_nofault(write ? mem : buf, write ? buf : mem, len);
	}
	fl_mutex_unlock(ptl);
	fl_vma_unpin(vma);
	return ok;
}

enum fl_fault fl_soft_access(struct fl_mm *mm, uint64_t addr, void *buf, size_t len, uint32_t fault_flags,
			     const uint64_t *sigmask, size_t *done)
{
	bool write = fault_flags & FAULT_WRITE;

	*done = 0;
	while (*done < len) {
		uint64_t at = addr + *done;
		size_t n = (size_t)fl_min(PAGE_SIZE - (at & ~PAGE_MASK), (uint64_t)(len - *done)), copied;
		struct fl_vmf vmf = {.mm = mm, .addr = at, .flags = fault_flags, .sigmask = sigmask};
		enum fl_fault ret;

		if (at < TASK_SIZE && access_page(mm, at, (char *)buf + *done, n, write, &copied)) {
			*done += copied;
			if (copied < n &&
			    fl_fault_in_user((char *)buf + *done, !write)) /* what is loaded is stored there */
				return FL_SEGV;
			continue;
		}
		ret = at < TASK_SIZE ? fl_handle_mm_fault(&vmf) : FL_SEGV;
		if (ret != FL_DONE)
			return ret == FL_SIGBUS ? FL_SIGBUS : FL_SEGV;
	}
	return FL_DONE;
}

/* SPDX-License-Identifier: MIT */
/* source.c - memory of a soft address space as the source of a fill. */
#include "soft/soft.h"

#include <string.h>

/*
 * The frame behind a readable page of the client, with a reference, or FL_PFN_NONE. The page-table lock of the source
 * must not be taken: the destination's is held, and they may be the same or cross. The reference keeps the frame; a
 * second look at the entry makes sure that it was still the page's when the reference was taken.
 */
static uint64_t source_frame(struct fl_mm *mm, const struct fl_vma *vma, uint64_t addr)
{
	fl_pte_t pte = (fl_vma_access(vma) & VM_READ) ? fl_pte_get(mm, addr) : (fl_pte_t){0}, again;

	fl_yield_point(fl_pt_lock(mm, addr)); /* its holder may change the entry, and free the frame */
	if (!pte_present(pte) || pte_hint(pte) || !fl_folio_try_get(fl_folio(mm, pte_pfn(pte))))
		return FL_PFN_NONE;
	fl_yield_point(fl_pt_lock(mm, addr));
	again = fl_pte_get(mm, addr);
	if (pte_present(again) && pte_pfn(again) == pte_pfn(pte))
		return pte_pfn(pte);
	fl_folio_put(mm, pte_pfn(pte));
	return FL_PFN_NONE;
}

/* Read client memory as far as it is present; dst NULL: only check. */
static uint64_t read_client(struct fl_mm *mm, char *dst, uint64_t src, uint64_t len)
{
	uint64_t done = 0;

	while (done < len) {
		uint64_t offset = (src + done) & ~PAGE_MASK, n = fl_min(PAGE_SIZE - offset, len - done),
			 pfn = FL_PFN_NONE;
		struct fl_vma *vma = fl_vma_trypin(mm, src + done); /* perhaps another than the destination's */

		if (vma && vma->start <= src + done)
			pfn = source_frame(mm, vma, src + done);
		if (vma)
			fl_vma_put(vma);
		if (pfn == FL_PFN_NONE)
			break;
		if (dst)
			memcpy(dst + done, (char *)fl_kmap_local(mm, pfn) + offset, (size_t)n);
		fl_folio_put(mm, pfn);
		done += n;
	}
	return done;
}

static uint64_t source_read(struct fl_mm *mm, void *to, uint64_t src, uint64_t len)
{
	return read_client(mm, to, src, len);
}

static uint64_t probe(struct fl_mm *mm, uint64_t src, uint64_t len)
{
	return read_client(mm, NULL, src, len);
}

static int fault_in(struct fl_mm *mm, uint64_t src)
{
	size_t done;
	char byte;

	return fl_soft_access(mm, src, &byte, 1, FAULT_KERNEL, NULL, &done) == FL_DONE ? 0 : -EFAULT;
}

const struct fl_source fl_soft_source = {.read = source_read, .probe = probe, .fault_in = fault_in};

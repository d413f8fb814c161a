/* SPDX-License-Identifier: MIT */
/* mprotect.c - mprotect(2): first what the mappings allow, then what their entries grant. */
#include "mm/mprotect.h"

#include "mm/protect.h"
#include "mm/vma.h"

void fl_do_mprotect(struct fl_mm *mm, uint64_t start, uint64_t end, uint32_t access)
{
	struct fl_vma *vma;
	uint32_t i;

	fl_vma_split(mm, start);
	fl_vma_split(mm, end);
	fl_for_each_vma(mm, vma, i, start, end) {
		uint32_t old = vma->flags;

		fl_vma_set(vma, (old & ~VM_ACCESS) | access, vma->ctx);
		if (vma->flags == old)
			continue;
		while (((old ^ access) & VM_EXEC) && !(old & VM_RELEASED) && mm->ops->rights.conform &&
		       mm->ops->rights.conform(mm, vma))
			; /* taking the right to execute away has no alternative */
		/* writable again at once what was writable before: it changes no right that the mapping has kept */
		fl_change_protection(mm, vma, vma->start, vma->end, MM_CP_TRY_CHANGE_WRITABLE);
	}
	fl_vma_merge(mm, start, end);
}

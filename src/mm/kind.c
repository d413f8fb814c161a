/* SPDX-License-Identifier: MIT */
/* kind.c - kinds of memory. */
#include "mm/file.h"
#include "mm/folio.h"
#include "mm/source.h"

uint64_t fl_map_cached(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, uint64_t pfn, bool copy)
{
	struct fl_file *file = vma->file;
	uint64_t own;
	bool ok;

	copy = copy && !(vma->flags & VM_SHARED);
	if (!copy && !(mm->ops->homes && !(vma->flags & VM_SHARED))) {
		fl_folio_map(mm, pfn);
		return pfn;
	}
	own = mm->ops->frame_get(mm, vma, addr);
	if (own == FL_PFN_NONE)
		return own;
	if (mm->ops->homes)
		ok = file->ops->read(file, fl_vma_page_index(vma, addr), own) == 0;
	else
		ok = fl_frame_copy(mm, own, pfn) == 0;
	if (!ok) {
		fl_folio_put(mm, own);
		return FL_PFN_NONE;
	}
	fl_folio(mm, own)->mapcount = 1;
	fl_folio(mm, own)->mapping = copy ? NULL : file;
	return own;
}

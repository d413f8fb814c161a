/* SPDX-License-Identifier: MIT */
/* writeprotect.c - UFFDIO_WRITEPROTECT below the ABI: over one mapping without mmap_lock, over several with it. */
#include "uffd/uffd.h"

#include "host/count.h"

/* A gap between mappings is a hole, unless the host has a mapping there: then it is memory that is not registered. */
static int check_gap(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	return fl_claim_hosts(mm, start, end) ? -ENOENT : 0;
}

/*
 * Linux 6.18, observed: whether empty anonymous memory is marked depends on the object that has registered it. A
 * file's always is: a page that is not in the tables may be in its cache.
 */
static uint32_t cp_flags(const struct fl_vma *vma, bool protect)
{
	if (!protect)
		return MM_CP_UFFD_WP_RESOLVE | MM_CP_TRY_CHANGE_WRITABLE;
	if (vma->kind->keeps_marker ||
	    (__atomic_load_n(&vma->ctx->features, __ATOMIC_RELAXED) & FL_UFFD_FEATURE_WP_UNPOPULATED))
		return MM_CP_UFFD_WP | MM_CP_UFFD_WP_MARKERS;
	return MM_CP_UFFD_WP;
}

/* Where empty memory is left out, it is to be known what is empty. */
static int64_t change(struct fl_vma *vma, uint64_t start, uint64_t end, uint32_t cp)
{
	int err = 0;

	if ((cp & (MM_CP_UFFD_WP | MM_CP_UFFD_WP_MARKERS)) == MM_CP_UFFD_WP)
		err = fl_claim_look(vma->mm, vma, start, end);
	return err ? err : fl_change_protection(vma->mm, vma, start, end, cp);
}

/* What one mapping has of the range. => it is pinned, or mmap_lock held */
static int protect_part(struct fl_vma *vma, uint64_t start, uint64_t end, bool protect, int64_t *changed)
{
	int64_t ret = -ENOENT;

	start = fl_max(start, vma->start);
	end = fl_min(end, vma->end);
	if ((vma->flags & VM_UFFD_WP) && !fl_unit_aligned(vma->kind, start | end))
		ret = -EINVAL;
	else if (vma->flags & VM_UFFD_WP)
		ret = change(vma, start, end, cp_flags(vma, protect));
	if (ret < 0)
		return (int)ret;
	*changed += ret;
	return 0;
}

/* More than one mapping, or a hole. */
static int protect_parts(struct fl_mm *mm, uint64_t start, uint64_t end, bool protect, int64_t *changed)
{
	struct fl_vma *vma;
	uint64_t at = start;
	int err = -ENOENT;
	uint32_t i;

	fl_mmap_read_lock(mm);
	fl_for_each_vma(mm, vma, i, start, end) {
		err = (vma->flags & VM_UFFD_WP) ? check_gap(mm, at, vma->start) : -ENOENT;
		if (!err)
			err = protect_part(vma, start, end, protect, changed);
		if (err) /* what came before it stays changed, as in the kernel */
			break;
		at = vma->end;
	}
	if (!err)
		err = check_gap(mm, at, end);
	fl_mmap_read_unlock(mm);
	return err;
}

int fl_ctx_writeprotect(struct fl_uffd_ctx *ctx, uint64_t start, uint64_t end, bool protect)
{
	struct fl_vma *vma = fl_vma_pin(ctx->mm, start);
	bool one = vma && vma->end >= end;
	int64_t changed = 0;
	int err = one ? protect_part(vma, start, end, protect, &changed) : 0;

	if (vma)
		fl_vma_unpin(vma);
	if (!one)
		err = protect_parts(ctx->mm, start, end, protect, &changed);
	if (protect)
		fl_count(wp_pages, changed);
	else
		fl_count(wp_resolved, changed);
	return err;
}

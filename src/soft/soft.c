/* SPDX-License-Identifier: MIT */
/* soft.c - soft address spaces, and the table of what this backend does for the memory manager. */
#include "soft/soft.h"

#include "base/alloc.h"
#include "base/uaccess.h"

#include <string.h>

static int frames_zero(struct fl_mm *mm, uint64_t pfn, uint64_t nr)
{
	if (fl_fail(FL_FP_FILL))
		return -ENOMEM;
	memset(fl_kmap_local(mm, pfn), 0, (size_t)(nr << PAGE_SHIFT));
	return 0;
}

/*
 * The frame behind a readable page of the client, with a reference, or FL_PFN_NONE. The page-table lock of the source
 * must not be taken: the destination's is held, and they may be the same or cross. The reference keeps the frame; the
 * second look at the entry makes sure that it was still the page's when the reference was taken.
 */
static uint64_t source_frame(struct fl_mm *mm, const struct fl_vma *vma, uint64_t addr)
{
	fl_pte_t pte = (fl_vma_access(vma) & VM_READ) ? fl_pte_get(mm, addr) : (fl_pte_t){0}, again;

	fl_yield_point(fl_pt_lock(mm, addr)); /* whoever has it may change the entry, and free the frame */
	if (!pte_present(pte) || pte_hint(pte) || !fl_folio_try_get(fl_folio(mm, pte_pfn(pte))))
		return FL_PFN_NONE;
	fl_yield_point(fl_pt_lock(mm, addr));
	again = fl_pte_get(mm, addr);
	if (pte_present(again) && pte_pfn(again) == pte_pfn(pte))
		return pte_pfn(pte);
	fl_folio_put(mm, pte_pfn(pte));
	return FL_PFN_NONE;
}

/* Read client memory as far as it is there; dst NULL only looks. */
static uint64_t read_client(struct fl_mm *mm, char *dst, uint64_t src, uint64_t len)
{
	uint64_t done = 0;

	while (done < len) {
		uint64_t offset = (src + done) & ~PAGE_MASK, n = fl_min(PAGE_SIZE - offset, len - done),
			 pfn = FL_PFN_NONE;
		struct fl_vma *vma = fl_vma_trypin(mm, src + done); /* it may be another one than the destination's */

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

static int64_t frames_fill(struct fl_mm *mm, uint64_t pfn, uint64_t src, uint64_t len, bool src_is_host)
{
	if (fl_fail(FL_FP_FILL))
		return -ENOMEM;
	if (!src_is_host)
		return (int64_t)read_client(mm, fl_kmap_local(mm, pfn), src, len);
	/* also memory of the process may be hidden, by the native address space */
	return (int64_t)(len - fl_copy_nofault(fl_kmap_local(mm, pfn), fl_ptr(src), (size_t)len));
}

static uint64_t probe(struct fl_mm *mm, uint64_t src, uint64_t len, bool src_is_host)
{
	return src_is_host ? fl_probe_nofault(src, len) : read_client(mm, NULL, src, len);
}

static void grant(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, uint64_t nr, enum fl_right right)
{
}

static void invalidate(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end, enum fl_right max)
{
}

static void unmapped(struct fl_mm *mm, uint64_t start, uint64_t end, uint64_t pgoff)
{
}

static bool caches(const struct fl_vma *vma, uint64_t addr, enum fl_right right)
{
	return false;
}

static const struct fl_mmu_ops soft_ops = {
	.name = "soft",
	.frame_get = fl_soft_frame_get,
	.huge_get = fl_soft_huge_get,
	.frame_put = fl_soft_frame_put,
	.frames_zero = frames_zero,
	.frames_fill = frames_fill,
	.probe = probe,
	.grant = grant,
	.invalidate = invalidate,
	.unmapped = unmapped,
	.frame_is_zero = fl_soft_frame_is_zero,
	.swap_get = fl_soft_swap_get,
	.swap_dup = fl_soft_swap_dup,
	.swap_free = fl_soft_swap_free,
	.swap_write = fl_soft_swap_write,
	.swap_read = fl_soft_swap_read,
	.caches = caches,
	.metadata = fl_soft_metadata,
};

static uint64_t nothing; /* the account of what no address space is charged with */

/* An empty address space over the pool, one of whose users it becomes: also if it fails, it is one no more. */
static int create(struct fl_soft_pool *pool, struct fl_soft **out)
{
	struct fl_soft *s = pool ? fl_alloc(&nothing, sizeof(*s), FL_FP_MM) : NULL;

	if (s && fl_mm_init(&s->mm, &soft_ops, s, &pool->pool) == 0) {
		s->pool = pool;
		*out = s;
		return 0;
	}
	fl_free(&nothing, s, sizeof(*s));
	if (pool)
		fl_soft_pool_put(pool);
	return -ENOMEM;
}

int fl_soft_create(uint64_t bytes, struct fl_soft **out)
{
	return create(fl_soft_pool_new(bytes), out);
}

int fl_soft_fork(struct fl_soft *parent, struct fl_soft **out)
{
	int err;

	fl_soft_pool_get(parent->pool);
	err = create(parent->pool, out);
	if (err)
		return err;
	err = fl_mm_copy(&(*out)->mm, &parent->mm);
	if (err)
		fl_soft_destroy(*out);
	return err;
}

void fl_soft_destroy(struct fl_soft *s)
{
	struct fl_soft_pool *pool = s->pool;

	fl_mm_exit(&s->mm);
	fl_free(&nothing, s, sizeof(*s));
	fl_soft_pool_put(pool);
}

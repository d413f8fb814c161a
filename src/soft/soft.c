/* SPDX-License-Identifier: MIT */
/* soft.c - a pool of plain memory, and the table of what this backend does for the memory manager. */
#include "soft/soft.h"

#include "base/alloc.h"

#include <string.h>

static struct fl_soft *soft_of(struct fl_mm *mm)
{
	return mm->backend;
}

static uint64_t take_frame(struct fl_soft *s)
{
	uint64_t pfn = s->free;

	if (pfn != FL_PFN_NONE)
		memcpy(&s->free, fl_kmap_local(&s->mm, pfn), sizeof(s->free));
	else if (s->fresh < s->mm.pool.nr_frames)
		pfn = s->fresh++;
	return pfn;
}

static uint64_t frame_get(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr)
{
	struct fl_soft *s = soft_of(mm);
	uint64_t pfn;

	if (fl_fail(FL_FP_FRAME))
		return FL_PFN_NONE;
	fl_mutex_lock(&s->lock);
	pfn = take_frame(s);
	fl_mutex_unlock(&s->lock);
	if (pfn != FL_PFN_NONE)
		__atomic_store_n(&fl_folio(mm, pfn)->refcount, 1, __ATOMIC_RELEASE);
	return pfn;
}

static void frame_put(struct fl_mm *mm, uint64_t pfn)
{
	struct fl_soft *s = soft_of(mm);

	fl_mutex_lock(&s->lock);
	memcpy(fl_kmap_local(mm, pfn), &s->free, sizeof(s->free));
	s->free = pfn;
	fl_mutex_unlock(&s->lock);
}

static int frames_zero(struct fl_mm *mm, uint64_t pfn, uint64_t nr)
{
	if (fl_fail(FL_FP_FILL))
		return -ENOMEM;
	memset(fl_kmap_local(mm, pfn), 0, (size_t)(nr << PAGE_SHIFT));
	return 0;
}

/*
 * The frame behind a readable page of the client, with a reference, or FL_PFN_NONE. The page-table lock of the source
 * must not be taken: the
 * destination's is held, and they may be the same or cross. The reference keeps the frame; the second look at the
 * entry
 * makes sure that it was still the page's when the reference was taken.
 */
static uint64_t source_frame(struct fl_mm *mm, uint64_t addr)
{
	struct fl_vma *vma = fl_vma_lookup(mm, addr);
	fl_pte_t *ptep = vma && (vma->vm_page_prot & VM_READ) ? fl_pte_offset(mm, addr) : NULL;
	fl_pte_t pte = ptep ? ptep_get(ptep) : (fl_pte_t){ 0 };

	if (!pte_present(pte) || !fl_folio_try_get(fl_folio(mm, pte_pfn(pte))))
		return FL_PFN_NONE;
	if (ptep_get(ptep).val >> PAGE_SHIFT == pte.val >> PAGE_SHIFT)
		return pte_pfn(pte);
	fl_folio_put(mm, pte_pfn(pte));
	return FL_PFN_NONE;
}

/* Read client memory as far as it is there; dst NULL only looks. */
static uint64_t read_client(struct fl_mm *mm, char *dst, uint64_t src, uint64_t len)
{
	uint64_t done = 0;

	while (done < len) {
		uint64_t offset = (src + done) & ~PAGE_MASK, n = fl_min(PAGE_SIZE - offset, len - done);
		uint64_t pfn = source_frame(mm, src + done);

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
	memcpy(fl_kmap_local(mm, pfn), fl_ptr(src), (size_t)len);
	return (int64_t)len;
}

static uint64_t probe(struct fl_mm *mm, uint64_t src, uint64_t len, bool src_is_host)
{
	return src_is_host ? len : read_client(mm, NULL, src, len);
}

static void grant(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, uint64_t nr, enum fl_right right)
{
}

static void invalidate(struct fl_mm *mm, uint64_t start, uint64_t end, enum fl_right max)
{
}

static void unmapped(struct fl_mm *mm, uint64_t start, uint64_t end, uint64_t pgoff)
{
}

static bool caches(struct fl_mm *mm, uint64_t addr, enum fl_right right)
{
	return false;
}

static uint64_t metadata(struct fl_mm *mm)
{
	return soft_of(mm)->fresh * sizeof(struct fl_folio) + sizeof(struct fl_soft);
}

static const struct fl_mmu_ops soft_ops = {
	.name = "soft",
	.frame_get = frame_get,
	.frame_put = frame_put,
	.frames_zero = frames_zero,
	.frames_fill = frames_fill,
	.probe = probe,
	.grant = grant,
	.invalidate = invalidate,
	.unmapped = unmapped,
	.caches = caches,
	.metadata = metadata,
};

static uint64_t nothing; /* the account of what no address space is charged with */

static void pool_free(struct fl_pool *pool)
{
	if (pool->base)
		fl_unreserve(pool->base, (size_t)(pool->nr_frames << PAGE_SHIFT));
	if (pool->folios)
		fl_unreserve(pool->folios, (size_t)pool->nr_frames * sizeof(*pool->folios));
}

int fl_soft_create(uint64_t bytes, struct fl_soft **out)
{
	struct fl_soft *s = fl_alloc(&nothing, sizeof(*s), FL_FP_MM);
	struct fl_pool pool = { .nr_frames = PAGES(PAGE_ALIGN(bytes)) };
	bool refused = fl_fail(FL_FP_POOL);

	if (s && !refused) {
		pool.base = fl_reserve((size_t)(pool.nr_frames << PAGE_SHIFT));
		pool.folios = fl_reserve((size_t)pool.nr_frames * sizeof(*pool.folios));
	}
	if (!s || !pool.base || !pool.folios || fl_mm_init(&s->mm, &soft_ops, s, &pool)) {
		pool_free(&pool);
		fl_free(&nothing, s, sizeof(*s));
		return -ENOMEM;
	}
	fl_mutex_init(&s->lock, FL_RANK_BACKEND);
	s->free = FL_PFN_NONE;
	*out = s;
	return 0;
}

void fl_soft_destroy(struct fl_soft *s)
{
	struct fl_pool pool = s->mm.pool;

	fl_mm_exit(&s->mm);
	pool_free(&pool);
	fl_free(&nothing, s, sizeof(*s));
}

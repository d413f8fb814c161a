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

static int64_t frames_fill(struct fl_mm *mm, uint64_t pfn, const struct fl_source *source, uint64_t src, uint64_t len)
{
	if (fl_fail(FL_FP_FILL))
		return -ENOMEM;
	return (int64_t)source->read(mm, fl_kmap_local(mm, pfn), src, len);
}

static void grant(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, uint64_t nr, enum fl_right right)
{
}

static void invalidate(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end, enum fl_right max)
{
}

static bool caches(const struct fl_vma *vma, uint64_t addr, enum fl_right right)
{
	return false;
}

static const struct fl_swap_ops swap = {
	.get = fl_soft_swap_get,
	.dup = fl_soft_swap_dup,
	.free = fl_soft_swap_free,
	.write = fl_soft_swap_write,
	.read = fl_soft_swap_read,
};

static const struct fl_mmu_ops soft_ops = {
	.name = "soft",
	.kinds = &fl_kinds,
	.frames =
		{
			.get = fl_soft_frame_get,
			.get_huge = fl_soft_huge_get,
			.put = fl_soft_frame_put,
			.zero = frames_zero,
			.fill = frames_fill,
			.is_zero = fl_soft_frame_is_zero,
		},
	.rights = {.grant = grant, .invalidate = invalidate, .caches = caches},
	.swap = &swap,
	.metadata = fl_soft_metadata,
};

static uint64_t nothing; /* the account of what is charged to no address space */

/* An empty address space over the pool. Takes over the caller's reference on the pool, also on failure. */
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

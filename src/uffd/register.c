/* SPDX-License-Identifier: MIT */
/* register.c - which ranges an object watches, and write-protecting them. Look at everything first, then change. */
#include "uffd/uffd.h"

#include "host/count.h"

/* Does a mapping intersect the range, and do all that do fit? Where the host may have mappings the backend knows. */
static int check_fit(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	struct fl_vma *vma = fl_find_vma(mm, start);

	int err;

	if (mm->ops->fit)
		err = mm->ops->fit(mm, start, end);
	else
		err = vma && vma->start < end ? 0 : -EINVAL;
	return err;
}

/* Minor faults are about pages that a file has. */
static int check_minor(struct fl_mm *mm, uint64_t start, uint64_t end, uint32_t uffd_flags)
{
	struct fl_vma *vma;
	uint32_t i;

	fl_for_each_vma(mm, vma, i, start, end)
		if ((uffd_flags & VM_UFFD_MINOR) && !vma->file)
			return -EINVAL;
	return 0;
}

static bool is_anothers(struct fl_uffd_ctx *ctx, uint64_t start, uint64_t end)
{
	struct fl_vma *vma;
	uint32_t i;

	fl_for_each_vma(ctx->mm, vma, i, start, end)
		if (vma->ctx && vma->ctx != ctx)
			return true;
	return false;
}

static int check_owner(struct fl_uffd_ctx *ctx, uint64_t start, uint64_t end, int err)
{
	if (!is_anothers(ctx, start, end))
		return 0;
	fl_ctx_drop_orphans(ctx->mm, start, end);
	return is_anothers(ctx, start, end) ? err : 0;
}

static void set_range(struct fl_uffd_ctx *ctx, uint64_t start, uint64_t end, uint32_t uffd_flags)
{
	struct fl_mm *mm = ctx->mm;
	struct fl_vma *vma;
	uint32_t i;

	fl_vma_split(mm, start);
	fl_vma_split(mm, end);
	fl_for_each_vma(mm, vma, i, start, end) {
		bool was_registered = vma->flags & VM_UFFD;

		if (uffd_flags ? vma->ctx == ctx && (vma->flags & uffd_flags) == uffd_flags : !was_registered)
			continue; /* nothing to do; asking for fewer modes than there are takes none away */
		fl_vma_set_uffd(mm, vma, uffd_flags, ctx);
		if (mm->ops->release && fl_vma_plain(vma))
			mm->ops->release(mm, vma);
	}
	fl_vma_merge(mm, start, end);
}

static int do_register(struct fl_uffd_ctx *ctx, uint64_t start, uint64_t end, uint32_t uffd_flags)
{
	struct fl_mm *mm = ctx->mm;
	int err = ctx->released ? -ESRCH : check_fit(mm, start, end); /* closed while the call came here */

	if (!err)
		err = check_owner(ctx, start, end, -EBUSY);
	if (!err && mm->ops->adopt)
		err = mm->ops->adopt(mm, start, end);
	if (!err)
		err = check_minor(mm, start, end, uffd_flags);
	if (!err)
		err = fl_vma_reserve(mm, 2);
	if (!err)
		set_range(ctx, start, end, uffd_flags);
	return err;
}

int fl_ctx_register(struct fl_uffd_ctx *ctx, uint64_t start, uint64_t end, uint32_t uffd_flags)
{
	int err;

	fl_mmap_write_lock_range(ctx->mm, start, end);
	err = do_register(ctx, start, end, uffd_flags);
	fl_mmap_write_unlock(ctx->mm);
	if (!err)
		fl_count(registers, 1);
	return err;
}

/* Only those who waited for missing pages go on: whoever waits at a write-protected page waits for WAKE or close. */
static void wake_unregistered(struct fl_uffd_ctx *ctx, uint64_t start, uint64_t end)
{
	struct fl_vma *vma;
	uint32_t i;

	fl_for_each_vma(ctx->mm, vma, i, start, end)
		if (vma->ctx == ctx && (vma->flags & VM_UFFD_MISSING))
			fl_ctx_wake(ctx, fl_max(start, vma->start), fl_min(end, vma->end));
}

int fl_ctx_unregister(struct fl_uffd_ctx *ctx, uint64_t start, uint64_t end)
{
	struct fl_mm *mm = ctx->mm;
	int err;

	fl_mmap_write_lock_range(mm, start, end);
	err = check_fit(mm, start, end);
	if (!err)
		err = check_owner(ctx, start, end, -EINVAL);
	if (!err)
		err = fl_vma_reserve(mm, 2);
	if (!err) {
		wake_unregistered(ctx, start,
				  end); /* they queue up at mmap_lock and then find the range unregistered */
		set_range(ctx, start, end, 0);
	}
	fl_mmap_write_unlock(mm);
	return err;
}

/* A gap between our mappings is a hole, unless the host knows better: then it is memory that is not registered. */
static int check_gap(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	return start < end && mm->ops->mapped && mm->ops->mapped(mm, start, end) ? -ENOENT : 0;
}

/*
 * Linux 6.18, observed: whether empty anonymous memory is marked is up to the object that has registered it. Of a
 * file it always is: a page that is not in the tables may be in its cache.
 */
static uint32_t cp_flags(const struct fl_uffd_ctx *owner, bool file, bool protect)
{
	if (!protect)
		return MM_CP_UFFD_WP_RESOLVE | MM_CP_TRY_CHANGE_WRITABLE;
	if (file || (__atomic_load_n(&owner->features, __ATOMIC_RELAXED) & FL_UFFD_FEATURE_WP_UNPOPULATED))
		return MM_CP_UFFD_WP | MM_CP_UFFD_WP_MARKERS;
	return MM_CP_UFFD_WP;
}

/* What one mapping has of the range. => at work in it, or mmap_lock held */
static int protect_part(struct fl_vma *vma, uint64_t start, uint64_t end, bool protect, int64_t *changed)
{
	int64_t ret = -ENOENT;

	if (vma->flags & VM_UFFD_WP)
		ret = fl_change_protection(vma->mm, vma, fl_max(start, vma->start), fl_min(end, vma->end),
					   cp_flags(vma->ctx, vma->file, protect));
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

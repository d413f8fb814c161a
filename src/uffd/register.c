/* SPDX-License-Identifier: MIT */
/* register.c - which ranges an object watches. Look at everything first, then change. */
#include "uffd/uffd.h"

#include "host/count.h"

/* Whole units only; and minor faults are about pages that a backing has. */
static int check_kinds(struct fl_mm *mm, uint64_t start, uint64_t end, uint32_t uffd_flags)
{
	struct fl_vma *vma;
	uint32_t i;

	fl_for_each_vma(mm, vma, i, start, end) {
		if ((uffd_flags & VM_UFFD_MINOR) && !vma->kind->lookup)
			return -EINVAL;
		if (!fl_unit_aligned(vma->kind, fl_max(start, vma->start) | fl_min(end, vma->end)))
			return -EINVAL;
	}
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
			continue; /* nothing to do; asking for fewer modes than are set removes none */
		fl_vma_set_uffd(mm, vma, uffd_flags, ctx);
	}
	fl_unclaim(mm, start, end);
}

/* Another object's range is refused. */
static int may_register(void *ctx, uint64_t start, uint64_t end)
{
	return check_owner(ctx, start, end, -EBUSY);
}

static int do_register(struct fl_uffd_ctx *ctx, uint64_t start, uint64_t end, uint32_t uffd_flags)
{
	struct fl_mm *mm = ctx->mm;
	int err = ctx->released ? -ESRCH : 0; /* closed while the call came here */

	if (!err)
		err = fl_claim_range(mm, start, end, uffd_flags, may_register, ctx);
	if (!err)
		err = check_kinds(mm, start, end, uffd_flags);
	if (!err)
		set_range(ctx, start, end, uffd_flags);
	else
		fl_unclaim(mm, start, end);
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

/* Only waiters for missing pages continue: those at a write-protected page wait for WAKE or close. */
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
	err = fl_claim_fits(mm, start, end);
	if (!err)
		err = check_owner(ctx, start, end, -EINVAL);
	if (!err)
		err = check_kinds(mm, start, end, 0);
	if (!err)
		err = fl_vma_reserve(mm, 2);
	if (!err) {
		/* they queue up at mmap_lock, and then find the range unregistered */
		wake_unregistered(ctx, start, end);
		set_range(ctx, start, end, 0);
	}
	fl_mmap_write_unlock(mm);
	return err;
}

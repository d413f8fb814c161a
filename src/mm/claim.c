/* SPDX-License-Identifier: MIT */
/* claim.c - memory comes to the engine with its first claim, and goes back to the host after the last. */
#include "mm/claim.h"

int fl_claim_verify(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	return mm->ops->claims ? mm->ops->claims->verify(mm, start, end) : 0;
}

int fl_claim_fits(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	const struct fl_vma *vma;
	int err = fl_claim_verify(mm, start, end);

	if (err)
		return err;
	if (mm->ops->claims)
		return mm->ops->claims->fit(mm, start, end);
	vma = fl_find_vma(mm, start);
	return vma && vma->start < end ? 0 : -EINVAL;
}

bool fl_claim_hosts(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	return start < end && mm->ops->claims && mm->ops->claims->mapped(mm, start, end);
}

int fl_claim_range(struct fl_mm *mm, uint64_t start, uint64_t end, uint32_t claim,
		   int (*may)(void *arg, uint64_t start, uint64_t end), void *arg)
{
	int err = fl_claim_fits(mm, start, end);

	if (!err && may)
		err = may(arg, start, end);
	if (!err && mm->ops->claims)
		err = mm->ops->claims->adopt(mm, start, end, claim);
	return err ? err : fl_vma_reserve(mm, 2);
}

void fl_unclaim(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	struct fl_vma *vma;

	for (uint64_t at = start; (vma = fl_find_vma(mm, at)) && vma->start < end;) {
		at = vma->end; /* it may leave the table */
		if (mm->ops->claims && fl_vma_unclaimed(vma) && !(vma->flags & VM_RELEASED))
			mm->ops->claims->release(mm, vma);
	}
	fl_vma_merge(mm, start, end);
}

int fl_take_over(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	return mm->ops->claims->take_over(mm, start, end);
}

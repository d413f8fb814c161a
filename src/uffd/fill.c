/* SPDX-License-Identifier: MIT */
/* fill.c - fills on behalf of an object: the memory manager fills, then the threads that wait for the pages go on. */
#include "uffd/uffd.h"

int fl_ctx_fill(struct fl_uffd_ctx *ctx, const struct fl_fill *fill, enum fl_wake wake, uint64_t *done,
		uint64_t *src_fault)
{
	int err = fl_fill_range(ctx->mm, fill, done, src_fault);

	if (*done)
		fl_ctx_resolved(ctx, fill->dst, fill->dst + *done, wake);
	return err;
}

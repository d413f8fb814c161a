/* SPDX-License-Identifier: MIT */
/* ctx.c - birth and death of a userfaultfd object. */
#include "uffd/space.h"
#include "uffd/uffd.h"

#include "base/alloc.h"
#include "host/count.h"

static void silent(struct fl_uffd_ctx *ctx, bool readable)
{
}

static bool never(struct fl_uffd_ctx *ctx)
{
	return false;
}

/* ---- this layer's part of an address space ---- */

void fl_uffd_space_init(struct fl_mm *mm)
{
	struct fl_uffd_space *space = fl_uffd_space(mm);

	fl_mutex_init(&space->lock, FL_RANK_UFFDS);
	fl_list_init(&space->objects);
	for (unsigned i = 0; i < ARRAY_SIZE(space->waits); i++)
		fl_list_init(&space->waits[i]);
}

void fl_uffd_space_lock(struct fl_mm *mm)
{
	fl_mutex_lock(&fl_uffd_space(mm)->lock);
}

void fl_uffd_space_unlock(struct fl_mm *mm)
{
	fl_mutex_unlock(&fl_uffd_space(mm)->lock);
}

/* ---- objects ---- */

int fl_ctx_new(struct fl_mm *mm, uint32_t flags, struct fl_uffd_ctx **out)
{
	struct fl_uffd_ctx *ctx = fl_alloc(&mm->metadata, sizeof(*ctx), FL_FP_CTX);

	if (!ctx)
		return -ENOMEM;
	ctx->mm = mm;
	ctx->refs = 1;
	ctx->flags = flags;
	ctx->notify = silent;
	ctx->orphaned = never;
	ctx->sleep = fl_ctx_sleep;
	fl_mutex_init(&ctx->lock, FL_RANK_QUEUE);
	fl_list_init(&ctx->pending);
	fl_list_init(&ctx->faulting);
	fl_uffd_space_lock(mm);
	fl_list_add_tail(&fl_uffd_space(mm)->objects, &ctx->by_mm);
	fl_uffd_space_unlock(mm);
	fl_count(objects, 1);
	*out = ctx;
	return 0;
}

bool fl_ctx_any(struct fl_mm *mm)
{
	return !fl_list_empty(&fl_uffd_space(mm)->objects);
}

/* ---- references, and what faults call in their thread ---- */

/* A reference of a fault that uses `inthread`: the upper half counts these alone. */
#define FL_CTX_INTHREAD ((1ull << 32) + 1)

static void free_inthreads(struct fl_mm *mm, struct fl_inthread *list)
{
	for (struct fl_inthread *next; list; list = next) {
		next = list->next;
		fl_free(&mm->metadata, list, list->size);
	}
}

static void put_refs(struct fl_uffd_ctx *ctx, uint64_t n)
{
	struct fl_mm *mm = ctx->mm;

	if (__atomic_fetch_sub(&ctx->refs, n, __ATOMIC_ACQ_REL) != n)
		return;
	fl_uffd_space_lock(mm);
	fl_list_del(&ctx->by_mm);
	fl_uffd_space_unlock(mm);
	free_inthreads(mm, ctx->inthread);
	free_inthreads(mm, ctx->replaced);
	fl_free(&mm->metadata, ctx, sizeof(*ctx));
}

void fl_ctx_get(struct fl_uffd_ctx *ctx)
{
	__atomic_fetch_add(&ctx->refs, 1, __ATOMIC_RELAXED);
}

void fl_ctx_put(struct fl_uffd_ctx *ctx)
{
	put_refs(ctx, 1);
}

/*
 * First the reference, then the pointer: fl_ctx_set_inthread() changes the pointer, and then looks at the
 * references.
 */
const struct fl_inthread *fl_ctx_get_inthread(struct fl_uffd_ctx *ctx)
{
	const struct fl_inthread *inthread = __atomic_load_n(&ctx->inthread, __ATOMIC_RELAXED);

	if (!inthread)
		return NULL;
	__atomic_fetch_add(&ctx->refs, FL_CTX_INTHREAD, __ATOMIC_SEQ_CST);
	inthread = __atomic_load_n(&ctx->inthread, __ATOMIC_SEQ_CST);
	if (!inthread)
		fl_ctx_put_inthread(ctx);
	return inthread;
}

void fl_ctx_put_inthread(struct fl_uffd_ctx *ctx)
{
	put_refs(ctx, FL_CTX_INTHREAD);
}

void fl_ctx_set_inthread(struct fl_uffd_ctx *ctx, struct fl_inthread *inthread)
{
	struct fl_inthread *old, *unused = NULL;

	fl_mutex_lock(&ctx->lock);
	old = __atomic_exchange_n(&ctx->inthread, inthread, __ATOMIC_SEQ_CST);
	if (old) {
		old->next = ctx->replaced;
		ctx->replaced = old;
	}
	/* a fault that gets its reference from here on finds the new one */
	if (!(__atomic_load_n(&ctx->refs, __ATOMIC_SEQ_CST) >> 32)) {
		unused = ctx->replaced;
		ctx->replaced = NULL;
	}
	fl_mutex_unlock(&ctx->lock);
	free_inthreads(ctx->mm, unused);
}

/* ---- release ---- */

/* Take the object off every mapping. => sole access to all of them, as below */
static void take_off(struct fl_uffd_ctx *ctx)
{
	struct fl_mm *mm = ctx->mm;

	for (uint32_t i = 0; i < mm->nr_vmas; i++) {
		struct fl_vma *vma = mm->vmas[i];

		if (vma->ctx == ctx)
			fl_vma_set_uffd(mm, vma, 0, NULL);
	}
	fl_unclaim(mm, 0, TASK_SIZE);
}

/* The same, of those that are still there. => mmap_lock held for writing */
static void unregister_all(struct fl_uffd_ctx *ctx)
{
	fl_mmap_exclude(ctx->mm, 0, UINT64_MAX);
	fl_claim_verify(ctx->mm, 0, TASK_SIZE); /* what cannot be told apart for want of memory is believed */
	take_off(ctx);
}

void fl_ctx_forget_all(struct fl_mm *mm)
{
	struct fl_uffd_space *space = fl_uffd_space(mm);
	struct fl_list *pos, *tmp;

	fl_mutex_init(&space->lock, FL_RANK_UFFDS);
	fl_list_for_each_safe(pos, tmp, &space->objects) {
		struct fl_uffd_ctx *ctx = fl_list_entry(pos, struct fl_uffd_ctx, by_mm);

		fl_mutex_init(&ctx->lock, FL_RANK_QUEUE); /* a thread of the parent may have held it */
		fl_list_init(&ctx->pending);
		fl_list_init(&ctx->faulting);
		ctx->has_pending = ctx->has_waiters = ctx->token = ctx->has_again = false;
		ctx->notify = silent; /* the descriptor's readiness is its parent's to say */
		__atomic_store_n(&ctx->released, true, __ATOMIC_RELEASE);
		fl_mmap_exclude(mm, 0, UINT64_MAX);
		take_off(ctx); /* the fork has asked the host */
		fl_list_del(&ctx->by_mm);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(space->waits); i++)
		fl_list_init(&space->waits[i]);
}

/* The first thread to release it does the rest, before any other has mmap_lock. => mmap_lock held for writing */
static bool mark_released(struct fl_uffd_ctx *ctx)
{
	bool was_released;

	fl_mutex_lock(&ctx->lock);
	was_released = ctx->released;
	__atomic_store_n(&ctx->released, true, __ATOMIC_RELEASE);
	fl_mutex_unlock(&ctx->lock);
	return !was_released;
}

/* The waiters continue, and the readers find it released. */
static void wake_everybody(struct fl_uffd_ctx *ctx)
{
	fl_ctx_wake(ctx, 0, UINT64_MAX);
	__atomic_fetch_add(&ctx->seq, 1, __ATOMIC_RELEASE);
	fl_futex_wake(&ctx->seq, INT32_MAX);
}

void fl_ctx_release(struct fl_uffd_ctx *ctx)
{
	bool first;

	if (__atomic_load_n(&ctx->released, __ATOMIC_ACQUIRE))
		return;
	fl_mmap_write_lock(ctx->mm);
	first = mark_released(ctx);
	if (first)
		unregister_all(ctx);
	fl_mmap_write_unlock(ctx->mm);
	if (first)
		wake_everybody(ctx);
}

void fl_ctx_drop_orphans(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	uint32_t i = fl_vma_index(mm, start);

	while (i < mm->nr_vmas && mm->vmas[i]->start < end) {
		struct fl_uffd_ctx *ctx = mm->vmas[i]->ctx;

		if (!ctx || !ctx->orphaned(ctx) || !mark_released(ctx)) {
			i++;
			continue;
		}
		unregister_all(ctx);
		wake_everybody(ctx);
		i = fl_vma_index(mm, start); /* mappings have merged */
	}
}

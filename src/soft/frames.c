/* SPDX-License-Identifier: MIT */
/*
 * frames.c - the frames of soft address spaces, and their swap area: plain memory, and what each part of it is used
 * for.
 */
#include "soft/soft.h"

#include "base/alloc.h"

#include <string.h>

#define BLOCK 512u

static uint64_t nothing; /* the account of what is charged to no address space */

/* ---- numbers ---- */

static size_t words(uint64_t nr)
{
	return (size_t)((nr + 63) / 64) * sizeof(uint64_t);
}

static size_t counts(uint64_t nr)
{
	return (size_t)((nr + BLOCK - 1) / BLOCK) * sizeof(uint16_t);
}

static bool numbers_init(struct fl_numbers *n, uint64_t nr)
{
	n->nr = nr;
	n->used = fl_reserve(words(nr));
	n->used_in = fl_reserve(counts(nr));
	return n->used && n->used_in;
}

static void numbers_exit(struct fl_numbers *n)
{
	if (n->used)
		fl_unreserve(n->used, words(n->nr));
	if (n->used_in)
		fl_unreserve(n->used_in, counts(n->nr));
}

/* The size of the ith block of 512. */
static uint64_t block_size(const struct fl_numbers *n, uint64_t i)
{
	return fl_min(n->nr - i * BLOCK, (uint64_t)BLOCK);
}

static void account_used(struct fl_numbers *n, uint64_t i, uint64_t nr)
{
	n->used_in[i] = (uint16_t)(n->used_in[i] + nr);
	n->in_use += nr;
	n->peak = fl_max(n->peak, n->in_use);
}

static uint64_t take_one(struct fl_numbers *n)
{
	while (n->lowest * BLOCK < n->nr && n->used_in[n->lowest] == block_size(n, n->lowest))
		n->lowest++;
	if (n->lowest * BLOCK >= n->nr)
		return FL_PFN_NONE;
	for (uint64_t w = n->lowest * (BLOCK / 64);; w++) {
		uint64_t bit;

		if (!~n->used[w])
			continue;
		bit = (uint64_t)__builtin_ctzll(~n->used[w]);
		n->used[w] |= 1ull << bit;
		account_used(n, n->lowest, 1);
		return w * 64 + bit;
	}
}

static uint64_t take_block(struct fl_numbers *n)
{
	for (uint64_t i = n->nr / BLOCK; i-- > n->lowest;) {
		if (n->used_in[i])
			continue;
		memset(&n->used[i * (BLOCK / 64)], 0xff, BLOCK / 8);
		account_used(n, i, BLOCK);
		return i * BLOCK;
	}
	return FL_PFN_NONE;
}

static void give_back(struct fl_numbers *n, uint64_t number)
{
	n->used[number / 64] &= ~(1ull << (number % 64));
	n->used_in[number / BLOCK]--;
	n->in_use--;
	n->lowest = fl_min(n->lowest, number / BLOCK);
}

/* ---- the pool's life ---- */

static struct fl_soft_pool *pool_of(struct fl_mm *mm)
{
	return ((struct fl_soft *)mm->backend)->pool;
}

static void pool_free(struct fl_soft_pool *p)
{
	size_t bytes = (size_t)(p->pool.nr_frames << PAGE_SHIFT);

	if (p->pool.base)
		fl_unreserve(p->pool.base, bytes);
	if (p->pool.folios)
		fl_unreserve(p->pool.folios, (size_t)p->pool.nr_frames * sizeof(*p->pool.folios));
	if (p->swap)
		fl_unreserve(p->swap, bytes);
	if (p->slot_users)
		fl_unreserve(p->slot_users, (size_t)p->pool.nr_frames * sizeof(*p->slot_users));
	numbers_exit(&p->frames);
	numbers_exit(&p->slots);
	fl_free(&nothing, p, sizeof(*p));
}

struct fl_soft_pool *fl_soft_pool_new(uint64_t bytes)
{
	bool refused = fl_fail(FL_FP_POOL) || bytes > SIZE_MAX / 2; /* more than this machine can address */
	struct fl_soft_pool *p = refused ? NULL : fl_alloc(&nothing, sizeof(*p), FL_FP_MM);
	uint64_t nr = PAGES(PAGE_ALIGN(bytes));

	if (!p)
		return NULL;
	p->users = 1;
	fl_mutex_init(&p->lock, FL_RANK_BACKEND);
	p->pool.nr_frames = nr;
	p->pool.base = fl_reserve((size_t)(nr << PAGE_SHIFT));
	p->pool.folios = fl_reserve((size_t)nr * sizeof(*p->pool.folios));
	p->swap = fl_reserve((size_t)(nr << PAGE_SHIFT));
	p->slot_users = fl_reserve((size_t)nr * sizeof(*p->slot_users));
	if (p->pool.base && p->pool.folios && p->swap && p->slot_users && numbers_init(&p->frames, nr) &&
	    numbers_init(&p->slots, nr))
		return p;
	pool_free(p);
	return NULL;
}

void fl_soft_pool_get(struct fl_soft_pool *p)
{
	__atomic_fetch_add(&p->users, 1, __ATOMIC_RELAXED);
}

void fl_soft_pool_put(struct fl_soft_pool *p)
{
	if (__atomic_sub_fetch(&p->users, 1, __ATOMIC_ACQ_REL) == 0)
		pool_free(p);
}

/* ---- frames ---- */

uint64_t fl_soft_pool_take(struct fl_soft_pool *p)
{
	uint64_t pfn = FL_PFN_NONE;

	if (fl_fail(FL_FP_FRAME))
		return pfn;
	fl_mutex_lock(&p->lock);
	pfn = take_one(&p->frames);
	fl_mutex_unlock(&p->lock);
	if (pfn != FL_PFN_NONE)
		p->pool.folios[pfn].refcount = 1;
	return pfn;
}

uint64_t fl_soft_pool_take_block(struct fl_soft_pool *p)
{
	uint64_t pfn;

	if (fl_fail(FL_FP_FRAME))
		return FL_PFN_NONE;
	fl_mutex_lock(&p->lock);
	pfn = take_block(&p->frames);
	fl_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < BLOCK && pfn != FL_PFN_NONE; i++)
		__atomic_store_n(&p->pool.folios[pfn + i].refcount, 1, __ATOMIC_RELEASE);
	return pfn;
}

void fl_soft_pool_give(struct fl_soft_pool *p, uint64_t pfn)
{
	fl_mutex_lock(&p->lock);
	give_back(&p->frames, pfn);
	fl_mutex_unlock(&p->lock);
}

static uint64_t get(struct fl_mm *mm, uint64_t (*take)(struct fl_numbers *n), uint64_t nr)
{
	struct fl_soft_pool *p = pool_of(mm);
	uint64_t pfn;

	if (fl_fail(FL_FP_FRAME))
		return FL_PFN_NONE;
	fl_mutex_lock(&p->lock);
	pfn = take(&p->frames);
	fl_mutex_unlock(&p->lock);
	for (uint64_t i = 0; i < nr && pfn != FL_PFN_NONE; i++)
		__atomic_store_n(&fl_folio(mm, pfn + i)->refcount, 1, __ATOMIC_RELEASE);
	return pfn;
}

uint64_t fl_soft_frame_get(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr)
{
	return get(mm, take_one, 1);
}

uint64_t fl_soft_huge_get(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr)
{
	return get(mm, take_block, BLOCK);
}

void fl_soft_frame_put(struct fl_mm *mm, uint64_t pfn)
{
	fl_soft_pool_give(pool_of(mm), pfn);
}

bool fl_soft_frame_is_zero(struct fl_mm *mm, uint64_t pfn)
{
	return fl_page_is_zero(fl_kmap_local(mm, pfn));
}

/* ---- swap ---- */

uint64_t fl_soft_swap_get(struct fl_mm *mm)
{
	struct fl_soft_pool *p = pool_of(mm);
	uint64_t slot;

	if (fl_fail(FL_FP_SWAP))
		return FL_PFN_NONE;
	fl_mutex_lock(&p->lock);
	slot = take_one(&p->slots);
	if (slot != FL_PFN_NONE)
		p->slot_users[slot] = 1;
	fl_mutex_unlock(&p->lock);
	return slot;
}

void fl_soft_swap_dup(struct fl_mm *mm, uint64_t slot)
{
	struct fl_soft_pool *p = pool_of(mm);

	fl_mutex_lock(&p->lock);
	p->slot_users[slot]++;
	fl_mutex_unlock(&p->lock);
}

void fl_soft_swap_free(struct fl_mm *mm, uint64_t slot)
{
	struct fl_soft_pool *p = pool_of(mm);

	fl_mutex_lock(&p->lock);
	if (--p->slot_users[slot] == 0)
		give_back(&p->slots, slot);
	fl_mutex_unlock(&p->lock);
}

void fl_soft_swap_write(struct fl_mm *mm, uint64_t slot, uint64_t pfn)
{
	memcpy(pool_of(mm)->swap + (slot << PAGE_SHIFT), fl_kmap_local(mm, pfn), PAGE_SIZE);
}

int fl_soft_swap_read(struct fl_mm *mm, uint64_t slot, uint64_t pfn)
{
	if (fl_fail(FL_FP_SWAP_READ))
		return -EIO;
	memcpy(fl_kmap_local(mm, pfn), pool_of(mm)->swap + (slot << PAGE_SHIFT), PAGE_SIZE);
	return 0;
}

uint64_t fl_soft_metadata(struct fl_mm *mm)
{
	return pool_of(mm)->frames.peak * sizeof(struct fl_folio) + sizeof(struct fl_soft);
}

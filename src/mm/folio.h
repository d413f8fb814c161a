/* SPDX-License-Identifier: MIT */
/*
 * folio.h - page frames: their memory, who uses them, which entries map them, and whose page cache they are in.
 * "=>" in these headers states a precondition: locks held, signals blocked.
 */
#ifndef FL_MM_FOLIO_H
#define FL_MM_FOLIO_H

#include "base/yield.h"
#include "mm/mmu.h"

/* The memory of a frame: an address of this process, valid for ever. */
static inline void *fl_kmap_local(const struct fl_mm *mm, uint64_t pfn)
{
	return mm->pool.base + (pfn << PAGE_SHIFT);
}

static inline struct fl_folio *fl_folio(const struct fl_mm *mm, uint64_t pfn)
{
	return &mm->pool.folios[pfn];
}

static inline bool fl_page_is_zero(const void *page)
{
	const uint64_t *p = page;

	for (unsigned i = 0; i < PAGE_SIZE / sizeof(*p); i++)
		if (__atomic_load_n(&p[i], __ATOMIC_RELAXED))
			return false;
	return true;
}

/* A reference on a frame that may be about to be freed: false if it is free. */
static inline bool fl_folio_try_get(struct fl_folio *folio)
{
	int32_t n = __atomic_load_n(&folio->refcount, __ATOMIC_RELAXED);

	while (n > 0)
		if (__atomic_compare_exchange_n(&folio->refcount, &n, n + 1, true, __ATOMIC_ACQUIRE,
						__ATOMIC_RELAXED))
			return true;
	return false;
}

/* Another entry maps the page. */
static inline void fl_folio_map(const struct fl_mm *mm, uint64_t pfn)
{
	__atomic_fetch_add(&fl_folio(mm, pfn)->refcount, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&fl_folio(mm, pfn)->mapcount, 1, __ATOMIC_RELAXED);
}

/*
 * Drop one mapping of the page. If the caller's entry is then the only one, it may write: every read through the
 * other entry has completed.
 */
static inline void fl_folio_unmapped(struct fl_folio *folio)
{
	fl_yield_point(folio); /* another address space, with locks of its own, may be asking */
	__atomic_fetch_sub(&folio->mapcount, 1, __ATOMIC_RELEASE);
}

/* Is it mapped by one entry only? */
static inline bool fl_folio_alone(const struct fl_folio *folio)
{
	fl_yield_point(folio);
	return __atomic_load_n(&folio->mapcount, __ATOMIC_ACQUIRE) == 1;
}

/* Drop a reference; the last one frees the frame. */
static inline void fl_folio_put(struct fl_mm *mm, uint64_t pfn)
{
	fl_yield_point(fl_folio(mm, pfn));
	if (__atomic_sub_fetch(&fl_folio(mm, pfn)->refcount, 1, __ATOMIC_ACQ_REL) == 0) {
		__atomic_store_n(&fl_folio(mm, pfn)->mapping, NULL, __ATOMIC_RELEASE); /* a tail page may be asking */
		mm->ops->frames.put(mm, pfn);
	}
}

/*
 * The file whose page cache has the page, or NULL. The folio's head knows, never the page itself. If the folio is
 * split meanwhile, ask again: its head may have been freed. => an entry maps the page, page-table lock held
 */
static inline struct fl_file *fl_page_mapping(const struct fl_mm *mm, uint64_t pfn)
{
	const struct fl_folio *page = fl_folio(mm, pfn);
	struct fl_file *mapping;
	uint16_t tail;

	do {
		tail = __atomic_load_n(&page->tail, __ATOMIC_ACQUIRE);
		mapping = __atomic_load_n(&(page - tail)->mapping, __ATOMIC_ACQUIRE);
	} while (__atomic_load_n(&page->tail, __ATOMIC_ACQUIRE) != tail);
	return mapping;
}

#endif

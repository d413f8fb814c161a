/* SPDX-License-Identifier: MIT */
/*
 * pool.c - the physical memory of the process's address space: extents of the direct map, and the contents of frames.
 *
 * Memory that the host has given is worth keeping: writing to a page that the direct map has costs a tenth of getting
 * a new one. So frames that the program drops keep their memory, up to a limit, for the next fill of the same page.
 * And the host gives 2 MiB in one piece at a tenth of what 512 pages cost, so where fills follow one another, the
 * rest of the 2 MiB is got ahead, and is kept in the same way.
 */
#include "native/native.h"

#include <string.h>

#define STALE_PAGES PAGES(256ull << 20)
#define LOOK_AGAIN  PAGES(4ull << 20) /* when so many more are kept */
#define STREAM	    64u		      /* frames in a row that make fills a stream */

/* How much may be kept: the process may have been moved to a smaller cgroup since it was last looked at. */
static void look_at_limit(void)
{
	uint64_t max = fl_min(STALE_PAGES, PAGES(fl_host_memory_limit() / 8));

	__atomic_store_n(&fl_native.stale_max, max, __ATOMIC_RELAXED);
}

static uint64_t stale_max(void)
{
	return __atomic_load_n(&fl_native.stale_max, __ATOMIC_RELAXED);
}

int fl_pool_create(struct fl_pool *pool)
{
	look_at_limit();
	return fl_direct_create(pool);
}

void fl_pool_destroy(struct fl_pool *pool)
{
	fl_direct_destroy();
	*pool = (struct fl_pool){0};
}

/* ---- extents ---- */

/* `nr` consecutive free chunks of a section, from the cursor on. */
static uint64_t find_in(const struct fl_section *s, uint64_t from, uint64_t nr)
{
	uint64_t run = 0, last = s->first + s->nr - 1;

	for (uint64_t i = fl_max(from, s->first); i < last; i++) {
		if (i >= fl_native.top)
			return i - run + nr <= last ? i - run : FL_PFN_NONE;
		run = fl_native.homes[i].used ? 0 : run + 1;
		if (run == nr)
			return i + 1 - nr;
	}
	return FL_PFN_NONE;
}

static uint64_t find_chunks(uint64_t from, uint64_t nr, enum fl_section_kind kind)
{
	uint64_t found = FL_PFN_NONE;

	for (unsigned i = 0; i < fl_native.nr_sections && found == FL_PFN_NONE; i++)
		if (fl_native.sections[i].kind == kind)
			found = find_in(&fl_native.sections[i], from, nr);
	return found;
}

uint64_t fl_extent_alloc(uint64_t start, uint64_t end, enum fl_section_kind kind, enum fl_right right)
{
	uint64_t nr = (PMD_ALIGN(end) - PMD_ALIGN_DOWN(start)) >> PMD_SHIFT;
	uint64_t first;

	if (fl_fail(FL_FP_EXTENT))
		return FL_PFN_NONE;
	first = find_chunks(fl_native.cursor, nr, kind);
	if (first == FL_PFN_NONE)
		first = find_chunks(0, nr, kind);
	if (first == FL_PFN_NONE && !fl_direct_grow(nr, kind))
		first = find_chunks(fl_native.sections[fl_native.nr_sections - 1].first, nr, kind);
	if (first == FL_PFN_NONE)
		return FL_PFN_NONE;
	for (uint64_t i = 0; i < nr; i++) {
		struct home *home = &fl_native.homes[first + i];
		uint64_t base = PMD_ALIGN_DOWN(start) + (i << PMD_SHIFT);

		__atomic_store_n(&home->vbase, base, __ATOMIC_RELAXED);
		home->first = (uint16_t)PAGES(fl_max(start, base) - base);
		home->used = home->nr = (uint16_t)PAGES(fl_min(end, base + PMD_SIZE) - fl_max(start, base));
		__atomic_store_n(&home->state, chunk_new(right), __ATOMIC_RELEASE);
	}
	fl_native.cursor = first + nr;
	fl_native.top = fl_max(fl_native.top, first + nr);
	if (fl_native.chunks_end < first + nr)
		__atomic_store_n(&fl_native.chunks_end, first + nr, __ATOMIC_RELAXED);
	fl_native.used_chunks += nr;
	return first * CHUNK_PAGES + PAGES(start & ~PMD_MASK);
}

/* Not below 0: a fill that was given up leaves memory in frames that were never counted. */
static void stale_sub(uint64_t n)
{
	uint64_t old = __atomic_load_n(&fl_native.stale, __ATOMIC_RELAXED);

	while (!__atomic_compare_exchange_n(&fl_native.stale, &old, old > n ? old - n : 0, true, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED))
		;
}

/* An unused frame that may hold memory counts in fl_native.stale. */
static bool is_stale(const struct chunk *c, uint64_t pfn)
{
	return bit_get(c->resident, (unsigned)(pfn % CHUNK_PAGES)) && !fl_folio(&fl_native.mm, pfn)->refcount;
}

void fl_frames_punch(uint64_t pfn, uint64_t nr)
{
	uint64_t stale = 0;

	fl_host_remove(fl_addr(fl_kmap_local(&fl_native.mm, pfn)), nr << PAGE_SHIFT);
	while (nr) {
		struct chunk *c = chunk_of(pfn);
		unsigned first = (unsigned)(pfn % CHUNK_PAGES);
		unsigned n = (unsigned)fl_min(nr, (uint64_t)(CHUNK_PAGES - first));

		for (unsigned i = 0; i < n && bit_any(c->resident, first + i, n - i, true); i++)
			stale += is_stale(c, pfn + i);
		bit_fill(c->resident, first, n, false);
		bit_fill(c->mapped, first, n, false);
		bit_fill(c->owned, first, n, false);
		pfn += n;
		nr -= n;
	}
	stale_sub(stale);
}

/* If the host has no room to close some, they stay open until the chunk is used again: nothing is there. */
static void free_frames(uint64_t pfn, uint64_t nr)
{
	while (fl_direct_set(pfn, nr, false) && fl_cache_shrink(&fl_native.mm))
		;
	fl_frames_punch(pfn, nr);
}

void fl_extent_free(uint64_t start, uint64_t end, uint64_t pgoff)
{
	if (chunk_of(pgoff)->file)
		fl_file_unmap_direct(pgoff, PAGES(end - start));
	else
		free_frames(pgoff, PAGES(end - start));
	fl_extent_put(start, end, pgoff);
}

void fl_extent_put(uint64_t start, uint64_t end, uint64_t pgoff)
{
	for (uint64_t a = start; a < end;) {
		uint64_t next = fl_min(PMD_ALIGN_DOWN(a) + PMD_SIZE, end), pfn = pgoff + PAGES(a - start);
		struct home *home = home_of(pfn);

		home->used = (uint16_t)(home->used - PAGES(next - a));
		if (!home->used) {
			fl_native.used_chunks--;
			fl_native.cursor = fl_min(fl_native.cursor, pfn / CHUNK_PAGES);
		}
		a = next;
	}
	while (fl_native.top && !fl_native.homes[fl_native.top - 1].used)
		fl_native.top--;
}

/* ---- frames ---- */

uint64_t fl_native_frame_get(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr)
{
	uint64_t pfn = vma_pfn(vma, addr);

	if (fl_fail(FL_FP_FRAME))
		return FL_PFN_NONE;
	if (!chunk_of(pfn)->file && bit_get(chunk_of(pfn)->resident, (unsigned)(pfn % CHUNK_PAGES)))
		stale_sub(1);
	fl_folio(mm, pfn)->refcount = 1;
	return pfn;
}

uint64_t fl_native_huge_get(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr)
{
	uint64_t head = vma_pfn(vma, addr);

	for (unsigned i = 0; i < CHUNK_PAGES; i++)
		if (fl_native_frame_get(mm, vma, addr + ((uint64_t)i << PAGE_SHIFT)) == FL_PFN_NONE) {
			while (i--)
				fl_folio_put(mm, head + i);
			return FL_PFN_NONE;
		}
	return head;
}

void fl_native_frame_put(struct fl_mm *mm, uint64_t pfn)
{
	uint64_t stale;

	if (chunk_of(pfn)->file || !bit_get(chunk_of(pfn)->resident, (unsigned)(pfn % CHUNK_PAGES)))
		return;
	stale = __atomic_add_fetch(&fl_native.stale, 1, __ATOMIC_RELAXED);
	if (stale % LOOK_AGAIN == 0)
		look_at_limit();
	if (stale > stale_max())
		fl_frames_punch(pfn, 1);
}

/*
 * Frames that were mapped as zeros and never touched have no memory; they must become data all the same. => open, or
 * in a window
 */
static void touch(uint64_t pfn, uint64_t nr)
{
	unsigned char in[CHUNK_PAGES];

	if (fl_host_mincore(fl_addr(fl_kmap_local(&fl_native.mm, pfn)), nr << PAGE_SHIFT, in))
		return;
	for (uint64_t i = 0; i < nr; i++)
		if (!(in[i] & 1)) /* or it may be in swap */
			fl_touch_nofault(fl_kmap_local(&fl_native.mm, pfn + i));
}

void fl_frames_touch(uint64_t pfn, uint64_t nr)
{
	struct fl_window w;

	if (fl_window_open(&w, pfn, nr, 0))
		return;
	touch(pfn, nr);
	fl_window_close(&w);
}

int fl_pool_next_data(uint64_t *pfn, uint64_t end, uint64_t *run_end)
{
	uint64_t base = fl_addr(fl_native.mm.pool.base), at = base + (*pfn << PAGE_SHIFT), stop = 0;
	int found = fl_host_data_next(&at, base + (end << PAGE_SHIFT), &stop);

	if (found) {
		*pfn = PAGES(at - base);
		*run_end = PAGES(stop - base);
	}
	return found;
}

int fl_pool_write(uint64_t pfn, uint64_t src, uint64_t len)
{
	return fl_native_frames_fill(&fl_native.mm, pfn, &fl_source_process, src, len) == (int64_t)len ? 0 : -ENOMEM;
}

/* The new mapping has the rights of the old one: it begins hidden. */
int fl_pool_map(uint64_t pfn, uint64_t len, uint64_t addr, enum fl_inject_point fp)
{
	long ret;

	if (fl_fail(fp) || fl_direct_set(pfn, PAGES(len), false))
		return -ENOMEM;
	ret = fl_host_alias(fl_addr(fl_kmap_local(&fl_native.mm, pfn)), len, addr);
	if (fl_host_failed(ret))
		return (int)ret;
	fl_host_dump(addr, len, true);
	return 0;
}

bool fl_native_frame_is_zero(struct fl_mm *mm, uint64_t pfn)
{
	uint64_t at = pfn, end;
	struct fl_window w;
	bool zero;

	if (fl_window_open(&w, pfn, 1, 0))
		return false;
	/* reading from a hole would take memory */
	zero = !fl_pool_next_data(&at, pfn + 1, &end) || fl_page_is_zero(fl_kmap_local(mm, pfn));
	fl_window_close(&w);
	return zero;
}

static int zero_mapped(struct fl_mm *mm, uint64_t pfn, uint64_t nr)
{
	struct fl_window w;

	if (fl_window_open(&w, pfn, nr, 0))
		return -ENOMEM;
	memset(fl_kmap_local(mm, pfn), 0, (size_t)nr << PAGE_SHIFT);
	fl_window_close(&w);
	return 0;
}

int fl_native_frames_zero(struct fl_mm *mm, uint64_t pfn, uint64_t nr)
{
	if (fl_fail(FL_FP_FILL))
		return -ENOMEM;
	if (chunk_of(pfn)->file) /* page by page: fl_memory_kind.add */
		return fl_file_zero(chunk_of(pfn)->file, pfn);
	while (nr) {
		struct chunk *c = chunk_of(pfn);
		unsigned first = (unsigned)(pfn % CHUNK_PAGES);
		unsigned n = (unsigned)fl_min(nr, (uint64_t)(CHUNK_PAGES - first));

		n = fl_min(bit_run(c->resident, first, n), bit_run(c->mapped, first, n));
		if (!bit_get(c->mapped, first)) {
			if (bit_get(c->resident, first))
				fl_frames_punch(pfn, n);
		} else if (zero_mapped(mm, pfn, n)) {
			return -ENOMEM;
		}
		pfn += n;
		nr -= n;
	}
	return 0;
}

/* ---- memory for frames. => open, or in a window ---- */

/* The direct map has the frames now. Those that nobody uses are kept for the next fill. */
static void now_mapped(struct chunk *c, uint64_t pfn, unsigned first, unsigned nr)
{
	uint64_t kept = 0;

	for (unsigned i = 0; i < nr; i++)
		kept += !bit_get(c->resident, first + i) && !fl_folio(&fl_native.mm, pfn + i)->refcount;
	bit_fill(c->mapped, first, nr, true);
	bit_fill(c->resident, first, nr, true);
	if (kept)
		__atomic_fetch_add(&fl_native.stale, kept, __ATOMIC_RELAXED);
}

/* Is the host asked for 2 MiB in one piece? If it has refused, not for a while, or never, if it does not know it. */
static bool wants_piece(const struct chunk *c, uint64_t pfn, unsigned first, unsigned nr)
{
	bool stream = first >= STREAM && !bit_any(c->resident, first - STREAM, STREAM, false);
	uint32_t off = __atomic_load_n(&fl_native.pieces_off, __ATOMIC_RELAXED);

	if (home_of(pfn)->used != CHUNK_PAGES || (!stream && nr < CHUNK_PAGES / 2) ||
	    __atomic_load_n(&fl_native.stale, __ATOMIC_RELAXED) + CHUNK_PAGES > stale_max())
		return false;
	if (off && off != UINT32_MAX)
		__atomic_store_n(&fl_native.pieces_off, off - 1, __ATOMIC_RELAXED);
	return !off;
}

static bool get_piece(struct chunk *c, uint64_t pfn, unsigned first)
{
	uint64_t head = fl_addr(fl_kmap_local(&fl_native.mm, pfn - first));
	int err;

	if (fl_touch_nofault(fl_kmap_local(&fl_native.mm, pfn))) /* it takes a page to begin with */
		return false;
	err = fl_host_collapse(head);
	if (err) {
		__atomic_store_n(&fl_native.pieces_off, err == -EINVAL ? UINT32_MAX : STREAM, __ATOMIC_RELAXED);
		return false;
	}
	now_mapped(c, pfn - first, 0, CHUNK_PAGES);
	return true;
}

/* A single page costs less when it is touched. */
static int get_pages(struct chunk *c, uint64_t pfn, unsigned first, unsigned nr)
{
	uint64_t addr = fl_addr(fl_kmap_local(&fl_native.mm, pfn));
	int err = nr == 1 ? -EINVAL : fl_host_populate(addr, (uint64_t)nr << PAGE_SHIFT, true);

	for (unsigned i = 0; i < nr && err == -EINVAL; i++)
		if (fl_touch_nofault(fl_kmap_local(&fl_native.mm, pfn + i)))
			return -ENOMEM;
	if (err && err != -EINVAL)
		return -ENOMEM;
	now_mapped(c, pfn, first, nr);
	return 0;
}

static int get_memory(struct chunk *c, uint64_t pfn, unsigned first, unsigned nr)
{
	if (wants_piece(c, pfn, first, nr) && get_piece(c, pfn, first))
		return 0;
	return get_pages(c, pfn, first, nr);
}

/* Write `n` frames of one chunk that are alike. */
static int64_t fill_alike(struct fl_mm *mm, struct chunk *c, unsigned first, uint64_t pfn,
			  const struct fl_source *source, uint64_t src, uint64_t len)
{
	unsigned n = (unsigned)PAGES(len);
	struct fl_window w;
	int64_t done;

	if (fl_window_open(&w, pfn, n, src))
		return -ENOMEM;
	if (bit_get(c->mapped, first) || !get_memory(c, pfn, first, n))
		done = (int64_t)source->read(mm, fl_kmap_local(mm, pfn), src, len);
	else
		done = -ENOMEM;
	fl_window_close(&w);
	return done;
}

int64_t fl_native_frames_fill(struct fl_mm *mm, uint64_t pfn, const struct fl_source *source, uint64_t src,
			      uint64_t len)
{
	uint64_t done = 0;

	if (fl_fail(FL_FP_FILL))
		return -ENOMEM;
	if (chunk_of(pfn)->file)
		return fl_file_fill(chunk_of(pfn)->file, pfn, source, src, len);
	while (done < len) {
		uint64_t at = pfn + PAGES(done);
		struct chunk *c = chunk_of(at);
		unsigned first = (unsigned)(at % CHUNK_PAGES);
		unsigned n = (unsigned)fl_min(PAGES(len - done), (uint64_t)(CHUNK_PAGES - first));
		int64_t got;

		n = fl_min(bit_run(c->resident, first, n), bit_run(c->mapped, first, n));
		got = fill_alike(mm, c, first, at, source, src + done, (uint64_t)n << PAGE_SHIFT);
		if (got < 0)
			return done ? (int64_t)done : got;
		done += (uint64_t)got;
		if ((uint64_t)got < (uint64_t)n << PAGE_SHIFT)
			break;
	}
	return (int64_t)done;
}

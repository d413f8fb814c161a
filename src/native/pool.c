/* SPDX-License-Identifier: MIT */
/*
 * pool.c - the physical memory of the process's address space: extents of a sparse memfd, and the contents of frames.
 *
 * Memory that the host has given is worth keeping: writing to a page that the direct map has costs a tenth of writing
 * to a hole. So frames that the program drops keep their memory, up to a limit, for the next fill of the same page.
 */
#include "native/native.h"

#include "base/alloc.h"
#include "host/own.h"

#include <string.h>

#define POOL_BYTES  (1ull << 40) /* address space only */
#define POOL_MIN    (1ull << 32)
#define STALE_PAGES PAGES(256ull << 20)

static int map_direct(struct fl_pool *pool, uint64_t bytes)
{
	long base;

	if (fl_host_ftruncate(fl_native.pool_fd, bytes))
		return -ENOMEM;
	base = fl_host_map_file(fl_native.pool_fd, 0, bytes, PROT_READ | PROT_WRITE);
	if (fl_host_failed(base))
		return -ENOMEM;
	fl_host_dontdump((uint64_t)base, bytes);
	fl_own_add((uint64_t)base, bytes);
	pool->base = (char *)base;
	pool->nr_frames = PAGES(bytes);
	return 0;
}

int fl_pool_create(struct fl_pool *pool)
{
	int fd = fl_host_memfd("faultline", FL_FP_POOL);
	uint64_t bytes = POOL_BYTES;

	if (fd < 0)
		return fd;
	fl_native.pool_fd = fl_host_fd_move_high(fd, true);
	while (map_direct(pool, bytes)) /* less where address space is limited */
		if ((bytes /= 2) < POOL_MIN)
			goto fail;
	fl_native.nr_chunks = pool->nr_frames / CHUNK_PAGES;
	fl_native.chunks = fl_reserve(fl_native.nr_chunks * sizeof(struct chunk));
	pool->folios = fl_reserve(pool->nr_frames * sizeof(*pool->folios));
	if (fl_native.chunks && pool->folios) {
		fl_host_dontdump(fl_addr(fl_native.chunks), fl_native.nr_chunks * sizeof(struct chunk));
		fl_host_dontdump(fl_addr(pool->folios), pool->nr_frames * sizeof(*pool->folios));
		return 0;
	}
	fl_pool_destroy(pool);
	return -ENOMEM;
fail:
	fl_host_close(fl_native.pool_fd);
	return -ENOMEM;
}

void fl_pool_destroy(struct fl_pool *pool)
{
	if (fl_native.chunks)
		fl_unreserve(fl_native.chunks, fl_native.nr_chunks * sizeof(struct chunk));
	if (pool->folios)
		fl_unreserve(pool->folios, pool->nr_frames * sizeof(*pool->folios));
	fl_own_unmap(fl_addr(pool->base), pool->nr_frames << PAGE_SHIFT);
	fl_host_close(fl_native.pool_fd);
}

/* ---- extents ---- */

/* `nr` consecutive free chunks, from the cursor on. */
static uint64_t find_chunks(uint64_t from, uint64_t to, uint64_t nr)
{
	uint64_t run = 0;

	for (uint64_t i = from; i < to; i++) {
		run = fl_native.chunks[i].used ? 0 : run + 1;
		if (run == nr)
			return i + 1 - nr;
	}
	return FL_PFN_NONE;
}

uint64_t fl_extent_alloc(uint64_t start, uint64_t end)
{
	uint64_t nr = (PMD_ALIGN(end) - PMD_ALIGN_DOWN(start)) >> PMD_SHIFT;
	uint64_t first = fl_fail(FL_FP_EXTENT) ? FL_PFN_NONE : find_chunks(fl_native.cursor, fl_native.nr_chunks, nr);

	if (first == FL_PFN_NONE)
		first = fl_fail(FL_FP_EXTENT) ? FL_PFN_NONE : find_chunks(0, fl_native.nr_chunks, nr);
	if (first == FL_PFN_NONE)
		return FL_PFN_NONE;
	for (uint64_t i = 0; i < nr; i++) {
		struct chunk *c = &fl_native.chunks[first + i];
		uint64_t base = PMD_ALIGN_DOWN(start) + (i << PMD_SHIFT);

		FL_BUG_ON(c->splits); /* an eviction in another thread skips the chunk if it is 0 */
		memset(c->active, 0, sizeof(*c) - offsetof(struct chunk, active));
		c->file = NULL;
		__atomic_store_n(&c->vbase, base, __ATOMIC_RELAXED);
		c->used = (uint16_t)PAGES(fl_min(end, base + PMD_SIZE) - fl_max(start, base));
	}
	fl_native.cursor = first + nr;
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

	fl_host_punch(fl_native.pool_fd, pfn << PAGE_SHIFT, nr << PAGE_SHIFT);
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

void fl_extent_free(uint64_t start, uint64_t end, uint64_t pgoff)
{
	if (chunk_of(pgoff)->file)
		fl_file_unmap_direct(pgoff, PAGES(end - start));
	else
		fl_frames_punch(pgoff, PAGES(end - start));
	fl_extent_put(start, end, pgoff);
}

void fl_extent_put(uint64_t start, uint64_t end, uint64_t pgoff)
{
	for (uint64_t a = start; a < end;) {
		uint64_t next = fl_min(PMD_ALIGN_DOWN(a) + PMD_SIZE, end), pfn = pgoff + PAGES(a - start);
		struct chunk *c = chunk_of(pfn);

		c->used = (uint16_t)(c->used - PAGES(next - a));
		if (!c->used) {
			fl_native.used_chunks--;
			fl_native.cursor = fl_min(fl_native.cursor, pfn / CHUNK_PAGES);
		}
		a = next;
	}
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
	if (chunk_of(pfn)->file || !bit_get(chunk_of(pfn)->resident, (unsigned)(pfn % CHUNK_PAGES)))
		return;
	if (__atomic_add_fetch(&fl_native.stale, 1, __ATOMIC_RELAXED) > STALE_PAGES)
		fl_frames_punch(pfn, 1);
}

/*
 * Frames that were mapped as zeros and never touched have no memory; they must become data all the same. (Memory that
 * fallocate() gives is a hole to lseek().) A touch, for a page that mincore() misses may be in swap.
 */
void fl_frames_touch(uint64_t pfn, uint64_t nr)
{
	unsigned char in[CHUNK_PAGES];

	if (fl_host_mincore(fl_addr(fl_kmap_local(&fl_native.mm, pfn)), nr << PAGE_SHIFT, in))
		return;
	for (uint64_t i = 0; i < nr; i++)
		if (!(in[i] & 1))
			fl_touch_nofault(fl_kmap_local(&fl_native.mm, pfn + i));
}

int fl_pool_next_data(uint64_t *pfn, uint64_t end, uint64_t *run_end)
{
	int64_t data = fl_host_next_data(fl_native.pool_fd, *pfn << PAGE_SHIFT), hole;

	if (data < 0 || PAGES((uint64_t)data) >= end)
		return 0;
	hole = fl_host_next_hole(fl_native.pool_fd, (uint64_t)data);
	*pfn = PAGES((uint64_t)data);
	*run_end = hole < 0 ? end : fl_min(PAGES((uint64_t)hole), end);
	return 1;
}

int fl_pool_write(uint64_t pfn, uint64_t src, uint64_t len)
{
	for (uint64_t done = 0; done < len;) {
		long n = fl_host_pwrite(fl_native.pool_fd, fl_ptr(src + done), len - done, (pfn << PAGE_SHIFT) + done,
					FL_FP_FILL);

		if (n <= 0)
			return -ENOMEM;
		done += (uint64_t)n;
	}
	return 0;
}

int fl_pool_map(uint64_t pfn, uint64_t len, uint64_t addr, enum fl_inject_point fp)
{
	return fl_host_map_file_at(fl_native.pool_fd, pfn << PAGE_SHIFT, len, PROT_NONE, addr, fp);
}

bool fl_native_frame_is_zero(struct fl_mm *mm, uint64_t pfn)
{
	uint64_t at = pfn << PAGE_SHIFT;

	return fl_host_next_data(fl_native.pool_fd, at) != (int64_t)at ||
	       fl_page_is_zero(fl_kmap_local(mm, pfn)); /* reading from a hole would take memory */
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
		if (bit_get(c->mapped, first))
			memset(fl_kmap_local(mm, pfn), 0, (size_t)n << PAGE_SHIFT);
		else if (bit_get(c->resident, first))
			fl_frames_punch(pfn, n);
		pfn += n;
		nr -= n;
	}
	return 0;
}

/*
 * Write `n` frames of one chunk that are alike. Three speeds: into memory that the direct map has, a plain copy; into
 * other memory, the same after mapping it; into a hole, a write to the file, which the host need not zero first, but
 * which needs a source that the host can read.
 */
static int64_t fill_alike(struct fl_mm *mm, struct chunk *c, unsigned first, uint64_t pfn,
			  const struct fl_source *source, uint64_t src, uint64_t len)
{
	bool host_reads = source == &fl_source_process;
	unsigned n = (unsigned)PAGES(len);
	char *dst = fl_kmap_local(mm, pfn);
	int64_t done;

	if (!bit_get(c->mapped, first) && (bit_get(c->resident, first) || !host_reads) &&
	    fl_host_populate(fl_addr(dst), len, true) == 0) {
		bit_fill(c->mapped, first, n, true);
		bit_fill(c->resident, first, n, true);
	}
	if (bit_get(c->mapped, first))
		return (int64_t)source->read(mm, dst, src, len);
	done = host_reads ? fl_host_pwrite(fl_native.pool_fd, fl_ptr(src), len, pfn << PAGE_SHIFT, FL_FP_NONE)
			  : -ENOMEM;
	if (done == -EFAULT)
		return 0;
	if (done < 0)
		return -ENOMEM;
	bit_fill(c->resident, first, n, true);
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

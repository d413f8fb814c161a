/* SPDX-License-Identifier: MIT */
/* direct.c - the direct map: its sections, and who gets through it: direct.h. */
#include "native/native.h"

#include "host/own.h"

#include <string.h>

#define WINDOW_MAX (1ull << 40) /* the most that the pool may become: addresses, of which nothing is reserved */
#define WINDOW_MIN (1ull << 30)
#define STEP	   8u		    /* chunks: then their records fill pages */
#define AHEAD	   (AT_ONCE + STEP) /* chunks: their records are mapped before they are needed */
#define AT_ONCE	   (1ull << 9)	    /* chunks: up to here it doubles, then it grows by a quarter */

_Static_assert(STEP * sizeof(struct chunk) % PAGE_SIZE == 0, "sections have pages of records of their own");
_Static_assert(CHUNK_PAGES * sizeof(struct fl_folio) % PAGE_SIZE == 0, "and of folios");

static uint64_t direct_addr(uint64_t pfn)
{
	return fl_addr(fl_kmap_local(&fl_native.mm, pfn));
}

/* ---- sections ---- */

static uint64_t chunks_size(uint64_t nr)
{
	return nr * sizeof(struct chunk);
}

static uint64_t homes_size(uint64_t nr)
{
	return nr * sizeof(struct home);
}

static uint64_t folios_size(uint64_t nr)
{
	return nr * CHUNK_PAGES * sizeof(struct fl_folio);
}

static void init_locks(void)
{
	fl_mutex_init(&fl_native.window_lock, FL_RANK_BACKEND);
	fl_mutex_init(&fl_native.records_lock, FL_RANK_RECORDS);
}

/* Memory for records: without rights first, so that mlockall() populates nothing. */
static int map_records(void *at, uint64_t len)
{
	int err = fl_own_map_beside(fl_addr(at), len);

	if (err)
		return err;
	fl_host_munlock(fl_addr(at), len);
	fl_host_dump(fl_addr(at), len, false);
	err = fl_host_mprotect(fl_addr(at), len, PROT_READ | PROT_WRITE);
	if (err)
		fl_host_munmap(fl_addr(at), len);
	else
		fl_own_add(fl_addr(at), len);
	return err;
}

struct records {
	void *array;
	uint64_t size; /* of a chunk's */
};

static struct records records_of(unsigned i)
{
	const struct records all[FL_NR_RECORDS] = {
		{fl_native.homes, homes_size(1)},
		{fl_native.chunks, chunks_size(1)},
		{fl_native.mm.pool.folios, folios_size(1)},
	};

	return all[i];
}

/* Memory for the records of all chunks below `end`. 0, -ENOMEM: some may have it, and keep it */
static int have_records(uint64_t end)
{
	for (unsigned i = 0; i < FL_NR_RECORDS; i++) {
		struct records r = records_of(i);
		uint64_t len = PAGE_ALIGN(end * r.size), before = fl_native.records_len[i];

		if (len <= before)
			continue;
		if (map_records(fl_ptr(fl_addr(r.array) + before), len - before))
			return -ENOMEM;
		fl_native.records_len[i] = len;
	}
	return 0;
}

void fl_direct_prepare(void)
{
	if (have_records(AHEAD))
		return;
	for (uint64_t i = 0; i < AHEAD; i += PAGE_SIZE / sizeof(struct home))
		__atomic_store_n(&fl_native.homes[i].vbase, 0, __ATOMIC_RELAXED);
}

int fl_direct_create(struct fl_pool *pool)
{
	uint64_t bytes = WINDOW_MAX, nr;
	long at;

	while (nr = bytes >> PMD_SHIFT,
	       fl_host_failed(at = fl_host_free_range(bytes + chunks_size(nr) + folios_size(nr) + homes_size(nr))))
		if ((bytes /= 2) < WINDOW_MIN)
			return -ENOMEM;
	pool->base = fl_ptr((uint64_t)at);
	pool->nr_frames = PAGES(bytes);
	pool->folios = fl_ptr((uint64_t)at + bytes);
	fl_native.chunks = fl_ptr((uint64_t)at + bytes + folios_size(nr));
	fl_native.homes = fl_ptr((uint64_t)at + bytes + folios_size(nr) + chunks_size(nr));
	fl_native.nr_chunks = nr;
	init_locks();
	return 0;
}

void fl_direct_destroy(void)
{
	for (unsigned i = 0; i < fl_native.nr_sections; i++) {
		const struct fl_section *s = &fl_native.sections[i];

		if (s->kind != FL_SECTION_TAKEN)
			fl_own_unmap(direct_addr(s->first * CHUNK_PAGES), s->nr << PMD_SHIFT);
	}
	for (unsigned i = 0; i < FL_NR_RECORDS; i++)
		if (fl_native.records_len[i])
			fl_own_unmap(fl_addr(records_of(i).array), fl_native.records_len[i]);
	memset(fl_native.records_len, 0, sizeof(fl_native.records_len));
	fl_native.nr_sections = 0;
	fl_native.next_chunk = 0;
}

static int map_section(const struct fl_section *s)
{
	uint64_t at = direct_addr(s->first * CHUNK_PAGES), len = s->nr << PMD_SHIFT;
	int err;

	if (s->kind == FL_SECTION_POOL)
		return fl_host_map_shared_beside(at, len);
	err = fl_host_map_beside(at, len);
	if (!err) {
		fl_host_munlock(at, len);
		fl_host_dump(at, len, false);
	}
	return err;
}

/* -EEXIST: the place is taken, and will not be asked for again */
static int add_section(uint64_t nr, enum fl_section_kind kind)
{
	struct fl_section s = {fl_native.next_chunk, nr, kind};
	int err;

	if (fl_native.nr_sections == FL_SECTIONS || s.first + nr > fl_native.nr_chunks || have_records(s.first + nr))
		return -ENOMEM;
	err = map_section(&s);
	if (err && err != -EEXIST)
		return -ENOMEM;
	if (err)
		s.kind = FL_SECTION_TAKEN;
	else
		fl_own_add(direct_addr(s.first * CHUNK_PAGES), nr << PMD_SHIFT);
	fl_native.sections[fl_native.nr_sections++] = s;
	fl_native.next_chunk += nr;
	return err;
}

/*
 * As much as there is already, or a quarter of that: address space is limited (RLIMIT_AS), and the program's. Less if
 * the host refuses. One chunk of each section stays unused, so that no mapping lies in two.
 */
int fl_direct_grow(uint64_t nr, enum fl_section_kind kind)
{
	uint64_t need = (nr + 1 + STEP - 1) / STEP * STEP, all = fl_native.next_chunk;
	uint64_t want = fl_max(need, (all < AT_ONCE ? all : all / 4) / STEP * STEP);
	int err;

	while ((err = add_section(want, kind)))
		if (err != -EEXIST) {
			if (want == need)
				return -ENOMEM;
			want = fl_max(need, want / 2 / STEP * STEP);
		}
	return 0;
}

void fl_direct_munlock(void)
{
	for (unsigned i = 0; i < fl_native.nr_sections; i++)
		if (fl_native.sections[i].kind != FL_SECTION_TAKEN)
			fl_host_munlock(direct_addr(fl_native.sections[i].first * CHUNK_PAGES),
					fl_native.sections[i].nr << PMD_SHIFT);
}

int fl_direct_unshare(void)
{
	int err = 0;

	init_locks();
	for (unsigned i = 0; i < fl_native.nr_sections && !err; i++) {
		const struct fl_section *s = &fl_native.sections[i];

		if (s->kind == FL_SECTION_POOL)
			err = fl_host_unshare(direct_addr(s->first * CHUNK_PAGES), s->nr << PMD_SHIFT);
	}
	return err;
}

/* ---- who gets through ---- */

/* The pages at pfn, at most nr, that are of one chunk and all open, or all closed. */
static unsigned alike(uint64_t pfn, uint64_t nr)
{
	unsigned first = (unsigned)(pfn % CHUNK_PAGES);

	return bit_run(chunk_of(pfn)->open, first, (unsigned)fl_min(nr, (uint64_t)(CHUNK_PAGES - first)));
}

static bool is_open(uint64_t pfn)
{
	return bit_get(chunk_of(pfn)->open, (unsigned)(pfn % CHUNK_PAGES));
}

static int protect(uint64_t pfn, uint64_t nr, bool open)
{
	return fl_host_mprotect(direct_addr(pfn), nr << PAGE_SHIFT, open ? PROT_READ | PROT_WRITE : PROT_NONE);
}

int fl_direct_set(uint64_t pfn, uint64_t nr, bool open)
{
	uint64_t same = 0;
	int err;

	for (uint64_t i = 0; i < nr && is_open(pfn + i) == open; i += alike(pfn + i, nr - i))
		same = i + alike(pfn + i, nr - i);
	if (same == nr)
		return 0;
	err = protect(pfn, nr, open);
	if (err)
		return -ENOMEM;
	for (uint64_t i = 0, n; i < nr; i += n) {
		unsigned first = (unsigned)((pfn + i) % CHUNK_PAGES);

		n = fl_min(nr - i, (uint64_t)(CHUNK_PAGES - first));
		bit_fill(chunk_of(pfn + i)->open, first, (unsigned)n, open);
	}
	return 0;
}

void fl_direct_conform(struct fl_vma *vma)
{
	bool open = (vma->flags & VM_WRITE) && !(vma->flags & VM_RELEASED);

	if (vma->flags & (VM_SHARED | VM_IN_PLACE))
		return;
	while (fl_direct_set(vma->pgoff, PAGES(vma->end - vma->start), open) && fl_cache_shrink(vma->mm))
		;
}

void fl_direct_conform_range(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	struct fl_vma *vma;
	uint32_t i;

	fl_for_each_vma(mm, vma, i, start, end)
		fl_direct_conform(vma);
}

/* ---- windows ---- */

/* What is open stays as it is. */
static int protect_closed(uint64_t pfn, uint64_t nr, bool open)
{
	int err = 0;

	for (uint64_t i = 0, n; i < nr && !err; i += n) {
		n = alike(pfn + i, nr - i);
		if (!is_open(pfn + i))
			err = protect(pfn + i, n, open);
	}
	return err;
}

static bool all_open(uint64_t pfn, uint64_t nr)
{
	return is_open(pfn) && alike(pfn, nr) == nr;
}

/* The frame of the pool that is at an address, if there is a section: no record tells of what none has. */
static uint64_t frame_at(uint64_t addr)
{
	uint64_t base = fl_addr(fl_native.mm.pool.base);
	uint64_t end = __atomic_load_n(&fl_native.next_chunk, __ATOMIC_ACQUIRE) * CHUNK_PAGES;

	return addr >= base && PAGES(addr - base) < end ? PAGES(addr - base) : FL_PFN_NONE;
}

int fl_window_open(struct fl_window *w, uint64_t pfn, uint64_t nr, uint64_t src)
{
	*w = (struct fl_window){.src = frame_at(src)};
	if (w->src != FL_PFN_NONE && (chunk_of(w->src)->file || is_open(w->src)))
		w->src = FL_PFN_NONE;
	if (w->src == FL_PFN_NONE && all_open(pfn, nr))
		return 0;
	w->pfn = pfn;
	w->nr = nr;
	fl_mutex_lock(&fl_native.window_lock);
	if (!protect_closed(pfn, nr, true) && (w->src == FL_PFN_NONE || !protect(w->src, 1, true)))
		return 0;
	fl_window_close(w);
	return -ENOMEM;
}

void fl_window_close(const struct fl_window *w)
{
	if (!w->nr)
		return;
	if (w->src != FL_PFN_NONE)
		protect(w->src, 1, false);
	protect_closed(w->pfn, w->nr, false);
	fl_mutex_unlock(&fl_native.window_lock);
}

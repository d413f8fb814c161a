/* SPDX-License-Identifier: MIT */
/* hostmem.c - files, mappings and pages of the small host, and what it may show. */
#include "hostmem.h"
#include "process.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct host_memory host;
char *host_direct;

static struct host_file files[HOST_FILES];
/* What the direct map maps, by 2 MiB and, for a file other than the pool, by page. */
static struct {
	struct host_file *file;
	uint64_t first, end, page;
} direct[HOST_CHUNKS];
static struct host_file *pool, *mapped;	 /* what all of it is to be of, and is of */
static unsigned nr_direct;		 /* parts of the direct map that are not the pool */
static uint64_t direct_open[HOST_WORDS]; /* by page: the direct map lets in */

/* A watched page, and what the host shows of it. */
static struct page {
	enum fl_right right;
	const struct host_file *file;
	uint64_t index;
	bool unseen, stays; /* what is there was mapped by nobody that we know; host_unseen() */
} pages[NR_REGIONS][REGION_PAGES];
static char others[HOST_CHUNKS], table;

/* ---- bits ---- */

static bool bit(const uint64_t *map, uint64_t i)
{
	return map[i / 64] >> (i % 64) & 1;
}

static uint64_t mask(uint64_t w, uint64_t first, uint64_t end)
{
	uint64_t lo = fl_max(first, w * 64) - w * 64, hi = fl_min(end, w * 64 + 64) - w * 64;

	return (hi == 64 ? ~0ull : (1ull << hi) - 1) & ~((1ull << lo) - 1);
}

static void set_bits(uint64_t *map, uint64_t first, uint64_t end, bool value)
{
	for (uint64_t w = first / 64; w * 64 < end; w++)
		map[w] = value ? map[w] | mask(w, first, end) : map[w] & ~mask(w, first, end);
}

/* ---- files ---- */

static void begin_file(struct host_file *f)
{
	const int prot = PROT_READ | PROT_WRITE;

	f->backing = memfd_create("sim", MFD_CLOEXEC);
	FL_BUG_ON(f->backing < 0 || ftruncate(f->backing, HOST_END));
	f->mem = mmap(NULL, HOST_END, prot, MAP_SHARED | MAP_NORESERVE, f->backing, 0);
	FL_BUG_ON(f->mem == MAP_FAILED);
}

static void begin_process(void)
{
	if (host_direct)
		return;
	for (unsigned i = 0; i < HOST_FILES; i++)
		begin_file(&files[i]);
	host_direct = mmap(NULL, HOST_WINDOW + HOST_RECORDS + PMD_SIZE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	FL_BUG_ON(host_direct == MAP_FAILED);
	host_direct = fl_ptr(PMD_ALIGN(fl_addr(host_direct)));
}

void host_memory_reset(void)
{
	begin_process();
	for (unsigned i = 0; i < HOST_FILES; i++)
		host_file_free(&files[i]);
	host.nr = host.nr_frames = 0;
	memset(direct, 0, sizeof(direct));
	memset(pages, 0, sizeof(pages));
	memset(host.guard, 0, sizeof(host.guard));
	memset(host.mapped, 0, sizeof(host.mapped));
	if (nr_direct)
		mapped = NULL;
	nr_direct = 0;
	pool = NULL;
	memset(direct_open, 0, sizeof(direct_open));
}

void host_set_pool(struct host_file *f)
{
	pool = f;
	host_memory_entered();
}

struct host_file *host_pool(void)
{
	return pool;
}

void host_open_direct(const char *at, uint64_t len, bool open)
{
	uint64_t first = PAGES((uint64_t)(at - host_direct));

	if (first < PAGES(HOST_END))
		set_bits(direct_open, first, fl_min(first + PAGES(len), PAGES(HOST_END)), open);
}

bool host_direct_is_open(const void *at)
{
	return bit(direct_open, PAGES((uint64_t)((const char *)at - host_direct)));
}

void host_unmap_direct(const char *at)
{
	direct[(uint64_t)(at - host_direct) >> PMD_SHIFT].file = NULL;
}

void host_memory_entered(void)
{
	if (pool == mapped || !pool)
		return;
	FL_BUG_ON(mmap(host_direct, HOST_END, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE,
		       pool->backing, 0) == MAP_FAILED);
	mapped = pool;
}

void host_memory_parts(process_part_fn *fn, void *data)
{
	fn(&host, offsetof(struct host_memory, frame), data);
	fn(host.frame, host.nr_frames * sizeof(host.frame[0]), data);
	fn(pages, sizeof(pages), data);
	fn(&pool, sizeof(pool), data);
	fn(direct_open, sizeof(direct_open), data);
}

struct host_file *host_file_new(void)
{
	for (unsigned i = 0; i < HOST_FILES; i++)
		if (!files[i].used) {
			files[i].used = true;
			return &files[i];
		}
	return NULL;
}

static void clear_pages(struct host_file *f, uint64_t first, uint64_t end)
{
	for (uint64_t w = first / 64; w * 64 < end && w < HOST_WORDS; w++)
		for (uint64_t bits = f->present[w] & mask(w, first, end); bits; bits &= bits - 1)
			memset(f->mem + ((w * 64 + (uint64_t)__builtin_ctzll(bits)) << PAGE_SHIFT), 0, PAGE_SIZE);
	set_bits(f->present, first, end, false);
}

void host_file_free(struct host_file *f)
{
	clear_pages(f, 0, PAGES(HOST_END));
	f->used = false;
	f->size = 0;
}

bool host_file_has(const struct host_file *f, uint64_t page)
{
	return bit(f->present, page);
}

void host_file_add(struct host_file *f, uint64_t page)
{
	SIM_CHECK(page < PAGES(HOST_END), "a file is longer than the model has room for");
	set_bits(f->present, page, page + 1, true);
}

unsigned host_file_pages(const struct host_file *f)
{
	unsigned n = 0;

	for (unsigned w = 0; w < HOST_WORDS; w++)
		n += (unsigned)__builtin_popcountll(f->present[w]);
	return n;
}

/* The pages of [first, end) leave every page table. */
void host_file_drop(struct host_file *f, uint64_t first, uint64_t end)
{
	end = fl_min(end, PAGES(HOST_END));
	clear_pages(f, first, end);
	for (unsigned i = 0; i < host.nr; i++) {
		struct host_mapping *m = &host.map[i];
		uint64_t index = PAGES(m->offset), lo = fl_max(first, index),
			 hi = fl_min(end, index + PAGES(m->end - m->start));

		if (m->file == f && lo < hi)
			set_bits(host.mapped, PAGES(m->start) + lo - index, PAGES(m->start) + hi - index, false);
	}
}

void host_map_direct(char *at, uint64_t len, struct host_file *f, uint64_t offset)
{
	uint64_t chunk = (uint64_t)(at - host_direct) >> PMD_SHIFT;

	SIM_CHECK(at >= host_direct && at + len <= host_direct + HOST_END, "a mapping outside of the direct map");
	FL_BUG_ON(mmap(at, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, f->backing,
		       (off_t)offset) == MAP_FAILED);
	nr_direct++;
	direct[chunk].file = f;
	direct[chunk].first = PAGES((uint64_t)(at - host_direct));
	direct[chunk].end = direct[chunk].first + PAGES(len);
	direct[chunk].page = PAGES(offset);
	host_open_direct(at, len, true);
}

struct host_file *host_direct_file(const void *at, uint64_t *page)
{
	uint64_t offset = (uint64_t)((const char *)at - host_direct), chunk = offset >> PMD_SHIFT;

	if ((const char *)at < host_direct || offset >= HOST_END)
		return NULL;
	*page = PAGES(offset);
	if (!nr_direct || !direct[chunk].file || *page < direct[chunk].first || *page >= direct[chunk].end)
		return pool;
	*page += direct[chunk].page - direct[chunk].first;
	return direct[chunk].file;
}

/* ---- what is mapped ---- */

static unsigned index_of(uint64_t addr)
{
	unsigned i = 0;

	while (i < host.nr && host.map[i].end <= addr)
		i++;
	return i;
}

struct host_mapping *host_find(uint64_t addr)
{
	unsigned i = index_of(addr);

	return i < host.nr ? &host.map[i] : NULL;
}

struct host_mapping *host_at(uint64_t addr)
{
	struct host_mapping *m = host_find(addr);

	return m && m->start <= addr ? m : NULL;
}

bool host_all_mapped(uint64_t start, uint64_t end)
{
	struct host_mapping *m;

	for (; start < end && (m = host_at(start)); start = m->end)
		;
	return start >= end;
}

bool host_none_mapped(uint64_t start, uint64_t end)
{
	struct host_mapping *m = host_find(start);

	return !m || m->start >= end;
}

/* Beyond the regions. */
uint64_t host_place(uint64_t len)
{
	uint64_t at = REGION(NR_REGIONS);

	for (unsigned i = index_of(at); i < host.nr && host.map[i].start < at + len; i++)
		at = fl_max(at, host.map[i].end);
	return at + len <= HOST_END ? at : 0;
}

static void insert_at(unsigned i, const struct host_mapping *m)
{
	SIM_CHECK(host.nr < HOST_MAPPINGS, "the model has no room for as many mappings");
	memmove(&host.map[i + 1], &host.map[i], (host.nr - i) * sizeof(*m));
	host.map[i] = *m;
	host.nr++;
}

static void remove_at(unsigned i)
{
	host.nr--;
	memmove(&host.map[i], &host.map[i + 1], (host.nr - i) * sizeof(host.map[0]));
}

static uint64_t offset_at(const struct host_mapping *m, uint64_t addr)
{
	return m->file ? m->offset + (addr - m->start) : 0;
}

/* After this no mapping crosses addr. */
static void cut(uint64_t addr)
{
	unsigned i = index_of(addr);
	struct host_mapping upper;

	if (i == host.nr || host.map[i].start >= addr)
		return;
	upper = host.map[i];
	upper.offset = offset_at(&upper, addr);
	upper.start = addr;
	host.map[i].end = addr;
	insert_at(i + 1, &upper);
}

static void join(void)
{
	for (unsigned i = 0; i + 1 < host.nr;) {
		struct host_mapping *m = &host.map[i], *n = m + 1;

		if (m->end != n->start || m->file != n->file || m->prot != n->prot || m->shared != n->shared ||
		    offset_at(m, m->end) != n->offset) {
			i++;
			continue;
		}
		m->end = n->end;
		remove_at(i + 1);
	}
}

void host_insert(const struct host_mapping *m)
{
	insert_at(index_of(m->start), m);
	join();
}

bool host_is_mapped(uint64_t addr)
{
	return bit(host.mapped, PAGES(addr));
}

struct host_frame *host_frame_at(uint64_t addr)
{
	for (unsigned i = 0; i < host.nr_frames; i++)
		if (host.frame[i].addr == addr)
			return &host.frame[i];
	return NULL;
}

void host_drop(uint64_t start, uint64_t end)
{
	for (unsigned i = 0; i < host.nr_frames;)
		if (host.frame[i].addr >= start && host.frame[i].addr < end)
			host.frame[i] = host.frame[--host.nr_frames];
		else
			i++;
	set_bits(host.mapped, PAGES(start), PAGES(end), false);
}

void host_unmap(uint64_t start, uint64_t end)
{
	cut(start);
	cut(end);
	for (unsigned i = index_of(start); i < host.nr && host.map[i].start < end;)
		remove_at(i);
	host_drop(start, end);
	set_bits(host.guard, PAGES(start), PAGES(end), false);
}

void host_set_prot(uint64_t start, uint64_t end, int prot)
{
	cut(start);
	cut(end);
	for (unsigned i = index_of(start); i < host.nr && host.map[i].start < end; i++)
		host.map[i].prot = prot;
	join();
}

void host_set_guards(uint64_t start, uint64_t end, bool guard)
{
	if (guard)
		host_drop(start, end);
	set_bits(host.guard, PAGES(start), PAGES(end), guard);
}

void host_move_pages(uint64_t from, uint64_t len, uint64_t to)
{
	for (unsigned i = 0; i < host.nr_frames; i++)
		if (host.frame[i].addr >= from && host.frame[i].addr < from + len)
			host.frame[i].addr += to - from;
	for (uint64_t at = 0; at < len; at += PAGE_SIZE) {
		uint64_t old = PAGES(from + at), new = PAGES(to + at);

		set_bits(host.mapped, new, new + 1, bit(host.mapped, old));
		set_bits(host.guard, new, new + 1, bit(host.guard, old));
	}
	set_bits(host.mapped, PAGES(from), PAGES(from + len), false);
	set_bits(host.guard, PAGES(from), PAGES(from + len), false);
}

unsigned host_borders(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i + 1 < host.nr; i++) {
		const struct host_mapping *m = &host.map[i], *next = m + 1;

		n += m->end == next->start && m->file && m->file == next->file && (m->end & ~PMD_MASK) &&
		     fl_vma_lookup(&fl_native.mm, m->end - PAGE_SIZE) == fl_vma_lookup(&fl_native.mm, m->end);
	}
	return n;
}

/* ---- accesses ---- */

static struct host_frame *new_frame(uint64_t addr, const char *from)
{
	struct host_frame *f = &host.frame[host.nr_frames];

	SIM_CHECK(host.nr_frames++ < HOST_FRAMES, "the model has no room for as many pages");
	f->addr = addr;
	f->zero = false;
	if (from)
		memcpy(f->mem, from, PAGE_SIZE);
	else
		memset(f->mem, 0, PAGE_SIZE);
	return f;
}

static char *private_page(const struct host_mapping *m, uint64_t addr, bool write)
{
	struct host_frame *f = host_frame_at(addr);
	const char *from = m->file ? m->file->mem + offset_at(m, addr) : NULL;

	if (f) {
		f->zero &= !write;
		return f->mem;
	}
	if (m->file && !write)
		return m->file->mem + offset_at(m, addr);
	f = new_frame(addr, from);
	f->zero = !m->file && !write;
	sim_touch(host_thing(addr), true);
	return f->mem;
}

static char *shared_page(const struct host_mapping *m, uint64_t addr)
{
	uint64_t page = PAGES(offset_at(m, addr));

	if (!host_file_has(m->file, page)) {
		host_file_add(m->file, page);
		host_touch_file(m->file, page, page + 1, true);
	}
	if (!bit(host.mapped, PAGES(addr))) {
		set_bits(host.mapped, PAGES(addr), PAGES(addr) + 1, true);
		sim_touch(host_thing(addr), true);
	}
	return m->file->mem + (page << PAGE_SHIFT);
}

char *host_page(uint64_t addr, bool write, bool *sigbus)
{
	const struct host_mapping *m = host_at(addr);

	addr = PAGE_ALIGN_DOWN(addr);
	sim_touch(host_thing(addr), write);
	*sigbus = false;
	if (!m || bit(host.guard, PAGES(addr)) || !(m->prot & (write ? PROT_WRITE : PROT_READ)))
		return NULL;
	*sigbus = m->file && offset_at(m, addr) >= PAGE_ALIGN(m->file->size);
	if (*sigbus)
		return NULL;
	return m->shared ? shared_page(m, addr) : private_page(m, addr, write);
}

/* ---- for the scheduler ---- */

static uint64_t addr_of(unsigned region, unsigned i)
{
	return REGION(region) + i * PAGE_SIZE;
}

static struct page *page_of(uint64_t addr)
{
	uint64_t region = (addr - REGION(0)) >> PMD_SHIFT, page = PAGES(addr & ~PMD_MASK);

	return addr >= REGION(0) && region < NR_REGIONS && page < REGION_PAGES ? &pages[region][page] : NULL;
}

const void *host_thing(uint64_t addr)
{
	const struct page *p = page_of(addr);

	return p ? (const void *)p : &others[addr >> PMD_SHIFT];
}

void host_touch(uint64_t start, uint64_t end, bool change)
{
	for (uint64_t at = start; at < end;) {
		bool in_region = at < PMD_ALIGN_DOWN(at) + REGION_SIZE;

		sim_touch(host_thing(at), change);
		at = in_region ? at + PAGE_SIZE : PMD_ALIGN(at + 1);
	}
}

void host_touch_table(bool change)
{
	sim_touch(&table, change);
}

void host_touch_file(const struct host_file *f, uint64_t first, uint64_t end, bool change)
{
	for (uint64_t i = first / CHUNK_PAGES; i * CHUNK_PAGES < end && i < HOST_CHUNKS; i++)
		sim_touch(&f->present[i * CHUNK_WORDS], change);
	for (unsigned r = 0; r < NR_REGIONS && change; r++)
		for (unsigned i = 0; i < REGION_PAGES; i++)
			if (pages[r][i].file == f && pages[r][i].index >= first && pages[r][i].index < end)
				sim_touch(&pages[r][i], true);
}

bool host_file_shown(const struct host_file *f, uint64_t first, uint64_t end)
{
	for (unsigned r = 0; r < NR_REGIONS; r++)
		for (unsigned i = 0; i < REGION_PAGES; i++)
			if (pages[r][i].right && pages[r][i].file == f && pages[r][i].index >= first &&
			    pages[r][i].index < end)
				return true;
	return false;
}

static struct page shown_at(uint64_t addr)
{
	const struct host_mapping *m = host_at(addr);
	struct page p = {0};

	if (!m)
		return p;
	p.file = m->file;
	p.index = PAGES(offset_at(m, addr));
	if (bit(host.guard, PAGES(addr)))
		return p;
	p.right = (m->prot & PROT_WRITE) ? FL_RIGHT_WRITE : (m->prot & PROT_READ) ? FL_RIGHT_READ : FL_RIGHT_NONE;
	return p;
}

static bool of_pool(const struct page *p)
{
	return pool && p->file == pool;
}

/* Is it the page that the mapping has there? */
static bool right_page(const struct fl_vma *vma, uint64_t addr, const struct page *p)
{
	if (vma->flags & VM_IN_PLACE)
		return !p->file;
	if (vma->flags & VM_SHARED)
		return p->file && !of_pool(p) && p->index == fl_vma_page_index(vma, addr);
	return of_pool(p) && p->index == vma_pfn(vma, addr);
}

static enum fl_right access_right(const struct fl_vma *vma)
{
	uint32_t access = fl_vma_access(vma);

	return (access & VM_WRITE) ? FL_RIGHT_WRITE : access ? FL_RIGHT_READ : FL_RIGHT_NONE;
}

/*
 * The host has begun to show more of a page, or another page. A thread with sole access to the mapping may be about
 * to forget it, when the address is the program's already, or to release it, when the entry is gone.
 */
static void check_shown(uint64_t addr, const struct page *p)
{
	const struct fl_vma *vma = fl_vma_lookup(&fl_native.mm, addr);
	fl_pte_t pte = fl_pte_get(&fl_native.mm, addr);

	if (!vma || (fl_vma_excluded(vma) && !right_page(vma, addr, p))) {
		SIM_CHECK(!of_pool(p), "the host shows memory of the pool that is in no mapping");
		return;
	}
	SIM_CHECK(right_page(vma, addr, p), "the host shows another frame");
	if (fl_vma_excluded(vma) &&
	    ((vma->flags & (VM_RELEASED | VM_SHARED | VM_IN_PLACE)) || (fl_vma_unclaimed(vma) && pte_none(pte))))
		return;
	if (vma->flags & VM_RELEASED)
		SIM_CHECK(p->right <= access_right(vma), "the host gives more than the mapping has");
	else
		SIM_CHECK(p->right <= pte_right(pte, vma), "the host gives more than the entry");
}

static bool in_place(uint64_t addr)
{
	const struct fl_vma *vma = fl_vma_lookup(&fl_native.mm, addr);

	return vma && (vma->flags & VM_IN_PLACE);
}

void host_changed(uint64_t start, uint64_t end)
{
	for (unsigned r = 0; r < NR_REGIONS; r++)
		for (unsigned i = 0; i < REGION_PAGES; i++) {
			uint64_t addr = addr_of(r, i);
			struct page *p = &pages[r][i], now;

			if (addr < start || addr >= end)
				continue;
			now = shown_at(addr);
			if (p->unseen && !now.file && (now.right == FL_RIGHT_WRITE || in_place(addr)))
				continue; /* of memory in place only what it holds is safe */
			SIM_CHECK(!p->unseen || !p->stays || !host_at(addr),
				  "what the program has mapped unseen is changed");
			if (now.right && (now.right > p->right || now.file != p->file || now.index != p->index))
				check_shown(addr, &now);
			*p = now;
		}
}

void host_unseen(uint64_t addr, bool stays)
{
	struct host_mapping m = {.start = addr, .end = addr + PAGE_SIZE, .prot = PROT_READ | PROT_WRITE};
	struct page *p = page_of(addr);

	host_unmap(m.start, m.end);
	host_insert(&m);
	*p = shown_at(addr);
	p->unseen = true;
	p->stays = stays;
	host_touch(m.start, m.end, true);
	host_touch_table(true);
}

static void check_page(uint64_t addr, const struct page *p)
{
	struct fl_vma *vma = fl_vma_lookup(&fl_native.mm, addr);

	if (p->unseen)
		return;
	if (!vma) {
		SIM_CHECK(!of_pool(p), "the host maps memory of the pool where there is no mapping");
		return;
	}
	SIM_CHECK(right_page(vma, addr, p), "the host maps another frame than the mapping has");
	if (vma->flags & VM_RELEASED)
		SIM_CHECK(p->right == access_right(vma), "the host does not serve what is released");
	else
		SIM_CHECK(p->right == FL_RIGHT_NONE || fl_native_caches(vma, addr, p->right),
			  "the host gives a right of which the cache does not know");
}

/* Each bit as the next one is. */
static uint64_t next_bits(const uint64_t *map, unsigned w)
{
	return map[w] >> 1 | (w + 1 < CHUNK_WORDS ? map[w + 1] : map[w] >> 63) << 63;
}

/* The pages that differ from the next in what they have of one of two bitmaps. */
static unsigned count(const uint64_t *one, const uint64_t *two)
{
	unsigned n = 0;

	for (unsigned w = 0; w < CHUNK_WORDS; w++)
		for (uint64_t d = (one[w] ^ next_bits(one, w)) | (two[w] ^ next_bits(two, w)); d; d &= d - 1)
			n++;
	return n;
}

/* The numbers of borders by which the cache decides what to evict. */
static void check_counts(void)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < fl_native.chunks_end; i++) {
		const struct chunk *c = &fl_native.chunks[i];
		uint64_t bare[CHUNK_WORDS]; /* shown, and what is hidden beside it is so by rights */

		for (unsigned w = 0; w < CHUNK_WORDS; w++)
			bare[w] = c->shown[w] & ~c->active[w];
		SIM_CHECK(c->splits == count(c->writable, bare), "a number of borders is wrong");
		sum += c->splits;
	}
	SIM_CHECK(fl_native.splits == sum, "the sum of borders is wrong");
}

void host_check(void)
{
	for (unsigned r = 0; r < NR_REGIONS; r++)
		for (unsigned i = 0; i < REGION_PAGES; i++)
			check_page(addr_of(r, i), &pages[r][i]);
	check_counts();
}

void host_name(const void *what, char *name, size_t size)
{
	const struct page *p = what;

	if (what == &table)
		snprintf(name, size, "of the host");
	if ((const char *)what >= others && (const char *)what < others + sizeof(others))
		snprintf(name, size, "of other pages");
	if (p >= &pages[0][0] && p < &pages[0][0] + NR_REGIONS * REGION_PAGES)
		snprintf(name, size, "of page %d", (int)(p - &pages[0][0]));
}

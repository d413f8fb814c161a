/* SPDX-License-Identifier: MIT */
/*
 * shmem.c - shared memory of soft address spaces: a file that is all page cache, its pages frames of the pool. The
 * cache is a tree of tables, as page tables are, from the index of a page to its frame.
 *
 * On request holes are filled 2 MiB at a time, by a large folio, or 2 MiB of pages become one (MADV_COLLAPSE). Its
 * pages are counted one by one; only the head knows the file. It is split, into folios of one page, before the first
 * of its pages leaves the cache. A collapsed folio may extend beyond the end of the file.
 */
#include "soft/soft.h"

#include "base/alloc.h"
#include "base/uaccess.h"
#include "mm/file.h"

#include <string.h>

#define SLOTS	    512u
#define LEVELS	    3 /* 512 GiB */
#define FOLIO_ORDER 9 /* SLOTS pages */

struct fl_shmem {
	struct fl_file file;
	struct fl_soft_pool *pool;
	uint64_t size;	   /* [f] bytes */
	bool huge;	   /* [f] holes are filled with large folios, where there is room */
	uint64_t *root;	   /* [f] */
	uint64_t metadata; /* [a] */
};

static uint64_t nothing; /* the account of what is charged to no address space */

struct fl_shmem *fl_shmem_of(struct fl_file *file)
{
	return container_of(file, struct fl_shmem, file);
}

/* ---- the cache ---- */

/* Where the frame of a page is noted, plus one; NULL: nowhere, or, with `make`, no memory. => file->lock */
static uint64_t *slot(struct fl_shmem *s, uint64_t index, bool make)
{
	uint64_t *table = s->root;

	for (unsigned level = LEVELS - 1; level; level--) {
		uint64_t *entry = &table[index >> (9 * level) & (SLOTS - 1)];

		if (!*entry && make)
			*entry = fl_addr(fl_alloc(&s->metadata, SLOTS * sizeof(*table), FL_FP_CACHE));
		if (!*entry)
			return NULL;
		table = fl_ptr(*entry);
	}
	return &table[index & (SLOTS - 1)];
}

static uint64_t cached(struct fl_shmem *s, uint64_t index)
{
	uint64_t *at = slot(s, index, false);

	return at && *at ? *at - 1 : FL_PFN_NONE;
}

static struct fl_folio *folio_at(struct fl_shmem *s, uint64_t pfn)
{
	return &s->pool->pool.folios[pfn];
}

static char *page_at(struct fl_shmem *s, uint64_t pfn)
{
	return s->pool->pool.base + (pfn << PAGE_SHIFT);
}

static uint64_t nr_pages(struct fl_file *file)
{
	return PAGES(PAGE_ALIGN(fl_shmem_of(file)->size));
}

/* There is nothing in the cache from here on: a large folio may extend beyond the end of the file. */
static uint64_t cache_end(struct fl_shmem *s)
{
	return (nr_pages(&s->file) + SLOTS - 1) & ~(uint64_t)(SLOTS - 1);
}

static uint64_t find(struct fl_file *file, struct fl_vma *vma, uint64_t addr, uint64_t index)
{
	return cached(fl_shmem_of(file), index);
}

static int insert(struct fl_shmem *s, uint64_t pfn, uint64_t index)
{
	uint64_t *at = slot(s, index, true);
	struct fl_folio *folio = folio_at(s, pfn);

	if (!at)
		return -ENOMEM;
	*at = pfn + 1;
	folio->mapping = &s->file;
	__atomic_fetch_add(&folio->refcount, 1, __ATOMIC_RELAXED);
	return 0;
}

static int add(struct fl_file *file, struct fl_vma *vma, uint64_t pfn, uint64_t index)
{
	return insert(fl_shmem_of(file), pfn, index);
}

/* ---- large folios: the pages of one leaf table. => file->lock held, for all ---- */

/* The frames from pfn on, which have been filled, are the pages of the table `at`. */
static void set_large(struct fl_shmem *s, uint64_t *at, uint64_t pfn)
{
	for (unsigned i = 0; i < SLOTS; i++) {
		folio_at(s, pfn + i)->tail = (uint16_t)i;
		at[i] = pfn + i + 1;
	}
	folio_at(s, pfn)->order = FOLIO_ORDER;
	__atomic_store_n(&folio_at(s, pfn)->mapping, &s->file, __ATOMIC_RELEASE);
}

/* Fills the whole table of `index`, if that is a hole of such a size. FL_PFN_NONE: it is not, or no memory. */
static uint64_t make_large(struct fl_shmem *s, uint64_t index)
{
	uint64_t first = index & ~(uint64_t)(SLOTS - 1), pfn, *at;

	if (first + SLOTS > nr_pages(&s->file))
		return FL_PFN_NONE;
	at = slot(s, first, true);
	for (unsigned i = 0; at && i < SLOTS; i++)
		if (at[i])
			return FL_PFN_NONE;
	pfn = at ? fl_soft_pool_take_block(s->pool) : FL_PFN_NONE;
	if (pfn == FL_PFN_NONE)
		return pfn;
	memset(page_at(s, pfn), 0, SLOTS * PAGE_SIZE);
	set_large(s, at, pfn);
	return pfn + (index - first);
}

/* Each page becomes a folio of its own. A thread that asks meanwhile gets the same answer (fl_page_mapping). */
static void split(struct fl_shmem *s, uint64_t pfn)
{
	struct fl_folio *head = folio_at(s, pfn - folio_at(s, pfn)->tail);

	if (!head->order)
		return;
	for (unsigned i = 1; i < SLOTS; i++) {
		__atomic_store_n(&head[i].mapping, &s->file, __ATOMIC_RELAXED);
		__atomic_store_n(&head[i].tail, 0, __ATOMIC_RELEASE);
	}
	head->order = 0;
}

/* Also for writes to the file itself. => file->lock held */
static uint64_t make_page(struct fl_shmem *s, uint64_t index)
{
	uint64_t pfn = s->huge ? make_large(s, index) : FL_PFN_NONE;

	if (pfn != FL_PFN_NONE)
		return pfn;
	pfn = fl_soft_pool_take(s->pool);
	if (pfn == FL_PFN_NONE)
		return pfn;
	memset(page_at(s, pfn), 0, PAGE_SIZE);
	if (insert(s, pfn, index)) {
		folio_at(s, pfn)->refcount = 0;
		fl_soft_pool_give(s->pool, pfn);
		return FL_PFN_NONE;
	}
	folio_at(s, pfn)->refcount = 1; /* the cache's own */
	return pfn;
}

static uint64_t make(struct fl_file *file, struct fl_vma *vma, uint64_t addr, uint64_t index)
{
	return make_page(fl_shmem_of(file), index);
}

/* The page leaves the cache; its frame lives on while it is mapped or read. => file->lock held */
static void put_page(struct fl_shmem *s, uint64_t pfn)
{
	struct fl_folio *folio = folio_at(s, pfn);

	if (__atomic_sub_fetch(&folio->refcount, 1, __ATOMIC_ACQ_REL))
		return; /* to remaining mappings it is a page of the file, not a private copy */
	__atomic_store_n(&folio->mapping, NULL, __ATOMIC_RELEASE);
	fl_soft_pool_give(s->pool, pfn);
}

/* Take one page out. => file->lock held */
static void forget(struct fl_shmem *s, uint64_t index)
{
	uint64_t *at = slot(s, index, false), pfn;

	if (!at || !*at)
		return;
	pfn = *at - 1;
	split(s, pfn);
	*at = 0;
	put_page(s, pfn);
}

static uint64_t find_large(struct fl_file *file, struct fl_vma *vma, uint64_t addr, uint64_t first)
{
	uint64_t pfn = cached(fl_shmem_of(file), first);

	return pfn != FL_PFN_NONE && folio_at(fl_shmem_of(file), pfn)->order ? pfn : FL_PFN_NONE;
}

/*
 * May the pages of a table move to another folio? A thread that reads one without having it mapped has a reference.
 */
static int can_collapse(struct fl_shmem *s, const uint64_t *at, bool full)
{
	unsigned there = 0, used = 0;

	for (unsigned i = 0; at && i < SLOTS; i++) {
		there += at[i] != 0;
		used += at[i] && __atomic_load_n(&folio_at(s, at[i] - 1)->refcount, __ATOMIC_ACQUIRE) > 1;
	}
	if (!there)
		return -EINVAL;
	if (there < SLOTS && full)
		return -EBUSY;
	return used ? -EAGAIN : 0;
}

static int collapse(struct fl_file *file, uint64_t first, bool full)
{
	struct fl_shmem *s = fl_shmem_of(file);
	uint64_t *at = slot(s, first, false), pfn;
	int err = can_collapse(s, at, full);

	if (find_large(file, NULL, 0, first) != FL_PFN_NONE)
		return 0;
	if (err)
		return err;
	pfn = fl_soft_pool_take_block(s->pool);
	if (pfn == FL_PFN_NONE)
		return -ENOMEM;
	for (unsigned i = 0; i < SLOTS; i++) {
		if (!at[i]) {
			memset(page_at(s, pfn + i), 0, PAGE_SIZE);
			continue;
		}
		memcpy(page_at(s, pfn + i), page_at(s, at[i] - 1), PAGE_SIZE);
		put_page(s, at[i] - 1);
	}
	set_large(s, at, pfn);
	return 0;
}

static void free_tables(struct fl_shmem *s, uint64_t *table, unsigned level)
{
	for (unsigned i = 0; level && i < SLOTS; i++)
		if (table[i])
			free_tables(s, fl_ptr(table[i]), level - 1);
	fl_free(&s->metadata, table, SLOTS * sizeof(*table));
}

/* The first index from `index` on that has a page, or, without `data`, that has none; limit: none before that. */
static uint64_t seek(struct fl_shmem *s, uint64_t index, uint64_t limit, bool data)
{
	while (index < limit && (cached(s, index) != FL_PFN_NONE) != data)
		index++;
	return index;
}

static void release(struct fl_file *file)
{
	struct fl_shmem *s = fl_shmem_of(file);
	uint64_t end = cache_end(s);

	for (uint64_t i = 0; i < end; i++)
		if (slot(s, i, false))
			forget(s, i);
		else
			i |= SLOTS - 1;
	free_tables(s, s->root, LEVELS - 1);
	fl_soft_pool_put(s->pool);
	fl_free(&nothing, s, sizeof(*s));
}

static const struct fl_file_ops shmem_ops = {
	.nr_pages = nr_pages,
	.find = find,
	.make = make,
	.add = add,
	.find_large = find_large,
	.collapse = collapse,
	.release = release,
};

/* ---- what a program does to the file itself ---- */

int fl_shmem_new(struct fl_soft_pool *pool, uint64_t size, struct fl_shmem **out)
{
	struct fl_shmem *s = fl_alloc(&nothing, sizeof(*s), FL_FP_FILE);

	if (s)
		s->root = fl_alloc(&s->metadata, SLOTS * sizeof(*s->root), FL_FP_CACHE);
	if (!s || !s->root) {
		fl_free(&nothing, s, sizeof(*s));
		return -ENOMEM;
	}
	fl_soft_pool_get(pool);
	s->pool = pool;
	s->size = size;
	fl_file_init(&s->file, &shmem_ops);
	*out = s;
	return 0;
}

struct fl_file *fl_shmem_file(struct fl_shmem *s)
{
	return &s->file;
}

void fl_shmem_set_huge(struct fl_shmem *s, bool huge)
{
	fl_mutex_lock(&s->file.lock);
	s->huge = huge;
	fl_mutex_unlock(&s->file.lock);
}

void fl_shmem_put(struct fl_shmem *s)
{
	fl_file_put(&s->file);
}

/* The pages [first, end) leave the cache, then every mapping. => no lock held */
static void drop_pages(struct fl_shmem *s, uint64_t first, uint64_t end, bool cow)
{
	fl_mutex_lock(&s->file.lock);
	for (uint64_t i = first; i < end; i++)
		if (slot(s, i, false))
			forget(s, i);
		else
			i |= SLOTS - 1;
	fl_mutex_unlock(&s->file.lock);
	fl_unmap_mapping(&s->file, first, end, cow);
}

int fl_shmem_resize(struct fl_shmem *s, uint64_t size)
{
	uint64_t old, end, pfn;

	if (size > FL_SHMEM_MAX)
		return -EFBIG;
	fl_mutex_lock(&s->file.lock);
	old = nr_pages(&s->file);
	end = cache_end(s);
	s->size = size; /* from here on nothing beyond the end gets mapped */
	pfn = (size & ~PAGE_MASK) ? cached(s, PAGES(size)) : FL_PFN_NONE;
	if (pfn != FL_PFN_NONE)
		memset(page_at(s, pfn) + (size & ~PAGE_MASK), 0, PAGE_SIZE - (size & ~PAGE_MASK));
	fl_mutex_unlock(&s->file.lock);
	if (PAGES(PAGE_ALIGN(size)) < old)
		drop_pages(s, PAGES(PAGE_ALIGN(size)), end, true);
	return 0;
}

/* Partial pages become zeros. => no lock held */
static void zero_part(struct fl_shmem *s, uint64_t at, uint64_t len)
{
	uint64_t pfn;

	fl_mutex_lock(&s->file.lock);
	pfn = cached(s, PAGES(at));
	if (pfn != FL_PFN_NONE)
		memset(page_at(s, pfn) + (at & ~PAGE_MASK), 0, (size_t)len);
	fl_mutex_unlock(&s->file.lock);
}

int fl_shmem_punch_hole(struct fl_shmem *s, uint64_t offset, uint64_t len)
{
	uint64_t end = offset + len, first = PAGE_ALIGN(offset), last, size;

	if (!len || end < offset)
		return -EINVAL;
	fl_mutex_lock(&s->file.lock);
	size = nr_pages(&s->file) << PAGE_SHIFT;
	fl_mutex_unlock(&s->file.lock);
	end = fl_min(end, size); /* there is nothing beyond it; what is added meanwhile comes after the hole */
	last = PAGE_ALIGN_DOWN(end);
	if (offset >= end)
		return 0;
	if (first > last) { /* inside one page */
		zero_part(s, offset, end - offset);
		return 0;
	}
	if (first > offset)
		zero_part(s, offset, first - offset);
	if (last > first)
		drop_pages(s, PAGES(first), PAGES(last), false);
	if (end > last)
		zero_part(s, last, end - last);
	return 0;
}

/* A write to a hole. The source is read first: if there is nothing to read, no page is made. As transfer() */
static int64_t write_hole(struct fl_shmem *s, uint64_t at, const char *buf, size_t n)
{
	char content[PAGE_SIZE];
	uint64_t pfn;

	n -= fl_copy_nofault(content, buf, n);
	if (!n)
		return 0;
	pfn = make_page(s, PAGES(at));
	if (pfn == FL_PFN_NONE)
		return -ENOMEM;
	memcpy(page_at(s, pfn) + (at & ~PAGE_MASK), content, n);
	return (int64_t)n;
}

/*
 * One page's part of a read or write, as far as possible with page faults disabled: the caller's buffer may be
 * hidden. Returns how much, or -ENOMEM. => file's lock held
 */
static int64_t transfer(struct fl_shmem *s, uint64_t at, char *buf, size_t n, bool write)
{
	static const char zeros[PAGE_SIZE];
	uint64_t pfn = cached(s, PAGES(at));
	char *mem;

	if (pfn == FL_PFN_NONE)
		return write ? write_hole(s, at, buf, n) : (int64_t)(n - fl_copy_nofault(buf, zeros, n));
	mem = page_at(s, pfn) + (at & ~PAGE_MASK);
	return (int64_t)(n - fl_copy_nofault(write ? mem : buf, write ? buf : mem, n));
}

static int64_t transfer_all(struct fl_shmem *s, uint64_t offset, char *buf, size_t len, bool write)
{
	int64_t got = 0;
	size_t done = 0;

	while (done < len && got >= 0) {
		uint64_t at = offset + done;
		size_t n = (size_t)fl_min(PAGE_SIZE - (at & ~PAGE_MASK), (uint64_t)(len - done));

		fl_mutex_lock(&s->file.lock);
		if (!write)
			n = at >= s->size ? 0 : (size_t)fl_min((uint64_t)n, s->size - at);
		got = n ? transfer(s, at, buf + done, n, write) : 0;
		if (write && got > 0)
			s->size = fl_max(s->size, at + (uint64_t)got);
		fl_mutex_unlock(&s->file.lock);
		if (!n)
			break;
		done += got > 0 ? (size_t)got : 0;
		if (got >= 0 && got < (int64_t)n)
			got = fl_fault_in_user(buf + done, !write);
	}
	return done ? (int64_t)done : got;
}

int64_t fl_shmem_pread(struct fl_shmem *s, void *buf, size_t len, uint64_t offset)
{
	return transfer_all(s, offset, buf, len, false);
}

int64_t fl_shmem_pwrite(struct fl_shmem *s, const void *buf, size_t len, uint64_t offset)
{
	if (offset > FL_SHMEM_MAX || len > FL_SHMEM_MAX - offset)
		return -EFBIG;
	return transfer_all(s, offset, (char *)fl_ptr(fl_addr(buf)), len, true);
}

int64_t fl_shmem_seek_data(struct fl_shmem *s, uint64_t offset)
{
	uint64_t index, end;

	fl_mutex_lock(&s->file.lock);
	end = nr_pages(&s->file);
	index = seek(s, PAGES(offset), end, true);
	fl_mutex_unlock(&s->file.lock);
	if (index >= end)
		return -ENXIO;
	return (int64_t)fl_max(offset, index << PAGE_SHIFT);
}

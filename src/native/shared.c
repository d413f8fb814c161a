/* SPDX-License-Identifier: MIT */
/*
 * shared.c - the program's shared memory: memfd, tmpfs, shared anonymous memory. The file itself is the page cache,
 * and stays mapped where the program has it; registering hides it, and puts the file into the direct map at the place
 * of the range's home, so that its pages are frames like others. Whether a page is in the cache is asked of the file
 * (SEEK_DATA); whether it is mapped, the engine's tables say.
 *
 * What other processes do to the file is seen as far as it can be asked: pages that they add are found. Pages that
 * they remove are not reported, and a page that is shown stays shown.
 */
#include "native/native.h"

#include "base/alloc.h"
#include "mm/file.h"

#include <string.h>

#define BOUNCE_SIZE (16 * PAGE_SIZE)

/* 2 MiB of a file that the host has made one folio. */
struct large {
	struct large *next;
	uint64_t first; /* page */
};

struct fl_shared_file {
	struct fl_file file;
	char *bounce;		     /* [f] BOUNCE_SIZE */
	struct large *large;	     /* [f] the known ones */
	int fd;			     /* [c] of fl_kept_get(), read-write */
	uint64_t dev, inode;	     /* [c] */
	struct fl_shared_file *next; /* [m] of all */
};

static struct fl_shared_file *files;

static struct fl_shared_file *host_file(struct fl_file *file)
{
	return container_of(file, struct fl_shared_file, file);
}

/* ---- what the memory manager asks ---- */

static uint64_t nr_pages(struct fl_file *file)
{
	struct fl_host_file st;

	return fl_host_fstat(host_file(file)->fd, &st) ? 0 : PAGES(PAGE_ALIGN(st.size));
}

static uint64_t find(struct fl_file *file, struct fl_vma *vma, uint64_t addr, uint64_t index)
{
	uint64_t at = index << PAGE_SHIFT, pfn = vma_pfn(vma, addr);

	if (fl_host_next_data(host_file(file)->fd, at) != (int64_t)at)
		return FL_PFN_NONE;
	if (vma->flags & VM_SHARED) /* otherwise it is only the place for a copy */
		__atomic_store_n(&fl_folio(&fl_native.mm, pfn)->mapping, file, __ATOMIC_RELAXED);
	return pfn;
}

/* A page of zeros for a hole: to SEEK_DATA, what fallocate() makes is still a hole. */
static int write_zeros(struct fl_shared_file *f, uint64_t offset)
{
	static const char zeros[PAGE_SIZE];
	struct fl_host_file st;
	uint64_t n;

	if (fl_host_fstat(f->fd, &st) || st.size <= offset)
		return -ENOMEM;
	n = fl_min(PAGE_SIZE, st.size - offset);
	return fl_host_pwrite(f->fd, zeros, n, offset, FL_FP_FILL) == (long)n ? 0 : -ENOMEM;
}

static uint64_t make(struct fl_file *file, struct fl_vma *vma, uint64_t addr, uint64_t index)
{
	if (write_zeros(host_file(file), index << PAGE_SHIFT))
		return FL_PFN_NONE;
	return find(file, vma, addr, index);
}

static int read_page(struct fl_file *file, uint64_t index, uint64_t pfn)
{
	char *to = fl_kmap_local(&fl_native.mm, pfn);
	long n = fl_host_pread(host_file(file)->fd, to, PAGE_SIZE, index << PAGE_SHIFT);

	if (n < 0)
		return -ENOMEM;
	if (n < (long)PAGE_SIZE)
		memset(to + n, 0, PAGE_SIZE - (size_t)n);
	bit_fill(chunk_of(pfn)->resident, (unsigned)(pfn % CHUNK_PAGES), 1, true);
	return 0;
}

/* It is there since it was filled. */
static int add(struct fl_file *file, struct fl_vma *vma, uint64_t pfn, uint64_t index)
{
	__atomic_store_n(&fl_folio(&fl_native.mm, pfn)->mapping, file, __ATOMIC_RELAXED);
	return 0;
}

/* ---- large folios: the host's, as far as they were made or found here. => file->lock held ---- */

static bool has_large(const struct fl_shared_file *f, uint64_t first)
{
	const struct large *p = f->large;

	while (p && p->first != first)
		p = p->next;
	return p;
}

static int add_large(struct fl_shared_file *f, uint64_t first)
{
	struct large *p;

	if (has_large(f, first))
		return 0;
	p = fl_alloc(&fl_native.mm.metadata, sizeof(*p), FL_FP_FILE);
	if (!p)
		return -ENOMEM;
	*p = (struct large){.next = f->large, .first = first};
	f->large = p;
	return 0;
}

/* Those that have some of the pages [first, end) are split. */
static void drop_large(struct fl_shared_file *f, uint64_t first, uint64_t end)
{
	for (struct large **at = &f->large, *p; (p = *at);) {
		if (p->first >= end || p->first + CHUNK_PAGES <= first) {
			at = &p->next;
			continue;
		}
		*at = p->next;
		fl_free(&fl_native.mm.metadata, p, sizeof(*p));
	}
}

/* Is a page missing, before the end of the file? Another process may have removed it. */
static bool has_hole(struct fl_shared_file *f, uint64_t first)
{
	uint64_t end = fl_min(first + CHUNK_PAGES, nr_pages(&f->file));
	int64_t hole = fl_host_next_hole(f->fd, first << PAGE_SHIFT); /* the end of the file, if there is none */

	return hole < 0 || PAGES(PAGE_ALIGN((uint64_t)hole)) < end;
}

static uint64_t find_large(struct fl_file *file, struct fl_vma *vma, uint64_t addr, uint64_t first)
{
	uint64_t pfn = vma_pfn(vma, addr);

	if (!has_large(host_file(file), first) || has_hole(host_file(file), first))
		return FL_PFN_NONE;
	for (unsigned i = 0; i < CHUNK_PAGES && (vma->flags & VM_SHARED); i++)
		__atomic_store_n(&fl_folio(&fl_native.mm, pfn + i)->mapping, file, __ATOMIC_RELAXED);
	return pfn;
}

static int collapse(struct fl_file *file, uint64_t first, bool full)
{
	struct fl_shared_file *f = host_file(file);
	int64_t data = fl_host_next_data(f->fd, first << PAGE_SHIFT);
	int err;

	if (data < 0 || PAGES((uint64_t)data) >= first + CHUNK_PAGES)
		return -EINVAL;
	if (full && (has_hole(f, first) || nr_pages(file) < first + CHUNK_PAGES))
		return -EBUSY;
	err = fl_host_collapse_file(f->fd, first << PAGE_SHIFT);
	return err ? err : add_large(f, first);
}

static void free_file(struct fl_shared_file *f)
{
	fl_free(&fl_native.mm.metadata, f->bounce, BOUNCE_SIZE);
	fl_free(&fl_native.mm.metadata, f, sizeof(*f));
}

static void release(struct fl_file *file)
{
	struct fl_shared_file *f = host_file(file);

	for (struct fl_shared_file **p = &files; *p; p = &(*p)->next)
		if (*p == f) {
			*p = f->next;
			break;
		}
	drop_large(f, 0, UINT64_MAX);
	fl_kept_put(f->fd);
	free_file(f);
}

static const struct fl_file_ops host_file_ops = {
	.nr_pages = nr_pages,
	.find = find,
	.make = make,
	.read = read_page,
	.add = add,
	.find_large = find_large,
	.collapse = collapse,
	.release = release,
	.untold = true,
};

/* ---- frames ---- */

/* The byte of the file that a frame is. */
static uint64_t file_offset(uint64_t pfn)
{
	return (chunk_of(pfn)->index + pfn % CHUNK_PAGES) << PAGE_SHIFT;
}

int fl_file_zero(struct fl_shared_file *f, uint64_t pfn)
{
	return write_zeros(f, file_offset(pfn));
}

/* How much of [offset, offset + len) comes before the first page that the file has. */
static uint64_t hole_at(struct fl_shared_file *f, uint64_t offset, uint64_t len)
{
	int64_t data = fl_host_next_data(f->fd, offset);

	return data < 0 ? len : fl_min(len, (uint64_t)data - offset);
}

/*
 * Write what is in the bounce buffer, of which `inside` is before the end of the file. The last page is filled to its
 * end: what is beyond the file's can be reached only by a mapping. Returns how much, in whole pages; -ENOMEM
 */
static int64_t write_bounced(struct fl_shared_file *f, uint64_t pfn, uint64_t offset, uint64_t len, uint64_t inside)
{
	long done = fl_host_pwrite(f->fd, f->bounce, inside, offset, FL_FP_NONE);

	if (done <= 0)
		return -ENOMEM;
	if ((uint64_t)done < inside)
		return (int64_t)PAGE_ALIGN_DOWN((uint64_t)done);
	memcpy((char *)fl_kmap_local(&fl_native.mm, pfn) + inside, f->bounce + inside, len - inside);
	return (int64_t)len;
}

/*
 * The source is read first, as it may be another mapping of the very page, and reading it may make that page: the
 * memory manager has found a hole, so whatever is there now was not there before. And a write out of registered
 * memory does not end in the middle of a page.
 */
static int64_t fill_pages(struct fl_shared_file *f, uint64_t pfn, const struct fl_source *source, uint64_t src,
			  uint64_t len, uint64_t size)
{
	uint64_t offset = file_offset(pfn);

	len = PAGE_ALIGN_DOWN(source->read(&fl_native.mm, f->bounce, src, len));
	if (!len)
		return 0;
	len = hole_at(f, offset, len);
	if (!len)
		return -EEXIST;
	if (offset >= size)
		return -ENOMEM;
	return write_bounced(f, pfn, offset, len, fl_min(len, size - offset));
}

int64_t fl_file_fill(struct fl_shared_file *f, uint64_t pfn, const struct fl_source *source, uint64_t src,
		     uint64_t len)
{
	uint64_t done = 0;
	struct fl_host_file st;

	if (fl_host_fstat(f->fd, &st))
		return -ENOMEM;
	while (done < len) {
		uint64_t n = fl_min(len - done, BOUNCE_SIZE);
		int64_t got = fill_pages(f, pfn + PAGES(done), source, src + done, n, st.size);

		if (got > 0)
			done += (uint64_t)got;
		if (got < (int64_t)n)
			return done ? (int64_t)done : got;
	}
	return (int64_t)done;
}

void fl_file_unmap_direct(uint64_t pfn, uint64_t nr)
{
	fl_host_map_file_at(fl_native.pool_fd, pfn << PAGE_SHIFT, nr << PAGE_SHIFT, PROT_READ | PROT_WRITE,
			    fl_addr(fl_kmap_local(&fl_native.mm, pfn)), FL_FP_NONE);
}

/* ---- files by their mappings ---- */

static struct fl_shared_file *known_file(const struct fl_host_map *map)
{
	for (struct fl_shared_file *f = files; f; f = f->next)
		if (f->dev == map->dev && f->inode == map->inode)
			return f;
	return NULL;
}

bool fl_file_fit(const struct fl_host_map *map)
{
	int fd;

	if (!map->inode)
		return false;
	if (known_file(map))
		return true;
	fd = fl_kept_get(map);
	if (fd < 0)
		return false;
	fl_kept_put(fd);
	return true;
}

static struct fl_shared_file *alloc_file(void)
{
	struct fl_shared_file *f = fl_alloc(&fl_native.mm.metadata, sizeof(*f), FL_FP_FILE);

	if (f)
		f->bounce = fl_alloc(&fl_native.mm.metadata, BOUNCE_SIZE, FL_FP_FILE);
	if (f && f->bounce)
		return f;
	fl_free(&fl_native.mm.metadata, f, sizeof(*f));
	return NULL;
}

/* With a reference. NULL: *err says why. */
static struct fl_shared_file *get_file(const struct fl_host_map *map, int *err)
{
	struct fl_shared_file *f = known_file(map);
	int fd;

	if (f) {
		fl_file_get(&f->file);
		return f;
	}
	fd = fl_fail(FL_FP_ADOPT) ? -ENOMEM : fl_kept_get(map);
	f = fd < 0 ? NULL : alloc_file();
	if (!f) {
		*err = fd < 0 ? fd : -ENOMEM;
		if (fd >= 0)
			fl_kept_put(fd);
		return NULL;
	}
	fl_file_init(&f->file, &host_file_ops);
	f->fd = fd;
	f->dev = map->dev;
	f->inode = map->inode;
	f->next = files;
	files = f;
	return f;
}

/* ---- adopting and giving back ---- */

/* May the mapping be written, or be made writable? Asked of another mapping of the same pages. */
static bool may_write(uint64_t start)
{
	long copy = fl_host_alias(start, PAGE_SIZE, 0);
	bool ok;

	if (fl_host_failed(copy))
		return false;
	ok = fl_host_mprotect((uint64_t)copy, PAGE_SIZE, PROT_READ | PROT_WRITE) == 0;
	fl_host_munmap((uint64_t)copy, PAGE_SIZE);
	return ok;
}

/* What the host maps with one leaf, at `from`, becomes a leaf. => tables exist */
void fl_file_set_leaves(struct fl_mm *mm, struct fl_vma *vma, uint64_t from)
{
	struct fl_shared_file *f = host_file(vma->file);

	fl_vma_lock_file(vma);
	for (uint64_t at = PMD_ALIGN(vma->start); at + PMD_SIZE <= vma->end; at += PMD_SIZE) {
		uint64_t first = fl_vma_page_index(vma, at);

		if (fl_pte_offset(mm, at) && first % CHUNK_PAGES == 0 &&
		    fl_host_mapped_huge(from + (at - vma->start)) && add_large(f, first) == 0 &&
		    find_large(vma->file, vma, at, first) != FL_PFN_NONE)
			fl_map_large(mm, vma, at); /* otherwise it is page by page */
	}
	fl_vma_unlock_file(vma);
}

/* What the program has in its tables goes into the engine's. => tables exist */
void fl_file_set_entries(struct fl_mm *mm, struct fl_vma *vma)
{
	uint64_t run_end;
	enum fl_run what;

	fl_file_set_leaves(mm, vma, vma->start);
	for (uint64_t at = vma->start; at < vma->end && fl_host_resident_next(&at, vma->end, &run_end, &what) == 1;
	     at = run_end)
		for (uint64_t a = at; a < run_end; a += PAGE_SIZE) {
			fl_pte_t *ptep = fl_pte_offset(mm, a); /* NULL: it is a leaf's */
			uint64_t pfn = ptep ? find(vma->file, vma, a, fl_vma_page_index(vma, a)) : FL_PFN_NONE;

			if (pfn == FL_PFN_NONE)
				continue;
			fl_folio(mm, pfn)->refcount = fl_folio(mm, pfn)->mapcount = 1;
			set_pte(ptep, fl_maybe_mkwrite(mm, vma, pte_mkdirty(mk_pte(pfn, vma)), 1));
		}
}

/* The extent from pgoff on has the file's pages from `index` on. */
static void set_chunks(uint64_t pgoff, uint64_t nr, struct fl_shared_file *f, uint64_t index)
{
	for (uint64_t i = pgoff / CHUNK_PAGES; i <= (pgoff + nr - 1) / CHUNK_PAGES; i++) {
		fl_native.chunks[i].file = f;
		fl_native.chunks[i].index = index + i * CHUNK_PAGES - pgoff;
	}
}

/* The file is in the direct map, and the range hidden. Undone if it fails. => there are tables */
static int hide_shared(struct fl_mm *mm, uint64_t start, uint64_t end, struct fl_shared_file *f, uint64_t offset,
		       uint64_t pgoff)
{
	int err = fl_host_map_file_at(f->fd, offset, end - start, PROT_READ | PROT_WRITE,
				      fl_addr(fl_kmap_local(mm, pgoff)), FL_FP_ADOPT);

	if (!err)
		err = fl_host_mprotect(start, end - start, PROT_NONE);
	if (err) {
		fl_file_unmap_direct(pgoff, PAGES(end - start));
		return -ENOMEM;
	}
	fl_host_munlock(start, end - start); /* markers are refused on locked memory */
	return 0;
}

static int adopt_pages(struct fl_mm *mm, uint64_t start, uint64_t end, const struct fl_host_map *map,
		       struct fl_shared_file *f)
{
	uint64_t offset = map->offset + (start - map->start), pgoff;
	struct fl_vma *vma;
	bool any;

	if (!may_write(start))
		return -EPERM;
	if (fl_prepare_tables(mm, start, end, &any))
		goto fail;
	pgoff = fl_extent_alloc(start, end);
	if (pgoff == FL_PFN_NONE)
		goto fail;
	if (hide_shared(mm, start, end, f, offset, pgoff)) {
		fl_extent_free(start, end, pgoff);
		goto fail;
	}
	set_chunks(pgoff, PAGES(end - start), f, PAGES(offset));
	vma = fl_vma_insert(mm, start, end, pgoff, fl_prot_access(map->prot) | VM_SHARED | VM_SOFTDIRTY, NULL);
	fl_vma_set_file(vma, &f->file, PAGES(offset));
	if (any)
		fl_file_set_entries(mm, vma);
	return 0;
fail:
	fl_free_pgtables(mm, start, end);
	return -ENOMEM;
}

static int adopt_shared(struct fl_mm *mm, uint64_t start, uint64_t end, const struct fl_host_map *map)
{
	int err = 0;
	struct fl_shared_file *f = get_file(map, &err);

	if (!f)
		return err;
	err = adopt_pages(mm, start, end, map, f);
	fl_file_put(&f->file); /* the mapping has a reference of its own */
	return err;
}

/* Private: pages copied here are the engine's, as anonymous memory is; the file is asked for the others. */
static int adopt_private(struct fl_mm *mm, uint64_t start, uint64_t end, const struct fl_host_map *map)
{
	int err = 0;
	struct fl_shared_file *f = get_file(map, &err);

	if (!f)
		return err;
	err = fl_adopt_private(mm, start, end, fl_prot_access(map->prot), &f->file,
			       PAGES(map->offset + (start - map->start)));
	fl_file_put(&f->file);
	return err;
}

int fl_file_adopt(struct fl_mm *mm, uint64_t start, uint64_t end, const struct fl_host_map *map)
{
	return map->shared ? adopt_shared(mm, start, end, map) : adopt_private(mm, start, end, map);
}

/* Unhide the whole mapping, and drop host entries for pages that the engine no longer shows. */
static void show_all(struct fl_vma *vma)
{
	uint64_t len = vma->end - vma->start;

	fl_host_drop(vma->start, len);
	fl_cache_forget(vma->pgoff, PAGES(len));
	if (fl_native.guard)
		fl_host_unguard_all(vma->start, len);
	while (fl_host_mprotect(vma->start, len, fl_access_prot(vma->flags)) == -ENOMEM && fl_cache_shrink(vma->mm))
		;
}

/* A leaf becomes one at `to`, if that is aligned as it is; otherwise nothing. */
static void populate_leaf(uint64_t to, uint64_t len)
{
	if (len == PMD_SIZE && (to & ~PMD_MASK) == 0 && fl_host_collapse(to))
		fl_host_populate(to, len, false);
}

/* A load would also bring cached neighbours in; a store does not. */
void fl_file_populate(struct fl_mm *mm, const struct fl_vma *vma, uint64_t start, uint64_t end, uint64_t to)
{
	fl_for_each_pmd(mm, addr, next, start, end) {
		if (fl_slot_at(mm, addr).pmdp) {
			populate_leaf(to + (addr - start), next - addr);
			continue;
		}
		for (uint64_t a = addr, from; a < next; a = fl_max(a, from + PAGE_SIZE)) {
			for (from = a; a < next && pte_present(fl_pte_get(mm, a)); a += PAGE_SIZE)
				;
			if (a > from)
				fl_host_populate(to + (from - start), a - from, vma->flags & VM_WRITE);
		}
	}
}

void fl_file_release(struct fl_mm *mm, struct fl_vma *vma)
{
	show_all(vma);
	fl_file_populate(mm, vma, vma->start, vma->end, vma->start);
	fl_zap_range(mm, vma, vma->start, vma->end);
	fl_vma_set(vma, vma->flags | VM_RELEASED, NULL);
}

void fl_file_give_back(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	struct fl_vma *vma;

	for (uint64_t at = start; (vma = fl_find_vma(mm, at)) && vma->start < end;) {
		uint64_t from = fl_max(start, vma->start), to = fl_min(end, vma->end);

		at = to;
		if (!vma->file || !(vma->flags & VM_SHARED))
			continue;
		fl_vma_split(mm, from);
		fl_vma_split(mm, to);
		vma = fl_vma_lookup(mm, from);
		if (!(vma->flags & VM_RELEASED))
			fl_file_release(mm, vma);
		fl_do_munmap(mm, from, to);
	}
}

void fl_file_fork_child(struct fl_mm *mm)
{
	for (uint32_t i = 0; i < mm->nr_vmas; i++) {
		struct fl_vma *vma = mm->vmas[i];

		if (!vma->file)
			continue;
		fl_mutex_init(&vma->file->lock, FL_RANK_FILE); /* a thread of the parent may have held it */
		if ((vma->flags & VM_SHARED) &&
		    !(vma->flags & VM_RELEASED)) /* a child finds its pages again itself */
			fl_zap_range(mm, vma, vma->start, vma->end);
	}
}

/* => mmap_lock held for writing */
static void zap(struct fl_shared_file *f, uint64_t first, uint64_t end, bool cow)
{
	fl_mutex_lock(&f->file.lock);
	drop_large(f, first, end);
	fl_mutex_unlock(&f->file.lock);
	for (struct fl_list *pos = f->file.vmas.next; pos != &f->file.vmas; pos = pos->next) {
		struct fl_vma *vma = fl_list_entry(pos, struct fl_vma, by_file);
		uint64_t lo = fl_max(first, vma->index), hi = fl_min(end, vma->index + PAGES(vma->end - vma->start));

		if (lo < hi && !(vma->flags & VM_RELEASED))
			fl_zap_file_range(&fl_native.mm, vma, vma->start + ((lo - vma->index) << PAGE_SHIFT),
					  vma->start + ((hi - vma->index) << PAGE_SHIFT), cow);
	}
}

bool fl_file_any(void)
{
	return __atomic_load_n(&files, __ATOMIC_RELAXED);
}

void fl_file_zap(const struct fl_host_file *file, uint64_t first, uint64_t end, bool cow)
{
	for (struct fl_shared_file *f = files; f; f = f->next)
		if (f->inode == file->inode && f->dev == file->dev)
			zap(f, first, end, cow);
}

int fl_file_remove(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end)
{
	if (!(vma->flags & VM_SHARED))
		return -EACCES;
	zap(host_file(vma->file), fl_vma_page_index(vma, start), fl_vma_page_index(vma, end - PAGE_SIZE) + 1, false);
	return fl_host_madvise(fl_addr(fl_kmap_local(mm, vma_pfn(vma, start))), end - start, MADV_REMOVE);
}

void fl_file_remove_elsewhere(uint64_t start, uint64_t end)
{
	struct fl_host_map map;

	for (uint64_t at = start; at < end && fl_host_maps_next(at, &map) == 1 && map.start < end; at = map.end) {
		struct fl_shared_file *f = map.inode ? known_file(&map) : NULL;
		uint64_t from = fl_max(start, map.start), to = fl_min(end, map.end);

		if (f)
			zap(f, PAGES(map.offset + (from - map.start)), PAGES(map.offset + (to - map.start)), false);
	}
}

/* The registered file at *at or above, with a reference, and its part of [*at, end), which begins behind it then. */
static struct fl_shared_file *next_known(uint64_t *at, uint64_t end, uint64_t *from, struct fl_host_map *map)
{
	struct fl_shared_file *f = NULL;

	fl_mmap_write_lock(&fl_native.mm);
	while (!f && *at < end && fl_host_maps_next(*at, map) == 1 && map->start < end) {
		f = map->inode ? known_file(map) : NULL;
		*from = fl_max(*at, map->start);
		*at = map->end;
	}
	if (f)
		fl_file_get(&f->file);
	fl_mmap_write_unlock(&fl_native.mm);
	return f;
}

int fl_file_collapse_elsewhere(uint64_t start, uint64_t end)
{
	struct fl_shared_file *f;
	struct fl_host_map map;
	uint64_t from;
	int err = 0;

	while (!err && (f = next_known(&start, end, &from, &map))) {
		for (uint64_t a = PMD_ALIGN(from); !err && a + PMD_SIZE <= fl_min(end, map.end); a += PMD_SIZE) {
			uint64_t first = PAGES(map.offset + (a - map.start));

			err = first % CHUNK_PAGES ? -EINVAL : fl_collapse_cache(&f->file, first);
		}
		fl_mmap_write_lock(&fl_native.mm); /* it may be the last reference */
		fl_file_put(&f->file);
		fl_mmap_write_unlock(&fl_native.mm);
	}
	return err == -EINVAL ? 0 : err; /* the host will report that itself */
}

/* SPDX-License-Identifier: MIT */
/*
 * cache.c - the host's page tables as a cache of the engine's.
 *
 * With guard markers a hidden page costs no host mapping: what a mapping has of a chunk is, once in use ("active"),
 * one host mapping with the rights of its pages, and a marker on every hidden page. What is not yet in use has no
 * markers, and no rights either. Only pages that may be read but not written, among others that may be written, split
 * the host mapping. Without guard markers PROT_NONE hides, and every border between unlike pages is a split.
 *
 * Memory in place is the host's own private mapping, whose pages a marker would drop: it is as without markers. It
 * starts with all that the mapping allows; taking a right is mprotect(), and what is evicted of it stays readable,
 * unless a hint hides some of it.
 *
 * The number of splits is the capacity of the cache, which the host limits. Eviction keeps it below a budget: a chunk
 * forgets all it showed and becomes one mapping again. Nothing fails for it; the pages fault once more when they are
 * used. Eviction is the only operation on pages of a mapping that the caller has not pinned; a mapping that a writer
 * is about to change is left alone.
 *
 * Locks: what is cached of a mapping changes under its cache_lock. Rights are given with it held for reading, as the
 * page-table lock keeps others out of the same 2 MiB; they are taken, and pages are evicted, with it held for
 * writing. For another mapping it is only tried. A thread that has sole access to a mapping, or has removed it from
 * the table, needs none.
 *
 * The order of host calls keeps the invariant "never more than the entry": rights are taken before a page is shown,
 * and a page is hidden before rights are given around it.
 */
#include "native/native.h"

#include "host/count.h"

#include <string.h>

/* ---- the host's words for rights ---- */

int fl_access_prot(uint32_t flags)
{
	return ((flags & VM_READ) ? PROT_READ : 0) | ((flags & VM_WRITE) ? PROT_WRITE : 0) |
	       ((flags & VM_EXEC) ? PROT_EXEC : 0);
}

/* Of memory in place, whose rights the program can see, exactly its own, or these without writing. */
static int own_prot(uint32_t flags, enum fl_right right)
{
	int prot = fl_access_prot(flags);

	if (right == FL_RIGHT_WRITE)
		return prot;
	return right == FL_RIGHT_NONE ? PROT_NONE : (prot & ~PROT_WRITE) | ((prot & PROT_WRITE) ? PROT_READ : 0);
}

static int right_prot(const struct fl_vma *vma, enum fl_right right)
{
	int prot = PROT_NONE;

	if (vma->flags & VM_IN_PLACE)
		return own_prot(vma->flags, right);
	if (right != FL_RIGHT_NONE)
		prot = PROT_READ | ((vma->flags & VM_EXEC) ? PROT_EXEC : 0);
	return right == FL_RIGHT_WRITE ? prot | PROT_WRITE : prot;
}

/* Is what is hidden of the mapping hidden by guard markers? */
static bool marks(const struct fl_vma *vma)
{
	return fl_native.guard && !(vma->flags & VM_IN_PLACE);
}

/* ---- parts: what a mapping has of a chunk ---- */

struct piece {
	struct fl_vma *vma;
	uint64_t start, end;
	unsigned first, nr;
};

/* What the mapping has of [start, end) and of the 2 MiB that `start` is in, which it has. */
static struct piece piece_at(struct fl_vma *vma, uint64_t start, uint64_t end)
{
	struct piece p = {.vma = vma, .start = start};

	p.end = fl_min(fl_min(end, vma->end), PMD_ALIGN_DOWN(start) + PMD_SIZE);
	p.first = (unsigned)PAGES(start & ~PMD_MASK);
	p.nr = (unsigned)PAGES(p.end - p.start);
	return p;
}

/* What it has of the 2 MiB that addr is in. */
static struct piece whole_piece(struct fl_vma *vma, uint64_t addr)
{
	return piece_at(vma, fl_max(vma->start, PMD_ALIGN_DOWN(addr)), UINT64_MAX);
}

static uint64_t chunk_nr(const struct chunk *c)
{
	return (uint64_t)(c - fl_native.chunks);
}

static bool in_chunk(const struct piece *p, const struct chunk *c)
{
	return !(p->vma->flags & (VM_RELEASED | VM_GONE)) && vma_pfn(p->vma, p->start) / CHUNK_PAGES == chunk_nr(c);
}

/* The next part of a chunk at or above *addr. => mmap_lock held */
static bool piece_next(struct fl_mm *mm, const struct chunk *c, uint64_t *addr, struct piece *p)
{
	uint64_t limit = fl_native.homes[chunk_nr(c)].vbase + PMD_SIZE;
	struct fl_vma *vma;

	while (*addr < limit && (vma = fl_find_vma(mm, *addr)) && vma->start < limit) {
		*p = piece_at(vma, fl_max(*addr, vma->start), limit);
		*addr = p->end;
		if (in_chunk(p, c))
			return true;
	}
	return false;
}

/* Is any of it in use? Without guard markers, what is shown says so. */
static bool piece_active(const struct piece *p)
{
	const struct chunk *c = chunk_of(vma_pfn(p->vma, p->start));

	return bit_any(marks(p->vma) ? c->active : c->shown, p->first, p->nr, true);
}

/* ---- counting ---- */

static uint64_t word(const uint64_t *map, unsigned w)
{
	return __atomic_load_n(&map[w], __ATOMIC_RELAXED);
}

/* A bit for each page of word w that is unlike the next, of which `next` has the first of word w + 1. */
static uint64_t unlike(uint64_t bits, uint64_t next, unsigned w)
{
	return bits ^ (bits >> 1 | (w + 1 < CHUNK_WORDS ? next << 63 : bits & 1ull << 63));
}

/* What is hidden by its mapping's rights, and not by a marker among pages in use, is unlike what is shown. */
static uint64_t bare(const struct chunk *c, unsigned w)
{
	return word(c->shown, w) & ~word(c->active, w);
}

/* Borders between the host's rights. */
static unsigned all_borders(const struct chunk *c)
{
	unsigned n = 0;

	for (unsigned w = 0; w < CHUNK_WORDS; w++) {
		unsigned v = w + 1 < CHUNK_WORDS ? w + 1 : w;

		n += (unsigned)__builtin_popcountll(unlike(word(c->writable, w), word(c->writable, v), w) |
						    unlike(bare(c, w), bare(c, v), w));
	}
	return n;
}

/* The total. It may be slightly stale, and transiently negative, while counts change. */
static uint64_t splits(void)
{
	int64_t n;

	fl_yield_look(&fl_native.splits);
	n = (int64_t)__atomic_load_n(&fl_native.splits, __ATOMIC_RELAXED);
	return n > 0 ? (uint64_t)n : 0;
}

/*
 * Other mappings of the chunk change meanwhile. After publishing a count, re-check it: so the last thread to publish
 * has published the current value.
 */
static void recount(struct chunk *c)
{
	unsigned now, before;
	bool right;

	do {
		now = all_borders(c);
		fl_yield_point(c);
		before = __atomic_exchange_n(&c->splits, (uint16_t)now, __ATOMIC_ACQ_REL);
		right = all_borders(c) == now;
		fl_yield_point(&fl_native.splits);
		__atomic_fetch_add(&fl_native.splits, (uint64_t)now - before, __ATOMIC_RELAXED);
	} while (!right);
}

void fl_chunk_set_up(struct home *home, struct chunk *c)
{
	uint16_t state;
	bool first = false;

	fl_mutex_lock(&fl_native.records_lock);
	while (!first && (state = __atomic_load_n(&home->state, __ATOMIC_ACQUIRE)) != CHUNK_SET_UP) {
		fl_yield_point(home);
		FL_BUG_ON(c->splits); /* what its last extent has shown was forgotten */
		memset(c->active, 0, sizeof(*c) - offsetof(struct chunk, active));
		c->file = NULL;
		bit_fill(c->shown, home->first, home->nr, state > chunk_new(FL_RIGHT_NONE));
		bit_fill(c->writable, home->first, home->nr, state == chunk_new(FL_RIGHT_WRITE));
		fl_yield_point(home);
		first = __atomic_compare_exchange_n(&home->state, &state, CHUNK_SET_UP, false, __ATOMIC_RELEASE,
						    __ATOMIC_RELAXED);
	}
	fl_mutex_unlock(&fl_native.records_lock);
	if (first)
		recount(c);
}

/* All pages that the extent has of a chunk get one right. false: there is a record, or these are not all. */
static bool set_new_right(uint64_t pfn, uint64_t nr, enum fl_right right)
{
	struct home *home = home_of(pfn);
	uint16_t state = __atomic_load_n(&home->state, __ATOMIC_ACQUIRE);

	fl_yield_point(home);
	return state >= CHUNK_NEW && nr == home->nr &&
	       __atomic_compare_exchange_n(&home->state, &state, chunk_new(right), false, __ATOMIC_ACQ_REL,
					   __ATOMIC_RELAXED);
}

void fl_cache_set_budget(void)
{
	uint64_t max = fl_host_maps_max(), used = fl_host_maps_count();

	if (!max)
		max = 65530;
	/* half of what is left is for the program to grow into */
	fl_native.budget = max > used + 256 ? (max - used) / 2 : 128;
}

/*
 * Markers on what is ours of a part of a mapping. Where something else is by now, which nobody has said, they would
 * take what it holds.
 */
static int guard(const struct fl_vma *vma, uint64_t start, uint64_t end)
{
	int err = 0;

	for (uint64_t stop; !err && fl_native_still_next(vma, &start, end, &stop); start = stop)
		err = fl_host_guard(start, stop - start);
	return err;
}

/* ---- eviction ---- */

/* Do the pages of a part have one right? */
static bool uniform(const struct chunk *c, const struct piece *p)
{
	return bit_run(c->shown, p->first, p->nr) == p->nr && bit_run(c->writable, p->first, p->nr) == p->nr;
}

/* Not less than it has to be, since the program may never have been meant to lose it. */
static void evict_in_place(struct chunk *c, const struct piece *p)
{
	bool hidden = bit_any(c->shown, p->first, p->nr, false);

	if (uniform(c, p) ||
	    fl_host_protect(p->start, p->end - p->start, right_prot(p->vma, hidden ? FL_RIGHT_NONE : FL_RIGHT_READ)))
		return;
	bit_fill(c->shown, p->first, p->nr, !hidden);
	bit_fill(c->writable, p->first, p->nr, false);
}

/*
 * Forget all that a part shows; afterwards it is one host mapping. Of a range that is being unmapped nothing is in
 * use any longer, and its addresses, which the table of mappings still has, may belong to another mapping already. =>
 * cache_lock of its mapping held for writing, as for the two below
 */
static void evict_range(struct chunk *c, const struct piece *p)
{
	bool mark = marks(p->vma), w = mark && (p->vma->flags & VM_WRITE);
	enum fl_right base = w ? FL_RIGHT_WRITE : mark ? FL_RIGHT_READ : FL_RIGHT_NONE;

	if (p->vma->flags & VM_IN_PLACE) {
		evict_in_place(c, p);
		return;
	}
	if (mark && fl_host_guard(p->start, p->end - p->start))
		return; /* still shown: leave its rights alone */
	if (mark) {	/* hidden from here on, even if its rights cannot be changed */
		bit_fill(c->shown, p->first, p->nr, false);
		bit_fill(c->active, p->first, p->nr, true);
	}
	if (fl_host_protect(p->start, p->end - p->start, right_prot(p->vma, base)))
		return;
	bit_fill(c->shown, p->first, p->nr, false);
	bit_fill(c->writable, p->first, p->nr, w);
}

/* There is nothing of ours: nothing is shown, and nothing done. */
static void evict_lost(struct chunk *c, const struct piece *p)
{
	bit_fill(c->shown, p->first, p->nr, false);
	bit_fill(c->writable, p->first, p->nr, false);
	bit_fill(c->active, p->first, p->nr, false);
}

/* What is somebody else's by now is left alone. Guard markers would take what it holds. */
static void evict_piece(struct chunk *c, const struct piece *p)
{
	if (!(p->vma->flags & VM_IN_PLACE) && !piece_active(p))
		return;
	for (uint64_t at = p->start, still = at, stop; at < p->end; at = still = stop) {
		struct piece part;

		if (!fl_native_still_next(p->vma, &still, p->end, &stop))
			still = stop = p->end;
		part = piece_at(p->vma, at, still);
		if (at < still)
			evict_lost(c, &part);
		part = piece_at(p->vma, still, stop);
		if (still < stop)
			evict_range(c, &part);
	}
}

/* An eviction, and what it may touch besides its own mapping. */
struct evictor {
	struct fl_mm *mm;
	struct fl_vma *own; /* its cache_lock is held for writing; NULL: mmap_lock is held */
	bool all;	    /* mmap_lock is held: the table of mappings does not change */
};

/* The first mapping that ends above addr, if the evictor may touch it. *got: it was pinned, and must be unpinned */
static struct fl_vma *victim(const struct evictor *e, uint64_t addr, bool *got)
{
	*got = false;
	if (e->all)
		return fl_find_vma(e->mm, addr);
	if (addr >= e->own->start && addr < e->own->end)
		return e->own;
	*got = true;
	return fl_vma_trypin(e->mm, addr);
}

/* Evict what a mapping has of the chunk, at addr or above. Returns where that ends. */
static uint64_t evict_from(const struct evictor *e, struct fl_vma *vma, struct chunk *c, uint64_t addr)
{
	uint64_t limit = PMD_ALIGN_DOWN(addr) + PMD_SIZE;
	bool tried = vma != e->own;
	struct piece p;

	if (vma->start >= limit)
		return limit;
	p = piece_at(vma, fl_max(addr, vma->start), limit);
	/* what has no record has no borders: another extent has the chunk by now */
	if (!in_chunk(&p, c) || new_right(vma_pfn(vma, p.start)) >= 0 ||
	    (tried && !fl_write_trylock(&vma->cache_lock)))
		return p.end;
	evict_piece(c, &p);
	recount(c); /* while the mapping is there, and so is the chunk */
	if (tried)
		fl_write_unlock_tried(&vma->cache_lock);
	return p.end;
}

static void evict(const struct evictor *e, struct chunk *c)
{
	uint64_t addr = __atomic_load_n(&fl_native.homes[chunk_nr(c)].vbase, __ATOMIC_RELAXED),
		 limit = addr + PMD_SIZE; /* in_chunk() knows better */
	struct fl_vma *vma;
	bool got;

	while (addr < limit && (vma = victim(e, addr, &got))) {
		addr = evict_from(e, vma, c, addr);
		if (got)
			fl_vma_put(vma);
	}
	fl_count(evictions, 1);
}

/*
 * Evict, round-robin, until no more than `target` splits are left. Returns whether that has gained anything. A caller
 * with sole access to the mapping, which is in the table, has mmap_lock for writing. => own->cache_lock held for
 * writing, or own is NULL and mmap_lock held
 */
static bool evict_to(struct fl_mm *mm, struct fl_vma *own, uint64_t target, const struct chunk *keep)
{
	struct evictor e = {.mm = mm, .own = own, .all = !own || fl_vma_sole_pin(own)};
	uint64_t before = splits(), chunks = __atomic_load_n(&fl_native.chunks_end, __ATOMIC_RELAXED);

	for (uint64_t seen = 0; seen < chunks && splits() > target; seen++) {
		struct chunk *c;

		fl_yield_point(&fl_native.hand);
		c = &fl_native.chunks[__atomic_fetch_add(&fl_native.hand, 1, __ATOMIC_RELAXED) % chunks];
		fl_yield_look(c);
		if (__atomic_load_n(&c->splits, __ATOMIC_RELAXED) && c != keep)
			evict(&e, c);
	}
	return splits() < before; /* a caller that asks again must come to an end */
}

bool fl_cache_shrink(struct fl_mm *mm)
{
	return evict_to(mm, NULL, splits() / 2, NULL);
}

/*
 * mprotect of a part of a mapping; `room`: it makes room when the host's table is full, and cache_lock is held for
 * writing
 */
static int protect(struct fl_vma *vma, struct chunk *c, uint64_t start, uint64_t end, int prot, bool room)
{
	int err = fl_host_protect(start, end - start, prot);

	while (room && err == -ENOMEM && evict_to(vma->mm, vma, splits() / 2, c))
		err = fl_host_protect(start, end - start, prot);
	return err;
}

/* ---- granting ---- */

/* Hide it under the right that its mapping has now: markers, then rights. */
static int hide_piece(struct chunk *c, const struct piece *p, bool room)
{
	bool w = p->vma->flags & VM_WRITE;
	int err = guard(p->vma, p->start, p->end);

	if (err)
		return err;
	bit_fill(c->shown, p->first, p->nr, false);
	fl_yield_point(c);
	err = protect(p->vma, c, p->start, p->end, right_prot(p->vma, w ? FL_RIGHT_WRITE : FL_RIGHT_READ), room);
	if (err)
		return err;
	bit_fill(c->writable, p->first, p->nr, w);
	bit_fill(c->active, p->first, p->nr, true);
	recount(c);
	return 0;
}

/* First use of a part. After mappings have merged, some of it may be in use already. */
static int activate(struct chunk *c, const struct piece *p, bool room)
{
	int err = 0;

	if (likely(!bit_any(c->active, p->first, p->nr, false)))
		return 0;
	for (unsigned i = 0, run; i < p->nr && !err; i += run) {
		uint64_t at = p->start + ((uint64_t)i << PAGE_SHIFT);
		struct piece part;

		run = bit_run(c->active, p->first + i, p->nr - i);
		part = piece_at(p->vma, at, at + ((uint64_t)run << PAGE_SHIFT));
		if (!bit_get(c->active, part.first))
			err = hide_piece(c, &part, room);
	}
	return err;
}

/* Hide a part that is in use anew. */
static int conform_piece(struct chunk *c, const struct piece *p)
{
	int err;

	if (marks(p->vma))
		return piece_active(p) ? hide_piece(c, p, true) : 0;
	err = protect(p->vma, c, p->start, p->end, PROT_NONE, true);
	if (err)
		return err;
	bit_fill(c->shown, p->first, p->nr, false);
	bit_fill(c->writable, p->first, p->nr, false);
	recount(c);
	return 0;
}

int fl_native_conform(struct fl_mm *mm, struct fl_vma *vma)
{
	struct piece p;
	int err = 0;

	if (vma->flags & VM_IN_PLACE) /* fl_cache_protect() has been here */
		return 0;
	fl_write_lock(&vma->cache_lock);
	for (uint64_t a = vma->start; a < vma->end && !err; a = p.end) {
		p = whole_piece(vma, a);
		err = conform_piece(chunk_of(vma_pfn(vma, a)), &p);
	}
	fl_write_unlock(&vma->cache_lock);
	return err;
}

void fl_cache_unhide(struct fl_vma *vma)
{
	if (fl_native.guard)
		fl_host_unguard_all(vma->start, vma->end - vma->start);
	fl_cache_forget(vma->pgoff, PAGES(vma->end - vma->start));
}

/* Give the pages the right, run by run of pages that have another one now. */
static int set_rights(struct fl_vma *vma, struct chunk *c, unsigned first, unsigned nr, bool w, bool room)
{
	int prot = right_prot(vma, w ? FL_RIGHT_WRITE : FL_RIGHT_READ);
	int err = 0;

	while (nr && !err) {
		unsigned run = bit_run(c->writable, first, nr);
		uint64_t addr = fl_native.homes[chunk_nr(c)].vbase + ((uint64_t)first << PAGE_SHIFT);
		bool same = bit_get(c->writable, first) == w;

		if (!marks(vma)) {
			run = fl_min(run, bit_run(c->shown, first, nr));
			same = same && bit_get(c->shown, first);
		}
		if (!same)
			err = protect(vma, c, addr, addr + ((uint64_t)run << PAGE_SHIFT), prot, room);
		if (!err)
			bit_fill(c->writable, first, run, w);
		if (!err && !marks(vma))
			bit_fill(c->shown, first, run, true);
		first += run;
		nr -= run;
	}
	return err;
}

/* There is no room for a split: the part gets one right, and forgets what it showed. */
static int rebase(struct chunk *c, const struct piece *p, bool w)
{
	int err = guard(p->vma, p->start, p->end);

	if (err)
		return err;
	bit_fill(c->shown, p->first, p->nr, false);
	err = fl_host_protect(p->start, p->end - p->start, right_prot(p->vma, w ? FL_RIGHT_WRITE : FL_RIGHT_READ));
	if (err)
		return err;
	bit_fill(c->writable, p->first, p->nr, w);
	return 0;
}

/*
 * The pages of a file exist already: having them in the host's tables saves its fault, and shows in others'. For a
 * leaf the host is also asked to map all of it at once: where markers have been it does not do so by itself.
 */
static void populate(struct fl_mm *mm, uint64_t addr, uint64_t nr)
{
	bool leaf = nr == CHUNK_PAGES && pmd_leaf(pmdp_get_lockless(fl_pmd_offset(mm, addr)));

	if (!leaf || fl_host_collapse(addr))
		fl_host_populate(addr, nr << PAGE_SHIFT, false);
}

/* => cache_lock held, for writing if others may be evicted to make `room` */
static int show(struct chunk *c, const struct piece *p, bool w, bool room)
{
	struct piece whole = whole_piece(p->vma, p->start);
	bool mark = marks(p->vma);
	int err = mark ? activate(c, &whole, room) : 0;

	if (err)
		return err;
	err = set_rights(p->vma, c, p->first, p->nr, w, room);
	fl_yield_point(c);
	if (err && mark && room)
		err = rebase(c, &whole, w);
	if (!err && mark && bit_any(c->shown, p->first, p->nr, false) &&
	    fl_host_unguard(p->start, p->end - p->start) == 0)
		bit_fill(c->shown, p->first, p->nr, true);
	recount(c);
	return err;
}

void fl_native_grant(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, uint64_t nr, enum fl_right right)
{
	struct piece p = piece_at(vma, addr, addr + (nr << PAGE_SHIFT));
	struct chunk *c = chunk_of(vma_pfn(vma, addr));
	bool w = right == FL_RIGHT_WRITE;
	int err;

	if (right == FL_RIGHT_NONE)
		return;
	if (!(vma->flags & VM_IN_PLACE)) /* the program's own access may allocate from now on */
		bit_fill(c->resident, p.first, p.nr, true);
	fl_read_lock(&vma->cache_lock);
	err = show(c, &p, w, false);
	fl_read_unlock(&vma->cache_lock);
	if (err || splits() > fl_native.budget) {
		fl_write_lock(&vma->cache_lock);
		if (err)
			err = show(c, &p, w, true);
		if (splits() > fl_native.budget)
			evict_to(mm, vma, fl_native.budget - fl_native.budget / 8, c);
		fl_write_unlock(&vma->cache_lock);
	}
	if (c->file && !err)
		populate(mm, addr, nr);
}

/* ---- taking rights away ---- */

/* Similar host calls on neighbouring ranges of one mapping become one call. */
struct batch {
	struct fl_vma *vma;
	uint64_t start, end;
	enum fl_right right; /* the right that is left */
	int prot;	     /* as the host has it */
};

/*
 * The host has done it: update the bitmaps. `hidden`: the pages were hidden instead of only losing the write right.
 */
static void batch_done(const struct batch *b, bool hidden)
{
	for (uint64_t at = b->start, next; at < b->end; at = next) {
		struct chunk *c = chunk_of(vma_pfn(b->vma, at));

		next = fl_min(b->end, PMD_ALIGN_DOWN(at) + PMD_SIZE);
		if (hidden)
			bit_fill(c->shown, (unsigned)PAGES(at & ~PMD_MASK), (unsigned)PAGES(next - at), false);
		if (!hidden || !marks(b->vma))
			bit_fill(c->writable, (unsigned)PAGES(at & ~PMD_MASK), (unsigned)PAGES(next - at), false);
		recount(c);
	}
}

/* Hiding has no alternative. If the host has no room for it, hiding all of the mapping needs none. */
static void hide(struct batch *b)
{
	while (marks(b->vma) ? guard(b->vma, b->start, b->end)
			     : protect(b->vma, NULL, b->start, b->end, PROT_NONE, true)) {
		if (!marks(b->vma)) {
			b->start = b->vma->start;
			b->end = b->vma->end;
		}
		fl_host_yield();
	}
}

static void batch_flush(struct batch *b)
{
	bool hidden = b->right == FL_RIGHT_NONE;

	if (b->start == b->end)
		return;
	/* a host without room for another mapping can still hide: the pages fault once more */
	fl_yield_point(b->vma);
	if (hidden || fl_host_protect(b->start, b->end - b->start, b->prot)) {
		hide(b);
		hidden = true;
	}
	batch_done(b, hidden);
	b->start = b->end = 0;
}

/* Does what begins at `start` continue it? If not, flush first: that may evict what is looked at next. */
static void batch_begin(struct batch *b, uint64_t start, enum fl_right right, int prot)
{
	if (b->start != b->end && b->end == start && b->right == right && b->prot == prot)
		return;
	batch_flush(b);
	b->start = b->end = start;
	b->right = right;
	b->prot = prot;
}

static void batch_add(struct batch *b, uint64_t start, uint64_t end, enum fl_right right, int prot)
{
	batch_begin(b, start, right, prot);
	b->end = end;
}

static void shrink_piece(struct batch *b, struct chunk *c, const struct piece *p, enum fl_right max)
{
	int prot = right_prot(p->vma, FL_RIGHT_READ);

	if (!bit_any(c->shown, p->first, p->nr, true))
		return;
	if (max == FL_RIGHT_NONE) {
		batch_add(b, p->start, p->end, FL_RIGHT_NONE, PROT_NONE);
		return;
	}
	if (marks(p->vma)) {
		if (bit_any(c->writable, p->first, p->nr, true))
			batch_add(b, p->start, p->end, FL_RIGHT_READ, prot);
		return;
	}
	for (unsigned i = 0, run; i < p->nr; i += run) { /* hidden pages must stay hidden */
		uint64_t at = p->start + ((uint64_t)i << PAGE_SHIFT);

		batch_begin(b, at, FL_RIGHT_READ, prot);
		run = bit_run(c->shown, p->first + i, p->nr - i);
		if (bit_get(c->shown, p->first + i) && bit_any(c->writable, p->first + i, run, true))
			batch_add(b, at, at + ((uint64_t)run << PAGE_SHIFT), FL_RIGHT_READ, prot);
	}
}

void fl_native_invalidate(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end, enum fl_right max)
{
	struct batch b = {.vma = vma};
	struct piece p;

	if (max == FL_RIGHT_WRITE || (vma->flags & (VM_RELEASED | VM_GONE)))
		return;
	fl_write_lock(&vma->cache_lock);
	for (; start < end; start = p.end) {
		p = piece_at(vma, start, end);
		shrink_piece(&b, chunk_of(vma_pfn(vma, start)), &p, max);
	}
	batch_flush(&b);
	if (splits() > fl_native.budget)
		evict_to(mm, vma, fl_native.budget - fl_native.budget / 8, NULL);
	fl_write_unlock(&vma->cache_lock);
}

static void forget(struct chunk *c, unsigned first, unsigned nr)
{
	bit_fill(c->shown, first, nr, false);
	bit_fill(c->writable, first, nr, false);
	bit_fill(c->active, first, nr, false); /* next time it starts without markers */
	recount(c);
}

void fl_cache_forget(uint64_t pfn, uint64_t nr)
{
	while (nr) {
		unsigned n = (unsigned)fl_min(nr, CHUNK_PAGES - pfn % CHUNK_PAGES);

		if (!set_new_right(pfn, n, FL_RIGHT_NONE))
			forget(chunk_of(pfn), (unsigned)(pfn % CHUNK_PAGES), n);
		pfn += n;
		nr -= n;
	}
}

/* The right that a page has in the host's tables, as far as the cache knows. It sets up no record. */
static enum fl_right cached_right(uint64_t pfn)
{
	int right = new_right(pfn);
	unsigned i = (unsigned)(pfn % CHUNK_PAGES);
	const struct chunk *c;

	if (right >= 0)
		return (enum fl_right)right;
	c = chunk_of(pfn);
	return !bit_get(c->shown, i) ? FL_RIGHT_NONE : bit_get(c->writable, i) ? FL_RIGHT_WRITE : FL_RIGHT_READ;
}

bool fl_native_caches(const struct fl_vma *vma, uint64_t addr, enum fl_right right)
{
	return cached_right(vma_pfn(vma, addr)) >= right;
}

bool fl_cache_writable(struct fl_mm *mm, uint64_t addr)
{
	struct fl_vma *vma = fl_vma_pin(mm, addr);
	bool ret;

	if (!vma)
		return false;
	/*
	 * a page of a file may be gone when it is touched: SIGBUS, which is blocked in the fault entry, would end the
	 * process
	 */
	ret = !(vma->flags & (VM_RELEASED | VM_SHARED | VM_IN_PLACE)) && fl_native_caches(vma, addr, FL_RIGHT_WRITE);
	fl_vma_unpin(vma);
	return ret;
}

/* ---- memory in place ---- */

/* The host gives [start, end) of the mapping this right. */
static void note_right(struct fl_vma *vma, uint64_t start, uint64_t end, enum fl_right right)
{
	for (struct piece p; start < end; start = p.end) {
		struct chunk *c;

		p = piece_at(vma, start, end);
		if (set_new_right(vma_pfn(vma, start), p.nr, right))
			continue;
		c = chunk_of(vma_pfn(vma, start));
		bit_fill(c->shown, p.first, p.nr, right != FL_RIGHT_NONE);
		bit_fill(c->writable, p.first, p.nr, right == FL_RIGHT_WRITE);
		recount(c);
	}
}

/* Is a page of it hidden? */
static bool any_hidden(struct fl_vma *vma, uint64_t start, uint64_t end)
{
	int right;

	for (struct piece p; start < end; start = p.end) {
		p = piece_at(vma, start, end);
		right = new_right(vma_pfn(vma, start));
		if (right < 0 ? bit_any(chunk_of(vma_pfn(vma, start))->shown, p.first, p.nr, false)
			      : right == FL_RIGHT_NONE)
			return true;
	}
	return false;
}

int fl_cache_protect(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end, uint32_t access)
{
	const struct fl_vma as_if = {.flags = (vma->flags & ~VM_ACCESS) | access};
	enum fl_right right = fl_absent_right(&as_if);
	int err;

	if (fl_pgtable_next(mm, start, end) < end) /* entries may grant less */
		right = (vma->flags & VM_SAMPLED) || any_hidden(vma, start, end) ? FL_RIGHT_NONE
										 : fl_min(right, FL_RIGHT_READ);
	while ((err = fl_host_mprotect(start, end - start, own_prot(as_if.flags, right))) == -ENOMEM &&
	       fl_cache_shrink(mm))
		;
	if (!err)
		note_right(vma, start, end, right);
	return err;
}

/* How much of [at, end) has, as far as the cache knows, the same right as the page at `at`: in host terms `prot`. */
static uint64_t alike(struct fl_vma *vma, uint64_t at, uint64_t end, int *prot, bool *full)
{
	struct piece p = piece_at(vma, at, end);
	uint64_t pfn = vma_pfn(vma, at);
	unsigned run = p.nr;

	if (new_right(pfn) < 0) {
		const struct chunk *c = chunk_of(pfn);

		run = fl_min(bit_run(c->shown, p.first, p.nr), bit_run(c->writable, p.first, p.nr));
	}
	*prot = right_prot(vma, cached_right(pfn));
	*full = *prot == fl_access_prot(vma->flags);
	return at + ((uint64_t)run << PAGE_SHIFT);
}

/* Give [start, end) all that the mapping allows. */
static int restore_span(struct fl_vma *vma, uint64_t start, uint64_t end)
{
	int err = 0;

	while (start < end && (err = fl_host_mprotect(start, end - start, fl_access_prot(vma->flags))) == -ENOMEM &&
	       fl_cache_shrink(vma->mm))
		;
	if (!err && start < end)
		note_right(vma, start, end,
			   (vma->flags & VM_WRITE) ? FL_RIGHT_WRITE
			   : fl_vma_access(vma)	   ? FL_RIGHT_READ
						   : FL_RIGHT_NONE);
	return err;
}

/* Does the host have what the cache has made of it? `at` is in the map. */
static bool still_ours(const struct fl_host_map *map, int prot)
{
	return map->anon && map->prot == prot;
}

int fl_cache_restore(struct fl_vma *vma)
{
	struct fl_host_map map = {0};
	uint64_t span = vma->start;
	int err = 0;

	for (uint64_t at = vma->start, next; at < vma->end && !err; at = next) {
		bool full;
		int prot;

		next = alike(vma, at, vma->end, &prot, &full);
		if (full && span == at) { /* nothing is to be restored so far */
			span = next;
			continue;
		}
		if (map.end <= at && fl_host_maps_next(at, &map) != 1)
			map = (struct fl_host_map){.start = at, .end = vma->end, .prot = prot, .anon = true};
		if (map.start > at || !still_ours(&map, prot)) {
			err = restore_span(vma, span, at);
			span = next = fl_min(next, map.start > at ? map.start : map.end);
		} else {
			next = fl_min(next, map.end);
		}
	}
	return err ? err : restore_span(vma, span, vma->end);
}

/* ---- standing still ---- */

/*
 * One run of writable pages. The host may have no room for it: then they are hidden, or all of the mapping is, and
 * they fault once more. -ENOMEM: not even for that
 */
static int freeze_run(struct chunk *c, struct fl_vma *vma, uint64_t at, unsigned nr, bool frozen)
{
	struct batch b = {.vma = vma, .start = at, .end = at + ((uint64_t)nr << PAGE_SHIFT)};

	if (!fl_host_protect(b.start, b.end - b.start, right_prot(vma, frozen ? FL_RIGHT_READ : FL_RIGHT_WRITE)))
		return 0;
	if (!frozen) {
		bit_fill(c->writable, (unsigned)PAGES(at & ~PMD_MASK), nr, false);
		recount(c);
		return 0;
	}
	if (!marks(vma)) {
		b.start = vma->start;
		b.end = vma->end;
		if (protect(vma, NULL, b.start, b.end, PROT_NONE, true))
			return -ENOMEM;
	} else {
		hide(&b);
	}
	batch_done(&b, true);
	return 0;
}

static int freeze_piece(struct chunk *c, const struct piece *p, bool frozen)
{
	const uint64_t *visible = marks(p->vma) ? c->active : c->shown;
	int err = 0;

	for (unsigned i = 0, run; i < p->nr && !err; i += run) {
		uint64_t at = p->start + ((uint64_t)i << PAGE_SHIFT);

		run = bit_run(c->writable, p->first + i, p->nr - i);
		run = fl_min(run, bit_run(visible, p->first + i, p->nr - i));
		if (bit_get(visible, p->first + i) && bit_get(c->writable, p->first + i))
			err = freeze_run(c, p->vma, at, run, frozen);
	}
	return err;
}

static int freeze_released(struct fl_mm *mm, const struct fl_vma *vma, bool frozen)
{
	int err, prot = right_prot(vma, frozen ? FL_RIGHT_READ : FL_RIGHT_WRITE);

	do
		err = fl_host_mprotect(vma->start, vma->end - vma->start, prot);
	while (err == -ENOMEM && fl_cache_shrink(mm));
	return err;
}

int fl_cache_freeze(struct fl_mm *mm, bool frozen)
{
	struct fl_vma *vma;
	struct piece p;
	int err = 0;

	for (uint64_t i = 0; i < fl_native.chunks_end; i++) {
		struct chunk *c = &fl_native.chunks[i];
		uint64_t addr = fl_native.homes[i].vbase;

		if (new_right(i * CHUNK_PAGES) >= 0)
			continue; /* in place, or hidden */
		while (fl_native.homes[i].used && !c->file &&
		       piece_next(mm, c, &addr, &p)) {	/* what is shared stays shared */
			if (p.vma->flags & VM_IN_PLACE) /* the host copies it, at one moment */
				continue;
			fl_write_lock(&p.vma->cache_lock);
			err = err ? err : freeze_piece(c, &p, frozen);
			fl_write_unlock(&p.vma->cache_lock);
		}
	}
	for (uint64_t a = 0; (vma = fl_find_vma(mm, a)); a = vma->end)
		if ((vma->flags & VM_RELEASED) && (vma->flags & VM_WRITE) && !(vma->flags & VM_SHARED))
			err = err ? err : freeze_released(mm, vma, frozen);
	return err;
}

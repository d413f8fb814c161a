/* SPDX-License-Identifier: MIT */
/*
 * property.c - random calls of one thread on a soft address space, against a model that knows nothing of mappings or
 * tables: it has one record for each page. The objects answer with SIGBUS, so nothing waits. After every step each
 * page is compared and the invariants are walked. What an entry may grant is computed here a second time, from the
 * model alone: it never grants a right that the mapping and the page's own state do not.
 *
 *   unit-property [--seed N] [--steps N]    default: the fixed seeds, a case each
 *
 * Odd seeds use few pages, even ones enough for leaves.
 */
#include "address.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "mm/mm.h"
#include <faultline/testing.h>

#define NR	1100u /* pages in use, around a page-table boundary */
#define BORDER	0x40000000ull
#define SOURCE	0x20000000ull /* pages with known contents, for objects whose sources are guest addresses */
#define OBJECTS 2u
#define ANON	(MAP_PRIVATE | MAP_ANONYMOUS)
#define STEPS	20000u

struct page {
	bool mapped, present, wp;
	bool out;     /* swapped out: not present, but it holds something */
	bool huge;    /* MADV_HUGEPAGE */
	bool tracked; /* soft-dirty has been cleared */
	bool dirty;   /* written since */
	int prot;
	unsigned owner; /* 0: none; else the object's index + 1 */
	uint64_t modes;
	uint64_t pgoff;
	uint8_t byte;
};

static struct page model[NR];
static struct fl_mm *mm;
static struct fl_uffd *objects[OBJECTS];
static uint64_t seed;
static unsigned nr_pages, before_border;
static char step_text[160];

/* ---- what must agree ---- */

#define SAY(...) snprintf(step_text, sizeof(step_text), __VA_ARGS__)

static void same(long long got, long long want, const char *what)
{
	if (got != want)
		fail_msg("%s: %s is %lld, not %lld", step_text, what, got, want);
}

static uint64_t addr_of(uint64_t i)
{
	return BORDER + (i - before_border) * PAGE_SIZE;
}

static int result(int64_t ret)
{
	return ret == -1 ? -errno : 0;
}

static uint32_t flags_of(const struct page *p)
{
	return ((p->prot & PROT_READ) ? VM_READ : 0) | ((p->prot & PROT_WRITE) ? VM_WRITE : 0) |
	       ((p->prot & PROT_EXEC) ? VM_EXEC : 0) |
	       ((p->modes & FL_UFFDIO_REGISTER_MODE_MISSING) ? VM_UFFD_MISSING : 0) |
	       ((p->modes & FL_UFFDIO_REGISTER_MODE_WP) ? VM_UFFD_WP : 0) | (p->huge ? VM_HUGEPAGE : 0) |
	       (p->tracked ? 0 : VM_SOFTDIRTY);
}

static void compare_page(unsigned i)
{
	const struct page *p = &model[i];
	struct fl_vma *vma = fl_vma_lookup(mm, addr_of(i));
	fl_pte_t pte = fl_pte_get(mm, addr_of(i));
	const uint8_t *mem;

	same(vma != NULL, p->mapped, "mapped");
	same(pte_present(pte), p->present, "present");
	if (vma)
		same(vma->flags, flags_of(p), "flags");
	same(pte_swap(pte), p->out, "swapped out");
	same(pte_uffd_wp(pte), p->wp, "write-protected");
	if (p->tracked)
		same(pte_soft_dirty(pte), p->dirty, "soft-dirty");
	if (!p->present)
		return;
	/* what the entry grants: no more than this, and, where that is certain, no less for a reader */
	if (pte_right(pte, vma) == FL_RIGHT_WRITE)
		same((p->prot & PROT_WRITE) && !p->wp && (!p->tracked || p->dirty), 1, "the right to write");
	if (pte_right(pte, vma) != FL_RIGHT_NONE)
		same(p->prot != PROT_NONE && !pte_hint(pte), 1, "any right");
	same(vma->vm_page_prot & VM_WRITE, 0, "vm_page_prot of private memory");
	mem = fl_kmap_local(mm, pte_pfn(pte));
	same(mem[0], p->byte, "first byte");
	same(mem[4095], p->byte, "last byte");
}

static void compare(void)
{
	for (unsigned i = 0; i < nr_pages; i++)
		compare_page(i);
	same(fl_mm_check(mm), 0, "fl_mm_check()");
}

/* ---- questions about the model ---- */

/* One mapping, as UFFDIO_COPY and mprotect() see it. */
static bool alike(const struct page *a, const struct page *b)
{
	return a->mapped && b->mapped && a->prot == b->prot && a->owner == b->owner && a->modes == b->modes &&
	       a->huge == b->huge;
}

/* One mapping that can be moved: its backing is contiguous. */
static bool one_mapping(unsigned from, unsigned to)
{
	for (unsigned i = from; i + 1 < to; i++)
		if (!alike(&model[i], &model[i + 1]) || model[i].pgoff + 1 != model[i + 1].pgoff)
			return false;
	return model[from].mapped;
}

/* Is it one mapping of the engine's, too? */
static bool one_vma(unsigned from, unsigned to)
{
	for (unsigned i = from; i + 1 < to; i++)
		if (model[i].tracked != model[i + 1].tracked)
			return false;
	return one_mapping(from, to);
}

static unsigned first_hole(unsigned from, unsigned to)
{
	while (from < to && model[from].mapped)
		from++;
	return from;
}

static void drop(struct page *p)
{
	p->present = p->wp = p->out = p->dirty = false;
	p->byte = 0;
}

static void clear(unsigned from, unsigned to)
{
	memset(&model[from], 0, (to - from) * sizeof(model[0]));
}

static void free_registration(struct page *p)
{
	p->owner = 0;
	p->modes = 0;
	p->wp = false;
}

/* ---- mappings ---- */

static int random_prot(void)
{
	static const int some[] = {PROT_READ | PROT_WRITE,
				   PROT_READ | PROT_WRITE,
				   PROT_READ | PROT_WRITE,
				   PROT_READ,
				   PROT_NONE,
				   PROT_WRITE,
				   PROT_READ | PROT_EXEC,
				   PROT_EXEC};

	return some[below(&seed, ARRAY_SIZE(some))];
}

static void do_mmap(unsigned from, unsigned to)
{
	int prot = random_prot();

	SAY("mmap [%u, %u) prot %d", from, to, prot);
	same(map_addr(mm, addr_of(from), (to - from) * PAGE_SIZE, prot, ANON | MAP_FIXED), (long long)addr_of(from),
	     "mmap()");
	clear(from, to);
	for (unsigned i = from; i < to; i++) {
		model[i].mapped = true;
		model[i].prot = prot;
		model[i].pgoff = PAGES(addr_of(i));
	}
}

static void do_munmap(unsigned from, unsigned to)
{
	SAY("munmap [%u, %u)", from, to);
	same(result(fl_munmap(mm, addr_of(from), (to - from) * PAGE_SIZE)), 0, "munmap()");
	clear(from, to);
}

static void do_mprotect(unsigned from, unsigned to)
{
	int prot = random_prot();
	unsigned hole = first_hole(from, to);

	SAY("mprotect [%u, %u) prot %d", from, to, prot);
	same(result(fl_mprotect(mm, addr_of(from), (to - from) * PAGE_SIZE, prot)), hole < to ? -ENOMEM : 0,
	     "mprotect()");
	for (unsigned i = from; i < hole; i++)
		model[i].prot = prot;
}

static void do_madvise(unsigned from, unsigned to)
{
	static const int some[] = {MADV_DONTNEED, MADV_DONTNEED, MADV_WILLNEED, MADV_HUGEPAGE,
				   MADV_HUGEPAGE, MADV_PAGEOUT,	 MADV_PAGEOUT,	MADV_PAGEOUT};
	int advice = some[below(&seed, ARRAY_SIZE(some))];

	SAY("madvise [%u, %u) %d", from, to, advice);
	same(result(fl_madvise(mm, addr_of(from), (to - from) * PAGE_SIZE, advice)),
	     first_hole(from, to) < to ? -ENOMEM : 0, "madvise()");
	for (unsigned i = from; i < to; i++) {
		struct page *p = &model[i];

		if (advice == MADV_DONTNEED)
			drop(p);
		if (advice == MADV_HUGEPAGE)
			p->huge = p->mapped;
		if (advice == MADV_PAGEOUT && p->present) {
			p->present = false;
			p->out = true;
		}
	}
}

/* ---- tables into leaves ---- */

/* Zeros, and no write was requested. */
static bool is_zero_page(unsigned i)
{
	return pte_zero(fl_pte_get(mm, addr_of(i))) && !model[i].byte;
}

/* What MADV_COLLAPSE returns for one aligned 2 MiB. */
static int collapse_want(unsigned from)
{
	bool present = false;

	if (fl_slot_at(mm, addr_of(from)).nr == 0)
		return -EINVAL;
	for (unsigned i = from; i < from + 512; i++) {
		const struct page *p = &model[i];

		if (p->out)
			return -EAGAIN;
		if (p->wp)
			return -EINVAL;
		if (p->owner && (!p->present || is_zero_page(i)))
			return -EBUSY;
		present = present || p->present;
	}
	return present ? 0 : -EINVAL;
}

/* A leaf is soft-dirty if any of its pages is. */
static void collapsed(unsigned from)
{
	bool dirty = false;

	for (unsigned i = from; i < from + 512; i++)
		dirty = dirty || model[i].dirty;
	for (unsigned i = from; i < from + 512; i++) {
		model[i].present = true;
		model[i].dirty = dirty;
	}
}

/* 2 MiB that are a leaf already, wholly protected or not, stay one. */
static bool is_leaf(unsigned from)
{
	return fl_slot_at(mm, addr_of(from)).nr == 512;
}

/* Does the page's mapping cover all of the aligned 2 MiB? */
static bool fits_leaf(unsigned at)
{
	unsigned end = at;

	while (at && one_vma(at - 1, at + 1))
		at--;
	while (end + 1 < nr_pages && one_vma(end, end + 2))
		end++;
	return PMD_ALIGN(addr_of(at)) + PMD_SIZE <= addr_of(end + 1);
}

static void do_collapse(unsigned from, unsigned to)
{
	int want = 0, one;
	bool hole = false;

	SAY("collapse [%u, %u)", from, to);
	for (unsigned start = from, end; start < to && !want; start = end) { /* mapping by mapping */
		unsigned first = start;

		for (end = start + 1; end < to && one_vma(start, end + 1);)
			end++;
		hole = hole || !model[start].mapped;
		if (!model[start].mapped)
			continue;
		want = !fits_leaf(start) || PMD_ALIGN(addr_of(start)) > PMD_ALIGN_DOWN(addr_of(end)) ? -EINVAL : 0;
		while (addr_of(first) & ~PMD_MASK)
			first++;
		for (; first + 512 <= end; first += 512) {
			one = is_leaf(first) ? 0 : collapse_want(first);
			if (!one && !is_leaf(first))
				collapsed(first);
			if (one && !want)
				want = one;
		}
	}
	if (!want && hole)
		want = -ENOMEM;
	same(result(fl_madvise(mm, addr_of(from), (to - from) * PAGE_SIZE, 25)), want, "madvise()");
}

/* ---- soft-dirty, other frames, other address spaces, hints ---- */

static void do_clear_soft_dirty(unsigned from, unsigned to)
{
	SAY("clear_refs");
	same(fl_mm_clear_soft_dirty(mm), 0, "clear_refs");
	for (unsigned i = 0; i < nr_pages; i++) {
		model[i].tracked = model[i].mapped;
		model[i].dirty = false;
	}
}

static void do_migrate(unsigned from, unsigned to)
{
	unsigned present = 0;
	int64_t got;

	for (unsigned i = from; i < to; i++)
		present += model[i].present;
	SAY("migrate [%u, %u)", from, to);
	got = migrated(mm, addr_of(from), (to - from) * PAGE_SIZE);
	if (first_hole(from, to) < to)
		same(got == -1 ? -errno : got, -EINVAL, "migrate");
	else
		same(got, present, "pages that moved");
}

static void do_fork(unsigned from, unsigned to)
{
	uint8_t other = (uint8_t)below(&seed, 256), byte;
	struct fl_mm *child;

	SAY("fork, and stores to [%u, %u)", from, to);
	same(fl_mm_fork(mm, &child), 0, "fork");
	for (unsigned i = from; i < to; i++)
		if (model[i].mapped && (model[i].prot & PROT_WRITE)) /* no object watches the child */
			same(fl_store(child, addr_of(i), &other, 1), 0, "the child's store");
	for (unsigned i = 0; i < nr_pages; i++) {
		const struct page *p = &model[i];

		if (!p->mapped || p->prot == PROT_NONE)
			continue;
		same(fl_load(child, addr_of(i), &byte, 1), 0, "the child's load");
		same(byte, i >= from && i < to && (p->prot & PROT_WRITE) ? other : p->byte, "what the child sees");
	}
	same(fl_mm_check(child), 0, "fl_mm_check() of the child");
	if (below(&seed, 2)) /* the parent's copies are made while it lives, or after its end */
		compare();
	same(fl_mm_destroy(child), 0, "destroy the child");
}

/* Hints come and go; what is under them stays. */
static void do_sample(unsigned from, unsigned to)
{
	uint64_t len = (to - from) * PAGE_SIZE;

	if (first_hole(from, to) < to)
		return;
	SAY("sample [%u, %u)", from, to);
	same(fl_sample_start(mm, addr_of(from), len), 0, "sample_start");
	same(fl_mm_check(mm), 0, "fl_mm_check()");
	same(fl_sample_stop(mm, addr_of(from), len), 0, "sample_stop");
}

/* Pages [from, from + old) become [to, to + new). */
static void move_pages(unsigned from, unsigned old, unsigned to, unsigned new, bool keep)
{
	struct page moved[NR], like = model[from];

	memcpy(moved, &model[from], old * sizeof(moved[0]));
	clear(to, to + new);
	for (unsigned i = 0; i < new; i++) {
		struct page *p = &model[to + i];

		if (i < old)
			*p = moved[i];
		else
			*p = (struct page){.mapped = true, .prot = like.prot, .huge = like.huge};
		free_registration(p); /* the registration does not move with the memory */
		p->tracked = false;   /* a new mapping */
		p->dirty = false;
		p->pgoff = like.pgoff + i;
	}
	if (!keep)
		clear(from, from + old);
	for (unsigned i = from; keep && i < from + old; i++)
		drop(&model[i]);
}

static void do_mremap_fixed(unsigned from, unsigned to)
{
	unsigned old = to - from, new = 1 + (unsigned)below(&seed, 8), at = (unsigned)below(&seed, nr_pages - new);
	bool overlap, keep = below(&seed, 3) == 0;
	int flags = MREMAP_MAYMOVE | MREMAP_FIXED, want = 0;
	int64_t got;

	if (keep) {
		flags |= 4; /* MREMAP_DONTUNMAP */
		new = old;
		at = (unsigned)below(&seed, nr_pages - new + 1);
	}
	overlap = at < from + old && from < at + new;
	if (overlap)
		want = -EINVAL;
	else if (!one_mapping(from, to))
		want = -EFAULT;
	SAY("mremap [%u, %u) to [%u, %u) flags %d", from, to, at, at + new, flags);
	got = remap_addr(mm, addr_of(from), old * PAGE_SIZE, new *PAGE_SIZE, flags, addr_of(at));
	same(got == -1 ? -errno : 0, want, "mremap()");
	if (!want)
		move_pages(from, old, at, new, keep);
}

/* Shrinking, growing, or neither, in place. */
static void do_mremap(unsigned from, unsigned to)
{
	unsigned old = to - from, new = 1 + (unsigned)below(&seed, 10), i;
	bool room = true;
	int want = 0;

	new = fl_min(new, nr_pages - from);
	if (new > old)
		for (i = to; i < from + new; i++)
			room = room && !model[i].mapped;
	if (!one_mapping(from, to))
		want = -EFAULT;
	else if (new > old && (!room || (to < nr_pages && one_vma(to - 1, to + 1))))
		want = -ENOMEM;
	SAY("mremap [%u, %u) in place to %u pages", from, to, new);
	same(result(remap_addr(mm, addr_of(from), old * PAGE_SIZE, new *PAGE_SIZE, 0, 0)), want, "mremap()");
	if (want)
		return;
	for (i = to; i < from + new; i++) {
		model[i] = model[to - 1];
		model[i].pgoff = model[to - 1].pgoff + (i - to + 1);
		model[i].tracked = false;
		drop(&model[i]);
	}
	if (new < old)
		clear(from + new, to);
}

/* ---- registrations ---- */

static bool somebody_elses(unsigned o, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++)
		if (model[i].owner && model[i].owner != o + 1)
			return true;
	return false;
}

static bool any_mapped(unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++)
		if (model[i].mapped)
			return true;
	return false;
}

static void do_register(unsigned from, unsigned to)
{
	unsigned o = (unsigned)below(&seed, OBJECTS);
	uint64_t modes = 1 + below(&seed, 3);
	int want = !any_mapped(from, to) ? -EINVAL : somebody_elses(o, from, to) ? -EBUSY : 0;

	SAY("REGISTER %u [%u, %u) modes %d", o, from, to, (int)modes);
	same(result(fl_uffd_register(objects[o], addr_of(from), (to - from) * PAGE_SIZE, modes, NULL)), want,
	     "REGISTER");
	for (unsigned i = from; !want && i < to; i++) {
		struct page *p = &model[i];

		if (!p->mapped || (p->owner && (p->modes & modes) == modes))
			continue; /* asking for fewer modes removes none */
		p->owner = o + 1;
		p->modes = modes;
		if (!(modes & FL_UFFDIO_REGISTER_MODE_WP))
			p->wp = false;
	}
}

static void do_unregister(unsigned from, unsigned to)
{
	unsigned o = (unsigned)below(&seed, OBJECTS);
	int want = !any_mapped(from, to) || somebody_elses(o, from, to) ? -EINVAL : 0;

	SAY("UNREGISTER %u [%u, %u)", o, from, to);
	same(result(fl_uffd_unregister(objects[o], addr_of(from), (to - from) * PAGE_SIZE)), want, "UNREGISTER");
	for (unsigned i = from; !want && i < to; i++)
		free_registration(&model[i]);
}

static void open_object(unsigned o)
{
	int flags = O_NONBLOCK | (o ? 0 : FL_UFFD_SRC_HOST);

	same(fl_uffd_open(mm, flags, &objects[o]), 0, "open");
	same(fl_uffd_api(objects[o], FL_UFFD_FEATURE_SIGBUS | (o ? FL_UFFD_FEATURE_WP_UNPOPULATED : 0), NULL), 0,
	     "API");
}

static void do_reopen(unsigned from, unsigned to)
{
	unsigned o = (unsigned)below(&seed, OBJECTS);

	if (below(&seed, 8)) /* seldom */
		return;
	SAY("close %u", o);
	same(fl_uffd_close(objects[o]), 0, "close");
	for (unsigned i = 0; i < nr_pages; i++)
		if (model[i].owner == o + 1)
			free_registration(&model[i]);
	open_object(o);
}

/* ---- fills ---- */

/* Does a page hold something that would stop a fill? */
static bool holds(const struct page *p, bool zero)
{
	return p->present || p->out || (zero && p->wp); /* COPY fills a marked page */
}

/* The errno of a fill that starts at `from`, and how many pages it completes. */
static int fill_want(unsigned from, unsigned to, bool zero, bool wp, unsigned *done)
{
	*done = 0;
	if (!model[from].mapped || !model[from].owner)
		return -ENOENT;
	for (unsigned i = from; i + 1 < to; i++)
		if (!alike(&model[i], &model[i + 1]))
			return -ENOENT;
	if (wp && !(model[from].modes & FL_UFFDIO_REGISTER_MODE_WP))
		return -EINVAL;
	while (from + *done < to && !holds(&model[from + *done], zero))
		++*done;
	if (from + *done == to)
		return 0;
	return *done ? -EAGAIN : -EEXIST;
}

static void check_fill(int err, int64_t got, unsigned from, unsigned to, bool zero, bool wp, int byte)
{
	unsigned done;
	int want = fill_want(from, to, zero, wp, &done);

	same(err, want, "result");
	same(got, want && want != -EAGAIN ? want : (int64_t)(done * PAGE_SIZE), "bytes");
	for (unsigned i = from; i < from + done; i++) {
		model[i].present = true;
		model[i].wp = wp;
		model[i].dirty = !zero;
		model[i].byte = (uint8_t)byte;
	}
}

static void do_copy(unsigned from, unsigned to)
{
	static char buf[NR * 4096];
	unsigned o = (unsigned)below(&seed, OBJECTS);
	uint64_t mode = below(&seed, 4), len = (to - from) * PAGE_SIZE; /* DONTWAKE and WP */
	int byte = (int)below(&seed, 256), err;
	int64_t got = 0;

	memset(buf, byte, len);
	if (o) /* from the address space itself */
		same(fl_store(mm, SOURCE, buf, len), 0, "store to the source");
	SAY("COPY %u [%u, %u) mode %d byte %d", o, from, to, (int)mode, byte);
	err = result(fl_uffd_copy(objects[o], addr_of(from), o ? SOURCE : fl_addr(buf), len, mode, &got));
	check_fill(err, got, from, to, false, mode & FL_UFFDIO_COPY_MODE_WP, byte);
}

static void do_zeropage(unsigned from, unsigned to)
{
	unsigned o = (unsigned)below(&seed, OBJECTS);
	int64_t got = 0;
	int err;

	SAY("ZEROPAGE %u [%u, %u)", o, from, to);
	err = result(fl_uffd_zeropage(objects[o], addr_of(from), (to - from) * PAGE_SIZE, below(&seed, 2), &got));
	check_fill(err, got, from, to, true, false, 0);
}

/* ---- write protection, waking ---- */

static void do_writeprotect(unsigned from, unsigned to)
{
	unsigned o = (unsigned)below(&seed, OBJECTS);
	bool protect = below(&seed, 2);
	int want = -ENOENT, got;

	SAY("WRITEPROTECT %u [%u, %u) %d", o, from, to, protect);
	got = result(fl_uffd_writeprotect(objects[o], addr_of(from), (to - from) * PAGE_SIZE,
					  protect ? FL_UFFDIO_WRITEPROTECT_MODE_WP : 0));
	for (unsigned i = from; i < to; i++) { /* what comes before a page without the mode is changed */
		if (!model[i].mapped)
			continue;
		want = (model[i].modes & FL_UFFDIO_REGISTER_MODE_WP) ? 0 : -ENOENT;
		if (want)
			break;
		if (model[i].present || model[i].out || model[i].owner == 2 ||
		    !protect) /* the second marks empty memory */
			model[i].wp = protect;
	}
	same(got, want, "WRITEPROTECT");
}

static void do_wake(unsigned from, unsigned to)
{
	SAY("WAKE [%u, %u)", from, to);
	same(fl_uffd_wake(objects[0], addr_of(from), (to - from) * PAGE_SIZE), 0, "WAKE");
}

/* ---- accesses ---- */

static bool may(const struct page *p, bool write)
{
	return p->mapped && (write ? p->prot & PROT_WRITE : p->prot != PROT_NONE);
}

/* The range in which the first access brings zeros for all of an aligned 2 MiB, or 0 pages. */
static unsigned huge_zeros(unsigned at, unsigned *first)
{
	unsigned from = at - (unsigned)(PAGES(addr_of(at)) % 512);

	if (at < PAGES(addr_of(at)) % 512 || from + 512 > nr_pages || !model[at].huge || !one_vma(from, from + 512))
		return 0;
	if (fl_pmd_offset(mm, addr_of(at)) && !pmd_none(pmdp_get_lockless(fl_pmd_offset(mm, addr_of(at)))))
		return 0; /* there is a table already, perhaps empty */
	*first = from;
	return 512;
}

/* The signal of an access to one page, and its effects. `leaf` is determined before the access. */
static int access_want(struct page *p, bool write)
{
	unsigned at = (unsigned)(p - model), first = at, nr = 1, leaf;
	bool made;

	if (!may(p, write))
		return SIGSEGV;
	if (!p->present && !p->out && (p->modes & FL_UFFDIO_REGISTER_MODE_MISSING))
		return SIGBUS;
	if (!p->present && !p->out && (leaf = huge_zeros(at, &first)))
		nr = leaf;
	else if (p->present && fl_slot_at(mm, addr_of(at)).nr == 512) {
		nr = 512;
		first = at - (unsigned)(PAGES(addr_of(at)) % 512);
	}
	made = write &&
	       (!p->wp || (!p->present && !p->out)); /* a marked page is created, and the store trapped then */
	for (unsigned i = first; i < first + nr; i++) {
		model[i].present = true; /* zeros, if it was not */
		model[i].out = false;
		model[i].dirty = model[i].dirty || made; /* of a leaf, all of it */
	}
	return write && p->wp ? SIGBUS : 0;
}

static void do_load(unsigned i, unsigned unused)
{
	uint64_t offset = below(&seed, PAGE_SIZE);
	uint8_t byte = 0;
	int sig, want;

	SAY("load %u", i);
	want = access_want(&model[i], false);
	sig = fl_load(mm, addr_of(i) + offset, &byte, 1);
	same(sig, want, "signal");
	if (!sig)
		same(byte, model[i].byte, "what was loaded");
}

static void do_store(unsigned i, unsigned unused)
{
	uint8_t page[4096];
	int byte = (int)below(&seed, 256), sig, want;

	memset(page, byte, sizeof(page));
	SAY("store %u byte %d", i, byte);
	want = access_want(&model[i], true);
	sig = fl_store(mm, addr_of(i), page, sizeof(page));
	same(sig, want, "signal");
	if (!sig)
		model[i].byte = (uint8_t)byte;
}

/* A system call's access over several pages: as far as it gets. */
static void do_copy_from_user(unsigned from, unsigned to)
{
	static uint8_t buf[NR * 4096];
	unsigned i = from;

	SAY("copy_from_user [%u, %u)", from, to);
	while (i < to && !access_want(&model[i], false))
		i++;
	same(result(fl_copy_from_user(mm, buf, addr_of(from), (to - from) * PAGE_SIZE)), i < to ? -EFAULT : 0,
	     "copy_from_user()");
	for (unsigned p = from; p < i; p++)
		same(buf[(p - from) * PAGE_SIZE + 77], model[p].byte, "what was copied");
}

/* ---- the run ---- */

static void (*const steps[])(unsigned from, unsigned to) = {
	do_mmap,     do_munmap,	      do_mprotect,	 do_madvise,  do_mremap_fixed, do_mremap,
	do_register, do_register,     do_unregister,	 do_reopen,   do_copy,	       do_copy,
	do_zeropage, do_writeprotect, do_writeprotect,	 do_wake,     do_load,	       do_load,
	do_store,    do_store,	      do_copy_from_user, do_collapse, do_collapse,     do_clear_soft_dirty,
	do_migrate,  do_fork,	      do_sample,
};

static void play(uint64_t first_seed, unsigned nr)
{
	uint64_t empty;

	seed = first_seed * 0x9e3779b97f4a7c15ull + 1;
	nr_pages = first_seed % 2 ? 48 : NR;
	before_border = first_seed % 2 ? 24 : 40;
	if (nr_pages == NR)
		nr /= 5; /* each step compares more */
	clear(0, NR);
	assert_int_equal(fl_mm_create(&mm, 32 << 20), 0);
	assert_int_equal(map_addr(mm, SOURCE, NR * PAGE_SIZE, PROT_READ | PROT_WRITE, ANON | MAP_FIXED), SOURCE);
	empty = mm->metadata;
	for (unsigned o = 0; o < OBJECTS; o++)
		open_object(o);
	for (unsigned i = 0; i < nr; i++) {
		unsigned from = (unsigned)below(&seed, nr_pages),
			 len = 1 + (unsigned)below(&seed, below(&seed, 4) ? 6 : nr_pages);

		if (nr_pages == NR && below(&seed, 3) == 0) { /* the 2 MiB, and more */
			from = before_border - (unsigned)below(&seed, 2) * (unsigned)below(&seed, before_border);
			len = 512 + (unsigned)below(&seed, 3) * 256;
		}
		steps[below(&seed, ARRAY_SIZE(steps))](from, fl_min(from + len, nr_pages));
		compare();
	}
	for (unsigned o = 0; o < OBJECTS; o++)
		same(fl_uffd_close(objects[o]), 0, "close");
	do_munmap(0, nr_pages);
	compare();
	assert_int_equal(fl_munmap(mm, SOURCE, NR * PAGE_SIZE), 0);
	assert_true(mm->metadata - mm->nr_spare * 128 < empty + 4096); /* no table, only spare mappings */
	assert_int_equal(fl_mm_destroy(mm), 0);
}

static unsigned nr_steps = STEPS;

static void test_seed(void **state)
{
	uint64_t s = *(uint64_t *)*state;

	print_message("# seed %llu, %u steps\n", (unsigned long long)s, nr_steps);
	play(s, nr_steps);
}

int main(int argc, char **argv)
{
	static uint64_t seeds[] = {1, 2, 3, 4, 5};
	const struct CMUnitTest tests[] = {
		{"seed-1", test_seed, NULL, NULL, &seeds[0]}, {"seed-2", test_seed, NULL, NULL, &seeds[1]},
		{"seed-3", test_seed, NULL, NULL, &seeds[2]}, {"seed-4", test_seed, NULL, NULL, &seeds[3]},
		{"seed-5", test_seed, NULL, NULL, &seeds[4]},
	};
	bool one = false;

	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--seed") == 0) {
			seeds[0] = strtoull(argv[i + 1], NULL, 0);
			one = true;
		} else if (strcmp(argv[i], "--steps") == 0) {
			nr_steps = (unsigned)strtoul(argv[i + 1], NULL, 0);
		}
	}
	if (one) {
		const struct CMUnitTest just[] = {{"seed", test_seed, NULL, NULL, &seeds[0]}};

		return cmocka_run_group_tests_name("property", just, NULL, NULL);
	}
	return cmocka_run_group_tests_name("property", tests, NULL, NULL);
}

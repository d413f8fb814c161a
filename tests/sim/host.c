/* SPDX-License-Identifier: MIT */
/*
 * host.c - a model of the host's page tables, and src/native/cache.c on it. The host has a protection and perhaps a
 * guard marker for each page of space A, and nothing where nothing is mapped; a system call on them is one step, all
 * of it or nothing. Where a page of the program's is in the pool is not modelled: what the host shows is the frame
 * that the entry had when it began to show it, as if it had always been there. The host may never begin to give more
 * than the entry does.
 */
#include "native/native.h"

#include "world.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE  103

#define FIRST_CHUNK (REGION(0) >> PMD_SHIFT)
#define END_CHUNK   ((ELSEWHERE >> PMD_SHIFT) + 1)

/* By address, since a mapping's page offset is that of its address. */
static struct chunk chunks[END_CHUNK];
struct fl_native fl_native;

static void reset(uint64_t i)
{
	chunks[i] = (struct chunk){.vbase = i << PMD_SHIFT, .used = CHUNK_PAGES};
}

void host_begin(void)
{
	for (uint64_t i = FIRST_CHUNK; i < END_CHUNK; i++)
		reset(i);
	memset(&fl_native, 0, sizeof(fl_native));
	fl_native.chunks = chunks;
	fl_native.nr_chunks = ARRAY_SIZE(chunks);
	fl_native.chunks_end = FIRST_CHUNK + NR_REGIONS;
	fl_native.hand = FIRST_CHUNK;
	fl_native.guard = world_backend->guard;
	fl_native.budget = world_backend->budget;
}

/* The cache asks for it when it is set up, which it is not here. */
uint64_t fl_maps_count(void)
{
	return 0;
}

/* ---- what the host does ---- */

/* What a call has made of the page. */
static void changed(uint64_t addr, struct cached *c)
{
	enum fl_right right = c->guard ? FL_RIGHT_NONE : c->prot;
	fl_pte_t pte = fl_pte_get(a.mm, addr);

	if (right > c->right) {
		struct fl_vma *vma = fl_vma_lookup(a.mm, addr);

		SIM_CHECK(vma && right <= pte_right(pte, vma), "the host gives more than the entry");
		SIM_CHECK(c->right == FL_RIGHT_NONE || c->pfn == pte_pfn(pte), "the host gives another frame");
		c->pfn = pte_pfn(pte);
	}
	c->right = right;
	sim_touch(c, true);
}

static enum fl_right right_of(int prot)
{
	return (prot & PROT_WRITE) ? FL_RIGHT_WRITE : (prot & PROT_READ) ? FL_RIGHT_READ : FL_RIGHT_NONE;
}

/*
 * Borders in what one mapping has of 2 MiB, as they are, or as [start, end) of another protection would make
 * them.
 */
static unsigned borders(uint64_t start, uint64_t end, enum fl_right prot)
{
	unsigned n = 0;

	for (unsigned r = 0; r < NR_REGIONS; r++)
		for (uint64_t addr = REGION(r) + PAGE_SIZE; addr < REGION(r) + REGION_SIZE; addr += PAGE_SIZE) {
			uint64_t before = addr - PAGE_SIZE;
			enum fl_right left = before >= start && before < end ? prot : cached_at(&a, before)->prot;
			enum fl_right right = addr >= start && addr < end ? prot : cached_at(&a, addr)->prot;

			sim_touch(cached_at(&a, addr), false);
			n += left != right && fl_vma_lookup(a.mm, before) == fl_vma_lookup(a.mm, addr);
		}
	return n;
}

static void do_page(long nr, uint64_t addr, int how)
{
	struct cached *c = cached_at(&a, addr);

	sim_touch(&chunks[addr >> PMD_SHIFT], true); /* what the caller notes there next */
	if (!c)
		return;
	SIM_CHECK(!c->unmapped, "a host call on memory that may belong to another mapping");
	if (nr == SYS_mprotect)
		c->prot = right_of(how);
	else
		c->guard = how == MADV_GUARD_INSTALL;
	changed(addr, c);
}

long host_sys(long nr, uint64_t start, uint64_t len, int how)
{
	bool protect = nr == SYS_mprotect;

	SIM_CHECK(protect || (nr == SYS_madvise && (how == MADV_GUARD_INSTALL || how == MADV_GUARD_REMOVE)),
		  "a system call that the model does not have");
	sim_point(SIM_RUN, cached_at(&a, start),
		  protect		      ? "mprotect"
		  : how == MADV_GUARD_INSTALL ? "guards"
					      : "no guards");
	if (protect && world_backend->no_room &&
	    borders(start, start + len, right_of(how)) > borders(0, 0, FL_RIGHT_NONE))
		return -ENOMEM;
	for (uint64_t addr = start; addr < start + len; addr += PAGE_SIZE)
		do_page(nr, addr, how);
	return 0;
}

/* ---- instead of what is there for rights ---- */

/* Whatever is mapped there next is of the pool, and hidden, without markers. */
static void forget(uint64_t start, uint64_t end, bool unmapped)
{
	for (uint64_t addr = start; addr < end; addr += PAGE_SIZE) {
		struct cached *c = cached_at(&a, addr);

		if (!c)
			continue;
		*c = (struct cached){.unmapped = unmapped};
		sim_touch(c, true);
	}
}

static void unmapped(struct fl_mm *mm, uint64_t start, uint64_t end, uint64_t pgoff)
{
	fl_cache_forget(pgoff, PAGES(end - start));
}

void host_use(struct fl_mmu_ops *ops)
{
	ops->grant = fl_native_grant;
	ops->invalidate = fl_native_invalidate;
	ops->caches = fl_native_caches;
	ops->conform = fl_native_conform;
	ops->unmapped = unmapped;
}

/* As native/map.c: the host first, and then what is known of it. */
int host_munmap(struct space *s, uint64_t start, uint64_t end)
{
	struct fl_vma *vma;
	uint32_t i;
	int err;

	fl_mmap_write_lock_range(s->mm, start, end);
	err = fl_vma_reserve(s->mm, 2);
	if (!err) {
		sim_point(SIM_RUN, cached_at(s, start), "munmap");
		forget(start, end, true);
		fl_yield_point(s->mm);
		fl_for_each_vma(s->mm, vma, i, start, end)
			fl_cache_forget(PAGES(fl_max(start, vma->start)),
					PAGES(fl_min(end, vma->end) - fl_max(start, vma->start)));
		fl_do_munmap(s->mm, start, end);
	}
	fl_mmap_write_unlock(s->mm);
	return err;
}

void host_map(uint64_t start, uint64_t end)
{
	forget(start, end, false);
}

void host_shrink(struct space *s)
{
	fl_cache_shrink(s->mm);
}

static unsigned count(const uint64_t *map)
{
	unsigned n = 0;

	for (unsigned i = 0; i + 1 < CHUNK_PAGES; i++)
		n += bit_get(map, i) != bit_get(map, i + 1);
	return n;
}

/* The numbers of borders by which the cache decides what to evict. */
static void verify_counts(void)
{
	uint64_t sum = 0;

	for (uint64_t i = FIRST_CHUNK; i < FIRST_CHUNK + NR_REGIONS; i++) {
		SIM_CHECK(chunks[i].splits ==
				  count(chunks[i].writable) + (fl_native.guard ? 0 : count(chunks[i].shown)),
			  "a number of borders is wrong");
		sum += chunks[i].splits;
	}
	SIM_CHECK(fl_native.splits == sum, "the sum of borders is wrong");
}

void host_verify(const struct space *s)
{
	for (unsigned r = 0; r < NR_REGIONS; r++)
		for (unsigned i = 0; i < REGION_PAGES; i++) {
			uint64_t addr = REGION(r) + i * PAGE_SIZE;
			enum fl_right right = s->cache[r][i].right;
			struct fl_vma *vma = fl_vma_lookup(s->mm, addr);

			SIM_CHECK(right == FL_RIGHT_NONE || (vma && fl_native_caches(vma, addr, right)),
				  "the host gives a right of which the cache does not know");
		}
	verify_counts();
}

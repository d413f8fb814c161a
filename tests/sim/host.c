/* SPDX-License-Identifier: MIT */
/*
 * host.c - a model of the host's page tables, and src/host/cache.c on it. The host has a protection and perhaps a guard
 * marker for each page; system calls on them are one step. Where a page of the program's is in the pool is not modelled:
 * what the host shows is the frame that the entry had when it began to show it, as if it had always been there. At no
 * moment may the host give more than the entry does.
 */
#include "host/host.h"

#include "world.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE  103

#define FIRST_CHUNK (REGION(0) >> PMD_SHIFT)
#define ELSEWHERE   ((1ull << 40) >> PMD_SHIFT) /* one page is mapped there: scenarios.c */

/* By address, for a mapping's page offset is that of its address. Eviction goes over those of the regions, and below. */
static struct chunk chunks[ELSEWHERE + 1];
struct fl_host fl_host;

static void reset(uint64_t i)
{
	chunks[i] = (struct chunk){ .vbase = i << PMD_SHIFT, .used = CHUNK_PAGES };
}

void host_begin(void)
{
	for (unsigned i = 0; i < NR_REGIONS; i++)
		reset(FIRST_CHUNK + i);
	reset(ELSEWHERE);
	memset(&fl_host, 0, sizeof(fl_host));
	fl_host.chunks = chunks;
	fl_host.nr_chunks = ARRAY_SIZE(chunks);
	fl_host.chunks_end = FIRST_CHUNK + NR_REGIONS;
	fl_host.hand = FIRST_CHUNK;
	fl_host.guard = world_backend->guard;
	fl_host.budget = world_backend->budget;
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

/* Would the host have to split what it has of one mapping of ours? */
static bool splits(uint64_t start, uint64_t end, enum fl_right prot)
{
	for (unsigned r = 0; r < NR_REGIONS; r++)
		for (uint64_t addr = REGION(r) + PAGE_SIZE; addr < REGION(r) + REGION_SIZE; addr += PAGE_SIZE) {
			uint64_t before = addr - PAGE_SIZE;
			enum fl_right left = before >= start && before < end ? prot : cached_at(&a, before)->prot;
			enum fl_right right = addr >= start && addr < end ? prot : cached_at(&a, addr)->prot;

			if (left != right && fl_vma_lookup(a.mm, before) == fl_vma_lookup(a.mm, addr))
				return true;
		}
	return false;
}

static void do_page(long nr, uint64_t addr, int how)
{
	struct cached *c = cached_at(&a, addr);

	if (!c)
		return;
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
	sim_point(SIM_RUN, cached_at(&a, start), protect ? "mprotect" : how == MADV_GUARD_INSTALL ? "guards" : "no guards");
	if (protect && world_backend->no_room && splits(start, start + len, right_of(how)))
		return -ENOMEM;
	for (uint64_t addr = start; addr < start + len; addr += PAGE_SIZE)
		do_page(nr, addr, how);
	return 0;
}

/* ---- instead of what is there for rights ---- */

/* The program's munmap(), or what is mapped over it: there is a new mapping of the pool, hidden without markers. */
static void unmapped(struct fl_mm *mm, uint64_t start, uint64_t end, uint64_t pgoff)
{
	for (uint64_t addr = start; addr < end; addr += PAGE_SIZE) {
		struct cached *c = cached_at(&a, addr);

		if (!c)
			continue;
		sim_touch(c, true);
		memset(c, 0, sizeof(*c));
	}
	fl_cache_forget(pgoff, PAGES(end - start));
}

void host_use(struct fl_mmu_ops *ops)
{
	ops->grant = fl_host_grant;
	ops->invalidate = fl_host_invalidate;
	ops->caches = fl_host_caches;
	ops->conform = fl_host_conform;
	ops->unmapped = unmapped;
}

void host_shrink(struct space *s)
{
	fl_cache_shrink(s->mm);
}

void host_verify(const struct space *s)
{
	for (unsigned r = 0; r < NR_REGIONS; r++)
		for (unsigned i = 0; i < REGION_PAGES; i++) {
			uint64_t addr = REGION(r) + i * PAGE_SIZE;
			enum fl_right right = s->cache[r][i].right;
			struct fl_vma *vma = fl_vma_lookup(s->mm, addr);

			SIM_CHECK(right == FL_RIGHT_NONE || (vma && fl_host_caches(vma, addr, right)),
				  "the host gives a right of which the cache does not know");
		}
}

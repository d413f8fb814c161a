/* SPDX-License-Identifier: MIT */
/*
 * soft_world.c - spaces of src/soft: as they are, and with the simplest possible cache of rights, through which
 * accesses go instead.
 */
#include "world.h"

#include "lib/lib.h"
#include "mm/source.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define POOL (12 * PAGE_SIZE)

static struct fl_mmu_ops ops; /* src/soft's, with what is watched or replaced here */
static const struct fl_mmu_ops *soft;

/* ---- the cache of rights ---- */

static struct cached *cached_at(struct space *s, uint64_t addr)
{
	uint64_t region = (addr - REGION(0)) >> PMD_SHIFT, page = PAGES(addr & ~PMD_MASK);

	return addr >= REGION(0) && region < NR_REGIONS && page < REGION_PAGES ? &s->cache[region][page] : NULL;
}

static void grant(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, uint64_t nr, enum fl_right right)
{
	for (; nr--; addr += PAGE_SIZE) {
		struct cached *c = cached_at(space_of(mm), addr);

		if (!c)
			continue;
		sim_point(SIM_RUN, c, "a grant");
		c->right = right;
		c->pfn = pte_pfn(fl_pte_get(mm, addr));
		sim_touch(c, true);
	}
}

static void invalidate(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end, enum fl_right max)
{
	for (unsigned r = 0; r < NR_REGIONS; r++)
		for (uint64_t addr = fl_max(start, REGION(r)); addr < fl_min(end, REGION(r) + REGION_SIZE);
		     addr += PAGE_SIZE) {
			struct cached *c = cached_at(space_of(mm), addr);

			if (c->right > max)
				sim_point(SIM_RUN, c, "a right is taken");
			c->right = fl_min(c->right, max);
			sim_touch(c, true);
		}
}

static bool caches(const struct fl_vma *vma, uint64_t addr, enum fl_right right)
{
	const struct cached *c = cached_at(space_of(vma->mm), addr);

	return c && c->right >= right;
}

static char *page(struct space *s, uint64_t addr, bool write, enum fl_fault *fault)
{
	struct cached *c = cached_at(s, addr);
	enum fl_right right = write ? FL_RIGHT_WRITE : FL_RIGHT_READ;

	SIM_CHECK(c, "an access outside of the regions");
	sim_point(SIM_RUN, c, write ? "a store" : "a load");
	sim_touch(c, write);
	return c->right >= right ? fl_kmap_local(s->mm, c->pfn) : NULL;
}

static struct space *source(struct fl_mm *mm, uint64_t *addr)
{
	struct space *s = space_of(mm);

	if (!(*addr & 1ull << 46))
		return s;
	*addr &= ~(1ull << 46);
	return other_space(s);
}

/* With page faults disabled. dst NULL: only check. */
static uint64_t read_nofault(struct fl_mm *mm, char *dst, uint64_t src, uint64_t len)
{
	struct space *s = source(mm, &src);
	uint64_t done = 0;

	for (; done < len; done += PAGE_SIZE) {
		char *from = page(s, src + done, false, NULL);

		if (!from)
			break;
		if (dst)
			memcpy(dst + done, from, PAGE_SIZE);
	}
	return done;
}

static uint64_t source_read(struct fl_mm *mm, void *to, uint64_t src, uint64_t len)
{
	return read_nofault(mm, to, src, len);
}

static uint64_t source_probe(struct fl_mm *mm, uint64_t src, uint64_t len)
{
	return read_nofault(mm, NULL, src, len);
}

static int source_fault_in(struct fl_mm *mm, uint64_t addr)
{
	struct space *s = source(mm, &addr);

	return load(s, PAGE_ALIGN_DOWN(addr)) >= GOT_SIGBUS ? -EFAULT : 0;
}

static const struct fl_source cached_source = {
	.read = source_read, .probe = source_probe, .fault_in = source_fault_in};

/* For both backends: a frame is freed once, and only when unused. */
static void frame_put(struct fl_mm *mm, uint64_t pfn)
{
	struct fl_soft_pool *p = ((struct fl_soft *)mm->backend)->pool;
	struct fl_folio *folio = fl_folio(mm, pfn);

	SIM_CHECK(folio->refcount == 0 && folio->mapcount == 0, "a frame is freed that is in use");
	SIM_CHECK(p->frames.used[pfn / 64] & 1ull << (pfn % 64), "a frame is freed twice");
	soft->frames.put(mm, pfn);
}

static void use_ops(struct fl_mm *mm)
{
	soft = mm->ops == &ops ? soft : mm->ops;
	ops = *soft;
	ops.frames.put = frame_put;
	if (world_backend->mmu) {
		ops.rights.grant = grant;
		ops.rights.invalidate = invalidate;
		ops.rights.caches = caches;
	}
	mm->ops = &ops;
}

/* ---- making spaces ---- */

static void make(struct space *s)
{
	must(fl_soft_create(POOL, &s->soft), "no address space");
	s->mm = &s->soft->mm;
	use_ops(s->mm);
}

static int64_t map_file(struct space *s)
{
	const int prot = PROT_READ | PROT_WRITE;
	int err = fl_shmem_new(s->soft->pool, REGION_SIZE, &s->shmem);

	return err ? err
		   : fl_soft_mmap(s->mm, REGION(0), REGION_SIZE, prot, MAP_FIXED | MAP_SHARED,
				  fl_shmem_file(s->shmem), 0);
}

static int64_t write_file(struct space *s, const void *data, unsigned index)
{
	return fl_shmem_pwrite(s->shmem, data, PAGE_SIZE, index * PAGE_SIZE);
}

static int truncate_shmem(struct space *s, uint64_t size)
{
	return fl_shmem_resize(s->shmem, size);
}

static int punch(struct space *s, uint64_t offset, uint64_t len)
{
	return fl_shmem_punch_hole(s->shmem, offset, len);
}

static int fork_space(struct space *parent, struct space *child)
{
	struct fl_soft *made; /* no other thread knows the child before it is complete */
	int err = fl_soft_fork(parent->soft, &made);

	if (err)
		return err;
	child->soft = made;
	child->mm = &made->mm;
	child->mm->ops = &ops;
	return 0;
}

/* ---- accesses ---- */

static uint64_t walk(struct space *s, uint64_t addr, uint64_t *data, bool write)
{
	size_t done;
	enum fl_fault fault = fl_soft_access(s->mm, addr, data, PAGE_SIZE, write ? FAULT_WRITE : 0, NULL, &done);

	return fault == FL_DONE ? 0 : got(fault);
}

/* ---- checks, and the end ---- */

/* A cached right also leads to the entry's frame. */
static void verify_cache(const struct space *s)
{
	for (unsigned r = 0; r < NR_REGIONS; r++)
		for (unsigned i = 0; i < REGION_PAGES; i++)
			SIM_CHECK(!s->cache[r][i].right ||
					  s->cache[r][i].pfn == pte_pfn(fl_pte_get(s->mm, REGION(r) + i * PAGE_SIZE)),
				  "broken invariant: a cached right leads to another frame than the entry");
}

/* A count below zero means that a reference was dropped that was not held. */
static void verify_folios(const struct space *s)
{
	for (uint64_t i = 0; i < s->mm->pool.nr_frames; i++)
		SIM_CHECK(s->mm->pool.folios[i].refcount >= 0 && s->mm->pool.folios[i].mapcount >= 0,
			  "a folio was given back twice");
}

static void verify(struct space *s)
{
	verify_cache(s);
	verify_folios(s);
}

static void destroy(struct space *s)
{
	struct fl_soft *space = s->soft;

	s->soft = NULL;
	fl_soft_destroy(space);
}

static void end(struct space *s)
{
	struct fl_soft_pool *pool = s->soft ? s->soft->pool : NULL;

	if (pool) {
		verify_folios(s);
		fl_soft_pool_get(pool);
		must(fl_soft_munmap(s->mm, 0, TASK_SIZE), "the mappings do not go");
		space_destroy(s);
	}
	if (s->shmem)
		fl_shmem_put(s->shmem);
	if (!pool)
		return;
	SIM_CHECK(pool->users > 1 || !pool->frames.in_use, "a frame was not freed");
	SIM_CHECK(pool->users > 1 || !pool->slots.in_use, "a swap slot was not freed");
	fl_soft_pool_put(pool);
}

static void name(const void *what, char *text, size_t size)
{
	const struct space *s[] = {&a, &b};

	for (unsigned i = 0; i < ARRAY_SIZE(s); i++) {
		const struct cached *c = what;

		if (c >= &s[i]->cache[0][0] && c < &s[i]->cache[0][0] + NR_REGIONS * REGION_PAGES)
			snprintf(text, size, "in %s, page %d", s[i]->name, (int)(c - &s[i]->cache[0][0]));
	}
}

static const struct world walked = {
	.make = make,
	.map_file = map_file,
	.write_file = write_file,
	.truncate_file = truncate_shmem,
	.punch_file = punch,
	.fork = fork_space,
	.access = walk,
	.source = &fl_soft_source,
	.verify = verify,
	.destroy = destroy,
	.end = end,
	.name = name,
};

static const struct world cached = {
	.make = make,
	.map_file = map_file,
	.write_file = write_file,
	.truncate_file = truncate_shmem,
	.punch_file = punch,
	.fork = fork_space,
	.access = access_by_page,
	.page = page,
	.source = &cached_source,
	.verify = verify,
	.destroy = destroy,
	.end = end,
	.name = name,
};

const struct backend soft_backends[] = {
	{.name = "soft", .world = &walked},
	{.name = "mmu", .world = &cached, .mmu = true},
};
const unsigned soft_nr_backends = ARRAY_SIZE(soft_backends);

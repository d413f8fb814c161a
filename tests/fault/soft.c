/* SPDX-License-Identifier: MIT */
/* soft.c - the sweeps on soft address spaces, each cycle on a fresh one. */
#include "sweep.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>

#define RW   (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

static void soft_begin(void)
{
	EXPECT_INT(fl_mm_create(&env.mm, 16 * MB), 0);
}

static void soft_end(void)
{
	for (uint64_t pfn = 0; pfn < env.mm->pool.nr_frames; pfn++)
		EXPECT_INT(fl_folio(env.mm, pfn)->refcount | fl_folio(env.mm, pfn)->mapcount, 0);
	EXPECT_INT(fl_mm_destroy(env.mm), 0);
}

static int soft_access(uint64_t addr, uint8_t *byte, bool write)
{
	return write ? fl_store(env.mm, addr, byte, 1) : fl_load(env.mm, addr, byte, 1);
}

/* ---- birth and death ---- */

static struct fl_mm *second;

static void nothing(void)
{
}

static int run_create(void)
{
	return fl_mm_create(&second, 16 * MB) ? -errno : 0;
}

static void destroy_second(void)
{
	EXPECT_INT(fl_mm_destroy(second), 0);
}

/* With everything in it that an address space can own. */
static void make_second(void)
{
	uint64_t base;

	EXPECT_INT(run_create(), 0);
	for (unsigned i = 0; i < 40; i++) { /* more than the first table of mappings holds */
		base = fl_mmap(second, 0, env.shape->len, i % 2 ? PROT_READ : RW, ANON);
		EXPECT(base != FL_MAP_FAILED);
		EXPECT_INT(fl_store(second, base, "x", 1), i % 2 ? SIGSEGV : 0);
	}
}

static int run_destroy(void)
{
	return fl_mm_destroy(second) ? -errno : 0;
}

/* ---- the table of mappings: the first one, and a larger one ---- */

static void full_table(void)
{
	env.base = fl_mmap(env.mm, 0, 32 * PAGE, RW, ANON);
	env.len = 32 * PAGE;
	EXPECT(env.base != FL_MAP_FAILED);
	for (uint64_t i = 0; i < 32; i += 2)
		EXPECT_INT(fl_mprotect(env.mm, env.base + i * PAGE, PAGE, PROT_READ), 0);
}

static int run_mmap_one(void)
{
	env.extra = fl_mmap(env.mm, 0x10000, PAGE, RW, ANON);
	env.extra_len = env.extra == FL_MAP_FAILED ? 0 : PAGE;
	return env.extra_len ? 0 : -errno;
}

static const struct op soft_ops[] = {
	{"mmap, the first", nothing, run_mmap_one, nothing, 0},
	{"mmap with a full table", full_table, run_mmap_one, nothing, 0},
	{"create", nothing, run_create, destroy_second, 0},
	{"destroy", make_second, run_destroy, nothing, OP_NEVER_FAILS},
	{0},
};

static const char *const soft_points[] = {
	"alloc.mm",    "alloc.vma", "alloc.vma_table", "alloc.pgtable", "alloc.uffd", "alloc.wait",
	"alloc.frame", "host.pool", "host.fill",       "host.socket",	NULL,
};

static const struct world soft = {
	.name = "soft",
	.begin = soft_begin,
	.end = soft_end,
	.access = soft_access,
	.points = soft_points,
	.own = soft_ops,
};

int main(int argc, char **argv)
{
	return sweep_main(argc, argv, &soft);
}

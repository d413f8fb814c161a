/* SPDX-License-Identifier: MIT */
/* soft.c - the sweeps on soft address spaces, each cycle on a fresh one. */
#include "sweep.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
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

/* ---- what the kernel does behind a program's back ---- */

static void filled(void)
{
	for (const struct op *o = common_ops; o->name; o++)
		if (strcmp(o->name, "WRITEPROTECT") == 0)
			o->prepare();
}

static int run_pageout(void)
{
	return fl_madvise(env.mm, env.base, env.len, MADV_PAGEOUT) ? -errno : 0;
}

static void to_swap_in(void)
{
	filled();
	EXPECT_INT(run_pageout(), 0);
	EXPECT(pte_swap(fl_pte_get(env.mm, page_at(0))));
}

static int run_swap_in(void)
{
	for (; page_at(env.done) != FL_PFN_NONE; env.done++) {
		uint8_t byte = 0;
		int sig = soft_access(page_at(env.done) + env.done % PAGE, &byte, false);

		if (sig)
			return -SIGNAL(sig);
		EXPECT_INT(byte, pattern(env.done));
	}
	return 0;
}

static int run_migrate(void)
{
	return fl_mm_migrate(env.mm, env.base, env.len) < 0 ? -errno : 0;
}

static int run_fork(void)
{
	return fl_mm_fork(env.mm, &second) ? -errno : 0;
}

/* The child has what the parent has, and either may write. */
static void verify_forked(void)
{
	uint8_t byte = 0;

	EXPECT_INT(fl_mm_check(second), 0);
	EXPECT_INT(fl_load(second, page_at(0), &byte, 1), 0);
	EXPECT_INT(byte, pattern(0));
	EXPECT_INT(fl_store(second, page_at(0), "z", 1), 0);
	EXPECT_INT(fl_store(env.mm, page_at(0), &byte, 1), 0);
	EXPECT_INT(fl_mm_check(second), 0);
	destroy_second();
}

static void to_copy_on_write(void)
{
	filled();
	EXPECT_INT(run_fork(), 0);
}

static int run_copy_on_write(void)
{
	uint8_t byte = pattern(0);
	int sig = fl_store(env.mm, page_at(0), &byte, 1);

	return sig ? -SIGNAL(sig) : 0;
}

static const struct op soft_ops[] = {
	{"madvise PAGEOUT", filled, run_pageout, nothing, 0},
	{"load of what is swapped out", to_swap_in, run_swap_in, nothing, OP_PARTIAL},
	{"migration", filled, run_migrate, nothing, OP_PARTIAL},
	{"fork", filled, run_fork, verify_forked, OP_PARTIAL},
	{"store to what is shared", to_copy_on_write, run_copy_on_write, verify_forked, 0},
	{"mmap, the first", nothing, run_mmap_one, nothing, 0},
	{"mmap with a full table", full_table, run_mmap_one, nothing, 0},
	{"create", nothing, run_create, destroy_second, 0},
	{"destroy", make_second, run_destroy, nothing, OP_NEVER_FAILS},
	{0},
};

static const char *const soft_points[] = {
	"alloc.mm",    "alloc.vma", "alloc.vma_table", "alloc.pgtable", "alloc.uffd", "alloc.wait",
	"alloc.frame", "alloc.swap", "swap.read",      "host.pool",	"host.fill",  "host.socket", NULL,
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

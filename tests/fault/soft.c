/* SPDX-License-Identifier: MIT */
/* soft.c - the sweeps on soft address spaces, each cycle on a fresh one. */
#include "address.h"
#include "ops.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

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
		EXPECT(fl_mmap(second, 0, env.shape->len, i % 2 ? PROT_READ : RW, ANON, &base) == 0);
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
	env.len = 32 * PAGE;
	EXPECT(fl_mmap(env.mm, 0, 32 * PAGE, RW, ANON, &env.base) == 0);
	for (uint64_t i = 0; i < 32; i += 2)
		EXPECT_INT(fl_mprotect(env.mm, env.base + i * PAGE, PAGE, PROT_READ), 0);
}

static int run_mmap_one(void)
{
	env.extra_len = fl_mmap(env.mm, 0x10000, PAGE, RW, ANON, &env.extra) ? 0 : PAGE;
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
	return migrated(env.mm, env.base, env.len) < 0 ? -errno : 0;
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

/* ---- shared memory objects ---- */

static struct fl_shmem *object;

static int run_shmem_create(void)
{
	return result(fl_shmem_create(env.mm, env.shape->len, &object));
}

static void close_object(void)
{
	fl_shmem_close(object);
}

/* Page by page, at the places of the spots. What could not be written has not extended the object. */
static int run_shmem_write(void)
{
	for (; page_at(env.done) != FL_PFN_NONE; env.done++) {
		uint64_t offset = page_at(env.done) - env.base;
		uint8_t byte = 0;

		if (fl_shmem_write(object, &source[env.done * PAGE], PAGE, offset) == (ssize_t)PAGE)
			continue;
		EXPECT_INT(errno, ENOMEM);
		EXPECT_INT(fl_shmem_read(object, &byte, 1, offset), 0);
		return -ENOMEM;
	}
	return 0;
}

static void check_object(uint64_t from)
{
	for (uint64_t i = 0; page_at(i) != FL_PFN_NONE; i++) {
		uint8_t byte = 0;

		EXPECT_INT(fl_shmem_read(object, &byte, 1, page_at(i) - env.base + i % PAGE), 1);
		EXPECT_INT(byte, page_at(i) - env.base < from ? pattern(i) : 0);
	}
}

static void verify_written(void)
{
	check_object(env.shape->len);
	close_object();
}

/* An empty object. The mapping is of other memory: it gives page_at() its addresses. */
static void to_shmem_write(void)
{
	map_as(MAP_PRIVATE | MAP_ANONYMOUS);
	EXPECT_INT(fl_shmem_create(env.mm, 0, &object), 0);
}

/* With data in it, and not mapped. */
static void make_object(void)
{
	to_shmem_write();
	EXPECT_INT(run_shmem_write(), 0);
	EXPECT_INT(fl_shmem_truncate(object, env.shape->len), 0);
	EXPECT_INT(fl_munmap(env.mm, env.base, env.len), 0);
	env.len = env.done = 0;
}

static int map_object(int flags)
{
	uint64_t at;

	if (fl_mmap_shmem(env.mm, 0, env.shape->len, RW, flags, object, 0, &at))
		return -errno;
	env.base = at;
	env.len = env.shape->len;
	return 0;
}

static int run_map_object(void)
{
	return map_object(MAP_SHARED);
}

static int run_map_object_private(void)
{
	return map_object(MAP_PRIVATE);
}

static void verify_mapped_object(void)
{
	check_spots();
	verify_written();
}

static void to_touch_object(void)
{
	make_object();
	EXPECT_INT(run_map_object_private(), 0);
}

/* The private mapping has its own pages; the object is unchanged. */
static int run_store_private(void)
{
	for (; page_at(env.done) != FL_PFN_NONE; env.done++) {
		uint8_t byte = (uint8_t)~pattern(env.done);
		int sig = soft_access(page_at(env.done) + env.done % PAGE, &byte, true);

		if (sig)
			return -SIGNAL(sig);
	}
	return 0;
}

static void verify_private(void)
{
	for (uint64_t i = 0; page_at(i) != FL_PFN_NONE; i++) {
		uint8_t byte = 0;

		EXPECT_INT(soft_access(page_at(i) + i % PAGE, &byte, false), 0);
		EXPECT_INT(byte, (uint8_t)~pattern(i));
	}
	verify_written();
}

/* Its pages are in the page tables of a registered mapping. */
static void registered_object(void)
{
	make_object();
	EXPECT_INT(run_map_object(), 0);
	check_spots();
	open_object(FL_UFFD_FEATURE_SIGBUS);
	reg(MISSING | MINOR | WP);
}

static int run_truncate(void)
{
	return result(fl_shmem_truncate(object, env.len - PAGE));
}

static void verify_truncated(void)
{
	uint8_t byte;

	EXPECT_INT(soft_access(last_page(), &byte, false), SIGBUS);
	EXPECT_INT(fl_shmem_truncate(object, env.len), 0);
	check_object(env.len - PAGE);
	close_object();
}

static int run_punch(void)
{
	return result(fl_shmem_punch(object, 0, env.len));
}

static void verify_punched(void)
{
	verify_dropped();
	check_object(0);
	close_object();
}

static void shared_filled(void)
{
	for (const struct op *o = shared_ops; o->name; o++)
		if (strcmp(o->name, "WRITEPROTECT of shared data") == 0)
			o->prepare();
}

/* What one of the two stores, the other loads. */
static void verify_forked_shared(void)
{
	uint8_t byte = 0;

	for (uint64_t i = 0; page_at(i) != FL_PFN_NONE; i++) {
		EXPECT_INT(fl_load(second, page_at(i) + i % PAGE, &byte, 1), 0);
		EXPECT_INT(byte, pattern(i));
	}
	EXPECT_INT(fl_store(second, page_at(0) + 1, "z", 1), 0);
	EXPECT_INT(fl_load(env.mm, page_at(0) + 1, &byte, 1), 0);
	EXPECT_INT(byte, 'z');
	EXPECT_INT(fl_mm_check(second), 0);
	destroy_second();
}

static const struct op soft_ops[] = {
	{"madvise PAGEOUT", filled, run_pageout, nothing, 0},
	{"load of what is swapped out", to_swap_in, run_swap_in, nothing, OP_PARTIAL},
	{"migration", filled, run_migrate, nothing, OP_PARTIAL},
	{"fork", filled, run_fork, verify_forked, OP_PARTIAL},
	{"store to what is shared", to_copy_on_write, run_copy_on_write, verify_forked, 0},
	{"fork with shared memory", shared_filled, run_fork, verify_forked_shared, OP_PARTIAL},
	{"shmem create", nothing, run_shmem_create, close_object, 0},
	{"shmem write", to_shmem_write, run_shmem_write, verify_written, OP_PARTIAL},
	{"shmem truncate", registered_object, run_truncate, verify_truncated, OP_NEVER_FAILS},
	{"shmem punch", registered_object, run_punch, verify_punched, OP_NEVER_FAILS},
	{"mmap of shmem, shared", make_object, run_map_object, verify_mapped_object, 0},
	{"mmap of shmem, private", make_object, run_map_object_private, verify_mapped_object, 0},
	{"store to private shmem", to_touch_object, run_store_private, verify_private, OP_PARTIAL},
	{"mmap, the first", nothing, run_mmap_one, nothing, 0},
	{"mmap with a full table", full_table, run_mmap_one, nothing, 0},
	{"create", nothing, run_create, destroy_second, 0},
	{"destroy", make_second, run_destroy, nothing, OP_NEVER_FAILS},
	{0},
};

static const char *const soft_points[] = {
	"alloc.mm",   "alloc.vma",   "alloc.vma_table", "alloc.pgtable", "alloc.uffd",
	"alloc.wait", "alloc.frame", "alloc.file",	"alloc.cache",	 "alloc.swap",
	"swap.read",  "host.pool",   "host.fill",	"host.socket",	 NULL,
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

/* SPDX-License-Identifier: MIT */
/*
 * shared.c - operations on shared anonymous memory, whose pages are in a cache that outlives the entries. A second,
 * unregistered mapping of it fills that cache and shows what is in it.
 */
#include "address.h"
#include "ops.h"

#include <errno.h>
#include <signal.h>

#define SHARED (MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE)
#define ALL    (MISSING | MINOR | WP)

/* ---- preparing ---- */

static int run_map_again(void)
{
	uint64_t at;

	if (fl_mremap(env.mm, env.base, 0, env.len, MREMAP_MAYMOVE, 0, &at))
		return -errno;
	env.extra = at;
	env.extra_len = env.len;
	return 0;
}

static void map_twice(void)
{
	map_as(SHARED);
	EXPECT_INT(run_map_again(), 0);
	open_object(FL_UFFD_FEATURE_SIGBUS);
}

static void map_filled(void)
{
	map_twice();
	store_patterns(env.base);
	env.filled = true;
}

/* In the cache, but not in the mapping's page tables. */
static void map_cached(void)
{
	map_twice();
	store_patterns(env.extra);
}

static void empty(void)
{
	map_twice();
	reg(ALL);
}

static void filled(void)
{
	map_filled();
	reg(ALL);
}

static void cached(void)
{
	map_cached();
	reg(ALL);
}

static void protected(void)
{
	filled();
	EXPECT_INT(run_protect(), 0);
}

static void released(void)
{
	filled();
	EXPECT_INT(run_unregister(), 0);
}

/* Neither a hole nor a page of the cache sends a message. */
static void empty_wp(void)
{
	map_twice();
	reg(WP);
}

static void cached_wp(void)
{
	map_cached();
	reg(WP);
}

static void one_mapping(void)
{
	map_as(SHARED);
	open_object(FL_UFFD_FEATURE_SIGBUS);
	store_patterns(env.base);
	env.filled = true;
	reg(ALL);
}

/* ---- what the memory holds, whatever the mapping shows of it ---- */

static void check_cache(bool zero)
{
	for (uint64_t i = 0; page_at(i) != FL_PFN_NONE; i++) {
		uint8_t byte = 0xff;

		EXPECT_INT(env.world->access(page_at(i) - env.base + env.extra + i % PAGE, &byte, false), 0);
		EXPECT_INT(byte, zero ? 0 : pattern(i));
	}
}

/* ---- registrations ---- */

static int run_register(void)
{
	return result(fl_uffd_register(env.uffd, env.base, env.len, ALL, NULL));
}

/* What a failed attempt made for itself is gone, with no other attempt to find it. */
static int run_register_once(void)
{
	return env.done++ ? 0 : run_register();
}

static void verify_registered(void)
{
	EXPECT_INT(registered(env.base), VM_UFFD_MISSING | VM_UFFD_MINOR | VM_UFFD_WP);
	EXPECT_INT(registered(last_page()), VM_UFFD_MISSING | VM_UFFD_MINOR | VM_UFFD_WP);
	for (uint64_t i = 0; page_at(i) != FL_PFN_NONE; i++)
		EXPECT_INT(entry_present(page_at(i)), env.filled);
}

static void verify_registered_cached(void)
{
	verify_registered();
	check_cache(false);
}

static void verify_unregistered_part(void)
{
	EXPECT_INT(registered(last_page()), 0);
	if (env.len > PAGE)
		EXPECT_INT(registered(env.base), VM_UFFD_MISSING | VM_UFFD_MINOR | VM_UFFD_WP);
}

/* ---- fills ---- */

static int continue_as(uint64_t addr, uint64_t len, uint64_t mode, int64_t *got)
{
	struct fl_uffdio_continue c = {.range = {addr, len}, .mode = mode};
	int ret = fl_uffd_ioctl(env.uffd, FL_UFFDIO_CONTINUE, &c);

	*got = c.mapped;
	return ret;
}

static int continue_one(uint64_t addr, uint64_t page, uint64_t len, int64_t *got)
{
	return continue_as(addr, len, 0, got);
}

static int continue_wp_one(uint64_t addr, uint64_t page, uint64_t len, int64_t *got)
{
	return continue_as(addr, len, FL_UFFDIO_CONTINUE_MODE_WP, got);
}

static int run_continue(void)
{
	return fill(continue_one);
}

static int run_continue_wp(void)
{
	return fill(continue_wp_one);
}

static void verify_filled(void)
{
	check_cache(false);
	check_spots();
	env.filled = true;
}

static void verify_filled_wp(void)
{
	verify_filled();
	verify_protected();
}

static void verify_zeros(void)
{
	check_cache(true);
	verify_zero();
}

/* ---- faults ---- */

/* Pages that the cache has and the page tables do not. */
static int run_load_cached(void)
{
	for (; page_at(env.done) != FL_PFN_NONE; env.done++) {
		uint8_t byte = 0;
		int sig = env.world->access(page_at(env.done) + env.done % PAGE, &byte, false);

		if (sig)
			return -SIGNAL(sig);
		EXPECT_INT(byte, pattern(env.done));
	}
	return 0;
}

/* ---- protection ---- */

/* A page that is not present yet comes protected, with the cache's contents. */
static void verify_marked_cached(void)
{
	verify_marked();
	check_spots();
	verify_protected();
	check_cache(false);
}

/* ---- taking pages away ---- */

static void verify_forgotten(void)
{
	verify_dropped();   /* from the page tables, */
	check_cache(false); /* but not from the cache */
}

static int run_remove(void)
{
	return result(fl_madvise(env.mm, env.base, env.len, MADV_REMOVE));
}

static void verify_removed(void)
{
	verify_dropped();
	check_cache(true);
}

/* ---- collapse ---- */

/* The first 2 MiB of it are aligned; the rest is room for the shape. */
static void collapsible(void)
{
	uint64_t at = 0x5e0000000000, len = PMD_ALIGN(env.shape->len);

	EXPECT_INT(map_addr(env.mm, at, len, RW, SHARED | MAP_FIXED_NOREPLACE), (int64_t)at);
	env.base = at;
	env.len = len;
	open_object(FL_UFFD_FEATURE_SIGBUS);
	for (uint64_t page = at; page < at + 2 * MB; page += PAGE) {
		uint8_t byte;

		EXPECT_INT(env.world->access(page, &byte, false), 0);
	}
	store_patterns(at);
	env.filled = true;
	reg(MISSING);
}

static int run_collapse(void)
{
	return collapse(env.base);
}

static void verify_collapsed(void)
{
	EXPECT(fl_slot_at(env.mm, env.base).pmdp);
	check_spots();
}

static void verify_same(void)
{
	check_cache(false);
}

const struct op shared_ops[] = {
	{"REGISTER of empty shared memory", map_twice, run_register, verify_registered, 0},
	{"REGISTER of shared data", map_filled, run_register, verify_registered_cached, 0},
	{"REGISTER of shared data, given up", map_filled, run_register_once, verify_nothing, 0},
	{"REGISTER of cached pages", map_cached, run_register, verify_registered_cached, 0},
	{"REGISTER of shared data after UNREGISTER", released, run_register, verify_registered_cached, 0},
	{"UNREGISTER of shared data", protected, run_unregister, verify_closed, 0},
	{"UNREGISTER of the last page of shared data", protected, run_unregister_part, verify_unregistered_part, 0},
	{"COPY to shared memory", empty, run_copy, verify_filled, OP_PROGRESS},
	{"ZEROPAGE of shared memory", empty, run_zeropage, verify_zeros, OP_PROGRESS},
	{"CONTINUE", cached, run_continue, verify_filled, OP_PROGRESS},
	{"CONTINUE, write-protected", cached, run_continue_wp, verify_filled_wp, OP_PROGRESS},
	{"load of a hole", empty_wp, run_load, verify_zeros, OP_PROGRESS},
	{"store to a hole", empty_wp, run_store, verify_filled, OP_PROGRESS},
	{"load of cached pages", cached_wp, run_load_cached, verify_filled, OP_PROGRESS},
	{"store to cached pages", cached_wp, run_store, verify_filled, OP_PROGRESS},
	{"WRITEPROTECT of shared data", filled, run_protect, verify_protected, OP_PARTIAL}, /* holes, too */
	{"WRITEPROTECT off of shared data", protected, run_unprotect, verify_unprotected, 0},
	{"WRITEPROTECT of holes", empty_wp, run_protect, verify_marked, OP_PARTIAL},
	{"WRITEPROTECT of cached pages", cached_wp, run_protect, verify_marked_cached, OP_PARTIAL},
	{"madvise DONTNEED of shared data", filled, run_madvise, verify_forgotten, 0},
	{"madvise REMOVE", filled, run_remove, verify_removed, 0},
	{"madvise COLLAPSE", collapsible, run_collapse, verify_collapsed, OP_PARTIAL},
	{"mremap to a second mapping", one_mapping, run_map_again, verify_same, 0},
	{"mprotect of the last page of shared data", filled, run_mprotect, verify_mprotected, 0},
	{"munmap of the last page of shared data", filled, run_munmap, verify_unmapped, 0},
	{0},
};

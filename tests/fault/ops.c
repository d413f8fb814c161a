/* SPDX-License-Identifier: MIT */
/* ops.c - the operations that every address space has, and how each is prepared and verified. */
#include "ops.h"
#include "address.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ANON (MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)

char source[2 * MB + PAGE];

int result(int64_t ret)
{
	return ret < 0 ? -errno : 0;
}

uint64_t last_page(void)
{
	return env.base + env.shape->len - PAGE;
}

/* The pages of the spots that still exist. */
static uint64_t nr_pages(void)
{
	uint64_t n = 0;

	while (page_at(n) != FL_PFN_NONE)
		n++;
	return n;
}

/* ---- preparing ---- */

void map_as(int flags)
{
	for (uint64_t i = 0; i < sizeof(source); i += PAGE)
		memset(&source[i], pattern(i / PAGE), PAGE);
	env.len = env.shape->len;
	EXPECT(fl_mmap(env.mm, 0, env.len, RW, flags, &env.base) == 0);
}

static void map(void)
{
	map_as(ANON);
}

void store_patterns(uint64_t to)
{
	for (uint64_t i = 0; page_at(i) != FL_PFN_NONE; i++) {
		uint8_t byte = pattern(i);

		EXPECT_INT(env.world->access(page_at(i) - env.base + to + i % PAGE, &byte, true), 0);
	}
}

static void map_filled(void)
{
	map();
	store_patterns(env.base);
	env.filled = true;
}

void open_object(uint64_t features)
{
	EXPECT_INT(fl_uffd_open(env.mm, O_CLOEXEC | O_NONBLOCK | FL_UFFD_SRC_HOST, &env.uffd), 0);
	EXPECT_INT(fl_uffd_api(env.uffd, features, NULL), 0);
}

static void to_register(void)
{
	map();
	open_object(FL_UFFD_FEATURE_SIGBUS);
}

static void to_register_filled(void)
{
	map_filled();
	open_object(FL_UFFD_FEATURE_SIGBUS);
}

void reg(uint64_t mode)
{
	EXPECT_INT(fl_uffd_register(env.uffd, env.base, env.len, mode, NULL), 0);
}

static void to_fill(void)
{
	to_register();
	reg(MISSING | WP);
}

static void to_touch(void)
{
	to_register();
	reg(WP); /* missing pages are zero-filled */
}

static void to_wait(void)
{
	map();
	open_object(0);
	reg(MISSING);
}

static void filled(void)
{
	to_register_filled();
	reg(MISSING | WP);
}

static void protected(void)
{
	filled();
	EXPECT_INT(fl_uffd_writeprotect(env.uffd, env.base, env.len, FL_UFFDIO_WRITEPROTECT_MODE_WP), 0);
}

static void released(void)
{
	filled();
	EXPECT_INT(fl_uffd_unregister(env.uffd, env.base, env.len), 0);
}

void check_spots(void)
{
	for (uint64_t i = 0; page_at(i) != FL_PFN_NONE; i++) {
		uint8_t byte = 0;

		EXPECT_INT(env.world->access(page_at(i) + i % PAGE, &byte, false), 0);
		EXPECT_INT(byte, pattern(i));
	}
}

/* ---- the object ---- */

static int run_open(void)
{
	return result(fl_uffd_open(env.mm, O_CLOEXEC | O_NONBLOCK, &env.uffd));
}

static void verify_open(void)
{
	struct fl_uffd_msg msg;

	EXPECT_INT(fl_uffd_api(env.uffd, 0, NULL), 0);
	EXPECT_INT(fl_uffd_read(env.uffd, &msg, sizeof(msg)), -1);
	EXPECT_INT(errno, EAGAIN);
}

static int run_close(void)
{
	int ret = fl_uffd_close(env.uffd);

	env.uffd = NULL;
	return result(ret);
}

void verify_closed(void)
{
	EXPECT_INT(registered(env.base), 0);
	EXPECT_INT(registered(last_page()), 0);
}

/* ---- registrations ---- */

static int run_register(void)
{
	return result(fl_uffd_register(env.uffd, env.base, env.len, MISSING | WP, NULL));
}

static void verify_registered(void)
{
	EXPECT_INT(registered(env.base), VM_UFFD_MISSING | VM_UFFD_WP);
	EXPECT_INT(registered(last_page()), VM_UFFD_MISSING | VM_UFFD_WP);
	for (uint64_t i = 0; page_at(i) != FL_PFN_NONE; i++)
		EXPECT_INT(entry_present(page_at(i)), env.filled);
}

int run_unregister(void)
{
	return result(fl_uffd_unregister(env.uffd, env.base, env.len));
}

/* The last page only: a split. */
int run_unregister_part(void)
{
	return result(fl_uffd_unregister(env.uffd, last_page(), PAGE));
}

static void verify_unregistered_part(void)
{
	EXPECT_INT(registered(last_page()), 0);
	if (env.len > PAGE)
		EXPECT_INT(registered(env.base), VM_UFFD_MISSING | VM_UFFD_WP);
}

/* ---- fills ---- */

int fill(int (*one)(uint64_t addr, uint64_t page, uint64_t len, int64_t *got))
{
	uint64_t per = env.shape->spot / PAGE;

	while (page_at(env.done) != FL_PFN_NONE) {
		int64_t got = 0;
		int ret = result(one(page_at(env.done), env.done, (per - env.done % per) * PAGE, &got));

		if (got > 0)
			env.done += (uint64_t)got / PAGE;
		if (ret)
			return ret;
	}
	return 0;
}

static int copy_one(uint64_t addr, uint64_t page, uint64_t len, int64_t *got)
{
	return fl_uffd_copy(env.uffd, addr, fl_addr(source + page * PAGE), len, 0, got);
}

static int zero_one(uint64_t addr, uint64_t page, uint64_t len, int64_t *got)
{
	return fl_uffd_zeropage(env.uffd, addr, len, 0, got);
}

int run_copy(void)
{
	return fill(copy_one);
}

int run_zeropage(void)
{
	return fill(zero_one);
}

void verify_copied(void)
{
	env.filled = true; /* the caller looks at it */
}

void verify_zero(void)
{
	for (uint64_t i = 0; page_at(i) != FL_PFN_NONE; i++) {
		uint8_t byte = 1;

		EXPECT_INT(env.world->access(page_at(i) + i % PAGE, &byte, false), 0);
		EXPECT_INT(byte, 0);
	}
}

/* ---- faults ---- */

static int touch(bool write)
{
	for (; page_at(env.done) != FL_PFN_NONE; env.done++) {
		uint8_t byte = write ? pattern(env.done) : 0xff;
		int sig = env.world->access(page_at(env.done) + env.done % PAGE, &byte, write);

		if (sig)
			return -SIGNAL(sig);
		if (!write)
			EXPECT_INT(byte, 0);
	}
	return 0;
}

int run_load(void)
{
	return touch(false);
}

int run_store(void)
{
	return touch(true);
}

static void *waiter(void *sig)
{
	uint8_t byte = 0;

	*(int *)sig = env.world->access(page_at(0), &byte, false);
	EXPECT_INT(byte, pattern(0));
	return NULL;
}

/* A thread waits in a fault until it is answered here. */
static int run_wait(void)
{
	struct fl_uffd_msg msg;
	pthread_t thread;
	int sig = -1;

	EXPECT_INT(pthread_create(&thread, NULL, waiter, &sig), 0);
	while (fl_uffd_poll(env.uffd, 20) != POLLIN)
		if (sweep_fired()) /* failing for ever only until it was seen */
			sweep_disarm();
	sweep_disarm();
	EXPECT_INT(fl_uffd_read(env.uffd, &msg, sizeof(msg)), sizeof(msg));
	EXPECT_INT(msg.arg.pagefault.address, page_at(0));
	EXPECT_INT(fl_uffd_copy(env.uffd, page_at(0), fl_addr(source), PAGE, 0, NULL), 0);
	EXPECT_INT(pthread_join(thread, NULL), 0);
	return sig ? -SIGNAL(sig) : 0;
}

void verify_nothing(void)
{
}

/* ---- protection ---- */

int writes(uint64_t addr)
{
	uint8_t byte = pattern(0);

	return env.world->access(addr, &byte, true);
}

int run_protect(void)
{
	return result(fl_uffd_writeprotect(env.uffd, env.base, env.len, FL_UFFDIO_WRITEPROTECT_MODE_WP));
}

int run_unprotect(void)
{
	return result(fl_uffd_writeprotect(env.uffd, env.base, env.len, 0));
}

void verify_protected(void)
{
	for (uint64_t i = 0; page_at(i) != FL_PFN_NONE; i++)
		EXPECT_INT(writes(page_at(i)), SIGBUS);
}

void verify_unprotected(void)
{
	EXPECT_INT(writes(page_at(0)), 0);
	EXPECT_INT(writes(page_at(nr_pages() - 1)), 0);
	env.filled = false; /* no longer all of it */
}

int run_mprotect(void)
{
	return result(fl_mprotect(env.mm, last_page(), PAGE, PROT_READ));
}

void verify_mprotected(void)
{
	EXPECT_INT(writes(last_page()), SIGSEGV);
	if (env.len > PAGE)
		EXPECT_INT(writes(env.base), 0);
	EXPECT_INT(fl_mprotect(env.mm, last_page(), PAGE, RW), 0);
}

/* ---- mappings ---- */

static int run_mmap(void)
{
	uint64_t at;

	if (fl_mmap(env.mm, 0, env.shape->len, RW, ANON, &at))
		return -errno;
	env.extra = at;
	env.extra_len = env.shape->len;
	return 0;
}

static int run_mmap_over(void)
{
	return fl_mmap(env.mm, last_page(), PAGE, RW, ANON | MAP_FIXED, NULL) ? -errno : 0;
}

static void verify_mapped_over(void)
{
	uint8_t byte = 1;

	EXPECT_INT(registered(last_page()), 0);
	EXPECT_INT(env.world->access(last_page(), &byte, false), 0);
	EXPECT_INT(byte, 0);
	env.filled = env.shape->spot != env.shape->len && env.len > PAGE;
}

int run_munmap(void)
{
	return result(fl_munmap(env.mm, last_page(), PAGE));
}

void verify_unmapped(void)
{
	uint8_t byte;

	EXPECT_INT(env.world->access(last_page(), &byte, false), SIGSEGV);
	env.filled = env.shape->spot != env.shape->len && env.len > PAGE;
	env.len -= PAGE;
}

int run_madvise(void)
{
	return result(fl_madvise(env.mm, env.base, env.len, MADV_DONTNEED));
}

void verify_dropped(void)
{
	for (uint64_t i = 0; page_at(i) != FL_PFN_NONE; i++)
		EXPECT_INT(entry_present(page_at(i)), 0);
	EXPECT_INT(writes(env.base), SIGBUS);
	env.filled = false;
}

/* One page more, elsewhere. */
static int remap(uint64_t new_len, int flags, uint64_t to)
{
	uint64_t at;

	if (fl_mremap(env.mm, env.base, env.len, new_len, flags, to, &at))
		return -errno;
	env.base = at;
	env.len = new_len;
	return 0;
}

/* Something behind it, so that it must move to grow. */
static void blocked(void)
{
	filled();
	if (fl_mmap(env.mm, env.base + env.len, PAGE, RW, ANON | MAP_FIXED_NOREPLACE,
		    &env.extra)) { /* the place is taken */
		EXPECT_INT(errno, EEXIST);
		return;
	}
	env.extra_len = PAGE;
}

static int run_mremap_move(void)
{
	return remap(env.len + PAGE, MREMAP_MAYMOVE, 0);
}

/* A target known to be free, and one that is not. */
static void to_remap_fixed(void)
{
	filled();
	EXPECT(fl_mmap(env.mm, 0, env.len, RW, ANON, &env.extra) == 0);
	EXPECT_INT(fl_munmap(env.mm, env.extra, env.len), 0);
}

static void to_remap_over(void)
{
	filled();
	EXPECT(fl_mmap(env.mm, 0, env.len, RW, ANON, &env.extra) == 0);
	env.extra_len = env.len;
}

static int run_mremap_fixed(void)
{
	int ret = remap(env.len, MREMAP_MAYMOVE | MREMAP_FIXED, env.extra);

	if (!ret)
		env.extra_len = 0;
	return ret;
}

static int run_mremap_shrink(void)
{
	return env.len > PAGE ? remap(env.len - PAGE, 0, 0) : 0;
}

static void verify_moved(void)
{
	EXPECT_INT(registered(env.base), 0);
}

static void verify_shrunk(void)
{
	env.filled = env.shape->spot != env.shape->len || env.shape->len == PAGE;
}

/* ---- marks, leaves, the sampler, soft-dirty ---- */

static void to_mark(void)
{
	map();
	open_object(FL_UFFD_FEATURE_SIGBUS | FL_UFFD_FEATURE_WP_UNPOPULATED);
	reg(WP);
}

void verify_marked(void)
{
	EXPECT(pte_marker(fl_pte_get(env.mm, env.base)));
	EXPECT(pte_marker(fl_pte_get(env.mm, last_page())));
	verify_protected();
}

/* 4 MiB beside it, registered and populated. */
static void to_collapse(void)
{
	to_register();
	EXPECT(fl_mmap(env.mm, 0, 4 * MB, RW, ANON, &env.extra) == 0);
	env.extra_len = 4 * MB;
	for (uint64_t at = env.extra; at < env.extra + 4 * MB; at += PAGE) {
		uint8_t byte = pattern((at - env.extra) / PAGE);

		EXPECT_INT(env.world->access(at, &byte, true), 0);
	}
	EXPECT_INT(fl_uffd_register(env.uffd, env.extra, 4 * MB, WP, NULL), 0);
}

static uint64_t extra_leaf(void)
{
	return PMD_ALIGN(env.extra);
}

static void verify_collapsed(void)
{
	EXPECT_INT(fl_slot_at(env.mm, extra_leaf()).nr, 512);
	for (uint64_t at = env.extra; at < env.extra + 4 * MB; at += PAGE) {
		uint8_t byte = 0;

		EXPECT_INT(env.world->access(at, &byte, false), 0);
		EXPECT_INT(byte, pattern((at - env.extra) / PAGE));
	}
}

/* The host says EAGAIN while pages are in use, perhaps by itself on another CPU: madvise(2). */
int collapse(uint64_t addr)
{
	int ret;

	for (unsigned i = 0; i < 1000; i++) {
		ret = result(fl_madvise(env.mm, addr, 2 * MB, 25 /* MADV_COLLAPSE */));
		if (ret != -EAGAIN)
			break;
		usleep(1000);
	}
	return ret;
}

static int run_collapse(void)
{
	return collapse(extra_leaf());
}

static void to_split(void)
{
	to_collapse();
	EXPECT_INT(run_collapse(), 0);
}

static int run_split(void)
{
	return result(fl_uffd_writeprotect(env.uffd, extra_leaf() + PAGE, PAGE, FL_UFFDIO_WRITEPROTECT_MODE_WP));
}

static void verify_split(void)
{
	EXPECT_INT(fl_slot_at(env.mm, extra_leaf()).nr, 1);
	EXPECT_INT(writes(extra_leaf() + PAGE), SIGBUS);
	EXPECT(pte_write(fl_pte_get(env.mm, extra_leaf())));
}

static int run_sample(void)
{
	return result(fl_sample_start(env.mm, env.base, env.shape->len));
}

static void verify_sampled(void)
{
	EXPECT_INT(looked(env.mm, env.base, env.shape->len, NULL), 0);
	check_spots();
	EXPECT_INT(looked(env.mm, env.base, env.shape->len, NULL), (int64_t)nr_pages());
	EXPECT_INT(fl_sample_stop(env.mm, env.base, env.shape->len), 0);
}

static int run_clear_refs(void)
{
	return result(fl_mm_clear_soft_dirty(env.mm));
}

static void verify_cleared(void)
{
	uint64_t word;

	for (unsigned stored = 0; stored < 2; stored++) {
		EXPECT_INT(fl_mm_pagemap(env.mm, page_at(0), 1, &word), 0);
		EXPECT_INT(word & FL_PM_PRESENT, FL_PM_PRESENT);
		EXPECT_INT(!(word & FL_PM_SOFT_DIRTY), !stored);
		EXPECT_INT(writes(page_at(0)), 0);
	}
}

const struct op common_ops[] = {
	{"open", map, run_open, verify_open, 0},
	{"close", protected, run_close, verify_closed, OP_NEVER_FAILS},
	{"REGISTER of empty memory", to_register, run_register, verify_registered, 0},
	{"REGISTER of data", to_register_filled, run_register, verify_registered, 0},
	{"REGISTER once more", filled, run_register, verify_registered, 0},
	{"REGISTER after UNREGISTER", released, run_register, verify_registered, 0},
	{"UNREGISTER", protected, run_unregister, verify_closed, 0},
	{"UNREGISTER of the last page", protected, run_unregister_part, verify_unregistered_part, 0},
	{"COPY", to_fill, run_copy, verify_copied, OP_PROGRESS},
	{"ZEROPAGE", to_fill, run_zeropage, verify_zero, OP_PROGRESS},
	{"WRITEPROTECT", filled, run_protect, verify_protected, 0},
	{"WRITEPROTECT off", protected, run_unprotect, verify_unprotected, 0},
	{"WRITEPROTECT of empty memory", to_mark, run_protect, verify_marked, OP_PARTIAL},
	{"WRITEPROTECT of a page of a leaf", to_split, run_split, verify_split, 0},
	{"MADV_COLLAPSE", to_collapse, run_collapse, verify_collapsed, 0},
	{"sampling", map_filled, run_sample, verify_sampled, 0},
	{"clear_refs", filled, run_clear_refs, verify_cleared, 0},
	{"clear_refs after UNREGISTER", released, run_clear_refs, verify_cleared, 0},
	{"load", to_touch, run_load, verify_zero, OP_PROGRESS},
	{"store", to_touch, run_store, verify_copied, OP_PROGRESS},
	{"load that waits", to_wait, run_wait, verify_nothing, 0},
	{"mmap", filled, run_mmap, verify_nothing, 0},
	{"mmap over the last page", filled, run_mmap_over, verify_mapped_over, 0},
	{"mprotect of the last page", filled, run_mprotect, verify_mprotected, 0},
	{"munmap of the last page", filled, run_munmap, verify_unmapped, 0},
	{"madvise DONTNEED", filled, run_madvise, verify_dropped, 0},
	{"mremap, moving", blocked, run_mremap_move, verify_moved, 0},
	{"mremap to a free place", to_remap_fixed, run_mremap_fixed, verify_moved, 0},
	{"mremap over a mapping", to_remap_over, run_mremap_fixed, verify_moved, 0},
	{"mremap, shrinking", filled, run_mremap_shrink, verify_shrunk, 0},
	{0},
};

/* SPDX-License-Identifier: MIT */
/*
 * native.c - what only the native backend has: memory that is adopted while the program uses it, and released again;
 * addresses that are reused; and calls that change the host's mappings under accesses.
 */
#include "scenarios.h"

#include <sys/mman.h>

/* ---- setups ---- */

static void with_object(void)
{
	unregistered_present();
	space_object(&a, FL_CTX_SRC_HOST, 0);
}

static void with_two_pages(void)
{
	with_object();
	space_fill(&a, PAGE(1), OLD);
}

/* All of it was adopted once. */
static void released(void)
{
	present();
	SIM_CHECK(!unregister_page(&a, PAGE(0)), "UNREGISTER");
}

/* The program reaches both. */
static void two_present(void)
{
	begin();
	registered_at(&a, WP);
	space_fill(&a, PAGE(0), OLD);
	space_fill(&a, PAGE(1), OLD);
}

/* The pool still has the memory that page 0 had. */
static void dropped(void)
{
	two_present();
	SIM_CHECK(!advise(&a, PAGE(0), MADV_DONTNEED), "madvise()");
}

static void two_released(void)
{
	two_present();
	SIM_CHECK(!unregister_range(&a, REGION(0), REGION_SIZE), "UNREGISTER");
}

/* Page 1 is the program's own memory. */
static void one_of_two(void)
{
	with_two_pages();
	SIM_CHECK(!register_pages(&a, PAGE(0), PAGE_SIZE, WP), "REGISTER");
}

/* Two mappings in the same 2 MiB. */
static void beside(void)
{
	begin();
	registered_at(&a, WP);
	space_fill(&a, PAGE(0), OLD);
	space_fill(&a, PAGE(1), OLD);
	SIM_CHECK(!register_pages(&a, PAGE(1), 3 * PAGE_SIZE, MISSING | WP), "REGISTER");
}

static void shared_with_object(void)
{
	shared(0);
}

static void shared_present(void)
{
	shared(WP);
	saw[7] = load(&a, PAGE(0));
}

/* ---- threads ---- */

static void store_twice(void)
{
	saw[0] = store(&a, PAGE(0), NEW);
	if (!saw[0])
		saw[0] = store(&a, PAGE(0), TWO);
}

static void store_1(void)
{
	saw[1] = store(&a, PAGE(1), NEW);
}

static void register_region(uint64_t mode)
{
	SIM_CHECK(!register_pages(&a, REGION(0), REGION_SIZE, mode), "REGISTER");
}

static void register_wp(void)
{
	register_region(WP);
}

static void register_and_protect(void)
{
	register_region(WP);
	SIM_CHECK(!writeprotect(&a, PAGE(0), true), "protecting");
	saw[1] = load(&a, PAGE(0));
	SIM_CHECK(saw[1] == load(&a, PAGE(0)), "a page was written to while it was write-protected");
	SIM_CHECK(!writeprotect(&a, PAGE(0), false), "un-protecting");
}

static void register_page_0(void)
{
	SIM_CHECK(!register_pages(&a, PAGE(0), PAGE_SIZE, WP), "REGISTER");
}

static void register_page_1(void)
{
	SIM_CHECK(!register_pages(&a, PAGE(1), PAGE_SIZE, WP), "REGISTER");
}

/* Page 2 is missing, unless a store came first. */
static void register_and_copy(void)
{
	register_region(MISSING);
	saw[2] = (uint64_t)copy_value(&a, PAGE(2), NEW, 0);
	wake_page(&a, PAGE(2));
}

static void store_2(void)
{
	saw[0] = store(&a, PAGE(2), TWO);
}

static void call_0(void)
{
	saw[0] = (uint64_t)call_that_writes(PAGE(0), TWO);
}

static void unregister_region(void)
{
	SIM_CHECK(!unregister_range(&a, REGION(0), REGION_SIZE), "UNREGISTER");
}

static void unregister_0(void)
{
	SIM_CHECK(!unregister_page(&a, PAGE(0)), "UNREGISTER");
}

static void unregister_and_wake(void)
{
	unregister_region();
	wake_page(&a, PAGE(0));
}

static void unregister_and_back(void)
{
	unregister_region();
	register_region(WP);
}

static void unregister_and_drop(void)
{
	unregister_region();
	SIM_CHECK(!advise(&a, PAGE(0), MADV_DONTNEED), "madvise()");
}

static void readable_and_back(void)
{
	SIM_CHECK(!protect_page(&a, PAGE(0), PROT_READ), "mprotect()");
	SIM_CHECK(!protect_page(&a, PAGE(0), PROT_READ | PROT_WRITE), "mprotect()");
}

static void protect_0_for_a_moment(void)
{
	readable_and_back();
	SIM_CHECK(!store(&a, PAGE(0), TWO), "memory that may be written to cannot be stored to");
	SIM_CHECK(load(&a, PAGE(0)) == TWO, "a store is lost");
}

static void executable_and_back(void)
{
	SIM_CHECK(!protect_page(&a, PAGE(0), PROT_READ | PROT_WRITE | PROT_EXEC), "mprotect()");
	SIM_CHECK(!protect_page(&a, PAGE(0), PROT_READ | PROT_WRITE), "mprotect()");
}

static void protect_1(void)
{
	SIM_CHECK(!writeprotect(&a, PAGE(1), true), "protecting");
}

/* If it is present. */
static void try_protect_1(void)
{
	int err = writeprotect(&a, PAGE(1), true);

	SIM_CHECK(!err || err == -ENOENT, "protecting said something else");
}

static void unmap_0(void)
{
	SIM_CHECK(!unmap(&a, PAGE(0), PAGE_SIZE), "munmap()");
}

static void map_over_0(void)
{
	SIM_CHECK(!map_page(&a, PAGE(0)), "mmap()");
}

/* The page at the same address again, if it is free. It is the program's, and keeps what is stored to it. */
static void reuse_0(void)
{
	int64_t at = map_near(&a, PAGE(0));

	SIM_CHECK(at > 0, "mmap()");
	saw[3] = (uint64_t)at;
	if (at != (int64_t)PAGE(0)) {
		SIM_CHECK(!unmap(&a, (uint64_t)at, PAGE_SIZE), "munmap()");
		return;
	}
	SIM_CHECK(!store(&a, PAGE(0), TWO), "memory that was just mapped cannot be stored to");
	SIM_CHECK(load(&a, PAGE(0)) == TWO, "memory that was just mapped has changed");
}

/* libc's allocator, say: a place that nothing is registered at goes, and is given out again. */
static void unmap_and_reuse(void)
{
	unmap_0();
	reuse_0();
}

static void move_0(void)
{
	saw[3] = (uint64_t)move(&a, PAGE(0), FAR_PAGE(0));
	saw[2] = load(&a, FAR_PAGE(0));
}

static void move_and_wake(void)
{
	move_0();
	wake_page(&a, PAGE(0));
}

/* The child looks before and after what the parent does next. */
static void fork_and_look(void)
{
	space_fork(&a, &b);
	saw[4] = load(&b, PAGE(0));
	saw[5] = load(&b, PAGE(1));
}

static void store_in_order(void)
{
	store(&a, PAGE(0), NEW);
	store(&a, PAGE(1), NEW);
	store(&a, PAGE(0), TWO);
}

static void fork_and_store(void)
{
	fork_and_look();
	SIM_CHECK(!store(&b, PAGE(0), OLD + 1), "the child cannot store");
}

static void fork_and_load(void)
{
	space_fork(&a, &b);
	saw[4] = load(&b, PAGE(0));
}

/* Page 0 is no longer ours, which nobody has said. */
static void become_unseen(bool stays)
{
	reuse_unseen(PAGE(0), stays);
	SIM_CHECK(!store(&a, PAGE(0), TWO), "memory of the program's own cannot be stored to");
}

static void unseen_and_unregister(void)
{
	become_unseen(true);
	unregister_region();
}

static void unseen_and_close(void)
{
	become_unseen(true);
	do_close();
}

static void unseen_and_register(void)
{
	become_unseen(false);
	register_wp();
}

static void unseen_and_advise(void)
{
	become_unseen(true);
	SIM_CHECK(!advise(&a, PAGE(0), MADV_COLD), "madvise()");
}

static void unseen_and_mprotect(void)
{
	become_unseen(false);
	readable_and_back();
}

static void unseen_and_unmap(void)
{
	become_unseen(true);
	unmap_1();
}

static void unseen_and_protect(void)
{
	become_unseen(true);
	protect_1();
	SIM_CHECK(!writeprotect(&a, PAGE(1), false), "un-protecting");
	wake_page(&a, PAGE(1));
}

static void unseen_and_fork(void)
{
	become_unseen(true);
	fork_and_load();
	SIM_CHECK(saw[4] == TWO, "the child does not have what the parent had");
}

/* ---- expected results ---- */

/* Page 1 is stored to between the two stores to page 0. */
static void child_is_of_one_moment(void)
{
	SIM_CHECK(saw[4] == OLD || saw[4] == NEW || saw[4] == TWO, "the child has what was never there");
	SIM_CHECK(saw[4] == OLD	  ? saw[5] == OLD
		  : saw[4] == TWO ? saw[5] == NEW
				  : saw[5] == OLD || saw[5] == NEW,
		  "the child's pages are of different moments");
	SIM_CHECK(load(&a, PAGE(0)) == TWO && load(&a, PAGE(1)) == NEW, "the parent's store is lost");
	SIM_CHECK(load(&b, PAGE(0)) == saw[4] && load(&b, PAGE(1)) == saw[5], "the child sees the parent's store");
}

static void each_its_own(void)
{
	SIM_CHECK(load(&a, PAGE(0)) == TWO && load(&b, PAGE(0)) == OLD + 1, "a store is in the wrong process");
}

static void child_has_new_or_zero(void)
{
	SIM_CHECK(saw[2] == 0 && load(&a, PAGE(0)) == NEW, "the copy is lost");
	SIM_CHECK(saw[4] == NEW || saw[4] == 0, "the child has a page of neither side");
}

static void both_stored(void)
{
	stored();
	SIM_CHECK(!saw[1] && load(&a, PAGE(1)) == NEW, "the store to the other page is lost");
}

static void stored_beside(void)
{
	stored();
	SIM_CHECK(load(&a, PAGE(1)) == OLD, "a page that nothing was stored to has changed");
}

static void stored_2(void)
{
	SIM_CHECK(!saw[0], "the store failed");
	SIM_CHECK(saw[2] == 0 || saw[2] == (uint64_t)-EEXIST, "COPY said something else");
	SIM_CHECK(load(&a, PAGE(2)) == TWO, "the store is lost");
	SIM_CHECK(load(&a, PAGE(0)) == OLD, "a page that nothing was stored to has changed");
}

static void saw_old_twice(void)
{
	saw_old();
	SIM_CHECK(load(&a, PAGE(0)) == OLD, "a page that nothing was stored to has changed");
}

static void stored_or_dropped(void)
{
	uint64_t is = load(&a, PAGE(0));

	SIM_CHECK(saw[0] == 0, "the store failed");
	SIM_CHECK(is == TWO || is == 0, "what was dropped is back");
}

static void stored_or_segv(void)
{
	uint64_t is = load(&a, PAGE(0));

	SIM_CHECK(saw[0] == 0 ? is == TWO : saw[0] == GOT_SEGV && is == OLD, "the store is lost, or was none");
}

static void new_or_zero(void)
{
	uint64_t is = load(&a, PAGE(0));

	SIM_CHECK(saw[0] == 0 || saw[0] == GOT_SEGV, "the store failed");
	SIM_CHECK(is == TWO || is == 0, "what was mapped over is back");
}

static void reused(void)
{
	uint64_t is = load(&a, PAGE(0));

	SIM_CHECK(saw[0] == UINT64_MAX || saw[0] == OLD || saw[0] == GOT_SEGV || saw[0] == TWO || saw[0] == 0,
		  "the load saw what was never there");
	SIM_CHECK(is == (saw[3] == PAGE(0) ? TWO : GOT_SEGV), "the page is not as the program has left it");
}

static void has_two(void)
{
	SIM_CHECK(load(&a, PAGE(0)) == TWO, "a store is lost");
}

/* The store lands before the page moves, or not at all. */
static void moved(void)
{
	uint64_t there = load(&a, FAR_PAGE(0));

	SIM_CHECK(saw[3] == FAR_PAGE(0), "the page did not move");
	SIM_CHECK(saw[0] == 0 ? there == TWO : saw[0] == GOT_SEGV && there == OLD, "the store is lost, or was none");
	SIM_CHECK(saw[2] == there, "the page has changed after it was moved");
}

static void copied_or_not(void)
{
	bool copied = saw[2] == 0;

	SIM_CHECK(copied || saw[2] == (uint64_t)-ENOENT, "COPY said something else");
	SIM_CHECK(load(&a, PAGE(0)) == (copied ? NEW : 0), "the copy is lost, or was none");
}

/* The first two fills of a chunk, each of which may be the one that sets up its record. */
static void copy_1(void)
{
	saw[3] = (uint64_t)copy_value(&a, PAGE(1), TWO, 0);
}

static void copied_both(void)
{
	SIM_CHECK(!saw[2] && !saw[3], "COPY failed");
	SIM_CHECK(load(&a, PAGE(0)) == NEW && load(&a, PAGE(1)) == TWO, "what was filled is lost");
}

static const struct sim_scenario scenarios[] = {
	/* adopting */
	{"store-register", with_object, {{"store", store_twice}, {"register", register_wp}}, stored},
	{"store-register-protect", with_object, {{"store", store_twice}, {"register", register_and_protect}}, stored},
	{"store-register-missing", with_object, {{"store", store_2}, {"register", register_and_copy}}, stored_2},
	{"load-register", with_object, {{"load", load_0}, {"register", register_wp}}, saw_old_twice},
	{"stores-register",
	 with_two_pages,
	 {{"store", store_0}, {"store too", store_1}, {"register", register_wp}},
	 both_stored},
	{"register-register",
	 with_two_pages,
	 {{"store", store_0}, {"register", register_page_0}, {"register too", register_page_1}},
	 stored_beside},
	{"store-register-again", released, {{"store", store_twice}, {"register", register_wp}}, stored},
	{"store-register-shared", shared_with_object, {{"store", store_twice}, {"register", register_wp}}, stored},
	{"call-register", with_object, {{"call", call_0}, {"register", register_wp}}, stored},
	{"call-register-again", released, {{"call", call_0}, {"register", register_wp}}, stored},
	/* releasing */
	{"call-unregister", present, {{"call", call_0}, {"unregister", unregister_region}}, stored},
	{"store-unregister", present, {{"store", store_twice}, {"unregister", unregister_region}}, stored},
	{"store-unregister-dropped", dropped, {{"store", store_0}, {"unregister", unregister_region}}, stored},
	{"load-unregister-dropped", dropped, {{"load", load_0}, {"unregister", unregister_region}}, saw_zero},
	{"load-unregister", present, {{"load", load_0}, {"unregister", unregister_region}}, saw_old_twice},
	{"protected-unregister",
	 present_protected,
	 {{"store", store_0}, {"unregister", unregister_and_wake}},
	 stored},
	{"unregister-register", present, {{"store", store_twice}, {"and back", unregister_and_back}}, stored},
	{"unregister-dontneed",
	 present,
	 {{"store", store_0}, {"unregister", unregister_and_drop}},
	 stored_or_dropped},
	{"copy-beside", missing, {{"copy", do_copy}, {"copy too", copy_1}}, copied_both},
	{"copy-unregister", missing, {{"copy", do_copy}, {"unregister", unregister_0}}, copied_or_not},
	{"store-close", present, {{"store", store_twice}, {"close", do_close}}, stored},
	{"store-unregister-shared",
	 shared_present,
	 {{"store", store_twice}, {"unregister", unregister_region}},
	 stored},
	/* unmapping, and using again */
	{"munmap-reuse", present, {{"munmap", unmap_0}, {"mmap", reuse_0}}, reused},
	{"fault-munmap-reuse", present, {{"load", load_0}, {"munmap", unmap_0}, {"mmap", reuse_0}}, reused},
	{"store-mmap-over", present, {{"store", store_0}, {"mmap", map_over_0}}, new_or_zero},
	{"store-mmap-over-released", released, {{"store", store_0}, {"mmap", map_over_0}}, new_or_zero},
	/* a call on memory that is not registered, until it is */
	{"munmap-reuse-register", with_object, {{"again", unmap_and_reuse}, {"register", register_wp}}, reused},
	{"mprotect-register",
	 with_object,
	 {{"mprotect", protect_0_for_a_moment}, {"register", register_wp}},
	 has_two},
	/* the host's mapping changes without a word */
	{"unseen-unregister", two_present, {{"reuse", unseen_and_unregister}, {"store", store_1}}, has_two},
	{"unseen-close", two_present, {{"reuse", unseen_and_close}, {"store", store_1}}, has_two},
	{"unseen-register", two_present, {{"reuse", unseen_and_register}, {"store", store_1}}, has_two},
	{"unseen-advise", two_present, {{"reuse", unseen_and_advise}, {"store", store_1}}, has_two},
	{"unseen-mprotect", two_present, {{"reuse", unseen_and_mprotect}, {"store", store_1}}, has_two},
	{"unseen-munmap-beside", two_present, {{"reuse", unseen_and_unmap}}, has_two},
	{"unseen-protect-beside", two_present, {{"reuse", unseen_and_protect}}, has_two},
	{"unseen-fork", two_present, {{"reuse", unseen_and_fork}, {"store", store_1}}, has_two},
	{"unseen-released-fork", two_released, {{"reuse", unseen_and_fork}, {"store", store_1}}, has_two},
	{"unseen-released-register", two_released, {{"reuse", unseen_and_register}, {"store", store_1}}, has_two},
	/* rights */
	{"store-mprotect", present, {{"store", store_0}, {"mprotect", readable_and_back}}, stored_or_segv},
	{"store-mprotect-released", released, {{"store", store_0}, {"mprotect", readable_and_back}}, stored_or_segv},
	{"store-mprotect-exec-registered", present, {{"store", store_0}, {"mprotect", executable_and_back}}, stored},
	{"store-protect-beside", beside, {{"store", store_0}, {"protect", protect_1}}, stored_beside},
	{"store-munmap-beside",
	 beside,
	 {{"store", store_0}, {"protect", try_protect_1}, {"munmap", unmap_1}},
	 stored},
	{"store-mmap-elsewhere",
	 beside,
	 {{"store", store_0}, {"protect", protect_1}, {"mmap", map_in_a}},
	 stored_beside},
	/* fork */
	{"fork-stores", two_present, {{"store", store_in_order}, {"fork", fork_and_look}}, child_is_of_one_moment},
	{"fork-stores-released",
	 two_released,
	 {{"store", store_in_order}, {"fork", fork_and_look}},
	 child_is_of_one_moment},
	{"fork-stores-apart",
	 one_of_two,
	 {{"store", store_in_order}, {"fork", fork_and_look}},
	 child_is_of_one_moment},
	{"fork-store-in-child", two_present, {{"store", store_0}, {"fork", fork_and_store}}, each_its_own},
	{"fork-copy-registered", missing, {{"copy", do_copy}, {"fork", fork_and_load}}, child_has_new_or_zero},
	/* moving */
	{"fault-mremap-registered", missing, {{"load", load_0}, {"mremap", move_and_wake}}, saw_segv},
	{"store-mremap-registered", present, {{"store", store_0}, {"mremap", move_0}}, moved},
	{"store-mremap-released", released, {{"store", store_0}, {"mremap", move_0}}, moved},
};

const struct sim_group sim_native = {scenarios, ARRAY_SIZE(scenarios), SIM_ONLY_HOST};

/* SPDX-License-Identifier: MIT */
/*
 * scenarios.c - two to four threads each, and what must have come of it, whatever the schedule. Values of pages: OLD was
 * there before, NEW is what a fill brings, 0 is a page of zeros.
 */
#include "world.h"

#include "mm/file.h"

#include <fcntl.h>
#include <sys/mman.h>

#define OLD 0x1111111111111111ull
#define NEW 0x2222222222222222ull
#define TWO 0x3333333333333333ull

#define MISSING FL_UFFDIO_REGISTER_MODE_MISSING
#define WP	FL_UFFDIO_REGISTER_MODE_WP
#define MINOR	FL_UFFDIO_REGISTER_MODE_MINOR

/* What the threads saw, by number. */
static uint64_t saw[8];

/* ---- setups ---- */

static void begin(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(saw); i++)
		saw[i] = UINT64_MAX;
}

static void registered_at(struct space *s, uint64_t mode)
{
	space_make(s);
	space_object(s, FL_CTX_SRC_HOST, 0);
	space_register(s, 0, mode);
}

static void missing(void)
{
	begin();
	registered_at(&a, MISSING);
}

/* The source is memory of the space itself, on a page that another page-table lock is for. */
static void missing_with_source(void)
{
	begin();
	space_make(&a);
	space_object(&a, 0, 0);
	space_fill(&a, FAR_PAGE(0), NEW);
	space_register(&a, 0, MISSING);
}

static void present(void)
{
	begin();
	space_make(&a);
	space_object(&a, FL_CTX_SRC_HOST, 0);
	space_fill(&a, PAGE(0), OLD);
	space_register(&a, 0, MISSING | WP);
}

static void present_protected(void)
{
	present();
	writeprotect(&a, PAGE(0), true);
}

static void present_forgotten(void)
{
	present();
	space_forget(&a, PAGE(0));
}

static void unregistered(void)
{
	begin();
	space_make(&a);
}

static void unregistered_present(void)
{
	unregistered();
	space_fill(&a, PAGE(0), OLD);
}

static void shared(uint64_t mode)
{
	begin();
	space_make_shared(&a);
	space_object(&a, FL_CTX_SRC_HOST, 0);
	space_cache(&a, 0, OLD);
	if (mode)
		space_register(&a, 0, mode);
}

static void shared_minor(void)
{
	shared(MINOR);
}

static void shared_plain(void)
{
	shared(0);
}

static void shared_missing(void)
{
	shared(MISSING);
}

static void two_spaces(void)
{
	shared(0);
	space_fork(&a, &b);
}

static void forked_page(void)
{
	unregistered_present();
	space_fork(&a, &b);
}

/* ---- threads that several scenarios have ---- */

static void load_0(void)
{
	saw[0] = load(&a, PAGE(0));
}

static void load_0_too(void)
{
	saw[1] = load(&a, PAGE(0));
}

static void load_1(void)
{
	saw[1] = load(&a, PAGE(1));
}

static void store_0(void)
{
	saw[0] = store(&a, PAGE(0), TWO);
}

static void do_copy(void)
{
	saw[2] = (uint64_t)copy_value(&a, PAGE(0), NEW, 0);
}

static void do_copy_too(void)
{
	saw[3] = (uint64_t)copy_value(&a, PAGE(0), TWO, 0);
}

static void truncate_0(void)
{
	saw[4] = (uint64_t)fl_shmem_resize(a.shmem, 0);
}

static void dontneed_0(void)
{
	advise(&a, PAGE(0), MADV_DONTNEED);
}

/* ---- what must have come of it ---- */

static void saw_new(void)
{
	SIM_CHECK(saw[0] == NEW, "the load did not see what was copied");
}

static void saw_zero(void)
{
	SIM_CHECK(saw[0] == 0, "the load did not see zeros");
}

static void saw_old(void)
{
	SIM_CHECK(saw[0] == OLD, "the load did not see the page of the cache");
}

static void saw_segv(void)
{
	SIM_CHECK(saw[0] == GOT_SEGV, "a load of memory that has gone was no SEGV");
}

static void stored(void)
{
	SIM_CHECK(saw[0] == 0, "the store failed");
	SIM_CHECK(load(&a, PAGE(0)) == TWO, "the store is lost");
}

/* ---- a fault against each of the calls ---- */

static void copy_source(void)
{
	saw[2] = (uint64_t)copy_from(&a, PAGE(0), FAR_PAGE(0), 0);
}

static void source_dropped(void)
{
	advise(&a, FAR_PAGE(0), MADV_DONTNEED);
}

static void saw_new_or_zero(void)
{
	SIM_CHECK(saw[2] == 0 && (saw[0] == NEW || saw[0] == 0), "the copy is neither of the source nor of zeros");
}

static void do_zeropage(void)
{
	zeropage(&a, PAGE(0));
}

static void do_continue(void)
{
	saw[2] = (uint64_t)continue_page(&a, PAGE(0));
}

static void unprotect(void)
{
	writeprotect(&a, PAGE(0), false);
}

static void do_unregister(void)
{
	unregister_page(&a, PAGE(0));
}

static void unmap_and_wake(void)
{
	unmap(&a, PAGE(0), PAGE_SIZE);
	wake_page(&a, PAGE(0));
}

static void move_page(void)
{
	saw[3] = (uint64_t)move(&a, PAGE(0), FAR_PAGE(0));
	saw[2] = load(&a, FAR_PAGE(0));
}

static void move_and_wake(void)
{
	move_page();
	wake_page(&a, PAGE(0));
}

/* The store lands before the page moves, or not at all. */
static void moved(void)
{
	uint64_t there = load(&a, FAR_PAGE(0));

	SIM_CHECK(saw[3] == FAR_PAGE(0), "the page did not move");
	SIM_CHECK(saw[0] == 0 ? there == TWO : saw[0] == GOT_SEGV && there == OLD, "the store is lost, or was none");
	SIM_CHECK(saw[2] == there, "the page has changed after it was moved");
}

static void drop_and_copy(void)
{
	dontneed_0();
	saw[2] = (uint64_t)copy_value(&a, PAGE(0), NEW, 0);
}

static void old_or_new(void)
{
	SIM_CHECK(saw[2] == 0, "the copy found a page that had been dropped");
	SIM_CHECK(saw[0] == OLD || saw[0] == NEW, "the load saw what was never there");
	SIM_CHECK(load(&a, PAGE(0)) == NEW, "what was dropped is back");
}

static void do_close(void)
{
	close_object(&a);
}

/* A waiter that finds the descriptor closed does that too, whatever calls are still on their way. */
static void do_release(void)
{
	fl_ctx_release(a.ctx);
}

static void do_register(void)
{
	saw[1] = (uint64_t)register_pages(&a, PAGE(1), PAGE_SIZE, MISSING | WP);
}

static void saw_zero_or_closed(void)
{
	saw_zero();
	SIM_CHECK(saw[1] == 0 || saw[1] == (uint64_t)-ESRCH, "REGISTER said something else");
}

/* ---- wake-ups ---- */

static void copy_then_wake(void)
{
	copy_value(&a, PAGE(0), NEW, FL_UFFDIO_COPY_MODE_DONTWAKE);
	wake_page(&a, PAGE(0));
}

static void both_new(void)
{
	saw_new();
	SIM_CHECK(saw[1] == NEW, "the second load did not see what was copied");
}

/* One of two copies wins. */
static void one_copied(void)
{
	uint64_t is = load(&a, PAGE(0));

	SIM_CHECK((saw[2] == 0) != (saw[3] == 0), "not exactly one copy succeeded");
	SIM_CHECK(saw[2] + saw[3] == (uint64_t)-EEXIST, "the other copy did not say EEXIST");
	SIM_CHECK(is == (saw[2] ? TWO : NEW), "the page is not of the copy that succeeded");
	SIM_CHECK(saw[0] == UINT64_MAX || saw[0] == is, "the load saw the other copy");
}

/* Read one message, and resolve it: the value is the page's number plus one. */
static void resolve(int64_t addr)
{
	SIM_CHECK(addr == (int64_t)PAGE(0) || addr == (int64_t)PAGE(1), "a message is not of a page that was loaded");
	copy_value(&a, (uint64_t)addr, PAGES((uint64_t)addr - PAGE(0)) + 1, 0);
}

static void read_and_copy(void)
{
	resolve(read_message(&a));
}

static void poll_and_copy(void)
{
	resolve(poll_message(&a));
}

static void nonblocking(void)
{
	begin();
	space_make(&a);
	space_object(&a, FL_CTX_SRC_HOST | O_NONBLOCK, 0);
	space_register(&a, 0, MISSING);
	fl_ctx_watched(a.ctx);
}

/* Both sides look again for a while before they sleep. */
static void missing_two_cpus(void)
{
	missing();
	sim_cpus = true;
	a.ctx->reader_cpu = SIM_THREADS + 1;
	a.ctx->fault_cpu = SIM_THREADS + 1;
}

static void saw_one(void)
{
	SIM_CHECK(saw[0] == 1, "the load of page 0");
}

static void saw_one_and_two(void)
{
	saw_one();
	SIM_CHECK(saw[1] == 2, "the load of page 1");
}

static void read_two(void)
{
	read_and_copy();
	read_and_copy();
}

/* The read has a reference of its own; in fl_object_read() that is the descriptor's. */
static struct fl_uffd_ctx *kept;

static void missing_kept(void)
{
	missing();
	kept = a.ctx;
	fl_ctx_get(kept);
}

static void read_until_closed(void)
{
	saw[1] = (uint64_t)read_object(kept);
	fl_ctx_put(kept);
}

static void saw_closed(void)
{
	SIM_CHECK(saw[1] == (uint64_t)-EBADF || saw[1] == PAGE(0), "the read ended with something else than the object");
	saw_zero();
}

/* ---- write protection ---- */

/* While it is protected, the page does not change. */
static void protect_look_unprotect(void)
{
	uint64_t first, second;

	writeprotect(&a, PAGE(0), true);
	first = load(&a, PAGE(0));
	second = load(&a, PAGE(0));
	SIM_CHECK(first == second, "a page was written to while it was write-protected");
	writeprotect(&a, PAGE(0), false);
}

/* ---- borders between rights, of which a host has room for few: in either region there is one ---- */

static void make_borders(void)
{
	space_object(&a, 0, 0);
	register_pages(&a, REGION(0), REGION(1) + REGION_SIZE - REGION(0), WP);
	for (unsigned i = 0; i < NR_REGIONS; i++) {
		space_fill(&a, REGION(i), OLD);
		space_fill(&a, REGION(i) + PAGE_SIZE, OLD);
		writeprotect(&a, REGION(i), true);
	}
}

static void borders(void)
{
	begin();
	space_make(&a);
	make_borders();
}

static void borders_of_one(void)
{
	begin();
	space_make_wide(&a);
	make_borders();
}

/* Page 1 is missing between two that are there. */
static void hole_between(void)
{
	begin();
	space_make(&a);
	space_object(&a, FL_CTX_SRC_HOST, 0);
	space_fill(&a, PAGE(0), OLD);
	space_fill(&a, PAGE(2), OLD);
	space_register(&a, 0, MISSING | WP);
}

static void protect_all_and_back(void)
{
	writeprotect_region(&a, 0, true);
	writeprotect_region(&a, 0, false);
}

static void stored_beside_hole(void)
{
	stored();
	SIM_CHECK(load(&a, PAGE(2)) == OLD, "a page that nobody stored to has changed");
	SIM_CHECK(!pte_present(fl_pte_get(a.mm, PAGE(1))), "protecting has filled a hole");
}

static void load_and_store_near(void)
{
	saw[0] = load(&a, PAGE(0));
	store(&a, PAGE(1), TWO);
}

static void load_and_store_far(void)
{
	saw[1] = load(&a, FAR_PAGE(0));
	saw[2] = store(&a, FAR_PAGE(1), NEW);
}

static void near_kept(void)
{
	SIM_CHECK(saw[0] == OLD && load(&a, PAGE(1)) == TWO, "what is near has changed, or its store is lost");
}

static void both_kept(void)
{
	near_kept();
	SIM_CHECK(saw[1] == OLD, "a protected page has changed");
	SIM_CHECK(!saw[2] && load(&a, FAR_PAGE(1)) == NEW, "the far store is lost");
}

static void near_kept_and_unmapped(void)
{
	near_kept();
	SIM_CHECK(saw[1] == UINT64_MAX || saw[1] == OLD || saw[1] == GOT_SEGV, "the far load saw what was never there");
	SIM_CHECK(load(&a, FAR_PAGE(0)) == GOT_SEGV, "what was unmapped is there");
}

static void unprotect_far(void)
{
	SIM_CHECK(!writeprotect_region(&a, 1, false), "un-protecting");
	saw[2] = store(&a, FAR_PAGE(0), NEW);
}

static void near_kept_and_stored(void)
{
	near_kept();
	SIM_CHECK(!saw[2] && load(&a, FAR_PAGE(0)) == NEW, "the far store is lost");
}

static void protect_far(void)
{
	SIM_CHECK(!writeprotect(&a, FAR_PAGE(1), true), "protecting");
	saw[1] = load(&a, FAR_PAGE(1));
}

static void near_kept_and_protected(void)
{
	near_kept();
	SIM_CHECK(saw[1] == OLD && pte_uffd_wp(fl_pte_get(a.mm, FAR_PAGE(1))), "the page is not as it was, or not protected");
}

/* The right to execute comes and goes: all is hidden anew. */
static void executable_and_back(void)
{
	SIM_CHECK(!protect_page(&a, PAGE(0), PROT_READ | PROT_WRITE | PROT_EXEC), "mprotect()");
	SIM_CHECK(!protect_page(&a, PAGE(0), PROT_READ | PROT_WRITE), "mprotect()");
}

/* ---- two spaces ---- */

/* A page of each is copied from the other, where its source is missing and somebody has to bring it. */
static void cross(void)
{
	begin();
	for (unsigned i = 0; i < 2; i++) {
		struct space *s = i ? &b : &a;

		space_make(s);
		space_object(s, 0, 0);
		space_register(s, 0, MISSING);
	}
}

/* On `soft` the source is memory of the space that is filled: there is no copying from another one. */
static uint64_t cross_source(void)
{
	return world_backend->mmu ? OTHERS(FAR_PAGE(1)) : FAR_PAGE(1);
}

static void copy_to_a(void)
{
	saw[0] = (uint64_t)copy_from(&a, PAGE(0), cross_source(), 0);
}

static void copy_to_b(void)
{
	saw[1] = (uint64_t)copy_from(&b, PAGE(0), cross_source(), 0);
}

static void map_elsewhere(struct space *s)
{
	uint64_t addr = 1ull << 40;

	map_page(s, addr);
}

static void map_in_a(void)
{
	map_elsewhere(&a);
}

static void map_in_b(void)
{
	map_elsewhere(&b);
}

static void crossed(void)
{
	SIM_CHECK(saw[0] == 0 && saw[1] == 0, "a copy failed");
	SIM_CHECK(load(&a, PAGE(0)) == 0 && load(&b, PAGE(0)) == 0, "a copy is not of its source");
}

/* ---- fork ---- */

static void fork_and_look(void)
{
	space_fork(&a, &b);
	saw[4] = load(&b, PAGE(0));
	saw[5] = load(&b, PAGE(0));
}

static void child_has_new_or_zero(void)
{
	SIM_CHECK(saw[2] == 0 && load(&a, PAGE(0)) == NEW, "the copy is lost");
	SIM_CHECK(saw[4] == saw[5] && (saw[4] == NEW || saw[4] == 0), "the child has a page of neither side");
}

static void store_twice(void)
{
	store(&a, PAGE(0), NEW);
	store(&a, PAGE(0), TWO);
}

static void child_is_of_one_moment(void)
{
	SIM_CHECK(load(&a, PAGE(0)) == TWO, "the parent's store is lost");
	SIM_CHECK(saw[4] == OLD || saw[4] == NEW || saw[4] == TWO, "the child has what was never there");
	SIM_CHECK(saw[5] == saw[4], "the child sees the parent's store");
}

static void store_in_b(void)
{
	store(&b, PAGE(0), NEW);
}

static void each_its_own(void)
{
	SIM_CHECK(load(&a, PAGE(0)) == TWO && load(&b, PAGE(0)) == NEW, "a store is in the wrong space");
}

/* ---- shared memory ---- */

static void file_is_gone(void)
{
	SIM_CHECK(saw[4] == 0, "the file was not truncated");
	SIM_CHECK(load(&a, PAGE(0)) == GOT_SIGBUS, "a page is there behind the end of its file");
}

static void old_or_sigbus(void)
{
	SIM_CHECK(saw[0] == OLD || saw[0] == GOT_SIGBUS, "the load saw neither the page nor the end");
	file_is_gone();
}

static void continued_or_not(void)
{
	SIM_CHECK(saw[2] == 0 || saw[2] == (uint64_t)-EINVAL || saw[2] == (uint64_t)-EFAULT, "CONTINUE said something else");
	file_is_gone();
}

static void copied_or_not(void)
{
	SIM_CHECK(saw[2] == 0 || saw[2] == (uint64_t)-EFAULT, "COPY said something else");
	file_is_gone();
}

static void copy_1(void)
{
	saw[2] = (uint64_t)copy_value(&a, PAGE(1), NEW, 0);
}

static void punch_0(void)
{
	saw[4] = (uint64_t)fl_shmem_punch_hole(a.shmem, 0, PAGE_SIZE);
}

static void old_or_hole(void)
{
	SIM_CHECK(saw[0] == OLD || saw[0] == 0, "the load saw neither the page nor the hole");
	SIM_CHECK(load(&a, PAGE(0)) == 0, "what was punched out is back");
}

static void destroy_b(void)
{
	space_destroy(&b);
}

/* ---- pages that are elsewhere ---- */

static void migrate_0(void)
{
	fl_soft_migrate(a.mm, PAGE(0), PAGE_SIZE);
}

static void swap_0(void)
{
	advise(&a, PAGE(0), MADV_PAGEOUT);
}

static void dropped(void)
{
	SIM_CHECK(load(&a, PAGE(0)) == 0, "a page that was dropped is back");
}

/* ---- page tables come and go ---- */

static void unmap_1(void)
{
	unmap(&a, PAGE(1), 3 * PAGE_SIZE);
}

static void load_both(void)
{
	load_0();
	SIM_CHECK(saw[1] == 0, "the load of the other page of a new table");
}

static void store_then_drop(void)
{
	store(&a, PAGE(1), NEW);
	advise(&a, PAGE(1), MADV_DONTNEED);
}

/* ---- a mapping, while others change ---- */

static bool done;

/* The first page is a mapping of its own, with a neighbour in the same table. */
static void neighbours(void)
{
	begin();
	registered_at(&a, WP);
	unregister_page(&a, PAGE(0));
	space_fill(&a, PAGE(1), OLD);
}

/* Pages 0 and 2 are mapped, and what comes between them makes one of the two. */
static void gap(void)
{
	unregistered();
	unmap(&a, PAGE(1), PAGE_SIZE);
	done = false;
}

static void fill_gap(void)
{
	map_page(&a, PAGE(1));
}

static void load_2(void)
{
	saw[1] = load(&a, PAGE(2));
}

static void one_mapping_of_zeros(void)
{
	SIM_CHECK(saw[0] == 0 && saw[1] == 0, "a load of empty memory");
	SIM_CHECK(fl_vma_lookup(a.mm, PAGE(0))->end == REGION(0) + REGION_SIZE, "the mappings have not merged");
}

/* Cut off from page 0, changed, and joined again. */
static void protect_1_and_back(void)
{
	SIM_CHECK(!protect_page(&a, PAGE(1), PROT_READ), "mprotect()");
	SIM_CHECK(!protect_page(&a, PAGE(1), PROT_READ | PROT_WRITE), "mprotect()");
}

static void register_1_and_back(void)
{
	SIM_CHECK(!unregister_page(&a, PAGE(1)), "UNREGISTER");
	SIM_CHECK(!register_pages(&a, PAGE(1), PAGE_SIZE, MISSING), "REGISTER");
}

/* Faults and fills elsewhere do not wait for whoever is about to change a mapping: this one waits for them. */
static void write_elsewhere(void)
{
	fl_mmap_write_lock_range(a.mm, REGION(1), REGION(1) + REGION_SIZE);
	while (!done)
		fl_cpu_relax();
	fl_mmap_write_unlock(a.mm);
}

static void missing_and_writer(void)
{
	missing();
	done = false;
}

static void minor_and_writer(void)
{
	shared_minor();
	done = false;
}

static void protected_and_writer(void)
{
	present_protected();
	done = false;
}

static void say_done(void)
{
	sim_yield_point(&done);
	done = true;
}

static void load_0_done(void)
{
	load_0();
	say_done();
}

static void store_0_done(void)
{
	store_0();
	say_done();
}

static void unmap_source(void)
{
	unmap(&a, REGION(1), REGION_SIZE);
}

static void copied_or_unmapped(void)
{
	bool copied = saw[2] == 0;

	SIM_CHECK(copied || saw[2] == (uint64_t)-EFAULT, "COPY said something else");
	SIM_CHECK(pte_present(fl_pte_get(a.mm, PAGE(0))) == copied, "a copy that failed has left something, or one is lost");
	SIM_CHECK(!copied || load(&a, PAGE(0)) == NEW, "the copy is not of the source");
}

static void missing_own_source(void)
{
	begin();
	space_make(&a);
	space_object(&a, 0, 0);
	space_register(&a, 0, MISSING);
}

static void copy_from_beside(void)
{
	saw[2] = (uint64_t)copy_from(&a, PAGE(0), PAGE(1), 0);
}

static void zero_1(void)
{
	zeropage(&a, PAGE(1));
}

static void copied_zeros(void)
{
	SIM_CHECK(saw[2] == 0 && load(&a, PAGE(0)) == 0, "the copy is not of its source");
}

/* What a collapse begins with, in every space that maps the file, be it one that is just being made. */
static void unmap_for_collapse(void)
{
	fl_unmap_for_collapse(fl_shmem_file(a.shmem), 0);
}

static void both_have_old(void)
{
	SIM_CHECK(saw[4] == OLD && saw[5] == OLD && load(&a, PAGE(0)) == OLD, "a page of the file is lost");
}

/* What takes all of a space for itself. */
static void move_elsewhere(struct space *s)
{
	move(s, REGION(1) + REGION_SIZE, 0);
}

static void move_in_a(void)
{
	move_elsewhere(&a);
}

static void move_in_b(void)
{
	move_elsewhere(&b);
}

static const struct sim_scenario in_place[] = {
	{ "fault-copy", missing, { { "load", load_0 }, { "copy", do_copy } }, saw_new },
	{ "fault-copy-of-memory", missing_with_source, { { "load", load_0 }, { "copy", copy_source } }, saw_new },
	{ "fault-zeropage", missing, { { "load", load_0 }, { "zeropage", do_zeropage } }, saw_zero },
	{ "fault-continue", shared_minor, { { "load", load_0 }, { "continue", do_continue } }, saw_old },
	{ "fault-writeprotect", present_protected, { { "store", store_0 }, { "unprotect", unprotect } }, stored },
	{ "fault-unregister", missing, { { "load", load_0 }, { "unregister", do_unregister } }, saw_zero },
	{ "fault-munmap", missing, { { "load", load_0 }, { "munmap", unmap_and_wake } }, saw_segv },
	{ "fault-dontneed", present, { { "load", load_0 }, { "dontneed", drop_and_copy } }, old_or_new },
	{ "fault-close", missing, { { "load", load_0 }, { "close", do_close } }, saw_zero },
	{ "fault-register-close", missing,
	  { { "load", load_0 }, { "register", do_register }, { "close", do_release } }, saw_zero_or_closed },
	{ "two-faults", missing, { { "load", load_0 }, { "load too", load_0_too }, { "copy", do_copy } }, both_new },
	{ "copy-copy", missing, { { "copy", do_copy }, { "copy too", do_copy_too } }, one_copied },
	{ "fault-copy-copy", missing, { { "load", load_0 }, { "copy", do_copy }, { "copy too", do_copy_too } }, one_copied },
	{ "copy-source-dropped", missing_with_source,
	  { { "load", load_0 }, { "copy", copy_source }, { "dontneed", source_dropped } }, saw_new_or_zero },
	{ "wake-before-sleep", missing, { { "load", load_0 }, { "copy, wake", copy_then_wake } }, saw_new },
	{ "one-reader", missing, { { "load", load_0 }, { "reader", read_and_copy } }, saw_one },
	{ "one-poller", nonblocking, { { "load", load_0 }, { "poller", poll_and_copy } }, saw_one },
	{ "spinning-reader", missing_two_cpus, { { "load", load_0 }, { "reader", read_and_copy } }, saw_one },
	{ "two-faults-one-reader", missing,
	  { { "load", load_0 }, { "load too", load_1 }, { "reader", read_two } }, saw_one_and_two },
	{ "several-readers", missing,
	  { { "load", load_0 }, { "load too", load_1 }, { "reader", read_and_copy }, { "reader too", read_and_copy } },
	  saw_one_and_two },
	{ "several-pollers", nonblocking,
	  { { "load", load_0 }, { "load too", load_1 }, { "poller", poll_and_copy }, { "poller too", poll_and_copy } },
	  saw_one_and_two },
	{ "reader-close", missing_kept, { { "load", load_0 }, { "reader", read_until_closed }, { "close", do_close } }, saw_closed },
	{ "store-writeprotect", present, { { "store", store_0 }, { "protect", protect_look_unprotect } }, stored },
	{ "forgotten-writeprotect", present_forgotten,
	  { { "store", store_0 }, { "protect", protect_look_unprotect } }, stored },
	{ "store-writeprotect-range", hole_between, { { "store", store_0 }, { "protect", protect_all_and_back } }, stored_beside_hole },
	{ "borders", borders, { { "near", load_and_store_near }, { "far", load_and_store_far } }, both_kept },
	{ "borders-of-one", borders_of_one, { { "near", load_and_store_near }, { "far", load_and_store_far } }, both_kept },
	{ "borders-munmap", borders, { { "near", load_and_store_near }, { "munmap", unmap_source } }, near_kept_and_unmapped },
	{ "borders-munmap-fault", borders,
	  { { "near", load_and_store_near }, { "far", load_and_store_far }, { "munmap", unmap_source } }, near_kept_and_unmapped },
	{ "borders-unprotect", borders, { { "near", load_and_store_near }, { "unprotect", unprotect_far } }, near_kept_and_stored },
	{ "borders-of-one-unprotect", borders_of_one,
	  { { "near", load_and_store_near }, { "unprotect", unprotect_far } }, near_kept_and_stored },
	{ "borders-protect", borders, { { "near", load_and_store_near }, { "protect", protect_far } }, near_kept_and_protected },
	{ "borders-of-one-protect", borders_of_one,
	  { { "near", load_and_store_near }, { "protect", protect_far } }, near_kept_and_protected },
	{ "store-mprotect-exec", unregistered_present, { { "store", store_0 }, { "mprotect", executable_and_back } }, stored },
	{ "truncate-continue", shared_minor, { { "continue", do_continue }, { "truncate", truncate_0 } }, continued_or_not },
	{ "truncate-fault", shared_plain, { { "load", load_0 }, { "truncate", truncate_0 } }, old_or_sigbus },
	{ "truncate-copy", shared_missing, { { "copy", copy_1 }, { "truncate", truncate_0 } }, copied_or_not },
	{ "truncate-fault-mmap", shared_plain,
	  { { "load", load_0 }, { "truncate", truncate_0 }, { "mmap", map_in_a } }, old_or_sigbus },
	{ "truncate-fault-munmap", shared_plain,
	  { { "load", load_0 }, { "truncate", truncate_0 }, { "munmap", unmap_1 } }, old_or_sigbus },
	{ "punch-fault", shared_plain, { { "load", load_0 }, { "punch", punch_0 } }, old_or_hole },
	{ "store-migrate", unregistered_present, { { "store", store_0 }, { "migrate", migrate_0 } }, stored },
	{ "dontneed-migrate", unregistered_present, { { "dontneed", dontneed_0 }, { "migrate", migrate_0 } }, dropped },
	{ "store-swap", unregistered_present, { { "store", store_0 }, { "pageout", swap_0 } }, stored },
	{ "new-tables", unregistered, { { "load", load_0 }, { "load too", load_1 } }, load_both },
	{ "tables-munmap", unregistered, { { "load", load_0 }, { "munmap", unmap_1 } }, saw_zero },
	{ "tables-dontneed", unregistered, { { "store", store_0 }, { "drop", store_then_drop } }, stored },
	{ "fault-munmap-beside", neighbours, { { "load", load_0 }, { "munmap", unmap_1 } }, saw_zero },
	{ "faults-merge", gap, { { "load", load_0 }, { "load too", load_2 }, { "mmap", fill_gap } }, one_mapping_of_zeros },
	{ "store-mprotect-beside", unregistered_present, { { "store", store_0 }, { "mprotect", protect_1_and_back } }, stored },
	{ "copy-register-beside", missing,
	  { { "load", load_0 }, { "copy", do_copy }, { "register", register_1_and_back } }, saw_new },
	{ "fault-copy-writer", missing_and_writer,
	  { { "load", load_0_done }, { "copy", do_copy }, { "writer", write_elsewhere } }, saw_new },
	{ "fault-continue-writer", minor_and_writer,
	  { { "load", load_0_done }, { "continue", do_continue }, { "writer", write_elsewhere } }, saw_old },
	{ "fault-unprotect-writer", protected_and_writer,
	  { { "store", store_0_done }, { "unprotect", unprotect }, { "writer", write_elsewhere } }, stored },
	{ "copy-source-munmap", missing_with_source, { { "copy", copy_source }, { "munmap", unmap_source } }, copied_or_unmapped },
	{ "copy-source-beside", missing_own_source, { { "copy", copy_from_beside }, { "zeropage", zero_1 } }, copied_zeros },
};

/* Two spaces, or memory that moves. */
static const struct sim_scenario apart[] = {
	{ "fault-mremap", missing, { { "load", load_0 }, { "mremap", move_and_wake } }, saw_segv },
	{ "store-mremap", unregistered_present, { { "store", store_0 }, { "mremap", move_page } }, moved },
	{ "two-spaces", cross,
	  { { "copy to A", copy_to_a }, { "copy to B", copy_to_b }, { "mmap in A", map_in_a }, { "mmap in B", map_in_b } },
	  crossed },
	{ "two-spaces-mremap", cross,
	  { { "copy to A", copy_to_a }, { "copy to B", copy_to_b }, { "mremap in A", move_in_a }, { "mremap in B", move_in_b } },
	  crossed },
	{ "fork-copy", missing, { { "copy", do_copy }, { "fork", fork_and_look } }, child_has_new_or_zero },
	{ "fork-store", unregistered_present, { { "store", store_twice }, { "fork", fork_and_look } }, child_is_of_one_moment },
	{ "fork-unmap", shared_plain, { { "fork", fork_and_look }, { "unmap", unmap_for_collapse } }, both_have_old },
	{ "store-in-both", forked_page, { { "store", store_0 }, { "in child", store_in_b } }, each_its_own },
	{ "truncate-destroy", two_spaces, { { "truncate", truncate_0 }, { "destroy", destroy_b } }, file_is_gone },
};

const struct sim_group sim_groups[SIM_GROUPS] = {
	{ in_place, ARRAY_SIZE(in_place), true },
	{ apart, ARRAY_SIZE(apart), false },
};

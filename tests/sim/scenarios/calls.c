/* SPDX-License-Identifier: MIT */
/* calls.c - a fault or a store against each call that fills, un-protects, unregisters, unmaps or closes. */
#include "scenarios.h"

#include <sys/mman.h>

/* ---- setups ---- */

static void present_forgotten(void)
{
	present();
	space_forget(&a, PAGE(0));
}

/* ---- a fault against each of the calls ---- */

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

static void do_unregister(void)
{
	unregister_page(&a, PAGE(0));
}

static void unmap_and_wake(void)
{
	unmap(&a, PAGE(0), PAGE_SIZE);
	wake_page(&a, PAGE(0));
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

/* A waiter that finds the descriptor closed does the same, whatever calls are still in progress. */
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

/* ---- write protection ---- */

/* The page does not change while it is protected. */
static void protect_look_unprotect(void)
{
	uint64_t first, second;

	writeprotect(&a, PAGE(0), true);
	first = load(&a, PAGE(0));
	second = load(&a, PAGE(0));
	SIM_CHECK(first == second, "a page was written to while it was write-protected");
	writeprotect(&a, PAGE(0), false);
}

static const struct sim_scenario scenarios[] = {
	{"fault-copy", missing, {{"load", load_0}, {"copy", do_copy}}, saw_new},
	{"fault-copy-of-memory", missing_with_source, {{"load", load_0}, {"copy", copy_source}}, saw_new},
	{"fault-zeropage", missing, {{"load", load_0}, {"zeropage", do_zeropage}}, saw_zero},
	{"fault-continue", shared_minor, {{"load", load_0}, {"continue", do_continue}}, saw_old},
	{"fault-writeprotect", present_protected, {{"store", store_0}, {"unprotect", unprotect}}, stored},
	{"fault-unregister", missing, {{"load", load_0}, {"unregister", do_unregister}}, saw_zero},
	{"fault-munmap", missing, {{"load", load_0}, {"munmap", unmap_and_wake}}, saw_segv},
	{"fault-dontneed", present, {{"load", load_0}, {"dontneed", drop_and_copy}}, old_or_new},
	{"fault-close", missing, {{"load", load_0}, {"close", do_close}}, saw_zero},
	{"fault-register-close",
	 missing,
	 {{"load", load_0}, {"register", do_register}, {"close", do_release}},
	 saw_zero_or_closed},
	{"copy-source-dropped",
	 missing_with_source,
	 {{"load", load_0}, {"copy", copy_source}, {"dontneed", source_dropped}},
	 saw_new_or_zero},
	{"store-writeprotect", present, {{"store", store_0}, {"protect", protect_look_unprotect}}, stored},
	{"forgotten-writeprotect",
	 present_forgotten,
	 {{"store", store_0}, {"protect", protect_look_unprotect}},
	 stored},
};

const struct sim_group sim_calls = {scenarios, ARRAY_SIZE(scenarios), SIM_ANYWHERE};

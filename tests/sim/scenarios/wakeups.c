/* SPDX-License-Identifier: MIT */
/* wakeups.c - two faults, two fills, readers and pollers: no wake-up comes too early or is lost. */
#include "scenarios.h"

#include <fcntl.h>

/* ---- two of a kind ---- */

static void load_0_too(void)
{
	saw[1] = load(&a, PAGE(0));
}

static void do_copy_too(void)
{
	saw[3] = (uint64_t)copy_value(&a, PAGE(0), TWO, 0);
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

/* One of the two copies wins. */
static void one_copied(void)
{
	uint64_t is = load(&a, PAGE(0));

	SIM_CHECK((saw[2] == 0) != (saw[3] == 0), "not exactly one copy succeeded");
	SIM_CHECK(saw[2] + saw[3] == (uint64_t)-EEXIST, "the other copy did not say EEXIST");
	SIM_CHECK(is == (saw[2] ? TWO : NEW), "the page is not of the copy that succeeded");
	SIM_CHECK(saw[0] == UINT64_MAX || saw[0] == is, "the load saw the other copy");
}

/* Read one message and resolve it: the value is the page's number plus one. */
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

/* Both sides poll for a while before they sleep. */
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

/* The read holds a reference of its own; in fl_object_read() that is the descriptor's. */
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
	SIM_CHECK(saw[1] == (uint64_t)-EBADF || saw[1] == PAGE(0),
		  "the read ended with something else than the object");
	saw_zero();
}

static const struct sim_scenario scenarios[] = {
	{"two-faults", missing, {{"load", load_0}, {"load too", load_0_too}, {"copy", do_copy}}, both_new},
	{"copy-copy", missing, {{"copy", do_copy}, {"copy too", do_copy_too}}, one_copied},
	{"fault-copy-copy", missing, {{"load", load_0}, {"copy", do_copy}, {"copy too", do_copy_too}}, one_copied},
	{"wake-before-sleep", missing, {{"load", load_0}, {"copy, wake", copy_then_wake}}, saw_new},
	{"one-reader", missing, {{"load", load_0}, {"reader", read_and_copy}}, saw_one},
	{"one-poller", nonblocking, {{"load", load_0}, {"poller", poll_and_copy}}, saw_one},
	{"spinning-reader", missing_two_cpus, {{"load", load_0}, {"reader", read_and_copy}}, saw_one},
	{"two-faults-one-reader",
	 missing,
	 {{"load", load_0}, {"load too", load_1}, {"reader", read_two}},
	 saw_one_and_two},
	{"several-readers",
	 missing,
	 {{"load", load_0}, {"load too", load_1}, {"reader", read_and_copy}, {"reader too", read_and_copy}},
	 saw_one_and_two},
	{"several-pollers",
	 nonblocking,
	 {{"load", load_0}, {"load too", load_1}, {"poller", poll_and_copy}, {"poller too", poll_and_copy}},
	 saw_one_and_two},
	{"reader-close",
	 missing_kept,
	 {{"load", load_0}, {"reader", read_until_closed}, {"close", do_close}},
	 saw_closed},
};

const struct sim_group sim_wakeups = {scenarios, ARRAY_SIZE(scenarios), SIM_ANYWHERE};

/* SPDX-License-Identifier: MIT */
/* mappings.c - a mapping while its neighbours change, merge and split; faults and fills beside a waiting writer. */
#include "scenarios.h"

#include <sys/mman.h>

/* ---- changing rights ---- */

/* The right to execute comes and goes: everything is hidden anew. */
static void executable_and_back(void)
{
	SIM_CHECK(!protect_page(&a, PAGE(0), PROT_READ | PROT_WRITE | PROT_EXEC), "mprotect()");
	SIM_CHECK(!protect_page(&a, PAGE(0), PROT_READ | PROT_WRITE), "mprotect()");
}

/* ---- a mapping while its neighbours change ---- */

static bool done;

/* The first page is a mapping of its own, with a neighbour under the same page table. */
static void neighbours(void)
{
	begin();
	registered_at(&a, WP);
	unregister_page(&a, PAGE(0));
	space_fill(&a, PAGE(1), OLD);
}

/* Pages 0 and 2 are mapped; mapping the page between them joins the two. */
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

/* Split from page 0, changed, and merged again. */
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

/* Faults and fills elsewhere do not wait for a writer that is waiting to change a mapping. */
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
	saw[7] = load(&a, PAGE(0)); /* memory in place gets its frames at the first touch, as a writer */
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

static void copied_or_unmapped(void)
{
	bool copied = saw[2] == 0;

	SIM_CHECK(copied || saw[2] == (uint64_t)-EFAULT, "COPY said something else");
	SIM_CHECK(pte_present(fl_pte_get(a.mm, PAGE(0))) == copied,
		  "a copy that failed has left something, or one is lost");
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

static const struct sim_scenario scenarios[] = {
	{"store-mprotect-exec",
	 unregistered_present,
	 {{"store", store_0}, {"mprotect", executable_and_back}},
	 stored},
	{"fault-munmap-beside", neighbours, {{"load", load_0}, {"munmap", unmap_1}}, saw_zero},
	{"store-mprotect-beside",
	 unregistered_present,
	 {{"store", store_0}, {"mprotect", protect_1_and_back}},
	 stored},
	{"copy-register-beside",
	 missing,
	 {{"load", load_0}, {"copy", do_copy}, {"register", register_1_and_back}},
	 saw_new},
	{"fault-copy-writer",
	 missing_and_writer,
	 {{"load", load_0_done}, {"copy", do_copy}, {"writer", write_elsewhere}},
	 saw_new},
	{"fault-continue-writer",
	 minor_and_writer,
	 {{"load", load_0_done}, {"continue", do_continue}, {"writer", write_elsewhere}},
	 saw_old},
	{"fault-unprotect-writer",
	 protected_and_writer,
	 {{"store", store_0_done}, {"unprotect", unprotect}, {"writer", write_elsewhere}},
	 stored},
	{"copy-source-munmap",
	 missing_with_source,
	 {{"copy", copy_source}, {"munmap", unmap_source}},
	 copied_or_unmapped},
	{"copy-source-beside", missing_own_source, {{"copy", copy_from_beside}, {"zeropage", zero_1}}, copied_zeros},
};

const struct sim_group sim_mappings = {scenarios, ARRAY_SIZE(scenarios), SIM_ANYWHERE};

/* Of memory that is not registered, which natively is the host's alone. */
static const struct sim_scenario merging[] = {
	{"faults-merge", gap, {{"load", load_0}, {"load too", load_2}, {"mmap", fill_gap}}, one_mapping_of_zeros},
};

const struct sim_group sim_merging = {merging, ARRAY_SIZE(merging), SIM_NOT_HOST};

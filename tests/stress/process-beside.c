/* SPDX-License-Identifier: MIT */
/*
 * process-beside.c - faults in the process's own address space, through faultline.h, while the mappings around them
 * change: one thread drops and protects pages in use, another maps, registers, splits, moves and unmaps memory in the
 * same 2 MiB, and splits and merges the mapping in use. It runs under the thread sanitizer, too.
 *
 * A page has one owner among the threads. Whatever happens beside it, the owner must find the word it last stored,
 * or, if the page was dropped since then, what the handlers fill it with.
 */
#include "stress.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>

#include <faultline/testing.h>

#define WORKERS	 4u
#define HANDLERS 2
#define PAGES	 256u /* of the workers; as many beside them, in the same 2 MiB, are for the mapper */
#define BLOCK	 16u  /* pages that share a counter */
#define WORDS	 (PAGE / 8)
#define PIECE	 64u /* pages that the mapper maps at a time */
#define ROOM	 (256ull << 20)
#define BYTES(n) ((uint64_t)(n)*PAGE)

static struct fl_mm *mm;
static struct fl_uffd *uffd;
static uint64_t base;
static atomic_int stop_access, stop_handlers;
static atomic_ulong drops[PAGES / BLOCK]; /* odd while pages of the block may lose what was stored */
static atomic_ulong stores, found_again, fills, unprotects, changes, rounds;
static atomic_ulong near; /* of two parts a round */

static volatile uint64_t *word(uint64_t addr, uint64_t i)
{
	return (volatile uint64_t *)(uintptr_t)addr + i;
}

/* What every word of a page holds once the handlers have filled it. */
static uint64_t content(uint64_t addr)
{
	return PAGE_OF(addr) * 0x9e3779b97f4a7c15ull | 1;
}

/* ---- the handlers: a page has one owner, so no other thread fills or un-protects it before them ---- */

static void resolve(const struct uffd_msg *msg)
{
	_Alignas(4096) uint64_t page[WORDS];
	uint64_t at = PAGE_OF(msg->arg.pagefault.address);

	CHECK_INT(msg->event, UFFD_EVENT_PAGEFAULT);
	if (msg->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP) {
		CHECK_INT(fl_uffd_writeprotect(uffd, at, PAGE, 0), 0);
		unprotects++;
		return;
	}
	for (uint64_t i = 0; i < WORDS; i++)
		page[i] = content(at);
	CHECK_INT(fl_uffd_copy(uffd, at, (uintptr_t)page, PAGE, fills++ % 2 ? UFFDIO_COPY_MODE_WP : 0, NULL), 0);
}

static void *handle(void *arg)
{
	struct uffd_msg msg;

	while (!stop_handlers)
		if (fl_uffd_poll(uffd, 20) == POLLIN && fl_uffd_read(uffd, &msg, sizeof(msg)) == sizeof(msg))
			resolve(&msg);
	return arg;
}

/* ---- the workers ---- */

/* What a worker last stored to a page, and the block's counter at that time */
struct stored {
	uint64_t index, value;
	unsigned long drops;
};

static void check_page(uint64_t page, const struct stored *last)
{
	uint64_t at = base + BYTES(page), got;
	unsigned long before = drops[page / BLOCK];

	CHECK(*word(at, 0) == content(at)); /* no thread stores there */
	if (!last->value)
		return;
	got = *word(at, last->index);
	CHECK(got == last->value || got == content(at));
	if (before % 2 || before != last->drops || drops[page / BLOCK] != before)
		return;
	CHECK(got == last->value);
	found_again++;
}

static void store_word(uint64_t page, struct stored *last, uint64_t value)
{
	unsigned long before = drops[page / BLOCK];

	*word(base + BYTES(page), value % (WORDS - 1) + 1) = value;
	*last = (struct stored){value % (WORDS - 1) + 1, value, before};
	if (before % 2 || drops[page / BLOCK] != before)
		last->value = 0;
	stores++;
}

static void *work(void *arg)
{
	static struct stored last[PAGES];
	uint64_t index = (uintptr_t)arg, seed = index + 1, serial = 0;

	while (!stop_access) {
		uint64_t page = rnd(&seed) % (PAGES / WORKERS) * WORKERS + index;

		check_page(page, &last[page]);
		store_word(page, &last[page], ++serial);
		check_page(page, &last[page]);
	}
	return NULL;
}

/* ---- changes of their pages ---- */

static void *drop_and_protect(void *arg)
{
	uint64_t seed = 7;

	while (!stop_access) {
		uint64_t r = rnd(&seed), block = r / 4 % (PAGES / BLOCK), at = base + BYTES(block * BLOCK);
		uint64_t pages = 1 + r / 4096 % BLOCK;

		if (r % 4) {
			CHECK_INT(fl_uffd_writeprotect(uffd, at, BYTES(pages), UFFDIO_WRITEPROTECT_MODE_WP), 0);
		} else {
			drops[block]++;
			CHECK_INT(fl_madvise(mm, at, BYTES(pages), MADV_DONTNEED), 0);
			drops[block]++;
		}
		changes++;
		sleep_ms((int)(r >> 40 & 1));
	}
	return arg;
}

/* ---- changes beside them ---- */

/* Unowned pages, beside the workers' if there is room. */
static uint64_t map_piece(uint64_t hint, int prot)
{
	uint64_t at;

	CHECK(fl_mmap(mm, hint, BYTES(PIECE), prot, MAP_PRIVATE | MAP_ANONYMOUS, &at) == 0);
	near += at == hint;
	return at;
}

/* The workers' mapping becomes three and is one again; they have the outer two pinned when these merge. */
static void split_and_join(uint64_t from, uint64_t pages)
{
	CHECK_INT(fl_madvise(mm, base + BYTES(from), BYTES(pages), MADV_DONTFORK), 0);
	CHECK_INT(fl_madvise(mm, base + BYTES(from), BYTES(pages), MADV_DOFORK), 0);
}

/* Eight pages with data, the others missing; a border between rights at `cut`, for a while. */
static void use(uint64_t at, uint64_t cut)
{
	for (uint64_t i = 0; i < 8; i++)
		*word(at + BYTES(i), i) = cut + i;
	CHECK_INT(fl_uffd_register(uffd, at, BYTES(PIECE), MISSING | WP, NULL), 0);
	CHECK_INT(fl_uffd_writeprotect(uffd, at, BYTES(8), UFFDIO_WRITEPROTECT_MODE_WP), 0);
	CHECK_INT(fl_mprotect(mm, at, BYTES(cut), PROT_READ), 0);
	CHECK(*word(at + BYTES(5), 5) == cut + 5);
	CHECK(*word(at + BYTES(60), 9) == content(at + BYTES(60)));
	CHECK_INT(fl_mprotect(mm, at, BYTES(cut), PROT_READ | PROT_WRITE), 0);
	*word(at + BYTES(3), 4) = cut;
}

/* It came from `old`, and is no longer registered: what was missing reads as zeros. */
static void check_moved(uint64_t at, uint64_t old, uint64_t cut)
{
	for (uint64_t i = 0; i < 8; i++)
		CHECK(*word(at + BYTES(i), i) == cut + i);
	CHECK(*word(at + BYTES(3), 4) == cut);
	CHECK(*word(at + BYTES(60), 9) == content(old + BYTES(60)));
	CHECK(*word(at + BYTES(20), 0) == 0);
}

static void map_once(uint64_t *seed)
{
	uint64_t r = rnd(seed), cut = 1 + r % (PIECE - 2), at;
	uint64_t from = map_piece(base + BYTES(PAGES + r / 64 % PIECE), PROT_READ | PROT_WRITE);
	uint64_t to = map_piece(base + BYTES(PAGES + 2 * PIECE + r / 4096 % PIECE), PROT_NONE);

	use(from, cut);
	split_and_join(1 + r / 262144 % (PAGES / 2), 1 + cut);
	CHECK_INT(fl_mremap(mm, from, BYTES(PIECE), BYTES(PIECE), MREMAP_MAYMOVE | MREMAP_FIXED, to, &at), 0);
	CHECK(at == to);
	check_moved(to, from, cut);
	CHECK_INT(fl_uffd_register(uffd, to, BYTES(PIECE), MISSING, NULL), 0);
	CHECK_INT(fl_uffd_unregister(uffd, to, BYTES(cut)), 0);
	check_moved(to, from, cut);
	CHECK_INT(fl_munmap(mm, to, BYTES(cut)), 0);
	CHECK_INT(fl_munmap(mm, to + BYTES(cut), BYTES(PIECE - cut)), 0);
	rounds++;
}

static void *map_beside(void *arg)
{
	uint64_t seed = 3;

	while (!stop_access)
		map_once(&seed);
	return arg;
}

/* ---- all together ---- */

/*
 * The first half of 2 MiB. The second is free, and so much above it that other mappings, placed from the top of that,
 * stay away.
 */
static void set_up(void)
{
	uint64_t room;

	if (fl_mm_process(&mm))
		skip("no native address space here");
	CHECK(fl_mmap(mm, 0, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, &room) == 0);
	base = (room + (2 << 20) - 1) & ~((2ull << 20) - 1);
	CHECK_INT(fl_munmap(mm, base + BYTES(PAGES), room + ROOM - base - BYTES(PAGES)), 0);
	CHECK_INT(fl_uffd_open(mm, O_NONBLOCK, &uffd), 0);
	CHECK_INT(fl_uffd_api(uffd, FEAT_WP, NULL), 0);
	CHECK_INT(fl_uffd_register(uffd, base, BYTES(PAGES), MISSING | WP, NULL), 0);
}

static bool worked(void)
{
	return found_again > 100 && fills > 100 && unprotects > 100 && changes > 10 && rounds > 10 && near > rounds;
}

static void test_beside(void)
{
	pthread_t handlers[HANDLERS], workers[WORKERS], dropper, mapper;

	set_up();
	for (unsigned i = 0; i < HANDLERS; i++)
		handlers[i] = spawn(handle, NULL);
	for (unsigned i = 0; i < WORKERS; i++)
		workers[i] = spawn(work, (void *)(uintptr_t)i);
	dropper = spawn(drop_and_protect, NULL);
	mapper = spawn(map_beside, NULL);
	for (double began = now(); goes_on(began, stress_seconds(4), worked());)
		sleep_ms(20);
	stop_access = 1;
	join(dropper);
	join(mapper);
	for (unsigned i = 0; i < WORKERS; i++)
		join(workers[i]);
	stop_handlers = 1;
	for (unsigned i = 0; i < HANDLERS; i++)
		join(handlers[i]);
	note("%lu stores, %lu found again, %lu fills, %lu unprotected, %lu dropped or protected, %lu times mapped, "
	     "%lu near",
	     stores, found_again, fills, unprotects, changes, rounds, near);
	CHECK_INT(fl_mm_check(mm), 0);
	CHECK(worked());
}

static const struct test tests[] = {
	{"faults natively, and a thread that maps, cuts, moves and unmaps beside", test_beside, 120},
	{0},
};

int main(int argc, char **argv)
{
	return run_cases(argc, argv, tests);
}

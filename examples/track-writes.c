/* SPDX-License-Identifier: MIT */
/*
 * track-writes.c - find out which pages a program writes: they are write-protected, the first store to each one is
 * a page fault, and the handler notes the page and takes the protection off, so that further stores to it cost
 * nothing. Live migration, incremental snapshots, garbage collectors and "what changed?" tools work this way.
 *
 *     track-writes [--soft]
 *
 * The memory is the process's own, or with --soft that of a soft address space, as an emulator has for its guest.
 * Only the store itself differs; objects, handler and tracking are the same.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <faultline/faultline.h>

#define PAGE  4096u
#define PAGES 64u
#define LEN   ((uint64_t)PAGES * PAGE)

struct tracker {
	struct fl_mm *mm;
	struct fl_uffd *uffd;
	uint64_t addr; /* of the memory, LEN bytes */
	int soft;
	atomic_uchar written[PAGES]; /* since tracking was started; the handler may run in several threads at once */
	atomic_uint faults;
};

static _Noreturn void fail(const char *what)
{
	fprintf(stderr, "track-writes: %s: %s\n", what, strerror(errno));
	exit(EXIT_FAILURE);
}

/* The tracked program's store. */
static void store_byte(const struct tracker *t, uint64_t offset, char value)
{
	if (!t->soft) {
		*(volatile char *)(uintptr_t)(t->addr + offset) = value;
	} else if (fl_store(t->mm, t->addr + offset, &value, 1)) {
		fprintf(stderr, "track-writes: a store would have raised a signal\n");
		exit(EXIT_FAILURE);
	}
}

/* A store met a protected page: note it and let the store go on. Called in the thread that stores. */
static enum fl_fault_action note_write(struct fl_uffd *uffd, const struct fl_uffd_msg *msg, void *arg)
{
	struct tracker *t = arg;
	uint64_t page = msg->arg.pagefault.address & ~(uint64_t)(PAGE - 1);

	if (!(msg->arg.pagefault.flags & FL_UFFD_PAGEFAULT_FLAG_WP))
		return FL_FAULT_SIGBUS; /* not for us: the range is registered for write-protect faults alone */
	atomic_store(&t->written[(page - t->addr) / PAGE], 1);
	atomic_fetch_add(&t->faults, 1);
	if (fl_uffd_writeprotect(uffd, page, PAGE, 0))
		return FL_FAULT_SIGBUS;
	return FL_FAULT_RETRY;
}

static void set_up(struct tracker *t)
{
	if (t->soft ? fl_mm_create(&t->mm, 0) : fl_mm_process(&t->mm))
		fail(t->soft ? "fl_mm_create" : "fl_mm_process");
	if (fl_mmap(t->mm, 0, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, &t->addr))
		fail("fl_mmap");

	/* Only pages that exist can be protected: a hole in the range would not be tracked. */
	for (unsigned page = 0; page < PAGES; page++)
		store_byte(t, (uint64_t)page * PAGE, 0);

	if (fl_uffd_open(t->mm, O_CLOEXEC, &t->uffd))
		fail("fl_uffd_open");
	if (fl_uffd_api(t->uffd, FL_UFFD_FEATURE_PAGEFAULT_FLAG_WP, NULL))
		fail("fl_uffd_api");
	if (fl_uffd_set_handler(t->uffd, note_write, t))
		fail("fl_uffd_set_handler");
	if (fl_uffd_register(t->uffd, t->addr, LEN, FL_UFFDIO_REGISTER_MODE_WP, NULL))
		fail("fl_uffd_register");
}

/* From now on, which pages are written? One call protects them all. */
static void start_tracking(struct tracker *t)
{
	for (unsigned page = 0; page < PAGES; page++)
		atomic_store(&t->written[page], 0);
	atomic_store(&t->faults, 0);
	if (fl_uffd_writeprotect(t->uffd, t->addr, LEN, FL_UFFDIO_WRITEPROTECT_MODE_WP))
		fail("fl_uffd_writeprotect");
}

/* What the tracked program does: write to every `step`th page from `first` on, more than once. */
static void work(const struct tracker *t, unsigned first, unsigned step)
{
	for (unsigned page = first; page < PAGES; page += step)
		for (unsigned offset = 0; offset < PAGE; offset += 512)
			store_byte(t, (uint64_t)page * PAGE + offset, 1);
}

static void print_written(const struct tracker *t, const char *when)
{
	printf("%s: %u faults, written pages:", when, atomic_load(&t->faults));
	for (unsigned page = 0; page < PAGES; page++)
		if (atomic_load(&t->written[page]))
			printf(" %u", page);
	printf("\n");
}

int main(int argc, char **argv)
{
	struct tracker t = {.soft = argc == 2 && !strcmp(argv[1], "--soft")};

	if (argc != 1 + t.soft) {
		fprintf(stderr, "usage: track-writes [--soft]\n");
		return 2;
	}
	set_up(&t);

	/* Round by round, as a live migration does: what was written since the last look is sent again. */
	start_tracking(&t);
	work(&t, 0, 8);
	print_written(&t, "first round");

	start_tracking(&t);
	work(&t, 5, 21);
	print_written(&t, "second round");

	if (fl_uffd_close(t.uffd))
		fail("fl_uffd_close");
	if (t.soft && fl_mm_destroy(t.mm))
		fail("fl_mm_destroy");
	return EXIT_SUCCESS;
}

/* SPDX-License-Identifier: MIT */
/*
 * lazy-snapshot.c - use a snapshot file before it is loaded: its memory starts empty, and each page is read from the
 * file when the program first touches it. This is how a virtual machine or a process resumes in milliseconds from a
 * snapshot of gigabytes, of which it will use a part.
 *
 *     lazy-snapshot [--verify] FILE
 *
 * The steps, as in every program that handles its own page faults:
 *
 *   1. map memory                            fl_mmap
 *   2. open a userfaultfd object             fl_uffd_open, fl_uffd_api
 *   3. say what resolves a fault             fl_uffd_set_handler
 *   4. register the memory                   fl_uffd_register
 *   5. use it: the first touch of each page runs the handler, which fills the page with fl_uffd_copy
 *
 * The program is single-threaded, and needs no second thread: the handler is called in the faulting one.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <faultline/faultline.h>

#define PAGE   4096u
#define PLACES 8 /* of the snapshot that the program reads */

struct snapshot {
	int file;
	uint64_t size;	/* of the file, in bytes */
	uint64_t pages; /* of memory: the last one may be filled in part */
	uint64_t addr;	/* where the memory is */
	atomic_ulong loaded;
};

static _Noreturn void fail(const char *what)
{
	fprintf(stderr, "lazy-snapshot: %s: %s\n", what, strerror(errno));
	exit(EXIT_FAILURE);
}

/*
 * Read up to `len` bytes at `offset`, fewer only at the end of the file. Returns the count, or -1. Made of what
 * signal-safety(7) allows, because the fault handler calls it.
 */
static ssize_t read_at(int file, void *buf, size_t len, uint64_t offset)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(file, (char *)buf + done, len - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

/*
 * The program touched a page that is not there yet. Fill it, and say how the access goes on. The page appears with
 * all of its content at once: no other thread ever sees it half-filled.
 */
static enum fl_fault_action load_page(struct fl_uffd *uffd, const struct fl_uffd_msg *msg, void *arg)
{
	/* A page to read the file into; one a thread, as several may fault at once. Not on the stack: it may be
	 * small. */
	static _Thread_local unsigned char bounce[PAGE];
	struct snapshot *snap = arg;
	uint64_t page = msg->arg.pagefault.address & ~(uint64_t)(PAGE - 1);

	ssize_t n = read_at(snap->file, bounce, PAGE, page - snap->addr);
	if (n < 0)
		return FL_FAULT_SIGBUS; /* as a mapped file does when it cannot be read */
	memset(bounce + n, 0, PAGE - (size_t)n);

	if (fl_uffd_copy(uffd, page, (uintptr_t)bounce, PAGE, 0, NULL) == 0)
		atomic_fetch_add(&snap->loaded, 1);
	else if (errno != EEXIST && errno != EAGAIN) /* another thread was faster; try again */
		return FL_FAULT_SIGBUS;
	return FL_FAULT_RETRY;
}

static void open_snapshot(struct snapshot *snap, const char *path)
{
	struct stat st;

	snap->file = open(path, O_RDONLY | O_CLOEXEC);
	if (snap->file < 0 || fstat(snap->file, &st))
		fail(path);
	if (!S_ISREG(st.st_mode) || st.st_size == 0) {
		fprintf(stderr, "lazy-snapshot: %s: not a regular file with something in it\n", path);
		exit(EXIT_FAILURE);
	}
	snap->size = (uint64_t)st.st_size;
	snap->pages = (snap->size + PAGE - 1) / PAGE;
}

/* Make memory for the snapshot that loads itself. */
static struct fl_uffd *map_snapshot(struct snapshot *snap)
{
	struct fl_uffd *uffd;
	struct fl_mm *mm;

	if (fl_mm_process(&mm))
		fail("fl_mm_process");
	if (fl_mmap(mm, 0, snap->pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		    &snap->addr))
		fail("fl_mmap");
	if (fl_uffd_open(mm, O_CLOEXEC, &uffd))
		fail("fl_uffd_open");
	if (fl_uffd_api(uffd, 0, NULL))
		fail("fl_uffd_api");
	if (fl_uffd_set_handler(uffd, load_page, snap))
		fail("fl_uffd_set_handler");
	if (fl_uffd_register(uffd, snap->addr, snap->pages * PAGE, FL_UFFDIO_REGISTER_MODE_MISSING, NULL))
		fail("fl_uffd_register");
	return uffd;
}

static void print_loaded(const struct snapshot *snap, const char *when)
{
	printf("%s: %lu of %llu pages loaded\n", when, atomic_load(&snap->loaded), (unsigned long long)snap->pages);
}

/* Compare the memory from `offset` on with the file: plain loads, which load what is missing. */
static void compare(const struct snapshot *snap, uint64_t offset, size_t len)
{
	const unsigned char *memory = (const unsigned char *)(uintptr_t)snap->addr;
	static unsigned char expected[1 << 16];

	ssize_t n = read_at(snap->file, expected, len < sizeof(expected) ? len : sizeof(expected), offset);
	if (n < 0)
		fail("reading the file");
	if (memcmp(memory + offset, expected, (size_t)n) != 0) {
		fprintf(stderr, "lazy-snapshot: memory at offset %#llx is not what the file holds\n",
			(unsigned long long)offset);
		exit(EXIT_FAILURE);
	}
}

static void verify(const struct snapshot *snap)
{
	const unsigned char *memory = (const unsigned char *)(uintptr_t)snap->addr;

	for (uint64_t at = 0; at < snap->size; at += 1 << 16)
		compare(snap, at, 1 << 16);
	for (uint64_t at = snap->size; at < snap->pages * PAGE; at++) {
		if (memory[at]) {
			fprintf(stderr, "lazy-snapshot: memory behind the end of the file is not zero\n");
			exit(EXIT_FAILURE);
		}
	}
}

int main(int argc, char **argv)
{
	int all = argc == 3 && !strcmp(argv[1], "--verify");
	struct snapshot snap = {0};

	if (argc != 2 + all || argv[argc - 1][0] == '-') {
		fprintf(stderr, "usage: lazy-snapshot [--verify] FILE\n");
		return 2;
	}
	open_snapshot(&snap, argv[argc - 1]);
	struct fl_uffd *uffd = map_snapshot(&snap);
	print_loaded(&snap, "mapped");

	/* The program goes on as if all were there. A few places, from the first byte to the last: */
	for (uint64_t i = 0; i < PLACES; i++)
		compare(&snap, (snap.size - 1) / (PLACES - 1) * i, 1);
	compare(&snap, snap.size - 1, 1);
	print_loaded(&snap, "a few places read");

	if (all) {
		verify(&snap);
		print_loaded(&snap, "everything compared with the file, equal");
	}
	if (fl_uffd_close(uffd))
		fail("fl_uffd_close");
	close(snap.file);
	return EXIT_SUCCESS;
}

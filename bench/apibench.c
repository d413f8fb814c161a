/* SPDX-License-Identifier: MIT */
/*
 * apibench.c - rows that only faultline has: page faults resolved by an in-thread handler of the public API. The
 * kernel's closest equivalent is a SIGBUS handler in the faulting thread, which uffdbench measures.
 */
#include <errno.h>
#include <faultline/faultline.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"

#define RANGE MIB(64)

static struct fl_mm *mm;
static char *source; /* the page that fills every other */

static enum fl_fault_action on_missing(struct fl_uffd *uffd, const struct fl_uffd_msg *msg, void *arg)
{
	uint64_t page = msg->arg.pagefault.address & ~(uint64_t)(PAGE - 1);

	faults_seen++;
	if (fl_uffd_copy(uffd, page, (uintptr_t)source, PAGE, 0, NULL))
		die("fl_uffd_copy: %s", strerror(errno));
	return FL_FAULT_RETRY;
}

static enum fl_fault_action on_protected(struct fl_uffd *uffd, const struct fl_uffd_msg *msg, void *arg)
{
	uint64_t page = msg->arg.pagefault.address & ~(uint64_t)(PAGE - 1);

	faults_seen++;
	if (fl_uffd_writeprotect(uffd, page, PAGE, 0))
		die("fl_uffd_writeprotect: %s", strerror(errno));
	return FL_FAULT_RETRY;
}

static void drop(const struct fault_loop *loop)
{
	if (fl_madvise(mm, (uintptr_t)loop->base, loop->len, MADV_DONTNEED))
		die("fl_madvise(MADV_DONTNEED): %s", strerror(errno));
}

static void protect(const struct fault_loop *loop)
{
	if (fl_uffd_writeprotect(loop->obj, (uintptr_t)loop->base, loop->len, FL_UFFDIO_WRITEPROTECT_MODE_WP))
		die("fl_uffd_writeprotect: %s", strerror(errno));
}

static void measure_in_thread(const struct run *run, struct series *out)
{
	bool wp = run->row->wp;
	struct fault_loop loop = {.len = RANGE, .prepare = wp ? protect : drop};
	struct fl_uffd *uffd;
	uint64_t addr;

	pin_to_cpu(0);
	source = map_pages(PAGE);
	write_pattern(source, PAGE);
	if (fl_mm_process(&mm) || fl_uffd_open(mm, 0, &uffd))
		die("opening the object: %s", strerror(errno));
	if (fl_mmap(mm, 0, RANGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, &addr))
		die("fl_mmap: %s", strerror(errno));
	loop.base = (char *)addr;
	loop.obj = uffd;
	if (wp)
		write_pattern(loop.base, RANGE);
	if (fl_uffd_api(uffd, wp ? FL_UFFD_FEATURE_PAGEFAULT_FLAG_WP : 0, NULL) ||
	    fl_uffd_register(uffd, addr, RANGE, wp ? FL_UFFDIO_REGISTER_MODE_WP : FL_UFFDIO_REGISTER_MODE_MISSING,
			     NULL) ||
	    fl_uffd_set_handler(uffd, wp ? on_protected : on_missing, NULL))
		die("setting the object up: %s", strerror(errno));
	measure_faults(run, &loop, out);
}

#define FAULT(...) .unit = "ns/fault", .measure = measure_in_thread, .answer = IN_THREAD, __VA_ARGS__

/* clang-format off */
static const struct row rows[] = {
	{"missing-in-thread",		FAULT(.ops = 8192)},
	{"missing-in-thread-random",	FAULT(.ops = 8192, .random = true)},
	{"wp-in-thread",		FAULT(.ops = 16384, .wp = true)},
	{"wp-in-thread-random",		FAULT(.ops = 16384, .wp = true, .random = true)},
};
/* clang-format on */

int main(int argc, char **argv)
{
	return bench_main(argc, argv, rows, sizeof(rows) / sizeof(*rows));
}

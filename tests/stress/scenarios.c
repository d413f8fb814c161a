/* SPDX-License-Identifier: MIT */
/*
 * scenarios.c - what tests/sim explores, with real threads: two to four of them and a few pages, thousands of rounds,
 * and the result that each round must have. Half of the rounds have signals on top. A round that does not end is a
 * failure: the runner says which scenario hung. Where the library has delays at its yield points (the suites
 * "delays"), windows of a few instructions stay open for as long as a system call.
 *
 * Values of pages: OLD was there before, NEW and TWO are what fills and stores bring, 0 is a page of zeros.
 */
#include "rounds.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef UFFD_FEATURE_MINOR_SHMEM
#define UFFD_FEATURE_MINOR_SHMEM   (1 << 10)
#define UFFDIO_REGISTER_MODE_MINOR ((__u64)1 << 2)
#endif
#ifndef UFFD_FEATURE_WP_HUGETLBFS_SHMEM
#define UFFD_FEATURE_WP_HUGETLBFS_SHMEM (1 << 12)
#endif
#define MINOR	 UFFDIO_REGISTER_MODE_MINOR
#define FEATURES (FEAT_WP | UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_WP_HUGETLBFS_SHMEM)

#define OLD    0x1111111111111111ull
#define NEW    0x2222222222222222ull
#define TWO    0x3333333333333333ull
#define UNSEEN UINT64_MAX

#define REGION_PAGES 4u

static char *region, *far_region; /* 2 MiB apart, so with different page-table locks */
static int uffd = -1, file = -1;
static uint64_t saw[8];

static char *page(unsigned i)
{
	return region + i * PAGE;
}

/* ---- calls ---- */

static int copy_from(char *dst, const void *src, uint64_t mode)
{
	return uffd_copy(uffd, dst, src, PAGE, mode);
}

static int copy_value(char *dst, uint64_t value, uint64_t mode)
{
	char source[PAGE] __attribute__((aligned(4096)));

	fill_page(source, value);
	return copy_from(dst, source, mode);
}

static int continue_page(char *p)
{
	struct {
		struct uffdio_range range;
		uint64_t mode;
		int64_t mapped;
	} c = {{(uintptr_t)p, PAGE}, 0, 0};
	int ret;

	do
		ret = ioctl(uffd, _IOWR(UFFDIO, 0x07, c), &c);
	while (ret && errno == EAGAIN);
	return ret ? -errno : 0;
}

static int try_register(char *p, size_t len, uint64_t mode)
{
	struct uffdio_register r = {.range = {(uintptr_t)p, len}, .mode = mode};

	return ioctl(uffd, UFFDIO_REGISTER, &r) ? -errno : 0;
}

/* ---- setups: everything is new in each round ---- */

static void *place(size_t len)
{
	char *p = mmap(NULL, len + (2 << 20), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK(p != MAP_FAILED);
	return p + (-(uintptr_t)p & ((2 << 20) - 1));
}

static void begin(void)
{
	region = place(6 << 20);
	far_region = region + (2 << 20);
	uffd = uffd_open(O_CLOEXEC, FEATURES);
}

static void map_anonymous(char *at, unsigned pages)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;

	CHECK(mmap(at, pages * (size_t)PAGE, PROT_READ | PROT_WRITE, flags, -1, 0) == at);
}

static void plain(void)
{
	for (unsigned i = 0; i < sizeof(saw) / sizeof(*saw); i++)
		saw[i] = UNSEEN;
	map_anonymous(region, REGION_PAGES);
	map_anonymous(far_region, REGION_PAGES);
}

static void missing(void)
{
	plain();
	uffd_register(uffd, region, REGION_PAGES * PAGE, MISSING);
}

static void missing_source(void)
{
	missing();
	fill_page(far_region, NEW);
}

static void present(void)
{
	plain();
	fill_page(page(0), OLD);
	uffd_register(uffd, region, REGION_PAGES * PAGE, MISSING | WP);
}

static void protected(void)
{
	present();
	CHECK_INT(uffd_protect(uffd, page(0), PAGE, true), 0);
}

/* No object is asked about missing pages, but the range is registered. */
static void watched(void)
{
	plain();
	uffd_register(uffd, region, REGION_PAGES * PAGE, WP);
}

static void watched_present(void)
{
	watched();
	fill_page(page(0), OLD);
}

static void own_object(void)
{
	close(uffd);
	uffd = uffd_open(O_CLOEXEC, FEATURES);
	missing();
}

static void nonblocking(void)
{
	if (!(fcntl(uffd, F_GETFL) & O_NONBLOCK))
		CHECK_INT(fcntl(uffd, F_SETFL, O_NONBLOCK), 0);
	missing();
}

static void neighbours(void)
{
	watched();
	fill_page(page(1), OLD);
	uffd_register(uffd, page(1), (REGION_PAGES - 1) * PAGE, MISSING | WP);
}

static void gap(void)
{
	watched();
	CHECK_INT(munmap(page(1), PAGE), 0);
}

/* A file of the region's size with its first page in it. */
static void shared(uint64_t mode)
{
	char content[PAGE];

	plain();
	if (file < 0)
		file = memfd_create("scenarios", MFD_CLOEXEC);
	CHECK_INT(ftruncate(file, 0), 0);
	CHECK_INT(ftruncate(file, REGION_PAGES * PAGE), 0);
	fill_page(content, OLD);
	CHECK_INT(pwrite(file, content, PAGE, 0), PAGE);
	CHECK(mmap(region, REGION_PAGES * (size_t)PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0) ==
	      region);
	uffd_register(uffd, region, REGION_PAGES * PAGE, mode);
}

static void shared_watched(void)
{
	shared(WP);
}

static void shared_minor(void)
{
	shared(MINOR);
}

static void shared_missing(void)
{
	shared(MISSING);
}

/* ---- what threads do ---- */

static void load_0(void)
{
	saw[0] = load(page(0));
}

/* The target of a copy whose source changes meanwhile, and which may have some of both. */
static void load_0_first(void)
{
	saw[0] = first_word(page(0));
}

static void load_0_too(void)
{
	saw[1] = load(page(0));
}

static void load_1(void)
{
	saw[1] = load(page(1));
}

static void load_2(void)
{
	saw[1] = load(page(2));
}

static void store_0(void)
{
	saw[0] = store(page(0), TWO);
}

static void do_copy(void)
{
	saw[2] = (uint64_t)copy_value(page(0), NEW, 0);
}

static void do_copy_too(void)
{
	saw[3] = (uint64_t)copy_value(page(0), TWO, 0);
}

static void copy_1(void)
{
	saw[2] = (uint64_t)copy_value(page(1), NEW, 0);
}

static void copy_then_wake(void)
{
	saw[2] = (uint64_t)copy_value(page(0), NEW, UFFDIO_COPY_MODE_DONTWAKE);
	CHECK_INT(uffd_wake(uffd, page(0), PAGE), 0);
}

static void copy_source(void)
{
	saw[2] = (uint64_t)copy_from(page(0), far_region, 0);
}

static void copy_from_beside(void)
{
	saw[2] = (uint64_t)copy_from(page(0), page(1), 0);
}

static void zero_0(void)
{
	CHECK_INT(uffd_zero(uffd, page(0), PAGE), 0);
}

static void zero_1(void)
{
	CHECK_INT(uffd_zero(uffd, page(1), PAGE), 0);
}

static void do_continue(void)
{
	saw[2] = (uint64_t)continue_page(page(0));
}

static void unprotect(void)
{
	CHECK_INT(uffd_protect(uffd, page(0), PAGE, false), 0);
}

static void protect_look_unprotect(void)
{
	uint64_t first, second;

	CHECK_INT(uffd_protect(uffd, page(0), PAGE, true), 0);
	first = first_word(page(0));
	second = first_word(page(0));
	CHECK(first == second); /* the page does not change while it is protected */
	CHECK_INT(uffd_protect(uffd, page(0), PAGE, false), 0);
}

static void do_unregister(void)
{
	CHECK_INT(uffd_unregister(uffd, page(0), PAGE), 0);
	CHECK_INT(uffd_wake(uffd, page(0), PAGE),
		  0); /* on Linux 6.18 a fault that comes meanwhile may sleep on without it */
}

static void unmap_and_wake(void)
{
	CHECK_INT(munmap(page(0), PAGE), 0);
	CHECK_INT(uffd_wake(uffd, page(0), PAGE), 0);
}

static void move_page(void)
{
	CHECK(mremap(page(0), PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, far_region) == far_region);
	saw[2] = first_word(far_region);
}

static void move_and_wake(void)
{
	move_page();
	CHECK_INT(uffd_wake(uffd, page(0), PAGE), 0);
}

static void dontneed_0(void)
{
	CHECK_INT(madvise(page(0), PAGE, MADV_DONTNEED), 0);
}

static void drop_and_copy(void)
{
	dontneed_0();
	do_copy();
}

static void drop_source(void)
{
	CHECK_INT(madvise(far_region, PAGE, MADV_DONTNEED), 0);
}

static void unmap_source(void)
{
	CHECK_INT(munmap(far_region, REGION_PAGES * PAGE), 0);
}

static void do_close(void)
{
	CHECK_INT(close(uffd), 0);
	uffd = -1;
}

static void truncate_0(void)
{
	CHECK_INT(ftruncate(file, 0), 0);
}

static void punch_0(void)
{
	CHECK_INT(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE), 0);
}

static void unmap_1(void)
{
	CHECK_INT(munmap(page(1), (REGION_PAGES - 1) * PAGE), 0);
}

static void fill_gap(void)
{
	map_anonymous(page(1), 1);
	CHECK_INT(try_register(page(1), PAGE, WP), 0);
}

static void mprotect_1_and_back(void)
{
	CHECK_INT(mprotect(page(1), PAGE, PROT_READ), 0);
	CHECK_INT(mprotect(page(1), PAGE, PROT_READ | PROT_WRITE), 0);
}

static void register_1_and_back(void)
{
	CHECK_INT(uffd_unregister(uffd, page(1), PAGE), 0);
	CHECK_INT(try_register(page(1), PAGE, MISSING), 0);
}

static void register_beside(void)
{
	for (int i = 0; i < 2; i++) {
		char *p = map_pages(2);

		p[0] = 1;
		CHECK_INT(try_register(p, 2 * PAGE, MISSING), 0);
		CHECK_INT(p[0], 1);
		CHECK_INT(munmap(p, 2 * PAGE), 0);
	}
}

static void store_then_drop(void)
{
	store(page(1), NEW);
	CHECK_INT(madvise(page(1), PAGE, MADV_DONTNEED), 0);
}

/*
 * Resolve a message: the value is the page's number plus one. false: it was resolved already. A thread that a signal
 * takes out of its wait faults once more, so there are two messages.
 */
static bool resolve(const struct uffd_msg *msg)
{
	char *at = (char *)(uintptr_t)PAGE_OF(msg->arg.pagefault.address);
	int ret;

	CHECK(msg->event == UFFD_EVENT_PAGEFAULT && (at == page(0) || at == page(1)));
	ret = copy_value(at, (uint64_t)(at - region) / PAGE + 1, 0);
	CHECK(ret == 0 || ret == -EEXIST);
	return ret == 0;
}

static void read_and_copy(void)
{
	struct uffd_msg msg;
	ssize_t n;

	do {
		do
			n = read(uffd, &msg, sizeof(msg));
		while (n < 0 && errno == EINTR);
		CHECK_INT(n, sizeof(msg));
	} while (!resolve(&msg));
}

static void read_two(void)
{
	read_and_copy();
	read_and_copy();
}

static void poll_and_copy(void)
{
	struct pollfd p = {.fd = uffd, .events = POLLIN};
	struct uffd_msg msg;
	ssize_t n;

	do {
		if (poll(&p, 1, -1) < 0)
			CHECK_INT(errno, EINTR);
		n = read(uffd, &msg, sizeof(msg));
		if (n < 0)
			CHECK(errno == EAGAIN || errno == EINTR);
	} while (n < 0 || !resolve(&msg));
}

/* What a child finds in page 0, as an exit status: both times the same. */
static void look_in_child(void *arg)
{
	uint64_t first = first_word(page(0)), second = first_word(page(0));

	if (first == second)
		_exit(first == 0 ? 10 : first == OLD ? 11 : first == NEW ? 12 : first == TWO ? 13 : 14);
}

static void fork_and_look(void)
{
	int status = in_child(look_in_child, NULL);

	saw[4] = WIFEXITED(status) ? (uint64_t)WEXITSTATUS(status) : 0;
}

static void store_twice(void)
{
	store(page(0), NEW);
	saw[0] = store(page(0), TWO);
}

/* ---- expected results ---- */

static void saw_new(void)
{
	CHECK_INT(saw[0], NEW);
	CHECK_INT(saw[2], 0);
}

static void saw_zero(void)
{
	CHECK_INT(saw[0], 0);
}

static void saw_old(void)
{
	CHECK_INT(saw[0], OLD);
	CHECK_INT(saw[2], 0);
}

static void saw_segv(void)
{
	CHECK_INT(saw[0], GOT_SEGV);
}

static void saw_zero_or_segv(void)
{
	CHECK(saw[0] == 0 || saw[0] == GOT_SEGV);
}

static void both_new(void)
{
	saw_new();
	CHECK_INT(saw[1], NEW);
}

static void both_zero(void)
{
	saw_zero();
	CHECK_INT(saw[1], 0);
}

static void stored(void)
{
	CHECK_INT(saw[0], 0);
	CHECK_INT(first_word(page(0)), TWO);
}

static void moved(void)
{
	uint64_t there = first_word(far_region);

	CHECK(saw[0] == 0 ? there == TWO : saw[0] == GOT_SEGV && there == OLD);
	CHECK_INT(saw[2], there);
}

static void old_or_new(void)
{
	CHECK_INT(saw[2], 0);
	CHECK(saw[0] == OLD || saw[0] == NEW);
	CHECK_INT(first_word(page(0)), NEW);
}

static void one_copied(void)
{
	uint64_t is = first_word(page(0));

	CHECK((saw[2] == 0) != (saw[3] == 0));
	CHECK_INT(saw[2] + saw[3], -EEXIST);
	CHECK_INT(is, saw[2] ? TWO : NEW);
	CHECK(saw[0] == UNSEEN || saw[0] == is);
}

static void saw_one(void)
{
	CHECK_INT(saw[0], 1);
}

static void saw_one_and_two(void)
{
	saw_one();
	CHECK_INT(saw[1], 2);
}

static void new_or_zero(void)
{
	CHECK_INT(saw[2], 0);
	CHECK(saw[0] == NEW || saw[0] == 0);
}

static void copied_or_unmapped(void)
{
	if (saw[2] == 0)
		CHECK_INT(first_word(page(0)), NEW);
	else
		CHECK_INT(saw[2], -EFAULT);
}

static void copied_zeros(void)
{
	CHECK_INT(saw[2], 0);
	CHECK_INT(first_word(page(0)), 0);
}

static void child_new_or_zero(void)
{
	CHECK_INT(saw[2], 0);
	CHECK_INT(first_word(page(0)), NEW);
	CHECK(saw[4] == 10 || saw[4] == 12);
}

/* The child's page is of one moment. */
static void child_of_one_moment(void)
{
	CHECK_INT(first_word(page(0)), TWO);
	CHECK(saw[4] >= 11 && saw[4] <= 13);
}

static void file_is_gone(void)
{
	CHECK_INT(load(page(0)), GOT_SIGBUS);
}

static void old_or_sigbus(void)
{
	CHECK(saw[0] == OLD || saw[0] == GOT_SIGBUS);
	file_is_gone();
}

static void filled_or_not(void)
{
	CHECK(saw[2] == 0 || saw[2] == (uint64_t)-EFAULT || saw[2] == (uint64_t)-EINVAL);
	file_is_gone();
}

static void old_or_hole(void)
{
	CHECK(saw[0] == OLD || saw[0] == 0);
	CHECK_INT(first_word(page(0)), 0);
}

static void dropped_or_stored(void)
{
	uint64_t is = first_word(page(0));

	CHECK_INT(saw[0], 0);
	CHECK(is == TWO || is == 0);
}

#define SCENARIO(id, setup, check, ...)                                                                              \
	static void test_##id(void)                                                                                  \
	{                                                                                                            \
		static const struct scenario s = {begin, setup, {__VA_ARGS__}, check};                               \
		run_rounds(&s);                                                                                      \
	}

SCENARIO(fault_copy, missing, saw_new, load_0, do_copy)
SCENARIO(fault_copy_memory, missing_source, saw_new, load_0, copy_source)
SCENARIO(fault_zeropage, missing, saw_zero, load_0, zero_0)
SCENARIO(fault_continue, shared_minor, saw_old, load_0, do_continue)
SCENARIO(fault_unprotect, protected, stored, store_0, unprotect)
SCENARIO(fault_unregister, missing, saw_zero, load_0, do_unregister)
SCENARIO(fault_munmap, missing, saw_segv, load_0, unmap_and_wake)
SCENARIO(zeros_munmap, watched, saw_zero_or_segv, load_0, unmap_and_wake)
SCENARIO(fault_mremap, missing, saw_segv, load_0, move_and_wake)
SCENARIO(store_mremap, watched_present, moved, store_0, move_page)
SCENARIO(fault_dontneed, present, old_or_new, load_0, drop_and_copy)
SCENARIO(store_dontneed, watched_present, dropped_or_stored, store_0, dontneed_0)
SCENARIO(fault_close, own_object, saw_zero, load_0, do_close)
SCENARIO(two_faults, missing, both_new, load_0, load_0_too, do_copy)
SCENARIO(copy_copy, missing, one_copied, do_copy, do_copy_too)
SCENARIO(fault_copy_copy, missing, one_copied, load_0, do_copy, do_copy_too)
SCENARIO(wake_before_sleep, missing, saw_new, load_0, copy_then_wake)
SCENARIO(one_reader, missing, saw_one, load_0, read_and_copy)
SCENARIO(one_poller, nonblocking, saw_one, load_0, poll_and_copy)
SCENARIO(two_faults_one_reader, missing, saw_one_and_two, load_0, load_1, read_two)
SCENARIO(several_readers, missing, saw_one_and_two, load_0, load_1, read_and_copy, read_and_copy)
SCENARIO(several_pollers, nonblocking, saw_one_and_two, load_0, load_1, poll_and_copy, poll_and_copy)
SCENARIO(store_protect, present, stored, store_0, protect_look_unprotect)
SCENARIO(fork_copy, missing, child_new_or_zero, do_copy, fork_and_look)
SCENARIO(fork_store, watched_present, child_of_one_moment, store_twice, fork_and_look)
SCENARIO(truncate_fault, shared_watched, old_or_sigbus, load_0, truncate_0)
SCENARIO(truncate_continue, shared_minor, filled_or_not, do_continue, truncate_0)
SCENARIO(truncate_copy, shared_missing, filled_or_not, copy_1, truncate_0)
SCENARIO(punch_fault, shared_watched, old_or_hole, load_0, punch_0)
SCENARIO(new_tables, watched, both_zero, load_0, load_1)
SCENARIO(tables_munmap, watched, saw_zero, load_0, unmap_1)
SCENARIO(tables_dontneed, watched, stored, store_0, store_then_drop)
SCENARIO(munmap_beside, neighbours, saw_zero, load_0, unmap_1)
SCENARIO(faults_merge, gap, both_zero, load_0, load_2, fill_gap)
SCENARIO(mprotect_beside, watched_present, stored, store_0, mprotect_1_and_back)
SCENARIO(register_in_one, missing, saw_new, load_0, do_copy, register_1_and_back)
SCENARIO(register_elsewhere, missing, saw_new, load_0, do_copy, register_beside, register_beside)
SCENARIO(source_dropped, missing_source, new_or_zero, load_0_first, copy_source, drop_source)
SCENARIO(source_unmapped, missing_source, copied_or_unmapped, copy_source, unmap_source)
SCENARIO(source_missing, missing, copied_zeros, copy_from_beside, zero_1)

static const struct test tests[] = {
	{"a fault and COPY", test_fault_copy, 60},
	{"a fault and COPY of memory of the program's", test_fault_copy_memory, 60},
	{"a fault and ZEROPAGE", test_fault_zeropage, 60},
	{"a minor fault and CONTINUE", test_fault_continue, 60},
	{"a write-protect fault and its end", test_fault_unprotect, 60},
	{"a fault and UNREGISTER", test_fault_unregister, 60},
	{"a fault and munmap", test_fault_munmap, 60},
	{"a fault for zeros and munmap", test_zeros_munmap, 60},
	{"a fault and mremap", test_fault_mremap, 60},
	{"a store and mremap", test_store_mremap, 60},
	{"a load and DONTNEED", test_fault_dontneed, 60},
	{"a store and DONTNEED", test_store_dontneed, 60},
	{"a fault and close", test_fault_close, 60},
	{"two faults on one page", test_two_faults, 60},
	{"COPY and COPY", test_copy_copy, 60},
	{"a fault, COPY and COPY", test_fault_copy_copy, 60},
	{"WAKE before the sleep", test_wake_before_sleep, 60},
	{"one reader", test_one_reader, 60},
	{"one poller", test_one_poller, 60},
	{"two faults, one reader", test_two_faults_one_reader, 60},
	{"several readers", test_several_readers, 60},
	{"several pollers", test_several_pollers, 60},
	{"a store and write protection", test_store_protect, 60},
	{"fork and COPY", test_fork_copy, 60},
	{"fork and stores", test_fork_store, 60},
	{"truncation and a fault", test_truncate_fault, 60},
	{"truncation and CONTINUE", test_truncate_continue, 60},
	{"truncation and COPY", test_truncate_copy, 60},
	{"a hole and a fault", test_punch_fault, 60},
	{"two faults want one page table", test_new_tables, 60},
	{"a fault wants a page table that munmap takes away", test_tables_munmap, 60},
	{"a fault wants a page table that DONTNEED empties", test_tables_dontneed, 60},
	{"the same, of two mappings", test_munmap_beside, 60},
	{"faults in two mappings that become one", test_faults_merge, 60},
	{"a store, while the mapping is cut and joined", test_mprotect_beside, 60},
	{"COPY, while the registration is cut and joined", test_register_in_one, 60},
	{"COPY, while others register beside", test_register_elsewhere, 60},
	{"COPY from a page that is dropped", test_source_dropped, 60},
	{"COPY from a mapping that goes", test_source_unmapped, 60},
	{"COPY from a page that is missing", test_source_missing, 60},
	{0},
};

int main(int argc, char **argv)
{
	return run_tests(argc, argv, tests);
}

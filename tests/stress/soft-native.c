/* SPDX-License-Identifier: MIT */
/*
 * soft-native.c - two address spaces in one process: what is copied into a soft one and out of it is on pages of the
 * process that are registered and missing. The thread that resolves them first takes every lock of the soft space
 * that the copy could hold. Ten thousand times; and pointers that lead nowhere are errors, not crashes.
 */
#include "address.h"
#include "stress.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <faultline/testing.h>

#define ROUNDS	 2500u /* of each of the four ways, so more than ten thousand faults */
#define BATCH	 50u
#define SOFT_LEN ((uint64_t)64 * PAGE)

static struct fl_mm *own, *soft;
static struct fl_uffd *uffd, *soft_uffd;
static struct fl_shmem *shmem;
static uint64_t base, mapped; /* in the soft space: registered; of the shared object */
static uint8_t *pages;	      /* of the process: BATCH, registered */
static atomic_int over;
static unsigned long resolved;

/* What a writer and a reader of the soft space would do, in the same 2 MiB and the same file. */
static void take_locks(void)
{
	uint64_t word = 1;
	char byte;

	CHECK_INT(fl_store(soft, base + SOFT_LEN - PAGE, &word, sizeof(word)), 0);
	CHECK_INT(fl_mprotect(soft, base, SOFT_LEN, PROT_READ | PROT_WRITE), 0);
	CHECK_INT(fl_load(soft, mapped + 3 * PAGE, &byte, 1), 0);
	CHECK_INT(fl_shmem_truncate(shmem, SOFT_LEN), 0);
	CHECK_INT(map_addr(soft, base + 2 * SOFT_LEN, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED),
		  (long long)(base + 2 * SOFT_LEN));
	CHECK_INT(fl_munmap(soft, base + 2 * SOFT_LEN, PAGE), 0);
}

static void *handler(void *arg)
{
	static uint8_t page[PAGE] __attribute__((aligned(4096)));
	struct uffd_msg msg;

	while (!over)
		if (fl_uffd_poll(uffd, 20) == POLLIN && fl_uffd_read(uffd, &msg, sizeof(msg)) == sizeof(msg)) {
			uint64_t at = PAGE_OF(msg.arg.pagefault.address);

			take_locks();
			stamp(page, at);
			CHECK_INT(fl_uffd_copy(uffd, at, (uintptr_t)page, PAGE, 0, NULL), 0);
			resolved++;
		}
	return NULL;
}

/* A missing page of the process, at `in`. They are dropped all at once, from time to time. */
static uint8_t *missing(unsigned round, size_t in)
{
	if (round % BATCH == 0)
		CHECK_INT(fl_madvise(own, (uintptr_t)pages, BATCH * PAGE, MADV_DONTNEED), 0);
	return pages + round % BATCH * PAGE + in;
}

static void set_up(void)
{
	int ret = fl_mm_process(&own);

	if (ret)
		skip("no native address space here");
	CHECK_INT(fl_mm_create(&soft, 1 << 24), 0);
	CHECK_INT(fl_shmem_create(soft, SOFT_LEN, &shmem), 0);
	CHECK_INT(fl_mmap(soft, 0x40000000, SOFT_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
			  &base),
		  0);
	CHECK_INT(fl_mmap_shmem(soft, 0, SOFT_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, shmem, 0, &mapped), 0);
	CHECK(base == 0x40000000 && mapped);
	CHECK_INT(fl_uffd_open(soft, FL_UFFD_SRC_HOST, &soft_uffd), 0);
	CHECK_INT(fl_uffd_api(soft_uffd, 0, NULL), 0);
	CHECK_INT(fl_uffd_register(soft_uffd, base, SOFT_LEN - PAGE, MISSING, NULL), 0);
	pages = map_pages(BATCH);
	CHECK_INT(fl_uffd_open(own, O_NONBLOCK, &uffd), 0);
	CHECK_INT(fl_uffd_api(uffd, 0, NULL), 0);
	CHECK_INT(fl_uffd_register(uffd, (uintptr_t)pages, BATCH * PAGE, MISSING, NULL), 0);
}

static void run(void (*round)(unsigned i))
{
	pthread_t thread;

	set_up();
	thread = spawn(handler, NULL);
	for (unsigned i = 0; i < ROUNDS; i++)
		round(i);
	over = 1;
	join(thread);
	CHECK(resolved >= ROUNDS);
	CHECK_INT(fl_mm_check(soft), 0);
	CHECK_INT(fl_mm_check(own), 0);
}

/* ---- the four ways ---- */

static void fill_round(unsigned i)
{
	uint64_t at = base + i % 8 * PAGE;
	uint8_t *src = missing(i, 0), got[PAGE];

	CHECK_INT(fl_madvise(soft, at, PAGE, MADV_DONTNEED), 0);
	CHECK_INT(fl_uffd_copy(soft_uffd, at, (uintptr_t)src, PAGE, 0, NULL), 0);
	CHECK_INT(fl_load(soft, at, got, PAGE), 0);
	CHECK(stamped(got, (uintptr_t)src));
}

static void test_fills(void)
{
	run(fill_round);
}

static void load_round(unsigned i)
{
	uint64_t at = base + SOFT_LEN - PAGE, word = 0x0101010101010101ull * (i % 250 + 1);
	uint8_t *buf = missing(i, 8 + i % 64), want[PAGE];

	CHECK_INT(fl_store(soft, at + 64, &word, sizeof(word)), 0);
	CHECK_INT(fl_load(soft, at + 64, buf, sizeof(word)), 0);
	stamp(want, PAGE_OF(buf));
	memcpy(want + (buf - (uint8_t *)PAGE_OF(buf)), &word,
	       sizeof(word)); /* and the rest of the page is unchanged */
	CHECK(memcmp((void *)PAGE_OF(buf), want, PAGE) == 0);
}

static void test_loads(void)
{
	run(load_round);
}

static void store_round(unsigned i)
{
	uint8_t *buf = missing(i, 100), got[200];

	CHECK_INT(fl_store(soft, base + SOFT_LEN - PAGE + 1000, buf, sizeof(got)), 0);
	CHECK_INT(fl_load(soft, base + SOFT_LEN - PAGE + 1000, got, sizeof(got)), 0);
	CHECK(memcmp(got, buf, sizeof(got)) == 0 && stamped((void *)PAGE_OF(buf), PAGE_OF(buf)));
}

static void test_stores(void)
{
	run(store_round);
}

static void file_round(unsigned i)
{
	uint8_t *buf = missing(i, 0), got[PAGE];
	uint64_t offset = (uint64_t)(i % 16) * PAGE;

	if (i % 2) {
		CHECK_INT(fl_shmem_read(shmem, buf, PAGE / 2, offset), PAGE / 2);
		CHECK_INT(fl_shmem_read(shmem, got, PAGE / 2, offset), PAGE / 2);
	} else {
		CHECK_INT(fl_shmem_write(shmem, buf, PAGE / 2, offset), PAGE / 2);
		CHECK_INT(fl_load(soft, mapped + offset, got, PAGE / 2), 0);
	}
	CHECK(memcmp(got, buf, PAGE / 2) == 0);
}

static void test_files(void)
{
	run(file_round);
}

static void test_nowhere(void)
{
	char *gone, byte = 1;

	set_up();
	gone = map_pages(2);
	CHECK_INT(munmap(gone + PAGE, PAGE), 0);
	CHECK_ERR(fl_uffd_copy(soft_uffd, base, (uintptr_t)gone + PAGE, PAGE, 0, NULL), EFAULT);
	CHECK_INT(fl_store(soft, base + SOFT_LEN - PAGE, gone + PAGE, 1), SIGSEGV);
	CHECK_INT(fl_load(soft, base + SOFT_LEN - PAGE, gone + PAGE, 1), SIGSEGV);
	CHECK_INT(fl_store(soft, base + SOFT_LEN - PAGE, gone + PAGE - 4, 8), SIGSEGV);
	CHECK_ERR(fl_shmem_read(shmem, gone + PAGE, 8, 0), EFAULT);
	CHECK_ERR(fl_shmem_write(shmem, gone + PAGE, 8, 0), EFAULT);
	CHECK_INT(data_at(shmem, 0), -1); /* and nothing is there */
	CHECK_INT(fl_shmem_write(shmem, gone + PAGE - 4, 8, 0), 4);
	CHECK_ERR(fl_uffd_ioctl(soft_uffd, FL_UFFDIO_COPY, gone + PAGE), EFAULT);
	CHECK_INT(fl_store(soft, base + SOFT_LEN - PAGE, &byte, 1), 0);
	CHECK_INT(fl_mm_check(soft), 0);
}

/* ---- signals ---- */

static void load_missing(void)
{
	uint64_t word;

	fl_load(soft, base + SOFT_LEN - PAGE, missing(0, 0), sizeof(word));
}

static void read_missing(void)
{
	fl_shmem_read(shmem, missing(0, 0), sizeof(uint64_t), 0);
}

static void fill_from_missing(void)
{
	fl_uffd_copy(soft_uffd, base, (uintptr_t)missing(0, 0), PAGE, 0, NULL);
}

/*
 * SIGTERM ends a process that waits for its own buffer and has no other thread to take it, as it would end read(2).
 */
static void ended_by_sigterm(void (*wait)(void))
{
	double began = now();
	pid_t pid = fork();
	int status;

	CHECK(pid >= 0);
	if (pid == 0) {
		set_up();
		fl_store(soft, base + SOFT_LEN - PAGE, "x", 1);
		fl_shmem_write(shmem, "x", 1, 0);
		wait();
		_exit(0);
	}
	sleep_ms(300);
	CHECK_INT(kill(pid, SIGTERM), 0);
	CHECK_INT(waitpid(pid, &status, 0), pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM && now() - began < PATIENCE);
}

static void test_ends(void)
{
	ended_by_sigterm(load_missing);
	ended_by_sigterm(read_missing);
	ended_by_sigterm(fill_from_missing);
}

/* ---- waits in an in-thread handler: signals stay as they are until it returns ---- */

static void (*wait_inside)(void);
static atomic_int inside, signalled;

static enum fl_fault_action on_door(struct fl_uffd *door, const struct fl_uffd_msg *msg, void *arg)
{
	inside = 1;
	wait_inside();
	CHECK(!signalled);
	inside = 0;
	CHECK_INT(fl_uffd_zeropage(door, PAGE_OF(msg->arg.pagefault.address), PAGE, 0, NULL), 0);
	return FL_FAULT_RETRY;
}

/* The page of the soft space that load_lacking() waits for, or the process's that is to be copied from. */
static void *send_and_resolve(void *victim)
{
	static uint8_t page[PAGE] __attribute__((aligned(4096)));
	bool of_soft = wait_inside != fill_from_missing;
	struct fl_uffd *from = of_soft ? soft_uffd : uffd;
	struct uffd_msg msg;

	if (!of_soft)
		CHECK_INT(fl_uffd_poll(from, 20000), POLLIN);
	CHECK_INT(fl_uffd_read(from, &msg, sizeof(msg)), sizeof(msg));
	CHECK_INT(inside, 1);
	CHECK_INT(of_soft ? pthread_kill(*(pthread_t *)victim, SIGUSR1) : kill(getpid(), SIGTERM), 0);
	sleep_ms(500); /* a waiter checks every 100 ms for signals that are to act */
	CHECK_INT(inside, 1);
	CHECK_INT(fl_uffd_copy(from, PAGE_OF(msg.arg.pagefault.address), (uintptr_t)page, PAGE, 0, NULL), 0);
	return NULL;
}

static void wait_behind_a_door(void (*wait)(void))
{
	pthread_t self = pthread_self(), thread;
	struct fl_uffd *door;
	uint8_t *page;

	set_up();
	page = map_pages(1);
	CHECK_INT(fl_uffd_open(own, O_NONBLOCK, &door), 0);
	CHECK_INT(fl_uffd_api(door, 0, NULL), 0);
	CHECK_INT(fl_uffd_register(door, (uintptr_t)page, PAGE, MISSING, NULL), 0);
	CHECK_INT(fl_uffd_set_handler(door, on_door, NULL), 0);
	wait_inside = wait;
	thread = spawn(send_and_resolve, &self);
	CHECK_INT(peek(page), 0);
	join(thread);
}

static void load_lacking(void)
{
	uint8_t byte = 1;

	CHECK_INT(fl_load(soft, base, &byte, 1), 0);
	CHECK_INT(byte, 0);
}

static void on_usr1(int sig)
{
	signalled = 1;
}

static void test_handled_afterwards(void)
{
	struct sigaction action = {.sa_handler = on_usr1};

	CHECK_INT(sigaction(SIGUSR1, &action, NULL), 0);
	wait_behind_a_door(load_lacking);
	CHECK_INT(signalled, 1);
}

static void test_blocked_all_along(void)
{
	sigset_t term, pending;

	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	CHECK_INT(pthread_sigmask(SIG_BLOCK, &term, NULL), 0);
	wait_behind_a_door(fill_from_missing);
	CHECK_INT(sigpending(&pending), 0);
	CHECK_INT(sigismember(&pending, SIGTERM), 1);
}

static const struct test tests[] = {
	{"COPY into a soft space from memory that is missing", test_fills, 120},
	{"loads into it", test_loads, 120},
	{"stores from it", test_stores, 120},
	{"a soft file is read into it, and written from it", test_files, 120},
	{"pointers that lead nowhere", test_nowhere, 60},
	{"a signal that ends the process while it waits", test_ends, 60},
	{"a signal that is handled, while an in-thread handler waits", test_handled_afterwards, 60},
	{"a signal that is blocked, while an in-thread handler waits", test_blocked_all_along, 60},
	{0},
};

int main(int argc, char **argv)
{
	return run_cases(argc, argv, tests);
}

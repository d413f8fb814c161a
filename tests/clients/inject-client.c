/* SPDX-License-Identifier: MIT */
/*
 * inject-client.c OPERATION TIMES [ARGUMENT] - tries an operation of userfaultfd(2) repeatedly, and prints for each
 * try the result, an errno's name or `ok', and the structure's result field, which held 77 before. In between, and at
 * the end, it checks that what failed has changed nothing and what succeeded is there. Knows nothing of faultline. A
 * hang ends by SIGALRM. For tool-inject.py.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/userfaultfd.h>

#define PAGE	 4096ul
#define NR_PAGES 4096ul

static int times, argument;
static int uffd;
static char *mem, *source; /* NR_PAGES each; page i of the source begins with i */

#define CHECK(cond)                                                                                                  \
	do {                                                                                                         \
		if (!(cond)) {                                                                                       \
			printf("line %d: %s\n", __LINE__, #cond);                                                    \
			fflush(stdout);                                                                              \
			_exit(1);                                                                                    \
		}                                                                                                    \
	} while (0)

static void say(bool ok, long long field)
{
	printf("%s %lld\n", ok ? "ok" : strerrorname_np(errno), field);
}

static uint64_t addr(unsigned long page)
{
	return (uintptr_t)mem + page * PAGE;
}

static int open_object(int flags)
{
	return (int)syscall(SYS_userfaultfd, O_CLOEXEC | flags);
}

static int handshake(int fd)
{
	struct uffdio_api a = {.api = UFFD_API};

	return ioctl(fd, UFFDIO_API, &a);
}

static int do_register(uint64_t mode)
{
	struct uffdio_register r = {.range = {addr(0), NR_PAGES * PAGE}, .mode = mode};

	return ioctl(uffd, UFFDIO_REGISTER, &r);
}

static int do_copy(unsigned long page, unsigned long nr, uint64_t mode, int64_t *field)
{
	struct uffdio_copy c = {.dst = addr(page),
				.src = (uintptr_t)source + page * PAGE,
				.len = nr * PAGE,
				.mode = mode,
				.copy = 77};
	int ret = ioctl(uffd, UFFDIO_COPY, &c);

	*field = c.copy;
	return ret;
}

static int do_zeropage(unsigned long page, unsigned long nr, uint64_t mode, int64_t *field)
{
	struct uffdio_zeropage z = {.range = {addr(page), nr * PAGE}, .mode = mode, .zeropage = 77};
	int ret = ioctl(uffd, UFFDIO_ZEROPAGE, &z);

	*field = z.zeropage;
	return ret;
}

static int do_continue(unsigned long page, unsigned long nr, uint64_t mode, int64_t *field)
{
	struct uffdio_continue c = {.range = {addr(page), nr * PAGE}, .mode = mode, .mapped = 77};
	int ret = ioctl(uffd, UFFDIO_CONTINUE, &c);

	*field = c.mapped;
	return ret;
}

static void say_copy(unsigned long page)
{
	int64_t field;
	bool ok = do_copy(page, 1, 0, &field) == 0;

	say(ok, field);
}

/* An object with all of `mem` registered. */
static void set_up(int flags, uint64_t mode)
{
	uffd = open_object(flags);
	CHECK(uffd >= 0 && handshake(uffd) == 0 && do_register(mode) == 0);
}

static char *map(void)
{
	char *p = mmap(NULL, NR_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

/* The first `filled` pages are present with the right contents, and no others are. */
static void check_pages(unsigned long filled, bool zero)
{
	static unsigned char vec[NR_PAGES];

	CHECK(mincore(mem, NR_PAGES * PAGE, vec) == 0);
	for (unsigned long i = 0; i < NR_PAGES; i++) {
		CHECK((vec[i] & 1) == (i < filled));
		if (i < filled)
			CHECK(memcmp(mem + i * PAGE, zero ? (char[8]){0} : source + i * PAGE, 8) == 0);
	}
}

/* ---- objects and ranges ---- */

static void op_userfaultfd(void)
{
	for (int i = 0; i < times; i++) {
		int fd = open_object(0);

		say(fd >= 0, 0);
		if (fd >= 0)
			close(fd);
	}
}

/* The field: was the whole structure zeroed? */
static void op_api(void)
{
	uffd = open_object(0);
	for (int i = 0; i < times; i++) {
		struct uffdio_api a = {.api = UFFD_API, .ioctls = 77};
		bool ok = ioctl(uffd, UFFDIO_API, &a) == 0;

		say(ok, !a.api && !a.features && !a.ioctls);
		if (ok) {
			close(uffd);
			uffd = open_object(0);
		}
	}
}

/* If it were registered after a failure, the store would wait for ever. */
static void op_register(void)
{
	uffd = open_object(0);
	CHECK(uffd >= 0 && handshake(uffd) == 0);
	for (int i = 0; i < times; i++) {
		struct uffdio_register r = {.range = {addr(0), NR_PAGES * PAGE}, .mode = 1, .ioctls = 77};
		bool ok = ioctl(uffd, UFFDIO_REGISTER, &r) == 0;

		say(ok, r.ioctls == 77);
		if (ok)
			CHECK(ioctl(uffd, UFFDIO_UNREGISTER, &r.range) == 0);
		mem[(unsigned)i * PAGE] = (char)i;
		for (int k = 0; k <= i; k++)
			CHECK(mem[(unsigned)k * PAGE] == (char)k);
	}
}

/* If it were unregistered after a failure, the copy would fail. */
static void op_unregister(void)
{
	set_up(0, 1);
	for (int i = 0; i < times; i++) {
		struct uffdio_range r = {addr(0), NR_PAGES * PAGE};
		bool ok = ioctl(uffd, UFFDIO_UNREGISTER, &r) == 0;
		int64_t field;

		say(ok, 0);
		if (ok)
			CHECK(do_register(1) == 0);
		CHECK(do_copy((unsigned)i, 1, 0, &field) == 0);
	}
	check_pages((unsigned)times, false);
}

/* ---- fills ---- */

/* Blocks of `argument` pages, one after the other; what a short fill leaves is the next try's. */
static void fills(int (*fill)(unsigned long, unsigned long, uint64_t, int64_t *), bool zero)
{
	unsigned long block = (unsigned long)argument, filled = 0, end = block;

	set_up(0, 1);
	for (int i = 0; i < times; i++) {
		int64_t field;
		bool ok = fill(filled, end - filled, 0, &field) == 0;

		say(ok, field);
		if (field > 0 && field != 77)
			filled += (uint64_t)field / PAGE;
		if (filled == end)
			end += block;
	}
	check_pages(filled, zero);
}

static void op_copy(void)
{
	fills(do_copy, false);
}

static void op_zeropage(void)
{
	fills(do_zeropage, true);
}

/* Shared memory, all of it in the cache, through another mapping. */
static void op_continue(void)
{
	unsigned long block = (unsigned long)argument, mapped = 0;
	int file = memfd_create("inject", MFD_CLOEXEC);
	char *other;

	CHECK(file >= 0 && ftruncate(file, NR_PAGES * PAGE) == 0);
	mem = mmap(NULL, NR_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	other = mmap(NULL, NR_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	CHECK(mem != MAP_FAILED && other != MAP_FAILED);
	memcpy(other, source, NR_PAGES * PAGE);
	set_up(0, UFFDIO_REGISTER_MODE_MINOR);
	for (int i = 0; i < times; i++) {
		int64_t field;
		bool ok = do_continue(mapped, block, 0, &field) == 0;

		say(ok, field);
		CHECK(ok ? field == (int64_t)(block * PAGE) : field < 0 || field == 77);
		mapped += ok ? block : 0;
	}
	CHECK(memcmp(mem, source, mapped * PAGE) == 0);
}

/* `argument` threads at once: prints how often each result came. */
static unsigned counts[256];

static void *copies(void *arg)
{
	unsigned long page = (uintptr_t)arg;

	for (int i = 0; i < times; i++) {
		int64_t field;
		int err = do_copy(page, 1, 0, &field) ? errno : 0;

		CHECK(field == (err ? -err : (int64_t)PAGE));
		__atomic_fetch_add(&counts[err], 1, __ATOMIC_RELAXED);
		page += err ? 0 : 1;
	}
	return NULL;
}

static void op_threads(void)
{
	pthread_t t[16];

	set_up(0, 1);
	for (int i = 0; i < argument; i++)
		CHECK(pthread_create(&t[i], NULL, copies, (void *)((uintptr_t)i * NR_PAGES / 16)) == 0);
	for (int i = 0; i < argument; i++)
		pthread_join(t[i], NULL);
	for (int i = 0; i < 256; i++)
		if (counts[i])
			printf("%s %u\n", i ? strerrorname_np(i) : "ok", counts[i]);
}

/* A child continues from its parent's counts, and has its own from there on. */
static void op_fork(void)
{
	int status;

	set_up(0, 1);
	say_copy(0);
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0)
		set_up(0, 1);
	for (int i = 1; i < times; i++)
		say_copy((unsigned)i);
	fflush(stdout);
	if (pid == 0)
		_exit(0);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

/* ---- threads that wait ---- */

static uint32_t went_on;
static struct timespec went_on_at;

static void *touch(void *arg)
{
	volatile char *p = arg;

	(void)*p;
	clock_gettime(CLOCK_MONOTONIC, &went_on_at);
	__atomic_store_n(&went_on, 1, __ATOMIC_RELEASE);
	return NULL;
}

static pthread_t fault_on(unsigned long page)
{
	pthread_t t;

	went_on = 0;
	CHECK(pthread_create(&t, NULL, touch, mem + page * PAGE) == 0);
	return t;
}

static void pause_ms(long ms)
{
	nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

static void op_wake(void)
{
	struct uffd_msg msg;
	unsigned long page = 0;

	set_up(0, 1);
	pthread_t t = fault_on(0);
	CHECK(read(uffd, &msg, sizeof(msg)) == sizeof(msg));
	for (int i = 0; i < times; i++) {
		struct uffdio_range r = {addr(page), PAGE};
		int64_t field;

		if (!page || !went_on)
			(void)do_copy(page, 1, UFFDIO_COPY_MODE_DONTWAKE, &field);
		bool ok = ioctl(uffd, UFFDIO_WAKE, &r) == 0;
		say(ok, 0);
		if (ok) {
			pthread_join(t, NULL);
			t = fault_on(++page);
			CHECK(read(uffd, &msg, sizeof(msg)) == sizeof(msg) &&
			      msg.arg.pagefault.address == addr(page));
		} else {
			pause_ms(2);
			CHECK(!__atomic_load_n(&went_on, __ATOMIC_ACQUIRE));
		}
	}
}

static void *store(void *arg)
{
	*(volatile char *)arg = 1;
	return NULL;
}

/* At the end a store waits if the last success was to protect, and otherwise does not. */
static void op_writeprotect(void)
{
	struct uffd_msg msg;
	bool protected = false;
	int64_t field;
	pthread_t t;

	set_up(O_NONBLOCK, 3);
	CHECK(do_copy(0, 1, 0, &field) == 0);
	for (int i = 0; i < times; i++) {
		struct uffdio_writeprotect w = {.range = {addr(0), PAGE}, .mode = protected ? 0 : 1};
		bool ok = ioctl(uffd, UFFDIO_WRITEPROTECT, &w) == 0;

		say(ok, 0);
		protected ^= ok;
	}
	CHECK(pthread_create(&t, NULL, store, mem) == 0);
	if (!protected) {
		pthread_join(t, NULL);
		return;
	}
	CHECK(poll(&(struct pollfd){.fd = uffd, .events = POLLIN}, 1, 10000) == 1);
	CHECK(read(uffd, &msg, sizeof(msg)) == sizeof(msg) && (msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP));
}

#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif

/* The number of pages, from the first on, that /proc/self/pagemap shows as protected before the first that is not. */
static unsigned long marked(void)
{
	static uint64_t words[NR_PAGES];
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	unsigned long n = 0;

	CHECK(fd >= 0 && pread(fd, words, sizeof(words), (off_t)(addr(0) / PAGE * 8)) == sizeof(words));
	close(fd);
	while (n < NR_PAGES && (words[n] & 1ull << 57))
		n++;
	for (unsigned long i = n; i < NR_PAGES; i++)
		CHECK(!(words[i] & 1ull << 57));
	return n;
}

/* Protect memory that is not present, which takes page tables. */
static void op_mark(void)
{
	struct uffdio_api a = {.api = UFFD_API, .features = UFFD_FEATURE_WP_UNPOPULATED};

	uffd = open_object(O_NONBLOCK);
	CHECK(uffd >= 0 && ioctl(uffd, UFFDIO_API, &a) == 0 && do_register(2) == 0);
	for (int i = 0; i < times; i++) {
		struct uffdio_writeprotect w = {.range = {addr(0), NR_PAGES * PAGE}, .mode = 1};
		bool ok = ioctl(uffd, UFFDIO_WRITEPROTECT, &w) == 0;

		say(ok, 0);
		CHECK((marked() == NR_PAGES) == ok);
		if (!ok)
			continue;
		w.mode = 0;
		CHECK(ioctl(uffd, UFFDIO_WRITEPROTECT, &w) == 0 && marked() == 0);
		CHECK(munmap(mem, NR_PAGES * PAGE) == 0); /* so that the next try needs tables again */
		mem = map();
		CHECK(do_register(2) == 0);
	}
}

/* ---- messages ---- */

static void resolve(const struct uffd_msg *msg)
{
	say_copy((msg->arg.pagefault.address - addr(0)) / PAGE);
}

/* `argument` 1: the object blocks. No message is lost: the thread continues in the end. */
static void op_read(void)
{
	unsigned long page = 0;

	set_up(argument ? 0 : O_NONBLOCK, 1);
	pthread_t t = fault_on(page);
	for (int i = 0; i < times; i++) {
		struct uffd_msg msg;
		int64_t field;

		if (!argument)
			CHECK(poll(&(struct pollfd){.fd = uffd, .events = POLLIN}, 1, 10000) == 1);
		bool ok = read(uffd, &msg, sizeof(msg)) == sizeof(msg);
		say(ok, 0);
		if (!ok)
			continue;
		CHECK(msg.arg.pagefault.address == addr(page) && do_copy(page, 1, 0, &field) == 0);
		pthread_join(t, NULL);
		t = fault_on(++page);
	}
}

/* Is there a message within a moment? `how`: poll, epoll, or a read of an object that blocks. */
static bool next_message(int how, struct uffd_msg *msg, int timeout)
{
	static int ep = -1;
	struct epoll_event e = {.events = EPOLLIN};

	if (how == 1 && ep < 0) {
		ep = epoll_create1(0);
		CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, uffd, &e) == 0);
	}
	if (how == 0 && poll(&(struct pollfd){.fd = uffd, .events = POLLIN}, 1, timeout) != 1)
		return false;
	if (how == 1 && epoll_wait(ep, &e, 1, timeout) != 1)
		return false;
	CHECK(read(uffd, msg, sizeof(*msg)) == sizeof(*msg));
	return true;
}

/* `argument` 0: poll; 1: epoll; 2: a read of an object that blocks, where each message must come twice. */
static void op_twice(void)
{
	set_up(argument == 2 ? 0 : O_NONBLOCK, 1);
	for (int i = 0; i < times; i++) {
		pthread_t t = fault_on((unsigned)i);
		struct uffd_msg first, again;

		CHECK(next_message(argument, &first, 10000));
		CHECK(first.arg.pagefault.address == addr((unsigned)i));
		resolve(&first);
		pthread_join(t, NULL);
		while (next_message(argument, &again, 50)) {
			CHECK(memcmp(&first, &again, sizeof(first)) == 0);
			resolve(&again);
			if (argument == 2)
				break;
		}
	}
	check_pages((unsigned)times, false);
}

/* The same in one read. The field: how many messages. */
static void op_batch(void)
{
	set_up(0, 1);
	for (int i = 0; i < times; i++) {
		pthread_t t = fault_on((unsigned)i);
		struct uffd_msg msg[4];
		ssize_t n = read(uffd, msg, sizeof(msg));
		int64_t field;

		say(n > 0, n / (ssize_t)sizeof(*msg));
		CHECK(n == sizeof(*msg) || memcmp(&msg[0], &msg[1], sizeof(*msg)) == 0);
		CHECK(do_copy((unsigned)i, 1, 0, &field) == 0);
		pthread_join(t, NULL);
	}
	check_pages((unsigned)times, false);
}

/* The field: did the thread continue `argument` ms or more after it was woken? A busy machine may delay it, too. */
static void op_delay(void)
{
	set_up(0, 1);
	for (int i = 0; i < times; i++) {
		pthread_t t = fault_on((unsigned)i);
		struct timespec before;
		struct uffd_msg msg;
		int64_t field;

		CHECK(read(uffd, &msg, sizeof(msg)) == sizeof(msg));
		clock_gettime(CLOCK_MONOTONIC, &before);
		CHECK(do_copy((unsigned)i, 1, 0, &field) == 0);
		pthread_join(t, NULL);
		long ms =
			(went_on_at.tv_sec - before.tv_sec) * 1000 + (went_on_at.tv_nsec - before.tv_nsec) / 1000000;
		say(true, ms >= argument);
	}
	check_pages((unsigned)times, false);
}

/* MADV_COLLAPSE of 2 MiB of a memfd that hold data: the next call finds what a failed one has left. */
static void op_collapse(void)
{
	const size_t huge = 2 << 20;
	int file = memfd_create("inject", MFD_CLOEXEC);

	CHECK(file >= 0 && ftruncate(file, (off_t)huge) == 0);
	mem = mmap((void *)0x2a0000000000, huge, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, file, 0);
	CHECK(mem == (void *)0x2a0000000000);
	memset(mem, 'x', huge);
	uffd = open_object(0);
	CHECK(uffd >= 0 && handshake(uffd) == 0);
	struct uffdio_register r = {.range = {addr(0), huge}, .mode = UFFDIO_REGISTER_MODE_MISSING};
	CHECK(ioctl(uffd, UFFDIO_REGISTER, &r) == 0);
	for (int i = 0; i < times; i++) {
		bool ok = madvise(mem, huge, 25 /* MADV_COLLAPSE */) == 0;

		say(ok, 0);
		for (size_t at = 0; at < huge; at += PAGE)
			CHECK(mem[at] == 'x');
	}
}

static const struct {
	const char *name;
	void (*run)(void);
} operations[] = {
	{"userfaultfd", op_userfaultfd},
	{"api", op_api},
	{"register", op_register},
	{"unregister", op_unregister},
	{"copy", op_copy},
	{"zeropage", op_zeropage},
	{"continue", op_continue},
	{"threads", op_threads},
	{"fork", op_fork},
	{"wake", op_wake},
	{"mark", op_mark},
	{"writeprotect", op_writeprotect},
	{"read", op_read},
	{"twice", op_twice},
	{"batch", op_batch},
	{"delay", op_delay},
	{"collapse", op_collapse},
};

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	times = atoi(argv[2]);
	argument = argc > 3 ? atoi(argv[3]) : 0;
	alarm(150);
	mem = map();
	source = map();
	for (unsigned long i = 0; i < NR_PAGES; i++)
		memcpy(source + i * PAGE, &(uint64_t){i + 1}, sizeof(i));
	for (size_t i = 0; i < sizeof(operations) / sizeof(*operations); i++)
		if (strcmp(operations[i].name, argv[1]) == 0) {
			operations[i].run();
			fflush(stdout);
			_exit(0); /* threads may still be waiting */
		}
	return 2;
}

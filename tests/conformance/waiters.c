/* SPDX-License-Identifier: MIT */
/* waiters.c - many waiting threads, and the end of the object they wait on. */
#include <unistd.h>

#include "conformance.h"

#define CLOSE "userfaultfd(2): the last close unregisters all ranges"
#define MANY  200

static struct touch many[MANY];

CASE(waiters_on_one_page, "userfaultfd(2)")
{
	struct area a = area(1, MISSING, 0);

	for (unsigned i = 0; i < MANY; i++)
		touch_start(&many[i], LOAD, a.mem + i, 0);
	for (unsigned i = 0; i < MANY; i++)
		expect_fault(a.u, a.mem, 0);
	fill(a.u, a.mem, 1, 7);
	for (unsigned i = 0; i < MANY; i++)
		touch_ends_with(&many[i], 7);
	CHECK(quiet(a.u));
}

CASE(waiters_unread_on_one_page, "userfaultfd(2)")
{
	struct area a = area(1, MISSING, 0);

	for (unsigned i = 0; i < MANY; i++)
		touch_start(&many[i], LOAD, a.mem + i, 0);
	fill(a.u, a.mem, 1, 7);
	for (unsigned i = 0; i < MANY; i++)
		touch_ends_with(&many[i], 7);
	CHECK(quiet(a.u));
}

CASE(waiters_on_pages_of_their_own, "userfaultfd(2)")
{
	struct area a = area(MANY, MISSING, 0);
	uint64_t src = source(MANY, 0);

	for (unsigned i = 0; i < MANY; i++)
		touch_start(&many[i], STORE, a.mem + i * PAGE, 1);
	for (unsigned i = 0; i < MANY; i++) {
		struct fl_uffd_msg msg = next_msg(a.u);
		uint64_t at = msg.arg.pagefault.address;

		CHECK_OK(copy(a.u, at, src + (at - a.mem), PAGE, 0, NULL));
	}
	for (unsigned i = 0; i < MANY; i++) {
		CHECK_OK(touch_end(&many[i]));
		CHECK_EQ(peek(a.mem + i * PAGE), 1);
		CHECK_EQ(peek(a.mem + i * PAGE + 1), (uint8_t)i);
	}
}

CASE(waiters_released_by_one_large_copy, "userfaultfd(2)")
{
	struct area a = area(MANY, MISSING, 0);

	for (unsigned i = 0; i < MANY; i++)
		touch_start(&many[i], LOAD, a.mem + i * PAGE, 0);
	for (unsigned i = 0; i < MANY; i++)
		next_msg(a.u);
	fill(a.u, a.mem, MANY, 0);
	for (unsigned i = 0; i < MANY; i++)
		touch_ends_with(&many[i], (uint8_t)i);
	CHECK(quiet(a.u));
}

CASE(waiters_of_both_kinds, "userfaultfd(2): both modes")
{
	struct area a = area(2, MISSING | WP, 0);
	struct touch missing, wp;

	fill(a.u, a.mem, 1, 1);
	CHECK_OK(protect(a.u, a.mem, PAGE, FL_UFFDIO_WRITEPROTECT_MODE_WP));
	touch_start(&wp, STORE, a.mem, 2);
	expect_fault(a.u, a.mem, FL_UFFD_PAGEFAULT_FLAG_WP | FL_UFFD_PAGEFAULT_FLAG_WRITE);
	touch_start(&missing, LOAD, a.mem + PAGE, 0);
	expect_fault(a.u, a.mem + PAGE, 0);
	fill(a.u, a.mem + PAGE, 1, 3);
	touch_ends_with(&missing, 3);
	CHECK(touch_waits(&wp));
	CHECK_OK(protect(a.u, a.mem, PAGE, 0));
	CHECK_OK(touch_end(&wp));
}

static struct area torn;
static atomic_bool torn_stop;

static void *torn_reader(void *arg)
{
	for (unsigned i = 0; i < 64 && !atomic_load(&torn_stop); i++) {
		uint8_t page[PAGE];

		if (T->load(torn.mem + i * PAGE, page, PAGE))
			return &torn;
		for (unsigned j = 0; j < PAGE; j++)
			if (page[j] != 0x80 + i)
				return &torn;
	}
	return NULL;
}

CASE(waiters_see_whole_pages, "ioctl_userfaultfd(2) UFFDIO_COPY: atomically")
{
	pthread_t readers[2];
	uint64_t src = source(64, 0x80);

	torn = area(64, MISSING, 0);
	for (unsigned r = 0; r < 2; r++)
		CHECK_OK(pthread_create(&readers[r], NULL, torn_reader, NULL));
	for (unsigned i = 0; i < 64; i++)
		CHECK_OK(copy(torn.u, torn.mem + i * PAGE, src + i * PAGE, PAGE, 0, NULL));
	for (unsigned r = 0; r < 2; r++) {
		void *failed;

		CHECK_OK(pthread_join(readers[r], &failed));
		CHECK(!failed);
	}
}

struct racer {
	struct area a;
	uint64_t src;
	_Atomic unsigned filled, existing;
};

static void *racer_run(void *arg)
{
	struct racer *r = arg;

	for (unsigned i = 0; i < 256; i++) {
		int ret = copy(r->a.u, r->a.mem + i * PAGE, r->src, PAGE, 0, NULL);

		if (!ret)
			atomic_fetch_add(&r->filled, 1);
		else if (ret == -EEXIST)
			atomic_fetch_add(&r->existing, 1);
	}
	return NULL;
}

CASE(waiters_racing_copies, "kernel 6.18, observed: one of two copies of a page wins, the other gets EEXIST")
{
	struct racer r = {.a = area(256, MISSING, 0), .src = source(1, 1)};
	pthread_t threads[3];

	for (unsigned i = 0; i < 3; i++)
		CHECK_OK(pthread_create(&threads[i], NULL, racer_run, &r));
	for (unsigned i = 0; i < 3; i++)
		CHECK_OK(pthread_join(threads[i], NULL));
	CHECK_EQ(atomic_load(&r.filled), 256);
	CHECK_EQ(atomic_load(&r.existing), 512);
}

/* ---- close ---- */

CASE(close_releases_waiter, CLOSE)
{
	struct area a = area(1, MISSING, 0);
	struct touch t;

	touch_start(&t, LOAD, a.mem, 0xee);
	expect_fault(a.u, a.mem, 0);
	CHECK_OK(T->close(a.u));
	touch_ends_with(&t, 0);
}

CASE(close_releases_unread_waiters, CLOSE)
{
	struct area a = area(4, MISSING, 0);
	struct touch t[4];

	for (unsigned i = 0; i < 4; i++) {
		touch_start(&t[i], STORE, a.mem + i * PAGE, 3);
		CHECK(touch_waits(&t[i]));
	}
	CHECK_OK(T->close(a.u));
	for (unsigned i = 0; i < 4; i++) {
		CHECK_OK(touch_end(&t[i]));
		CHECK_EQ(peek(a.mem + i * PAGE), 3);
	}
}

CASE(close_releases_wp_waiter, CLOSE)
{
	struct area a = {uffd(0), source(1, 1)};
	struct touch t;

	CHECK_OK(reg(a.u, a.mem, PAGE, WP));
	CHECK_OK(protect(a.u, a.mem, PAGE, FL_UFFDIO_WRITEPROTECT_MODE_WP));
	touch_start(&t, STORE, a.mem, 2);
	expect_fault(a.u, a.mem, FL_UFFD_PAGEFAULT_FLAG_WP | FL_UFFD_PAGEFAULT_FLAG_WRITE);
	CHECK_OK(T->close(a.u));
	CHECK_OK(touch_end(&t));
	CHECK_EQ(peek(a.mem), 2);
}

CASE(close_releases_kernel_access, CLOSE)
{
	struct area a = area(1, MISSING, 0);
	struct touch t;

	touch_start(&t, KERNEL_READ, a.mem, 0xee);
	expect_fault(a.u, a.mem, 0);
	CHECK_OK(T->close(a.u));
	touch_ends_with(&t, 0);
}

CASE(close_unregisters, CLOSE)
{
	struct area a = area(2, MISSING, 0);
	uffd_t other = uffd(0);

	fill(a.u, a.mem, 1, 4);
	CHECK_OK(T->close(a.u));
	CHECK_EQ(peek(a.mem), 4);
	CHECK_EQ(peek(a.mem + PAGE), 0);
	CHECK_OK(reg(other, a.mem, 2 * PAGE, MISSING));
}

CASE(close_leaves_others, CLOSE)
{
	struct area a = area(1, MISSING, 0), b = area(1, MISSING, 0);

	CHECK_OK(T->close(a.u));
	expect_missing(b.u, b.mem);
}

CASE(close_without_handshake, CLOSE)
{
	CHECK_OK(T->close(T->open(0)));
}

CASE_ON(close_bad_descriptor, ON_LIBC, DESCRIPTOR, "close(2), EBADF; ioctl(2), EBADF")
{
	struct area a = area(1, MISSING, 0);

	CHECK_OK(T->close(a.u));
	CHECK_EQ(T->close(a.u), -EBADF);
	CHECK_EQ(reg(a.u, a.mem, PAGE, MISSING), -EBADF);
	CHECK_EQ(T->read(a.u, &a, sizeof(a)), -EBADF);
}

CASE_ON(close_one_of_two_descriptors, ON_LIBC, DESCRIPTOR, CLOSE)
{
	struct area a = area(2, MISSING, 0);
	int second = dup((int)a.u);
	struct touch t;

	touch_start(&t, LOAD, a.mem, 0xee);
	expect_fault(a.u, a.mem, 0);
	CHECK_OK(T->close(a.u));
	CHECK(touch_waits(&t));
	fill(second, a.mem, 1, 6);
	touch_ends_with(&t, 6);
	expect_missing(second, a.mem + PAGE);
	touch_start(&t, LOAD, a.mem, 0xee);
	touch_ends_with(&t, 6);
	CHECK_OK(T->close(second));
}

CASE_ON(close_by_dup2, ON_LIBC, DESCRIPTOR, CLOSE)
{
	struct area a = area(1, MISSING, 0);
	struct touch t;

	touch_start(&t, LOAD, a.mem, 0xee);
	expect_fault(a.u, a.mem, 0);
	CHECK_EQ(dup2(0, (int)a.u), a.u);
	touch_ends_with(&t, 0);
}

static atomic_bool about_to_read;

static void *blocked_read(void *arg)
{
	struct fl_uffd_msg msg;

	atomic_store(&about_to_read, true);
	return T->read(*(uffd_t *)arg, &msg, sizeof(msg)) == sizeof(msg) ? NULL : arg;
}

CASE_ON(close_while_another_thread_reads, ON_LIBC, DESCRIPTOR,
	"kernel 6.18, observed: a read that blocks keeps the object, and gets its message")
{
	struct area a = area(1, MISSING, 0);
	pthread_t reader;
	struct touch t;
	void *failed;

	CHECK_OK(T->nonblock(a.u, 0));
	atomic_store(&about_to_read, false);
	CHECK_OK(pthread_create(&reader, NULL, blocked_read, &a.u));
	while (!atomic_load(&about_to_read))
		pause_ms(1);
	pause_ms(200);
	CHECK_OK(T->close(a.u));
	touch_start(&t, LOAD, a.mem, 0xee);
	CHECK_OK(pthread_join(reader, &failed));
	CHECK(!failed);
	touch_ends_with(&t, 0);
}

CASE_ON(close_shared_nonblock, ON_LIBC, DESCRIPTOR, "fcntl(2): status flags belong to the open file description")
{
	struct area a = area(1, MISSING, 0);
	int second = dup((int)a.u);

	CHECK_OK(T->nonblock(second, 0));
	CHECK_EQ(fcntl((int)a.u, F_GETFL) & O_NONBLOCK, 0);
	CHECK_EQ(T->poll(a.u, 0), POLLERR);
}

CASE_ON(descriptor_dup_reads_same_queue, ON_LIBC, DESCRIPTOR, "dup(2)")
{
	struct area a = area(2, MISSING, 0);
	int second = fcntl((int)a.u, F_DUPFD_CLOEXEC, 100);
	struct touch t[2];

	CHECK(second >= 100);
	for (unsigned i = 0; i < 2; i++) {
		touch_start(&t[i], LOAD, a.mem + i * PAGE, 0);
		CHECK(touch_waits(&t[i]));
	}
	expect_fault(second, a.mem, 0);
	expect_fault(a.u, a.mem + PAGE, 0);
	CHECK(quiet(second));
}

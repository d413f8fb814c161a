/* SPDX-License-Identifier: MIT */
/*
 * threads.c - threads whose stack is registered or small, and those that libc starts by itself. The kernel writes to
 * such stacks, too: it ends a thread there, and counts where it runs.
 */
#include <mqueue.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "conformance.h"

#define SEEN	      "kernel 6.18, observed"
#define LIBC(fn, src) CASE_ON(fn, ON_LIBC, PROCESS, src)
#define STACK	      64u /* pages */

/* ---- a handler that fills with 7, and un-protects ---- */

static void *serve(void *arg)
{
	uffd_t u = *(uffd_t *)arg;

	for (;;) {
		struct fl_uffd_msg msg;
		uint64_t page;

		if (T->poll(u, 100) != 1)
			continue;
		msg = next_msg(u);
		page = msg.arg.pagefault.address & ~(PAGE - 1);
		if (msg.arg.pagefault.flags & FL_UFFD_PAGEFAULT_FLAG_WP)
			CHECK_OK(protect(u, page, PAGE, 0));
		else
			copy(u, page, source(1, 7), PAGE, 0, NULL);
	}
	return NULL;
}

static void served(uffd_t *u)
{
	pthread_t t;

	CHECK_OK(pthread_create(&t, NULL, serve, u));
}

static pthread_t start_on(uint64_t stack, void *(*fn)(void *), void *arg)
{
	pthread_attr_t attr;
	pthread_t t;

	CHECK_OK(pthread_attr_init(&attr));
	CHECK_OK(pthread_attr_setstack(&attr, (void *)(uintptr_t)stack, STACK * PAGE));
	CHECK_OK(pthread_create(&t, &attr, fn, arg));
	CHECK_OK(pthread_attr_destroy(&attr));
	return t;
}

/* ---- stacks of the program's ---- */

static atomic_bool stop;

static void *runs(void *arg)
{
	while (!atomic_load(&stop))
		sched_yield();
	return arg;
}

LIBC(thread_on_a_protected_stack, SEEN ": it runs, and is joined")
{
	static struct area a;
	int value;
	void *ret;

	a = area(STACK, WP, 0);
	for (unsigned i = 0; i < STACK; i++)
		CHECK_EQ(poke(a.mem + i * PAGE, 1), 0);
	served(&a.u);
	for (unsigned i = 0; i < 5; i++) {
		pthread_t t;

		atomic_store(&stop, false);
		t = start_on(a.mem, runs, &value);
		for (unsigned k = 0; k < 20; k++) {
			CHECK_OK(protect(a.u, a.mem, STACK * PAGE, FL_UFFDIO_WRITEPROTECT_MODE_WP));
			pause_ms(1);
		}
		atomic_store(&stop, true);
		CHECK_OK(protect(a.u, a.mem, STACK * PAGE, FL_UFFDIO_WRITEPROTECT_MODE_WP));
		CHECK_OK(pthread_join(t, &ret));
		CHECK(ret == &value);
	}
}

LIBC(thread_on_a_missing_stack, SEEN)
{
	static struct area a;
	void *ret;

	a = area(STACK, MISSING, 0);
	served(&a.u);
	atomic_store(&stop, true);
	CHECK_OK(pthread_join(start_on(a.mem, runs, &a), &ret));
	CHECK(ret == &a);
}

static void note_cleanup(void *arg)
{
	atomic_store((atomic_bool *)arg, true);
}

static void *exits(void *arg)
{
	pthread_cleanup_push(note_cleanup, arg);
	pthread_exit(arg);
	pthread_cleanup_pop(0);
	return NULL;
}

LIBC(thread_exits_on_its_stack, "pthread_exit(3): cleanup handlers run")
{
	static atomic_bool cleaned;
	void *ret;

	CHECK_OK(pthread_join(start_on(map(STACK), exits, &cleaned), &ret));
	CHECK(ret == &cleaned);
	CHECK(atomic_load(&cleaned));
}

static void *sleeps(void *arg)
{
	pthread_cleanup_push(note_cleanup, arg);
	for (;;)
		pause();
	pthread_cleanup_pop(0);
	return NULL;
}

LIBC(thread_is_cancelled_on_its_stack, "pthread_cancel(3)")
{
	static atomic_bool cleaned;
	pthread_t t = start_on(map(STACK), sleeps, &cleaned);
	void *ret;

	CHECK_OK(pthread_cancel(t));
	CHECK_OK(pthread_join(t, &ret));
	CHECK(ret == PTHREAD_CANCELED);
}

static void *finds_stack(void *arg)
{
	uint64_t stack = *(uint64_t *)arg;
	pthread_attr_t attr;
	void *base;
	size_t size;

	CHECK_OK(pthread_getattr_np(pthread_self(), &attr));
	CHECK_OK(pthread_attr_getstack(&attr, &base, &size));
	CHECK_OK(pthread_attr_destroy(&attr));
	CHECK_EQ((uintptr_t)base, stack);
	CHECK_EQ(size, STACK * PAGE);
	CHECK((uintptr_t)&attr >= stack && (uintptr_t)&attr < stack + STACK * PAGE);
	return NULL;
}

LIBC(thread_knows_its_stack, "pthread_getattr_np(3)")
{
	uint64_t stack = map(STACK);

	CHECK_OK(pthread_join(start_on(stack, finds_stack, &stack), NULL));
}

/* ---- coroutines ---- */

static ucontext_t back, there;
static uint64_t touched;
static int loaded;

static void loads_deep(void)
{
	volatile char deep[1024];

	deep[0] = 1;
	loaded = *(volatile uint8_t *)(uintptr_t)touched + deep[0];
}

static void coroutine(uint64_t stack, unsigned pages)
{
	loaded = 0;
	CHECK_OK(getcontext(&there));
	there.uc_stack.ss_sp = (void *)(uintptr_t)stack;
	there.uc_stack.ss_size = pages * PAGE;
	there.uc_link = &back;
	makecontext(&there, loads_deep, 0);
	CHECK_OK(swapcontext(&back, &there));
	CHECK_EQ(loaded, 8);
}

static void *in_thread(void *arg)
{
	coroutine(*(uint64_t *)arg, 2);
	return NULL;
}

LIBC(coroutine_on_a_small_stack, "userfaultfd(2): a fault needs no stack")
{
	static struct area a;
	uint64_t stack = map(2);
	pthread_t t;

	a = area(2, MISSING, 0);
	served(&a.u);
	touched = a.mem;
	coroutine(stack, 2);
	touched = a.mem + PAGE;
	CHECK_OK(pthread_create(&t, NULL, in_thread, &stack));
	CHECK_OK(pthread_join(t, NULL));
}

LIBC(coroutine_on_a_registered_stack, SEEN)
{
	static struct area a, stack;

	a = area(1, MISSING, 0);
	served(&a.u);
	stack = area(STACK, MISSING, 0);
	served(&stack.u);
	touched = a.mem;
	coroutine(stack.mem, STACK);
}

/* ---- threads that libc starts ---- */

static atomic_int seen;

static void loads(union sigval value)
{
	atomic_store(&seen, *(volatile uint8_t *)value.sival_ptr);
}

static struct sigevent event(uint64_t addr)
{
	return (struct sigevent){
		.sigev_notify = SIGEV_THREAD,
		.sigev_notify_function = loads,
		.sigev_value.sival_ptr = (void *)(uintptr_t)addr,
	};
}

static void sees_7(void)
{
	for (int ms = 0; !atomic_load(&seen); ms++) {
		CHECK(ms < 5000);
		pause_ms(1);
	}
	CHECK_EQ(atomic_load(&seen), 7);
}

LIBC(timer_thread_faults, "sigevent(7): SIGEV_THREAD")
{
	static struct area a;
	struct sigevent ev;
	timer_t timer;

	a = area(1, MISSING, 0);
	served(&a.u);
	ev = event(a.mem);
	CHECK_OK(timer_create(CLOCK_MONOTONIC, &ev, &timer));
	CHECK_OK(timer_settime(timer, 0, &(struct itimerspec){.it_value.tv_nsec = 1000000}, NULL));
	sees_7();
}

LIBC(mq_thread_faults, "mq_notify(3): SIGEV_THREAD")
{
	static struct area a;
	struct sigevent ev;
	char name[40];
	mqd_t q;

	snprintf(name, sizeof(name), "/faultline-%d", (int)getpid());
	q = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, NULL);
	if (q < 0)
		skip("no message queues");
	mq_unlink(name);
	a = area(1, MISSING, 0);
	served(&a.u);
	ev = event(a.mem);
	CHECK_OK(mq_notify(q, &ev));
	CHECK_OK(mq_send(q, "a", 1, 0));
	sees_7();
}

/* SPDX-License-Identifier: MIT */
/*
 * thread.c - threads, as they begin. A new thread runs code of libc's with all signals blocked, and the kernel writes
 * into its thread control block whenever it likes: a hidden page is in the way of both. glibc puts this block on top
 * of the stack, so a thread that is to run on memory of the program's is started on a stack of libc's, and changes to
 * the program's for the program's function.
 */
#include "preload/preload.h"

#include <mqueue.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <ucontext.h>

#define LIBC_STACK (256u * 1024) /* for libc, thread-local storage, and handlers that run before the change */

/* What a new thread is to do. Given back by it, and linked while it runs if its stack is the program's. */
struct start {
	void *(*fn)(void *);
	void *arg;
	char *base; /* NULL: it runs on libc's stack */
	size_t size;
	pthread_t self; /* 0: not known yet */
	struct start *next;
};

/*
 * Those given back are for the next thread that is made: free() would give the new thread an arena of malloc's, 64
 * MiB of addresses in a program whose threads may never need one.
 */
static struct start *starts, *spare;
static struct fl_mutex starts_lock;

static uint64_t lock(void)
{
	uint64_t signals = fl_host_sigblock(FL_SIGNALS_MASK);

	fl_mutex_lock(&starts_lock);
	return signals;
}

static void unlock(uint64_t signals)
{
	fl_mutex_unlock(&starts_lock);
	fl_host_sigmask(signals);
}

void fl_threads_after_fork(void)
{
	starts_lock = (struct fl_mutex){0};
}

/* NULL: no memory */
static struct start *take(void)
{
	uint64_t signals = lock();
	struct start *start = spare;

	if (start)
		spare = start->next;
	unlock(signals);
	return start ? start : malloc(sizeof(*start));
}

static void give_back(struct start *start)
{
	uint64_t signals = lock();

	start->next = spare;
	spare = start;
	unlock(signals);
}

static void add(struct start *start)
{
	uint64_t signals = lock();

	start->next = starts;
	starts = start;
	unlock(signals);
}

static void end(void *arg)
{
	struct start *start = arg;
	uint64_t signals = lock();

	for (struct start **at = &starts; *at; at = &(*at)->next)
		if (*at == start) {
			*at = start->next;
			break;
		}
	unlock(signals);
	give_back(start);
}

/* It may have ended by now. */
static void set_self(struct start *start, pthread_t self)
{
	uint64_t signals = lock();

	for (struct start *s = starts; s; s = s->next)
		if (s == start)
			s->self = self;
	unlock(signals);
}

/* ---- on the program's stack ---- */

struct run {
	ucontext_t back, there;
	struct start *start;
	void *ret;
};

static void enter(unsigned high, unsigned low)
{
	struct run *run = fl_ptr((uint64_t)high << 32 | low);

	run->ret = run->start->fn(run->start->arg);
}

/* pthread_exit() unwinds as far as enter(), and goes on on libc's stack by itself. */
static void *run_there(struct start *start)
{
	struct run run = {.start = start};

	if (getcontext(&run.there))
		return NULL;
	run.there.uc_stack.ss_sp = start->base;
	run.there.uc_stack.ss_size = start->size;
	run.there.uc_link = &run.back;
	makecontext(&run.there, (void (*)(void))(void *)enter, 2, (unsigned)(fl_addr(&run) >> 32),
		    (unsigned)fl_addr(&run));
	swapcontext(&run.back, &run.there);
	return run.ret;
}

static void *start_thread(void *arg)
{
	struct start *start = arg;
	void *ret;

	fl_stack_own();
	if (!start->base) {
		struct start copy = *start;

		give_back(start);
		return copy.fn(copy.arg);
	}
	set_self(start, pthread_self());
	pthread_cleanup_push(end, start);
	ret = run_there(start);
	pthread_cleanup_pop(1);
	return ret;
}

/* ---- creation ---- */

/* All that the program asked for, but its stack. 0 or an error number */
static int without_stack(pthread_attr_t *to, const pthread_attr_t *attr)
{
	struct sched_param param;
	cpu_set_t cpus;
	sigset_t mask;
	int value, err = pthread_attr_init(to);

	if (err)
		return err;
	pthread_attr_setstacksize(to, LIBC_STACK);
	if (!pthread_attr_getdetachstate(attr, &value))
		pthread_attr_setdetachstate(to, value);
	if (!pthread_attr_getinheritsched(attr, &value))
		pthread_attr_setinheritsched(to, value);
	if (!pthread_attr_getschedpolicy(attr, &value))
		pthread_attr_setschedpolicy(to, value);
	if (!pthread_attr_getschedparam(attr, &param))
		pthread_attr_setschedparam(to, &param);
	if (!pthread_attr_getaffinity_np(attr, sizeof(cpus), &cpus) && CPU_COUNT(&cpus) < CPU_SETSIZE)
		err = pthread_attr_setaffinity_np(to, sizeof(cpus), &cpus);
	if (!err && FL_FIND(pthread_attr_getsigmask_np) && !FL_FIND(pthread_attr_getsigmask_np)(attr, &mask))
		err = FL_FIND(pthread_attr_setsigmask_np)(to, &mask);
	return err;
}

static int create(pthread_t *thread, const pthread_attr_t *attr, struct start *start)
{
	pthread_attr_t own;
	int err;

	if (!start->base)
		return FL_FIND(pthread_create)(thread, attr, start_thread, start);
	err = without_stack(&own, attr);
	if (err)
		return err == EINVAL ? err : EAGAIN;
	add(start);
	err = FL_FIND(pthread_create)(thread, &own, start_thread, start);
	pthread_attr_destroy(&own);
	if (!err)
		set_self(start, *thread);
	return err;
}

FL_EXPORT int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict attr, void *(*fn)(void *),
			     void *restrict arg)
{
	struct start *start = take();
	void *base = NULL;
	size_t size = 0;
	int err;

	if (!start)
		return EAGAIN;
	*start = (struct start){.fn = fn, .arg = arg};
	/* if no stack was given, it ends at 0 */
	if (attr && !pthread_attr_getstack(attr, &base, &size) && fl_addr(base) + size != 0) {
		start->base = base;
		start->size = size;
	}
	err = create(thread, attr, start);
	if (err)
		end(start);
	return err;
}

FL_EXPORT int pthread_getattr_np(pthread_t thread, pthread_attr_t *attr)
{
	int err = FL_FIND(pthread_getattr_np)(thread, attr);
	uint64_t signals;
	void *base = NULL;
	size_t size = 0;

	if (err)
		return err;
	signals = lock();
	for (const struct start *s = starts; s; s = s->next)
		if (s->self == thread) {
			base = s->base;
			size = s->size;
		}
	unlock(signals);
	return base ? pthread_attr_setstack(attr, base, size) : 0;
}

/* ---- threads that libc makes for SIGEV_THREAD, with all signals blocked ---- */

/* Never freed, as a timer's thread may begin after the timer is gone; so each is used again for the same function. */
struct notify {
	void (*fn)(union sigval value);
	union sigval value;
	struct notify *next;
};

static struct notify *notifies; /* [a] only grows */

static void notified(union sigval value)
{
	const struct notify *n = value.sival_ptr;
	uint64_t mask = fl_host_sigblock(0);

	fl_host_sigmask(fl_mask_to_host(mask)); /* blocked for the program, but not at the host */
	fl_stack_own();
	n->fn(n->value);
}

/* NULL: no memory */
static struct notify *notify_of(const struct sigevent *ev)
{
	struct notify *n = __atomic_load_n(&notifies, __ATOMIC_ACQUIRE);

	while (n && (n->fn != ev->sigev_notify_function || n->value.sival_ptr != ev->sigev_value.sival_ptr))
		n = n->next;
	if (n)
		return n;
	n = malloc(sizeof(*n));
	if (!n)
		return NULL;
	*n = (struct notify){ev->sigev_notify_function, ev->sigev_value, NULL};
	n->next = __atomic_load_n(&notifies, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&notifies, &n->next, n, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
	return n;
}

/* What libc is to be told: `*ev` itself, or `own` in its place. NULL: errno is set. */
static const struct sigevent *event_for(const struct sigevent *ev, struct sigevent *own)
{
	struct notify *n;

	if (!ev)
		return ev;
	*own = *ev; /* libc itself reads it, in user mode */
	if (own->sigev_notify != SIGEV_THREAD)
		return own;
	n = notify_of(own);
	if (!n) {
		errno = EAGAIN;
		return NULL;
	}
	own->sigev_notify_function = notified;
	own->sigev_value.sival_ptr = n;
	return own;
}

FL_EXPORT int timer_create(clockid_t clock, struct sigevent *restrict ev, timer_t *restrict timer)
{
	struct sigevent own;
	const struct sigevent *event = event_for(ev, &own);

	if (ev && !event)
		return -1;
	return FL_RETRY(int, FL_FIND(timer_create)(clock, ev ? &own : NULL, timer), fl_out(timer, sizeof(*timer)));
}

FL_EXPORT int mq_notify(mqd_t mq, const struct sigevent *ev)
{
	struct sigevent own;
	const struct sigevent *event = event_for(ev, &own);

	return ev && !event ? -1 : FL_FIND(mq_notify)(mq, event);
}

/* SPDX-License-Identifier: MIT */
/*
 * stack.c - alternate signal stacks. Our fault handler needs a few KiB of stack that is never hidden, where the
 * kernel's userfaultfd needs none. Most threads have that. A thread gets an alternate stack from the library if it is
 * created on a small stack or on memory of the program's, or if it sets a small alternate stack. sigaltstack() tells
 * it what it believes, and handlers that it wants on its small alternate stack run on our larger one.
 */
#include "preload/preload.h"

#include "host/own.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define SMALL_STACK (64u * 1024)
#define START_STACK (32u * 1024) /* what libc may use of a new thread's stack before start_thread() */

static pthread_key_t key; /* this thread's struct fl_own_stack, whether or not it is in use */

/* Room for two signal frames and for both handlers, the engine's and the program's. */
static bool small(const stack_t *ss)
{
	return ss->ss_size < 2 * (size_t)sysconf(_SC_MINSIGSTKSZ) + 8192;
}

static void own_free(void *own)
{
	stack_t none = {.ss_flags = SS_DISABLE}, is;

	fl_host_sigaltstack(NULL, &is);
	if (fl_own_stack(&is) == own)
		fl_host_sigaltstack(&none, NULL);
	fl_own_unmap(fl_addr(own), PAGE_ALIGN(FL_OWN_STACK_SIZE));
}

/* This thread's own stack. A task that shares another's TLS gets one that is never freed. */
static struct fl_own_stack *own_get(void)
{
	struct fl_own_stack *own = pthread_getspecific(key);
	int32_t tid = fl_host_tid();
	long p;

	if (own && own->tid == tid)
		return own;
	p = fl_own_map(PAGE_ALIGN(FL_OWN_STACK_SIZE), PROT_READ | PROT_WRITE);
	if (fl_host_failed(p))
		return NULL;
	own = (struct fl_own_stack *)p;
	own->tid = tid;
	own->program.ss_flags = SS_DISABLE;
	if (!pthread_getspecific(key))
		pthread_setspecific(key, own);
	return own;
}

static void own_use(struct fl_own_stack *own, const stack_t *program)
{
	stack_t ss = {.ss_sp = own, .ss_size = FL_OWN_STACK_SIZE, .ss_flags = program->ss_flags & ~SS_DISABLE};

	own->program = *program;
	fl_host_sigaltstack(&ss, NULL);
}

/* The host has the program's stack now. Replace it if it is too small. */
static void own_replace(const stack_t *program)
{
	bool enabled = !(program->ss_flags & SS_DISABLE);
	struct fl_own_stack *own = pthread_getspecific(key);

	if (enabled && small(program))
		own = own_get();
	else if (enabled || (own && !own->always))
		own = NULL;
	if (own)
		own_use(own, program);
}

FL_EXPORT int sigaltstack(const stack_t *restrict ss, stack_t *restrict old)
{
	const struct fl_own_stack *own;
	stack_t set, was;

	if (ss && fl_copy_user(&set, ss, sizeof(set))) {
		errno = EFAULT;
		return -1;
	}
	if (fl_ret(fl_host_sigaltstack(ss ? &set : NULL, &was)))
		return -1;
	own = fl_own_stack(&was);
	if (own) {
		int on = (own->program.ss_flags & SS_DISABLE) ? 0 : was.ss_flags & SS_ONSTACK;

		was = own->program;
		was.ss_flags |= on;
	}
	if (ss)
		own_replace(&set);
	if (!old || !fl_copy_user(old, &was, sizeof(was)))
		return 0;
	errno = EFAULT;
	return -1;
}

/* ---- threads ---- */

struct start {
	void *(*fn)(void *);
	void *arg;
};

static void *start_thread(void *arg)
{
	struct start start = *(struct start *)arg;
	struct fl_own_stack *own = own_get();

	free(arg);
	if (own) {
		own->always = true;
		own_use(own, &own->program);
	}
	return start.fn(start.arg);
}

/* libc starts a thread with all signals blocked, SIGSEGV among them: no hidden page may be in its way. */
static void touch_top(char *base, size_t size)
{
	char *low = size > START_STACK ? base + size - START_STACK : base;

	if (!fl_native_touches(fl_addr(low), fl_addr(base + size)))
		return;
	for (char *p = base + size - 1; p >= low; p -= fl_min((size_t)(p - low) + 1, (size_t)PAGE_SIZE))
		__atomic_fetch_or(p, 0, __ATOMIC_RELAXED);
}

FL_EXPORT int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict attr, void *(*fn)(void *),
			     void *restrict arg)
{
	void *base = NULL;
	size_t size = 0;
	struct start *start;
	bool given;
	int err;

	if (!attr || pthread_attr_getstack(attr, &base, &size))
		return FL_FIND(pthread_create)(thread, attr, fn, arg);
	given = fl_addr(base) + size != 0; /* if no stack was given, it ends at 0; a size of 0 is the default */
	if (!given && (!size || size >= SMALL_STACK))
		return FL_FIND(pthread_create)(thread, attr, fn, arg);
	start = malloc(sizeof(*start));
	if (!start)
		return EAGAIN;
	*start = (struct start){fn, arg};
	if (given)
		touch_top(base, size);
	err = FL_FIND(pthread_create)(thread, attr, start_thread, start);
	if (err)
		free(start);
	return err;
}

void fl_stack_init(void)
{
	pthread_key_create(&key, own_free);
}

/* SPDX-License-Identifier: MIT */
/*
 * stack.c - alternate signal stacks. Our fault handler needs a few KiB of stack that is never hidden, where the
 * kernel's userfaultfd needs none, and a thread may be anywhere by then: on a coroutine's few KiB, or on memory that
 * is registered. So each thread has an alternate stack from the library, unless it has a large one of its own.
 * sigaltstack() tells it what it believes, and handlers that it wants on its small alternate stack run on our larger
 * one.
 */
#include "preload/preload.h"

#include "host/own.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static char main_stack[FL_OWN_STACK_SIZE] __attribute__((aligned(PAGE_SIZE)));
static pthread_key_t key; /* this thread's struct fl_own_stack, whether or not it is in use */

/* Room for two signal frames and for both handlers, the engine's and the program's. */
static bool small(const stack_t *ss)
{
	return ss->ss_size < 2 * (size_t)sysconf(_SC_MINSIGSTKSZ) + 8192;
}

/*
 * The thread is about to end, but not yet: libc still works on its stack, which may be hidden. Its alternate stack
 * stays with it, and is for another thread once this one is gone.
 */
static struct fl_own_stack *left; /* of threads that end, or have ended */

static void own_leave(void *own)
{
	struct fl_own_stack *s = own;

	if (own == main_stack)
		return;
	s->next = __atomic_load_n(&left, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&left, &s->next, s, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
}

/* All of them are taken off the list, so that no other thread has them meanwhile; at most one is used. */
static struct fl_own_stack *own_reuse(void)
{
	struct fl_own_stack *s = __atomic_exchange_n(&left, NULL, __ATOMIC_ACQUIRE), *found = NULL, *next;

	for (; s; s = next) {
		next = s->next;
		if (!found && !fl_host_thread_exists(s->tid))
			found = s;
		else
			own_leave(s);
	}
	return found;
}

/* This thread's own stack. A task that shares another's TLS gets one that is never freed. */
static struct fl_own_stack *own_get(void)
{
	struct fl_own_stack *own = pthread_getspecific(key);
	int32_t tid = fl_host_tid();
	long p;

	if (own && own->tid == tid)
		return own;
	own = own_reuse();
	p = own ? (long)own : fl_own_map(PAGE_ALIGN(FL_OWN_STACK_SIZE), PROT_READ | PROT_WRITE);
	if (fl_host_failed(p))
		return NULL;
	own = (struct fl_own_stack *)p;
	*own = (struct fl_own_stack){0};
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

void fl_stack_own(void)
{
	struct fl_own_stack *own = own_get();

	if (!own || own->always)
		return;
	own->always = true;
	if (fl_host_sigaltstack(NULL, &own->program) == 0 && (own->program.ss_flags & SS_DISABLE))
		own_use(own, &own->program);
}

/* The main thread's is not mapped, as most programs never fault. */
static void own_main(void)
{
	struct fl_own_stack *own = (struct fl_own_stack *)main_stack;

	own->tid = fl_host_tid();
	own->program.ss_flags = SS_DISABLE;
	pthread_setspecific(key, own);
	fl_stack_own();
}

void fl_stack_init(void)
{
	pthread_key_create(&key, own_leave);
	own_main();
}

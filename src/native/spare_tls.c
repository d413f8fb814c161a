/* SPDX-License-Identifier: MIT */
/*
 * spare_tls.c - a program may register the memory that its threads' thread-local storage is in. When that is hidden,
 * the first access of the thread to it is a fault, and the handler's own first access another, for ever. So before it
 * uses any, the handler looks whether it can be read, and resolves the fault on a spare one if not. Storage that can
 * be read but not written is no trouble: the fault of a store in the handler nests, and is resolved first.
 *
 * A spare one has what the engine and libc keep there, errno foremost, with zeros in it: what a thread has before it
 * has run. Nothing of the program's runs on it.
 */
#include "native/spare_tls.h"
#include "native/native.h"

#include "arch/thread.h"
#include "base/signals.h"
#include "host/own.h"
#include "host/task.h"

#include <errno.h>

#define SPARES	64u
#define MARGIN	PAGE_SIZE    /* around what is known to be used */
#define LARGEST (256u << 10) /* static storage of programs that have more is not looked at */

static struct {
	char *base;	 /* [c] NULL: there are none */
	uint64_t reach;	 /* [c] how far below the thread pointer the engine's and libc's own begins */
	uint64_t below;	 /* [c] the same with a margin, in whole pages */
	uint64_t size;	 /* [c] of one */
	uint64_t in_use; /* [a] a bit for each */
} spares;

void fl_spare_tls_init(void)
{
	uintptr_t tp, low = fl_min((uintptr_t)&errno, (uintptr_t)&fl_signals_frame);
	long at;

	if (spares.base || !fl_thread_pointer_known())
		return;
	tp = fl_thread_pointer();
	if (low > tp || tp - low > LARGEST)
		return;
	spares.reach = tp - low;
	spares.below = PAGE_ALIGN(spares.reach + MARGIN);
	spares.size = spares.below + MARGIN;
	at = fl_own_map(SPARES * spares.size, PROT_READ | PROT_WRITE);
	if (fl_host_failed(at))
		return;
	for (unsigned i = 0; i < SPARES; i++)
		fl_thread_head((uintptr_t *)((uint64_t)at + i * spares.size + spares.below), (const uintptr_t *)tp);
	spares.base = fl_ptr((uint64_t)at);
}

static bool readable(uintptr_t tp)
{
	for (uint64_t at = PAGE_ALIGN_DOWN(tp - spares.reach); at < tp + FL_THREAD_HEAD; at += PAGE_SIZE)
		if (fl_touch_nofault(fl_ptr(at)))
			return false;
	return true;
}

/* As many threads as there are spare ones are in the handler for this: one will be done. */
static unsigned take(void)
{
	for (;;) {
		uint64_t free = ~__atomic_load_n(&spares.in_use, __ATOMIC_RELAXED);
		unsigned i = free ? (unsigned)__builtin_ctzll(free) : 0;

		if (free && !(__atomic_fetch_or(&spares.in_use, 1ull << i, __ATOMIC_ACQUIRE) >> i & 1))
			return i;
		fl_host_yield();
	}
}

uintptr_t fl_spare_tls_enter(void)
{
	uintptr_t own;

	if (!spares.base)
		return 0;
	own = fl_thread_pointer();
	if (likely(readable(own)))
		return 0;
	fl_set_thread_pointer(fl_addr(spares.base) + take() * spares.size + spares.below);
	return own;
}

void fl_spare_tls_leave(uintptr_t own)
{
	uint64_t i = (fl_thread_pointer() - fl_addr(spares.base)) / spares.size;

	fl_set_thread_pointer(own);
	__atomic_fetch_and(&spares.in_use, ~(1ull << i), __ATOMIC_RELEASE);
}

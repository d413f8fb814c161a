/* SPDX-License-Identifier: MIT */
/*
 * stub.h - system calls in text that is not ours, libc's above all, made to come to a function of ours. The number is
 * loaded by an instruction that is as long as a jump, right before the system call: a jump takes its place, and
 * nothing else changes. So whatever the surrounding code does with the result it still does.
 */
#ifndef FL_ARCH_STUB_H
#define FL_ARCH_STUB_H

#include <stdbool.h>
#include <stdint.h>

/* The arguments and the result are the system call's. */
typedef long fl_stub_fn(long a, long b, long c, long d, long e, long f);

/* Is this machine's code known? */
extern const bool fl_stub_known;

/*
 * The first place in [at, end) that makes system call `nr`; NULL: there is none. `whole`: of the shape only that a
 * function has which does nothing but this call, and which libc's convention ends.
 */
uint8_t *fl_stub_find(uint8_t *at, const uint8_t *end, unsigned nr, bool whole);
/*
 * From now on what runs there calls `fn` instead of the system. False: it is too far from us, they are too many, or
 * it could not be done while other threads run it (`alone`: there are none); nothing has changed.
 * => its cache line is writable
 */
bool fl_stub_redirect(uint8_t *site, fl_stub_fn *fn, bool alone);
/* Would it be redirected? */
bool fl_stub_can(uint8_t *site, bool alone);

/* fn(arg) on another stack, of which `top` is the end; where the machine's code is not known, on this one. */
long fl_on_stack(void *top, long (*fn)(void *arg), void *arg);

#endif

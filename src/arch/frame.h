/* SPDX-License-Identifier: MIT */
/* frame.h - building a signal frame, as the host does to call a handler. */
#ifndef FL_ARCH_FRAME_H
#define FL_ARCH_FRAME_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ucontext.h>

/*
 * Build the frame below what the interrupted thread was doing, and make our own return go there: to `handler`, with
 * `mask` blocked, and from it through rt_sigreturn(2) to the thread. False: there is no stack, or this machine's
 * frames are not known. => in a handler, whose context `uc` is; no lock held
 */
bool fl_push_frame(int sig, siginfo_t *info, ucontext_t *uc, void (*handler)(int), uint64_t mask);
/* Are they known, so that a handler can be called on another stack? */
extern const bool fl_pushes_frames;
/* What a handler returns to, and the flag that says so, for rt_sigaction(2); NULL, 0: the host knows. */
extern void (*const fl_sigreturn_restorer)(void);
extern const unsigned long fl_sigreturn_flag;

#endif

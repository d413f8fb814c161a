/* SPDX-License-Identifier: MIT */
/* generic/frame.c - no frames are built here yet: handlers run on the stack that we are on. */
#include "arch/frame.h"

#include <stddef.h>

const bool fl_pushes_frames = false;
void (*const fl_sigreturn_restorer)(void) = NULL;
const unsigned long fl_sigreturn_flag = 0;

bool fl_push_frame(int sig, siginfo_t *info, ucontext_t *uc, void (*handler)(int), uint64_t mask)
{
	return false;
}

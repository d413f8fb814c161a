/* SPDX-License-Identifier: MIT */
/* thread.h - the thread pointer, where it can be read and set without touching what it points to. */
#ifndef FL_ARCH_THREAD_H
#define FL_ARCH_THREAD_H

#if defined(__x86_64__)
#include "arch/x86_64/thread.h"
#else
#include "arch/generic/thread.h"
#endif

#endif

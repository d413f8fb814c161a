/* SPDX-License-Identifier: MIT */
/* generic/thread.h - nothing is known of the thread pointer. */
#ifndef FL_ARCH_GENERIC_THREAD_H
#define FL_ARCH_GENERIC_THREAD_H

#include <stdbool.h>
#include <stdint.h>

#define FL_THREAD_HEAD 0u

static inline bool fl_thread_pointer_known(void)
{
	return false;
}

static inline uintptr_t fl_thread_pointer(void)
{
	return 0;
}

static inline void fl_set_thread_pointer(uintptr_t tp)
{
}

static inline void fl_thread_head(uintptr_t *head, const uintptr_t *from)
{
}

#endif

/* SPDX-License-Identifier: MIT */
/* stuck.h - a fault that comes back with nothing changed: stuck.c. */
#ifndef FL_NATIVE_STUCK_H
#define FL_NATIVE_STUCK_H

#include "mm/fault.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A fault of this thread was resolved, and nothing was waited for. Is it time to doubt it? */
bool fl_stuck_suspect(uint64_t addr, uintptr_t pc, uint32_t flags);
/* Something has changed: count anew. */
void fl_stuck_forget(void);
/*
 * Does the host refuse what was granted this moment? 0: no. -EBUSY: yes; resolve the fault anew, and ask again.
 * Otherwise it has refused it long enough: -ENOMEM where it has nothing mapped, and some other error where it has.
 * May sleep for a moment. => no lock held, signals blocked
 */
int fl_stuck(uint64_t addr, uint32_t flags, unsigned tries);
/* One line that says why. */
void fl_stuck_say(uint64_t addr);

#endif

/* SPDX-License-Identifier: MIT */
/* rank.h - in place of the engine's: the scheduler keeps what each thread holds, also where the engine records it. */
#ifndef FL_SIM_BASE_RANK_H
#define FL_SIM_BASE_RANK_H

#define fl_rank_acquire not_said_acquire
#define fl_rank_release not_said_release
#include_next "base/rank.h"
#undef fl_rank_acquire
#undef fl_rank_release

void fl_rank_acquire(const void *lock, unsigned rank);
void fl_rank_release(const void *lock, unsigned rank);

#endif

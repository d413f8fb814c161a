/* SPDX-License-Identifier: MIT */
/* sleep.h - sleeping with signals let in. */
#ifndef FL_ARCH_SLEEP_H
#define FL_ARCH_SLEEP_H

#include <stdint.h>
#include <time.h>

/*
 * Block only `let_in`, sleep while *word == val, and block `keep_out` again. A signal that is handled after the mask
 * has changed and before the sleep has begun does not interrupt the sleep, and futex(2) cannot do both in one step as
 * ppoll(2) does. x86_64 looks for the traces of a handler, and says -EINTR. On other machines such a signal is
 * handled in time, but the sleep goes on. 0; -EAGAIN, -EINTR, -ETIMEDOUT
 */
long fl_arch_sleep(uint32_t *word, uint32_t val, const struct timespec *timeout, uint64_t let_in, uint64_t keep_out);

#endif

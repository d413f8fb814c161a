/* SPDX-License-Identifier: MIT */
/* probe.h - what the host can do, found by trying. Every probe cleans up after itself. */
#ifndef FL_TOOLS_PROBE_H
#define FL_TOOLS_PROBE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * The kernel's userfaultfd object. These are raw system calls, not libc's, so the answer is the kernel's also in a
 * program that runs on faultline. Each is 0 or -errno.
 */
int probe_userfaultfd(bool user_mode_only);
int probe_device(void);
int probe_features(uint64_t *features);

/* Does a SIGSEGV tell a write from a read? 0 or -errno; -ENODATA: it does not. */
int probe_error_code(void);

/* Guard markers on private anonymous memory, or on a shared mapping of a memfd. 0 or -errno; -ENODATA: no effect. */
int probe_guard(bool shared);

int probe_memfd(void);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * kept.h - descriptors of the shared memory that the program maps. These functions take no lock but their own.
 */
#ifndef FL_NATIVE_KEPT_H
#define FL_NATIVE_KEPT_H

#include "host/host.h"

/* mmap(2); what it maps can be registered, even if it is anonymous or the descriptor is closed later. */
long fl_kept_mmap(uint64_t addr, uint64_t len, int prot, int flags, int fd, uint64_t offset);
/* The program has unmapped a range, or moved it away: files that are no longer mapped are closed. */
void fl_kept_unmapped(uint64_t start, uint64_t len);
/* mremap(2) was done; the old place may still be mapped, or be a part of the new one. */
void fl_kept_moved(uint64_t from, uint64_t old_len, uint64_t to, uint64_t new_len);
/*
 * A descriptor, open for reading and writing, of the file behind a mapping, until put. -EINVAL: there is none;
 * -ENOMEM. Not `own`: the program has descriptors with the same position and flags.
 */
int fl_kept_get(const struct fl_host_map *map, bool *own);
void fl_kept_put(int fd);
/* Is it one of these descriptors? Are there any? */
bool fl_kept_is(int fd);
bool fl_kept_any(void);
/* The lowest of them that is `from` or above; -1: none */
int fl_kept_next(int from);
/* The process may be about to filter its system calls. Has it been? */
void fl_enters_sandbox(void);
bool fl_sandboxed(void);
/* In a forked child, which has copies of them. */
void fl_kept_after_fork(void);

#endif

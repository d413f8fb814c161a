/* SPDX-License-Identifier: MIT */
/*
 * space.h - the process as an address space: its mapping calls, and what the system tells of its pages, where they
 * meet registered memory. What is not registered is passed to the host as it is. Results are -errno. => no lock held
 */
#ifndef FL_NATIVE_SPACE_H
#define FL_NATIVE_SPACE_H

#include "base/types.h"

#include <stdbool.h>
#include <stdint.h>

/* ---- mmap(2) and its siblings, aware of registered ranges (map.c, remap.c, replace.c, advise.c) ---- */

int64_t fl_native_mmap(uint64_t addr, uint64_t len, int prot, int flags, int fd, uint64_t offset);
int fl_native_munmap(uint64_t addr, uint64_t len);
int fl_native_mprotect(uint64_t addr, uint64_t len, int prot);
int64_t fl_native_mremap(uint64_t addr, uint64_t old_len, uint64_t new_len, int flags, uint64_t new_addr);
int fl_native_madvise(uint64_t addr, uint64_t len, int advice);
int fl_native_mlock(uint64_t addr, uint64_t len, unsigned flags);
int fl_native_munlock(uint64_t addr, uint64_t len);
int fl_native_mlockall(int flags);
int fl_native_munlockall(void);
/* brk(2) as the system has it: the new end of the heap, or the old one if it cannot be changed. */
int64_t fl_native_brk(uint64_t addr);
int64_t fl_native_shmat(int id, uint64_t addr, int flags);
int fl_native_remap_file_pages(uint64_t addr, uint64_t len, uint64_t pgoff, int flags);
/*
 * ftruncate(2), truncate(2), fallocate(2) with FALLOC_FL_PUNCH_HOLE, where there are registered files: fl_file_any().
 */
int fl_native_ftruncate(int fd, uint64_t size);
int fl_native_truncate(const char *path, uint64_t size);
int fl_native_fallocate(int fd, int mode, uint64_t offset, uint64_t len);
/* It was opened with O_TRUNC. */
void fl_native_truncated(int fd);
/* mincore(2): what is present is what the tables say. */
int fl_native_mincore(uint64_t addr, uint64_t len, unsigned char *vec);

/* ---- the words of the process's pages (pagemap_words.c) ---- */

/*
 * `words` is what the host's /proc/self/pagemap says of the pages [addr, addr + nr pages), below TASK_SIZE: corrects
 * those of registered memory, FL_PAGEMAP_WORDS at most. => no lock held; fl_native is ready
 */
#define FL_PAGEMAP_WORDS 64
/* Is there anything to correct? Cheap, no lock. */
bool fl_native_pagemap_ours(uint64_t start, uint64_t end);
void fl_native_pagemap(uint64_t addr, uint64_t nr, uint64_t *words);
/* The engine's part of writing "4" to /proc/self/clear_refs. 0, -ENOMEM: nothing was cleared. => no lock held */
int fl_native_clear_refs(void);

/*
 * A system call came back with EFAULT: make the pages of [addr, addr + len) that are registered and hidden present,
 * for reading or writing, as the kernel would have. Of several ranges, the greatest answer counts.
 */
enum fl_present {
	FL_NOT_OURS,	 /* the fault is the program's */
	FL_WAS_PRESENT,	 /* nothing is hidden now, but may have been a moment ago */
	FL_REFUSED,	 /* the kernel would say EFAULT, too: no such right, or no faults of the kernel */
	FL_MADE_PRESENT, /* the call is worth repeating */
};
enum fl_present fl_native_fault_in(uint64_t addr, uint64_t len, bool write);

#endif

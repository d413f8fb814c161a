/* SPDX-License-Identifier: MIT */
/* adopt.h - adopting the program's memory, and releasing it. "=>" states a precondition. */
#ifndef FL_NATIVE_ADOPT_H
#define FL_NATIVE_ADOPT_H

#include "host/host.h"
#include "mm/mm.h"

int fl_native_fit(struct fl_mm *mm, uint64_t start, uint64_t end);
/* Map the pool there, hidden, and not locked, even if mlockall() was called: markers are refused on locked memory. */
int fl_native_map_pool(uint64_t start, uint64_t end, uint64_t pgoff, enum fl_inject_point fp);
bool fl_native_mapped(struct fl_mm *mm, uint64_t start, uint64_t end);
int fl_native_adopt(struct fl_mm *mm, uint64_t start, uint64_t end, uint32_t claim);
void fl_native_release(struct fl_mm *mm, struct fl_vma *vma);
/* Is a page of a released mapping, which the pool has, the program's own, and not the shared one of zeros? */
bool fl_released_owned(struct fl_vma *vma, uint64_t addr);
/*
 * The program's guard markers, which the host has in [start, end), become entries; 0, -ENOMEM. And back. => mmap_lock
 * held for writing
 */
int fl_guards_adopt(struct fl_mm *mm, uint64_t start, uint64_t end);
void fl_guards_release(struct fl_mm *mm, uint64_t start, uint64_t end);
/* Has the host a marker there? */
bool fl_guards_host_has(uint64_t addr);
/* ---- what the host notes of memory (state.c) ---- */

/*
 * Is it worth a look for this advice when memory is registered? The look takes as long as the memory has pages. Hints
 * are not: they are kept if there is a look.
 */
bool fl_state_is_noted(int advice);
/* The flags of an fl_vma for those of FL_HOST_*. */
uint32_t fl_state_flags(unsigned host);
/* Note it; `pool`: and have the host's mapping of the pool follow. false: it has no flag. => as set_flag() */
bool fl_state_note(uint64_t start, uint64_t stop, int advice, bool pool);
/* A new mapping of the pool has what the flags say, and the policy, NULL: none. */
void fl_state_apply(uint64_t start, uint64_t end, uint32_t flags);
void fl_state_policy(uint64_t start, uint64_t end, const struct fl_host_policy *policy);

/*
 * For shared_adopt.c: tables for what the range holds; and adopting a private mapping as anonymous memory. =>
 * mmap_lock held for writing
 */
int fl_prepare_tables(struct fl_mm *mm, uint64_t start, uint64_t end, bool *any);
int fl_adopt_private(struct fl_mm *mm, uint64_t start, uint64_t end, uint32_t access, struct fl_file *file,
		     uint64_t index);

#endif

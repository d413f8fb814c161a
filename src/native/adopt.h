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
/* The same right after fl_native_fit(), whose answers it goes by. */
int fl_native_adopt_fit(struct fl_mm *mm, uint64_t start, uint64_t end, uint32_t claim);
void fl_native_release(struct fl_mm *mm, struct fl_vma *vma);
/* Is a page of a released mapping, which the pool has, the program's own, and not the shared one of zeros? */
bool fl_released_owned(struct fl_vma *vma, uint64_t addr);

/* ---- memory in place (take_over.c) ---- */

/*
 * What is in place there will be registered for missing pages: what has holes is hidden, or, if it holds nothing, is
 * of the pool from now on. 0, -ENOMEM, or what the host says of its pages. => mmap_lock held for writing
 */
int fl_hide_in_place(struct fl_mm *mm, uint64_t start, uint64_t end);
/* The program is about to drop pages there: a page can be missing then. 0, -ENOMEM. => as above */
int fl_hide_whole(struct fl_mm *mm, uint64_t start, uint64_t end);
/* See fl_take_over(). The second: => mmap_lock held for writing, with sole access to these chunks */
int fl_native_take_over(struct fl_mm *mm, uint64_t start, uint64_t end);
int fl_take_over_locked(struct fl_mm *mm, uint64_t start, uint64_t end);

/* What of a host mapping's state an fl_vma keeps. */
uint32_t fl_adopted_flags(uint64_t start, uint64_t end);
/*
 * Replace the range by the pool. *aside: where its data is then, if it had any. On failure it is back where it was.
 * => the range is hidden, tables exist
 */
int fl_exchange(struct fl_mm *mm, uint64_t start, uint64_t end, uint64_t pgoff, bool data, uint64_t *aside);
/*
 * An entry for a page whose data the pool has, or for all data that lies at `aside`. Of a mapping that was in place
 * there may be entries already, for what is known of a page, which is kept. => tables exist
 */
void fl_set_entry(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, enum fl_run what);
void fl_set_entries(struct fl_mm *mm, struct fl_vma *vma, uint64_t aside);
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

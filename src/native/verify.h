/* SPDX-License-Identifier: MIT */
/* verify.h - the host is asked before anything is replaced, hidden or copied. "=>" states a precondition. */
#ifndef FL_NATIVE_VERIFY_H
#define FL_NATIVE_VERIFY_H

#include "mm/mm.h"

/*
 * Forget what [start, end) has of mappings of which the host has something else there now, or nothing. -ENOMEM: some
 * is left that could not be told apart. => mmap_lock held for writing
 */
int fl_native_verify(struct fl_mm *mm, uint64_t start, uint64_t end);
/*
 * The next part of [*start, end), in the mapping, that the host has as the mapping does. false: there is none. What
 * the host does not say is believed. => mapping pinned, or mmap_lock held
 */
bool fl_native_still_next(const struct fl_vma *vma, uint64_t *start, uint64_t end, uint64_t *stop);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * rmap.h - from a file's pages to the entries that map them, in all address spaces: truncation, hole punching,
 * collapse. "=>" states a precondition: locks held, signals blocked.
 */
#ifndef FL_MM_RMAP_H
#define FL_MM_RMAP_H

#include "mm/types.h"

/*
 * Zap every entry for the pages [first, end) of the file, in all address spaces; `cow`: the private copies, too. What
 * is still mapped afterwards has been mapped since. => no lock held
 */
void fl_unmap_mapping(struct fl_file *file, uint64_t first, uint64_t end, bool cow);
/*
 * The same for 2 MiB that are about to become one folio. Private copies stay; tables that are then empty are freed,
 * so that the next fault maps a leaf. Where writes are watched tables stay, for a marker may be set there at any
 * time. => no lock held
 */
void fl_unmap_for_collapse(struct fl_file *file, uint64_t first);

#endif

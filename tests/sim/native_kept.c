/* SPDX-License-Identifier: MIT */
/* native_kept.c - native/kept.c, with a way to reset it. */
#include "forget.h"

#include "native/kept.c"

#include <string.h>

void native_forget_kept(void)
{
	memset(table, 0, sizeof(table));
	nr_kept = 0;
	table_lock = (struct fl_mutex){.rank = FL_RANK_KEPT};
}

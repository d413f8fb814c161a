/* SPDX-License-Identifier: MIT */
/* native_shared.c - native/shared.c, which can begin anew. */
#include "forget.h"

#include "native/shared.c"

void native_forget_files(void)
{
	files = NULL;
}

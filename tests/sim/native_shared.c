/* SPDX-License-Identifier: MIT */
/* native_shared.c - native/shared.c, with a way to reset it. */
#include "forget.h"

#include "native/shared.c"

void native_forget_files(void)
{
	files = NULL;
}

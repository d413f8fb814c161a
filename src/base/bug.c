/* SPDX-License-Identifier: MIT */
/* bug.c - the last words of an engine that would otherwise damage its client's memory. */
#include "base/types.h"
#include "host/task.h"

#include <stdlib.h>
#include <string.h>

static void say(const char *s)
{
	fl_host_say(s, strlen(s));
}

_Noreturn void fl_bug(const char *what, const char *file, int line)
{
	char num[12];
	int i = (int)sizeof(num) - 1;

	num[i] = '\0';
	do
		num[--i] = (char)('0' + line % 10);
	while ((line /= 10) && i);
	say("faultline: BUG: ");
	say(what);
	say(" at ");
	say(file);
	say(":");
	say(&num[i]);
	say("\n");
	abort();
}

/* SPDX-License-Identifier: MIT */
/*
 * inject.c - `--inject list`. The points, and what a spec may say, come from base/inject.h.
 */
#include "tool.h"

#define COLUMN 16

static void print_point(unsigned point)
{
	int err;

	printf("%-*s %s", COLUMN, fl_inject_point_name(point), fl_inject_point_text(point));
	for (unsigned i = 0; (err = fl_inject_point_errno(point, i)); i++)
		printf("%s%s", i ? ", " : ": ", fl_inject_errno_name(err));
	putchar('\n');
}

static void print_points(enum fl_inject_kind kind)
{
	for (unsigned i = 0; i < FL_NR_INJECT_POINTS; i++)
		if (fl_inject_point_kind(i) == kind)
			print_point(i);
}

void list_inject_points(void)
{
	printf("Operations of userfaultfd, and the errnos to choose from; the first is the default:\n");
	print_points(FL_INJECT_KIND_ABI);
	printf("\nFailures inside faultline, which the operation answers by itself, mostly with ENOMEM:\n");
	print_points(FL_INJECT_KIND_ENGINE);
}

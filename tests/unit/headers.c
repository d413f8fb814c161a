/* SPDX-License-Identifier: MIT */
/* headers.c - the public headers in a program of C or C++, with more warnings than most programs ask for. */
#include <faultline/testing.h>

int use_headers(struct fl_mm *mm);

int use_headers(struct fl_mm *mm)
{
	uint64_t addr = 0, bits = FL_IOCTL_BIT(FL_UFFDIO_COPY) | FL_PM_PRESENT | FL_PM_UFFD_WP | FL_UFFD_API;
	struct fl_uffd_msg msg;
	struct fl_uffd *uffd;

	if (fl_uffd_open(mm, FL_UFFD_SRC_HOST, &uffd) || fl_mmap(mm, 0, sizeof(msg), 1, 2, &addr) ||
	    fl_inject("copy"))
		return FL_VERSION_MAJOR + FL_VERSION_MINOR + FL_VERSION_PATCH;
	return fl_uffd_read(uffd, &msg, sizeof(msg)) > 0 && (bits & FL_UFFDIO_REGISTER_MODE_MISSING) ? FL_FAULT_RETRY
												     : FL_FAULT_QUEUE;
}

/* SPDX-License-Identifier: MIT */
/* create.c - creating the object: userfaultfd(2) and /dev/userfaultfd. */
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "conformance.h"

#define CREATE "userfaultfd(2)"

CASE(create_no_flags, CREATE)
{
	uffd_t u = T->open(0);

	CHECK(u >= 0);
	CHECK_OK(T->close(u));
}

CASE(create_all_flags, CREATE)
{
	uffd_t u = T->open(O_CLOEXEC | O_NONBLOCK | FL_UFFD_USER_MODE_ONLY);

	CHECK(u >= 0);
	CHECK_OK(api(u, FL_UFFD_API, 0));
	CHECK_OK(T->close(u));
}

CASE(create_unknown_flag, CREATE ", EINVAL")
{
	CHECK_EQ(T->open(2), -EINVAL);
	CHECK_EQ(T->open(O_CLOEXEC | O_APPEND), -EINVAL);
	CHECK_EQ(T->open(O_RDWR), -EINVAL);
}

CASE(create_negative_flags, CREATE ", EINVAL")
{
	CHECK_EQ(T->open(-1), -EINVAL);
}

CASE(create_two_objects, CREATE)
{
	uffd_t a = uffd(0), b = uffd(0);

	CHECK(a != b);
	CHECK_OK(T->close(a));
	CHECK_EQ(reg(b, map(1), PAGE, MISSING), 0);
}

CASE_ON(create_cloexec, ON_LIBC, DESCRIPTOR, CREATE ", O_CLOEXEC")
{
	CHECK_EQ(fcntl((int)T->open(O_CLOEXEC), F_GETFD), FD_CLOEXEC);
	CHECK_EQ(fcntl((int)T->open(0), F_GETFD), 0);
}

CASE_ON(create_nonblock, ON_LIBC, DESCRIPTOR, CREATE ", O_NONBLOCK")
{
	CHECK_EQ(fcntl((int)T->open(O_NONBLOCK), F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	CHECK_EQ(fcntl((int)T->open(0), F_GETFL) & O_NONBLOCK, 0);
}

CASE_ON(create_access_mode, ON_LIBC, DESCRIPTOR, "kernel 6.18, observed: the descriptor is read-only")
{
	CHECK_EQ(fcntl((int)T->open(O_NONBLOCK), F_GETFL) & O_ACCMODE, O_RDONLY);
}

CASE_ON(create_lowest_descriptor, ON_LIBC, DESCRIPTOR, "open(2): the lowest free descriptor")
{
	int free_fd = dup(0);

	CHECK_OK(close(free_fd));
	CHECK_EQ(T->open(O_CLOEXEC), free_fd);
}

CASE_ON(create_no_descriptor_left, ON_LIBC, DESCRIPTOR, CREATE ", EMFILE")
{
	int next = dup(0);
	struct rlimit limit = {(rlim_t)next, (rlim_t)next};

	CHECK_OK(close(next));
	CHECK_OK(setrlimit(RLIMIT_NOFILE, &limit));
	CHECK_EQ(T->open(0), -EMFILE);
}

static int device(void)
{
	int fd = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		skip("no /dev/userfaultfd here");
	return fd;
}

CASE_ON(create_device, ON_LIBC, DESCRIPTOR, "Documentation/admin-guide/mm/userfaultfd.rst, /dev/userfaultfd")
{
	int u = ioctl(device(), FL_USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	uint64_t mem = map(1);

	CHECK(u >= 0);
	CHECK_EQ(fcntl(u, F_GETFD), FD_CLOEXEC);
	CHECK_EQ(fcntl(u, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	CHECK_OK(api(u, FL_UFFD_API, 0));
	CHECK_OK(reg(u, mem, PAGE, MISSING));
	expect_missing(u, mem);
}

CASE_ON(create_device_bad_flag, ON_LIBC, DESCRIPTOR, "kernel 6.18, observed: EINVAL as by the system call")
{
	int dev = device();

	CHECK_EQ(ioctl(dev, FL_USERFAULTFD_IOC_NEW, 2), -1);
	CHECK_EQ(errno, EINVAL);
}

CASE_ON(create_device_other_ioctl, ON_LIBC, DESCRIPTOR, "kernel 6.18, observed: EINVAL")
{
	struct fl_uffdio_api a = {.api = FL_UFFD_API};
	int dev = device();

	CHECK_EQ(ioctl(dev, FL_UFFDIO_API, &a), -1);
	CHECK_EQ(errno, EINVAL);
	CHECK_EQ(ioctl(dev, 0xaa01ul, 0), -1);
	CHECK_EQ(errno, EINVAL);
}

CASE_ON(create_device_closed_object_lives, ON_LIBC, DESCRIPTOR, "userfaultfd.rst: the device only makes objects")
{
	int dev = device(), u = ioctl(dev, FL_USERFAULTFD_IOC_NEW, O_NONBLOCK);
	uint64_t mem = map(1);

	CHECK(u >= 0);
	CHECK_OK(close(dev));
	CHECK_OK(api(u, FL_UFFD_API, 0));
	CHECK_OK(reg(u, mem, PAGE, MISSING));
	expect_missing(u, mem);
}

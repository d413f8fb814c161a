/* SPDX-License-Identifier: MIT */
/* api.c - the handshake, and what an object refuses before it. */
#include <string.h>

#include "conformance.h"

#define API "ioctl_userfaultfd(2) UFFDIO_API"

#define OURS                                                                                                         \
	(FL_UFFD_FEATURE_PAGEFAULT_FLAG_WP | FL_UFFD_FEATURE_SIGBUS | FL_UFFD_FEATURE_THREAD_ID |                    \
	 FL_UFFD_FEATURE_EXACT_ADDRESS)
#define BIT(request)	FL_IOCTL_BIT(FL_UFFDIO_##request)
#define IOCTLS		(BIT(API) | BIT(REGISTER) | BIT(UNREGISTER))
#define NO_SUCH_FEATURE (1ull << 63)

static uffd_t raw(void)
{
	uffd_t u = T->open(O_CLOEXEC | O_NONBLOCK);

	CHECK(u >= 0);
	return u;
}

/* The handshake is refused with EINVAL, and the structure comes back zeroed. */
static void expect_refused(uffd_t u, uint64_t version, uint64_t features)
{
	struct fl_uffdio_api a = {.api = version, .features = features, .ioctls = UNTOUCHED};

	CHECK_EQ(T->ioctl(u, FL_UFFDIO_API, &a), -EINVAL);
	CHECK_EQ(a.api, 0);
	CHECK_EQ(a.features, 0);
	CHECK_EQ(a.ioctls, 0);
}

CASE(api_handshake, API)
{
	struct fl_uffdio_api a = {.api = FL_UFFD_API, .ioctls = UNTOUCHED};

	CHECK_OK(T->ioctl(raw(), FL_UFFDIO_API, &a));
	CHECK_EQ(a.api, FL_UFFD_API);
	CHECK_EQ(a.features & OURS, OURS);
	CHECK_EQ(a.ioctls, IOCTLS);
}

CASE(api_reports_all_features_whatever_is_asked, API)
{
	struct fl_uffdio_api none = {.api = FL_UFFD_API};
	struct fl_uffdio_api one = {.api = FL_UFFD_API, .features = FL_UFFD_FEATURE_THREAD_ID};

	CHECK_OK(T->ioctl(raw(), FL_UFFDIO_API, &none));
	CHECK_OK(T->ioctl(raw(), FL_UFFDIO_API, &one));
	CHECK_EQ(one.features, none.features);
}

CASE(api_each_feature_alone, API)
{
	for (uint64_t bit = 1; bit; bit <<= 1)
		if (OURS & bit)
			CHECK_OK(api(raw(), FL_UFFD_API, bit));
}

CASE(api_features_together, API)
{
	struct fl_uffdio_api a = {.api = FL_UFFD_API, .features = OURS};

	CHECK_OK(T->ioctl(raw(), FL_UFFDIO_API, &a));
	CHECK_EQ(a.api, FL_UFFD_API);
	CHECK_EQ(a.features & OURS, OURS);
	CHECK_EQ(a.ioctls, IOCTLS);
}

CASE(api_wrong_version, API ", EINVAL: version")
{
	expect_refused(raw(), FL_UFFD_API + 1, 0);
	expect_refused(raw(), 0, 0);
	expect_refused(raw(), UINT64_MAX, 0);
}

CASE(api_unknown_feature, API ", EINVAL: features; the structure is zeroed")
{
	expect_refused(raw(), FL_UFFD_API, NO_SUCH_FEATURE);
}

CASE(api_unknown_beside_known, API ", EINVAL: features")
{
	expect_refused(raw(), FL_UFFD_API, OURS | NO_SUCH_FEATURE);
	expect_refused(raw(), FL_UFFD_API, UINT64_MAX);
}

CASE(api_refusal_leaves_it_open, API)
{
	uffd_t u = raw();

	expect_refused(u, FL_UFFD_API, NO_SUCH_FEATURE);
	expect_refused(u, 1, 0);
	CHECK_EQ(reg(u, map(1), PAGE, MISSING), -EINVAL);
	CHECK_OK(api(u, FL_UFFD_API, OURS));
	CHECK_OK(reg(u, map(1), PAGE, MISSING));
}

CASE(api_second_handshake, API ", EINVAL: already enabled")
{
	uffd_t u = raw();

	CHECK_OK(api(u, FL_UFFD_API, 0));
	CHECK_EQ(api(u, FL_UFFD_API, 0), -EINVAL);
	CHECK_OK(reg(u, map(1), PAGE, MISSING));
}

CASE(api_second_handshake_zeroes, "kernel 6.18, observed: the structure is zeroed as by any refusal")
{
	uffd_t u = raw();

	CHECK_OK(api(u, FL_UFFD_API, 0));
	expect_refused(u, FL_UFFD_API, 0);
}

CASE(api_second_handshake_adds_nothing, API ", EINVAL: already enabled")
{
	uffd_t u = uffd(0);
	uint64_t mem = map(1);
	struct touch t;

	CHECK_EQ(api(u, FL_UFFD_API, FL_UFFD_FEATURE_SIGBUS | FL_UFFD_FEATURE_THREAD_ID), -EINVAL);
	CHECK_OK(reg(u, mem, PAGE, MISSING));
	touch_start(&t, LOAD, mem, 0);
	CHECK_EQ(next_msg(u).arg.pagefault.feat.ptid, 0);
}

CASE(api_two_step, "userfaultfd(2): ask on one object, enable on another")
{
	struct fl_uffdio_api ask = {.api = FL_UFFD_API};
	uffd_t u = raw();

	CHECK_OK(T->ioctl(u, FL_UFFDIO_API, &ask));
	CHECK_OK(T->close(u));
	CHECK_OK(api(raw(), FL_UFFD_API, ask.features & OURS));
}

CASE_ON(api_bad_pointer, ON_LIBC, "a soft address space's caller passes its own pointers", API ", EFAULT")
{
	uffd_t u = raw();

	CHECK_EQ(T->ioctl(u, FL_UFFDIO_API, NULL), -EFAULT);
	CHECK_EQ(T->ioctl(u, FL_UFFDIO_API, (void *)(uintptr_t)map_prot(1, PROT_NONE)), -EFAULT);
	CHECK_OK(api(u, FL_UFFD_API, 0));
}

/* ---- before the handshake ---- */

#define BEFORE "ioctl_userfaultfd(2), EINVAL: not yet enabled"

CASE(before_register, BEFORE)
{
	CHECK_EQ(reg(raw(), map(1), PAGE, MISSING), -EINVAL);
}

CASE(before_unregister, BEFORE)
{
	CHECK_EQ(unreg(raw(), map(1), PAGE), -EINVAL);
}

CASE(before_wake, BEFORE)
{
	CHECK_EQ(wake(raw(), map(1), PAGE), -EINVAL);
}

CASE(before_copy, BEFORE "; `copy` is not written")
{
	int64_t copied;

	CHECK_EQ(copy(raw(), map(1), source(1, 1), PAGE, 0, &copied), -EINVAL);
	CHECK_EQ(copied, UNTOUCHED);
}

CASE(before_zeropage, BEFORE "; `zeropage` is not written")
{
	int64_t zeroed;

	CHECK_EQ(zero(raw(), map(1), PAGE, 0, &zeroed), -EINVAL);
	CHECK_EQ(zeroed, UNTOUCHED);
}

CASE(before_writeprotect, BEFORE)
{
	CHECK_EQ(protect(raw(), map(1), PAGE, FL_UFFDIO_WRITEPROTECT_MODE_WP), -EINVAL);
}

CASE(before_read, "userfaultfd(2), EINVAL: not yet enabled")
{
	struct fl_uffd_msg msg;
	uffd_t u = raw();

	CHECK_EQ(T->read(u, &msg, sizeof(msg)), -EINVAL);
	CHECK_OK(T->nonblock(u, 0));
	CHECK_EQ(T->read(u, &msg, sizeof(msg)), -EINVAL);
}

CASE(before_poll, "kernel 6.18, observed: POLLERR")
{
	uffd_t u = raw();

	CHECK_EQ(T->poll(u, 0), POLLERR);
	CHECK_OK(T->nonblock(u, 0));
	CHECK_EQ(T->poll(u, 0), POLLERR);
}

/* ---- unknown requests ---- */

CASE(ioctl_unknown, "kernel 6.18, observed: EINVAL before and after the handshake")
{
	uffd_t u = raw();
	char arg[256];

	memset(arg, 0, sizeof(arg));
	CHECK_EQ(T->ioctl(u, 0xaa3e, arg), -EINVAL);
	CHECK_OK(api(u, FL_UFFD_API, 0));
	CHECK_EQ(T->ioctl(u, 0xaa3e, arg), -EINVAL);
	CHECK_EQ(T->ioctl(u, 0, arg), -EINVAL);
}

CASE(ioctl_wrong_size, "kernel 6.18, observed: the whole request number counts")
{
	struct fl_uffdio_register r = {{map(1), PAGE}, MISSING, 0};
	uffd_t u = uffd(0);

	CHECK_EQ(T->ioctl(u, FL_UFFDIO_REGISTER + (8ul << 16), &r), -EINVAL);
	CHECK_EQ(T->ioctl(u, FL_UFFDIO_REGISTER & 0xfffful, &r), -EINVAL);
	CHECK_OK(T->ioctl(u, FL_UFFDIO_REGISTER, &r));
}

CASE_ON(ioctl_bad_pointers, ON_LIBC, "a soft address space's caller passes its own pointers",
	"ioctl_userfaultfd(2), EFAULT")
{
	static const unsigned long cmds[] = {FL_UFFDIO_REGISTER, FL_UFFDIO_UNREGISTER, FL_UFFDIO_WAKE,
					     FL_UFFDIO_COPY,	 FL_UFFDIO_ZEROPAGE,   FL_UFFDIO_WRITEPROTECT};
	void *nowhere = (void *)(uintptr_t)map_prot(1, PROT_NONE);
	uffd_t u = uffd(0);

	for (unsigned i = 0; i < sizeof(cmds) / sizeof(cmds[0]); i++) {
		CHECK_EQ(T->ioctl(u, cmds[i], NULL), -EFAULT);
		CHECK_EQ(T->ioctl(u, cmds[i], nowhere), -EFAULT);
	}
}

CASE_ON(ioctl_foreign_descriptor, ON_LIBC, DESCRIPTOR, "ioctl(2), ENOTTY; EBADF")
{
	int file = open("/dev/null", O_RDWR), closed = dup(file);

	CHECK_OK(T->close(closed));
	CHECK_EQ(api(file, FL_UFFD_API, 0), -ENOTTY);
	CHECK_EQ(api(closed, FL_UFFD_API, 0), -EBADF);
	CHECK_EQ(api(-1, FL_UFFD_API, 0), -EBADF);
}

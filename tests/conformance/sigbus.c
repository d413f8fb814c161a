/* SPDX-License-Identifier: MIT */
/* sigbus.c - UFFD_FEATURE_SIGBUS, and objects for user-mode faults only. */
#include <string.h>
#include <unistd.h>

#include "conformance.h"

#define SIGBUS_F "userfaultfd(2), UFFD_FEATURE_SIGBUS"
#define USER	 "userfaultfd(2), UFFD_USER_MODE_ONLY"
#define SET	 FL_UFFDIO_WRITEPROTECT_MODE_WP

CASE(sigbus_load, SIGBUS_F)
{
	struct area a = area(1, MISSING, FL_UFFD_FEATURE_SIGBUS);

	CHECK_EQ(peek(a.mem), -SIGBUS);
	CHECK_EQ(peek(a.mem + 100), -SIGBUS);
	CHECK(quiet(a.u));
}

CASE(sigbus_store, SIGBUS_F)
{
	struct area a = area(1, MISSING, FL_UFFD_FEATURE_SIGBUS);

	CHECK_EQ(poke(a.mem, 1), -SIGBUS);
	CHECK(quiet(a.u));
}

CASE_ON(sigbus_siginfo, ON_LIBC, "a soft access returns the signal's number only", "sigaction(2): si_code, si_addr")
{
	struct area a = area(2, MISSING, FL_UFFD_FEATURE_SIGBUS);
	struct caught c;

	CHECK_EQ(peek(a.mem + PAGE + 0x234), -SIGBUS);
	c = libc_caught();
	CHECK_EQ(c.signal, SIGBUS);
	CHECK_EQ(c.code, BUS_ADRERR);
	CHECK_EQ(c.addr, a.mem + PAGE + 0x234);
}

CASE_ON(segv_siginfo_on_registered_memory, ON_LIBC, "a soft access returns the signal's number only",
	"sigaction(2): si_code, si_addr")
{
	struct area a = area(2, MISSING, 0);
	struct caught c;

	CHECK_OK(T->protect(a.mem, PAGE, PROT_READ));
	CHECK_EQ(poke(a.mem + 0x234, 1), -SIGSEGV);
	c = libc_caught();
	CHECK_EQ(c.code, SEGV_ACCERR);
	CHECK_EQ(c.addr, a.mem + 0x234);
	CHECK_OK(T->unmap(a.mem, PAGE));
	CHECK_EQ(peek(a.mem + 0x345), -SIGSEGV);
	c = libc_caught();
	CHECK_EQ(c.code, SEGV_MAPERR);
	CHECK_EQ(c.addr, a.mem + 0x345);
}

CASE(sigbus_then_copy, SIGBUS_F)
{
	struct area a = area(2, MISSING, FL_UFFD_FEATURE_SIGBUS);

	CHECK_EQ(poke(a.mem, 1), -SIGBUS);
	fill(a.u, a.mem, 1, 5);
	CHECK_EQ(poke(a.mem, 1), 0);
	CHECK_EQ(peek(a.mem + 1), 5);
	CHECK_EQ(peek(a.mem + PAGE), -SIGBUS);
}

CASE(sigbus_then_zeropage, SIGBUS_F)
{
	struct area a = area(1, MISSING, FL_UFFD_FEATURE_SIGBUS);

	CHECK_EQ(peek(a.mem), -SIGBUS);
	CHECK_OK(zero(a.u, a.mem, PAGE, 0, NULL));
	CHECK_EQ(peek(a.mem), 0);
}

CASE(sigbus_wp, "kernel 6.18, observed: a store to a protected page raises SIGBUS, too")
{
	struct area a = {uffd(FL_UFFD_FEATURE_SIGBUS), source(1, 3)};

	CHECK_OK(reg(a.u, a.mem, PAGE, WP));
	CHECK_OK(protect(a.u, a.mem, PAGE, SET));
	CHECK_EQ(poke(a.mem, 1), -SIGBUS);
	CHECK_EQ(peek(a.mem), 3);
	CHECK_OK(protect(a.u, a.mem, PAGE, 0));
	CHECK_EQ(poke(a.mem, 1), 0);
	CHECK(quiet(a.u));
}

CASE(sigbus_kernel_access, "kernel 6.18, observed: EFAULT, no signal")
{
	struct area a = area(1, MISSING, FL_UFFD_FEATURE_SIGBUS);
	uint8_t byte = 1;

	CHECK_EQ(T->kernel_read(a.mem, &byte, 1), -EFAULT);
	CHECK_EQ(T->kernel_write(a.mem, &byte, 1), -EFAULT);
	fill(a.u, a.mem, 1, 5);
	CHECK_OK(T->kernel_read(a.mem, &byte, 1));
	CHECK_EQ(byte, 5);
}

CASE(sigbus_kernel_write_wp, "kernel 6.18, observed: EFAULT")
{
	struct area a = {uffd(FL_UFFD_FEATURE_SIGBUS), source(1, 3)};
	uint8_t byte = 1;

	CHECK_OK(reg(a.u, a.mem, PAGE, WP));
	CHECK_OK(protect(a.u, a.mem, PAGE, SET));
	CHECK_EQ(T->kernel_write(a.mem, &byte, 1), -EFAULT);
	CHECK_EQ(peek(a.mem), 3);
	CHECK_OK(T->kernel_read(a.mem, &byte, 1));
	CHECK_EQ(byte, 3);
}

CASE(sigbus_ends_with_unregister, SIGBUS_F)
{
	struct area a = area(1, MISSING, FL_UFFD_FEATURE_SIGBUS);

	CHECK_EQ(peek(a.mem), -SIGBUS);
	CHECK_OK(unreg(a.u, a.mem, PAGE));
	CHECK_EQ(peek(a.mem), 0);
}

CASE(sigbus_rights_come_first, "kernel 6.18, observed: SIGSEGV where the mapping gives no right")
{
	uint64_t mem = map_prot(1, PROT_READ);
	uffd_t u = uffd(FL_UFFD_FEATURE_SIGBUS);

	CHECK_OK(reg(u, mem, PAGE, MISSING));
	CHECK_EQ(poke(mem, 1), -SIGSEGV);
	CHECK_EQ(peek(mem), -SIGBUS);
}

CASE(sigbus_one_object_not_the_other, SIGBUS_F)
{
	struct area a = area(1, MISSING, FL_UFFD_FEATURE_SIGBUS), b = area(1, MISSING, 0);

	CHECK_EQ(peek(a.mem), -SIGBUS);
	expect_missing(b.u, b.mem);
}

static struct area *lazy;
static volatile int lazy_faults;

static void fill_in_handler(int sig, siginfo_t *info, void *context)
{
	uint64_t page = (uint64_t)(uintptr_t)info->si_addr & ~(PAGE - 1);

	lazy_faults++;
	if (zero(lazy->u, page, PAGE, 0, NULL))
		_exit(3);
}

CASE_ON(sigbus_resolved_in_the_handler, ON_LIBC, PROCESS, SIGBUS_F ": no monitor is required")
{
	struct sigaction sa = {.sa_sigaction = fill_in_handler, .sa_flags = SA_SIGINFO};
	struct area a = area(8, MISSING, FL_UFFD_FEATURE_SIGBUS);

	lazy = &a;
	CHECK_OK(sigaction(SIGBUS, &sa, NULL));
	for (unsigned i = 0; i < 8; i++)
		CHECK_EQ(poke(a.mem + i * PAGE, (uint8_t)i), 0);
	CHECK_EQ(lazy_faults, 8);
	for (unsigned i = 0; i < 8; i++)
		CHECK_EQ(peek(a.mem + i * PAGE), i);
	CHECK_EQ(lazy_faults, 8);
}

/* ---- user mode only ---- */

static struct area user_area(uint64_t mode)
{
	struct area a = {uffd_flags(O_NONBLOCK | FL_UFFD_USER_MODE_ONLY, 0), map(1)};

	CHECK_OK(reg(a.u, a.mem, PAGE, mode));
	return a;
}

CASE(user_mode_load, USER)
{
	struct area a = user_area(MISSING);

	expect_missing(a.u, a.mem);
}

CASE(user_mode_store, USER)
{
	struct area a = user_area(MISSING);
	struct touch t;

	touch_start(&t, STORE, a.mem, 4);
	expect_fault(a.u, a.mem, FL_UFFD_PAGEFAULT_FLAG_WRITE);
	fill(a.u, a.mem, 1, 1);
	CHECK_OK(touch_end(&t));
}

CASE(user_mode_kernel_access, "kernel 6.18, observed: the system call gets EFAULT, there is no message")
{
	struct area a = user_area(MISSING);
	uint8_t byte = 1;

	CHECK_EQ(T->kernel_read(a.mem, &byte, 1), -EFAULT);
	CHECK_EQ(T->kernel_write(a.mem, &byte, 1), -EFAULT);
	CHECK(quiet(a.u));
	expect_missing(a.u, a.mem);
	CHECK_OK(T->kernel_read(a.mem, &byte, 1));
}

CASE(user_mode_kernel_write_wp, "kernel 6.18, observed: EFAULT")
{
	struct area a = user_area(WP);
	uint8_t byte = 1;

	CHECK_EQ(poke(a.mem, 3), 0);
	CHECK_OK(protect(a.u, a.mem, PAGE, SET));
	CHECK_EQ(T->kernel_write(a.mem, &byte, 1), -EFAULT);
	CHECK(quiet(a.u));
	CHECK_OK(T->kernel_read(a.mem, &byte, 1));
	CHECK_EQ(byte, 3);
	expect_wp(a.u, a.mem);
}

CASE(user_mode_source, "kernel 6.18, observed: the source of a COPY is read by the kernel")
{
	struct area a = area(1, MISSING, 0), b = user_area(MISSING);
	int64_t copied;

	CHECK_EQ(copy(a.u, a.mem, b.mem, PAGE, 0, &copied), -EFAULT);
	CHECK_EQ(copied, -EFAULT);
	CHECK(quiet(b.u));
}

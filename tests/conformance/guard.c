/* SPDX-License-Identifier: MIT */
/*
 * guard.c - guard markers of the program's, MADV_GUARD_INSTALL (madvise(2), Linux 6.13), in memory that is, was or
 * will be registered: an access is SIGSEGV, whatever the registration says of missing pages.
 */
#include "conformance.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE  103
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif
#define OBSERVED "madvise(2), MADV_GUARD_INSTALL; kernel 6.18, observed"

static int guard(uint64_t addr, unsigned pages)
{
	return T->advise(addr, pages * PAGE, MADV_GUARD_INSTALL);
}

static int unguard(uint64_t addr, unsigned pages)
{
	return T->advise(addr, pages * PAGE, MADV_GUARD_REMOVE);
}

static void need_guards(void)
{
	if (on_kernel() && guard(map(1), 1) == -EINVAL)
		skip("this kernel has no guard markers");
}

static bool guarded(uint64_t addr)
{
	return peek(addr) == -SIGSEGV && poke(addr, 1) == -SIGSEGV;
}

CASE(guard_before_register, OBSERVED)
{
	static const uint64_t modes[] = {MISSING, WP, MISSING | WP};

	need_guards();
	for (int i = 0; i < 3; i++)
		for (int data = 0; data < 2; data++) {
			uint64_t mem = map(4);
			uffd_t u = uffd(FL_UFFD_FEATURE_PAGEFAULT_FLAG_WP);

			for (unsigned k = 0; data && k < 4; k++)
				CHECK_OK(poke(mem + k * PAGE, (uint8_t)(k + 1)));
			CHECK_OK(guard(mem + PAGE, 2));
			CHECK_OK(reg(u, mem, 4 * PAGE, modes[i]));
			CHECK(guarded(mem + PAGE) && guarded(mem + 2 * PAGE));
			if (data)
				CHECK(peek(mem) == 1 && peek(mem + 3 * PAGE) == 4);
			CHECK_OK(unreg(u, mem, 4 * PAGE));
			CHECK(guarded(mem + PAGE) && guarded(mem + 2 * PAGE));
			CHECK_OK(reg(u, mem, 4 * PAGE, modes[i]));
			CHECK(guarded(mem + PAGE) && guarded(mem + 2 * PAGE));
			CHECK(quiet(u));
			CHECK_OK(T->close(u));
			CHECK(guarded(mem + PAGE) && guarded(mem + 2 * PAGE));
			CHECK_OK(unguard(mem, 4));
			CHECK_EQ(peek(mem + PAGE), 0);
			CHECK_EQ(peek(mem), data ? 1 : 0);
		}
}

CASE(guard_missing, OBSERVED)
{
	struct area a = area(4, MISSING, 0);

	need_guards();
	fill(a.u, a.mem, 2, 7);
	CHECK_OK(guard(a.mem + PAGE, 2));
	CHECK(guarded(a.mem + PAGE) && guarded(a.mem + 2 * PAGE));
	CHECK_EQ(peek(a.mem), 7);
	CHECK(quiet(a.u));
	expect_missing(a.u, a.mem + 3 * PAGE);
	CHECK_OK(unguard(a.mem, 4));
	expect_missing(a.u, a.mem + PAGE);
	expect_missing(a.u, a.mem + 2 * PAGE);
	CHECK_EQ(peek(a.mem), 7);
}

CASE(guard_wp, OBSERVED)
{
	struct area a = area(4, WP, FL_UFFD_FEATURE_PAGEFAULT_FLAG_WP);

	need_guards();
	for (unsigned i = 0; i < 4; i++)
		CHECK_OK(poke(a.mem + i * PAGE, 5));
	CHECK_OK(protect(a.u, a.mem, 4 * PAGE, FL_UFFDIO_WRITEPROTECT_MODE_WP));
	CHECK_OK(guard(a.mem + PAGE, 1));
	CHECK(guarded(a.mem + PAGE));
	CHECK_OK(protect(a.u, a.mem, 4 * PAGE, FL_UFFDIO_WRITEPROTECT_MODE_WP));
	CHECK(guarded(a.mem + PAGE));
	CHECK_OK(protect(a.u, a.mem, 4 * PAGE, 0));
	CHECK(guarded(a.mem + PAGE));
	CHECK(quiet(a.u));
	CHECK_OK(unguard(a.mem + PAGE, 1));
	CHECK_OK(poke(a.mem + PAGE, 1)); /* the protection was the page's, which is gone */
	CHECK(quiet(a.u));
	CHECK_EQ(peek(a.mem), 5);
}

CASE(guard_dropped, OBSERVED)
{
	struct area a = area(2, MISSING, 0);

	need_guards();
	CHECK_OK(guard(a.mem, 1));
	CHECK_OK(T->advise(a.mem, 2 * PAGE, MADV_DONTNEED));
	CHECK(guarded(a.mem));
	CHECK(quiet(a.u));
	CHECK_OK(unreg(a.u, a.mem, 2 * PAGE));
	CHECK_OK(T->advise(a.mem, 2 * PAGE, MADV_DONTNEED));
	CHECK(guarded(a.mem));
	CHECK_EQ(peek(a.mem + PAGE), 0);
}

CASE(guard_filled, OBSERVED)
{
	struct area a = area(2, MISSING, 0);
	uint64_t src = source(1, 9);
	int64_t done;

	need_guards();
	CHECK_OK(guard(a.mem, 2));
	CHECK_EQ(zero(a.u, a.mem, PAGE, 0, &done), -EEXIST);
	CHECK(guarded(a.mem));
	CHECK_OK(copy(a.u, a.mem, src, PAGE, 0, &done));
	CHECK(page_is(a.mem, 9));
	CHECK(guarded(a.mem + PAGE));
}

CASE(guard_unregistered, OBSERVED)
{
	struct area a = area(4, MISSING | WP, FL_UFFD_FEATURE_PAGEFAULT_FLAG_WP);

	need_guards();
	fill(a.u, a.mem, 4, 1);
	CHECK_OK(unreg(a.u, a.mem, 4 * PAGE));
	CHECK_OK(guard(a.mem + PAGE, 2));
	CHECK(guarded(a.mem + PAGE) && guarded(a.mem + 2 * PAGE));
	CHECK(peek(a.mem) == 1 && peek(a.mem + 3 * PAGE) == 4);
	CHECK_OK(unguard(a.mem + PAGE, 1));
	CHECK_EQ(peek(a.mem + PAGE), 0); /* what was there is gone */
	CHECK(guarded(a.mem + 2 * PAGE));
	CHECK_OK(reg(a.u, a.mem, 4 * PAGE, MISSING));
	CHECK(guarded(a.mem + 2 * PAGE));
	CHECK_EQ(peek(a.mem + PAGE), 0);
	CHECK(quiet(a.u));
}

CASE(guard_moved, "mremap(2); kernel 6.18, observed")
{
	struct area a = area(2, MISSING, 0);
	uint64_t to = map(2);

	need_guards();
	fill(a.u, a.mem, 1, 3);
	CHECK_OK(guard(a.mem + PAGE, 1));
	CHECK_EQ(T->remap(a.mem, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	CHECK_EQ(peek(to), 3);
	CHECK(guarded(to + PAGE));
	CHECK_OK(unguard(to, 2));
	CHECK_EQ(peek(to), 3);
	CHECK_EQ(peek(to + PAGE), 0);
}

CASE(guard_and_rights, OBSERVED)
{
	struct area a = area(2, MISSING, 0);

	need_guards();
	CHECK_OK(T->protect(a.mem, PAGE, PROT_READ));
	CHECK_OK(guard(a.mem, 1));
	CHECK_OK(T->protect(a.mem, 2 * PAGE, PROT_NONE));
	CHECK_OK(guard(a.mem + PAGE, 1));
	CHECK_OK(T->protect(a.mem, 2 * PAGE, RW));
	CHECK(guarded(a.mem) && guarded(a.mem + PAGE));
	CHECK(quiet(a.u));
}

/* A system call that meets one: EFAULT. */
CASE_ON(guard_system_call, ON_LIBC, PROCESS, OBSERVED)
{
	uint8_t byte = 1;

	need_guards();
	for (uint64_t mode = MISSING; mode <= WP; mode++) {
		struct area a = area(2, mode, FL_UFFD_FEATURE_PAGEFAULT_FLAG_WP);

		CHECK_OK(guard(a.mem, 1));
		CHECK_EQ(T->kernel_write(a.mem, &byte, 1), -EFAULT);
		CHECK_EQ(T->kernel_read(a.mem, &byte, 1), -EFAULT);
		CHECK_OK(unreg(a.u, a.mem, 2 * PAGE));
		CHECK_EQ(T->kernel_write(a.mem, &byte, 1), -EFAULT);
		CHECK_EQ(T->kernel_read(a.mem, &byte, 1), -EFAULT);
	}
}

static bool present(uint64_t addr, unsigned pages)
{
	for (unsigned i = 0; i < pages; i++)
		if (!(word(addr + i * PAGE) & FL_PM_PRESENT))
			return false;
	return true;
}

/* Populating ends where it cannot: at a guard, without the right, at a hole; and pages before it are there. */
CASE_ON(populate_refused, ON_LIBC, "soft address spaces populate nothing", "madvise(2); kernel 6.18, observed")
{
	need_guards();
	for (int registered = 0; registered < 3; registered++) {
		struct area a = area(4, WP, FL_UFFD_FEATURE_PAGEFAULT_FLAG_WP);

		if (registered == 0)
			CHECK_OK(unreg(a.u, a.mem, 4 * PAGE));
		if (registered == 2) {
			CHECK_OK(unreg(a.u, a.mem, 4 * PAGE));
			CHECK_OK(reg(a.u, a.mem, 4 * PAGE, MISSING));
			fill(a.u, a.mem, 4, 1);
		}
		CHECK_OK(T->advise(a.mem, 4 * PAGE, MADV_POPULATE_WRITE));
		CHECK(present(a.mem, 4));
		CHECK_OK(T->protect(a.mem + 2 * PAGE, PAGE, PROT_READ));
		CHECK_OK(T->advise(a.mem, 4 * PAGE, MADV_POPULATE_READ));
		CHECK_EQ(T->advise(a.mem, 4 * PAGE, MADV_POPULATE_WRITE), -EINVAL);
		CHECK_OK(T->protect(a.mem + 2 * PAGE, PAGE, PROT_NONE));
		CHECK_EQ(T->advise(a.mem, 4 * PAGE, MADV_POPULATE_READ), -EINVAL);
		CHECK_OK(T->protect(a.mem + 2 * PAGE, PAGE, RW));
		CHECK_OK(guard(a.mem + PAGE, 1));
		CHECK_EQ(T->advise(a.mem, 4 * PAGE, MADV_POPULATE_READ), -EFAULT);
		CHECK_EQ(T->advise(a.mem, 4 * PAGE, MADV_POPULATE_WRITE), -EFAULT);
		CHECK_OK(unguard(a.mem + PAGE, 1));
		CHECK_OK(T->unmap(a.mem + 2 * PAGE, PAGE));
		if (registered == 2)
			fill(a.u, a.mem + PAGE, 1, 1);
		CHECK_EQ(T->advise(a.mem, 4 * PAGE, MADV_POPULATE_WRITE), -ENOMEM);
		CHECK(present(a.mem, 2));
	}
}

/* A missing page for which the object takes no faults of the kernel. */
CASE_ON(populate_not_taken, ON_LIBC, "soft address spaces populate nothing", "madvise(2); kernel 6.18, observed")
{
	uffd_t u = uffd_flags(O_NONBLOCK | FL_UFFD_USER_MODE_ONLY, 0);
	uint64_t mem = map(2);

	CHECK_OK(reg(u, mem, 2 * PAGE, MISSING));
	fill(u, mem, 1, 1);
	CHECK_EQ(T->advise(mem, 2 * PAGE, MADV_POPULATE_READ), -EFAULT);
	CHECK_EQ(T->advise(mem, 2 * PAGE, MADV_POPULATE_WRITE), -EFAULT);
	CHECK_OK(T->advise(mem, PAGE, MADV_POPULATE_WRITE));
	CHECK(quiet(u));
}

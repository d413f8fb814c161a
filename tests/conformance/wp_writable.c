/* SPDX-License-Identifier: MIT */
/*
 * wp_writable.c - a page that is no longer protected: stores go through at once, without a message, and its contents
 * are intact.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "conformance.h"

#define MAN	 "ioctl_userfaultfd(2) UFFDIO_WRITEPROTECT"
#define SEEN	 "kernel 6.18, observed"
#define SET	 FL_UFFDIO_WRITEPROTECT_MODE_WP
#define DONTWAKE FL_UFFDIO_WRITEPROTECT_MODE_DONTWAKE
#define COPY_WP	 FL_UFFDIO_COPY_MODE_WP
#define BOTH	 (MISSING | WP)

static struct area filled(unsigned pages, uint64_t mode)
{
	struct area a = {uffd(0), source(pages, 1)};

	CHECK_OK(reg(a.u, a.mem, pages * PAGE, mode));
	return a;
}

/* The store goes through, and changes only that byte. */
static void writable(uint64_t page, uint8_t held)
{
	CHECK_EQ(poke(page + 5, 0x77), 0);
	CHECK_EQ(peek(page + 5), 0x77);
	CHECK_EQ(peek(page + 4), held);
	CHECK_EQ(peek(page + PAGE - 1), held);
}

CASE(writable_after_unprotect, MAN)
{
	static const uint64_t modes[] = {WP, BOTH};

	for (unsigned m = 0; m < 2; m++) {
		struct area a = filled(2, modes[m]);

		CHECK_OK(protect(a.u, a.mem, 2 * PAGE, SET));
		CHECK_OK(protect(a.u, a.mem, 2 * PAGE, 0));
		writable(a.mem, 1);
		writable(a.mem + PAGE, 2);
		CHECK(quiet(a.u));
	}
}

CASE(writable_after_unprotect_dontwake, MAN ", MODE_DONTWAKE")
{
	struct area a = filled(1, WP);

	CHECK_OK(protect(a.u, a.mem, PAGE, SET));
	CHECK_OK(protect(a.u, a.mem, PAGE, DONTWAKE));
	writable(a.mem, 1);
	CHECK(quiet(a.u));
}

CASE(writable_after_many_rounds, MAN)
{
	struct area a = filled(1, WP);

	for (unsigned i = 0; i < 200; i++) {
		CHECK_OK(protect(a.u, a.mem, PAGE, SET));
		CHECK_EQ(peek(a.mem + 9), i ? (uint8_t)(i - 1) : 1);
		CHECK_OK(protect(a.u, a.mem, PAGE, 0));
		CHECK_EQ(poke(a.mem + 9, (uint8_t)i), 0);
	}
	CHECK(quiet(a.u));
}

CASE(writable_after_load, SEEN ": loaded while it was protected")
{
	struct area a = filled(1, WP);

	CHECK_OK(protect(a.u, a.mem, PAGE, SET));
	CHECK(page_is(a.mem, 1));
	CHECK_OK(protect(a.u, a.mem, PAGE, 0));
	writable(a.mem, 1);
	CHECK(quiet(a.u));
}

CASE(writable_large_range, MAN)
{
	struct area a = filled(600, WP);

	CHECK_OK(protect(a.u, a.mem, 600 * PAGE, SET));
	CHECK_OK(protect(a.u, a.mem + PAGE, 598 * PAGE, 0));
	for (unsigned i = 1; i < 599; i++)
		writable(a.mem + i * PAGE, (uint8_t)(1 + i));
	CHECK(quiet(a.u));
	expect_wp(a.u, a.mem);
	expect_wp(a.u, a.mem + 599 * PAGE);
}

CASE(writable_every_other_page, MAN)
{
	struct area a = filled(32, WP);

	CHECK_OK(protect(a.u, a.mem, 32 * PAGE, SET));
	for (unsigned i = 0; i < 32; i += 2)
		CHECK_OK(protect(a.u, a.mem + i * PAGE, PAGE, 0));
	for (unsigned i = 0; i < 32; i += 2)
		writable(a.mem + i * PAGE, (uint8_t)(1 + i));
	CHECK(quiet(a.u));
	expect_wp(a.u, a.mem + PAGE);
	expect_wp(a.u, a.mem + 31 * PAGE);
}

CASE(writable_beside_a_protected_page, MAN)
{
	struct area a = filled(3, WP);

	CHECK_OK(protect(a.u, a.mem + PAGE, PAGE, SET));
	writable(a.mem, 1);
	writable(a.mem + 2 * PAGE, 3);
	CHECK(quiet(a.u));
}

CASE(writable_zero_page, SEEN)
{
	struct area a = {uffd(0), map(1)};

	CHECK_EQ(peek(a.mem), 0);
	CHECK_OK(reg(a.u, a.mem, PAGE, WP));
	CHECK_OK(protect(a.u, a.mem, PAGE, SET));
	CHECK_OK(protect(a.u, a.mem, PAGE, 0));
	writable(a.mem, 0);
	CHECK(quiet(a.u));
}

CASE(writable_after_zeropage, SEEN)
{
	struct area a = area(1, BOTH, 0);

	CHECK_OK(zero(a.u, a.mem, PAGE, 0, NULL));
	CHECK_OK(protect(a.u, a.mem, PAGE, SET));
	CHECK_OK(protect(a.u, a.mem, PAGE, 0));
	writable(a.mem, 0);
	CHECK(quiet(a.u));
}

CASE(writable_after_copy_protected, "ioctl_userfaultfd(2) UFFDIO_COPY, MODE_WP")
{
	struct area a = area(2, BOTH, 0);

	CHECK_OK(copy(a.u, a.mem, source(2, 4), 2 * PAGE, COPY_WP, NULL));
	CHECK_OK(protect(a.u, a.mem, PAGE, 0));
	writable(a.mem, 4);
	CHECK(quiet(a.u));
	expect_wp(a.u, a.mem + PAGE);
}

CASE(writable_system_call, SEEN ": a system call that writes")
{
	struct area a = filled(1, WP);
	uint8_t byte = 9;

	CHECK_OK(protect(a.u, a.mem, PAGE, SET));
	CHECK_OK(protect(a.u, a.mem, PAGE, 0));
	CHECK_OK(T->kernel_write(a.mem + 3, &byte, 1));
	CHECK_EQ(peek(a.mem + 3), 9);
	CHECK_EQ(peek(a.mem + 4), 1);
	CHECK(quiet(a.u));
}

CASE(writable_again_after_dontneed, SEEN)
{
	struct area a = filled(1, WP);

	CHECK_OK(protect(a.u, a.mem, PAGE, SET));
	CHECK_OK(T->advise(a.mem, PAGE, MADV_DONTNEED));
	writable(a.mem, 0);
	CHECK_OK(protect(a.u, a.mem, PAGE, SET));
	expect_wp(a.u, a.mem);
}

/* ---- rights of the mapping ---- */

CASE(writable_after_mprotect_and_back, SEEN)
{
	static const int prots[] = {PROT_NONE, PROT_READ};

	for (unsigned i = 0; i < 2; i++) {
		struct area a = filled(1, WP);

		CHECK_OK(protect(a.u, a.mem, PAGE, SET));
		CHECK_OK(protect(a.u, a.mem, PAGE, 0));
		CHECK_OK(T->protect(a.mem, PAGE, prots[i]));
		CHECK_EQ(poke(a.mem, 9), -SIGSEGV);
		CHECK_OK(T->protect(a.mem, PAGE, RW));
		writable(a.mem, 1);
		CHECK(quiet(a.u));
	}
}

CASE(writable_protected_while_closed, SEEN ": protected and un-protected while PROT_NONE")
{
	struct area a = filled(2, WP);

	CHECK_OK(T->protect(a.mem, 2 * PAGE, PROT_NONE));
	CHECK_OK(protect(a.u, a.mem, 2 * PAGE, SET));
	CHECK_OK(protect(a.u, a.mem, PAGE, 0));
	CHECK_EQ(peek(a.mem), -SIGSEGV);
	CHECK_OK(T->protect(a.mem, 2 * PAGE, RW));
	writable(a.mem, 1);
	CHECK(quiet(a.u));
	expect_wp(a.u, a.mem + PAGE);
}

CASE(writable_protected_while_read_only, SEEN ": protected and un-protected while PROT_READ")
{
	struct area a = filled(2, WP);

	CHECK_OK(T->protect(a.mem, 2 * PAGE, PROT_READ));
	CHECK_OK(protect(a.u, a.mem, 2 * PAGE, SET));
	CHECK_OK(protect(a.u, a.mem, PAGE, 0));
	CHECK_EQ(poke(a.mem, 9), -SIGSEGV);
	CHECK_OK(T->protect(a.mem, 2 * PAGE, RW));
	writable(a.mem, 1);
	CHECK(quiet(a.u));
	expect_wp(a.u, a.mem + PAGE);
}

CASE(writable_registered_read_only, SEEN ": registered while PROT_READ, made writable later")
{
	struct area a = {uffd(0), source(2, 1)};

	CHECK_OK(T->protect(a.mem, 2 * PAGE, PROT_READ));
	CHECK_OK(reg(a.u, a.mem, 2 * PAGE, WP));
	CHECK_OK(protect(a.u, a.mem + PAGE, PAGE, SET));
	CHECK_OK(T->protect(a.mem, 2 * PAGE, RW));
	writable(a.mem, 1);
	CHECK(quiet(a.u));
	expect_wp(a.u, a.mem + PAGE);
}

CASE(writable_part_read_only, SEEN ": un-protected over parts of different rights")
{
	struct area a = filled(4, WP);

	CHECK_OK(protect(a.u, a.mem, 4 * PAGE, SET));
	CHECK_OK(T->protect(a.mem + PAGE, PAGE, PROT_READ));
	CHECK_OK(T->protect(a.mem + 2 * PAGE, PAGE, PROT_NONE));
	CHECK_OK(protect(a.u, a.mem, 4 * PAGE, 0));
	writable(a.mem, 1);
	CHECK_EQ(poke(a.mem + PAGE, 9), -SIGSEGV);
	CHECK_EQ(peek(a.mem + PAGE), 2);
	CHECK_EQ(peek(a.mem + 2 * PAGE), -SIGSEGV);
	writable(a.mem + 3 * PAGE, 4);
	CHECK(quiet(a.u));
}

/* ---- registration and fork ---- */

CASE(writable_after_unregister, "ioctl_userfaultfd(2) UFFDIO_UNREGISTER")
{
	struct area a = filled(3, WP);

	CHECK_OK(protect(a.u, a.mem, 3 * PAGE, SET));
	CHECK_OK(unreg(a.u, a.mem + PAGE, PAGE));
	writable(a.mem + PAGE, 2);
	CHECK(quiet(a.u));
	expect_wp(a.u, a.mem);
	expect_wp(a.u, a.mem + 2 * PAGE);
}

CASE(writable_after_register_again, SEEN ": registered again it is not protected")
{
	struct area a = filled(2, WP);

	CHECK_OK(protect(a.u, a.mem, 2 * PAGE, SET));
	CHECK_OK(unreg(a.u, a.mem, 2 * PAGE));
	CHECK_OK(reg(a.u, a.mem, 2 * PAGE, BOTH));
	writable(a.mem, 1);
	CHECK(quiet(a.u));
	CHECK_OK(protect(a.u, a.mem, 2 * PAGE, SET));
	expect_wp(a.u, a.mem + PAGE);
}

CASE_ON(writable_after_fork, ON_LIBC, PROCESS,
	SEEN ": un-protected after the fork, the child has what was there then")
{
	struct area a = filled(2, WP);
	int go[2], status;
	char c = 0;
	pid_t pid;

	CHECK_OK(protect(a.u, a.mem, 2 * PAGE, SET));
	CHECK_OK(pipe(go));
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		alarm(CHILD_S);
		if (read(go[0], &c, 1) != 1)
			_exit(1);
		_exit(page_is(a.mem, 1) && page_is(a.mem + PAGE, 2) ? 0 : 2);
	}
	CHECK_OK(protect(a.u, a.mem, PAGE, 0));
	writable(a.mem, 1);
	CHECK(quiet(a.u));
	expect_wp(a.u, a.mem + PAGE);
	CHECK_EQ(write(go[1], &c, 1), 1);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
}

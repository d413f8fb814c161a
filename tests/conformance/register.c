/* SPDX-License-Identifier: MIT */
/* register.c - UFFDIO_REGISTER: modes, ranges, mappings, and what registering does to existing memory. */
#include <string.h>
#include <unistd.h>

#include "conformance.h"

#define REGISTER     "ioctl_userfaultfd(2) UFFDIO_REGISTER"
#define BIT(request) FL_IOCTL_BIT(FL_UFFDIO_##request)

/* ---- modes ---- */

CASE(register_missing, REGISTER)
{
	uint64_t mem = map(2), ioctls;
	uffd_t u = uffd(0);

	CHECK_OK(reg_ioctls(u, mem, 2 * PAGE, MISSING, &ioctls));
	CHECK_EQ(ioctls & (BIT(WAKE) | BIT(COPY) | BIT(ZEROPAGE)), BIT(WAKE) | BIT(COPY) | BIT(ZEROPAGE));
	expect_missing(u, mem + PAGE);
}

CASE(register_ioctls_missing_only, "kernel 6.18, observed: WRITEPROTECT is offered only with MODE_WP")
{
	uint64_t ioctls;

	CHECK_OK(reg_ioctls(uffd(0), map(1), PAGE, MISSING, &ioctls));
	CHECK_EQ(ioctls & BIT(WRITEPROTECT), 0);
	CHECK_EQ(ioctls & (1 << 7), 0); /* CONTINUE: not for anonymous memory */
}

CASE(register_ioctls_wp, REGISTER)
{
	uint64_t ioctls;

	CHECK_OK(reg_ioctls(uffd(0), map(1), PAGE, WP, &ioctls));
	CHECK_EQ(ioctls & BIT(WRITEPROTECT), BIT(WRITEPROTECT));
	CHECK_EQ(ioctls & (BIT(WAKE) | BIT(COPY) | BIT(ZEROPAGE)), BIT(WAKE) | BIT(COPY) | BIT(ZEROPAGE));
	CHECK_OK(reg_ioctls(uffd(0), map(1), PAGE, MISSING | WP, &ioctls));
	CHECK_EQ(ioctls & BIT(WRITEPROTECT), BIT(WRITEPROTECT));
}

CASE(register_wp_without_the_feature_bit, "kernel 6.18, observed: MODE_WP needs no feature at the handshake")
{
	static const uint64_t features[] = {0, FL_UFFD_FEATURE_PAGEFAULT_FLAG_WP};

	for (unsigned i = 0; i < 2; i++) {
		struct area a = area(1, WP, features[i]);

		CHECK_EQ(poke(a.mem, 1), 0);
		CHECK_OK(protect(a.u, a.mem, PAGE, FL_UFFDIO_WRITEPROTECT_MODE_WP));
		expect_wp(a.u, a.mem);
	}
}

CASE(register_zero_mode, REGISTER ", EINVAL: mode was zero")
{
	uint64_t mem = map(1), ioctls;
	uffd_t u = uffd(0);

	CHECK_EQ(reg_ioctls(u, mem, PAGE, 0, &ioctls), -EINVAL);
	CHECK_EQ(ioctls, UNTOUCHED);
	CHECK_EQ(peek(mem), 0);
}

CASE(register_unknown_mode, REGISTER ", EINVAL: invalid bit")
{
	uint64_t mem = map(1);
	uffd_t u = uffd(0);

	CHECK_EQ(reg(u, mem, PAGE, 1 << 3), -EINVAL);
	CHECK_EQ(reg(u, mem, PAGE, MISSING | 1ull << 63), -EINVAL);
	CHECK_EQ(reg(u, mem, PAGE, UINT64_MAX), -EINVAL);
	CHECK_EQ(peek(mem), 0);
}

CASE(register_minor_on_anonymous, REGISTER ", EINVAL: incompatible mapping")
{
	uint64_t mem = map(1);
	uffd_t u = uffd(0);

	CHECK_EQ(reg(u, mem, PAGE, FL_UFFDIO_REGISTER_MODE_MINOR), -EINVAL);
	CHECK_EQ(reg(u, mem, PAGE, FL_UFFDIO_REGISTER_MODE_MINOR | MISSING), -EINVAL);
	CHECK_EQ(peek(mem), 0);
}

/* ---- ranges ---- */

CASE(register_zero_length, REGISTER ", EINVAL: range.len is zero")
{
	CHECK_EQ(reg(uffd(0), map(1), 0, MISSING), -EINVAL);
}

CASE(register_misaligned_start, REGISTER ", EINVAL: not a multiple of the page size")
{
	CHECK_EQ(reg(uffd(0), map(2) + 1, PAGE, MISSING), -EINVAL);
	CHECK_EQ(reg(uffd(0), map(2) + 512, PAGE, MISSING), -EINVAL);
}

CASE(register_misaligned_length, REGISTER ", EINVAL: not a multiple of the page size")
{
	CHECK_EQ(reg(uffd(0), map(2), 1, MISSING), -EINVAL);
	CHECK_EQ(reg(uffd(0), map(2), PAGE + 1, MISSING), -EINVAL);
	CHECK_EQ(reg(uffd(0), map(2), PAGE - 1, MISSING), -EINVAL);
}

CASE(register_wraps_around, REGISTER ", EINVAL: otherwise invalid")
{
	uint64_t mem = map(2);

	CHECK_EQ(reg(uffd(0), mem, -mem, MISSING), -EINVAL);
	CHECK_EQ(reg(uffd(0), mem, -PAGE, MISSING), -EINVAL);
	CHECK_EQ(reg(uffd(0), mem, PAGE - mem, MISSING), -EINVAL);
}

CASE(register_beyond_the_address_space, REGISTER ", EINVAL: otherwise invalid")
{
	CHECK_EQ(reg(uffd(0), 1ull << 57, PAGE, MISSING), -EINVAL);
	CHECK_EQ(reg(uffd(0), -PAGE, PAGE, MISSING), -EINVAL);
	CHECK_EQ(reg(uffd(0), map(1), 1ull << 57, MISSING), -EINVAL);
}

CASE(register_page_zero, REGISTER ", EINVAL: no mapping")
{
	CHECK_EQ(reg(uffd(0), 0, PAGE, MISSING), -EINVAL);
}

CASE(register_unmapped, REGISTER ", EINVAL: no mapping")
{
	uint64_t mem = map(3);
	uffd_t u = uffd(0);

	CHECK_OK(T->unmap(mem, 3 * PAGE));
	CHECK_EQ(reg(u, mem + PAGE, PAGE, MISSING), -EINVAL);
}

CASE(register_starts_unmapped, "kernel 6.18, observed: a range may start before its first mapping")
{
	uint64_t mem = map(3);
	uffd_t u = uffd(0);

	CHECK_OK(T->unmap(mem, PAGE));
	CHECK_OK(reg(u, mem, 3 * PAGE, MISSING));
	expect_missing(u, mem + PAGE);
	expect_missing(u, mem + 2 * PAGE);
}

CASE(register_ends_unmapped, "kernel 6.18, observed: a range may end after its last mapping")
{
	uint64_t mem = map(3);
	uffd_t u = uffd(0);

	CHECK_OK(T->unmap(mem + 2 * PAGE, PAGE));
	CHECK_OK(reg(u, mem, 3 * PAGE, MISSING));
	expect_missing(u, mem + PAGE);
}

CASE(register_hole_in_the_middle, "kernel 6.18, observed: holes are passed over")
{
	uint64_t mem = map(3);
	uffd_t u = uffd(0);

	CHECK_OK(T->unmap(mem + PAGE, PAGE));
	CHECK_OK(reg(u, mem, 3 * PAGE, MISSING));
	expect_missing(u, mem);
	expect_missing(u, mem + 2 * PAGE);
	CHECK_EQ(peek(mem + PAGE), -SIGSEGV);
}

CASE(register_hole_then_mapped, "kernel 6.18, observed: a mapping made in a hole later is not registered")
{
	uint64_t mem = map(3);
	uffd_t u = uffd(0);

	CHECK_OK(T->unmap(mem + PAGE, PAGE));
	CHECK_OK(reg(u, mem, 3 * PAGE, MISSING));
	CHECK_EQ(T->map(mem + PAGE, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED), mem + PAGE);
	CHECK_EQ(peek(mem + PAGE), 0);
	CHECK(quiet(u));
}

CASE(register_several_mappings, REGISTER)
{
	uint64_t mem = map(3);
	uffd_t u = uffd(0);

	CHECK_OK(T->protect(mem + PAGE, PAGE, PROT_READ));
	CHECK_OK(reg(u, mem, 3 * PAGE, MISSING));
	for (unsigned i = 0; i < 3; i++)
		expect_missing(u, mem + i * PAGE);
}

CASE(register_part_of_a_mapping, REGISTER)
{
	uint64_t mem = map(3);
	uffd_t u = uffd(0);

	CHECK_OK(reg(u, mem + PAGE, PAGE, MISSING));
	CHECK_EQ(peek(mem + PAGE - 1), 0);
	CHECK_EQ(peek(mem + 2 * PAGE), 0);
	CHECK(quiet(u));
	expect_missing(u, mem + PAGE);
}

CASE(register_read_only, REGISTER)
{
	uint64_t mem = map_prot(1, PROT_READ);
	uffd_t u = uffd(0);

	CHECK_OK(reg(u, mem, PAGE, MISSING));
	CHECK_EQ(poke(mem, 1), -SIGSEGV);
	CHECK(quiet(u));
	expect_missing(u, mem);
}

CASE(register_no_access, REGISTER)
{
	uint64_t mem = map_prot(1, PROT_NONE);
	uffd_t u = uffd(0);

	CHECK_OK(reg(u, mem, PAGE, MISSING));
	CHECK_EQ(peek(mem), -SIGSEGV);
	CHECK_EQ(poke(mem, 1), -SIGSEGV);
	CHECK(quiet(u));
	CHECK_OK(T->protect(mem, PAGE, RW));
	expect_missing(u, mem);
}

CASE(register_read_only_wp, "kernel 6.18, observed: MODE_WP asks for no right to write")
{
	static const int prot[] = {PROT_READ, PROT_NONE};

	for (unsigned i = 0; i < 2; i++) {
		uint64_t mem = source(1, 1);
		uffd_t u = uffd(0);

		CHECK_OK(T->protect(mem, PAGE, prot[i]));
		CHECK_OK(reg(u, mem, PAGE, WP));
		CHECK_OK(protect(u, mem, PAGE, FL_UFFDIO_WRITEPROTECT_MODE_WP));
		CHECK_EQ(poke(mem, 1), -SIGSEGV);
		CHECK_OK(T->protect(mem, PAGE, RW));
		expect_wp(u, mem);
	}
}

CASE_ON(register_file, ON_LIBC, "soft address spaces map no files", REGISTER ", EINVAL: incompatible mapping")
{
	int fd = open("/proc/self/exe", O_RDONLY);
	void *p = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);

	CHECK(p != MAP_FAILED);
	CHECK_EQ(reg(uffd(0), (uint64_t)(uintptr_t)p, PAGE, MISSING), -EINVAL);
}

CASE_ON(register_file_among_anonymous, ON_LIBC, "soft address spaces map no files",
	"kernel 6.18, observed: one incompatible mapping refuses all, nothing is registered")
{
	int fd = open("/proc/self/exe", O_RDONLY);
	uint64_t mem = map(3);
	uffd_t u = uffd(0);

	CHECK(mmap((void *)(uintptr_t)(mem + PAGE), PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0) != MAP_FAILED);
	CHECK_EQ(reg(u, mem, 3 * PAGE, MISSING), -EINVAL);
	CHECK_EQ(peek(mem), 0);
	CHECK_EQ(peek(mem + 2 * PAGE), 0);
}

/* ---- again, and by other objects ---- */

CASE(register_twice, "kernel 6.18, observed: the same range and mode again succeeds")
{
	struct area a = area(2, MISSING, 0);

	CHECK_OK(reg(a.u, a.mem, 2 * PAGE, MISSING));
	expect_missing(a.u, a.mem);
}

CASE(register_again_larger, "kernel 6.18, observed")
{
	uint64_t mem = map(4);
	uffd_t u = uffd(0);

	CHECK_OK(reg(u, mem + PAGE, PAGE, MISSING));
	CHECK_OK(reg(u, mem, 4 * PAGE, MISSING));
	for (unsigned i = 0; i < 4; i++)
		expect_missing(u, mem + i * PAGE);
}

CASE(register_again_adds_wp, "kernel 6.18, observed: registering again sets the modes anew")
{
	struct area a = area(1, MISSING, 0);

	CHECK_EQ(protect(a.u, a.mem, PAGE, FL_UFFDIO_WRITEPROTECT_MODE_WP), -ENOENT);
	CHECK_OK(reg(a.u, a.mem, PAGE, MISSING | WP));
	expect_missing(a.u, a.mem);
	CHECK_OK(protect(a.u, a.mem, PAGE, FL_UFFDIO_WRITEPROTECT_MODE_WP));
	expect_wp(a.u, a.mem);
}

CASE(register_again_missing_to_wp, "kernel 6.18, observed: registering again replaces the modes")
{
	struct area a = area(1, MISSING, 0);

	CHECK_OK(reg(a.u, a.mem, PAGE, WP));
	CHECK_EQ(peek(a.mem), 0);
	CHECK(quiet(a.u));
}

CASE(register_again_wp_to_missing, "kernel 6.18, observed: registering again replaces the modes")
{
	struct area a = area(1, WP, 0);

	CHECK_OK(reg(a.u, a.mem, PAGE, MISSING));
	CHECK_EQ(protect(a.u, a.mem, PAGE, FL_UFFDIO_WRITEPROTECT_MODE_WP), -ENOENT);
	expect_missing(a.u, a.mem);
}

CASE(register_again_wp_page_stays_protected, "kernel 6.18, observed")
{
	struct area a = area(1, WP, 0);

	CHECK_EQ(poke(a.mem, 1), 0);
	CHECK_OK(protect(a.u, a.mem, PAGE, FL_UFFDIO_WRITEPROTECT_MODE_WP));
	CHECK_OK(reg(a.u, a.mem, PAGE, MISSING | WP));
	expect_wp(a.u, a.mem);
}

CASE(register_other_object, REGISTER ", EBUSY")
{
	struct area a = area(1, MISSING, 0);
	uffd_t other = uffd(0);
	uint64_t ioctls;

	CHECK_EQ(reg_ioctls(other, a.mem, PAGE, MISSING, &ioctls), -EBUSY);
	CHECK_EQ(ioctls, UNTOUCHED);
	CHECK_EQ(reg(other, a.mem, PAGE, WP), -EBUSY);
	expect_missing(a.u, a.mem);
	CHECK(quiet(other));
}

CASE(register_other_object_overlaps, REGISTER ", EBUSY; nothing is registered")
{
	uffd_t one = uffd(0), two = uffd(0);
	uint64_t mem = map(3);

	CHECK_OK(reg(one, mem + PAGE, PAGE, MISSING));
	CHECK_EQ(reg(two, mem, 3 * PAGE, MISSING), -EBUSY);
	CHECK_EQ(peek(mem), 0);
	CHECK_EQ(peek(mem + 2 * PAGE), 0);
}

CASE(register_other_object_after_unregister, REGISTER)
{
	struct area a = area(1, MISSING, 0);
	uffd_t other = uffd(0);

	CHECK_OK(unreg(a.u, a.mem, PAGE));
	CHECK_OK(reg(other, a.mem, PAGE, MISSING));
	expect_missing(other, a.mem);
	CHECK(quiet(a.u));
}

CASE(register_neighbours, REGISTER)
{
	uffd_t one = uffd(0), two = uffd(0);
	uint64_t mem = map(2);

	CHECK_OK(reg(one, mem, PAGE, MISSING));
	CHECK_OK(reg(two, mem + PAGE, PAGE, MISSING));
	expect_missing(two, mem + PAGE);
	expect_missing(one, mem);
	CHECK(quiet(one));
	CHECK(quiet(two));
}

/* ---- existing memory ---- */

CASE(register_keeps_contents, "userfaultfd(2): only missing pages fault")
{
	uint64_t mem = source(3, 7);
	uffd_t u = uffd(0);

	CHECK_OK(reg(u, mem, 3 * PAGE, MISSING));
	for (unsigned i = 0; i < 3; i++)
		CHECK(page_is(mem + i * PAGE, (uint8_t)(7 + i)));
	CHECK_EQ(poke(mem, 1), 0);
	CHECK_EQ(peek(mem), 1);
	CHECK(quiet(u));
}

CASE(register_keeps_some, "userfaultfd(2): only missing pages fault")
{
	uint64_t mem = map(3);
	uffd_t u = uffd(0);

	CHECK_EQ(poke(mem + PAGE, 9), 0);
	CHECK_OK(reg(u, mem, 3 * PAGE, MISSING));
	CHECK_EQ(peek(mem + PAGE), 9);
	CHECK(quiet(u));
	expect_missing(u, mem);
	expect_missing(u, mem + 2 * PAGE);
	CHECK_EQ(peek(mem + PAGE), 9);
}

CASE(register_page_only_read, "kernel 6.18, observed: a page that was only read is present")
{
	uint64_t mem = map(1);
	uffd_t u = uffd(0);

	CHECK_EQ(peek(mem), 0);
	CHECK_OK(reg(u, mem, PAGE, MISSING));
	CHECK_EQ(peek(mem), 0);
	CHECK_EQ(poke(mem, 3), 0);
	CHECK(quiet(u));
}

CASE(register_wp_only_missing_pages, "userfaultfd(2): no notification for a missing page")
{
	struct area a = area(2, WP, 0);

	CHECK_EQ(peek(a.mem), 0);
	CHECK_EQ(poke(a.mem + PAGE, 4), 0);
	CHECK(quiet(a.u));
}

static atomic_bool writer_stops;

static void *writer(void *arg)
{
	uint64_t mem = *(uint64_t *)arg;

	for (uint8_t n = 0; !atomic_load(&writer_stops); n++)
		for (unsigned i = 0; i < 64; i++)
			if (T->store(mem + i * PAGE + 8, &n, 1))
				return arg;
	return NULL;
}

CASE(register_under_writers, "userfaultfd(2): present pages are not affected")
{
	uint64_t mem = source(64, 1);
	uffd_t u = uffd(0);
	pthread_t thread;
	void *failed;

	CHECK_OK(pthread_create(&thread, NULL, writer, &mem));
	for (unsigned i = 0; i < 20; i++) {
		CHECK_OK(reg(u, mem, 64 * PAGE, MISSING));
		pause_ms(1);
		CHECK_OK(unreg(u, mem, 64 * PAGE));
	}
	atomic_store(&writer_stops, true);
	CHECK_OK(pthread_join(thread, &failed));
	CHECK(!failed);
	for (unsigned i = 0; i < 64; i++) {
		CHECK_EQ(peek(mem + i * PAGE), 1 + i);
		CHECK_EQ(peek(mem + i * PAGE + 9), 1 + i);
	}
	CHECK(quiet(u));
}

CASE(register_large_sparse, REGISTER)
{
	uint64_t len = 1ull << 34;
	int64_t mem = T->map(0, len, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
	uffd_t u = uffd(0);

	CHECK(mem > 0);
	CHECK_OK(reg(u, (uint64_t)mem, len, MISSING));
	expect_missing(u, (uint64_t)mem);
	expect_missing(u, (uint64_t)mem + len / 2 + 3 * PAGE);
	expect_missing(u, (uint64_t)mem + len - PAGE);
	CHECK_OK(unreg(u, (uint64_t)mem, len));
	CHECK_EQ(peek((uint64_t)mem + PAGE), 0);
}

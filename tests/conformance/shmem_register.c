/* SPDX-License-Identifier: MIT */
/*
 * shmem_register.c - UFFDIO_REGISTER of shared memory: the modes, the ioctls offered then, and what a registration
 * covers.
 */
#include <stdio.h>

#include "shmem.h"

#define REGISTER     "ioctl_userfaultfd(2) UFFDIO_REGISTER"
#define BIT(request) FL_IOCTL_BIT(FL_UFFDIO_##request)

#define FEATURES (FL_UFFD_FEATURE_MISSING_SHMEM | FL_UFFD_FEATURE_MINOR_SHMEM | FL_UFFD_FEATURE_WP_HUGETLBFS_SHMEM)

CASE(shmem_features_offered, "ioctl_userfaultfd(2) UFFDIO_API")
{
	struct fl_uffdio_api a = {.api = FL_UFFD_API};

	CHECK_OK(T->ioctl(T->open(O_CLOEXEC), FL_UFFDIO_API, &a));
	CHECK_EQ(a.features & FEATURES, FEATURES);
}

/* ---- modes ---- */

EACH_KIND(shmem_register_modes, SEEN ": all modes, whatever features were asked for")
{
	static const uint64_t features[] = {0,
					    FL_UFFD_FEATURE_MISSING_SHMEM,
					    FL_UFFD_FEATURE_MINOR_SHMEM,
					    FL_UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
					    FL_UFFD_FEATURE_WP_UNPOPULATED,
					    FEATURES};

	for (unsigned f = 0; f < sizeof(features) / sizeof(features[0]); f++) {
		uffd_t u = uffd(features[f]);

		for_each_mode(m)
			CHECK_OK(reg(u, shmem_map(kind, 1).mem, PAGE, m));
	}
}

EACH_KIND(shmem_register_no_such_mode, REGISTER ", EINVAL: mode was zero, or has an unknown bit")
{
	struct shmem s = shmem_map(kind, 1);
	uffd_t u = uffd(0);

	CHECK_EQ(reg(u, s.mem, PAGE, 0), -EINVAL);
	CHECK_EQ(reg(u, s.mem, PAGE, 1 << 3), -EINVAL);
	CHECK_EQ(reg(u, s.mem, PAGE, MINOR | 1 << 3), -EINVAL);
	CHECK_EQ(peek(s.mem), 0);
}

EACH_KIND(shmem_register_ioctls, SEEN ": WRITEPROTECT with MODE_WP, CONTINUE with MODE_MINOR")
{
	const uint64_t always = BIT(WAKE) | BIT(COPY) | BIT(ZEROPAGE);
	uffd_t u = uffd(0);

	for_each_mode(m) {
		uint64_t ioctls;

		CHECK_OK(reg_ioctls(u, shmem_map(kind, 1).mem, PAGE, m, &ioctls));
		CHECK_EQ(ioctls & always, always);
		CHECK_EQ(ioctls & BIT(WRITEPROTECT), m & WP ? BIT(WRITEPROTECT) : 0);
		CHECK_EQ(ioctls & BIT(CONTINUE), m & MINOR ? BIT(CONTINUE) : 0);
	}
}

EACH_KIND(shmem_register_again, SEEN ": any mode after any other")
{
	uffd_t u = uffd(0);

	for_each_mode(first)
		for_each_mode(second) {
			struct shmem s = shmem_map(kind, 1);

			CHECK_OK(reg(u, s.mem, PAGE, first));
			CHECK_OK(reg(u, s.mem, PAGE, second));
		}
}

EACH_KIND(shmem_register_again_counts, SEEN ": the last mode counts")
{
	struct shmem s = shmem(kind, 3, MISSING, 0);
	struct touch t;

	cached(&s, 1, 1, 7);
	CHECK_OK(reg(s.u, s.mem, 3 * PAGE, MINOR));
	loads(&s, 0, 0);
	faults(&t, &s, LOAD, 1, F_MINOR);
	CHECK_OK(go_on(s.u, at(&s, 1), PAGE, 0, NULL));
	touch_ends_with(&t, 7);
	CHECK_OK(reg(s.u, s.mem, 3 * PAGE, MISSING));
	expect_missing(s.u, at(&s, 2));
}

EACH_KIND(shmem_register_by_another_object, REGISTER ", EBUSY")
{
	for_each_mode(m) {
		struct shmem s = shmem(kind, 1, m, 0);

		CHECK_EQ(reg(uffd(0), s.mem, PAGE, m), -EBUSY);
	}
}

EACH_KIND(shmem_register_protections, SEEN ": the rights of the mapping do not matter")
{
	static const int prots[] = {PROT_NONE, PROT_READ, PROT_WRITE, RW, RW | PROT_EXEC};
	uffd_t u = uffd(0);

	for (unsigned p = 0; p < sizeof(prots) / sizeof(prots[0]); p++)
		for_each_mode(m) {
			struct shmem s = shmem_map(kind, 1);

			CHECK_OK(T->protect(s.mem, PAGE, prots[p]));
			CHECK_OK(reg(u, s.mem, PAGE, m));
		}
}

FILE_KINDS(shmem_register_read_only_mapping, SEEN ": mapped PROT_READ, of a descriptor that may write")
{
	int flags = kind == PRIVATE ? MAP_PRIVATE : MAP_SHARED;
	uffd_t u = uffd(0);

	for_each_mode(m)
		CHECK_OK(reg(u, map_of(file_of(1), 0, 1, PROT_READ, flags), PAGE, m));
}

FILE_KINDS(shmem_register_read_only_mapping_missing, SEEN ": a load faults, a store has no right")
{
	uint64_t mem = map_of(file_of(1), 0, 1, PROT_READ, kind == PRIVATE ? MAP_PRIVATE : MAP_SHARED);
	uffd_t u = uffd(0);
	struct touch t;

	CHECK_OK(reg(u, mem, PAGE, MISSING));
	CHECK_EQ(poke(mem, 1), -SIGSEGV);
	CHECK(quiet(u));
	touch_start(&t, LOAD, mem, 0xee);
	expect_fault(u, mem, 0);
	CHECK_OK(copy(u, mem, source(1, 6), PAGE, 0, NULL));
	touch_ends_with(&t, 6);
	CHECK_EQ(poke(mem, 1), -SIGSEGV);
}

static int64_t read_only_file(void)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", (int)file_of(1));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	return fd;
}

CASE_ON(shmem_register_read_only_descriptor, ON_LIBC, DESCRIPTOR,
	SEEN ": EPERM, a shared mapping that can never be written")
{
	uffd_t u = uffd(0);

	for_each_mode(m) {
		uint64_t mem = map_of(read_only_file(), 0, 1, PROT_READ, MAP_SHARED);

		CHECK_EQ(reg(u, mem, PAGE, m), -EPERM);
		CHECK_EQ(peek(mem), 0);
	}
}

CASE_ON(shmem_register_read_only_descriptor_private, ON_LIBC, DESCRIPTOR, SEEN ": a private mapping may be written")
{
	uffd_t u = uffd(0);

	for_each_mode(m)
		CHECK_OK(reg(u, map_of(read_only_file(), 0, 1, RW, MAP_PRIVATE), PAGE, m));
}

/* ---- existing pages ---- */

EACH_KIND(shmem_register_mapped_pages, SEEN ": pages that are mapped stay so, in every mode")
{
	for_each_mode(m) {
		struct shmem s = shmem_map(kind, 2);

		cached(&s, 0, 2, 5);
		CHECK_EQ(peek(s.mem), 5);
		CHECK_EQ(peek(s.mem + PAGE), 6);
		s.u = uffd(0);
		CHECK_OK(reg(s.u, s.mem, 2 * PAGE, m));
		CHECK(words_are(s.mem, 2, W_CACHE_OWN));
		loads(&s, 0, 5);
		loads(&s, 1, 6);
	}
}

EACH_KIND(shmem_register_loses_nothing, SEEN)
{
	for_each_mode(m) {
		struct shmem s = shmem_map(kind, 1);

		CHECK_EQ(poke(s.mem, 9), 0);
		s.u = uffd(0);
		CHECK_OK(reg(s.u, s.mem, PAGE, m));
		loads(&s, 0, 9);
		stores(&s, 0, 10);
		CHECK_EQ(peek(s.other), kind == PRIVATE ? 0 : 10);
	}
}

FILE_KINDS(shmem_register_descriptor_closed, SEEN ": a mapping keeps the file")
{
	struct shmem s = shmem_map(kind, 2);
	struct touch t;

	cached(&s, 1, 1, 4);
	CHECK_OK(T->file_close(s.file));
	s.u = uffd(0);
	CHECK_OK(reg(s.u, s.mem, 2 * PAGE, MISSING | MINOR));
	expect_missing(s.u, s.mem);
	faults(&t, &s, LOAD, 1, F_MINOR);
	CHECK_OK(go_on(s.u, at(&s, 1), PAGE, 0, NULL));
	touch_ends_with(&t, 4);
}

FILE_KINDS(shmem_register_then_descriptor_closed, SEEN)
{
	struct shmem s = shmem(kind, 2, MISSING, 0);

	CHECK_OK(T->file_close(s.file));
	expect_missing(s.u, at(&s, 1));
}

FILE_KINDS(shmem_register_offset, SEEN ": the pages of a mapping are those at its offset")
{
	int64_t file = file_of(8);
	struct shmem s = {uffd(0), map_of(file, 4, 2, RW, kind == PRIVATE ? MAP_PRIVATE : MAP_SHARED), 0, file};
	struct touch t;

	CHECK_OK(reg(s.u, s.mem, 2 * PAGE, MISSING | MINOR));
	CHECK_EQ(T->file_write(file, 5 * PAGE, "z", 1), 1);
	CHECK_EQ(T->file_write(file, 0, "a", 1), 1);
	expect_missing(s.u, s.mem);
	faults(&t, &s, LOAD, 1, F_MINOR);
	CHECK_OK(go_on(s.u, at(&s, 1), PAGE, 0, NULL));
	touch_ends_with(&t, 'z');
}

FILE_KINDS(shmem_register_beyond_the_end, SEEN ": where the file has no pages")
{
	int64_t file = file_of(0);
	uffd_t u = uffd(0);

	for_each_mode(m) {
		uint64_t mem = map_of(file, 0, 2, RW, kind == PRIVATE ? MAP_PRIVATE : MAP_SHARED);

		CHECK_OK(reg(u, mem, 2 * PAGE, m));
		CHECK_EQ(peek(mem), -SIGBUS);
	}
	CHECK(quiet(u));
}

/* ---- several mappings ---- */

EACH_KIND(shmem_register_is_of_a_mapping, SEEN ": another mapping of the same pages is not registered")
{
	struct shmem s = shmem(kind, 3, MISSING, 0);

	CHECK_EQ(peek(there(&s, 0)), 0);
	CHECK_EQ(poke(there(&s, 1), 5), 0);
	CHECK(quiet(s.u));
	loads(&s, 1, 5);
	expect_missing(s.u, at(&s, 2));
}

EACH_KIND(shmem_register_two_objects, SEEN ": two mappings of the same pages, each with an object of its own")
{
	struct shmem s = shmem(kind, 3, MISSING, 0);
	uffd_t second = uffd(0);

	CHECK_OK(reg(second, s.other, 3 * PAGE, MISSING));
	expect_missing(second, there(&s, 0));
	CHECK(quiet(s.u));
	expect_missing(s.u, at(&s, 1));
	CHECK(quiet(second));
	loads(&s, 0, 0);
	if (kind == PRIVATE)
		expect_missing(second, there(&s, 1));
	else
		CHECK_EQ(peek(there(&s, 1)), 0);
}

EACH_KIND(shmem_register_one_object_for_both, SEEN)
{
	struct shmem s = shmem(kind, 2, MISSING, 0);

	CHECK_OK(reg(s.u, s.other, 2 * PAGE, MISSING));
	expect_missing(s.u, at(&s, 0));
	expect_missing(s.u, there(&s, 1));
	loads(&s, 1, 0);
}

EACH_KIND(shmem_register_part, REGISTER ": only the range is registered")
{
	for_each_mode(m) {
		struct shmem s = shmem_map(kind, 4);
		struct touch t;

		cached(&s, 0, 1, 3);
		s.u = uffd(0);
		CHECK_OK(reg(s.u, at(&s, 1), 2 * PAGE, m | MISSING));
		loads(&s, 0, 3);
		loads(&s, 3, 0);
		faults(&t, &s, STORE, 2, WRITE);
		CHECK_OK(zero(s.u, at(&s, 2), PAGE, 0, NULL));
		CHECK_OK(touch_end(&t));
		expect_missing(s.u, at(&s, 1));
	}
}

EACH_KIND(shmem_register_range_of_parts, REGISTER ": a range over several mappings")
{
	struct shmem s = shmem_map(kind, 4);

	CHECK_OK(T->protect(at(&s, 1), PAGE, PROT_READ));
	CHECK_OK(T->unmap(at(&s, 2), PAGE));
	s.u = uffd(0);
	CHECK_OK(reg(s.u, s.mem, 4 * PAGE, MISSING));
	expect_missing(s.u, at(&s, 0));
	expect_missing(s.u, at(&s, 1));
	CHECK_EQ(peek(at(&s, 2)), -SIGSEGV);
	expect_missing(s.u, at(&s, 3));
}

/* Page 0 is of this kind, page 1 is private anonymous memory. */
static struct shmem beside_anonymous(enum shmem_kind kind)
{
	struct shmem s = shmem_map(kind, 2);

	CHECK_EQ(T->map(at(&s, 1), PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED), at(&s, 1));
	s.u = uffd(0);
	return s;
}

EACH_KIND(shmem_register_with_anonymous, SEEN ": one range with private anonymous memory")
{
	struct shmem s = beside_anonymous(kind);

	CHECK_OK(reg(s.u, s.mem, 2 * PAGE, BOTH));
	expect_missing(s.u, at(&s, 0));
	expect_missing(s.u, at(&s, 1));
}

EACH_KIND(shmem_register_with_anonymous_minor, SEEN ": EINVAL, none of it is registered")
{
	for_each_mode(m) {
		struct shmem s = beside_anonymous(kind);

		CHECK_EQ(reg(s.u, s.mem, 2 * PAGE, m | MINOR), -EINVAL);
		loads(&s, 0, 0);
		loads(&s, 1, 0);
	}
}

EACH_KIND(shmem_register_mapped_over, SEEN ": a mapping that is made in a registered range is not registered")
{
	struct shmem s = shmem(kind, 3, MISSING, 0);

	CHECK_EQ(T->map(at(&s, 1), PAGE, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED), at(&s, 1));
	loads(&s, 1, 0);
	expect_missing(s.u, at(&s, 0));
	expect_missing(s.u, at(&s, 2));
}

/* ---- unregister ---- */

EACH_KIND(shmem_unregister, "ioctl_userfaultfd(2) UFFDIO_UNREGISTER")
{
	for_each_mode(m) {
		struct shmem s = shmem(kind, 2, m, 0);

		cached(&s, 1, 1, 7);
		CHECK_OK(unreg(s.u, s.mem, 2 * PAGE));
		loads(&s, 0, 0);
		loads(&s, 1, 7);
	}
}

EACH_KIND(shmem_unregister_in_part, SEEN)
{
	struct shmem s = shmem(kind, 3, MISSING, 0);

	CHECK_OK(unreg(s.u, at(&s, 1), PAGE));
	loads(&s, 1, 0);
	expect_missing(s.u, at(&s, 0));
	expect_missing(s.u, at(&s, 2));
}

EACH_KIND(shmem_unregister_what_is_not, SEEN ": 0, as for private anonymous memory")
{
	CHECK_OK(unreg(uffd(0), shmem_map(kind, 2).mem, 2 * PAGE));
}

EACH_KIND(shmem_unregister_wakes, SEEN ": who waits goes on, as in memory that never was registered")
{
	for_each_mode_with(m, MISSING) {
		struct shmem s = shmem(kind, 1, m, 0);
		struct touch t;

		faults(&t, &s, LOAD, 0, 0);
		CHECK_OK(unreg(s.u, s.mem, PAGE));
		touch_ends_with(&t, 0);
	}
}

EACH_KIND(shmem_unregister_minor_waiter, SEEN ": with MODE_MISSING it goes on; without, the waiter needs a WAKE")
{
	for_each_mode_with(m, MINOR) {
		struct shmem s = shmem(kind, 1, m, 0);
		struct touch t;

		cached(&s, 0, 1, 8);
		faults(&t, &s, LOAD, 0, F_MINOR);
		CHECK_OK(unreg(s.u, s.mem, PAGE));
		if (!(m & MISSING)) {
			CHECK(touch_waits(&t));
			CHECK_OK(wake(s.u, s.mem, PAGE));
		}
		touch_ends_with(&t, 8);
	}
}

EACH_KIND(shmem_close, "userfaultfd(2): the last close unregisters all ranges")
{
	for_each_mode(m) {
		struct shmem s = shmem(kind, 2, m, 0);

		cached(&s, 1, 1, 7);
		CHECK_OK(T->close(s.u));
		CHECK_EQ(peek(at(&s, 0)), 0);
		CHECK_EQ(peek(at(&s, 1)), 7);
		CHECK_OK(reg(uffd(0), s.mem, 2 * PAGE, m));
	}
}

/* ---- mremap ---- */

#define MOVE (MREMAP_MAYMOVE | MREMAP_FIXED)

EACH_KIND(shmem_mremap_move, SEEN ": without EVENT_REMAP the new place is not registered")
{
	for_each_mode(m) {
		struct shmem s = shmem(kind, 3, m, 0);
		uint64_t to = shmem_place(3);

		cached(&s, 0, 2, 5);
		CHECK_OK(go_on(s.u, s.mem, PAGE, 0, NULL));
		CHECK_EQ(T->remap(s.mem, 3 * PAGE, 3 * PAGE, MOVE, to), to);
		CHECK_EQ(peek(to), 5);
		CHECK_EQ(peek(to + PAGE), 6);
		CHECK_EQ(peek(to + 2 * PAGE), 0);
		CHECK_EQ(peek(s.mem), -SIGSEGV);
		CHECK(quiet(s.u));
		CHECK_OK(reg(uffd(0), to, 3 * PAGE, m));
	}
}

EACH_KIND(shmem_mremap_dontunmap, SEEN ": the old place stays registered and maps the same pages, the new is not")
{
	struct shmem s = shmem(kind, 2, MISSING | MINOR, 0);
	uint64_t to = shmem_place(2);
	struct touch t;

	cached(&s, 0, 1, 5);
	CHECK_OK(go_on(s.u, s.mem, PAGE, 0, NULL));
	CHECK_EQ(T->remap(s.mem, 2 * PAGE, 2 * PAGE, MOVE | MREMAP_DONTUNMAP, to), to);
	CHECK_EQ(peek(to), 5);
	CHECK_EQ(peek(to + PAGE), 0);
	CHECK(words_are(s.mem, 2, W_NONE));
	CHECK(quiet(s.u));
	faults(&t, &s, LOAD, 0, F_MINOR);
	CHECK_OK(go_on(s.u, s.mem, PAGE, 0, NULL));
	touch_ends_with(&t, 5);
}

SHARED_KINDS(shmem_mremap_duplicate, "mremap(2): an old size of 0; observed: the duplicate is not registered")
{
	for_each_mode(m) {
		struct shmem s = shmem(kind, 2, m, 0);
		uint64_t to = shmem_place(2);

		cached(&s, 0, 1, 5);
		CHECK_EQ(T->remap(s.mem, 0, 2 * PAGE, MOVE, to), to);
		CHECK_EQ(peek(to), 5);
		CHECK_EQ(peek(to + PAGE), 0);
		CHECK(quiet(s.u));
	}
}

CASE(shmem_mremap_duplicate_private, "mremap(2), EINVAL: an old size of 0, and not shared")
{
	struct shmem s = shmem(PRIVATE, 1, MISSING, 0);

	CHECK_EQ(T->remap(s.mem, 0, PAGE, MOVE, shmem_place(1)), -EINVAL);
}

FILE_KINDS(shmem_mremap_grow, SEEN ": what is added in place is registered, too")
{
	struct shmem s = shmem_map(kind, 2);

	CHECK_OK(T->file_truncate(s.file, 3 * PAGE));
	s.u = uffd(0);
	CHECK_OK(reg(s.u, s.mem, 2 * PAGE, MISSING));
	CHECK_EQ(T->remap(s.mem, 2 * PAGE, 4 * PAGE, 0, 0), s.mem);
	expect_missing(s.u, at(&s, 2));
	CHECK_EQ(peek(at(&s, 3)), -SIGBUS);
	CHECK(quiet(s.u));
}

CASE(shmem_mremap_grow_anonymous, SEEN ": shared anonymous memory ends where it was made to")
{
	struct shmem s = shmem(SHARED, 2, MISSING, 0);

	CHECK_EQ(T->remap(s.mem, 2 * PAGE, 3 * PAGE, 0, 0), s.mem);
	CHECK_EQ(peek(at(&s, 2)), -SIGBUS);
	CHECK(quiet(s.u));
	expect_missing(s.u, at(&s, 1));
}

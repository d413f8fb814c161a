/* SPDX-License-Identifier: MIT */
/*
 * wp_unpopulated_life.c - what the protection of a page that is not present survives: changes of the mapping, of its
 * registration, and fork. With UFFD_FEATURE_WP_UNPOPULATED.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "marker.h"

#define SEEN "kernel 6.18, observed"

CASE(marker_dontneed, SEEN ": gone")
{
	for (const uint64_t *m = modes; m < modes + 2; m++) {
		struct area a = marked_but_one(3, *m);

		CHECK_OK(T->advise(a.mem, 2 * PAGE, MADV_DONTNEED));
		CHECK(words_are(a.mem, 2, W_NONE));
		CHECK_EQ(word(a.mem + 2 * PAGE), W_MARKER);
	}
}

CASE(marker_dontneed_then_store, SEEN)
{
	struct area a = marked(1, WP);

	CHECK_OK(T->advise(a.mem, PAGE, MADV_DONTNEED));
	CHECK_EQ(poke(a.mem, 1), 0);
	CHECK(quiet(a.u));
}

CASE(marker_dontneed_then_missing, SEEN)
{
	struct area a = marked(1, BOTH);

	CHECK_OK(T->advise(a.mem, PAGE, MADV_DONTNEED));
	expect_missing(a.u, a.mem);
	CHECK_EQ(poke(a.mem, 1), 0);
	CHECK(quiet(a.u));
}

CASE(marker_other_advice, SEEN ": MADV_FREE, MADV_COLD and MADV_PAGEOUT leave it")
{
	static const int advices[] = {MADV_FREE, MADV_COLD, MADV_PAGEOUT};

	for (unsigned i = 0; i < 3; i++) {
		struct area a = marked(2, WP);

		CHECK_OK(T->advise(a.mem, 2 * PAGE, advices[i]));
		CHECK(words_are(a.mem, 2, W_MARKER));
		expect_wp(a.u, a.mem);
	}
}

CASE(marker_new_mapping, SEEN)
{
	struct area a = marked(3, WP);

	CHECK_EQ(T->map(a.mem + PAGE, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED), a.mem + PAGE);
	CHECK_EQ(word(a.mem), W_MARKER);
	CHECK_EQ(word(a.mem + PAGE), W_NONE);
	CHECK_EQ(word(a.mem + 2 * PAGE), W_MARKER);
	CHECK_OK(reg(a.u, a.mem + PAGE, PAGE, WP));
	CHECK_EQ(word(a.mem + PAGE), W_NONE);
	CHECK_EQ(poke(a.mem + PAGE, 1), 0);
	CHECK(quiet(a.u));
}

CASE(marker_unmapped, SEEN)
{
	struct area a = marked(3, WP);

	CHECK_OK(T->unmap(a.mem + PAGE, PAGE));
	CHECK_EQ(word(a.mem + PAGE), W_NONE);
	CHECK_EQ(T->map(a.mem + PAGE, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE), a.mem + PAGE);
	CHECK_EQ(word(a.mem + PAGE), W_NONE);
	expect_wp(a.u, a.mem);
	expect_wp(a.u, a.mem + 2 * PAGE);
}

#define MOVE (MREMAP_MAYMOVE | MREMAP_FIXED)

CASE(marker_mremap, SEEN ": what is moved is not protected, without EVENT_REMAP")
{
	for (const uint64_t *m = modes; m < modes + 2; m++) {
		struct area a = marked_but_one(3, *m);
		uint64_t to = map(3);

		CHECK_EQ(T->remap(a.mem, 3 * PAGE, 3 * PAGE, MOVE, to), to);
		CHECK_EQ(word(to), W_NONE);
		CHECK_EQ(word(to + PAGE), W_OWN);
		CHECK_EQ(word(to + 2 * PAGE), W_NONE);
		CHECK_EQ(word(a.mem), W_NONE);
		CHECK(page_is(to + PAGE, 7));
	}
}

CASE(marker_mremap_then_register, SEEN)
{
	struct area a = marked_but_one(3, WP);
	uint64_t to = map(3);

	CHECK_EQ(T->remap(a.mem, 3 * PAGE, 3 * PAGE, MOVE, to), to);
	CHECK_OK(reg(a.u, to, 3 * PAGE, WP));
	CHECK_EQ(word(to), W_NONE);
	CHECK_EQ(word(to + PAGE), W_OWN);
	for (unsigned i = 0; i < 3; i++)
		CHECK_EQ(poke(to + i * PAGE, 1), 0);
	CHECK(quiet(a.u));
}

CASE(marker_mremap_part, SEEN)
{
	struct area a = marked(3, WP);
	uint64_t to = map(1);

	CHECK_EQ(T->remap(a.mem + PAGE, PAGE, PAGE, MOVE, to), to);
	CHECK_EQ(word(to), W_NONE);
	CHECK_EQ(word(a.mem), W_MARKER);
	CHECK_EQ(word(a.mem + 2 * PAGE), W_MARKER);
	expect_wp(a.u, a.mem + 2 * PAGE);
}

CASE(marker_mremap_dontunmap, SEEN ": gone at both places")
{
	for (const uint64_t *m = modes; m < modes + 2; m++) {
		struct area a = marked_but_one(3, *m);
		uint64_t to = map(3);

		CHECK_EQ(T->remap(a.mem, 3 * PAGE, 3 * PAGE, MOVE | MREMAP_DONTUNMAP, to), to);
		CHECK_EQ(word(to), W_NONE);
		CHECK_EQ(word(to + PAGE), W_OWN);
		CHECK(words_are(a.mem, 3, W_NONE));
	}
}

CASE(marker_mremap_grow, SEEN ": the new part has none")
{
	struct area a = marked(2, WP);

	CHECK_EQ(T->remap(a.mem, 2 * PAGE, 4 * PAGE, 0, 0), a.mem);
	CHECK(words_are(a.mem, 2, W_MARKER));
	CHECK(words_are(a.mem + 2 * PAGE, 2, W_NONE));
	CHECK_EQ(poke(a.mem + 2 * PAGE, 1), 0);
	CHECK(quiet(a.u));
	CHECK_OK(protect(a.u, a.mem, 4 * PAGE, SET));
	CHECK_EQ(word(a.mem + 3 * PAGE), W_MARKER);
}

CASE(marker_mremap_shrink, SEEN)
{
	struct area a = marked(3, WP);

	CHECK_EQ(T->remap(a.mem, 3 * PAGE, PAGE, 0, 0), a.mem);
	CHECK_EQ(word(a.mem), W_MARKER);
	CHECK_EQ(word(a.mem + PAGE), W_NONE);
	expect_wp(a.u, a.mem);
}

CASE(marker_mprotect_and_back, SEEN)
{
	static const int prots[] = {PROT_NONE, PROT_READ, RW | PROT_EXEC};

	for (unsigned i = 0; i < 3; i++) {
		struct area a = marked(1, WP);

		CHECK_OK(T->protect(a.mem, PAGE, prots[i]));
		CHECK_EQ(word(a.mem), W_MARKER);
		CHECK_OK(T->protect(a.mem, PAGE, RW));
		CHECK_EQ(word(a.mem), W_MARKER);
		expect_wp(a.u, a.mem);
	}
}

CASE(marker_mprotect_and_back_missing, SEEN)
{
	static const int prots[] = {PROT_NONE, PROT_READ};

	for (unsigned i = 0; i < 2; i++) {
		struct area a = marked(1, BOTH);

		CHECK_OK(T->protect(a.mem, PAGE, prots[i]));
		CHECK_EQ(word(a.mem), W_MARKER);
		CHECK_OK(T->protect(a.mem, PAGE, RW));
		CHECK_EQ(word(a.mem), W_MARKER);
		CHECK_OK(protect(a.u, a.mem, PAGE, 0));
		expect_missing(a.u, a.mem);
	}
}

CASE(marker_in_a_read_only_mapping, SEEN ": a store has no right, a load passes")
{
	struct area a = marked(2, WP);

	CHECK_OK(T->protect(a.mem, 2 * PAGE, PROT_READ));
	CHECK_EQ(poke(a.mem, 1), -SIGSEGV);
	CHECK_EQ(word(a.mem), W_MARKER);
	CHECK_EQ(peek(a.mem), 0);
	CHECK(quiet(a.u));
	CHECK_EQ(word(a.mem), W_LOADED | FL_PM_UFFD_WP);
	CHECK_OK(T->protect(a.mem, 2 * PAGE, RW));
	expect_wp(a.u, a.mem);
	expect_wp(a.u, a.mem + PAGE);
}

CASE(marker_in_a_closed_mapping, SEEN ": PROT_NONE, no access passes and no message is sent")
{
	for (const uint64_t *m = modes; m < modes + 2; m++) {
		struct area a = marked(1, *m);

		CHECK_OK(T->protect(a.mem, PAGE, PROT_NONE));
		CHECK_EQ(peek(a.mem), -SIGSEGV);
		CHECK_EQ(poke(a.mem, 1), -SIGSEGV);
		CHECK(quiet(a.u));
		CHECK_EQ(word(a.mem), W_MARKER);
	}
}

CASE(marker_set_while_closed, SEEN ": PROT_NONE does not matter to UFFDIO_WRITEPROTECT")
{
	struct area a = area(1, WP, FEATURE);

	CHECK_OK(T->protect(a.mem, PAGE, PROT_NONE));
	CHECK_OK(protect(a.u, a.mem, PAGE, SET));
	CHECK_EQ(word(a.mem), W_MARKER);
	CHECK_OK(T->protect(a.mem, PAGE, RW));
	expect_wp(a.u, a.mem);
}

CASE(marker_unset_while_closed, SEEN ": PROT_NONE does not matter to UFFDIO_WRITEPROTECT")
{
	struct area a = marked(1, WP);

	CHECK_OK(T->protect(a.mem, PAGE, PROT_NONE));
	CHECK_OK(protect(a.u, a.mem, PAGE, 0));
	CHECK_EQ(word(a.mem), W_NONE);
	CHECK_OK(T->protect(a.mem, PAGE, RW));
	CHECK_EQ(poke(a.mem, 1), 0);
	CHECK(quiet(a.u));
}

CASE(marker_mprotect_splits, SEEN ": parts that overlap")
{
	struct area a = marked(8, WP);

	CHECK_OK(T->protect(a.mem + PAGE, 3 * PAGE, PROT_READ));
	CHECK_OK(T->protect(a.mem + 2 * PAGE, 4 * PAGE, PROT_NONE));
	CHECK_OK(T->protect(a.mem + 3 * PAGE, PAGE, RW));
	CHECK(words_are(a.mem, 8, W_MARKER));
	CHECK_OK(protect(a.u, a.mem + 2 * PAGE, 2 * PAGE, 0));
	CHECK_EQ(poke(a.mem + 3 * PAGE, 1), 0);
	CHECK_EQ(poke(a.mem + 2 * PAGE, 1), -SIGSEGV);
	CHECK_OK(T->protect(a.mem, 8 * PAGE, RW));
	CHECK(words_are(a.mem, 2, W_MARKER));
	CHECK_EQ(word(a.mem + 2 * PAGE), W_NONE);
	CHECK_EQ(word(a.mem + 3 * PAGE), W_OWN);
	CHECK(words_are(a.mem + 4 * PAGE, 4, W_MARKER));
	expect_wp(a.u, a.mem + 4 * PAGE);
	expect_wp(a.u, a.mem + PAGE);
}

/* ---- registration ---- */

CASE(marker_unregister, SEEN ": gone, elsewhere they stay")
{
	for (const uint64_t *m = modes; m < modes + 2; m++) {
		struct area a = marked_but_one(4, *m);

		CHECK_OK(unreg(a.u, a.mem, 3 * PAGE));
		CHECK_EQ(word(a.mem), W_NONE);
		CHECK_EQ(word(a.mem + PAGE), W_OWN);
		CHECK_EQ(word(a.mem + 2 * PAGE), W_NONE);
		CHECK_EQ(word(a.mem + 3 * PAGE), W_MARKER);
	}
}

CASE(marker_unregister_then_touch, SEEN)
{
	for (const uint64_t *m = modes; m < modes + 2; m++) {
		struct area a = marked(2, *m);

		CHECK_OK(unreg(a.u, a.mem, 2 * PAGE));
		CHECK_EQ(peek(a.mem), 0);
		CHECK_EQ(poke(a.mem + PAGE, 1), 0);
		CHECK(quiet(a.u));
		CHECK_EQ(word(a.mem), W_LOADED);
		CHECK_EQ(word(a.mem + PAGE), W_OWN);
	}
}

CASE(marker_unregister_then_register, SEEN ": not protected")
{
	struct area a = marked_but_one(3, WP);

	CHECK_OK(unreg(a.u, a.mem, 3 * PAGE));
	CHECK_OK(reg(a.u, a.mem, 3 * PAGE, WP));
	CHECK_EQ(word(a.mem), W_NONE);
	CHECK_EQ(word(a.mem + PAGE), W_OWN);
	for (unsigned i = 0; i < 3; i++)
		CHECK_EQ(poke(a.mem + i * PAGE, 1), 0);
	CHECK(quiet(a.u));
}

static void store_waits(struct area *a, struct touch *t, uint64_t flags)
{
	touch_start(t, STORE, a->mem + 1, 3);
	expect_fault(a->u, a->mem, flags);
	CHECK_OK(unreg(a->u, a->mem, PAGE));
}

static void store_ended(struct area *a, struct touch *t)
{
	CHECK_OK(touch_end(t));
	CHECK_EQ(peek(a->mem), 0);
	CHECK_EQ(peek(a->mem + 1), 3);
	CHECK_EQ(word(a->mem), W_OWN);
}

CASE(marker_unregister_releases_waiter, "ioctl_userfaultfd(2) UFFDIO_UNREGISTER")
{
	struct area a = marked(1, BOTH);
	struct touch t;

	store_waits(&a, &t, WRITE);
	store_ended(&a, &t);
}

CASE(marker_unregister_wp_only_wakes_nobody, SEEN ": without MODE_MISSING the waiter needs a WAKE")
{
	struct area a = marked(1, WP);
	struct touch t;

	store_waits(&a, &t, TRAPPED);
	CHECK(touch_waits(&t));
	if (!on_native()) /* in place the host gets it with the store */
		CHECK_EQ(word(a.mem), W_OWN);
	CHECK_OK(wake(a.u, a.mem, PAGE));
	store_ended(&a, &t);
}

CASE(marker_register_again, SEEN ": registered again it stays, in either mode")
{
	for (const uint64_t *m = modes; m < modes + 2; m++) {
		for (const uint64_t *then = modes; then < modes + 2; then++) {
			struct area a = marked(1, *m);

			CHECK_OK(reg(a.u, a.mem, PAGE, *then));
			CHECK_EQ(word(a.mem), W_MARKER);
		}
	}
}

CASE(marker_register_again_part, SEEN ": WP became MISSING and WP in a part")
{
	struct area a = marked(3, WP);
	struct touch t;

	CHECK_OK(reg(a.u, a.mem + PAGE, PAGE, BOTH));
	CHECK(words_are(a.mem, 3, W_MARKER));
	CHECK_EQ(peek(a.mem), 0);
	touch_start(&t, LOAD, a.mem + PAGE, 0xee);
	expect_fault(a.u, a.mem + PAGE, 0);
	fill(a.u, a.mem + PAGE, 1, 5);
	touch_ends_with(&t, 5);
	expect_wp(a.u, a.mem + 2 * PAGE);
}

CASE(marker_close, "userfaultfd(2): close unregisters")
{
	for (const uint64_t *m = modes; m < modes + 2; m++) {
		struct area a = marked_but_one(3, *m);

		CHECK_OK(T->close(a.u));
		CHECK_EQ(word(a.mem), W_NONE);
		CHECK_EQ(word(a.mem + PAGE), W_OWN);
		CHECK_EQ(poke(a.mem + 2 * PAGE, 1), 0);
		CHECK_EQ(poke(a.mem + PAGE, 1), 0);
	}
}

/* ---- fork ---- */

#define CASE_LIBC(fn, src) CASE_ON(fn, ON_LIBC, PROCESS, src)

/* 0, or the number of the check that failed in the child */
static int in_child(int (*check)(uint64_t mem), uint64_t mem)
{
	int status;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (!pid) {
		alarm(CHILD_S);
		_exit(check(mem));
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int child_has_none(uint64_t mem)
{
	if (word(mem) != W_NONE)
		return 1;
	if (word(mem + PAGE) & FL_PM_UFFD_WP)
		return 2;
	if (word(mem + 2 * PAGE) != W_NONE)
		return 3;
	return 0;
}

CASE_LIBC(marker_fork_child_has_none, SEEN)
{
	for (const uint64_t *m = modes; m < modes + 2; m++) {
		struct area a = marked_but_one(3, *m);

		CHECK_OK(in_child(child_has_none, a.mem));
	}
}

static int child_touches(uint64_t mem)
{
	if (peek(mem) || word(mem) != W_LOADED)
		return 1;
	if (poke(mem + PAGE, 3) || peek(mem + PAGE) != 3)
		return 2;
	if (poke(mem + 2 * PAGE, 3) || word(mem + 2 * PAGE) != W_OWN)
		return 3;
	return 0;
}

CASE_LIBC(marker_fork_child_touches, SEEN ": no message is sent")
{
	for (const uint64_t *m = modes; m < modes + 2; m++) {
		struct area a = marked_but_one(3, *m);

		CHECK_OK(in_child(child_touches, a.mem));
		CHECK(quiet(a.u));
		CHECK_EQ(word(a.mem), W_MARKER);
		CHECK_EQ(word(a.mem + 2 * PAGE), W_MARKER);
	}
}

static int child_does_nothing(uint64_t mem)
{
	(void)mem;
	return 0;
}

CASE_LIBC(marker_fork_parent_keeps_them, SEEN)
{
	struct area a = marked_but_one(3, WP);

	CHECK_OK(in_child(child_does_nothing, a.mem));
	CHECK_EQ(word(a.mem), W_MARKER);
	CHECK_EQ(word(a.mem + PAGE), W_PROTECTED);
	CHECK_EQ(word(a.mem + 2 * PAGE), W_MARKER);
	for (unsigned i = 0; i < 3; i++)
		expect_wp(a.u, a.mem + i * PAGE);
	CHECK_EQ(peek(a.mem + PAGE + 1), 7);
}

/* SPDX-License-Identifier: MIT */
/*
 * wp_unpopulated.c - UFFD_FEATURE_WP_UNPOPULATED: write-protecting private anonymous pages that are not present. Such
 * a protected page is called a marker here.
 */
#include "marker.h"

#define MAN  "ioctl_userfaultfd(2), UFFD_FEATURE_WP_UNPOPULATED"
#define SEEN "kernel 6.18, observed"

static bool offers(uint64_t features)
{
	struct fl_uffdio_api a = {.api = FL_UFFD_API, .features = features};
	uffd_t u = T->open(O_CLOEXEC | O_NONBLOCK);

	CHECK(u >= 0);
	CHECK_OK(T->ioctl(u, FL_UFFDIO_API, &a));
	CHECK_OK(T->close(u));
	return a.features & FEATURE;
}

CASE(marker_feature_is_offered, MAN)
{
	CHECK(offers(0));
}

CASE(marker_feature_can_be_asked_for, MAN)
{
	CHECK(offers(FEATURE));
	CHECK(offers(FEATURE | FL_UFFD_FEATURE_PAGEFAULT_FLAG_WP | FL_UFFD_FEATURE_THREAD_ID));
}

/* ---- set and unset ---- */

CASE(marker_word, SEEN ": uffd-wp and swapped, not present, not exclusive")
{
	for (const uint64_t *m = modes; m < modes + 2; m++) {
		struct area a = area(3, *m, FEATURE);

		CHECK(words_are(a.mem, 3, W_NONE));
		CHECK_OK(protect(a.u, a.mem, 2 * PAGE, SET));
		CHECK(words_are(a.mem, 2, W_MARKER));
		CHECK_EQ(word(a.mem + 2 * PAGE), W_NONE);
	}
}

CASE(marker_word_without_the_feature, MAN ": without it, what is not there is not protected")
{
	for (const uint64_t *m = modes; m < modes + 2; m++) {
		struct area a = area(2, *m, 0);

		CHECK_OK(protect(a.u, a.mem, 2 * PAGE, SET));
		CHECK(words_are(a.mem, 2, W_NONE));
	}
}

CASE(marker_store_without_the_feature, MAN)
{
	struct area a = area(1, WP, 0);

	CHECK_OK(protect(a.u, a.mem, PAGE, SET));
	CHECK_EQ(poke(a.mem, 2), 0);
	CHECK(quiet(a.u));
	CHECK_EQ(word(a.mem), W_OWN);
}

CASE(marker_set_twice, SEEN)
{
	struct area a = marked(1, WP);

	CHECK_OK(protect(a.u, a.mem, PAGE, SET));
	CHECK_EQ(word(a.mem), W_MARKER);
	expect_wp(a.u, a.mem);
}

CASE(marker_unset, SEEN ": the page is not there, as before")
{
	for (const uint64_t *m = modes; m < modes + 2; m++) {
		struct area a = marked(3, *m);

		CHECK_OK(protect(a.u, a.mem + PAGE, PAGE, 0));
		CHECK_EQ(word(a.mem), W_MARKER);
		CHECK_EQ(word(a.mem + PAGE), W_NONE);
		CHECK_EQ(word(a.mem + 2 * PAGE), W_MARKER);
	}
}

CASE(marker_unset_where_there_is_none, SEEN)
{
	for (const uint64_t *m = modes; m < modes + 2; m++) {
		struct area a = area(1, *m, FEATURE);

		CHECK_OK(protect(a.u, a.mem, PAGE, 0));
		CHECK_EQ(word(a.mem), W_NONE);
	}
}

CASE(marker_unset_store_passes, SEEN)
{
	struct area a = marked(1, WP);

	CHECK_OK(protect(a.u, a.mem, PAGE, 0));
	CHECK_EQ(poke(a.mem + 1, 5), 0);
	CHECK(quiet(a.u));
	CHECK_EQ(peek(a.mem), 0);
	CHECK_EQ(peek(a.mem + 1), 5);
	CHECK_EQ(word(a.mem), W_OWN);
}

CASE(marker_unset_is_missing, SEEN ": MISSING and WP")
{
	struct area a = marked(1, BOTH);

	CHECK_OK(protect(a.u, a.mem, PAGE, 0));
	expect_missing(a.u, a.mem);
	CHECK_EQ(poke(a.mem, 5), 0);
	CHECK(quiet(a.u));
}

CASE(marker_set_and_unset_again, SEEN)
{
	struct area a = area(1, WP, FEATURE);

	for (unsigned i = 0; i < 5; i++) {
		CHECK_OK(protect(a.u, a.mem, PAGE, SET));
		CHECK_EQ(word(a.mem), W_MARKER);
		CHECK_OK(protect(a.u, a.mem, PAGE, 0));
		CHECK_EQ(word(a.mem), W_NONE);
	}
}

CASE(marker_after_dontneed_again, SEEN ": a page that was dropped is not there")
{
	struct area a = area(1, WP, FEATURE);

	CHECK_EQ(poke(a.mem, 5), 0);
	CHECK_OK(T->advise(a.mem, PAGE, MADV_DONTNEED));
	CHECK_OK(protect(a.u, a.mem, PAGE, SET));
	CHECK_EQ(word(a.mem), W_MARKER);
	expect_wp(a.u, a.mem + 1);
	CHECK_EQ(peek(a.mem), 0);
}

CASE(marker_between_pages, MAN ": a range that is populated in part")
{
	for (const uint64_t *m = modes; m < modes + 2; m++) {
		struct area a = area(6, *m, FEATURE);

		fill(a.u, a.mem + 2 * PAGE, 2, 4);
		CHECK_OK(protect(a.u, a.mem, 6 * PAGE, SET));
		CHECK(words_are(a.mem, 2, W_MARKER));
		CHECK(words_are(a.mem + 2 * PAGE, 2, W_PROTECTED));
		CHECK(words_are(a.mem + 4 * PAGE, 2, W_MARKER));
		CHECK(page_is(a.mem + 2 * PAGE, 4) && page_is(a.mem + 3 * PAGE, 5));
	}
}

CASE(marker_between_pages_unset_in_part, SEEN)
{
	for (const uint64_t *m = modes; m < modes + 2; m++) {
		struct area a = area(6, *m, FEATURE);

		fill(a.u, a.mem + 2 * PAGE, 2, 4);
		CHECK_OK(protect(a.u, a.mem, 6 * PAGE, SET));
		CHECK_OK(protect(a.u, a.mem + PAGE, 2 * PAGE, 0));
		CHECK_EQ(word(a.mem), W_MARKER);
		CHECK_EQ(word(a.mem + PAGE), W_NONE);
		CHECK_EQ(word(a.mem + 2 * PAGE), W_OWN);
		CHECK_EQ(word(a.mem + 3 * PAGE), W_PROTECTED);
		CHECK(words_are(a.mem + 4 * PAGE, 2, W_MARKER));
	}
}

CASE(marker_over_a_hole, SEEN ": 0, and what is mapped is protected")
{
	for (const uint64_t *m = modes; m < modes + 2; m++) {
		struct area a = area(4, *m, FEATURE);

		CHECK_OK(T->unmap(a.mem + PAGE, PAGE));
		CHECK_OK(protect(a.u, a.mem, 4 * PAGE, SET));
		CHECK_EQ(word(a.mem), W_MARKER);
		CHECK_EQ(word(a.mem + PAGE), W_NONE);
		CHECK(words_are(a.mem + 2 * PAGE, 2, W_MARKER));
	}
}

CASE(marker_partly_registered, SEEN ": ENOENT, and the part before is done")
{
	for (const uint64_t *m = modes; m < modes + 2; m++) {
		struct area a = area(3, *m, FEATURE);

		CHECK_OK(unreg(a.u, a.mem + PAGE, PAGE));
		CHECK_EQ(protect(a.u, a.mem, 3 * PAGE, SET), -ENOENT);
		CHECK_EQ(word(a.mem), W_MARKER);
		CHECK(words_are(a.mem + PAGE, 2, W_NONE));
		CHECK_OK(protect(a.u, a.mem + 2 * PAGE, PAGE, SET));
		CHECK_EQ(protect(a.u, a.mem, 3 * PAGE, 0), -ENOENT);
		CHECK_EQ(word(a.mem), W_NONE);
		CHECK_EQ(word(a.mem + 2 * PAGE), W_MARKER);
	}
}

CASE(marker_not_for_missing_only, "ioctl_userfaultfd(2) UFFDIO_WRITEPROTECT, ENOENT")
{
	struct area a = area(1, MISSING, FEATURE);

	CHECK_EQ(protect(a.u, a.mem, PAGE, SET), -ENOENT);
	CHECK_EQ(word(a.mem), W_NONE);
}

CASE(marker_by_an_object_without_the_feature, SEEN ": the object that registered the range is the one that counts")
{
	struct area a = area(1, WP, FEATURE);

	CHECK_OK(protect(uffd(0), a.mem, PAGE, SET));
	CHECK_EQ(word(a.mem), W_MARKER);
}

CASE(marker_in_a_range_without_the_feature, SEEN ": the object that registered the range is the one that counts")
{
	struct area a = area(1, WP, 0);

	CHECK_OK(protect(uffd(FEATURE), a.mem, PAGE, SET));
	CHECK_EQ(word(a.mem), W_NONE);
}

#define SPARSE (1ull << 30)

static struct area sparse(uint64_t mode)
{
	struct area a = {uffd(FEATURE), 0x300000000000};

	CHECK_EQ(T->map(a.mem, SPARSE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE), a.mem);
	CHECK_OK(reg(a.u, a.mem, SPARSE, mode));
	CHECK_OK(protect(a.u, a.mem, SPARSE, SET));
	return a;
}

CASE(marker_sparse_gigabyte, SEEN)
{
	struct area a = sparse(WP);
	uint64_t middle = a.mem + SPARSE / 2 + 3 * PAGE;

	CHECK_EQ(word(a.mem), W_MARKER);
	CHECK_EQ(word(middle), W_MARKER);
	CHECK_EQ(word(a.mem + SPARSE - PAGE), W_MARKER);
	expect_wp(a.u, middle + 5);
	CHECK_EQ(word(middle), W_OWN);
	CHECK_EQ(word(middle - PAGE), W_MARKER);
	CHECK_EQ(word(middle + PAGE), W_MARKER);
	CHECK_OK(protect(a.u, a.mem, SPARSE, 0));
	CHECK_EQ(word(a.mem), W_NONE);
	CHECK_EQ(word(middle), W_OWN);
	CHECK_EQ(word(a.mem + SPARSE - PAGE), W_NONE);
	CHECK_EQ(poke(middle + PAGE, 1), 0);
	CHECK(quiet(a.u));
}

CASE(marker_sparse_gigabyte_missing, SEEN)
{
	struct area a = sparse(BOTH);
	uint64_t middle = a.mem + SPARSE / 2 + 3 * PAGE;
	struct touch t;

	touch_start(&t, STORE, middle + 5, 1);
	expect_fault(a.u, middle, WRITE);
	CHECK_OK(copy(a.u, middle, source(1, 3), PAGE, 0, NULL));
	CHECK_OK(touch_end(&t));
	CHECK_EQ(word(middle), W_OWN);
	CHECK_EQ(word(middle + PAGE), W_MARKER);
}

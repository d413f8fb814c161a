/* SPDX-License-Identifier: MIT */
/* inject.c - the specs of failures on demand, and that each fires exactly as often as it says. */
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/inject.h"
#include "host/count.h"

#include <faultline/testing.h>

/* ---- the parser ---- */

static const struct {
	const char *text;
	struct fl_inject_spec want;
} good[] = {
	{"copy", {FL_INJECT_COPY, EAGAIN, 0, 1}},
	{"copy=EEXIST", {FL_INJECT_COPY, EEXIST, 0, 1}},
	{"copy=EEXIST,after=2,times=3", {FL_INJECT_COPY, EEXIST, 2, 3}},
	{"copy=EEXIST,times=3,after=2", {FL_INJECT_COPY, EEXIST, 2, 3}},
	{"copy,times=all", {FL_INJECT_COPY, EAGAIN, 0, UINT32_MAX}},
	{"userfaultfd", {FL_INJECT_USERFAULTFD, ENOMEM, 0, 1}},
	{"copy-short,after=4294967294", {FL_INJECT_COPY_SHORT, 1, UINT32_MAX - 1, 1}},
	{"read,times=4294967294", {FL_INJECT_READ, 1, 0, UINT32_MAX - 1}},
	{"wake-delay", {FL_INJECT_WAKE_DELAY, 10, 0, 1}},
	{"wake-delay,ms=20,times=2", {FL_INJECT_WAKE_DELAY, 20, 0, 2}},
	{"wake-delay,ms=10000", {FL_INJECT_WAKE_DELAY, 10000, 0, 1}},
	{"alloc.frame,after=007", {FL_FP_FRAME, 1, 7, 1}},
};

static void test_good_specs(void **state)
{
	char why[FL_INJECT_WHY];

	for (unsigned i = 0; i < ARRAY_SIZE(good); i++) {
		const char *at = good[i].text;
		struct fl_inject_spec s;

		assert_true(fl_inject_check(at, why));
		assert_true(fl_inject_next(&at, &s, why));
		assert_null(at);
		assert_int_equal(s.point, good[i].want.point);
		assert_int_equal(s.value, good[i].want.value);
		assert_int_equal(s.after, good[i].want.after);
		assert_int_equal(s.times, good[i].want.times);
	}
}

/* What is wrong, and what the complaint must name. */
static const struct {
	const char *text, *names[3];
} bad[] = {
	{"", {"POINT[=ERRNO]", "copy", "host.fork"}},
	{";", {"POINT[=ERRNO]", ",ms=N"}},
	{"copy;", {"POINT[=ERRNO]"}},
	{"cpoy", {"`cpoy'", "copy-short", "host.fork"}},
	{"cop", {"`cop'"}},
	{"copyy", {"`copyy'"}},
	{"COPY", {"`COPY'", "did you mean `copy'"}},
	{" copy", {"` copy'", "did you mean `copy'"}},
	{"copy:EEXIST", {"`copy:EEXIST'", "did you mean `copy'"}},
	{"Copy-Short:x", {"did you mean `copy-short'"}},
	{"a\nb\x01", {"`a?b?'"}},
	{"copy;zeropag", {"`zeropag'"}},
	{"copy=EPERM", {"`EPERM'", "EAGAIN, EEXIST", "EFAULT"}},
	{"copy=eexist", {"`eexist'"}},
	{"copy=17", {"`17'"}},
	{"copy=", {"`'", "EAGAIN"}},
	{"register=EAGAIN", {"`EAGAIN'", "ENOMEM, EBUSY, EINVAL"}},
	{"copy-short=EAGAIN", {"copy-short", "takes no errno"}},
	{"alloc.frame=ENOMEM", {"alloc.frame", "takes no errno"}},
	{"copy,", {"`'", "after=N, times=N, times=all"}},
	{"copy,before=1", {"`before=1'", "times=all"}},
	{"copy,ms=5", {"`ms=5'", "times=all"}},
	{"wake-delay,m=5", {"`m=5'", "ms=N"}},
	{"copy,after", {"after=", "4294967294"}},
	{"copy,after=", {"after=", "4294967294"}},
	{"copy,after=-1", {"after=-1"}},
	{"copy,after=1x", {"after=1x"}},
	{"copy,after=all", {"after=all"}},
	{"copy,after=4294967295", {"after=4294967295"}},
	{"copy,after=99999999999999999999999", {"after=999"}},
	{"copy,times=0", {"times=0", "from 1", "`all'"}},
	{"copy,times=al", {"times=al", "`all'"}},
	{"wake-delay,ms=0", {"ms=0", "from 1 to 10000"}},
	{"wake-delay,ms=10001", {"ms=10001", "10000"}},
	{"copy,times=1,times=2", {"times=", "twice"}},
	{"alloc.vma;alloc.vma;alloc.vma;alloc.vma;alloc.vma;alloc.vma;alloc.vma;alloc.vma;alloc.vma",
	 {"alloc.vma", "9 times", "at most 8"}},
	{"copy;copy;copy;copy;copy;copy;copy;copy;copy", {"copy", "9 times", "at most 8"}},
};

static void test_bad_specs(void **state)
{
	char why[FL_INJECT_WHY];

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		memset(why, 0, sizeof(why));
		assert_false(fl_inject_check(bad[i].text, why));
		assert_null(strchr(why, '\n'));
		for (unsigned k = 0; k < ARRAY_SIZE(bad[i].names) && bad[i].names[k]; k++)
			if (!strstr(why, bad[i].names[k]))
				fail_msg("`%s': \"%s\" does not name %s", bad[i].text, why, bad[i].names[k]);
		errno = 0;
		assert_int_equal(fl_inject(bad[i].text), -1);
		assert_int_equal(errno, EINVAL);
	}
}

/* The public question has the parser's answer, whole or as much as fits. */
static void test_why(void **state)
{
	char why[FL_INJECT_WHY], told[FL_INJECT_WHY];

	assert_int_equal(fl_inject_why("copy=EEXIST;alloc.vma,after=3", told, sizeof(told)), 0);
	assert_string_equal(told, "");
	assert_int_equal(fl_inject_why(NULL, told, sizeof(told)), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_false(fl_inject_check(bad[i].text, why));
		assert_int_equal(fl_inject_why(bad[i].text, told, sizeof(told)), strlen(why));
		assert_string_equal(told, why);
		assert_int_equal(fl_inject_why(bad[i].text, told, 8), strlen(why));
		assert_int_equal(strlen(told), 7);
		assert_int_equal(memcmp(told, why, 7), 0);
		assert_int_equal(fl_inject_why(bad[i].text, NULL, 0), strlen(why));
	}
}

static void test_long_lists(void **state)
{
	char list[FL_INJECT_LENGTH + 1], why[FL_INJECT_WHY];

	memset(list, 'x', sizeof(list));
	list[FL_INJECT_LENGTH] = '\0';
	assert_false(fl_inject_check(list, why));
	assert_non_null(strstr(why, "4095"));
	list[FL_INJECT_LENGTH - 1] = '\0';
	assert_false(fl_inject_check(list, why)); /* a name this long is truncated */
	assert_non_null(strstr(why, "host.fork"));
}

static void test_lists(void **state)
{
	const char *at = "copy=ENOENT,after=1;wake-delay;alloc.vma,times=all";
	char why[FL_INJECT_WHY];
	struct fl_inject_spec s[3];

	assert_true(fl_inject_check(at, why));
	for (unsigned i = 0; i < 3; i++)
		assert_true(fl_inject_next(&at, &s[i], why));
	assert_null(at);
	assert_int_equal(s[0].value, ENOENT);
	assert_int_equal(s[1].point, FL_INJECT_WAKE_DELAY);
	assert_int_equal(s[2].point, FL_FP_VMA);
	assert_int_equal(s[2].times, UINT32_MAX);
}

static void test_every_point_has_name_text_and_errnos(void **state)
{
	unsigned n = 0;
	int err;

	for (; fl_inject_name(n); n++) {
		assert_true(strlen(fl_inject_text(n)) > 3);
		for (unsigned i = 0; i < n; i++)
			assert_string_not_equal(fl_inject_name(i), fl_inject_name(n));
		for (unsigned i = 0; (err = fl_inject_point_errno(n, i)); i++)
			assert_non_null(fl_inject_errno_name(err));
		assert_true(!fl_inject_point_errno(n, 0) || fl_inject_point_kind(n) == FL_INJECT_KIND_ABI);
		assert_int_equal(fl_inject_point_kind(n) == FL_INJECT_KIND_ENGINE,
				 strchr(fl_inject_name(n), '.') != NULL);
	}
	assert_int_equal(n, FL_NR_INJECT_POINTS);
	assert_null(fl_inject_text(n));
}

/* ---- what fires ---- */

static void fires(enum fl_inject_point point, const char *want)
{
	for (; *want; want++)
		assert_int_equal(fl_injected(point), *want == '.'   ? 0
						     : *want == 'X' ? EEXIST
						     : *want == 'N' ? ENOENT
								    : EAGAIN);
}

static void test_after_and_times(void **state)
{
	uint64_t before, after, counted = fl_stats->injected;

	assert_int_equal(fl_inject_count("copy", NULL, &before), 0);
	fires(FL_INJECT_COPY, "...");
	assert_int_equal(fl_inject("copy"), 0);
	fires(FL_INJECT_ZEROPAGE, "...");
	fires(FL_INJECT_COPY, "A...");
	assert_int_equal(fl_inject("copy=EEXIST,after=2,times=3"), 0);
	fires(FL_INJECT_COPY, "..XXX....");
	assert_int_equal(fl_inject("copy,after=1,times=all"), 0);
	fires(FL_INJECT_COPY, ".AAAAAAAA");
	assert_int_equal(fl_inject("zeropage"), 0); /* other points are unaffected */
	fires(FL_INJECT_COPY, "AA");
	assert_int_equal(fl_inject("copy=ESRCH;cpoy"), -1); /* nothing changes at all */
	fires(FL_INJECT_COPY, "AA");
	assert_int_equal(fl_inject("copy=EEXIST"), 0); /* replaces the earlier one */
	fires(FL_INJECT_COPY, "X...");
	assert_int_equal(fl_inject("copy,times=all"), 0);
	assert_int_equal(fl_inject(NULL), 0);
	fires(FL_INJECT_COPY, "...");
	fires(FL_INJECT_ZEROPAGE, "...");
	assert_int_equal(fl_inject_count("copy", NULL, &after), 0);
	assert_int_equal(after - before, 1 + 3 + 8 + 2 + 2 + 1);
	assert_int_equal(fl_stats->injected - counted, after - before);
	assert_int_equal(fl_inject_count("cpoy", NULL, &after), -1);
	assert_int_equal(errno, ENOENT);
}

/* A call that one spec makes fail is no hit of the next. */
static void test_specs_of_one_point(void **state)
{
	assert_int_equal(fl_inject("copy=EEXIST;copy=ENOENT"), 0);
	fires(FL_INJECT_COPY, "XN...");
	assert_int_equal(fl_inject("copy=EEXIST,after=2;copy=ENOENT,after=3,times=2;copy,after=1"), 0);
	fires(FL_INJECT_COPY, ".AX.NN...");
	assert_int_equal(fl_inject(NULL), 0);
}

static void test_the_engines_own_points(void **state)
{
	uint64_t before, after;

	assert_int_equal(fl_inject_count("alloc.vma", NULL, &before), 0);
	assert_int_equal(fl_inject("alloc.vma,after=1,times=2"), 0);
	assert_false(fl_fail(FL_FP_VMA));
	assert_true(fl_fail(FL_FP_VMA) && fl_fail(FL_FP_VMA));
	assert_false(fl_fail(FL_FP_VMA));
	assert_int_equal(fl_inject_count("alloc.vma", NULL, &after), 0);
	assert_int_equal(after - before, 2);
	assert_int_equal(fl_inject("alloc.vma,times=all"), 0);
	assert_true(fl_fail(FL_FP_VMA));
	assert_int_equal(fl_inject("alloc.vma;alloc.vma,after=1"), 0);
	assert_true(fl_fail(FL_FP_VMA));
	assert_false(fl_fail(FL_FP_VMA));
	assert_true(fl_fail(FL_FP_VMA));
	assert_false(fl_fail(FL_FP_VMA));
	assert_int_equal(fl_inject(NULL), 0);
	assert_false(fl_fail(FL_FP_VMA));
}

/* The engine's points are always counted, the others while a spec names them. */
static void test_hits(void **state)
{
	uint64_t before, after;

	assert_int_equal(fl_inject_count("alloc.vma", &before, NULL), 0);
	assert_false(fl_fail(FL_FP_VMA));
	assert_int_equal(fl_inject("alloc.vma"), 0);
	assert_true(fl_fail(FL_FP_VMA));
	assert_int_equal(fl_inject_count("alloc.vma", &after, NULL), 0);
	assert_int_equal(after - before, 2);
	assert_int_equal(fl_inject_count("copy", &before, NULL), 0);
	assert_int_equal(fl_inject("copy,after=1"), 0);
	fires(FL_INJECT_COPY, ".A.");
	assert_int_equal(fl_inject(NULL), 0);
	fires(FL_INJECT_COPY, "..");
	assert_int_equal(fl_inject_count("copy", &after, NULL), 0);
	assert_int_equal(after - before, 3);
}

/* One point by its name, as the engine's own tests set it. */
static void test_one_point(void **state)
{
	assert_int_equal(fl_inject("zeropage,times=all;copy=EEXIST,times=all;copy"), 0);
	assert_int_equal(fl_inject_set_point("copy", 1, 2), 0);
	fires(FL_INJECT_COPY, ".AA..");
	assert_int_equal(fl_inject_set_point("copy", 0, UINT32_MAX), 0);
	fires(FL_INJECT_COPY, "AA");
	assert_int_equal(fl_inject_set_point("copy", 0, 0), 0);
	fires(FL_INJECT_COPY, "..");
	fires(FL_INJECT_ZEROPAGE, "A");
	assert_int_equal(fl_inject_set_point("cpoy", 0, 1), -ENOENT);
	assert_int_equal(fl_inject(NULL), 0);
}

#define THREADS 4
#define HITS	20000u

static void *hit(void *arg)
{
	uint64_t *fired = arg;

	for (unsigned i = 0; i < HITS; i++)
		*fired += fl_injected(FL_INJECT_COPY) == EEXIST;
	return NULL;
}

static void test_exact_with_threads(void **state)
{
	for (unsigned round = 0; round < 20; round++) {
		uint64_t fired[THREADS] = {0}, sum = 0;
		pthread_t t[THREADS];

		assert_int_equal(fl_inject("copy=EEXIST,after=1000,times=30000;copy=EEXIST,after=7,times=77"), 0);
		for (unsigned i = 0; i < THREADS; i++)
			assert_int_equal(pthread_create(&t[i], NULL, hit, &fired[i]), 0);
		for (unsigned i = 0; i < THREADS; i++) {
			assert_int_equal(pthread_join(t[i], NULL), 0);
			sum += fired[i];
		}
		assert_int_equal(sum, 30000 + 77);
	}
	assert_int_equal(fl_inject(NULL), 0);
}

/* ---- through the library's interface, on memory without a process behind it ---- */

static void test_library(void **state)
{
	static uint8_t page[2 * 4096] = {1};
	struct fl_uffd_msg msg[4];
	struct fl_uffd *u;
	struct fl_mm *mm;
	uint64_t mem;
	int64_t copied = 77;

	assert_int_equal(fl_mm_create(&mm, 16 << 20), 0);
	assert_int_equal(fl_inject("userfaultfd=EMFILE;read"), 0);
	assert_int_equal(fl_uffd_open(mm, FL_UFFD_SRC_HOST | 04000, &u), -1);
	assert_int_equal(errno, EMFILE);
	assert_int_equal(fl_uffd_open(mm, FL_UFFD_SRC_HOST | 04000, &u), 0);
	assert_int_equal(fl_uffd_api(u, 0, NULL), 0);
	assert_int_equal(fl_mmap(mm, 0, 1 << 20, 3, 0x22, &mem), 0);
	assert_int_equal(fl_uffd_register(u, mem, 1 << 20, 1, NULL), 0);
	assert_int_equal(fl_inject("copy=EEXIST;copy=ESRCH;copy-short"), 0);
	assert_int_equal(fl_uffd_copy(u, mem, (uintptr_t)page, 8192, 0, &copied), -1);
	assert_int_equal(errno, EEXIST);
	assert_int_equal(copied, -EEXIST);
	assert_int_equal(fl_uffd_copy(u, mem, (uintptr_t)page, 8192, 0, &copied), -1);
	assert_int_equal(errno, ESRCH);
	assert_int_equal(copied, 0); /* as fl_uffd_copy() passed it in */
	assert_int_equal(fl_uffd_copy(u, mem, (uintptr_t)page, 8192, 0, &copied), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(copied, 4096);
	assert_int_equal(fl_uffd_copy(u, mem + 4096, (uintptr_t)page, 4096, 0, &copied), 0);
	assert_int_equal(fl_uffd_read(u, msg, sizeof(msg)), -1); /* first on demand, then for lack of messages */
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(fl_uffd_read(u, msg, sizeof(msg)), -1);
	assert_int_equal(fl_mm_check(mm), 0);
	assert_int_equal(fl_uffd_close(u), 0);
	assert_int_equal(fl_mm_destroy(mm), 0);
	assert_int_equal(fl_inject(NULL), 0);
}

/* ---- fork, while another thread sets rules ---- */

static bool over;

static void *set_all_the_time(void *arg)
{
	while (!__atomic_load_n(&over, __ATOMIC_RELAXED))
		assert_int_equal(fl_inject("copy,times=all;read,times=3"), 0);
	return NULL;
}

/* The child has no such thread, and can set rules of its own. */
static void test_fork_while_set(void **state)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, set_all_the_time, NULL), 0);
	for (int i = 0; i < 300; i++) {
		int status = -1;
		pid_t pid = fork();

		if (pid == 0) {
			alarm(60);
			_exit(fl_inject("copy") || fl_injected(FL_INJECT_COPY) != EAGAIN);
		}
		assert_true(pid > 0 && waitpid(pid, &status, 0) == pid);
		assert_int_equal(status, 0);
	}
	__atomic_store_n(&over, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	assert_int_equal(fl_inject(NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_specs),
		cmocka_unit_test(test_bad_specs),
		cmocka_unit_test(test_why),
		cmocka_unit_test(test_long_lists),
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_every_point_has_name_text_and_errnos),
		cmocka_unit_test(test_after_and_times),
		cmocka_unit_test(test_specs_of_one_point),
		cmocka_unit_test(test_the_engines_own_points),
		cmocka_unit_test(test_hits),
		cmocka_unit_test(test_one_point),
		cmocka_unit_test(test_exact_with_threads),
		cmocka_unit_test(test_library),
		cmocka_unit_test(test_fork_while_set),
	};

	return cmocka_run_group_tests_name("inject", tests, NULL, NULL);
}

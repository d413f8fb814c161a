/* SPDX-License-Identifier: MIT */
/*
 * sweep.c - the cycle of sweep.h. Every operation on every shape is a case with a process of its own, so that a crash
 * ends one case; the counts of the fault points are summed in memory that the cases share.
 */
#include "sweep.h"

#include "base/inject.h"
#include "starve.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OWN_MAPPINGS false /* the sanitizer's come and go */
#else
#define OWN_MAPPINGS true
#endif

#define FOR_EVER   UINT32_MAX
#define EVERY_HIT  32 /* of an operation that has thousands of hits: the first, then every STRIDE-th */
#define STRIDE	   47
#define MAX_POINTS 64
#define FIRED	   77  /* exit status */
#define SECONDS	   120 /* limit for a case that hangs */

static const struct shape shapes[] = {
	{"1 page", PAGE, PAGE, PAGE},
	{"2 MiB + 1 page", 2 * MB + PAGE, 2 * MB + PAGE, 2 * MB + PAGE},
	{"1 GiB, sparse", 1024 * MB, PAGE, 128 * MB},
};

/* What is special about a point. All others: ENOMEM, and the operation has failed. */
static const struct trait {
	const char *point;
	int err;
	bool absorbed; /* the operation may find another way, or just wait */
	bool cold;     /* what was allocated once is kept for good: the first cycle of a process matters */
	bool bounded;  /* failing for ever would keep a cache from ever dropping a right: by design that never ends */
} traits[] = {
	{.point = "alloc.uffd", .err = ENOMEM, .cold = true},
	{.point = "host.pool", .err = ENOMEM, .cold = true}, /* memory of the host that is got stays */
	{.point = "host.socket", .err = ENFILE},
	{.point = "host.look", .err = ENOMEM, .absorbed = true},  /* it looks again later */
	{.point = "host.maps", .err = ENOMEM, .absorbed = true},  /* that a mapping is still there is then believed */
	{.point = "host.keep", .err = EINVAL},			  /* its file cannot be found */
	{.point = "alloc.swap", .err = ENOMEM, .absorbed = true}, /* the page stays where it is */
	{.point = "alloc.extent", .err = ENOMEM, .absorbed = true}, /* the first of two searches */
	{.point = "alloc.wait", .err = ENOMEM, .absorbed = true},   /* the thread faults until there is memory */
	{.point = "host.mprotect", .err = ENOMEM, .absorbed = true, .bounded = true},
	{.point = "host.guard", .err = ENOMEM, .absorbed = true, .bounded = true},
};

struct count {
	uint64_t hits, failed;
};

struct env env;

static struct count *totals; /* shared by the cases */
static const struct op *op;  /* of this case */
static struct {
	const char *point;
	uint32_t after, times;
	uint64_t failed_before;
} armed;

_Noreturn void sweep_fail(const char *file, int line, const char *fmt, ...)
{
	va_list args;

	printf("# %s:%d: ", file, line);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	if (armed.point)
		printf(" [%s, after %u, %s]", armed.point, armed.after,
		       armed.times == FOR_EVER ? "for ever" : "bounded");
	printf("\n");
	fflush(stdout);
	_exit(1);
}

/* ---- fault points ---- */

/* The name of the engine's `i`th, NULL past the end. */
static const char *engine_point(unsigned i)
{
	unsigned first = 0;

	while (fl_inject_point_kind(first) != FL_INJECT_KIND_ENGINE)
		first++;
	return fl_inject_point_name(first + i);
}

static struct count count_of(const char *point)
{
	struct count c;

	EXPECT_INT(fl_inject_count_of(point, &c.hits, &c.failed), 0);
	return c;
}

static struct trait trait_of(const char *point)
{
	for (unsigned i = 0; i < ARRAY_SIZE(traits); i++)
		if (strcmp(traits[i].point, point) == 0)
			return traits[i];
	return (struct trait){.point = point, .err = ENOMEM};
}

static void arm(const char *point, uint32_t after, uint32_t times)
{
	armed.point = point;
	armed.after = after;
	armed.times = times;
	armed.failed_before = count_of(point).failed;
	EXPECT_INT(fl_inject_set_point(point, after, times), 0);
}

void sweep_disarm(void)
{
	if (armed.point)
		EXPECT_INT(fl_inject_set_point(armed.point, 0, 0), 0);
}

uint64_t sweep_fired(void)
{
	return armed.point ? count_of(armed.point).failed - armed.failed_before : 0;
}

/* ---- the state ---- */

uint64_t page_at(uint64_t i)
{
	uint64_t per = env.shape->spot / PAGE, at = i / per * env.shape->step + i % per * PAGE;

	return at < env.shape->len ? env.base + at : FL_PFN_NONE;
}

uint8_t pattern(uint64_t i)
{
	return (uint8_t)(1 + i * 7 % 251);
}

bool entry_present(uint64_t addr)
{
	return pte_present(fl_pte_get(env.mm, addr));
}

uint32_t registered(uint64_t addr)
{
	struct fl_vma *vma = fl_vma_lookup(env.mm, addr);

	return vma ? vma->flags & VM_UFFD : 0;
}

static uint64_t mix(uint64_t h, uint64_t v)
{
	return (h ^ v) * 0x9e3779b97f4a7c15ull ^ h >> 29;
}

/* Memory in place has no frame of the pool, and may be hidden from this program, but not from this file. */
static uint64_t first_bytes(uint64_t addr, fl_pte_t pte)
{
	const struct fl_vma *vma = fl_vma_lookup(env.mm, addr);
	uint64_t bytes = 0;
	int fd;

	if (!vma || !(vma->flags & VM_IN_PLACE))
		return *(uint64_t *)fl_kmap_local(env.mm, pte_pfn(pte));
	fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	EXPECT(fd >= 0 && pread(fd, &bytes, sizeof(bytes), (off_t)addr) == sizeof(bytes));
	close(fd);
	return bytes;
}

/*
 * Entries with the first bytes of their frames. Which frame it is does not matter, nor whether the page was touched.
 */
static uint64_t entries_digest(uint64_t h, uint64_t start, uint64_t end)
{
	for (uint64_t a = fl_pgtable_next(env.mm, start, end); a < end; a = fl_pgtable_next(env.mm, a, end)) {
		uint64_t next = fl_min((a & PMD_MASK) + PMD_SIZE, end);

		for (; a < next; a += PAGE) {
			fl_pte_t pte = fl_pte_get(env.mm, a);

			if (pte_present(pte))
				h = mix(mix(mix(h, a), pte.val & (PTE_UFFD_WP | PTE_WRITE)), first_bytes(a, pte));
		}
	}
	return h;
}

/* Registrations and pages of the registered mappings, however these are split. */
static uint64_t digest(void)
{
	struct fl_vma run = {0};
	uint64_t h = 1;

	for (uint32_t i = 0; i <= env.mm->nr_vmas; i++) {
		struct fl_vma *v = i < env.mm->nr_vmas ? env.mm->vmas[i] : NULL;

		if (v && !v->ctx)
			continue;
		if (v && v->start == run.end && v->flags == run.flags && v->ctx == run.ctx) {
			run.end = v->end;
			continue;
		}
		h = mix(mix(mix(h, run.start), run.end), run.flags);
		h = entries_digest(h, run.start, run.end);
		if (v)
			run = *v;
	}
	return h;
}

static void check_contents(void)
{
	for (uint64_t i = 0; env.filled && page_at(i) != FL_PFN_NONE; i++) {
		uint8_t byte = 0;

		EXPECT_INT(env.world->access(page_at(i) + i % PAGE, &byte, false), 0);
		EXPECT_INT(byte, pattern(i));
	}
}

static void check_progress(void)
{
	for (uint64_t i = 0; page_at(i) != FL_PFN_NONE; i++)
		EXPECT_INT(entry_present(page_at(i)), i < env.done);
}

/* ---- what a case may not use up ---- */

struct usage {
	uint64_t metadata, size;
	int fds, maps;
};

static int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	EXPECT(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* The number of mappings of the process, and their pages. */
static int count_maps(uint64_t *size)
{
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned long start, end;
	char line[512];
	int n = 0;

	EXPECT(f);
	*size = 0;
	for (; fgets(line, sizeof(line), f); n++)
		if (sscanf(line, "%lx-%lx", &start, &end) == 2 && !strstr(line, "[stack]") && !strstr(line, "[heap]"))
			*size += (end - start) / PAGE;
	fclose(f);
	return n;
}

/* => nothing is mapped or open any longer but the address space itself */
static struct usage usage_now(void)
{
	struct usage u = {.fds = count_fds()};

	starve(env.mm);
	EXPECT_INT(env.mm->metadata, PAGE); /* the topmost page table */
	u.metadata = fl_mm_metadata_bytes(env.mm);
	if (OWN_MAPPINGS)
		u.maps = count_maps(&u.size);
	return u;
}

static void same_usage(const struct usage *now, const struct usage *then)
{
	EXPECT_INT(now->metadata, then->metadata);
	EXPECT_INT(now->fds, then->fds);
	EXPECT_INT(now->maps, then->maps);
	EXPECT_INT(now->size, then->size);
}

/* ---- the cycle ---- */

static void clean_up(void)
{
	if (env.uffd)
		EXPECT_INT(fl_uffd_close(env.uffd), 0);
	if (env.len)
		EXPECT_INT(fl_munmap(env.mm, env.base, env.len), 0);
	if (env.extra_len)
		EXPECT_INT(fl_munmap(env.mm, env.extra, env.extra_len), 0);
	EXPECT_INT(fl_mm_check(env.mm), 0);
}

/* The operation has failed: with the right error, cleanly, and not for good. */
static void check_failure(int ret, uint64_t before)
{
	int want = armed.point ? trait_of(armed.point).err : 0;

	if (!sweep_fired())
		sweep_fail(__FILE__, __LINE__, "%s failed with %d for no reason", op->name, -ret);
	if (op->flags & OP_NEVER_FAILS)
		sweep_fail(__FILE__, __LINE__, "%s failed with %d, which a caller cannot handle", op->name, -ret);
	if (ret != -SIGNAL(SIGBUS) && !(ret == -EAGAIN && (op->flags & OP_PROGRESS) && env.done))
		EXPECT_INT(-ret, want);
	EXPECT_INT(fl_mm_check(env.mm), 0);
	if (op->flags & OP_PROGRESS)
		check_progress();
	else if (!(op->flags & OP_PARTIAL))
		EXPECT_INT(digest() == before, 1);
	check_contents();
	ret = op->run();
	if (ret)
		sweep_fail(__FILE__, __LINE__, "%s, repeated undisturbed, failed with %d", op->name, -ret);
}

/* Returns whether the armed point has failed. */
static bool cycle(const char *point, uint32_t after, uint32_t times, struct usage *usage)
{
	uint64_t before, fired;
	int ret;

	env = (struct env){.world = env.world, .shape = env.shape};
	armed.point = NULL;
	env.world->begin();
	op->prepare();
	before = digest();
	starve(env.mm);
	if (point)
		arm(point, after, times);
	ret = op->run();
	fired = sweep_fired();
	sweep_disarm();
	if (ret)
		check_failure(ret, before);
	else if (fired && !trait_of(point).absorbed && !(op->flags & OP_NEVER_FAILS))
		sweep_fail(__FILE__, __LINE__, "%s succeeded in spite of it", op->name);
	EXPECT_INT(fl_mm_check(env.mm), 0);
	op->verify();
	check_contents();
	clean_up();
	*usage = usage_now();
	env.world->end();
	return fired;
}

static void sweep_point(const char *point, const struct usage *then)
{
	uint32_t persistent = trait_of(point).bounded ? 3 : FOR_EVER;
	struct usage now;

	for (unsigned persist = 0; persist < 2; persist++) {
		uint32_t n = 0;

		while (cycle(point, n, persist ? persistent : 1, &now)) {
			same_usage(&now, then);
			n += n < EVERY_HIT ? 1 : STRIDE;
		}
		same_usage(&now, then);
	}
}

/* Add this process's counts to the shared totals. */
static void add_counts(void)
{
	const char *point;

	for (unsigned i = 0; (point = engine_point(i)); i++) {
		totals[i].hits += count_of(point).hits;
		totals[i].failed += count_of(point).failed;
	}
}

/* N = 0, 1, 2, ..., each in a process of its own, until the point does not fire. */
static void sweep_processes(const char *point, int (*fn)(const char *point, uint32_t after, uint32_t times))
{
	for (unsigned persist = 0; persist < 2; persist++)
		for (uint32_t n = 0, fired = 1; fired; n++) {
			pid_t pid = fork();
			int status;

			if (pid == 0)
				_exit(fn(point, n, persist ? FOR_EVER : 1) ? FIRED : 0);
			EXPECT(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status));
			EXPECT(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == FIRED);
			fired = WEXITSTATUS(status) == FIRED;
		}
}

/* The first cycle of a process. */
static int cold_cycle(const char *point, uint32_t after, uint32_t times)
{
	struct usage usage;
	bool fired = cycle(point, after, times, &usage);

	add_counts();
	return fired;
}

/* FAULT_PASSES: of a case on few pages; from the second to the third nothing may grow. */
static unsigned nr_passes(void)
{
	const char *passes = getenv("FAULT_PASSES");

	return passes && env.shape->spot == PAGE ? (unsigned)atoi(passes) : 1;
}

static void run_case(void)
{
	unsigned passes = nr_passes();
	struct usage first, last = {0}, now;
	const char *point;

	for (unsigned i = 0; (point = engine_point(i)); i++)
		if (trait_of(point).cold)
			sweep_processes(point, cold_cycle);
	cycle(NULL, 0, 0, &first); /* what it allocates once and keeps */
	cycle(NULL, 0, 0, &first);
	for (unsigned pass = 1; pass <= passes; pass++) {
		for (unsigned i = 0; (point = engine_point(i)); i++)
			sweep_point(point, &first);
		cycle(NULL, 0, 0, &now);
		if (pass > 2)
			same_usage(&now, &last);
		last = now;
	}
	add_counts();
}

/* ---- what can be done only once in a process ---- */

/*
 * The first call fails as it may, uses nothing up, and can be repeated. Returns 1 if the point fired. => in a process
 * of its own
 */
static int birth(const char *point, uint32_t after, uint32_t times)
{
	int fds = count_fds(), maps, ret;
	uint64_t size, size_after;

	maps = count_maps(&size);
	maps = count_maps(&size); /* what the first look allocates counts as there before */
	arm(point, after, times);
	errno = 0;
	ret = env.world->birth();
	sweep_disarm();
	if (ret) {
		if (!sweep_fired())
			sweep_fail(__FILE__, __LINE__, "birth failed for no reason");
		EXPECT_INT(-ret, trait_of(point).err);
		EXPECT_INT(count_fds(), fds);
		if (OWN_MAPPINGS) {
			EXPECT_INT(count_maps(&size_after), maps);
			EXPECT_INT(size_after, size);
		}
		EXPECT_INT(env.world->birth(), 0);
	}
	add_counts();
	return sweep_fired() != 0;
}

static void sweep_birth(void)
{
	const char *point;

	for (unsigned i = 0; (point = engine_point(i)); i++)
		sweep_processes(point, birth);
}

/* ---- cases and the verdict ---- */

static bool try_case(int nr, const char *name, void (*fn)(void), const char *only)
{
	int status;
	pid_t pid;

	if (only && !strstr(name, only))
		return true;
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		alarm(SECONDS);
		fn();
		_exit(0);
	}
	EXPECT(pid > 0 && waitpid(pid, &status, 0) == pid);
	if (WIFSIGNALED(status))
		printf("# signal %d\n", WTERMSIG(status));
	printf("%sok %d - %s\n", status ? "not " : "", nr, name);
	return !status;
}

static bool must_fail(const char *point)
{
	const char *guard = getenv("FAULTLINE_GUARD");

	if (guard && strcmp(guard, "off") == 0 && strcmp(point, "host.guard") == 0)
		return false;
	for (const char *const *p = env.world->points; *p; p++)
		if (strcmp(*p, point) == 0)
			return true;
	return false;
}

static bool try_table(const struct op *table, int *nr, const char *only)
{
	bool good = true;
	char name[96];

	for (op = table; op && op->name; op++)
		for (unsigned i = 0; i < ARRAY_SIZE(shapes); i++) {
			env.shape = &shapes[i];
			snprintf(name, sizeof(name), "%s on %s, %s", op->name, env.shape->name, env.world->name);
			good &= try_case(++*nr, name, run_case, only);
		}
	return good;
}

/* The last case: every point that this world has was made to fail. */
static bool every_point_failed(int nr)
{
	bool good = true;
	const char *point;

	for (unsigned i = 0; (point = engine_point(i)); i++) {
		bool missed = must_fail(point) && !totals[i].failed;

		printf("# %-16s %10llu hits %10llu failures%s\n", point, (unsigned long long)totals[i].hits,
		       (unsigned long long)totals[i].failed,
		       missed		  ? "  NEVER MADE TO FAIL"
		       : must_fail(point) ? ""
					  : "  (not of this address space)");
		good &= !missed;
	}
	printf("%sok %d - every fault point was made to fail, %s\n", good ? "" : "not ", nr, env.world->name);
	return good;
}

int sweep_main(int argc, char **argv, const struct world *world)
{
	const char *only = argc > 1 ? argv[1] : NULL;
	bool good;
	int nr = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	totals = mmap(NULL, MAX_POINTS * sizeof(*totals), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	EXPECT(totals != MAP_FAILED && FL_NR_INJECT_POINTS <= MAX_POINTS);
	env.world = world;
	good = !world->birth || try_case(++nr, "birth", sweep_birth, only);
	good &= try_table(common_ops, &nr, only);
	good &= try_table(shared_ops, &nr, only);
	good &= try_table(world->own, &nr, only);
	if (!only)
		good &= every_point_failed(++nr);
	printf("1..%d\n", nr);
	return !good;
}

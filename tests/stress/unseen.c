/* SPDX-License-Identifier: MIT */
/*
 * unseen.c - a program that makes system calls by instructions of its own, as Go does: it unmaps registered memory
 * and maps something else in its place, and no library sees that. Whatever it does with its object afterwards, what
 * is there now is its own: every byte and every right of it.
 */
#include "stress.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 16
#define FROM  4 /* the pages that are replaced */
#define TO    9

/* ---- what was registered, and how; what takes its place; what is done then ----------------------------------- */

enum memory { PRIVATE, HEAP, SHARED, MEMORIES };
enum mode { FILLED, PROTECTED, MISSING_ONLY, ONCE, MODES }; /* ONCE: registered, and no longer */
enum now { WRITABLE, READ_ONLY, NOTHING, OF_FILE, NOWS };
enum then { CLOSE, UNREGISTER, FORK, REGISTER, ADVISE, PROTECT_REST, FAULT_REST, THENS };

static const char *const memory_names[] = {"private", "heap", "shared"},
			 *const mode_names[] = {"filled", "protected", "missing", "once"},
			 *const now_names[] = {"writable", "read-only", "nothing", "file"},
			 *const then_names[] = {"close",  "unregister", "fork", "register",
						"advise", "protect",	"fault"};

static int fd, file;
static char *mem;

static char byte(long page, long i)
{
	return (char)(page * 31 + i % 251 + 7);
}

static void map_memory(enum memory memory)
{
	int m = memory == SHARED ? memfd_create("unseen", MFD_CLOEXEC) : -1;

	if (memory == SHARED)
		CHECK_INT(ftruncate(m, PAGES * PAGE), 0);
	mem = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
		   memory == SHARED ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, m, 0);
	CHECK(mem != MAP_FAILED);
	if (m >= 0)
		CHECK_INT(close(m), 0);
	if (memory == HEAP) /* with data in it */
		memset(mem, 'h', PAGES * PAGE);
}

static void watch(enum memory memory, enum mode mode)
{
	char *src = map_pages(1);
	uint64_t modes = mode == PROTECTED ? WP : mode == MISSING_ONLY ? MISSING : MISSING | WP;

	uffd_register(fd, mem, PAGES * PAGE, modes);
	memset(src, 's', PAGE);
	for (long i = 0; i < PAGES && (mode == FILLED || mode == ONCE) && memory != HEAP; i++)
		CHECK_INT(uffd_copy(fd, mem + i * PAGE, src, PAGE, 0), 0);
	if (mode == PROTECTED)
		CHECK_INT(uffd_protect(fd, mem, PAGES * PAGE, true), 0);
	if (mode == ONCE) {
		mem[FROM * PAGE] = 'x';
		CHECK_INT(uffd_unregister(fd, mem, PAGES * PAGE), 0);
	}
}

static void replace(enum now now)
{
	char *at = mem + FROM * PAGE;
	long len = (TO - FROM) * PAGE, prot = now == WRITABLE || now == OF_FILE ? PROT_READ | PROT_WRITE : PROT_READ;

	CHECK_INT(raw(SYS_munmap, (long)at, len, 0, 0, 0, 0), 0);
	if (now == NOTHING)
		return;
	CHECK_INT(raw(SYS_mmap, (long)at, len, PROT_READ | PROT_WRITE,
		      MAP_FIXED | MAP_PRIVATE | (now == OF_FILE ? 0 : MAP_ANONYMOUS), now == OF_FILE ? file : -1, 0),
		  (long)at);
	for (long p = FROM; p < TO; p++)
		for (long i = 0; i < PAGE; i++)
			mem[p * PAGE + i] = byte(p, i);
	if (prot != (PROT_READ | PROT_WRITE))
		CHECK_INT(raw(SYS_mprotect, (long)at, len, prot, 0, 0, 0), 0);
}

static void check_ours(enum now now, const char *where)
{
	unsigned char in[TO - FROM];

	if (now == NOTHING) {
		CHECK_INT(raw(SYS_mincore, (long)(mem + FROM * PAGE), (TO - FROM) * PAGE, (long)in, 0, 0, 0),
			  -ENOMEM);
		return;
	}
	for (long p = FROM; p < TO; p++)
		for (long i = 0; i < PAGE; i++)
			if (mem[p * PAGE + i] != byte(p, i))
				FAIL("%s: byte %ld of page %ld is %#x, not %#x", where, i, p,
				     (unsigned char)mem[p * PAGE + i], (unsigned char)byte(p, i));
	CHECK_INT(may_write(mem + FROM * PAGE), now != READ_ONLY);
	if (now == READ_ONLY)
		return;
	mem[FROM * PAGE] = byte(FROM, 0);
	mem[TO * PAGE - 1] = byte(TO - 1, PAGE - 1);
}

static enum now replaced;

static void check_in_child(void *unused)
{
	(void)unused;
	check_ours(replaced, "in the child");
}

static void *touch_rest(void *unused)
{
	(void)unused;
	peek(mem);
	poke(mem + (PAGES - 1) * PAGE, 1);
	return NULL;
}

/* The rest of the range is still registered, or not at all. */
static void then(enum then what, enum mode mode)
{
	struct handler h = {.fd = fd, .lenient = true};

	switch (what) {
	case CLOSE:
		CHECK_INT(close(fd), 0);
		fd = -1;
		break;
	case UNREGISTER:
		uffd_unregister(fd, mem, PAGES * PAGE);
		break;
	case FORK:
		CHECK_INT(in_child(check_in_child, NULL), 0);
		break;
	case REGISTER: /* what is beside it */
		uffd_register(fd, mem + TO * PAGE, (PAGES - TO) * PAGE, MISSING);
		break;
	case ADVISE:
		CHECK_INT(madvise(mem + TO * PAGE, PAGE, MADV_DONTNEED), 0);
		madvise(mem, PAGES * PAGE, MADV_COLD);
		break;
	case PROTECT_REST:
		if (mode != ONCE && mode != MISSING_ONLY)
			CHECK_INT(uffd_protect(fd, mem, FROM * PAGE, true), 0);
		break;
	default:
		if (mode == ONCE) {
			touch_rest(NULL);
			break;
		}
		handler_start(&h);
		CHECK(!join(spawn(touch_rest, NULL)));
		handler_stop(&h);
	}
}

static void one(enum memory memory, enum mode mode, enum now now, enum then what)
{
	fd = uffd_open(O_CLOEXEC | O_NONBLOCK,
		       FEAT_WP | UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_WP_HUGETLBFS_SHMEM);
	map_memory(memory);
	watch(memory, mode);
	replace(now);
	replaced = now;
	then(what, mode);
	check_ours(now, then_names[what]);
	if (fd >= 0)
		CHECK_INT(close(fd), 0);
	check_ours(now, "after the end");
	CHECK_INT(munmap(mem, PAGES * PAGE), 0);
}

static void all_of(enum memory memory)
{
	char name[] = "/tmp/unseen-XXXXXX";

	file = mkstemp(name);
	CHECK(file >= 0);
	CHECK_INT(unlink(name), 0);
	CHECK_INT(ftruncate(file, PAGES * PAGE), 0);
	for (int mode = 0; mode < MODES; mode++)
		for (int now = 0; now < NOWS; now++)
			for (int what = 0; what < THENS; what++) {
				struct {
					enum memory memory;
					enum mode mode;
					enum now now;
					enum then what;
				} c = {memory, (enum mode)mode, (enum now)now, (enum then)what};
				int status;
				pid_t pid;

				/* what hides or shows pages beside it does so to all around: divergence.md */
				if ((what >= ADVISE && (now == READ_ONLY || now == NOTHING)) ||
				    (mode == PROTECTED && (what == FAULT_REST || now == READ_ONLY)))
					continue;
				pid = fork();

				if (pid == 0) {
					one(c.memory, c.mode, c.now, c.what);
					exit(0);
				}
				CHECK_INT(waitpid(pid, &status, 0), pid);
				if (status)
					FAIL("%s, %s, now %s, then %s: status %#x", memory_names[memory],
					     mode_names[mode], now_names[now], then_names[what], (unsigned)status);
			}
}

static void test_private(void)
{
	all_of(PRIVATE);
}

static void test_heap(void)
{
	all_of(HEAP);
}

static void test_shared(void)
{
	all_of(SHARED);
}

static const struct test tests[] = {
	{"private", test_private, 60},
	{"with-data", test_heap, 60},
	{"shared", test_shared, 60},
	{NULL, NULL, 0},
};

int main(int argc, char **argv)
{
	return run_tests(argc, argv, tests);
}

/* SPDX-License-Identifier: MIT */
/*
 * shmem_state.c - files stay as the program has them: the position and the flags of its descriptors, what
 * fallocate(2) reserved. And what is told of them does not depend on the user, the root directory or the limits that
 * the process has by then.
 */
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "shmem.h"

#define LIBC(fn, src) CASE_ON(fn, ON_LIBC, PROCESS, src)
#define NOBODY	      65534

static void be_nobody(void)
{
	if (getuid())
		skip("only root can become another user");
	CHECK_OK(setgid(NOBODY));
	CHECK_OK(setuid(NOBODY));
}

static void fd_is_at(const struct shmem *s, off_t pos)
{
	CHECK_EQ(lseek((int)s->file, 0, SEEK_CUR), pos);
}

static void add(const struct shmem *s, const char *text)
{
	CHECK_EQ(write((int)s->file, text, strlen(text)), strlen(text));
}

/* All that asks the file something. */
static void use_all(struct shmem *s)
{
	struct touch t;

	CHECK_EQ(copy(s->u, at(s, 2), source(1, 7), PAGE, 0, NULL), 0);
	CHECK_EQ(copy(s->u, at(s, 2), source(1, 7), PAGE, 0, NULL), -EEXIST);
	CHECK_EQ(zero(s->u, at(s, 3), PAGE, 0, NULL), 0);
	CHECK_EQ(copy(s->u, at(s, 4), source(3, 1), 3 * PAGE, 0, NULL), 0);
	faults(&t, s, LOAD, 8, 0);
	CHECK_EQ(copy(s->u, at(s, 8), source(1, 9), PAGE, 0, NULL), 0);
	touch_ends_with(&t, 9);
	CHECK_EQ(file_byte(s->file, 2 * PAGE), 7);
	CHECK_EQ(file_byte(s->file, 6 * PAGE + 5), 3);
}

LIBC(shmem_position_stays, "lseek(2): the position changes by what the program does")
{
	struct shmem s = shmem_map(MEMFD, 16);

	s.u = uffd(0);
	add(&s, "first ");
	CHECK_OK(reg(s.u, s.mem, 16 * PAGE, MISSING | MINOR));
	use_all(&s);
	fd_is_at(&s, 6);
	CHECK_OK(unreg(s.u, s.mem, 16 * PAGE));
	add(&s, "second");
	fd_is_at(&s, 12);
	CHECK_EQ(peek(s.mem + 6), 's');
}

LIBC(shmem_append_stays, "open(2): O_APPEND; userfaultfd writes pages, not to the end")
{
	struct shmem s = shmem_map(MEMFD, 16);

	CHECK_OK(fcntl((int)s.file, F_SETFL, O_APPEND));
	s.u = uffd(0);
	CHECK_OK(reg(s.u, s.mem, 16 * PAGE, MISSING | MINOR));
	use_all(&s);
	CHECK_EQ(lseek((int)s.file, 0, SEEK_END), 16 * PAGE);
}

/* Nothing of it may be opened anew: the program's own descriptor is all there is. */
static void own_descriptor_only(int flags)
{
	struct shmem s = {.file = file_of(16)};
	uffd_t u = uffd(0);

	CHECK_OK(fcntl((int)s.file, F_SETFL, flags));
	CHECK_OK(fchmod((int)s.file, 0));
	be_nobody();
	s.u = u;
	s.mem = map_of(s.file, 0, 16, RW, MAP_SHARED);
	s.other = map_of(s.file, 0, 16, RW, MAP_SHARED);
	if (!flags)
		add(&s, "first ");
	CHECK_OK(reg(s.u, s.mem, 16 * PAGE, MISSING | MINOR));
	use_all(&s);
	fd_is_at(&s, flags ? 0 : 6);
	CHECK_EQ(lseek((int)s.file, 0, SEEK_END), 16 * PAGE);
}

LIBC(shmem_position_stays_unopenable, "lseek(2)")
{
	own_descriptor_only(0);
}

LIBC(shmem_append_stays_unopenable, "open(2)")
{
	own_descriptor_only(O_APPEND);
}

/* ---- reserved pages are in the file ---- */

static void reserve(const struct shmem *s, unsigned page, unsigned pages)
{
	CHECK_OK(fallocate((int)s->file, 0, (off_t)(page * PAGE), (off_t)(pages * PAGE)));
}

/* A kernel of before 6.5 does not tell, and natively it is asked (cachestat(2)). */
static struct shmem reserved(uint64_t mode)
{
	struct shmem s = shmem_map(MEMFD, 16);

	if (on_native() && ask_kernel(451, -1, 0, 0, 0) == -ENOSYS)
		skip("the host does not tell of reserved pages");
	reserve(&s, 0, 8);
	s.u = uffd(0);
	CHECK_OK(reg(s.u, s.mem, 16 * PAGE, mode));
	return s;
}

LIBC(shmem_reserved_is_not_missing, SEEN)
{
	struct shmem s = reserved(MISSING);

	loads(&s, 1, 0);
	stores(&s, 2, 5);
	CHECK_EQ(file_byte(s.file, 2 * PAGE), 5);
	CHECK_EQ(copy(s.u, at(&s, 3), source(1, 9), PAGE, 0, NULL), -EEXIST);
	CHECK_EQ(zero(s.u, at(&s, 4), PAGE, 0, NULL), -EEXIST);
	expect_missing(s.u, at(&s, 8));
	reserve(&s, 9, 1);
	loads(&s, 9, 0);
}

LIBC(shmem_reserved_ends_a_fill, SEEN)
{
	struct shmem s = reserved(MISSING);
	int64_t done;

	reserve(&s, 12, 1);
	CHECK_EQ(copy(s.u, at(&s, 10), source(4, 1), 4 * PAGE, 0, &done), -EAGAIN);
	CHECK_EQ(done, 2 * PAGE);
	CHECK_EQ(file_byte(s.file, 12 * PAGE), 0);
}

LIBC(shmem_reserved_is_minor, SEEN)
{
	struct shmem s = reserved(MISSING | MINOR);
	struct touch t;

	faults(&t, &s, LOAD, 5, F_MINOR);
	CHECK_OK(go_on(s.u, at(&s, 5), PAGE, 0, NULL));
	touch_ends_with(&t, 0);
	CHECK_OK(go_on(s.u, at(&s, 6), PAGE, 0, NULL));
	loads(&s, 6, 0);
	CHECK_EQ(go_on(s.u, at(&s, 9), PAGE, 0, NULL), -EFAULT);
}

LIBC(shmem_reserved_and_given_back, SEEN)
{
	struct shmem s = reserved(MISSING);

	drop(&s, 0, 8);
	expect_missing(s.u, at(&s, 1));
}

LIBC(shmem_reserved_while_it_waits, "userfaultfd(2): UFFDIO_WAKE; the fault is tried again, and the page is there")
{
	struct shmem s = reserved(MISSING);
	struct touch t;

	faults(&t, &s, LOAD, 10, 0);
	reserve(&s, 10, 1);
	CHECK_OK(wake(s.u, at(&s, 10), PAGE));
	touch_ends_with(&t, 0);
}

/* ---- what the process has given up by then ---- */

/* Of pages that are cached and not mapped each sends its message; what is not in the file is missing. */
static void tells(uffd_t u)
{
	struct shmem s = shmem_map(MEMFD, 16);
	struct touch t;

	cached(&s, 0, 8, 1);
	s.u = u;
	CHECK_OK(reg(s.u, s.mem, 16 * PAGE, MISSING | MINOR));
	for (unsigned i = 0; i < 16; i += 3) {
		faults(&t, &s, LOAD, i, i < 8 ? F_MINOR : 0);
		if (i < 8)
			CHECK_OK(go_on(s.u, at(&s, i), PAGE, 0, NULL));
		else
			CHECK_OK(zero(s.u, at(&s, i), PAGE, 0, NULL));
		touch_ends_with(&t, (uint8_t)(i < 8 ? i + 1 : 0));
	}
}

LIBC(shmem_tells_after_setuid, SEEN)
{
	uffd_t u = uffd(0);

	be_nobody();
	tells(u);
}

LIBC(shmem_tells_when_not_dumpable, "prctl(2): PR_SET_DUMPABLE: what is in /proc is root's then")
{
	uffd_t u = uffd(0);

	CHECK_OK(prctl(PR_SET_DUMPABLE, 0));
	tells(u);
}

LIBC(shmem_tells_after_setuid_by_number, SEEN)
{
	if (getuid())
		skip("only root can become another user");
	CHECK_EQ(syscall(SYS_setresuid, NOBODY, NOBODY, NOBODY), 0);
	tells(uffd_flags(O_NONBLOCK | O_CLOEXEC | FL_UFFD_USER_MODE_ONLY, 0));
}

LIBC(shmem_tells_after_setuid_unseen, SEEN)
{
	if (getuid())
		skip("only root can become another user");
	CHECK_EQ(ask_kernel(SYS_setresuid, NOBODY, NOBODY, NOBODY, 0), 0);
	tells(uffd_flags(O_NONBLOCK | O_CLOEXEC | FL_UFFD_USER_MODE_ONLY, 0));
}

LIBC(shmem_tells_in_a_jail, "chroot(2): there is no /proc")
{
	char dir[] = "/tmp/faultline-jail-XXXXXX";

	if (getuid())
		skip("only root can change its root directory");
	CHECK(mkdtemp(dir));
	CHECK_OK(chdir(dir));
	CHECK_OK(rmdir(dir));
	CHECK_OK(chroot("."));
	be_nobody();
	tells(uffd_flags(O_NONBLOCK | O_CLOEXEC | FL_UFFD_USER_MODE_ONLY, 0));
}

LIBC(shmem_tells_under_file_size_limit, "setrlimit(2): RLIMIT_FSIZE is about files that the process writes")
{
	struct shmem s = shmem_map(MEMFD, 16);

	s.u = uffd(0);
	CHECK_OK(reg(s.u, s.mem, 16 * PAGE, MISSING | MINOR));
	CHECK_OK(setrlimit(RLIMIT_FSIZE, &(struct rlimit){PAGE, PAGE}));
	use_all(&s);
}

LIBC(shmem_tells_under_mcl_future, "mlockall(2): MCL_FUTURE is about what the program maps from then on")
{
	struct shmem s = shmem_map(MEMFD, 16);
	struct touch t;

	cached(&s, 0, 8, 1);
	s.u = uffd(0);
	if (mlockall(MCL_FUTURE))
		skip("it may lock no memory");
	CHECK_OK(reg(s.u, s.mem, 16 * PAGE, MISSING | MINOR));
	CHECK_OK(munlockall()); /* for the threads' stacks */
	faults(&t, &s, LOAD, 1, F_MINOR);
	CHECK_OK(go_on(s.u, at(&s, 1), PAGE, 0, NULL));
	touch_ends_with(&t, 2);
	faults(&t, &s, LOAD, 9, 0);
	CHECK_OK(zero(s.u, at(&s, 9), PAGE, 0, NULL));
	touch_ends_with(&t, 0);
}

/* SPDX-License-Identifier: MIT */
/*
 * native.c - the sweeps on this process's own address space. Loads and stores are the process's own; the signals that
 * faultline raises for them are caught here.
 */
#include "ops.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/lib.h"
#include "native/native.h"
#include "unprivileged.h"

static _Thread_local sigjmp_buf back;

static void caught(int sig)
{
	siglongjmp(back, sig);
}

static int native_birth(void)
{
	return fl_mm_process(&env.mm) ? -errno : 0;
}

static void native_begin(void)
{
	EXPECT_INT(native_birth(), 0);
}

static int file_fd = -1; /* of the cycle's file, which finds it */

static void native_end(void)
{
	if (file_fd >= 0)
		close(file_fd);
	file_fd = -1;
}

static int native_access(uint64_t addr, uint8_t *byte, bool write)
{
	volatile uint8_t *p = fl_ptr(addr);
	int sig = sigsetjmp(back, 1);

	if (sig)
		return sig;
	if (write)
		*p = *byte;
	else
		*byte = *p;
	return 0;
}

/* ---- fork: the library has no handler of its own, so this calls what the preloaded one does ---- */

static void to_fork(void)
{
	for (const struct op *o = common_ops; o->name; o++)
		if (strcmp(o->name, "WRITEPROTECT") == 0)
			o->prepare();
}

static int run_fork(void)
{
	int err = fl_native_fork_prepare(), status;
	pid_t pid;

	if (err)
		return err;
	pid = fork();
	if (pid == 0) {
		fl_native_fork_child();
		for (uint64_t i = 0; page_at(i) != FL_PFN_NONE; i++) {
			uint8_t byte = 0;

			if (native_access(page_at(i) + i % PAGE, &byte, false) || byte != pattern(i))
				_exit(1);
		}
		_exit(fl_mm_check(env.mm) ? 2 : 0);
	}
	fl_native_fork_parent(pid);
	EXPECT(pid > 0 && waitpid(pid, &status, 0) == pid);
	EXPECT_INT(status, 0);
	return 0;
}

static void nothing(void)
{
}

/* ---- private mappings of a file: a page is copied when it is first touched ---- */

static void map_file_private(void)
{
	int fd = memfd_create("sweep", MFD_CLOEXEC);
	void *at;

	EXPECT(fd >= 0 && ftruncate(fd, (off_t)env.shape->len) == 0);
	at = mmap(NULL, env.shape->len, RW, MAP_SHARED, fd, 0);
	EXPECT(at != MAP_FAILED);
	env.extra = fl_addr(at);
	env.extra_len = env.shape->len;
	at = mmap(NULL, env.shape->len, RW, MAP_PRIVATE | MAP_NORESERVE, fd, 0);
	EXPECT(at != MAP_FAILED);
	env.base = fl_addr(at);
	env.len = env.shape->len;
	store_patterns(env.extra);
	file_fd = fd;
	open_object(FL_UFFD_FEATURE_SIGBUS);
}

static void registered_file_private(void)
{
	map_file_private();
	reg(WP);
}

static int run_register_private(void)
{
	return result(fl_uffd_register(env.uffd, env.base, env.len, MISSING | WP, NULL));
}

static int touch_private(bool write)
{
	for (; page_at(env.done) != FL_PFN_NONE; env.done++) {
		uint8_t byte = (uint8_t)~pattern(env.done);
		int sig = native_access(page_at(env.done) + env.done % PAGE, &byte, write);

		if (sig)
			return -SIGNAL(sig);
		EXPECT_INT(byte, write ? (uint8_t)~pattern(env.done) : pattern(env.done));
	}
	return 0;
}

static int run_load_private(void)
{
	return touch_private(false);
}

static int run_store_private(void)
{
	return touch_private(true);
}

/* The file is unchanged. */
static void verify_stored_private(void)
{
	for (uint64_t i = 0; page_at(i) != FL_PFN_NONE; i++) {
		uint8_t byte = 0;

		EXPECT_INT(native_access(page_at(i) - env.base + env.extra + i % PAGE, &byte, false), 0);
		EXPECT_INT(byte, pattern(i));
	}
}

/* ---- shared memory to be registered: its file is kept from the start ---- */

static void object_only(void)
{
	open_object(FL_UFFD_FEATURE_SIGBUS);
}

/* Mapping it never fails for lack of a descriptor; registering it does. */
static int run_map_shared(void)
{
	if (env.len) {
		EXPECT_INT(fl_munmap(env.mm, env.base, env.len), 0);
		env.len = 0;
	}
	map_as(MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE);
	return run_register_private();
}

static const struct op native_ops[] = {
	{"mmap of shared memory, then REGISTER", object_only, run_map_shared, nothing, 0},
	{"REGISTER of a private mapping of a file", map_file_private, run_register_private, check_spots, 0},
	{"load of a private mapping", registered_file_private, run_load_private, check_spots, OP_PROGRESS},
	{"store to a private mapping", registered_file_private, run_store_private, verify_stored_private,
	 OP_PROGRESS},
	{"fork", to_fork, run_fork, nothing, 0},
	{0},
};

static const char *const native_points[] = {
	"alloc.vma",   "alloc.vma_table", "alloc.pgtable", "alloc.uffd",    "alloc.wait",
	"alloc.frame", "alloc.file",	  "alloc.extent",  "host.pool",	    "host.fill",
	"host.adopt",  "host.maps",	  "host.mprotect", "host.guard",    "host.socket",
	"host.fork",   "host.keep",	  "host.look",	   "host.collapse", NULL,
};

static const struct world native = {
	.name = "native",
	.birth = native_birth,
	.begin = native_begin,
	.end = native_end,
	.access = native_access,
	.points = native_points,
	.own = native_ops,
};

int main(int argc, char **argv)
{
	struct sigaction act = {.sa_handler = caught};

	EXPECT(be_unprivileged() == 0); /* finding the files behind mappings takes more then */
	sigaction(SIGBUS, &act, NULL);
	sigaction(SIGSEGV, &act, NULL); /* installed before faultline's, which chains to it */
	return sweep_main(argc, argv, &native);
}

/* SPDX-License-Identifier: MIT */
/*
 * syscalls-client.c - for the tests of `faultline doctor --syscalls`. With `allow ERRNO|kill NUMBER,... PROGRAM...`
 * it runs a program under a seccomp filter that allows these system calls alone; with `use` it is such a program, one
 * that uses a userfaultfd; with `plain`, one that uses none.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <faultline/uapi.h>

#define PAGES	  8
#define MAX_CALLS 200 /* a jump in a filter reaches 255 instructions */

static int uffd;
static size_t page;
static char *area;

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(3);
}

/* What the start of a C program and `use' call themselves, on the kernel. */
static int calls(void)
{
#define CALL(name) printf("%s %d\n", #name, SYS_##name)
#if defined(__x86_64__)
	CALL(access);
	CALL(arch_prctl);
#endif
	CALL(brk);
	CALL(clone);
	CALL(clone3);
	CALL(close);
	CALL(execve);
	CALL(exit_group);
	CALL(faccessat);
	CALL(futex);
	CALL(getrandom);
	CALL(ioctl);
	CALL(madvise);
	CALL(mmap);
	CALL(mprotect);
	CALL(munmap);
	CALL(newfstatat);
	CALL(openat);
	CALL(pread64);
	CALL(prlimit64);
	CALL(read);
	CALL(rseq);
	CALL(rt_sigaction);
	CALL(rt_sigprocmask);
	CALL(set_robust_list);
	CALL(set_tid_address);
	CALL(wait4);
	CALL(write);
	return 0;
}

static int allow(const char *otherwise, char *numbers, char **argv)
{
	static struct sock_filter filter[2 * MAX_CALLS + 2];
	unsigned action = strcmp(otherwise, "kill") == 0 ? SECCOMP_RET_KILL_PROCESS
							 : SECCOMP_RET_ERRNO | (unsigned)atoi(otherwise);
	struct sock_fprog program = {.filter = filter};
	size_t n = 0;

	filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (char *nr = strtok(numbers, ","); nr && n < 2 * MAX_CALLS; nr = strtok(NULL, ",")) {
		filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)atoi(nr), 0, 1);
		filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	}
	filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action);
	program.len = (unsigned short)n;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		die("seccomp");
	execv(argv[0], argv);
	die("execv");
}

static void *serve(void *arg)
{
	char *data = arg;
	struct fl_uffd_msg msg;

	while (read(uffd, &msg, sizeof(msg)) == sizeof(msg)) {
		struct fl_uffdio_copy copy = {.src = (uintptr_t)data, .len = page};

		copy.dst = msg.arg.pagefault.address & ~(page - 1);
		memset(data, 'a' + (int)((copy.dst - (uintptr_t)area) / page), page);
		if (ioctl(uffd, FL_UFFDIO_COPY, &copy))
			die("copy");
	}
	die("read");
}

static void check(void)
{
	for (int i = 0; i < PAGES; i++)
		if (*(volatile char *)(area + (size_t)i * page) != 'a' + i) {
			puts("WRONG DATA");
			exit(4);
		}
}

static int use(void)
{
	struct fl_uffdio_api api = {.api = FL_UFFD_API};
	struct fl_uffdio_register r = {.mode = FL_UFFDIO_REGISTER_MODE_MISSING | FL_UFFDIO_REGISTER_MODE_WP};
	struct fl_uffdio_writeprotect wp = {.mode = FL_UFFDIO_WRITEPROTECT_MODE_WP};
	pthread_t thread;
	int status, err;

	page = (size_t)sysconf(_SC_PAGESIZE);
	uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | FL_UFFD_USER_MODE_ONLY);
	if (uffd < 0 || ioctl(uffd, FL_UFFDIO_API, &api))
		die("userfaultfd");
	area = mmap(NULL, (PAGES + 1) * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED)
		die("mmap");
	r.range.start = wp.range.start = (uintptr_t)area;
	r.range.len = wp.range.len = PAGES * page;
	if (ioctl(uffd, FL_UFFDIO_REGISTER, &r))
		die("register");
	err = pthread_create(&thread, NULL, serve, area + PAGES * page);
	if (err) {
		errno = err;
		die("pthread_create");
	}
	check();
	if (ioctl(uffd, FL_UFFDIO_WRITEPROTECT, &wp))
		die("protect");
	check();
	wp.mode = 0;
	if (ioctl(uffd, FL_UFFDIO_WRITEPROTECT, &wp))
		die("unprotect");
	area[1] = 'b';
	pid_t child = fork();
	if (child < 0)
		die("fork");
	if (child == 0) {
		check();
		_exit(0);
	}
	if (waitpid(child, &status, 0) != child)
		die("waitpid");
	if (status) {
		fprintf(stderr, "child: %#x\n", status);
		return WIFEXITED(status) && WEXITSTATUS(status) == 4 ? 4 : 3;
	}
	check();
	if (ioctl(uffd, FL_UFFDIO_UNREGISTER, &r.range))
		die("unregister");
	check();
	if (close(uffd))
		die("close");
	puts("worked");
	fflush(stdout);
	_exit(0);
}

int main(int argc, char **argv)
{
	if (argc > 4 && strcmp(argv[1], "allow") == 0)
		return allow(argv[2], argv[3], argv + 4);
	if (argc == 2 && strcmp(argv[1], "use") == 0)
		return use();
	if (argc == 2 && strcmp(argv[1], "calls") == 0)
		return calls();
	puts("plain");
	return 7;
}

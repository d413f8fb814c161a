/* SPDX-License-Identifier: MIT */
/*
 * beside.c - a library that interposes some of libc's functions, counts their calls and calls the next one, and, with
 * -DPROGRAM, a program that calls each once and prints the counts. With OBJECT in its environment the library opens a
 * userfaultfd object when it is loaded. For the tests of `faultline run` beside other preloaded libraries.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* X(result, name, (parameters), (arguments)) */
#define CALLS(X)                                                                                                     \
	X(void *, mmap, (void *a, size_t n, int prot, int flags, int fd, off_t off), (a, n, prot, flags, fd, off))   \
	X(int, mprotect, (void *a, size_t n, int prot), (a, n, prot))                                                \
	X(int, madvise, (void *a, size_t n, int advice), (a, n, advice))                                             \
	X(int, munmap, (void *a, size_t n), (a, n))                                                                  \
	X(ssize_t, read, (int fd, void *p, size_t n), (fd, p, n))                                                    \
	X(ssize_t, write, (int fd, const void *p, size_t n), (fd, p, n))                                             \
	X(int, poll, (struct pollfd * fds, nfds_t n, int ms), (fds, n, ms))                                          \
	X(int, dup, (int fd), (fd))                                                                                  \
	X(int, close, (int fd), (fd))                                                                                \
	X(int, sigaction, (int sig, const struct sigaction *act, struct sigaction *old), (sig, act, old))            \
	X(int, sigprocmask, (int how, const sigset_t *set, sigset_t *old), (how, set, old))

#ifdef PROGRAM
static int calls_of(const char *name)
{
	char symbol[64];
	int *calls;

	snprintf(symbol, sizeof(symbol), "calls_of_%s", name);
	calls = dlsym(RTLD_DEFAULT, symbol);
	return calls ? *calls : -1;
}

int main(void)
{
	struct pollfd none = {.fd = -1};
	char *p, byte = 0;
	int pipes[2];

#define BEFORE(result, name, params, args) int before_##name = calls_of(#name);
	CALLS(BEFORE)
	if (pipe(pipes))
		return 1;
	p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mprotect(p, 4096, PROT_READ | PROT_WRITE);
	madvise(p, 4096, MADV_DONTNEED);
	munmap(p, 4096);
	if (write(pipes[1], &byte, 1) != 1 || read(pipes[0], &byte, 1) != 1)
		return 1;
	poll(&none, 1, 0);
	close(dup(pipes[0]));
	sigaction(SIGSEGV, NULL, &(struct sigaction){0});
	sigprocmask(SIG_BLOCK, NULL, &(sigset_t){0});
#define PRINT(result, name, params, args) printf("%s %d\n", #name, calls_of(#name) - before_##name);
	CALLS(PRINT)
	return 0;
}
#else
#define COUNT(result, name, params, args)                                                                            \
	extern int calls_of_##name;                                                                                  \
	int calls_of_##name;                                                                                         \
	result name params                                                                                           \
	{                                                                                                            \
		static __typeof__(&name) next;                                                                       \
                                                                                                                     \
		if (!next)                                                                                           \
			next = (__typeof__(&name))dlsym(RTLD_NEXT, #name);                                           \
		calls_of_##name++;                                                                                   \
		return next args;                                                                                    \
	}
CALLS(COUNT)

__attribute__((constructor)) static void loaded(void)
{
	if (getenv("OBJECT") && syscall(SYS_userfaultfd, O_CLOEXEC) < 0)
		perror("beside: userfaultfd");
}
#endif

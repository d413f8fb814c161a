/* SPDX-License-Identifier: MIT */
/*
 * naive-handler.c [--tolerant] - a program that fills its memory as it is touched, written as such programs often
 * are: the handler takes any failure of UFFDIO_COPY for the end. That is a bug: EEXIST only says that the page is
 * there already, because two threads touched it at about the same time; EAGAIN that the copy must be retried. It
 * hardly ever shows. --tolerant is the same program without it. Knows nothing of faultline; the example of
 * faultline(1).
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/userfaultfd.h>

#define PAGE  4096ul
#define PAGES 64ul

static bool tolerant;
static int uffd;

static void die(const char *what)
{
	fprintf(stderr, "naive-handler: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Wakes threads waiting for the page: its being present does not mean that all of them were told. */
static void wake(uint64_t page)
{
	struct uffdio_range r = {page, PAGE};

	if (ioctl(uffd, UFFDIO_WAKE, &r))
		die("UFFDIO_WAKE");
}

static void fill(uint64_t page)
{
	static char data[PAGE];
	struct uffdio_copy c = {.dst = page, .src = (uintptr_t)data, .len = PAGE};

	memset(data, 'a' + (int)(page / PAGE % 26), PAGE);
	while (ioctl(uffd, UFFDIO_COPY, &c)) {
		if (tolerant && errno == EEXIST) {
			wake(page);
			return;
		}
		if (!tolerant || errno != EAGAIN)
			die("UFFDIO_COPY");
	}
}

static void *handler(void *arg)
{
	struct uffd_msg msg;

	while (read(uffd, &msg, sizeof(msg)) == sizeof(msg))
		fill(msg.arg.pagefault.address & ~(PAGE - 1));
	die("read");
	return arg;
}

int main(int argc, char **argv)
{
	struct uffdio_api api = {.api = UFFD_API};
	pthread_t thread;
	char *mem;

	tolerant = argc > 1 && strcmp(argv[1], "--tolerant") == 0;
	uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api))
		die("userfaultfd");
	mem = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		die("mmap");
	struct uffdio_register reg = {.range = {(uintptr_t)mem, PAGES * PAGE}, .mode = UFFDIO_REGISTER_MODE_MISSING};
	if (ioctl(uffd, UFFDIO_REGISTER, &reg))
		die("UFFDIO_REGISTER");
	errno = pthread_create(&thread, NULL, handler, NULL);
	if (errno)
		die("pthread_create");
	for (unsigned long i = 0; i < PAGES * PAGE; i++) {
		char want = (char)('a' + ((uintptr_t)mem + i) / PAGE % 26);

		if (mem[i] != want) {
			fprintf(stderr, "naive-handler: byte %lu is wrong\n", i);
			return 1;
		}
	}
	printf("%lu pages, all as they should be\n", PAGES);
	return 0;
}

/* SPDX-License-Identifier: MIT */
/* init.c - start-up of the preloaded library: libc's functions, the shared counters, what is to be injected. */
#include "preload/preload.h"

#include "base/inject.h"
#include "host/count.h"
#include "host/own.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/single_threaded.h>
#include <unistd.h>

/* Every FL_FIND() of the library: the linker gathers them in a section. */
extern struct fl_find __start_fl_finds[], __stop_fl_finds[];

void *fl_find_now(struct fl_find *find)
{
	void *f = dlsym(RTLD_NEXT, find->name);

	__atomic_store_n(&find->found, f, __ATOMIC_RELAXED);
	return f;
}

/*
 * A function is found when it is first called. A handler cannot do that: it may have interrupted the dynamic linker.
 * So before there are handlers, or faults, which is the same, all are found; programs without need not wait for it.
 */
void fl_find_all(void)
{
	static bool done;

	if (__atomic_exchange_n(&done, true, __ATOMIC_RELAXED))
		return;
	for (struct fl_find *f = __start_fl_finds; f < __stop_fl_finds; f++)
		if (!f->found)
			fl_find_now(f);
}

/* Count into the memory that the `faultline` command shares with us, if it is of this version. */
static void use_shared_stats(void)
{
	const char *path = secure_getenv("FAULTLINE_STATS");
	struct fl_stats *s;
	long p;
	int fd;

	if (!path)
		return;
	fd = fl_host_open_sealed(path, sizeof(*s));
	if (fd < 0)
		return;
	p = fl_host_map_file(fd, 0, PAGE_ALIGN(sizeof(*s)), PROT_READ | PROT_WRITE);
	fl_host_close(fd);
	if (fl_host_failed(p))
		return;
	s = (struct fl_stats *)p;
	if (s->magic == FL_STATS_MAGIC && s->size == sizeof(*s))
		fl_stats_use(s);
	else
		fl_host_munmap((uint64_t)p, PAGE_ALIGN(sizeof(*s)));
}

/* A test that injects failures must not pass because none happened: with a bad spec the program does not run. */
static void use_inject(void)
{
	static const char head[] = "faultline: FAULTLINE_INJECT: ";
	const char *list = secure_getenv("FAULTLINE_INJECT");
	char why[FL_INJECT_WHY];

	if (!list || fl_inject_set(list) == 0)
		return;
	fl_inject_check(list, why);
	fl_host_say(head, sizeof(head) - 1);
	fl_host_say(why, strlen(why));
	fl_host_say("\n", 1);
	_exit(125);
}

/* The linker's names for the first byte of this library, of what the file does not have, and for its end. */
extern const char __ehdr_start[], __bss_start[], _end[];

/* Where it is linked into a program, what is the program's cannot be told. */
static void hide_image(void)
{
	uint64_t start = PAGE_ALIGN_DOWN(fl_addr(__ehdr_start)), end = PAGE_ALIGN(fl_addr(_end));
	uint64_t headers = getauxval(AT_PHDR); /* the program's */

	if (headers < start || headers >= end)
		fl_own_set_image(start, __libc_single_threaded ? PAGE_ALIGN(fl_addr(__bss_start)) : end, end);
}

__attribute__((constructor(101))) static void start(void)
{
	hide_image();
	fl_signal_init();
	fl_stack_init();
	fl_process_init();
	fl_cancel_init();
	use_shared_stats();
	use_inject();
	fl_count(processes, 1);
}

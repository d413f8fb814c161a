/* SPDX-License-Identifier: MIT */
/*
 * snapshot.c - memory that holds data: how long REGISTER of 1 GiB takes, for write-protection and for missing pages;
 * and a background snapshot as QEMU makes it: all is write-protected, then one thread saves page after page and
 * un-protects it, the pages that the guest is waiting for first, while the guest stores to pages at random.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "abi.h"
#include "uffdbench.h"

#define REGISTERED  (1024 * MIB(1))
#define GUEST	    MIB(256)
#define GUEST_PAGES (GUEST / PAGE)
#define MAX_BATCHES 4u /* they are long */

static char *with_data(size_t len)
{
	char *p = map_pages(len);

	for (size_t at = 0; at < len; at += PAGE)
		touch(p + at, true);
	return p;
}

static void unregister(int fd, char *p, size_t len)
{
	struct uffdio_range range = {(uintptr_t)p, len};

	if (ioctl(fd, UFFDIO_UNREGISTER, &range))
		die("UFFDIO_UNREGISTER: %s", strerror(errno));
}

/* One REGISTER of 1 GiB, and how it ends. Returns how long the one or the other has taken. */
static uint64_t register_once(const struct row *row, int fd)
{
	char *p = with_data(REGISTERED);
	uint64_t start = now_ns(), registered;

	abi_register(fd, p, REGISTERED, row->wp ? UFFDIO_REGISTER_MODE_WP : UFFDIO_REGISTER_MODE_MISSING);
	registered = now_ns() - start;
	start = now_ns();
	if (row->ends == BY_CLOSE)
		close(fd);
	else
		unregister(fd, p, REGISTERED);
	start = now_ns() - start;
	munmap(p, REGISTERED);
	return row->ends ? start : registered;
}

static int open_object(const struct row *row)
{
	return abi_open(row->wp ? UFFD_FEATURE_PAGEFAULT_FLAG_WP : 0);
}

void measure_register_1g(const struct run *run, struct series *out)
{
	unsigned batches = run->batches < MAX_BATCHES ? run->batches : MAX_BATCHES;
	int fd = open_object(run->row);

	pin_to_cpu(0);
	for (unsigned batch = 0; batch < batches; batch++) {
		series_add(out, register_once(run->row, fd), 1000);
		if (run->row->ends == BY_CLOSE)
			fd = open_object(run->row);
	}
}

/* Each in a process of its own, which has registered nothing before. */
void measure_first_register_1g(const struct run *run, struct series *out)
{
	unsigned batches = run->batches < MAX_BATCHES ? run->batches : MAX_BATCHES;
	uint64_t took;
	int ends[2];

	pin_to_cpu(0);
	if (pipe(ends))
		die("pipe: %s", strerror(errno));
	for (unsigned batch = 0; batch < batches; batch++) {
		int status = 1;
		pid_t pid = fork();

		if (!pid) {
			took = register_once(run->row, open_object(run->row));
			_exit(write(ends[1], &took, sizeof(took)) != sizeof(took));
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status ||
		    read(ends[0], &took, sizeof(took)) != sizeof(took))
			die("no first REGISTER");
		series_add(out, took, 1000);
	}
}

static struct {
	char *base;
	_Atomic bool stop;
} guest;

static void *run_guest(void *arg)
{
	uint64_t state = 88172645463325252u;

	pin_to_cpu(1);
	while (!guest.stop)
		touch(guest.base + random_next(&state) % GUEST_PAGES * PAGE, true);
	return NULL;
}

struct worker {
	int fd;
	char *file; /* where pages are saved */
	bool saved[GUEST_PAGES];
};

static void save(struct worker *w, size_t page)
{
	if (w->saved[page])
		return;
	memcpy(w->file + page * PAGE, guest.base + page * PAGE, PAGE);
	w->saved[page] = true;
	abi_writeprotect(w->fd, guest.base + page * PAGE, PAGE, false);
}

static void save_faults(struct worker *w)
{
	struct uffd_msg msg;

	while (read(w->fd, &msg, sizeof(msg)) == sizeof(msg)) {
		size_t page = (msg.arg.pagefault.address - (uintptr_t)guest.base) / PAGE;

		faults_seen++;
		if (w->saved[page]) /* it came in between */
			abi_writeprotect(w->fd, guest.base + page * PAGE, PAGE, false);
		save(w, page);
	}
}

static void snapshot(struct worker *w)
{
	memset(w->saved, 0, sizeof(w->saved));
	abi_writeprotect(w->fd, guest.base, GUEST, true);
	for (size_t page = 0; page < GUEST_PAGES; page++) {
		save_faults(w);
		save(w, page);
	}
	save_faults(w);
}

void measure_snapshot(const struct run *run, struct series *out)
{
	static struct worker w;
	unsigned batches = run->batches < MAX_BATCHES ? run->batches : MAX_BATCHES;
	pthread_t thread;

	pin_to_cpu(1); /* skips the row where there is none */
	pin_to_cpu(0);
	w.fd = abi_open(UFFD_FEATURE_PAGEFAULT_FLAG_WP);
	if (fcntl(w.fd, F_SETFL, O_NONBLOCK))
		die("F_SETFL: %s", strerror(errno));
	w.file = with_data(GUEST);
	guest.base = with_data(GUEST);
	abi_register(w.fd, guest.base, GUEST, UFFDIO_REGISTER_MODE_WP);
	if (pthread_create(&thread, NULL, run_guest, NULL))
		die("pthread_create");
	for (unsigned batch = 0; batch <= batches; batch++) {
		uint64_t start = now_ns();

		snapshot(&w);
		if (batch)
			series_add(out, now_ns() - start, 1000);
	}
	if (!faults_seen)
		die("the guest has not waited once");
	guest.stop = true;
	close(w.fd);
	pthread_join(thread, NULL);
}

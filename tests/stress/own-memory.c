/* SPDX-License-Identifier: MIT */
/*
 * own-memory.c - a program that looks at /proc/self/maps and takes what it finds. Whatever there is beside its own
 * and libc's (with the kernel: nothing) is not the program's: a call that meets it finds nothing mapped there, or is
 * refused, and userfaultfd works as before.
 */
#include "stress.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_COLD
#define MADV_COLD 20
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

#define MAX_MAPS 512
#define PAGES	 16

struct map {
	uint8_t *start, *end;
	char rights[5], name[64];
	unsigned long inode;
};

struct maps {
	struct map map[MAX_MAPS];
	int n;
};

static struct maps before, after; /* the first userfaultfd(2) */

/* Without stdio, which maps memory of its own. */
static void read_maps(struct maps *maps)
{
	static char text[128 << 10];
	size_t len = 0;
	ssize_t n;
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0);
	while ((n = read(fd, text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	close(fd);
	text[len] = '\0';
	maps->n = 0;
	for (char *line = strtok(text, "\n"); line && maps->n < MAX_MAPS; line = strtok(NULL, "\n")) {
		struct map *m = &maps->map[maps->n++];
		unsigned long start, end;

		m->name[0] = '\0';
		if (sscanf(line, "%lx-%lx %4s %*s %*s %lu %63s", &start, &end, m->rights, &m->inode, m->name) < 4)
			FAIL("%s", line);
		m->start = (uint8_t *)start;
		m->end = (uint8_t *)end;
	}
}

static struct handler handler;

static void start(void)
{
	read_maps(&before);
	handler.fd = uffd_open(O_CLOEXEC, FEAT_WP);
	uffd_unregister(handler.fd, before.map[0].start, PAGE); /* whatever it says */
	read_maps(&after);
	handler_start(&handler);
}

/* Missing pages, protected pages, dropped pages: all as ever. */
static void exercise(void)
{
	uint8_t *p = map_pages(PAGES);
	unsigned long missing = handler.missing, wp = handler.wp;

	uffd_register(handler.fd, p, PAGES * PAGE, MISSING | WP);
	for (int i = 0; i < PAGES; i++)
		CHECK(stamped(p + i * PAGE, (uintptr_t)(p + i * PAGE)));
	CHECK_INT(uffd_protect(handler.fd, p, PAGES * PAGE, true), 0);
	for (int i = 0; i < PAGES; i++)
		poke(p + i * PAGE, 1);
	CHECK_INT(madvise(p, PAGE, MADV_DONTNEED), 0);
	CHECK(stamped(p, (uintptr_t)p));
	CHECK_INT(handler.missing - missing, PAGES + 1);
	CHECK_INT(handler.wp - wp, PAGES);
	CHECK_INT(munmap(p, PAGES * PAGE), 0);
}

static bool overlaps(const struct maps *maps, const struct map *with)
{
	for (int i = 0; i < maps->n; i++)
		if (maps->map[i].start < with->end && with->start < maps->map[i].end)
			return true;
	return false;
}

/* Neither there before, nor a mapping of the program's. */
static bool is_anothers(const struct map *m)
{
	const char *slash = strrchr(m->name, '/'); /* a directory may be called so, too */

	return strstr(slash ? slash : m->name, "faultline") || (!overlaps(&before, m) && m->name[0] != '[');
}

static int reg(const void *start, size_t len, uint64_t mode)
{
	struct uffdio_register r = {.range = {(uintptr_t)start, len}, .mode = mode};

	return ioctl(handler.fd, UFFDIO_REGISTER, &r);
}

static bool is_anonymous(const struct map *m)
{
	return !strcmp(m->rights, "rw-p") && !m->inode && (!m->name[0] || !strcmp(m->name, "[heap]"));
}

/* All anonymous memory there is: the kernel takes it, and so the program believes that it is its own. */
static void register_all(bool later)
{
	static struct maps now;
	static uint8_t *bad;
	int registered = 0;

	start();
	if (later) /* the engine has records of what is registered by then */
		exercise();
	read_maps(&now);
	for (int i = 0; i < now.n && !bad; i++) {
		if (!is_anonymous(&now.map[i]))
			continue;
		if (reg(now.map[i].start, (size_t)(now.map[i].end - now.map[i].start), WP))
			bad = now.map[i].start;
		registered++;
	}
	if (bad)
		FAIL("the mapping at %p is refused (errno %d)", (void *)bad, errno);
	CHECK(registered > 0);
	exercise();
	for (int i = 0; i < now.n; i++)
		if (is_anonymous(&now.map[i]))
			CHECK_INT(uffd_unregister(handler.fd, now.map[i].start,
						  (size_t)(now.map[i].end - now.map[i].start)),
				  0);
	exercise();
}

static void test_register_all(void)
{
	register_all(false);
}

static void test_register_all_later(void)
{
	register_all(true);
}

static void like_a_hole(uint8_t *start, size_t len)
{
	unsigned char in;

	CHECK_ERR(reg(start, len, MISSING), EINVAL);
	CHECK_ERR(reg(start, len, WP), EINVAL);
	CHECK_INT(uffd_unregister(handler.fd, start, len), -EINVAL);
	CHECK_ERR(mprotect(start, len, PROT_NONE), ENOMEM);
	CHECK_ERR(madvise(start, len, MADV_DONTNEED), ENOMEM);
	CHECK_ERR(madvise(start, len, MADV_DONTFORK), ENOMEM);
	CHECK_ERR(madvise(start, len, MADV_COLD), ENOMEM);
	CHECK_ERR(mlock(start, PAGE), ENOMEM);
	CHECK_ERR(munlock(start, PAGE), ENOMEM);
	CHECK_ERR(mincore(start, PAGE, &in), ENOMEM);
	CHECK(mremap(start, len, len + PAGE, MREMAP_MAYMOVE) == MAP_FAILED && errno == EFAULT);
	CHECK_INT(munmap(start, len), 0);
}

static void test_hole(void)
{
	int found = 0;

	start();
	for (int i = 0; i < after.n; i++) {
		const struct map *m = &after.map[i];

		if (!is_anothers(m))
			continue;
		like_a_hole(m->start, (size_t)(m->end - m->start));
		like_a_hole(m->end - PAGE, PAGE);
		found++;
		exercise();
	}
	note("%d mappings are not the program's", found);
}

/* The program's memory on both sides of it: the calls act on that. */
static void test_beside_a_hole(void)
{
	start();
	for (int i = 0; i < after.n; i++) {
		const struct map *m = &after.map[i];
		size_t len = (size_t)(m->end - m->start) + PAGE;
		uint8_t *p;

		if (!is_anothers(m))
			continue;
		p = mmap(m->start - PAGE, PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
		if (p != m->start - PAGE)
			continue; /* there is something already */
		*p = 1;
		CHECK_INT(reg(p, len, MISSING | WP), 0);
		CHECK_INT(*p, 1);
		CHECK_ERR(madvise(p, len, MADV_DONTNEED), ENOMEM);
		CHECK(stamped(p, (uintptr_t)p));
		CHECK_INT(uffd_unregister(handler.fd, p, len), 0);
		CHECK_INT(munmap(p, len), 0);
		exercise();
	}
}

/* A program that has its own idea of where its memory lies. */
static void test_mapped_over(void)
{
	start();
	for (int i = 0; i < after.n; i++) {
		const struct map *m = &after.map[i];
		uint8_t *p, *at[] = {m->start, m->end - PAGE, (uint8_t *)PAGE_OF(m->start + (m->end - m->start) / 2)};

		for (size_t k = 0; is_anothers(m) && k < sizeof(at) / sizeof(*at); k++) {
			p = mmap(at[k], PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
			if (p == MAP_FAILED) {
				CHECK_INT(errno, ENOMEM);
				continue;
			}
			CHECK(p == at[k]);
			*p = 7;
			exercise();
			uffd_register(handler.fd, p, PAGE, MISSING | WP);
			CHECK_INT(*p, 7);
			exercise();
			CHECK_INT(*p, 7);
			CHECK_INT(munmap(p, PAGE), 0);
			exercise();
		}
	}
}

static const struct test tests[] = {
	{"register-all", test_register_all, 0},
	{"register-all-later", test_register_all_later, 0},
	{"hole", test_hole, 0},
	{"beside-a-hole", test_beside_a_hole, 0},
	{"mapped-over", test_mapped_over, 0},
	{NULL, NULL, 0},
};

int main(int argc, char **argv)
{
	return run_tests(argc, argv, tests);
}

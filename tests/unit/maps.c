/* SPDX-License-Identifier: MIT */
/* maps.c - the host's mappings, asked for one at a time, are those that the text of /proc/self/maps lists. */
#include "unit.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/types.h"
#include "host/host.h"

static struct fl_host_map read_maps[1024];
static unsigned nr;

static void note(const struct fl_host_map *map, void *data)
{
	assert_true(nr < ARRAY_SIZE(read_maps));
	read_maps[nr++] = *map;
}

static void read_all(void)
{
	nr = 0;
	assert_int_equal(fl_host_maps_walk(note, NULL), 0);
	assert_true(nr > 5);
}

/* The two ways to ask have nothing in common but the question. */
static void test_each_is_as_in_the_text(void **state)
{
	int fd = memfd_create("a file", MFD_CLOEXEC), long_fd;
	char long_name[240] = {0}; /* longer than what is asked for with the rest */
	const int shared = MAP_SHARED, private = MAP_PRIVATE;

	assert_int_equal(ftruncate(fd, 4 * PAGE_SIZE), 0);
	assert_ptr_not_equal(mmap(NULL, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE, shared, fd, PAGE_SIZE), MAP_FAILED);
	assert_ptr_not_equal(mmap(NULL, PAGE_SIZE, PROT_READ, private, fd, 2 * PAGE_SIZE), MAP_FAILED);
	assert_ptr_not_equal(mmap(NULL, PAGE_SIZE, PROT_NONE, private | MAP_ANONYMOUS, -1, 0), MAP_FAILED);
	assert_ptr_not_equal(mmap(NULL, PAGE_SIZE, PROT_READ | PROT_EXEC, shared | MAP_ANONYMOUS, -1, 0), MAP_FAILED);
	memset(long_name, 'x', sizeof(long_name) - 1);
	long_fd = memfd_create(long_name, MFD_CLOEXEC);
	assert_ptr_not_equal(mmap(NULL, PAGE_SIZE, PROT_READ, private, long_fd, 0), MAP_FAILED);
	read_all();
	for (unsigned i = 0; i < nr; i++) {
		struct fl_host_map *want = &read_maps[i], map;

		if (want->start >= TASK_SIZE) /* it is listed, but not mapped */
			continue;
		memset(&map, 0xa5, sizeof(map));
		assert_int_equal(fl_host_maps_next(want->start, &map), 1);
		assert_int_equal(map.start, want->start);
		if (i + 2 < nr) /* the stack may have grown meanwhile */
			assert_int_equal(map.end, want->end);
		assert_int_equal(map.prot, want->prot);
		assert_int_equal(map.anon, want->anon);
		assert_int_equal(map.shared, want->shared);
		assert_int_equal(map.offset, want->offset);
		assert_int_equal(map.dev, want->dev);
		assert_int_equal(map.inode, want->inode);
	}
	close(fd);
	close(long_fd);
}

static void test_between_and_behind(void **state)
{
	char *p = mmap(NULL, 3 * PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct fl_host_map map;

	munmap(p + PAGE_SIZE, PAGE_SIZE);
	assert_int_equal(fl_host_maps_next(fl_addr(p) + PAGE_SIZE, &map), 1);
	assert_int_equal(map.start, fl_addr(p) + 2 * PAGE_SIZE);
	assert_int_equal(fl_host_maps_next(fl_addr(p) + 17, &map), 1);
	assert_in_range(fl_addr(p), map.start, map.end - 1);
	assert_int_equal(fl_host_maps_next(UINT64_MAX - PAGE_SIZE, &map), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_is_as_in_the_text),
		cmocka_unit_test(test_between_and_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

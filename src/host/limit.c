/* SPDX-License-Identifier: MIT */
/* limit.c - how much memory the process may use: what its cgroup says, of either version, else what there is. */
#include "host/host.h"

#include "arch/syscall.h"

#include <string.h>
#include <sys/sysinfo.h>

#define PATH_SIZE 512

/* The beginning of a file as text. 0: there is none */
static size_t read_text(const char *path, char *text, size_t size)
{
	int fd = fl_host_open(path, O_RDONLY | O_CLOEXEC);
	long n;

	if (fd < 0)
		return 0;
	n = fl_sys(SYS_read, fd, text, size - 1);
	fl_host_close(fd);
	text[n > 0 ? n : 0] = '\0';
	return n > 0 ? (size_t)n : 0;
}

/* "max" is no number. */
static uint64_t read_number(const char *path)
{
	char text[32];
	uint64_t n = 0;

	if (!read_text(path, text, sizeof(text)) || *text < '0' || *text > '9')
		return UINT64_MAX;
	for (const char *p = text; *p >= '0' && *p <= '9'; p++)
		n = n * 10 + (uint64_t)(*p - '0');
	return n;
}

/* The least that the group at `path` below `root`, or one above it, is given. */
static uint64_t least(const char *root, const char *path, size_t len, const char *file)
{
	uint64_t limit = UINT64_MAX, n;
	char name[PATH_SIZE];
	size_t head = strlen(root);

	if (head + len + 1 + strlen(file) + 1 > sizeof(name))
		return limit;
	memcpy(name, root, head);
	memcpy(name + head, path, len);
	for (;;) {
		name[head + len] = '/';
		strcpy(name + head + len + 1, file);
		n = read_number(name);
		limit = n < limit ? n : limit;
		if (!len)
			return limit;
		while (len && name[head + --len] != '/')
			;
	}
}

/* A line of /proc/self/cgroup: "number:controllers:path"; version 2 has none of the former two. */
static uint64_t limit_of(const char *line, size_t len)
{
	const char *what = memchr(line, ':', len),
		   *path = what ? memchr(what + 1, ':', len - (size_t)(what + 1 - line)) : NULL;
	size_t n;

	if (!path)
		return UINT64_MAX;
	n = len - (size_t)(path + 1 - line);
	if (path == what + 1)
		return least("/sys/fs/cgroup", path + 1, n, "memory.max");
	for (const char *c = what + 1; c + 6 <= path; c++)
		if (strncmp(c, "memory", 6) == 0)
			return least("/sys/fs/cgroup/memory", path + 1, n, "memory.limit_in_bytes");
	return UINT64_MAX;
}

uint64_t fl_host_memory_limit(void)
{
	char text[2048];
	struct sysinfo info;
	uint64_t limit = fl_sys(SYS_sysinfo, &info) ? UINT64_MAX : (uint64_t)info.totalram * info.mem_unit;
	size_t len = read_text("/proc/self/cgroup", text, sizeof(text));

	for (size_t at = 0; at < len;) {
		const char *end = memchr(text + at, '\n', len - at);
		size_t n = end ? (size_t)(end - (text + at)) : len - at;
		uint64_t of_line = limit_of(text + at, n);

		limit = of_line < limit ? of_line : limit;
		at += n + 1;
	}
	return limit;
}

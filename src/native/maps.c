/* SPDX-License-Identifier: MIT */
/* maps.c - what the host has mapped and which of it holds data, read with raw system calls and small buffers. */
#include "native/native.h"

#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>

/* ---- /proc/self/maps ---- */

struct reader {
	long fd;
	char buf[1024];
	unsigned len, at;
};

static int reader_open(struct reader *r, enum fl_inject_point fp)
{
	r->fd = fl_fail(fp) ? -ENOMEM : fl_sys(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);
	r->len = r->at = 0;
	return fl_sys_failed(r->fd) ? (int)r->fd : 0;
}

static int next_char(struct reader *r)
{
	if (r->at == r->len) {
		long n = fl_sys(SYS_read, r->fd, r->buf, sizeof(r->buf));

		if (n <= 0)
			return -1;
		r->len = (unsigned)n;
		r->at = 0;
	}
	return r->buf[r->at++];
}

static bool read_hex(struct reader *r, uint64_t *value, int *stop)
{
	*value = 0;
	for (;;) {
		int c = next_char(r);

		if (c >= '0' && c <= '9')
			*value = *value << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			*value = *value << 4 | (uint64_t)(c - 'a' + 10);
		else {
			*stop = c;
			return c >= 0;
		}
	}
}

static bool starts(const char *name, const char *with)
{
	return strncmp(name, with, strlen(with)) == 0;
}

static bool anonymous_name(const char *name)
{
	return !*name || starts(name, "[anon") || starts(name, "[heap]") || starts(name, "[stack");
}

/* The rest of a line after the rights: " offset major:minor inode   name". What is mapped there? */
static void read_what(struct reader *r, struct fl_map *map)
{
	char name[16] = {0};
	uint64_t value[4] = {0}; /* offset, major, minor, inode */
	unsigned field = 0, len = 0;
	bool space = true;
	int c;

	while ((c = next_char(r)) >= 0 && c != '\n') {
		bool border = c == ' ' || (c == ':' && field < 3);

		if (len || (field == 4 && !border)) {
			if (len < sizeof(name) - 1)
				name[len++] = (char)c;
			continue;
		}
		field += border && !space;
		space = border;
		if (field < 3 && !border)
			value[field] = value[field] << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
		else if (field == 3 && !border)
			value[3] = value[3] * 10 + (uint64_t)(c - '0');
	}
	map->offset = value[0];
	map->dev = makedev((unsigned)value[1], (unsigned)value[2]);
	map->inode = value[3];
	map->anon = !map->inode && anonymous_name(name);
}

/* "start-end ..." at the beginning of a line; other lines change nothing. */
static void parse_range(const char *line, uint64_t *start, uint64_t *end)
{
	uint64_t v[2] = {0, 0};
	const char *p = line;

	for (int i = 0; i < 2; i++, p++)
		for (; (*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'f'); p++)
			v[i] = v[i] << 4 | (uint64_t)(*p <= '9' ? *p - '0' : *p - 'a' + 10);
	if (p[-1] != ' ' || v[1] <= v[0])
		return;
	*start = v[0];
	*end = v[1];
}

static int read_map(struct reader *r, struct fl_map *map)
{
	char rights[4];
	int stop;

	if (!read_hex(r, &map->start, &stop) || !read_hex(r, &map->end, &stop))
		return 0;
	for (unsigned i = 0; i < sizeof(rights); i++)
		rights[i] = (char)next_char(r);
	map->access = (rights[0] == 'r' ? VM_READ : 0) | (rights[1] == 'w' ? VM_WRITE : 0) |
		      (rights[2] == 'x' ? VM_EXEC : 0);
	read_what(r, map);
	map->shared = rights[3] == 's';
	map->anon = map->anon && !map->shared;
	return 1;
}

/* ---- the same, a mapping for each ioctl: PROCMAP_QUERY of Linux 6.11, Documentation/filesystems/proc.rst ---- */

struct procmap_query {
	uint64_t size, query_flags, query_addr;
	uint64_t vma_start, vma_end, vma_flags, vma_page_size, vma_offset, inode;
	uint32_t dev_major, dev_minor, vma_name_size, build_id_size;
	uint64_t vma_name_addr, build_id_addr;
};
#define PROCMAP_QUERY		     0xc0686611ul
#define PROCMAP_READABLE	     0x1u
#define PROCMAP_WRITABLE	     0x2u
#define PROCMAP_EXECUTABLE	     0x4u
#define PROCMAP_SHARED		     0x8u
#define PROCMAP_COVERING_OR_NEXT_VMA 0x10u

/* Is memory without a file the program's, or a special mapping of the kernel's? Its name says. */
static bool named_anonymous(long fd, uint64_t addr)
{
	char name[128] = {0};
	struct procmap_query q = {
		.size = sizeof(q), .query_addr = addr, .vma_name_size = sizeof(name), .vma_name_addr = fl_addr(name)};

	return fl_sys(SYS_ioctl, fd, PROCMAP_QUERY, &q) == 0 && anonymous_name(name);
}

/* 1, 0 none; -errno: it is to be read */
static int query_map(long fd, uint64_t addr, struct fl_map *map)
{
	struct procmap_query q = {.size = sizeof(q), .query_flags = PROCMAP_COVERING_OR_NEXT_VMA, .query_addr = addr};
	long ret = fl_sys(SYS_ioctl, fd, PROCMAP_QUERY, &q);

	if (ret)
		return ret == -ENOENT ? 0 : (int)ret;
	map->start = q.vma_start;
	map->end = q.vma_end;
	map->access = ((q.vma_flags & PROCMAP_READABLE) ? VM_READ : 0) |
		      ((q.vma_flags & PROCMAP_WRITABLE) ? VM_WRITE : 0) |
		      ((q.vma_flags & PROCMAP_EXECUTABLE) ? VM_EXEC : 0);
	map->shared = q.vma_flags & PROCMAP_SHARED;
	map->offset = q.vma_offset;
	map->dev = makedev(q.dev_major, q.dev_minor);
	map->inode = q.inode;
	map->anon = !map->inode && !map->shared && named_anonymous(fd, map->start);
	return 1;
}

int fl_maps_next(uint64_t addr, struct fl_map *map)
{
	struct reader r;
	int ret = reader_open(&r, FL_FP_MAPS);

	if (ret)
		return ret;
	ret = query_map(r.fd, addr, map);
	if (ret < 0)
		do
			ret = read_map(&r, map);
		while (ret == 1 && map->end <= addr);
	fl_sys(SYS_close, r.fd);
	return ret;
}

int fl_maps_walk(void (*fn)(const struct fl_map *map, void *data), void *data)
{
	struct fl_map map;
	struct reader r;
	int ret = reader_open(&r, FL_FP_LOOK);

	if (ret)
		return ret;
	while (read_map(&r, &map) == 1)
		fn(&map, data);
	fl_sys(SYS_close, r.fd);
	return 0;
}

/*
 * The VmFlags line of a mapping in /proc/self/smaps: "dc" is not for children, "wf" is wiped for them, "hg" may have
 * huge pages. The lines before it begin with a letter, the mapping's own with its address in hexadecimal.
 */
uint32_t fl_maps_advice(uint64_t addr)
{
	static const char tag[] = "VmFlags:";
	uint32_t flags = 0;
	uint64_t start = 0, end = 0;
	struct reader r = {.fd = fl_sys(SYS_openat, AT_FDCWD, "/proc/self/smaps", O_RDONLY | O_CLOEXEC, 0)};
	char line[128];
	int c, n = 0;

	while (!fl_sys_failed(r.fd) && (c = next_char(&r)) >= 0) {
		if (c != '\n') {
			if (n < (int)sizeof(line) - 1)
				line[n++] = (char)c;
			continue;
		}
		line[n] = '\0';
		n = 0;
		parse_range(line, &start, &end);
		if (strncmp(line, tag, sizeof(tag) - 1) || addr < start || addr >= end)
			continue;
		flags = (strstr(line, " dc") ? VM_DONTFORK : 0) | (strstr(line, " wf") ? VM_WIPEONFORK : 0) |
			(strstr(line, " hg") ? VM_HUGEPAGE : 0);
		break;
	}
	if (!fl_sys_failed(r.fd))
		fl_sys(SYS_close, r.fd);
	return flags;
}

uint64_t fl_maps_count(void)
{
	struct reader r;
	uint64_t n = 0;
	int c;

	if (reader_open(&r, FL_FP_MAPS))
		return 0;
	while ((c = next_char(&r)) >= 0)
		n += c == '\n';
	fl_sys(SYS_close, r.fd);
	return n;
}

/* ---- which pages hold data ---- */

/* PAGEMAP_SCAN, Documentation/admin-guide/mm/pagemap.rst; Linux 6.7 */
struct pm_scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
struct pm_region {
	uint64_t start, end, categories;
};
#define PAGEMAP_SCAN 0xc0606610ul
#define PM_FILE	     (1ull << 2)
#define PM_PRESENT   (1ull << 3)
#define PM_SWAPPED   (1ull << 4)
#define PM_PFNZERO   (1ull << 5)
#define PM_HUGE	     (1ull << 6)

static int scan(long fd, uint64_t *start, uint64_t end, uint64_t *run_end, enum fl_run *what)
{
	struct pm_region region = {0};
	struct pm_scan arg = {
		.size = sizeof(arg),
		.start = *start,
		.end = end,
		.vec = fl_addr(&region),
		.vec_len = 1,
		.category_anyof_mask = PM_PRESENT | PM_SWAPPED,
		.return_mask = PM_PFNZERO | PM_FILE,
	};
	long n = fl_sys(SYS_ioctl, fd, PAGEMAP_SCAN, &arg);

	if (n <= 0)
		return (int)n;
	*start = region.start;
	*run_end = region.end;
	*what = (region.categories & PM_PFNZERO) ? FL_RUN_ZERO
		: (region.categories & PM_FILE)	 ? FL_RUN_FILE
						 : FL_RUN_DATA;
	return 1;
}

/* Before 6.7: a word for every page; bits 63 and 62 are present and swapped. */
static int scan_words(long fd, uint64_t *start, uint64_t end, uint64_t *run_end)
{
	uint64_t words[64], first = 0;

	for (uint64_t addr = *start; addr < end;) {
		uint64_t want = fl_min(PAGES(end - addr), (uint64_t)ARRAY_SIZE(words));
		long n = fl_sys(SYS_pread64, fd, words, want * sizeof(words[0]), PAGES(addr) * sizeof(words[0]));

		if (n <= 0)
			return n ? (int)n : -EIO;
		for (unsigned i = 0; i < (unsigned long)n / sizeof(words[0]); i++, addr += PAGE_SIZE) {
			bool data = words[i] >> 62;

			if (data && !first)
				first = addr;
			if (!data && first) {
				*start = first;
				*run_end = addr;
				return 1;
			}
		}
	}
	*start = first;
	*run_end = end;
	return first != 0;
}

/* Without pagemap: what is in memory. Pages in swap are brought in first, for they would be missed. */
static int scan_mincore(uint64_t *start, uint64_t end, uint64_t *run_end)
{
	unsigned char in[256];
	uint64_t first = 0;

	for (uint64_t addr = *start; addr < end;) {
		uint64_t n = fl_min(PAGES(end - addr), (uint64_t)sizeof(in));
		long err;

		fl_sys(SYS_madvise, addr, n << PAGE_SHIFT, 3 /* MADV_WILLNEED */);
		err = fl_sys(SYS_mincore, addr, n << PAGE_SHIFT, in);
		if (err)
			return (int)err;
		for (unsigned i = 0; i < n; i++, addr += PAGE_SIZE) {
			if ((in[i] & 1) && !first)
				first = addr;
			if (!(in[i] & 1) && first) {
				*start = first;
				*run_end = addr;
				return 1;
			}
		}
	}
	*start = first;
	*run_end = end;
	return first != 0;
}

int fl_resident_next(uint64_t *start, uint64_t end, uint64_t *run_end, enum fl_run *what)
{
	long fd = fl_sys(SYS_openat, AT_FDCWD, "/proc/self/pagemap", O_RDONLY | O_CLOEXEC, 0);
	int ret;

	*what = FL_RUN_DATA;
	if (fl_sys_failed(fd)) /* after setuid() the file is somebody else's */
		return scan_mincore(start, end, run_end);
	ret = scan(fd, start, end, run_end, what);
	if (ret < 0)
		ret = scan_words(fd, start, end, run_end);
	fl_sys(SYS_close, fd);
	return ret;
}

bool fl_mapped_huge(uint64_t addr)
{
	long fd = fl_sys(SYS_openat, AT_FDCWD, "/proc/self/pagemap", O_RDONLY | O_CLOEXEC, 0);
	struct pm_region region = {0};
	struct pm_scan arg = {
		.size = sizeof(arg),
		.start = addr,
		.end = addr + PMD_SIZE,
		.vec = fl_addr(&region),
		.vec_len = 1,
		.category_mask = PM_PRESENT | PM_HUGE,
		.return_mask = PM_HUGE,
	};
	long n = fl_sys_failed(fd) ? 0 : fl_sys(SYS_ioctl, fd, PAGEMAP_SCAN, &arg);

	if (!fl_sys_failed(fd))
		fl_sys(SYS_close, fd);
	return n == 1 && region.start == addr && region.end == addr + PMD_SIZE;
}

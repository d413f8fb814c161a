/* SPDX-License-Identifier: MIT */
/*
 * maps.c - what is read from /proc: what is mapped, which of it holds data, and the files behind it. Small buffers.
 */
#include "arch/syscall.h"
#include "host/host.h"
#include "host/own.h"
#include "host/proc.h"

#include <linux/magic.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#define PAGE  4096u
#define PIECE (2ull << 20)

#define MIN(a, b) ((a) < (b) ? (a) : (b))

/* ---- /proc/self/maps ---- */

struct reader {
	int fd;
	uint64_t pos; /* of what comes after the buffer: others may read by the same descriptor */
	char buf[1024];
	unsigned len, at;
};

static int reader_begin(struct reader *r, int fd)
{
	r->fd = fd;
	r->pos = r->len = r->at = 0;
	return fd < 0 ? fd : 0;
}

static int reader_open(struct reader *r, const char *path)
{
	return reader_begin(r, fl_host_open(path, O_RDONLY | O_CLOEXEC));
}

static int maps_open(struct reader *r, enum fl_inject_point fp)
{
	return reader_begin(r, fl_fail(fp) ? -ENOMEM : fl_host_proc_open(FL_PROC_MAPS));
}

static void reader_close(struct reader *r)
{
	fl_host_proc_close(r->fd);
}

static int next_char(struct reader *r)
{
	if (r->at == r->len) {
		long n = fl_sys(SYS_pread64, r->fd, r->buf, sizeof(r->buf), r->pos);

		if (n <= 0)
			return -1;
		r->pos += (uint64_t)n;
		r->len = (unsigned)n;
		r->at = 0;
	}
	return r->buf[r->at++];
}

/* The value of a hexadecimal digit; -1: it is none. */
static int digit(int c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_hex(struct reader *r, uint64_t *value)
{
	int c;

	for (*value = 0; digit(c = next_char(r)) >= 0;)
		*value = *value << 4 | (uint64_t)digit(c);
	return c >= 0;
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
static void read_what(struct reader *r, struct fl_host_map *map)
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
		if (field < 4 && !border)
			value[field] = value[field] * (field < 3 ? 16 : 10) + (uint64_t)digit(c);
	}
	map->offset = value[0];
	map->dev = makedev((unsigned)value[1], (unsigned)value[2]);
	map->inode = value[3];
	map->anon = !map->inode && anonymous_name(name);
}

static int read_map(struct reader *r, struct fl_host_map *map)
{
	char rights[4];

	if (!read_hex(r, &map->start) || !read_hex(r, &map->end))
		return 0;
	for (unsigned i = 0; i < sizeof(rights); i++)
		rights[i] = (char)next_char(r);
	map->prot = (rights[0] == 'r' ? PROT_READ : 0) | (rights[1] == 'w' ? PROT_WRITE : 0) |
		    (rights[2] == 'x' ? PROT_EXEC : 0);
	read_what(r, map);
	map->shared = rights[3] == 's';
	map->anon = map->anon && !map->shared;
	return 1;
}

/*
 * ---- the same by ioctl, one mapping at a time: PROCMAP_QUERY, Documentation/filesystems/proc.rst; Linux 6.11 ----
 */

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

/*
 * 1, 0 none; -errno: it is to be read. Is memory without a file the program's, or a special mapping of the kernel's?
 * Its name says, which is short then: a name without room is a path.
 */
static int query_map(int fd, uint64_t addr, struct fl_host_map *map)
{
	char name[128] = {0};
	struct procmap_query q = {.size = sizeof(q),
				  .query_flags = PROCMAP_COVERING_OR_NEXT_VMA,
				  .query_addr = addr,
				  .vma_name_size = sizeof(name),
				  .vma_name_addr = (uint64_t)(uintptr_t)name};
	long ret = fl_sys(SYS_ioctl, fd, PROCMAP_QUERY, &q);

	if (ret == -ENAMETOOLONG) {
		q.vma_name_size = 0;
		q.vma_name_addr = 0;
		name[0] = '/';
		ret = fl_sys(SYS_ioctl, fd, PROCMAP_QUERY, &q);
	}
	if (ret)
		return ret == -ENOENT ? 0 : (int)ret;
	map->start = q.vma_start;
	map->end = q.vma_end;
	map->prot = ((q.vma_flags & PROCMAP_READABLE) ? PROT_READ : 0) |
		    ((q.vma_flags & PROCMAP_WRITABLE) ? PROT_WRITE : 0) |
		    ((q.vma_flags & PROCMAP_EXECUTABLE) ? PROT_EXEC : 0);
	map->shared = q.vma_flags & PROCMAP_SHARED;
	map->offset = q.vma_offset;
	map->dev = makedev(q.dev_major, q.dev_minor);
	map->inode = q.inode;
	map->anon = !map->inode && !map->shared && anonymous_name(name);
	return 1;
}

static int next_map(uint64_t addr, struct fl_host_map *map)
{
	struct reader r;
	int ret = maps_open(&r, FL_FP_MAPS);

	if (ret)
		return ret;
	ret = query_map(r.fd, addr, map);
	if (ret < 0)
		do
			ret = read_map(&r, map);
		while (ret == 1 && map->end <= addr);
	reader_close(&r);
	return ret;
}

int fl_host_maps_at(uint64_t addr, struct fl_host_map *map)
{
	return next_map(addr, map);
}

/* The host may have joined the engine's own memory with the program's. */
int fl_host_maps_next(uint64_t addr, struct fl_host_map *map)
{
	int ret;

	while ((ret = next_map(addr, map)) == 1) {
		uint64_t own = map->start > addr ? map->start : addr, own_end;

		if (!fl_own_next(&own, map->end, &own_end))
			break;
		if (own > map->start && own > addr) {
			map->end = own;
			break;
		}
		addr = own_end;
	}
	return ret;
}

int fl_host_maps_walk(void (*fn)(const struct fl_host_map *map, void *data), void *data)
{
	struct fl_host_map map;
	struct reader r;
	int ret = maps_open(&r, FL_FP_LOOK);

	if (ret)
		return ret;
	while (read_map(&r, &map) == 1)
		fn(&map, data);
	reader_close(&r);
	return 0;
}

uint64_t fl_host_maps_count(void)
{
	struct reader r;
	uint64_t n = 0;
	int c;

	if (maps_open(&r, FL_FP_MAPS))
		return 0;
	while ((c = next_char(&r)) >= 0)
		n += c == '\n';
	reader_close(&r);
	return n;
}

uint64_t fl_host_maps_max(void)
{
	struct reader r;
	uint64_t max = 0;
	int c;

	if (reader_open(&r, "/proc/sys/vm/max_map_count"))
		return 0;
	while ((c = next_char(&r)) >= '0' && c <= '9')
		max = max * 10 + (uint64_t)(c - '0');
	reader_close(&r);
	return max;
}

/* "start-end ..." at the beginning of a line; other lines change nothing. */
static void parse_range(const char *line, uint64_t *start, uint64_t *end)
{
	uint64_t v[2] = {0, 0};
	const char *p = line;

	for (int i = 0; i < 2; i++, p++)
		for (; digit(*p) >= 0; p++)
			v[i] = v[i] << 4 | (uint64_t)digit(*p);
	if (p[-1] != ' ' || v[1] <= v[0])
		return;
	*start = v[0];
	*end = v[1];
}

/* A line, cut to `size`. false: the end */
static bool read_line(struct reader *r, char *line, size_t size)
{
	size_t n = 0;
	int c;

	while ((c = next_char(r)) >= 0 && c != '\n')
		if (n < size - 1)
			line[n++] = (char)c;
	line[n] = '\0';
	return c >= 0;
}

/*
 * The VmFlags line of a mapping in /proc/self/smaps has a word for each: proc(5). The lines before it begin with a
 * letter, the mapping's own with its address in hexadecimal.
 */
unsigned fl_host_maps_advice(uint64_t addr)
{
	/* in the order of FL_HOST_DONTFORK and its like */
	static const char words[][4] = {" dc", " wf", " hg", " nh", " dd", " sr", " rr"};
	uint64_t start = 0, end = 0;
	unsigned advice = 0;
	struct reader r;
	char line[128];

	if (reader_open(&r, "/proc/self/smaps"))
		return 0;
	while (read_line(&r, line, sizeof(line))) {
		parse_range(line, &start, &end);
		if (!starts(line, "VmFlags:") || addr < start || addr >= end)
			continue;
		for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
			advice |= strstr(line, words[i]) ? 1u << i : 0;
		break;
	}
	reader_close(&r);
	return advice;
}

/* ---- the file behind a mapping ---- */

static char *put_hex(char *end, uint64_t v)
{
	do
		*--end = "0123456789abcdef"[v & 15];
	while (v >>= 4);
	return end;
}

/* The name by which the host knows it. */
#define PATH_SIZE 64
static const char *mapping_path(char path[static PATH_SIZE], uint64_t start, uint64_t end)
{
	static const char head[] = "/proc/self/map_files/";
	char text[36], *limit = text + sizeof(text) - 1, *at;

	*limit = '\0';
	at = put_hex(limit, end);
	*--at = '-';
	at = put_hex(at, start);
	memcpy(path, head, sizeof(head));
	strcpy(path + sizeof(head) - 1, at);
	return path;
}

/*
 * What is not shared memory is not opened: it would have to be closed, which may cost the program its record locks.
 */
int fl_host_open_mapping(uint64_t start, uint64_t end)
{
	char buf[PATH_SIZE];
	const char *path = mapping_path(buf, start, end);
	struct statfs fs;

	if (fl_sys(SYS_statfs, path, &fs) || fs.f_type != TMPFS_MAGIC)
		return -EINVAL;
	return fl_host_open(path, O_RDWR | O_CLOEXEC);
}

bool fl_host_opens_mappings(void)
{
	long page = fl_host_mmap(0, PAGE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int fd;

	if (fl_host_failed(page))
		return false;
	fd = fl_host_open_mapping((uint64_t)page, (uint64_t)page + PAGE);
	if (fd >= 0)
		fl_host_close(fd);
	fl_host_munmap((uint64_t)page, PAGE);
	return fd >= 0;
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
#define PM_GUARD     (1ull << 8) /* since 6.15; it also counts as swapped */
#define WORD_GUARD   (1ull << 58)

/* The first regions of a scan, at most nr: how many, -errno */
static int scan(int fd, struct pm_scan *arg, struct pm_region *region, unsigned nr)
{
	long n;

	arg->size = sizeof(*arg);
	arg->vec = (uint64_t)(uintptr_t)region;
	arg->vec_len = nr;
	do
		n = fl_sys(SYS_ioctl, fd, PAGEMAP_SCAN, arg);
	while (n == -EINTR);
	return (int)n;
}

/* The next runs, at most `nr`. 0 or -errno */
static int scan_data(struct fl_host_scan *s, unsigned nr)
{
	struct pm_region region[FL_HOST_RUNS];
	struct pm_scan arg = {
		.start = s->at,
		.end = s->end,
		.category_mask = PM_GUARD,
		.category_inverted = PM_GUARD,
		.category_anyof_mask = PM_PRESENT | PM_SWAPPED,
		.return_mask = PM_PFNZERO | PM_FILE,
	};
	int n = scan(s->fd, &arg, region, nr);

	if (n < 0) { /* before 6.15 */
		arg.category_mask = arg.category_inverted = 0;
		n = scan(s->fd, &arg, region, nr);
	}
	for (int i = 0; i < n; i++)
		s->run[i] = (struct fl_host_run){region[i].start, region[i].end,
						 (region[i].categories & PM_PFNZERO) ? FL_RUN_ZERO
						 : (region[i].categories & PM_FILE)  ? FL_RUN_FILE
										     : FL_RUN_DATA};
	if (n < 0)
		return n;
	s->nr = (unsigned)n;
	s->at = arg.walk_end;
	return 0;
}

/* A run of pages that is being put together, from one answer for each page. */
struct run {
	uint64_t first, end; /* 0: none yet */
};

/* Returns whether the page at addr ends it. */
static bool run_ends(struct run *run, uint64_t addr, bool data)
{
	if (data && !run->first)
		run->first = addr;
	if (data)
		run->end = addr + PAGE;
	return !data && run->first;
}

static int run_result(const struct run *run, uint64_t *start, uint64_t *run_end)
{
	*start = run->first;
	*run_end = run->end;
	return run->first != 0;
}

/* Before 6.7: a word for every page; bits 63 and 62 are present and swapped. */
static int scan_words(int fd, uint64_t *start, uint64_t end, uint64_t *run_end)
{
	struct run run = {0, 0};
	uint64_t words[64];

	for (uint64_t addr = *start; addr < end;) {
		uint64_t want = MIN((end - addr) / PAGE * sizeof(words[0]), sizeof(words));
		long n = fl_sys(SYS_pread64, fd, words, want, addr / PAGE * sizeof(words[0]));

		if (n <= 0)
			return n ? (int)n : -EIO;
		for (unsigned i = 0; i < (unsigned long)n / sizeof(words[0]); i++, addr += PAGE)
			if (run_ends(&run, addr, words[i] >> 62))
				return run_result(&run, start, run_end);
	}
	return run_result(&run, start, run_end);
}

/* Without pagemap: what is in memory. Pages in swap are brought in first, for they would be missed. */
static int scan_mincore(uint64_t *start, uint64_t end, uint64_t *run_end)
{
	struct run run = {0, 0};
	unsigned char in[256];

	for (uint64_t addr = *start; addr < end;) {
		uint64_t len = MIN(end - addr, sizeof(in) * PAGE);
		int err;

		fl_host_madvise(addr, len, MADV_WILLNEED);
		err = fl_host_mincore(addr, len, in);
		if (err)
			return err;
		for (unsigned i = 0; i < len / PAGE; i++, addr += PAGE)
			if (run_ends(&run, addr, in[i] & 1))
				return run_result(&run, start, run_end);
	}
	return run_result(&run, start, run_end);
}

/* Hosts that tell of one run at a time. */
static int scan_one(struct fl_host_scan *s)
{
	struct fl_host_run *run = &s->run[0];
	int ret;

	*run = (struct fl_host_run){.start = s->at, .what = FL_RUN_DATA};
	ret = s->fd < 0 ? scan_mincore(&run->start, s->end, &run->end)
			: scan_words(s->fd, &run->start, s->end, &run->end);
	s->nr = ret > 0;
	s->at = ret > 0 ? run->end : s->end;
	return ret < 0 ? ret : 0;
}

void fl_host_scan_begin(struct fl_host_scan *s, uint64_t start, uint64_t end)
{
	s->fd = fl_host_proc_open(FL_PROC_PAGEMAP); /* after setuid() the file is another user's */
	s->at = start;
	s->end = end;
	s->nr = s->i = 0;
	s->one = s->fd < 0;
}

/* With room for `nr` runs. */
static int scan_next(struct fl_host_scan *s, unsigned nr, struct fl_host_run *run)
{
	int err = 0;

	while (s->i == s->nr && s->at < s->end && !err) {
		s->i = s->nr = 0;
		s->one = s->one || scan_data(s, nr) < 0;
		err = s->one ? scan_one(s) : 0;
	}
	if (err || s->i == s->nr)
		return err;
	*run = s->run[s->i++];
	return 1;
}

int fl_host_scan_next(struct fl_host_scan *s, struct fl_host_run *run)
{
	return scan_next(s, FL_HOST_RUNS, run);
}

void fl_host_scan_end(struct fl_host_scan *s)
{
	if (s->fd >= 0)
		fl_host_proc_close(s->fd);
}

int fl_host_resident_next(uint64_t *start, uint64_t end, uint64_t *run_end, enum fl_run *what)
{
	struct fl_host_scan s;
	struct fl_host_run run;
	int ret;

	fl_host_scan_begin(&s, *start, end);
	ret = scan_next(&s, 1, &run);
	fl_host_scan_end(&s);
	if (ret != 1)
		return ret;
	*start = run.start;
	*run_end = run.end;
	*what = run.what;
	return 1;
}

int fl_host_guarded_next(uint64_t *start, uint64_t end, uint64_t *run_end)
{
	struct pm_region region = {0};
	struct pm_scan arg = {
		.start = *start,
		.end = end,
		.category_mask = PM_GUARD,
		.return_mask = PM_GUARD,
	};
	int fd = fl_host_proc_open(FL_PROC_PAGEMAP), n;

	if (fd < 0)
		return 0;
	n = scan(fd, &arg, &region, 1);
	fl_host_proc_close(fd);
	if (n != 1)
		return 0;
	*start = region.start;
	*run_end = region.end;
	return 1;
}

int fl_host_shown_next(uint64_t *start, uint64_t end, uint64_t *run_end)
{
	int fd = fl_host_proc_open(FL_PROC_PAGEMAP);
	enum fl_run what;

	if (fd < 0)
		return 0;
	fl_host_proc_close(fd);
	return fl_host_resident_next(start, end, run_end, &what);
}

/* What ends a run of data may be data of another kind: then there is a hole too many. */
static int page_in_runs(uint64_t *start, uint64_t end, bool data)
{
	uint64_t at = *start, run_end;
	enum fl_run what;
	int ret = fl_host_resident_next(&at, end, &run_end, &what);

	if (ret < 0 || (data && !ret))
		return ret;
	if (data)
		*start = at;
	else if (ret && at == *start)
		*start = run_end;
	return *start < end;
}

int fl_host_page_next(uint64_t *start, uint64_t end, bool data)
{
	const uint64_t there = PM_PRESENT | PM_SWAPPED;
	struct pm_region region = {0};
	struct pm_scan arg = {
		.start = *start,
		.end = end,
		.max_pages = 1,
		.category_mask = data ? PM_GUARD : there,
		.category_inverted = data ? PM_GUARD : there,
		.category_anyof_mask = data ? there : 0,
		.return_mask = PM_PRESENT,
	};
	int fd = fl_host_proc_open(FL_PROC_PAGEMAP), ret = fd < 0 ? fd : scan(fd, &arg, &region, 1);

	if (fd >= 0)
		fl_host_proc_close(fd);
	if (ret < 0) /* before 6.7, or 6.15 */
		return page_in_runs(start, end, data);
	if (ret)
		*start = region.start;
	return ret;
}

bool fl_host_mapped_huge(uint64_t addr)
{
	struct pm_region region = {0};
	struct pm_scan arg = {
		.start = addr,
		.end = addr + PIECE,
		.category_mask = PM_PRESENT | PM_HUGE,
		.return_mask = PM_HUGE,
	};
	int fd = fl_host_proc_open(FL_PROC_PAGEMAP), n;

	if (fd < 0)
		return false;
	n = scan(fd, &arg, &region, 1);
	fl_host_proc_close(fd);
	return n == 1 && region.start == addr && region.end == addr + PIECE;
}

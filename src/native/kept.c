/* SPDX-License-Identifier: MIT */
/*
 * kept.c - descriptors of the shared memory that the program maps: REGISTER needs the file of such a mapping. The
 * host opens it again by the mapping (/proc/self/map_files), but only for processes with the right to. In others the
 * file is kept open from the call that maps it until nothing maps it any longer, and shared anonymous memory, which
 * has no descriptor, is made of a memfd.
 *
 * Closing any descriptor of a file drops the process's record locks on it, fcntl(2). So a kept one stays open while
 * there are any.
 */
#include "host/proc.h"
#include "native/native.h"

#define MAX_KEPT 256

/* A record is valid while it has a descriptor, which is stored last: a fork may come at any time. */
struct kept {
	uint64_t dev, inode;
	uint64_t start,
		end; /* the program's mappings of it are in there, as far as they are known; empty: there is none */
	uint32_t users; /* of fl_kept_get() */
	int fd;		/* 0: free */
	bool own;	/* opened here: the program does not share its position and flags */
	bool again;	/* it could not be closed, or checked: look again at the next unmapping */
};

static struct kept table[MAX_KEPT];
static uint32_t nr_kept; /* [a] */
static struct fl_mutex table_lock = {.rank = FL_RANK_KEPT};

/* Signals, too, even before anything is registered that a handler could touch: a handler may call mmap(2). */
static uint64_t lock(void)
{
	uint64_t old = fl_host_sigblock(FL_SIGNALS_MASK);

	fl_mutex_lock(&table_lock);
	return old;
}

static void unlock(uint64_t signals)
{
	fl_mutex_unlock(&table_lock);
	fl_host_sigmask(signals);
}

/* ---- the table. => table_lock held ---- */

static struct kept *find(uint64_t dev, uint64_t inode)
{
	for (unsigned i = 0; i < MAX_KEPT; i++)
		if (table[i].fd && table[i].inode == inode && table[i].dev == dev)
			return &table[i];
	return NULL;
}

static bool names(int fd, uint64_t dev, uint64_t inode)
{
	struct fl_host_file file;

	return fd >= 0 && fl_host_fstat(fd, &file) == 0 && file.inode == inode && file.dev == dev;
}

/* Better one descriptor too many than the program's locks lost. */
static void close_file(int fd)
{
	if (!fl_host_record_locked(fd))
		fl_host_close(fd);
}

static void drop(struct kept *k)
{
	int fd = k->fd;
	bool ours = names(fd, k->dev, k->inode); /* the program may have closed it by a system call of its own */

	k->again = ours && fl_host_record_locked(fd);
	if (k->again)
		return;
	k->fd = 0;
	__atomic_fetch_sub(&nr_kept, 1, __ATOMIC_RELAXED);
	if (ours)
		fl_host_close(fd);
}

static void widen(struct kept *k, uint64_t start, uint64_t end)
{
	bool empty = k->start == k->end;

	k->start = empty ? start : fl_min(k->start, start);
	k->end = empty ? end : fl_max(k->end, end);
}

/* The direct map is no mapping of the program's. */
static void note_mapping(const struct fl_host_map *map, void *unused)
{
	uint64_t pool = fl_addr(fl_native.mm.pool.base),
		 pool_end = pool + (fl_native.mm.pool.nr_frames << PAGE_SHIFT);
	struct kept *k =
		map->inode && (map->start < pool || map->start >= pool_end) ? find(map->dev, map->inode) : NULL;

	if (k)
		widen(k, map->start, map->end);
}

/* Look where the files are mapped, and close those that are not. */
static void sweep(void)
{
	bool looked;

	for (unsigned i = 0; i < MAX_KEPT; i++)
		table[i].start = table[i].end = 0;
	looked = fl_host_maps_walk(note_mapping, NULL) == 0;
	for (unsigned i = 0; i < MAX_KEPT; i++) {
		table[i].again = !looked;
		if (looked && table[i].fd && !table[i].users && table[i].start == table[i].end)
			drop(&table[i]);
	}
}

/*
 * Something at an edge was unmapped, from `from` on. Only what is between the edges is asked for, and of that only up
 * to the first mapping of the file: so it does not matter how many mappings there are elsewhere.
 */
static void look(struct kept *k, uint64_t from)
{
	struct fl_host_map map = {0};
	bool found = false;
	int ret = fl_fail(FL_FP_LOOK) ? -ENOMEM : 1;

	for (uint64_t at = k->start; at < k->end && !found && ret == 1; at = map.end) {
		ret = fl_host_maps_next(at, &map);
		if (ret != 1 || map.start >= k->end)
			break;
		found = map.inode == k->inode && map.dev == k->dev;
	}
	k->again = ret < 0;
	if (k->again)
		return;
	if (!found) {
		k->start = k->end = 0;
		if (!k->users)
			drop(k);
		return;
	}
	k->start = fl_max(k->start, map.start);
	if (from > k->start && fl_host_maps_next(from, &map) >= 0 && map.start >= k->end)
		k->end = from;
}

static struct kept *free_record(void)
{
	for (unsigned i = 0; i < MAX_KEPT; i++)
		if (!table[i].fd)
			return &table[i];
	return NULL;
}

/* Keep the descriptor. NULL: there is no room for it. */
static struct kept *insert(int fd, bool own, uint64_t dev, uint64_t inode)
{
	struct kept *k = free_record();

	if (!k) {
		sweep();
		k = free_record();
	}
	if (!k)
		return NULL;
	*k = (struct kept){.own = own, .dev = dev, .inode = inode};
	__atomic_store_n(&k->fd, fd, __ATOMIC_RELEASE);
	__atomic_fetch_add(&nr_kept, 1, __ATOMIC_RELAXED);
	return k;
}

/* The record of a file; a record whose descriptor is gone does not count. */
static struct kept *lookup(uint64_t dev, uint64_t inode)
{
	struct kept *k = find(dev, inode);

	if (k && !names(k->fd, dev, inode)) {
		drop(k);
		return NULL;
	}
	return k;
}

/* ---- finding the file behind a mapping ---- */

/* By the mapping itself, where the host lets us. */
static int open_mapping(const struct fl_host_map *map)
{
	int fd = fl_host_open_mapping(map->start, map->end);

	if (fd < 0 || names(fd, map->dev, map->inode))
		return fd;
	close_file(fd); /* another mapping is there meanwhile */
	return -EINVAL;
}

/* The descriptor, moved out of the way if there is such a place. */
static int move_high(int fd)
{
	int high = fl_host_fd_high(fd, true, FL_FP_NONE);

	if (high < 0)
		return fd;
	close_file(fd);
	return high;
}

/*
 * Another descriptor of a file of which the program has one: opened anew, or else a copy, which shares the position
 * and flags with the program's.
 */
static int open_again(int fd, bool *own, enum fl_inject_point fp)
{
	int again, high;

	if (fl_fail(fp))
		return -ENOMEM;
	again = fl_host_fd_reopen(fd);
	*own = again >= 0;
	high = fl_host_fd_high(*own ? again : fd, true, FL_FP_NONE);
	if (*own)
		close_file(again);
	return high;
}

/* By a descriptor that the program still has. */
static int by_descriptor(const struct fl_host_map *map, bool *own)
{
	for (int fd = 0; fd < 1024; fd++)
		if (names(fd, map->dev, map->inode) && fl_host_is_shmem(fd) && fl_host_fd_rdwr(fd))
			return open_again(fd, own, FL_FP_NONE);
	return -EINVAL;
}

static int open_file(const struct fl_host_map *map, bool *own)
{
	int fd = open_mapping(map);

	*own = fd >= 0;
	if (fd >= 0)
		return move_high(fd);
	fd = by_descriptor(map, own);
	return fd < 0 ? -EINVAL : fd;
}

/* => table_lock held */
static int get(const struct fl_host_map *map, bool *own)
{
	struct kept *k = lookup(map->dev, map->inode);

	if (!k) {
		int fd = open_file(map, own);

		if (fd < 0)
			return fd;
		k = insert(fd, *own, map->dev, map->inode);
		if (!k) {
			close_file(fd);
			return -ENOMEM;
		}
	}
	k->users++;
	*own = k->own;
	return k->fd;
}

int fl_kept_get(const struct fl_host_map *map, bool *own)
{
	uint64_t signals = lock();
	int ret = get(map, own);

	unlock(signals);
	return ret;
}

void fl_kept_put(int fd)
{
	uint64_t signals = lock();

	for (unsigned i = 0; i < MAX_KEPT; i++)
		if (table[i].fd == fd && --table[i].users == 0 && table[i].start == table[i].end && !table[i].again)
			drop(&table[i]);
	unlock(signals);
}

bool fl_kept_any(void)
{
	return __atomic_load_n(&nr_kept, __ATOMIC_RELAXED);
}

bool fl_kept_is(int fd)
{
	if (fd <= 0 || !fl_kept_any())
		return false;
	for (unsigned i = 0; i < MAX_KEPT; i++)
		if (__atomic_load_n(&table[i].fd, __ATOMIC_ACQUIRE) == fd)
			return true;
	return false;
}

int fl_kept_next(int from)
{
	int best = -1;

	for (unsigned i = 0; i < MAX_KEPT && fl_kept_any(); i++) {
		int fd = __atomic_load_n(&table[i].fd, __ATOMIC_ACQUIRE);

		if (fd > 0 && fd >= from && (best < 0 || fd < best))
			best = fd;
	}
	return best;
}

void fl_kept_after_fork(void)
{
	fl_mutex_init(&table_lock, FL_RANK_KEPT); /* a thread of the parent may have held it */
}

/* ---- the program's calls ---- */

static bool sandboxed;

/* What is kept would have to be closed later, by calls that may not be allowed. */
void fl_enters_sandbox(void)
{
	uint64_t signals;

	__atomic_store_n(&sandboxed, true, __ATOMIC_RELAXED);
	if (!fl_kept_any() || __atomic_load_n(&fl_native.ready, __ATOMIC_RELAXED))
		return;
	signals = lock();
	for (unsigned i = 0; i < MAX_KEPT; i++)
		if (table[i].fd && !table[i].users)
			drop(&table[i]);
	unlock(signals);
}

bool fl_sandboxed(void)
{
	return __atomic_load_n(&sandboxed, __ATOMIC_RELAXED);
}

/* May this process open what it has mapped? Asked once. */
static bool reopens(void)
{
	static int8_t known;
	int8_t answer = __atomic_load_n(&known, __ATOMIC_RELAXED);

	if (answer)
		return answer > 0;
	answer = fl_host_opens_mappings() ? 1 : -1;
	__atomic_store_n(&known, answer, __ATOMIC_RELAXED);
	return answer > 0;
}

/*
 * A memfd for shared anonymous memory; -errno: it cannot or should not be used, and the memory will be the host's
 * own.
 */
static int memory_file(uint64_t len)
{
	int fd;

	if (!len || len > TASK_SIZE || fl_host_file_limit() < len)
		return -EFBIG; /* the program writes no file here: no SIGXFSZ */
	fd = fl_host_memfd("anonymous", FL_FP_KEEP);
	if (fd >= 0 && fl_host_ftruncate(fd, PAGE_ALIGN(len))) {
		fl_host_close(fd);
		return -ENOMEM;
	}
	return fd;
}

/* `fd` is mapped at `start`: keep it open, if that allows registering it. A failure only means that it cannot be. */
static void keep(int fd, uint64_t start, uint64_t len)
{
	struct fl_host_file file;
	struct kept *k;
	uint64_t signals;
	bool own = false;
	int copy;

	if (!fl_host_is_shmem(fd) || !fl_host_fd_rdwr(fd) || fl_host_fstat(fd, &file))
		return;
	fl_host_proc_hold();
	signals = lock();
	k = lookup(file.dev, file.inode);
	copy = k ? -ENOMEM : open_again(fd, &own, FL_FP_KEEP);
	if (!k && copy >= 0) {
		k = insert(copy, own, file.dev, file.inode);
		if (!k)
			close_file(copy);
	}
	if (k)
		widen(k, start, start + PAGE_ALIGN(len));
	unlock(signals);
}

/* In a sandbox a call that the program would not make may end it: not before it has an object. */
static bool may_keep(void)
{
	return !fl_sandboxed() || __atomic_load_n(&fl_native.ready, __ATOMIC_RELAXED);
}

long fl_kept_mmap(uint64_t addr, uint64_t len, int prot, int flags, int fd, uint64_t offset)
{
	bool anonymous = flags & MAP_ANONYMOUS, shared = (flags & MAP_TYPE) == MAP_SHARED;
	int own = -EINVAL;
	long ret;

	if ((anonymous && (!shared || offset || (flags & MAP_HUGETLB))) || !may_keep() || reopens()) {
		ret = fl_host_mmap(addr, len, prot, flags, fd, offset);
		fd = -1;
	} else {
		if (anonymous)
			fd = own = memory_file(len);
		ret = fl_host_mmap(addr, len, prot, fd >= 0 ? flags & ~MAP_ANONYMOUS : flags, fd, offset);
	}
	if (!fl_host_failed(ret) && fd >= 0)
		keep(fd, (uint64_t)ret, len);
	if (own >= 0)
		fl_host_close(own);
	if (!fl_host_failed(ret) && (flags & MAP_FIXED))
		fl_kept_unmapped((uint64_t)ret, len);
	return ret;
}

/* Between two mappings of a file none is the last. */
static bool may_be_last(const struct kept *k, uint64_t start, uint64_t end)
{
	return k->again || (k->start < end && start < k->end && (start <= k->start || end >= k->end));
}

void fl_kept_unmapped(uint64_t start, uint64_t len)
{
	uint64_t signals, end = start + PAGE_ALIGN(len);
	bool again = false;

	if (likely(!fl_kept_any()))
		return;
	signals = lock();
	for (unsigned i = 0; i < MAX_KEPT; i++) {
		struct kept *k = &table[i];

		again = again || (k->fd && k->again);
		if (k->fd && !k->again && may_be_last(k, start, end))
			look(k, start);
	}
	if (again)
		sweep();
	unlock(signals);
}

void fl_kept_moved(uint64_t from, uint64_t old_len, uint64_t to, uint64_t new_len)
{
	struct fl_host_map map;
	struct kept *k;
	uint64_t signals;

	if (likely(!fl_kept_any()))
		return;
	signals = lock();
	k = fl_host_maps_next(to, &map) == 1 && map.inode ? find(map.dev, map.inode) : NULL;
	if (k)
		widen(k, to, to + PAGE_ALIGN(new_len));
	unlock(signals);
	fl_kept_unmapped(from, old_len);
}

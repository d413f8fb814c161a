/* SPDX-License-Identifier: MIT */
/* object.c - descriptors and the objects they name. */
#include "lib/lib.h"

#include "base/alloc.h"
#include "host/count.h"
#include "host/host.h"
#include "host/socket.h"

#include <string.h>
#include <sys/ioctl.h>

#define MAX_FDS 65536
#define NAME	"faultline/"

static struct fl_uffd *table[MAX_FDS]; /* [a] changed under table_lock */
static struct {
	int32_t next, prev;
} links[MAX_FDS]; /* [t] between the descriptors of one object; -1 ends them */
static struct fl_mutex table_lock = {.rank = FL_RANK_MMAP}; /* [t]; nothing else is taken inside */
static uint32_t nr_objects;
static struct fl_uffd *free_objects; /* [t] */
static struct fl_uffd *all_objects;  /* [t] also those whose only descriptor is in flight in a socket */
static uint64_t account;

bool fl_object_any(void)
{
	return __atomic_load_n(&nr_objects, __ATOMIC_RELAXED) != 0;
}

static bool is_socket_of(const struct fl_uffd *o, const struct fl_host_file *file)
{
	return file->inode == o->inode && file->dev == o->dev;
}

/* ---- which descriptors an object has ---- */

/* The descriptor no longer names the object. => table_lock held */
static void fd_del(int fd)
{
	struct fl_uffd *o = table[fd];
	int next = links[fd].next, prev = links[fd].prev;

	if (prev >= 0)
		links[prev].next = next;
	else
		o->first_fd = next;
	if (next >= 0)
		links[next].prev = prev;
	table[fd] = NULL;
	o->nr_fds--;
}

/* The descriptor names the object, which has a reference for it. => table_lock held */
static void fd_add(struct fl_uffd *o, int fd)
{
	if (table[fd]) /* closed unseen; that object's reference stays */
		fd_del(fd);
	links[fd].next = o->first_fd;
	links[fd].prev = -1;
	if (o->first_fd >= 0)
		links[o->first_fd].prev = fd;
	o->first_fd = fd;
	o->nr_fds++;
	__atomic_store_n(&table[fd], o, __ATOMIC_RELEASE);
}

/* ---- lookup, without a lock ---- */

/* Objects' memory is only used for objects, so a stale pointer can be asked for its count. */
static bool get_unless_zero(struct fl_uffd *o)
{
	uint32_t n = __atomic_load_n(&o->refs, __ATOMIC_RELAXED);

	do
		if (!n)
			return false;
	while (!__atomic_compare_exchange_n(&o->refs, &n, n + 1, true, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED));
	return true;
}

/* Where a number says nothing: what it names in this thread's table. */
static struct fl_uffd *get_by_socket(int fd)
{
	struct fl_host_file file;
	struct fl_uffd *o = NULL;
	uint64_t signals;

	if (fl_host_fstat(fd, &file))
		return NULL;
	signals = fl_signals_block();
	fl_mutex_lock(&table_lock);
	for (o = all_objects; o; o = o->next)
		if (is_socket_of(o, &file) && get_unless_zero(o))
			break;
	fl_mutex_unlock(&table_lock);
	fl_signals_restore(signals);
	return o;
}

/* After the count, the table is asked again. */
struct fl_uffd *fl_object_get(int fd)
{
	struct fl_uffd *o;

	if (!fl_object_any() || fd < 0 || fd >= MAX_FDS)
		return NULL;
	o = __atomic_load_n(&table[fd], __ATOMIC_ACQUIRE);
	if (!o)
		return NULL;
	if (!fl_reach_by_number())
		return get_by_socket(fd);
	if (!get_unless_zero(o))
		return NULL;
	if (__atomic_load_n(&table[fd], __ATOMIC_ACQUIRE) == o)
		return o;
	fl_object_put(o);
	return NULL;
}

void fl_object_put(struct fl_uffd *o)
{
	struct fl_uffd_ctx *ctx;
	uint64_t signals;

	if (__atomic_fetch_sub(&o->refs, 1, __ATOMIC_ACQ_REL) != 1)
		return;
	signals = fl_signals_block();
	if (fl_reach_by_number() || fl_reach_is(o, o->peer, o->peer_inode)) {
		fl_host_close(o->peer);
		if (o->watch >= 0)
			fl_host_close(o->watch);
	}
	fl_mutex_lock(&table_lock);
	for (struct fl_uffd **p = &all_objects; *p; p = &(*p)->next)
		if (*p == o) {
			*p = o->next;
			break;
		}
	ctx = o->ctx;
	o->next_free = free_objects;
	free_objects = o;
	nr_objects--;
	fl_mutex_unlock(&table_lock);
	fl_ctx_put(ctx);
	fl_signals_restore(signals);
}

/* ---- what the engine asks of the descriptor ---- */

/* Do it with a socket of the object's: by its number, or if that fails, wherever it is. */
static bool with_socket(const struct fl_uffd *o, int fd, uint64_t inode, bool (*doit)(int fd))
{
	struct fl_reach reach;
	bool done;

	if (fl_reach_by_number() && doit(fd))
		return true;
	reach = fl_reach(o, fd, inode);
	done = reach.fd >= 0 && doit(reach.fd);
	fl_reach_end(reach);
	return done;
}

/* => ctx->lock held */
static void notify(struct fl_uffd_ctx *ctx, bool readable)
{
	struct fl_uffd *o = ctx->owner;

	if (readable && with_socket(o, o->peer, o->peer_inode, fl_host_socket_put))
		o->tokens++;
	for (; !readable && o->fd >= 0 && o->tokens; o->tokens--)
		with_socket(o, o->fd, o->inode, fl_host_socket_take);
}

/* Is a descriptor left in reach? */
static bool has_fd(const struct fl_uffd *o, int fd)
{
	struct fl_reach reach = fl_reach(o, fd, o->inode);

	fl_reach_end(reach);
	return reach.fd >= 0;
}

/*
 * The socket hangs up when its last copy is closed, and when a holder of one calls shutdown(2), which means nothing.
 * fl_object_closing() has made the watch, unless our last descriptor was closed unseen. Out of reach, in another
 * table of descriptors than the object's, is not closed; where there is one, the program has closed all it found.
 */
static bool gone(const struct fl_uffd *o)
{
	int fd = __atomic_load_n(&o->fd, __ATOMIC_RELAXED), watch = __atomic_load_n(&o->watch, __ATOMIC_RELAXED);
	struct fl_reach peer = fl_reach(o, o->peer, o->peer_inode);
	bool hung_up = peer.fd >= 0 ? fl_host_socket_hung_up(peer.fd)
				    : peer.fd == -EBADF || (fl_reach_by_number() && fl_host_pid() == o->pid);

	fl_reach_end(peer);
	if (!hung_up || has_fd(o, fd))
		return false;
	return watch < 0 || !fl_host_socket_only_shut_down(watch);
}

static bool orphaned(struct fl_uffd_ctx *ctx)
{
	return gone(ctx->owner);
}

fl_sleep_fn *fl_object_sleep = fl_ctx_sleep;

static int sleep_on(struct fl_uffd_ctx *ctx, bool poll, uint64_t timeout_ns)
{
	return fl_object_sleep(ctx, poll, timeout_ns);
}

void fl_object_sleep_left(struct fl_uffd_ctx *ctx, bool poll)
{
	struct fl_uffd *o = ctx->owner;
	uint64_t signals = fl_signals_block();

	fl_ctx_sleep_left(ctx, poll);
	fl_signals_restore(signals);
	fl_object_end(o);
	fl_object_put(o);
}

/* ---- the in-thread handler ---- */

struct handler {
	struct fl_inthread inthread;
	struct fl_uffd *object;
	fl_fault_fn *fn;
	void *arg;
};

static enum fl_answer call_handler(const struct fl_inthread *inthread, const struct fl_uffd_msg *msg)
{
	const struct handler *h = container_of(inthread, const struct handler, inthread);

	switch (h->fn(h->object, msg, h->arg)) {
	case FL_FAULT_RETRY:
		return FL_ANSWER_RETRY;
	case FL_FAULT_SIGBUS:
		return FL_ANSWER_SIGBUS;
	default:
		return FL_ANSWER_PASSED_ON;
	}
}

int fl_object_set_handler(struct fl_uffd *o, fl_fault_fn *fn, void *arg)
{
	uint64_t signals = fl_signals_block();
	struct handler *h = fn ? fl_alloc(&o->ctx->mm->metadata, sizeof(*h), FL_FP_CTX) : NULL;

	if (h) {
		h->inthread = (struct fl_inthread){.call = call_handler, .size = sizeof(*h)};
		h->object = o;
		h->fn = fn;
		h->arg = arg;
	}
	if (h || !fn)
		fl_ctx_set_inthread(o->ctx, h ? &h->inthread : NULL);
	fl_signals_restore(signals);
	return h || !fn ? 0 : -ENOMEM;
}

/* ---- creation ---- */

/*
 * Each socket has a name by which another program that receives the descriptor, or starts with it, recognizes it. No
 * more depends on it: without one, or with such a name that somebody else has taken, it looks like a socket there, or
 * a socket like it.
 */
bool fl_object_foreign(int fd)
{
	return fl_host_socket_is_named(fd, NAME, sizeof(NAME) - 1);
}

static int make_sockets(int flags, int *fd, int *peer)
{
	bool cloexec = flags & O_CLOEXEC;
	int pair[2], err = fl_host_socket_pair(cloexec, pair);

	if (err)
		return err;
	/* it goes through exec with the other: a program that inherits one does not see it hang up */
	pair[1] = fl_host_fd_move_high(pair[1], cloexec);
	fl_host_socket_name(pair[0], NAME, sizeof(NAME) - 1);
	if (pair[0] >= MAX_FDS) {
		fl_host_close(pair[0]);
		fl_host_close(pair[1]);
		return -EMFILE;
	}
	*fd = pair[0];
	*peer = pair[1];
	return 0;
}

/* Memory for an object, which keeps its reference count of 0 until it is complete. => table_lock held */
static struct fl_uffd *object_alloc(void)
{
	struct fl_uffd *o = free_objects;

	if (o)
		free_objects = o->next_free;
	else
		o = fl_alloc(&account, sizeof(*o), FL_FP_CTX);
	if (o)
		nr_objects++;
	return o;
}

static void object_init(struct fl_uffd *o, struct fl_uffd_ctx *ctx, const struct fl_caller *caller, int fd, int peer)
{
	struct fl_host_file file = {0};

	fl_host_fstat(fd, &file);
	o->nr_fds = 0;
	o->first_fd = -1;
	o->in_flight = false;
	o->tokens = 0;
	o->dev = file.dev;
	o->inode = file.inode;
	fl_host_fstat(peer, &file);
	o->peer_inode = file.inode;
	o->next = all_objects;
	all_objects = o;
	o->fd = fd;
	o->peer = peer;
	o->watch = -1;
	o->pid = fl_host_pid();
	o->tid = fl_host_tid();
	o->ctx = ctx;
	o->caller = caller;
	ctx->owner = o;
	ctx->notify = notify;
	ctx->orphaned = orphaned;
	ctx->sleep = sleep_on;
	__atomic_store_n(&o->refs, 1, __ATOMIC_RELEASE);
	fd_add(o, fd);
}

int fl_object_new(struct fl_mm *mm, const struct fl_caller *caller, int flags, struct fl_uffd **out)
{
	uint64_t signals = fl_signals_block();
	struct fl_uffd_ctx *ctx;
	struct fl_uffd *o = NULL;
	uint32_t ctx_flags = (uint32_t)flags & (O_NONBLOCK | FL_UFFD_USER_MODE_ONLY);
	int fd = -1, peer = -1, err;

	if (flags & FL_UFFD_SRC_HOST)
		ctx_flags |= FL_CTX_SRC_HOST;
	err = make_sockets(flags, &fd, &peer);
	if (err)
		goto out;
	err = fl_ctx_new(mm, ctx_flags, &ctx);
	if (err)
		goto close;
	fl_mutex_lock(&table_lock);
	o = object_alloc();
	if (o)
		object_init(o, ctx, caller, fd, peer);
	fl_mutex_unlock(&table_lock);
	if (o)
		goto out;
	fl_ctx_put(ctx);
	err = -ENOMEM;
close:
	fl_host_close(fd);
	fl_host_close(peer);
out:
	fl_signals_restore(signals);
	*out = o;
	return err;
}

/* ---- descriptors come and go ---- */

struct fl_uffd *fl_object_closing(int fd)
{
	struct fl_uffd *o = fl_object_get(fd);
	uint64_t signals;
	int other = -1;

	/* the child of a vfork() shares this memory but closes descriptors of its own */
	if (!o || o->pid != fl_host_pid()) {
		if (o)
			fl_object_put(o);
		return NULL;
	}
	signals = fl_signals_block();
	fl_mutex_lock(&table_lock);
	if (table[fd] == o && fl_reach_by_number()) {
		fd_del(fd);
		__atomic_fetch_sub(&o->refs, 1, __ATOMIC_RELAXED); /* the table's; this function holds one */
	}
	other = o->first_fd;
	if ((other < 0 || !fl_reach_by_number()) && o->watch < 0)
		__atomic_store_n(&o->watch, fl_host_socket_watch(fd), __ATOMIC_RELAXED);
	fl_mutex_unlock(&table_lock);
	fl_mutex_lock(&o->ctx->lock);
	if (o->fd == fd && fl_reach_by_number())
		__atomic_store_n(&o->fd, other, __ATOMIC_RELAXED);
	fl_mutex_unlock(&o->ctx->lock);
	fl_signals_restore(signals);
	return o;
}

/* Is it known that a descriptor is left? */
static bool has_number(const struct fl_uffd *o)
{
	return likely(__atomic_load_n(&o->nr_fds, __ATOMIC_SEQ_CST)) && fl_reach_by_number();
}

/* One of the numbers may have gone from all tables: o->fd is one that has not, if there is any. */
static void choose_fd(struct fl_uffd *o)
{
	int fd = __atomic_load_n(&o->fd, __ATOMIC_RELAXED);

	if (fl_reach_by_number() || has_fd(o, fd))
		return;
	fl_mutex_lock(&table_lock);
	for (fd = o->first_fd; fd >= 0 && !has_fd(o, fd);)
		fd = links[fd].next;
	fl_mutex_unlock(&table_lock);
	fl_mutex_lock(&o->ctx->lock);
	__atomic_store_n(&o->fd, fd, __ATOMIC_RELAXED);
	fl_mutex_unlock(&o->ctx->lock);
}

/* It has ended, and no number of any table names it. */
static void drop_numbers(struct fl_uffd *o)
{
	fl_mutex_lock(&table_lock);
	while (o->first_fd >= 0) {
		fd_del(o->first_fd);
		__atomic_fetch_sub(&o->refs, 1, __ATOMIC_RELAXED); /* the caller holds one */
	}
	fl_mutex_unlock(&table_lock);
}

/*
 * Has the object lost its last descriptor, and is no call on it in progress? A call keeps it, as in the kernel.
 * Another process may still hold a copy: then the waiters ask again from time to time.
 */
static void settle(struct fl_uffd *o)
{
	if (has_number(o) || __atomic_load_n(&o->calls, __ATOMIC_SEQ_CST) || !gone(o))
		return;
	fl_ctx_release(o->ctx);
	drop_numbers(o);
}

void fl_object_closed(struct fl_uffd *o)
{
	uint64_t signals;

	if (!o)
		return;
	signals = fl_signals_block();
	choose_fd(o);
	settle(o);
	if (!o->nr_fds && !o->ctx->released && !o->in_flight) {
		o->in_flight = true; /* this keeps what the waiters need, until the descriptor comes back, if ever */
		__atomic_fetch_add(&o->refs, 1, __ATOMIC_RELAXED);
	}
	fl_signals_restore(signals);
	fl_object_put(o);
}

void fl_object_dup(int fd, int copy)
{
	struct fl_uffd *o = fl_object_get(fd);
	uint64_t signals;

	if (!o)
		return;
	if (copy >= 0 && copy < MAX_FDS && o->pid == fl_host_pid()) {
		signals = fl_signals_block();
		fl_mutex_lock(&table_lock);
		__atomic_fetch_add(&o->refs, 1, __ATOMIC_RELAXED);
		fd_add(o, copy);
		fl_mutex_unlock(&table_lock);
		fl_signals_restore(signals);
	}
	fl_object_put(o);
}

void fl_object_received(int fd)
{
	struct fl_host_file file;
	uint64_t signals;

	if (!fl_object_any() || fd < 0 || fd >= MAX_FDS || table[fd] || fl_host_fstat(fd, &file))
		return;
	signals = fl_signals_block();
	fl_mutex_lock(&table_lock);
	for (struct fl_uffd *o = all_objects; o; o = o->next) {
		if (!is_socket_of(o, &file) || o->ctx->released)
			continue;
		if (!o->in_flight)
			__atomic_fetch_add(&o->refs, 1, __ATOMIC_RELAXED);
		o->in_flight = false;
		if (o->fd < 0)
			__atomic_store_n(&o->fd, fd, __ATOMIC_RELAXED);
		fd_add(o, fd);
		break;
	}
	fl_mutex_unlock(&table_lock);
	fl_signals_restore(signals);
}

bool fl_object_private_fd(int fd)
{
	bool found = false;
	uint64_t signals;

	if (fl_native_private_fd(fd))
		return true;
	if (fd < 0 || !fl_object_any())
		return false;
	signals = fl_signals_block();
	fl_mutex_lock(&table_lock);
	for (struct fl_uffd *o = all_objects; o && !found; o = o->next)
		found = (o->peer == fd || o->watch == fd) &&
			(fl_reach_by_number() || fl_reach_is(o, o->peer, o->peer_inode));
	fl_mutex_unlock(&table_lock);
	fl_signals_restore(signals);
	return found;
}

/* The lower of the two, of those that are `from` or above. */
static int lower(int best, int fd, int from)
{
	return fd >= from && (best < 0 || fd < best) ? fd : best;
}

int fl_object_next_fd(int from)
{
	int best = fl_native_next_fd(from);
	uint64_t signals;

	if (!fl_object_any())
		return best;
	signals = fl_signals_block();
	fl_mutex_lock(&table_lock);
	for (struct fl_uffd *o = all_objects; o; o = o->next) {
		best = lower(lower(best, o->peer, from), o->watch, from);
		for (int fd = o->first_fd; fd >= 0; fd = links[fd].next)
			best = lower(best, fd, from);
	}
	fl_mutex_unlock(&table_lock);
	fl_signals_restore(signals);
	return best;
}

void fl_object_before_fork(void)
{
	uint64_t signals = fl_signals_block();

	fl_mutex_lock(&table_lock);
	for (struct fl_uffd *o = all_objects; o; o = o->next)
		__atomic_store_n(&o->ctx->watched, true, __ATOMIC_SEQ_CST);
	fl_mutex_unlock(&table_lock);
	fl_signals_restore(signals);
}

void fl_object_after_fork(void)
{
	fl_mutex_init(&table_lock, FL_RANK_MMAP);
	for (struct fl_uffd *o = all_objects; o; o = o->next)
		o->tid = o->pid = fl_host_pid();
}

/* ---- calls ---- */

/* Calls in progress keep the object, as an open file would be kept. */
void fl_object_begin(struct fl_uffd *o)
{
	__atomic_fetch_add(&o->calls, 1, __ATOMIC_SEQ_CST);
}

void fl_object_end(struct fl_uffd *o)
{
	uint64_t signals;

	if (__atomic_sub_fetch(&o->calls, 1, __ATOMIC_SEQ_CST) || has_number(o))
		return;
	signals = fl_signals_block();
	settle(o);
	fl_signals_restore(signals);
}

int fl_object_ioctl(struct fl_uffd *o, unsigned long cmd, uint64_t arg)
{
	int ret, on = 0;

	if (cmd == FIONBIO) {
		if (o->caller->copy_in(o->ctx->mm, &on, arg, sizeof(on)))
			return -EFAULT;
		return fl_object_set_nonblock(o, on);
	}
	if (o->ctx->released) /* a forked child's view of its parent's object */
		return -ESRCH;
	fl_object_begin(o);
	ret = fl_abi_ioctl(o->ctx, o->caller, cmd, arg);
	fl_object_end(o);
	return ret;
}

int64_t fl_object_read(struct fl_uffd *o, uint64_t buf, uint64_t len)
{
	int64_t ret;

	fl_object_begin(o);
	ret = fl_abi_read(o->ctx, o->caller, buf, len);
	fl_object_end(o);
	return ret;
}

int fl_object_set_nonblock(struct fl_uffd *o, bool on)
{
	if (on)
		__atomic_fetch_or(&o->ctx->flags, O_NONBLOCK, __ATOMIC_RELAXED);
	else
		__atomic_fetch_and(&o->ctx->flags, ~(uint32_t)O_NONBLOCK, __ATOMIC_RELAXED);
	return 0;
}

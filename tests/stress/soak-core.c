/* SPDX-License-Identifier: MIT */
/*
 * soak-core.c - see soak.h.
 *
 * Every page is filled by the handler threads with words that follow from its address; the last words belong to the
 * accessing threads, one each. A mischief thread drops pages, protects them, unregisters and registers chunks. Two
 * counters per chunk, odd during the change, show what it does:
 *
 *   drops    pages may lose what was written to them
 *   bare     the chunk is not registered, or holds pages of that time: zero is a legal content
 *
 * A reader that finds both counters even and unchanged around its access knows exactly what it must have seen.
 */
#include "soak.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define ACCESSORS 4
#define HANDLERS  2
#define WORDS	  (4096 / 8)
#define SLOTS	  (WORDS - ACCESSORS) /* the index of the first accessor's word */

static const struct space *space;
static bool may_unregister;
static uint64_t first_seed;
static atomic_int stop_access, stop_handlers;
static atomic_ulong accesses, checks, fills, unprotects, mischiefs, zeros;

static struct chunk {
	atomic_ulong drops, bare;
} chunks[SOAK_CHUNKS];

/* What a thread last wrote to its word of a page, and the counters at that time */
struct written {
	uint64_t value;
	unsigned long drops, bare;
};

struct accessor {
	int index;
	uint64_t seed, serial;
	struct written last[SOAK_PAGES];
};

static uint64_t content(uint64_t page, uint64_t word)
{
	return (page * WORDS + word + 1) * 0x9e3779b97f4a7c15ull | 1;
}

static uint64_t page_addr(uint64_t page)
{
	return space->base + page * 4096;
}

/* ---- the accessing threads ---------------------------------------------------------------------------------- */

/* Words that no thread writes: the handler's, or zero if the chunk was bare at some time during the access. */
static void check_words(uint64_t page, const uint64_t *w, uint64_t n, bool zero_allowed)
{
	for (uint64_t i = 0; i < n; i++) {
		if (w[i] == content(page, i))
			continue;
		if (w[i] != 0 || !zero_allowed)
			FAIL("page %llu word %llu is %#llx, not %#llx%s; seed %llu", (unsigned long long)page,
			     (unsigned long long)i, (unsigned long long)w[i], (unsigned long long)content(page, i),
			     zero_allowed ? " or 0" : "", (unsigned long long)first_seed);
		zeros++;
		return;
	}
}

/* The thread's own word holds what it wrote there, if nothing was dropped since then. */
static void check_own(const struct accessor *a, uint64_t page, uint64_t got, unsigned long drops, unsigned long bare)
{
	const struct written *last = &a->last[page];
	if (!last->value || (drops & 1) || (bare & 1) || last->drops != drops || last->bare != bare)
		return;
	if (got != last->value)
		FAIL("a write is lost: page %llu, %#llx instead of %#llx; seed %llu", (unsigned long long)page,
		     (unsigned long long)got, (unsigned long long)last->value, (unsigned long long)first_seed);
	checks++;
}

static void read_page(struct accessor *a, uint64_t page)
{
	struct chunk *c = &chunks[page / SOAK_CHUNK_PAGES];
	uint64_t w[WORDS];
	unsigned long bare = c->bare, drops = c->drops;
	CHECK_INT(space->load(page_addr(page), w, WORDS), 0);
	unsigned long bare_after = c->bare, drops_after = c->drops;
	check_words(page, w, SLOTS, (bare & 1) || bare != bare_after);
	if (drops == drops_after && bare == bare_after)
		check_own(a, page, w[SLOTS + a->index], drops, bare);
}

static void write_page(struct accessor *a, uint64_t page)
{
	struct chunk *c = &chunks[page / SOAK_CHUNK_PAGES];
	uint64_t value = ++a->serial << 8 | (uint64_t)a->index, got;
	uint64_t addr = page_addr(page) + (uint64_t)(SLOTS + a->index) * 8;
	unsigned long bare = c->bare, drops = c->drops;
	CHECK_INT(space->store(addr, &value, 1), 0);
	CHECK_INT(space->load(addr, &got, 1), 0);
	a->last[page] = (struct written){0, 0, 0};
	if (c->drops != drops || c->bare != bare)
		return;
	a->last[page] = (struct written){value, drops, bare};
	check_own(a, page, got, drops, bare);
}

static void *accessor_main(void *arg)
{
	struct accessor *a = arg;
	while (!stop_access) {
		uint64_t r = rnd(&a->seed), page = r / 8 % SOAK_PAGES;
		if (r & 1)
			write_page(a, page);
		else
			read_page(a, page);
		accesses++;
	}
	return NULL;
}

/* ---- the handler threads ------------------------------------------------------------------------------------ */

/* Errors that only say that the mischief thread was quicker */
static void tolerate(int err, const char *what)
{
	if (err && err != -EEXIST && err != -ENOENT && err != -EAGAIN && err != -EINVAL)
		FAIL("%s: %s; seed %llu", what, strerror(-err), (unsigned long long)first_seed);
	if (err == -EINVAL && !may_unregister)
		FAIL("%s: EINVAL", what);
}

static int protect(uint64_t addr, uint64_t len, bool on)
{
	struct uffdio_writeprotect w = {{addr, len}, on};
	return space->ioctl(UFFDIO_WRITEPROTECT, &w);
}

static void fill(uint64_t addr, uint64_t mode)
{
	_Alignas(4096) uint64_t words[WORDS];
	uint64_t page = (addr - space->base) / 4096;
	for (uint64_t i = 0; i < WORDS; i++)
		words[i] = content(page, i);
	struct uffdio_copy c = {.dst = addr, .src = (uintptr_t)words, .len = 4096, .mode = mode};
	int err = space->ioctl(UFFDIO_COPY, &c);
	CHECK(err || c.copy == 4096);
	tolerate(err, "COPY");
	fills++;
}

static void *handler_loop(void *arg)
{
	uint64_t seed = (uintptr_t)arg;
	struct uffd_msg msg;
	while (!stop_handlers) {
		if (!space->next(&msg, 20))
			continue;
		CHECK_INT(msg.event, UFFD_EVENT_PAGEFAULT);
		uint64_t addr = PAGE_OF(msg.arg.pagefault.address);
		CHECK(addr - space->base < SOAK_PAGES * 4096ul);
		if (msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP) {
			tolerate(protect(addr, 4096, false), "WRITEPROTECT off");
			unprotects++;
		} else {
			fill(addr, rnd(&seed) & 1 ? UFFDIO_COPY_MODE_WP : 0);
		}
		struct uffdio_range wake = {addr, 4096};
		tolerate(space->ioctl(UFFDIO_WAKE, &wake), "WAKE");
	}
	return NULL;
}

/* ---- the mischief thread ------------------------------------------------------------------------------------ */

static void register_chunk(uint64_t start)
{
	struct uffdio_register r = {.range = {start, SOAK_CHUNK_PAGES * 4096}, .mode = MISSING | WP};
	CHECK_INT(space->ioctl(UFFDIO_REGISTER, &r), 0);
}

static void drop(struct chunk *c, uint64_t addr, uint64_t len)
{
	c->drops++;
	CHECK_INT(space->dontneed(addr, len), 0);
	c->drops++;
}

static void lay_bare(struct chunk *c, uint64_t start, uint64_t *seed)
{
	struct uffdio_range r = {start, SOAK_CHUNK_PAGES * 4096};
	c->bare++;
	CHECK_INT(space->ioctl(UFFDIO_UNREGISTER, &r), 0);
	if (rnd(seed) & 1)
		drop(c, start, SOAK_CHUNK_PAGES * 4096);
	register_chunk(start);
	drop(c, start, SOAK_CHUNK_PAGES * 4096); /* no zero page outlives this */
	c->bare++;
}

static void *mischief_main(void *arg)
{
	uint64_t seed = first_seed * 77 + 5;
	while (!stop_access) {
		uint64_t r = rnd(&seed), n = r / 16 % SOAK_CHUNKS, page = r / 1024 % SOAK_CHUNK_PAGES;
		uint64_t start = page_addr(n * SOAK_CHUNK_PAGES), pages = 1 + r / 65536 % (SOAK_CHUNK_PAGES - page);
		if (r % 16 == 0 && may_unregister)
			lay_bare(&chunks[n], start, &seed);
		else if (r % 16 < 8)
			drop(&chunks[n], start + page * 4096, pages * 4096);
		else
			CHECK_INT(protect(start + page * 4096, pages * 4096, true), 0);
		mischiefs++;
		sleep_ms((int)(r >> 40 & 1));
	}
	return NULL;
}

/* ---- all together ------------------------------------------------------------------------------------------- */

static uint64_t seed_asked_for(void)
{
	const char *text = getenv("STRESS_SEED");
	return text && atoll(text) > 0 ? (uint64_t)atoll(text) : 1;
}

static bool worked(void)
{
	return accesses > 100 && checks > 10 && fills > 100 && unprotects > 10 && mischiefs > 10;
}

void soak(const struct space *s, bool unregister)
{
	static struct accessor a[ACCESSORS];
	pthread_t t[ACCESSORS], h[HANDLERS], mischief;
	space = s;
	may_unregister = unregister;
	first_seed = seed_asked_for();
	for (uint64_t i = 0; i < SOAK_CHUNKS; i++)
		register_chunk(page_addr(i * SOAK_CHUNK_PAGES));
	for (uintptr_t i = 0; i < HANDLERS; i++)
		h[i] = spawn(handler_loop, (void *)((uintptr_t)first_seed + i + 100));
	for (int i = 0; i < ACCESSORS; i++) {
		a[i].index = i;
		a[i].seed = first_seed * 1000 + (uint64_t)i + 1;
		t[i] = spawn(accessor_main, &a[i]);
	}
	mischief = spawn(mischief_main, NULL);
	for (double began = now(); goes_on(began, stress_seconds(3), worked());)
		sleep_ms(20);
	stop_access = 1;
	join(mischief);
	for (int i = 0; i < ACCESSORS; i++)
		join(t[i]);
	stop_handlers = 1;
	for (int i = 0; i < HANDLERS; i++)
		join(h[i]);
	note("%lu accesses, %lu writes found again, %lu fills, %lu unprotected, %lu mischiefs, %lu zero pages",
	     accesses, checks, fills, unprotects, mischiefs, zeros);
	CHECK(worked());
}

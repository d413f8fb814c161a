/* SPDX-License-Identifier: MIT */
/* shared.c - see shared.h. */
#include "shared.h"

#include <sys/ioctl.h>
#include <sys/mman.h>

#define HUGE_PAGES 512u
#define WRITERS	   3u /* the last one through the other mapping */
#define BYTES(n)   ((uint64_t)(n)*PAGE)

static const struct shared *s;
static atomic_int stop, handled_all, calm;
static atomic_ulong kept, dropped, behind, collapsed, answers[3];

static bool there(bool done)
{
	atomic_fetch_add(&behind, !done);
	return done;
}

/* Each writer has pages of its own: a page holds what the writer stored, or zero. */
static void *writer(void *arg)
{
	uint64_t me = (uint64_t)(uintptr_t)arg, state = me + 1, last[SHARED_PAGES] = {0}, got;
	int mapping = me == WRITERS - 1 ? OTHER : REGISTERED;

	for (uint64_t n = 1; !atomic_load(&stop); n++) {
		unsigned page = (unsigned)(rnd(&state) % (SHARED_PAGES / WRITERS) * WRITERS + me);

		if (there(s->load(mapping, BYTES(page), &got))) {
			if (got && got != last[page])
				FAIL("page %u holds %llx, not %llx", page, (unsigned long long)got,
				     (unsigned long long)last[page]);
			atomic_fetch_add(got ? &kept : &dropped, 1);
			last[page] = got;
		} /* it is beyond the end: a large folio that reaches there may keep it for when the file grows */
		if (there(s->store(mapping, BYTES(page), n << 8 | me)))
			last[page] = n << 8 | me;
	}
	return NULL;
}

/* ---- the handler ---- */

static int protect(uint64_t addr, uint64_t len, bool on)
{
	struct uffdio_writeprotect w = {.range = {addr, len}, .mode = on};
	int ret;

	do
		ret = s->ioctl(UFFDIO_WRITEPROTECT, &w);
	while (ret && errno == EAGAIN);
	return ret;
}

static int resolve(uint64_t at, uint64_t flags)
{
	struct uffdio_continue go = {.range = {at, PAGE}};
	struct uffdio_zeropage zero = {.range = {at, PAGE}};

	if (flags & UFFD_PAGEFAULT_FLAG_WP)
		return protect(at, PAGE, false);
	if (flags & UFFD_PAGEFAULT_FLAG_MINOR)
		return s->ioctl(UFFDIO_CONTINUE, &go);
	return s->ioctl(UFFDIO_ZEROPAGE, &zero);
}

/* A page that went away meanwhile, or that another handler has mapped, faults again: waking is enough. */
static void answer(const struct uffd_msg *msg)
{
	uint64_t at = PAGE_OF(msg->arg.pagefault.address), flags = msg->arg.pagefault.flags;
	struct uffdio_range page = {at, PAGE};

	CHECK_INT(msg->event, UFFD_EVENT_PAGEFAULT);
	if (resolve(at, flags))
		CHECK_INT(s->ioctl(UFFDIO_WAKE, &page), 0);
	else
		atomic_fetch_add(
			&answers[(flags & UFFD_PAGEFAULT_FLAG_WP) ? 2 : !!(flags & UFFD_PAGEFAULT_FLAG_MINOR)], 1);
}

static void *handler(void *arg)
{
	struct uffd_msg msg;

	while (!atomic_load(&handled_all))
		if (s->next(&msg, 20))
			answer(&msg);
	return NULL;
}

/* ---- changes of the pages ---- */

/*
 * Pages are dropped, but one collapse in four waits for that to end: so there are large folios, however slow the
 * machine.
 */
static void wait_for_calm_to_end(void)
{
	while (atomic_load(&calm) && !atomic_load(&stop))
		sleep_ms(1);
}

static void *truncater(void *arg)
{
	uint64_t state = 3;

	while (!atomic_load(&stop)) {
		wait_for_calm_to_end();
		CHECK_INT(s->truncate(BYTES(rnd(&state) % SHARED_PAGES)), 0);
		CHECK_INT(s->truncate(SHARED_SIZE), 0);
		sleep_ms(1);
	}
	return NULL;
}

static void *puncher(void *arg)
{
	uint64_t state = 5;

	while (!atomic_load(&stop)) {
		uint64_t page = rnd(&state) % SHARED_PAGES, n = 1 + rnd(&state) % (SHARED_PAGES - page);

		wait_for_calm_to_end();
		switch (rnd(&state) % 8) {
		case 0:
			CHECK_INT(s->punch(BYTES(page), BYTES(1 + n % 4)), 0);
			break;
		case 1:
			CHECK_INT(s->madvise(REGISTERED, BYTES(page), PAGE, MADV_REMOVE), 0);
			break;
		case 2: /* only the mapping's pages: the file keeps them */
			CHECK_INT(s->madvise(rnd(&state) & 1 ? REGISTERED : OTHER, BYTES(page), BYTES(n),
					     MADV_DONTNEED),
				  0);
			break;
		default: /* protection does not last long enough for many stores to meet it */
			CHECK_INT(protect(s->base + BYTES(page), BYTES(n), true), 0);
		}
	}
	return NULL;
}

/* Holes are filled first: there must be none where a thread waits for missing pages. */
static void *collapser(void *arg)
{
	uint64_t state = 7, got;

	for (unsigned n = 0; !atomic_load(&stop); n++) {
		int ret;

		atomic_store(&calm, n % 4 == 0);
		for (unsigned page = 0; page < HUGE_PAGES; page++)
			there(s->load(OTHER, BYTES(page) + PAGE / 2, &got)); /* not what is stored to */
		ret = s->madvise(rnd(&state) % 4 ? OTHER : REGISTERED, 0, BYTES(HUGE_PAGES), 25 /* MADV_COLLAPSE */);
		CHECK(!ret || errno == EAGAIN || errno == EBUSY || errno == EINVAL || errno == ENOMEM);
		atomic_fetch_add(&collapsed, !ret);
	}
	return NULL;
}

/* ---- all together ---- */

/* Everything counted has happened. */
static bool seen(void)
{
	return atomic_load(&kept) && atomic_load(&dropped) && atomic_load(&behind) && atomic_load(&answers[0]) &&
	       atomic_load(&answers[1]) && atomic_load(&answers[2]);
}

/* On a busy machine it goes on until then. */
static void wait_and_look(void)
{
	double began = now();

	while (goes_on(began, stress_seconds(4), seen())) {
		sleep_ms(100);
		if (s->look)
			s->look();
	}
}

unsigned long shared_run(const struct shared *shared)
{
	static void *(*const disturb[])(void *) = {truncater, puncher, collapser};
	pthread_t threads[WRITERS + 3], handle;

	s = shared;
	handle = spawn(handler, NULL);
	for (unsigned i = 0; i < WRITERS; i++)
		threads[i] = spawn(writer, (void *)(uintptr_t)i);
	for (unsigned i = 0; i < 3; i++)
		threads[WRITERS + i] = spawn(disturb[i], NULL);
	wait_and_look();
	atomic_store(&stop, 1);
	for (unsigned i = 0; i < WRITERS + 3; i++)
		join(threads[i]);
	atomic_store(&handled_all, 1);
	join(handle);
	note("%lu pages kept what was stored, %lu were dropped, %lu behind the end", atomic_load(&kept),
	     atomic_load(&dropped), atomic_load(&behind));
	note("%lu times one folio was made of 2 MiB", atomic_load(&collapsed));
	note("%lu missing, %lu minor, %lu write-protect faults", atomic_load(&answers[0]), atomic_load(&answers[1]),
	     atomic_load(&answers[2]));
	CHECK(seen());
	return atomic_load(&collapsed);
}

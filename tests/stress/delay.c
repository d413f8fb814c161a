/* SPDX-License-Identifier: MIT */
/*
 * delay.c - a random wait, mostly none, for the yield points of an engine built for tests. It is called in signal
 * handlers and by tasks that share one TLS, so a counter is all it has.
 */
#include "base/types.h"
#include "base/yield.h"
#include "host/task.h"

#include <time.h>

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

void fl_delay(const void *what)
{
	static uint64_t calls;
	uint64_t x = mix(__atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED) + fl_addr(what));

	if (x % 256 == 0)
		fl_host_sleep((x >> 32) % 150000);
	else if (x % 256 < 8)
		fl_host_yield();
	else if (x % 256 < 32)
		for (uint64_t n = (x >> 32) % 500; n; n--)
			fl_cpu_relax();
}

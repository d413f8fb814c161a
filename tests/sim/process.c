/* SPDX-License-Identifier: MIT */
/* process.c - two processes that swap places. */
#include "process.h"

#include "hostmem.h"

#include <string.h>

#define ROOM   (4u << 20)
#define CHUNKS 16u /* of the pool: the most a process may have when it forks */

struct image {
	size_t used;
	char mem[ROOM];
};

static struct image parent, child; /* the process that is not running */
static bool has_child, in_child;

void process_reset(void)
{
	has_child = in_child = false;
}

bool process_has_child(void)
{
	return has_child;
}

bool process_in_child(void)
{
	return in_child;
}

static void parts(process_part_fn *fn, void *data)
{
	fn(&fl_native, sizeof(fl_native), data);
	fn(fl_native.homes, CHUNKS * sizeof(struct home), data);
	fn(fl_native.chunks, CHUNKS * sizeof(struct chunk), data);
	fn(fl_native.mm.pool.folios, CHUNKS * CHUNK_PAGES * sizeof(struct fl_folio), data);
	sim_memory_parts(fn, data);
	host_memory_parts(fn, data);
	host_parts(fn, data);
}

static void save_part(void *at, size_t size, void *data)
{
	struct image *to = data;

	FL_BUG_ON(to->used + size > ROOM);
	memcpy(to->mem + to->used, at, size);
	to->used += size;
}

static void load_part(void *at, size_t size, void *data)
{
	struct image *from = data;

	memcpy(at, from->mem + from->used, size);
	from->used += size;
}

static void save_image(struct image *to)
{
	FL_BUG_ON(fl_native.chunks_end > CHUNKS);
	to->used = 0;
	parts(save_part, to);
}

static void load_image(struct image *from)
{
	from->used = 0;
	parts(load_part, from);
	host_memory_entered();
}

void process_fork(void)
{
	SIM_CHECK(!has_child, "a second child");
	has_child = true;
	save_image(&child);
}

void process_enter_child(void)
{
	save_image(&parent);
	load_image(&child);
	in_child = true;
	sim_away(true);
}

void process_leave_child(void)
{
	sim_away(false);
	in_child = false;
	save_image(&child);
	load_image(&parent);
}

void process_point(const void *on, const char *doing)
{
	if (!in_child) {
		sim_point(SIM_RUN, on, doing);
		return;
	}
	process_leave_child();
	sim_point(SIM_RUN, on, doing);
	process_enter_child();
}

/* SPDX-License-Identifier: MIT */
/*
 * state.c - what the host notes of memory beside its rights: advice, a NUMA policy. It goes along when the pool takes
 * the place of the program's own mapping. Advice is kept in the flags of the fl_vma; the policy is the host's alone.
 */
#include "native/calls.h"

#include <string.h>

static const struct state {
	uint32_t flag;
	unsigned host;	  /* FL_HOST_* */
	int set, clear;	  /* advice */
	uint32_t instead; /* a flag that it takes the place of */
	bool of_pool;	  /* the host's mapping of the pool has it, too */
} states[] = {
	{VM_DONTFORK, FL_HOST_DONTFORK, MADV_DONTFORK, MADV_DOFORK, 0, false}, /* fork_pool.c */
	{VM_WIPEONFORK, FL_HOST_WIPEONFORK, MADV_WIPEONFORK, MADV_KEEPONFORK, 0, false},
	{VM_HUGEPAGE, FL_HOST_HUGEPAGE, MADV_HUGEPAGE, -1, VM_NOHUGEPAGE,
	 false}, /* what is in the pool is noted by page */
	{VM_NOHUGEPAGE, FL_HOST_NOHUGEPAGE, MADV_NOHUGEPAGE, -1, VM_HUGEPAGE, true},
	{VM_DONTDUMP, FL_HOST_DONTDUMP, MADV_DONTDUMP, MADV_DODUMP, 0, true},
	{VM_SEQ_READ, FL_HOST_SEQUENTIAL, MADV_SEQUENTIAL, MADV_NORMAL, VM_RAND_READ, true},
	{VM_RAND_READ, FL_HOST_RANDOM, MADV_RANDOM, MADV_NORMAL, VM_SEQ_READ, true},
};

bool fl_state_is_noted(int advice)
{
	return advice == MADV_DONTFORK || advice == MADV_WIPEONFORK || advice == MADV_HUGEPAGE ||
	       advice == MADV_DONTDUMP;
}

uint32_t fl_state_flags(unsigned host)
{
	uint32_t flags = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(states); i++)
		flags |= (host & states[i].host) ? states[i].flag : 0;
	return flags;
}

bool fl_state_note(uint64_t start, uint64_t stop, int advice, bool pool)
{
	bool found = false;

	for (unsigned i = 0; i < ARRAY_SIZE(states); i++) {
		const struct state *s = &states[i];

		if (advice != s->set && advice != s->clear)
			continue;
		set_flag(start, stop, advice == s->set ? s->flag : 0, advice == s->set ? s->instead : s->flag);
		if (pool && s->of_pool)
			fl_host_madvise(start, stop - start, advice);
		found = true;
	}
	return found;
}

void fl_state_apply(uint64_t start, uint64_t end, uint32_t flags)
{
	for (unsigned i = 0; i < ARRAY_SIZE(states); i++)
		if (states[i].of_pool && (flags & states[i].flag))
			fl_host_madvise(start, end - start, states[i].set);
}

static bool same(const struct fl_host_policy *a, const struct fl_host_policy *b)
{
	return !memcmp(a, b, sizeof(*a));
}

void fl_state_policy(uint64_t start, uint64_t end, const struct fl_host_policy *policy)
{
	struct fl_host_policy now;
	bool any = fl_host_policy_get(start, &now); /* of what had that part of the pool before */

	if (policy ? !any || !same(policy, &now) : any)
		fl_host_policy_set(start, end - start, policy);
}

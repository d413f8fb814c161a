/* SPDX-License-Identifier: MIT */
/* list.h - circular doubly linked lists whose links live in the elements. */
#ifndef FL_BASE_LIST_H
#define FL_BASE_LIST_H

#include "base/types.h"

struct fl_list {
	struct fl_list *next, *prev;
};

static inline void fl_list_init(struct fl_list *l)
{
	l->next = l->prev = l;
}

static inline bool fl_list_empty(const struct fl_list *l)
{
	return l->next == l;
}

static inline void fl_list_add_tail(struct fl_list *l, struct fl_list *e)
{
	e->prev = l->prev;
	e->next = l;
	l->prev->next = e;
	l->prev = e;
}

static inline void fl_list_del(struct fl_list *e)
{
	e->prev->next = e->next;
	e->next->prev = e->prev;
	fl_list_init(e); /* deleting twice is harmless */
}

#define fl_list_entry(ptr, type, member) container_of(ptr, type, member)
#define fl_list_for_each_safe(pos, tmp, head)                                                                        \
	for (pos = (head)->next, tmp = pos->next; pos != (head); pos = tmp, tmp = pos->next)

#endif

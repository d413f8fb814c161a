/* SPDX-License-Identifier: MIT */
/* yield.h - in place of the engine's: another thread may run here. */
#ifndef FL_BASE_YIELD_H
#define FL_BASE_YIELD_H

/* Something shared without a lock is read or changed. */
void sim_yield_point(const void *what);
void sim_yield_look(const void *what);
/* Returns only after another thread has run, if one can. */
void sim_relax(void);

#define fl_yield_point(what) sim_yield_point(what)
#define fl_yield_look(what)  sim_yield_look(what)

static inline void fl_cpu_relax(void)
{
	sim_relax();
}

#endif

/* SPDX-License-Identifier: MIT */
/* faultpoint.h - the engine's, but that what fails is chosen by the explorer. */
#ifndef SIM_FAULTPOINT_H
#define SIM_FAULTPOINT_H

#include_next "base/faultpoint.h"

bool sim_fails(enum fl_faultpoint fp);

#define fl_fail(fp) sim_fails(fp)

#endif

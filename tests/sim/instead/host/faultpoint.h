/* SPDX-License-Identifier: MIT */
/* faultpoint.h - as the engine's, but the explorer chooses what fails. */
#ifndef SIM_FAULTPOINT_H
#define SIM_FAULTPOINT_H

#include_next "host/faultpoint.h"

bool sim_fails(enum fl_faultpoint fp);

#define fl_fail(fp) sim_fails(fp)

#endif

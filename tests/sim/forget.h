/* SPDX-License-Identifier: MIT */
/*
 * forget.h - resets the files of src/native that have variables of their own, for a schedule that stops in the middle
 * leaves them as they are. native_kept.c is for that file.
 */
#ifndef SIM_FORGET_H
#define SIM_FORGET_H

void native_forget_kept(void);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * aarch64/routines.h - the copies of arch/uaccess.h. Copying leaves what is left to copy in x2; touching, 1 in it
 * until it is done.
 */
#ifndef FL_ARCH_AARCH64_ROUTINES_H
#define FL_ARCH_AARCH64_ROUTINES_H

#define FL_ROUTINE_COPY                                                                                              \
	"1:	cbz x2, 3f\n"                                                                                            \
	"	ldrb w3, [x1], #1\n"                                                                                       \
	"	strb w3, [x0], #1\n"                                                                                       \
	"	sub x2, x2, #1\n"                                                                                          \
	"	b 1b\n"                                                                                                    \
	"3:\n"
#define FL_ROUTINE_TOUCH                                                                                             \
	"	mov x2, #1\n"                                                                                              \
	"1:	ldxrb w3, [x0]\n"                                                                                        \
	"	stxrb w4, w3, [x0]\n"                                                                                      \
	"	cbnz w4, 1b\n"                                                                                             \
	"	mov x2, #0\n"
#define FL_ROUTINE_AFTER "	mov x0, x2\n"

#endif

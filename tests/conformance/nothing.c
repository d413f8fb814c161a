/* SPDX-License-Identifier: MIT */
/*
 * nothing.c - a library with nothing in it, for `faultline run` to preload where faultline is in the program already.
 */
void nothing(void);

void nothing(void)
{
}

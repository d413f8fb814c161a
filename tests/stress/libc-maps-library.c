/* SPDX-License-Identifier: MIT */
/* libc-maps-library.c - a library with a large .bss: anonymous memory that dlclose() unmaps. */
extern unsigned char libc_maps_bss[4 << 20];
_Alignas(4096) unsigned char libc_maps_bss[4 << 20];

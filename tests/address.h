/* SPDX-License-Identifier: MIT */
/* address.h - faultline.h's calls with a result besides success, as values: the result, or -1 with errno. */
#ifndef TESTS_ADDRESS_H
#define TESTS_ADDRESS_H

#include <faultline/faultline.h>

#define TESTS_RESULT(call)                                                                                           \
	({                                                                                                           \
		uint64_t result;                                                                                     \
		(call) ? -1 : (int64_t)result;                                                                       \
	})

#define map_addr(...)	    TESTS_RESULT(fl_mmap(__VA_ARGS__, &result))
#define map_shmem_addr(...) TESTS_RESULT(fl_mmap_shmem(__VA_ARGS__, &result))
#define remap_addr(...)	    TESTS_RESULT(fl_mremap(__VA_ARGS__, &result))
#define migrated(...)	    TESTS_RESULT(fl_mm_migrate(__VA_ARGS__, &result))
#define looked(...)	    TESTS_RESULT(fl_sample_look(__VA_ARGS__, &result))
#define data_at(...)	    TESTS_RESULT(fl_shmem_data(__VA_ARGS__, &result))

#endif

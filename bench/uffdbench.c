/* SPDX-License-Identifier: MIT */
/*
 * uffdbench.c - measures one row of the benchmark through libc's entry points alone. The same binary runs on the
 * kernel's userfaultfd, and on faultline's under `faultline run`; bench/run compares the two.
 */
#include <errno.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>

#include "uffdbench.h"

/* How long a command takes from posix_spawnp() to waitpid(); a batch is one start. */
void measure_start_up(const struct run *run, struct series *out)
{
	if (!run->argv || !run->argv[0])
		die("%s: no command given", run->row->name);
	for (unsigned batch = 0; batch <= run->batches; batch++) {
		pid_t pid;
		int status;

		uint64_t start = now_ns();
		int err = posix_spawnp(&pid, run->argv[0], NULL, NULL, run->argv, environ);
		if (err)
			die("%s: %s", run->argv[0], strerror(err));
		if (waitpid(pid, &status, 0) != pid)
			die("waitpid: %s", strerror(errno));
		if (batch)
			series_add(out, now_ns() - start, 1);
		if (status)
			die("%s: wait status %#x", run->argv[0], status);
	}
}

#define FAULT(...)    .unit = "ns/fault", .measure = measure_fault, __VA_ARGS__
#define CROWD(...)    .unit = "ns/fault", .measure = measure_threads, .answer = OTHER_CORE, __VA_ARGS__
#define SLOWS(...)    .unit = "x computing", .measure = measure_threads, .answer = OTHER_CORE, .slows = 1, __VA_ARGS__
#define FILL(...)     .unit = "ns/page", .measure = measure_fill, __VA_ARGS__
#define REGISTER(...) .unit = "us/call", .measure = measure_register_1g, __VA_ARGS__
#define ACCESS(...)   .unit = "x plain", .measure = measure_access, __VA_ARGS__

/* clang-format off */
static const struct row rows[] = {
	{"missing-same-core",		FAULT(.answer = SAME_CORE, .ops = 4096)},
	{"missing-other-core",		FAULT(.answer = OTHER_CORE, .ops = 512)},
	{"missing-sigbus",		FAULT(.answer = IN_THREAD, .ops = 8192)},
	{"missing-sigbus-random",	FAULT(.answer = IN_THREAD, .ops = 8192, .random = true)},
	{"wp-other-core",		FAULT(.answer = OTHER_CORE, .ops = 512, .wp = true)},
	{"wp-other-core-random",	FAULT(.answer = OTHER_CORE, .ops = 512, .wp = true, .random = true)},
	{"wp-sigbus",			FAULT(.answer = IN_THREAD, .ops = 16384, .wp = true)},
	{"wp-sigbus-random",		FAULT(.answer = IN_THREAD, .ops = 16384, .wp = true, .random = true)},
	{"threads-1",			CROWD(.threads = 1, .ops = 512)},
	{"threads-1-handlers-2",	CROWD(.threads = 1, .ops = 512, .handlers = 2)},
	{"threads-1-handlers-4",	CROWD(.threads = 1, .ops = 512, .handlers = 4)},
	{"threads-2",			CROWD(.threads = 2, .ops = 1024)},
	{"threads-2-handlers-2",	CROWD(.threads = 2, .ops = 1024, .handlers = 2)},
	{"threads-2-handlers-4",	CROWD(.threads = 2, .ops = 1024, .handlers = 4)},
	{"threads-4",			CROWD(.threads = 4, .ops = 2048)},
	{"threads-4-handlers-2",	CROWD(.threads = 4, .ops = 2048, .handlers = 2)},
	{"threads-4-handlers-4",	CROWD(.threads = 4, .ops = 2048, .handlers = 4)},
	{"threads-16",			CROWD(.threads = 16, .ops = 4096)},
	{"threads-16-handlers-2",	CROWD(.threads = 16, .ops = 4096, .handlers = 2)},
	{"threads-16-handlers-4",	CROWD(.threads = 16, .ops = 4096, .handlers = 4)},
	{"threads-64",			CROWD(.threads = 64, .ops = 4096)},
	{"threads-64-handlers-2",	CROWD(.threads = 64, .ops = 4096, .handlers = 2)},
	{"threads-64-handlers-4",	CROWD(.threads = 64, .ops = 4096, .handlers = 4)},
	{"threads-4-maps",	CROWD(.threads = 4, .ops = 2048, .handlers = 2, .beside = MAPS)},
	{"threads-4-registers",	CROWD(.threads = 4, .ops = 2048, .handlers = 2, .beside = REGISTERS)},
	{"threads-4-maps-slows",	SLOWS(.threads = 4, .ops = 2048, .handlers = 2, .beside = MAPS)},
	{"threads-4-registers-slows",	SLOWS(.threads = 4, .ops = 2048, .handlers = 2, .beside = REGISTERS)},
	{"copy-4k-recycled",		FILL(.chunk = KIB(4))},
	{"copy-64k-recycled",		FILL(.chunk = KIB(64))},
	{"copy-2m-recycled",		FILL(.chunk = MIB(2))},
	{"copy-4k-fresh",		FILL(.chunk = KIB(4), .fresh = true)},
	{"copy-64k-fresh",		FILL(.chunk = KIB(64), .fresh = true)},
	{"copy-2m-fresh",		FILL(.chunk = MIB(2), .fresh = true)},
	{"copy-64k-recycled-touch",	FILL(.chunk = KIB(64), .touch = true)},
	{"copy-64k-fresh-touch",	FILL(.chunk = KIB(64), .touch = true, .fresh = true)},
	{"zeropage-4k-recycled",	FILL(.chunk = KIB(4), .zero = true)},
	{"zeropage-64k-recycled",	FILL(.chunk = KIB(64), .zero = true)},
	{"zeropage-2m-recycled",	FILL(.chunk = MIB(2), .zero = true)},
	{"zeropage-4k-fresh",		FILL(.chunk = KIB(4), .zero = true, .fresh = true)},
	{"zeropage-64k-fresh",		FILL(.chunk = KIB(64), .zero = true, .fresh = true)},
	{"zeropage-2m-fresh",		FILL(.chunk = MIB(2), .zero = true, .fresh = true)},
	{"zeropage-64k-recycled-store",	FILL(.chunk = KIB(64), .zero = true, .touch = true, .store = true)},
	{"wp-arm-64m",			.unit = "ns/page", .measure = measure_arm},
	{"wp-unprotect-4k",		.unit = "ns/page", .measure = measure_unprotect},
	{"wp-arm-1g-pte",		.unit = "ns/page", .measure = measure_arm_1g, .chunk = KIB(4), .wp = true},
	{"wp-drop-1g-pte",		.unit = "ns/page", .measure = measure_arm_1g, .chunk = KIB(4)},
	{"wp-arm-1g-pmd",		.unit = "ns/page", .measure = measure_arm_1g, .chunk = MIB(2), .wp = true},
	{"wp-drop-1g-pmd",		.unit = "ns/page", .measure = measure_arm_1g, .chunk = MIB(2)},
	{"register-wp-1g",		REGISTER(.wp = true)},
	{"register-wp-1g-first",	.unit = "us/call", .measure = measure_first_register_1g, .wp = true},
	{"unregister-wp-1g",		REGISTER(.wp = true, .ends = BY_CALL)},
	{"close-wp-1g",			REGISTER(.wp = true, .ends = BY_CLOSE)},
	{"register-missing-1g",		REGISTER(.wp = false)},
	{"snapshot-256m",		.unit = "us/round", .measure = measure_snapshot},
	{"dirty-round-1g",		.unit = "us/round", .measure = measure_dirty_round},
	{"minor-sigbus-4k",		.unit = "ns/fault", .measure = measure_minor, .chunk = KIB(4)},
	{"minor-sigbus-2m",		.unit = "ns/fault", .measure = measure_minor, .chunk = MIB(2)},
	{"continue-4k",			.unit = "ns/page", .measure = measure_continue, .chunk = KIB(4)},
	{"continue-2m",			.unit = "ns/page", .measure = measure_continue, .chunk = MIB(2)},
	{"copy-4k-shmem",		.unit = "ns/page", .measure = measure_copy_shmem, .chunk = KIB(4)},
	{"copy-2m-shmem",		.unit = "ns/page", .measure = measure_copy_shmem, .chunk = MIB(2)},
	{"load-in-order",		ACCESS(.random = false)},
	{"load-random",			ACCESS(.random = true)},
	{"store-in-order",		ACCESS(.store = true)},
	{"store-random",		ACCESS(.store = true, .random = true)},
	{"malloc-1m",			.unit = "ns/pair", .measure = measure_malloc},
	{"malloc-1m-registered",	.unit = "ns/pair", .measure = measure_malloc, .wp = true},
	{"start-up",			.unit = "ns/start", .measure = measure_start_up},
};
/* clang-format on */

int main(int argc, char **argv)
{
	return bench_main(argc, argv, rows, sizeof(rows) / sizeof(*rows));
}

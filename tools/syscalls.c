/* SPDX-License-Identifier: MIT */
/*
 * syscalls.c - `faultline doctor --syscalls`: the system calls that a program under faultline makes beside its own.
 *
 * For who writes a seccomp profile. Only calls that faultline makes for itself, from src/host and src/arch, and those
 * of `faultline run`; not those that pass on what the program asked for. tests/clients/syscalls.py leaves out each.
 */
#include <sys/syscall.h>

#include "tool.h"

/* clang-format off */
#define CALL(name, use, refused) {#name, SYS_##name, use, refused}
const struct syscall_use syscall_uses[] = {
	CALL(bind, "names the socket of an object", "objects passed to other processes are not found"),
	CALL(clock_gettime, "time, where the vDSO does not give it", "no times in the statistics"),
	CALL(close, "closes descriptors of its own", "NEEDED"),
	CALL(epoll_create1, "poll, select and epoll of objects", "waiting for objects beside others may fail"),
	CALL(epoll_ctl, "poll, select and epoll of objects", "waiting for objects beside others may fail"),
	CALL(epoll_pwait, "poll, select and epoll of objects", "waiting for objects beside others may fail"),
	CALL(exit_group, "ends a process that cannot go on", "NEEDED"),
	CALL(fcntl, "high descriptors, flags and seals", "its descriptors are in the program's way"),
	CALL(fstat, "tells objects and files apart", "a file or an object may not be recognised"),
#ifdef SYS_fstatfs
	CALL(fstatfs, "tells memory files from others", "shared memory files are taken for ordinary ones"),
#endif
	CALL(futex, "locks and waiting", "waiting burns CPU time, or the C library ends the program"),
	CALL(get_mempolicy, "keeps the NUMA policy of memory it moves", "that memory has the default policy"),
#ifdef SYS_getgid
	CALL(getgid, "`faultline run': would the program get other rights?", "the program may be refused"),
#endif
	CALL(getpid, "notices fork, names itself in messages", "processes are mixed up"),
	CALL(getrandom, "names for sockets and descriptors", "objects may not be made"),
	CALL(getsockname, "recognises the socket of an object", "an inherited or passed object is not recognised"),
	CALL(gettid, "owners of locks", "threads are mixed up"),
#ifdef SYS_getuid
	CALL(getuid, "`faultline run': would the program get other rights?", "the program may be refused"),
#endif
	CALL(getxattr, "`faultline run', not as root: has the program capabilities?", "they are not noticed"),
	CALL(ioctl, "reads /proc/self/maps and pagemap quickly", "the files are read as text"),
	CALL(kill, "does a forked child still exist?", "fork may wait for a child that was killed"),
	CALL(lseek, "finds data and holes in files", "holes are taken for data"),
	CALL(madvise, "guard markers, dropping pages", "pages are hidden by mprotect alone; dropped memory stays"),
	CALL(mbind, "keeps the NUMA policy of memory it moves", "that memory has the default policy"),
	CALL(memfd_create, "keeps shared anonymous memory", "what needs it fails with ENOMEM or the error"),
	CALL(mincore, "what is mapped, which pages are there", "NEEDED: a forked child may read wrong data"),
#ifdef SYS_mmap2
	CALL(mmap2, "all memory of its own", "NEEDED"),
#else
	CALL(mmap, "all memory of its own", "NEEDED"),
#endif
	CALL(mprotect, "hides and protects pages", "NEEDED"),
	CALL(mremap, "puts filled pages in place", "NEEDED: a thread may wait for a page for ever"),
	CALL(munlock, "unlocks pages that it hides", "locked memory is registered less well, or not"),
	CALL(munmap, "gives back memory of its own", "fork fails with ENOMEM"),
	CALL(nanosleep, "short waits", "waiting burns CPU time"),
#ifdef SYS_newfstatat
	CALL(newfstatat, "files by name", "the C library cannot load anything"),
#endif
	CALL(openat, "reads /proc/self", "NEEDED"),
	CALL(pidfd_getfd, "fetches an object of another process", "that object is not found"),
	CALL(pidfd_open, "fetches an object of another process", "that object is not found"),
	CALL(pipe2, "lets a forked child wait for its parent", "fork fails with the error"),
	CALL(ppoll, "waits for objects and sockets", "waiting for an object may fail"),
	CALL(prctl, "`faultline run': would the program get other rights? --deny-kernel", "--deny-kernel fails"),
	CALL(pread64, "reads /proc/self/maps, pagemap and file pages", "NEEDED"),
	CALL(prlimit64, "keeps to the program's limits", "limits are not kept"),
	CALL(pwrite64, "writes pages of files", "filling shared memory fails"),
	CALL(read, "reads /proc/self, pipes", "NEEDED"),
#ifdef SYS_readlink
	CALL(readlink, "`faultline run': finds its library", "set FAULTLINE_PRELOAD, or no program starts"),
#endif
	CALL(recvfrom, "reads what the socket of an object holds", "an object may look readable that is not"),
	CALL(rt_sigaction, "catches SIGSEGV and SIGBUS", "userfaultfd fails with the error"),
	CALL(rt_sigpending, "delivers signals at the right time", "signals may come late"),
	CALL(rt_sigprocmask, "keeps signals out of critical places", "a handler may run in the middle of a fault"),
	CALL(rt_sigqueueinfo, "passes on a signal to the process", "that signal is lost"),
	CALL(rt_sigreturn, "returns from a fault", "NEEDED: the first fault ends the program"),
	CALL(rt_tgsigqueueinfo, "passes on a signal to the thread", "that signal is lost"),
	CALL(sched_yield, "waits for a lock", "waiting burns CPU time"),
#ifdef SYS_seccomp
	CALL(seccomp, "`faultline run --deny-kernel': its filter", "--deny-kernel fails"),
#endif
	CALL(sendto, "makes an object readable", "poll may not wake"),
#ifdef SYS_shmctl
	CALL(shmctl, "how long is a segment that the program attaches?", "what it attaches over stays registered"),
#endif
	CALL(sigaltstack, "a stack for faults on a full stack", "a fault on a full stack ends the program"),
	CALL(socketpair, "the descriptor of an object", "userfaultfd fails with the error"),
#ifdef SYS_statfs
	CALL(statfs, "is /proc there, and procfs?", "requests on /proc are not used"),
#endif
	CALL(sysinfo, "how much memory and swap there is", "limits are not known"),
	CALL(tgkill, "raises a signal as the kernel would", "that signal is lost"),
	CALL(tkill, "does a thread still exist?", "ended threads are taken to live"),
	CALL(waitid, "has a forked child that is waited for ended?", "a fork may wait for a child that was killed"),
	CALL(write, "messages, waking a forked child", "no messages; a forked child may not go on"),
};
const size_t syscall_use_count = sizeof(syscall_uses) / sizeof(*syscall_uses);
/* clang-format on */

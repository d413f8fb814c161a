/* SPDX-License-Identifier: MIT */
/*
 * bench.h - the harness of the benchmark programs: a table of rows, of which one run measures one, in a number of
 * batches. A row adds the cost of one operation, once per batch; the harness prints median, quartiles and extremes.
 * Any error ends the program: status 1, or one of those below where the row cannot be measured here.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE   ((size_t)4096)
#define KIB(n) ((size_t)(n) << 10)
#define MIB(n) ((size_t)(n) << 20)

#define EXIT_NO_UFFD 77 /* the system refuses userfaultfd, or lacks a feature */
#define EXIT_NO_CPU  78

/* who resolves a page fault */
enum answer {
	SAME_CORE,  /* a thread that reads the descriptor, on the CPU of the faulting thread */
	OTHER_CORE, /* the same, on another CPU */
	IN_THREAD,  /* the faulting thread itself */
};

struct series {
	double *v;
	size_t n, cap;
};

/* What of a registration is measured: its call, or one of its ends. */
enum ends { NOT_ITS_END, BY_CALL, BY_CLOSE };

/* What one more thread does all the time. */
enum beside { NOTHING, COMPUTES, MAPS, REGISTERS };

struct run;

/* One line of a program's table. Each kind of row reads the parameters it needs. */
struct row {
	const char *name;
	const char *unit;
	void (*measure)(const struct run *run, struct series *out);
	enum answer answer;
	bool wp;	   /* write-protect faults, not missing ones */
	bool random;	   /* pages or words at random, not in order */
	bool store;	   /* store, not load */
	bool zero;	   /* UFFDIO_ZEROPAGE, not UFFDIO_COPY */
	bool fresh;	   /* memory that was never used before */
	bool touch;	   /* use every page after it was filled */
	size_t chunk;	   /* bytes filled by one call */
	unsigned threads;  /* that fault */
	unsigned handlers; /* threads that resolve; 0: one */
	enum beside beside;
	enum ends ends;
	bool slows;   /* by how much: in every other batch that thread only computes */
	unsigned ops; /* faults in a batch */
};

/* What the command line asked for. */
struct run {
	const struct row *row;
	unsigned batches;
	char **argv; /* the command after "--", for rows that start one */
};

int bench_main(int argc, char **argv, const struct row *rows, size_t count);

_Noreturn void die(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* safe in a signal handler */
_Noreturn void skip(int status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

uint64_t now_ns(void);
void series_add(struct series *s, uint64_t ns, size_t ops);
void series_add_value(struct series *s, double value);

/* Pin the calling thread to the index'th CPU that the process may use; skips the row where there is none. */
void pin_to_cpu(unsigned index);

uint64_t random_next(uint64_t *state);

/* volatile: the compiler keeps an access whose value is unused */
static inline void touch(char *p, bool store)
{
	if (store)
		*(volatile char *)p = 1;
	else
		(void)*(volatile char *)p;
}

/* New private memory, never of huge pages. */
char *map_pages(size_t len);

/* Fill memory with words that hold no zero byte. */
void write_pattern(char *p, size_t len);

/* The program's resolvers count every fault here before they resolve it. */
extern _Atomic uint64_t faults_seen;
void expect_faults(uint64_t count);

/* Load from a page that a fault fills with the pattern. */
static inline void load_filled(const char *p)
{
	if (!*(const volatile char *)p)
		die("a page was not filled");
}

/*
 * A loop over page faults: before each batch prepare() takes the rights away, then the batch is timed. Checks that
 * every access faulted and found the pattern.
 */
struct fault_loop {
	char *base;
	size_t len;
	void (*prepare)(const struct fault_loop *loop);
	int fd;	   /* prepare()'s: the descriptor ... */
	void *obj; /* ... or the object */
};

void measure_faults(const struct run *run, const struct fault_loop *loop, struct series *out);

#endif

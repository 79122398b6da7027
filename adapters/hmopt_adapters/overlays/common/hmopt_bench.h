/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The frame of git-hmopt's in-kernel workloads.
 *
 * A workload makes its input from a seed, does its work inside a window that
 * the host times from outside, and answers with a digest of its output that
 * the host compares between two kernels. What the guest prints about itself
 * decides nothing but correctness.
 */
#ifndef HMOPT_BENCH_H
#define HMOPT_BENCH_H

#include <kunit/test.h>
#include <linux/types.h>

struct hmopt_case {
	u32 seed;
	u32 size;
	u32 offset;
	u32 reps;
};

struct hmopt_workload {
	const char *name;
	/* Make the input; NULL means no memory. Runs outside the window. */
	void *(*prepare)(const struct hmopt_case *c);
	/* The work, c->reps times. Interrupts are off: do not sleep. */
	void (*work)(void *input, const struct hmopt_case *c);
	/* Compare with a reference of the workload's own; NULL is right. */
	const char *(*check)(void *input, const struct hmopt_case *c);
	/* Reduce the output to 64 bits that the host can compare. */
	u64 (*digest)(void *input, const struct hmopt_case *c);
	void (*release)(void *input);
};

void hmopt_run(struct kunit *test, const struct hmopt_workload *w);

/* A frame of its own, so that a sampled stack tells the window from the rest. */
void hmopt_window(const struct hmopt_workload *w, void *input,
		  const struct hmopt_case *c);

/*
 * The window's edges. A counter outside the guest finds them by address, so
 * they must exist once and never be inlined or folded together.
 */
void hmopt_window_begin(void);
void hmopt_window_end(void);

/* Inputs must not depend on code that a candidate may change. */
static inline u64 hmopt_next(u64 *state)
{
	/* splitmix64, Steele, Lea & Flood, OOPSLA 2014 */
	u64 z = (*state += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

#define HMOPT_DIGEST_START 0xcbf29ce484222325ULL

static inline u64 hmopt_mix(u64 digest, u64 value)
{
	/* FNV-1a over the value's eight bytes, lowest first */
	int i;

	for (i = 0; i < 8; i++) {
		digest ^= (value >> (8 * i)) & 0xff;
		digest *= 0x100000001b3ULL;
	}
	return digest;
}

#define HMOPT_SUITE(ident, workload)					\
	static void ident##_test(struct kunit *test)			\
	{								\
		hmopt_run(test, &(workload));				\
	}								\
	static struct kunit_case ident##_cases[] = {			\
		KUNIT_CASE(ident##_test),				\
		{}							\
	};								\
	static struct kunit_suite ident##_suite = {			\
		.name = #ident,						\
		.test_cases = ident##_cases,				\
	};								\
	kunit_test_suites(&ident##_suite)

#endif

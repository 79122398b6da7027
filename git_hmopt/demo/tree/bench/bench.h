/* SPDX-License-Identifier: Apache-2.0 */
#ifndef _BENCH_H
#define _BENCH_H

#include <linux/kernel.h>

struct bench_case {
	u64 seed;
	u32 size;
	u32 offset;
	u32 repetitions;
};

/*
 * One thing to measure. work() does repetition @rep and returns the digest of
 * its answers; model() gives the same digest by the simplest means there are.
 */
struct workload {
	const char *name;
	const char *summary;
	u32 max_size;
	void *(*prepare)(const struct bench_case *c);
	u64 (*work)(void *input, u32 rep);
	u64 (*model)(void *input, u32 rep);
	void (*release)(void *input);
};

extern const struct workload checksums_workload;
extern const struct workload runqueue_workload;
extern const struct workload timers_workload;
extern const struct workload slab_workload;
extern const struct workload messages_workload;
extern const struct workload path_lookup_workload;

void *must_alloc(size_t nr, size_t size);

void sample_start(void);
void sample_stop(void);
bool sample_write(const char *path);

/* splitmix64 (Steele, Lea, Flood, OOPSLA 2014). */
static inline u64 next_random(u64 *state)
{
	u64 x = *state += 0x9e3779b97f4a7c15ull;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

/* The stream of random numbers of one repetition. */
static inline u64 stream(const struct bench_case *c, u32 rep)
{
	u64 state = c->seed + ((u64)rep << 32);

	return next_random(&state);
}

static inline u64 mix(u64 digest, u64 value)
{
	u64 state = digest ^ value;

	return next_random(&state) + digest;
}

#endif /* _BENCH_H */

// SPDX-License-Identifier: GPL-2.0-only
/* sort() of size keys; every repetition sorts a fresh copy of the input. */
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/string.h>

#include "hmopt_bench.h"

struct sort_input {
	u32 *keys;
	u32 *sorted;
};

static int compare_keys(const void *a, const void *b)
{
	u32 x = *(const u32 *)a, y = *(const u32 *)b;

	return x < y ? -1 : x > y;
}

static void sort_release(void *input)
{
	struct sort_input *in = input;

	kvfree(in->keys);
	kvfree(in->sorted);
	kfree(in);
}

static void *sort_prepare(const struct hmopt_case *c)
{
	struct sort_input *in = kzalloc(sizeof(*in), GFP_KERNEL);
	u64 state = c->seed;
	u32 i;

	if (!in)
		return NULL;
	in->keys = kvmalloc_array(c->size + 1, sizeof(u32), GFP_KERNEL);
	in->sorted = kvmalloc_array(c->size + 1, sizeof(u32), GFP_KERNEL);
	if (!in->keys || !in->sorted) {
		sort_release(in);
		return NULL;
	}
	/* Every third input has many equal keys. */
	for (i = 0; i < c->size; i++)
		in->keys[i] = (u32)hmopt_next(&state) >>
			      (c->seed % 3 == 2 ? 28 : 0);
	return in;
}

static void sort_work(void *input, const struct hmopt_case *c)
{
	struct sort_input *in = input;
	u32 rep;

	for (rep = 0; rep < c->reps; rep++) {
		memcpy(in->sorted, in->keys, c->size * sizeof(u32));
		sort(in->sorted, c->size, sizeof(u32), compare_keys, NULL);
	}
}

static const char *sort_check(void *input, const struct hmopt_case *c)
{
	struct sort_input *in = input;
	u64 sum = 0, mix = 0;
	u32 i;

	for (i = 0; i < c->size; i++) {
		u64 a = in->keys[i], b = in->sorted[i];
		u64 sa = a, sb = b;

		if (i && in->sorted[i - 1] > in->sorted[i])
			return "not in order";
		/* The same keys, whatever their order: two multiset sums. */
		sum += a - b;
		mix += hmopt_next(&sa) - hmopt_next(&sb);
	}
	return sum || mix ? "keys lost or made up" : NULL;
}

static u64 sort_digest(void *input, const struct hmopt_case *c)
{
	struct sort_input *in = input;
	u64 digest = HMOPT_DIGEST_START;
	u32 i;

	for (i = 0; i < c->size; i++)
		digest = hmopt_mix(digest, in->sorted[i]);
	return digest;
}

static const struct hmopt_workload sort_workload = {
	.name = "hmopt_sort",
	.prepare = sort_prepare,
	.work = sort_work,
	.check = sort_check,
	.digest = sort_digest,
	.release = sort_release,
};

HMOPT_SUITE(hmopt_sort, sort_workload);

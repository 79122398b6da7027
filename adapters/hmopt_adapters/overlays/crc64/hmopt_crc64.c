// SPDX-License-Identifier: GPL-2.0-only
/* Both CRCs of lib/crc64 over size bytes that start at any offset. */
#include <linux/crc64.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "hmopt_bench.h"

#define ECMA_182	0x42F0E1EBA9EA3693ULL
/* The reflected polynomial of crc64_rocksoft, 0x9A6C9329AC4BC9B5 as is. */
#define ROCKSOFT	0x9A6C9329AC4BC9B5ULL

struct crc_input {
	u8 *buffer;
	const u8 *data;
	u64 be, rocksoft;
};

static void crc_release(void *input)
{
	struct crc_input *in = input;

	kvfree(in->buffer);
	kfree(in);
}

static void *crc_prepare(const struct hmopt_case *c)
{
	struct crc_input *in = kzalloc(sizeof(*in), GFP_KERNEL);
	u64 state = c->seed;
	u32 i;

	if (!in)
		return NULL;
	in->buffer = kvmalloc(c->size + c->offset + 1, GFP_KERNEL);
	if (!in->buffer) {
		crc_release(in);
		return NULL;
	}
	for (i = 0; i < c->size + c->offset; i++)
		in->buffer[i] = hmopt_next(&state);
	in->data = in->buffer + c->offset;
	return in;
}

static void crc_work(void *input, const struct hmopt_case *c)
{
	struct crc_input *in = input;
	u32 rep;

	in->be = c->seed;
	in->rocksoft = c->seed;
	for (rep = 0; rep < c->reps; rep++) {
		in->be = crc64_be(in->be, in->data, c->size);
		in->rocksoft = crc64_rocksoft_generic(in->rocksoft, in->data,
						      c->size);
	}
}

static u64 slow_be(u64 crc, const u8 *p, u32 n)
{
	int bit;

	while (n--) {
		crc ^= (u64)*p++ << 56;
		for (bit = 0; bit < 8; bit++)
			crc = (crc << 1) ^ (crc >> 63 ? ECMA_182 : 0);
	}
	return crc;
}

static u64 slow_rocksoft(u64 crc, const u8 *p, u32 n)
{
	int bit;

	crc = ~crc;
	while (n--) {
		crc ^= *p++;
		for (bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ (crc & 1 ? ROCKSOFT : 0);
	}
	return ~crc;
}

static const char *crc_check(void *input, const struct hmopt_case *c)
{
	struct crc_input *in = input;
	u64 be = c->seed, rocksoft = c->seed;
	u32 rep;

	/* Long windows are checked by comparing two kernels' digests. */
	if ((u64)c->reps * c->size > (1 << 20))
		return NULL;
	for (rep = 0; rep < c->reps; rep++) {
		be = slow_be(be, in->data, c->size);
		rocksoft = slow_rocksoft(rocksoft, in->data, c->size);
	}
	if (be != in->be)
		return "crc64_be differs from bit by bit";
	if (rocksoft != in->rocksoft)
		return "crc64_rocksoft_generic differs from bit by bit";
	return NULL;
}

static u64 crc_digest(void *input, const struct hmopt_case *c)
{
	struct crc_input *in = input;

	return hmopt_mix(hmopt_mix(HMOPT_DIGEST_START, in->be), in->rocksoft);
}

static const struct hmopt_workload crc_workload = {
	.name = "hmopt_crc64",
	.prepare = crc_prepare,
	.work = crc_work,
	.check = crc_check,
	.digest = crc_digest,
	.release = crc_release,
};

HMOPT_SUITE(hmopt_crc64, crc_workload);

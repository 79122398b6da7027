// SPDX-License-Identifier: Apache-2.0
/* Every checksum of lib/ over one buffer. */
#include <linux/checksum.h>
#include <linux/crc.h>
#include <stdlib.h>

#include "bench.h"

struct input {
	struct bench_case c;
	u8 *buffer;
	const u8 *data;
};

static void *prepare(const struct bench_case *c)
{
	struct input *in = must_alloc(1, sizeof(*in));
	u64 state = c->seed;
	u32 i;

	in->c = *c;
	in->buffer = must_alloc((size_t)c->size + c->offset, 1);
	for (i = 0; i < c->size + c->offset; i++)
		in->buffer[i] = next_random(&state);
	in->data = in->buffer + c->offset;
	return in;
}

static u64 digest_of(u32 crc32, u32 castagnoli, u64 crc64, u16 sum)
{
	return mix(mix(mix(mix(0, crc32), castagnoli), crc64), sum);
}

static u64 checksums_work(void *input, u32 rep)
{
	const struct input *in = input;
	u64 start = stream(&in->c, rep);

	return digest_of(crc32_le(start, in->data, in->c.size),
			 crc32c(start, in->data, in->c.size),
			 crc64_be(start, in->data, in->c.size),
			 ip_compute_csum(in->data, in->c.size));
}

static u32 bitwise32(u32 crc, u32 polynomial, const u8 *p, u32 len)
{
	int bit;

	while (len--) {
		crc ^= *p++;
		for (bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ (crc & 1 ? polynomial : 0);
	}
	return crc;
}

static u64 bitwise64(u64 crc, u64 polynomial, const u8 *p, u32 len)
{
	int bit;

	while (len--) {
		crc ^= (u64)*p++ << 56;
		for (bit = 0; bit < 8; bit++)
			crc = (crc << 1) ^ (crc >> 63 ? polynomial : 0);
	}
	return crc;
}

static u16 bytewise_sum(const u8 *p, u32 len)
{
	u64 sum = 0;
	u32 i;

	for (i = 0; i < len; i++)
		sum += i & 1 ? p[i] : p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static u64 model(void *input, u32 rep)
{
	const struct input *in = input;
	u64 start = stream(&in->c, rep);

	return digest_of(bitwise32(start, 0xedb88320, in->data, in->c.size),
			 bitwise32(start, 0x82f63b78, in->data, in->c.size),
			 bitwise64(start, 0x42f0e1eba9ea3693ull, in->data,
				   in->c.size),
			 bytewise_sum(in->data, in->c.size));
}

static void release(void *input)
{
	struct input *in = input;

	free(in->buffer);
	free(in);
}

const struct workload checksums_workload = {
	.name = "checksums",
	.summary = "CRC-32, CRC-32C, CRC-64 and IP checksum of N bytes",
	.max_size = 1 << 22,
	.prepare = prepare,
	.work = checksums_work,
	.model = model,
	.release = release,
};

// SPDX-License-Identifier: Apache-2.0
/* Messages of up to N bytes through a ring that keeps filling up. */
#include <linux/err.h>
#include <linux/msg.h>
#include <stdlib.h>

#include "bench.h"

#define MESSAGES	64

struct input {
	struct bench_case c;
	struct msg_ring ring;
	u8 *buffer, *received;
	const u8 *data;
};

/* One message as the seed has it. */
struct plan {
	const u8 *payload;
	u32 len;
	u32 type;
	bool drain;
};

static struct plan next_plan(const struct input *in, u64 *random)
{
	u64 r = next_random(random);
	u32 len = (r & 0xffffffff) % (in->c.size + 1);

	return (struct plan){
		.payload = in->data + (r >> 40) % (in->c.size + 1 - len),
		.len = len,
		.type = r >> 32 & 0xff,
		.drain = r >> 63,
	};
}

static void *prepare(const struct bench_case *c)
{
	struct input *in = must_alloc(1, sizeof(*in));
	u64 state = c->seed;
	u32 ring = 256, i;

	in->c = *c;
	in->buffer = must_alloc((size_t)c->size + c->offset, 1);
	in->received = must_alloc(c->size, 1);
	for (i = 0; i < c->size + c->offset; i++)
		in->buffer[i] = next_random(&state);
	in->data = in->buffer + c->offset;
	while (ring < 3 * c->size)
		ring *= 2;
	if (msg_ring_init(&in->ring, ring))
		abort();
	return in;
}

static u64 drain(struct input *in, u64 digest)
{
	struct msg_header header;
	int error;

	while ((error = msg_receive(&in->ring, &header, in->received,
				    in->c.size)) != -EAGAIN) {
		digest = mix(digest, (u64)header.type << 32 | header.len);
		digest = mix(digest, (u64)-error << 32 | header.crc);
	}
	return digest;
}

static u64 messages_work(void *input, u32 rep)
{
	struct input *in = input;
	u64 random = stream(&in->c, rep), digest = 0;
	struct plan plan;
	u32 i;

	in->ring.seq = 0;
	for (i = 0; i < MESSAGES; i++) {
		plan = next_plan(in, &random);
		while (msg_send(&in->ring, plan.type, plan.payload, plan.len))
			digest = drain(in, digest);
		if (plan.drain)
			digest = drain(in, digest);
	}
	return drain(in, digest);
}

static u32 bitwise(u32 crc, const void *data, u32 len)
{
	const u8 *p = data;
	int bit;

	while (len--) {
		crc ^= *p++;
		for (bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return crc;
}

/* Whatever the ring does, messages come out as they went in. */
static u64 model(void *input, u32 rep)
{
	struct input *in = input;
	u64 random = stream(&in->c, rep), digest = 0;
	u32 head[3], i, crc;
	struct plan plan;

	for (i = 0; i < MESSAGES; i++) {
		plan = next_plan(in, &random);
		head[0] = plan.len;
		head[1] = plan.type;
		head[2] = i;
		crc = bitwise(~0u, head, sizeof(head));
		crc = ~bitwise(crc, plan.payload, plan.len);
		digest = mix(digest, (u64)plan.type << 32 | plan.len);
		digest = mix(digest, crc);
	}
	return digest;
}

static void release(void *input)
{
	struct input *in = input;

	msg_ring_destroy(&in->ring);
	free(in->buffer);
	free(in->received);
	free(in);
}

const struct workload messages_workload = {
	.name = "messages",
	.summary = "64 messages of up to N bytes through a ring",
	.max_size = 1 << 16,
	.prepare = prepare,
	.work = messages_work,
	.model = model,
	.release = release,
};

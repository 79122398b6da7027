// SPDX-License-Identifier: GPL-2.0-only
/* Split a buffer at newlines with memchr(), as parsers of text files do. */
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "hmopt_bench.h"

struct scan_input {
	u8 *buffer;
	const u8 *data;
	u64 digest;
};

static void scan_release(void *input)
{
	struct scan_input *in = input;

	kvfree(in->buffer);
	kfree(in);
}

static void *scan_prepare(const struct hmopt_case *c)
{
	struct scan_input *in = kzalloc(sizeof(*in), GFP_KERNEL);
	u64 state = c->seed;
	u32 i, next;

	if (!in)
		return NULL;
	in->buffer = kvmalloc(c->size + c->offset + 1, GFP_KERNEL);
	if (!in->buffer) {
		scan_release(in);
		return NULL;
	}
	/* Lines of 0 to 127 bytes; no other byte is a newline. */
	next = c->offset + hmopt_next(&state) % 128;
	for (i = 0; i < c->size + c->offset; i++) {
		u8 byte = hmopt_next(&state);

		if (i == next) {
			in->buffer[i] = '\n';
			next = i + 1 + hmopt_next(&state) % 128;
		} else {
			in->buffer[i] = byte == '\n' ? 'x' : byte;
		}
	}
	/* One more right behind the end: reading it is a bug that shows. */
	in->buffer[c->size + c->offset] = '\n';
	in->data = in->buffer + c->offset;
	return in;
}

static void scan_work(void *input, const struct hmopt_case *c)
{
	struct scan_input *in = input;
	const u8 *end = in->data + c->size;
	u64 digest = HMOPT_DIGEST_START;
	u32 rep;

	for (rep = 0; rep < c->reps; rep++) {
		const u8 *p = in->data, *found;

		while ((found = memchr(p, '\n', end - p))) {
			digest = (digest ^ (found - in->data)) *
				 0x100000001b3ULL;
			p = found + 1;
		}
	}
	in->digest = digest;
}

static const char *scan_check(void *input, const struct hmopt_case *c)
{
	struct scan_input *in = input;
	u64 digest = HMOPT_DIGEST_START;
	u32 rep, i;

	for (rep = 0; rep < c->reps; rep++)
		for (i = 0; i < c->size; i++)
			if (in->data[i] == '\n')
				digest = (digest ^ i) * 0x100000001b3ULL;
	return digest == in->digest ? NULL : "memchr differs from a byte loop";
}

static u64 scan_digest(void *input, const struct hmopt_case *c)
{
	return ((struct scan_input *)input)->digest;
}

static const struct hmopt_workload scan_workload = {
	.name = "hmopt_memchr",
	.prepare = scan_prepare,
	.work = scan_work,
	.check = scan_check,
	.digest = scan_digest,
	.release = scan_release,
};

HMOPT_SUITE(hmopt_memchr, scan_workload);

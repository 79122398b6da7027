// SPDX-License-Identifier: Apache-2.0
/* Objects of several caches that come and go in random order. */
#include <linux/slab.h>
#include <linux/string.h>
#include <stdlib.h>

#include "bench.h"

#define STEPS_PER_OBJECT 16
#define LARGEST		 3000u

enum source { SMALL, ALIGNED, POISONED, KMALLOC, NR_SOURCES };

struct object {
	u8 *bytes;
	u64 stamp;
	u32 size;
	enum source source;
	bool live;
};

struct input {
	struct bench_case c;
	struct kmem_cache *caches[KMALLOC];
	struct object *objects;
};

struct slab_ops {
	void (*take)(struct input *in, struct object *object);
	u64 (*give)(struct input *in, struct object *object);
};

static const struct { u32 size, align, flags; } kinds[KMALLOC] = {
	[SMALL] = { 40, 0, 0 },
	[ALIGNED] = { 192, 64, 0 },
	[POISONED] = { 72, 0, SLAB_POISON },
};

static void *prepare(const struct bench_case *c)
{
	struct input *in = must_alloc(1, sizeof(*in));
	u32 i;

	in->c = *c;
	in->objects = must_alloc(c->size, sizeof(*in->objects));
	for (i = 0; i < KMALLOC; i++) {
		/* The offset makes every object longer. */
		in->caches[i] = kmem_cache_create("bench", kinds[i].size +
						  c->offset % 1024,
						  kinds[i].align,
						  kinds[i].flags);
		if (!in->caches[i])
			abort();
	}
	return in;
}

static __always_inline u64 drive(const struct slab_ops *ops, struct input *in,
				 u32 rep)
{
	u64 random = stream(&in->c, rep), digest = 0, r;
	u32 n = in->c.size, i;
	struct object *object;

	for (i = 0; i < n * STEPS_PER_OBJECT; i++) {
		r = next_random(&random);
		object = &in->objects[(r >> 32) % n];
		if (object->live) {
			digest = mix(digest, ops->give(in, object));
			object->live = false;
			continue;
		}
		object->source = r % NR_SOURCES;
		/* Most requests are small. */
		object->size = object->source == KMALLOC ?
			       1 + (r >> 8) % (LARGEST >> (r >> 4) % 8) :
			       kinds[object->source].size + in->c.offset % 1024;
		object->stamp = r;
		object->live = true;
		ops->take(in, object);
	}
	for (i = 0; i < n; i++) {
		object = &in->objects[i];
		if (object->live)
			digest = mix(digest, ops->give(in, object));
		object->live = false;
	}
	return digest;
}

static void real_take(struct input *in, struct object *object)
{
	object->bytes = object->source == KMALLOC ? kmalloc(object->size) :
			kmem_cache_alloc(in->caches[object->source]);
	if (!object->bytes)
		abort();
	object->bytes[0] = object->stamp;
	object->bytes[object->size - 1] = object->stamp >> 8;
}

static u64 real_give(struct input *in, struct object *object)
{
	u64 last = object->bytes[object->size - 1];
	u64 first = object->bytes[0];

	if (object->source == KMALLOC)
		kfree(object->bytes);
	else
		kmem_cache_free(in->caches[object->source], object->bytes);
	return first << 8 | last;
}

static u64 slab_work(void *input, u32 rep)
{
	static const struct slab_ops ops = { real_take, real_give };
	struct input *in = input;
	u64 digest = drive(&ops, in, rep);

	return mix(digest, kmem_cache_corrupted(in->caches[POISONED]));
}

/* The model has every object where nothing can overlap it. */

static void model_take(struct input *in, struct object *object)
{
	(void)in;
	(void)object;
}

static u64 model_give(struct input *in, struct object *object)
{
	u64 first = object->stamp & 0xff, last = object->stamp >> 8 & 0xff;

	(void)in;
	if (object->size == 1)
		first = last;
	return first << 8 | last;
}

static u64 model(void *input, u32 rep)
{
	static const struct slab_ops ops = { model_take, model_give };

	return mix(drive(&ops, input, rep), 0);
}

static void release(void *input)
{
	struct input *in = input;
	u32 i;

	for (i = 0; i < KMALLOC; i++) {
		if (kmem_cache_destroy(in->caches[i]))
			abort();
	}
	free(in->objects);
	free(in);
}

const struct workload slab_workload = {
	.name = "slab",
	.summary = "up to N objects of four kinds, taken and given back",
	.max_size = 65536,
	.prepare = prepare,
	.work = slab_work,
	.model = model,
	.release = release,
};

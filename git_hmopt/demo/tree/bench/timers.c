// SPDX-License-Identifier: Apache-2.0
/* Timers that are started, moved and stopped while the clock goes on. */
#include <linux/timer.h>
#include <stdlib.h>

#include "bench.h"

#define STEPS_PER_TIMER	8

struct input;

struct bench_timer {
	struct timer timer;
	struct input *in;
	u32 id;
	u64 expires;		/* the model's */
	bool pending;		/* the model's */
};

struct input {
	struct bench_case c;
	struct timer_wheel wheel;
	struct bench_timer *timers;
	u64 fired;		/* a sum: timers of one tick may swap places */
};

struct timer_ops {
	void (*reset)(struct input *in, u64 now);
	bool (*modify)(struct input *in, u32 id, u64 expires);
	bool (*delete)(struct input *in, u32 id);
	u32 (*advance)(struct input *in, u64 now);
};

/* One in four is periodic. */
static u32 period_of(const struct bench_timer *timer)
{
	return timer->id % 4 ? 0 : 1000 + timer->id * 37 % 5000;
}

static void *prepare(const struct bench_case *c)
{
	struct input *in = must_alloc(1, sizeof(*in));
	u32 i;

	in->c = *c;
	in->timers = must_alloc(c->size, sizeof(*in->timers));
	for (i = 0; i < c->size; i++) {
		in->timers[i].in = in;
		in->timers[i].id = i;
	}
	return in;
}

static __always_inline u64 drive(const struct timer_ops *ops, struct input *in,
				 u32 rep)
{
	u64 random = stream(&in->c, rep), now = in->c.offset, digest = 0, r;
	u32 n = in->c.size, i, id, answer;

	in->fired = 0;
	ops->reset(in, now);
	for (i = 0; i < n * STEPS_PER_TIMER; i++) {
		r = next_random(&random);
		id = (r >> 32) % n;
		switch (r & 7) {
		case 0:
			answer = ops->delete(in, id);
			break;
		case 1:
			/* Now and then the CPU slept for a while. */
			now += (r & 0x3f8) ? (r >> 10) % 64 : (r >> 10) % 16384;
			answer = ops->advance(in, now);
			break;
		default:
			answer = ops->modify(in, id, now + (next_random(&random)
					     >> (40 + (r >> 10) % 20)));
		}
		digest = mix(digest, answer);
	}
	return mix(digest, in->fired);
}

static u64 fired_at(const struct bench_timer *timer, u64 tick)
{
	return mix(timer->id, tick);
}

static void real_expired(struct timer *timer)
{
	struct bench_timer *t = container_of(timer, struct bench_timer, timer);
	struct input *in = t->in;
	u64 tick = in->wheel.clk - 1;

	in->fired += fired_at(t, tick);
	if (period_of(t))
		timer_mod(&in->wheel, timer, tick + period_of(t));
}

static void real_reset(struct input *in, u64 now)
{
	u32 i;

	wheel_init(&in->wheel, now + 1);
	for (i = 0; i < in->c.size; i++)
		timer_setup(&in->timers[i].timer, real_expired);
}

static bool real_modify(struct input *in, u32 id, u64 expires)
{
	return timer_mod(&in->wheel, &in->timers[id].timer, expires);
}

static bool real_delete(struct input *in, u32 id)
{
	return timer_delete(&in->wheel, &in->timers[id].timer);
}

static u32 real_advance(struct input *in, u64 now)
{
	return wheel_advance(&in->wheel, now);
}

static u64 timers_work(void *input, u32 rep)
{
	static const struct timer_ops ops = {
		.reset = real_reset,
		.modify = real_modify,
		.delete = real_delete,
		.advance = real_advance,
	};

	return drive(&ops, input, rep);
}

/* The model asks every timer. */

static void model_reset(struct input *in, u64 now)
{
	u32 i;

	in->wheel.clk = now + 1;
	for (i = 0; i < in->c.size; i++)
		in->timers[i].pending = false;
}

static bool model_modify(struct input *in, u32 id, u64 expires)
{
	struct bench_timer *t = &in->timers[id];
	bool pending = t->pending;

	t->expires = max(expires, in->wheel.clk);
	t->pending = true;
	return pending;
}

static bool model_delete(struct input *in, u32 id)
{
	bool pending = in->timers[id].pending;

	in->timers[id].pending = false;
	return pending;
}

static u32 model_advance(struct input *in, u64 now)
{
	struct bench_timer *t, *first;
	u32 nr = 0, i;

	for (;;) {
		first = NULL;
		for (i = 0; i < in->c.size; i++) {
			t = &in->timers[i];
			if (t->pending && (!first || t->expires < first->expires))
				first = t;
		}
		if (!first || first->expires > now)
			break;
		first->pending = false;
		in->fired += fired_at(first, first->expires);
		nr++;
		if (period_of(first)) {
			first->expires += period_of(first);
			first->pending = true;
		}
	}
	in->wheel.clk = now + 1;
	return nr;
}

static u64 model(void *input, u32 rep)
{
	static const struct timer_ops ops = {
		.reset = model_reset,
		.modify = model_modify,
		.delete = model_delete,
		.advance = model_advance,
	};

	return drive(&ops, input, rep);
}

static void release(void *input)
{
	struct input *in = input;

	free(in->timers);
	free(in);
}

const struct workload timers_workload = {
	.name = "timers",
	.summary = "N timers that are started, moved, stopped and run",
	.max_size = 4096,
	.prepare = prepare,
	.work = timers_work,
	.model = model,
	.release = release,
};

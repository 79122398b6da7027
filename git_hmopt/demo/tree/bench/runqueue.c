// SPDX-License-Identifier: Apache-2.0
/* Tasks that wake, run, sleep and change their priority on one CPU. */
#include <linux/sched.h>
#include <stdlib.h>

#include "bench.h"

#define STEPS_PER_TASK	8

enum state { ASLEEP, QUEUED, RUNNING };

/* What the model knows of a task: @order is its place among equals. */
struct model_task {
	enum state state;
	u64 vruntime;
	u64 slice_exec;
	s64 order;
	u32 weight;
	u8 prio;
};

struct input {
	struct bench_case c;
	u64 clock;		/* where virtual time begins */
	struct task *tasks;
	bool *awake;
	struct rq rq;
	struct model_task *models;
	u64 min_vruntime;
	s64 first, last;
};

struct rq_ops {
	void (*reset)(struct input *in);
	bool (*wake)(struct input *in, u32 id);
	void (*sleep)(struct input *in, u32 id);
	bool (*tick)(struct input *in, u64 delta);
	void (*set_prio)(struct input *in, u32 id, u8 prio);
	u32 (*schedule)(struct input *in);	/* 0, or 1 + id */
};

/* One in eight tasks is real-time. */
static u8 prio_of(u64 random)
{
	if (random % 8 == 0)
		return 1 + random / 8 % (MAX_RT_PRIO - 1);
	return MAX_RT_PRIO + random / 8 % (MAX_PRIO - MAX_RT_PRIO);
}

static void *prepare(const struct bench_case *c)
{
	struct input *in = must_alloc(1, sizeof(*in));

	in->c = *c;
	/* Close to the wrap, so that comparisons have to get over it. */
	in->clock = 0 - c->offset * NSEC_PER_MSEC;
	in->tasks = must_alloc(c->size, sizeof(*in->tasks));
	in->awake = must_alloc(c->size, sizeof(*in->awake));
	in->models = must_alloc(c->size, sizeof(*in->models));
	return in;
}

static __always_inline u64 drive(const struct rq_ops *ops, struct input *in,
				 u32 rep)
{
	u64 random = stream(&in->c, rep), digest = 0, r;
	u32 n = in->c.size, i, id, running;
	bool resched;

	ops->reset(in);
	for (i = 0; i < n; i++) {
		in->awake[i] = false;
		ops->set_prio(in, i, prio_of(next_random(&random)));
	}
	for (i = 0; i < n * STEPS_PER_TASK; i++) {
		r = next_random(&random);
		id = (r >> 32) % n;
		resched = ops->tick(in, (r & 0xffff) * 16);
		if (!in->awake[id]) {
			in->awake[id] = true;
			resched |= ops->wake(in, id);
		} else if ((r & 0xf0000) == 0) {
			ops->set_prio(in, id, prio_of(next_random(&random)));
			resched = true;
		} else if (r & 0x100000) {
			in->awake[id] = false;
			ops->sleep(in, id);
			resched = true;
		}
		if (resched) {
			running = ops->schedule(in);
			digest = mix(digest, (u64)i << 32 | running);
		}
	}
	return digest;
}

static void real_reset(struct input *in)
{
	u32 i;

	rq_init(&in->rq, in->clock);
	for (i = 0; i < in->c.size; i++) {
		task_init(&in->tasks[i], i, DEFAULT_PRIO);
		in->tasks[i].vruntime = in->clock;
	}
}

static bool real_wake(struct input *in, u32 id)
{
	return rq_wake(&in->rq, &in->tasks[id]);
}

static void real_sleep(struct input *in, u32 id)
{
	rq_sleep(&in->rq, &in->tasks[id]);
}

static bool real_tick(struct input *in, u64 delta)
{
	return rq_tick(&in->rq, delta);
}

static void real_set_prio(struct input *in, u32 id, u8 prio)
{
	u64 vruntime = in->tasks[id].vruntime;

	if (in->awake[id]) {
		rq_set_prio(&in->rq, &in->tasks[id], prio);
	} else {
		task_init(&in->tasks[id], id, prio);
		in->tasks[id].vruntime = vruntime;
	}
}

static u32 real_schedule(struct input *in)
{
	struct task *next = rq_schedule(&in->rq);

	return next ? next->id + 1 : 0;
}

static u64 runqueue_work(void *input, u32 rep)
{
	static const struct rq_ops ops = {
		.reset = real_reset,
		.wake = real_wake,
		.sleep = real_sleep,
		.tick = real_tick,
		.set_prio = real_set_prio,
		.schedule = real_schedule,
	};

	return drive(&ops, input, rep);
}

/* The model: no tree, no lists, every question is asked of all tasks. */

static s64 after_start(const struct input *in, u64 vruntime)
{
	return vruntime - in->clock;
}

static struct model_task *model_running(struct input *in)
{
	u32 i;

	for (i = 0; i < in->c.size; i++) {
		if (in->models[i].state == RUNNING)
			return &in->models[i];
	}
	return NULL;
}

static void model_clock(struct input *in)
{
	const struct model_task *least = NULL, *m;
	u32 i;

	for (i = 0; i < in->c.size; i++) {
		m = &in->models[i];
		if (m->state == ASLEEP || rt_prio(m->prio))
			continue;
		if (!least || after_start(in, m->vruntime) <
			      after_start(in, least->vruntime))
			least = m;
	}
	if (least && after_start(in, least->vruntime) >
		     after_start(in, in->min_vruntime))
		in->min_vruntime = least->vruntime;
}

static u64 model_weighted(const struct model_task *m, u64 delta)
{
	return m->weight == NICE_0_WEIGHT ?
	       delta : (delta * (0xffffffff / m->weight)) >> 22;
}

static void model_set_prio(struct input *in, u32 id, u8 prio)
{
	struct model_task *m = &in->models[id];
	struct task probe;

	task_init(&probe, id, prio);
	if (in->awake[id]) {
		if (rt_prio(m->prio) && !rt_prio(prio))
			m->vruntime = in->min_vruntime;
		if (m->state == QUEUED)
			m->order = ++in->last;
	} else {
		m->slice_exec = 0;
	}
	m->prio = prio;
	if (!rt_prio(prio))
		m->weight = probe.weight;
}

static void model_reset(struct input *in)
{
	u32 i;

	in->min_vruntime = in->clock;
	in->first = 0;
	in->last = 0;
	for (i = 0; i < in->c.size; i++)
		in->models[i] = (struct model_task){ .vruntime = in->clock };
}

static bool model_wake(struct input *in, u32 id)
{
	struct model_task *curr = model_running(in), *m = &in->models[id];
	u64 place = in->min_vruntime - SCHED_LATENCY / 2;

	if (!rt_prio(m->prio) &&
	    after_start(in, m->vruntime) < after_start(in, place))
		m->vruntime = place;
	m->state = QUEUED;
	m->order = ++in->last;
	if (!curr)
		return true;
	if (rt_prio(curr->prio) || rt_prio(m->prio))
		return m->prio < curr->prio;
	return after_start(in, m->vruntime) +
	       (s64)model_weighted(m, SCHED_WAKEUP_GRANULARITY) <
	       after_start(in, curr->vruntime);
}

static void model_sleep(struct input *in, u32 id)
{
	in->models[id].state = ASLEEP;
	model_clock(in);
}

static bool model_tick(struct input *in, u64 delta)
{
	struct model_task *curr = model_running(in), *m;
	u64 weight = 0, fair = 0, slice;
	u32 i, awake = 0;

	for (i = 0; i < in->c.size; i++) {
		m = &in->models[i];
		awake += m->state != ASLEEP;
		if (m->state != ASLEEP && !rt_prio(m->prio)) {
			weight += m->weight;
			fair++;
		}
	}
	if (!curr)
		return awake > 0;
	curr->slice_exec += delta;
	if (rt_prio(curr->prio))
		return curr->slice_exec >= SCHED_RR_SLICE;

	curr->vruntime += model_weighted(curr, delta);
	model_clock(in);
	slice = fair > 8 ? SCHED_MIN_GRANULARITY * fair : SCHED_LATENCY;
	slice = slice * curr->weight / weight;
	if (slice < SCHED_MIN_GRANULARITY)
		slice = SCHED_MIN_GRANULARITY;
	return fair > 1 && curr->slice_exec >= slice;
}

/* Whether @a runs before @b. */
static bool model_first(const struct input *in, const struct model_task *a,
			const struct model_task *b)
{
	if (rt_prio(a->prio) || rt_prio(b->prio)) {
		if (a->prio != b->prio)
			return a->prio < b->prio;
	} else if (a->vruntime != b->vruntime) {
		return after_start(in, a->vruntime) <
		       after_start(in, b->vruntime);
	}
	return a->order < b->order;
}

static u32 model_schedule(struct input *in)
{
	struct model_task *curr = model_running(in), *next = NULL, *m;
	bool expired;
	u32 i;

	if (curr) {
		expired = curr->slice_exec >= SCHED_RR_SLICE;
		curr->order = rt_prio(curr->prio) && !expired ? --in->first :
							       ++in->last;
		if (expired || !rt_prio(curr->prio))
			curr->slice_exec = 0;
		curr->state = QUEUED;
	}
	for (i = 0; i < in->c.size; i++) {
		m = &in->models[i];
		if (m->state == QUEUED && (!next || model_first(in, m, next)))
			next = m;
	}
	if (!next)
		return 0;
	next->state = RUNNING;
	return next - in->models + 1;
}

static u64 model(void *input, u32 rep)
{
	static const struct rq_ops ops = {
		.reset = model_reset,
		.wake = model_wake,
		.sleep = model_sleep,
		.tick = model_tick,
		.set_prio = model_set_prio,
		.schedule = model_schedule,
	};

	return drive(&ops, input, rep);
}

static void release(void *input)
{
	struct input *in = input;

	free(in->tasks);
	free(in->awake);
	free(in->models);
	free(in);
}

const struct workload runqueue_workload = {
	.name = "runqueue",
	.summary = "N tasks that wake, run, sleep and change priority",
	.max_size = 8192,
	.prepare = prepare,
	.work = runqueue_work,
	.model = model,
	.release = release,
};

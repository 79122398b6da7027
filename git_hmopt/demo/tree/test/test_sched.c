// SPDX-License-Identifier: Apache-2.0
#include <linux/sched.h>

#include "test.h"

#define TICK	(1 * NSEC_PER_MSEC)

/* One from the start, one close to the wrap, one to the sign's change. */
static const u64 clocks[] = {
	0, -50 * NSEC_PER_MSEC, (1ull << 63) - 50 * NSEC_PER_MSEC,
};

static struct rq rq;
static struct task tasks[40];

static void start(u64 clock)
{
	rq_init(&rq, clock);
}

static struct task *wake(u32 id, u8 prio)
{
	task_init(&tasks[id], id, prio);
	tasks[id].vruntime = rq.min_vruntime;
	rq_wake(&rq, &tasks[id]);
	return &tasks[id];
}

/* Run for @ticks ticks, scheduling when asked to. */
static void run(u32 ticks)
{
	while (ticks--) {
		if (rq_tick(&rq, TICK))
			rq_schedule(&rq);
	}
}

static void empty_queue(void)
{
	start(0);
	EXPECT(!rq_schedule(&rq));
	EXPECT(!rq_tick(&rq, TICK));
	task_init(&tasks[0], 0, DEFAULT_PRIO + 19);
	EXPECT(rq_wake(&rq, &tasks[0]));
	EXPECT(rq_tick(&rq, TICK));
	EXPECT(rq_schedule(&rq) == &tasks[0]);
}

static void idle_after_sleep(void)
{
	struct task *task;

	start(0);
	task = wake(0, DEFAULT_PRIO);
	EXPECT(rq_schedule(&rq) == task);
	EXPECT(!rq_tick(&rq, 100 * TICK));
	rq_sleep(&rq, task);
	EXPECT(!rq_schedule(&rq));
	EXPECT_EQ(rq.nr_running, 0);
	EXPECT_EQ(rq.nr_fair, 0);
	EXPECT_EQ(rq.fair_weight, 0);
}

/* One nice level is a factor of 1.25, whatever the clock stands at. */
static void shares_follow_weights(void)
{
	u64 light, heavy;
	u32 i, nice;

	for (i = 0; i < ARRAY_SIZE(clocks); i++) {
		for (nice = 0; nice < 10; nice++) {
			start(clocks[i]);
			wake(0, DEFAULT_PRIO);
			wake(1, DEFAULT_PRIO + nice);
			rq_schedule(&rq);
			run(20000);
			heavy = tasks[0].sum_exec * tasks[1].weight;
			light = tasks[1].sum_exec * tasks[0].weight;
			EXPECT(heavy < light + light / 50);
			EXPECT(light < heavy + heavy / 50);
		}
	}
}

static void weights(void)
{
	u32 prio;

	task_init(&tasks[0], 0, DEFAULT_PRIO);
	EXPECT_EQ(tasks[0].weight, NICE_0_WEIGHT);
	for (prio = MAX_RT_PRIO; prio + 1 < MAX_PRIO; prio++) {
		task_init(&tasks[0], 0, prio);
		task_init(&tasks[1], 1, prio + 1);
		/* Rounded to whole numbers, which are small at the end. */
		EXPECT(tasks[0].weight * 100 >= tasks[1].weight * 118);
		EXPECT(tasks[0].weight * 100 <= tasks[1].weight * 132);
	}
}

static void real_time_first(void)
{
	struct task *slow, *urgent;

	start(0);
	wake(0, DEFAULT_PRIO);
	rq_schedule(&rq);
	task_init(&tasks[1], 1, 99);
	slow = &tasks[1];
	EXPECT(rq_wake(&rq, slow));
	EXPECT(rq_schedule(&rq) == slow);
	task_init(&tasks[3], 3, 99);
	EXPECT(!rq_wake(&rq, &tasks[3]));
	task_init(&tasks[2], 2, 0);
	urgent = &tasks[2];
	EXPECT(rq_wake(&rq, urgent));
	EXPECT(rq_schedule(&rq) == urgent);
	/* slow was preempted, so it goes on before its equal. */
	rq_sleep(&rq, urgent);
	EXPECT(rq_schedule(&rq) == slow);
	rq_sleep(&rq, slow);
	EXPECT(rq_schedule(&rq) == &tasks[3]);
	rq_sleep(&rq, &tasks[3]);
	EXPECT(rq_schedule(&rq) == &tasks[0]);
}

static void real_time_takes_turns(void)
{
	u32 i;

	start(0);
	for (i = 0; i < 3; i++)
		wake(i, 50);
	rq_schedule(&rq);
	for (i = 0; i < 9; i++) {
		EXPECT(rq.curr == &tasks[i % 3]);
		EXPECT(!rq_tick(&rq, SCHED_RR_SLICE - 1));
		EXPECT(rq_tick(&rq, 1));
		rq_schedule(&rq);
	}
}

/* Who sleeps for long is served soon, but saves up no more than that. */
static void sleepers_are_placed(void)
{
	u32 i;

	for (i = 0; i < ARRAY_SIZE(clocks); i++) {
		start(clocks[i]);
		wake(0, DEFAULT_PRIO);
		wake(1, DEFAULT_PRIO);
		rq_schedule(&rq);
		rq_sleep(&rq, &tasks[1]);
		run(1000);
		EXPECT(rq_wake(&rq, &tasks[1]));
		EXPECT(rq_schedule(&rq) == &tasks[1]);
		EXPECT_EQ(rq.min_vruntime, clocks[i] + 1000 * TICK);
		EXPECT_EQ(rq.min_vruntime - tasks[1].vruntime,
			  SCHED_LATENCY / 2);
		run(100);
		EXPECT(tasks[0].sum_exec > 1030 * TICK);
	}
}

static void priority_changes(void)
{
	start(0);
	wake(0, DEFAULT_PRIO);
	wake(1, DEFAULT_PRIO);
	rq_schedule(&rq);
	rq_set_prio(&rq, &tasks[1], 10);
	EXPECT(rq_schedule(&rq) == &tasks[1]);
	EXPECT_EQ(rq.nr_fair, 1);
	rq_set_prio(&rq, &tasks[1], DEFAULT_PRIO + 19);
	rq_set_prio(&rq, &tasks[0], DEFAULT_PRIO - 20);
	EXPECT_EQ(rq.fair_weight, tasks[0].weight + tasks[1].weight);
	run(1000);
	EXPECT(tasks[0].sum_exec > 990 * TICK);
}

/* All of many tasks get their share, also when slices are at their least. */
static void many_tasks(void)
{
	u32 i, n = ARRAY_SIZE(tasks);

	start(12345);
	for (i = 0; i < n; i++)
		wake(i, DEFAULT_PRIO);
	rq_schedule(&rq);
	run(n * 100);
	for (i = 0; i < n; i++) {
		EXPECT(tasks[i].sum_exec >= 99 * TICK);
		EXPECT(tasks[i].sum_exec <= 101 * TICK);
	}
}

TEST_SUITE(sched, { "empty_queue", empty_queue },
	   { "idle_after_sleep", idle_after_sleep },
	   { "shares_follow_weights", shares_follow_weights },
	   { "weights", weights },
	   { "real_time_first", real_time_first },
	   { "real_time_takes_turns", real_time_takes_turns },
	   { "sleepers_are_placed", sleepers_are_placed },
	   { "priority_changes", priority_changes },
	   { "many_tasks", many_tasks });

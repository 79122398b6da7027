/* SPDX-License-Identifier: Apache-2.0 */
#ifndef _LINUX_SCHED_H
#define _LINUX_SCHED_H

#include <linux/bitops.h>
#include <linux/rbtree.h>
#include <linux/types.h>

/*
 * Priorities below MAX_RT_PRIO are real-time, 0 the most urgent; above it are
 * the fair ones, whose nice value is prio - DEFAULT_PRIO.
 */
#define MAX_RT_PRIO	100
#define MAX_PRIO	140
#define DEFAULT_PRIO	120

#define NICE_0_WEIGHT	1024
#define NSEC_PER_USEC	1000ull
#define NSEC_PER_MSEC	1000000ull

#define SCHED_LATENCY		(6 * NSEC_PER_MSEC)
#define SCHED_MIN_GRANULARITY	(750 * NSEC_PER_USEC)
#define SCHED_WAKEUP_GRANULARITY (1 * NSEC_PER_MSEC)
#define SCHED_RR_SLICE		(100 * NSEC_PER_MSEC)

struct task {
	struct list_head run_list;
	struct rb_node run_node;
	u64 vruntime;
	u64 sum_exec;		/* ns */
	u64 slice_exec;		/* ns since it was last put in front */
	u32 weight;
	u32 inverse_weight;	/* 2^32 / weight */
	u32 id;
	u8 prio;
};

/* One CPU's tasks. The caller serialises; the running task is not queued. */
struct rq {
	unsigned long rt_bitmap[BITS_TO_LONGS(MAX_RT_PRIO)];
	struct list_head rt_queue[MAX_RT_PRIO];
	struct rb_root fair;
	struct task *curr;
	u64 min_vruntime;
	u64 fair_weight;	/* of all fair tasks, the running one included */
	u32 nr_fair;
	u32 nr_running;
};

static inline bool rt_prio(unsigned int prio)
{
	return prio < MAX_RT_PRIO;
}

void rq_init(struct rq *rq, u64 min_vruntime);
void task_init(struct task *task, u32 id, u8 prio);
bool rq_wake(struct rq *rq, struct task *task);
void rq_sleep(struct rq *rq, struct task *task);
bool rq_tick(struct rq *rq, u64 delta);
void rq_set_prio(struct rq *rq, struct task *task, u8 prio);
struct task *rq_schedule(struct rq *rq);

#endif /* _LINUX_SCHED_H */

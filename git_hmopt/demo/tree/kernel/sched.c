// SPDX-License-Identifier: Apache-2.0
/*
 * A run queue. Real-time tasks come first: the most urgent priority is found in
 * a bitmap, and tasks of one priority take turns. The others share the CPU by
 * weight: each has a virtual runtime that advances more slowly the more it
 * weighs, and the one furthest behind runs.
 */
#include <linux/kernel.h>
#include <linux/list.h>
#include <linux/sched.h>

/* 1024 * 1.25^-nice, rounded: one nice level is a tenth of the CPU. */
static const u32 nice_to_weight[MAX_PRIO - MAX_RT_PRIO] = {
	88818, 71054, 56843, 45475, 36380, 29104, 23283, 18626, 14901, 11921,
	 9537,  7629,  6104,  4883,  3906,  3125,  2500,  2000,  1600,  1280,
	 1024,   819,   655,   524,   419,   336,   268,   215,   172,   137,
	  110,    88,    70,    56,    45,    36,    29,    23,    18,    15,
};

/* The clock may wrap, so only differences are compared. */
static inline bool before(u64 a, u64 b)
{
	return (s64)(a - b) < 0;
}

static inline bool task_before(const struct rb_node *a, const struct rb_node *b)
{
	return before(container_of(a, struct task, run_node)->vruntime,
		      container_of(b, struct task, run_node)->vruntime);
}

static inline struct task *first_fair(const struct rq *rq)
{
	struct rb_node *first = rb_first(&rq->fair);

	return first ? container_of(first, struct task, run_node) : NULL;
}

static void set_weight(struct task *task, u8 prio)
{
	task->prio = prio;
	if (rt_prio(prio))
		return;
	task->weight = nice_to_weight[prio - MAX_RT_PRIO];
	task->inverse_weight = 0xffffffffu / task->weight;
}

void task_init(struct task *task, u32 id, u8 prio)
{
	*task = (struct task){ .id = id };
	INIT_LIST_HEAD(&task->run_list);
	set_weight(task, prio);
}

void rq_init(struct rq *rq, u64 min_vruntime)
{
	unsigned int prio;

	*rq = (struct rq){ .min_vruntime = min_vruntime };
	for (prio = 0; prio < MAX_RT_PRIO; prio++)
		INIT_LIST_HEAD(&rq->rt_queue[prio]);
}

/* The virtual time that @delta ns of @task are worth. */
static inline u64 weighted(const struct task *task, u64 delta)
{
	if (task->weight == NICE_0_WEIGHT)
		return delta;
	/* NICE_0_WEIGHT is 2^10, and the inverse is of 2^32. */
	return delta * task->inverse_weight >> 22;
}

static void enqueue_task(struct rq *rq, struct task *task, bool front)
{
	if (!rt_prio(task->prio)) {
		rb_add(&rq->fair, &task->run_node, task_before);
		return;
	}
	if (front)
		list_add(&task->run_list, &rq->rt_queue[task->prio]);
	else
		list_add_tail(&task->run_list, &rq->rt_queue[task->prio]);
	__set_bit(task->prio, rq->rt_bitmap);
}

static void dequeue_task(struct rq *rq, struct task *task)
{
	if (!rt_prio(task->prio)) {
		rb_erase(&rq->fair, &task->run_node);
		return;
	}
	list_del_init(&task->run_list);
	if (list_empty(&rq->rt_queue[task->prio]))
		__clear_bit(task->prio, rq->rt_bitmap);
}

static void account(struct rq *rq, const struct task *task)
{
	rq->nr_running++;
	if (rt_prio(task->prio))
		return;
	rq->nr_fair++;
	rq->fair_weight += task->weight;
}

static void unaccount(struct rq *rq, const struct task *task)
{
	rq->nr_running--;
	if (rt_prio(task->prio))
		return;
	rq->nr_fair--;
	rq->fair_weight -= task->weight;
}

/* It never goes back: tasks that wake are placed by it. */
static void update_min_vruntime(struct rq *rq)
{
	struct task *first = first_fair(rq);
	struct task *curr = rq->curr;
	u64 least;

	if (curr && !rt_prio(curr->prio)) {
		least = curr->vruntime;
		if (first && before(first->vruntime, least))
			least = first->vruntime;
	} else if (first) {
		least = first->vruntime;
	} else {
		return;
	}
	if (before(rq->min_vruntime, least))
		rq->min_vruntime = least;
}

static bool preempts(const struct task *curr, const struct task *task)
{
	if (rt_prio(curr->prio) || rt_prio(task->prio))
		return task->prio < curr->prio;
	return before(task->vruntime +
		      weighted(task, SCHED_WAKEUP_GRANULARITY), curr->vruntime);
}

/**
 * rq_wake - make a task runnable
 * @rq: the run queue
 * @task: a task that is neither queued nor running
 *
 * A fair task that slept is placed half a latency period before the least
 * virtual runtime at most: it is served soon, and cannot save up its sleep.
 *
 * Return: whether the running task should make room for it.
 */
bool rq_wake(struct rq *rq, struct task *task)
{
	u64 place = rq->min_vruntime - SCHED_LATENCY / 2;

	if (!rt_prio(task->prio) && before(task->vruntime, place))
		task->vruntime = place;
	account(rq, task);
	enqueue_task(rq, task, false);
	return !rq->curr || preempts(rq->curr, task);
}

/* Take a task, queued or running, off the run queue. */
void rq_sleep(struct rq *rq, struct task *task)
{
	if (task == rq->curr)
		rq->curr = NULL;
	else
		dequeue_task(rq, task);
	unaccount(rq, task);
	update_min_vruntime(rq);
}

static u64 slice_of(const struct rq *rq, const struct task *task)
{
	u64 period = max(SCHED_LATENCY, SCHED_MIN_GRANULARITY * rq->nr_fair);

	return max(period * task->weight / rq->fair_weight,
		   SCHED_MIN_GRANULARITY);
}

/* Charge @delta ns, less than 2^32, and say whether the turn is over. */
bool rq_tick(struct rq *rq, u64 delta)
{
	struct task *curr = rq->curr;

	if (!curr)
		return rq->nr_running > 0;
	curr->sum_exec += delta;
	curr->slice_exec += delta;
	if (rt_prio(curr->prio))
		return curr->slice_exec >= SCHED_RR_SLICE;

	curr->vruntime += weighted(curr, delta);
	update_min_vruntime(rq);
	return rq->nr_fair > 1 && curr->slice_exec >= slice_of(rq, curr);
}

/* Give a task of this run queue, queued or running, another priority. */
void rq_set_prio(struct rq *rq, struct task *task, u8 prio)
{
	bool was_rt = rt_prio(task->prio);
	bool queued = task != rq->curr;

	if (queued)
		dequeue_task(rq, task);
	unaccount(rq, task);
	set_weight(task, prio);
	if (was_rt && !rt_prio(prio))
		task->vruntime = rq->min_vruntime;
	account(rq, task);
	if (queued)
		enqueue_task(rq, task, false);
}

/* Put the running task back and return the one that runs next, or NULL. */
struct task *rq_schedule(struct rq *rq)
{
	struct task *prev = rq->curr;
	struct task *next;
	unsigned int prio;
	bool expired;

	if (prev) {
		/* A real-time task that was preempted keeps its turn. */
		expired = prev->slice_exec >= SCHED_RR_SLICE;
		if (expired || !rt_prio(prev->prio))
			prev->slice_exec = 0;
		rq->curr = NULL;
		enqueue_task(rq, prev, !expired);
	}

	prio = find_first_bit(rq->rt_bitmap, MAX_RT_PRIO);
	if (prio < MAX_RT_PRIO)
		next = list_first_entry(&rq->rt_queue[prio], struct task,
					run_list);
	else
		next = first_fair(rq);
	if (next)
		dequeue_task(rq, next);
	rq->curr = next;
	return next;
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Drives a workload as the kernel command line asks:
 *
 *   hmopt.seed= hmopt.size= hmopt.offset= hmopt.reps=   one measured window
 *   hmopt.cases=seed:size:offset:reps,...               outputs to compare
 *
 * and, with neither, checks a few small inputs as any KUnit suite would.
 */
#include <linux/irqflags.h>
#include <linux/kernel.h>
#include <linux/ktime.h>
#include <linux/moduleparam.h>
#include <linux/preempt.h>

#include "hmopt_bench.h"

#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX "hmopt."

#define HMOPT_MAX_CASES 128

static uint seed = 1;
static uint size;
static uint offset;
static uint reps;
static char *cases[HMOPT_MAX_CASES];
static int case_count;

module_param(seed, uint, 0);
module_param(size, uint, 0);
module_param(offset, uint, 0);
module_param(reps, uint, 0);
module_param_array(cases, charp, &case_count, 0);

noinline void hmopt_window_begin(void)
{
	asm volatile("" : : "i" (1) : "memory");
}

noinline void hmopt_window_end(void)
{
	asm volatile("" : : "i" (2) : "memory");
}

noinline void hmopt_window(const struct hmopt_workload *w, void *input,
			   const struct hmopt_case *c)
{
	hmopt_window_begin();
	w->work(input, c);
	hmopt_window_end();
}

static void hmopt_answer(struct kunit *test, const struct hmopt_workload *w,
			 void *input, const struct hmopt_case *c)
{
	const char *wrong = w->check(input, c);

	if (wrong) {
		pr_info("hmopt: mismatch %s seed=%u size=%u offset=%u %s\n",
			w->name, c->seed, c->size, c->offset, wrong);
		KUNIT_FAIL(test, "seed=%u size=%u offset=%u: %s", c->seed,
			   c->size, c->offset, wrong);
	}
	pr_info("hmopt: output %s seed=%u size=%u offset=%u digest=%016llx\n",
		w->name, c->seed, c->size, c->offset, w->digest(input, c));
}

static void hmopt_one(struct kunit *test, const struct hmopt_workload *w,
		      const struct hmopt_case *c, bool marked)
{
	void *input = w->prepare(c);
	unsigned long flags;
	u64 start, end;

	KUNIT_ASSERT_NOT_NULL(test, input);
	if (marked)
		pr_info("hmopt: begin %s\n", w->name);
	/* No tick may fall into the window: counts must repeat exactly. */
	local_irq_save(flags);
	start = ktime_get_ns();
	if (marked)
		hmopt_window(w, input, c);
	else
		w->work(input, c);
	end = ktime_get_ns();
	local_irq_restore(flags);
	if (marked)
		pr_info("hmopt: end %s ns=%llu\n", w->name, end - start);
	hmopt_answer(test, w, input, c);
	w->release(input);
}

static void hmopt_list(struct kunit *test, const struct hmopt_workload *w)
{
	struct hmopt_case c;
	int i;

	for (i = 0; i < case_count; i++) {
		if (sscanf(cases[i], "%u:%u:%u:%u", &c.seed, &c.size,
			   &c.offset, &c.reps) != 4) {
			KUNIT_FAIL(test, "hmopt.cases: '%s'", cases[i]);
			continue;
		}
		hmopt_one(test, w, &c, false);
	}
}

void hmopt_run(struct kunit *test, const struct hmopt_workload *w)
{
	static const u32 sizes[] = { 0, 1, 2, 7, 8, 9, 100 };
	struct hmopt_case c = { seed, size, offset, reps };
	int i;

	if (case_count) {
		hmopt_list(test, w);
	} else if (reps) {
		hmopt_one(test, w, &c, true);
	} else {
		c.reps = 1;
		for (i = 0; i < ARRAY_SIZE(sizes); i++) {
			c.size = sizes[i];
			hmopt_one(test, w, &c, false);
		}
	}
	pr_info("hmopt: done %s\n", w->name);
}

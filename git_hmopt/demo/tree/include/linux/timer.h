/* SPDX-License-Identifier: Apache-2.0 */
#ifndef _LINUX_TIMER_H
#define _LINUX_TIMER_H

#include <linux/types.h>

#define WHEEL_BITS	6
#define WHEEL_SLOTS	(1u << WHEEL_BITS)
#define WHEEL_LEVELS	5
/* A timer further away waits in the last slot and is placed anew from there. */
#define WHEEL_RANGE	(1ull << (WHEEL_BITS * WHEEL_LEVELS))

struct timer {
	struct list_head entry;
	u64 expires;
	void (*function)(struct timer *timer);
	u16 slot;
};

struct timer_wheel {
	u64 clk;		/* the next tick that was not handled yet */
	u64 pending[WHEEL_LEVELS];
	struct list_head slots[WHEEL_LEVELS * WHEEL_SLOTS];
};

void wheel_init(struct timer_wheel *wheel, u64 clk);
void timer_setup(struct timer *timer, void (*function)(struct timer *timer));
bool timer_pending(const struct timer *timer);
bool timer_mod(struct timer_wheel *wheel, struct timer *timer, u64 expires);
bool timer_delete(struct timer_wheel *wheel, struct timer *timer);
unsigned int wheel_advance(struct timer_wheel *wheel, u64 now);

#endif /* _LINUX_TIMER_H */

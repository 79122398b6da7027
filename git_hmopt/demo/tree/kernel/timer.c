// SPDX-License-Identifier: Apache-2.0
/*
 * A hierarchical timing wheel (G. Varghese and T. Lauck, SOSP 1987, scheme 7).
 * Level 0 has a slot for each of the next 64 ticks, every further level slots
 * of 64 times that. When the clock reaches a slot of a higher level, its timers
 * are placed anew, so each runs at exactly its tick. Bitmaps of the slots in
 * use let the clock skip ticks on which nothing happens.
 */
#include <linux/bitops.h>
#include <linux/kernel.h>
#include <linux/list.h>
#include <linux/timer.h>

#define SLOT_MASK	(WHEEL_SLOTS - 1)

static inline unsigned int level_shift(unsigned int level)
{
	return level * WHEEL_BITS;
}

void wheel_init(struct timer_wheel *wheel, u64 clk)
{
	unsigned int i;

	*wheel = (struct timer_wheel){ .clk = clk };
	for (i = 0; i < ARRAY_SIZE(wheel->slots); i++)
		INIT_LIST_HEAD(&wheel->slots[i]);
}

void timer_setup(struct timer *timer, void (*function)(struct timer *timer))
{
	INIT_LIST_HEAD(&timer->entry);
	timer->expires = 0;
	timer->function = function;
	timer->slot = 0;
}

bool timer_pending(const struct timer *timer)
{
	return !list_empty(&timer->entry);
}

static void enqueue_timer(struct timer_wheel *wheel, struct timer *timer)
{
	u64 expires = max(timer->expires, wheel->clk);
	u64 delta = expires - wheel->clk;
	unsigned int level = 0, index;

	if (unlikely(delta >= WHEEL_RANGE)) {
		delta = WHEEL_RANGE - 1;
		expires = wheel->clk + delta;
	}
	if (delta)
		level = (63 - __builtin_clzll(delta)) / WHEEL_BITS;
	index = (expires >> level_shift(level)) & SLOT_MASK;

	timer->slot = level * WHEEL_SLOTS + index;
	list_add_tail(&timer->entry, &wheel->slots[timer->slot]);
	wheel->pending[level] |= 1ull << index;
}

static void detach_timer(struct timer_wheel *wheel, struct timer *timer)
{
	unsigned int slot = timer->slot;

	list_del_init(&timer->entry);
	if (list_empty(&wheel->slots[slot]))
		wheel->pending[slot / WHEEL_SLOTS] &=
			~(1ull << (slot & SLOT_MASK));
}

/**
 * timer_mod - start a timer, or move one that is pending
 * @wheel: the wheel
 * @timer: the timer
 * @expires: the tick it runs at; one that is past means the next
 *
 * Return: whether it was pending.
 */
bool timer_mod(struct timer_wheel *wheel, struct timer *timer, u64 expires)
{
	bool pending = timer_pending(timer);

	if (pending)
		detach_timer(wheel, timer);
	timer->expires = expires;
	enqueue_timer(wheel, timer);
	return pending;
}

/* Stop a timer; return whether it was pending. */
bool timer_delete(struct timer_wheel *wheel, struct timer *timer)
{
	bool pending = timer_pending(timer);

	if (pending)
		detach_timer(wheel, timer);
	return pending;
}

/* The first tick from the clock on at which a slot is due, in any level. */
static u64 next_event(const struct timer_wheel *wheel)
{
	u64 next = ~0ull, base, due;
	unsigned int level, shift;

	for (level = 0; level < WHEEL_LEVELS; level++) {
		if (!wheel->pending[level])
			continue;
		shift = level_shift(level);
		base = (wheel->clk + (1ull << shift) - 1) >> shift;
		due = base + __ffs64(ror64(wheel->pending[level],
					   base & SLOT_MASK));
		next = min(next, due << shift);
	}
	return next;
}

static void take_slot(struct timer_wheel *wheel, unsigned int level,
		      unsigned int index, struct list_head *timers)
{
	list_replace_init(&wheel->slots[level * WHEEL_SLOTS + index], timers);
	wheel->pending[level] &= ~(1ull << index);
}

/* Place the timers of the higher levels' slots that begin at the clock. */
static void cascade(struct timer_wheel *wheel)
{
	struct list_head timers;
	struct timer *timer;
	unsigned int level, index;

	for (level = 1; level < WHEEL_LEVELS; level++) {
		if (wheel->clk & ((1ull << level_shift(level)) - 1))
			break;
		index = (wheel->clk >> level_shift(level)) & SLOT_MASK;
		take_slot(wheel, level, index, &timers);
		while (!list_empty(&timers)) {
			timer = list_first_entry(&timers, struct timer, entry);
			list_del_init(&timer->entry);
			enqueue_timer(wheel, timer);
		}
	}
}

/* Run the timers that expire up to @now, tick by tick; return how many. */
unsigned int wheel_advance(struct timer_wheel *wheel, u64 now)
{
	unsigned int nr = 0, index;
	struct list_head timers;
	struct timer *timer;
	u64 next;

	while ((next = next_event(wheel)) <= now) {
		wheel->clk = next;
		cascade(wheel);
		index = wheel->clk & SLOT_MASK;
		take_slot(wheel, 0, index, &timers);
		/* What a function starts now runs at the next tick at best. */
		wheel->clk++;
		while (!list_empty(&timers)) {
			timer = list_first_entry(&timers, struct timer, entry);
			list_del_init(&timer->entry);
			timer->function(timer);
			nr++;
		}
	}
	if (wheel->clk <= now)
		wheel->clk = now + 1;
	return nr;
}

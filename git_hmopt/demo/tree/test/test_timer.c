// SPDX-License-Identifier: Apache-2.0
#include <linux/timer.h>

#include "test.h"

static struct timer_wheel wheel;
static struct timer timers[8];
static u64 fired_at;
static u32 fired;

static void note(struct timer *timer)
{
	(void)timer;
	fired++;
	fired_at = wheel.clk - 1;
}

static void start(u64 clk)
{
	u32 i;

	wheel_init(&wheel, clk);
	for (i = 0; i < ARRAY_SIZE(timers); i++)
		timer_setup(&timers[i], note);
	fired = 0;
}

static const u64 starts[] = { 0, 1, 63, 64, 4095, 4096, (1ull << 30) - 1,
			      (1ull << 40) + 12345 };

/* Around every level's first and last slot, from every kind of start. */
static void fires_at_its_tick(void)
{
	u64 delta;
	u32 i, level;
	int shift;

	for (i = 0; i < ARRAY_SIZE(starts); i++) {
		for (level = 0; level <= 6; level++) {
			for (shift = -2; shift <= 2; shift++) {
				delta = (1ull << 6 * level) + shift;
				if ((s64)delta < 0)
					continue;
				start(starts[i]);
				timer_mod(&wheel, &timers[0], starts[i] + delta);
				if (delta)
					wheel_advance(&wheel,
						      starts[i] + delta - 1);
				EXPECT_EQ(fired, 0);
				EXPECT_EQ(wheel_advance(&wheel,
							starts[i] + delta), 1);
				EXPECT_EQ(fired_at, starts[i] + delta);
				EXPECT(!timer_pending(&timers[0]));
			}
		}
	}
}

static void one_jump_or_many(void)
{
	u64 now = 1000, expires;
	u32 i;

	for (i = 0; i < 20000; i += 7) {
		expires = now + i;
		start(now);
		timer_mod(&wheel, &timers[0], expires);
		timer_mod(&wheel, &timers[1], expires + 1);
		EXPECT_EQ(wheel_advance(&wheel, expires), 1);
		EXPECT_EQ(fired_at, expires);
		EXPECT_EQ(wheel_advance(&wheel, now + (1ull << 35)), 1);
		EXPECT_EQ(fired_at, expires + 1);
	}
}

static void past_means_next(void)
{
	start(500);
	timer_mod(&wheel, &timers[0], 3);
	EXPECT_EQ(wheel_advance(&wheel, 499), 0);
	EXPECT_EQ(wheel_advance(&wheel, 500), 1);
	EXPECT_EQ(fired_at, 500);
}

static void moved_and_stopped(void)
{
	start(0);
	EXPECT(!timer_delete(&wheel, &timers[0]));
	EXPECT(!timer_mod(&wheel, &timers[0], 10));
	EXPECT(timer_mod(&wheel, &timers[0], 5000));
	EXPECT(!timer_mod(&wheel, &timers[1], 5000));
	EXPECT_EQ(wheel_advance(&wheel, 4999), 0);
	EXPECT(timer_delete(&wheel, &timers[0]));
	EXPECT(!timer_pending(&timers[0]));
	EXPECT_EQ(wheel_advance(&wheel, 5000), 1);
	EXPECT_EQ(wheel_advance(&wheel, ~0ull >> 1), 0);
}

static void again(struct timer *timer)
{
	fired++;
	timer_mod(&wheel, timer, timer->expires + 100);
}

static void now_again(struct timer *timer)
{
	fired++;
	timer_mod(&wheel, timer, wheel.clk - 1);
}

/* A timer that starts itself for now must not keep the clock from moving. */
static void functions_start_timers(void)
{
	start(0);
	timer_setup(&timers[0], again);
	timer_mod(&wheel, &timers[0], 100);
	EXPECT_EQ(wheel_advance(&wheel, 10000), 100);
	EXPECT_EQ(fired, 100);

	start(0);
	timer_setup(&timers[0], now_again);
	timer_mod(&wheel, &timers[0], 1);
	EXPECT_EQ(wheel_advance(&wheel, 64), 64);
}

static void stop_the_other(struct timer *timer)
{
	fired++;
	timer_delete(&wheel, timer == &timers[0] ? &timers[1] : &timers[0]);
}

/* Two timers of one tick, each of which stops the other. */
static void functions_stop_timers(void)
{
	start(0);
	timer_setup(&timers[0], stop_the_other);
	timer_setup(&timers[1], stop_the_other);
	timer_mod(&wheel, &timers[0], 77);
	timer_mod(&wheel, &timers[1], 77);
	EXPECT_EQ(wheel_advance(&wheel, 1000), 1);
	EXPECT(!timer_pending(&timers[0]) && !timer_pending(&timers[1]));
	EXPECT_EQ(wheel.pending[0] | wheel.pending[1], 0);
}

TEST_SUITE(timer, { "fires_at_its_tick", fires_at_its_tick },
	   { "one_jump_or_many", one_jump_or_many },
	   { "past_means_next", past_means_next },
	   { "moved_and_stopped", moved_and_stopped },
	   { "functions_start_timers", functions_start_timers },
	   { "functions_stop_timers", functions_stop_timers });

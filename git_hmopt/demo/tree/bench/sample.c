// SPDX-License-Identifier: Apache-2.0
/*
 * Where the time goes, without perf and the rights it needs: a timer interrupts
 * the measured window about every millisecond, and the call stack is kept.
 */
#include <execinfo.h>
#include <signal.h>
#include <stdio.h>
#include <sys/time.h>

#include "bench.h"

#define MAX_SAMPLES	16384
#define MAX_DEPTH	24
#define OWN_FRAMES	2	/* the handler and what the kernel returns to */
#define INTERVAL_US	997	/* a prime: no beat with what repeats each ms */

static struct {
	void *frames[MAX_DEPTH];
	int depth;
} samples[MAX_SAMPLES];
static volatile sig_atomic_t nr_samples;

static void take_sample(int signal)
{
	int i = nr_samples;

	(void)signal;
	if (i == MAX_SAMPLES)
		return;
	samples[i].depth = backtrace(samples[i].frames, MAX_DEPTH);
	nr_samples = i + 1;
}

static void set_timer(long us)
{
	struct itimerval every = { { 0, us }, { 0, us } };

	setitimer(ITIMER_REAL, &every, NULL);
}

void sample_start(void)
{
	struct sigaction action = { .sa_handler = take_sample };
	void *frame;

	/* Its first call loads a library, which no signal handler may do. */
	backtrace(&frame, 1);
	action.sa_flags = SA_RESTART;
	sigaction(SIGALRM, &action, NULL);
	set_timer(INTERVAL_US);
}

void sample_stop(void)
{
	set_timer(0);
}

/* Write a line of hexadecimal addresses for each sample, outermost first. */
bool sample_write(const char *path)
{
	FILE *file = fopen(path, "w");
	unsigned long pc;
	bool good;
	int i, k;

	if (!file)
		return false;
	for (i = 0; i < nr_samples; i++) {
		for (k = samples[i].depth - 1; k >= OWN_FRAMES; k--) {
			/* A caller is where it called, not where it goes on. */
			pc = (unsigned long)samples[i].frames[k];
			pc -= k > OWN_FRAMES;
			fprintf(file, "%016lx%c", pc, k > OWN_FRAMES ? ';' : '\n');
		}
	}
	good = !ferror(file);
	return !fclose(file) && good;
}

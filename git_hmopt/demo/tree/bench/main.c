// SPDX-License-Identifier: Apache-2.0
/*
 * bench WORKLOAD --seed S --size N [--offset K] [--repetitions R]
 *
 * Prepares an input, compares the first repetition with the workload's model,
 * runs all repetitions between two marker lines, and prints their digest.
 * Exit codes: 0, 1 when an answer was wrong, 2 for bad arguments.
 */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench.h"

static const struct workload *const workloads[] = {
	&checksums_workload, &runqueue_workload, &timers_workload,
	&slab_workload, &messages_workload, &path_lookup_workload,
};

static void __attribute__((__noreturn__, __format__(__printf__, 2, 3)))
die(int code, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fputs("bench: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	exit(code);
}

void *must_alloc(size_t nr, size_t size)
{
	void *p = calloc(nr ? nr : 1, size);

	if (!p)
		die(1, "no memory for %zu times %zu bytes", nr, size);
	return p;
}

static void usage(void)
{
	size_t i;

	puts("usage: bench WORKLOAD --seed S --size N [--offset K]\n"
	     "             [--repetitions R] [--profile FILE]\n");
	for (i = 0; i < ARRAY_SIZE(workloads); i++)
		printf("  %-12s %s (N up to %u)\n", workloads[i]->name,
		       workloads[i]->summary, workloads[i]->max_size);
}

static const struct workload *find_workload(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(workloads); i++) {
		if (!strcmp(workloads[i]->name, name))
			return workloads[i];
	}
	die(2, "no workload is called '%s'; see: bench --help", name);
}

static u64 number(const char *what, const char *text, u64 least, u64 most)
{
	char *end;
	u64 value;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (!isdigit((unsigned char)*text) || *end || errno ||
	    value < least || value > most)
		die(2, "--%s: '%s' is no number from %llu to %llu", what, text,
		    least, most);
	return value;
}

static u64 cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

/* A profile's stacks are cut off at this function. */
static u64 noinline bench_window(const struct workload *w, void *input,
				 u32 repetitions)
{
	u64 digest = 0;
	u32 rep;

	for (rep = 0; rep < repetitions; rep++)
		digest = mix(digest, w->work(input, rep));
	return digest;
}

static void run(const struct workload *w, const struct bench_case *c,
		const char *profile)
{
	void *input = w->prepare(c);
	u64 answer = w->work(input, 0), expected = w->model(input, 0);
	u64 digest, begin;

	if (answer != expected)
		die(1, "%s: seed %llu, size %u, offset %u: digest %016llx is wrong, the model's is %016llx",
		    w->name, c->seed, c->size, c->offset, answer, expected);

	printf("window begin %s\n", w->name);
	fflush(stdout);
	if (profile)
		sample_start();
	begin = cpu_ns();
	digest = bench_window(w, input, c->repetitions);
	begin = cpu_ns() - begin;
	if (profile)
		sample_stop();
	printf("window end %s cpu_ns=%llu\n", w->name, begin);
	fflush(stdout);

	printf("digest %016llx\n", digest);
	w->release(input);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' },
		{ "size", required_argument, NULL, 'n' },
		{ "offset", required_argument, NULL, 'o' },
		{ "repetitions", required_argument, NULL, 'r' },
		{ "profile", required_argument, NULL, 'p' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	const char *seed = NULL, *size = NULL, *offset = "0", *reps = "1";
	const char *profile = NULL;
	const struct workload *w;
	struct bench_case c;
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		switch (option) {
		case 's':
			seed = optarg;
			break;
		case 'n':
			size = optarg;
			break;
		case 'o':
			offset = optarg;
			break;
		case 'r':
			reps = optarg;
			break;
		case 'p':
			profile = optarg;
			break;
		case 'h':
			usage();
			return 0;
		case ':':
			die(2, "'%s' wants a value; see: bench --help",
			    argv[optind - 1]);
		default:
			die(2, "'%s' is no option; see: bench --help",
			    argv[optind - 1]);
		}
	}
	if (optind + 1 != argc)
		die(2, "%d workloads are named, expected one; see: bench --help",
		    argc - optind);
	w = find_workload(argv[optind]);
	if (!seed || !size)
		die(2, "--seed and --size are wanted; see: bench --help");
	c.seed = number("seed", seed, 0, 0xffffffff);
	c.size = number("size", size, 0, w->max_size);
	c.offset = number("offset", offset, 0, 4095);
	c.repetitions = number("repetitions", reps, 1, 1000000000);

	run(w, &c, profile);
	if (profile && !sample_write(profile))
		die(1, "cannot write '%s': %s", profile, strerror(errno));
	return ferror(stdout) || fflush(stdout) ? 1 : 0;
}

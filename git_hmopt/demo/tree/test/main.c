// SPDX-License-Identifier: Apache-2.0
/* Runs all suites and prints KTAP, version 1. */
#include <stdio.h>

#include "test.h"

extern const struct test_suite crc_suite, string_suite, rbtree_suite;
extern const struct test_suite slab_suite, sched_suite, timer_suite;
extern const struct test_suite msg_suite, path_suite;

static const struct test_suite *const suites[] = {
	&crc_suite, &string_suite, &rbtree_suite, &slab_suite,
	&sched_suite, &timer_suite, &msg_suite, &path_suite,
};

static unsigned int failures;

void test_failed(const char *file, int line, const char *what, s64 left,
		 s64 right)
{
	failures++;
	printf("    # %s:%d: expected %s, got %lld and %lld\n", file, line,
	       what, left, right);
}

static bool run_suite(const struct test_suite *suite)
{
	unsigned int i, failed = 0;

	printf("    KTAP version 1\n    # Subtest: %s\n    1..%u\n",
	       suite->name, suite->nr_cases);
	for (i = 0; i < suite->nr_cases; i++) {
		failures = 0;
		suite->cases[i].run();
		printf("    %sok %u %s\n", failures ? "not " : "", i + 1,
		       suite->cases[i].name);
		failed += failures > 0;
	}
	return !failed;
}

int main(void)
{
	unsigned int i, failed = 0;
	bool good;

	/* A case that crashes must not take the others' lines along. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("KTAP version 1\n1..%zu\n", ARRAY_SIZE(suites));
	for (i = 0; i < ARRAY_SIZE(suites); i++) {
		good = run_suite(suites[i]);
		printf("%sok %u %s\n", good ? "" : "not ", i + 1,
		       suites[i]->name);
		failed += !good;
	}
	return failed ? 1 : 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef _TEST_H
#define _TEST_H

#include <linux/kernel.h>

struct test_case {
	const char *name;
	void (*run)(void);
};

struct test_suite {
	const char *name;
	const struct test_case *cases;
	unsigned int nr_cases;
};

#define TEST_SUITE(suite, ...)						\
	static const struct test_case suite##_cases[] = { __VA_ARGS__ };	\
	const struct test_suite suite##_suite = {			\
		.name = #suite,						\
		.cases = suite##_cases,					\
		.nr_cases = ARRAY_SIZE(suite##_cases),			\
	}

void test_failed(const char *file, int line, const char *what, s64 left,
		 s64 right);

/* A failed expectation fails the case, which goes on. */
#define EXPECT_EQ(left, right) do {					\
	s64 _left = (s64)(left), _right = (s64)(right);			\
									\
	if (_left != _right)						\
		test_failed(__FILE__, __LINE__, #left " == " #right,	\
			    _left, _right);				\
} while (0)

#define EXPECT(condition)	EXPECT_EQ(!!(condition), 1)

#endif /* _TEST_H */

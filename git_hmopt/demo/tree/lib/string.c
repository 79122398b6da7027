// SPDX-License-Identifier: Apache-2.0
/* What libc's string functions lack. */
#include <linux/kernel.h>
#include <linux/string.h>

/* Return the first of @n bytes that is not @c, NULL when all are. */
void *memchr_inv(const void *start, int c, size_t n)
{
	const unsigned long pattern = REPEAT_BYTE((u8)c);
	const u8 *p = start;

	for (; n >= sizeof(long); n -= sizeof(long), p += sizeof(long)) {
		if (read_word_at_a_time(p) != pattern)
			break;
	}
	for (; n; n--, p++) {
		if (*p != (u8)c)
			return (void *)p;
	}
	return NULL;
}

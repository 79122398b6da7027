/* SPDX-License-Identifier: Apache-2.0 */
#ifndef _LINUX_HASH_H
#define _LINUX_HASH_H

#include <linux/types.h>

/* 2^64 divided by the golden ratio, made odd (Knuth, TAOCP 3, 6.4). */
#define GOLDEN_RATIO_64		0x9e3779b97f4a7c15ull

static inline u32 hash_64(u64 value, unsigned int bits)
{
	return (value * GOLDEN_RATIO_64) >> (64 - bits);
}

#endif /* _LINUX_HASH_H */

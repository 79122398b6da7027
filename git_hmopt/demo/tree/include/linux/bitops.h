/* SPDX-License-Identifier: Apache-2.0 */
#ifndef _LINUX_BITOPS_H
#define _LINUX_BITOPS_H

#include <linux/types.h>

#define BITS_PER_LONG		(8 * (unsigned int)sizeof(long))
#define BITS_TO_LONGS(bits)	(((bits) + BITS_PER_LONG - 1) / BITS_PER_LONG)
#define BIT_MASK(nr)		(1ul << ((nr) % BITS_PER_LONG))
#define BIT_WORD(nr)		((nr) / BITS_PER_LONG)

static inline void __set_bit(unsigned int nr, unsigned long *bits)
{
	bits[BIT_WORD(nr)] |= BIT_MASK(nr);
}

static inline void __clear_bit(unsigned int nr, unsigned long *bits)
{
	bits[BIT_WORD(nr)] &= ~BIT_MASK(nr);
}

/* The first set bit below @size, or @size when there is none. */
static inline unsigned int find_first_bit(const unsigned long *bits,
					  unsigned int size)
{
	unsigned int at, found;

	for (at = 0; at < size; at += BITS_PER_LONG) {
		if (bits[BIT_WORD(at)]) {
			found = at + __builtin_ctzl(bits[BIT_WORD(at)]);
			return found < size ? found : size;
		}
	}
	return size;
}

/* The lowest set bit of @word, which is not zero. */
static inline unsigned int __ffs64(u64 word)
{
	return __builtin_ctzll(word);
}

static inline u64 ror64(u64 word, unsigned int shift)
{
	return (word >> (shift & 63)) | (word << (-shift & 63));
}

#endif /* _LINUX_BITOPS_H */

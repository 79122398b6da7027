/* SPDX-License-Identifier: Apache-2.0 */
#ifndef _LINUX_UNALIGNED_H
#define _LINUX_UNALIGNED_H

#include <linux/types.h>

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define __le(bits, x)	(x)
#define __be(bits, x)	__builtin_bswap##bits(x)
#else
#define __le(bits, x)	__builtin_bswap##bits(x)
#define __be(bits, x)	(x)
#endif

#define __UNALIGNED(bits, order)					\
static inline u##bits get_unaligned_##order##bits(const void *p)	\
{									\
	u##bits x;							\
									\
	__builtin_memcpy(&x, p, sizeof(x));				\
	return __##order(bits, x);					\
}

__UNALIGNED(32, le)
__UNALIGNED(32, be)
__UNALIGNED(64, le)
__UNALIGNED(64, be)

#undef __UNALIGNED

#endif /* _LINUX_UNALIGNED_H */

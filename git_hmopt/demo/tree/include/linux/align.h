/* SPDX-License-Identifier: Apache-2.0 */
#ifndef _LINUX_ALIGN_H
#define _LINUX_ALIGN_H

/* @a is a power of two. */
#define ALIGN(x, a)		(((x) + (a) - 1) & ~((__typeof__(x))(a) - 1))
#define ALIGN_DOWN(x, a)	((x) & ~((__typeof__(x))(a) - 1))
#define IS_ALIGNED(x, a)	(((x) & ((__typeof__(x))(a) - 1)) == 0)

#endif /* _LINUX_ALIGN_H */

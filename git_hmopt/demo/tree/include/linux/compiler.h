/* SPDX-License-Identifier: Apache-2.0 */
#ifndef _LINUX_COMPILER_H
#define _LINUX_COMPILER_H

/* libc's headers define some of these names for themselves. */
#include <sys/cdefs.h>

#undef __always_inline
#define __always_inline	inline __attribute__((__always_inline__))
#define noinline	__attribute__((__noinline__))
#undef __cold
#define __cold		__attribute__((__cold__))
#define __must_check	__attribute__((__warn_unused_result__))

#define likely(x)	__builtin_expect(!!(x), 1)
#define unlikely(x)	__builtin_expect(!!(x), 0)

#define barrier()	__asm__ __volatile__("" : : : "memory")

/* Load a word from any address; the caller knows that all of it is mapped. */
static inline unsigned long read_word_at_a_time(const void *addr)
{
	unsigned long word;

	__builtin_memcpy(&word, addr, sizeof(word));
	return word;
}

#endif /* _LINUX_COMPILER_H */

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef _LINUX_CACHE_H
#define _LINUX_CACHE_H

#define L1_CACHE_BYTES		64

#define ____cacheline_aligned	__attribute__((__aligned__(L1_CACHE_BYTES)))

/* A program has no moment at which its own data could be write-protected. */
#define __ro_after_init

#endif /* _LINUX_CACHE_H */

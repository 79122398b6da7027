/* SPDX-License-Identifier: Apache-2.0 */
#ifndef _LINUX_ERR_H
#define _LINUX_ERR_H

#include <errno.h>
#include <linux/compiler.h>
#include <linux/types.h>

#define MAX_ERRNO	4095

/* A pointer into the last page is no pointer but a negative error number. */

static inline void *ERR_PTR(long error)
{
	return (void *)error;
}

static inline long PTR_ERR(const void *ptr)
{
	return (long)ptr;
}

static inline bool IS_ERR(const void *ptr)
{
	return unlikely((unsigned long)ptr >= (unsigned long)-MAX_ERRNO);
}

#endif /* _LINUX_ERR_H */

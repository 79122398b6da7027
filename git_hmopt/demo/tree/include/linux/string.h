/* SPDX-License-Identifier: Apache-2.0 */
#ifndef _LINUX_STRING_H
#define _LINUX_STRING_H

#include <linux/types.h>
#include <string.h>

void *memchr_inv(const void *start, int c, size_t n);

#endif /* _LINUX_STRING_H */

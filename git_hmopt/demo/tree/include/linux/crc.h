/* SPDX-License-Identifier: Apache-2.0 */
#ifndef _LINUX_CRC_H
#define _LINUX_CRC_H

#include <linux/types.h>

/*
 * All of them continue @crc over @len bytes and invert nothing: the usual
 * CRC-32 of a buffer is ~crc32_le(~0, p, len).
 */
u32 crc32_le(u32 crc, const void *data, size_t len);
u32 crc32c(u32 crc, const void *data, size_t len);
u64 crc64_be(u64 crc, const void *data, size_t len);

#endif /* _LINUX_CRC_H */

// SPDX-License-Identifier: Apache-2.0
/* CRC-32 as Ethernet has it, and Castagnoli's, both reflected. */
#include <linux/cache.h>
#include <linux/crc.h>
#include <linux/types.h>

#include "crc32_tables.h"

u32 crc32_le(u32 crc, const void *data, size_t len)
{
	const u8 *p = data;

	while (len--)
		crc = (crc >> 8) ^ crc32_table[(crc & 0xff) ^ *p++];

	return crc;
}

u32 crc32c(u32 crc, const void *data, size_t len)
{
	const u8 *p = data;

	while (len--)
		crc = (crc >> 8) ^ crc32c_table[(crc & 0xff) ^ *p++];

	return crc;
}

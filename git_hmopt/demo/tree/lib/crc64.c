// SPDX-License-Identifier: Apache-2.0
/* CRC-64 of ECMA-182, highest bit first. */
#include <linux/cache.h>
#include <linux/crc.h>
#include <linux/types.h>

#include "crc64_tables.h"

u64 crc64_be(u64 crc, const void *data, size_t len)
{
	const u8 *p = data;

	while (len--)
		crc = (crc << 8) ^ crc64_table[(crc >> 56) ^ *p++];

	return crc;
}

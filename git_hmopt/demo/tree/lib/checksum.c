// SPDX-License-Identifier: Apache-2.0
/* The Internet checksum (RFC 1071). */
#include <linux/checksum.h>
#include <linux/unaligned.h>

u16 ip_compute_csum(const void *data, size_t len)
{
	const u8 *p = data;
	u64 sum = 0;

	/*
	 * Words of 32 bits are congruent to their 16-bit halves modulo 0xffff,
	 * and 2^32 of them fit into the sum.
	 */
	for (; len >= 4; len -= 4, p += 4)
		sum += get_unaligned_be32(p);
	if (len >= 2)
		sum += (u32)p[0] << 8 | p[1];
	if (len & 1)
		sum += (u32)p[len - 1] << 8;

	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef _LINUX_CHECKSUM_H
#define _LINUX_CHECKSUM_H

#include <linux/types.h>

/* The Internet checksum (RFC 1071), as a number whose high byte comes first. */
u16 ip_compute_csum(const void *data, size_t len);

#endif /* _LINUX_CHECKSUM_H */

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef _LINUX_MSG_H
#define _LINUX_MSG_H

#include <linux/compiler.h>
#include <linux/types.h>

#define MSG_ALIGN	8

struct msg_header {
	u32 len;
	u32 type;
	u32 seq;
	u32 crc;		/* of the three above and the payload */
};

/* A ring of messages between one sender and one receiver. */
struct msg_ring {
	u8 *data;
	u32 size;		/* a power of two */
	u32 seq;
	u64 head;		/* bytes ever written */
	u64 tail;		/* bytes ever read */
};

int msg_ring_init(struct msg_ring *ring, u32 size) __must_check;
void msg_ring_destroy(struct msg_ring *ring);
int msg_send(struct msg_ring *ring, u32 type, const void *data, u32 len);
int msg_receive(struct msg_ring *ring, struct msg_header *header, void *buffer,
		u32 size);

#endif /* _LINUX_MSG_H */

// SPDX-License-Identifier: Apache-2.0
/*
 * Messages through a ring of bytes. Each is a header and its payload, padded to
 * MSG_ALIGN; either may go around the ring's end. A CRC over both finds what a
 * peer that shares the ring has scribbled on.
 */
#include <linux/crc.h>
#include <linux/err.h>
#include <linux/kernel.h>
#include <linux/msg.h>
#include <linux/string.h>
#include <stdlib.h>

/* Make an empty ring of @size bytes, a power of two of at least 64. */
int msg_ring_init(struct msg_ring *ring, u32 size)
{
	if (size < 64 || !is_power_of_2(size))
		return -EINVAL;
	*ring = (struct msg_ring){ .size = size };
	ring->data = malloc(size);
	return ring->data ? 0 : -ENOMEM;
}

void msg_ring_destroy(struct msg_ring *ring)
{
	free(ring->data);
	ring->data = NULL;
}

static void ring_write(struct msg_ring *ring, u64 at, const void *from, u32 len)
{
	u32 start = at & (ring->size - 1);
	u32 first = min(len, ring->size - start);

	memcpy(ring->data + start, from, first);
	memcpy(ring->data, (const u8 *)from + first, len - first);
}

static void ring_read(const struct msg_ring *ring, u64 at, void *to, u32 len)
{
	u32 start = at & (ring->size - 1);
	u32 first = min(len, ring->size - start);

	memcpy(to, ring->data + start, first);
	memcpy((u8 *)to + first, ring->data, len - first);
}

static u32 msg_crc(const struct msg_header *header, const void *payload)
{
	u32 crc = crc32c(~0u, header, offsetof(struct msg_header, crc));

	return ~crc32c(crc, payload, header->len);
}

static inline u32 space_of(u32 len)
{
	return sizeof(struct msg_header) + ALIGN(len, MSG_ALIGN);
}

/**
 * msg_send - append a message
 * @ring: the ring
 * @type: a number for the receiver
 * @data: the payload, which is copied
 * @len: its bytes
 *
 * Return: 0, -EAGAIN while the ring is too full, -EMSGSIZE when the message
 * would not fit into an empty one.
 */
int msg_send(struct msg_ring *ring, u32 type, const void *data, u32 len)
{
	struct msg_header header = { .len = len, .type = type };

	if (len > ring->size - sizeof(header))
		return -EMSGSIZE;
	if (space_of(len) > ring->size - (ring->head - ring->tail))
		return -EAGAIN;

	header.seq = ring->seq++;
	header.crc = msg_crc(&header, data);
	ring_write(ring, ring->head, &header, sizeof(header));
	ring_write(ring, ring->head + sizeof(header), data, len);
	ring->head += space_of(len);
	return 0;
}

/**
 * msg_receive - take the oldest message
 * @ring: the ring
 * @header: gets the message's header
 * @buffer: gets its payload
 * @size: bytes of @buffer
 *
 * Return: 0, -EAGAIN when there is none, -ENOSPC when @buffer is too small (the
 * message stays, @header says what it takes), -EBADMSG when it was damaged. A
 * damaged payload is dropped; behind a length that cannot be right no message
 * can be found any more, and the ring is emptied.
 */
int msg_receive(struct msg_ring *ring, struct msg_header *header, void *buffer,
		u32 size)
{
	u64 used = ring->head - ring->tail;

	if (!used)
		return -EAGAIN;
	ring_read(ring, ring->tail, header, sizeof(*header));
	if (header->len > used - sizeof(*header)) {
		ring->tail = ring->head;
		return -EBADMSG;
	}
	if (header->len > size)
		return -ENOSPC;

	ring_read(ring, ring->tail + sizeof(*header), buffer, header->len);
	ring->tail += space_of(header->len);
	return msg_crc(header, buffer) == header->crc ? 0 : -EBADMSG;
}

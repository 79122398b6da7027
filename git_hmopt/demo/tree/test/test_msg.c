// SPDX-License-Identifier: Apache-2.0
#include <linux/err.h>
#include <linux/msg.h>
#include <linux/string.h>

#include "test.h"

static struct msg_ring ring;
static struct msg_header header;
static u8 sent[4096], received[4096];

static void start(u32 size)
{
	u32 i;

	EXPECT_EQ(msg_ring_init(&ring, size), 0);
	for (i = 0; i < sizeof(sent); i++)
		sent[i] = i * 89 + 3;
}

static void refused_rings(void)
{
	EXPECT_EQ(msg_ring_init(&ring, 0), -EINVAL);
	EXPECT_EQ(msg_ring_init(&ring, 32), -EINVAL);
	EXPECT_EQ(msg_ring_init(&ring, 100), -EINVAL);
}

/* Every length, at every place of the ring. */
static void all_lengths(void)
{
	u32 len, i;

	start(256);
	for (len = 0; len <= 256 - sizeof(header); len++) {
		for (i = 0; i < 40; i++) {
			memset(received, 0, len + 1);
			EXPECT_EQ(msg_send(&ring, len ^ i, sent + i, len), 0);
			EXPECT_EQ(msg_receive(&ring, &header, received, len), 0);
			EXPECT_EQ(header.len, len);
			EXPECT_EQ(header.type, len ^ i);
			EXPECT(!memcmp(received, sent + i, len));
			EXPECT_EQ(received[len], 0);
		}
	}
	EXPECT_EQ(msg_send(&ring, 0, sent, len), -EMSGSIZE);
	EXPECT_EQ(msg_receive(&ring, &header, received, 256), -EAGAIN);
	msg_ring_destroy(&ring);
}

static void full_ring(void)
{
	u32 nr = 0, i;

	start(1024);
	while (!msg_send(&ring, nr, sent + nr, 9))
		nr++;
	EXPECT_EQ(nr, 1024 / (sizeof(header) + 16));
	EXPECT_EQ(msg_send(&ring, 0, sent, 9), -EAGAIN);
	for (i = 0; i < nr; i++) {
		EXPECT_EQ(msg_receive(&ring, &header, received, 9), 0);
		EXPECT_EQ(header.seq, i);
		EXPECT(!memcmp(received, sent + i, 9));
	}
	EXPECT_EQ(msg_receive(&ring, &header, received, 9), -EAGAIN);
	EXPECT_EQ(msg_send(&ring, 0, sent, 1000), 0);
	msg_ring_destroy(&ring);
}

static void small_buffer(void)
{
	start(256);
	EXPECT_EQ(msg_send(&ring, 1, sent, 100), 0);
	EXPECT_EQ(msg_receive(&ring, &header, received, 99), -ENOSPC);
	EXPECT_EQ(header.len, 100);
	EXPECT_EQ(msg_receive(&ring, &header, received, 100), 0);
	msg_ring_destroy(&ring);
}

/* Whatever byte is scribbled on, it is seen, and nothing is read outside. */
static void damage_is_seen(void)
{
	u32 at, bit, used = sizeof(header) + 40;
	int error;

	start(128);
	for (at = 0; at < used; at++) {
		for (bit = 0; bit < 8; bit++) {
			EXPECT_EQ(msg_send(&ring, 7, sent, 40), 0);
			ring.data[(ring.tail + at) & 127] ^= 1 << bit;
			error = msg_receive(&ring, &header, received,
					    sizeof(received));
			EXPECT_EQ(error, -EBADMSG);
			ring.tail = ring.head;
		}
	}
	msg_ring_destroy(&ring);
}

TEST_SUITE(msg, { "refused_rings", refused_rings },
	   { "all_lengths", all_lengths }, { "full_ring", full_ring },
	   { "small_buffer", small_buffer },
	   { "damage_is_seen", damage_is_seen });

// SPDX-License-Identifier: Apache-2.0
#include <linux/checksum.h>
#include <linux/crc.h>
#include <linux/rbtree.h>
#include <linux/string.h>

#include "test.h"

/* What the catalogue at reveng.sourceforge.io lists as "check". */
static const char check[] = "123456789";

static void check_values(void)
{
	EXPECT_EQ(~crc32_le(~0u, check, 9), 0xcbf43926u);
	EXPECT_EQ(~crc32c(~0u, check, 9), 0xe3069283u);
	EXPECT_EQ(crc64_be(0, check, 9), 0x6c40df5f0b497347ull);
}

static void crc_of_nothing(void)
{
	EXPECT_EQ(crc32_le(0x12345678, check, 0), 0x12345678);
	EXPECT_EQ(crc32c(0x12345678, check, 0), 0x12345678);
	EXPECT_EQ(crc64_be(0x123456789abcdefull, check, 0), 0x123456789abcdefull);
}

/* A CRC continued from any place is the CRC of the whole. */
static void crc_in_two_parts(void)
{
	u8 data[131];
	u32 i, n = sizeof(data);

	for (i = 0; i < n; i++)
		data[i] = i * 151 + 7;
	for (i = 0; i <= n; i++) {
		EXPECT_EQ(crc32_le(crc32_le(9, data, i), data + i, n - i),
			  crc32_le(9, data, n));
		EXPECT_EQ(crc32c(crc32c(9, data, i), data + i, n - i),
			  crc32c(9, data, n));
		EXPECT_EQ(crc64_be(crc64_be(9, data, i), data + i, n - i),
			  crc64_be(9, data, n));
	}
}

/* Every single flipped bit is seen, wherever it is. */
static void crc_sees_each_bit(void)
{
	u8 data[40] = { 0 };
	u32 bit;

	for (bit = 0; bit < 8 * sizeof(data); bit++) {
		data[bit / 8] ^= 1 << bit % 8;
		EXPECT(crc32_le(0, data, sizeof(data)));
		EXPECT(crc32c(0, data, sizeof(data)));
		EXPECT(crc64_be(0, data, sizeof(data)));
		data[bit / 8] ^= 1 << bit % 8;
	}
}

static void internet_checksum(void)
{
	/* RFC 1071, section 3. */
	static const u8 example[] = {
		0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7,
	};
	u8 full[70000];
	u32 i;

	EXPECT_EQ(ip_compute_csum(example, 8), (u16)~0xddf2);
	EXPECT_EQ(ip_compute_csum(example, 0), 0xffff);
	EXPECT_EQ(ip_compute_csum(example + 2, 1), (u16)~0xf200);
	EXPECT_EQ(ip_compute_csum(example + 1, 3), (u16)~(0x01f2 + 0x0300));
	memset(full, 0xff, sizeof(full));
	for (i = 0; i < 9; i++)
		EXPECT_EQ(ip_compute_csum(full + i, sizeof(full) - 2 * i), 0);
}

TEST_SUITE(crc, { "check_values", check_values },
	   { "crc_of_nothing", crc_of_nothing },
	   { "crc_in_two_parts", crc_in_two_parts },
	   { "crc_sees_each_bit", crc_sees_each_bit },
	   { "internet_checksum", internet_checksum });

static void memchr_inv_finds(void)
{
	u8 buffer[80];
	u32 start, len, at;

	memset(buffer, 0x6b, sizeof(buffer));
	for (start = 0; start < 9; start++) {
		for (len = 0; len < 40; len++) {
			EXPECT(!memchr_inv(buffer + start, 0x6b, len));
			for (at = 0; at < len; at++) {
				buffer[start + at] = 0xeb;
				EXPECT(memchr_inv(buffer + start, 0x6b, len) ==
				       buffer + start + at);
				buffer[start + at] = 0x6b;
			}
		}
	}
	EXPECT(memchr_inv(buffer, 0x16b, sizeof(buffer)) == NULL);
	EXPECT(memchr_inv(buffer, 0, 1) == buffer);
}

TEST_SUITE(string, { "memchr_inv_finds", memchr_inv_finds });

#define NODES	300

struct item {
	struct rb_node node;
	u32 key, order;
	bool in;
};

static struct item items[NODES];

static bool item_less(const struct rb_node *a, const struct rb_node *b)
{
	return container_of(a, struct item, node)->key <
	       container_of(b, struct item, node)->key;
}

/* Return the black nodes on each way down, or -1 when a rule is broken. */
static int black_height(const struct rb_node *node)
{
	int left, right, i;

	if (!node)
		return 0;
	for (i = 0; i < 2; i++) {
		if (!node->child[i])
			continue;
		if (node->child[i]->parent != node)
			return -1;
		if (node->red && node->child[i]->red)
			return -1;
	}
	left = black_height(node->child[0]);
	right = black_height(node->child[1]);
	return left < 0 || left != right ? -1 : left + !node->red;
}

static void check_tree(const struct rb_root *root, u32 nr)
{
	struct item *last = NULL, *item;
	struct rb_node *node;
	u32 seen = 0;

	EXPECT(black_height(root->node) >= 0);
	EXPECT(!root->node || !root->node->red);
	for (node = rb_first(root); node; node = rb_next(node)) {
		item = container_of(node, struct item, node);
		EXPECT(item->in);
		if (last)
			EXPECT(last->key < item->key ||
			       (last->key == item->key &&
				last->order < item->order));
		last = item;
		seen++;
	}
	EXPECT_EQ(seen, nr);
}

/* Many equal keys, and each removal from another place. */
static void insert_and_erase(void)
{
	struct rb_root root = { NULL, NULL };
	u32 i, order = 0, nr = 0, random = 1;
	struct item *item;

	for (i = 0; i < 20 * NODES; i++) {
		random = random * 1664525 + 1013904223;
		item = &items[(random >> 8) % NODES];
		if (item->in) {
			rb_erase(&root, &item->node);
			nr--;
		} else {
			item->key = (random >> 16) % 50;
			item->order = order++;
			rb_add(&root, &item->node, item_less);
			nr++;
		}
		item->in = !item->in;
		check_tree(&root, nr);
	}
	for (i = 0; i < NODES; i++) {
		if (!items[i].in)
			continue;
		rb_erase(&root, &items[i].node);
		items[i].in = false;
		check_tree(&root, --nr);
	}
	EXPECT(!root.node && !root.first);
}

/* Keys in order are the worst a plain tree could get. */
static void sorted_keys(void)
{
	struct rb_root root = { NULL, NULL };
	u32 i;

	for (i = 0; i < NODES; i++) {
		items[i] = (struct item){ .key = i, .order = i, .in = true };
		rb_add(&root, &items[i].node, item_less);
		check_tree(&root, i + 1);
	}
	EXPECT(black_height(root.node) >= 4 && black_height(root.node) <= 9);
	for (i = 0; i < NODES; i++) {
		EXPECT(rb_first(&root) == &items[i].node);
		rb_erase(&root, &items[i].node);
		items[i].in = false;
		check_tree(&root, NODES - 1 - i);
	}
}

TEST_SUITE(rbtree, { "insert_and_erase", insert_and_erase },
	   { "sorted_keys", sorted_keys });

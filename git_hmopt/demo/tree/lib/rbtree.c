// SPDX-License-Identifier: Apache-2.0
/*
 * Red-black trees (Cormen, Leiserson, Rivest, Stein, "Introduction to
 * Algorithms", chapter 13), with both sides written once: dir is 0 or 1.
 *
 * A red node has no red child, and every way down from a node to a missing
 * child passes the same number of black nodes.
 */
#include <linux/rbtree.h>

static inline bool is_red(const struct rb_node *node)
{
	return node && node->red;
}

static inline int side_of(const struct rb_node *node)
{
	return node == node->parent->child[1];
}

/* Put @new, which may be missing, where @old hangs. */
static inline void replace(struct rb_root *root, struct rb_node *old,
			   struct rb_node *new)
{
	if (old->parent)
		old->parent->child[side_of(old)] = new;
	else
		root->node = new;
	if (new)
		new->parent = old->parent;
}

/* Turn @node down to the side @dir; its other child comes up. */
static void rotate(struct rb_root *root, struct rb_node *node, int dir)
{
	struct rb_node *up = node->child[!dir];

	node->child[!dir] = up->child[dir];
	if (up->child[dir])
		up->child[dir]->parent = node;
	replace(root, node, up);
	up->child[dir] = node;
	node->parent = up;
}

/* Colour @node, which was just linked in as a leaf. */
void rb_insert_fixup(struct rb_root *root, struct rb_node *node)
{
	struct rb_node *parent, *grandparent, *uncle;
	int dir;

	node->red = true;
	while (is_red(node->parent)) {
		parent = node->parent;
		grandparent = parent->parent;
		dir = side_of(parent);
		uncle = grandparent->child[!dir];

		if (is_red(uncle)) {
			parent->red = false;
			uncle->red = false;
			grandparent->red = true;
			node = grandparent;
			continue;
		}
		if (side_of(node) != dir) {
			rotate(root, parent, dir);
			parent = node;
		}
		parent->red = false;
		grandparent->red = true;
		rotate(root, grandparent, !dir);
		break;
	}
	root->node->red = false;
}

/* One black node is missing on the way through @node, a child of @parent. */
static void erase_fixup(struct rb_root *root, struct rb_node *parent,
			struct rb_node *node)
{
	struct rb_node *sibling;
	int dir;

	while (parent && !is_red(node)) {
		dir = node == parent->child[1];
		sibling = parent->child[!dir];

		if (sibling->red) {
			sibling->red = false;
			parent->red = true;
			rotate(root, parent, dir);
			sibling = parent->child[!dir];
		}
		if (!is_red(sibling->child[0]) && !is_red(sibling->child[1])) {
			sibling->red = true;
			node = parent;
			parent = node->parent;
			continue;
		}
		if (!is_red(sibling->child[!dir])) {
			sibling->child[dir]->red = false;
			sibling->red = true;
			rotate(root, sibling, !dir);
			sibling = parent->child[!dir];
		}
		sibling->red = parent->red;
		parent->red = false;
		sibling->child[!dir]->red = false;
		rotate(root, parent, dir);
		return;
	}
	if (node)
		node->red = false;
}

void rb_erase(struct rb_root *root, struct rb_node *node)
{
	struct rb_node *next, *child, *parent;
	bool red;

	if (root->first == node)
		root->first = rb_next(node);

	if (!node->child[0] || !node->child[1]) {
		child = node->child[0] ? node->child[0] : node->child[1];
		parent = node->parent;
		red = node->red;
		replace(root, node, child);
	} else {
		/* The next node in order has no lesser child. */
		next = node->child[1];
		while (next->child[0])
			next = next->child[0];
		child = next->child[1];
		red = next->red;
		parent = next;
		if (next->parent != node) {
			parent = next->parent;
			replace(root, next, child);
			next->child[1] = node->child[1];
			next->child[1]->parent = next;
		}
		replace(root, node, next);
		next->child[0] = node->child[0];
		next->child[0]->parent = next;
		next->red = node->red;
	}
	if (!red)
		erase_fixup(root, parent, child);
}

struct rb_node *rb_next(const struct rb_node *node)
{
	struct rb_node *next = node->child[1];

	if (next) {
		while (next->child[0])
			next = next->child[0];
		return next;
	}
	while (node->parent && node == node->parent->child[1])
		node = node->parent;
	return node->parent;
}

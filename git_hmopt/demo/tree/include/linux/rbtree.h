/* SPDX-License-Identifier: Apache-2.0 */
#ifndef _LINUX_RBTREE_H
#define _LINUX_RBTREE_H

#include <linux/kernel.h>

/* child[0] is the lesser side. */
struct rb_node {
	struct rb_node *parent;
	struct rb_node *child[2];
	bool red;
};

/* first is the leftmost node: a run queue asks for it at every switch. */
struct rb_root {
	struct rb_node *node;
	struct rb_node *first;
};

void rb_insert_fixup(struct rb_root *root, struct rb_node *node);
void rb_erase(struct rb_root *root, struct rb_node *node);
struct rb_node *rb_next(const struct rb_node *node);

static inline struct rb_node *rb_first(const struct rb_root *root)
{
	return root->first;
}

/* Insert @node; it goes behind the nodes that are equal to it. */
static __always_inline void
rb_add(struct rb_root *root, struct rb_node *node,
       bool (*less)(const struct rb_node *a, const struct rb_node *b))
{
	struct rb_node **link = &root->node;
	struct rb_node *parent = NULL;
	bool leftmost = true;

	while (*link) {
		parent = *link;
		if (less(node, parent)) {
			link = &parent->child[0];
		} else {
			link = &parent->child[1];
			leftmost = false;
		}
	}

	node->parent = parent;
	node->child[0] = NULL;
	node->child[1] = NULL;
	*link = node;
	if (leftmost)
		root->first = node;
	rb_insert_fixup(root, node);
}

#endif /* _LINUX_RBTREE_H */

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef _LINUX_LIST_H
#define _LINUX_LIST_H

#include <linux/kernel.h>

/* Circular lists: an empty head, like an unlinked entry, points to itself. */

static inline void INIT_LIST_HEAD(struct list_head *head)
{
	head->next = head;
	head->prev = head;
}

static inline bool list_empty(const struct list_head *head)
{
	return head->next == head;
}

static inline void __list_link(struct list_head *prev, struct list_head *next)
{
	prev->next = next;
	next->prev = prev;
}

/* Insert behind @head. */
static inline void list_add(struct list_head *entry, struct list_head *head)
{
	__list_link(entry, head->next);
	__list_link(head, entry);
}

static inline void list_add_tail(struct list_head *entry,
				 struct list_head *head)
{
	list_add(entry, head->prev);
}

static inline void list_del_init(struct list_head *entry)
{
	__list_link(entry->prev, entry->next);
	INIT_LIST_HEAD(entry);
}

static inline void list_move(struct list_head *entry, struct list_head *head)
{
	__list_link(entry->prev, entry->next);
	list_add(entry, head);
}

/* Let @to, which holds nothing yet, take over all entries of @from. */
static inline void list_replace_init(struct list_head *from,
				     struct list_head *to)
{
	INIT_LIST_HEAD(to);
	if (list_empty(from))
		return;
	__list_link(to, from->next);
	__list_link(from->prev, to);
	INIT_LIST_HEAD(from);
}

#define list_first_entry(head, type, member) \
	container_of((head)->next, type, member)

#define list_for_each(pos, head) \
	for (pos = (head)->next; pos != (head); pos = pos->next)

/* Lists with a head of one pointer, for hash tables. */

static inline void hlist_add_head(struct hlist_node *node,
				  struct hlist_head *head)
{
	node->next = head->first;
	if (node->next)
		node->next->pprev = &node->next;
	head->first = node;
	node->pprev = &head->first;
}

static inline bool hlist_unhashed(const struct hlist_node *node)
{
	return !node->pprev;
}

static inline void hlist_del_init(struct hlist_node *node)
{
	if (hlist_unhashed(node))
		return;
	*node->pprev = node->next;
	if (node->next)
		node->next->pprev = node->pprev;
	node->pprev = NULL;
}

#define hlist_for_each(pos, head) \
	for (pos = (head)->first; pos; pos = pos->next)

#endif /* _LINUX_LIST_H */

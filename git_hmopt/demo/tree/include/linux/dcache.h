/* SPDX-License-Identifier: Apache-2.0 */
#ifndef _LINUX_DCACHE_H
#define _LINUX_DCACHE_H

#include <linux/types.h>

#define NAME_MAX	255
#define PATH_MAX	4096
#define MAX_SYMLINKS	40
#define MAX_NESTED_LINKS 8
#define DNAME_INLINE	32

#define LOOKUP_FOLLOW	0x1u

enum dentry_type { DENTRY_DIR, DENTRY_FILE, DENTRY_LINK };

/* A component of a path, and its hash below one parent. */
struct qstr {
	const char *name;
	u32 len;
	u64 hash;
};

struct dentry {
	struct hlist_node hash;
	struct dentry *parent;
	struct qstr name;
	u32 ino;
	u32 nr_children;
	enum dentry_type type;
	const char *target;	/* of a symbolic link */
	char inline_name[DNAME_INLINE];
};

u64 hash_name(const struct dentry *parent, const char *name, u32 *len);
struct dentry *d_make_root(u32 ino);
struct dentry *d_create(struct dentry *parent, const char *name, u32 ino,
			enum dentry_type type, const char *target);
int d_remove(struct dentry *dentry);
struct dentry *d_lookup(const struct dentry *parent, const struct qstr *name);

struct dentry *path_lookup(struct dentry *root, struct dentry *cwd,
			   const char *path, unsigned int flags);

#endif /* _LINUX_DCACHE_H */

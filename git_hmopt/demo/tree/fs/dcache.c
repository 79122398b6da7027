// SPDX-License-Identifier: Apache-2.0
/* Names of a tree of files, found by a hash of the parent and the name. */
#include <linux/cache.h>
#include <linux/dcache.h>
#include <linux/err.h>
#include <linux/hash.h>
#include <linux/init.h>
#include <linux/list.h>
#include <linux/slab.h>
#include <linux/string.h>

#define D_HASH_BITS	12

static struct hlist_head dentry_hashtable[1 << D_HASH_BITS];
static struct kmem_cache *dentry_cache __ro_after_init;

static inline struct hlist_head *d_bucket(u64 hash)
{
	return &dentry_hashtable[hash_64(hash, D_HASH_BITS)];
}

/* Hash the component that @name begins with and set @len to its length. */
u64 hash_name(const struct dentry *parent, const char *name, u32 *len)
{
	u64 hash = parent->ino * GOLDEN_RATIO_64;
	const char *p = name;

	for (; *p && *p != '/'; p++)
		hash = (hash ^ (u8)*p) * 0x100000001b3ull; /* FNV-1a */
	*len = p - name;
	return hash;
}

static struct dentry *d_alloc(const char *name, u32 len, u32 ino,
			      enum dentry_type type)
{
	struct dentry *dentry = kmem_cache_alloc(dentry_cache);
	char *own;

	if (!dentry)
		return NULL;
	*dentry = (struct dentry){ .ino = ino, .type = type };
	own = dentry->inline_name;
	if (len >= DNAME_INLINE) {
		own = kmalloc(len + 1);
		if (!own) {
			kmem_cache_free(dentry_cache, dentry);
			return NULL;
		}
	}
	memcpy(own, name, len);
	own[len] = '\0';
	dentry->name.name = own;
	dentry->name.len = len;
	return dentry;
}

static void d_free(struct dentry *dentry)
{
	if (dentry->name.name != dentry->inline_name)
		kfree(dentry->name.name);
	kfree(dentry->target);
	kmem_cache_free(dentry_cache, dentry);
}

/* Return a directory that is its own parent, NULL without memory. */
struct dentry *d_make_root(u32 ino)
{
	struct dentry *root = d_alloc("/", 1, ino, DENTRY_DIR);

	if (root)
		root->parent = root;
	return root;
}

/**
 * d_create - add a name to a directory
 * @parent: the directory
 * @name: the new name
 * @ino: its number; directories' are distinct
 * @type: what it is
 * @target: of a symbolic link, copied
 *
 * Return: the dentry, or ERR_PTR of -ENOTDIR, -EINVAL, -ENAMETOOLONG, -EEXIST
 * or -ENOMEM.
 */
struct dentry *d_create(struct dentry *parent, const char *name, u32 ino,
			enum dentry_type type, const char *target)
{
	struct dentry *dentry;
	struct qstr qstr = { .name = name };
	char *copy = NULL;

	if (parent->type != DENTRY_DIR)
		return ERR_PTR(-ENOTDIR);
	qstr.hash = hash_name(parent, name, &qstr.len);
	if (!qstr.len || name[qstr.len] || !strcmp(name, ".") ||
	    !strcmp(name, "..") || (type == DENTRY_LINK) != !!target)
		return ERR_PTR(-EINVAL);
	if (qstr.len > NAME_MAX)
		return ERR_PTR(-ENAMETOOLONG);
	if (d_lookup(parent, &qstr))
		return ERR_PTR(-EEXIST);

	dentry = d_alloc(name, qstr.len, ino, type);
	if (!dentry)
		return ERR_PTR(-ENOMEM);
	if (target) {
		copy = kmalloc(strlen(target) + 1);
		if (!copy) {
			d_free(dentry);
			return ERR_PTR(-ENOMEM);
		}
		strcpy(copy, target);
	}
	dentry->target = copy;
	dentry->name.hash = qstr.hash;
	dentry->parent = parent;
	parent->nr_children++;
	hlist_add_head(&dentry->hash, d_bucket(qstr.hash));
	return dentry;
}

/* Take a name away, for good; -ENOTEMPTY while names are below it. */
int d_remove(struct dentry *dentry)
{
	if (dentry->nr_children)
		return -ENOTEMPTY;
	if (dentry->parent != dentry)
		dentry->parent->nr_children--;
	hlist_del_init(&dentry->hash);
	d_free(dentry);
	return 0;
}

/* Return what @name is below @parent, or NULL. */
struct dentry *d_lookup(const struct dentry *parent, const struct qstr *name)
{
	struct hlist_node *node;
	struct dentry *dentry;

	hlist_for_each(node, d_bucket(name->hash)) {
		dentry = container_of(node, struct dentry, hash);
		if (dentry->name.hash != name->hash)
			continue;
		if (dentry->parent != parent || dentry->name.len != name->len)
			continue;
		if (!memcmp(dentry->name.name, name->name, name->len))
			return dentry;
	}
	return NULL;
}

static int __init dcache_init(void)
{
	dentry_cache = kmem_cache_create("dentry", sizeof(struct dentry),
					 L1_CACHE_BYTES, 0);
	return dentry_cache ? 0 : -ENOMEM;
}
early_initcall(dcache_init);

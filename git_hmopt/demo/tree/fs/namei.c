// SPDX-License-Identifier: Apache-2.0
/* From a path to what it names. */
#include <linux/dcache.h>
#include <linux/err.h>
#include <linux/kernel.h>
#include <linux/string.h>

/* Where a walk is, and what is left to walk of the links it is in. */
struct nameidata {
	struct dentry *root;
	struct dentry *dentry;
	const char *saved[MAX_NESTED_LINKS];
	unsigned int depth;
	unsigned int links;
};

/* Go on with a link's target, and with @rest after it. */
static int follow_link(struct nameidata *nd, const struct dentry *link,
		       const char *rest, const char **name)
{
	if (nd->links++ >= MAX_SYMLINKS)
		return -ELOOP;
	/* The last component of a path leaves nothing to come back to. */
	if (*rest) {
		if (nd->depth == MAX_NESTED_LINKS)
			return -ELOOP;
		nd->saved[nd->depth++] = rest;
	}
	if (!*link->target)
		return -ENOENT;
	if (*link->target == '/')
		nd->dentry = nd->root;
	*name = link->target;
	return 0;
}

/* Walk one component, of which @name is the start, and move @name behind it. */
static int walk_component(struct nameidata *nd, const char **name,
			  unsigned int flags)
{
	struct qstr component = { .name = *name };
	struct dentry *next;
	const char *rest;

	component.hash = hash_name(nd->dentry, *name, &component.len);
	if (component.len > NAME_MAX)
		return -ENAMETOOLONG;
	rest = *name + component.len;

	if ((*name)[0] == '.' && component.len == 1) {
		next = nd->dentry;
	} else if ((*name)[0] == '.' && (*name)[1] == '.' &&
		   component.len == 2) {
		next = nd->dentry == nd->root ? nd->root : nd->dentry->parent;
	} else {
		next = d_lookup(nd->dentry, &component);
		if (!next)
			return -ENOENT;
	}

	if (next->type == DENTRY_LINK &&
	    (*rest || nd->depth || flags & LOOKUP_FOLLOW))
		return follow_link(nd, next, rest, name);
	nd->dentry = next;
	*name = rest;
	return 0;
}

/**
 * path_lookup - find what a path names
 * @root: where absolute paths begin, and what ".." does not leave
 * @cwd: where relative paths begin
 * @path: the path
 * @flags: LOOKUP_FOLLOW: a link at its end stands for its target
 *
 * Return: the dentry, or ERR_PTR of -ENOENT, -ENOTDIR, -ENAMETOOLONG or -ELOOP.
 */
struct dentry *path_lookup(struct dentry *root, struct dentry *cwd,
			   const char *path, unsigned int flags)
{
	struct nameidata nd = { .root = root, .dentry = cwd };
	const char *name = path;
	int error;

	if (!*path)
		return ERR_PTR(-ENOENT);
	if (strnlen(path, PATH_MAX) == PATH_MAX)
		return ERR_PTR(-ENAMETOOLONG);
	if (*path == '/')
		nd.dentry = root;

	for (;;) {
		/* A slash, the last one too, is only good behind a directory. */
		if (*name == '/') {
			if (nd.dentry->type != DENTRY_DIR)
				return ERR_PTR(-ENOTDIR);
			do {
				name++;
			} while (*name == '/');
		}
		if (!*name) {
			if (!nd.depth)
				return nd.dentry;
			name = nd.saved[--nd.depth];
			continue;
		}
		error = walk_component(&nd, &name, flags);
		if (unlikely(error))
			return ERR_PTR(error);
	}
}

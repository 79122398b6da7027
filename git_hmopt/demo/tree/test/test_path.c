// SPDX-License-Identifier: Apache-2.0
#include <linux/dcache.h>
#include <linux/err.h>
#include <linux/string.h>
#include <stdio.h>

#include "test.h"

static struct dentry *root, *usr, *bin, *sh, *lib, *loop, *home;

static struct dentry *add(struct dentry *parent, const char *name,
			  enum dentry_type type, const char *target)
{
	static u32 ino = 10;
	struct dentry *dentry = d_create(parent, name, ino++, type, target);

	EXPECT(!IS_ERR(dentry));
	return dentry;
}

static void start(void)
{
	root = d_make_root(2);
	usr = add(root, "usr", DENTRY_DIR, NULL);
	bin = add(usr, "bin", DENTRY_DIR, NULL);
	sh = add(bin, "sh", DENTRY_FILE, NULL);
	lib = add(root, "lib", DENTRY_LINK, "usr/bin");
	loop = add(root, "loop", DENTRY_LINK, "/loop");
	home = add(bin, "home", DENTRY_LINK, "../..");
}

static void stop(void)
{
	EXPECT_EQ(d_remove(usr), -ENOTEMPTY);
	EXPECT_EQ(d_remove(home), 0);
	EXPECT_EQ(d_remove(loop), 0);
	EXPECT_EQ(d_remove(lib), 0);
	EXPECT_EQ(d_remove(sh), 0);
	EXPECT_EQ(d_remove(bin), 0);
	EXPECT_EQ(d_remove(usr), 0);
	EXPECT_EQ(d_remove(root), 0);
}

static void expect(const char *path, unsigned int flags,
		   const struct dentry *wanted)
{
	struct dentry *found = path_lookup(root, bin, path, flags);

	EXPECT_EQ(IS_ERR(found) ? PTR_ERR(found) : 0,
		  IS_ERR(wanted) ? PTR_ERR(wanted) : 0);
	if (found != wanted)
		printf("    # '%s'\n", path);
	EXPECT(found == wanted);
}

static void plain_paths(void)
{
	start();
	expect("/", 0, root);
	expect("////", 0, root);
	expect("/usr", 0, usr);
	expect("/usr/", 0, usr);
	expect("//usr///bin//sh", 0, sh);
	expect("sh", 0, sh);
	expect("./sh", 0, sh);
	expect(".", 0, bin);
	expect("..", 0, usr);
	expect("/usr/./bin/../../usr/bin/.", 0, bin);
	expect("../../../../..", 0, root);
	expect("/..", 0, root);
	stop();
}

static void missing_paths(void)
{
	start();
	expect("", 0, ERR_PTR(-ENOENT));
	expect("/us", 0, ERR_PTR(-ENOENT));
	expect("/usrr", 0, ERR_PTR(-ENOENT));
	expect("/usr/sh", 0, ERR_PTR(-ENOENT));
	expect("...", 0, ERR_PTR(-ENOENT));
	expect("sh/", 0, ERR_PTR(-ENOTDIR));
	expect("sh/.", 0, ERR_PTR(-ENOTDIR));
	expect("/usr/bin/sh/x", 0, ERR_PTR(-ENOTDIR));
	stop();
}

static void links(void)
{
	start();
	expect("/lib", 0, lib);
	expect("/lib", LOOKUP_FOLLOW, bin);
	expect("/lib/", 0, bin);
	expect("/lib/sh", 0, sh);
	expect("/lib/home", 0, home);
	expect("/lib/home/lib/home/usr", 0, usr);
	expect("home", LOOKUP_FOLLOW, root);
	expect("/loop", 0, loop);
	expect("/loop", LOOKUP_FOLLOW, ERR_PTR(-ELOOP));
	expect("/loop/x", 0, ERR_PTR(-ELOOP));
	stop();
}

/* A chain of links at the end of a path may be long, one inside it not. */
static void chains_of_links(void)
{
	struct dentry *chain[MAX_SYMLINKS + 1], *inside[MAX_NESTED_LINKS + 2];
	char name[16], target[16];
	u32 i;

	start();
	for (i = 0; i < ARRAY_SIZE(chain); i++) {
		sprintf(name, "c%u", i);
		sprintf(target, i ? "c%u" : "/usr", i - 1);
		chain[i] = add(root, name, DENTRY_LINK, target);
	}
	expect("/c39", LOOKUP_FOLLOW, usr);
	expect("/c39/bin", 0, bin);
	expect("/c40", LOOKUP_FOLLOW, ERR_PTR(-ELOOP));
	for (i = 0; i < ARRAY_SIZE(inside); i++) {
		sprintf(name, "n%u", i);
		sprintf(target, i ? "n%u/." : "/usr", i - 1);
		inside[i] = add(root, name, DENTRY_LINK, target);
	}
	expect("/n8", LOOKUP_FOLLOW, usr);
	expect("/n7/bin", 0, bin);
	expect("/n9", LOOKUP_FOLLOW, ERR_PTR(-ELOOP));
	for (i = 0; i < ARRAY_SIZE(chain); i++)
		EXPECT_EQ(d_remove(chain[i]), 0);
	for (i = 0; i < ARRAY_SIZE(inside); i++)
		EXPECT_EQ(d_remove(inside[i]), 0);
	stop();
}

/* Names around the length that is kept inside a dentry, and the longest. */
static void long_names(void)
{
	char name[NAME_MAX + 2], path[PATH_MAX + 1];
	struct dentry *dentry;
	u32 len;

	start();
	for (len = 1; len <= NAME_MAX; len++) {
		memset(name, 'n', len);
		name[len] = '\0';
		dentry = add(bin, name, DENTRY_FILE, NULL);
		expect(name, 0, dentry);
		name[len - 1] = 'm';
		expect(name, 0, ERR_PTR(-ENOENT));
		EXPECT_EQ(d_remove(dentry), 0);
	}
	memset(name, 'n', NAME_MAX + 1);
	name[NAME_MAX + 1] = '\0';
	expect(name, 0, ERR_PTR(-ENAMETOOLONG));
	EXPECT_EQ(PTR_ERR(d_create(bin, name, 1, DENTRY_FILE, NULL)),
		  -ENAMETOOLONG);

	memset(path, '/', PATH_MAX);
	path[PATH_MAX] = '\0';
	expect(path, 0, ERR_PTR(-ENAMETOOLONG));
	path[PATH_MAX - 1] = '\0';
	expect(path, 0, root);
	stop();
}

static void refused_names(void)
{
	static const char *const bad[] = { "", ".", "..", "a/b", "/", "a/" };
	u32 i;

	start();
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		EXPECT_EQ(PTR_ERR(d_create(bin, bad[i], 1, DENTRY_FILE, NULL)),
			  -EINVAL);
	EXPECT_EQ(PTR_ERR(d_create(bin, "sh", 1, DENTRY_FILE, NULL)), -EEXIST);
	EXPECT_EQ(PTR_ERR(d_create(sh, "x", 1, DENTRY_FILE, NULL)), -ENOTDIR);
	EXPECT_EQ(PTR_ERR(d_create(bin, "x", 1, DENTRY_LINK, NULL)), -EINVAL);
	EXPECT_EQ(PTR_ERR(d_create(bin, "x", 1, DENTRY_FILE, "y")), -EINVAL);
	stop();
}

TEST_SUITE(path, { "plain_paths", plain_paths },
	   { "missing_paths", missing_paths }, { "links", links },
	   { "chains_of_links", chains_of_links },
	   { "long_names", long_names },
	   { "refused_names", refused_names });

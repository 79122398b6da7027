// SPDX-License-Identifier: Apache-2.0
/* Paths of a random tree of N names, looked up from its root and below it. */
#include <linux/dcache.h>
#include <linux/err.h>
#include <linux/string.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"

#define PATHS_PER_NAME	2
#define TEXT		(2 * PATH_MAX)

/* entries[0] is the root. */
struct entry {
	struct dentry *dentry;
	u32 parent;
	u32 child;		/* one of them, or 0 */
	u32 leads_to;		/* of a link */
	enum dentry_type type;
	char name[64];
	char *target;
};

struct path {
	char *buffer;
	const char *text;
	u32 cwd;
	unsigned int flags;
};

struct input {
	struct bench_case c;
	struct entry *entries;
	u32 *dirs;
	u32 nr_entries, nr_dirs, nr_paths;
	struct path *paths;
};

/* Write the path of an entry from the root and return its length. */
static size_t path_of(const struct input *in, u32 id, char *text)
{
	size_t len;

	if (!id) {
		text[0] = '\0';
		return 0;
	}
	len = path_of(in, in->entries[id].parent, text);
	return len + sprintf(text + len, "/%s", in->entries[id].name);
}

static void make_name(char *name, u32 id, u64 r)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz-_.ABC";
	u32 len = r % 16 ? r / 16 % 12 : 30 + r / 16 % 16, i;

	for (i = 0; i < len; i++)
		name[i] = letters[(r >> (i % 60)) % 26 + (i > 0 && i % 7 == 0)];
	sprintf(name + len, "%x", id);
}

static void make_entry(struct input *in, u32 id, u64 *random)
{
	struct entry *e = &in->entries[id];
	u64 r = next_random(random);
	char text[TEXT];

	e->parent = in->dirs[(r >> 32) % in->nr_dirs];
	e->type = r % 4 == 0 ? DENTRY_DIR : DENTRY_FILE;
	make_name(e->name, id, next_random(random));
	if (r % 16 == 1) {
		e->type = DENTRY_LINK;
		e->leads_to = (r >> 8 & 0xffffff) % id;
		if (!path_of(in, e->leads_to, text))
			strcpy(text, "/");
		e->target = must_alloc(strlen(text) + 1, 1);
		strcpy(e->target, text);
	}
	if (e->type == DENTRY_DIR)
		in->dirs[in->nr_dirs++] = id;
	in->entries[e->parent].child = id;
	e->dentry = d_create(in->entries[e->parent].dentry, e->name, id + 2,
			     e->type, e->target);
	if (IS_ERR(e->dentry))
		abort();
}

static void make_path(struct input *in, struct path *path, u64 *random)
{
	u64 r = next_random(random);
	u32 id = (r >> 32) % in->nr_entries, child;
	const char *below = "";
	char text[TEXT];
	size_t len = path_of(in, id, text);

	path->cwd = in->dirs[(r >> 8 & 0xffff) % in->nr_dirs];
	path->flags = r & 1 ? LOOKUP_FOLLOW : 0;
	/* Go on behind a link, go up and down, end badly. */
	child = in->entries[in->entries[id].leads_to].child;
	if (in->entries[id].type == DENTRY_LINK && child)
		len += sprintf(text + len, "//%s", in->entries[child].name);
	else if (r >> 1 & 1 && len)
		len += sprintf(text + len, "/../%s",
			       in->entries[id].name + (r % 8 == 7));
	if ((r >> 2 & 7) == 0)
		len += sprintf(text + len, "/.");
	if ((r >> 5 & 7) == 0)
		text[len ? len - 1 : 0] = 'Z';
	if ((r >> 24 & 7) == 0)
		below = "."; /* relative, and most likely not there */

	path->buffer = must_alloc(in->c.offset + len + 3, 1);
	sprintf(path->buffer + in->c.offset, "%s%s", below, len ? text : "/");
	path->text = path->buffer + in->c.offset;
}

static void *prepare(const struct bench_case *c)
{
	struct input *in = must_alloc(1, sizeof(*in));
	u64 random = c->seed;
	u32 i;

	in->c = *c;
	in->nr_entries = c->size + 1;
	in->entries = must_alloc(in->nr_entries, sizeof(*in->entries));
	in->dirs = must_alloc(in->nr_entries, sizeof(*in->dirs));
	in->nr_dirs = 1;
	in->entries[0].type = DENTRY_DIR;
	in->entries[0].dentry = d_make_root(2);
	if (!in->entries[0].dentry)
		abort();
	for (i = 1; i < in->nr_entries; i++)
		make_entry(in, i, &random);

	in->nr_paths = c->size * PATHS_PER_NAME;
	in->paths = must_alloc(in->nr_paths, sizeof(*in->paths));
	for (i = 0; i < in->nr_paths; i++)
		make_path(in, &in->paths[i], &random);
	return in;
}

static u64 path_lookup_work(void *input, u32 rep)
{
	struct input *in = input;
	u64 digest = rep, answer;
	struct dentry *found;
	struct path *path;
	u32 i;

	for (i = 0; i < in->nr_paths; i++) {
		path = &in->paths[i];
		found = path_lookup(in->entries[0].dentry,
				    in->entries[path->cwd].dentry, path->text,
				    path->flags);
		answer = IS_ERR(found) ? (u64)PTR_ERR(found) : found->ino;
		digest = mix(digest, answer);
	}
	return digest;
}

/* The model: names are compared with every name, links replaced in the text. */

static u32 find(const struct input *in, u32 parent, const char *name)
{
	u32 i;

	for (i = 1; i < in->nr_entries; i++) {
		if (in->entries[i].parent == parent &&
		    !strcmp(in->entries[i].name, name))
			return i;
	}
	return 0;
}

static s64 resolve(const struct input *in, const struct path *path)
{
	char text[TEXT], rest[TEXT], name[TEXT];
	u32 at = path->text[0] == '/' ? 0 : path->cwd, next, links = 0;
	const struct entry *e;
	size_t len;

	strcpy(text, path->text);
	while (text[0]) {
		if (text[0] == '/') {
			if (in->entries[at].type != DENTRY_DIR)
				return -ENOTDIR;
			memmove(text, text + 1, strlen(text));
			continue;
		}
		len = strcspn(text, "/");
		memcpy(name, text, len);
		name[len] = '\0';
		strcpy(rest, text + len);

		next = at;
		if (!strcmp(name, "..")) {
			next = in->entries[at].parent;
		} else if (strcmp(name, ".")) {
			next = find(in, at, name);
			if (!next)
				return -ENOENT;
		}
		e = &in->entries[next];
		if (e->type == DENTRY_LINK &&
		    (rest[0] || path->flags & LOOKUP_FOLLOW)) {
			if (links++ == MAX_SYMLINKS)
				return -ELOOP;
			at = 0;
			strcpy(text, e->target);
			strcat(text, rest);
		} else {
			at = next;
			strcpy(text, rest);
		}
	}
	return at + 2;
}

static u64 model(void *input, u32 rep)
{
	const struct input *in = input;
	u64 digest = rep;
	u32 i;

	for (i = 0; i < in->nr_paths; i++)
		digest = mix(digest, resolve(in, &in->paths[i]));
	return digest;
}

static void release(void *input)
{
	struct input *in = input;
	u32 i;

	for (i = in->nr_entries; i--; ) {
		if (d_remove(in->entries[i].dentry))
			abort();
		free(in->entries[i].target);
	}
	for (i = 0; i < in->nr_paths; i++)
		free(in->paths[i].buffer);
	free(in->paths);
	free(in->entries);
	free(in->dirs);
	free(in);
}

const struct workload path_lookup_workload = {
	.name = "path-lookup",
	.summary = "2 N paths in a tree of N names",
	.max_size = 8192,
	.prepare = prepare,
	.work = path_lookup_work,
	.model = model,
	.release = release,
};

// SPDX-License-Identifier: Apache-2.0
#include <linux/slab.h>
#include <linux/string.h>

#include "test.h"

#define OBJECTS	2000

static u8 *objects[OBJECTS];

static void distinct_objects(void)
{
	static const u32 sizes[] = { 1, 7, 8, 9, 24, 100, 1000, 4096 };
	struct kmem_cache *cache;
	u32 i, k, nr;

	for (k = 0; k < ARRAY_SIZE(sizes); k++) {
		cache = kmem_cache_create("test", sizes[k], 0, 0);
		nr = sizes[k] > 1000 ? 100 : OBJECTS;
		for (i = 0; i < nr; i++) {
			objects[i] = kmem_cache_alloc(cache);
			memset(objects[i], i, sizes[k]);
		}
		for (i = 0; i < nr; i++)
			EXPECT(!memchr_inv(objects[i], i, sizes[k]));
		EXPECT(kmem_cache_destroy(cache) > 0);
		for (i = 0; i < nr; i++)
			kmem_cache_free(cache, objects[i]);
		EXPECT_EQ(kmem_cache_destroy(cache), 0);
	}
}

static void alignment(void)
{
	struct kmem_cache *cache;
	size_t align;
	u32 i;

	for (align = 1; align <= 4096; align *= 2) {
		cache = kmem_cache_create("test", 24, align, 0);
		for (i = 0; i < 50; i++) {
			objects[i] = kmem_cache_alloc(cache);
			EXPECT(IS_ALIGNED((unsigned long)objects[i], align));
			EXPECT(IS_ALIGNED((unsigned long)objects[i], 8));
		}
		for (i = 0; i < 50; i++)
			kmem_cache_free(cache, objects[i]);
		EXPECT_EQ(kmem_cache_destroy(cache), 0);
	}
}

static void refused_caches(void)
{
	EXPECT(!kmem_cache_create("test", 0, 0, 0));
	EXPECT(!kmem_cache_create("test", 4097, 0, 0));
	EXPECT(!kmem_cache_create("test", 8, 24, 0));
	EXPECT(!kmem_cache_create("test", 8, 8192, 0));
}

static void empty_slabs_go_back(void)
{
	struct kmem_cache *cache = kmem_cache_create("test", 1000, 0, 0);
	u32 i;

	for (i = 0; i < OBJECTS; i++)
		objects[i] = kmem_cache_alloc(cache);
	for (i = 1; i < OBJECTS; i++)
		kmem_cache_free(cache, objects[i]);
	EXPECT_EQ(kmem_cache_shrink(cache), 1);
	kmem_cache_free(cache, NULL);
	kmem_cache_free(cache, objects[0]);
	EXPECT_EQ(kmem_cache_shrink(cache), 0);
	objects[0] = kmem_cache_alloc(cache);
	EXPECT(objects[0]);
	kmem_cache_free(cache, objects[0]);
	EXPECT_EQ(kmem_cache_destroy(cache), 0);
}

static void poison_is_looked_at(void)
{
	struct kmem_cache *cache = kmem_cache_create("test", 50, 0, SLAB_POISON);
	u8 *object = kmem_cache_alloc(cache);

	memset(object, 0, 50);
	kmem_cache_free(cache, object);
	EXPECT(kmem_cache_alloc(cache) == object);
	EXPECT_EQ(kmem_cache_corrupted(cache), 0);
	kmem_cache_free(cache, object);
	object[49] ^= 1;
	EXPECT(kmem_cache_alloc(cache) == object);
	EXPECT_EQ(kmem_cache_corrupted(cache), 1);
	kmem_cache_free(cache, object);
	EXPECT_EQ(kmem_cache_destroy(cache), 0);
}

static void kmalloc_sizes(void)
{
	u8 *p, *q;
	u32 size;

	for (size = 0; size < 5000; size++) {
		p = kmalloc(size);
		q = kmalloc(size);
		EXPECT(p && q && p != q);
		EXPECT(IS_ALIGNED((unsigned long)p, 16));
		memset(p, 1, size);
		memset(q, 2, size);
		EXPECT(!memchr_inv(p, 1, size));
		kfree(p);
		EXPECT(!memchr_inv(q, 2, size));
		kfree(q);
	}
	kfree(NULL);
	EXPECT(!kmalloc((size_t)-1));
}

TEST_SUITE(slab, { "distinct_objects", distinct_objects },
	   { "alignment", alignment },
	   { "refused_caches", refused_caches },
	   { "empty_slabs_go_back", empty_slabs_go_back },
	   { "poison_is_looked_at", poison_is_looked_at },
	   { "kmalloc_sizes", kmalloc_sizes });

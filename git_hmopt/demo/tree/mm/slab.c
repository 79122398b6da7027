// SPDX-License-Identifier: Apache-2.0
/*
 * Objects of one size, cut from slabs of 16 KiB. A slab's header stands at its
 * start, and slabs are aligned to their size, so an object's slab is found by
 * masking its address. Free objects are chained through their own bytes.
 */
#include <linux/kernel.h>
#include <linux/init.h>
#include <linux/slab.h>
#include <linux/list.h>
#include <linux/string.h>
#include <stdlib.h>

#define SLAB_BYTES	(16ul << 10)
#define SLAB_KEEP	4u	/* empty slabs a cache does not give back */
#define POISON_FREE	0x6b
#define KMALLOC_ALIGN	16

struct slab {
	struct list_head list;		/* of the cache's partial or full ones */
	struct kmem_cache *cache;	/* NULL: one large kmalloc() */
	void *freelist;
	unsigned int inuse;
};

struct kmem_cache {
	const char *name;
	unsigned int size;		/* of an object and its padding */
	unsigned int object_size;
	unsigned int first;		/* offset of a slab's first object */
	unsigned int per_slab;
	unsigned int free_offset;	/* of the link in a free object */
	unsigned int flags;
	unsigned int nr_slabs, nr_empty;
	unsigned int corrupted;
	struct list_head partial;	/* the empty ones stand at its end */
	struct list_head full;
};

static const unsigned int kmalloc_sizes[] = {
	16, 32, 48, 64, 96, 128, 192, 256, 512, 1024, KMALLOC_MAX_CACHED,
};

static struct kmem_cache kmalloc_caches[ARRAY_SIZE(kmalloc_sizes)];
/* The cache for a size, by (size - 1) / 16. */
static u8 kmalloc_index[KMALLOC_MAX_CACHED / 16];

static inline struct slab *slab_of(const void *object)
{
	return (struct slab *)ALIGN_DOWN((unsigned long)object, SLAB_BYTES);
}

static inline void **free_link(const struct kmem_cache *cache, void *object)
{
	return (void **)((char *)object + cache->free_offset);
}

static void cache_init(struct kmem_cache *cache, const char *name, size_t size,
		       size_t align, unsigned int flags)
{
	align = max(align, sizeof(void *));
	memset(cache, 0, sizeof(*cache));
	cache->name = name;
	cache->flags = flags;
	cache->object_size = size;
	/* The link must not overwrite the poison that is looked at. */
	if (flags & SLAB_POISON)
		cache->free_offset = ALIGN(size, sizeof(void *));
	cache->size = ALIGN(max(size, cache->free_offset + sizeof(void *)),
			    align);
	cache->first = ALIGN(sizeof(struct slab), align);
	cache->per_slab = (SLAB_BYTES - cache->first) / cache->size;
	INIT_LIST_HEAD(&cache->partial);
	INIT_LIST_HEAD(&cache->full);
}

/**
 * kmem_cache_create - make a cache of objects
 * @name: for people; not copied
 * @size: bytes of an object, at most 4096
 * @align: a power of two up to 4096, or 0
 * @flags: SLAB_POISON
 *
 * Return: the cache, or NULL when there is no memory or no such cache.
 */
struct kmem_cache *kmem_cache_create(const char *name, size_t size,
				     size_t align, unsigned int flags)
{
	struct kmem_cache *cache;

	if (!size || size > 4096 || align > 4096)
		return NULL;
	if (align && !is_power_of_2(align))
		return NULL;

	cache = malloc(sizeof(*cache));
	if (cache)
		cache_init(cache, name, size, align, flags);
	return cache;
}

static struct slab *slab_new(struct kmem_cache *cache)
{
	struct slab *slab = aligned_alloc(SLAB_BYTES, SLAB_BYTES);
	void *next = NULL;
	unsigned int i;
	char *object;

	if (!slab)
		return NULL;
	slab->cache = cache;
	slab->inuse = 0;
	for (i = cache->per_slab; i--; ) {
		object = (char *)slab + cache->first + i * cache->size;
		if (cache->flags & SLAB_POISON)
			memset(object, POISON_FREE, cache->object_size);
		*free_link(cache, object) = next;
		next = object;
	}
	slab->freelist = next;
	list_add(&slab->list, &cache->partial);
	cache->nr_slabs++;
	cache->nr_empty++;
	return slab;
}

static void slab_release(struct kmem_cache *cache, struct slab *slab)
{
	list_del_init(&slab->list);
	cache->nr_slabs--;
	cache->nr_empty--;
	free(slab);
}

/* Return an object with undefined contents, NULL without memory. */
void *kmem_cache_alloc(struct kmem_cache *cache)
{
	struct slab *slab;
	void *object;

	if (likely(!list_empty(&cache->partial))) {
		slab = list_first_entry(&cache->partial, struct slab, list);
	} else {
		slab = slab_new(cache);
		if (!slab)
			return NULL;
	}

	object = slab->freelist;
	slab->freelist = *free_link(cache, object);
	if (!slab->inuse++)
		cache->nr_empty--;
	if (!slab->freelist)
		list_move(&slab->list, &cache->full);

	if ((cache->flags & SLAB_POISON) &&
	    memchr_inv(object, POISON_FREE, cache->object_size))
		cache->corrupted++;
	return object;
}

/* Give back what kmem_cache_alloc() of this cache returned, or NULL. */
void kmem_cache_free(struct kmem_cache *cache, void *object)
{
	struct slab *slab;

	if (!object)
		return;
	slab = slab_of(object);
	if (cache->flags & SLAB_POISON)
		memset(object, POISON_FREE, cache->object_size);

	if (!slab->freelist)
		list_move(&slab->list, &cache->partial);
	*free_link(cache, object) = slab->freelist;
	slab->freelist = object;
	if (--slab->inuse)
		return;

	/* An empty slab is used last, so that others can become empty. */
	cache->nr_empty++;
	list_del_init(&slab->list);
	list_add_tail(&slab->list, &cache->partial);
	if (cache->nr_empty > SLAB_KEEP)
		slab_release(cache, slab);
}

/* Give back all empty slabs and return how many slabs are left. */
unsigned int kmem_cache_shrink(struct kmem_cache *cache)
{
	struct list_head *at, *next;
	struct slab *slab;

	for (at = cache->partial.next; at != &cache->partial; at = next) {
		next = at->next;
		slab = container_of(at, struct slab, list);
		if (!slab->inuse)
			slab_release(cache, slab);
	}
	return cache->nr_slabs;
}

/* Return how many objects were written to while they were free. */
unsigned int kmem_cache_corrupted(const struct kmem_cache *cache)
{
	return cache->corrupted;
}

/* Free a cache unless objects are in use; return how many slabs hold some. */
unsigned int kmem_cache_destroy(struct kmem_cache *cache)
{
	unsigned int left = kmem_cache_shrink(cache);

	if (!left)
		free(cache);
	return left;
}

static void *kmalloc_large(size_t size)
{
	size_t header = ALIGN(sizeof(struct slab), KMALLOC_ALIGN);
	struct slab *slab;

	if (size > (size_t)-1 - header - SLAB_BYTES)
		return NULL;
	slab = aligned_alloc(SLAB_BYTES, ALIGN(header + size, SLAB_BYTES));
	if (!slab)
		return NULL;
	slab->cache = NULL;
	return (char *)slab + header;
}

/* Return at least @size bytes, aligned for any type; NULL without memory. */
void *kmalloc(size_t size)
{
	if (unlikely(size > KMALLOC_MAX_CACHED))
		return kmalloc_large(size);
	if (!size)
		size = 1;
	return kmem_cache_alloc(&kmalloc_caches[kmalloc_index[(size - 1) / 16]]);
}

void kfree(const void *object)
{
	struct slab *slab;

	if (!object)
		return;
	slab = slab_of(object);
	if (likely(slab->cache))
		kmem_cache_free(slab->cache, (void *)object);
	else
		free(slab);
}

static int __init kmalloc_init(void)
{
	unsigned int i, index = 0;

	for (i = 0; i < ARRAY_SIZE(kmalloc_sizes); i++)
		cache_init(&kmalloc_caches[i], "kmalloc", kmalloc_sizes[i],
			   KMALLOC_ALIGN, 0);
	for (i = 0; i < ARRAY_SIZE(kmalloc_index); i++) {
		while (kmalloc_sizes[index] < (i + 1) * 16)
			index++;
		kmalloc_index[i] = index;
	}
	return 0;
}
early_initcall(kmalloc_init);

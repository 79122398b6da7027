/* SPDX-License-Identifier: Apache-2.0 */
#ifndef _LINUX_SLAB_H
#define _LINUX_SLAB_H

#include <linux/compiler.h>
#include <linux/types.h>

#define SLAB_POISON		0x1u	/* fill freed objects, look for writes */
#define KMALLOC_MAX_CACHED	2048

struct kmem_cache;

struct kmem_cache *kmem_cache_create(const char *name, size_t size,
				     size_t align, unsigned int flags);
unsigned int kmem_cache_destroy(struct kmem_cache *cache);
void *kmem_cache_alloc(struct kmem_cache *cache);
void kmem_cache_free(struct kmem_cache *cache, void *object);
unsigned int kmem_cache_shrink(struct kmem_cache *cache);
unsigned int kmem_cache_corrupted(const struct kmem_cache *cache);

void *kmalloc(size_t size);
void kfree(const void *object);

#endif /* _LINUX_SLAB_H */

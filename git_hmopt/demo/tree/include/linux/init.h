/* SPDX-License-Identifier: Apache-2.0 */
#ifndef _LINUX_INIT_H
#define _LINUX_INIT_H

#include <linux/compiler.h>

/* Runs once and is no neighbour for what runs often. */
#define __init	__cold

typedef int (*initcall_t)(void);

/*
 * Runs before main(), in no order that could be relied on: an early initcall
 * uses nothing that another one sets up.
 */
#define early_initcall(fn) \
	static initcall_t __initcall_##fn \
	__attribute__((__used__, __section__(".init_array"))) = (fn)

#endif /* _LINUX_INIT_H */

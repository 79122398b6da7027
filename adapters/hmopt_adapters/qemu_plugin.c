/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts what a QEMU guest executes between two marker addresses.
 *
 * Arguments (key=value):
 *   begin=ADDR      counting starts when the block at ADDR is entered (that block is counted)
 *   end=ADDR        counting stops when the block at ADDR is entered (that block is not counted)
 *   out=FILE        totals of the window, as text
 *   blocks=FILE     optional: executions of each translation block in the window
 *   addresses=FILE  optional: the addresses of each block's instructions, line for line with blocks
 *
 * The counters are bumped by code QEMU inlines into the guest's blocks, always, and snapshots are taken at the
 * markers: a switch tested in every block would cost more than the counting. One counter is bumped by every
 * instruction, so the total holds even where a fault leaves a block early; the block counters then claim more, and
 * whoever compares the two totals sees it. An instruction that is started again (after a fault, or a device access
 * that icount wants at a block's end) counts each time it is started; `rep` counts each repetition.
 *
 * No distribution packages the plugin header, so what is used of version 1 of the interface is declared here.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct guest_info {
	const char *target_name;
	struct {
		int min, cur;
	} version;
	bool system_emulation;
	struct {
		int smp_vcpus, max_vcpus;
	} system;
};
enum { CALLBACK_NO_REGISTERS = 0, INLINE_ADD_U64 = 0 };

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, void (*cb)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, void (*cb)(unsigned int, void *), int flags,
					  void *userdata);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *tb, int op, void *counter, uint64_t add);
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *insn, int op, void *counter, uint64_t add);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
void qemu_plugin_register_atexit_cb(plugin_id id, void (*cb)(plugin_id, void *), void *userdata);

EXPORT int qemu_plugin_version = 1;
EXPORT int qemu_plugin_install(plugin_id id, const struct guest_info *info, int argc, char **argv);

struct block {
	struct block *next;	 /* in its hash bucket */
	uint64_t executions;	 /* since the guest started; QEMU's inlined code adds here and below */
	uint64_t finished;	 /* executions of the last instruction */
	uint64_t at_begin;	 /* executions when the window opened */
	uint64_t in_window;
	uint64_t vaddr;
	size_t insns;
	uint64_t address[];	 /* of each instruction */
};

#define BUCKETS 65536
static struct block *buckets[BUCKETS];
static size_t block_count;

static uint64_t begin_address, end_address;
static const char *out_file, *blocks_file, *addresses_file;

static uint64_t executed;	 /* instructions since the guest started */
static uint64_t executed_at_begin, executed_in_window;
static uint64_t windows;	 /* whole ones */
static uint64_t stray;		 /* a begin inside a window, an end outside one */
static bool inside;

static void each_block(void (*visit)(struct block *, void *), void *arg)
{
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct block *b = buckets[i]; b; b = b->next)
			visit(b, arg);
}

static void open_block(struct block *b, void *unused)
{
	(void)unused;
	b->at_begin = b->executions;
}

static void close_block(struct block *b, void *unused)
{
	(void)unused;
	b->in_window += b->executions - b->at_begin;
}

/* QEMU calls these before it bumps the block's own counters. */
static void window_begin(unsigned int vcpu, void *unused)
{
	(void)vcpu;
	(void)unused;
	if (inside) {
		stray++;
		return;
	}
	inside = true;
	executed_at_begin = executed;
	each_block(open_block, NULL);
}

static void window_end(unsigned int vcpu, void *unused)
{
	(void)vcpu;
	(void)unused;
	if (!inside) {
		stray++;
		return;
	}
	inside = false;
	executed_in_window += executed - executed_at_begin;
	each_block(close_block, NULL);
	windows++;
}

static bool same_block(const struct block *b, const struct qemu_plugin_tb *tb, size_t insns)
{
	if (b->vaddr != qemu_plugin_tb_vaddr(tb) || b->insns != insns)
		return false;
	for (size_t i = 0; i < insns; i++)
		if (b->address[i] != qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, i)))
			return false;
	return true;
}

/* QEMU translates a block again whenever its cache was flushed or its length limited: all of them are one block. */
static struct block *block_of(const struct qemu_plugin_tb *tb, size_t insns)
{
	uint64_t vaddr = qemu_plugin_tb_vaddr(tb);
	struct block **bucket = &buckets[((vaddr ^ vaddr >> 16) + insns) % BUCKETS];
	struct block *b;

	for (b = *bucket; b; b = b->next)
		if (same_block(b, tb, insns))
			return b;
	b = calloc(1, sizeof(*b) + insns * sizeof(b->address[0]));
	if (!b) {
		fputs("hmopt plugin: out of memory\n", stderr);
		exit(1);
	}
	b->vaddr = vaddr;
	b->insns = insns;
	for (size_t i = 0; i < insns; i++)
		b->address[i] = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, i));
	b->next = *bucket;
	*bucket = b;
	block_count++;
	return b;
}

static void count_block(struct qemu_plugin_tb *tb, size_t insns)
{
	struct block *b = block_of(tb, insns);

	qemu_plugin_register_vcpu_tb_exec_inline(tb, INLINE_ADD_U64, &b->executions, 1);
	qemu_plugin_register_vcpu_insn_exec_inline(qemu_plugin_tb_get_insn(tb, insns - 1), INLINE_ADD_U64,
						   &b->finished, 1);
}

static void translated(plugin_id id, struct qemu_plugin_tb *tb)
{
	size_t insns = qemu_plugin_tb_n_insns(tb);
	uint64_t vaddr = qemu_plugin_tb_vaddr(tb);

	(void)id;
	if (vaddr == begin_address)
		qemu_plugin_register_vcpu_tb_exec_cb(tb, window_begin, CALLBACK_NO_REGISTERS, NULL);
	if (vaddr == end_address)
		qemu_plugin_register_vcpu_tb_exec_cb(tb, window_end, CALLBACK_NO_REGISTERS, NULL);
	for (size_t i = 0; i < insns; i++)
		qemu_plugin_register_vcpu_insn_exec_inline(qemu_plugin_tb_get_insn(tb, i), INLINE_ADD_U64, &executed,
							   1);
	if (blocks_file && insns)
		count_block(tb, insns);
}

static int by_address(const void *left, const void *right)
{
	const struct block *a = *(struct block *const *)left, *b = *(struct block *const *)right;

	if (a->vaddr != b->vaddr)
		return a->vaddr < b->vaddr ? -1 : 1;
	if (a->insns != b->insns)
		return a->insns < b->insns ? -1 : 1;
	return memcmp(a->address, b->address, a->insns * sizeof(a->address[0]));
}

static FILE *create(const char *path)
{
	FILE *f = fopen(path, "w");

	if (!f)
		fprintf(stderr, "hmopt plugin: cannot write %s: %s\n", path, strerror(errno));
	return f;
}

/* A full disk leaves a file cut short: the totals then lack their last line, the blocks do not add up to them. */
static void finish(FILE *f, const char *path)
{
	bool failed = ferror(f);

	if (fclose(f) || failed)
		fprintf(stderr, "hmopt plugin: cannot write %s: %s\n", path, strerror(errno));
}

struct executed_blocks {
	struct block **list;
	size_t count;
};

static void collect(struct block *b, void *arg)
{
	struct executed_blocks *found = arg;

	if (!b->in_window)
		return;
	/*
	 * QEMU 7.2's x86 translator takes an instruction that crosses a page back out of the block it was about to
	 * end, but the plugin is still told of it. Such an instruction never runs as part of that block.
	 */
	if (!b->finished)
		b->insns--;
	if (b->insns)
		found->list[found->count++] = b;
}

/* Two blocks that differed in such an instruction are one. */
static void merge(struct executed_blocks *found)
{
	size_t kept = 0;

	for (size_t i = 0; i < found->count; i++) {
		if (kept && !by_address(&found->list[kept - 1], &found->list[i]))
			found->list[kept - 1]->in_window += found->list[i]->in_window;
		else
			found->list[kept++] = found->list[i];
	}
	found->count = kept;
}

static uint64_t write_blocks(const struct executed_blocks *found)
{
	FILE *counts = create(blocks_file), *addresses = addresses_file ? create(addresses_file) : NULL;
	uint64_t total = 0;

	if (counts)
		fputs("hmopt-blocks 1\n", counts);
	if (addresses)
		fputs("hmopt-block-addresses 1\n", addresses);
	for (size_t i = 0; i < found->count; i++) {
		const struct block *b = found->list[i];

		total += b->in_window * b->insns;
		if (counts)
			fprintf(counts, "%" PRIx64 " %zu %" PRIu64 "\n", b->vaddr, b->insns, b->in_window);
		if (!addresses)
			continue;
		fprintf(addresses, "%" PRIx64, b->vaddr);
		for (size_t j = 0; j < b->insns; j++)
			fprintf(addresses, " %" PRIx64, b->address[j]);
		fputc('\n', addresses);
	}
	if (counts)
		finish(counts, blocks_file);
	if (addresses)
		finish(addresses, addresses_file);
	return total;
}

static void report(plugin_id id, void *unused)
{
	struct executed_blocks found = { calloc(block_count + 1, sizeof(struct block *)), 0 };
	FILE *out = create(out_file);

	(void)id;
	(void)unused;
	if (!out || !found.list)
		return;
	fprintf(out, "hmopt-window 1\nwindows %" PRIu64 "\nopen %d\nstray %" PRIu64 "\ninstructions %" PRIu64 "\n",
		windows, inside, stray, executed_in_window);
	if (blocks_file) {
		each_block(collect, &found);
		qsort(found.list, found.count, sizeof(found.list[0]), by_address);
		merge(&found);
		fprintf(out, "blocks %zu\nblock-instructions %" PRIu64 "\n", found.count, write_blocks(&found));
	}
	fputs("end\n", out);
	finish(out, out_file);
	free(found.list);
}

static bool parse_address(const char *text, uint64_t *address)
{
	char *rest;

	errno = 0;
	*address = strtoull(text, &rest, 16);
	return !errno && rest != text && !*rest;
}

static bool parse_argument(const char *argument)
{
	if (!strncmp(argument, "begin=", 6))
		return parse_address(argument + 6, &begin_address);
	if (!strncmp(argument, "end=", 4))
		return parse_address(argument + 4, &end_address);
	if (!strncmp(argument, "out=", 4))
		out_file = argument + 4;
	else if (!strncmp(argument, "blocks=", 7))
		blocks_file = argument + 7;
	else if (!strncmp(argument, "addresses=", 10))
		addresses_file = argument + 10;
	else
		return false;
	return true;
}

EXPORT int qemu_plugin_install(plugin_id id, const struct guest_info *info, int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		if (!parse_argument(argv[i])) {
			fprintf(stderr, "hmopt plugin: bad argument '%s'\n", argv[i]);
			return 1;
		}
	}
	if (!out_file || !begin_address || !end_address || begin_address == end_address) {
		fputs("hmopt plugin: begin=, end= (different addresses) and out= are needed\n", stderr);
		return 1;
	}
	/* Inlined additions are not atomic. */
	if (!info->system_emulation || info->system.max_vcpus != 1) {
		fputs("hmopt plugin: only whole systems with one processor are counted\n", stderr);
		return 1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, report, NULL);
	return 0;
}

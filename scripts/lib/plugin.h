/* SPDX-License-Identifier: GPL-2.0 */
/* What the plugins for QEMU share: its API, registers, symbols. */
#ifndef PLUGIN_H
#define PLUGIN_H

#include <glib.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * The part of QEMU's plugin API that is used here, version 4 (QEMU 10), as its
 * documentation has it. The header is in QEMU's source only.
 */
#define EXPORT __attribute__((visibility("default")))
#define PLUGIN_VERSION 4

typedef uint64_t qemu_plugin_id_t;
typedef uint32_t qemu_plugin_meminfo_t;

typedef struct {
	const char *target_name;
	struct {
		int min;
		int cur;
	} version;
	bool system_emulation;
	union {
		struct {
			int smp_vcpus;
			int max_vcpus;
		} system;
	};
} qemu_info_t;

struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_scoreboard;
struct qemu_plugin_register;

typedef struct {
	struct qemu_plugin_scoreboard *score;
	size_t offset;
} qemu_plugin_u64;

typedef struct {
	struct qemu_plugin_register *handle;
	const char *name;
	const char *feature;
} qemu_plugin_reg_descriptor;

enum qemu_plugin_cb_flags { CB_NO_REGS, CB_R_REGS, CB_RW_REGS };
enum qemu_plugin_mem_rw { MEM_R = 1, MEM_W, MEM_RW };
enum qemu_plugin_op { INLINE_ADD_U64, INLINE_STORE_U64 };
enum qemu_plugin_cond { COND_NEVER, COND_ALWAYS, COND_EQ, COND_NE };

void qemu_plugin_register_vcpu_init_cb(qemu_plugin_id_t id,
		void (*cb)(qemu_plugin_id_t id, unsigned int vcpu));
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
		void (*cb)(qemu_plugin_id_t id, struct qemu_plugin_tb *tb));
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id,
		void (*cb)(qemu_plugin_id_t id, void *data), void *data);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
		void (*cb)(unsigned int vcpu, void *data),
		enum qemu_plugin_cb_flags flags, void *data);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb,
		void (*cb)(unsigned int vcpu, void *data),
		enum qemu_plugin_cb_flags flags, void *data);
void qemu_plugin_register_vcpu_tb_exec_cond_cb(struct qemu_plugin_tb *tb,
		void (*cb)(unsigned int vcpu, void *data),
		enum qemu_plugin_cb_flags flags, enum qemu_plugin_cond cond,
		qemu_plugin_u64 entry, uint64_t imm, void *data);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn,
		void (*cb)(unsigned int vcpu, qemu_plugin_meminfo_t info,
			   uint64_t vaddr, void *data),
		enum qemu_plugin_cb_flags flags, enum qemu_plugin_mem_rw rw,
		void *data);
bool qemu_plugin_mem_is_store(qemu_plugin_meminfo_t info);
void qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(
		struct qemu_plugin_insn *insn, enum qemu_plugin_op op,
		qemu_plugin_u64 entry, uint64_t imm);
struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t size);
void *qemu_plugin_scoreboard_find(struct qemu_plugin_scoreboard *score,
		unsigned int vcpu);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb,
		size_t i);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *dest,
		size_t len);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
GArray *qemu_plugin_get_registers(void);
int qemu_plugin_read_register(struct qemu_plugin_register *reg, GByteArray *buf);
bool qemu_plugin_read_memory_vaddr(uint64_t addr, GByteArray *data, size_t len);

EXPORT int qemu_plugin_version = PLUGIN_VERSION;
EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info,
		int argc, char **argv);

/* Kernel stacks are THREAD_SIZE large and aligned, so they name a task */
#define STACK_SHIFT	14

/* A symbol of the kernel */
struct symbol {
	uint64_t addr;
	char *name;
};

static bool is_arm64;
static struct qemu_plugin_register *reg_sp, *reg_arg, *reg_link;
static GByteArray *buffer;
static GArray *symbols;		/* by address */

__attribute__((noreturn, format(printf, 1, 2)))
static void fail(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "qemu plugin: ");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

static uint64_t buffer_u64(void)
{
	uint64_t value = 0;

	memcpy(&value, buffer->data, MIN(buffer->len, sizeof(value)));
	return value;
}

static uint64_t read_reg(struct qemu_plugin_register *reg)
{
	g_byte_array_set_size(buffer, 0);
	if (qemu_plugin_read_register(reg, buffer) <= 0)
		fail("a register can't be read");
	return buffer_u64();
}

static uint64_t read_u64(uint64_t addr)
{
	g_byte_array_set_size(buffer, 0);
	if (!qemu_plugin_read_memory_vaddr(addr, buffer, sizeof(uint64_t)))
		fail("no memory at %#" PRIx64, addr);
	return buffer_u64();
}

/* The architecture that the guest has */
static void find_target(const qemu_info_t *info)
{
	is_arm64 = !strcmp(info->target_name, "aarch64");
	if (!is_arm64 && strcmp(info->target_name, "x86_64"))
		fail("no support for %s", info->target_name);
	buffer = g_byte_array_new();
}

static struct qemu_plugin_register *find_register(const char *name)
{
	GArray *regs = qemu_plugin_get_registers();
	struct qemu_plugin_register *reg = NULL;
	unsigned int i;

	for (i = 0; i < regs->len; i++) {
		qemu_plugin_reg_descriptor *d =
			&g_array_index(regs, qemu_plugin_reg_descriptor, i);

		if (!strcmp(d->name, name))
			reg = d->handle;
	}
	g_array_free(regs, true);
	if (!reg)
		fail("QEMU does not show the register %s", name);
	return reg;
}

static void find_registers(void)
{
	reg_sp = find_register(is_arm64 ? "sp" : "rsp");
	reg_arg = find_register(is_arm64 ? "x0" : "rdi");
	if (is_arm64)
		reg_link = find_register("x30");
}

/* At the entry of a function: where it returns to, and the stack pointer there */
static uint64_t return_address(uint64_t *sp)
{
	uint64_t ret;

	if (is_arm64)
		return read_reg(reg_link);
	ret = read_u64(*sp);
	*sp += sizeof(uint64_t);
	return ret;
}

static bool is_kernel(uint64_t addr)
{
	return addr >> 63;
}

static int compare_symbols(const void *a, const void *b)
{
	uint64_t x = ((const struct symbol *)a)->addr;
	uint64_t y = ((const struct symbol *)b)->addr;

	return x < y ? -1 : x > y;
}

/* Functions, and the stack of the idle task */
static void read_symbols(const char *path)
{
	char line[512], name[384], type;
	FILE *map = fopen(path, "r");
	struct symbol s;

	if (!map)
		fail("%s can't be read", path);
	symbols = g_array_new(false, false, sizeof(struct symbol));
	while (fgets(line, sizeof(line), map)) {
		if (sscanf(line, "%" SCNx64 " %c %383s", &s.addr, &type, name) != 3)
			continue;
		if (type != 't' && type != 'T' && strcmp(name, "init_stack"))
			continue;
		s.name = g_strdup(name);
		g_array_append_val(symbols, s);
	}
	fclose(map);
	g_array_sort(symbols, compare_symbols);
}

/* NAME, or what the compiler makes of it: NAME.isra.0, NAME.constprop.0 */
static bool is_name(const char *symbol, const char *name)
{
	size_t len = strlen(name);

	return !strncmp(symbol, name, len) &&
	       (!symbol[len] || !strncmp(symbol + len, ".isra.", 6) ||
		!strncmp(symbol + len, ".constprop.", 11));
}

/* 0 if the kernel has no such function */
static uint64_t symbol_addr(const char *name)
{
	unsigned int i;

	for (i = 0; i < symbols->len; i++) {
		struct symbol *s = &g_array_index(symbols, struct symbol, i);

		if (is_name(s->name, name))
			return s->addr;
	}
	return 0;
}

/* The next symbol's address */
__attribute__((unused))
static uint64_t symbol_end(uint64_t addr)
{
	unsigned int i;

	for (i = 0; i < symbols->len; i++) {
		struct symbol *s = &g_array_index(symbols, struct symbol, i);

		if (s->addr > addr)
			return s->addr;
	}
	return addr;
}

/* The function that an address is in */
__attribute__((unused))
static const char *symbol_name(uint64_t addr)
{
	const char *name = "?";
	unsigned int i;

	for (i = 0; i < symbols->len; i++) {
		struct symbol *s = &g_array_index(symbols, struct symbol, i);

		if (s->addr > addr)
			break;
		name = s->name;
	}
	return name;
}

#endif /* PLUGIN_H */

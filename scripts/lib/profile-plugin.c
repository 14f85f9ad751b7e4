// SPDX-License-Identifier: GPL-2.0
/*
 * A QEMU TCG plugin that counts what kernel functions cost.
 *
 * For each watched function: calls, and between entry and return, callees
 * included, the instructions and the atomic read-modify-write operations; and for
 * one function (lock-in=), how many of its instructions run while it holds a
 * spinlock that it took itself. What runs while another task has the CPU is not
 * counted; an interrupt on the way is.
 *
 * The guest divides time into phases: each personality(0xffffffff), which does
 * nothing, begins the next one. Instructions of a phase are also counted by task,
 * a task being its kernel stack.
 *
 * One vCPU only. Arguments: map=System.map out=FILE fn=NAME... lock-in=NAME
 * worker=NAME... (tasks that run one of these are workers). fn=NAME@CALLER counts
 * only calls from CALLER.
 *
 * Output, a line each:
 *   phase N fn NAME CALLS INSTRUCTIONS ATOMICS LOCKED-INSTRUCTIONS
 *   phase N task KIND INSTRUCTIONS ATOMICS
 */
#include "plugin.h"

#define MAX_PHASES	64
#define MAX_FUNCTIONS	64
#define MAX_FRAMES	256

struct counters {
	uint64_t insns;
	uint64_t atomics;
};

struct board {
	struct counters counters;
	uint64_t nr_frames;
};

enum kind { FN_WATCHED, FN_SPIN_LOCK, FN_SPIN_UNLOCK, FN_SWITCH, FN_PHASE };

struct function {
	enum kind kind;
	const char *name;	/* with @CALLER */
	char *symbol;
	uint64_t addr;
	uint64_t end;
	char *caller;
	uint64_t caller_addr;
	uint64_t caller_end;
	bool is_worker;
	struct {
		uint64_t calls;
		uint64_t locked;
		struct counters sum;
	} phases[MAX_PHASES];
};

/* A call that has not returned */
struct frame {
	struct function *fn;
	uint64_t ret;		/* where it returns to */
	uint64_t sp;		/* and the stack pointer there */
	uint64_t lock;		/* of FN_SPIN_LOCK: the lock */
	uint64_t locked;	/* instructions with the lock held */
	struct counters start;
	struct counters away;	/* when its task lost the CPU, and what ran since */
	bool is_away;
	unsigned int phase;
};

struct task {
	uint64_t stack;
	bool is_worker;
	struct counters phases[MAX_PHASES];
};

static const char *out_path;
static struct function functions[MAX_FUNCTIONS];
static unsigned int nr_functions;
static struct frame frames[MAX_FRAMES];
static uint64_t *nr_frames;		/* in the board */
static GHashTable *tasks;
static struct task *current_task;
static struct counters task_start;
static unsigned int phase;
static uint64_t idle_stack;

static struct function *lock_in;
static uint64_t held_lock;
static struct counters held_start;

static struct qemu_plugin_scoreboard *board;
static qemu_plugin_u64 board_insns, board_atomics, board_nr_frames;

static struct counters now(void)
{
	return ((struct board *)qemu_plugin_scoreboard_find(board, 0))->counters;
}

static struct counters since(struct counters start)
{
	struct counters c = now();

	c.insns -= start.insns;
	c.atomics -= start.atomics;
	return c;
}

static void add(struct counters *to, struct counters c)
{
	to->insns += c.insns;
	to->atomics += c.atomics;
}

static struct task *find_task(uint64_t sp)
{
	uint64_t stack = sp >> STACK_SHIFT;
	struct task *task = g_hash_table_lookup(tasks, (void *)stack);

	if (!task) {
		task = g_new0(struct task, 1);
		task->stack = stack;
		g_hash_table_insert(tasks, (void *)stack, task);
	}
	return task;
}

/* What ran since the last call of this belongs to the current task */
static void settle_task(void)
{
	if (current_task)
		add(&current_task->phases[phase], since(task_start));
	task_start = now();
}

/* The scheduler is on the stack of the next task */
static void on_switch(uint64_t sp)
{
	struct task *next = find_task(sp);
	unsigned int i;

	if (next == current_task)
		return;
	settle_task();
	for (i = 0; i < *nr_frames; i++) {
		struct frame *f = &frames[i];
		bool is_away = f->sp >> STACK_SHIFT != next->stack;

		if (is_away && !f->is_away) {
			f->away = now();
		} else if (!is_away && f->is_away) {
			/* as if it had begun later */
			add(&f->start, since(f->away));
		}
		f->is_away = is_away;
	}
	current_task = next;
}

static void on_phase(void)
{
	settle_task();
	if (phase + 1 < MAX_PHASES)
		phase++;
}

/* The innermost call of the function whose locks count, on this stack */
static struct frame *lock_frame(void)
{
	unsigned int i = *nr_frames;

	while (i--) {
		if (frames[i].fn == lock_in && !frames[i].is_away)
			return &frames[i];
	}
	return NULL;
}

static void on_entry(unsigned int vcpu, void *data)
{
	struct function *fn = data;
	uint64_t sp = read_reg(reg_sp), ret;
	struct frame *f;

	(void)vcpu;
	switch (fn->kind) {
	case FN_SWITCH:
		on_switch(sp);
		return;
	case FN_PHASE:
		on_phase();
		return;
	case FN_SPIN_UNLOCK:
		if (held_lock && read_reg(reg_arg) == held_lock) {
			f = lock_frame();
			if (f)
				f->locked += since(held_start).insns;
			held_lock = 0;
		}
		return;
	case FN_SPIN_LOCK:
	case FN_WATCHED:
		break;
	}

	ret = return_address(&sp);
	/* Only locks that the function itself takes */
	if (fn->kind == FN_SPIN_LOCK &&
	    (held_lock || !lock_in || ret < lock_in->addr || ret >= lock_in->end))
		return;
	if (fn->caller && (ret < fn->caller_addr || ret >= fn->caller_end))
		return;
	if (*nr_frames == MAX_FRAMES)
		fail("%s: too many calls without return", fn->name);

	f = &frames[(*nr_frames)++];
	*f = (struct frame){
		.fn = fn,
		.ret = ret,
		.sp = sp,
		.start = now(),
		.phase = phase,
	};
	if (fn->kind == FN_SPIN_LOCK)
		f->lock = read_reg(reg_arg);
	if (fn->is_worker)
		find_task(sp)->is_worker = true;
}

static void on_return(unsigned int vcpu, void *data)
{
	uint64_t pc = (uint64_t)data, sp = 0;
	unsigned int i = *nr_frames;

	(void)vcpu;
	while (i--) {
		struct frame *f = &frames[i];

		if (f->ret != pc || f->is_away)
			continue;
		if (!sp)
			sp = read_reg(reg_sp);
		if (f->sp != sp)
			continue;

		if (f->fn->kind == FN_SPIN_LOCK) {
			held_lock = f->lock;
			held_start = now();
		} else {
			f->fn->phases[f->phase].calls++;
			f->fn->phases[f->phase].locked += f->locked;
			add(&f->fn->phases[f->phase].sum, since(f->start));
		}
		memmove(f, f + 1, (--*nr_frames - i) * sizeof(*f));
	}
}

/*
 * Instructions
 */

/* With a lock prefix, or xchg with memory, which locks without one */
static bool x86_is_atomic(const uint8_t *c, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++) {
		if (c[i] == 0xf0)
			return true;
		/* other prefixes */
		if (c[i] != 0x66 && c[i] != 0x2e && c[i] != 0x3e && c[i] != 0x26 &&
		    c[i] != 0x64 && c[i] != 0x65 && c[i] != 0xf2 && c[i] != 0xf3)
			break;
	}
	if (i < len && (c[i] & 0xf0) == 0x40)
		i++;
	return i + 1 < len && (c[i] == 0x86 || c[i] == 0x87) && c[i + 1] >> 6 != 3;
}

static bool arm64_is_atomic(uint32_t c)
{
	return (c & 0x3fa07c00) == 0x08a07c00 ||	/* CAS */
	       (c & 0xbfa07c00) == 0x08207c00 ||	/* CASP */
	       (c & 0x3f200c00) == 0x38200000 ||	/* LDADD ... SWP */
	       (c & 0x3fe00000) == 0x08000000 ||	/* STXR, STLXR */
	       (c & 0xbfe00000) == 0x88200000;		/* STXP, STLXP */
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t i, n = qemu_plugin_tb_n_insns(tb);

	(void)id;
	/* A return begins a block: look for it while a call is open */
	if (is_kernel(qemu_plugin_tb_vaddr(tb)))
		qemu_plugin_register_vcpu_tb_exec_cond_cb(tb, on_return, CB_R_REGS,
			COND_NE, board_nr_frames, 0, (void *)qemu_plugin_tb_vaddr(tb));

	for (i = 0; i < n; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint64_t addr = qemu_plugin_insn_vaddr(insn);
		uint8_t code[16] = {0};
		size_t len = qemu_plugin_insn_data(insn, code, sizeof(code));
		bool is_atomic;
		uint32_t word;
		unsigned int k;

		if (is_arm64) {
			memcpy(&word, code, sizeof(word));
			is_atomic = arm64_is_atomic(word);
		} else {
			is_atomic = x86_is_atomic(code, len);
		}

		/* Callbacks first: an instruction counts as part of what it begins */
		if (is_kernel(addr)) {
			for (k = 0; k < nr_functions; k++) {
				if (functions[k].addr == addr)
					qemu_plugin_register_vcpu_insn_exec_cb(insn,
						on_entry, CB_R_REGS, &functions[k]);
			}
		}

		qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(insn, INLINE_ADD_U64,
								    board_insns, 1);
		if (is_atomic)
			qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(insn,
				INLINE_ADD_U64, board_atomics, 1);
	}
}

static void on_vcpu(qemu_plugin_id_t id, unsigned int vcpu)
{
	(void)id;
	if (vcpu)
		fail("more than one vCPU");
	nr_frames = &((struct board *)qemu_plugin_scoreboard_find(board, 0))->nr_frames;
	find_registers();
}

static const char *task_kind(const struct task *task)
{
	if (task->is_worker)
		return "worker";
	return task->stack == idle_stack >> STACK_SHIFT ? "idle" : "other";
}

static void on_exit_(qemu_plugin_id_t id, void *data)
{
	FILE *out = fopen(out_path, "w");
	unsigned int i, p;
	GHashTableIter iter;
	void *value;

	(void)id;
	(void)data;
	if (!out)
		fail("%s can't be written", out_path);
	settle_task();
	for (p = 0; p <= phase; p++) {
		for (i = 0; i < nr_functions; i++) {
			struct function *fn = &functions[i];

			if (fn->kind == FN_WATCHED)
				fprintf(out, "phase %u fn %s %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
					p, fn->name, fn->phases[p].calls,
					fn->phases[p].sum.insns, fn->phases[p].sum.atomics,
					fn->phases[p].locked);
		}
		g_hash_table_iter_init(&iter, tasks);
		while (g_hash_table_iter_next(&iter, NULL, &value)) {
			struct task *task = value;

			if (task->phases[p].insns)
				fprintf(out, "phase %u task %s %" PRIu64 " %" PRIu64 "\n", p,
					task_kind(task), task->phases[p].insns,
					task->phases[p].atomics);
		}
	}
	if (fclose(out))
		fail("%s can't be written", out_path);
}

/*
 * Arguments
 */

static struct function *watch(enum kind kind, const char *name)
{
	struct function *fn;

	if (nr_functions == MAX_FUNCTIONS)
		fail("too many functions");
	fn = &functions[nr_functions++];
	fn->kind = kind;
	fn->name = g_strdup(name);
	fn->symbol = g_strdup(name);
	fn->caller = strchr(fn->symbol, '@');
	if (fn->caller)
		*fn->caller++ = '\0';
	return fn;
}

static void find_functions(void)
{
	unsigned int i;

	for (i = 0; i < nr_functions; i++) {
		struct function *fn = &functions[i];

		fn->addr = symbol_addr(fn->symbol);
		if (!fn->addr && fn->kind != FN_WATCHED)
			fail("the kernel has no %s", fn->symbol);
		fn->end = symbol_end(fn->addr);
		if (fn->caller)
			fn->caller_addr = symbol_addr(fn->caller);
		fn->caller_end = symbol_end(fn->caller_addr);
	}
	idle_stack = symbol_addr("init_stack");
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info,
			       int argc, char **argv)
{
	const char *map = NULL;
	int i;

	find_target(info);

	for (i = 0; i < argc; i++) {
		char *eq = strchr(argv[i], '=');

		if (!eq)
			fail("unknown argument: %s", argv[i]);
		if (!strncmp(argv[i], "map=", 4))
			map = eq + 1;
		else if (!strncmp(argv[i], "out=", 4))
			out_path = g_strdup(eq + 1);
		else if (!strncmp(argv[i], "fn=", 3))
			watch(FN_WATCHED, eq + 1);
		else if (!strncmp(argv[i], "worker=", 7))
			watch(FN_WATCHED, eq + 1)->is_worker = true;
		else if (!strncmp(argv[i], "lock-in=", 8))
			lock_in = watch(FN_WATCHED, eq + 1);
		else
			fail("unknown argument: %s", argv[i]);
	}
	if (!map || !out_path)
		fail("map= and out= are needed");
	watch(FN_SPIN_LOCK, "_raw_spin_lock");
	watch(FN_SPIN_UNLOCK, "_raw_spin_unlock");
	watch(FN_SWITCH, "finish_task_switch");
	watch(FN_PHASE, is_arm64 ? "__arm64_sys_arm64_personality" : "__x64_sys_personality");
	read_symbols(map);
	find_functions();

	tasks = g_hash_table_new(NULL, NULL);
	board = qemu_plugin_scoreboard_new(sizeof(struct board));
	board_insns = (qemu_plugin_u64){ board, offsetof(struct board, counters.insns) };
	board_atomics = (qemu_plugin_u64){ board, offsetof(struct board, counters.atomics) };
	board_nr_frames = (qemu_plugin_u64){ board, offsetof(struct board, nr_frames) };
	qemu_plugin_register_vcpu_init_cb(id, on_vcpu);
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
	qemu_plugin_register_atexit_cb(id, on_exit_, NULL);
	return 0;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * A QEMU TCG plugin that writes down what a munmap() does to other CPUs: which
 * locks it takes and which cachelines that others use as well it reads and writes,
 * with the number of instructions between.
 *
 * The guest has two CPUs, and process A on CPU 0 unmaps its memory, then process B
 * on CPU 1 as much; scripts/lib/profile-guest.c does that. Each
 * personality(0xffffffff), which does nothing, begins the next phase: A unmaps in
 * phase 1, B in phase 4, and what they leave to a worker is freed until phases 3
 * and 6. It is A and its worker that are written down.
 *
 * A cacheline is a shared one if it is used for A and for B, on different CPUs, and
 * one of them writes it. Any other line is handed over where the worker uses what A
 * had, or the other way round: reads what it does not have, or writes what it does
 * not have alone. The stack of a task is left out.
 *
 * A lock is held from the call of a lock function to the call of an unlock
 * function. Locks that are not in a shared line are left out.
 *
 * QEMU runs both CPUs in one thread, a block of instructions at a time. With two
 * CPUs, QEMU 10 then tells callbacks the wrong number of the CPU, and what counts
 * without a callback breaks the guest: so which task runs is told from the stack at
 * each block, and all instructions of a block are taken as executed. Interrupts
 * have stacks of their own and are left out.
 *
 * Arguments: map=System.map out=FILE unit=NAME (a call of it begins the next page)
 * worker=NAME...
 *
 * Output: see scripts/lib/scale-sim.c.
 */
#include "plugin.h"

#define MAX_FUNCTIONS	64
#define MAX_WORKERS	8
#define MAX_TASKS	8

#define LINE_SHIFT	6
#define UPDATE_INSNS	8
#define HOT_LINES	12

enum stream { NONE, A, A_WORKER, B, B_WORKER, NR_STREAMS };

enum event_type {
	EV_UNIT, EV_READ, EV_WRITE, EV_LOCK, EV_TRYLOCK, EV_UNLOCK, EV_HANDED, EV_DROPPED,
};

static const char event_letter[] = "prwltuh";

/* When it happens is the number of instructions that the stream had before it */
struct event {
	uint64_t addr;
	uint64_t when;
	uint64_t pc;
	uint8_t type;
	uint8_t stream;
	uint8_t cpu;
};

enum kind { FN_MUNMAP, FN_WORKER, FN_UNIT, FN_LOCK, FN_TRYLOCK, FN_UNLOCK, FN_WAIT,
	    FN_PHASE };

struct function {
	enum kind kind;
	uint64_t addr;
};

/* An instruction, in its block; and the function that begins with it */
struct place {
	uint64_t pc;
	unsigned int before_end;	/* how many are not executed yet */
	const struct function *fn;
};

/* A task that is in munmap() or frees zspages, and where that returns to */
struct task {
	uint64_t stack;
	enum stream stream;
	uint8_t cpu;		/* a bit: 1 is that of A */
	uint64_t ret;
	uint64_t sp;
};

/* What is known of a cacheline */
struct line {
	uint8_t cpus_a;		/* that use it for A */
	uint8_t cpus_b;
	bool written;
	uint8_t holders;	/* streams that have it, if it is not shared */
	unsigned int id;
	uint64_t writes;	/* in munmap of A, and the last place of one */
	uint64_t pc;
};

static const char *out_path;
static struct function functions[MAX_FUNCTIONS];
static unsigned int nr_functions;
static struct task tasks[MAX_TASKS];
static struct task *current_task;	/* NULL: none of these */
static struct qemu_plugin_register *reg_percpu;
static uint64_t percpu_a;		/* of the CPU of A */
static uint64_t stream_insns[NR_STREAMS];
static uint64_t nr_waits;
static unsigned int phase;
static GArray *events;
static GHashTable *lines;
static GHashTable *lock_ids;
static unsigned int nr_line_ids;

static bool is_active(void)
{
	return phase == 1 || phase == 2 || phase == 4 || phase == 5;
}

static struct task *find_task(uint64_t sp)
{
	unsigned int i;

	for (i = 0; i < MAX_TASKS; i++) {
		if (tasks[i].stream && tasks[i].stack == sp >> STACK_SHIFT)
			return &tasks[i];
	}
	return NULL;
}

/* The first instruction of a function, INSNS before the end of the block */
static void begin_task(enum stream stream, unsigned int insns)
{
	uint64_t sp = read_reg(reg_sp), percpu = read_reg(reg_percpu);
	unsigned int i;

	if (find_task(sp))
		return;
	if (stream == A)
		percpu_a = percpu;
	for (i = 0; i < MAX_TASKS; i++) {
		struct task *task = &tasks[i];

		if (task->stream)
			continue;
		task->stack = sp >> STACK_SHIFT;
		task->stream = stream;
		task->cpu = percpu == percpu_a ? 1 : 2;
		task->ret = return_address(&sp);
		task->sp = sp;
		current_task = task;
		stream_insns[stream] += insns;
		return;
	}
	fail("too many tasks");
}

static void record(enum event_type type, uint64_t addr, const struct place *place)
{
	struct event e = { .addr = addr, .type = type, .pc = place->pc };

	if (!current_task)
		return;
	e.stream = current_task->stream;
	e.cpu = current_task->cpu;
	e.when = stream_insns[e.stream] - place->before_end;
	g_array_append_val(events, e);
}

static void on_entry(unsigned int cpu, void *data)
{
	const struct place *place = data;

	(void)cpu;
	switch (place->fn->kind) {
	case FN_MUNMAP:
		if (phase == 1)
			begin_task(A, place->before_end);
		else if (phase == 4)
			begin_task(B, place->before_end);
		break;
	case FN_WORKER:
		if (phase == 1 || phase == 2)
			begin_task(A_WORKER, place->before_end);
		else if (phase == 4 || phase == 5)
			begin_task(B_WORKER, place->before_end);
		break;
	case FN_UNIT:
		record(EV_UNIT, 0, place);
		break;
	case FN_LOCK:
		record(EV_LOCK, read_reg(reg_arg), place);
		break;
	case FN_TRYLOCK:
		record(EV_TRYLOCK, read_reg(reg_arg), place);
		break;
	case FN_UNLOCK:
		record(EV_UNLOCK, read_reg(reg_arg), place);
		break;
	case FN_WAIT:
		nr_waits += !!current_task;
		break;
	case FN_PHASE:
		phase++;
		break;
	}
}

/* A block of instructions */
struct block {
	uint64_t addr;
	unsigned int nr_insns;
};

/* A return begins a block, and so does what runs after a switch to another task */
static void on_block(unsigned int cpu, void *data)
{
	const struct block *block = data;
	uint64_t sp;

	(void)cpu;
	current_task = NULL;
	if (!is_active())
		return;
	sp = read_reg(reg_sp);
	current_task = find_task(sp);
	if (!current_task)
		return;
	if (current_task->ret == block->addr && current_task->sp == sp) {
		current_task->stream = NONE;
		current_task = NULL;
		return;
	}
	stream_insns[current_task->stream] += block->nr_insns;
}

static void on_access(unsigned int cpu, qemu_plugin_meminfo_t info, uint64_t addr,
		      void *data)
{
	(void)cpu;
	if (!current_task || !is_kernel(addr) || addr >> STACK_SHIFT == current_task->stack)
		return;
	record(qemu_plugin_mem_is_store(info) ? EV_WRITE : EV_READ, addr, data);
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t i, n = qemu_plugin_tb_n_insns(tb);
	struct block *block;
	unsigned int k;

	(void)id;
	if (!is_kernel(qemu_plugin_tb_vaddr(tb)))
		return;
	/* Who calls may keep these for as long as QEMU runs */
	block = g_new(struct block, 1);
	*block = (struct block){ qemu_plugin_tb_vaddr(tb), n };
	qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block, CB_R_REGS, block);

	for (i = 0; i < n; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		struct place *place = g_new(struct place, 1);

		*place = (struct place){ qemu_plugin_insn_vaddr(insn), n - i, NULL };
		for (k = 0; k < nr_functions; k++) {
			if (functions[k].addr != place->pc)
				continue;
			place->fn = &functions[k];
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_entry, CB_R_REGS,
							       place);
		}
		qemu_plugin_register_vcpu_mem_cb(insn, on_access, CB_NO_REGS, MEM_RW,
						 place);
	}
}

static void on_vcpu(qemu_plugin_id_t id, unsigned int cpu)
{
	(void)id;
	(void)cpu;
	find_registers();
	reg_percpu = find_register(is_arm64 ? "TPIDR_EL1" : "gs_base");
}

/*
 * At the end: which lines are shared
 */

static struct event *event(unsigned int i)
{
	return &g_array_index(events, struct event, i);
}

static struct line *find_line(uint64_t addr)
{
	return g_hash_table_lookup(lines, (void *)(addr >> LINE_SHIFT));
}

/* One and the same CPU for both: that is what a CPU has for itself */
static bool is_shared(const struct line *l)
{
	return l && l->cpus_a && l->cpus_b && l->written &&
	       !(l->cpus_a == l->cpus_b && !(l->cpus_a & (l->cpus_a - 1)));
}

static bool is_for_b(const struct event *e)
{
	return e->stream == B || e->stream == B_WORKER;
}

static void find_lines(void)
{
	unsigned int i;

	for (i = 0; i < events->len; i++) {
		struct event *e = event(i);
		struct line *l;

		if (e->type != EV_READ && e->type != EV_WRITE)
			continue;
		l = find_line(e->addr);
		if (!l) {
			l = g_new0(struct line, 1);
			g_hash_table_insert(lines, (void *)(e->addr >> LINE_SHIFT), l);
		}
		l->written |= e->type == EV_WRITE;
		if (is_for_b(e))
			l->cpus_b |= e->cpu;
		else
			l->cpus_a |= e->cpu;
	}
}

/* Leave what costs nothing but its instructions */
static void classify(void)
{
	GHashTable *tried = g_hash_table_new(NULL, NULL);
	unsigned int i;

	for (i = 0; i < events->len; i++) {
		struct event *e = event(i);
		struct line *l = find_line(e->addr);
		bool is_write = e->type == EV_WRITE;

		if (e->type == EV_UNIT)
			continue;
		if (is_shared(l)) {
			if (!l->id)
				l->id = ++nr_line_ids;
			continue;
		}
		if (is_write || e->type == EV_READ) {
			uint8_t self = 1 << e->stream;
			bool handed = l->holders && !is_for_b(e) &&
				      (!(l->holders & self) || (is_write && l->holders != self));

			e->type = handed ? EV_HANDED : EV_DROPPED;
			if (!is_for_b(e))
				l->holders = is_write ? self : l->holders | self;
			continue;
		}
		e->type = EV_DROPPED;
	}
	/* From the end: a lock that was tried, and not got, has no unlock */
	for (i = events->len; i--;) {
		struct event *e = event(i);
		void *key = (void *)(e->addr * NR_STREAMS + e->stream);

		if (e->type == EV_UNLOCK)
			g_hash_table_add(tried, key);
		else if ((e->type == EV_TRYLOCK || e->type == EV_LOCK) &&
			 !g_hash_table_remove(tried, key))
			e->type = EV_DROPPED;
	}
	g_hash_table_destroy(tried);
}

/*
 * An atomic operation reads a line and writes it, but gets it once, to write it. So
 * does, on many machines, what reads just before it writes.
 */
static void merge_updates(enum stream stream)
{
	GHashTable *writes = g_hash_table_new(NULL, NULL);	/* line to next write */
	unsigned int i;

	for (i = events->len; i--;) {
		struct event *e = event(i), *write;
		void *key = (void *)(e->addr >> LINE_SHIFT);

		if (e->stream != stream)
			continue;
		if (e->type == EV_WRITE)
			g_hash_table_insert(writes, key, e);
		if (e->type != EV_READ)
			continue;
		write = g_hash_table_lookup(writes, key);
		if (write && write->when - e->when <= UPDATE_INSNS) {
			e->type = EV_WRITE;
			write->type = EV_DROPPED;
			g_hash_table_insert(writes, key, e);
		}
	}
	g_hash_table_destroy(writes);
}

static unsigned int event_id(const struct event *e)
{
	size_t id;

	if (e->type == EV_READ || e->type == EV_WRITE)
		return find_line(e->addr)->id;
	id = (size_t)g_hash_table_lookup(lock_ids, (void *)e->addr);
	if (!id) {
		id = g_hash_table_size(lock_ids) + 1;
		g_hash_table_insert(lock_ids, (void *)e->addr, (void *)id);
	}
	return id;
}

static int compare_writes(const void *a, const void *b)
{
	const struct line *x = *(const struct line *const *)a;
	const struct line *y = *(const struct line *const *)b;

	return x->writes != y->writes ? (x->writes < y->writes ? 1 : -1) :
	       x->id < y->id ? -1 : x->id > y->id;
}

/* The shared lines that are written most often, for people */
static void write_hot_lines(FILE *out)
{
	struct line **hot = g_new0(struct line *, nr_line_ids + 1);
	unsigned int i, units = 0;

	for (i = 0; i < events->len; i++) {
		struct event *e = event(i);
		struct line *l;

		units += e->stream == A && e->type == EV_UNIT;
		if (e->stream != A || e->type != EV_WRITE)
			continue;
		l = find_line(e->addr);
		l->writes++;
		l->pc = e->pc;
		hot[l->id] = l;
	}
	/* There is no line 0, and not all are written by A */
	for (i = 0; i <= nr_line_ids; i++) {
		if (!hot[i])
			hot[i] = g_new0(struct line, 1);
	}
	qsort(hot, nr_line_ids + 1, sizeof(*hot), compare_writes);
	for (i = 0; i < MIN(nr_line_ids, HOT_LINES) && hot[i]->writes; i++)
		fprintf(out, "# hot %.3f %s\n", (double)hot[i]->writes / MAX(units, 1),
			symbol_name(hot[i]->pc));
	g_free(hot);
}

static void write_stream(FILE *out, enum stream stream, const char *name)
{
	uint64_t when = 0;
	unsigned int i;

	fprintf(out, "section %s\n", name);
	for (i = 0; i < events->len; i++) {
		struct event *e = event(i);

		if (e->stream != stream || e->type == EV_DROPPED)
			continue;
		if (e->when > when)
			fprintf(out, "i %" PRIu64 "\n", e->when - when);
		when = e->when;
		if (e->type == EV_UNIT || e->type == EV_HANDED)
			fprintf(out, "%c\n", event_letter[e->type]);
		else
			fprintf(out, "%c %u\n", event_letter[e->type], event_id(e));
	}
	if (stream_insns[stream] > when)
		fprintf(out, "i %" PRIu64 "\n", stream_insns[stream] - when);
}

static void on_exit_(qemu_plugin_id_t id, void *data)
{
	FILE *out = fopen(out_path, "w");

	(void)id;
	(void)data;
	if (!out)
		fail("%s can't be written", out_path);
	find_lines();
	classify();
	merge_updates(A);
	merge_updates(A_WORKER);
	fprintf(out, "# lock waits %" PRIu64 "\n", nr_waits);
	write_hot_lines(out);
	write_stream(out, A, "munmap");
	write_stream(out, A_WORKER, "worker");
	if (fclose(out))
		fail("%s can't be written", out_path);
}

/*
 * Arguments
 */

static void watch(enum kind kind, const char *name)
{
	uint64_t addr = symbol_addr(name);

	if (!addr)
		return;
	if (nr_functions == MAX_FUNCTIONS)
		fail("too many functions");
	functions[nr_functions++] = (struct function){ .kind = kind, .addr = addr };
}

/* A kernel may have some of them only; without any, it has them inline */
static void watch_all(enum kind kind, const char *const *names)
{
	unsigned int before = nr_functions;
	const char *first = *names;

	while (*names)
		watch(kind, *names++);
	if (nr_functions == before)
		fail("the kernel has no %s", first);
}

static const char *const locks[] = { "_raw_spin_lock", "_raw_spin_lock_irq",
	"_raw_spin_lock_irqsave", "_raw_spin_lock_bh", NULL };
static const char *const unlocks[] = { "_raw_spin_unlock", "_raw_spin_unlock_irq",
	"_raw_spin_unlock_irqrestore", "_raw_spin_unlock_bh", NULL };
static const char *const waits[] = { "queued_spin_lock_slowpath",
	"native_queued_spin_lock_slowpath", "queued_read_lock_slowpath", NULL };

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info,
			       int argc, char **argv)
{
	const char *map = NULL, *unit = NULL, *workers[MAX_WORKERS + 1] = { NULL };
	int i, nr_workers = 0;

	find_target(info);
	for (i = 0; i < argc; i++) {
		char *eq = strchr(argv[i], '=');

		if (!eq)
			fail("unknown argument: %s", argv[i]);
		if (!strncmp(argv[i], "map=", 4))
			map = eq + 1;
		else if (!strncmp(argv[i], "out=", 4))
			out_path = g_strdup(eq + 1);
		else if (!strncmp(argv[i], "unit=", 5))
			unit = eq + 1;
		else if (!strncmp(argv[i], "worker=", 7) && nr_workers < MAX_WORKERS)
			workers[nr_workers++] = eq + 1;
		else
			fail("unknown argument: %s", argv[i]);
	}
	if (!map || !out_path || !unit)
		fail("map=, out= and unit= are needed");
	read_symbols(map);
	if (!symbol_addr(unit))
		fail("the kernel has no %s", unit);
	watch(FN_MUNMAP, is_arm64 ? "__arm64_sys_munmap" : "__x64_sys_munmap");
	watch(FN_PHASE, is_arm64 ? "__arm64_sys_arm64_personality" : "__x64_sys_personality");
	watch(FN_UNIT, unit);
	watch(FN_TRYLOCK, "_raw_spin_trylock");
	watch_all(FN_LOCK, locks);
	watch_all(FN_UNLOCK, unlocks);
	watch_all(FN_WAIT, waits);
	watch_all(FN_WORKER, workers);

	events = g_array_new(false, false, sizeof(struct event));
	lines = g_hash_table_new(NULL, NULL);
	lock_ids = g_hash_table_new(NULL, NULL);
	qemu_plugin_register_vcpu_init_cb(id, on_vcpu);
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
	qemu_plugin_register_atexit_cb(id, on_exit_, NULL);
	return 0;
}

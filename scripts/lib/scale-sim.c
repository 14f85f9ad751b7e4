// SPDX-License-Identifier: GPL-2.0
/*
 * How long a munmap takes on many CPUs: a simulation of traces, event by event.
 *
 *   scale-sim run TRACE POLICY ROUNDS TRANSFER CPUS PROCS
 *	prints the time until all are done, and until all is free ("never" if some
 *	is not), the transfers, and the time that was waited
 *   scale-sim fit TRACE POLICY ROUNDS CPUS PROCS=TIME...
 *	prints TRANSFER, and the time of an instruction
 *
 * Each process is on a CPU of its own, and does what is in the trace ROUNDS times.
 * All are alike, and start at the same time, each at another page of the trace, so
 * that they do not use the same size classes in step. What a CPU does takes time in
 * only two ways: an instruction takes 1, and to get a cacheline from another CPU takes
 * TRANSFER. "fit" finds what these two are on a machine whose times are known: so that
 * the squares of the errors, as logarithms, are the least.
 *
 * A line is with one CPU that wrote it, or with several that read it since, and
 * goes from CPU to CPU one transfer at a time. A spinlock is taken in the order in
 * which CPUs ask for it; who had to wait gets it a transfer after it is released. Its
 * word is in a line, too: that is another transfer. At the start, every CPU has every
 * line.
 *
 * The worker, one for all, runs on the first CPU that is idle when it starts. If
 * there is none, it and the process on the last CPU take turns: after SLICE, who runs
 * is preempted where it holds no spinlock and waits for none. After its turn, the
 * worker goes on to the next CPU, as load balancing would have it, or stays.
 *
 * Each page that is unmapped leaves a part of the worker's trace, one by the number of
 * pages; what the worker has from another CPU (handed over) takes a transfer. Who does
 * its own part has a place of its own in that trace: the page allocator collects
 * pages for each CPU, and gives many back in a row.
 *
 * POLICY: when does the worker run
 *   none				nothing is left for later
 *   START,BOUND,DELAY,SLICE[,percpu][,stays]
 *				as soon as START parts wait, until none waits; or
 *				DELAY after the first one (0: never). Who makes more
 *				than BOUND parts wait does its own. percpu: START
 *				parts of one CPU. stays: where it is, if all CPUs
 *				are busy. Times are in instructions.
 * A lock that is only tried, and that somebody has, is not waited for: what it
 * protects is not done, and the page's part is done at once.
 *
 * TRACE: text, an event a line, in two sections
 *   section munmap, section worker
 *   p		the next page begins (of munmap only)
 *   i N	N instructions
 *   r N, w N	reads, writes line N
 *   l N, t N	takes, tries lock N
 *   u N	releases it
 *   h		uses a line that was handed over
 *
 * Times are whole numbers, of 1/256 of an instruction: two runs are identical.
 */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CPUS	64
#define MAX_ROUNDS	1024
#define SCALE		256
#define NOBODY		(-1)
#define FOREVER		UINT64_MAX

struct event {
	char type;
	uint32_t arg;
};

/* A section of a trace: parts of it begin at part[] */
struct section {
	struct event *event;
	uint32_t *part;
	bool *starts;		/* no lock is held when the part begins */
	uint32_t nr_events;
	uint32_t nr_parts;
};

struct trace {
	struct section munmap;
	struct section worker;
	uint32_t nr_lines;
	uint32_t nr_locks;
};

struct policy {
	bool deferred;
	bool percpu;
	bool stays;
	uint64_t start;
	uint64_t bound;
	uint64_t delay;
	uint64_t slice;
};

struct line {
	uint64_t cpus;		/* that have it */
	uint64_t busy;		/* a transfer ends */
};

struct lock {
	int owner;
	int first;		/* of those who wait */
	int last;
};

/* Reads a section of the trace */
struct thread {
	const struct section *section;
	uint32_t next;		/* event */
	uint32_t end;		/* of what it reads now */
	uint64_t now;
	int cpu;
	unsigned int held;	/* locks, with one that it waits for */
	bool off_cpu;		/* the other one has the CPU */
	bool done;
	uint32_t worker_part;	/* of the worker's, that is next */
	int next_waiter;
	/* Of processes: */
	uint32_t first_part;
	uint32_t part;		/* parts begun */
	uint32_t own;		/* parts of the worker to do at once */
	bool must_own;		/* that of this page */
	bool in_own;
	uint32_t skip_to_unlock;
	bool skips;
	uint64_t queued;	/* parts left to the worker, of percpu */
	uint32_t saved_next;
	uint32_t saved_end;
};

struct sim {
	const struct trace *trace;
	struct policy policy;
	uint64_t transfer;
	struct line *line;
	struct lock *lock;
	struct thread thread[MAX_CPUS + 1];
	int nr_cpus;
	int nr_procs;
	unsigned int rounds;
	int heap[MAX_CPUS + 1];
	int nr_heap;
	uint64_t pending;	/* parts */
	bool worker_idle;
	uint64_t worker_timer;
	uint64_t slice_end;	/* where the worker takes turns */
	uint64_t transfers;
	uint64_t waited;
};

__attribute__((noreturn, format(printf, 1, 2)))
static void fail(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "scale-sim: ");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

static void *array(size_t nr, size_t size)
{
	void *p = calloc(nr ? nr : 1, size);

	if (!p)
		fail("out of memory");
	return p;
}

/*
 * Traces
 */

static void add_event(struct section *s, char type, uint32_t arg)
{
	if (!(s->nr_events & (s->nr_events - 1))) {
		size_t nr = s->nr_events ? s->nr_events * 2 : 1;

		s->event = realloc(s->event, nr * sizeof(*s->event));
		if (!s->event)
			fail("out of memory");
	}
	s->event[s->nr_events++] = (struct event){ type, arg };
}

static uint64_t instructions(const struct section *s)
{
	uint64_t n = 0;
	uint32_t i;

	for (i = 0; i < s->nr_events; i++)
		n += s->event[i].type == 'i' ? s->event[i].arg : 0;
	return n;
}

static bool takes_lock(const struct event *e)
{
	return e->type == 'l' || e->type == 't';
}

/* The parts of munmap begin where a page does; what is before is of the first */
static void split_pages(struct section *s)
{
	uint32_t i, held = 0;

	for (i = 0; i < s->nr_events; i++)
		s->nr_parts += s->event[i].type == 'p';
	if (!s->nr_parts)
		fail("a trace without a page");
	s->part = array(s->nr_parts + 1, sizeof(*s->part));
	s->starts = array(s->nr_parts, sizeof(*s->starts));
	s->nr_parts = 0;
	for (i = 0; i < s->nr_events; i++) {
		if (s->event[i].type == 'p') {
			s->starts[s->nr_parts] = !held;
			s->part[s->nr_parts++] = i;
		}
		held += takes_lock(&s->event[i]);
		held -= s->event[i].type == 'u';
	}
	if (held)
		fail("a trace in which a lock is not released");
	s->part[0] = 0;
	s->starts[0] = true;
	s->part[s->nr_parts] = s->nr_events;
}

/* As many equal parts of the worker, but none ends while a lock is held */
static void split_equal(struct section *s, uint32_t nr)
{
	uint64_t all = instructions(s), done = 0;
	uint32_t i, held = 0;

	s->part = array(nr + 1, sizeof(*s->part));
	for (i = 0; i < s->nr_events; i++) {
		while (!held && s->nr_parts < nr && done >= s->nr_parts * all / nr)
			s->part[s->nr_parts++] = i;
		if (s->event[i].type == 'i')
			done += s->event[i].arg;
		held += takes_lock(&s->event[i]);
		held -= s->event[i].type == 'u';
	}
	while (s->nr_parts <= nr)
		s->part[s->nr_parts++] = s->nr_events;
	s->nr_parts = nr;
}

static void read_trace(struct trace *t, const char *path)
{
	FILE *f = fopen(path, "r");
	struct section *s = NULL;
	char line[128], name[32];
	unsigned int nr = 0;
	uint32_t arg;

	if (!f)
		fail("%s can't be read", path);
	while (fgets(line, sizeof(line), f)) {
		nr++;
		if (line[0] == '#' || line[0] == '\n')
			continue;
		if (sscanf(line, "section %31s", name) == 1) {
			if (!strcmp(name, "munmap"))
				s = &t->munmap;
			else if (!strcmp(name, "worker"))
				s = &t->worker;
			else
				fail("%s:%u: unknown section", path, nr);
			continue;
		}
		arg = 0;
		if (!s || !strchr("pirwltuh", line[0]) ||
		    (!strchr("ph", line[0]) && sscanf(line + 1, "%" SCNu32, &arg) != 1))
			fail("%s:%u: not an event", path, nr);
		if (strchr("rw", line[0]) && arg >= t->nr_lines)
			t->nr_lines = arg + 1;
		if (strchr("ltu", line[0]) && arg >= t->nr_locks)
			t->nr_locks = arg + 1;
		add_event(s, line[0], arg);
	}
	fclose(f);
	split_pages(&t->munmap);
	split_equal(&t->worker, t->munmap.nr_parts);
}

static struct policy read_policy(const char *text)
{
	struct policy p = { .deferred = true };
	const char *option;
	int n = 0;

	if (!strcmp(text, "none"))
		return (struct policy){ .bound = FOREVER };
	if (sscanf(text, "%" SCNu64 ",%" SCNu64 ",%" SCNu64 ",%" SCNu64 "%n",
		   &p.start, &p.bound, &p.delay, &p.slice, &n) != 4 || !n || !p.start)
		fail("no policy: %s", text);
	option = text + n;
	p.percpu = !strncmp(option, ",percpu", 7);
	option += p.percpu ? 7 : 0;
	p.stays = !strcmp(option, ",stays");
	if (*option && !p.stays)
		fail("no policy: %s", text);
	return p;
}

/*
 * Threads that can run, by time. At the same time, the lower number is first.
 */

static bool before(const struct sim *sim, int a, int b)
{
	const struct thread *x = &sim->thread[a], *y = &sim->thread[b];

	return x->now != y->now ? x->now < y->now : a < b;
}

static void heap_down(struct sim *sim, int i)
{
	for (;;) {
		int least = i, k;

		for (k = 2 * i + 1; k <= 2 * i + 2 && k < sim->nr_heap; k++) {
			if (before(sim, sim->heap[k], sim->heap[least]))
				least = k;
		}
		if (least == i)
			return;
		k = sim->heap[i];
		sim->heap[i] = sim->heap[least];
		sim->heap[least] = k;
		i = least;
	}
}

static void heap_add(struct sim *sim, int thread)
{
	int i = sim->nr_heap++;

	sim->heap[i] = thread;
	while (i && before(sim, sim->heap[i], sim->heap[(i - 1) / 2])) {
		int parent = (i - 1) / 2, k = sim->heap[i];

		sim->heap[i] = sim->heap[parent];
		sim->heap[parent] = k;
		i = parent;
	}
}

static int heap_take_first(struct sim *sim)
{
	int first = sim->heap[0];

	sim->heap[0] = sim->heap[--sim->nr_heap];
	heap_down(sim, 0);
	return first;
}

/*
 * What takes time
 */

static int worker_id(const struct sim *sim)
{
	return sim->nr_procs;
}

static bool cpu_is_idle(const struct sim *sim, int cpu)
{
	return cpu >= sim->nr_procs || sim->thread[cpu].done;
}

static void transfer(struct sim *sim, struct thread *t)
{
	t->now += sim->transfer;
	sim->transfers++;
}

static void use_line(struct sim *sim, struct thread *t, struct line *l, bool writes)
{
	uint64_t self = 1ULL << t->cpu;

	if (!(l->cpus & self) || (writes && l->cpus != self)) {
		if (l->busy > t->now) {
			sim->waited += l->busy - t->now;
			t->now = l->busy;
		}
		transfer(sim, t);
		l->busy = t->now;
	}
	l->cpus = writes ? self : l->cpus | self;
}

/* False: the thread waits for it, and is not to be run */
static bool take_lock(struct sim *sim, int id, struct lock *l)
{
	struct thread *t = &sim->thread[id];

	t->held++;
	if (l->owner == NOBODY) {
		l->owner = id;
		return true;
	}
	t->next_waiter = NOBODY;
	if (l->first == NOBODY)
		l->first = id;
	else
		sim->thread[l->last].next_waiter = id;
	l->last = id;
	return false;
}

static void release_lock(struct sim *sim, int id, struct lock *l)
{
	struct thread *next;
	uint64_t now = sim->thread[id].now;

	if (l->owner != id)
		fail("a lock is released by who does not have it");
	sim->thread[id].held--;
	l->owner = l->first;
	if (l->owner == NOBODY)
		return;
	next = &sim->thread[l->owner];
	l->first = next->next_waiter;
	if (now > next->now) {
		sim->waited += now - next->now;
		next->now = now;
	}
	transfer(sim, next);
	heap_add(sim, l->owner);
}

/*
 * What is left for later
 */

static void start_worker(struct sim *sim, uint64_t now)
{
	struct thread *worker = &sim->thread[worker_id(sim)];
	int i;

	sim->worker_timer = FOREVER;
	if (!sim->worker_idle)
		return;
	worker->cpu = sim->nr_cpus - 1;
	for (i = sim->nr_cpus; i--;) {
		if (cpu_is_idle(sim, i))
			worker->cpu = i;
	}
	sim->worker_idle = false;
	worker->next = worker->end = 0;
	if (now > worker->now)
		worker->now = now;
	worker->off_cpu = !cpu_is_idle(sim, worker->cpu);
	if (worker->off_cpu)
		sim->slice_end = now + sim->policy.slice * SCALE;
	else
		heap_add(sim, worker_id(sim));
}

/* Who wants the CPU of a thread: NOBODY, or a process or the worker */
static int other_on_cpu(const struct sim *sim, int id)
{
	const struct thread *worker = &sim->thread[worker_id(sim)];
	int other = id == worker_id(sim) ? worker->cpu : worker_id(sim);

	if (other >= sim->nr_procs + 1 || !sim->thread[other].off_cpu ||
	    sim->thread[other].cpu != sim->thread[id].cpu)
		return NOBODY;
	return other;
}

/* The other one goes on, when this one has left the CPU */
static void switch_to(struct sim *sim, int other, uint64_t now)
{
	struct thread *t = &sim->thread[other];

	t->off_cpu = false;
	if (now > t->now)
		t->now = now;
	sim->slice_end = t->now + sim->policy.slice * SCALE;
	heap_add(sim, other);
}

/* The worker has had its turn, and a process is on its CPU */
static void move_worker(struct sim *sim)
{
	struct thread *worker = &sim->thread[worker_id(sim)];

	if (sim->policy.stays)
		return;
	worker->cpu = (worker->cpu + 1) % sim->nr_cpus;
	if (cpu_is_idle(sim, worker->cpu))
		switch_to(sim, worker_id(sim), worker->now);
}

static void read_part(struct sim *sim, struct thread *t)
{
	const struct section *s = &sim->trace->worker;

	t->section = s;
	t->next = s->part[t->worker_part];
	t->end = s->part[t->worker_part + 1];
	t->worker_part = (t->worker_part + 1) % s->nr_parts;
}

/* A process has unmapped a page: who frees what it leaves? */
static void page_done(struct sim *sim, struct thread *t)
{
	const struct policy *p = &sim->policy;

	if (!p->deferred)
		return;
	if (sim->pending >= p->bound || t->must_own) {
		t->must_own = false;
		t->own++;
		return;
	}
	sim->pending++;
	t->queued++;
	if (p->percpu ? t->queued % p->start == 0 : sim->pending >= p->start)
		start_worker(sim, t->now);
	else if (p->delay && sim->worker_idle && sim->worker_timer == FOREVER)
		sim->worker_timer = t->now + p->delay * SCALE;
}

/* The next events for a process; false if there are none */
static bool next_part(struct sim *sim, struct thread *t)
{
	const struct section *s = &sim->trace->munmap;
	uint32_t part;

	if (t->in_own) {
		t->in_own = false;
		t->section = s;
		t->next = t->saved_next;
		t->end = t->saved_end;
		if (t->next < t->end)
			return true;
	} else if (t->part) {
		page_done(sim, t);
	}
	if (t->own) {
		t->own--;
		t->in_own = true;
		t->saved_next = t->next;
		t->saved_end = t->end;
		read_part(sim, t);
		return true;
	}
	if (t->part == sim->rounds * s->nr_parts)
		return false;
	part = (t->first_part + t->part++) % s->nr_parts;
	t->next = s->part[part];
	t->end = s->part[part + 1];
	return true;
}

static bool next_worker_part(struct sim *sim, struct thread *t)
{
	if (!sim->pending)
		return false;
	sim->pending--;
	read_part(sim, t);
	return true;
}

/* The instructions that are next */
static void work(struct thread *t)
{
	const struct event *e = &t->section->event[t->next];

	while (t->next != t->end && e->type == 'i') {
		t->now += (uint64_t)e++->arg * SCALE;
		t->next++;
	}
}

/* An event that others may see. False: the thread is not to be run for now */
static bool step(struct sim *sim, int id)
{
	struct thread *t = &sim->thread[id];
	const struct event *e;

	while (t->next == t->end) {
		if (id == worker_id(sim)) {
			if (!next_worker_part(sim, t)) {
				sim->worker_idle = true;
				return false;
			}
		} else if (!next_part(sim, t)) {
			t->done = true;
			return false;
		}
	}
	e = &t->section->event[t->next];
	if (e->type == 'i' && !t->skips) {
		work(t);
		return true;
	}
	t->next++;
	if (t->skips) {
		if (e->type == 'u' && e->arg == t->skip_to_unlock)
			t->skips = false;
		return true;
	}
	switch (e->type) {
	case 'r':
	case 'w':
		use_line(sim, t, &sim->line[e->arg], e->type == 'w');
		break;
	case 'l':
		return take_lock(sim, id, &sim->lock[e->arg]);
	case 't':
		if (sim->lock[e->arg].owner == NOBODY) {
			sim->lock[e->arg].owner = id;
			t->held++;
			break;
		}
		t->skips = true;
		t->skip_to_unlock = e->arg;
		t->must_own = true;
		return true;
	case 'u':
		release_lock(sim, id, &sim->lock[e->arg]);
		break;
	case 'h':
		if (sim->nr_cpus > 1 && !t->in_own)
			transfer(sim, t);
		break;
	}
	work(t);
	return true;
}

struct result {
	uint64_t munmap;
	uint64_t free;		/* FOREVER: some is not */
	uint64_t transfers;
	uint64_t waited;
};

static void init(struct sim *sim)
{
	const struct trace *trace = sim->trace;
	uint32_t i;

	sim->line = array(trace->nr_lines, sizeof(*sim->line));
	sim->lock = array(trace->nr_locks, sizeof(*sim->lock));
	sim->worker_idle = true;
	sim->worker_timer = FOREVER;
	for (i = 0; i < trace->nr_lines; i++)
		sim->line[i].cpus = UINT64_MAX >> (64 - sim->nr_cpus);
	for (i = 0; i < trace->nr_locks; i++)
		sim->lock[i] = (struct lock){ NOBODY, NOBODY, NOBODY };
	for (i = 0; i < (uint32_t)sim->nr_procs; i++) {
		struct thread *t = &sim->thread[i];

		t->cpu = i;
		t->section = &trace->munmap;
		t->first_part = (uint64_t)trace->munmap.nr_parts * i / sim->nr_procs;
		while (!trace->munmap.starts[t->first_part])
			t->first_part--;
		t->worker_part = t->first_part;
		heap_add(sim, i);
	}
}

/* Runs the thread that is first, as long as it is. False: nothing is left to do. */
static bool run_first(struct sim *sim)
{
	struct thread *t;
	bool goes_on, leaves;
	int id, other;

	if (sim->worker_timer != FOREVER &&
	    (!sim->nr_heap || sim->worker_timer <= sim->thread[sim->heap[0]].now)) {
		start_worker(sim, sim->worker_timer);
		return true;
	}
	if (!sim->nr_heap)
		return false;
	id = heap_take_first(sim);
	t = &sim->thread[id];
	do {
		goes_on = step(sim, id);
		leaves = !t->held && (!goes_on || t->now >= sim->slice_end);
		other = leaves ? other_on_cpu(sim, id) : NOBODY;
	} while (goes_on && other == NOBODY && t->now < sim->worker_timer &&
		 (!sim->nr_heap || before(sim, id, sim->heap[0])));
	if (other != NOBODY) {
		t->off_cpu = goes_on;
		switch_to(sim, other, t->now);
		if (id == worker_id(sim) && goes_on)
			move_worker(sim);
	} else if (goes_on) {
		heap_add(sim, id);
	}
	return true;
}

static struct result run(const struct trace *trace, struct policy policy,
			 unsigned int rounds, uint64_t transfer_cost,
			 int nr_cpus, int nr_procs)
{
	struct sim *sim = array(1, sizeof(*sim));
	struct result r = { 0 };
	int i;

	sim->trace = trace;
	sim->policy = policy;
	sim->transfer = transfer_cost;
	sim->nr_cpus = nr_cpus;
	sim->nr_procs = nr_procs;
	sim->rounds = rounds;
	init(sim);
	while (run_first(sim))
		;

	for (i = 0; i < nr_procs; i++) {
		if (!sim->thread[i].done)
			fail("CPU %d waits for a lock forever", i);
		if (sim->thread[i].now > r.munmap)
			r.munmap = sim->thread[i].now;
	}
	r.free = sim->thread[nr_procs].now > r.munmap ? sim->thread[nr_procs].now : r.munmap;
	if (sim->pending)
		r.free = FOREVER;
	r.transfers = sim->transfers;
	r.waited = sim->waited;
	free(sim->line);
	free(sim->lock);
	free(sim);
	return r;
}

/*
 * Commands
 */

static unsigned int read_count(const char *text, unsigned int max)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end || !n || n > max)
		fail("%s is not a number from 1 to %u", text, max);
	return n;
}

static double read_number(const char *text)
{
	char *end;
	double x = strtod(text, &end);

	if (*end || end == text || !(x >= 0) || x > 1e9)
		fail("%s is not a number", text);
	return x;
}

static uint64_t scaled(double instructions)
{
	return (uint64_t)(instructions * SCALE + 0.5);
}

static void command_run(const struct trace *trace, char **argv)
{
	unsigned int cpus = read_count(argv[3], MAX_CPUS);
	struct result r = run(trace, read_policy(argv[0]), read_count(argv[1], MAX_ROUNDS),
			      scaled(read_number(argv[2])), cpus,
			      read_count(argv[4], cpus));

	printf("%.2f ", (double)r.munmap / SCALE);
	if (r.free == FOREVER)
		printf("never ");
	else
		printf("%.2f ", (double)r.free / SCALE);
	printf("%" PRIu64 " %.2f\n", r.transfers, (double)r.waited / SCALE);
}

/* Times of a machine */
struct known {
	unsigned int rounds;
	int nr_cpus;
	int nr;
	unsigned int procs[MAX_CPUS];
	double time[MAX_CPUS];
};

/*
 * For a cost of a transfer, the best time of an instruction is the geometric mean
 * of the ratios. Returns the sum of the squares of what is then left.
 */
static double error(const struct trace *trace, struct policy policy,
		    const struct known *known, double transfer_cost, double *instruction)
{
	double ratio[MAX_CPUS], mean = 0, sum = 0;
	int i;

	for (i = 0; i < known->nr; i++) {
		struct result r = run(trace, policy, known->rounds,
				      scaled(transfer_cost), known->nr_cpus, known->procs[i]);

		ratio[i] = log(known->time[i] * SCALE / r.munmap);
		mean += ratio[i] / known->nr;
	}
	for (i = 0; i < known->nr; i++)
		sum += (ratio[i] - mean) * (ratio[i] - mean);
	*instruction = exp(mean);
	return sum;
}

/* Steps that get finer: the error need not have one minimum only */
static void command_fit(const struct trace *trace, int argc, char **argv)
{
	struct policy policy = read_policy(argv[0]);
	struct known known = {
		.rounds = read_count(argv[1], MAX_ROUNDS),
		.nr_cpus = read_count(argv[2], MAX_CPUS),
	};
	double best = 0, least, instruction, step_size;
	int i, k;

	for (i = 3; i < argc; i++) {
		char *eq = strchr(argv[i], '=');

		if (!eq || known.nr == MAX_CPUS)
			fail("%s is not PROCS=TIME", argv[i]);
		*eq = '\0';
		known.procs[known.nr] = read_count(argv[i], known.nr_cpus);
		known.time[known.nr] = read_number(eq + 1);
		known.nr++;
	}
	least = error(trace, policy, &known, 0, &instruction);
	for (step_size = 128; step_size >= 1; step_size /= 4) {
		double from = best > 4 * step_size ? best - 4 * step_size : 0;

		for (k = 0; k <= 8; k++) {
			double t = from + k * step_size, unit;
			double e = error(trace, policy, &known, t, &unit);

			if (e < least) {
				least = e;
				best = t;
			}
		}
	}
	if (best >= 8 * 128)
		fail("a transfer would take %g instructions or more", best);
	error(trace, policy, &known, best, &instruction);
	printf("%g %g\n", best, instruction);
}

int main(int argc, char **argv)
{
	static struct trace trace;

	if (argc == 8 && !strcmp(argv[1], "run")) {
		read_trace(&trace, argv[2]);
		command_run(&trace, argv + 3);
	} else if (argc > 6 && !strcmp(argv[1], "fit")) {
		read_trace(&trace, argv[2]);
		command_fit(&trace, argc - 3, argv + 3);
	} else {
		fail("usage: run TRACE POLICY ROUNDS TRANSFER CPUS PROCS | fit TRACE POLICY ROUNDS CPUS PROCS=TIME...");
	}
	return 0;
}

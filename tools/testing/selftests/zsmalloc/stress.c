// SPDX-License-Identifier: GPL-2.0
/*
 * zram devices as swap, and zswap, under everything at once that frees or moves
 * objects of zsmalloc: processes that swap out, unmap, discard, fork and die, while
 * pages are compacted, devices are swapped off, reset and out of memory, CPUs go and
 * come back, memory is short, and allocations fail.
 *
 * What a page has to contain follows from its number and how often it was written, so
 * each page that is looked at is compared to the byte. Each process draws what it does
 * from a generator of its own, seeded with --seed and its number: with --ops it does
 * the same in every run, but for when others come in between.
 *
 * The processes: main makes the devices and starts the others; workers have the
 * memory; each disturber does one thing again and again. What they find and count is
 * shared.
 */
#include <getopt.h>
#include <stdarg.h>

#include "util.h"

#define COMPACT_MEMORY		"/proc/sys/vm/compact_memory"
#define STAT_REFRESH		"/proc/sys/vm/stat_refresh"
#define DROP_CACHES		"/proc/sys/vm/drop_caches"
#define TAINTED			"/proc/sys/kernel/tainted"
#define CPU1_ONLINE		"/sys/devices/system/cpu/cpu1/online"
#define DEBUGFS			"/sys/kernel/debug/"

#define MAX_DEVICES		8
#define MAX_WORKERS		64
#define NR_SLOTS		8
#define MAX_SLOT_PAGES		512
#define SCRATCH_BLOCKS		1024
#define HOG_LEAVES		(16ULL << 20)
#define HOG_MAX_RAM		(2ULL << 30)
#define FREE_TIMEOUT_SEC	10
#define FAULT_TIMES		1000000000
/* How much longer a disturber pauses than it disturbs. */
#define PAUSE_PART		8
#define PAUSE_STEP_USEC		100000
/* How often a thing that takes memory is tried while others use it up. */
#define SETUP_TRIES		100
#define SETUP_RETRY_USEC	10000

enum count {
	OPS, FILLED, VERIFIED, PAGED_OUT, DISCARDED, UNMAPS, FORKS, FORKS_FAILED, KILLS,
	COMPACTIONS, ZRAM_COMPACTIONS, SWAPOFFS, RESETS, SCRATCH_VERIFIED, LIMITS,
	HOTPLUGS, HOGS, ZSWAP_SWITCHES, WRITEBACKS, SHRINKS, FAULTS, OOM_KILLS,
	NR_COUNTS
};

static const char * const count_names[NR_COUNTS] = {
	"ops", "pages_filled", "pages_verified", "pageouts", "pages_discarded", "unmaps",
	"forks", "forks_failed", "kills", "compactions", "zram_compactions", "swapoffs",
	"resets", "blocks_verified", "limits", "hotplugs", "hogs", "zswap_switches",
	"writebacks", "shrinks", "faults_injected", "oom_kills",
};

/* Flags that are exchanged are ints: not all machines can exchange bytes. */
struct shared {
	unsigned long long count[NR_COUNTS];
	bool stop;
	bool interrupted;
	int failed;
	char reason[256];
	/* Killed by a disturber, not by something else. */
	int killed[MAX_WORKERS];
	/* Processes that are known to have been killed for want of memory. */
	unsigned long long oom_seen;
	pid_t worker[MAX_WORKERS];
};

struct zram {
	int id;
	char node[32];
	bool node_made;
	bool swap_on;
	/* What it takes with nothing but a swap header, in bytes. */
	unsigned long long used_empty;
};

/* A region of a worker; version 0 is a page that was discarded, or never written. */
struct slot {
	char *mem;
	size_t nr;
	unsigned long long seed;
	unsigned char version[MAX_SLOT_PAGES];
};

static struct shared *shared;
/* For swap; for blocks; and for what device[0] writes back, if it can. */
static struct zram device[MAX_DEVICES], scratch = { .id = -1 }, backing = { .id = -1 };
static int nr_devices = 2, nr_workers, seconds = 10;
static unsigned long long max_ops, base_seed = 1, memory;
static unsigned long long *expected;
static bool module_loaded, zswap_was_off, faults;

static void count_add(enum count what, unsigned long long n)
{
	__atomic_fetch_add(&shared->count[what], n, __ATOMIC_RELAXED);
}

static void oom_killed(void)
{
	__atomic_fetch_add(&shared->oom_seen, 1, __ATOMIC_RELAXED);
}

static bool stopped(void)
{
	return __atomic_load_n(&shared->stop, __ATOMIC_RELAXED);
}

static unsigned long long now_usec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000ULL + ts.tv_nsec / 1000;
}

/* The first failure counts, and ends the run. */
static void __printf(1, 2) fail(const char *fmt, ...)
{
	va_list args;

	if (!__atomic_exchange_n(&shared->failed, true, __ATOMIC_RELAXED)) {
		va_start(args, fmt);
		vsnprintf(shared->reason, sizeof(shared->reason), fmt, args);
		va_end(args);
	}
	__atomic_store_n(&shared->stop, true, __ATOMIC_RELAXED);
}

/* The first numbers of similar seeds are similar. */
static unsigned long long seeded(unsigned long long a, unsigned long long b)
{
	unsigned long long state = (a << 32) + b + 1;

	for (int i = 0; i < 8; i++)
		xorshift(&state);
	return state;
}

/*
 * Contents.
 */

/* The random part does not compress: objects of all sizes, and some whole pages. */
static void make_page(unsigned long long *page, unsigned long long seed, size_t index,
		      unsigned int version)
{
	unsigned long long state = seeded(seed + version, index);
	size_t words = page_size / sizeof(*page);
	size_t nr_random = 4 + xorshift(&state) % (words - 4);
	size_t i;

	for (i = 0; i < nr_random; i++)
		page[i] = xorshift(&state);
	for (; i < words; i++)
		page[i] = version;
}

static bool page_is(const void *page, unsigned long long seed, size_t index,
		    unsigned int version)
{
	if (version)
		make_page(expected, seed, index, version);
	else
		memset(expected, 0, page_size);
	return !memcmp(page, expected, page_size);
}

/*
 * zram devices.
 */

/* What is stored, and what that takes, in bytes. */
static bool mm_stat(const struct zram *zram, unsigned long long *orig,
		    unsigned long long *used)
{
	char buf[160];

	return read_file(zram_attr(zram->id, "mm_stat"), buf, sizeof(buf)) > 0 &&
	       sscanf(buf, "%llu %*u %llu", orig, used) == 2;
}

/* The hog, and faults, leave no memory for a moment. */
static bool again(int *tries)
{
	if (++*tries >= SETUP_TRIES)
		return false;
	usleep(SETUP_RETRY_USEC);
	return true;
}

static bool zram_set_size(const struct zram *zram, unsigned long long size)
{
	int tries = 0, ret;

	do {
		ret = zram_set(zram->id, "disksize", size);
	} while (ret == -ENOMEM && again(&tries));
	return !ret;
}

static bool zram_add(struct zram *zram, const struct zram *store, unsigned long long size)
{
	int ret;

	zram->id = zram_hot_add();
	if (zram->id < 0)
		return false;
	ret = zram_make_node(zram->id, zram->node, sizeof(zram->node));
	zram->node_made = ret > 0;
	/* Without CONFIG_ZRAM_WRITEBACK there is no such file. */
	if (store)
		write_file(zram_attr(zram->id, "backing_dev"), store->node);
	return ret >= 0 && zram_set_size(zram, size);
}

static bool zram_remove(struct zram *zram)
{
	int ret;

	if (zram->id < 0)
		return true;
	ret = zram_hot_remove(zram->id);
	if (zram->node_made)
		unlink(zram->node);
	zram->id = -1;
	return !ret;
}

/* All devices with one priority: pages go to each in turn. */
static bool zram_swapon(struct zram *zram)
{
	int tries = 0, ret;

	do {
		ret = swapon(zram->node, SWAP_FLAG_PREFER | SWAP_FLAG_PRIO_MASK);
	} while (ret && errno == ENOMEM && again(&tries));
	zram->swap_on = !ret;
	return zram->swap_on;
}

/*
 * Workers.
 */

static bool slot_verify(struct slot *slot, size_t first, size_t nr)
{
	for (size_t i = first; i < slot->nr && i < first + nr; i++) {
		if (page_is(slot->mem + i * page_size, slot->seed, i, slot->version[i]))
			continue;
		fail("page %zu of region %llx is not what was written %u times",
		     i, slot->seed, slot->version[i]);
		return false;
	}
	count_add(VERIFIED, nr < slot->nr - first ? nr : slot->nr - first);
	return true;
}

static void slot_write(struct slot *slot, size_t index)
{
	/* 1 to 255: 0 is for what was discarded. */
	slot->version[index] = slot->version[index] % 255 + 1;
	make_page((unsigned long long *)(slot->mem + index * page_size), slot->seed,
		  index, slot->version[index]);
	count_add(FILLED, 1);
}

static void slot_map(struct slot *slot, size_t most, unsigned long long *state)
{
	size_t nr = 1 + xorshift(state) % most;
	unsigned long long seed = xorshift(state);
	char *mem = mmap(NULL, nr * page_size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		return;
	slot->mem = mem;
	slot->nr = nr;
	slot->seed = seed;
	memset(slot->version, 0, sizeof(slot->version));
	for (size_t i = 0; i < nr; i++)
		slot_write(slot, i);
}

static void slot_unmap(struct slot *slot)
{
	if (munmap(slot->mem, slot->nr * page_size))
		return;
	slot->mem = NULL;
	count_add(UNMAPS, 1);
}

static bool verify_all(struct slot *slots)
{
	for (int i = 0; i < NR_SLOTS; i++) {
		if (slots[i].mem && !slot_verify(&slots[i], 0, slots[i].nr))
			return false;
	}
	return true;
}

/* A child has the same memory, and what it writes is its own. */
static void fork_and_share(struct slot *slots, unsigned long long *state)
{
	unsigned long long child_state = xorshift(state);
	bool to_be_killed = xorshift(state) % 2;
	pid_t parent = getpid(), pid = fork();
	int status;

	if (pid < 0) {
		count_add(FORKS_FAILED, 1);
		return;
	}
	if (!pid) {
		die_with_parent(parent);
		do {
			for (int i = 0; i < NR_SLOTS; i++) {
				struct slot *slot = &slots[i];

				if (slot->mem)
					slot_write(slot, xorshift(&child_state) % slot->nr);
			}
			if (!verify_all(slots))
				_exit(KSFT_FAIL);
		} while (to_be_killed);
		_exit(KSFT_PASS);
	}
	count_add(FORKS, 1);
	if (to_be_killed) {
		usleep(xorshift(state) % 20000);
		kill(pid, SIGKILL);
		count_add(KILLS, 1);
	}
	if (waitpid(pid, &status, 0) != pid)
		return;
	/* The OOM killer may choose it. Another signal means lost contents. */
	if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
		fail("a child died of signal %d", WTERMSIG(status));
	else if (WIFSIGNALED(status) && !to_be_killed)
		oom_killed();
}

static void worker_op(struct slot *slots, size_t most, unsigned long long *state)
{
	struct slot *slot = &slots[xorshift(state) % NR_SLOTS];
	unsigned long long what = xorshift(state) % 100;
	size_t first, nr;

	if (!slot->mem) {
		slot_map(slot, most, state);
		return;
	}
	first = xorshift(state) % slot->nr;
	nr = 1 + xorshift(state) % (slot->nr - first);
	if (what < 35) {
		if (!madvise(slot->mem + first * page_size, nr * page_size, MADV_PAGEOUT))
			count_add(PAGED_OUT, 1);
	} else if (what < 60) {
		slot_verify(slot, first, nr);
	} else if (what < 75) {
		for (size_t i = first; i < first + nr; i++)
			slot_write(slot, i);
	} else if (what < 83) {
		if (madvise(slot->mem + first * page_size, nr * page_size, MADV_DONTNEED))
			return;
		memset(slot->version + first, 0, nr);
		count_add(DISCARDED, nr);
	} else if (what < 97) {
		slot_unmap(slot);
	} else {
		fork_and_share(slots, state);
	}
}

static void __noreturn worker_run(int number, unsigned int life)
{
	unsigned long long state = seeded(base_seed + life, number);
	size_t most = memory / nr_workers / NR_SLOTS / page_size;
	static struct slot slots[NR_SLOTS];

	write_file("/proc/self/oom_score_adj", "500");
	/* What the fault injection filters for */
	if (faults)
		write_file("/proc/self/make-it-fail", "1");
	if (most > MAX_SLOT_PAGES)
		most = MAX_SLOT_PAGES;
	for (unsigned long long i = 0; !stopped() && (!max_ops || i < max_ops); i++) {
		worker_op(slots, most, &state);
		count_add(OPS, 1);
	}
	if (faults)
		write_file("/proc/self/make-it-fail", "0");
	if (!shared->failed && !verify_all(slots))
		_exit(KSFT_FAIL);
	for (int i = 0; i < NR_SLOTS; i++) {
		if (slots[i].mem)
			slot_unmap(&slots[i]);
	}
	_exit(KSFT_PASS);
}

/*
 * Disturbers.
 */

static void disturb_compact(unsigned long long *state)
{
	int id = device[xorshift(state) % nr_devices].id;

	if (!write_file(COMPACT_MEMORY, "1"))
		count_add(COMPACTIONS, 1);
	if (!write_file(zram_attr(id, "compact"), "1"))
		count_add(ZRAM_COMPACTIONS, 1);
}

/* A device that takes no more for some time. */
static void disturb_limit(unsigned long long *state)
{
	struct zram *zram = &device[xorshift(state) % nr_devices];
	unsigned long long orig, used;

	if (!mm_stat(zram, &orig, &used) || zram_set(zram->id, "mem_limit", used))
		return;
	usleep(50000);
	zram_set(zram->id, "mem_limit", 0);
	count_add(LIMITS, 1);
}

/* Fails if what is on it finds no room. */
static void disturb_swapoff(unsigned long long *state)
{
	struct zram *zram = &device[xorshift(state) % nr_devices];

	if (swapoff(zram->node))
		return;
	count_add(SWAPOFFS, 1);
	if (!zram_swapon(zram))
		fail("swapon %s: %s", zram->node, strerror(errno));
}

/* A device that is not for swap: filled, looked at in part, and reset when full. */
static void disturb_reset(unsigned long long *state)
{
	unsigned long long seed = xorshift(state);
	int fd = open(scratch.node, O_RDWR | O_DIRECT);
	static unsigned long long *block;
	size_t at;

	if (fd < 0)
		return;
	if (!block)
		block = aligned_alloc(page_size, page_size);
	for (size_t i = 0; block && i < SCRATCH_BLOCKS && !stopped(); i++) {
		make_page(block, seed, i, 1);
		if (pwrite(fd, block, page_size, i * page_size) != (ssize_t)page_size)
			goto out;
	}
	for (size_t i = 0; block && i < SCRATCH_BLOCKS / 8 && !stopped(); i++) {
		at = xorshift(state) % SCRATCH_BLOCKS;
		if (pread(fd, block, page_size, at * page_size) != (ssize_t)page_size) {
			if (errno != ENOMEM && errno != EINTR)
				fail("block %zu of %s can't be read: %s", at,
				     scratch.node, strerror(errno));
			goto out;
		}
		if (!page_is(block, seed, at, 1))
			fail("block %zu of %s is not what was written", at, scratch.node);
		count_add(SCRATCH_VERIFIED, 1);
	}
out:
	close(fd);
	/* Others, udev for one, may have it open. */
	if (write_file(zram_attr(scratch.id, "reset"), "1"))
		return;
	if (!zram_set_size(&scratch, SCRATCH_BLOCKS * page_size))
		fail("%s can't be set up again", scratch.node);
	count_add(RESETS, 1);
}

static void disturb_hotplug(unsigned long long *state)
{
	int tries = 0, ret;

	if (write_file(CPU1_ONLINE, "0"))
		return;
	usleep(xorshift(state) % 50000);
	do {
		ret = write_file(CPU1_ONLINE, "1");
	} while (ret == -ENOMEM && again(&tries));
	if (ret)
		fail("CPU 1 does not come back: %s", strerror(-ret));
	count_add(HOTPLUGS, 1);
}

/*
 * All but some of the memory, for a moment, where there is not too much of it. If it
 * cannot be had, this one goes.
 */
static void disturb_hog(unsigned long long *state __maybe_unused)
{
	pid_t parent = getpid(), pid;
	int status;

	if (read_meminfo("MemTotal:") > HOG_MAX_RAM)
		return;
	pid = fork();
	if (!pid) {
		unsigned long long size = read_meminfo("MemAvailable:");
		char *hog;

		die_with_parent(parent);
		write_file("/proc/self/oom_score_adj", "1000");
		if (size <= HOG_LEAVES)
			_exit(KSFT_PASS);
		hog = mmap(NULL, size - HOG_LEAVES, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		for (size_t at = 0; hog != MAP_FAILED && at < size - HOG_LEAVES && !stopped();
		     at += page_size)
			*(size_t *)(hog + at) = at;
		_exit(KSFT_PASS);
	}
	if (pid > 0 && waitpid(pid, &status, 0) == pid) {
		count_add(HOGS, 1);
		if (WIFSIGNALED(status))
			oom_killed();
	}
}

static void disturb_zswap(unsigned long long *state)
{
	if (zswap_was_off && !write_file(ZSWAP_ENABLED, xorshift(state) % 2 ? "Y" : "N"))
		count_add(ZSWAP_SWITCHES, 1);
}

static void disturb_kill(unsigned long long *state)
{
	int i = xorshift(state) % nr_workers;
	pid_t pid = __atomic_load_n(&shared->worker[i], __ATOMIC_RELAXED);

	/* With a number of operations to do, all are to be done. */
	if (max_ops || pid <= 0)
		return;
	__atomic_store_n(&shared->killed[i], true, __ATOMIC_RELAXED);
	kill(pid, SIGKILL);
	count_add(KILLS, 1);
}

/* What does not compress, or all that is not used meanwhile. */
static void disturb_writeback(unsigned long long *state)
{
	bool idle = xorshift(state) % 2 && !write_file(zram_attr(device[0].id, "idle"), "all");

	if (!write_file(zram_attr(device[0].id, "writeback"), idle ? "idle" : "huge"))
		count_add(WRITEBACKS, 1);
}

static const char * const fault_dirs[] = { "failslab", "fail_page_alloc" };

static int set_fault(const char *dir, const char *name, const char *value)
{
	char path[96];

	snprintf(path, sizeof(path), DEBUGFS "%s/%s", dir, name);
	return write_file(path, value);
}

/* What the counter of those to come has lost. */
static unsigned long long faults_injected(void)
{
	unsigned long long n = 0;
	char path[96], buf[32];

	for (size_t i = 0; i < ARRAY_SIZE(fault_dirs); i++) {
		snprintf(path, sizeof(path), DEBUGFS "%s/times", fault_dirs[i]);
		if (read_file(path, buf, sizeof(buf)) > 0)
			n += FAULT_TIMES - atoll(buf);
	}
	return n;
}

/* Are there any? Small allocations of workers, also those that may not fail by waiting. */
static bool faults_prepare(void)
{
	char times[16];
	bool any = false;

	snprintf(times, sizeof(times), "%d", FAULT_TIMES);
	for (size_t i = 0; i < ARRAY_SIZE(fault_dirs); i++) {
		if (set_fault(fault_dirs[i], "probability", "0"))
			continue;
		set_fault(fault_dirs[i], "task-filter", "Y");
		set_fault(fault_dirs[i], "ignore-gfp-wait", "N");
		set_fault(fault_dirs[i], "min-order", "0");
		set_fault(fault_dirs[i], "verbose", "0");
		set_fault(fault_dirs[i], "interval", "1");
		set_fault(fault_dirs[i], "times", times);
		any = true;
	}
	return any;
}

static void faults_off(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(fault_dirs); i++)
		set_fault(fault_dirs[i], "probability", "0");
}

static void disturb_faults(unsigned long long *state)
{
	const char *dir = fault_dirs[xorshift(state) % ARRAY_SIZE(fault_dirs)];

	if (!faults || set_fault(dir, "probability", xorshift(state) % 2 ? "1" : "10"))
		return;
	usleep(100000);
	faults_off();
}

static void undisturb(void)
{
	faults_off();
	write_file(CPU1_ONLINE, "1");
	for (int i = 0; i < nr_devices; i++)
		zram_set(device[i].id, "mem_limit", 0);
	if (zswap_was_off)
		write_file(ZSWAP_ENABLED, "N");
}

static void disturb_shrink(unsigned long long *state)
{
	if (!write_file(DROP_CACHES, xorshift(state) % 4 ? "2" : "3"))
		count_add(SHRINKS, 1);
}

/* Each in a process of its own, with a pause of up to so many ms. */
static const struct disturber {
	void (*disturb)(unsigned long long *state);
	unsigned int pause_ms;
} disturbers[] = {
	{ disturb_compact, 20 },
	{ disturb_limit, 200 },
	{ disturb_swapoff, 1000 },
	{ disturb_reset, 50 },
	{ disturb_hotplug, 200 },
	{ disturb_hog, 3000 },
	{ disturb_zswap, 200 },
	{ disturb_kill, 3000 },
	{ disturb_writeback, 100 },
	{ disturb_shrink, 100 },
	{ disturb_faults, 100 },
};

/* In steps: it may be long, and the end is not to wait for it. */
static void disturber_pause(unsigned long long usec)
{
	unsigned long long end = now_usec() + usec, now;

	for (now = now_usec(); now < end && !stopped(); now = now_usec())
		usleep(end - now < PAUSE_STEP_USEC ? end - now : PAUSE_STEP_USEC);
}

static void __noreturn disturber_run(int number, unsigned int life __maybe_unused)
{
	unsigned long long state = seeded(base_seed, MAX_WORKERS + number);
	const struct disturber *d = &disturbers[number];
	unsigned long long start, pause, least;

	while (!stopped()) {
		start = now_usec();
		d->disturb(&state);
		pause = xorshift(&state) % (1000 * d->pause_ms);
		/* Where it is slow, workers are to get on all the same. */
		least = PAUSE_PART * (now_usec() - start);
		disturber_pause(pause > least ? pause : least);
	}
	_exit(KSFT_PASS);
}

/*
 * Main.
 */

static void interrupt(int sig __maybe_unused)
{
	__atomic_store_n(&shared->interrupted, true, __ATOMIC_RELAXED);
}

static unsigned long long device_size(void)
{
	/* Each has room for all, so that the others can be swapped off. */
	return memory / page_size * page_size;
}

static bool zram_there(void)
{
	if (!access(ZRAM_CONTROL, X_OK))
		return true;
	module_loaded = !system("modprobe -q zram num_devices=0 >/dev/null 2>&1");
	return !access(ZRAM_CONTROL, X_OK);
}

static const char *devices_setup(void)
{
	unsigned long long orig;

	for (int i = 0; i < nr_devices; i++)
		device[i].id = -1;
	if (!zram_add(&scratch, NULL, SCRATCH_BLOCKS * page_size))
		return "no zram device";
	if (!zram_add(&backing, NULL, device_size()))
		return "no zram device to write back to";
	for (int i = 0; i < nr_devices; i++) {
		if (!zram_add(&device[i], i ? NULL : &backing, device_size()) ||
		    write_swap_header(device[i].node, device_size(), (char *)expected) ||
		    !zram_swapon(&device[i]) ||
		    !mm_stat(&device[i], &orig, &device[i].used_empty))
			return "no zram device to swap to";
	}
	return NULL;
}

static pid_t start(void (*run)(int number, unsigned int life), int number,
		   unsigned int life)
{
	pid_t parent = getpid(), pid = fork();

	if (!pid) {
		die_with_parent(parent);
		run(number, life);
	}
	if (pid < 0)
		fail("fork: %s", strerror(errno));
	return pid;
}

/*
 * Was it right that this worker ended, and is there to be another in its place?
 * The OOM killer may have taken it, if it killed more than is known already.
 */
static bool worker_ended(int number, int status, unsigned long long oom_kills)
{
	bool killed = __atomic_exchange_n(&shared->killed[number], false, __ATOMIC_RELAXED);

	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return false;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
		if (!killed && oom_kills > __atomic_load_n(&shared->oom_seen, __ATOMIC_RELAXED)) {
			oom_killed();
			killed = true;
		}
		if (killed)
			return !stopped();
	}
	fail("worker %d ended with status %#x", number, status);
	return false;
}

/* For disturb_kill(), which kills no other process. */
static void set_worker(int number, pid_t pid)
{
	__atomic_store_n(&shared->worker[number], pid > 0 ? pid : 0, __ATOMIC_RELAXED);
}

/* Until all are done, or the time is up; who was killed is started again. */
static void run(void)
{
	unsigned int life[MAX_WORKERS] = {};
	unsigned long long killed = read_vmstat("oom_kill");
	unsigned long long end = now_usec() + seconds * 1000000ULL;
	int left = nr_workers, status, i;
	pid_t pid;

	for (i = 0; i < nr_workers; i++)
		set_worker(i, start(worker_run, i, 0));
	for (i = 0; i < (int)ARRAY_SIZE(disturbers); i++)
		start(disturber_run, i, 0);
	while (left) {
		if (__atomic_load_n(&shared->interrupted, __ATOMIC_RELAXED))
			fail("interrupted");
		if (!max_ops && now_usec() >= end)
			__atomic_store_n(&shared->stop, true, __ATOMIC_RELAXED);
		pid = waitpid(-1, &status, WNOHANG);
		if (!pid) {
			usleep(10000);
			continue;
		}
		if (pid < 0) {
			fail("workers are lost");
			break;
		}
		for (i = 0; i < nr_workers && shared->worker[i] != pid; i++)
			;
		if (i == nr_workers) {
			if (status || !stopped())
				fail("a disturber ended with status %#x", status);
		} else if (worker_ended(i, status, read_vmstat("oom_kill") - killed)) {
			pid = start(worker_run, i, ++life[i]);
			set_worker(i, pid);
			left -= pid < 0;
		} else {
			set_worker(i, 0);
			left--;
		}
	}
	__atomic_store_n(&shared->stop, true, __ATOMIC_RELAXED);
	while (wait(&status) > 0) {
		if (status)
			fail("a disturber ended with status %#x", status);
	}
	undisturb();
	count_add(OOM_KILLS, read_vmstat("oom_kill") - killed);
	if (faults)
		count_add(FAULTS, faults_injected());
}

/* With what each CPU has counted for itself, if the kernel has stat_refresh. */
static unsigned long long zsmalloc_pages(void)
{
	write_file(STAT_REFRESH, "1");
	return read_vmstat("nr_zspages");
}

/*
 * What was freed before may still wait for its worker. And without stat_refresh,
 * CPUs count for themselves for some two seconds.
 */
static unsigned long long settled_pages(void)
{
	unsigned int usec = access(STAT_REFRESH, W_OK) ? 3000000 : 100000;
	unsigned long long before, now = zsmalloc_pages();

	do {
		before = now;
		usleep(usec);
		now = zsmalloc_pages();
	} while (now != before);
	return now;
}

/* With nothing in use, all is where it was. */
static const char *accounts_wrong(unsigned long long zspages)
{
	static char text[200];
	unsigned long long orig, used, now = 0;

	for (int i = 0; i < nr_devices; i++) {
		if (swapoff(device[i].node))
			return "a device can't be swapped off";
		device[i].swap_on = false;
		for (int k = 0; k < FREE_TIMEOUT_SEC * 100; k++) {
			if (!mm_stat(&device[i], &orig, &used))
				return "no mm_stat";
			if (orig <= page_size && used <= device[i].used_empty)
				break;
			usleep(10000);
		}
		if (orig > page_size || used > device[i].used_empty) {
			snprintf(text, sizeof(text),
				 "zram%d still stores %llu bytes, in %llu, empty %llu",
				 device[i].id, orig, used, device[i].used_empty);
			return text;
		}
	}
	for (int i = 0; i < nr_devices; i++) {
		if (!zram_remove(&device[i]))
			return "a device can't be removed";
	}
	if (!zram_remove(&scratch) || !zram_remove(&backing))
		return "a device that is not for swap can't be removed";
	for (int k = 0; k < FREE_TIMEOUT_SEC * 100; k++) {
		now = zsmalloc_pages();
		if (now == zspages)
			return NULL;
		usleep(10000);
	}
	snprintf(text, sizeof(text), "%llu pages are still zsmalloc's, %llu before", now, zspages);
	return text;
}

/* What the kernel has complained about: WARN, KASAN and others mark it so. */
static unsigned long long tainted(void)
{
	char buf[32];

	return read_file(TAINTED, buf, sizeof(buf)) > 0 ? strtoull(buf, NULL, 10) : 0;
}

static unsigned long long swapped_out(void)
{
	return read_vmstat("pswpout") + read_vmstat("zswpout");
}

static void cleanup(void)
{
	for (int i = 0; i < nr_devices; i++) {
		if (device[i].swap_on)
			swapoff(device[i].node);
		if (device[i].id >= 0)
			zram_remove(&device[i]);
	}
	zram_remove(&scratch);
	zram_remove(&backing);
	if (module_loaded)
		(void)!system("modprobe -q -r zram");
}

static void __noreturn print_usage(int status)
{
	printf("Usage: stress [OPTION...]\n\n"
	       "  --seconds N    how long (10)\n"
	       "  --ops N        as many operations of each worker instead, none of them killed\n"
	       "  --seed N       other numbers (1)\n"
	       "  --workers N    processes with memory (2 for each CPU)\n"
	       "  --devices N    zram devices to swap to (2)\n"
	       "  --memory MB    of all workers together (64)\n\n"
	       "Needs root, and a machine that is used for nothing else.\n");
	exit(status);
}

static unsigned long long parse_number(const char *text, unsigned long long most)
{
	char *end;
	unsigned long long n = strtoull(text, &end, 10);

	if (!*text || *end || !n || n > most) {
		fprintf(stderr, "stress wants a number from 1 to %llu, not '%s'\n", most, text);
		exit(KSFT_FAIL);
	}
	return n;
}

static void parse(int argc, char **argv)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'h' },
		{ "seconds", required_argument, NULL, 's' },
		{ "ops", required_argument, NULL, 'o' },
		{ "seed", required_argument, NULL, 'r' },
		{ "workers", required_argument, NULL, 'w' },
		{ "devices", required_argument, NULL, 'd' },
		{ "memory", required_argument, NULL, 'm' },
		{}
	};
	int c;

	nr_workers = 2 * sysconf(_SC_NPROCESSORS_ONLN);
	if (nr_workers > MAX_WORKERS)
		nr_workers = MAX_WORKERS;
	memory = 64;
	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case 's':
			seconds = parse_number(optarg, 1000000);
			break;
		case 'o':
			max_ops = parse_number(optarg, 1ULL << 40);
			break;
		case 'r':
			base_seed = parse_number(optarg, 1ULL << 31);
			break;
		case 'w':
			nr_workers = parse_number(optarg, MAX_WORKERS);
			break;
		case 'd':
			nr_devices = parse_number(optarg, MAX_DEVICES);
			break;
		case 'm':
			memory = parse_number(optarg, 1 << 20);
			break;
		case 'h':
			print_usage(KSFT_PASS);
		default:
			print_usage(KSFT_FAIL);
		}
	}
	if (optind < argc)
		print_usage(KSFT_FAIL);
	memory <<= 20;
	if (memory / nr_workers / NR_SLOTS < (size_t)sysconf(_SC_PAGESIZE)) {
		fprintf(stderr, "stress needs %d pages for each worker\n", NR_SLOTS);
		exit(KSFT_FAIL);
	}
}

int main(int argc, char **argv)
{
	unsigned long long zspages, taint, out;
	const char *wrong;
	char buf[16];

	parse(argc, argv);
	ksft_print_header();
	if (geteuid())
		ksft_exit_skip("root is needed\n");
	if (!zram_there())
		ksft_exit_skip("no zram, CONFIG_ZRAM is needed\n");
	if (read_meminfo("SwapTotal:"))
		ksft_exit_skip("there is swap already\n");
	ksft_set_plan(3);
	page_size = sysconf(_SC_PAGESIZE);
	expected = aligned_alloc(page_size, page_size);
	shared = map_shared(sizeof(*shared));
	if (!expected || !shared)
		ksft_exit_fail_perror("memory");
	signal(SIGINT, interrupt);
	signal(SIGTERM, interrupt);
	signal(SIGHUP, interrupt);

	zspages = settled_pages();
	taint = tainted();
	out = swapped_out();
	wrong = devices_setup();
	if (wrong) {
		cleanup();
		ksft_exit_fail_msg("%s\n", wrong);
	}
	zswap_was_off = read_file(ZSWAP_ENABLED, buf, sizeof(buf)) > 0 && buf[0] == 'N';
	faults = faults_prepare();
	ksft_print_msg("seed %llu, %d workers, %llu MB, %d devices%s%s\n", base_seed,
		       nr_workers, memory >> 20, nr_devices,
		       zswap_was_off ? ", zswap" : "", faults ? ", faults" : "");
	/* Not a worker, but what they need. */
	write_file("/proc/self/oom_score_adj", "-1000");

	run();
	wrong = accounts_wrong(zspages);
	cleanup();

	ksft_print_msg("zsmalloc-stress:");
	for (int i = 0; i < NR_COUNTS; i++)
		printf(" %s=%llu", count_names[i], shared->count[i]);
	printf("\n");
	if (shared->failed)
		ksft_print_msg("%s\n", shared->reason);
	if (wrong)
		ksft_print_msg("%s\n", wrong);
	if (!shared->failed && (!shared->count[VERIFIED] || swapped_out() == out))
		ksft_exit_fail_msg("nothing was swapped out and looked at\n");
	ksft_test_result(!shared->failed, "contents\n");
	ksft_test_result(!wrong, "accounting\n");
	ksft_test_result(!(tainted() & ~taint), "the kernel has not complained\n");
	ksft_finished();
}

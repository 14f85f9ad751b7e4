// SPDX-License-Identifier: GPL-2.0
/*
 * Unmapping memory that was swapped out to zram, or to zswap in front of it.
 *
 * Both keep swapped out pages in zsmalloc, so each swap entry of an unmapped
 * range ends in one zs_free(). The tests here check that zs_free() of some
 * pages leaves the others intact, and that after munmap() by one or more
 * processes at the same time all the memory of the pool has been given back;
 * and the same of processes that are killed, with half of their memory swapped
 * out. They also measure how long that takes, but never judge the time: each
 * measurement is one "# zsmalloc-munmap: key=value ..." or "# zsmalloc-kill:
 * key=value ..." line.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "zram_device.h"

#define COMPACT_MEMORY		"/proc/sys/vm/compact_memory"
#define ZSWAP_SHRINKER		"/sys/module/zswap/parameters/shrinker_enabled"

#define BIT_ULL(nr)		(1ULL << (nr))

#define MAX_PROCS		32
/* Fits in a size_t of 32 bits. */
#define MAX_SIZE_MB		2047

#define PM_SWAP			BIT_ULL(62)
#define PAGEMAP_BATCH		512

#define PAGEOUT_TRIES		20

/* Of a worker's pages, one in so many is read back before the measurement. */
#define SAMPLE_STEP		64

/* Where half of the memory is swapped out, it is every other so many bytes. */
#define HALF_CHUNK		(64UL << 10)

/* What follows the random bytes of a page. Not 0: that could be a lost page. */
#define FILLER			0x5a5a5a5a5a5a5a5aULL

struct worker {
	pid_t pid;
	int report;
	bool verify;
	bool half;
	unsigned long long seed;
	unsigned long long start_ns;
	unsigned long long end_ns;
	const char *error;
};

/* The workers of one test. */
struct crew {
	struct worker *worker;
	int nr;
	bool half;
	int start_fd;
	pid_t compactor;
	long long rejected;
	struct mm_stat before;
	struct mm_stat full;
	struct mm_stat after;
};

/* The harness wants to know the variants at build time: those of munmap. */
static const int proc_counts[] = { 1, 2, 4, 8, 16, MAX_PROCS };

static bool procs_asked[MAX_PROCS + 1] = {
	[1] = true, [2] = true, [4] = true,
};

static size_t region_size = 64UL << 20;
static unsigned long long base_seed = 1;

static size_t nr_pages;
static bool use_zswap;

/*
 * The device is a swap device.
 */

/* Twice what the tests use: swap is handed out to each CPU in clusters. */
static unsigned long long device_size(void)
{
	int most = 2;

	for (int procs = most; procs <= MAX_PROCS; procs++) {
		if (procs_asked[procs])
			most = procs;
	}
	return 2ULL * most * region_size;
}

static bool device_swapon(void)
{
	/* The highest priority there is, to come before any other swap. */
	if (swapon(dev->node, SWAP_FLAG_PREFER | SWAP_FLAG_PRIO_MASK))
		return verdict(KSFT_FAIL, "swapon: %s", strerror(errno));
	dev->swap_on = true;
	return read_mm_stat(&dev->empty) || verdict(KSFT_FAIL, "no mm_stat");
}

static bool device_use(void)
{
	const char *why_not = use_zswap ? device_zswap_on() : NULL;

	if (why_not)
		return verdict(KSFT_SKIP, "%s", why_not);
	return device_write_header() && device_swapon();
}

/*
 * Memory and its contents.
 */

/*
 * The random part does not compress and the rest does, so its length decides
 * on the size of the object. Spread it over most of the size classes, up to
 * 3/4 of a page: beyond that zram may store the page uncompressed.
 */
static void fill_page(unsigned long long *page, unsigned long long seed, size_t index)
{
	unsigned long long state = (seed << 32) + index + 1;
	size_t words = page_size / sizeof(*page);
	size_t shortest = words / 64;
	size_t nr_random, i;

	/* The first numbers of similar seeds are similar. */
	for (i = 0; i < 8; i++)
		xorshift(&state);
	nr_random = shortest + xorshift(&state) % (words * 3 / 4 - shortest);

	for (i = 0; i < nr_random; i++)
		page[i] = xorshift(&state);
	for (; i < words; i++)
		page[i] = FILLER;
}

static void fill_region(char *region, unsigned long long seed)
{
	for (size_t i = 0; i < nr_pages; i++)
		fill_page((unsigned long long *)(region + i * page_size), seed, i);
}

/* Compare every step-th page with what it was filled with. */
static bool verify_region(const char *region, unsigned long long seed, size_t step)
{
	for (size_t i = 0; i < nr_pages; i += step) {
		fill_page(scratch_page, seed, i);
		if (memcmp(region + i * page_size, scratch_page, page_size)) {
			ksft_print_msg("page %zu is not what it was\n", i);
			return false;
		}
	}
	return true;
}

/*
 * MADV_NOHUGEPAGE, as otherwise the number and the order of the swap entries
 * would depend on which large folios were available.
 */
static char *map_region(unsigned long long seed)
{
	char *region = mmap(NULL, region_size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (region == MAP_FAILED)
		return NULL;
	/* EINVAL: the kernel has no huge pages at all. */
	if (madvise(region, region_size, MADV_NOHUGEPAGE) && errno != EINVAL)
		return NULL;
	fill_region(region, seed);
	return region;
}

static size_t pages_swapped(const char *region)
{
	unsigned long long entry[PAGEMAP_BATCH];
	off_t offset = (uintptr_t)region / page_size * sizeof(*entry);
	int fd = open("/proc/self/pagemap", O_RDONLY);
	size_t swapped = 0, left = nr_pages;

	while (fd >= 0 && left) {
		size_t nr = left < PAGEMAP_BATCH ? left : PAGEMAP_BATCH;
		ssize_t len = nr * sizeof(*entry);

		if (pread(fd, entry, len, offset) != len)
			break;
		for (size_t i = 0; i < nr; i++)
			swapped += !!(entry[i] & PM_SWAP);
		offset += len;
		left -= nr;
	}
	close(fd);
	return swapped;
}

/*
 * A page which is isolated by somebody else for the moment is passed over. Half
 * of a region is swapped out as reclaim leaves it: what is resident lies between.
 */
static bool page_out(char *region, bool half)
{
	size_t size = half ? HALF_CHUNK : region_size;
	size_t step = half ? 2 * HALF_CHUNK : region_size;

	for (int i = 0; i < PAGEOUT_TRIES; i++) {
		if (i)
			usleep(RETRY_USEC);
		for (size_t at = 0; at < region_size; at += step) {
			if (madvise(region + at, size, MADV_PAGEOUT))
				return false;
		}
		/* Others may swap out the rest, which on_device() will see. */
		if (pages_swapped(region) >= nr_pages / (half ? 2 : 1))
			return true;
	}
	return false;
}

/*
 * New pages wait in a per-CPU batch before they can be reclaimed, and
 * MADV_PAGEOUT drains that of its own CPU only. Hence stay on one CPU from the
 * first access to a page until it is swapped out.
 */
static bool stay_on_cpu(cpu_set_t *old)
{
	cpu_set_t here;

	CPU_ZERO(&here);
	CPU_SET(sched_getcpu(), &here);
	return !sched_getaffinity(0, sizeof(*old), old) &&
	       !sched_setaffinity(0, sizeof(here), &here);
}

/*
 * Workers.
 */

static const char *worker_prepare(struct worker *w, char **region)
{
	cpu_set_t cpus;

	if (!stay_on_cpu(&cpus))
		return "affinity of worker not set";
	*region = map_region(w->seed);
	if (!*region)
		return "region not mapped";
	if (!page_out(*region, w->half))
		return "region not swapped out";
	if (!verify_region(*region, w->seed, SAMPLE_STEP))
		return "contents of the sample lost";
	if (!page_out(*region, w->half))
		return "sample not swapped out again";
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		return "affinity of worker not restored";
	return NULL;
}

static const char *worker_act(struct worker *w, char *region)
{
	if (w->verify && !verify_region(region, w->seed, 1))
		return "contents lost";

	w->start_ns = now_ns();
	if (munmap(region, region_size))
		return "munmap failed";
	w->end_ns = now_ns();
	return NULL;
}

/* One byte is sent when ready to start, and another one when finished. */
static void __noreturn worker_run(struct worker *w, int report, int start)
{
	char *region = NULL;
	char c;

	w->error = worker_prepare(w, &region);
	if (write(report, "", 1) != 1 || w->error)
		_exit(KSFT_FAIL);

	/* There is nothing to read: end of file when the test says so. */
	if (read(start, &c, 1))
		_exit(KSFT_FAIL);
	w->error = worker_act(w, region);
	if (write(report, "", 1) != 1 || w->error)
		_exit(KSFT_FAIL);
	_exit(KSFT_PASS);
}

static void worker_fork(struct __test_metadata *_metadata, struct worker *w,
			const int start[2])
{
	pid_t parent = getpid();
	int report[2];
	pid_t pid;

	ASSERT_EQ(pipe(report), 0);
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		die_with_parent(parent);
		close(report[0]);
		close(start[1]);
		worker_run(w, report[1], start[0]);
	}
	close(report[1]);
	/* *w is shared: only the parent may write these. */
	w->report = report[0];
	w->pid = pid;
}

static void crew_fork(struct __test_metadata *_metadata, struct crew *crew)
{
	int start[2];

	ASSERT_EQ(pipe(start), 0);
	for (int i = 0; i < crew->nr; i++) {
		crew->worker[i].half = crew->half;
		worker_fork(_metadata, &crew->worker[i], start);
	}
	close(start[0]);
	crew->start_fd = start[1];
}

/* Wait for a byte of a worker; its pipe is closed if it died. */
static void worker_wait(struct __test_metadata *_metadata, struct worker *w)
{
	char c;

	ASSERT_EQ(read(w->report, &c, 1), 1)
		TH_LOG("worker %d died", w->pid);
	ASSERT_EQ(w->error, NULL)
		TH_LOG("worker %d: %s", w->pid, w->error);
}

static void crew_wait(struct __test_metadata *_metadata, struct crew *crew)
{
	for (int i = 0; i < crew->nr; i++)
		worker_wait(_metadata, &crew->worker[i]);
}

/* Closing the pipe wakes all the workers at once. */
static unsigned long long crew_start(struct crew *crew)
{
	unsigned long long now = now_ns();

	close(crew->start_fd);
	return now;
}

/* Pages are compressed to some 40 percent. That half may do is not known yet. */
static bool fits_in_zswap(unsigned long long size)
{
	unsigned long long ram = 1ULL * sysconf(_SC_PHYS_PAGES) * page_size;
	char percent[16];

	return read_file(ZSWAP_PERCENT, percent, sizeof(percent)) > 0 &&
	       size / 2 < ram / 100 * atoi(percent);
}

static bool zswap_shrinks(void)
{
	char buf[16];

	return read_file(ZSWAP_SHRINKER, buf, sizeof(buf)) > 0 && buf[0] == 'Y';
}

static void crew_setup(struct __test_metadata *_metadata, struct crew *crew,
		       int nr)
{
	unsigned long long needed = 3ULL * region_size * nr / 2;
	unsigned long long when;

	/* All of it at first, and the compressed pages while it goes out. */
	if (read_meminfo("MemAvailable:") < needed)
		SKIP(return, "%llu MB of available memory are needed",
		     needed >> 20);
	if (dev->zswap_on && !fits_in_zswap(1ULL * region_size * nr))
		SKIP(return, "zswap's max_pool_percent is too little");
	if (dev->zswap_on && zswap_shrinks())
		SKIP(return, "zswap's shrinker is on, and would write pages back");

	test_setup();
	crew->worker = map_shared(nr * sizeof(*crew->worker));
	ASSERT_NE(crew->worker, NULL);
	crew->nr = nr;
	for (int i = 0; i < nr; i++)
		crew->worker[i].seed = base_seed + i;

	/*
	 * The previous test may have been killed and its memory be on its way.
	 * What is there for good was its failure: do not fail for that again.
	 * Otherwise all tests have the same to get back to.
	 */
	if (wait_restored(&dev->empty, &crew->before, &when))
		crew->before = dev->empty;
	else
		ASSERT_TRUE(read_mm_stat(&crew->before));
	crew->rejected = zswap_stat("reject_alloc_fail");
}

/*
 * Have page migration work on the pool: it rewrites the place of objects while
 * they are freed. Without CONFIG_COMPACTION there is nothing to race with.
 */
static void compactor_fork(struct __test_metadata *_metadata, struct crew *crew)
{
	pid_t parent = getpid();

	if (access(COMPACT_MEMORY, W_OK))
		return;
	crew->compactor = fork();
	ASSERT_GE(crew->compactor, 0);
	if (crew->compactor)
		return;

	die_with_parent(parent);
	/* The workers wait until it is closed by all. */
	close(crew->start_fd);
	while (!write_file(COMPACT_MEMORY, "1"))
		;
	_exit(KSFT_FAIL);
}

static unsigned long long pages_migrated(void)
{
	return read_vmstat("pgmigrate_success");
}

static void crew_teardown(struct crew *crew)
{
	if (crew->compactor > 0) {
		kill(crew->compactor, SIGKILL);
		waitpid(crew->compactor, NULL, 0);
	}
	for (int i = 0; i < crew->nr; i++) {
		pid_t pid = crew->worker[i].pid;

		if (pid <= 0)
			continue;
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	dev->test_group = 0;
}

/* Is there another swap area, or zswap in front of all of them? */
static bool has_other_swap(void)
{
	char buf[4096];
	int lines = 0;

	if (!dev->zswap_on &&
	    read_file(ZSWAP_ENABLED, buf, sizeof(buf)) > 0 && buf[0] == 'Y')
		return true;
	if (read_file("/proc/swaps", buf, sizeof(buf)) < 0)
		return false;
	for (const char *c = buf; *c; c++)
		lines += *c == '\n';
	/* The headline and our device. */
	return lines > 2;
}

static unsigned long long swapped_pages(const struct crew *crew)
{
	return 1ULL * crew->nr * nr_pages / (crew->half ? 2 : 1);
}

/*
 * All is swapped out, but is it in our device? And is there nothing else in
 * it? Otherwise there is no telling what has to be freed.
 */
static bool on_device(struct __test_metadata *_metadata, struct crew *crew)
{
	unsigned long long size = swapped_pages(crew) * page_size;
	unsigned long long stored;

	ASSERT_TRUE(read_mm_stat(&crew->full));
	ksft_print_msg("mm_stat before: %s\n", crew->before.line);
	ksft_print_msg("mm_stat full:   %s\n", crew->full.line);
	stored = crew->full.orig - crew->before.orig;
	if (stored < size && has_other_swap())
		SKIP(return false, "some pages went to other swap or to zswap");
	if (stored > size)
		SKIP(return false, "other processes are swapping as well");
	ASSERT_EQ(stored, size);
	if (dev->zswap_on && crew->full.zswapped - crew->before.zswapped < size &&
	    zswap_stat("reject_alloc_fail") > crew->rejected)
		SKIP(return false, "memory was short, zswap had none to store all");
	if (dev->zswap_on)
		ASSERT_EQ(crew->full.zswapped - crew->before.zswapped, size)
			TH_LOG("not all of it is in zswap");
	return true;
}

static void wait_freed(struct crew *crew, unsigned long long *when)
{
	wait_restored(&crew->before, &crew->after, when);
	ksft_print_msg("mm_stat after:  %s\n", crew->after.line);
}

/* Nothing may be left in the pool, of what is not in use. */
static void assert_freed(struct __test_metadata *_metadata, struct crew *crew)
{
	if (crew->after.orig > crew->before.orig && swap_in_use())
		SKIP(return, "other processes have been swapped out meanwhile");
	ASSERT_EQ(crew->after.orig, crew->before.orig);
	ASSERT_LE(crew->after.used, crew->before.used);
	ASSERT_TRUE(pool_restored(&crew->before, &crew->after))
		TH_LOG("%llu pages are still zsmalloc's, %llu before",
		       crew->after.zspages, crew->before.zspages);
}

FIXTURE(contents)
{
	struct crew crew;
};

FIXTURE_SETUP(contents)
{
	crew_setup(_metadata, &self->crew, 2);
}

FIXTURE_TEARDOWN(contents)
{
	crew_teardown(&self->crew);
}

/* Pages come back as they were, also after all of their neighbours are freed. */
TEST_F_TIMEOUT(contents, every_other_page, TEST_TIMEOUT_SEC)
{
	struct crew *crew = &self->crew;
	unsigned long long freed;
	cpu_set_t cpus;
	char *region;

	/* No workers, one region. */
	crew->nr = 1;
	ASSERT_TRUE(stay_on_cpu(&cpus));
	region = map_region(base_seed);
	ASSERT_NE(region, NULL);
	ASSERT_TRUE(page_out(region, false));
	if (!on_device(_metadata, crew))
		return;
	ASSERT_TRUE(verify_region(region, base_seed, 1));

	ASSERT_TRUE(page_out(region, false));
	for (size_t i = 1; i < nr_pages; i += 2)
		ASSERT_EQ(madvise(region + i * page_size, page_size,
				  MADV_DONTNEED), 0);
	ASSERT_TRUE(verify_region(region, base_seed, 2));

	ASSERT_EQ(munmap(region, region_size), 0);
	wait_freed(crew, &freed);
	assert_freed(_metadata, crew);
}

/*
 * The same while the neighbours are being freed by another process, and pages
 * migrate.
 */
TEST_F_TIMEOUT(contents, during_munmap, TEST_TIMEOUT_SEC)
{
	struct crew *crew = &self->crew;
	unsigned long long migrated, freed;

	crew->worker[0].verify = true;
	crew_fork(_metadata, crew);
	crew_wait(_metadata, crew);
	if (!on_device(_metadata, crew))
		return;
	migrated = pages_migrated();
	compactor_fork(_metadata, crew);
	crew_start(crew);
	crew_wait(_metadata, crew);
	ksft_print_msg("pages migrated meanwhile: %llu\n",
		       pages_migrated() - migrated);
	wait_freed(crew, &freed);
	assert_freed(_metadata, crew);
}

static void worker_reap(struct __test_metadata *_metadata, struct worker *w)
{
	int status;

	ASSERT_EQ(waitpid(w->pid, &status, 0), w->pid);
	w->pid = 0;
	ASSERT_TRUE(WIFSIGNALED(status));
	ASSERT_EQ(WTERMSIG(status), SIGKILL);
}

/* Pages stay as they are while a process with the neighbours is killed. */
TEST_F_TIMEOUT(contents, during_kill, TEST_TIMEOUT_SEC)
{
	struct crew *crew = &self->crew;
	struct worker *survivor = &crew->worker[0];
	struct worker *victim = &crew->worker[1];
	unsigned long long freed;

	survivor->verify = true;
	crew_fork(_metadata, crew);
	crew_wait(_metadata, crew);
	if (!on_device(_metadata, crew))
		return;
	ASSERT_EQ(kill(victim->pid, SIGKILL), 0);
	crew_start(crew);
	worker_wait(_metadata, survivor);
	worker_reap(_metadata, victim);
	wait_freed(crew, &freed);
	assert_freed(_metadata, crew);
}

/* By so many processes at once. */
FIXTURE(munmap)
{
	struct crew crew;
};

FIXTURE_VARIANT(munmap)
{
	int procs;
};

/* As in proc_counts[]. */
FIXTURE_VARIANT_ADD(munmap, procs_1)
{
	.procs = 1,
};

FIXTURE_VARIANT_ADD(munmap, procs_2)
{
	.procs = 2,
};

FIXTURE_VARIANT_ADD(munmap, procs_4)
{
	.procs = 4,
};

FIXTURE_VARIANT_ADD(munmap, procs_8)
{
	.procs = 8,
};

FIXTURE_VARIANT_ADD(munmap, procs_16)
{
	.procs = 16,
};

FIXTURE_VARIANT_ADD(munmap, procs_32)
{
	.procs = MAX_PROCS,
};

FIXTURE_SETUP(munmap)
{
	if (!procs_asked[variant->procs])
		SKIP(return, "not in the list of process counts");
	crew_setup(_metadata, &self->crew, variant->procs);
}

FIXTURE_TEARDOWN(munmap)
{
	crew_teardown(&self->crew);
}

/* Emulated machines may have nothing but the timer tick: say so. */
static unsigned long long clock_res_ns(void)
{
	struct timespec ts;

	clock_getres(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

/*
 * What did not come back in time, from this test or one before, by the statistics
 * that tell of more.
 */
static unsigned long long left_bytes(const struct mm_stat *after)
{
	const struct mm_stat *empty = &dev->empty;
	unsigned long long left = 0, pages = 0;

	if (pool_restored(empty, after))
		return 0;
	if (after->used > empty->used)
		left = after->used - empty->used;
	if (after->zspages > empty->zspages)
		pages = after->zspages - empty->zspages;
	return left > pages * page_size ? left : pages * page_size;
}

/* One line, for programs to read. Add to the end of it only. */
static void report_crew(const char *what, const struct crew *crew)
{
	ksft_print_msg("zsmalloc-%s: procs=%d size_mb=%zu pages=%llu", what,
		       crew->nr, region_size >> 20, swapped_pages(crew));
}

static void report_pool(const struct crew *crew, unsigned long long freed_ns)
{
	printf(" freed_ns=%llu orig_bytes=%llu used_bytes=%llu clock_res_ns=%llu",
	       freed_ns, crew->full.orig - crew->before.orig,
	       crew->full.used - crew->before.used, clock_res_ns());
	printf(" left_bytes=%llu\n", left_bytes(&crew->after));
}

static void report_times(struct crew *crew, unsigned long long start,
			 unsigned long long freed)
{
	unsigned long long min = ULLONG_MAX, max = 0, end = 0;

	for (int i = 0; i < crew->nr; i++) {
		struct worker *w = &crew->worker[i];
		unsigned long long took = w->end_ns - w->start_ns;

		if (took < min)
			min = took;
		if (took > max)
			max = took;
		if (w->end_ns > end)
			end = w->end_ns;
	}
	report_crew("munmap", crew);
	printf(" munmap_ns=%llu munmap_min_ns=%llu munmap_max_ns=%llu",
	       end - start, min, max);
	report_pool(crew, freed - start);
}

TEST_F_TIMEOUT(munmap, at_once, TEST_TIMEOUT_SEC)
{
	struct crew *crew = &self->crew;
	unsigned long long start, freed;

	crew_fork(_metadata, crew);
	crew_wait(_metadata, crew);
	if (!on_device(_metadata, crew))
		return;
	start = crew_start(crew);
	crew_wait(_metadata, crew);
	wait_freed(crew, &freed);
	report_times(crew, start, freed);
	assert_freed(_metadata, crew);
}

/*
 * Half of the memory is resident. A process that is gone has given that back; what
 * zsmalloc had of it may take longer.
 */
TEST_F_TIMEOUT(munmap, kill, TEST_TIMEOUT_SEC)
{
	struct crew *crew = &self->crew;
	unsigned long long start, gone, freed;

	crew->half = true;
	crew_fork(_metadata, crew);
	crew_wait(_metadata, crew);
	if (!on_device(_metadata, crew))
		return;

	start = now_ns();
	for (int i = 0; i < crew->nr; i++)
		ASSERT_EQ(kill(crew->worker[i].pid, SIGKILL), 0);
	for (int i = 0; i < crew->nr; i++)
		worker_reap(_metadata, &crew->worker[i]);
	gone = now_ns();
	wait_freed(crew, &freed);

	report_crew("kill", crew);
	printf(" resident_ns=%llu", gone - start);
	report_pool(crew, freed - start);
	assert_freed(_metadata, crew);
}

/*
 * Options.
 */

static void usage(void)
{
	fprintf(stderr,
		"Options of this test, besides those of the harness:\n"
		"\t--size MB     memory of each process (64)\n"
		"\t--procs LIST  numbers of processes, of 1,2,4,8,16,32 (1,2,4)\n"
		"\t--seed N      seed of the contents (1)\n"
		"\t--zswap       with zswap, switched on in front of zram\n"
		"ZS_MUNMAP_SIZE_MB, ZS_MUNMAP_PROCS and, not empty, ZS_MUNMAP_ZSWAP\n"
		"in the environment do the same.\n\n");
}

static unsigned long long parse_number(const char *arg, unsigned long long max)
{
	char *end;
	unsigned long long n;

	errno = 0;
	n = strtoull(arg, &end, 10);
	if (errno || end == arg || *end || !n || n > max)
		ksft_exit_fail_msg("bad number: %s\n", arg);
	return n;
}

static void parse_size(const char *arg)
{
	region_size = (size_t)parse_number(arg, MAX_SIZE_MB) << 20;
}

static int parse_proc_count(const char *arg)
{
	int procs = parse_number(arg, MAX_PROCS);

	for (size_t i = 0; i < ARRAY_SIZE(proc_counts); i++) {
		if (proc_counts[i] == procs)
			return procs;
	}
	ksft_exit_fail_msg("not a number of processes to test with: %s\n", arg);
}

static void parse_procs(const char *arg)
{
	char *list = strdup(arg);
	char *token;

	if (!list)
		ksft_exit_fail_perror("strdup");
	memset(procs_asked, 0, sizeof(procs_asked));
	for (token = strtok(list, ","); token; token = strtok(NULL, ","))
		procs_asked[parse_proc_count(token)] = true;
	free(list);
}

static bool parse_option(const char *name, const char *arg)
{
	if (!strcmp(name, "--size"))
		parse_size(arg);
	else if (!strcmp(name, "--procs"))
		parse_procs(arg);
	else if (!strcmp(name, "--seed"))
		base_seed = parse_number(arg, UINT_MAX - MAX_PROCS);
	else
		return false;
	return true;
}

/* Take our own options out of the arguments: the harness accepts only its. */
static int parse_options(int argc, char **argv)
{
	int left = 1;

	if (getenv("ZS_MUNMAP_SIZE_MB"))
		parse_size(getenv("ZS_MUNMAP_SIZE_MB"));
	if (getenv("ZS_MUNMAP_PROCS"))
		parse_procs(getenv("ZS_MUNMAP_PROCS"));
	if (getenv("ZS_MUNMAP_ZSWAP"))
		use_zswap = *getenv("ZS_MUNMAP_ZSWAP");
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--zswap"))
			use_zswap = true;
		else if (i + 1 < argc && parse_option(argv[i], argv[i + 1]))
			i++;
		else
			argv[left++] = argv[i];
	}
	argv[left] = NULL;
	return left;
}

/* Only about the tests: neither root nor the device are needed for that. */
static bool asks_for_help(char **argv)
{
	for (; *argv; argv++) {
		if (!strcmp(*argv, "--help"))
			*argv = "-h";
		if (!strcmp(*argv, "-h"))
			usage();
		if (!strcmp(*argv, "-h") || !strcmp(*argv, "-l"))
			return true;
	}
	return false;
}

int main(int argc, char **argv)
{
	argc = parse_options(argc, argv);
	if (asks_for_help(argv))
		return test_harness_run(argc, argv);

	nr_pages = region_size / sysconf(_SC_PAGESIZE);
	return device_main(argc, argv);
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Empty zspages are freed some time after their last object. Nobody who uses zram
 * may notice: neither that a full device is still full when all was freed, nor a
 * device that goes away meanwhile, nor that pages of such zspages migrate.
 *
 * The device is a block device of pages that don't compress, each of which has a
 * zspage to itself. Discarding a block frees it.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <unistd.h>

#include "zram_device.h"

#define DEVICE_SIZE		(32ULL << 20)
/* The bound of Documentation/mm/zsmalloc.rst, and what CPUs may add to it at once. */
#define MAX_PENDING_BYTES	(8ULL << 20)
#define MAX_CHAIN		16

#define COMPACT_MEMORY		"/proc/sys/vm/compact_memory"
#define DROP_CACHES		"/proc/sys/vm/drop_caches"
#define CPU_ONLINE		"/sys/devices/system/cpu/cpu1/online"

#define NR_ROUNDS		8
#define NR_TRICKLE		48
#define TRICKLE_USEC		20000
/* A hog takes what is available but this, which is less than a round uses. */
#define HOG_LEAVES		(8ULL << 20)
#define HOG_MAX_RAM		(2ULL << 30)

/* The file "free" of the pool in debugfs. */
struct free_stats {
	long pending_pages;
	long deferred_zspages;
	long bound_zspages;
	long shrinker_pages;
	long worker_runs;
	long max_pending_pages;
};

static unsigned long long device_size(void)
{
	return DEVICE_SIZE;
}

static bool device_use(void)
{
	return read_mm_stat(&dev->empty) || verdict(KSFT_FAIL, "no mm_stat");
}

static long stat_value(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	return at ? strtol(at + strlen(name), NULL, 10) : -1;
}

/* Needs CONFIG_ZSMALLOC_STAT and debugfs. */
static bool read_free_stats(struct free_stats *stats)
{
	char path[96], text[512];

	snprintf(path, sizeof(path), "/sys/kernel/debug/zsmalloc/zram%d/free", dev->id);
	if (read_file(path, text, sizeof(text)) <= 0)
		return false;
	/* max_pending_pages ends in the name of another line: that comes first. */
	stats->pending_pages = stat_value(text, "pending_pages ");
	stats->deferred_zspages = stat_value(text, "deferred_zspages ");
	stats->bound_zspages = stat_value(text, "bound_zspages ");
	stats->shrinker_pages = stat_value(text, "shrinker_pages ");
	stats->worker_runs = stat_value(text, "worker_runs ");
	stats->max_pending_pages = stat_value(text, "max_pending_pages ");
	return stats->max_pending_pages >= 0;
}

static bool set_attr(const char *name, unsigned long long value)
{
	char buf[32];

	snprintf(buf, sizeof(buf), "%llu", value);
	return !write_file(device_attr(name), buf);
}

static size_t device_blocks(void)
{
	return DEVICE_SIZE / page_size;
}

/* The contents of a block, the same for the same block. */
static void make_block(unsigned long long *page, size_t block)
{
	unsigned long long state = (block + 1) * 0x9e3779b97f4a7c15ULL;

	for (size_t i = 0; i < page_size / sizeof(*page); i++)
		page[i] = xorshift(&state);
}

static bool write_block(int fd, size_t block)
{
	make_block(scratch_page, block);
	return pwrite(fd, scratch_page, page_size, block * page_size) ==
	       (ssize_t)page_size;
}

static bool write_blocks(int fd, size_t nr)
{
	for (size_t i = 0; i < nr; i++) {
		if (!write_block(fd, i))
			return false;
	}
	return true;
}

static bool discard(int fd, size_t first, size_t nr)
{
	unsigned long long range[2] = { first * page_size, nr * page_size };

	return !ioctl(fd, BLKDISCARD, range);
}

static bool check_block(int fd, size_t block, void *buf)
{
	make_block(scratch_page, block);
	return pread(fd, buf, page_size, block * page_size) == (ssize_t)page_size &&
	       !memcmp(buf, scratch_page, page_size);
}

FIXTURE(deferred)
{
	int fd;
	void *buf;
	pid_t child;
	struct free_stats stats;
	bool has_stats;
	bool cpu_was_online;
};

static bool device_swapon(void)
{
	if (!device_write_header() ||
	    swapon(dev->node, SWAP_FLAG_PREFER | SWAP_FLAG_PRIO_MASK))
		return false;
	dev->swap_on = true;
	return true;
}

/* A region that is swapped out; each page of it compresses to half. */
static char *swap_out(size_t size)
{
	char *region;

	region = mmap(NULL, size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (region == MAP_FAILED)
		return NULL;
	for (size_t at = 0; at < size; at += page_size) {
		make_block(scratch_page, at / page_size);
		memcpy(region + at, scratch_page, page_size / 2);
	}
	if (!madvise(region, size, MADV_PAGEOUT))
		return region;
	munmap(region, size);
	return NULL;
}

static bool swap_out_and_unmap(size_t size, bool check)
{
	char *region = swap_out(size);
	unsigned long long *page;
	bool ok = region;

	if (!region)
		return false;
	for (size_t at = 0; ok && check && at < size; at += page_size) {
		make_block(scratch_page, at / page_size);
		page = (unsigned long long *)(region + at);
		ok = !memcmp(page, scratch_page, page_size / 2);
	}
	return !munmap(region, size) && ok;
}

/* What it is to be when a test begins. Never discard what others swapped out. */
static bool device_reset(int fd)
{
	if (dev->swap_on && swapoff(dev->node))
		return false;
	dev->swap_on = false;
	return set_attr("mem_limit", 0) && discard(fd, 0, device_blocks());
}

static bool cpu_online(void)
{
	char buf[8];

	return read_file(CPU_ONLINE, buf, sizeof(buf)) > 0 && buf[0] == '1';
}

FIXTURE_SETUP(deferred)
{
	test_setup();
	self->fd = open(dev->node, O_RDWR | O_DIRECT);
	ASSERT_GE(self->fd, 0);
	self->buf = aligned_alloc(page_size, page_size);
	ASSERT_NE(self->buf, NULL);
	ASSERT_TRUE(device_reset(self->fd));
	self->cpu_was_online = cpu_online();
	self->has_stats = read_free_stats(&self->stats);
}

/* None waits, and sooner than in the second that this gives them. */
static bool none_pending(void)
{
	struct free_stats stats;

	for (int i = 0; i < 100; i++) {
		if (!read_free_stats(&stats))
			return false;
		if (!stats.pending_pages)
			return true;
		usleep(10000);
	}
	return false;
}

/* No size class counts zspages or objects any more: all of its sums are 0. */
static bool classes_empty(void)
{
	char path[96], line[512];
	bool empty = false;
	FILE *file;

	snprintf(path, sizeof(path), "/sys/kernel/debug/zsmalloc/zram%d/classes", dev->id);
	file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file)) {
		if (strstr(line, "Total"))
			empty = !strpbrk(line, "123456789");
	}
	if (file)
		fclose(file);
	return empty;
}

FIXTURE_TEARDOWN(deferred)
{
	struct mm_stat after;
	unsigned long long when;

	if (self->child > 0) {
		kill(self->child, SIGKILL);
		waitpid(self->child, NULL, 0);
	}
	if (self->cpu_was_online && !cpu_online())
		write_file(CPU_ONLINE, "1");
	EXPECT_TRUE(device_zswap_off());
	EXPECT_TRUE(device_reset(self->fd));
	close(self->fd);
	/* Nothing may be left, whatever the test did. */
	EXPECT_TRUE(!self->has_stats || none_pending());
	EXPECT_TRUE(!self->has_stats || classes_empty());
	EXPECT_TRUE(wait_restored(&dev->empty, &after, &when))
		TH_LOG("mm_stat: %s, %llu pages of zsmalloc, %llu at first",
		       after.line, after.zspages, dev->empty.zspages);
	dev->test_group = 0;
}

/* A device at its limit, all of it freed, takes as much again, at once. */
static void check_refill(struct __test_metadata *_metadata, int fd, void *buf, size_t nr)
{
	struct mm_stat full;

	ASSERT_TRUE(write_blocks(fd, nr));
	ASSERT_TRUE(read_mm_stat(&full));
	ASSERT_TRUE(set_attr("mem_limit", full.used));
	/* The limit works. */
	ASSERT_FALSE(write_block(fd, nr));

	for (int i = 0; i < NR_ROUNDS; i++) {
		ASSERT_TRUE(discard(fd, 0, nr));
		ASSERT_TRUE(write_blocks(fd, nr))
			TH_LOG("%zu blocks, round %d: %s", nr, i, strerror(errno));
	}
	for (size_t i = 0; i < nr; i++)
		ASSERT_TRUE(check_block(fd, i, buf));
	ASSERT_TRUE(device_reset(fd));
}

TEST_F_TIMEOUT(deferred, refill, TEST_TIMEOUT_SEC)
{
	/* So few that they still wait when as many are written again. */
	check_refill(_metadata, self->fd, self->buf, 16);
	check_refill(_metadata, self->fd, self->buf, device_blocks() / 2);
}

/* What waits is bounded, and gone soon after. */
TEST_F_TIMEOUT(deferred, bound, TEST_TIMEOUT_SEC)
{
	long cpus = sysconf(_SC_NPROCESSORS_CONF);
	struct free_stats stats;

	if (!self->has_stats)
		SKIP(return, "no debugfs file, CONFIG_ZSMALLOC_STAT is needed");

	for (int i = 0; i < NR_ROUNDS; i++) {
		ASSERT_TRUE(write_blocks(self->fd, device_blocks()));
		ASSERT_TRUE(discard(self->fd, 0, device_blocks()));
	}
	ASSERT_TRUE(read_free_stats(&stats));
	ksft_print_msg("zspages deferred: %ld, most pages pending: %ld, runs: %ld\n",
		       stats.deferred_zspages - self->stats.deferred_zspages,
		       stats.max_pending_pages,
		       stats.worker_runs - self->stats.worker_runs);
	ASSERT_GT(stats.deferred_zspages, self->stats.deferred_zspages);
	ASSERT_GT(stats.worker_runs, self->stats.worker_runs);
	ASSERT_LE(stats.max_pending_pages,
		  (long)(MAX_PENDING_BYTES / page_size) + cpus * MAX_CHAIN);

	ASSERT_TRUE(none_pending());
	if (stats.bound_zspages == self->stats.bound_zspages)
		SKIP(return, "the worker is too fast, the bound was not reached");
}

/* The worker is not woken up for each of a few zspages. */
TEST_F_TIMEOUT(deferred, trickle, TEST_TIMEOUT_SEC)
{
	struct free_stats stats;

	if (!self->has_stats)
		SKIP(return, "no debugfs file, CONFIG_ZSMALLOC_STAT is needed");

	ASSERT_TRUE(write_blocks(self->fd, NR_TRICKLE));
	ASSERT_TRUE(read_free_stats(&self->stats));
	for (int i = 0; i < NR_TRICKLE; i++) {
		usleep(TRICKLE_USEC);
		ASSERT_TRUE(discard(self->fd, i, 1));
	}
	ASSERT_TRUE(read_free_stats(&stats));
	ASSERT_LE(stats.worker_runs - self->stats.worker_runs, NR_TRICKLE / 8);
}

/* Memory shortage frees what waits: in one of many tries before the worker. */
TEST_F_TIMEOUT(deferred, shrinker, TEST_TIMEOUT_SEC)
{
	/* Fewer than make the worker start before the delay is over. */
	size_t nr = (128 << 10) / page_size;
	struct free_stats stats = {};

	if (!self->has_stats)
		SKIP(return, "no debugfs file, CONFIG_ZSMALLOC_STAT is needed");
	if (access(DROP_CACHES, W_OK))
		SKIP(return, "no drop_caches");

	for (int i = 0; i < 100; i++) {
		ASSERT_TRUE(write_blocks(self->fd, nr));
		ASSERT_TRUE(discard(self->fd, 0, nr));
		ASSERT_EQ(write_file(DROP_CACHES, "2"), 0);
		ASSERT_TRUE(read_free_stats(&stats));
		if (stats.shrinker_pages > self->stats.shrinker_pages)
			break;
	}
	ASSERT_GT(stats.shrinker_pages, self->stats.shrinker_pages);
}

/* The pool goes away while zspages wait. */
TEST_F_TIMEOUT(deferred, reset, TEST_TIMEOUT_SEC)
{
	int ret, k;

	for (int i = 0; i < NR_ROUNDS; i++) {
		ASSERT_TRUE(write_blocks(self->fd, device_blocks()));
		ASSERT_TRUE(discard(self->fd, 0, device_blocks() - i));
		/* It is busy while it is open. */
		close(self->fd);
		self->fd = -1;
		/* And udev may have it open for a moment. */
		for (ret = -EBUSY, k = 0; ret == -EBUSY && k < REMOVE_TRIES; k++) {
			ret = write_file(device_attr("reset"), "1");
			if (ret)
				usleep(RETRY_USEC);
		}
		ASSERT_EQ(ret, 0);
		ASSERT_TRUE(set_attr("disksize", DEVICE_SIZE));
		self->fd = open(dev->node, O_RDWR | O_DIRECT);
		ASSERT_GE(self->fd, 0);
	}
}

/* The same by swapoff, of a device that processes have just left. */
TEST_F_TIMEOUT(deferred, swapoff, TEST_TIMEOUT_SEC)
{
	size_t size = DEVICE_SIZE / 2;
	struct mm_stat full;

	for (int i = 0; i < NR_ROUNDS; i++) {
		char *region;

		ASSERT_TRUE(device_swapon());
		region = swap_out(size);
		ASSERT_NE(region, NULL);
		ASSERT_TRUE(read_mm_stat(&full));
		if (full.orig <= page_size)
			SKIP(return, "pages are not swapped out to zram, but to zswap?");
		ASSERT_EQ(munmap(region, size), 0);
		ASSERT_EQ(swapoff(dev->node), 0);
		dev->swap_on = false;
	}
}

/* Pages of zspages migrate while these fill, get empty, and wait. */
TEST_F_TIMEOUT(deferred, migration, TEST_TIMEOUT_SEC)
{
	unsigned long long migrated = read_vmstat("pgmigrate_success");
	size_t nr = device_blocks() / 4;
	unsigned long long state = 1;
	pid_t parent = getpid();

	if (access(COMPACT_MEMORY, W_OK))
		SKIP(return, "no compact_memory, CONFIG_COMPACTION is needed");
	self->child = fork();
	ASSERT_GE(self->child, 0);
	if (!self->child) {
		die_with_parent(parent);
		while (!write_file(COMPACT_MEMORY, "1"))
			;
		_exit(KSFT_FAIL);
	}

	for (int i = 0; i < NR_ROUNDS; i++) {
		void *region;

		/*
		 * Take what compaction would leave the pages of the device in, and
		 * give it back: so there is something to move, with one CPU, too.
		 */
		region = mmap(NULL, DEVICE_SIZE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
		ASSERT_NE(region, MAP_FAILED);
		ASSERT_TRUE(write_blocks(self->fd, nr));
		ASSERT_EQ(munmap(region, DEVICE_SIZE), 0);
		ASSERT_TRUE(discard(self->fd, 0, nr / 2));
		ASSERT_EQ(write_file(COMPACT_MEMORY, "1"), 0);
		ASSERT_TRUE(write_blocks(self->fd, nr / 2));
		for (size_t k = 0; k < nr / 2; k++) {
			size_t block = xorshift(&state) % nr;

			ASSERT_TRUE(discard(self->fd, block, 1));
			ASSERT_TRUE(write_block(self->fd, block));
		}
		for (size_t k = 0; k < nr; k++)
			ASSERT_TRUE(check_block(self->fd, k, self->buf));
		ASSERT_TRUE(discard(self->fd, 0, nr));
	}
	migrated = read_vmstat("pgmigrate_success") - migrated;
	/* Of the whole system: that some were zsmalloc's is only likely. */
	ksft_print_msg("pages migrated meanwhile: %llu\n", migrated);
	ASSERT_NE(migrated, 0ULL);
}

/* A CPU goes while zspages wait, perhaps for a worker on it. */
TEST_F_TIMEOUT(deferred, cpu_offline, TEST_TIMEOUT_SEC)
{
	if (!cpu_online() || write_file(CPU_ONLINE, "0") || write_file(CPU_ONLINE, "1"))
		SKIP(return, "cpu1 can't be taken offline");

	for (int i = 0; i < NR_ROUNDS; i++) {
		ASSERT_TRUE(write_blocks(self->fd, device_blocks() / 4));
		ASSERT_TRUE(discard(self->fd, 0, device_blocks() / 4));
		ASSERT_EQ(write_file(CPU_ONLINE, i % 2 ? "1" : "0"), 0);
	}
	ASSERT_EQ(write_file(CPU_ONLINE, "1"), 0);
}

/* A thread of that name runs, or waits to run. */
static bool task_exists(const char *name)
{
	char comm[64];
	bool found = false;
	glob_t tasks;

	if (glob("/proc/[0-9]*/comm", 0, NULL, &tasks))
		return false;
	for (size_t i = 0; !found && i < tasks.gl_pathc; i++) {
		if (read_file(tasks.gl_pathv[i], comm, sizeof(comm)) <= 0)
			continue;
		comm[strcspn(comm, "\n")] = '\0';
		found = !strcmp(comm, name);
	}
	globfree(&tasks);
	return found;
}

/* The worker goes on when there is no memory for another thread (WQ_MEM_RECLAIM). */
TEST_F(deferred, rescuer)
{
	if (!self->has_stats)
		SKIP(return, "no debugfs file, CONFIG_ZSMALLOC_STAT is needed");
	ASSERT_TRUE(task_exists("kworker/R-zsmalloc"));
}

/* Pages that zswap was to store, and did not: its pool was full, or it could not. */
static long long zswap_refused(void)
{
	return zswap_stat("pool_limit_hit") + zswap_stat("reject_reclaim_fail") +
	       zswap_stat("reject_kmemcache_fail") + zswap_stat("reject_compress_fail");
}

/* A zswap that is nearly full, all of it freed, takes as much again, at once. */
TEST_F_TIMEOUT(deferred, zswap, TEST_TIMEOUT_SEC)
{
	unsigned long long ram = 1ULL * sysconf(_SC_PHYS_PAGES) * page_size;
	size_t size = ram / 100 * 3 / 2 / page_size * page_size;
	unsigned long long stores;
	long long refused, no_memory, stored;
	const char *why_not;

	if (size > DEVICE_SIZE - page_size)
		SKIP(return, "1%% of memory is too much for the device");
	why_not = device_zswap_on();
	if (why_not)
		SKIP(return, "%s", why_not);
	/* They may be there only once it is enabled. */
	if (zswap_stat("stored_pages"))
		SKIP(return, "zswap has pages, or there is no debugfs");
	ASSERT_EQ(write_file(ZSWAP_PERCENT, "1"), 0);
	ASSERT_TRUE(device_swapon());
	stores = read_vmstat("zswpout");

	/* Half of each page is zero: three quarters of the limit. */
	refused = zswap_refused();
	no_memory = zswap_stat("reject_alloc_fail");
	for (int i = 0; i <= NR_ROUNDS; i++)
		ASSERT_TRUE(swap_out_and_unmap(size, i == NR_ROUNDS));
	ASSERT_EQ(zswap_refused(), refused);
	/* In zswap, but for what a per-CPU batch keeps from MADV_PAGEOUT. */
	stores = read_vmstat("zswpout") - stores;
	ASSERT_GE(stores, (NR_ROUNDS + 1) * (size / page_size) / 100 * 95);
	if (zswap_stat("reject_alloc_fail") != no_memory)
		SKIP(return, "memory was short, zswap had none to store all");

	if (swap_in_use())
		SKIP(return, "other processes have been swapped out meanwhile");
	stored = zswap_stat("stored_pages");
	ASSERT_EQ(stored, 0);
}

static unsigned long long pages_scanned(void)
{
	return read_vmstat("pgscan_kswapd") + read_vmstat("pgscan_direct");
}

/* Memory is short while zspages wait: nobody is killed. */
TEST_F_TIMEOUT(deferred, hog, TEST_TIMEOUT_SEC)
{
	unsigned long long ram = 1ULL * sysconf(_SC_PHYS_PAGES) * page_size;
	unsigned long long killed = read_vmstat("oom_kill");
	unsigned long long scanned = pages_scanned();
	pid_t parent = getpid();
	int ready[2], status;
	char c;

	if (ram > HOG_MAX_RAM)
		SKIP(return, "too much memory to use it all, mem=1G is enough");

	ASSERT_TRUE(device_swapon());
	ASSERT_EQ(pipe(ready), 0);
	self->child = fork();
	ASSERT_GE(self->child, 0);
	if (!self->child) {
		size_t size = read_meminfo("MemAvailable:") - HOG_LEAVES;
		char *hog;

		die_with_parent(parent);
		hog = mmap(NULL, size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (hog == MAP_FAILED)
			_exit(KSFT_FAIL);
		for (unsigned int round = 0;; round++) {
			/* Not a page of one word: that takes no memory on zram. */
			for (size_t at = 0; at < size; at += page_size) {
				*(unsigned int *)(hog + at) = round + 1;
				*(size_t *)(hog + at + 8) = at;
			}
			if (!round && write(ready[1], "", 1) != 1)
				_exit(KSFT_FAIL);
		}
	}
	ASSERT_EQ(read(ready[0], &c, 1), 1);

	for (int i = 0; i < NR_ROUNDS; i++)
		ASSERT_TRUE(swap_out_and_unmap(DEVICE_SIZE / 2, i % 2));
	EXPECT_EQ(read_vmstat("oom_kill"), killed);
	/* It still runs. */
	EXPECT_EQ(waitpid(self->child, &status, WNOHANG), 0);
	close(ready[0]);
	close(ready[1]);
	if (pages_scanned() == scanned)
		SKIP(return, "memory did not get short");
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		/* Only about the tests: neither root nor the device are needed. */
		if (!strcmp(argv[i], "--help"))
			argv[i] = "-h";
		if (!strcmp(argv[i], "-h") || !strcmp(argv[i], "-l"))
			return test_harness_run(argc, argv);
	}
	return device_main(argc, argv);
}

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A zram device for the tests of zsmalloc.
 *
 * The processes of one run:
 *
 *   main        runs the harness
 *   watcher     child of main, owner of the zram device
 *   test        child of the harness, one for each test
 *   others      children of a test
 *
 * The device must go away however the run ends. All but the watcher hold the
 * write end of a pipe, the lifeline. Its end of file tells the watcher that
 * nobody is left who could use the device, even when they were all killed.
 *
 * A test program defines device_size() and device_use(), and its main() ends with
 * device_main().
 */
#ifndef ZRAM_DEVICE_H
#define ZRAM_DEVICE_H

#include <poll.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <time.h>

#include "kselftest_harness.h"
#include "util.h"

#define ZRAM_ALGORITHM		"lzo-rle"
#define ZSWAP_PERCENT		"/sys/module/zswap/parameters/max_pool_percent"
#define ZSWAP_STATS		"/sys/kernel/debug/zswap/"

#define NSEC_PER_SEC		1000000000ULL

/* Generous, as the tests also run on emulated machines. */
#define TEST_TIMEOUT_SEC	300
#define FREE_TIMEOUT_NS		(10 * NSEC_PER_SEC)
#define FREE_POLL_USEC		200

struct mm_stat {
	char line[160];
	/* With what zswap has, if the test switched that on. */
	unsigned long long orig;
	unsigned long long used;
	unsigned long long zswapped;
	/* Of the kernel: pages of zsmalloc that are not free yet. */
	unsigned long long zspages;
};

/* The device; shared, as the watcher sets it up and the tests look at it. */
struct device {
	int id;
	char node[64];
	bool node_made;
	bool module_loaded;
	bool swap_on;
	bool zswap_on;
	char zswap_percent[16];
	struct mm_stat empty;
	pid_t test_group;
	int verdict;
	char reason[256];
};

static unsigned long long *scratch_page;

static struct device *dev;
static pid_t main_pid;
static pid_t watcher_pid;
static int lifeline;

/* The size of the device in bytes. */
static unsigned long long device_size(void);

/* Make the device what the tests want it to be, when it has its size. */
static bool device_use(void);

static unsigned long long now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

static const char *device_attr(const char *name)
{
	return zram_attr(dev->id, name);
}

static bool read_mm_stat(struct mm_stat *stat)
{
	stat->zspages = read_vmstat("nr_zspages");
	if (read_file(device_attr("mm_stat"), stat->line,
		      sizeof(stat->line)) < 0)
		return false;
	stat->line[strcspn(stat->line, "\n")] = '\0';
	if (sscanf(stat->line, "%llu %*u %llu", &stat->orig, &stat->used) != 2)
		return false;
	stat->zswapped = dev->zswap_on ? read_meminfo("Zswapped:") : 0;
	stat->orig += stat->zswapped;
	stat->used += dev->zswap_on ? read_meminfo("Zswap:") : 0;
	return true;
}

/* -1 without debugfs, or before zswap was first enabled */
static long long zswap_stat(const char *name)
{
	char path[96], buf[32];

	snprintf(path, sizeof(path), ZSWAP_STATS "%s", name);
	return read_file(path, buf, sizeof(buf)) > 0 ? atoll(buf) : -1;
}

/* All of ours is unmapped: is there something of others? */
static bool swap_in_use(void)
{
	return read_meminfo("SwapTotal:") != read_meminfo("SwapFree:");
}

/* Put zswap in front of the device; NULL, or why a test can't have it. */
static const char *device_zswap_on(void)
{
	char buf[16];

	if (read_file(ZSWAP_ENABLED, buf, sizeof(buf)) <= 0)
		return "no zswap, CONFIG_ZSWAP is needed";
	/* It may have pages from before it was switched off. */
	if (buf[0] != 'N' || read_meminfo("Zswapped:"))
		return "zswap is in use";
	if (read_file(ZSWAP_PERCENT, dev->zswap_percent, sizeof(dev->zswap_percent)) <= 0)
		return "zswap has no limit";
	dev->zswap_on = true;
	if (!write_file(ZSWAP_ENABLED, "Y"))
		return NULL;
	dev->zswap_on = false;
	return "zswap can't be switched on";
}

/* And leave zswap as it was. */
static bool device_zswap_off(void)
{
	if (!dev->zswap_on)
		return true;
	dev->zswap_on = false;
	return !write_file(ZSWAP_ENABLED, "N") &&
	       !write_file(ZSWAP_PERCENT, dev->zswap_percent);
}

/*
 * The device: all of this runs in the watcher.
 */

static bool __printf(2, 3) verdict(int code, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(dev->reason, sizeof(dev->reason), fmt, args);
	va_end(args);
	dev->verdict = code;
	return false;
}

static bool kernel_supported(void)
{
	if (access("/proc/swaps", R_OK))
		return verdict(KSFT_SKIP, "no swap, CONFIG_SWAP is needed");
	if (access("/proc/self/pagemap", R_OK))
		return verdict(KSFT_SKIP,
			       "no pagemap, CONFIG_PROC_PAGE_MONITOR is needed");
	if (!access(ZRAM_CONTROL, X_OK))
		return true;

	/* No devices but ours, so that nothing is left when it is removed. */
	if (system("modprobe -q zram num_devices=0 >/dev/null 2>&1") ||
	    access(ZRAM_CONTROL, X_OK))
		return verdict(KSFT_SKIP, "no zram, CONFIG_ZRAM is needed");
	dev->module_loaded = true;
	return true;
}

static bool device_add(void)
{
	char buf[128];
	int ret = zram_hot_add();

	if (ret < 0)
		return verdict(KSFT_FAIL, "hot_add: %s", strerror(-ret));
	dev->id = ret;

	ret = read_file(device_attr("comp_algorithm"), buf, sizeof(buf));
	if (ret < 0)
		return verdict(KSFT_FAIL, "comp_algorithm: %s", strerror(-ret));
	if (!strstr(buf, ZRAM_ALGORITHM))
		return verdict(KSFT_SKIP, "zram has no " ZRAM_ALGORITHM
			       ", CONFIG_ZRAM_BACKEND_LZO is needed");
	return true;
}

static bool device_configure(void)
{
	int ret = write_file(device_attr("comp_algorithm"), ZRAM_ALGORITHM);

	if (ret)
		return verdict(KSFT_FAIL, "comp_algorithm: %s", strerror(-ret));
	ret = zram_set(dev->id, "disksize", device_size());
	if (ret)
		return verdict(KSFT_FAIL, "disksize: %s", strerror(-ret));
	return true;
}

static bool device_find_node(void)
{
	int ret = zram_make_node(dev->id, dev->node, sizeof(dev->node));

	if (ret < 0)
		return verdict(KSFT_FAIL, "%s: %s", dev->node, strerror(-ret));
	dev->node_made = ret;
	return true;
}

static bool device_write_header(void)
{
	int ret = write_swap_header(dev->node, device_size(), (char *)scratch_page);

	return !ret || verdict(KSFT_FAIL, "no swap header could be written: %s",
			       strerror(-ret));
}

static void device_setup(void)
{
	if (kernel_supported() && device_add() && device_configure() &&
	    device_find_node() && device_use())
		dev->verdict = KSFT_PASS;
}

static bool device_hot_remove(void)
{
	int ret = zram_hot_remove(dev->id);

	if (ret)
		ksft_print_msg("hot_remove of zram%d: %s\n", dev->id,
			       strerror(-ret));
	return !ret;
}

/* Undo as much of device_setup() as was done. Removal implies a reset. */
static bool device_teardown(void)
{
	bool removed = true;

	if (!device_zswap_off())
		ksft_print_msg("zswap is not as it was\n");
	if (dev->swap_on && swapoff(dev->node))
		ksft_print_msg("swapoff %s: %s\n", dev->node, strerror(errno));
	if (dev->id >= 0)
		removed = device_hot_remove();
	if (dev->node_made)
		unlink(dev->node);
	if (dev->module_loaded && system("modprobe -q -r zram"))
		ksft_print_msg("zram is still loaded\n");
	return removed;
}

/*
 * The watcher.
 */

static bool lifeline_held(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	char c;

	return poll(&pfd, 1, 10) <= 0 || read(fd, &c, 1) != 0;
}

/*
 * Until nobody holds the lifeline. A byte in it is main's request to end the
 * test which is running. Do that as well when main was killed: its tests are
 * in process groups of their own and would go on.
 */
static void watch(int fd, int main_pidfd)
{
	struct pollfd pfds[] = {
		{ .fd = fd, .events = POLLIN },
		{ .fd = main_pidfd, .events = POLLIN },
	};

	poll(pfds, ARRAY_SIZE(pfds), -1);
	while (lifeline_held(fd)) {
		/* Once: it is 0 between tests, and that would mean our own group. */
		pid_t group = __atomic_load_n(&dev->test_group, __ATOMIC_RELAXED);

		if (group)
			kill(-group, SIGKILL);
	}
}

static void __noreturn watcher_run(int fd, int ready_fd, int main_pidfd)
{
	sigset_t all;

	/* What ends the tests must not end the watcher. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	setsid();

	device_setup();
	close(ready_fd);
	watch(fd, main_pidfd);
	_exit(device_teardown() ? KSFT_PASS : KSFT_FAIL);
}

/* Normal end of main. */
static void watcher_finish(void)
{
	int status;

	if (getpid() != main_pid)
		return;
	close(lifeline);
	if (waitpid(watcher_pid, &status, 0) == watcher_pid && !status)
		return;
	ksft_print_msg("the zram device was not removed\n");
	fflush(NULL);
	_exit(KSFT_FAIL);
}

/* End of main by a signal: only return when the device is gone. */
static void watcher_interrupt(int sig)
{
	if (getpid() == main_pid && write(lifeline, "", 1) == 1) {
		close(lifeline);
		waitpid(watcher_pid, NULL, 0);
	}
	signal(sig, SIG_DFL);
	raise(sig);
}

static void watcher_start(void)
{
	int main_pidfd = syscall(__NR_pidfd_open, getpid(), 0);
	int life[2], ready[2];
	char c;

	main_pid = getpid();
	if (main_pidfd < 0 || pipe(life) || pipe(ready))
		ksft_exit_fail_perror("watcher");

	watcher_pid = fork();
	if (watcher_pid < 0)
		ksft_exit_fail_perror("fork");
	if (!watcher_pid) {
		close(life[1]);
		close(ready[0]);
		watcher_run(life[0], ready[1], main_pidfd);
	}
	close(life[0]);
	close(ready[1]);
	close(main_pidfd);
	lifeline = life[1];

	signal(SIGINT, watcher_interrupt);
	signal(SIGTERM, watcher_interrupt);
	signal(SIGHUP, watcher_interrupt);
	atexit(watcher_finish);

	/* There is nothing to read: end of file when the device is set up. */
	if (read(ready[0], &c, 1) < 0)
		ksft_exit_fail_perror("read");
	close(ready[0]);
}

/*
 * Statistics of the device.
 */

/* Does anybody else use zsmalloc? */
static bool zsmalloc_is_shared(void)
{
	char buf[16];
	int nr = 0;

	if (!dev->zswap_on &&
	    read_file(ZSWAP_ENABLED, buf, sizeof(buf)) > 0 && buf[0] == 'Y')
		return true;
	for (int id = 0; id < 64; id++) {
		char path[64];

		snprintf(path, sizeof(path), "/sys/block/zram%d/initstate", id);
		nr += read_file(path, buf, sizeof(buf)) > 0 && buf[0] == '1';
	}
	return nr > 1;
}

/* The kernel's counters are summed up from one for each CPU, and may be behind. */
static unsigned long long counter_slack(void)
{
	return 64 * sysconf(_SC_NPROCESSORS_CONF);
}

/*
 * A page is no more part of the size of the pool some time before it is free. The
 * counter of these is of all pools.
 */
static bool pool_restored(const struct mm_stat *before, const struct mm_stat *now)
{
	return now->orig == before->orig && now->used <= before->used &&
	       (now->zspages <= before->zspages + counter_slack() ||
		zsmalloc_is_shared());
}

/*
 * Memory of the pool may be freed some time after its last object has gone, so
 * give it time to get back to how it was, and say when that was.
 */
static bool wait_restored(const struct mm_stat *before, struct mm_stat *after,
			  unsigned long long *when)
{
	unsigned long long deadline = now_ns() + FREE_TIMEOUT_NS;

	for (;;) {
		if (!read_mm_stat(after))
			return false;
		*when = now_ns();
		if (pool_restored(before, after))
			return true;
		if (*when > deadline)
			return false;
		usleep(FREE_POLL_USEC);
	}
}

/*
 * Tests.
 */

/* Make sure that the test ends with the run, whatever is killed. */
static void test_setup(void)
{
	dev->test_group = getpgrp();
	die_with_parent(dev->test_group);
}

static void device_prepare(void)
{
	page_size = sysconf(_SC_PAGESIZE);
	scratch_page = aligned_alloc(page_size, page_size);
	dev = map_shared(sizeof(*dev));
	if (!scratch_page || !dev)
		ksft_exit_fail_perror("memory");
	dev->id = -1;
	verdict(KSFT_FAIL, "the watcher died");
}

/* Run the tests on a device, or say why not. */
static int device_main(int argc, char **argv)
{
	if (geteuid()) {
		ksft_print_header();
		ksft_exit_skip("root is needed\n");
	}
	device_prepare();
	watcher_start();
	if (dev->verdict == KSFT_PASS)
		return test_harness_run(argc, argv);

	ksft_print_header();
	if (dev->verdict == KSFT_SKIP)
		ksft_exit_skip("%s\n", dev->reason);
	ksft_exit_fail_msg("%s\n", dev->reason);
}

#endif /* ZRAM_DEVICE_H */

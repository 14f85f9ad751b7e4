// SPDX-License-Identifier: GPL-2.0
/*
 * What scripts/profile and scripts/scale run in the guest, with zram0 ready. Marks
 * the beginning and the end of what is to be counted by personality(0xffffffff),
 * which does nothing; see profile-plugin.c and scale-plugin.c.
 *
 *   profile-guest munmap MB	zram0 is swap space
 *   profile-guest pair MB N	the same, then another process on CPU 1; with N random
 *				bytes in each page, or as many as in munmap (0)
 *   profile-guest churn MB N	zram0 is a block device of MB, written N times
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE		4096
/* A page compresses to little more than the random bytes in it */
#define RANDOM_MIN	64
#define RANDOM_MAX	3000
/* Different pages to write, so many bytes apart in size as two size classes */
#define NR_PAGES	92

static uint64_t state = 0x7a736d616c6c6f63;

static uint64_t next_random(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static void fill_page(unsigned char *page, size_t len)
{
	size_t i;

	memset(page, 0, PAGE);
	for (i = 0; i < len; i++)
		page[i] = next_random() >> 32;
}

/* Not 0: all pages have so many random bytes, which makes one size class of them */
static size_t same_len;

static size_t random_len(void)
{
	if (same_len)
		return same_len;
	return RANDOM_MIN + next_random() % (RANDOM_MAX - RANDOM_MIN + 1);
}

static void mark(void)
{
	personality(0xffffffff);
}

/* One of the figures in mm_stat: 0 orig_data_size, 2 mem_used_total */
static unsigned long mm_stat(int column)
{
	unsigned long v[3];
	FILE *f = fopen("/sys/block/zram0/mm_stat", "r");

	if (!f || fscanf(f, "%lu %lu %lu", &v[0], &v[1], &v[2]) != 3)
		errx(1, "mm_stat can't be read");
	fclose(f);
	return v[column];
}

/* Memory that is swapped out */
static unsigned char *swapped_region(size_t size)
{
	unsigned long target = mm_stat(0) + size;
	unsigned char *p;
	size_t i;

	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		err(1, "mmap");
	if (madvise(p, size, MADV_NOHUGEPAGE))
		err(1, "MADV_NOHUGEPAGE");
	for (i = 0; i < size; i += PAGE)
		fill_page(p + i, random_len());
	for (i = 0; i < 100 && mm_stat(0) < target; i++) {
		if (madvise(p, size, MADV_PAGEOUT))
			err(1, "MADV_PAGEOUT");
		usleep(20000);
	}
	if (mm_stat(0) < target)
		errx(1, "only %lu bytes of %lu are in zram", mm_stat(0), target);
	return p;
}

/*
 * What is to be counted. No polling after it: that would count. It is long enough for
 * any worker, if something wakes it up: what is left then is for the script to judge.
 */
static void unmap(unsigned char *p, size_t size)
{
	mark();
	if (munmap(p, size))
		err(1, "munmap");
	mark();
	usleep(1000000);
	mark();
}

static void run_munmap(size_t mb)
{
	unsigned long used = mm_stat(2), full, left;
	size_t size = mb << 20;
	unsigned char *p = swapped_region(size);

	full = mm_stat(2);
	unmap(p, size);
	left = mm_stat(2);
	left -= left < used ? left : used;
	printf("profile-guest: munmap pages=%zu used_bytes=%lu left_bytes=%lu\n",
	       size / PAGE, full - used, left);
	fflush(stdout);
}

static void run_on_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		err(1, "no CPU %d", cpu);
}

/*
 * The same on two CPUs, one after the other. The memory of both is swapped out
 * before any is unmapped.
 */
static void run_pair(size_t mb, size_t len)
{
	size_t size = mb << 20;
	int ready[2], start[2], status;
	unsigned char *p;
	pid_t pid;
	char c;

	same_len = len;
	if (pipe(ready) || pipe(start))
		err(1, "pipe");
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (!pid) {
		close(start[1]);
		run_on_cpu(1);
		p = swapped_region(size);
		if (write(ready[1], "", 1) != 1)
			err(1, "write");
		if (read(start[0], &c, 1))
			errx(1, "nothing was to be read");
		unmap(p, size);
		exit(0);
	}
	close(ready[1]);
	run_on_cpu(0);
	if (read(ready[0], &c, 1) != 1)
		errx(1, "the other process died");
	run_munmap(mb);
	close(start[1]);
	if (waitpid(pid, &status, 0) != pid || status)
		errx(1, "the other process failed");
}

/*
 * All blocks of the device are written in random order, pass after pass. Sizes of
 * a pass differ from those of the pass before by half of the distance between the
 * sizes, so their size classes do: zspages of the old classes get empty one at a
 * time, between many other frees, while those of the new classes fill.
 */
static void write_pass(int fd, const unsigned char *pages, unsigned int *blocks,
		       size_t nr, unsigned long n)
{
	size_t i;

	for (i = nr - 1; i > 0; i--) {
		size_t j = next_random() % (i + 1);
		unsigned int tmp = blocks[i];

		blocks[i] = blocks[j];
		blocks[j] = tmp;
	}
	for (i = 0; i < nr; i++) {
		size_t page = n % 2 + 2 * (next_random() % (NR_PAGES / 2));

		if (pwrite(fd, pages + page * PAGE, PAGE, (off_t)blocks[i] * PAGE) != PAGE)
			err(1, "pwrite");
	}
}

static void run_churn(size_t mb, unsigned long passes)
{
	size_t nr = (mb << 20) / PAGE, i;
	unsigned char *pages;
	unsigned int *blocks;
	int fd;

	fd = open("/dev/zram0", O_RDWR | O_DIRECT);
	if (fd < 0)
		err(1, "/dev/zram0");
	/* Made beforehand: their making would count */
	pages = aligned_alloc(PAGE, NR_PAGES * PAGE);
	blocks = calloc(nr, sizeof(*blocks));
	if (!pages || !blocks)
		errx(1, "out of memory");
	for (i = 0; i < NR_PAGES; i++)
		fill_page(pages + i * PAGE,
			  RANDOM_MIN + i * (RANDOM_MAX - RANDOM_MIN) / (NR_PAGES - 1));
	for (i = 0; i < nr; i++)
		blocks[i] = i;
	write_pass(fd, pages, blocks, nr, 0);
	write_pass(fd, pages, blocks, nr, 1);

	mark();
	for (i = 0; i < passes; i++)
		write_pass(fd, pages, blocks, nr, i);
	usleep(1000000);
	mark();
	printf("profile-guest: churn writes=%zu\n", passes * nr);
	close(fd);
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "munmap"))
		run_munmap(strtoul(argv[2], NULL, 0));
	else if (argc == 4 && !strcmp(argv[1], "pair"))
		run_pair(strtoul(argv[2], NULL, 0), strtoul(argv[3], NULL, 0));
	else if (argc == 4 && !strcmp(argv[1], "churn"))
		run_churn(strtoul(argv[2], NULL, 0), strtoul(argv[3], NULL, 0));
	else
		errx(2, "usage: profile-guest munmap MB | pair MB N | churn MB N");
	return 0;
}

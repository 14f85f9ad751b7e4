/* SPDX-License-Identifier: GPL-2.0 */
/* What the tests of zsmalloc have in common. */
#ifndef UTIL_H
#define UTIL_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kselftest.h"

#define ZRAM_CONTROL		"/sys/class/zram-control"
#define ZSWAP_ENABLED		"/sys/module/zswap/parameters/enabled"

/* Others, udev for one, may have a device open for a moment. */
#define REMOVE_TRIES		100
#define RETRY_USEC		100000

static size_t page_size;

static void *map_shared(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int read_file(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY);
	ssize_t len;

	if (fd < 0)
		return -errno;
	len = read(fd, buf, size - 1);
	if (len < 0)
		len = -errno;
	else
		buf[len] = '\0';
	close(fd);
	return len;
}

static int write_file(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, value, strlen(value)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

/* A line of a file of names and numbers, 0 if it is not there. */
static unsigned long long read_line(const char *path, const char *name)
{
	FILE *file = fopen(path, "r");
	unsigned long long value = 0;
	size_t len = strlen(name);
	char line[256];

	while (file && fgets(line, sizeof(line), file)) {
		if (!strncmp(line, name, len) && line[len] == ' ')
			value = strtoull(line + len, NULL, 10);
	}
	if (file)
		fclose(file);
	return value;
}

static unsigned long long read_vmstat(const char *name)
{
	return read_line("/proc/vmstat", name);
}

/* In bytes; the name ends with a colon. */
static unsigned long long read_meminfo(const char *name)
{
	return read_line("/proc/meminfo", name) << 10;
}

static void die_with_parent(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* There is no signal if the parent was gone before. */
	if (getppid() != parent)
		_exit(KSFT_FAIL);
}

static unsigned long long xorshift(unsigned long long *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/*
 * zram devices, by their number. Functions return a negative errno on failure.
 */

static const char *zram_attr(int id, const char *name)
{
	static char path[96];

	snprintf(path, sizeof(path), "/sys/block/zram%d/%s", id, name);
	return path;
}

static int zram_set(int id, const char *name, unsigned long long value)
{
	char buf[32];

	snprintf(buf, sizeof(buf), "%llu", value);
	return write_file(zram_attr(id, name), buf);
}

static int zram_hot_add(void)
{
	char buf[32];
	int ret = read_file(ZRAM_CONTROL "/hot_add", buf, sizeof(buf));

	return ret < 0 ? ret : atoi(buf);
}

static int zram_hot_remove(int id)
{
	char buf[16];
	int ret = -EBUSY;

	snprintf(buf, sizeof(buf), "%d", id);
	for (int i = 0; i < REMOVE_TRIES && ret == -EBUSY; i++) {
		if (i)
			usleep(RETRY_USEC);
		ret = write_file(ZRAM_CONTROL "/hot_remove", buf);
	}
	return ret;
}

/* devtmpfs makes the node, but need not be mounted. 1 if it was made here. */
static int zram_make_node(int id, char *node, size_t size)
{
	unsigned int major, minor;
	char buf[32];
	int ret;

	snprintf(node, size, "/dev/zram%d", id);
	if (!access(node, F_OK))
		return 0;
	ret = read_file(zram_attr(id, "dev"), buf, sizeof(buf));
	if (ret < 0)
		return ret;
	if (sscanf(buf, "%u:%u", &major, &minor) != 2)
		return -EINVAL;
	return mknod(node, S_IFBLK | 0600, makedev(major, minor)) ? -errno : 1;
}

/* The swap header as of include/linux/swap.h, which is not in uapi. */
struct swap_info {
	char bootbits[1024];
	unsigned int version;
	unsigned int last_page;
	unsigned int nr_badpages;
};

static const char swap_magic[] = "SWAPSPACE2";

/* page: memory of that size, to be overwritten. */
static int write_swap_header(const char *node, unsigned long long size, char *page)
{
	size_t magic_len = strlen(swap_magic);
	struct swap_info info = {
		.version = 1,
		.last_page = size / page_size - 1,
	};
	int fd, ret = 0;

	memset(page, 0, page_size);
	memcpy(page, &info, sizeof(info));
	memcpy(page + page_size - magic_len, swap_magic, magic_len);

	fd = open(node, O_WRONLY);
	if (fd < 0)
		return -errno;
	if (write(fd, page, page_size) != (ssize_t)page_size || fsync(fd))
		ret = -EIO;
	close(fd);
	return ret;
}

#endif /* UTIL_H */

// SPDX-License-Identifier: GPL-2.0
/*
 * zsmalloc and zram, as modules, are loaded, used and removed, again and again, and
 * the pool is full of objects until just before: what frees them later must not run
 * when the module is gone.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "kselftest.h"

#define ZRAM			"/sys/block/zram0/"
#define NODE			"/dev/zram0"
#define DEVICE_SIZE		(16ULL << 20)
#define NR_ROUNDS		8
/* udev, for one, may have the device open for a moment. */
#define BUSY_TRIES		100
#define RETRY_USEC		100000

static size_t page_size;
static char *page;
static bool node_made;

static bool loaded(const char *module)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/module/%s", module);
	return !access(path, F_OK);
}

static bool write_file(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY);
	bool ok;

	if (fd < 0)
		return false;
	ok = write(fd, value, strlen(value)) == (ssize_t)strlen(value);
	close(fd);
	return ok;
}

static bool make_node(void)
{
	unsigned int major, minor;
	FILE *file;
	bool ok;

	if (!access(NODE, F_OK))
		return true;
	file = fopen(ZRAM "dev", "r");
	if (!file)
		return false;
	ok = fscanf(file, "%u:%u", &major, &minor) == 2 &&
	     !mknod(NODE, S_IFBLK | 0600, makedev(major, minor));
	node_made = ok;
	fclose(file);
	return ok;
}

/* Pages that compress to some of all sizes. */
static bool fill_device(void)
{
	int fd = open(NODE, O_WRONLY | O_DIRECT);
	bool ok = fd >= 0;

	for (size_t at = 0; ok && at < DEVICE_SIZE; at += page_size) {
		memset(page, 0, page_size);
		for (size_t i = 0; i < (at / 7 & (page_size - 1)); i++)
			page[i] = random();
		ok = pwrite(fd, page, page_size, at) == (ssize_t)page_size;
	}
	if (fd >= 0)
		close(fd);
	return ok;
}

static bool reset_device(void)
{
	for (int i = 0; i < BUSY_TRIES; i++) {
		if (write_file(ZRAM "reset", "1"))
			return true;
		usleep(RETRY_USEC);
	}
	return false;
}

static bool unload(const char *module)
{
	char command[64];

	snprintf(command, sizeof(command), "modprobe -r %s", module);
	for (int i = 0; i < BUSY_TRIES && loaded(module); i++) {
		if (i)
			usleep(RETRY_USEC);
		if (system(command))
			ksft_print_msg("%s: busy\n", command);
	}
	return !loaded(module);
}

/* What failed, or NULL */
static const char *round_of_modules(void)
{
	char size[32];

	snprintf(size, sizeof(size), "%llu", DEVICE_SIZE);
	if (system("modprobe zram num_devices=1"))
		return "modprobe zram";
	if (!make_node())
		return "no " NODE;
	if (!write_file(ZRAM "disksize", size))
		return "disksize";
	if (!fill_device())
		return "writing " NODE;
	/* The pool goes, and the modules at once after it. */
	if (!reset_device())
		return "reset";
	if (!unload("zram"))
		return "zram is still loaded";
	if (node_made)
		unlink(NODE);
	return unload("zsmalloc") ? NULL : "zsmalloc is still loaded";
}

int main(int argc, char **argv)
{
	const char *failed = NULL;

	if (argc > 1) {
		printf("usage: %s\n\nOne test, without options; needs root.\n", argv[0]);
		return KSFT_SKIP;
	}
	ksft_print_header();
	ksft_set_plan(1);
	if (geteuid())
		ksft_exit_skip("root is needed\n");
	/* Those that are built in are there without being loaded, or not known. */
	if (loaded("zram") || loaded("zsmalloc"))
		ksft_exit_skip("zram or zsmalloc is in use, or built in\n");
	if (system("modprobe -q zram num_devices=1 >/dev/null 2>&1"))
		ksft_exit_skip("no module zram\n");

	page_size = sysconf(_SC_PAGESIZE);
	page = aligned_alloc(page_size, page_size);
	if (!page)
		ksft_exit_fail_perror("memory");
	for (int i = 0; !failed && i < NR_ROUNDS; i++)
		failed = round_of_modules();
	if (failed)
		ksft_print_msg("%s\n", failed);
	ksft_test_result(!failed, "modules removed after use\n");
	ksft_finished();
}

/* Memory that the kernel reads, files that change, and memory that runs out. */
#include "torture.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/uio.h>

static struct blocks blocks;

static void
expect_abort(struct death death, const char *path, const char *what)
{
	CHECK(WIFSIGNALED(death.status));
	size_t length = strlen(death.said);
	if (WTERMSIG(death.status) != SIGABRT || !strstr(death.said, path) || !strstr(death.said, what) ||
	    strncmp(death.said, "slimpack: ", 10) || strchr(death.said, '\n') != death.said + length - 1) {
		dprintf(2, "signal %d, said: %s", WTERMSIG(death.status), death.said);
		fail(__FILE__, __LINE__, what);
	}
}

CASE(read_only_data_for_the_kernel)
{
	int ends[2];
	char read_back[40] = {0};

	blocks = open_cold();
	const char *words = find(blocks.library, "words");
	struct iovec part = {.iov_base = (void *)(words + 6), .iov_len = 4};
	CHECK(pipe(ends) == 0);
	CHECK(write(ends[1], words, 6) == 6);
	CHECK(writev(ends[1], &part, 1) == 4);
	CHECK(write(ends[1], words + 90000, 10) == 10);
	CHECK(read(ends[0], read_back, sizeof read_back) == 20 && !memcmp(read_back, "words that\0\0\0", 13));
	CHECK(open(words, O_RDONLY) == -1 && errno == ENOENT);
	/* Code is on touch: the kernel does not touch. */
	ssize_t written = write(ends[1], blocks.tables[3] + 4096, 8);
	CHECK(demand ? written == -1 && errno == EFAULT : written == 8);
}

CASE(file_is_replaced)
{
	const char *path = copy_of("libcold.so"), *other = copy_of("libplugin.so");

	blocks = open_blocks(path, BLOCKS);
	CHECK(rename(other, path) == 0);
	touch(&blocks, 3);
	CHECK(unlink(path) == 0);
	touch_all(&blocks);
}

static void
open_and_touch(void *path)
{
	blocks = open_blocks(path, BLOCKS);
	touch_all(&blocks);
}

static void
overwrite_half(const char *path)
{
	size_t size = size_of(path);

	overwrite(path, size / 2, calloc(1, size / 4), size / 4);
}

static void
open_overwrite_and_touch(void *path)
{
	blocks = open_blocks(path, BLOCKS);
	touch(&blocks, 3);
	overwrite_half(path);
	touch_all(&blocks);
	_exit(0); /* its destructor may be overwritten */
}

CASE(file_is_damaged)
{
	if (!packed)
		skip("a plain library then runs whatever was written");
	const char *path = copy_of("libcold.so");

	overwrite_half(path);
	expect_abort(run_child(open_and_touch, (void *)path), path, " is damaged");
}

CASE(file_is_overwritten)
{
	if (!packed)
		skip("a plain library then runs whatever was written");
	const char *path = copy_of("libcold.so");

	if (demand)
		expect_abort(run_child(open_overwrite_and_touch, (void *)path), path, " is damaged");
	else
		expect_fine(open_overwrite_and_touch, (void *)path);
}

static void
open_truncate_and_touch(void *path)
{
	blocks = open_blocks(path, BLOCKS);
	touch(&blocks, 3);
	CHECK(truncate(path, (off_t)size_of(path) / 2) == 0);
	touch_all(&blocks);
	_exit(0);
}

CASE(file_is_truncated)
{
	if (!packed)
		skip("a plain library then dies by SIGBUS");
	if (emulated())
		skip("an emulator dies of what a kernel would answer with EFAULT");
	const char *path = copy_of("libcold.so");

	if (demand)
		expect_abort(run_child(open_truncate_and_touch, (void *)path), path, " is damaged: the file has been truncated");
	else
		expect_fine(open_truncate_and_touch, (void *)path);
}

/* -- memory that runs out ----------------------------------------------------------------------------------------- */

static void
fill_address_space(void)
{
	struct rlimit limit = {1UL << 36, 1UL << 36};

	CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
	if (mmap(NULL, limit.rlim_cur, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED)
		skip("the limit is not kept");
	for (size_t size = limit.rlim_cur; size >= 4096; size /= 2)
		while (mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED)
			;
}

static void
exhaust_address_space(void *unused)
{
	(void)unused;
	fill_address_space();
	touch_all(&blocks);
}

CASE(address_space_is_exhausted)
{
	blocks = open_cold();
	expect_absent(blocks.tables[3]);
	expect_fine(exhaust_address_space, NULL);
	touch_all(&blocks);
	expect_fine(exhaust_address_space, NULL);
}

static void
touch_exhausted(void *unused, int number)
{
	(void)unused;
	for (int i = 0; i < BLOCKS; i++)
		touch(&blocks, (i + number) % BLOCKS);
}

static pthread_barrier_t full;

static void
fill_then_touch(void *unused, int number)
{
	if (!number)
		fill_address_space();
	pthread_barrier_wait(&full);
	touch_exhausted(unused, number);
}

static void
exhaust_with_threads(void *unused)
{
	pthread_barrier_init(&full, NULL, 16);
	run_threads(16, fill_then_touch, unused);
}

CASE(address_space_is_exhausted_for_threads)
{
	blocks = open_cold();
	expect_fine(exhaust_with_threads, NULL);
}

static void
exhaust_mappings(void *unused)
{
	char *memory = mmap(NULL, 400UL << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	(void)unused;
	CHECK(memory != MAP_FAILED);
	for (size_t i = 0; i < 200UL << 20; i += 4096)
		if (mprotect(memory + 2 * i, 4096, PROT_READ))
			break;
	touch_all(&blocks);
}

CASE(mappings_are_exhausted)
{
	blocks = open_cold();
	struct death death = run_child(exhaust_mappings, NULL);
	if (demand && death.status)
		expect_abort(death, path_of("libcold.so"), "vm.max_map_count");
	else
		CHECK(death.status == 0);
}

/* -- memory that must not become executable ----------------------------------------------------------------------- */

#define SET_MDWE 65 /* PR_SET_MDWE, Linux 6.3 */
#define REFUSE_EXEC_GAIN 1

static void
touch_without_gain(void *unused)
{
	(void)unused;
	if (prctl(SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0))
		skip("the kernel has no PR_SET_MDWE");
	touch_all(&blocks);
	dlclose(blocks.library);
	blocks = open_cold();
	touch_all(&blocks);
}

CASE(written_memory_must_not_become_executable)
{
	blocks = open_cold();
	expect_fine(touch_without_gain, NULL);
}

static void
touch_without_files(void *unused)
{
	struct rlimit limit = {0, 0};

	(void)unused;
	if (prctl(SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0))
		skip("the kernel has no PR_SET_MDWE");
	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	touch_all(&blocks);
}

CASE(neither_memory_nor_files_may_become_executable)
{
	blocks = open_cold();
	struct death death = run_child(touch_without_files, NULL);
	skip_if_it_did(&death);
	if (demand)
		expect_abort(death, path_of("libcold.so"), "cannot be made executable");
	else
		CHECK(death.status == 0);
}

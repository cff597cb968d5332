/* Threads and processes that meet in the pager. */
#include "torture.h"

#include <sys/time.h>

#define THREADS 64

static void
touch_in_order(void *blocks, int number)
{
	(void)number;
	touch_all(blocks);
}

static void
touch_from_number(void *pointer, int number)
{
	const struct blocks *blocks = pointer;

	for (int i = 0; i < blocks->number; i++)
		touch(blocks, (i + number) % blocks->number);
}

CASE(threads_touch_the_same_blocks)
{
	for (int i = 0; i < 4; i++) {
		struct blocks blocks = open_cold();
		expect_absent(blocks.tables[3]);
		run_threads(THREADS, touch_in_order, &blocks);
		dlclose(blocks.library);
	}
}

CASE(threads_touch_different_blocks)
{
	for (int i = 0; i < 4; i++) {
		struct blocks blocks = open_cold();
		expect_absent(blocks.tables[3]);
		run_threads(THREADS, touch_from_number, &blocks);
		dlclose(blocks.library);
	}
}

static _Atomic int loading;

static void
load_or_touch(void *blocks, int number)
{
	if (number) {
		while (loading)
			touch_from_number(blocks, number);
		return;
	}
	for (int i = 0; i < 20; i++) {
		struct blocks plugin = open_blocks(path_of("libplugin.so"), 4);
		touch_all(&plugin);
		dlclose(plugin.library);
	}
	loading = 0;
}

CASE(threads_touch_while_one_loads_and_closes)
{
	struct blocks blocks = open_cold();

	loading = 1;
	run_threads(8, load_or_touch, &blocks);
}

static void
touch_all_of(void *blocks)
{
	touch_all(blocks);
}

CASE(fork_before_faults)
{
	struct blocks blocks = open_cold();

	expect_fine(touch_all_of, &blocks);
	expect_absent(blocks.tables[3]);
	touch_all(&blocks);
}

CASE(fork_after_faults)
{
	struct blocks blocks = open_cold();

	touch_all(&blocks);
	expect_fine(touch_all_of, &blocks);
}

static void
fork_or_touch(void *blocks, int number)
{
	if (number % 4 == 0)
		expect_fine(touch_all_of, blocks);
	else
		touch_from_number(blocks, number);
}

CASE(fork_during_faults)
{
	for (int i = 0; i < 10; i++) {
		struct blocks blocks = open_cold();
		expect_absent(blocks.tables[3]);
		run_threads(8, fork_or_touch, &blocks);
		dlclose(blocks.library);
	}
}

CASE(child_that_shares_memory)
{
	struct blocks blocks = open_cold();
	int status;

	pid_t child = vfork();
	if (!child)
		_exit(blocks.functions[4](1) != result_of(4, 1));
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	touch_all(&blocks);
}

static _Atomic int waiting;

static void
wait_for_ever(void *unused)
{
	(void)unused;
	waiting = 1;
	for (;;)
		pause();
}

static void *
wait_below_block(void *library)
{
	((long (*)(void (*)(void *), void *))find(library, "call_back"))(wait_for_ever, NULL);
	return NULL;
}

CASE(thread_that_is_cancelled)
{
	struct blocks blocks = open_cold();
	pthread_t thread;
	void *result;

	if (!dlopen("libgcc_s.so.1", RTLD_NOW))
		skip("libgcc_s.so.1 is not there, and cancelling needs it");
	CHECK(pthread_create(&thread, NULL, wait_below_block, blocks.library) == 0);
	while (!waiting)
		usleep(1000);
	CHECK(pthread_cancel(thread) == 0);
	CHECK(pthread_join(thread, &result) == 0 && result == PTHREAD_CANCELED);
	touch_all(&blocks);
}

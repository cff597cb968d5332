/* Loading, closing, and what runs meanwhile. */
#include "torture.h"

#include <setjmp.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define LIBRARIES 300

CASE(fault_in_constructors_and_destructors)
{
	struct blocks blocks = open_cold();
	long result = 0;

	CHECK(((long (*)(void))find(blocks.library, "constructed_with"))() == result_of(31, 1));
	*(long **)find(blocks.library, "destroyed") = &result;
	dlclose(blocks.library);
	CHECK(result == result_of(28, 1));
}

CASE(fault_in_dlopen)
{
	/* in the constructor of a library that needs another, which resolves an indirect function meanwhile */
	struct blocks plugin = open_blocks(path_of("libplugin.so"), 4);

	CHECK(*(long *)find(plugin.library, "plugged") == 7 + result_of(3, 1));
	CHECK(((long (*)(void))find(plugin.library, "call_chosen"))() == 7);
	touch_all(&plugin);
}

CASE(close_and_load_again)
{
	for (int i = 0; i < 30; i++) {
		struct blocks blocks = open_cold();
		for (int j = 1; j < 16; j += 3) { /* a table reaches into the block behind it */
			expect_absent(blocks.tables[j]);
			touch(&blocks, j);
			expect_present(blocks.tables[j]);
		}
		dlclose(blocks.library);
		CHECK(!there(blocks.tables[3]));
	}
}

CASE(library_that_lacks_a_symbol)
{
	struct blocks blocks = open_cold();
	for (int i = 0; i < 20; i++) {
		CHECK(!dlopen(path_of("libbroken.so"), RTLD_NOW));
		CHECK(strstr(dlerror(), "nobody_has_this"));
	}
	/* What lies where it was is nobody's business, and who comes there starts anew. */
	struct blocks plugin = open_blocks(path_of("libplugin.so"), 4);
	expect_absent(plugin.tables[2]);
	touch_all(&plugin);
	touch_all(&blocks);
	void *lazy = dlopen(path_of("libbroken.so"), RTLD_LAZY);
	if (lazy) {
		CHECK(((long (*)(long))find(lazy, "function3"))(2) == result_of(3, 2));
		dlclose(lazy);
	}
}

CASE(three_hundred_libraries)
{
	static struct blocks all[LIBRARIES];
	static char names[LIBRARIES][4200];
	const char *content = path_of("libplugin.so");
	pid_t self = getpid();

	for (int i = 0; i < LIBRARIES; i++) {
		snprintf(names[i], sizeof names[i], "%s-%d-%d", content, (int)self, i);
		copy_file(content, names[i]);
		all[i] = open_blocks(names[i], 4);
		unlink(names[i]);
	}
	for (int i = LIBRARIES; i--;) {
		expect_absent(all[i].tables[1] + 4096);
		touch_all(&all[i]);
		CHECK(*(long *)find(all[i].library, "plugged") == 7 + result_of(3, 1));
	}
	for (int i = 0; i < LIBRARIES; i += 2)
		dlclose(all[i].library);
	for (int i = 1; i < LIBRARIES; i += 2)
		touch_all(&all[i]);
}

static void
touch_thread(void *blocks, int number)
{
	(void)number;
	touch_all(blocks);
}

CASE(plugin_that_is_opened_late)
{
	struct blocks blocks = open_cold();

	run_threads(8, touch_thread, &blocks);
	struct blocks plugin = open_blocks(copy_of("libplugin.so"), 4);
	expect_absent(plugin.tables[2]);
	run_threads(8, touch_thread, &plugin);
}

extern char **environ;

CASE(program_that_needs_packed_libraries)
{
	struct blocks blocks = open_cold();
	char *arguments[] = {(char *)path_of("linked"), NULL}, *list[] = {(char *)path_of("torture"), "nothing", NULL};
	pid_t child;
	int status;

	CHECK(posix_spawn(&child, list[0], NULL, NULL, list, environ) == 0 && waitpid(child, &status, 0) == child);
	if (status)
		skip("the kernel does not start programs such as this one");
	char where[4200] = "LD_LIBRARY_PATH=";
	if (access("/proc/self/exe", F_OK)) { /* the loader knows no $ORIGIN of a program then */
		strcat(where, path_of("."));
		putenv(where);
	}
	for (int i = 0; i < 3; i++) {
		CHECK(posix_spawn(&child, arguments[0], NULL, NULL, arguments, environ) == 0);
		CHECK(waitpid(child, &status, 0) == child && status == 0);
	}
	touch_all(&blocks);
	child = fork();
	if (!child) {
		execve(arguments[0], arguments, (char *[]){where, NULL});
		_exit(9);
	}
	CHECK(waitpid(child, &status, 0) == child && status == 0);
}

CASE(exception_across_libraries)
{
	if (access(path_of("libcatcher.so"), F_OK))
		skip("the set was made without C++");
	for (int i = 1; i < 20; i++) {
		void *catcher = open_library(path_of("libcatcher.so"));
		int before = *(int *)find(catcher, "destroyed");
		CHECK(((int (*)(int))find(catcher, "catch_number"))(i) == (before + 1) * 100 + i);
		dlclose(catcher);
	}
}

static jmp_buf home;

static void
leave(void *blocks)
{
	touch(blocks, 4);
	longjmp(home, 1);
}

CASE(jump_over_a_block)
{
	struct blocks blocks = open_cold();

	if (!setjmp(home))
		((long (*)(void (*)(void *), void *))find(blocks.library, "call_back"))(leave, &blocks);
	touch_all(&blocks);
}

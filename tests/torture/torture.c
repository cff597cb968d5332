/*
 * torture CASE: exit code 0 if all is well, 77 if it cannot be tested here, else 1; the latter two with a line.
 * torture list: their names; torture nothing: nothing.
 * torture all: every case in a process of its own, with a line "NAME fine|skipped|FAILED" behind what it says.
 */
#include "torture.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define MOST_CASES 100
#define SKIPPED 77
#define PATIENCE 60 /* seconds; more under an emulator */

int packed, demand;

static struct {
	const char *name;
	void (*run)(void);
} cases[MOST_CASES];
static int number_of_cases;
static char folder[4096];
static char copies[16][4200];
static int number_of_copies;
static pid_t maker; /* of the copies */

void
add_case(const char *name, void (*run)(void))
{
	if (number_of_cases == MOST_CASES)
		abort();
	cases[number_of_cases].name = name;
	cases[number_of_cases++].run = run;
}

static void
remove_copies(void)
{
	if (maker == getpid())
		while (number_of_copies)
			unlink(copies[--number_of_copies]);
}

void
fail(const char *file, int line, const char *what)
{
	dprintf(2, "%s:%d: %s (errno %d)\n", file, line, what, errno);
	remove_copies();
	_exit(1);
}

void
skip(const char *why)
{
	dprintf(2, "skipped: %s\n", why);
	remove_copies();
	_exit(SKIPPED);
}

/* -- files -------------------------------------------------------------------------------------------------------- */

const char *
path_of(const char *name)
{
	static char paths[4][4200];
	static int turn;

	turn = (turn + 1) % 4;
	snprintf(paths[turn], sizeof paths[turn], "%s/%s", folder, name);
	return paths[turn];
}

void
copy_file(const char *from, const char *to)
{
	char buffer[65536];
	ssize_t part;
	int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_EXCL, 0755);

	if (out < 0)
		skip("the folder of the set is not writable");
	while ((part = read(in, buffer, sizeof buffer)) > 0)
		CHECK(write(out, buffer, (size_t)part) == part);
	CHECK(part == 0);
	close(in), close(out);
}

const char *
copy_of(const char *name)
{
	char *path = copies[number_of_copies];

	CHECK(number_of_copies < 16);
	if (!number_of_copies++) {
		maker = getpid();
		atexit(remove_copies);
	}
	snprintf(path, sizeof copies[0], "%s/copy-%d-%d-%s", folder, (int)getpid(), number_of_copies, name);
	copy_file(path_of(name), path);
	return path;
}

void
overwrite(const char *path, size_t from, const void *content, size_t size)
{
	int file = open(path, O_WRONLY);
	CHECK(pwrite(file, content, size, (off_t)from) == (ssize_t)size);
	close(file);
}

size_t
size_of(const char *path)
{
	struct stat status;
	CHECK(stat(path, &status) == 0);
	return (size_t)status.st_size;
}

/* -- libraries ---------------------------------------------------------------------------------------------------- */

void *
open_library(const char *path)
{
	void *library = dlopen(path, RTLD_NOW);
	if (!library)
		fail(path, 0, dlerror());
	return library;
}

void *
find(void *library, const char *name)
{
	void *symbol = dlsym(library, name);
	if (!symbol)
		fail(name, 0, dlerror());
	return symbol;
}

struct blocks
open_blocks(const char *path, int number)
{
	struct blocks blocks = {.library = open_library(path), .number = number};
	char name[32];

	for (int i = 0; i < number; i++) {
		snprintf(name, sizeof name, "function%d", i);
		blocks.functions[i] = (long (*)(long))find(blocks.library, name);
		snprintf(name, sizeof name, "table%d", i);
		blocks.tables[i] = find(blocks.library, name);
	}
	return blocks;
}

struct blocks
open_cold(void)
{
	return open_blocks(path_of("libcold.so"), BLOCKS);
}

/* The kernel copies the set of signals before it refuses to do anything with it. */
int
there(const void *address)
{
	return !(syscall(SYS_rt_sigprocmask, -1, (uintptr_t)address & -8UL, NULL, 8UL) == -1 && errno == EFAULT);
}

void
expect_absent(const void *address)
{
	CHECK(!demand || !there(address));
}

void
expect_present(const void *address)
{
	CHECK(there(address));
}

void
touch(const struct blocks *blocks, int block)
{
	CHECK(blocks->functions[block](block + 3) == result_of(block, block + 3));
	for (int i = 0; i < WORDS; i++)
		CHECK(blocks->tables[block][i] == word_of(block, i));
}

void
touch_all(const struct blocks *blocks)
{
	for (int i = 0; i < blocks->number; i++)
		touch(blocks, i);
}

/* -- processes ---------------------------------------------------------------------------------------------------- */

static void
nothing(void *unused)
{
	(void)unused;
}

/* It does not know ptrace(). */
int
emulated(void)
{
	return !trace_child(nothing, NULL).traced;
}

/* Takes out what an emulator adds when a program dies. */
static void
remove_lines(char *text, const char *start)
{
	char *line;

	while ((line = strstr(text, start))) {
		char *behind = strchr(line, '\n');
		memmove(line, behind ? behind + 1 : "", behind ? strlen(behind + 1) + 1 : 1);
	}
}

static struct death
follow(void (*body)(void *), void *argument, int trace)
{
	struct death death = {0};
	int ends[2];
	size_t size = 0;
	ssize_t part;

	CHECK(pipe(ends) == 0);
	pid_t child = fork();
	CHECK(child >= 0);
	if (!child) {
		setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
		alarm(PATIENCE);
		dup2(ends[1], 2);
		close(ends[0]), close(ends[1]);
		if (trace && ptrace(PTRACE_TRACEME, 0, 0, 0) == 0)
			raise(SIGSTOP);
		body(argument);
		_exit(0);
	}
	close(ends[1]);
	while (waitpid(child, &death.status, 0) == child && WIFSTOPPED(death.status)) {
		int signal = WSTOPSIG(death.status);
		if (signal == SIGSEGV)
			ptrace(PTRACE_GETSIGINFO, child, 0, &death.info);
		death.traced = 1;
		ptrace(PTRACE_CONT, child, 0, signal == SIGSTOP ? 0 : signal);
	}
	while (size < sizeof death.said - 1 && (part = read(ends[0], death.said + size, sizeof death.said - 1 - size)) > 0)
		size += (size_t)part;
	close(ends[0]);
	remove_lines(death.said, "qemu: uncaught target signal");
	return death;
}

struct death
run_child(void (*body)(void *), void *argument)
{
	return follow(body, argument, 0);
}

struct death
trace_child(void (*body)(void *), void *argument)
{
	return follow(body, argument, 1);
}

void
skip_if_it_did(const struct death *death)
{
	if (WIFEXITED(death->status) && WEXITSTATUS(death->status) == SKIPPED) {
		dprintf(2, "%s", death->said);
		remove_copies();
		_exit(SKIPPED);
	}
}

void
expect_fine(void (*body)(void *), void *argument)
{
	struct death death = run_child(body, argument);
	skip_if_it_did(&death);
	if (death.status) {
		dprintf(2, "status %#x: %s", death.status, death.said);
		fail(__FILE__, __LINE__, "a child failed");
	}
}

/* -- threads ------------------------------------------------------------------------------------------------------ */

struct worker {
	pthread_t thread;
	pthread_barrier_t *barrier;
	void (*body)(void *, int);
	void *argument;
	int number;
};

static void *
work(void *argument)
{
	struct worker *worker = argument;
	pthread_barrier_wait(worker->barrier);
	worker->body(worker->argument, worker->number);
	return NULL;
}

void
run_threads(int count, void (*body)(void *, int), void *argument)
{
	struct worker workers[count];
	pthread_barrier_t barrier;

	pthread_barrier_init(&barrier, NULL, (unsigned)count);
	for (int i = 0; i < count; i++) {
		workers[i] = (struct worker){.barrier = &barrier, .body = body, .argument = argument, .number = i};
		CHECK(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0);
	}
	for (int i = 0; i < count; i++)
		pthread_join(workers[i].thread, NULL);
	pthread_barrier_destroy(&barrier);
}

/* -- the program -------------------------------------------------------------------------------------------------- */

static int
run_all(void)
{
	int worst = 0;

	for (int i = 0; i < number_of_cases; i++) {
		int status;
		fflush(stdout);
		pid_t child = fork();
		if (!child) {
			alarm(PATIENCE * 5);
			dup2(1, 2);
			cases[i].run();
			exit(0);
		}
		waitpid(child, &status, 0);
		const char *result = status == 0 ? "fine" : status == SKIPPED << 8 ? "skipped" : "FAILED";
		printf("%-32s %s\n", cases[i].name, result);
		worst |= result[0] == 'F';
	}
	return worst;
}

int
main(int count, char **arguments)
{
	const char *mode = getenv("SLIMPACK_PAGER");
	char *slash;

	if (count != 2 || !(slash = strrchr(arguments[0], '/'))) {
		fprintf(stderr, "usage: FOLDER/torture CASE|all|list\n");
		return 2;
	}
	snprintf(folder, sizeof folder, "%.*s", (int)(slash - arguments[0]), arguments[0]);
	packed = access(path_of("libslimpager.so.1"), F_OK) == 0;
	demand = packed && !(mode && !strcmp(mode, "eager"));
	if (!strcmp(arguments[1], "all"))
		return run_all();
	for (int i = 0; i < number_of_cases; i++) {
		if (!strcmp(arguments[1], "list"))
			puts(cases[i].name);
		if (!strcmp(arguments[1], cases[i].name)) {
			cases[i].run();
			return 0;
		}
	}
	return strcmp(arguments[1], "list") && strcmp(arguments[1], "nothing") ? 2 : 0;
}

/* Stacks that are not the usual one. */
#include "torture.h"

#include <limits.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <ucontext.h>

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif
#define NEEDED 2048 /* bytes of the pager's own, docs/packed-format.md */
#define MARK 0x5a

static struct blocks blocks;

/* Bytes of the kernel's frame for a signal. */
static size_t
frame_size(void)
{
	size_t told = getauxval(AT_MINSIGSTKSZ);
#if defined(__x86_64__)
	return told ? told : 3632;
#else
	return told > 4720 ? told : 4720;
#endif
}

static void
use_alternate_stack(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	stack_t stack = {.ss_sp = memory, .ss_size = size};

	CHECK(sigaltstack(&stack, NULL) == 0);
}

static void
touch_some(int number)
{
	(void)number;
	for (int i = 0; i < 8; i++)
		touch(&blocks, i);
}

CASE(fault_on_the_alternate_stack)
{
	struct sigaction action = {.sa_handler = touch_some, .sa_flags = SA_ONSTACK};

	blocks = open_cold();
	use_alternate_stack(65536);
	sigaction(SIGUSR1, &action, NULL);
	expect_absent(blocks.tables[3]);
	raise(SIGUSR1);
	touch_all(&blocks);
}

static void
check_stack_use(void *unused)
{
	static unsigned char memory[65536];
	stack_t stack = {.ss_sp = memory, .ss_size = sizeof memory};
	size_t untouched = 0;

	(void)unused;
	memset(memory, MARK, sizeof memory);
	CHECK(sigaltstack(&stack, NULL) == 0);
	touch_all(&blocks);
	while (untouched < sizeof memory && memory[untouched] == MARK)
		untouched++;
	CHECK(sizeof memory - untouched <= frame_size() + NEEDED);
}

CASE(stack_use_is_what_is_promised)
{
	blocks = open_cold();
	expect_fine(check_stack_use, NULL);
}

CASE(alternate_stack_that_is_just_enough)
{
	blocks = open_cold();
	use_alternate_stack(frame_size() + NEEDED);
	touch_all(&blocks);
}

/* Who has too small a stack cannot handle a fault: the pager sees that when it meets the library. */
CASE(alternate_stack_that_is_too_small)
{
	char *memory = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	stack_t stack = {.ss_sp = memory + 4096, .ss_size = 2048}; /* MINSIGSTKSZ, as it once was for all */

	CHECK(mprotect(memory, 4096, PROT_NONE) == 0);
	if (sigaltstack(&stack, NULL))
		skip("the kernel refuses a small stack");
	blocks = open_cold();
	touch_all(&blocks);
}

static ucontext_t home, away;

static void
touch_away(void)
{
	touch_all(&blocks);
}

static void
touch_in_coroutine(size_t size)
{
	blocks = open_cold();
	expect_absent(blocks.tables[3]);
	getcontext(&away);
	away.uc_stack.ss_size = size;
	char *memory = mmap(NULL, size + 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(mprotect(memory, 4096, PROT_NONE) == 0);
	away.uc_stack.ss_sp = memory + 4096;
	away.uc_link = &home;
	makecontext(&away, touch_away, 0);
	CHECK(swapcontext(&home, &away) == 0);
	dlclose(blocks.library);
}

CASE(coroutine_with_a_small_stack)
{
	touch_in_coroutine(65536);
	touch_in_coroutine(16384);
	touch_in_coroutine((frame_size() + NEEDED + 1024 + 15) & -16UL);
}

CASE(coroutine_with_a_tiny_stack_beside_an_alternate_one)
{
	use_alternate_stack(16384);
	touch_in_coroutine(1024);
}

static void *
touch_all_of(void *unused)
{
	touch_all(&blocks);
	return unused;
}

CASE(thread_with_the_smallest_stack)
{
	pthread_attr_t attributes;
	pthread_t thread;

	blocks = open_cold();
	pthread_attr_init(&attributes);
	CHECK(pthread_attr_setstacksize(&attributes, (size_t)sysconf(_SC_THREAD_STACK_MIN)) == 0);
	CHECK(pthread_create(&thread, &attributes, touch_all_of, NULL) == 0);
	pthread_join(thread, NULL);
}

static volatile sig_atomic_t depth;

static int
descend(int number)
{
	volatile char room[4096];

	room[0] = (char)number;
	depth++;
	return number ? descend(number + 1) + room[0] : 0;
}

static void
overflow(void *unused)
{
	(void)unused;
	descend(1);
}

static void
end_well(int number, siginfo_t *info, void *context)
{
	(void)info, (void)context;
	touch_all(&blocks);
	_exit(number != SIGSEGV);
}

static void
overflow_with_handler(void *unused)
{
	use_alternate_stack(65536);
	overflow(unused);
}

CASE(overflow_of_the_stack)
{
	struct sigaction action = {.sa_sigaction = end_well, .sa_flags = SA_SIGINFO | SA_ONSTACK};

	sigaction(SIGSEGV, &action, NULL);
	blocks = open_cold();
	struct death death = run_child(overflow, NULL);
	CHECK(WIFSIGNALED(death.status) && WTERMSIG(death.status) == SIGSEGV);
	expect_fine(overflow_with_handler, NULL);
}

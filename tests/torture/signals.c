/* Faults inside handlers, faults of others, and signals that are none. */
#include "torture.h"

#include <sys/time.h>

static struct blocks blocks;
static volatile sig_atomic_t handled, next_block;

static void
touch_next(int number)
{
	(void)number;
	touch(&blocks, (int)(next_block++ % BLOCKS));
	handled++;
}

CASE(fault_in_a_handler)
{
	blocks = open_cold();
	signal(SIGUSR1, touch_next);
	for (int i = 0; i < 6; i++) {
		next_block = 4 * i + 1;
		expect_absent(blocks.tables[next_block]);
		raise(SIGUSR1);
	}
	CHECK(handled == 6);
	touch_all(&blocks);
}

static void
touch_twice(int number, siginfo_t *info, void *context)
{
	(void)number, (void)info, (void)context;
	touch(&blocks, 7);
	raise(SIGUSR1);
	handled++;
}

CASE(fault_in_a_handler_in_a_handler)
{
	blocks = open_cold();
	struct sigaction action = {.sa_sigaction = touch_twice, .sa_flags = SA_SIGINFO};
	signal(SIGUSR1, touch_next);
	sigaction(SIGUSR2, &action, NULL);
	raise(SIGUSR2);
	CHECK(handled == 2);
	touch_all(&blocks);
}

CASE(timers_interrupt_faults)
{
	struct itimerval often = {{0, 500}, {0, 500}}, never = {0};

	signal(SIGALRM, touch_next);
	for (int i = 0; i < 20; i++) {
		blocks = open_cold();
		setitimer(ITIMER_REAL, &often, NULL);
		for (int j = BLOCKS; j--;)
			touch(&blocks, j);
		while (handled < i)
			;
		setitimer(ITIMER_REAL, &never, NULL);
		dlclose(blocks.library);
	}
}

typedef int install_function(int, void (*)(int, siginfo_t *, void *), int, struct sigaction *);

CASE(handler_of_packed_code_that_masks_everything)
{
	blocks = open_cold();
	((install_function *)find(blocks.library, "install"))(SIGUSR2, touch_twice, SA_RESETHAND, NULL);
	signal(SIGUSR1, touch_next);
	raise(SIGUSR2);
	CHECK(handled == 2);
}

/* -- SIGSEGV blocked ---------------------------------------------------------------------------------------------- */

static void *
touch_all_blocked(void *unused)
{
	sigset_t all, now;

	(void)unused;
	pthread_sigmask(SIG_BLOCK, NULL, &now);
	CHECK(sigismember(&now, SIGTERM));
	touch_all(&blocks);
	sigfillset(&all);
	return NULL;
}

static void
touch_all_in_a_thread(void)
{
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, touch_all_blocked, NULL) == 0);
	pthread_join(thread, NULL);
}

CASE(packed_code_blocks_all_signals)
{
	sigset_t old;

	blocks = open_cold();
	((int (*)(sigset_t *))find(blocks.library, "block_all"))(&old);
	CHECK(!sigismember(&old, SIGTERM));
	touch_all_in_a_thread();
	touch_all(&blocks);
	dlclose(blocks.library);
	blocks = open_cold();
	((int (*)(sigset_t *))find(blocks.library, "block_all_of_process"))(&old);
	CHECK(sigismember(&old, SIGTERM));
	touch_all(&blocks);
}

CASE(packed_code_waits_with_all_signals_blocked)
{
	blocks = open_cold();
	for (int way = 0; way < 4; way++) {
		int block = 11 + 4 * way;
		expect_absent(blocks.tables[block]);
		CHECK(((int (*)(int))find(blocks.library, "wait_for_alarm"))(way) == block);
	}
	touch_all(&blocks);
}

/* Who blocks a fault's signal cannot have it handled: the pager sees that when it meets the library. */
CASE(all_signals_are_blocked_before_loading)
{
	sigset_t all, now;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	blocks = open_cold();
	touch_all_in_a_thread();
	touch_all(&blocks);
	pthread_sigmask(SIG_SETMASK, NULL, &now);
	CHECK(sigismember(&now, SIGSEGV));
}

static void
block_then_touch(void *unused)
{
	sigset_t all;

	(void)unused;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	touch_all(&blocks);
}

/* The limit that docs/packed-format.md names. */
CASE(others_block_all_signals_after_loading)
{
	blocks = open_cold();
	struct death death = run_child(block_then_touch, NULL);
	if (demand)
		CHECK(WIFSIGNALED(death.status) && WTERMSIG(death.status) == SIGSEGV);
	else
		CHECK(death.status == 0);
	touch_all(&blocks);
	expect_fine(block_then_touch, NULL);
}

/* -- others' handlers --------------------------------------------------------------------------------------------- */

static void *handler;

static void
call_handler(const char *name)
{
	if (!handler)
		handler = open_library(path_of("libhandler.so"));
	((void (*)(void))find(handler, name))();
}

static void
expect_faults_reach_the_handler(void)
{
	int (*probe)(const void *, siginfo_t *, int *, int *) =
	    (int (*)(const void *, siginfo_t *, int *, int *))find(handler, "probe");
	uintptr_t addresses[] = {0, 0x1230, 0x4560};
	siginfo_t info;
	int own, usual;

	for (int i = 0; i < 3; i++) {
		CHECK(probe((void *)addresses[i], &info, &own, &usual) == 1);
		CHECK(info.si_signo == SIGSEGV && info.si_code == SEGV_MAPERR && (uintptr_t)info.si_addr == addresses[i]);
		CHECK(own == 1 && usual == 0);
	}
	CHECK(probe(&own, &info, &own, &usual) == 0);
}

CASE(handler_from_before)
{
	call_handler("install_leaving");
	blocks = open_cold();
	expect_faults_reach_the_handler();
	expect_present(blocks.tables[3]); /* it may go, and take the pager along */
	signal(SIGSEGV, SIG_DFL);
	touch_all(&blocks);
	call_handler("install_leaving");
	expect_faults_reach_the_handler();
}

CASE(handler_from_later)
{
	blocks = open_cold();
	touch_all(&blocks);
	call_handler("install_leaving");
	expect_faults_reach_the_handler();
	/* When another packed library is loaded, the pager goes first again. */
	struct blocks plugin = open_blocks(path_of("libplugin.so"), 4);
	expect_absent(plugin.tables[1]);
	touch_all(&plugin);
	expect_faults_reach_the_handler();
}

static volatile char *volatile nowhere;

static void
crash(void *unused)
{
	(void)unused;
	*nowhere;
}

CASE(handler_from_later_that_calls_the_one_before)
{
	blocks = open_cold();
	call_handler("install_passing");
	touch_all(&blocks);
	int passed = ((int (*)(void))find(handler, "passed"))();
	CHECK(demand ? passed > 0 : passed == 0);
	struct death death = run_child(crash, NULL);
	CHECK(WIFSIGNALED(death.status) && WTERMSIG(death.status) == SIGSEGV);
	/* The pager is before it and behind it now. */
	struct blocks plugin = open_blocks(path_of("libplugin.so"), 4);
	touch_all(&plugin);
	CHECK(passed == ((int (*)(void))find(handler, "passed"))());
	death = run_child(crash, NULL);
	CHECK(WIFSIGNALED(death.status) && WTERMSIG(death.status) == SIGSEGV);
}

static int
count(const char *name)
{
	return ((int (*)(void))find(handler, name))();
}

static void *
touch_or_crash(void *whether)
{
	if (whether)
		crash(NULL);
	touch_all(&blocks);
	return NULL;
}

static void
crash_in_a_thread(void *unused)
{
	pthread_t thread;

	(void)unused;
	CHECK(pthread_create(&thread, NULL, touch_or_crash, &blocks) == 0);
	pthread_join(thread, NULL);
}

static void
expect_crashes_end_the_process(void)
{
	void (*ways[])(void *) = {crash, crash_in_a_thread};

	for (int i = 0; i < 2; i++) {
		struct death death = run_child(ways[i], NULL);
		CHECK(WIFSIGNALED(death.status) && WTERMSIG(death.status) == SIGSEGV);
	}
}

/* Blocks are loaded although such a handler takes a missing one for a crash, in threads with and without a stack for
   signals; and crashes stay crashes, wherever the pager is in the row of handlers. */
CASE(handler_from_later_that_raises_the_signal_again)
{
	pthread_t thread;

	blocks = open_cold();
	call_handler("install_reporting");
	expect_crashes_end_the_process();
	CHECK(pthread_create(&thread, NULL, touch_or_crash, NULL) == 0);
	pthread_join(thread, NULL);
	CHECK(count("reported") == demand);
	expect_crashes_end_the_process();
	call_handler("install_reporting");
	struct blocks plugin = open_blocks(path_of("libplugin.so"), 4);
	expect_crashes_end_the_process();
	call_handler("remove_reporting");
	expect_crashes_end_the_process();
	touch_all(&plugin);
	for (int i = 0; i < 100; i++) { /* more often than the pager has places for */
		call_handler("install_reporting");
		dlclose(plugin.library);
		plugin = open_blocks(path_of("libplugin.so"), 4);
		touch_all(&plugin);
	}
	CHECK(count("reported") == demand);
	expect_crashes_end_the_process();
}

static int passed_before, passed_too_before;

static void
end_of_the_chain(int number, siginfo_t *info, void *context)
{
	(void)number, (void)info, (void)context;
	_exit(!(count("passed") == passed_before + 1 && count("passed_too") == passed_too_before + 1));
}

CASE(each_of_many_handlers_is_called)
{
	blocks = open_cold();
	((install_function *)find(blocks.library, "install"))(SIGSEGV, end_of_the_chain, 0, NULL);
	call_handler("install_passing");
	touch_all(&blocks);
	struct blocks plugin = open_blocks(path_of("libplugin.so"), 4);
	call_handler("install_passing_too");
	touch_all(&plugin);
	passed_before = count("passed"), passed_too_before = count("passed_too");
	expect_fine(crash, NULL);
}

static void
raise_a_fault(int number)
{
	(void)number;
	raise(SIGSEGV);
	_exit(5);
}

static void
raise_on_the_alternate_stack(void *unused)
{
	static _Alignas(16) char memory[1 << 17];
	stack_t stack = {.ss_sp = memory, .ss_size = sizeof memory};
	struct sigaction action = {.sa_handler = raise_a_fault, .sa_flags = SA_ONSTACK};

	(void)unused;
	sigaltstack(&stack, NULL);
	sigaction(SIGUSR1, &action, NULL);
	touch(&blocks, 3); /* what the kernel notes of this fault, it notes of the next signal as well */
	raise(SIGUSR1);
}

CASE(signal_that_is_raised_on_the_alternate_stack)
{
	blocks = open_cold();
	struct death death = run_child(raise_on_the_alternate_stack, NULL);
	CHECK(WIFSIGNALED(death.status) && WTERMSIG(death.status) == SIGSEGV);
}

static volatile sig_atomic_t told;
static volatile siginfo_t what;

static void
end_well(int number, siginfo_t *info, void *context)
{
	(void)context;
	_exit(!(number == SIGSEGV && info->si_code == SEGV_MAPERR && info->si_addr == NULL));
}

static void
note(int number, siginfo_t *info, void *context)
{
	(void)number, (void)context;
	told++;
	what = *info;
}

/* Packed code's handler never sees a missing block, and its view of who handled SIGSEGV is the one without a pager. */
CASE(handler_of_packed_code)
{
	struct sigaction old;

	blocks = open_cold();
	install_function *install = (install_function *)find(blocks.library, "install");
	for (int i = 0; i < 1000; i++) {
		CHECK(install(SIGSEGV, note, 0, &old) == 0);
		CHECK(i ? old.sa_sigaction == end_well && old.sa_flags & SA_ONSTACK : old.sa_handler == SIG_DFL);
		CHECK(install(SIGSEGV, end_well, SA_ONSTACK, &old) == 0 && old.sa_sigaction == note);
	}
	expect_absent(blocks.tables[3]);
	touch_all(&blocks);
	expect_fine(crash, NULL); /* by _exit() in the handler */
	struct blocks plugin = open_blocks(path_of("libplugin.so"), 4);
	touch_all(&plugin);
	expect_fine(crash, NULL);
	call_handler("install_passing");
	expect_fine(crash, NULL);
}

typedef void (*signal_function(int, void (*)(int)))(int);

static void
end_well_without_info(int number)
{
	_exit(number != SIGSEGV);
}

CASE(handler_of_packed_code_by_signal)
{
	blocks = open_cold();
	signal_function *install = packed ? (signal_function *)find(blocks.library, "slimpack_signal") : signal;
	CHECK(install(SIGSEGV, SIG_IGN) == SIG_DFL);
	CHECK(install(SIGSEGV, end_well_without_info) == SIG_IGN);
	CHECK(install(SIGUSR1, touch_next) == SIG_DFL);
	expect_absent(blocks.tables[3]);
	touch_all(&blocks);
	expect_fine(crash, NULL); /* by _exit() in the handler */
	raise(SIGUSR1);
	CHECK(handled == 1);
}

CASE(handler_of_packed_code_by_the_signal_of_old)
{
	blocks = open_cold();
	signal_function *install =
	    packed ? (signal_function *)find(blocks.library, "slimpack___sysv_signal") : __sysv_signal;
	CHECK(install(SIGSEGV, end_well_without_info) == SIG_DFL);
	CHECK(install(SIGUSR1, touch_next) == SIG_DFL);
	touch_all(&blocks);
	expect_fine(crash, NULL);
	raise(SIGUSR1);
	CHECK(handled == 1);
	CHECK(signal(SIGUSR1, SIG_DFL) == SIG_DFL); /* for once only */
}

CASE(handler_outlives_packed_libraries)
{
	call_handler("install_leaving");
	blocks = open_cold();
	touch(&blocks, 3);
	dlclose(blocks.library);
	expect_faults_reach_the_handler();
}

CASE(signals_that_are_sent_keep_what_they_say)
{
	struct sigaction action = {.sa_sigaction = note, .sa_flags = SA_SIGINFO};

	sigaction(SIGSEGV, &action, NULL);
	blocks = open_cold();
	sigqueue(getpid(), SIGSEGV, (union sigval){.sival_int = 77});
	CHECK(told == 1 && what.si_code == SI_QUEUE && what.si_value.sival_int == 77 && what.si_pid == getpid());
	kill(getpid(), SIGSEGV);
	CHECK(told == 2 && what.si_code == SI_USER && what.si_pid == getpid());
	raise(SIGSEGV);
	CHECK(told == 3 && what.si_code == SI_TKILL);
	touch_all(&blocks);
	CHECK(told == 3);
}

static void
send_in_a_block(void *unused)
{
	(void)unused;
	kill(getpid(), SIGSEGV);
}

CASE(signal_that_is_ignored_stays_ignored)
{
	signal(SIGSEGV, SIG_IGN);
	blocks = open_cold();
	((long (*)(void (*)(void *), void *))find(blocks.library, "call_back"))(send_in_a_block, NULL);
	touch_all(&blocks);
	struct death death = run_child(crash, NULL);
	CHECK(WIFSIGNALED(death.status) && WTERMSIG(death.status) == SIGSEGV);
}

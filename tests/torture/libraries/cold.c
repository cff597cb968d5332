/* 2 MiB of code in 32 blocks, with much in them that runs or is read at odd times. */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/time.h>
#include "blocks.h"

BLOCK(0) BLOCK(1) BLOCK(2) BLOCK(3) BLOCK(4) BLOCK(5) BLOCK(6) BLOCK(7)
BLOCK(8) BLOCK(9) BLOCK(10) BLOCK(11) BLOCK(12) BLOCK(13) BLOCK(14) BLOCK(15)
BLOCK(16) BLOCK(17) BLOCK(18) BLOCK(19) BLOCK(20) BLOCK(21) BLOCK(22) BLOCK(23)
BLOCK(24) BLOCK(25) BLOCK(26) BLOCK(27) BLOCK(28) BLOCK(29) BLOCK(30) BLOCK(31)

#define IN_BLOCK(n) __attribute__((section(".text.block" #n), noinline))

/* Read-only data that is large enough to be packed. */
const char words[100000] = "words that the kernel reads";

static long constructed, closed;
long *destroyed = &closed;

__attribute__((constructor)) IN_BLOCK(30) static void
construct(void)
{
	constructed = function31(1);
}

__attribute__((destructor)) IN_BLOCK(29) static void
destroy(void)
{
	*destroyed = function28(1);
}

long
constructed_with(void)
{
	return constructed;
}

/* An indirect function: its resolver runs while the library is relocated. */
static long
seven(void)
{
	return 7 * function27(0) / (27 * 27);
}

IN_BLOCK(26) static void *
choose(void)
{
	return (void *)seven;
}

long chosen(void) __attribute__((ifunc("choose")));

long
call_chosen(void)
{
	return chosen();
}

/* Calls back from a block, so that its code is on the stack. */
IN_BLOCK(25) long
call_back(void (*function)(void *), void *argument)
{
	volatile long local = 25;
	function(argument);
	return local;
}

IN_BLOCK(24) void
write_to_code(void *at)
{
	memset(at, 0, 1);
}

/* What blocks signals, as packed code does it. */
int
block_all(sigset_t *old)
{
	sigset_t all;
	sigfillset(&all);
	return pthread_sigmask(SIG_BLOCK, &all, old);
}

int
block_all_of_process(sigset_t *old)
{
	sigset_t all;
	sigfillset(&all);
	return sigprocmask(SIG_SETMASK, &all, old);
}

/* Waits with everything blocked but for a timer, whose handler lies in a block of its own. */
static volatile sig_atomic_t alarms;

IN_BLOCK(23) static void alarm_23(int number) { (void)number; alarms += 23; }
IN_BLOCK(19) static void alarm_19(int number) { (void)number; alarms += 19; }
IN_BLOCK(15) static void alarm_15(int number) { (void)number; alarms += 15; }
IN_BLOCK(11) static void alarm_11(int number) { (void)number; alarms += 11; }

int
wait_for_alarm(int way)
{
	void (*const handlers[])(int) = {alarm_11, alarm_15, alarm_19, alarm_23};
	struct itimerval soon = {{0, 0}, {0, 10000}};
	sigset_t others, timer;
	struct epoll_event event;

	sigfillset(&others);
	sigdelset(&others, SIGALRM);
	sigemptyset(&timer);
	sigaddset(&timer, SIGALRM);
	sigprocmask(SIG_BLOCK, &timer, 0);
	signal(SIGALRM, handlers[way]);
	alarms = 0;
	setitimer(ITIMER_REAL, &soon, 0);
	switch (way) {
	case 0: sigsuspend(&others); break;
	case 1: ppoll(0, 0, 0, &others); break;
	case 2: pselect(0, 0, 0, 0, 0, &others); break;
	default: epoll_pwait(epoll_create1(0), &event, 1, -1, &others);
	}
	return alarms;
}

int
install(int number, void (*handler)(int, siginfo_t *, void *), int flags, struct sigaction *old)
{
	struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags};
	sigfillset(&action.sa_mask);
	return sigaction(number, &action, old);
}

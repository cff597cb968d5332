/* Another library's handler of SIGSEGV; never packed. It leaves by a jump, or calls who was there before. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>

static sigjmp_buf home;
static struct sigaction before;
static siginfo_t last;
static int usual_blocked, own_blocked;

static void
leave(int number, siginfo_t *info, void *context)
{
	sigset_t now;

	(void)number, (void)context;
	last = *info;
	sigprocmask(SIG_BLOCK, 0, &now);
	own_blocked = sigismember(&now, SIGUSR1);
	usual_blocked = sigismember(&now, SIGUSR2);
	siglongjmp(home, 1);
}

static volatile int passed_on;

static void
pass_on(int number, siginfo_t *info, void *context)
{
	passed_on++;
	if (before.sa_flags & SA_SIGINFO)
		before.sa_sigaction(number, info, context);
	else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN)
		before.sa_handler(number);
	else
		sigaction(number, &before, 0);
}

void
install_leaving(void)
{
	struct sigaction action = {.sa_sigaction = leave, .sa_flags = SA_SIGINFO};
	sigaddset(&action.sa_mask, SIGUSR1);
	sigaction(SIGSEGV, &action, &before);
}

void
install_passing(void)
{
	struct sigaction action = {.sa_sigaction = pass_on, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	sigaction(SIGSEGV, &action, &before);
}

int
passed(void)
{
	return passed_on;
}

static struct sigaction before_too;
static volatile int passed_on_too;

static void
pass_on_too(int number, siginfo_t *info, void *context)
{
	passed_on_too++;
	before_too.sa_sigaction(number, info, context);
}

void
install_passing_too(void)
{
	struct sigaction action = {.sa_sigaction = pass_on_too, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	sigaction(SIGSEGV, &action, &before_too);
}

int
passed_too(void)
{
	return passed_on_too;
}

/* As Python's faulthandler does: it reports, puts back who was there before, and raises the signal anew. */
static struct sigaction before_reports;
static volatile int reports;

void
remove_reporting(void)
{
	sigaction(SIGSEGV, &before_reports, 0);
}

static void
report(int number)
{
	reports++;
	remove_reporting();
	raise(number);
}

void
install_reporting(void)
{
	struct sigaction action = {.sa_handler = report, .sa_flags = SA_NODEFER | SA_ONSTACK};
	sigaction(SIGSEGV, &action, &before_reports);
}

int
reported(void)
{
	return reports;
}

/* Reads an address: 0 if that goes well, else what the handler was told. */
int
probe(const void *address, siginfo_t *info, int *own, int *usual)
{
	if (!sigsetjmp(home, 1)) {
		*(volatile const char *)address;
		return 0;
	}
	*info = last, *own = own_blocked, *usual = usual_blocked;
	return 1;
}

/* What crashes dies as it would without the pager: by the same signal, for the same reason, at the same address. */
#include "torture.h"

#include <sys/mman.h>

static struct blocks blocks;

static void
expect_crash(void (*body)(void *), void *argument, int code, const void *address)
{
	struct death death = run_child(body, argument);
	CHECK(WIFSIGNALED(death.status) && WTERMSIG(death.status) == SIGSEGV && !death.said[0]);
	death = trace_child(body, argument);
	if (!death.traced) /* by an emulator: the signal must do */
		return;
	CHECK(WIFSIGNALED(death.status) && WTERMSIG(death.status) == SIGSEGV);
	if (code != death.info.si_code || (code > 0 && death.info.si_addr != address))
		dprintf(2, "si_code %d, si_addr %p\n", death.info.si_code, death.info.si_addr);
	CHECK(death.info.si_code == code);
	CHECK(code <= 0 || death.info.si_addr == address);
}

static void
read_from(void *address)
{
	*(volatile char *)address;
}

static void
write_to(void *address)
{
	touch(&blocks, 9);
	((void (*)(void *))find(blocks.library, "write_to_code"))(address);
}

static void
jump_to(void *address)
{
	((void (*)(void))address)();
}

CASE(crash_by_reading_nothing)
{
	blocks = open_cold();
	expect_crash(read_from, NULL, SEGV_MAPERR, NULL);
	expect_crash(read_from, (void *)0x1234560, SEGV_MAPERR, (void *)0x1234560);
	touch_all(&blocks);
	expect_crash(read_from, NULL, SEGV_MAPERR, NULL);
}

CASE(crash_by_an_address_that_cannot_be)
{
	blocks = open_cold();
#if defined(__x86_64__)
	expect_crash(read_from, (void *)0x8123456789abcde0, SI_KERNEL, NULL);
#else
	expect_crash(read_from, (void *)0x0081234567890000, SEGV_MAPERR, (void *)0x0081234567890000);
#endif
}

CASE(crash_by_jumping_to_data)
{
	static char data[64];

	blocks = open_cold();
	expect_crash(jump_to, data, SEGV_ACCERR, data);
	expect_crash(jump_to, find(blocks.library, "words"), SEGV_ACCERR, find(blocks.library, "words"));
	expect_crash(jump_to, NULL, SEGV_MAPERR, NULL);
}

CASE(crash_by_writing_to_code)
{
	blocks = open_cold();
	void *there_already = (void *)(blocks.tables[9] + 10), *absent = (void *)(blocks.tables[14] + 4000);
	expect_absent(absent);
	expect_crash(write_to, there_already, SEGV_ACCERR, there_already);
	expect_crash(write_to, absent, SEGV_ACCERR, absent);
}

static void
send(void *way)
{
	switch ((intptr_t)way) {
	case 0: kill(getpid(), SIGSEGV); break;
	case 1: raise(SIGSEGV); break;
	default: sigqueue(getpid(), SIGSEGV, (union sigval){.sival_int = 7});
	}
	_exit(3);
}

CASE(crash_by_a_signal_that_is_sent)
{
	static const int codes[] = {SI_USER, SI_TKILL, SI_QUEUE};

	blocks = open_cold();
	for (intptr_t i = 0; i < 3; i++)
		expect_crash(send, (void *)i, codes[i], NULL);
}

static void
read_where_it_was(void *unused)
{
	(void)unused;
	const uint64_t *table = blocks.tables[3];
	uintptr_t page = (uintptr_t)table & -4096UL;
	dlclose(blocks.library);
	void *memory = mmap((void *)page, 65536, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (memory != (void *)page)
		_exit(4);
	read_from((void *)table);
}

CASE(crash_where_a_library_was)
{
	blocks = open_cold();
	expect_crash(read_where_it_was, NULL, SEGV_ACCERR, blocks.tables[3]);
}

#if defined(__aarch64__)
static void
jump_behind_landing_pad(void *function)
{
	((long (*)(long))((char *)function + 4))(1);
}
#endif

/* On aarch64, where processor and library have branch targets marked (BTI), others are no targets: SIGILL. */
CASE(branch_targets_are_guarded_as_the_loader_does)
{
#if defined(__aarch64__)
	if (access(path_of("../plain/libcold.so"), F_OK))
		skip("the plain libraries are not there to compare with");
	struct blocks plain = open_blocks(path_of("../plain/libcold.so"), BLOCKS);
	blocks = open_cold();
	int expected = run_child(jump_behind_landing_pad, (void *)plain.functions[5]).status;
	CHECK(run_child(jump_behind_landing_pad, (void *)blocks.functions[5]).status == expected);
	touch(&blocks, 5);
	CHECK(run_child(jump_behind_landing_pad, (void *)blocks.functions[5]).status == expected);
#else
	skip("the kernel guards them on aarch64 only");
#endif
}

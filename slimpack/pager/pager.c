/*
 * The pager: it puts the cold parts of packed libraries in their places.
 *
 * Each packed library has one relocation against slimpack_attach, before all others that call code. That symbol is an
 * indirect function (STT_GNU_IFUNC), so the loader calls its resolver, attach(), when nothing of the library has run.
 * From then on the first touch of a missing block raises SIGSEGV, and on_fault() loads it.
 *
 * The rules of on_fault():
 * - It allocates with mmap only, calls no libc, takes no lock and waits for nobody but for a bounded time. Threads that
 *   touch a block at the same time may load it twice: both publish the same bytes. So it does not matter if a thread
 *   that loads a block is lost, in fork() or otherwise.
 * - A block is decoded in memory of its own, which is writable and not executable, then made executable and not
 *   writable, and only then moved into place, by one mremap: nobody ever sees a part of a block.
 * - What is not about a missing block goes on to who handled SIGSEGV before.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <gnu/libc-version.h>
#include <limits.h>
#include <link.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/uio.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define ZSTD_STATIC_LINKING_ONLY
#include "filters.h"
#include "format.h"
#include "system.h"
#include "zstd.h"

#define LARGEST_PAGE 0x10000UL
#define WORKSPACE 0x20000UL /* bytes; the decoder needs some 94 KiB */
#define WORKSPACES 4 /* that stay; when all are in use, others are made and go */
#define FAULT_AROUND 0x10000UL /* bytes that the kernel maps around a page of a file that is touched (fault_around_bytes) */
#define LARGEST_INDEX (64U << 20)
#define LARGEST_BLOCK (16U << 20)
#define MOST_ACTIONS 64
#define MOST_REPEATS 64
#define MOST_STACK 0x10000UL /* bytes of a stack that are looked at for the frame of a signal */
#define NEAR 0x1000UL /* bytes of it in which nothing is left of a signal that is over */
#define LONGEST_INSTRUCTION 16UL
#define SMALLEST_FRAME 5120 /* bytes that the kernel may put on the stack for a signal, if it does not tell */
#define OWN_STACK 2048 /* bytes that on_fault() may need below that; it takes half as much */
#define PATIENCE 20000000L /* nanoseconds to wait for another thread that loads the same block */
#define MOST_NAPS 1000 /* of a millisecond each, until there is memory */

enum state { ABSENT, CLAIMED, PRESENT };
enum access { READ, WRITE, EXECUTE };
enum progress { EMPTY, BEING_WRITTEN, COMPLETE };

struct library {
	struct library *next;
	_Atomic uintptr_t low, high; /* the memory it is about; both 0 while it is about none */
	uintptr_t base;
	const unsigned char *packed;
	size_t packed_size;
	const struct index *index;
	const struct range *ranges;
	const uint64_t *offsets;
	_Atomic uint32_t *states;
	_Atomic uint64_t *mark; /* in the library: holds `identity` as long as it is loaded */
	uint64_t identity;
	int relocated; /* whether its relocations were applied, and dropped */
	int code_protection; /* of what is mapped to be executed */
	size_t size; /* of the memory of this struct and what it points to; not of the library's */
	char name[512];
};

static struct library *_Atomic libraries;
static _Atomic long attaching; /* process that is changing the list, or 0 */
static _Atomic uint64_t generation;

/* Actions for SIGSEGV that were met. One that is complete never changes, so it can be read without a lock. */
static struct {
	_Atomic int state; /* enum progress */
	struct sigaction action;
} actions[MOST_ACTIONS];

/* The pager is the first to handle SIGSEGV, and becomes it again if others have come since. Who came, and who was there
   before, may hold on to one of its handlers each, and call it or put it back. So there are many: a level each. */
typedef void handler(int signal, siginfo_t *info, void *context);
static void on_fault(int signal, siginfo_t *info, ucontext_t *context, int level);

#define EACH_LEVEL(DO) \
	DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14) DO(15) \
	DO(16) DO(17) DO(18) DO(19) DO(20) DO(21) DO(22) DO(23) DO(24) DO(25) DO(26) DO(27) DO(28) DO(29) DO(30) DO(31)
#define DEFINE(level) \
	static void on_fault_##level(int signal, siginfo_t *info, void *context) { on_fault(signal, info, context, level); }
#define NAME(level) on_fault_##level,
EACH_LEVEL(DEFINE)
static handler *const handlers[] = {EACH_LEVEL(NAME)};
#define MOST_LEVELS ((int)(sizeof handlers / sizeof *handlers))

/* The number of the action that a level hands on to. It may change later, when packed code asks for another. */
static _Atomic int levels[sizeof handlers / sizeof *handlers];
static _Atomic int number_of_levels;

/* What decoders work in. One that was in use in another thread when this process was forked stays so. */
static _Alignas(64) unsigned char workspaces[WORKSPACES][WORKSPACE];
static _Atomic int used[WORKSPACES];
static ZSTD_DCtx *decoders[WORKSPACES];

/* Memory for a block when there is no other: its address, and its size in the bits that are free. */
static _Atomic uintptr_t reserve;
static _Atomic size_t reserve_size;

static int configured, eager;
static _Atomic int counting;
static _Atomic uint64_t blocks_loaded, bytes_loaded, nanoseconds;

/* -- saying, and ending ------------------------------------------------------------------------------------------- */

#define MOST_WORDS 9

struct line { /* in parts: the stack may be small */
	int parts;
	struct iovec part[MOST_WORDS];
	char digits[3][21];
	int numbers;
};

static void
add(struct line *line, const char *text)
{
	line->part[line->parts++] = (struct iovec){.iov_base = (void *)text, .iov_len = strlen(text)};
}

static void
add_number(struct line *line, uint64_t number)
{
	char *digits = line->digits[line->numbers++];
	int at = 20;

	digits[at] = 0;
	do
		digits[--at] = (char)('0' + number % 10);
	while (number /= 10);
	add(line, digits + at);
}

static void
say(struct line *line)
{
	add(line, "\n");
	SYSTEM_3(writev, STDERR_FILENO, line->part, line->parts);
}

struct kernel_action { /* as rt_sigaction takes it; glibc's is another */
	uintptr_t handler, flags, restorer;
	uint64_t mask;
};

static void
by_default(int signal)
{
	struct kernel_action action = {.handler = (uintptr_t)SIG_DFL};
	SYSTEM_4(rt_sigaction, signal, &action, NULL, sizeof action.mask);
}

static _Noreturn void
end(const struct library *library, const char *what, long block, const char *more)
{
	struct line line = {0};
	uint64_t aborts = 1ULL << (SIGABRT - 1);

	add(&line, "slimpack: ");
	add(&line, library && library->name[0] ? library->name : "a packed library");
	add(&line, ": ");
	if (block >= 0) {
		add(&line, "block ");
		add_number(&line, (uint64_t)block);
		add(&line, " ");
	}
	add(&line, what);
	add(&line, more);
	say(&line);
	by_default(SIGABRT);
	SYSTEM_4(rt_sigprocmask, SIG_UNBLOCK, &aborts, NULL, sizeof aborts);
	SYSTEM_3(tgkill, SYSTEM_0(getpid), SYSTEM_0(gettid), SIGABRT);
	for (;;)
		SYSTEM_1(exit_group, 128 + SIGABRT);
}

/* -- loading blocks ----------------------------------------------------------------------------------------------- */

static uint64_t
now(void)
{
	struct timespec time = {0};
	SYSTEM_2(clock_gettime, CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/* Whether eight bytes can be read, without reading them: the kernel looks at the set before it refuses the rest. */
static int
readable(const void *address)
{
	return SYSTEM_4(rt_sigprocmask, -1, address, NULL, 8) != -EFAULT;
}

/* Whether there still is a file behind some bytes of a library: it may have been truncated. */
static int
all_readable(const unsigned char *start, size_t size)
{
	uintptr_t last = ((uintptr_t)start + size - 1) & -8UL;

	for (uintptr_t at = (uintptr_t)start & -8UL; at < last; at += 0x1000)
		if (!readable((const void *)at))
			return 0;
	return readable((const void *)last);
}

static long
map(size_t size)
{
	return SYSTEM_6(mmap, NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* The same, for memory that is filled at once: one system call in place of a fault for each page. */
static long
map_filled(size_t size)
{
	return SYSTEM_6(mmap, NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
}

static void
fill_reserve(void)
{
	size_t size = reserve_size;
	uintptr_t none = 0;
	long memory;

	if (reserve || failed(memory = map(size)))
		return;
	if (!atomic_compare_exchange_strong(&reserve, &none, (uintptr_t)memory | size / LARGEST_PAGE))
		SYSTEM_2(munmap, memory, size);
}

/* Has memory at hand for the largest block. */
static void
enlarge_reserve(size_t size)
{
	uintptr_t old;

	if (size <= reserve_size)
		return;
	reserve_size = size;
	if ((old = atomic_exchange(&reserve, 0)))
		SYSTEM_2(munmap, old & -0x1000UL, (old & 0xfff) * LARGEST_PAGE);
	fill_reserve();
}

/* Returns memory for one block. When there is none, that of the reserve goes from thread to thread: a block that is put
   in its place gives back as much as it has taken. */
static long
find_memory(size_t size)
{
	static const struct timespec nap = {0, 1000000};
	long memory = map_filled(size);

	for (int i = 0; failed(memory) && i < MOST_NAPS; i++) {
		uintptr_t taken = atomic_exchange(&reserve, 0);
		size_t taken_size = (taken & 0xfff) * LARGEST_PAGE;

		taken &= -0x1000UL;
		if (taken && taken_size >= size) {
			if (taken_size > size)
				SYSTEM_2(munmap, taken + size, taken_size - size);
			return (long)taken;
		}
		if (taken)
			SYSTEM_2(munmap, taken, taken_size);
		else
			SYSTEM_2(nanosleep, &nap, NULL);
		memory = map(size);
	}
	return memory;
}

#define TOO_MANY "no memory, or too many mappings (vm.max_map_count)"

/* Puts memory that was filled at `from` into the library in one go; it is never writable and executable. */
static void
publish(struct library *library, const struct range *range, unsigned char *from, uintptr_t to, size_t size, long block)
{
	int writable = range->flags & PF_W ? PROT_WRITE : 0;
	int protection = PROT_READ | writable | (range->flags & PF_X ? library->code_protection : 0);
	long result = 0;

	if (range->flags & PF_X)
		synchronize_instructions(from, size);
	if (!writable)
		result = SYSTEM_3(mprotect, from, size, protection);
	if (!failed(result)) {
		result = SYSTEM_5(mremap, from, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, to);
		if (failed(result))
			end(library, "cannot be put in its place: ", block, TOO_MANY);
		return;
	}
	if (result == -ENOMEM)
		end(library, "cannot be put in its place: ", block, TOO_MANY);
	/* Where memory that was written must not become executable, the same bytes in a file may. */
	long file = SYSTEM_2(memfd_create, "slimpack", 9 /* MFD_CLOEXEC, MFD_NOEXEC_SEAL: no program */);
	if (failed(file))
		file = SYSTEM_2(memfd_create, "slimpack", 1 /* before Linux 6.3 */);
	if (file == -EMFILE || file == -ENFILE)
		end(library, "cannot be made executable without a file in memory: ", block, "too many open files; or allow execmem");
	if (failed(file))
		end(library, "cannot be made executable: ", block, "allow execmem, or set SLIMPACK_PAGER=eager where it is allowed");
	for (size_t done = 0; done < size; done += (size_t)result)
		if (failed(result = SYSTEM_4(pwrite64, file, from + done, size - done, done)) || result == 0)
			end(library, "cannot be written to a file in memory", block, "");
	result = SYSTEM_6(mmap, to, size, protection, MAP_PRIVATE | MAP_FIXED, file, 0);
	SYSTEM_1(close, file);
	if (result == -ENOMEM)
		end(library, "cannot be put in its place: ", block, TOO_MANY);
	if (failed(result))
		end(library, "cannot be made executable: ", block, "allow execmem, or the mapping of files in memory");
	SYSTEM_2(munmap, from, size);
}

static int
take_workspace(void)
{
	for (int i = 0; i < WORKSPACES; i++)
		if (!atomic_exchange(&used[i], 1))
			return i;
	return -1;
}

static void
give_workspace(int taken)
{
	if (taken >= 0)
		used[taken] = 0;
}

/* Returns a decoder in a workspace that was taken, or else in one of the caller's own. One that stays is made once: that asks
   the processor what it can do, which takes a virtual machine a hundred microseconds. */
static ZSTD_DCtx *
decoder_in(int taken, unsigned char *own)
{
	if (taken < 0)
		return ZSTD_initStaticDCtx(own, WORKSPACE);
	if (!decoders[taken])
		decoders[taken] = ZSTD_initStaticDCtx(workspaces[taken], WORKSPACE);
	return decoders[taken];
}

/* Lets go of the pages that frames were read from: they would count as memory of the process, as many as the blocks
   have again. Whoever reads one of them gets it back from the file, without a signal. */
static void
forget(const struct library *library, uint32_t first, uint32_t count)
{
	uintptr_t start = (uintptr_t)library->packed, end = start + library->packed_size;
	uintptr_t from = (start + library->offsets[first]) & -FAULT_AROUND;
	uintptr_t to = (start + library->offsets[first + count] + FAULT_AROUND - 1) & -FAULT_AROUND;

	start = (start + LARGEST_PAGE - 1) & -LARGEST_PAGE;
	from = from < start ? start : from;
	to = to > (end & -LARGEST_PAGE) ? end & -LARGEST_PAGE : to;
	if (from < to)
		SYSTEM_3(madvise, from, to - from, MADV_DONTNEED);
}

/* Decodes blocks that follow each other in a range, and publishes them together. */
static void
load(struct library *library, const struct range *range, uint32_t first, uint32_t count)
{
	uint64_t started = counting ? now() : 0;
	uint64_t skipped = (uint64_t)first * range->block_size;
	uint64_t wanted = (uint64_t)count * range->block_size;
	size_t size = range->size - skipped < wanted ? range->size - skipped : wanted;
	long number = (long)range->first_block + first;
	int taken = take_workspace();
	size_t room = taken < 0 ? WORKSPACE : 0;
	long memory = count == 1 ? find_memory(size + room) : map_filled(size + room);

	if (failed(memory) && count > 1) {
		give_workspace(taken);
		for (uint32_t i = 0; i < count; i++)
			load(library, range, first + i, 1);
		return;
	}
	if (failed(memory))
		end(library, "cannot be loaded: ", number, "no memory");
	unsigned char *content = (unsigned char *)memory;
	ZSTD_DCtx *decoder = decoder_in(taken, content + size);
	if (!decoder)
		end(library, "cannot be loaded: ", number, "the decoder has no room");
	for (size_t done = 0; done < size; number++) {
		size_t part = size - done < range->block_size ? size - done : range->block_size;
		uint64_t from = library->offsets[number], to = library->offsets[number + 1];
		const unsigned char *frame = library->packed + from;

		if (!all_readable(frame, to - from))
			end(library, "is damaged: the file has been truncated", number, "");
		/* Bit 2 of the frame header's descriptor: a checksum follows the content. */
		if (to - from < 5 || !(frame[4] & 4) || ZSTD_decompressDCtx(decoder, content + done, part, frame, to - from) != part)
			end(library, "is damaged", number, "");
		undo(range, content + done, part, range->address + skipped + done);
		done += part;
	}
	give_workspace(taken);
	if (room)
		SYSTEM_2(munmap, content + size, room);
	forget(library, range->first_block + first, count);
	publish(library, range, content, library->base + range->address + skipped, size, (long)range->first_block + first);
	for (uint32_t i = 0; i < count; i++) {
		_Atomic uint32_t *state = &library->states[range->first_block + first + i];
		if (atomic_exchange(state, PRESENT) == CLAIMED)
			SYSTEM_3(futex, state, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, INT_MAX);
	}
	fill_reserve();
	if (counting) {
		blocks_loaded += count;
		bytes_loaded += size;
		nanoseconds += now() - started;
	}
}

static uint32_t
blocks_of(const struct range *range)
{
	return (uint32_t)((range->size + range->block_size - 1) / range->block_size);
}

/* Loads what a library lacks: of all its ranges, or of those that have to be there from the beginning. */
static void
load_ranges(struct library *library, int all)
{
	for (uint32_t i = 0; i < library->index->ranges; i++) {
		const struct range *range = &library->ranges[i];
		uint32_t count = blocks_of(range);

		if (!all && range->moment == ON_TOUCH)
			continue;
		for (uint32_t from = 0, to; from < count; from = to + 1) {
			for (to = from; to < count && library->states[range->first_block + to] != PRESENT; to++)
				;
			if (to > from)
				load(library, range, from, to - from);
		}
	}
}

/* -- faults ------------------------------------------------------------------------------------------------------- */

/* Whether the memory that this is about still is the library's: it may have been closed, and other things be there. */
static int
alive(const struct library *library)
{
	return readable((const void *)library->mark) && *library->mark == library->identity;
}

static enum access
access_of(const ucontext_t *context)
{
#if defined(__x86_64__)
	unsigned long error = (unsigned long)context->uc_mcontext.gregs[REG_ERR];
	return error & 2 ? WRITE : error & 16 ? EXECUTE : READ;
#else
	const unsigned char *at = (const unsigned char *)context->uc_mcontext.__reserved;
	const unsigned char *stop = at + sizeof context->uc_mcontext.__reserved;
	struct record {
		uint32_t magic, size;
		uint64_t syndrome;
	} const *record;

	for (; at + sizeof *record <= stop; at += record->size) {
		record = (const struct record *)at;
		if (record->magic == 0x45535201) { /* ESR_MAGIC; the syndrome's class is in bits 26 to 31 */
			uint64_t class = record->syndrome >> 26 & 0x3f;
			return class == 0x20 ? EXECUTE : class == 0x24 && record->syndrome & 1 << 6 ? WRITE : READ;
		}
		if (record->size < 8 || record->magic == 0)
			break;
	}
	return READ; /* not told: repeats() will tell */
#endif
}

static uintptr_t
stack_of(const ucontext_t *context)
{
#if defined(__x86_64__)
	return (uintptr_t)context->uc_mcontext.gregs[REG_RSP];
#else
	return (uintptr_t)context->uc_mcontext.sp;
#endif
}

/* Whether a fault in memory that is there has been seen so often that it is no race. */
static int
repeats(uintptr_t address, uintptr_t stack)
{
	static _Atomic uintptr_t last;
	static _Atomic int times;
	uintptr_t key = address ^ stack << 20;

	if (atomic_exchange(&last, key) != key)
		times = 0;
	return ++times > MOST_REPEATS;
}

static void
page_in(struct library *library, const struct range *range, uint32_t block)
{
	_Atomic uint32_t *state = &library->states[range->first_block + block];
	uint32_t seen = ABSENT;

	if (!atomic_compare_exchange_strong(state, &seen, CLAIMED) && seen == CLAIMED) {
		struct timespec patience = {0, PATIENCE};
		SYSTEM_4(futex, state, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, CLAIMED, &patience);
	}
	if (*state != PRESENT) /* who claimed it may be gone */
		load(library, range, block, 1);
}

static uintptr_t
fault_address(const ucontext_t *context)
{
#if defined(__x86_64__)
	return (uintptr_t)context->uc_mcontext.gregs[REG_CR2];
#else
	return (uintptr_t)context->uc_mcontext.fault_address;
#endif
}

static uintptr_t
instruction_of(const ucontext_t *context)
{
#if defined(__x86_64__)
	return (uintptr_t)context->uc_mcontext.gregs[REG_RIP];
#else
	return (uintptr_t)context->uc_mcontext.pc;
#endif
}

/* Returns the library that a fault is about, and the range in it, or NULL if it is about no block. */
static struct library *
library_of(uintptr_t address, const ucontext_t *context, const struct range **found)
{
	for (struct library *library = libraries; library; library = library->next) {
		if (address < library->low || address >= library->high || !alive(library))
			continue;
		uintptr_t at = address - library->base;
		for (uint32_t i = 0; i < library->index->ranges; i++) {
			const struct range *range = &library->ranges[i];
			enum access access;

			if (at < range->address || at - range->address >= range->size)
				continue;
			access = access_of(context);
			*found = range;
			return access == WRITE || (access == EXECUTE && !(range->flags & PF_X)) ? NULL : library;
		}
		return NULL;
	}
	return NULL;
}

static uint32_t
block_of(const struct library *library, const struct range *range, uintptr_t address)
{
	return (uint32_t)((address - library->base - range->address) / range->block_size);
}

/* Returns whether the instruction can be run again. */
static int
resolve_fault(uintptr_t address, const ucontext_t *context)
{
	const struct range *range;
	struct library *library = library_of(address, context, &range);
	uint32_t block;

	if (!library)
		return 0;
	block = block_of(library, range, address);
	if (library->states[range->first_block + block] == PRESENT)
		return !repeats(address, stack_of(context));
	page_in(library, range, block);
	return 1;
}

/* Whether some bytes of a stack look like what the kernel has put there for a fault in memory. `own` is one of its making. */
static int
is_fault(const ucontext_t *context, const ucontext_t *own)
{
	if (context->uc_link || context->uc_flags != own->uc_flags)
		return 0;
#if defined(__x86_64__)
	const greg_t *registers = context->uc_mcontext.gregs, *now = own->uc_mcontext.gregs;
	return registers[REG_TRAPNO] == 14 && (uint16_t)registers[REG_CSGSFS] == (uint16_t)now[REG_CSGSFS];
#else
	return *(const uint32_t *)context->uc_mcontext.__reserved == 0x46508001; /* FPSIMD_MAGIC: always the first record */
#endif
}

/* Whether a thread that has raised SIGSEGV did so in a handler that was called for a missing block: a handler that was
   installed later, such as Python's faulthandler, puts the pager back and raises the signal anew. What the kernel has
   noted of the fault lies further up on the stack then. */
static int
raised_for_block(const ucontext_t *own)
{
#if defined(__x86_64__)
	const size_t needed = offsetof(ucontext_t, uc_mcontext) + sizeof own->uc_mcontext.gregs; /* libc adds to it */
#else
	const size_t needed = sizeof *own;
#endif
	uintptr_t bottom = (stack_of(own) + 15) & -16UL, top = bottom;

	while (top - bottom < MOST_STACK && readable((const void *)top))
		top = (top & -0x1000UL) + 0x1000;
	for (uintptr_t at = bottom; at + needed <= top; at += 16) {
		const ucontext_t *context = (const ucontext_t *)at;
		const struct range *range;
		struct library *library;
		uintptr_t address;

		if (!is_fault(context, own) || !(library = library_of(address = fault_address(context), context, &range)))
			continue;
		if (library->states[range->first_block + block_of(library, range, address)] != PRESENT)
			return 1;
		/* Another thread may have loaded it by now. Or it is what is left of a fault that is over, or has been noted again
		   for another signal, whose instruction is another. */
		if (at - bottom < NEAR && address - instruction_of(context) < LONGEST_INSTRUCTION)
			return 1;
	}
	return 0;
}

/* Returns the number of an action that will not change, or -1. */
static int
keep_action(const struct sigaction *action)
{
	for (int i = 0; i < MOST_ACTIONS; i++) {
		const struct sigaction *kept = &actions[i].action;
		int state = EMPTY;

		if (atomic_compare_exchange_strong(&actions[i].state, &state, BEING_WRITTEN)) {
			actions[i].action = *action;
			actions[i].state = COMPLETE;
			return i;
		}
		if (state == COMPLETE && kept->sa_handler == action->sa_handler && kept->sa_flags == action->sa_flags &&
		    *(const uint64_t *)&kept->sa_mask == *(const uint64_t *)&action->sa_mask)
			return i;
	}
	return -1;
}

/* Hands a signal on as the kernel would have, to whom it would have gone without the pager at some level. */
static void
hand_on(int signal, siginfo_t *info, ucontext_t *context, int level)
{
	const struct sigaction by_default_action = {.sa_handler = SIG_DFL};
	const struct sigaction *action = &actions[levels[level]].action;
	int sent = info->si_code <= 0; /* by kill() or raise(): no instruction will raise it again */
	uint64_t mask;

	if (action->sa_handler == SIG_IGN && sent)
		return;
	if (action->sa_handler == SIG_DFL || action->sa_handler == SIG_IGN) {
		by_default(signal);
		if (sent)
			SYSTEM_4(rt_tgsigqueueinfo, SYSTEM_0(getpid), SYSTEM_0(gettid), signal, info);
		return;
	}
	if (action->sa_flags & SA_RESETHAND) {
		int number = keep_action(&by_default_action);
		if (number >= 0)
			levels[level] = number;
	}
	/* SIGSEGV stays possible: the handler itself may be packed. */
	mask = *(const uint64_t *)&context->uc_sigmask | *(const uint64_t *)&action->sa_mask;
	mask &= ~(1ULL << (signal - 1));
	SYSTEM_4(rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof mask);
	if (action->sa_flags & SA_SIGINFO)
		action->sa_sigaction(signal, info, context);
	else
		action->sa_handler(signal);
}

static void
on_fault(int signal, siginfo_t *info, ucontext_t *context, int level)
{
	if (info->si_code > 0) {
		if (resolve_fault((uintptr_t)info->si_addr, context))
			return;
	} else if (info->si_pid == SYSTEM_0(getpid) && raised_for_block(context)) {
		return; /* so does who raised it, and the fault itself comes to us */
	}
	hand_on(signal, info, context, level);
}

/* Returns the level whose handler an action has, or -1. */
static int
level_of(const struct sigaction *action)
{
	for (int level = 0; level < number_of_levels; level++)
		if (action->sa_sigaction == handlers[level])
			return level;
	return -1;
}

/* Becomes the first to handle SIGSEGV, if another has come before since. Returns its level, or -1 if it is not the first. */
static int
take_signal(void)
{
	struct sigaction mine = {.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
	struct sigaction now;
	int level, number;

	if (sigaction(SIGSEGV, NULL, &now))
		return -1;
	if ((level = level_of(&now)) >= 0)
		return level;
	if ((number = keep_action(&now)) < 0)
		return -1;
	for (level = 0; level < number_of_levels && levels[level] != number; level++)
		;
	if (level == MOST_LEVELS)
		return -1;
	levels[level] = number;
	if (level == number_of_levels)
		number_of_levels = level + 1;
	mine.sa_sigaction = handlers[level];
	sigfillset(&mine.sa_mask);
	return sigaction(SIGSEGV, &mine, NULL) ? -1 : level;
}

/* Whether somebody handled SIGSEGV before any packed library came. Who did may put back what was before that, and the
   pager would be gone: Python's faulthandler does when it is disabled, and Python disables it when it ends. */
static int
comes_late(void)
{
	struct sigaction now;

	return !number_of_levels && !sigaction(SIGSEGV, NULL, &now) && now.sa_handler != SIG_DFL && now.sa_handler != SIG_IGN;
}

static void
leave_signal(void)
{
	struct sigaction now;
	int level;

	if (!sigaction(SIGSEGV, NULL, &now) && (level = level_of(&now)) >= 0)
		sigaction(SIGSEGV, &actions[levels[level]].action, NULL);
}

/* Whether the thread could handle a fault. If it blocks SIGSEGV, the kernel would end the process instead; if its stack
   for signals is too small, on_fault() would overwrite what lies below. */
static int
takes_faults(void)
{
	uint64_t blocked = 0;
	size_t frame = getauxval(51); /* AT_MINSIGSTKSZ */
	stack_t stack;

	SYSTEM_4(rt_sigprocmask, SIG_BLOCK, NULL, &blocked, sizeof blocked);
	if (blocked & 1ULL << (SIGSEGV - 1))
		return 0;
	return sigaltstack(NULL, &stack) || stack.ss_flags & SS_DISABLE ||
	    stack.ss_size >= (frame ? frame : SMALLEST_FRAME) + OWN_STACK;
}

/* -- attaching libraries ------------------------------------------------------------------------------------------ */

/* Whether the index says nothing that would lead outside the library. */
static int
sound(const struct library *library, size_t index_size)
{
	const struct index *index = library->index;
	uint64_t high = library->high - library->base, from = library->low - library->base, blocks = 0;

	if (index->blocks > index_size || index->ranges > index_size ||
	    sizeof *index + index->ranges * sizeof(struct range) + (index->blocks + 1UL) * 8 != index_size)
		return 0;
	for (uint32_t i = 0; i < index->ranges; i++) {
		const struct range *range = &library->ranges[i];

		if (range->block_size == 0 || range->block_size % LARGEST_PAGE || range->block_size > LARGEST_BLOCK ||
		    range->size == 0 || range->size % 0x1000 || range->address % 0x1000 || range->address < from ||
		    range->address > high || range->size > high - range->address || range->first_block != blocks ||
		    !(range->flags & PF_R) || range->flags & ~(uint32_t)(PF_R | PF_W | PF_X) ||
		    (range->flags & PF_W && (range->flags & PF_X || range->moment != WITH_LIBRARY)) ||
		    range->moment > WHILE_RELOCATED || range->filter > DOUBLE_WORDS ||
		    (range->filter == CODE_X86_64 && (range->reach > INT32_MAX || range->size > range->reach ||
		                                      range->address > range->reach - range->size)))
			return 0;
		from = range->address + range->size;
		blocks += blocks_of(range);
	}
	if (blocks != index->blocks || library->offsets[blocks] > library->packed_size)
		return 0;
	for (uint64_t i = 0; i < blocks; i++)
		if (library->offsets[i] > library->offsets[i + 1])
			return 0;
	if (index->relocation_address) /* RELATIVE, of eight bytes */
		return index->relocation_address >= library->low - library->base && index->relocation_address <= high - 8;
	return 1;
}

/* Returns a library that describes none any more and has room enough, or a new one that is not in the list. */
static struct library *
make_room(size_t size)
{
	for (struct library *library = libraries; library; library = library->next)
		if (!alive(library)) {
			library->low = library->high = 0;
			if (library->size >= size)
				return library;
		}
	long memory = SYSTEM_6(mmap, NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (failed(memory))
		return NULL;
	((struct library *)memory)->size = size;
	return (struct library *)memory;
}

/* How code is to be mapped: as the loader has mapped the rest of it. */
static int
code_protection(const struct dl_phdr_info *info)
{
#if defined(__aarch64__)
	const char *version = gnu_get_libc_version();

	/* glibc 2.32 and later guard the targets of branches (BTI) in libraries that say they are made for that. */
	if (!(getauxval(AT_HWCAP2) & 1 << 17) || version[0] != '2' || version[1] != '.' || version[2] < '3' ||
	    version[3] < (version[2] == '3' ? '2' : '0'))
		return PROT_EXEC;
	for (size_t i = 0; i < info->dlpi_phnum; i++) {
		const uint32_t *note = (const uint32_t *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
		const uint32_t *stop = note + info->dlpi_phdr[i].p_memsz / sizeof *note;

		if (info->dlpi_phdr[i].p_type != PT_GNU_PROPERTY || stop - note < 4 || note[2] != 5 /* NT_GNU_PROPERTY_TYPE_0 */)
			continue;
		for (note += 4; stop - note >= 3; note += 2 + (note[1] + 7) / 8 * 2) {
			if (note[0] == 0xc0000000) /* GNU_PROPERTY_AARCH64_FEATURE_1_AND */
				return PROT_EXEC | (note[2] & 1 ? 0x10 /* PROT_BTI */ : 0);
			if (note[1] > (uintptr_t)stop - (uintptr_t)note)
				break;
		}
	}
#else
	(void)info;
#endif
	return PROT_EXEC;
}

static int
attach_library(struct dl_phdr_info *info, size_t size, void *whole)
{
	const ElfW(Phdr) *packed = NULL;
	uintptr_t low = UINTPTR_MAX, high = 0;
	struct library noted = {.base = info->dlpi_addr};

	(void)size;
	for (size_t i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
		if (segment->p_type == PT_SLIMPACK)
			packed = segment;
		if (segment->p_type == PT_LOAD) {
			low = low < segment->p_vaddr ? low : segment->p_vaddr;
			high = high > segment->p_vaddr + segment->p_memsz ? high : segment->p_vaddr + segment->p_memsz;
		}
	}
	if (!packed)
		return 0;
	for (size_t i = 0; i < sizeof noted.name - 1 && info->dlpi_name && info->dlpi_name[i]; i++)
		noted.name[i] = info->dlpi_name[i];
	const struct header *header = (const struct header *)(info->dlpi_addr + packed->p_vaddr);
	if (packed->p_vaddr < low || packed->p_vaddr > high || packed->p_memsz > high - packed->p_vaddr ||
	    packed->p_memsz < sizeof *header)
		end(&noted, "is damaged: its packed segment lies outside", -1, "");
	for (size_t i = 0; i < sizeof header->magic; i++)
		if (header->magic[i] != FORMAT_MAGIC[i])
			end(&noted, "is damaged: its packed segment has no header", -1, "");
	if (header->version != FORMAT_VERSION || header->flags)
		end(&noted, "is packed in a way that this pager does not know", -1, "");
	if (header->mark % 8 || header->mark < low + 8 || header->mark > high - 8 ||
	    header->index_frame > packed->p_memsz - sizeof *header || header->index_size > LARGEST_INDEX ||
	    header->index_size < sizeof(struct index) || header->index_size % 8)
		end(&noted, "is damaged: the header of its packed segment", -1, "");
	_Atomic uint64_t *mark = (_Atomic uint64_t *)(info->dlpi_addr + header->mark);
	if (*mark)
		return 0;

	size_t states = (size_t)header->index_size / 8 * sizeof(uint32_t); /* more than there are blocks */
	int taken = take_workspace();
	size_t room = taken < 0 ? WORKSPACE : 0;
	struct library *library = make_room(sizeof *library + header->index_size + room + states);
	if (!library)
		end(&noted, "cannot be loaded: no memory", -1, "");
	unsigned char *content = (unsigned char *)(library + 1), *frame = (unsigned char *)(header + 1);
	ZSTD_DCtx *decoder = decoder_in(taken, content + header->index_size);
	if (!decoder || header->index_frame < 5 || !(frame[4] & 4) ||
	    ZSTD_decompressDCtx(decoder, content, header->index_size, frame, header->index_frame) != header->index_size)
		end(&noted, "is damaged: its index", -1, "");
	give_workspace(taken);
	for (size_t i = 0; i < sizeof noted.name; i++)
		library->name[i] = noted.name[i];
	library->base = info->dlpi_addr;
	library->packed = frame + header->index_frame;
	library->packed_size = packed->p_memsz - sizeof *header - header->index_frame;
	library->index = (const struct index *)content;
	library->ranges = (const struct range *)(library->index + 1);
	library->offsets = (const uint64_t *)(library->ranges + library->index->ranges);
	library->states = (_Atomic uint32_t *)(content + header->index_size + room);
	noted = *library;
	noted.low = info->dlpi_addr + low, noted.high = info->dlpi_addr + high;
	if (!sound(&noted, header->index_size))
		end(&noted, "is damaged: its index contradicts it", -1, "");
	for (uint32_t i = 0; i < library->index->blocks; i++)
		library->states[i] = ABSENT;
	library->code_protection = code_protection(info);
	for (uint32_t i = 0; i < library->index->ranges; i++)
		enlarge_reserve(library->ranges[i].block_size + WORKSPACE);
	library->relocated = 0;
	library->mark = mark;
	library->identity = ((uint64_t)(uintptr_t)library ^ 0x6b636150736c696dULL) + (++generation << 48);
	*mark = library->identity;
	library->low = noted.low;
	library->high = noted.high;
	struct library *one = libraries;
	while (one && one != library)
		one = one->next;
	if (!one) {
		library->next = libraries;
		libraries = library;
	}
	load_ranges(library, whole != NULL);
	uint64_t relocated = library->base + library->index->relocation_addend;
	if (library->index->relocation_address) /* the place may be no multiple of 8 */
		memcpy((void *)(library->base + library->index->relocation_address), &relocated, sizeof relocated);
	return 0;
}

/* Takes relocations out of memory again once the loader has applied them. Whoever reads them is a fault like others. */
static void
drop_relocations(void)
{
	for (struct library *library = libraries; library; library = library->next) {
		/* The loader has filled in the word before the mark: it has begun with this library. By now it is at another. */
		if (library->relocated || !alive(library) || !((const uint64_t *)library->mark)[-1])
			continue;
		library->relocated = 1;
		for (uint32_t i = 0; i < library->index->ranges; i++) {
			const struct range *range = &library->ranges[i];
			long nothing;

			if (range->moment != WHILE_RELOCATED)
				continue;
			nothing = SYSTEM_6(mmap, NULL, range->size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
			if (failed(nothing))
				continue;
			for (uint32_t block = 0; block < blocks_of(range); block++)
				library->states[range->first_block + block] = ABSENT; /* before any other thread can miss it */
			SYSTEM_5(mremap, nothing, range->size, range->size, MREMAP_MAYMOVE | MREMAP_FIXED, library->base + range->address);
		}
	}
}

/* Reads the environment; again and again, until there is one: libc has none while a program is being loaded. */
static void
configure(char **environment)
{
	static const char mode[] = "SLIMPACK_PAGER=", statistics[] = "SLIMPACK_PAGER_STATS=1";

	if (configured || !environment)
		return;
	configured = 1;
	for (; *environment; environment++) {
		size_t i = 0, j = 0;
		while (mode[i] && (*environment)[i] == mode[i])
			i++;
		while (statistics[j] && (*environment)[j] == statistics[j])
			j++;
		if (!mode[i]) {
			const char *value = *environment + i, wanted[] = "eager";
			for (i = 0; wanted[i] && value[i] == wanted[i]; i++)
				;
			eager = !wanted[i] && !value[i];
		}
		if (!statistics[j] && !(*environment)[j])
			counting = 1;
	}
}

static void
nothing(void)
{
}

/* The resolver of slimpack_attach. The loader calls it once for each packed library, before any of its code runs. */
static void (*attach(void))(void)
{
	long process = SYSTEM_0(getpid), none = 0;
	int first, whole;

	/* The loader's own lock is held; dlsym() may come without. Who held ours in a parent process is gone. */
	while (!atomic_compare_exchange_strong(&attaching, &none, process) && none == process) {
		none = 0;
		SYSTEM_0(sched_yield);
	}
	attaching = process;
	configure(environ);
	eager |= comes_late();
	first = eager || take_signal() >= 0;
	whole = eager || !first || !takes_faults();
	if (!whole)
		drop_relocations();
	dl_iterate_phdr(attach_library, whole ? &eager : NULL);
	attaching = 0;
	return nothing;
}

__attribute__((visibility("default"), ifunc("attach"))) void slimpack_attach(void);

/* -- functions that packed libraries call in libc's stead ---------------------------------------------------------- */

/* A thread that blocks SIGSEGV would die at its next missing block: many block all signals to be left alone by them. */

#define EXPORTED __attribute__((visibility("default")))
#define FAULTS (1UL << (SIGSEGV - 1))
#define LIBC_OWN (3UL << (32 - 1)) /* SIGCANCEL and SIGSETXID, which libc's functions leave unblocked as well */

EXPORTED int
slimpack_pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
	unsigned long mask;

	if (set && how != SIG_UNBLOCK) {
		mask = *(const unsigned long *)set & ~LIBC_OWN;
		if (!eager)
			mask &= ~FAULTS;
		set = (const sigset_t *)&mask;
	}
	return (int)-SYSTEM_4(rt_sigprocmask, how, set, old, sizeof mask);
}

EXPORTED int
slimpack_sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
	int error = slimpack_pthread_sigmask(how, set, old);

	if (error)
		errno = error;
	return error ? -1 : 0;
}

/* The pager stays the first to handle SIGSEGV, and packed code sees what it would see without a pager. */
EXPORTED int
slimpack_sigaction(int number, const struct sigaction *action, struct sigaction *old)
{
	struct sigaction own;
	int first = eager || number != SIGSEGV ? -1 : take_signal();

	if (first >= 0) {
		_Atomic int *level = &levels[first];
		int ours = action ? level_of(action) : first; /* or that of a level, which others have given it */
		int kept = ours >= 0 ? levels[ours] : keep_action(action);
		if (kept >= 0) {
			int before = action ? atomic_exchange(level, kept) : kept;
			if (old)
				*old = actions[before].action;
			return 0;
		}
	}
	if (action && !eager) {
		own = *action;
		sigdelset(&own.sa_mask, SIGSEGV);
		action = &own;
	}
	return sigaction(number, action, old);
}

static sighandler_t
handle(int number, sighandler_t handler, int flags)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = flags}, old;

	return slimpack_sigaction(number, &action, &old) ? SIG_ERR : old.sa_handler;
}

EXPORTED sighandler_t
slimpack_signal(int number, sighandler_t handler)
{
	return eager || number != SIGSEGV ? signal(number, handler) : handle(number, handler, SA_RESTART);
}

EXPORTED sighandler_t
slimpack___sysv_signal(int number, sighandler_t handler)
{
	return eager || number != SIGSEGV ? __sysv_signal(number, handler) : handle(number, handler, SA_RESETHAND | SA_NODEFER);
}

/* Handlers that run during these have the mask as well. */

static const sigset_t *
without_faults(const sigset_t *set, sigset_t *copy)
{
	if (eager || !set)
		return set;
	*copy = *set;
	sigdelset(copy, SIGSEGV);
	return copy;
}

EXPORTED int
slimpack_sigsuspend(const sigset_t *set)
{
	sigset_t copy;

	return sigsuspend(without_faults(set, &copy));
}

EXPORTED int
slimpack_ppoll(struct pollfd *files, nfds_t number, const struct timespec *timeout, const sigset_t *set)
{
	sigset_t copy;

	return ppoll(files, number, timeout, without_faults(set, &copy));
}

EXPORTED int
slimpack_pselect(int number, fd_set *in, fd_set *out, fd_set *others, const struct timespec *timeout, const sigset_t *set)
{
	sigset_t copy;

	return pselect(number, in, out, others, timeout, without_faults(set, &copy));
}

EXPORTED int
slimpack_epoll_pwait(int epoll, struct epoll_event *events, int most, int timeout, const sigset_t *set)
{
	sigset_t copy;

	return epoll_pwait(epoll, events, most, timeout, without_faults(set, &copy));
}

__attribute__((constructor)) static void
start(int count, char **arguments, char **environment)
{
	(void)count, (void)arguments;
	configure(environment);
	if (eager) {
		for (struct library *library = libraries; library; library = library->next)
			if (alive(library))
				load_ranges(library, 1);
		leave_signal();
	}
}

__attribute__((destructor)) static void
finish(void)
{
	struct line line = {0};

	if (!counting)
		return;
	add(&line, "slimpack: loaded ");
	add_number(&line, blocks_loaded);
	add(&line, " blocks, ");
	add_number(&line, bytes_loaded);
	add(&line, " bytes, in ");
	add_number(&line, nanoseconds / 1000);
	add(&line, " microseconds");
	say(&line);
}

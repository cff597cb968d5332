/*
 * Fuzzes what the pager makes of a packed part: the pager itself, with a library that no loader has mapped and a kernel
 * that only pretends. Nothing may be read or written outside the library, no memory may become writable and executable,
 * a library is refused by one line or gets the bytes that were packed, and nothing else ends the process.
 *
 * The first byte of an input says how the rest is read, the second what the circumstances are:
 *   even   a plan: ranges and blocks that are sound, and what is then changed of them (see plan())
 *   odd    the packed part as it is (see raw())
 */
#define _GNU_SOURCE
#include <errno.h>
#include <link.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#endif
#endif
#ifndef ASAN_POISON_MEMORY_REGION
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

#define ZSTD_STATIC_LINKING_ONLY
#include "zstd.h"

/* The pager's system calls come to kernel(), and its indirect function is none: its resolver would run before all. */
#include "../../slimpack/pager/system.h"
static long kernel(long number, long a, long b, long c, long d, long e, long f);
#define system_call kernel
#define ifunc(resolver) unused
#include "../../slimpack/pager/pager.c"

#define PAGE 0x1000UL
#define MOST_PAGES 36U
#define MOST_RANGES 6U
#define MOST_BLOCKS 64U
#define MOST_MEMORY (2 * MOST_PAGES * PAGE + 0x10000) /* bytes of the library, the packed part being the end */
#define MOST_LIBRARY_PAGES (MOST_MEMORY / PAGE)
#define MOST_MAPPED (2UL << 20) /* bytes that the kernel hands out at once */
#define MAPPED (16UL << 20)     /* bytes that it has for one input */
#define MAPPINGS 64
#define MOST_ZEROS 0x4000 /* bytes that are zero in what it hands out: what is larger is for blocks and their decoder */
#define MARK 64UL
#define SLOT 128UL /* of the relocation */
#define ABSENT_BYTE 0xa5

#define CHECK(condition) ((condition) ? (void)0 : broken(#condition, __LINE__))

static _Noreturn void
broken(const char *condition, int line)
{
	fprintf(stderr, "line %d: does not hold: %s\n", line, condition);
	abort();
}

/* -- the input ---------------------------------------------------------------------------------------------------- */

static const uint8_t *input;
static size_t input_size;

static uint64_t
take(size_t bytes)
{
	uint64_t number = 0;

	for (size_t i = 0; i < bytes && input_size; i++, input_size--)
		number |= (uint64_t)*input++ << 8 * i;
	return number;
}

/* Takes a number that is small most of the time: large libraries are slow. */
static unsigned
mostly_few(unsigned below)
{
	unsigned number = (unsigned)take(1);

	return number < 0xe8 ? number % 6 : number % below;
}

/* -- the kernel --------------------------------------------------------------------------------------------------- */

static unsigned char *memory; /* of the library */
static size_t memory_size;
static size_t readable_size;                 /* bytes of it that are there: its file may have been truncated */
static long protections[MOST_LIBRARY_PAGES]; /* of its pages */
static long allowed[MOST_LIBRARY_PAGES];     /* what may become of that, besides PROT_NONE; -1 for anything */
static unsigned char *frames_start;          /* of its blocks */
static struct mapping {
	unsigned char *start;
	size_t size;
	long protection;
} mappings[MAPPINGS];
static int mapping_number, deny_executable, deny_files, scarce, said, occupied;
static unsigned char *file;
static size_t file_size;
static jmp_buf ended;

static struct mapping *
mapping_of(long address, size_t size)
{
	unsigned char *start = (unsigned char *)address;

	for (int i = 0; i < mapping_number; i++)
		if (start >= mappings[i].start && start + size <= mappings[i].start + mappings[i].size)
			return &mappings[i];
	broken("the memory was handed out", __LINE__);
}

static long
hand_out(size_t size, long protection)
{
	static unsigned char *all;
	unsigned char *start;

	if (!all) {
		if (posix_memalign((void **)&all, PAGE, MAPPED))
			abort();
		ASAN_POISON_MEMORY_REGION(all, MAPPED);
	}
	/* A page between two of them belongs to nobody. */
	start = mapping_number ? mappings[mapping_number - 1].start + mappings[mapping_number - 1].size : all;
	start += PAGE + -(uintptr_t)start % PAGE;
	if (size > MOST_MAPPED || mapping_number == (scarce ? 2 : MAPPINGS) || start + size > all + MAPPED)
		return -ENOMEM;
	ASAN_UNPOISON_MEMORY_REGION(start, size);
	memset(start, 0, size < MOST_ZEROS ? size : MOST_ZEROS);
	mappings[mapping_number++] = (struct mapping){start, size, protection};
	return (long)start;
}

/* Hears what the pager says, which is a line. */
static long
hear(const struct iovec *parts, long count)
{
	char line[2048];
	size_t size = 0;

	for (long i = 0; i < count; i++) {
		CHECK(parts[i].iov_len <= sizeof line - size);
		memcpy(line + size, parts[i].iov_base, parts[i].iov_len);
		size += parts[i].iov_len;
	}
	CHECK(size > 11 && !memcmp(line, "slimpack: ", 10) && memchr(line, '\n', size) == line + size - 1);
	said++;
	return (long)size;
}

/* Takes memory back: the end of a mapping, or what is left of it. */
static void
take_back(long address, size_t size)
{
	struct mapping *mapping = mapping_of(address, size);

	CHECK((unsigned char *)address + size == mapping->start + mapping->size);
	ASAN_POISON_MEMORY_REGION((void *)address, size);
	mapping->size -= size;
	while (mapping_number && !mappings[mapping_number - 1].size)
		mapping_number--;
}

/* Puts pages into the library. Those that nobody may touch are poisoned, if the library is to be what was planned. */
static long
place(long to, const void *from, size_t size, long protection)
{
	CHECK((uintptr_t)to % PAGE == 0 && size % PAGE == 0);
	CHECK((unsigned char *)to >= memory && size <= memory_size && (unsigned char *)to + size <= memory + memory_size);
	CHECK(!(protection & PROT_WRITE && protection & PROT_EXEC));
	size_t first = ((unsigned char *)to - memory) / PAGE;
	int planned = allowed[0] >= 0;
	for (size_t page = first; page < first + size / PAGE; page++) {
		CHECK(!planned || protection == PROT_NONE || protection == allowed[page]);
		protections[page] = protection;
	}
	ASAN_UNPOISON_MEMORY_REGION((void *)to, size);
	if (protection == PROT_NONE)
		memset((void *)to, ABSENT_BYTE, size);
	else
		memcpy((void *)to, from, size);
	if (protection == PROT_NONE && planned)
		ASAN_POISON_MEMORY_REGION((void *)to, size);
	return to;
}

/* Whether the kernel could read eight bytes. Nobody asks for those of which a part is on another page. */
static int
can_read(uintptr_t address)
{
	uintptr_t at = address - (uintptr_t)memory;

	CHECK(address % 8 == 0);
	return address >= (uintptr_t)memory && at < ((readable_size + PAGE - 1) & -PAGE) && protections[at / PAGE] & PROT_READ;
}

static long
kernel(long number, long a, long b, long c, long d, long e, long f)
{
	(void)f;
	switch (number) {
	case SYS_mmap:
		if (e == -1) {
			CHECK(c == (PROT_READ | PROT_WRITE) || c == PROT_NONE);
			CHECK(!a && (d & ~(MAP_POPULATE | MAP_NORESERVE)) == (MAP_PRIVATE | MAP_ANONYMOUS));
			return hand_out((size_t)b, c);
		}
		CHECK(c == PROT_READ || c == (PROT_READ | PROT_EXEC));
		CHECK(d & MAP_FIXED && (size_t)b == file_size);
		return place(a, file, (size_t)b, c);
	case SYS_munmap:
		take_back(a, (size_t)b);
		return 0;
	case SYS_mprotect:
		CHECK(!(c & PROT_WRITE && c & PROT_EXEC));
		if (c & PROT_EXEC && deny_executable)
			return -EACCES;
		mapping_of(a, (size_t)b)->protection = c;
		return 0;
	case SYS_mremap:
		CHECK(b == c && d == (MREMAP_MAYMOVE | MREMAP_FIXED));
		place(e, (void *)a, (size_t)b, mapping_of(a, (size_t)b)->protection);
		take_back(a, (size_t)b);
		return e;
	case SYS_madvise: /* the bytes come back from the file, if nobody could write to them */
		CHECK(c == MADV_DONTNEED && a % (long)LARGEST_PAGE == 0 && b > 0 && b % (long)LARGEST_PAGE == 0);
		CHECK((unsigned char *)a >= frames_start && (unsigned char *)a + b <= memory + memory_size);
		return 0;
	case SYS_memfd_create:
		file_size = 0;
		return deny_files ? -EPERM : 3;
	case SYS_pwrite64: /* in two parts, if there is more than a page */
		c = c > (long)PAGE && !d ? (long)PAGE : c;
		file = realloc(file, (size_t)(d + c));
		memcpy(file + d, (void *)b, (size_t)c);
		file_size = (size_t)(d + c);
		return c;
	case SYS_rt_sigprocmask:
		return can_read((uintptr_t)b) ? -EINVAL : -EFAULT;
	case SYS_write:
		return hear(&(struct iovec){(void *)b, (size_t)c}, 1);
	case SYS_writev:
		return hear((const struct iovec *)b, c);
	case SYS_tgkill:
		CHECK(c == SIGABRT && said == 1);
		longjmp(ended, 1);
	default:
		return 0;
	}
}

/* -- the library -------------------------------------------------------------------------------------------------- */

static ElfW(Phdr) segments[3];
static struct dl_phdr_info info = {.dlpi_name = "libfuzzed.so", .dlpi_phdr = segments};
static uintptr_t lowest; /* address of the library's first byte */

/* Makes memory for a library of some bytes, in which nothing has been loaded yet. */
static void
make_memory(size_t size, uintptr_t low)
{
	if (!memory) {
		if (posix_memalign((void **)&memory, LARGEST_PAGE, MOST_MEMORY))
			abort();
		memory_size = MOST_MEMORY;
	}
	CHECK(size <= MOST_MEMORY);
	if (size < memory_size)
		ASAN_POISON_MEMORY_REGION(memory + size, memory_size - size);
	ASAN_UNPOISON_MEMORY_REGION(memory, size);
	memory_size = readable_size = size;
	for (size_t page = 0; page < MOST_LIBRARY_PAGES; page++)
		protections[page] = PROT_READ, allowed[page] = -1;
	lowest = low;
	info.dlpi_addr = (uintptr_t)memory - low;
	info.dlpi_phnum = 2;
	segments[0] = (ElfW(Phdr)){.p_type = PT_LOAD, .p_flags = PF_R, .p_vaddr = low, .p_memsz = size};
}

/* Gives workspaces back that were in use when the process was to end. Some are other threads'. */
static void
occupy(void)
{
	for (int i = 0; i < WORKSPACES; i++)
		used[i] = i < occupied;
}

/* Attaches the library. Returns 0 if the pager has refused it. */
static int
attached(void)
{
	said = 0;
	occupy();
	if (setjmp(ended))
		return 0;
	attach_library(&info, sizeof info, eager ? &eager : NULL);
	CHECK(!said);
	return 1;
}

static int
resolved(uintptr_t address, enum access access)
{
	static long stack; /* another one each time: what repeats is another matter */
	static ucontext_t context;

	said = 0;
	stack += 16;
#if defined(__x86_64__)
	context.uc_mcontext.gregs[REG_ERR] = access == WRITE ? 2 : access == EXECUTE ? 16 : 0;
	context.uc_mcontext.gregs[REG_RSP] = stack;
#else
	if (access != READ)
		return 0;
	context.uc_mcontext.sp = (unsigned long)stack;
#endif
	occupy();
	if (setjmp(ended))
		return -1;
	return resolve_fault(address, &context);
}

/* Has the loader fill in the word before the mark, and go on to another library. */
static void
relocated(void)
{
	drop_relocations();
	if (libraries && alive(libraries)) {
		uint64_t *word = (uint64_t *)libraries->mark - 1;
		CHECK(!libraries->relocated || *word);
		*word = 1;
	}
	drop_relocations();
}

static void
forget_all(void)
{
	while (mapping_number) {
		struct mapping *mapping = &mappings[--mapping_number];
		ASAN_POISON_MEMORY_REGION(mapping->start, mapping->size);
	}
	libraries = NULL;
	reserve = reserve_size = 0;
}

/* -- frames ------------------------------------------------------------------------------------------------------- */

#define KINDS 8U
#define UNCHECKED __attribute__((no_sanitize("address", "undefined", "coverage"))) /* for speed */
#define LARGEST_CONTENT (MOST_PAGES * PAGE)

/* Returns what the frames of a kind of block hold: what repeats itself, code as either processor has it, and what
   cannot be compressed. */
static const unsigned char *
content_of(unsigned kind)
{
	static const unsigned char x86_64[] = {0xe8, 0xe8, 0x8b, 0x8d, 0x05, 0x0d, 0x3d, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0x90};
	static const unsigned char aarch64[] = {0x94, 0x97, 0x95, 0x90, 0xb0, 0xd0, 0xf0, 0x10};
	static unsigned char contents[KINDS][LARGEST_CONTENT];
	static int made;

	for (; !made; made = 1)
		for (unsigned i = 0; i < KINDS; i++) {
			uint32_t random = 1;
			for (size_t at = 0; at < LARGEST_CONTENT; at++) {
				random = random * 1664525 + 1013904223;
				unsigned high = random >> 24;
				if (i < 5)
					contents[i][at] = (unsigned char)(at % (16 * i + 1) * i + at / PAGE * i);
				else if (i < 7 && at >= PAGE)
					contents[i][at] = contents[i][at - PAGE];
				else if (i == 5 && at % 4 == 3)
					contents[i][at] = aarch64[high % sizeof aarch64];
				else
					contents[i][at] = i == 6 ? x86_64[high % sizeof x86_64] : (unsigned char)high;
			}
		}
	return contents[kind];
}

UNCHECKED static inline uint32_t
word_at(const unsigned char *at)
{
	return at[0] | at[1] << 8 | at[2] << 16 | (uint32_t)at[3] << 24;
}

UNCHECKED static inline void
put_word(unsigned char *at, uint64_t word)
{
	for (int i = 0; i < 4; i++)
		at[i] = (unsigned char)(word >> 8 * i);
}

/* What docs/packed-format.md says of filters, byte by byte. */
UNCHECKED static void
undo_again(unsigned char *content, size_t size, const struct range *range, uint64_t address)
{
	for (size_t at = 0; range->filter == CODE_X86_64 && at + 1 < size;) {
		int loads = (content[at] == 0x8b || content[at] == 0x8d) && (content[at + 1] & 0xc7) == 5;
		size_t opcode = content[at] == 0xe8 ? 1 : loads ? 2 : 0;
		if (opcode && size - at - opcode < 4)
			break;
		if (opcode) {
			int64_t stored = (int32_t)word_at(content + at + opcode), next = (int64_t)(address + at + opcode + 4);
			if (stored >= 0 && stored < range->reach)
				stored -= next;
			else if (stored < 0 && stored >= -next)
				stored += range->reach;
			put_word(content + at + opcode, (uint64_t)stored);
		}
		at += opcode ? opcode + 4 : 1;
	}
	for (size_t at = 0; range->filter == CODE_AARCH64 && at < size; at += 4) {
		uint64_t word = word_at(content + at), pages = (word >> 5 & 0x7ffff) << 2 | (word >> 29 & 3);
		if (word >> 26 == 0x25)
			word = (0x25ULL << 26) + ((word - (address + at) / 4) & 0x3ffffff);
		else if (word >> 31 && (word >> 24 & 0x1f) == 0x10) {
			pages -= (address + at) / 4096;
			word = 1ULL << 31 | (pages & 3) << 29 | 0x10ULL << 24 | (pages >> 2 & 0x7ffff) << 5 | (word & 31);
		}
		put_word(content + at, word);
	}
	for (size_t at = 8; range->filter == WORDS && at < size; at += 4)
		put_word(content + at, word_at(content + at) + word_at(content + at - 8));
	for (size_t at = 24; range->filter == DOUBLE_WORDS && at < size; at += 8) {
		uint64_t low = (uint64_t)word_at(content + at) + word_at(content + at - 24);
		put_word(content + at, low);
		put_word(content + at + 4, (low >> 32) + word_at(content + at + 4) + word_at(content + at - 20));
	}
}

static size_t
compressed(unsigned char *to, size_t room, const void *content, size_t size, int level)
{
	static ZSTD_CCtx *encoder;

	if (!encoder)
		encoder = ZSTD_createCCtx();
	ZSTD_CCtx_setParameter(encoder, ZSTD_c_checksumFlag, 1);
	ZSTD_CCtx_setParameter(encoder, ZSTD_c_compressionLevel, level);
	size_t written = ZSTD_compress2(encoder, to, room, content, size);
	CHECK(!ZSTD_isError(written));
	return written;
}

/* Appends the frame of a block to the packed part. Each is compressed once: most of the time would go there. */
static size_t
add_block(unsigned char *to, unsigned kind, size_t size)
{
	static struct {
		unsigned char *frame;
		size_t size;
	} frames[KINDS][MOST_PAGES + 1], *one;

	one = &frames[kind][size / PAGE];
	if (!one->frame) {
		unsigned char *frame = malloc(ZSTD_compressBound(size));
		one->size = compressed(frame, ZSTD_compressBound(size), content_of(kind), size, 1);
		one->frame = realloc(frame, one->size);
	}
	memcpy(to, one->frame, one->size);
	return one->size;
}

/* -- a plan ------------------------------------------------------------------------------------------------------- */

static struct part { /* the packed part, and what it is about */
	struct header header;
	unsigned char index[sizeof(struct index) + MOST_RANGES * sizeof(struct range) + (MOST_BLOCKS + 1) * 8];
	size_t index_size;
	unsigned char blocks[MOST_PAGES * PAGE + 0x2000]; /* and what frames add to it */
	uint64_t slot; /* address of the relocation's place; 0 for none */
	size_t blocks_size;
} part;
static unsigned char expected[MOST_PAGES * PAGE];
static unsigned char wanted[MOST_PAGES]; /* of each page: 0 if nothing is packed, or else 1 + its moment */
static long wanted_protections[MOST_PAGES];

/* Makes ranges and blocks that are sound, and what is to be there in the end. */
static void
plan_blocks(uint64_t flags, unsigned pages)
{
	static const unsigned char permissions[] = {PF_R, PF_R | PF_X, PF_R | PF_W, PF_R | PF_X};
	static const unsigned char shifts[] = {0, 0, 2, 8};
	struct index index = {.relocation_addend = 0x1234};
	struct range ranges[MOST_RANGES];
	uint64_t offsets[MOST_BLOCKS + 1] = {0};
	unsigned page = 1;

	memset(expected, ABSENT_BYTE, pages * PAGE);
	memset(wanted, 0, sizeof wanted);
	part.blocks_size = 0;
	part.slot = flags & 2 ? lowest + SLOT : 0;
	for (unsigned left = take(1) % (MOST_RANGES + 1); left; left--) {
		struct range *range = &ranges[index.ranges];
		unsigned shape = (unsigned)take(2), size = 1 + mostly_few(MOST_PAGES), room;

		page += shape & 3;
		if (page >= pages)
			break;
		room = pages - page;
		size = size < room ? size : room;
		*range = (struct range){
		    .address = lowest + page * PAGE,
		    .size = size * PAGE,
		    .block_size = (uint32_t)LARGEST_PAGE << shifts[shape >> 2 & 3],
		    .first_block = index.blocks,
		    .flags = permissions[shape >> 4 & 3],
		    .moment = (shape >> 6 & 3) % 3,
		    .filter = (shape >> 8 & 7) % 5,
		    .reach = (uint32_t)(lowest + (shape >> 11 & 1 ? page + size : pages) * PAGE) + (shape >> 12),
		};
		if (range->flags & PF_W) {
			range->moment = WITH_LIBRARY;
			part.slot = flags & 2 ? range->address + SLOT : 0;
		}
		for (unsigned done = 0, most = range->block_size / PAGE; done < size; done += most) {
			unsigned here = size - done < most ? size - done : most, kind = take(1) % KINDS;
			unsigned char *content = expected + (page + done) * PAGE;
			part.blocks_size += add_block(part.blocks + part.blocks_size, kind, here * PAGE);
			offsets[++index.blocks] = part.blocks_size;
			memcpy(content, content_of(kind), here * PAGE);
			undo_again(content, here * PAGE, range, range->address + done * PAGE);
			memset(wanted + page + done, 1 + (int)range->moment, here);
		}
		for (unsigned at = page; at < page + size; at++)
			wanted_protections[at] = PROT_READ | (range->flags & PF_W ? PROT_WRITE : 0) | (range->flags & PF_X ? PROT_EXEC : 0);
		page += size;
		index.ranges++;
	}
	part.slot += part.slot ? flags >> 12 & 3 : 0; /* it need not be aligned */
	index.relocation_address = part.slot;
	memcpy(part.index, &index, sizeof index);
	part.index_size = sizeof index;
	memcpy(part.index + part.index_size, ranges, index.ranges * sizeof *ranges);
	part.index_size += index.ranges * sizeof *ranges;
	memcpy(part.index + part.index_size, offsets, (index.blocks + 1) * sizeof *offsets);
	part.index_size += (index.blocks + 1) * sizeof *offsets;
	part.header = (struct header){.magic = FORMAT_MAGIC, .version = FORMAT_VERSION, .mark = lowest + MARK};
}

enum { SOUND, DAMAGED, CHANGED };

/* Changes some of it: 1 to 8 bytes of the header or the index, or a byte of a frame. */
static int
plan_changes(void)
{
	int changed = SOUND;

	for (unsigned left = take(1) % 8; left; left--) {
		uint64_t kind = take(1), at = take(2), bytes = 1UL << (kind >> 2 & 3), value = take(bytes);

		if ((kind & 3) == 0 && part.blocks_size) {
			part.blocks[at % part.blocks_size] ^= (unsigned char)value;
			changed = changed == SOUND && value & 0xff ? DAMAGED : changed;
		} else if ((kind & 3) == 1) {
			at %= sizeof part.header / bytes;
			memcpy((unsigned char *)&part.header + at * bytes, &value, bytes);
			changed = CHANGED;
		} else {
			at %= part.index_size / bytes;
			memcpy(part.index + at * bytes, &value, bytes);
			changed = CHANGED;
		}
	}
	return changed;
}

/* Puts the library in memory as the loader would. */
static void
plan_memory(uint64_t flags, unsigned pages, int changed)
{
	static unsigned char frame[0x1000];
	struct header header = part.header;
	size_t frame_size = compressed(frame, sizeof frame, part.index, part.index_size, ZSTD_minCLevel());
	size_t size = sizeof header + frame_size + part.blocks_size;

	make_memory(pages * PAGE + size, lowest);
	for (unsigned page = 0; changed != CHANGED && page < MOST_LIBRARY_PAGES; page++)
		allowed[page] = page < pages && wanted[page] ? wanted_protections[page] : 0;
	for (unsigned page = 1; page < pages; page++)
		protections[page] = wanted[page] ? PROT_NONE : PROT_READ;
	memset(memory, ABSENT_BYTE, pages * PAGE);
	memset(memory + MARK - 8, 0, 16);
	if (!header.index_size)
		header.index_size = (uint32_t)part.index_size;
	if (!header.index_frame)
		header.index_frame = (uint32_t)frame_size;
	memcpy(memory + pages * PAGE, &header, sizeof header);
	memcpy(memory + pages * PAGE + sizeof header, frame, frame_size);
	frames_start = memory + pages * PAGE + sizeof header + (header.index_frame < size ? header.index_frame : frame_size);
	memcpy(memory + pages * PAGE + sizeof header + frame_size, part.blocks, part.blocks_size);
	segments[1] = (ElfW(Phdr)){.p_type = PT_SLIMPACK, .p_vaddr = lowest + pages * PAGE, .p_memsz = size};
	if (flags & 4 && changed == CHANGED) {
		segments[1].p_vaddr += take(1) & ~7UL;
		segments[1].p_memsz = take(8);
	}
}

/* Whether all that was to be there by now is there, with the right of access that it was to have. */
static int
right(unsigned pages, unsigned moment)
{
	for (unsigned page = 1; page < pages; page++)
		if (wanted[page] > moment && (protections[page] != wanted_protections[page] ||
		                              memcmp(memory + page * PAGE, expected + page * PAGE, PAGE)))
			return 0;
	return 1;
}

/* Touches addresses of a library, and says whether each of them leads to what it should. */
static void
touch(unsigned pages, int changed)
{
	for (unsigned left = take(1) % 32; left; left--) {
		uint64_t place = take(2);
		enum access access = (enum access)(place % 3);
		uintptr_t at = place % memory_size;
		int before = wanted[at / PAGE < pages ? at / PAGE : 0], result = resolved((uintptr_t)memory + at, access);

		if (result < 0)
			CHECK(changed != SOUND || deny_files || readable_size < memory_size);
		if (changed == CHANGED || result < 0)
			continue;
		if (at / PAGE >= pages || !before || access == WRITE)
			CHECK(result == 0);
		if (result)
			CHECK(protections[at / PAGE] == wanted_protections[at / PAGE] &&
			    !memcmp(memory + at / PAGE * PAGE, expected + at / PAGE * PAGE, PAGE));
		else if (access == READ)
			CHECK(at / PAGE >= pages || !before);
	}
}

/* Has the library relocated, and says whether its relocations are gone, and nothing else is. */
static void
drop(unsigned pages, int changed)
{
	long before[MOST_PAGES];

	memcpy(before, protections, sizeof before);
	relocated();
	for (unsigned page = 1; changed != CHANGED && page < pages; page++) {
		int gone = protections[page] == PROT_NONE;
		CHECK(wanted[page] == 1 + WHILE_RELOCATED ? gone || scarce : protections[page] == before[page]);
	}
}

/* The file becomes shorter, while its library is loaded. */
static void
truncate_file(unsigned pages)
{
	size_t size = pages * PAGE + take(1) % ((memory_size - pages * PAGE) / PAGE + 1) * PAGE;

	if (size < memory_size) {
		readable_size = size;
		ASAN_POISON_MEMORY_REGION(memory + size, memory_size - size);
	}
}

static void
plan(uint64_t flags)
{
	unsigned pages = 2 + mostly_few(MOST_PAGES - 1);
	int changed;

	lowest = flags & 1 ? 0x40000 : 0;
	plan_blocks(flags, pages);
	changed = plan_changes();
	plan_memory(flags, pages, changed);
	if (!attached()) {
		CHECK(changed != SOUND || deny_files);
		return;
	}
	if (changed != CHANGED) {
		uint64_t value = info.dlpi_addr + 0x1234;

		if (part.slot) {
			CHECK(!memcmp(memory + (part.slot - lowest), &value, 8));
			memcpy(expected + (part.slot - lowest), &value, 8);
		}
		CHECK(right(pages, eager ? 0 : 1));
	}
	struct library *first = libraries;
	int again = attached();
	CHECK(changed == CHANGED || (again && libraries == first)); /* it was known */
	if (flags & 1 << 11)
		touch(pages, changed);
	if (!eager && flags & 1 << 10)
		drop(pages, changed);
	if (flags & 1 << 14)
		truncate_file(pages);
	touch(pages, changed);
	if (flags & 8) { /* closed, and opened again in the same place */
		plan_memory(flags, pages, changed);
		if (!attached())
			return;
		CHECK(changed == CHANGED || (!libraries->next && right(pages, eager ? 0 : 1)));
		touch(pages, changed);
	}
}

/* -- a packed part as it is --------------------------------------------------------------------------------------- */

/* Sizes of the index's frame and of what it holds are filled in, if they are 0. The frame may be the index itself. */
static void
raw(uint64_t flags)
{
	static unsigned char content[0x4000];
	unsigned pages = 2 + mostly_few(MOST_PAGES - 1);
	size_t index_size = take(2), frame_size = index_size;
	struct header header = {.magic = FORMAT_MAGIC, .version = FORMAT_VERSION, .mark = MARK};

	index_size = index_size < input_size ? index_size : input_size;
	index_size = index_size < 0x2000 ? index_size : 0x2000;
	frame_size = index_size;
	if (flags & 1)
		frame_size = compressed(content, sizeof content, input, index_size, ZSTD_minCLevel());
	else
		memcpy(content, input, index_size);
	input += index_size, input_size -= index_size;
	header.index_size = (uint32_t)(flags & 1 ? index_size : take(4));
	header.index_frame = (uint32_t)frame_size;
	if (flags & 2)
		header.mark = take(8);
	size_t rest = input_size < 0x8000 ? input_size : 0x8000, size = sizeof header + frame_size + rest;
	make_memory(pages * PAGE + size, 0);
	memset(memory, 0, pages * PAGE);
	memcpy(memory + pages * PAGE, &header, sizeof header);
	memcpy(memory + pages * PAGE + sizeof header, content, frame_size);
	memcpy(memory + pages * PAGE + sizeof header + frame_size, input, rest);
	segments[1] = (ElfW(Phdr)){.p_type = PT_SLIMPACK, .p_vaddr = pages * PAGE, .p_memsz = size};
	frames_start = memory + pages * PAGE + sizeof header + frame_size;
	if (!attached())
		return;
	if (!eager && flags & 4)
		relocated();
	for (unsigned page = 0; page < pages && resolved((uintptr_t)memory + page * PAGE, READ) >= 0; page++)
			;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	input = data, input_size = size;
	uint64_t flags = take(2);

	occupied = flags >> 8 & 7;
	eager = flags >> 5 & 1;
	deny_executable = flags >> 6 & 1;
	deny_files = flags >> 7 & 1;
	scarce = deny_files && !deny_executable; /* no memory but for the library's own and the reserve */
	counting = deny_files;
	if (flags & 1)
		raw(flags >> 1);
	else
		plan(flags >> 1);
	forget_all();
	return 0;
}

#ifdef REPLAY
/* Without a fuzzer: runs the files that are named. */
int
main(int count, char **paths)
{
	static unsigned char content[1 << 20];

	(void)attach;
	for (int i = 1; i < count; i++) {
		FILE *stream = fopen(paths[i], "rb");
		if (!stream)
			return 2;
		/* Exactly as large as the input, so that reading behind its end is noticed. */
		size_t size = fread(content, 1, sizeof content, stream);
		unsigned char *copy = malloc(size + !size);
		memcpy(copy, content, size);
		LLVMFuzzerTestOneInput(copy, size);
		free(copy);
		fclose(stream);
	}
	return 0;
}
#endif

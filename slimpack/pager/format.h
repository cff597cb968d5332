/* The packed part of a file, as docs/packed-format.md describes it. All numbers are little-endian. */
#ifndef SLIMPACK_FORMAT_H
#define SLIMPACK_FORMAT_H

#include <stdint.h>

#define PT_SLIMPACK 0x6b636150 /* "Pack" */
#define FORMAT_VERSION 1
#define FORMAT_MAGIC "slimpack"

/* At the address of the PT_SLIMPACK segment. */
struct header {
	char magic[8];
	uint32_t version;
	uint32_t flags;        /* none is known: 0 */
	uint64_t mark;         /* address of a zero word that is writable; the pager's. The relocated word is before it */
	uint32_t index_frame;  /* bytes of the frame that follows this header */
	uint32_t index_size;   /* bytes of what it holds */
};

/* The content of that frame begins with this. The ranges follow, then blocks + 1 offsets: of each block's frame, and of
   the first byte behind the last, counted from the end of the index's frame. */
struct index {
	uint64_t relocation_address; /* of the relocation whose place the pager's symbol took; 0 for none */
	uint64_t relocation_addend;
	uint32_t ranges;
	uint32_t blocks;
};

enum moment { ON_TOUCH = 0, WITH_LIBRARY = 1, WHILE_RELOCATED = 2 };

enum filter { NO_FILTER = 0, CODE_X86_64 = 1, CODE_AARCH64 = 2, WORDS = 3, DOUBLE_WORDS = 4 };

struct range {
	uint64_t address;
	uint64_t size;
	uint32_t block_size;
	uint32_t first_block;
	uint32_t flags;  /* PF_R, perhaps PF_W or PF_X */
	uint32_t moment; /* enum moment */
	uint32_t filter; /* enum filter */
	uint32_t reach;  /* of CODE_X86_64: addresses below it are stored as such */
};

#endif

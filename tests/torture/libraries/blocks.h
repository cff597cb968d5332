/* Code and what it lies between: each block function is followed or preceded by a table of 64 KiB that is code, too. */
#ifndef BLOCKS_H
#define BLOCKS_H

#include <stdint.h>

#define BLOCKS 32
#define WORDS 8192 /* of a block's table */

static inline uint64_t
word_of(int block, int at)
{
	uint64_t value = (uint64_t)(block + 1) * 40503 + (uint64_t)at;
	return (value * value >> 8) & 0xffffff;
}

static inline long
result_of(int block, long x)
{
	return x * block + block * block;
}

/* A section of its own keeps the two together, whatever the compiler does first. */
#define TABLE(n) \
	__asm__(".pushsection .text.block" #n ",\"ax\",%progbits\n.balign 16\n" \
	        ".globl table" #n "\n.type table" #n ",%object\ntable" #n ":\n" \
	        ".set value, (" #n " + 1) * 40503\n.rept 8192\n" \
	        ".quad ((value * value) >> 8) & 0xffffff\n.set value, value + 1\n.endr\n" \
	        ".size table" #n ", 65536\n.popsection\n");

#define BLOCK(n) \
	TABLE(n) \
	__attribute__((section(".text.block" #n))) long function##n(long x) { return x * n + n * n; }

#endif

/* What was done to blocks before they were compressed, undone: docs/packed-format.md, "Filters". */
#ifndef SLIMPACK_FILTERS_H
#define SLIMPACK_FILTERS_H

#include <stddef.h>
#include <stdint.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "format.h"

/* Returns the first place from `at` on where an instruction may begin that has such an operand, or a place near the end. */
static size_t
skip_x86_64(const unsigned char *code, size_t size, size_t at)
{
#if defined(__SSE2__)
	for (; at + 17 <= size; at += 16) {
		__m128i first = _mm_loadu_si128((const __m128i *)(code + at));
		__m128i second = _mm_and_si128(_mm_loadu_si128((const __m128i *)(code + at + 1)), _mm_set1_epi8((char)0xc7));
		__m128i loads = _mm_or_si128(
		    _mm_cmpeq_epi8(first, _mm_set1_epi8((char)0x8b)), _mm_cmpeq_epi8(first, _mm_set1_epi8((char)0x8d)));
		__m128i found = _mm_or_si128(_mm_cmpeq_epi8(first, _mm_set1_epi8((char)0xe8)),
		    _mm_and_si128(loads, _mm_cmpeq_epi8(second, _mm_set1_epi8(5))));
		int places = _mm_movemask_epi8(found);
		if (places)
			return at + (size_t)__builtin_ctz((unsigned)places);
	}
#else
	(void)code, (void)size;
#endif
	return at;
}

/* The operands of calls, and of loads of addresses and memory relative to the next instruction: 0xe8, 0x8b and 0x8d.
   Addresses below `reach` are stored where differences were. What is behind an operand is `next`. */
static void
undo_x86_64(unsigned char *code, size_t size, int64_t address, int64_t reach)
{
	for (size_t at = skip_x86_64(code, size, 0); at + 5 <= size; at = skip_x86_64(code, size, at)) {
		int32_t operand;

		if (code[at] == 0xe8)
			at += 1;
		else if ((code[at] == 0x8b || code[at] == 0x8d) && (code[at + 1] & 0xc7) == 5)
			at += 2;
		else {
			at++;
			continue;
		}
		if (at + sizeof operand > size)
			return;
		int64_t next = address + (int64_t)(at + sizeof operand);
		__builtin_memcpy(&operand, code + at, sizeof operand);
		if (operand >= 0 ? operand < reach : operand >= -next)
			operand = (int32_t)(operand >= 0 ? operand - next : operand + reach);
		__builtin_memcpy(code + at, &operand, sizeof operand);
		at += sizeof operand;
	}
}

/* The operands of BL, in words, and of ADRP, in pages of 4 KiB: the sum of each and of the instruction's own place. */
static void
undo_aarch64(unsigned char *code, size_t size, uint64_t address)
{
	uint32_t *words = (uint32_t *)code;

	for (size_t i = 0; i < size / 4; i++, address += 4) {
		uint32_t word = words[i];

		if (word >> 26 == 0x25)
			words[i] = (word & 0xfc000000) | ((word - (uint32_t)(address >> 2)) & 0x3ffffff);
		else if ((word & 0x9f000000) == 0x90000000) {
			uint32_t pages = (word >> 3 & 0x1ffffc) | (word >> 29 & 3);
			pages -= (uint32_t)(address >> 12);
			words[i] = (word & 0x9f00001f) | (pages & 3) << 29 | (pages >> 2 & 0x7ffff) << 5;
		}
	}
}

/* Makes a block what it is in memory: its size is a multiple of a page. */
static void
undo(const struct range *range, unsigned char *content, size_t size, uint64_t address)
{
	uint32_t *words = (uint32_t *)content;
	uint64_t *double_words = (uint64_t *)content;

	switch (range->filter) {
	case CODE_X86_64:
		undo_x86_64(content, size, (int64_t)address, range->reach);
		break;
	case CODE_AARCH64:
		undo_aarch64(content, size, address);
		break;
	case WORDS: /* pairs of them */
		for (size_t i = 2; i < size / 4; i++)
			words[i] += words[i - 2];
		break;
	case DOUBLE_WORDS: /* relocations: three each */
		for (size_t i = 3; i < size / 8; i++)
			double_words[i] += double_words[i - 3];
	}
}

#endif

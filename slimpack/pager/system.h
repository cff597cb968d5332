/* System calls without libc: its functions may be replaced by ones that take locks, and set errno. */
#ifndef SLIMPACK_SYSTEM_H
#define SLIMPACK_SYSTEM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

static inline long
system_call(long number, long a, long b, long c, long d, long e, long f)
{
#if defined(__x86_64__)
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
	                 : "rcx", "r11", "memory");
	return result;
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
#else
#error "the pager is for x86_64 and aarch64"
#endif
}

#define SYSTEM_0(name) system_call(SYS_##name, 0, 0, 0, 0, 0, 0)
#define SYSTEM_1(name, a) system_call(SYS_##name, (long)(a), 0, 0, 0, 0, 0)
#define SYSTEM_2(name, a, b) system_call(SYS_##name, (long)(a), (long)(b), 0, 0, 0, 0)
#define SYSTEM_3(name, a, b, c) system_call(SYS_##name, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define SYSTEM_4(name, a, b, c, d) system_call(SYS_##name, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define SYSTEM_5(name, a, b, c, d, e) \
	system_call(SYS_##name, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)
#define SYSTEM_6(name, a, b, c, d, e, f) \
	system_call(SYS_##name, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

/* Whether a system call's result is no address: the last page has the negated error numbers. */
static inline int
failed(long result)
{
	return (unsigned long)result > -4096UL;
}

/* Makes instructions that were written as data visible to the processor's fetches. */
static inline void
synchronize_instructions(const void *start, size_t size)
{
#if defined(__aarch64__)
	uint64_t type;
	__asm__ volatile("mrs %0, ctr_el0" : "=r"(type));
	uintptr_t end = (uintptr_t)start + size;
	uintptr_t data_line = 4UL << (type >> 16 & 15), code_line = 4UL << (type & 15);

	for (uintptr_t at = (uintptr_t)start & -data_line; at < end; at += data_line)
		__asm__ volatile("dc cvau, %0" : : "r"(at) : "memory");
	__asm__ volatile("dsb ish" : : : "memory");
	for (uintptr_t at = (uintptr_t)start & -code_line; at < end; at += code_line)
		__asm__ volatile("ic ivau, %0" : : "r"(at) : "memory");
	__asm__ volatile("dsb ish\n isb" : : : "memory");
#else
	(void)start, (void)size;
#endif
}

#endif

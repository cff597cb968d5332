/*
 * What the cases share. A case is a function that returns if all is well; it runs in a process of its own.
 *
 * The program finds its libraries in the folder that its own name (argv[0]) says. They are packed if the pager lies
 * beside them; SLIMPACK_PAGER=eager is the pager's business, and known here to tell what has to be absent at first.
 */
#ifndef TORTURE_H
#define TORTURE_H

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libraries/blocks.h"

#define CASE(name) \
	static void name(void); \
	__attribute__((constructor)) static void register_##name(void) { add_case(#name, name); } \
	static void name(void)

#define CHECK(condition) \
	do { \
		if (!(condition)) \
			fail(__FILE__, __LINE__, #condition); \
	} while (0)

void add_case(const char *name, void (*run)(void));
_Noreturn void fail(const char *file, int line, const char *what);
_Noreturn void skip(const char *why); /* what cannot be tested here */

extern int packed; /* whether the libraries are */
extern int demand; /* whether blocks are absent until they are touched */

/* Files of the set. What path_of() returns stays valid for three more calls. */
const char *path_of(const char *name);
const char *copy_of(const char *name); /* of the same folder, removed at exit */
void copy_file(const char *from, const char *to);
void overwrite(const char *path, size_t from, const void *content, size_t size);
size_t size_of(const char *path);

/* Loaded libraries. */
struct blocks { /* of a library; its addresses, so that a touch is nothing but a touch */
	void *library;
	int number;
	long (*functions[BLOCKS])(long);
	const uint64_t *tables[BLOCKS];
};
void *open_library(const char *path); /* RTLD_NOW; fails if it cannot be */
void *find(void *library, const char *name);
struct blocks open_blocks(const char *path, int number);
struct blocks open_cold(void); /* libcold.so */
void touch(const struct blocks *blocks, int block); /* calls its function, and compares all of its bytes */
void touch_all(const struct blocks *blocks);
int there(const void *address); /* whether memory can be read, without reading it */
void expect_absent(const void *address); /* in demand mode */
void expect_present(const void *address);

/* Processes. */
struct death {
	int status; /* as wait() has it */
	int traced; /* whether `info` is known */
	siginfo_t info; /* of the last SIGSEGV that was about to be delivered */
	char said[2048]; /* to standard error */
};
int emulated(void); /* by qemu-user, which lacks some of what a kernel does */
struct death run_child(void (*body)(void *), void *argument); /* status 0 if body returns */
struct death trace_child(void (*body)(void *), void *argument);
void skip_if_it_did(const struct death *death);
void expect_fine(void (*body)(void *), void *argument);

/* Threads; the number is the argument, and the barrier has been met. */
void run_threads(int count, void (*body)(void *argument, int number), void *argument);

#endif

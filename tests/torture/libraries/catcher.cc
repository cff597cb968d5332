// Catches what another packed library throws, with a frame in between that has something to clean up.
#include <stdexcept>
#include <stdlib.h>
#include "blocks.h"
__asm__(".pushsection .text.many,\"ax\",%progbits\n"
        ".rept 4000\n.cfi_startproc\nnop\n.cfi_endproc\n.endr\n.popsection\n");
extern "C" {
extern void throw_number(int number);
extern int destroyed;
BLOCK(0)
__attribute__((section(".text.block0"))) int catch_number(int number) {
	try {
		throw_number(number);
	} catch (const std::exception &error) {
		return destroyed * 100 + atoi(error.what() + 7);
	}
	return -1;
}
}

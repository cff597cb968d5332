// Throws through packed unwind tables: enough of them to be packed.
#include <stdexcept>
#include <string>
#include "blocks.h"
__asm__(".pushsection .text.many,\"ax\",%progbits\n"
        ".rept 4000\n.cfi_startproc\nnop\n.cfi_endproc\n.endr\n.popsection\n");
struct Loud {
	int &count;
	~Loud() { count++; }
};
extern "C" {
BLOCK(0)
int destroyed;
__attribute__((section(".text.block0"))) void throw_number(int number) {
	Loud loud{destroyed};
	throw std::runtime_error("thrown " + std::to_string(number));
}
}

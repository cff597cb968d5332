/* A program that needs packed libraries to start: an executable out of a wheel. */
#include <stdint.h>
#include "libraries/blocks.h"
extern long constructed_with(void), function5(long), call_chosen(void);
extern const uint64_t table6[];

int
main(void)
{
	return !(constructed_with() == result_of(31, 1) && function5(3) == result_of(5, 3) && call_chosen() == 7 &&
	         table6[17] == word_of(6, 17));
}

/* Refers to something that nobody has: dlopen() fails when it has been attached. */
#include "blocks.h"
BLOCK(0) BLOCK(1) BLOCK(2) BLOCK(3)
extern long nobody_has_this(void);
long
call_nobody(void)
{
	return nobody_has_this();
}

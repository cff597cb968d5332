/* Small, and needs another packed library from its constructor on. */
#include "blocks.h"
BLOCK(0) BLOCK(1) BLOCK(2) BLOCK(3)
extern long call_chosen(void);
long plugged;
__attribute__((constructor)) static void
construct(void)
{
	plugged = call_chosen() + function3(1);
}

/*
 * What the decoder and the compiler ask of libc, so that they ask for nothing: libc's own may be replaced by others
 * that lock.
 */
#include <stddef.h>

#define PLAIN __attribute__((no_builtin, visibility("hidden")))

PLAIN void *
memcpy(void *restrict to, const void *restrict from, size_t size)
{
	unsigned char *out = to;
	const unsigned char *in = from;

	for (size_t i = 0; i < size; i++)
		out[i] = in[i];
	return to;
}

PLAIN void *
memmove(void *to, const void *from, size_t size)
{
	unsigned char *out = to;
	const unsigned char *in = from;

	if (out <= in || out >= in + size)
		for (size_t i = 0; i < size; i++)
			out[i] = in[i];
	else
		while (size--)
			out[size] = in[size];
	return to;
}

PLAIN void *
memset(void *to, int value, size_t size)
{
	unsigned char *out = to;

	for (size_t i = 0; i < size; i++)
		out[i] = (unsigned char)value;
	return to;
}

PLAIN size_t
strlen(const char *text)
{
	size_t size = 0;

	while (text[size])
		size++;
	return size;
}

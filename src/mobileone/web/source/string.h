/* As stdlib.h. Copying is an instruction of WebAssembly. */
#include <stddef.h>
void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memset(void *to, int value, size_t size);
int strcmp(const char *a, const char *b);

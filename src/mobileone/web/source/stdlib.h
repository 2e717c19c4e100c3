/* What generated C takes of the C library, for machines without one; network.c has the code. */
#include <stddef.h>
void *malloc(size_t size);
void free(void *block);

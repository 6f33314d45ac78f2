/* Places for buffers that live over parts of a run: what never lives at once may share. */
#ifndef FNN_ARENA_H
#define FNN_ARENA_H

#include "core.h"

typedef struct {
    int64_t bytes;
    int first, last; /* steps that use it, inclusive; first > last: nobody does */
    int64_t place;   /* out: from the arena's start; -1 where it needs none */
} fnn_lifetime;

/* Gives every buffer a place, aligned to FNN_ALIGN; returns the arena's bytes, or -1 if
 * there is no memory to work in. Greedy: the largest first, each at the lowest place
 * that is free while it lives. */
int64_t fnn_arena_layout(fnn_lifetime *buffers, int n);

#endif

/* What the driver of elementwise ops knows about a call (map.c, map_tiles.c). */
#ifndef FNN_MAP_H
#define FNN_MAP_H

#include "ops.h"

typedef struct {
    char *data;
    int64_t stride[FNN_MAX_DIMS]; /* bytes */
    int dtype, kernel_dtype;
    bool linear;   /* contiguous over the whole index, right dtype */
    bool constant; /* one element for all */
    bool row;      /* contiguous within a row, right dtype */
} fnn_map_operand;

typedef struct {
    fnn_map_fn kernel;
    int ndim, n_in;
    int64_t shape[FNN_MAX_DIMS];
    bool by_rows, buffered, streams;
    bool copies;                            /* the kernel changes nothing */
    fnn_map_operand op[1 + FNN_MAP_INPUTS]; /* output, inputs */
    /* Of map_tiles.c: a tile's size, how many make a column and a row of them, and the
     * bytes of a buffer. */
    int64_t rows, cols, down, to_right, slot;
} fnn_map_job;

typedef char fnn_map_splats[FNN_MAP_INPUTS][128];
/* For each input that is constant: points x at 16 times the element, in splats, and sets
 * step to 0. */
void fnn_map_splat(const fnn_map_job *j, fnn_map_splats splats, const void **x,
                   ptrdiff_t *step);
/* Runs a job of n elements by tiles, if that is better; else returns false. */
bool fnn_map_tiled(fnn_map_job *j, int64_t n);

#endif

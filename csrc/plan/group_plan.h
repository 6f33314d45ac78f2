/* What the plan of a group holds, for group_prepare.c and group_run.c.
 *
 * The index space, row-major, is cut into tiles, a tile into blocks. A block goes through
 * all calls before the next one starts; results that nobody else reads lie in slots of the
 * workspace, so few and so short that they stay in the first level of cache.
 *
 * Without reductions a tile is a block. With them the space is (rows, cols), and a tile
 * is one or more whole chunks of FNN_CHUNK rows, since a chunk is what the tree of a
 * reduction starts from (ops/reduce.c); of very long rows it is a strip of columns. What is
 * reduced and has no memory is kept for the whole tile. Neither tiles nor blocks nor
 * threads change a bit. */
#ifndef FNN_GROUP_PLAN_H
#define FNN_GROUP_PLAN_H

#include "ops/ops.h"
#include "plan/group.h"

#define SPLAT 16 /* elements behind a constant, see fnn_map_fn */

/* How an operand is found at a position of the index space. */
typedef enum {
    MEMORY,   /* there, in its tensor */
    SLOT,     /* in a slot: the result of an earlier call */
    CONSTANT, /* in a splat, made before the first block */
    ROW,      /* in its tensor, which repeats */
    COLUMN,   /* in a splat, made for each row */
    EXPANDED, /* in a buffer: of another dtype, or repeating in short runs */
} found;

typedef struct {
    const fnn_tensor *t; /* its data is read at run */
    found how;
    bool in_slot; /* EXPANDED from a slot */
    bool kept;    /* its slot holds a whole tile */
    int dtype, kernel_dtype;
    ptrdiff_t size, kernel_size; /* of an element */
    int64_t repeat, period;      /* position i is element i / repeat % period */
    int64_t slot, buffer;        /* bytes into the piece's workspace */
} operand;

typedef struct {
    fnn_map_fn kernel;
    int n_in;
    int64_t row; /* kernel calls end at multiples of it; 0: no need */
    ptrdiff_t step[FNN_MAP_INPUTS];
    operand op[1 + FNN_MAP_INPUTS]; /* output, inputs */
    bool streams;                   /* its result goes past the caches */
    int last;                       /* the last member that reads the result */
    int slot;                       /* its number; -1: in memory, or kept */
} member;

typedef struct {
    int op, x; /* x: the member that makes it */
    bool mean;
    const fnn_tensor *y;
    int64_t partial; /* bytes into the workspace: [chunks][cols] */
} reduction;

struct fnn_group_plan {
    int members, reductions;
    bool streams;                 /* some member does */
    int64_t n, block;             /* elements */
    int64_t tiles, tile;          /* how many; elements of one, where rows are whole */
    int64_t rows, cols, chunks;   /* of what is reduced */
    int64_t strips, width;        /* per row; columns of one */
    int64_t pieces, first, slice; /* piece i owns slice i, from `first` on; bytes */
    reduction *reduction;
    member member[];
};

#endif

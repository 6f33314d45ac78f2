/* Elementwise ops by tiles.
 *
 * Where an operand runs along another dimension than the output, as a transposed one
 * does, each element of its row is in another line of the caches. So these two
 * dimensions are cut into tiles small enough that the lines are still there when their
 * next elements are wanted. Elements of 4 and 8 bytes are turned in registers; a copy of
 * them goes straight to where it belongs. */
#include "ops/map.h"

#include <stdlib.h>

#define SCRATCH 32768 /* bytes of a thread's buffers */
#define SQUARE \
    16 /* tiles have at least as many rows and columns, if there are so many */
#define COLS 256   /* at most: whole lines of many rows, and few pages */
#define AHEAD 8    /* runs of memory that are asked for before they are read */
#define COPY 16384 /* elements of a tile that needs no buffer */

typedef fnn_map_operand operand;
typedef fnn_map_job job;

/* Whether o can be turned in registers. */
static bool turns(const job *j, const operand *o) {
    ptrdiff_t size = fnn_dtype_size(o->dtype);
    return !o->row && size >= 4 && o->stride[j->ndim - 2] == size;
}

/* The dimension that some operand runs along instead of the last one; -1: none. */
static int other_dim(const job *j) {
    int last = j->ndim - 1, other = -1;
    for (int k = 0; k <= j->n_in && other < 0; k++) {
        int64_t least = llabs(j->op[k].stride[last]);
        for (int d = 0; d < last; d++) {
            int64_t step = llabs(j->op[k].stride[d]);
            if (step > 0 && step < least) {
                least = step;
                other = d;
            }
        }
    }
    return other;
}

/* Makes dimension d the last but one. */
static void move_dim(job *j, int d) {
    for (; d < j->ndim - 2; d++) {
        int64_t size = j->shape[d];
        j->shape[d] = j->shape[d + 1];
        j->shape[d + 1] = size;
        for (int k = 0; k <= j->n_in; k++) {
            int64_t *stride = j->op[k].stride, step = stride[d];
            stride[d] = stride[d + 1];
            stride[d + 1] = step;
        }
    }
}

/* dst, its rows ld bytes apart, = the tile of o that begins at src, in the kernel's
 * dtype; turned: room for it. */
static void gather(const job *j, const operand *o, const char *src, int64_t rows,
                   int64_t cols, char *dst, ptrdiff_t ld, char *turned) {
    ptrdiff_t size = fnn_dtype_size(o->dtype),
              to_size = fnn_dtype_size(o->kernel_dtype);
    ptrdiff_t row = o->stride[j->ndim - 2], col = o->stride[j->ndim - 1];
    if (turns(j, o)) {
        fnn_transpose_fn transpose = fnn_k->transpose[size == 8];
        bool past = j->copies && j->streams; /* dst is no buffer */
        if (o->dtype == o->kernel_dtype) {
            transpose(rows, cols, src, col / size, dst, ld / size, past);
            return;
        }
        transpose(rows, cols, src, col / size, turned, cols, false);
        src = turned;
        row = cols * size;
        col = size;
    }
    if (llabs(row) < llabs(col)) { /* along the operand's memory */
        for (int64_t i = 0; i < cols; i++) {
            __builtin_prefetch(src + (i + AHEAD) * col);
            __builtin_prefetch(src + (i + AHEAD) * col + (rows - 1) * row);
            fnn_convert(dst + i * to_size, o->kernel_dtype, ld, src + i * col, o->dtype,
                        row, rows);
        }
    } else {
        for (int64_t i = 0; i < rows; i++) {
            fnn_convert(dst + i * ld, o->kernel_dtype, to_size, src + i * row, o->dtype,
                        col, cols);
        }
    }
}

/* One tile, its operands beginning at `at`; x and step as a kernel wants them; slot: the
 * bytes of a buffer. */
static void run_tile(const job *j, int64_t rows, int64_t cols, char **at,
                     const void **x, const ptrdiff_t *step, char *scratch,
                     ptrdiff_t slot) {
    const operand *y = &j->op[0];
    ptrdiff_t row = y->stride[j->ndim - 2], ld[1 + FNN_MAP_INPUTS];
    if (j->copies) {
        gather(j, &j->op[1], at[1], rows, cols, at[0], row, scratch);
        return;
    }
    for (int k = 1; k <= j->n_in;
         k++) { /* what is read in place, while others are turned */
        const operand *o = &j->op[k];
        ptrdiff_t bytes = cols * fnn_dtype_size(o->dtype);
        for (int64_t i = 0; i < rows && o->row; i++) {
            for (ptrdiff_t p = 0; p < bytes; p += FNN_ALIGN) {
                __builtin_prefetch(at[k] + i * o->stride[j->ndim - 2] + p, 0, 2);
            }
        }
    }
    char *buffer = scratch + slot, *to = at[0];
    bool whole = true; /* the rows follow each other, everywhere */
    for (int k = 0; k <= j->n_in; k++) {
        const operand *o = &j->op[k];
        ptrdiff_t line = cols * fnn_dtype_size(o->kernel_dtype);
        ld[k] = o->constant ? 0 : o->stride[j->ndim - 2];
        if (!o->constant && !o->row) {
            ld[k] = line;
            if (k == 0) {
                to = buffer;
            } else {
                gather(j, o, at[k], rows, cols, buffer, line, scratch);
                x[k - 1] = buffer;
            }
            buffer += slot;
        } else if (k > 0 && o->row) {
            x[k - 1] = at[k];
        }
        whole &= o->constant || ld[k] == line;
    }
    int64_t calls = whole ? 1 : rows, n = whole ? rows * cols : cols;
    for (int64_t i = 0; i < calls; i++) {
        if (j->streams) {
            fnn_stream_map(j->kernel, y->dtype, n, to + i * ld[0], x, step, j->n_in);
        } else {
            j->kernel(n, to + i * ld[0], x, step);
        }
        for (int k = 1; k <= j->n_in; k++) {
            x[k - 1] = (const char *)x[k - 1] + ld[k];
        }
    }
    for (int64_t i = 0; i < rows && !y->row; i++) {
        fnn_convert(at[0] + i * row, y->dtype, y->stride[j->ndim - 1], to + i * ld[0],
                    y->kernel_dtype, fnn_dtype_size(y->kernel_dtype), cols);
    }
}

static void run_tiles(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    _Alignas(64) char scratch[SCRATCH];
    _Alignas(64) fnn_map_splats splats;
    const void *x[FNN_MAP_INPUTS] = {NULL};
    ptrdiff_t step[FNN_MAP_INPUTS] = {1, 1, 1, 1};
    fnn_map_splat(j, splats, x, step);
    const int64_t *shape = j->shape;
    int down = j->ndim - 2, across = j->ndim - 1;
    for (int64_t tile = lo; tile < hi; tile++) {
        /* Down the output, along the memory of what is turned. */
        int64_t row = tile % j->down * j->rows, rest = tile / j->down;
        int64_t col = rest % j->to_right * j->cols;
        char *at[1 + FNN_MAP_INPUTS];
        for (int k = 0; k <= j->n_in; k++) {
            const operand *o = &j->op[k];
            int64_t outer = rest / j->to_right;
            at[k] = o->data + row * o->stride[down] + col * o->stride[across];
            for (int d = down - 1; d >= 0; d--) {
                at[k] += outer % shape[d] * o->stride[d];
                outer /= shape[d];
            }
        }
        run_tile(j, fnn_min64(j->rows, shape[down] - row),
                 fnn_min64(j->cols, shape[across] - col), at, x, step, scratch,
                 j->slot);
    }
    if (j->streams) {
        fnn_stream_end();
    }
}

bool fnn_map_tiled(job *j, int64_t n) {
    int other = j->buffered ? other_dim(j) : -1;
    if (other < 0) {
        return false;
    }
    move_dim(j, other);
    const operand *y = &j->op[0];
    j->copies = j->copies && y->row && turns(j, &j->op[1]);
    int buffers = 0, large = 0;
    bool converts = false, streams = y->row && (j->copies || fnn_is_float(y->dtype));
    for (int k = 0; k <= j->n_in; k++) {
        const operand *o = &j->op[k];
        buffers += !j->copies && !o->row && !o->constant;
        converts |= o->dtype != o->kernel_dtype;
        large += !o->constant;
        streams &= o->kernel_dtype == y->dtype;
    }
    j->streams = streams && fnn_streams((double)n * large * fnn_dtype_size(y->dtype));
    buffers += !j->copies || converts; /* for what is turned before it is converted */
    int64_t area = buffers > 0 ? SCRATCH / 8 / buffers : COPY;
    int64_t *shape = j->shape, down = j->ndim - 2, across = j->ndim - 1;
    j->slot = area / (SQUARE * SQUARE) * (SQUARE * SQUARE) * 8;
    j->cols = fnn_min64(shape[across], fnn_min64(COLS, j->slot / 8 / SQUARE));
    j->rows = fnn_min64(shape[down], j->slot / 8 / j->cols / SQUARE * SQUARE);
    j->to_right = (shape[across] + j->cols - 1) / j->cols;
    j->down = (shape[down] + j->rows - 1) / j->rows;
    n = n / shape[across] / shape[down] * j->to_right * j->down;
    fnn_parallel_for(n, FNN_MAP_GRAIN / (j->rows * j->cols), run_tiles, j);
    return true;
}

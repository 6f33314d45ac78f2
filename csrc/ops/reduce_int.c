/* Sums and extrema of integers and bool: exact in any order, so one plain C build serves
 * every CPU and a loop may run as suits the memory. */
#include "ops.h"

#define COLUMNS 128 /* columns taken at once */
#define GRAIN 16384 /* elements that pay for a thread */

/* *best = reduction of *best (unless first) and x[0], x[step], ..., n > 0 of them */
#define RUN(s, S)                                                                 \
    static void run_##s(int op, const S *x, ptrdiff_t n, ptrdiff_t step,          \
                        int64_t *best, bool first) {                              \
        if (op == FNN_SUM) {                                                      \
            uint64_t sum = first ? 0 : (uint64_t)*best;                           \
            if (step == 1) {                                                      \
                for (ptrdiff_t i = 0; i < n; i++) {                               \
                    sum += (uint64_t)(int64_t)x[i];                               \
                }                                                                 \
            } else {                                                              \
                for (ptrdiff_t i = 0; i < n; i++) {                               \
                    sum += (uint64_t)(int64_t)x[i * step];                        \
                }                                                                 \
            }                                                                     \
            *best = (int64_t)sum;                                                 \
            return;                                                               \
        }                                                                         \
        S b = first ? x[0] : (S) * best;                                          \
        if (op == FNN_MAX) {                                                      \
            for (ptrdiff_t i = 0; i < n; i++) {                                   \
                b = x[i * step] > b ? x[i * step] : b;                            \
            }                                                                     \
        } else {                                                                  \
            for (ptrdiff_t i = 0; i < n; i++) {                                   \
                b = x[i * step] < b ? x[i * step] : b;                            \
            }                                                                     \
        }                                                                         \
        *best = b;                                                                \
    }                                                                             \
    /* y[j] = reduction of x[i * ld + j], i < n, for neighbouring columns */      \
    static void columns_##s(int op, const S *x, ptrdiff_t n, ptrdiff_t ld,        \
                            ptrdiff_t cols, int64_t *y) {                         \
        for (ptrdiff_t j = 0; j < cols; j++) {                                    \
            y[j] = x[j];                                                          \
        }                                                                         \
        for (ptrdiff_t i = 1; i < n; i++) {                                       \
            const S *row = x + i * ld;                                            \
            if (op == FNN_SUM) {                                                  \
                for (ptrdiff_t j = 0; j < cols; j++) {                            \
                    y[j] = (int64_t)((uint64_t)y[j] + (uint64_t)(int64_t)row[j]); \
                }                                                                 \
            } else if (op == FNN_MAX) {                                           \
                for (ptrdiff_t j = 0; j < cols; j++) {                            \
                    y[j] = row[j] > y[j] ? row[j] : y[j];                         \
                }                                                                 \
            } else {                                                              \
                for (ptrdiff_t j = 0; j < cols; j++) {                            \
                    y[j] = row[j] < y[j] ? row[j] : y[j];                         \
                }                                                                 \
            }                                                                     \
        }                                                                         \
    }
RUN(u8, uint8_t)
RUN(i32, int32_t)
RUN(i64, int64_t)

typedef struct {
    int op;
    fnn_tensor kept, reduced, y;
    int64_t length;
} job;

static ptrdiff_t offset(const fnn_tensor *t, int ndim, int64_t index) {
    ptrdiff_t at = 0;
    for (int d = ndim - 1; d >= 0; d--) {
        at += index % t->shape[d] * t->stride[d];
        index /= t->shape[d];
    }
    return at * fnn_dtype_size(t->dtype);
}

static void store(const job *j, int64_t first, const int64_t *values, int64_t n) {
    ptrdiff_t size = fnn_dtype_size(j->y.dtype);
    fnn_convert(j->y.data + first * size, j->y.dtype, size, values, FNN_INT64, 8, n);
}

#define FOR_DTYPE(call_u8, call_i32, call_i64) \
    switch (j->kept.dtype) {                   \
    case FNN_INT32:                            \
        call_i32;                              \
        break;                                 \
    case FNN_INT64:                            \
        call_i64;                              \
        break;                                 \
    default: /* bool is kept as 0 and 1 */     \
        call_u8;                               \
    }

static void reduce_rows(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    int last = j->reduced.ndim - 1;
    int64_t n = last < 0 ? 1 : j->reduced.shape[last];
    ptrdiff_t step = last < 0 ? 1 : j->reduced.stride[last];
    for (int64_t k = lo; k < hi; k++) {
        const char *start = j->kept.data + offset(&j->kept, j->kept.ndim, k);
        int64_t best = 0;
        for (int64_t pos = 0; pos < j->length; pos += n) {
            const void *x = start + offset(&j->reduced, last, pos / n);
            bool first = pos == 0;
            FOR_DTYPE(run_u8(j->op, x, n, step, &best, first),
                      run_i32(j->op, x, n, step, &best, first),
                      run_i64(j->op, x, n, step, &best, first))
        }
        store(j, k, &best, 1);
    }
}

static void reduce_columns(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    ptrdiff_t ld = j->reduced.stride[0];
    int64_t values[COLUMNS];
    for (int64_t block = lo; block < hi; block++) {
        int64_t first = block * COLUMNS;
        ptrdiff_t cols = fnn_min64(COLUMNS, j->kept.shape[0] - first);
        const void *x = j->kept.data + first * fnn_dtype_size(j->kept.dtype);
        FOR_DTYPE(columns_u8(j->op, x, j->length, ld, cols, values),
                  columns_i32(j->op, x, j->length, ld, cols, values),
                  columns_i64(j->op, x, j->length, ld, cols, values))
        store(j, first, values, cols);
    }
}

void fnn_reduce_integers(int op, const fnn_tensor *kept, const fnn_tensor *reduced,
                         const fnn_tensor *y) {
    job j = {op, *kept, *reduced, *y, fnn_numel(reduced)};
    bool columns = kept->ndim == 1 && kept->stride[0] == 1 && reduced->ndim == 1 &&
                   reduced->stride[0] != 1;
    if (columns) {
        int64_t blocks = (kept->shape[0] + COLUMNS - 1) / COLUMNS;
        fnn_parallel_for(blocks, GRAIN / (j.length * COLUMNS) + 1, reduce_columns, &j);
    } else {
        fnn_parallel_for(fnn_numel(kept), GRAIN / j.length + 1, reduce_rows, &j);
    }
}

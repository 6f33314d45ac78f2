/* Sorting of indices, and sums of what belongs to equal ones.
 *
 * Work is cut between runs of equal indices, and a run is added up in order, so that results
 * depend neither on threads nor on the other rows. */
#include "rows.h"

#define DIGIT 11 /* bits at most: 2048 counters stay in the first level of cache */

int64_t fnn_rows_bytes(int64_t n) { return 2 * n * (int64_t)sizeof(fnn_row); }

const fnn_row *fnn_sort_rows(int64_t n, const int64_t *index, int64_t size,
                             void *room) {
    fnn_row *from = room, *to = from + n;
    int64_t first[1 << DIGIT];
    int bits = 0, passes;
    while (bits < 63 && (size - 1) >> bits > 0) {
        bits++;
    }
    passes = (bits + DIGIT - 1) / DIGIT;
    for (int64_t i = 0; i < n; i++) {
        from[i] = (fnn_row){index[i], i};
    }
    for (int pass = 0; pass < passes; pass++) { /* the lowest digit first */
        const int digit = (bits + passes - 1) / passes, shift = pass * digit;
        const int64_t mask = ((int64_t)1 << digit) - 1;
        memset(first, 0, sizeof *first << digit);
        for (int64_t i = 0; i < n; i++) {
            first[from[i].index >> shift & mask]++;
        }
        int64_t sum = 0;
        for (int64_t k = 0; k <= mask; k++) {
            const int64_t count = first[k];
            first[k] = sum;
            sum += count;
        }
        for (int64_t i = 0; i < n; i++) {
            to[first[from[i].index >> shift & mask]++] = from[i];
        }
        fnn_row *other = from;
        from = to;
        to = other;
    }
    return from;
}

void fnn_add_run(const fnn_row *rows, int64_t lo, int64_t hi, const fnn_tensor *values,
                 int64_t inner, int64_t at, int64_t m, void *y) {
    _Alignas(64) static const double zeros[16] = {0}; /* a constant is a whole vector */
    const ptrdiff_t item = fnn_dtype_size(values->dtype);
    fnn_map_fn add = fnn_map_kernel(FNN_MAP_add, values->dtype);
    for (int64_t i = lo; i < hi; i++) {
        const char *row = values->data + (rows[i].position * inner + at) * item;
        add(m, y, (const void *[]){i == lo ? (const void *)zeros : y, row},
            (ptrdiff_t[]){i != lo, 1});
    }
}

/* ---- sum_repeats -------------------------------------------------------------------- */

fnn_status fnn_infer_sum_repeats(fnn_call *c) {
    const fnn_tensor *index = c->in[0], *values = c->in[1];
    FNN_TRY(fnn_expect_integer(c, 0, "indices"));
    FNN_TRY(fnn_expect_float(c, 1, "values"));
    if (index->ndim != 1 || values->ndim < 1 || values->shape[0] != index->shape[0]) {
        return fnn_fail(
            c->err, FNN_ERR_VALUE,
            "sum_repeats: expected indices (n,) and values (n, ...), got %s "
            "and %s",
            FNN_SHAPE(index), FNN_SHAPE(values));
    }
    fnn_like(&c->out[0], values, values->dtype);
    return fnn_check_size(c, &c->out[0]);
}

int64_t fnn_workspace_sum_repeats(const fnn_call *c) {
    const int64_t n = c->in[0]->shape[0];
    return fnn_rows_bytes(n) + n * (int64_t)sizeof(int64_t) + fnn_dense_bytes(c);
}

typedef struct {
    const fnn_row *rows;
    int64_t n, inner;
    fnn_tensor values;
    char *y;
} sum_job;

static void sum_range(void *context, int64_t lo, int64_t hi) {
    const sum_job *j = context;
    const ptrdiff_t bytes = j->inner * fnn_dtype_size(j->values.dtype);
    for (int64_t end, i = fnn_run_start(j->rows, lo, j->n); i < hi; i = end) {
        end = fnn_run_end(j->rows, i, j->n);
        fnn_add_run(j->rows, i, end, &j->values, j->inner, 0, j->inner,
                    j->y + j->rows[i].position * bytes);
        for (int64_t again = i + 1; again < end; again++) {
            memset(j->y + j->rows[again].position * bytes, 0, (size_t)bytes);
        }
    }
}

fnn_status fnn_run_sum_repeats(fnn_call *c) {
    const int64_t n = c->in[0]->shape[0];
    int64_t *index = c->workspace, size = 0;
    char *room = (char *)(index + n) + fnn_rows_bytes(n);
    if (fnn_numel(c->in[1]) == 0) {
        return FNN_OK;
    }
    fnn_gather(index, FNN_INT64, c->in[0], 0, n);
    for (int64_t i = 0; i < n; i++) {
        if (index[i] < 0 || index[i] == INT64_MAX) {
            return fnn_fail(
                c->err, FNN_ERR_INDEX,
                "sum_repeats: expected indices from 0, got %lld at position %lld",
                (long long)index[i], (long long)i);
        }
        size = index[i] >= size ? index[i] + 1 : size;
    }
    sum_job j = {.rows = fnn_sort_rows(n, index, size, index + n),
                 .n = n,
                 .inner = fnn_numel(c->in[1]) / n,
                 .values = *c->in[1],
                 .y = c->out[0].data};
    j.values.data = (char *)fnn_dense(c, 1, &room);
    fnn_parallel_for(n, FNN_MAP_GRAIN / j.inner + 1, sum_range, &j);
    return FNN_OK;
}

/* Reductions over any dimensions.
 *
 * The reduced elements of one output, in logical order, are cut into chunks of FNN_CHUNK;
 * a chunk is summed in the kernel's lane tree, and chunk results are joined pairwise in a
 * tree over the chunk index: (0,1) (2,3) ..., then (01,23) ... So the bits depend on the
 * reduced length alone, not on strides, threads, or what else is reduced beside it.
 *
 * Partials are laid out [chunk][output]. Where outputs are neighbours in memory, a block of
 * columns is reduced at once (the same tree per column); elsewhere a chunk is read in place
 * if it is contiguous, or gathered into a small buffer. */
#include "ops.h"

#define COLUMNS 64 /* columns a task takes at once */
#define GRAIN_ELEMENTS 16384

typedef struct {
    int op, dtype;      /* of the arithmetic */
    fnn_tensor kept;    /* the kept dimensions of x, coalesced */
    fnn_tensor reduced; /* the reduced ones */
    int64_t outputs, length, chunks;
    bool by_columns;
    int64_t column_blocks; /* per chunk, when by columns */
    char *partial;         /* [chunks][outputs] */
} job;

void fnn_reduce_split(const fnn_call *c, fnn_tensor *kept, fnn_tensor *reduced) {
    const fnn_tensor *x = c->in[0];
    const fnn_attr *dims = &c->attr[0];
    unsigned mask = dims->n == 0 ? ~0u : 0;
    for (int i = 0; i < dims->n; i++) {
        int64_t ndim = x->ndim > 0 ? x->ndim : 1; /* a scalar takes dim -1 */
        mask |= 1u << (dims->ints[i] + (dims->ints[i] < 0 ? ndim : 0));
    }
    *kept = *reduced = *x;
    kept->ndim = reduced->ndim = 0;
    for (int d = 0; d < x->ndim; d++) {
        fnn_tensor *t = mask >> d & 1 ? reduced : kept;
        t->shape[t->ndim] = x->shape[d];
        t->stride[t->ndim++] = x->stride[d];
    }
}

static fnn_status infer_reduce(fnn_call *c, int dtype, bool needs_elements) {
    const fnn_tensor *x = c->in[0];
    const fnn_attr *dims = &c->attr[0];
    bool keepdim = c->attr[1].i != 0;
    fnn_tensor *y = &c->out[0];
    unsigned mask = dims->n == 0 ? ~0u : 0;
    for (int i = 0; i < dims->n; i++) {
        int64_t dim = dims->ints[i];
        FNN_TRY(fnn_check_dim(c, x, &dim));
        if (mask >> dim & 1) {
            return fnn_fail(c->err, FNN_ERR_VALUE,
                            "%s: expected every dimension once, got %lld twice",
                            c->op->name, (long long)dim);
        }
        mask |= 1u << dim;
    }
    y->dtype = dtype;
    y->ndim = 0;
    bool no_terms = false, no_outputs = false;
    for (int d = 0; d < x->ndim; d++) {
        bool reduced = mask >> d & 1;
        no_terms |= reduced && x->shape[d] == 0;
        no_outputs |= !reduced && x->shape[d] == 0;
        if (!reduced || keepdim) {
            y->shape[y->ndim++] = reduced ? 1 : x->shape[d];
        }
    }
    fnn_set_contiguous(y);
    if (needs_elements && no_terms && !no_outputs) {
        return fnn_fail(
            c->err, FNN_ERR_VALUE,
            "%s: expected at least one element to choose from, got shape %s",
            c->op->name, FNN_SHAPE(x));
    }
    return fnn_check_size(c, y);
}

fnn_status fnn_infer_sum(fnn_call *c) {
    int dtype = c->in[0]->dtype;
    return infer_reduce(c, fnn_is_float(dtype) ? dtype : FNN_INT64, false);
}

fnn_status fnn_infer_mean(fnn_call *c) {
    FNN_TRY(fnn_expect_float(c, 0, "x"));
    return infer_reduce(c, c->in[0]->dtype, false);
}

fnn_status fnn_infer_extremum(fnn_call *c) {
    return infer_reduce(c, c->in[0]->dtype, true);
}

fnn_status fnn_infer_arg(fnn_call *c) {
    if (c->attr[0].n > 1) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected one dimension or none, got %d", c->op->name,
                        c->attr[0].n);
    }
    return infer_reduce(c, FNN_INT64, true);
}

int64_t fnn_workspace_reduce(const fnn_call *c) {
    fnn_tensor kept, reduced;
    fnn_reduce_split(c, &kept, &reduced);
    int64_t chunks = fnn_chunks(fnn_numel(&reduced));
    int64_t size = fnn_dtype_size(c->out[0].dtype);
    return chunks > 1 && fnn_is_float(c->in[0]->dtype)
               ? chunks * fnn_numel(&kept) * size
               : 0;
}

void fnn_reduce_chunk(int op, int dtype, int64_t n, int64_t cols, const char *x,
                      int64_t ld, char *y) {
    if (cols == 1 && ld == 1) {
        fnn_k->reduce[FNN_F64(dtype)](op, n, x, y);
    } else {
        fnn_k->reduce_cols[FNN_F64(dtype)](op, n, cols, x, ld, y);
    }
}

/* partial[chunk][lo..hi) for a block of neighbouring columns */
static void reduce_columns(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    ptrdiff_t size = fnn_dtype_size(j->dtype);
    int64_t width = j->kept.shape[j->kept.ndim - 1];
    int64_t blocks = (width + COLUMNS - 1) / COLUMNS;
    for (int64_t task = lo; task < hi; task++) {
        int64_t block = task % blocks, row = task / blocks % (j->outputs / width);
        int64_t chunk = task / blocks / (j->outputs / width);
        int64_t first = block * COLUMNS, cols = fnn_min64(COLUMNS, width - first);
        int64_t start = chunk * FNN_CHUNK, n = fnn_min64(FNN_CHUNK, j->length - start);
        const char *x = j->kept.data + first * size;
        int64_t rest = row;
        for (int d = j->kept.ndim - 2; d >= 0; d--) {
            x += rest % j->kept.shape[d] * j->kept.stride[d] * size;
            rest /= j->kept.shape[d];
        }
        ptrdiff_t ld = j->reduced.ndim ? j->reduced.stride[0] : 0;
        char *out = j->partial + (chunk * j->outputs + row * width + first) * size;
        fnn_reduce_chunk(j->op, j->dtype, n, cols, x + start * ld * size, ld, out);
    }
}

static const char *kept_data(const fnn_tensor *kept, int64_t index) {
    const char *x = kept->data;
    for (int d = kept->ndim - 1; d >= 0; d--) {
        x += index % kept->shape[d] * kept->stride[d] * fnn_dtype_size(kept->dtype);
        index /= kept->shape[d];
    }
    return x;
}

static void reduce_chunks(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    ptrdiff_t size = fnn_dtype_size(j->dtype);
    _Alignas(64) char buffer[FNN_CHUNK * 8];
    bool in_place =
        j->reduced.ndim == 0 || (j->reduced.ndim == 1 && j->reduced.stride[0] == 1);
    for (int64_t task = lo; task < hi; task++) {
        int64_t output = task / j->chunks, chunk = task % j->chunks;
        int64_t start = chunk * FNN_CHUNK, n = fnn_min64(FNN_CHUNK, j->length - start);
        fnn_tensor run = j->reduced;
        run.data = (char *)kept_data(&j->kept, output);
        const char *x = run.data + start * size;
        if (!in_place) {
            fnn_gather(buffer, j->dtype, &run, start, n);
            x = buffer;
        }
        char *out = j->partial + (chunk * j->outputs + output) * size;
        fnn_reduce_chunk(j->op, j->dtype, n, 1, x, 1, out);
    }
}

/* The pairwise tree over [chunks][outputs], in place; the result is row 0. */
static void join(int op, int dtype, int64_t chunks, int64_t outputs, char *partial) {
    ptrdiff_t row = outputs * fnn_dtype_size(dtype);
    for (int64_t step = 1; step < chunks; step *= 2) {
        for (int64_t i = 0; i + step < chunks; i += 2 * step) {
            fnn_k->reduce_join[FNN_F64(dtype)](op, outputs, partial + (i + step) * row,
                                               partial + i * row);
        }
    }
}

void fnn_reduce_join_chunks(int op, int dtype, int64_t chunks, int64_t outputs,
                            char *partial, char *y) {
    size_t bytes = (size_t)(outputs * fnn_dtype_size(dtype));
    if (chunks == 0) {
        memset(y, 0, bytes);
    } else if (chunks > 1) {
        join(op, dtype, chunks, outputs, partial);
        memcpy(y, partial, bytes);
    }
}

void fnn_sum_contiguous(int dtype, int64_t n, const void *x, void *y, void *scratch) {
    ptrdiff_t size = fnn_dtype_size(dtype);
    int64_t chunks = fnn_chunks(n);
    for (int64_t i = 0; i < chunks; i++) {
        ptrdiff_t length = fnn_min64(FNN_CHUNK, n - i * FNN_CHUNK);
        fnn_k->reduce[FNN_F64(dtype)](FNN_SUM, length,
                                      (const char *)x + i * FNN_CHUNK * size,
                                      chunks > 1 ? (char *)scratch + i * size : y);
    }
    fnn_reduce_join_chunks(FNN_SUM, dtype, chunks, 1, scratch, y);
}

fnn_status fnn_run_reduce(fnn_call *c) {
    const fnn_tensor *x = c->in[0], *y = &c->out[0];
    job j = {.op = c->op->kernel, .dtype = x->dtype};
    fnn_reduce_split(c, &j.kept, &j.reduced);
    j.outputs = fnn_numel(&j.kept);
    j.length = fnn_numel(&j.reduced);
    if (j.outputs == 0) {
        return FNN_OK;
    }
    if (j.length == 0) { /* a sum: infer refused the others */
        fnn_reduce_join_chunks(j.op, y->dtype, 0, j.outputs, NULL, y->data);
        return FNN_OK;
    }
    fnn_coalesce(&j.kept);
    fnn_coalesce(&j.reduced);
    if (!fnn_is_float(x->dtype)) {
        fnn_reduce_integers(j.op, &j.kept, &j.reduced, y);
        return FNN_OK;
    }
    j.chunks = fnn_chunks(j.length);
    j.partial = j.chunks > 1 ? c->workspace : y->data;
    int last = j.kept.ndim - 1;
    j.by_columns = last >= 0 && j.kept.stride[last] == 1 && j.kept.shape[last] >= 8 &&
                   j.reduced.ndim <= 1 &&
                   !(j.reduced.ndim == 1 && j.reduced.stride[0] == 1);
    if (j.by_columns) {
        int64_t width = j.kept.shape[last];
        int64_t tasks =
            j.chunks * (j.outputs / width) * ((width + COLUMNS - 1) / COLUMNS);
        int64_t per_task = fnn_min64(j.length, FNN_CHUNK) * fnn_min64(width, COLUMNS);
        fnn_parallel_for(tasks, GRAIN_ELEMENTS / per_task + 1, reduce_columns, &j);
    } else {
        int64_t per_task = fnn_min64(j.length, FNN_CHUNK);
        fnn_parallel_for(j.chunks * j.outputs, GRAIN_ELEMENTS / per_task + 1,
                         reduce_chunks, &j);
    }
    fnn_reduce_join_chunks(j.op, j.dtype, j.chunks, j.outputs, j.partial, y->data);
    return FNN_OK;
}

void fnn_reduce_divide(const fnn_tensor *y, int64_t count) {
    double divisor = (double)count;
    char splat[16 * 8];
    fnn_convert(splat, y->dtype, fnn_dtype_size(y->dtype), &divisor, FNN_FLOAT64, 0,
                16);
    const void *in[2] = {y->data, splat};
    fnn_map_kernel(FNN_MAP_div, y->dtype)(fnn_numel(y), y->data, in,
                                          (ptrdiff_t[]){1, 0});
}

/* The sum, then one division by the count. */
fnn_status fnn_run_mean(fnn_call *c) {
    fnn_tensor kept, reduced;
    FNN_TRY(fnn_run_reduce(c));
    fnn_reduce_split(c, &kept, &reduced);
    fnn_reduce_divide(&c->out[0], fnn_numel(&reduced));
    return FNN_OK;
}

/* The first index of the extremum; the first NaN wins, as in NumPy and PyTorch. */
#define SCAN(S, is_nan)                                                        \
    for (int64_t k = 0; k < n; k++) {                                          \
        S v = ((const S *)buffer)[k];                                          \
        if ((pos == 0 && k == 0) ||                                            \
            (!(is_nan(best)) && ((max ? v > best : v < best) || is_nan(v)))) { \
            best = v;                                                          \
            index = pos + k;                                                   \
        }                                                                      \
    }
#define NEVER(x) false
#define UNEQUAL(x) ((x) != (x))

fnn_status fnn_run_arg(fnn_call *c) {
    fnn_tensor kept, reduced;
    fnn_reduce_split(c, &kept, &reduced);
    int64_t outputs = fnn_numel(&kept), length = fnn_numel(&reduced);
    bool max = c->op->kernel == FNN_MAX, is_float = fnn_is_float(c->in[0]->dtype);
    int64_t *y = (int64_t *)(void *)c->out[0].data;
    _Alignas(64) char buffer[FNN_CHUNK * 8];
    for (int64_t i = 0; i < outputs; i++) {
        fnn_tensor run = reduced;
        run.data = (char *)kept_data(&kept, i);
        int64_t index = 0, best_int = 0;
        double best_float = 0;
        for (int64_t pos = 0; pos < length; pos += FNN_CHUNK) {
            int64_t n = fnn_min64(FNN_CHUNK, length - pos);
            fnn_gather(buffer, is_float ? FNN_FLOAT64 : FNN_INT64, &run, pos, n);
            if (is_float) {
                double best = best_float;
                SCAN(double, UNEQUAL)
                best_float = best;
            } else {
                int64_t best = best_int;
                SCAN(int64_t, NEVER)
                best_int = best;
            }
        }
        y[i] = index;
    }
    return FNN_OK;
}

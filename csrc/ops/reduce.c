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

#define COLUMNS 128 /* columns a task takes at once */
#define GRAIN_ELEMENTS 16384
#define FEW_CHUNKS 32 /* of an output that one task reduces, from start to end */

typedef struct {
    int op, dtype;      /* of the arithmetic */
    fnn_tensor kept;    /* the kept dimensions of x, coalesced */
    fnn_tensor reduced; /* the reduced ones */
    int64_t outputs, length, chunks;
    bool by_columns;
    int64_t column_blocks; /* per chunk, when by columns */
    char *partial;         /* [chunks][outputs] */
    char *y;
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
        fnn_k->reduce[FNN_F64(dtype)](op, n, x, y, 1);
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

static const char *element_at(const fnn_tensor *t, int64_t index) {
    const char *x = t->data;
    for (int d = t->ndim - 1; d >= 0; d--) {
        x += index % t->shape[d] * t->stride[d] * fnn_dtype_size(t->dtype);
        index /= t->shape[d];
    }
    return x;
}

static bool in_a_row(const fnn_tensor *reduced) {
    return reduced->ndim == 0 || (reduced->ndim == 1 && reduced->stride[0] == 1);
}

/* y[c * step] from `chunks` chunks of an output, the first of them number `chunk`. */
static void reduce_stretch(const job *j, int64_t output, int64_t chunk, int64_t chunks,
                           char *y, ptrdiff_t step) {
    _Alignas(64) char buffer[FNN_CHUNK * 8];
    const fnn_reduce_fn reduce = fnn_k->reduce[FNN_F64(j->dtype)];
    const ptrdiff_t size = fnn_dtype_size(j->dtype);
    int64_t at = chunk * FNN_CHUNK;
    int64_t n = fnn_min64(chunks * FNN_CHUNK, j->length - at);
    const char *data = element_at(&j->kept, output);
    if (in_a_row(&j->reduced)) {
        reduce(j->op, n, data + at * size, y, step);
        return;
    }
    fnn_tensor all = j->reduced;
    all.data = (char *)data;
    const int64_t run = all.stride[all.ndim - 1] == 1 ? all.shape[all.ndim - 1] : 0;
    for (int64_t m; n > 0; n -= m, at += m, y += step * size) {
        m = fnn_min64(n, FNN_CHUNK);
        const int64_t left = run > 0 ? run - at % run : 0; /* side by side in memory */
        if (left >= m) { /* as many chunks as lie there */
            m = left >= n ? n : left / FNN_CHUNK * FNN_CHUNK;
            reduce(j->op, m, element_at(&all, at), y, step);
            y += (fnn_ceil_div(m, FNN_CHUNK) - 1) * step * size;
        } else {
            fnn_gather(buffer, j->dtype, &all, at, m);
            reduce(j->op, m, buffer, y, 1);
        }
    }
}

static void reduce_chunks(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    for (int64_t task = lo; task < hi;) {
        int64_t output = task / j->chunks, chunk = task % j->chunks;
        int64_t chunks = fnn_min64(j->chunks - chunk, hi - task);
        char *y = j->partial + (chunk * j->outputs + output) * fnn_dtype_size(j->dtype);
        reduce_stretch(j, output, chunk, chunks, y, j->outputs);
        task += chunks;
    }
}

static void reduce_outputs(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    const ptrdiff_t size = fnn_dtype_size(j->dtype);
    double partial[FEW_CHUNKS]; /* room for either dtype */
    if (j->chunks == 1 && in_a_row(&j->reduced) && j->kept.ndim == 1) { /* short rows */
        const fnn_reduce_fn reduce = fnn_k->reduce[FNN_F64(j->dtype)];
        const ptrdiff_t step = j->kept.stride[0] * size;
        for (int64_t output = lo; output < hi; output++) {
            reduce(j->op, j->length, j->kept.data + output * step, j->y + output * size,
                   1);
        }
        return;
    }
    for (int64_t output = lo; output < hi; output++) {
        reduce_stretch(j, output, 0, j->chunks, (char *)partial, 1);
        fnn_k->reduce_join[FNN_F64(j->dtype)](j->op, j->chunks, 1, partial);
        memcpy(j->y + output * size, partial, (size_t)size);
    }
}

void fnn_reduce_join_chunks(int op, int dtype, int64_t chunks, int64_t outputs,
                            char *partial, char *y) {
    size_t bytes = (size_t)(outputs * fnn_dtype_size(dtype));
    if (chunks == 0) {
        memset(y, 0, bytes);
    } else if (chunks > 1) {
        fnn_k->reduce_join[FNN_F64(dtype)](op, chunks, outputs, partial);
        memcpy(y, partial, bytes);
    }
}

void fnn_sum_contiguous(int dtype, int64_t n, const void *x, void *y, void *scratch) {
    int64_t chunks = fnn_chunks(n);
    fnn_k->reduce[FNN_F64(dtype)](FNN_SUM, n, x, chunks > 1 ? scratch : y, 1);
    fnn_reduce_join_chunks(FNN_SUM, dtype, chunks, 1, scratch, y);
}

fnn_status fnn_run_reduce(fnn_call *c) {
    const fnn_tensor *x = c->in[0], *y = &c->out[0];
    job j = {.op = c->op->kernel, .dtype = x->dtype, .y = y->data};
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
    } else if (j.chunks <= FEW_CHUNKS && j.outputs > 1) {
        fnn_parallel_for(j.outputs, GRAIN_ELEMENTS / j.length + 1, reduce_outputs, &j);
        return FNN_OK;
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

/* ---- where the extremum is ------------------------------------------------------------ */

typedef struct {
    int op, dtype; /* of the arithmetic: the integers' is int64 */
    fnn_tensor kept, reduced;
    int64_t length;
    int64_t *y;
} arg_job;

/* A number of the arithmetic's dtype. */
typedef union {
    float f;
    double d;
    int64_t i;
} number;

/* Whether v comes before best: it is further out, or the first NaN. */
#define BEYOND(v, best) \
    ((op == FNN_MAX ? (v) > (best) : (v) < (best)) || ((v) != (v) && (best) == (best)))
/* The first of x[0..n) that is the extremum, or NaN where that is. */
#define FIND(S)                                                           \
    for (const S *v = x, best = *(const S *)extremum; at < n - 1; at++) { \
        if (v[at] == best || (best != best && v[at] != v[at])) {          \
            break;                                                        \
        }                                                                 \
    }
static int64_t find(int dtype, int64_t n, const void *x, const void *extremum) {
    int64_t at = 0;
    if (dtype == FNN_FLOAT32) {
        FIND(float)
    } else if (dtype == FNN_FLOAT64) {
        FIND(double)
    } else {
        FIND(int64_t)
    }
    return at;
}

static void extremum_of(int op, int dtype, int64_t n, const void *x, void *y) {
    if (fnn_is_float(dtype)) {
        fnn_k->reduce[FNN_F64(dtype)](op, n, x, y, 1);
        return;
    }
    const int64_t *v = x;
    int64_t best = v[0];
    for (int64_t i = 1; i < n; i++) {
        best = BEYOND(v[i], best) ? v[i] : best;
    }
    memcpy(y, &best, sizeof best);
}

static bool beyond(int op, int dtype, number v, number best) {
    return dtype == FNN_FLOAT32   ? BEYOND(v.f, best.f)
           : dtype == FNN_FLOAT64 ? BEYOND(v.d, best.d)
                                  : BEYOND(v.i, best.i);
}

/* Chunk by chunk: its extremum by the vector kernel, its place only where that is the
 * furthest so far. The first one wins, and the first NaN, as in NumPy and PyTorch. */
static void find_arg(void *context, int64_t lo, int64_t hi) {
    const arg_job *j = context;
    ptrdiff_t size = fnn_dtype_size(j->dtype);
    _Alignas(64) char buffer[FNN_CHUNK * 8];
    bool in_place = j->kept.dtype == j->dtype && in_a_row(&j->reduced);
    for (int64_t i = lo; i < hi; i++) {
        fnn_tensor run = j->reduced;
        run.data = (char *)element_at(&j->kept, i);
        int64_t index = 0;
        number best = {0}, here;
        for (int64_t pos = 0; pos < j->length; pos += FNN_CHUNK) {
            int64_t n = fnn_min64(FNN_CHUNK, j->length - pos);
            const char *x = run.data + pos * size;
            if (!in_place) {
                fnn_gather(buffer, j->dtype, &run, pos, n);
                x = buffer;
            }
            extremum_of(j->op, j->dtype, n, x, &here);
            if (pos == 0 || beyond(j->op, j->dtype, here, best)) {
                best = here;
                index = pos + find(j->dtype, n, x, &here);
            }
        }
        j->y[i] = index;
    }
}

fnn_status fnn_run_arg(fnn_call *c) {
    arg_job j = {.op = c->op->kernel, .y = (int64_t *)(void *)c->out[0].data};
    int dtype = c->in[0]->dtype;
    j.dtype = fnn_is_float(dtype) ? dtype : FNN_INT64;
    fnn_reduce_split(c, &j.kept, &j.reduced);
    j.length = fnn_numel(&j.reduced);
    fnn_coalesce(&j.reduced);
    fnn_parallel_for(fnn_numel(&j.kept), GRAIN_ELEMENTS / fnn_max64(j.length, 1) + 1,
                     find_arg, &j);
    return FNN_OK;
}

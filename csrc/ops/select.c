/* cat, index_select and their gradients: rows copied, or added in a fixed order. */
#include "cpu.h"
#include "ops.h"

/* ---- cat ---------------------------------------------------------------------------- */

fnn_status fnn_infer_cat(fnn_call *c) {
    if (c->n_in == 0) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "cat: expected at least one tensor, got none");
    }
    const fnn_tensor *first = c->in[0];
    fnn_tensor *y = &c->out[0];
    int64_t dim = c->attr[0].i, total = 0;
    if (first->ndim == 0) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "cat: expected tensors with dimensions, got shape ()");
    }
    FNN_TRY(fnn_check_dim(c, first, &dim));
    int dtype = first->dtype;
    for (int i = 0; i < c->n_in; i++) {
        const fnn_tensor *t = c->in[i];
        bool fits = t->ndim == first->ndim;
        for (int d = 0; fits && d < t->ndim; d++) {
            fits = d == dim || t->shape[d] == first->shape[d];
        }
        if (!fits) {
            return fnn_fail(
                c->err, FNN_ERR_VALUE,
                "cat: expected shapes equal to %s except in dimension %lld, got "
                "%s at position %d",
                FNN_SHAPE(first), (long long)dim, FNN_SHAPE(t), i);
        }
        total += t->shape[dim];
        dtype = t->dtype > dtype ? t->dtype : dtype;
    }
    fnn_like(y, first, dtype);
    y->shape[dim] = total;
    fnn_set_contiguous(y);
    return fnn_check_size(c, y);
}

fnn_status fnn_run_cat(fnn_call *c) {
    int64_t dim = c->attr[0].i + (c->attr[0].i < 0 ? c->out[0].ndim : 0), at = 0;
    for (int i = 0; i < c->n_in; i++) {
        fnn_tensor part = c->out[0];
        fnn_narrow(&part, dim, at, c->in[i]->shape[dim]);
        at += c->in[i]->shape[dim];
        fnn_copy(&part, c->in[i]);
    }
    return FNN_OK;
}

/* ---- index_select and index_add ----------------------------------------------------- */

/* The call's index, of any integer dtype and shape, into found: counted from the start.
 * The status says where it leaves [least, size). */
static fnn_status read_index(const fnn_call *c, int64_t least, int64_t size,
                             int64_t *found) {
    const int64_t n = fnn_numel(c->in[1]);
    if (n > 0) {
        fnn_gather(found, FNN_INT64, c->in[1], 0, n);
    }
    for (int64_t i = 0; i < n; i++) {
        if (found[i] < least || found[i] >= size) {
            return fnn_fail(
                c->err, FNN_ERR_INDEX,
                "%s: expected indices from %lld to %lld, got %lld at position %lld",
                c->op->name, (long long)least, (long long)(size - 1),
                (long long)found[i], (long long)i);
        }
        found[i] += found[i] < 0 ? size : 0;
    }
    return FNN_OK;
}

static fnn_status check_index(const fnn_call *c) {
    FNN_TRY(fnn_expect_integer(c, 1, "index"));
    if (c->in[1]->ndim != 1) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected index of shape (n,), got %s", c->op->name,
                        FNN_SHAPE(c->in[1]));
    }
    if (c->in[0]->ndim == 0) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected a tensor with dimensions, got shape ()",
                        c->op->name);
    }
    return FNN_OK;
}

fnn_status fnn_infer_index_select(fnn_call *c) {
    int64_t dim = c->attr[0].i;
    fnn_tensor *y = &c->out[0];
    FNN_TRY(check_index(c));
    FNN_TRY(fnn_check_dim(c, c->in[0], &dim));
    fnn_like(y, c->in[0], c->in[0]->dtype);
    y->shape[dim] = c->in[1]->shape[0];
    fnn_set_contiguous(y);
    return fnn_check_size(c, y);
}

int64_t fnn_workspace_index_select(const fnn_call *c) {
    return fnn_numel(c->in[1]) * (int64_t)sizeof(int64_t);
}

typedef struct {
    const char *x;
    char *y;
    const int64_t *index; /* (n,), all of them checked */
    int64_t n, size;
    ptrdiff_t inner; /* bytes of a row */
    bool far;        /* x is larger than the caches */
} select_job;

/* Rows between these sizes are fetched ahead by hand: the processor's own prefetching
 * needs some lines to get going and stops at a page's end, and smaller rows overlap by
 * themselves. Twice each, since a prefetch is dropped where too many are under way: at
 * about latency times bandwidth, and again at three times that. */
#define PREFETCH_LEAST 512
#define PREFETCH_MOST (64 << 10)
#define PREFETCH_AHEAD 3072
#define LINE 64
#define SELECT_GRAIN_BYTES (1 << 20)

static void fetch_rows(const select_job *j, const char *x, char *y, int64_t lo,
                       int64_t hi) {
    const ptrdiff_t inner = j->inner, whole = inner / LINE * LINE;
    const int64_t near = 1 + (PREFETCH_AHEAD - 1) / inner;
    for (int64_t i = lo; i < hi; i++) {
        const char *row = x + j->index[i] * inner;
        const char *next = x + j->index[fnn_min64(i + near, hi - 1)] * inner;
        const char *later = x + j->index[fnn_min64(i + 3 * near, hi - 1)] * inner;
        char *to = y + i * inner;
        for (ptrdiff_t at = 0; at < whole; at += LINE) {
            __builtin_prefetch(next + at, 0, 3);
            __builtin_prefetch(later + at, 0, 0);
            memcpy(to + at, row + at, LINE);
        }
        __builtin_prefetch(next + inner - 1);
        __builtin_prefetch(later + inner - 1);
        memcpy(to + whole, row + whole, (size_t)(inner - whole));
    }
}

#define COPY_ROWS(bytes)                                             \
    for (int64_t i = lo; i < hi; i++) {                              \
        memcpy(y + i * (bytes), x + j->index[i] * (bytes), (bytes)); \
    }                                                                \
    break

/* y[i] = x[index[i]] for lo <= i < hi. */
static void copy_rows(const select_job *j, const char *x, char *y, int64_t lo,
                      int64_t hi) {
    if (j->far && j->inner >= PREFETCH_LEAST && j->inner <= PREFETCH_MOST) {
        fetch_rows(j, x, y, lo, hi);
        return;
    }
    switch (j->inner) { /* single elements: no call of memcpy */
    case 1:
        COPY_ROWS(1);
    case 4:
        COPY_ROWS(4);
    case 8:
        COPY_ROWS(8);
    default:
        COPY_ROWS((size_t)j->inner);
    }
}

/* Rows [lo, hi) of outer * n. */
static void select_range(void *context, int64_t lo, int64_t hi) {
    const select_job *j = context;
    while (lo < hi) {
        int64_t outer = lo / j->n, first = lo % j->n;
        int64_t last = fnn_min64(j->n, first + hi - lo);
        copy_rows(j, j->x + outer * j->size * j->inner, j->y + outer * j->n * j->inner,
                  first, last);
        lo += last - first;
    }
}

/* y = x's slices along dim that index[n] names, all of them checked. */
static void select_slices(const fnn_tensor *x, const fnn_tensor *y, int64_t dim,
                          int64_t n, const int64_t *index) {
    if (fnn_numel(y) == 0) {
        return;
    }
    if (!fnn_is_contiguous(x)) {
        for (int64_t i = 0; i < n; i++) {
            fnn_tensor dst = *y, src = *x;
            fnn_narrow(&dst, dim, i, 1);
            fnn_narrow(&src, dim, index[i], 1);
            fnn_copy(&dst, &src);
        }
        return;
    }
    select_job j = {
        .x = x->data, .y = y->data, .index = index, .n = n, .size = x->shape[dim]};
    int64_t outer = 1;
    j.inner = fnn_dtype_size(x->dtype);
    j.far = fnn_numel(x) * j.inner > fnn_cpu_get()->l2;
    for (int d = 0; d < x->ndim; d++) {
        j.inner *= d > dim ? x->shape[d] : 1;
        outer *= d < dim ? x->shape[d] : 1;
    }
    fnn_parallel_for(outer * n, SELECT_GRAIN_BYTES / j.inner + 1, select_range, &j);
}

fnn_status fnn_run_index_select(fnn_call *c) {
    const fnn_tensor *x = c->in[0];
    int64_t dim = c->attr[0].i + (c->attr[0].i < 0 ? x->ndim : 0);
    int64_t n = c->in[1]->shape[0], size = x->shape[dim];
    int64_t *index = c->workspace;
    FNN_TRY(read_index(c, -size, size, index)); /* all checked before any is used */
    select_slices(x, &c->out[0], dim, n, index);
    return FNN_OK;
}

/* y = weight's rows at index, of any shape, from 0. Its attributes are the gradient's. */
fnn_status fnn_infer_embedding(fnn_call *c) {
    const fnn_tensor *weight = c->in[0], *index = c->in[1];
    fnn_tensor *y = &c->out[0];
    FNN_TRY(fnn_expect_float(c, 0, "weight"));
    FNN_TRY(fnn_expect_integer(c, 1, "input"));
    if (weight->ndim != 2) {
        return fnn_fail(
            c->err, FNN_ERR_VALUE,
            "embedding: expected weight (num_embeddings, embedding_dim), got shape %s",
            FNN_SHAPE(weight));
    }
    if (index->ndim >= FNN_MAX_DIMS) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "embedding: expected input of at most %d dimensions, got %d",
                        FNN_MAX_DIMS - 1, index->ndim);
    }
    int64_t padding = c->attr[0].i;
    if (padding < -1 || padding >= weight->shape[0]) {
        return fnn_fail(
            c->err, FNN_ERR_VALUE,
            "embedding: expected padding_idx below %lld, or -1 for none, got "
            "%lld",
            (long long)weight->shape[0], (long long)padding);
    }
    fnn_like(y, index, weight->dtype);
    y->shape[y->ndim++] = weight->shape[1];
    fnn_set_contiguous(y);
    return fnn_check_size(c, y);
}

fnn_status fnn_run_embedding(fnn_call *c) {
    const fnn_tensor *weight = c->in[0];
    fnn_tensor y = c->out[0];
    int64_t *index = c->workspace;
    FNN_TRY(read_index(c, 0, weight->shape[0], index));
    y.ndim = 2;
    y.shape[0] = fnn_numel(c->in[1]);
    y.shape[1] = weight->shape[1];
    fnn_set_contiguous(&y);
    select_slices(weight, &y, 0, y.shape[0], index);
    return FNN_OK;
}

/* y = zeros with `size` along dim; y[index[i]] += source[i], in increasing i, but where
 * index[i] is `skip`. */
fnn_status fnn_infer_index_add(fnn_call *c) {
    const fnn_tensor *source = c->in[0];
    int64_t dim = c->attr[0].i, size = c->attr[1].i;
    fnn_tensor *y = &c->out[0];
    FNN_TRY(check_index(c));
    FNN_TRY(fnn_check_dim(c, source, &dim));
    if (size < 0 || source->shape[dim] != c->in[1]->shape[0]) {
        return fnn_fail(
            c->err, FNN_ERR_VALUE,
            "index_add: expected one index for each of %lld slices, got %lld",
            (long long)source->shape[dim], (long long)c->in[1]->shape[0]);
    }
    fnn_like(y, source, source->dtype);
    y->shape[dim] = size;
    fnn_set_contiguous(y);
    return fnn_check_size(c, y);
}

typedef struct {
    const fnn_tensor *x, *y;
    const int64_t *index; /* (n,), all of them checked */
    int64_t n, size, skip, inner;
    bool dense; /* x lies contiguous */
} add_job;

static void zero_range(void *context, int64_t lo, int64_t hi) {
    memset((char *)context + lo, 0, (size_t)(hi - lo));
}

/* Columns [lo, hi) of outer * inner: each thread adds up its own, over all of index. */
static void add_range(void *context, int64_t lo, int64_t hi) {
    const add_job *j = context;
    const int dtype = j->x->dtype;
    const ptrdiff_t item = fnn_dtype_size(dtype);
    fnn_map_fn add = fnn_map_kernel(FNN_MAP_add, dtype);
    _Alignas(64) char buffer[FNN_CHUNK * 8];
    while (lo < hi) {
        const int64_t o = lo / j->inner, first = lo % j->inner;
        const int64_t last = fnn_min64(j->inner, first + hi - lo);
        for (int64_t i = 0; i < j->n; i++) {
            if (j->index[i] == j->skip) {
                continue;
            }
            const int64_t from = (o * j->n + i) * j->inner;
            char *to = j->y->data + (o * j->size + j->index[i]) * j->inner * item;
            for (int64_t at = first; at < last; at += FNN_CHUNK) {
                const int64_t m = fnn_min64(FNN_CHUNK, last - at);
                const char *source = j->x->data + (from + at) * item;
                if (!j->dense) {
                    fnn_gather(buffer, dtype, j->x, from + at, m);
                    source = buffer;
                }
                add(m, to + at * item, (const void *[]){to + at * item, source},
                    (ptrdiff_t[]){1, 1});
            }
        }
        lo += last - first;
    }
}

fnn_status fnn_run_index_add(fnn_call *c) {
    const fnn_tensor *x = c->in[0], *y = &c->out[0];
    int64_t dim = c->attr[0].i + (c->attr[0].i < 0 ? x->ndim : 0), outer = 1;
    add_job j = {.x = x,
                 .y = y,
                 .index = c->workspace,
                 .n = c->in[1]->shape[0],
                 .size = y->shape[dim],
                 .skip = c->attr[2].i,
                 .inner = 1,
                 .dense = fnn_is_contiguous(x)};
    FNN_TRY(read_index(c, -j.size, j.size, c->workspace));
    for (int d = 0; d < x->ndim; d++) {
        j.inner *= d > dim ? x->shape[d] : 1;
        outer *= d < dim ? x->shape[d] : 1;
    }
    fnn_parallel_for(fnn_numel(y) * fnn_dtype_size(y->dtype), SELECT_GRAIN_BYTES,
                     zero_range, y->data);
    if (fnn_numel(x) > 0) {
        fnn_parallel_for(outer * j.inner, FNN_MAP_GRAIN / j.n + 1, add_range, &j);
    }
    return FNN_OK;
}

/* ---- unslice: zeros of `size` along dim with x at start, start + step, ... ---------- */

fnn_status fnn_infer_unslice(fnn_call *c) {
    const fnn_tensor *x = c->in[0];
    fnn_tensor *y = &c->out[0];
    int64_t size = c->attr[0].i, dim = c->attr[1].i, start = c->attr[2].i;
    int64_t step = c->attr[3].i, last;
    if (x->ndim == 0) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "unslice: expected a tensor with dimensions, got shape ()");
    }
    FNN_TRY(fnn_check_dim(c, x, &dim));
    int64_t n = x->shape[dim];
    bool fits = size >= 0 && step != 0;
    if (fits && n > 0) {
        fits = start >= 0 && start < size &&
               !__builtin_mul_overflow(n - 1, step, &last) &&
               !__builtin_add_overflow(start, last, &last) && last >= 0 && last < size;
    }
    if (!fits) {
        return fnn_fail(
            c->err, FNN_ERR_VALUE,
            "unslice: expected %lld slices within size %lld, got start %lld, "
            "step %lld",
            (long long)n, (long long)size, (long long)start, (long long)step);
    }
    fnn_like(y, x, x->dtype);
    y->shape[dim] = size;
    fnn_set_contiguous(y);
    return fnn_check_size(c, y);
}

fnn_status fnn_run_unslice(fnn_call *c) {
    fnn_tensor part = c->out[0];
    int64_t dim = c->attr[1].i + (c->attr[1].i < 0 ? part.ndim : 0);
    memset(part.data, 0, (size_t)(fnn_numel(&part) * fnn_dtype_size(part.dtype)));
    if (fnn_numel(c->in[0]) == 0) {
        return FNN_OK;
    }
    fnn_narrow(&part, dim, c->attr[2].i, c->in[0]->shape[dim]);
    part.stride[dim] *= c->in[0]->shape[dim] > 1 ? c->attr[3].i : 1;
    fnn_copy(&part, c->in[0]);
    return FNN_OK;
}

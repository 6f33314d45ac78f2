/* gather, scatter and their kin: elements, or slices, chosen by an index tensor. */
#include "ops.h"

static fnn_status out_of_range(const fnn_call *c, int64_t size, int64_t value,
                               int64_t position) {
    return fnn_fail(c->err, FNN_ERR_INDEX,
                    "%s: expected indices from 0 to %lld, got %lld at position %lld",
                    c->op->name, (long long)(size - 1), (long long)value,
                    (long long)position);
}

/* ---- as_index ----------------------------------------------------------------------- */

fnn_status fnn_infer_as_index(fnn_call *c) {
    FNN_TRY(fnn_expect_integer(c, 0, "index"));
    if (c->attr[0].i < 0) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected size of at least 0, got %lld", c->op->name,
                        (long long)c->attr[0].i);
    }
    fnn_like(&c->out[0], c->in[0], FNN_INT64);
    return fnn_check_size(c, &c->out[0]);
}

fnn_status fnn_run_as_index(fnn_call *c) {
    int64_t size = c->attr[0].i, least = c->attr[1].i ? -size : 0;
    int64_t *y = (int64_t *)(void *)c->out[0].data, n = fnn_numel(&c->out[0]);
    if (n > 0) {
        fnn_gather(y, FNN_INT64, c->in[0], 0, n);
    }
    for (int64_t i = 0; i < n; i++) {
        if (y[i] < least || y[i] >= size) {
            return fnn_fail(c->err, FNN_ERR_INDEX,
                            "%s: expected indices from %lld to %lld, got %lld",
                            c->op->name, (long long)least, (long long)(size - 1),
                            (long long)y[i]);
        }
        y[i] += y[i] < 0 ? size : 0;
    }
    return FNN_OK;
}

/* ---- gather and scatter ------------------------------------------------------------- */

/* index: x's dimensions, no larger than x but along dim. */
static fnn_status check_index(fnn_call *c, int64_t *dim) {
    const fnn_tensor *x = c->in[0], *index = c->in[1];
    FNN_TRY(fnn_expect_integer(c, 1, "index"));
    FNN_TRY(fnn_check_dim(c, x, dim));
    bool fits = x->ndim == index->ndim;
    for (int d = 0; fits && d < x->ndim; d++) {
        fits = d == *dim || index->shape[d] <= x->shape[d];
    }
    if (!fits) {
        return fnn_fail(
            c->err, FNN_ERR_VALUE,
            "%s: expected index with the dimensions of %s, no larger except in "
            "dimension %lld, got %s",
            c->op->name, FNN_SHAPE(x), (long long)*dim, FNN_SHAPE(index));
    }
    return FNN_OK;
}

fnn_status fnn_infer_gather(fnn_call *c) {
    int64_t dim = c->attr[0].i;
    FNN_TRY(check_index(c, &dim));
    fnn_like(&c->out[0], c->in[1], c->in[0]->dtype);
    return fnn_check_size(c, &c->out[0]);
}

fnn_status fnn_infer_scatter(fnn_call *c) {
    const fnn_tensor *x = c->in[0], *index = c->in[1], *src = c->in[2];
    int64_t dim = c->attr[0].i;
    FNN_TRY(check_index(c, &dim));
    bool number = src->ndim == 0, fits = number || src->ndim == index->ndim;
    for (int d = 0; fits && !number && d < index->ndim; d++) {
        fits = src->shape[d] == index->shape[d];
    }
    if (!fits) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected src of index's shape %s, or one number, got %s",
                        c->op->name, FNN_SHAPE(index), FNN_SHAPE(src));
    }
    if (src->dtype != x->dtype && !(c->weak_in >> 2 & 1)) {
        return fnn_fail(c->err, FNN_ERR_TYPE, "%s: expected src of dtype %s, got %s",
                        c->op->name, fnn_dtype_name(x->dtype),
                        fnn_dtype_name(src->dtype));
    }
    fnn_like(&c->out[0], x, x->dtype);
    return fnn_check_size(c, &c->out[0]);
}

typedef enum { GATHER, SCATTER, ADD } mode;

/* small[j] = big[at[j]], or back, or added, for a run of j; steps in elements */
#define EACH(S, statement)                               \
    for (ptrdiff_t j = 0; j < n; j++) {                  \
        S *b = to_##S + j * big_step + at[j] * dim_step; \
        S *s = from_##S + j * small_step;                \
        statement;                                       \
    }
#define MOVE(S, PLUS)                                       \
    {                                                       \
        S *to_##S = (void *)big, *from_##S = (void *)small; \
        if (how == GATHER) {                                \
            EACH(S, *s = *b)                                \
        } else if (how == SCATTER) {                        \
            EACH(S, *b = *s)                                \
        } else {                                            \
            EACH(S, *b = (S)(PLUS))                         \
        }                                                   \
        break;                                              \
    }

static void move(mode how, int dtype, ptrdiff_t n, char *big, ptrdiff_t big_step,
                 ptrdiff_t dim_step, const int64_t *at, char *small,
                 ptrdiff_t small_step) {
    switch (dtype) {
    case FNN_BOOL:
        MOVE(uint8_t, *b | *s)
    case FNN_UINT8:
        MOVE(uint8_t, *b + *s)
    case FNN_INT32:
        MOVE(int32_t, (uint32_t)*b + (uint32_t)*s)
    case FNN_INT64:
        MOVE(int64_t, (uint64_t)*b + (uint64_t)*s)
    case FNN_FLOAT32:
        MOVE(float, *b + *s)
    default:
        MOVE(double, *b + *s)
    }
}

/* Walks index in logical order: big has an element wherever index, and its value along
 * dim, say; small has index's shape. */
static fnn_status walk(const fnn_call *c, mode how, const fnn_tensor *big, int64_t dim,
                       const fnn_tensor *small) {
    const fnn_tensor *index = c->in[1];
    ptrdiff_t size = fnn_dtype_size(big->dtype), item = fnn_dtype_size(index->dtype);
    int64_t n = fnn_numel(index), at[FNN_CHUNK];
    int last = index->ndim - 1;
    int64_t row = last < 0 ? 1 : index->shape[last];
    for (int64_t pos = 0; pos < n;) {
        int64_t m = fnn_min64(FNN_CHUNK, row - pos % row), rest = pos;
        char *b = big->data, *s = small->data;
        const char *i = index->data;
        for (int d = last; d >= 0; d--) {
            int64_t k = rest % index->shape[d];
            rest /= index->shape[d];
            b += d == dim ? 0 : k * big->stride[d] * size;
            s += k * small->stride[d] * size;
            i += k * index->stride[d] * item;
        }
        fnn_convert(at, FNN_INT64, 8, i, index->dtype,
                    last < 0 ? 0 : index->stride[last] * item, m);
        int64_t limit = last < 0 ? 1 : big->shape[dim];
        uint64_t wrong = 0;
        for (int64_t j = 0; j < m; j++) {
            wrong |= (uint64_t)at[j] >= (uint64_t)limit;
        }
        for (int64_t j = 0; wrong && j < m; j++) {
            if (at[j] < 0 || at[j] >= limit) {
                return out_of_range(c, limit, at[j], pos + j);
            }
        }
        move(how, big->dtype, m, b, last < 0 || last == dim ? 0 : big->stride[last],
             last < 0 ? 0 : big->stride[dim], at, s,
             last < 0 ? 0 : small->stride[last]);
        pos += m;
    }
    return FNN_OK;
}

fnn_status fnn_run_gather(fnn_call *c) {
    int64_t dim = c->attr[0].i + (c->attr[0].i < 0 ? c->in[0]->ndim : 0);
    return walk(c, GATHER, c->in[0], dim, &c->out[0]);
}

fnn_status fnn_run_scatter(fnn_call *c) {
    const fnn_tensor *x = c->in[0], *src = c->in[2];
    int64_t dim = c->attr[0].i + (c->attr[0].i < 0 ? x->ndim : 0);
    char number[8];
    fnn_tensor small = *c->in[1];
    small.data = src->data;
    for (int d = 0; d < small.ndim; d++) {
        small.stride[d] = src->ndim == 0 ? 0 : src->stride[d];
    }
    if (src->ndim == 0) { /* perhaps a Python number, of another dtype */
        fnn_convert(number, x->dtype, 8, src->data, src->dtype, 0, 1);
        small.data = number;
    }
    fnn_copy(&c->out[0], x);
    return walk(c, c->op->kernel ? ADD : SCATTER, &c->out[0], dim, &small);
}

/* ---- index_copy_ -------------------------------------------------------------------- */

fnn_status fnn_infer_index_copy(fnn_call *c) {
    const fnn_tensor *x = c->in[0], *index = c->in[1], *source = c->in[2];
    int64_t dim = c->attr[0].i;
    FNN_TRY(fnn_expect_integer(c, 1, "index"));
    FNN_TRY(fnn_check_dim(c, x, &dim));
    if (index->ndim != 1 || x->ndim == 0) {
        return fnn_fail(
            c->err, FNN_ERR_VALUE,
            "%s: expected x with dimensions and index of shape (n,), got %s and "
            "%s",
            c->op->name, FNN_SHAPE(x), FNN_SHAPE(index));
    }
    fnn_tensor slices = *x;
    slices.shape[dim] = index->shape[0];
    bool fits = source->ndim == 0 || source->ndim == x->ndim;
    for (int d = 0; fits && d < source->ndim; d++) {
        fits = source->shape[d] == slices.shape[d];
    }
    if (!fits) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected source of shape %s, or one number, got %s",
                        c->op->name, FNN_SHAPE(&slices), FNN_SHAPE(source));
    }
    c->out[0] = *x;
    return fnn_expect_own_memory(c, x);
}

fnn_status fnn_run_index_copy(fnn_call *c) {
    const fnn_tensor *x = c->in[0], *index = c->in[1], *source = c->in[2];
    int64_t dim = c->attr[0].i + (c->attr[0].i < 0 ? x->ndim : 0);
    int64_t n = index->shape[0], size = x->shape[dim], at[FNN_CHUNK];
    for (int pass = 0; pass < 2; pass++) { /* all checked before any is written */
        for (int64_t pos = 0; pos < n; pos += FNN_CHUNK) {
            int64_t m = fnn_min64(FNN_CHUNK, n - pos);
            fnn_gather(at, FNN_INT64, index, pos, m);
            for (int64_t j = 0; j < m; j++) {
                if (pass == 0 && (at[j] < 0 || at[j] >= size)) {
                    return out_of_range(c, size, at[j], pos + j);
                }
                if (pass == 1) {
                    fnn_tensor dst = *x, src = *source;
                    fnn_narrow(&dst, dim, at[j], 1);
                    if (src.ndim > 0) {
                        fnn_narrow(&src, dim, pos + j, 1);
                    }
                    fnn_copy(&dst, &src);
                }
            }
        }
    }
    return FNN_OK;
}

/* ---- nonzero ------------------------------------------------------------------------ */

fnn_status fnn_infer_nonzero(fnn_call *c) {
    const fnn_tensor *x = c->in[0];
    int64_t n = fnn_numel(x), count = 0;
    uint8_t found[FNN_CHUNK];
    for (int64_t pos = 0; pos < n; pos += FNN_CHUNK) {
        int64_t m = fnn_min64(FNN_CHUNK, n - pos);
        fnn_gather(found, FNN_BOOL, x, pos, m);
        for (int64_t j = 0; j < m; j++) {
            count += found[j] != 0;
        }
    }
    fnn_tensor *y = &c->out[0];
    y->dtype = FNN_INT64;
    y->ndim = 2;
    y->shape[0] = count;
    y->shape[1] = x->ndim;
    fnn_set_contiguous(y);
    return fnn_check_size(c, y);
}

fnn_status fnn_run_nonzero(fnn_call *c) {
    const fnn_tensor *x = c->in[0];
    int64_t n = fnn_numel(x), *y = (int64_t *)(void *)c->out[0].data;
    int64_t room = c->out[0].shape[0]; /* x may change between the two readings */
    uint8_t found[FNN_CHUNK];
    for (int64_t pos = 0; pos < n; pos += FNN_CHUNK) {
        int64_t m = fnn_min64(FNN_CHUNK, n - pos);
        fnn_gather(found, FNN_BOOL, x, pos, m);
        for (int64_t j = 0; j < m; j++) {
            if (!found[j] || room == 0) {
                continue;
            }
            int64_t rest = pos + j;
            for (int d = x->ndim - 1; d >= 0; d--) {
                y[d] = rest % x->shape[d];
                rest /= x->shape[d];
            }
            y += x->ndim;
            room--;
        }
    }
    memset(y, 0, (size_t)(room * x->ndim) * sizeof *y);
    return FNN_OK;
}

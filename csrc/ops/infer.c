/* Shape and dtype rules that many ops share. */
#include "ops.h"

#include <string.h>

static int category(int dtype) {
    return dtype == FNN_BOOL ? 0 : fnn_is_float(dtype) ? 2 : 1;
}

int fnn_promote(const fnn_call *c, int first) {
    /* strength 2: has dimensions, 1: zero-dimensional, 0: a Python number */
    int best[3] = {-1, -1, -1};
    for (int i = first; i < c->n_in; i++) {
        const fnn_tensor *t = c->in[i];
        int strength = t->ndim > 0 ? 2 : (c->weak_in >> i & 1) ? 0 : 1;
        int dtype = t->dtype;
        if (strength == 0 && dtype == FNN_FLOAT64) {
            dtype = FNN_FLOAT32; /* a Python float: the default float */
        }
        best[strength] = dtype > best[strength] ? dtype : best[strength];
    }
    int result = best[2];
    for (int s = 1; s >= 0; s--) {
        if (best[s] < 0) {
            continue;
        }
        if (result < 0 || category(best[s]) > category(result)) {
            result = best[s];
        }
    }
    return result;
}

fnn_status fnn_check_size(const fnn_call *c, const fnn_tensor *t) {
    int64_t n = fnn_dtype_size(t->dtype);
    bool empty = false;
    for (int d = 0; d < t->ndim; d++) {
        empty |= t->shape[d] == 0;
    }
    for (int d = 0; d < t->ndim && !empty; d++) {
        if (__builtin_mul_overflow(n, t->shape[d], &n) || n > INT64_MAX / 2) {
            return fnn_fail(c->err, FNN_ERR_MEMORY,
                            "%s: expected a result below 2^62 bytes, got shape %s",
                            c->op->name, FNN_SHAPE(t));
        }
    }
    return FNN_OK;
}

void fnn_like(fnn_tensor *t, const fnn_tensor *x, int dtype) {
    t->dtype = dtype;
    t->ndim = x->ndim;
    memcpy(t->shape, x->shape, sizeof(int64_t) * (size_t)x->ndim);
    fnn_set_contiguous(t);
}

fnn_status fnn_broadcast(fnn_call *c) {
    fnn_tensor *y = &c->out[0];
    int ndim = 0;
    for (int i = 0; i < c->n_in; i++) {
        ndim = c->in[i]->ndim > ndim ? c->in[i]->ndim : ndim;
    }
    y->ndim = ndim;
    for (int d = 0; d < ndim; d++) {
        y->shape[d] = 1;
    }
    for (int i = 0; i < c->n_in; i++) {
        const fnn_tensor *t = c->in[i];
        for (int d = 0; d < t->ndim; d++) {
            int64_t *size = &y->shape[ndim - t->ndim + d];
            if (t->shape[d] == *size || t->shape[d] == 1) {
                continue;
            }
            if (*size != 1) {
                return fnn_fail(c->err, FNN_ERR_VALUE,
                                "%s: expected shapes that broadcast, got %s and %s "
                                "(sizes must be equal or 1, counted from the right)",
                                c->op->name, FNN_SHAPE(c->in[0]), FNN_SHAPE(t));
            }
            *size = t->shape[d];
        }
    }
    fnn_set_contiguous(y);
    return fnn_check_size(c, y);
}

fnn_status fnn_check_dim(const fnn_call *c, const fnn_tensor *t, int64_t *dim) {
    int64_t ndim = t->ndim > 0 ? t->ndim : 1; /* a scalar takes dim 0 and -1 */
    if (*dim < -ndim || *dim >= ndim) {
        return fnn_fail(
            c->err, FNN_ERR_INDEX,
            "%s: expected a dimension from %lld to %lld for shape %s, got %lld",
            c->op->name, (long long)-ndim, (long long)(ndim - 1), FNN_SHAPE(t),
            (long long)*dim);
    }
    *dim += *dim < 0 ? ndim : 0;
    return FNN_OK;
}

fnn_status fnn_expect_float(const fnn_call *c, int input, const char *name) {
    int dtype = c->in[input]->dtype;
    if (!fnn_is_float(dtype)) {
        return fnn_fail(c->err, FNN_ERR_TYPE,
                        "%s: expected %s of dtype float32 or float64, got %s (hint: "
                        "%s.float())",
                        c->op->name, name, fnn_dtype_name(dtype), name);
    }
    return FNN_OK;
}

fnn_status fnn_expect_integer(const fnn_call *c, int input, const char *name) {
    int dtype = c->in[input]->dtype;
    if (fnn_is_float(dtype) || dtype == FNN_BOOL) {
        return fnn_fail(c->err, FNN_ERR_TYPE,
                        "%s: expected %s of dtype int64, int32 or uint8, got %s",
                        c->op->name, name, fnn_dtype_name(dtype));
    }
    return FNN_OK;
}

fnn_status fnn_expect_same_dtype(const fnn_call *c, int a, int b, const char *names) {
    int da = c->in[a]->dtype, db = c->in[b]->dtype;
    if (da != db) {
        return fnn_fail(c->err, FNN_ERR_TYPE,
                        "%s: expected %s of one dtype, got %s and %s (hint: .float() "
                        "makes float32 of either)",
                        c->op->name, names, fnn_dtype_name(da), fnn_dtype_name(db));
    }
    return FNN_OK;
}

/* ---- elementwise -------------------------------------------------------------------- */

static fnn_status infer_map(fnn_call *c, int dtype) {
    c->out[0].dtype = dtype;
    return fnn_broadcast(c);
}

fnn_status fnn_infer_arith(fnn_call *c) { return infer_map(c, fnn_promote(c, 0)); }

/* Python numbers beyond an integer dtype would wrap to others. Only -1 to -255 count down
 * from 256 in uint8, as in PyTorch. */
static fnn_status numbers_fit(const fnn_call *c, int dtype) {
    for (int i = 0; i < c->n_in && !fnn_is_float(dtype) && dtype != FNN_BOOL; i++) {
        if (c->weak_in >> i & 1) {
            int64_t number, back;
            char bytes[8];
            fnn_convert(&number, FNN_INT64, 8, c->in[i]->data, c->in[i]->dtype, 0, 1);
            fnn_convert(bytes, dtype, 8, &number, FNN_INT64, 0, 1);
            fnn_convert(&back, FNN_INT64, 8, bytes, dtype, 0, 1);
            bool counts_down = dtype == FNN_UINT8 && number < 0 && number >= -255;
            if (back != number && !counts_down) {
                return fnn_fail(c->err, FNN_ERR_VALUE,
                                "%s: expected a number that %s holds, got %lld",
                                c->op->name, fnn_dtype_name(dtype), (long long)number);
            }
        }
    }
    return FNN_OK;
}

/* maximum and its kin */
fnn_status fnn_infer_bound(fnn_call *c) {
    int dtype = fnn_promote(c, 0);
    FNN_TRY(numbers_fit(c, dtype));
    return infer_map(c, dtype);
}

fnn_status fnn_infer_arith_no_bool(fnn_call *c) {
    int dtype = fnn_promote(c, 0);
    if (dtype == FNN_BOOL) {
        return fnn_fail(c->err, FNN_ERR_TYPE, "%s: expected numbers, got dtype bool",
                        c->op->name);
    }
    return infer_map(c, dtype);
}

/* bool takes part in no difference, as in PyTorch. */
fnn_status fnn_infer_sub(fnn_call *c) {
    if (c->in[0]->dtype == FNN_BOOL || c->in[1]->dtype == FNN_BOOL) {
        return fnn_fail(
            c->err, FNN_ERR_TYPE,
            "sub: expected numbers, got dtype bool (hint: ~x inverts a mask, "
            "x.float() makes numbers of it)");
    }
    return fnn_infer_arith(c);
}

/* An integer power of an integer is an integer: no negative number as exponent. */
fnn_status fnn_infer_pow(fnn_call *c) {
    int dtype = fnn_promote(c, 0);
    if (!fnn_is_float(dtype) && c->weak_in >> 1 & 1) {
        int64_t exponent;
        fnn_convert(&exponent, FNN_INT64, 8, c->in[1]->data, c->in[1]->dtype, 0, 1);
        if (exponent < 0) {
            return fnn_fail(c->err, FNN_ERR_VALUE,
                            "pow: expected an exponent of at least 0 for integers, got "
                            "%lld (hint: x.float())",
                            (long long)exponent);
        }
    }
    return infer_map(c, dtype);
}

fnn_status fnn_infer_bits(fnn_call *c) {
    int dtype = fnn_promote(c, 0);
    if (fnn_is_float(dtype)) {
        return fnn_fail(c->err, FNN_ERR_TYPE, "%s: expected integers or bool, got %s",
                        c->op->name, fnn_dtype_name(dtype));
    }
    return infer_map(c, dtype);
}

fnn_status fnn_infer_compare(fnn_call *c) { return infer_map(c, FNN_BOOL); }

fnn_status fnn_infer_to_float(fnn_call *c) {
    int dtype = fnn_promote(c, 0);
    return infer_map(c, fnn_is_float(dtype) ? dtype : FNN_FLOAT32);
}

fnn_status fnn_infer_float(fnn_call *c) {
    FNN_TRY(fnn_expect_float(c, 0, "x"));
    return infer_map(c, fnn_promote(c, 0));
}

fnn_status fnn_infer_where(fnn_call *c) {
    if (c->in[0]->dtype != FNN_BOOL) {
        return fnn_fail(c->err, FNN_ERR_TYPE,
                        "where: expected condition of dtype bool, got %s",
                        fnn_dtype_name(c->in[0]->dtype));
    }
    int dtype = fnn_promote(c, 1);
    FNN_TRY(numbers_fit(c, dtype));
    return infer_map(c, dtype);
}

fnn_status fnn_infer_copy(fnn_call *c) {
    int64_t dtype = c->attr[0].i;
    if (dtype < -1 || dtype >= FNN_N_DTYPES) {
        return fnn_fail(c->err, FNN_ERR_TYPE, "copy: expected a dtype, got code %lld",
                        (long long)dtype);
    }
    fnn_like(&c->out[0], c->in[0], dtype < 0 ? c->in[0]->dtype : (int)dtype);
    return fnn_check_size(c, &c->out[0]);
}

fnn_status fnn_expect_contiguous(const fnn_call *c, int input, const char *name) {
    if (!fnn_is_contiguous(c->in[input])) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected %s contiguous (hint: contiguous())", c->op->name,
                        name);
    }
    return FNN_OK;
}

fnn_status fnn_expect_own_memory(const fnn_call *c, const fnn_tensor *x) {
    bool empty = fnn_numel(x) == 0;
    for (int d = 0; d < x->ndim && !empty; d++) {
        if (x->stride[d] == 0 && x->shape[d] > 1) {
            return fnn_fail(
                c->err, FNN_ERR_VALUE,
                "%s: expected x with memory of its own for every element, got an "
                "expanded view of shape %s (hint: clone() it)",
                c->op->name, FNN_SHAPE(x));
        }
    }
    return FNN_OK;
}

/* x op= other: other broadcasts to x, and the result's category fits x. */
fnn_status fnn_infer_inplace(fnn_call *c) {
    const fnn_tensor *x = c->in[0];
    fnn_tensor *y = &c->out[0];
    FNN_TRY(fnn_broadcast(c));
    if (!fnn_same_shape(y, x)) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected a shape that broadcasts to %s, got %s",
                        c->op->name, FNN_SHAPE(x), FNN_SHAPE(c->in[1]));
    }
    int dtype = fnn_promote(c, 0);
    if (c->op->kernel != FNN_MAP_copy && category(dtype) > category(x->dtype)) {
        return fnn_fail(c->err, FNN_ERR_TYPE,
                        "%s: expected a result that fits %s in place, got %s",
                        c->op->name, fnn_dtype_name(x->dtype), fnn_dtype_name(dtype));
    }
    if (c->op->kernel == FNN_MAP_copy) {
        FNN_TRY(numbers_fit(c, x->dtype));
    }
    *y = *x;
    return fnn_expect_own_memory(c, x);
}

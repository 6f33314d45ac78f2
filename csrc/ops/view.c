/* Views: new shape and strides over the same storage. infer does all there is to do. */
#include "ops.h"

static void share(fnn_tensor *y, const fnn_tensor *x) {
    y->storage = x->storage;
    y->data = x->data;
    y->dtype = x->dtype;
}

/* One size may be -1. Each old run of memory must be cut by the new shape evenly. */
fnn_status fnn_infer_reshape(fnn_call *c) {
    const fnn_tensor *x = c->in[0];
    const fnn_attr *shape = &c->attr[0];
    fnn_tensor *y = &c->out[0];
    share(y, x);
    y->ndim = shape->n;
    int64_t known = 1, total = fnn_numel(x);
    int free_dim = -1;
    for (int d = 0; d < shape->n; d++) {
        y->shape[d] = shape->ints[d];
        if (shape->ints[d] == -1 && free_dim < 0) {
            free_dim = d;
        } else if (shape->ints[d] < 0 ||
                   __builtin_mul_overflow(known, shape->ints[d], &known)) {
            y->shape[d] = shape->ints[d];
            return fnn_fail(
                c->err, FNN_ERR_VALUE,
                "reshape: expected sizes of at least 0, one of them -1 at most, "
                "got %s",
                FNN_SHAPE(y));
        }
    }
    if (free_dim >= 0 && known > 0 && total % known == 0) {
        y->shape[free_dim] = total / known;
        known = total;
    }
    if (known != total || (free_dim >= 0 && y->shape[free_dim] < 0)) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "reshape: expected a shape of %lld elements like %s, got %s",
                        (long long)total, FNN_SHAPE(x), FNN_SHAPE(y));
    }
    if (total == 0 || fnn_is_contiguous(x)) {
        fnn_set_contiguous(y);
        return FNN_OK;
    }
    fnn_tensor run = *x;
    fnn_coalesce(&run);
    int d = y->ndim - 1;
    for (int r = run.ndim - 1; r >= 0; r--) {
        int64_t left = run.shape[r], stride = run.stride[r];
        while (d >= 0 && left % y->shape[d] == 0 && (left > 1 || y->shape[d] == 1)) {
            y->stride[d] = stride;
            stride *= y->shape[d];
            left /= y->shape[d--];
        }
        if (left != 1) {
            return fnn_fail(
                c->err, FNN_ERR_VALUE,
                "reshape: expected memory that views as %s without a copy, got "
                "shape %s with other strides (hint: contiguous())",
                FNN_SHAPE(y), FNN_SHAPE(x));
        }
    }
    for (; d >= 0; d--) { /* leading ones */
        y->stride[d] = 1;
    }
    return FNN_OK;
}

fnn_status fnn_infer_permute(fnn_call *c) {
    const fnn_tensor *x = c->in[0];
    const fnn_attr *dims = &c->attr[0];
    fnn_tensor *y = &c->out[0];
    share(y, x);
    y->ndim = x->ndim;
    if (dims->n != x->ndim) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "permute: expected %d dimensions for shape %s, got %d", x->ndim,
                        FNN_SHAPE(x), dims->n);
    }
    unsigned seen = 0;
    for (int d = 0; d < dims->n; d++) {
        int64_t from = dims->ints[d];
        FNN_TRY(fnn_check_dim(c, x, &from));
        if (seen >> from & 1) {
            return fnn_fail(c->err, FNN_ERR_VALUE,
                            "permute: expected every dimension once, got %lld twice",
                            (long long)from);
        }
        seen |= 1u << from;
        y->shape[d] = x->shape[from];
        y->stride[d] = x->stride[from];
    }
    return FNN_OK;
}

/* -1 keeps a size; new dimensions come in front. */
fnn_status fnn_infer_expand(fnn_call *c) {
    const fnn_tensor *x = c->in[0];
    const fnn_attr *shape = &c->attr[0];
    fnn_tensor *y = &c->out[0];
    share(y, x);
    y->ndim = shape->n;
    int shift = shape->n - x->ndim;
    for (int d = 0; d < shape->n; d++) {
        bool old = d >= shift && shift >= 0;
        int64_t from = old ? x->shape[d - shift] : 1;
        int64_t to = shape->ints[d] == -1 && old ? from : shape->ints[d];
        y->shape[d] = to;
        y->stride[d] = old && from == to ? x->stride[d - shift] : 0;
        if (shift < 0 || to < 0 || (from != to && from != 1)) {
            for (int k = d; k < shape->n; k++) {
                y->shape[k] = shape->ints[k];
            }
            return fnn_fail(c->err, FNN_ERR_VALUE,
                            "expand: expected a shape that %s broadcasts to, got %s",
                            FNN_SHAPE(x), FNN_SHAPE(y));
        }
    }
    if (shift < 0) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "expand: expected at least %d dimensions for shape %s, got %d",
                        x->ndim, FNN_SHAPE(x), shape->n);
    }
    return fnn_check_size(c, y);
}

/* x[start:stop:step] along dim, after Python's clamping: 0 <= start <= size; for step < 0
 * stop may be -1. */
fnn_status fnn_infer_slice(fnn_call *c) {
    const fnn_tensor *x = c->in[0];
    int64_t dim = c->attr[0].i, start = c->attr[1].i, stop = c->attr[2].i;
    int64_t step = c->attr[3].i;
    fnn_tensor *y = &c->out[0];
    *y = *x;
    if (x->ndim == 0) {
        return fnn_fail(c->err, FNN_ERR_INDEX,
                        "slice: expected at least one dimension, got shape ()");
    }
    FNN_TRY(fnn_check_dim(c, x, &dim));
    int64_t size = x->shape[dim];
    if (step == 0 || step == INT64_MIN) {
        return fnn_fail(c->err, FNN_ERR_VALUE, "slice: expected a step other than 0");
    }
    int64_t low = step > 0 ? 0 : -1, high = step > 0 ? size : size - 1;
    start = fnn_max64(low, fnn_min64(start, high));
    stop = fnn_max64(low, fnn_min64(stop, high));
    int64_t pace = fnn_min64(step > 0 ? step : -step, size + 1);
    int64_t span = step > 0 ? stop - start : start - stop;
    int64_t length = (span + pace - 1) / pace;
    length = fnn_max64(length, 0);
    if (length > 0) {
        y->data += start * x->stride[dim] * fnn_dtype_size(x->dtype);
    }
    y->shape[dim] = length;
    y->stride[dim] = length > 1 ? x->stride[dim] * step : x->stride[dim];
    return FNN_OK;
}

/* What can be said of a tensor from its dtype, shape and strides alone. */
#include "core.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    ptrdiff_t size;
} dtypes[FNN_N_DTYPES] = {
    [FNN_BOOL] = {"bool", 1},       [FNN_UINT8] = {"uint8", 1},
    [FNN_INT32] = {"int32", 4},     [FNN_INT64] = {"int64", 8},
    [FNN_FLOAT32] = {"float32", 4}, [FNN_FLOAT64] = {"float64", 8},
};

static bool is_dtype(int dtype) { return dtype >= 0 && dtype < FNN_N_DTYPES; }

const char *fnn_dtype_name(int dtype) {
    return is_dtype(dtype) ? dtypes[dtype].name : "unknown dtype";
}

ptrdiff_t fnn_dtype_size(int dtype) { return is_dtype(dtype) ? dtypes[dtype].size : 0; }

/* Saturates at INT64_MAX, so that an absurd shape fails at allocation rather than
 * wrapping to a small size. A zero dimension wins over any other. */
int64_t fnn_numel(const fnn_tensor *t) {
    int64_t n = 1;
    bool overflow = false;
    for (int i = 0; i < t->ndim; i++) {
        if (t->shape[i] == 0) {
            return 0;
        }
        overflow |= __builtin_mul_overflow(n, t->shape[i], &n);
    }
    return overflow ? INT64_MAX : n;
}

bool fnn_is_contiguous(const fnn_tensor *t) {
    int64_t expected = 1;
    bool contiguous = true;
    for (int i = t->ndim - 1; i >= 0; i--) {
        if (t->shape[i] == 0) {
            return true;
        }
        if (t->shape[i] != 1) {
            contiguous &= t->stride[i] == expected;
            /* Unsigned: wrapping is harmless, no such tensor can be stored. */
            expected = (int64_t)((uint64_t)expected * (uint64_t)t->shape[i]);
        }
    }
    return contiguous;
}

static bool same_numbers(const int64_t *a, const int64_t *b, int n) {
    return memcmp(a, b, sizeof *a * (size_t)n) == 0;
}

bool fnn_same_shape(const fnn_tensor *a, const fnn_tensor *b) {
    return a->ndim == b->ndim && same_numbers(a->shape, b->shape, a->ndim);
}

bool fnn_same_layout(const fnn_tensor *a, const fnn_tensor *b) {
    return a->data == b->data && a->dtype == b->dtype && fnn_same_shape(a, b) &&
           same_numbers(a->stride, b->stride, a->ndim);
}

/* A zero dimension counts as one, as in NumPy and PyTorch: strides stay positive. */
void fnn_set_contiguous(fnn_tensor *t) {
    uint64_t step = 1;
    for (int i = t->ndim - 1; i >= 0; i--) {
        t->stride[i] = (int64_t)step;
        step *= t->shape[i] > 0 ? (uint64_t)t->shape[i] : 1;
    }
}

const char *fnn_shape_text(const fnn_tensor *t, char *buffer, size_t size) {
    size_t at = 0;
    if (size == 0) {
        return buffer;
    }
    for (int i = -1; i <= t->ndim; i++) {
        int wrote;
        if (i < 0) {
            wrote = snprintf(buffer + at, size - at, "(");
        } else if (i == t->ndim) {
            wrote = snprintf(buffer + at, size - at, t->ndim == 1 ? ",)" : ")");
        } else {
            wrote = snprintf(buffer + at, size - at, i ? ", %lld" : "%lld",
                             (long long)t->shape[i]);
        }
        at += (size_t)wrote;
        if (at >= size) { /* cut short, but terminated */
            break;
        }
    }
    return buffer;
}

void fnn_byte_range(const fnn_tensor *t, const char **lo, const char **hi) {
    int64_t first = 0, last = 0; /* lowest and highest element, relative to data */
    for (int i = 0; i < t->ndim; i++) {
        if (t->shape[i] == 0) {
            *lo = *hi = t->data;
            return;
        }
        int64_t reach = (t->shape[i] - 1) * t->stride[i];
        if (reach < 0) {
            first += reach;
        } else {
            last += reach;
        }
    }
    int64_t size = fnn_dtype_size(t->dtype);
    *lo = t->data + first * size;
    *hi = t->data + (last + 1) * size;
}

static int by_address(const void *a, const void *b) {
    const fnn_range *x = a, *y = b;
    return (x->lo > y->lo) - (x->lo < y->lo);
}

bool fnn_any_overlap(fnn_range *ranges, int n) {
    qsort(ranges, (size_t)n, sizeof *ranges, by_address);
    const char *end = NULL, *written_end = NULL; /* the furthest so far */
    for (int i = 0; i < n; i++) {
        const fnn_range *r = &ranges[i];
        if (r->lo == r->hi) {
            continue;
        }
        if (r->lo < written_end || (r->written && r->lo < end)) {
            return true;
        }
        end = r->hi > end ? r->hi : end;
        if (r->written && r->hi > written_end) {
            written_end = r->hi;
        }
    }
    return false;
}

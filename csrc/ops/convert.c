/* Conversion between dtypes: contiguous runs by a kernel, strided ones here, with an inner
 * loop per pair. */
#include "convert.h"
#include "ops.h"

#define LOOP(D, S, as)                                                    \
    {                                                                     \
        char *d = dst;                                                    \
        const char *s = src;                                              \
        for (ptrdiff_t i = 0; i < n; i++, d += dst_step, s += src_step) { \
            *(D *)d = as(*(const S *)s);                                  \
        }                                                                 \
    }
#define FROM(S, KIND) FNN_CONVERT_FROM(S, KIND, dst_dtype, LOOP, LOOP, LOOP)

void fnn_convert(void *dst, int dst_dtype, ptrdiff_t dst_step, const void *src,
                 int src_dtype, ptrdiff_t src_step, ptrdiff_t n) {
    if (n <= 0) {
        return;
    }
    ptrdiff_t dst_size = fnn_dtype_size(dst_dtype), size = fnn_dtype_size(src_dtype);
    bool contiguous = dst_step == dst_size && src_step == size;
    if (dst_dtype == src_dtype) { /* bits, not values: keeps NaN payloads */
        if (contiguous) {
            memcpy(dst, src, (size_t)(n * size));
        } else if (size == 1) {
            LOOP(uint8_t, uint8_t, )
        } else if (size == 4) {
            LOOP(uint32_t, uint32_t, )
        } else {
            LOOP(uint64_t, uint64_t, )
        }
        return;
    }
    if (contiguous) {
        fnn_k->convert[size == 8](n, dst, dst_dtype, src, src_dtype);
        return;
    }
    switch (src_dtype) {
    case FNN_BOOL:
    case FNN_UINT8:
        FROM(uint8_t, INT)
        break;
    case FNN_INT32:
        FROM(int32_t, INT)
        break;
    case FNN_INT64:
        FROM(int64_t, INT)
        break;
    case FNN_FLOAT32:
        FROM(float, FLOAT)
        break;
    default:
        FROM(double, FLOAT)
        break;
    }
}

void fnn_coalesce(fnn_tensor *t) {
    int n = 0;
    for (int d = 0; d < t->ndim; d++) {
        if (t->shape[d] == 1) {
            continue;
        }
        if (n > 0 && t->stride[n - 1] == t->stride[d] * t->shape[d]) {
            t->shape[n - 1] *= t->shape[d];
            t->stride[n - 1] = t->stride[d];
        } else {
            t->shape[n] = t->shape[d];
            t->stride[n] = t->stride[d];
            n++;
        }
    }
    t->ndim = n;
}

void fnn_narrow(fnn_tensor *t, int64_t dim, int64_t start, int64_t size) {
    t->data += start * t->stride[dim] * fnn_dtype_size(t->dtype);
    t->shape[dim] = size;
}

void fnn_gather(void *dst, int dst_dtype, const fnn_tensor *t, int64_t pos,
                ptrdiff_t n) {
    ptrdiff_t size = fnn_dtype_size(t->dtype), dst_size = fnn_dtype_size(dst_dtype);
    if (t->ndim == 0) {
        fnn_convert(dst, dst_dtype, dst_size, t->data, t->dtype, 0, n);
        return;
    }
    int last = t->ndim - 1;
    int64_t index[FNN_MAX_DIMS];
    const char *row = t->data;
    int64_t rest = pos;
    for (int d = last; d >= 0; d--) {
        index[d] = rest % t->shape[d];
        rest /= t->shape[d];
        if (d < last) {
            row += index[d] * t->stride[d] * size;
        }
    }
    char *out = dst;
    ptrdiff_t step = t->stride[last] * size;
    int64_t col = index[last];
    while (n > 0) {
        ptrdiff_t m = fnn_min64(n, t->shape[last] - col);
        fnn_convert(out, dst_dtype, dst_size, row + col * step, t->dtype, step, m);
        out += m * dst_size;
        n -= m;
        col = 0;
        for (int d = last - 1; d >= 0; d--) { /* the next row */
            row += t->stride[d] * size;
            if (++index[d] < t->shape[d]) {
                break;
            }
            row -= t->stride[d] * t->shape[d] * size;
            index[d] = 0;
        }
    }
}

static int64_t copy_bytes(const fnn_tensor *x) {
    return x == NULL || fnn_is_contiguous(x)
               ? 0
               : fnn_aligned(fnn_numel(x) * fnn_dtype_size(x->dtype));
}

int64_t fnn_dense_bytes(const fnn_call *c) {
    int64_t bytes = 0;
    for (int i = 0; i < c->n_in; i++) {
        bytes += c->op->writes >> i & 1 ? 0 : copy_bytes(c->in[i]);
    }
    return bytes;
}

const char *fnn_dense(const fnn_call *c, int i, char **room) {
    const fnn_tensor *x = c->in[i];
    const int64_t bytes = copy_bytes(x);
    if (bytes == 0) {
        return x == NULL ? NULL : x->data;
    }
    fnn_tensor copy = *x;
    copy.storage = NULL;
    copy.data = *room;
    fnn_set_contiguous(&copy);
    fnn_copy(&copy, x);
    *room += bytes;
    return copy.data;
}

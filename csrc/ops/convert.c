/* Strided conversion between dtypes, one inner loop per pair. */
#include "ops.h"

/* Defined for every float: truncation, and INT64_MIN for NaN and what does not fit. */
static inline int64_t to_int64(double x) {
    return x >= -0x1p63 && x < 0x1p63 ? (int64_t)x : INT64_MIN;
}

/* FROM_INT(x): an integer to D; FROM_FLOAT(x): a float to D */
#define AS_BOOL(x) ((uint8_t)((x) != 0))
#define INT_U8(x) ((uint8_t)(x))
#define INT_I32(x) ((int32_t)(uint32_t)(x))
#define INT_I64(x) ((int64_t)(x))
#define FLT_U8(x) ((uint8_t)to_int64((double)(x)))
#define FLT_I32(x) ((int32_t)(uint32_t)to_int64((double)(x)))
#define FLT_I64(x) (to_int64((double)(x)))
#define AS_F32(x) ((float)(x))
#define AS_F64(x) ((double)(x))

#define LOOP(D, S, AS)                                                              \
    {                                                                               \
        if (dst_step == (ptrdiff_t)sizeof(D) && src_step == (ptrdiff_t)sizeof(S)) { \
            D *d = dst;                                                             \
            const S *s = src;                                                       \
            for (ptrdiff_t i = 0; i < n; i++) {                                     \
                d[i] = AS(s[i]);                                                    \
            }                                                                       \
        } else {                                                                    \
            char *d = dst;                                                          \
            const char *s = src;                                                    \
            for (ptrdiff_t i = 0; i < n; i++, d += dst_step, s += src_step) {       \
                *(D *)d = AS(*(const S *)s);                                        \
            }                                                                       \
        }                                                                           \
        return;                                                                     \
    }

#define FROM(S, TO_U8, TO_I32, TO_I64) \
    switch (dst_dtype) {               \
    case FNN_BOOL:                     \
        LOOP(uint8_t, S, AS_BOOL)      \
    case FNN_UINT8:                    \
        LOOP(uint8_t, S, TO_U8)        \
    case FNN_INT32:                    \
        LOOP(int32_t, S, TO_I32)       \
    case FNN_INT64:                    \
        LOOP(int64_t, S, TO_I64)       \
    case FNN_FLOAT32:                  \
        LOOP(float, S, AS_F32)         \
    default:                           \
        LOOP(double, S, AS_F64)        \
    }

void fnn_convert(void *dst, int dst_dtype, ptrdiff_t dst_step, const void *src,
                 int src_dtype, ptrdiff_t src_step, ptrdiff_t n) {
    if (n <= 0) {
        return;
    }
    if (dst_dtype == src_dtype) { /* bits, not values: keeps NaN payloads */
        ptrdiff_t size = fnn_dtype_size(dst_dtype);
        if (dst_step == size && src_step == size) {
            memcpy(dst, src, (size_t)(n * size));
            return;
        }
        switch (size) {
        case 1:
            LOOP(uint8_t, uint8_t, )
        case 4:
            LOOP(uint32_t, uint32_t, )
        default:
            LOOP(uint64_t, uint64_t, )
        }
    }
    switch (src_dtype) {
    case FNN_BOOL:
        FROM(uint8_t, INT_U8, INT_I32, INT_I64)
    case FNN_UINT8:
        FROM(uint8_t, INT_U8, INT_I32, INT_I64)
    case FNN_INT32:
        FROM(int32_t, INT_U8, INT_I32, INT_I64)
    case FNN_INT64:
        FROM(int64_t, INT_U8, INT_I32, INT_I64)
    case FNN_FLOAT32:
        FROM(float, FLT_U8, FLT_I32, FLT_I64)
    default:
        FROM(double, FLT_U8, FLT_I32, FLT_I64)
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

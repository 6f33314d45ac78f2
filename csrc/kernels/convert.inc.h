/* Conversion of contiguous runs: the C loops of convert.h, which compilers vectorise once
 * they know the ISA. The functions named f64 convert from dtypes of 8 bytes, those named
 * f32 from the others. See kernels.h. */
#include "convert.h"

#ifndef FNN_CONVERT_LOOP
#define FNN_CONVERT_LOOP(D, S, as)          \
    {                                       \
        D *y = y_;                          \
        const S *x = x_;                    \
        for (ptrdiff_t i = 0; i < n; i++) { \
            y[i] = as(x[i]);                \
        }                                   \
    }

/* Vector instructions go between floats and integers of 32 bits on every CPU, of 64 bits
 * on few. So a block in which all values fit 32 bits goes by way of these. MISFIT is an
 * unsigned integer as wide as S, of which those bits are set that speak against it. */
#define FNN_CONVERT_BLOCK 256
#define FNN_CONVERT_BLOCKS(D, S, as, U, MISFIT, BAD)           \
    {                                                          \
        D *y = y_;                                             \
        const S *x = x_;                                       \
        for (ptrdiff_t m; n > 0; n -= m, y += m, x += m) {     \
            U misfits = 0;                                     \
            m = n < FNN_CONVERT_BLOCK ? n : FNN_CONVERT_BLOCK; \
            for (ptrdiff_t i = 0; i < m; i++) {                \
                misfits |= MISFIT(x[i]);                       \
            }                                                  \
            if ((misfits & (BAD)) == 0) {                      \
                for (ptrdiff_t i = 0; i < m; i++) {            \
                    y[i] = (D)(int32_t)x[i];                   \
                }                                              \
            } else {                                           \
                for (ptrdiff_t i = 0; i < m; i++) {            \
                    y[i] = as(x[i]);                           \
                }                                              \
            }                                                  \
        }                                                      \
    }
#define FNN_MISFIT_F32(x) ((uint32_t)!(fabsf(x) < 0x1p31f)) /* NaN too */
#define FNN_MISFIT_F64(x) ((uint64_t)!(fabs(x) < 0x1p31))
#define FNN_MISFIT_I64(x) ((uint64_t)(x) + 0x80000000u)
#define FNN_BLOCKS_F32(D, S, as) \
    FNN_CONVERT_BLOCKS(D, S, as, uint32_t, FNN_MISFIT_F32, 1)
#define FNN_BLOCKS_F64(D, S, as) \
    FNN_CONVERT_BLOCKS(D, S, as, uint64_t, FNN_MISFIT_F64, 1)
#define FNN_BLOCKS_I64(D, S, as) \
    FNN_CONVERT_BLOCKS(D, S, as, uint64_t, FNN_MISFIT_I64, ~(uint64_t)0xffffffffu)
#define FNN_CONVERT_KIND(S, KIND, TO_INT, TO_FLOAT) \
    FNN_CONVERT_FROM(S, KIND, y_dtype, FNN_CONVERT_LOOP, TO_INT, TO_FLOAT)
#endif

static void FNN_NAME(convert)(ptrdiff_t n, void *y_, int y_dtype, const void *x_,
                              int x_dtype) {
#if IS_F32
    if (x_dtype == FNN_FLOAT32) {
        FNN_CONVERT_KIND(float, FLOAT, FNN_BLOCKS_F32, FNN_CONVERT_LOOP)
    } else if (x_dtype == FNN_INT32) {
        FNN_CONVERT_KIND(int32_t, INT, FNN_CONVERT_LOOP, FNN_CONVERT_LOOP)
    } else {
        FNN_CONVERT_KIND(uint8_t, INT, FNN_CONVERT_LOOP, FNN_CONVERT_LOOP)
    }
#else
    if (x_dtype == FNN_FLOAT64) {
        FNN_CONVERT_KIND(double, FLOAT, FNN_BLOCKS_F64, FNN_CONVERT_LOOP)
    } else {
        FNN_CONVERT_KIND(int64_t, INT, FNN_CONVERT_LOOP, FNN_BLOCKS_I64)
    }
#endif
}

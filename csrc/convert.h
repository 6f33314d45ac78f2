/* What a value becomes in another dtype; see fnn_convert in ops/ops.h. */
#ifndef FNN_CONVERT_H
#define FNN_CONVERT_H

#include "core.h"

/* Defined for every float: truncation, and INT64_MIN for NaN and what does not fit. */
static inline int64_t fnn_to_int64(double x) {
    return x >= -0x1p63 && x < 0x1p63 ? (int64_t)x : INT64_MIN;
}

/* FNN_INT_AS: of an integer; FNN_FLOAT_AS: of a float; FNN_AS: of either. */
#define FNN_AS_BOOL(x) ((uint8_t)((x) != 0))
#define FNN_INT_AS_U8(x) ((uint8_t)(x))
#define FNN_INT_AS_I32(x) ((int32_t)(uint32_t)(x))
#define FNN_INT_AS_I64(x) ((int64_t)(x))
#define FNN_FLOAT_AS_U8(x) ((uint8_t)fnn_to_int64((double)(x)))
#define FNN_FLOAT_AS_I32(x) ((int32_t)(uint32_t)fnn_to_int64((double)(x)))
#define FNN_FLOAT_AS_I64(x) (fnn_to_int64((double)(x)))
#define FNN_AS_F32(x) ((float)(x))
#define FNN_AS_F64(x) ((double)(x))

/* One loop for each dtype that S, of the KIND INT or FLOAT, can become: LOOP(D, S, as),
 * and TO_INT and TO_FLOAT likewise where that kind of dtype is wanted. */
#define FNN_CONVERT_FROM(S, KIND, dtype, LOOP, TO_INT, TO_FLOAT) \
    switch (dtype) {                                             \
    case FNN_BOOL:                                               \
        LOOP(uint8_t, S, FNN_AS_BOOL)                            \
        break;                                                   \
    case FNN_UINT8:                                              \
        TO_INT(uint8_t, S, FNN_##KIND##_AS_U8)                   \
        break;                                                   \
    case FNN_INT32:                                              \
        TO_INT(int32_t, S, FNN_##KIND##_AS_I32)                  \
        break;                                                   \
    case FNN_INT64:                                              \
        TO_INT(int64_t, S, FNN_##KIND##_AS_I64)                  \
        break;                                                   \
    case FNN_FLOAT32:                                            \
        TO_FLOAT(float, S, FNN_AS_F32)                           \
        break;                                                   \
    default:                                                     \
        TO_FLOAT(double, S, FNN_AS_F64)                          \
        break;                                                   \
    }

#endif

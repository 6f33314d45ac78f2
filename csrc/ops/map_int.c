/* Elementwise kernels on bool, uint8, int32 and int64. Exact, so one plain C build serves
 * every CPU. Arithmetic wraps, as in NumPy and PyTorch; bool's + is or, its * is and. */
#include "ops.h"

#define BINARY(name, D, S, expression)                           \
    static void name(ptrdiff_t n, void *y, const void *const *x, \
                     const ptrdiff_t *step) {                    \
        D *out = y;                                              \
        const S *pa = x[0], *pb = x[1];                          \
        ptrdiff_t sa = step[0], sb = step[1];                    \
        for (ptrdiff_t i = 0; i < n; i++) {                      \
            S a = pa[i * sa], b = pb[i * sb];                    \
            out[i] = (D)(expression);                            \
        }                                                        \
    }

#define UNARY(name, S, expression)                               \
    static void name(ptrdiff_t n, void *y, const void *const *x, \
                     const ptrdiff_t *step) {                    \
        S *out = y;                                              \
        const S *pa = x[0];                                      \
        ptrdiff_t sa = step[0];                                  \
        for (ptrdiff_t i = 0; i < n; i++) {                      \
            S a = pa[i * sa];                                    \
            out[i] = (S)(expression);                            \
        }                                                        \
    }

#define WHERE(name, S)                                                    \
    static void name(ptrdiff_t n, void *y, const void *const *x,          \
                     const ptrdiff_t *step) {                             \
        S *out = y;                                                       \
        const uint8_t *pc = x[0];                                         \
        const S *pa = x[1], *pb = x[2];                                   \
        for (ptrdiff_t i = 0; i < n; i++) {                               \
            out[i] = pc[i * step[0]] ? pa[i * step[1]] : pb[i * step[2]]; \
        }                                                                 \
    }

/* base^exponent, wrapping; a negative exponent gives the truncated quotient 1 / base^n */
static uint64_t power(int64_t base, int64_t exponent) {
    if (exponent < 0) {
        return base == 1 ? 1u : base == -1 ? (exponent & 1 ? (uint64_t)-1 : 1u) : 0u;
    }
    uint64_t result = 1, square = (uint64_t)base;
    for (; exponent > 0; exponent >>= 1) {
        result *= exponent & 1 ? square : 1u;
        square *= square;
    }
    return result;
}

/* Floored. -1 is not given to the machine, which traps where the quotient does not fit;
 * nor is 0, which was refused, but another thread may have written since. */
static int64_t floored(int64_t a, int64_t b) {
    if (b == -1 || b == 0) {
        return (int64_t)((uint64_t)b * (uint64_t)a);
    }
    return a / b - (a % b != 0 && (a % b < 0) != (b < 0));
}
static int64_t modulo(int64_t a, int64_t b) {
    if (b == -1 || b == 0) {
        return 0;
    }
    return a % b + (a % b != 0 && (a % b < 0) != (b < 0) ? b : 0);
}

#define FAMILY(s, S, U)                                             \
    BINARY(add_##s, S, S, (U)a + (U)b)                              \
    BINARY(sub_##s, S, S, (U)a - (U)b)                              \
    BINARY(mul_##s, S, S, (uint64_t)(U)a *(U)b)                     \
    BINARY(pow_##s, S, S, power((int64_t)a, (int64_t)b))            \
    BINARY(floor_divide_##s, S, S, floored((int64_t)a, (int64_t)b)) \
    BINARY(remainder_##s, S, S, modulo((int64_t)a, (int64_t)b))     \
    BINARY(bitwise_and_##s, S, S, (U)a &(U)b)                       \
    BINARY(bitwise_or_##s, S, S, (U)a | (U)b)                       \
    BINARY(bitwise_xor_##s, S, S, (U)a ^ (U)b)                      \
    UNARY(bitwise_not_##s, S, ~(U)a)                                \
    UNARY(neg_##s, S, (U)0 - (U)a)                                  \
    UNARY(abs_##s, S, a > 0 ? (U)a : (U)0 - (U)a)                   \
    UNARY(sign_##s, S, a > 0 ? 1 : a == 0 ? 0 : -1)                 \
    UNARY(relu_##s, S, a > 0 ? a : 0)                               \
    COMMON(s, S)

#define COMMON(s, S)                         \
    UNARY(copy_##s, S, a)                    \
    BINARY(maximum_##s, S, S, a > b ? a : b) \
    BINARY(minimum_##s, S, S, a < b ? a : b) \
    BINARY(eq_##s, uint8_t, S, a == b)       \
    BINARY(ne_##s, uint8_t, S, a != b)       \
    BINARY(lt_##s, uint8_t, S, a < b)        \
    BINARY(le_##s, uint8_t, S, a <= b)       \
    BINARY(gt_##s, uint8_t, S, a > b)        \
    BINARY(ge_##s, uint8_t, S, a >= b)       \
    WHERE(where_##s, S)

FAMILY(u8, uint8_t, uint8_t)
FAMILY(i32, int32_t, uint32_t)
FAMILY(i64, int64_t, uint64_t)
COMMON(bool, uint8_t)
BINARY(add_bool, uint8_t, uint8_t, a | b)
BINARY(mul_bool, uint8_t, uint8_t, a &b)
BINARY(pow_bool, uint8_t, uint8_t, a || !b)
BINARY(bitwise_and_bool, uint8_t, uint8_t, a &b)
BINARY(bitwise_or_bool, uint8_t, uint8_t, a | b)
BINARY(bitwise_xor_bool, uint8_t, uint8_t, a ^ b)
UNARY(bitwise_not_bool, uint8_t, !a)
UNARY(abs_bool, uint8_t, a)
UNARY(sign_bool, uint8_t, a)
UNARY(relu_bool, uint8_t, a)

#define ROW(name) [FNN_MAP_##name] = {name##_bool, name##_u8, name##_i32, name##_i64}
#define NUMBERS(name) [FNN_MAP_##name] = {NULL, name##_u8, name##_i32, name##_i64}
#define WHOLE {NULL, copy_u8, copy_i32, copy_i64} /* they are already */
static const fnn_map_fn table[FNN_N_MAP][4] = {
    ROW(copy),
    ROW(add),
    ROW(mul),
    ROW(pow),
    ROW(abs),
    ROW(sign),
    ROW(relu),
    ROW(maximum),
    ROW(minimum),
    ROW(eq),
    ROW(ne),
    ROW(lt),
    ROW(le),
    ROW(gt),
    ROW(ge),
    ROW(where),
    ROW(bitwise_and),
    ROW(bitwise_or),
    ROW(bitwise_xor),
    ROW(bitwise_not),
    [FNN_MAP_floor] = WHOLE,
    [FNN_MAP_ceil] = WHOLE,
    [FNN_MAP_trunc] = WHOLE,
    [FNN_MAP_round] = WHOLE,
    NUMBERS(floor_divide),
    NUMBERS(remainder),
    NUMBERS(sub),
    NUMBERS(neg),
};

fnn_map_fn fnn_map_int(int kernel, int dtype) { return table[kernel][dtype]; }

/* floor_divide and remainder: whole numbers have no answer to a divisor of 0, nor to one
 * that becomes 0 in the dtype of the result. */
fnn_status fnn_run_divide(fnn_call *c) {
    const fnn_tensor *b = c->in[1];
    int dtype = c->out[0].dtype;
    int64_t n = fnn_is_float(dtype) ? 0 : fnn_numel(b), size = fnn_dtype_size(dtype);
    _Alignas(64) char buffer[FNN_CHUNK * 8];
    for (int64_t pos = 0; pos < n; pos += FNN_CHUNK) {
        int64_t m = fnn_min64(FNN_CHUNK, n - pos), value;
        fnn_gather(buffer, dtype, b, pos, m);
        for (int64_t i = 0; i < m; i++) {
            fnn_convert(&value, FNN_INT64, 8, buffer + i * size, dtype, 0, 1);
            if (value == 0) {
                return fnn_fail(
                    c->err, FNN_ERR_VALUE,
                    "%s: expected integers other than 0 to divide by, got 0 "
                    "at position %lld",
                    c->op->name, (long long)(pos + i));
            }
        }
    }
    return fnn_run_map(c);
}

/* Norms of chunks, and whether all elements are finite. See kernels.h.
 *
 * A norm is summed in float64, whose products of two float32 are exact, in 16 lanes for
 * both dtypes: lane l takes elements l, l + 16, ... of a chunk, then lane i joins lane
 * i + 8, i + 4, ... The lanes past the end add 0. */

/* m elements of x, m <= 16, as float64. */
FNN_INLINE void FNN_NAME(wide)(const T *x, ptrdiff_t m, vf64 *lo, vf64 *hi) {
#if IS_F32
    vf32_widen(m == 16 ? v_load(x) : v_loadn(x, m), lo, hi);
#else
    *lo = m >= 8 ? v_load(x) : v_loadn(x, m);
    *hi = m == 16 ? v_load(x + 8) : m > 8 ? v_loadn(x + 8, m - 8) : v_zero();
#endif
}

typedef struct {
    vf64 lo, hi;
    mf64 nan;
} FNN_NAME(norm_lanes);

FNN_INLINE void FNN_NAME(norm_step)(const int kind, vf64 p, const T *x, ptrdiff_t m,
                                    FNN_NAME(norm_lanes) * acc) {
    vf64 lo, hi;
    FNN_NAME(wide)(x, m, &lo, &hi);
    if (kind == FNN_NORM_2) {
        acc->lo = f64_fma(lo, lo, acc->lo);
        acc->hi = f64_fma(hi, hi, acc->hi);
        return;
    }
    lo = f64_abs(lo);
    hi = f64_abs(hi);
    if (kind == FNN_NORM_MAX) {
        acc->nan = f64_mor(acc->nan, f64_mor(f64_isnan(lo), f64_isnan(hi)));
        acc->lo = f64_maxnum(lo, acc->lo);
        acc->hi = f64_maxnum(hi, acc->hi);
        return;
    }
    if (kind == FNN_NORM_P) {
        lo = FNN_JOIN3(v_pow, f64, FNN_ISA)(lo, p);
        hi = FNN_JOIN3(v_pow, f64, FNN_ISA)(hi, p);
    }
    acc->lo = f64_add(acc->lo, lo);
    acc->hi = f64_add(acc->hi, hi);
}

FNN_INLINE void FNN_NAME(norm_chunks)(const int kind, double power, ptrdiff_t n,
                                      const T *x, double *y) {
    const vf64 p = f64_set1(power);
    for (ptrdiff_t start = 0; start < n; start += FNN_CHUNK) {
        const ptrdiff_t end = n - start < FNN_CHUNK ? n : start + FNN_CHUNK;
        FNN_NAME(norm_lanes) acc = {f64_zero(), f64_zero(), f64_isnan(f64_zero())};
        ptrdiff_t i = start;
        for (; i + 16 <= end; i += 16) {
            FNN_NAME(norm_step)(kind, p, x + i, 16, &acc);
        }
        if (i < end) {
            FNN_NAME(norm_step)(kind, p, x + i, end - i, &acc);
        }
        if (kind == FNN_NORM_MAX) {
            uint64_t nan = 0;
            f64_mstore((uint8_t *)&nan, acc.nan, 8);
            *y++ = nan ? NAN : f64_hmax(f64_maxnum(acc.lo, acc.hi));
        } else {
            *y++ = f64_hsum(f64_add(acc.lo, acc.hi));
        }
    }
}

static void FNN_NAME(norm)(int kind, double p, ptrdiff_t n, const void *x, double *y) {
#define CASE(name)                               \
    case name:                                   \
        FNN_NAME(norm_chunks)(name, p, n, x, y); \
        break;
    switch (kind) {
        CASE(FNN_NORM_1)
        CASE(FNN_NORM_2)
        CASE(FNN_NORM_MAX)
        CASE(FNN_NORM_P)
    }
#undef CASE
}

/* 0 x is a zero where x is finite, and NaN where it is not. */
static bool FNN_NAME(finite)(ptrdiff_t n, const void *x_) {
    const T *x = x_;
    const V zero = v_zero();
    V a = zero, b = zero, c = zero, d = zero;
    ptrdiff_t i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        a = v_fma(v_load(x + i), zero, a);
        b = v_fma(v_load(x + i + LANES), zero, b);
        c = v_fma(v_load(x + i + 2 * LANES), zero, c);
        d = v_fma(v_load(x + i + 3 * LANES), zero, d);
    }
    for (; i < n; i += LANES) {
        a = v_fma(v_loadn(x + i, n - i < LANES ? n - i : LANES), zero, a);
    }
    return !FNN_NAME(any)(v_isnan(v_add(v_add(a, b), v_add(c, d))));
}

/* The products of Winograd convolution: for each point, tiles times filters, and for the
 * weight gradient tiles times tiles. Included by winograd.inc.h. */

/* m rows of nv of the vectors of a panel, with the GEMM's accumulators. Elements of A are
 * constants apart from each other: row i at i * row, step u at u * step. */
GEMM_INLINE void FNN_NAME(winograd_part)(const fnn_winograd_product *t, const T *a,
                                         const T *b, T *c, const int m, const int nv,
                                         const ptrdiff_t width, const int steps,
                                         const ptrdiff_t row, const ptrdiff_t step) {
    GEMM_ALL_ROWS(GEMM_ZERO)
#define STEP(i)                                    \
    if (i < m) {                                   \
        V x = v_set1(a[i * row + (u + w) * step]); \
        c##i##_0 = v_fma(x, b0, c##i##_0);         \
        if (nv == 2) {                             \
            c##i##_1 = v_fma(x, b1, c##i##_1);     \
        }                                          \
    }
    for (ptrdiff_t o = 0; o < t->outer; o++, a += t->next) {
        for (int u = 0; u < steps; u += 4) {
            WG_UNROLL(4)
            for (int w = 0; w < 4; w++, b += width) {
                const V b0 = v_load(b), b1 = nv == 2 ? v_load(b + WG) : b0;
                __builtin_prefetch(b + GEMM_AHEAD * width, 0, 3);
                if (nv == 2) {
                    __builtin_prefetch(b + GEMM_AHEAD * width + WG, 0, 3);
                }
                GEMM_ALL_ROWS(STEP)
            }
        }
    }
#undef STEP
#define PUT(i, v)                                                           \
    if (i < m && v < nv) {                                                  \
        T *to = c + i * width + v * WG;                                     \
        v_store(to, t->first ? c##i##_##v : v_add(v_load(to), c##i##_##v)); \
    }
#define STORE(i) PUT(i, 0) PUT(i, 1)
    GEMM_ALL_ROWS(STORE)
#undef STORE
#undef PUT
}

GEMM_INLINE void FNN_NAME(winograd_rows)(const fnn_winograd_product *t, const T *a,
                                         T *c, const int m, const int width,
                                         const int steps, const ptrdiff_t row,
                                         const ptrdiff_t step) {
    const int nv = width / WG < GEMM_NV ? width / WG : GEMM_NV;
    for (int j = 0; j < width; j += nv * WG) {
        FNN_NAME(winograd_part)(t, a, (const T *)t->b + j, c + j, m, nv, width, steps,
                                row, step);
    }
}

#define PRODUCT(m_, width_)                                                         \
    static void FNN_NAME(winograd_##width_##x##m_)(const fnn_winograd_product *t) { \
        FNN_NAME(winograd_rows)(t, t->a, t->c, m_, width_, WG, WG, 1);              \
    }
GEMM_ROWS(PRODUCT, 16)
GEMM_ROWS(PRODUCT, 32)
#undef PRODUCT

static void FNN_NAME(winograd_product)(const fnn_winograd_product *t) {
#define PRODUCT(m, width) FNN_NAME(winograd_##width##x##m),
    static void (*const table[2][GEMM_MR])(const fnn_winograd_product *) = {
        {GEMM_ROWS(PRODUCT, 16)}, {GEMM_ROWS(PRODUCT, 32)}};
#undef PRODUCT
    table[t->width == 32][t->m - 1](t);
}

/* Sixteen rows in tiles that the registers hold. */
GEMM_INLINE void FNN_NAME(winograd_16_rows)(const fnn_winograd_product *t,
                                            const int width) {
    const T *a = t->a;
    T *c = t->c;
#if GEMM_MR >= 8
    for (int i = 0; i < 16; i += 8) {
        FNN_NAME(winograd_rows)(t, a + i, c + i * width, 8, width, FNN_WINOGRAD_STEPS,
                                1, WG);
    }
#elif GEMM_MR >= 6
    FNN_NAME(winograd_rows)(t, a, c, 6, width, FNN_WINOGRAD_STEPS, 1, WG);
    for (int i = 6; i < 16; i += 5) {
        FNN_NAME(winograd_rows)(t, a + i, c + i * width, 5, width, FNN_WINOGRAD_STEPS,
                                1, WG);
    }
#else
    for (int i = 0; i < 16; i += 2) {
        FNN_NAME(winograd_rows)(t, a + i, c + i * width, 2, width, FNN_WINOGRAD_STEPS,
                                1, WG);
    }
#endif
}

static void FNN_NAME(winograd_turned)(const fnn_winograd_product *t) {
    if (t->width == 32) {
        FNN_NAME(winograd_16_rows)(t, 32);
    } else {
        FNN_NAME(winograd_16_rows)(t, 16);
    }
}

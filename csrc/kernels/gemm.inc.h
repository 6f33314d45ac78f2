/* GEMM micro-kernels: register tiles, packing, matrix-vector products and the epilogue.
 *
 * Every function here forms a result the same way: one FMA chain from zero in increasing k
 * for each block of FNN_GEMM_KC, block sums added in order, then bias, then activation. Tile
 * size, packing and strides change where operands lie, never the chain, so all paths of the
 * driver (gemm/gemm.c) agree bit for bit.
 *
 * Accumulators are separate variables, made by macros, and not an array: compilers keep
 * them in registers that way, whatever they make of loops over arrays of vectors.
 */
#ifndef FNN_GEMM_TIERS
#define FNN_GEMM_TIERS
#define FNN_TIER_generic 0
#define FNN_TIER_neon 1
#define FNN_TIER_avx2 2
#define FNN_TIER_avx512 3
#define FNN_TIER FNN_CAT(FNN_TIER_, FNN_ISA)

/* Rows and vectors of a register tile, and vectors of the few-row kernels. AVX-512: 14 x 2
 * accumulators, 2 of B and a broadcast fill 31 of 32 registers. AVX2 (a vector is two
 * registers): 6 x 2, 2 and 1 of 16. NEON (a vector is four): 6 x 4, 4 and 1 of 32. */
#define GEMV_UP_TO_6(X, m) X(m, 1) X(m, 2) X(m, 3) X(m, 4) X(m, 5) X(m, 6)
#define GEMV_UP_TO_8(X, m) GEMV_UP_TO_6(X, m) X(m, 7) X(m, 8)
#ifndef PFB
#define PFB 16
#endif
#define GEMV_LARGE (96 << 10) /* elements of B that make it large */
#define GEMV_AHEAD 8
#if FNN_TIER == FNN_TIER_avx512
#define GEMM_MR 14
#define GEMM_NV 2
#define GEMM_UNROLL 4
#define GEMM_SQUARE_UNROLL 16
#define GEMM_MASK_ALWAYS 1 /* masks cost nothing */
#define GEMM_ROWS(X, Y) X(1, Y) X(2, Y) X(3, Y) X(4, Y) X(5, Y) X(6, Y) X(7, Y) X(8, Y) \
    X(9, Y) X(10, Y) X(11, Y) X(12, Y) X(13, Y) X(14, Y)
#define GEMV_WIDTHS_1(X, m) GEMV_UP_TO_8(X, m)
#define GEMV_WIDTHS_2(X, m) GEMV_UP_TO_8(X, m)
#define GEMV_WIDTHS_3(X, m) GEMV_UP_TO_8(X, m)
#define GEMV_WIDTHS_4(X, m) GEMV_UP_TO_6(X, m)
#define GEMV_M 4
#define GEMV_RUN_1 8
#define GEMV_RUN_2 8
#define GEMV_RUN_3 4
#define GEMV_RUN_4 4
#define GEMV_WIDEST 8, 8, 8, 6
#elif FNN_TIER == FNN_TIER_generic
#define GEMM_MR 2
#define GEMM_NV 1
#define GEMM_UNROLL 1
#define GEMM_SQUARE_UNROLL 1
#define GEMM_MASK_ALWAYS 1
#define GEMM_ROWS(X, Y) X(1, Y) X(2, Y)
#define GEMV_WIDTHS_1(X, m) X(m, 1)
#define GEMV_WIDTHS_2(X, m) X(m, 1)
#define GEMV_WIDTHS_3(X, m)
#define GEMV_WIDTHS_4(X, m)
#define GEMV_M 2
#define GEMV_RUN_1 2
#define GEMV_RUN_2 2
#define GEMV_WIDEST 1, 1, 0, 0
#else
#define GEMM_MR 6
#define GEMM_NV 1
#define GEMM_UNROLL 4
#define GEMM_SQUARE_UNROLL 16
#define GEMM_MASK_ALWAYS 0
#define GEMM_ROWS(X, Y) X(1, Y) X(2, Y) X(3, Y) X(4, Y) X(5, Y) X(6, Y)
#define GEMV_WIDTHS_1(X, m) X(m, 1) X(m, 2) X(m, 3) X(m, 4)
#define GEMV_WIDTHS_2(X, m) X(m, 1) X(m, 2) X(m, 3)
#define GEMV_WIDTHS_3(X, m) X(m, 1) X(m, 2)
#define GEMV_WIDTHS_4(X, m) X(m, 1)
#define GEMV_M 4
#define GEMV_RUN_1 8
#define GEMV_RUN_2 4
#define GEMV_RUN_3 2
#define GEMV_RUN_4 2
#define GEMV_WIDEST 4, 3, 2, 1
#endif

#define GEMM_INLINE static inline __attribute__((always_inline, unused))
#define GEMM_APART static __attribute__((noinline))

/* Accumulators of a tile: row i, vector v. Unused ones vanish. */
#define GEMM_ALL_ROWS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) \
    X(12) X(13)
#endif

/* ---- epilogue ----------------------------------------------------------------------- */

GEMM_INLINE V FNN_NAME(gemm_act)(V x, int act) {
    switch (act) {
    case FNN_ACT_RELU:
        return v_maxnum(v_zero(), x); /* x where unordered: NaN stays */
    case FNN_ACT_SIGMOID:
        return m_sigmoid(x);
    case FNN_ACT_TANH:
        return m_tanh(x);
    case FNN_ACT_GELU:
        return m_gelu(x);
    default:
        return x;
    }
}

/* One copy of the loop per activation, so that the switch is decided outside of it. */
GEMM_INLINE void FNN_NAME(gemm_finish_act)(ptrdiff_t m, ptrdiff_t n, T *c, ptrdiff_t ldc,
                                           const T *bias, ptrdiff_t bias_step,
                                           const int act) {
    V add = bias != NULL ? v_set1(bias[0]) : v_zero();
    for (ptrdiff_t i = 0; i < m; i++, c += ldc) {
        for (ptrdiff_t j = 0; j < n; j += LANES) {
            ptrdiff_t w = n - j < LANES ? n - j : LANES;
            V x = v_loadn(c + j, w);
            if (bias != NULL) {
                if (bias_step != 0) {
                    add = v_loadn(bias + j, w);
                }
                x = v_add(x, add);
            }
            v_storen(c + j, FNN_NAME(gemm_act)(x, act), w);
        }
    }
}

GEMM_APART void FNN_NAME(gemm_finish)(ptrdiff_t m, ptrdiff_t n, void *c, ptrdiff_t ldc,
                                      const void *bias, ptrdiff_t bias_step, int act) {
#define CASE(name)                                                                      \
    case name:                                                                          \
        FNN_NAME(gemm_finish_act)(m, n, c, ldc, bias, bias_step, name);                 \
        break;
    switch (act) {
        CASE(FNN_ACT_NONE)
        CASE(FNN_ACT_RELU)
        CASE(FNN_ACT_SIGMOID)
        CASE(FNN_ACT_TANH)
        CASE(FNN_ACT_GELU)
    }
#undef CASE
}

/* ---- the register tile -------------------------------------------------------------- */

/* One row of a tile: nv vectors, of which the last holds `tail` lanes. */
GEMM_INLINE void FNN_NAME(gemm_put)(T *c, ptrdiff_t tail, bool first, const int nv, V v0,
                                    V v1) {
    T *end = c + (nv - 1) * LANES;
    V z = nv == 2 ? v1 : v0;
    if (nv == 2) {
        v_store(c, first ? v0 : v_add(v_load(c), v0));
    }
    if (GEMM_MASK_ALWAYS || tail < LANES) {
        v_storen(end, first ? z : v_add(v_loadn(end, tail), z), tail);
    } else {
        v_store(end, first ? z : v_add(v_load(end), z));
    }
}

/* m rows of nv vectors, both constants where this is expanded. packed: the steps are
 * constants too, so that loads become base plus displacement. masked: the last vector of B
 * holds only the lanes below n. */
GEMM_INLINE void FNN_NAME(gemm_tile_body)(const fnn_tile *t, const int m, const int nv,
                                          const bool packed, const bool masked) {
    const T *a = t->a;
    const T *b = t->b;
    const ptrdiff_t a_row = packed ? 1 : t->a_row;
    const ptrdiff_t a_k = packed ? m : t->a_k;
    const ptrdiff_t b_k = packed ? nv * LANES : t->b_k;
    const ptrdiff_t k = t->k, ldc = t->ldc;
    const ptrdiff_t tail = t->n - (nv - 1) * LANES;
    T *c = t->c;
#define SET(i) V c##i##_0 = v_zero(), c##i##_1 = v_zero();
    GEMM_ALL_ROWS(SET)
#undef SET
    if (packed) {
        for (int i = 0; i < m; i++) {
            __builtin_prefetch(c + i * ldc, 1, 3);
            __builtin_prefetch(c + i * ldc + t->n - 1, 1, 3);
        }
    }
    _Pragma(FNN_STR(GCC unroll GEMM_UNROLL))
    for (ptrdiff_t p = 0; p < k; p++) {
        V b0 = masked && nv == 1 ? v_loadn(b, tail) : v_load(b);
        V b1 = nv == 1 ? b0 : masked ? v_loadn(b + LANES, tail) : v_load(b + LANES);
        if (packed) {
            __builtin_prefetch(b + PFB * nv * LANES, 0, 3);
            if (nv == 2) {
                __builtin_prefetch(b + (2*PFB+1) * LANES, 0, 3);
            }
        }
#define STEP(i)                                                                         \
    if (i < m) {                                                                        \
        V x = v_set1(a[i * a_row]);                                                     \
        c##i##_0 = v_fma(x, b0, c##i##_0);                                              \
        if (nv == 2) {                                                                  \
            c##i##_1 = v_fma(x, b1, c##i##_1);                                          \
        }                                                                               \
    }
        GEMM_ALL_ROWS(STEP)
#undef STEP
        a += a_k;
        b += b_k;
    }

#define STORE(i)                                                                        \
    if (i < m) {                                                                        \
        FNN_NAME(gemm_put)(c + i * ldc, tail, true, nv, c##i##_0, c##i##_1);            \
    }
#define ADD(i)                                                                          \
    if (i < m) {                                                                        \
        FNN_NAME(gemm_put)(c + i * ldc, tail, false, nv, c##i##_0, c##i##_1);           \
    }
    if (t->first) {
        GEMM_ALL_ROWS(STORE)
    } else {
        GEMM_ALL_ROWS(ADD)
    }
#undef STORE
#undef ADD
}

#define TILE(m_, nv_)                                                                   \
    static void FNN_NAME(gemm_packed_##m_##x##nv_)(const fnn_tile *t) {                 \
        FNN_NAME(gemm_tile_body)(t, m_, nv_, true, false);                              \
    }                                                                                   \
    static void FNN_NAME(gemm_direct_##m_##x##nv_)(const fnn_tile *t) {                 \
        FNN_NAME(gemm_tile_body)(t, m_, nv_, false, false);                             \
    }                                                                                   \
    static void FNN_NAME(gemm_masked_##m_##x##nv_)(const fnn_tile *t) {                 \
        FNN_NAME(gemm_tile_body)(t, m_, nv_, false, true);                              \
    }
GEMM_ROWS(TILE, 1)
#if GEMM_NV == 2
GEMM_ROWS(TILE, 2)
#endif
#undef TILE

/* [packed, direct, masked][vectors - 1][rows - 1] */
#define PACKED(m, nv) FNN_NAME(gemm_packed_##m##x##nv),
#define DIRECT(m, nv) FNN_NAME(gemm_direct_##m##x##nv),
#define MASKED(m, nv) FNN_NAME(gemm_masked_##m##x##nv),
static const fnn_tile_fn FNN_NAME(gemm_tiles)[3][GEMM_NV][GEMM_MR] = {
#if GEMM_NV == 2
    {{GEMM_ROWS(PACKED, 1)}, {GEMM_ROWS(PACKED, 2)}},
    {{GEMM_ROWS(DIRECT, 1)}, {GEMM_ROWS(DIRECT, 2)}},
    {{GEMM_ROWS(MASKED, 1)}, {GEMM_ROWS(MASKED, 2)}},
#else
    {{GEMM_ROWS(PACKED, 1)}},
    {{GEMM_ROWS(DIRECT, 1)}},
    {{GEMM_ROWS(MASKED, 1)}},
#endif
};
#undef PACKED
#undef DIRECT
#undef MASKED

static void FNN_NAME(gemm_run)(const fnn_tile *t) {
    int nv = t->n > LANES;
    int kind = t->packed ? 0 : t->b_padded || t->n == (nv + 1) * LANES ? 1 : 2;
    FNN_NAME(gemm_tiles)[kind][nv][t->m - 1](t);
    if (t->last && (t->bias != NULL || t->act != FNN_ACT_NONE)) {
        FNN_NAME(gemm_finish)(t->m, t->n, t->c, t->ldc, t->bias, 1, t->act);
    }
}

/* ---- few rows: B is streamed once ---------------------------------------------------- */

/* Columns j to j + (w - 1) * LANES + tail of m rows, over all of k, where rows of B are
 * contiguous. More vectors than a tile has, for one row's two chains would wait out the
 * latency of every FMA. */
#define ALL_COLS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
GEMM_INLINE void FNN_NAME(gemv_body)(const fnn_tile *t, ptrdiff_t j, ptrdiff_t tail,
                                     const int m, const int w) {
    const ptrdiff_t a_row = t->a_row, a_k = t->a_k, b_k = t->b_k, ldc = t->ldc;
    const T *a = t->a;
    const T *b = (const T *)t->b + j;
    T *c = (T *)t->c + j;
    ptrdiff_t left = t->k;
    bool first = true;
    do {
        ptrdiff_t k = left < FNN_GEMM_KC ? left : FNN_GEMM_KC;
        left -= k;
#define SET(v) V c0_##v = v_zero(), c1_##v = v_zero(), c2_##v = v_zero(), c3_##v = v_zero();
        ALL_COLS(SET)
#undef SET
        _Pragma(FNN_STR(GCC unroll GEMM_UNROLL))
        for (ptrdiff_t p = 0; p < k; p++) {
            V x0 = v_set1(a[0]);
            V x1 = m > 1 ? v_set1(a[a_row]) : x0;
            V x2 = m > 2 ? v_set1(a[2 * a_row]) : x0;
            V x3 = m > 3 ? v_set1(a[3 * a_row]) : x0;
#define STEP(v)                                                                         \
    if (v < w) {                                                                        \
        V y = v == w - 1 ? v_loadn(b + v * LANES, tail) : v_load(b + v * LANES);        \
        c0_##v = v_fma(x0, y, c0_##v);                                                  \
        if (m > 1) {                                                                    \
            c1_##v = v_fma(x1, y, c1_##v);                                              \
        }                                                                               \
        if (m > 2) {                                                                    \
            c2_##v = v_fma(x2, y, c2_##v);                                              \
        }                                                                               \
        if (m > 3) {                                                                    \
            c3_##v = v_fma(x3, y, c3_##v);                                              \
        }                                                                               \
        __builtin_prefetch(b + GEMV_AHEAD * b_k + v * LANES, 0, 3);                     \
    }
            ALL_COLS(STEP)
#undef STEP
            a += a_k;
            b += b_k;
        }
#define ROW(i, v)                                                                       \
    if (i < m && v < w - 1) {                                                           \
        T *to = c + i * ldc + v * LANES;                                                \
        v_store(to, first ? c##i##_##v : v_add(v_load(to), c##i##_##v));                \
    }                                                                                   \
    if (i < m && v == w - 1) {                                                          \
        T *to = c + i * ldc + v * LANES;                                                \
        v_storen(to, first ? c##i##_##v : v_add(v_loadn(to, tail), c##i##_##v), tail);  \
    }
#define PUT(v) ROW(0, v) ROW(1, v) ROW(2, v) ROW(3, v)
        ALL_COLS(PUT)
#undef PUT
#undef ROW
        first = false;
    } while (left > 0);
}
#undef ALL_COLS

typedef void (*FNN_NAME(gemv_part))(const fnn_tile *t, ptrdiff_t j, ptrdiff_t tail);
#define GEMV(m_, w_)                                                                    \
    static void FNN_NAME(gemv_##m_##x##w_)(const fnn_tile *t, ptrdiff_t j,              \
                                           ptrdiff_t tail) {                            \
        FNN_NAME(gemv_body)(t, j, tail, m_, w_);                                        \
    }
GEMV_WIDTHS_1(GEMV, 1)
GEMV_WIDTHS_2(GEMV, 2)
GEMV_WIDTHS_3(GEMV, 3)
GEMV_WIDTHS_4(GEMV, 4)
#undef GEMV
#define GEMV(m, w) FNN_NAME(gemv_##m##x##w),
static const FNN_NAME(gemv_part) FNN_NAME(gemv_parts)[4][8] = {
    {GEMV_WIDTHS_1(GEMV, 1)},
    {GEMV_WIDTHS_2(GEMV, 2)},
    {GEMV_WIDTHS_3(GEMV, 3)},
    {GEMV_WIDTHS_4(GEMV, 4)},
};
#undef GEMV

/* The same for a large B: r whole rows at a time, so that memory is read in long runs, the
 * sums of a k-block lying in L1. At most GEMV_SPAN columns. */
#define GEMV_SPAN (64 * LANES)
GEMM_INLINE void FNN_NAME(gemv_rows)(const T *a, ptrdiff_t a_row, ptrdiff_t a_k, const T *b,
                                     ptrdiff_t b_k, T (*sum)[GEMV_SPAN], ptrdiff_t n,
                                     bool zero, const int m, const int r) {
    V x0[8], x1[8], x2[8], x3[8];
#pragma GCC unroll 8
    for (int l = 0; l < r; l++) {
        x0[l] = v_set1(a[l * a_k]);
        x1[l] = m > 1 ? v_set1(a[a_row + l * a_k]) : x0[l];
        x2[l] = m > 2 ? v_set1(a[2 * a_row + l * a_k]) : x0[l];
        x3[l] = m > 3 ? v_set1(a[3 * a_row + l * a_k]) : x0[l];
    }
    for (ptrdiff_t j = 0; j < n; j += LANES) {
        V c0 = zero ? v_zero() : v_load(sum[0] + j);
        V c1 = m < 2 || zero ? v_zero() : v_load(sum[1] + j);
        V c2 = m < 3 || zero ? v_zero() : v_load(sum[2] + j);
        V c3 = m < 4 || zero ? v_zero() : v_load(sum[3] + j);
#pragma GCC unroll 8
        for (int l = 0; l < r; l++) {
            const T *from = b + l * b_k + j;
            V y = n - j < LANES ? v_loadn(from, n - j) : v_load(from);
            __builtin_prefetch(from + r * b_k, 0, 2);
            c0 = v_fma(x0[l], y, c0);
            c1 = m > 1 ? v_fma(x1[l], y, c1) : c1;
            c2 = m > 2 ? v_fma(x2[l], y, c2) : c2;
            c3 = m > 3 ? v_fma(x3[l], y, c3) : c3;
        }
        v_store(sum[0] + j, c0);
        if (m > 1) {
            v_store(sum[1] + j, c1);
        }
        if (m > 2) {
            v_store(sum[2] + j, c2);
        }
        if (m > 3) {
            v_store(sum[3] + j, c3);
        }
    }
}

GEMM_INLINE void FNN_NAME(gemv_span)(const fnn_tile *t, ptrdiff_t j, ptrdiff_t n,
                                     const int m, const int r) {
    T sum[4][GEMV_SPAN] __attribute__((aligned(64)));
    const T *a = t->a;
    const T *b = (const T *)t->b + j;
    T *c = (T *)t->c + j;
    for (ptrdiff_t q = 0; q < t->k; q += FNN_GEMM_KC) {
        const ptrdiff_t k = t->k - q < FNN_GEMM_KC ? t->k - q : FNN_GEMM_KC;
        ptrdiff_t p = 0;
        for (; p + r <= k; p += r, a += r * t->a_k, b += r * t->b_k) {
            FNN_NAME(gemv_rows)(a, t->a_row, t->a_k, b, t->b_k, sum, n, p == 0, m, r);
        }
        for (; p < k; p++, a += t->a_k, b += t->b_k) {
            FNN_NAME(gemv_rows)(a, t->a_row, t->a_k, b, t->b_k, sum, n, p == 0, m, 1);
        }
        for (int i = 0; i < m; i++) {
            for (ptrdiff_t l = 0; l < n; l += LANES) {
                const ptrdiff_t w = n - l < LANES ? n - l : LANES;
                T *to = c + i * t->ldc + l;
                V x = v_load(sum[i] + l);
                v_storen(to, q == 0 ? x : v_add(v_loadn(to, w), x), w);
            }
        }
    }
}

#define GEMV(m_, r_)                                                                    \
    GEMM_APART void FNN_NAME(gemv_span_##m_)(const fnn_tile *t, ptrdiff_t j,            \
                                             ptrdiff_t n) {                             \
        FNN_NAME(gemv_span)(t, j, n, m_, r_);                                           \
    }
GEMV(1, GEMV_RUN_1)
GEMV(2, GEMV_RUN_2)
#if GEMV_M == 4
GEMV(3, GEMV_RUN_3)
GEMV(4, GEMV_RUN_4)
#endif
#undef GEMV
static const FNN_NAME(gemv_part) FNN_NAME(gemv_spans)[4] = {
    FNN_NAME(gemv_span_1),
    FNN_NAME(gemv_span_2),
#if GEMV_M == 4
    FNN_NAME(gemv_span_3),
    FNN_NAME(gemv_span_4),
#endif
};

/* Columns of B contiguous: squares of B are transposed in registers and used at once, g
 * groups of LANES columns in turn, whose chains overlap. col has g * LANES pointers, the
 * last ones repeated where n ends. */
GEMM_INLINE void FNN_NAME(gemv_square)(const fnn_tile *t, const T *const *col, T *c,
                                       ptrdiff_t n, const int m, const int g) {
    const ptrdiff_t a_row = t->a_row, a_k = t->a_k, ldc = t->ldc;
    const T *a = t->a;
    ptrdiff_t q = 0;
    do {
        const ptrdiff_t end = t->k - q < FNN_GEMM_KC ? t->k : q + FNN_GEMM_KC;
        const bool first = q == 0;
        V c0_0 = v_zero(), c1_0 = c0_0, c2_0 = c0_0, c3_0 = c0_0;
        V c0_1 = c0_0, c1_1 = c0_0, c2_1 = c0_0, c3_1 = c0_0;
        V r[LANES];
#define USE(l, s)                                                                       \
    c0_##s = v_fma(v_set1(a[(l) * a_k]), r[l], c0_##s);                                 \
    c1_##s = m > 1 ? v_fma(v_set1(a[a_row + (l) * a_k]), r[l], c1_##s) : c1_##s;        \
    c2_##s = m > 2 ? v_fma(v_set1(a[2 * a_row + (l) * a_k]), r[l], c2_##s) : c2_##s;    \
    c3_##s = m > 3 ? v_fma(v_set1(a[3 * a_row + (l) * a_k]), r[l], c3_##s) : c3_##s;
        for (; q + LANES <= end; q += LANES, a += LANES * a_k) {
#define SQUARE(s)                                                                       \
    _Pragma(FNN_STR(GCC unroll GEMM_SQUARE_UNROLL)) for (int l = 0; l < LANES; l++) {   \
        const T *from = col[s * LANES + l] + q;                                         \
        __builtin_prefetch(from + 8 * LANES, 0, 3);                                     \
        r[l] = v_load(from);                                                            \
    }                                                                                   \
    v_transpose(r);                                                                     \
    _Pragma(FNN_STR(GCC unroll GEMM_SQUARE_UNROLL)) for (int l = 0; l < LANES; l++) {   \
        USE(l, s)                                                                       \
    }
            SQUARE(0)
            if (g > 1) {
                SQUARE(1)
            }
#undef SQUARE
        }
        if (q < end) {
#define REST(s)                                                                         \
    for (int l = 0; l < LANES; l++) {                                                   \
        r[l] = v_loadn(col[s * LANES + l] + q, end - q);                                \
    }                                                                                   \
    v_transpose(r);                                                                     \
    for (int l = 0; l < end - q; l++) {                                                 \
        USE(l, s)                                                                       \
    }
            REST(0)
            if (g > 1) {
                REST(1)
            }
#undef REST
            a += (end - q) * a_k;
            q = end;
        }
#undef USE
#define PUT(i, s)                                                                       \
    if (i < m && s < g) {                                                               \
        const ptrdiff_t w = n - s * LANES < LANES ? n - s * LANES : LANES;              \
        T *to = c + i * ldc + s * LANES;                                                \
        v_storen(to, first ? c##i##_##s : v_add(v_loadn(to, w), c##i##_##s), w);        \
    }
        PUT(0, 0) PUT(1, 0) PUT(2, 0) PUT(3, 0)
        PUT(0, 1) PUT(1, 1) PUT(2, 1) PUT(3, 1)
#undef PUT
    } while (q < t->k);
}

#define GEMV(m, g)                                                                      \
    GEMM_APART void FNN_NAME(gemv_square_##m##x##g)(                                    \
        const fnn_tile *t, const T *const *col, T *c, ptrdiff_t n) {                    \
        FNN_NAME(gemv_square)(t, col, c, n, m, g);                                      \
    }
#define GEMV_GROUPS(m) GEMV(m, 1) GEMV(m, 2)
GEMV_GROUPS(1)
GEMV_GROUPS(2)
#if GEMV_M == 4
GEMV_GROUPS(3)
GEMV_GROUPS(4)
#endif
#undef GEMV_GROUPS
#undef GEMV
#define GEMV(m) {FNN_NAME(gemv_square_##m##x1), FNN_NAME(gemv_square_##m##x2)},
typedef void (*FNN_NAME(gemv_square_fn))(const fnn_tile *t, const T *const *col, T *c,
                                         ptrdiff_t n);
static const FNN_NAME(gemv_square_fn) FNN_NAME(gemv_squares)[GEMV_M][2] = {
    GEMV(1) GEMV(2)
#if GEMV_M == 4
    GEMV(3) GEMV(4)
#endif
};
#undef GEMV

static const signed char FNN_NAME(gemv_widest)[4] = {GEMV_WIDEST};

static void FNN_NAME(gemm_gemv)(const fnn_tile *t) {
    const ptrdiff_t m = t->m, n = t->n;
    const T *b = t->b;
    T *c = t->c;
    if (t->b_col == 1 && t->k > 0 && n >= 16 * LANES && n * t->k >= GEMV_LARGE) {
        for (ptrdiff_t j = 0; j < n; j += GEMV_SPAN) {
            FNN_NAME(gemv_spans)[m - 1](t, j, n - j < GEMV_SPAN ? n - j : GEMV_SPAN);
        }
    } else if (t->b_col == 1) {
        const ptrdiff_t widest = FNN_NAME(gemv_widest)[m - 1];
        for (ptrdiff_t j = 0; j < n; j += widest * LANES) {
            ptrdiff_t w = (n - j + LANES - 1) / LANES;
            w = w < widest ? w : widest;
            ptrdiff_t tail = n - j - (w - 1) * LANES;
            FNN_NAME(gemv_parts)[m - 1][w - 1](t, j, tail < LANES ? tail : LANES);
        }
    } else {
        for (ptrdiff_t j = 0; j < n; j += 2 * LANES) {
            const ptrdiff_t w = n - j < 2 * LANES ? n - j : 2 * LANES;
            const T *col[2 * LANES];
            for (int l = 0; l < 2 * LANES; l++) {
                col[l] = b + (j + (l < w ? l : w - 1)) * t->b_col;
            }
            FNN_NAME(gemv_squares)[m - 1][w > LANES](t, col, c + j, w);
        }
    }
    if (t->bias != NULL || t->act != FNN_ACT_NONE) {
        FNN_NAME(gemm_finish)(m, n, c, t->ldc, t->bias, 1, t->act);
    }
}

/* ---- packing ------------------------------------------------------------------------- */

/* One panel, dst[p*w + i] = src[i*line + p], i < m <= w, p < k: lines become columns, in
 * squares transposed in registers. Whole vectors are stored: what runs over a row's end is
 * overwritten by the next row, or lies in the next panel, packed later, or in the margin
 * behind the last. Lanes from m on hold copies. The next panel's lines are fetched. */
GEMM_INLINE void FNN_NAME(gemm_pack_across)(ptrdiff_t m, ptrdiff_t w, ptrdiff_t k,
                                            const T *src, ptrdiff_t line, T *dst) {
    const ptrdiff_t next = m * line;
    for (ptrdiff_t i = (m - 1) / LANES * LANES; i >= 0; i -= LANES) {
        const ptrdiff_t rows = m - i < LANES ? m - i : LANES;
        const T *from[LANES];
        for (ptrdiff_t l = 0; l < LANES; l++) {
            from[l] = src + (i + (l < rows ? l : rows - 1)) * line;
        }
        T *to = dst + i;
        V r[LANES];
        ptrdiff_t p = 0;
        for (; p + LANES <= k; p += LANES, to += LANES * w) {
            _Pragma(FNN_STR(GCC unroll GEMM_SQUARE_UNROLL))
            for (int l = 0; l < LANES; l++) {
                __builtin_prefetch(from[l] + p + next, 0, 2);
                r[l] = v_load(from[l] + p);
            }
            v_transpose(r);
            _Pragma(FNN_STR(GCC unroll GEMM_SQUARE_UNROLL))
            for (int l = 0; l < LANES; l++) {
                v_store(to + l * w, r[l]);
            }
        }
        if (p < k) {
            for (int l = 0; l < LANES; l++) {
                r[l] = v_loadn(from[l] + p, k - p);
            }
            v_transpose(r);
            for (int l = 0; l < k - p; l++, to += w) {
                v_store(to, r[l]);
            }
        }
    }
}

static void FNN_NAME(gemm_pack_a)(ptrdiff_t m, ptrdiff_t tiles, ptrdiff_t k, const void *a,
                                  ptrdiff_t row, ptrdiff_t col, void *dst) {
    const ptrdiff_t height = m / tiles, extra = m % tiles;
    const T *src = a;
    T *to = dst;
    if (row == 1 && col != 1) {
        /* Along the rows of memory, across all panels; masked at a panel's end, for the
         * next one's first row is already there. */
        for (ptrdiff_t p = 0; p < k; p++, src += col) {
            const T *from = src;
            T *panel = to;
            for (ptrdiff_t t = 0; t < tiles; t++) {
                const ptrdiff_t h = height + (t < extra);
                for (ptrdiff_t i = 0; i < h; i += LANES) {
                    const ptrdiff_t w = h - i < LANES ? h - i : LANES;
                    const V x = v_loadn(from + i, w);
                    __builtin_prefetch(from + i + 4 * col, 0, 3);
                    if (p * h + i + LANES <= k * h) {
                        v_store(panel + p * h + i, x);
                    } else {
                        v_storen(panel + p * h + i, x, w);
                    }
                }
                from += h;
                panel += h * k;
            }
        }
        return;
    }
    for (ptrdiff_t t = 0; t < tiles; t++) {
        const ptrdiff_t h = height + (t < extra);
        if (col == 1) {
            FNN_NAME(gemm_pack_across)(h, h, k, src, row, to);
        } else {
            for (ptrdiff_t p = 0; p < k; p++) {
                for (ptrdiff_t i = 0; i < h; i++) {
                    to[p * h + i] = src[i * row + p * col];
                }
            }
        }
        src += h * row;
        to += h * k;
    }
}

static void FNN_NAME(gemm_pack_b)(ptrdiff_t n, ptrdiff_t k, const void *b, ptrdiff_t row,
                                  ptrdiff_t col, void *dst) {
    enum { NR = GEMM_NV * LANES, SPAN = 4 * NR };
    if (col == 1) {
        /* Along the rows of memory, four panels at a time. */
        for (ptrdiff_t j0 = 0; j0 < n; j0 += SPAN) {
            const ptrdiff_t end = n - j0 < SPAN ? n : j0 + SPAN;
            const T *src = b;
            for (ptrdiff_t p = 0; p < k; p++, src += row) {
                ptrdiff_t j = j0;
                for (; j + NR <= end; j += NR) {
                    T *to = (T *)dst + j * k + p * NR;
                    for (ptrdiff_t l = 0; l < NR; l += LANES) {
                        __builtin_prefetch(src + j + l + 8 * row, 0, 3);
                        v_store(to + l, v_load(src + j + l));
                    }
                }
                if (j < end) {
                    const ptrdiff_t w = (end - j + LANES - 1) / LANES * LANES;
                    T *to = (T *)dst + j * k + p * w;
                    for (; j < end; j += LANES, to += LANES) {
                        v_store(to, v_loadn(src + j, end - j < LANES ? end - j : LANES));
                    }
                }
            }
        }
        return;
    }
    for (ptrdiff_t j = 0; j < n; j += NR) {
        const ptrdiff_t cols = n - j < NR ? n - j : NR;
        const ptrdiff_t w = (cols + LANES - 1) / LANES * LANES;
        const T *src = (const T *)b + j * col;
        T *to = (T *)dst + j * k;
        if (row == 1) {
            FNN_NAME(gemm_pack_across)(cols, w, k, src, col, to);
        } else {
            for (ptrdiff_t p = 0; p < k; p++, src += row, to += w) {
                for (ptrdiff_t i = 0; i < w; i++) {
                    to[i] = i < cols ? src[i * col] : 0;
                }
            }
        }
    }
}

static const fnn_gemm_tile FNN_NAME(gemm_tile) = {
    .tile = FNN_NAME(gemm_run),
    .gemv = FNN_NAME(gemm_gemv),
    .pack_a = FNN_NAME(gemm_pack_a),
    .pack_b = FNN_NAME(gemm_pack_b),
    .finish = FNN_NAME(gemm_finish),
    .mr = GEMM_MR,
    .nr = GEMM_NV * LANES,
    .lanes = LANES,
    .gemv_m = GEMV_M,
};

/* GEMM micro-kernels: register tiles, packing, matrix-vector products and the epilogue.
 *
 * Every function here forms a result the same way: one FMA chain from zero in
 * increasing k for each block of FNN_GEMM_KC, block sums added in order, then bias,
 * then residual, then activation. Tile size, packing and strides change where operands lie, never the
 * chain, so all paths of the driver (gemm/gemm.c) agree bit for bit.
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

/* Rows and vectors of a register tile, and vectors of the few-row kernels. AVX-512:
 * 14 x 2 accumulators, 2 of B and a broadcast fill 31 of 32 registers. AVX2 (a
 * vector is two registers): 6 x 2, 2 and 1 of 16. NEON (a vector is four): 6 x 4, 4
 * and 1 of 32. */
#define GEMV_UP_TO_6(X, m) \
    X(m, 1)                \
    X(m, 2)                \
    X(m, 3)                \
    X(m, 4)                \
    X(m, 5)                \
    X(m, 6)
#define GEMV_UP_TO_8(X, m)     \
    GEMV_UP_TO_6(X, m) X(m, 7) \
    X(m, 8)
#define GEMM_AHEAD 16         /* rows of a packed panel of B prefetched ahead */
#define GEMV_LARGE (96 << 10) /* elements of B from which it is read in long runs */
#define GEMV_FAR (4 << 20)    /* elements of B that no cache holds */
#define GEMV_ROW 2048         /* bytes of a row of B that is no long run */
#define GEMV_STREAM 4096      /* bytes ahead where B is one stream from memory */
#define GEMV_AHEAD 8          /* lines of a column prefetched ahead where it is far */
#if FNN_TIER == FNN_TIER_avx512
#define GEMM_MR 14
#define GEMM_NV 2
#define GEMM_UNROLL 4
#define GEMM_MASK_ALWAYS 1 /* masks cost nothing */
#define GEMM_ROWS(X, Y) \
    X(1, Y)             \
    X(2, Y)             \
    X(3, Y)             \
    X(4, Y)             \
    X(5, Y)             \
    X(6, Y)             \
    X(7, Y)             \
    X(8, Y)             \
    X(9, Y)             \
    X(10, Y)            \
    X(11, Y)            \
    X(12, Y)            \
    X(13, Y)            \
    X(14, Y)
#define GEMV_WIDTHS_1(X, m) GEMV_UP_TO_8(X, m)
#define GEMV_WIDTHS_2(X, m) GEMV_UP_TO_8(X, m)
#define GEMV_WIDTHS_3(X, m) GEMV_UP_TO_8(X, m)
#define GEMV_WIDTHS_4(X, m) GEMV_UP_TO_6(X, m)
#define GEMV_M 4
#define GEMV_RUN_1 4
#define GEMV_RUN_2 4
#define GEMV_RUN_3 4
#define GEMV_RUN_4 4
#define GEMV_WIDEST 8, 8, 8, 6
#elif FNN_TIER == FNN_TIER_generic
#define GEMM_MR 2
#define GEMM_NV 1
#define GEMM_UNROLL 1
#define GEMM_MASK_ALWAYS 1
#define GEMM_ROWS(X, Y) \
    X(1, Y)             \
    X(2, Y)
#define GEMV_M 0 /* speed is not the point */
#else
#define GEMM_MR 6
#define GEMM_NV 1
#define GEMM_UNROLL 4
#define GEMM_MASK_ALWAYS 0
#define GEMM_ROWS(X, Y) \
    X(1, Y)             \
    X(2, Y)             \
    X(3, Y)             \
    X(4, Y)             \
    X(5, Y)             \
    X(6, Y)
#define GEMV_WIDTHS_1(X, m) \
    X(m, 1)                 \
    X(m, 2)                 \
    X(m, 3)                 \
    X(m, 4)
#define GEMV_WIDTHS_2(X, m) \
    X(m, 1)                 \
    X(m, 2)                 \
    X(m, 3)
#define GEMV_WIDTHS_3(X, m) \
    X(m, 1)                 \
    X(m, 2)
#define GEMV_WIDTHS_4(X, m) X(m, 1)
#define GEMV_M 4
#define GEMV_RUN_1 4
#define GEMV_RUN_2 4
#define GEMV_RUN_3 2
#define GEMV_RUN_4 2
#define GEMV_WIDEST 4, 3, 2, 1
#endif

#ifndef GEMM_INLINE
#define GEMM_INLINE static inline __attribute__((always_inline, unused))
#endif
#define GEMM_APART static __attribute__((noinline))

/* Accumulators of a tile: row i, vector v. Unused ones vanish. */
#define GEMM_ALL_ROWS(X) \
    X(0)                 \
    X(1)                 \
    X(2)                 \
    X(3)                 \
    X(4)                 \
    X(5)                 \
    X(6)                 \
    X(7)                 \
    X(8)                 \
    X(9)                 \
    X(10)                \
    X(11)                \
    X(12)                \
    X(13)

#define GEMM_ZERO(i) V c##i##_0 = v_zero(), c##i##_1 = v_zero();
/* All rows of a tile go to c, by gemm_put: m, nv, tail, c and ldc are those around it. */
#define GEMM_STORE(i)                                                        \
    if (i < m) {                                                             \
        FNN_NAME(gemm_put)(c + i * ldc, tail, true, nv, c##i##_0, c##i##_1); \
    }
#define GEMM_ADD(i)                                                           \
    if (i < m) {                                                              \
        FNN_NAME(gemm_put)(c + i * ldc, tail, false, nv, c##i##_0, c##i##_1); \
    }
#define GEMM_PUT_ALL(first)       \
    if (first) {                  \
        GEMM_ALL_ROWS(GEMM_STORE) \
    } else {                      \
        GEMM_ALL_ROWS(GEMM_ADD)   \
    }
#endif

/* ---- epilogue ------------------------------------------------------------------- */

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
GEMM_INLINE void FNN_NAME(gemm_finish_act)(ptrdiff_t m, ptrdiff_t n, T *c,
                                           ptrdiff_t ldc, const T *bias,
                                           ptrdiff_t bias_step, const int act) {
    for (ptrdiff_t j = 0; j < n; j += LANES) {
        const ptrdiff_t w = n - j < LANES ? n - j : LANES;
        V add = v_zero();
        if (bias != NULL) {
            add = bias_step == 0 ? v_set1(bias[0]) : v_loadn(bias + j, w);
        }
        for (ptrdiff_t i = 0; i < m; i++) {
            T *to = c + i * ldc + j;
            V x = w == LANES ? v_load(to) : v_loadn(to, w);
            x = FNN_NAME(gemm_act)(bias != NULL ? v_add(x, add) : x, act);
            if (w == LANES) {
                v_store(to, x);
            } else {
                v_storen(to, x, w);
            }
        }
    }
}

/* A pass of its own, over what the caches have, so that the others stay as they are. */
GEMM_APART void FNN_NAME(gemm_residual)(ptrdiff_t m, ptrdiff_t n, T *c, ptrdiff_t ldc,
                                        const T *bias, ptrdiff_t bias_step,
                                        const T *residual) {
    for (ptrdiff_t j = 0; j < n; j += LANES) {
        const ptrdiff_t w = n - j < LANES ? n - j : LANES;
        V add = v_zero();
        if (bias != NULL) {
            add = bias_step == 0 ? v_set1(bias[0]) : v_loadn(bias + j, w);
        }
        for (ptrdiff_t i = 0; i < m; i++) {
            T *to = c + i * ldc + j;
            const T *from = residual + i * ldc + j;
            V x = w == LANES ? v_load(to) : v_loadn(to, w);
            x = bias != NULL ? v_add(x, add) : x;
            x = v_add(x, w == LANES ? v_load(from) : v_loadn(from, w));
            if (w == LANES) {
                v_store(to, x);
            } else {
                v_storen(to, x, w);
            }
        }
    }
}

GEMM_APART void FNN_NAME(gemm_finish)(ptrdiff_t m, ptrdiff_t n, void *c, ptrdiff_t ldc,
                                      const void *bias, ptrdiff_t bias_step,
                                      const void *residual, int act) {
    if (residual != NULL) {
        FNN_NAME(gemm_residual)(m, n, c, ldc, bias, bias_step, residual);
        bias = NULL;
    }
    if (bias == NULL && act == FNN_ACT_NONE) {
        return;
    }
#define CASE(name)                                                      \
    case name:                                                          \
        FNN_NAME(gemm_finish_act)(m, n, c, ldc, bias, bias_step, name); \
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

/* ---- the register tile ---------------------------------------------------------- */

/* One row of a tile: nv vectors, of which the last holds `tail` lanes. */
GEMM_INLINE void FNN_NAME(gemm_put)(T *c, ptrdiff_t tail, bool first, const int nv,
                                    V v0, V v1) {
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
 * constants too, so that loads become base plus displacement. masked: the last
 * vector of B holds only the lanes below n. packing: of A alone, and B becomes a panel on
 * the way, its stores in the shadow of the arithmetic. */
GEMM_INLINE void FNN_NAME(gemm_tile_body)(const fnn_tile *t, const int m, const int nv,
                                          const bool packed, const bool masked,
                                          const bool packing) {
    const T *a = t->a;
    const T *b = t->b;
    const ptrdiff_t a_row = packed ? 1 : t->a_row;
    const ptrdiff_t a_k = packed ? m : t->a_k;
    const ptrdiff_t b_k = packed && !packing ? nv * LANES : t->b_k;
    T *panel = t->panel;
    const ptrdiff_t k = t->k, ldc = t->ldc;
    const ptrdiff_t tail = t->n - (nv - 1) * LANES;
    T *c = t->c;
    GEMM_ALL_ROWS(GEMM_ZERO)
    const T *ahead = t->ahead;
    const ptrdiff_t ahead_step = t->ahead_step;
    if (packed) { /* to L2: rows a power of two apart would not stay in L1 */
        for (int i = 0; i < m; i++) {
            __builtin_prefetch(c + i * ldc, 0, 2);
            __builtin_prefetch(c + i * ldc + t->n - 1, 0, 2);
        }
    }
#define STEP(i)                                \
    if (i < m) {                               \
        V x = v_set1(a[i * a_row]);            \
        c##i##_0 = v_fma(x, b0, c##i##_0);     \
        if (nv == 2) {                         \
            c##i##_1 = v_fma(x, b1, c##i##_1); \
        }                                      \
    }
#define ONE_K                                                                        \
    {                                                                                \
        V b0 = masked && nv == 1 ? v_loadn(b, tail) : v_load(b);                     \
        V b1 = nv == 1 ? b0 : masked ? v_loadn(b + LANES, tail) : v_load(b + LANES); \
        if (packing) {                                                               \
            v_store(panel, b0);                                                      \
            if (nv == 2) {                                                           \
                v_store(panel + LANES, b1);                                          \
            }                                                                        \
            panel += nv * LANES;                                                     \
        } else if (packed) {                                                         \
            __builtin_prefetch(b + GEMM_AHEAD * nv * LANES, 0, 3);                   \
            if (nv == 2) {                                                           \
                __builtin_prefetch(b + (2 * GEMM_AHEAD + 1) * LANES, 0, 3);          \
            }                                                                        \
        }                                                                            \
        if (packed && ahead_step != 0) {                                             \
            __builtin_prefetch(ahead, 0, 2);                                         \
            __builtin_prefetch((const char *)ahead + 64, 0, 2);                      \
            ahead += ahead_step;                                                     \
        }                                                                            \
        GEMM_ALL_ROWS(STEP)                                                          \
        a += a_k;                                                                    \
        b += b_k;                                                                    \
    }
    const int unroll = masked ? 1 : GEMM_UNROLL;
    ptrdiff_t p = 0;
    for (; p + unroll <= k; p += unroll) {
#pragma GCC unroll 4
        for (int u = 0; u < unroll; u++) ONE_K
    }
    for (; p < k; p++) ONE_K
#undef ONE_K
#undef STEP

    GEMM_PUT_ALL(t->first)
}

#define TILE(m_, nv_)                                                   \
    static void FNN_NAME(gemm_packed_##m_##x##nv_)(const fnn_tile *t) { \
        FNN_NAME(gemm_tile_body)(t, m_, nv_, true, false, false);       \
    }                                                                   \
    static void FNN_NAME(gemm_direct_##m_##x##nv_)(const fnn_tile *t) { \
        FNN_NAME(gemm_tile_body)(t, m_, nv_, false, false, false);      \
    }                                                                   \
    static void FNN_NAME(gemm_masked_##m_##x##nv_)(const fnn_tile *t) { \
        FNN_NAME(gemm_tile_body)(t, m_, nv_, false, true, false);       \
    }
GEMM_ROWS(TILE, 1)
#if GEMM_NV == 2
GEMM_ROWS(TILE, 2)
#endif
#undef TILE
#define TILE(m_, nv_)                                            \
    static void FNN_NAME(gemm_packing_##m_)(const fnn_tile *t) { \
        FNN_NAME(gemm_tile_body)(t, m_, nv_, true, false, true); \
    }
GEMM_ROWS(TILE, GEMM_NV)
#undef TILE
#define PACKING(m, nv) FNN_NAME(gemm_packing_##m),
static const fnn_tile_fn FNN_NAME(gemm_packing)[GEMM_MR] = {
    GEMM_ROWS(PACKING, GEMM_NV)};
#undef PACKING

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
    if (t->last && t->residual != NULL) { /* it comes while the tile is computed */
        const T *row = t->residual;
        for (ptrdiff_t i = 0; i < t->m; i++, row += t->ldc) {
            __builtin_prefetch(row, 0, 2);
            __builtin_prefetch(row + t->n - 1, 0, 2);
        }
    }
    if (t->panel != NULL) {
        FNN_NAME(gemm_packing)[t->m - 1](t);
    } else {
        int kind = t->packed ? 0 : t->b_padded || t->n == (nv + 1) * LANES ? 1 : 2;
        FNN_NAME(gemm_tiles)[kind][nv][t->m - 1](t);
    }
    if (t->last && (t->bias != NULL || t->residual != NULL || t->act != FNN_ACT_NONE)) {
        FNN_NAME(gemm_finish)(t->m, t->n, t->c, t->ldc, t->bias, 1, t->residual,
                              t->act);
    }
}

#include "kernels/gemm_pack.inc.h"
#if GEMV_M > 0
#include "kernels/gemv.inc.h"
#endif

static const fnn_gemm_tile FNN_NAME(gemm_tile) = {
    .tile = FNN_NAME(gemm_run),
#if GEMV_M > 0
    .gemv = FNN_NAME(gemm_gemv),
#endif
    .pack_a = FNN_NAME(gemm_pack_a),
    .pack_b = FNN_NAME(gemm_pack_b),
    .finish = FNN_NAME(gemm_finish),
    .mr = GEMM_MR,
    .nr = GEMM_NV * LANES,
    .lanes = LANES,
    .gemv_m = GEMV_M,
};

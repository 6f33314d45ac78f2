/* Convolution as a GEMM: gathering patches into panels, the tile whose rows lie anywhere,
 * and the epilogue of channels. See kernels.h. Included after gemm.inc.h, whose tiles
 * and chains these share. */

/* A run is moved by vectors; the last one of a run writes past its end what the next run
 * then overwrites. `moves`, constant where this is expanded, is how many there are, 0
 * for more; full: all of them may be read in full. */
GEMM_INLINE void FNN_NAME(conv_pack_rows)(const fnn_conv_pack *g, ptrdiff_t n,
                                          const ptrdiff_t *from, const ptrdiff_t *to,
                                          const ptrdiff_t *w, const int moves,
                                          const bool full) {
    const ptrdiff_t width = g->width;
    T *y = g->y;
    for (ptrdiff_t p = 0; p < g->k; p++, y += width) {
        const T *x = (const T *)g->x + g->offset[p];
        if (moves > 0) {
#pragma GCC unroll 6
            for (int i = 0; i < moves; i++) {
                v_store(y + to[i], v_load(x + from[i]));
            }
        } else {
            for (ptrdiff_t i = 0; i < n; i++) {
                v_store(y + to[i],
                        full ? v_load(x + from[i]) : v_loadn(x + from[i], w[i]));
            }
        }
    }
}

static void FNN_NAME(conv_pack)(const fnn_conv_pack *g) {
    enum { MOST = GEMM_NV * LANES + 1 };
    ptrdiff_t from[MOST], to[MOST], w[MOST], n = 0, at = 0;
    bool full = true;
    for (ptrdiff_t r = 0; r < g->runs; r++) {
        for (ptrdiff_t i = 0; i < g->length[r]; i += LANES) {
            from[n] = g->base[r] + i;
            to[n] = at + i;
            w[n] = g->length[r] - i < LANES ? g->length[r] - i : LANES;
            full = full && (g->margin || w[n] == LANES);
            n++;
        }
        at += g->length[r];
    }
#define CASE(m)                                               \
    case m:                                                   \
        FNN_NAME(conv_pack_rows)(g, n, from, to, w, m, true); \
        return;
    switch (full ? n : 0) {
        CASE(1)
        CASE(2)
        CASE(3)
        CASE(4)
        CASE(5)
        CASE(6)
    }
#undef CASE
    if (full) {
        FNN_NAME(conv_pack_rows)(g, n, from, to, w, 0, true);
    } else {
        FNN_NAME(conv_pack_rows)(g, n, from, to, w, 0, false);
    }
}

/* ---- epilogue ------------------------------------------------------------------- */

/* One channel's parameters, in all lanes. */
GEMM_INLINE V FNN_NAME(conv_after)(V x, const bool has_bias, V bias,
                                   const bool has_scale, V scale, V shift) {
    x = has_bias ? v_add(x, bias) : x;
    return has_scale ? v_fma(x, scale, shift) : x;
}

GEMM_INLINE void FNN_NAME(conv_finish_act)(const fnn_conv_finish *g, const int act) {
    const fnn_conv_epilogue *e = g->epilogue;
    const T *bias = e->bias, *scale = e->scale, *shift = e->shift;
    for (ptrdiff_t i = 0; i < g->m; i++) {
        const T *c = (const T *)g->c + i * g->ldc;
        T *y = (T *)g->y + i * g->ldy;
        const T *residual = e->residual;
        residual = residual == NULL ? NULL : residual + g->at + i * g->ldy;
        const ptrdiff_t channel = g->channel + i;
        const V b = bias == NULL ? v_zero() : v_set1(bias[channel]);
        const V s = scale == NULL ? v_zero() : v_set1(scale[channel]);
        const V t = scale == NULL ? v_zero() : v_set1(shift[channel]);
        for (ptrdiff_t j = 0; j < g->n; j += LANES) {
            const ptrdiff_t w = g->n - j < LANES ? g->n - j : LANES;
            V x = v_loadn(c + j, w);
            x = FNN_NAME(conv_after)(x, bias != NULL, b, scale != NULL, s, t);
            if (g->step == 1) {
                if (residual != NULL) {
                    x = v_add(x, v_loadn(residual + j, w));
                }
                v_storen(y + j, FNN_NAME(gemm_act)(x, act), w);
                continue;
            }
            T lanes[LANES];
            if (residual != NULL) {
                for (ptrdiff_t l = 0; l < LANES; l++) {
                    lanes[l] = l < w ? residual[(j + l) * g->step] : 0;
                }
                x = v_add(x, v_load(lanes));
            }
            v_store(lanes, FNN_NAME(gemm_act)(x, act));
            for (ptrdiff_t l = 0; l < w; l++) {
                y[(j + l) * g->step] = lanes[l];
            }
        }
    }
}

static void FNN_NAME(conv_finish)(const fnn_conv_finish *g) {
#define CASE(name)                          \
    case name:                              \
        FNN_NAME(conv_finish_act)(g, name); \
        break;
    switch (g->epilogue->act) {
        CASE(FNN_ACT_NONE)
        CASE(FNN_ACT_RELU)
        CASE(FNN_ACT_SIGMOID)
        CASE(FNN_ACT_TANH)
        CASE(FNN_ACT_GELU)
    }
#undef CASE
}

/* ---- the weight gradient's tile ------------------------------------------------- */

/* m rows of nv vectors, both constants where this is expanded: rows are read in place, a
 * run of neighbours after another; B is a packed panel. */
GEMM_INLINE void FNN_NAME(conv_rows_body)(const fnn_conv_rows *t, const int m,
                                          const int nv) {
    const T *b = t->b;
    T *c = t->c;
    const ptrdiff_t ldc = t->ldc, tail = LANES; /* whole vectors */
    const ptrdiff_t *row = t->row;
    GEMM_ALL_ROWS(GEMM_ZERO)
    for (int i = 0; i < m; i++) {
        __builtin_prefetch(c + i * ldc, 0, 2);
        __builtin_prefetch(c + i * ldc + nv * LANES - 1, 0, 2);
    }
#define STEP(i)                                \
    if (i < m) {                               \
        V x = v_set1(a[row[i]]);               \
        c##i##_0 = v_fma(x, b0, c##i##_0);     \
        if (nv == 2) {                         \
            c##i##_1 = v_fma(x, b1, c##i##_1); \
        }                                      \
    }
    for (ptrdiff_t r = 0; r < t->runs; r++) {
        const T *a = (const T *)t->x + t->base[r];
        const T *end = a + t->length[r];
        for (; a < end; a++) {
            V b0 = v_load(b), b1 = nv == 1 ? b0 : v_load(b + LANES);
            GEMM_ALL_ROWS(STEP)
            b += nv * LANES;
        }
    }
#undef STEP
    GEMM_PUT_ALL(t->first)
}

#define TILE(m_, nv_)                                                      \
    static void FNN_NAME(conv_rows_##m_##x##nv_)(const fnn_conv_rows *t) { \
        FNN_NAME(conv_rows_body)(t, m_, nv_);                              \
    }
GEMM_ROWS(TILE, 1)
#if GEMM_NV == 2
GEMM_ROWS(TILE, 2)
#endif
#undef TILE
#define ROWS(m, nv) FNN_NAME(conv_rows_##m##x##nv),
static const fnn_conv_rows_fn FNN_NAME(conv_rows_of)[GEMM_NV][GEMM_MR] = {
    {GEMM_ROWS(ROWS, 1)},
#if GEMM_NV == 2
    {GEMM_ROWS(ROWS, 2)},
#endif
};
#undef ROWS

static void FNN_NAME(conv_rows)(const fnn_conv_rows *t) {
    FNN_NAME(conv_rows_of)[t->n > LANES][t->m - 1](t);
}

/* ---- few rows ------------------------------------------------------------------- */

/* Vectors of a row of the tile: loads of B are as good as never aligned, and pay for
 * themselves where several rows share them. */
#ifndef CONV_VECTORS
#if FNN_TIER == FNN_TIER_avx512
#define CONV_VECTORS(m) ((m) <= 4 ? 4 : 2)
#elif FNN_TIER == FNN_TIER_avx2
#define CONV_VECTORS(m) ((m) <= 2 ? 2 : 1)
#else
#define CONV_VECTORS(m) 1
#endif
#endif

/* m rows of nv vectors, both constants where this is expanded. */
GEMM_INLINE void FNN_NAME(conv_direct_body)(const fnn_conv_direct *t, const int m,
                                            const int nv) {
    const ptrdiff_t k = t->k, ldc = t->ldc;
    const ptrdiff_t *offset = t->offset, *base = t->base;
    const bool first = t->first;
    T *c = t->c;
    for (ptrdiff_t v = 0; v < t->vectors; v += nv, base += nv, c += nv * LANES) {
        const T *a = t->a, *x = t->x;
        const T *x0 = x + base[0], *x1 = nv > 1 ? x + base[1] : x0;
        const T *x2 = nv > 2 ? x + base[2] : x0, *x3 = nv > 2 ? x + base[3] : x0;
#define ZERO(i)                                                      \
    V c##i##_0 = v_zero(), c##i##_1 = c##i##_0, c##i##_2 = c##i##_0, \
      c##i##_3 = c##i##_0;
#define STEP(i)                                \
    if (i < m) {                               \
        V w = v_set1(a[i]);                    \
        c##i##_0 = v_fma(w, b0, c##i##_0);     \
        if (nv > 1) {                          \
            c##i##_1 = v_fma(w, b1, c##i##_1); \
        }                                      \
        if (nv > 2) {                          \
            c##i##_2 = v_fma(w, b2, c##i##_2); \
            c##i##_3 = v_fma(w, b3, c##i##_3); \
        }                                      \
    }
#define PUT(v, x)                                      \
    if (v < nv) {                                      \
        T *to = row + v * LANES;                       \
        v_store(to, first ? x : v_add(v_load(to), x)); \
    }
#define PUT_ROW(i)            \
    if (i < m) {              \
        T *row = c + i * ldc; \
        PUT(0, c##i##_0)      \
        PUT(1, c##i##_1)      \
        PUT(2, c##i##_2)      \
        PUT(3, c##i##_3)      \
    }
        GEMM_ALL_ROWS(ZERO)
        for (ptrdiff_t p = 0; p < k; p++, a += m) {
            const ptrdiff_t o = offset[p];
            V b0 = v_load(x0 + o), b1 = nv > 1 ? v_load(x1 + o) : b0;
            V b2 = nv > 2 ? v_load(x2 + o) : b0, b3 = nv > 2 ? v_load(x3 + o) : b0;
            GEMM_ALL_ROWS(STEP)
        }
        GEMM_ALL_ROWS(PUT_ROW)
#undef ZERO
#undef STEP
#undef PUT
#undef PUT_ROW
    }
}

#define TILE(m_, nv_)                                                  \
    static void FNN_NAME(conv_direct_##m_)(const fnn_conv_direct *t) { \
        FNN_NAME(conv_direct_body)(t, m_, CONV_VECTORS(m_));           \
    }
GEMM_ROWS(TILE, 1)
#undef TILE
#define ROWS(m, nv) FNN_NAME(conv_direct_##m),
static const fnn_conv_direct_fn FNN_NAME(conv_direct_of)[GEMM_MR] = {
    GEMM_ROWS(ROWS, 1)};
#undef ROWS

static void FNN_NAME(conv_direct)(const fnn_conv_direct *t) {
    FNN_NAME(conv_direct_of)[t->m - 1](t);
}

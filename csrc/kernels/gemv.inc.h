/* The product of a few rows with a matrix, which is as fast as B can be read: B is
 * streamed once and never packed. Included by gemm.inc.h; the chains are those of
 * the tiles. */

/* Columns j to j + (w - 1) * LANES + tail of m rows, over all of k, where rows of B are
 * contiguous. More vectors than a tile has, for one row's two chains would wait out the
 * latency of every FMA. far: B is one stream from memory, and is asked for in time. */
#define ALL_COLS(X) \
    X(0)            \
    X(1)            \
    X(2)            \
    X(3)            \
    X(4)            \
    X(5)            \
    X(6)            \
    X(7)
GEMM_INLINE void FNN_NAME(gemv_body)(const fnn_tile *t, ptrdiff_t j, ptrdiff_t tail,
                                     const int m, const int w, const bool far) {
    const ptrdiff_t a_row = t->a_row, a_k = t->a_k, b_k = t->b_k, ldc = t->ldc;
    const T *a = t->a;
    const T *b = (const T *)t->b + j;
    T *c = (T *)t->c + j;
    ptrdiff_t left = t->k;
    bool first = true;
    do {
        ptrdiff_t k = left < FNN_GEMM_KC ? left : FNN_GEMM_KC;
        left -= k;
#define SET(v) \
    V c0_##v = v_zero(), c1_##v = v_zero(), c2_##v = v_zero(), c3_##v = v_zero();
        ALL_COLS(SET)
#undef SET
#pragma GCC unroll 2
        for (ptrdiff_t p = 0; p < k; p++) {
            V x0 = v_set1(a[0]);
            V x1 = m > 1 ? v_set1(a[a_row]) : x0;
            V x2 = m > 2 ? v_set1(a[2 * a_row]) : x0;
            V x3 = m > 3 ? v_set1(a[3 * a_row]) : x0;
#define STEP(v)                                                                    \
    if (v < w) {                                                                   \
        if (far) {                                                                 \
            __builtin_prefetch((const char *)(b + v * LANES) + GEMV_STREAM, 0, 2); \
        }                                                                          \
        V y = v == w - 1 ? v_loadn(b + v * LANES, tail) : v_load(b + v * LANES);   \
        c0_##v = v_fma(x0, y, c0_##v);                                             \
        if (m > 1) {                                                               \
            c1_##v = v_fma(x1, y, c1_##v);                                         \
        }                                                                          \
        if (m > 2) {                                                               \
            c2_##v = v_fma(x2, y, c2_##v);                                         \
        }                                                                          \
        if (m > 3) {                                                               \
            c3_##v = v_fma(x3, y, c3_##v);                                         \
        }                                                                          \
    }
            ALL_COLS(STEP)
#undef STEP
            a += a_k;
            b += b_k;
        }
#define ROW(i, v)                                                                      \
    if (i < m && v < w - 1) {                                                          \
        T *to = c + i * ldc + v * LANES;                                               \
        v_store(to, first ? c##i##_##v : v_add(v_load(to), c##i##_##v));               \
    }                                                                                  \
    if (i < m && v == w - 1) {                                                         \
        T *to = c + i * ldc + v * LANES;                                               \
        v_storen(to, first ? c##i##_##v : v_add(v_loadn(to, tail), c##i##_##v), tail); \
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
#define GEMV(m_, w_)                                                       \
    static void FNN_NAME(gemv_##m_##x##w_)(const fnn_tile *t, ptrdiff_t j, \
                                           ptrdiff_t tail) {               \
        FNN_NAME(gemv_body)(t, j, tail, m_, w_, false);                    \
    }
GEMV_WIDTHS_1(GEMV, 1)
GEMV_WIDTHS_2(GEMV, 2)
GEMV_WIDTHS_3(GEMV, 3)
GEMV_WIDTHS_4(GEMV, 4)
#undef GEMV
#define GEMV(m_, w_)                                                    \
    static void FNN_NAME(gemv_far_##w_)(const fnn_tile *t, ptrdiff_t j, \
                                        ptrdiff_t tail) {               \
        FNN_NAME(gemv_body)(t, j, tail, m_, w_, true);                  \
    }
GEMV_WIDTHS_1(GEMV, 1)
#undef GEMV
#define GEMV(m, w) FNN_NAME(gemv_far_##w),
static const FNN_NAME(gemv_part) FNN_NAME(gemv_far)[8] = {GEMV_WIDTHS_1(GEMV, 1)};
#undef GEMV
#define GEMV(m, w) FNN_NAME(gemv_##m##x##w),
static const FNN_NAME(gemv_part) FNN_NAME(gemv_parts)[4][8] = {
    {GEMV_WIDTHS_1(GEMV, 1)},
    {GEMV_WIDTHS_2(GEMV, 2)},
    {GEMV_WIDTHS_3(GEMV, 3)},
    {GEMV_WIDTHS_4(GEMV, 4)},
};
#undef GEMV

/* The same for a large B: r whole rows at a time, so that memory is read in long
 * runs, the sums of a k-block lying in L1. At most GEMV_SPAN columns. */
#define GEMV_SPAN (64 * LANES)
GEMM_INLINE void FNN_NAME(gemv_rows)(const T *a, ptrdiff_t a_row, ptrdiff_t a_k,
                                     const T *b, ptrdiff_t b_k, T (*sum)[GEMV_SPAN],
                                     ptrdiff_t n, const int m, const int r) {
#define BROADCAST(i)                                                               \
    const V x##i##_0 = i < m ? v_set1(a[i * a_row]) : v_zero();                    \
    const V x##i##_1 = i < m && r > 1 ? v_set1(a[i * a_row + a_k]) : v_zero();     \
    const V x##i##_2 = i < m && r > 2 ? v_set1(a[i * a_row + 2 * a_k]) : v_zero(); \
    const V x##i##_3 = i < m && r > 2 ? v_set1(a[i * a_row + 3 * a_k]) : v_zero()
    BROADCAST(0);
    BROADCAST(1);
    BROADCAST(2);
    BROADCAST(3);
#undef BROADCAST
    const T *b0 = b;
    const T *b1 = r > 1 ? b + b_k : b;
    const T *b2 = r > 2 ? b + 2 * b_k : b;
    const T *b3 = r > 2 ? b + 3 * b_k : b;
    T *to = sum[0];
#define ROW(i)                                                     \
    if (i < m) {                                                   \
        V c = v_fma(x##i##_0, y0, v_load(to + i * GEMV_SPAN + j)); \
        c = r > 1 ? v_fma(x##i##_1, y1, c) : c;                    \
        c = r > 2 ? v_fma(x##i##_2, y2, c) : c;                    \
        c = r > 2 ? v_fma(x##i##_3, y3, c) : c;                    \
        v_store(to + i * GEMV_SPAN + j, c);                        \
    }
    ptrdiff_t j = 0;
    for (; j + LANES <= n; j += LANES) {
        V y0 = v_load(b0 + j), y1 = v_load(b1 + j);
        V y2 = v_load(b2 + j), y3 = v_load(b3 + j);
        ROW(0) ROW(1) ROW(2) ROW(3)
    }
    if (j < n) {
        V y0 = v_loadn(b0 + j, n - j), y1 = v_loadn(b1 + j, n - j);
        V y2 = v_loadn(b2 + j, n - j), y3 = v_loadn(b3 + j, n - j);
        ROW(0) ROW(1) ROW(2) ROW(3)
    }
#undef ROW
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
        memset(sum, 0, (size_t)m * sizeof sum[0]);
        for (; p + r <= k; p += r, a += r * t->a_k, b += r * t->b_k) {
            FNN_NAME(gemv_rows)(a, t->a_row, t->a_k, b, t->b_k, sum, n, m, r);
        }
        for (; p < k; p++, a += t->a_k, b += t->b_k) {
            FNN_NAME(gemv_rows)(a, t->a_row, t->a_k, b, t->b_k, sum, n, m, 1);
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

#define GEMV(m_, r_)                                                         \
    GEMM_APART void FNN_NAME(gemv_span_##m_)(const fnn_tile *t, ptrdiff_t j, \
                                             ptrdiff_t n) {                  \
        FNN_NAME(gemv_span)(t, j, n, m_, r_);                                \
    }
GEMV(1, GEMV_RUN_1)
GEMV(2, GEMV_RUN_2)
GEMV(3, GEMV_RUN_3)
GEMV(4, GEMV_RUN_4)
#undef GEMV
static const FNN_NAME(gemv_part) FNN_NAME(gemv_spans)[4] = {
    FNN_NAME(gemv_span_1),
    FNN_NAME(gemv_span_2),
    FNN_NAME(gemv_span_3),
    FNN_NAME(gemv_span_4),
};

/* Columns of B contiguous: squares of B are transposed in registers and used at
 * once, g groups of LANES columns in turn, whose chains overlap. col has g * LANES
 * pointers, the last ones repeated where n ends. lines: a line of cache is read at once,
 * since those of columns a page apart push each other out of L1 before they are read
 * again. */
GEMM_INLINE void FNN_NAME(gemv_square)(const fnn_tile *t, const T *const *col, T *c,
                                       ptrdiff_t n, const int m, const int g,
                                       const bool lines) {
    const ptrdiff_t a_row = t->a_row, a_k = t->a_k, ldc = t->ldc;
    const T *a = t->a;
    const bool far = t->n * t->k >= GEMV_FAR;
    /* How far into a line of cache every column starts, where they are a page apart. */
    const ptrdiff_t into = (ptrdiff_t)((uintptr_t)col[0] % 64 / sizeof(T));
    ptrdiff_t q = 0;
    do {
        const ptrdiff_t end = t->k - q < FNN_GEMM_KC ? t->k : q + FNN_GEMM_KC;
        const bool first = q == 0;
        V c0_0 = v_zero(), c1_0 = c0_0, c2_0 = c0_0, c3_0 = c0_0;
        V c0_1 = c0_0, c1_1 = c0_0, c2_1 = c0_0, c3_1 = c0_0;
        V r[LANES];
#define USE(p, l, s)                                                                 \
    c0_##s = v_fma(v_set1(a[(p) * a_k]), r[l], c0_##s);                              \
    c1_##s = m > 1 ? v_fma(v_set1(a[a_row + (p) * a_k]), r[l], c1_##s) : c1_##s;     \
    c2_##s = m > 2 ? v_fma(v_set1(a[2 * a_row + (p) * a_k]), r[l], c2_##s) : c2_##s; \
    c3_##s = m > 3 ? v_fma(v_set1(a[3 * a_row + (p) * a_k]), r[l], c3_##s) : c3_##s;
/* Fewer than LANES elements of each column. */
#define REST(s, count)                                         \
    _Pragma("GCC unroll 16") for (int l = 0; l < LANES; l++) { \
        r[l] = v_loadn(col[s * LANES + l] + q, count);         \
    }                                                          \
    v_transpose(r);                                            \
    _Pragma("GCC unroll 16") for (int l = 0; l < LANES; l++) { \
        if (l < count) {                                       \
            USE(l, l, s)                                       \
        }                                                      \
    }
#define SOME(count_)                \
    const ptrdiff_t count = count_; \
    REST(0, count)                  \
    if (g > 1) {                    \
        REST(1, count)              \
    }                               \
    a += count * a_k;               \
    q += count;
        if (lines && into != 0) { /* up to where a line of cache begins */
            SOME(end - q < LANES - into ? end - q : LANES - into)
        }
        for (; q + LANES <= end; q += LANES, a += LANES * a_k) {
            /* A whole cache line of each column before the next group's: columns a
             * power of two apart share few sets of L1. */
            /* clang-format off */
#define SQUARE(s)                                                                      \
    if (far) {                                                                         \
        _Pragma("GCC unroll 16")                                                       \
        for (int l = 0; l < LANES; l++) {                                              \
            __builtin_prefetch(col[s * LANES + l] + q + GEMV_AHEAD * LANES, 0, 3);     \
        }                                                                              \
    }                                                                                  \
    if (lines) {                                                                       \
        _Pragma("GCC unroll 16")                                                       \
        for (int l = 0; l < LANES; l++) {                                              \
            r[l] = v_load(col[s * LANES + l] + q);                                     \
        }                                                                              \
        v_transpose(r);                                                                \
        _Pragma("GCC unroll 16")                                                       \
        for (int l = 0; l < LANES; l++) {                                              \
            USE(l, l, s)                                                               \
        }                                                                              \
    } else {                                                                           \
        _Pragma("GCC unroll 16")                                                       \
        for (int h = 0; h < LANES; h += STRIP) {                                       \
            v_strip(col + s * LANES, q + h, r);                                        \
            _Pragma("GCC unroll 16")                                                   \
            for (int l = 0; l < STRIP; l++) {                                          \
                USE(h + l, l, s)                                                       \
            }                                                                          \
        }                                                                              \
    }
            /* clang-format on */
            SQUARE(0)
            if (g > 1) {
                SQUARE(1)
            }
#undef SQUARE
        }
        if (q < end) {
            SOME(end - q)
        }
#undef SOME
#undef REST
#undef USE
#define PUT(i, s)                                                                \
    if (i < m && s < g) {                                                        \
        const ptrdiff_t w = n - s * LANES < LANES ? n - s * LANES : LANES;       \
        T *to = c + i * ldc + s * LANES;                                         \
        v_storen(to, first ? c##i##_##s : v_add(v_loadn(to, w), c##i##_##s), w); \
    }
        PUT(0, 0) PUT(1, 0) PUT(2, 0) PUT(3, 0) PUT(0, 1) PUT(1, 1) PUT(2, 1) PUT(3, 1)
#undef PUT
    } while (q < t->k);
}

/* One row needs two groups to hide the latency of its chain; lines fill the registers. */
#define GEMV(m, g, lines)                                            \
    GEMM_APART void FNN_NAME(gemv_square_##m##x##g##_##lines)(       \
        const fnn_tile *t, const T *const *col, T *c, ptrdiff_t n) { \
        FNN_NAME(gemv_square)(t, col, c, n, m, g, lines);            \
    }
GEMV(1, 1, 0)
GEMV(1, 2, 0)
GEMV(2, 1, 0)
GEMV(3, 1, 0)
GEMV(4, 1, 0)
GEMV(1, 1, 1)
GEMV(2, 1, 1)
GEMV(3, 1, 1)
GEMV(4, 1, 1)
#undef GEMV
typedef void (*FNN_NAME(gemv_square_fn))(const fnn_tile *t, const T *const *col, T *c,
                                         ptrdiff_t n);
static const FNN_NAME(gemv_square_fn) FNN_NAME(gemv_squares)[2][4] = {
    {
        FNN_NAME(gemv_square_1x1_0),
        FNN_NAME(gemv_square_2x1_0),
        FNN_NAME(gemv_square_3x1_0),
        FNN_NAME(gemv_square_4x1_0),
    },
    {
        FNN_NAME(gemv_square_1x1_1),
        FNN_NAME(gemv_square_2x1_1),
        FNN_NAME(gemv_square_3x1_1),
        FNN_NAME(gemv_square_4x1_1),
    },
};

static const signed char FNN_NAME(gemv_widest)[4] = {GEMV_WIDEST};

static void FNN_NAME(gemm_gemv)(const fnn_tile *t) {
    const ptrdiff_t m = t->m, n = t->n;
    const T *b = t->b;
    T *c = t->c;
    if (t->b_col == 1) {
        /* Where rows start within lines of cache, all alike, so does the first vector. */
        const ptrdiff_t size = (ptrdiff_t)sizeof(T);
        const ptrdiff_t into = (ptrdiff_t)((uintptr_t)b % 64) / size;
        ptrdiff_t j = 0;
        if (into != 0 && t->b_k * size % 64 == 0 && n >= 16 * LANES) {
            j = 64 / size - into;
            FNN_NAME(gemv_parts)[m - 1][0](t, 0, j);
        }
        const bool large = n * t->k >= (n * size > GEMV_ROW ? GEMV_LARGE : GEMV_FAR);
        const bool runs = t->k > 0 && n >= 16 * LANES && large;
        const ptrdiff_t widest = FNN_NAME(gemv_widest)[m - 1];
        const ptrdiff_t span = runs ? GEMV_SPAN : widest * LANES;
        for (; j < n; j += span) {
            if (runs) {
                FNN_NAME(gemv_spans)[m - 1](t, j, n - j < span ? n - j : span);
                continue;
            }
            ptrdiff_t w = (n - j + LANES - 1) / LANES;
            w = w < widest ? w : widest;
            ptrdiff_t tail = n - j - (w - 1) * LANES;
            tail = tail < LANES ? tail : LANES;
            if (m == 1 && t->ahead_step != 0) {
                FNN_NAME(gemv_far)[w - 1](t, j, tail);
            } else {
                FNN_NAME(gemv_parts)[m - 1][w - 1](t, j, tail);
            }
        }
    } else {
        const bool lines = fnn_pages_apart(t->b_col * (ptrdiff_t)sizeof(T));
        const ptrdiff_t span = m == 1 && !lines ? 2 * LANES : LANES;
        for (ptrdiff_t j = 0; j < n; j += span) {
            const ptrdiff_t w = n - j < span ? n - j : span;
            const T *col[2 * LANES];
            for (int l = 0; l < span; l++) {
                col[l] = b + (j + (l < w ? l : w - 1)) * t->b_col;
            }
            (w > LANES ? FNN_NAME(gemv_square_1x2_0)
                       : FNN_NAME(gemv_squares)[lines][m - 1])(t, col, c + j, w);
        }
    }
    FNN_NAME(gemm_finish)(m, n, c, t->ldc, t->bias, 1, t->residual, t->act);
}

/* Depthwise convolution: a few taps over a plane with a zero border (conv/depthwise.c).
 *
 * An element of the result is one FMA chain from zero over the taps in their order, and
 * then the epilogue; how many rows are computed at once does not matter. Lanes run along
 * a row. A row shorter than a vector, and the end of one, compute what nobody asked for:
 * it is not stored, or where the next row comes to lie.
 *
 * Each sum of the weight gradient is one chain a lane: blocks of LANES columns in their
 * order, down the rows in each. */

#ifndef DW_INLINE
#define DW_INLINE static inline __attribute__((always_inline, unused))
#endif

/* ---- what is next ----------------------------------------------------------------- */

/* Asked for all at once it would hold up what is read now. */
#ifndef DW_FETCH
#define DW_FETCH
enum { DW_LINE = 64 }; /* bytes */
typedef struct {
    const char *at[2];
    ptrdiff_t lines[2];
} dw_fetch;

/* In so many steps. */
DW_INLINE dw_fetch dw_fetch_in(const fnn_fetch *next, ptrdiff_t steps) {
    dw_fetch f = {{NULL, NULL}, {0, 0}};
    for (int k = 0; next != NULL && k < 2; k++) {
        f.at[k] = next[k].at;
        f.lines[k] = (next[k].bytes + DW_LINE * steps - 1) / (DW_LINE * steps);
    }
    return f;
}

DW_INLINE void dw_fetch_step(dw_fetch *f) {
    for (int k = 0; k < 2; k++) {
        for (ptrdiff_t i = 0; i < f->lines[k]; i++, f->at[k] += DW_LINE) {
            __builtin_prefetch(f->at[k], 0, 2);
        }
    }
}
#endif

/* ---- the epilogue ----------------------------------------------------------------- */

/* Sigmoid and its like follow in a pass of their own: they are long. */
DW_INLINE V FNN_NAME(depthwise_finish)(const fnn_depthwise_taps *t, V s,
                                       const T *residual, ptrdiff_t n) {
    if (t->bias != NULL) {
        s = v_add(s, v_set1(*(const T *)t->bias));
    }
    if (t->scale != NULL) {
        s = v_fma(s, v_set1(*(const T *)t->scale), v_set1(*(const T *)t->shift));
    }
    if (t->residual != NULL) {
        s = v_add(s, n == LANES ? v_load(residual) : v_loadn(residual, n));
    }
    return t->act == FNN_ACT_RELU ? v_maxnum(v_zero(), s) : s;
}

DW_INLINE bool FNN_NAME(depthwise_finishes)(const fnn_depthwise_taps *t) {
    return t->bias != NULL || t->scale != NULL || t->residual != NULL ||
           t->act == FNN_ACT_RELU;
}

DW_INLINE void FNN_NAME(depthwise_join_put)(const fnn_depthwise_taps *t, V s,
                                            ptrdiff_t at, ptrdiff_t n,
                                            const bool finish) {
    if (n > 0) {
        const ptrdiff_t w = n < LANES ? n : LANES;
        const T *r = t->residual;
        v_storen(
            (T *)t->y + at,
            finish ? FNN_NAME(depthwise_finish)(t, s, r != NULL ? r + at : NULL, w) : s,
            w);
    }
}

/* x is scratch with lanes past its end. */
DW_INLINE void FNN_NAME(depthwise_row_zip)(const fnn_depthwise_taps *t, const T *a,
                                           const T *b, ptrdiff_t at,
                                           const bool finish) {
    const ptrdiff_t n = t->cols;
    for (ptrdiff_t j = 0; j < n; j += 2 * LANES) {
        const V even = v_load(a + j / 2), odd = v_load(b + j / 2);
        FNN_NAME(depthwise_join_put)(t, v_zip_low(even, odd), at + j, n - j, finish);
        FNN_NAME(depthwise_join_put)(t, v_zip_high(even, odd), at + j + LANES,
                                     n - j - LANES, finish);
    }
}

static void FNN_NAME(depthwise_join)(const fnn_depthwise_taps *t, ptrdiff_t phases,
                                     ptrdiff_t pitch) {
    const T *x = t->x;
    const ptrdiff_t n = t->cols;
    const bool finish = FNN_NAME(depthwise_finishes)(t);
    for (ptrdiff_t i = 0; i < t->rows; i++, x += t->x_row) {
        const ptrdiff_t at = i * t->y_row;
        T *y = (T *)t->y + at;
        if (phases == 2 && finish) {
            FNN_NAME(depthwise_row_zip)(t, x, x + pitch, at, true);
        } else if (phases == 2) {
            FNN_NAME(depthwise_row_zip)(t, x, x + pitch, at, false);
        } else {
            for (ptrdiff_t p = 0; p < phases && p < n; p++) {
                for (ptrdiff_t j = 0; p + j * phases < n; j++) {
                    y[p + j * phases] = x[p * pitch + j];
                }
            }
            for (ptrdiff_t j = 0; finish && j < n; j += LANES) {
                const ptrdiff_t w = n - j < LANES ? n - j : LANES;
                FNN_NAME(depthwise_join_put)(t, v_loadn(y + j, w), at + j, w, true);
            }
        }
    }
    if (t->act > FNN_ACT_RELU) {
        FNN_NAME(gemm_finish)(t->rows, n, t->y, t->y_row, NULL, 0, NULL, t->act);
    }
}

/* ---- taps over rows --------------------------------------------------------------- */

DW_INLINE V FNN_NAME(depthwise_start)(const T *y, ptrdiff_t n, const bool first) {
    return first ? v_zero() : v_loadn(y, n);
}

DW_INLINE void FNN_NAME(depthwise_put)(const fnn_depthwise_taps *t, V s, ptrdiff_t at,
                                       ptrdiff_t n, const bool finish) {
    T *y = (T *)t->y + at;
    if (finish) {
        const T *residual = t->residual;
        s = FNN_NAME(depthwise_finish)(t, s, residual != NULL ? residual + at : NULL,
                                       n);
    }
    if (n == LANES) {
        v_store(y, s);
    } else {
        v_storen(y, s, n);
    }
}

#define DW_START()                                                                   \
    V a0 = FNN_NAME(depthwise_start)((const T *)t->y + y, n[0], first),              \
      a1 = FNN_NAME(depthwise_start)((const T *)t->y + y + y_step, n[1], first),     \
      a2 = FNN_NAME(depthwise_start)((const T *)t->y + y + 2 * y_step, n[2], first), \
      a3 = FNN_NAME(depthwise_start)((const T *)t->y + y + 3 * y_step, n[3], first)
/* In this order: a row may run into the next one. */
#define DW_PUT()                                                  \
    FNN_NAME(depthwise_put)(t, a0, y, n[0], finish);              \
    FNN_NAME(depthwise_put)(t, a1, y + y_step, n[1], finish);     \
    FNN_NAME(depthwise_put)(t, a2, y + 2 * y_step, n[2], finish); \
    FNN_NAME(depthwise_put)(t, a3, y + 3 * y_step, n[3], finish)

/* Four vectors x_step and y_step apart, whatever the taps. */
DW_INLINE void FNN_NAME(depthwise_4)(const fnn_depthwise_taps *t, const T *x,
                                     ptrdiff_t x_step, ptrdiff_t y, ptrdiff_t y_step,
                                     const ptrdiff_t *n, const bool first,
                                     const bool finish) {
    const T *w = t->w;
    DW_START();
    for (ptrdiff_t u = 0; u < t->nu; u++) {
        for (ptrdiff_t v = 0; v < t->nv; v++) {
            const T *p = x + t->row_at[u] + t->col_at[v];
            const V tap = v_set1(*w++);
            a0 = v_fma(tap, v_load(p), a0);
            a1 = v_fma(tap, v_load(p + x_step), a1);
            a2 = v_fma(tap, v_load(p + 2 * x_step), a2);
            a3 = v_fma(tap, v_load(p + 3 * x_step), a3);
        }
    }
    DW_PUT();
}

/* One vector. */
DW_INLINE void FNN_NAME(depthwise_1)(const fnn_depthwise_taps *t, const T *x,
                                     ptrdiff_t y, ptrdiff_t n, const bool first,
                                     const bool finish) {
    const T *w = t->w;
    V a = FNN_NAME(depthwise_start)((const T *)t->y + y, n, first);
    for (ptrdiff_t u = 0; u < t->nu; u++) {
        for (ptrdiff_t v = 0; v < t->nv; v++) {
            a = v_fma(v_set1(*w++), v_load(x + t->row_at[u] + t->col_at[v]), a);
        }
    }
    FNN_NAME(depthwise_put)(t, a, y, n, finish);
}

/* Four rows where taps lie in neighbouring rows, three or more: a row that is loaded
 * serves all of them. */
DW_INLINE void FNN_NAME(depthwise_near)(const fnn_depthwise_taps *t, const T *x,
                                        ptrdiff_t y, const ptrdiff_t *n,
                                        const bool first, const bool finish) {
    const ptrdiff_t x_row = t->x_row, y_step = t->y_row, nu = t->nu, nv = t->nv;
    const ptrdiff_t *col_at = t->col_at;
    const T *w = t->w; /* of the row u that a0 takes */
    x += t->row_at[0];
    DW_START();
#define ADD(a, back) a = v_fma(v_set1(w[v - (back) * nv]), loaded, a)
#define ROW(sums)                                       \
    for (ptrdiff_t v = 0; v < nv; v++) {                \
        const V loaded = v_keep(v_load(x + col_at[v])); \
        sums;                                           \
    }                                                   \
    x += x_row, w += nv
    ROW(ADD(a0, 0));
    ROW((ADD(a0, 0), ADD(a1, 1)));
    ROW((ADD(a0, 0), ADD(a1, 1), ADD(a2, 2)));
    for (ptrdiff_t u = 3; u < nu; u++) {
        ROW((ADD(a0, 0), ADD(a1, 1), ADD(a2, 2), ADD(a3, 3)));
    }
    ROW((ADD(a1, 1), ADD(a2, 2), ADD(a3, 3)));
    ROW((ADD(a2, 2), ADD(a3, 3)));
    ROW(ADD(a3, 3));
#undef ADD
#undef ROW
    DW_PUT();
}

/* The same of 3x3 taps, over all blocks of the columns. Where there are registers for all
 * nine taps they stay there. */
#if FNN_TIER == FNN_TIER_avx512
#define DW_TAP(k) w##k
#else
#define DW_TAP(k) v_set1(w[k])
#endif
DW_INLINE void FNN_NAME(depthwise_3x3)(const fnn_depthwise_taps *t, const T *x,
                                       ptrdiff_t y, ptrdiff_t cols, const ptrdiff_t *n,
                                       dw_fetch *next, const bool first,
                                       const bool finish) {
    const ptrdiff_t x_row = t->x_row, y_step = t->y_row;
    const ptrdiff_t c1 = t->col_at[1] - t->col_at[0], c2 = t->col_at[2] - t->col_at[0];
    const T *w = t->w, *row = x + t->row_at[0] + t->col_at[0];
#if FNN_TIER == FNN_TIER_avx512
#define X(k) const V w##k = v_keep(v_set1(w[k]));
    X(0)
    X(1)
    X(2)
    X(3)
    X(4)
    X(5)
    X(6)
    X(7)
    X(8)
#undef X
#endif
#define ROW()                                                                          \
    (l0 = v_keep(v_load(p)), l1 = v_keep(v_load(p + c1)), l2 = v_keep(v_load(p + c2)), \
     p += x_row)
#define ADD(a, u0, u1, u2)                                       \
    (a = v_fma(DW_TAP(u0), l0, a), a = v_fma(DW_TAP(u1), l1, a), \
     a = v_fma(DW_TAP(u2), l2, a))
#define ADD_0(a) ADD(a, 0, 1, 2)
#define ADD_1(a) ADD(a, 3, 4, 5)
#define ADD_2(a) ADD(a, 6, 7, 8)
    const ptrdiff_t start = y;
    for (ptrdiff_t j = 0;;) {
        const T *p = row + j;
        V l0, l1, l2;
        y = start + j;
        dw_fetch_step(next);
        DW_START();
        ROW(), ADD_0(a0);
        ROW(), ADD_1(a0), ADD_0(a1);
        ROW(), ADD_2(a0), ADD_1(a1), ADD_0(a2);
        ROW(), ADD_2(a1), ADD_1(a2), ADD_0(a3);
        ROW(), ADD_2(a2), ADD_1(a3);
        ROW(), ADD_2(a3);
        DW_PUT();
        if (j + LANES >= cols) {
            break;
        }
        j = j + 2 * LANES <= cols ? j + LANES : cols - LANES;
    }
#undef ADD_0
#undef ADD_1
#undef ADD_2
#undef ADD
#undef ROW
}
#undef DW_TAP

/* Four rows of LANES columns and more. */
DW_INLINE void FNN_NAME(depthwise_wide)(const fnn_depthwise_taps *t, const T *x,
                                        ptrdiff_t y, dw_fetch *next, const bool near,
                                        const bool first, const bool finish) {
    const ptrdiff_t cols = t->cols;
    ptrdiff_t n[4] = {LANES, LANES, LANES, LANES};
    if (near && t->nu == 3 && t->nv == 3 && first) {
        FNN_NAME(depthwise_3x3)(t, x, y, cols, n, next, first, finish);
        return;
    }
    for (ptrdiff_t block = 0; block < cols; block += LANES) {
        ptrdiff_t j = block;
        if (cols - j < LANES) {
            if (first) {
                j = cols - LANES;
            } else {
                n[0] = n[1] = n[2] = n[3] = cols - j;
            }
        }
        dw_fetch_step(next);
        if (near) {
            FNN_NAME(depthwise_near)(t, x + j, y + j, n, first, finish);
        } else {
            FNN_NAME(depthwise_4)(t, x + j, t->x_row, y + j, t->y_row, n, first,
                                  finish);
        }
    }
}

/* Four rows, from i on, of fewer columns. */
DW_INLINE void FNN_NAME(depthwise_short)(const fnn_depthwise_taps *t, ptrdiff_t i,
                                         ptrdiff_t over, dw_fetch *next,
                                         const bool near, const bool first,
                                         const bool finish) {
    const T *x = (const T *)t->x + i * t->x_row;
    const ptrdiff_t y = i * t->y_row;
    ptrdiff_t n[4];
    for (ptrdiff_t r = 0; r < 4; r++) {
        const ptrdiff_t room = t->cols + over * (t->rows - 1 - i - r);
        n[r] = room < LANES ? room : LANES;
    }
    if (near && t->nu == 3 && t->nv == 3) {
        FNN_NAME(depthwise_3x3)(t, x, y, t->cols, n, next, first, finish);
        return;
    }
    dw_fetch_step(next);
    if (near) {
        FNN_NAME(depthwise_near)(t, x, y, n, first, finish);
    } else {
        FNN_NAME(depthwise_4)(t, x, t->x_row, y, t->y_row, n, first, finish);
    }
}

/* A row by itself. */
DW_INLINE void FNN_NAME(depthwise_row)(const fnn_depthwise_taps *t, ptrdiff_t i,
                                       ptrdiff_t over, const bool first,
                                       const bool finish) {
    const T *x = (const T *)t->x + i * t->x_row;
    const ptrdiff_t y = i * t->y_row, cols = t->cols;
    const ptrdiff_t full[4] = {LANES, LANES, LANES, LANES};
    ptrdiff_t j = 0;
    for (; j + 4 * LANES <= cols; j += 4 * LANES) {
        FNN_NAME(depthwise_4)(t, x + j, LANES, y + j, LANES, full, first, finish);
    }
    for (; j < cols; j += LANES) {
        const ptrdiff_t room = cols - j + (cols < LANES ? over * (t->rows - 1 - i) : 0);
        FNN_NAME(depthwise_1)(t, x + j, y + j, room < LANES ? room : LANES, first,
                              finish);
    }
}

/* Where chains start here, columns at the end of a row are computed twice rather than by a
 * mask, and so are rows rather than one by one. */
DW_INLINE void FNN_NAME(depthwise_rows)(const fnn_depthwise_taps *t,
                                        const fnn_fetch *after, const bool first,
                                        const bool finish) {
    const ptrdiff_t rows = t->rows;
    const bool near = t->near && t->nu >= 3;
    /* What is past the end of a short row is the next one, written later. */
    const ptrdiff_t over = first && t->y_row == t->cols ? t->cols : 0;
    dw_fetch next =
        dw_fetch_in(after, (rows + 3) / 4 * ((t->cols + LANES - 1) / LANES));
    ptrdiff_t i = 0;
    while (i + 4 <= rows || (first && i < rows && rows > 4)) {
        i = i + 4 <= rows ? i : rows - 4;
        if (t->cols < LANES) {
            FNN_NAME(depthwise_short)(t, i, over, &next, near, first, finish);
        } else {
            FNN_NAME(depthwise_wide)(t, (const T *)t->x + i * t->x_row, i * t->y_row,
                                     &next, near, first, finish);
        }
        i += 4;
    }
    for (; i < rows; i++) {
        FNN_NAME(depthwise_row)(t, i, over, first, finish);
    }
}

static void FNN_NAME(depthwise)(const fnn_depthwise_taps *t, const fnn_fetch *next) {
    const bool finish = FNN_NAME(depthwise_finishes)(t);
    if (t->first && finish) {
        FNN_NAME(depthwise_rows)(t, next, true, true);
    } else if (t->first) {
        FNN_NAME(depthwise_rows)(t, next, true, false);
    } else {
        FNN_NAME(depthwise_rows)(t, next, false, true); /* which may do nothing */
    }
    if (t->act > FNN_ACT_RELU) {
        FNN_NAME(gemm_finish)(t->rows, t->cols, t->y, t->y_row, NULL, 0, NULL, t->act);
    }
}
#undef DW_START
#undef DW_PUT

/* ---- the weight gradient ---------------------------------------------------------- */

/* Down the rows of a block of columns: what is above and below in x stays in registers.
 * Three neighbouring rows of taps and nv columns, their sums in s. A step of what is next
 * for each row. */
DW_INLINE void FNN_NAME(depthwise_down)(const fnn_depthwise_taps *t, const T *x,
                                        const ptrdiff_t *col_at, V *restrict s,
                                        dw_fetch *next, const int nv) {
    const ptrdiff_t c0 = col_at[0], c1 = nv > 1 ? col_at[1] : 0,
                    c2 = nv > 2 ? col_at[2] : 0, x_row = t->x_row;
#define EACH(DO)  \
    DO(0)         \
    if (nv > 1) { \
        DO(1)     \
    }             \
    if (nv > 2) { \
        DO(2)     \
    }
#define X(v)                                                                        \
    V a0##v = v_zero(), a1##v = a0##v, a2##v = a0##v, x0##v = a0##v, x1##v = a0##v, \
      x2##v = a0##v;
    X(0)
    X(1)
    X(2)
#undef X
#define DOWN(LOAD)                                            \
    {                                                         \
        const T *p = x + j, *g = (const T *)t->y + j;         \
        EACH(ABOVE)                                           \
        p += 2 * x_row;                                       \
        for (ptrdiff_t i = 0; i < t->rows; i++, p += x_row) { \
            const V gy = v_keep(LOAD(g));                     \
            dw_fetch_step(next);                              \
            EACH(STEP)                                        \
            g += t->y_row;                                    \
        }                                                     \
    }
#define ABOVE(v)            \
    x0##v = LOAD(p + c##v); \
    x1##v = LOAD(p + x_row + c##v);
#define STEP(v)                      \
    x2##v = v_keep(LOAD(p + c##v));  \
    a0##v = v_fma(gy, x0##v, a0##v); \
    a1##v = v_fma(gy, x1##v, a1##v); \
    a2##v = v_fma(gy, x2##v, a2##v); \
    x0##v = x1##v;                   \
    x1##v = x2##v;
    ptrdiff_t j = 0;
#define LOAD(p) v_load(p)
    for (; j + LANES <= t->cols; j += LANES) {
        DOWN(LOAD)
    }
#undef LOAD
#define LOAD(p) v_loadn(p, n)
    if (j < t->cols) { /* x too: past the end lies what may be infinite */
        const ptrdiff_t n = t->cols - j;
        DOWN(LOAD)
    }
#undef LOAD
#define KEEP(v)        \
    s[v] = a0##v;      \
    s[nv + v] = a1##v; \
    s[2 * nv + v] = a2##v;
    EACH(KEEP)
#undef KEEP
#undef STEP
#undef ABOVE
#undef DOWN
#undef EACH
}

/* Up to four taps anywhere. */
DW_INLINE void FNN_NAME(depthwise_across)(const fnn_depthwise_taps *t,
                                          const T *const *x, V *restrict s) {
    V a0 = v_zero(), a1 = a0, a2 = a0, a3 = a0;
#define DOWN(LOAD)                                             \
    for (ptrdiff_t i = 0; i < t->rows; i++) {                  \
        const V gy = LOAD((const T *)t->y + i * t->y_row + j); \
        const ptrdiff_t p = i * t->x_row + j;                  \
        a0 = v_fma(gy, LOAD(x[0] + p), a0);                    \
        a1 = v_fma(gy, LOAD(x[1] + p), a1);                    \
        a2 = v_fma(gy, LOAD(x[2] + p), a2);                    \
        a3 = v_fma(gy, LOAD(x[3] + p), a3);                    \
    }
    ptrdiff_t j = 0;
#define LOAD(p) v_load(p)
    for (; j + LANES <= t->cols; j += LANES) {
        DOWN(LOAD)
    }
#undef LOAD
#define LOAD(p) v_loadn(p, n)
    if (j < t->cols) {
        const ptrdiff_t n = t->cols - j;
        DOWN(LOAD)
    }
#undef LOAD
#undef DOWN
    s[0] = a0;
    s[1] = a1;
    s[2] = a2;
    s[3] = a3;
}

static void FNN_NAME(depthwise_weight)(const fnn_depthwise_taps *t, void *into,
                                       const fnn_fetch *after) {
    const T *x = t->x;
    T *sums = into;
    const ptrdiff_t nu = t->nu, nv = t->nv, groups = t->near ? nu / 3 : 0;
    dw_fetch next = dw_fetch_in(after, t->rows * ((t->cols + LANES - 1) / LANES));
    V s[9];
#define DOWN(n)                                                                    \
    FNN_NAME(depthwise_down)(t, x + t->row_at[3 * k], t->col_at + v, s, &next, n); \
    next.lines[0] = next.lines[1] = 0; /* all is on its way */                     \
    for (ptrdiff_t i = 0; i < 3 * (n); i++) {                                      \
        T *to = sums + ((3 * k + i / (n)) * nv + v + i % (n)) * LANES;             \
        v_store(to, v_add(v_load(to), s[i]));                                      \
    }                                                                              \
    v += (n);
    for (ptrdiff_t k = 0; k < groups; k++) {
        ptrdiff_t v = 0;
#if FNN_TIER == FNN_TIER_avx512 /* elsewhere there are no registers for more */
        while (v + 3 <= nv) {
            DOWN(3)
        }
        if (v + 2 <= nv) {
            DOWN(2)
        }
#endif
        while (v < nv) {
            DOWN(1)
        }
    }
#undef DOWN
    for (ptrdiff_t k = 3 * groups * nv; k < nu * nv; k += 4) {
        const T *at[4];
        const ptrdiff_t n = nu * nv - k < 4 ? nu * nv - k : 4;
        for (ptrdiff_t i = 0; i < 4; i++) { /* the last one over again */
            const ptrdiff_t tap = k + (i < n ? i : n - 1);
            at[i] = x + t->row_at[tap / nv] + t->col_at[tap % nv];
        }
        FNN_NAME(depthwise_across)(t, at, s);
        for (ptrdiff_t i = 0; i < n; i++) {
            T *to = sums + (k + i) * LANES;
            v_store(to, v_add(v_load(to), s[i]));
        }
    }
}

/* y[k] = the lanes of sums[k], in their tree. */
static void FNN_NAME(depthwise_sum)(ptrdiff_t n, const void *sums, void *to) {
    T *y = to;
    for (ptrdiff_t k = 0; k < n; k++) {
        y[k] = v_hsum(v_load((const T *)sums + k * LANES));
    }
}

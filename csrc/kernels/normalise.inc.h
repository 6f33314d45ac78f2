/* Statistics of what is normalised, normalising, and its gradient. See kernels.h.
 *
 * Sums are kept in float64, a lane for every lane of the vectors, and lanes join in the
 * tree of f64_hsum. A segment's tail fills up with what adds nothing. Kernels for segments
 * take what belongs to one channel, those for columns have channels side by side, and those
 * for rows have a scale and a shift for each element. */

#define doubles FNN_NAME(doubles)
typedef struct {
    vf64 v[IS_F32 ? 2 : 1];
} doubles;

FNN_INLINE doubles FNN_NAME(widen)(V x) {
    doubles w;
#if IS_F32
    vf32_widen(x, &w.v[0], &w.v[1]);
#else
    w.v[0] = x;
#endif
    return w;
}
FNN_INLINE doubles FNN_NAME(load_doubles)(const T *x) {
    doubles w;
#if IS_F32
    vf32_load_wide(x, &w.v[0], &w.v[1]);
#else
    w.v[0] = v_load(x);
#endif
    return w;
}
FNN_INLINE doubles FNN_NAME(doubles_zero)(void) {
    doubles w;
    for (int k = 0; k < (IS_F32 ? 2 : 1); k++) {
        w.v[k] = f64_zero();
    }
    return w;
}
FNN_INLINE void FNN_NAME(doubles_add)(doubles *sum, V x) {
    doubles w = FNN_NAME(widen)(x);
    for (int k = 0; k < (IS_F32 ? 2 : 1); k++) {
        sum->v[k] = f64_add(sum->v[k], w.v[k]);
    }
}
/* The same on other pipes than additions and conversions run on: x * 1 + sum. */
FNN_INLINE void FNN_NAME(doubles_fma)(doubles *sum, V x) {
    doubles w = FNN_NAME(widen)(x);
    for (int k = 0; k < (IS_F32 ? 2 : 1); k++) {
        sum->v[k] = f64_fma(w.v[k], f64_set1(1), sum->v[k]);
    }
}
FNN_INLINE double FNN_NAME(doubles_sum)(const doubles *sum) {
#if IS_F32
    return f64_hsum(f64_add(sum->v[0], sum->v[1]));
#else
    return f64_hsum(sum->v[0]);
#endif
}
/* Adds d = x - center and d^2. */
FNN_INLINE void FNN_NAME(moment)(doubles w, const doubles *center, doubles *sum,
                                 doubles *square) {
    for (int k = 0; k < (IS_F32 ? 2 : 1); k++) {
        vf64 d = f64_fma(w.v[k], f64_set1(1), f64_neg(center->v[k]));
        sum->v[k] = f64_add(sum->v[k], d);
        square->v[k] = f64_fma(d, d, square->v[k]);
    }
}

FNN_INLINE void FNN_NAME(put_part)(T *y, V v, ptrdiff_t m, const bool whole,
                                   const bool stream) {
    if (!whole) {
        v_storen(y, v, m);
    } else if (stream) {
        v_stream(y, v);
    } else {
        v_store(y, v);
    }
}

/* Elements of p from i on: a vector, or what is left of one. */
#define FNN_GET(p, i, m, whole) ((whole) ? v_load((p) + (i)) : v_loadn((p) + (i), m))

/* ---- segments of one channel --------------------------------------------------------- */

static void FNN_NAME(moments)(const fnn_segments *s, double *sums) {
    const V center = v_set1((T)s->center);
    const doubles from = FNN_NAME(widen)(center);
    doubles sum = FNN_NAME(doubles_zero)(), square = sum;
    const ptrdiff_t n = s->n, ahead = s->ahead;
    for (ptrdiff_t r = 0; r < s->rows; r++) {
        const T *x = (const T *)s->x + r * s->ld;
        ptrdiff_t i = 0;
        for (; i + LANES <= n; i += LANES) {
            __builtin_prefetch(x + i + ahead, 0, 2);
            FNN_NAME(moment)(FNN_NAME(load_doubles)(x + i), &from, &sum, &square);
        }
        if (i < n) { /* past the end, what adds nothing */
            V v = v_sel(FNN_NAME(lanes_below)(n - i), v_loadn(x + i, n - i), center);
            FNN_NAME(moment)(FNN_NAME(widen)(v), &from, &sum, &square);
        }
    }
    sums[0] = FNN_NAME(doubles_sum)(&sum);
    sums[1] = FNN_NAME(doubles_sum)(&square);
}

FNN_INLINE V FNN_NAME(line)(V x, V center, V scale, V shift) {
    return v_fma(v_sub(x, center), scale, shift);
}

FNN_INLINE void FNN_NAME(normalise_as)(const fnn_segments *s, const bool add,
                                       const int act, const bool stream) {
    const V center = v_set1((T)s->center), scale = v_set1((T)s->scale);
    const V shift = v_set1((T)s->shift);
    const ptrdiff_t n = s->n, ahead = s->ahead, y_ahead = s->y_ahead;
    for (ptrdiff_t r = 0; r < s->rows; r++) {
        const T *x = (const T *)s->x + r * s->ld;
        const T *other = add ? (const T *)s->other + r * s->ld : NULL;
        T *y = (T *)s->y + r * s->ld;
        for (ptrdiff_t i = 0; i < n; i += LANES) {
            const bool whole = i + LANES <= n;
            const ptrdiff_t m = whole ? LANES : n - i;
            V v = FNN_NAME(line)(FNN_GET(x, i, m, whole), center, scale, shift);
            __builtin_prefetch(x + i + ahead, 0, 2);
            if (!stream && y_ahead != 0) {
                __builtin_prefetch(y + i + y_ahead, 1, 2);
            }
            v = add ? v_add(v, FNN_GET(other, i, m, whole)) : v;
            v = act == FNN_ACT_RELU ? m_relu(v) : v;
            FNN_NAME(put_part)(y + i, v, m, whole, stream);
        }
    }
}

/* Calls f(s, flag, act, stream) with constants. */
#define FNN_CONSTANTS(f, s, flag)                                             \
    do {                                                                      \
        const int key_ = ((flag) ? 4 : 0) | ((s)->act ? 2 : 0) | (s)->stream; \
        switch (key_) {                                                       \
        case 0:                                                               \
            f(s, false, FNN_ACT_NONE, false);                                 \
            break;                                                            \
        case 1:                                                               \
            f(s, false, FNN_ACT_NONE, true);                                  \
            break;                                                            \
        case 2:                                                               \
            f(s, false, FNN_ACT_RELU, false);                                 \
            break;                                                            \
        case 3:                                                               \
            f(s, false, FNN_ACT_RELU, true);                                  \
            break;                                                            \
        case 4:                                                               \
            f(s, true, FNN_ACT_NONE, false);                                  \
            break;                                                            \
        case 5:                                                               \
            f(s, true, FNN_ACT_NONE, true);                                   \
            break;                                                            \
        case 6:                                                               \
            f(s, true, FNN_ACT_RELU, false);                                  \
            break;                                                            \
        default:                                                              \
            f(s, true, FNN_ACT_RELU, true);                                   \
            break;                                                            \
        }                                                                     \
    } while (0)

static void FNN_NAME(normalise)(const fnn_segments *s) {
    FNN_CONSTANTS(FNN_NAME(normalise_as), s, s->other != NULL);
}

/* gy where y > 0: y is given, or made again as it was made. */
FNN_INLINE V FNN_NAME(masked)(V gy, V y) {
    return v_sel(v_lt(v_zero(), y), gy, v_zero());
}

/* A row of a segment, out of reach of what is stored meanwhile. */
#define grad_row FNN_NAME(grad_row)
typedef struct {
    const T *x, *gy, *other;
    V center, scale, shift;
} grad_row;

FNN_INLINE grad_row FNN_NAME(grad_row_of)(const fnn_segments *s, ptrdiff_t r) {
    grad_row row = {.x = (const T *)s->x + r * s->ld,
                    .gy = (const T *)s->gy + r * s->ld};
    row.other = s->other ? (const T *)s->other + r * s->ld : NULL;
    row.center = v_set1((T)s->center);
    row.scale = v_set1((T)s->scale);
    row.shift = v_set1((T)s->shift);
    return row;
}

/* gy that passed act, and d = x - center, at element i. */
FNN_INLINE V FNN_NAME(passed)(const grad_row *row, ptrdiff_t i, ptrdiff_t m,
                              const bool whole, const bool given, const int act, V *d) {
    V g = FNN_GET(row->gy, i, m, whole);
    *d = v_sub(FNN_GET(row->x, i, m, whole), row->center);
    if (act == FNN_ACT_RELU) {
        V y = given ? FNN_GET(row->other, i, m, whole)
                    : v_fma(*d, row->scale, row->shift);
        g = FNN_NAME(masked)(g, y);
    }
    return g;
}

/* Four vectors join before they are widened, which costs more than to add. */
FNN_INLINE void FNN_NAME(sums_as)(const fnn_segments *s, double *sums, const bool given,
                                  const int act) {
    const ptrdiff_t n = s->n, ahead = s->ahead;
    doubles sum = FNN_NAME(doubles_zero)(), dot = sum;
    for (ptrdiff_t r = 0; r < s->rows; r++) {
        const grad_row row = FNN_NAME(grad_row_of)(s, r);
        T *kept = act && s->masked ? (T *)s->masked + r * s->ld : NULL;
        ptrdiff_t i = 0;
        for (; i + 4 * LANES <= n; i += 4 * LANES) {
            V g[4], d[4];
#pragma GCC unroll 4
            for (int k = 0; k < 4; k++) {
                const ptrdiff_t at = i + k * LANES;
                __builtin_prefetch(row.x + at + ahead, 0, 2);
                __builtin_prefetch(row.gy + at + ahead, 0, 2);
                g[k] = FNN_NAME(passed)(&row, at, LANES, true, given, act, &d[k]);
                if (kept) {
                    v_store(kept + at, g[k]);
                }
            }
            V low = v_fma(g[1], d[1], v_mul(g[0], d[0]));
            V high = v_fma(g[3], d[3], v_mul(g[2], d[2]));
            FNN_NAME(doubles_add)(&sum, v_add(v_add(g[0], g[1]), v_add(g[2], g[3])));
            FNN_NAME(doubles_fma)(&dot, v_add(low, high));
        }
        for (; i < n; i += LANES) {
            const ptrdiff_t m = n - i < LANES ? n - i : LANES;
            V d, g = FNN_NAME(passed)(&row, i, m, false, given, act, &d);
            if (kept) {
                v_storen(kept + i, g, m);
            }
            FNN_NAME(doubles_add)(&sum, g); /* 0 past the end */
            FNN_NAME(doubles_fma)(&dot, v_mul(g, d));
        }
    }
    sums[0] = FNN_NAME(doubles_sum)(&sum);
    sums[1] = FNN_NAME(doubles_sum)(&dot);
}

static void FNN_NAME(normalise_sums)(const fnn_segments *s, double *sums) {
    if (s->act == FNN_ACT_NONE) {
        FNN_NAME(sums_as)(s, sums, false, FNN_ACT_NONE);
    } else if (s->other) {
        FNN_NAME(sums_as)(s, sums, true, FNN_ACT_RELU);
    } else {
        FNN_NAME(sums_as)(s, sums, false, FNN_ACT_RELU);
    }
}

/* While a row is written, a quarter of a row of what is summed next is fetched: more would
 * push out what is still to be read. Or, given y_ahead, what is written next alone. */
FNN_INLINE void FNN_NAME(grad_as)(const fnn_segments *s, const bool given,
                                  const int act, const bool stream) {
    const V scale = v_set1((T)s->scale), weight = v_set1((T)s->weight);
    const V slope = v_set1((T)s->slope), offset = v_set1((T)s->offset);
    const ptrdiff_t n = s->n, y_ahead = s->y_ahead;
    for (ptrdiff_t r = 0; r < s->rows; r++) {
        const grad_row row = FNN_NAME(grad_row_of)(s, r);
        const ptrdiff_t next = r / 4 * s->ld + r % 4 * (n / 4) + s->ahead;
        const T *next_x = (const T *)s->x + next, *next_gy = (const T *)s->gy + next;
        T *gx = (T *)s->y + r * s->ld;
        ptrdiff_t i = 0;
        for (; i + LANES <= n; i += LANES) {
            V d, g = FNN_NAME(passed)(&row, i, LANES, true, given, act, &d);
            if (stream || y_ahead == 0) {
                __builtin_prefetch(next_x + i / 4, 0, 2);
                __builtin_prefetch(next_gy + i / 4, 0, 2);
            } else {
                __builtin_prefetch(gx + i + y_ahead, 1, 2);
            }
            V v = v_mul(v_fma(g, weight, v_fma(d, slope, offset)), scale);
            FNN_NAME(put_part)(gx + i, v, LANES, true, stream);
        }
        if (i < n) {
            V d, g = FNN_NAME(passed)(&row, i, n - i, false, given, act, &d);
            V v = v_mul(v_fma(g, weight, v_fma(d, slope, offset)), scale);
            v_storen(gx + i, v, n - i);
        }
    }
}

static void FNN_NAME(normalise_grad)(const fnn_segments *s) {
    FNN_CONSTANTS(FNN_NAME(grad_as), s, s->other != NULL);
}

#undef grad_row

/* ---- channels side by side ----------------------------------------------------------- */

/* One vector of channels: sums over the rows, a lane each. */
#define FNN_COLUMN(p, j) (s->p ? FNN_GET((const T *)s->p, j, m, whole) : v_zero())

FNN_INLINE void FNN_NAME(put_doubles)(double *to, const doubles *w, ptrdiff_t m) {
    for (int k = 0; k < (IS_F32 ? 2 : 1); k++) {
        const ptrdiff_t left = m - k * 8;
        if (left > 0) {
            f64_storen(to + k * 8, w->v[k], left < 8 ? left : 8);
        }
    }
}

/* sums[j], sums[step + j]: of d and d^2, or backward of gy and gy d; d = x - center. */
FNN_INLINE void FNN_NAME(column_sums)(const fnn_columns *s, ptrdiff_t j, ptrdiff_t m,
                                      const int w, const bool whole, double *sums,
                                      ptrdiff_t step) {
    V center[2], scale[2], shift[2];
    doubles from[2], sum[2], dot[2];
    for (int k = 0; k < w; k++) {
        const ptrdiff_t at = j + k * LANES;
        center[k] = FNN_COLUMN(center, at);
        scale[k] = FNN_COLUMN(scale, at);
        shift[k] = FNN_COLUMN(shift, at);
        from[k] = FNN_NAME(widen)(center[k]);
        sum[k] = dot[k] = FNN_NAME(doubles_zero)();
    }
    for (ptrdiff_t r = 0; r < s->rows; r++) {
        for (int k = 0; k < w; k++) {
            const ptrdiff_t at = r * s->ld + j + k * LANES;
            V x = FNN_GET((const T *)s->x, at, m, whole);
            if (!s->gy) {
                FNN_NAME(moment)(FNN_NAME(widen)(x), &from[k], &sum[k], &dot[k]);
                continue;
            }
            V g = FNN_GET((const T *)s->gy, at, m, whole), d = v_sub(x, center[k]);
            if (s->act) {
                V y = s->other ? FNN_GET((const T *)s->other, at, m, whole)
                               : v_fma(d, scale[k], shift[k]);
                g = FNN_NAME(masked)(g, y);
                if (s->masked) {
                    FNN_NAME(put_part)((T *)s->masked + at, g, m, whole, false);
                }
            }
            FNN_NAME(doubles_add)(&sum[k], g);
            FNN_NAME(doubles_add)(&dot[k], v_mul(g, d));
        }
    }
    for (int k = 0; k < w; k++) {
        FNN_NAME(put_doubles)(sums + j + k * LANES, &sum[k], m);
        FNN_NAME(put_doubles)(sums + step + j + k * LANES, &dot[k], m);
    }
}

static void FNN_NAME(normalise_column_sums)(const fnn_columns *s, double *sums,
                                            ptrdiff_t step) {
    ptrdiff_t j = 0;
    for (; j + 2 * LANES <= s->cols; j += 2 * LANES) {
        FNN_NAME(column_sums)(s, j, LANES, 2, true, sums, step);
    }
    for (; j < s->cols; j += LANES) {
        const ptrdiff_t m = s->cols - j < LANES ? s->cols - j : LANES;
        FNN_NAME(column_sums)(s, j, m, 1, false, sums, step);
    }
}

FNN_INLINE void FNN_NAME(column_step)(const fnn_columns *s, ptrdiff_t row, ptrdiff_t j,
                                      ptrdiff_t m, const bool whole) {
    const ptrdiff_t at = row + j;
    V d = v_sub(FNN_GET((const T *)s->x, at, m, whole), FNN_COLUMN(center, j));
    V scale = FNN_COLUMN(scale, j), v;
    if (!s->gy) {
        v = v_fma(d, scale, FNN_COLUMN(shift, j));
        v = s->other ? v_add(v, FNN_GET((const T *)s->other, at, m, whole)) : v;
        v = s->act ? m_relu(v) : v;
    } else {
        V g = FNN_GET((const T *)s->gy, at, m, whole);
        if (s->act) {
            V y = s->other ? FNN_GET((const T *)s->other, at, m, whole)
                           : v_fma(d, scale, FNN_COLUMN(shift, j));
            g = FNN_NAME(masked)(g, y);
        }
        v = v_add(g, v_fma(d, FNN_COLUMN(slope, j), FNN_COLUMN(offset, j)));
        v = v_mul(v, scale);
    }
    FNN_NAME(put_part)((T *)s->y + at, v, m, whole, false);
}

static void FNN_NAME(normalise_columns)(const fnn_columns *s) {
    for (ptrdiff_t r = 0; r < s->rows; r++) {
        for (ptrdiff_t j = 0; j < s->cols; j += LANES) {
            const bool whole = j + LANES <= s->cols;
            FNN_NAME(column_step)(s, r * s->ld, j, whole ? LANES : s->cols - j, whole);
        }
    }
}
#undef FNN_COLUMN

/* ---- rows with a weight for every element -------------------------------------------- */

/* sum d and sum d^2 of d = x - center. Eight vectors join before they are widened. */
FNN_INLINE void FNN_NAME(row_sums)(ptrdiff_t n, const T *x, T center, ptrdiff_t ahead,
                                   double *sums) {
    const V from = v_set1(-center), one = v_set1(1);
    doubles sum = FNN_NAME(doubles_zero)(), square = sum;
    ptrdiff_t i = 0;
    for (; i + 8 * LANES <= n; i += 8 * LANES) {
        V s[4], q[4];
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            const T *p = x + i + 2 * k * LANES;
            __builtin_prefetch(p + ahead, 0, 2);
            __builtin_prefetch(p + LANES + ahead, 0, 2);
            /* x * 1 - center, as there are fewer multiplications than additions */
            V a = v_fma(v_load(p), one, from), b = v_fma(v_load(p + LANES), one, from);
            s[k] = v_add(a, b);
            q[k] = v_fma(b, b, v_mul(a, a));
        }
        FNN_NAME(doubles_add)(&sum, v_add(v_add(s[0], s[1]), v_add(s[2], s[3])));
        FNN_NAME(doubles_fma)(&square, v_add(v_add(q[0], q[1]), v_add(q[2], q[3])));
    }
    for (; i < n; i += LANES) {
        V d = v_fma(FNN_GET(x, i, n - i, i + LANES <= n), one, from);
        d = i + LANES <= n ? d : v_sel(FNN_NAME(lanes_below)(n - i), d, v_zero());
        FNN_NAME(doubles_add)(&sum, d);
        FNN_NAME(doubles_fma)(&square, v_mul(d, d));
    }
    sums[0] = FNN_NAME(doubles_sum)(&sum);
    sums[1] = FNN_NAME(doubles_sum)(&square);
}

/* Squares are rounded, so the center must be near the mean: the mean of the first vector
 * nearly always is; where it is not, the sums say so, and are taken again. */
static void FNN_NAME(moments_row)(ptrdiff_t n, const void *x_, ptrdiff_t ahead,
                                  double *moments) {
    const T *x = x_;
    T center = n < LANES ? x[0] : v_hsum(v_load(x)) / LANES;
    center = center - center == 0 ? center : 0; /* infinities have their mean */
    double sums[2], off;
    FNN_NAME(row_sums)(n, x, center, ahead, sums);
    off = sums[0] * (sums[0] / (double)n); /* n (mean - center)^2 */
    if (off > 2 * (sums[1] - off)) {
        T mean = (T)((double)center + sums[0] / (double)n);
        if (mean - mean == 0) {
            center = mean;
            FNN_NAME(row_sums)(n, x, center, ahead, sums);
        }
    }
    moments[0] = (double)center;
    moments[1] = sums[0];
    moments[2] = sums[1];
}

static void FNN_NAME(normalise_row)(ptrdiff_t n, const void *x_, const void *weight,
                                    const void *bias, double center_, double scale_,
                                    double shift_, void *y_, bool stream) {
    const T *x = x_, *w = weight, *b = bias;
    T *y = y_;
    const V center = v_set1((T)center_), scale = v_set1((T)scale_);
    const V shift = v_set1((T)shift_);
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        const bool whole = i + LANES <= n;
        const ptrdiff_t m = whole ? LANES : n - i;
        V v = FNN_NAME(line)(FNN_GET(x, i, m, whole), center, scale, shift);
        V add = b ? FNN_GET(b, i, m, whole) : v_zero();
        v = w ? v_fma(v, FNN_GET(w, i, m, whole), add) : b ? v_add(v, add) : v;
        FNN_NAME(put_part)(y + i, v, m, whole, stream);
    }
}

/* gy weight, and d = x - center, at element i. */
FNN_INLINE V FNN_NAME(weighted)(const T *gy, const T *x, const T *w, V center,
                                ptrdiff_t i, ptrdiff_t m, const bool whole, V *d) {
    V g = FNN_GET(gy, i, m, whole);
    *d = v_sub(FNN_GET(x, i, m, whole), center);
    return w ? v_mul(g, FNN_GET(w, i, m, whole)) : g;
}

/* Of g = gy weight: sum g and sum g (x - center). */
static void FNN_NAME(normalise_row_sums)(ptrdiff_t n, const void *gy, const void *x,
                                         const void *w, double center_, double *sums) {
    const V center = v_set1((T)center_);
    doubles sum = FNN_NAME(doubles_zero)(), dot = sum;
    ptrdiff_t i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        V g[4], d[4];
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            const ptrdiff_t at = i + k * LANES;
            g[k] = FNN_NAME(weighted)(gy, x, w, center, at, LANES, true, &d[k]);
        }
        V low = v_fma(g[1], d[1], v_mul(g[0], d[0]));
        V high = v_fma(g[3], d[3], v_mul(g[2], d[2]));
        FNN_NAME(doubles_add)(&sum, v_add(v_add(g[0], g[1]), v_add(g[2], g[3])));
        FNN_NAME(doubles_fma)(&dot, v_add(low, high));
    }
    for (; i < n; i += LANES) {
        const ptrdiff_t m = n - i < LANES ? n - i : LANES;
        V d, g = FNN_NAME(weighted)(gy, x, w, center, i, m, false, &d);
        FNN_NAME(doubles_add)(&sum, g); /* 0 past the end */
        FNN_NAME(doubles_fma)(&dot, v_mul(g, d));
    }
    sums[0] = FNN_NAME(doubles_sum)(&sum);
    sums[1] = FNN_NAME(doubles_sum)(&dot);
}

#ifndef FNN_NORM_STRIP
#define FNN_NORM_STRIP 1
#endif

FNN_INLINE void FNN_NAME(row_grad_strip)(const fnn_norm_rows *s, ptrdiff_t j,
                                         ptrdiff_t m, const int w, const bool whole,
                                         const bool stream) {
    const T *weight = s->weight;
    V each[2], gw[2], gb[2];
    for (int k = 0; k < w; k++) {
        const ptrdiff_t at = j + k * LANES;
        each[k] = weight ? FNN_GET(weight, at, m, whole) : v_set1(1);
        gw[k] = s->gw ? FNN_GET((const T *)s->gw, at, m, whole) : v_zero();
        gb[k] = s->gw ? FNN_GET((const T *)s->gb, at, m, whole) : v_zero();
    }
    for (ptrdiff_t r = 0; r < s->rows; r++) {
        const T *x = (const T *)s->x + r * s->ld, *gy = (const T *)s->gy + r * s->ld;
        T *gx = (T *)s->gx + r * s->ld;
        const T *c = (const T *)s->constants + r * FNN_NORM_CONSTANTS;
        const V center = v_set1(c[0]), scale = v_set1(c[1]), shift = v_set1(c[2]);
        const V slope = v_set1(c[3]), offset = v_set1(c[4]);
        for (int k = 0; k < w; k++) {
            const ptrdiff_t at = j + k * LANES;
            V d = v_sub(FNN_GET(x, at, m, whole), center);
            V g = FNN_GET(gy, at, m, whole);
            gw[k] = v_fma(g, v_fma(d, scale, shift), gw[k]);
            gb[k] = v_add(gb[k], g);
            V v = v_mul(v_fma(g, each[k], v_fma(d, slope, offset)), scale);
            FNN_NAME(put_part)(gx + at, v, m, whole, stream);
        }
    }
    for (int k = 0; k < w && s->gw; k++) {
        FNN_NAME(put_part)((T *)s->gw + j + k * LANES, gw[k], m, whole, false);
        FNN_NAME(put_part)((T *)s->gb + j + k * LANES, gb[k], m, whole, false);
    }
}

static void FNN_NAME(normalise_row_grad)(const fnn_norm_rows *s) {
    const ptrdiff_t strip = FNN_NORM_STRIP * LANES;
    ptrdiff_t j = 0;
    for (; j + strip <= s->n && s->stream; j += strip) {
        FNN_NAME(row_grad_strip)(s, j, LANES, FNN_NORM_STRIP, true, true);
    }
    for (; j + strip <= s->n; j += strip) {
        FNN_NAME(row_grad_strip)(s, j, LANES, FNN_NORM_STRIP, true, false);
    }
    for (; j < s->n; j += LANES) {
        const ptrdiff_t m = s->n - j < LANES ? s->n - j : LANES;
        FNN_NAME(row_grad_strip)(s, j, m, 1, false, false);
    }
}
#undef FNN_GET
#undef FNN_CONSTANTS
#undef doubles

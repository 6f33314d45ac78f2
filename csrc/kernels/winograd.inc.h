/* Winograd convolution F(4x4, 3x3): transforms of images, filters and results, and the
 * products between them. See kernels.h, and conv/winograd.h for the whole.
 *
 * In one dimension, with d six neighbours of x, g a filter of three and y four results:
 *     y = A' ((G g) (B' d))
 * Points 0, a, -a, b, -b and infinity, a = 3/4 and b = 3/2. Row p of B' is the polynomial
 * that vanishes at the other points; a row of A' and G is a power of the points, and G
 * divides by what B' has at its own point. The textbook's points, 0, 1, -1, 2, -2, give
 * sums of less even size, and errors some four times as large. In two dimensions rows
 * and then columns are transformed. The gradient of a filter is y = G' ((A gy) (B' d)) in
 * the same letters.
 *
 * Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2015;
 * Barabasz and others, Error Analysis and Improving the Accuracy of Winograd Convolution
 * for Deep Neural Networks, 2018. */
#if !IS_F32
static const fnn_winograd FNN_NAME(winograd)[1] = {{0}};
#else
#define WG LANES
#define WG_A 0.75f
#define WG_B 1.5f
#define WG_A2 (WG_A * WG_A)
#define WG_B2 (WG_B * WG_B)
/* What rows of B' have at their own points: 0; a and -a; b and -b. */
#define WG_AT_0 (WG_A2 * WG_B2)
#define WG_AT_A (2 * WG_A2 * (WG_A2 - WG_B2))
#define WG_AT_B (2 * WG_B2 * (WG_B2 - WG_A2))
#define WG_C(x) v_set1((float)(x))
#if FNN_TIER == FNN_TIER_generic
#define WG_UNROLL(n) /* a vector is a loop there; gcc would take long */
#else
#define WG_UNROLL(n) _Pragma(FNN_STR(GCC unroll n))
#endif

/* ---- one dimension --------------------------------------------------------------- */

/* r = B' d: six of an image. */
GEMM_INLINE void FNN_NAME(winograd_b)(const V *d, V *r) {
    const V a = WG_C(WG_A), b = WG_C(WG_B), a2 = WG_C(WG_A2), b2 = WG_C(WG_B2);
    const V sum = WG_C(WG_A2 + WG_B2), product = WG_C(WG_AT_0);
    const V even_a = v_fnma(b2, d[2], d[4]), odd_a = v_fnma(b2, d[1], d[3]);
    const V even_b = v_fnma(a2, d[2], d[4]), odd_b = v_fnma(a2, d[1], d[3]);
    r[0] = v_fma(product, d[0], v_fnma(sum, d[2], d[4]));
    r[1] = v_fma(a, odd_a, even_a);
    r[2] = v_fnma(a, odd_a, even_a);
    r[3] = v_fma(b, odd_b, even_b);
    r[4] = v_fnma(b, odd_b, even_b);
    r[5] = v_fma(product, d[1], v_fnma(sum, d[3], d[5]));
}

/* y = A' m: four results of six points. */
GEMM_INLINE void FNN_NAME(winograd_a)(const V *m, V *y) {
    const V sum_a = v_add(m[1], m[2]), less_a = v_sub(m[1], m[2]);
    const V sum_b = v_add(m[3], m[4]), less_b = v_sub(m[3], m[4]);
    y[0] = v_add(v_add(m[0], sum_a), sum_b);
    y[1] = v_fma(WG_C(WG_B), less_b, v_mul(WG_C(WG_A), less_a));
    y[2] = v_fma(WG_C(WG_B2), sum_b, v_mul(WG_C(WG_A2), sum_a));
    y[3] = v_fma(WG_C(WG_B2 * WG_B), less_b, v_fma(WG_C(WG_A2 * WG_A), less_a, m[5]));
}

/* r = A y: six points of four of gy. */
GEMM_INLINE void FNN_NAME(winograd_a_turned)(const V *y, V *r) {
    const V a = WG_C(WG_A), b = WG_C(WG_B), a2 = WG_C(WG_A2), b2 = WG_C(WG_B2);
    const V even_a = v_fma(a2, y[2], y[0]), odd_a = v_fma(a2, y[3], y[1]);
    const V even_b = v_fma(b2, y[2], y[0]), odd_b = v_fma(b2, y[3], y[1]);
    r[0] = y[0];
    r[1] = v_fma(a, odd_a, even_a);
    r[2] = v_fnma(a, odd_a, even_a);
    r[3] = v_fma(b, odd_b, even_b);
    r[4] = v_fnma(b, odd_b, even_b);
    r[5] = y[3];
}

/* u = G g: six points of a filter of three. */
GEMM_INLINE void FNN_NAME(winograd_g)(const V *g, V *u) {
    const V odd_a = v_mul(WG_C(WG_A / WG_AT_A), g[1]);
    const V odd_b = v_mul(WG_C(WG_B / WG_AT_B), g[1]);
    const V even_a = v_fma(WG_C(WG_A2 / WG_AT_A), g[2], v_mul(WG_C(1 / WG_AT_A), g[0]));
    const V even_b = v_fma(WG_C(WG_B2 / WG_AT_B), g[2], v_mul(WG_C(1 / WG_AT_B), g[0]));
    u[0] = v_mul(WG_C(1 / WG_AT_0), g[0]);
    u[1] = v_add(even_a, odd_a);
    u[2] = v_sub(even_a, odd_a);
    u[3] = v_add(even_b, odd_b);
    u[4] = v_sub(even_b, odd_b);
    u[5] = g[2];
}

/* g = G' m: the gradient of three from six points. */
GEMM_INLINE void FNN_NAME(winograd_g_turned)(const V *m, V *g) {
    const V sum_a = v_add(m[1], m[2]), less_a = v_sub(m[1], m[2]);
    const V sum_b = v_add(m[3], m[4]), less_b = v_sub(m[3], m[4]);
    const V zero = v_mul(WG_C(1 / WG_AT_0), m[0]);
    g[0] = v_fma(WG_C(1 / WG_AT_B), sum_b, v_fma(WG_C(1 / WG_AT_A), sum_a, zero));
    g[1] = v_fma(WG_C(WG_B / WG_AT_B), less_b, v_mul(WG_C(WG_A / WG_AT_A), less_a));
    g[2] =
        v_fma(WG_C(WG_B2 / WG_AT_B), sum_b, v_fma(WG_C(WG_A2 / WG_AT_A), sum_a, m[5]));
}

/* ---- between channel by channel and pixel by pixel -------------------------------- */

/* A run of pixels, `count` of them, as LANES channels each: they fill columns lo to hi of
 * rows of `pitch` pixels, beginning with column lo of row `to`. */
GEMM_INLINE void FNN_NAME(winograd_gather)(const T *x, ptrdiff_t channels,
                                           ptrdiff_t apart, ptrdiff_t count, T *to,
                                           ptrdiff_t lo, ptrdiff_t hi,
                                           ptrdiff_t pitch) {
    ptrdiff_t col = lo;
    for (ptrdiff_t p = 0; p < count; p += WG) {
        const ptrdiff_t n = count - p < WG ? count - p : WG;
        V r[WG];
        if (n == WG && channels == WG) {
            WG_UNROLL(16)
            for (int l = 0; l < WG; l++) {
                r[l] = v_load(x + p + l * apart);
            }
        } else {
            for (ptrdiff_t l = 0; l < WG; l++) {
                r[l] = l < channels ? v_loadn(x + p + l * apart, n) : v_zero();
            }
        }
        v_transpose(r);
        if (n == WG && hi - col >= WG) { /* no end of a row among them */
            WG_UNROLL(16)
            for (int l = 0; l < WG; l++) {
                v_store(to + (col + l) * WG, r[l]);
            }
            col += WG;
            if (col == hi) {
                col = lo, to += pitch * WG;
            }
        } else {
            for (ptrdiff_t l = 0; l < n; l++) {
                v_store(to + col * WG, r[l]);
                if (++col == hi) {
                    col = lo, to += pitch * WG;
                }
            }
        }
    }
}

/* The pixels that a rectangle reads, high x wide of them, pixel by pixel, zeros outside
 * of the image. */
GEMM_INLINE void FNN_NAME(winograd_pixels)(const fnn_winograd_in *s, ptrdiff_t high,
                                           ptrdiff_t wide) {
    T *to = s->scratch;
    const T *x = s->x;
    ptrdiff_t top = s->y0 < 0 ? -s->y0 : 0, left = s->x0 < 0 ? -s->x0 : 0;
    ptrdiff_t bottom = s->h - s->y0 < high ? s->h - s->y0 : high;
    ptrdiff_t right = s->w - s->x0 < wide ? s->w - s->x0 : wide;
    if (top >= bottom || left >= right) {
        top = bottom = left = right = 0;
    }
    if (top > 0) {
        memset(to, 0, (size_t)(top * wide * WG) * sizeof(T));
    }
    if (bottom < high) {
        memset(to + bottom * wide * WG, 0,
               (size_t)((high - bottom) * wide * WG) * sizeof(T));
    }
    for (ptrdiff_t i = top; i < bottom; i++) {
        for (ptrdiff_t j = 0; j < left; j++) {
            v_store(to + (i * wide + j) * WG, v_zero());
        }
        for (ptrdiff_t j = right; j < wide; j++) {
            v_store(to + (i * wide + j) * WG, v_zero());
        }
    }
    if (top == bottom) {
        return;
    }
    x += (s->y0 + top) * s->w + s->x0 + left;
    to += top * wide * WG;
    if (right - left == s->w) { /* whole rows follow each other */
        FNN_NAME(winograd_gather)(x, s->channels, s->x_channel, (bottom - top) * s->w,
                                  to, left, right, wide);
        return;
    }
    for (ptrdiff_t i = top; i < bottom; i++, x += s->w, to += wide * WG) {
        FNN_NAME(winograd_gather)(x, s->channels, s->x_channel, right - left, to, left,
                                  right, wide);
    }
}

/* A run of pixels back to channels, with what follows: see winograd_gather. */
GEMM_INLINE void FNN_NAME(winograd_scatter)(const fnn_winograd_out *s, const T *from,
                                            ptrdiff_t pitch, ptrdiff_t wide,
                                            ptrdiff_t at, ptrdiff_t count,
                                            const int act) {
    T *y = (T *)s->y + at;
    const T *residual = s->residual == NULL ? NULL : (const T *)s->residual + at;
    ptrdiff_t col = 0;
    for (ptrdiff_t p = 0; p < count; p += WG) {
        const ptrdiff_t n = count - p < WG ? count - p : WG;
        V r[WG];
        if (n == WG && wide - col >= WG) {
            WG_UNROLL(16)
            for (int l = 0; l < WG; l++) {
                r[l] = v_load(from + (col + l) * WG);
            }
            col += WG;
            if (col == wide) {
                col = 0, from += pitch * WG;
            }
        } else {
            for (ptrdiff_t l = 0; l < WG; l++) {
                r[l] = v_zero();
                if (l < n) {
                    r[l] = v_load(from + col * WG);
                    if (++col == wide) {
                        col = 0, from += pitch * WG;
                    }
                }
            }
        }
        v_transpose(r);
        if (n < WG) {
            for (ptrdiff_t l = 0; l < s->channels; l++) {
                const ptrdiff_t to = p + l * s->y_channel;
                V z = r[l];
                z = residual == NULL ? z : v_add(z, v_loadn(residual + to, n));
                v_storen(y + to, FNN_NAME(gemm_act)(z, act), n);
            }
        } else if (s->channels == WG && act <= FNN_ACT_RELU) {
            WG_UNROLL(16)
            for (int l = 0; l < WG; l++) {
                const ptrdiff_t to = p + l * s->y_channel;
                const V z =
                    residual == NULL ? r[l] : v_add(r[l], v_load(residual + to));
                v_store(y + to, FNN_NAME(gemm_act)(z, act));
            }
        } else {
            for (ptrdiff_t l = 0; l < s->channels; l++) {
                const ptrdiff_t to = p + l * s->y_channel;
                const V z =
                    residual == NULL ? r[l] : v_add(r[l], v_load(residual + to));
                v_store(y + to, FNN_NAME(gemm_act)(z, act));
            }
        }
    }
}

/* The results of a rectangle from their pixels, rows of `pitch`. */
GEMM_INLINE void FNN_NAME(winograd_results)(const fnn_winograd_out *s, const T *from,
                                            ptrdiff_t pitch, const int act) {
    const ptrdiff_t high = s->h - s->y0 < 4 * s->rows ? s->h - s->y0 : 4 * s->rows;
    const ptrdiff_t wide = s->w - s->x0 < pitch ? s->w - s->x0 : pitch;
    ptrdiff_t at = s->y0 * s->w + s->x0;
    if (wide == s->w) {
        FNN_NAME(winograd_scatter)(s, from, pitch, wide, at, high * wide, act);
        return;
    }
    for (ptrdiff_t i = 0; i < high; i++, at += s->w, from += pitch * WG) {
        FNN_NAME(winograd_scatter)(s, from, pitch, wide, at, wide, act);
    }
}

/* ---- two dimensions --------------------------------------------------------------- */

static void FNN_NAME(winograd_patches)(const fnn_winograd_in *s) {
    const ptrdiff_t wide = 4 * s->cols + 2;
    FNN_NAME(winograd_pixels)(s, 4 * s->rows + 2, wide);
    T *columns = (T *)s->scratch + FNN_WINOGRAD_PIXELS * WG; /* [6][wide] */
    T *to = s->to;
    for (ptrdiff_t i = 0; i < s->rows; i++) {
        const T *x = (const T *)s->scratch + 4 * i * wide * WG;
        for (ptrdiff_t j = 0; j < wide; j++) {
            V d[6], r[6];
            WG_UNROLL(6)
            for (int k = 0; k < 6; k++) {
                d[k] = v_load(x + (k * wide + j) * WG);
            }
            FNN_NAME(winograd_b)(d, r);
            WG_UNROLL(6)
            for (int k = 0; k < 6; k++) {
                v_store(columns + (k * wide + j) * WG, r[k]);
            }
        }
        for (ptrdiff_t j = 0; j < s->cols; j++, to += s->tile) {
            for (int k = 0; k < 6; k++) {
                const T *from = columns + (k * wide + 4 * j) * WG;
                V d[6], r[6];
                WG_UNROLL(6)
                for (int l = 0; l < 6; l++) {
                    d[l] = v_load(from + l * WG);
                }
                FNN_NAME(winograd_b)(d, r);
                WG_UNROLL(6)
                for (int l = 0; l < 6; l++) {
                    v_store(to + (6 * k + l) * s->plane, r[l]);
                }
            }
        }
    }
}

static void FNN_NAME(winograd_tiles)(const fnn_winograd_in *s) {
    const ptrdiff_t wide = 4 * s->cols;
    FNN_NAME(winograd_pixels)(s, 4 * s->rows, wide);
    T *columns = (T *)s->scratch + FNN_WINOGRAD_PIXELS * WG; /* [6][4] */
    T *to = s->to;
    for (ptrdiff_t i = 0; i < s->rows; i++) {
        const T *x = (const T *)s->scratch + 4 * i * wide * WG;
        for (ptrdiff_t j = 0; j < s->cols; j++, to += s->tile, x += 4 * WG) {
            for (ptrdiff_t c = 0; c < 4; c++) {
                V d[4], r[6];
                WG_UNROLL(4)
                for (int k = 0; k < 4; k++) {
                    d[k] = v_load(x + (k * wide + c) * WG);
                }
                FNN_NAME(winograd_a_turned)(d, r);
                WG_UNROLL(6)
                for (int k = 0; k < 6; k++) {
                    v_store(columns + (4 * k + c) * WG, r[k]);
                }
            }
            for (int k = 0; k < 6; k++) {
                V d[4], r[6];
                WG_UNROLL(4)
                for (int l = 0; l < 4; l++) {
                    d[l] = v_load(columns + (4 * k + l) * WG);
                }
                FNN_NAME(winograd_a_turned)(d, r);
                WG_UNROLL(6)
                for (int l = 0; l < 6; l++) {
                    v_store(to + (6 * k + l) * s->plane, r[l]);
                }
            }
        }
    }
}

static void FNN_NAME(winograd_out)(const fnn_winograd_out *s) {
    const ptrdiff_t wide = 4 * s->cols, channels = s->channels;
    T *pixels = s->scratch;
    T *columns = pixels + FNN_WINOGRAD_PIXELS * WG; /* [4][6] */
    const T *from = s->from;
    const V bias = s->bias == NULL ? v_zero() : v_loadn(s->bias, channels);
    const V scale = s->scale == NULL ? v_zero() : v_loadn(s->scale, channels);
    const V shift = s->scale == NULL ? v_zero() : v_loadn(s->shift, channels);
    for (ptrdiff_t i = 0; i < s->rows; i++) {
        T *to = pixels + 4 * i * wide * WG;
        for (ptrdiff_t j = 0; j < s->cols; j++, from += s->tile, to += 4 * WG) {
            for (int c = 0; c < 6; c++) {
                V m[6], y[4];
                WG_UNROLL(6)
                for (int k = 0; k < 6; k++) {
                    m[k] = v_load(from + (6 * k + c) * s->plane);
                }
                FNN_NAME(winograd_a)(m, y);
                WG_UNROLL(4)
                for (int k = 0; k < 4; k++) {
                    v_store(columns + (6 * k + c) * WG, y[k]);
                }
            }
            for (int k = 0; k < 4; k++) {
                V m[6], y[4];
                WG_UNROLL(6)
                for (int l = 0; l < 6; l++) {
                    m[l] = v_load(columns + (6 * k + l) * WG);
                }
                FNN_NAME(winograd_a)(m, y);
                WG_UNROLL(4)
                for (int l = 0; l < 4; l++) {
                    const V z = FNN_NAME(conv_after)(y[l], s->bias != NULL, bias,
                                                     s->scale != NULL, scale, shift);
                    v_store(to + (k * wide + l) * WG, z);
                }
            }
        }
    }
    switch (s->act) {
    case FNN_ACT_NONE:
        FNN_NAME(winograd_results)(s, pixels, wide, FNN_ACT_NONE);
        break;
    case FNN_ACT_RELU:
        FNN_NAME(winograd_results)(s, pixels, wide, FNN_ACT_RELU);
        break;
    default: /* too long to be there several times */
        FNN_NAME(winograd_results)(s, pixels, wide, s->act);
    }
}

/* One filter of each lane. */
GEMM_INLINE void FNN_NAME(winograd_filter)(const V *g, T *to, ptrdiff_t plane) {
    V rows[6][3];
    WG_UNROLL(3)
    for (int v = 0; v < 3; v++) {
        V d[3] = {g[v], g[3 + v], g[6 + v]}, r[6];
        FNN_NAME(winograd_g)(d, r);
        WG_UNROLL(6)
        for (int k = 0; k < 6; k++) {
            rows[k][v] = r[k];
        }
    }
    WG_UNROLL(6)
    for (int k = 0; k < 6; k++) {
        V r[6];
        FNN_NAME(winograd_g)(rows[k], r);
        WG_UNROLL(6)
        for (int l = 0; l < 6; l++) {
            v_store(to + (6 * k + l) * plane, r[l]);
        }
    }
}

static void FNN_NAME(winograd_filters)(const fnn_winograd_filters *s) {
    const T *w = s->weight;
    T *to = s->to, *scratch = s->scratch;
    ptrdiff_t c = 0;
    if (s->turned) { /* lanes follow each other, nine elements apart */
        for (; c < s->c; c++, w += s->next, to += s->row) {
            V r[WG];
            for (ptrdiff_t l = 0; l < WG; l++) {
                r[l] = l < s->lanes ? v_loadn(w + l * s->lane, 9) : v_zero();
            }
            if (c + 8 < s->c) { /* far apart: nobody else fetches them */
                for (ptrdiff_t l = 0; l < s->lanes * 9; l += WG) {
                    __builtin_prefetch(w + 8 * s->next + l, 0, 3);
                }
            }
            v_transpose(r);
            V g[9];
            WG_UNROLL(9)
            for (int k = 0; k < 9; k++) {
                g[k] = r[8 - k];
            }
            FNN_NAME(winograd_filter)(g, to, s->plane);
        }
    } else { /* inputs do: 16 filters of nine become nine vectors */
        for (; c < s->c; c += WG, w += WG * 9) {
            const ptrdiff_t n = s->c - c < WG ? s->c - c : WG;
            for (ptrdiff_t q = 0; q < 9 * n; q += WG) {
                const ptrdiff_t left = 9 * n - q;
                V r[WG];
                if (s->lanes == WG && left >= WG) {
                    WG_UNROLL(16)
                    for (int l = 0; l < WG; l++) {
                        r[l] = v_load(w + q + l * s->lane);
                    }
                } else {
                    for (ptrdiff_t l = 0; l < WG; l++) {
                        r[l] = l < s->lanes
                                   ? v_loadn(w + q + l * s->lane, left < WG ? left : WG)
                                   : v_zero();
                    }
                }
                v_transpose(r);
                WG_UNROLL(16)
                for (int l = 0; l < WG; l++) {
                    v_store(scratch + (q + l) * WG, r[l]);
                }
            }
            for (ptrdiff_t i = 0; i < n; i++, to += s->row) {
                V g[9];
                WG_UNROLL(9)
                for (int k = 0; k < 9; k++) {
                    g[k] = v_load(scratch + (9 * i + k) * WG);
                }
                FNN_NAME(winograd_filter)(g, to, s->plane);
            }
        }
        c = s->c;
    }
    for (; c == 0 || c % WG != 0; c++, to += s->row) {
        for (ptrdiff_t p = 0; p < FNN_WINOGRAD_POINTS; p++) {
            v_store(to + p * s->plane, v_zero());
        }
    }
}

static void FNN_NAME(winograd_gradient)(const fnn_winograd_gradient *s) {
    const T *from = s->from;
    T *scratch = s->scratch; /* [16 * 9][lanes] */
    for (ptrdiff_t c = 0; c < s->channels; c++, from += s->row) {
        V rows[3][6];
        WG_UNROLL(6)
        for (int v = 0; v < 6; v++) {
            V m[6], g[3];
            WG_UNROLL(6)
            for (int k = 0; k < 6; k++) {
                m[k] = v_load(from + (6 * k + v) * s->plane);
            }
            FNN_NAME(winograd_g_turned)(m, g);
            WG_UNROLL(3)
            for (int k = 0; k < 3; k++) {
                rows[k][v] = g[k];
            }
        }
        WG_UNROLL(3)
        for (int k = 0; k < 3; k++) {
            V g[3];
            FNN_NAME(winograd_g_turned)(rows[k], g);
            WG_UNROLL(3)
            for (int l = 0; l < 3; l++) {
                v_store(scratch + (9 * c + 3 * k + l) * WG, g[l]);
            }
        }
    }
    T *to = s->weight;
    for (ptrdiff_t q = 0; q < 9 * s->channels; q += WG, to += WG) {
        const ptrdiff_t left = 9 * s->channels - q;
        V r[WG];
        if (left >= WG && s->lanes == WG) {
            WG_UNROLL(16)
            for (int l = 0; l < WG; l++) {
                r[l] = v_load(scratch + (q + l) * WG);
            }
            v_transpose(r);
            WG_UNROLL(16)
            for (int l = 0; l < WG; l++) {
                v_store(to + l * s->lane, r[l]);
            }
            continue;
        }
        for (ptrdiff_t l = 0; l < WG; l++) {
            r[l] = l < left ? v_load(scratch + (q + l) * WG) : v_zero();
        }
        v_transpose(r);
        for (ptrdiff_t l = 0; l < s->lanes; l++) {
            v_storen(to + l * s->lane, r[l], left < WG ? left : WG);
        }
    }
}

#include "kernels/winograd_product.inc.h"

static const fnn_winograd FNN_NAME(winograd)[1] = {{
    .patches = FNN_NAME(winograd_patches),
    .tiles = FNN_NAME(winograd_tiles),
    .out = FNN_NAME(winograd_out),
    .filters = FNN_NAME(winograd_filters),
    .product = FNN_NAME(winograd_product),
    .turned = FNN_NAME(winograd_turned),
    .gradient = FNN_NAME(winograd_gradient),
    .mr = GEMM_MR,
}};
#undef WG
#undef WG_A
#undef WG_B
#undef WG_A2
#undef WG_B2
#undef WG_AT_0
#undef WG_AT_A
#undef WG_AT_B
#undef WG_C
#undef WG_UNROLL
#endif

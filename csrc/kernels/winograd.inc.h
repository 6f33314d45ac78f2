/* Winograd convolution of 3x3 kernels, strides 1 and 2: transforms of images, filters and
 * results, and the products between them. See kernels.h, and conv/winograd.h for the
 * whole; winograd_points.inc.h has the arithmetic in one dimension, which is done to rows
 * and then to columns here. */
#if !IS_F32
static const fnn_winograd FNN_NAME(winograd)[2] = {{.side = 0}};
#else
#define WG LANES
#define WG_AHEAD 64 /* elements of a channel fetched ahead */
#if FNN_TIER == FNN_TIER_generic
#define WG_UNROLL(n) /* a vector is a loop there; gcc would take long */
#else
#define WG_UNROLL(n) _Pragma(FNN_STR(GCC unroll n))
#endif

#include "kernels/winograd_points.inc.h"

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
                __builtin_prefetch(x + p + l * apart + WG_AHEAD, 0, 3);
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

/* The results of a rectangle from their pixels, `step` a tile. */
GEMM_INLINE void FNN_NAME(winograd_results)(const fnn_winograd_out *s, const T *from,
                                            ptrdiff_t step, const int act) {
    const ptrdiff_t pitch = step * s->cols;
    const ptrdiff_t top = s->y0 < 0 ? -s->y0 : 0, left = s->x0 < 0 ? -s->x0 : 0;
    const ptrdiff_t bottom =
        s->h - s->y0 < step * s->rows ? s->h - s->y0 : step * s->rows;
    const ptrdiff_t right = s->w - s->x0 < pitch ? s->w - s->x0 : pitch;
    const ptrdiff_t high = bottom - top, wide = right - left;
    ptrdiff_t at = (s->y0 + top) * s->w + s->x0 + left;
    from += (top * pitch + left) * WG;
    if (wide == s->w) {
        FNN_NAME(winograd_scatter)(s, from, pitch, wide, at, high * wide, act);
        return;
    }
    for (ptrdiff_t i = 0; i < high; i++, at += s->w, from += pitch * WG) {
        FNN_NAME(winograd_scatter)(s, from, pitch, wide, at, wide, act);
    }
}

/* ---- two dimensions --------------------------------------------------------------- */

typedef void (*FNN_NAME(winograd_line))(const V *, V *);

/* Tiles of `window` pixels, `step` apart, to points by `line`. */
GEMM_INLINE void FNN_NAME(winograd_cut)(const fnn_winograd_in *s,
                                        const FNN_NAME(winograd_line) line,
                                        const int step, const int window,
                                        const int side) {
    const ptrdiff_t wide = step * s->cols + window - step;
    FNN_NAME(winograd_pixels)(s, step * s->rows + window - step, wide);
    T *columns = (T *)s->scratch + FNN_WINOGRAD_PIXELS * WG; /* [side][wide] */
    T *to = s->to;
    for (ptrdiff_t i = 0; i < s->rows; i++) {
        const T *x = (const T *)s->scratch + step * i * wide * WG;
        for (ptrdiff_t j = 0; j < wide; j++) {
            V d[9], r[9];
            WG_UNROLL(9)
            for (int k = 0; k < window; k++) {
                d[k] = v_load(x + (k * wide + j) * WG);
            }
            line(d, r);
            WG_UNROLL(9)
            for (int k = 0; k < side; k++) {
                v_store(columns + (k * wide + j) * WG, r[k]);
            }
        }
        for (ptrdiff_t j = 0; j < s->cols; j++, to += s->tile) {
            for (int k = 0; k < side; k++) {
                const T *from = columns + (k * wide + step * j) * WG;
                V d[9], r[9];
                WG_UNROLL(9)
                for (int l = 0; l < window; l++) {
                    d[l] = v_load(from + l * WG);
                }
                line(d, r);
                WG_UNROLL(9)
                for (int l = 0; l < side; l++) {
                    v_store(to + (side * k + l) * s->plane, r[l]);
                }
            }
        }
    }
}

/* Tiles of `step` results from points by `line`. */
GEMM_INLINE void FNN_NAME(winograd_join)(const fnn_winograd_out *s,
                                         const FNN_NAME(winograd_line) line,
                                         const int side, const int step) {
    const ptrdiff_t wide = step * s->cols, channels = s->channels;
    T *pixels = s->scratch;
    T *columns = pixels + FNN_WINOGRAD_PIXELS * WG; /* [step][side] */
    const T *from = s->from;
    const V bias = s->bias == NULL ? v_zero() : v_loadn(s->bias, channels);
    const V scale = s->scale == NULL ? v_zero() : v_loadn(s->scale, channels);
    const V shift = s->scale == NULL ? v_zero() : v_loadn(s->shift, channels);
    for (ptrdiff_t i = 0; i < s->rows; i++) {
        T *to = pixels + step * i * wide * WG;
        for (ptrdiff_t j = 0; j < s->cols; j++, from += s->tile, to += step * WG) {
            for (int c = 0; c < side; c++) {
                V m[9], y[8];
                WG_UNROLL(9)
                for (int k = 0; k < side; k++) {
                    m[k] = v_load(from + (side * k + c) * s->plane);
                }
                line(m, y);
                WG_UNROLL(8)
                for (int k = 0; k < step; k++) {
                    v_store(columns + (side * k + c) * WG, y[k]);
                }
            }
            for (int k = 0; k < step; k++) {
                V m[9], y[8];
                WG_UNROLL(9)
                for (int l = 0; l < side; l++) {
                    m[l] = v_load(columns + (side * k + l) * WG);
                }
                line(m, y);
                WG_UNROLL(8)
                for (int l = 0; l < step; l++) {
                    const V z = FNN_NAME(conv_after)(y[l], s->bias != NULL, bias,
                                                     s->scale != NULL, scale, shift);
                    v_store(to + (k * wide + l) * WG, z);
                }
            }
        }
    }
    switch (s->act) {
    case FNN_ACT_NONE:
        FNN_NAME(winograd_results)(s, pixels, step, FNN_ACT_NONE);
        break;
    case FNN_ACT_RELU:
        FNN_NAME(winograd_results)(s, pixels, step, FNN_ACT_RELU);
        break;
    default: /* too long to be there several times */
        FNN_NAME(winograd_results)(s, pixels, step, s->act);
    }
}

#define CUT(name, line, step, window, side)                                       \
    static void FNN_NAME(winograd_##name)(const fnn_winograd_in *s) {             \
        FNN_NAME(winograd_cut)(s, FNN_NAME(winograd_##line), step, window, side); \
    }
CUT(patches, b, 4, 6, 6)
CUT(tiles, a_turned, 4, 4, 6)
CUT(strided_patches, strided_b, 8, 9, 9)
CUT(strided_patches_turned, strided_b_turned, 4, 5, 9)
CUT(strided_tiles, strided_a_turned, 4, 4, 9)
#undef CUT

#define JOIN(name, line, side, step)                                       \
    static void FNN_NAME(winograd_##name)(const fnn_winograd_out *s) {     \
        FNN_NAME(winograd_join)(s, FNN_NAME(winograd_##line), side, step); \
    }
JOIN(out, a, 6, 4)
JOIN(strided_out, strided_a, 9, 4)
JOIN(strided_out_turned, strided_a_both, 9, 8)
#undef JOIN

/* One filter of each lane. */
GEMM_INLINE void FNN_NAME(winograd_filter)(const V *g, T *to, ptrdiff_t plane,
                                           const FNN_NAME(winograd_line) line) {
    V rows[6][3];
    WG_UNROLL(3)
    for (int v = 0; v < 3; v++) {
        V d[3] = {g[v], g[3 + v], g[6 + v]}, r[6];
        line(d, r);
        WG_UNROLL(6)
        for (int k = 0; k < 6; k++) {
            rows[k][v] = r[k];
        }
    }
    WG_UNROLL(6)
    for (int k = 0; k < 6; k++) {
        V r[6];
        line(rows[k], r);
        WG_UNROLL(6)
        for (int l = 0; l < 6; l++) {
            v_store(to + (6 * k + l) * plane, r[l]);
        }
    }
}

GEMM_INLINE void FNN_NAME(winograd_filters_by)(const fnn_winograd_filters *s,
                                               const FNN_NAME(winograd_line) line) {
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
            FNN_NAME(winograd_filter)(g, to, s->plane, line);
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
                FNN_NAME(winograd_filter)(g, to, s->plane, line);
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

GEMM_INLINE void FNN_NAME(winograd_gradient_by)(const fnn_winograd_gradient *s,
                                                const FNN_NAME(winograd_line) line) {
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
            line(m, g);
            WG_UNROLL(3)
            for (int k = 0; k < 3; k++) {
                rows[k][v] = g[k];
            }
        }
        WG_UNROLL(3)
        for (int k = 0; k < 3; k++) {
            V g[3];
            line(rows[k], g);
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

#define FORM(name, g)                                                                 \
    static void FNN_NAME(winograd_##name##filters)(const fnn_winograd_filters *s) {   \
        FNN_NAME(winograd_filters_by)(s, FNN_NAME(winograd_##g));                     \
    }                                                                                 \
    static void FNN_NAME(winograd_##name##gradient)(const fnn_winograd_gradient *s) { \
        FNN_NAME(winograd_gradient_by)(s, FNN_NAME(winograd_##g##_turned));           \
    }
FORM(, g)
FORM(strided_, strided_g)
#undef FORM

#include "kernels/winograd_product.inc.h"

static const fnn_winograd FNN_NAME(winograd)[2] = {
    {
        .patches = {{FNN_NAME(winograd_patches), 4}, {FNN_NAME(winograd_patches), 4}},
        .tiles = {FNN_NAME(winograd_tiles), 4},
        .results = {{FNN_NAME(winograd_out), 4}, {FNN_NAME(winograd_out), 4}},
        .filters = FNN_NAME(winograd_filters),
        .product = FNN_NAME(winograd_product),
        .turned = FNN_NAME(winograd_turned),
        .gradient = FNN_NAME(winograd_gradient),
        .side = 6,
        .mr = GEMM_MR,
    },
    {
        .patches = {{FNN_NAME(winograd_strided_patches), 8},
                    {FNN_NAME(winograd_strided_patches_turned), 4}},
        .tiles = {FNN_NAME(winograd_strided_tiles), 4},
        .results = {{FNN_NAME(winograd_strided_out), 4},
                    {FNN_NAME(winograd_strided_out_turned), 8}},
        .filters = FNN_NAME(winograd_strided_filters),
        .product = FNN_NAME(winograd_product),
        .turned = FNN_NAME(winograd_turned),
        .gradient = FNN_NAME(winograd_strided_gradient),
        .side = 9,
        .mr = GEMM_MR,
    },
};
#undef WG
#undef WG_AHEAD
#undef WG_UNROLL
#endif

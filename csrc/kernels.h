/* The table of ISA-dispatched kernels: one function per row of kernels.def and dtype. */
#ifndef FNN_KERNELS_H
#define FNN_KERNELS_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "windows.h"

#define FNN_STR_(x) #x
#define FNN_STR(x) FNN_STR_(x)

/* y[i] = f(x[0][i], x[1][i], ...), i < n. step[j] is 1, or 0 where x[j] is constant: it
 * then points at a splat of at least 16 equal elements. y may equal an x exactly. */
typedef void (*fnn_map_fn)(ptrdiff_t n, void *y, const void *const *x,
                           const ptrdiff_t *step);

/* What a map kernel reads and writes, T being the compute dtype. */
typedef enum {
    FNN_T_TO_T,    /* all T */
    FNN_T_TO_BOOL, /* comparisons: reads T, writes bytes */
    FNN_BTT_TO_T,  /* where: reads bytes, T, T; writes T */
} fnn_map_kind;

enum {
#define MAP_KERNEL(name, n_in, kind) FNN_MAP_##name,
#define INT_KERNEL(name, n_in) FNN_MAP_##name,
#define KERNEL(name, type)
#include "kernels.def"
    FNN_N_MAP,
    FNN_MAP_none = -1
};

/* The last step of a GEMM: y = act(c + bias + residual). */
typedef enum {
    FNN_ACT_NONE,
    FNN_ACT_RELU,
    FNN_ACT_SIGMOID,
    FNN_ACT_TANH,
    FNN_ACT_GELU,
} fnn_activation;

/* Reduction kernels; op is one of these. */
typedef enum { FNN_SUM, FNN_MAX, FNN_MIN } fnn_reduction;

/* y[c * step] = reduction of chunk c of x[0..n), the last one what is left: lane l takes
 * elements l, l + LANES, ...; then the lanes' tree. */
typedef void (*fnn_reduce_fn)(int op, ptrdiff_t n, const void *x, void *y,
                              ptrdiff_t step);
/* The same tree for `cols` columns at once: y[j] over x[i * ld + j], i < n. */
typedef void (*fnn_reduce_cols_fn)(int op, ptrdiff_t n, ptrdiff_t cols, const void *x,
                                   ptrdiff_t ld, void *y);
/* y[0][j] = y[0][j] op y[1][j] op ..., j < n, `chunks` rows, pairwise: (0,1) (2,3) ...,
 * then (01,23) ...; the other rows are used up. */
typedef void (*fnn_reduce_join_fn)(int op, ptrdiff_t chunks, ptrdiff_t n, void *y);

#define FNN_CHUNK 256 /* elements a chunk of a reduction; part of the bits contract */

/* y[i] = sum of |x|^p, or the largest |x| (FNN_NORM_MAX), over chunk i of x[0..n). */
typedef enum { FNN_NORM_1, FNN_NORM_2, FNN_NORM_MAX, FNN_NORM_P } fnn_norm;
typedef void (*fnn_norm_fn)(int kind, double p, ptrdiff_t n, const void *x, double *y);
/* Whether none of x[0..n) is infinite or NaN. */
typedef bool (*fnn_finite_fn)(ptrdiff_t n, const void *x);

/* One row of softmax. *max and *sum come back: max_i x_i and sum_i exp(x_i - max). log: y = x - max - log(sum), else exp(x - max) / sum. */
typedef void (*fnn_softmax_fn)(ptrdiff_t n, const void *x, void *y, bool log, void *max,
                               void *sum);
/* The statistics alone, of rows ld elements apart. */
typedef void (*fnn_softmax_stats_fn)(ptrdiff_t rows, ptrdiff_t n, const void *x,
                                     ptrdiff_t ld, void *max, void *sum);
/* Its gradient: gx = y (gy - sum gy y), or log: gx = gy - exp(y) sum gy. gx may be gy. */
typedef void (*fnn_softmax_bwd_fn)(ptrdiff_t n, const void *gy, const void *y, bool log,
                                   void *gx);
/* Attention's blocks of scores; see kernels/attention.inc.h. Row i, of n at s[i * ld], is
 * that of a query; only the first limit + i * slope keys take part, and of these what the
 * mask says: where it is true, or the score and what it adds. mask_row elements from one
 * row to the next; mask_same: one for all keys. ld is a multiple of the lanes. */
enum {
    FNN_ATTENTION_NONE,
    FNN_ATTENTION_BOOL,
    FNN_ATTENTION_FLOAT,
    FNN_ATTENTION_SAME /* inside the kernels: one number added to the whole row */
};
typedef struct {
    ptrdiff_t rows, n;
    void *s, *d;
    ptrdiff_t ld;
    const void *mask;
    ptrdiff_t mask_row;
    int mask_kind;
    bool mask_same;
    ptrdiff_t limit, slope;
    void *top, *total;
    void *y;
    ptrdiff_t y_row, width;
    bool first;
} fnn_attention_scores;
/* attention_softmax: s becomes exp(s - top), 0 for what takes no part; top[i] and total[i],
 * the largest score and the sum of exponentials, move on from those of earlier keys, and so
 * does row i of y, of `width` elements: times exp(old top - top). first: there were none.
 * attention_grad: s becomes p = exp(s - top), and d, as large, p (d - total). */
typedef void (*fnn_attention_fn)(const fnn_attention_scores *g);
/* y[i][j] = x[i][j] by, where by is factor, or 1 / total[i], 0 where that is 0. */
typedef void (*fnn_attention_scale_fn)(ptrdiff_t rows, ptrdiff_t n, const void *x,
                                       ptrdiff_t x_row, double factor,
                                       const void *total, void *y, ptrdiff_t y_row);
/* dots[i] = sum_j a[i][j] b[i][j]. */
typedef void (*fnn_attention_dots_fn)(ptrdiff_t rows, ptrdiff_t n, const void *a,
                                      ptrdiff_t a_row, const void *b, ptrdiff_t b_row,
                                      void *dots);
/* gx = scale * (softmax(x) * total - target), one row of cross entropy backward: target is
 * `smooth[j]` (or the constant smooth0 where smooth is NULL), plus `hit` at index `label`. */
typedef void (*fnn_xent_bwd_fn)(ptrdiff_t n, const void *x, double lse, double total,
                                const void *smooth, double smooth0, ptrdiff_t label,
                                double hit, double scale, void *gx);

/* y[0..n) = x[0..n), y 64-byte aligned, and meanwhile asks for n elements from each of
 * ahead[]. fnn_stream_end() comes before other threads may read y. */
typedef void (*fnn_stream_fn)(ptrdiff_t n, void *y, const void *x,
                              const void *const *ahead, int n_ahead);

/* y[i * ldy + j] = x[j * ldx + i], i < m, j < n: bits of 4 or 8 bytes, whatever they
 * mean. stream: past the caches where y's rows allow it; then fnn_stream_end(). */
typedef void (*fnn_transpose_fn)(ptrdiff_t m, ptrdiff_t n, const void *x, ptrdiff_t ldx,
                                 void *y, ptrdiff_t ldy, bool stream);

/* y[i] = (y_dtype) x[i], i < n, of different dtypes, as fnn_convert. One function for x of
 * 4 bytes or 1, one for x of 8. */
typedef void (*fnn_convert_fn)(ptrdiff_t n, void *y, int y_dtype, const void *x,
                               int x_dtype);

/* Random numbers of the key `seed`, from the first word of block `block` on; see
 * kernels/random.inc.h. A block gives four elements of float32 or two of float64. */

#define FNN_RANDOM_MARGIN 128 /* bytes */
/* y[i] = the bits of element i < n, uint32_t or uint64_t; what follows y[n - 1] may be
 * written too, by less than FNN_RANDOM_MARGIN bytes. */
typedef void (*fnn_random_bits_fn)(ptrdiff_t n, uint64_t seed, uint64_t block, void *y);
/* y[i], i < n: uniform in [a, b), or normal of mean a and standard deviation b. */
typedef void (*fnn_draw_fn)(ptrdiff_t n, uint64_t seed, uint64_t block, double a,
                            double b, void *y);
/* Where word i of the blocks, four a block for both dtypes, is at least p 2^32: mask[i] = 1
 * and y[i] = x[i] / (1 - p), else 0 both; i < n, 0 <= p < 1. y may be x. */
typedef void (*fnn_dropout_fn)(ptrdiff_t n, uint64_t seed, uint64_t block, double p,
                               const void *x, void *y, uint8_t *mask);

/* Optimizer steps, see kernels/step.inc.h: what to do, and with which scalars. */
enum {
    FNN_STEP_MAXIMIZE = 1,
    FNN_STEP_DECAY = 2,     /* g += s[0] p */
    FNN_STEP_DECOUPLED = 4, /* p *= s[0] */
    FNN_STEP_MOMENTUM = 8,
    FNN_STEP_NESTEROV = 16,
    FNN_STEP_FIRST = 32, /* the momentum buffer becomes the gradient */
    FNN_STEP_CENTERED = 64,
    FNN_STEP_AMSGRAD = 128,
    FNN_STEP_RECTIFIED = 256,
};
#define FNN_S_DECAY 0
#define FNN_STEP_SCALARS 8
#define FNN_STEP_STATES 3
typedef struct {
    double s[FNN_STEP_SCALARS];
    unsigned flags;
} fnn_step;
/* x: parameter, gradient, up to FNN_STEP_STATES states or NULL; n elements of each. */
typedef void (*fnn_step_fn)(ptrdiff_t n, void *const *x, const fnn_step *step);

/* ---- normalisation: see kernels/normalise.inc.h ------------------------------------ */

/* What is in one channel: rows of n elements, ld apart. act is FNN_ACT_NONE or
 * FNN_ACT_RELU; `stream`: y goes past the caches, its rows are aligned to 64 bytes, and
 * fnn_stream_end() follows. center is exact in the dtype. */
typedef struct {
    ptrdiff_t rows, n, ld;
    const void *x, *gy;
    const void *other; /* forward a residual; backward y, or made again if NULL */
    void *y;           /* backward gx */
    void *masked;      /* backward, if not NULL: where gy goes that passed act */
    double center, scale, shift;
    double weight, slope, offset; /* backward */
    int act;
    bool stream;
    ptrdiff_t ahead, y_ahead; /* so many elements on, memory is asked for: x, gy; y, not
                               * where it is 0 */
} fnn_segments;
/* sums[0..1]: of d = x - center and of d^2; or backward of gy that passed act, and of that
 * times d. */
typedef void (*fnn_segment_sums_fn)(const fnn_segments *s, double *sums);
/* y = act(fma(x - center, scale, shift) + other); or backward
 * gx = scale fma(gy, weight, fma(x - center, slope, offset)). */
typedef void (*fnn_segments_fn)(const fnn_segments *s);

/* Channels side by side: rows of cols of them, ld apart, and the same numbers for each
 * (NULL: 0) as vectors. Backward where gy is not NULL, weight being 1. */
typedef struct {
    ptrdiff_t rows, cols, ld;
    const void *x, *gy, *other;
    void *y, *masked;
    const void *center, *scale, *shift, *slope, *offset;
    int act;
} fnn_columns;
/* The sums of column j go to sums[j] and sums[step + j]. */
typedef void (*fnn_column_sums_fn)(const fnn_columns *s, double *sums, ptrdiff_t step);
typedef void (*fnn_columns_fn)(const fnn_columns *s);

/* moments[0..2]: a center in the dtype, near the mean of x[0..n), n > 0; sums of
 * d = x - center and of d^2. What lies `ahead` elements on is asked for. */
typedef void (*fnn_moments_row_fn)(ptrdiff_t n, const void *x, ptrdiff_t ahead,
                                   double *moments);
/* y = fma(fma(x - center, scale, shift), weight, bias) along a row; either may be NULL. */
typedef void (*fnn_norm_row_fn)(ptrdiff_t n, const void *x, const void *weight,
                                const void *bias, double center, double scale,
                                double shift, void *y, bool stream);
/* sums[0..1]: of g = gy weight and of g (x - center). */
typedef void (*fnn_norm_row_sums_fn)(ptrdiff_t n, const void *gy, const void *x,
                                     const void *weight, double center, double *sums);
/* Rows, ld apart, with constants of their own, in the dtype: center, scale, shift, slope,
 * offset. gx = scale fma(gy, weight, fma(x - center, slope, offset)); and unless they are
 * NULL, gw += gy fma(x - center, scale, shift), gb += gy. */
#define FNN_NORM_CONSTANTS 5
typedef struct {
    ptrdiff_t rows, n, ld;
    const void *gy, *x, *weight, *constants;
    void *gx, *gw, *gb;
    bool stream;
} fnn_norm_rows;
typedef void (*fnn_norm_rows_fn)(const fnn_norm_rows *s);
/* Pooling, see windows.h: rows lo to hi - 1 of all planes, of y (forward) or of gx. scratch
 * is aligned, pool.c says how large. tap, of y's shape, says which element of its window a
 * maximum is: the first one, the last NaN where there is one. It may be NULL. */
typedef void (*fnn_max_pool_fn)(const fnn_pool *p, ptrdiff_t lo, ptrdiff_t hi,
                                const void *x, void *y, void *tap, void *scratch);
/* gx = the sum of gy over the windows whose tap it is, in the order of windows. */
typedef void (*fnn_max_pool_bwd_fn)(const fnn_pool *p, ptrdiff_t lo, ptrdiff_t hi,
                                    const void *gy, const void *tap, void *gx,
                                    void *scratch);
/* Sums along h, then along w, then one division; backward likewise. */
typedef void (*fnn_avg_pool_fn)(const fnn_pool *p, ptrdiff_t lo, ptrdiff_t hi,
                                const void *x, void *y, void *scratch);

/* y[i] = a[i] by_a + b[i] by_b, i < n, each product rounded; y may be a or b. */
typedef void (*fnn_blend_fn)(ptrdiff_t n, const void *a, double by_a, const void *b,
                             double by_b, void *y);
/* y[i] = x[low[i]] (1 - weight[i]) + x[high[i]] weight[i], i < n. */
typedef void (*fnn_blend_at_fn)(ptrdiff_t n, const void *x, const int32_t *low,
                                const int32_t *high, const void *weight, void *y);
/* Images sampled between their pixels; see kernels/warp.inc.h. A position is in pixels: the
 * middle of the one in row i and column j is at (x, y) = (j, i). */
enum { FNN_WARP_BILINEAR, FNN_WARP_NEAREST };
/* What lies outside: one value, the nearest pixel, or the image mirrored at the middle of
 * its outermost pixels or at their outer edges. */
enum { FNN_WARP_FILL, FNN_WARP_BORDER, FNN_WARP_MIRROR, FNN_WARP_EDGES };
#define FNN_WARP_SIDE (1 << 24) /* pixels a side, at most: float32 counts no further */
typedef struct {
    ptrdiff_t n, channels, h, w;
    const void *at_x, *at_y; /* [n] positions */
    void *
        x; /* (channels, h, w): rows ld and channels plane apart; read, but by warp_scatter */
    ptrdiff_t ld, plane;
    void *y; /* (channels, n), channels y_plane apart; written by warp, else read */
    ptrdiff_t y_plane;
    void *slope_x, *slope_y; /* [n], written by warp_slopes */
    int mode, padding;
    double fill;
} fnn_warp;
/* warp: y = x at the positions. warp_scatter: x += y through the same weights. warp_slopes:
 * sum over channels of y times the derivatives by x and y of x at the positions. */
typedef void (*fnn_warp_fn)(const fnn_warp *job);
/* (at_x, at_y)[i] = theta (column + i, row, 1), theta (2, 3). */
typedef void (*fnn_warp_affine_fn)(ptrdiff_t n, const void *theta, ptrdiff_t row,
                                   ptrdiff_t column, void *at_x, void *at_y);
/* at_x[i] = grid[i * step] * scale[0] + shift[0]; at_y of the elements `second` further,
 * likewise with scale[1] and shift[1]. */
typedef void (*fnn_warp_grid_fn)(ptrdiff_t n, const void *grid, ptrdiff_t step,
                                 ptrdiff_t second, const double *scale,
                                 const double *shift, void *at_x, void *at_y);
/* y[j] = sum_i weights[i] rows[i][j], i < m in order, j < n. */
typedef void (*fnn_weighted_rows_fn)(ptrdiff_t n, ptrdiff_t m, const void *weights,
                                     const void *const *rows, void *y);

/* n rounds of independent fused multiply-adds in registers; returns the flops done and
 * writes one element to sink. For benchmarks. */
typedef double (*fnn_peak_fn)(ptrdiff_t n, void *sink);

/* ---- GEMM micro-kernels --------------------------------------------------------- */

/* Length of a k-block, part of the bits contract: every block is one FMA chain from
 * zero in increasing k; block sums are added in increasing order. */
#define FNN_GEMM_KC 256

/* c[i][j] (+)= sum_p a[i*a_row + p*a_k] * b[p*b_k + j*b_col], i < m, j < n, p < k.
 * `first` stores the sum, else it is added to what c holds. `last` then adds bias[j] and
 * residual[i][j], which lies as c does (if not NULL), and applies `act`. `packed`: a and b are panels made by pack_a and
 * pack_b. */
typedef struct {
    ptrdiff_t m, n, k;
    const void *a;
    ptrdiff_t a_row, a_k;
    const void *b;
    ptrdiff_t b_k, b_col;
    void *c;
    ptrdiff_t ldc;
    const void *bias, *residual;
    int act;
    bool first, last, packed;
    bool b_padded; /* lanes past n are readable: b alone is a packed panel */
    /* With packed, if not NULL: b is no panel yet, but b_k apart; it becomes one here. n
     * is nr. */
    void *panel;
    /* What is packed next, from memory to L2: two lines of cache a step of k. */
    const void *ahead;
    ptrdiff_t ahead_step; /* elements; 0: nothing */
} fnn_tile;

/* 1 <= m <= mr, 1 <= n <= nr, k <= FNN_GEMM_KC; b_col is 1. */
typedef void (*fnn_tile_fn)(const fnn_tile *t);
/* Few rows, m <= gemv_m (0: there is no such kernel): any n and k, all k-blocks;
 * b_col or b_k is 1; first, last, packed and b_padded are not read. ahead_step: whether B
 * is one stream that comes from memory. */
typedef void (*fnn_gemv_fn)(const fnn_tile *t);
/* A as `tiles` panels of even height, the first m % tiles one higher: in a panel of
 * height h, dst[p*h + i] = a[i*row + p*col], p < k; the next one follows h*k
 * elements on. May write FNN_GEMM_MARGIN bytes past the last. */
typedef void (*fnn_pack_a_fn)(ptrdiff_t m, ptrdiff_t tiles, ptrdiff_t k, const void *a,
                              ptrdiff_t row, ptrdiff_t col, void *dst);
/* B as panels of nr columns, the last one of width w, what is left rounded up to whole
 * vectors: dst[j*k + p*w + i] = b[p*row + (j+i)*col], p < k, for the panel from j on.
 * Lanes past n hold any value. */
typedef void (*fnn_pack_b_fn)(ptrdiff_t n, ptrdiff_t k, const void *b, ptrdiff_t row,
                              ptrdiff_t col, void *dst);
#define FNN_GEMM_MARGIN 64
/* Whether lines of cache so many bytes apart share a set of L1, and push each other out. */
static inline bool fnn_pages_apart(ptrdiff_t bytes) { return bytes % 4096 == 0; }
/* c[i][j] = act(c[i][j] + bias[j*bias_step] + residual[i][j]), i < m, j < n; bias and
 * residual, which lies as c does, may be NULL. */
typedef void (*fnn_finish_fn)(ptrdiff_t m, ptrdiff_t n, void *c, ptrdiff_t ldc,
                              const void *bias, ptrdiff_t bias_step,
                              const void *residual, int act);

/* ---- convolution as a GEMM ------------------------------------------------------- */

/* Patches into a panel of B: y[p * width + l] for p < k and the l-th of all elements of the
 * runs, x[offset[p] + base[r] + i], i < length[r]. width is a multiple of the lanes; what
 * lies past the last run holds any value, also in a vector behind the panel. margin:
 * whether a vector may be read past every run. */
typedef struct {
    ptrdiff_t k, width, runs;
    const ptrdiff_t *offset, *base, *length;
    const void *x;
    void *y;
    bool margin;
} fnn_conv_pack;
typedef void (*fnn_conv_pack_fn)(const fnn_conv_pack *g);

/* What follows the sum, channel by channel of the result: with s the sum,
 *     y = act(fma(s + bias, scale, shift) + residual). */
typedef struct {
    const void *bias;          /* (channels), or NULL */
    const void *scale, *shift; /* (channels), or both NULL */
    const void *residual;      /* lies as the result does, or NULL */
    int act;                   /* fnn_activation */
} fnn_conv_epilogue;

/* y[i * ldy + j * step] from the sum c[i * ldc + j], i < m, j < n: the results of channels
 * from `channel` on. y is element `at` of the result. */
typedef struct {
    ptrdiff_t m, n, channel;
    const void *c;
    ptrdiff_t ldc;
    void *y;
    ptrdiff_t ldy, step, at;
    const fnn_conv_epilogue *epilogue;
} fnn_conv_finish;
typedef void (*fnn_conv_finish_fn)(const fnn_conv_finish *g);

/* c[i * ldc + j] (+)= sum over runs, in order, of x[row[i] + base[r] + q] b[p * w + j], q <
 * length[r], p counting on through the runs; i < m <= mr, j < w, which is n <= nr rounded
 * up to whole vectors. `first` stores the sum, else it is added. */
typedef struct {
    ptrdiff_t m, n, runs;
    const ptrdiff_t *row, *base, *length;
    const void *x, *b;
    void *c;
    ptrdiff_t ldc;
    bool first;
} fnn_conv_rows;
typedef void (*fnn_conv_rows_fn)(const fnn_conv_rows *t);

/* c[i * ldc + v * LANES + l] (+)= sum over p < k, in order, of a[p * m + i] x[offset[p] +
 * base[v] + l], i < m <= mr, v < vectors, which is a multiple of FNN_CONV_GROUP: B is read
 * in place, by whole vectors. `first` stores the sum, else it is added. */
#define FNN_CONV_GROUP 4
typedef struct {
    ptrdiff_t m, k, vectors;
    const void *a, *x;
    const ptrdiff_t *offset, *base;
    void *c;
    ptrdiff_t ldc;
    bool first;
} fnn_conv_direct;
typedef void (*fnn_conv_direct_fn)(const fnn_conv_direct *t);

typedef struct {
    fnn_tile_fn tile;
    fnn_gemv_fn gemv;
    fnn_pack_a_fn pack_a;
    fnn_pack_b_fn pack_b;
    fnn_finish_fn finish;
    int mr, nr, lanes, gemv_m;
} fnn_gemm_tile;

/* ---- depthwise convolution ------------------------------------------------------- */

/* What is read or written soon: fetched meanwhile, a little at a time. */
typedef struct {
    const char *at;
    ptrdiff_t bytes;
} fnn_fetch;

/* y[i][j] = sum over taps (u, v) of w[u nv + v] x[i x_row + j + row_at[u] + col_at[v]],
 * i < rows, j < cols: an FMA chain in this order, from zero (`first`) or from y. Then
 * act(fma(y + bias, scale, shift) + residual) with numbers at bias, scale and shift, and
 * a residual that lies as y does; NULL: left out. x is scratch with lanes past its end.
 * near: row_at[u] is row_at[0] + u x_row. */
typedef struct {
    ptrdiff_t rows, cols;
    const void *x;
    ptrdiff_t x_row;
    void *y;
    ptrdiff_t y_row;
    ptrdiff_t nu, nv;
    const ptrdiff_t *row_at, *col_at;
    const void *w;
    bool near, first;
    const void *bias, *scale, *shift, *residual;
    int act;
} fnn_depthwise_taps;

/* next: two, or NULL. */
typedef void (*fnn_depthwise_fn)(const fnn_depthwise_taps *t, const fnn_fetch *next);
/* sums[u nv + v][lane] += y[i][j] x[i x_row + j + row_at[u] + col_at[v]], summed over
 * i < rows and the lane's j < cols; of t this reads no more. */
typedef void (*fnn_depthwise_weight_fn)(const fnn_depthwise_taps *t, void *sums,
                                        const fnn_fetch *next);
/* y[k] = the sum of sums[k]'s lanes, k < n. */
typedef void (*fnn_depthwise_sum_fn)(ptrdiff_t n, const void *sums, void *y);
/* y[i y_row + j] = x[i x_row + j step], i < rows, j < n; for step 1, zeros follow up to a
 * whole vector. */
typedef void (*fnn_take_rows_fn)(ptrdiff_t rows, ptrdiff_t n, const void *x,
                                 ptrdiff_t x_row, ptrdiff_t step, void *y,
                                 ptrdiff_t y_row);
/* even[i y_row + j] = x[i x_row + 2 j], j < n, and odd[i y_row + j] =
 * x[i x_row + 2 j + 1], j < m, where n is m or m + 1; i < rows. */
typedef void (*fnn_take_pairs_fn)(ptrdiff_t rows, ptrdiff_t n, ptrdiff_t m,
                                  const void *x, ptrdiff_t x_row, void *even, void *odd,
                                  ptrdiff_t y_row);
/* y[i][j] = x[i x_row + j % phases pitch + j / phases], and the epilogue. */
typedef void (*fnn_depthwise_join_fn)(const fnn_depthwise_taps *t, ptrdiff_t phases,
                                      ptrdiff_t pitch);

/* ---- Winograd convolution of 3x3 kernels, float32 alone ------------------------- */

/* Everything is done to 16 channels, one vector, at a time. A tile is a square of pixels
 * and becomes side x side vectors, its points; point p of tile t lies at
 * to[p * plane + t * tile]. Filters have six points a side whatever the side: where a tile
 * has more, points from the sixth on share the filter's last. */
#define FNN_WINOGRAD_FILTER 6
#define FNN_WINOGRAD_POINTS \
    (FNN_WINOGRAD_FILTER * FNN_WINOGRAD_FILTER) /* of a filter */
#define FNN_WINOGRAD_LANES 16
#define FNN_WINOGRAD_WIDTH 32 /* columns of a panel of filters */

/* A rectangle of tiles of an image, rows by cols, numbered row by row, of which the first
 * begins at pixel (y0, x0) of the side that it is cut from; that may lie outside. At most
 * FNN_WINOGRAD_COLUMNS pixels wide, and FNN_WINOGRAD_PIXELS in all. */
#define FNN_WINOGRAD_PIXELS 576
#define FNN_WINOGRAD_COLUMNS 64
#define FNN_WINOGRAD_SCRATCH \
    ((FNN_WINOGRAD_PIXELS + 9 * FNN_WINOGRAD_COLUMNS) * FNN_WINOGRAD_LANES)

typedef struct {
    const void *x;                 /* the image's first channel of these */
    ptrdiff_t channels, x_channel; /* up to 16, and how far apart; the others are 0 */
    ptrdiff_t h, w, y0, x0, rows, cols;
    void *to;
    ptrdiff_t plane, tile;
    void *scratch; /* FNN_WINOGRAD_SCRATCH elements */
} fnn_winograd_in;

typedef struct {
    const void *from;
    ptrdiff_t plane, tile;
    void *y;
    const void *residual; /* lies as y does, or NULL */
    ptrdiff_t channels, y_channel;
    ptrdiff_t h, w, y0, x0, rows, cols;
    const void *bias, *scale, *shift; /* of these channels, or NULL */
    int act;
    void *scratch;
} fnn_winograd_out;

/* Filters of up to 16 outputs, `lanes`, from inputs c: filter (l, c) at weight[l * lane +
 * c * next]. Its points go to to[p * plane + c * row + l], zeros where there is none, for c
 * rounded up to 16. turned: by 180 degrees. */
typedef struct {
    const void *weight;
    ptrdiff_t lanes, c, lane, next;
    bool turned;
    void *to;
    ptrdiff_t plane, row;
    void *scratch; /* FNN_WINOGRAD_SCRATCH elements */
} fnn_winograd_filters;

/* c[i][j] (+)= sum over o < outer, u < steps of a(i, o, u) b[(o * steps + u) * width + j],
 * i < m, j < width, one FMA chain in increasing o and u; width is 16 or 32. first stores the
 * sum. a(i, o, u) = a[o * next + 16 i + u], steps 16, or turned a[o * next + 16 u + i], steps
 * FNN_WINOGRAD_STEPS. */
#define FNN_WINOGRAD_STEPS 4
typedef struct {
    ptrdiff_t m, width, outer;
    const void *a;
    ptrdiff_t next;
    const void *b;
    void *c;
    bool first;
} fnn_winograd_product;

/* The points of 16 inputs and `lanes` outputs, (inputs, row) at from[p * plane], become
 * gradients of filters: filter (l, c) at weight[l * lane + 9 c], l < lanes, c < channels. */
typedef struct {
    const void *from;
    ptrdiff_t plane, row;
    void *weight;
    ptrdiff_t lanes, channels, lane;
    void *scratch;
} fnn_winograd_gradient;

/* What cuts images into tiles, and joins results of tiles; pixels from one to the next. */
typedef struct {
    void (*run)(const fnn_winograd_in *);
    int step;
} fnn_winograd_cut;
typedef struct {
    void (*run)(const fnn_winograd_out *);
    int step;
} fnn_winograd_join;

typedef struct {
    fnn_winograd_cut patches[2]; /* of x; turned, of gy for the input gradient */
    fnn_winograd_cut tiles;      /* of gy for the weight gradient */
    fnn_winograd_join results[2];
    void (*filters)(const fnn_winograd_filters *);
    void (*product)(const fnn_winograd_product *); /* 1 <= m <= mr */
    void (*turned)(const fnn_winograd_product *);  /* m is 16 */
    void (*gradient)(const fnn_winograd_gradient *);
    int side; /* points of a tile: side x side */
    int mr;
} fnn_winograd;

/* ---- recurrent cells: see kernels/cell.inc.h ------------------------------------- */

/* One step of `units` units for `rows` sequences. Gates stand `gate` elements apart, but
 * z_gate in z. */
typedef struct {
    ptrdiff_t rows, units, gate;
    const void *z; /* products with the state */
    ptrdiff_t z_row, z_gate;
    const void *x; /* products with the input */
    ptrdiff_t x_row;
    const void *bias; /* of all gates; then, of a GRU, that of the new gate's z */
    ptrdiff_t ahead;  /* elements from x to what is read soon, which is fetched */
    const void *h;    /* GRU: the state before */
    ptrdiff_t h_row;
    void *c; /* LSTM: the cells, which move on */
    ptrdiff_t c_row;
    void *y, *state; /* the state after; `state` is a second copy, or NULL */
    ptrdiff_t y_row, state_row;
    void *gates; /* what backward reads, or NULL; may be x */
    ptrdiff_t gates_row;
    void *before; /* LSTM, with gates: the cells before, c_row apart */
    int act;      /* RNN: fnn_activation, tanh or relu */
} fnn_cell;
typedef void (*fnn_cell_fn)(const fnn_cell *s);

/* Backward. gh_total = gy + gh. */
typedef struct {
    ptrdiff_t rows, units, gate;
    const void *gy; /* or NULL */
    ptrdiff_t gy_row;
    const void *gh; /* from the step after */
    ptrdiff_t gh_row;
    const void *gates; /* as forward left them */
    ptrdiff_t gates_row;
    const void *h; /* GRU: the state before; RNN: the one after */
    ptrdiff_t h_row;
    const void *before; /* LSTM: the cells before, gc_row apart */
    void *gc; /* LSTM: from the step after; becomes that for the step before */
    ptrdiff_t gc_row;
    void *
        gz; /* gradients of what gates sum; GRU: n, r, u, and of the n's product with h */
    ptrdiff_t gz_row;
    void *direct; /* GRU: what goes straight to the state before, gh_row apart */
    int act;
} fnn_cell_back;
typedef void (*fnn_cell_back_fn)(const fnn_cell_back *s);

typedef struct {
    const char *name;
    fnn_map_fn map[FNN_N_MAP + 1][2]; /* [kernel][float64] */
#define MAP_KERNEL(name, n_in, kind)
#define KERNEL(name, type) type name[2];
#include "kernels.def"
    const fnn_gemm_tile *gemm_tile[2];
} fnn_kernels;

extern const fnn_kernels fnn_kernels_generic;
extern const fnn_kernels fnn_kernels_avx2;
extern const fnn_kernels fnn_kernels_avx512;
extern const fnn_kernels fnn_kernels_neon;

/* The table in force, set once by fnn_init. */
extern const fnn_kernels *fnn_k;

/* Index into a kernel's pair of functions. */
#define FNN_F64(dtype) ((dtype) == FNN_FLOAT64)

static const int fnn_map_arity[] = {
#define MAP_KERNEL(name, n_in, kind) n_in,
#define INT_KERNEL(name, n_in) n_in,
#define KERNEL(name, type)
#include "kernels.def"
    0};
static const fnn_map_kind fnn_map_kinds[] = {
#define MAP_KERNEL(name, n_in, kind) kind,
#define INT_KERNEL(name, n_in) FNN_T_TO_T,
#define KERNEL(name, type)
#include "kernels.def"
    FNN_T_TO_T};

#endif

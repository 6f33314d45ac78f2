/* The table of ISA-dispatched kernels: one function per row of kernels.def and dtype. */
#ifndef FNN_KERNELS_H
#define FNN_KERNELS_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

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
    ptrdiff_t ahead; /* so many elements on, memory is asked for */
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

typedef struct {
    fnn_tile_fn tile;
    fnn_gemv_fn gemv;
    fnn_pack_a_fn pack_a;
    fnn_pack_b_fn pack_b;
    fnn_finish_fn finish;
    int mr, nr, lanes, gemv_m;
} fnn_gemm_tile;

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

/* Resizing of the last dimensions, as many as `size` has: one or two. Each output is made of
 * at most two neighbours an axis; which ones, and how much of the second, is in tables that
 * are made once a call.
 *
 * With s = in / out, or 1 / scale where a scale was given, output o lies at
 *     nearest         floor(o s)
 *     nearest exact   floor((o + 1/2) s)
 *     linear          max(0, (o + 1/2) s - 1/2), or o (in - 1) / (out - 1) where corners
 *                     are aligned
 * in the arithmetic of the dtype. Threads cut rows, of y or of gx. */
#include "ops.h"

#include <math.h>

#define GRAIN_ELEMENTS 16384

enum { NEAREST, LINEAR, EXACT }; /* mode */

typedef struct {
    int64_t in, out;
    int32_t *low, *high; /* (out) */
    char *weight;        /* (out), of the compute dtype: how much of high */
    int32_t *first;      /* (in): the first output that reads it, or a later one */
} resize_axis;

typedef struct {
    resize_axis h, w;
    int dtype, mode;
    int64_t rows, pieces, scratch;
    const char *in;
    char *out, *workspace;
} resize_job;

/* What an axis does: two places and a weight for each output. Nearest neighbours are those
 * of positions rounded to float32, as in PyTorch. */
#define TABLE(F, T, FMA)                                                           \
    static void table_##F(resize_axis *a, int mode, bool align, double scale) {    \
        T *weight = (T *)(void *)a->weight;                                        \
        T s = scale > 0 ? (T)(1.0 / scale) : (T)a->in / (T)a->out;                 \
        if (align && mode == LINEAR) {                                             \
            s = a->out > 1 ? (T)(a->in - 1) / (T)(a->out - 1) : 0;                 \
        }                                                                          \
        for (int64_t o = 0; o < a->out; o++) {                                     \
            const bool corner = mode == NEAREST || (mode == LINEAR && align);      \
            T at = corner ? s * (T)o : FMA(s, (T)o + (T)0.5, -(T)0.5);             \
            at = at > 0 ? at : 0;                                                  \
            at = mode == LINEAR && a->in == a->out ? (T)o : at;                    \
            int64_t low = (int64_t)at;                                             \
            if (mode != LINEAR) {                                                  \
                low = (int64_t)(float)((double)at + (mode == EXACT ? 0.5 : 0.0));  \
            }                                                                      \
            low = fnn_min64(low, a->in - 1);                                       \
            const bool two = mode == LINEAR && a->in != a->out && low < a->in - 1; \
            const T part = mode == LINEAR ? at - (T)low : 0;                       \
            a->low[o] = (int32_t)low;                                              \
            a->high[o] = (int32_t)(low + two);                                     \
            weight[o] = part < 1 ? part : 1;                                       \
        }                                                                          \
    }
TABLE(f32, float, fmaf)
TABLE(f64, double, fma)
#undef TABLE

static void make_tables(resize_axis *a, int dtype, int mode, bool align, double scale) {
    (FNN_F64(dtype) ? table_f64 : table_f32)(a, mode, align, scale);
    int64_t o = 0;
    for (int64_t i = 0; i < a->in; i++) {
        while (o < a->out && a->high[o] < i) {
            o++;
        }
        a->first[i] = (int32_t)o;
    }
}

static double weight_of(const resize_axis *a, bool f64, int64_t o) {
    const void *weight = a->weight;
    return f64 ? ((const double *)weight)[o] : (double)((const float *)weight)[o];
}

/* ---- what a call is ----------------------------------------------------------------- */

static int64_t size_of(const fnn_tensor *x, int dims, int d) {
    return dims == 2 || d == 1 ? x->shape[x->ndim - 2 + d] : 1;
}

static fnn_status check(fnn_call *c, const char *name, bool back) {
    const fnn_tensor *x = c->in[0];
    const fnn_attr *size = &c->attr[0];
    const int dims = size->n;
    const int64_t mode = c->attr[1].i;
    if (back || mode == LINEAR) {
        FNN_TRY(fnn_expect_float(c, 0, name));
    }
    if (dims < 1 || dims > 2 || x->ndim < dims || mode < NEAREST || mode > EXACT) {
        return fnn_fail(
            c->err, FNN_ERR_VALUE,
            "%s: expected sizes of the last one or two dimensions and mode 0, 1 "
            "or 2, got %d sizes for shape %s and mode %lld",
            c->op->name, dims, FNN_SHAPE(x), (long long)mode);
    }
    FNN_TRY(fnn_expect_contiguous(c, 0, name));
    fnn_tensor *y = &c->out[0];
    fnn_like(y, x, x->dtype);
    for (int d = 0; d < dims; d++) {
        const int at = x->ndim - dims + d;
        y->shape[at] = size->ints[d];
        if (size->ints[d] < 1 || size->ints[d] > INT32_MAX || x->shape[at] < 1 ||
            x->shape[at] > INT32_MAX) {
            return fnn_fail(c->err, FNN_ERR_VALUE,
                            "%s: expected sizes of at least 1, got %lld for shape %s",
                            c->op->name, (long long)size->ints[d], FNN_SHAPE(x));
        }
    }
    fnn_set_contiguous(y);
    return fnn_check_size(c, y);
}

fnn_status fnn_infer_resize(fnn_call *c) { return check(c, "x", false); }
fnn_status fnn_infer_resize_backward(fnn_call *c) { return check(c, "gy", true); }

static char *take(char **next, int64_t bytes) {
    char *at = *next;
    *next = at == NULL ? NULL : at + fnn_aligned(bytes);
    return at;
}

/* Sizes, pieces and the place of everything in the workspace, which may be NULL; its
 * bytes. */
static int64_t prepare(const fnn_call *c, bool back, resize_job *j) {
    const fnn_tensor *x = c->in[0], *y = &c->out[0];
    const int dims = c->attr[0].n, dtype = x->dtype;
    *j = (resize_job){.dtype = dtype, .mode = (int)c->attr[1].i};
    resize_axis *axes[2] = {&j->h, &j->w};
    char *next = c->workspace;
    int64_t bytes = 0;
    if (fnn_numel(y) == 0) {
        return 0;
    }
    for (int d = 0; d < 2; d++) {
        resize_axis *a = axes[d];
        a->in = size_of(back ? y : x, dims, d);
        a->out = size_of(back ? x : y, dims, d);
        a->low = (int32_t *)(void *)take(&next, a->out * 4);
        a->high = (int32_t *)(void *)take(&next, a->out * 4);
        a->weight = take(&next, a->out * 8);
        a->first = (int32_t *)(void *)take(&next, a->in * 4);
        bytes += 2 * fnn_aligned(a->out * 4) + fnn_aligned(a->out * 8) +
                 fnn_aligned(a->in * 4);
    }
    const int64_t across = fnn_max64(j->w.in, j->w.out);
    j->rows = fnn_numel(y) / size_of(y, dims, 1);
    j->pieces =
        fnn_max64(1, fnn_min64(c->threads, j->rows / (GRAIN_ELEMENTS / across + 1)));
    j->scratch = 2 * fnn_aligned(j->w.out * 8);
    j->workspace = next;
    j->in = x->data;
    j->out = y->data;
    return bytes + j->pieces * j->scratch;
}

int64_t fnn_workspace_resize(const fnn_call *c) {
    resize_job j;
    return prepare(c, false, &j);
}

int64_t fnn_workspace_resize_backward(const fnn_call *c) {
    resize_job j;
    return prepare(c, true, &j);
}

/* ---- forward ------------------------------------------------------------------------ */

#define PICK(S)                                     \
    {                                               \
        const S *from = (const S *)(const void *)x; \
        S *to = (S *)(void *)y;                     \
        for (int64_t o = 0; o < j->w.out; o++) {    \
            to[o] = from[j->w.low[o]];              \
        }                                           \
        break;                                      \
    }

static void nearest_rows(const resize_job *j, int64_t lo, int64_t hi) {
    const ptrdiff_t size = fnn_dtype_size(j->dtype);
    const ptrdiff_t in_row = j->w.in * size, out_row = j->w.out * size;
    int64_t last = -1; /* which row of x the row before is of */
    for (int64_t row = lo; row < hi; row++) {
        const int64_t plane = row / j->h.out;
        const int64_t source = plane * j->h.in + j->h.low[row % j->h.out];
        const char *x = j->in + source * in_row;
        char *y = j->out + row * out_row;
        if (source == last) {
            memcpy(y, y - out_row, (size_t)out_row);
            continue;
        }
        last = source;
        switch (size) {
        case 1:
            PICK(uint8_t)
        case 4:
            PICK(uint32_t)
        default:
            PICK(uint64_t)
        }
    }
}

static void linear_rows(const resize_job *j, int64_t lo, int64_t hi, char *scratch) {
    const bool f64 = FNN_F64(j->dtype);
    const ptrdiff_t size = fnn_dtype_size(j->dtype);
    int64_t have[2] = {-1, -1}; /* rows of x that lie in scratch, resized along w */
    char *rows[2] = {scratch, scratch + j->scratch / 2};
    for (int64_t row = lo; row < hi; row++) {
        const int64_t plane = row / j->h.out, o = row % j->h.out;
        const int64_t low = plane * j->h.in + j->h.low[o];
        const int64_t high = plane * j->h.in + j->h.high[o];
        const char *at[2];
        for (int k = 0; k < 2; k++) {
            const int64_t source = k == 0 ? low : high;
            const int slot = (int)(source & 1); /* neighbours have one each */
            if (have[slot] != source) {
                have[slot] = source;
                fnn_k->blend_at[f64](j->w.out, j->in + source * j->w.in * size,
                                     j->w.low, j->w.high, j->w.weight, rows[slot]);
            }
            at[k] = rows[slot];
        }
        const double by = weight_of(&j->h, f64, o);
        const double rest = f64 ? 1 - by : (double)(1 - (float)by);
        char *y = j->out + row * j->w.out * size;
        fnn_k->blend[f64](j->w.out, at[0], rest, at[1], by, y);
    }
}

static void run_rows(void *context, int64_t lo, int64_t hi) {
    const resize_job *j = context;
    for (int64_t i = lo; i < hi; i++) {
        const int64_t from = j->rows * i / j->pieces,
                      to = j->rows * (i + 1) / j->pieces;
        if (j->mode == LINEAR) {
            linear_rows(j, from, to, j->workspace + i * j->scratch);
        } else {
            nearest_rows(j, from, to);
        }
    }
}

static void tables(const fnn_call *c, resize_job *j) {
    const bool align = c->attr[2].i;
    make_tables(&j->h, j->dtype, j->mode, align, c->attr[3].f);
    make_tables(&j->w, j->dtype, j->mode, align, c->attr[4].f);
}

fnn_status fnn_run_resize(fnn_call *c) {
    resize_job j;
    prepare(c, false, &j);
    if (j.rows > 0) {
        tables(c, &j);
        fnn_parallel_for(j.pieces, 1, run_rows, &j);
    }
    return FNN_OK;
}

/* ---- backward: sums down, then across ----------------------------------------------- */

/* gx[low] += g (1 - w), gx[high] += g w, in the order of g */
#define SPREAD(F, T)                                                           \
    static void spread_##F(const resize_axis *a, bool linear, const char *sum, \
                           char *gx_) {                                        \
        const T *g = (const T *)(const void *)sum;                             \
        const T *w = (const T *)(const void *)a->weight;                       \
        T *gx = (T *)(void *)gx_;                                              \
        for (int64_t o = 0; o < a->out && !linear; o++) {                      \
            gx[a->low[o]] += g[o];                                             \
        }                                                                      \
        for (int64_t o = 0; o < a->out && linear; o++) {                       \
            gx[a->low[o]] += g[o] * (1 - w[o]);                                \
            gx[a->high[o]] += g[o] * w[o];                                     \
        }                                                                      \
    }
SPREAD(f32, float)
SPREAD(f64, double)
#undef SPREAD

static void backward_rows(void *context, int64_t lo, int64_t hi) {
    const resize_job *j = context;
    const bool f64 = FNN_F64(j->dtype), linear = j->mode == LINEAR;
    const ptrdiff_t size = fnn_dtype_size(j->dtype);
    const resize_axis *h = &j->h, *w = &j->w;
    for (int64_t i = lo; i < hi; i++) {
        const int64_t from = j->rows * i / j->pieces,
                      to = j->rows * (i + 1) / j->pieces;
        char *sum = j->workspace + i * j->scratch;
        for (int64_t row = from; row < to; row++) {
            const int64_t plane = row / h->in, at = row % h->in;
            memset(sum, 0, (size_t)(w->out * size));
            for (int64_t o = h->first[at]; o < h->out && h->low[o] <= at; o++) {
                const char *gy = j->in + (plane * h->out + o) * w->out * size;
                const double by = weight_of(h, f64, o);
                const double rest = f64 ? 1 - by : (double)(1 - (float)by);
                if (h->low[o] == at) {
                    fnn_k->blend[f64](w->out, sum, 1, gy, rest, sum);
                }
                if (h->high[o] == at && linear) {
                    fnn_k->blend[f64](w->out, sum, 1, gy, by, sum);
                }
            }
            char *gx = j->out + row * w->in * size;
            memset(gx, 0, (size_t)(w->in * size));
            (f64 ? spread_f64 : spread_f32)(w, linear, sum, gx);
        }
    }
}

fnn_status fnn_run_resize_backward(fnn_call *c) {
    resize_job j;
    prepare(c, true, &j);
    if (j.rows > 0) {
        tables(c, &j);
        fnn_parallel_for(j.pieces, 1, backward_rows, &j);
    }
    return FNN_OK;
}

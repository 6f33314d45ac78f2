/* Pooling of the last dimensions, as many as `kernel` has: one or two. What lies before
 * them is planes, each for itself.
 *
 * A maximum says by its tap which element of its window it is: a byte for windows of up to
 * 256 elements, which is all that the backward pass has to read. Threads cut rows, of y or
 * of gx; a row is computed from the same elements in the same order wherever it is cut. */
#include "ops.h"

#define GRAIN_ELEMENTS 16384 /* read or written, that pay for a thread */
#define MOST_TAPS (1 << 24)  /* that float32 counts */
#define MOST INT32_MAX       /* of a size, so that products of two do not overflow */

enum { KERNEL, STRIDE, PADDING, DILATION }; /* attributes that both axes have */

/* ---- what a call is ----------------------------------------------------------------- */

static fnn_status check_axis(const fnn_call *c, const fnn_axis *a) {
    const char *name = c->op->name;
    const bool sane = a->kernel >= 1 && a->stride >= 1 && a->dilation >= 1 &&
                      a->kernel <= MOST && a->stride <= MOST && a->dilation <= MOST;
    if (!sane) {
        return fnn_fail(
            c->err, FNN_ERR_VALUE,
            "%s: expected kernel_size, stride and dilation of at least 1, got "
            "%lld, %lld and %lld",
            name, (long long)a->kernel, (long long)a->stride, (long long)a->dilation);
    }
    if (a->padding < 0 || a->padding > a->kernel / 2) {
        return fnn_fail(
            c->err, FNN_ERR_VALUE,
            "%s: expected padding from 0 to half of kernel_size %lld, got %lld", name,
            (long long)a->kernel, (long long)a->padding);
    }
    return FNN_OK;
}

/* Fills a->out; the last window of ceil starts in the input, or in the padding before. */
static fnn_status count_windows(const fnn_call *c, fnn_axis *a, bool ceil) {
    const ptrdiff_t reach = (a->kernel - 1) * a->dilation + 1;
    const ptrdiff_t room = a->in + 2 * a->padding - reach;
    const ptrdiff_t s = a->stride;
    a->out = room >= 0 ? room / s + 1 : 0;
    if (ceil && room + s > 0) {
        a->out = fnn_ceil_div(room, s) + 1;
        a->out -= (a->out - 1) * s >= a->in + a->padding;
    }
    if (a->out < 1) {
        return fnn_fail(
            c->err, FNN_ERR_VALUE,
            "%s: expected sizes that windows of %lld elements fit, got %lld "
            "with padding %lld",
            c->op->name, (long long)reach, (long long)a->in, (long long)a->padding);
    }
    for (ptrdiff_t o = 0; a->dilation > a->in && o < a->out && o * s < a->padding;
         o++) {
        ptrdiff_t lo, hi;
        fnn_window(a, o, &lo, &hi);
        if (lo == hi) { /* dilated, it steps over a short input */
            return fnn_fail(
                c->err, FNN_ERR_VALUE,
                "%s: expected windows with an element of the input, got size "
                "%lld with padding %lld and dilation %lld",
                c->op->name, (long long)a->in, (long long)a->padding,
                (long long)a->dilation);
        }
    }
    return FNN_OK;
}

/* An axis cut into `out` windows; even ones are ordinary ones. */
static fnn_status cut_evenly(const fnn_call *c, fnn_axis *a, int64_t out) {
    if (out < 0 || out > MOST) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected output_size of at least 0, got %lld", c->op->name,
                        (long long)out);
    }
    a->out = out;
    a->stride = a->dilation = a->kernel = 1;
    a->padding = 0;
    if (out > 0 && a->in % out == 0) {
        a->kernel = a->stride = a->in / out;
    } else if (out > 0) {
        const ptrdiff_t rest = a->in % out; /* windows start at multiples of in / out */
        ptrdiff_t common = out, r = rest;
        while (r != 0) {
            const ptrdiff_t next = common % r;
            common = r;
            r = next;
        }
        a->adaptive = true;
        a->kernel = a->in / out + (rest > common ? 2 : 1);
    }
    return FNN_OK;
}

/* The windows over planes of in_h by in_w; h is 1 where there is one dimension. Attributes
 * from `first` on: kernel, and unless adaptive stride, padding and perhaps dilation. */
static fnn_status set_windows(const fnn_call *c, fnn_pool *p, int first, bool dilated,
                              bool ceil, bool adaptive, int64_t in_h, int64_t in_w) {
    const fnn_attr *attr = c->attr + first;
    const int dims = attr[KERNEL].n;
    fnn_axis *const axes[2] = {&p->h, &p->w};
    *p = (fnn_pool){.h = {in_h, 1, 1, 1, 0, 1, false},
                    .w = {in_w, 1, 1, 1, 0, 1, false}};
    for (int d = 0; d < dims; d++) {
        fnn_axis *a = axes[2 - dims + d];
        if (a->in < 1 || a->in > MOST) {
            return fnn_fail(c->err, FNN_ERR_VALUE,
                            "%s: expected dimensions of 1 to %d to pool over, got size "
                            "%lld",
                            c->op->name, MOST, (long long)a->in);
        }
        if (adaptive) {
            FNN_TRY(cut_evenly(c, a, attr[KERNEL].ints[d]));
            continue;
        }
        a->kernel = attr[KERNEL].ints[d];
        a->stride = attr[STRIDE].ints[d];
        a->padding = attr[PADDING].ints[d];
        a->dilation = dilated ? attr[DILATION].ints[d] : 1;
        FNN_TRY(check_axis(c, a));
        FNN_TRY(count_windows(c, a, ceil));
    }
    if (p->h.kernel > MOST_TAPS / p->w.kernel) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected windows of at most %d elements, got %lld x %lld",
                        c->op->name, MOST_TAPS, (long long)p->h.kernel,
                        (long long)p->w.kernel);
    }
    p->wide_taps = p->h.kernel * p->w.kernel > 256;
    return FNN_OK;
}

/* Whether the attributes that say something of each dimension say it of as many, and x has
 * them. */
static fnn_status check_dims(const fnn_call *c, const fnn_tensor *x, int first,
                             int lists, bool adaptive) {
    const fnn_attr *attr = c->attr + first;
    const int dims = attr[KERNEL].n;
    bool fits = dims == 1 || dims == 2;
    for (int k = 1; fits && k < lists && !adaptive; k++) {
        fits = attr[k].n == dims;
    }
    if (!fits) {
        return fnn_fail(
            c->err, FNN_ERR_VALUE,
            "%s: expected kernel_size, stride, padding and dilation of one or "
            "two dimensions each",
            c->op->name);
    }
    if (x->ndim < dims) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected an input of at least %d dimensions, got shape %s",
                        c->op->name, dims, FNN_SHAPE(x));
    }
    return FNN_OK;
}

/* Sizes of the dimensions that are pooled over; 1 for the first of one. */
static int64_t size_h(const fnn_tensor *x, int dims) {
    return dims == 2 ? x->shape[x->ndim - 2] : 1;
}
static int64_t size_w(const fnn_tensor *x) { return x->shape[x->ndim - 1]; }

static fnn_status set_shape(const fnn_call *c, fnn_tensor *y, const fnn_tensor *x,
                            int dtype, int dims, int64_t h, int64_t w) {
    fnn_like(y, x, dtype);
    if (dims == 2) {
        y->shape[y->ndim - 2] = h;
    }
    y->shape[y->ndim - 1] = w;
    fnn_set_contiguous(y);
    return fnn_check_size(c, y);
}

/* Attributes of the rows, in their order. */
typedef struct {
    int first, lists; /* where kernel, stride ... are */
    bool ceil, adaptive, count_padding;
    double divisor;
} options;

/* max_pool: kernel stride padding dilation ceil adaptive */
static options of_max(const fnn_call *c) {
    return (options){.lists = 4, .ceil = c->attr[4].i, .adaptive = c->attr[5].i};
}

/* what goes back or looks up: size, and the same without ceil, which gy's shape says */
static options of_taps(const fnn_call *c) {
    return (options){.first = 1, .lists = 4, .adaptive = c->attr[5].i};
}

/* avg_pool: kernel stride padding ceil adaptive count_padding divisor */
static options of_avg(const fnn_call *c) {
    return (options){.lists = 3,
                     .ceil = c->attr[3].i,
                     .adaptive = c->attr[4].i,
                     .count_padding = c->attr[5].i,
                     .divisor = (double)c->attr[6].i};
}

/* avg_pool_backward: size, and the same without ceil */
static options of_avg_backward(const fnn_call *c) {
    return (options){.first = 1,
                     .lists = 3,
                     .adaptive = c->attr[4].i,
                     .count_padding = c->attr[5].i,
                     .divisor = (double)c->attr[6].i};
}

/* The windows of a call that goes from x to y. */
static fnn_status forward(const fnn_call *c, const options *o, fnn_pool *p) {
    const fnn_tensor *x = c->in[0];
    FNN_TRY(check_dims(c, x, o->first, o->lists, o->adaptive));
    FNN_TRY(set_windows(c, p, o->first, o->lists == 4, o->ceil, o->adaptive,
                        size_h(x, c->attr[o->first].n), size_w(x)));
    p->divisor = o->divisor;
    p->count_padding = o->count_padding;
    return FNN_OK;
}

/* The windows of a call that goes from y's shape, which `y` has, to planes of `size`. ceil
 * or not, there is one such layer that gives y. */
static fnn_status backward(const fnn_call *c, const options *o, const fnn_tensor *y,
                           fnn_pool *p) {
    const fnn_attr *size = &c->attr[0];
    FNN_TRY(check_dims(c, y, o->first, o->lists, o->adaptive));
    const int dims = c->attr[o->first].n;
    if (size->n != dims) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected size of %d dimensions, got %d", c->op->name, dims,
                        size->n);
    }
    const int64_t h = dims == 2 ? size->ints[0] : 1, w = size->ints[dims - 1];
    for (int ceil = 0; ceil < 2; ceil++) {
        fnn_status status =
            set_windows(c, p, o->first, o->lists == 4, ceil, o->adaptive, h, w);
        if (status == FNN_OK && p->h.out == size_h(y, dims) && p->w.out == size_w(y)) {
            p->divisor = o->divisor;
            p->count_padding = o->count_padding;
            return FNN_OK;
        }
        if (status != FNN_OK && ceil == 1) {
            return status;
        }
    }
    return fnn_fail(c->err, FNN_ERR_VALUE,
                    "%s: expected the shape that such windows give planes of (%lld, "
                    "%lld), got %s",
                    c->op->name, (long long)h, (long long)w, FNN_SHAPE(y));
}

/* ---- running ------------------------------------------------------------------------ */

typedef struct {
    fnn_pool pool;
    int dtype;
    bool back, max; /* back: rows are gx's */
    int64_t rows, pieces;
    int64_t scratch; /* bytes a piece */
    const void *in, *in_tap;
    void *out, *out_tap, *workspace;
} pool_job;

/* Cuts the rows, and says how scratch memory is laid out. */
static void prepare(pool_job *j, const fnn_call *c, const fnn_pool *p, bool back) {
    const fnn_axis *h = &p->h, *w = &p->w;
    const ptrdiff_t reach = (w->kernel - 1) * w->dilation;
    const ptrdiff_t reach_h = (h->kernel - 1) * h->dilation;
    const ptrdiff_t phase = (w->in + w->padding - 1) / w->stride + 1;
    const ptrdiff_t longest = fnn_max64(w->out, phase) + reach / w->stride;
    const int64_t elements = fnn_numel(&c->out[0]);
    *j = (pool_job){.pool = *p, .dtype = c->out[0].dtype, .back = back};
    j->dtype = c->in[0]->dtype;
    j->pool.pitch = (longest + 32 + 15) / 16 * 16;
    j->pool.phases = fnn_min64(2, fnn_min64(w->stride, reach + 1));
    j->pool.ring = back ? fnn_min64(h->out, reach_h / h->stride + 1)
                        : fnn_min64(h->in, reach_h + 1);
    if (elements == 0) {
        return;
    }
    const int64_t per_row = back ? w->in : w->out;
    j->rows = elements / per_row;
    const int64_t work = fnn_max64(w->in, w->out);
    j->pieces =
        fnn_max64(1, fnn_min64(c->threads, j->rows / (GRAIN_ELEMENTS / work + 1)));
    j->scratch =
        ((j->pool.phases + 2 * j->pool.ring + 2) * j->pool.pitch + 2 * (w->in + 16)) *
            fnn_dtype_size(j->dtype) +
        (j->pool.ring * w->kernel + w->out) * 3 * (int64_t)sizeof(ptrdiff_t);
    j->scratch = fnn_aligned(j->scratch);
}

static int64_t workspace(const pool_job *j) { return j->pieces * j->scratch; }

static void run_pieces(void *context, int64_t lo, int64_t hi) {
    const pool_job *j = context;
    const bool f64 = FNN_F64(j->dtype);
    for (int64_t i = lo; i < hi; i++) {
        const int64_t from = j->rows * i / j->pieces,
                      to = j->rows * (i + 1) / j->pieces;
        void *scratch = (char *)j->workspace + i * j->scratch;
        if (j->max && j->back) {
            fnn_k->max_pool_bwd[f64](&j->pool, from, to, j->in, j->in_tap, j->out,
                                     scratch);
        } else if (j->max) {
            fnn_k->max_pool[f64](&j->pool, from, to, j->in, j->out, j->out_tap,
                                 scratch);
        } else if (j->back) {
            fnn_k->avg_pool_bwd[f64](&j->pool, from, to, j->in, j->out, scratch);
        } else {
            fnn_k->avg_pool[f64](&j->pool, from, to, j->in, j->out, scratch);
        }
    }
}

static fnn_status run(pool_job *j, const fnn_call *c) {
    if (j->rows > 0) {
        j->in = c->in[0]->data;
        j->out = c->out[0].data;
        j->workspace = c->workspace;
        fnn_parallel_for(j->pieces, 1, run_pieces, j);
    }
    return FNN_OK;
}

/* ---- max_pool ----------------------------------------------------------------------- */

fnn_status fnn_infer_max_pool(fnn_call *c) {
    const fnn_tensor *x = c->in[0];
    const options o = of_max(c);
    fnn_pool p;
    FNN_TRY(fnn_expect_float(c, 0, "x"));
    FNN_TRY(forward(c, &o, &p));
    FNN_TRY(fnn_expect_contiguous(c, 0, "x"));
    const int dims = c->attr[0].n;
    FNN_TRY(set_shape(c, &c->out[0], x, x->dtype, dims, p.h.out, p.w.out));
    if (c->op->n_out == 1) {
        return FNN_OK;
    }
    return set_shape(c, &c->out[1], x, p.wide_taps ? FNN_INT32 : FNN_UINT8, dims,
                     p.h.out, p.w.out);
}

static fnn_status max_pool_job(const fnn_call *c, pool_job *j) {
    const options o = of_max(c);
    fnn_pool p;
    FNN_TRY(forward(c, &o, &p));
    prepare(j, c, &p, false);
    return FNN_OK;
}

int64_t fnn_workspace_max_pool(const fnn_call *c) {
    pool_job j;
    return max_pool_job(c, &j) == FNN_OK ? workspace(&j) : 0;
}

fnn_status fnn_run_max_pool(fnn_call *c) {
    pool_job j;
    FNN_TRY(max_pool_job(c, &j));
    j.max = true;
    j.out_tap = c->op->n_out > 1 ? c->out[1].data : NULL;
    return run(&j, c);
}

/* A tensor of taps for such windows, of the shape that they give. */
static fnn_status check_taps(const fnn_call *c, int tap, const fnn_pool *p) {
    const int dtype = p->wide_taps ? FNN_INT32 : FNN_UINT8;
    if (c->in[tap]->dtype != dtype) {
        return fnn_fail(c->err, FNN_ERR_TYPE, "%s: expected tap of dtype %s, got %s",
                        c->op->name, fnn_dtype_name(dtype),
                        fnn_dtype_name(c->in[tap]->dtype));
    }
    return fnn_expect_contiguous(c, tap, "tap");
}

fnn_status fnn_infer_max_pool_backward(fnn_call *c) {
    const fnn_tensor *gy = c->in[0];
    const options o = of_taps(c);
    fnn_pool p;
    FNN_TRY(fnn_expect_float(c, 0, "gy"));
    if (!fnn_same_shape(gy, c->in[1])) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected gy and tap of equal shapes, got %s and %s",
                        c->op->name, FNN_SHAPE(gy), FNN_SHAPE(c->in[1]));
    }
    FNN_TRY(backward(c, &o, gy, &p));
    FNN_TRY(check_taps(c, 1, &p));
    FNN_TRY(fnn_expect_contiguous(c, 0, "gy"));
    return set_shape(c, &c->out[0], gy, gy->dtype, c->attr[1].n, p.h.in, p.w.in);
}

static fnn_status max_pool_backward_job(const fnn_call *c, pool_job *j) {
    const options o = of_taps(c);
    fnn_pool p;
    FNN_TRY(backward(c, &o, c->in[0], &p));
    prepare(j, c, &p, true);
    return FNN_OK;
}

int64_t fnn_workspace_max_pool_backward(const fnn_call *c) {
    pool_job j;
    return max_pool_backward_job(c, &j) == FNN_OK ? workspace(&j) : 0;
}

fnn_status fnn_run_max_pool_backward(fnn_call *c) {
    pool_job j;
    FNN_TRY(max_pool_backward_job(c, &j));
    j.max = true;
    j.in_tap = c->in[1]->data;
    return run(&j, c);
}

/* ---- by taps ------------------------------------------------------------------------ */

/* max_pool_index: where in its plane each maximum is. max_pool_gather: what x has there. */
fnn_status fnn_infer_max_pool_index(fnn_call *c) {
    const options o = of_taps(c);
    fnn_pool p;
    FNN_TRY(backward(c, &o, c->in[0], &p));
    FNN_TRY(check_taps(c, 0, &p));
    fnn_like(&c->out[0], c->in[0], FNN_INT64);
    return fnn_check_size(c, &c->out[0]);
}

fnn_status fnn_infer_max_pool_gather(fnn_call *c) {
    const fnn_tensor *x = c->in[0], *tap = c->in[1];
    const options o = of_taps(c);
    fnn_pool p;
    FNN_TRY(fnn_expect_float(c, 0, "x"));
    FNN_TRY(backward(c, &o, tap, &p));
    FNN_TRY(check_taps(c, 1, &p));
    FNN_TRY(fnn_expect_contiguous(c, 0, "x"));
    const int dims = c->attr[1].n;
    bool fits =
        x->ndim == tap->ndim && size_h(x, dims) == p.h.in && size_w(x) == p.w.in;
    for (int d = 0; fits && d < x->ndim - dims; d++) {
        fits = x->shape[d] == tap->shape[d];
    }
    if (!fits) {
        return fnn_fail(
            c->err, FNN_ERR_VALUE,
            "%s: expected x of the planes that tap is of, got shapes %s and %s",
            c->op->name, FNN_SHAPE(x), FNN_SHAPE(tap));
    }
    fnn_like(&c->out[0], tap, x->dtype);
    return fnn_check_size(c, &c->out[0]);
}

typedef struct {
    fnn_pool pool;
    const fnn_tensor *tap, *x; /* x NULL: indices */
    char *y;
    _Atomic bool
        wrong; /* a tap that is not in its window, which only a caller can make */
} tap_job;

static void tap_rows(void *context, int64_t lo, int64_t hi) {
    tap_job *j = context;
    const fnn_axis *h = &j->pool.h, *w = &j->pool.w;
    for (int64_t row = lo; row < hi; row++) {
        ptrdiff_t a, b;
        const ptrdiff_t top = fnn_window(h, row % h->out, &a, &b);
        const ptrdiff_t plane = row / h->out * h->in * w->in;
        for (ptrdiff_t o = 0; o < w->out; o++) {
            const ptrdiff_t at = row * w->out + o;
            const int32_t t = j->pool.wide_taps
                                  ? ((const int32_t *)(const void *)j->tap->data)[at]
                                  : ((const uint8_t *)(const void *)j->tap->data)[at];
            const int32_t down = t / (int32_t)w->kernel;
            const ptrdiff_t y = top + down * h->dilation;
            const ptrdiff_t x = fnn_window(w, o, &a, &b) +
                                (t - down * (int32_t)w->kernel) * w->dilation;
            const bool inside = t >= 0 && y >= 0 && y < h->in && x >= 0 && x < w->in;
            const ptrdiff_t index = inside ? y * w->in + x : 0;
            if (!inside) {
                atomic_store_explicit(&j->wrong, true, memory_order_relaxed);
            }
            if (j->x == NULL) {
                ((int64_t *)(void *)j->y)[at] = index;
            } else if (FNN_F64(j->x->dtype)) {
                ((double *)(void *)j->y)[at] =
                    ((const double *)(const void *)j->x->data)[plane + index];
            } else {
                ((float *)(void *)j->y)[at] =
                    ((const float *)(const void *)j->x->data)[plane + index];
            }
        }
    }
}

static fnn_status by_taps(fnn_call *c, const fnn_tensor *tap, const fnn_tensor *x) {
    const options o = of_taps(c);
    tap_job j = {.tap = tap, .x = x, .y = c->out[0].data};
    FNN_TRY(backward(c, &o, tap, &j.pool));
    if (fnn_numel(tap) > 0) {
        const int64_t n = j.pool.w.out;
        fnn_parallel_for(fnn_numel(tap) / n, GRAIN_ELEMENTS / 4 / n + 1, tap_rows, &j);
    }
    if (j.wrong) {
        return fnn_fail(c->err, FNN_ERR_INDEX,
                        "%s: expected taps of elements in the input, got others",
                        c->op->name);
    }
    return FNN_OK;
}

fnn_status fnn_run_max_pool_index(fnn_call *c) { return by_taps(c, c->in[0], NULL); }
fnn_status fnn_run_max_pool_gather(fnn_call *c) {
    return by_taps(c, c->in[1], c->in[0]);
}

/* ---- avg_pool ----------------------------------------------------------------------- */

static fnn_status avg_pool_job(const fnn_call *c, bool back, pool_job *j) {
    const options o = back ? of_avg_backward(c) : of_avg(c);
    fnn_pool p;
    FNN_TRY(back ? backward(c, &o, c->in[0], &p) : forward(c, &o, &p));
    prepare(j, c, &p, back);
    return FNN_OK;
}

fnn_status fnn_infer_avg_pool(fnn_call *c) {
    const fnn_tensor *x = c->in[0];
    const options o = of_avg(c);
    fnn_pool p;
    FNN_TRY(fnn_expect_float(c, 0, "x"));
    FNN_TRY(forward(c, &o, &p));
    FNN_TRY(fnn_expect_contiguous(c, 0, "x"));
    return set_shape(c, &c->out[0], x, x->dtype, c->attr[0].n, p.h.out, p.w.out);
}

int64_t fnn_workspace_avg_pool(const fnn_call *c) {
    pool_job j;
    return avg_pool_job(c, false, &j) == FNN_OK ? workspace(&j) : 0;
}

fnn_status fnn_run_avg_pool(fnn_call *c) {
    pool_job j;
    FNN_TRY(avg_pool_job(c, false, &j));
    return run(&j, c);
}

fnn_status fnn_infer_avg_pool_backward(fnn_call *c) {
    const fnn_tensor *gy = c->in[0];
    const options o = of_avg_backward(c);
    fnn_pool p;
    FNN_TRY(fnn_expect_float(c, 0, "gy"));
    FNN_TRY(backward(c, &o, gy, &p));
    FNN_TRY(fnn_expect_contiguous(c, 0, "gy"));
    return set_shape(c, &c->out[0], gy, gy->dtype, c->attr[1].n, p.h.in, p.w.in);
}

int64_t fnn_workspace_avg_pool_backward(const fnn_call *c) {
    pool_job j;
    return avg_pool_job(c, true, &j) == FNN_OK ? workspace(&j) : 0;
}

fnn_status fnn_run_avg_pool_backward(fnn_call *c) {
    pool_job j;
    FNN_TRY(avg_pool_job(c, true, &j));
    return run(&j, c);
}

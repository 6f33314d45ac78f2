/* unfold: patches of images, (..., c, h, w) to (..., c kh kw, l), one column for each of the
 * l places of a window of kh by kw; zeros lie around the image. fold adds patches up, which
 * is the same backward. Threads cut rows of patches, and planes. */
#include "ops.h"

#define GRAIN_ELEMENTS 16384

enum { KERNEL, STRIDE, PADDING, DILATION }; /* attributes, after size */

typedef struct {
    fnn_axis h, w;
    ptrdiff_t size;
    const char *in;
    char *out;
    fnn_map_fn add;
} unfold_job;

static fnn_status set_axes(const fnn_call *c, int first, unfold_job *j, int64_t h,
                           int64_t w) {
    const fnn_attr *attr = c->attr + first;
    fnn_axis *axes[2] = {&j->h, &j->w};
    for (int k = 0; k < 4; k++) {
        if (attr[k].n != 2) {
            return fnn_fail(
                c->err, FNN_ERR_VALUE,
                "%s: expected kernel_size, stride, padding and dilation of two "
                "dimensions each",
                c->op->name);
        }
    }
    for (int d = 0; d < 2; d++) {
        fnn_axis *a = axes[d];
        *a = (fnn_axis){.in = d == 0 ? h : w,
                        .kernel = attr[KERNEL].ints[d],
                        .stride = attr[STRIDE].ints[d],
                        .padding = attr[PADDING].ints[d],
                        .dilation = attr[DILATION].ints[d]};
        const int64_t most = INT32_MAX;
        if (a->kernel < 1 || a->stride < 1 || a->dilation < 1 || a->padding < 0 ||
            a->kernel > most || a->stride > most || a->dilation > most ||
            a->padding > most || a->in < 1 || a->in > most) {
            return fnn_fail(
                c->err, FNN_ERR_VALUE,
                "%s: expected sizes, kernel_size, stride and dilation of at "
                "least 1 and padding of at least 0, got %lld, %lld, %lld, %lld "
                "and %lld",
                c->op->name, (long long)a->in, (long long)a->kernel,
                (long long)a->stride, (long long)a->dilation, (long long)a->padding);
        }
        const int64_t reach = (a->kernel - 1) * a->dilation + 1;
        const int64_t room = a->in + 2 * a->padding - reach;
        if (room < 0) {
            return fnn_fail(c->err, FNN_ERR_VALUE,
                            "%s: expected sizes that windows of %lld elements fit, got "
                            "%lld with padding %lld",
                            c->op->name, (long long)reach, (long long)a->in,
                            (long long)a->padding);
        }
        a->out = room / a->stride + 1;
    }
    return FNN_OK;
}

static fnn_status check(const fnn_call *c, int ndim) {
    FNN_TRY(fnn_expect_float(c, 0, "x"));
    if (c->in[0]->ndim < ndim) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected x of at least %d dimensions, got shape %s",
                        c->op->name, ndim, FNN_SHAPE(c->in[0]));
    }
    return fnn_expect_contiguous(c, 0, "x");
}

fnn_status fnn_infer_unfold(fnn_call *c) {
    const fnn_tensor *x = c->in[0];
    fnn_tensor *y = &c->out[0];
    unfold_job j;
    FNN_TRY(check(c, 3));
    const int n = x->ndim;
    FNN_TRY(set_axes(c, 0, &j, x->shape[n - 2], x->shape[n - 1]));
    fnn_like(y, x, x->dtype);
    y->ndim = n - 1;
    if (__builtin_mul_overflow(x->shape[n - 3], j.h.kernel * j.w.kernel,
                               &y->shape[n - 3])) {
        return fnn_fail(c->err, FNN_ERR_MEMORY,
                        "unfold: expected fewer rows of patches");
    }
    y->shape[n - 2] = j.h.out * j.w.out;
    FNN_TRY(fnn_check_size(c, y));
    fnn_set_contiguous(y);
    return FNN_OK;
}

fnn_status fnn_infer_fold(fnn_call *c) {
    const fnn_tensor *x = c->in[0];
    fnn_tensor *y = &c->out[0];
    const fnn_attr *size = &c->attr[0];
    unfold_job j;
    FNN_TRY(check(c, 2));
    if (size->n != 2) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "fold: expected output_size of 2 dimensions, got %d", size->n);
    }
    FNN_TRY(set_axes(c, 1, &j, size->ints[0], size->ints[1]));
    const int n = x->ndim;
    const int64_t taps = j.h.kernel * j.w.kernel, places = j.h.out * j.w.out;
    if (x->shape[n - 2] % taps != 0 || x->shape[n - 1] != places || n == FNN_MAX_DIMS) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "fold: expected x of shape (..., c * %lld, %lld), got %s",
                        (long long)taps, (long long)places, FNN_SHAPE(x));
    }
    fnn_like(y, x, x->dtype);
    y->ndim = n + 1;
    y->shape[n - 2] = x->shape[n - 2] / taps;
    y->shape[n - 1] = size->ints[0];
    y->shape[n] = size->ints[1];
    FNN_TRY(fnn_check_size(c, y));
    fnn_set_contiguous(y);
    return FNN_OK;
}

/* Windows whose tap t lies in the axis: *lo to *hi - 1. */
static void windows_with(const fnn_axis *a, ptrdiff_t t, ptrdiff_t *lo, ptrdiff_t *hi) {
    const ptrdiff_t before = a->padding - t * a->dilation, last = a->in - 1 + before;
    const ptrdiff_t end = last < 0 ? 0 : last / a->stride + 1;
    *lo = before > 0 ? fnn_ceil_div(before, a->stride) : 0;
    *hi = end < a->out ? end : a->out;
    *lo = *lo < *hi ? *lo : *hi;
}

#define EACH(S, statement)                                    \
    {                                                         \
        S *image = (S *)(void *)at, *patch = (S *)(void *)to; \
        for (ptrdiff_t e = 0; e < n; e++) {                   \
            statement;                                        \
        }                                                     \
    }

static void unfold_rows(void *context, int64_t lo, int64_t hi) {
    const unfold_job *j = context;
    const fnn_axis *h = &j->h, *w = &j->w;
    const ptrdiff_t size = j->size, s = w->stride;
    for (int64_t row = lo; row < hi; row++) {
        const int64_t plane = row / (h->kernel * w->kernel);
        const int64_t tap = row % (h->kernel * w->kernel);
        const ptrdiff_t u = tap / w->kernel, v = tap % w->kernel;
        const char *x = j->in + plane * h->in * w->in * size;
        char *y = j->out + row * h->out * w->out * size;
        ptrdiff_t top, bottom, left, right;
        windows_with(h, u, &top, &bottom);
        windows_with(w, v, &left, &right);
        const ptrdiff_t n = right - left;
        memset(y, 0, (size_t)(top * w->out * size));
        for (ptrdiff_t o = top; o < bottom; o++) {
            char *to = y + o * w->out * size;
            const ptrdiff_t line = o * h->stride - h->padding + u * h->dilation;
            const ptrdiff_t k = left * s - w->padding + v * w->dilation;
            memset(to, 0, (size_t)(left * size));
            memset(to + right * size, 0, (size_t)((w->out - right) * size));
            if (n == 0) {
                continue;
            }
            const char *at = x + (line * w->in + k) * size;
            to += left * size;
            if (s == 1) {
                memcpy(to, at, (size_t)(n * size));
            } else if (size == 8) {
                EACH(uint64_t, patch[e] = image[e * s])
            } else {
                EACH(uint32_t, patch[e] = image[e * s])
            }
        }
        memset(y + bottom * w->out * size, 0,
               (size_t)((h->out - bottom) * w->out * size));
    }
}

static void fold_planes(void *context, int64_t lo, int64_t hi) {
    const unfold_job *j = context;
    const fnn_axis *h = &j->h, *w = &j->w;
    const ptrdiff_t size = j->size, s = w->stride, places = h->out * w->out;
    for (int64_t plane = lo; plane < hi; plane++) {
        char *y = j->out + plane * h->in * w->in * size;
        memset(y, 0, (size_t)(h->in * w->in * size));
        for (ptrdiff_t tap = 0; tap < h->kernel * w->kernel; tap++) {
            const ptrdiff_t u = tap / w->kernel, v = tap % w->kernel;
            const char *x =
                j->in + (plane * h->kernel * w->kernel + tap) * places * size;
            ptrdiff_t top, bottom, left, right;
            windows_with(h, u, &top, &bottom);
            windows_with(w, v, &left, &right);
            const ptrdiff_t n = right - left;
            for (ptrdiff_t o = top; o < bottom && n > 0; o++) {
                const ptrdiff_t down = o * h->stride - h->padding + u * h->dilation;
                const ptrdiff_t k = left * s - w->padding + v * w->dilation;
                char *at = y + (down * w->in + k) * size;
                const char *to = x + (o * w->out + left) * size;
                if (s == 1) {
                    const void *in[2] = {at, to};
                    j->add(n, at, in, (ptrdiff_t[]){1, 1});
                } else if (size == 8) {
                    EACH(double, image[e * s] += patch[e])
                } else {
                    EACH(float, image[e * s] += patch[e])
                }
            }
        }
    }
}

fnn_status fnn_run_unfold(fnn_call *c) {
    const fnn_tensor *x = c->in[0], *y = &c->out[0];
    unfold_job j = {.size = fnn_dtype_size(x->dtype), .in = x->data, .out = y->data};
    FNN_TRY(set_axes(c, 0, &j, x->shape[x->ndim - 2], x->shape[x->ndim - 1]));
    if (fnn_numel(y) > 0) {
        const int64_t places = j.h.out * j.w.out;
        fnn_parallel_for(fnn_numel(y) / places, GRAIN_ELEMENTS / places + 1,
                         unfold_rows, &j);
    }
    return FNN_OK;
}

fnn_status fnn_run_fold(fnn_call *c) {
    const fnn_tensor *x = c->in[0], *y = &c->out[0];
    unfold_job j = {.size = fnn_dtype_size(x->dtype), .in = x->data, .out = y->data};
    FNN_TRY(set_axes(c, 1, &j, c->attr[0].ints[0], c->attr[0].ints[1]));
    j.add = fnn_k->map[FNN_MAP_add][FNN_F64(x->dtype)];
    if (fnn_numel(y) > 0) {
        const int64_t n = j.h.in * j.w.in, taps = j.h.kernel * j.w.kernel;
        fnn_parallel_for(fnn_numel(y) / n,
                         GRAIN_ELEMENTS / fnn_max64(n, taps * j.h.out * j.w.out) + 1,
                         fold_planes, &j);
    }
    return FNN_OK;
}

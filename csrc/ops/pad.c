/* Margins of the last dimensions, as many as there are pairs of widths: before and after
 * the last dimension, then the one before it, as in PyTorch. A width below 0 cuts off.
 *
 * Element o of an axis is element i = o - before of x; where there is none, a constant, or
 *     reflect     what lies as far from the edge inside
 *     replicate   the edge
 *     circular    what comes from the other end
 * Threads cut rows of y; backward, planes. */
#include "ops.h"

#define MOST_DIMS (FNN_MAX_DIMS / 2)
#define GRAIN_BYTES 65536

enum { CONSTANT, REFLECT, REPLICATE, CIRCULAR }; /* mode */

typedef struct {
    int64_t in, out, before;
    int64_t first, last; /* what is left of x where widths cut off: circular's period */
    int mode;
} pad_axis;

/* Which element o is, or -1. */
static int64_t source(const pad_axis *a, int64_t o) {
    const int64_t i = o - a->before;
    if (i >= 0 && i < a->in &&
        (a->mode != CIRCULAR || (i >= a->first && i < a->last))) {
        return i;
    }
    switch (a->mode) {
    case REFLECT:
        return i < 0 ? -i : 2 * (a->in - 1) - i;
    case REPLICATE:
        return i < 0 ? 0 : a->in - 1;
    case CIRCULAR:
        return i < a->first ? i + (a->last - a->first) : i - (a->last - a->first);
    default:
        return -1;
    }
}

/* Axis `from the last` k of a dimension of size in. */
static fnn_status set_axis(const fnn_call *c, pad_axis *a, int k, int64_t in, int dim) {
    const int64_t *width = c->attr[0].ints + (ptrdiff_t)2 * k;
    const int mode = (int)c->attr[1].i;
    const int64_t limit = INT64_MAX / 4;
    const int64_t before = width[0], after = width[1];
    if (before > limit || before < -limit || after > limit || after < -limit) {
        return fnn_fail(c->err, FNN_ERR_VALUE, "pad: expected widths below 2^61");
    }
    const int64_t first = fnn_max64(0, -before), last = in - fnn_max64(0, -after);
    const int64_t most = fnn_max64(before, after);
    if (first > last) {
        return fnn_fail(
            c->err, FNN_ERR_VALUE,
            "pad: expected to cut off at most %lld of dimension %d, got %lld "
            "and %lld",
            (long long)in, dim, (long long)before, (long long)after);
    }
    const bool far = (mode == REFLECT && most > 0 && most >= in) ||
                     (mode == CIRCULAR && most > 0 && most > last - first) ||
                     (mode == REPLICATE && most > 0 && in == 0);
    if (far) {
        return fnn_fail(
            c->err, FNN_ERR_VALUE,
            "pad: expected margins that dimension %d of size %lld can fill, "
            "got %lld and %lld (reflect: less than the size; circular: at most)",
            dim, (long long)in, (long long)before, (long long)after);
    }
    *a = (pad_axis){in, in + before + after, before, first, last, mode};
    return FNN_OK;
}

/* The axes of the padded dimensions, outermost first; planes are what lies before them. */
typedef struct {
    pad_axis axis[MOST_DIMS];
    int dims;
    int64_t rows;            /* of y: all but the last dimension */
    int64_t planes, in, out; /* elements of a plane */
    ptrdiff_t size;
    const char *x;
    char *y;
    char value[8];
    fnn_map_fn add;
} pad_job;

static fnn_status prepare(const fnn_call *c, pad_job *j, const fnn_tensor *x,
                          const int64_t *sizes) {
    const int n = c->attr[0].n;
    *j = (pad_job){.dims = n / 2, .planes = 1, .in = 1, .out = 1};
    j->size = fnn_dtype_size(x->dtype);
    if (n == 0 || n % 2 != 0 || j->dims > x->ndim) {
        return fnn_fail(
            c->err, FNN_ERR_VALUE,
            "pad: expected two widths for each of at most %d dimensions, got %d",
            x->ndim < MOST_DIMS ? x->ndim : MOST_DIMS, n);
    }
    for (int d = 0; d < x->ndim - j->dims; d++) {
        j->planes *= x->shape[d];
    }
    for (int d = 0; d < j->dims; d++) {
        FNN_TRY(
            set_axis(c, &j->axis[d], j->dims - 1 - d, sizes[d], x->ndim - j->dims + d));
        j->in *= j->axis[d].in;
        j->out *= j->axis[d].out;
    }
    return FNN_OK;
}

static fnn_status check_mode(const fnn_call *c, int least) {
    if (c->attr[1].i < least || c->attr[1].i > CIRCULAR) {
        return fnn_fail(c->err, FNN_ERR_VALUE, "%s: expected mode %d to 3, got %lld",
                        c->op->name, least, (long long)c->attr[1].i);
    }
    return fnn_expect_contiguous(c, 0, "x");
}

fnn_status fnn_infer_pad(fnn_call *c) {
    const fnn_tensor *x = c->in[0];
    fnn_tensor *y = &c->out[0];
    pad_job j;
    FNN_TRY(check_mode(c, CONSTANT));
    const int dims = c->attr[0].n / 2;
    FNN_TRY(prepare(c, &j, x, x->shape + (x->ndim > dims ? x->ndim - dims : 0)));
    fnn_like(y, x, x->dtype);
    for (int d = 0; d < dims; d++) {
        y->shape[x->ndim - dims + d] = j.axis[d].out;
    }
    fnn_set_contiguous(y);
    return fnn_check_size(c, y);
}

/* Row `row` of y's plane as a row of x's, or -1. */
static int64_t source_row(const pad_job *j, int64_t row) {
    int64_t at = 0, step = 1;
    for (int d = j->dims - 2; d >= 0; d--) {
        const pad_axis *a = &j->axis[d];
        const int64_t i = source(a, row % a->out);
        if (i < 0) {
            return -1;
        }
        row /= a->out;
        at += i * step;
        step *= a->in;
    }
    return at;
}

#define COPY(S)                                              \
    {                                                        \
        const S *in = (const S *)(const void *)x;            \
        S *out = (S *)(void *)y, value;                      \
        memcpy(&value, j->value, sizeof value);              \
        for (int64_t o = from; o < to; o++) {                \
            const int64_t i = x == NULL ? -1 : source(a, o); \
            out[o] = i < 0 ? value : in[i];                  \
        }                                                    \
        break;                                               \
    }

/* Elements from to to - 1 of a row of y, one by one; x NULL: the constant. */
static void pad_each(const pad_job *j, const pad_axis *a, const char *x, char *y,
                     int64_t from, int64_t to) {
    switch (j->size) {
    case 1:
        COPY(uint8_t)
    case 4:
        COPY(uint32_t)
    default:
        COPY(uint64_t)
    }
}

static void pad_rows(void *context, int64_t lo, int64_t hi) {
    const pad_job *j = context;
    const pad_axis *a = &j->axis[j->dims - 1];
    const int64_t per_plane = j->out / a->out, plane_rows = j->in / fnn_max64(a->in, 1);
    const int64_t from = fnn_min64(fnn_max64(a->before + a->first, 0), a->out);
    const int64_t to = fnn_max64(from, fnn_min64(a->before + a->last, a->out));
    for (int64_t row = lo; row < hi; row++) {
        const int64_t at = source_row(j, row % per_plane);
        char *y = j->y + row * a->out * j->size;
        if (at < 0) {
            pad_each(j, a, NULL, y, 0, a->out);
            continue;
        }
        const char *x = j->x + (row / per_plane * plane_rows + at) * a->in * j->size;
        pad_each(j, a, x, y, 0, from);
        if (to > from) {
            memcpy(y + from * j->size, x + (from - a->before) * j->size,
                   (size_t)((to - from) * j->size));
        }
        pad_each(j, a, x, y, to, a->out);
    }
}

fnn_status fnn_run_pad(fnn_call *c) {
    const fnn_tensor *x = c->in[0], *y = &c->out[0];
    pad_job j;
    FNN_TRY(prepare(c, &j, x, x->shape + x->ndim - c->attr[0].n / 2));
    if (fnn_numel(y) > 0) {
        j.x = x->data;
        j.y = y->data;
        fnn_convert(j.value, x->dtype, 8, &c->attr[2].f, FNN_FLOAT64, 0, 1);
        const int64_t n = j.axis[j.dims - 1].out;
        fnn_parallel_for(fnn_numel(y) / n, GRAIN_BYTES / (n * j.size) + 1, pad_rows,
                         &j);
    }
    return FNN_OK;
}

/* ---- backward, of all modes but the constant one -------------------------------------- */

fnn_status fnn_infer_pad_backward(fnn_call *c) {
    const fnn_tensor *gy = c->in[0];
    fnn_tensor *gx = &c->out[0];
    pad_job j;
    FNN_TRY(fnn_expect_float(c, 0, "gy"));
    FNN_TRY(check_mode(c, REFLECT));
    const int dims = c->attr[2].n;
    bool fits = c->attr[0].n == 2 * dims && dims <= gy->ndim;
    for (int d = 0; fits && d < dims; d++) {
        fits = c->attr[2].ints[d] >= 0;
    }
    if (fits) {
        FNN_TRY(prepare(c, &j, gy, c->attr[2].ints));
        for (int d = 0; fits && d < dims; d++) {
            fits = gy->shape[gy->ndim - dims + d] == j.axis[d].out;
        }
    }
    if (!fits) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "pad_backward: expected gy of a shape that pad gives, got %s",
                        FNN_SHAPE(gy));
    }
    fnn_like(gx, gy, gy->dtype);
    for (int d = 0; d < dims; d++) {
        gx->shape[gy->ndim - dims + d] = c->attr[2].ints[d];
    }
    fnn_set_contiguous(gx);
    return fnn_check_size(c, gx);
}

static void add_each(const pad_job *j, const pad_axis *a, const char *gy, char *gx,
                     int64_t from, int64_t to) {
    for (int64_t o = from; o < to; o++) {
        const int64_t i = source(a, o);
        if (j->size == 8) {
            ((double *)(void *)gx)[i] += ((const double *)(const void *)gy)[o];
        } else {
            ((float *)(void *)gx)[i] += ((const float *)(const void *)gy)[o];
        }
    }
}

static void backward_planes(void *context, int64_t lo, int64_t hi) {
    const pad_job *j = context;
    const pad_axis *a = &j->axis[j->dims - 1];
    const int64_t from = fnn_min64(fnn_max64(a->before + a->first, 0), a->out);
    const int64_t to = fnn_max64(from, fnn_min64(a->before + a->last, a->out));
    for (int64_t plane = lo; plane < hi; plane++) {
        char *out = j->y + plane * j->in * j->size;
        memset(out, 0, (size_t)(j->in * j->size));
        for (int64_t row = 0; row < j->out / fnn_max64(a->out, 1); row++) {
            const char *gy = j->x + (plane * j->out + row * a->out) * j->size;
            char *gx = out + source_row(j, row) * a->in * j->size;
            add_each(j, a, gy, gx, 0, from);
            if (to > from) {
                char *middle = gx + (from - a->before) * j->size;
                const void *in[2] = {middle, gy + from * j->size};
                j->add(to - from, middle, in, (ptrdiff_t[]){1, 1});
            }
            add_each(j, a, gy, gx, to, a->out);
        }
    }
}

fnn_status fnn_run_pad_backward(fnn_call *c) {
    const fnn_tensor *gy = c->in[0], *gx = &c->out[0];
    pad_job j;
    FNN_TRY(prepare(c, &j, gy, c->attr[2].ints));
    if (fnn_numel(gx) > 0) {
        j.x = gy->data;
        j.y = gx->data;
        j.add = fnn_k->map[FNN_MAP_add][FNN_F64(gy->dtype)];
        fnn_parallel_for(j.planes, GRAIN_BYTES / (j.in * j.size) + 1, backward_planes,
                         &j);
    }
    return FNN_OK;
}

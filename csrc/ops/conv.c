/* conv, conv_transpose, conv_weight: one layer, three directions. Each is the gradient of
 * the others, so the three are closed under differentiation.
 *
 * This file checks, and chooses the algorithm; csrc/conv/ computes. Operands that are not
 * contiguous are copied to the workspace first. */
#include "conv/conv.h"
#include "ops.h"

enum { STRIDE, PADDING, DILATION, GROUPS, ALGORITHM, ACTIVATION, SIZE = ACTIVATION };
#define MOST (1LL << 31) /* of a stride, a padding, a dilation */

/* ---- the layer ---------------------------------------------------------------------- */

static fnn_status expect_count(const fnn_call *c, const fnn_attr *attr, int n,
                               const char *name, int64_t least) {
    if (attr->n != n) {
        return fnn_fail(c->err, FNN_ERR_VALUE, "%s: expected %d numbers as %s, got %d",
                        c->op->name, n, name, attr->n);
    }
    for (int i = 0; i < n; i++) {
        if (attr->ints[i] < least || attr->ints[i] > MOST) {
            return fnn_fail(c->err, FNN_ERR_VALUE,
                            "%s: expected %s of at least %lld, got %lld", c->op->name,
                            name, (long long)least, (long long)attr->ints[i]);
        }
    }
    return FNN_OK;
}

/* y's size along dimension d of the image: floor((n + before + after - dilation (k - 1) -
 * 1) / stride) + 1, or an error. */
static fnn_status output_size(const fnn_call *c, int d, int64_t n, int64_t k,
                              int64_t *size) {
    const fnn_attr *a = c->attr;
    const int64_t padded = n + a[PADDING].ints[2 * d] + a[PADDING].ints[2 * d + 1];
    if (k < 1 || k > MOST) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected a kernel of at least 1, got %lld", c->op->name,
                        (long long)k);
    }
    const int64_t reach = a[DILATION].ints[d] * (k - 1) + 1;
    if (padded < reach) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected a padded input of at least %lld (the kernel with "
                        "its dilation), got %lld",
                        c->op->name, (long long)reach, (long long)padded);
    }
    *size = (padded - reach) / a[STRIDE].ints[d] + 1;
    return FNN_OK;
}

/* All of the layer but the shapes of what it reads: x (n, ci, ...) and y (n, co, ...) of
 * `dims` image dimensions, and kernel sizes. */
static void set_args(const fnn_call *c, fnn_conv_args *g, int dims, int dtype,
                     const int64_t *x, const int64_t *y, const int64_t *kernel) {
    const fnn_attr *a = c->attr;
    const int w = dims - 1; /* the last dimension of an image */
    *g = (fnn_conv_args){.dtype = dtype,
                         .threads = (int)fnn_max64(c->threads, 1),
                         .n = x[0],
                         .groups = a[GROUPS].i,
                         .ci = x[1],
                         .h = dims == 2 ? x[2] : 1,
                         .w = x[2 + w],
                         .co = y[1],
                         .oh = dims == 2 ? y[2] : 1,
                         .ow = y[2 + w],
                         .kh = dims == 2 ? kernel[0] : 1,
                         .kw = kernel[w],
                         .sh = dims == 2 ? a[STRIDE].ints[0] : 1,
                         .sw = a[STRIDE].ints[w],
                         .dh = dims == 2 ? a[DILATION].ints[0] : 1,
                         .dw = a[DILATION].ints[w],
                         .top = dims == 2 ? a[PADDING].ints[0] : 0,
                         .left = a[PADDING].ints[2 * w]};
}

static fnn_status check_layer(fnn_call *c, fnn_conv_direction way) {
    const fnn_attr *a = c->attr;
    const fnn_tensor *x = c->in[0];
    FNN_TRY(fnn_expect_float(c, 0, way == FNN_CONV_INPUT ? "input" : "x"));
    FNN_TRY(fnn_expect_same_dtype(
        c, 0, 1, way == FNN_CONV_WEIGHT ? "x and gy" : "x and weight"));
    if (x->ndim != 3 && x->ndim != 4) {
        return fnn_fail(
            c->err, FNN_ERR_VALUE,
            "%s: expected x of shape (n, channels, length) or (n, channels, "
            "height, width), got %s",
            c->op->name, FNN_SHAPE(x));
    }
    const int dims = x->ndim - 2;
    FNN_TRY(expect_count(c, &a[STRIDE], dims, "stride", 1));
    FNN_TRY(expect_count(c, &a[PADDING], 2 * dims, "padding", -MOST));
    for (int d = 0; d < dims; d++) { /* what comes after may be cropped */
        if (a[PADDING].ints[2 * d] < 0) {
            return fnn_fail(c->err, FNN_ERR_VALUE,
                            "%s: expected padding of at least 0, got %lld", c->op->name,
                            (long long)a[PADDING].ints[2 * d]);
        }
    }
    FNN_TRY(expect_count(c, &a[DILATION], dims, "dilation", 1));
    if (a[GROUPS].i < 1) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected groups of at least 1, got %lld", c->op->name,
                        (long long)a[GROUPS].i);
    }
    if (c->in[1]->ndim != x->ndim) {
        return fnn_fail(
            c->err, FNN_ERR_VALUE,
            "%s: expected operands of as many dimensions, got shapes %s and "
            "%s",
            c->op->name, FNN_SHAPE(x), FNN_SHAPE(c->in[1]));
    }
    return FNN_OK;
}

/* ---- which algorithm ---------------------------------------------------------------- */

/* Attribute `algorithm`: an fnn_conv_algorithm, or this: any but Winograd. */
#define PRECISE 4

/* The algorithms by their number. */
static const struct {
    const char *name;
    int64_t (*workspace)(const fnn_conv_args *g, fnn_conv_direction way);
    void (*run)(const fnn_conv_args *g, fnn_conv_direction way, const void *a,
                const void *b, void *result, void *workspace);
} algorithms[] = {
    [FNN_CONV_GEMM] = {"gemm", fnn_implicit_workspace, fnn_implicit_run},
    [FNN_CONV_WINOGRAD] = {"winograd", fnn_winograd_workspace, fnn_winograd_run},
    [FNN_CONV_DEPTHWISE] = {"depthwise", fnn_depthwise_workspace, fnn_depthwise_run},
};

static bool can_winograd(const fnn_conv_args *g) {
    return g->dtype == FNN_FLOAT32 && g->groups == 1 && g->kh == 3 && g->kw == 3 &&
           g->sh == g->sw && g->sh <= 2 && g->dh == 1 && g->dw == 1;
}

static bool can_depthwise(const fnn_conv_args *g) { return g->ci == g->groups; }

/* Where Winograd is faster: channels enough to be worth the transforms, and results that
 * fill tiles of 4x4. Sizes of a sample alone decide. */
static bool pays_winograd(const fnn_conv_args *g) {
    return g->ci >= 16 && g->co >= 16 && g->oh >= 4 && g->ow >= 4;
}

static fnn_conv_algorithm choose(const fnn_conv_args *g, int64_t wanted) {
    if (wanted != FNN_CONV_AUTO && wanted != PRECISE) {
        return (fnn_conv_algorithm)wanted;
    }
    if (can_depthwise(g)) {
        return FNN_CONV_DEPTHWISE;
    }
    if (wanted == FNN_CONV_AUTO && can_winograd(g) && pays_winograd(g)) {
        return FNN_CONV_WINOGRAD;
    }
    return FNN_CONV_GEMM;
}

static fnn_status check_algorithm(const fnn_call *c, const fnn_conv_args *g,
                                  int64_t wanted) {
    if (wanted < FNN_CONV_AUTO || wanted > PRECISE) {
        return fnn_fail(c->err, FNN_ERR_VALUE, "%s: expected an algorithm, got %lld",
                        c->op->name, (long long)wanted);
    }
    if ((wanted == FNN_CONV_WINOGRAD && !can_winograd(g)) ||
        (wanted == FNN_CONV_DEPTHWISE && !can_depthwise(g))) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected a layer that algorithm %s can compute",
                        c->op->name, algorithms[wanted].name);
    }
    return FNN_OK;
}

/* ---- infer -------------------------------------------------------------------------- */

/* bias, scale, shift and residual, of a result y. */
static fnn_status check_epilogue(fnn_call *c) {
    static const char *const names[] = {"", "", "bias", "scale", "shift"};
    const fnn_tensor *y = &c->out[0];
    for (int i = 2; i < fnn_min64(c->n_in, 5); i++) {
        const fnn_tensor *p = c->in[i];
        if (p == NULL) {
            continue;
        }
        FNN_TRY(fnn_expect_same_dtype(c, 0, i, "x and bias, scale and shift"));
        if (p->ndim != 1 || p->shape[0] != y->shape[1]) {
            return fnn_fail(c->err, FNN_ERR_VALUE,
                            "%s: expected %s of shape (%lld,), got %s", c->op->name,
                            names[i], (long long)y->shape[1], FNN_SHAPE(p));
        }
    }
    if (c->n_in <= 3) {
        return FNN_OK;
    }
    if ((c->in[3] == NULL) != (c->in[4] == NULL)) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected scale and shift together, got one of them",
                        c->op->name);
    }
    if (c->in[5] != NULL) {
        FNN_TRY(fnn_expect_same_dtype(c, 0, 5, "x and residual"));
        if (!fnn_same_shape(c->in[5], y)) {
            return fnn_fail(c->err, FNN_ERR_VALUE,
                            "%s: expected residual of shape %s, got %s", c->op->name,
                            FNN_SHAPE(y), FNN_SHAPE(c->in[5]));
        }
    }
    const int64_t act = c->attr[ACTIVATION].i;
    if (act < FNN_ACT_NONE || act > FNN_ACT_GELU) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected an activation, got code %lld", c->op->name,
                        (long long)act);
    }
    return FNN_OK;
}

fnn_status fnn_infer_conv(fnn_call *c) {
    const fnn_tensor *x = c->in[0], *w = c->in[1];
    fnn_tensor *y = &c->out[0];
    FNN_TRY(check_layer(c, FNN_CONV_FORWARD));
    const int64_t groups = c->attr[GROUPS].i;
    if (x->shape[1] % groups != 0 || w->shape[1] != x->shape[1] / groups) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected x with %lld channels (dimension 1) for weight of "
                        "shape %s and groups %lld, got shape %s",
                        c->op->name, (long long)(w->shape[1] * groups), FNN_SHAPE(w),
                        (long long)groups, FNN_SHAPE(x));
    }
    if (w->shape[0] % groups != 0) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected output channels that %lld groups divide, got "
                        "weight of shape %s",
                        c->op->name, (long long)groups, FNN_SHAPE(w));
    }
    fnn_like(y, x, x->dtype);
    y->shape[1] = w->shape[0];
    for (int d = 0; d < x->ndim - 2; d++) {
        FNN_TRY(output_size(c, d, x->shape[2 + d], w->shape[2 + d], &y->shape[2 + d]));
    }
    fnn_set_contiguous(y);
    FNN_TRY(fnn_check_size(c, y));
    FNN_TRY(check_epilogue(c));
    fnn_conv_args g;
    set_args(c, &g, x->ndim - 2, x->dtype, x->shape, y->shape, w->shape + 2);
    return check_algorithm(c, &g, c->attr[ALGORITHM].i);
}

fnn_status fnn_infer_conv_transpose(fnn_call *c) {
    const fnn_tensor *x = c->in[0], *w = c->in[1];
    fnn_tensor *y = &c->out[0];
    FNN_TRY(check_layer(c, FNN_CONV_INPUT));
    const int64_t groups = c->attr[GROUPS].i;
    const int dims = x->ndim - 2;
    FNN_TRY(expect_count(c, &c->attr[SIZE], dims, "size", 0));
    if (w->shape[0] != x->shape[1] || x->shape[1] % groups != 0) {
        return fnn_fail(
            c->err, FNN_ERR_VALUE,
            "conv_transpose: expected x with %lld channels (dimension 1), "
            "which %lld groups divide, for weight of shape %s, got shape %s",
            (long long)w->shape[0], (long long)groups, FNN_SHAPE(w), FNN_SHAPE(x));
    }
    fnn_like(y, x, x->dtype);
    y->shape[1] = w->shape[1] * groups;
    for (int d = 0; d < dims; d++) {
        int64_t size = 0;
        y->shape[2 + d] = c->attr[SIZE].ints[d];
        FNN_TRY(output_size(c, d, y->shape[2 + d], w->shape[2 + d], &size));
        if (size != x->shape[2 + d]) {
            return fnn_fail(c->err, FNN_ERR_VALUE,
                            "conv_transpose: expected a size that a convolution takes "
                            "to %lld, got %lld, which it takes to %lld",
                            (long long)x->shape[2 + d], (long long)y->shape[2 + d],
                            (long long)size);
        }
    }
    fnn_set_contiguous(y);
    FNN_TRY(fnn_check_size(c, y));
    FNN_TRY(check_epilogue(c));
    fnn_conv_args g;
    set_args(c, &g, dims, x->dtype, y->shape, x->shape, w->shape + 2);
    return check_algorithm(c, &g, c->attr[ALGORITHM].i);
}

fnn_status fnn_infer_conv_weight(fnn_call *c) {
    const fnn_tensor *x = c->in[0], *gy = c->in[1];
    fnn_tensor *gw = &c->out[0];
    FNN_TRY(check_layer(c, FNN_CONV_WEIGHT));
    const int64_t groups = c->attr[GROUPS].i;
    const int dims = x->ndim - 2;
    FNN_TRY(expect_count(c, &c->attr[SIZE], dims, "size", 1));
    bool fits = x->shape[0] == gy->shape[0];
    for (int d = 0; d < dims; d++) {
        int64_t size = 0;
        FNN_TRY(output_size(c, d, x->shape[2 + d], c->attr[SIZE].ints[d], &size));
        fits = fits && size == gy->shape[2 + d];
    }
    if (!fits || x->shape[1] % groups != 0 || gy->shape[1] % groups != 0) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "conv_weight: expected gy of the convolution's result, in %lld "
                        "groups, for x of shape %s, got %s",
                        (long long)groups, FNN_SHAPE(x), FNN_SHAPE(gy));
    }
    gw->dtype = x->dtype;
    gw->ndim = x->ndim;
    gw->shape[0] = gy->shape[1];
    gw->shape[1] = x->shape[1] / groups;
    for (int d = 0; d < dims; d++) {
        gw->shape[2 + d] = c->attr[SIZE].ints[d];
    }
    fnn_set_contiguous(gw);
    FNN_TRY(fnn_check_size(c, gw));
    fnn_conv_args g;
    set_args(c, &g, dims, x->dtype, x->shape, gy->shape, gw->shape + 2);
    return check_algorithm(c, &g, c->attr[ALGORITHM].i);
}

/* ---- running ------------------------------------------------------------------------ */

static fnn_conv_direction direction(const fnn_call *c) {
    return (fnn_conv_direction)c->op->kernel;
}

static fnn_conv_algorithm describe(const fnn_call *c, fnn_conv_args *g) {
    const fnn_tensor *a = c->in[0], *b = c->in[1], *y = &c->out[0];
    const fnn_conv_direction way = direction(c);
    const int64_t *kernel = (way == FNN_CONV_WEIGHT ? y : b)->shape + 2;
    const int64_t *x = way == FNN_CONV_INPUT ? y->shape : a->shape;
    const int64_t *of = way == FNN_CONV_FORWARD ? y->shape
                        : way == FNN_CONV_INPUT ? a->shape
                                                : b->shape;
    set_args(c, g, a->ndim - 2, a->dtype, x, of, kernel);
    return choose(g, c->attr[ALGORITHM].i);
}

int fnn_conv_chosen(const fnn_call *c) {
    fnn_conv_args g;
    return (int)describe(c, &g);
}

int64_t fnn_workspace_conv(const fnn_call *c) {
    fnn_conv_args g;
    const fnn_conv_algorithm algorithm = describe(c, &g);
    return fnn_dense_bytes(c) + algorithms[algorithm].workspace(&g, direction(c));
}

fnn_status fnn_run_conv(fnn_call *c) {
    fnn_conv_args g;
    if (fnn_numel(&c->out[0]) == 0) {
        return FNN_OK;
    }
    const fnn_conv_direction way = direction(c);
    const fnn_conv_algorithm algorithm = describe(c, &g);
    char *next = c->workspace; /* copies first */
    const void *a = fnn_dense(c, 0, &next), *b = fnn_dense(c, 1, &next);
    if (way != FNN_CONV_WEIGHT) {
        g.epilogue.bias = fnn_dense(c, 2, &next);
    }
    if (c->n_in > 3) {
        g.epilogue.scale = fnn_dense(c, 3, &next);
        g.epilogue.shift = fnn_dense(c, 4, &next);
        g.epilogue.residual = fnn_dense(c, 5, &next);
        g.epilogue.act = (int)c->attr[ACTIVATION].i;
    }
    algorithms[algorithm].run(&g, way, a, b, c->out[0].data, next);
    return FNN_OK;
}

/* matmul and linear: both are one GEMM over any strides, batched where there are leading
 * dimensions. */
#include "gemm/gemm.h"
#include "ops.h"

typedef struct {
    fnn_gemm_args gemm;
    int ndim; /* outer batch dimensions that one stride cannot express */
    int64_t shape[FNN_MAX_DIMS], a[FNN_MAX_DIMS], b[FNN_MAX_DIMS], c[FNN_MAX_DIMS];
} plan;

/* Batch dimensions of a and b (their last two excepted) against those of y, merged where
 * one stride serves; the innermost becomes gemm.batch. */
static void set_batch(plan *p, const fnn_tensor *a, const fnn_tensor *b,
                      const fnn_tensor *y, int batch_dims) {
    int n = 0;
    for (int d = 0; d < batch_dims; d++) {
        int da = d - (batch_dims - (a->ndim - 2)),
            db = d - (batch_dims - (b->ndim - 2));
        int64_t sa = da >= 0 && a->shape[da] != 1 ? a->stride[da] : 0;
        int64_t sb = db >= 0 && b->shape[db] != 1 ? b->stride[db] : 0;
        int64_t size = y->shape[d];
        if (size == 1) {
            continue;
        }
        if (n > 0 && p->a[n - 1] == sa * size && p->b[n - 1] == sb * size &&
            p->c[n - 1] == y->stride[d] * size) {
            size *= p->shape[--n];
        }
        p->shape[n] = size;
        p->a[n] = sa;
        p->b[n] = sb;
        p->c[n++] = y->stride[d];
    }
    p->gemm.batch = 1;
    p->gemm.a_batch = p->gemm.b_batch = p->gemm.c_batch = 0;
    if (n > 0) {
        n--;
        p->gemm.batch = p->shape[n];
        p->gemm.a_batch = p->a[n];
        p->gemm.b_batch = p->b[n];
        p->gemm.c_batch = p->c[n];
    }
    p->ndim = n;
}

static void run(plan *p, void *workspace) {
    ptrdiff_t size = fnn_dtype_size(p->gemm.dtype);
    const char *a = p->gemm.a, *b = p->gemm.b, *residual = p->gemm.residual;
    char *c = p->gemm.c;
    int64_t total = 1;
    for (int d = 0; d < p->ndim; d++) {
        total *= p->shape[d];
    }
    for (int64_t i = 0; i < total; i++) {
        int64_t rest = i, oa = 0, ob = 0, oc = 0;
        for (int d = p->ndim - 1; d >= 0; d--) {
            int64_t at = rest % p->shape[d];
            rest /= p->shape[d];
            oa += at * p->a[d];
            ob += at * p->b[d];
            oc += at * p->c[d];
        }
        p->gemm.a = a + oa * size;
        p->gemm.b = b + ob * size;
        p->gemm.c = c + oc * size;
        p->gemm.residual = residual == NULL ? NULL : residual + oc * size;
        fnn_gemm(&p->gemm, workspace);
    }
}

/* ---- matmul ------------------------------------------------------------------------- */

fnn_status fnn_infer_matmul(fnn_call *c) {
    const fnn_tensor *a = c->in[0], *b = c->in[1];
    fnn_tensor *y = &c->out[0];
    FNN_TRY(fnn_expect_float(c, 0, "a"));
    FNN_TRY(fnn_expect_float(c, 1, "b"));
    FNN_TRY(fnn_expect_same_dtype(c, 0, 1, "a and b"));
    if (a->ndim < 2 || b->ndim < 2) {
        return fnn_fail(
            c->err, FNN_ERR_VALUE,
            "matmul: expected at least two dimensions, got shapes %s and %s",
            FNN_SHAPE(a), FNN_SHAPE(b));
    }
    int64_t m = a->shape[a->ndim - 2], k = a->shape[a->ndim - 1];
    int64_t kb = b->shape[b->ndim - 2], n = b->shape[b->ndim - 1];
    if (k != kb) {
        return fnn_fail(
            c->err, FNN_ERR_VALUE,
            "matmul: expected b with %lld rows (the columns of a), got shapes %s "
            "and %s",
            (long long)k, FNN_SHAPE(a), FNN_SHAPE(b));
    }
    y->dtype = a->dtype;
    y->ndim = a->ndim > b->ndim ? a->ndim : b->ndim;
    for (int d = 0; d < y->ndim - 2; d++) {
        int da = d - (y->ndim - a->ndim), db = d - (y->ndim - b->ndim);
        int64_t sa = da >= 0 ? a->shape[da] : 1, sb = db >= 0 ? b->shape[db] : 1;
        if (sa != sb && sa != 1 && sb != 1) {
            return fnn_fail(
                c->err, FNN_ERR_VALUE,
                "matmul: expected batch dimensions that broadcast, got shapes "
                "%s and %s",
                FNN_SHAPE(a), FNN_SHAPE(b));
        }
        y->shape[d] = sa == 1 ? sb : sa;
    }
    y->shape[y->ndim - 2] = m;
    y->shape[y->ndim - 1] = n;
    fnn_set_contiguous(y);
    return fnn_check_size(c, y);
}

static void set_matmul(plan *p, const fnn_call *c) {
    const fnn_tensor *a = c->in[0], *b = c->in[1], *y = &c->out[0];
    p->gemm = (fnn_gemm_args){
        .dtype = y->dtype,
        .threads = c->threads,
        .m = y->shape[y->ndim - 2],
        .n = y->shape[y->ndim - 1],
        .k = a->shape[a->ndim - 1],
        .a = a->data,
        .a_row = a->stride[a->ndim - 2],
        .a_col = a->stride[a->ndim - 1],
        .b = b->data,
        .b_row = b->stride[b->ndim - 2],
        .b_col = b->stride[b->ndim - 1],
        .c = y->data,
        .c_row = y->stride[y->ndim - 2],
    };
    set_batch(p, a, b, y, y->ndim - 2);
}

int64_t fnn_workspace_matmul(const fnn_call *c) {
    plan p;
    set_matmul(&p, c);
    return fnn_gemm_workspace(&p.gemm);
}

fnn_status fnn_run_matmul(fnn_call *c) {
    if (fnn_numel(&c->out[0]) > 0) {
        plan p;
        set_matmul(&p, c);
        run(&p, c->workspace);
    }
    return FNN_OK;
}

/* ---- linear, linear_act: y = act(x weight^T + bias + residual) ---------------------- */

static int64_t activation(const fnn_call *c) {
    return c->op->n_attr > 0 ? c->attr[0].i : FNN_ACT_NONE;
}

static const fnn_tensor *residual(const fnn_call *c) {
    return c->n_in > 3 ? c->in[3] : NULL;
}

/* What linear checks once the weight is known to have `out` rows of `in` elements. */
static fnn_status infer_layer(fnn_call *c, int64_t out, int64_t in) {
    const fnn_tensor *x = c->in[0], *b = c->in[2], *r = residual(c);
    fnn_tensor *y = &c->out[0];
    if (x->ndim == 0 || x->shape[x->ndim - 1] != in) {
        return fnn_fail(
            c->err, FNN_ERR_VALUE,
            "linear: expected x with %lld features (last dimension), got shape "
            "%s",
            (long long)in, FNN_SHAPE(x));
    }
    if (b != NULL) {
        FNN_TRY(fnn_expect_same_dtype(c, 0, 2, "x and bias"));
        if (b->ndim != 1 || b->shape[0] != out) {
            return fnn_fail(c->err, FNN_ERR_VALUE,
                            "linear: expected bias of shape (%lld,), got %s",
                            (long long)out, FNN_SHAPE(b));
        }
        if (b->stride[0] != 1 && b->shape[0] > 1) {
            return fnn_fail(c->err, FNN_ERR_VALUE, "linear: expected contiguous bias");
        }
    }
    if (activation(c) < FNN_ACT_NONE || activation(c) > FNN_ACT_GELU) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "linear: expected an activation, got code %lld",
                        (long long)activation(c));
    }
    fnn_like(y, x, x->dtype);
    y->shape[y->ndim - 1] = out;
    fnn_set_contiguous(y);
    if (r != NULL) {
        FNN_TRY(fnn_expect_same_dtype(c, 0, 3, "x and residual"));
        if (!fnn_same_shape(r, y)) {
            return fnn_fail(c->err, FNN_ERR_VALUE,
                            "%s: expected residual of shape %s, got %s", c->op->name,
                            FNN_SHAPE(y), FNN_SHAPE(r));
        }
        if (!fnn_is_contiguous(r)) {
            return fnn_fail(c->err, FNN_ERR_VALUE, "%s: expected contiguous residual",
                            c->op->name);
        }
    }
    return fnn_check_size(c, y);
}

fnn_status fnn_infer_linear(fnn_call *c) {
    const fnn_tensor *w = c->in[1];
    FNN_TRY(fnn_expect_float(c, 0, "x"));
    FNN_TRY(fnn_expect_same_dtype(c, 0, 1, "x and weight"));
    if (w->ndim != 2) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "linear: expected weight of shape (out, in), got %s",
                        FNN_SHAPE(w));
    }
    return infer_layer(c, w->shape[0], w->shape[1]);
}

/* ---- a weight in panels, for inference ----------------------------------------------- */

static int64_t panels_of(int64_t out) {
    return out / FNN_GEMM_PANEL + (out % FNN_GEMM_PANEL != 0);
}

/* (out, in) becomes (panels, in, FNN_GEMM_PANEL): a panel holds the weights of so many
 * outputs, those of one input side by side, zeros past the last output. */
fnn_status fnn_infer_panels(fnn_call *c) {
    const fnn_tensor *w = c->in[0];
    fnn_tensor *y = &c->out[0];
    FNN_TRY(fnn_expect_float(c, 0, "weight"));
    if (w->ndim != 2) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "panels: expected weight of shape (out, in), got %s",
                        FNN_SHAPE(w));
    }
    y->dtype = w->dtype;
    y->ndim = 3;
    y->shape[0] = panels_of(w->shape[0]);
    y->shape[1] = w->shape[1];
    y->shape[2] = FNN_GEMM_PANEL;
    fnn_set_contiguous(y);
    return fnn_check_size(c, y);
}

fnn_status fnn_run_panels(fnn_call *c) {
    const fnn_tensor *w = c->in[0];
    const ptrdiff_t size = fnn_dtype_size(w->dtype);
    const int64_t whole = w->shape[0] / FNN_GEMM_PANEL;
    const int64_t rest = w->shape[0] % FNN_GEMM_PANEL, k = w->shape[1];
    fnn_tensor y = c->out[0];
    fnn_tensor from = {
        .data = w->data,
        .dtype = w->dtype,
        .ndim = 3,
        .shape = {whole, k, FNN_GEMM_PANEL},
        .stride = {FNN_GEMM_PANEL * w->stride[0], w->stride[1], w->stride[0]}};
    y.shape[0] = whole;
    fnn_copy(&y, &from);
    if (rest > 0 && k > 0) {
        y.data += whole * k * FNN_GEMM_PANEL * size;
        from.data += whole * FNN_GEMM_PANEL * w->stride[0] * size;
        memset(y.data, 0, (size_t)(k * FNN_GEMM_PANEL * size));
        y.shape[0] = from.shape[0] = 1;
        y.shape[2] = from.shape[2] = rest;
        fnn_copy(&y, &from);
    }
    return FNN_OK;
}

fnn_status fnn_infer_linear_panels(fnn_call *c) {
    const fnn_tensor *w = c->in[1];
    int64_t out = c->attr[1].i;
    FNN_TRY(fnn_expect_float(c, 0, "x"));
    FNN_TRY(fnn_expect_same_dtype(c, 0, 1, "x and weight"));
    if (w->ndim != 3 || w->shape[2] != FNN_GEMM_PANEL || !fnn_is_contiguous(w) ||
        out < 0 || panels_of(out) != w->shape[0]) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "linear_panels: expected contiguous panels of %d outputs for "
                        "%lld of them, got %s",
                        FNN_GEMM_PANEL, (long long)out, FNN_SHAPE(w));
    }
    return infer_layer(c, out, w->shape[1]);
}

static void set_linear(plan *p, const fnn_call *c) {
    fnn_tensor w = *c->in[1];
    fnn_tensor x = *c->in[0], y = c->out[0];
    const bool panels = w.ndim == 3;
    if (panels) {
        w = (fnn_tensor){.data = w.data,
                         .ndim = 2,
                         .shape = {y.shape[y.ndim - 1], w.shape[1]},
                         .stride = {1, FNN_GEMM_PANEL}};
    }
    if (x.ndim == 1) { /* one row */
        x = (fnn_tensor){.data = x.data,
                         .dtype = x.dtype,
                         .ndim = 2,
                         .shape = {1, x.shape[0]},
                         .stride = {0, x.stride[0]}};
        y = (fnn_tensor){.data = y.data,
                         .dtype = y.dtype,
                         .ndim = 2,
                         .shape = {1, y.shape[0]},
                         .stride = {y.shape[0], 1}};
    }
    p->gemm = (fnn_gemm_args){
        .dtype = y.dtype,
        .threads = c->threads,
        .m = y.shape[y.ndim - 2],
        .n = w.shape[0],
        .k = w.shape[1],
        .a = x.data,
        .a_row = x.stride[x.ndim - 2],
        .a_col = x.stride[x.ndim - 1],
        .b = w.data,
        .b_row = w.stride[1],
        .b_col = w.stride[0],
        .b_panels = panels,
        .c = y.data,
        .c_row = y.stride[y.ndim - 2],
        .bias = c->in[2] ? c->in[2]->data : NULL,
        .residual = residual(c) ? residual(c)->data : NULL,
        .act = (int)activation(c),
    };
    set_batch(p, &x, &w, &y, y.ndim - 2);
}

int64_t fnn_workspace_linear(const fnn_call *c) {
    plan p;
    set_linear(&p, c);
    return fnn_gemm_workspace(&p.gemm);
}

fnn_status fnn_run_linear(fnn_call *c) {
    if (fnn_numel(&c->out[0]) > 0) {
        plan p;
        set_linear(&p, c);
        run(&p, c->workspace);
    }
    return FNN_OK;
}

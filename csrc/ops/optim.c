/* Optimizer updates: one pass over parameter, gradient and state. */
#include "ops.h"

#define GRAIN 16384

typedef struct {
    char *p, *buffer;
    const char *g;
    int dtype;
    fnn_sgd_args args;
} job;

static bool same_shape(const fnn_tensor *a, const fnn_tensor *b) {
    return a->ndim == b->ndim && a->dtype == b->dtype &&
           memcmp(a->shape, b->shape, sizeof(int64_t) * (size_t)a->ndim) == 0;
}

fnn_status fnn_infer_sgd(fnn_call *c) {
    const fnn_tensor *p = c->in[0], *hyper = c->in[3];
    FNN_TRY(fnn_expect_float(c, 0, "parameter"));
    static const char *const names[] = {"parameter", "gradient", "buffer"};
    for (int i = 0; i < 3; i++) {
        const fnn_tensor *t = c->in[i];
        if (t != NULL && (!same_shape(t, p) || !fnn_is_contiguous(t))) {
            return fnn_fail(
                c->err, FNN_ERR_VALUE,
                "sgd_step: expected contiguous %s like the parameter %s %s, got "
                "%s %s",
                names[i], fnn_dtype_name(p->dtype), FNN_SHAPE(p),
                fnn_dtype_name(t->dtype), FNN_SHAPE(t));
        }
    }
    if (hyper->dtype != FNN_FLOAT64 || hyper->ndim != 1 || hyper->shape[0] != 4 ||
        !fnn_is_contiguous(hyper)) {
        return fnn_fail(
            c->err, FNN_ERR_VALUE,
            "sgd_step: expected hyper of dtype float64 and shape (4,), got %s %s",
            fnn_dtype_name(hyper->dtype), FNN_SHAPE(hyper));
    }
    return FNN_OK;
}

static void sgd_range(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    ptrdiff_t at = lo * fnn_dtype_size(j->dtype);
    fnn_k->sgd[FNN_F64(j->dtype)](hi - lo, j->p + at, j->g + at,
                                  j->buffer ? j->buffer + at : NULL, &j->args);
}

fnn_status fnn_run_sgd(fnn_call *c) {
    const double *hyper = (const double *)(const void *)c->in[3]->data;
    job j = {.p = c->in[0]->data,
             .g = c->in[1]->data,
             .buffer = c->in[2] ? c->in[2]->data : NULL,
             .dtype = c->in[0]->dtype,
             .args = {.lr = hyper[0],
                      .momentum = hyper[1],
                      .dampening = hyper[2],
                      .weight_decay = hyper[3],
                      .nesterov = c->attr[0].i != 0,
                      .maximize = c->attr[1].i != 0,
                      .first = c->attr[2].i != 0}};
    fnn_parallel_for(fnn_numel(c->in[0]), GRAIN, sgd_range, &j);
    return FNN_OK;
}

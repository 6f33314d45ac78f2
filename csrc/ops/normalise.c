/* What batch, layer and group norm share. */
#include "ops/normalise.h"

#include <math.h>
#include <string.h>

static fnn_status expect_shape(const fnn_call *c, int i, const char *name, int ndim,
                               const int64_t *shape) {
    const fnn_tensor *t = c->in[i];
    fnn_tensor wanted;
    fnn_norm_output(&wanted, t->dtype, ndim, shape);
    if (!fnn_same_shape(t, &wanted)) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected %s of shape %s for %s of shape %s, got %s",
                        c->op->name, name, FNN_SHAPE(&wanted), "input",
                        FNN_SHAPE(c->in[0]), FNN_SHAPE(t));
    }
    return FNN_OK;
}

fnn_status fnn_norm_expect(const fnn_call *c, int i, const char *name, int ndim,
                           const int64_t *shape) {
    if (c->in[i] == NULL) {
        return FNN_OK;
    }
    if (c->in[i]->dtype != c->in[0]->dtype) {
        return fnn_fail(c->err, FNN_ERR_TYPE,
                        "%s: expected input and %s of one dtype, got %s and %s (hint: "
                        ".float() makes float32 of either)",
                        c->op->name, name, fnn_dtype_name(c->in[0]->dtype),
                        fnn_dtype_name(c->in[i]->dtype));
    }
    return expect_shape(c, i, name, ndim, shape);
}

fnn_status fnn_norm_expect_statistics(const fnn_call *c, int i, const char *name,
                                      int ndim, const int64_t *shape) {
    if (c->in[i]->dtype != FNN_FLOAT64) {
        return fnn_fail(c->err, FNN_ERR_TYPE,
                        "%s: expected %s of dtype float64, got %s", c->op->name, name,
                        fnn_dtype_name(c->in[i]->dtype));
    }
    return expect_shape(c, i, name, ndim, shape);
}

double fnn_norm_center(const char *x, int dtype) {
    double first = fnn_norm_get(x, dtype, 0, 0);
    return isfinite(first) ? first : 0;
}

void fnn_norm_output(fnn_tensor *t, int dtype, int ndim, const int64_t *shape) {
    t->dtype = dtype;
    t->ndim = ndim;
    memcpy(t->shape, shape, sizeof(int64_t) * (size_t)ndim);
    fnn_set_contiguous(t);
}

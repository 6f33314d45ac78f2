/* Losses of each element that are defined on a part of the numbers only. */
#include "ops.h"

#define GRAIN 64 /* chunks that pay for a thread */

typedef struct {
    const fnn_tensor *x;
    _Atomic bool outside; /* an element that is not in [0, 1], or NaN */
} job;

/* The least and the largest element of a chunk of x; NaN where one is. */
static void chunk_bounds(const fnn_tensor *x, int64_t chunk, double bounds[2]) {
    int64_t start = chunk * FNN_CHUNK;
    ptrdiff_t n = fnn_min64(FNN_CHUNK, fnn_numel(x) - start);
    int dtype = fnn_is_float(x->dtype) ? x->dtype : FNN_FLOAT64;
    double buffer[FNN_CHUNK], least, most;
    const void *in = buffer;
    if (fnn_is_contiguous(x) && dtype == x->dtype) {
        in = x->data + start * fnn_dtype_size(dtype);
    } else {
        fnn_gather(buffer, dtype, x, start, n);
    }
    fnn_k->reduce[FNN_F64(dtype)](FNN_MIN, n, in, &least, 1);
    fnn_k->reduce[FNN_F64(dtype)](FNN_MAX, n, in, &most, 1);
    fnn_convert(&bounds[0], FNN_FLOAT64, 0, &least, dtype, 0, 1);
    fnn_convert(&bounds[1], FNN_FLOAT64, 0, &most, dtype, 0, 1);
}

static void check_chunks(void *context, int64_t lo, int64_t hi) {
    job *j = context;
    for (int64_t i = lo; i < hi; i++) {
        double bounds[2];
        chunk_bounds(j->x, i, bounds);
        if (!(bounds[0] >= 0 && bounds[1] <= 1)) {
            atomic_store_explicit(&j->outside, true, memory_order_relaxed);
            return;
        }
    }
}

bool fnn_in_unit(const fnn_tensor *x, double *low, double *high) {
    int64_t chunks = fnn_chunks(fnn_numel(x));
    job j = {.x = x, .outside = false};
    fnn_parallel_for(chunks, GRAIN, check_chunks, &j);
    *low = INFINITY;
    *high = -INFINITY;
    for (int64_t i = 0; j.outside && i < chunks && *low == *low; i++) {
        double bounds[2];
        chunk_bounds(x, i, bounds);
        *low = bounds[0] >= *low ? *low : bounds[0];
        *high = bounds[1] <= *high ? *high : bounds[1];
    }
    return !j.outside;
}

fnn_status fnn_run_binary_cross_entropy(fnn_call *c) {
    double low, high;
    if (fnn_numel(&c->out[0]) > 0 && !fnn_in_unit(c->in[0], &low, &high)) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected input from 0 to 1, got values from %g to %g "
                        "(hint: binary_cross_entropy_with_logits takes any)",
                        c->op->name, low, high);
    }
    return fnn_run_map(c);
}

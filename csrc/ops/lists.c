/* Ops on lists of tensors as if they were one vector: its norm, one factor for all of it,
 * and whether it is finite.
 *
 * Each tensor is cut into chunks of FNN_CHUNK elements in logical order; threads share the
 * chunks of all tensors, one after another. Norms of chunks are joined in float64, pairwise
 * in a tree over the chunks, as in reduce.c. */
#include "ops.h"

#define GRAIN 64      /* chunks that pay for a thread */
#define FINITE_RUN 16 /* chunks between two looks at whether the answer is known */

typedef struct job {
    const fnn_call *c;
    /* Chunks [from, to) of t, the first of which is chunk `at` of all. */
    void (*part)(struct job *j, const fnn_tensor *t, int64_t from, int64_t to,
                 int64_t at);
    int norm;
    double p;
    _Atomic bool found; /* an element that is not finite */
} job;

static int64_t all_chunks(const fnn_call *c) {
    int64_t total = 0;
    for (int k = 0; k < c->n_in; k++) {
        total += fnn_chunks(fnn_numel(c->in[k]));
    }
    return total;
}

/* Chunks [lo, hi) of all tensors end to end. */
static void chunk_range(void *context, int64_t lo, int64_t hi) {
    job *j = context;
    int64_t at = 0;
    for (int k = 0; k < j->c->n_in && at < hi; k++) {
        int64_t chunks = fnn_chunks(fnn_numel(j->c->in[k]));
        int64_t from = fnn_max64(lo - at, 0), to = fnn_min64(hi - at, chunks);
        if (from < to) {
            j->part(j, j->c->in[k], from, to, at + from);
        }
        at += chunks;
    }
}

/* Chunks [*from, to) of t, or as many as can be had at once, as contiguous memory: in place
 * or through the buffer. Moves *from on; *n elements. */
static const void *elements(const fnn_tensor *t, int64_t *from, int64_t to,
                            void *buffer, ptrdiff_t *n) {
    bool in_place = fnn_is_contiguous(t);
    int64_t start = *from * FNN_CHUNK;
    *from = in_place ? to : *from + 1;
    *n = fnn_min64(*from * FNN_CHUNK, fnn_numel(t)) - start;
    if (in_place) {
        return t->data + start * fnn_dtype_size(t->dtype);
    }
    fnn_gather(buffer, t->dtype, t, start, *n);
    return buffer;
}

/* ---- total_norm ---------------------------------------------------------------------- */

fnn_status fnn_infer_total_norm(fnn_call *c) {
    fnn_tensor *norm = &c->out[0];
    norm->dtype = FNN_FLOAT32;
    norm->ndim = 0;
    for (int k = 0; k < c->n_in; k++) {
        int dtype = c->in[k]->dtype;
        if (!fnn_is_float(dtype)) {
            return fnn_fail(c->err, FNN_ERR_TYPE,
                            "%s: expected float tensors, got %s at position %d",
                            c->op->name, fnn_dtype_name(dtype), k);
        }
        norm->dtype = dtype > norm->dtype ? dtype : norm->dtype;
    }
    if (!(c->attr[0].f > 0)) {
        return fnn_fail(c->err, FNN_ERR_VALUE, "%s: expected p above 0, got %g",
                        c->op->name, c->attr[0].f);
    }
    return FNN_OK;
}

int64_t fnn_workspace_total_norm(const fnn_call *c) {
    return all_chunks(c) * (int64_t)sizeof(double);
}

static void norm_part(job *j, const fnn_tensor *t, int64_t from, int64_t to,
                      int64_t at) {
    double *y = (double *)j->c->workspace + at, buffer[FNN_CHUNK];
    while (from < to) {
        int64_t before = from;
        ptrdiff_t n;
        const void *x = elements(t, &from, to, buffer, &n);
        fnn_k->norm[FNN_F64(t->dtype)](j->norm, j->p, n, x, y);
        y += from - before;
    }
}

/* In place; n > 0. A maximum is NaN where one of the two is. */
static double join(bool max, int64_t n, double *x) {
    for (; n > 1; n = (n + 1) / 2) {
        for (int64_t i = 0; i < n / 2; i++) {
            double a = x[2 * i], b = x[2 * i + 1];
            x[i] = !max ? a + b : a > b || a != a ? a : b;
        }
        if (n & 1) {
            x[n / 2] = x[n - 1];
        }
    }
    return x[0];
}

fnn_status fnn_run_total_norm(fnn_call *c) {
    job j = {.c = c, .part = norm_part, .p = c->attr[0].f};
    j.norm = j.p == 2          ? FNN_NORM_2
             : j.p == 1        ? FNN_NORM_1
             : j.p == INFINITY ? FNN_NORM_MAX
                               : FNN_NORM_P;
    int64_t chunks = all_chunks(c);
    double norm = 0;
    if (chunks > 0) {
        fnn_parallel_for(chunks, GRAIN, chunk_range, &j);
        norm = join(j.norm == FNN_NORM_MAX, chunks, c->workspace);
    }
    if (j.norm == FNN_NORM_2) {
        norm = sqrt(norm);
    } else if (j.norm == FNN_NORM_P) {
        double sum = norm, power = 1 / j.p;
        fnn_k->map[FNN_MAP_pow][1](1, &norm, (const void *[]){&sum, &power},
                                   (ptrdiff_t[]){1, 1});
    }
    fnn_convert(c->out[0].data, c->out[0].dtype, 0, &norm, FNN_FLOAT64, 0, 1);
    return FNN_OK;
}

/* ---- scale_ -------------------------------------------------------------------------- */

fnn_status fnn_infer_scale(fnn_call *c) {
    for (int k = 0; k < c->n_in; k++) {
        const fnn_tensor *t = c->in[k];
        if (!fnn_is_float(t->dtype)) {
            return fnn_fail(c->err, FNN_ERR_TYPE, "%s: expected float %s, got %s",
                            c->op->name, k == 0 ? "factor" : "tensors",
                            fnn_dtype_name(t->dtype));
        }
        if (k == 0 && t->ndim != 0) {
            return fnn_fail(c->err, FNN_ERR_VALUE,
                            "%s: expected factor of shape (), got %s", c->op->name,
                            FNN_SHAPE(t));
        }
        if (k > 0) {
            FNN_TRY(fnn_expect_own_memory(c, t));
        }
    }
    return FNN_OK;
}

fnn_status fnn_run_scale(fnn_call *c) {
    for (int k = 1; k < c->n_in; k++) {
        fnn_multiply(c->in[k], c->in[0]);
    }
    return FNN_OK;
}

/* ---- all_finite ---------------------------------------------------------------------- */

fnn_status fnn_infer_all_finite(fnn_call *c) {
    c->out[0].dtype = FNN_BOOL;
    c->out[0].ndim = 0;
    return FNN_OK;
}

static void finite_part(job *j, const fnn_tensor *t, int64_t from, int64_t to,
                        int64_t at) {
    (void)at;
    if (!fnn_is_float(t->dtype)) {
        return;
    }
    double buffer[FNN_CHUNK];
    while (from < to && !atomic_load_explicit(&j->found, memory_order_relaxed)) {
        ptrdiff_t n;
        const void *x =
            elements(t, &from, fnn_min64(to, from + FINITE_RUN), buffer, &n);
        if (!fnn_k->finite[FNN_F64(t->dtype)](n, x)) {
            atomic_store_explicit(&j->found, true, memory_order_relaxed);
        }
    }
}

fnn_status fnn_run_all_finite(fnn_call *c) {
    job j = {.c = c, .part = finite_part, .found = false};
    fnn_parallel_for(all_chunks(c), GRAIN, chunk_range, &j);
    *(uint8_t *)c->out[0].data = !j.found;
    return FNN_OK;
}

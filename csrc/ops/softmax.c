/* softmax, log_softmax over the last dimension, and cross entropy on logits (n, classes) or
 * log-probabilities (nll).
 *
 * Cross entropy, per row with label t, class weights w (1 where absent), smoothing s:
 *   loss = (1 - s) w_t (lse - x_t) + s / C sum_j w_j (lse - x_j)
 * and 0 where t is ignore_index; the mean divides by the sum of w_t over rows not ignored.
 * nll is the same with lse = 0 and s = 0.
 * The log-sum-exp is kept in float64, so that the backward pass loses nothing to large
 * logits. */
#include "ops.h"

#define ROWS 64 /* whose statistics are taken together */
#define GRAIN_ELEMENTS 8192

/* ---- softmax ------------------------------------------------------------------------ */

typedef struct {
    const fnn_tensor *x, *y, *gx; /* backward: x is gy */
    bool log;
} softmax_job;

fnn_status fnn_infer_softmax(fnn_call *c) {
    FNN_TRY(fnn_expect_float(c, 0, "x"));
    if (c->in[0]->ndim == 0) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected a tensor with dimensions, got shape ()",
                        c->op->name);
    }
    fnn_like(&c->out[0], c->in[0], c->in[0]->dtype);
    return fnn_check_size(c, &c->out[0]);
}

static void softmax_rows(void *context, int64_t lo, int64_t hi) {
    const softmax_job *j = context;
    const fnn_tensor *x = j->x;
    int64_t n = x->shape[x->ndim - 1];
    ptrdiff_t row = n * fnn_dtype_size(x->dtype);
    bool direct = fnn_is_contiguous(x);
    double max, sum;
    for (int64_t i = lo; i < hi; i++) {
        char *y = j->y->data + i * row;
        const char *in = direct ? x->data + i * row : y;
        if (!direct) {
            fnn_gather(y, x->dtype, x, i * n, n);
        }
        fnn_k->softmax[FNN_F64(x->dtype)](n, in, y, j->log, &max, &sum);
    }
}

fnn_status fnn_run_softmax(fnn_call *c) {
    const fnn_tensor *x = c->in[0];
    int64_t n = x->shape[x->ndim - 1];
    if (fnn_numel(x) > 0) {
        softmax_job j = {x, &c->out[0], NULL, c->op->kernel == 1};
        fnn_parallel_for(fnn_numel(x) / n, GRAIN_ELEMENTS / n + 1, softmax_rows, &j);
    }
    return FNN_OK;
}

fnn_status fnn_infer_softmax_backward(fnn_call *c) {
    const fnn_tensor *gy = c->in[0], *y = c->in[1];
    FNN_TRY(fnn_expect_float(c, 0, "gy"));
    FNN_TRY(fnn_expect_same_dtype(c, 0, 1, "gy and y"));
    bool same = gy->ndim == y->ndim && gy->ndim > 0;
    for (int d = 0; d < gy->ndim && same; d++) {
        same = gy->shape[d] == y->shape[d];
    }
    if (!same || !fnn_is_contiguous(y)) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected gy of y's shape and y contiguous, got shapes %s "
                        "and %s",
                        c->op->name, FNN_SHAPE(gy), FNN_SHAPE(y));
    }
    fnn_like(&c->out[0], gy, gy->dtype);
    return fnn_check_size(c, &c->out[0]);
}

static void softmax_backward_rows(void *context, int64_t lo, int64_t hi) {
    const softmax_job *j = context;
    const fnn_tensor *gy = j->x;
    int64_t n = gy->shape[gy->ndim - 1];
    ptrdiff_t row = n * fnn_dtype_size(gy->dtype);
    bool direct = fnn_is_contiguous(gy);
    for (int64_t i = lo; i < hi; i++) {
        char *gx = j->gx->data + i * row;
        if (!direct) {
            fnn_gather(gx, gy->dtype, gy, i * n, n);
        }
        fnn_k->softmax_bwd[FNN_F64(gy->dtype)](n, direct ? gy->data + i * row : gx,
                                               j->y->data + i * row, j->log, gx);
    }
}

fnn_status fnn_run_softmax_backward(fnn_call *c) {
    const fnn_tensor *gy = c->in[0];
    int64_t n = gy->shape[gy->ndim - 1];
    if (fnn_numel(gy) > 0) {
        softmax_job j = {gy, c->in[1], &c->out[0], c->op->kernel == 1};
        fnn_parallel_for(fnn_numel(gy) / n, GRAIN_ELEMENTS / n + 1,
                         softmax_backward_rows, &j);
    }
    return FNN_OK;
}

/* ---- cross entropy ------------------------------------------------------------------ */

enum { NONE, MEAN, SUM };

typedef struct {
    const fnn_tensor *x, *target, *weight;
    int64_t rows, classes, ignore;
    double smoothing, weight_sum; /* of all classes */
    int reduction, dtype;
    ptrdiff_t size; /* of an element */
    /* forward */
    double *lse;
    char *loss, *counted;
    /* backward */
    const fnn_tensor *gy;
    double norm;
    const char *smooth; /* (classes,) smoothing / C * weight, NULL when constant */
    char *gx;
} xent_job;

static double element(const char *p, int dtype) {
    return dtype == FNN_FLOAT64 ? *(const double *)(const void *)p
                                : (double)*(const float *)(const void *)p;
}

static void set_element(char *p, int dtype, double value) {
    if (dtype == FNN_FLOAT64) {
        *(double *)(void *)p = value;
    } else {
        *(float *)(void *)p = (float)value;
    }
}

static int64_t label(const xent_job *j, int64_t i) {
    int64_t t;
    const fnn_tensor *target = j->target;
    if (target->dtype == FNN_INT64) { /* as nearly always */
        return ((const int64_t *)(const void *)target->data)[i * target->stride[0]];
    }
    fnn_convert(&t, FNN_INT64, 8,
                target->data + i * target->stride[0] * fnn_dtype_size(target->dtype),
                target->dtype, 0, 1);
    return t;
}

/* The label, or ignore where it is out of range: labels were checked, but another thread may
 * have written to them since. */
static int64_t safe_label(const xent_job *j, int64_t i) {
    int64_t t = label(j, i);
    return t >= 0 && t < j->classes ? t : j->ignore;
}

static double class_weight(const xent_job *j, int64_t t) {
    return j->weight
               ? element(j->weight->data + t * j->weight->stride[0] * j->size, j->dtype)
               : 1.0;
}

static double smoothing(const fnn_call *c) {
    return c->op->n_attr > 2 ? c->attr[2].f : 0; /* nll has none */
}

static xent_job make_job(const fnn_call *c, int x) {
    xent_job j = {.x = c->in[x], .target = c->in[x + 1], .weight = c->in[x + 2]};
    j.rows = j.x->shape[0];
    j.classes = j.x->shape[1];
    j.dtype = j.x->dtype;
    j.size = fnn_dtype_size(j.dtype);
    j.reduction = (int)c->attr[0].i;
    j.ignore = c->attr[1].i;
    j.smoothing = smoothing(c);
    for (int64_t t = 0; t < j.classes && j.smoothing > 0; t++) {
        j.weight_sum += class_weight(&j, t);
    }
    return j;
}

static fnn_status check_xent(const fnn_call *c, int x) {
    const fnn_tensor *logits = c->in[x], *target = c->in[x + 1], *weight = c->in[x + 2];
    FNN_TRY(fnn_expect_float(c, x, "x"));
    FNN_TRY(fnn_expect_integer(c, x + 1, "target"));
    if (logits->ndim != 2 || target->ndim != 1 ||
        logits->shape[0] != target->shape[0]) {
        return fnn_fail(
            c->err, FNN_ERR_VALUE,
            "%s: expected x of shape (n, classes) and target of shape (n,), got "
            "%s and %s",
            c->op->name, FNN_SHAPE(logits), FNN_SHAPE(target));
    }
    if (logits->shape[1] == 0 && logits->shape[0] > 0) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected at least one class, got shape %s", c->op->name,
                        FNN_SHAPE(logits));
    }
    if (weight != NULL) {
        FNN_TRY(fnn_expect_same_dtype(c, x, x + 2, "x and weight"));
        if (weight->ndim != 1 || weight->shape[0] != logits->shape[1]) {
            return fnn_fail(c->err, FNN_ERR_VALUE,
                            "%s: expected weight of shape (%lld,), got %s", c->op->name,
                            (long long)logits->shape[1], FNN_SHAPE(weight));
        }
    }
    if (!(smoothing(c) >= 0 && smoothing(c) <= 1)) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected label_smoothing from 0 to 1, got %g", c->op->name,
                        smoothing(c));
    }
    if (c->attr[0].i < NONE || c->attr[0].i > SUM) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected reduction 0, 1 or 2, got %lld", c->op->name,
                        (long long)c->attr[0].i);
    }
    return FNN_OK;
}

static fnn_status check_rows(const fnn_call *c, int x) {
    const fnn_tensor *logits = c->in[x];
    FNN_TRY(check_xent(c, x));
    if (logits->stride[1] != 1 && logits->shape[1] > 1 && logits->shape[0] > 0) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected contiguous rows (hint: contiguous())",
                        c->op->name);
    }
    return FNN_OK;
}

static fnn_status check_labels(const fnn_call *c, const xent_job *j) {
    for (int64_t i = 0; i < j->rows; i++) {
        int64_t t = label(j, i);
        if (t != j->ignore && (t < 0 || t >= j->classes)) {
            return fnn_fail(
                c->err, FNN_ERR_INDEX,
                "%s: expected labels from 0 to %lld (or ignore_index %lld), got "
                "%lld at position %lld",
                c->op->name, (long long)(j->classes - 1), (long long)j->ignore,
                (long long)t, (long long)i);
        }
    }
    return FNN_OK;
}

/* t of shape (rows,), or () */
static void set_output(fnn_tensor *t, int dtype, bool per_row, int64_t rows) {
    t->dtype = dtype;
    t->ndim = per_row;
    t->shape[0] = rows;
    fnn_set_contiguous(t);
}

fnn_status fnn_infer_cross_entropy(fnn_call *c) {
    FNN_TRY(check_rows(c, 0));
    int64_t rows = c->in[0]->shape[0];
    set_output(&c->out[0], c->in[0]->dtype, c->attr[0].i == NONE, rows);
    set_output(&c->out[1], FNN_FLOAT64, true, rows);
    set_output(&c->out[2], FNN_FLOAT64, false, rows);
    return FNN_OK;
}

/* losses and weights of the rows, then the tree's partial sums */
int64_t fnn_workspace_cross_entropy(const fnn_call *c) {
    int64_t rows = c->in[0]->shape[0];
    return (2 * rows + fnn_chunks(rows)) * 8;
}

/* The loss of row i, whose largest logit and log of the sum of exponentials are given. */
static void row_loss(const xent_job *j, int64_t i, double max, double log_sum) {
    const char *x = j->x->data + i * j->x->stride[0] * j->size;
    j->lse[i] = max + log_sum;
    int64_t t = safe_label(j, i);
    double loss = 0, w = 0;
    if (t != j->ignore) {
        w = class_weight(j, t);
        loss = w * ((max - element(x + t * j->size, j->dtype)) + log_sum);
        if (j->smoothing > 0) {
            double all = 0;
            for (int64_t k = 0; k < j->classes; k++) {
                all += class_weight(j, k) *
                       ((max - element(x + k * j->size, j->dtype)) + log_sum);
            }
            loss = (1 - j->smoothing) * loss + j->smoothing / (double)j->classes * all;
        }
    }
    set_element(j->loss + i * j->size, j->dtype, loss);
    set_element(j->counted + i * j->size, j->dtype, w);
}

static void xent_rows(void *context, int64_t lo, int64_t hi) {
    const xent_job *j = context;
    const bool f64 = FNN_F64(j->dtype);
    double max[ROWS], sum[ROWS]; /* room for either dtype */
    for (int64_t i = lo; i < hi; i += ROWS) {
        const int64_t n = fnn_min64(ROWS, hi - i), ld = j->x->stride[0];
        fnn_k->softmax_stats[f64](n, j->classes, j->x->data + i * ld * j->size, ld, max,
                                  sum);
        const void *in[1] = {sum};
        fnn_k->map[FNN_MAP_log][f64](n, sum, in, (ptrdiff_t[]){1});
        for (int64_t r = 0; r < n; r++) {
            const ptrdiff_t at = r * j->size;
            row_loss(j, i + r, element((char *)max + at, j->dtype),
                     element((char *)sum + at, j->dtype));
        }
    }
}

/* Losses and weights of the rows by `rows`, reduced into out 0; norm: the weights' sum. */
static fnn_status run_loss(fnn_call *c, xent_job *j, int64_t grain, double *norm,
                           void (*rows)(void *, int64_t, int64_t)) {
    FNN_TRY(check_labels(c, j));
    char *scratch = (char *)c->workspace + 2 * j->rows * 8;
    j->loss = j->reduction == NONE ? c->out[0].data : c->workspace;
    j->counted = (char *)c->workspace + j->rows * 8;
    if (j->rows > 0) {
        fnn_parallel_for(j->rows, grain, rows, j);
    }
    double sum[2] = {0, 0};
    fnn_sum_contiguous(j->dtype, j->rows, j->counted, &sum[0], scratch);
    *norm = element((char *)&sum[0], j->dtype);
    if (j->reduction != NONE) {
        fnn_sum_contiguous(j->dtype, j->rows, j->loss, &sum[1], scratch);
        double total = element((char *)&sum[1], j->dtype);
        set_element(c->out[0].data, j->dtype,
                    j->reduction == MEAN ? total / *norm : total);
    }
    return FNN_OK;
}

fnn_status fnn_run_cross_entropy(fnn_call *c) {
    xent_job j = make_job(c, 0);
    j.lse = (double *)(void *)c->out[1].data;
    double *norm = (double *)(void *)c->out[2].data;
    return run_loss(c, &j, GRAIN_ELEMENTS / fnn_max64(j.classes, 1) + 1, norm,
                    xent_rows);
}

/* ---- backward ----------------------------------------------------------------------- */

fnn_status fnn_infer_cross_entropy_backward(fnn_call *c) {
    const fnn_tensor *gy = c->in[0], *lse = c->in[4], *norm = c->in[5];
    FNN_TRY(check_rows(c, 1));
    FNN_TRY(fnn_expect_same_dtype(c, 0, 1, "gy and x"));
    int64_t rows = c->in[1]->shape[0];
    bool per_row = c->attr[0].i == NONE;
    if (gy->ndim != (per_row ? 1 : 0) || (per_row && gy->shape[0] != rows) ||
        lse->dtype != FNN_FLOAT64 || lse->ndim != 1 || lse->shape[0] != rows ||
        !fnn_is_contiguous(lse) || norm->dtype != FNN_FLOAT64 || norm->ndim != 0) {
        return fnn_fail(
            c->err, FNN_ERR_VALUE,
            "cross_entropy_backward: expected gy, lse and norm as cross_entropy "
            "gives them, got shapes %s, %s and %s",
            FNN_SHAPE(gy), FNN_SHAPE(lse), FNN_SHAPE(norm));
    }
    fnn_like(&c->out[0], c->in[1], c->in[1]->dtype);
    return FNN_OK;
}

int64_t fnn_workspace_cross_entropy_backward(const fnn_call *c) {
    return c->in[1]->shape[1] * 8;
}

/* d loss / d (loss of row i) */
static double row_scale(const xent_job *j, int64_t i) {
    ptrdiff_t at = j->reduction == NONE ? i * j->gy->stride[0] * j->size : 0;
    double gy = element(j->gy->data + at, j->dtype);
    return j->reduction == MEAN ? gy / j->norm : gy;
}

static void xent_backward_rows(void *context, int64_t lo, int64_t hi) {
    const xent_job *j = context;
    double each = j->smoothing / (double)j->classes;
    for (int64_t i = lo; i < hi; i++) {
        char *gx = j->gx + i * j->classes * j->size;
        int64_t t = safe_label(j, i);
        if (t == j->ignore) {
            memset(gx, 0, (size_t)(j->classes * j->size));
            continue;
        }
        double scale = row_scale(j, i);
        double hit = (1 - j->smoothing) * class_weight(j, t);
        double total = hit + each * j->weight_sum;
        const char *x = j->x->data + i * j->x->stride[0] * j->size;
        fnn_k->xent_bwd[FNN_F64(j->dtype)](j->classes, x, j->lse[i], total, j->smooth,
                                           each, t, hit, scale, gx);
    }
}

fnn_status fnn_run_cross_entropy_backward(fnn_call *c) {
    xent_job j = make_job(c, 1);
    FNN_TRY(check_labels(c, &j));
    j.gy = c->in[0];
    j.lse = (double *)(void *)c->in[4]->data;
    j.norm = *(const double *)(const void *)c->in[5]->data;
    j.gx = c->out[0].data;
    if (j.weight && j.smoothing > 0) {
        char *smooth = c->workspace;
        for (int64_t t = 0; t < j.classes; t++) {
            set_element(smooth + t * j.size, j.dtype,
                        j.smoothing / (double)j.classes * class_weight(&j, t));
        }
        j.smooth = smooth;
    }
    if (fnn_numel(j.x) > 0) {
        fnn_parallel_for(j.rows, GRAIN_ELEMENTS / j.classes + 1, xent_backward_rows,
                         &j);
    }
    return FNN_OK;
}

/* ---- from log-probabilities --------------------------------------------------------- */

fnn_status fnn_infer_nll(fnn_call *c) {
    FNN_TRY(check_xent(c, 0));
    int64_t rows = c->in[0]->shape[0];
    set_output(&c->out[0], c->in[0]->dtype, c->attr[0].i == NONE, rows);
    set_output(&c->out[1], FNN_FLOAT64, false, rows);
    return FNN_OK;
}

int64_t fnn_workspace_nll(const fnn_call *c) { return fnn_workspace_cross_entropy(c); }

static void nll_rows(void *context, int64_t lo, int64_t hi) {
    const xent_job *j = context;
    for (int64_t i = lo; i < hi; i++) {
        double loss = 0, w = 0;
        int64_t t = safe_label(j, i);
        if (t != j->ignore) {
            int64_t at = i * j->x->stride[0] + t * j->x->stride[1];
            w = class_weight(j, t);
            loss = -w * element(j->x->data + at * j->size, j->dtype);
        }
        set_element(j->loss + i * j->size, j->dtype, loss);
        set_element(j->counted + i * j->size, j->dtype, w);
    }
}

fnn_status fnn_run_nll(fnn_call *c) {
    xent_job j = make_job(c, 0);
    double *norm = (double *)(void *)c->out[1].data;
    return run_loss(c, &j, GRAIN_ELEMENTS, norm, nll_rows);
}

fnn_status fnn_infer_nll_backward(fnn_call *c) {
    const fnn_tensor *gy = c->in[0], *target = c->in[1], *weight = c->in[2],
                     *norm = c->in[3];
    int64_t classes = c->attr[0].i;
    bool per_row = c->attr[1].i == NONE;
    FNN_TRY(fnn_expect_float(c, 0, "gy"));
    FNN_TRY(fnn_expect_integer(c, 1, "target"));
    if (weight != NULL) {
        FNN_TRY(fnn_expect_same_dtype(c, 0, 2, "gy and weight"));
    }
    if (target->ndim != 1 || gy->ndim != per_row ||
        (per_row && gy->shape[0] != target->shape[0]) || classes < 0 ||
        c->attr[1].i < NONE || c->attr[1].i > SUM || norm->dtype != FNN_FLOAT64 ||
        norm->ndim != 0 ||
        (weight != NULL && (weight->ndim != 1 || weight->shape[0] != classes))) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "nll_backward: expected gy, target and norm as nll has them, "
                        "got shapes %s, %s and %s",
                        FNN_SHAPE(gy), FNN_SHAPE(target), FNN_SHAPE(norm));
    }
    fnn_tensor *gx = &c->out[0];
    gx->dtype = gy->dtype;
    gx->ndim = 2;
    gx->shape[0] = target->shape[0];
    gx->shape[1] = classes;
    fnn_set_contiguous(gx);
    return fnn_check_size(c, gx);
}

static void nll_backward_rows(void *context, int64_t lo, int64_t hi) {
    const xent_job *j = context;
    ptrdiff_t row = j->classes * j->size;
    memset(j->gx + lo * row, 0, (size_t)((hi - lo) * row));
    for (int64_t i = lo; i < hi; i++) {
        int64_t t = safe_label(j, i);
        if (t != j->ignore) {
            set_element(j->gx + i * row + t * j->size, j->dtype,
                        -class_weight(j, t) * row_scale(j, i));
        }
    }
}

fnn_status fnn_run_nll_backward(fnn_call *c) {
    xent_job j = {.gy = c->in[0], .target = c->in[1], .weight = c->in[2]};
    j.rows = j.target->shape[0];
    j.classes = c->attr[0].i;
    j.reduction = (int)c->attr[1].i;
    j.ignore = c->attr[2].i;
    j.dtype = j.gy->dtype;
    j.size = fnn_dtype_size(j.dtype);
    j.norm = *(const double *)(const void *)c->in[3]->data;
    j.gx = c->out[0].data;
    FNN_TRY(check_labels(c, &j));
    if (fnn_numel(&c->out[0]) > 0) {
        fnn_parallel_for(j.rows, GRAIN_ELEMENTS / j.classes + 1, nll_backward_rows, &j);
    }
    return FNN_OK;
}

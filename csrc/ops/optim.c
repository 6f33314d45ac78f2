/* Optimizer updates: one pass over the parameters, gradients and states of many tensors.
 *
 * A step that is not active changes nothing. Else every tensor's steps are counted up
 * first, one after another. Then the elements of all tensors, end to end, are cut over the
 * threads; each piece works out its tensors' scalars from hyperparameters and step count in
 * float64, and runs the kernel.
 *
 * The steps of rows sort each tensor's indices, cut the sorted ones over the threads, and run
 * the same kernel on each row once, with the sum of its gradients. */
#include "rows.h"

#define GRAIN 16384

/* The order of an op's inputs; what steps rows has its indices before the parameters. */
enum { HYPER, ACTIVE, PARAMETERS, GRADIENTS, STATES };
static int of_rows(const fnn_call *c) { return c->op->kernel >= FNN_SGD_ROWS; }

typedef struct {
    const double *hyper;
    double t, product; /* step count, product of mu (NAdam) */
    unsigned flags;    /* of the call, and states that are there */
} facts;

/* b^n by squaring, each product with its error: right to the last place, unlike libm's pow
 * the same on every machine. */
static double power(double b, double n) {
    if (!(n >= 0 && n < 9e15)) {
        return 0;
    }
    double hi = 1, lo = 0, low = 0;
    for (int64_t i = (int64_t)n; i > 0; i /= 2) {
        if (i & 1) {
            double p = hi * b;
            lo = fma(hi, b, -p) + (hi * low + lo * b);
            hi = p;
        }
        double square = b * b;
        low = fma(b, b, -square) + 2 * b * low;
        b = square;
    }
    return hi + lo;
}

/* ---- scalars, see kernels/step.inc.h ------------------------------------------------- */

/* s0 and its flag: weight decay as PyTorch does it, as a part of g or beside it. */
static void decay(const facts *f, fnn_step *step, double weight_decay) {
    step->flags = f->flags & ~(unsigned)FNN_STEP_DECOUPLED;
    if (weight_decay != 0) {
        bool decoupled = f->flags & FNN_STEP_DECOUPLED;
        step->s[0] = decoupled ? 1 - f->hyper[0] * weight_decay : weight_decay;
        step->flags |= decoupled ? FNN_STEP_DECOUPLED : FNN_STEP_DECAY;
    }
}

static void sgd(const facts *f, fnn_step *step) {
    const double *h = f->hyper; /* lr, momentum, dampening, weight decay */
    decay(f, step, h[3]);
    if (h[1] == 0) {
        step->flags &= ~(unsigned)FNN_STEP_MOMENTUM;
    }
    step->s[1] = h[0];
    step->s[2] = h[1];
    step->s[3] = 1 - h[2];
}

static void adagrad(const facts *f, fnn_step *step) {
    const double *h = f->hyper; /* lr, lr decay, weight decay, eps */
    decay(f, step, h[2]);
    step->s[1] = h[0] / (1 + (f->t - 1) * h[1]);
    step->s[2] = h[3];
}

static void adadelta(const facts *f, fnn_step *step) {
    const double *h = f->hyper; /* lr, rho, eps, weight decay */
    decay(f, step, h[3]);
    step->s[1] = h[0];
    step->s[2] = h[2];
    step->s[3] = h[1];
    step->s[4] = 1 - h[1];
}

static void rmsprop(const facts *f, fnn_step *step) {
    const double *h = f->hyper; /* lr, alpha, eps, weight decay, momentum */
    decay(f, step, h[3]);
    step->s[1] = h[0];
    step->s[2] = h[2];
    step->s[3] = h[1];
    step->s[4] = 1 - h[1];
    step->s[5] = h[4];
}

/* What Adam and its kin share; returns 1 - beta2^t. */
static double moments(const facts *f, fnn_step *step, double weight_decay) {
    const double *h = f->hyper; /* lr, beta 1, beta 2, eps */
    double rest = 1 - power(h[2], f->t);
    decay(f, step, weight_decay);
    step->s[1] = h[0] / (1 - power(h[1], f->t));
    step->s[2] = h[3];
    step->s[3] = 1 - h[1];
    step->s[4] = h[2];
    step->s[5] = 1 - h[2];
    step->s[6] = 1 / sqrt(rest);
    return rest;
}

static void adam(const facts *f, fnn_step *step) { moments(f, step, f->hyper[4]); }

/* m / (sqrt(v / rest) + eps / sqrt(rest)) is sqrt(rest) m / (sqrt(v) + eps). */
static void sparse_adam(const facts *f, fnn_step *step) {
    moments(f, step, 0);
    step->s[2] *= step->s[6];
}

/* beta 1 (1 - 0.96^(t d) / 2), Dozat's schedule of momentum. */
static double nadam_mu(const double *hyper, double t) {
    double y, x = t * hyper[5] * -0.040821994520255166; /* log 0.96, nearest double */
    fnn_k->map[FNN_MAP_exp][1](1, &y, (const void *[]){&x}, (ptrdiff_t[]){1});
    return hyper[1] * (1 - 0.5 * y);
}

static void nadam(const facts *f, fnn_step *step) {
    const double *h = f->hyper;
    double mu = nadam_mu(h, f->t), next = nadam_mu(h, f->t + 1);
    moments(f, step, h[4]);
    step->s[1] = h[0] * (1 - mu) / (1 - f->product);
    step->s[7] = h[0] * next / (1 - f->product * next);
}

static void radam(const facts *f, fnn_step *step) {
    const double *h = f->hyper;
    double rest = moments(f, step, h[4]);
    double rho_inf = 2 / (1 - h[2]) - 1;
    double rho = rho_inf - 2 * f->t * (1 - rest) / rest;
    if (rho > 5) {
        step->flags |= FNN_STEP_RECTIFIED;
        step->s[6] = sqrt(rest) * sqrt((rho - 4) * (rho - 2) * rho_inf /
                                       ((rho_inf - 4) * (rho_inf - 2) * rho));
    }
}

static const struct {
    int hyper, states, counters;   /* how many */
    unsigned attr[3];              /* flag of each attribute */
    unsigned has[FNN_STEP_STATES]; /* flag of a state that is there */
    void (*scalars)(const facts *f, fnn_step *step);
} algorithms[] = {
    [FNN_SGD] = {4,
                 1,
                 0,
                 {FNN_STEP_NESTEROV, FNN_STEP_MAXIMIZE, FNN_STEP_FIRST},
                 {FNN_STEP_MOMENTUM},
                 sgd},
    [FNN_ADAGRAD] = {4, 1, 1, {FNN_STEP_MAXIMIZE}, {0}, adagrad},
    [FNN_ADADELTA] = {4, 2, 1, {FNN_STEP_MAXIMIZE}, {0}, adadelta},
    [FNN_RMSPROP] = {5,
                     3,
                     1,
                     {FNN_STEP_MAXIMIZE},
                     {0, FNN_STEP_MOMENTUM, FNN_STEP_CENTERED},
                     rmsprop},
    [FNN_ADAM] = {5,
                  3,
                  1,
                  {FNN_STEP_DECOUPLED, FNN_STEP_MAXIMIZE},
                  {0, 0, FNN_STEP_AMSGRAD},
                  adam},
    [FNN_NADAM] = {6, 2, 2, {FNN_STEP_DECOUPLED, FNN_STEP_MAXIMIZE}, {0}, nadam},
    [FNN_RADAM] = {5, 2, 1, {FNN_STEP_DECOUPLED, FNN_STEP_MAXIMIZE}, {0}, radam},
    [FNN_SGD_ROWS] = {4, 0, 0, {FNN_STEP_MAXIMIZE}, {0}, sgd},
    [FNN_ADAGRAD_ROWS] = {4, 1, 1, {FNN_STEP_MAXIMIZE}, {0}, adagrad},
    [FNN_ADAM_ROWS] = {5, 2, 1, {FNN_STEP_MAXIMIZE}, {0}, adam},
    [FNN_SPARSE_ADAM_ROWS] = {4, 2, 1, {FNN_STEP_MAXIMIZE}, {0}, sparse_adam},
};

static fnn_step_fn kernel(int algorithm, int dtype) {
    const fnn_step_fn *const kernels[] = {
        [FNN_SGD] = fnn_k->step_sgd,
        [FNN_ADAGRAD] = fnn_k->step_adagrad,
        [FNN_ADADELTA] = fnn_k->step_adadelta,
        [FNN_RMSPROP] = fnn_k->step_rmsprop,
        [FNN_ADAM] = fnn_k->step_adam,
        [FNN_NADAM] = fnn_k->step_nadam,
        [FNN_RADAM] = fnn_k->step_radam,
        [FNN_SGD_ROWS] = fnn_k->step_sgd,
        [FNN_ADAGRAD_ROWS] = fnn_k->step_adagrad,
        [FNN_ADAM_ROWS] = fnn_k->step_adam,
        [FNN_SPARSE_ADAM_ROWS] = fnn_k->step_adam,
    };
    return kernels[algorithm][FNN_F64(dtype)];
}

/* ---- checks -------------------------------------------------------------------------- */

/* The name of tensor i's input, from the row. */
static const char *name_of(const fnn_call *c, int i, char *name, size_t size) {
    const char *p = c->op->inputs;
    for (int skip = fnn_input_of(c, i); skip > 0; skip--) {
        p = strchr(p, ' ') + 1;
    }
    size_t n = strcspn(p, "*!? ");
    n = n < size ? n : size - 1;
    memcpy(name, p, n);
    name[n] = '\0';
    return name;
}
#define INPUT_NAME(i) name_of(c, (i), (char[32]){0}, 32)

/* Tensor k's indices, (n,) for gradients (n, ...) of a parameter (size, ...). */
static fnn_status check_indices(const fnn_call *c, int k) {
    const fnn_tensor *t = c->in[PARAMETERS + k];
    const fnn_tensor *p = c->in[fnn_first(c, PARAMETERS + 1) + k];
    const fnn_tensor *g = c->in[fnn_first(c, GRADIENTS + 1) + k];
    if (t->dtype != FNN_INT64 || t->ndim != 1 || !fnn_is_contiguous(t)) {
        return fnn_fail(
            c->err, FNN_ERR_VALUE,
            "%s: expected contiguous indices of dtype int64 and shape (n,), "
            "got %s %s at position %d",
            c->op->name, fnn_dtype_name(t->dtype), FNN_SHAPE(t), k);
    }
    bool fits = p->ndim > 0 && g->ndim == p->ndim && g->dtype == p->dtype &&
                g->shape[0] == t->shape[0] && fnn_is_contiguous(g);
    for (int d = 1; fits && d < p->ndim; d++) {
        fits = g->shape[d] == p->shape[d];
    }
    if (!fits) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected contiguous gradients with %lld rows of the "
                        "parameter, %s %s, got %s %s at position %d",
                        c->op->name, (long long)t->shape[0], fnn_dtype_name(p->dtype),
                        FNN_SHAPE(p), fnn_dtype_name(g->dtype), FNN_SHAPE(g), k);
    }
    return FNN_OK;
}

fnn_status fnn_infer_step(fnn_call *c) {
    int algorithm = c->op->kernel, n = algorithms[algorithm].hyper, rows = of_rows(c);
    int counters = fnn_first(c, STATES + rows + algorithms[algorithm].states);
    int parameters = fnn_first(c, PARAMETERS + rows);
    const fnn_tensor *hyper = c->in[HYPER];
    if (hyper->dtype != FNN_FLOAT64 || hyper->ndim != 1 || hyper->shape[0] != n ||
        !fnn_is_contiguous(hyper)) {
        return fnn_fail(
            c->err, FNN_ERR_VALUE,
            "%s: expected hyper of dtype float64 and shape (%d,), got %s %s",
            c->op->name, n, fnn_dtype_name(hyper->dtype), FNN_SHAPE(hyper));
    }
    const fnn_tensor *active = c->in[ACTIVE];
    if (active != NULL && (active->dtype != FNN_BOOL || active->ndim != 0)) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected active of dtype bool and shape (), got %s %s",
                        c->op->name, fnn_dtype_name(active->dtype), FNN_SHAPE(active));
    }
    for (int i = parameters; i < c->n_in; i++) {
        const int position = (i - parameters) % c->count;
        const bool of_gradients = (i - parameters) / c->count == 1;
        const fnn_tensor *t = c->in[i], *p = c->in[parameters + position];
        if (t == NULL) {
            continue;
        }
        if (i >= counters) {
            if (t->dtype != FNN_FLOAT64 || t->ndim != 0) {
                return fnn_fail(
                    c->err, FNN_ERR_VALUE,
                    "%s: expected %s of dtype float64 and shape (), got %s %s",
                    c->op->name, INPUT_NAME(i), fnn_dtype_name(t->dtype), FNN_SHAPE(t));
            }
        } else if (!fnn_is_float(t->dtype)) {
            return fnn_fail(c->err, FNN_ERR_TYPE, "%s: expected float %s, got %s",
                            c->op->name, INPUT_NAME(i), fnn_dtype_name(t->dtype));
        } else if (rows && of_gradients) {
            FNN_TRY(check_indices(c, position));
        } else if (t->dtype != p->dtype || !fnn_same_shape(t, p) ||
                   !fnn_is_contiguous(t)) {
            return fnn_fail(c->err, FNN_ERR_VALUE,
                            "%s: expected contiguous %s like the parameter, %s %s, got "
                            "%s %s at position %d",
                            c->op->name, INPUT_NAME(i), fnn_dtype_name(p->dtype),
                            FNN_SHAPE(p), fnn_dtype_name(t->dtype), FNN_SHAPE(t),
                            position);
        }
    }
    return FNN_OK;
}

/* ---- the step ------------------------------------------------------------------------ */

static double *counter(const fnn_call *c, int which, int k) {
    int at =
        fnn_first(c, STATES + of_rows(c) + algorithms[c->op->kernel].states + which);
    return (double *)(void *)c->in[at + k]->data;
}

/* Where tensor k's parameter, gradient and states begin (NULL: absent); its scalars. */
static fnn_step prepare(const fnn_call *c, int k, char **x) {
    int algorithm = c->op->kernel, n_counters = algorithms[algorithm].counters;
    int parameters = fnn_first(c, PARAMETERS + of_rows(c));
    facts f = {.hyper = (const double *)(const void *)c->in[HYPER]->data};
    fnn_step step = {{0}, 0};
    for (int a = 0; a < c->op->n_attr; a++) {
        f.flags |= c->attr[a].i ? algorithms[algorithm].attr[a] : 0;
    }
    for (int s = 0; s < 2 + FNN_STEP_STATES; s++) {
        const fnn_tensor *t = s < 2 + algorithms[algorithm].states
                                  ? c->in[parameters + s * c->count + k]
                                  : NULL;
        x[s] = t != NULL ? t->data : NULL;
        f.flags |= t != NULL && s >= 2 ? algorithms[algorithm].has[s - 2] : 0;
    }
    f.t = n_counters > 0 ? *counter(c, 0, k) : 0;
    f.product = n_counters > 1 ? *counter(c, 1, k) : 0;
    algorithms[algorithm].scalars(&f, &step);
    return step;
}

/* Elements [lo, hi) of all tensors end to end. */
static void step_range(void *context, int64_t lo, int64_t hi) {
    const fnn_call *c = context;
    for (int k = 0; k < c->count && hi > 0; k++) {
        const fnn_tensor *p = c->in[PARAMETERS + k];
        int64_t n = fnn_numel(p), from = fnn_max64(lo, 0), to = fnn_min64(hi, n);
        lo -= n;
        hi -= n;
        if (from >= to) {
            continue;
        }
        char *x[2 + FNN_STEP_STATES];
        void *at[2 + FNN_STEP_STATES];
        const fnn_step step = prepare(c, k, x);
        for (int s = 0; s < 2 + FNN_STEP_STATES; s++) {
            at[s] = x[s] ? x[s] + from * fnn_dtype_size(p->dtype) : NULL;
        }
        kernel(c->op->kernel, p->dtype)(to - from, at, &step);
    }
}

/* ---- the step of rows ---------------------------------------------------------------- */

int64_t fnn_workspace_step(const fnn_call *c) {
    int64_t most = 0;
    for (int k = 0; k < c->count; k++) {
        most = fnn_max64(most, c->in[PARAMETERS + k]->shape[0]);
    }
    return fnn_rows_bytes(most);
}

#define LINE 64
#define ROWS_AHEAD 4    /* rows that are fetched before their turn */
#define FETCH_MOST 4096 /* bytes of a row; the processor finds its way in longer ones */

typedef struct {
    const fnn_call *c;
    const fnn_row *rows;
    int64_t n, inner;
    const fnn_tensor *gradient;
    fnn_step step;
    char *x[2 + FNN_STEP_STATES];
} rows_job;

static void fetch_row(const rows_job *j, const fnn_row *row) {
    const ptrdiff_t bytes = j->inner * fnn_dtype_size(j->gradient->dtype);
    for (int s = 0; s < 2 + FNN_STEP_STATES && bytes <= FETCH_MOST; s++) {
        const char *at = j->x[s] + (s == 1 ? row->position : row->index) * bytes;
        for (ptrdiff_t b = 0; b < bytes && j->x[s] != NULL; b += LINE) {
            __builtin_prefetch(at + b, 0, 3);
        }
    }
}

/* The sorted rows whose run begins in [lo, hi). */
static void rows_range(void *context, int64_t lo, int64_t hi) {
    const rows_job *j = context;
    const int dtype = j->gradient->dtype;
    const ptrdiff_t item = fnn_dtype_size(dtype);
    fnn_step_fn step = kernel(j->c->op->kernel, dtype);
    _Alignas(64) char sum[FNN_CHUNK * 8];
    for (int64_t end, i = fnn_run_start(j->rows, lo, j->n); i < hi; i = end) {
        end = fnn_run_end(j->rows, i, j->n);
        for (int64_t next = i; next < end && next + ROWS_AHEAD < j->n; next++) {
            fetch_row(j, &j->rows[next + ROWS_AHEAD]);
        }
        for (int64_t at = 0; at < j->inner; at += FNN_CHUNK) {
            const int64_t m = fnn_min64(FNN_CHUNK, j->inner - at);
            void *x[2 + FNN_STEP_STATES];
            fnn_add_run(j->rows, i, end, j->gradient, j->inner, at, m, sum);
            for (int s = 0; s < 2 + FNN_STEP_STATES; s++) {
                x[s] = j->x[s] == NULL
                           ? NULL
                           : j->x[s] + (j->rows[i].index * j->inner + at) * item;
            }
            x[1] = sum;
            step(m, x, &j->step);
        }
    }
}

static fnn_status indices_within(const fnn_call *c) {
    for (int k = 0; k < c->count; k++) {
        const fnn_tensor *t = c->in[PARAMETERS + k];
        const int64_t size = c->in[fnn_first(c, PARAMETERS + 1) + k]->shape[0];
        const int64_t *index = (const int64_t *)(const void *)t->data;
        for (int64_t i = 0; i < t->shape[0]; i++) {
            if (index[i] < 0 || index[i] >= size) {
                return fnn_fail(
                    c->err, FNN_ERR_INDEX,
                    "%s: expected indices from 0 to %lld, got %lld at position %lld",
                    c->op->name, (long long)(size - 1), (long long)index[i],
                    (long long)i);
            }
        }
    }
    return FNN_OK;
}

static void step_rows(const fnn_call *c, int k) {
    const fnn_tensor *index = c->in[PARAMETERS + k];
    const fnn_tensor *p = c->in[fnn_first(c, PARAMETERS + 1) + k];
    rows_job j = {.c = c,
                  .n = index->shape[0],
                  .gradient = c->in[fnn_first(c, GRADIENTS + 1) + k]};
    if (fnn_numel(j.gradient) == 0) {
        return;
    }
    j.inner = fnn_numel(j.gradient) / j.n;
    j.step = prepare(c, k, j.x);
    j.rows = fnn_sort_rows(j.n, (const int64_t *)(const void *)index->data, p->shape[0],
                           c->workspace);
    fnn_parallel_for(j.n, GRAIN / j.inner + 1, rows_range, &j);
}

fnn_status fnn_run_step(fnn_call *c) {
    const fnn_tensor *active = c->in[ACTIVE];
    int n_counters = algorithms[c->op->kernel].counters;
    const double *hyper = (const double *)(const void *)c->in[HYPER]->data;
    int64_t total = 0;
    if (of_rows(c)) {
        FNN_TRY(indices_within(c)); /* before anything has changed */
    }
    if (active != NULL && !*(const uint8_t *)active->data) {
        return FNN_OK;
    }
    for (int k = 0; k < c->count; k++) {
        total += fnn_numel(c->in[PARAMETERS + k]);
        if (n_counters > 0) {
            *counter(c, 0, k) += 1;
        }
        if (n_counters > 1) {
            *counter(c, 1, k) *= nadam_mu(hyper, *counter(c, 0, k));
        }
    }
    if (!of_rows(c)) {
        fnn_parallel_for(total, GRAIN, step_range, c);
    }
    for (int k = 0; of_rows(c) && k < c->count; k++) {
        step_rows(c, k);
    }
    return FNN_OK;
}

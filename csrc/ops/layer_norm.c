/* Layer norm and group norm: rows that lie contiguous are normalised.
 *
 * x is (n, groups, each, s): a row is each * s elements. Where s is 1, as in layer norm,
 * which has one group, every element has a weight of its own; else every s elements share
 * one, and the kernels for a channel of batch norm do the work. Gradients of weights are
 * sums over n: of chunks of IMAGES images each, joined pairwise, or in float64 in order. */
#include "ops/normalise.h"

#include <math.h>

#include <string.h>

#define IMAGES 64 /* in a chunk of the gradients of weights */
#define ROWS 8    /* that are normalised, or whose gradients are written, together */
#define HALF_L1 16384
#define Y_AHEAD 2048 /* elements from what is written to what is fetched, at most */

typedef struct {
    int dtype;
    ptrdiff_t size;
    int64_t n, groups, each, s;
    int64_t c, row; /* channels, elements of a row */
    const char *x, *gy, *weight, *bias;
    const double *mean_in, *rstd_in;
    double *mean, *rstd;
    double eps;
    char *y, *gw, *gb;
    bool stream;
    double *partial;  /* s > 1: sums of each channel of each image, (n, c, 2) */
    char *weights[2]; /* s == 1: chunks of gw and of gb, (chunks, c) each */
    int64_t chunks;
} job;

static bool is_group(const fnn_call *c) { return c->op->kernel == 1; }

static job make_job(const fnn_call *c) {
    const fnn_tensor *x = c->in[0];
    job j = {.dtype = x->dtype, .size = fnn_dtype_size(x->dtype)};
    j.n = j.c = j.s = j.groups = 1;
    if (is_group(c)) {
        j.n = x->shape[0];
        j.c = x->shape[1];
        j.groups = c->attr[0].i;
        for (int d = 2; d < x->ndim; d++) {
            j.s *= x->shape[d];
        }
    } else {
        for (int d = 0; d < x->ndim; d++) {
            *(d < x->ndim - c->attr[0].i ? &j.n : &j.c) *= x->shape[d];
        }
    }
    j.each = j.c / j.groups;
    j.row = j.each * j.s;
    j.chunks = (j.n + IMAGES - 1) / IMAGES;
    return j;
}

int64_t fnn_workspace_layer_norm(const fnn_call *c) { return fnn_dense_bytes(c); }

int64_t fnn_workspace_layer_norm_backward(const fnn_call *c) {
    job j = make_job(c);
    int64_t own = j.s > 1 ? fnn_aligned(j.n * j.c * 16)
                          : 2 * fnn_aligned(j.chunks * j.c * j.size);
    return own + fnn_dense_bytes(c);
}

static void set_stream(job *j, int operands) {
    double bytes = (double)j->n * (double)j->c * (double)j->s * (double)j->size;
    int64_t run = j->s == 1 ? j->row : j->s;
    j->stream = fnn_streams(bytes * operands) && run * j->size % FNN_ALIGN == 0 &&
                (uintptr_t)j->y % FNN_ALIGN == 0;
}

static int64_t grain(int64_t elements) {
    return FNN_NORM_GRAIN / fnn_max64(1, elements) + 1;
}

static ptrdiff_t y_ahead(const job *j) { return fnn_min64(j->row, Y_AHEAD); }

/* ---- forward ------------------------------------------------------------------------ */

/* Of rows [lo, hi), at most ROWS. Their sums first: the square roots and divisions then
 * wait for nothing. */
static void statistics(const job *j, int64_t lo, int64_t hi) {
    const ptrdiff_t ahead = (hi - lo) * j->row;
    double moments[ROWS][3], n = (double)j->row;
    for (int64_t r = lo; r < hi; r++) {
        fnn_k->moments_row[FNN_F64(j->dtype)](j->row, j->x + r * j->row * j->size,
                                              ahead, moments[r - lo]);
    }
    for (int64_t r = lo; r < hi; r++) {
        const double *m = moments[r - lo];
        j->mean[r] = fnn_norm_mean(m[0], &m[1], n);
        j->rstd[r] = 1 / sqrt(fnn_norm_variance(&m[1], n) + j->eps);
    }
}

static void forward_row(const job *j, int64_t r) {
    const int f64 = FNN_F64(j->dtype);
    const int64_t first = r % j->groups * j->each; /* channel */
    const ptrdiff_t at = r * j->row * j->size;
    if (j->s == 1) {
        const char *w = j->weight ? j->weight + first * j->size : NULL;
        const char *b = j->bias ? j->bias + first * j->size : NULL;
        fnn_norm_line line = fnn_norm_forward(j->mean[r], j->rstd[r], 1, 0, j->dtype);
        fnn_k->normalise_row[f64](j->row, j->x + at, w, b, line.center, line.scale,
                                  line.shift, j->y + at, j->stream);
        return;
    }
    for (int64_t k = 0; k < j->each; k++) {
        fnn_norm_line line = fnn_norm_forward(
            j->mean[r], j->rstd[r], fnn_norm_get(j->weight, j->dtype, first + k, 1),
            fnn_norm_get(j->bias, j->dtype, first + k, 0), j->dtype);
        const ptrdiff_t from = at + k * j->s * j->size;
        fnn_segments s = {.rows = 1, .n = j->s, .x = j->x + from, .y = j->y + from};
        s.center = line.center;
        s.scale = line.scale;
        s.shift = line.shift;
        s.stream = j->stream;
        s.y_ahead = y_ahead(j);
        fnn_k->normalise[f64](&s);
    }
}

static void forward_rows(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    const int64_t fit = fnn_max64(1, HALF_L1 / (j->row * j->size));
    const int64_t block = fnn_min64(fit, ROWS);
    for (int64_t r = lo; r < hi; r += block) {
        const int64_t end = fnn_min64(r + block, hi);
        statistics(j, r, end);
        for (int64_t k = r; k < end; k++) {
            forward_row(j, k);
        }
    }
    if (j->stream) {
        fnn_stream_end();
    }
}

fnn_status fnn_run_layer_norm(fnn_call *c) {
    job j = make_job(c);
    char *room = c->workspace;
    j.eps = c->attr[1].f;
    j.mean = (double *)(void *)c->out[1].data;
    j.rstd = (double *)(void *)c->out[2].data;
    if (fnn_numel(c->in[0]) == 0) {
        for (int64_t r = 0; r < fnn_numel(&c->out[1]); r++) {
            j.mean[r] = 0;
            j.rstd[r] = 1 / sqrt(j.eps);
        }
        return FNN_OK;
    }
    j.x = fnn_dense(c, 0, &room);
    j.weight = fnn_dense(c, 1, &room);
    j.bias = fnn_dense(c, 2, &room);
    j.y = c->out[0].data;
    set_stream(&j, 2);
    fnn_parallel_for(j.n * j.groups, grain(j.row), forward_rows, &j);
    return FNN_OK;
}

/* ---- backward, a weight for each element -------------------------------------------- */

/* The gradients of ROWS images at most, of one group; gw and gb may be NULL. */
static void backward_rows(const job *j, int64_t image, int64_t rows, int64_t group,
                          char *gw, char *gb) {
    const int f64 = FNN_F64(j->dtype);
    const ptrdiff_t first = group * j->each * j->size;
    const char *w = j->weight ? j->weight + first : NULL;
    double constants[ROWS * FNN_NORM_CONSTANTS]; /* room for either dtype */
    for (int64_t k = 0; k < rows; k++) {
        const int64_t r = (image + k) * j->groups + group;
        const ptrdiff_t at = r * j->row * j->size;
        const double mean = j->mean_in[r], rstd = j->rstd_in[r], n = (double)j->row;
        fnn_norm_line line = fnn_norm_forward(mean, rstd, 1, 0, j->dtype);
        double sums[2];
        fnn_k->normalise_row_sums[f64](j->row, j->gy + at, j->x + at, w, line.center,
                                       sums);
        fnn_norm_slope slope =
            fnn_norm_backward(mean, line.center, rstd, sums[0] / n, sums[1] / n);
        const double all[FNN_NORM_CONSTANTS] = {line.center, line.scale, line.shift,
                                                slope.slope, slope.offset};
        for (int i = 0; i < FNN_NORM_CONSTANTS; i++) {
            fnn_norm_set((char *)constants, j->dtype, k * FNN_NORM_CONSTANTS + i,
                         all[i]);
        }
    }
    const ptrdiff_t at = (image * j->c * j->size) + first;
    fnn_norm_rows s = {.rows = rows, .n = j->row, .ld = j->c, .gy = j->gy + at};
    s.x = j->x + at;
    s.weight = w;
    s.constants = constants;
    s.gx = j->y + at;
    s.gw = gw ? gw + first : NULL;
    s.gb = gw ? gb + first : NULL;
    s.stream = j->stream;
    fnn_k->normalise_row_grad[f64](&s);
}

static void backward_chunks(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    for (int64_t k = lo; k < hi; k++) {
        char *gw = NULL, *gb = NULL;
        if (j->gw != NULL) {
            gw = j->weights[0] + k * j->c * j->size;
            gb = j->weights[1] + k * j->c * j->size;
            memset(gw, 0, (size_t)(j->c * j->size));
            memset(gb, 0, (size_t)(j->c * j->size));
        }
        const int64_t end = fnn_min64((k + 1) * IMAGES, j->n);
        /* gy, x and gx of these in the first level of cache; for fewer rows, gw and gb
         * would come and go too often */
        const int64_t block = 2 * ROWS * j->row * j->size > HALF_L1 ? ROWS / 2 : ROWS;
        for (int64_t i = k * IMAGES; i < end; i += block) {
            for (int64_t g = 0; g < j->groups; g++) {
                backward_rows(j, i, fnn_min64(block, end - i), g, gw, gb);
            }
        }
    }
    if (j->stream) {
        fnn_stream_end();
    }
}

/* ---- backward, s elements to a weight ----------------------------------------------- */

static void backward_groups(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    const int f64 = FNN_F64(j->dtype);
    for (int64_t r = lo; r < hi; r++) {
        const double mean = j->mean_in[r], rstd = j->rstd_in[r], n = (double)j->row;
        const double center = fnn_norm_round(mean, j->dtype);
        const int64_t first = r % j->groups * j->each;
        double total[2] = {0, 0}, *sums = j->partial + r * j->each * 2;
        fnn_segments s = {.rows = 1,
                          .n = j->s,
                          .center = center,
                          .ahead = j->row,
                          .y_ahead = y_ahead(j)};
        for (int64_t k = 0; k < j->each; k++) {
            const ptrdiff_t at = (r * j->row + k * j->s) * j->size;
            const double w = fnn_norm_get(j->weight, j->dtype, first + k, 1);
            s.x = j->x + at;
            s.gy = j->gy + at;
            fnn_k->normalise_sums[f64](&s, sums + 2 * k);
            total[0] += w * sums[2 * k];
            total[1] += w * sums[2 * k + 1];
            /* what the weights' gradients add up, see below */
            sums[2 * k + 1] = rstd * (sums[2 * k + 1] + (center - mean) * sums[2 * k]);
        }
        fnn_norm_slope slope =
            fnn_norm_backward(mean, center, rstd, total[0] / n, total[1] / n);
        s.slope = slope.slope;
        s.offset = slope.offset;
        s.scale = rstd;
        s.stream = j->stream;
        for (int64_t k = 0; k < j->each; k++) {
            const ptrdiff_t at = (r * j->row + k * j->s) * j->size;
            s.x = j->x + at;
            s.gy = j->gy + at;
            s.y = j->y + at;
            s.weight = fnn_norm_get(j->weight, j->dtype, first + k, 1);
            fnn_k->normalise_grad[f64](&s);
        }
    }
    if (j->stream) {
        fnn_stream_end();
    }
}

static void add_images(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    for (int64_t ch = lo; ch < hi; ch++) {
        double gw = 0, gb = 0;
        for (int64_t i = 0; i < j->n; i++) {
            gb += j->partial[(i * j->c + ch) * 2];
            gw += j->partial[(i * j->c + ch) * 2 + 1];
        }
        fnn_norm_set(j->gw, j->dtype, ch, gw);
        fnn_norm_set(j->gb, j->dtype, ch, gb);
    }
}

fnn_status fnn_run_layer_norm_backward(fnn_call *c) {
    job j = make_job(c);
    char *room = c->workspace;
    const bool parameters = c->attr[1].i != 0;
    if (parameters) {
        j.gw = c->out[1].data;
        j.gb = c->out[2].data;
    }
    if (fnn_numel(c->in[0]) == 0) {
        if (parameters) {
            memset(j.gw, 0, (size_t)(j.c * j.size));
            memset(j.gb, 0, (size_t)(j.c * j.size));
        }
        return FNN_OK;
    }
    j.partial = (double *)(void *)room;
    if (j.s > 1) {
        room += fnn_aligned(j.n * j.c * 16);
    } else if (j.chunks == 1) { /* joined as it is */
        j.weights[0] = j.gw;
        j.weights[1] = j.gb;
    } else {
        for (int i = 0; i < 2; i++) {
            j.weights[i] = room;
            room += fnn_aligned(j.chunks * j.c * j.size);
        }
    }
    j.gy = fnn_dense(c, 0, &room);
    j.x = fnn_dense(c, 1, &room);
    j.weight = fnn_dense(c, 2, &room);
    j.mean_in = (const double *)(const void *)fnn_dense(c, 3, &room);
    j.rstd_in = (const double *)(const void *)fnn_dense(c, 4, &room);
    j.y = c->out[0].data;
    set_stream(&j, 3);
    if (j.s > 1) {
        fnn_parallel_for(j.n * j.groups, grain(j.row), backward_groups, &j);
        if (parameters) {
            fnn_parallel_for(j.c, grain(j.n), add_images, &j);
        }
        return FNN_OK;
    }
    fnn_parallel_for(j.chunks, grain(IMAGES * j.c), backward_chunks, &j);
    if (parameters) {
        fnn_reduce_join_chunks(FNN_SUM, j.dtype, j.chunks, j.c, j.weights[0], j.gw);
        fnn_reduce_join_chunks(FNN_SUM, j.dtype, j.chunks, j.c, j.weights[1], j.gb);
    }
    return FNN_OK;
}

/* ---- shapes ------------------------------------------------------------------------- */

static fnn_status check_dims(const fnn_call *c, const fnn_tensor *x) {
    FNN_TRY(fnn_expect_float(c, 0, "input"));
    if (c->attr[0].i < 1 || c->attr[0].i > x->ndim) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected input with at least %lld dimensions, got %s",
                        c->op->name, (long long)fnn_max64(1, c->attr[0].i),
                        FNN_SHAPE(x));
    }
    return FNN_OK;
}

static fnn_status check_groups(const fnn_call *c, const fnn_tensor *x) {
    FNN_TRY(fnn_expect_float(c, 0, "input"));
    if (x->ndim < 2) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected input of shape (n, channels, ...), got %s",
                        c->op->name, FNN_SHAPE(x));
    }
    if (c->attr[0].i < 1 || x->shape[1] % c->attr[0].i != 0) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected channels that groups divides, got %lld channels "
                        "and %lld groups",
                        c->op->name, (long long)x->shape[1], (long long)c->attr[0].i);
    }
    return FNN_OK;
}

/* The shapes of the parameters and of the statistics. */
static fnn_status shapes(const fnn_call *c, fnn_tensor *parameters,
                         fnn_tensor *statistics) {
    const fnn_tensor *x = c->in[0];
    if (is_group(c)) {
        FNN_TRY(check_groups(c, x));
        const int64_t groups[2] = {x->shape[0], c->attr[0].i};
        fnn_norm_output(parameters, x->dtype, 1, &x->shape[1]);
        fnn_norm_output(statistics, FNN_FLOAT64, 2, groups);
    } else {
        FNN_TRY(check_dims(c, x));
        const int dims = (int)c->attr[0].i, lead = x->ndim - dims;
        fnn_norm_output(parameters, x->dtype, dims, &x->shape[lead]);
        fnn_norm_output(statistics, FNN_FLOAT64, lead, x->shape);
    }
    return FNN_OK;
}

static fnn_status infer_forward(fnn_call *c) {
    fnn_tensor parameters, statistics_;
    FNN_TRY(shapes(c, &parameters, &statistics_));
    FNN_TRY(fnn_norm_expect(c, 1, "weight", parameters.ndim, parameters.shape));
    FNN_TRY(fnn_norm_expect(c, 2, "bias", parameters.ndim, parameters.shape));
    fnn_like(&c->out[0], c->in[0], c->in[0]->dtype);
    fnn_norm_output(&c->out[1], FNN_FLOAT64, statistics_.ndim, statistics_.shape);
    fnn_norm_output(&c->out[2], FNN_FLOAT64, statistics_.ndim, statistics_.shape);
    return fnn_check_size(c, &c->out[0]);
}

static fnn_status infer_backward(fnn_call *c) {
    const fnn_tensor *gy = c->in[0];
    fnn_tensor p, s;
    FNN_TRY(shapes(c, &p, &s));
    FNN_TRY(fnn_norm_expect(c, 1, "x", gy->ndim, gy->shape));
    FNN_TRY(fnn_norm_expect(c, 2, "weight", p.ndim, p.shape));
    FNN_TRY(fnn_norm_expect_statistics(c, 3, "mean", s.ndim, s.shape));
    FNN_TRY(fnn_norm_expect_statistics(c, 4, "rstd", s.ndim, s.shape));
    fnn_like(&c->out[0], gy, gy->dtype);
    for (int i = 1; i < 3; i++) {
        if (c->attr[1].i) {
            fnn_norm_output(&c->out[i], gy->dtype, p.ndim, p.shape);
        } else {
            fnn_norm_output(&c->out[i], gy->dtype, 1, &(int64_t){0});
        }
    }
    return fnn_check_size(c, &c->out[0]);
}

fnn_status fnn_infer_layer_norm(fnn_call *c) { return infer_forward(c); }
fnn_status fnn_infer_group_norm(fnn_call *c) { return infer_forward(c); }
fnn_status fnn_infer_layer_norm_backward(fnn_call *c) { return infer_backward(c); }
fnn_status fnn_infer_group_norm_backward(fnn_call *c) { return infer_backward(c); }

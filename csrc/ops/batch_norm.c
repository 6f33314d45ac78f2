/* Batch norm, and scale_shift, what it is in evaluation.
 *
 * x is (n, c, s): n images of c channels with s elements. A channel is cut into pieces of
 * about PIECE elements, by n and s alone; their sums are added in order, so threads change
 * no bit. With enough channels a thread takes whole ones: what the first pass reads from
 * memory, the second finds in the cache. With few, all pieces of all channels are
 * summed, then all are written. Where s is 1, channels lie side by side, a lane each. */
#include "ops/normalise.h"

#include <math.h>

#include <string.h>

#define PIECE 32768
#define STRIP 64 /* channels side by side that a thread takes */

typedef struct {
    int dtype;
    ptrdiff_t size;
    int64_t n, c, s;
    int64_t images, parts, pieces; /* images in a piece, or pieces in an image */
    const char *x, *gy, *other, *weight, *bias;
    const double *mean_in, *rstd_in; /* backward */
    double *mean, *rstd;             /* forward */
    char *y, *masked, *gw, *gb;
    const fnn_tensor *running_mean, *running_var;
    double eps, factor;
    int act;
    bool stream;
    double *partial; /* sums of pieces: [c][pieces][2]; side by side [pieces][2][c] */
    char *constants; /* side by side: vectors of c numbers */
    bool given;      /* scale_shift: its numbers are weight and bias */
} job;

static void set_pieces(job *j) {
    if (j->s == 1) {
        j->images = fnn_max64(1, PIECE / fnn_max64(j->c, 1));
        j->parts = 1;
        j->pieces = (j->n + j->images - 1) / j->images;
        return;
    }
    j->images = fnn_max64(1, PIECE / fnn_max64(j->s, 1));
    j->parts = fnn_max64(1, (j->s + PIECE - 1) / PIECE);
    j->pieces = (j->n + j->images - 1) / j->images * j->parts;
}

static job make_job(const fnn_tensor *x) {
    job j = {.dtype = x->dtype, .size = fnn_dtype_size(x->dtype), .n = x->shape[0]};
    j.c = x->shape[1];
    j.s = 1;
    for (int d = 2; d < x->ndim; d++) {
        j.s *= x->shape[d];
    }
    set_pieces(&j);
    return j;
}

#define CONSTANTS 5
static int64_t own_bytes(const job *j) {
    return fnn_aligned(j->c * j->pieces * 16) + CONSTANTS * fnn_aligned(j->c * j->size);
}
static void take_own(job *j, char **room) {
    j->partial = (double *)(void *)*room;
    j->constants = *room + fnn_aligned(j->c * j->pieces * 16);
    *room += own_bytes(j);
}
static char *constant(const job *j, int k) {
    return j->constants + k * fnn_aligned(j->c * j->size);
}

int64_t fnn_workspace_batch_norm(const fnn_call *c) {
    job j = make_job(c->in[0]);
    return own_bytes(&j) + fnn_dense_bytes(c);
}

static fnn_status check_x(const fnn_call *c, int x, const char *name) {
    FNN_TRY(fnn_expect_float(c, x, name));
    if (c->in[x]->ndim < 2) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected %s of shape (n, channels, ...), got %s",
                        c->op->name, name, FNN_SHAPE(c->in[x]));
    }
    return FNN_OK;
}

static fnn_status check_act(const fnn_call *c, int64_t act) {
    if (act != FNN_ACT_NONE && act != FNN_ACT_RELU) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected act 0 (none) or 1 (relu), got %lld", c->op->name,
                        (long long)act);
    }
    return FNN_OK;
}

static bool streams(const job *j, int operands) {
    double bytes = (double)j->n * (double)j->c * (double)j->s * (double)j->size;
    return fnn_streams(bytes * operands) && j->s * j->size % FNN_ALIGN == 0 &&
           (uintptr_t)j->y % FNN_ALIGN == 0;
}

/* ---- pieces ------------------------------------------------------------------------- */

/* Piece p of channel ch; what it points to is moved from the start of x to there. */
static fnn_segments piece(const job *j, int64_t ch, int64_t p) {
    int64_t first = p / j->parts * j->images, from = p % j->parts * PIECE;
    ptrdiff_t at = ((first * j->c + ch) * j->s + from) * j->size;
    fnn_segments s = {.rows = fnn_min64(j->images, j->n - first),
                      .n = fnn_min64(j->s - from, j->parts > 1 ? PIECE : j->s),
                      .ld = j->c * j->s,
                      .x = j->x + at,
                      .act = j->act,
                      .ahead = j->c * j->s};
    s.gy = j->gy ? j->gy + at : NULL;
    s.other = j->other ? j->other + at : NULL;
    s.y = j->y ? j->y + at : NULL;
    s.masked = j->masked ? j->masked + at : NULL;
    return s;
}

static double count(const job *j) { return (double)j->n * (double)j->s; }

static double channel_center(const job *j, int64_t ch) {
    return fnn_norm_center(j->x + ch * j->s * j->size, j->dtype);
}

static void update(const fnn_tensor *t, int64_t ch, double factor, double value) {
    double old = fnn_norm_get(t->data, t->dtype, ch * t->stride[0], 0);
    fnn_norm_set(t->data, t->dtype, ch * t->stride[0],
                 (1 - factor) * old + factor * value);
}

/* Statistics of channel ch from its sums. */
static void settle(const job *j, int64_t ch, double center, const double *sums) {
    double n = count(j), variance = fnn_norm_variance(sums, n);
    j->mean[ch] = fnn_norm_mean(center, sums, n);
    j->rstd[ch] = 1 / sqrt(variance + j->eps);
    if (j->running_mean != NULL) {
        update(j->running_mean, ch, j->factor, j->mean[ch]);
    }
    if (j->running_var != NULL) {
        update(j->running_var, ch, j->factor, variance * (n / (n - 1)));
    }
}

static fnn_norm_line line_of(const job *j, int64_t ch) {
    double weight = fnn_norm_get(j->weight, j->dtype, ch, 1);
    double bias = fnn_norm_get(j->bias, j->dtype, ch, 0);
    if (j->given) {
        return (fnn_norm_line){0, weight, bias};
    }
    const double *mean = j->gy ? j->mean_in : j->mean;
    const double *rstd = j->gy ? j->rstd_in : j->rstd;
    return fnn_norm_forward(mean[ch], rstd[ch], weight, bias, j->dtype);
}

/* Forward: the piece's sums. Backward: the same of gradients. */
static void sum_piece(const job *j, int64_t ch, int64_t p, double *sums) {
    fnn_segments s = piece(j, ch, p);
    if (j->gy == NULL) {
        s.center = channel_center(j, ch);
        fnn_k->moments[FNN_F64(j->dtype)](&s, sums);
        return;
    }
    fnn_norm_line line = line_of(j, ch);
    s.center = line.center;
    s.scale = line.scale;
    s.shift = line.shift;
    fnn_k->normalise_sums[FNN_F64(j->dtype)](&s, sums);
}

/* Backward: the gradients of weight and bias of channel ch. */
static fnn_norm_slope settle_backward(const job *j, int64_t ch, const double *sums) {
    double n = count(j), mean = j->mean_in[ch], rstd = j->rstd_in[ch];
    double center = fnn_norm_round(mean, j->dtype);
    fnn_norm_slope slope =
        fnn_norm_backward(mean, center, rstd, sums[0] / n, sums[1] / n);
    fnn_norm_set(j->gw, j->dtype, ch, rstd * (sums[1] + (center - mean) * sums[0]));
    fnn_norm_set(j->gb, j->dtype, ch, sums[0]);
    return slope;
}

static void write_piece(const job *j, int64_t ch, int64_t p, fnn_norm_slope slope) {
    fnn_segments s = piece(j, ch, p);
    fnn_norm_line line = line_of(j, ch);
    s.center = line.center;
    s.scale = line.scale;
    s.shift = line.shift;
    s.stream = j->stream;
    s.ahead = j->s; /* the next channel lies behind this one */
    if (j->gy == NULL) {
        s.y_ahead = j->c * j->s;
        fnn_k->normalise[FNN_F64(j->dtype)](&s);
        return;
    }
    s.weight = 1; /* in scale already */
    s.slope = slope.slope;
    s.offset = slope.offset;
    if (s.masked != NULL) { /* the first pass has masked it */
        s.gy = s.masked;
        s.act = FNN_ACT_NONE;
        s.other = NULL;
    }
    fnn_k->normalise_grad[FNN_F64(j->dtype)](&s);
}

/* ---- whole channels ----------------------------------------------------------------- */

static void add_up(const double *partial, int64_t pieces, double *sums) {
    sums[0] = sums[1] = 0;
    for (int64_t p = 0; p < pieces; p++) {
        sums[0] += partial[2 * p];
        sums[1] += partial[2 * p + 1];
    }
}

static fnn_norm_slope settle_channel(const job *j, int64_t ch) {
    double sums[2];
    add_up(j->partial + ch * j->pieces * 2, j->pieces, sums);
    if (j->gy != NULL) {
        return settle_backward(j, ch, sums);
    }
    settle(j, ch, channel_center(j, ch), sums);
    return (fnn_norm_slope){0, 0};
}

static void channels(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    for (int64_t ch = lo; ch < hi; ch++) {
        for (int64_t p = 0; p < j->pieces; p++) {
            sum_piece(j, ch, p, j->partial + (ch * j->pieces + p) * 2);
        }
        fnn_norm_slope slope = settle_channel(j, ch);
        for (int64_t p = 0; p < j->pieces; p++) {
            write_piece(j, ch, p, slope);
        }
    }
    if (j->stream) {
        fnn_stream_end();
    }
}

static void sum_pieces(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    for (int64_t i = lo; i < hi; i++) {
        sum_piece(j, i / j->pieces, i % j->pieces, j->partial + i * 2);
    }
}

static void write_pieces(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    for (int64_t i = lo; i < hi; i++) {
        int64_t ch = i / j->pieces;
        fnn_norm_slope slope = {0, 0};
        if (j->gy != NULL) { /* run_segments left it there */
            const double *kept = j->partial + ch * j->pieces * 2;
            slope = (fnn_norm_slope){kept[0], kept[1]};
        }
        write_piece(j, ch, i % j->pieces, slope);
    }
    if (j->stream) {
        fnn_stream_end();
    }
}

static void run_segments(job *j) {
    int64_t each = fnn_max64(1, j->n * j->s);
    bool few = j->c < 4 * fnn_num_threads() && fnn_num_threads() > 1;
    if (!few) {
        fnn_parallel_for(j->c, FNN_NORM_GRAIN / each + 1, channels, j);
        return;
    }
    int64_t grain = FNN_NORM_GRAIN / fnn_max64(1, each / j->pieces) + 1;
    fnn_parallel_for(j->c * j->pieces, grain, sum_pieces, j);
    for (int64_t ch = 0; ch < j->c; ch++) {
        fnn_norm_slope slope = settle_channel(j, ch);
        j->partial[ch * j->pieces * 2] = slope.slope;
        j->partial[ch * j->pieces * 2 + 1] = slope.offset;
    }
    fnn_parallel_for(j->c * j->pieces, grain, write_pieces, j);
}

/* ---- side by side ------------------------------------------------------------------- */

/* Rows [first, first + rows) of channels [ch, ch + cols). */
static fnn_columns block(const job *j, int64_t first, int64_t rows, int64_t ch,
                         int64_t cols) {
    ptrdiff_t at = (first * j->c + ch) * j->size;
    fnn_columns s = {.rows = rows, .cols = cols, .ld = j->c, .act = j->act};
    s.x = j->x + at;
    s.gy = j->gy ? j->gy + at : NULL;
    s.other = j->other ? j->other + at : NULL;
    s.y = j->y ? j->y + at : NULL;
    s.masked = j->masked ? j->masked + at : NULL;
    const void **to[CONSTANTS] = {&s.center, &s.scale, &s.shift, &s.slope, &s.offset};
    for (int k = 0; k < CONSTANTS; k++) {
        *to[k] = constant(j, k) + ch * j->size;
    }
    return s;
}

static void sum_blocks(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    int64_t strips = (j->c + STRIP - 1) / STRIP;
    for (int64_t i = lo; i < hi; i++) {
        int64_t p = i / strips, ch = i % strips * STRIP, first = p * j->images;
        fnn_columns s = block(j, first, fnn_min64(j->images, j->n - first), ch,
                              fnn_min64(STRIP, j->c - ch));
        fnn_k->normalise_column_sums[FNN_F64(j->dtype)](
            &s, j->partial + p * 2 * j->c + ch, j->c);
    }
}

static void write_rows(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    fnn_columns s = block(j, lo, hi - lo, 0, j->c);
    if (s.masked != NULL) {
        s.gy = s.masked;
        s.act = FNN_ACT_NONE;
        s.other = NULL;
    }
    fnn_k->normalise_columns[FNN_F64(j->dtype)](&s);
}

static void set_line(const job *j, int64_t ch, fnn_norm_line line,
                     fnn_norm_slope slope) {
    const double value[CONSTANTS] = {line.center, line.scale, line.shift, slope.slope,
                                     slope.offset};
    for (int k = 0; k < CONSTANTS; k++) {
        fnn_norm_set(constant(j, k), j->dtype, ch, value[k]);
    }
}

static void run_columns(job *j) {
    const fnn_norm_slope none = {0, 0};
    for (int64_t ch = 0; ch < j->c; ch++) {
        fnn_norm_line line = {0, 0, 0};
        line.center = j->gy ? 0 : j->given ? 0 : channel_center(j, ch);
        set_line(j, ch, j->gy || j->given ? line_of(j, ch) : line, none);
    }
    if (!j->given) {
        int64_t tasks = j->pieces * ((j->c + STRIP - 1) / STRIP);
        int64_t each = fnn_min64(j->images, j->n) * fnn_min64(STRIP, j->c);
        fnn_parallel_for(tasks, FNN_NORM_GRAIN / each + 1, sum_blocks, j);
        for (int64_t ch = 0; ch < j->c; ch++) {
            double sums[2] = {0, 0};
            for (int64_t p = 0; p < j->pieces; p++) {
                sums[0] += j->partial[p * 2 * j->c + ch];
                sums[1] += j->partial[(p * 2 + 1) * j->c + ch];
            }
            fnn_norm_slope slope = none;
            if (j->gy != NULL) {
                slope = settle_backward(j, ch, sums);
            } else {
                settle(j, ch, channel_center(j, ch), sums);
            }
            set_line(j, ch, line_of(j, ch), slope);
        }
    }
    fnn_parallel_for(j->n, FNN_NORM_GRAIN / j->c + 1, write_rows, j);
}

static void run_batch(job *j) {
    if (j->s == 1) {
        run_columns(j);
    } else {
        run_segments(j);
    }
}

/* ---- the ops ------------------------------------------------------------------------ */

fnn_status fnn_infer_batch_norm(fnn_call *c) {
    const fnn_tensor *x = c->in[0], *batches = c->in[6];
    FNN_TRY(check_x(c, 0, "input"));
    FNN_TRY(check_act(c, c->attr[2].i));
    const char *names[] = {"", "weight", "bias", "", "running_mean", "running_var"};
    for (int i = 1; i < 6; i++) {
        if (i != 3) {
            FNN_TRY(fnn_norm_expect(c, i, names[i], 1, &x->shape[1]));
        }
    }
    FNN_TRY(fnn_norm_expect(c, 3, "residual", x->ndim, x->shape));
    if (batches != NULL && (batches->dtype != FNN_INT64 || batches->ndim != 0)) {
        return fnn_fail(c->err, FNN_ERR_TYPE,
                        "batch_norm: expected batches as int64 of shape (), got %s of "
                        "shape %s",
                        fnn_dtype_name(batches->dtype), FNN_SHAPE(batches));
    }
    if (c->attr[1].f < 0 && batches == NULL) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "batch_norm: expected batches, to be counted, for momentum %g",
                        c->attr[1].f);
    }
    for (int i = 4; i < 6; i++) {
        if (c->in[i] != NULL) {
            FNN_TRY(fnn_expect_own_memory(c, c->in[i]));
        }
    }
    int64_t values = x->shape[0];
    for (int d = 2; d < x->ndim; d++) {
        values *= x->shape[d];
    }
    if (values == 1 && x->shape[1] > 0) {
        return fnn_fail(
            c->err, FNN_ERR_VALUE,
            "batch_norm: expected more than 1 value per channel in training, "
            "got input of shape %s",
            FNN_SHAPE(x));
    }
    fnn_like(&c->out[0], x, x->dtype);
    fnn_norm_output(&c->out[1], FNN_FLOAT64, 1, &x->shape[1]);
    fnn_norm_output(&c->out[2], FNN_FLOAT64, 1, &x->shape[1]);
    return fnn_check_size(c, &c->out[0]);
}

fnn_status fnn_run_batch_norm(fnn_call *c) {
    job j = make_job(c->in[0]);
    char *room = c->workspace;
    take_own(&j, &room);
    j.eps = c->attr[0].f;
    j.factor = c->attr[1].f;
    j.act = (int)c->attr[2].i;
    if (c->in[6] != NULL) {
        int64_t batches = ++*(int64_t *)(void *)c->in[6]->data;
        j.factor = j.factor < 0 ? 1 / (double)batches : j.factor;
    }
    j.mean = (double *)(void *)c->out[1].data;
    j.rstd = (double *)(void *)c->out[2].data;
    if (fnn_numel(c->in[0]) == 0) {
        for (int64_t ch = 0; ch < j.c; ch++) {
            j.mean[ch] = 0;
            j.rstd[ch] = 1 / sqrt(j.eps);
        }
        return FNN_OK;
    }
    j.x = fnn_dense(c, 0, &room);
    j.weight = fnn_dense(c, 1, &room);
    j.bias = fnn_dense(c, 2, &room);
    j.other = fnn_dense(c, 3, &room);
    j.running_mean = c->in[4];
    j.running_var = c->in[5];
    j.y = c->out[0].data;
    j.stream = streams(&j, j.other ? 3 : 2);
    run_batch(&j);
    return FNN_OK;
}

fnn_status fnn_infer_batch_norm_backward(fnn_call *c) {
    const fnn_tensor *gy = c->in[0];
    FNN_TRY(check_x(c, 0, "gy"));
    FNN_TRY(check_act(c, c->attr[0].i));
    FNN_TRY(fnn_norm_expect(c, 1, "x", gy->ndim, gy->shape));
    FNN_TRY(fnn_norm_expect(c, 2, "weight", 1, &gy->shape[1]));
    FNN_TRY(fnn_norm_expect(c, 3, "bias", 1, &gy->shape[1]));
    FNN_TRY(fnn_norm_expect_statistics(c, 4, "mean", 1, &gy->shape[1]));
    FNN_TRY(fnn_norm_expect_statistics(c, 5, "rstd", 1, &gy->shape[1]));
    FNN_TRY(fnn_norm_expect(c, 6, "y", gy->ndim, gy->shape));
    fnn_like(&c->out[0], gy, gy->dtype);
    fnn_norm_output(&c->out[1], gy->dtype, 1, &gy->shape[1]);
    fnn_norm_output(&c->out[2], gy->dtype, 1, &gy->shape[1]);
    fnn_norm_output(&c->out[3], gy->dtype, 1, &(int64_t){0});
    if (c->attr[1].i) {
        fnn_like(&c->out[3], gy, gy->dtype);
    }
    return fnn_check_size(c, &c->out[0]);
}

fnn_status fnn_run_batch_norm_backward(fnn_call *c) {
    job j = make_job(c->in[0]);
    char *room = c->workspace;
    take_own(&j, &room);
    j.act = (int)c->attr[0].i;
    j.gw = c->out[1].data;
    j.gb = c->out[2].data;
    if (fnn_numel(c->in[0]) == 0) {
        memset(j.gw, 0, (size_t)(j.c * j.size));
        memset(j.gb, 0, (size_t)(j.c * j.size));
        return FNN_OK;
    }
    j.gy = fnn_dense(c, 0, &room);
    j.x = fnn_dense(c, 1, &room);
    j.weight = fnn_dense(c, 2, &room);
    j.bias = fnn_dense(c, 3, &room);
    j.mean_in = (const double *)(const void *)fnn_dense(c, 4, &room);
    j.rstd_in = (const double *)(const void *)fnn_dense(c, 5, &room);
    j.other = j.act ? fnn_dense(c, 6, &room) : NULL;
    j.y = c->out[0].data;
    if (c->attr[1].i && j.act) {
        j.masked = c->out[3].data;
    } else if (c->attr[1].i) {
        memcpy(c->out[3].data, j.gy, (size_t)(j.n * j.c * j.s * j.size));
    }
    j.stream = streams(&j, 3);
    run_batch(&j);
    return FNN_OK;
}

/* Channel i % c of image i / c, for each i. */
static void write_maps(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    for (int64_t i = lo; i < hi; i++) {
        const ptrdiff_t at = i * j->s * j->size;
        const fnn_norm_line line = line_of(j, i % j->c);
        fnn_segments s = {.rows = 1, .n = j->s, .x = j->x + at, .y = j->y + at};
        s.other = j->other ? j->other + at : NULL;
        s.center = line.center;
        s.scale = line.scale;
        s.shift = line.shift;
        s.act = j->act;
        s.stream = j->stream;
        fnn_k->normalise[FNN_F64(j->dtype)](&s);
    }
    if (j->stream) {
        fnn_stream_end();
    }
}

fnn_status fnn_infer_scale_shift(fnn_call *c) {
    const fnn_tensor *x = c->in[0];
    FNN_TRY(check_x(c, 0, "input"));
    FNN_TRY(check_act(c, c->attr[0].i));
    FNN_TRY(fnn_norm_expect(c, 1, "scale", 1, &x->shape[1]));
    FNN_TRY(fnn_norm_expect(c, 2, "shift", 1, &x->shape[1]));
    FNN_TRY(fnn_norm_expect(c, 3, "residual", x->ndim, x->shape));
    fnn_like(&c->out[0], x, x->dtype);
    return fnn_check_size(c, &c->out[0]);
}

fnn_status fnn_run_scale_shift(fnn_call *c) {
    job j = make_job(c->in[0]);
    char *room = c->workspace;
    take_own(&j, &room);
    if (fnn_numel(c->in[0]) == 0) {
        return FNN_OK;
    }
    j.given = true;
    j.act = (int)c->attr[0].i;
    j.x = fnn_dense(c, 0, &room);
    j.weight = fnn_dense(c, 1, &room);
    j.bias = fnn_dense(c, 2, &room);
    j.other = fnn_dense(c, 3, &room);
    j.y = c->out[0].data;
    j.stream = streams(&j, j.other ? 3 : 2);
    if (j.s == 1) {
        run_columns(&j);
    } else { /* in the order of memory */
        fnn_parallel_for(j.n * j.c, FNN_NORM_GRAIN / j.s + 1, write_maps, &j);
    }
    return FNN_OK;
}

/* Random numbers: Philox4x32-10, indexed by element; kernels/random.inc.h draws.
 *
 * state is int64 (2,): the seed and the next counter block. Element i of a draw comes from
 * block (next + i / per_block), so threads cannot change a bit; the op then advances the
 * state past the blocks that it used. */
#include "ops.h"

#define GRAIN_BLOCKS 4096
#define DRAWN 256 /* steps of a permutation drawn at once */

typedef struct {
    uint64_t seed, next;
    int dtype, per_block; /* elements a block gives */
    int64_t n;
    double a, b;
    char *y;
    fnn_draw_fn draw;    /* uniform, normal */
    const fnn_tensor *x; /* dropout, bernoulli */
    uint8_t *mask;
} job;

static fnn_status check_state(const fnn_call *c) {
    const fnn_tensor *s = c->in[0];
    if (s->dtype != FNN_INT64 || s->ndim != 1 || s->shape[0] != 2 ||
        !fnn_is_contiguous(s)) {
        return fnn_fail(
            c->err, FNN_ERR_VALUE,
            "%s: expected generator state of dtype int64 and shape (2,), got %s "
            "%s",
            c->op->name, fnn_dtype_name(s->dtype), FNN_SHAPE(s));
    }
    return FNN_OK;
}

static fnn_status set_shape(fnn_call *c, const fnn_attr *shape, int dtype) {
    fnn_tensor *y = &c->out[0];
    y->dtype = dtype;
    y->ndim = shape->n;
    bool good = true;
    for (int d = 0; d < shape->n; d++) {
        y->shape[d] = shape->ints[d];
        good &= shape->ints[d] >= 0;
    }
    if (!good) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected sizes of at least 0, got %s", c->op->name,
                        FNN_SHAPE(y));
    }
    fnn_set_contiguous(y);
    return fnn_check_size(c, y);
}

fnn_status fnn_infer_random(fnn_call *c) {
    FNN_TRY(check_state(c));
    if (c->attr[3].i != FNN_FLOAT32 && c->attr[3].i != FNN_FLOAT64) {
        return fnn_fail(c->err, FNN_ERR_TYPE, "%s: expected dtype float32 or float64",
                        c->op->name);
    }
    return set_shape(c, &c->attr[0], (int)c->attr[3].i);
}

fnn_status fnn_infer_permutation(fnn_call *c) {
    FNN_TRY(check_state(c));
    if (c->attr[0].i < 0) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "permutation: expected n of at least 0, got %lld",
                        (long long)c->attr[0].i);
    }
    fnn_attr shape = {.n = 1, .ints = {c->attr[0].i}};
    return set_shape(c, &shape, FNN_INT64);
}

fnn_status fnn_infer_dropout(fnn_call *c) {
    FNN_TRY(check_state(c));
    FNN_TRY(fnn_expect_float(c, 1, "x"));
    if (!(c->attr[0].f >= 0 && c->attr[0].f <= 1)) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "dropout: expected p from 0 to 1, got %g", c->attr[0].f);
    }
    fnn_like(&c->out[0], c->in[1], c->in[1]->dtype);
    fnn_like(&c->out[1], c->in[1], FNN_BOOL);
    return fnn_check_size(c, &c->out[0]);
}

/* The next counter block, the state moved past `blocks` of them: at once, so that threads
 * that draw from one generator never share numbers. */
static uint64_t take_blocks(int64_t *state, int64_t blocks) {
    return (uint64_t)__atomic_fetch_add(&state[1], blocks, __ATOMIC_RELAXED);
}

static job start(const fnn_call *c, int dtype, int64_t n, int per_block) {
    int64_t *state = (int64_t *)(void *)c->in[0]->data;
    return (job){.seed = (uint64_t)state[0],
                 .next = take_blocks(state, (n + per_block - 1) / per_block),
                 .dtype = dtype,
                 .n = n,
                 .per_block = per_block,
                 .y = c->out[0].data};
}

static void run_blocks(job *j, void (*fn)(void *, int64_t, int64_t)) {
    fnn_parallel_for((j->n + j->per_block - 1) / j->per_block, GRAIN_BLOCKS, fn, j);
}

/* The elements of blocks lo to hi - 1: the first one, and how many. */
static int64_t first_of(const job *j, int64_t lo, int64_t hi, ptrdiff_t *n) {
    int64_t first = lo * j->per_block;
    *n = fnn_min64(hi * j->per_block, j->n) - first;
    return first;
}

static void draw_blocks(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    ptrdiff_t n;
    int64_t first = first_of(j, lo, hi, &n);
    j->draw(n, j->seed, j->next + (uint64_t)lo, j->a, j->b,
            j->y + first * fnn_dtype_size(j->dtype));
}

static fnn_status run_draw(const fnn_call *c, const fnn_draw_fn draw[2]) {
    int dtype = c->out[0].dtype;
    job j = start(c, dtype, fnn_numel(&c->out[0]), dtype == FNN_FLOAT32 ? 4 : 2);
    j.a = c->attr[1].f;
    j.b = c->attr[2].f;
    j.draw = draw[FNN_F64(dtype)];
    run_blocks(&j, draw_blocks);
    return FNN_OK;
}

fnn_status fnn_run_uniform(fnn_call *c) { return run_draw(c, fnn_k->uniform); }
fnn_status fnn_run_normal(fnn_call *c) { return run_draw(c, fnn_k->normal); }

/* n elements of x from `first` on: in place where they lie so, else gathered into y. */
static const void *elements(const job *j, int64_t first, ptrdiff_t n, void *y) {
    if (fnn_is_contiguous(j->x)) {
        return j->x->data + first * fnn_dtype_size(j->dtype);
    }
    fnn_gather(y, j->dtype, j->x, first, n);
    return y;
}

/* y = x / (1 - p) where kept, 0 where dropped; word i decides element i. */
static void dropout_blocks(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    ptrdiff_t size = fnn_dtype_size(j->dtype);
    for (int64_t block = lo; block < hi; block += FNN_CHUNK / 4) {
        ptrdiff_t n;
        int64_t i = first_of(j, block, fnn_min64(hi, block + FNN_CHUNK / 4), &n);
        char *y = j->y + i * size;
        if (j->a == 1) { /* no word is 2^32 */
            memset(y, 0, (size_t)(n * size));
            memset(j->mask + i, 0, (size_t)n);
            continue;
        }
        fnn_k->dropout[FNN_F64(j->dtype)](n, j->seed, j->next + (uint64_t)block, j->a,
                                          elements(j, i, n, y), y, j->mask + i);
    }
}

fnn_status fnn_run_dropout(fnn_call *c) {
    int dtype = c->out[0].dtype;
    job j = start(c, dtype, fnn_numel(&c->out[0]), 4);
    j.a = c->attr[0].f;
    j.x = c->in[1];
    j.mask = (uint8_t *)c->out[1].data;
    run_blocks(&j, dropout_blocks);
    return FNN_OK;
}

fnn_status fnn_infer_bernoulli(fnn_call *c) {
    FNN_TRY(check_state(c));
    FNN_TRY(fnn_expect_float(c, 1, "p"));
    fnn_like(&c->out[0], c->in[1], c->in[1]->dtype);
    return fnn_check_size(c, &c->out[0]);
}

/* y = 1 where a uniform number is below p, else 0 */
static void bernoulli_blocks(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    ptrdiff_t size = fnn_dtype_size(j->dtype);
    int f64 = FNN_F64(j->dtype), per_chunk = FNN_CHUNK / j->per_block;
    _Alignas(64) char u[FNN_CHUNK * 8], one[16 * 8], zero[16 * 8] = {0};
    uint8_t below[FNN_CHUNK];
    fnn_convert(one, j->dtype, size, &(double){1}, FNN_FLOAT64, 0, 16); /* a splat */
    for (int64_t block = lo; block < hi; block += per_chunk) {
        ptrdiff_t n;
        int64_t i = first_of(j, block, fnn_min64(hi, block + per_chunk), &n);
        char *y = j->y + i * size;
        fnn_k->uniform[f64](n, j->seed, j->next + (uint64_t)block, 0, 1, u);
        fnn_k->map[FNN_MAP_lt][f64](n, below, (const void *[]){u, elements(j, i, n, y)},
                                    (ptrdiff_t[]){1, 1});
        fnn_k->map[FNN_MAP_where][f64](n, y, (const void *[]){below, one, zero},
                                       (ptrdiff_t[]){1, 0, 0});
    }
}

fnn_status fnn_run_bernoulli(fnn_call *c) {
    double low, high;
    if (!fnn_in_unit(c->in[1], &low, &high)) { /* before the state moves on */
        return fnn_fail(
            c->err, FNN_ERR_VALUE,
            "%s: expected probabilities from 0 to 1, got values from %g to %g",
            c->op->name, low, high);
    }
    int dtype = c->out[0].dtype;
    job j = start(c, dtype, fnn_numel(&c->out[0]), dtype == FNN_FLOAT32 ? 4 : 2);
    j.x = c->in[1];
    run_blocks(&j, bernoulli_blocks);
    return FNN_OK;
}

/* Fisher and Yates; two words a step, scaled (bias below n / 2^64). */
fnn_status fnn_run_permutation(fnn_call *c) {
    int64_t n = fnn_numel(&c->out[0]);
    int64_t *y = (int64_t *)(void *)c->out[0].data;
    int64_t *state = (int64_t *)(void *)c->in[0]->data;
    uint64_t seed = (uint64_t)state[0], next = take_blocks(state, n / 2 + 1);
    for (int64_t i = 0; i < n; i++) {
        y[i] = i;
    }
    uint64_t r[DRAWN + FNN_RANDOM_MARGIN / 8];
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t draw = n - 1 - i;
        if (draw % DRAWN == 0) {
            fnn_k->random_bits[1](fnn_min64(i, DRAWN), seed,
                                  next + (uint64_t)(draw / 2), r);
        }
        int64_t k =
            (int64_t)((unsigned __int128)r[draw % DRAWN] * (uint64_t)(i + 1) >> 64);
        int64_t swap = y[i];
        y[i] = y[k];
        y[k] = swap;
    }
    return FNN_OK;
}

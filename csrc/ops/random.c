/* Random numbers: Philox4x32-10, indexed by element.
 *
 * state is int64 (2,): the seed and the next counter block. Element i of a draw comes from
 * block (next + i / per_block), so threads cannot change a bit; the op then advances the
 * state past the blocks that it used. */
#include "philox.h"
#include "ops.h"

#define GRAIN_BLOCKS 4096
#define PAIRS 256 /* Box-Muller pairs a piece */

typedef struct {
    uint64_t seed, next;
    int dtype, per_block; /* elements a block gives */
    int64_t n;
    double a, b;
    char *y;
    /* dropout, bernoulli */
    const fnn_tensor *x;
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

static double unit53(uint32_t hi, uint32_t lo) { /* [0, 1) in steps of 2^-53 */
    return (double)(((uint64_t)hi << 32 | lo) >> 11) * 0x1p-53;
}

static void uniform_blocks(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    double width = j->b - j->a;
    for (int64_t block = lo; block < hi; block++) {
        fnn_philox_block w = fnn_philox(j->seed, j->next + (uint64_t)block, 0);
        for (int k = 0; k < j->per_block && block * j->per_block + k < j->n; k++) {
            int64_t i = block * j->per_block + k;
            if (j->dtype == FNN_FLOAT32) {
                float low = (float)j->a,
                      y = low + (float)(w.word[k] >> 8) * 0x1p-24f * (float)width;
                ((float *)(void *)j->y)[i] = y < (float)j->b || width <= 0 ? y : low;
            } else {
                double y = j->a + unit53(w.word[2 * k], w.word[2 * k + 1]) * width;
                ((double *)(void *)j->y)[i] = y < j->b || width <= 0 ? y : j->a;
            }
        }
    }
}

fnn_status fnn_run_uniform(fnn_call *c) {
    int dtype = c->out[0].dtype;
    job j = start(c, dtype, fnn_numel(&c->out[0]), dtype == FNN_FLOAT32 ? 4 : 2);
    j.a = c->attr[1].f;
    j.b = c->attr[2].f;
    run_blocks(&j, uniform_blocks);
    return FNN_OK;
}

static void normal_blocks(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    bool f32 = j->dtype == FNN_FLOAT32;
    int pairs_per_block = j->per_block / 2;
    _Alignas(64) double u1[PAIRS], u2[PAIRS];
    float *a32 = (float *)(void *)u1, *b32 = (float *)(void *)u2;
    for (int64_t first = lo; first < hi; first += PAIRS / pairs_per_block) {
        int64_t last = fnn_min64(hi, first + PAIRS / pairs_per_block);
        int64_t pairs = 0;
        for (int64_t block = first; block < last; block++) {
            fnn_philox_block w = fnn_philox(j->seed, j->next + (uint64_t)block, 0);
            if (f32) {
                a32[pairs] = (float)((w.word[0] >> 8) + 1) * 0x1p-24f;
                b32[pairs++] = (float)(w.word[1] >> 8) * 0x1p-24f;
                a32[pairs] = (float)((w.word[2] >> 8) + 1) * 0x1p-24f;
                b32[pairs++] = (float)(w.word[3] >> 8) * 0x1p-24f;
            } else {
                u1[pairs] = unit53(w.word[0], w.word[1]) + 0x1p-53;
                u2[pairs++] = unit53(w.word[2], w.word[3]);
            }
        }
        fnn_k->box_muller[!f32](pairs, u1, u2);
        for (int64_t k = 0; k < 2 * pairs; k++) {
            int64_t i = first * j->per_block + k;
            if (i >= j->n) {
                break;
            }
            if (f32) {
                float z = k % 2 ? b32[k / 2] : a32[k / 2];
                ((float *)(void *)j->y)[i] = (float)j->a + z * (float)j->b;
            } else {
                double z = k % 2 ? u2[k / 2] : u1[k / 2];
                ((double *)(void *)j->y)[i] = j->a + z * j->b;
            }
        }
    }
}

fnn_status fnn_run_normal(fnn_call *c) {
    int dtype = c->out[0].dtype;
    job j = start(c, dtype, fnn_numel(&c->out[0]), dtype == FNN_FLOAT32 ? 4 : 2);
    j.a = c->attr[1].f;
    j.b = c->attr[2].f;
    run_blocks(&j, normal_blocks);
    return FNN_OK;
}

/* y = x / (1 - p) where kept, 0 where dropped; word i decides element i. */
static void dropout_blocks(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    double p = j->a, scale = p < 1 ? 1 / (1 - p) : 0;
    uint64_t threshold = (uint64_t)(p * 0x1p32);
    ptrdiff_t size = fnn_dtype_size(j->dtype);
    for (int64_t block = lo; block < hi; block += FNN_CHUNK / 4) {
        int64_t first = block * 4;
        int64_t n = fnn_min64(fnn_min64(hi * 4, j->n) - first, FNN_CHUNK);
        fnn_gather(j->y + first * size, j->dtype, j->x, first, n);
        for (int64_t k = 0; k < n; k += 4) {
            uint64_t index = j->next + (uint64_t)((first + k) / 4);
            fnn_philox_block w = fnn_philox(j->seed, index, 0);
            for (int64_t i = first + k; i < first + fnn_min64(k + 4, n); i++) {
                bool keep = w.word[i % 4] >= threshold;
                j->mask[i] = keep;
                if (j->dtype == FNN_FLOAT32) {
                    float *y = (float *)(void *)j->y + i;
                    *y = keep ? *y * (float)scale : 0.0f;
                } else {
                    double *y = (double *)(void *)j->y + i;
                    *y = keep ? *y * scale : 0.0;
                }
            }
        }
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

/* y = 1 where the uniform number that y holds is below p, else 0 */
static void bernoulli_range(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    ptrdiff_t size = fnn_dtype_size(j->dtype);
    _Alignas(8) char p[FNN_CHUNK * 8];
    for (int64_t i = lo; i < hi; i += FNN_CHUNK) {
        ptrdiff_t n = fnn_min64(hi - i, FNN_CHUNK);
        fnn_gather(p, j->dtype, j->x, i, n);
        for (ptrdiff_t k = 0; k < n; k++) {
            if (j->dtype == FNN_FLOAT32) {
                float *y = (float *)(void *)(j->y + (i + k) * size);
                *y = *y < ((float *)(void *)p)[k];
            } else {
                double *y = (double *)(void *)(j->y + (i + k) * size);
                *y = *y < ((double *)(void *)p)[k];
            }
        }
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
    j.b = 1;
    j.x = c->in[1];
    run_blocks(&j, uniform_blocks);
    fnn_parallel_for(j.n, 4 * GRAIN_BLOCKS, bernoulli_range, &j);
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
    fnn_philox_block w = {{0}};
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t draw = n - 1 - i;
        if (draw % 2 == 0) {
            w = fnn_philox(seed, next + (uint64_t)(draw / 2), 0);
        }
        uint64_t r =
            (uint64_t)w.word[2 * (draw % 2)] << 32 | w.word[2 * (draw % 2) + 1];
        int64_t k = (int64_t)((unsigned __int128)r * (uint64_t)(i + 1) >> 64);
        int64_t swap = y[i];
        y[i] = y[k];
        y[k] = swap;
    }
    return FNN_OK;
}

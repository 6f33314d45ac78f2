/* See sequence.h. */
#include "rnn/sequence.h"

#include "ops/ops.h"

#include <string.h>

int64_t fnn_sequence_bytes(int64_t steps, int64_t batch) {
    return fnn_aligned((2 * batch + 2 * steps + 1) * (int64_t)sizeof(int64_t));
}

fnn_status fnn_sequence_set(fnn_sequence *s, int64_t steps, int64_t batch,
                            const fnn_tensor *lengths, void *room, const char *op,
                            fnn_error *err) {
    *s = (fnn_sequence){.steps = steps, .batch = batch, .rows = steps * batch};
    if (lengths == NULL) {
        return FNN_OK;
    }
    int64_t *order = room, *length = order + batch;
    int64_t *active = length + batch, *first = active + steps;
    memset(active, 0, (size_t)steps * sizeof *active);
    if (batch > 0) {
        fnn_gather(length, FNN_INT64, lengths, 0,
                   batch); /* once: others may write it */
    }
    for (int64_t b = 0; b < batch; b++) {
        const int64_t n = length[b];
        if (n < 0 || n > steps) {
            return fnn_fail(err, FNN_ERR_VALUE,
                            "%s: expected lengths from 0 to %lld, got %lld at position "
                            "%lld",
                            op, (long long)steps, (long long)n, (long long)b);
        }
        if (n > 0) {
            active[n - 1]++;
        }
    }
    for (int64_t t = steps - 2; t >= 0; t--) {
        active[t] += active[t + 1];
    }
    /* Sequences of length n begin where those that are longer end. */
    for (int64_t n = 0; n <= steps; n++) {
        first[n] = n < steps ? active[n] : 0;
    }
    for (int64_t b = 0; b < batch; b++) {
        order[first[length[b]]++] = b;
    }
    first[0] = 0;
    for (int64_t t = 0; t < steps; t++) {
        first[t + 1] = first[t] + active[t];
    }
    s->rows = first[steps];
    s->order = order;
    s->active = active;
    s->first = first;
    return FNN_OK;
}

/* A row of x, and a packed one, which is contiguous. */
static void take_row(const fnn_rows *x, const char *row, char *packed) {
    const ptrdiff_t size = fnn_dtype_size(x->dtype);
    fnn_convert(packed, x->dtype, size, row, x->dtype, x->col * size, x->width);
}
static void put_row(const fnn_rows *x, char *row, const char *packed) {
    const ptrdiff_t size = fnn_dtype_size(x->dtype);
    fnn_convert(row, x->dtype, x->col * size, packed, x->dtype, size, x->width);
}

typedef struct {
    const fnn_sequence *s;
    const fnn_rows *x;
    char *packed;
    const char *source;
} job;

static void pack_steps(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    const fnn_rows *x = j->x;
    const ptrdiff_t size = fnn_dtype_size(x->dtype);
    for (int64_t t = lo; t < hi; t++) {
        char *to = j->packed + fnn_sequence_first(j->s, t) * x->width * size;
        for (int64_t r = 0; r < fnn_sequence_active(j->s, t); r++) {
            const int64_t at = t * x->step + fnn_sequence_of(j->s, r) * x->row;
            take_row(x, x->data + at * size, to);
            to += x->width * size;
        }
    }
}

static void unpack_steps(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    const fnn_rows *x = j->x;
    const ptrdiff_t size = fnn_dtype_size(x->dtype);
    for (int64_t t = lo; t < hi; t++) {
        const int64_t active = fnn_sequence_active(j->s, t);
        const char *from = j->source + fnn_sequence_first(j->s, t) * x->width * size;
        for (int64_t r = 0; r < j->s->batch; r++) {
            const int64_t at = t * x->step + fnn_sequence_of(j->s, r) * x->row;
            char *to = x->data + at * size;
            if (r < active) {
                put_row(x, to, from);
                from += x->width * size;
                continue;
            }
            for (int64_t i = 0; i < x->width; i++) {
                memset(to + i * x->col * size, 0, (size_t)size);
            }
        }
    }
}

static int64_t grain(const fnn_sequence *s, const fnn_rows *x) {
    return FNN_MAP_GRAIN / fnn_max64(1, s->batch * x->width) + 1;
}

void fnn_rows_pack(const fnn_sequence *s, const fnn_rows *x, char *packed) {
    job j = {.s = s, .x = x, .packed = packed};
    fnn_parallel_for(s->steps, grain(s, x), pack_steps, &j);
}

void fnn_rows_unpack(const fnn_sequence *s, const char *packed, const fnn_rows *x) {
    job j = {.s = s, .x = x, .source = packed};
    fnn_parallel_for(s->steps, grain(s, x), unpack_steps, &j);
}

void fnn_states_pack(const fnn_sequence *s, const fnn_rows *x, char *packed) {
    const ptrdiff_t size = fnn_dtype_size(x->dtype);
    for (int64_t r = 0; r < s->batch; r++) {
        take_row(x, x->data + fnn_sequence_of(s, r) * x->row * size,
                 packed + r * x->width * size);
    }
}

void fnn_states_unpack(const fnn_sequence *s, const char *packed, const fnn_rows *x) {
    const ptrdiff_t size = fnn_dtype_size(x->dtype);
    for (int64_t r = 0; r < s->batch; r++) {
        put_row(x, x->data + fnn_sequence_of(s, r) * x->row * size,
                packed + r * x->width * size);
    }
}

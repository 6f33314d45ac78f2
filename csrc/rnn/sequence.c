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

/* to[i * to_step] = from[i * from_step], i < n */
static void move(int64_t n, ptrdiff_t size, char *to, int64_t to_step, const char *from,
                 int64_t from_step) {
    if (to_step == 1 && from_step == 1) {
        memcpy(to, from, (size_t)(n * size));
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        memcpy(to + i * to_step * size, from + i * from_step * size, (size_t)size);
    }
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
    for (int64_t t = lo; t < hi; t++) {
        char *to = j->packed + fnn_sequence_first(j->s, t) * x->width * x->size;
        for (int64_t r = 0; r < fnn_sequence_active(j->s, t); r++) {
            const int64_t at = t * x->step + fnn_sequence_of(j->s, r) * x->row;
            move(x->width, x->size, to, 1, x->data + at * x->size, x->col);
            to += x->width * x->size;
        }
    }
}

static void unpack_steps(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    const fnn_rows *x = j->x;
    for (int64_t t = lo; t < hi; t++) {
        const int64_t active = fnn_sequence_active(j->s, t);
        const char *from = j->source + fnn_sequence_first(j->s, t) * x->width * x->size;
        for (int64_t r = 0; r < j->s->batch; r++) {
            const int64_t at = t * x->step + fnn_sequence_of(j->s, r) * x->row;
            char *to = x->data + at * x->size;
            if (r < active) {
                move(x->width, x->size, to, x->col, from, 1);
                from += x->width * x->size;
                continue;
            }
            for (int64_t i = 0; i < x->width; i++) {
                memset(to + i * x->col * x->size, 0, (size_t)x->size);
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
    for (int64_t r = 0; r < s->batch; r++) {
        move(x->width, x->size, packed + r * x->width * x->size, 1,
             x->data + fnn_sequence_of(s, r) * x->row * x->size, x->col);
    }
}

void fnn_states_unpack(const fnn_sequence *s, const char *packed, const fnn_rows *x) {
    for (int64_t r = 0; r < s->batch; r++) {
        move(x->width, x->size, x->data + fnn_sequence_of(s, r) * x->row * x->size,
             x->col, packed + r * x->width * x->size, 1);
    }
}

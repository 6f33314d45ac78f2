/* Sequences of different lengths, without their padding.
 *
 * Sequences are ordered by length, the longest first; those of one length stay in their
 * order. At step t the first active(t) of them are still there, and the rows of step t
 * follow those of step t - 1. Where all have one length nothing moves: row (t, b) of a
 * (steps, batch, ...) tensor is packed row t * batch + b. */
#ifndef FNN_RNN_SEQUENCE_H
#define FNN_RNN_SEQUENCE_H

#include "core.h"

typedef struct {
    int64_t steps, batch;
    int64_t rows;          /* packed ones: the sum of all lengths */
    const int64_t *order;  /* [batch], or NULL: all have one length */
    const int64_t *active; /* [steps] */
    const int64_t *first;  /* [steps + 1]: where a step's rows begin */
} fnn_sequence;

static inline int64_t fnn_sequence_active(const fnn_sequence *s, int64_t t) {
    return s->active != NULL ? s->active[t] : s->batch;
}
static inline int64_t fnn_sequence_first(const fnn_sequence *s, int64_t t) {
    return s->first != NULL ? s->first[t] : t * s->batch;
}
static inline int64_t fnn_sequence_of(const fnn_sequence *s, int64_t row) {
    return s->order != NULL ? s->order[row] : row;
}

/* Bytes that fnn_sequence_set wants where there are lengths. */
int64_t fnn_sequence_bytes(int64_t steps, int64_t batch);
/* lengths: integers (batch,), each from 0 to steps, or NULL. */
fnn_status fnn_sequence_set(fnn_sequence *s, int64_t steps, int64_t batch,
                            const fnn_tensor *lengths, void *room, const char *op,
                            fnn_error *err);

/* Rows of `width` elements of a tensor whose element (t, b, j) lies at data + t step + b
 * row + j col; step, row and col in elements. */
typedef struct {
    char *data;
    int64_t width, step, row, col;
    int dtype;
} fnn_rows;

/* Packed rows, contiguous, from x, and back; back writes zeros where a sequence has ended. */
void fnn_rows_pack(const fnn_sequence *s, const fnn_rows *x, char *packed);
void fnn_rows_unpack(const fnn_sequence *s, const char *packed, const fnn_rows *x);
/* One row a sequence, in their order: (batch, width); step is not read. */
void fnn_states_pack(const fnn_sequence *s, const fnn_rows *x, char *packed);
void fnn_states_unpack(const fnn_sequence *s, const char *packed, const fnn_rows *x);

#endif

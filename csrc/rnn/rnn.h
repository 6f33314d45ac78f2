/* A recurrent layer in one direction over whole sequences, forward and backward.
 *
 * Forward: the products of all steps' inputs are one GEMM; then, step by step, the product
 * of the states with weights laid out once, block of units by block, and behind each block
 * what the cell does beside it. Backward: step by step what the cell does, and the product
 * of its gradients with the weights; then the gradients of weights and inputs, each one GEMM
 * over all steps. Threads share the sequences of a batch, and never meet between steps. */
#ifndef FNN_RNN_H
#define FNN_RNN_H

#include "core.h"
#include "rnn/product.h"
#include "rnn/sequence.h"

typedef enum { FNN_CELL_RNN, FNN_CELL_GRU, FNN_CELL_LSTM } fnn_cell_kind;

/* What a call of the op rows is; tensors that it lacks are NULL. gates is what units have:
 * 1, 3, 4. state is units, or what an LSTM's are projected to. */
typedef struct {
    fnn_cell_kind kind;
    int act;
    bool reverse;
    int dtype, threads;
    ptrdiff_t size;
    int64_t steps, batch, in, units, state, gates;
    const char *name;
    const fnn_tensor *x, *w_ih, *w_hh, *b_ih, *b_hh, *h0, *lengths, *c0, *w_hr;
    /* forward; saved: see fnn_rnn_saved */
    const fnn_tensor *y, *hn, *cn, *saved;
    bool save;
    /* backward; y and saved are read. needs: a bit for each of the gradients */
    const fnn_tensor *gy, *ghn, *gcn;
    const fnn_tensor *gx, *gh0, *gw_ih, *gw_hh, *gb_ih, *gb_hh, *gc0, *gw_hr;
} fnn_rnn;

/* Numbers that forward keeps for backward, for each row of every step. All rows' gates come
 * first, units apart: r, u, n and n's product with h of a GRU; i, f, g, o of an LSTM, then
 * all rows' cells before the step and, where it projects, states before that. */
static inline int64_t fnn_rnn_saved(const fnn_rnn *r) {
    const int64_t blocks[] = {0, 4, r->w_hr != NULL ? 6 : 5};
    return blocks[r->kind] * r->units;
}

int64_t fnn_rnn_forward_workspace(const fnn_rnn *r);
fnn_status fnn_rnn_forward(const fnn_rnn *r, void *workspace, fnn_error *err);
int64_t fnn_rnn_backward_workspace(const fnn_rnn *r);
fnn_status fnn_rnn_backward(const fnn_rnn *r, void *workspace, fnn_error *err);

/* ---- shared ------------------------------------------------------------------------- */

/* Steps from which it pays to lay the weights out. */
#define FNN_RNN_PACKED 3
/* Into how many pieces the batch is cut: one for each thread, if there is enough to do. */
int64_t fnn_rnn_pieces(const fnn_rnn *r);
/* Where piece i of `pieces` begins, so that all have about the same rows. */
int64_t fnn_rnn_start(const fnn_sequence *s, int64_t pieces, int64_t i);
/* Whether rows of all steps stand equally far apart, *row elements, within them one. */
bool fnn_rnn_even(const fnn_tensor *x, int64_t *row);
/* t (steps, batch, width) and (batch, width) as rows. */
fnn_rows fnn_rnn_rows(const fnn_tensor *t);
fnn_rows fnn_rnn_states(const fnn_tensor *t);
/* to (batch, width): given (batch, width), the sequences in their order; or zeros. */
void fnn_rnn_start_states(const fnn_sequence *s, const fnn_tensor *given, int64_t width,
                          ptrdiff_t size, char *to);
/* (rows, n) from rows of a weight's inputs, or turned by its transpose: as one GEMM, where it
 * is not laid out; and laid out, for steps of at most so many rows. */
fnn_gemm_args fnn_rnn_state_product(const fnn_rnn *r, const fnn_tensor *weight,
                                    bool turned, int64_t rows);
void fnn_rnn_set_product(fnn_rnn_product *p, const fnn_rnn *r, const fnn_tensor *weight,
                         bool turned, ptrdiff_t gates, int64_t rows, char **at);
/* Workspace of a GEMM that may turn out to have fewer rows or terms, where there are
 * lengths. */
int64_t fnn_rnn_gemm_bytes(const fnn_rnn *r, const fnn_gemm_args *g);
/* Where a workspace begins whose size is asked for. */
#define FNN_RNN_NOWHERE ((char *)FNN_ALIGN)
/* So many bytes past p, which is NULL where a tensor has no memory yet. */
static inline char *fnn_rnn_past(char *p, int64_t bytes) {
    return p == NULL ? NULL : p + bytes;
}
/* The next so many bytes of a workspace. */
static inline char *fnn_rnn_take(char **at, int64_t bytes) {
    char *here = *at;
    *at += fnn_aligned(bytes);
    return here;
}

#endif

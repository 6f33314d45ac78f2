/* What kernels of sequences take: recurrent cells, attention. */
#ifndef FNN_SEQUENCES_H
#define FNN_SEQUENCES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- recurrent cells: see kernels/cell.inc.h ------------------------------------- */

/* One step of `units` units for `rows` sequences. Gates stand `gate` elements apart, but
 * z_gate in z. */
typedef struct {
    ptrdiff_t rows, units, gate;
    const void *z; /* products with the state */
    ptrdiff_t z_row, z_gate;
    const void *x; /* products with the input */
    ptrdiff_t x_row;
    const void *bias; /* of all gates; then, of a GRU, that of the new gate's z */
    ptrdiff_t ahead;  /* elements from x to what is read soon, which is fetched */
    const void *h;    /* GRU: the state before */
    ptrdiff_t h_row;
    void *c; /* LSTM: the cells, which move on */
    ptrdiff_t c_row;
    void *y, *state; /* the state after; `state` is a second copy, or NULL */
    ptrdiff_t y_row, state_row;
    void *gates; /* what backward reads, or NULL; may be x */
    ptrdiff_t gates_row;
    void *before; /* LSTM, with gates: the cells before, c_row apart */
    int act;      /* RNN: fnn_activation, tanh or relu */
} fnn_cell;
typedef void (*fnn_cell_fn)(const fnn_cell *s);

/* Backward. gh_total = gy + gh. */
typedef struct {
    ptrdiff_t rows, units, gate;
    const void *gy; /* or NULL */
    ptrdiff_t gy_row;
    const void *gh; /* from the step after */
    ptrdiff_t gh_row;
    const void *gates; /* as forward left them */
    ptrdiff_t gates_row;
    const void *h; /* GRU: the state before; RNN: the one after */
    ptrdiff_t h_row;
    const void *before; /* LSTM: the cells before, gc_row apart */
    void *gc; /* LSTM: from the step after; becomes that for the step before */
    ptrdiff_t gc_row;
    void *
        gz; /* gradients of what gates sum; GRU: n, r, u, and of the n's product with h */
    ptrdiff_t gz_row;
    void *direct; /* GRU: what goes straight to the state before, gh_row apart */
    int act;
} fnn_cell_back;
typedef void (*fnn_cell_back_fn)(const fnn_cell_back *s);

/* ---- attention -------------------------------------------------------------------- */

/* Attention's blocks of scores; see kernels/attention.inc.h. Row i, of n at s[i * ld], is
 * that of a query; only the first limit + i * slope keys take part, and of these what the
 * mask says: where it is true, or the score and what it adds. mask_row elements from one
 * row to the next; mask_same: one for all keys. ld is a multiple of the lanes. */
enum {
    FNN_ATTENTION_NONE,
    FNN_ATTENTION_BOOL,
    FNN_ATTENTION_FLOAT,
    FNN_ATTENTION_SAME /* inside the kernels: one number added to the whole row */
};
typedef struct {
    ptrdiff_t rows, n;
    void *s, *d;
    ptrdiff_t ld;
    const void *mask;
    ptrdiff_t mask_row;
    int mask_kind;
    bool mask_same;
    ptrdiff_t limit, slope;
    void *top, *total;
    void *y;
    ptrdiff_t y_row, width;
    bool first;
} fnn_attention_scores;
/* attention_softmax: s becomes exp(s - top), 0 for what takes no part; top[i] and total[i],
 * the largest score and the sum of exponentials, move on from those of earlier keys, and so
 * does row i of y, of `width` elements: times exp(old top - top). first: there were none.
 * attention_grad: s becomes p = exp(s - top), and d, as large, p (d - total). */
typedef void (*fnn_attention_fn)(const fnn_attention_scores *g);
/* y[i][j] = x[i][j] by, where by is factor, or 1 / total[i], 0 where that is 0. */
typedef void (*fnn_attention_scale_fn)(ptrdiff_t rows, ptrdiff_t n, const void *x,
                                       ptrdiff_t x_row, double factor,
                                       const void *total, void *y, ptrdiff_t y_row);
/* dots[i] = sum_j a[i][j] b[i][j]. */
typedef void (*fnn_attention_dots_fn)(ptrdiff_t rows, ptrdiff_t n, const void *a,
                                      ptrdiff_t a_row, const void *b, ptrdiff_t b_row,
                                      void *dots);

#endif

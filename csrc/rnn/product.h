/* The product of states with recurrent weights, step after step: the weights are laid out
 * once for all steps, in blocks of units with all of their gates, so that what follows a
 * product can take each block while it is in the first level of cache. Bits are those of
 * fnn_gemm. */
#ifndef FNN_RNN_PRODUCT_H
#define FNN_RNN_PRODUCT_H

#include "gemm/gemm.h"

typedef struct {
    int dtype;
    ptrdiff_t size; /* bytes of an element */
    const fnn_gemm_tile *kernel;
    ptrdiff_t k, units, gates; /* sums of k terms; gates results a unit */
    ptrdiff_t block;           /* units of a block */
    ptrdiff_t blocks;
    bool few; /* so few rows that a block is one matrix, (k, gates, units) */
    /* weight of gate g, unit u, term p: weight[g * gate + u * unit + p * term] */
    const char *weight;
    ptrdiff_t gate, unit, term;
    char *panels;
} fnn_rnn_product;

/* For steps of at most `rows` rows. */
void fnn_rnn_product_set(fnn_rnn_product *p, int dtype, ptrdiff_t rows, ptrdiff_t k,
                         ptrdiff_t units, ptrdiff_t gates);
/* Bytes of panels, and of a packed operand of that many rows. */
int64_t fnn_rnn_product_bytes(const fnn_rnn_product *p);
int64_t fnn_rnn_operand_bytes(const fnn_rnn_product *p, ptrdiff_t rows);
/* Fills panels, in parallel. */
void fnn_rnn_product_pack(const fnn_rnn_product *p);

/* Units of block u, and elements between its gates in a result. */
static inline ptrdiff_t fnn_rnn_units(const fnn_rnn_product *p, ptrdiff_t u) {
    return fnn_min64(p->block, p->units - u * p->block);
}
static inline ptrdiff_t fnn_rnn_width(const fnn_rnn_product *p, ptrdiff_t u) {
    return fnn_round_up(fnn_rnn_units(p, u), p->kernel->lanes);
}

/* What blocks read of a step's rows, (rows, k), `row` elements apart: themselves, or packed
 * into room. */
typedef struct {
    const char *data;
    ptrdiff_t rows, row;
} fnn_rnn_operand;
fnn_rnn_operand fnn_rnn_operand_of(const fnn_rnn_product *p, ptrdiff_t rows,
                                   const char *x, ptrdiff_t row, char *room);

/* c(i, g, j) = sum over terms, for the units j of block u; rows of c stand ldc elements
 * apart, gates fnn_rnn_width, and for one gate the residual is added, which lies as c does. */
void fnn_rnn_product_block(const fnn_rnn_product *p, ptrdiff_t u,
                           const fnn_rnn_operand *a, char *c, ptrdiff_t ldc,
                           const char *residual);

#endif

/* The matrix product: c = act(a @ b + bias + residual), batched, any strides of a and b. */
#ifndef FNN_GEMM_H
#define FNN_GEMM_H

#include "core.h"
#include "kernels.h"

typedef struct {
    int dtype; /* FNN_FLOAT32 or FNN_FLOAT64 */
    int64_t batch, m, n, k;
    /* Strides in elements, of any value: zero and negative are legal. */
    const void *a; /* (batch, m, k) */
    int64_t a_batch, a_row, a_col;
    const void *b; /* (batch, k, n) */
    int64_t b_batch, b_row, b_col;
    /* B was laid out in advance, in panels: (panels, k, FNN_GEMM_PANEL), contiguous, the
     * last one padded; b_row is FNN_GEMM_PANEL then, b_col 1. */
    bool b_panels;
    void *c; /* (batch, m, n), columns 1 apart; overlaps neither a nor b */
    int64_t c_batch, c_row;
    const void *bias;     /* (n), or NULL: nothing is added */
    const void *residual; /* lies as c does and does not overlap it, or NULL */
    int act;              /* fnn_activation */
    /* Most threads to use; 0: fnn_num_threads(). A caller that keeps a workspace
     * fixes the number here, for the workspace of fnn_gemm_workspace grows with it. */
    int threads;
} fnn_gemm_args;

#define FNN_GEMM_PANEL 64 /* columns of a panel: a multiple of every tile's */

/* Bytes of workspace that fnn_gemm needs for g, often 0. Fewer rows may need more, for then
 * another path may be the best one. */
int64_t fnn_gemm_workspace(const fnn_gemm_args *g);
/* Bytes that are enough for g and batch 1, whatever m and k. */
int64_t fnn_gemm_workspace_any(const fnn_gemm_args *g);

/* c = act(a @ b + bias + residual). Each element is the sum, in increasing order, of
 * the k-blocks of FNN_GEMM_KC, each one FMA chain from zero in increasing k; then bias,
 * then residual, then act: its bits do not depend on m, n, batch, strides, threads or ISA.
 * workspace (64-byte aligned for speed) is not shared with another call at the same
 * time. */
void fnn_gemm(const fnn_gemm_args *g, void *workspace);

#endif

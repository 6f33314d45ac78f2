/* What the two passes of attention share: operands, and products of blocks. */
#ifndef FNN_ATTENTION_H
#define FNN_ATTENTION_H

#include "gemm/blocking.h"
#include "gemm/gemm.h"
#include "ops.h"

/* A tensor (batch ..., rows, columns), columns 1 apart: batch has as many strides as the
 * job has batch dimensions. */
typedef struct {
    char *data;
    int64_t row, batch[FNN_MAX_DIMS];
} fnn_attention_operand;

typedef struct {
    int dtype, f64;
    ptrdiff_t size;
    const fnn_gemm_tile *tile;
    int batch_dims;
    int64_t batch[FNN_MAX_DIMS];
    int64_t heads; /* of the whole batch */
    int64_t l, s, e, v_width;
    fnn_attention_operand q, k, v, mask, y, top, total;
    fnn_attention_operand gy, gq, gk, gv; /* backward */
    int mask_kind;
    bool mask_same;
    double scale;
    bool causal;
    int64_t chunk; /* rows of a unit */
    int64_t units, workers;
    char *scratch;
    int64_t scratch_bytes; /* of a worker */
} fnn_attention_job;

/* c (+)= a b: a in place; b packed by fnn_attention_pack, or b_row apart, and then padded
 * to whole vectors or not. */
typedef struct {
    ptrdiff_t m, n, k;
    const char *a;
    ptrdiff_t a_row, a_k;
    const char *b;
    ptrdiff_t b_row;
    ptrdiff_t packed_n,
        packed_k; /* what was packed, of which n and k are used; 0: not */
    bool b_padded;
    char *c;
    ptrdiff_t c_row;
    bool first;
} fnn_attention_product;
void fnn_attention_multiply(const fnn_attention_job *j, const fnn_attention_product *p);

/* x (n, k), rows `row` apart, as the second factor of c (m, n) = a (m, k) x^T, or with
 * `turned`, x (k, n) as that of c = a x. Takes fnn_attention_packed bytes. */
void fnn_attention_pack(const fnn_attention_job *j, ptrdiff_t n, ptrdiff_t k,
                        const char *x, ptrdiff_t row, bool turned, char *to);
int64_t fnn_attention_packed(const fnn_attention_job *j, ptrdiff_t n, ptrdiff_t k);

/* Shapes and scale; and then what is in memory: the first input is number `from`. Copies of
 * what has columns apart go to room, which moves on. */
fnn_attention_job fnn_attention_make(const fnn_call *c, int from);
void fnn_attention_read(fnn_attention_job *j, const fnn_call *c, int from, char **room);
int64_t fnn_attention_copies(const fnn_call *c);
fnn_attention_operand fnn_attention_of(const fnn_attention_job *j, const fnn_tensor *t,
                                       bool heads);
fnn_tensor fnn_attention_rows(const fnn_call *c, int i, char **room);
/* top and total, a number a row. */
fnn_attention_operand fnn_attention_statistics(const fnn_attention_job *j,
                                               const fnn_tensor *t);

/* Where row `row` of a head is; elements of bytes `size`. */
static inline char *fnn_attention_at(const fnn_attention_job *j,
                                     const fnn_attention_operand *x, int64_t head,
                                     int64_t row, ptrdiff_t size) {
    int64_t at = row * x->row;
    for (int d = j->batch_dims - 1; d >= 0; d--) {
        at += head % j->batch[d] * x->batch[d];
        head /= j->batch[d];
    }
    return x->data + at * size;
}

/* What the mask is for rows from `row` and keys from `key` on. */
void fnn_attention_set_mask(const fnn_attention_job *j, fnn_attention_scores *g,
                            int64_t head, int64_t row, int64_t key);

#endif

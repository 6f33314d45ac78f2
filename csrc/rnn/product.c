/* See product.h. */
#include "rnn/product.h"

#include <string.h>

/* Columns of a block, a multiple of every vector and tile: as many as the widest kernel for
 * one row takes at once. */
#define COLUMNS 128

void fnn_rnn_product_set(fnn_rnn_product *p, int dtype, ptrdiff_t rows, ptrdiff_t k,
                         ptrdiff_t units, ptrdiff_t gates) {
    *p = (fnn_rnn_product){.dtype = dtype,
                           .size = dtype == FNN_FLOAT64 ? 8 : 4,
                           .kernel = fnn_k->gemm_tile[FNN_F64(dtype)],
                           .k = k,
                           .units = units,
                           .gates = gates};
    p->block = gates == 1 ? COLUMNS : COLUMNS / 4;
    p->blocks = fnn_ceil_div(units, p->block);
    p->few = rows <= p->kernel->gemv_m;
}

int64_t fnn_rnn_product_bytes(const fnn_rnn_product *p) {
    return fnn_aligned(p->gates * p->k * fnn_round_up(p->units, p->kernel->lanes) *
                       p->size);
}

int64_t fnn_rnn_operand_bytes(const fnn_rnn_product *p, ptrdiff_t rows) {
    return p->few ? 0 : fnn_aligned(rows * p->k * p->size + FNN_GEMM_MARGIN);
}

static char *block_at(const fnn_rnn_product *p, ptrdiff_t u) {
    return p->panels + u * p->block * p->gates * p->k * p->size;
}

/* A block as one matrix: row p has the weights of term p, gate by gate. */
static void pack_matrix(const fnn_rnn_product *p, ptrdiff_t u) {
    const ptrdiff_t n = fnn_rnn_units(p, u), width = fnn_rnn_width(p, u);
    const ptrdiff_t row = p->gates * width, size = p->size;
    for (ptrdiff_t g = 0; g < p->gates; g++) {
        const char *from = p->weight + (g * p->gate + u * p->block * p->unit) * size;
        char *to = block_at(p, u) + g * width * size;
        if (p->term == 1) {
            fnn_k->transpose[FNN_F64(p->dtype)](p->k, n, from, p->unit, to, row, false);
        }
        for (ptrdiff_t q = 0; q < p->k; q++, to += row * size) {
            for (ptrdiff_t j = 0; p->term != 1 && j < n; j++) {
                memcpy(to + j * size, from + (q * p->term + j * p->unit) * size,
                       (size_t)size);
            }
            memset(to + n * size, 0, (size_t)((width - n) * size));
        }
    }
}

static void pack_blocks(void *context, int64_t lo, int64_t hi) {
    const fnn_rnn_product *p = context;
    for (ptrdiff_t u = lo; u < hi; u++) {
        if (p->few) {
            pack_matrix(p, u);
            continue;
        }
        const ptrdiff_t n = fnn_rnn_units(p, u), width = fnn_rnn_width(p, u);
        for (ptrdiff_t g = 0; g < p->gates; g++) {
            for (ptrdiff_t q = 0; q < p->k; q += FNN_GEMM_KC) {
                p->kernel->pack_b(
                    n, fnn_min64(p->k - q, FNN_GEMM_KC),
                    p->weight +
                        (g * p->gate + u * p->block * p->unit + q * p->term) * p->size,
                    p->term, p->unit,
                    block_at(p, u) + (g * p->k + q) * width * p->size);
            }
        }
    }
}

void fnn_rnn_product_pack(const fnn_rnn_product *p) {
    const ptrdiff_t elements = p->block * p->gates * fnn_max64(1, p->k);
    fnn_parallel_for(p->blocks, (1 << 16) / elements + 1, pack_blocks, (void *)p);
}

fnn_rnn_operand fnn_rnn_operand_of(const fnn_rnn_product *p, ptrdiff_t rows,
                                   const char *x, ptrdiff_t row, char *room) {
    if (p->few) {
        return (fnn_rnn_operand){.data = x, .rows = rows, .row = row};
    }
    const ptrdiff_t tiles = fnn_ceil_div(rows, p->kernel->mr);
    for (ptrdiff_t q = 0; q < p->k; q += FNN_GEMM_KC) {
        p->kernel->pack_a(rows, tiles, fnn_min64(p->k - q, FNN_GEMM_KC),
                          x + q * p->size, row, 1, room + q * rows * p->size);
    }
    return (fnn_rnn_operand){.data = room, .rows = rows};
}

/* Tiles of all rows against a panel of `n` units, a k-block after the other. */
static void run_panel(const fnn_rnn_product *p, const fnn_rnn_operand *a, ptrdiff_t n,
                      ptrdiff_t j, ptrdiff_t width, const char *panel, char *c,
                      ptrdiff_t ldc, const char *residual) {
    const ptrdiff_t lanes = p->kernel->lanes, size = p->size;
    const ptrdiff_t tiles = fnn_ceil_div(a->rows, p->kernel->mr);
    const ptrdiff_t height = a->rows / tiles, longer = a->rows % tiles;
    fnn_tile t = {.n = n,
                  .a_row = 1,
                  .b_k = fnn_round_up(n, lanes),
                  .b_col = 1,
                  .ldc = ldc,
                  .packed = true,
                  .b_padded = true};
    ptrdiff_t q = 0;
    do {
        t.k = fnn_min64(p->k - q, FNN_GEMM_KC);
        t.first = q == 0;
        t.last = q + t.k == p->k;
        t.b = panel + (q * width + j * t.k) * size;
        t.a = a->data + q * a->rows * size;
        t.c = c;
        t.residual = residual;
        for (ptrdiff_t i = 0; i < tiles; i++) {
            t.m = height + (i < longer);
            t.a_k = t.m;
            p->kernel->tile(&t);
            t.a = (const char *)t.a + t.m * t.k * size;
            t.c = (char *)t.c + t.m * ldc * size;
            t.residual =
                residual == NULL ? NULL : (const char *)t.residual + t.m * ldc * size;
        }
        q += t.k;
    } while (q < p->k);
}

void fnn_rnn_product_block(const fnn_rnn_product *p, ptrdiff_t u,
                           const fnn_rnn_operand *a, char *c, ptrdiff_t ldc,
                           const char *residual) {
    const ptrdiff_t n = fnn_rnn_units(p, u), width = fnn_rnn_width(p, u);
    const char *block = block_at(p, u);
    if (p->few) {
        fnn_tile t = {.m = a->rows,
                      .n = p->gates == 1 ? n : p->gates * width,
                      .k = p->k,
                      .a = a->data,
                      .a_row = a->row,
                      .a_k = 1,
                      .b = block,
                      .b_k = p->gates * width,
                      .b_col = 1,
                      .c = c,
                      .ldc = ldc,
                      .residual = residual};
        p->kernel->gemv(&t);
        return;
    }
    for (ptrdiff_t g = 0; g < p->gates; g++) {
        const char *panel = block + g * p->k * width * p->size;
        for (ptrdiff_t j = 0; j < n; j += p->kernel->nr) {
            const ptrdiff_t at = (g * width + j) * p->size;
            run_panel(p, a, fnn_min64(n - j, p->kernel->nr), j, width, panel, c + at,
                      ldc, residual == NULL ? NULL : residual + at);
        }
    }
}

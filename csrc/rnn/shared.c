/* What forward and backward share. See rnn.h. */
#include "gemm/blocking.h"
#include "rnn/rnn.h"

#include <string.h>

int64_t fnn_rnn_pieces(const fnn_rnn *r) {
    const double work = (double)r->steps * (double)r->batch * (double)r->units *
                        (double)r->gates * (double)r->state;
    if (r->steps < FNN_RNN_PACKED || work < FNN_GEMM_SERIAL) {
        return 1;
    }
    return fnn_max64(1, fnn_min64(r->threads, r->batch));
}

int64_t fnn_rnn_start(const fnn_sequence *s, int64_t pieces, int64_t i) {
    if (s->order == NULL || i == 0 || i == pieces) {
        return fnn_even_start(s->batch, pieces, i);
    }
    /* The first r sequences have the sum over steps of min(active, r) rows. */
    int64_t low = 0, high = s->batch;
    while (low < high) {
        const int64_t r = (low + high) / 2;
        int64_t rows = 0;
        for (int64_t t = 0; t < s->steps; t++) {
            rows += fnn_min64(s->active[t], r);
        }
        if (rows * pieces < s->rows * i) {
            low = r + 1;
        } else {
            high = r;
        }
    }
    return low;
}

bool fnn_rnn_even(const fnn_tensor *x, int64_t *row) {
    const int64_t *n = x->shape, *s = x->stride;
    *row = n[1] > 1 ? s[1] : s[0];
    return (n[2] <= 1 || s[2] == 1) && (n[0] <= 1 || n[1] <= 1 || s[0] == n[1] * s[1]);
}

fnn_rows fnn_rnn_rows(const fnn_tensor *t) {
    return (fnn_rows){.data = t->data,
                      .width = t->shape[2],
                      .step = t->stride[0],
                      .row = t->stride[1],
                      .col = t->stride[2],
                      .dtype = t->dtype};
}

fnn_rows fnn_rnn_states(const fnn_tensor *t) {
    return (fnn_rows){.data = t->data,
                      .width = t->shape[1],
                      .row = t->stride[0],
                      .col = t->stride[1],
                      .dtype = t->dtype};
}

void fnn_rnn_start_states(const fnn_sequence *s, const fnn_tensor *given, int64_t width,
                          ptrdiff_t size, char *to) {
    if (given == NULL) {
        memset(to, 0, (size_t)(s->batch * width * size));
        return;
    }
    const fnn_rows rows = fnn_rnn_states(given);
    fnn_states_pack(s, &rows, to);
}

fnn_gemm_args fnn_rnn_state_product(const fnn_rnn *r, const fnn_tensor *weight,
                                    bool turned, int64_t rows) {
    const int out = turned ? 0 : 1, in = 1 - out;
    return (fnn_gemm_args){.dtype = r->dtype,
                           .batch = 1,
                           .m = rows,
                           .n = weight->shape[out],
                           .k = weight->shape[in],
                           .a_row = weight->shape[in],
                           .a_col = 1,
                           .b = weight->data,
                           .b_row = weight->stride[in],
                           .b_col = weight->stride[out],
                           .c_row = weight->shape[out],
                           .threads = r->threads};
}

void fnn_rnn_set_product(fnn_rnn_product *p, const fnn_rnn *r, const fnn_tensor *weight,
                         bool turned, ptrdiff_t gates, int64_t rows, char **at) {
    const int out = turned ? 0 : 1, in = 1 - out;
    const int64_t units = weight->shape[out] / gates;
    fnn_rnn_product_set(p, r->dtype, rows, weight->shape[in], units, gates);
    p->weight = weight->data;
    p->unit = weight->stride[out];
    p->gate = units * weight->stride[out];
    p->term = weight->stride[in];
    p->panels = fnn_rnn_take(at, fnn_rnn_product_bytes(p));
}

int64_t fnn_rnn_gemm_bytes(const fnn_rnn *r, const fnn_gemm_args *g) {
    return r->lengths != NULL ? fnn_gemm_workspace_any(g) : fnn_gemm_workspace(g);
}

/* See rnn.h. */
#include "ops/ops.h"
#include "rnn/rnn.h"

#include <string.h>

typedef struct {
    const fnn_rnn *r;
    fnn_sequence s;
    fnn_rnn_product recurrent, projection;
    bool packed;
    int64_t pieces, most;
    char *room;
    const char *x, *gy;
    int64_t x_row, gy_row;
    char *x_copy, *gy_copy; /* packed, where what is given does not lie so */
    const char *y;          /* packed states */
    char *y_copy;
    char *h0;     /* (batch, state), the sequences in order */
    char *before; /* packed: the states before each step */
    char *gz;     /* packed: gradients of what gates sum */
    int64_t state_column,
        z_row;              /* of gz: where those of the state begin; all of a row */
    char *gh, *direct, *gc; /* (batch, state) or (batch, units): from the step after */
    char *totals, *made; /* LSTM that projects: packed gradients of states; of what is
                             * projected, (batch, units) */
    char *w_ih;          /* GRU: its rows in gz's order */
    char *sums;          /* of gz over all rows */
    char *gx;            /* packed, where sequences have lengths */
    const char *cells, *raw; /* of what forward has kept */
    char *scratch;
    int64_t operand;
    char *gemm;
} job;

/* One of the gradients that needs asks for; an empty tensor is not asked for. */
static bool asked(const fnn_tensor *g) { return g != NULL && fnn_numel(g) > 0; }

/* ---- the products over all steps ------------------------------------------------------ */

#define MOST_PRODUCTS 6

/* a^T b over all rows, (n, m) of them: the gradient of a weight. */
static fnn_gemm_args over_rows(const job *j, const char *a, int64_t a_row, int64_t m,
                               const char *b, int64_t b_row, int64_t n, char *c) {
    return (fnn_gemm_args){.dtype = j->r->dtype,
                           .batch = 1,
                           .m = m,
                           .n = n,
                           .k = j->s.rows,
                           .a = a,
                           .a_row = 1,
                           .a_col = a_row,
                           .b = b,
                           .b_row = b_row,
                           .b_col = 1,
                           .c = c,
                           .c_row = n,
                           .threads = j->r->threads};
}

static const double one_f64 = 1;
static const float one_f32 = 1;

/* All that are asked for; returns how many. */
static int products(const job *j, fnn_gemm_args *g) {
    const fnn_rnn *r = j->r;
    const int64_t wide = r->gates * r->units, units = r->units, size = r->size;
    const bool gru = r->kind == FNN_CELL_GRU;
    int n = 0;
    if (asked(r->gx)) {
        g[n++] = (fnn_gemm_args){.dtype = r->dtype,
                                 .batch = 1,
                                 .m = j->s.rows,
                                 .n = r->in,
                                 .k = wide,
                                 .a = j->gz,
                                 .a_row = j->z_row,
                                 .a_col = 1,
                                 .b = gru ? j->w_ih : r->w_ih->data,
                                 .b_row = gru ? r->in : r->w_ih->stride[0],
                                 .b_col = gru ? 1 : r->w_ih->stride[1],
                                 .c = j->gx,
                                 .c_row = r->in,
                                 .threads = r->threads};
    }
    if (asked(r->gw_ih)) {
        char *c = r->gw_ih->data;
        if (gru) { /* the new gate's rows come last */
            g[n++] = over_rows(j, j->gz, j->z_row, units, j->x, j->x_row, r->in,
                               fnn_rnn_past(c, 2 * units * r->in * size));
            g[n++] = over_rows(j, j->gz + units * size, j->z_row, 2 * units, j->x,
                               j->x_row, r->in, c);
        } else {
            g[n++] = over_rows(j, j->gz, j->z_row, wide, j->x, j->x_row, r->in, c);
        }
    }
    if (asked(r->gw_hh)) {
        g[n++] = over_rows(j, j->gz + j->state_column * size, j->z_row, wide, j->before,
                           r->state, r->state, r->gw_hh->data);
    }
    if (j->sums != NULL) {
        g[n] = over_rows(j, r->dtype == FNN_FLOAT64 ? (const void *)&one_f64 : &one_f32,
                         0, 1, j->gz, j->z_row, j->z_row, j->sums);
        g[n++].a_row = 0;
    }
    if (r->w_hr != NULL && asked(r->gw_hr)) {
        g[n++] = over_rows(j, j->totals, r->state, r->state, j->raw, units, units,
                           r->gw_hr->data);
    }
    return n;
}

/* ---- layout --------------------------------------------------------------------------- */

static char *lay_out(job *j, const fnn_rnn *r, char *base) {
    const int64_t rows = r->steps * r->batch, size = r->size, units = r->units;
    const bool gru = r->kind == FNN_CELL_GRU, lengths = r->lengths != NULL;
    char *at = base;
    *j = (job){.r = r, .packed = r->steps >= FNN_RNN_PACKED};
    j->s.rows = rows; /* for the sizes of products; set again */
    j->pieces = fnn_rnn_pieces(r);
    j->most = lengths ? r->batch : fnn_ceil_div(r->batch, j->pieces);
    j->z_row = gru ? 4 * units : r->gates * units;
    j->state_column = gru ? units : 0;
    if (lengths) {
        j->room = fnn_rnn_take(&at, fnn_sequence_bytes(r->steps, r->batch));
    }
    j->x = r->x->data;
    if (asked(r->gw_ih) && (lengths || !fnn_rnn_even(r->x, &j->x_row))) {
        j->x = j->x_copy = fnn_rnn_take(&at, rows * r->in * size);
        j->x_row = r->in;
    }
    if (r->gy != NULL) {
        j->gy = r->gy->data;
        if (lengths || !fnn_rnn_even(r->gy, &j->gy_row)) {
            j->gy = j->gy_copy = fnn_rnn_take(&at, rows * r->state * size);
            j->gy_row = r->state;
        }
    }
    j->y = r->y->data;
    if (lengths) {
        j->y = j->y_copy = fnn_rnn_take(&at, rows * r->state * size);
    }
    if (gru || asked(r->gw_hh)) {
        j->h0 = fnn_rnn_take(&at, r->batch * r->state * size);
        j->before = fnn_rnn_take(&at, rows * r->state * size);
    }
    j->gz = fnn_rnn_take(&at, rows * j->z_row * size);
    j->gh = fnn_rnn_take(&at, r->batch * r->state * size);
    if (gru) {
        j->direct = fnn_rnn_take(&at, r->batch * units * size);
    }
    if (r->kind == FNN_CELL_LSTM) {
        j->gc = fnn_rnn_take(&at, r->batch * units * size);
        j->cells = fnn_rnn_past(r->saved->data, rows * 4 * units * size);
    }
    if (r->w_hr != NULL) {
        j->raw = fnn_rnn_past(r->saved->data, rows * 5 * units * size);
        j->totals = fnn_rnn_take(&at, rows * r->state * size);
        j->made = fnn_rnn_take(&at, r->batch * units * size);
    }
    if (gru && asked(r->gx)) {
        j->w_ih = fnn_rnn_take(&at, 3 * units * r->in * size);
    }
    if (asked(r->gb_ih)) {
        j->sums = gru ? fnn_rnn_take(&at, j->z_row * size) : r->gb_ih->data;
    }
    if (asked(r->gx)) {
        j->gx = lengths ? fnn_rnn_take(&at, rows * r->in * size) : r->gx->data;
    }
    int64_t gemm = 0;
    fnn_gemm_args g[MOST_PRODUCTS];
    for (int i = products(j, g); i-- > 0;) {
        gemm = fnn_max64(gemm, fnn_rnn_gemm_bytes(r, &g[i]));
    }
    if (j->packed) {
        fnn_rnn_set_product(&j->recurrent, r, r->w_hh, false, 1, j->most, &at);
        j->operand = fnn_rnn_operand_bytes(&j->recurrent, j->most);
        if (r->w_hr != NULL) {
            fnn_rnn_set_product(&j->projection, r, r->w_hr, false, 1, j->most, &at);
            j->operand =
                fnn_max64(j->operand, fnn_rnn_operand_bytes(&j->projection, j->most));
        }
        j->scratch = fnn_rnn_take(&at, j->pieces * j->operand);
    } else {
        g[0] = fnn_rnn_state_product(r, r->w_hh, false, r->batch);
        g[0].a_row = j->z_row;
        gemm = fnn_max64(gemm, fnn_rnn_gemm_bytes(r, &g[0]));
        if (r->w_hr != NULL) {
            g[0] = fnn_rnn_state_product(r, r->w_hr, false, r->batch);
            gemm = fnn_max64(gemm, fnn_rnn_gemm_bytes(r, &g[0]));
        }
    }
    j->gemm = fnn_rnn_take(&at, gemm);
    return at;
}

int64_t fnn_rnn_backward_workspace(const fnn_rnn *r) {
    job j;
    char *base = FNN_RNN_NOWHERE;
    return lay_out(&j, r, base) - base;
}

/* ---- steps ---------------------------------------------------------------------------- */

/* c (n, weight's columns) = a weight + residual */
static void multiply(const job *j, const fnn_rnn_product *p, const fnn_tensor *weight,
                     int64_t n, const char *a, int64_t a_row, char *c,
                     const char *residual, char *scratch) {
    const ptrdiff_t size = j->r->size;
    if (!j->packed) {
        fnn_gemm_args g = fnn_rnn_state_product(j->r, weight, false, n);
        g.a = a;
        g.a_row = a_row;
        g.c = c;
        g.residual = residual;
        fnn_gemm(&g, j->gemm);
        return;
    }
    const fnn_rnn_operand operand = fnn_rnn_operand_of(p, n, a, a_row, scratch);
    for (ptrdiff_t u = 0; u < p->blocks; u++) {
        const ptrdiff_t at = u * p->block * size;
        fnn_rnn_product_block(p, u, &operand, c + at, p->units,
                              residual == NULL ? NULL : residual + at);
    }
}

/* totals = gy + gh, rows of the state; then what that makes of the LSTM's own states. */
static void unproject(const job *j, int64_t row, int64_t r0, int64_t n, char *scratch) {
    const fnn_rnn *r = j->r;
    const int64_t state = r->state, size = r->size;
    const int f64 = FNN_F64(r->dtype);
    const char *gh = j->gh + r0 * state * size;
    for (int64_t i = 0; i < n; i++) {
        char *to = j->totals + (row + i) * state * size;
        const char *from = gh + i * state * size;
        if (j->gy == NULL) {
            memcpy(to, from, (size_t)(state * size));
            continue;
        }
        const void *terms[] = {j->gy + (row + i) * j->gy_row * size, from};
        fnn_k->map[FNN_MAP_add][f64](state, to, terms, (ptrdiff_t[]){1, 1});
    }
    multiply(j, &j->projection, r->w_hr, n, j->totals + row * state * size, state,
             j->made + r0 * r->units * size, NULL, scratch);
}

/* Step t for rows [r0, r1). */
static void run_step(const job *j, int64_t t, int64_t r0, int64_t r1, char *scratch) {
    const fnn_rnn *r = j->r;
    const int f64 = FNN_F64(r->dtype);
    const int64_t n = fnn_min64(fnn_sequence_active(&j->s, t), r1) - r0;
    const int64_t row = fnn_sequence_first(&j->s, t) + r0;
    const int64_t size = r->size, units = r->units;
    if (n <= 0) {
        return;
    }
    char *gh = j->gh + r0 * r->state * size;
    char *gz = j->gz + row * j->z_row * size;
    fnn_cell_back s = {.rows = n,
                       .units = units,
                       .gate = units,
                       .gy = j->gy == NULL ? NULL : j->gy + row * j->gy_row * size,
                       .gy_row = j->gy_row,
                       .gh = gh,
                       .gh_row = units,
                       .gates_row = 4 * units,
                       .h_row = units,
                       .gz = gz,
                       .gz_row = j->z_row,
                       .act = r->act};
    switch (r->kind) {
    case FNN_CELL_RNN:
        s.h = j->y + row * units * size;
        fnn_k->rnn_cell_back[f64](&s);
        break;
    case FNN_CELL_GRU:
        s.gates = r->saved->data + row * 4 * units * size;
        s.h = j->before + row * units * size;
        s.direct = j->direct + r0 * units * size;
        fnn_k->gru_cell_back[f64](&s);
        break;
    case FNN_CELL_LSTM:
        s.gates = r->saved->data + row * 4 * units * size;
        s.before = j->cells + row * units * size;
        s.gc = j->gc + r0 * units * size;
        s.gc_row = units;
        if (r->w_hr != NULL) {
            unproject(j, row, r0, n, scratch);
            s.gy = NULL;
            s.gh = j->made + r0 * units * size;
        }
        fnn_k->lstm_cell_back[f64](&s);
    }
    multiply(j, &j->recurrent, r->w_hh, n, gz + j->state_column * size, j->z_row, gh,
             s.direct, scratch);
}

static void run_pieces(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    for (int64_t piece = lo; piece < hi; piece++) {
        const int64_t r0 = fnn_rnn_start(&j->s, j->pieces, piece);
        const int64_t r1 = fnn_rnn_start(&j->s, j->pieces, piece + 1);
        for (int64_t i = 0; i < j->r->steps; i++) {
            const int64_t t = j->r->reverse ? i : j->r->steps - 1 - i;
            run_step(j, t, r0, r1, j->scratch + piece * j->operand);
        }
    }
}

/* ---- the whole ------------------------------------------------------------------------ */

/* The states before every step: those of the step before it, or the first ones. */
static void shift_states(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    const fnn_rnn *r = j->r;
    const int64_t bytes = r->state * r->size;
    for (int64_t t = lo; t < hi; t++) {
        const int64_t active = fnn_sequence_active(&j->s, t);
        const int64_t last = r->reverse ? t + 1 : t - 1;
        int64_t there = 0;
        char *to = j->before + fnn_sequence_first(&j->s, t) * bytes;
        if (last >= 0 && last < r->steps) {
            there = fnn_min64(active, fnn_sequence_active(&j->s, last));
            memcpy(to, j->y + fnn_sequence_first(&j->s, last) * bytes,
                   (size_t)(there * bytes));
        }
        memcpy(to + there * bytes, j->h0 + there * bytes,
               (size_t)((active - there) * bytes));
    }
}

static void gather(const job *j) {
    const fnn_rnn *r = j->r;
    if (j->x_copy != NULL) {
        const fnn_rows x = fnn_rnn_rows(r->x);
        fnn_rows_pack(&j->s, &x, j->x_copy);
    }
    if (j->gy_copy != NULL) {
        const fnn_rows gy = fnn_rnn_rows(r->gy);
        fnn_rows_pack(&j->s, &gy, j->gy_copy);
    }
    if (j->y_copy != NULL) {
        const fnn_rows y = fnn_rnn_rows(r->y);
        fnn_rows_pack(&j->s, &y, j->y_copy);
    }
    if (j->before != NULL) {
        fnn_rnn_start_states(&j->s, r->h0, r->state, r->size, j->h0);
        fnn_parallel_for(r->steps, FNN_MAP_GRAIN / (r->batch * r->state) + 1,
                         shift_states, (void *)j);
    }
    fnn_rnn_start_states(&j->s, r->ghn, r->state, r->size, j->gh);
    if (j->gc != NULL) {
        fnn_rnn_start_states(&j->s, r->gcn, r->units, r->size, j->gc);
    }
    if (j->w_ih != NULL) { /* r, u, n becomes n, r, u */
        const int64_t part = r->units * r->in * r->size;
        const fnn_rows w = {.data = r->w_ih->data,
                            .width = r->in,
                            .row = r->w_ih->stride[0],
                            .col = r->w_ih->stride[1],
                            .dtype = r->dtype};
        fnn_rows new = w;
        new.data += 2 * r->units * w.row * r->size;
        fnn_sequence some = {.batch = r->units};
        fnn_states_pack(&some, &new, j->w_ih);
        some.batch = 2 * r->units;
        fnn_states_pack(&some, &w, j->w_ih + part);
    }
}

static void hand_over(const job *j) {
    const fnn_rnn *r = j->r;
    if (asked(r->gx) && r->lengths != NULL) {
        const fnn_rows gx = fnn_rnn_rows(r->gx);
        fnn_rows_unpack(&j->s, j->gx, &gx);
    }
    if (asked(r->gh0)) {
        const fnn_rows gh0 = fnn_rnn_states(r->gh0);
        fnn_states_unpack(&j->s, j->gh, &gh0);
    }
    if (r->gc0 != NULL && asked(r->gc0)) {
        const fnn_rows gc0 = fnn_rnn_states(r->gc0);
        fnn_states_unpack(&j->s, j->gc, &gc0);
    }
    if (r->kind == FNN_CELL_GRU && j->sums != NULL) {
        const size_t part = (size_t)(r->units * r->size); /* n, r, u, n's with h */
        memcpy(r->gb_ih->data, j->sums + part, 2 * part);
        memcpy(r->gb_ih->data + 2 * part, j->sums, part);
        memcpy(r->gb_hh->data, j->sums + part, 3 * part);
    }
}

fnn_status fnn_rnn_backward(const fnn_rnn *r, void *workspace, fnn_error *err) {
    job j;
    lay_out(&j, r, workspace);
    fnn_status status =
        fnn_sequence_set(&j.s, r->steps, r->batch, r->lengths, j.room, r->name, err);
    if (status != FNN_OK) {
        return status;
    }
    if (r->batch > 0) {
        gather(&j);
        if (j.packed) {
            fnn_rnn_product_pack(&j.recurrent);
            if (r->w_hr != NULL) {
                fnn_rnn_product_pack(&j.projection);
            }
        }
        fnn_parallel_for(j.pieces, 1, run_pieces, &j);
    }
    fnn_gemm_args g[MOST_PRODUCTS];
    const int n = products(&j, g);
    for (int i = 0; i < n; i++) {
        fnn_gemm(&g[i], j.gemm);
    }
    hand_over(&j);
    return FNN_OK;
}

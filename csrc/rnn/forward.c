/* See rnn.h. */
#include "gemm/blocking.h"
#include "rnn/rnn.h"

#include <string.h>

#define CHUNK_BYTES (8 << 20) /* of products with inputs that nobody keeps */

/* ---- layout -------------------------------------------------------------------------- */

typedef struct {
    const fnn_rnn *r;
    fnn_sequence s;
    fnn_rnn_product recurrent, projection;
    bool packed;    /* weights are laid out */
    int64_t pieces; /* of the batch */
    int64_t most;   /* rows of a piece, at most */
    char *room;     /* of the sequence */
    const char *x;
    int64_t x_row;
    char *copy;      /* of x, packed; NULL: x is read where it is */
    char *bias;      /* of all gates; then that of a GRU's new gate's product with h */
    char *z;         /* products with inputs, gates of a row side by side */
    int64_t z_row;   /* elements */
    int64_t chunk;   /* steps that z has room for */
    char *y;         /* packed */
    char *states[2]; /* (batch, state): before and after a step, in turns */
    char *cells;     /* LSTM: (batch, units) */
    char *before;    /* LSTM: cells before each step, where they are kept */
    char *raw;       /* LSTM that projects: states before that */
    bool raw_kept;   /* a row for each step, else one a sequence */
    char *scratch;   /* of each piece */
    int64_t operand, slice; /* bytes of it: packed states; all */
    char *gemm;
    /* of the steps under way */
    int64_t from, to; /* in the order in which they are taken */
} job;

/* Where steps run on one thread, the others sleep meanwhile, and waking them pays for large
 * products alone. */
static fnn_gemm_args input_product(const job *j, int64_t rows) {
    const fnn_rnn *r = j->r;
    const double work = (double)r->steps * (double)r->batch * (double)r->gates *
                        (double)r->units * (double)r->in;
    const bool alone = j->pieces == 1 && work < 8 * FNN_GEMM_SERIAL;
    return (fnn_gemm_args){.dtype = r->dtype,
                           .batch = 1,
                           .m = rows,
                           .n = r->gates * r->units,
                           .k = r->in,
                           .a_row = j->x_row,
                           .a_col = 1,
                           .b = r->w_ih->data,
                           .b_row = r->w_ih->stride[1],
                           .b_col = r->w_ih->stride[0],
                           .c_row = j->z_row,
                           .threads = alone ? 1 : r->threads};
}

/* Where everything is in a workspace at base; returns its end. */
static char *lay_out(job *j, const fnn_rnn *r, char *base) {
    const int64_t rows = r->steps * r->batch, size = r->size;
    const int64_t wide = r->gates * r->units;
    char *at = base;
    *j = (job){.r = r, .packed = r->steps >= FNN_RNN_PACKED};
    j->pieces = fnn_rnn_pieces(r);
    j->most = r->lengths != NULL ? r->batch : fnn_ceil_div(r->batch, j->pieces);
    if (r->lengths != NULL) {
        j->room = fnn_rnn_take(&at, fnn_sequence_bytes(r->steps, r->batch));
    }
    j->x = r->x->data;
    if (r->lengths != NULL || !fnn_rnn_even(r->x, &j->x_row)) {
        j->x = j->copy = fnn_rnn_take(&at, rows * r->in * size);
        j->x_row = r->in;
    }
    j->bias = fnn_rnn_take(&at, (wide + r->units) * size);
    j->y = r->y->data;
    if (r->lengths != NULL) {
        j->y = fnn_rnn_take(&at, rows * r->state * size);
    }
    j->z_row = wide;
    j->chunk = r->steps;
    if (r->kind == FNN_CELL_RNN) {
        j->z = j->y; /* states take the place of sums */
    } else if (r->save) {
        j->z = r->saved->data;
        j->z_row = 4 * r->units;
        j->before = fnn_rnn_past(j->z, rows * 4 * r->units * size);
    } else {
        const int64_t step = fnn_max64(1, r->batch * wide * size);
        j->chunk = fnn_max64(1, fnn_min64(r->steps, CHUNK_BYTES / step));
        j->z = fnn_rnn_take(&at, j->chunk * r->batch * wide * size);
    }
    for (int i = 0; i < 2; i++) {
        j->states[i] = fnn_rnn_take(&at, r->batch * r->state * size);
    }
    if (r->kind == FNN_CELL_LSTM) {
        j->cells = fnn_rnn_take(&at, r->batch * r->units * size);
    }
    if (r->w_hr != NULL) {
        j->raw_kept = r->save;
        j->raw = r->save ? fnn_rnn_past(j->before, rows * r->units * size)
                         : fnn_rnn_take(&at, r->batch * r->units * size);
    }
    fnn_gemm_args g = input_product(j, j->chunk * r->batch);
    int64_t gemm = fnn_rnn_gemm_bytes(r, &g);
    if (j->chunk > 0) { /* the last steps may be fewer */
        g = input_product(j, r->steps % j->chunk * r->batch);
        gemm = fnn_max64(gemm, fnn_rnn_gemm_bytes(r, &g));
    }
    if (j->packed) {
        fnn_rnn_set_product(&j->recurrent, r, r->w_hh, true, r->gates, j->most, &at);
        j->operand = fnn_rnn_operand_bytes(&j->recurrent, j->most);
        if (r->w_hr != NULL) {
            fnn_rnn_set_product(&j->projection, r, r->w_hr, true, 1, j->most, &at);
            j->operand =
                fnn_max64(j->operand, fnn_rnn_operand_bytes(&j->projection, j->most));
        }
        const int64_t columns = r->gates * fnn_rnn_width(&j->recurrent, 0);
        j->slice = j->operand + fnn_aligned(j->most * columns * size);
    } else {
        j->slice = fnn_aligned(r->batch * wide * size);
        g = fnn_rnn_state_product(r, r->w_hh, true, r->batch);
        gemm = fnn_max64(gemm, fnn_rnn_gemm_bytes(r, &g));
        if (r->w_hr != NULL) {
            g = fnn_rnn_state_product(r, r->w_hr, true, r->batch);
            gemm = fnn_max64(gemm, fnn_rnn_gemm_bytes(r, &g));
        }
    }
    j->scratch = fnn_rnn_take(&at, j->pieces * j->slice);
    j->gemm = fnn_rnn_take(&at, gemm);
    return at;
}

int64_t fnn_rnn_forward_workspace(const fnn_rnn *r) {
    job j;
    char *base = FNN_RNN_NOWHERE;
    return lay_out(&j, r, base) - base;
}

/* ---- steps --------------------------------------------------------------------------- */

/* What the cell does at step t for rows [r0, r0 + n), units from u on; products with the
 * state are at z, their gates `gate` apart. */
static void run_cell(const job *j, int64_t i, int64_t t, int64_t r0, int64_t n,
                     int64_t u, int64_t units, const char *z, int64_t z_row,
                     int64_t z_gate) {
    const fnn_rnn *r = j->r;
    const int f64 = FNN_F64(r->dtype);
    const ptrdiff_t size = r->size;
    const int64_t row = fnn_sequence_first(&j->s, t) + r0;
    const int64_t lowest = r->reverse ? r->steps - j->to : j->from;
    const int64_t in_z = row - fnn_sequence_first(&j->s, lowest);
    /* Behind the last block comes the same one of the next step. */
    const int64_t block = j->packed ? j->recurrent.block : r->units;
    const int64_t next = i % 2 ? u - block : u + block;
    int64_t ahead = next - u;
    if (next < 0 || next >= r->units) {
        ahead = (r->reverse ? -n : n) * j->z_row;
    }
    fnn_cell s = {.rows = n,
                  .units = units,
                  .gate = r->units,
                  .z = z,
                  .z_row = z_row,
                  .z_gate = z_gate,
                  .x = j->z + (in_z * j->z_row + u) * size,
                  .x_row = j->z_row,
                  .bias = j->bias + u * size,
                  .ahead = ahead,
                  .h = j->states[i % 2] + (r0 * r->state + u) * size,
                  .h_row = r->state,
                  .y = j->y + (row * r->state + u) * size,
                  .y_row = r->state,
                  .state = j->states[(i + 1) % 2] + (r0 * r->state + u) * size,
                  .state_row = r->state,
                  .act = r->act};
    if (r->save) {
        s.gates = (void *)s.x;
        s.gates_row = j->z_row;
    }
    switch (r->kind) {
    case FNN_CELL_RNN:
        fnn_k->rnn_cell[f64](&s);
        break;
    case FNN_CELL_GRU:
        fnn_k->gru_cell[f64](&s);
        break;
    case FNN_CELL_LSTM:
        s.c = j->cells + (r0 * r->units + u) * size;
        s.c_row = r->units;
        s.before = r->save ? j->before + (row * r->units + u) * size : NULL;
        if (r->w_hr != NULL) {
            s.y = j->raw + ((j->raw_kept ? row : r0) * r->units + u) * size;
            s.y_row = r->units;
            s.state = NULL;
        }
        fnn_k->lstm_cell[f64](&s);
    }
}

/* The states of rows [r0, r0 + n) at step t from what the LSTM has made. */
static void project(const job *j, int64_t i, int64_t t, int64_t r0, int64_t n,
                    char *room) {
    const fnn_rnn *r = j->r;
    const ptrdiff_t size = r->size;
    const int64_t row = fnn_sequence_first(&j->s, t) + r0;
    const char *raw = j->raw + (j->raw_kept ? row : r0) * r->units * size;
    char *y = j->y + row * r->state * size;
    if (j->packed) {
        const fnn_rnn_product *p = &j->projection;
        const fnn_rnn_operand a = fnn_rnn_operand_of(p, n, raw, r->units, room);
        for (ptrdiff_t u = 0; u < p->blocks; u++) {
            fnn_rnn_product_block(p, u, &a, y + u * p->block * size, r->state, NULL);
        }
    } else {
        fnn_gemm_args g = fnn_rnn_state_product(r, r->w_hr, true, n);
        g.a = raw;
        g.c = y;
        fnn_gemm(&g, j->gemm);
    }
    memcpy(j->states[(i + 1) % 2] + r0 * r->state * size, y,
           (size_t)(n * r->state * size));
}

/* Step i in the order in which they are taken, for rows [r0, r1). */
static void run_step(const job *j, int64_t i, int64_t r0, int64_t r1, char *scratch) {
    const fnn_rnn *r = j->r;
    const int64_t t = r->reverse ? r->steps - 1 - i : i;
    const int64_t n = fnn_min64(fnn_sequence_active(&j->s, t), r1) - r0;
    if (n <= 0) {
        return;
    }
    const char *h = j->states[i % 2] + r0 * r->state * r->size;
    if (j->packed) {
        const fnn_rnn_product *p = &j->recurrent;
        const fnn_rnn_operand a = fnn_rnn_operand_of(p, n, h, r->state, scratch);
        char *z = scratch + j->operand;
        for (ptrdiff_t k = 0; k < p->blocks; k++) {
            /* Back and forth: what was last read is in cache. */
            const ptrdiff_t u = i % 2 ? p->blocks - 1 - k : k;
            const ptrdiff_t width = fnn_rnn_width(p, u);
            fnn_rnn_product_block(p, u, &a, z, r->gates * width, NULL);
            run_cell(j, i, t, r0, n, u * p->block, fnn_rnn_units(p, u), z,
                     r->gates * width, width);
        }
    } else {
        fnn_gemm_args g = fnn_rnn_state_product(r, r->w_hh, true, n);
        g.a = h;
        g.c = scratch;
        fnn_gemm(&g, j->gemm);
        run_cell(j, i, t, r0, n, 0, r->units, scratch, g.n, r->units);
    }
    if (r->w_hr != NULL) {
        project(j, i, t, r0, n, scratch);
    }
}

static void run_pieces(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    for (int64_t piece = lo; piece < hi; piece++) {
        const int64_t r0 = fnn_rnn_start(&j->s, j->pieces, piece);
        const int64_t r1 = fnn_rnn_start(&j->s, j->pieces, piece + 1);
        for (int64_t i = j->from; i < j->to; i++) {
            run_step(j, i, r0, r1, j->scratch + piece * j->slice);
        }
    }
}

/* ---- the whole ----------------------------------------------------------------------- */

/* b_ih + b_hh; of a GRU's new gate b_ih, and b_hh behind it. */
static void add_biases(const job *j) {
    const fnn_rnn *r = j->r;
    const int64_t wide = r->gates * r->units;
    const int64_t both = r->kind == FNN_CELL_GRU ? 2 * r->units : wide;
    const int64_t rest = (wide - both) * r->size;
    if (r->b_ih == NULL) {
        memset(j->bias, 0, (size_t)((wide + r->units) * r->size));
        return;
    }
    const void *terms[] = {r->b_ih->data, r->b_hh->data};
    fnn_k->map[FNN_MAP_add][FNN_F64(r->dtype)](both, j->bias, terms,
                                               (ptrdiff_t[]){1, 1});
    memcpy(j->bias + both * r->size, r->b_ih->data + both * r->size, (size_t)rest);
    memcpy(j->bias + wide * r->size, r->b_hh->data + both * r->size, (size_t)rest);
}

/* The last state of each sequence; without steps it is the first one. */
static void last_states(const job *j, char *to) {
    const fnn_rnn *r = j->r;
    const size_t bytes = (size_t)(r->state * r->size);
    int64_t done = 0;
    for (int64_t t = r->steps - 1; t >= 0; t--) {
        const int64_t active = fnn_sequence_active(&j->s, t);
        for (; done < active; done++) { /* those of t + 1 steps */
            const int64_t row = fnn_sequence_first(&j->s, r->reverse ? 0 : t) + done;
            memcpy(to + (size_t)done * bytes, j->y + (size_t)row * bytes, bytes);
        }
    }
}

/* Zeros in what is kept, where there are fewer rows than it has room for. */
static void clear_rest(const job *j) {
    const fnn_rnn *r = j->r;
    const int64_t rows = r->steps * r->batch, blocks = fnn_rnn_saved(r) / r->units;
    char *at = r->kind == FNN_CELL_RNN ? NULL : r->saved->data;
    for (int64_t block = 0; block < blocks; block += block == 0 ? 4 : 1) {
        const int64_t row = (block == 0 ? 4 : 1) * r->units * r->size;
        memset(at + j->s.rows * row, 0, (size_t)((rows - j->s.rows) * row));
        at += rows * row;
    }
}

fnn_status fnn_rnn_forward(const fnn_rnn *r, void *workspace, fnn_error *err) {
    job j;
    lay_out(&j, r, workspace);
    fnn_status status =
        fnn_sequence_set(&j.s, r->steps, r->batch, r->lengths, j.room, r->name, err);
    if (status != FNN_OK || r->batch == 0) {
        return status;
    }
    if (j.copy != NULL) {
        const fnn_rows x = fnn_rnn_rows(r->x);
        fnn_rows_pack(&j.s, &x, j.copy);
    }
    add_biases(&j);
    fnn_rnn_start_states(&j.s, r->h0, r->state, r->size, j.states[0]);
    memcpy(j.states[1], j.states[0], (size_t)(r->batch * r->state * r->size));
    if (j.cells != NULL) {
        fnn_rnn_start_states(&j.s, r->c0, r->units, r->size, j.cells);
    }
    if (j.packed) {
        fnn_rnn_product_pack(&j.recurrent);
        if (r->w_hr != NULL) {
            fnn_rnn_product_pack(&j.projection);
        }
    }
    for (j.from = 0; j.from < r->steps; j.from = j.to) {
        j.to = fnn_min64(r->steps, j.from + j.chunk);
        const int64_t first =
            fnn_sequence_first(&j.s, r->reverse ? r->steps - j.to : j.from);
        const int64_t end =
            fnn_sequence_first(&j.s, r->reverse ? r->steps - j.from : j.to);
        fnn_gemm_args g = input_product(&j, end - first);
        g.a = j.x + first * j.x_row * r->size;
        g.c = j.z;
        fnn_gemm(&g, j.gemm);
        fnn_parallel_for(j.pieces, 1, run_pieces, &j);
    }
    if (r->save && r->lengths != NULL) {
        clear_rest(&j);
    }
    last_states(&j, j.states[0]);
    const fnn_rows hn = fnn_rnn_states(r->hn);
    fnn_states_unpack(&j.s, j.states[0], &hn);
    if (r->cn != NULL) {
        const fnn_rows cn = fnn_rnn_states(r->cn);
        fnn_states_unpack(&j.s, j.cells, &cn);
    }
    if (r->lengths != NULL) {
        const fnn_rows y = fnn_rnn_rows(r->y);
        fnn_rows_unpack(&j.s, j.y, &y);
    }
    return FNN_OK;
}

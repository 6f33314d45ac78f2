/* rnn, gru and lstm over whole sequences, and their gradients: checks and shapes. What they
 * compute is in csrc/rnn. */
#include "rnn/rnn.h"
#include "ops.h"

/* Inputs, forward and backward; a row has those of its cell. */
enum { X, W_IH, W_HH, B_IH, B_HH, H0, LENGTHS, C0, W_HR };
enum { GY, GHN, X_, W_IH_, W_HH_, H0_, LENGTHS_, Y, SAVED, GCN, C0_, W_HR_ };

static const fnn_tensor *input(const fnn_call *c, int i) {
    return i < c->n_in ? c->in[i] : NULL;
}

/* t of this shape, contiguous; n2 < 0: of two dimensions, n1 < 0: of one. */
static void shape(fnn_tensor *t, int dtype, int64_t n0, int64_t n1, int64_t n2) {
    t->dtype = dtype;
    t->ndim = n1 < 0 ? 1 : n2 < 0 ? 2 : 3;
    t->shape[0] = n0;
    t->shape[1] = n1;
    t->shape[2] = n2;
    fnn_set_contiguous(t);
}

/* Fails unless t, where there is one, has these sizes, -1 for those past its dimensions. */
static fnn_status expect(const fnn_call *c, const fnn_tensor *t, const char *name,
                         int dtype, int64_t n0, int64_t n1, int64_t n2) {
    if (t == NULL) {
        return FNN_OK;
    }
    fnn_tensor wanted;
    shape(&wanted, dtype, n0, n1, n2);
    if (!fnn_same_shape(t, &wanted)) {
        return fnn_fail(c->err, FNN_ERR_VALUE, "%s: expected %s of shape %s, got %s",
                        c->op->name, name, FNN_SHAPE(&wanted), FNN_SHAPE(t));
    }
    if (dtype >= 0 && t->dtype != dtype) {
        return fnn_fail(c->err, FNN_ERR_TYPE, "%s: expected %s of dtype %s, got %s",
                        c->op->name, name, fnn_dtype_name(dtype),
                        fnn_dtype_name(t->dtype));
    }
    return FNN_OK;
}

/* Sizes, from the first tensors; what else there is has to fit them. */
static fnn_status describe(const fnn_call *c, fnn_rnn *r, int x, int w_ih, int w_hh,
                           int h0, int lengths, int c0, int w_hr) {
    const fnn_tensor *xs = c->in[x], *w = c->in[w_ih];
    static const int64_t gates[] = {1, 3, 4};
    *r = (fnn_rnn){.kind = (fnn_cell_kind)c->op->kernel,
                   .name = c->op->name,
                   .threads = c->threads,
                   .x = xs,
                   .w_ih = w,
                   .w_hh = c->in[w_hh],
                   .h0 = input(c, h0),
                   .lengths = input(c, lengths)};
    if (r->kind == FNN_CELL_LSTM) {
        r->c0 = input(c, c0);
        r->w_hr = input(c, w_hr);
    }
    FNN_TRY(fnn_expect_float(c, x, "input"));
    if (xs->ndim != 3) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected input of shape (steps, batch, features), got %s",
                        c->op->name, FNN_SHAPE(xs));
    }
    r->dtype = xs->dtype;
    r->size = fnn_dtype_size(r->dtype);
    r->steps = xs->shape[0];
    r->batch = xs->shape[1];
    r->in = xs->shape[2];
    r->gates = gates[r->kind];
    if (w->ndim != 2 || w->shape[0] < 1 || w->shape[0] % r->gates != 0) {
        return fnn_fail(
            c->err, FNN_ERR_VALUE,
            "%s: expected weight_ih of shape (%lld units, features), got %s",
            c->op->name, (long long)r->gates, FNN_SHAPE(w));
    }
    r->units = w->shape[0] / r->gates;
    r->state = r->units;
    if (r->w_hr != NULL) {
        if (r->w_hr->ndim != 2 || r->w_hr->shape[0] < 1) {
            return fnn_fail(
                c->err, FNN_ERR_VALUE,
                "%s: expected weight_hr of shape (projection, %lld), got %s",
                c->op->name, (long long)r->units, FNN_SHAPE(r->w_hr));
        }
        r->state = r->w_hr->shape[0];
    }
    FNN_TRY(expect(c, w, "weight_ih", r->dtype, r->gates * r->units, r->in, -1));
    FNN_TRY(
        expect(c, r->w_hh, "weight_hh", r->dtype, r->gates * r->units, r->state, -1));
    FNN_TRY(expect(c, r->w_hr, "weight_hr", r->dtype, r->state, r->units, -1));
    FNN_TRY(expect(c, r->h0, "h0", r->dtype, r->batch, r->state, -1));
    FNN_TRY(expect(c, r->c0, "c0", r->dtype, r->batch, r->units, -1));
    FNN_TRY(expect(c, r->lengths, "lengths", -1, r->batch, -1, -1));
    return r->lengths == NULL ? FNN_OK : fnn_expect_integer(c, lengths, "lengths");
}

static fnn_status check_activation(const fnn_call *c, int64_t act) {
    if (act != FNN_ACT_RELU && act != FNN_ACT_TANH) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected activation %d (relu) or %d (tanh), got %lld",
                        c->op->name, FNN_ACT_RELU, FNN_ACT_TANH, (long long)act);
    }
    return FNN_OK;
}

/* ---- forward ------------------------------------------------------------------------- */

static fnn_status describe_forward(const fnn_call *c, fnn_rnn *r) {
    FNN_TRY(describe(c, r, X, W_IH, W_HH, H0, LENGTHS, C0, W_HR));
    r->b_ih = input(c, B_IH);
    r->b_hh = input(c, B_HH);
    r->reverse = c->attr[1].i;
    if (r->kind == FNN_CELL_RNN) {
        r->act = (int)c->attr[0].i;
    } else {
        r->save = c->attr[0].i;
        r->saved = &c->out[2];
    }
    r->y = &c->out[0];
    r->hn = &c->out[1];
    r->cn = r->kind == FNN_CELL_LSTM ? &c->out[3] : NULL;
    return FNN_OK;
}

fnn_status fnn_infer_rnn(fnn_call *c) {
    fnn_rnn r;
    FNN_TRY(describe_forward(c, &r));
    if ((r.b_ih == NULL) != (r.b_hh == NULL)) {
        return fnn_fail(c->err, FNN_ERR_VALUE, "%s: expected both biases or neither",
                        c->op->name);
    }
    FNN_TRY(expect(c, r.b_ih, "bias_ih", r.dtype, r.gates * r.units, -1, -1));
    FNN_TRY(expect(c, r.b_hh, "bias_hh", r.dtype, r.gates * r.units, -1, -1));
    if (r.b_ih != NULL) {
        FNN_TRY(fnn_expect_contiguous(c, B_IH, "bias_ih"));
        FNN_TRY(fnn_expect_contiguous(c, B_HH, "bias_hh"));
    }
    if (r.kind == FNN_CELL_RNN) {
        FNN_TRY(check_activation(c, r.act));
    } else {
        shape(&c->out[2], r.dtype, r.save ? r.steps : 0, r.batch, fnn_rnn_saved(&r));
        FNN_TRY(fnn_check_size(c, &c->out[2]));
    }
    shape(&c->out[0], r.dtype, r.steps, r.batch, r.state);
    shape(&c->out[1], r.dtype, r.batch, r.state, -1);
    if (r.kind == FNN_CELL_LSTM) {
        shape(&c->out[3], r.dtype, r.batch, r.units, -1);
    }
    return fnn_check_size(c, &c->out[0]);
}

int64_t fnn_workspace_rnn(const fnn_call *c) {
    fnn_rnn r;
    return describe_forward(c, &r) == FNN_OK ? fnn_rnn_forward_workspace(&r) : 0;
}

fnn_status fnn_run_rnn(fnn_call *c) {
    fnn_rnn r;
    FNN_TRY(describe_forward(c, &r));
    return fnn_rnn_forward(&r, c->workspace, c->err);
}

/* ---- backward ------------------------------------------------------------------------ */

/* The bits of needs, and the outputs' order. */
enum { GX, GH0, GW_IH, GW_HH, GB, GB_HH, GC0 = GB_HH, GW_HR };

static fnn_status describe_backward(const fnn_call *c, fnn_rnn *r) {
    FNN_TRY(describe(c, r, X_, W_IH_, W_HH_, H0_, LENGTHS_, C0_, W_HR_));
    r->gy = c->in[GY];
    r->ghn = c->in[GHN];
    r->y = c->in[Y];
    if (r->kind == FNN_CELL_RNN) {
        r->act = (int)c->attr[0].i;
    } else {
        r->saved = c->in[SAVED];
    }
    r->reverse = c->attr[r->kind == FNN_CELL_RNN ? 1 : 0].i;
    r->gx = &c->out[GX];
    r->gh0 = &c->out[GH0];
    r->gw_ih = &c->out[GW_IH];
    r->gw_hh = &c->out[GW_HH];
    r->gb_ih = &c->out[GB];
    if (r->kind == FNN_CELL_GRU) {
        r->gb_hh = &c->out[GB_HH];
    } else if (r->kind == FNN_CELL_LSTM) {
        r->gcn = input(c, GCN);
        r->gc0 = &c->out[GC0];
        r->gw_hr = &c->out[GW_HR];
    }
    return FNN_OK;
}

fnn_status fnn_infer_rnn_backward(fnn_call *c) {
    fnn_rnn r;
    FNN_TRY(describe_backward(c, &r));
    FNN_TRY(expect(c, r.gy, "gy", r.dtype, r.steps, r.batch, r.state));
    FNN_TRY(expect(c, r.ghn, "ghn", r.dtype, r.batch, r.state, -1));
    FNN_TRY(expect(c, r.gcn, "gcn", r.dtype, r.batch, r.units, -1));
    FNN_TRY(expect(c, r.y, "y", r.dtype, r.steps, r.batch, r.state));
    FNN_TRY(fnn_expect_contiguous(c, Y, "y"));
    if (r.kind == FNN_CELL_RNN) {
        FNN_TRY(check_activation(c, r.act));
    } else {
        FNN_TRY(
            expect(c, r.saved, "saved", r.dtype, r.steps, r.batch, fnn_rnn_saved(&r)));
        FNN_TRY(fnn_expect_contiguous(c, SAVED, "saved"));
    }
    const int64_t needs = c->attr[r.kind == FNN_CELL_RNN ? 2 : 1].i;
    const int64_t wide = r.gates * r.units;
    const int64_t sizes[][3] = {
        [GX] = {r.steps, r.batch, r.in},
        [GH0] = {r.batch, r.state, -1},
        [GW_IH] = {wide, r.in, -1},
        [GW_HH] = {wide, r.state, -1},
        [GB] = {wide, -1, -1},
        [GB_HH] = {r.kind == FNN_CELL_GRU ? wide : r.batch,
                   r.kind == FNN_CELL_GRU ? -1 : r.units, -1},
        [GW_HR] = {r.w_hr != NULL ? r.state : 0, r.units, -1},
    };
    for (int i = 0; i < c->op->n_out; i++) {
        const bool bias =
            r.kind == FNN_CELL_GRU && i == GB_HH; /* comes with the other */
        const bool needed = needs >> (bias ? GB : i) & 1;
        shape(&c->out[i], r.dtype, needed ? sizes[i][0] : 0, sizes[i][1], sizes[i][2]);
        FNN_TRY(fnn_check_size(c, &c->out[i]));
    }
    return FNN_OK;
}

int64_t fnn_workspace_rnn_backward(const fnn_call *c) {
    fnn_rnn r;
    return describe_backward(c, &r) == FNN_OK ? fnn_rnn_backward_workspace(&r) : 0;
}

fnn_status fnn_run_rnn_backward(fnn_call *c) {
    fnn_rnn r;
    FNN_TRY(describe_backward(c, &r));
    return fnn_rnn_backward(&r, c->workspace, c->err);
}

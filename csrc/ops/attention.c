/* Scaled dot-product attention, softmax(scale q k^T + mask) v, block by block: a block of
 * scores, KEYS keys wide, is made, turned into exponentials and multiplied by v while it is
 * in cache, and results of earlier blocks are scaled to the largest score so far (Milakov,
 * Gimelshein, arXiv:1805.02867; Dao et al., arXiv:2205.14135).
 *
 * A row of the result depends on its query, on the keys that it sees and on where blocks of
 * keys begin, which is always the same: at multiples of KEYS. So rows of a causal sequence
 * are, bit for bit, what a query alone gives with the keys up to its own. */
#include "ops/attention.h"

#define KEYS FNN_GEMM_KC /* of a block: one chain */
#define ROWS 28          /* queries of a block; some rows of tiles for every ISA */

/* ---- operands ----------------------------------------------------------------------- */

static int64_t dim_back(const fnn_tensor *t, int back) {
    return t->shape[t->ndim - back];
}

/* (..., rows, heads, columns) as (..., heads, rows, columns). */
static fnn_tensor turned(const fnn_tensor *t, bool heads) {
    fnn_tensor x = *t;
    if (heads) {
        const int r = x.ndim - 3, h = x.ndim - 2;
        x.shape[r] = t->shape[h];
        x.stride[r] = t->stride[h];
        x.shape[h] = t->shape[r];
        x.stride[h] = t->stride[r];
    }
    return x;
}

static bool is_heads(const fnn_call *c) { return c->attr[2].i != 0; }

fnn_attention_operand fnn_attention_of(const fnn_attention_job *j, const fnn_tensor *t,
                                       bool heads) {
    const fnn_tensor x = turned(t, heads);
    fnn_attention_operand o = {.data = x.data};
    o.row = dim_back(&x, 2) == 1 ? 0 : x.stride[x.ndim - 2];
    for (int d = 0; d < j->batch_dims; d++) {
        const int from = d - (j->batch_dims - (x.ndim - 2));
        o.batch[d] = from >= 0 && x.shape[from] != 1 ? x.stride[from] : 0;
    }
    return o;
}

fnn_attention_operand fnn_attention_statistics(const fnn_attention_job *j,
                                               const fnn_tensor *t) {
    fnn_attention_operand o = {.data = t->data, .row = t->stride[t->ndim - 1]};
    for (int d = 0; d < j->batch_dims; d++) {
        o.batch[d] = t->stride[d];
    }
    return o;
}

static bool is_apart(const fnn_tensor *t) {
    return dim_back(t, 1) > 1 && t->stride[t->ndim - 1] != 1;
}

static int64_t copy_bytes(const fnn_tensor *t) {
    return t != NULL && is_apart(t)
               ? fnn_aligned(fnn_numel(t) * fnn_dtype_size(t->dtype))
               : 0;
}

int64_t fnn_attention_copies(const fnn_call *c) {
    int64_t bytes = 0;
    for (int i = 0; i < c->n_in; i++) {
        bytes += copy_bytes(c->in[i]);
    }
    return bytes;
}

/* Input i, columns 1 apart: as it is, or its copy. */
fnn_tensor fnn_attention_rows(const fnn_call *c, int i, char **room) {
    fnn_tensor t = *c->in[i];
    if (is_apart(&t)) {
        const int64_t bytes = copy_bytes(&t);
        fnn_set_contiguous(&t);
        t.data = *room;
        fnn_copy(&t, c->in[i]);
        *room += bytes;
    }
    return t;
}

fnn_attention_job fnn_attention_make(const fnn_call *c, int from) {
    const bool heads = is_heads(c);
    const fnn_tensor q = turned(c->in[from], heads), k = turned(c->in[from + 1], heads);
    const fnn_tensor v = turned(c->in[from + 2], heads);
    fnn_attention_job j = {.dtype = q.dtype,
                           .f64 = FNN_F64(q.dtype),
                           .size = fnn_dtype_size(q.dtype),
                           .scale = c->attr[0].f,
                           .causal = c->attr[1].i != 0,
                           .heads = 1,
                           .workers = 1};
    j.tile = fnn_k->gemm_tile[j.f64];
    j.l = dim_back(&q, 2);
    j.s = dim_back(&k, 2);
    j.e = dim_back(&q, 1);
    j.v_width = dim_back(&v, 1);
    const fnn_tensor *all[3] = {&q, &k, &v};
    for (int i = 0; i < 3; i++) {
        j.batch_dims = (int)fnn_max64(j.batch_dims, all[i]->ndim - 2);
    }
    for (int d = 0; d < j.batch_dims; d++) {
        j.batch[d] = 1;
        for (int i = 0; i < 3; i++) {
            const int at = d - (j.batch_dims - (all[i]->ndim - 2));
            if (at >= 0 && all[i]->shape[at] != 1) {
                j.batch[d] = all[i]->shape[at];
            }
        }
        j.heads *= j.batch[d];
    }
    return j;
}

void fnn_attention_read(fnn_attention_job *j, const fnn_call *c, int from,
                        char **room) {
    const bool heads = is_heads(c);
    fnn_attention_operand *to[3] = {&j->q, &j->k, &j->v};
    for (int i = 0; i < 3; i++) {
        const fnn_tensor t = fnn_attention_rows(c, from + i, room);
        *to[i] = fnn_attention_of(j, &t, heads);
    }
    if (c->in[from + 3] != NULL) {
        const fnn_tensor t = fnn_attention_rows(c, from + 3, room);
        j->mask = fnn_attention_of(j, &t, false);
        j->mask_kind = t.dtype == FNN_BOOL ? FNN_ATTENTION_BOOL : FNN_ATTENTION_FLOAT;
        j->mask_same = dim_back(&t, 1) == 1;
    }
}

void fnn_attention_set_mask(const fnn_attention_job *j, fnn_attention_scores *g,
                            int64_t head, int64_t row, int64_t key) {
    g->mask_kind = j->mask_kind;
    if (j->mask_kind != FNN_ATTENTION_NONE) {
        const ptrdiff_t size = j->mask_kind == FNN_ATTENTION_BOOL ? 1 : j->size;
        g->mask = fnn_attention_at(j, &j->mask, head, row, size) +
                  (j->mask_same ? 0 : key * size);
        g->mask_row = j->mask.row;
        g->mask_same = j->mask_same;
    }
}

/* ---- products ----------------------------------------------------------------------- */

int64_t fnn_attention_packed(const fnn_attention_job *j, ptrdiff_t n, ptrdiff_t k) {
    return fnn_aligned(fnn_round_up(n, j->tile->lanes) * k * j->size + FNN_GEMM_MARGIN);
}

void fnn_attention_pack(const fnn_attention_job *j, ptrdiff_t n, ptrdiff_t k,
                        const char *x, ptrdiff_t row, bool turned_, char *to) {
    const ptrdiff_t width = fnn_round_up(n, j->tile->lanes);
    for (ptrdiff_t k0 = 0; k0 < k; k0 += FNN_GEMM_KC) {
        const ptrdiff_t kc = fnn_min64(k - k0, FNN_GEMM_KC);
        j->tile->pack_b(n, kc, x + k0 * (turned_ ? row : 1) * j->size,
                        turned_ ? row : 1, turned_ ? 1 : row,
                        to + k0 * width * j->size);
    }
}

void fnn_attention_multiply(const fnn_attention_job *j,
                            const fnn_attention_product *p) {
    const fnn_gemm_tile *kernel = j->tile;
    const ptrdiff_t tiles = fnn_ceil_div(p->m, kernel->mr), size = j->size;
    const ptrdiff_t width = fnn_round_up(p->packed_n, kernel->lanes);
    if (p->k == 0 && p->first) {
        for (ptrdiff_t i = 0; i < p->m; i++) {
            memset(p->c + i * p->c_row * size, 0, (size_t)(p->n * size));
        }
    }
    for (ptrdiff_t k0 = 0; k0 < p->k; k0 += FNN_GEMM_KC) {
        const ptrdiff_t kc = fnn_min64(p->k - k0, FNN_GEMM_KC);
        const ptrdiff_t depth = fnn_min64(p->packed_k - k0, FNN_GEMM_KC);
        fnn_tile t = {.k = kc,
                      .a_row = p->a_row,
                      .a_k = p->a_k,
                      .b_col = 1,
                      .ldc = p->c_row,
                      .first = p->first && k0 == 0,
                      .b_padded = p->packed_n > 0 || p->b_padded};
        for (ptrdiff_t n0 = 0; n0 < p->n; n0 += kernel->nr) {
            t.n = fnn_min64(p->n - n0, kernel->nr);
            if (p->packed_n > 0) {
                t.b_k = fnn_min64(width - n0, kernel->nr);
                t.b = p->b + (k0 * width + n0 * depth) * size;
            } else {
                t.b_k = p->b_row;
                t.b = p->b + (k0 * p->b_row + n0) * size;
            }
            for (ptrdiff_t i = 0, at = 0; i < tiles; i++, at += t.m) {
                t.m = fnn_even_start(p->m, tiles, i + 1) - at;
                t.a = p->a + (at * p->a_row + k0 * p->a_k) * size;
                t.c = p->c + (at * p->c_row + n0) * size;
                kernel->tile(&t);
            }
        }
    }
}

/* ---- forward ------------------------------------------------------------------------ */

/* The scratch of a worker, in this order. */
typedef struct {
    char *keys, *values, *scores, *queries, *sums;
    ptrdiff_t score_row, query_row;
} room;

/* Few queries read keys and values where they are: packing them would take longer. */
static bool is_few(const fnn_attention_job *j) { return j->l <= j->tile->gemv_m; }

static int64_t set_room(const fnn_attention_job *j, room *r, char *at) {
    const ptrdiff_t lanes = j->tile->lanes;
    const int64_t keys = fnn_min64(j->s, KEYS), rows = fnn_min64(j->l, ROWS);
    r->score_row = fnn_round_up(keys, lanes) + lanes; /* apart, for the cache's sets */
    r->query_row = fnn_round_up(j->e, lanes);
    const int64_t bytes[5] = {is_few(j) ? 0 : fnn_attention_packed(j, keys, j->e),
                              is_few(j) ? 0 : fnn_attention_packed(j, j->v_width, keys),
                              rows * r->score_row * j->size,
                              rows * r->query_row * j->size,
                              is_few(j) ? rows * j->v_width * j->size : 0};
    char **to[5] = {&r->keys, &r->values, &r->scores, &r->queries, &r->sums};
    int64_t total = 0;
    for (int i = 0; i < 5; i++) {
        *to[i] = at + total;
        total += fnn_aligned(bytes[i]);
    }
    return total;
}

/* Where one column of B follows the other: a few rows of A against it. */
static void multiply_few(const fnn_attention_job *j, const fnn_attention_product *p,
                         ptrdiff_t b_k, ptrdiff_t b_col) {
    const fnn_tile t = {.m = p->m,
                        .n = p->n,
                        .k = p->k,
                        .a = p->a,
                        .a_row = p->a_row,
                        .a_k = p->a_k,
                        .b = p->b,
                        .b_k = b_k,
                        .b_col = b_col,
                        .c = p->c,
                        .ldc = p->c_row,
                        .first = true,
                        .last = true};
    j->tile->gemv(&t);
}

static void add_rows(const fnn_attention_job *j, ptrdiff_t rows, char *y,
                     ptrdiff_t y_row, const char *x) {
    for (ptrdiff_t i = 0; i < rows; i++, y += y_row * j->size) {
        const void *in[2] = {y, x + i * j->v_width * j->size};
        fnn_k->map[FNN_MAP_add][j->f64](j->v_width, y, in, (ptrdiff_t[]){1, 1});
    }
}

/* A block of scores: `rows` queries from `row` on, and the first `keys` of `packed` keys
 * from `key` on. */
static void block(const fnn_attention_job *j, const room *r, int64_t head, int64_t row,
                  ptrdiff_t rows, int64_t key, ptrdiff_t keys, ptrdiff_t packed) {
    const ptrdiff_t size = j->size;
    const char *k = fnn_attention_at(j, &j->k, head, key, size);
    const char *v = fnn_attention_at(j, &j->v, head, key, size);
    char *y = fnn_attention_at(j, &j->y, head, row, size);
    fnn_k->attention_scale[j->f64](rows, j->e,
                                   fnn_attention_at(j, &j->q, head, row, size),
                                   j->q.row, j->scale, NULL, r->queries, r->query_row);
    fnn_attention_product scores = {.m = rows,
                                    .n = keys,
                                    .k = j->e,
                                    .a = r->queries,
                                    .a_row = r->query_row,
                                    .a_k = 1,
                                    .b = r->keys,
                                    .packed_n = packed,
                                    .packed_k = j->e,
                                    .c = r->scores,
                                    .c_row = r->score_row,
                                    .first = true};
    const bool few = is_few(j) && j->e > 0;
    if (few) {
        scores.b = k;
        multiply_few(j, &scores, 1, j->k.row);
    } else {
        fnn_attention_multiply(j, &scores);
    }
    fnn_attention_scores g = {.rows = rows,
                              .n = keys,
                              .s = r->scores,
                              .ld = r->score_row,
                              .limit = j->causal ? row - key + 1 : keys,
                              .slope = j->causal,
                              .top = fnn_attention_at(j, &j->top, head, row, size),
                              .total = fnn_attention_at(j, &j->total, head, row, size),
                              .y = y,
                              .y_row = j->y.row,
                              .width = j->v_width,
                              .first = key == 0};
    fnn_attention_set_mask(j, &g, head, row, key);
    fnn_k->attention_softmax[j->f64](&g);
    fnn_attention_product sums = {.m = rows,
                                  .n = j->v_width,
                                  .k = keys,
                                  .a = r->scores,
                                  .a_row = r->score_row,
                                  .a_k = 1,
                                  .b = r->values,
                                  .packed_n = j->v_width,
                                  .packed_k = packed,
                                  .c = y,
                                  .c_row = j->y.row,
                                  .first = key == 0};
    if (!is_few(j)) {
        fnn_attention_multiply(j, &sums);
        return;
    }
    sums.b = v;
    if (key > 0) {
        sums.c = r->sums;
        sums.c_row = j->v_width;
    }
    multiply_few(j, &sums, j->v.row, 1);
    if (key > 0) {
        add_rows(j, rows, y, j->y.row, r->sums);
    }
}

/* Queries [lo, hi) of a head. */
static void forward(const fnn_attention_job *j, const room *r, int64_t head, int64_t lo,
                    int64_t hi) {
    const int64_t end = j->causal ? fnn_min64(j->s, hi) : j->s;
    for (int64_t key = 0; key < end; key += KEYS) {
        const int64_t keys = fnn_min64(KEYS, end - key);
        if (!is_few(j)) {
            fnn_attention_pack(j, keys, j->e,
                               fnn_attention_at(j, &j->k, head, key, j->size), j->k.row,
                               false, r->keys);
            fnn_attention_pack(j, j->v_width, keys,
                               fnn_attention_at(j, &j->v, head, key, j->size), j->v.row,
                               true, r->values);
        }
        for (int64_t row = lo; row < hi; row += ROWS) {
            const int64_t rows = fnn_min64(ROWS, hi - row);
            const int64_t last = j->causal ? fnn_min64(j->s, row + rows) : j->s;
            const int64_t seen = fnn_min64(keys, last - key);
            if (seen <= 0) {
                continue;
            }
            block(j, r, head, row, rows, key, seen, keys);
            if (last <= key + KEYS) { /* while they are in cache */
                char *y = fnn_attention_at(j, &j->y, head, row, j->size);
                fnn_k->attention_scale[j->f64](
                    rows, j->v_width, y, j->y.row, 1,
                    fnn_attention_at(j, &j->total, head, row, j->size), y, j->y.row);
            }
        }
    }
}

static void forward_units(void *context, int64_t lo, int64_t hi) {
    const fnn_attention_job *j = context;
    const int64_t chunks = fnn_ceil_div(j->l, j->chunk);
    for (int64_t w = lo; w < hi; w++) {
        room r;
        set_room(j, &r, j->scratch + w * j->scratch_bytes);
        for (int64_t u = w; u < j->units; u += j->workers) {
            const int64_t row = u % chunks * j->chunk;
            forward(j, &r, u / chunks, row, fnn_min64(row + j->chunk, j->l));
        }
    }
}

static void share(fnn_attention_job *j, const fnn_call *c) {
    room r;
    const double work = (double)j->heads * (double)j->l * (double)j->s *
                        (double)(j->e + j->v_width) / (j->causal ? 2 : 1);
    j->chunk = fnn_max64(j->l, 1);
    if (work >= FNN_GEMM_SERIAL && c->threads > 1) {
        const int64_t workers = c->threads;
        const int64_t pieces = j->heads % workers == 0 || j->heads >= 8 * workers
                                   ? 1
                                   : fnn_ceil_div(4 * workers, j->heads);
        j->chunk = fnn_round_up(fnn_ceil_div(j->chunk, pieces), ROWS);
        j->workers = workers;
    }
    j->units = j->heads * fnn_ceil_div(j->l, j->chunk);
    j->workers = fnn_max64(1, fnn_min64(j->workers, j->units));
    j->scratch_bytes = set_room(j, &r, NULL);
}

int64_t fnn_workspace_attention(const fnn_call *c) {
    fnn_attention_job j = fnn_attention_make(c, 0);
    share(&j, c);
    return fnn_attention_copies(c) + j.workers * j.scratch_bytes;
}

/* Without keys the largest score is that of no score at all. */
static void no_keys(const fnn_call *c) {
    const fnn_tensor *top = &c->out[1];
    for (int i = 0; i < 3; i += 2) {
        memset(c->out[i].data, 0,
               (size_t)(fnn_numel(&c->out[i]) * fnn_dtype_size(c->out[i].dtype)));
    }
    for (int64_t i = 0; i < fnn_numel(top); i++) {
        if (top->dtype == FNN_FLOAT64) {
            ((double *)(void *)top->data)[i] = -INFINITY;
        } else {
            ((float *)(void *)top->data)[i] = -INFINITY;
        }
    }
}

fnn_status fnn_run_attention(fnn_call *c) {
    fnn_attention_job j = fnn_attention_make(c, 0);
    share(&j, c);
    if (j.heads == 0 || j.l == 0) {
        return FNN_OK;
    }
    if (j.s == 0) {
        no_keys(c);
        return FNN_OK;
    }
    char *at = c->workspace;
    fnn_attention_read(&j, c, 0, &at);
    j.y = fnn_attention_of(&j, &c->out[0], is_heads(c));
    j.top = fnn_attention_statistics(&j, &c->out[1]);
    j.total = fnn_attention_statistics(&j, &c->out[2]);
    j.scratch = at;
    fnn_parallel_for(j.workers, 1, forward_units, &j);
    return FNN_OK;
}

/* ---- shapes ------------------------------------------------------------------------- */

/* Whether the shapes, but for what is counted from the end, broadcast to the job's. */
static bool fits(const fnn_attention_job *j, const fnn_tensor *t) {
    const int lead = t->ndim - 2;
    if (lead > j->batch_dims) {
        return false;
    }
    for (int d = 0; d < lead; d++) {
        const int64_t n = j->batch[j->batch_dims - lead + d];
        if (t->shape[d] != n && t->shape[d] != 1) {
            return false;
        }
    }
    return true;
}

static fnn_status check(const fnn_call *c, int from) {
    const bool heads = is_heads(c);
    static const char *const names[3] = {"q", "k", "v"};
    for (int i = 0; i < 3; i++) {
        FNN_TRY(fnn_expect_float(c, from + i, names[i]));
        FNN_TRY(fnn_expect_same_dtype(c, from, from + i, "q, k and v"));
        if (c->in[from + i]->ndim < 2 + heads) {
            return fnn_fail(c->err, FNN_ERR_VALUE,
                            "%s: expected %s with at least %d dimensions, got shape %s",
                            c->op->name, names[i], 2 + heads,
                            FNN_SHAPE(c->in[from + i]));
        }
    }
    const fnn_tensor *q = c->in[from], *k = c->in[from + 1], *v = c->in[from + 2];
    const fnn_attention_job j = fnn_attention_make(c, from);
    const fnn_tensor tq = turned(q, heads), tk = turned(k, heads),
                     tv = turned(v, heads);
    if (dim_back(q, 1) != dim_back(k, 1) || dim_back(&tk, 2) != dim_back(&tv, 2) ||
        !fits(&j, &tq) || !fits(&j, &tk) || !fits(&j, &tv)) {
        return fnn_fail(
            c->err, FNN_ERR_VALUE,
            "%s: expected q of shape %s, k %s and v %s with the same batch, "
            "got %s, %s and %s",
            c->op->name, heads ? "(..., l, heads, e)" : "(..., l, e)",
            heads ? "(..., s, heads, e)" : "(..., s, e)",
            heads ? "(..., s, heads, f)" : "(..., s, f)", FNN_SHAPE(q), FNN_SHAPE(k),
            FNN_SHAPE(v));
    }
    const fnn_tensor *mask = c->in[from + 3];
    if (mask == NULL) {
        return FNN_OK;
    }
    if (mask->dtype != FNN_BOOL && mask->dtype != q->dtype) {
        return fnn_fail(c->err, FNN_ERR_TYPE,
                        "%s: expected a mask of dtype bool or %s, got %s", c->op->name,
                        fnn_dtype_name(q->dtype), fnn_dtype_name(mask->dtype));
    }
    if (mask->ndim < 2 || !fits(&j, mask) ||
        (dim_back(mask, 2) != j.l && dim_back(mask, 2) != 1) ||
        (dim_back(mask, 1) != j.s && dim_back(mask, 1) != 1)) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "%s: expected a mask that broadcasts to (..., %lld, %lld), got "
                        "shape %s",
                        c->op->name, (long long)j.l, (long long)j.s, FNN_SHAPE(mask));
    }
    return FNN_OK;
}

/* (batch ..., rows, columns), in the order that the call wants, contiguous. */
static void set_output(fnn_tensor *t, const fnn_attention_job *j, bool heads,
                       int64_t rows, int64_t columns) {
    t->dtype = j->dtype;
    t->ndim = j->batch_dims + 2;
    for (int d = 0; d < j->batch_dims; d++) {
        t->shape[d] = j->batch[d];
    }
    t->shape[t->ndim - 2] = rows;
    t->shape[t->ndim - 1] = columns;
    if (heads) {
        t->shape[t->ndim - 2] = j->batch[j->batch_dims - 1];
        t->shape[t->ndim - 3] = rows;
    }
    fnn_set_contiguous(t);
}

static void set_statistics(fnn_tensor *t, const fnn_attention_job *j) {
    t->dtype = j->dtype;
    t->ndim = j->batch_dims + 1;
    for (int d = 0; d < j->batch_dims; d++) {
        t->shape[d] = j->batch[d];
    }
    t->shape[t->ndim - 1] = j->l;
    fnn_set_contiguous(t);
}

fnn_status fnn_infer_attention(fnn_call *c) {
    FNN_TRY(check(c, 0));
    const fnn_attention_job j = fnn_attention_make(c, 0);
    set_output(&c->out[0], &j, is_heads(c), j.l, j.v_width);
    set_statistics(&c->out[1], &j);
    set_statistics(&c->out[2], &j);
    return fnn_check_size(c, &c->out[0]);
}

fnn_status fnn_infer_attention_backward(fnn_call *c) {
    FNN_TRY(check(c, 1));
    const bool heads = is_heads(c);
    const fnn_attention_job j = fnn_attention_make(c, 1);
    fnn_tensor y, row;
    set_output(&y, &j, heads, j.l, j.v_width);
    set_statistics(&row, &j);
    const fnn_tensor *gy = c->in[0];
    FNN_TRY(fnn_expect_float(c, 0, "gy"));
    FNN_TRY(fnn_expect_same_dtype(c, 0, 1, "gy and q"));
    if (!fnn_same_shape(gy, &y)) {
        return fnn_fail(c->err, FNN_ERR_VALUE, "%s: expected gy of shape %s, got %s",
                        c->op->name, FNN_SHAPE(&y), FNN_SHAPE(gy));
    }
    for (int i = 5; i < 8; i++) {
        const fnn_tensor *x = c->in[i], *as = i == 5 ? &y : &row;
        if (!fnn_same_shape(x, as) || x->dtype != j.dtype) {
            return fnn_fail(
                c->err, FNN_ERR_VALUE,
                "%s: expected y, top and total as attention gives them, got "
                "%s %s for shape %s",
                c->op->name, fnn_dtype_name(x->dtype), FNN_SHAPE(x), FNN_SHAPE(as));
        }
    }
    set_output(&c->out[0], &j, heads, j.l, j.e);
    set_output(&c->out[1], &j, heads, j.s, j.e);
    set_output(&c->out[2], &j, heads, j.s, j.v_width);
    for (int i = 0; i < 3; i++) {
        FNN_TRY(fnn_check_size(c, &c->out[i]));
    }
    return FNN_OK;
}

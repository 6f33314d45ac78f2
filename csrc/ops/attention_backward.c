/* Gradients of attention. With p = exp(s - top) made again from the scores s, and g the
 * gradient of the result over the row's total,
 *     gv = p^T g,   d = p (g v^T - (g . y)),   gq = scale d k,   gk = d^T (scale q),
 * by blocks of SIDE queries and as many keys. A sum over queries goes block by block in
 * their order, and so does one over keys: no order depends on threads. Where heads are
 * fewer than threads, keys are shared among them first, and then queries, at the price of
 * making the blocks twice. */
#include "ops/attention.h"

#define SIDE 64
#define HALF (SIDE / 2) /* on the diagonal, a quarter of a block is skipped */

/* The scratch of a worker, in this order. */
typedef struct {
    char *keys, *values; /* packed block by block */
    int64_t key_bytes, value_bytes;
    char *queries, *grads, *scores, *slopes, *dots;
    ptrdiff_t query_row, grad_row, score_row;
} room;

static int64_t set_room(const fnn_attention_job *j, room *r, char *at) {
    const ptrdiff_t lanes = j->tile->lanes;
    const int64_t blocks = fnn_ceil_div(j->s, SIDE);
    r->key_bytes = fnn_attention_packed(j, SIDE, j->e);
    r->value_bytes = fnn_attention_packed(j, SIDE, j->v_width);
    r->query_row = fnn_round_up(j->e, lanes);
    r->grad_row = fnn_round_up(j->v_width, lanes);
    r->score_row = SIDE + lanes;
    const int64_t bytes[7] = {blocks * r->key_bytes,
                              blocks * r->value_bytes,
                              SIDE * r->query_row * j->size,
                              SIDE * r->grad_row * j->size,
                              SIDE * r->score_row * j->size,
                              SIDE * r->score_row * j->size,
                              SIDE * j->size};
    char **to[7] = {&r->keys,   &r->values, &r->queries, &r->grads,
                    &r->scores, &r->slopes, &r->dots};
    int64_t total = 0;
    for (int i = 0; i < 7; i++) {
        *to[i] = at + total;
        total += fnn_aligned(bytes[i]);
    }
    return total;
}

/* Of a head: queries [row, row_end) and keys [key, key_end), from block to block; whose
 * gradients are wanted. */
typedef struct {
    int64_t head, row, row_end, key, key_end;
    bool of_keys, of_queries;
} part;

/* Scaled queries, g and its products with y of `rows` queries from `row` on. */
static void read_rows(const fnn_attention_job *j, const room *r, int64_t head,
                      int64_t row, ptrdiff_t rows) {
    const ptrdiff_t size = j->size;
    fnn_k->attention_scale[j->f64](rows, j->e,
                                   fnn_attention_at(j, &j->q, head, row, size),
                                   j->q.row, j->scale, NULL, r->queries, r->query_row);
    fnn_k->attention_scale[j->f64](
        rows, j->v_width, fnn_attention_at(j, &j->gy, head, row, size), j->gy.row, 1,
        fnn_attention_at(j, &j->total, head, row, size), r->grads, r->grad_row);
    fnn_k->attention_dots[j->f64](rows, j->v_width, r->grads, r->grad_row,
                                  fnn_attention_at(j, &j->y, head, row, size), j->y.row,
                                  r->dots);
}

/* p and d of `rows` queries, the first of which is number `from` of the block, and the
 * block's first `seen` of `keys` keys. */
static void slopes(const fnn_attention_job *j, const room *r, int64_t head, int64_t row,
                   ptrdiff_t from, ptrdiff_t rows, int64_t key, ptrdiff_t seen) {
    const ptrdiff_t packed = fnn_min64(SIDE, j->s - key); /* of the block */
    const ptrdiff_t size = j->size, at = from * r->score_row * size;
    const int64_t block = key / SIDE;
    fnn_attention_product s = {.m = rows,
                               .n = seen,
                               .k = j->e,
                               .a = r->queries + from * r->query_row * size,
                               .a_row = r->query_row,
                               .a_k = 1,
                               .b = r->keys + block * r->key_bytes,
                               .packed_n = packed,
                               .packed_k = j->e,
                               .c = r->scores + at,
                               .c_row = r->score_row,
                               .first = true};
    fnn_attention_product d = s;
    d.k = d.packed_k = j->v_width;
    d.a = r->grads + from * r->grad_row * size;
    d.a_row = r->grad_row;
    d.b = r->values + block * r->value_bytes;
    d.c = r->slopes + at;
    fnn_attention_multiply(j, &s);
    fnn_attention_multiply(j, &d);
    row += from;
    fnn_attention_scores g = {.rows = rows,
                              .n = seen,
                              .s = s.c,
                              .d = d.c,
                              .ld = r->score_row,
                              .limit = j->causal ? row - key + 1 : seen,
                              .slope = j->causal,
                              .top = fnn_attention_at(j, &j->top, head, row, size),
                              .total = r->dots + from * size};
    fnn_attention_set_mask(j, &g, head, row, key);
    fnn_k->attention_grad[j->f64](&g);
}

/* Adds what the block's queries from number `from` on, of `rows`, give to `keys` of its
 * keys from number `at` on. */
static void to_keys(const fnn_attention_job *j, const room *r, int64_t head,
                    ptrdiff_t from, ptrdiff_t rows, int64_t key, ptrdiff_t at,
                    ptrdiff_t keys, bool first) {
    const ptrdiff_t size = j->size, score = (from * r->score_row + at) * size;
    fnn_attention_product v = {.m = keys,
                               .n = j->v_width,
                               .k = rows - from,
                               .a = r->scores + score,
                               .a_row = 1,
                               .a_k = r->score_row,
                               .b = r->grads + from * r->grad_row * size,
                               .b_row = r->grad_row,
                               .b_padded = true,
                               .c = fnn_attention_at(j, &j->gv, head, key + at, size),
                               .c_row = j->gv.row,
                               .first = first};
    fnn_attention_multiply(j, &v);
    fnn_attention_product k = v;
    k.n = j->e;
    k.a = r->slopes + score;
    k.b = r->queries + from * r->query_row * size;
    k.b_row = r->query_row;
    k.c = fnn_attention_at(j, &j->gk, head, key + at, size);
    k.c_row = j->gk.row;
    fnn_attention_multiply(j, &k);
}

/* Adds what `keys` keys give to the block's `rows` queries from number `from` on. */
static void to_queries(const fnn_attention_job *j, const room *r, int64_t head,
                       int64_t row, ptrdiff_t from, ptrdiff_t rows, int64_t key,
                       ptrdiff_t keys) {
    const ptrdiff_t size = j->size;
    const fnn_attention_product q = {
        .m = rows,
        .n = j->e,
        .k = keys,
        .a = r->slopes + from * r->score_row * size,
        .a_row = r->score_row,
        .a_k = 1,
        .b = fnn_attention_at(j, &j->k, head, key, size),
        .b_row = j->k.row,
        .c = fnn_attention_at(j, &j->gq, head, row + from, size),
        .c_row = j->gq.row,
        .first = key == 0};
    fnn_attention_multiply(j, &q);
}

static void block(const fnn_attention_job *j, const room *r, const part *p, int64_t row,
                  ptrdiff_t rows, int64_t key, ptrdiff_t keys) {
    const bool diagonal = j->causal && row == key;
    const bool first = j->causal ? diagonal : row == 0;
    const ptrdiff_t half = diagonal && rows > HALF && keys > HALF ? HALF : 0;
    if (half > 0) {
        slopes(j, r, p->head, row, 0, half, key, half);
    }
    slopes(j, r, p->head, row, half, rows - half, key, keys);
    if (p->of_keys) {
        if (half > 0) {
            to_keys(j, r, p->head, 0, rows, key, 0, half, first);
        }
        to_keys(j, r, p->head, half, rows, key, half, keys - half, first);
    }
    if (p->of_queries) {
        if (half > 0) {
            to_queries(j, r, p->head, row, 0, half, key, half);
        }
        to_queries(j, r, p->head, row, half, rows - half, key, keys);
    }
}

static void zero_rows(const fnn_attention_job *j, const fnn_attention_operand *x,
                      int64_t head, int64_t from, int64_t to, int64_t width) {
    for (int64_t i = from; i < to; i++) {
        memset(fnn_attention_at(j, x, head, i, j->size), 0, (size_t)(width * j->size));
    }
}

static void backward(const fnn_attention_job *j, const room *r, const part *p) {
    for (int64_t key = p->key; key < p->key_end; key += SIDE) {
        const int64_t keys = fnn_min64(SIDE, j->s - key), b = key / SIDE;
        fnn_attention_pack(j, keys, j->e,
                           fnn_attention_at(j, &j->k, p->head, key, j->size), j->k.row,
                           false, r->keys + b * r->key_bytes);
        fnn_attention_pack(j, keys, j->v_width,
                           fnn_attention_at(j, &j->v, p->head, key, j->size), j->v.row,
                           false, r->values + b * r->value_bytes);
    }
    if (p->of_keys) { /* that no query sees */
        const int64_t from = j->causal ? fnn_max64(p->key, j->l) : p->key_end;
        zero_rows(j, &j->gk, p->head, from, p->key_end, j->e);
        zero_rows(j, &j->gv, p->head, from, p->key_end, j->v_width);
    }
    const int64_t start = j->causal ? fnn_max64(p->row, p->key) : p->row;
    for (int64_t row = start; row < p->row_end; row += SIDE) {
        const int64_t rows = fnn_min64(SIDE, j->l - row);
        const int64_t end = j->causal ? fnn_min64(p->key_end, row + rows) : p->key_end;
        read_rows(j, r, p->head, row, rows);
        for (int64_t key = p->key; key < end; key += SIDE) {
            block(j, r, p, row, rows, key, fnn_min64(SIDE, end - key));
        }
        if (p->of_queries) {
            char *gq = fnn_attention_at(j, &j->gq, p->head, row, j->size);
            fnn_k->attention_scale[j->f64](rows, j->e, gq, j->gq.row, j->scale, NULL,
                                           gq, j->gq.row);
        }
    }
}

/* The parts that units are: heads, or blocks of their keys and then of their queries. */
enum { HEADS, KEYS, QUERIES };

typedef struct {
    const fnn_attention_job *job;
    int unit;
    int64_t blocks; /* of a head */
} share;

static void units(void *context, int64_t lo, int64_t hi) {
    const share *s = context;
    const fnn_attention_job *j = s->job;
    for (int64_t w = lo; w < hi; w++) {
        room r;
        set_room(j, &r, j->scratch + w * j->scratch_bytes);
        for (int64_t u = w; u < j->heads * s->blocks; u += j->workers) {
            part p = {.head = u / s->blocks,
                      .row_end = j->l,
                      .key_end = j->s,
                      .of_keys = s->unit != QUERIES,
                      .of_queries = s->unit != KEYS};
            const int64_t at = u % s->blocks * SIDE;
            if (s->unit == KEYS) {
                p.key = at;
                p.key_end = fnn_min64(at + SIDE, j->s);
            } else if (s->unit == QUERIES) {
                p.row = at;
                p.row_end = fnn_min64(at + SIDE, j->l);
                p.key_end = j->causal ? fnn_min64(p.row_end, j->s) : j->s;
            }
            backward(j, &r, &p);
        }
    }
}

static void run(const fnn_attention_job *j, int unit, int64_t blocks) {
    share s = {j, unit, blocks};
    fnn_parallel_for(j->workers, 1, units, &s);
}

static void set_workers(fnn_attention_job *j, const fnn_call *c) {
    room r;
    const double work = (double)j->heads * (double)j->l * (double)j->s *
                        (double)(j->e + j->v_width) * (j->causal ? 1 : 2);
    j->workers = work < FNN_GEMM_SERIAL ? 1 : fnn_max64(c->threads, 1);
    j->scratch_bytes = set_room(j, &r, NULL);
}

int64_t fnn_workspace_attention_backward(const fnn_call *c) {
    fnn_attention_job j = fnn_attention_make(c, 1);
    set_workers(&j, c);
    return fnn_attention_copies(c) + j.workers * j.scratch_bytes;
}

fnn_status fnn_run_attention_backward(fnn_call *c) {
    fnn_attention_job j = fnn_attention_make(c, 1);
    set_workers(&j, c);
    if (j.heads == 0) {
        return FNN_OK;
    }
    if (j.l == 0 || j.s == 0) {
        for (int i = 0; i < 3; i++) {
            memset(c->out[i].data, 0,
                   (size_t)(fnn_numel(&c->out[i]) * fnn_dtype_size(j.dtype)));
        }
        return FNN_OK;
    }
    const bool heads = c->attr[2].i != 0;
    char *at = c->workspace;
    const fnn_tensor gy = fnn_attention_rows(c, 0, &at);
    j.gy = fnn_attention_of(&j, &gy, heads);
    fnn_attention_read(&j, c, 1, &at);
    const fnn_tensor y = fnn_attention_rows(c, 5, &at);
    const fnn_tensor top = fnn_attention_rows(c, 6, &at);
    const fnn_tensor total = fnn_attention_rows(c, 7, &at);
    j.y = fnn_attention_of(&j, &y, heads);
    j.top = fnn_attention_statistics(&j, &top);
    j.total = fnn_attention_statistics(&j, &total);
    j.gq = fnn_attention_of(&j, &c->out[0], heads);
    j.gk = fnn_attention_of(&j, &c->out[1], heads);
    j.gv = fnn_attention_of(&j, &c->out[2], heads);
    j.scratch = at;
    /* rounds of whole heads, of five products, against an even share of seven */
    if (j.workers == 1 ||
        fnn_ceil_div(j.heads, j.workers) * 5 * j.workers <= j.heads * 7) {
        run(&j, HEADS, 1);
    } else {
        run(&j, KEYS, fnn_ceil_div(j.s, SIDE));
        run(&j, QUERIES, fnn_ceil_div(j.l, SIDE));
    }
    return FNN_OK;
}

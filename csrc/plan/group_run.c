/* A prepared group, run on the data that its tensors point to. */
#include "plan/group_plan.h"

#ifdef FNN_DEBUG
#undef NDEBUG /* which Python's flags define */
#include <assert.h>
#endif

/* A stretch of the index space that one kernel call can take. */
typedef struct {
    char *slice;
    int64_t pos, n;
    int64_t in_block, in_tile; /* pos, counted from their starts */
} stretch;

static char *in_slot(const operand *o, const stretch *at) {
    int64_t i = o->kept ? at->in_tile : at->in_block;
    return at->slice + o->slot + i * o->size;
}

/* Makes all n elements of y what the first one is. */
static void repeat(char *y, ptrdiff_t size, int64_t n) {
    if (size == 4) {
        uint32_t *to = (uint32_t *)(void *)y, value = *to;
        for (int64_t i = 1; i < n; i++) {
            to[i] = value;
        }
    } else if (size == 8) {
        uint64_t *to = (uint64_t *)(void *)y, value = *to;
        for (int64_t i = 1; i < n; i++) {
            to[i] = value;
        }
    } else {
        memset(y, *y, (size_t)n);
    }
}

/* n elements from number `first` of o's tensor, converted. */
static void convert(const operand *o, int64_t first, int64_t n, char *y) {
    fnn_convert(y, o->kernel_dtype, o->kernel_size, o->t->data + first * o->size,
                o->dtype, o->size, n);
}

static void splat(const operand *o, char *slice, int64_t element) {
    convert(o, element, 1, slice + o->buffer);
    repeat(slice + o->buffer, o->kernel_size, SPLAT);
}

/* Fills o's buffer. */
static void expand(const operand *o, const stretch *at) {
    char *y = at->slice + o->buffer;
    ptrdiff_t size = o->kernel_size;
    if (o->in_slot) {
        fnn_convert(y, o->kernel_dtype, size, in_slot(o, at), o->dtype, o->size, at->n);
        return;
    }
    if (o->repeat > 1) {
        for (int64_t i = 0; i < at->n;) {
            int64_t pos = at->pos + i;
            int64_t n = fnn_min64(at->n - i, o->repeat - pos % o->repeat);
            convert(o, pos / o->repeat % o->period, 1, y + i * size);
            repeat(y + i * size, size, n);
            i += n;
        }
        return;
    }
    int64_t first = at->pos % o->period, once = fnn_min64(at->n, o->period);
    int64_t n = fnn_min64(once, o->period - first);
    convert(o, first, n, y);
    convert(o, 0, once - n, y + n * size);
    for (n = once; n < at->n; n *= 2) { /* whole periods, over and over */
        memcpy(y + n * size, y, (size_t)(fnn_min64(n, at->n - n) * size));
    }
}

static char *find(const operand *o, const stretch *at) {
    switch (o->how) {
    case MEMORY:
        return o->t->data + at->pos * o->size;
    case SLOT:
        return in_slot(o, at);
    case ROW:
        return o->t->data + at->pos % o->period * o->size;
    case COLUMN:
        splat(o, at->slice, at->pos / o->repeat % o->period);
        break;
    case EXPANDED:
        expand(o, at);
        break;
    case CONSTANT:
        break;
    }
    return at->slice + o->buffer;
}

/* All members over n <= block elements; in_tile is the number of the first. */
static void run_block(const fnn_group_plan *p, char *slice, int64_t pos, int64_t n,
                      int64_t in_tile) {
    for (int i = 0; i < p->members; i++) {
        const member *m = &p->member[i];
        stretch at = {.slice = slice, .pos = pos, .n = n, .in_tile = in_tile};
        while (at.in_block < n) {
            const void *x[FNN_MAP_INPUTS];
            at.n = n - at.in_block;
            if (m->row > 0) {
                at.n = fnn_min64(at.n, m->row - at.pos % m->row);
            }
            for (int k = 0; k < m->n_in; k++) {
                x[k] = find(&m->op[k + 1], &at);
            }
            void *y = find(&m->op[0], &at);
            if (m->streams) {
                fnn_stream_map(m->kernel, m->op[0].dtype, at.n, y, x, m->step, m->n_in);
            } else {
                m->kernel(at.n, y, x, m->step);
            }
            at.pos += at.n;
            at.in_block += at.n;
            at.in_tile += at.n;
        }
    }
}

static void run_blocks(const fnn_group_plan *p, char *slice, int64_t pos, int64_t n,
                       int64_t in_tile) {
    for (int64_t i = 0; i < n; i += p->block) {
        run_block(p, slice, pos + i, fnn_min64(p->block, n - i), in_tile + i);
    }
}

/* The chunks from row `row` on, `cols` columns from `col` on; x: what the tile holds. */
static void reduce_tile(const fnn_group_plan *p, char *workspace, char *slice,
                        int64_t row, int64_t rows, int64_t col, int64_t cols) {
    for (int i = 0; i < p->reductions; i++) {
        const reduction *r = &p->reduction[i];
        const operand *o = &p->member[r->x].op[0];
        ptrdiff_t size = o->size;
        int64_t ld = o->kept ? p->width : p->cols;
        const char *x =
            o->kept ? slice + o->slot : o->t->data + (row * p->cols + col) * size;
        char *y = p->chunks > 1 ? workspace + r->partial : r->y->data;
        y += (row / FNN_CHUNK * p->cols + col) * size;
        for (int64_t done = 0; done < rows; done += FNN_CHUNK) {
            fnn_reduce_chunk(r->op, o->dtype, fnn_min64(FNN_CHUNK, rows - done), cols,
                             x + done * ld * size, ld, y);
            y += p->cols * size;
        }
    }
}

static void run_tile(const fnn_group_plan *p, char *workspace, char *slice,
                     int64_t tile) {
    if (p->strips > 1) {
        int64_t row = tile / p->strips * FNN_CHUNK, col = tile % p->strips * p->width;
        int64_t rows = fnn_min64(FNN_CHUNK, p->rows - row);
        int64_t cols = fnn_min64(p->width, p->cols - col);
        for (int64_t i = 0; i < rows; i++) {
            run_blocks(p, slice, (row + i) * p->cols + col, cols, i * p->width);
        }
        reduce_tile(p, workspace, slice, row, rows, col, cols);
        return;
    }
    int64_t first = tile * p->tile, n = fnn_min64(p->tile, p->n - first);
    run_blocks(p, slice, first, n, 0);
    if (p->reductions > 0) {
        reduce_tile(p, workspace, slice, first / p->cols, n / p->cols, 0, p->cols);
    }
}

typedef struct {
    const fnn_group_plan *p;
    char *workspace;
} job;

static void run_pieces(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    const fnn_group_plan *p = j->p;
    for (int64_t piece = lo; piece < hi; piece++) {
        char *slice = j->workspace + p->first + piece * p->slice;
        for (int i = 0; i < p->members; i++) {
            const member *m = &p->member[i];
            for (int k = 1; k <= m->n_in; k++) {
                if (m->op[k].how == CONSTANT) {
                    splat(&m->op[k], slice, 0);
                }
            }
        }
        int64_t end = p->tiles * (piece + 1) / p->pieces;
        for (int64_t tile = p->tiles * piece / p->pieces; tile < end; tile++) {
            run_tile(p, j->workspace, slice, tile);
        }
    }
    if (p->streams) {
        fnn_stream_end();
    }
}

#ifdef FNN_DEBUG
static void check_inside(const fnn_tensor *t) {
    const char *lo, *hi;
    fnn_byte_range(t, &lo, &hi);
    assert(lo == hi || lo != NULL);
    if (lo != hi && t->storage != NULL) {
        const char *data = t->storage->data;
        assert(lo >= data && hi <= data + t->storage->nbytes);
    }
}

static bool apart(const fnn_tensor *a, const fnn_tensor *b) {
    const char *alo, *ahi, *blo, *bhi;
    fnn_byte_range(a, &alo, &ahi);
    fnn_byte_range(b, &blo, &bhi);
    return alo == ahi || blo == bhi || ahi <= blo || bhi <= alo;
}

/* What writing y may break: operands of members, and other results. */
static void check_result(const fnn_group_plan *p, const fnn_tensor *y, int by) {
    check_inside(y);
    for (int i = 0; i < p->members; i++) {
        const member *m = &p->member[i];
        for (int k = 0; k <= m->n_in; k++) {
            const operand *o = &m->op[k];
            bool has_memory = o->how != SLOT && !o->in_slot && o->t != y;
            /* element by element, converted on the way or not */
            bool whole = o->how == MEMORY || (o->how == EXPANDED && o->period == p->n);
            bool over = k > 0 && whole && o->t->data == y->data && i <= by &&
                        o->size == fnn_dtype_size(y->dtype);
            assert(!has_memory || over || apart(o->t, y));
        }
    }
    for (int i = 0; i < p->reductions; i++) {
        assert(p->reduction[i].y == y || apart(p->reduction[i].y, y));
    }
}

static void check(const fnn_group_plan *p) {
    for (int i = 0; i < p->members; i++) {
        const member *m = &p->member[i];
        for (int k = 1; k <= m->n_in; k++) {
            if (m->op[k].how != SLOT && !m->op[k].in_slot) {
                check_inside(m->op[k].t);
            }
        }
        if (m->op[0].how == MEMORY) {
            check_result(p, m->op[0].t, i);
        }
    }
    for (int i = 0; i < p->reductions; i++) {
        check_result(p, p->reduction[i].y, -1);
    }
}
#endif

void fnn_group_run(const fnn_group_plan *p, void *workspace) {
#ifdef FNN_DEBUG
    check(p);
#endif
    job j = {p, workspace};
    if (p->pieces == 1) { /* fnn_parallel_for would do the same, but take longer */
        run_pieces(&j, 0, 1);
    } else {
        fnn_parallel_for(p->pieces, 1, run_pieces, &j);
    }
    for (int i = 0; i < p->reductions; i++) {
        const reduction *r = &p->reduction[i];
        if (fnn_numel(r->y) > 0) {
            fnn_reduce_join_chunks(r->op, r->y->dtype, p->chunks, p->cols,
                                   (char *)workspace + r->partial, r->y->data);
            if (r->mean) {
                fnn_reduce_divide(r->y, p->rows);
            }
        }
    }
}

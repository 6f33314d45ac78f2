/* Groups of elementwise calls, block by block.
 *
 * The index space, row-major, is cut into tiles, a tile into blocks. A block goes through
 * all calls before the next one starts; results that nobody else reads lie in slots of the
 * workspace, so few and so short that they stay in the first level of cache.
 *
 * Without reductions a tile is a block. With them the space is (rows, cols), and a tile
 * is one or more whole chunks of FNN_CHUNK rows, since a chunk is what the tree of a
 * reduction starts from (ops/reduce.c); where rows are long it is a strip of their columns.
 * What is reduced and has no memory is kept for the whole tile, which stays in the second
 * level of cache. Neither tiles nor blocks nor threads change a bit. */
#include "plan/group.h"

#include "ops/ops.h"

#ifdef FNN_DEBUG
#undef NDEBUG /* which Python's flags define */
#include <assert.h>
#endif

#define L1_BYTES 24576   /* of slots */
#define MIN_BLOCK 256    /* elements; at least STRIP_BYTES / 4 */
#define MAX_BLOCK 2048   /* more would not make calls cheaper */
#define STRIP_BYTES 1024 /* of a row: 256 rows of it fit the second level of cache */
#define MIN_STRIP 64     /* columns */
#define SPLAT 16         /* elements behind a constant, see fnn_map_fn */

/* How an operand is found at a position of the index space. */
typedef enum {
    MEMORY,   /* there, in its tensor */
    SLOT,     /* in a slot: the result of an earlier call */
    CONSTANT, /* in a splat, made before the first block */
    ROW,      /* in its tensor, which repeats */
    COLUMN,   /* in a splat, made for each row */
    EXPANDED, /* in a buffer: of another dtype, or repeating in short runs */
} found;

typedef struct {
    const fnn_tensor *t; /* its data is read at run */
    found how;
    bool in_slot; /* EXPANDED from a slot */
    bool kept;    /* its slot holds a whole tile */
    int dtype, kernel_dtype;
    int64_t repeat, period; /* position i is element i / repeat % period */
    int64_t slot, buffer;   /* bytes into the piece's workspace */
} operand;

typedef struct {
    fnn_map_fn kernel;
    int n_in;
    int64_t row; /* kernel calls end at multiples of it; 0: no need */
    ptrdiff_t step[FNN_MAP_INPUTS];
    operand op[1 + FNN_MAP_INPUTS]; /* output, inputs */
    int last;                       /* the last member that reads the result */
    int slot;                       /* its number; -1: in memory, or kept */
} member;

typedef struct {
    int op, x; /* x: the member that makes it */
    bool mean;
    const fnn_tensor *y;
    int64_t partial; /* bytes into the workspace: [chunks][cols] */
} reduction;

struct fnn_group_plan {
    int members, reductions;
    int64_t n, block;             /* elements */
    int64_t tiles, tile;          /* how many; elements of one, where rows are whole */
    int64_t rows, cols, chunks;   /* of what is reduced */
    int64_t strips, width;        /* per row; columns of one */
    int64_t pieces, first, slice; /* piece i owns slice i, from `first` on; bytes */
    reduction *reduction;
    member member[];
};

/* ---- preparing ---------------------------------------------------------------------- */

int64_t fnn_group_bytes(int n) {
    return (int64_t)sizeof(fnn_group_plan) +
           n * (int64_t)(sizeof(member) + sizeof(reduction));
}

static int64_t round_up(int64_t n, int64_t unit) {
    return (n + unit - 1) / unit * unit;
}
static int64_t ceil_div(int64_t n, int64_t d) { return (n + d - 1) / d; }

static bool same_shape(const fnn_tensor *a, const fnn_tensor *b) {
    return a->ndim == b->ndim &&
           memcmp(a->shape, b->shape, sizeof(int64_t) * (size_t)a->ndim) == 0;
}

static bool is_elementwise(const fnn_call *c) {
    fnn_status (*run)(fnn_call *) = c->op->run[FNN_CPU_DEVICE];
    int dtype = c->out[0].dtype;
    return run == fnn_run_map    ? (c->op->flags & FNN_INPLACE) == 0
           : run == fnn_run_copy ? dtype == c->in[0]->dtype
                                 : run == fnn_run_divide && fnn_is_float(dtype);
}

static bool is_reduction(const fnn_call *c) {
    fnn_status (*run)(fnn_call *) = c->op->run[FNN_CPU_DEVICE];
    return (run == fnn_run_reduce || run == fnn_run_mean) &&
           fnn_is_float(c->in[0]->dtype);
}

/* t broadcast to y as `repeat` times each element of a contiguous run of `period`, over
 * and over; false if it lies otherwise. y has elements. */
static bool as_run(const fnn_tensor *t, const fnn_tensor *y, int64_t *repeat,
                   int64_t *period) {
    int shift = y->ndim - t->ndim;
    bool ended = false;
    *repeat = *period = 1;
    for (int d = y->ndim - 1; d >= 0; d--) {
        int64_t size = y->shape[d];
        if (size == 1) {
            continue;
        }
        bool moves = d >= shift && t->shape[d - shift] != 1;
        int64_t stride = moves ? t->stride[d - shift] : 0;
        if (stride == 0) {
            ended = *period > 1;
            *repeat *= ended ? 1 : size;
        } else if (!ended && stride == *period) {
            *period *= size;
        } else {
            return false;
        }
    }
    return true;
}

/* The member that makes t, or -1. */
static int maker(const fnn_group_plan *p, const fnn_tensor *t) {
    for (int i = p->members - 1; i >= 0; i--) {
        if (p->member[i].op[0].t == t) {
            return i;
        }
    }
    return -1;
}

/* Input k of the member that is being added; y is its result. */
static bool set_input(fnn_group_plan *p, member *m, int k, const fnn_tensor *t,
                      const fnn_tensor *y) {
    operand *o = &m->op[k + 1];
    int from = maker(p, t);
    o->t = t;
    o->dtype = t->dtype;
    if (from >= 0) {
        p->member[from].last = p->members;
        o->repeat = 1;
        o->period = p->n;
        o->in_slot = p->member[from].op[0].how == SLOT;
    } else if (p->n > 0 && !as_run(t, y, &o->repeat, &o->period)) {
        return false;
    }
    bool right = o->dtype == o->kernel_dtype;
    int64_t run = o->repeat > 1 ? o->repeat : o->period;
    m->step[k] = 1;
    if (o->repeat * o->period == p->n && o->repeat == 1) {
        o->how = !right ? EXPANDED : o->in_slot ? SLOT : MEMORY;
    } else if (o->period == 1) {
        o->how = CONSTANT;
        m->step[k] = 0;
    } else if (right && run >= FNN_MAP_LONG_ROW) {
        /* All runs are products of the last sizes: the shorter divides the longer. */
        m->row = m->row == 0 ? run : fnn_min64(m->row, run);
        o->how = o->repeat > 1 ? COLUMN : ROW;
        m->step[k] = o->how == ROW;
    } else {
        o->how = EXPANDED;
    }
    return true;
}

static bool add_member(fnn_group_plan *p, const fnn_call *c, bool scratch) {
    const fnn_tensor *y = &c->out[0];
    int kernel = c->op->kernel, dtype = fnn_map_dtype(c);
    if (p->members == 0) {
        p->n = fnn_numel(y);
    } else if (!same_shape(y, p->member[0].op[0].t)) {
        return false;
    }
    member *m = &p->member[p->members];
    *m = (member){.kernel = fnn_map_kernel(kernel, dtype),
                  .n_in = fnn_map_arity[kernel],
                  .last = p->members,
                  .slot = -1};
    for (int k = 0; k <= m->n_in; k++) {
        m->op[k].kernel_dtype = fnn_map_operand_dtype(kernel, dtype, k);
    }
    m->op[0].t = y;
    m->op[0].dtype = y->dtype;
    m->op[0].how = scratch ? SLOT : MEMORY;
    m->op[0].repeat = 1;
    m->op[0].period = p->n;
    if (m->kernel == NULL || y->dtype != m->op[0].kernel_dtype ||
        !fnn_is_contiguous(y)) {
        return false;
    }
    for (int k = 0; k < m->n_in; k++) {
        if (!set_input(p, m, k, c->in[k], y)) {
            return false;
        }
    }
    p->members++;
    return true;
}

static bool add_reduction(fnn_group_plan *p, const fnn_call *c) {
    int x = maker(p, c->in[0]);
    if (x < 0) {
        return false;
    }
    fnn_tensor kept, reduced;
    fnn_reduce_split(c, &kept, &reduced);
    int64_t cols = fnn_numel(&kept), rows = fnn_numel(&reduced);
    fnn_coalesce(&kept);
    fnn_coalesce(&reduced);
    bool over_rows = kept.ndim == 0 || (kept.ndim == 1 && kept.stride[0] == 1);
    over_rows &= reduced.ndim == 0 || (reduced.ndim == 1 && reduced.stride[0] == cols);
    if ((p->n > 0 && !over_rows) || !fnn_is_contiguous(&c->out[0]) ||
        (p->reductions > 0 && (cols != p->cols || rows != p->rows))) {
        return false;
    }
    p->cols = cols;
    p->rows = rows;
    p->member[x].op[0].kept |= p->member[x].op[0].how == SLOT;
    p->reduction[p->reductions++] =
        (reduction){.op = c->op->kernel,
                    .x = x,
                    .mean = c->op->run[FNN_CPU_DEVICE] == fnn_run_mean,
                    .y = &c->out[0]};
    return true;
}

/* Gives results without memory a slot each, the lowest that is free; returns how many.
 * A result may take the slot of an operand that nobody reads afterwards. */
static int number_slots(fnn_group_plan *p) {
    int slots = 0;
    for (int i = 0; i < p->members; i++) {
        member *m = &p->member[i];
        if (m->op[0].how != SLOT || m->op[0].kept) {
            continue;
        }
        bool taken = true;
        for (m->slot = -1; taken;) {
            m->slot++;
            taken = false;
            for (int j = 0; j < i; j++) {
                const member *other = &p->member[j];
                bool fits = fnn_dtype_size(other->op[0].dtype) ==
                            fnn_dtype_size(m->op[0].dtype);
                taken |= other->slot == m->slot && other->last >= i + fits;
            }
        }
        slots = m->slot >= slots ? m->slot + 1 : slots;
    }
    return slots;
}

/* How many buffers the members share, one for each input that needs one; and the size of
 * the largest element. */
static int count_buffers(const fnn_group_plan *p, int64_t *size) {
    int most = 0;
    *size = 1;
    for (int i = 0; i < p->members; i++) {
        const member *m = &p->member[i];
        int n = 0;
        for (int k = 0; k <= m->n_in; k++) {
            n += m->op[k].how == EXPANDED;
            *size = fnn_max64(*size, fnn_dtype_size(m->op[k].kernel_dtype));
        }
        most = n > most ? n : most;
    }
    return most;
}

static void cut(fnn_group_plan *p, int64_t block_bytes, int64_t size, int threads) {
    int64_t work = p->n / FNN_MAP_GRAIN * p->members +
                   p->n % FNN_MAP_GRAIN * p->members / FNN_MAP_GRAIN;
    int64_t pieces = fnn_max64(1, fnn_min64(threads, work));
    p->block = fnn_min64(L1_BYTES / fnn_max64(block_bytes, 1), MAX_BLOCK) / 64 * 64;
    p->block = fnn_max64(p->block, MIN_BLOCK);
    p->block = fnn_min64(p->block, round_up(p->n, 64));
    p->strips = 1;
    if (p->reductions == 0) {
        p->tile = p->block;
        p->tiles = p->n > 0 ? ceil_div(p->n, p->tile) : 0;
    } else if (p->n > 0) {
        p->chunks = fnn_chunks(p->rows);
        p->strips = ceil_div(p->cols * size, STRIP_BYTES);
        p->strips =
            fnn_max64(p->strips, fnn_min64(ceil_div(pieces, p->chunks), p->cols / 64));
        p->width = p->cols;
        if (p->strips > 1) {
            p->width = round_up(ceil_div(p->cols, p->strips), SPLAT);
            p->strips = ceil_div(p->cols, p->width);
            p->tiles = p->chunks * p->strips;
        } else {
            int64_t chunk = FNN_CHUNK * p->cols;
            p->tile = fnn_max64(1, p->block / chunk) * chunk;
            p->tiles = ceil_div(p->n, p->tile);
        }
    }
    p->pieces = fnn_min64(pieces, p->tiles);
}

/* `bytes` more of a workspace that has *end so far; returns where they are. */
static int64_t more(int64_t *end, int64_t bytes) {
    int64_t at = *end;
    *end = round_up(at + bytes, FNN_ALIGN);
    return at;
}

static void lay_out(fnn_group_plan *p, int slots, int buffers, int64_t size) {
    p->first = p->slice = 0;
    for (int i = 0; i < p->reductions; i++) {
        reduction *r = &p->reduction[i];
        int64_t bytes = p->cols * fnn_dtype_size(r->y->dtype);
        r->partial = more(&p->first, p->chunks > 1 ? p->chunks * bytes : 0);
    }
    int64_t tile = p->strips > 1 ? FNN_CHUNK * p->width : fnn_min64(p->tile, p->n);
    int64_t each = round_up(p->block * size, FNN_ALIGN);
    int64_t buffer = more(&p->slice, buffers * each);
    int64_t slot = more(&p->slice, slots * each);
    for (int i = 0; i < p->members; i++) {
        member *m = &p->member[i];
        operand *y = &m->op[0];
        if (y->kept) {
            y->slot = more(&p->slice, tile * fnn_dtype_size(y->dtype));
        } else if (y->how == SLOT) {
            y->slot = slot + m->slot * each;
        }
        int64_t next = buffer;
        for (int k = 1; k <= m->n_in; k++) {
            operand *o = &m->op[k];
            int from = maker(p, o->t);
            if (from >= 0) {
                o->slot = p->member[from].op[0].slot;
                o->kept = p->member[from].op[0].kept;
            }
            if (o->how == EXPANDED) {
                o->buffer = next;
                next += each;
            } else if (o->how == CONSTANT || o->how == COLUMN) {
                o->buffer = more(&p->slice, SPLAT * fnn_dtype_size(o->kernel_dtype));
            }
        }
    }
}

bool fnn_group_prepare(fnn_group_plan *p, const fnn_group *g, int threads) {
    *p = (fnn_group_plan){.reduction = (reduction *)&p->member[g->n]};
    for (int i = 0; i < g->n; i++) {
        const fnn_call *c = g->calls[i];
        if (is_elementwise(c)) {
            if (!add_member(p, c, g->scratch[i])) {
                return false;
            }
        } else if (!is_reduction(c) || g->scratch[i] || !add_reduction(p, c)) {
            return false;
        }
        for (int k = 0; k < p->reductions; k++) {
            for (int in = 0; in < c->n_in; in++) {
                if (c->in[in] == p->reduction[k].y) {
                    return false;
                }
            }
        }
    }
    int64_t size;
    int slots = number_slots(p), buffers = count_buffers(p, &size);
    cut(p, (slots + buffers) * size, size, threads);
    lay_out(p, slots, buffers, size);
    return p->members > 0;
}

int64_t fnn_group_workspace(const fnn_group_plan *p) {
    return p->first + p->pieces * p->slice;
}

/* ---- running ------------------------------------------------------------------------ */

/* A stretch of the index space that one kernel call can take. */
typedef struct {
    char *slice;
    int64_t pos, n;
    int64_t in_block, in_tile; /* pos, counted from their starts */
} stretch;

static char *in_slot(const operand *o, const stretch *at) {
    int64_t i = o->kept ? at->in_tile : at->in_block;
    return at->slice + o->slot + i * fnn_dtype_size(o->dtype);
}

/* Fills o's buffer. */
static void expand(const operand *o, const stretch *at) {
    ptrdiff_t to = fnn_dtype_size(o->kernel_dtype), size = fnn_dtype_size(o->dtype);
    char *buffer = at->slice + o->buffer;
    if (o->in_slot) {
        fnn_convert(buffer, o->kernel_dtype, to, in_slot(o, at), o->dtype, size, at->n);
        return;
    }
    bool columns = o->repeat > 1;
    int64_t run = columns ? o->repeat : o->period;
    int64_t once = columns ? at->n : fnn_min64(at->n, run);
    for (int64_t i = 0; i < once;) {
        int64_t pos = at->pos + i, n = fnn_min64(once - i, run - pos % run);
        fnn_convert(buffer + i * to, o->kernel_dtype, to,
                    o->t->data + pos / o->repeat % o->period * size, o->dtype,
                    columns ? 0 : size, n);
        i += n;
    }
    for (int64_t n = once; n < at->n; n *= 2) { /* whole periods, over and over */
        memcpy(buffer + n * to, buffer, (size_t)(fnn_min64(n, at->n - n) * to));
    }
}

static void splat(const operand *o, char *slice, int64_t element) {
    ptrdiff_t size = fnn_dtype_size(o->kernel_dtype);
    fnn_convert(slice + o->buffer, o->kernel_dtype, size,
                o->t->data + element * fnn_dtype_size(o->dtype), o->dtype, 0, SPLAT);
}

static char *find(const operand *o, const stretch *at) {
    switch (o->how) {
    case MEMORY:
        return o->t->data + at->pos * fnn_dtype_size(o->dtype);
    case SLOT:
        return in_slot(o, at);
    case ROW:
        return o->t->data + at->pos % o->period * fnn_dtype_size(o->dtype);
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
            m->kernel(at.n, find(&m->op[0], &at), x, m->step);
            at.pos += at.n;
            at.in_block += at.n;
            at.in_tile += at.n;
        }
    }
}

/* The chunks from row `row` on, `cols` columns from `col` on; x: what the tile holds. */
static void reduce_tile(const fnn_group_plan *p, char *workspace, char *slice,
                        int64_t row, int64_t rows, int64_t col, int64_t cols) {
    for (int i = 0; i < p->reductions; i++) {
        const reduction *r = &p->reduction[i];
        const operand *o = &p->member[r->x].op[0];
        ptrdiff_t size = fnn_dtype_size(o->dtype);
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
            run_block(p, slice, (row + i) * p->cols + col, cols, i * p->width);
        }
        reduce_tile(p, workspace, slice, row, rows, col, cols);
        return;
    }
    int64_t first = tile * p->tile, n = fnn_min64(p->tile, p->n - first);
    for (int64_t i = 0; i < n; i += p->block) {
        run_block(p, slice, first + i, fnn_min64(p->block, n - i), i);
    }
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
            bool over = k > 0 && o->how == MEMORY && o->t->data == y->data && i <= by &&
                        fnn_dtype_size(o->dtype) == fnn_dtype_size(y->dtype);
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

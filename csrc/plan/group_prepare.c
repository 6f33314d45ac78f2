/* Whether calls can run as a group, and how the index space is cut: shapes alone decide. */
#include "plan/group_plan.h"

#define L1_BYTES 24576   /* of slots and buffers */
#define MIN_BLOCK 256    /* elements */
#define MAX_BLOCK 1024   /* more would not make calls cheaper */
#define ONE_MEMBER 65536 /* a block where nothing is kept for a next member */
#define LONG_ROW 256     /* so long a row is worth a kernel call of its own */
#define TILE 4096        /* elements of a tile, where a chunk is less */
#define STRIP 4096       /* columns of a tile; fewer fit the cache, but */
#define MIN_STRIP 512    /* memory likes long runs; threads may ask for less */

int64_t fnn_group_bytes(int n) {
    return (int64_t)sizeof(fnn_group_plan) +
           n * (int64_t)(sizeof(member) + sizeof(reduction));
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
static bool set_input(fnn_group_plan *p, member *m, int k, const fnn_tensor *y) {
    operand *o = &m->op[k + 1];
    int from = maker(p, o->t);
    if (from >= 0) {
        p->member[from].last = p->members;
        o->repeat = 1;
        o->period = p->n;
        o->in_slot = p->member[from].op[0].how == SLOT;
    } else if (p->n > 0 && !as_run(o->t, y, &o->repeat, &o->period)) {
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
    } else if (right && run >= LONG_ROW) {
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
    } else if (!fnn_same_shape(y, p->member[0].op[0].t)) {
        return false;
    }
    member *m = &p->member[p->members];
    *m = (member){.kernel = fnn_map_kernel(kernel, dtype),
                  .n_in = fnn_map_arity[kernel],
                  .last = p->members,
                  .slot = -1};
    for (int k = 0; k <= m->n_in; k++) {
        operand *o = &m->op[k];
        o->t = k == 0 ? y : c->in[k - 1];
        o->dtype = o->t->dtype;
        o->kernel_dtype = fnn_map_operand_dtype(kernel, dtype, k);
        o->size = fnn_dtype_size(o->dtype);
        o->kernel_size = fnn_dtype_size(o->kernel_dtype);
    }
    m->op[0].how = scratch ? SLOT : MEMORY;
    m->op[0].repeat = 1;
    m->op[0].period = p->n;
    if (m->kernel == NULL || y->dtype != m->op[0].kernel_dtype ||
        !fnn_is_contiguous(y)) {
        return false;
    }
    for (int k = 0; k < m->n_in; k++) {
        if (!set_input(p, m, k, y)) {
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
                bool fits = other->op[0].size == m->op[0].size;
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
            *size = fnn_max64(*size, m->op[k].kernel_size);
        }
        most = n > most ? n : most;
    }
    return most;
}

static void cut(fnn_group_plan *p, int64_t block_bytes, int threads) {
    /* Half the time of an op on its own, which reads and writes memory. */
    double work = 0.5 * (double)p->n * (p->members + p->reductions);
    int64_t pieces = (int64_t)fmin(threads, fmax(1, work / FNN_MAP_GRAIN));
    p->block = ONE_MEMBER;
    if (p->members > 1 || block_bytes > 0) {
        p->block = fnn_min64(L1_BYTES / fnn_max64(block_bytes, 1), MAX_BLOCK) / 64 * 64;
        p->block = fnn_max64(p->block, MIN_BLOCK);
    }
    p->block = fnn_min64(p->block, fnn_round_up(p->n, 64));
    p->strips = 1;
    if (p->reductions == 0) {
        p->tile = p->block;
        p->tiles = p->n > 0 ? fnn_ceil_div(p->n, p->tile) : 0;
    } else if (p->n > 0) {
        p->chunks = fnn_chunks(p->rows);
        int64_t for_threads =
            fnn_min64(fnn_ceil_div(pieces, p->chunks), p->cols / MIN_STRIP);
        p->strips = fnn_max64(fnn_ceil_div(p->cols, STRIP), for_threads);
        p->width = p->cols;
        if (p->strips > 1) {
            p->width = fnn_round_up(fnn_ceil_div(p->cols, p->strips), 64);
            p->strips = fnn_ceil_div(p->cols, p->width);
            p->tiles = p->chunks * p->strips;
        } else {
            int64_t chunk = FNN_CHUNK * p->cols;
            p->tile = fnn_max64(1, TILE / chunk) * chunk;
            p->tiles = fnn_ceil_div(p->n, p->tile);
        }
    }
    p->pieces = fnn_min64(pieces, p->tiles);
}

/* `bytes` more of a workspace that has *end so far; returns where they are. */
static int64_t more(int64_t *end, int64_t bytes) {
    int64_t at = *end;
    *end = fnn_round_up(at + bytes, FNN_ALIGN);
    return at;
}

static void lay_out(fnn_group_plan *p, int slots, int buffers, int64_t size) {
    p->first = p->slice = 0;
    for (int i = 0; i < p->reductions; i++) {
        reduction *r = &p->reduction[i];
        int64_t bytes = p->cols * fnn_dtype_size(r->y->dtype);
        r->partial = more(&p->first, p->chunks > 1 ? p->chunks * bytes : 0);
    }
    int64_t tile = p->strips > 1 ? fnn_min64(p->rows, FNN_CHUNK) * p->width
                                 : fnn_min64(p->tile, p->n);
    int64_t each = fnn_round_up(p->block * size, FNN_ALIGN);
    int64_t buffer = more(&p->slice, buffers * each);
    int64_t slot = more(&p->slice, slots * each);
    for (int i = 0; i < p->members; i++) {
        member *m = &p->member[i];
        operand *y = &m->op[0];
        if (y->kept) {
            y->slot = more(&p->slice, tile * y->size);
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
                o->buffer = more(&p->slice, SPLAT * o->kernel_size);
            }
        }
    }
}

/* Finds results that nobody in the group reads, of a group too large for the caches. */
static void find_streams(fnn_group_plan *p) {
    double bytes = 0;
    for (int i = 0; i < p->members; i++) {
        for (int k = 0; k <= p->member[i].n_in; k++) {
            const operand *o = &p->member[i].op[k];
            bytes += o->how == MEMORY ? (double)p->n * (double)o->size : 0;
        }
    }
    if (!fnn_streams(bytes)) {
        return;
    }
    for (int i = 0; i < p->members; i++) {
        member *m = &p->member[i];
        m->streams = m->op[0].how == MEMORY && m->last == i;
        for (int k = 0; k <= m->n_in; k++) {
            m->streams &=
                fnn_is_float(m->op[k].dtype) && m->op[k].kernel_dtype == m->op[0].dtype;
        }
        for (int k = 0; k < p->reductions; k++) {
            m->streams &= p->reduction[k].x != i;
        }
        p->streams |= m->streams;
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
    cut(p, (slots + buffers) * size, threads);
    lay_out(p, slots, buffers, size);
    find_streams(p);
    return p->members > 0;
}

int64_t fnn_group_workspace(const fnn_group_plan *p) {
    return p->first + p->pieces * p->slice;
}

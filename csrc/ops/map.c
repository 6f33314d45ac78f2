/* Elementwise ops: one driver for any number of operands, dtypes and strides.
 *
 * The logical index of the output is cut into pieces. Operands that lie contiguous in that
 * order and have the kernel's dtype are read in place; constants are splatted once; all
 * others go through a small buffer, converted on the way; map_tiles.c runs what mixes
 * directions in memory. Every element sees the same arithmetic on every path, so strides
 * and threads cannot change a bit. */
#include "ops/map.h"

#include <stdlib.h>

#define INPUTS FNN_MAP_INPUTS
#define BUFFER 512  /* elements of a buffered piece */
#define LONG_ROW 64 /* rows at least this long are worth a kernel call of their own */

typedef fnn_map_operand operand;
typedef fnn_map_job job;

static void set_operand(operand *o, const fnn_tensor *t, const fnn_tensor *y,
                        int kernel_dtype) {
    ptrdiff_t size = fnn_dtype_size(t->dtype);
    o->data = t->data;
    o->dtype = t->dtype;
    o->kernel_dtype = kernel_dtype;
    int shift = y->ndim - t->ndim;
    for (int d = 0; d < y->ndim; d++) {
        bool moves = d >= shift && t->shape[d - shift] != 1;
        o->stride[d] = moves ? t->stride[d - shift] * size : 0;
    }
}

/* Puts the dimensions into the order of the output's memory, which is as good as any
 * for the result, and merges those that are one run for every operand. */
static void coalesce(job *j, const fnn_tensor *y) {
    const int64_t *by = j->op[0].stride;
    int order[FNN_MAX_DIMS], dims = 0, n = 0;
    for (int d = 0; d < y->ndim; d++) {
        if (y->shape[d] == 1) {
            continue;
        }
        int at = dims++;
        for (; at > 0 && llabs(by[order[at - 1]]) < llabs(by[d]); at--) {
            order[at] = order[at - 1];
        }
        order[at] = d;
    }
    operand from[1 + INPUTS];
    memcpy(from, j->op, (size_t)(1 + j->n_in) * sizeof *from);
    for (int i = 0; i < dims; i++) {
        int d = order[i];
        bool merge = n > 0;
        for (int k = 0; k <= j->n_in && merge; k++) {
            merge = j->op[k].stride[n - 1] == from[k].stride[d] * y->shape[d];
        }
        n += !merge;
        j->shape[n - 1] = merge ? j->shape[n - 1] * y->shape[d] : y->shape[d];
        for (int k = 0; k <= j->n_in; k++) {
            j->op[k].stride[n - 1] = from[k].stride[d];
        }
    }
    if (n == 0) { /* one element */
        n = 1;
        j->shape[0] = 1;
        for (int k = 0; k <= j->n_in; k++) {
            j->op[k].stride[0] = fnn_dtype_size(j->op[k].dtype);
        }
    }
    j->ndim = n;
}

static void classify(job *j) {
    int last = j->ndim - 1;
    bool all_linear = true;
    for (int k = 0; k <= j->n_in; k++) {
        operand *o = &j->op[k];
        bool right = o->dtype == o->kernel_dtype;
        ptrdiff_t size = fnn_dtype_size(o->dtype);
        o->constant = k > 0;
        for (int d = 0; d < j->ndim; d++) {
            o->constant &= o->stride[d] == 0;
        }
        o->row = right && o->stride[last] == size;
        o->linear = o->row;
        for (int d = last; d > 0; d--) {
            o->linear &= o->stride[d - 1] == o->stride[d] * j->shape[d];
        }
        all_linear &= o->linear || o->constant;
    }
    j->by_rows = !all_linear && j->ndim > 1 && j->shape[last] >= LONG_ROW;
    j->buffered = false;
    for (int k = 0; k <= j->n_in; k++) {
        const operand *o = &j->op[k];
        j->buffered |= !(o->linear || o->constant || (j->by_rows && o->row));
    }
}

/* Whether the output is to go past the caches: everything is read and written in place,
 * in one dtype, and there is much of it. */
static bool streams(const job *j, int64_t n) {
    int operands = 0;
    for (int k = 0; k <= j->n_in; k++) {
        const operand *o = &j->op[k];
        if (!fnn_is_float(o->dtype) || o->dtype != j->op[0].kernel_dtype ||
            !(o->linear || o->constant)) {
            return false;
        }
        operands += o->linear;
    }
    return fnn_streams((double)n * operands * fnn_dtype_size(j->op[0].dtype));
}

static ptrdiff_t offset_at(const job *j, const operand *o, int64_t pos) {
    ptrdiff_t offset = 0;
    for (int d = j->ndim - 1; d >= 0; d--) {
        offset += pos % j->shape[d] * o->stride[d];
        pos /= j->shape[d];
    }
    return offset;
}

/* Moves n elements between operand o at position pos and the contiguous buffer. */
static void buffer_move(const job *j, const operand *o, int64_t pos, ptrdiff_t n,
                        char *buffer, bool out) {
    ptrdiff_t size = fnn_dtype_size(o->kernel_dtype);
    int last = j->ndim - 1;
    int64_t inner = j->shape[last];
    while (n > 0) {
        ptrdiff_t m = fnn_min64(n, inner - pos % inner);
        char *p = o->data + offset_at(j, o, pos);
        if (out) {
            fnn_convert(p, o->dtype, o->stride[last], buffer, o->kernel_dtype, size, m);
        } else {
            fnn_convert(buffer, o->kernel_dtype, size, p, o->dtype, o->stride[last], m);
        }
        buffer += m * size;
        pos += m;
        n -= m;
    }
}

void fnn_map_splat(const job *j, fnn_map_splats splats, const void **x,
                   ptrdiff_t *step) {
    for (int k = 1; k <= j->n_in; k++) {
        const operand *o = &j->op[k];
        if (o->constant) {
            fnn_convert(splats[k - 1], o->kernel_dtype, fnn_dtype_size(o->kernel_dtype),
                        o->data, o->dtype, 0, 16);
            x[k - 1] = splats[k - 1];
            step[k - 1] = 0;
        }
    }
}

static void run_range(void *context, int64_t lo, int64_t hi) {
    const job *j = context;
    if (j->copies && j->buffered && j->op[0].linear && !j->op[1].constant) {
        ptrdiff_t size = fnn_dtype_size(j->op[0].dtype);
        buffer_move(j, &j->op[1], lo, hi - lo, j->op[0].data + lo * size, false);
        return; /* straight to where it belongs */
    }
    _Alignas(64) char buffer[1 + INPUTS][BUFFER * 8];
    const void *x[INPUTS] = {NULL};
    ptrdiff_t step[INPUTS] = {1, 1, 1, 1};
    _Alignas(64) fnn_map_splats splats;
    fnn_map_splat(j, splats, x, step);
    int64_t inner = j->shape[j->ndim - 1];
    for (int64_t pos = lo; pos < hi;) {
        int64_t n = hi - pos;
        n = j->by_rows ? fnn_min64(n, inner - pos % inner) : n;
        n = j->buffered ? fnn_min64(n, BUFFER) : n;
        for (int k = 1; k <= j->n_in; k++) {
            const operand *o = &j->op[k];
            if (o->constant) {
                continue;
            }
            if (o->linear) {
                x[k - 1] = o->data + pos * fnn_dtype_size(o->dtype);
            } else if (j->by_rows && o->row) {
                x[k - 1] = o->data + offset_at(j, o, pos);
            } else {
                buffer_move(j, o, pos, n, buffer[k], false);
                x[k - 1] = buffer[k];
            }
        }
        const operand *y = &j->op[0];
        if (j->streams) {
            fnn_stream_map(j->kernel, y->dtype, n,
                           y->data + pos * fnn_dtype_size(y->dtype), x, step, j->n_in);
            fnn_stream_end();
        } else if (y->linear) {
            j->kernel(n, y->data + pos * fnn_dtype_size(y->dtype), x, step);
        } else if (j->by_rows && y->row) {
            j->kernel(n, y->data + offset_at(j, y, pos), x, step);
        } else {
            j->kernel(n, buffer[0], x, step);
            buffer_move(j, y, pos, n, buffer[0], true);
        }
        pos += n;
    }
}

fnn_map_fn fnn_map_kernel(int kernel, int dtype) {
    return fnn_is_float(dtype) ? fnn_k->map[kernel][FNN_F64(dtype)]
                               : fnn_map_int(kernel, dtype);
}

int fnn_map_operand_dtype(int kernel, int dtype, int k) {
    fnn_map_kind kind = fnn_map_kinds[kernel];
    bool is_bool = k == 0 ? kind == FNN_T_TO_BOOL : kind == FNN_BTT_TO_T && k == 1;
    return is_bool ? FNN_BOOL : dtype;
}

int fnn_map_dtype(const fnn_call *c) {
    bool other = fnn_map_kinds[c->op->kernel] == FNN_T_TO_BOOL ||
                 (c->op->flags & FNN_INPLACE) != 0;
    return other ? fnn_promote(c, 0) : c->out[0].dtype;
}

/* y = kernel(in...) with the arithmetic done in dtype. */
static fnn_status run_map(int kernel, int dtype, const fnn_tensor *y,
                          fnn_tensor *const *in) {
    int64_t n = fnn_numel(y);
    if (n == 0) { /* its sizes may be too large to multiply */
        return FNN_OK;
    }
    job j;
    j.n_in = fnn_map_arity[kernel];
    j.kernel = fnn_map_kernel(kernel, dtype);
    for (int k = 0; k <= j.n_in; k++) {
        set_operand(&j.op[k], k == 0 ? y : in[k - 1], y,
                    fnn_map_operand_dtype(kernel, dtype, k));
    }
    coalesce(&j, y);
    classify(&j);
    j.copies = kernel == FNN_MAP_copy;
    if (fnn_map_tiled(&j, n)) {
        return FNN_OK;
    }
    j.streams = streams(&j, n);
    fnn_parallel_for(n, FNN_MAP_GRAIN, run_range, &j);
    return FNN_OK;
}

fnn_status fnn_run_map(fnn_call *c) {
    int kernel = c->op->kernel, dtype = fnn_map_dtype(c);
    if (fnn_map_kernel(kernel, dtype) == NULL) {
        return fnn_fail(c->err, FNN_ERR_TYPE, "%s: expected another dtype, got %s",
                        c->op->name, fnn_dtype_name(dtype));
    }
    return run_map(kernel, dtype, &c->out[0], c->in);
}

void fnn_copy(const fnn_tensor *dst, const fnn_tensor *src) {
    fnn_tensor *in[1] = {(fnn_tensor *)src};
    (void)run_map(FNN_MAP_copy, dst->dtype, dst, in);
}

void fnn_multiply(const fnn_tensor *x, const fnn_tensor *factor) {
    fnn_tensor *in[2] = {(fnn_tensor *)x, (fnn_tensor *)factor};
    (void)run_map(FNN_MAP_mul, x->dtype, x, in);
}

fnn_status fnn_run_copy(fnn_call *c) {
    fnn_copy(&c->out[0], c->in[0]);
    return FNN_OK;
}

fnn_status fnn_run_copy_(fnn_call *c) {
    fnn_copy(c->in[0], c->in[1]);
    return FNN_OK;
}

/* Along one dimension, in its order: argsort and cumsum. */
#include "ops.h"

/* The lines of x along dim: how many, how long, how far apart their elements lie. */
typedef struct {
    int64_t count, length;
    ptrdiff_t step; /* elements, in x */
    fnn_tensor outer;
} lines;

static lines lines_of(const fnn_tensor *x, int64_t dim) {
    lines l = {1, 1, 1, *x};
    if (x->ndim == 0) {
        return l;
    }
    dim += dim < 0 ? x->ndim : 0;
    l.length = x->shape[dim];
    l.step = x->stride[dim];
    l.outer.ndim = 0;
    for (int d = 0; d < x->ndim; d++) {
        if (d != dim) {
            l.count *= x->shape[d];
            l.outer.shape[l.outer.ndim] = x->shape[d];
            l.outer.stride[l.outer.ndim++] = x->stride[d];
        }
    }
    return l;
}

static char *line_at(const lines *l, int64_t k) {
    char *p = l->outer.data;
    for (int d = l->outer.ndim - 1; d >= 0; d--) {
        p +=
            k % l->outer.shape[d] * l->outer.stride[d] * fnn_dtype_size(l->outer.dtype);
        k /= l->outer.shape[d];
    }
    return p;
}

/* ---- argsort: stable, NaN after everything ------------------------------------------ */

typedef struct {
    int64_t key, at;
} entry;

fnn_status fnn_infer_argsort(fnn_call *c) {
    const fnn_tensor *x = c->in[0];
    fnn_tensor *y = &c->out[0];
    int64_t dim = c->attr[0].i, k = c->attr[2].i;
    FNN_TRY(fnn_check_dim(c, x, &dim));
    int64_t size = x->ndim > 0 ? x->shape[dim] : 1;
    if (k < -1 || k > size) {
        return fnn_fail(c->err, FNN_ERR_VALUE,
                        "argsort: expected k from 0 to %lld, got %lld", (long long)size,
                        (long long)k);
    }
    fnn_like(y, x, FNN_INT64);
    if (k >= 0 && x->ndim > 0) {
        y->shape[dim] = k;
        fnn_set_contiguous(y);
    }
    return fnn_check_size(c, y);
}

int64_t fnn_workspace_argsort(const fnn_call *c) {
    return 2 * lines_of(c->in[0], c->attr[0].i).length * (int64_t)sizeof(entry);
}

/* A float64 as an integer of the same order; NaN above infinity, -0 equal to 0. */
static int64_t ordered(double x) {
    int64_t bits;
    if (x != x) {
        return INT64_MAX;
    }
    x += 0.0;
    memcpy(&bits, &x, sizeof bits);
    return bits < 0 ? (int64_t)(INT64_MIN - (uint64_t)bits) : bits;
}

/* Merges runs of doubling length between the two buffers; returns the sorted one. */
static entry *merge_sort(entry *a, entry *b, int64_t n) {
    for (int64_t width = 1; width < n; width *= 2) {
        for (int64_t lo = 0; lo < n; lo += 2 * width) {
            int64_t mid = fnn_min64(lo + width, n), hi = fnn_min64(lo + 2 * width, n);
            int64_t i = lo, j = mid;
            for (int64_t k = lo; k < hi; k++) {
                bool left = j >= hi || (i < mid && a[i].key <= a[j].key);
                b[k] = left ? a[i++] : a[j++];
            }
        }
        entry *t = a;
        a = b;
        b = t;
    }
    return a;
}

/* The first k of n in order: a short sorted list, into which few elements get. */
static entry *select_first(const entry *a, entry *best, int64_t n, int64_t k) {
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) {
        if (count == k && a[i].key >= best[k - 1].key) {
            continue;
        }
        int64_t at = count < k ? count++ : k - 1;
        for (; at > 0 && best[at - 1].key > a[i].key; at--) {
            best[at] = best[at - 1];
        }
        best[at] = a[i];
    }
    return best;
}

static void read_keys(const fnn_tensor *x, const char *p, ptrdiff_t step, int64_t n,
                      bool descending, entry *a) {
    double numbers[FNN_CHUNK];
    int64_t keys[FNN_CHUNK];
    ptrdiff_t bytes = step * fnn_dtype_size(x->dtype);
    for (int64_t pos = 0; pos < n; pos += FNN_CHUNK) {
        int64_t m = fnn_min64(FNN_CHUNK, n - pos);
        if (fnn_is_float(x->dtype)) {
            fnn_convert(numbers, FNN_FLOAT64, 8, p + pos * bytes, x->dtype, bytes, m);
            for (int64_t i = 0; i < m; i++) {
                keys[i] = ordered(numbers[i]);
            }
        } else {
            fnn_convert(keys, FNN_INT64, 8, p + pos * bytes, x->dtype, bytes, m);
        }
        for (int64_t i = 0; i < m; i++) {
            a[pos + i].key = descending ? ~keys[i] : keys[i];
            a[pos + i].at = pos + i;
        }
    }
}

fnn_status fnn_run_argsort(fnn_call *c) {
    const fnn_tensor *x = c->in[0], *y = &c->out[0];
    lines from = lines_of(x, c->attr[0].i), to = lines_of(y, c->attr[0].i);
    int64_t n = from.length, k = to.length;
    entry *a = c->workspace, *b = a + n;
    for (int64_t line = 0; line < from.count && k > 0; line++) {
        read_keys(x, line_at(&from, line), from.step, n, c->attr[1].i != 0, a);
        bool few = k <= 64 && k < n / 8;
        const entry *sorted = few ? select_first(a, b, n, k) : merge_sort(a, b, n);
        int64_t *out = (int64_t *)(void *)line_at(&to, line);
        for (int64_t i = 0; i < k; i++) {
            out[i * to.step] = sorted[i].at;
        }
    }
    return FNN_OK;
}

/* ---- cumsum: float32 is added in float64, and rounded for each result ---------------- */

fnn_status fnn_infer_cumsum(fnn_call *c) {
    int64_t dim = c->attr[0].i;
    int dtype = c->in[0]->dtype;
    FNN_TRY(fnn_check_dim(c, c->in[0], &dim));
    fnn_like(&c->out[0], c->in[0], fnn_is_float(dtype) ? dtype : FNN_INT64);
    return fnn_check_size(c, &c->out[0]);
}

fnn_status fnn_run_cumsum(fnn_call *c) {
    const fnn_tensor *x = c->in[0], *y = &c->out[0];
    lines from = lines_of(x, c->attr[0].i), to = lines_of(y, c->attr[0].i);
    bool is_float = fnn_is_float(x->dtype);
    ptrdiff_t in_step = from.step * fnn_dtype_size(x->dtype);
    ptrdiff_t out_size = fnn_dtype_size(y->dtype), out_step = to.step * out_size;
    for (int64_t k = 0; k < from.count; k++) {
        const char *p = line_at(&from, k);
        char *out = line_at(&to, k);
        double sum = 0, numbers[FNN_CHUNK];
        int64_t total = 0, integers[FNN_CHUNK];
        for (int64_t pos = 0; pos < from.length; pos += FNN_CHUNK) {
            int64_t m = fnn_min64(FNN_CHUNK, from.length - pos);
            if (is_float) {
                fnn_convert(numbers, FNN_FLOAT64, 8, p, x->dtype, in_step, m);
                for (int64_t i = 0; i < m; i++) {
                    numbers[i] = sum += numbers[i];
                }
                fnn_convert(out, y->dtype, out_step, numbers, FNN_FLOAT64, 8, m);
            } else {
                fnn_convert(integers, FNN_INT64, 8, p, x->dtype, in_step, m);
                for (int64_t i = 0; i < m; i++) {
                    total = (int64_t)((uint64_t)total + (uint64_t)integers[i]);
                    integers[i] = total;
                }
                fnn_convert(out, y->dtype, out_step, integers, FNN_INT64, 8, m);
            }
            p += m * in_step;
            out += m * out_step;
        }
    }
    return FNN_OK;
}

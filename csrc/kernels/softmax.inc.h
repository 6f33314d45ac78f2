/* Softmax and cross entropy over one row. See kernels.h for the signatures.
 *
 * NaN in a row makes the row NaN, and so do a row of -inf alone and any +inf (their
 * x - max is inf - inf), as in PyTorch. Sums run in the tree of reduce.inc.h. */

/* The largest element, NaN where there is one, -inf of an empty row. Four accumulators,
 * because the latency of max would bound it; the order is fixed all the same. */
FNN_INLINE T FNN_NAME(row_max)(ptrdiff_t n, const T *x) {
    V lowest = v_set1(-(T)INFINITY), top[4] = {lowest, lowest, lowest, lowest};
    M nan = v_isnan(lowest);
    ptrdiff_t i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            V v = v_load(x + i + j * LANES);
            top[j] = v_maxnum(v, top[j]);
            nan = v_mor(nan, v_isnan(v));
        }
    }
    for (; i + LANES <= n; i += LANES) {
        V v = v_load(x + i);
        top[0] = v_maxnum(v, top[0]);
        nan = v_mor(nan, v_isnan(v));
    }
    if (i < n) {
        V v = v_sel(FNN_NAME(lanes_below)(n - i), v_loadn(x + i, n - i), lowest);
        top[0] = v_maxnum(v, top[0]);
        nan = v_mor(nan, v_isnan(v));
    }
    if (FNN_NAME(any)(nan)) {
        return (T)NAN;
    }
    return v_hmax(v_maxnum(v_maxnum(top[0], top[1]), v_maxnum(top[2], top[3])));
}

/* sum_i exp(x_i - max); the terms go to y unless it is NULL. */
FNN_INLINE T FNN_NAME(row_exp)(ptrdiff_t n, const T *x, T max, T *y, const bool keep) {
    T stack[FNN_TREE_LEVELS];
    ptrdiff_t count = 0;
    const V top = v_set1(max);
    for (ptrdiff_t at = 0; at < n; at += FNN_CHUNK, count++) {
        ptrdiff_t end = n - at < FNN_CHUNK ? n : at + FNN_CHUNK, i = at;
        V acc = v_zero();
        for (; i + LANES <= end; i += LANES) {
            V e = m_exp(v_sub(v_load(x + i), top));
            if (keep) {
                v_store(y + i, e);
            }
            acc = v_add(acc, e);
        }
        if (i < end) {
            V e = m_exp(v_sub(v_loadn(x + i, end - i), top));
            if (keep) {
                v_storen(y + i, e, end - i);
            }
            acc = v_add(acc, v_sel(FNN_NAME(lanes_below)(end - i), e, v_zero()));
        }
        FNN_NAME(tree_add)(stack, count, v_hsum(acc));
    }
    return FNN_NAME(tree_end)(stack, count);
}

/* y may be x. */
static void FNN_NAME(softmax)(ptrdiff_t n, const void *x, void *y, bool log, void *max,
                              void *sum) {
    const T *in = x;
    T *out = y;
    T top = FNN_NAME(row_max)(n, in), total;
    ptrdiff_t i = 0;
    if (!log) {
        total = FNN_NAME(row_exp)(n, in, top, out, true);
        /* total is at least 1 (the largest element's exp(0)), so 1 / total is safe. */
        const V scale = v_div(v_set1((T)1), v_set1(total));
        for (; i + LANES <= n; i += LANES) {
            v_store(out + i, v_mul(v_load(out + i), scale));
        }
        if (i < n) {
            v_storen(out + i, v_mul(v_loadn(out + i, n - i), scale), n - i);
        }
    } else {
        total = FNN_NAME(row_exp)(n, in, top, NULL, false);
        const V shift = v_set1(top), norm = m_log(v_set1(total));
        for (; i + LANES <= n; i += LANES) {
            v_store(out + i, v_sub(v_sub(v_load(in + i), shift), norm));
        }
        if (i < n) {
            V v = v_sub(v_sub(v_loadn(in + i, n - i), shift), norm);
            v_storen(out + i, v, n - i);
        }
    }
    *(T *)max = top;
    *(T *)sum = total;
}

/* Rows of at most LANES elements side by side, a lane each: the trees that a row alone goes
 * through lane by lane (v_hmax, v_hsum) go through vector by vector. */
FNN_INLINE void FNN_NAME(short_rows)(ptrdiff_t rows, ptrdiff_t n, const T *x,
                                     ptrdiff_t ld, T *max, T *sum) {
    V v[LANES], top[LANES];
    for (ptrdiff_t r = 0; r < LANES; r++) {
        v[r] = v_loadn(x + (r < rows ? r : rows - 1) * ld, n);
    }
    v_transpose(v);
    M nan = v_isnan(v_zero());
    for (ptrdiff_t j = 0; j < LANES; j++) {
        top[j] = j < n ? v[j] : v_set1(-(T)INFINITY);
        nan = v_mor(nan, v_isnan(top[j]));
    }
    for (int half = LANES / 2; half > 0; half /= 2) {
        for (int j = 0; j < half; j++) {
            top[j] = v_maxnum(top[j], top[j + half]);
        }
    }
    const V highest = v_sel(nan, v_set1((T)NAN), top[0]);
    for (ptrdiff_t j = 0; j < LANES; j++) {
        v[j] = j < n ? m_exp(v_sub(v[j], highest)) : v_zero();
    }
    for (int half = LANES / 2; half > 0; half /= 2) {
        for (int j = 0; j < half; j++) {
            v[j] = v_add(v[j], v[j + half]);
        }
    }
    v_storen(max, highest, rows);
    v_storen(sum, v[0], rows);
}

static void FNN_NAME(softmax_stats)(ptrdiff_t rows, ptrdiff_t n, const void *x_,
                                    ptrdiff_t ld, void *max_, void *sum_) {
    const T *x = x_;
    T *max = max_, *sum = sum_;
    for (ptrdiff_t r = 0; r < rows;) {
        if (n > LANES) {
            max[r] = FNN_NAME(row_max)(n, x + r * ld);
            sum[r] = FNN_NAME(row_exp)(n, x + r * ld, max[r], NULL, false);
            r++;
        } else {
            const ptrdiff_t m = rows - r < LANES ? rows - r : LANES;
            FNN_NAME(short_rows)(m, n, x + r * ld, ld, max + r, sum + r);
            r += m;
        }
    }
}

FNN_INLINE V FNN_NAME(softmax_bwd_one)(V gy, V y, V sum, const bool log) {
    return log ? v_sub(gy, v_mul(m_exp(y), sum)) : v_mul(y, v_sub(gy, sum));
}
FNN_INLINE void FNN_NAME(softmax_bwd_row)(ptrdiff_t n, const T *gy, const T *y, T *gx,
                                          const bool log) {
    T stack[FNN_TREE_LEVELS];
    ptrdiff_t count = 0, i = 0;
    for (ptrdiff_t at = 0; at < n; at += FNN_CHUNK, count++) {
        ptrdiff_t end = n - at < FNN_CHUNK ? n : at + FNN_CHUNK;
        V acc = v_zero();
        for (i = at; i < end; i += LANES) {
            ptrdiff_t m = end - i < LANES ? end - i : LANES;
            V g = v_loadn(gy + i, m); /* zero past the end */
            acc = v_add(acc, log ? g : v_mul(g, v_loadn(y + i, m)));
        }
        FNN_NAME(tree_add)(stack, count, v_hsum(acc));
    }
    const V sum = v_set1(FNN_NAME(tree_end)(stack, count));
    for (i = 0; i + LANES <= n; i += LANES) {
        V r = FNN_NAME(softmax_bwd_one)(v_load(gy + i), v_load(y + i), sum, log);
        v_store(gx + i, r);
    }
    if (i < n) {
        V g = v_loadn(gy + i, n - i), p = v_loadn(y + i, n - i);
        v_storen(gx + i, FNN_NAME(softmax_bwd_one)(g, p, sum, log), n - i);
    }
}
static void FNN_NAME(softmax_bwd)(ptrdiff_t n, const void *gy, const void *y, bool log,
                                  void *gx) {
    if (log) {
        FNN_NAME(softmax_bwd_row)(n, gy, y, gx, true);
    } else {
        FNN_NAME(softmax_bwd_row)(n, gy, y, gx, false);
    }
}

/* One vector of cross entropy backward: scale * (exp(x - lse) * total - target). */
#define xent_row FNN_NAME(xent_row) /* vectors, so one type a dtype */
typedef struct {
    V lse, lse_rest, total, scale;
} xent_row;

FNN_INLINE V FNN_NAME(xent_one)(const xent_row *row, V x, V target) {
    V p = m_exp(v_sub(v_sub(x, row->lse), row->lse_rest));
    return v_mul(row->scale, v_fma(p, row->total, v_neg(target)));
}

/* gx may be x. No index is the label where label < 0 or label >= n. */
static void FNN_NAME(xent_bwd)(ptrdiff_t n, const void *x, double lse, double total,
                               const void *smooth, double smooth0, ptrdiff_t label,
                               double hit, double scale, void *gx) {
    const T *in = x, *weights = smooth;
    T *out = gx;
    bool labelled = label >= 0 && label < n;
    T at_label = labelled ? in[label] : 0, target = (T)smooth0;
    /* lse in two parts: rounded to T alone it would cost its own ulp in every
     * exponent. An infinite lse has no rest. */
    T high = (T)lse, rest = (T)(lse - (double)high);
    xent_row row = {v_set1(high), v_set1(rest == rest ? rest : 0), v_set1((T)total),
                    v_set1((T)scale)};
    const V same = v_set1(target);
    ptrdiff_t i = 0;
    if (labelled && weights) {
        target = weights[label];
    }
    for (; i + LANES <= n; i += LANES) {
        V t = weights ? v_load(weights + i) : same;
        v_store(out + i, FNN_NAME(xent_one)(&row, v_load(in + i), t));
    }
    if (i < n) {
        V t = weights ? v_loadn(weights + i, n - i) : same;
        v_storen(out + i, FNN_NAME(xent_one)(&row, v_loadn(in + i, n - i), t), n - i);
    }
    if (labelled) {
        V t = v_set1((T)(target + (T)hit));
        v_storen(out + label, FNN_NAME(xent_one)(&row, v_set1(at_label), t), 1);
    }
}
#undef xent_row

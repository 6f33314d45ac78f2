/* Average pooling, on what pool.inc.h has. See kernels.h for the signatures. */

/* What sums are divided by, along w; along h it is pool_rows. */
FNN_INLINE void FNN_NAME(pool_counts)(const fnn_pool *p, T *count) {
    for (ptrdiff_t o = 0; o < p->pitch; o++) {
        count[o] = o < p->w.out && p->divisor == 0
                       ? (T)fnn_window_count(&p->w, o, p->count_padding)
                       : 1;
    }
}
FNN_INLINE T FNN_NAME(pool_rows)(const fnn_pool *p, ptrdiff_t o) {
    return p->divisor != 0 ? (T)p->divisor
                           : (T)fnn_window_count(&p->h, o, p->count_padding);
}

/* sums of x[i] over rows from to stop - 1 */
FNN_INLINE void FNN_NAME(sum_down)(ptrdiff_t n, const T *x, ptrdiff_t rows, T *sum) {
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        V s = v_load(x + i);
        for (ptrdiff_t r = 1; r < rows; r++) {
            s = v_add(s, v_load(x + r * n + i));
        }
        v_store(sum + i, s);
    }
    if (i < n) {
        V s = v_loadn(x + i, n - i);
        for (ptrdiff_t r = 1; r < rows; r++) {
            s = v_add(s, v_loadn(x + r * n + i, n - i));
        }
        v_store(sum + i, s);
    }
}

/* y = sums along w of a row, over rows * count. */
FNN_INLINE void FNN_NAME(avg_along_w)(const fnn_pool *p, const ptrdiff_t kernel,
                                      const T *phase, const ptrdiff_t *offset, V rows,
                                      const T *count, T *y) {
    for (ptrdiff_t o = 0; o < p->w.out; o += LANES) {
        V sum = v_load(phase + offset[0] + o);
        for (ptrdiff_t j = 1; j < kernel; j++) {
            sum = v_add(sum, v_load(phase + offset[j] + o));
        }
        sum = v_div(sum, v_mul(rows, v_load(count + o)));
        if (o + LANES <= p->w.out) {
            v_store(y + o, sum);
        } else {
            v_storen(y + o, sum, p->w.out - o);
        }
    }
}

static void FNN_NAME(avg_pool)(const fnn_pool *p, ptrdiff_t lo, ptrdiff_t hi,
                               const void *x_, void *y_, void *scratch) {
    const fnn_axis *h = &p->h, *w = &p->w;
    const ptrdiff_t pitch = p->pitch;
    T *next = scratch;
    FNN_ROWS(phase, p->phases);
    FNN_ROWS(count, 1);
    T *const down = next; /* w->in, rounded up */
    next += (w->in + LANES) / LANES * LANES;
    FNN_NAME(pool_span) *const span = (void *)next;
    ptrdiff_t *const offset = (void *)next;
    FNN_NAME(pool_places)(p, offset, span);
    FNN_NAME(pool_counts)(p, count);
    ptrdiff_t plane = lo / h->out, o = lo % h->out;
    for (ptrdiff_t row = lo; row < hi; row++, o++) {
        if (o == h->out) {
            o = 0;
            plane++;
        }
        ptrdiff_t begin, end;
        const ptrdiff_t from = fnn_window(h, o, &begin, &end) + begin;
        const T *x = (const T *)x_ + (plane * h->in + from) * w->in;
        T *y = (T *)y_ + row * w->out;
        const T rows = FNN_NAME(pool_rows)(p, o);
        if (end - begin > 1) {
            FNN_NAME(sum_down)(w->in, x, end - begin, down);
            x = down;
        }
        if (FNN_NAME(pool_one_by_one)(p)) {
            for (ptrdiff_t i = 0; i < w->out; i++) {
                const T *in = x + span[i].start;
                T sum = in[span[i].lo];
                for (ptrdiff_t j = span[i].lo + 1; j < span[i].hi; j++) {
                    sum += in[j];
                }
                y[i] = sum / (rows * count[i]);
            }
            continue;
        }
        FNN_NAME(pool_phases)(p, x, 0, phase);
        switch (w->kernel) {
        case 2:
            FNN_NAME(avg_along_w)(p, 2, phase, offset, v_set1(rows), count, y);
            break;
        case 3:
            FNN_NAME(avg_along_w)(p, 3, phase, offset, v_set1(rows), count, y);
            break;
        default:
            FNN_NAME(avg_along_w)
            (p, w->kernel, phase, offset, v_set1(rows), count, y);
        }
    }
}

/* Sums of gy / (rows count) over windows from to to - 1 along h, in a row of sums. */
FNN_INLINE void FNN_NAME(avg_down)(const fnn_pool *p, ptrdiff_t from, ptrdiff_t to,
                                   const T *gy, const T *count, T *sum) {
    const ptrdiff_t n = p->w.out;
    const T rows = FNN_NAME(pool_rows)(p, from);
    bool even = true; /* one division does for all */
    for (ptrdiff_t o = from + 1; o < to; o++) {
        even &= FNN_NAME(pool_rows)(p, o) == rows;
    }
    for (ptrdiff_t at = 0; at < n; at += LANES) {
        const ptrdiff_t m = n - at < LANES ? n - at : LANES;
        const V across = v_load(count + at); /* 1 past the end, where g is 0 */
        V all = v_zero();
        for (ptrdiff_t o = from; o < to; o++) {
            const V g = v_loadn(gy + o * n + at, m);
            const V by = v_set1(even ? rows : FNN_NAME(pool_rows)(p, o));
            all = v_add(all, even ? g : v_div(g, v_mul(by, across)));
        }
        v_store(sum + at, even ? v_div(all, v_mul(v_set1(rows), across)) : all);
    }
}

/* gx is `y_`, gy is `x_`. */
static void FNN_NAME(avg_pool_bwd)(const fnn_pool *p, ptrdiff_t lo, ptrdiff_t hi,
                                   const void *x_, void *y_, void *scratch) {
    const fnn_axis *h = &p->h, *w = &p->w;
    const ptrdiff_t pitch = p->pitch, s = w->stride;
    const ptrdiff_t margin = (w->kernel - 1) / s;
    const ptrdiff_t length = (w->in + w->padding - 1) / s + 1; /* of a phase */
    T *next = scratch;
    FNN_ROWS(phase, p->phases);
    FNN_ROWS(wide, 1); /* of gy: over h, divided */
    FNN_ROWS(count, 1);
    FNN_NAME(pool_span) *const span = (void *)next;
    for (ptrdiff_t o = 0; o < w->out && FNN_NAME(pool_one_by_one)(p); o++) {
        span[o].start = fnn_window(w, o, &span[o].lo, &span[o].hi);
    }
    T *sum = wide + margin;
    FNN_NAME(pool_counts)(p, count);
    memset(wide, 0, (size_t)pitch * sizeof(T));
    ptrdiff_t plane = lo / h->in, i = lo % h->in, had_from = -1, had_to = -1;
    for (ptrdiff_t row = lo; row < hi; row++, i++) {
        if (i == h->in) {
            i = 0;
            had_from = -1;
            plane++;
        }
        T *gx = (T *)y_ + row * w->in;
        ptrdiff_t from, to;
        fnn_windows_over(h, i, &from, &to);
        if (from == had_from && to == had_to) { /* the same windows as the row before */
            memcpy(gx, gx - w->in, (size_t)w->in * sizeof(T));
            continue;
        }
        had_from = from;
        had_to = to;
        if (from < to) {
            const T *gy = (const T *)x_ + plane * h->out * w->out;
            FNN_NAME(avg_down)(p, from, to, gy, count, sum);
        } else {
            memset(sum, 0, (size_t)w->out * sizeof(T));
        }
        if (FNN_NAME(pool_one_by_one)(p)) {
            memset(gx, 0, (size_t)w->in * sizeof(T));
            for (ptrdiff_t o = 0; o < w->out; o++) {
                T *at = gx + span[o].start;
                for (ptrdiff_t j = span[o].lo; j < span[o].hi; j++) {
                    at[j] += sum[o];
                }
            }
            continue;
        }
        for (ptrdiff_t q = 0; q < p->phases; q++) {
            /* taps q, q + s, ... of windows k, k - 1, ...: the earliest window first */
            const ptrdiff_t most = (w->kernel - 1 - q) / s;
            for (ptrdiff_t k = 0; k < length; k += LANES) {
                V all = v_load(sum + k - most);
                for (ptrdiff_t shift = most - 1; shift >= 0; shift--) {
                    all = v_add(all, v_load(sum + k - shift));
                }
                v_store(phase + q * pitch + k, all);
            }
        }
        FNN_NAME(pool_join)(p, phase, gx);
    }
}
#undef FNN_ROWS

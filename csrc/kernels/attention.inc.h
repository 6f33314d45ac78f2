/* What attention does to blocks of scores between its products. See kernels.h for the
 * jobs, ops/attention.c for the whole.
 *
 * A row's largest score and the sum of its exponentials go from one block of keys to the
 * next. A row of -inf alone counts from 0, so that its exponentials are zeros and not NaN. */

/* A score with what the mask says of it; same: one number of the mask for the whole row. */
FNN_INLINE V FNN_NAME(attention_masked)(V x, const void *mask, ptrdiff_t j, ptrdiff_t n,
                                        V same, const int kind) {
    if (kind == FNN_ATTENTION_BOOL) {
        M takes_part = v_mload((const uint8_t *)mask + j, n);
        return v_sel(takes_part, x, v_set1(-(T)INFINITY));
    }
    if (kind == FNN_ATTENTION_FLOAT) {
        return v_add(x, v_loadn((const T *)mask + j, n));
    }
    return kind == FNN_ATTENTION_SAME ? v_add(x, same) : x;
}

/* Where the mask of row i is, and what it is to that row; *n is 0 where it leaves nothing. */
FNN_INLINE const void *FNN_NAME(attention_mask)(const fnn_attention_scores *g,
                                                ptrdiff_t i, ptrdiff_t *n, V *same,
                                                int *kind) {
    const ptrdiff_t limit = g->limit + i * g->slope;
    *n = limit < 0 ? 0 : limit < g->n ? limit : g->n;
    *same = v_zero();
    *kind = g->mask_kind;
    const char *mask = g->mask;
    if (*kind == FNN_ATTENTION_BOOL) {
        mask += i * g->mask_row;
        if (g->mask_same) {
            *n = *mask ? *n : 0;
            *kind = FNN_ATTENTION_NONE;
        }
    } else if (*kind == FNN_ATTENTION_FLOAT) {
        mask += i * g->mask_row * (ptrdiff_t)sizeof(T);
        if (g->mask_same) {
            *same = v_set1(*(const T *)(const void *)mask);
            *kind = FNN_ATTENTION_SAME;
        }
    }
    return mask;
}

FNN_INLINE void FNN_NAME(attention_zeros)(T *s, ptrdiff_t n, ptrdiff_t end) {
    for (ptrdiff_t j = (n + LANES - 1) / LANES * LANES; j < end; j += LANES) {
        v_store(s + j, v_zero());
    }
}

/* The largest of n scores, which become masked ones, -inf from the n-th on. */
FNN_INLINE V FNN_NAME(attention_top)(T *s, ptrdiff_t n, const void *mask, V same,
                                     const int kind) {
    const V lowest = v_set1(-(T)INFINITY);
    V top[4] = {lowest, lowest, lowest, lowest};
    ptrdiff_t j = 0;
    for (; j + 4 * LANES <= n; j += 4 * LANES) {
#pragma GCC unroll 4
        for (int u = 0; u < 4; u++) {
            const ptrdiff_t at = j + u * LANES;
            V x =
                FNN_NAME(attention_masked)(v_load(s + at), mask, at, LANES, same, kind);
            if (kind != FNN_ATTENTION_NONE) {
                v_store(s + at, x);
            }
            top[u] = v_maxnum(x, top[u]);
        }
    }
    for (; j < n; j += LANES) {
        const ptrdiff_t left = n - j < LANES ? n - j : LANES;
        V x = FNN_NAME(attention_masked)(v_load(s + j), mask, j, left, same, kind);
        x = left < LANES ? v_sel(FNN_NAME(lanes_below)(left), x, lowest) : x;
        v_store(s + j, x);
        top[0] = v_maxnum(x, top[0]);
    }
    return v_maxnum(v_maxnum(top[0], top[1]), v_maxnum(top[2], top[3]));
}

FNN_INLINE T FNN_NAME(attention_from)(T top) { return top == -(T)INFINITY ? 0 : top; }

static void FNN_NAME(attention_softmax)(const fnn_attention_scores *g) {
    T *top = g->top, *total = g->total;
    for (ptrdiff_t i = 0; i < g->rows; i++) {
        T *s = (T *)g->s + i * g->ld;
        ptrdiff_t n;
        V same, best;
        int kind;
        const void *mask = FNN_NAME(attention_mask)(g, i, &n, &same, &kind);
        switch (kind) {
        case FNN_ATTENTION_BOOL:
            best = FNN_NAME(attention_top)(s, n, mask, same, FNN_ATTENTION_BOOL);
            break;
        case FNN_ATTENTION_FLOAT:
            best = FNN_NAME(attention_top)(s, n, mask, same, FNN_ATTENTION_FLOAT);
            break;
        case FNN_ATTENTION_SAME:
            best = FNN_NAME(attention_top)(s, n, mask, same, FNN_ATTENTION_SAME);
            break;
        default:
            best = FNN_NAME(attention_top)(s, n, mask, same, FNN_ATTENTION_NONE);
        }
        const T old = g->first ? -(T)INFINITY : top[i];
        T highest = v_hmax(best);
        highest = highest > old ? highest : old;
        const T from = FNN_NAME(attention_from)(highest);
        const V shift = v_set1(from);
        V sum = v_zero();
        for (ptrdiff_t j = 0; j < n; j += LANES) {
            V e = FNN_NAME(exp_negative)(v_sub(v_load(s + j), shift));
            v_store(s + j, e);
            sum = v_add(sum, e);
        }
        FNN_NAME(attention_zeros)(s, n, g->n);
        T all = v_hsum(sum);
        if (!g->first) {
            const V by = FNN_NAME(exp_negative)(v_sub(v_set1(old), shift));
            const T factor = v_hmax(by);
            if (factor != 1) {
                T *y = (T *)g->y + i * g->y_row;
                for (ptrdiff_t j = 0; j < g->width; j += LANES) {
                    const ptrdiff_t w = g->width - j < LANES ? g->width - j : LANES;
                    v_storen(y + j, v_mul(v_loadn(y + j, w), by), w);
                }
            }
            all += total[i] * factor;
        }
        top[i] = highest;
        total[i] = all;
    }
}

FNN_INLINE void FNN_NAME(attention_grad_row)(T *s, T *d, ptrdiff_t n, const void *mask,
                                             V same, V shift, V delta, const int kind) {
    for (ptrdiff_t j = 0; j < n; j += LANES) {
        const ptrdiff_t left = n - j < LANES ? n - j : LANES;
        V x = FNN_NAME(attention_masked)(v_load(s + j), mask, j, left, same, kind);
        V p = FNN_NAME(exp_negative)(v_sub(x, shift));
        V g = v_mul(p, v_sub(v_load(d + j), delta));
        if (left < LANES) {
            M in = FNN_NAME(lanes_below)(left);
            p = v_sel(in, p, v_zero());
            g = v_sel(in, g, v_zero());
        }
        v_store(s + j, p);
        v_store(d + j, g);
    }
}

static void FNN_NAME(attention_grad)(const fnn_attention_scores *g) {
    const T *top = g->top, *delta = g->total;
    for (ptrdiff_t i = 0; i < g->rows; i++) {
        T *s = (T *)g->s + i * g->ld, *d = (T *)g->d + i * g->ld;
        ptrdiff_t n;
        V same;
        int kind;
        const void *mask = FNN_NAME(attention_mask)(g, i, &n, &same, &kind);
        const V shift = v_set1(FNN_NAME(attention_from)(top[i])),
                del = v_set1(delta[i]);
#define CASE(name)                                                           \
    case name:                                                               \
        FNN_NAME(attention_grad_row)(s, d, n, mask, same, shift, del, name); \
        break;
        switch (kind) {
            CASE(FNN_ATTENTION_NONE)
            CASE(FNN_ATTENTION_BOOL)
            CASE(FNN_ATTENTION_FLOAT)
            CASE(FNN_ATTENTION_SAME)
        }
#undef CASE
        FNN_NAME(attention_zeros)(s, n, g->n);
        FNN_NAME(attention_zeros)(d, n, g->n);
    }
}

/* y may be x. */
static void FNN_NAME(attention_scale)(ptrdiff_t rows, ptrdiff_t n, const void *x_,
                                      ptrdiff_t x_row, double factor, const void *total,
                                      void *y_, ptrdiff_t y_row) {
    const T *x = x_, *totals = total;
    T *y = y_;
    for (ptrdiff_t i = 0; i < rows; i++, x += x_row, y += y_row) {
        T by = (T)factor;
        if (totals != NULL) {
            by = totals[i] == 0 ? 0 : 1 / totals[i];
        }
        const V f = v_set1(by);
        ptrdiff_t j = 0;
        for (; j + LANES <= n; j += LANES) {
            v_store(y + j, v_mul(v_load(x + j), f));
        }
        if (j < n) {
            v_storen(y + j, v_mul(v_loadn(x + j, n - j), f), n - j);
        }
    }
}

/* The chains of a product's tiles, so that rounding is the same there and here: what is
 * left of a difference of the two, where one key has all the weight, is not noise. A row to
 * a lane. */
static void FNN_NAME(attention_dots)(ptrdiff_t rows, ptrdiff_t n, const void *a_,
                                     ptrdiff_t a_row, const void *b_, ptrdiff_t b_row,
                                     void *dots) {
    const T *a = a_, *b = b_;
    for (ptrdiff_t i = 0; i < rows; i += LANES) {
        const ptrdiff_t m = rows - i < LANES ? rows - i : LANES;
        V total = v_zero(), sum = v_zero();
        for (ptrdiff_t j = 0; j < n; j += LANES) {
            const ptrdiff_t w = n - j < LANES ? n - j : LANES;
            V x[LANES], y[LANES];
            for (ptrdiff_t r = 0; r < LANES; r++) {
                const ptrdiff_t row = i + (r < m ? r : m - 1);
                x[r] = v_loadn(a + row * a_row + j, w);
                y[r] = v_loadn(b + row * b_row + j, w);
            }
            v_transpose(x);
            v_transpose(y);
            for (int c = 0; c < LANES; c++) {
                sum = v_fma(x[c], y[c], sum);
            }
            if ((j + LANES) % FNN_GEMM_KC == 0) {
                total = v_add(total, sum);
                sum = v_zero();
            }
        }
        v_storen((T *)dots + i, v_add(total, sum), m);
    }
}

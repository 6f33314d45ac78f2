/* Reductions: sum, max, min. See kernels.h for the signatures.
 *
 * The tree is part of the bits contract. Within a chunk of at most FNN_CHUNK
 * elements lane l takes elements l, l + LANES, ... one after the other; then lane i
 * joins lane i + LANES/2, then LANES/4, ... down to one value. Chunks, where a
 * kernel takes more than one, join like the carries of a binary counter: neighbours
 * first, then pairs of neighbours.
 *
 * A lane starts at +0 (sum), -inf (max) or +inf (min). For lanes that no element
 * reaches this is the identity: a sum that started at +0 is never -0, so adding +0
 * changes nothing. Max and min are NaN where any element is. */

#ifndef FNN_INLINE
#define FNN_INLINE static inline __attribute__((always_inline, unused))
#endif

static const T FNN_NAME(reduce_lane)[16] = {0, 1, 2,  3,  4,  5,  6,  7,
                                            8, 9, 10, 11, 12, 13, 14, 15};

/* Lanes below n. */
FNN_INLINE M FNN_NAME(lanes_below)(ptrdiff_t n) {
    return v_lt(v_load(FNN_NAME(reduce_lane)), v_set1((T)n));
}

FNN_INLINE bool FNN_NAME(any)(M m) {
    uint64_t set[2] = {0};
    v_mstore((uint8_t *)set, m, LANES);
    return (set[0] | set[1]) != 0;
}

FNN_INLINE V FNN_NAME(reduce_start)(const int op) {
    return op == FNN_SUM ? v_zero()
                         : v_set1(op == FNN_MAX ? -(T)INFINITY : (T)INFINITY);
}

/* One more element a lane; equal elements (+0 and -0) keep the first. */
FNN_INLINE V FNN_NAME(reduce_step)(const int op, V acc, V x) {
    return op == FNN_SUM   ? v_add(acc, x)
           : op == FNN_MAX ? v_maxnum(x, acc)
                           : v_minnum(x, acc);
}

/* Lane i with lane i + LANES/2^k: as v_hsum, v_hmax and v_hmin do. */
FNN_INLINE V FNN_NAME(reduce_pair)(const int op, V a, V b) {
    return op == FNN_SUM   ? v_add(a, b)
           : op == FNN_MAX ? v_maxnum(a, b)
                           : v_minnum(a, b);
}

/* ---- rows ------------------------------------------------------------------------ */

FNN_INLINE T FNN_NAME(reduce_part)(const int op, ptrdiff_t n, const T *x) {
    V acc = FNN_NAME(reduce_start)(op);
    M nan = v_isnan(acc);
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        V v = v_load(x + i);
        acc = FNN_NAME(reduce_step)(op, acc, v);
        if (op != FNN_SUM) {
            nan = v_mor(nan, v_isnan(v));
        }
    }
    if (i < n) {
        V v = v_loadn(x + i, n - i);
        if (op != FNN_SUM) {
            v = v_sel(FNN_NAME(lanes_below)(n - i), v, acc);
            nan = v_mor(nan, v_isnan(v));
        }
        acc = FNN_NAME(reduce_step)(op, acc, v);
    }
    if (op == FNN_SUM) {
        return v_hsum(acc);
    }
    if (FNN_NAME(any)(nan)) {
        return (T)NAN;
    }
    return op == FNN_MAX ? v_hmax(acc) : v_hmin(acc);
}

/* A whole chunk, in a straight line, so that the next ones start before this one's chain
 * ends; several at a time would read memory in jumps, which costs more than it saves. A
 * NaN makes their sum NaN: only then are they looked at one by one. */
FNN_INLINE T FNN_NAME(reduce_whole)(const int op, const T *x) {
    V acc = FNN_NAME(reduce_start)(op), sum = v_zero();
#pragma GCC unroll 32
    for (ptrdiff_t i = 0; i < FNN_CHUNK; i += LANES) {
        V v = v_load(x + i);
        acc = FNN_NAME(reduce_step)(op, acc, v);
        if (op != FNN_SUM) {
            sum = v_add(sum, v);
        }
    }
    if (op == FNN_SUM) {
        return v_hsum(acc);
    }
    if (FNN_NAME(any)(v_isnan(sum))) {
        return FNN_NAME(reduce_part)(op, FNN_CHUNK, x);
    }
    return op == FNN_MAX ? v_hmax(acc) : v_hmin(acc);
}

FNN_INLINE void FNN_NAME(reduce_row)(const int op, ptrdiff_t n, const T *x, T *y,
                                     ptrdiff_t step) {
    for (; n >= FNN_CHUNK; n -= FNN_CHUNK, x += FNN_CHUNK, y += step) {
        *y = FNN_NAME(reduce_whole)(op, x);
    }
    if (n > 0) {
        *y = FNN_NAME(reduce_part)(op, n, x);
    }
}

static void FNN_NAME(reduce)(int op, ptrdiff_t n, const void *x, void *y,
                             ptrdiff_t step) {
    switch (op) {
    case FNN_SUM:
        FNN_NAME(reduce_row)(FNN_SUM, n, x, y, step);
        break;
    case FNN_MAX:
        FNN_NAME(reduce_row)(FNN_MAX, n, x, y, step);
        break;
    default:
        FNN_NAME(reduce_row)(FNN_MIN, n, x, y, step);
        break;
    }
}

/* ---- columns --------------------------------------------------------------------- */

/* Vectors of columns at a time, so that the accumulators stay in registers. */
#ifndef FNN_REDUCE_STRIP
#define FNN_REDUCE_STRIP 4
#endif

/* Lanes in the order that the tree needs them (bits reversed): joining neighbours of
 * this list, then pairs of neighbours, ... is joining lane i with i + LANES/2, then
 * LANES/4. */
/* clang-format off */
static const uint8_t FNN_NAME(reduce_order)[LANES] = {
#if IS_F32
    0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15
#else
    0, 4, 2, 6, 1, 5, 3, 7
#endif
};
/* clang-format on */

/* `w` vectors of columns; the last `m` columns only where m > 0 (then w is 1). Here
 * a lane of the tree is a vector, so the lanes are taken one after the other. Rows
 * far apart defeat the hardware prefetcher: the next strip is asked for while this
 * one is summed. */
FNN_INLINE void FNN_NAME(reduce_strip)(const int op, ptrdiff_t n, const int w,
                                       ptrdiff_t m, const T *x, ptrdiff_t ld, T *y) {
    V acc[FNN_REDUCE_STRIP], stack[5][FNN_REDUCE_STRIP];
    M nan[FNN_REDUCE_STRIP];
    const V start = FNN_NAME(reduce_start)(op);
#pragma GCC unroll 8
    for (int j = 0; j < w; j++) {
        acc[j] = start;
        nan[j] = v_isnan(start);
    }
    for (int k = 0; k < LANES; k++) {
#pragma GCC unroll 8
        for (int j = 0; j < w; j++) {
            acc[j] = start;
        }
        for (ptrdiff_t i = FNN_NAME(reduce_order)[k]; i < n; i += LANES) {
            const T *row = x + i * ld;
#pragma GCC unroll 8
            for (int j = 0; j < w; j++) {
                if (w > 1) {
                    __builtin_prefetch(row + (j + w) * LANES);
                }
                V v = m ? v_loadn(row, m) : v_load(row + j * LANES);
                acc[j] = FNN_NAME(reduce_step)(op, acc[j], v);
                if (op != FNN_SUM) {
                    nan[j] = v_mor(nan[j], v_isnan(v));
                }
            }
        }
        int level = 0;
        for (; k >> level & 1; level++) {
            /* The later subtree's first lane: if no row reaches it, none of it
             * counts. */
            bool empty = FNN_NAME(reduce_order)[k >> level << level] >= n;
#pragma GCC unroll 8
            for (int j = 0; j < w; j++) {
                acc[j] = empty ? stack[level][j]
                               : FNN_NAME(reduce_pair)(op, stack[level][j], acc[j]);
            }
        }
#pragma GCC unroll 8
        for (int j = 0; j < w; j++) {
            stack[level][j] = acc[j];
        }
    }
#pragma GCC unroll 8
    for (int j = 0; j < w; j++) {
        V v = acc[j];
        if (op != FNN_SUM) {
            v = v_sel(nan[j], v_set1((T)NAN), v);
        }
        if (m) {
            v_storen(y, v, m);
        } else {
            v_store(y + j * LANES, v);
        }
    }
}

FNN_INLINE void FNN_NAME(reduce_strips)(const int op, ptrdiff_t n, ptrdiff_t cols,
                                        const T *x, ptrdiff_t ld, T *y) {
    ptrdiff_t j = 0;
    for (; j + FNN_REDUCE_STRIP * LANES <= cols; j += FNN_REDUCE_STRIP * LANES) {
        FNN_NAME(reduce_strip)(op, n, FNN_REDUCE_STRIP, 0, x + j, ld, y + j);
    }
    for (; j + LANES <= cols; j += LANES) {
        FNN_NAME(reduce_strip)(op, n, 1, 0, x + j, ld, y + j);
    }
    if (j < cols) {
        FNN_NAME(reduce_strip)(op, n, 1, cols - j, x + j, ld, y + j);
    }
}

static void FNN_NAME(reduce_cols)(int op, ptrdiff_t n, ptrdiff_t cols, const void *x,
                                  ptrdiff_t ld, void *y) {
    switch (op) {
    case FNN_SUM:
        FNN_NAME(reduce_strips)(FNN_SUM, n, cols, x, ld, y);
        break;
    case FNN_MAX:
        FNN_NAME(reduce_strips)(FNN_MAX, n, cols, x, ld, y);
        break;
    default:
        FNN_NAME(reduce_strips)(FNN_MIN, n, cols, x, ld, y);
        break;
    }
}

/* ---- joining chunks -------------------------------------------------------------- */

FNN_INLINE V FNN_NAME(reduce_joined)(const int op, V a, V b) {
    V v = FNN_NAME(reduce_pair)(op, a, b);
    if (op != FNN_SUM) {
        v = v_sel(v_mor(v_isnan(a), v_isnan(b)), v_set1((T)NAN), v);
    }
    return v;
}

/* y[j] = y[j] op x[j], j < n */
FNN_INLINE void FNN_NAME(reduce_join_row)(const int op, ptrdiff_t n, const T *x, T *y) {
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        v_store(y + i, FNN_NAME(reduce_joined)(op, v_load(y + i), v_load(x + i)));
    }
    if (i < n) {
        V v = FNN_NAME(reduce_joined)(op, v_loadn(y + i, n - i), v_loadn(x + i, n - i));
        v_storen(y + i, v, n - i);
    }
}

FNN_INLINE void FNN_NAME(reduce_join_rows)(const int op, ptrdiff_t chunks, ptrdiff_t n,
                                           T *y) {
    if (n == 1) { /* level after level moved together, as vectors would be empty */
        for (; chunks > 1; chunks = (chunks + 1) / 2) {
            for (ptrdiff_t i = 0; i < chunks / 2; i++) {
                const T a = y[2 * i], b = y[2 * i + 1];
                y[i] = op == FNN_SUM          ? a + b
                       : (a != a) || (b != b) ? (T)NAN
                       : op == FNN_MAX        ? (a > b ? a : b)
                                              : (a < b ? a : b);
            }
            if (chunks % 2 != 0) {
                y[chunks / 2] = y[chunks - 1];
            }
        }
        return;
    }
    for (ptrdiff_t step = 1; step < chunks; step *= 2) {
        for (ptrdiff_t i = 0; i + step < chunks; i += 2 * step) {
            FNN_NAME(reduce_join_row)(op, n, y + (i + step) * n, y + i * n);
        }
    }
}

static void FNN_NAME(reduce_join)(int op, ptrdiff_t chunks, ptrdiff_t n, void *y) {
    switch (op) {
    case FNN_SUM:
        FNN_NAME(reduce_join_rows)(FNN_SUM, chunks, n, y);
        break;
    case FNN_MAX:
        FNN_NAME(reduce_join_rows)(FNN_MAX, chunks, n, y);
        break;
    default:
        FNN_NAME(reduce_join_rows)(FNN_MIN, chunks, n, y);
        break;
    }
}

/* ---- sums of any length ---------------------------------------------------------- */

#define FNN_TREE_LEVELS 40 /* 2^40 chunks: more than memory holds */

/* Adds the sum of chunk number `count`; stack[k] holds 2^k chunks where count has
 * bit k. */
FNN_INLINE void FNN_NAME(tree_add)(T *stack, ptrdiff_t count, T sum) {
    int level = 0;
    for (; count >> level & 1; level++) {
        sum = stack[level] + sum;
    }
    stack[level] = sum;
}

/* The sum of `count` chunks: what the stack holds, shortest stretch first. */
FNN_INLINE T FNN_NAME(tree_end)(const T *stack, ptrdiff_t count) {
    T sum = 0;
    bool started = false;
    for (int level = 0; count >> level; level++) {
        if (count >> level & 1) {
            sum = started ? stack[level] + sum : stack[level];
            started = true;
        }
    }
    return sum;
}

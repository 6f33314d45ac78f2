/* Every step-th element of rows, next to each other: how strides are taken out before a
 * convolution or a pooling. See kernels.h. */

FNN_INLINE void FNN_NAME(take_all)(ptrdiff_t n, const T *x, T *y) {
    ptrdiff_t j = 0;
    for (; j + LANES <= n; j += LANES) {
        v_store(y + j, v_load(x + j));
    }
    if (j < n) {
        v_store(y + j, v_loadn(x + j, n - j));
    }
}

/* Every second element; the last of what is read is the last that is asked for. */
FNN_INLINE void FNN_NAME(take_half)(ptrdiff_t n, const T *x, T *y) {
    ptrdiff_t j = 0;
    for (; j + LANES < n; j += LANES) {
        v_store(y + j, v_even(v_load(x + 2 * j), v_load(x + 2 * j + LANES)));
    }
    const ptrdiff_t left = 2 * (n - j) - 1;
    V low = v_loadn(x + 2 * j, left < LANES ? left : LANES);
    V high = left > LANES ? v_loadn(x + 2 * j + LANES, left - LANES) : v_zero();
    v_storen(y + j, v_even(low, high), n - j);
}

static void FNN_NAME(take_rows)(ptrdiff_t rows, ptrdiff_t n, const void *from,
                                ptrdiff_t x_row, ptrdiff_t step, void *to,
                                ptrdiff_t y_row) {
    const T *x = from;
    T *y = to;
    for (ptrdiff_t i = 0; i < rows; i++, x += x_row, y += y_row) {
        if (step == 1) {
            FNN_NAME(take_all)(n, x, y);
        } else if (step == 2) {
            FNN_NAME(take_half)(n, x, y);
        } else {
            for (ptrdiff_t j = 0; j < n; j++) {
                y[j] = x[j * step];
            }
        }
    }
}

/* Both kinds of every second element: a vector that is loaded serves both. */
FNN_INLINE void FNN_NAME(take_pair)(ptrdiff_t n, ptrdiff_t m, const T *x, T *even,
                                    T *odd) {
    ptrdiff_t j = 0;
    for (; j + LANES <= m; j += LANES) {
        const V low = v_load(x + 2 * j), high = v_load(x + 2 * j + LANES);
        v_store(even + j, v_even(low, high));
        v_store(odd + j, v_odd(low, high));
    }
    if (j < n) { /* at most a vector of each: n is m or m + 1 */
        const ptrdiff_t left = n + m - 2 * j;
        const V low = v_loadn(x + 2 * j, left < LANES ? left : LANES);
        const V high =
            left > LANES ? v_loadn(x + 2 * j + LANES, left - LANES) : v_zero();
        v_storen(even + j, v_even(low, high), n - j);
        v_storen(odd + j, v_odd(low, high), m - j);
    }
}

static void FNN_NAME(take_pairs)(ptrdiff_t rows, ptrdiff_t n, ptrdiff_t m,
                                 const void *from, ptrdiff_t x_row, void *even,
                                 void *odd, ptrdiff_t y_row) {
    const T *x = from;
    T *y = even, *z = odd;
    for (ptrdiff_t i = 0; i < rows; i++, x += x_row, y += y_row, z += y_row) {
        FNN_NAME(take_pair)(n, m, x, y, z);
    }
}

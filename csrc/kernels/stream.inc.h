/* Copies what will not be read again soon past the caches. See kernels.h. */

static void FNN_NAME(stream)(ptrdiff_t n, void *y_, const void *x_,
                             const void *const *ahead, int n_ahead) {
    T *y = y_;
    const T *x = x_;
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int k = 0; k < n_ahead; k++) {
            __builtin_prefetch((const T *)ahead[k] + i);
        }
        v_stream(y + i, v_load(x + i));
    }
    if (i < n) {
        v_storen(y + i, v_loadn(x + i, n - i), n - i);
    }
}

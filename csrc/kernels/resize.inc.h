/* Rows of images that are resized. See kernels.h for the signatures. */

static void FNN_NAME(blend)(ptrdiff_t n, const void *a_, double by_a, const void *b_,
                            double by_b, void *y_) {
    const T *a = a_, *b = b_;
    T *y = y_;
    const V wa = v_set1((T)by_a), wb = v_set1((T)by_b);
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        v_store(y + i, v_add(v_mul(v_load(a + i), wa), v_mul(v_load(b + i), wb)));
    }
    if (i < n) {
        const V u = v_loadn(a + i, n - i), v = v_loadn(b + i, n - i);
        v_storen(y + i, v_add(v_mul(u, wa), v_mul(v, wb)), n - i);
    }
}

static void FNN_NAME(blend_at)(ptrdiff_t n, const void *x_, const int32_t *low,
                               const int32_t *high, const void *weight, void *y_) {
    const T *x = x_, *w = weight;
    T *y = y_;
    for (ptrdiff_t i = 0; i < n; i++) {
        y[i] = x[low[i]] * ((T)1 - w[i]) + x[high[i]] * w[i];
    }
}

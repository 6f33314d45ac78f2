/* Normals from uniforms.
 * Source: Box, Muller, "A note on the generation of random normal deviates", Annals
 * of Mathematical Statistics 29 (1958): with r = sqrt(-2 log u1) and t = 2 pi u2, r
 * cos t and r sin t are independent standard normals. */

FNN_INLINE void FNN_NAME(box_muller_one)(V *u1, V *u2) {
    V minus_log = v_sub(v_zero(), m_log(*u1)); /* +0, not -0, at u1 = 1 */
    V r = v_sqrt(v_add(minus_log, minus_log));
    /* Half turns in [-1, 1]: subtracting a whole turn from (1, 2) is exact. */
    V turns = v_add(*u2, *u2), s, c;
    turns = v_sel(v_lt(v_set1((T)1), turns), v_sub(turns, v_set1((T)2)), turns);
    m_sincospi(turns, &s, &c);
    *u1 = v_mul(r, c);
    *u2 = v_mul(r, s);
}

static void FNN_NAME(box_muller)(ptrdiff_t n, void *u1, void *u2) {
    T *a = u1, *b = u2;
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        V va = v_load(a + i), vb = v_load(b + i);
        FNN_NAME(box_muller_one)(&va, &vb);
        v_store(a + i, va);
        v_store(b + i, vb);
    }
    if (i < n) {
        V va = v_loadn(a + i, n - i), vb = v_loadn(b + i, n - i);
        FNN_NAME(box_muller_one)(&va, &vb);
        v_storen(a + i, va, n - i);
        v_storen(b + i, vb, n - i);
    }
}
